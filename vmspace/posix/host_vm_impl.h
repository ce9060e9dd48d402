/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The POSIX world of vmspace, second half: what vmspace/vm_host.h declares.
 *
 * Little of this is hot, so most of it is a call: host_vm_sleep.c (mutexes and events),
 * host_vm_pages.c, host_vm_bytes.c, host_vm_swap.c, host_vm_pager.c and host_vm_iommu.c.
 */

#ifndef VMSPACE_POSIX_HOST_VM_IMPL_H
#define VMSPACE_POSIX_HOST_VM_IMPL_H

int host_vm_posix_lock(struct host_mutex *m, bool interruptible);
void host_vm_posix_unlock(struct host_mutex *m);
void host_vm_posix_post(struct host_event *e);
int host_vm_posix_wait(struct host_event *e, uint64_t seen, bool interruptible);
bool host_vm_posix_page_alloc(hpa_t *hpa, unsigned int order);
void host_vm_posix_page_free(hpa_t hpa, unsigned int order);
void host_vm_posix_page_read(hpa_t hpa, uint64_t offset, void *to, size_t len);
void host_vm_posix_page_write(hpa_t hpa, uint64_t offset, const void *from, size_t len);
void host_vm_posix_page_zero(hpa_t hpa);
void host_vm_posix_page_copy(hpa_t to, hpa_t from);
struct host_word *host_vm_posix_page_word(hpa_t hpa, uint64_t offset);
uint64_t host_vm_posix_swap_slots(void);
int host_vm_posix_swap_read(uint64_t slot, const hpa_t *frames, unsigned int n);
int host_vm_posix_swap_write(uint64_t slot, const hpa_t *frames, unsigned int n);
bool host_vm_posix_has_pager(void);
int host_vm_posix_pager_create(uint64_t npages, struct host_pager **out);
void host_vm_posix_pager_destroy(struct host_pager *p);
int host_vm_posix_pager_getpage(struct host_pager *p, uint64_t index, hpa_t *hpa);
bool host_vm_posix_pager_getrun(struct host_pager *p, uint64_t index, hpa_t *base);
void host_vm_posix_pager_putpage(struct host_pager *p, uint64_t index, hpa_t hpa, bool dirty);
void host_vm_posix_pager_discard(struct host_pager *p, uint64_t index, uint64_t npages);
int host_vm_posix_iommu_create(struct host_iommu **domain);
void host_vm_posix_iommu_destroy(struct host_iommu *domain);
int host_vm_posix_iommu_map(struct host_iommu *domain, gpa_t gpa, hpa_t hpa, uint64_t len,
			    unsigned int prot);
void host_vm_posix_iommu_unmap(struct host_iommu *domain, gpa_t gpa, uint64_t len);
void host_vm_posix_iommu_flush(struct host_iommu *domain);
int host_vm_posix_iommu_attach(struct host_iommu *domain, uint64_t device);
void host_vm_posix_iommu_detach(struct host_iommu *domain, uint64_t device);

/* ---- Sleeping ------------------------------------------------------------------------------ */

#define HOST_VM_POSIX_OWNER ((uint64_t)UINT32_MAX) /* the part of a mutex that says who holds it */

static inline void
host_mutex_init(struct host_mutex *m, unsigned int rank)
{
	host_store(&m->hm_state, 0);
	m->hm_rank = rank;
	HOST_HG_LOCK_INIT(m);
}

static inline void
host_mutex_lock(struct host_mutex *m)
{
	(void)host_vm_posix_lock(m, false);
}

static inline int
host_mutex_lock_interruptible(struct host_mutex *m)
{
	return host_vm_posix_lock(m, true);
}

static inline void
host_mutex_unlock(struct host_mutex *m)
{
	host_vm_posix_unlock(m);
}

static inline bool
host_mutex_held(const struct host_mutex *m)
{
	return (host_load(&m->hm_state) & HOST_VM_POSIX_OWNER) == (uint64_t)host_cpu() + 1;
}

static inline void
host_event_init(struct host_event *e)
{
	host_store(&e->he_state, 0);
}

static inline uint64_t
host_event_read(struct host_event *e)
{
	return host_load_acquire(&e->he_state) >> 1;
}

static inline void
host_event_post(struct host_event *e)
{
	host_vm_posix_post(e);
}

