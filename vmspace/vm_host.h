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

/* ---- Pagers --------------------------------------------------------------------------------- */

/*
 * Where the host keeps the pages of one object of system memory, if a guest wants it so
 * (VM_HOST_PAGER): frames come from there with their contents in them, and go back there. Neither
 * host_page_alloc() nor the swap device have to do with such a page. Pages are numbered from 0.
 *
 * A page is got, used, and put, as often as it was got: a run and a single page of it may be got at
 * the same time. From the first get to the last put it stays in one frame, the same for all. What
 * the host does with a page that nobody has is its own affair: another frame, a disk, compression.
 * The contents of a page that was never put dirty are zeros.
 *
 * host_has_pager(): any context; if it is false the others are not called. Of the others
 * host_pager_putpage() alone does not sleep.
 *
 * host_pager_create(): -ENOMEM. host_pager_destroy(): every page was put; the contents are lost.
 *
 * host_pager_getpage(): -ENOMEM: not now, the caller makes room and asks again. -EIO: the contents
 * cannot be read; they are not lost, another try may succeed. -EINTR as host_event_wait(). After a
 * failure the page is not got.
 *
 * host_pager_getrun(): 512 pages from an index on that is a multiple of 512, all within the object,
 * if they lie, or can be made to lie without much ado, in 512 contiguous frames aligned to 2 MiB.
 * Each is got, and put on its own. False: none is got.
 *
 * host_pager_putpage(): the caller, every CPU and every device are through with the frame. dirty:
 * its bytes may differ from those that were got, and are the contents now; this cannot fail.
 * Otherwise they are the same, or will be discarded before the page is got anew.
 *
 * host_pager_discard(): the contents are zeros from now on, and take no memory if that can be done.
 * Cannot fail. A page of the range may be got as part of a run, and be in no use otherwise: it
 * stays in its frame, which becomes zeros. Pages beside the range that are got stay as they are,
 * frame and contents, also if they are neighbors in the same large page of the host.
 */
struct host_pager;

static inline bool host_has_pager(void);
static inline int host_pager_create(uint64_t npages, struct host_pager **out);
static inline void host_pager_destroy(struct host_pager *p);
static inline int host_pager_getpage(struct host_pager *p, uint64_t index, hpa_t *hpa);
static inline bool host_pager_getrun(struct host_pager *p, uint64_t index, hpa_t *base);
static inline void host_pager_putpage(struct host_pager *p, uint64_t index, hpa_t hpa, bool dirty);
static inline void host_pager_discard(struct host_pager *p, uint64_t index, uint64_t npages);

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
