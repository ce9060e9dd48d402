/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The simulated world, third part: the types that vmspace/vm_host.h wants from a host.
 */

#ifndef SIM_HOST_VM_TYPES_H
#define SIM_HOST_VM_TYPES_H

#include <host_types.h>

struct host_mutex {
	uint64_t hm_word; /* 0, or the owner's number + 1; reached through the memory model only */
	uint32_t hm_rank;
	uint32_t hm_magic;
};

struct host_event {
	uint64_t he_count; /* written by locked operations only */
	uint64_t he_magic;
};

#endif /* SIM_HOST_VM_TYPES_H */
