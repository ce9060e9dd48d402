/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Wiring: every page of a map in memory, mapped, and staying so.
 *
 * First every page is brought in and pinned; then the map says that it is wired, so that faults
 * enter wired entries; then every page is entered. Whatever fails on the way is undone in reverse:
 * the map says again what it said, faults that read the other one are waited for, entries become
 * ordinary ones, pins go. Devices see a map after it is wired, and do not see it before it is not.
 */

#include "vmspace/vm_priv.h"

/* ---- Pins ------------------------------------------------------------------------------------ */

static void
unpin_first(const struct vm_map_entry *e, uint64_t n)
{
	while (n-- > 0)
		vm_object_unpin(e->me_object, e->me_first + n, VP_WIRING);
}

static int
pin_all(const struct vm_map_entry *e)
{
	struct vm_object *const ob = e->me_object;

	for (uint64_t i = 0; i < vm_entry_pages(e); i++) {
		enum vm_fault_reason why;
		struct vm_page *pg;
		const int error = host_interrupted()
					  ? -EINTR
					  : vm_object_getpage(ob, e->me_first + i, &pg, &why);

		if (error != 0) {
			unpin_first(e, i);
			return error;
		}
		if (VP_WIRINGS(host_fetch_add(&pg->vp_pins, VP_WIRING)) == 0)
			host_fetch_add(&ob->ob_account->ac_wired, 1);
		vm_page_unshare(ob, pg);
	}
	return 0;
}

void
vm_unpin_entry(struct vmspace *vs, const struct vm_map_entry *e)
{
	(void)vs;
	unpin_first(e, vm_entry_pages(e));
}

void
vm_unwire_all(struct vmspace *vs)
{
	const struct vm_map *const map = vm_map_current(vs);

	for (unsigned int i = 0; i < map->mp_n; i++) {
		if (map->mp_entries[i].me_flags & VM_MEMMAP_F_WIRED)
			vm_unpin_entry(vs, &map->mp_entries[i]);
	}
}

/* ---- Entries --------------------------------------------------------------------------------- */

/* One enter may do for a whole superpage. */
static int
enter_all(struct vmspace *vs, const struct vm_map_entry *e)
{
	gpa_t gpa = e->me_start;

	while (gpa < e->me_end) {
		struct vm_fault_record r;
		struct pmap_leaf leaf;
		int error;

		if (pmap_extract(vs->vs_pmap, gpa, &leaf) == 0 && leaf.pl_wired) {
			gpa = leaf.pl_gpa + pt_level_size(leaf.pl_level);
			continue;
		}
		error = host_interrupted() ? -EINTR : vm_fault_in(vs, gpa, 0, &r);
		if (error != 0)
			return error;
	}
	return 0;
}

static void
sweep_unwire(struct vmspace *vs, const struct vm_map *old, struct pmap_gather *g, void *arg)
{
	const struct vm_map_entry *const e = arg;

	(void)old;
	(void)g;
	pmap_unwire(vs->vs_pmap, e->me_start, e->me_end);
}

/* ---- Wiring ---------------------------------------------------------------------------------- */

/* The maps on the way, made before anything is done: all or none. */
struct wiring {
	struct vm_map *wi_wired;
	struct vm_map *wi_shown; /* wired, and devices reach it */
	struct vm_map *wi_back;
};

static struct vm_map *
map_flagged(struct vmspace *vs, const struct vm_map_entry *e, unsigned int flags)
{
	struct vm_map *const map = vm_map_copy(vs);

	if (map != NULL)
		map->mp_entries[vm_map_search(map, e->me_start)].me_flags = flags;
	return map;
}

static void
discard_if(struct vm_map *map)
{
	if (map != NULL)
		vm_map_discard(map);
}

static int
wiring_prepare(struct vmspace *vs, const struct vm_map_entry *e, struct wiring *wi)
{
	const unsigned int wired = e->me_flags | VM_MEMMAP_F_WIRED;

	wi->wi_wired = map_flagged(vs, e, wired);
	wi->wi_shown = map_flagged(vs, e, wired | VM_MEMMAP_F_IOMMU);
	wi->wi_back = map_flagged(vs, e, e->me_flags);
	if (wi->wi_wired != NULL && wi->wi_shown != NULL && wi->wi_back != NULL)
		return 0;
	discard_if(wi->wi_wired);
	discard_if(wi->wi_shown);
	discard_if(wi->wi_back);
	return -ENOMEM;
}

int
vm_wire_entry(struct vmspace *vs, const struct vm_map_entry *found)
{
	struct vm_map_entry e = *found;
	struct wiring wi;
	int error = wiring_prepare(vs, &e, &wi);

	if (error != 0)
		return error;
	error = pin_all(&e);
	if (error != 0) {
		discard_if(wi.wi_wired);
		discard_if(wi.wi_shown);
		discard_if(wi.wi_back);
		return error;
	}
	vm_map_publish(vs, wi.wi_wired);
	error = enter_all(vs, &e);
	if (error == 0 && vs->vs_domain != NULL)
		error = vm_iommu_show(vs, &e);
	if (error != 0) {
		vm_map_discard(wi.wi_shown);
		vm_map_revoke(vs, wi.wi_back, sweep_unwire, &e);
		vm_unpin_entry(vs, &e);
		return error;
	}
	if (vs->vs_domain != NULL)
		vm_map_publish(vs, wi.wi_shown);
	else
		vm_map_discard(wi.wi_shown);
	vm_map_discard(wi.wi_back);
	return 0;
}

static const struct vm_map_entry *
find_sysmem(const struct vmspace *vs, gpa_t gpa, uint64_t len)
{
	const struct vm_map_entry *const e = vm_map_exact(vm_map_current(vs), gpa, len);

	return e != NULL && e->me_object->ob_type == OBJT_DEFAULT ? e : NULL;
}

int
vm_wire_memmap(struct vmspace *vs, gpa_t gpa, uint64_t len)
{
	const struct vm_map_entry *e;
	int error = 0;

	host_mutex_lock(&vs->vs_lock);
	e = find_sysmem(vs, gpa, len);
	if (e == NULL)
		error = -EINVAL;
	else if (!(e->me_flags & VM_MEMMAP_F_WIRED))
		error = vm_wire_entry(vs, e);
	host_mutex_unlock(&vs->vs_lock);
	return error == -EIO ? -EFAULT : error;
}

static int
unwire(struct vmspace *vs, const struct vm_map_entry *found)
{
	struct vm_map_entry e = *found;
	struct vm_map *const map = map_flagged(vs, &e, e.me_flags & ~VM_MEMMAP_F_WIRED);

	if (map == NULL)
		return -ENOMEM;
	vm_map_revoke(vs, map, sweep_unwire, &e);
	vm_unpin_entry(vs, &e);
	return 0;
}

int
vm_unwire_memmap(struct vmspace *vs, gpa_t gpa, uint64_t len)
{
	const struct vm_map_entry *e;
	int error = 0;

	host_mutex_lock(&vs->vs_lock);
	e = find_sysmem(vs, gpa, len);
	if (e == NULL)
		error = -EINVAL;
	else if (e->me_flags & VM_MEMMAP_F_IOMMU)
		error = -EBUSY;
	else if (e->me_flags & VM_MEMMAP_F_WIRED)
		error = unwire(vs, e);
	host_mutex_unlock(&vs->vs_lock);
	return error;
}
