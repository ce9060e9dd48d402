/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Snapshots of an address space as text, so that a difference can be read (vm_fixture.h).
 */

#include "tests/unit/vm_fixture.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOME_PAGES 1024 /* of a map that has more, half of them at each end */

typedef unsigned long long ull;

__attribute__((format(printf, 2, 3))) static void
say(struct vf_text *t, const char *format, ...)
{
	va_list ap;

	if (t->te_room - t->te_used < 300) {
		t->te_room = 2 * t->te_room + 4096;
		t->te_bytes = realloc(t->te_bytes, t->te_room);
	}
	va_start(ap, format);
	t->te_used += (size_t)vsnprintf(t->te_bytes + t->te_used, 300, format, ap);
	va_end(ap);
}

static void
put(void *arg, const char *line)
{
	say(arg, "%s\n", line);
}

/* FNV-1a, by words. */
static uint64_t
hash_of(hpa_t hpa)
{
	uint64_t words[PAGE / sizeof(uint64_t)];
	uint64_t h = 0xcbf29ce484222325;

	host_page_read(hpa, 0, words, sizeof(words));
	for (unsigned int i = 0; i < PAGE / sizeof(uint64_t); i++)
		h = (h ^ words[i]) * 0x100000001b3;
	return h;
}

static void
snap_segment(struct vf *x, struct vf_text *t, int ident)
{
	struct vm_memseg g;

	vf_errno(vm_get_memseg(x->vf_vs, ident, &g), 0);
	if (g.vg_len_bytes != 0)
		say(t, "segment %d %#llx %s%s\n", ident, (ull)g.vg_len_bytes,
		    g.vg_sysmem ? "sysmem" : "devmem ", g.vg_name);
}

/* Most have no segment. */
static void
snap_segments(struct vf *x, struct vf_text *t)
{
	static const int far[] = {64, 100, 1000, 40000, VM_IDENT_MAX - 1, VM_IDENT_MAX};

	for (int ident = 0; ident < 20; ident++)
		snap_segment(x, t, ident);
	for (unsigned int i = 0; i < sizeof(far) / sizeof(far[0]); i++)
		snap_segment(x, t, far[i]);
}

static void
snap_page(struct vf *x, struct vf_snapshot *s, gpa_t gpa)
{
	const struct vm_page_info pi = vf_info(x, gpa);

	if (pi.pi_holds != 0 || pi.pi_wirings != 0)
		say(&s->sn_firm, "page %#llx holds %u write %u wirings %u\n", (ull)gpa, pi.pi_holds,
		    pi.pi_write_holds, pi.pi_wirings);
	vf_assert(!pi.pi_busy);
	if (s->sn_only_firm)
		return;
	if (pi.pi_resident || pi.pi_swapped || pi.pi_logged)
		say(&s->sn_loose, "page %#llx%s%s%s%s", (ull)gpa, pi.pi_resident ? " resident" : "",
		    pi.pi_dirty ? " dirty" : "", pi.pi_swapped ? " swapped" : "",
		    pi.pi_logged ? " logged" : "");
	if (pi.pi_resident)
		say(&s->sn_loose, " at %#llx with %#llx", (ull)pi.pi_hpa, (ull)hash_of(pi.pi_hpa));
	say(&s->sn_loose, "\n");
}

static void
snap_maps(struct vf *x, struct vf_snapshot *s)
{
	struct vm_memmap m;
	gpa_t gpa = 0;

	while (vm_mmap_getnext(x->vf_vs, gpa, &m) == 0) {
		const uint64_t n = m.vp_len_bytes / PAGE;

		say(&s->sn_firm, "map %#llx %#llx of %d from %#llx prot %u flags %u\n",
		    (ull)m.vp_gpa, (ull)m.vp_len_bytes, m.vp_ident, (ull)m.vp_offset_bytes,
		    m.vp_prot, m.vp_flags);
		for (uint64_t i = 0; i < n && m.vp_ident >= 0; i++) {
			if (i < SOME_PAGES / 2 || n - i <= SOME_PAGES / 2)
				snap_page(x, s, m.vp_gpa + i * PAGE);
		}
		gpa = m.vp_gpa + m.vp_len_bytes;
		if (gpa >= x->vf_limit)
			break;
	}
}

