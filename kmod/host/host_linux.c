/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The Linux world: bringing it up, CPUs, locks that are watched, and the epoch.
 */

#include <linux/cpumask.h>
#include <linux/kernel.h>
#include <linux/rcupdate.h>
#include <linux/workqueue.h>

#include "host_linux_priv.h"

DEFINE_PER_CPU(struct host_linux_cpu, host_linux_cpu);

void
host_linux_assert_failed(const char *file, int line, const char *what)
{
	if (PMAP_CHECK >= 2) {
		pr_emerg("vmm: assertion failed at %s:%d: %s\n", file, line, what);
		BUG();
	}
	WARN(true, "vmm: assertion failed at %s:%d: %s\n", file, line, what);
}

/* ---- CPUs ------------------------------------------------------------------------------------ */

/*
 * The reschedule interrupt is what the kernel has for this: cheap, never lost, and harmless to who
 * did not need it. While preemption is off here no CPU can finish going offline.
 */
void
host_linux_kick(unsigned int cpu)
{
	preempt_disable();
	if (cpu != smp_processor_id() && cpu < nr_cpu_ids && cpu_online(cpu))
		smp_send_reschedule(cpu);
	preempt_enable();
}

/* PT_X86 pmaps of this module are walked by its own code, or by guests; no host CPU loads one. */
void
host_linux_no_x86(const char *what)
{
	WARN_ONCE(true, "vmm: %s for a pmap that no CPU of this host can have loaded\n", what);
}

/* ---- Locks ----------------------------------------------------------------------------------- */

#if PMAP_CHECK >= 1
bool
host_linux_lock_in_order(const struct host_lock *l)
{
	const struct host_linux_cpu *const lc = this_cpu_ptr(&host_linux_cpu);

	for (unsigned int i = 0; i < lc->lc_held; i++) {
		const struct host_lock *h = lc->lc_locks[i];

		if (h->hl_rank > l->hl_rank || (h->hl_rank == l->hl_rank && h >= l))
			return false;
	}
	return true;
}

void
host_linux_locking(const struct host_lock *l)
{
	struct host_linux_cpu *const lc = this_cpu_ptr(&host_linux_cpu);

	HOST_ASSERT(!in_hardirq() && !in_serving_softirq());
	HOST_ASSERT(host_linux_lock_in_order(l));
	HOST_ASSERT(lc->lc_held < HOST_LINUX_LOCKS_MAX);
	if (lc->lc_held < HOST_LINUX_LOCKS_MAX)
		lc->lc_locks[lc->lc_held++] = l;
}

/* Locks may be released in any order. */
void
host_linux_unlocking(const struct host_lock *l)
{
	struct host_linux_cpu *const lc = this_cpu_ptr(&host_linux_cpu);
	unsigned int i = lc->lc_held;

	HOST_ASSERT(host_lock_held(l));
	while (i > 0 && lc->lc_locks[i - 1] != l)
		i--;
	HOST_ASSERT(i > 0);
	if (i > 0)
		lc->lc_locks[i - 1] = lc->lc_locks[--lc->lc_held];
}
#endif

/* ---- Epoch ----------------------------------------------------------------------------------- */

/*
 * RCU calls from a soft interrupt, which may have come upon a holder of the very lock that fn
 * takes. So it only hands the item on, and a worker calls.
 */
static LLIST_HEAD(epoch_due);
static struct workqueue_struct *epoch_queue;

static void
epoch_work_fn(struct work_struct *work)
{
	struct llist_node *due = llist_del_all(&epoch_due);

	while (due != NULL) {
		struct host_epoch_item *const item =
			container_of(due, struct host_epoch_item, ei_node);

		due = due->next;
		item->ei_fn(item);
		cond_resched();
	}
}

static DECLARE_WORK(epoch_work, epoch_work_fn);

static void
epoch_over(struct rcu_head *head)
{
	struct host_epoch_item *const item = container_of(head, struct host_epoch_item, ei_rcu);

	if (llist_add(&item->ei_node, &epoch_due))
		queue_work(epoch_queue, &epoch_work);
}

void
host_linux_epoch_defer(struct host_epoch_item *item, void (*fn)(struct host_epoch_item *item))
{
	item->ei_fn = fn;
	call_rcu(&item->ei_rcu, epoch_over);
}

void
host_linux_epoch_drain(void)
{
	might_sleep();
	HOST_ASSERT(host_linux_held_count() == 0);
	rcu_barrier();
	flush_work(&epoch_work);
}

/* ---- Up and down ----------------------------------------------------------------------------- */

int
host_linux_init(void)
{
	int error;

	if (nr_cpu_ids > HOST_MAX_CPUS) {
		pr_err("vmm: this machine may have %u CPUs, vmm.ko is built for %u at most; boot "
		       "with possible_cpus=%u\n",
		       nr_cpu_ids, HOST_MAX_CPUS, HOST_MAX_CPUS);
		return -EINVAL;
	}
	/* It frees memory: it must get on when there is none. */
	epoch_queue = alloc_workqueue("vmm-epoch", WQ_MEM_RECLAIM | WQ_UNBOUND, 1);
	if (epoch_queue == NULL)
		return -ENOMEM;
	error = host_linux_mem_init();
	if (error != 0) {
		destroy_workqueue(epoch_queue);
		return error;
	}
	host_linux_pager_init();
	return 0;
}

void
host_linux_fini(void)
{
	host_linux_epoch_drain();
	destroy_workqueue(epoch_queue);
	host_linux_pager_fini();
	host_linux_mem_fini();
}
