/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The clock: how a change of the tables becomes true on every CPU.
 *
 *   initiator (no table lock held)           CPU or vCPU (interrupts blocked from E1 to X2)
 *   I1 change entries; full fence            E1 publish "active" in its slot; full fence
 *   I2 a new generation                      E2 g = pm_gen; acknowledge g
 *   I3 read every slot                       E3 flush if g != seen; seen = g once it took effect
 *   I4 kick those active with ack < gen      E4 enter the guest (a pending kick exits at once)
 *   I5 wait: each is idle, or ack >= gen     X1 leave the guest; a failed entry too
 *   I6 only now reuse pages and tables       X2 publish "idle"
 *
 * The fences of I1 and E1 are a pair (store buffering): either the initiator sees the slot active,
 * or the CPU sees the new generation. What a CPU acknowledges is what it will flush before its next
 * guest instruction; what it has seen is what a flush made true. A failed entry leaves the latter
 * alone.
 *
 * Merging: an initiator needs a generation that began after its changes, not one of its own. It
 * begins one only if none is in flight; else it first helps the one in flight to its end (it kicks
 * and waits itself, for the leader may be preempted), and by then another follower may have begun
 * the next.
 *
 * Generations are compared by signed distance, so that a build with 8 bits can wrap in tests. Slots
 * that lag behind are made to flush long before a full turn (PMAP_GEN_WINDOW).
 */

#include "pmap/pmap_priv.h"

#ifndef PMAP_GEN_BITS
#define PMAP_GEN_BITS 64
#endif

/* The state of a slot holds a generation and one bit more. */
#define PMAP_GEN_WIDTH (PMAP_GEN_BITS < 63 ? PMAP_GEN_BITS : 63)
#define PMAP_GEN_MASK (~(uint64_t)0 >> (64 - PMAP_GEN_WIDTH))
#define PMAP_GEN_WINDOW ((uint64_t)1 << (PMAP_GEN_WIDTH - 2))

/* One bit per CPU. */
#define KICKED_WORDS ((HOST_MAX_CPUS + 63) / 64)

/* Deferred tables at most; one more makes the gather synchronous. */
#define PMAP_LIMBO_MAX 64

/* Slot states: idle, active without an acknowledgement yet, or active with one. */
#define SLOT_IDLE ((uint64_t)0)
#define SLOT_ACTIVE ((uint64_t)1)
#define SLOT_ACTIVE_ACK(gen) ((gen) << 1 | SLOT_ACTIVE)

/* a is b, or later, on a clock that turns. Both are within half a turn of each other. */
static bool
gen_reached(uint64_t a, uint64_t b)
{
	return ((a - b) & PMAP_GEN_MASK) <= PMAP_GEN_MASK >> 1;
}

/*
 * Whether the clock has gone more than half a turn since `gen` began, so that it would be taken for
 * a generation to come: an initiator may be kept from going on for that long while others go on.
 * Not with 64 bits.
 */
static bool
is_lapped(const struct pmap *pm, uint64_t gen)
{
	return PMAP_GEN_BITS < 63 && !gen_reached(host_load_acquire(&pm->pm_gen), gen);
}

/* 0 means "never flushed" and is no generation. */
static uint64_t
gen_next(uint64_t gen)
{
	gen = (gen + 1) & PMAP_GEN_MASK;
	return gen != 0 ? gen : 1;
}

void
pmap_tlb_init(struct pmap *pm, uint64_t generation)
{
	const uint64_t first = generation & PMAP_GEN_MASK;

	host_store(&pm->pm_gen, first != 0 ? first : 1);
	host_store(&pm->pm_completed, first != 0 ? first : 1);
	host_lock_init(&pm->pm_slots_lock, PMAP_RANK_SLOTS);
	host_lock_init(&pm->pm_pending_lock, PMAP_RANK_PENDING);
}

uint64_t
pmap_generation(const struct pmap *pm)
{
	return host_load(&pm->pm_gen);
}

/* ---- Slots ---------------------------------------------------------------------------------- */

