/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the files of the POSIX host of vmspace share with each other and with nobody else.
 */

#ifndef VMSPACE_POSIX_HOST_VM_PRIV_H
#define VMSPACE_POSIX_HOST_VM_PRIV_H

#include "pmap/posix/host_priv.h"
#include "vmspace/posix/host_vm_posix.h"

/* Not inside an epoch section, no spin lock held. */
static inline bool
host_vm_may_sleep(void)
{
	const struct host_posix_cpu *self = host_posix_this();

	return self->pc_held == 0 && self->pc_nest == 0;
}

/* The bytes of a frame in use. */
char *host_vm_bytes(hpa_t hpa);

/* Reads what others may be writing. */
void host_vm_copy_out(void *to, const char *from, size_t len);

/* Of a frame: how often it is mapped in guests' domains, stale mappings included, and this. */
#define HOST_VM_HIDDEN ((uint64_t)1 << 63) /* missing in the host's domain */
struct host_word *host_vm_frame_iommu(hpa_t hpa);

/*
 * Counts a request for n pages of swap, or of what fails with it; returns how many to do before it
 * fails, or n if it does not.
 */
unsigned int host_vm_io_begin(unsigned int kind, unsigned int n);

/* What lies in a page that was not read or written whole. */
#define HOST_VM_SPOILED 0xa7

#endif /* VMSPACE_POSIX_HOST_VM_PRIV_H */
