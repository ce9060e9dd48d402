/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Address spaces for tests, and the guests that live in them (vm_fixture.h).
 */

#include "tests/unit/vm_fixture.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VF_MEMORY_BYTES (24 * MIB)
#define VF_SWAP_SLOTS 4096
#define VF_SYSTEM_PAGES (1 << 20)

/* ---- Life ------------------------------------------------------------------------------------ */

static char current[80] = "no vmspace";

const char *
vf_name(void)
{
	return current;
}

void
vf_fail_at(const char *file, int line, const char *format, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	cr_assert_fail("%s: %s (%s:%d)", current, text, file, line);
}

void
vf_errno_at(const char *file, int line, const char *call, int error, int wanted)
{
	cr_assert_eq(error, wanted, "%s: %s is %d, not %d (%s:%d)", current, call, error, wanted,
		     file, line);
}

static void
note(void *arg, const struct pmap_leaf *leaf)
{
	struct vf *const x = arg;

	if (x->vf_on_note != NULL)
		x->vf_on_note(x, leaf);
}

static void
backlog(void *arg)
{
	struct vf *const x = arg;

	x->vf_backlogs++;
}

void
vf_config(const struct fx_format *format, const struct vf_options *options,
	  struct vmspace_config *cfg)
{
	*cfg = (struct vmspace_config){0};
	fx_config(format, options->vo_pmap_flags, &cfg->vc_pmap);
	cfg->vc_flags = options->vo_flags;
	cfg->vc_limit_pages = options->vo_limit_pages;
}

static void
name_it(const struct fx_format *format, const struct vf_options *o)
{
	snprintf(current, sizeof(current), "%s%s%s%s%s%s", format->ff_name,
		 (o->vo_pmap_flags & PMAP_REFERENCE) ? " reference" : "",
		 (o->vo_flags & VM_EAGER_RUNS) ? " eager" : "",
		 (o->vo_flags & VM_NX_SUPERPAGES) ? " nx" : "",
		 (o->vo_flags & VM_NO_SUPERPAGES) ? " small" : "",
		 (o->vo_flags & VM_HOST_PAGER) ? " pager" : "");
}

static void
create(struct vf *x, const char *format, const struct vf_options *options)
{
	struct vmspace_config cfg;

	x->vf_format = fx_format(format);
	if (options != NULL)
		x->vf_options = *options;
	name_it(x->vf_format, &x->vf_options);
	vf_config(x->vf_format, &x->vf_options, &cfg);
	cfg.vc_pmap.pc_note = note;
	cfg.vc_pmap.pc_backlog = backlog;
	cfg.vc_pmap.pc_arg = x;
	vf_errno(vmspace_create(x->vf_sys, &cfg, &x->vf_vs), 0);
	x->vf_pm = vmspace_pmap(x->vf_vs);
	x->vf_fmt = pmap_fmt(x->vf_pm);
	x->vf_limit = (uint64_t)1 << (x->vf_format->ff_caps.pc_levels == 4 ? 48 : 57);
}

void
vf_open(struct vf *x, const char *format, const struct vf_options *options)
{
	static const struct vf_options none;
	const struct vf_options *const o = options != NULL ? options : &none;
	const uint64_t memory = o->vo_memory_bytes != 0 ? o->vo_memory_bytes : VF_MEMORY_BYTES;
	const uint64_t slots = o->vo_no_swap	       ? 0
			       : o->vo_swap_slots != 0 ? o->vo_swap_slots
						       : VF_SWAP_SLOTS;
	const struct vm_system_config sc = {
		.vy_mem_limit_bytes =
			(o->vo_system_pages != 0 ? o->vo_system_pages : VF_SYSTEM_PAGES) * PAGE,
	};

	*x = (struct vf){0};
	/* Setting what is set already costs time. */
	if (host_vm_posix_memory_pages() * PAGE != memory)
		vf_errno(host_vm_posix_set_memory(memory), 0);
	if (host_swap_slots() != slots)
		vf_errno(host_vm_posix_set_swap(slots), 0);
	vf_errno(vm_system_create(&sc, &x->vf_sys), 0);
	create(x, format, o);
}

void
vf_open_second(struct vf *x, struct vf *first, const char *format, const struct vf_options *options)
{
	*x = (struct vf){.vf_sys = first->vf_sys, .vf_second = true};
	create(x, format, options);
}

void
vf_destroy(struct vf *x)
{
	vf_check(x);
	vmspace_destroy(x->vf_vs);
	x->vf_vs = NULL;
	for (unsigned int i = 0; i < VF_SEGMENTS; i++) {
		free(x->vf_ghosts[i].gh_stamps);
		x->vf_ghosts[i] = (struct vf_ghost){0};
	}
}

