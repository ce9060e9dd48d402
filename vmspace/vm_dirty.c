/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The dirty log: which pages were written since somebody asked.
 *
 * A page is in the log if VP_LOGGED says so. What the tables know (M) is handed to the pages by
 * vm_map_note() as it is collected, leaf by leaf, under the table's lock: so it reaches the page
 * that the leaf shows, whatever becomes of the map a moment later. vs_lock is not needed for that,
 * and not taken: a log that is read while the guest runs does not wait for maps that are wired.
 *
 * A page is taken off the log only when the gather is finished. Until then a CPU may write by what
 * it has cached without setting M again; afterwards every write sets M, and the next call finds it.
 * The same goes for a map that is being taken away by somebody else meanwhile, and for a fault that
 * takes its own entry back: their M is in the log already, their flush is not over. Whoever cleared
 * anything waits for that, too (flush_unfinished()).
 *
 * Holds for writing are looked at before the log bit: one that is gone by then has left its mark.
 *
 * A superpage is one leaf for 512 pages, so there are none that are writable while the log is on.
 * Nothing splits them but collecting M: a writable superpage is modified, always (pmap.h), and one
 * that is not modified any more is in pieces.
 */

#include "vmspace/vm_priv.h"

/* ---- Enabling -------------------------------------------------------------------------------- */

/*
 * Whether a page has contents. What somebody is busy with will have, or had: for once it is better
 * to report a page of zeros than to wait here.
 */
static bool
has_contents(struct vm_object *ob, struct vm_page *pg)
{
	uint64_t state = host_load(&pg->vp_state);
	bool has;

	if (state & VP_RESIDENT)
		return true;
	if (!vm_page_own(pg, &state))
		return true;
	has = (state & VP_RESIDENT) != 0 || pg->vp_slot != 0;
	vm_page_disown(ob, pg, 0, 0);
	return has;
}

static bool
begin_object(struct vm_object *ob, bool initially_set)
{
	bool busy = false;

	for (uint64_t index = 0; index < ob->ob_npages; index++) {
		struct vm_chunk *const ch = vm_object_peek(ob, index);
		struct vm_page *pg;

		if (ch == NULL) {
			index |= VM_CHUNK_PAGES - 1;
			continue;
		}
		pg = &ch->ch_pages[index % VM_CHUNK_PAGES];
		if (initially_set && has_contents(ob, pg))
			vm_page_mark(pg, VP_LOGGED);
		else if (host_load(&pg->vp_state) & VP_LOGGED)
			busy |= vm_state_busy(host_fetch_and(&pg->vp_state, ~VP_LOGGED));
		if (index % VM_CHUNK_PAGES == VM_CHUNK_PAGES - 1)
			host_relax();
	}
	return busy;
}

/* Under vs_lock: the maps and segments stay. Faults enter no superpage from the mode on. */
static void
begin_log(struct vmspace *vs, bool initially_set)
{
	const struct vm_map *const map = vm_map_current(vs);
	struct pmap_gather g;
	bool busy = false;

	host_fetch_or(&vs->vs_mode, VM_MODE_LOG);
	host_fetch_add(&vs->vs_revoke, 1); /* a full fence: partner of the one in pmap_enter() */
	host_mutex_lock(&vs->vs_sweep);
	pmap_gather_begin(&g, vs->vs_pmap);
	for (unsigned int i = 0; i < map->mp_n; i++)
		pmap_clear_modify(vm_swept_pmap(vs), map->mp_entries[i].me_start,
				  map->mp_entries[i].me_end, &g);
	pmap_gather_finish(&g);
	for (unsigned int i = 0; i < VM_MAX_MEMSEGS; i++) {
		if (vs->vs_segs[i].sg_object != NULL)
			busy |= begin_object(vs->vs_segs[i].sg_object, initially_set);
	}
	if (busy)
		pmap_invalidate_all(vs->vs_pmap); /* as in flush_unfinished() */
	host_mutex_unlock(&vs->vs_sweep);
}

int
vm_dirty_log_enable(struct vmspace *vs, bool initially_set)
{
	int error = 0;

	host_mutex_lock(&vs->vs_lock);
	if (host_load(&vs->vs_mode) & VM_MODE_LOG)
		error = -EBUSY;
	else
		begin_log(vs, initially_set);
	host_mutex_unlock(&vs->vs_lock);
	return error;
}

