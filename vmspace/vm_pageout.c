/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Pageout: a clock hand that goes over all chunks of all guests.
 *
 * At each chunk it first gives back what was reserved and not used. Then it collects the A bits of
 * all places that show the chunk; pages that were used since the last time stay. Of the others it
 * owns those that nobody is busy with and nobody has pinned, takes them out of the tables with one
 * gather, saves what must be saved, and frees them. The hand goes round three times at most: the
 * third time being used is no excuse any more.
 *
 * A page's last writes are known when the gather is finished, not before: only then is it decided
 * whether it is dirty, and only then are its bytes read. Collecting A and M, and handing M to the
 * page, is under vs_sweep: nobody else has cleared M in the tables and not told the page yet.
 *
 * Whoever needs memory comes here by itself, and sleeps only for the I/O and for others who do the
 * same. What cannot be written stays.
 */

#include "vmspace/vm_priv.h"

#define LAPS 3
#define BATCH 64       /* pages per gather, and per clustered write */
#define ROOM_PAGES 32  /* what one allocation that found nothing makes room for */
#define TABLE_ROUNDS 4 /* times that an operation looks for a table page again */

struct pageout {
	struct vm_system *po_sys;
	struct vmspace *po_only; /* or NULL: all */
	uint64_t po_want;
	uint64_t po_freed;
	unsigned int po_flags;
	bool po_hard; /* also what was used of late */
};

/* Pages of one chunk that are owned, and on their way out. */
struct batch {
	struct vm_object *ba_object;
	struct vm_chunk *ba_chunk;
	uint64_t ba_first;    /* index of the chunk's first page */
	unsigned int ba_next; /* page of the chunk where the next batch begins */
	unsigned int ba_n;
	uint64_t ba_index[BATCH];
	bool ba_done[BATCH];
};

static struct vm_page *
batch_page(const struct batch *ba, unsigned int i)
{
	return &ba->ba_chunk->ch_pages[ba->ba_index[i] - ba->ba_first];
}

/* ---- Which ----------------------------------------------------------------------------------- */

/* Collects A of all places of the chunk into its pages. Under vs_sweep. */
static void
age_chunk(struct vmspace *vs, const struct batch *ba, struct pmap_gather *g)
{
	struct vm_place place = {0};

	while (vm_map_next_place(vs, ba->ba_object, ba->ba_first, VM_CHUNK_PAGES, &place)) {
		uint64_t bitmap[VM_BITMAP_WORDS] = {0};

		pmap_harvest(vm_swept_pmap(vs), place.pl_gpa,
			     place.pl_gpa + place.pl_npages * HOST_PAGE_SIZE, PMAP_HARVEST_ACCESSED,
			     bitmap, NULL, g);
		for (unsigned int i = 0; i < place.pl_npages; i++) {
			if ((bitmap[i / 64] >> i % 64 & 1) != 0)
				vm_page_mark(
					&ba->ba_chunk->ch_pages[place.pl_index - ba->ba_first + i],
					VP_REFERENCED);
		}
	}
}

/* Owns a page if it may go now. */
static bool
own_victim(const struct pageout *po, struct vm_object *ob, struct vm_page *pg)
{
	const uint64_t state = host_load(&pg->vp_state);

	if ((state & VP_DIRTY) && (po->po_flags & VM_PAGEOUT_CLEAN))
		return false;
	if ((state & VP_REFERENCED) && !po->po_hard) {
		host_fetch_and(&pg->vp_state, ~VP_REFERENCED);
		return false;
	}
	return vm_page_own_unpinned(ob, pg);
}

static void
own_victims(const struct pageout *po, struct batch *ba)
{
	const uint64_t left = po->po_want - po->po_freed;
	const unsigned int most = left < BATCH ? (unsigned int)left : BATCH;

	ba->ba_n = 0;
	for (; ba->ba_next < VM_CHUNK_PAGES && ba->ba_n < most; ba->ba_next++) {
		if (own_victim(po, ba->ba_object, &ba->ba_chunk->ch_pages[ba->ba_next]))
			ba->ba_index[ba->ba_n++] = ba->ba_first + ba->ba_next;
	}
}

/* ---- Out of the tables ----------------------------------------------------------------------- */

