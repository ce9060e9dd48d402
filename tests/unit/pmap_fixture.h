/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the tests of the core share: every kind of pmap there is, a record of what it reported,
 * pictures of its state to compare, and a walker that touches pages as hardware does.
 *
 * A test body is a function of one pmap; fx_each() runs it over every kind, in both forms and on
 * CPUs that can and cannot bear mixed page sizes. A failure names the kind.
 */

#ifndef TESTS_UNIT_PMAP_FIXTURE_H
#define TESTS_UNIT_PMAP_FIXTURE_H

#include "pmap/pmap.h"
#include "pmap/pte.h"
#include "tests/unit/world.h"

#include <criterion/criterion.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define PAGE HOST_PAGE_SIZE

/*
 * Frames: above where the POSIX host has its tables, below 64 GiB, the least that a CPU can name.
 */
#define FX_HPA (8 * GIB)

#define FX_WHY_BYTES 200

/* One kind of pmap. */
struct fx_format {
	const char *ff_name;
	enum pt_type ff_type;
	struct pt_caps ff_caps;
	unsigned int ff_flags; /* what the caps demand */
};

extern const struct fx_format fx_formats[];
extern const unsigned int fx_nformats;

/* By name; fails the test if there is none. */
const struct fx_format *fx_format(const char *name);

/* A pmap and what it reported. */
struct fx {
	const struct fx_format *fx_format;
	unsigned int fx_flags; /* PMAP_REFERENCE, PMAP_MIXED_SIZE_ERRATUM, PMAP_DEFER */
	struct pmap *fx_pm;
	const struct pt_fmt *fx_fmt;
	gpa_t fx_limit;		    /* first address beyond the space */
	unsigned int fx_levels;	    /* leaf sizes */
	struct pmap_leaf *fx_notes; /* since fx_forget() */
	size_t fx_nnotes;
	size_t fx_room;
	unsigned int fx_backlogs;

	/* Called in pc_note, if set. */
	void (*fx_on_note)(struct fx *x);
	void *fx_arg;
};

void fx_config(const struct fx_format *format, unsigned int flags, struct pmap_config *cfg);
void fx_open(struct fx *x, const struct fx_format *format, unsigned int flags);
/* For an owner who does not want to be told. */
void fx_open_quiet(struct fx *x, const struct fx_format *format, unsigned int flags);
void fx_close(struct fx *x);
void fx_forget(struct fx *x);

/* Runs body over every kind x {fast, reference} x {mixed sizes, erratum}. */
void fx_each(void (*body)(struct fx *x));

/* The kind that is being tested, for messages. */
const char *fx_name(void);

#define fx_assert(cond) cr_assert((cond), "%s: %s", fx_name(), #cond)
#define fx_fail(...) fx_fail_at(__FILE__, __LINE__, __VA_ARGS__)
__attribute__((format(printf, 3, 4))) void fx_fail_at(const char *file, int line,
						      const char *format, ...);

/* Fails the test with pmap_check()'s sentence. */
void fx_check(struct fx *x);

/* How often to repeat something: less under a tool that makes it slow. */
unsigned int fx_scale(unsigned int n);

/* ---- Pictures ------------------------------------------------------------------------------- */

struct fx_picture {
	char *pi_text; /* pmap_dump() */
	size_t pi_bytes;
	size_t pi_room;
	struct pmap_stats pi_stats;
	size_t pi_notes;
	uint64_t pi_generation;
};

void fx_picture(struct fx *x, struct fx_picture *p);
void fx_picture_free(struct fx_picture *p);

/*
 * Fails the test unless the pmap is as on the picture: tree, accounts, notes. With `exact` also
 * every counter and the generation, as after a refused call. Frees the picture.
 */
void fx_same(struct fx *x, struct fx_picture *before, bool exact);

/* ---- Operations, shorter --------------------------------------------------------------------- */

/* Plain write-back mappings; the result of pmap_enter(). */
int fx_enter(struct fx *x, gpa_t gpa, hpa_t hpa, unsigned int prot, unsigned int access,
	     unsigned int level);
int fx_enter_wired(struct fx *x, gpa_t gpa, hpa_t hpa, unsigned int prot, unsigned int level);

/* Each with a gather of its own, finished; they must succeed. */
void fx_remove(struct fx *x, gpa_t start, gpa_t end);
void fx_protect(struct fx *x, gpa_t start, gpa_t end, unsigned int prot);
int fx_promote(struct fx *x, gpa_t gpa, unsigned int level);
int fx_demote(struct fx *x, gpa_t gpa, unsigned int level);
uint64_t fx_harvest(struct fx *x, gpa_t start, gpa_t end, unsigned int how, uint64_t *bitmap);

/* The leaf at gpa; pl_prot == 0 if there is none. */
struct pmap_leaf fx_leaf(struct fx *x, gpa_t gpa);
struct pmap_stats fx_stats(struct fx *x);

/* The word that holds the last entry of a walk of gpa. */
struct host_word *fx_word(struct fx *x, gpa_t gpa);

/*
 * Hardware walks gpa for an access with one right: true, and A and M set as the CPU sets them, if
 * it grants it; false is a fault.
 */
bool fx_hardware(struct fx *x, gpa_t gpa, unsigned int right);

/* The same with the fault handler behind it: 0 or what pmap_emulate_accessed_dirty() says. */
int fx_touch(struct fx *x, gpa_t gpa, unsigned int right);

/* Whether the format can express rights and types; written from the manuals, not from pt_fmt. */
bool fx_prot_ok(const struct fx_format *format, unsigned int prot);
bool fx_memattr_ok(const struct fx_format *format, enum pt_memattr memattr);

#endif /* TESTS_UNIT_PMAP_FIXTURE_H */
