/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The audit finds what it is there to find: each number and each link of an address space is made
 * wrong in turn, behind its back, and must be complained of under the right invariant; put right
 * again, there is nothing to complain of.
 */

#include "tests/unit/vm_fixture.h"
#include "vmspace/vm_priv.h"

#include <stdio.h>
#include <string.h>

#define RAM (16 * MIB)
#define DEVMEM (64 * MIB)
#define WIRED (DEVMEM + 8 * PAGE) /* ends meet */
#define WINDOW (3 * GIB)

#define NPAGES 600u
#define IN_MEMORY 0u /* page of the segment */
#define NEIGHBOR 1u
#define SWAPPED 9u
#define ABSENT 50u

static struct vm_page *
page(struct vf *x, unsigned int seg, uint64_t index)
{
	return vm_object_page(x->vf_vs->vs_segs[seg].sg_object, index);
}

static struct vm_chunk *
chunk(struct vf *x, uint64_t index)
{
	return vm_object_peek(x->vf_vs->vs_segs[0].sg_object, index);
}

static struct vm_map_entry *
entry(struct vf *x, unsigned int i)
{
	struct vm_map *const map = (struct vm_map *)(uintptr_t)host_load(&x->vf_vs->vs_map);

	return &map->mp_entries[i];
}

static struct vm_account *
account(struct vf *x)
{
	return x->vf_vs->vs_account;
}

static void
add(struct host_word *w, uint64_t n)
{
	host_store(w, host_load(w) + n);
}

