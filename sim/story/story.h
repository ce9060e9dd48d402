/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The story of a run: what happened, step by step, and what the machine looked like meanwhile.
 *
 * A run is deterministic, so nobody has to watch the first time. Whoever wants to know how it came
 * to its end runs it again with sim_options.story set, and reads:
 *
 *	struct story *s = story_create();
 *	story_clear(s, end > 5000 ? end - 5000 : 0);	the first step to keep
 *	o.story = s; cli_execute(&o, ...);		in this process or in a forked one
 *	for (uint32_t i = 0; i < s->st_n; i++)
 *		if (story_matters(s, i)) { story_actor(s, i, ...); story_action(s, i, ...); }
 *
 * A story is a list of events. Each is a step of the machine (STORY_POINT) or a change of its state
 * that came with one: a store enters a buffer or leaves it, a table entry changes, a translation is
 * cached or dropped, a CPU enters a guest. State is told by changes only; story_state_go() plays
 * them up to any event, so memory is bounded by the number of events. When recording begins in the
 * middle of a run, what is there by then comes first, as events of that step with SE_BEFORE.
 *
 * A cached translation is known by its serial number from STORY_FILL to STORY_DROP. It is stale
 * from the event on at which the tables ceased to allow it (STORY_STALE, linked to the change that
 * did it), whether anybody may still use it or not: between the change and the flush that completes
 * it every translation is.
 *
 * A story lies in memory that a forked process shares, so a worker records and its parent reads; a
 * run that ends in a crash leaves what came before. Nothing in it points anywhere but into itself.
 *
 * Recording makes no choice and no step, and does not enter the trace: the run stays what it was.
 */

#ifndef SIM_STORY_H
#define SIM_STORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/hw/hw.h"
#include "sim/machine/machine.h"

#define STORY_EVENTS_MAX ((uint32_t)1 << 17)
#define STORY_SPACES_MAX 32
#define STORY_PLACES_MAX 512
#define STORY_NAMES_MAX 250
#define STORY_NAME_BYTES 40
#define STORY_PATHS_MAX 1024
#define STORY_CPUS_MAX (SIM_MAX_CPUS + 1) /* with the service CPU */
#define STORY_SLOTS_MAX 48
#define STORY_DEPTH_MAX 8
#define STORY_NONE UINT32_MAX /* no event */
#define STORY_NO_CPU 255
#define STORY_NO_SPACE 255

enum story_kind {
	STORY_POINT,	 /* a step: access se_access to se_id; se_old, and se_new of SIM_RMW */
	STORY_AGENT,	 /* an agent's step begins */
	STORY_BUFFER,	 /* a store of se_new waits in the store buffer of se_cpu */
	STORY_DRAIN,	 /* the oldest store of se_cpu reaches memory */
	STORY_ENTRY,	 /* a table word changes from se_old to se_new, visibly */
	STORY_FILL,	 /* se_cpu caches a translation, or more rights for it */
	STORY_DROP,	 /* and drops it */
	STORY_STALE,	 /* the tables do not allow it any more; se_link: the change */
	STORY_FRESH,	 /* they do again */
	STORY_FLUSH,	 /* an instruction that invalidates; its drops follow */
	STORY_VCPU_ON,	 /* vCPU se_serial of a space begins to run on se_cpu */
	STORY_VCPU_OFF,	 /* and stops */
	STORY_GUEST_ON,	 /* guest mode on se_cpu; se_new: TLB_CONTROL */
	STORY_GUEST_OFF, /* left */
	STORY_ACCESS,	 /* a guest's or a thread's access: se_access is HW_*, se_new the hpa */
	STORY_BEGIN,	 /* an operation se_name on [se_gpa, se_new) of a space */
	STORY_DONE,	 /* and its end; se_old is 0 or an errno */
	STORY_GEN,	 /* the generation of a space */
	STORY_SLOT,    /* slot se_serial of a space: SE_ACTIVE, se_old acknowledged, se_new seen */
	STORY_KICK,    /* se_cpu is sent an interrupt */
	STORY_ARRIVED, /* which arrives */
	STORY_INTERRUPT, /* and is taken */
	STORY_FAULT,	 /* an injected fault; se_access: enum sim_fault */
	STORY_BLAME,	 /* the translation that the violation is about */
	STORY_VIOLATION, /* the end */
	STORY_KIND_COUNT,
};

