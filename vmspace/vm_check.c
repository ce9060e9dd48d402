/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The audit: everything that is kept as a number is counted again, and everything that the tables
 * show is compared with what the map says they may show. Written from the rules, not from the code
 * that keeps them; slow; nothing else runs meanwhile.
 */

#include "vmspace/vm_priv.h"

struct audit {
	char *au_why;
	size_t au_bytes;
	struct vm_accounts au_sum;
	uint64_t au_mapped; /* leaves that the maps account for, in pages */
	unsigned int au_objects;
};

/* Copies a sentence, and the number that it is about in hexadecimal. Always -EINVAL. */
static int
complain(struct audit *au, const char *what, uint64_t value)
{
	size_t n = 0;
	bool begun = false;

	for (; *what != '\0' && n + 1 < au->au_bytes; what++)
		au->au_why[n++] = *what;
	for (int shift = 60; shift >= 0; shift -= 4) {
		const unsigned int digit = (unsigned int)(value >> shift) & 15;

		begun |= digit != 0 || shift == 0;
		if (begun && n + 1 < au->au_bytes)
			au->au_why[n++] = "0123456789abcdef"[digit];
	}
	if (au->au_bytes != 0)
		au->au_why[n] = '\0';
	return -EINVAL;
}

/* ---- Pages ----------------------------------------------------------------------------------- */

static int
check_page(struct audit *au, const struct vm_object *ob, const struct vm_chunk *ch, uint64_t index)
{
	const struct vm_page *const pg = &ch->ch_pages[index % VM_CHUNK_PAGES];
	const uint64_t state = host_load(&pg->vp_state);
	const uint64_t pins = host_load(&pg->vp_pins);
	const bool resident = (state & VP_RESIDENT) != 0;

	if (vm_state_busy(state))
		return complain(au, "I44: a page is busy: 0x", index);
	if (resident != ((state & VP_FRAME) != 0))
		return complain(au, "I30: a page is in memory without a frame, or the reverse: 0x",
				index);
	if (!resident && (pins != 0 || (state & VP_DIRTY)))
		return complain(au, "I33: a page that is pinned or dirty is not in memory: 0x",
				index);
	if (VP_WRITE_HOLDS(pins) > VP_HOLDS(pins))
		return complain(au, "I33: more holds for writing than holds: 0x", index);
	if (ob->ob_type == OBJT_DEVMEM && pg->vp_slot != 0)
		return complain(au, "I35: device memory in swap: 0x", index);
	if (pg->vp_slot != 0 && (pg->vp_slot == VM_SLOT_PAGER) != (ob->ob_pager != NULL))
		return complain(au, "I35: contents with the wrong pager: 0x", index);
	if (ob->ob_type == OBJT_DEVMEM)
		au->au_sum.va_devmem += resident;
	else
		au->au_sum.va_resident += resident;
	au->au_sum.va_wired += VP_WIRINGS(pins) != 0;
	au->au_sum.va_swapped += !resident && pg->vp_slot != 0;
	au->au_sum.va_slots += pg->vp_slot != 0 && ob->ob_pager == NULL;
	return 0;
}

static uint64_t
bits_in(const uint64_t *words)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < VM_CHUNK_PAGES; i++)
		n += words[i / 64] >> i % 64 & 1;
	return n;
}

static int
check_chunk(struct audit *au, const struct vm_object *ob, const struct vm_chunk *ch, uint64_t first)
{
	const uint64_t before = au->au_sum.va_resident + au->au_sum.va_devmem;
	const uint64_t reserved = bits_in(ch->ch_free);
	int error = 0;

	for (unsigned int i = 0; i < VM_CHUNK_PAGES && error == 0; i++) {
		const hpa_t hpa = vm_page_hpa(&ch->ch_pages[i]);

		if (first + i >= ob->ob_npages && host_load(&ch->ch_pages[i].vp_state) != 0)
			return complain(au, "I39: a page beyond the end: 0x", first + i);
		error = check_page(au, ob, ch, first + i);
		if (error == 0 && ch->ch_run != 0 && (ch->ch_free[i / 64] >> i % 64 & 1) != 0 &&
		    hpa == ch->ch_run + i * HOST_PAGE_SIZE)
			return complain(au, "I30: a frame in use is free in its run: 0x", hpa);
	}
	if (error != 0)
		return error;
	if (reserved != 0 && ch->ch_run == 0)
		return complain(au, "I42: frames of no run: 0x", first);
	au->au_sum.va_reserved += reserved;
	if (au->au_sum.va_resident + au->au_sum.va_devmem - before != host_load(&ch->ch_resident))
		return complain(au, "I42: pages of the chunk in memory: 0x",
				host_load(&ch->ch_resident));
	return 0;
}

