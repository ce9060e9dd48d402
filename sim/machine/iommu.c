/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The IOMMU: guests' domains, and the host's own.
 *
 * What a device could have cached is kept as if it had: a page that is unmapped while a device is
 * attached, or was since the last flush, is stale, and within reach, until the flush. A flush takes
 * effect at one instant between its call and its return. Each frame counts the pages that name it,
 * so that it cannot be freed within reach of a device (I37).
 *
 * The host's domain maps each frame to itself, so a note in the frame is all it takes. What devices
 * do in it is not simulated; who wants to know whether they could asks sim_iommu_host_maps().
 */

#include <inttypes.h>
#include <string.h>

#include "sim/oracle/invariants.h"
#include "sim/machine/machine_priv.h"
#include "sim/machine/machine_vm.h"
#include "pmap/pt_fmt.h"

#define DOMAIN_MAGIC 0x646f6d61u
#define ROOM_FIRST 64
/* Long ranges let others act in between. */
#define PAGES_PER_POINT 64

void
iommu_check_domain(const struct host_iommu *d, const char *what)
{
	if (d == NULL || d->io_magic != DOMAIN_MAGIC)
		sim_violation("CK-IOMMU", "I37", "%s of %s", what,
			      d == NULL ? "the host's domain" : "a domain that was destroyed");
}

static void
enter_iommu(struct sim_machine *m, const char *what)
{
	mutex_check_may_sleep(m, what);
	if (!m->m_cfg.sc_iommu)
		sim_violation("CK-IOMMU", "I37", "%s without an IOMMU", what);
	memory_point(m, SIM_IO, NULL);
	touch(m, SIM_OBJECT(SIM_OBJECT_DEVICE, 1), SIM_TOUCH_WRITE);
	memory_drain(m, self(m));
}

void
iommu_check_free(const struct sim_frame *f, uint64_t hpa)
{
	if (f->fr_io != 0)
		sim_violation("CK-FREE", "I34",
			      "frame 0x%" PRIx64 " is freed while the disk uses it", hpa);
	if (sim_the_machine->m_iommu.im_ndomains > 0)
		sim_invariant_hit(SIM_I37);
	if (f->fr_iommu != 0)
		sim_violation("CK-IOMMU", "I37",
			      "frame 0x%" PRIx64 " is freed while a guest's domain maps it, or has "
			      "cached it",
			      hpa);
	if (f->fr_host != HOST_MAPPED)
		sim_violation("CK-IOMMU", "I37",
			      "frame 0x%" PRIx64 " is freed while the host's domain lacks it", hpa);
}

/* ---- Sets of pages ---- */

static bool
pages_grow(struct iommu_pages *set)
{
	uint32_t room = set->is_room != 0 ? set->is_room * 2 : ROOM_FIRST;
	struct iommu_page *pages;

	pages = sim_alloc(room * sizeof *pages);
	if (pages == NULL)
		return false;
	if (set->is_n > 0)
		memcpy(pages, set->is_pages, set->is_n * sizeof *pages);
	sim_free(set->is_pages, set->is_room * sizeof *pages);
	set->is_pages = pages;
	set->is_room = room;
	return true;
}

static struct iommu_page *
pages_add(struct iommu_pages *set)
{
	if (set->is_n == set->is_room && !pages_grow(set))
		sim_violation("CK-API", "", "no memory for the pages of a domain");
	return &set->is_pages[set->is_n++];
}

static void
pages_free(struct iommu_pages *set)
{
	sim_free(set->is_pages, set->is_room * sizeof *set->is_pages);
	*set = (struct iommu_pages){0};
}

static uint32_t *
head_of(struct host_iommu *d, uint64_t gpa)
{
	uint64_t h = gpa / SIM_PAGE_SIZE * 0x9e3779b97f4a7c15ull;

	return &d->io_heads[(h >> 32) & (d->io_mapped.is_room - 1)];
}

/* The link that leads to a page, or ends where it would be. */
static uint32_t *
find(struct host_iommu *d, uint64_t gpa)
{
	uint32_t *link = head_of(d, gpa);

	while (*link != 0 && d->io_mapped.is_pages[*link - 1].ip_gpa != gpa)
		link = &d->io_mapped.is_pages[*link - 1].ip_next;
	return link;
}

