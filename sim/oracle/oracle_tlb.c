/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * CK-TLB, and the part of CK-FREE that concerns cached translations: which entries are scanned
 * when, and what is said of those that must not be there. oracle_log.c judges them.
 */

#include "sim/oracle/oracle_tlb.h"

#include <errno.h>
#include <stdio.h>

#include "sim/oracle/invariants.h"
#include "sim/oracle/oracle_log.h"
#include "sim/machine/side.h"
#include "sim/story/story_record.h"

#define DEAD_ROOT UINT64_MAX	    /* te_dead: its pmap is gone */
#define DEAD_FRAME (UINT64_MAX - 1) /* te_dead: its frame is free */

/* How the tables of each root are read. */
struct oracle {
	struct hw_context *o_contexts;
	unsigned int o_ncontexts;
};

static struct oracle *oracle;

static const struct hw_context *
context_of(uint64_t root)
{
	for (unsigned int i = 0; i < oracle->o_ncontexts; i++) {
		if (hw_context_root(&oracle->o_contexts[i]) == root)
			return &oracle->o_contexts[i];
	}
	return NULL;
}

/* ---- Scans --------------------------------------------------------------------------------- */

struct scan {
	const struct hw_context *sc_ctx;
	uint64_t sc_id; /* what goes into te_dead */
	uint64_t sc_start;
	uint64_t sc_end; /* 0: no end */
};

static const char *
rights_name(unsigned int rights, char name[5])
{
	snprintf(name, 5, "%c%c%c%s", rights & HW_READ ? 'r' : '-', rights & HW_WRITE ? 'w' : '-',
		 rights & HW_EXEC ? 'x' : '-', rights & HW_USER ? "u" : "");
	return name;
}

/* "4 KiB translation of 0x... to 0x... (rwx, dirty)" */
static void
describe(const struct hw_tlb_entry *e, char *text, size_t bytes)
{
	static const char *const size[] = {"4 KiB", "2 MiB", "1 GiB"};
	char r[5];

	if (e->te_table)
		snprintf(text, bytes, "cached level-%u entry for 0x%llx, to table 0x%llx (%s)",
			 e->te_level, (unsigned long long)e->te_gpa, (unsigned long long)e->te_hpa,
			 rights_name(e->te_rights, r));
	else
		snprintf(text, bytes, "cached %s translation of 0x%llx to frame 0x%llx (%s%s)",
			 size[e->te_level], (unsigned long long)e->te_gpa,
			 (unsigned long long)e->te_hpa, rights_name(e->te_rights, r),
			 e->te_dirty ? ", dirty" : "");
}

static void
describe_tables(const struct hw_context *ctx, uint64_t gpa, char *text, size_t bytes)
{
	struct hw_walk w;
	char r[5];

	if (!ctx) {
		snprintf(text, bytes, "its tables are gone");
		return;
	}
	hw_walk_quiet(ctx, gpa, &w);
	if (!w.wk_present)
		snprintf(text, bytes, "the tables have nothing there");
	else
		snprintf(text, bytes, "the tables say frame 0x%llx (%s%s)",
			 (unsigned long long)(w.wk_hpa +
					      (gpa & ((UINT64_C(1) << (12 + 9 * w.wk_level)) - 1) &
					       ~UINT64_C(4095))),
			 rights_name(w.wk_rights, r), w.wk_dirty ? ", dirty" : "");
}

