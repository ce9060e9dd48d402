/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * One script on several pmaps (diff_run.h): the owner, the operations, and the looking.
 */

#include "tests/unit/diff_run.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Bits of one harvest: two tables' worth. */
#define RANGE_WORDS (2 * DIFF_SUPER_PAGES / 64)

typedef void page_fn(struct diff_run *run, unsigned int page);

static const struct diff_step *
step_of(const struct diff_run *run)
{
	return &run->dr_script->di_steps[run->dr_step];
}

static struct diff_state *
state_of(struct diff_run *run)
{
	return &run->dr_states[run->dr_twin->tw_index];
}

static void
each_page(struct diff_run *run, page_fn *fn)
{
	const struct diff_step *const st = step_of(run);

	for (unsigned int c = 0; c < DIFF_CLUSTERS; c++) {
		const struct diff_cluster *const dc = &run->dr_script->di_map->dm_clusters[c];

		for (unsigned int i = 0; i < dc->dc_n; i++) {
			const gpa_t gpa = dc->dc_base + i * DIFF_PAGE;

			if (gpa >= st->ds_start && gpa < st->ds_end)
				fn(run, dc->dc_first + i);
		}
	}
}

/* ---- The owner ------------------------------------------------------------------------------ */

static hpa_t
frame_of(const struct diff_page *pg)
{
	return pg->gp_frames[pg->gp_which];
}

static hpa_t
new_frames(unsigned int order)
{
	const hpa_t hpa = sim_frame_alloc(SIM_FRAME_DATA, order);

	if (hpa == 0)
		sim_violation("differ", "", "no frames are left to begin with");
	return hpa;
}

static void
own_pages(struct diff_run *run)
{
	const struct diff_map *const map = run->dr_script->di_map;
	const bool large = map->dm_clusters[0].dc_n > DIFF_SUPER_PAGES;
	const hpa_t together = large ? new_frames(9) : 0;

	for (unsigned int c = 0; c < DIFF_CLUSTERS; c++) {
		for (unsigned int i = 0; i < map->dm_clusters[c].dc_n; i++) {
			struct diff_page *pg = &run->dr_pages[map->dm_clusters[c].dc_first + i];

			*pg = (struct diff_page){.gp_prot = PMAP_PROT_RWX};
			pg->gp_frames[0] = large && c == 0 && i < DIFF_SUPER_PAGES
						   ? together + i * DIFF_PAGE
						   : new_frames(0);
			pg->gp_frames[1] = new_frames(0);
			pg->gp_memattr = c == 1 && i % 4 == 0 ? PT_MEMATTR_UC : PT_MEMATTR_WB;
		}
	}
}

static void
disown_pages(struct diff_run *run)
{
	for (unsigned int i = 0; i < DIFF_PAGES_MAX; i++) {
		for (unsigned int f = 0; f < 2; f++) {
			if (run->dr_pages[i].gp_frames[f] != 0)
				sim_frame_free(run->dr_pages[i].gp_frames[f], 0);
		}
	}
}

static void
owner_restricts(struct diff_run *run, unsigned int page)
{
	run->dr_pages[page].gp_prot &= step_of(run)->ds_prot;
}

static void
owner_widens(struct diff_run *run, unsigned int page)
{
	run->dr_pages[page].gp_prot = PMAP_PROT_RWX;
}

static void
owner_moves(struct diff_run *run, unsigned int page)
{
	run->dr_pages[page].gp_which ^= 1;
}

static void
owner_wires(struct diff_run *run, unsigned int page)
{
	run->dr_pages[page].gp_wired = true;
}

static void
owner_unwires(struct diff_run *run, unsigned int page)
{
	run->dr_pages[page].gp_wired = false;
}

/* Decisions that come before the tables change; others after (owner_after()). */
static void
owner_before(struct diff_run *run)
{
	switch (step_of(run)->ds_op) {
	case DO_PROTECT:
		each_page(run, owner_restricts);
		break;
	case DO_WIDEN:
		each_page(run, owner_widens);
		break;
	case DO_REPLACE:
		each_page(run, owner_moves);
		break;
	case DO_WIRE:
		each_page(run, owner_wires);
		break;
	case DO_REMOVE:
	case DO_MOVE:
	case DO_UNWIRE:
		each_page(run, owner_unwires);
		break;
	case DO_FILL:
		for (unsigned int i = 0; i < DIFF_SUPER_PAGES; i++) {
			run->dr_pages[i].gp_which = 0;
			run->dr_pages[i].gp_prot = PMAP_PROT_RWX;
			run->dr_pages[i].gp_wired = step_of(run)->ds_access == PMAP_PROT_R;
		}
		break;
	default:
		break;
	}
}

static void
owner_after(struct diff_run *run)
{
	if (step_of(run)->ds_op == DO_MOVE)
		each_page(run, owner_moves);
}