static struct pmap_slot *
slot_of(uint64_t word)
{
	return (struct pmap_slot *)(uintptr_t)word;
}

/* The list, to change it. Whoever only reads it needs an epoch section instead. */
static struct host_word *
slots_locked(struct pmap *pm)
{
	HOST_ASSERT(host_lock_held(&pm->pm_slots_lock));
	return &pm->pm_slots;
}

static struct pmap_slot *
first_slot(const struct pmap *pm)
{
	HOST_ASSERT(host_epoch_held());
	return slot_of(host_load_acquire(&pm->pm_slots));
}

static struct pmap_slot *
next_slot(const struct pmap_slot *s)
{
	return slot_of(host_load_acquire(&s->ps_next));
}

void
pmap_slot_attach(struct pmap *pm, struct pmap_slot *s)
{
	host_lock(&pm->pm_slots_lock);
	host_store(&s->ps_next, host_load(slots_locked(pm)));
	host_store_release(slots_locked(pm), (uint64_t)(uintptr_t)s);
	host_unlock(&pm->pm_slots_lock);
}

void
pmap_slot_detach(struct pmap *pm, struct pmap_slot *s)
{
	struct host_word *link;

	HOST_ASSERT(host_load(&s->ps_state) == SLOT_IDLE);
	host_lock(&pm->pm_slots_lock);
	link = slots_locked(pm);
	while (slot_of(host_load(link)) != s)
		link = &slot_of(host_load(link))->ps_next;
	host_store_release(link, host_load(&s->ps_next));
	host_unlock(&pm->pm_slots_lock);
}

void
pmap_slot_reset(struct pmap_slot *s)
{
	HOST_ASSERT(host_load(&s->ps_state) == SLOT_IDLE);
	s->ps_seen = 0;
}

bool
pmap_guest_enter(struct pmap *pm, struct pmap_slot *s)
{
	HOST_ASSERT(host_load(&s->ps_state) == SLOT_IDLE);

	host_store(&s->ps_cpu, host_cpu());
	/* E1. The exchange is the full fence; its partner is the fence in pmap_invalidate_ept(). */
	host_xchg(&s->ps_state, SLOT_ACTIVE);
	/* E2. */
	s->ps_ack = host_load_acquire(&pm->pm_gen);
	s->ps_forced = host_load(&s->ps_force);
	host_store_release(&s->ps_state, SLOT_ACTIVE_ACK(s->ps_ack));
	/* E3. */
	return s->ps_seen != s->ps_ack || s->ps_forced != 0;
}

void
pmap_guest_flushed(struct pmap_slot *s)
{
	HOST_ASSERT(host_load(&s->ps_state) != SLOT_IDLE);
	s->ps_seen = s->ps_ack;
	/* Only the demand that this entry saw is met; one made since stays. */
	if (s->ps_forced != 0)
		host_cas(&s->ps_force, &s->ps_forced, 0);
}

void
pmap_guest_exit(struct pmap_slot *s)
{
	HOST_ASSERT(host_load(&s->ps_state) != SLOT_IDLE);
	host_store_release(&s->ps_state, SLOT_IDLE);
}

/* ---- PT_X86: CPUs that flush page by page ---------------------------------------------------- */

/*
 * What generations (from, to] ask for, as one range; false if it is not on record any more. Entries
 * are read without a lock: gr_gen is checked before and after, as in a sequence lock.
 */
static bool
ranges_since(struct pmap *pm, uint64_t from, uint64_t to, gpa_t *start, gpa_t *end)
{
	*start = ~(gpa_t)0;
	*end = 0;
	for (unsigned int n = 0; from != to; n++) {
		from = gen_next(from);
		const struct pmap_gen_range *r = &pm->pm_ranges[from % PMAP_RANGES];

		if (n == PMAP_RANGES || host_load_acquire(&r->gr_gen) != from)
			return false;

		const gpa_t s = host_load(&r->gr_start);
		const gpa_t e = host_load(&r->gr_end);

		if (host_load_acquire(&r->gr_gen) != from)
			return false;
		*start = s < *start ? s : *start;
		*end = e > *end ? e : *end;
	}
	return true;
}

