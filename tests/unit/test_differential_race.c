/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The differential test without barriers: three vCPUs and two CPUs of the host at once, on a pmap
 * in fast and in reference form, each on a machine of its own.
 *
 * Little is equal then, but it must be, however the two machines went: what memory holds (each page
 * has one writer, none of whose writes is ever refused), and what is mapped with which rights once
 * everything stands still and every page has been read. On the way, the owner's ghosts judge each
 * form alone: an access reaches the page's frame and finds what was written last, and what was
 * written since pages were last cleaned shows as modified, or has been reported.
 */

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/diff_race.h"

#if defined(PMAP_VALGRIND) && PMAP_VALGRIND
#include <valgrind/valgrind.h>
#endif

static unsigned int
seeds(unsigned int n)
{
#if defined(PMAP_VALGRIND) && PMAP_VALGRIND
	if (RUNNING_ON_VALGRIND)
		return n / 20;
#endif
#if defined(__SANITIZE_ADDRESS__)
	return n / 5;
#elif !defined(__OPTIMIZE__)
	return n / 4; /* the coverage build */
#else
	return n;
#endif
}

static unsigned long long
ull(uint64_t v)
{
	return v;
}

/* ---- A machine's run ------------------------------------------------------------------------ */

struct actor {
	struct race *ac_race;
	unsigned int ac_index;
};

static void
act(void *arg)
{
	const struct actor *const ac = arg;

	if (ac->ac_index < TWIN_VCPUS)
		race_vcpu(ac->ac_race, ac->ac_index);
	else
		race_host(ac->ac_race, ac->ac_index);
}

