/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A list of decisions that need not fit the run: each is taken where the next one of its kind is
 * asked for, if that comes soon, modulo the number of alternatives that there are now. What the
 * list has nothing for is left to the generator. So a list that was cut, joined or changed still is
 * a run, and mostly a similar one.
 */

#ifndef SIM_LENIENT_H
#define SIM_LENIENT_H

#include "sim/cli/options.h"

struct lenient {
	const struct sim_choice_record *le_list;
	size_t le_n;
	size_t le_at;
};

/*
 * The options' choices in place of what was said of them: o->choose for o->choices, which must live
 * as long. The same *le must not be used for two runs.
 */
void lenient_begin(struct lenient *le, struct sim_options *o);

#endif /* SIM_LENIENT_H */
