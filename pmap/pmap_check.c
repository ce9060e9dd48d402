/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The auditor: walks every table from the root and holds each entry against what the format would
 * write, each descriptor against its place, and the accounts against what was found.
 *
 * An entry is right if encoding what it decodes to gives the entry back. That one comparison finds
 * reserved bits, misconfigurations, bits that leaked from an older entry, and frames left behind.
 */

#include "pmap/pmap_priv.h"
#include "pmap/pt_text.h"

struct audit {
	struct pmap *au_pm;
	struct pmap_stats au_found;
	const char *au_what; /* the finding, or NULL */
	gpa_t au_gpa;
	unsigned int au_level;
	pt_entry_t au_pte;
};

static void
finding(struct audit *a, const char *what, gpa_t gpa, unsigned int level, pt_entry_t pte)
{
	if (a->au_what != NULL)
		return;
	a->au_what = what;
	a->au_gpa = gpa;
	a->au_level = level;
	a->au_pte = pte;
}

static void
audit_leaf(struct audit *a, gpa_t gpa, pt_entry_t pte, unsigned int level)
{
	const struct pt_fmt *const f = &a->au_pm->pm_fmt;
	const unsigned int prot = pte_prot(f, pte);
	const uint64_t npages = (uint64_t)1 << 9 * level;

	if (level >= f->pf_leaf_levels || !((f->pf_prot_ok >> prot) & 1)) {
		finding(a, "I02: a size or right that the format does not have", gpa, level, pte);
		return;
	}
	if (pte & f->pf_rsvd_leaf[level])
		finding(a, "I02: reserved bit set", gpa, level, pte);

	pt_entry_t want =
		pte_leaf(f, pte_hpa(f, pte, level), prot, level, pte_memattr(f, pte, level));

	want |= pte & f->pf_wired;
	if (pte & f->pf_a)
		want = pte_set_accessed(f, want);
	want |= pte & f->pf_m;
	if (want != pte)
		finding(a, "I47: not what its own meaning encodes to", gpa, level, pte);
	if (f->pf_emulated_ad && (pte & (f->pf_a | f->pf_m)) == f->pf_m)
		finding(a, "I03: hardware write without read", gpa, level, pte);
	if ((pte & f->pf_m) && !(pte & f->pf_rw))
		finding(a, "I27: modified but not writable", gpa, level, pte);
	if (pte_is_clean_superpage(f, pte, level))
		finding(a, "I08: a clean writable superpage", gpa, level, pte);

	a->au_found.st_resident_pages += npages;
	a->au_found.st_leaves[level]++;
	if (pte & f->pf_wired)
		a->au_found.st_wired_pages += npages;
}

/* A table pointer at `level`, and the descriptor of what it points to. NULL if it is wrong. */
static struct pt_page *
audit_table(struct audit *a, gpa_t gpa, pt_entry_t pte, unsigned int level)
{
	const struct pt_fmt *const f = &a->au_pm->pm_fmt;
	const hpa_t hpa = pte_hpa(f, pte, 0);
	/* Hardware that has A sets it in table pointers, too. */
	const pt_entry_t a_bit = f->pf_emulated_ad ? 0 : f->pf_a;
	const pt_entry_t quiet = f->pf_table_a ? f->pf_quiet : 0;

	if (pte & f->pf_rsvd_table[level])
		finding(a, "I02: reserved bit set in a table pointer", gpa, level, pte);
	if ((pte & ~(a_bit | quiet)) != pte_table(f, hpa)) {
		finding(a, "I47: a table pointer with foreign bits", gpa, level, pte);
		return NULL;
	}

	struct pt_page *const t = pt_page_of(hpa);

	if (t->pd_pmap != a->au_pm || t->pd_words != host_table_words(hpa) ||
	    t->pd_level != level - 1 || pt_page_gpa(t) != gpa || t->pd_dead) {
		finding(a, "I01: points to what is not its table", gpa, level, pte);
		return NULL;
	}
	a->au_found.st_tables++;
	return t;
}

