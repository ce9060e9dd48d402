/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Loses a block of memory: green by itself, red under memcheck and LeakSanitizer. */

#include <criterion/criterion.h>
#include <stdlib.h>

Test(leak, loses_a_block)
{
	void *volatile block = malloc(100);

	cr_assert(block != NULL);
	block = NULL;
}