static bool
is_uniform(const struct diff_run *run)
{
	const struct diff_page *const first = &run->dr_pages[0];

	for (unsigned int i = 0; i < DIFF_SUPER_PAGES; i++) {
		const struct diff_page *const pg = &run->dr_pages[i];

		if (pg->gp_which != 0 || pg->gp_prot != first->gp_prot || pg->gp_prot == 0 ||
		    pg->gp_wired != first->gp_wired)
			return false;
	}
	return true;
}

/* ---- Operations ----------------------------------------------------------------------------- */

/* Keeps every result in one number, in order. */
static void
result(struct diff_run *run, int error)
{
	struct diff_state *const to = state_of(run);

	to->st_error = to->st_error == 0 ? error : (to->st_error * 31 + error) % 1000003;
}

static int
enter(struct diff_run *run, unsigned int page, unsigned int level, unsigned int access)
{
	const struct diff_page *const pg = &run->dr_pages[page];
	const struct pmap_mapping m = {
		.pa_gpa = diff_gpa(run->dr_script->di_map, page),
		.pa_hpa = frame_of(pg),
		.pa_prot = pg->gp_prot,
		.pa_access = access & pg->gp_prot,
		.pa_level = level,
		.pa_memattr = pg->gp_memattr,
		.pa_wired = pg->gp_wired,
	};

	const int error = pmap_enter(run->dr_twin->tw_pmap, &m);

	if (error == 0 && (m.pa_access & PMAP_PROT_W))
		diff_set_bit(state_of(run)->st_written, page);
	return error;
}

static void
enter_page(struct diff_run *run, unsigned int page)
{
	const struct diff_step *const st = step_of(run);

	if (run->dr_pages[page].gp_prot != 0)
		result(run,
		       enter(run, page, 0, st->ds_op == DO_WIRE ? PMAP_PROT_R : st->ds_access));
}

static bool
next_touch(void *arg, gpa_t *gpa, unsigned int *access)
{
	struct diff_run *const run = arg;
	const struct diff_step *const st = step_of(run);

	if (run->dr_touch == st->ds_ntouches)
		return false;
	*gpa = diff_gpa(run->dr_script->di_map, st->ds_touches[run->dr_touch].dt_page);
	*access = st->ds_touches[run->dr_touch].dt_access;
	return true;
}

static void
touch_done(void *arg, gpa_t gpa, unsigned int access, const struct hw_translation *t)
{
	struct diff_run *const run = arg;
	const hpa_t frame = t->ht_hpa & ~(hpa_t)(DIFF_PAGE - 1);
	const unsigned int page = diff_page_at(run->dr_script->di_map, gpa);
	const struct diff_page *const pg = &run->dr_pages[page];
	struct diff_state *const to = state_of(run);

	if (frame != frame_of(pg))
		sim_violation("differ", "I14", "step %u: %s: 0x%llx reached 0x%llx, not 0x%llx",
			      run->dr_step, run->dr_twin->tw_name, (unsigned long long)gpa,
			      (unsigned long long)frame, (unsigned long long)frame_of(pg));
	if ((access & ~pg->gp_prot) != 0)
		sim_violation("differ", "I05", "step %u: %s: 0x%llx let access %u through",
			      run->dr_step, run->dr_twin->tw_name, (unsigned long long)gpa, access);
	diff_set_bit(to->st_used, page);
	if (access & PMAP_PROT_W)
		diff_set_bit(to->st_written, page);
	to->st_touch_hpa[run->dr_touch++] = frame;
}

static int
touch_fault(void *arg, gpa_t gpa, unsigned int access)
{
	struct diff_run *const run = arg;
	const unsigned int page = diff_page_at(run->dr_script->di_map, gpa);
	int error = -EACCES;

	if ((access & ~run->dr_pages[page].gp_prot) == 0)
		error = enter(run, page, 0, access);
	if (error != 0)
		state_of(run)->st_touch_error[run->dr_touch++] = error;
	return error;
}

static void
touch(struct diff_run *run)
{
	const struct twin_program p = {next_touch, touch_done, touch_fault, run};

	run->dr_touch = 0;
	twin_run(run->dr_twin, step_of(run)->ds_vcpu, &p);
}

/* Bits of a range, to those of pages. */
static void
keep_bitmap(struct diff_run *run, gpa_t start, const uint64_t *bits, uint64_t *pages)
{
	for (unsigned int i = 0; i < 64 * RANGE_WORDS; i++) {
		const unsigned int page =
			diff_page_at(run->dr_script->di_map, start + i * DIFF_PAGE);

		if (diff_bit(bits, i) && page < DIFF_PAGES_MAX)
			diff_set_bit(pages, page);
	}
}

