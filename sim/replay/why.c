/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Points are added where they tell most: first evenly, then in the middle of the largest jump,
 * until that is as narrow as can be. A few tries at each suffice for that: the shares at both ends
 * of a decisive step differ by much, or it is none.
 */

#include "sim/replay/why.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cli/cli.h"

#define EVENLY 8 /* intervals to begin with */
#define LEAST_JUMP 0.2

double
why_share(const struct html_point *pt)
{
	return pt->pt_tries > 0 ? (double)pt->pt_failed / pt->pt_tries : 0;
}

/* One run that keeps so many decisions, and goes on by chance. */
static int
try_prefix(struct why *wy, uint32_t kept, uint64_t seed, bool *failed)
{
	struct shrink *sh = &wy->wy_run;
	static struct sim_outcome out;
	static struct plan_guide guide;
	struct sim_options o;
	int error;

	shrink_options(sh, &o);
	plan_guide_init(&guide, &sh->sh_plan, true);
	guide.pg_prefix = kept;
	o.choices = NULL;
	o.notes = NULL;
	o.nchoices = 0;
	o.choose = plan_choose;
	o.choose_arg = &guide;
	o.draw_seed = seed;
	o.record_choices = false;
	o.step_limit = 2 * sh->sh_best.steps + 10000;
	error = cli_execute(&o, sh->sh_trace, &out);
	*failed = !error && shrink_is_same(&out, &sh->sh_best);
	wy->wy_runs++;
	return error;
}

static uint64_t
step_of(const struct why *wy, uint32_t kept)
{
	const struct plan *pl = &wy->wy_run.sh_plan;

	return kept < pl->pl_nchoices ? pl->pl_notes[kept].cn_step : wy->wy_run.sh_best.steps;
}

/* Adds a point in its place. Returns its index; negative errno; -EINTR when time is up. */
static int
add_point(struct why *wy, uint32_t kept)
{
	struct html_point pt = {.pt_x = kept, .pt_step = step_of(wy, kept)};
	uint32_t i = wy->wy_npoints;

	for (uint32_t t = 0; t < wy->wy_tries; t++) {
		bool failed;
		int error;

		if (shrink_is_over(&wy->wy_run))
			break;
		error = try_prefix(wy, kept, ((uint64_t)kept << 32) + t + 1, &failed);
		if (error)
			return error;
		pt.pt_tries++;
		pt.pt_failed += failed;
	}
	if (pt.pt_tries == 0)
		return -EINTR;
	for (; i > 0 && wy->wy_points[i - 1].pt_x > kept; i--)
		wy->wy_points[i] = wy->wy_points[i - 1];
	wy->wy_points[i] = pt;
	wy->wy_npoints++;
	if (wy->wy_tell)
		wy->wy_tell(wy->wy_arg, wy);
	return (int)i;
}

/* The point to which the largest jump leads; that of them which lies earliest. */
static uint32_t
largest_jump(const struct why *wy)
{
	uint32_t at = UINT32_MAX;
	double most = LEAST_JUMP;

	for (uint32_t i = 1; i < wy->wy_npoints; i++) {
		const double jump = why_share(&wy->wy_points[i]) - why_share(&wy->wy_points[i - 1]);

		if (jump > most) {
			most = jump;
			at = i;
		}
	}
	return at;
}

static int
make_points(struct why *wy)
{
	const uint32_t n = wy->wy_run.sh_plan.pl_nchoices;
	int error = 0;

	for (uint32_t i = 0; i <= EVENLY && error >= 0; i++) {
		const uint32_t kept = (uint32_t)((uint64_t)n * i / EVENLY);

		if (wy->wy_npoints == 0 || wy->wy_points[wy->wy_npoints - 1].pt_x != kept)
			error = add_point(wy, kept);
	}
	while (error >= 0 && wy->wy_npoints < WHY_POINTS_MAX) {
		const uint32_t to = largest_jump(wy);
		uint64_t a, b;

		if (to == UINT32_MAX)
			break;
		a = wy->wy_points[to - 1].pt_x;
		b = wy->wy_points[to].pt_x;
		if (b - a <= 1) {
			wy->wy_exact = true;
			break;
		}
		error = add_point(wy, (uint32_t)(a + (b - a) / 2));
	}
	wy->wy_decisive = largest_jump(wy);
	return error == -EINTR || error >= 0 ? 0 : error;
}

int
why_run(struct why *wy)
{
	int error = shrink_begin(&wy->wy_run);

	wy->wy_decisive = UINT32_MAX;
	return error ? error : make_points(wy);
}