static void
rehash(struct host_iommu *d, uint32_t room_before)
{
	sim_free(d->io_heads, room_before * sizeof *d->io_heads);
	d->io_heads = sim_alloc(d->io_mapped.is_room * sizeof *d->io_heads);
	if (d->io_heads == NULL)
		sim_violation("CK-API", "", "no memory for the pages of a domain");
	for (uint32_t i = 0; i < d->io_mapped.is_n; i++) {
		struct iommu_page *p = &d->io_mapped.is_pages[i];
		uint32_t *head = head_of(d, p->ip_gpa);
		p->ip_next = *head;
		*head = i + 1;
	}
}

static void
map_page(struct sim_machine *m, struct host_iommu *d, const struct iommu_page *page)
{
	uint32_t room = d->io_mapped.is_room;
	struct sim_frame *f = sim_frame_at(page->ip_hpa);

	if (f == NULL || f->fr_kind != SIM_FRAME_DATA)
		sim_violation("CK-IOMMU", "I37",
			      "0x%" PRIx64 " is mapped for devices to 0x%" PRIx64
			      ", which is no data frame",
			      page->ip_gpa, page->ip_hpa);
	if (room != 0 && *find(d, page->ip_gpa) != 0)
		sim_violation("CK-IOMMU", "I37",
			      "0x%" PRIx64 " is mapped for devices, and is mapped already",
			      page->ip_gpa);
	if (f->fr_iommu == UINT16_MAX)
		sim_violation("CK-API", "", "a frame is in 65536 domains");
	*pages_add(&d->io_mapped) = *page;
	if (d->io_mapped.is_room != room) {
		rehash(d, room);
	} else {
		uint32_t *head = head_of(d, page->ip_gpa);
		d->io_mapped.is_pages[d->io_mapped.is_n - 1].ip_next = *head;
		*head = d->io_mapped.is_n;
	}
	f->fr_iommu++;
	m->m_ct.ct_iommu_mapped++;
}

/* Takes a page out; the last one moves to its place. */
static void
unmap_page(struct host_iommu *d, uint64_t gpa)
{
	uint32_t *link = d->io_mapped.is_n > 0 ? find(d, gpa) : NULL;

	if (link == NULL || *link == 0)
		sim_violation("CK-IOMMU", "I37",
			      "0x%" PRIx64 " is unmapped for devices, and is not mapped", gpa);
	uint32_t i = *link - 1;
	struct iommu_page *pages = d->io_mapped.is_pages;
	struct iommu_page page = pages[i];
	uint32_t last = --d->io_mapped.is_n;

	*link = page.ip_next;
	if (i != last) {
		link = head_of(d, pages[last].ip_gpa);
		while (*link != last + 1)
			link = &pages[*link - 1].ip_next;
		*link = i + 1;
		pages[i] = pages[last];
	}
	if (page.ip_reachable)
		*pages_add(&d->io_stale) = page;
	else
		sim_frame_at(page.ip_hpa)->fr_iommu--;
}

/* Everything that is unmapped is out of reach. */
static void
drop_stale(struct host_iommu *d)
{
	for (uint32_t i = 0; i < d->io_stale.is_n; i++)
		sim_frame_at(d->io_stale.is_pages[i].ip_hpa)->fr_iommu--;
	d->io_stale.is_n = 0;
	for (uint32_t i = 0; i < d->io_mapped.is_n; i++)
		d->io_mapped.is_pages[i].ip_reachable = d->io_ndevices > 0;
}

/* ---- The host's domain ---- */

static void
host_map(struct sim_machine *m, uint64_t gpa, uint64_t hpa)
{
	struct sim_frame *f = sim_frame_at(hpa);

	if (gpa != hpa || f == NULL || f->fr_host == HOST_MAPPED)
		sim_violation("CK-IOMMU", "I37",
			      "the host's domain is to map 0x%" PRIx64 " to 0x%" PRIx64 ", %s", gpa,
			      hpa,
			      gpa != hpa  ? "which is not the same"
			      : f == NULL ? "outside memory"
					  : "and does so already");
	f->fr_host = HOST_MAPPED;
	m->m_iommu.im_host_missing--;
}

static void
host_unmap(struct sim_machine *m, uint64_t hpa)
{
	struct iommu *im = &m->m_iommu;
	struct sim_frame *f = sim_frame_at(hpa);

	if (f == NULL || f->fr_host != HOST_MAPPED)
		sim_violation("CK-IOMMU", "I37",
			      "the host's domain is to unmap 0x%" PRIx64 ", and does not map it",
			      hpa);
	uint32_t frame = (uint32_t)(f - m->m_frames);
	f->fr_host = HOST_STALE;
	im->im_host_missing++;
	if (im->im_stale_first >= im->im_stale_end) {
		im->im_stale_first = frame;
		im->im_stale_end = frame + 1;
		return;
	}
	if (frame < im->im_stale_first)
		im->im_stale_first = frame;
	if (frame >= im->im_stale_end)
		im->im_stale_end = frame + 1;
}

