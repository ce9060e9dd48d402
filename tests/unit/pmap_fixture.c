/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The kinds of pmap, and the tools to look at them (pmap_fixture.h).
 */

#include "tests/unit/pmap_fixture.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(PMAP_VALGRIND) && PMAP_VALGRIND
#include <valgrind/valgrind.h>
#endif

/* ---- Kinds ---------------------------------------------------------------------------------- */

/* IA32_PAT at reset (SDM vol. 3A 12.12.4): WB WT UC- UC, twice; and one that has all types. */
#define PAT_RESET 0x0007040600070406
#define PAT_ALL 0x0405000100070406

const struct fx_format fx_formats[] = {
	{"ept",
	 PT_EPT,
	 {.pc_levels = 4, .pc_leaf_levels = 3, .pc_phys_bits = 46},
	 PMAP_PDE_SUPERPAGE},
	{"ept-noad",
	 PT_EPT,
	 {.pc_levels = 4, .pc_leaf_levels = 3, .pc_phys_bits = 39, .pc_emulate_ad = true},
	 PMAP_PDE_SUPERPAGE | PMAP_EMULATE_AD_BITS},
	{"ept-exec-only",
	 PT_EPT,
	 {.pc_levels = 5,
	  .pc_leaf_levels = 3,
	  .pc_phys_bits = 52,
	  .pc_exec_only = true,
	  .pc_ignore_guest_pat = true},
	 PMAP_PDE_SUPERPAGE | PMAP_SUPPORTS_EXEC_ONLY},
	{"rvi-4",
	 PT_RVI,
	 {.pc_pat = PAT_RESET,
	  .pc_levels = 4,
	  .pc_leaf_levels = 3,
	  .pc_phys_bits = 48,
	  .pc_nx = true},
	 PMAP_PDE_SUPERPAGE},
	{"rvi-5",
	 PT_RVI,
	 {.pc_pat = PAT_ALL,
	  .pc_levels = 5,
	  .pc_leaf_levels = 2,
	  .pc_phys_bits = 52,
	  .pc_nx = true},
	 PMAP_PDE_SUPERPAGE},
	{"x86-user",
	 PT_X86,
	 {.pc_pat = PAT_ALL,
	  .pc_levels = 4,
	  .pc_leaf_levels = 2,
	  .pc_phys_bits = 36,
	  .pc_nx = true,
	  .pc_user = true},
	 PMAP_PDE_SUPERPAGE},
	{"x86-kernel",
	 PT_X86,
	 {.pc_pat = PAT_RESET,
	  .pc_levels = 5,
	  .pc_leaf_levels = 3,
	  .pc_phys_bits = 46,
	  .pc_nx = true,
	  .pc_global = true},
	 PMAP_PDE_SUPERPAGE},
	{"x86-small",
	 PT_X86,
	 {.pc_pat = PAT_RESET, .pc_levels = 4, .pc_leaf_levels = 1, .pc_phys_bits = 40},
	 0},
};

const unsigned int fx_nformats = sizeof(fx_formats) / sizeof(fx_formats[0]);

const struct fx_format *
fx_format(const char *name)
{
	for (unsigned int i = 0; i < fx_nformats; i++) {
		if (strcmp(fx_formats[i].ff_name, name) == 0)
			return &fx_formats[i];
	}
	cr_assert_fail("no format %s", name);
	return NULL;
}

bool
fx_prot_ok(const struct fx_format *format, unsigned int prot)
{
	const struct pt_caps *caps = &format->ff_caps;

	if (!(prot & PMAP_PROT_R))
		return prot == PMAP_PROT_X && caps->pc_exec_only;
	return (prot & PMAP_PROT_X) || format->ff_type == PT_EPT || caps->pc_nx;
}

bool
fx_memattr_ok(const struct fx_format *format, enum pt_memattr memattr)
{
	if (format->ff_type == PT_EPT || format->ff_caps.pc_pat == PAT_ALL)
		return true;
	return memattr != PT_MEMATTR_WC && memattr != PT_MEMATTR_WP;
}

/* ---- Life ----------------------------------------------------------------------------------- */

static char current[80] = "no pmap";