/* Whether the CPU is in a context in which it would use what is cached under this tag. */
static bool
in_use(unsigned int cpu, enum hw_space_kind space, uint64_t key)
{
	const struct hw_context *ctx = hw_live(cpu);

	sim_touch(SIM_OBJECT(SIM_OBJECT_LIVE, cpu), SIM_TOUCH_READ);
	if (!ctx)
		return false;
	switch (space) {
	case HW_SPACE_EPT:
		return ctx->hc_kind == HW_EPT && hw_context_root(ctx) == key;
	case HW_SPACE_EPT_LINEAR:
		return ctx->hc_kind == HW_EPT && (hw_context_root(ctx) << 4 | ctx->hc_tag) == key;
	case HW_SPACE_NPT:
	case HW_SPACE_NPT_LINEAR:
		return ctx->hc_kind == HW_NPT && ctx->hc_tag == (key & 0xffff);
	case HW_SPACE_X86:
		return ctx->hc_kind == HW_X86 && ctx->hc_tag == (key & 0xffff);
	case HW_SPACE_X86_GLOBAL:
		return ctx->hc_kind == HW_X86;
	}
	return false;
}

static void
judge(void *arg, unsigned int cpu, enum hw_space_kind space, uint64_t key, struct hw_tlb_entry *e)
{
	const struct scan *scan = arg;
	struct oracle_judged j = {
		.jd_ctx = scan->sc_ctx,
		.jd_entry = e,
		.jd_first = e->te_gpa,
		.jd_last = e->te_gpa + hw_entry_bytes(e) - 1,
	};
	char entry[120], tables[80];

	if (e->te_dead != 0)
		return;
	if (scan->sc_end != 0 && scan->sc_start > j.jd_first)
		j.jd_first = scan->sc_start;
	if (scan->sc_end != 0 && scan->sc_end - 1 < j.jd_last)
		j.jd_last = scan->sc_end - 1;
	sim_invariant_hit(SIM_I14);
	if (oracle_log_allows(&j))
		return;
	sim_touch(SIM_OBJECT(SIM_OBJECT_TLB, cpu), SIM_TOUCH_WRITE);
	e->te_dead = scan->sc_id;
	if (scan->sc_ctx->hc_kind == HW_X86 || !in_use(cpu, space, key))
		return;
	describe(e, entry, sizeof(entry));
	describe_tables(scan->sc_ctx, j.jd_first, tables, sizeof(tables));
	STORY(blame(cpu, e, j.jd_first));
	sim_violation("CK-TLB", "I14",
		      "shootdown over, but CPU %u in guest mode still has a %s; %s", cpu, entry,
		      tables);
}

static void
scan_all(uint64_t root, uint64_t id, uint64_t start, uint64_t end)
{
	struct scan scan = {context_of(root), id, start, end};

	if (!scan.sc_ctx)
		sim_violation("internal", "", "no context is registered for root 0x%llx",
			      (unsigned long long)root);
	for (unsigned int cpu = 0; cpu < sim_cpu_count(); cpu++)
		hw_tlb_foreach_range(cpu, root, start, end, judge, &scan);
}

void
oracle_tlb_op_done(struct oracle_tlb_op *op, uint64_t start, uint64_t end)
{
	oracle_log_touch(SIM_TOUCH_WRITE);
	oracle_log_over(op);
	scan_all(op->op_root, op->op_id, start, end);
	oracle_log_trim();
}

void
oracle_tlb_drain_done(uint64_t root, uint64_t ticket)
{
	const uint64_t id = oracle_log_drained(root, ticket);

	if (id != 0)
		scan_all(root, id, 0, 0);
	oracle_log_trim();
}

/* ---- Frames and roots ---------------------------------------------------------------------- */

struct frame_scan {
	uint64_t fs_hpa;
};

static void
judge_frame(void *arg, unsigned int cpu, enum hw_space_kind space, uint64_t key,
	    struct hw_tlb_entry *e)
{
	const struct frame_scan *scan = arg;
	const uint64_t bytes = e->te_table ? SIM_PAGE_SIZE : hw_entry_bytes(e);
	char entry[120];

	if (e->te_dead != 0 || scan->fs_hpa - e->te_hpa >= bytes)
		return;
	if (in_use(cpu, space, key)) {
		describe(e, entry, sizeof(entry));
		STORY(blame(cpu, e, e->te_gpa));
		sim_violation("CK-FREE", "I15", "frame 0x%llx is freed while CPU %u may use a %s",
			      (unsigned long long)scan->fs_hpa, cpu, entry);
	}
	sim_touch(SIM_OBJECT(SIM_OBJECT_TLB, cpu), SIM_TOUCH_WRITE);
	e->te_dead = DEAD_FRAME;
}