static void
close_system(struct vf *x)
{
	static const struct vm_accounts zero;
	const struct vm_accounts now = vf_system_accounts(x);
	char why[FX_WHY_BYTES] = "";

	if (vm_system_check(x->vf_sys, why, sizeof(why)) != 0)
		vf_fail("at the end: %s", why);
	vf_assert(memcmp(&now, &zero, sizeof(now)) == 0);
	vf_assert(vm_mem_free(x->vf_sys) == vm_mem_total(x->vf_sys));
	vm_system_destroy(x->vf_sys);
	host_epoch_drain();
	vf_assert(host_vm_posix_pages_in_use() == 0);
	vf_assert(host_vm_posix_iommu_domains() == 0);
	vf_assert(host_vm_posix_iommu_pages() == 0);
	vf_assert(host_vm_posix_iommu_hidden() == 0);
}

void
vf_close(struct vf *x)
{
	if (x->vf_vs != NULL)
		vf_destroy(x);
	if (!x->vf_second)
		close_system(x);
}

static const char *const kinds[] = {"ept",   "ept-noad", "ept-exec-only",
				    "rvi-4", "rvi-5",	 "x86-kernel"};

#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))

static void
run_one(const char *kind, const struct vf_options *o, void (*body)(struct vf *x))
{
	struct vf x;

	world_begin(NULL);
	vf_open(&x, kind, o);
	body(&x);
	vf_close(&x);
	CHECK(true); /* world_end() wants one; the body asserts for itself */
	world_end();
}

static unsigned int turn;

void
vf_each_swap(const struct vf_options *options, void (*body)(struct vf *x))
{
	/* Under a tool, some of them: each format, and each form, has its turn. */
	const unsigned int one_in = fx_scale(20) == 20 ? 1 : fx_scale(20) == 1 ? 4 : 2;

	turn++;
	for (unsigned int i = 0; i < NKINDS; i++) {
		for (unsigned int form = 0; form < 2; form++) {
			struct vf_options o = {0};

			if ((i + form + turn) % one_in != 0)
				continue;
			if (options != NULL)
				o = *options;
			o.vo_pmap_flags |= form != 0 ? PMAP_REFERENCE : 0;
			run_one(kinds[i], &o, body);
		}
	}
}

void
vf_each(const struct vf_options *options, void (*body)(struct vf *x))
{
	struct vf_options o = {0};

	vf_each_swap(options, body);
	if (options != NULL)
		o = *options;
	o.vo_flags |= VM_HOST_PAGER;
	run_one(kinds[turn % NKINDS], &o, body);
}

static void
count_stale(void *arg, gpa_t gpa, hpa_t hpa, unsigned int prot)
{
	(void)gpa;
	(void)hpa;
	(void)prot;
	++*(unsigned int *)arg;
}

/* At rest no device can reach what was taken from it. */
static void
check_flushed(void)
{
	unsigned int stale = 0;

	for (uint64_t d = 0; d < HOST_VM_POSIX_DEVICES; d++) {
		struct host_iommu *const domain = host_vm_posix_iommu_domain(d);

		if (domain != NULL)
			host_vm_posix_iommu_foreach(domain, true, count_stale, &stale);
	}
	vf_assert(stale == 0);
}

void
vf_check(struct vf *x)
{
	char why[FX_WHY_BYTES] = "";

	if (x->vf_vs != NULL && vmspace_check(x->vf_vs, why, sizeof(why)) != 0)
		vf_fail("%s", why);
	if (vm_system_check(x->vf_sys, why, sizeof(why)) != 0)
		vf_fail("system: %s", why);
	if (host_vm_posix_iommu_domains() != 0)
		check_flushed();
}

/* ---- Segments and maps ----------------------------------------------------------------------- */

static struct vf_ghost *
ghost_of(struct vf *x, int ident)
{
	for (unsigned int i = 0; i < VF_SEGMENTS; i++) {
		if (x->vf_ghosts[i].gh_npages != 0 && x->vf_ghosts[i].gh_ident == ident)
			return &x->vf_ghosts[i];
	}
	return NULL;
}

void
vf_segment(struct vf *x, int ident, uint64_t npages, const char *name)
{
	struct vf_ghost *gh = x->vf_ghosts;

	vf_assert(ghost_of(x, ident) == NULL);
	while (gh < x->vf_ghosts + VF_SEGMENTS && gh->gh_npages != 0)
		gh++;
	vf_assert(gh < x->vf_ghosts + VF_SEGMENTS);
	vf_errno(vm_alloc_memseg(x->vf_vs, ident, npages * PAGE, name), 0);
	*gh = (struct vf_ghost){ident, npages, calloc(npages, sizeof(uint64_t))};
	vf_assert(gh->gh_stamps != NULL);
}

