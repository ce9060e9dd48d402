/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * vCPUs and the host at work on one pmap at once (diff_race.h).
 */

#include "tests/unit/diff_race.h"

#include <errno.h>

/* Bits of one harvest: two tables' worth. */
#define RANGE_WORDS (2 * DIFF_SUPER_PAGES / 64)

static unsigned long long
ull(uint64_t v)
{
	return v;
}

void
race_each_page(struct race *ra, gpa_t start, gpa_t end, race_page_fn *fn)
{
	for (unsigned int c = 0; c < DIFF_CLUSTERS; c++) {
		const struct diff_cluster *const dc = &ra->map->dm_clusters[c];

		for (unsigned int i = 0; i < dc->dc_n; i++) {
			const gpa_t gpa = dc->dc_base + i * DIFF_PAGE;

			if (gpa >= start && gpa < end)
				fn(ra, &ra->pages[dc->dc_first + i], gpa);
		}
	}
}

/* ---- Faults --------------------------------------------------------------------------------- */

static struct race_page *
page_at(struct race *ra, gpa_t gpa)
{
	return &ra->pages[diff_page_at(ra->map, gpa)];
}

static int
enter(struct race *ra, const struct race_page *pg, gpa_t gpa, unsigned int access, uint64_t seen)
{
	const struct pmap_mapping m = {
		.pa_gpa = gpa,
		.pa_hpa = race_frame(pg),
		.pa_prot = pg->prot,
		.pa_access = access & pg->prot,
		.pa_wired = pg->wired,
		.pa_revoked = ra->revoke,
		.pa_revoked_was = seen,
	};

	return pmap_enter(ra->twin->tw_pmap, &m);
}

/* Rights were taken away to be asked for again: nobody is refused in the end. */
int
race_fault(struct race *ra, gpa_t gpa, unsigned int access)
{
	struct race_page *const pg = page_at(ra, gpa);
	const uint64_t seen = host_load_acquire(ra->revoke);

	if (pg->absent)
		return -EAGAIN;
	if ((access & ~pg->prot) != 0)
		pg->prot = PMAP_PROT_RWX;
	return enter(ra, pg, gpa, access, seen);
}

struct fault_wait {
	const uint64_t *count;
	uint64_t was;
};

static bool
fault_over(void *arg)
{
	const struct fault_wait *fw = arg;

	return *fw->count != fw->was;
}

/* Until no fault that was decided before now is still being answered. */
static void
await_faults(struct race *ra)
{
	for (unsigned int cpu = 0; cpu < TWIN_CPUS; cpu++) {
		struct fault_wait fw = {&ra->faults[cpu], ra->faults[cpu]};

		if (cpu != sim_cpu() && (fw.was & 1) != 0)
			sim_wait_until("a fault decided before", fault_over, &fw);
	}
}

static void
take_back(struct race *ra)
{
	host_fetch_add(ra->revoke, 1);
}

/* ---- vCPUs ---------------------------------------------------------------------------------- */

struct walker {
	struct race *wa_race;
	unsigned int wa_vcpu;
	unsigned int wa_step;
	unsigned int wa_touch;
};

static const struct diff_touch *
touch_of(const struct walker *wa)
{
	return &wa->wa_race->scripts[wa->wa_vcpu].di_steps[wa->wa_step].ds_touches[wa->wa_touch];
}

/* Each page is written by one vCPU only; the others read it. */
static bool
next_touch(void *arg, gpa_t *gpa, unsigned int *access)
{
	struct walker *const wa = arg;
	const struct diff_script *const s = &wa->wa_race->scripts[wa->wa_vcpu];
	const struct diff_touch *to;

	if (wa->wa_touch == s->di_steps[wa->wa_step].ds_ntouches)
		return false;
	to = touch_of(wa);
	*gpa = diff_gpa(s->di_map, to->dt_page);
	*access = to->dt_access;
	if (*access == PMAP_PROT_W && to->dt_page % TWIN_VCPUS != wa->wa_vcpu)
		*access = PMAP_PROT_R;
	return true;
}

