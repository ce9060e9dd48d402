/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Reads one past the end of a heap block: green by itself, red under memcheck and ASan. */

#include <criterion/criterion.h>
#include <stdlib.h>

Test(oob, reads_past_the_end)
{
	char *volatile block = calloc(16, 1);
	volatile char got = block[16];

	(void)got;
	free(block);
}
