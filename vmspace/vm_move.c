/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Pages that get another frame, and pages that lose their contents.
 *
 * Both go in batches of one object: own the pages, take them out of the tables wherever they are
 * shown, finish one gather for all, and then do with them what is to be done. A page that is owned
 * is in nobody's hands: it is shown nowhere anew, and no pin comes to it. A pinned one is left as
 * it is, since who pinned it knows its frame.
 *
 * Moving only tries to own, and leaves the frames of a host's pager to the host. Discarding waits
 * for a page that somebody is busy with, but for no more than one at a time, with nothing owned.
 */

#include "vmspace/vm_priv.h"

#define BATCH 64

struct batch {
	struct vm_object *ba_object; /* with a reference; NULL: nothing is shown here */
	struct vm_chunk *ba_chunk;   /* NULL: nothing of it was ever touched */
	unsigned int ba_prot;	     /* of the map */
	uint64_t ba_first;	     /* index of the page at the range's begin */
	unsigned int ba_n;	     /* pages, all in one chunk and one map */
	uint64_t ba_owned;	     /* bit i: page ba_first + i is ours */
};

static struct vm_page *
batch_page(const struct batch *ba, unsigned int i)
{
	return &ba->ba_chunk->ch_pages[(ba->ba_first + i) % VM_CHUNK_PAGES];
}

/* ---- Which pages ----------------------------------------------------------------------------- */

static uint64_t
least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * What is shown at gpa, up to a batch of it, or to the next map. Returns where the next batch
 * begins; a chunk that was never touched is passed over whole.
 */
static gpa_t
batch_at(struct vmspace *vs, gpa_t gpa, gpa_t end, struct batch *ba)
{
	const struct vm_map *map;
	gpa_t next = end;

	*ba = (struct batch){0};
	host_epoch_enter();
	map = vm_map_current(vs);

	const unsigned int i = vm_map_search(map, gpa);
	const struct vm_map_entry *const e = i < map->mp_n ? &map->mp_entries[i] : NULL;

	if (e != NULL && gpa < e->me_start) {
		next = least(end, e->me_start);
	} else if (e != NULL) {
		ba->ba_first = e->me_first + (gpa - e->me_start) / HOST_PAGE_SIZE;
		ba->ba_prot = e->me_prot;
		ba->ba_chunk = vm_object_peek(e->me_object, ba->ba_first);

		uint64_t n = VM_CHUNK_PAGES - ba->ba_first % VM_CHUNK_PAGES;

		if (ba->ba_chunk != NULL)
			n = least(n, BATCH);
		next = least(end, least(e->me_end, gpa + n * HOST_PAGE_SIZE));
		ba->ba_n = (unsigned int)((next - gpa) / HOST_PAGE_SIZE);
		/* An object that is ending is not shown for long. */
		if (vm_object_ref(e->me_object))
			ba->ba_object = e->me_object;
	}
	host_epoch_exit();
	return next;
}

/* ---- Out of the tables ----------------------------------------------------------------------- */

/* Of one place: the batch's pages, neighbors together. */
static void
unmap_at(struct vmspace *vs, const struct batch *ba, const struct vm_place *place,
	 struct pmap_gather *g)
{
	unsigned int i = 0;

	while (i < place->pl_npages) {
		const unsigned int base = (unsigned int)(place->pl_index - ba->ba_first);
		unsigned int n = 0;

		while (i + n < place->pl_npages && (ba->ba_owned >> (base + i + n) & 1) != 0)
			n++;
		if (n != 0)
			pmap_remove(vs->vs_pmap, place->pl_gpa + i * HOST_PAGE_SIZE,
				    place->pl_gpa + (i + n) * HOST_PAGE_SIZE, g);
		i += n + 1;
	}
}

/* What the tables know of the owned pages is with the pages when this returns. */
static void
unmap_owned(struct vmspace *vs, const struct batch *ba)
{
	struct vm_place place = {0};
	struct pmap_gather g;

	if (ba->ba_owned == 0)
		return;
	host_mutex_lock(&vs->vs_sweep);
	pmap_gather_begin(&g, vm_swept_pmap(vs));
	while (vm_map_next_place(vs, ba->ba_object, ba->ba_first, ba->ba_n, &place))
		unmap_at(vs, ba, &place, &g);
	pmap_gather_finish(&g);
	host_mutex_unlock(&vs->vs_sweep);
}

/* ---- Moving ---------------------------------------------------------------------------------- */

static void
own_movable(struct batch *ba)
{
	for (unsigned int i = 0; i < ba->ba_n; i++) {
		if (vm_page_own_unpinned(ba->ba_object, batch_page(ba, i)))
			ba->ba_owned |= (uint64_t)1 << i;
	}
}

/* The owned page is in another frame from now on. Marks may be set meanwhile: a whole new state. */
static void
change_frame(struct vm_page *pg, hpa_t hpa)
{
	uint64_t state = host_load(&pg->vp_state);

	while (!host_cas(&pg->vp_state, &state, (state & ~VP_FRAME) | hpa))
		;
}

/* The frame that continues the chunk's run if that is free, else any. False: there is none. */
static bool
move_page(struct vm_object *ob, uint64_t index, struct vm_page *pg)
{
	const hpa_t from = vm_page_hpa(pg);
	hpa_t to;
	bool run;

	if (vm_frame_try(ob, index, &to, &run) != VM_FAULT_NONE)
		return false;
	host_page_copy(to, from);
	change_frame(pg, to);
	vm_frame_free(ob, index, from, false);
	return true;
}

