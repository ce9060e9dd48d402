/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The flat model of a pmap (model.h).
 */

#include "tests/unit/model.h"

#include <stdlib.h>
#include <string.h>

void
model_open(struct model *m, const struct fx_format *format, gpa_t start, gpa_t end)
{
	*m = (struct model){
		.mo_format = format,
		.mo_emulated = format->ff_caps.pc_emulate_ad,
		.mo_start = start,
		.mo_end = end,
		.mo_pages = calloc((end - start) / PAGE, sizeof(struct model_page)),
	};
	model_settle(m);
}

void
model_close(struct model *m)
{
	free(m->mo_pages);
	free(m->mo_notes);
}

void
model_settle(struct model *m)
{
	m->mo_nnotes = 0;
	m->mo_dirty_start = ~(gpa_t)0;
	m->mo_dirty_end = 0;
}

struct model_page *
model_page(struct model *m, gpa_t gpa)
{
	return &m->mo_pages[(gpa - m->mo_start) / PAGE];
}

static gpa_t
base_of(gpa_t gpa, unsigned int level)
{
	return gpa & ~(pt_level_size(level) - 1);
}

/* The first address behind the leaf, or the unmapped page, at gpa. */
static gpa_t
leaf_end(struct model *m, gpa_t gpa)
{
	const unsigned int level = model_page(m, gpa)->mp_level;

	return base_of(gpa, level) + pt_level_size(level);
}

static void
changes(struct model *m, gpa_t start, gpa_t end)
{
	m->mo_dirty_start = start < m->mo_dirty_start ? start : m->mo_dirty_start;
	m->mo_dirty_end = end > m->mo_dirty_end ? end : m->mo_dirty_end;
}

void
model_leaf(struct model *m, gpa_t gpa, struct pmap_leaf *leaf)
{
	const gpa_t base = base_of(gpa, model_page(m, gpa)->mp_level);
	const struct model_page *p = model_page(m, base);

	*leaf = (struct pmap_leaf){
		.pl_gpa = base,
		.pl_hpa = p->mp_hpa,
		.pl_level = p->mp_level,
		.pl_prot = p->mp_prot,
		.pl_memattr = (enum pt_memattr)p->mp_memattr,
		.pl_wired = p->mp_wired,
		.pl_accessed = p->mp_a,
		.pl_modified = p->mp_m,
	};
}

/* ---- Leaves ---------------------------------------------------------------------------------- */

/* The owner is told that the leaf at gpa loses A or M, if it has what is lost. */
static void
note(struct model *m, gpa_t gpa, bool a, bool mod)
{
	struct pmap_leaf leaf;

	model_leaf(m, gpa, &leaf);
	leaf.pl_accessed &= a;
	leaf.pl_modified &= mod;
	if (!leaf.pl_accessed && !leaf.pl_modified)
		return;
	if (m->mo_nnotes == m->mo_room) {
		m->mo_room = m->mo_room != 0 ? 2 * m->mo_room : 64;
		m->mo_notes = realloc(m->mo_notes, m->mo_room * sizeof(*m->mo_notes));
	}
	m->mo_notes[m->mo_nnotes++] = leaf;
}

/* Every page of the leaf at gpa becomes as `to`; frames go on from its frame. */
static void
set_leaf(struct model *m, gpa_t gpa, unsigned int level, struct model_page to)
{
	const gpa_t base = base_of(gpa, level);
	const gpa_t end = base + pt_level_size(level);

	for (gpa = base; gpa < end; gpa += PAGE) {
		*model_page(m, gpa) = to;
		if (to.mp_prot != 0)
			to.mp_hpa += PAGE;
	}
	changes(m, base, end);
}

/* The first page of the leaf at gpa, which says what the leaf says. */
static struct model_page
leaf_page(struct model *m, gpa_t gpa)
{
	return *model_page(m, base_of(gpa, model_page(m, gpa)->mp_level));
}

static void
split(struct model *m, gpa_t gpa)
{
	const gpa_t end = leaf_end(m, gpa);
	const unsigned int level = model_page(m, gpa)->mp_level;

	changes(m, base_of(gpa, level), end);
	for (gpa = base_of(gpa, level); gpa < end; gpa += PAGE)
		model_page(m, gpa)->mp_level = (uint8_t)(level - 1);
	m->mo_splits++;
}

