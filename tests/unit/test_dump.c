/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Looking inside: the text of a dump, and an auditor that must find each kind of damage. Damage is
 * done by writing entries and descriptors behind the core's back, and undone before the end.
 */

#include "tests/unit/pmap_fixture.h"
#include "pmap/pmap_priv.h"
#include "pmap/pt_text.h"

#include <stdio.h>
#include <string.h>

#define AT (7 * GIB)

/* ---- Dump ------------------------------------------------------------------------------------ */

/* The dump with addresses of tables, which differ from run to run, as T. */
static void
dump(struct fx *x, char *text, size_t bytes)
{
	struct fx_picture p;
	size_t used = 0;

	fx_picture(x, &p);
	for (const char *s = p.pi_text; *s != '\0' && used + 2 < bytes;) {
		text[used++] = *s++;
		if (used >= 7 && memcmp(&text[used - 7], " table ", 7) == 0) {
			text[used++] = 'T';
			s += strcspn(s, " \n");
		}
	}
	text[used] = '\0';
	fx_picture_free(&p);
}

static const char golden[] = "0x0 table T level 3\n"
			     "  0x0 table T level 2\n"
			     "    0x40000000 table T level 1\n"
			     "      0x40000000 table T level 0\n"
			     "        0x40000000 -> 0x200000000 4K x 3 rwx WB AM\n"
			     "        0x40003000 -> 0x200003000 4K x 1 r-- UC --\n"
			     "        0x40005000 -> 0x200005000 4K x 1 r-x WB A- wired\n"
			     "      0x40200000 -> 0x240000000 2M x 2 rw- WT AM\n"
			     "      0x40600000 -> 0x240400000 2M x 1 r-x WT --\n"
			     "      0x7fe00000 -> 0x27fe00000 2M x 1 r-- WB A-\n"
			     "    0x80000000 -> 0x280000000 1G x 1 r-- WB A-\n"
			     "  0xff8000000000 table T level 2\n"
			     "    0xffffc0000000 table T level 1\n"
			     "      0xffffffe00000 table T level 0\n"
			     "        0xfffffffff000 -> 0x200000000 4K x 1 rw- WB --\n";

