/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The walk of a guest's own page tables.
 *
 * First it only looks: every entry on the way is read once, whole, through a short hold of its
 * table, and what the walk found is a list of steps. The exception, if there is one, is known then,
 * as the manual orders it: an entry that is missing or malformed comes before all questions of
 * rights, which are those of all levels together (Intel SDM vol. 3A 4.6, 4.7).
 *
 * Then, where the access is permitted and A or D are missing, they are set, from the top down, each
 * by a compare-and-swap against the word that was read; so a guest that changed an entry meanwhile
 * never finds flags in the new one that belong to the old. If one fails the walk begins anew. The
 * tables are held for writing all together before the first flag is set, and only those that need
 * it: reading a guest's memory does not make its tables dirty.
 *
 * Entries of 4 bytes share a word with a neighbor, which is swapped along unchanged.
 */

#include "vmspace/vm_gla.h"
#include "vmspace/vm_host.h"
#include "pmap/pte.h"

/* Walks that may find a changed word; then somebody changes entries as fast as we read them. */
#define ROUNDS 64

/* The level that a CPU in PAE mode may keep in registers. */
#define PAE_TOP 2

/* One entry that was read. */
struct step {
	gpa_t st_gpa;	       /* of the word it lies in */
	unsigned int st_shift; /* where in that word */
	pt_entry_t st_word;
	pt_entry_t st_missing; /* flags to set in it */
};

struct walk {
	struct vmspace *wk_vs;
	const struct vm_guest_paging *wk_paging;
	uint64_t wk_gla;
	unsigned int wk_access;
	unsigned int wk_nsteps;
	struct step wk_steps[PT_LEVELS_MAX];
	struct pt_guest_fmt wk_fmt;
};

/* What the levels grant together. */
struct rights {
	bool rt_w;
	bool rt_u;
	bool rt_x;
};

/* ---- Exceptions ------------------------------------------------------------------------------ */

static int
raise_gp(struct vm_gla *out)
{
	out->gl_exception = (struct vm_guest_exception){.ge_vector = VM_VECTOR_GP};
	return VM_GLA_EXCEPTION;
}

static int
raise_pf(const struct walk *wk, uint32_t why, struct vm_gla *out)
{
	const struct vm_guest_paging *const g = wk->wk_paging;
	const bool fetches_known = g->gp_smep || (g->gp_nxe && g->gp_mode != PT_GUEST_32BIT);
	uint32_t code = why;

	if (wk->wk_access & PMAP_PROT_W)
		code |= VM_PF_W;
	if (g->gp_cpl == 3)
		code |= VM_PF_U;
	if ((wk->wk_access & PMAP_PROT_X) && fetches_known)
		code |= VM_PF_I;
	out->gl_exception = (struct vm_guest_exception){
		.ge_vector = VM_VECTOR_PF,
		.ge_error_code = code,
		.ge_cr2 = wk->wk_gla,
	};
	return VM_GLA_EXCEPTION;
}

/* SDM vol. 3A 4.6.1. */
static bool
permits(const struct vm_guest_paging *g, const struct rights *r, unsigned int access)
{
	const bool user = g->gp_cpl == 3;
	const bool fetch = (access & PMAP_PROT_X) != 0;

	if (user && !r->rt_u)
		return false;
	if (!user && r->rt_u && (fetch ? g->gp_smep : g->gp_smap && !g->gp_ac))
		return false;
	if (fetch)
		return r->rt_x;
	if (access & PMAP_PROT_W)
		return r->rt_w || (!user && !g->gp_wp);
	return true;
}

/* ---- Tables ---------------------------------------------------------------------------------- */

/* Holds a word of a table. What is wrong with the guest's choice of an address is -EFAULT. */
static int
hold_word(const struct walk *wk, gpa_t gpa, unsigned int prot, struct vm_hold *hold,
	  struct vm_gla *out)
{
	const int error =
		vm_gpa_hold(wk->wk_vs, gpa, sizeof(pt_entry_t), prot, hold, &out->gl_record);

	return error == -EINVAL || error == -EACCES ? -EFAULT : error;
}