static void
drop(struct model *m, gpa_t gpa)
{
	note(m, gpa, true, true);
	set_leaf(m, gpa, model_page(m, gpa)->mp_level, (struct model_page){0});
}

/* Splits the leaf at gpa until it lies in [start, end). */
static void
fit(struct model *m, gpa_t gpa, gpa_t start, gpa_t end)
{
	while (base_of(gpa, model_page(m, gpa)->mp_level) < start || leaf_end(m, gpa) > end)
		split(m, gpa);
}

/* ---- Enter ----------------------------------------------------------------------------------- */

static int
refuse(const struct model *m, const struct pmap_mapping *map)
{
	const struct pt_caps *caps = &m->mo_format->ff_caps;
	const uint64_t limit = (uint64_t)1 << (caps->pc_levels == 4 ? 48 : 57);
	const uint64_t phys_limit = (uint64_t)1 << caps->pc_phys_bits;

	if (map->pa_level >= caps->pc_leaf_levels || map->pa_prot > PMAP_PROT_RWX ||
	    (map->pa_access & ~map->pa_prot) != 0)
		return -EINVAL;
	if ((map->pa_gpa | map->pa_hpa) % pt_level_size(map->pa_level) != 0 ||
	    map->pa_gpa >= limit || map->pa_hpa >= phys_limit)
		return -EINVAL;
	if (!fx_prot_ok(m->mo_format, map->pa_prot) ||
	    !fx_memattr_ok(m->mo_format, map->pa_memattr))
		return -EOPNOTSUPP;
	return 0;
}

static struct model_page
new_page(const struct pmap_mapping *map)
{
	const bool w = (map->pa_access & PMAP_PROT_W) ||
		       (map->pa_level > 0 && (map->pa_prot & PMAP_PROT_W));

	return (struct model_page){
		.mp_hpa = map->pa_hpa,
		.mp_prot = (uint8_t)map->pa_prot,
		.mp_memattr = (uint8_t)map->pa_memattr,
		.mp_level = (uint8_t)map->pa_level,
		.mp_wired = map->pa_wired,
		.mp_a = map->pa_access != 0 || w,
		.mp_m = w,
	};
}

/* Whether the page as it is, in a larger leaf, is what is asked for. */
static bool
covered(const struct model_page *p, const struct pmap_mapping *map)
{
	return p->mp_hpa == map->pa_hpa && p->mp_prot == map->pa_prot &&
	       p->mp_memattr == (uint8_t)map->pa_memattr && p->mp_wired == map->pa_wired &&
	       (map->pa_access == 0 || p->mp_a) && (!(map->pa_access & PMAP_PROT_W) || p->mp_m);
}

/* Removes the smaller mappings below a superpage to be; whether a wired one is among them. */
static bool
clear_below(struct model *m, const struct pmap_mapping *map)
{
	const gpa_t end = map->pa_gpa + pt_level_size(map->pa_level);
	bool kept = false;

	for (gpa_t gpa = map->pa_gpa, next; gpa < end; gpa = next) {
		next = leaf_end(m, gpa);
		if (model_page(m, gpa)->mp_wired)
			kept = true;
		else if (model_page(m, gpa)->mp_prot != 0)
			drop(m, gpa);
	}
	return kept;
}

int
model_enter(struct model *m, const struct pmap_mapping *map)
{
	const int error = refuse(m, map);
	struct model_page to = new_page(map);
	const struct model_page *const p = model_page(m, map->pa_gpa);

	if (error != 0)
		return error;
	if (p->mp_prot != 0 && p->mp_level > map->pa_level) {
		if (covered(p, map))
			return 0;
		while (p->mp_level > map->pa_level)
			split(m, map->pa_gpa);
	}
	if (p->mp_prot != 0 && p->mp_level == map->pa_level) {
		if (p->mp_hpa == map->pa_hpa && p->mp_memattr == (uint8_t)map->pa_memattr) {
			const bool loses_m = p->mp_m && !(map->pa_prot & PMAP_PROT_W);

			note(m, map->pa_gpa, false, loses_m);
			to.mp_a |= p->mp_a;
			to.mp_m |= p->mp_m && !loses_m;
			to.mp_wired |= p->mp_wired;
		} else {
			note(m, map->pa_gpa, true, true);
		}
	} else if (map->pa_level > 0 && clear_below(m, map)) {
		return -EBUSY;
	}
	set_leaf(m, map->pa_gpa, map->pa_level, to);
	return 0;
}

