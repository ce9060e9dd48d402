/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The POSIX world, second half: what pmap/host.h declares.
 *
 * A thread is a CPU. It gets the lowest free CPU number when it first needs one and gives it back
 * when it ends. Shared words are accessed with the compiler's atomic built-ins, which every race
 * detector that instruments code understands. What is hot is here, inline; what is cold is in
 * host_posix.c (CPUs, locks, kicks), host_arena.c (memory) and host_epoch.c.
 *
 * Helgrind sees instructions, not atomics. In the variant built with HOST_HELGRIND=1 a store to a
 * shared word is an exchange (which helgrind takes for a read, as it does all locked instructions),
 * so that words as such never race, and each release and acquire is told to it, so that the data
 * that the words protect is still checked. All of that is in the section "shared words" below.
 */

#ifndef PMAP_POSIX_HOST_IMPL_H
#define PMAP_POSIX_HOST_IMPL_H

#include <sched.h>

#ifndef HOST_HELGRIND
#define HOST_HELGRIND 0
#endif

#if HOST_HELGRIND
#include <valgrind/helgrind.h>
#define HOST_HG_RELEASE(p) ANNOTATE_HAPPENS_BEFORE(p)
#define HOST_HG_ACQUIRE(p) ANNOTATE_HAPPENS_AFTER(p)
#define HOST_HG_LOCK_INIT(l) ANNOTATE_RWLOCK_CREATE(l)
#define HOST_HG_LOCKED(l) ANNOTATE_RWLOCK_ACQUIRED(l, 1)
#define HOST_HG_UNLOCKING(l) ANNOTATE_RWLOCK_RELEASED(l, 1)
#else
#define HOST_HG_RELEASE(p) ((void)(p))
#define HOST_HG_ACQUIRE(p) ((void)(p))
#define HOST_HG_LOCK_INIT(l) ((void)(l))
#define HOST_HG_LOCKED(l) ((void)(l))
#define HOST_HG_UNLOCKING(l) ((void)(l))
#endif

/* ThreadSanitizer knows no stand-alone fences; GCC refuses to compile them with it. */
#if defined(__SANITIZE_THREAD__)
#define HOST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HOST_TSAN 1
#endif
#endif
#ifndef HOST_TSAN
#define HOST_TSAN 0
#endif

/* Locks that one CPU may hold at a time: one for each level, and the small ones. */
#define HOST_POSIX_HELD_MAX 16

struct host_posix_cpu {
	/* Others read or write these. */
	struct host_word pc_epoch;	 /* 0 outside sections; else 2 * the epoch at entry + 1 */
	struct host_word pc_kicked;	 /* a kick has arrived and was not taken yet */
	struct host_word pc_online;	 /* a thread has this number */
	struct host_word pc_interrupted; /* interruptible sleep ends; vmspace/posix sets it */
	uint64_t pc_pad[4];

	/* This thread's own. */
	unsigned int pc_id;
	unsigned int pc_nest; /* open epoch sections */
	unsigned int pc_held; /* locks held */
	unsigned int pc_relaxed;
	unsigned int pc_backlog;     /* deferred items of this CPU, nearly */
	unsigned int pc_backlog_max; /* beyond this, closing a section runs what may run */
	struct host_word pc_fence;
	const struct host_lock *pc_locks[HOST_POSIX_HELD_MAX];

	/* Locks that may be slept with, for vmspace/posix. */
	const void *pc_mutexes[HOST_POSIX_HELD_MAX];
	unsigned int pc_mutexes_held;
} __attribute__((aligned(128)));

/* Addresses to which host-physical ones are added; constant once the first CPU exists. */
struct host_posix_arena {
	char *pa_words;
	char *pa_descs;
};

extern __thread struct host_posix_cpu *host_posix_self __attribute__((tls_model("initial-exec")));
extern struct host_posix_arena host_posix_arena;

