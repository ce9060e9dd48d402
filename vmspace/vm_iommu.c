/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What devices see of a guest's memory: the wired maps of system memory, and nothing else.
 *
 * Order. Pages are pinned, then mapped; unmapped, flushed, then unpinned. On the way in everything
 * that can fail comes first: pages are mapped for the devices, the map is published that says so,
 * the device is attached; only then do the frames leave the host's domain, which cannot fail. On
 * the way out the device is detached first. The frames come back to the host's domain last, which
 * cannot fail either (vm_host.h), and before they are unpinned: none is given away that the host's
 * own devices could not reach.
 *
 * A page that two wired maps show is mapped twice for the devices, and leaves the host's domain
 * once: with the first of them. Maps come in the order of the array, or one by one.
 *
 * What devices write is noted by nobody. While a map is theirs its pages count as written
 * (VM_MEMMAP_F_IOMMU, vm_dirty.c); when it is theirs no more they are marked, after the flush.
 */

#include "vmspace/vm_priv.h"

/* A device's rights are to read and to write: a map that grants neither is not for devices. */
static bool
is_for_devices(const struct vm_map_entry *e)
{
	return (e->me_flags & VM_MEMMAP_F_WIRED) != 0 && e->me_object->ob_type == OBJT_DEFAULT &&
	       (e->me_prot & PMAP_PROT_RW) != 0;
}

static hpa_t
frame_at(const struct vm_map_entry *e, uint64_t page)
{
	return vm_page_hpa(vm_object_page(e->me_object, e->me_first + page));
}

/* How many pages of e, from `page` on, lie in consecutive frames. */
static uint64_t
run_length(const struct vm_map_entry *e, uint64_t page)
{
	const hpa_t first = frame_at(e, page);
	uint64_t n = 1;

	while (page + n < vm_entry_pages(e) && frame_at(e, page + n) == first + n * HOST_PAGE_SIZE)
		n++;
	return n;
}

/* ---- The guest's domain ---------------------------------------------------------------------- */

static void
unmap_first(struct vmspace *vs, const struct vm_map_entry *e, uint64_t npages)
{
	if (npages != 0)
		host_iommu_unmap(vs->vs_domain, e->me_start, npages * HOST_PAGE_SIZE);
	host_iommu_flush(vs->vs_domain);
}

static int
map_all(struct vmspace *vs, const struct vm_map_entry *e)
{
	uint64_t page = 0;

	while (page < vm_entry_pages(e)) {
		const uint64_t n = run_length(e, page);
		const int error = host_iommu_map(vs->vs_domain, e->me_start + page * HOST_PAGE_SIZE,
						 frame_at(e, page), n * HOST_PAGE_SIZE, e->me_prot);

		if (error != 0) {
			unmap_first(vs, e, page);
			return error;
		}
		page += n;
		host_relax();
	}
	return 0;
}

/* Devices may have written every page of it. Their accesses are over. */
static void
mark_written(const struct vm_map_entry *e)
{
	for (uint64_t page = 0; (e->me_prot & PMAP_PROT_W) && page < vm_entry_pages(e); page++)
		vm_page_mark(vm_object_page(e->me_object, e->me_first + page),
			     VP_DIRTY | VP_LOGGED);
}

/* ---- The host's domain ----------------------------------------------------------------------- */

/* Other maps that devices see: entries [from, to) of a map that have a flag; not e itself. */
struct others {
	const struct vm_map *ot_map;
	unsigned int ot_from;
	unsigned int ot_to;
	unsigned int ot_flag;
};

static bool
shown_by(const struct others *ot, const struct vm_map_entry *e, uint64_t page)
{
	const uint64_t index = e->me_first + page;

	for (unsigned int i = ot->ot_from; i < ot->ot_to; i++) {
		const struct vm_map_entry *const o = &ot->ot_map->mp_entries[i];

		if (o->me_object == e->me_object && o->me_start != e->me_start &&
		    (o->me_flags & ot->ot_flag) && is_for_devices(o) && index >= o->me_first &&
		    index - o->me_first < vm_entry_pages(o))
			return true;
	}
	return false;
}