/* ---- Ranges ---------------------------------------------------------------------------------- */

void
model_remove(struct model *m, gpa_t start, gpa_t end)
{
	for (gpa_t gpa = start, next; gpa < end; gpa = next) {
		fit(m, gpa, start, end);
		next = leaf_end(m, gpa);
		if (model_page(m, gpa)->mp_prot != 0)
			drop(m, gpa);
	}
}

int
model_protect(struct model *m, gpa_t start, gpa_t end, unsigned int prot)
{
	if (prot == 0) {
		model_remove(m, start, end);
		return 0;
	}
	if (!fx_prot_ok(m->mo_format, prot))
		return -EOPNOTSUPP;
	for (gpa_t gpa = start, next; gpa < end; gpa = next) {
		struct model_page to = leaf_page(m, gpa);
		const unsigned int left = to.mp_prot & prot;

		next = leaf_end(m, gpa);
		if (left == to.mp_prot)
			continue;
		fit(m, gpa, start, end);
		next = leaf_end(m, gpa);
		if (!fx_prot_ok(m->mo_format, left)) {
			drop(m, gpa);
			continue;
		}
		to = leaf_page(m, gpa);
		if (!(left & PMAP_PROT_W)) {
			note(m, gpa, false, true);
			to.mp_m = false;
		}
		to.mp_prot = (uint8_t)left;
		set_leaf(m, gpa, to.mp_level, to);
	}
	return 0;
}

void
model_unwire(struct model *m, gpa_t start, gpa_t end)
{
	for (gpa_t gpa = start, next; gpa < end; gpa = next) {
		next = leaf_end(m, gpa);
		if (!model_page(m, gpa)->mp_wired)
			continue;
		fit(m, gpa, start, end);
		next = leaf_end(m, gpa);

		struct model_page to = leaf_page(m, gpa);

		to.mp_wired = false;
		set_leaf(m, gpa, to.mp_level, to);
	}
}

/* ---- Accessed and modified ------------------------------------------------------------------- */

bool
model_is_modified(struct model *m, gpa_t start, gpa_t end)
{
	for (gpa_t gpa = start; gpa < end; gpa += PAGE) {
		if (model_page(m, gpa)->mp_m)
			return true;
	}
	return false;
}

/* Clears what is harvested from the leaf at gpa, which can bear that. */
static void
collect(struct model *m, gpa_t gpa, bool accessed, bool quiet)
{
	struct model_page to = leaf_page(m, gpa);

	if (accessed && m->mo_emulated && to.mp_m) {
		note(m, gpa, true, true);
		to.mp_m = false;
	}
	if (!accessed && !quiet)
		note(m, gpa, false, true);
	if (accessed)
		to.mp_a = false;
	else
		to.mp_m = false;
	set_leaf(m, gpa, to.mp_level, to);
}

uint64_t
model_harvest(struct model *m, gpa_t start, gpa_t end, unsigned int how, uint64_t *bitmap)
{
	const bool accessed = (how & PMAP_HARVEST_ACCESSED) != 0;
	const bool peek = (how & PMAP_HARVEST_PEEK) != 0;
	uint64_t found = 0;

	for (gpa_t gpa = start, next; gpa < end; gpa = next) {
		const struct model_page p = *model_page(m, gpa);
		const bool loses_m = !accessed || m->mo_emulated;

		next = leaf_end(m, gpa);
		if (!(accessed ? p.mp_a : p.mp_m))
			continue;
		/* A writable superpage cannot be clean. */
		if (!peek && loses_m && p.mp_level > 0 && (p.mp_prot & PMAP_PROT_W)) {
			split(m, gpa);
			next = gpa;
			continue;
		}
		if (!peek)
			collect(m, gpa, accessed, bitmap != NULL);
		found++;
		for (gpa_t at = gpa; bitmap != NULL && at < next && at < end; at += PAGE) {
			const uint64_t bit = (at - start) / PAGE;

			bitmap[bit / 64] |= (uint64_t)1 << bit % 64;
		}
	}
	return found;
}

