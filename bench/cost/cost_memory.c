/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Table pages, small memory, and epochs of the machine of costs.
 *
 * Sections are counted by the order in which they began; what is deferred runs when no older one is
 * open. As in a kernel, where a section is preemption switched off, that costs next to nothing.
 */

#include "bench/cost/cost.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pmap/host.h"

/* Addresses of tables: from 1 MiB to 1 GiB, backed as they are touched. */
#define FIRST_HPA ((uint64_t)1 << 20)
#define LIMIT_HPA ((uint64_t)1 << 30)
#define ZERO_NS 46 /* zeroing a page, as measured where skep is built */
#define BATCH 64

static char *words;
static char *descs;
static uint64_t next_hpa = FIRST_HPA;
static uint64_t free_list; /* linked through the first word; 0: empty */

static uint64_t sections;	      /* begun so far */
static uint64_t began[HOST_MAX_CPUS]; /* 0: none open */
static unsigned int nest[HOST_MAX_CPUS];
static struct host_epoch_item *deferred;
static unsigned int ndeferred;

static char *
reserve(size_t bytes)
{
	void *const p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

bool
cost_table_alloc(uint64_t *hpa)
{
	if (words == NULL)
		words = reserve(LIMIT_HPA);
	if (descs == NULL)
		descs = reserve((LIMIT_HPA >> HOST_PAGE_SHIFT) * HOST_TABLE_DESC_BYTES);
	if (words == NULL || descs == NULL)
		return false;
	if (free_list != 0) {
		*hpa = free_list;
		memcpy(&free_list, words + *hpa, sizeof(free_list));
	} else if (next_hpa < LIMIT_HPA) {
		*hpa = next_hpa;
		next_hpa += HOST_PAGE_SIZE;
	} else {
		return false;
	}
	memset(words + *hpa, 0, HOST_PAGE_SIZE);
	memset(cost_table_desc(*hpa), 0, HOST_TABLE_DESC_BYTES);
	cost_spend(ZERO_NS);
	return true;
}

void
cost_table_free(uint64_t hpa)
{
	memcpy(words + hpa, &free_list, sizeof(free_list));
	free_list = hpa;
}

struct host_word *
cost_table_words(uint64_t hpa)
{
	return (struct host_word *)(void *)(words + hpa);
}

uint64_t
cost_table_hpa(const struct host_word *w)
{
	return (uint64_t)((const char *)w - words);
}

void *
cost_table_desc(uint64_t hpa)
{
	return descs + (hpa >> HOST_PAGE_SHIFT) * HOST_TABLE_DESC_BYTES;
}

void *
cost_alloc(size_t bytes)
{
	void *const p = aligned_alloc(64, (bytes + 63) / 64 * 64);

	return p != NULL ? memset(p, 0, bytes) : NULL;
}

void
cost_free(void *p)
{
	free(p);
}

/* ---- Epochs --------------------------------------------------------------------------------- */

void
cost_epoch_enter(void)
{
	const unsigned int cpu = cost_cpu();

	if (nest[cpu]++ == 0)
		began[cpu] = ++sections;
}

bool
cost_epoch_held(void)
{
	return nest[cost_cpu()] > 0;
}

/* Runs what is older than every open section. */
static void
run_ripe(void)
{
	uint64_t oldest = ~(uint64_t)0;
	struct host_epoch_item **link = &deferred;
	struct host_epoch_item *ripe = NULL;

	for (unsigned int i = 0; i < HOST_MAX_CPUS; i++)
		if (nest[i] > 0 && began[i] < oldest)
			oldest = began[i];
	while (*link != NULL) {
		struct host_epoch_item *const item = *link;

		if (item->ei_seq >= oldest) {
			link = &item->ei_next;
			continue;
		}
		*link = item->ei_next;
		item->ei_next = ripe;
		ripe = item;
		ndeferred--;
	}
	while (ripe != NULL) {
		struct host_epoch_item *const item = ripe;

		ripe = item->ei_next;
		item->ei_fn(item);
	}
}

void
cost_epoch_exit(void)
{
	const unsigned int cpu = cost_cpu();

	HOST_ASSERT(nest[cpu] > 0);
	if (--nest[cpu] == 0)
		began[cpu] = 0;
	if (nest[cpu] == 0 && ndeferred > BATCH)
		run_ripe();
}

void
cost_epoch_defer(struct host_epoch_item *item, void (*fn)(struct host_epoch_item *item))
{
	item->ei_fn = fn;
	item->ei_seq = sections;
	item->ei_next = deferred;
	deferred = item;
	ndeferred++;
}

void
cost_epoch_drain(void)
{
	while (deferred != NULL) {
		run_ripe();
		if (deferred != NULL)
			cost_relax();
	}
}
