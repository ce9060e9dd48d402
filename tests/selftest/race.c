/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Two threads count in one plain variable: green by itself, red under TSan and helgrind. */

#include <criterion/criterion.h>
#include <pthread.h>

static volatile int shared_count;

static void *
count_up(void *arg)
{
	for (int i = 0; i < 1000; i++)
		shared_count = shared_count + 1;
	return arg;
}

Test(race, two_writers)
{
	pthread_t first, second;

	cr_assert(pthread_create(&first, NULL, count_up, NULL) == 0);
	cr_assert(pthread_create(&second, NULL, count_up, NULL) == 0);
	pthread_join(first, NULL);
	pthread_join(second, NULL);
}