static void
restore_frames(hpa_t hpa, uint64_t npages)
{
	const int error = host_iommu_map(NULL, hpa, hpa, npages * HOST_PAGE_SIZE, PMAP_PROT_RW);

	HOST_ASSERT(error == 0);
	(void)error;
}

/* Takes the frames of e that no other map shows to devices out of the host's domain, or puts them
 * back. */
static void
move_frames(const struct vm_map_entry *e, const struct others *ot, bool hide)
{
	uint64_t page = 0;

	while (page < vm_entry_pages(e)) {
		const hpa_t hpa = frame_at(e, page);
		const uint64_t most = run_length(e, page);
		const bool other = shown_by(ot, e, page);
		uint64_t n = 1;

		while (n < most && shown_by(ot, e, page + n) == other)
			n++;
		if (!other && hide)
			host_iommu_unmap(NULL, hpa, n * HOST_PAGE_SIZE);
		else if (!other)
			restore_frames(hpa, n);
		page += n;
		host_relax();
	}
	if (hide)
		host_iommu_flush(NULL);
}

/* ---- One map --------------------------------------------------------------------------------- */

int
vm_iommu_show(struct vmspace *vs, const struct vm_map_entry *e)
{
	const struct vm_map *const map = vm_map_current(vs);
	const struct others ot = {map, 0, map->mp_n, VM_MEMMAP_F_IOMMU};
	struct vm_map_entry shown = *e;
	int error;

	HOST_ASSERT(host_mutex_held(&vs->vs_lock));
	/* It is wired, whatever the caller's copy of it says. */
	shown.me_flags |= VM_MEMMAP_F_WIRED;
	if (!is_for_devices(&shown))
		return 0;
	error = map_all(vs, &shown);
	if (error == 0)
		move_frames(&shown, &ot, true);
	else
		mark_written(&shown); /* devices have seen a part of it */
	return error;
}

/* Takes a map from the devices; the others that are theirs stay. */
static void
unshow(struct vmspace *vs, const struct vm_map_entry *e, const struct others *ot)
{
	unmap_first(vs, e, vm_entry_pages(e));
	mark_written(e);
	move_frames(e, ot, false);
}

/* ---- All maps -------------------------------------------------------------------------------- */

/* Creates the domain and maps every wired map of system memory in it. */
static int
open_domain(struct vmspace *vs)
{
	const struct vm_map *const map = vm_map_current(vs);
	int error = host_iommu_create(&vs->vs_domain);

	if (error != 0)
		vs->vs_domain = NULL;
	for (unsigned int i = 0; i < map->mp_n && error == 0; i++) {
		if (!is_for_devices(&map->mp_entries[i]))
			continue;
		error = map_all(vs, &map->mp_entries[i]);
		while (error != 0 && i-- > 0) {
			if (is_for_devices(&map->mp_entries[i]))
				unmap_first(vs, &map->mp_entries[i],
					    vm_entry_pages(&map->mp_entries[i]));
		}
		if (error != 0) {
			host_iommu_destroy(vs->vs_domain);
			vs->vs_domain = NULL;
			return error;
		}
	}
	return error;
}

/* The current map, with or without the devices' flag on what is theirs. */
static struct vm_map *
map_flagged(const struct vmspace *vs, bool flagged)
{
	struct vm_map *const map = vm_map_copy(vs);

	for (unsigned int i = 0; map != NULL && i < map->mp_n; i++) {
		struct vm_map_entry *const e = &map->mp_entries[i];

		e->me_flags &= ~VM_MEMMAP_F_IOMMU;
		if (flagged && (e->me_flags & VM_MEMMAP_F_WIRED))
			e->me_flags |= VM_MEMMAP_F_IOMMU;
	}
	return map;
}

static void
hide_all(struct vmspace *vs)
{
	const struct vm_map *const map = vm_map_current(vs);

	for (unsigned int i = 0; i < map->mp_n; i++) {
		const struct others before = {map, 0, i, VM_MEMMAP_F_WIRED};

		if (is_for_devices(&map->mp_entries[i]))
			move_frames(&map->mp_entries[i], &before, true);
	}
}