const char *
fx_name(void)
{
	return current;
}

void
fx_fail_at(const char *file, int line, const char *format, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	cr_assert_fail("%s: %s (%s:%d)", current, text, file, line);
}

unsigned int
fx_scale(unsigned int n)
{
	unsigned int by = 1;

#if defined(PMAP_VALGRIND) && PMAP_VALGRIND
	if (RUNNING_ON_VALGRIND)
		by = 20;
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
	by = 5;
#endif
	/* For who asks thousands of times and wants an answer soon (tests/mutate). */
	if (by == 1 && getenv("SKEP_SHORT") != NULL)
		by = 5;
	return n / by > 0 ? n / by : 1;
}

static void
note(void *arg, const struct pmap_leaf *leaf)
{
	struct fx *x = arg;

	if (x->fx_nnotes == x->fx_room) {
		x->fx_room = x->fx_room != 0 ? 2 * x->fx_room : 64;
		x->fx_notes = realloc(x->fx_notes, x->fx_room * sizeof(*x->fx_notes));
	}
	x->fx_notes[x->fx_nnotes++] = *leaf;
	if (x->fx_on_note != NULL)
		x->fx_on_note(x);
}

static void
backlog(void *arg)
{
	struct fx *x = arg;

	x->fx_backlogs++;
}

void
fx_config(const struct fx_format *format, unsigned int flags, struct pmap_config *cfg)
{
	*cfg = (struct pmap_config){
		.pc_type = format->ff_type,
		.pc_flags = format->ff_flags | flags,
		.pc_caps = format->ff_caps,
	};
}

static void
open_as(struct fx *x, const struct fx_format *format, unsigned int flags, bool quiet)
{
	struct pmap_config cfg;

	snprintf(current, sizeof(current), "%s%s%s%s", format->ff_name,
		 (flags & PMAP_REFERENCE) ? " reference" : "",
		 (flags & PMAP_MIXED_SIZE_ERRATUM) ? " erratum" : "",
		 (flags & PMAP_DEFER) ? " defer" : "");
	*x = (struct fx){.fx_format = format, .fx_flags = flags};
	fx_config(format, flags, &cfg);
	cfg.pc_note = quiet ? NULL : note;
	cfg.pc_backlog = backlog;
	cfg.pc_arg = x;
	fx_assert(pmap_init(&cfg, &x->fx_pm) == 0);
	x->fx_fmt = pmap_fmt(x->fx_pm);
	x->fx_limit = (uint64_t)1 << (format->ff_caps.pc_levels == 4 ? 48 : 57);
	x->fx_levels = format->ff_caps.pc_leaf_levels;
}

void
fx_open(struct fx *x, const struct fx_format *format, unsigned int flags)
{
	open_as(x, format, flags, false);
}

void
fx_open_quiet(struct fx *x, const struct fx_format *format, unsigned int flags)
{
	open_as(x, format, flags, true);
}

void
fx_close(struct fx *x)
{
	fx_check(x);
	x->fx_on_note = NULL;
	pmap_destroy(x->fx_pm);
	free(x->fx_notes);
}

void
fx_forget(struct fx *x)
{
	x->fx_nnotes = 0;
}

void
fx_each(void (*body)(struct fx *x))
{
	static const unsigned int flags[] = {0, PMAP_REFERENCE, PMAP_MIXED_SIZE_ERRATUM,
					     PMAP_REFERENCE | PMAP_MIXED_SIZE_ERRATUM};

	for (unsigned int i = 0; i < fx_nformats; i++) {
		for (unsigned int k = 0; k < sizeof(flags) / sizeof(flags[0]); k++) {
			struct fx x;

			/* Under a tool, every other one: each format, and each form, is there. */
			if (fx_scale(2) == 1 && (i + k) % 2 != 0)
				continue;
			world_begin(NULL);
			fx_open(&x, &fx_formats[i], flags[k]);
			body(&x);
			fx_close(&x);
			CHECK(true); /* world_end() wants one; the body asserts for itself */
			world_end();
		}
	}
}

