/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What a program that embeds vmspace may ask of its POSIX host, beyond pmap/posix/host_posix.h.
 *
 * None of this is needed to begin. Data pages live in an arena whose host-physical addresses begin
 * where those of page tables end; swap is memory; devices make their accesses by calls.
 *
 * Allocations here that can fail (pages of data; IOMMU domains, mappings and attachments) count for
 * host_posix_fail_alloc() as those of pmap's host do: one sweep reaches all of them.
 */

#ifndef VMSPACE_POSIX_HOST_VM_POSIX_H
#define VMSPACE_POSIX_HOST_VM_POSIX_H

#include "pmap/posix/host_posix.h"
#include "vmspace/vm_host.h"

/* ---- Interrupts ----------------------------------------------------------------------------- */

/*
 * Interrupts the thread that is this CPU, or ends that. Until it is ended, interruptible sleep in
 * that thread returns -EINTR, also what has begun. A CPU number that changes hands is not
 * interrupted.
 */
void host_vm_posix_interrupt(unsigned int cpu, bool on);

/* ---- Memory --------------------------------------------------------------------------------- */

#define HOST_VM_POSIX_MEMORY_START HOST_POSIX_TABLES_END
#define HOST_VM_POSIX_MEMORY_BYTES ((uint64_t)256 << 20) /* unless it is set */
#define HOST_VM_POSIX_ORDER_MAX 9

/*
 * How much memory there is, in whole runs of the highest order. While no page is in use and no
 * other thread is inside. -EINVAL, -EBUSY, -ENOMEM.
 */
int host_vm_posix_set_memory(uint64_t bytes);
uint64_t host_vm_posix_memory_pages(void);

/* Pages in use. Exact when no other thread is inside. */
uint64_t host_vm_posix_pages_in_use(void);

/* Whether hpa is the address of a page in use. */
bool host_vm_posix_page_known(hpa_t hpa);

/* ---- Swap ----------------------------------------------------------------------------------- */

#define HOST_VM_POSIX_SWAP_SLOTS ((uint64_t)16384) /* unless it is set */

/* While the slots hold nothing of use: what they held is lost. 0 is no swap. -ENOMEM. */
int host_vm_posix_set_swap(uint64_t slots);

#define HOST_VM_POSIX_READ 1u
#define HOST_VM_POSIX_WRITE 2u

/*
 * Makes the nth request of these kinds from now on fail with -EIO (1 is the next one), in whatever
 * thread; if persistent, all later ones too. 0 ends it. Half of what it was about is done, the rest
 * is spoiled. What pagers read back counts, too.
 */
void host_vm_posix_fail_swap(unsigned int kinds, uint64_t nth, bool persistent);

struct host_vm_posix_swap_stats {
	uint64_t ss_reads; /* requests, those that failed included */
	uint64_t ss_writes;
	uint64_t ss_pages_read;
	uint64_t ss_pages_written;
	uint64_t ss_failed; /* by host_vm_posix_fail_swap() */
};

/* Since the start. Exact when no other thread is inside. */
void host_vm_posix_swap_stats(struct host_vm_posix_swap_stats *stats);

/* ---- Pagers --------------------------------------------------------------------------------- */

/* Whether there are any; at the start there are. While there is no vmspace. */
void host_vm_posix_set_pager(bool present);

/* Contents that pagers keep outside of memory. */
uint64_t host_vm_posix_pager_pages(void);

/* ---- IOMMU ---------------------------------------------------------------------------------- */

#define HOST_VM_POSIX_DEVICES 8 /* numbered from 0 */

/* Whether there is an IOMMU; at the start there is. While there is no domain. */
void host_vm_posix_set_iommu(bool present);

uint64_t host_vm_posix_iommu_domains(void);
uint64_t host_vm_posix_iommu_pages(void); /* mapped in all domains but the host's */

/* Frames that are missing in the host's domain. */
uint64_t host_vm_posix_iommu_hidden(void);

/* Whether the host's domain maps the frame. */
bool host_vm_posix_iommu_host_maps(hpa_t hpa);

/* The domain of a device, NULL for the host's. */
struct host_iommu *host_vm_posix_iommu_domain(uint64_t device);

/*
 * Calls fn for each page that is mapped in a domain, in no particular order. With stale, for each
 * one that a device may still reach until the flush, instead. fn must not call the library.
 */
void host_vm_posix_iommu_foreach(struct host_iommu *domain, bool stale,
				 void (*fn)(void *arg, gpa_t gpa, hpa_t hpa, unsigned int prot),
				 void *arg);

/*
 * An access by a device, at any length, through the domain that it is in. -ENOENT no such device;
 * -EFAULT a page that is not mapped there or not with this right (or, in the host's domain, no page
 * in use): pages before it were accessed.
 */
int host_vm_posix_dma_read(uint64_t device, gpa_t gpa, void *to, size_t len);
int host_vm_posix_dma_write(uint64_t device, gpa_t gpa, const void *from, size_t len);

#endif /* VMSPACE_POSIX_HOST_VM_POSIX_H */
