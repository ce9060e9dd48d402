/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The clock of pmap_tlb.c (docs/PROTOCOL-TLB.md, section 2) as a model for Spin: what the simulator
 * finds by running the real code, this finds by looking at every state of an abstraction of it.
 *
 * CPUs CPU by CPU do what they like: a session in the guest (E1 to X2), a shootdown of a page of
 * their own (I1 to I6), or, the last of them, going offline and coming back. Stores wait in store
 * buffers of two entries, which a process of each CPU's drains; it also delivers kicks. A VM entry
 * may fail after the request to flush was consumed. Generations have three bits and turn.
 *
 * tlb[] tells of each CPU and page what is cached: nothing; the page; the page after its entry was
 * cleared, which is allowed until the shootdown returns; and the same afterwards, which may linger
 * but must never be used.
 *
 * Safety: no access uses what a finished shootdown took away; a finished shootdown has changed
 * memory. Progress (LTL): a shootdown ends, if every process goes on and every CPU makes finitely
 * many sessions. Without the last condition an initiator could, in theory, look at a slot again and
 * again at the very moment of an entry.
 *
 * Macros choose the configuration and plant mutants; tests/model/check.py knows them all.
 */

#ifndef CPUS
#define CPUS 3
#endif
#ifndef INITIATORS
#define INITIATORS 1 /* CPUs 0 .. INITIATORS - 1; each has a page */
#endif
#ifndef GUESTS
#define GUESTS 0 /* CPUs from this one on run guests */
#endif
#ifndef GEN_BITS
#define GEN_BITS 3
#endif
#ifndef FIRST_GEN
#define FIRST_GEN 1
#endif
#ifndef SESSIONS
#define SESSIONS 1
#endif
#ifndef SHOOTDOWNS
#define SHOOTDOWNS 1
#endif
#ifndef SPEND
#define SPEND 0 /* 1: each CPU has that many sessions and shootdowns; 0: no bound */
#endif
#ifndef DEPTH
#define DEPTH 2 /* of store buffers; 0: sequentially consistent */
#endif

#ifndef DEMANDS
#define DEMANDS 3 /* counted up to here and on from 1: more than meet one entry */
#endif

#define MASK ((1 << GEN_BITS) - 1)
#define WINDOW (1 << (GEN_BITS - 2))

#ifdef M_COMPARE_UNSIGNED
#define REACHED(a, b) ((a) >= (b))
#else
#define REACHED(a, b) ((((a) - (b)) & MASK) <= (MASK >> 1))
#endif

/* 0 means "never flushed" and is no generation. */
#define NEXT(g) ((((g) + 1) & MASK) == 0 -> 1 : ((g) + 1) & MASK)

#define IDLE 0
#define ACTIVE 1
#define ACTIVE_ACK(g) ((g) << 1 | 1)

/* What may be cached of a page. */
#define NOTHING 0
#define CURRENT 1
#define LEAVING 2
#define GONE 3

#define TLB(c, p) tlb[(c) * INITIATORS + (p)]

short gen = FIRST_GEN;
short completed = FIRST_GEN;
bool pending_lock;

short slot[CPUS];
short seen[CPUS];
byte force[CPUS];
bool sent[CPUS]; /* a kick is on its way, or waits to be taken */
bool online[CPUS];

bool pte[INITIATORS];
byte tlb[CPUS * INITIATORS];
bool waiting[INITIATORS]; /* in a shootdown */

/* ---- Events --------------------------------------------------------------------------------- */

/*
 * When a trace of the real code is replayed (tests/model/trace.c), every operation on a shared word
 * first meets the next event of the trace: same CPU, same operation, same value.
 */
