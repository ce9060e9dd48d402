/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* The frame of every operation of the host: its pages, its shootdown, its judgment. */

#include "sim/workload/vmop.h"

#include <errno.h>

#include "sim/oracle/invariants.h"
#include "sim/story/story_record.h"

/* ---- Pages of a range ----------------------------------------------------------------------- */

static void
all_pages(const struct range *ra, bool absent, page_fn *fn, void *arg)
{
	struct space *const sp = ra->ra_space;

	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		struct region *const rg = &sp->sp_regions[r];
		gpa_t gpa = rg->rg_base > ra->ra_start ? rg->rg_base : ra->ra_start;

		if (rg->rg_absent && !absent)
			continue;
		for (; gpa < region_end(rg) && gpa < ra->ra_end; gpa += SIM_PAGE_SIZE)
			fn(sp, rg, region_page(rg, gpa), gpa, arg);
	}
}

void
hostop_pages(const struct range *ra, page_fn *fn, void *arg)
{
	all_pages(ra, false, fn, arg);
}

static void
count_busy(struct space *sp, struct region *rg, struct page *pg, gpa_t gpa, void *arg)
{
	(void)sp;
	(void)rg;
	(void)gpa;
	*(unsigned int *)arg += pg->pg_busy;
}

static void
set_busy(struct space *sp, struct region *rg, struct page *pg, gpa_t gpa, void *arg)
{
	(void)sp;
	(void)rg;
	(void)gpa;
	pg->pg_busy = *(const bool *)arg;
}

static bool
pages_free(void *arg)
{
	unsigned int busy = 0;

	all_pages(arg, true, count_busy, &busy);
	return busy == 0;
}

void
hostop_take(struct range *ra)
{
	bool busy = true;

	sim_wait_until("pages that another operation works on", pages_free, ra);
	/* What is not mapped now may be before the operation is over. */
	all_pages(ra, true, set_busy, &busy);
}

void
hostop_give(struct range *ra)
{
	bool busy = false;

	all_pages(ra, true, set_busy, &busy);
}

struct region *
hostop_region(struct space *sp, gpa_t gpa)
{
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		if (gpa < region_end(&sp->sp_regions[r]))
			return &sp->sp_regions[r];
	}
	return &sp->sp_regions[0];
}

/* ---- The frame of every operation ----------------------------------------------------------- */

void
hostop_begin(struct hostop *ho, struct space *sp, gpa_t start, gpa_t end, enum world_count c)
{
	ho->ho_range = (struct range){sp, start, end};
	STORY(begin(world_count_names[c], sp->sp_name, start, end));
	world_tick(sp->sp_world, c);
	hostop_take(&ho->ho_range);
	space_op_begin(sp, &ho->ho_op);
	pmap_gather_begin(&ho->ho_gather, sp->sp_pmap);
}

static bool
log_settled(void *arg)
{
	const struct space *const sp = arg;

	return !sp->sp_log_changing;
}

void
hostop_begin_bare(struct hostop *ho, struct space *sp, gpa_t start, gpa_t end, enum world_count c)
{
	while (sp->sp_log_changing)
		sim_wait_until("the dirty log to be on or off", log_settled, sp);
	sp->sp_log_users++;
	hostop_begin(ho, sp, start, end, c);
}

/*
 * A shootdown of more steps than so many times the square of the number of CPUs waits for
 * somebody who was not made to hurry. With kicks 100 times the square is as slow as it gets, as
 * long as everybody has a turn now and then: a policy may leave a CPU where it is for a whole run.
 * Steps while the machine keeps a CPU from going on do not count: they may be the initiator's.
 */
#define SHOOTDOWN_STEPS 1000

static void
check_length(const struct space *sp, uint64_t steps)
{
	const uint64_t ncpus = sim_cpu_count();

	if (sp->sp_world->wo_options->scheduler != SIM_SCHEDULER_RANDOM)
		return;
	sim_invariant_hit(SIM_I24);
	if (steps > SHOOTDOWN_STEPS * ncpus * ncpus)
		sim_violation("CK-SCHED", "I24", "%s: a shootdown took %llu steps", sp->sp_name,
			      (unsigned long long)steps);
}

void
hostop_flush(struct hostop *ho)
{
	struct space *const sp = ho->ho_range.ra_space;
	const bool deferred = ho->ho_gather.pg_deferred && !ho->ho_gather.pg_flush &&
			      (pmap_flags(sp->sp_pmap) & PMAP_DEFER) != 0;
	const uint64_t start = sim_step_count() - sim_stalled_steps();

	pmap_gather_finish(&ho->ho_gather);
	sp->sp_world->wo_cpus[sim_cpu()].cp_inside = false;
	check_length(sp, sim_step_count() - sim_stalled_steps() - start);
	space_observe(sp);
	if (!deferred)
		oracle_tlb_op_done(&ho->ho_op, ho->ho_range.ra_start, ho->ho_range.ra_end);
	else
		oracle_tlb_op_defer(&ho->ho_op);
	sim_invariant_hit(SIM_I16);
	sim_invariant_hit(SIM_I19);
}

void
hostop_judge(struct hostop *ho)
{
	space_op_end(ho->ho_range.ra_space, &ho->ho_op, ho->ho_range.ra_start, ho->ho_range.ra_end);
	sim_invariant_hit(SIM_I16);
	sim_invariant_hit(SIM_I19);
}

void
hostop_end(struct hostop *ho)
{
	oracle_check_range(ho->ho_range.ra_space, ho->ho_range.ra_start, ho->ho_range.ra_end);
	hostop_give(&ho->ho_range);
	STORY(done(0));
}

void
hostop_end_bare(struct hostop *ho)
{
	hostop_end(ho);
	ho->ho_range.ra_space->sp_log_users--;
}

void
hostop_must(int error, const char *what)
{
	sim_invariant_hit(SIM_I41);
	if (error != 0)
		sim_violation("CK-API", "I41", "%s failed with error %d", what, -error);
}

bool
hostop_may(struct space *sp, int error, const char *what)
{
	sim_invariant_hit(SIM_I40);
	if (error == -EINTR)
		sim_signal_clear();
	if (error == -EBUSY && vmop_has_devices(sp))
		return false; /* what devices reach is not changed */
	if (error != 0 && error != -ENOMEM && error != -EINTR && error != -EIO)
		sim_violation("CK-API", "I40", "%s: %s failed with error %d", sp->sp_name, what,
			      -error);
	return error == 0;
}
