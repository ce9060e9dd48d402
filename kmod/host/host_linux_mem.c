/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The Linux world: table pages and small memory.
 *
 * Tables are asked for inside epoch sections, where nothing sleeps: the kernel then gives what it
 * has at hand, or nothing, and it is nobody's fault. So that a fault does not fail for that, some
 * tables are kept in reserve. Whoever takes one starts a worker that sleeps for another.
 */

#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <asm/io.h>

#include "host_linux_priv.h"

/* As many as a few faults need that each build all levels, and split superpages. */
#define RESERVE_TABLES 64

atomic_long_t host_linux_tables;
atomic_long_t host_linux_frames;
atomic_long_t host_linux_allocs;
atomic_long_t host_linux_pagers;
atomic_long_t host_linux_paged;

atomic_t host_linux_refuse_tables;

static struct kmem_cache *desc_cache;

static struct page *reserve[RESERVE_TABLES];
static unsigned int reserve_n;
static DEFINE_SPINLOCK(reserve_lock); /* interrupts off: tables are freed in any context */

/* ---- Table pages ----------------------------------------------------------------------------- */

static struct page *
table_new(gfp_t gfp)
{
	struct page *page;
	void *desc;

	desc = kmem_cache_alloc(desc_cache, gfp | __GFP_ZERO);
	if (desc == NULL)
		return NULL;
	page = alloc_page(gfp | __GFP_ZERO);
	if (page == NULL) {
		kmem_cache_free(desc_cache, desc);
		return NULL;
	}
	set_page_private(page, (unsigned long)desc);
	return page;
}

static void
table_delete(struct page *page)
{
	kmem_cache_free(desc_cache, (void *)page_private(page));
	set_page_private(page, 0);
	__free_page(page);
}

static struct page *
reserve_take(void)
{
	struct page *page = NULL;
	unsigned long flags;

	spin_lock_irqsave(&reserve_lock, flags);
	if (reserve_n > 0)
		page = reserve[--reserve_n];
	spin_unlock_irqrestore(&reserve_lock, flags);
	return page;
}

/* False if it is full. */
static bool
reserve_put(struct page *page)
{
	unsigned long flags;
	bool room;

	spin_lock_irqsave(&reserve_lock, flags);
	room = reserve_n < RESERVE_TABLES;
	if (room)
		reserve[reserve_n++] = page;
	spin_unlock_irqrestore(&reserve_lock, flags);
	return room;
}

static void
reserve_fill_fn(struct work_struct *work)
{
	while (READ_ONCE(reserve_n) < RESERVE_TABLES) {
		struct page *const page = table_new(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);

		if (page == NULL)
			return;
		if (!reserve_put(page))
			table_delete(page);
	}
}

static DECLARE_WORK(reserve_fill, reserve_fill_fn);

void
host_linux_reserve_sync(void)
{
	flush_work(&reserve_fill);
}

bool
host_linux_table_alloc(uint64_t *hpa)
{
	struct page *page = NULL;

	if (atomic_dec_if_positive(&host_linux_refuse_tables) < 0)
		page = table_new(GFP_NOWAIT | HOST_LINUX_GFP);
	if (page == NULL) {
		page = reserve_take();
		schedule_work(&reserve_fill);
	}
	if (page == NULL)
		return false;
	atomic_long_inc(&host_linux_tables);
	*hpa = page_to_phys(page);
	return true;
}

void
host_linux_table_free(uint64_t hpa)
{
	struct page *const page = pfn_to_page(hpa >> PAGE_SHIFT);

	HOST_ASSERT(page_private(page) != 0);
	table_delete(page);
	atomic_long_dec(&host_linux_tables);
}

/* ---- Small memory ---------------------------------------------------------------------------- */

/*
 * kmalloc() aligns powers of two to their size, whatever debugging adds to them; what is larger
 * than a page is aligned to pages.
 */
void *
host_linux_alloc(size_t bytes)
{
	size_t rounded = bytes;
	void *p;

	if (bytes < PAGE_SIZE)
		rounded = bytes <= 64 ? 64 : roundup_pow_of_two(bytes);
	p = kvzalloc(rounded, GFP_KERNEL | HOST_LINUX_GFP);
	if (p == NULL)
		return NULL;
	HOST_ASSERT(IS_ALIGNED((unsigned long)p, 64));
	atomic_long_inc(&host_linux_allocs);
	return p;
}

void
host_linux_free(void *p)
{
	if (p == NULL)
		return;
	kvfree(p);
	atomic_long_dec(&host_linux_allocs);
}

/* ---- Up and down ----------------------------------------------------------------------------- */

void
host_linux_held_pages(struct host_linux_held_pages *hp)
{
	hp->hp_tables = atomic_long_read(&host_linux_tables);
	hp->hp_frames = atomic_long_read(&host_linux_frames);
	hp->hp_allocs = atomic_long_read(&host_linux_allocs);
	hp->hp_pagers = atomic_long_read(&host_linux_pagers);
	hp->hp_paged = atomic_long_read(&host_linux_paged);
}

int
host_linux_mem_init(void)
{
	desc_cache = kmem_cache_create("vmm_table_desc", HOST_TABLE_DESC_BYTES, 64, 0, NULL);
	if (desc_cache == NULL)
		return -ENOMEM;
	reserve_fill_fn(NULL);
	return 0;
}

void
host_linux_mem_fini(void)
{
	struct host_linux_held_pages hp;
	struct page *page;

	cancel_work_sync(&reserve_fill);
	while ((page = reserve_take()) != NULL)
		table_delete(page);
	kmem_cache_destroy(desc_cache);
	host_linux_held_pages(&hp);
	WARN(hp.hp_tables != 0 || hp.hp_frames != 0 || hp.hp_allocs != 0 || hp.hp_pagers != 0 ||
		     hp.hp_paged != 0,
	     "vmm: unloaded with %ld table pages, %ld frames, %ld allocations, %ld pagers "
	     "and %ld of their pages still held\n",
	     hp.hp_tables, hp.hp_frames, hp.hp_allocs, hp.hp_pagers, hp.hp_paged);
}