static inline int
host_event_wait(struct host_event *e, uint64_t seen, bool interruptible)
{
	return host_vm_posix_wait(e, seen, interruptible);
}

static inline bool
host_interrupted(void)
{
	return host_load_acquire(&host_posix_this()->pc_interrupted) != 0;
}

/* ---- Pages of data ------------------------------------------------------------------------- */

static inline bool
host_page_alloc(hpa_t *hpa, unsigned int order)
{
	return host_vm_posix_page_alloc(hpa, order);
}

static inline void
host_page_free(hpa_t hpa, unsigned int order)
{
	host_vm_posix_page_free(hpa, order);
}

static inline void
host_page_read(hpa_t hpa, uint64_t offset, void *to, size_t len)
{
	host_vm_posix_page_read(hpa, offset, to, len);
}

static inline void
host_page_write(hpa_t hpa, uint64_t offset, const void *from, size_t len)
{
	host_vm_posix_page_write(hpa, offset, from, len);
}

static inline void
host_page_zero(hpa_t hpa)
{
	host_vm_posix_page_zero(hpa);
}

static inline void
host_page_copy(hpa_t to, hpa_t from)
{
	host_vm_posix_page_copy(to, from);
}

static inline struct host_word *
host_page_word(hpa_t hpa, uint64_t offset)
{
	return host_vm_posix_page_word(hpa, offset);
}

/* ---- Swap ---------------------------------------------------------------------------------- */

static inline uint64_t
host_swap_slots(void)
{
	return host_vm_posix_swap_slots();
}

static inline int
host_swap_read(uint64_t slot, const hpa_t *frames, unsigned int n)
{
	return host_vm_posix_swap_read(slot, frames, n);
}

static inline int
host_swap_write(uint64_t slot, const hpa_t *frames, unsigned int n)
{
	return host_vm_posix_swap_write(slot, frames, n);
}

/* ---- Pagers -------------------------------------------------------------------------------- */

static inline bool
host_has_pager(void)
{
	return host_vm_posix_has_pager();
}

static inline int
host_pager_create(uint64_t npages, struct host_pager **out)
{
	return host_vm_posix_pager_create(npages, out);
}

static inline void
host_pager_destroy(struct host_pager *p)
{
	host_vm_posix_pager_destroy(p);
}

static inline int
host_pager_getpage(struct host_pager *p, uint64_t index, hpa_t *hpa)
{
	return host_vm_posix_pager_getpage(p, index, hpa);
}

static inline bool
host_pager_getrun(struct host_pager *p, uint64_t index, hpa_t *base)
{
	return host_vm_posix_pager_getrun(p, index, base);
}

static inline void
host_pager_putpage(struct host_pager *p, uint64_t index, hpa_t hpa, bool dirty)
{
	host_vm_posix_pager_putpage(p, index, hpa, dirty);
}

static inline void
host_pager_discard(struct host_pager *p, uint64_t index, uint64_t npages)
{
	host_vm_posix_pager_discard(p, index, npages);
}

/* ---- IOMMU --------------------------------------------------------------------------------- */

static inline int
host_iommu_create(struct host_iommu **domain)
{
	return host_vm_posix_iommu_create(domain);
}

static inline void
host_iommu_destroy(struct host_iommu *domain)
{
	host_vm_posix_iommu_destroy(domain);
}

static inline int
host_iommu_map(struct host_iommu *domain, gpa_t gpa, hpa_t hpa, uint64_t len, unsigned int prot)
{
	return host_vm_posix_iommu_map(domain, gpa, hpa, len, prot);
}

static inline void
host_iommu_unmap(struct host_iommu *domain, gpa_t gpa, uint64_t len)
{
	host_vm_posix_iommu_unmap(domain, gpa, len);
}

static inline void
host_iommu_flush(struct host_iommu *domain)
{
	host_vm_posix_iommu_flush(domain);
}

static inline int
host_iommu_attach(struct host_iommu *domain, uint64_t device)
{
	return host_vm_posix_iommu_attach(domain, device);
}

static inline void
host_iommu_detach(struct host_iommu *domain, uint64_t device)
{
	host_vm_posix_iommu_detach(domain, device);
}

#endif /* VMSPACE_POSIX_HOST_VM_IMPL_H */