/* Removes the batch's pages from one place, neighbors together. */
static void
unmap_at(struct vmspace *vs, const struct batch *ba, const struct vm_place *place,
	 struct pmap_gather *g)
{
	unsigned int i = 0;

	while (i < ba->ba_n) {
		const uint64_t first = ba->ba_index[i];
		unsigned int n = 1;

		while (i + n < ba->ba_n && ba->ba_index[i + n] == first + n)
			n++;
		i += n;

		const uint64_t low = first > place->pl_index ? first : place->pl_index;
		const uint64_t end = place->pl_index + place->pl_npages;
		const uint64_t high = first + n < end ? first + n : end;

		if (low < high)
			pmap_remove(vs->vs_pmap,
				    place->pl_gpa + (low - place->pl_index) * HOST_PAGE_SIZE,
				    place->pl_gpa + (high - place->pl_index) * HOST_PAGE_SIZE, g);
	}
}

static void
unmap_batch(struct vmspace *vs, const struct batch *ba, struct pmap_gather *g)
{
	struct vm_place place = {0};

	while (vm_map_next_place(vs, ba->ba_object, ba->ba_first, VM_CHUNK_PAGES, &place))
		unmap_at(vs, ba, &place, g);
}

/* ---- Out of memory --------------------------------------------------------------------------- */

/* Keeps in the batch the pages that must be written; drops the others at once. */
static void
drop_clean(struct pageout *po, struct vmspace *vs, struct batch *ba)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < ba->ba_n; i++) {
		struct vm_page *const pg = batch_page(ba, i);
		const uint64_t index = ba->ba_index[i];

		if (host_load(&pg->vp_state) & VP_DIRTY) {
			ba->ba_index[kept++] = index;
			continue;
		}
		vm_page_empty(ba->ba_object, index);
		vm_page_disown(ba->ba_object, pg, 0, 0);
		po->po_freed++;
		vm_count(vs, VM_C_RECLAIMED, 1);
		vm_count(vs, VM_C_RECLAIMED_CLEAN, 1);
	}
	ba->ba_n = kept;
}

static void
write_dirty(struct pageout *po, struct vmspace *vs, struct batch *ba)
{
	for (unsigned int i = 0; i < ba->ba_n; i++)
		ba->ba_done[i] = false;
	if (ba->ba_n != 0 && !(po->po_flags & VM_PAGEOUT_CLEAN))
		vm_pager_save(ba->ba_object, ba->ba_index, ba->ba_n, ba->ba_done);
	for (unsigned int i = 0; i < ba->ba_n; i++) {
		struct vm_page *const pg = batch_page(ba, i);

		if (ba->ba_done[i]) {
			vm_page_empty(ba->ba_object, ba->ba_index[i]);
			po->po_freed++;
			vm_count(vs, VM_C_RECLAIMED, 1);
		}
		vm_page_disown(ba->ba_object, pg, 0, 0);
	}
}

/* ---- The hand -------------------------------------------------------------------------------- */

/* One batch of a chunk. */
static void
visit_batch(struct pageout *po, struct vmspace *vs, struct batch *ba, bool age)
{
	struct pmap_gather g;

	host_mutex_lock(&vs->vs_sweep);
	pmap_gather_begin(&g, vs->vs_pmap);
	if (age)
		age_chunk(vs, ba, &g);
	own_victims(po, ba);
	if (ba->ba_n != 0)
		unmap_batch(vs, ba, &g);
	pmap_gather_finish(&g);
	host_mutex_unlock(&vs->vs_sweep);
	drop_clean(po, vs, ba);
	write_dirty(po, vs, ba);
}

static void
visit_chunk(struct pageout *po, struct vm_object *ob, uint64_t n)
{
	struct vmspace *const vs = ob->ob_space;
	struct batch ba = {.ba_object = ob, .ba_first = n * VM_CHUNK_PAGES};

	ba.ba_chunk = vm_object_peek(ob, ba.ba_first);
	if (ba.ba_chunk == NULL)
		return;
	po->po_freed += vm_run_break(ob, ba.ba_chunk, ba.ba_first);
	if (ob->ob_type != OBJT_DEFAULT || host_load(&ba.ba_chunk->ch_resident) == 0)
		return;
	/* To the end of it: pages that cannot be written must not hide those that can go. */
	while (ba.ba_next < VM_CHUNK_PAGES && po->po_freed < po->po_want)
		visit_batch(po, vs, &ba, ba.ba_next == 0);
}

