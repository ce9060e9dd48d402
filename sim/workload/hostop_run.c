/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Consecutive pages entered together, as no fault does it: into a table that is missing, over what
 * is there, wired for a while, and as often as not just after the table was taken away under those
 * who use it. A window onto a device is what has consecutive frames for as long as it lives.
 *
 * Somebody else may change the word that the run goes by, and take back what is in by then: as an
 * owner does who has decided otherwise. Nothing of the run is left after that.
 */

#include "sim/workload/vmop.h"

#include <errno.h>
#include <string.h>

#include "sim/oracle/invariants.h"

#define RUN_PAGES 64u

/*
 * The run that may be revoked: one in the world at a time. Not in struct space, so that all else
 * lies where it always lay.
 */
struct run_owner {
	struct host_word ro_word;
	uint64_t ro_changes; /* of it */
	struct space *ro_space;
	gpa_t ro_start;
	gpa_t ro_stop;		  /* 0: there is none */
	unsigned int ro_revokers; /* fibers that are taking it back */
};

struct run {
	struct space *ru_space;
	struct pmap_mapping ru_map; /* of the first page */
	uint64_t ru_n;
	uint64_t ru_done;
	int ru_error;
	uint64_t ru_faults; /* of the world, before */
	bool ru_alone;	    /* nobody's fault was under way */
	bool ru_revoked;
	struct pmap_leaf ru_was[RUN_PAGES];
};

static unsigned long long
ull(uint64_t v)
{
	return v;
}

/* ---- What was asked for, and what came of it ------------------------------------------------ */

static gpa_t
run_gpa(const struct run *ru, uint64_t i)
{
	return ru->ru_map.pa_gpa + i * SIM_PAGE_SIZE;
}

/* The leaf that maps a page, or none: rights 0. At one instant. */
static void
look(const struct run *ru, uint64_t i, struct pmap_leaf *leaf)
{
	if (pmap_extract(ru->ru_space->sp_pmap, run_gpa(ru, i), leaf) != 0)
		memset(leaf, 0, sizeof(*leaf));
}

static void
look_before(void *arg)
{
	struct run *const ru = arg;

	ru->ru_faults = ru->ru_space->sp_world->wo_count[WC_FAULTS];
	ru->ru_alone = !space_is_faulting(ru->ru_space);
	for (uint64_t i = 0; i < ru->ru_n; i++)
		look(ru, i, &ru->ru_was[i]);
}

/* A leaf that was entered. Whoever decided a fault before may take it back, unless it is wired. */
static void
check_entered(const struct run *ru, uint64_t i, const struct pmap_leaf *leaf)
{
	const struct pmap_mapping *const m = &ru->ru_map;
	const bool there = leaf->pl_prot != 0;
	const bool right = leaf->pl_hpa == m->pa_hpa + i * SIM_PAGE_SIZE && leaf->pl_level == 0 &&
			   leaf->pl_memattr == m->pa_memattr && (leaf->pl_wired || !m->pa_wired);

	if ((there || m->pa_wired || ru->ru_alone) && (!there || !right))
		sim_violation("CK-WALK", "I30",
			      "%s: 0x%llx is mapped to 0x%llx with rights %u%s after a run of "
			      "pages was entered that has it",
			      ru->ru_space->sp_name, ull(run_gpa(ru, i)), ull(leaf->pl_hpa),
			      leaf->pl_prot, leaf->pl_wired ? ", wired" : "");
	if (ru->ru_alone && leaf->pl_prot != m->pa_prot)
		sim_violation("CK-WALK", "I05", "%s: 0x%llx is mapped with rights %u, not %u",
			      ru->ru_space->sp_name, ull(run_gpa(ru, i)), leaf->pl_prot,
			      m->pa_prot);
	if (ru->ru_alone && (((m->pa_access & PMAP_PROT_W) && !leaf->pl_modified) ||
			     (m->pa_access != 0 && !leaf->pl_accessed)))
		sim_violation("CK-DIRTY", "I27", "%s: 0x%llx was entered as used, and is not",
			      ru->ru_space->sp_name, ull(run_gpa(ru, i)));
}

/* What was not entered is as it was. */
static void
check_left(const struct run *ru, uint64_t i, const struct pmap_leaf *leaf)
{
	const struct pmap_leaf *const was = &ru->ru_was[i];

	if (ru->ru_alone && (leaf->pl_prot != was->pl_prot || leaf->pl_hpa != was->pl_hpa ||
			     leaf->pl_wired != was->pl_wired))
		sim_violation("CK-API", "I40",
			      "%s: a run of pages ended before 0x%llx, and changed it",
			      ru->ru_space->sp_name, ull(run_gpa(ru, i)));
}

/* Whoever revoked it has removed what there was, and nothing came after that. */
static void
check_revoked(const struct run *ru, uint64_t i, const struct pmap_leaf *leaf)
{
	if (ru->ru_alone && leaf->pl_prot != 0)
		sim_violation("CK-WALK", "I30",
			      "%s: 0x%llx is mapped, though the run of pages was revoked",
			      ru->ru_space->sp_name, ull(run_gpa(ru, i)));
}

