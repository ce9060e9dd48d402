/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The hardware's part of a story: what each CPU caches, from when on the tables do not allow it any
 * more, and what makes the CPU forget it.
 */

#include <string.h>

#include "sim/oracle/oracle_log.h"
#include "sim/story/story_priv.h"

/* ---- Stale or not --------------------------------------------------------------------------- */

/* The tables as they are; a word about to change as it will be. */
static uint64_t next_hpa;
static uint64_t next_value;

static uint32_t last_flush;

static bool
load_next(void *arg, uint64_t hpa, uint64_t *value)
{
	(void)arg;
	if (hpa != next_hpa)
		return sim_phys_peek(hpa, value);
	*value = next_value;
	return true;
}

static bool
allowed(unsigned int space, const struct hw_tlb_entry *e)
{
	const struct oracle_judged j = {
		.jd_ctx = &story_on->st_spaces[space].sa_ctx,
		.jd_entry = e,
		.jd_first = e->te_gpa,
		.jd_last = e->te_gpa + hw_entry_bytes(e) - 1,
	};

	return oracle_log_allowed_by(&j, load_next);
}

static void
judge(unsigned int cpu, unsigned int space, struct hw_tlb_entry *e, uint32_t change)
{
	const bool stale = space == STORY_NO_SPACE || !allowed(space, e);
	struct story_event *ev;

	if (stale == e->te_stale)
		return;
	e->te_stale = stale;
	ev = story_put(stale ? STORY_STALE : STORY_FRESH);
	ev->se_cpu = (uint8_t)cpu;
	ev->se_space = (uint8_t)space;
	ev->se_serial = e->te_serial;
	ev->se_gpa = e->te_gpa;
	ev->se_link = change;
}

struct rejudge {
	unsigned int rj_space;
	uint32_t rj_change;
};

static void
judge_cached(void *arg, unsigned int cpu, enum hw_space_kind kind, uint64_t key,
	     struct hw_tlb_entry *e)
{
	const struct rejudge *const rj = arg;

	(void)kind;
	(void)key;
	judge(cpu, rj->rj_space, e, rj->rj_change);
}

void
story_hw_written(unsigned int space, uint32_t change)
{
	const struct story_event w = story_on->st_events[change];
	struct rejudge rj = {space, change};

	if (hw_state == NULL)
		return;
	next_hpa = w.se_id;
	next_value = w.se_new;
	for (unsigned int cpu = 0; cpu < hw_state->st_ncpus; cpu++)
		hw_tlb_foreach_range(cpu, story_on->st_spaces[space].sa_root, w.se_gpa,
				     w.se_gpa + ((uint64_t)1 << hw_shift(w.se_level)), judge_cached,
				     &rj);
	next_hpa = 0;
}

/* ---- Cached and dropped --------------------------------------------------------------------- */

static void
put_fill(unsigned int cpu, enum hw_space_kind kind, struct hw_tlb_entry *e)
{
	const unsigned int space = story_space_at(e->te_root);
	struct story_event *ev;

	ev = story_put(STORY_FILL);
	ev->se_cpu = (uint8_t)cpu;
	ev->se_space = (uint8_t)space;
	if (e->te_serial != 0)
		ev->se_flags |= SE_MORE;
	else
		e->te_serial = story_index(ev) + 1; /* 0 again if there was no room */
	ev->se_serial = e->te_serial;
	ev->se_gpa = e->te_va;
	ev->se_id = e->te_hpa;
	ev->se_level = e->te_level;
	ev->se_rights = e->te_rights;
	if (e->te_table)
		ev->se_flags |= SE_TABLE;
	if (e->te_dirty)
		ev->se_flags |= SE_DIRTY;
	if (kind == HW_SPACE_EPT_LINEAR || kind == HW_SPACE_NPT_LINEAR)
		ev->se_flags |= SE_LINEAR;
	if (e->te_stale && !(ev->se_flags & SE_MORE))
		e->te_stale = false;
	judge(cpu, space, e, STORY_NONE);
}