static struct host_word *
held_word(const struct vm_hold *hold)
{
	return host_page_word(hold->vh_pages[0].hp_hpa, hold->vh_offset);
}

/* Reads an entry of the table at `table`, as a step that has nothing to set yet. */
static int
read_entry(struct walk *wk, gpa_t table, unsigned int level, pt_entry_t *pte, struct vm_gla *out)
{
	const struct vm_guest_paging *const g = wk->wk_paging;
	const struct pt_guest_level *const l = &wk->wk_fmt.gf_level[level];
	const unsigned int index = (wk->wk_gla >> l->gl_shift) & ((1u << l->gl_index_bits) - 1);
	const gpa_t at = table + ((gpa_t)index << wk->wk_fmt.gf_entry_lg2_bytes);
	struct step *const st = &wk->wk_steps[wk->wk_nsteps++];
	struct vm_hold hold;
	int error;

	*st = (struct step){
		.st_gpa = at & ~(gpa_t)(sizeof(pt_entry_t) - 1),
		.st_shift = 8 * (at & (sizeof(pt_entry_t) - 1)),
	};
	if (g->gp_mode == PT_GUEST_PAE && level == PAE_TOP && g->gp_pdpte_loaded) {
		*pte = g->gp_pdpte[index];
		return 0;
	}
	error = hold_word(wk, st->st_gpa, PMAP_PROT_R, &hold, out);
	if (error != 0)
		return error;
	st->st_word = pte_load_acquire(held_word(&hold));
	vm_gpa_release(&hold);
	*pte = st->st_word >> st->st_shift;
	if (wk->wk_fmt.gf_entry_lg2_bytes == 2)
		*pte = (uint32_t)*pte;
	return 0;
}

/* ---- Looking --------------------------------------------------------------------------------- */

static void
translated(struct walk *wk, pt_entry_t pte, const struct pt_guest_level *l, struct vm_gla *out)
{
	const uint64_t bytes = (uint64_t)1 << l->gl_shift;

	out->gl_page_bytes = bytes;
	out->gl_gpa = (pte & l->gl_addr & ~(bytes - 1)) |
		      ((pte & l->gl_frame_high) << l->gl_frame_shift) | (wk->wk_gla & (bytes - 1));
	out->gl_unmarked = false;
	for (unsigned int i = 0; i < wk->wk_nsteps; i++)
		out->gl_unmarked |= wk->wk_steps[i].st_missing != 0;
}

/* Walks once, changes nothing. */
static int
look(struct walk *wk, struct vm_gla *out)
{
	const struct pt_guest_fmt *const f = &wk->wk_fmt;
	const bool writes = (wk->wk_access & PMAP_PROT_W) != 0;
	struct rights r = {true, true, true};
	gpa_t table = wk->wk_paging->gp_cr3 & f->gf_root;
	unsigned int level = f->gf_levels;
	bool leaf = false;

	wk->wk_nsteps = 0;
	while (!leaf) {
		const struct pt_guest_level *const l = &f->gf_level[--level];
		struct step *const st = &wk->wk_steps[wk->wk_nsteps];
		pt_entry_t pte, wanted = 0;
		const int error = read_entry(wk, table, level, &pte, out);

		if (error != 0)
			return error;
		if (!(pte & f->gf_valid))
			return raise_pf(wk, 0, out);
		leaf = level == 0 || (pte & l->gl_ps) != 0;
		if (pte & l->gl_rsvd[leaf])
			return raise_pf(wk, VM_PF_P | VM_PF_RSVD, out);
		if (!l->gl_bare) {
			r.rt_w = r.rt_w && (pte & f->gf_rw) != 0;
			r.rt_u = r.rt_u && (pte & f->gf_us) != 0;
			r.rt_x = r.rt_x && (pte & f->gf_nx) == 0;
			wanted = f->gf_a | (leaf && writes ? f->gf_m : 0);
		}
		st->st_missing = (wanted & ~pte) << st->st_shift;
		table = pte & l->gl_addr;
		if (leaf)
			translated(wk, pte, l, out);
	}
	return permits(wk->wk_paging, &r, wk->wk_access) ? 0 : raise_pf(wk, VM_PF_P, out);
}

