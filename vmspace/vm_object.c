/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Objects: what has pages. Chunks of 512 pages come into being at the first touch and stay until
 * the object ends, so that a page, once found, stays where it is.
 *
 * The end. An object dies when its segment goes (vm_object_terminate()); its memory lasts until the
 * last reference is dropped, of which every held page has one. Whoever fills a page owns it first
 * and then looks at ob_dead; whoever terminates sets ob_dead and then owns each page in turn; and
 * whoever drops the last pin looks at ob_dead after. So each page is freed by exactly one of them.
 */

#include "vmspace/vm_priv.h"

static uint64_t
chunk_count(const struct vm_object *ob)
{
	return ob->ob_type == OBJT_SG ? 0 : (ob->ob_npages + VM_CHUNK_PAGES - 1) / VM_CHUNK_PAGES;
}

/* ---- The ring that the clock hand goes round ------------------------------------------------- */

static void
clock_insert(struct vm_object *ob)
{
	struct vm_system *const sys = ob->ob_sys;
	struct vm_object **first;

	host_lock(&sys->sy_lock);
	first = vm_system_clock(sys);
	if (*first == NULL) {
		ob->ob_clock_next = ob->ob_clock_prev = ob;
		*first = ob;
	} else {
		ob->ob_clock_next = *first;
		ob->ob_clock_prev = (*first)->ob_clock_prev;
		ob->ob_clock_prev->ob_clock_next = ob;
		ob->ob_clock_next->ob_clock_prev = ob;
	}
	host_unlock(&sys->sy_lock);
}

void
vm_object_unclock(struct vm_object *ob)
{
	struct vm_system *const sys = ob->ob_sys;
	struct vm_object **first;

	host_lock(&sys->sy_lock);
	first = vm_system_clock(sys);
	if (ob->ob_clock_next != NULL) {
		if (*first == ob)
			*first = ob->ob_clock_next != ob ? ob->ob_clock_next : NULL;
		ob->ob_clock_prev->ob_clock_next = ob->ob_clock_next;
		ob->ob_clock_next->ob_clock_prev = ob->ob_clock_prev;
		ob->ob_clock_next = ob->ob_clock_prev = NULL;
	}
	host_unlock(&sys->sy_lock);
}

/* ---- Life ------------------------------------------------------------------------------------ */

int
vm_object_create(struct vmspace *vs, enum vm_objtype type, uint64_t npages, hpa_t base,
		 struct vm_object **out)
{
	const uint64_t nchunks =
		type == OBJT_SG ? 0 : npages / VM_CHUNK_PAGES + (npages % VM_CHUNK_PAGES != 0);
	struct vm_object *ob;
	uint64_t bytes;
	int error;

	if (nchunks > (~(uint64_t)0 >> 8) / sizeof(ob->ob_chunks[0]))
		return -ENOMEM;
	bytes = sizeof(*ob) + nchunks * sizeof(ob->ob_chunks[0]);
	ob = host_alloc(bytes);
	if (ob == NULL)
		return -ENOMEM;
	ob->ob_sys = vs->vs_sys;
	ob->ob_account = vs->vs_account;
	vm_account_ref(ob->ob_account);
	ob->ob_space = vs;
	ob->ob_type = type;
	ob->ob_runs = type != OBJT_SG && (pmap_flags(vs->vs_pmap) & PMAP_PDE_SUPERPAGE) != 0 &&
		      (host_load(&vs->vs_mode) & VM_NO_SUPERPAGES) == 0;
	ob->ob_npages = npages;
	ob->ob_base = base;
	ob->ob_bytes = bytes;
	host_store(&ob->ob_window.vp_state, VP_RESIDENT);
	host_store(&ob->ob_refs, 1);
	host_event_init(&ob->ob_event);
	error = vm_pager_create(ob);
	if (error != 0) {
		vm_account_unref(ob->ob_account);
		host_free(ob, bytes);
		return error;
	}
	if (type != OBJT_SG)
		clock_insert(ob);
	*out = ob;
	return 0;
}

bool
vm_object_ref(struct vm_object *ob)
{
	uint64_t refs = host_load(&ob->ob_refs);

	do {
		if (refs == 0)
			return false;
	} while (!host_cas(&ob->ob_refs, &refs, refs + 1));
	return true;
}