static int
check_object(struct audit *au, const struct vm_object *ob)
{
	int error = 0;

	au->au_objects++;
	for (uint64_t index = 0; index < ob->ob_npages && error == 0; index += VM_CHUNK_PAGES) {
		const struct vm_chunk *const ch = vm_object_peek(ob, index);

		if (ch != NULL)
			error = check_chunk(au, ob, ch, index);
	}
	return error;
}

/* ---- Maps against tables --------------------------------------------------------------------- */

/* What one leaf shows of an entry, from gpa on; *next is where it ends. */
static int
check_leaf(struct audit *au, const struct vm_map_entry *e, gpa_t gpa, const struct pmap_leaf *leaf)
{
	struct vm_object *const ob = e->me_object;
	const uint64_t index = e->me_first + (gpa - e->me_start) / HOST_PAGE_SIZE;
	const bool window = ob->ob_type == OBJT_SG;
	const hpa_t hpa = leaf->pl_hpa + (gpa - leaf->pl_gpa);
	const struct vm_page *const pg = vm_object_page(ob, index);

	if (window ? hpa != ob->ob_base + index * HOST_PAGE_SIZE
		   : pg == NULL || hpa != vm_page_hpa(pg))
		return complain(au, "I30: a leaf shows a frame that is not the page's: 0x", gpa);
	if ((leaf->pl_prot & ~e->me_prot) != 0)
		return complain(au, "I36: a leaf grants more than the map: 0x", gpa);
	if (leaf->pl_memattr != (window ? PT_MEMATTR_UC : PT_MEMATTR_WB))
		return complain(au, "I06: a leaf of the wrong memory type: 0x", gpa);
	if (leaf->pl_wired != ((e->me_flags & VM_MEMMAP_F_WIRED) != 0))
		return complain(au, "I32: a leaf wired unlike its map: 0x", gpa);
	return 0;
}

static int
check_shown(struct audit *au, struct vmspace *vs, const struct vm_map_entry *e)
{
	for (gpa_t gpa = e->me_start; gpa < e->me_end; gpa += HOST_PAGE_SIZE) {
		struct pmap_leaf leaf;
		int error = pmap_extract(vs->vs_pmap, gpa, &leaf);

		if (error == 0) {
			au->au_mapped++;
			error = check_leaf(au, e, gpa, &leaf);
			if (error != 0)
				return error;
		} else if (e->me_flags & VM_MEMMAP_F_WIRED) {
			return complain(au, "I32: wired and not mapped: 0x", gpa);
		}
	}
	return 0;
}

/* Every page's wirings are the wired maps that show it; here, that there are no fewer. */
static int
check_wirings(struct audit *au, const struct vm_map_entry *e)
{
	const uint64_t n = vm_entry_pages(e);

	if (!(e->me_flags & VM_MEMMAP_F_WIRED))
		return 0;
	for (uint64_t i = 0; i < n; i++) {
		const struct vm_page *const pg = vm_object_page(e->me_object, e->me_first + i);

		if (pg == NULL || VP_WIRINGS(host_load(&pg->vp_pins)) == 0)
			return complain(au, "I32: a page of a wired map is not wired: 0x",
					e->me_start + i * HOST_PAGE_SIZE);
	}
	return 0;
}

static uint64_t
wired_places(const struct vm_map *map)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < map->mp_n; i++) {
		const struct vm_map_entry *const e = &map->mp_entries[i];

		if (e->me_flags & VM_MEMMAP_F_WIRED)
			n += vm_entry_pages(e);
	}
	return n;
}