/* se_flags. */
#define SE_BEFORE 1u /* was so when recording began */
#define SE_TABLE 2u  /* se_id is a table word, or ENTRY: at (space, level, gpa); FILL: a pointer */
#define SE_DESC 4u   /* se_id is in the descriptor of the table at (space, level, gpa) */
#define SE_PAGE 8u   /* se_id is in the page of gpa */
#define SE_HARDWARE 16u	 /* ENTRY: by a page walker (accessed, dirty) */
#define SE_LINEAR 32u	 /* FILL: of a linear address */
#define SE_DIRTY 64u	 /* FILL: dirty */
#define SE_CACHED 128u	 /* ACCESS: served, or denied, by what was cached */
#define SE_DENIED 256u	 /* ACCESS: a fault */
#define SE_ACTIVE 512u	 /* SLOT */
#define SE_PRIVATE 1024u /* ENTRY: in a table that nobody can reach yet */
#define SE_MORE 2048u	 /* FILL: of a serial number that is there already */

struct story_event {
	uint64_t se_step;
	uint64_t se_id; /* POINT, BUFFER, DRAIN: a word (SIM_ID_*); ENTRY: its hpa; FILL: hpa */
	uint64_t se_gpa;
	uint64_t se_old;
	uint64_t se_new;
	uint32_t se_link;   /* STALE: the change; DROP: the flush; or STORY_NONE */
	uint32_t se_serial; /* a translation: 1 + the event that cached it first; a vCPU; a slot */
	uint16_t se_place;  /* 1 + index into st_places; 0: none */
	uint16_t se_count;  /* FLUSH: dropped; ENTRY: entries in the table that it links */
	uint16_t se_flags;
	uint8_t se_kind;
	uint8_t se_actor; /* as in struct sim_step, but agents from SIM_ACTOR_AGENT on */
	uint8_t se_cpu;
	uint8_t se_space;
	uint8_t se_level;
	uint8_t se_access;
	uint8_t se_rights; /* FILL: HW_* */
	uint8_t se_name;   /* index into st_names */
};

struct story_space {
	char sa_name[STORY_NAME_BYTES];
	struct hw_model sa_model;
	struct hw_context sa_ctx; /* its model is sa_model: entries can be decoded after the run */
	uint64_t sa_root;
	uint64_t sa_gen_id; /* the word of its generation */
};

/* A word or more that has a name. */
struct story_place {
	uint64_t pl_id;
	uint64_t pl_bytes;
	char pl_name[STORY_NAME_BYTES];
};

/* A table entry as it was at the end, for the tables above what changed. */
struct story_path {
	uint64_t pa_hpa;
	uint64_t pa_gpa;
	uint64_t pa_value;
	uint8_t pa_space;
	uint8_t pa_level;
};

struct story {
	uint64_t st_from;	/* first step to keep */
	uint64_t st_first_step; /* of what was kept */
	uint64_t st_last_step;
	uint32_t st_n;
	uint32_t st_lost; /* events that found no room: record again from later on */
	uint32_t st_ncpus;
	uint32_t st_nspaces;
	uint32_t st_nplaces;
	uint32_t st_nnames;
	uint32_t st_npaths;
	bool st_ended;	   /* with a violation */
	uint8_t st_actor;  /* who violated */
	uint32_t st_blame; /* its event, or STORY_NONE */
	uint32_t
		st_fill; /* the event that cached the translation that it is about, or STORY_NONE */

	/* The two steps that race: what was changed, and who relied on it. STORY_NONE: unknown. */
	uint32_t st_changed;
	uint32_t st_used;