Test(dump, golden_text)
{
	static const struct pmap_mapping maps[] = {
		{.pa_gpa = GIB, .pa_hpa = FX_HPA, .pa_prot = PMAP_PROT_RWX, .pa_access = 7},
		{.pa_gpa = GIB + PAGE,
		 .pa_hpa = FX_HPA + PAGE,
		 .pa_prot = PMAP_PROT_RWX,
		 .pa_access = 7},
		{.pa_gpa = GIB + 2 * PAGE,
		 .pa_hpa = FX_HPA + 2 * PAGE,
		 .pa_prot = PMAP_PROT_RWX,
		 .pa_access = 7},
		{.pa_gpa = GIB + 3 * PAGE,
		 .pa_hpa = FX_HPA + 3 * PAGE,
		 .pa_prot = PMAP_PROT_R,
		 .pa_memattr = PT_MEMATTR_UC},
		{.pa_gpa = GIB + 5 * PAGE,
		 .pa_hpa = FX_HPA + 5 * PAGE,
		 .pa_prot = PMAP_PROT_RX,
		 .pa_access = PMAP_PROT_X,
		 .pa_wired = true},
		{.pa_gpa = GIB + 2 * MIB,
		 .pa_hpa = 9 * GIB,
		 .pa_prot = PMAP_PROT_RW,
		 .pa_level = 1,
		 .pa_memattr = PT_MEMATTR_WT},
		{.pa_gpa = GIB + 4 * MIB,
		 .pa_hpa = 9 * GIB + 2 * MIB,
		 .pa_prot = PMAP_PROT_RW,
		 .pa_level = 1,
		 .pa_memattr = PT_MEMATTR_WT},
		{.pa_gpa = GIB + 6 * MIB,
		 .pa_hpa = 9 * GIB + 4 * MIB,
		 .pa_prot = PMAP_PROT_RX,
		 .pa_level = 1,
		 .pa_memattr = PT_MEMATTR_WT},
		/* It goes on as this one ends, but is of another size. */
		{.pa_gpa = 2 * GIB - 2 * MIB,
		 .pa_hpa = 10 * GIB - 2 * MIB,
		 .pa_prot = PMAP_PROT_R,
		 .pa_level = 1,
		 .pa_access = PMAP_PROT_R},
		{.pa_gpa = 2 * GIB,
		 .pa_hpa = 10 * GIB,
		 .pa_prot = PMAP_PROT_R,
		 .pa_level = 2,
		 .pa_access = PMAP_PROT_R},
		{.pa_gpa = ((uint64_t)1 << 48) - PAGE, .pa_hpa = FX_HPA, .pa_prot = PMAP_PROT_RW},
	};
	static const char *const names[] = {"ept", "ept-noad", "rvi-4"};

	/* The same in every format. */
	for (unsigned int k = 0; k < 3; k++) {
		char text[2000];
		struct fx x;

		world_begin(NULL);
		fx_open(&x, fx_format(names[k]), 0);
		for (unsigned int i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
			fx_assert(pmap_enter(x.fx_pm, &maps[i]) == 0);
		dump(&x, text, sizeof(text));
		if (strcmp(text, golden) != 0)
			fx_fail("got:\n%s", text);
		fx_remove(&x, 0, x.fx_limit);
		dump(&x, text, sizeof(text));
		fx_assert(strcmp(text, "0x0 table T level 3\n") == 0);
		fx_close(&x);
		CHECK(true);
		world_end();
	}
}

/* Where a table is, as its parent says; addresses differ from run to run, so no text tells them. */
static void
table_address(void *arg, const char *line)
{
	struct fx *const x = arg;
	pt_entry_t entries[PT_LEVELS_MAX];
	unsigned long long gpa, hpa;
	unsigned int level, n;

	if (sscanf(line, " %llx table %llx level %u", &gpa, &hpa, &level) != 3)
		return;
	x->fx_nnotes++;
	if (level == x->fx_fmt->pf_levels - 1u) {
		fx_assert(hpa == pmap_root(x->fx_pm));
		return;
	}
	fx_assert(pmap_walk(x->fx_pm, gpa, entries, &n) == 0);
	fx_assert(n > x->fx_fmt->pf_levels - 2u - level);
	fx_assert(hpa == pte_hpa(x->fx_fmt, entries[x->fx_fmt->pf_levels - 2u - level], 0));
}

static void
table_addresses(struct fx *x)
{
	static const gpa_t at[] = {AT, AT + 2 * MIB, AT + GIB};

	for (unsigned int i = 0; i < 3; i++)
		fx_assert(fx_enter(x, at[i], FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, 0) == 0);
	fx_forget(x);
	pmap_dump(x->fx_pm, table_address, x);
	fx_assert(x->fx_nnotes == fx_stats(x).st_tables);
	fx_forget(x);
}

Test(dump, table_addresses)
{
	fx_each(table_addresses);
}

Test(dump, text_is_bounded)
{
	char buf[8] = "#######";
	struct pt_text t;

	pt_text_init(&t, buf, 0);
	pt_text_add(&t, "x");
	cr_assert_str_eq(buf, "#######");
	pt_text_init(&t, buf, 1);
	pt_text_add_dec(&t, 5);
	cr_assert_str_eq(buf, "");
	cr_assert_eq(buf[1], '#');
	pt_text_init(&t, buf, 7);
	pt_text_add_hex(&t, 0);
	pt_text_add(&t, ",");
	pt_text_add_dec(&t, ~(uint64_t)0);
	cr_assert_str_eq(buf, "0x0,18");
	pt_text_init(&t, buf, sizeof(buf));
	pt_text_add_hex(&t, 0xabcde);
	cr_assert_str_eq(buf, "0xabcde");
}

/* ---- The auditor ----------------------------------------------------------------------------- */

/* Whether pmap_check() says what was damaged, by the beginning of its sentence. */
static void
finds(struct fx *x, const char *what)
{
	char why[FX_WHY_BYTES] = "";
	char small[8];

	if (pmap_check(x->fx_pm, why, sizeof(why)) != -EINVAL ||
	    strncmp(why, what, strlen(what)) != 0)
		fx_fail("expected \"%s\", got \"%s\"", what, why);
	/* As much of it as there is room for. */
	fx_assert(pmap_check(x->fx_pm, small, sizeof(small)) == -EINVAL);
	fx_assert(strlen(small) == sizeof(small) - 1);
	fx_assert(strncmp(small, why, sizeof(small) - 1) == 0);
	fx_assert(pmap_check(x->fx_pm, NULL, 0) == -EINVAL);
}

/* Damage to one entry; mended at once. */
static void
finds_entry(struct fx *x, struct host_word *w, pt_entry_t damaged, const char *what)
{
	const pt_entry_t was = host_load(w);

	fx_check(x);
	fx_assert(damaged != was);
	host_store(w, damaged);
	finds(x, what);
	host_store(w, was);
	fx_check(x);
}

static void
leaves(struct fx *x)
{
	const struct pt_fmt *const f = x->fx_fmt;
	struct host_word *w;
	pt_entry_t pte;

	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, 0) == 0);
	w = fx_word(x, AT);
	pte = host_load(w);
	finds_entry(x, w, pte | (uint64_t)1 << 57, "I47:"); /* nobody's bit */
	finds_entry(x, w, pte | f->pf_frozen, "I47:");
	finds_entry(x, w, pte | f->pf_m, "I27:");
	if (f->pf_rsvd_leaf[0] != 0)
		finds_entry(x, w, pte | (f->pf_rsvd_leaf[0] & -f->pf_rsvd_leaf[0]), "I02:");
	finds_entry(x, w + 1, f->pf_frozen, "I12:");
	finds_entry(x, w + 1, FX_HPA, "I12:");
	if (f->pf_emulated_ad) {
		/* A write right without the read right is a misconfiguration of EPT. */
		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RW, PMAP_PROT_W, 0) == 0);
		finds_entry(x, w, host_load(w) & ~f->pf_a, "I03:");
	}
	/* Rights that the format does not have. */
	if (f->pf_emulated_ad || x->fx_format->ff_type != PT_EPT)
		return;
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RW, PMAP_PROT_R, 0) == 0);
	finds_entry(x, w, host_load(w) & ~(pt_entry_t)1, "I02:");
}