static void
touch_done(void *arg, gpa_t gpa, unsigned int access, const struct hw_translation *t)
{
	struct walker *const wa = arg;
	struct race *const ra = wa->wa_race;
	struct race_page *const pg = page_at(ra, gpa);
	const hpa_t frame = t->ht_hpa & ~(hpa_t)(DIFF_PAGE - 1);

	if (frame != race_frame(pg))
		RACE_WRONG(ra, "I14", "0x%llx reached 0x%llx, not 0x%llx", ull(gpa), ull(frame),
			   ull(race_frame(pg)));
	if (sim_data_load(frame) != pg->content)
		RACE_WRONG(ra, "I09", "0x%llx holds 0x%llx where 0x%llx was written", ull(gpa),
			   ull(sim_data_load(frame)), ull(pg->content));
	if (access == PMAP_PROT_W) {
		pg->content = ra->seed << 32 | (wa->wa_vcpu + 1) << 24 | wa->wa_step << 8 |
			      (wa->wa_touch + 1);
		sim_data_store(frame, pg->content);
		pg->dirty = true;
	}
	wa->wa_touch++;
}

static int
touch_fault(void *arg, gpa_t gpa, unsigned int access)
{
	struct race *const ra = ((struct walker *)arg)->wa_race;
	int error;

	ra->faults[sim_cpu()]++;
	error = race_fault(ra, gpa, access);
	ra->faults[sim_cpu()]++;
	if (error != 0 && error != -EAGAIN)
		RACE_WRONG(ra, "I45", "a fault of 0x%llx is answered with %d", ull(gpa), error);
	return error;
}

void
race_vcpu(struct race *ra, unsigned int vcpu)
{
	struct walker wa = {.wa_race = ra, .wa_vcpu = vcpu};
	const struct twin_program p = {next_touch, touch_done, touch_fault, &wa};

	for (; wa.wa_step < ra->scripts[vcpu].di_nsteps; wa.wa_step++) {
		wa.wa_touch = 0;
		twin_run(ra->twin, vcpu, &p);
	}
}

/* ---- The host ------------------------------------------------------------------------------- */

struct hostop {
	struct race *ho_race;
	const struct diff_step *ho_step;
	unsigned int ho_busy;
};

static void
mark_busy(struct race *ra, struct race_page *pg, gpa_t gpa)
{
	(void)ra;
	(void)gpa;
	pg->busy = true;
}

static void
mark_free(struct race *ra, struct race_page *pg, gpa_t gpa)
{
	(void)ra;
	(void)gpa;
	pg->busy = false;
}

static bool
pages_are_free(void *arg)
{
	const struct hostop *const ho = arg;
	const struct diff_map *const map = ho->ho_race->map;

	for (unsigned int page = 0; page < DIFF_PAGES_MAX; page++) {
		if (ho->ho_race->pages[page].busy &&
		    diff_gpa(map, page) - ho->ho_step->ds_start <
			    ho->ho_step->ds_end - ho->ho_step->ds_start)
			return false;
	}
	return true;
}

static void
set_absent(struct race *ra, struct race_page *pg, gpa_t gpa)
{
	(void)ra;
	(void)gpa;
	pg->absent = true;
	pg->wired = false;
}

static void
unwired(struct race *ra, struct race_page *pg, gpa_t gpa)
{
	(void)ra;
	(void)gpa;
	pg->wired = false;
}

/* Nobody can reach the old frame any more. */
static void
move_page(struct race *ra, struct race_page *pg, gpa_t gpa)
{
	const hpa_t old = race_frame(pg);

	(void)ra;
	(void)gpa;
	pg->which ^= 1;
	sim_data_store(race_frame(pg), sim_data_load(old));
	sim_data_store(old, 0);
	pg->absent = false;
}

