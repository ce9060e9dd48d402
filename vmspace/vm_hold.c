/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Holds: the hypervisor's own hands on guest pages.
 *
 * A hold pins a page of an object, and has a reference to the object: it does not care what becomes
 * of maps, segments and guests. What is written through it does not pass by the page tables, so a
 * page that is held for writing counts as written from the hold to the release: it is marked at
 * both ends, the second time before the pin goes, so that a collector sees the mark or the pin.
 *
 * The pin is taken while the page is shared and the map that granted it is still in force: who
 * takes rights away waits for sharers, and finds the pin, or the holder finds the new map.
 */

#include "vmspace/vm_priv.h"

static void
pin(struct vm_object *ob, struct vm_page *pg, unsigned int prot)
{
	const bool writes = (prot & PMAP_PROT_W) != 0;

	host_fetch_add(&pg->vp_pins, writes ? VP_HOLD + VP_WRITE_HOLD : VP_HOLD);
	if (writes)
		vm_page_mark(pg, VP_DIRTY | VP_LOGGED);
	vm_object_ref(ob);
}

static void
unpin(const struct vm_hold_page *hp, unsigned int prot)
{
	const bool writes = (prot & PMAP_PROT_W) != 0;

	if (writes)
		vm_page_mark(vm_object_page(hp->hp_object, hp->hp_index), VP_DIRTY | VP_LOGGED);
	vm_object_unpin(hp->hp_object, hp->hp_index, writes ? VP_HOLD + VP_WRITE_HOLD : VP_HOLD);
	vm_object_unref(hp->hp_object);
}

static void
fill_page(struct vm_hold_page *hp, struct vm_object *ob, uint64_t index, const struct vm_page *pg)
{
	*hp = (struct vm_hold_page){ob, index, vm_page_hpa(pg)};
}

/* One page, by address. */
static int
hold_gpa(struct vmspace *vs, gpa_t gpa, unsigned int prot, struct vm_hold_page *hp,
	 struct vm_fault_record *r)
{
	for (;;) {
		struct vm_decision d;
		const int error = vm_decide_page(vs, gpa, prot, &d, r);
		struct vm_object *ob;
		bool good;

		if (error != 0)
			return error;
		ob = d.fl_entry.me_object;
		if (ob->ob_type == OBJT_SG) {
			vm_page_unshare(ob, d.fl_page);
			r->fr_reason = VM_FAULT_WINDOW;
			r->fr_error = -EFAULT;
			return -EFAULT;
		}
		/* Sharing was a full fence: the partner of the one in vm_map_revoke(). */
		good = host_load_acquire(&vs->vs_revoke) == d.fl_seen;
		if (good) {
			pin(ob, d.fl_page, prot);
			fill_page(hp, ob, d.fl_index, d.fl_page);
		}
		vm_page_unshare(ob, d.fl_page);
		if (good)
			return 0;
	}
}

/* ---- Lists ----------------------------------------------------------------------------------- */

static int
hold_init(struct vm_hold *h, uint64_t start, uint64_t len, unsigned int prot)
{
	if (prot == 0 || prot >= PMAP_PROT_COUNT || len == 0)
		return -EINVAL;
	*h = (struct vm_hold){
		.vh_offset = start & (HOST_PAGE_SIZE - 1),
		.vh_len_bytes = len,
		.vh_npages = (start + len - 1) / HOST_PAGE_SIZE - start / HOST_PAGE_SIZE + 1,
		.vh_prot = prot,
	};
	h->vh_pages = &h->vh_one;
	if (h->vh_npages == 1)
		return 0;
	if (h->vh_npages > (~(uint64_t)0 >> 8) / sizeof(h->vh_one))
		return -ENOMEM;
	h->vh_pages = host_alloc(h->vh_npages * sizeof(h->vh_one));
	return h->vh_pages != NULL ? 0 : -ENOMEM;
}

/* Releases the first n pages, and the list. */
static void
hold_undo(struct vm_hold *h, uint64_t n)
{
	while (n-- > 0)
		unpin(&h->vh_pages[n], h->vh_prot);
	if (h->vh_pages != &h->vh_one)
		host_free(h->vh_pages, h->vh_npages * sizeof(h->vh_one));
	*h = (struct vm_hold){0};
}

