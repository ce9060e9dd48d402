/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* One assertion of each kind that does not hold: every way of running tests must call this red. */

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

Test(fail, assertion)
{
	cr_assert(eq(int, 1, 2));
}

Test(fail, expectation)
{
	cr_expect(eq(int, 1, 2));
}

Test(fail, passes)
{
	cr_assert(eq(int, 2, 2));
}
