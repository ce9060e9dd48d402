/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The Linux world, second half: what pmap/host.h declares.
 *
 * An epoch section is a stretch with preemption off: to RCU that is a read section, and the number
 * of the CPU stays true. What was deferred is called by a worker, in a thread: never from an
 * interrupt, so that it may take the locks of the core, which do not block interrupts.
 */

#ifndef KMOD_HOST_IMPL_H
#define KMOD_HOST_IMPL_H

#include <linux/atomic.h>
#include <linux/irqflags.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <asm/page.h>
#include <asm/pgtable.h>

#include "host_linux.h"

/* ---- Shared words -------------------------------------------------------------------------- */

static inline uint64_t
host_load(const struct host_word *w)
{
	return READ_ONCE(w->hw_value);
}

static inline uint64_t
host_load_acquire(const struct host_word *w)
{
	return smp_load_acquire(&w->hw_value);
}

static inline uint64_t
host_glance(const struct host_word *w)
{
	return READ_ONCE(w->hw_value);
}

static inline void
host_store(struct host_word *w, uint64_t value)
{
	WRITE_ONCE(w->hw_value, value);
}

static inline void
host_store_release(struct host_word *w, uint64_t value)
{
	smp_store_release(&w->hw_value, value);
}

/* Linux's xchg(), cmpxchg() and value-returning atomics are locked operations and full fences. */
static inline uint64_t
host_xchg(struct host_word *w, uint64_t value)
{
	return xchg(&w->hw_value, value);
}

static inline bool
host_cas(struct host_word *w, uint64_t *old, uint64_t new)
{
	const uint64_t expected = *old;

	*old = cmpxchg(&w->hw_value, expected, new);
	return *old == expected;
}

/* x86 has no locked AND or OR that returns the old value; these are loops, as anywhere. */
static inline uint64_t
host_fetch_and(struct host_word *w, uint64_t mask)
{
	uint64_t old = host_load(w);

	while (!host_cas(w, &old, old & mask))
		;
	return old;
}

static inline uint64_t
host_fetch_or(struct host_word *w, uint64_t bits)
{
	uint64_t old = host_load(w);

	while (!host_cas(w, &old, old | bits))
		;
	return old;
}

static inline uint64_t
host_fetch_add(struct host_word *w, uint64_t addend)
{
	return xadd(&w->hw_value, addend);
}

static inline void
host_fence(void)
{
	smp_mb();
}

static inline void
host_fill_private(struct host_word *words, unsigned int n, uint64_t first, uint64_t step)
{
	unsigned int i = 0;

	/* Four at a time, which no compiler does by itself at -O2. */
	for (; i + 4 <= n; i += 4, first += 4 * step) {
		words[i].hw_value = first;
		words[i + 1].hw_value = first + step;
		words[i + 2].hw_value = first + 2 * step;
		words[i + 3].hw_value = first + 3 * step;
	}
	for (; i < n; i++, first += step)
		words[i].hw_value = first;
}

static inline void
host_count(struct host_word *w, uint64_t addend)
{
	host_store(w, host_load(w) + addend);
}

/* ---- CPUs ---------------------------------------------------------------------------------- */

static inline unsigned int
host_cpu(void)
{
	return raw_smp_processor_id();
}

static inline void
host_kick(unsigned int cpu)
{
	HOST_ASSERT(cpu < HOST_MAX_CPUS);
	host_linux_kick(cpu);
}

/*
 * Where the kernel does not count preemption, it does not preempt either, and nothing tells whether
 * this CPU is in a section but our own count.
 */
static inline void
host_relax(void)
{
	HOST_ASSERT(host_linux_held_count() == 0);
	HOST_ASSERT(!irqs_disabled());
	cpu_relax();
#ifdef CONFIG_PREEMPT_COUNT
	if (preemptible())
		cond_resched();
#else
	if (host_linux_nest_count() == 0)
		cond_resched();
#endif
}

static inline void
host_invlpg(uint64_t va, uint64_t npages)
{
	host_linux_no_x86("INVLPG");
}

static inline void
host_flush_tlb(bool global)
{
	host_linux_no_x86("a TLB flush");
}

/* ---- Locks --------------------------------------------------------------------------------- */

static inline void
host_lock_init(struct host_lock *l, unsigned int rank)
{
	l->hl_lock = (arch_spinlock_t)__ARCH_SPIN_LOCK_UNLOCKED;
	l->hl_owner = 0;
	l->hl_rank = rank;
}

static inline void
host_lock(struct host_lock *l)
{
	preempt_disable();
	host_linux_locking(l);
	arch_spin_lock(&l->hl_lock);
	WRITE_ONCE(l->hl_owner, raw_smp_processor_id() + 1);
}

static inline void
host_unlock(struct host_lock *l)
{
	host_linux_unlocking(l);
	WRITE_ONCE(l->hl_owner, 0);
	arch_spin_unlock(&l->hl_lock);
	preempt_enable();
}

static inline bool
host_lock_held(const struct host_lock *l)
{
	return READ_ONCE(l->hl_owner) == raw_smp_processor_id() + 1;
}

/* ---- Epoch --------------------------------------------------------------------------------- */

static inline void
host_epoch_enter(void)
{
	preempt_disable();
	host_linux_nest(1);
}

static inline void
host_epoch_exit(void)
{
	host_linux_nest(-1);
	preempt_enable();
}

static inline bool
host_epoch_held(void)
{
	return host_linux_epoch_held();
}

static inline void
host_epoch_defer(struct host_epoch_item *item, void (*fn)(struct host_epoch_item *item))
{
	host_linux_epoch_defer(item, fn);
}

static inline void
host_epoch_drain(void)
{
	host_linux_epoch_drain();
}

/* ---- Memory -------------------------------------------------------------------------------- */

static inline bool
host_table_alloc(uint64_t *hpa)
{
	HOST_ASSERT(host_linux_held_count() == 0);
	return host_linux_table_alloc(hpa);
}

static inline void
host_table_free(uint64_t hpa)
{
	host_linux_table_free(hpa);
}

static inline struct host_word *
host_table_words(uint64_t hpa)
{
	return __va(hpa);
}

static inline uint64_t
host_table_hpa(const struct host_word *words)
{
	return __pa(words);
}

/* The descriptor hangs on the page's own struct page. */
static inline void *
host_table_desc(uint64_t hpa)
{
	return (void *)page_private(pfn_to_page(hpa >> PAGE_SHIFT));
}

static inline void *
host_alloc(size_t bytes)
{
	might_sleep();
	return host_linux_alloc(bytes);
}

static inline void
host_free(void *p, size_t bytes)
{
	host_linux_free(p);
}

static inline void
host_trace(enum host_trace_event event, uint64_t a, uint64_t b, uint64_t c)
{
	host_linux_trace(event, a, b, c);
}

#endif /* KMOD_HOST_IMPL_H */