int
vm_dirty_log_disable(struct vmspace *vs)
{
	struct pmap_gather g;
	int error = -ENOENT;

	host_mutex_lock(&vs->vs_lock);
	if (host_load(&vs->vs_mode) & VM_MODE_LOG) {
		host_mutex_lock(&vs->vs_sweep);
		host_fetch_and(&vs->vs_mode, ~(uint64_t)VM_MODE_LOG);
		pmap_gather_begin(&g, vs->vs_pmap);
		vm_promote_all(vs, &g);
		pmap_gather_finish(&g);
		host_mutex_unlock(&vs->vs_sweep);
		error = 0;
	}
	host_mutex_unlock(&vs->vs_lock);
	return error;
}

/* ---- Asking ---------------------------------------------------------------------------------- */

/* What is asked, and how far the answer has come. */
struct query {
	struct vmspace *qu_vs;
	gpa_t qu_gpa;
	gpa_t qu_end;
	enum vm_dirty_op qu_op;
	uint64_t *qu_bitmap;
	bool qu_cleared; /* a page was taken off the log */
	bool qu_busy;	 /* and somebody was busy with it: see flush_unfinished() */
};

static bool
get_bit(const uint64_t *bitmap, uint64_t i)
{
	return (((const unsigned char *)bitmap)[i / 8] >> i % 8 & 1) != 0;
}

/* By bytes: the caller may have no more than those that the range needs. */
static void
put_bit(uint64_t *bitmap, uint64_t i, bool value)
{
	unsigned char *const byte = &((unsigned char *)bitmap)[i / 8];
	const unsigned int mask = 1u << i % 8;

	*byte = (unsigned char)(value ? *byte | mask : *byte & ~mask);
}

/*
 * Whether devices may write a page, by whatever map. They reach what is wired, so for most pages
 * there is nothing to search.
 */
static bool
is_device_writable(const struct vm_map *map, const struct vm_object *ob, uint64_t index)
{
	for (unsigned int i = 0; i < map->mp_n; i++) {
		const struct vm_map_entry *const e = &map->mp_entries[i];

		if ((e->me_flags & VM_MEMMAP_F_IOMMU) && (e->me_prot & PMAP_PROT_W) &&
		    e->me_object == ob && index >= e->me_first &&
		    index - e->me_first < vm_entry_pages(e))
			return true;
	}
	return false;
}

static bool
is_dirty(struct query *q, const struct vm_map *map, struct vm_object *ob, uint64_t index)
{
	struct vm_page *const pg = vm_object_page(ob, index);
	uint64_t pins;
	uint64_t state;

	if (pg == NULL)
		return false;
	pins = host_load_acquire(&pg->vp_pins);
	state = host_load_acquire(&pg->vp_state);
	if ((state & VP_LOGGED) && q->qu_op == VM_DIRTY_CLEAR) {
		state = host_fetch_and(&pg->vp_state, ~VP_LOGGED);
		q->qu_cleared = true;
		q->qu_busy = q->qu_busy || vm_state_busy(state);
	}
	/* Held only after the first look, and not marked yet: this call or the next will do. */
	if (VP_WRITE_HOLDS(pins) == 0)
		pins = host_load_acquire(&pg->vp_pins);
	return (state & VP_LOGGED) != 0 || VP_WRITE_HOLDS(pins) != 0 ||
	       (VP_WIRINGS(pins) != 0 && is_device_writable(map, ob, index));
}

/* Of the pages in [from, to), at most a chunk: M as the tables show it now, without taking it. */
static void
peek(const struct query *q, gpa_t from, gpa_t to, uint64_t modified[VM_BITMAP_WORDS])
{
	for (unsigned int w = 0; w < VM_BITMAP_WORDS; w++)
		modified[w] = 0;
	if (q->qu_op == VM_DIRTY_PEEK)
		pmap_harvest(q->qu_vs->vs_pmap, from, to, PMAP_HARVEST_MODIFIED | PMAP_HARVEST_PEEK,
			     modified, NULL, NULL);
}

static void
answer(struct query *q, gpa_t from, gpa_t to)
{
	uint64_t modified[VM_BITMAP_WORDS];
	const struct vm_map *map;

	peek(q, from, to, modified);
	host_epoch_enter();
	map = vm_map_current(q->qu_vs);
	for (gpa_t gpa = from; gpa < to; gpa += HOST_PAGE_SIZE) {
		const struct vm_map_entry *const e = vm_map_lookup(map, gpa);
		const uint64_t i = (gpa - from) / HOST_PAGE_SIZE;
		bool dirty = false;

		if (e != NULL && e->me_object->ob_type != OBJT_SG)
			dirty = is_dirty(q, map, e->me_object,
					 e->me_first + (gpa - e->me_start) / HOST_PAGE_SIZE) ||
				(modified[i / 64] >> i % 64 & 1) != 0;
		put_bit(q->qu_bitmap, (gpa - q->qu_gpa) / HOST_PAGE_SIZE, dirty);
	}
	host_epoch_exit();
}