Test(audit, leaves)
{
	fx_each(leaves);
}

static void
superpages(struct fx *x)
{
	const struct pt_fmt *const f = x->fx_fmt;

	for (unsigned int level = 1; level < x->fx_levels; level++) {
		struct host_word *w;

		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, 0, level) == 0);
		w = fx_word(x, AT);
		finds_entry(x, w, host_load(w) & ~f->pf_m, "I08:");
		finds_entry(x, w, host_load(w) | (1u << 20), "I02:"); /* within the frame's size */
		finds_entry(x, w, 0, "I42:");
		fx_remove(x, 0, x->fx_limit);
	}
	/* A size that the CPU does not have. */
	if (x->fx_levels == 3)
		return;
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, x->fx_levels - 1) == 0);

	const gpa_t beside = AT + pt_level_size(x->fx_levels);
	struct host_word *const w = fx_word(x, beside);

	finds_entry(x, w, f->pf_valid | f->pf_ps | FX_HPA, "I02:");
}

Test(audit, superpages)
{
	fx_each(superpages);
}

static void
pointers(struct fx *x)
{
	const struct pt_fmt *const f = x->fx_fmt;
	struct pt_page *const root = pt_page_of(pmap_root(x->fx_pm));
	struct host_word *const w = &root->pd_words[pt_index(AT, f->pf_levels - 1u)];
	struct pt_page *t;
	pt_entry_t pte;

	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, 0) == 0);
	pte = host_load(w);
	t = pt_page_of(pte_hpa(f, pte, 0));
	finds_entry(x, w, pte | (uint64_t)1 << 57, "I47: a table pointer");
	finds_entry(x, w, (pte & ~f->pf_addr) | pmap_root(x->fx_pm), "I01:");
	finds_entry(x, w + (w == root->pd_words ? 1 : -1), pte, "I01:"); /* linked twice */
	if (x->fx_format->ff_caps.pc_phys_bits < 52)
		finds_entry(x, w, pte | (uint64_t)1 << 51, "I02: reserved bit set in a table");
	/* A with hardware flags is right, under emulation it is part of every pointer. */
	if (!f->pf_emulated_ad)
		fx_assert(!(pte & f->pf_a));
	host_store(w, pte | f->pf_a);
	fx_check(x);
	host_store(w, pte);

	t->pd_dead = true;
	finds(x, "I01:");
	t->pd_dead = false;
	t->pd_level++;
	finds(x, "I01:");
	t->pd_level--;
	t->pd_region_low++;
	finds(x, "I01:");
	t->pd_region_low--;
	t->pd_region_high++;
	finds(x, "I01:");
	t->pd_region_high--;
	t->pd_words++;
	finds(x, "I01:");
	t->pd_words--;
	t->pd_pmap = NULL;
	finds(x, "I01:");
	t->pd_pmap = x->fx_pm;
}