static void
noted(void *arg, struct twin *tw, const struct pmap_leaf *leaf)
{
	struct race *const ra = arg;

	(void)tw;
	for (uint64_t at = 0; at < pt_level_size(leaf->pl_level); at += DIFF_PAGE) {
		const unsigned int page = diff_page_at(ra->map, leaf->pl_gpa + at);

		if (page < DIFF_PAGES_MAX && leaf->pl_modified)
			ra->pages[page].noted = true;
	}
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
begin(void *arg)
{
	struct race *const ra = arg;
	const hpa_t together = ra->map == &diff_large ? new_frames(9) : 0;

	for (unsigned int c = 0; c < DIFF_CLUSTERS; c++) {
		for (unsigned int i = 0; i < ra->map->dm_clusters[c].dc_n; i++) {
			struct race_page *pg = &ra->pages[ra->map->dm_clusters[c].dc_first + i];

			*pg = (struct race_page){.prot = PMAP_PROT_RWX};
			pg->frames[0] = together != 0 && c == 0 && i < DIFF_SUPER_PAGES
						? together + i * DIFF_PAGE
						: new_frames(0);
			pg->frames[1] = new_frames(0);
		}
	}
	ra->revoke = sim_alloc(sizeof(*ra->revoke));
	twin_open(&ra->rig, ra->arch, ra->flags);
	ra->twin = &ra->rig.rg_twins[0];
}

static void
judge_page(struct race *ra, struct race_page *pg, gpa_t gpa)
{
	struct pmap_leaf leaf;
	uint64_t m = 0;

	pmap_harvest(ra->twin->tw_pmap, gpa, gpa + DIFF_PAGE,
		     PMAP_HARVEST_MODIFIED | PMAP_HARVEST_PEEK, &m, NULL, NULL);
	if (pg->dirty && !pg->noted && m == 0)
		RACE_WRONG(ra, "I27", "0x%llx was written, and nothing shows it", ull(gpa));
	if (pmap_extract(ra->twin->tw_pmap, gpa, &leaf) != 0)
		return;
	if (leaf.pl_hpa + (gpa - leaf.pl_gpa) != race_frame(pg))
		RACE_WRONG(ra, "I30", "0x%llx is mapped to 0x%llx; its frame is 0x%llx", ull(gpa),
			   ull(leaf.pl_hpa + (gpa - leaf.pl_gpa)), ull(race_frame(pg)));
	if ((leaf.pl_prot & ~pg->prot) != 0)
		RACE_WRONG(ra, "I05", "0x%llx is mapped with rights %u; granted is %u", ull(gpa),
			   leaf.pl_prot, pg->prot);
	if (leaf.pl_wired && !pg->wired)
		RACE_WRONG(ra, "I32", "0x%llx is wired in the tables only", ull(gpa));
}

/* All stands still. */
static void
judge(void *arg)
{
	struct race *const ra = arg;
	char why[200];

	race_each_page(ra, 0, DIFF_TOP, judge_page);
	if (pmap_check(ra->twin->tw_pmap, why, sizeof(why)) != 0)
		RACE_WRONG(ra, "I01", "%s", why);
}

/* Reads every page, one after the other. */
struct reader {
	struct race *re_race;
	unsigned int re_page;
};

static bool
next_page(void *arg, gpa_t *gpa, unsigned int *access)
{
	struct reader *const re = arg;

	while (re->re_page < DIFF_PAGES_MAX && re->re_race->pages[re->re_page].frames[0] == 0)
		re->re_page++;
	if (re->re_page == DIFF_PAGES_MAX)
		return false;
	*gpa = diff_gpa(re->re_race->map, re->re_page);
	*access = PMAP_PROT_R;
	return true;
}

static void
page_read(void *arg, gpa_t gpa, unsigned int access, const struct hw_translation *t)
{
	struct reader *const re = arg;

	(void)gpa;
	(void)access;
	re->re_race->contents[re->re_page++] =
		sim_data_load(t->ht_hpa & ~(hpa_t)(SIM_PAGE_SIZE - 1));
}

static int
page_fault(void *arg, gpa_t gpa, unsigned int access)
{
	return race_fault(((struct reader *)arg)->re_race, gpa, access);
}

/* The same end for everybody: nothing wired, nothing writable, everything mapped. */
static void
come_to_rest(void *arg)
{
	struct race *const ra = arg;
	struct reader re = {ra, 0};
	const struct twin_program p = {next_page, page_read, page_fault, &re};
	const struct diff_step unwire = {.ds_op = DO_UNWIRE, .ds_end = DIFF_TOP};
	const struct diff_step protect = {
		.ds_op = DO_PROTECT, .ds_end = DIFF_TOP, .ds_prot = PMAP_PROT_R};

	race_operate(ra, &unwire);
	race_operate(ra, &protect);
	twin_run(ra->twin, 0, &p);
}

static void
rest_page(struct race *ra, struct race_page *pg, gpa_t gpa)
{
	const unsigned int page = diff_page_at(ra->map, gpa);
	struct pmap_leaf leaf;

	if (pmap_extract(ra->twin->tw_pmap, gpa, &leaf) != 0)
		RACE_WRONG(ra, "I05", "0x%llx was read, and is not mapped", ull(gpa));
	ra->rights[page] = leaf.pl_prot;
	if (ra->contents[page] != pg->content)
		RACE_WRONG(ra, "I09", "0x%llx holds 0x%llx in the end, not 0x%llx", ull(gpa),
			   ull(ra->contents[page]), ull(pg->content));
}

static void
end(void *arg)
{
	struct race *const ra = arg;

	judge(ra);
	race_each_page(ra, 0, DIFF_TOP, rest_page);
	pmap_drain(ra->twin->tw_pmap);
	pmap_stats(ra->twin->tw_pmap, &ra->stats);
	twins_close(&ra->rig);
	for (unsigned int i = 0; i < DIFF_PAGES_MAX; i++) {
		for (unsigned int f = 0; f < 2; f++) {
			if (ra->pages[i].frames[f] != 0)
				sim_frame_free(ra->pages[i].frames[f], 0);
		}
	}
}

static bool
run_machine(struct race *ra)
{
	struct rig *const r = &ra->rig;
	struct actor actors[RACE_ACTORS];

	if (!rig_call(r, begin, ra))
		return false;
	for (unsigned int i = 0; i < RACE_ACTORS; i++) {
		actors[i] = (struct actor){ra, i};
		sim_spawn(r->rg_machine, i, act, &actors[i]);
	}
	return sim_machine_run(r->rg_machine, &r->rg_report) == SIM_RUN_PASSED &&
	       rig_call(r, judge, ra) && rig_run_on(r, 0, come_to_rest, ra) &&
	       rig_call(r, end, ra) &&
	       sim_machine_check_leaks(r->rg_machine, &r->rg_report) == SIM_RUN_PASSED;
}

/* ---- The tests ------------------------------------------------------------------------------ */

static const uint8_t guest_odds[DO_COUNT] = {[DO_TOUCH] = 1};

static const uint8_t host_odds[DO_COUNT] = {
	[DO_REMOVE] = 5, [DO_MOVE] = 6,	     [DO_PROTECT] = 6,	  [DO_ENTER] = 5,
	[DO_WIRE] = 3,	 [DO_UNWIRE] = 3,    [DO_CLEAN] = 8,	  [DO_CLEAR_M] = 2,
	[DO_AGE] = 4,	 [DO_AGE_COUNT] = 2, [DO_INVALIDATE] = 2, [DO_DRAIN] = 2,
};

static const uint8_t host_odds_superpages[DO_COUNT] = {
	[DO_REMOVE] = 3, [DO_MOVE] = 1,	     [DO_PROTECT] = 4,	  [DO_ENTER] = 4,
	[DO_WIRE] = 1,	 [DO_UNWIRE] = 3,    [DO_CLEAN] = 5,	  [DO_CLEAR_M] = 2,
	[DO_AGE] = 4,	 [DO_AGE_COUNT] = 2, [DO_INVALIDATE] = 2, [DO_DRAIN] = 2,
	[DO_FILL] = 6,	 [DO_SUPER] = 8,     [DO_PROMOTE] = 8,	  [DO_DEMOTE] = 6,
};

static void
draw(struct race *ra, uint64_t seed, bool large)
{
	*ra = (struct race){
		.seed = seed,
		.map = large	       ? &diff_large
		       : seed % 2 != 0 ? &diff_tiny
				       : &diff_small,
		.arch = (enum twin_arch)(seed % TWIN_ARCHES),
		.flags = seed / TWIN_ARCHES % 2 != 0 ? PMAP_DEFER : 0,
		.cpus = {.tc_levels = 4,
			 .tc_leaf_levels = 2,
			 .tc_mixed_size_erratum = seed % 3 == 0},
	};
	for (unsigned int i = 0; i < RACE_ACTORS; i++) {
		const bool guest = i < TWIN_VCPUS;
		const struct diff_plan plan = {
			.dp_map = ra->map,
			.dp_odds = guest   ? guest_odds
				   : large ? host_odds_superpages
					   : host_odds,
			.dp_nsteps = guest ? 24 : 12,
			.dp_ncpus = 1,
			.dp_nvcpus = 1,
		};

		diff_script_draw(&ra->scripts[i], seed * RACE_ACTORS + i, &plan);
	}
}

static void
run_form(struct race *ra, uint64_t seed, bool large, unsigned int form)
{
	char why[200] = "";

	draw(ra, seed, large);
	ra->flags |= form;
	cr_assert(rig_open(&ra->rig, seed, &ra->cpus, true, why, sizeof(why)), "%s", why);
	ra->rig.rg_note = noted;
	ra->rig.rg_arg = ra;

	const bool passed = run_machine(ra);

	rig_close(&ra->rig);
	cr_assert(passed, "%s %s at step %d, CPU %u: %s", ra->rig.rg_report.sr_check,
		  ra->rig.rg_report.sr_invariant, (int)ra->rig.rg_report.sr_step,
		  ra->rig.rg_report.sr_cpu, ra->rig.rg_report.sr_message);
}

static void
compare(const struct race *a, const struct race *b)
{
	for (unsigned int i = 0; i < DIFF_PAGES_MAX; i++) {
		cr_assert(a->contents[i] == b->contents[i] && a->rights[i] == b->rights[i],
			  "seed %llu, %s, page 0x%llx: fast has 0x%llx with rights %u, reference "
			  "0x%llx with %u",
			  ull(a->seed), a->twin->tw_name, ull(diff_gpa(a->map, i)),
			  ull(a->contents[i]), a->rights[i], ull(b->contents[i]), b->rights[i]);
	}
	cr_assert_eq(a->stats.st_resident_pages, b->stats.st_resident_pages, "seed %llu",
		     ull(a->seed));
	cr_assert_eq(a->stats.st_wired_pages, 0, "seed %llu", ull(a->seed));
	cr_assert_eq(b->stats.st_wired_pages, 0, "seed %llu", ull(a->seed));
}

static struct race fast;
static struct race reference;

static void
race(unsigned int first, unsigned int n, bool large)
{
	uint64_t promotions = 0;
	uint64_t kicks = 0;

	for (unsigned int seed = first; seed < first + n; seed++) {
		run_form(&fast, seed, large, 0);
		run_form(&reference, seed, large, PMAP_REFERENCE);
		compare(&fast, &reference);
		promotions += fast.stats.st_promotions;
		kicks += fast.stats.st_kicks;
	}
	cr_assert(n < 40 || (kicks > 0 && (promotions > 0) == large));
}

Test(differential_race, forms_end_alike)
{
	race(1, seeds(200), false);
}

Test(differential_race, forms_end_alike_with_superpages)
{
	race(1001, seeds(60), true);
}
