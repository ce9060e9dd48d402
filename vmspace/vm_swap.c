/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Swap: slots of a page each, in a bitmap that all guests share.
 *
 * Pages that leave together are written to consecutive slots where there are some, and come back
 * together for that reason: whoever reads one page looks at its neighbors in the object, and takes
 * along those that have the neighboring slots. A page in memory keeps its slot until it is written
 * anew, so that a page that is only read leaves memory without I/O.
 *
 * vp_slot belongs to whoever owns the page. The lock is for the bitmap alone, and is not held over
 * I/O.
 */

#include "vmspace/vm_priv.h"

#define CLUSTER 16   /* pages per write */
#define READ_AHEAD 8 /* neighbors per read */

/* Slots that are looked at for a longer stretch once there is one at all. */
#define SEARCH_SLOTS 65536

static struct vm_page *
page_at(struct vm_object *ob, uint64_t index)
{
	return &vm_object_peek(ob, index)->ch_pages[index % VM_CHUNK_PAGES];
}

/* ---- Slots ----------------------------------------------------------------------------------- */

static uint64_t
bitmap_bytes(const struct vm_swap *sw)
{
	return (sw->sw_slots + 63) / 64 * sizeof(sw->sw_bitmap[0]);
}

int
vm_swap_init(struct vm_swap *sw)
{
	*sw = (struct vm_swap){.sw_slots = host_swap_slots()};
	host_lock_init(&sw->sw_lock, VM_RANK_SWAP);
	if (sw->sw_slots == 0)
		return 0;
	sw->sw_bitmap = host_alloc(bitmap_bytes(sw));
	return sw->sw_bitmap != NULL ? 0 : -ENOMEM;
}

void
vm_swap_destroy(struct vm_swap *sw)
{
	HOST_ASSERT(sw->sw_used == 0);
	if (sw->sw_bitmap != NULL)
		host_free(sw->sw_bitmap, bitmap_bytes(sw));
}

/* What sw_lock guards: the count, and the word that a slot's bit is in. */
uint64_t *
vm_swap_used(struct vm_swap *sw)
{
	HOST_ASSERT(host_lock_held(&sw->sw_lock));
	return &sw->sw_used;
}

static uint64_t *
slot_word(const struct vm_swap *sw, uint64_t slot)
{
	HOST_ASSERT(host_lock_held(&sw->sw_lock));
	return &sw->sw_bitmap[slot / 64];
}

/*
 * The longest stretch of free slots in [from, end), n at most, if it is longer than *best; where
 * it begins in *first.
 */
static void
search(const struct vm_swap *sw, uint64_t from, uint64_t end, unsigned int n, unsigned int *best,
       uint64_t *first)
{
	uint64_t stop = ~(uint64_t)0;
	unsigned int run = 0;

	for (uint64_t slot = from; slot < end && slot < stop && *best < n; slot++) {
		const uint64_t word = *slot_word(sw, slot);

		if (slot % 64 == 0 && word == ~(uint64_t)0) {
			slot += 63;
			run = 0;
		} else if ((word >> slot % 64 & 1) != 0) {
			run = 0;
		} else if (++run > *best) {
			if (*best == 0)
				stop = slot + SEARCH_SLOTS;
			*best = run;
			*first = slot + 1 - run;
		}
	}
}

/* Takes up to n consecutive slots, from *first on; how many. 0: swap is full. */
static unsigned int
take_slots(struct vm_swap *sw, unsigned int n, uint64_t *first)
{
	unsigned int got = 0;

	host_lock(&sw->sw_lock);
	if (*vm_swap_used(sw) < sw->sw_slots) {
		search(sw, sw->sw_hand, sw->sw_slots, n, &got, first);
		/* A stretch that is too short is good enough if it is this side of the end. */
		if (got == 0)
			search(sw, 0, sw->sw_hand, n, &got, first);
	}
	for (unsigned int i = 0; i < got; i++)
		*slot_word(sw, *first + i) |= (uint64_t)1 << (*first + i) % 64;
	*vm_swap_used(sw) += got;
	if (got != 0)
		sw->sw_hand = *first + got < sw->sw_slots ? *first + got : 0;
	host_unlock(&sw->sw_lock);
	return got;
}

static void
give_slot(struct vm_swap *sw, uint64_t slot)
{
	const uint64_t bit = (uint64_t)1 << slot % 64;

	host_lock(&sw->sw_lock);
	HOST_ASSERT((*slot_word(sw, slot) & bit) != 0);
	*slot_word(sw, slot) &= ~bit;
	--*vm_swap_used(sw);
	host_unlock(&sw->sw_lock);
}

void
vm_swap_give(struct vm_swap *sw, uint64_t vp_slot)
{
	give_slot(sw, vp_slot - 1);
}

/* ---- Out ------------------------------------------------------------------------------------- */

/* The page, in memory, was written to this slot. */
static void
adopt_slot(struct vm_object *ob, struct vm_page *pg, uint64_t slot)
{
	vm_pager_forget(ob, pg);
	pg->vp_slot = 1 + slot;
}

