/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Table pages, small memory, frames: aligned, zeroed where promised, apart from each other, and all
 * given back.
 */

#include "hosttest.h"
#include "kmod/host/host_linux.h"
#include "kmod/host/host_linux_priv.h"

#define TABLES 300

static uint64_t tables[TABLES];

static bool
all_zero(const void *p, size_t bytes)
{
	return memchr_inv(p, 0, bytes) == NULL;
}

/* ---- Table pages ----------------------------------------------------------------------------- */

/* Marks page i, words and descriptor, as nobody else's. */
static void
mark_table(unsigned int i)
{
	host_fill_private(host_table_words(tables[i]), HOST_TABLE_WORDS, (uint64_t)i << 32, 1);
	memset(host_table_desc(tables[i]), i % 255 + 1, HOST_TABLE_DESC_BYTES);
}

static bool
is_marked(unsigned int i)
{
	const struct host_word *const w = host_table_words(tables[i]);

	for (unsigned int k = 0; k < HOST_TABLE_WORDS; k++) {
		if (w[k].hw_value != ((uint64_t)i << 32) + k)
			return false;
	}
	return memchr_inv(host_table_desc(tables[i]), i % 255 + 1, HOST_TABLE_DESC_BYTES) == NULL;
}

/* Takes n inside a section, as a fault does; how many there were. */
static unsigned int
take_tables(unsigned int n)
{
	unsigned int got = 0;

	host_epoch_enter();
	while (got < n && host_table_alloc(&tables[got]))
		got++;
	host_epoch_exit();
	return got;
}

static void
free_tables(unsigned int n)
{
	while (n-- > 0)
		host_table_free(tables[n]);
}

static const char *
check_tables(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		CHECK(tables[i] % HOST_PAGE_SIZE == 0);
		CHECK(all_zero(host_table_words(tables[i]), HOST_PAGE_SIZE));
		CHECK(all_zero(host_table_desc(tables[i]), HOST_TABLE_DESC_BYTES));
		CHECK((unsigned long)host_table_desc(tables[i]) % 64 == 0);
	}
	for (unsigned int i = 0; i < n; i++)
		mark_table(i);
	for (unsigned int i = 0; i < n; i++)
		CHECK(is_marked(i));
	return NULL;
}

static const char *
table_pages(void)
{
	const char *why = NULL;

	/* Again, so that what was marked and freed is among what is got. */
	for (unsigned int round = 0; round < 3 && why == NULL; round++) {
		const unsigned int n = take_tables(TABLES);

		why = n == TABLES ? check_tables(n) : "fewer tables than asked for";
		free_tables(n);
	}
	return why;
}

/* When the kernel gives none, the reserve does, until it is empty; and then it is filled anew. */
static const char *
table_reserve(void)
{
	unsigned int n, again;
	const char *why;

	atomic_set(&host_linux_refuse_tables, 1000);
	n = take_tables(TABLES);
	atomic_set(&host_linux_refuse_tables, 0);
	why = check_tables(n);
	free_tables(n);
	CHECK(n >= 32 && n < TABLES);
	if (why != NULL)
		return why;
	host_linux_reserve_sync();
	atomic_set(&host_linux_refuse_tables, 1000);
	again = take_tables(TABLES);
	atomic_set(&host_linux_refuse_tables, 0);
	free_tables(again);
	CHECK(again >= 32);
	host_linux_reserve_sync();
	return NULL;
}

/* ---- Small memory ---------------------------------------------------------------------------- */

static const char *
check_alloc(size_t bytes)
{
	char *const p = host_alloc(bytes);
	const char *why = NULL;

	CHECK(p != NULL);
	if ((unsigned long)p % 64 != 0)
		why = "not aligned to 64 bytes";
	else if (!all_zero(p, bytes))
		why = "not zeroed";
	memset(p, 0xa5, bytes);
	host_free(p, bytes);
	return why;
}

static const char *
allocs(void)
{
	static const size_t sizes[] = {1,    8,	   63,	 64,   65,   96,    192,    200,
				       1000, 1984, 4095, 4096, 4097, 33000, 200001, 5u << 20};

	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
			const char *const why = check_alloc(sizes[i]);

			if (why != NULL)
				return why;
		}
	}
	host_free(NULL, 5);
	return NULL;
}

