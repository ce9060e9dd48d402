/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The settings that schemes are compared in.
 */

#include "bench/inv_side.h"

static unsigned int
add(struct inv_side sides[INV_SIDE_MAX], unsigned int n, const struct inv_setup *setup)
{
	for (unsigned int s = 0; s <= inv_nschemes && n < INV_SIDE_MAX; s++) {
		const bool bare = s == inv_nschemes;

		/* The bare kick has no pages, and means something only with someone to answer. */
		if (bare &&
		    (setup->iu_in_guest < 100 || setup->iu_pages > 1 || setup->iu_initiators > 1))
			continue;
		sides[n].sd_setup = *setup;
		sides[n].sd_setup.iu_scheme = bare ? NULL : inv_schemes[s];
		sides[n].sd_sum = (struct inv_result){0};
		sides[n++].sd_rounds = 0;
	}
	return n;
}

unsigned int
inv_sides(struct inv_side sides[INV_SIDE_MAX], unsigned int processors, enum pt_type type,
	  bool emulate_ad)
{
	static const unsigned int shares[] = {100, 50, 0};
	unsigned int n = 0;

	for (unsigned int kick = INV_POLLED; kick <= INV_SIGNAL; kick++) {
		struct inv_setup setup = {.iu_type = type,
					  .iu_emulate_ad = emulate_ad,
					  .iu_kick = kick,
					  .iu_vcpus = 1,
					  .iu_initiators = 1,
					  .iu_pages = 1,
					  .iu_gathers = kick == INV_POLLED ? 2000 : 200,
					  .iu_in_guest = 100,
					  .iu_budget_ns = 100000000};

		for (unsigned int i = 0; i < 3; i++) {
			setup.iu_in_guest = shares[i];
			n = add(sides, n, &setup);
		}
		setup.iu_in_guest = 100;
		for (setup.iu_vcpus = 2; setup.iu_vcpus < processors; setup.iu_vcpus *= 2)
			n = add(sides, n, &setup);
		setup.iu_vcpus = 1;
		setup.iu_gathers /= 10;
		for (setup.iu_pages = 8; setup.iu_pages <= 4096; setup.iu_pages *= 8)
			n = add(sides, n, &setup);
		setup.iu_pages = 1;
		for (setup.iu_initiators = 2; setup.iu_initiators + 1 <= processors;
		     setup.iu_initiators *= 2)
			n = add(sides, n, &setup);
	}
	return n;
}

int
inv_side_round(struct crew *c, struct inv_side *side)
{
	static struct inv_result r;
	const int error = inv_run(c, &side->sd_setup, &r);

	if (error != 0)
		return error;
	hist_merge(&side->sd_sum.ir_latency, &r.ir_latency);
	side->sd_sum.ir_counts.ic_unmaps += r.ir_counts.ic_unmaps;
	side->sd_sum.ir_counts.ic_shootdowns += r.ir_counts.ic_shootdowns;
	side->sd_sum.ir_counts.ic_kicks += r.ir_counts.ic_kicks;
	side->sd_sum.ir_counts.ic_flushes += r.ir_counts.ic_flushes;
	side->sd_sum.ir_counts.ic_merged += r.ir_counts.ic_merged;
	if (r.ir_held_most > side->sd_sum.ir_held_most)
		side->sd_sum.ir_held_most = r.ir_held_most;
	side->sd_rounds++;
	return 0;
}

const char *
inv_side_scheme(const struct inv_side *side)
{
	return side->sd_setup.iu_scheme != NULL ? side->sd_setup.iu_scheme->sc_name : "bare kick";
}
