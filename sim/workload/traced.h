/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A trace's memory and accesses in a world, for those that replay one: for what breaks
 * (workload_trace.c) and for what it costs (workload_compare.c).
 */

#ifndef SIM_TRACED_H
#define SIM_TRACED_H

#include "sim/trace/trace.h"
#include "sim/workload/world.h"

/* A world for long runs: before anything is in it. */
void traced_world(struct world *w);

/* Every region that the trace touches, in one segment, with all rights. */
void traced_memory(struct space *sp, const struct trace_info *info);

/* Where an access goes, in words, and what it needs. */
void traced_access(const struct trace_access *a, gpa_t *gpa, unsigned int *access);

#endif /* SIM_TRACED_H */
