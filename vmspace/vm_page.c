/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A page's state: one word with its frame, its flags, and who is busy with it.
 *
 * Sharing and owning are compare-and-swaps on that word, so that whoever got it knows the frame
 * that went with it. All of them are full fences on x86: who owns a page sees every pin that a
 * sharer added before it let go.
 *
 * Waiting: set VP_WANTED while the page is busy, having read the object's event before. Whoever
 * makes the page less busy takes VP_WANTED off in the same step, and posts the event if it was set;
 * in an epoch section, since with the page let go the object may end.
 */

#include "vmspace/vm_priv.h"

bool
vm_page_share(struct vm_page *pg)
{
	uint64_t state = host_load(&pg->vp_state);

	do {
		if (!(state & VP_RESIDENT) || (state & VP_OWNED) ||
		    (state & VP_SHARES) == VP_SHARES)
			return false;
	} while (!host_cas(&pg->vp_state, &state, state + VP_SHARE));
	return true;
}

/* Inside the section in which the page was let go: who waited may end the object at once. */
static void
wake(struct vm_object *ob)
{
	HOST_ASSERT(host_epoch_held());
	host_event_post(&ob->ob_event);
}

/* Changes the state by taking off `minus`, clearing and setting bits; wakes who waits. */
static void
let_go(struct vm_object *ob, struct vm_page *pg, uint64_t minus, uint64_t clear, uint64_t set)
{
	uint64_t state = host_load(&pg->vp_state);
	uint64_t next;

	/* Whoever lets go has hold of it: nobody else takes that away meanwhile. */
	HOST_ASSERT((state & (minus != 0 ? VP_SHARES : VP_OWNED)) != 0);
	host_epoch_enter();
	do {
		next = ((state - minus) & ~clear) | set;
		if (!(next & VP_OWNED))
			next &= ~VP_WANTED;
	} while (!host_cas(&pg->vp_state, &state, next));
	if (state & ~next & VP_WANTED)
		wake(ob);
	host_epoch_exit();
}

void
vm_page_unshare(struct vm_object *ob, struct vm_page *pg)
{
	let_go(ob, pg, VP_SHARE, 0, 0);
}

bool
vm_page_own(struct vm_page *pg, uint64_t *state)
{
	*state = host_load(&pg->vp_state);
	do {
		if (vm_state_busy(*state))
			return false;
	} while (!host_cas(&pg->vp_state, state, *state | VP_OWNED));
	return true;
}

bool
vm_page_own_unpinned(struct vm_object *ob, struct vm_page *pg)
{
	uint64_t state = host_load(&pg->vp_state);

	if (!(state & VP_RESIDENT) || host_load(&pg->vp_pins) != 0 || !vm_page_own(pg, &state))
		return false;
	/* Pins are added by sharers: now that it is owned there are no more to come. */
	if ((state & VP_RESIDENT) && host_load_acquire(&pg->vp_pins) == 0)
		return true;
	vm_page_disown(ob, pg, 0, 0);
	return false;
}

void
vm_page_disown(struct vm_object *ob, struct vm_page *pg, uint64_t clear, uint64_t set)
{
	let_go(ob, pg, 0, clear | VP_OWNED, set);
}

void
vm_page_downgrade(struct vm_object *ob, struct vm_page *pg, uint64_t clear, uint64_t set)
{
	/* The share is added as the owner's bit goes; nobody else shares now. */
	let_go(ob, pg, 0, clear | VP_OWNED, set | VP_SHARE);
}

int
vm_page_wait(struct vm_object *ob, struct vm_page *pg, bool interruptible)
{
	const uint64_t seen = host_event_read(&ob->ob_event);
	uint64_t state = host_load(&pg->vp_state);

	do {
		if (!vm_state_busy(state))
			return 0;
	} while (!host_cas(&pg->vp_state, &state, state | VP_WANTED));
	return host_event_wait(&ob->ob_event, seen, interruptible);
}