/* What nobody has is NULL, without a word in the log. */
static const char *
alloc_too_much(void)
{
	CHECK(host_alloc((size_t)1 << 62) == NULL);
	CHECK(host_alloc((size_t)1 << 40) == NULL);
	return NULL;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

static const char *
check_run(hpa_t base, unsigned int order)
{
	const unsigned long n = 1ul << order;

	CHECK(base % (HOST_PAGE_SIZE << order) == 0);
	for (unsigned long i = 0; i < n; i++)
		host_page_write(base + i * HOST_PAGE_SIZE, 8, &i, sizeof(i));
	for (unsigned long i = 0; i < n; i++) {
		unsigned long got;

		host_page_read(base + i * HOST_PAGE_SIZE, 8, &got, sizeof(got));
		CHECK(got == i);
	}
	return NULL;
}

/* Runs of all sizes; half of them are given back frame by frame. */
static const char *
runs(void)
{
	const char *why = NULL;

	for (unsigned int order = 0; order <= 9 && why == NULL; order++) {
		for (unsigned int twice = 0; twice < 2 && why == NULL; twice++) {
			hpa_t base;

			if (!host_page_alloc(&base, order))
				return order > 3 ? HOSTTEST_SKIP "memory is fragmented"
						 : "no small run";
			why = check_run(base, order);
			if (twice == 0) {
				host_page_free(base, order);
				continue;
			}
			for (unsigned long i = 0; i < 1ul << order; i++)
				host_page_free(base + i * HOST_PAGE_SIZE, 0);
		}
	}
	CHECK(why != NULL || !host_page_alloc(&(hpa_t){0}, 40));
	return why;
}

static const char *
check_bytes(hpa_t a, hpa_t b)
{
	char buf[16];

	host_page_zero(a);
	host_page_read(a, HOST_PAGE_SIZE - 16, buf, 16);
	CHECK(all_zero(buf, 16));
	host_page_write(a, HOST_PAGE_SIZE - 16, "0123456789abcdef", 16);
	host_page_write(b, 0, "x", 1);
	host_page_copy(b, a);
	host_page_read(b, HOST_PAGE_SIZE - 16, buf, 16);
	CHECK(memcmp(buf, "0123456789abcdef", 16) == 0);
	host_page_read(b, 0, buf, 1);
	CHECK(buf[0] == 0);
	host_page_read(b, HOST_PAGE_SIZE, buf, 0);
	host_fetch_or(host_page_word(b, 8), 0x4142);
	host_page_read(b, 8, buf, 2);
	CHECK(buf[0] == 0x42 && buf[1] == 0x41);
	host_page_zero(b);
	CHECK(host_load(host_page_word(b, HOST_PAGE_SIZE - 8)) == 0);
	CHECK(host_load(host_page_word(a, HOST_PAGE_SIZE - 8)) != 0);
	return NULL;
}

static const char *
bytes(void)
{
	const char *why;
	hpa_t a, b;

	CHECK(host_page_alloc(&a, 0));
	if (!host_page_alloc(&b, 0)) {
		host_page_free(a, 0);
		return "no frame";
	}
	why = check_bytes(a, b);
	host_page_free(a, 0);
	host_page_free(b, 0);
	return why;
}

/* What this host does not have is refused as the contract says. */
static const char *
absent(void)
{
	struct host_iommu *domain;
	hpa_t hpa = 0;

	CHECK(host_swap_slots() == 0);
	CHECK(host_swap_read(0, &hpa, 1) == -EIO && host_swap_write(0, &hpa, 1) == -EIO);
	CHECK(host_iommu_create(&domain) == -ENXIO);
	CHECK(host_iommu_map(NULL, 0, 0, HOST_PAGE_SIZE, 7) == 0);
	host_iommu_unmap(NULL, 0, HOST_PAGE_SIZE);
	host_iommu_flush(NULL);
	return NULL;
}

const struct hosttest hosttest_memory[] = {
	{"table-pages", table_pages},
	{"table-reserve", table_reserve},
	{"allocs", allocs},
	{"alloc-too-much", alloc_too_much},
	{"runs", runs},
	{"bytes", bytes},
	{"absent", absent},
	{},
};
