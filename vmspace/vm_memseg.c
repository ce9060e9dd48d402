/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Memory segments and their maps: bhyve's interface of 2015, with its errors.
 *
 * Everything that can fail comes before the first visible change: maps are made before they are
 * published, and the map to go back to is made along with the one to go forward with.
 */

#include "vmspace/vm_priv.h"

/* ---- Segments -------------------------------------------------------------------------------- */

static struct vm_seg *
find_seg(struct vmspace *vs, int ident)
{
	HOST_ASSERT(host_mutex_held(&vs->vs_lock));
	for (unsigned int i = 0; i < VM_MAX_MEMSEGS; i++) {
		if (vs->vs_segs[i].sg_object != NULL && vs->vs_segs[i].sg_ident == ident)
			return &vs->vs_segs[i];
	}
	return NULL;
}

static bool
same_name(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* Not an empty name, which system memory has, and places where no segment is. */
static struct vm_seg *
find_name(struct vmspace *vs, const char *name)
{
	for (unsigned int i = 0; i < VM_MAX_MEMSEGS; i++) {
		if (same_name(vs->vs_segs[i].sg_name, name))
			return &vs->vs_segs[i];
	}
	return NULL;
}

/* A name becomes that of a device node. */
static int
name_valid(const char *name)
{
	unsigned int n = 0;

	for (; name[n] != '\0'; n++) {
		const char c = name[n];
		const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
				  (c >= '0' && c <= '9') || c == '-' || c == '_' ||
				  (c == '.' && n != 0);

		if (n == VM_MEMSEG_NAME_BYTES - 1)
			return -ENAMETOOLONG;
		if (!fine)
			return -EINVAL;
	}
	return n != 0 ? 0 : -EINVAL;
}

static int
add_seg(struct vmspace *vs, int ident, uint64_t npages, const char *name)
{
	struct vm_seg *sg = NULL;
	int error;

	for (unsigned int i = 0; i < VM_MAX_MEMSEGS && sg == NULL; i++) {
		if (vs->vs_segs[i].sg_object == NULL)
			sg = &vs->vs_segs[i];
	}
	if (sg == NULL)
		return -ENOSPC;
	error = vm_object_create(vs, name == NULL ? OBJT_DEFAULT : OBJT_DEVMEM, npages, 0,
				 &sg->sg_object);
	if (error != 0)
		return error;
	/* The name was cleared with the segment that was here before. */
	sg->sg_ident = ident;
	for (unsigned int i = 0; name != NULL && name[i] != '\0'; i++)
		sg->sg_name[i] = name[i];
	return 0;
}

int
vm_alloc_memseg(struct vmspace *vs, int ident, uint64_t len, const char *name)
{
	const uint64_t npages = len / HOST_PAGE_SIZE;
	const struct vm_seg *sg;
	int error = name != NULL ? name_valid(name) : 0;

	if (error != 0)
		return error;
	if (ident < 0 || ident > VM_IDENT_MAX || len == 0 || len % HOST_PAGE_SIZE != 0)
		return -EINVAL;
	host_mutex_lock(&vs->vs_lock);
	sg = find_seg(vs, ident);
	if (sg != NULL)
		error = sg->sg_object->ob_npages == npages &&
					same_name(sg->sg_name, name != NULL ? name : "")
				? -EEXIST
				: -EINVAL;
	else if (name != NULL && find_name(vs, name) != NULL)
		error = -EEXIST;
	else
		error = add_seg(vs, ident, npages, name);
	host_mutex_unlock(&vs->vs_lock);
	return error;
}

int
vm_get_memseg(struct vmspace *vs, int ident, struct vm_memseg *out)
{
	const struct vm_seg *sg;

	if (ident < 0 || ident > VM_IDENT_MAX)
		return -EINVAL;
	*out = (struct vm_memseg){.vg_ident = ident};
	host_mutex_lock(&vs->vs_lock);
	sg = find_seg(vs, ident);
	if (sg != NULL) {
		out->vg_len_bytes = sg->sg_object->ob_npages * HOST_PAGE_SIZE;
		out->vg_sysmem = sg->sg_object->ob_type == OBJT_DEFAULT;
		for (unsigned int i = 0; i < VM_MEMSEG_NAME_BYTES; i++)
			out->vg_name[i] = sg->sg_name[i];
	}
	host_mutex_unlock(&vs->vs_lock);
	return 0;
}

static bool
is_shown(const struct vmspace *vs, const struct vm_object *ob)
{
	const struct vm_map *const map = vm_map_current(vs);

	for (unsigned int i = 0; i < map->mp_n; i++) {
		if (map->mp_entries[i].me_object == ob)
			return true;
	}
	return false;
}

int
vm_free_memseg(struct vmspace *vs, int ident)
{
	struct vm_seg *sg;
	int error = 0;

	if (ident < 0 || ident > VM_IDENT_MAX)
		return -EINVAL;
	host_mutex_lock(&vs->vs_lock);
	sg = find_seg(vs, ident);
	if (sg == NULL) {
		error = -ENOENT;
	} else if (is_shown(vs, sg->sg_object)) {
		error = -EBUSY;
	} else {
		vm_object_terminate(sg->sg_object);
		*sg = (struct vm_seg){0};
	}
	host_mutex_unlock(&vs->vs_lock);
	return error;
}

int
vm_memseg_object(struct vmspace *vs, int ident, struct vm_object **out)
{
	const struct vm_seg *const sg = find_seg(vs, ident);

	if (ident < 0 || ident > VM_IDENT_MAX || sg == NULL)
		return -EINVAL;
	*out = sg->sg_object;
	return 0;
}

/* ---- Maps ------------------------------------------------------------------------------------ */

static int
prot_valid(const struct vmspace *vs, unsigned int prot)
{
	if (prot == 0 || (prot & ~PMAP_PROT_RWX) != 0)
		return -EINVAL;
	return (pmap_fmt(vs->vs_pmap)->pf_prot_ok >> prot & 1) != 0 ? 0 : -EOPNOTSUPP;
}

static bool
overlaps(const struct vm_map *map, const struct vm_map_entry *e)
{
	const unsigned int i = vm_map_search(map, e->me_start);

	return i < map->mp_n && map->mp_entries[i].me_start < e->me_end;
}

/* Makes the map with one more entry. Under vs_lock. */
static int
map_with(struct vmspace *vs, const struct vm_map_entry *e, struct vm_map **out)
{
	const struct vm_map *const map = vm_map_current(vs);

	if (map->mp_n == VM_MAX_MEMMAPS)
		return -ENOSPC;
	if (overlaps(map, e))
		return -EFAULT;
	*out = vm_map_with(vs, e);
	return *out != NULL ? 0 : -ENOMEM;
}

static void
sweep_entry(struct vmspace *vs, const struct vm_map *old, struct pmap_gather *g, void *arg)
{
	const struct vm_map_entry *const e = arg;

	(void)old;
	pmap_remove(vs->vs_pmap, e->me_start, e->me_end, g);
}

/* Shows what is to be wired, wires it, and takes it back if that fails. */
static int
map_wired(struct vmspace *vs, struct vm_map *map, struct vm_map_entry *e)
{
	struct vm_map *const back = vm_map_copy(vs);
	int error;

	if (back == NULL) {
		vm_map_discard(map);
		return -ENOMEM;
	}
	vm_map_publish(vs, map);
	error = vm_wire_entry(vs, e);
	if (error != 0)
		vm_map_revoke(vs, back, sweep_entry, e);
	else
		vm_map_discard(back);
	return error == -EIO ? -EFAULT : error;
}

static int
map_segment(struct vmspace *vs, gpa_t gpa, int ident, uint64_t first, uint64_t len,
	    unsigned int prot, unsigned int flags)
{
	struct vm_map_entry e = {
		.me_start = gpa,
		.me_end = gpa + len,
		.me_first = first / HOST_PAGE_SIZE,
		.me_prot = prot,
		.me_ident = ident,
	};
	struct vm_map *map;
	int error = vm_memseg_object(vs, ident, &e.me_object);

	if (error != 0)
		return error;
	if (first + len > e.me_object->ob_npages * HOST_PAGE_SIZE ||
	    ((flags & VM_MEMMAP_F_WIRED) && e.me_object->ob_type != OBJT_DEFAULT))
		return -EINVAL;
	error = map_with(vs, &e, &map);
	if (error != 0)
		return error;
	if (flags & VM_MEMMAP_F_WIRED)
		return map_wired(vs, map, &e);
	vm_map_publish(vs, map);
	return 0;
}

int
vm_mmap_memseg(struct vmspace *vs, gpa_t gpa, int ident, int64_t first, int64_t len,
	       unsigned int prot, unsigned int flags)
{
	int error = prot_valid(vs, prot);

	if (error == -EINVAL || (flags & ~VM_MEMMAP_F_WIRED) != 0 || first < 0 || len <= 0 ||
	    first % (int64_t)HOST_PAGE_SIZE != 0 || INT64_MAX - first < len ||
	    vm_range_valid(vs, gpa, (uint64_t)len) != 0)
		return -EINVAL;
	if (error != 0)
		return error;
	host_mutex_lock(&vs->vs_lock);
	error = map_segment(vs, gpa, ident, (uint64_t)first, (uint64_t)len, prot, flags);
	host_mutex_unlock(&vs->vs_lock);
	return error;
}

static bool
is_that_one(const struct vm_map_entry *e, void *arg)
{
	const struct vm_map_entry *const that = arg;

	return e->me_start == that->me_start;
}

/* Takes one entry of the current map away. Under vs_lock. */
static int
unmap(struct vmspace *vs, const struct vm_map_entry *found)
{
	struct vm_map_entry e = *found;
	struct vm_map *const map = vm_map_without(vs, is_that_one, &e);

	if (map == NULL)
		return -ENOMEM;
	vm_map_revoke(vs, map, sweep_entry, &e);
	if (e.me_flags & VM_MEMMAP_F_WIRED)
		vm_unpin_entry(vs, &e);
	if (e.me_object->ob_type == OBJT_SG)
		vm_object_terminate(e.me_object);
	return 0;
}

int
vm_munmap_memseg(struct vmspace *vs, gpa_t gpa, uint64_t len)
{
	const struct vm_map_entry *e;
	int error = -EINVAL;

	host_mutex_lock(&vs->vs_lock);
	e = vm_map_exact(vm_map_current(vs), gpa, len);
	if (e != NULL && e->me_object->ob_type != OBJT_SG && !(e->me_flags & VM_MEMMAP_F_IOMMU))
		error = unmap(vs, e);
	host_mutex_unlock(&vs->vs_lock);
	return error;
}

int
vm_mmap_getnext(struct vmspace *vs, gpa_t gpa, struct vm_memmap *out)
{
	const struct vm_map *map;
	unsigned int i;
	int error = -ENOENT;

	host_epoch_enter();
	map = vm_map_current(vs);
	i = vm_map_search(map, gpa);
	while (i < map->mp_n && (map->mp_entries[i].me_start < gpa ||
				 map->mp_entries[i].me_object->ob_type == OBJT_SG))
		i++;
	if (i < map->mp_n) {
		const struct vm_map_entry *const e = &map->mp_entries[i];

		*out = (struct vm_memmap){
			.vp_gpa = e->me_start,
			.vp_len_bytes = e->me_end - e->me_start,
			.vp_ident = e->me_ident,
			.vp_offset_bytes = e->me_first * HOST_PAGE_SIZE,
			.vp_prot = e->me_prot,
			.vp_flags = e->me_flags,
		};
		error = 0;
	}
	host_epoch_exit();
	return error;
}

/* ---- Rights ---------------------------------------------------------------------------------- */

struct protect {
	const struct vm_map_entry *pr_entry;
	unsigned int pr_prot;
};

static void
sweep_protect(struct vmspace *vs, const struct vm_map *old, struct pmap_gather *g, void *arg)
{
	const struct protect *const pr = arg;

	(void)old;
	pmap_protect(vs->vs_pmap, pr->pr_entry->me_start, pr->pr_entry->me_end, pr->pr_prot, g);
}

static int
protect_entry(struct vmspace *vs, const struct vm_map_entry *e, unsigned int prot)
{
	struct vm_map_entry was = *e;
	struct vm_map *const map = vm_map_copy(vs);
	struct protect pr = {&was, prot};

	if (map == NULL)
		return -ENOMEM;
	map->mp_entries[vm_map_search(map, was.me_start)].me_prot = prot;
	if ((was.me_prot & ~prot) != 0)
		vm_map_revoke(vs, map, sweep_protect, &pr);
	else
		vm_map_publish(vs, map);
	return 0;
}

int
vm_protect_memmap(struct vmspace *vs, gpa_t gpa, uint64_t len, unsigned int prot)
{
	const struct vm_map_entry *e;
	int error = prot_valid(vs, prot);

	if (error != 0)
		return error;
	host_mutex_lock(&vs->vs_lock);
	e = vm_map_exact(vm_map_current(vs), gpa, len);
	if (e == NULL || e->me_object->ob_type == OBJT_SG)
		error = -EINVAL;
	else if (e->me_flags & VM_MEMMAP_F_IOMMU)
		error = -EBUSY;
	else if (e->me_prot != prot)
		error = protect_entry(vs, e, prot);
	host_mutex_unlock(&vs->vs_lock);
	return error;
}

/* ---- Windows --------------------------------------------------------------------------------- */

int
vm_map_mmio(struct vmspace *vs, gpa_t gpa, uint64_t len, hpa_t hpa)
{
	const hpa_t limit = pmap_fmt(vs->vs_pmap)->pf_phys_limit;
	struct vm_map_entry e = {
		.me_start = gpa,
		.me_end = gpa + len,
		.me_prot = PMAP_PROT_RW,
		.me_ident = -1,
	};
	struct vm_map *map;
	int error = prot_valid(vs, PMAP_PROT_RW);

	if (vm_range_valid(vs, gpa, len) != 0 || hpa % HOST_PAGE_SIZE != 0 || hpa >= limit ||
	    len > limit - hpa)
		return -EINVAL;
	if (error != 0)
		return error;
	host_mutex_lock(&vs->vs_lock);
	error = vm_object_create(vs, OBJT_SG, len / HOST_PAGE_SIZE, hpa, &e.me_object);
	if (error == 0) {
		error = map_with(vs, &e, &map);
		if (error == 0)
			vm_map_publish(vs, map);
		else
			vm_object_terminate(e.me_object);
	}
	host_mutex_unlock(&vs->vs_lock);
	return error;
}

int
vm_unmap_mmio(struct vmspace *vs, gpa_t gpa, uint64_t len)
{
	const struct vm_map_entry *e;
	int error = -EINVAL;

	host_mutex_lock(&vs->vs_lock);
	e = vm_map_exact(vm_map_current(vs), gpa, len);
	if (e != NULL && e->me_object->ob_type == OBJT_SG)
		error = unmap(vs, e);
	host_mutex_unlock(&vs->vs_lock);
	return error;
}

/* ---- Reset ----------------------------------------------------------------------------------- */

static bool
is_device(const struct vm_map_entry *e, void *arg)
{
	(void)arg;
	return e->me_object->ob_type != OBJT_DEFAULT;
}

/* The old map is what knows the windows: they end here, while it is still there. */
static void
sweep_devices(struct vmspace *vs, const struct vm_map *old, struct pmap_gather *g, void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < old->mp_n; i++) {
		const struct vm_map_entry *const e = &old->mp_entries[i];

		if (is_device(e, NULL))
			pmap_remove(vs->vs_pmap, e->me_start, e->me_end, g);
	}
}

int
vm_reset(struct vmspace *vs)
{
	struct vm_map *map;
	struct vm_map *old;

	host_mutex_lock(&vs->vs_lock);
	map = vm_map_without(vs, is_device, NULL);
	old = map != NULL ? vm_map_copy(vs) : NULL;
	if (old == NULL) {
		if (map != NULL)
			vm_map_discard(map);
		host_mutex_unlock(&vs->vs_lock);
		return -ENOMEM;
	}
	vm_map_revoke(vs, map, sweep_devices, NULL);
	for (unsigned int i = 0; i < old->mp_n; i++) {
		if (old->mp_entries[i].me_object->ob_type == OBJT_SG)
			vm_object_terminate(old->mp_entries[i].me_object);
	}
	vm_map_discard(old);
	host_mutex_unlock(&vs->vs_lock);
	return 0;
}