static void
harvest(struct diff_run *run, unsigned int how, struct pmap_gather *g)
{
	const struct diff_step *const st = step_of(run);
	struct diff_state *const to = state_of(run);
	uint64_t bits[RANGE_WORDS] = {0};

	result(run, pmap_harvest(run->dr_twin->tw_pmap, st->ds_start, st->ds_end, how, bits,
				 &to->st_found, g));
	keep_bitmap(run, st->ds_start, bits, to->st_bitmap);
}

/* What has no gather, or finishes it by itself. */
static void
operate_alone(struct diff_run *run)
{
	const struct diff_step *const st = step_of(run);
	struct pmap *const pm = run->dr_twin->tw_pmap;
	bool modified = false;

	switch (st->ds_op) {
	case DO_TOUCH:
		touch(run);
		break;
	case DO_ENTER:
	case DO_WIRE:
	case DO_REPLACE:
		each_page(run, enter_page);
		break;
	case DO_FILL:
		for (unsigned int i = 0; i < DIFF_SUPER_PAGES; i++)
			result(run, enter(run, i, 0, PMAP_PROT_RW));
		break;
	case DO_SUPER:
		if (is_uniform(run))
			result(run, enter(run, 0, 1, st->ds_access));
		break;
	case DO_UNWIRE:
		result(run, pmap_unwire(pm, st->ds_start, st->ds_end));
		break;
	case DO_IS_MODIFIED:
		result(run, pmap_is_modified(pm, st->ds_start, st->ds_end, &modified));
		state_of(run)->st_found = modified;
		break;
	case DO_INVALIDATE:
		result(run, pmap_invalidate_range(pm, st->ds_start, st->ds_end));
		break;
	case DO_DRAIN:
		pmap_drain(pm);
		break;
	default:
		break;
	}
}

/* Rights that this format cannot express are none: pages go, and faults cannot bring them back. */
static void
protect(struct diff_run *run, struct pmap_gather *g)
{
	const struct diff_step *const st = step_of(run);
	struct pmap *const pm = run->dr_twin->tw_pmap;
	const int error = pmap_protect(pm, st->ds_start, st->ds_end, st->ds_prot, g);

	result(run, error);
	if (error == -EOPNOTSUPP)
		result(run, pmap_protect(pm, st->ds_start, st->ds_end, 0, g));
}

static void
operate(struct diff_run *run)
{
	const struct diff_step *const st = step_of(run);
	struct pmap *const pm = run->dr_twin->tw_pmap;
	struct pmap_gather g;

	pmap_gather_begin(&g, pm);
	switch (st->ds_op) {
	case DO_REMOVE:
	case DO_MOVE:
		result(run, pmap_remove(pm, st->ds_start, st->ds_end, &g));
		break;
	case DO_PROTECT:
		protect(run, &g);
		break;
	case DO_CLEAN:
		harvest(run, PMAP_HARVEST_MODIFIED, &g);
		break;
	case DO_AGE:
		harvest(run, PMAP_HARVEST_ACCESSED, &g);
		break;
	case DO_CLEAR_M:
		result(run, pmap_clear_modify(pm, st->ds_start, st->ds_end, &g));
		break;
	case DO_AGE_COUNT:
		result(run, pmap_ts_referenced(pm, st->ds_start, st->ds_end,
					       &state_of(run)->st_found, &g));
		break;
	case DO_PROMOTE:
		result(run, pmap_promote(pm, st->ds_start, 1, &g));
		break;
	case DO_DEMOTE:
		result(run, pmap_demote(pm, st->ds_start, 1, &g));
		break;
	default:
		operate_alone(run);
		break;
	}
	pmap_gather_finish(&g);
}

/* One step on every pmap, in the fiber of its CPU. */
static void
make_step(void *arg)
{
	struct diff_run *const run = arg;

	owner_before(run);
	for (unsigned int i = 0; i < run->dr_rig.rg_ntwins; i++) {
		struct diff_state *const to = &run->dr_states[i];

		run->dr_twin = &run->dr_rig.rg_twins[i];
		memset(to, 0, offsetof(struct diff_state, st_owed));
		operate(run);
	}
	owner_after(run);
}

static void
noted(void *arg, struct twin *tw, const struct pmap_leaf *leaf)
{
	struct diff_run *const run = arg;
	struct diff_state *const to = &run->dr_states[tw->tw_index];

	for (uint64_t at = 0; at < pt_level_size(leaf->pl_level); at += DIFF_PAGE) {
		const unsigned int page = diff_page_at(run->dr_script->di_map, leaf->pl_gpa + at);

		if (page < DIFF_PAGES_MAX && leaf->pl_accessed)
			diff_set_bit(to->st_noted_a, page);
		if (page < DIFF_PAGES_MAX && leaf->pl_modified)
			diff_set_bit(to->st_noted_m, page);
	}
}