int
vm_gpa_hold(struct vmspace *vs, gpa_t gpa, uint64_t len, unsigned int prot, struct vm_hold *hold,
	    struct vm_fault_record *record)
{
	struct vm_fault_record r = {
		.fr_gpa = gpa & ~(HOST_PAGE_SIZE - 1),
		.fr_len_bytes = HOST_PAGE_SIZE,
		.fr_access = prot,
		.fr_reason = VM_FAULT_NO_MEMORY,
		.fr_error = -ENOMEM,
	};
	const uint64_t limit = pmap_fmt(vs->vs_pmap)->pf_limit;
	int error = gpa >= limit || len > limit - gpa ? -EINVAL : hold_init(hold, gpa, len, prot);

	if (error == -EINVAL) {
		r.fr_reason = VM_FAULT_BEYOND;
		r.fr_error = error;
	}
	for (uint64_t i = 0; error == 0 && i < hold->vh_npages; i++) {
		error = hold_gpa(vs, (gpa & ~(HOST_PAGE_SIZE - 1)) + i * HOST_PAGE_SIZE, prot,
				 &hold->vh_pages[i], &r);
		if (error != 0)
			hold_undo(hold, i);
	}
	if (error == 0)
		vm_count(vs, VM_C_HOLDS, 1);
	else if (record != NULL)
		*record = r;
	return error;
}

static int
hold_object(struct vm_object *ob, uint64_t first, struct vm_hold *h)
{
	for (uint64_t i = 0; i < h->vh_npages; i++) {
		enum vm_fault_reason why;
		struct vm_page *pg;
		const int error = vm_object_getpage(ob, first + i, &pg, &why);

		if (error != 0) {
			hold_undo(h, i);
			return error;
		}
		pin(ob, pg, h->vh_prot);
		fill_page(&h->vh_pages[i], ob, first + i, pg);
		vm_page_unshare(ob, pg);
	}
	return 0;
}

int
vm_memseg_hold(struct vmspace *vs, int ident, uint64_t offset, uint64_t len, unsigned int prot,
	       struct vm_hold *hold)
{
	struct vm_object *ob;
	int error;

	host_mutex_lock(&vs->vs_lock);
	error = vm_memseg_object(vs, ident, &ob);
	if (error == 0 && (offset > ob->ob_npages * HOST_PAGE_SIZE ||
			   len > ob->ob_npages * HOST_PAGE_SIZE - offset))
		error = -EINVAL;
	if (error == 0)
		error = hold_init(hold, offset, len, prot);
	if (error == 0)
		error = hold_object(ob, offset / HOST_PAGE_SIZE, hold);
	host_mutex_unlock(&vs->vs_lock);
	if (error == 0)
		vm_count(vs, VM_C_HOLDS, 1);
	return error;
}

void
vm_gpa_release(struct vm_hold *hold)
{
	hold_undo(hold, hold->vh_npages);
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

/* Where a byte of what is held lies, and how many follow it in the same page. */
static hpa_t
hold_at(const struct vm_hold *h, uint64_t offset, uint64_t *in_page, size_t *len)
{
	const uint64_t at = h->vh_offset + offset;

	HOST_ASSERT(offset < h->vh_len_bytes);
	*in_page = at % HOST_PAGE_SIZE;
	if (*len > HOST_PAGE_SIZE - *in_page)
		*len = HOST_PAGE_SIZE - *in_page;
	return h->vh_pages[at / HOST_PAGE_SIZE].hp_hpa;
}

void
vm_hold_read(const struct vm_hold *hold, uint64_t offset, void *to, size_t len)
{
	char *p = to;

	HOST_ASSERT(len <= hold->vh_len_bytes);
	while (len != 0) {
		uint64_t in_page;
		size_t n = len;
		const hpa_t hpa = hold_at(hold, offset, &in_page, &n);

		host_page_read(hpa, in_page, p, n);
		offset += n;
		p += n;
		len -= n;
	}
}

void
vm_hold_write(const struct vm_hold *hold, uint64_t offset, const void *from, size_t len)
{
	const char *p = from;

	HOST_ASSERT((hold->vh_prot & PMAP_PROT_W) != 0 && len <= hold->vh_len_bytes);
	while (len != 0) {
		uint64_t in_page;
		size_t n = len;
		const hpa_t hpa = hold_at(hold, offset, &in_page, &n);

		host_page_write(hpa, in_page, p, n);
		offset += n;
		p += n;
		len -= n;
	}
}
