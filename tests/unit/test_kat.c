/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Entries against the golden tables of tests/kat, which were written from the manuals. Their
 * columns are explained at the head of x86.tbl. KAT_DIR is where they are.
 */

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pmap/pte.h"

#define WORDS_MAX 12
#define CAPS_MAX 16

struct kat_caps {
	char name[8];
	struct pt_fmt fmt;
};

struct kat {
	char path[512];
	unsigned int line;
	struct kat_caps caps[CAPS_MAX];
	unsigned int ncaps, nleaf, ntable, nnever;
};

#define KAT_ASSERT(k, cond) cr_assert(cond, "%s:%u: not so: %s", (k)->path, (k)->line, #cond)

/* Index of a word in a list that ends with NULL; a word that is not in it fails the test. */
static unsigned int
choose(const struct kat *k, const char *word, const char *const list[])
{
	unsigned int i = 0;

	while (list[i] != NULL && strcmp(word, list[i]) != 0)
		i++;
	cr_assert(list[i] != NULL, "%s:%u: unknown word %s", k->path, k->line, word);
	return i;
}

static uint64_t
number(const struct kat *k, const char *word, int base)
{
	char *end;
	const uint64_t value = strtoull(word, &end, base);

	cr_assert(*word != '\0' && *end == '\0', "%s:%u: no number: %s", k->path, k->line, word);
	return value;
}

static const char *const sizes[] = {"4k", "2m", "1g", NULL};
static const char *const rights[] = {"---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx", NULL};
static const char *const types[] = {"wb", "uc", "wc", "wt", "wp", NULL};

static void
read_caps(struct kat *k, char *word[], unsigned int n)
{
	static const char *const formats[] = {"x86", "ept", "rvi", NULL};
	static const char *const flags[] = {"nx", "user", "global", "xo", "ipat", "emulate", NULL};
	struct kat_caps *c = &k->caps[k->ncaps++];
	struct pt_caps caps = {0};
	enum pt_type type;
	unsigned int i;

	KAT_ASSERT(k, n >= 7 && k->ncaps <= CAPS_MAX && strlen(word[1]) < sizeof(c->name));
	strcpy(c->name, word[1]);
	type = (enum pt_type)choose(k, word[2], formats);
	caps.pc_levels = (uint8_t)number(k, word[3], 10);
	caps.pc_leaf_levels = (uint8_t)(choose(k, word[4], sizes) + 1);
	caps.pc_phys_bits = (uint8_t)number(k, word[5], 10);
	caps.pc_pat = number(k, word[6], 16);
	for (i = 7; i < n; i++) {
		bool *const flag[] = {&caps.pc_nx,
				      &caps.pc_user,
				      &caps.pc_global,
				      &caps.pc_exec_only,
				      &caps.pc_ignore_guest_pat,
				      &caps.pc_emulate_ad};

		*flag[choose(k, word[i], flags)] = true;
	}
	KAT_ASSERT(k, pt_fmt_init(&c->fmt, type, &caps) == 0);
}

static const struct pt_fmt *
named(const struct kat *k, const char *name)
{
	unsigned int i = 0;

	while (i < k->ncaps && strcmp(k->caps[i].name, name) != 0)
		i++;
	cr_assert(i < k->ncaps, "%s:%u: unknown caps %s", k->path, k->line, name);
	return &k->caps[i].fmt;
}

/* leaf NAME SIZE RIGHTS TYPE A/M ADDRESS ENTRY: build it, and take it apart again. */
static void
check_leaf(struct kat *k, char *word[])
{
	static const char *const used[] = {"--", "a-", "am", NULL};
	const struct pt_fmt *f = named(k, word[1]);
	const unsigned int level = choose(k, word[2], sizes);
	const unsigned int prot = choose(k, word[3], rights);
	const enum pt_memattr ma = (enum pt_memattr)choose(k, word[4], types);
	const unsigned int am = choose(k, word[5], used);
	const hpa_t hpa = number(k, word[6], 16);
	const pt_entry_t golden = number(k, word[7], 16);
	pt_entry_t pte;

	KAT_ASSERT(k, level < f->pf_leaf_levels);
	KAT_ASSERT(k, (f->pf_prot_ok >> prot & 1) == 1);
	KAT_ASSERT(k, (f->pf_memattr_ok >> ma & 1) == 1);
	pte = pte_leaf(f, hpa, prot, level, ma);
	if (am > 0)
		pte = pte_set_accessed(f, pte);
	if (am > 1)
		pte = pte_set_modified(f, pte);
	cr_assert(pte == golden, "%s:%u: built %016" PRIx64 ", not %016" PRIx64, k->path, k->line,
		  pte, golden);

	KAT_ASSERT(k, pte_is_valid(f, golden));
	KAT_ASSERT(k, pte_is_leaf(f, golden, level));
	KAT_ASSERT(k, !pte_is_table(f, golden, level));
	KAT_ASSERT(k, !pte_is_frozen(f, golden));
	KAT_ASSERT(k, pte_hpa(f, golden, level) == hpa);
	KAT_ASSERT(k, pte_prot(f, golden) == prot);
	KAT_ASSERT(k, pte_memattr(f, golden, level) == ma);
	KAT_ASSERT(k, ((golden & f->pf_a) != 0) == (am > 0));
	KAT_ASSERT(k, ((golden & f->pf_m) != 0) == (am > 1));
	KAT_ASSERT(k, (golden & f->pf_rsvd_leaf[level]) == 0);
	k->nleaf++;
}