static struct vm_chunk *
chunk_at(const struct vm_object *ob, uint64_t n)
{
	return (struct vm_chunk *)(uintptr_t)host_load_acquire(&ob->ob_chunks[n]);
}

static void
object_free(struct host_epoch_item *item)
{
	struct vm_object *const ob =
		(struct vm_object *)(void *)((char *)item - offsetof(struct vm_object, ob_epoch));

	for (uint64_t n = 0; n < chunk_count(ob); n++) {
		struct vm_chunk *const ch = chunk_at(ob, n);

		if (ch == NULL)
			continue;
		HOST_ASSERT(host_load(&ch->ch_resident) == 0 && ch->ch_run == 0);
		host_free(ch, sizeof(*ch));
	}
	/* Who came late to a window was told that it is gone, and did not wait for its owner. */
	HOST_ASSERT(ob->ob_type != OBJT_SG || host_load(&ob->ob_window.vp_state) == 0);
	vm_account_unref(ob->ob_account);
	host_free(ob, ob->ob_bytes);
}

void
vm_object_unref(struct vm_object *ob)
{
	if (host_fetch_add(&ob->ob_refs, ~(uint64_t)0) != 1)
		return;
	/* Who sees it in an epoch section finds no page in memory, and gets no reference. */
	vm_pager_destroy(ob);
	host_epoch_defer(&ob->ob_epoch, object_free);
}

/* Frees a page of a dead object, unless it is pinned: false. The caller has a reference. */
static bool
reap(struct vm_object *ob, uint64_t index)
{
	struct vm_page *const pg = vm_object_page(ob, index);
	uint64_t state;
	bool goes;

	while (!vm_page_own(pg, &state))
		vm_page_wait(ob, pg, false);
	goes = host_load_acquire(&pg->vp_pins) == 0;
	if (goes) {
		if (state & VP_RESIDENT)
			vm_page_empty(ob, index);
		vm_pager_forget(ob, pg);
	}
	vm_page_disown(ob, pg, 0, 0);
	return goes;
}

/*
 * The same for all pages of a chunk, and for its run, of which nobody takes any more now. What
 * stays is discarded by the one who unpins it.
 */
static void
reap_chunk(struct vm_object *ob, struct vm_chunk *ch, uint64_t first)
{
	const uint64_t left = ob->ob_npages - first;
	const unsigned int n = left < VM_CHUNK_PAGES ? (unsigned int)left : VM_CHUNK_PAGES;
	uint64_t gone[VM_BITMAP_WORDS] = {0};
	unsigned int from = 0;

	for (unsigned int i = 0; i < n; i++)
		gone[i / 64] |= (uint64_t)reap(ob, first + i) << i % 64;
	vm_run_break(ob, ch, first);
	for (unsigned int i = 0; i < n; i++) {
		if ((gone[i / 64] >> i % 64 & 1) != 0)
			continue;
		vm_pager_discard(ob, first + from, i - from);
		from = i + 1;
	}
	vm_pager_discard(ob, first + from, n - from);
}

/*
 * The stand-in for a window's pages goes as they would: who has found the object in an epoch
 * section and comes late must not share it, since sharers keep nothing from being freed.
 */
static void
end_window(struct vm_object *ob)
{
	uint64_t state;

	while (!vm_page_own(&ob->ob_window, &state))
		vm_page_wait(ob, &ob->ob_window, false);
	vm_page_disown(ob, &ob->ob_window, VP_RESIDENT, 0);
}

void
vm_object_terminate(struct vm_object *ob)
{
	vm_object_unclock(ob);
	host_xchg(&ob->ob_dead, 1);
	if (ob->ob_type == OBJT_SG)
		end_window(ob);
	for (uint64_t n = 0; n < chunk_count(ob); n++) {
		struct vm_chunk *const ch = chunk_at(ob, n);

		if (ch != NULL)
			reap_chunk(ob, ch, n * VM_CHUNK_PAGES);
		host_relax();
	}
	vm_object_unref(ob);
}

void
vm_object_unpin(struct vm_object *ob, uint64_t index, uint64_t pins)
{
	struct vm_page *const pg = vm_object_page(ob, index);
	const uint64_t before = host_fetch_add(&pg->vp_pins, -pins);

	if (VP_WIRINGS(before) == 1 && VP_WIRINGS(pins) == 1)
		host_fetch_add(&ob->ob_account->ac_wired, ~(uint64_t)0);
	if (before == pins && host_load(&ob->ob_dead) != 0 && reap(ob, index))
		vm_pager_discard(ob, index, 1);
}