	char st_check[16];
	char st_invariant[8];
	char st_message[512];
	char st_agents[SIM_MAX_AGENTS][STORY_NAME_BYTES];
	char st_names[STORY_NAMES_MAX][STORY_NAME_BYTES];
	struct story_space st_spaces[STORY_SPACES_MAX];
	struct story_place st_places[STORY_PLACES_MAX];
	struct story_path st_paths[STORY_PATHS_MAX];
	struct story_event st_events[STORY_EVENTS_MAX];
};

/* ---- Life (story.c) ------------------------------------------------------------------------- */

/* Shared with processes forked later. NULL: no memory. */
struct story *story_create(void);
void story_destroy(struct story *s);

/* Forgets everything; what the next run does from step `from` on will be kept. */
void story_clear(struct story *s, uint64_t from);

/*
 * After a run that lost events: the step from which it should be recorded again, so that what is
 * kept reaches to the end, at `end`.
 */
uint64_t story_shorter(const struct story *s, uint64_t end);

/* ---- In words (story_text.c) ---------------------------------------------------------------- */

#define STORY_TEXT_BYTES 200

/* "CPU 1", "store buffer", "service CPU". */
const char *story_actor(const struct story *s, uint32_t i, char *text, size_t bytes);

/* "clears the level-0 entry of 0x3000 in guest 0". */
const char *story_action(const struct story *s, uint32_t i, char *text, size_t bytes);

/* What that changed: "frame 0x40123000 rwx A D -> nothing"; "" if nothing that is told. */
const char *story_change(const struct story *s, uint32_t i, char *text, size_t bytes);

/* Whether it is of interest where there is room for a few lines only. */
bool story_matters(const struct story *s, uint32_t i);

/* An entry of a table of that space and level: "frame 0x40123000 rwx A D", "nothing". */
const char *story_entry(const struct story *s, unsigned int space, unsigned int level,
			uint64_t value, char *text, size_t bytes);

/* A cached translation, by the event that filled it: "4 KiB 0x3000 -> 0x40123000 rwx dirty". */
const char *story_cached(const struct story *s, uint32_t fill, char *text, size_t bytes);

/* ---- State (story_state.c) ------------------------------------------------------------------ */

struct story_tlb_entry {
	uint32_t tl_fill;  /* the event that says what it is */
	uint32_t tl_first; /* the event that cached it first */
	uint32_t tl_stale; /* the event since which it is stale, or STORY_NONE */
};

struct story_cpu {
	uint32_t sc_ncached;
	uint32_t sc_room;
	struct story_tlb_entry *sc_cached;
	uint32_t sc_nstores; /* oldest first */
	uint32_t sc_stores[16];
	uint32_t sc_guest;			 /* STORY_GUEST_ON, or STORY_NONE */
	uint32_t sc_vcpu;			 /* STORY_VCPU_ON, or STORY_NONE */
	uint32_t sc_depth;			 /* operations, one within another */
	uint32_t sc_operations[STORY_DEPTH_MAX]; /* STORY_BEGIN */
	uint32_t sc_flying;			 /* interrupts on their way */
	bool sc_pending;
};

struct story_state {
	const struct story *ss_story;
	uint32_t ss_at; /* so many events have been played */
	struct story_cpu ss_cpus[STORY_CPUS_MAX];
	uint64_t ss_gen[STORY_SPACES_MAX];		      /* 0: not known */
	uint32_t ss_slots[STORY_SPACES_MAX][STORY_SLOTS_MAX]; /* STORY_SLOT, or STORY_NONE */
};

void story_state_init(struct story_state *st, const struct story *s);
void story_state_free(struct story_state *st);

/* Plays events up to and without `at`; forward only. False if memory is short. */
bool story_state_go(struct story_state *st, uint32_t at);

/* For a STORY_DRAIN: the STORY_BUFFER of that store; STORY_NONE if the story does not tell. */
uint32_t story_buffered(const struct story *s, uint32_t drain);

/* The value of a table word after `at` events. False if the story does not tell. */
bool story_word(const struct story *s, uint32_t at, uint64_t hpa, uint64_t *value);

#endif /* SIM_STORY_H */