static void
look_after(void *arg)
{
	struct run *const ru = arg;

	ru->ru_alone &= ru->ru_faults == ru->ru_space->sp_world->wo_count[WC_FAULTS];
	sim_invariant_hit(SIM_I05);
	sim_invariant_hit(SIM_I30);
	for (uint64_t i = 0; i < ru->ru_n; i++) {
		struct pmap_leaf leaf;

		look(ru, i, &leaf);
		if (ru->ru_revoked)
			check_revoked(ru, i, &leaf);
		else if (i < ru->ru_done)
			check_entered(ru, i, &leaf);
		else
			check_left(ru, i, &leaf);
	}
}

static void
check_answer(const struct run *ru)
{
	sim_invariant_hit(SIM_I40);
	if (ru->ru_done > ru->ru_n || (ru->ru_error == 0) != (ru->ru_done == ru->ru_n) ||
	    (ru->ru_error != 0 && ru->ru_error != -ENOMEM &&
	     (ru->ru_error != -EAGAIN || !ru->ru_revoked)))
		sim_violation("CK-API", "I40",
			      "%s: a run of %llu pages at 0x%llx ends with error %d, %llu done",
			      ru->ru_space->sp_name, ull(ru->ru_n), ull(ru->ru_map.pa_gpa),
			      -ru->ru_error, ull(ru->ru_done));
}

/* ---- The call ------------------------------------------------------------------------------- */

/* What cannot be: refused, and nothing done. */
static void
misuse(const struct run *ru)
{
	const struct pt_fmt *const f = pmap_fmt(ru->ru_space->sp_pmap);
	struct pmap_mapping m = ru->ru_map;
	uint64_t n = ru->ru_n;
	uint64_t done = 1;
	int error;

	switch (sim_choose(SIM_CHOICE_WORKLOAD, 4)) {
	case 0:
		n = 0;
		break;
	case 1:
		n = (f->pf_limit - m.pa_gpa) / SIM_PAGE_SIZE + 1;
		break;
	case 2:
		m.pa_hpa += 8;
		break;
	default:
		m.pa_hpa = f->pf_phys_limit - (n - 1) * SIM_PAGE_SIZE;
		break;
	}
	error = pmap_enter_run(ru->ru_space->sp_pmap, &m, n, &done);
	sim_invariant_hit(SIM_I39);
	if (error != -EINVAL || done != 0)
		sim_violation("CK-API", "I39",
			      "%s: a run of %llu pages at 0x%llx that cannot be gave error %d, "
			      "%llu done",
			      ru->ru_space->sp_name, ull(n), ull(m.pa_gpa), -error, ull(done));
}

static void
access_pages(const struct run *ru, bool begin)
{
	for (uint64_t i = 0; i < ru->ru_n; i++) {
		if (begin)
			oracle_access_begin(ru->ru_space, run_gpa(ru, i), ru->ru_map.pa_access);
		else
			oracle_access_failed(ru->ru_space, run_gpa(ru, i), ru->ru_map.pa_access);
	}
}

/* ---- Taking it back ------------------------------------------------------------------------- */

static bool
no_revokers(void *arg)
{
	const struct run_owner *const ro = arg;

	return ro->ro_revokers == 0;
}

static bool
may_be_revoked(struct run *ru)
{
	struct space *const sp = ru->ru_space;
	struct run_owner *const ro = sp->sp_world->wo_runs;

	sim_touch_ghost(ro);
	/* Without a revoker the word is what its ghost says. */
	if (ro->ro_stop != 0 || ro->ro_revokers != 0)
		return false;
	ro->ro_space = sp;
	ro->ro_start = ru->ru_map.pa_gpa;
	ro->ro_stop = run_gpa(ru, ru->ru_n);
	ru->ru_map.pa_revoked = &ro->ro_word;
	ru->ru_map.pa_revoked_was = ro->ro_changes;
	return true;
}

static void
revoking_ends(struct run *ru)
{
	struct run_owner *const ro = ru->ru_space->sp_world->wo_runs;

	sim_touch_ghost(ro);
	ro->ro_stop = 0;
	sim_wait_until("those who revoke a run of pages", no_revokers, ro);
	sim_touch_ghost(ro);
	ru->ru_revoked = ro->ro_changes != ru->ru_map.pa_revoked_was;
}

static bool
is_revocable(const struct space *sp)
{
	const struct run_owner *const ro = sp->sp_world->wo_runs;

	return ro != NULL && ro->ro_stop != 0 && ro->ro_space == sp;
}

/* Takes back what another CPU is entering. The log is as it is for as long as that one is busy. */
void
hostop_revoke_run(struct space *sp, gpa_t start, gpa_t stop)
{
	struct run_owner *const ro = sp->sp_world->wo_runs;
	struct oracle_tlb_op op;
	struct pmap_gather g;

	sim_touch_ghost(ro);
	if (!is_revocable(sp))
		return;
	start = ro->ro_start;
	stop = ro->ro_stop;
	ro->ro_revokers++;
	ro->ro_changes++;
	host_fetch_add(&ro->ro_word, 1); /* a full fence: partner of the one in pmap_enter() */
	space_op_begin(sp, &op);
	pmap_gather_begin(&g, sp->sp_pmap);
	hostop_must(pmap_remove(sp->sp_pmap, start, stop, &g), "pmap_remove");
	pmap_gather_finish(&g);
	space_op_end(sp, &op, start, stop);
	sim_touch_ghost(ro);
	ro->ro_revokers--;
}

