/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The IOMMU: domains as tables in memory, and devices whose accesses are calls.
 *
 * A domain is a hash table of pages with linear probing. Unmapping makes an entry stale, which a
 * device may go on using; the flush removes it. A frame knows how many entries there are for it,
 * stale ones included, so that freeing one that a device may reach is found at once.
 *
 * In the host's domain frames are missing or not, which is a bit of the frame. Its tables exist
 * from the start, so that giving a frame back to it never fails.
 */

#include "vmspace/posix/host_vm_priv.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 64
#define IN_USE ((uint64_t)1 << 63) /* of en_to; the page offset holds the rights and this: */
#define STALE ((uint64_t)1 << 11)
#define RIGHTS ((uint64_t)PMAP_PROT_RWX)

struct entry {
	gpa_t en_gpa;
	uint64_t en_to; /* 0: free */
};

/* Under the mutex below. */
struct host_iommu {
	struct entry *io_table;
	size_t io_capacity; /* a power of two, or 0 */
	size_t io_entries;
	size_t io_stale;
};

static struct {
	struct host_lock u_lock;
	bool u_absent;
	uint64_t u_domains;
	uint64_t u_pages; /* mapped, not stale, in all domains */
	uint64_t u_hidden;
	struct host_iommu *u_devices[HOST_VM_POSIX_DEVICES];
	struct host_word u_ready; /* the lock is one */
} unit;

static pthread_mutex_t setting_up = PTHREAD_MUTEX_INITIALIZER;

