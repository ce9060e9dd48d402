/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Calls the toy with a number of arguments, and prints what it returns. */

#include <stdint.h>
#include <stdio.h>

struct word {
	uint64_t value;
};

int toy(int a, int b, struct word *w);

int
main(void)
{
	for (int a = -1; a < 6; a++) {
		for (int b = -1; b < 6; b++) {
			struct word w = {0};
			const int result = toy(a, b, &w);

			printf("toy(%d, %d) = %d, %d\n", a, b, result, (int)w.value);
		}
	}
	return 0;
}