/* Flushes this CPU up to its acknowledged generation. */
static void
flush_local(struct pmap *pm, struct pmap_slot *s)
{
	gpa_t start;
	gpa_t end;
	bool ranged = s->ps_seen != 0 && s->ps_forced == 0 &&
		      ranges_since(pm, s->ps_seen, s->ps_ack, &start, &end);

	if (ranged && start < end && (end - start) >> HOST_PAGE_SHIFT <= pm->pm_fmt.pf_invlpg_pages)
		host_invlpg(start, (end - start) >> HOST_PAGE_SHIFT);
	else if (!ranged || start < end)
		host_flush_tlb((pm->pm_fmt.pf_leaf & ~pm->pm_fmt.pf_table) != 0);
	pmap_guest_flushed(s);
}

void
pmap_activate(struct pmap *pm, struct pmap_slot *s)
{
	if (pmap_guest_enter(pm, s))
		flush_local(pm, s);
}

void
pmap_deactivate(struct pmap_slot *s)
{
	pmap_guest_exit(s);
}

/*
 * Also called by an initiator that has the pmap loaded, which may be interrupted anywhere in here
 * by a kick for a later generation. So the state is read before the generation, and exchanged only
 * if it is still that: an older acknowledgement in the place of a newer one would never be renewed,
 * since its kick has been taken. What this call then leaves in ps_seen is older than what has been
 * flushed, never newer.
 */
void
pmap_kicked(struct pmap *pm, struct pmap_slot *s)
{
	uint64_t state = host_load_acquire(&s->ps_state);
	const uint64_t gen = host_load_acquire(&pm->pm_gen);

	if (state == SLOT_IDLE || state == SLOT_ACTIVE_ACK(gen))
		return;
	s->ps_ack = gen;
	s->ps_forced = host_load(&s->ps_force);
	flush_local(pm, s);
	/* The flush comes before the acknowledgement: the next instruction may use the pmap. */
	host_cas(&s->ps_state, &state, SLOT_ACTIVE_ACK(gen));
}

/* ---- Generations ---------------------------------------------------------------------------- */

/* What the next generation asks for. */
static void
set_pending(struct pmap *pm, gpa_t start, gpa_t end)
{
	HOST_ASSERT(host_lock_held(&pm->pm_pending_lock));
	pm->pm_pending_start = start;
	pm->pm_pending_end = end;
}

/* Adds a range to it. Before the initiator reads pm_gen. */
static void
pend_range(struct pmap *pm, gpa_t start, gpa_t end)
{
	if (pm->pm_fmt.pf_invlpg_pages == 0 || start >= end)
		return;
	host_lock(&pm->pm_pending_lock);
	if (pm->pm_pending_start != pm->pm_pending_end) {
		start = start < pm->pm_pending_start ? start : pm->pm_pending_start;
		end = end > pm->pm_pending_end ? end : pm->pm_pending_end;
	}
	set_pending(pm, start, end);
	host_unlock(&pm->pm_pending_lock);
}

/* Makes every slot flush at its next entry, whatever it has seen: before the clock laps it. */
static void
force_slots(struct pmap *pm)
{
	host_epoch_enter();
	for (struct pmap_slot *s = first_slot(pm); s != NULL; s = next_slot(s))
		host_fetch_add(&s->ps_force, 1);
	host_epoch_exit();
}

/* I2. Begins the generation after `gen`, unless another initiator has. */
static bool
begin_generation(struct pmap *pm, uint64_t gen)
{
	const uint64_t next = gen_next(gen);
	bool begun = false;

	host_lock(&pm->pm_pending_lock);
	if (host_load(&pm->pm_gen) == gen) {
		struct pmap_gen_range *r = &pm->pm_ranges[next % PMAP_RANGES];

		host_store_release(&r->gr_gen, 0);
		host_fence(); /* before the new range; partner: the second load of ranges_since() */
		host_store(&r->gr_start, pm->pm_pending_start);
		host_store(&r->gr_end, pm->pm_pending_end);
		host_store_release(&r->gr_gen, next);
		set_pending(pm, 0, 0);
		if ((next & (PMAP_GEN_WINDOW - 1)) == 0)
			force_slots(pm);
		host_xchg(&pm->pm_gen, next);
		begun = true;
	}
	host_unlock(&pm->pm_pending_lock);
	return begun;
}

