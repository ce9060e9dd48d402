/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The pager over shmem: contents, runs, discarding, and the same under so much memory pressure that
 * they must go to swap and come back.
 */

#include <linux/mm.h>
#include <linux/swap.h>

#include "hosttest.h"

#define RUN ((uint64_t)512)

static uint64_t
word_at(hpa_t hpa)
{
	return host_load(host_page_word(hpa, 0));
}

static void
write_at(hpa_t hpa, uint64_t value)
{
	host_store(host_page_word(hpa, 0), value);
	host_store(host_page_word(hpa, HOST_PAGE_SIZE - 8), ~value);
}

static bool
holds(hpa_t hpa, uint64_t value)
{
	return word_at(hpa) == value &&
	       host_load(host_page_word(hpa, HOST_PAGE_SIZE - 8)) == (value == 0 ? 0 : ~value);
}

/* Gets a page, and puts it: what it holds, or ~0 if it cannot be got. */
static uint64_t
peek(struct host_pager *p, uint64_t index)
{
	uint64_t value;
	hpa_t hpa;

	if (host_pager_getpage(p, index, &hpa) != 0)
		return ~(uint64_t)0;
	value = word_at(hpa);
	host_pager_putpage(p, index, hpa, false);
	return value;
}

static bool
poke(struct host_pager *p, uint64_t index, uint64_t value)
{
	hpa_t hpa;

	if (host_pager_getpage(p, index, &hpa) != 0)
		return false;
	write_at(hpa, value);
	host_pager_putpage(p, index, hpa, true);
	return true;
}

/* ---- Single pages ---------------------------------------------------------------------------- */

static const char *
single(struct host_pager *p)
{
	hpa_t a, b, c;

	CHECK(host_pager_getpage(p, 7, &a) == 0);
	CHECK(a % HOST_PAGE_SIZE == 0 && holds(a, 0));
	write_at(a, 77);
	CHECK(host_pager_getpage(p, 7, &b) == 0);
	CHECK(a == b && holds(b, 77)); /* the same frame for all */
	CHECK(host_pager_getpage(p, 999, &c) == 0);
	CHECK(c != a && holds(c, 0));
	host_pager_putpage(p, 999, c, false);
	host_pager_putpage(p, 7, b, false);
	CHECK(holds(a, 77));
	host_epoch_enter(); /* putting does not sleep */
	host_pager_putpage(p, 7, a, true);
	host_epoch_exit();
	CHECK(peek(p, 7) == 77 && peek(p, 999) == 0 && peek(p, 0) == 0);
	return NULL;
}

static const char *
discards(struct host_pager *p)
{
	for (uint64_t i = 500; i < 530; i++) /* beyond a chunk's end */
		CHECK(poke(p, i, i));
	host_pager_discard(p, 505, 20);
	for (uint64_t i = 500; i < 530; i++)
		CHECK(peek(p, i) == (i < 505 || i >= 525 ? i : 0));
	host_pager_discard(p, 0, 1000); /* nothing is there, for the most part */
	CHECK(peek(p, 500) == 0 && peek(p, 529) == 0);
	host_pager_discard(p, 3, 0);
	return NULL;
}

/* With a pager of n pages. */
static const char *
with_pager(uint64_t n, const char *(*fn)(struct host_pager *p))
{
	struct host_pager *p;
	const char *why;

	CHECK(host_has_pager());
	CHECK(host_pager_create(n, &p) == 0);
	why = fn(p);
	host_pager_destroy(p);
	return why;
}

static const char *
pager_single(void)
{
	return with_pager(1000, single);
}

static const char *
pager_discards(void)
{
	return with_pager(1000, discards);
}