/* table NAME ADDRESS ENTRY: the same at every level above the leaf. */
static void
check_table(struct kat *k, char *word[])
{
	const struct pt_fmt *f = named(k, word[1]);
	const hpa_t hpa = number(k, word[2], 16);
	const pt_entry_t golden = number(k, word[3], 16), pte = pte_table(f, hpa);
	unsigned int level;

	cr_assert(pte == golden, "%s:%u: built %016" PRIx64 ", not %016" PRIx64, k->path, k->line,
		  pte, golden);
	KAT_ASSERT(k, pte_is_valid(f, golden));
	KAT_ASSERT(k, !pte_is_frozen(f, golden));
	KAT_ASSERT(k, pte_hpa(f, golden, 0) == hpa);
	for (level = 1; level < f->pf_levels; level++) {
		KAT_ASSERT(k, pte_is_table(f, golden, level));
		KAT_ASSERT(k, !pte_is_leaf(f, golden, level));
		KAT_ASSERT(k, (golden & f->pf_rsvd_table[level]) == 0);
	}
	k->ntable++;
}

/* never NAME RIGHTS, never NAME TYPE: not to be expressed. */
static void
check_never(struct kat *k, char *word[])
{
	const struct pt_fmt *f = named(k, word[1]);

	if (strlen(word[2]) == 3)
		KAT_ASSERT(k, !(f->pf_prot_ok >> choose(k, word[2], rights) & 1));
	else
		KAT_ASSERT(k, !(f->pf_memattr_ok >> choose(k, word[2], types) & 1));
	k->nnever++;
}

static void
check_line(struct kat *k, char *line)
{
	static const char *const kinds[] = {"caps", "leaf", "table", "never", NULL};
	char *word[WORDS_MAX], *save = NULL, *next;
	unsigned int n = 0;

	line[strcspn(line, "#\n")] = '\0';
	for (next = strtok_r(line, " \t", &save); next; next = strtok_r(NULL, " \t", &save)) {
		KAT_ASSERT(k, n < WORDS_MAX);
		word[n++] = next;
	}
	if (n == 0)
		return;
	switch (choose(k, word[0], kinds)) {
	case 0:
		read_caps(k, word, n);
		break;
	case 1:
		KAT_ASSERT(k, n == 8);
		check_leaf(k, word);
		break;
	case 2:
		KAT_ASSERT(k, n == 4);
		check_table(k, word);
		break;
	default:
		KAT_ASSERT(k, n == 3);
		check_never(k, word);
		break;
	}
}

/* Checks a whole table; the numbers of rows guard against one that is cut short. */
static void
check_file(const char *name, unsigned int nleaf, unsigned int ntable, unsigned int nnever)
{
	struct kat *k = calloc(1, sizeof(*k));
	char line[256];
	FILE *file;

	cr_assert(k != NULL);
	snprintf(k->path, sizeof(k->path), "%s/%s", KAT_DIR, name);
	file = fopen(k->path, "r");
	cr_assert(file != NULL, "cannot read %s", k->path);
	while (fgets(line, sizeof(line), file)) {
		k->line++;
		check_line(k, line);
	}
	fclose(file);
	cr_assert(k->nleaf == nleaf && k->ntable == ntable && k->nnever == nnever,
		  "%s: %u leaf, %u table, %u never", k->path, k->nleaf, k->ntable, k->nnever);
	free(k);
}

Test(kat, x86)
{
	check_file("x86.tbl", 77, 7, 13);
}

Test(kat, rvi)
{
	check_file("rvi.tbl", 38, 4, 8);
}

Test(kat, ept)
{
	check_file("ept.tbl", 50, 4, 6);
}

Test(kat, ept_emulated)
{
	check_file("ept_emulated.tbl", 31, 3, 4);
}
