/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Decisions taken from a list as far as they fit. */

#include "sim/replay/lenient.h"

/* So far ahead a decision of the kind that is asked for is looked for. */
#define AHEAD 16

static uint32_t
choose(void *arg, enum sim_choice kind, uint32_t n)
{
	struct lenient *le = arg;

	for (size_t i = le->le_at; i < le->le_n && i < le->le_at + AHEAD; i++) {
		if (le->le_list[i].cr_kind != (uint32_t)kind)
			continue;
		le->le_at = i + 1;
		return le->le_list[i].cr_value % n;
	}
	return SIM_CHOICE_DRAW;
}

void
lenient_begin(struct lenient *le, struct sim_options *o)
{
	*le = (struct lenient){.le_list = o->choices, .le_n = o->nchoices};
	o->choices = NULL;
	o->notes = NULL;
	o->nchoices = 0;
	o->choices_by_seed = false;
	o->choose = choose;
	o->choose_arg = le;
}