void
fx_check(struct fx *x)
{
	char why[FX_WHY_BYTES] = "";

	if (pmap_check(x->fx_pm, why, sizeof(why)) != 0)
		fx_fail("%s", why);
}

/* ---- Pictures ------------------------------------------------------------------------------- */

static void
put(void *arg, const char *line)
{
	struct fx_picture *p = arg;
	const size_t n = strlen(line);

	if (p->pi_bytes + n + 2 > p->pi_room) {
		p->pi_room = 2 * (p->pi_bytes + n + 2);
		p->pi_text = realloc(p->pi_text, p->pi_room);
	}
	memcpy(p->pi_text + p->pi_bytes, line, n);
	p->pi_bytes += n;
	p->pi_text[p->pi_bytes++] = '\n';
	p->pi_text[p->pi_bytes] = '\0';
}

void
fx_picture(struct fx *x, struct fx_picture *p)
{
	*p = (struct fx_picture){
		.pi_stats = fx_stats(x),
		.pi_notes = x->fx_nnotes,
		.pi_generation = pmap_generation(x->fx_pm),
	};
	pmap_dump(x->fx_pm, put, p);
}

void
fx_picture_free(struct fx_picture *p)
{
	free(p->pi_text);
	*p = (struct fx_picture){0};
}

/* What was counted, not what is there. */
static void
forget_events(struct pmap_stats *st)
{
	st->st_limbo = 0;
	st->st_promotions = 0;
	st->st_demotions = 0;
	st->st_demotion_failures = 0;
	st->st_ad_emulations = 0;
	st->st_spurious_faults = 0;
	st->st_shootdowns = 0;
	st->st_shootdowns_merged = 0;
	st->st_shootdowns_elided = 0;
	st->st_kicks = 0;
	st->st_enter_restarts = 0;
	st->st_revoked = 0;
}

void
fx_same(struct fx *x, struct fx_picture *before, bool exact)
{
	struct fx_picture now;

	fx_check(x);
	fx_picture(x, &now);
	if (exact) {
		fx_assert(now.pi_generation == before->pi_generation);
	} else {
		forget_events(&now.pi_stats);
		forget_events(&before->pi_stats);
	}
	if (strcmp(now.pi_text, before->pi_text) != 0)
		fx_fail("changed:\n%.150s\nis now\n%.150s", before->pi_text, now.pi_text);
	fx_assert(memcmp(&now.pi_stats, &before->pi_stats, sizeof(now.pi_stats)) == 0);
	fx_assert(now.pi_notes == before->pi_notes);
	fx_picture_free(&now);
	fx_picture_free(before);
}

/* ---- Operations ----------------------------------------------------------------------------- */

int
fx_enter(struct fx *x, gpa_t gpa, hpa_t hpa, unsigned int prot, unsigned int access,
	 unsigned int level)
{
	const struct pmap_mapping m = {
		.pa_gpa = gpa,
		.pa_hpa = hpa,
		.pa_prot = prot,
		.pa_access = access,
		.pa_level = level,
	};

	return pmap_enter(x->fx_pm, &m);
}

int
fx_enter_wired(struct fx *x, gpa_t gpa, hpa_t hpa, unsigned int prot, unsigned int level)
{
	const struct pmap_mapping m = {
		.pa_gpa = gpa,
		.pa_hpa = hpa,
		.pa_prot = prot,
		.pa_access = prot,
		.pa_level = level,
		.pa_wired = true,
	};

	return pmap_enter(x->fx_pm, &m);
}

void
fx_remove(struct fx *x, gpa_t start, gpa_t end)
{
	struct pmap_gather g;

	pmap_gather_begin(&g, x->fx_pm);
	fx_assert(pmap_remove(x->fx_pm, start, end, &g) == 0);
	pmap_gather_finish(&g);
}

void
fx_protect(struct fx *x, gpa_t start, gpa_t end, unsigned int prot)
{
	struct pmap_gather g;

	pmap_gather_begin(&g, x->fx_pm);
	fx_assert(pmap_protect(x->fx_pm, start, end, prot, &g) == 0);
	pmap_gather_finish(&g);
}

