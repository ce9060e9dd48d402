/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The command line, into the configuration.
 */

#ifndef BHYVE_OPTIONS_H
#define BHYVE_OPTIONS_H

#include "config.h"

/*
 * 0: go on; 1: something was asked for and told (help), and that is all; -1: wrong, and the
 * sentence is in config->cn_why. *name is the machine's.
 */
int options_parse(struct config *config, int argc, char **argv, const char **name);
/* The number of vCPUs, or -1 with a sentence. */
int options_cpus(struct config *config);

#endif /* BHYVE_OPTIONS_H */
