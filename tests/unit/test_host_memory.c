/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The contract of pmap/host.h, continued: memory.
 */

#include "tests/unit/world.h"

#include <criterion/criterion.h>

#define ACTORS 3

static const struct world_config several = {.wc_actors = ACTORS};

static bool
all_zero(const void *start, size_t bytes)
{
	const unsigned char *b = start;
	unsigned char any = 0;

	for (size_t i = 0; i < bytes; i++)
		any |= b[i];
	return any == 0;
}

static bool
table_is_zero(uint64_t hpa)
{
	struct host_word *w = host_table_words(hpa);
	uint64_t any = 0;

	for (unsigned int n = 0; n < HOST_TABLE_WORDS; n++)
		any |= host_load(&w[n]);
	return any == 0 && all_zero(host_table_desc(hpa), HOST_TABLE_DESC_BYTES);
}

static void
spoil_table(uint64_t hpa, unsigned int by)
{
	unsigned char *desc = host_table_desc(hpa);

	host_fill_private(host_table_words(hpa), HOST_TABLE_WORDS, hpa + by, 1);
	for (unsigned int n = 0; n < HOST_TABLE_DESC_BYTES; n++)
		desc[n] = (unsigned char)(hpa >> HOST_PAGE_SHIFT) ^ (unsigned char)(n + by);
}

static bool
table_is_spoiled(uint64_t hpa, unsigned int by)
{
	const unsigned char *desc = host_table_desc(hpa);

	for (unsigned int n = 0; n < HOST_TABLE_WORDS; n++) {
		if (host_load(&host_table_words(hpa)[n]) != hpa + by + n)
			return false;
	}
	for (unsigned int n = 0; n < HOST_TABLE_DESC_BYTES; n++) {
		if (desc[n] != (unsigned char)((hpa >> HOST_PAGE_SHIFT) ^ (n + by)))
			return false;
	}
	return true;
}

#define TABLES 200

/* Three times, so that pages come back and must be zero again. */
static void
tables(void *arg, unsigned int i)
{
	static uint64_t hpa[TABLES];
	const uint64_t before = world_tables_in_use();

	(void)arg;
	(void)i;
	for (unsigned int time = 0; time < 3; time++) {
		for (unsigned int n = 0; n < TABLES; n++) {
			CHECK(host_table_alloc(&hpa[n]));
			CHECK(hpa[n] != 0 && hpa[n] % HOST_PAGE_SIZE == 0);
			CHECK(hpa[n] < (uint64_t)1 << 36);
			CHECK((uintptr_t)host_table_words(hpa[n]) % HOST_PAGE_SIZE == 0);
			CHECK((uintptr_t)host_table_desc(hpa[n]) % 64 == 0);
			CHECK(table_is_zero(hpa[n]));
			spoil_table(hpa[n], time);
			CHECK(world_tables_in_use() == before + n + 1);
		}
		for (unsigned int n = 0; n < TABLES; n++)
			CHECK(table_is_spoiled(hpa[n], time)); /* so no two share anything */
		for (unsigned int n = 0; n < TABLES; n++)
			host_table_free(hpa[(n * 7 + time) % TABLES]);
		CHECK(world_tables_in_use() == before);
	}
}

Test(host, tables_are_zeroed_and_distinct)
{
	world_begin(NULL);
	world_run(1, tables, NULL);
	world_end();
}

static void
tables_at_once(void *arg, unsigned int i)
{
	uint64_t hpa[20];

	(void)arg;
	for (unsigned int time = 0; time < 4; time++) {
		for (unsigned int n = 0; n < 20; n++) {
			CHECK(host_table_alloc(&hpa[n]));
			CHECK(table_is_zero(hpa[n]));
			spoil_table(hpa[n], i);
		}
		for (unsigned int n = 0; n < 20; n++) {
			CHECK(table_is_spoiled(hpa[n], i));
			host_table_free(hpa[n]);
		}
	}
}

Test(host, tables_concurrently)
{
	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		world_run(ACTORS, tables_at_once, NULL);
		world_end();
	}
}

