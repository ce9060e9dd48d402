/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What a host must provide to the page-table core: the whole of its contact with the world.
 *
 * One core, three worlds (a kernel, a simulator, a POSIX process). A world brings two headers,
 * found by -I:
 *
 *   <host_types.h>  fixed-width integers, bool, size_t, NULL, negative-errno constants (ENOMEM...),
 *                   struct host_lock, struct host_epoch_item, HOST_ASSERT(), HOST_MAX_CPUS
 *   <host_impl.h>   the functions declared below, as static inline
 *
 * The prototypes stand between the two, so that the compiler holds every world to the same
 * signatures; a function that a world forgets is a warning, and warnings are errors. There is no
 * ops table: the hot services are one instruction natively, and one scheduling point in the
 * simulator.
 *
 * Context. Unless said otherwise a function here may be called in any context in which the core
 * itself may be called, with table locks held and inside an epoch section, and does not sleep.
 */

#ifndef PMAP_HOST_H
#define PMAP_HOST_H

#include <host_types.h>

/*
 * A word that others touch at the same time: page-table entries, generations, slots. It is wrapped
 * so that nothing but the functions below can reach it; the simulator thereby sees each access.
 */
struct host_word {
	uint64_t hw_value;
};

#define HOST_PAGE_SHIFT 12
#define HOST_PAGE_SIZE ((uint64_t)1 << HOST_PAGE_SHIFT)
#define HOST_TABLE_WORDS 512

/*
 * Room that the host sets aside for the descriptor of each table page; its use is pmap's affair. A
 * host whose locks take more than a word says how much it is there (<host_types.h>).
 */
#ifndef HOST_TABLE_DESC_BYTES
#define HOST_TABLE_DESC_BYTES 64
#endif

/* ---- Shared words -------------------------------------------------------------------------- */

/*
 * Loads and stores of one word, never torn. Relaxed ones order nothing; an acquire load comes
 * before all later accesses of this CPU, a release store after all earlier ones. As on x86, a store
 * may stay invisible to other CPUs until a locked operation or host_fence(), and later loads may
 * pass it.
 */
static inline uint64_t host_load(const struct host_word *w);
static inline uint64_t host_load_acquire(const struct host_word *w);
static inline void host_store(struct host_word *w, uint64_t value);
static inline void host_store_release(struct host_word *w, uint64_t value);

/*
 * A load for a prefetch, of which nothing else may depend: a host to whom caches mean nothing
 * returns 0, and the simulator does not see it.
 */
static inline uint64_t host_glance(const struct host_word *w);

/*
 * Locked operations: atomic against every CPU and against hardware page walkers, and full fences.
 * host_xchg() and the fetch operations return the value they replaced. host_cas() stores value if
 * the word holds *old, and returns whether it did; if not, *old is what the word held instead.
 */
static inline uint64_t host_xchg(struct host_word *w, uint64_t value);
static inline bool host_cas(struct host_word *w, uint64_t *old, uint64_t value);
static inline uint64_t host_fetch_and(struct host_word *w, uint64_t mask);
static inline uint64_t host_fetch_or(struct host_word *w, uint64_t bits);
static inline uint64_t host_fetch_add(struct host_word *w, uint64_t addend);

/* Full fence: every earlier store is visible to all before any later load is made. */
static inline void host_fence(void);

/*
 * Fills words[0..n) with first, first + step, first + 2 * step ... The words must be private to the
 * caller, not yet linked where anyone could find them: plain stores, not ordered by themselves.
 */
static inline void host_fill_private(struct host_word *words, unsigned int n, uint64_t first,
				     uint64_t step);

/*
 * Adds to a counter that only this CPU writes (wrapping). Others may read it with host_load() and
 * see an old value. No ordering. Must be called inside an epoch section or with interrupts off, so
 * that host_cpu() stays true meanwhile.
 */
static inline void host_count(struct host_word *w, uint64_t addend);

/* ---- CPUs ---------------------------------------------------------------------------------- */

/* The CPU this code runs on, below HOST_MAX_CPUS. Stable inside an epoch section. */
static inline unsigned int host_cpu(void);