#ifdef TRACE
#define LOAD_GEN 1
#define LOAD_DONE 2
#define LOAD_SLOT 3
#define LOAD_FORCE 4
#define STORE_SLOT 5
#define XCHG_SLOT 6
#define XCHG_GEN 7
#define CAS_DONE 8
#define CAS_FORCE 9
#define ADD_FORCE 10
#define KICK 11
#define CLEAR 12
#define MAP 13
#define FLUSH 14
#define FAIL 15
#define RETURN 16
#define RESET 17
#define CODE(what, c, i, value) ((((what) * 8 + (c)) * 256 + (i)) * 1024 + (value))
#include "trace.inc" /* EVENTS, and FILL: event[0] = CODE(...); event[1] = ... */
hidden int event[EVENTS + 1]; /* constant once filled, so no part of a state */
short at;
#define EVENT(what, c, i, value) event[at] == CODE(what, c, i, value); at++
#else
#define EVENT(what, c, i, value) skip
#endif

/* ---- Memory --------------------------------------------------------------------------------- */

/* Where a store goes: the CPU's own slot, or the entry of its page. */
#define AT_SLOT 0
#define AT_PTE 1

inline set_pte(p, value)
{
	pte[p] = value;
	if
	:: value == 0 ->
		k = 0;
		do
		:: k < CPUS ->
			if
			:: TLB(k, p) == CURRENT -> TLB(k, p) = LEAVING
			:: else
			fi;
			k++
		:: else -> break
		od;
		k = 0
	:: else
	fi
}

#if DEPTH > 0
byte stores[CPUS];
bool store_at[CPUS * DEPTH];
short store_value[CPUS * DEPTH];

#define DRAINED(c) (stores[c] == 0)

inline write(c, at, value)
{
	stores[c] < DEPTH;
	store_at[c * DEPTH + stores[c]] = at;
	store_value[c * DEPTH + stores[c]] = value;
	stores[c]++
}

/* The oldest store reaches memory. */
inline drain(c)
{
	if
	:: store_at[c * DEPTH] == AT_SLOT -> slot[c] = store_value[c * DEPTH]
	:: else -> set_pte(c, store_value[c * DEPTH])
	fi;
	stores[c]--;
	k = 0;
	do
	:: k < stores[c] ->
		store_at[c * DEPTH + k] = store_at[c * DEPTH + k + 1];
		store_value[c * DEPTH + k] = store_value[c * DEPTH + k + 1];
		k++
	:: else -> break
	od;
	store_at[c * DEPTH + k] = 0;
	store_value[c * DEPTH + k] = 0;
	k = 0
}
#else
#define DRAINED(c) true

inline write(c, at, value)
{
	if
	:: at == AT_SLOT -> slot[c] = value
	:: else -> set_pte(c, value)
	fi
}
#endif

#if DEPTH > 0
proctype store_buffer(byte c)
{
	byte k;
end:
	do
	:: d_step { stores[c] > 0 -> drain(c) }
	od
}
#endif

/* ---- A session in the guest: interrupts are blocked ----------------------------------------- */

inline enter(c)
{
#ifdef M_GENERATION_BEFORE_ACTIVE
	atomic { EVENT(LOAD_GEN, c, 0, gen); ack = gen };
#endif
#ifdef M_NO_ENTRY_FENCE
	atomic { EVENT(STORE_SLOT, c, c, ACTIVE); write(c, AT_SLOT, ACTIVE) };
#else
	atomic { DRAINED(c); EVENT(XCHG_SLOT, c, c, ACTIVE); slot[c] = ACTIVE };
#endif
#ifndef M_GENERATION_BEFORE_ACTIVE
	atomic { EVENT(LOAD_GEN, c, 0, gen); ack = gen };
#endif
	atomic { EVENT(LOAD_FORCE, c, c, force[c]); forced = force[c] };
	atomic { EVENT(STORE_SLOT, c, c, ACTIVE_ACK(ack)); write(c, AT_SLOT, ACTIVE_ACK(ack)) }
}

/* The entry that did not fail: what it was asked to flush is gone. */
inline flush(c)
{
	k = 0;
	do
	:: k < INITIATORS -> TLB(c, k) = NOTHING; k++
	:: else -> break
	od;
	k = 0;
	seen[c] = ack
}

/* The demand that this entry saw is met; one made since stays. */
inline meet_demand(c)
{
	atomic {
		DRAINED(c);
		EVENT(CAS_FORCE, c, c, force[c]);
		if
		:: force[c] == forced -> force[c] = 0
		:: else
		fi
	}
}