void
vf_free_segment(struct vf *x, int ident)
{
	struct vf_ghost *const gh = ghost_of(x, ident);

	vf_assert(gh != NULL);
	vf_errno(vm_free_memseg(x->vf_vs, ident), 0);
	free(gh->gh_stamps);
	*gh = (struct vf_ghost){0};
}

void
vf_map(struct vf *x, gpa_t gpa, int ident, uint64_t first_page, uint64_t npages, unsigned int prot)
{
	vf_errno(vm_mmap_memseg(x->vf_vs, gpa, ident, (int64_t)(first_page * PAGE),
				(int64_t)(npages * PAGE), prot, 0),
		 0);
}

void
vf_unmap(struct vf *x, gpa_t gpa, uint64_t npages)
{
	vf_errno(vm_munmap_memseg(x->vf_vs, gpa, npages * PAGE), 0);
}

struct vm_page_info
vf_info(struct vf *x, gpa_t gpa)
{
	struct vm_page_info pi = {0};

	vf_errno(vmspace_page_info(x->vf_vs, gpa, &pi), 0);
	return pi;
}

struct vm_accounts
vf_accounts(struct vf *x)
{
	struct vm_accounts va;

	host_epoch_drain(); /* so that what is free is seen to be */
	vmspace_accounts(x->vf_vs, &va);
	return va;
}

struct vm_accounts
vf_system_accounts(struct vf *x)
{
	struct vm_accounts va;

	host_epoch_drain();
	vm_system_accounts(x->vf_sys, &va);
	return va;
}

struct vmspace_stats
vf_stats(struct vf *x)
{
	struct vmspace_stats vt;

	vmspace_stats(x->vf_vs, &vt);
	return vt;
}

/* ---- What guests do -------------------------------------------------------------------------- */

/*
 * What hardware makes of an entry that it uses for an access: false if it faults, else the value to
 * store. With emulated A and D it knows bits 0 to 2 only, of R, W and X (SDM vol. 3C 29.3.2).
 */
static bool
use_entry(const struct pt_fmt *f, pt_entry_t pte, bool leaf, unsigned int access, pt_entry_t *next)
{
	*next = pte;
	if (f->pf_emulated_ad)
		return (access & ~(unsigned int)(pte & 7)) == 0;
	if (leaf && (access & ~pte_prot(f, pte)) != 0)
		return false;
	*next = pte | f->pf_a | (leaf && (access & PMAP_PROT_W) ? f->pf_m : 0);
	return true;
}

bool
vf_walk(struct vf *x, gpa_t gpa, unsigned int access, hpa_t *hpa)
{
	const struct pt_fmt *const f = x->vf_fmt;
	hpa_t table = pmap_root(x->vf_pm);
	unsigned int level = f->pf_levels;

	if (gpa >= x->vf_limit)
		return false;
	while (level-- > 0) {
		struct host_word *const w = &host_table_words(table)[pt_index(gpa, level)];
		pt_entry_t pte = pte_load_acquire(w);
		pt_entry_t next;
		bool leaf;

		do {
			leaf = pte_is_leaf(f, pte, level);
			if (!pte_is_valid(f, pte) || !use_entry(f, pte, leaf, access, &next))
				return false;
		} while (next != pte && !host_cas(w, &pte, next));
		if (leaf) {
			*hpa = pte_hpa(f, pte, level) + (gpa & (pt_level_size(level) - 1));
			return true;
		}
		table = pte_hpa(f, pte, 0);
	}
	return false;
}

int
vf_touch(struct vf *x, gpa_t gpa, unsigned int access, hpa_t *hpa, struct vm_fault_record *record)
{
	for (unsigned int tries = 0; !vf_walk(x, gpa, access, hpa); tries++) {
		const int error = vm_fault(x->vf_vs, gpa, access, record);

		if (error != 0)
			return error;
		if (tries == 1000)
			vf_fail("faults at %#llx never end", (unsigned long long)gpa);
	}
	return 0;
}

/* What shows gpa; must be a map of a segment. */
static struct vm_memmap
map_at(struct vf *x, gpa_t gpa)
{
	struct vm_memmap m = {0};
	gpa_t from = 0;

	while (vm_mmap_getnext(x->vf_vs, from, &m) == 0) {
		if (gpa < m.vp_gpa + m.vp_len_bytes)
			break;
		from = m.vp_gpa + m.vp_len_bytes;
	}
	vf_assert(m.vp_gpa <= gpa && gpa < m.vp_gpa + m.vp_len_bytes);
	return m;
}

