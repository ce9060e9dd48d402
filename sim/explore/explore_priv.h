/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The search, inside: explore.c (the walk over decisions), explore_order.c (what came before what,
 * and which races that leaves), explore_set.c (what has been seen), explore_save.c (a search as
 * text).
 */

#ifndef SIM_EXPLORE_PRIV_H
#define SIM_EXPLORE_PRIV_H

#include <signal.h>

#include "sim/explore/explore.h"

/* Dense numbers of actors: CPUs, then EXPLORE_CPUS lanes for each agent. One bit each. */
#define ACTORS 64u
#define ACTOR_NONE 255u
#define DEPTH_MAX 16384u

typedef uint64_t actors_t; /* a set */

static inline actors_t
actor_bit(unsigned int a)
{
	return (actors_t)1 << a;
}

static inline bool
actor_is_cpu(unsigned int a)
{
	return a < EXPLORE_CPUS;
}

/* ---- Sets of 64-bit values ----------------------------------------------------------------- */

struct value_set {
	uint64_t *vs_slots; /* 0: empty */
	uint64_t vs_n;
	uint64_t vs_room; /* a power of two */
};

bool set_add(struct value_set *s, uint64_t value); /* false: it was there */
void set_reserve(struct value_set *s, uint64_t n); /* room for so many, as far as is sensible */
void set_free(struct value_set *s);

static inline uint64_t
mix(uint64_t h, uint64_t v)
{
	h = (h ^ (v + 1) * UINT64_C(0xff51afd7ed558ccd)) * UINT64_C(0x9e3779b97f4a7c15);
	h ^= h >> 32;
	h *= UINT64_C(0xd6e8feb86659fd93);
	return h ^ h >> 29;
}

/* ---- What a step touches ------------------------------------------------------------------- */

#define HOW(how) (1u << (how))

struct object {
	uint64_t ob_key;
	int32_t ob_write; /* the last step that wrote it; -1: none */
	int32_t ob_take;
	int32_t ob_release;
	uint32_t ob_stamp; /* the step that touched it last ... */
	uint32_t ob_hows;  /* ... and how, bits HOW() */
	int32_t ob_read[ACTORS];
	uint64_t ob_write_hash;
	uint64_t ob_reads_hash; /* since then */
	uint64_t ob_release_hash;
	uint64_t ob_take_hash;
};

struct touched {
	uint32_t to_object; /* index */
	uint8_t to_how;
	int32_t to_before; /* for undoing */
	uint64_t to_hash;
	uint64_t to_hash2;
};

/* What all variants of an actor's step touched, for sleep sets. */
struct footprint {
	uint64_t fp_any; /* Bloom filters */
	uint64_t fp_write;
	uint32_t fp_n;
	uint32_t fp_room;
	uint64_t *fp_touches; /* object index << 8 | how */
};

/* Whether two steps that touch these may not be exchanged. */
bool footprint_conflicts(const struct footprint *a, const struct footprint *b);
void footprint_add(struct footprint *f, uint32_t object, unsigned int how);
void footprint_clear(struct footprint *f);
void footprint_free(struct footprint *f);

/* ---- Steps --------------------------------------------------------------------------------- */

struct event {
	uint8_t ev_actor;
	bool ev_relax;	   /* a turn of a loop that waits */
	uint32_t ev_node;  /* its decision */
	uint32_t ev_first; /* of the touches */
	uint32_t ev_ntouches;
	int32_t ev_before;	   /* this actor's last step before; -1 */
	uint64_t ev_hash_before;   /* of the actor */
	uint16_t ev_clock[ACTORS]; /* of each actor, one more than its last step that came before */
};

/* ---- Decisions ----------------------------------------------------------------------------- */

struct sleeper {
	uint8_t sl_actor;
	bool sl_own;			 /* the footprint is this decision's, to be freed with it */
	const struct footprint *sl_foot; /* of a decision below, or own */
};

