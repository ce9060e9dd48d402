/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* What the command line left open, and which options make no sense together. */

#include "sim/cli/faults.h"
#include "sim/trace/trace.h"
#include "sim/workload/workload.h"
#include "sim/explore/xp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_CPUS 3
#define DEFAULT_VCPUS 3
#define DEFAULT_STEPS 20000
#define MIN_STEPS 2000

static bool
scenario_exists(const char *name)
{
	for (unsigned int i = 0; sim_scenario(i) != NULL; i++) {
		if (strcmp(sim_scenario(i)->name, name) == 0)
			return true;
	}
	return false;
}

/* A profile must be a CPU that has the tables asked for; the sentence says what it has. */
static int
check_caps(const struct sim_options *o, char *why, size_t why_bytes)
{
	static const char *const types[] = {
		[PT_X86] = "no nested paging",
		[PT_EPT] = "EPT",
		[PT_RVI] = "nested AMD tables",
	};
	const struct ept_profile *p = ept_profile_find(o->caps);

	if (p == NULL) {
		snprintf(why, why_bytes, "there is no CPU profile '%s'; see 'pmap-sim profiles'",
			 o->caps);
		return -EINVAL;
	}
	for (unsigned int arch = 0; arch < SIM_ARCH_COUNT; arch++) {
		if (!(o->arch_set & 1u << arch) || workload_profile(o, (enum sim_arch)arch) != NULL)
			continue;
		snprintf(why, why_bytes, "CPU profile '%s' has %s, and cannot run --arch %s",
			 o->caps, types[p->pr_type], sim_arch_name((enum sim_arch)arch));
		return -EINVAL;
	}
	return 0;
}

int
sim_options_complete(struct sim_options *o, const struct trace *trace, char *why, size_t why_bytes)
{
	struct sim_options done = *o;
	uint32_t kindness;
	int error = 0;

	if (xp_find(done.scenario) != NULL) {
		if (done.faults != NULL || done.kindness != NULL) {
			snprintf(why, why_bytes,
				 "scenario '%s' has faults and hardware of its own: neither "
				 "--faults nor --kindness",
				 done.scenario);
			return -EINVAL;
		}
		error = xp_complete(&done, why, why_bytes);
		if (error != 0)
			return error;
	}
	if (done.cpus == 0)
		done.cpus = trace != NULL ? 4 : DEFAULT_CPUS;
	if (done.vcpus == 0)
		done.vcpus = DEFAULT_VCPUS;
	if (done.steps == 0 && trace == NULL)
		done.steps = DEFAULT_STEPS;
	if (done.policy != NULL &&
	    !sim_scheduler_parse(done.policy, &done.scheduler, &done.depth)) {
		snprintf(why, why_bytes,
			 "--scheduler: '%s' is none of random, pos, pct:DEPTH (1 to %d)",
			 done.policy, POLICY_DEPTH_MAX);
		return -EINVAL;
	}
	if (done.schedules == 0)
		done.schedules = done.scheduler == SIM_SCHEDULER_PCT ? 2 : 1;
	if (done.cpus > SIM_MAX_CPUS) {
		snprintf(why, why_bytes, "--cpus: at most %d", SIM_MAX_CPUS);
		return -EINVAL;
	}
	if (done.vcpus > WORKLOAD_VCPUS_MAX) {
		snprintf(why, why_bytes, "--vcpus: at most %d", WORKLOAD_VCPUS_MAX);
		return -EINVAL;
	}
	if (trace == NULL && done.steps < MIN_STEPS) {
		snprintf(why, why_bytes, "--steps: at least %d, or a run shows nothing", MIN_STEPS);
		return -EINVAL;
	}
	if (done.scenario != NULL && !scenario_exists(done.scenario)) {
		snprintf(why, why_bytes, "there is no scenario '%s'; see 'pmap-sim scenarios'",
			 done.scenario);
		return -EINVAL;
	}
	if (done.faults != NULL)
		error = faults_check(done.faults, why, why_bytes);
	if (error == 0 && done.kindness != NULL)
		error = hw_kindness_read(done.kindness, &kindness, why, why_bytes);
	if (error == 0 && done.caps != NULL)
		error = check_caps(&done, why, why_bytes);
	if (error == 0)
		*o = done;
	return error;
}