/* Spares of a table: as many as its wired superpages must keep. */
static void
audit_spares(struct audit *a, const struct pt_page *t, unsigned int wired)
{
	unsigned int n = 0;

	for (const struct pt_page *s = t->pd_spares; s != NULL; s = s->pd_next)
		n++;
	if (n != wired * pt_spares_needed(t->pd_level))
		finding(a, "I41: spare tables do not match wired superpages", pt_page_gpa(t),
			t->pd_level, n);
	a->au_found.st_spares += n;
}

/* Depth first, with the path instead of recursion. */
static void
audit_tree(struct audit *a)
{
	const struct pt_fmt *const f = &a->au_pm->pm_fmt;
	struct pt_page *path[PT_LEVELS_MAX];
	unsigned int index[PT_LEVELS_MAX] = {0};
	unsigned int wired[PT_LEVELS_MAX] = {0};
	unsigned int level = f->pf_levels - 1u;

	HOST_ASSERT(host_epoch_held());
	path[level] = a->au_pm->pm_root;
	a->au_found.st_tables = 1;
	while (level < f->pf_levels && a->au_what == NULL) {
		struct pt_page *const t = path[level];

		if (index[level] == HOST_TABLE_WORDS) {
			audit_spares(a, t, wired[level]);
			level++;
			continue;
		}

		const gpa_t gpa = pt_page_gpa(t) + index[level] * pt_level_size(level);
		const pt_entry_t pte = pte_load(&t->pd_words[index[level]++]);

		if (pte_is_table(f, pte, level)) {
			/* NULL: there is a finding, so this was the last turn. */
			path[level - 1] = audit_table(a, gpa, pte, level);
			level--;
			index[level] = 0;
			wired[level] = 0;
		} else if (pte_is_leaf(f, pte, level)) {
			audit_leaf(a, gpa, pte, level);
			wired[level] += (pte & f->pf_wired) != 0;
		} else if (pte != 0) {
			finding(a, "I12: an empty slot that is not zero", gpa, level, pte);
		}
	}
}

static void
audit_accounts(struct audit *a)
{
	struct pmap_stats st;

	pmap_stats(a->au_pm, &st);
	if (st.st_wired_pages != a->au_found.st_wired_pages)
		finding(a, "I42: wired pages miscounted", st.st_wired_pages, 0,
			a->au_found.st_wired_pages);
	if (st.st_tables != a->au_found.st_tables)
		finding(a, "I42: tables miscounted", st.st_tables, 0, a->au_found.st_tables);
	if (st.st_spares != a->au_found.st_spares)
		finding(a, "I42: spares miscounted", st.st_spares, 0, a->au_found.st_spares);
	for (unsigned int level = 0; level < PT_LEAF_LEVELS_MAX; level++) {
		if (st.st_leaves[level] != a->au_found.st_leaves[level])
			finding(a, "I42: leaves miscounted", st.st_leaves[level], level,
				a->au_found.st_leaves[level]);
	}
}

int
pmap_check(struct pmap *pm, char *why, size_t why_bytes)
{
	struct audit a = {.au_pm = pm};

	host_epoch_enter();
	audit_tree(&a);
	if (a.au_what == NULL)
		audit_accounts(&a);
	host_epoch_exit();
	if (a.au_what == NULL)
		return 0;

	struct pt_text text;

	pt_text_init(&text, why, why_bytes);
	pt_text_add(&text, a.au_what);
	pt_text_add(&text, " (at ");
	pt_text_add_hex(&text, a.au_gpa);
	pt_text_add(&text, ", level ");
	pt_text_add_dec(&text, a.au_level);
	pt_text_add(&text, ", found ");
	pt_text_add_hex(&text, a.au_pte);
	pt_text_add(&text, ")");
	return -EINVAL;
}