/*
 * I3 and I4, one pass: kicks every CPU that runs with an older acknowledgement, once each, and
 * returns whether there was none.
 *
 * A slot that shows such an acknowledgement has been active since before the generation began (else
 * E2 would have read the new one), so one kick is enough, and its CPU cannot have changed. One that
 * is active without any is between E1 and E2 and needs none.
 */
static bool
slots_passed(struct pmap *pm, uint64_t gen, uint64_t kicked[KICKED_WORDS])
{
	bool passed = true;

	for (struct pmap_slot *s = first_slot(pm); s != NULL; s = next_slot(s)) {
		const uint64_t state = host_load_acquire(&s->ps_state);

		if (state == SLOT_IDLE || (state != SLOT_ACTIVE && gen_reached(state >> 1, gen)))
			continue;
		passed = false;
		if (state == SLOT_ACTIVE)
			continue;

		const unsigned int cpu = (unsigned int)host_load(&s->ps_cpu);
		uint64_t *const word = &kicked[cpu / 64];
		const uint64_t bit = (uint64_t)1 << cpu % 64;

		if (cpu == host_cpu()) {
			/* This very CPU has the pmap loaded: the handler, without an interrupt. */
			pmap_kicked(pm, s);
		} else if (!(*word & bit)) {
			*word |= bit;
			host_kick(cpu);
			pmap_count(pm, PMAP_C_KICKS, 1);
		}
	}
	return passed;
}

/* I3 to I5. The epoch section is left while waiting; the slots are read anew each time. */
static void
await_generation(struct pmap *pm, uint64_t gen)
{
	uint64_t kicked[KICKED_WORDS] = {0};

	for (;;) {
		host_epoch_enter();
		const bool passed = slots_passed(pm, gen, kicked);
		host_epoch_exit();

		if (passed || is_lapped(pm, gen))
			return;
		host_relax();
	}
}

/* Records that every slot is past gen, unless a later one is on record. */
static void
complete_generation(struct pmap *pm, uint64_t gen)
{
	uint64_t done = host_load(&pm->pm_completed);

	while (!gen_reached(done, gen) && !is_lapped(pm, gen) &&
	       !host_cas(&pm->pm_completed, &done, gen))
		;
}

static void
free_tables(struct pt_page *list)
{
	while (list != NULL) {
		struct pt_page *next = list->pd_next;

		pt_page_free_after_epoch(list);
		list = next;
	}
}

/* What pm_pending_lock guards, of what was deferred. */
static struct pt_page **
limbo_of(struct pmap *pm)
{
	HOST_ASSERT(host_lock_held(&pm->pm_pending_lock));
	return &pm->pm_limbo;
}

static uint64_t *
backlog_gen_of(struct pmap *pm)
{
	HOST_ASSERT(host_lock_held(&pm->pm_pending_lock));
	return &pm->pm_backlog_gen;
}

/*
 * Frees what earlier gathers deferred and generations completed since have covered. After every
 * generation, so that none of it grows so old that a clock of few bits would take it for new. What
 * is not on the list any more is on its way through the epoch: pmap_drain() relies on it.
 */
static void
reap_limbo(struct pmap *pm)
{
	struct pt_page **link;

	host_lock(&pm->pm_pending_lock);
	link = limbo_of(pm);

	const uint64_t done = host_load_acquire(&pm->pm_completed);

	while (*link != NULL) {
		struct pt_page *t = *link;

		if (!gen_reached(done, t->pd_limbo_gen)) {
			link = &t->pd_next;
			continue;
		}
		*link = t->pd_next;
		pm->pm_nlimbo--;
		pt_page_free_after_epoch(t);
	}
	host_unlock(&pm->pm_pending_lock);
}