/* ---- The whole ------------------------------------------------------------------------------ */

/* The pages are taken, so what the run maps stays so, but for faults and vCPUs. */
static void
enter(struct run *ru, bool wired_anyway)
{
	struct pmap *const pm = ru->ru_space->sp_pmap;
	const gpa_t end = run_gpa(ru, ru->ru_n);
	bool revocable;

	if (sim_choose(SIM_CHOICE_WORKLOAD, 8) == 0)
		misuse(ru);
	access_pages(ru, true);
	revocable = may_be_revoked(ru);
	sim_aside(look_before, ru);
	ru->ru_error = pmap_enter_run(pm, &ru->ru_map, ru->ru_n, &ru->ru_done);
	if (revocable)
		revoking_ends(ru);
	sim_aside(look_after, ru);
	check_answer(ru);
	access_pages(ru, false);
	if (ru->ru_map.pa_wired && !wired_anyway)
		hostop_must(pmap_unwire(pm, ru->ru_map.pa_gpa, end), "pmap_unwire");
}

/* A mapping of the pages [from, to) of a window; false if its tables cannot express it. */
static bool
choose_mapping(struct space *sp, const struct region *rg, gpa_t from, gpa_t to, struct run *ru)
{
	static const unsigned int accesses[] = {0, PMAP_PROT_R, PMAP_PROT_W};
	const unsigned int prot =
		sim_choose(SIM_CHOICE_WORKLOAD, 4) == 0 ? PMAP_PROT_R : PMAP_PROT_RW;
	const unsigned int access = accesses[sim_choose(SIM_CHOICE_WORKLOAD, 3)];

	*ru = (struct run){
		.ru_space = sp,
		.ru_map =
			{
				.pa_gpa = from,
				.pa_hpa = rg->rg_seg->sg_hpa +
					  rg->rg_first * (uint64_t)SIM_PAGE_SIZE +
					  (from - rg->rg_base),
				.pa_prot = prot & rg->rg_prot,
				.pa_access = access & prot & rg->rg_prot,
				.pa_memattr = rg->rg_memattr,
				.pa_wired = rg->rg_wired || sim_choose(SIM_CHOICE_WORKLOAD, 4) == 0,
			},
		.ru_n = (to - from) / SIM_PAGE_SIZE,
	};
	return ru->ru_map.pa_prot != 0 &&
	       (pmap_fmt(sp->sp_pmap)->pf_prot_ok >> ru->ru_map.pa_prot & 1) != 0;
}

/* A window's pages, from the one given on; false if there is none there. */
static bool
choose_pages(struct space *sp, gpa_t start, gpa_t stop, gpa_t *from, gpa_t *to)
{
	const struct region *rg = hostop_region(sp, start);

	if (rg->rg_seg->sg_kind != SEG_WINDOW || rg->rg_absent || stop <= rg->rg_base)
		return false;
	*from = start > rg->rg_base ? start : rg->rg_base;
	*to = stop < region_end(rg) ? stop : region_end(rg);
	if (*to - *from > RUN_PAGES * SIM_PAGE_SIZE)
		*to = *from + RUN_PAGES * SIM_PAGE_SIZE;
	return *from < *to;
}

void
hostop_enter_run(struct space *sp, gpa_t start, gpa_t stop)
{
	const bool afresh = sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0;
	const bool flush_first = sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0;
	const struct region *rg;
	struct hostop ho;
	struct run ru;
	gpa_t from;
	gpa_t to;

	if (sp->sp_world->wo_runs == NULL)
		sp->sp_world->wo_runs = sim_alloc(sizeof(*sp->sp_world->wo_runs));
	if (is_revocable(sp) && sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0) {
		hostop_revoke_run(sp, start, stop);
		return;
	}
	if (!choose_pages(sp, start, stop, &from, &to))
		return;
	start = afresh ? from & ~(REGION_BYTES - 1) : from;
	stop = afresh ? (to + REGION_BYTES - 1) & ~(REGION_BYTES - 1) : to;
	hostop_begin_bare(&ho, sp, start, stop, WC_ENTER_RUN);
	if (afresh)
		hostop_unmap(&ho);
	if (flush_first)
		pmap_gather_finish(&ho.ho_gather);
	rg = space_region(sp, from); /* or unmapped meanwhile */
	if (rg != NULL && rg->rg_seg->sg_kind == SEG_WINDOW && region_end(rg) >= to &&
	    choose_mapping(sp, rg, from, to, &ru))
		enter(&ru, rg->rg_wired);
	if (!flush_first)
		pmap_gather_finish(&ho.ho_gather);
	hostop_judge(&ho);
	hostop_end_bare(&ho);
}
