/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The world of costs, second half: what pmap/host.h declares. Each access to a shared word takes
 * its time on the clock of the CPU that makes it, and CPUs act in the order of their clocks.
 */

#ifndef BENCH_COST_HOST_IMPL_H
#define BENCH_COST_HOST_IMPL_H

#include "bench/cost/cost.h"

static inline uint64_t
host_load(const struct host_word *w)
{
	cost_load(&w->hw_value);
	return w->hw_value;
}

static inline uint64_t
host_load_acquire(const struct host_word *w)
{
	cost_load(&w->hw_value);
	return w->hw_value;
}

static inline uint64_t
host_glance(const struct host_word *w)
{
	(void)w;
	return 0;
}

static inline void
host_store(struct host_word *w, uint64_t value)
{
	cost_store(&w->hw_value);
	w->hw_value = value;
}

static inline void
host_store_release(struct host_word *w, uint64_t value)
{
	cost_store(&w->hw_value);
	w->hw_value = value;
}

static inline uint64_t
host_xchg(struct host_word *w, uint64_t value)
{
	cost_locked(&w->hw_value);

	const uint64_t old = w->hw_value;

	w->hw_value = value;
	return old;
}

static inline bool
host_cas(struct host_word *w, uint64_t *old, uint64_t value)
{
	cost_locked(&w->hw_value);
	if (w->hw_value == *old) {
		w->hw_value = value;
		return true;
	}
	*old = w->hw_value;
	return false;
}

static inline uint64_t
host_fetch_and(struct host_word *w, uint64_t mask)
{
	cost_locked(&w->hw_value);

	const uint64_t old = w->hw_value;

	w->hw_value = old & mask;
	return old;
}

static inline uint64_t
host_fetch_or(struct host_word *w, uint64_t bits)
{
	cost_locked(&w->hw_value);

	const uint64_t old = w->hw_value;

	w->hw_value = old | bits;
	return old;
}

static inline uint64_t
host_fetch_add(struct host_word *w, uint64_t addend)
{
	cost_locked(&w->hw_value);

	const uint64_t old = w->hw_value;

	w->hw_value = old + addend;
	return old;
}

static inline void
host_fence(void)
{
	cost_fence();
}

static inline void
host_fill_private(struct host_word *words, unsigned int n, uint64_t first, uint64_t step)
{
	for (unsigned int i = 0; i < n; i++)
		words[i].hw_value = first + i * step;
	cost_spend(n / 8); /* a line a nanosecond */
}

static inline void
host_count(struct host_word *w, uint64_t addend)
{
	host_store(w, host_load(w) + addend);
}

static inline unsigned int
host_cpu(void)
{
	return cost_cpu();
}

static inline void
host_kick(unsigned int cpu)
{
	cost_kick(cpu);
}

static inline void
host_relax(void)
{
	cost_relax();
}

static inline void
host_invlpg(uint64_t va, uint64_t npages)
{
	(void)va;
	(void)npages;
}

static inline void
host_flush_tlb(bool global)
{
	(void)global;
}

static inline void
host_lock_init(struct host_lock *l, unsigned int rank)
{
	(void)rank;
	l->hl_word = 0;
}

static inline void
host_lock(struct host_lock *l)
{
	cost_lock(&l->hl_word);
}

static inline void
host_unlock(struct host_lock *l)
{
	cost_store(&l->hl_word);
	l->hl_word = 0;
}

static inline bool
host_lock_held(const struct host_lock *l)
{
	return l->hl_word == (uint64_t)cost_cpu() + 1;
}

static inline void
host_epoch_enter(void)
{
	cost_epoch_enter();
}

static inline void
host_epoch_exit(void)
{
	cost_epoch_exit();
}

static inline bool
host_epoch_held(void)
{
	return cost_epoch_held();
}

static inline void
host_epoch_defer(struct host_epoch_item *item, void (*fn)(struct host_epoch_item *item))
{
	cost_epoch_defer(item, fn);
}

static inline void
host_epoch_drain(void)
{
	cost_epoch_drain();
}

static inline bool
host_table_alloc(uint64_t *hpa)
{
	return cost_table_alloc(hpa);
}

static inline void
host_table_free(uint64_t hpa)
{
	cost_table_free(hpa);
}

static inline struct host_word *
host_table_words(uint64_t hpa)
{
	return cost_table_words(hpa);
}

static inline uint64_t
host_table_hpa(const struct host_word *w)
{
	return cost_table_hpa(w);
}

static inline void *
host_table_desc(uint64_t hpa)
{
	return cost_table_desc(hpa);
}

static inline void *
host_alloc(size_t bytes)
{
	return cost_alloc(bytes);
}

static inline void
host_free(void *p, size_t bytes)
{
	(void)bytes;
	cost_free(p);
}

static inline void
host_trace(enum host_trace_event event, uint64_t a, uint64_t b, uint64_t c)
{
	(void)event;
	(void)a;
	(void)b;
	(void)c;
}

#endif /* BENCH_COST_HOST_IMPL_H */