static void
host_drop_stale(struct sim_machine *m)
{
	struct iommu *im = &m->m_iommu;

	for (uint32_t i = im->im_stale_first; i < im->im_stale_end; i++) {
		if (m->m_frames[i].fr_host == HOST_STALE)
			m->m_frames[i].fr_host = HOST_UNMAPPED;
	}
	im->im_stale_first = im->im_stale_end = 0;
}

bool
sim_iommu_host_maps(uint64_t hpa)
{
	const struct sim_frame *f = sim_frame_at(hpa);

	return f != NULL && f->fr_host != HOST_UNMAPPED;
}

uint64_t
sim_iommu_host_missing(void)
{
	return sim_the_machine->m_iommu.im_host_missing;
}

/* ---- Domains ---- */

int
sim_iommu_create(struct host_iommu **domain)
{
	struct sim_machine *m = sim_the_machine;

	mutex_check_may_sleep(m, "host_iommu_create()");
	point(m, SIM_IO);
	if (!m->m_cfg.sc_iommu)
		return -ENXIO;
	struct host_iommu *d = sim_fault(SIM_FAULT_IOMMU) ? NULL : sim_alloc(sizeof *d);
	trace(m, SIM_IO, d == NULL ? 0 : address_id(m, (uintptr_t)d), 0);
	if (d == NULL)
		return -ENOMEM;
	d->io_magic = DOMAIN_MAGIC;
	m->m_iommu.im_ndomains++;
	*domain = d;
	return 0;
}

void
sim_iommu_destroy(struct host_iommu *d)
{
	struct sim_machine *m = sim_the_machine;

	enter_iommu(m, "host_iommu_destroy()");
	iommu_check_domain(d, "host_iommu_destroy()");
	if (d->io_ndevices > 0)
		sim_violation("CK-IOMMU", "I37", "a domain is destroyed with %u devices in it",
			      d->io_ndevices);
	drop_stale(d);
	for (uint32_t i = 0; i < d->io_mapped.is_n; i++)
		sim_frame_at(d->io_mapped.is_pages[i].ip_hpa)->fr_iommu--;
	sim_free(d->io_heads, d->io_mapped.is_room * sizeof *d->io_heads);
	pages_free(&d->io_mapped);
	pages_free(&d->io_stale);
	trace(m, SIM_IO, address_id(m, (uintptr_t)d), 1);
	/* Its memory goes with the machine: whoever uses it from now on is found. */
	d->io_magic = 0;
	m->m_iommu.im_ndomains--;
}

static void
check_range(uint64_t gpa, uint64_t len, const char *what)
{
	if (gpa % SIM_PAGE_SIZE != 0 || len % SIM_PAGE_SIZE != 0 || len == 0 || gpa + len < gpa)
		sim_violation("CK-IOMMU", "I37", "%s of 0x%" PRIx64 ", 0x%" PRIx64 " bytes", what,
			      gpa, len);
}

int
sim_iommu_map(struct host_iommu *d, uint64_t gpa, uint64_t hpa, uint64_t len, unsigned int prot)
{
	struct sim_machine *m = sim_the_machine;

	enter_iommu(m, "host_iommu_map()");
	check_range(gpa, len, "host_iommu_map()");
	check_range(hpa, len, "host_iommu_map()");
	if (d != NULL)
		iommu_check_domain(d, "host_iommu_map()");
	if ((prot & PMAP_PROT_RW) == 0)
		sim_violation("CK-IOMMU", "I37", "0x%" PRIx64 " is mapped for no access", gpa);
	trace(m, SIM_IO, SIM_ID_GPA | gpa, len | prot);
	/* What the host unmapped it can map again without memory. */
	if (d != NULL && sim_fault(SIM_FAULT_IOMMU))
		return -ENOMEM;
	for (uint64_t off = 0; off < len; off += SIM_PAGE_SIZE) {
		struct iommu_page page = {
			.ip_gpa = gpa + off, .ip_hpa = hpa + off, .ip_prot = prot & PMAP_PROT_RW};
		if (off > 0 && off % (PAGES_PER_POINT * SIM_PAGE_SIZE) == 0)
			point(m, SIM_IO);
		if (d == NULL) {
			host_map(m, gpa + off, hpa + off);
			continue;
		}
		page.ip_reachable = d->io_ndevices > 0;
		map_page(m, d, &page);
	}
	return 0;
}

