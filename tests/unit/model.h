/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A pmap as a flat array of pages: what it must say after any operation, written without a tree, an
 * entry or a bit. A page knows the size of the mapping that it is part of; splitting and joining
 * change that, and nothing else.
 */

#ifndef TESTS_UNIT_MODEL_H
#define TESTS_UNIT_MODEL_H

#include "tests/unit/pmap_fixture.h"

struct model_page {
	hpa_t mp_hpa;	 /* of this page */
	uint8_t mp_prot; /* 0: not mapped; then all is 0 */
	uint8_t mp_memattr;
	uint8_t mp_level;
	bool mp_wired;
	bool mp_a;
	bool mp_m;
};

/* The pages [mo_start, mo_end) of a space; nothing is mapped elsewhere. */
struct model {
	const struct fx_format *mo_format;
	bool mo_emulated; /* A and M go together */
	gpa_t mo_start;
	gpa_t mo_end;
	struct model_page *mo_pages;
	struct pmap_leaf *mo_notes; /* what the owner must have been told */
	size_t mo_nnotes;
	size_t mo_room;
	uint64_t mo_joins; /* events since the beginning, as the pmap counts them */
	uint64_t mo_splits;
	uint64_t mo_emulations;
	uint64_t mo_spurious;
	gpa_t mo_dirty_start; /* pages that changed since model_settle() */
	gpa_t mo_dirty_end;
};

void model_open(struct model *m, const struct fx_format *format, gpa_t start, gpa_t end);
void model_close(struct model *m);

/* Forgets notes and what changed. */
void model_settle(struct model *m);

struct model_page *model_page(struct model *m, gpa_t gpa);
void model_leaf(struct model *m, gpa_t gpa, struct pmap_leaf *leaf);

/* What the operations of pmap.h do and return; ranges lie within the model. */
int model_enter(struct model *m, const struct pmap_mapping *map);
void model_remove(struct model *m, gpa_t start, gpa_t end);
int model_protect(struct model *m, gpa_t start, gpa_t end, unsigned int prot);
void model_unwire(struct model *m, gpa_t start, gpa_t end);
bool model_is_modified(struct model *m, gpa_t start, gpa_t end);
uint64_t model_harvest(struct model *m, gpa_t start, gpa_t end, unsigned int how, uint64_t *bitmap);
int model_emulate(struct model *m, gpa_t gpa, unsigned int access);
bool model_hardware(struct model *m, gpa_t gpa, unsigned int right);
int model_demote(struct model *m, gpa_t gpa, unsigned int level);

/* *maybe: nothing is mapped there, so that -ENOENT and -EBUSY are both right. */
int model_promote(struct model *m, gpa_t gpa, unsigned int level, bool *maybe);

struct model_counts {
	uint64_t mc_resident;
	uint64_t mc_wired;
	uint64_t mc_leaves[PT_LEAF_LEVELS_MAX];
};
void model_count(struct model *m, struct model_counts *counts);

#endif /* TESTS_UNIT_MODEL_H */