/* Where progress is looked at, a guest may compute for good, unless there is a kick to take. */
#ifdef PROGRESS
#define GOES_ON(c) (!sent[c])
#else
#define GOES_ON(c) true
#endif

inline guest(c)
{
	do
	:: break /* an exit of its own */
	:: sent[c] -> sent[c] = false; break
#ifdef PROGRESS
	:: GOES_ON(c)
#endif
	:: GOES_ON(c) && pte[0] && TLB(c, 0) == NOTHING -> TLB(c, 0) = CURRENT
	:: GOES_ON(c) && TLB(c, 0) != NOTHING -> assert(TLB(c, 0) != GONE)
#if INITIATORS > 1
	:: GOES_ON(c) && pte[1] && TLB(c, 1) == NOTHING -> TLB(c, 1) = CURRENT
	:: GOES_ON(c) && TLB(c, 1) != NOTHING -> assert(TLB(c, 1) != GONE)
#endif
	od
}

inline session(c)
{
	enter(c);
	if
	:: seen[c] == ack && forced == 0 -> guest(c)
	:: atomic { seen[c] != ack || forced != 0; EVENT(FLUSH, c, 0, 0); flush(c) };
		if
		:: forced != 0 -> meet_demand(c)
		:: else
		fi;
#ifdef M_KICK_LOST_AT_ENTRY
		sent[c] = false;
#endif
		guest(c)
	:: atomic { EVENT(FAIL, c, 0, 0) };
#ifdef M_SEEN_ON_FAILED_ENTRY
		seen[c] = ack
#endif
	fi;
#ifdef M_SEEN_READ_AT_EXIT
	seen[c] = gen;
#endif
#ifdef M_IDLE_TOO_EARLY
	atomic { write(c, AT_SLOT, IDLE) };
	guest(c)
#else
	atomic { EVENT(STORE_SLOT, c, c, IDLE); write(c, AT_SLOT, IDLE); ack = 0; forced = 0 }
#endif
}

/* ---- A shootdown ---------------------------------------------------------------------------- */

/* I2. Under the lock that makes it one initiator's. */
inline begin_generation(c)
{
	atomic { DRAINED(c) && !pending_lock -> pending_lock = true };
	atomic { EVENT(LOAD_GEN, c, 0, gen); done = gen == from };
	if
	:: done ->
#ifndef M_NO_DEMAND
		if
		:: (NEXT(from) & (WINDOW - 1)) == 0 ->
			i = 0;
			do
			:: i < CPUS ->
				atomic {
					EVENT(ADD_FORCE, c, i, force[i]);
					force[i] = (force[i] == DEMANDS -> 1 : force[i] + 1)
				};
				i++
			:: else -> i = 0; break
			od
		:: else
		fi;
#endif
		atomic { EVENT(XCHG_GEN, c, 0, NEXT(from)); gen = NEXT(from) }
	:: else
	fi;
	pending_lock = false
}

/* Looks at slot i; its own is idle. */
inline look(c)
{
	atomic {
		if
		:: i == c -> state = IDLE
		:: else -> EVENT(LOAD_SLOT, c, i, slot[i]); state = slot[i]
		fi;
		late = state > ACTIVE && !REACHED(state >> 1, from);
		if
#ifdef M_ACTIVE_TAKEN_FOR_PASSED
		:: late -> passed = false
#else
		:: late || state == ACTIVE -> passed = false
#endif
		:: else
		fi;
		late = late && !(kicked >> i & 1);
		state = 0
	}
}

/* I3 to I5. */
inline await_generation(c)
{
	do
	:: !passed ->
		passed = true;
		do
		:: i < CPUS ->
			look(c);
			if
			:: late ->
				atomic {
#ifndef M_NO_KICK
					EVENT(KICK, c, i, 0);
					sent[i] = online[i];
#endif
					kicked = kicked | 1 << i;
					late = false
				}
			:: else
			fi;
			i++
		:: else -> i = 0; break
		od
	:: else -> break
	od;
	kicked = 0;
	passed = false
}

