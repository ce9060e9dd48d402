/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The Linux world of vmspace: mutexes, events, and frames that are not a pager's.
 */

#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <asm/io.h>

#include "host_linux_priv.h"

/* ---- Sleeping -------------------------------------------------------------------------------- */

/* One class for lockdep per rank: the order of ranks is the order that it is to hold us to. */
#define MUTEX_RANKS 16

static struct lock_class_key mutex_keys[MUTEX_RANKS];
static struct lock_class_key event_key;

void
host_linux_mutex_init(struct host_mutex *m, unsigned int rank)
{
	HOST_ASSERT(rank < MUTEX_RANKS);
	__mutex_init(&m->hm_mutex, "vmm-mutex", &mutex_keys[rank % MUTEX_RANKS]);
	m->hm_owner = NULL;
}

void
host_linux_event_init(struct host_event *e)
{
	atomic64_set(&e->he_count, 0);
	__init_waitqueue_head(&e->he_waiters, "vmm-event", &event_key);
}

/*
 * The count's increment is the fence between what the poster did and its look at the waiters; its
 * partner is in prepare_to_wait(). Who was woken may free the event after an epoch, so posting is a
 * section.
 */
void
host_linux_event_post(struct host_event *e)
{
	preempt_disable();
	atomic64_inc_return(&e->he_count);
	if (waitqueue_active(&e->he_waiters))
		wake_up_all(&e->he_waiters);
	preempt_enable();
}

int
host_linux_event_wait(struct host_event *e, uint64_t seen, bool interruptible)
{
	if (!interruptible) {
		wait_event(e->he_waiters, host_event_read(e) != seen);
		return 0;
	}
	return wait_event_interruptible(e->he_waiters, host_event_read(e) != seen) != 0 ? -EINTR
											: 0;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

/*
 * A run is a block of the buddy allocator, split, so that its frames go back one by one. Where this
 * may sleep it does, though not for long; where the kernel cannot tell, it does not.
 */
bool
host_linux_page_alloc(hpa_t *hpa, unsigned int order)
{
	const gfp_t gfp = preemptible() ? HOST_LINUX_GFP_SLEEP : GFP_NOWAIT | HOST_LINUX_GFP;
	struct page *page;

	if (order >= MAX_ORDER)
		return false;
	page = alloc_pages(gfp, order);
	if (page == NULL)
		return false;
	if (order > 0)
		split_page(page, order);
	atomic_long_add(1L << order, &host_linux_frames);
	*hpa = page_to_phys(page);
	return true;
}

void
host_linux_page_free(hpa_t hpa, unsigned int order)
{
	struct page *const page = pfn_to_page(hpa >> PAGE_SHIFT);

	for (unsigned long i = 0; i < 1UL << order; i++)
		__free_page(page + i);
	atomic_long_sub(1L << order, &host_linux_frames);
}
