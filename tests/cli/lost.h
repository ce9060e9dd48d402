/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* The scenario "lost" of the workload for tests: it runs on a machine, unlike the others. */

#ifndef TESTS_CLI_LOST_H
#define TESTS_CLI_LOST_H

#include "sim/cli/options.h"

int lost_run(const struct sim_options *o, struct sim_outcome *out);

#endif /* TESTS_CLI_LOST_H */
