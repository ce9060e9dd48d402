/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Ways to shoot down with threads as CPUs: the counts that pmap-inv reports. Threads are not bound
 * to processors here, so any machine will do; no time is asserted.
 */

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "bench/inv_rows.h"
#include "bench/inv_side.h"

#define GATHERS 40

static struct crew crew;

static struct inv_result
run(const char *scheme, enum inv_kick_kind kick, unsigned int vcpus, unsigned int initiators,
    unsigned int pages, unsigned int in_guest)
{
	const struct inv_setup setup = {.iu_scheme = scheme ? inv_scheme_named(scheme) : NULL,
					.iu_type = PT_EPT,
					.iu_kick = kick,
					.iu_vcpus = vcpus,
					.iu_initiators = initiators,
					.iu_pages = pages,
					.iu_gathers = GATHERS,
					.iu_in_guest = in_guest};
	static struct inv_result r;

	cr_assert(eq(int, crew_start(&crew, vcpus + initiators - 1, true), 0));
	cr_assert(eq(int, inv_run(&crew, &setup, &r), 0));
	crew_end(&crew);
	cr_assert(eq(u64, r.ir_latency.hi_count, (scheme ? initiators : 1) * GATHERS));
	return r;
}

Test(inv, one_shootdown_per_gather_whatever_its_size)
{
	for (unsigned int kick = INV_POLLED; kick <= INV_SIGNAL; kick++) {
		for (unsigned int pages = 1; pages <= 700; pages = pages * 8 + 1) {
			const struct inv_result r = run("gather", kick, 1, 1, pages, 100);

			cr_assert(eq(u64, r.ir_counts.ic_unmaps, GATHERS));
			cr_assert(eq(u64, r.ir_counts.ic_shootdowns, GATHERS));
			cr_assert(le(u64, r.ir_counts.ic_kicks, GATHERS));
			cr_assert(gt(u64, r.ir_counts.ic_kicks, 0));
		}
	}
}

Test(inv, nobody_in_the_guest_nobody_kicked)
{
	static const char *const by_need[] = {"gather", "nomerge", "kick", "deferred"};

	for (unsigned int i = 0; i < 4; i++)
		cr_assert(eq(u64, run(by_need[i], INV_POLLED, 3, 1, 1, 0).ir_counts.ic_kicks, 0));
	cr_assert(
		eq(u64, run("rendezvous", INV_POLLED, 3, 1, 1, 0).ir_counts.ic_kicks, 3 * GATHERS));
}

/* Each scheme ends, with several of everything, and says how often it shot. */
Test(inv, every_scheme)
{
	for (unsigned int i = 0; i < inv_nschemes; i++) {
		for (unsigned int in_guest = 0; in_guest <= 100; in_guest += 50) {
			const struct inv_result r =
				run(inv_schemes[i]->sc_name, INV_POLLED, 2, 2, 3, in_guest);
			const struct inv_counts *const c = &r.ir_counts;

			cr_assert(eq(u64, c->ic_unmaps, 2 * GATHERS));
			if (strcmp(inv_schemes[i]->sc_name, "gather") == 0)
				cr_assert(eq(u64, c->ic_shootdowns + c->ic_merged, 2 * GATHERS));
			else if (strcmp(inv_schemes[i]->sc_name, "none") == 0)
				cr_assert(eq(u64, c->ic_shootdowns + c->ic_kicks, 0));
			else if (strcmp(inv_schemes[i]->sc_name, "deferred") == 0)
				cr_assert(
					le(u64, c->ic_shootdowns, 2 * GATHERS / INV_DEFERRED_MAX));
			else
				cr_assert(eq(u64, c->ic_shootdowns, 2 * GATHERS));
		}
	}
}

Test(inv, bare_kicks_are_answered)
{
	run(NULL, INV_POLLED, 3, 1, 1, 100);
	run(NULL, INV_SIGNAL, 2, 1, 1, 100);
}

Test(inv, elided)
{
	static const enum pt_type types[] = {PT_EPT, PT_RVI, PT_EPT};

	for (unsigned int i = 0; i < 3; i++) {
		struct inv_counts c;

		cr_assert(eq(int, inv_elide(types[i], i == 2, 50, &c), 0));
		cr_assert(eq(u64, c.ic_shootdowns, 0));
		cr_assert(eq(u64, c.ic_kicks, 0));
		cr_assert(ge(u64, c.ic_elided, 100)); /* the gathers; there may be more */
	}
}

Test(inv, faults_beside_shootdowns)
{
	static struct hist h;

	cr_assert(eq(int, crew_start(&crew, 1, true), 0));
	cr_assert(eq(int, inv_faulting(&crew, PT_EPT, false, true, 512, 8, &h), 0));
	crew_end(&crew);
	cr_assert(eq(u64, h.hi_count, 64));
	cr_assert(eq(int, crew_start(&crew, 0, true), 0));
	cr_assert(eq(int, inv_faulting(&crew, PT_EPT, false, true, 1, 1, &h), -EAGAIN));
	crew_end(&crew);
}

/* Too few threads are refused, and nothing hangs. */
Test(inv, refusals)
{
	const struct inv_setup setup = {.iu_scheme = inv_schemes[0],
					.iu_vcpus = 2,
					.iu_initiators = 1,
					.iu_pages = 1,
					.iu_gathers = 1};
	static struct inv_result r;

	cr_assert(eq(int, crew_start(&crew, 1, true), 0));
	cr_assert(eq(int, inv_run(&crew, &setup, &r), -EAGAIN));
	crew_end(&crew);
	cr_assert(eq(int, crew_start(&crew, crew_processors(), false), -EAGAIN));
	cr_assert(eq(int, crew_start(&crew, CREW_MAX + 1, true), -EAGAIN));
}

/* What is missing is named; what needs more processors than there are is marked, not left out. */
Test(inv, rows)
{
	static struct inv_row rows[INV_ROWS_MAX];
	static struct inv_side sides[INV_SIDE_MAX];
	bool storm = false;

	for (unsigned int processors = 2; processors <= 64; processors *= 2) {
		const unsigned int n = inv_rows(rows, processors, PT_EPT, false);

		cr_assert(gt(uint, n, 0));
		for (unsigned int i = 0; i < n; i++)
			cr_assert(
				eq(int, rows[i].rw_refused != NULL, rows[i].rw_needs > processors));
		for (unsigned int i = 0; i < inv_sides(sides, processors, PT_EPT, false); i++)
			cr_assert(le(uint,
				     sides[i].sd_setup.iu_vcpus + sides[i].sd_setup.iu_initiators,
				     processors));
	}
	for (unsigned int i = 0; i < inv_rows(rows, 2, PT_EPT, true); i++)
		storm |= rows[i].rw_refused && strcmp(rows[i].rw_name, "inv.storm.2") == 0;
	cr_assert(storm);
}
