/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What a host must provide to guest address spaces, beyond what page tables need (pmap/host.h).
 *
 * The same arrangement: <host_vm_types.h> brings the types struct host_mutex and struct host_event,
 * <host_vm_impl.h> the functions below as static inline, and the prototypes in between hold every
 * world to them.
 *
 * Context. Functions that may sleep say so: they are called without spin locks and outside epoch
 * sections. All others may be called inside an epoch section, and do not sleep.
 */

#ifndef VMSPACE_VM_HOST_H
#define VMSPACE_VM_HOST_H

#include "pmap/pt_fmt.h"

#include <host_vm_types.h>

/* ---- Sleeping ------------------------------------------------------------------------------- */

/*
 * A lock that may be slept with. rank orders mutexes among themselves as it does spin locks; a
 * mutex is never taken with a spin lock held. Both ways of locking may sleep; the interruptible one
 * returns -EINTR, lock not taken, if the thread is being killed or was signaled. No failure by
 * lack of memory.
 */
static inline void host_mutex_init(struct host_mutex *m, unsigned int rank);
static inline void host_mutex_lock(struct host_mutex *m);
static inline int host_mutex_lock_interruptible(struct host_mutex *m);
static inline void host_mutex_unlock(struct host_mutex *m);
static inline bool host_mutex_held(const struct host_mutex *m); /* by this thread; to assert */

/*
 * A count that threads wait for to change. Who waits reads the count, looks at the condition, and
 * sleeps until the count is another one: a post in between is not lost. A post is a full fence and
 * wakes all; it may be made in any context, in a critical section as well. host_event_wait() may
 * sleep; with interruptible it returns -EINTR as above, otherwise always 0. Waking up says nothing
 * about the condition.
 */
static inline void host_event_init(struct host_event *e);
static inline uint64_t host_event_read(struct host_event *e); /* acquire */
static inline void host_event_post(struct host_event *e);
static inline int host_event_wait(struct host_event *e, uint64_t seen, bool interruptible);

/* Whether host_event_wait(..., true) would return -EINTR now. Poll it in long loops. */
static inline bool host_interrupted(void);

/* ---- Pages of data -------------------------------------------------------------------------- */

/*
 * 2^order frames of 4 KiB, contiguous and aligned to their size, with undefined contents. False if
 * there are none now: the caller makes room or goes without. The frames of a run may be freed one
 * by one. host_page_free() takes back what no table, TLB, IOMMU or thread can reach any more.
 */
static inline bool host_page_alloc(hpa_t *hpa, unsigned int order);
static inline void host_page_free(hpa_t hpa, unsigned int order);

/*
 * The bytes of a frame. [offset, offset + len) lies within it. Not atomic, unordered: guests that
 * touch the same bytes meanwhile get what they deserve. Of copy and zero the frame written is not
 * mapped for anybody.
 */
static inline void host_page_read(hpa_t hpa, uint64_t offset, void *to, size_t len);
static inline void host_page_write(hpa_t hpa, uint64_t offset, const void *from, size_t len);
static inline void host_page_zero(hpa_t hpa);
static inline void host_page_copy(hpa_t to, hpa_t from);

/* The aligned word of a frame at offset, for entries of the guest's own page tables. */
static inline struct host_word *host_page_word(hpa_t hpa, uint64_t offset);

/* ---- Swap ----------------------------------------------------------------------------------- */

/*
 * The swap device, in slots of a page, numbered from 0. Reads and writes n consecutive slots from
 * or to the frames listed. May sleep. 0 or -EIO; after a failed write the slots hold anything,
 * after a failed read the frames do.
 */
static inline uint64_t host_swap_slots(void);
static inline int host_swap_read(uint64_t slot, const hpa_t *frames, unsigned int n);
static inline int host_swap_write(uint64_t slot, const hpa_t *frames, unsigned int n);

/* ---- IOMMU ---------------------------------------------------------------------------------- */

/*
 * Translation domains of devices. NULL is the host's own domain, in which every frame of memory is
 * mapped 1:1 and every device is until it is attached to another. Mappings are of whole pages;
 * mapping what is mapped, and unmapping what is not, is a mistake of the caller.
 *
 * In the host's own domain mapping gives back what unmapping took, and cannot fail. Frames are back
 * there before they are freed.
 *
 * An unmapped page can be reached by a device until host_iommu_flush() of the domain has returned.
 * All may sleep. -ENOMEM; host_iommu_create(): -ENXIO without an IOMMU; host_iommu_attach():
 * -ENOENT for a device that does not exist, -EBUSY for one that is in another guest's domain. A
 * device that is detached goes back to the host's domain; it makes no accesses through the old one
 * after that.
 */
struct host_iommu;

static inline int host_iommu_create(struct host_iommu **domain);
static inline void host_iommu_destroy(struct host_iommu *domain);
static inline int host_iommu_map(struct host_iommu *domain, gpa_t gpa, hpa_t hpa, uint64_t len,
				 unsigned int prot);
static inline void host_iommu_unmap(struct host_iommu *domain, gpa_t gpa, uint64_t len);
static inline void host_iommu_flush(struct host_iommu *domain);
static inline int host_iommu_attach(struct host_iommu *domain, uint64_t device);
static inline void host_iommu_detach(struct host_iommu *domain, uint64_t device);

#include <host_vm_impl.h>

#endif /* VMSPACE_VM_HOST_H */