static uint64_t
wirings_of(const struct vm_object *ob)
{
	uint64_t n = 0;

	for (uint64_t index = 0; index < ob->ob_npages; index += VM_CHUNK_PAGES) {
		const struct vm_chunk *const ch = vm_object_peek(ob, index);

		for (unsigned int i = 0; ch != NULL && i < VM_CHUNK_PAGES; i++)
			n += VP_WIRINGS(host_load(&ch->ch_pages[i].vp_pins));
	}
	return n;
}

static bool
is_segment(const struct vmspace *vs, const struct vm_map_entry *e)
{
	for (unsigned int i = 0; i < VM_MAX_MEMSEGS; i++) {
		if (vs->vs_segs[i].sg_object == e->me_object)
			return vs->vs_segs[i].sg_ident == e->me_ident;
	}
	return false;
}

static int
check_map(struct audit *au, struct vmspace *vs, const struct vm_map *map)
{
	gpa_t end = 0;

	if (host_load(&vs->vs_leaving) != 0)
		return complain(au, "I38: a map is still leaving: 0x", map->mp_n);
	for (unsigned int i = 0; i < map->mp_n; i++) {
		const struct vm_map_entry *const e = &map->mp_entries[i];
		int error;

		if (e->me_start < end || e->me_end <= e->me_start ||
		    ((e->me_start | e->me_end) & (HOST_PAGE_SIZE - 1)) != 0 ||
		    e->me_end > pmap_fmt(vs->vs_pmap)->pf_limit)
			return complain(au, "I38: maps out of order: 0x", e->me_start);
		if (e->me_first + vm_entry_pages(e) > e->me_object->ob_npages)
			return complain(au, "I38: a map beyond its segment: 0x", e->me_start);
		if (e->me_object->ob_type != OBJT_SG && !is_segment(vs, e))
			return complain(au, "I38: a map of no segment: 0x", e->me_start);
		end = e->me_end;
		au->au_objects += e->me_object->ob_type == OBJT_SG;
		error = check_shown(au, vs, e);
		if (error == 0)
			error = check_wirings(au, e);
		if (error != 0)
			return error;
	}
	return 0;
}

/* ---- Accounts -------------------------------------------------------------------------------- */

/*
 * Pages of segments that are gone and held are in the accounts and cannot be found from here: then
 * the sum may be less than the account, never more.
 */
static int
check_account(struct audit *au, const struct vmspace *vs)
{
	const struct vm_account *const ac = vs->vs_account;
	const bool all = host_load(&ac->ac_refs) == 1 + au->au_objects;
	const struct {
		const struct host_word *word;
		uint64_t sum;
		const char *what;
	} rows[] = {
		{&ac->ac_resident, au->au_sum.va_resident, "I42: pages in memory: 0x"},
		{&ac->ac_devmem, au->au_sum.va_devmem, "I42: pages of devices: 0x"},
		{&ac->ac_wired, au->au_sum.va_wired, "I42: pages wired: 0x"},
		{&ac->ac_reserved, au->au_sum.va_reserved, "I42: pages reserved: 0x"},
		{&ac->ac_swapped, au->au_sum.va_swapped, "I42: pages in swap: 0x"},
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const uint64_t kept = host_load(rows[i].word);

		if (kept < rows[i].sum || (all && kept != rows[i].sum))
			return complain(au, rows[i].what, kept);
	}
	if (host_load(&ac->ac_held) !=
	    host_load(&ac->ac_resident) + host_load(&ac->ac_devmem) + host_load(&ac->ac_reserved))
		return complain(au, "I42: pages held: 0x", host_load(&ac->ac_held));
	if (host_load(&ac->ac_held) > ac->ac_limit_pages)
		return complain(au, "I42: beyond the guest's limit: 0x", host_load(&ac->ac_held));
	return 0;
}