/* ---- Looking -------------------------------------------------------------------------------- */

bool
diff_looks_at(const struct diff_run *run, unsigned int page)
{
	if (run->dr_script->di_map != &diff_large || page < 2 || page > DIFF_SUPER_PAGES - 2)
		return true;
	return page % 16 == run->dr_step % 16;
}

static void
peek(struct diff_run *run, const struct twin *tw, const struct diff_cluster *dc)
{
	struct diff_state *const to = &run->dr_states[tw->tw_index];
	const gpa_t end = dc->dc_base + dc->dc_n * DIFF_PAGE;

	if (pmap_harvest(tw->tw_pmap, dc->dc_base, end, PMAP_HARVEST_ACCESSED | PMAP_HARVEST_PEEK,
			 &to->st_a[dc->dc_first / 64], NULL, NULL) != 0 ||
	    pmap_harvest(tw->tw_pmap, dc->dc_base, end, PMAP_HARVEST_MODIFIED | PMAP_HARVEST_PEEK,
			 &to->st_m[dc->dc_first / 64], NULL, NULL) != 0)
		sim_violation("differ", "I41", "%s: looking at A and M fails", tw->tw_name);
	for (unsigned int i = 0; i < dc->dc_n; i++) {
		struct pmap_leaf *const leaf = &to->st_leaf[dc->dc_first + i];

		if (diff_looks_at(run, dc->dc_first + i) &&
		    pmap_extract(tw->tw_pmap, dc->dc_base + i * DIFF_PAGE, leaf) != 0)
			*leaf = (struct pmap_leaf){0};
	}
}

static void
look(struct diff_run *run)
{
	for (unsigned int i = 0; i < run->dr_rig.rg_ntwins; i++) {
		const struct twin *const tw = &run->dr_rig.rg_twins[i];

		for (unsigned int c = 0; c < DIFF_CLUSTERS; c++)
			peek(run, tw, &run->dr_script->di_map->dm_clusters[c]);
		pmap_stats(tw->tw_pmap, &run->dr_states[i].st_stats);
	}
}

/* ---- From end to end ------------------------------------------------------------------------ */

struct drive {
	struct diff_run *dv_run;
	const struct diff_setup *dv_setup;
};

static void
begin(void *arg)
{
	const struct drive *const dv = arg;

	own_pages(dv->dv_run);
	dv->dv_setup->du_open(&dv->dv_run->dr_rig);
}

static void
judge(void *arg)
{
	const struct drive *const dv = arg;

	look(dv->dv_run);
	dv->dv_run->dr_compare(dv->dv_run);
}

static void
end(void *arg)
{
	struct diff_run *const run = ((const struct drive *)arg)->dv_run;
	char why[200];

	for (unsigned int i = 0; i < run->dr_rig.rg_ntwins; i++) {
		if (pmap_check(run->dr_rig.rg_twins[i].tw_pmap, why, sizeof(why)) != 0)
			sim_violation("differ", "I01", "%s: %s", run->dr_rig.rg_twins[i].tw_name,
				      why);
	}
	twins_close(&run->dr_rig);
	disown_pages(run);
}

static bool
run_steps(struct drive *dv)
{
	struct diff_run *const run = dv->dv_run;
	struct rig *const r = &run->dr_rig;

	if (!rig_call(r, begin, dv))
		return false;
	for (run->dr_step = 0; run->dr_step < run->dr_script->di_nsteps; run->dr_step++) {
		if (!rig_run_on(r, step_of(run)->ds_cpu, make_step, run) || !rig_call(r, judge, dv))
			return false;
	}
	run->dr_step--;
	return rig_call(r, end, dv) &&
	       sim_machine_check_leaks(r->rg_machine, &r->rg_report) == SIM_RUN_PASSED;
}

bool
diff_run(struct diff_run *run, const struct diff_script *s, const struct diff_setup *setup,
	 char *why, size_t why_bytes, unsigned int *at)
{
	void (*const compare)(struct diff_run *) = run->dr_compare;
	struct drive dv = {run, setup};

	memset(run, 0, sizeof(*run));
	run->dr_compare = compare;
	run->dr_script = s;
	*at = 0;
	if (!rig_open(&run->dr_rig, s->di_seed, &setup->du_cpus, setup->du_speculation, why,
		      why_bytes))
		return false;
	run->dr_rig.rg_note = noted;
	run->dr_rig.rg_arg = run;

	const bool passed = run_steps(&dv);

	*at = run->dr_step;
	if (!passed)
		snprintf(why, why_bytes, "%s %s: %s", run->dr_rig.rg_report.sr_check,
			 run->dr_rig.rg_report.sr_invariant, run->dr_rig.rg_report.sr_message);
	rig_close(&run->dr_rig);
	return passed;
}
