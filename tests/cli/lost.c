/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A race on a real machine, for tests of what takes runs apart: CPUs add to a word, some of them
 * without the lock ("sneak"), and some of those additions are lost. Two of them suffice.
 */

#include "tests/cli/lost.h"

#include "pmap/host.h"

#include <errno.h>

#include "sim/oracle/invariants.h"
#include "sim/machine/machine.h"
#include "sim/story/story_record.h"

struct lost {
	const struct sim_options *lo_options;
	struct host_word lo_word;
	struct host_word lo_other;
	struct host_lock lo_lock;
	uint64_t lo_added; /* as it should be */
};

static void
add(struct lost *r)
{
	const uint64_t v = host_load(&r->lo_word);

	host_store(&r->lo_word, v + 1);
	host_fence();
	r->lo_added++;
}

static void
check(void *arg)
{
	struct lost *r = arg;

	sim_invariant_hit(SIM_I13);
	if (host_load(&r->lo_word) != r->lo_added)
		sim_violation("CK-ATOM", "I13", "an addition was lost: %llu, not %llu",
			      (unsigned long long)host_load(&r->lo_word),
			      (unsigned long long)r->lo_added);
}

static void
operate(struct lost *r, uint32_t what)
{
	switch (what) {
	case 0:
		sim_choice_word("look");
		host_load(&r->lo_other);
		break;
	case 1:
		sim_choice_word("add");
		host_lock(&r->lo_lock);
		host_load(&r->lo_other);
		host_unlock(&r->lo_lock);
		break;
	case 2:
		sim_choice_word("rest");
		for (uint32_t i = sim_choose(SIM_CHOICE_WORKLOAD, 20); i > 0; i--)
			sim_point(SIM_USER, NULL);
		break;
	default:
		sim_choice_word("sneak");
		add(r);
		sim_aside(check, r);
		break;
	}
}

static void
program(void *arg)
{
	struct lost *r = arg;
	static const uint32_t odds[] = {30, 30, 30, 3};

	while (sim_step_count() < r->lo_options->steps) {
		sim_operation();
		if (r->lo_options->may_stop && sim_choose_chance(SIM_CHOICE_WORKLOAD, 1)) {
			sim_choice_word("stop");
			break;
		}
		operate(r, sim_choose_weighted(SIM_CHOICE_WORKLOAD, 4, odds));
	}
}

int
lost_run(const struct sim_options *o, struct sim_outcome *out)
{
	struct sim_report report;
	struct sim_config cfg;
	int error = 0;

	sim_options_machine(o, &cfg);
	struct sim_machine *m = sim_machine_create(&cfg, out->message, sizeof(out->message));
	if (m == NULL)
		return -EINVAL;
	story_attach(o->story);
	struct lost *r = sim_alloc(sizeof(*r));
	r->lo_options = o;
	host_lock_init(&r->lo_lock, 1);
	for (unsigned int i = 0; i < o->cpus; i++)
		sim_spawn(m, i, program, r);
	sim_machine_run(m, &report);
	if (o->look != NULL)
		o->look(o->look_arg, &report);
	sim_outcome_of(&report, out);
	out->state_hash = sim_machine_state_hash(m);
	if (o->record_choices)
		error = sim_outcome_keep(out, m);
	if (report.sr_result == SIM_RUN_DIVERGED)
		error = -EILSEQ;
	story_detach();
	sim_machine_destroy(m);
	return error;
}
