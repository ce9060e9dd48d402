/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Memory that appears when it is touched: frames for pages of system memory and of named segments.
 *
 * A chunk that nothing is in memory of asks the host for a run, 512 contiguous frames, and reserves
 * it: each page then takes the frame that continues the run, so that the chunk can be mapped by one
 * superpage when it is complete. What is reserved and not in use is the first thing to go back when
 * memory is short (vm_run_break()); pages that took their frames from the run keep them, as any
 * other frame. With VM_EAGER_RUNS all pages take theirs at once.
 *
 * Charging: a run is charged whole when it is obtained, a single frame for itself. A frame that
 * goes back into its run stays charged.
 */

#include "vmspace/vm_priv.h"

/*
 * Rounds of making room that an allocation bears before it gives up: others may take what it frees.
 */
#define ROOM_ROUNDS 32

static struct host_word *
resident_account(struct vm_object *ob)
{
	return ob->ob_type == OBJT_DEVMEM ? &ob->ob_account->ac_devmem
					  : &ob->ob_account->ac_resident;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

/* What ch_lock guards. */
static hpa_t *
run_of(struct vm_chunk *ch)
{
	HOST_ASSERT(host_lock_held(&ch->ch_lock));
	return &ch->ch_run;
}

static bool
take_from_run(struct vm_object *ob, struct vm_chunk *ch, unsigned int i, hpa_t *hpa)
{
	const uint64_t bit = (uint64_t)1 << i % 64;
	bool taken;

	host_lock(&ch->ch_lock);
	taken = *run_of(ch) != 0 && (ch->ch_free[i / 64] & bit) != 0;
	if (taken) {
		ch->ch_free[i / 64] &= ~bit;
		*hpa = *run_of(ch) + i * HOST_PAGE_SIZE;
	}
	host_unlock(&ch->ch_lock);
	if (taken)
		host_fetch_add(&ob->ob_account->ac_reserved, ~(uint64_t)0);
	return taken;
}

static bool
wants_run(const struct vm_object *ob, struct vm_chunk *ch, uint64_t index)
{
	const uint64_t end = (index / VM_CHUNK_PAGES + 1) * VM_CHUNK_PAGES;

	return ob->ob_runs && end <= ob->ob_npages && host_load(&ch->ch_resident) == 0 &&
	       (host_load(&ch->ch_flags) & CH_NO_RUN) == 0;
}

/*
 * With a pager of the host's a page may be got twice: alone, by who fills it, and with the run, by
 * who fills a neighbor. Whoever comes last finds what the other one did: the filler makes the page
 * resident and then looks at the run, the neighbor publishes the run and then looks at the page.
 */
static void
drop_double(struct vm_object *ob, uint64_t index)
{
	struct vm_chunk *const ch = vm_object_peek(ob, index);
	hpa_t hpa;

	if (take_from_run(ob, ch, index % VM_CHUNK_PAGES, &hpa)) {
		vm_pager_put(ob, index, hpa, false);
		vm_uncharge(ob->ob_account, 1);
	}
}

static void
drop_doubles(struct vm_object *ob, struct vm_chunk *ch, uint64_t first)
{
	for (unsigned int i = 0; ob->ob_pager != NULL && i < VM_CHUNK_PAGES; i++) {
		if (host_load(&ch->ch_pages[i].vp_state) & VP_RESIDENT)
			drop_double(ob, first + i);
	}
}

/* A run that nobody has heard of. */
static void
put_run(struct vm_object *ob, uint64_t first, hpa_t base)
{
	for (unsigned int i = 0; i < VM_CHUNK_PAGES; i++)
		vm_pager_put(ob, first + i, base + i * HOST_PAGE_SIZE, false);
	host_fetch_add(&ob->ob_account->ac_reserved, -(uint64_t)VM_CHUNK_PAGES);
	vm_uncharge(ob->ob_account, VM_CHUNK_PAGES);
}

/* Obtains a run of 512 frames, all of them free in the chunk. False if that is not to be had. */
static bool
reserve_run(struct vm_object *ob, struct vm_chunk *ch, uint64_t first)
{
	bool mine;
	hpa_t base;

	if (vm_charge(ob->ob_account, VM_CHUNK_PAGES) != VM_FAULT_NONE)
		return false;
	if (!vm_pager_get_run(ob, first, &base)) {
		vm_uncharge(ob->ob_account, VM_CHUNK_PAGES);
		host_fetch_or(&ch->ch_flags, CH_NO_RUN);
		return false;
	}
	host_fetch_add(&ob->ob_account->ac_reserved, VM_CHUNK_PAGES);
	host_lock(&ch->ch_lock);
	mine = *run_of(ch) == 0;
	for (unsigned int w = 0; mine && w < VM_BITMAP_WORDS; w++)
		ch->ch_free[w] = ~(uint64_t)0;
	if (mine)
		*run_of(ch) = base;
	host_unlock(&ch->ch_lock);
	if (!mine) {
		put_run(ob, first, base);
	} else {
		drop_doubles(ob, ch, first);
		vm_object_count(ob, VM_C_RUNS, 1);
	}
	return true;
}

uint64_t
vm_run_break(struct vm_object *ob, struct vm_chunk *ch, uint64_t first)
{
	uint64_t bits[VM_BITMAP_WORDS];
	uint64_t n = 0;
	hpa_t base;

	host_lock(&ch->ch_lock);
	base = *run_of(ch);
	*run_of(ch) = 0;
	for (unsigned int w = 0; w < VM_BITMAP_WORDS; w++) {
		bits[w] = base != 0 ? ch->ch_free[w] : 0;
		ch->ch_free[w] = 0;
	}
	host_unlock(&ch->ch_lock);
	for (unsigned int i = 0; i < VM_CHUNK_PAGES; i++) {
		if ((bits[i / 64] >> i % 64 & 1) != 0) {
			vm_pager_put(ob, first + i, base + i * HOST_PAGE_SIZE, false);
			n++;
		}
	}
	if (n != 0) {
		host_fetch_add(&ob->ob_account->ac_reserved, -n);
		vm_uncharge(ob->ob_account, n);
		vm_object_count(ob, VM_C_RUNS_BROKEN, 1);
	}
	return n;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

enum vm_fault_reason
vm_frame_try(struct vm_object *ob, uint64_t index, hpa_t *hpa, bool *run)
{
	struct vm_chunk *const ch = vm_object_peek(ob, index);
	const unsigned int i = index % VM_CHUNK_PAGES;
	enum vm_fault_reason why;

	*run = false;
	if (take_from_run(ob, ch, i, hpa))
		return VM_FAULT_NONE;
	if (wants_run(ob, ch, index) && reserve_run(ob, ch, index - i)) {
		*run = true;
		if (take_from_run(ob, ch, i, hpa))
			return VM_FAULT_NONE;
	}
	*run = false;
	why = vm_charge(ob->ob_account, 1);
	if (why != VM_FAULT_NONE)
		return why;
	why = vm_pager_get(ob, index, hpa);
	if (why != VM_FAULT_NONE)
		vm_uncharge(ob->ob_account, 1);
	return why;
}

/* Of vm_frame_try(). */
static int
error_of(enum vm_fault_reason why)
{
	switch (why) {
	case VM_FAULT_NONE:
		return 0;
	case VM_FAULT_SWAP_READ:
		return -EIO;
	case VM_FAULT_INTERRUPTED:
		return -EINTR;
	default:
		return -ENOMEM;
	}
}

int
vm_frame_alloc(struct vm_object *ob, uint64_t index, hpa_t *hpa, bool *run,
	       enum vm_fault_reason *why)
{
	for (unsigned int round = 0; round < ROOM_ROUNDS; round++) {
		int error;

		*why = vm_frame_try(ob, index, hpa, run);
		error = error_of(*why);
		if (error != -ENOMEM)
			return error;
		error = vm_make_room(ob->ob_space, *why);
		if (error == -ENOMEM) { /* but others may have made room meanwhile */
			*why = vm_frame_try(ob, index, hpa, run);
			return error_of(*why);
		}
		if (error == -EINTR)
			*why = VM_FAULT_INTERRUPTED;
		if (error != 0)
			return error;
	}
	return -ENOMEM;
}

/*
 * What goes back into a run has lost its contents. So a page of a host's pager, which may have new
 * ones, does not: the run goes on without it.
 */
void
vm_frame_free(struct vm_object *ob, uint64_t index, hpa_t hpa, bool dirty)
{
	struct vm_chunk *const ch = vm_object_peek(ob, index);
	const unsigned int i = index % VM_CHUNK_PAGES;
	bool reserved;

	host_lock(&ch->ch_lock);
	reserved =
		*run_of(ch) != 0 && ob->ob_pager == NULL && hpa == *run_of(ch) + i * HOST_PAGE_SIZE;
	if (reserved)
		ch->ch_free[i / 64] |= (uint64_t)1 << i % 64;
	host_unlock(&ch->ch_lock);
	if (reserved) {
		host_fetch_add(&ob->ob_account->ac_reserved, 1);
	} else {
		vm_pager_put(ob, index, hpa, dirty);
		vm_uncharge(ob->ob_account, 1);
	}
}

/* ---- Pages ----------------------------------------------------------------------------------- */

/* The page, owned, has this frame from now on. */
void
vm_page_settle(struct vm_object *ob, uint64_t index, hpa_t hpa)
{
	struct vm_chunk *const ch = vm_object_peek(ob, index);
	struct vm_page *const pg = &ch->ch_pages[index % VM_CHUNK_PAGES];

	if (pg->vp_slot != 0)
		host_fetch_add(&ob->ob_account->ac_swapped, ~(uint64_t)0);
	host_fetch_add(&ch->ch_resident, 1);
	host_fetch_add(resident_account(ob), 1);
	host_fetch_or(&pg->vp_state, hpa | VP_RESIDENT);
	if (ob->ob_pager != NULL)
		drop_double(ob, index);
}

void
vm_page_empty(struct vm_object *ob, uint64_t index)
{
	struct vm_chunk *const ch = vm_object_peek(ob, index);
	struct vm_page *const pg = &ch->ch_pages[index % VM_CHUNK_PAGES];
	const uint64_t was =
		host_fetch_and(&pg->vp_state, ~(VP_FRAME | VP_RESIDENT | VP_DIRTY | VP_REFERENCED));
	if (pg->vp_slot != 0)
		host_fetch_add(&ob->ob_account->ac_swapped, 1);
	host_fetch_add(resident_account(ob), ~(uint64_t)0);
	if (host_fetch_add(&ch->ch_resident, ~(uint64_t)0) == 1)
		host_fetch_and(&ch->ch_flags, ~CH_NO_RUN);
	vm_frame_free(ob, index, was & VP_FRAME, (was & VP_DIRTY) != 0);
}

/*
 * The rest of a run that was obtained for one page: every neighbor whose contents are there without
 * I/O.
 */
static void
fill_run(struct vm_object *ob, uint64_t index)
{
	const uint64_t first = index - index % VM_CHUNK_PAGES;
	struct vm_chunk *const ch = vm_object_peek(ob, index);

	for (unsigned int i = 0; i < VM_CHUNK_PAGES; i++) {
		struct vm_page *const pg = &ch->ch_pages[i];
		hpa_t hpa;

		if (vm_object_own_absent(ob, pg) != 0)
			continue;
		if ((pg->vp_slot == 0 || ob->ob_pager != NULL) && take_from_run(ob, ch, i, &hpa)) {
			(void)vm_pager_read(ob, first + i, hpa);
			vm_page_settle(ob, first + i, hpa);
		}
		vm_page_disown(ob, pg, 0, 0);
	}
}

int
vm_page_fill(struct vm_object *ob, uint64_t index, enum vm_fault_reason *why)
{
	hpa_t hpa;
	bool run;
	int error = vm_frame_alloc(ob, index, &hpa, &run, why);

	if (error != 0)
		return error;
	error = vm_pager_read(ob, index, hpa);
	if (error != 0) {
		vm_frame_free(ob, index, hpa, false);
		*why = VM_FAULT_SWAP_READ;
		return error;
	}
	vm_page_settle(ob, index, hpa);
	if (run && (host_load(&ob->ob_space->vs_mode) & VM_EAGER_RUNS) != 0)
		fill_run(ob, index);
	return 0;
}
