/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* A run that fails in the same way for every seed: sim_run_workload() for the scenario "race". */

#ifndef TESTS_CLI_RACE_H
#define TESTS_CLI_RACE_H

#include "sim/cli/options.h"

int race_run(const struct sim_options *o, struct sim_outcome *out);

#endif /* TESTS_CLI_RACE_H */