/* No device is attached any more. */
static void
close_domain(struct vmspace *vs)
{
	const struct vm_map *const map = vm_map_current(vs);

	for (unsigned int i = 0; i < map->mp_n; i++) {
		const struct others after = {map, i + 1, map->mp_n, VM_MEMMAP_F_WIRED};

		if (is_for_devices(&map->mp_entries[i]))
			unshow(vs, &map->mp_entries[i], &after);
	}
	host_iommu_destroy(vs->vs_domain);
	vs->vs_domain = NULL;
}

/* ---- Devices --------------------------------------------------------------------------------- */

/* The way back for an attachment that fails: nothing left the host's domain. */
static void
abandon(struct vmspace *vs, struct vm_map *back)
{
	const struct vm_map *const map = vm_map_current(vs);

	for (unsigned int i = 0; i < map->mp_n; i++) {
		if (is_for_devices(&map->mp_entries[i]))
			unmap_first(vs, &map->mp_entries[i], vm_entry_pages(&map->mp_entries[i]));
	}
	host_iommu_destroy(vs->vs_domain);
	vs->vs_domain = NULL;
	vm_map_publish(vs, back);
}

static int
attach_first(struct vmspace *vs, uint64_t device)
{
	struct vm_map *const flagged = map_flagged(vs, true);
	struct vm_map *const back = map_flagged(vs, false);
	int error = -ENOMEM;

	if (flagged != NULL && back != NULL)
		error = open_domain(vs);
	if (error != 0) {
		if (flagged != NULL)
			vm_map_discard(flagged);
		if (back != NULL)
			vm_map_discard(back);
		return error;
	}
	vm_map_publish(vs, flagged);
	error = host_iommu_attach(vs->vs_domain, device);
	if (error != 0) {
		abandon(vs, back);
		return error;
	}
	vm_map_discard(back);
	hide_all(vs);
	return 0;
}

/* Its place in the list, or vs_ndevices. */
static unsigned int
find_device(const struct vmspace *vs, uint64_t device)
{
	unsigned int i = 0;

	while (i < vs->vs_ndevices && vs->vs_devices[i] != device)
		i++;
	return i;
}

int
vm_attach_device(struct vmspace *vs, uint64_t device)
{
	int error;

	host_mutex_lock(&vs->vs_lock);
	if (find_device(vs, device) != vs->vs_ndevices)
		error = -EEXIST;
	else if (vs->vs_ndevices == VM_MAX_DEVICES)
		error = -ENOSPC;
	else if (vs->vs_domain == NULL)
		error = attach_first(vs, device);
	else
		error = host_iommu_attach(vs->vs_domain, device);
	if (error == 0)
		vs->vs_devices[vs->vs_ndevices++] = device;
	host_mutex_unlock(&vs->vs_lock);
	return error;
}

static void
detach_at(struct vmspace *vs, unsigned int i)
{
	host_iommu_detach(vs->vs_domain, vs->vs_devices[i]);
	vs->vs_devices[i] = vs->vs_devices[--vs->vs_ndevices];
}

int
vm_detach_device(struct vmspace *vs, uint64_t device)
{
	struct vm_map *back = NULL;
	unsigned int i;
	int error = 0;

	host_mutex_lock(&vs->vs_lock);
	i = find_device(vs, device);
	if (i == vs->vs_ndevices) {
		error = -ENOENT;
	} else if (vs->vs_ndevices == 1) {
		back = map_flagged(vs, false);
		if (back == NULL)
			error = -ENOMEM;
	}
	if (error == 0)
		detach_at(vs, i);
	if (back != NULL) {
		close_domain(vs);
		vm_map_publish(vs, back);
	}
	host_mutex_unlock(&vs->vs_lock);
	return error;
}

/* The map is not changed: nobody reads it any more, and there may be no memory for another. */
void
vm_iommu_detach_all(struct vmspace *vs)
{
	HOST_ASSERT(host_mutex_held(&vs->vs_lock));
	while (vs->vs_ndevices != 0)
		detach_at(vs, vs->vs_ndevices - 1);
	if (vs->vs_domain != NULL)
		close_domain(vs);
}
