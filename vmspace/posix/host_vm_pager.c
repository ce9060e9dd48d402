/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Pagers: contents in memory of the process, frames from the arena.
 *
 * A frame is given back at the last put, so that who uses it afterwards is found as quickly as with
 * any other page (host_vm_pages.c), and a page that was put clean has the contents that it had
 * before it was got, whatever was written to it meanwhile. Reading back counts as reading from swap
 * and can be made to fail like that.
 */

#include "vmspace/posix/host_vm_priv.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#define RUN_ORDER 9
#define RUN_PAGES ((uint64_t)1 << RUN_ORDER)

struct pager_page {
	hpa_t pp_hpa; /* 0: in no frame */
	uint32_t pp_got;
	bool pp_stored; /* contents are in the store; otherwise they are zeros */
	bool pp_dirty;	/* was put dirty while others had it, too */
};

struct host_pager {
	pthread_mutex_t pr_mutex;
	uint64_t pr_npages;
	struct pager_page *pr_pages;
	uint64_t pr_kept; /* that are pp_stored */
	char *pr_store;
};

static struct host_word absent;
static struct host_word kept; /* of all pagers */

void
host_vm_posix_set_pager(bool present)
{
	host_store(&absent, !present);
}

bool
host_vm_posix_has_pager(void)
{
	return host_load(&absent) == 0;
}

uint64_t
host_vm_posix_pager_pages(void)
{
	return host_load(&kept);
}