static uint64_t
move_batch(struct vmspace *vs, struct batch *ba)
{
	uint64_t moved = 0;

	if (ba->ba_object->ob_pager != NULL)
		return 0;
	own_movable(ba);
	unmap_owned(vs, ba);
	for (unsigned int i = 0; i < ba->ba_n; i++) {
		if ((ba->ba_owned >> i & 1) == 0)
			continue;
		moved += move_page(ba->ba_object, ba->ba_first + i, batch_page(ba, i));
		vm_page_disown(ba->ba_object, batch_page(ba, i), 0, 0);
	}
	vm_count(vs, VM_C_MOVED, moved);
	return moved;
}

int
vm_migrate(struct vmspace *vs, gpa_t gpa, uint64_t len, uint64_t *moved)
{
	const gpa_t end = gpa + len;

	*moved = 0;
	if (vm_range_valid(vs, gpa, len) != 0)
		return -EINVAL;
	while (gpa < end) {
		struct batch ba;

		if (host_interrupted())
			return -EINTR;
		gpa = batch_at(vs, gpa, end, &ba);
		if (ba.ba_object == NULL)
			continue;
		if (ba.ba_chunk != NULL)
			*moved += move_batch(vs, &ba);
		vm_object_unref(ba.ba_object);
		host_relax();
	}
	return 0;
}

/* ---- Discarding ------------------------------------------------------------------------------ */

/* May be discarded, as far as the map says. */
static int
batch_discardable(const struct batch *ba)
{
	if (ba->ba_object == NULL)
		return -EFAULT;
	return ba->ba_object->ob_type == OBJT_DEFAULT && (ba->ba_prot & PMAP_PROT_W) ? 0 : -EACCES;
}

/* All of the range, before anything is done. */
static int
range_discardable(struct vmspace *vs, gpa_t gpa, gpa_t end)
{
	const struct vm_map *map;
	int error = 0;

	host_epoch_enter();
	map = vm_map_current(vs);
	while (gpa < end && error == 0) {
		const struct vm_map_entry *const e = vm_map_lookup(map, gpa);

		if (e == NULL)
			error = -EFAULT;
		else if (e->me_object->ob_type != OBJT_DEFAULT || !(e->me_prot & PMAP_PROT_W))
			error = -EACCES;
		else
			gpa = e->me_end;
	}
	host_epoch_exit();
	return error;
}

/*
 * Owns what has contents and is not pinned. The batch ends before a page that somebody is busy
 * with, unless that is its first one: then it is waited for.
 */
static int
own_discardable(struct batch *ba)
{
	int error = 0;
	unsigned int i = 0;

	while (i < ba->ba_n) {
		struct vm_page *const pg = batch_page(ba, i);
		uint64_t state;

		if (!vm_page_own(pg, &state)) {
			if (i != 0)
				break;
			vm_page_wait(ba->ba_object, pg, false);
			continue;
		}
		if (host_load_acquire(&pg->vp_pins) != 0)
			error = -EBUSY;
		else if ((state & VP_RESIDENT) || pg->vp_slot != 0)
			ba->ba_owned |= (uint64_t)1 << i;
		if ((ba->ba_owned >> i & 1) == 0)
			vm_page_disown(ba->ba_object, pg, 0, 0);
		i++;
	}
	ba->ba_n = i;
	return error;
}

static void
forget_page(struct vm_object *ob, uint64_t index, struct vm_page *pg)
{
	if (host_load(&pg->vp_state) & VP_RESIDENT)
		vm_page_empty(ob, index);
	vm_pager_forget(ob, pg);
}

/*
 * n neighbors from the i-th page on, all owned. Zeros are contents like others: the pages were
 * changed, and are in the dirty log for that.
 */
static void
forget_pages(const struct batch *ba, unsigned int i, unsigned int n)
{
	for (unsigned int k = i; k < i + n; k++)
		forget_page(ba->ba_object, ba->ba_first + k, batch_page(ba, k));
	vm_pager_discard(ba->ba_object, ba->ba_first + i, n);
	for (unsigned int k = i; k < i + n; k++)
		vm_page_disown(ba->ba_object, batch_page(ba, k), 0, VP_LOGGED);
}

static int
discard_batch(struct vmspace *vs, struct batch *ba)
{
	const int error = own_discardable(ba);
	unsigned int i = 0;

	unmap_owned(vs, ba);
	while (i < ba->ba_n) {
		unsigned int n = 0;

		while (i + n < ba->ba_n && (ba->ba_owned >> (i + n) & 1) != 0)
			n++;
		if (n != 0)
			forget_pages(ba, i, n);
		i += n + 1;
	}
	return error;
}

int
vm_discard(struct vmspace *vs, gpa_t gpa, uint64_t len)
{
	const gpa_t end = gpa + len;
	int busy = 0;
	int error = vm_range_valid(vs, gpa, len);

	if (error == 0)
		error = range_discardable(vs, gpa, end);
	while (gpa < end && error == 0) {
		struct batch ba;
		gpa_t next = batch_at(vs, gpa, end, &ba);

		/* The maps may be others by now. */
		error = batch_discardable(&ba);
		if (error == 0 && ba.ba_chunk != NULL) {
			if (discard_batch(vs, &ba) != 0)
				busy = -EBUSY;
			next = gpa + ba.ba_n * HOST_PAGE_SIZE;
		}
		if (ba.ba_object != NULL)
			vm_object_unref(ba.ba_object);
		gpa = next;
		host_relax();
	}
	return error != 0 ? error : busy;
}
