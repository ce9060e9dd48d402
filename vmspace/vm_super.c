/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Superpages: when 512 pages may be shown by one entry.
 *
 * A chunk qualifies when all its pages are in memory in one run. Where the tables show nothing of
 * it yet it is entered whole; where there are single pages, they are joined in place once they
 * agree. A writable superpage is modified as a whole (pmap.h), so one that is only read is entered
 * without the right to write, and the first write to it brings the right and the modification
 * together.
 *
 * Not while the dirty log is on, which wants to know of each page alone. Not executable, if the
 * guest's mode says so.
 */

#include "vmspace/vm_priv.h"

/* Whether the 2 MiB around the decision's page may be one entry, as far as map and modes go. */
static bool
is_allowed(const struct vmspace *vs, const struct vm_decision *d)
{
	const struct vm_map_entry *const e = &d->fl_entry;
	const gpa_t start = d->fl_gpa & ~(VM_CHUNK_BYTES - 1);
	const uint64_t first = d->fl_index - d->fl_index % VM_CHUNK_PAGES;
	const uint64_t mode = host_load(&vs->vs_mode);

	if (pmap_fmt(vs->vs_pmap)->pf_leaf_levels < 2 || (mode & VM_NO_SUPERPAGES) ||
	    start < e->me_start || e->me_end - start < VM_CHUNK_BYTES)
		return false;
	if (e->me_object->ob_type == OBJT_SG)
		return ((e->me_object->ob_base + e->me_first * HOST_PAGE_SIZE - e->me_start) &
			(VM_CHUNK_BYTES - 1)) == 0;
	return (mode & VM_MODE_LOG) == 0 &&
	       d->fl_index - first == (d->fl_gpa - start) / HOST_PAGE_SIZE &&
	       first + VM_CHUNK_PAGES <= e->me_object->ob_npages;
}

static bool
is_complete(const struct vm_decision *d)
{
	const struct vm_chunk *const ch = vm_object_peek(d->fl_entry.me_object, d->fl_index);

	return ch != NULL && host_load(&ch->ch_resident) == VM_CHUNK_PAGES;
}

/* Whether single pages are mapped around gpa. */
static bool
has_table(struct vmspace *vs, gpa_t gpa)
{
	pt_entry_t entries[PT_LEVELS_MAX];
	unsigned int n;

	return pmap_walk(vs->vs_pmap, gpa, entries, &n) == 0 &&
	       n == pmap_fmt(vs->vs_pmap)->pf_levels;
}

static void
unshare_first(struct vm_object *ob, struct vm_chunk *ch, unsigned int n)
{
	while (n-- > 0)
		vm_page_unshare(ob, &ch->ch_pages[n]);
}

/* Shares all pages of a chunk if they lie in one aligned run, whose address it returns; or 0. */
static hpa_t
share_run(struct vm_object *ob, struct vm_chunk *ch)
{
	hpa_t run = 0;

	for (unsigned int i = 0; i < VM_CHUNK_PAGES; i++) {
		struct vm_page *const pg = &ch->ch_pages[i];

		if (!vm_page_share(pg)) {
			unshare_first(ob, ch, i);
			return 0;
		}
		if (i == 0)
			run = vm_page_hpa(pg);
		if ((run & (VM_CHUNK_BYTES - 1)) != 0 ||
		    vm_page_hpa(pg) != run + i * HOST_PAGE_SIZE) {
			unshare_first(ob, ch, i + 1);
			return 0;
		}
	}
	return run;
}

static unsigned int
super_prot(const struct vmspace *vs, const struct vm_decision *d)
{
	unsigned int prot = d->fl_entry.me_prot;

	if (host_load(&vs->vs_mode) & VM_NX_SUPERPAGES)
		prot &= ~PMAP_PROT_X;
	if (!(d->fl_access & PMAP_PROT_W))
		prot &= ~PMAP_PROT_W;
	return prot;
}

static int
enter_super(struct vmspace *vs, const struct vm_decision *d, hpa_t hpa, unsigned int prot,
	    enum pt_memattr memattr)
{
	const struct pmap_mapping m = {
		.pa_gpa = d->fl_gpa & ~(VM_CHUNK_BYTES - 1),
		.pa_hpa = hpa,
		.pa_prot = prot,
		.pa_access = d->fl_access,
		.pa_level = 1,
		.pa_memattr = memattr,
		.pa_wired = (d->fl_entry.me_flags & VM_MEMMAP_F_WIRED) != 0,
		.pa_revoked = &vs->vs_revoke,
		.pa_revoked_was = d->fl_seen,
	};
	const int error = pmap_enter(vs->vs_pmap, &m);

