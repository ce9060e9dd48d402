/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Which faults a run is to inject, as text: the argument of --faults.
 *
 *	LIST := ITEM [, ITEM ...]
 *	ITEM := NAME [:HOW ...]		this kind
 *		-NAME			not this kind
 *		all			every kind, each with the odds that it has by itself
 *		default			what the workload injects anyway
 *		none			nothing
 *	HOW  := P			with probability P, 0.05 or 1
 *		nth=N			the N-th time that it is asked for
 *		persist			and ever after
 *
 * Items count from left to right. What the list does not mention is off, so "default" comes first
 * where the rest is to add to it. Kinds of nature's (machine.h) take no HOW.
 */

#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include <stdbool.h>
#include <stddef.h>

#include "sim/machine/machine.h"
#include "sim/cli/options.h"

enum faults_state {
	FAULTS_DEFAULT, /* as the workload has it */
	FAULTS_OFF,
	FAULTS_ON,
};

struct faults_info {
	const char *fi_about; /* what happens, in a sentence without its full stop */
	const char *fi_issue; /* the family it belongs to, for lists */
	uint32_t fi_ppm;      /* its own odds; 0: it is nature's */
};

const struct faults_info *faults_info(enum sim_fault f);

/* By name; -1: there is none. */
int faults_find(const char *name, size_t len);

/* 0, or -EINVAL with a sentence in why[]. */
int faults_check(const char *list, char *why, size_t why_bytes);

/* What the options say of a kind. */
enum faults_state faults_of(const struct sim_options *o, enum sim_fault f);

/* Changes a configuration accordingly; false if the options say nothing. */
bool faults_apply(const struct sim_options *o, struct sim_config *cfg);

#endif /* SIM_FAULTS_H */