/* Writes n pages to as many slots from `slot` on. One bad page does not keep the others in. */
static void
write_cluster(struct vm_object *ob, const uint64_t *index, unsigned int n, uint64_t slot,
	      bool *done)
{
	hpa_t frames[CLUSTER];
	unsigned int good = 0;
	bool all;

	for (unsigned int i = 0; i < n; i++)
		frames[i] = vm_page_hpa(page_at(ob, index[i]));
	all = host_swap_write(slot, frames, n) == 0;
	for (unsigned int i = 0; i < n; i++) {
		done[i] = all || (n > 1 && host_swap_write(slot + i, &frames[i], 1) == 0);
		if (done[i])
			adopt_slot(ob, page_at(ob, index[i]), slot + i);
		else
			give_slot(&ob->ob_sys->sy_swap, slot + i);
		good += done[i];
	}
	vm_object_count(ob, VM_C_SWAP_OUTS, good);
	vm_object_count(ob, VM_C_SWAP_ERRORS, n - good);
}

/*
 * Swap is full. What a page had there is older than what is to be written: its own slot will do. If
 * the write fails the slot holds anything, and the page stays in memory without one.
 */
static void
write_over(struct vm_object *ob, uint64_t index, bool *done)
{
	struct vm_page *const pg = page_at(ob, index);
	const hpa_t frame = vm_page_hpa(pg);

	if (pg->vp_slot == 0)
		return;
	*done = host_swap_write(pg->vp_slot - 1, &frame, 1) == 0;
	vm_object_count(ob, *done ? VM_C_SWAP_OUTS : VM_C_SWAP_ERRORS, 1);
	if (!*done)
		vm_pager_forget(ob, pg);
}

void
vm_swap_out(struct vm_object *ob, const uint64_t *index, unsigned int n, bool *done)
{
	for (unsigned int i = 0; i < n;) {
		const unsigned int left = n - i < CLUSTER ? n - i : CLUSTER;
		uint64_t slot = 0;
		unsigned int got = take_slots(&ob->ob_sys->sy_swap, left, &slot);

		done[i] = false;
		if (got != 0) {
			write_cluster(ob, index + i, got, slot, done + i);
		} else {
			write_over(ob, index[i], &done[i]);
			got = 1;
		}
		i += got;
	}
}

/* ---- In -------------------------------------------------------------------------------------- */

/* A page that is wanted, at ra_frames[READ_AHEAD], and the neighbors that are read along. */
struct read_ahead {
	struct vm_object *ra_object;
	uint64_t ra_index;
	uint64_t ra_slot;
	unsigned int ra_before;
	unsigned int ra_after;
	hpa_t ra_frames[READ_AHEAD + 1 + READ_AHEAD];
};

/*
 * Owns the page at a distance from the wanted one, with a frame to read it into. Nothing is waited
 * for: two readers may be each other's neighbors.
 */
static bool
take_neighbor(struct read_ahead *ra, int distance)
{
	const uint64_t index = ra->ra_index + (uint64_t)(int64_t)distance;
	struct vm_object *const ob = ra->ra_object;
	bool run;

	if (index / VM_CHUNK_PAGES != ra->ra_index / VM_CHUNK_PAGES || index >= ob->ob_npages)
		return false;

	struct vm_page *const pg = page_at(ob, index);

	if (vm_object_own_absent(ob, pg) != 0)
		return false;
	/* Slots are numbered from 1 in vp_slot: below the first one is none. */
	if (pg->vp_slot != 0 && pg->vp_slot == 1 + ra->ra_slot + (uint64_t)(int64_t)distance &&
	    vm_frame_try(ob, index, &ra->ra_frames[READ_AHEAD + distance], &run) == VM_FAULT_NONE)
		return true;
	vm_page_disown(ob, pg, 0, 0);
	return false;
}

/* The neighbors were read, or not: then they stay where they are. */
static void
finish_neighbor(struct read_ahead *ra, int distance, bool good)
{
	const uint64_t index = ra->ra_index + (uint64_t)(int64_t)distance;
	const hpa_t hpa = ra->ra_frames[READ_AHEAD + distance];
	struct vm_object *const ob = ra->ra_object;

	if (good)
		vm_page_settle(ob, index, hpa);
	else
		vm_frame_free(ob, index, hpa, false);
	vm_page_disown(ob, page_at(ob, index), 0, 0);
}

int
vm_swap_in(struct vm_object *ob, uint64_t index, hpa_t hpa)
{
	struct read_ahead ra = {
		.ra_object = ob,
		.ra_index = index,
		.ra_slot = page_at(ob, index)->vp_slot - 1,
	};
	unsigned int n;
	int error;

	ra.ra_frames[READ_AHEAD] = hpa;
	while (ra.ra_after < READ_AHEAD && take_neighbor(&ra, (int)ra.ra_after + 1))
		ra.ra_after++;
	while (ra.ra_before + ra.ra_after < READ_AHEAD &&
	       take_neighbor(&ra, -(int)ra.ra_before - 1))
		ra.ra_before++;
	n = ra.ra_before + ra.ra_after;
	error = host_swap_read(ra.ra_slot - ra.ra_before, &ra.ra_frames[READ_AHEAD - ra.ra_before],
			       n + 1);
	for (int d = -(int)ra.ra_before; d <= (int)ra.ra_after; d++) {
		if (d != 0)
			finish_neighbor(&ra, d, error == 0);
	}
	if (error == 0)
		vm_object_count(ob, VM_C_READ_AHEAD, n);
	else if (n != 0)
		error = host_swap_read(ra.ra_slot, &hpa, 1);
	if (error != 0)
		vm_object_count(ob, VM_C_SWAP_ERRORS, 1);
	return error;
}