	if (error == 0)
		vm_count(vs, VM_C_SUPER_ENTERS, 1);
	/* Wired pages in the way, or no memory for what superpages need: one page, then. */
	return error == -EBUSY || error == -ENOMEM || error == -EOPNOTSUPP ? -ENOENT : error;
}

static int
enter_window(struct vmspace *vs, const struct vm_decision *d)
{
	const struct vm_map_entry *const e = &d->fl_entry;
	const gpa_t start = d->fl_gpa & ~(VM_CHUNK_BYTES - 1);
	const uint64_t first = e->me_first + (start - e->me_start) / HOST_PAGE_SIZE;

	return enter_super(vs, d, e->me_object->ob_base + first * HOST_PAGE_SIZE, e->me_prot,
			   PT_MEMATTR_UC);
}

/*
 * Under emulated A/D a right that is not there is found out by a fault as well, so nothing is lost
 * by leaving W away. What would be left without any right is entered page by page.
 */
int
vm_super_enter(struct vmspace *vs, const struct vm_decision *d)
{
	struct vm_object *const ob = d->fl_entry.me_object;
	const unsigned int prot = super_prot(vs, d);
	struct vm_chunk *ch;
	hpa_t run;
	int error;

	if (!is_allowed(vs, d))
		return -ENOENT;
	if (ob->ob_type == OBJT_SG)
		return enter_window(vs, d);
	ch = vm_object_peek(ob, d->fl_index);
	if (!is_complete(d) || (d->fl_access & ~prot) != 0 ||
	    (host_load(&ch->ch_flags) & CH_EXEC) != 0 ||
	    (pmap_fmt(vs->vs_pmap)->pf_prot_ok >> prot & 1) == 0 || has_table(vs, d->fl_gpa))
		return -ENOENT;
	run = share_run(ob, ch);
	if (run == 0)
		return -ENOENT;
	error = enter_super(vs, d, run, prot, PT_MEMATTR_WB);
	unshare_first(ob, ch, VM_CHUNK_PAGES);
	return error;
}

/* Pages of it are mapped executable, one by one, because superpages may not be. */
static bool
is_executing(const struct vmspace *vs, const struct vm_decision *d)
{
	return (host_load(&vs->vs_mode) & VM_NX_SUPERPAGES) != 0 &&
	       (vm_enter_prot(vs, d) & PMAP_PROT_X) != 0;
}

/*
 * Promotion does not ask whether it is still wanted. Under vs_sweep the modes do not change.
 */
void
vm_super_promote(struct vmspace *vs, const struct vm_decision *d)
{
	struct pmap_gather g;
	int error = -EBUSY;

	if (d->fl_entry.me_object->ob_type == OBJT_SG || !is_allowed(vs, d) || !is_complete(d))
		return;
	host_mutex_lock(&vs->vs_sweep);
	pmap_gather_begin(&g, vs->vs_pmap);
	if (is_allowed(vs, d) && !is_executing(vs, d))
		error = pmap_promote(vm_swept_pmap(vs), d->fl_gpa, 1, &g);
	pmap_gather_finish(&g);
	host_mutex_unlock(&vs->vs_sweep);
	if (error == 0)
		vm_count(vs, VM_C_PROMOTIONS, 1);
}

/* A superpage here would be executable although none may be. */
static bool
would_execute(struct vmspace *vs, gpa_t gpa)
{
	struct pmap_leaf leaf;

	return (host_load(&vs->vs_mode) & VM_NX_SUPERPAGES) != 0 &&
	       pmap_extract(vs->vs_pmap, gpa, &leaf) == 0 && (leaf.pl_prot & PMAP_PROT_X) != 0;
}

int
vm_promote(struct vmspace *vs, gpa_t gpa, unsigned int level)
{
	struct pmap_gather g;
	int error = -EBUSY;

	host_mutex_lock(&vs->vs_sweep);
	pmap_gather_begin(&g, vs->vs_pmap);
	if ((host_load(&vs->vs_mode) & (VM_MODE_LOG | VM_NO_SUPERPAGES)) == 0 &&
	    !would_execute(vs, gpa))
		error = pmap_promote(vm_swept_pmap(vs), gpa, level, &g);
	pmap_gather_finish(&g);
	host_mutex_unlock(&vs->vs_sweep);
	return error;
}

int
vm_demote(struct vmspace *vs, gpa_t gpa, unsigned int level)
{
	struct pmap_gather g;
	int error;

	host_mutex_lock(&vs->vs_sweep);
	pmap_gather_begin(&g, vs->vs_pmap);
	error = pmap_demote(vm_swept_pmap(vs), gpa, level, &g);
	pmap_gather_finish(&g);
	host_mutex_unlock(&vs->vs_sweep);
	return error;
}