static void
tell_ghost(struct vf *x, gpa_t gpa, uint64_t stamp)
{
	const struct vm_memmap m = map_at(x, gpa);

	vf_expect(x, m.vp_ident, (m.vp_offset_bytes + (gpa - m.vp_gpa)) / PAGE, stamp);
}

void
vf_poke(struct vf *x, gpa_t gpa, uint64_t stamp)
{
	hpa_t hpa = 0;

	vf_errno(vf_touch(x, gpa, PMAP_PROT_W | PMAP_PROT_R, &hpa, NULL), 0);
	hpa &= ~(PAGE - 1);
	host_page_write(hpa, 0, &stamp, sizeof(stamp));
	host_page_write(hpa, PAGE - sizeof(stamp), &stamp, sizeof(stamp));
	tell_ghost(x, gpa, stamp);
}

uint64_t
vf_peek(struct vf *x, gpa_t gpa)
{
	uint64_t first;
	uint64_t last;
	hpa_t hpa = 0;

	vf_errno(vf_touch(x, gpa, PMAP_PROT_R, &hpa, NULL), 0);
	hpa &= ~(PAGE - 1);
	host_page_read(hpa, 0, &first, sizeof(first));
	host_page_read(hpa, PAGE - sizeof(last), &last, sizeof(last));
	if (first != last)
		vf_fail("the page at %#llx is torn: %#llx, %#llx", (unsigned long long)gpa,
			(unsigned long long)first, (unsigned long long)last);
	return first;
}

void
vf_write(struct vf *x, gpa_t gpa, uint64_t stamp)
{
	const gpa_t page = gpa & ~(PAGE - 1);
	uint64_t done = 0;

	vf_errno(vm_gpa_write(x->vf_vs, page, &stamp, sizeof(stamp), &done), 0);
	vf_assert(done == sizeof(stamp));
	vf_errno(vm_gpa_write(x->vf_vs, page + PAGE - sizeof(stamp), &stamp, sizeof(stamp), &done),
		 0);
	vf_assert(done == sizeof(stamp));
	tell_ghost(x, gpa, stamp);
}

void
vf_expect(struct vf *x, int ident, uint64_t page, uint64_t stamp)
{
	struct vf_ghost *const gh = ghost_of(x, ident);

	vf_assert(gh != NULL && page < gh->gh_npages);
	gh->gh_stamps[page] = stamp;
}

uint64_t
vf_expected(struct vf *x, int ident, uint64_t page)
{
	const struct vf_ghost *const gh = ghost_of(x, ident);

	vf_assert(gh != NULL && page < gh->gh_npages);
	return gh->gh_stamps[page];
}

static void
verify_page(struct vf *x, const struct vf_ghost *gh, uint64_t page)
{
	uint64_t words[PAGE / sizeof(uint64_t)];
	const unsigned int last = PAGE / sizeof(uint64_t) - 1;
	struct vm_hold hold;

	vf_errno(vm_memseg_hold(x->vf_vs, gh->gh_ident, page * PAGE, PAGE, PMAP_PROT_R, &hold), 0);
	vm_hold_read(&hold, 0, words, sizeof(words));
	vm_gpa_release(&hold);
	for (unsigned int i = 0; i <= last; i++) {
		const uint64_t want = i == 0 || i == last ? gh->gh_stamps[page] : 0;

		if (words[i] != want)
			vf_fail("page %u of segment %d, word %u: %#llx, not %#llx",
				(unsigned int)page, gh->gh_ident, i, (unsigned long long)words[i],
				(unsigned long long)want);
	}
}

void
vf_verify(struct vf *x)
{
	for (unsigned int i = 0; i < VF_SEGMENTS; i++) {
		for (uint64_t page = 0; page < x->vf_ghosts[i].gh_npages; page++)
			verify_page(x, &x->vf_ghosts[i], page);
	}
}

uint64_t
vf_pageout_all(struct vf *x)
{
	uint64_t sum = 0;
	uint64_t freed;
	unsigned int idle = 0;

	/* A page that was used gets a second chance. */
	while (idle < 3) {
		freed = 0;
		vf_errno(vm_pageout(x->vf_sys, x->vf_vs, ~(uint64_t)0, 0, &freed), 0);
		sum += freed;
		idle = freed != 0 ? 0 : idle + 1;
	}
	return sum;
}

void
vf_swap_out(struct vf *x, gpa_t gpa)
{
	vf_pageout_all(x);
	vf_assert(!vf_info(x, gpa).pi_resident);
}
