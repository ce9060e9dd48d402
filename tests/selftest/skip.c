/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Skips all it has: a program in which nothing ran must not count as a success. */

#include <criterion/criterion.h>

Test(skip, everything)
{
	cr_skip_test("on purpose");
}
