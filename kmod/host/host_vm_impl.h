/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The Linux world of vmspace, second half: what vmspace/vm_host.h declares.
 *
 * Frames are ordinary memory, which this kernel maps whole, so their bytes are at an address.
 *
 * There is no swap device here: what is paged out is in the files that hold the guests' memory
 * (host_pager), and Linux swaps those as it does all others. Domains of the IOMMU are
 * Linux's (host_linux_iommu.c), and the host's own domain is not ours to change.
 */

#ifndef KMOD_HOST_VM_IMPL_H
#define KMOD_HOST_VM_IMPL_H

#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <asm/page.h>

void host_linux_mutex_init(struct host_mutex *m, unsigned int rank);
void host_linux_event_init(struct host_event *e);
void host_linux_event_post(struct host_event *e);
int host_linux_event_wait(struct host_event *e, uint64_t seen, bool interruptible);
bool host_linux_page_alloc(hpa_t *hpa, unsigned int order);
void host_linux_page_free(hpa_t hpa, unsigned int order);
int host_linux_pager_create(uint64_t npages, struct host_pager **out);
void host_linux_pager_destroy(struct host_pager *p);
int host_linux_pager_getpage(struct host_pager *p, uint64_t index, hpa_t *hpa);
bool host_linux_pager_getrun(struct host_pager *p, uint64_t index, hpa_t *base);
void host_linux_pager_putpage(struct host_pager *p, uint64_t index, hpa_t hpa, bool dirty);
void host_linux_pager_discard(struct host_pager *p, uint64_t index, uint64_t npages);
int host_linux_iommu_create(struct host_iommu **out);
void host_linux_iommu_destroy(struct host_iommu *hi);
int host_linux_iommu_map(struct host_iommu *hi, gpa_t gpa, hpa_t hpa, uint64_t len,
			 unsigned int prot);
void host_linux_iommu_unmap(struct host_iommu *hi, gpa_t gpa, uint64_t len);
int host_linux_iommu_attach(struct host_iommu *hi, uint64_t device);
void host_linux_iommu_detach(struct host_iommu *hi, uint64_t device);

/* ---- Sleeping ------------------------------------------------------------------------------ */

static inline void
host_mutex_init(struct host_mutex *m, unsigned int rank)
{
	host_linux_mutex_init(m, rank);
}

static inline void
host_mutex_lock(struct host_mutex *m)
{
	mutex_lock(&m->hm_mutex);
	WRITE_ONCE(m->hm_owner, current);
}

static inline int
host_mutex_lock_interruptible(struct host_mutex *m)
{
	const int error = mutex_lock_interruptible(&m->hm_mutex);

	if (error == 0)
		WRITE_ONCE(m->hm_owner, current);
	return error;
}

static inline void
host_mutex_unlock(struct host_mutex *m)
{
	WRITE_ONCE(m->hm_owner, NULL);
	mutex_unlock(&m->hm_mutex);
}

static inline bool
host_mutex_held(const struct host_mutex *m)
{
	return READ_ONCE(m->hm_owner) == current;
}

static inline void
host_event_init(struct host_event *e)
{
	host_linux_event_init(e);
}

static inline uint64_t
host_event_read(struct host_event *e)
{
	return atomic64_read_acquire(&e->he_count);
}

static inline void
host_event_post(struct host_event *e)
{
	host_linux_event_post(e);
}

static inline int
host_event_wait(struct host_event *e, uint64_t seen, bool interruptible)
{
	return host_linux_event_wait(e, seen, interruptible);
}

static inline bool
host_interrupted(void)
{
	return signal_pending(current);
}

/* ---- Pages of data ------------------------------------------------------------------------- */

static inline bool
host_page_alloc(hpa_t *hpa, unsigned int order)
{
	return host_linux_page_alloc(hpa, order);
}

static inline void
host_page_free(hpa_t hpa, unsigned int order)
{
	host_linux_page_free(hpa, order);
}

