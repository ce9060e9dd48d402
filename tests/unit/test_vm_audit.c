/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The audit finds what it is there to find: each number and each link of an address space is made
 * wrong in turn, behind its back, and must be complained of under the right invariant; put right
 * again, there is nothing to complain of.
 */

#include "tests/unit/vm_fixture.h"
#include "vmspace/vm_priv.h"

#include <string.h>

#define RAM (16 * MIB)
#define DEVMEM (64 * MIB)
#define WIRED (96 * MIB)
#define WINDOW (3 * GIB)

#define NPAGES 600u
#define IN_MEMORY 0u /* page of the segment */
#define NEIGHBOR 1u
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
beyond_the_end(struct vf *x, bool undo)
{
	add(&chunk(x, NPAGES - 1)->ch_pages[VM_CHUNK_PAGES - 1].vp_state, step(undo) * VP_DIRTY);
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
	add(&x->vf_vs->vs_account->ac_wired, -step(undo));
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
	add(&x->vf_vs->vs_account->ac_resident, step(undo));
}

static void
devices(struct vf *x, bool undo)
{
	add(&x->vf_vs->vs_account->ac_devmem, step(undo));
}

static void
wired(struct vf *x, bool undo)
{
	add(&x->vf_vs->vs_account->ac_wired, step(undo));
}

static void
reserved(struct vf *x, bool undo)
{
	add(&x->vf_vs->vs_account->ac_reserved, step(undo));
}

static void
swapped(struct vf *x, bool undo)
{
	add(&x->vf_vs->vs_account->ac_swapped, -step(undo));
}

static void
held(struct vf *x, bool undo)
{
	add(&x->vf_vs->vs_account->ac_held, step(undo));
}

static void
limit(struct vf *x, bool undo)
{
	x->vf_vs->vs_account->ac_limit_pages = undo ? ~(uint64_t)0 : 3;
}

static const struct mistake {
	const char *mi_what;
	const char *mi_invariant;
	void (*mi_fn)(struct vf *x, bool undo);
} mistakes[] = {
	{"a page is busy", "I44", busy},
	{"no frame", "I30", no_frame},
	{"pinned and absent", "I33", pinned_absent},
	{"dirty and absent", "I33", dirty_absent},
	{"held for writing, and not held", "I33", write_hold_alone},
	{"devmem in swap", "I35", devmem_slot},
	{"a page beyond the end", "I39", beyond_the_end},
	{"a frame in use is free", "I30", frame_free_in_run},
	{"frames of no run", "I42", frames_of_no_run},
	{"count of the chunk", "I42", chunk_count},
	{"two frames swapped", "I30", frames_swapped},
	{"rights", "I36", rights},
	{"wired unlike its map", "I32", unlike_its_map},
	{"wired, not mapped", "I32", wired_not_mapped},
	{"a wiring lost", "I32", wiring_lost},
	{"a wiring too many", "I32", wiring_extra},
	{"a wiring of another page", "I32", wiring_moved},
	{"a map leaving", "I38", leaving},
	{"maps out of order", "I38", order},
	{"beyond the segment", "I38", beyond_the_segment},
	{"of no segment", "I38", no_segment},
	{"memory type", "I06", memory_type},
	{"mapped beyond the maps", "I30", mapped_beyond},
	{"resident", "I42", resident},
	{"devices", "I42", devices},
	{"wired", "I42", wired},
	{"reserved", "I42", reserved},
	{"swapped", "I42", swapped},
	{"held", "I42", held},
	{"beyond the limit", "I42", limit},
};

/* The sentence, whole and cut off: it begins with the invariant. */
static void
expect(struct vf *x, const struct mistake *m)
{
	char why[FX_WHY_BYTES];
	char small[6];

	memset(why, '?', sizeof(why));
	if (vmspace_check(x->vf_vs, why, sizeof(why)) != -EINVAL)
		vf_fail("%s: not found", m->mi_what);
	vf_assert(memchr(why, '\0', sizeof(why)) != NULL);
	if (strncmp(why, m->mi_invariant, 3) != 0 || why[3] != ':')
		vf_fail("%s: found as \"%s\"", m->mi_what, why);
	vf_errno(vm_system_check(x->vf_sys, why, sizeof(why)), -EINVAL);
	if (strncmp(why, m->mi_invariant, 3) != 0)
		vf_fail("%s: found by the system as \"%s\"", m->mi_what, why);
	memset(small, '?', sizeof(small));
	vf_errno(vmspace_check(x->vf_vs, small, 4), -EINVAL);
	vf_assert(strncmp(small, m->mi_invariant, 3) == 0 && small[3] == '\0' && small[4] == '?');
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

/* ---- The system's ---------------------------------------------------------------------------- */

static void
system_mistakes(struct vf *x)
{
	char why[FX_WHY_BYTES];

	furnish(x);
	vf_check(x);
	add(&x->vf_sys->sy_held, 1);
	vf_errno(vm_system_check(x->vf_sys, why, sizeof(why)), -EINVAL);
	vf_assert(strncmp(why, "I42: pages held by all", 22) == 0);
	vf_errno(vmspace_check(x->vf_vs, why, sizeof(why)), 0);
	add(&x->vf_sys->sy_held, -(uint64_t)1);
	x->vf_sys->sy_swap.sw_used++;
	vf_errno(vm_system_check(x->vf_sys, why, sizeof(why)), -EINVAL);
	vf_assert(strncmp(why, "I42: swap slots", 15) == 0);
	x->vf_sys->sy_swap.sw_used -= 2;
	vf_errno(vm_system_check(x->vf_sys, why, sizeof(why)), -EINVAL);
	x->vf_sys->sy_swap.sw_used++;
	vf_check(x);
}

Test(vm_audit, system)
{
	vf_each(NULL, system_mistakes);
}