/*
 * What was cleared may have come from an entry that is gone, and CPUs may still write by it: from a
 * map that is leaving, at whatever address, or from a fault that took its own entry back. A map
 * that left before we looked is flushed, and so is what a fault took back from a page that it
 * shares no more.
 */
static void
flush_unfinished(const struct query *q)
{
	if (q->qu_busy || (q->qu_cleared && host_load_acquire(&q->qu_vs->vs_leaving) != 0))
		pmap_invalidate_all(q->qu_vs->vs_pmap);
}

/* Under vs_sweep. The gather is finished once, for all of the range. */
static void
ask(struct query *q)
{
	struct pmap_gather g;
	gpa_t from = q->qu_gpa;

	HOST_ASSERT(host_mutex_held(&q->qu_vs->vs_sweep));
	if (q->qu_op != VM_DIRTY_PEEK) {
		pmap_gather_begin(&g, q->qu_vs->vs_pmap);
		pmap_clear_modify(q->qu_vs->vs_pmap, q->qu_gpa, q->qu_end, &g);
		pmap_gather_finish(&g);
	}
	while (from < q->qu_end) {
		const gpa_t to =
			q->qu_end - from < VM_CHUNK_BYTES ? q->qu_end : from + VM_CHUNK_BYTES;

		answer(q, from, to);
		from = to;
		host_relax();
	}
	flush_unfinished(q);
}

int
vm_dirty_log(struct vmspace *vs, gpa_t gpa, uint64_t len, enum vm_dirty_op op, uint64_t *bitmap)
{
	struct query q = {vs, gpa, gpa + len, op, bitmap, false, false};
	int error = 0;

	if (vm_range_valid(vs, gpa, len) != 0 ||
	    (op != VM_DIRTY_PEEK && op != VM_DIRTY_GET && op != VM_DIRTY_CLEAR))
		return -EINVAL;
	host_mutex_lock(&vs->vs_sweep);
	if (host_load(&vs->vs_mode) & VM_MODE_LOG)
		ask(&q);
	else
		error = -ENOENT;
	host_mutex_unlock(&vs->vs_sweep);
	return error;
}

/*
 * Pages that were reported were touched. What was not has nothing to be given back. Under vs_sweep.
 */
static void
give_back(struct vmspace *vs, gpa_t gpa)
{
	const struct vm_map_entry *const e = vm_map_lookup(vm_map_current(vs), gpa);
	struct vm_page *pg = NULL;

	HOST_ASSERT(host_mutex_held(&vs->vs_sweep));
	if (e != NULL && e->me_object->ob_type != OBJT_SG)
		pg = vm_object_page(e->me_object,
				    e->me_first + (gpa - e->me_start) / HOST_PAGE_SIZE);
	if (pg != NULL)
		vm_page_mark(pg, VP_LOGGED);
}

int
vm_dirty_log_set(struct vmspace *vs, gpa_t gpa, uint64_t len, const uint64_t *bitmap)
{
	int error = 0;

	if (vm_range_valid(vs, gpa, len) != 0)
		return -EINVAL;
	host_mutex_lock(&vs->vs_sweep);
	if (!(host_load(&vs->vs_mode) & VM_MODE_LOG))
		error = -ENOENT;
	for (uint64_t i = 0; error == 0 && i < len / HOST_PAGE_SIZE; i++) {
		if (i % VM_CHUNK_PAGES == 0)
			host_relax();
		if (!get_bit(bitmap, i))
			continue;
		host_epoch_enter();
		give_back(vs, gpa + i * HOST_PAGE_SIZE);
		host_epoch_exit();
	}
	host_mutex_unlock(&vs->vs_sweep);
	return error;
}

/* ---- Tools ----------------------------------------------------------------------------------- */

/* Between the clearing of M and the note, a page looks clean: pageout must not look then. */
int
vm_harvest(struct vmspace *vs, gpa_t gpa, uint64_t len, unsigned int how, uint64_t *bitmap,
	   uint64_t *found)
{
	struct pmap_gather g;
	int error;

	if (gpa + len < gpa)
		return -EINVAL;
	host_mutex_lock(&vs->vs_sweep);
	pmap_gather_begin(&g, vs->vs_pmap);
	error = pmap_harvest(vm_swept_pmap(vs), gpa, gpa + len, how | PMAP_HARVEST_NOTE, bitmap,
			     found, &g);
	pmap_gather_finish(&g);
	host_mutex_unlock(&vs->vs_sweep);
	return error;
}
