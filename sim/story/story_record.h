/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Where the machine, the hardware and the world tell a story (story.h) what they do: one line each,
 * which costs a compare while nobody records.
 *
 *	STORY(fill(cpu, space, entry));
 */

#ifndef SIM_STORY_RECORD_H
#define SIM_STORY_RECORD_H

#include "sim/story/story.h"

/* The story that is being recorded; NULL: none. */
extern struct story *story_on;

#define STORY(call)                                        \
	do {                                               \
		if (__builtin_expect(story_on != NULL, 0)) \
			story_do_##call;                   \
	} while (0)

/*
 * For the machine and hardware that exist; takes over the step hook. s NULL: nothing is recorded.
 * story_detach() before they go: it looks for the two steps that race.
 */
void story_attach(struct story *s);
void story_detach(void);

/* ---- The machine ---------------------------------------------------------------------------- */

void story_do_buffer(unsigned int cpu, const uint64_t *word, uint64_t value);
void story_do_drain(unsigned int cpu, const uint64_t *word, uint64_t value);
void story_do_written(const struct sim_table_write *tw);
void story_do_walker_wrote(uint64_t hpa, uint64_t old, uint64_t new);
void story_do_word(const uint64_t *word, uint64_t old, uint64_t new); /* not of a table */
void story_do_arrived(unsigned int cpu);
void story_do_fault(enum sim_fault f);
void story_do_violation(const char *check, const char *invariant, const char *message);

/* ---- The hardware --------------------------------------------------------------------------- */

void story_do_fill(unsigned int cpu, enum hw_space_kind kind, struct hw_tlb_entry *e);
void story_do_drop(unsigned int cpu, const struct hw_tlb_entry *e);
void story_do_flush(unsigned int cpu, const char *what, uint64_t operand);
void story_do_guest(unsigned int cpu, const struct hw_context *ctx, unsigned int control);
void story_do_guest_off(unsigned int cpu);
void story_do_access(unsigned int cpu, const struct hw_context *ctx, uint64_t gpa,
		     unsigned int access, const struct hw_translation *t, const struct hw_fault *f);
void story_do_blame(unsigned int cpu, const struct hw_tlb_entry *e, uint64_t gpa);

/* ---- The world ------------------------------------------------------------------------------ */

struct pmap;
struct pmap_slot;

/* A space whose tables begin at ctx; again when they are others. pm may be NULL. */
void story_do_space(const char *name, const struct hw_context *ctx, const struct pmap *pm);

/* Slot n of it: of a CPU, or of a vCPU. */
void story_do_slot(const char *space, unsigned int n, const struct pmap_slot *s, bool active);
void story_do_vcpu(const char *space, unsigned int n, bool on);

/* The CPU begins an operation on [start, end) of a space, NULL: of none; one within another. */
void story_do_begin(const char *what, const char *space, uint64_t start, uint64_t end);
void story_do_done(int error);

#endif /* SIM_STORY_RECORD_H */