/*
 * The one routine in which every invalidation ends: I1 to I5 for all changes made before the call.
 * Context: no lock, no epoch section, interrupts on.
 */
static void
pmap_invalidate_ept(struct pmap *pm)
{
	/* I1. Partner: the exchange at E1 in pmap_guest_enter(). */
	host_fence();

	uint64_t gen = host_load_acquire(&pm->pm_gen);
	const uint64_t target = gen_next(gen);
	bool led = false;

	host_trace(HOST_TRACE_SHOOTDOWN_BEGIN, pmap_root(pm), target, 0);
	while (!gen_reached(host_load_acquire(&pm->pm_completed), target)) {
		gen = host_load_acquire(&pm->pm_gen);
		if (!gen_reached(gen, target) &&
		    gen_reached(host_load_acquire(&pm->pm_completed), gen)) {
			/* Nothing in flight. */
			led |= begin_generation(pm, gen);
			continue;
		}
		/* Help the one in flight to its end: ours, or the one we must wait for. */
		await_generation(pm, gen);
		complete_generation(pm, gen);
	}
	host_trace(HOST_TRACE_SHOOTDOWN_END, pmap_root(pm), target, 0);
	host_epoch_enter();
	pmap_count(pm, led ? PMAP_C_SHOOTDOWNS : PMAP_C_MERGED, 1);
	host_epoch_exit();
	if (pm->pm_flags & PMAP_DEFER)
		reap_limbo(pm);
}

int
pmap_invalidate_range(struct pmap *pm, gpa_t start, gpa_t end)
{
	const int error = pmap_range_valid(pm, start, end);

	if (error != 0 || start == end)
		return error;
	pend_range(pm, start, end);
	pmap_invalidate_ept(pm);
	return 0;
}

int
pmap_invalidate_page(struct pmap *pm, gpa_t gpa)
{
	return pmap_invalidate_range(pm, gpa, gpa + HOST_PAGE_SIZE);
}

void
pmap_invalidate_all(struct pmap *pm)
{
	pend_range(pm, 0, pm->pm_fmt.pf_limit);
	pmap_invalidate_ept(pm);
}

/* ---- Stamps --------------------------------------------------------------------------------- */

uint64_t
pmap_gen_due(const struct pmap *pm)
{
	return gen_next(host_load_acquire(&pm->pm_gen));
}

void
pmap_stamp(struct pt_page *t, gpa_t gpa, uint64_t len)
{
	struct pmap *const pm = t->pd_pmap;

	HOST_ASSERT(host_lock_held(&t->pd_lock));
	/*
	 * The generation that completes this may be another initiator's, before our gather is
	 * finished: CPUs that flush by range must hear of ours from it. So the range comes first,
	 * then the read. The restriction itself was a locked operation, and came before both.
	 */
	pend_range(pm, gpa, gpa + len);
	t->pd_stamp = pmap_gen_due(pm);
}

bool
pmap_gen_pending(const struct pmap *pm, uint64_t gen)
{
	return gen != 0 && !gen_reached(host_load_acquire(&pm->pm_completed), gen);
}

bool
pmap_stamp_pending(const struct pt_page *t)
{
	HOST_ASSERT(host_lock_held(&t->pd_lock));
	return pmap_gen_pending(t->pd_pmap, t->pd_stamp);
}

/* Only what is pending counts: an old stamp may come before or after any other. */
static void
note_gone(struct pt_page *parent, uint64_t stamp)
{
	if (pmap_gen_pending(parent->pd_pmap, stamp) &&
	    (!pmap_gen_pending(parent->pd_pmap, parent->pd_gone) ||
	     gen_reached(stamp, parent->pd_gone)))
		parent->pd_gone = stamp;
}

void
pmap_stamp_unlinked(struct pt_page *parent, const struct pt_page *t)
{
	note_gone(parent, t->pd_stamp);
	note_gone(parent, t->pd_gone);
}

void
pmap_stamp_inherit(const struct pt_page *parent, struct pt_page *chain)
{
	for (; chain != NULL; chain = chain->pd_next)
		chain->pd_stamp = chain->pd_gone = parent->pd_gone;
}

