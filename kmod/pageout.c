/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What happens when the host runs short of memory: a shrinker, and a thread.
 *
 * Guests' pages that are in use are referred to, so that Linux cannot take them. It asks us, from
 * whatever thread found no memory, with whatever locks that thread holds. There the shrinker drops
 * pages that need no writing: that takes two mutexes, sy_pageout and vs_sweep, whose holders never
 * ask for memory (vm_priv.h) and never wait for a thread that may, so to wait for them is safe. To
 * wait for vmm_quiet is not: this very thread may hold it, and an audit be waiting for that; so it
 * is tried, and if it cannot be had the shrinker does nothing.
 *
 * All else is left to the thread, which is woken: taking mappings back from processes, and pages
 * that are dirty, which become Linux's to write. It goes on in small portions as long as that
 * yields something, and then rests a little: pages that are in use all the time come back at once,
 * and taking them again helps nobody.
 */

#include <linux/kthread.h>
#include <linux/minmax.h>
#include <linux/shrinker.h>
#include <linux/wait.h>

#include "host/host_linux.h"
#include "kmod/vmm_priv.h"

/* Of the thread: pages at a time, so that an audit need not wait long; and in all for one call. */
#define PORTION_PAGES 256
#define WANTED_MAX_PAGES 16384

/* How long the thread rests after a portion that yielded nothing. */
#define REST (HZ / 10)

static struct task_struct *thread;
static DECLARE_WAIT_QUEUE_HEAD(thread_wait);
static atomic_long_t wanted_pages;

static struct {
	atomic_long_t calls;
	atomic_long_t dropped;
	atomic_long_t skipped;
	atomic_long_t wakeups;
	atomic_long_t taken;
} count;

void
pageout_counts(struct pageout_counts *pc)
{
	pc->pc_calls = atomic_long_read(&count.calls);
	pc->pc_dropped = atomic_long_read(&count.dropped);
	pc->pc_skipped = atomic_long_read(&count.skipped);
	pc->pc_wakeups = atomic_long_read(&count.wakeups);
	pc->pc_taken = atomic_long_read(&count.taken);
}

/* ---- The thread ------------------------------------------------------------------------------ */

static u64
take_portion(u64 npages)
{
	uint64_t freed = 0;

	percpu_down_read(&vmm_quiet);
	(void)vm_pageout(vmm_system, NULL, npages, 0, &freed);
	percpu_up_read(&vmm_quiet);
	atomic_long_add(freed, &count.taken);
	return freed;
}

/* Pages that processes have mapped are held, and stay; that is worth a second try only. */
static u64
take_portion_hard(u64 npages)
{
	const u64 freed = take_portion(npages);

	if (freed >= npages)
		return freed;
	vm_for_each(mappings_release_all);
	return freed + take_portion(npages - freed);
}

static int
thread_main(void *unused)
{
	while (!kthread_should_stop()) {
		long left;

		wait_event_idle(thread_wait,
				kthread_should_stop() || atomic_long_read(&wanted_pages) != 0);
		left = min(atomic_long_xchg(&wanted_pages, 0), (long)WANTED_MAX_PAGES);
		while (left > 0 && !kthread_should_stop()) {
			const long freed = take_portion_hard(min(left, (long)PORTION_PAGES));

			left -= freed;
			if (freed == 0) {
				schedule_timeout_idle(REST);
				break;
			}
		}
	}
	return 0;
}

static void
wake(unsigned long npages)
{
	atomic_long_add(min(npages, (unsigned long)WANTED_MAX_PAGES), &wanted_pages);
	atomic_long_inc(&count.wakeups);
	wake_up(&thread_wait);
}

/* ---- The shrinker ---------------------------------------------------------------------------- */

static unsigned long
shrinker_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct host_linux_held_pages hp;

	host_linux_held_pages(&hp);
	return hp.hp_paged > 0 ? hp.hp_paged : SHRINK_EMPTY;
}

static unsigned long
shrinker_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	uint64_t freed = 0;

	atomic_long_inc(&count.calls);
	if (percpu_down_read_trylock(&vmm_quiet)) {
		(void)vm_pageout(vmm_system, NULL, sc->nr_to_scan, VM_PAGEOUT_CLEAN, &freed);
		percpu_up_read(&vmm_quiet);
		atomic_long_add(freed, &count.dropped);
	} else {
		atomic_long_inc(&count.skipped);
	}
	if (freed < sc->nr_to_scan)
		wake(sc->nr_to_scan - freed);
	return freed != 0 ? freed : SHRINK_STOP;
}

static struct shrinker shrinker = {
	.count_objects = shrinker_count,
	.scan_objects = shrinker_scan,
	.seeks = DEFAULT_SEEKS,
};

/* ---- Up and down ----------------------------------------------------------------------------- */

int
pageout_init(void)
{
	int error;

	thread = kthread_run(thread_main, NULL, "vmm-pageout");
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	error = register_shrinker(&shrinker, "vmm");
	if (error)
		kthread_stop(thread);
	return error;
}

void
pageout_exit(void)
{
	unregister_shrinker(&shrinker);
	kthread_stop(thread);
}