/*
 * Sends an interrupt to a CPU; returns at once. A CPU in guest mode leaves it; one with interrupts
 * blocked takes it when it unblocks or enters the guest, which then exits at once. An offline CPU,
 * or the caller's own, is allowed and does nothing.
 */
static inline void host_kick(unsigned int cpu);

/*
 * Called in each turn of a loop that waits for another CPU, and every 512 entries of a long one.
 * Interrupts must be deliverable: the one waited for may itself wait for this CPU. Called without
 * table locks; it may yield the CPU where the host can.
 */
static inline void host_relax(void);

/*
 * Drop the translations of this CPU for the PT_X86 pmap that is loaded on it: of every 4 KiB page
 * in [va, va + npages * 4 KiB), as INVLPG does (Intel SDM vol. 3A, 4.10.4.1: it also drops all
 * paging-structure-cache entries), or all of them, global ones (PG_G) included if global is set.
 * Interrupts off or inside an epoch section.
 */
static inline void host_invlpg(uint64_t va, uint64_t npages);
static inline void host_flush_tlb(bool global);

/* ---- Locks --------------------------------------------------------------------------------- */

/*
 * Spin locks. Taking one acquires, releasing one releases; a critical section does not sleep. rank
 * orders them: a lock may be taken only while every lock already held by this CPU has a smaller
 * rank, or the same rank and a lower address. Debug builds and the simulator check this.
 */
static inline void host_lock_init(struct host_lock *l, unsigned int rank);
static inline void host_lock(struct host_lock *l);
static inline void host_unlock(struct host_lock *l);
static inline bool host_lock_held(const struct host_lock *l); /* by this CPU; for assertions */

/* ---- Epoch --------------------------------------------------------------------------------- */

/*
 * Read sections (RCU). What was reachable when the section began stays allocated until it ends.
 * Sections nest, do not sleep and do not wait for a shootdown. A CPU in guest mode is not in one.
 */
static inline void host_epoch_enter(void);
static inline void host_epoch_exit(void);
static inline bool host_epoch_held(void); /* by this CPU; true where nobody counts; to assert */

/*
 * Calls fn(item) once every section that is now open anywhere has ended; not from inside this call.
 * item belongs to the host until then. fn does not sleep; no order between items is promised.
 */
static inline void host_epoch_defer(struct host_epoch_item *item,
				    void (*fn)(struct host_epoch_item *item));

/*
 * Returns when all items deferred before this call have run. May sleep; outside sections and locks.
 */
static inline void host_epoch_drain(void);

/* ---- Memory -------------------------------------------------------------------------------- */

/*
 * A page for a page table, zeroed, with its HOST_TABLE_DESC_BYTES of zeroed descriptor. Returns its
 * host-physical address in *hpa, or false when there is none: the caller goes on without. May be
 * called inside an epoch section but never with a table lock held. Does not sleep.
 * host_table_free() takes back a page that nobody can reach any more, in any context.
 */
static inline bool host_table_alloc(uint64_t *hpa);
static inline void host_table_free(uint64_t hpa);

/* The words and the descriptor of a table page, by its address; and its address by its words. */
static inline struct host_word *host_table_words(uint64_t hpa);
static inline uint64_t host_table_hpa(const struct host_word *words);
static inline void *host_table_desc(uint64_t hpa);

/* Small long-lived memory, zeroed, 64-byte aligned; NULL when there is none. May sleep. */
static inline void *host_alloc(size_t bytes);
static inline void host_free(void *p, size_t bytes);

/* ---- Watching ------------------------------------------------------------------------------- */

/*
 * For people who watch a running system: what the core is about to do, or has done. A world tells
 * them, or does nothing; the core does not depend on it. Seldom things only. Any context.
 */
enum host_trace_event {
	HOST_TRACE_SHOOTDOWN_BEGIN, /* root table, generation that must be seen */
	HOST_TRACE_SHOOTDOWN_END,   /* the same: it was */
	HOST_TRACE_PROMOTE,	    /* root table, guest-physical address, level */
	HOST_TRACE_PAGEOUT,	    /* pages wanted, pages that left memory */
};
static inline void host_trace(enum host_trace_event event, uint64_t a, uint64_t b, uint64_t c);

#include <host_impl.h>

#endif /* PMAP_HOST_H */