/* The object that the hand is at, with a reference. */
static struct vm_object *
clock_object(struct vm_system *sys)
{
	struct vm_object *ob;

	host_lock(&sys->sy_lock);
	ob = *vm_system_clock(sys);
	if (ob != NULL)
		vm_object_ref(ob);
	host_unlock(&sys->sy_lock);
	return ob;
}

/* Moves the hand to the next object, if it is still at this one. */
static void
clock_advance(struct vm_system *sys, struct vm_object *ob)
{
	host_lock(&sys->sy_lock);
	if (*vm_system_clock(sys) == ob)
		*vm_system_clock(sys) = ob->ob_clock_next;
	host_unlock(&sys->sy_lock);
}

static unsigned int
clock_length(struct vm_system *sys)
{
	const struct vm_object *ob;
	unsigned int n = 0;

	host_lock(&sys->sy_lock);
	for (ob = *vm_system_clock(sys); ob != NULL && (n == 0 || ob != *vm_system_clock(sys));
	     ob = ob->ob_clock_next)
		n++;
	host_unlock(&sys->sy_lock);
	return n;
}

/* From where the hand stopped in this object last time to its end, or until there is enough. */
static void
visit_object(struct pageout *po, struct vm_object *ob)
{
	const uint64_t nchunks = (ob->ob_npages + VM_CHUNK_PAGES - 1) / VM_CHUNK_PAGES;

	if (po->po_only != NULL && ob->ob_space != po->po_only)
		return;
	while (ob->ob_hand < nchunks && po->po_freed < po->po_want && !host_interrupted())
		visit_chunk(po, ob, ob->ob_hand++);
	if (ob->ob_hand == nchunks)
		ob->ob_hand = 0;
}

/*
 * Once round the ring. The hand starts in the middle of an object: the first one is visited at both
 * ends of the lap.
 */
static void
lap(struct pageout *po)
{
	unsigned int left = clock_length(po->po_sys) + 1;

	while (left-- > 0 && po->po_freed < po->po_want && !host_interrupted()) {
		struct vm_object *const ob = clock_object(po->po_sys);

		if (ob == NULL)
			return;
		visit_object(po, ob);
		if (po->po_freed < po->po_want)
			clock_advance(po->po_sys, ob);
		vm_object_unref(ob);
	}
}

int
vm_pageout(struct vm_system *sys, struct vmspace *vs, uint64_t npages, unsigned int flags,
	   uint64_t *freed)
{
	struct pageout po = {
		.po_sys = sys,
		.po_only = vs,
		.po_want = npages,
		.po_flags = flags,
	};
	int error;

	*freed = 0;
	if ((flags & ~VM_PAGEOUT_CLEAN) != 0)
		return -EINVAL;
	error = host_mutex_lock_interruptible(&sys->sy_pageout);
	if (error != 0)
		return error;
	for (unsigned int i = 0; i < LAPS && po.po_freed < npages; i++) {
		po.po_hard = i == LAPS - 1;
		lap(&po);
	}
	host_mutex_unlock(&sys->sy_pageout);
	*freed = po.po_freed;
	host_trace(HOST_TRACE_PAGEOUT, npages, po.po_freed, 0);
	return po.po_freed == 0 && npages != 0 && host_interrupted() ? -EINTR : 0;
}

int
vm_make_room(struct vmspace *vs, enum vm_fault_reason why)
{
	uint64_t freed;
	int error;

	vm_charge_tables(vs);
	error = vm_pageout(vs->vs_sys, why == VM_FAULT_GUEST_LIMIT ? vs : NULL, ROOM_PAGES, 0,
			   &freed);
	if (error != 0)
		return error;
	vm_charge_tables(vs);
	return freed != 0 ? 0 : -ENOMEM;
}

int
vm_make_table_room(struct vmspace *vs, unsigned int *rounds)
{
	if ((*rounds)++ == TABLE_ROUNDS)
		return -ENOMEM;
	/* Nothing freed is no reason not to try again once or twice: others free tables, too. */
	return vm_make_room(vs, VM_FAULT_NO_TABLE) == -EINTR ? -EINTR : 0;
}