Test(audit, tables)
{
	fx_each(pointers);
}

static void
accounts(struct fx *x)
{
	static const struct {
		unsigned int counter;
		const char *what;
	} rows[] = {
		{PMAP_C_WIRED, "I42: wired"},	    {PMAP_C_TABLES, "I42: tables"},
		{PMAP_C_SPARES, "I42: spares"},	    {PMAP_C_LEAVES, "I42: leaves"},
		{PMAP_C_LEAVES + 2, "I42: leaves"},
	};
	struct pmap_cpu *const mine = &x->fx_pm->pm_cpus[host_cpu()];

	fx_assert(fx_enter_wired(x, AT, FX_HPA, PMAP_PROT_RX, x->fx_levels - 1) == 0);
	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		host_count(&mine->pc_word[rows[i].counter], 1);
		finds(x, rows[i].what);
		host_count(&mine->pc_word[rows[i].counter], (uint64_t)-1);
		fx_check(x);
	}
	/* Spares are held by the table above the superpage. */
	if (x->fx_levels == 1)
		return;

	pt_entry_t entries[PT_LEVELS_MAX];
	unsigned int n;

	fx_assert(pmap_walk(x->fx_pm, AT, entries, &n) == 0);

	struct pt_page *const t = pt_page_of(pte_hpa(x->fx_fmt, entries[n - 2], 0));
	struct pt_page *const first = t->pd_spares;

	t->pd_spares = first->pd_next;
	finds(x, "I41:");
	t->pd_spares = first;
}

Test(audit, accounts)
{
	fx_each(accounts);
}

/* A walk shows the entries as they are, top down, also where it ends early. */
static void
walk(struct fx *x)
{
	pt_entry_t entries[PT_LEVELS_MAX];
	const unsigned int levels = x->fx_fmt->pf_levels;
	unsigned int n = 0;

	for (unsigned int level = 0; level < x->fx_levels; level++) {
		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, level) == 0);
		fx_assert(pmap_walk(x->fx_pm, AT + PAGE - 1, entries, &n) == 0);
		fx_assert(n == levels - level);
		for (unsigned int i = 0; i + 1 < n; i++) {
			const struct pt_page *t = pt_page_of(pte_hpa(x->fx_fmt, entries[i], 0));

			fx_assert(t->pd_level == levels - 2 - i);
			fx_assert(entries[i] == pte_table(x->fx_fmt, pt_page_hpa(t)));
		}
		fx_assert(entries[n - 1] == host_load(fx_word(x, AT)));
		/* Beside it: the same way, and nothing at its end. */
		fx_assert(pmap_walk(x->fx_pm, AT + pt_level_size(level), entries, &n) == 0);
		fx_assert(n == levels - level && entries[n - 1] == 0);
		fx_remove(x, 0, x->fx_limit);
	}
}

Test(dump, walk)
{
	fx_each(walk);
}