static void
restrict_to_r(struct race *ra, struct race_page *pg, gpa_t gpa)
{
	(void)ra;
	(void)gpa;
	pg->prot = PMAP_PROT_R;
}

static void
restrict_to_rx(struct race *ra, struct race_page *pg, gpa_t gpa)
{
	(void)ra;
	(void)gpa;
	pg->prot = PMAP_PROT_RX;
}

static void
enter_read(struct race *ra, struct race_page *pg, gpa_t gpa)
{
	enter(ra, pg, gpa, PMAP_PROT_R, host_load_acquire(ra->revoke));
}

static void
enter_ahead(struct race *ra, struct race_page *pg, gpa_t gpa)
{
	enter(ra, pg, gpa, 0, host_load_acquire(ra->revoke));
}

static void
enter_written(struct race *ra, struct race_page *pg, gpa_t gpa)
{
	enter(ra, pg, gpa, PMAP_PROT_RW, host_load_acquire(ra->revoke));
}

static void
wire(struct race *ra, struct race_page *pg, gpa_t gpa)
{
	pg->wired = true;
	/* Faults decided before must not undo it. */
	take_back(ra);
	while (enter(ra, pg, gpa, PMAP_PROT_R, host_load_acquire(ra->revoke)) == -EAGAIN)
		host_relax();
}

/* As hardware sees it now: D, or the right to write where D is emulated. */
static bool
shows_modified(const struct race *ra, gpa_t gpa)
{
	struct hw_walk w;

	hw_walk_quiet(&ra->twin->tw_ctx[0], gpa, &w);
	if (!w.wk_present)
		return false;
	return twin_emulates(ra->twin) ? (w.wk_rights & HW_WRITE) != 0 : w.wk_dirty;
}

/* Its shootdown is over: what was written before it shows, or is told. */
static void
cleaned(struct race *ra, gpa_t start, gpa_t end, const uint64_t *bits)
{
	for (gpa_t gpa = start; gpa < end; gpa += DIFF_PAGE) {
		const uint64_t bit = (gpa - start) / DIFF_PAGE;
		const unsigned int page = diff_page_at(ra->map, gpa);
		const bool told = (bits[bit / 64] >> bit % 64 & 1) != 0;

		if (page == DIFF_PAGES_MAX)
			continue;

		struct race_page *const pg = &ra->pages[page];
		const bool now = shows_modified(ra, gpa);

		if (pg->dirty && !told && !pg->noted && !now)
			RACE_WRONG(ra, "I25", "0x%llx was written, and cleaning it did not tell",
				   ull(gpa));
		pg->dirty = pg->dirty && now;
		pg->noted = false;
	}
}

static bool
is_uniform(const struct race *ra)
{
	const struct race_page *const first = &ra->pages[0];

	if (ra->map != &diff_large)
		return false;
	for (unsigned int i = 0; i < DIFF_SUPER_PAGES; i++) {
		const struct race_page *const pg = &ra->pages[i];

		if (pg->which != 0 || pg->absent || pg->prot != first->prot ||
		    pg->wired != first->wired)
			return false;
	}
	return true;
}

static void
enter_super(struct race *ra, unsigned int access)
{
	const uint64_t seen = host_load_acquire(ra->revoke);
	const struct race_page *const pg = &ra->pages[0];

	if (!is_uniform(ra))
		return;

	const struct pmap_mapping m = {
		.pa_gpa = ra->map->dm_clusters[0].dc_base,
		.pa_hpa = race_frame(pg),
		.pa_prot = pg->prot,
		.pa_access = access & pg->prot,
		.pa_level = 1,
		.pa_wired = pg->wired,
		.pa_revoked = ra->revoke,
		.pa_revoked_was = seen,
	};

	ra->faults[sim_cpu()]++;
	pmap_enter(ra->twin->tw_pmap, &m);
	ra->faults[sim_cpu()]++;
}

