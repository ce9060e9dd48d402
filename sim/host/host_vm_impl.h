/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The simulated world, fourth part: the services of vmspace/vm_host.h. What happens there is the
 * affair of mutex.c, bytes.c, disk.c, pager.c and iommu.c in sim/machine/.
 */

#ifndef SIM_HOST_VM_IMPL_H
#define SIM_HOST_VM_IMPL_H

#include "sim/machine/machine_vm.h"

static inline void
host_mutex_init(struct host_mutex *m, unsigned int rank)
{
	sim_mutex_init(m, rank);
}

static inline void
host_mutex_lock(struct host_mutex *m)
{
	sim_mutex_lock(m);
}

static inline int
host_mutex_lock_interruptible(struct host_mutex *m)
{
	return sim_mutex_lock_interruptible(m);
}

static inline void
host_mutex_unlock(struct host_mutex *m)
{
	sim_mutex_unlock(m);
}

static inline bool
host_mutex_held(const struct host_mutex *m)
{
	return sim_mutex_held(m);
}

static inline void
host_event_init(struct host_event *e)
{
	sim_event_init(e);
}

static inline uint64_t
host_event_read(struct host_event *e)
{
	return sim_event_read(e);
}

static inline void
host_event_post(struct host_event *e)
{
	sim_event_post(e);
}

static inline int
host_event_wait(struct host_event *e, uint64_t seen, bool interruptible)
{
	return sim_event_wait(e, seen, interruptible);
}

static inline bool
host_interrupted(void)
{
	return sim_interrupted();
}

static inline bool
host_page_alloc(hpa_t *hpa, unsigned int order)
{
	return sim_page_alloc(hpa, order);
}

static inline void
host_page_free(hpa_t hpa, unsigned int order)
{
	sim_page_free(hpa, order);
}

static inline void
host_page_read(hpa_t hpa, uint64_t offset, void *to, size_t len)
{
	sim_page_read(hpa, offset, to, len);
}

static inline void
host_page_write(hpa_t hpa, uint64_t offset, const void *from, size_t len)
{
	sim_page_write(hpa, offset, from, len);
}

static inline void
host_page_zero(hpa_t hpa)
{
	sim_page_zero(hpa);
}

static inline void
host_page_copy(hpa_t to, hpa_t from)
{
	sim_page_copy(to, from);
}

static inline struct host_word *
host_page_word(hpa_t hpa, uint64_t offset)
{
	return (struct host_word *)sim_page_word(hpa, offset);
}

static inline uint64_t
host_swap_slots(void)
{
	return sim_swap_slots();
}

static inline int
host_swap_read(uint64_t slot, const hpa_t *frames, unsigned int n)
{
	return sim_swap_read(slot, frames, n);
}

static inline int
host_swap_write(uint64_t slot, const hpa_t *frames, unsigned int n)
{
	return sim_swap_write(slot, frames, n);
}

static inline bool
host_has_pager(void)
{
	return sim_has_pager();
}

static inline int
host_pager_create(uint64_t npages, struct host_pager **out)
{
	return sim_pager_create(npages, out);
}

static inline void
host_pager_destroy(struct host_pager *p)
{
	sim_pager_destroy(p);
}

static inline int
host_pager_getpage(struct host_pager *p, uint64_t index, hpa_t *hpa)
{
	return sim_pager_getpage(p, index, hpa);
}

static inline bool
host_pager_getrun(struct host_pager *p, uint64_t index, hpa_t *base)
{
	return sim_pager_getrun(p, index, base);
}

static inline void
host_pager_putpage(struct host_pager *p, uint64_t index, hpa_t hpa, bool dirty)
{
	sim_pager_putpage(p, index, hpa, dirty);
}

static inline void
host_pager_discard(struct host_pager *p, uint64_t index, uint64_t npages)
{
	sim_pager_discard(p, index, npages);
}

static inline int
host_iommu_create(struct host_iommu **domain)
{
	return sim_iommu_create(domain);
}

static inline void
host_iommu_destroy(struct host_iommu *domain)
{
	sim_iommu_destroy(domain);
}

static inline int
host_iommu_map(struct host_iommu *domain, gpa_t gpa, hpa_t hpa, uint64_t len, unsigned int prot)
{
	return sim_iommu_map(domain, gpa, hpa, len, prot);
}

static inline void
host_iommu_unmap(struct host_iommu *domain, gpa_t gpa, uint64_t len)
{
	sim_iommu_unmap(domain, gpa, len);
}

static inline void
host_iommu_flush(struct host_iommu *domain)
{
	sim_iommu_flush(domain);
}

static inline int
host_iommu_attach(struct host_iommu *domain, uint64_t device)
{
	return sim_iommu_attach(domain, device);
}

static inline void
host_iommu_detach(struct host_iommu *domain, uint64_t device)
{
	sim_iommu_detach(domain, device);
}

#endif /* SIM_HOST_VM_IMPL_H */