void
story_do_fill(unsigned int cpu, enum hw_space_kind kind, struct hw_tlb_entry *e)
{
	if (story_keeps())
		put_fill(cpu, kind, e);
}

void
story_do_drop(unsigned int cpu, const struct hw_tlb_entry *e)
{
	struct story_event *ev;

	if (!story_keeps() || e->te_serial == 0)
		return;
	ev = story_put(STORY_DROP);
	ev->se_cpu = (uint8_t)cpu;
	ev->se_serial = e->te_serial;
	ev->se_gpa = e->te_va;
	/* Of the same step: by that instruction. Else evicted, or by a fault. */
	if (last_flush < story_on->st_n && story_on->st_events[last_flush].se_step == ev->se_step &&
	    story_on->st_events[last_flush].se_cpu == cpu) {
		story_on->st_events[last_flush].se_count++;
		ev->se_link = last_flush;
	}
}

static void
fill_before(void *arg, unsigned int cpu, enum hw_space_kind kind, uint64_t key,
	    struct hw_tlb_entry *e)
{
	(void)arg;
	(void)key;
	put_fill(cpu, kind, e);
}

void
story_hw_before(void)
{
	if (hw_state == NULL)
		return;
	for (unsigned int cpu = 0; cpu < hw_state->st_ncpus; cpu++) {
		const struct hw_context *const guest = hw_cpu_at(cpu)->hw_guest;

		hw_tlb_foreach(cpu, fill_before, NULL);
		if (guest != NULL)
			story_do_guest(cpu, guest, HW_TLB_KEEP);
	}
}

/* ---- Instructions and accesses -------------------------------------------------------------- */

void
story_do_flush(unsigned int cpu, const char *what, uint64_t operand)
{
	struct story_event *e;

	if (!story_keeps())
		return;
	e = story_put(STORY_FLUSH);
	e->se_cpu = (uint8_t)cpu;
	e->se_name = story_intern(what);
	e->se_new = operand;
	e->se_space = (uint8_t)story_space_at(operand & ~(uint64_t)(SIM_PAGE_SIZE - 1));
	last_flush = story_index(e);
}

void
story_do_guest(unsigned int cpu, const struct hw_context *ctx, unsigned int control)
{
	struct story_event *e;

	if (!story_keeps())
		return;
	e = story_put(STORY_GUEST_ON);
	e->se_cpu = (uint8_t)cpu;
	e->se_space = (uint8_t)story_space_at(hw_context_root(ctx));
	e->se_new = control;
}

void
story_do_guest_off(unsigned int cpu)
{
	if (story_keeps())
		story_put(STORY_GUEST_OFF)->se_cpu = (uint8_t)cpu;
}

void
story_do_access(unsigned int cpu, const struct hw_context *ctx, uint64_t gpa, unsigned int access,
		const struct hw_translation *t, const struct hw_fault *f)
{
	struct story_event *e;

	if (!story_keeps())
		return;
	e = story_put(STORY_ACCESS);
	e->se_cpu = (uint8_t)cpu;
	e->se_space = (uint8_t)story_space_at(hw_context_root(ctx));
	e->se_gpa = gpa;
	e->se_access = (uint8_t)access;
	if (t != NULL) {
		e->se_new = t->ht_hpa;
		e->se_level = t->ht_level;
		e->se_flags |= t->ht_cached ? SE_CACHED : 0;
	} else {
		e->se_old = f->hf_entry;
		e->se_level = f->hf_level;
		e->se_flags |= SE_DENIED | (f->hf_cached ? SE_CACHED : 0);
	}
}

void
story_do_blame(unsigned int cpu, const struct hw_tlb_entry *e, uint64_t gpa)
{
	struct story_event *ev;

	if (!story_keeps())
		return;
	ev = story_put(STORY_BLAME);
	ev->se_cpu = (uint8_t)cpu;
	ev->se_space = (uint8_t)story_space_at(e->te_root);
	ev->se_serial = e->te_serial;
	ev->se_gpa = gpa;
	ev->se_id = e->te_hpa;
	story_on->st_blame = story_index(ev);
}