static void
tables_fail(void *arg, unsigned int i)
{
	const struct world_config *cfg = arg;
	uint64_t hpa[6] = {0};

	(void)i;
	for (unsigned int n = 0; n < 6; n++) {
		bool due = n + 1 == cfg->wc_fail_table ||
			   (n + 1 > cfg->wc_fail_table && cfg->wc_fail_persistently);

		CHECK(host_table_alloc(&hpa[n]) == !due);
	}
	for (unsigned int n = 0; n < 6; n++) {
		if (hpa[n] != 0)
			host_table_free(hpa[n]);
	}
}

Test(host, table_allocation_fails_when_told)
{
	for (unsigned int nth = 1; nth <= 6; nth++) {
		struct world_config cfg = {.wc_fail_table = nth};

		world_begin(&cfg);
		world_run(1, tables_fail, &cfg);
		world_end();
		cfg.wc_fail_persistently = true;
		world_begin(&cfg);
		world_run(1, tables_fail, &cfg);
		world_end();
	}
}

static void
small_memory(void *arg, unsigned int i)
{
	static const size_t sizes[] = {1, 8, 63, 64, 65, 4095, 4096, 10000};
	const unsigned int n = sizeof(sizes) / sizeof(sizes[0]);
	unsigned char *p[sizeof(sizes) / sizeof(sizes[0])];

	(void)arg;
	(void)i;
	for (unsigned int time = 0; time < 3; time++) {
		for (unsigned int k = 0; k < n; k++) {
			p[k] = host_alloc(sizes[k]);
			CHECK(p[k] != NULL);
			if (!p[k])
				return;
			CHECK((uintptr_t)p[k] % 64 == 0);
			CHECK(all_zero(p[k], sizes[k]));
			for (size_t b = 0; b < sizes[k]; b++)
				p[k][b] = (unsigned char)(k + 1);
		}
		for (unsigned int k = 0; k < n; k++) {
			CHECK(p[k][0] == k + 1 && p[k][sizes[k] - 1] == k + 1);
			host_free(p[k], sizes[k]);
		}
	}
}

Test(host, alloc_is_zeroed_and_aligned)
{
	world_begin(NULL);
	world_run(1, small_memory, NULL);
	world_end();
}

static void
alloc_fails(void *arg, unsigned int i)
{
	void *first = host_alloc(100);
	void *second = host_alloc(100);
	void *third = host_alloc(100);

	(void)arg;
	(void)i;
	CHECK(first != NULL);
	CHECK(second == NULL);
	CHECK(third != NULL);
	host_free(first, 100);
	host_free(third, 100);
}

Test(host, alloc_fails_when_told)
{
	const struct world_config cfg = {.wc_fail_alloc = 2};

	world_begin(&cfg);
	world_run(1, alloc_fails, NULL);
	world_end();
}

/* Pages that one CPU frees after an epoch, and that another may get. */
struct page_item {
	struct host_epoch_item pi_item;
	uint64_t pi_hpa;
};

static void
free_page(struct host_epoch_item *item)
{
	host_table_free(((struct page_item *)item)->pi_hpa);
}

static void
churn(void *arg, unsigned int i)
{
	struct host_word *shared = arg; /* hpa of a published table */

	(void)i;
	for (unsigned int n = 0; n < 30; n++) {
		struct page_item *item;
		uint64_t hpa;

		CHECK(host_table_alloc(&hpa));
		host_fill_private(host_table_words(hpa), HOST_TABLE_WORDS, hpa, 0);
		hpa = host_xchg(shared, hpa);
		item = host_table_desc(hpa);
		item->pi_hpa = hpa;
		host_epoch_defer(&item->pi_item, free_page);

		host_epoch_enter();
		hpa = host_load_acquire(shared);
		CHECK(host_load(&host_table_words(hpa)[n]) == hpa);
		CHECK(host_load(&host_table_words(hpa)[511 - n]) == hpa);
		host_epoch_exit();
	}
}

Test(host, tables_freed_after_an_epoch)
{
	static struct host_word shared;

	for (unsigned int round = 0; round < world_rounds; round++) {
		uint64_t hpa;

		world_begin(&several);
		cr_assert(host_table_alloc(&hpa));
		host_fill_private(host_table_words(hpa), HOST_TABLE_WORDS, hpa, 0);
		host_store(&shared, hpa);
		world_run(ACTORS, churn, &shared);
		host_table_free(host_load(&shared));
		world_end();
	}
}