void
oracle_tlb_frame_freed(uint64_t hpa)
{
	struct frame_scan scan = {hpa & ~(uint64_t)(SIM_PAGE_SIZE - 1)};

	sim_invariant_hit(SIM_I15);
	for (unsigned int cpu = 0; cpu < sim_cpu_count(); cpu++)
		sim_touch(SIM_OBJECT(SIM_OBJECT_TLB, cpu), SIM_TOUCH_READ);
	if (!hw_frame_maybe_cached(hpa))
		return;
	for (unsigned int cpu = 0; cpu < sim_cpu_count(); cpu++)
		hw_tlb_foreach(cpu, judge_frame, &scan);
}

static void
bury(void *arg, unsigned int cpu, enum hw_space_kind space, uint64_t key, struct hw_tlb_entry *e)
{
	(void)arg;
	(void)cpu;
	(void)space;
	(void)key;
	e->te_dead = DEAD_ROOT;
}

int
oracle_tlb_register(const struct hw_context *ctx)
{
	struct hw_context *contexts;

	if (context_of(hw_context_root(ctx)))
		return 0;
	contexts =
		sim_side_resize(oracle->o_contexts, (oracle->o_ncontexts + 1) * sizeof(*contexts));
	if (!contexts)
		return -ENOMEM;
	contexts[oracle->o_ncontexts++] = *ctx;
	oracle->o_contexts = contexts;
	return 0;
}

void
oracle_tlb_forget(uint64_t root)
{
	for (unsigned int i = 0; i < oracle->o_ncontexts; i++) {
		if (hw_context_root(&oracle->o_contexts[i]) == root)
			oracle->o_contexts[i] = oracle->o_contexts[--oracle->o_ncontexts];
	}
	oracle_log_drained(root, UINT64_MAX);
	for (unsigned int cpu = 0; cpu < sim_cpu_count(); cpu++)
		hw_tlb_foreach_range(cpu, root, 0, 0, bury, NULL);
	oracle_log_trim();
}

/* ---- Use ----------------------------------------------------------------------------------- */

static void
used_dead(void *arg, unsigned int cpu, const struct hw_context *ctx, const struct hw_tlb_entry *e,
	  uint64_t gpa, unsigned int access)
{
	const struct hw_context *now = context_of(e->te_root);
	char entry[120], tables[80], rights[5];

	(void)arg;
	(void)ctx;
	describe(e, entry, sizeof(entry));
	describe_tables(now, gpa, tables, sizeof(tables));
	STORY(blame(cpu, e, gpa));
	sim_violation("CK-TLB", e->te_dead == DEAD_ROOT ? "I18" : "I14",
		      "CPU %u: access (%s) to 0x%llx used a %s, made at step %llu, whose %s; %s",
		      cpu, rights_name(access & 7, rights), (unsigned long long)gpa, entry,
		      (unsigned long long)e->te_step,
		      e->te_dead == DEAD_ROOT	 ? "address space is gone"
		      : e->te_dead == DEAD_FRAME ? "frame has been freed"
						 : "shootdown is over",
		      tables);
}

/* ---- Life ---------------------------------------------------------------------------------- */

int
oracle_tlb_create(void)
{
	oracle_tlb_destroy();
	oracle = sim_side_alloc(sizeof(*oracle));
	if (!oracle || oracle_log_create() != 0) {
		oracle_tlb_destroy();
		return -ENOMEM;
	}
	hw_set_dead_use(used_dead, NULL);
	return 0;
}

void
oracle_tlb_destroy(void)
{
	oracle_log_destroy();
	if (!oracle)
		return;
	sim_side_free(oracle->o_contexts);
	sim_side_free(oracle);
	oracle = NULL;
}
