/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The Linux world's cold half (host_linux*.c), and what the rest of the module needs of it: bring
 * it up, take it down, ask what it still holds.
 *
 * Counts of what the core has from the kernel are exact, and must be zero when it is taken down.
 */

#ifndef KMOD_HOST_LINUX_H
#define KMOD_HOST_LINUX_H

#include <linux/percpu.h>
#include <linux/preempt.h>

#include "host_types.h"

struct device;

/* ---- For vmm_main.c -------------------------------------------------------------------------- */

/* Before any use of the core. 0, -ENOMEM, or -EINVAL with a sentence in the log. May sleep. */
int host_linux_init(void);

/* After the last use. Waits for all that was deferred; tells of what is still held then: a bug. */
void host_linux_fini(void);

struct host_linux_held_pages {
	long hp_tables; /* page-table pages */
	long hp_frames; /* of host_page_alloc() */
	long hp_allocs; /* of host_alloc() */
	long hp_pagers; /* of host_pager_create() */
	long hp_paged;	/* references to frames of pagers */
};

void host_linux_held_pages(struct host_linux_held_pages *hp);

/* Domains of the IOMMU that exist: of machines that have a device. */
long host_linux_iommu_domains(void);
/* What the IOMMU told of an access that it refused; set once. 0: it was told on. */
extern int (*host_linux_iommu_fault)(struct device *dev, unsigned long iova, int flags);

/* ---- For host_impl.h ------------------------------------------------------------------------- */

void host_linux_kick(unsigned int cpu);
void host_linux_no_x86(const char *what);
void host_linux_trace(unsigned int event, uint64_t a, uint64_t b, uint64_t c);
void host_linux_epoch_defer(struct host_epoch_item *item, void (*fn)(struct host_epoch_item *item));
void host_linux_epoch_drain(void);
bool host_linux_table_alloc(uint64_t *hpa);
void host_linux_table_free(uint64_t hpa);
void *host_linux_alloc(size_t bytes);
void host_linux_free(void *p);

/* Locks that one CPU may hold at a time: one for each level, and the small ones. */
#define HOST_LINUX_LOCKS_MAX 16

struct host_linux_cpu {
	unsigned int lc_nest; /* open epoch sections */
	unsigned int lc_held; /* locks held */
	const struct host_lock *lc_locks[HOST_LINUX_LOCKS_MAX];
};

DECLARE_PER_CPU(struct host_linux_cpu, host_linux_cpu);

#if PMAP_CHECK >= 1 || !defined(CONFIG_PREEMPT_COUNT)
static inline void
host_linux_nest(int by)
{
	HOST_ASSERT(by > 0 || this_cpu_read(host_linux_cpu.lc_nest) > 0);
	this_cpu_add(host_linux_cpu.lc_nest, by);
}

/* Another thread's, if this one may be preempted; then it is in no section itself. */
static inline unsigned int
host_linux_nest_count(void)
{
	return preemptible() ? 0 : this_cpu_read(host_linux_cpu.lc_nest);
}

static inline bool
host_linux_epoch_held(void)
{
	return host_linux_nest_count() > 0;
}
#else
static inline void
host_linux_nest(int by)
{
}

static inline unsigned int
host_linux_nest_count(void)
{
	return 0; /* not counted */
}

static inline bool
host_linux_epoch_held(void)
{
	return true; /* for all we know */
}
#endif

#if PMAP_CHECK >= 1
/* Whether l comes after every lock that this CPU holds. With preemption off. */
bool host_linux_lock_in_order(const struct host_lock *l);
void host_linux_locking(const struct host_lock *l);
void host_linux_unlocking(const struct host_lock *l);

static inline unsigned int
host_linux_held_count(void)
{
	return preemptible() ? 0 : this_cpu_read(host_linux_cpu.lc_held);
}
#else
static inline unsigned int
host_linux_held_count(void)
{
	return 0; /* not counted */
}

static inline bool
host_linux_lock_in_order(const struct host_lock *l)
{
	return true;
}

static inline void
host_linux_locking(const struct host_lock *l)
{
}

static inline void
host_linux_unlocking(const struct host_lock *l)
{
}
#endif

#endif /* KMOD_HOST_LINUX_H */