/* ---- Marking --------------------------------------------------------------------------------- */

/* Sets what the steps miss. -EAGAIN: a word is not what it was. */
static int
mark(struct walk *wk, struct vm_gla *out)
{
	struct vm_hold holds[PT_LEVELS_MAX];
	unsigned int held = 0;
	int error = 0;

	while (held < wk->wk_nsteps && error == 0) {
		const struct step *const st = &wk->wk_steps[held];

		if (st->st_missing != 0)
			error = hold_word(wk, st->st_gpa, PMAP_PROT_RW, &holds[held], out);
		if (error == 0)
			held++;
	}
	for (unsigned int i = 0; i < held && error == 0; i++) {
		struct step *const st = &wk->wk_steps[i];

		if (st->st_missing == 0)
			continue;
		if (!pte_cas(held_word(&holds[i]), &st->st_word, st->st_word | st->st_missing))
			error = -EAGAIN;
		/* A table may show itself at several levels. */
		for (unsigned int k = i + 1; k < wk->wk_nsteps && error == 0; k++)
			if (wk->wk_steps[k].st_gpa == st->st_gpa)
				wk->wk_steps[k].st_word |= st->st_missing;
	}
	while (held-- > 0)
		if (wk->wk_steps[held].st_missing != 0)
			vm_gpa_release(&holds[held]);
	return error;
}

/* ---- Translations ---------------------------------------------------------------------------- */

static bool
is_canonical(uint64_t gla, unsigned int bits)
{
	return (uint64_t)((int64_t)(gla << (64 - bits)) >> (64 - bits)) == gla;
}

static bool
access_known(unsigned int access)
{
	return access == PMAP_PROT_R || access == PMAP_PROT_W || access == PMAP_PROT_RW ||
	       access == PMAP_PROT_X;
}

static int
walk_init(struct walk *wk, struct vmspace *vs, const struct vm_guest_paging *g, uint64_t gla,
	  unsigned int access)
{
	const struct pt_guest_caps caps = {
		.gc_mode = g->gp_mode,
		.gc_phys_bits = g->gp_phys_bits,
		.gc_nx = g->gp_nxe,
		.gc_pse = g->gp_pse,
		.gc_1g = g->gp_1g,
	};

	wk->wk_vs = vs;
	wk->wk_paging = g;
	wk->wk_gla = gla;
	wk->wk_access = access;
	if (!access_known(access) || pt_guest_fmt_init(&wk->wk_fmt, &caps) != 0)
		return -EINVAL;
	if (!wk->wk_fmt.gf_sign_extended && gla >> wk->wk_fmt.gf_linear_bits != 0)
		return -EINVAL;
	return 0;
}

static int
translate(struct vmspace *vs, const struct vm_guest_paging *g, uint64_t gla, unsigned int access,
	  bool effects, struct vm_gla *out)
{
	struct walk wk;
	int rc = walk_init(&wk, vs, g, gla, access);

	if (rc != 0)
		return rc;
	if (wk.wk_fmt.gf_levels == 0) {
		out->gl_gpa = gla;
		out->gl_page_bytes = HOST_PAGE_SIZE;
		out->gl_unmarked = false;
		return 0;
	}
	if (wk.wk_fmt.gf_sign_extended && !is_canonical(gla, wk.wk_fmt.gf_linear_bits))
		return raise_gp(out);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		rc = look(&wk, out);
		if (rc != 0 || !out->gl_unmarked || !effects)
			return rc;
		rc = mark(&wk, out);
		if (rc == 0)
			out->gl_unmarked = false;
		if (rc != -EAGAIN)
			return rc;
		host_relax();
	}
	return -EAGAIN;
}

int
vm_gla2gpa(struct vmspace *vs, const struct vm_guest_paging *paging, uint64_t gla,
	   unsigned int access, struct vm_gla *out)
{
	return translate(vs, paging, gla, access, true, out);
}

int
vm_gla2gpa_nofault(struct vmspace *vs, const struct vm_guest_paging *paging, uint64_t gla,
		   unsigned int access, struct vm_gla *out)
{
	return translate(vs, paging, gla, access, false, out);
}
