/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Machines that are not here: what pmap-cost counts goes into the report beside what was measured,
 * for one CPU that unmaps and for many. It takes two seconds and depends on no type or tier.
 */

#include "bench/front.h"

static const char *const initiators[] = {"1", "16"};

void
cost_front_run(const struct plan *plan, json_t *report)
{
	json_t *const all = json_array();

	for (unsigned int i = 0; i < sizeof(initiators) / sizeof(initiators[0]); i++) {
		const char *args[] = {"--json",
				      "-",
				      "--initiators",
				      initiators[i],
				      plan->pl_pictures != NULL ? "--svg" : NULL,
				      plan->pl_pictures,
				      NULL};
		int code;
		json_t *const counted = spawn_json("pmap-cost", args, &code);

		if (counted == NULL)
			report_failed(report, "cost", "all", "simulated", code);
		else
			json_array_append_new(all, counted);
	}
	json_object_set_new(report, "simulated", all);
}