/* With the mutex held. */
static void
set_stored(struct host_pager *p, uint64_t index, bool stored)
{
	if (p->pr_pages[index].pp_stored == stored)
		return;
	p->pr_pages[index].pp_stored = stored;
	p->pr_kept += stored ? 1 : ~(uint64_t)0;
	host_fetch_add(&kept, stored ? 1 : ~(uint64_t)0);
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* Zeros; pages that are never touched cost nothing. NULL: no memory. */
static void *
map_zeros(uint64_t n, size_t bytes_each)
{
	void *p;

	if (n == 0 || n > SIZE_MAX / bytes_each)
		return NULL;
	p = mmap(NULL, n * bytes_each, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p != MAP_FAILED ? p : NULL;
}

int
host_vm_posix_pager_create(uint64_t npages, struct host_pager **out)
{
	struct host_pager *p;

	HOST_ASSERT(host_vm_may_sleep());
	p = host_alloc(sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	p->pr_npages = npages;
	p->pr_pages = map_zeros(npages, sizeof(*p->pr_pages));
	p->pr_store = map_zeros(npages, HOST_PAGE_SIZE);
	if (p->pr_pages == NULL || p->pr_store == NULL) {
		if (p->pr_pages != NULL)
			munmap(p->pr_pages, npages * sizeof(*p->pr_pages));
		if (p->pr_store != NULL)
			munmap(p->pr_store, npages * HOST_PAGE_SIZE);
		host_free(p, sizeof(*p));
		return -ENOMEM;
	}
	pthread_mutex_init(&p->pr_mutex, NULL);
	*out = p;
	return 0;
}

/* A page that was not put shows as one that is in use at the end. */
void
host_vm_posix_pager_destroy(struct host_pager *p)
{
	HOST_ASSERT(host_vm_may_sleep());
	host_fetch_add(&kept, -p->pr_kept);
	pthread_mutex_destroy(&p->pr_mutex);
	munmap(p->pr_pages, p->pr_npages * sizeof(*p->pr_pages));
	munmap(p->pr_store, p->pr_npages * HOST_PAGE_SIZE);
	host_free(p, sizeof(*p));
}

/* ---- In -------------------------------------------------------------------------------------- */

static char *
stored_bytes(struct host_pager *p, uint64_t index)
{
	return p->pr_store + index * HOST_PAGE_SIZE;
}

/* What a read of n pages comes to: it takes time, and may fail. */
static int
begin_read(unsigned int n)
{
	if (host_interrupted())
		return -EINTR;
	return host_vm_io_begin(HOST_VM_POSIX_READ, n) < n ? -EIO : 0;
}

static void
fill(struct host_pager *p, uint64_t index, hpa_t hpa)
{
	struct pager_page *const pp = &p->pr_pages[index];

	if (pp->pp_stored)
		memcpy(host_vm_bytes(hpa), stored_bytes(p, index), HOST_PAGE_SIZE);
	else
		memset(host_vm_bytes(hpa), 0, HOST_PAGE_SIZE);
	pp->pp_hpa = hpa;
}

/* With the mutex held. */
static int
bring_in(struct host_pager *p, uint64_t index)
{
	int error = p->pr_pages[index].pp_stored ? begin_read(1) : 0;
	hpa_t hpa;

	if (error != 0)
		return error;
	if (!host_vm_posix_page_alloc(&hpa, 0))
		return -ENOMEM;
	fill(p, index, hpa);
	return 0;
}

int
host_vm_posix_pager_getpage(struct host_pager *p, uint64_t index, hpa_t *hpa)
{
	struct pager_page *const pp = &p->pr_pages[index];
	int error = 0;

	HOST_ASSERT(host_vm_may_sleep());
	HOST_ASSERT(index < p->pr_npages);
	sched_yield(); /* others act meanwhile */
	pthread_mutex_lock(&p->pr_mutex);
	if (pp->pp_got == 0)
		error = bring_in(p, index);
	if (error == 0) {
		pp->pp_got++;
		*hpa = pp->pp_hpa;
	}
	pthread_mutex_unlock(&p->pr_mutex);
	return error;
}

/* With the mutex held: all of it, or nothing. */
static bool
bring_in_run(struct host_pager *p, uint64_t index, hpa_t *base)
{
	unsigned int stored = 0;

	for (uint64_t i = 0; i < RUN_PAGES; i++) {
		if (p->pr_pages[index + i].pp_got != 0)
			return false;
		stored += p->pr_pages[index + i].pp_stored;
	}
	if ((stored != 0 && begin_read(stored) != 0) || !host_vm_posix_page_alloc(base, RUN_ORDER))
		return false;
	for (uint64_t i = 0; i < RUN_PAGES; i++) {
		fill(p, index + i, *base + i * HOST_PAGE_SIZE);
		p->pr_pages[index + i].pp_got = 1;
	}
	return true;
}

/* The run of a chunk that has been brought in, and is all there, is got once more. */
static bool
share_run(struct host_pager *p, uint64_t index, hpa_t *base)
{
	*base = p->pr_pages[index].pp_hpa;
	for (uint64_t i = 0; i < RUN_PAGES; i++) {
		if (p->pr_pages[index + i].pp_got == 0 ||
		    p->pr_pages[index + i].pp_hpa != *base + i * HOST_PAGE_SIZE)
			return false;
	}
	if (*base % (RUN_PAGES * HOST_PAGE_SIZE) != 0)
		return false;
	for (uint64_t i = 0; i < RUN_PAGES; i++)
		p->pr_pages[index + i].pp_got++;
	return true;
}

bool
host_vm_posix_pager_getrun(struct host_pager *p, uint64_t index, hpa_t *base)
{
	bool got;

	HOST_ASSERT(host_vm_may_sleep());
	HOST_ASSERT(index % RUN_PAGES == 0 && index < p->pr_npages &&
		    p->pr_npages - index >= RUN_PAGES);
	pthread_mutex_lock(&p->pr_mutex);
	got = share_run(p, index, base) || bring_in_run(p, index, base);
	pthread_mutex_unlock(&p->pr_mutex);
	return got;
}

/* ---- Out ------------------------------------------------------------------------------------- */

/* The last put, with the mutex held. */
static void
leave(struct host_pager *p, uint64_t index)
{
	struct pager_page *const pp = &p->pr_pages[index];

	if (pp->pp_dirty) {
		host_vm_copy_out(stored_bytes(p, index), host_vm_bytes(pp->pp_hpa), HOST_PAGE_SIZE);
		set_stored(p, index, true);
	}
	host_vm_posix_page_free(pp->pp_hpa, 0);
	pp->pp_dirty = false;
	pp->pp_hpa = 0;
}

void
host_vm_posix_pager_putpage(struct host_pager *p, uint64_t index, hpa_t hpa, bool dirty)
{
	struct pager_page *const pp = &p->pr_pages[index];

	bool is_got;

	HOST_ASSERT(index < p->pr_npages);
	pthread_mutex_lock(&p->pr_mutex);
	is_got = pp->pp_got != 0 && pp->pp_hpa == hpa;
	if (is_got)
		pp->pp_dirty |= dirty;
	if (is_got && --pp->pp_got == 0)
		leave(p, index);
	pthread_mutex_unlock(&p->pr_mutex);
	HOST_ASSERT(is_got);
}

void
host_vm_posix_pager_discard(struct host_pager *p, uint64_t index, uint64_t npages)
{
	HOST_ASSERT(host_vm_may_sleep());
	HOST_ASSERT(index <= p->pr_npages && npages <= p->pr_npages - index);
	pthread_mutex_lock(&p->pr_mutex);
	for (uint64_t i = index; i < index + npages; i++) {
		set_stored(p, i, false);
		p->pr_pages[i].pp_dirty = false;
		if (p->pr_pages[i].pp_got != 0)
			memset(host_vm_bytes(p->pr_pages[i].pp_hpa), 0, HOST_PAGE_SIZE);
	}
	madvise(stored_bytes(p, index), npages * HOST_PAGE_SIZE, MADV_DONTNEED);
	pthread_mutex_unlock(&p->pr_mutex);
}
