/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Faults: from an address to a mapping.
 *
 * What needs no memory takes no lock and does not sleep: in one epoch section the map is read, and
 * the page is shared if it is there. What must sleep (a frame, swap) happens outside, with a
 * reference to the object; afterwards everything is looked up again, and the page that was brought
 * in is used only if the map still says the same. So no decision is older than the word vs_revoke
 * that was read before it, and pmap_enter() looks at that word again after installing.
 *
 * The page is shared until the entry is installed or taken back: that is what a revoker waits for.
 */

#include "vmspace/vm_priv.h"

const char *
vm_fault_reason_name(enum vm_fault_reason reason)
{
	static const char *const names[VM_FAULT_REASON_COUNT] = {
		[VM_FAULT_NONE] = "none",
		[VM_FAULT_BEYOND] = "beyond the address space",
		[VM_FAULT_UNMAPPED] = "unmapped",
		[VM_FAULT_DENIED] = "denied",
		[VM_FAULT_NO_MEMORY] = "no memory",
		[VM_FAULT_GUEST_LIMIT] = "the guest's limit",
		[VM_FAULT_TOTAL_LIMIT] = "the system's limit",
		[VM_FAULT_NO_TABLE] = "no page for a page table",
		[VM_FAULT_SWAP_READ] = "swap cannot be read",
		[VM_FAULT_INTERRUPTED] = "interrupted",
		[VM_FAULT_WINDOW] = "a device's window",
	};

	return (unsigned int)reason < VM_FAULT_REASON_COUNT ? names[reason] : "unknown";
}

/* ---- Looking up ------------------------------------------------------------------------------ */

/* The hole around gpa, from gpa to the next map or the end of the space. */
static uint64_t
hole_length(const struct vmspace *vs, const struct vm_map *map, gpa_t gpa)
{
	const unsigned int next = vm_map_search(map, gpa);
	const gpa_t end =
		next < map->mp_n ? map->mp_entries[next].me_start : pmap_fmt(vs->vs_pmap)->pf_limit;

	return end - gpa;
}

static int
refuse(struct vm_fault_record *r, enum vm_fault_reason reason, int error)
{
	r->fr_reason = reason;
	r->fr_error = error;
	return error;
}

int
vm_decide(struct vmspace *vs, gpa_t gpa, unsigned int access, struct vm_decision *d,
	  struct vm_fault_record *r)
{
	const struct vm_map *map;
	const struct vm_map_entry *e;

	*r = (struct vm_fault_record){
		.fr_gpa = gpa & ~(HOST_PAGE_SIZE - 1),
		.fr_len_bytes = HOST_PAGE_SIZE,
		.fr_access = access,
	};
	if (gpa >= pmap_fmt(vs->vs_pmap)->pf_limit)
		return refuse(r, VM_FAULT_BEYOND, -EINVAL);
	/* The word first, the map after it: what is decided is then no older than the word. */
	d->fl_seen = host_load_acquire(&vs->vs_revoke);
	map = vm_map_current(vs);
	e = vm_map_lookup(map, gpa);
	if (e == NULL) {
		r->fr_len_bytes = hole_length(vs, map, r->fr_gpa);
		return refuse(r, VM_FAULT_UNMAPPED, -EFAULT);
	}
	if ((access & ~e->me_prot) != 0)
		return refuse(r, VM_FAULT_DENIED, -EACCES);
	d->fl_entry = *e;
	d->fl_gpa = r->fr_gpa;
	d->fl_access = access;
	d->fl_index = e->me_first + (r->fr_gpa - e->me_start) / HOST_PAGE_SIZE;
	return 0;
}

/*
 * Looks up and shares. *held, of *held_object, is a page that is shared already and may be the
 * right one. 0 with d->fl_page; -EAGAIN with a reference to the object: the page must be brought
 * in.
 */
static int
decide_and_share(struct vmspace *vs, gpa_t gpa, unsigned int access, struct vm_decision *d,
		 struct vm_page *held, struct vm_fault_record *r)
{
	int error;

	host_epoch_enter();
	error = vm_decide(vs, gpa, access, d, r);
	if (error == 0) {
		struct vm_object *const ob = d->fl_entry.me_object;

		d->fl_page = vm_object_page(ob, d->fl_index);
		/* A stand-in for a window is shared anew: it is the same for every page. */
		if (d->fl_page == NULL || (d->fl_page != held && !vm_page_share(d->fl_page))) {
			d->fl_page = NULL;
			error = vm_object_ref(ob) ? -EAGAIN : -EBUSY;
		}
	}
	host_epoch_exit();
	return error;
}

/*
 * Decides with the page in memory and shared. Pages that were brought in for a decision that is no
 * longer right stay in memory, unshared.
 */
int
vm_decide_page(struct vmspace *vs, gpa_t gpa, unsigned int access, struct vm_decision *d,
	       struct vm_fault_record *r)
{
	struct vm_object *held_object = NULL;
	struct vm_page *held = NULL;

