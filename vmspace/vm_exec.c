/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Execute control: guests whose superpages do not execute, and the way back to superpages.
 *
 * What holds while VM_NX_SUPERPAGES is on: a leaf that grants execution is a single page, and lies
 * in a chunk that is marked CH_EXEC, or in a map that grants nothing but execution. Faults see to
 * it from the moment that the mode is published; what they entered before is swept. So all of a map
 * is swept, and not its superpages alone: 512 single pages with that right could be joined.
 *
 * Everything here holds vs_lock, for the maps, and vs_sweep, for the tables.
 */

#include "vmspace/vm_priv.h"

#define PROT_NX (PMAP_PROT_R | PMAP_PROT_W)

/* ---- Superpages come back -------------------------------------------------------------------- */

/* Whether the place of 2 MiB at gpa, in e, may be one entry: its chunk, or NULL. */
static struct vm_chunk *
promotable(const struct vmspace *vs, const struct vm_map_entry *e, gpa_t gpa)
{
	const uint64_t index = e->me_first + (gpa - e->me_start) / HOST_PAGE_SIZE;
	const bool nx = (host_load(&vs->vs_mode) & VM_NX_SUPERPAGES) != 0;
	struct vm_chunk *const ch = vm_object_peek(e->me_object, index);

	if (ch == NULL || index % VM_CHUNK_PAGES != 0 ||
	    host_load(&ch->ch_resident) != VM_CHUNK_PAGES)
		return NULL;
	if (nx && ((host_load(&ch->ch_flags) & CH_EXEC) || (e->me_prot & PROT_NX) == 0))
		return NULL;
	return ch;
}

/*
 * Joining asks for equal rights and not for which. A fetch that comes after the chunk was looked at
 * marks it and enters its page, and so may many: then what was joined loses the right again.
 */
static void
promote_at(struct vmspace *vs, const struct vm_map_entry *e, gpa_t gpa, struct pmap_gather *g)
{
	const struct vm_chunk *const ch = promotable(vs, e, gpa);

	if (ch == NULL || pmap_promote(vs->vs_pmap, gpa, 1, g) != 0)
		return;
	vm_count(vs, VM_C_PROMOTIONS, 1);
	if ((host_load(&vs->vs_mode) & VM_NX_SUPERPAGES) && (host_load(&ch->ch_flags) & CH_EXEC))
		pmap_protect(vs->vs_pmap, gpa, gpa + VM_CHUNK_BYTES, PROT_NX, g);
}

void
vm_promote_all(struct vmspace *vs, struct pmap_gather *g)
{
	const struct vm_map *const map = vm_map_current(vs);

	HOST_ASSERT(host_mutex_held(&vs->vs_lock) && host_mutex_held(&vs->vs_sweep));
	if (pmap_fmt(vs->vs_pmap)->pf_leaf_levels < 2 ||
	    (host_load(&vs->vs_mode) & (VM_NO_SUPERPAGES | VM_MODE_LOG)) != 0)
		return;
	for (unsigned int i = 0; i < map->mp_n; i++) {
		const struct vm_map_entry *const e = &map->mp_entries[i];
		gpa_t gpa = (e->me_start + VM_CHUNK_BYTES - 1) & ~(VM_CHUNK_BYTES - 1);

		for (; gpa < e->me_end && e->me_end - gpa >= VM_CHUNK_BYTES; gpa += VM_CHUNK_BYTES)
			promote_at(vs, e, gpa, g);
		host_relax();
	}
}

/* ---- The right goes -------------------------------------------------------------------------- */

/*
 * Of a map that grants nothing but execution nothing would be left: its superpages are split, and
 * its pages go on executing. One that cannot be split for lack of memory is removed; a wired one
 * has what it takes.
 */
static void
split_place(struct vmspace *vs, gpa_t gpa, struct pmap_gather *g)
{
	struct pmap_leaf leaf;

	while (pmap_extract(vs->vs_pmap, gpa, &leaf) == 0 && leaf.pl_level != 0) {
		if (pmap_demote(vs->vs_pmap, gpa, leaf.pl_level, g) == -ENOMEM)
			pmap_remove(vs->vs_pmap, leaf.pl_gpa,
				    leaf.pl_gpa + pt_level_size(leaf.pl_level), g);
	}
}