void
sim_iommu_unmap(struct host_iommu *d, uint64_t gpa, uint64_t len)
{
	struct sim_machine *m = sim_the_machine;

	enter_iommu(m, "host_iommu_unmap()");
	check_range(gpa, len, "host_iommu_unmap()");
	if (d != NULL)
		iommu_check_domain(d, "host_iommu_unmap()");
	trace(m, SIM_IO, SIM_ID_GPA | gpa, len);
	for (uint64_t off = 0; off < len; off += SIM_PAGE_SIZE) {
		if (off > 0 && off % (PAGES_PER_POINT * SIM_PAGE_SIZE) == 0)
			point(m, SIM_IO);
		if (d == NULL)
			host_unmap(m, gpa + off);
		else
			unmap_page(d, gpa + off);
	}
}

/* ---- Flushes ---- */

/* A late flush waits for 2^LATE_LEAST to 2^(LATE_LEAST + LATE_LENGTHS - 1) turns. */
#define LATE_LEAST 3
#define LATE_LENGTHS 6

struct iommu_flush {
	struct host_iommu *if_domain;
	uint32_t if_hold; /* turns before it takes effect */
	bool if_over;
};

static void
do_flush(struct sim_machine *m, struct iommu_flush *fl)
{
	if (fl->if_domain == NULL) {
		host_drop_stale(m);
	} else {
		iommu_check_domain(fl->if_domain, "a flush");
		drop_stale(fl->if_domain);
	}
	fl->if_over = true;
	m->m_ct.ct_iommu_flushes++;
	m->m_progress++;
}

static unsigned int
flush_enabled(void *arg)
{
	return ((const struct iommu *)arg)->im_nflushes;
}

static void
flush_step(void *arg, unsigned int which)
{
	struct iommu *im = arg;

	touch(sim_the_machine, SIM_OBJECT(SIM_OBJECT_DEVICE, 1), SIM_TOUCH_WRITE);
	if (im->im_flushes[which]->if_hold > 0) {
		im->im_flushes[which]->if_hold--;
		return;
	}
	do_flush(sim_the_machine, im->im_flushes[which]);
	im->im_flushes[which] = im->im_flushes[--im->im_nflushes];
}

static bool
flush_over(void *arg)
{
	return ((const struct iommu_flush *)arg)->if_over;
}

void
sim_iommu_flush(struct host_iommu *d)
{
	struct sim_machine *m = sim_the_machine;
	struct iommu *im = &m->m_iommu;
	struct iommu_flush fl = {.if_domain = d};

	enter_iommu(m, "host_iommu_flush()");
	if (d != NULL)
		iommu_check_domain(d, "host_iommu_flush()");
	trace(m, SIM_IO, d == NULL ? 0 : address_id(m, (uintptr_t)d), 2);
	if (m->m_cpu == NULL) {
		do_flush(m, &fl);
		return;
	}
	if (sim_fault(SIM_FAULT_FLUSH_LATE))
		fl.if_hold = 1u << (LATE_LEAST + sim_choose(SIM_CHOICE_FAULT, LATE_LENGTHS));
	im->im_flushes[im->im_nflushes++] = &fl;
	sim_wait_until("a flush of the IOMMU", flush_over, &fl);
}

/* ---- Life ---- */

void
iommu_init(struct sim_machine *m)
{
	struct iommu *im = &m->m_iommu;

	if (!m->m_cfg.sc_iommu)
		return;
	im->im_flush_ops = (struct sim_agent_ops){
		"iommu", m->m_cfg.sc_iommu_weight, flush_enabled, flush_step, true, NULL};
	sim_agent_add(&im->im_flush_ops, im);
}

void
iommu_check_leaks(struct sim_machine *m)
{
	const struct iommu *im = &m->m_iommu;

	if (im->im_ndomains > 0)
		sim_violation("CK-LEAK", "I43", "%u IOMMU domains were not destroyed",
			      im->im_ndomains);
	if (im->im_host_missing > 0)
		sim_violation("CK-LEAK", "I43",
			      "%" PRIu64 " frames were not given back to the host's domain",
			      im->im_host_missing);
}