	for (;;) {
		enum vm_fault_reason why;
		struct vm_object *ob;
		int error = decide_and_share(vs, gpa, access, d, held, r);

		if (held != NULL && (error != 0 || d->fl_page != held))
			vm_page_unshare(held_object, held);
		held = NULL;
		if (error == -EBUSY) { /* the object is ending: so is this map */
			host_relax();
			continue;
		}
		if (error != -EAGAIN)
			return error;
		ob = d->fl_entry.me_object;
		error = vm_object_getpage(ob, d->fl_index, &held, &why);
		held_object = ob;
		/* What is shared stays: the object cannot end before it is unshared. */
		vm_object_unref(ob);
		if (error == -EAGAIN)
			host_relax();
		else if (error != 0)
			return refuse(r, why, error);
	}
}

/* ---- Mapping --------------------------------------------------------------------------------- */

unsigned int
vm_enter_prot(const struct vmspace *vs, const struct vm_decision *d)
{
	const struct vm_chunk *const ch = vm_object_peek(d->fl_entry.me_object, d->fl_index);
	const unsigned int prot = d->fl_entry.me_prot;

	if (!(host_load(&vs->vs_mode) & VM_NX_SUPERPAGES) || ch == NULL ||
	    (prot & ~PMAP_PROT_X) == 0)
		return prot;
	/* Where instructions come from, pages are mapped alone and with all rights. */
	if ((host_load(&ch->ch_flags) & CH_EXEC) || (d->fl_access & PMAP_PROT_X))
		return prot;
	return prot & ~PMAP_PROT_X;
}

/* An instruction fetch where superpages do not execute: 4 KiB from now on. */
static void
note_fetch(struct vmspace *vs, const struct vm_decision *d)
{
	struct vm_chunk *const ch = vm_object_peek(d->fl_entry.me_object, d->fl_index);

	if (!(d->fl_access & PMAP_PROT_X) || ch == NULL ||
	    !(host_load(&vs->vs_mode) & VM_NX_SUPERPAGES))
		return;
	if (!(host_fetch_or(&ch->ch_flags, CH_EXEC) & CH_EXEC))
		vm_count(vs, VM_C_EXEC_SPLITS, 1);
}

static int
enter_one(struct vmspace *vs, const struct vm_decision *d)
{
	const struct vm_map_entry *const e = &d->fl_entry;
	const bool window = e->me_object->ob_type == OBJT_SG;
	const struct pmap_mapping m = {
		.pa_gpa = d->fl_gpa,
		.pa_hpa = window ? e->me_object->ob_base + d->fl_index * HOST_PAGE_SIZE
				 : vm_page_hpa(d->fl_page),
		.pa_prot = vm_enter_prot(vs, d),
		.pa_access = d->fl_access,
		.pa_memattr = window ? PT_MEMATTR_UC : PT_MEMATTR_WB,
		.pa_wired = (e->me_flags & VM_MEMMAP_F_WIRED) != 0,
		.pa_revoked = &vs->vs_revoke,
		.pa_revoked_was = d->fl_seen,
	};

	return pmap_enter(vs->vs_pmap, &m);
}

int
vm_enter(struct vmspace *vs, const struct vm_decision *d)
{
	int error;

	note_fetch(vs, d);
	error = vm_super_enter(vs, d);
	if (error != -ENOENT)
		return error;
	error = enter_one(vs, d);
	if (error == 0)
		vm_super_promote(vs, d);
	return error;
}

/* ---- Faults ---------------------------------------------------------------------------------- */

int
vm_fault_in(struct vmspace *vs, gpa_t gpa, unsigned int access, struct vm_fault_record *r)
{
	unsigned int rounds = 0;

	for (;;) {
		struct vm_decision d;
		int error = vm_decide_page(vs, gpa, access, &d, r);

		if (error != 0)
			return error;
		error = vm_enter(vs, &d);
		vm_page_unshare(d.fl_entry.me_object, d.fl_page);
		if (error == 0)
			return 0;
		if (error == -ENOMEM)
			error = vm_make_table_room(vs, &rounds);
		if (error == -EINTR)
			return refuse(r, VM_FAULT_INTERRUPTED, error);
		if (error == -ENOMEM)
			return refuse(r, VM_FAULT_NO_TABLE, error);
		/* What is wired was in the way of a superpage, or something changed meanwhile. */
		if (error != 0 && error != -EAGAIN && error != -EBUSY)
			return refuse(r, VM_FAULT_BEYOND,
				      error); /* a frame beyond the CPU's reach */
		vm_count(vs, VM_C_RETRIES, 1);
	}
}

int
vm_fault(struct vmspace *vs, gpa_t gpa, unsigned int access, struct vm_fault_record *record)
{
	struct vm_fault_record r = {.fr_gpa = gpa, .fr_access = access};
	int error;

	if (access == 0 || access >= PMAP_PROT_COUNT)
		return -EINVAL;
	vm_count(vs, VM_C_FAULTS, 1);
	if (gpa < pmap_fmt(vs->vs_pmap)->pf_limit &&
	    pmap_emulate_accessed_dirty(vs->vs_pmap, gpa, access) == 0) {
		vm_count(vs, VM_C_SPURIOUS, 1);
		return 0;
	}
	error = vm_fault_in(vs, gpa, access, &r);
	if (error != 0) {
		vm_count(vs, VM_C_FAILED, 1);
		if (record != NULL)
			*record = r;
	}
	return error;
}
