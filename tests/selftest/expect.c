/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Only an expectation, which does not end its test, does not hold: that must be red as well. */

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

Test(expect, does_not_hold)
{
	cr_expect(eq(int, 1, 2));
}
