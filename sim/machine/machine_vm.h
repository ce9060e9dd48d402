/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The simulated machine, continued: what guest address spaces ask of a host (vmspace/vm_host.h).
 * Threads that sleep and are signaled, the bytes of data frames, a disk, an IOMMU and the devices
 * behind it.
 *
 * Devices act by themselves. The disk works on all its requests at a time, page by page, in any
 * order. An IOMMU may have cached any mapping that existed while a device was attached: what is
 * unmapped stays within reach until a flush, and that is the worst any cache could do, so no cache
 * is simulated. The host's own domain maps each frame until the host unmaps it.
 */

#ifndef SIM_MACHINE_VM_H
#define SIM_MACHINE_VM_H

#include "sim/machine/machine.h"

struct host_mutex;
struct host_event;
struct host_iommu;
struct host_pager;

/* ---- Signals ------------------------------------------------------------------------------- */

/*
 * A thread that was signaled, by sim_signal() or by SIM_FAULT_INTERRUPT, stays so: every wait that
 * can be interrupted ends with -EINTR until sim_signal_clear(), which a program calls on its CPU
 * when an operation is over (where a real one would return to user space). The driver likewise: it
 * meets injected signals, too. A program begins without one.
 */
void sim_signal(unsigned int cpu);
void sim_signal_clear(void);

/* ---- What the host does to bytes ------------------------------------------------------------ */

/*
 * Called at the instant at which host_page_read() or host_page_write() has read or written `len`
 * bytes at `hpa`, which lie in one frame; it must only look. NULL: no hook.
 */
typedef void sim_copy_fn(void *arg, uint64_t hpa, const void *bytes, size_t len, bool write);
void sim_set_copy_hook(sim_copy_fn *hook, void *arg);

/* ---- Devices that do DMA ------------------------------------------------------------------- */

/*
 * Called at the instant at which a device reaches the word at gpa, in the step of an agent: it does
 * the access (sim_data_load(), sim_data_store()) and judges it. While there is a hook, devices
 * attached to guests' domains read and write aligned words of them at random. NULL: they are still.
 */
typedef void sim_dma_fn(void *arg, unsigned int device, uint64_t gpa, uint64_t hpa, bool write);
void sim_set_dma_hook(sim_dma_fn *hook, void *arg);

/*
 * Calls fn for every page that devices may reach in a guest's domain, in no particular order; stale
 * ones are unmapped, but not flushed. prot is PMAP_PROT_R, PMAP_PROT_W, or both. fn may end the
 * run, but not change the domain.
 */
typedef void sim_iommu_fn(void *arg, uint64_t gpa, uint64_t hpa, unsigned int prot, bool stale);
void sim_iommu_foreach(const struct host_iommu *domain, sim_iommu_fn *fn, void *arg);

/* The domain a device is attached to; NULL: the host's own. */
struct host_iommu *sim_iommu_of_device(unsigned int device);

/* Whether a device in the host's domain may reach the frame of an address. */
bool sim_iommu_host_maps(uint64_t hpa);

/* Guests' domains that exist; pages that are unmapped or stale in the host's domain. */
unsigned int sim_iommu_domains(void);
uint64_t sim_iommu_host_missing(void);

/* ---- The disk ------------------------------------------------------------------------------ */

/*
 * The 4096 bytes of a slot, for oracles: no point, no trace; SIM_PAGE_POISON if it was never
 * written. NULL: no such slot.
 */
const void *sim_swap_bytes(uint64_t slot);

/* ---- Behind the host contract (sim/host/host_vm_impl.h) ------------------------------------ */

void sim_mutex_init(struct host_mutex *x, unsigned int rank);
void sim_mutex_lock(struct host_mutex *x);
int sim_mutex_lock_interruptible(struct host_mutex *x);
void sim_mutex_unlock(struct host_mutex *x);
bool sim_mutex_held(const struct host_mutex *x);

void sim_event_init(struct host_event *e);
uint64_t sim_event_read(struct host_event *e);
void sim_event_post(struct host_event *e);
int sim_event_wait(struct host_event *e, uint64_t seen, bool interruptible);
bool sim_interrupted(void);

/*
 * The bytes are read and written at one instant, behind the point: others see a write at once, so
 * nothing may be taken to come before it that the CPU's buffer still holds.
 */
bool sim_page_alloc(uint64_t *hpa, unsigned int order);
void sim_page_free(uint64_t hpa, unsigned int order);
void sim_page_read(uint64_t hpa, uint64_t offset, void *to, size_t len);
void sim_page_write(uint64_t hpa, uint64_t offset, const void *from, size_t len);
void sim_page_zero(uint64_t hpa);
void sim_page_copy(uint64_t to, uint64_t from);
uint64_t *sim_page_word(uint64_t hpa, uint64_t offset); /* no point */

uint64_t sim_swap_slots(void);
int sim_swap_read(uint64_t slot, const uint64_t *frames, unsigned int n);
int sim_swap_write(uint64_t slot, const uint64_t *frames, unsigned int n);

bool sim_has_pager(void);
int sim_pager_create(uint64_t npages, struct host_pager **out);
void sim_pager_destroy(struct host_pager *p);
int sim_pager_getpage(struct host_pager *p, uint64_t index, uint64_t *hpa);
bool sim_pager_getrun(struct host_pager *p, uint64_t index, uint64_t *base);
void sim_pager_putpage(struct host_pager *p, uint64_t index, uint64_t hpa, bool dirty);
void sim_pager_discard(struct host_pager *p, uint64_t index, uint64_t npages);

int sim_iommu_create(struct host_iommu **domain);
void sim_iommu_destroy(struct host_iommu *domain);
int sim_iommu_map(struct host_iommu *domain, uint64_t gpa, uint64_t hpa, uint64_t len,
		  unsigned int prot);
void sim_iommu_unmap(struct host_iommu *domain, uint64_t gpa, uint64_t len);
void sim_iommu_flush(struct host_iommu *domain);
int sim_iommu_attach(struct host_iommu *domain, uint64_t device);
void sim_iommu_detach(struct host_iommu *domain, uint64_t device);

#endif /* SIM_MACHINE_VM_H */