struct decision {
	bool de_data;		 /* a choice inside a step; else: who is next */
	uint8_t de_chosen;	 /* actor */
	uint8_t de_running;	 /* CPU that ran before, or ACTOR_NONE */
	uint8_t de_kind;	 /* of data: enum sim_choice */
	uint32_t de_preemptions; /* so far */
	uint32_t de_event;	 /* the step that it begins, or is part of */
	uint32_t de_value;	 /* of data */
	uint32_t de_n;
	actors_t de_enabled;
	actors_t de_barred;   /* of these: beyond the bound */
	actors_t de_optional; /* of these: nobody waits for them */
	bool de_free;	      /* to go on with another CPU is no preemption */
	actors_t de_backtrack;
	actors_t de_done;
	actors_t de_asleep; /* de_sleepers as a set */
	uint32_t de_nsleepers;
	struct sleeper *de_sleepers;
	struct footprint de_foot; /* of the chosen one's steps so far */
};

enum explore_cut { CUT_NOT, CUT_SLEEP, CUT_SEEN, CUT_FAILED };

struct explore {
	struct explore_bounds ex_bounds;
	struct explore_stats ex_stats;
	volatile sig_atomic_t ex_stop;
	uint64_t ex_before_ms; /* spent before this explore_search(): eb_max_ms is for one */
	void (*ex_tick)(void *arg);
	void *ex_tick_arg;
	uint32_t ex_program_choice;

	/* The walk. */
	struct decision *ex_stack;
	uint32_t ex_depth;
	uint32_t ex_room;
	bool ex_ran;		 /* the stack is that of a run that has been made */
	bool ex_again;		 /* its steps are to be made once more first */
	bool ex_over;		 /* the whole space */
	uint32_t ex_at;		 /* in this run: decisions met */
	uint32_t ex_fresh;	 /* the first step of this run that is not as in the last one */
	bool ex_live;		 /* between the first decision of a run and its end */
	bool ex_open;		 /* the last of ex_events is under way */
	enum explore_cut ex_cut; /* why this run was cut short */
	uint32_t ex_step;	 /* in this run: steps begun */

	/* Steps of this run. */
	struct event *ex_events;
	uint32_t ex_nevents;
	uint32_t ex_events_room;
	struct touched *ex_touches;
	uint32_t ex_ntouches;
	uint32_t ex_touches_room;
	int32_t ex_last[ACTORS];
	uint64_t ex_hash[ACTORS]; /* what each has done, as far as it matters in which order */
	uint64_t ex_sum;	  /* over them */
	uint64_t ex_value;	  /* of the choices inside the step under way */
	uint32_t ex_serial;	  /* of steps begun, over all runs */

	struct object *ex_objects;
	uint32_t ex_nobjects;
	uint32_t ex_objects_room;
	uint32_t *ex_index; /* hash; index + 1 */
	uint32_t ex_index_mask;

	struct value_set ex_states;
	struct value_set ex_finals;
	struct value_set ex_traces;
	struct value_set ex_seen; /* EXPLORE_NONE */
};

/* ---- explore_order.c ---- */
void order_touch(struct explore *ex, uint64_t key, enum sim_touch how);
void order_begin(struct explore *ex, unsigned int actor, bool relax, uint32_t node);
void order_value(struct explore *ex, uint64_t value); /* a choice inside the step */
void order_end(struct explore *ex); /* of the last step: its place, and the races it is part of */
void order_undo(struct explore *ex, uint32_t event);	      /* it and all after it */
bool order_spins(const struct explore *ex, unsigned int cpu); /* nothing it read has changed */
uint32_t order_object(struct explore *ex, uint64_t key);      /* its index */
void order_free(struct explore *ex);

/* ---- explore.c ---- */
struct decision *explore_push(struct explore *ex);
void decision_add_sleeper(struct decision *de, unsigned int actor, const struct footprint *foot,
			  bool own);
void explore_add(struct explore *ex, struct decision *de, actors_t actors);

/* Whether races decide what is to be tried; with a bound, and without reduction, everybody is. */
static inline bool
explore_by_races(const struct explore *ex)
{
	return ex->ex_bounds.eb_reduce == EXPLORE_DPOR &&
	       ex->ex_bounds.eb_preemptions == EXPLORE_UNBOUNDED;
}

static inline struct event *
last_event(struct explore *ex)
{
	return &ex->ex_events[ex->ex_nevents - 1];
}

#endif /* SIM_EXPLORE_PRIV_H */