static void
strip_entry(struct vmspace *vs, const struct vm_map_entry *e, struct pmap_gather *g)
{
	HOST_ASSERT(host_mutex_held(&vs->vs_sweep));
	if (!(e->me_prot & PMAP_PROT_X) || e->me_object->ob_type == OBJT_SG)
		return;
	if ((e->me_prot & PROT_NX) != 0) {
		pmap_protect(vs->vs_pmap, e->me_start, e->me_end, PROT_NX, g);
		return;
	}
	for (gpa_t gpa = e->me_start; gpa < e->me_end;) {
		split_place(vs, gpa, g);
		gpa = (gpa & ~(VM_CHUNK_BYTES - 1)) + VM_CHUNK_BYTES;
		host_relax();
	}
}

/* From here on faults do not enter executable superpages; what they entered before goes. */
static void
switch_on(struct vmspace *vs)
{
	const struct vm_map *const map = vm_map_current(vs);
	struct pmap_gather g;

	host_fetch_or(&vs->vs_mode, VM_NX_SUPERPAGES);
	host_fetch_add(&vs->vs_revoke, 1); /* a full fence: partner of the one in pmap_enter() */
	host_mutex_lock(&vs->vs_sweep);
	pmap_gather_begin(&g, vs->vs_pmap);
	for (unsigned int i = 0; i < map->mp_n; i++)
		strip_entry(vs, &map->mp_entries[i], &g);
	pmap_gather_finish(&g);
	host_mutex_unlock(&vs->vs_sweep);
}

/* ---- Recovery -------------------------------------------------------------------------------- */

/* Takes the mark off a chunk; true if it had one. */
static bool
unmark(struct vm_object *ob, uint64_t n)
{
	struct vm_chunk *const ch = vm_object_peek(ob, n * VM_CHUNK_PAGES);

	return ch != NULL && (host_load(&ch->ch_flags) & CH_EXEC) != 0 &&
	       (host_fetch_and(&ch->ch_flags, ~CH_EXEC) & CH_EXEC) != 0;
}

/*
 * A fault that saw the mark is overtaken (vs_revoke), or has installed and is swept. One that comes
 * later sets the mark again, and loses its right here at worst: then it faults once more.
 */
static void
recover_chunk(struct vmspace *vs, struct vm_object *ob, uint64_t n, struct pmap_gather *g)
{
	struct vm_place place = {0};

	if (!unmark(ob, n) || !(host_load(&vs->vs_mode) & VM_NX_SUPERPAGES))
		return;
	host_fetch_add(&vs->vs_revoke, 1);
	while (vm_map_next_place(vs, ob, n * VM_CHUNK_PAGES, VM_CHUNK_PAGES, &place)) {
		if ((place.pl_prot & PMAP_PROT_X) && (place.pl_prot & PROT_NX))
			pmap_protect(vs->vs_pmap, place.pl_gpa,
				     place.pl_gpa + place.pl_npages * HOST_PAGE_SIZE, PROT_NX, g);
	}
}

static void
recover_all(struct vmspace *vs)
{
	struct pmap_gather g;

	host_mutex_lock(&vs->vs_sweep);
	pmap_gather_begin(&g, vs->vs_pmap);
	for (unsigned int i = 0; i < VM_MAX_MEMSEGS; i++) {
		struct vm_object *const ob = vs->vs_segs[i].sg_object;
		const uint64_t pages = ob != NULL ? ob->ob_npages : 0;

		for (uint64_t n = 0; n * VM_CHUNK_PAGES < pages; n++)
			recover_chunk(vs, ob, n, &g);
	}
	vm_promote_all(vs, &g);
	pmap_gather_finish(&g);
	host_mutex_unlock(&vs->vs_sweep);
}

int
vm_exec_recover(struct vmspace *vs)
{
	host_mutex_lock(&vs->vs_lock);
	recover_all(vs);
	host_mutex_unlock(&vs->vs_lock);
	return 0;
}

/* Off, chunks are marked no more; a fault that was on its way may still do so: see above. */
int
vm_set_nx_superpages(struct vmspace *vs, bool on)
{
	int error = on ? vm_nx_supported(pmap_fmt(vs->vs_pmap)) : 0;

	if (error != 0)
		return error;
	host_mutex_lock(&vs->vs_lock);
	if (((host_load(&vs->vs_mode) & VM_NX_SUPERPAGES) != 0) != on) {
		if (on) {
			switch_on(vs);
		} else {
			host_fetch_and(&vs->vs_mode, ~(uint64_t)VM_NX_SUPERPAGES);
			recover_all(vs);
		}
	}
	host_mutex_unlock(&vs->vs_lock);
	return 0;
}
