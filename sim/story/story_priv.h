/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The recorder's inside: story.c (life, the machine's and the world's events), story_hw.c (what the
 * hardware caches, and when it is stale), story_race.c (its end).
 */

#ifndef SIM_STORY_PRIV_H
#define SIM_STORY_PRIV_H

#include "sim/hw/hw_priv.h"
#include "sim/machine/machine_priv.h"
#include "sim/story/story_record.h"

/* What a frame is for, as far as the tables that are linked tell. */
struct story_role {
	uint64_t ro_gpa;
	uint8_t ro_space; /* 1 + index; 0: unknown */
	uint8_t ro_level; /* of a table */
	bool ro_page;	  /* it is mapped at ro_gpa */
};

/* The next event, of this step and actor; where there is no room, one that nobody will see. */
struct story_event *story_put(enum story_kind kind);

/* Its number; STORY_NONE for one that nobody will see. */
uint32_t story_index(const struct story_event *e);

/* Whether events are kept by now. */
static inline bool
story_keeps(void)
{
	return story_on != NULL && sim_the_machine->m_step >= story_on->st_from;
}

/* Fills in what a name of a word (SIM_ID_*) is known to mean. */
void story_name_word(struct story_event *e, uint64_t id);

struct story_role *story_role_of(uint64_t hpa);

/* The space with this root; STORY_NO_SPACE: none. */
unsigned int story_space_at(uint64_t root);

/* Index of a name, added if it is new. */
uint8_t story_intern(const char *name);

/* The two steps that race; the tables above what changed, as they are at last (story_race.c). */
void story_find_race(void);
void story_add_paths(void);

/* What is there when recording begins. */
void story_hw_before(void);

/* A table word has changed: what is cached by it may be stale from here on. */
void story_hw_written(unsigned int space, uint32_t change);

#endif /* SIM_STORY_PRIV_H */