struct host_posix_cpu *host_posix_cpu_enlist(void);
void host_posix_lock_wait(struct host_lock *l, uint32_t me);
void host_posix_kick(unsigned int cpu);
void host_posix_invlpg(uint64_t va, uint64_t npages);
void host_posix_flush_tlb(bool global);
void host_posix_trace(enum host_trace_event event, uint64_t a, uint64_t b, uint64_t c);
void host_posix_epoch_defer(struct host_epoch_item *item, void (*fn)(struct host_epoch_item *item));
void host_posix_epoch_run(void);
void host_posix_epoch_drain(void);
bool host_posix_table_alloc(uint64_t *hpa);
void host_posix_table_free(uint64_t hpa);
bool host_posix_table_known(uint64_t hpa);
void *host_posix_alloc(size_t bytes);
void host_posix_free(void *p, size_t bytes);

static inline struct host_posix_cpu *
host_posix_this(void)
{
	struct host_posix_cpu *self = host_posix_self;

	return __builtin_expect(self != NULL, 1) ? self : host_posix_cpu_enlist();
}

/* ---- Shared words -------------------------------------------------------------------------- */

static inline uint64_t
host_load(const struct host_word *w)
{
	return __atomic_load_n(&w->hw_value, __ATOMIC_RELAXED);
}

static inline uint64_t
host_load_acquire(const struct host_word *w)
{
	uint64_t value = __atomic_load_n(&w->hw_value, __ATOMIC_ACQUIRE);

	HOST_HG_ACQUIRE(w);
	return value;
}

static inline uint64_t
host_glance(const struct host_word *w)
{
	return __atomic_load_n(&w->hw_value, __ATOMIC_RELAXED);
}

static inline void
host_store(struct host_word *w, uint64_t value)
{
	if (HOST_HELGRIND)
		__atomic_exchange_n(&w->hw_value, value, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&w->hw_value, value, __ATOMIC_RELAXED);
}

static inline void
host_store_release(struct host_word *w, uint64_t value)
{
	HOST_HG_RELEASE(w);
	if (HOST_HELGRIND)
		__atomic_exchange_n(&w->hw_value, value, __ATOMIC_RELEASE);
	else
		__atomic_store_n(&w->hw_value, value, __ATOMIC_RELEASE);
}

static inline uint64_t
host_xchg(struct host_word *w, uint64_t value)
{
	HOST_HG_RELEASE(w);
	value = __atomic_exchange_n(&w->hw_value, value, __ATOMIC_SEQ_CST);
	HOST_HG_ACQUIRE(w);
	return value;
}