static void
furnish(struct vf *x)
{
	vf_segment(x, 0, NPAGES, NULL);
	vf_segment(x, 1, 8, "framebuffer");
	vf_map(x, RAM, 0, 0, NPAGES - 8, PMAP_PROT_RWX);
	vf_map(x, DEVMEM, 1, 0, 8, PMAP_PROT_RW);
	vf_errno(vm_mmap_memseg(x->vf_vs, WIRED, 0, (NPAGES - 8) * PAGE, 8 * PAGE, PMAP_PROT_RW,
				VM_MEMMAP_F_WIRED),
		 0);
	vf_errno(vm_map_mmio(x->vf_vs, WINDOW, 2 * PAGE, FX_HPA), 0);
	vf_errno(vm_map_mmio(x->vf_vs, x->vf_fmt->pf_limit - PAGE, PAGE, FX_HPA), 0);
	vf_poke(x, DEVMEM, 1);
	vf_poke(x, RAM + 9 * PAGE, 9);
	vf_pageout_all(x);
	for (unsigned int i = 0; i < 4; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	vf_errno(vm_fault(x->vf_vs, WINDOW, PMAP_PROT_R, NULL), 0);
}

/* ---- What is made wrong ---------------------------------------------------------------------- */

/* Each is its own reverse, called with `undo`; 1 is added, and taken off again. */
static uint64_t
step(bool undo)
{
	return undo ? ~(uint64_t)0 : 1;
}

static void
busy(struct vf *x, bool undo)
{
	add(&page(x, 0, IN_MEMORY)->vp_state, step(undo) * VP_SHARE);
}

static void
no_frame(struct vf *x, bool undo)
{
	static uint64_t was;
	struct host_word *const w = &page(x, 0, IN_MEMORY)->vp_state;

	if (!undo)
		was = host_load(w);
	host_store(w, undo ? was : was & ~VP_FRAME);
}

static void
pinned_absent(struct vf *x, bool undo)
{
	add(&page(x, 0, ABSENT)->vp_pins, step(undo) * VP_HOLD);
}

static void
dirty_absent(struct vf *x, bool undo)
{
	add(&page(x, 0, ABSENT)->vp_state, step(undo) * VP_DIRTY);
}

static void
write_hold_alone(struct vf *x, bool undo)
{
	add(&page(x, 0, IN_MEMORY)->vp_pins, step(undo) * VP_WRITE_HOLD);
}

static void
devmem_slot(struct vf *x, bool undo)
{
	page(x, 1, 0)->vp_slot = undo ? 0 : 5;
}

static void
wrong_pager(struct vf *x, bool undo)
{
	struct vm_page *const pg = page(x, 0, SWAPPED);
	static uint64_t was;

	if (!undo)
		was = pg->vp_slot;
	pg->vp_slot = undo ? was : was == VM_SLOT_PAGER ? 1 : VM_SLOT_PAGER;
}

static void
beyond_the_end(struct vf *x, bool undo)
{
	add(&chunk(x, NPAGES - 1)->ch_pages[VM_CHUNK_PAGES - 1].vp_state, step(undo) * VP_DIRTY);
}

static void
just_beyond_the_end(struct vf *x, bool undo)
{
	add(&chunk(x, NPAGES - 1)->ch_pages[NPAGES % VM_CHUNK_PAGES].vp_state,
	    step(undo) * VP_REFERENCED);
}

static void
frame_free_in_run(struct vf *x, bool undo)
{
	struct vm_chunk *const ch = chunk(x, IN_MEMORY);
	static hpa_t was;

	if (!undo)
		was = ch->ch_run;
	ch->ch_run = undo ? was : vm_page_hpa(&ch->ch_pages[IN_MEMORY]);
	ch->ch_free[0] ^= 1;
}

static void
frames_of_no_run(struct vf *x, bool undo)
{
	(void)undo;
	chunk(x, NPAGES - 1)->ch_free[7] ^= (uint64_t)1 << 63;
}

static void
chunk_count(struct vf *x, bool undo)
{
	add(&chunk(x, IN_MEMORY)->ch_resident, step(undo));
}

static void
frames_swapped(struct vf *x, bool undo)
{
	struct host_word *const a = &page(x, 0, IN_MEMORY)->vp_state;
	struct host_word *const b = &page(x, 0, NEIGHBOR)->vp_state;
	const uint64_t was = host_load(a);

	(void)undo;
	host_store(a, host_load(b));
	host_store(b, was);
}

static void
rights(struct vf *x, bool undo)
{
	entry(x, 0)->me_prot = undo ? PMAP_PROT_RWX : PMAP_PROT_R;
}

static void
unlike_its_map(struct vf *x, bool undo)
{
	(void)undo;
	entry(x, 0)->me_flags ^= VM_MEMMAP_F_WIRED;
}

static void
wired_not_mapped(struct vf *x, bool undo)
{
	struct pmap_gather g;
	struct vm_hold h;

	if (!undo) {
		pmap_gather_begin(&g, x->vf_pm);
		vf_errno(pmap_remove(x->vf_pm, WIRED, WIRED + PAGE, &g), 0);
		pmap_gather_finish(&g);
		return;
	}
	vf_errno(vm_gpa_hold(x->vf_vs, WIRED, 1, PMAP_PROT_R, &h, NULL), 0);
	vf_errno(vm_fault(x->vf_vs, WIRED, PMAP_PROT_R, NULL), 0);
	vm_gpa_release(&h);
}

static void
wiring_lost(struct vf *x, bool undo)
{
	add(&page(x, 0, NPAGES - 1)->vp_pins, -step(undo) * VP_WIRING);
	add(&account(x)->ac_wired, -step(undo));
}

static void
wiring_extra(struct vf *x, bool undo)
{
	add(&page(x, 0, NPAGES - 1)->vp_pins, step(undo) * VP_WIRING);
}

/* As many as there should be, and not where. */
static void
wiring_moved(struct vf *x, bool undo)
{
	add(&page(x, 0, NPAGES - 1)->vp_pins, -step(undo) * VP_WIRING);
	add(&page(x, 0, NPAGES - 2)->vp_pins, step(undo) * VP_WIRING);
}

static void
leaving(struct vf *x, bool undo)
{
	host_store(&x->vf_vs->vs_leaving, undo ? 0 : host_load(&x->vf_vs->vs_map));
}

static void
order(struct vf *x, bool undo)
{
	const struct vm_map_entry was = *entry(x, 0);

	(void)undo;
	*entry(x, 0) = *entry(x, 1);
	*entry(x, 1) = was;
}

static void
empty(struct vf *x, bool undo)
{
	entry(x, 1)->me_end += undo ? 8 * PAGE : -8 * PAGE;
}

static void
crooked_start(struct vf *x, bool undo)
{
	entry(x, 1)->me_start += step(undo) * 8;
}

static void
crooked_end(struct vf *x, bool undo)
{
	entry(x, 1)->me_end -= step(undo) * 8;
}

static void
overlapping(struct vf *x, bool undo)
{
	entry(x, 2)->me_start -= step(undo) * PAGE;
}

static void
beyond_the_space(struct vf *x, bool undo)
{
	entry(x, 4)->me_end += step(undo) * PAGE;
}

static void
beyond_the_segment(struct vf *x, bool undo)
{
	entry(x, 1)->me_first += step(undo) * 100;
}

static void
no_segment(struct vf *x, bool undo)
{
	entry(x, 1)->me_ident += undo ? -1 : 1;
}

static void
segment_gone(struct vf *x, bool undo)
{
	static struct vm_object *was;

	if (!undo)
		was = x->vf_vs->vs_segs[1].sg_object;
	x->vf_vs->vs_segs[1].sg_object = undo ? was : NULL;
}

static void
memory_type(struct vf *x, bool undo)
{
	struct pmap_gather g;
	const struct pmap_mapping m = {
		.pa_gpa = RAM,
		.pa_hpa = vf_info(x, RAM).pi_hpa,
		.pa_prot = PMAP_PROT_R,
		.pa_memattr = undo ? PT_MEMATTR_WB : PT_MEMATTR_UC,
	};

	pmap_gather_begin(&g, x->vf_pm);
	vf_errno(pmap_remove(x->vf_pm, RAM, RAM + PAGE, &g), 0);
	pmap_gather_finish(&g);
	vf_errno(pmap_enter(x->vf_pm, &m), 0);
}

static void
mapped_beyond(struct vf *x, bool undo)
{
	const struct pmap_mapping m = {.pa_gpa = GIB, .pa_hpa = FX_HPA, .pa_prot = PMAP_PROT_R};
	struct pmap_gather g;

	pmap_gather_begin(&g, x->vf_pm);
	vf_errno(undo ? pmap_remove(x->vf_pm, GIB, GIB + PAGE, &g) : pmap_enter(x->vf_pm, &m), 0);
	pmap_gather_finish(&g);
}

static void
resident(struct vf *x, bool undo)
{
	add(&account(x)->ac_resident, step(undo));
}

static void
devices(struct vf *x, bool undo)
{
	add(&account(x)->ac_devmem, step(undo));
}

static void
wired(struct vf *x, bool undo)
{
	add(&account(x)->ac_wired, step(undo));
}

static void
reserved(struct vf *x, bool undo)
{
	add(&account(x)->ac_reserved, step(undo));
}

static void
swapped(struct vf *x, bool undo)
{
	add(&account(x)->ac_swapped, -step(undo));
}

static void
held(struct vf *x, bool undo)
{
	add(&account(x)->ac_held, step(undo));
}

static void
limit(struct vf *x, bool undo)
{
	account(x)->ac_limit_pages = undo ? ~(uint64_t)0 : 3;
}

/* A sentence is compared as far as it is given: a number that is the same each time is in it. */
static const struct mistake {
	const char *mi_what;
	const char *mi_says;
	void (*mi_fn)(struct vf *x, bool undo);
} mistakes[] = {
	{"a page is busy", "I44: a page is busy: 0x0", busy},
	{"no frame", "I30: a page is in memory without a frame, or the reverse: 0x0", no_frame},
	{"pinned and absent", "I33: a page that is pinned or dirty is not in memory: 0x32",
	 pinned_absent},
	{"dirty and absent", "I33: a page that is pinned or dirty is not in memory: 0x32",
	 dirty_absent},
	{"held for writing, and not held", "I33: more holds for writing than holds: 0x0",
	 write_hold_alone},
	{"devmem in swap", "I35: device memory in swap: 0x0", devmem_slot},
	{"wrong pager", "I35: contents with the wrong pager: 0x9", wrong_pager},
	{"a page beyond the end", "I39: a page beyond the end: 0x3ff", beyond_the_end},
	{"the page beyond the end", "I39: a page beyond the end: 0x258", just_beyond_the_end},
	{"a frame in use is free", "I30: a frame in use is free in its run: 0x", frame_free_in_run},
	{"frames of no run", "I42: frames of no run: 0x200", frames_of_no_run},
	{"count of the chunk", "I42: pages of the chunk in memory: 0x5", chunk_count},
	{"two frames swapped", "I30: a leaf shows a frame that is not the page's: 0x1000000",
	 frames_swapped},
	{"rights", "I36: a leaf grants more than the map: 0x1000000", rights},
	{"wired unlike its map", "I32: a leaf wired unlike its map: 0x1000000", unlike_its_map},
	{"wired, not mapped", "I32: wired and not mapped: 0x4008000", wired_not_mapped},
	{"a wiring lost", "I32: a page of a wired map is not wired: 0x400f000", wiring_lost},
	{"a wiring too many", "I32: wirings of pages: 0x9", wiring_extra},
	{"a wiring of another page", "I32: a page of a wired map is not wired: 0x400f000",
	 wiring_moved},
	{"a map leaving", "I38: a map is still leaving: 0x5", leaving},
	{"maps out of order", "I38: maps out of order: 0x1000000", order},
	{"a map of nothing", "I38: maps out of order: 0x4000000", empty},
	{"a map that begins within a page", "I38: maps out of order: 0x4000008", crooked_start},
	{"a map that ends within a page", "I38: maps out of order: 0x4000000", crooked_end},
	{"maps that overlap", "I38: maps out of order: 0x4007000", overlapping},
	{"beyond the space", "I38: maps out of order: 0x", beyond_the_space},
	{"beyond the segment", "I38: a map beyond its segment: 0x4000000", beyond_the_segment},
	{"of another segment", "I38: a map of no segment: 0x4000000", no_segment},
	{"of no segment", "I38: a map of no segment: 0x4000000", segment_gone},
	{"memory type", "I06: a leaf of the wrong memory type: 0x1000000", memory_type},
	{"mapped beyond the maps", "I30: pages mapped beyond the maps: 0x", mapped_beyond},
	{"resident", "I42: pages in memory: 0x", resident},
	{"devices", "I42: pages of devices: 0x2", devices},
	{"wired", "I42: pages wired: 0x9", wired},
	{"reserved", "I42: pages reserved: 0x", reserved},
	{"swapped", "I42: pages in swap: 0x0", swapped},
	{"held", "I42: pages held: 0x", held},
	{"beyond the limit", "I42: beyond the guest's limit: 0x", limit},
};

static void
expect(struct vf *x, const struct mistake *m)
{
	const size_t n = strlen(m->mi_says);
	char why[FX_WHY_BYTES];
	char small[6];

	memset(why, '?', sizeof(why));
	if (vmspace_check(x->vf_vs, why, sizeof(why)) != -EINVAL)
		vf_fail("%s: not found", m->mi_what);
	vf_assert(memchr(why, '\0', sizeof(why)) != NULL);
	if (strncmp(why, m->mi_says, n) != 0 || (m->mi_says[n - 1] != 'x' && why[n] != '\0'))
		vf_fail("%s: found as \"%s\"", m->mi_what, why);
	vf_errno(vm_system_check(x->vf_sys, why, sizeof(why)), -EINVAL);
	if (strncmp(why, m->mi_says, n) != 0)
		vf_fail("%s: found by the system as \"%s\"", m->mi_what, why);
	memset(small, '?', sizeof(small));
	vf_errno(vmspace_check(x->vf_vs, small, 4), -EINVAL);
	vf_assert(strncmp(small, m->mi_says, 3) == 0 && small[3] == '\0' && small[4] == '?');
	vf_errno(vmspace_check(x->vf_vs, small, 0), -EINVAL);
}

static void
each_mistake(struct vf *x)
{
	furnish(x);
	vf_check(x);
	for (unsigned int i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		mistakes[i].mi_fn(x, false);
		expect(x, &mistakes[i]);
		mistakes[i].mi_fn(x, true);
		vf_check(x);
	}
	vf_verify(x);
}

Test(vm_audit, space)
{
	vf_each(NULL, each_mistake);
}

/* ---- Pages that cannot be found -------------------------------------------------------------- */

static void
unlike(struct vf *x, const char *says)
{
	char why[FX_WHY_BYTES];

	vf_errno(vmspace_check(x->vf_vs, why, sizeof(why)), -EINVAL);
	vf_assert(strncmp(why, says, strlen(says)) == 0);
}

/* Pages of a segment that is gone are in the account only: it may say more than there is. */
static void
account_of_more(struct vf *x)
{
	struct host_word *rows[5];

	furnish(x);
	rows[0] = &account(x)->ac_resident;
	rows[1] = &account(x)->ac_devmem;
	rows[2] = &account(x)->ac_wired;
	rows[3] = &account(x)->ac_reserved;
	rows[4] = &account(x)->ac_swapped;
	add(&account(x)->ac_refs, 1);
	for (unsigned int i = 0; i < 5; i++) {
		const uint64_t n = i == 2 || i == 4 ? 0 : 1; /* these are frames that are held */

		add(rows[i], 1);
		add(&account(x)->ac_held, n);
		add(&x->vf_sys->sy_held, n);
		vf_check(x);
		add(&account(x)->ac_refs, -(uint64_t)1);
		unlike(x, "I42: pages ");
		add(&account(x)->ac_refs, 1);
		add(rows[i], -(uint64_t)1);
		add(&account(x)->ac_held, -n);
		add(&x->vf_sys->sy_held, -n);
		if (host_load(rows[i]) == 0)
			continue; /* of a run, none may be reserved */
		add(rows[i], -(uint64_t)1);
		unlike(x, "I42: pages ");
		add(rows[i], 1);
	}
	/* As much as it may, and no more. */
	account(x)->ac_limit_pages = host_load(&account(x)->ac_held);
	vf_check(x);
	account(x)->ac_limit_pages--;
	unlike(x, "I42: beyond the guest's limit: 0x");
	account(x)->ac_limit_pages = ~(uint64_t)0;
	add(&account(x)->ac_refs, -(uint64_t)1);
}

Test(vm_audit, account_of_more)
{
	vf_each(NULL, account_of_more);
}

static void
slots_of_more(struct vf *x)
{
	char why[FX_WHY_BYTES];

	furnish(x);
	add(&account(x)->ac_refs, 1);
	x->vf_sys->sy_swap.sw_used++;
	vf_check(x);
	x->vf_sys->sy_swap.sw_used -= 2;
	vf_errno(vm_system_check(x->vf_sys, why, sizeof(why)), -EINVAL);
	vf_assert(strncmp(why, "I42: swap slots: 0x", 19) == 0);
	x->vf_sys->sy_swap.sw_used++;
	add(&account(x)->ac_refs, -(uint64_t)1);
}

Test(vm_audit, slots_of_more)
{
	vf_each_swap(NULL, slots_of_more);
}

/* ---- The system's ---------------------------------------------------------------------------- */

static void
found(struct vf *x, const char *says, uint64_t number)
{
	char whole[FX_WHY_BYTES];
	char why[FX_WHY_BYTES];

	snprintf(whole, sizeof(whole), "%s: 0x%llx", says, (unsigned long long)number);
	vf_errno(vm_system_check(x->vf_sys, why, sizeof(why)), -EINVAL);
	if (strcmp(why, whole) != 0)
		vf_fail("found as \"%s\"", why);
}

static void
system_mistakes_of(struct vf *x)
{
	char why[FX_WHY_BYTES];

	add(&x->vf_sys->sy_held, 1);
	found(x, "I42: pages held by all", host_load(&x->vf_sys->sy_held));
	vf_errno(vmspace_check(x->vf_vs, why, sizeof(why)), 0);
	add(&x->vf_sys->sy_held, -(uint64_t)1);
	x->vf_sys->sy_swap.sw_used++;
	found(x, "I42: swap slots", x->vf_sys->sy_swap.sw_used);
	x->vf_sys->sy_swap.sw_used -= 2;
	found(x, "I42: swap slots", x->vf_sys->sy_swap.sw_used);
	x->vf_sys->sy_swap.sw_used++;
	vf_check(x);
}

static void
system_mistakes(struct vf *x)
{
	furnish(x);
	vf_check(x);
	system_mistakes_of(x);
}

Test(vm_audit, system)
{
	vf_each(NULL, system_mistakes);
}

/* The mistake is the second guest's, or that of both together. */
static void
two_guests(struct vf *x)
{
	struct vf other;

	furnish(x);
	vf_open_second(&other, x, x->vf_format->ff_name, &x->vf_options);
	furnish(&other);
	vf_check(x);
	system_mistakes_of(x);
	add(&page(&other, 0, IN_MEMORY)->vp_state, VP_SHARE);
	found(x, "I44: a page is busy", 0);
	add(&page(&other, 0, IN_MEMORY)->vp_state, -VP_SHARE);
	add(&page(x, 0, IN_MEMORY)->vp_state, VP_SHARE);
	found(x, "I44: a page is busy", 0);
	add(&page(x, 0, IN_MEMORY)->vp_state, -VP_SHARE);
	vf_close(&other);
}

Test(vm_audit, two_guests)
{
	vf_each(NULL, two_guests);
}