static void
snap_accounts(struct vf *x, struct vf_snapshot *s)
{
	const struct vm_accounts va = vf_accounts(x);
	const struct vm_accounts vy = vf_system_accounts(x);

	say(&s->sn_firm, "wired %llu, system %llu\n", (ull)va.va_wired, (ull)vy.va_wired);
	say(&s->sn_loose, "resident %llu reserved %llu devmem %llu swapped %llu tables %llu\n",
	    (ull)va.va_resident, (ull)va.va_reserved, (ull)va.va_devmem, (ull)va.va_swapped,
	    (ull)va.va_tables);
	say(&s->sn_loose,
	    "system: resident %llu reserved %llu devmem %llu swapped %llu slots %llu "
	    "tables %llu free %llu of %llu\n",
	    (ull)vy.va_resident, (ull)vy.va_reserved, (ull)vy.va_devmem, (ull)vy.va_swapped,
	    (ull)vy.va_slots, (ull)vy.va_tables, (ull)vm_mem_free(x->vf_sys),
	    (ull)vm_mem_total(x->vf_sys));
	say(&s->sn_loose, "host: pages %llu\n", (ull)host_vm_posix_pages_in_use());
}

struct sum {
	uint64_t su_shown;  /* what devices reach, with which rights */
	uint64_t su_frames; /* and where that is */
};

/* Order does not matter. */
static void
sum_mapping(void *arg, gpa_t gpa, hpa_t hpa, unsigned int prot)
{
	struct sum *const s = arg;

	s->su_shown += (gpa ^ prot) * 0xbf58476d1ce4e5b9;
	s->su_frames += (gpa ^ (hpa * 0x9e3779b97f4a7c15)) * 0xbf58476d1ce4e5b9;
}

static void
snap_devices(struct vf_snapshot *sn)
{
	say(&sn->sn_firm, "iommu: %llu domains, %llu pages, %llu hidden\n",
	    (ull)host_vm_posix_iommu_domains(), (ull)host_vm_posix_iommu_pages(),
	    (ull)host_vm_posix_iommu_hidden());
	for (uint64_t d = 0; d < HOST_VM_POSIX_DEVICES; d++) {
		struct host_iommu *const domain = host_vm_posix_iommu_domain(d);
		struct sum s = {0};

		if (domain == NULL)
			continue;
		host_vm_posix_iommu_foreach(domain, false, sum_mapping, &s);
		say(&sn->sn_firm, "device %u: shows %#llx\n", (unsigned int)d, (ull)s.su_shown);
		say(&sn->sn_loose, "device %u: of %#llx\n", (unsigned int)d, (ull)s.su_frames);
	}
}

void
vf_snapshot_firm(struct vf *x, struct vf_snapshot *s)
{
	*s = (struct vf_snapshot){.sn_only_firm = true};
	snap_segments(x, &s->sn_firm);
	snap_maps(x, s);
	snap_accounts(x, s);
	snap_devices(s);
}

void
vf_snapshot(struct vf *x, struct vf_snapshot *s)
{
	*s = (struct vf_snapshot){0};
	snap_segments(x, &s->sn_firm);
	snap_maps(x, s);
	snap_accounts(x, s);
	snap_devices(s);
	pmap_dump(x->vf_pm, put, &s->sn_loose);
}

void
vf_snapshot_free(struct vf_snapshot *s)
{
	free(s->sn_firm.te_bytes);
	free(s->sn_loose.te_bytes);
	*s = (struct vf_snapshot){0};
}

static void
same_text(const struct vf_text *a, const struct vf_text *b, const char *what)
{
	const char *p = a->te_bytes;
	const char *q = b->te_bytes;
	size_t line = 0;

	for (size_t i = 0; p[i] == q[i]; i++) {
		if (p[i] == '\0')
			return;
		if (p[i] == '\n')
			line = i + 1;
	}
	vf_fail("%s: was \"%.*s\", is \"%.*s\"", what, (int)strcspn(p + line, "\n"), p + line,
		(int)strcspn(q + line, "\n"), q + line);
}

void
vf_same_firm(const struct vf_snapshot *a, const struct vf_snapshot *b, const char *what)
{
	same_text(&a->sn_firm, &b->sn_firm, what);
}

void
vf_same(struct vf *x, struct vf_snapshot *before, bool exact, const char *what)
{
	struct vf_snapshot now;

	vf_check(x);
	vf_snapshot(x, &now);
	same_text(&before->sn_firm, &now.sn_firm, what);
	if (exact)
		same_text(&before->sn_loose, &now.sn_loose, what);
	vf_snapshot_free(&now);
}