/* What has no gather, or finishes it by itself. */
static void
host_enters(struct race *ra, const struct diff_step *st)
{
	struct pmap *const pm = ra->twin->tw_pmap;

	switch (st->ds_op) {
	case DO_ENTER:
		race_each_page(ra, st->ds_start, st->ds_end,
			       st->ds_access != 0 ? enter_read : enter_ahead);
		break;
	case DO_WIRE:
		race_each_page(ra, st->ds_start, st->ds_end, wire);
		break;
	case DO_UNWIRE:
		race_each_page(ra, st->ds_start, st->ds_end, unwired);
		take_back(ra);
		pmap_unwire(pm, st->ds_start, st->ds_end);
		break;
	case DO_FILL:
		race_each_page(ra, st->ds_start, st->ds_end, enter_written);
		break;
	case DO_SUPER:
		enter_super(ra, st->ds_access);
		break;
	case DO_INVALIDATE:
		pmap_invalidate_range(pm, st->ds_start, st->ds_end);
		break;
	case DO_DRAIN:
		pmap_drain(pm);
		break;
	default:
		break;
	}
}

void
race_operate(struct race *ra, const struct diff_step *st)
{
	const bool to_r = (st->ds_prot & PMAP_PROT_X) == 0;
	const gpa_t start = st->ds_start;
	const gpa_t end = st->ds_end;
	struct pmap *const pm = ra->twin->tw_pmap;
	uint64_t bits[RANGE_WORDS] = {0};
	struct pmap_gather g;
	uint64_t referenced;

	pmap_gather_begin(&g, pm);
	switch (st->ds_op) {
	case DO_REMOVE:
		/* No fault that was decided before may bring a wired page back. */
		race_each_page(ra, start, end, unwired);
		take_back(ra);
		pmap_remove(pm, start, end, &g);
		break;
	case DO_MOVE:
		race_each_page(ra, start, end, set_absent);
		take_back(ra);
		pmap_remove(pm, start, end, &g);
		break;
	case DO_PROTECT:
		race_each_page(ra, start, end, to_r ? restrict_to_r : restrict_to_rx);
		take_back(ra);
		pmap_protect(pm, start, end, to_r ? PMAP_PROT_R : PMAP_PROT_RX, &g);
		break;
	case DO_CLEAN:
		pmap_harvest(pm, start, end, PMAP_HARVEST_MODIFIED, bits, NULL, &g);
		break;
	case DO_CLEAR_M:
		pmap_clear_modify(pm, start, end, &g);
		break;
	case DO_AGE:
		pmap_harvest(pm, start, end, PMAP_HARVEST_ACCESSED, bits, NULL, &g);
		break;
	case DO_AGE_COUNT:
		pmap_ts_referenced(pm, start, end, &referenced, &g);
		break;
	case DO_PROMOTE:
		pmap_promote(pm, start, 1, &g);
		break;
	case DO_DEMOTE:
		pmap_demote(pm, start, 1, &g);
		break;
	default:
		host_enters(ra, st);
		break;
	}
	pmap_gather_finish(&g);
	if (st->ds_op == DO_CLEAN)
		cleaned(ra, start, end, bits);
	if (st->ds_op == DO_MOVE) {
		await_faults(ra);
		race_each_page(ra, start, end, move_page);
	}
}

void
race_host(struct race *ra, unsigned int actor)
{
	for (unsigned int i = 0; i < ra->scripts[actor].di_nsteps; i++) {
		const struct diff_step *const st = &ra->scripts[actor].di_steps[i];
		struct hostop ho = {.ho_race = ra, .ho_step = st};
		const bool takes =
			st->ds_op != DO_PROMOTE && st->ds_op != DO_DEMOTE && st->ds_op != DO_SUPER;

		if (takes) {
			sim_wait_until("pages that the host works on", pages_are_free, &ho);
			race_each_page(ra, st->ds_start, st->ds_end, mark_busy);
		}
		race_operate(ra, st);
		if (takes)
			race_each_page(ra, st->ds_start, st->ds_end, mark_free);
	}
}
