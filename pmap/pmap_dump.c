/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The tree as text: a line for each table, and one for each run of leaves that continue each other.
 */

#include "pmap/pmap_priv.h"
#include "pmap/pt_text.h"

#define DUMP_LINE_BYTES 160

struct dump {
	struct pmap *du_pm;
	void (*du_put)(void *arg, const char *line);
	void *du_arg;
	gpa_t du_gpa; /* the run so far: its first leaf */
	pt_entry_t du_pte;
	unsigned int du_level;
	uint64_t du_leaves;
};

static const char *const memattr_names[PT_MEMATTR_COUNT] = {"WB", "UC", "WC", "WT", "WP"};

static void
indent(struct pt_text *line, const struct dump *d, unsigned int level)
{
	for (unsigned int i = d->du_pm->pm_fmt.pf_levels; i > level; i--)
		pt_text_add(line, "  ");
}

static void
put_run(struct dump *d)
{
	char buf[DUMP_LINE_BYTES];
	struct pt_text line;
	struct pmap_leaf leaf;

	if (d->du_leaves == 0)
		return;
	pmap_leaf_of(d->du_pm, d->du_gpa, d->du_pte, d->du_level, &leaf);
	pt_text_init(&line, buf, sizeof(buf));
	indent(&line, d, d->du_level);
	pt_text_add_hex(&line, leaf.pl_gpa);
	pt_text_add(&line, " -> ");
	pt_text_add_hex(&line, leaf.pl_hpa);
	pt_text_add(&line, d->du_level == 0 ? " 4K x " : d->du_level == 1 ? " 2M x " : " 1G x ");
	pt_text_add_dec(&line, d->du_leaves);
	pt_text_add(&line, leaf.pl_prot & PMAP_PROT_R ? " r" : " -");
	pt_text_add(&line, leaf.pl_prot & PMAP_PROT_W ? "w" : "-");
	pt_text_add(&line, leaf.pl_prot & PMAP_PROT_X ? "x " : "- ");
	pt_text_add(&line, memattr_names[leaf.pl_memattr]);
	pt_text_add(&line, leaf.pl_accessed ? " A" : " -");
	pt_text_add(&line, leaf.pl_modified ? "M" : "-");
	pt_text_add(&line, leaf.pl_wired ? " wired" : "");
	d->du_put(d->du_arg, buf);
	d->du_leaves = 0;
}

static void
put_leaf(struct dump *d, gpa_t gpa, pt_entry_t pte, unsigned int level)
{
	const uint64_t span = d->du_leaves * pt_level_size(d->du_level);

	if (d->du_leaves == 0 || d->du_level != level || d->du_gpa + span != gpa ||
	    d->du_pte + span != pte) {
		put_run(d);
		d->du_gpa = gpa;
		d->du_pte = pte;
		d->du_level = level;
	}
	d->du_leaves++;
}

static void
put_table(struct dump *d, const struct pt_page *t)
{
	char buf[DUMP_LINE_BYTES];
	struct pt_text line;

	HOST_ASSERT(host_epoch_held());
	put_run(d);
	pt_text_init(&line, buf, sizeof(buf));
	indent(&line, d, t->pd_level + 1);
	pt_text_add_hex(&line, pt_page_gpa(t));
	pt_text_add(&line, " table ");
	pt_text_add_hex(&line, pt_page_hpa(t));
	pt_text_add(&line, " level ");
	pt_text_add_dec(&line, t->pd_level);
	d->du_put(d->du_arg, buf);
}

void
pmap_dump(struct pmap *pm, void (*put)(void *arg, const char *line), void *arg)
{
	const struct pt_fmt *const f = &pm->pm_fmt;
	struct dump d = {.du_pm = pm, .du_put = put, .du_arg = arg};
	struct pt_page *path[PT_LEVELS_MAX];
	unsigned int index[PT_LEVELS_MAX] = {0};
	unsigned int level = f->pf_levels - 1u;

	host_epoch_enter();
	path[level] = pm->pm_root;
	put_table(&d, pm->pm_root);
	while (level < f->pf_levels) {
		const struct pt_page *const t = path[level];

		if (index[level] == HOST_TABLE_WORDS) {
			level++;
			continue;
		}

		const gpa_t gpa = pt_page_gpa(t) + index[level] * pt_level_size(level);
		const pt_entry_t pte = pte_load_acquire(&t->pd_words[index[level]++]);

		if (pte_is_table(f, pte, level)) {
			level--;
			path[level] = pt_page_of(pte_hpa(f, pte, 0));
			index[level] = 0;
			put_table(&d, path[level]);
		} else if (pte_is_leaf(f, pte, level)) {
			put_leaf(&d, gpa, pte, level);
		}
	}
	put_run(&d);
	host_epoch_exit();
}
