/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The simulated world, second part: the services of pmap/host.h. Every access that another CPU or
 * the hardware could see is a scheduling point with an address, a kind and an ordering; what
 * happens there is sim/machine/memmodel.c's and sim/machine/sched.c's affair.
 */

#ifndef SIM_HOST_IMPL_H
#define SIM_HOST_IMPL_H

#include "sim/machine/machine.h"

static inline uint64_t
host_load(const struct host_word *w)
{
	return sim_word_load(&w->hw_value, SIM_LOAD);
}

static inline uint64_t
host_load_acquire(const struct host_word *w)
{
	return sim_word_load(&w->hw_value, SIM_LOAD_ACQUIRE);
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
	sim_word_store(&w->hw_value, value, SIM_STORE);
}

static inline void
host_store_release(struct host_word *w, uint64_t value)
{
	sim_word_store(&w->hw_value, value, SIM_STORE_RELEASE);
}

static inline uint64_t
host_xchg(struct host_word *w, uint64_t value)
{
	return sim_word_xchg(&w->hw_value, value);
}

static inline bool
host_cas(struct host_word *w, uint64_t *old, uint64_t new)
{
	return sim_word_cas(&w->hw_value, old, new);
}

static inline uint64_t
host_fetch_and(struct host_word *w, uint64_t mask)
{
	return sim_word_fetch_and(&w->hw_value, mask);
}

static inline uint64_t
host_fetch_or(struct host_word *w, uint64_t bits)
{
	return sim_word_fetch_or(&w->hw_value, bits);
}

static inline uint64_t
host_fetch_add(struct host_word *w, uint64_t addend)
{
	return sim_word_fetch_add(&w->hw_value, addend);
}

static inline void
host_fence(void)
{
	sim_fence();
}

static inline void
host_fill_private(struct host_word *words, unsigned int n, uint64_t first, uint64_t step)
{
	sim_fill_private(&words->hw_value, n, first, step);
}

static inline void
host_count(struct host_word *w, uint64_t addend)
{
	sim_count(&w->hw_value, addend);
}

static inline unsigned int
host_cpu(void)
{
	return sim_cpu();
}

static inline void
host_kick(unsigned int cpu)
{
	sim_host_kick(cpu);
}

static inline void
host_relax(void)
{
	sim_relax();
}

static inline void
host_invlpg(uint64_t va, uint64_t npages)
{
	sim_invlpg(va, npages);
}

static inline void
host_flush_tlb(bool global)
{
	sim_flush_tlb(global);
}

static inline void
host_lock_init(struct host_lock *l, unsigned int rank)
{
	sim_lock_init(l, rank);
}

static inline void
host_lock(struct host_lock *l)
{
	sim_lock(l);
}

static inline void
host_unlock(struct host_lock *l)
{
	sim_unlock(l);
}

static inline bool
host_lock_held(const struct host_lock *l)
{
	return sim_lock_held(l);
}

static inline void
host_epoch_enter(void)
{
	sim_epoch_enter();
}

static inline void
host_epoch_exit(void)
{
	sim_epoch_exit();
}

static inline bool
host_epoch_held(void)
{
	return sim_epoch_held();
}

static inline void
host_epoch_defer(struct host_epoch_item *item, void (*fn)(struct host_epoch_item *item))
{
	sim_epoch_defer(item, fn);
}

static inline void
host_epoch_drain(void)
{
	sim_epoch_drain();
}

static inline bool
host_table_alloc(uint64_t *hpa)
{
	return sim_table_alloc(hpa);
}

static inline void
host_table_free(uint64_t hpa)
{
	sim_table_free(hpa);
}

static inline struct host_word *
host_table_words(uint64_t hpa)
{
	return (struct host_word *)sim_table_words(hpa);
}

static inline uint64_t
host_table_hpa(const struct host_word *words)
{
	return sim_table_hpa((const uint64_t *)words);
}

static inline void *
host_table_desc(uint64_t hpa)
{
	return sim_table_desc(hpa);
}

static inline void *
host_alloc(size_t bytes)
{
	return sim_host_alloc(bytes);
}

static inline void
host_free(void *p, size_t bytes)
{
	sim_host_free(p, bytes);
}

static inline void
host_trace(enum host_trace_event event, uint64_t a, uint64_t b, uint64_t c)
{
	(void)event;
	(void)a;
	(void)b;
	(void)c;
}

#endif /* SIM_HOST_IMPL_H */
