/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the CPU counts by itself, where the machine lets us see it (perf_event_open(2)): one more
 * round of a row is made for this, since switching it on and off takes time.
 */

#ifndef BENCH_PERF_H
#define BENCH_PERF_H

#include <stdbool.h>

struct json_t;

/* False if the machine has none; then the others do nothing. */
bool bench_perf_open(void);
void bench_perf_close(void);
void bench_perf_start(void);
void bench_perf_stop(void);
/* What was counted, per unit. */
struct json_t *bench_perf_json(double units);

#endif /* BENCH_PERF_H */
