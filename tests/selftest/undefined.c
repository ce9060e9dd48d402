/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Overflows a signed integer: green by itself, red under UBSan. */

#include <criterion/criterion.h>
#include <limits.h>

Test(undefined, signed_overflow)
{
	volatile int top = INT_MAX;
	volatile int next = top + 1;

	(void)next;
}