int
fx_promote(struct fx *x, gpa_t gpa, unsigned int level)
{
	struct pmap_gather g;
	int error;

	pmap_gather_begin(&g, x->fx_pm);
	error = pmap_promote(x->fx_pm, gpa, level, &g);
	pmap_gather_finish(&g);
	return error;
}

int
fx_demote(struct fx *x, gpa_t gpa, unsigned int level)
{
	struct pmap_gather g;
	int error;

	pmap_gather_begin(&g, x->fx_pm);
	error = pmap_demote(x->fx_pm, gpa, level, &g);
	pmap_gather_finish(&g);
	return error;
}

uint64_t
fx_harvest(struct fx *x, gpa_t start, gpa_t end, unsigned int how, uint64_t *bitmap)
{
	struct pmap_gather g;
	uint64_t found = ~(uint64_t)0;

	pmap_gather_begin(&g, x->fx_pm);
	fx_assert(pmap_harvest(x->fx_pm, start, end, how, bitmap, &found, &g) == 0);
	pmap_gather_finish(&g);
	return found;
}

struct pmap_leaf
fx_leaf(struct fx *x, gpa_t gpa)
{
	struct pmap_leaf leaf = {0};
	const int error = pmap_extract(x->fx_pm, gpa, &leaf);

	fx_assert(error == 0 || error == -ENOENT);
	fx_assert((error == 0) == (leaf.pl_prot != 0));
	return leaf;
}

struct pmap_stats
fx_stats(struct fx *x)
{
	struct pmap_stats st;

	host_epoch_drain(); /* so that what is free is seen to be */
	pmap_stats(x->fx_pm, &st);
	return st;
}

/* ---- Hardware ------------------------------------------------------------------------------- */

static struct host_word *
table_word(hpa_t table, gpa_t gpa, unsigned int level)
{
	return &host_table_words(table)[pt_index(gpa, level)];
}

struct host_word *
fx_word(struct fx *x, gpa_t gpa)
{
	pt_entry_t entries[PT_LEVELS_MAX];
	unsigned int n = 0;

	fx_assert(pmap_walk(x->fx_pm, gpa, entries, &n) == 0);
	fx_assert(n >= 1);

	const hpa_t table = n == 1 ? pmap_root(x->fx_pm) : pte_hpa(x->fx_fmt, entries[n - 2], 0);

	return table_word(table, gpa, x->fx_fmt->pf_levels - n);
}

/* A in every table pointer on the way, as CPUs with accessed flags set it. */
static void
mark_path(struct fx *x, gpa_t gpa, unsigned int leaf_level)
{
	hpa_t table = pmap_root(x->fx_pm);

	for (unsigned int level = x->fx_fmt->pf_levels - 1u; level > leaf_level; level--) {
		const pt_entry_t pte =
			host_fetch_or(table_word(table, gpa, level), x->fx_fmt->pf_a);

		table = pte_hpa(x->fx_fmt, pte, 0);
	}
}

bool
fx_hardware(struct fx *x, gpa_t gpa, unsigned int right)
{
	const struct pt_fmt *const f = x->fx_fmt;
	const struct pmap_leaf leaf = fx_leaf(x, gpa);
	struct host_word *const w = fx_word(x, gpa);

	if (leaf.pl_prot == 0)
		return false;
	if (f->pf_emulated_ad) {
		/* Bits 0 to 2 of the entry are all that hardware knows of (SDM vol. 3C 29.3.2). */
		const pt_entry_t pte = host_load(w);

		return (pte & 1) && (!(right & PMAP_PROT_W) || (pte & 2)) &&
		       (!(right & PMAP_PROT_X) || (pte & 4));
	}
	if ((right & ~leaf.pl_prot) != 0)
		return false;
	mark_path(x, gpa, leaf.pl_level);
	host_fetch_or(w, f->pf_a | ((right & PMAP_PROT_W) ? f->pf_m : 0));
	return true;
}

int
fx_touch(struct fx *x, gpa_t gpa, unsigned int right)
{
	int error;

	if (fx_hardware(x, gpa, right))
		return 0;
	error = pmap_emulate_accessed_dirty(x->fx_pm, gpa, right);
	fx_assert((error == 0) == fx_hardware(x, gpa, right));
	return error;
}