static const char *
pager_absurd(void)
{
	struct host_pager *p;

	CHECK(host_pager_create(0, &p) == -ENOMEM);
	CHECK(host_pager_create((uint64_t)1 << 60, &p) == -ENOMEM);
	return NULL;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

static void
put_run(struct host_pager *p, uint64_t first, hpa_t base, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		host_pager_putpage(p, first + i, base + i * HOST_PAGE_SIZE, word_at(base) != 0);
}

static const char *
check_whole_run(struct host_pager *p, hpa_t base)
{
	hpa_t hpa;

	CHECK(base % (RUN * HOST_PAGE_SIZE) == 0);
	for (uint64_t i = 0; i < RUN; i++) {
		CHECK(holds(base + i * HOST_PAGE_SIZE, 0));
		write_at(base + i * HOST_PAGE_SIZE, i + 1);
	}
	for (uint64_t i = 0; i < RUN; i += 73) {
		CHECK(host_pager_getpage(p, RUN + i, &hpa) == 0);
		CHECK(hpa == base + i * HOST_PAGE_SIZE);
		host_pager_putpage(p, RUN + i, hpa, false);
	}
	return NULL;
}

/* While all of it is got: discarded pages stay where they are and are zeros; the others stay. */
static const char *
check_discard_in_run(struct host_pager *p, hpa_t base)
{
	hpa_t hpa;

	host_pager_discard(p, RUN + 100, 50);
	for (uint64_t i = 0; i < RUN; i++)
		CHECK(holds(base + i * HOST_PAGE_SIZE, i >= 100 && i < 150 ? 0 : i + 1));
	CHECK(host_pager_getpage(p, RUN + 120, &hpa) == 0);
	CHECK(hpa == base + 120 * HOST_PAGE_SIZE);
	host_pager_putpage(p, RUN + 120, hpa, false);
	return NULL;
}

static const char *
run(struct host_pager *p)
{
	const char *why;
	hpa_t base;

	if (!host_pager_getrun(p, RUN, &base))
		return HOSTTEST_SKIP "this kernel gives no huge page";
	why = check_whole_run(p, base);
	if (why == NULL)
		why = check_discard_in_run(p, base);
	/* Half of it goes; the other half is in its frame. */
	put_run(p, RUN, base, 0, 256);
	CHECK(why != NULL || holds(base + 300 * HOST_PAGE_SIZE, 301));
	put_run(p, RUN, base, 256, RUN);
	if (why != NULL)
		return why;
	for (uint64_t i = 0; i < RUN; i++)
		CHECK(peek(p, RUN + i) == (i >= 100 && i < 150 ? 0 : i + 1));
	host_pager_discard(p, RUN + 200, 10); /* of what nobody has: beside it nothing changes */
	for (uint64_t i = 0; i < RUN; i++)
		CHECK(peek(p, RUN + i) ==
		      ((i >= 100 && i < 150) || (i >= 200 && i < 210) ? 0 : i + 1));
	host_pager_discard(p, RUN, RUN);
	CHECK(peek(p, RUN) == 0 && peek(p, 2 * RUN - 1) == 0);
	return NULL;
}

/* Where single pages are, there is no run; and where a run was asked for, single pages can be. */
static const char *
run_or_pages(struct host_pager *p)
{
	hpa_t base, other;

	CHECK(poke(p, 3, 33));
	CHECK(!host_pager_getrun(p, 0, &base));
	CHECK(peek(p, 3) == 33);
	if (!host_pager_getrun(p, RUN, &base))
		return HOSTTEST_SKIP "this kernel gives no huge page";
	if (!host_pager_getrun(p, RUN, &other)) {
		put_run(p, RUN, base, 0, RUN);
		return "a run that is got cannot be got again";
	}
	put_run(p, RUN, base, 0, RUN);
	put_run(p, RUN, other, 0, RUN);
	CHECK(other == base);
	CHECK(poke(p, RUN + 5, 55) && peek(p, RUN + 5) == 55);
	return NULL;
}

static const char *
pager_run(void)
{
	return with_pager(3 * RUN, run);
}

static const char *
pager_run_or_pages(void)
{
	return with_pager(3 * RUN, run_or_pages);
}

/* ---- Pressure -------------------------------------------------------------------------------- */

/*
 * More pages than there is memory, each dirty. What does not go to swap is lost, or the machine
 * runs out of memory. Every eighth chunk is a run; every ninth page is got and held meanwhile, up
 * to a few hundred, and must not move.
 */
#define HELD 256

static hpa_t held_pages[HELD];

static uint64_t
value_of(uint64_t index)
{
	return index * 0x9e3779b97f4a7c15ull | 1;
}

/* A debug kernel takes minutes: it says something, so that nobody takes it to hang. */
static void
tell(const char *what, uint64_t index)
{
	if (index % (64 * RUN) == 0)
		pr_info("hosttest: pager-pressure %s at %llu MiB\n", what, index >> 8);
}

static const char *
fill_all(struct host_pager *p, uint64_t npages)
{
	for (uint64_t first = 0; first < npages; first += RUN) {
		hpa_t base;

		tell("writes", first);
		if (first % (8 * RUN) == 0 && npages - first >= RUN &&
		    host_pager_getrun(p, first, &base)) {
			for (uint64_t i = 0; i < RUN; i++) {
				write_at(base + i * HOST_PAGE_SIZE, value_of(first + i));
				host_pager_putpage(p, first + i, base + i * HOST_PAGE_SIZE, true);
			}
			continue;
		}
		for (uint64_t i = first; i < npages && i < first + RUN; i++)
			CHECK(poke(p, i, value_of(i)));
		cond_resched();
	}
	return NULL;
}

static const char *
check_all(struct host_pager *p, uint64_t npages)
{
	for (uint64_t first = 0; first < npages; first += RUN) {
		tell("reads", first);
		for (uint64_t i = first; i < npages && i < first + RUN; i += 3)
			CHECK(peek(p, i) == value_of(i));
		cond_resched();
	}
	return NULL;
}

static const char *
check_held(uint64_t npages)
{
	for (unsigned int i = 0; i < HELD && (i + 1) * 9 < npages; i++)
		CHECK(holds(held_pages[i], value_of((i + 1) * 9)));
	return NULL;
}

static const char *
pager_pressure(void)
{
	struct host_pager *p;
	const uint64_t npages = si_mem_available() + (16ul << 20 >> PAGE_SHIFT);
	const char *why;
	unsigned int n = 0;

	if (get_nr_swap_pages() < (long)npages / 2 || npages > 1ul << 18)
		return HOSTTEST_SKIP "too little swap, or too much memory";
	CHECK(host_pager_create(npages, &p) == 0);
	for (; n < HELD && (n + 1) * 9 < npages; n++) {
		if (host_pager_getpage(p, (n + 1) * 9, &held_pages[n]) != 0)
			break;
	}
	why = n == HELD ? fill_all(p, npages) : "pages cannot be got";
	if (why == NULL)
		why = check_held(npages);
	if (why == NULL)
		why = check_all(p, npages);
	if (why == NULL)
		why = check_held(npages);
	while (n-- > 0)
		host_pager_putpage(p, (n + 1) * 9, held_pages[n], true);
	host_pager_destroy(p);
	return why;
}

const struct hosttest hosttest_pager[] = {
	{"pager-single", pager_single},
	{"pager-discards", pager_discards},
	{"pager-absurd", pager_absurd},
	{"pager-run", pager_run},
	{"pager-run-or-pages", pager_run_or_pages},
	{"pager-pressure", pager_pressure},
	{},
};
