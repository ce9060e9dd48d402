/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The world of costs, first half: types and limits (see pmap/host.h).
 */

#ifndef BENCH_COST_HOST_TYPES_H
#define BENCH_COST_HOST_TYPES_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 512 CPUs that run guests, and 64 that take pages from them. */
#define HOST_MAX_CPUS 576

struct host_lock {
	uint64_t hl_word; /* 0, or the owner's number + 1 */
};

struct host_epoch_item {
	struct host_epoch_item *ei_next;
	void (*ei_fn)(struct host_epoch_item *item);
	uint64_t ei_seq; /* due when no section that began before this is open */
};

_Noreturn void cost_assert_failed(const char *file, int line, const char *what);

#define HOST_ASSERT(cond) ((cond) ? (void)0 : cost_assert_failed(__FILE__, __LINE__, #cond))

#endif /* BENCH_COST_HOST_TYPES_H */