static void
lock_unit(void)
{
	if (host_load_acquire(&unit.u_ready) == 0) {
		pthread_mutex_lock(&setting_up);
		if (host_load(&unit.u_ready) == 0) {
			host_lock_init(&unit.u_lock, HOST_POSIX_RANK);
			host_store_release(&unit.u_ready, 1);
		}
		pthread_mutex_unlock(&setting_up);
	}
	host_lock(&unit.u_lock);
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static size_t
home_of(const struct host_iommu *d, gpa_t gpa)
{
	return (size_t)((gpa >> HOST_PAGE_SHIFT) * UINT64_C(0x9e3779b97f4a7c15) >> 20) &
	       (d->io_capacity - 1);
}

/* The entry of a page, stale or not as wanted; NULL if there is none. */
static struct entry *
find(const struct host_iommu *d, gpa_t gpa, bool stale)
{
	if (d->io_capacity == 0)
		return NULL;
	for (size_t i = home_of(d, gpa);; i = (i + 1) & (d->io_capacity - 1)) {
		struct entry *e = &d->io_table[i];

		if (e->en_to == 0)
			return NULL;
		if (e->en_gpa == gpa && ((e->en_to & STALE) != 0) == stale)
			return e;
	}
}

static void
insert(struct host_iommu *d, gpa_t gpa, uint64_t to)
{
	size_t i = home_of(d, gpa);

	while (d->io_table[i].en_to != 0)
		i = (i + 1) & (d->io_capacity - 1);
	d->io_table[i] = (struct entry){gpa, to};
	d->io_entries++;
}

/* Closes the gap at i: what follows moves up unless that were before its home. */
static void
erase(struct host_iommu *d, size_t i)
{
	const size_t mask = d->io_capacity - 1;
	size_t gap = i;

	for (;;) {
		i = (i + 1) & mask;
		if (d->io_table[i].en_to == 0)
			break;
		if (((i - home_of(d, d->io_table[i].en_gpa)) & mask) >= ((i - gap) & mask)) {
			d->io_table[gap] = d->io_table[i];
			gap = i;
		}
	}
	d->io_table[gap] = (struct entry){0};
	d->io_entries--;
}

/* Makes room for n more; at most half of a table is in use. */
static int
make_room(struct host_iommu *d, uint64_t n)
{
	struct host_iommu bigger = {.io_capacity = d->io_capacity, .io_stale = d->io_stale};

	if (bigger.io_capacity == 0)
		bigger.io_capacity = FIRST_CAPACITY;
	while (bigger.io_capacity / 2 < d->io_entries + n)
		bigger.io_capacity *= 2;
	if (bigger.io_capacity == d->io_capacity)
		return 0;
	bigger.io_table = calloc(bigger.io_capacity, sizeof(*bigger.io_table));
	if (!bigger.io_table)
		return -ENOMEM;
	for (size_t i = 0; i < d->io_capacity; i++) {
		if (d->io_table[i].en_to != 0)
			insert(&bigger, d->io_table[i].en_gpa, d->io_table[i].en_to);
	}
	free(d->io_table);
	*d = bigger;
	return 0;
}

static hpa_t
frame_of(const struct entry *e)
{
	return (e->en_to & ~IN_USE) >> HOST_PAGE_SHIFT << HOST_PAGE_SHIFT;
}

/* Removes an entry for good. */
static void
drop(struct host_iommu *d, size_t i)
{
	host_fetch_add(host_vm_frame_iommu(frame_of(&d->io_table[i])), (uint64_t)-1);
	erase(d, i);
}

/* ---- Domains --------------------------------------------------------------------------------- */

void
host_vm_posix_set_iommu(bool present)
{
	lock_unit();
	HOST_ASSERT(unit.u_domains == 0);
	unit.u_absent = !present;
	host_unlock(&unit.u_lock);
}

int
host_vm_posix_iommu_create(struct host_iommu **domain)
{
	struct host_iommu *d;
	bool absent;

	HOST_ASSERT(host_vm_may_sleep());
	lock_unit();
	absent = unit.u_absent;
	host_unlock(&unit.u_lock);
	if (absent)
		return -ENXIO;
	d = host_alloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	lock_unit();
	unit.u_domains++;
	host_unlock(&unit.u_lock);
	*domain = d;
	return 0;
}

void
host_vm_posix_iommu_destroy(struct host_iommu *domain)
{
	HOST_ASSERT(host_vm_may_sleep());
	HOST_ASSERT(domain);
	lock_unit();
	for (unsigned int i = 0; i < HOST_VM_POSIX_DEVICES; i++)
		HOST_ASSERT(unit.u_devices[i] != domain);
	unit.u_pages -= domain->io_entries - domain->io_stale;
	for (size_t i = 0; i < domain->io_capacity; i++) {
		while (domain->io_table[i].en_to != 0)
			drop(domain, i);
	}
	unit.u_domains--;
	host_unlock(&unit.u_lock);
	free(domain->io_table);
	host_free(domain, sizeof(*domain));
}

static bool
is_range(gpa_t gpa, uint64_t len)
{
	return len > 0 && (gpa | len) % HOST_PAGE_SIZE == 0 && gpa + (len - 1) >= gpa;
}

/* A frame leaves the host's domain or comes back. With the lock held. */
static void
hide(hpa_t hpa, bool hidden)
{
	struct host_word *w = host_vm_frame_iommu(hpa);
	uint64_t old =
		hidden ? host_fetch_or(w, HOST_VM_HIDDEN) : host_fetch_and(w, ~HOST_VM_HIDDEN);

	HOST_ASSERT(((old & HOST_VM_HIDDEN) != 0) != hidden);
	unit.u_hidden += hidden ? 1 : (uint64_t)-1;
}

static void
map_page(struct host_iommu *d, gpa_t gpa, hpa_t hpa, unsigned int prot)
{
	HOST_ASSERT(!find(d, gpa, false));
	host_fetch_add(host_vm_frame_iommu(hpa), 1);
	insert(d, gpa, IN_USE | hpa | prot);
	unit.u_pages++;
}

int
host_vm_posix_iommu_map(struct host_iommu *domain, gpa_t gpa, hpa_t hpa, uint64_t len,
			unsigned int prot)
{
	int error = 0;

	HOST_ASSERT(host_vm_may_sleep());
	HOST_ASSERT(is_range(gpa, len) && is_range(hpa, len));
	HOST_ASSERT((prot & ~RIGHTS) == 0 && prot != 0);
	HOST_ASSERT(domain || gpa == hpa);
	if (domain && host_posix_alloc_fails())
		return -ENOMEM;
	lock_unit();
	if (domain)
		error = make_room(domain, len >> HOST_PAGE_SHIFT);
	for (uint64_t at = 0; error == 0 && at < len; at += HOST_PAGE_SIZE) {
		if (domain)
			map_page(domain, gpa + at, hpa + at, prot);
		else
			hide(hpa + at, false);
	}
	host_unlock(&unit.u_lock);
	return error;
}

static void
unmap_page(struct host_iommu *d, gpa_t gpa)
{
	struct entry *e = find(d, gpa, false);

	HOST_ASSERT(e);
	if (!e)
		return;
	e->en_to |= STALE;
	d->io_stale++;
	unit.u_pages--;
}

void
host_vm_posix_iommu_unmap(struct host_iommu *domain, gpa_t gpa, uint64_t len)
{
	HOST_ASSERT(host_vm_may_sleep());
	HOST_ASSERT(is_range(gpa, len));
	lock_unit();
	for (uint64_t at = 0; at < len; at += HOST_PAGE_SIZE) {
		if (domain)
			unmap_page(domain, gpa + at);
		else
			hide(gpa + at, true);
	}
	host_unlock(&unit.u_lock);
}

/* Entries that move up come from further on, or, around the end, are known not to be stale. */
void
host_vm_posix_iommu_flush(struct host_iommu *domain)
{
	HOST_ASSERT(host_vm_may_sleep());
	lock_unit();
	for (size_t i = 0; domain && domain->io_stale > 0 && i < domain->io_capacity; i++) {
		while ((domain->io_table[i].en_to & STALE) != 0) {
			drop(domain, i);
			domain->io_stale--;
		}
	}
	host_unlock(&unit.u_lock);
}

int
host_vm_posix_iommu_attach(struct host_iommu *domain, uint64_t device)
{
	int error = 0;

	HOST_ASSERT(host_vm_may_sleep());
	HOST_ASSERT(domain);
	if (device >= HOST_VM_POSIX_DEVICES)
		return -ENOENT;
	if (host_posix_alloc_fails())
		return -ENOMEM;
	lock_unit();
	if (unit.u_devices[device])
		error = -EBUSY;
	else
		unit.u_devices[device] = domain;
	host_unlock(&unit.u_lock);
	return error;
}

void
host_vm_posix_iommu_detach(struct host_iommu *domain, uint64_t device)
{
	HOST_ASSERT(host_vm_may_sleep());
	HOST_ASSERT(domain && device < HOST_VM_POSIX_DEVICES);
	lock_unit();
	HOST_ASSERT(unit.u_devices[device] == domain);
	unit.u_devices[device] = NULL;
	host_unlock(&unit.u_lock);
}

/* ---- Questions ------------------------------------------------------------------------------- */

static uint64_t
read_count(const uint64_t *count)
{
	uint64_t n;

	lock_unit();
	n = *count;
	host_unlock(&unit.u_lock);
	return n;
}

uint64_t
host_vm_posix_iommu_domains(void)
{
	return read_count(&unit.u_domains);
}

uint64_t
host_vm_posix_iommu_pages(void)
{
	return read_count(&unit.u_pages);
}

uint64_t
host_vm_posix_iommu_hidden(void)
{
	return read_count(&unit.u_hidden);
}

bool
host_vm_posix_iommu_host_maps(hpa_t hpa)
{
	return host_vm_posix_page_known(hpa) &&
	       (host_load(host_vm_frame_iommu(hpa)) & HOST_VM_HIDDEN) == 0;
}

struct host_iommu *
host_vm_posix_iommu_domain(uint64_t device)
{
	struct host_iommu *d;

	HOST_ASSERT(device < HOST_VM_POSIX_DEVICES);
	lock_unit();
	d = unit.u_devices[device];
	host_unlock(&unit.u_lock);
	return d;
}

void
host_vm_posix_iommu_foreach(struct host_iommu *domain, bool stale,
			    void (*fn)(void *arg, gpa_t gpa, hpa_t hpa, unsigned int prot),
			    void *arg)
{
	lock_unit();
	for (size_t i = 0; i < domain->io_capacity; i++) {
		const struct entry *e = &domain->io_table[i];

		if (e->en_to != 0 && ((e->en_to & STALE) != 0) == stale)
			fn(arg, e->en_gpa, frame_of(e), (unsigned int)(e->en_to & RIGHTS));
	}
	host_unlock(&unit.u_lock);
}

/* ---- Devices --------------------------------------------------------------------------------- */

/* Where an access arrives, or false. What is stale is used: a device may. With the lock held. */
static bool
translate(uint64_t device, gpa_t gpa, unsigned int right, hpa_t *hpa)
{
	const struct host_iommu *d = unit.u_devices[device];
	const struct entry *e;

	if (!d) {
		*hpa = gpa;
		return host_vm_posix_iommu_host_maps(gpa);
	}
	e = find(d, gpa, false);
	if (!e)
		e = find(d, gpa, true);
	if (!e || (e->en_to & right) == 0)
		return false;
	*hpa = frame_of(e);
	return true;
}

/* Under the lock, so that no access is under way when a flush has returned. */
static int
access(uint64_t device, gpa_t gpa, char *to, const char *from, size_t len)
{
	int error = 0;

	if (device >= HOST_VM_POSIX_DEVICES)
		return -ENOENT;
	lock_unit();
	while (len > 0) {
		uint64_t offset = gpa % HOST_PAGE_SIZE;
		size_t n = len < HOST_PAGE_SIZE - offset ? len : HOST_PAGE_SIZE - offset;
		hpa_t hpa;

		if (!translate(device, gpa - offset, to ? PMAP_PROT_R : PMAP_PROT_W, &hpa)) {
			error = -EFAULT;
			break;
		}
		if (to) {
			host_page_read(hpa, offset, to, n);
			to += n;
		} else {
			host_page_write(hpa, offset, from, n);
			from += n;
		}
		gpa += n;
		len -= n;
	}
	host_unlock(&unit.u_lock);
	return error;
}

int
host_vm_posix_dma_read(uint64_t device, gpa_t gpa, void *to, size_t len)
{
	return access(device, gpa, to, NULL, len);
}

int
host_vm_posix_dma_write(uint64_t device, gpa_t gpa, const void *from, size_t len)
{
	return access(device, gpa, NULL, from, len);
}