/* ---- Pages ----------------------------------------------------------------------------------- */

struct vm_chunk *
vm_object_peek(const struct vm_object *ob, uint64_t index)
{
	return ob->ob_type == OBJT_SG ? NULL : chunk_at(ob, index / VM_CHUNK_PAGES);
}

struct vm_chunk *
vm_object_chunk(struct vm_object *ob, uint64_t index)
{
	struct host_word *const where = &ob->ob_chunks[index / VM_CHUNK_PAGES];
	struct vm_chunk *ch = vm_object_peek(ob, index);
	uint64_t old = 0;

	if (ch != NULL)
		return ch;
	ch = host_alloc(sizeof(*ch));
	if (ch == NULL)
		return NULL;
	host_lock_init(&ch->ch_lock, VM_RANK_CHUNK);
	if (!host_cas(where, &old, (uintptr_t)ch)) {
		host_free(ch, sizeof(*ch));
		return (struct vm_chunk *)(uintptr_t)old;
	}
	/* A new 2 MiB: tables will have grown by one. */
	vm_charge_tables(ob->ob_space);
	return ch;
}

struct vm_page *
vm_object_page(struct vm_object *ob, uint64_t index)
{
	struct vm_chunk *const ch = vm_object_peek(ob, index);

	if (ob->ob_type == OBJT_SG)
		return &ob->ob_window;
	return ch != NULL ? &ch->ch_pages[index % VM_CHUNK_PAGES] : NULL;
}

static void
quiesce_page(struct vm_object *ob, struct vm_page *pg)
{
	while ((host_load(&pg->vp_state) & VP_SHARES) != 0)
		vm_page_wait(ob, pg, false);
}

void
vm_object_quiesce(struct vm_object *ob, uint64_t first, uint64_t npages)
{
	uint64_t index = first;

	if (ob->ob_type == OBJT_SG) {
		quiesce_page(ob, &ob->ob_window);
		return;
	}
	while (index < first + npages) {
		const uint64_t end = (index / VM_CHUNK_PAGES + 1) * VM_CHUNK_PAGES;
		struct vm_chunk *const ch = vm_object_peek(ob, index);

		/* What is shared is in memory. */
		if (ch != NULL && host_load(&ch->ch_resident) != 0) {
			for (; index < end && index < first + npages; index++)
				quiesce_page(ob, &ch->ch_pages[index % VM_CHUNK_PAGES]);
			host_relax();
		}
		index = end;
	}
}

/*
 * Owns a page to fill it. Looking at ob_dead comes after owning: see above. -EAGAIN: it is dead;
 * -EBUSY: somebody else is busy with it, or it is there already.
 */
int
vm_object_own_absent(struct vm_object *ob, struct vm_page *pg)
{
	uint64_t state;
	int error = 0;

	if (!vm_page_own(pg, &state))
		return -EBUSY;
	if (host_load(&ob->ob_dead) != 0)
		error = -EAGAIN;
	else if (state & VP_RESIDENT)
		error = -EBUSY;
	if (error != 0)
		vm_page_disown(ob, pg, 0, 0);
	return error;
}

int
vm_object_getpage(struct vm_object *ob, uint64_t index, struct vm_page **out,
		  enum vm_fault_reason *why)
{
	struct vm_page *pg = &ob->ob_window;
	int error;

	*why = VM_FAULT_NO_MEMORY;
	if (ob->ob_type != OBJT_SG) {
		struct vm_chunk *const ch = vm_object_chunk(ob, index);

		if (ch == NULL)
			return -ENOMEM;
		pg = &ch->ch_pages[index % VM_CHUNK_PAGES];
	}
	while (!vm_page_share(pg)) {
		error = vm_object_own_absent(ob, pg);
		if (error == 0) {
			error = vm_page_fill(ob, index, why);
			if (error != 0) {
				vm_page_disown(ob, pg, 0, 0);
				return error;
			}
			vm_page_downgrade(ob, pg, 0, VP_REFERENCED);
			break;
		}
		if (error == -EAGAIN)
			return error;
		*why = VM_FAULT_INTERRUPTED;
		error = vm_page_wait(ob, pg, true);
		if (error != 0)
			return error;
		*why = VM_FAULT_NO_MEMORY;
	}
	*out = pg;
	return 0;
}