inline complete_generation(c)
{
	atomic { EVENT(LOAD_DONE, c, 0, completed); state = completed };
	do
	:: REACHED(state, from) -> break
	:: else ->
		atomic {
			DRAINED(c);
			EVENT(CAS_DONE, c, completed, 0);
			if
			:: completed == state -> completed = from; state = from
			:: else -> state = completed
			fi
		}
	od;
	state = 0
}

inline invalidate(c)
{
#ifndef M_NO_INITIATOR_FENCE
	DRAINED(c);
#endif
	atomic {
		EVENT(LOAD_GEN, c, 0, gen);
#ifdef M_MERGED_TOO_EARLY
		target = gen
#else
		target = NEXT(gen)
#endif
	};
	do
	:: atomic { EVENT(LOAD_DONE, c, 0, completed); done = REACHED(completed, target) };
		if
		:: done -> break
		:: else
		fi;
		atomic { EVENT(LOAD_GEN, c, 0, gen); from = gen };
		done = false;
		if
		:: !REACHED(from, target) ->
			atomic {
				EVENT(LOAD_DONE, c, 0, completed);
				done = REACHED(completed, from)
			}
		:: else
		fi;
		if
		:: done -> begin_generation(c) /* nothing is in flight */
		:: else ->
#ifdef M_COMPLETE_BEFORE_WAIT
			complete_generation(c);
#endif
#ifndef M_NO_WAIT
			await_generation(c);
#endif
			complete_generation(c)
		fi
	od;
	done = false;
	from = 0;
	target = 0
}

inline shootdown(c)
{
	atomic { EVENT(CLEAR, c, c, 0); write(c, AT_PTE, 0) };
	waiting[c] = true;
	invalidate(c);
	/* I6. */
	atomic { EVENT(RETURN, c, c, 0) };
	d_step {
		assert(!pte[c]);
		k = 0;
		do
		:: k < CPUS ->
			if
			:: TLB(k, c) != NOTHING -> TLB(k, c) = GONE
			:: else
			fi;
			k++
		:: else -> break
		od;
		k = 0;
		waiting[c] = false
	};
	atomic { DRAINED(c); EVENT(MAP, c, c, 0); pte[c] = true }
}

/* ---- CPUs ----------------------------------------------------------------------------------- */

proctype cpu(byte c; byte sessions; byte shootdowns)
{
	short ack, state, from, target;
	byte forced, kicked, i, k;
	bool passed, done, late;
#ifdef OFFLINE
	byte offlines = 1;
#endif
end:
	do
	:: sent[c] -> sent[c] = false
	:: atomic { sessions > 0 && online[c] -> sessions = sessions - SPEND };
		session(c)
	:: atomic { c < INITIATORS && shootdowns > 0 -> shootdowns = shootdowns - SPEND };
		shootdown(c)
#ifdef OFFLINE
	:: atomic {
			c == CPUS - 1 && online[c] && offlines > 0 && DRAINED(c) ->
			offlines = offlines - SPEND;
			online[c] = false;
#ifdef M_OFFLINE_WHILE_ACTIVE
			slot[c] = ACTIVE_ACK(gen);
#endif
			sent[c] = false
		}
	:: atomic {
			c == CPUS - 1 && !online[c] ->
			online[c] = true;
			seen[c] = 0;
#ifdef M_CLOCK_RESET_ONLINE
			gen = 1;
			completed = 1;
#endif
			EVENT(RESET, c, 0, 0)
		}
#endif
	od
}

init {
	byte c;

	atomic {
#ifdef TRACE
		d_step { FILL };
		run replay();
#endif
		do
		:: c < CPUS ->
			online[c] = true;
#if DEPTH > 0
			run store_buffer(c);
#endif
			run cpu(c, (c >= GUESTS -> SESSIONS : 0), SHOOTDOWNS);
			c++
		:: else -> break
		od;
		c = 0;
		do
		:: c < INITIATORS -> pte[c] = true; c++
		:: else -> break
		od
	}
}

#ifdef TRACE
/* The end is reached if the model can make the trace. */
proctype replay()
{
end:
	at == EVENTS;
	assert(false)
}
#endif

#ifdef PROGRESS
ltl ends { [] (waiting[0] -> <> !waiting[0]) }
#endif
