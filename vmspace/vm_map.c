/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The map of a guest: a sorted array of windows, immutable, replaced whole.
 *
 * Readers are in an epoch section and take no lock. Changes are made under vs_lock, by copying. A
 * guest has tens of maps, a thousand at most, and they change when a guest moves a device's
 * registers: copying is cheaper than anything that would make it unnecessary.
 *
 * Taking something away (vm_map_revoke()). Faults decide by the map that they read, and install
 * later. The word vs_revoke, read before the map and again after installing, tells them that they
 * were late (docs/PROTOCOL-TLB.md, clause 4); until the last of them has let go of its page, the
 * revoker waits. What the sweep finds of A and M in the tables belongs to pages of the old map: it
 * stays readable as vs_leaving meanwhile.
 */

#include "vmspace/vm_priv.h"

static struct vm_map *
map_of(const struct host_word *w)
{
	return (struct vm_map *)(uintptr_t)host_load_acquire(w);
}

const struct vm_map *
vm_map_current(const struct vmspace *vs)
{
	HOST_ASSERT(host_epoch_held() || host_mutex_held(&vs->vs_lock));
	return map_of(&vs->vs_map);
}

unsigned int
vm_map_search(const struct vm_map *map, gpa_t gpa)
{
	unsigned int low = 0;
	unsigned int high = map->mp_n;

	while (low < high) {
		const unsigned int mid = low + (high - low) / 2;

		if (map->mp_entries[mid].me_end <= gpa)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct vm_map_entry *
vm_map_lookup(const struct vm_map *map, gpa_t gpa)
{
	const unsigned int i = vm_map_search(map, gpa);

	return i < map->mp_n && map->mp_entries[i].me_start <= gpa ? &map->mp_entries[i] : NULL;
}

const struct vm_map_entry *
vm_map_exact(const struct vm_map *map, gpa_t gpa, uint64_t len)
{
	const struct vm_map_entry *const e = vm_map_lookup(map, gpa);

	return e != NULL && e->me_start == gpa && e->me_end - e->me_start == len ? e : NULL;
}

int
vm_range_valid(const struct vmspace *vs, gpa_t gpa, uint64_t len)
{
	const uint64_t limit = pmap_fmt(vs->vs_pmap)->pf_limit;

	return ((gpa | len) & (HOST_PAGE_SIZE - 1)) == 0 && len != 0 && gpa < limit &&
			       len <= limit - gpa
		       ? 0
		       : -EINVAL;
}

/* ---- Making ---------------------------------------------------------------------------------- */

struct vm_map *
vm_map_alloc(unsigned int n)
{
	const uint64_t bytes = sizeof(struct vm_map) + n * sizeof(struct vm_map_entry);
	struct vm_map *const map = host_alloc(bytes);

	if (map != NULL)
		map->mp_bytes = bytes;
	return map;
}

struct vm_map *
vm_map_with(const struct vmspace *vs, const struct vm_map_entry *added)
{
	const struct vm_map *const old = vm_map_current(vs);
	const unsigned int at = vm_map_search(old, added->me_start);
	struct vm_map *const map = vm_map_alloc(old->mp_n + 1);

	if (map == NULL)
		return NULL;
	for (unsigned int i = 0; i < at; i++)
		map->mp_entries[i] = old->mp_entries[i];
	map->mp_entries[at] = *added;
	for (unsigned int i = at; i < old->mp_n; i++)
		map->mp_entries[i + 1] = old->mp_entries[i];
	map->mp_n = old->mp_n + 1;
	return map;
}

struct vm_map *
vm_map_without(const struct vmspace *vs, bool (*goes)(const struct vm_map_entry *e, void *arg),
	       void *arg)
{
	const struct vm_map *const old = vm_map_current(vs);
	struct vm_map *const map = vm_map_alloc(old->mp_n);

	for (unsigned int i = 0; map != NULL && i < old->mp_n; i++) {
		if (!goes(&old->mp_entries[i], arg))
			map->mp_entries[map->mp_n++] = old->mp_entries[i];
	}
	return map;
}

static bool
nothing_goes(const struct vm_map_entry *e, void *arg)
{
	(void)e;
	(void)arg;
	return false;
}

struct vm_map *
vm_map_copy(const struct vmspace *vs)
{
	return vm_map_without(vs, nothing_goes, NULL);
}

void
vm_map_discard(struct vm_map *map)
{
	host_free(map, map->mp_bytes);
}

static void
map_free(struct host_epoch_item *item)
{
	vm_map_discard((struct vm_map *)(void *)((char *)item - offsetof(struct vm_map, mp_epoch)));
}

/* ---- Publishing ------------------------------------------------------------------------------ */

void
vm_map_publish(struct vmspace *vs, struct vm_map *map)
{
	struct vm_map *const old = map_of(&vs->vs_map);

	HOST_ASSERT(host_mutex_held(&vs->vs_lock));
	host_xchg(&vs->vs_map, (uintptr_t)map);
	host_epoch_defer(&old->mp_epoch, map_free);
}

/* Whether an entry of the old map is in the new one as it was. */
static bool
is_kept(const struct vm_map *map, const struct vm_map_entry *e)
{
	const struct vm_map_entry *const now =
		vm_map_exact(map, e->me_start, e->me_end - e->me_start);

	return now != NULL && now->me_object == e->me_object && now->me_first == e->me_first &&
	       now->me_prot == e->me_prot && now->me_flags == e->me_flags;
}

void
vm_map_revoke(struct vmspace *vs, struct vm_map *map, vm_sweep_fn *sweep, void *arg)
{
	struct vm_map *const old = map_of(&vs->vs_map);
	struct pmap_gather g;

	HOST_ASSERT(host_mutex_held(&vs->vs_lock));
	host_xchg(&vs->vs_leaving, (uintptr_t)old);
	host_xchg(&vs->vs_map, (uintptr_t)map);
	host_fetch_add(&vs->vs_revoke, 1); /* a full fence: partner of the one in pmap_enter() */
	pmap_gather_begin(&g, vs->vs_pmap);
	sweep(vs, old, &g, arg);
	pmap_gather_finish(&g);
	for (unsigned int i = 0; i < old->mp_n; i++) {
		const struct vm_map_entry *const e = &old->mp_entries[i];

		if (!is_kept(map, e))
			vm_object_quiesce(e->me_object, e->me_first, vm_entry_pages(e));
	}
	host_xchg(&vs->vs_leaving, 0);
	host_epoch_defer(&old->mp_epoch, map_free);
}

/* ---- The other way round --------------------------------------------------------------------- */

/* The first entry of a map that begins at or beyond place->pl_next and shows what is wanted. */
static bool
place_in(const struct vm_map *map, const struct vm_object *ob, uint64_t first, uint64_t npages,
	 struct vm_place *place)
{
	for (unsigned int i = vm_map_search(map, place->pl_next); i < map->mp_n; i++) {
		const struct vm_map_entry *const e = &map->mp_entries[i];
		const uint64_t n = vm_entry_pages(e);
		const uint64_t low = e->me_first > first ? e->me_first : first;
		const uint64_t high =
			e->me_first + n < first + npages ? e->me_first + n : first + npages;

		if (e->me_object != ob || e->me_start < place->pl_next || low >= high)
			continue;
		place->pl_gpa = e->me_start + (low - e->me_first) * HOST_PAGE_SIZE;
		place->pl_index = low;
		place->pl_npages = high - low;
		place->pl_flags = e->me_flags;
		place->pl_prot = e->me_prot;
		place->pl_next = e->me_end;
		return true;
	}
	return false;
}

/*
 * The map in force is gone through first: what is taken out of it meanwhile is found in the leaving
 * one, or has been swept.
 */
bool
vm_map_next_place(struct vmspace *vs, const struct vm_object *ob, uint64_t first, uint64_t npages,
		  struct vm_place *place)
{
	const struct vm_map *leaving;
	bool found = false;

	host_epoch_enter();
	if (!place->pl_leaving) {
		found = place_in(vm_map_current(vs), ob, first, npages, place);
		if (!found) {
			place->pl_leaving = true;
			place->pl_next = 0;
		}
	}
	if (!found) {
		leaving = map_of(&vs->vs_leaving);
		found = leaving != NULL && place_in(leaving, ob, first, npages, place);
	}
	host_epoch_exit();
	return found;
}

/* ---- What the tables tell -------------------------------------------------------------------- */

static void
note_page(const struct vm_map *map, gpa_t gpa, uint64_t bits)
{
	const struct vm_map_entry *const e = map != NULL ? vm_map_lookup(map, gpa) : NULL;
	struct vm_page *pg;

	if (e == NULL || e->me_object->ob_type == OBJT_SG)
		return;
	pg = vm_object_page(e->me_object, e->me_first + (gpa - e->me_start) / HOST_PAGE_SIZE);
	if (pg != NULL)
		vm_page_mark(pg, bits);
}

/*
 * An epoch section is open, a table lock held. In the old map and in the new one: where both show
 * something at this address it is the same page, since what goes is gone before another thing
 * comes.
 */
void
vm_map_note(struct vmspace *vs, const struct pmap_leaf *leaf)
{
	const struct vm_map *const map = vm_map_current(vs);
	const struct vm_map *const leaving = map_of(&vs->vs_leaving);
	const gpa_t end = leaf->pl_gpa + pt_level_size(leaf->pl_level);
	const uint64_t bits = (leaf->pl_modified ? VP_DIRTY | VP_LOGGED : 0) |
			      (leaf->pl_accessed ? VP_REFERENCED : 0);

	if (bits == 0)
		return;
	for (gpa_t gpa = leaf->pl_gpa; gpa < end; gpa += HOST_PAGE_SIZE) {
		note_page(map, gpa, bits);
		note_page(leaving, gpa, bits);
	}
}
