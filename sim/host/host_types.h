/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The simulated world, first part: the types that pmap/host.h wants from a host.
 */

#ifndef SIM_HOST_TYPES_H
#define SIM_HOST_TYPES_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/machine/machine.h"

/* The simulated CPUs and the service CPU. */
#define HOST_MAX_CPUS 32

struct host_lock {
	uint64_t hl_word; /* 0, or the owner's number + 1; reached through the memory model only */
	uint32_t hl_rank;
	uint32_t hl_magic; /* SIM_LOCK_MAGIC once initialized */
};

/* A lock has more in it than a kernel's, for the checks. */
#define HOST_TABLE_DESC_BYTES 128

struct host_epoch_item {
	struct host_epoch_item *ei_next;
	void (*ei_fn)(struct host_epoch_item *item);
	uint64_t ei_seq; /* it is due when no section that began before this is open */
};

#define HOST_ASSERT(cond) ((cond) ? (void)0 : sim_assert_failed(#cond, __FILE__, __LINE__))

#endif /* SIM_HOST_TYPES_H */