static inline bool
host_cas(struct host_word *w, uint64_t *old, uint64_t new)
{
	bool done;

	HOST_HG_RELEASE(w);
	done = __atomic_compare_exchange_n(&w->hw_value, old, new, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
	HOST_HG_ACQUIRE(w);
	return done;
}

static inline uint64_t
host_fetch_and(struct host_word *w, uint64_t mask)
{
	uint64_t old;

	HOST_HG_RELEASE(w);
	old = __atomic_fetch_and(&w->hw_value, mask, __ATOMIC_SEQ_CST);
	HOST_HG_ACQUIRE(w);
	return old;
}

static inline uint64_t
host_fetch_or(struct host_word *w, uint64_t bits)
{
	uint64_t old;

	HOST_HG_RELEASE(w);
	old = __atomic_fetch_or(&w->hw_value, bits, __ATOMIC_SEQ_CST);
	HOST_HG_ACQUIRE(w);
	return old;
}

static inline uint64_t
host_fetch_add(struct host_word *w, uint64_t addend)
{
	uint64_t old;

	HOST_HG_RELEASE(w);
	old = __atomic_fetch_add(&w->hw_value, addend, __ATOMIC_SEQ_CST);
	HOST_HG_ACQUIRE(w);
	return old;
}

static inline void
host_fence(void)
{
#if HOST_TSAN
	/* A locked operation is as strong a fence on the CPUs that TSan builds run on, and a word
	 * that nobody else touches gives TSan no order that the fence would not give. */
	__atomic_fetch_add(&host_posix_this()->pc_fence.hw_value, 1, __ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/*
 * Nobody else looks yet, so these are plain stores: eight entries at a time in the compiler's
 * vectors where it has any, which it does not find by itself at -O2; else four.
 */
#ifdef __SSE2__
typedef uint64_t host_posix_line_t __attribute__((vector_size(64), may_alias, aligned(8)));
#endif

static inline void
host_fill_private(struct host_word *words, unsigned int n, uint64_t first, uint64_t step)
{
	unsigned int i = 0;

#ifdef __SSE2__
	host_posix_line_t line = {first,
				  first + step,
				  first + 2 * step,
				  first + 3 * step,
				  first + 4 * step,
				  first + 5 * step,
				  first + 6 * step,
				  first + 7 * step};

	for (; i + 8 <= n; i += 8) {
		*(host_posix_line_t *)(void *)&words[i] = line;
		line += 8 * step;
	}
	first += i * step;
#endif
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
	return host_posix_this()->pc_id;
}

static inline void
host_kick(unsigned int cpu)
{
	HOST_ASSERT(cpu < HOST_MAX_CPUS);
	host_posix_kick(cpu);
}

static inline void
host_posix_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

/* The one waited for may need this very processor: every so many turns it is offered. */
static inline void
host_relax(void)
{
	struct host_posix_cpu *self = host_posix_this();

	HOST_ASSERT(self->pc_held == 0);
	host_posix_pause();
	if (++self->pc_relaxed % 16 == 0)
		sched_yield();
}

static inline void
host_invlpg(uint64_t va, uint64_t npages)
{
	host_posix_invlpg(va, npages);
}

static inline void
host_flush_tlb(bool global)
{
	host_posix_flush_tlb(global);
}

/* ---- Locks --------------------------------------------------------------------------------- */

static inline void
host_lock_init(struct host_lock *l, unsigned int rank)
{
	l->hl_owner = 0;
	l->hl_rank = rank;
	HOST_HG_LOCK_INIT(l);
}

/* Whether l comes after every lock that this CPU holds. */
static inline bool
host_posix_in_order(const struct host_posix_cpu *self, const struct host_lock *l)
{
	for (unsigned int i = 0; i < self->pc_held; i++) {
		const struct host_lock *h = self->pc_locks[i];

		if (h->hl_rank > l->hl_rank || (h->hl_rank == l->hl_rank && h >= l))
			return false;
	}
	return true;
}

static inline void
host_lock(struct host_lock *l)
{
	struct host_posix_cpu *self = host_posix_this();
	uint32_t free_lock = 0;

	HOST_ASSERT(host_posix_in_order(self, l));
	HOST_ASSERT(self->pc_held < HOST_POSIX_HELD_MAX);
	if (!__atomic_compare_exchange_n(&l->hl_owner, &free_lock, self->pc_id + 1, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		host_posix_lock_wait(l, self->pc_id + 1);
	HOST_HG_LOCKED(l);
	if (PMAP_CHECK >= 1)
		self->pc_locks[self->pc_held] = l;
	self->pc_held++;
}

/* Takes l out of what this CPU holds; locks may be released in any order. */
static inline bool
host_posix_forget_lock(struct host_posix_cpu *self, const struct host_lock *l)
{
	for (unsigned int i = self->pc_held; i-- > 0;) {
		if (self->pc_locks[i] == l) {
			self->pc_locks[i] = self->pc_locks[self->pc_held - 1];
			return true;
		}
	}
	return false;
}

static inline void
host_unlock(struct host_lock *l)
{
	struct host_posix_cpu *self = host_posix_self; /* it has locked, so it is listed */

	if (PMAP_CHECK >= 1) {
		bool mine = self != NULL && host_posix_forget_lock(self, l);

		HOST_ASSERT(mine);
	}
	self->pc_held--;
	HOST_HG_UNLOCKING(l);
	if (HOST_HELGRIND)
		__atomic_exchange_n(&l->hl_owner, 0, __ATOMIC_RELEASE);
	else
		__atomic_store_n(&l->hl_owner, 0, __ATOMIC_RELEASE);
}

static inline bool
host_lock_held(const struct host_lock *l)
{
	return __atomic_load_n(&l->hl_owner, __ATOMIC_RELAXED) == host_posix_this()->pc_id + 1;
}

/* ---- Epoch --------------------------------------------------------------------------------- */

extern struct host_word host_posix_epoch;

/* Whether advance() can make every thread execute a fence. Constant once the first CPU exists. */
extern bool host_posix_membarrier;

/*
 * Between "this section is open" and the first load in it there must be a fence; its partner is the
 * one in advance(). Sections are opened on every fault and the epoch advances seldom: so where the
 * kernel can have advance() execute the fence for everybody, here only the compiler is held back.
 */
static inline void
host_epoch_enter(void)
{
	struct host_posix_cpu *self = host_posix_this();
	uint64_t open;

	if (__builtin_expect(self->pc_nest++ > 0, 0))
		return;
	open = host_load_acquire(&host_posix_epoch) * 2 + 1;
	if (HOST_HELGRIND || HOST_TSAN || __builtin_expect(!host_posix_membarrier, 0)) {
		host_xchg(&self->pc_epoch, open);
	} else {
		host_store(&self->pc_epoch, open);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	}
}

static inline bool
host_epoch_held(void)
{
	return host_posix_this()->pc_nest > 0;
}

static inline void
host_epoch_exit(void)
{
	struct host_posix_cpu *self = host_posix_self; /* it has entered, so it is listed */

	HOST_ASSERT(self != NULL && self->pc_nest > 0);
	if (--self->pc_nest > 0)
		return;
	host_store_release(&self->pc_epoch, 0);
	if (self->pc_backlog > self->pc_backlog_max && self->pc_held == 0)
		host_posix_epoch_run();
}

static inline void
host_epoch_defer(struct host_epoch_item *item, void (*fn)(struct host_epoch_item *item))
{
	host_posix_epoch_defer(item, fn);
}

static inline void
host_epoch_drain(void)
{
	host_posix_epoch_drain();
}

/* ---- Memory -------------------------------------------------------------------------------- */

static inline bool
host_table_alloc(uint64_t *hpa)
{
	HOST_ASSERT(host_posix_this()->pc_held == 0);
	return host_posix_table_alloc(hpa);
}

static inline void
host_table_free(uint64_t hpa)
{
	host_posix_table_free(hpa);
}

static inline struct host_word *
host_table_words(uint64_t hpa)
{
	HOST_ASSERT(host_posix_table_known(hpa));
	return (struct host_word *)(host_posix_arena.pa_words + hpa);
}

static inline uint64_t
host_table_hpa(const struct host_word *words)
{
	return (uint64_t)((const char *)words - host_posix_arena.pa_words);
}

static inline void *
host_table_desc(uint64_t hpa)
{
	HOST_ASSERT(host_posix_table_known(hpa));
	return host_posix_arena.pa_descs + (hpa >> HOST_PAGE_SHIFT) * HOST_TABLE_DESC_BYTES;
}

static inline void *
host_alloc(size_t bytes)
{
	HOST_ASSERT(host_posix_this()->pc_held == 0 && host_posix_this()->pc_nest == 0);
	return host_posix_alloc(bytes);
}

static inline void
host_free(void *p, size_t bytes)
{
	host_posix_free(p, bytes);
}

static inline void
host_trace(enum host_trace_event event, uint64_t a, uint64_t b, uint64_t c)
{
	host_posix_trace(event, a, b, c);
}

#endif /* PMAP_POSIX_HOST_IMPL_H */