/* ---- Gather --------------------------------------------------------------------------------- */

void
pmap_gather_begin(struct pmap_gather *g, struct pmap *pm)
{
	*g = (struct pmap_gather){.pg_pmap = pm, .pg_start = ~(gpa_t)0};
}

void
pmap_gather_add(struct pmap_gather *g, gpa_t gpa, uint64_t len)
{
	g->pg_flush = true;
	g->pg_start = gpa < g->pg_start ? gpa : g->pg_start;
	g->pg_end = gpa + len > g->pg_end ? gpa + len : g->pg_end;
}

void
pmap_gather_table(struct pmap_gather *g, struct pt_page *t)
{
	const gpa_t gpa = pt_page_gpa(t);

	/*
	 * INVLPG drops all paging-structure caches: one page will do. What leaves need, they asked
	 * for.
	 */
	g->pg_start = gpa < g->pg_start ? gpa : g->pg_start;
	g->pg_end = gpa + HOST_PAGE_SIZE > g->pg_end ? gpa + HOST_PAGE_SIZE : g->pg_end;
	g->pg_deferred = true;
	t->pd_next = g->pg_tables;
	g->pg_tables = t;
	g->pg_ntables++;
	pt_unlink_end(t->pd_pmap);
}

/* Keeps the gather's work for a later flush; false if the backlog is full. */
static bool
defer(struct pmap *pm, struct pmap_gather *g)
{
	bool first = false;
	bool kept = false;

	host_fence(); /* I1: the changes come before the generation read below */
	host_lock(&pm->pm_pending_lock);

	/* Under the lock: what is on the list is never older than a generation begun since. */
	const uint64_t gen = gen_next(host_load_acquire(&pm->pm_gen));

	if (pm->pm_nlimbo + g->pg_ntables <= PMAP_LIMBO_MAX) {
		while (g->pg_tables != NULL) {
			struct pt_page *t = g->pg_tables;

			g->pg_tables = t->pd_next;
			t->pd_limbo_gen = gen;
			t->pd_next = *limbo_of(pm);
			*limbo_of(pm) = t;
			pm->pm_nlimbo++;
		}
		first = !pm->pm_backlogged;
		pm->pm_backlogged = true;
		if (*backlog_gen_of(pm) == 0 || gen_reached(gen, *backlog_gen_of(pm)))
			*backlog_gen_of(pm) = gen;
		kept = true;
	}
	host_unlock(&pm->pm_pending_lock);
	if (first && pm->pm_backlog != NULL)
		pm->pm_backlog(pm->pm_arg);
	return kept;
}

void
pmap_gather_finish(struct pmap_gather *g)
{
	struct pmap *const pm = g->pg_pmap;
	const bool may_wait = g->pg_deferred && !g->pg_flush && (pm->pm_flags & PMAP_DEFER) != 0;

	if (g->pg_flush || g->pg_deferred) {
		pend_range(pm, g->pg_start, g->pg_end);
		if (!may_wait || !defer(pm, g)) {
			pmap_invalidate_ept(pm);
			free_tables(g->pg_tables);
		}
	} else {
		host_epoch_enter();
		pmap_count(pm, PMAP_C_ELIDED, 1);
		host_epoch_exit();
	}
	pmap_gather_begin(g, pm);
}

void
pmap_drain(struct pmap *pm)
{
	host_lock(&pm->pm_pending_lock);

	/* Another drain may be under way, and not through: what counts is the generation. */
	const uint64_t gen = *backlog_gen_of(pm);

	pm->pm_backlogged = false;
	host_unlock(&pm->pm_pending_lock);
	if (gen == 0)
		return;
	if (!gen_reached(host_load_acquire(&pm->pm_completed), gen))
		pmap_invalidate_ept(pm);
	reap_limbo(pm);

	host_lock(&pm->pm_pending_lock);
	if (*backlog_gen_of(pm) == gen)
		*backlog_gen_of(pm) = 0;
	host_unlock(&pm->pm_pending_lock);
	host_epoch_drain();
}