static inline void
host_page_read(hpa_t hpa, uint64_t offset, void *to, size_t len)
{
	HOST_ASSERT(offset <= HOST_PAGE_SIZE && len <= HOST_PAGE_SIZE - offset);
	memcpy(to, (const char *)__va(hpa) + offset, len);
}

static inline void
host_page_write(hpa_t hpa, uint64_t offset, const void *from, size_t len)
{
	HOST_ASSERT(offset <= HOST_PAGE_SIZE && len <= HOST_PAGE_SIZE - offset);
	memcpy((char *)__va(hpa) + offset, from, len);
}

static inline void
host_page_zero(hpa_t hpa)
{
	clear_page(__va(hpa));
}

static inline void
host_page_copy(hpa_t to, hpa_t from)
{
	copy_page(__va(to), __va(from));
}

static inline struct host_word *
host_page_word(hpa_t hpa, uint64_t offset)
{
	HOST_ASSERT(offset < HOST_PAGE_SIZE && offset % sizeof(struct host_word) == 0);
	return (struct host_word *)((char *)__va(hpa) + offset);
}

/* ---- Swap ---------------------------------------------------------------------------------- */

static inline uint64_t
host_swap_slots(void)
{
	return 0;
}

static inline int
host_swap_read(uint64_t slot, const hpa_t *frames, unsigned int n)
{
	return -EIO;
}

static inline int
host_swap_write(uint64_t slot, const hpa_t *frames, unsigned int n)
{
	return -EIO;
}

/* ---- Pagers -------------------------------------------------------------------------------- */

static inline bool
host_has_pager(void)
{
	return true;
}

static inline int
host_pager_create(uint64_t npages, struct host_pager **out)
{
	return host_linux_pager_create(npages, out);
}

static inline void
host_pager_destroy(struct host_pager *p)
{
	host_linux_pager_destroy(p);
}

static inline int
host_pager_getpage(struct host_pager *p, uint64_t index, hpa_t *hpa)
{
	might_sleep();
	return host_linux_pager_getpage(p, index, hpa);
}

static inline bool
host_pager_getrun(struct host_pager *p, uint64_t index, hpa_t *base)
{
	might_sleep();
	return host_linux_pager_getrun(p, index, base);
}

static inline void
host_pager_putpage(struct host_pager *p, uint64_t index, hpa_t hpa, bool dirty)
{
	host_linux_pager_putpage(p, index, hpa, dirty);
}

static inline void
host_pager_discard(struct host_pager *p, uint64_t index, uint64_t npages)
{
	might_sleep();
	host_linux_pager_discard(p, index, npages);
}

/* ---- IOMMU --------------------------------------------------------------------------------- */

static inline int
host_iommu_create(struct host_iommu **domain)
{
	might_sleep();
	return host_linux_iommu_create(domain);
}

static inline void
host_iommu_destroy(struct host_iommu *domain)
{
	host_linux_iommu_destroy(domain);
}

static inline int
host_iommu_map(struct host_iommu *domain, gpa_t gpa, hpa_t hpa, uint64_t len, unsigned int prot)
{
	return domain ? host_linux_iommu_map(domain, gpa, hpa, len, prot) : 0;
}

static inline void
host_iommu_unmap(struct host_iommu *domain, gpa_t gpa, uint64_t len)
{
	if (domain)
		host_linux_iommu_unmap(domain, gpa, len);
}

static inline void
host_iommu_flush(struct host_iommu *domain)
{
	/* host_iommu_unmap() has done it. */
}

static inline int
host_iommu_attach(struct host_iommu *domain, uint64_t device)
{
	return host_linux_iommu_attach(domain, device);
}

static inline void
host_iommu_detach(struct host_iommu *domain, uint64_t device)
{
	host_linux_iommu_detach(domain, device);
}

#endif /* KMOD_HOST_VM_IMPL_H */