static int
audit_space(struct audit *au, struct vmspace *vs)
{
	const struct vm_map *const map = vm_map_current(vs);
	struct pmap_stats st;
	uint64_t wirings = 0;
	int error = 0;

	for (unsigned int i = 0; i < VM_MAX_MEMSEGS && error == 0; i++) {
		const struct vm_object *const ob = vs->vs_segs[i].sg_object;

		if (ob != NULL) {
			error = check_object(au, ob);
			wirings += wirings_of(ob);
		}
	}
	if (error == 0)
		error = check_map(au, vs, map);
	if (error != 0)
		return error;
	pmap_stats(vs->vs_pmap, &st);
	if (st.st_resident_pages != au->au_mapped)
		return complain(au, "I30: pages mapped beyond the maps: 0x", st.st_resident_pages);
	if (wirings != wired_places(map))
		return complain(au, "I32: wirings of pages: 0x", wirings);
	return check_account(au, vs);
}

static int
check_space(struct audit *au, struct vmspace *vs)
{
	int error;

	host_mutex_lock(&vs->vs_lock);
	error = pmap_check(vs->vs_pmap, au->au_why, au->au_bytes);
	if (error == 0)
		error = audit_space(au, vs);
	host_mutex_unlock(&vs->vs_lock);
	return error;
}

int
vmspace_check(struct vmspace *vs, char *why, size_t why_bytes)
{
	struct audit au = {.au_why = why, .au_bytes = why_bytes};

	return check_space(&au, vs);
}

int
vm_system_check(struct vm_system *sys, char *why, size_t why_bytes)
{
	struct audit all = {.au_why = why, .au_bytes = why_bytes};
	struct audit au;
	uint64_t held = 0;
	uint64_t accounts = 0;
	uint64_t spaces = 0;

	for (struct vmspace *vs = sys->sy_spaces; vs != NULL; vs = vs->vs_next) {
		au = (struct audit){.au_why = why, .au_bytes = why_bytes};
		const int error = check_space(&au, vs);
		if (error != 0)
			return error;
		all.au_objects += au.au_objects;
		all.au_sum.va_slots += au.au_sum.va_slots;
		held += host_load(&vs->vs_tables);
		spaces++;
	}
	for (const struct vm_account *ac = sys->sy_accounts; ac != NULL; ac = ac->ac_next) {
		held += host_load(&ac->ac_held);
		accounts += host_load(&ac->ac_refs);
	}
	if (held != host_load(&sys->sy_held))
		return complain(&all, "I42: pages held by all: 0x", host_load(&sys->sy_held));
	/* As above: slots of segments that are gone cannot be found. */
	if (sys->sy_swap.sw_used < all.au_sum.va_slots ||
	    (accounts == spaces + all.au_objects && sys->sy_swap.sw_used != all.au_sum.va_slots))
		return complain(&all, "I42: swap slots: 0x", sys->sy_swap.sw_used);
	return 0;
}

/* ---- One page -------------------------------------------------------------------------------- */

int
vmspace_page_info(struct vmspace *vs, gpa_t gpa, struct vm_page_info *out)
{
	const struct vm_map_entry *e;
	const struct vm_page *pg;
	uint64_t state;
	uint64_t pins;
	int error = -EFAULT;

	*out = (struct vm_page_info){0};
	host_epoch_enter();
	e = vm_map_lookup(vm_map_current(vs), gpa);
	if (e != NULL && e->me_object->ob_type != OBJT_SG) {
		error = 0;
		pg = vm_object_page(e->me_object,
				    e->me_first + (gpa - e->me_start) / HOST_PAGE_SIZE);
		state = pg != NULL ? host_load(&pg->vp_state) : 0;
		pins = pg != NULL ? host_load(&pg->vp_pins) : 0;
		out->pi_hpa = state & VP_FRAME;
		out->pi_holds = VP_HOLDS(pins);
		out->pi_write_holds = VP_WRITE_HOLDS(pins);
		out->pi_wirings = VP_WIRINGS(pins);
		out->pi_resident = (state & VP_RESIDENT) != 0;
		out->pi_dirty = (state & VP_DIRTY) != 0;
		out->pi_swapped = pg != NULL && pg->vp_slot != 0;
		out->pi_logged = (state & VP_LOGGED) != 0;
		out->pi_busy = vm_state_busy(state);
	}
	host_epoch_exit();
	return error;
}