/* The leaf at gpa is used with a right that it grants. */
static void
use(struct model *m, gpa_t gpa, unsigned int right)
{
	struct model_page to = leaf_page(m, gpa);

	to.mp_a = true;
	to.mp_m |= (right & PMAP_PROT_W) != 0;
	set_leaf(m, gpa, to.mp_level, to);
}

int
model_emulate(struct model *m, gpa_t gpa, unsigned int access)
{
	const struct model_page *p = model_page(m, gpa);

	if (p->mp_prot == 0)
		return -ENOENT;
	if (access & ~(unsigned int)p->mp_prot)
		return -EACCES;
	/* Where the CPU sets A and M there is nothing to emulate. */
	if (m->mo_emulated && !(p->mp_a && (!(access & PMAP_PROT_W) || p->mp_m))) {
		use(m, gpa, access);
		m->mo_emulations++;
	} else {
		m->mo_spurious++;
	}
	return 0;
}

bool
model_hardware(struct model *m, gpa_t gpa, unsigned int right)
{
	const struct model_page *p = model_page(m, gpa);

	if (!(p->mp_prot & right))
		return false;
	if (m->mo_emulated)
		return p->mp_a && (!(right & PMAP_PROT_W) || p->mp_m);
	use(m, gpa, right);
	return true;
}

/* ---- Superpages ------------------------------------------------------------------------------ */

int
model_demote(struct model *m, gpa_t gpa, unsigned int level)
{
	const struct model_page *p = model_page(m, gpa);

	if (p->mp_prot == 0 || p->mp_level != level)
		return -ENOENT;
	split(m, gpa);
	return 0;
}

int
model_promote(struct model *m, gpa_t gpa, unsigned int level, bool *maybe)
{
	const gpa_t base = base_of(gpa, level);
	const gpa_t end = base + pt_level_size(level);
	struct model_page head;
	bool any = false;

	*maybe = false;
	if (level >= m->mo_format->ff_caps.pc_leaf_levels)
		return -EOPNOTSUPP;
	head = *model_page(m, base);
	if (head.mp_prot != 0 && head.mp_level >= level)
		return -ENOENT;
	for (gpa_t at = base; at < end && !any; at += PAGE)
		any = model_page(m, at)->mp_prot != 0;
	*maybe = !any;
	if (head.mp_prot == 0 || head.mp_hpa % pt_level_size(level) != 0 || !head.mp_a ||
	    ((head.mp_prot & PMAP_PROT_W) && !head.mp_m))
		return -EBUSY;
	for (gpa_t at = base; at < end; at += PAGE) {
		const struct model_page *p = model_page(m, at);

		if (p->mp_level != level - 1 || p->mp_hpa != head.mp_hpa + (at - base) ||
		    p->mp_prot != head.mp_prot || p->mp_memattr != head.mp_memattr ||
		    p->mp_wired != head.mp_wired || p->mp_a != head.mp_a || p->mp_m != head.mp_m)
			return -EBUSY;
	}
	head.mp_level = (uint8_t)level;
	set_leaf(m, base, level, head);
	m->mo_joins++;
	return 0;
}

/* ---- Accounts -------------------------------------------------------------------------------- */

void
model_count(struct model *m, struct model_counts *counts)
{
	*counts = (struct model_counts){0};
	for (gpa_t gpa = m->mo_start, next; gpa < m->mo_end; gpa = next) {
		const struct model_page *p = model_page(m, gpa);
		const uint64_t npages = (uint64_t)1 << 9 * p->mp_level;

		next = leaf_end(m, gpa);
		if (p->mp_prot == 0)
			continue;
		counts->mc_resident += npages;
		counts->mc_wired += p->mp_wired ? npages : 0;
		counts->mc_leaves[p->mp_level]++;
	}
}
