/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A core of a page, for the self-test of mutation: one of everything that is changed, and of
 * everything that must be left alone. Each call prints, so that what a mutant does can be seen.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define HOST_ASSERT(cond) ((cond) ? (void)0 : (void)printf("asserted %s\n", #cond))
#define LIMIT (4 + 4) /* the body of a macro: left alone */
#define HALF(x) ((x) / 2)

struct word {
	uint64_t value;
};

static const int table[2] = {1, 2}; /* a table: left alone */

static void
host_lock(const char *l)
{
	printf("lock %s\n", l);
}

static void
host_unlock(const char *l)
{
	printf("unlock %s\n", l);
}

static void
host_fence(void)
{
	printf("fence\n");
}

static void
host_flush_tlb(int level, int page)
{
	printf("flush %d %d\n", level, page);
}

static void
page_free(const char *p)
{
	printf("free %s\n", p);
}

static int
page_get(int wanted)
{
	if (wanted > LIMIT)
		return -12;
	return 0;
}

static void
host_store_release(struct word *w, uint64_t value)
{
	printf("store %d\n", (int)value);
	w->value = value;
}

static uint64_t
host_xchg(struct word *w, uint64_t value)
{
	const uint64_t old = w->value;

	printf("exchange %d\n", (int)value);
	w->value = value;
	return old;
}

int toy(int a, int b, struct word *w);

int
toy(int a, int b, struct word *w)
{
	int sum = 0;
	int error;

	HOST_ASSERT(a < 1000);
	_Static_assert(sizeof(int) == 4, "a constant: left alone");
	host_lock("l");
	host_xchg(w, 5);
	if (a == 3 && b != 4) {
		host_unlock("l");
		return -1;
	}
	for (int i = 0; i < HALF(a + b) && sum < 100; i++)
		sum += table[i & 1];
	host_fence();
	host_flush_tlb(sum, b);
	host_unlock("l");

	error = page_get(sum);
	if (error != 0)
		return error;
	page_free("p"); /* given back */
	switch (b) {
	case 1:
		sum = 20;
		break;
	default:
		sum = ~sum << 1;
	}
	return !a ? sum : -sum;
}
