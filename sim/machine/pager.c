/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Pagers: where this host keeps the pages of system memory of guests that want it so.
 *
 * A page that was put has left its frame as far as anybody but the host knows: to touch the frame
 * is a use after free, and a translation to it that a CPU may still use is as bad as of one that
 * was freed. The host keeps some of these frames for a while, alone or in runs of 2 MiB, and gives
 * the others up at once; so a page comes back in its old frame, in another one, from memory or from
 * the disk, which takes its time and fails. Frames that are kept go when there are no others.
 *
 * What was put dirty is copied at that instant. What was put clean, and is not what was got, comes
 * back as either: a caller that changed a page and did not say so meets both.
 */

#include <inttypes.h>
#include <string.h>

#include "sim/machine/machine_priv.h"
#include "sim/machine/machine_vm.h"

#define RUN SIM_TABLE_WORDS /* pages */
#define MAGIC 0x70616765u

/* What the host does of itself, once in so many times. */
#define ODDS_LARGE 4   /* it has 2 MiB at hand for what was not there yet */
#define ODDS_NO_RUN 8  /* there is no run, for whatever reason */
#define ODDS_RECLAIM 4 /* a frame that it kept goes */

struct pager_page {
	struct pager_page *pp_next, *pp_prev; /* frames that are kept, longest first */
	uint64_t pp_hpa;		      /* 0: in no frame */
	char *pp_store;			      /* contents as they were put dirty; NULL: zeros */
	uint32_t pp_got;
	bool pp_busy; /* being read from the disk */
	bool pp_cold; /* pp_store is on the disk */
};

struct host_pager {
	uint64_t pr_npages;
	uint64_t pr_got; /* pages, as often as they were got */
	uint32_t pr_magic;
	struct pager_page *pr_chunks[]; /* of RUN pages each; NULL: zeros */
};

static uint64_t
chunk_count(uint64_t npages)
{
	return npages / RUN + (npages % RUN != 0);
}

static void
check_pager(const struct host_pager *p, const char *what)
{
	if (p == NULL || p->pr_magic != MAGIC)
		sim_violation("CK-API", "I43", "%s with no pager, or one that is gone", what);
}

/* NULL: no memory. */
static struct pager_page *
page_at(struct host_pager *p, uint64_t index, const char *what)
{
	if (index >= p->pr_npages)
		sim_violation("CK-API", "I39", "%s: page %" PRIu64 " of %" PRIu64, what, index,
			      p->pr_npages);

	struct pager_page **chunk = &p->pr_chunks[index / RUN];
	if (*chunk == NULL)
		*chunk = sim_alloc(RUN * sizeof **chunk);
	return *chunk != NULL ? &(*chunk)[index % RUN] : NULL;
}

/* ---- Frames that are kept ---- */

static void
keep(struct sim_machine *m, struct pager_page *pp)
{
	pp->pp_next = NULL;
	pp->pp_prev = m->m_kept_last;
	if (m->m_kept_last != NULL)
		m->m_kept_last->pp_next = pp;
	else
		m->m_kept_first = pp;
	m->m_kept_last = pp;
	phys_set_kind(sim_frame_at(pp->pp_hpa), SIM_FRAME_KEPT);
}

static void
unkeep(struct sim_machine *m, struct pager_page *pp)
{
	if (pp->pp_prev != NULL)
		pp->pp_prev->pp_next = pp->pp_next;
	else
		m->m_kept_first = pp->pp_next;
	if (pp->pp_next != NULL)
		pp->pp_next->pp_prev = pp->pp_prev;
	else
		m->m_kept_last = pp->pp_prev;
	phys_set_kind(sim_frame_at(pp->pp_hpa), SIM_FRAME_DATA);
}

/* Its contents are in the store, or zeros. */
static void
reclaim(struct sim_machine *m, struct pager_page *pp, bool cold)
{
	uint64_t hpa = pp->pp_hpa;

	unkeep(m, pp);
	sim_frame_at(hpa)->fr_pager = false;
	pp->pp_hpa = 0;
	pp->pp_cold = cold && pp->pp_store != NULL;
	m->m_ct.ct_pager_reclaimed++;
	sim_frame_free(hpa, 0);
}

bool
pager_shrink(struct sim_machine *m)
{
	bool any = m->m_kept_first != NULL;

	while (m->m_kept_first != NULL)
		reclaim(m, m->m_kept_first, true);
	return any;
}

static void
reclaim_some(struct sim_machine *m)
{
	if (m->m_kept_first != NULL && sim_choose(SIM_CHOICE_HW, ODDS_RECLAIM) == 0)
		reclaim(m, m->m_kept_first, sim_choose(SIM_CHOICE_HW, 2) != 0);
}

/* ---- Life ---- */

bool
sim_has_pager(void)
{
	return sim_the_machine->m_cfg.sc_pager;
}

int
sim_pager_create(uint64_t npages, struct host_pager **out)
{
	struct sim_machine *m = sim_the_machine;
	struct host_pager *p = NULL;

	mutex_check_may_sleep(m, "host_pager_create()");
	if (!m->m_cfg.sc_pager || npages == 0)
		sim_violation("CK-API", "", "host_pager_create(%" PRIu64 ") on a host with%s pager",
			      npages, m->m_cfg.sc_pager ? " a" : "out");
	point(m, SIM_ALLOC);
	if (!sim_fault(SIM_FAULT_ALLOC))
		p = sim_alloc(sizeof *p + chunk_count(npages) * sizeof(struct pager_page *));
	trace(m, SIM_ALLOC, npages, p != NULL);
	if (p == NULL)
		return -ENOMEM;
	p->pr_npages = npages;
	p->pr_magic = MAGIC;
	m->m_npagers++;
	*out = p;
	return 0;
}

static void
forget(struct pager_page *pp)
{
	sim_free(pp->pp_store, SIM_PAGE_SIZE);
	pp->pp_store = NULL;
	pp->pp_cold = false;
}

void
sim_pager_destroy(struct host_pager *p)
{
	struct sim_machine *m = sim_the_machine;
	uint64_t n = p != NULL ? chunk_count(p->pr_npages) : 0;

	check_pager(p, "host_pager_destroy()");
	mutex_check_may_sleep(m, "host_pager_destroy()");
	point(m, SIM_FREE);
	trace(m, SIM_FREE, p->pr_npages, 0);
	if (p->pr_got != 0)
		sim_violation("CK-API", "I43",
			      "host_pager_destroy(): %" PRIu64 " pages were not put", p->pr_got);
	for (uint64_t c = 0; c < n; c++) {
		for (unsigned int i = 0; p->pr_chunks[c] != NULL && i < RUN; i++) {
			struct pager_page *pp = &p->pr_chunks[c][i];
			if (pp->pp_hpa != 0)
				reclaim(m, pp, false);
			forget(pp);
		}
		sim_free(p->pr_chunks[c], RUN * sizeof *p->pr_chunks[c]);
	}
	p->pr_magic = 0;
	m->m_npagers--;
	sim_free(p, sizeof *p + n * sizeof(struct pager_page *));
}

/* ---- In ---- */

/* The page has come into this frame, which nobody has got yet. */
static void
settle(struct sim_machine *m, struct pager_page *pp, uint64_t hpa)
{
	struct sim_frame *f = sim_frame_at(hpa);

	if (pp->pp_store != NULL && !pp->pp_cold)
		memcpy(sim_frame_bytes(hpa), pp->pp_store, SIM_PAGE_SIZE);
	else if (pp->pp_store == NULL)
		f->fr_bytes = BYTES_ZERO;
	pp->pp_cold = false;
	pp->pp_hpa = hpa;
	f->fr_pager = true;
	keep(m, pp);
}

static void
take(struct sim_machine *m, struct host_pager *p, struct pager_page *pp)
{
	if (pp->pp_got++ == 0) {
		struct sim_frame *f = sim_frame_at(pp->pp_hpa);
		unkeep(m, pp);
		f->fr_life++;
		f->fr_owner = 0;
	} else {
		m->m_ct.ct_pager_doubles++;
	}
	p->pr_got++;
	m->m_ct.ct_pager_got++;
}

/* 2 MiB, of which nobody has got a page, in one run. */
static bool
settle_run(struct sim_machine *m, struct pager_page *chunk)
{
	uint64_t base;

	for (unsigned int i = 0; i < RUN; i++) {
		if (chunk[i].pp_got != 0 || chunk[i].pp_busy)
			return false;
	}
	base = sim_frame_alloc(SIM_FRAME_DATA, 9);
	if (base == 0)
		return false;
	/* Some were in a frame each, and may have lost it just now. */
	for (unsigned int i = 0; i < RUN; i++) {
		if (chunk[i].pp_hpa != 0)
			reclaim(m, &chunk[i], false);
	}
	for (unsigned int i = 0; i < RUN; i++) {
		chunk[i].pp_cold = false; /* it was read ahead */
		settle(m, &chunk[i], base + (uint64_t)i * SIM_PAGE_SIZE);
	}
	return true;
}

static bool
not_busy(void *arg)
{
	return !((const struct pager_page *)arg)->pp_busy;
}

/* From the disk. */
static int
read_cold(struct sim_machine *m, struct pager_page *pp, uint64_t hpa)
{
	int error;

	pp->pp_busy = true;
	error = disk_read_into(pp->pp_store, hpa);
	pp->pp_busy = false;
	m->m_progress++;
	m->m_ct.ct_pager_read++;
	return error;
}

static int
bring_in(struct sim_machine *m, struct host_pager *p, uint64_t index, struct pager_page *pp)
{
	uint64_t first = index - index % RUN;
	uint64_t hpa;
	int error = 0;

	if (pp->pp_cold && sim_interrupted())
		return -EINTR;
	if (sim_fault(SIM_FAULT_PAGE_ALLOC))
		return -ENOMEM;
	if (p->pr_npages - first >= RUN && sim_choose(SIM_CHOICE_HW, ODDS_LARGE) == 0 &&
	    settle_run(m, p->pr_chunks[index / RUN]))
		return 0;
	hpa = sim_frame_alloc(SIM_FRAME_DATA, 0);
	if (hpa == 0)
		return -ENOMEM;
	if (pp->pp_cold)
		error = read_cold(m, pp, hpa);
	if (error != 0)
		sim_frame_free(hpa, 0);
	else
		settle(m, pp, hpa);
	return error;
}

int
sim_pager_getpage(struct host_pager *p, uint64_t index, uint64_t *hpa)
{
	struct sim_machine *m = sim_the_machine;
	struct pager_page *pp;
	int error = 0;

	check_pager(p, "host_pager_getpage()");
	mutex_check_may_sleep(m, "host_pager_getpage()");
	memory_point(m, SIM_ALLOC, NULL);
	touch(m, SIM_OBJECT(SIM_OBJECT_DEVICE, 2), SIM_TOUCH_WRITE);
	memory_drain(m, self(m));
	reclaim_some(m);
	pp = page_at(p, index, "host_pager_getpage()");
	if (pp == NULL)
		return -ENOMEM;
	while (pp->pp_busy)
		sim_wait_until("a page that another reads", not_busy, pp);
	if (pp->pp_hpa == 0)
		error = bring_in(m, p, index, pp);
	if (error == 0) {
		take(m, p, pp);
		*hpa = pp->pp_hpa;
	}
	trace(m, SIM_ALLOC, index, error != 0 ? 0 : pp->pp_hpa - m->m_phys_base);
	return error;
}

/* They are in 512 frames that make up 2 MiB. */
static bool
is_run(const struct pager_page *chunk)
{
	uint64_t base = chunk[0].pp_hpa;

	if (base == 0 || base % (RUN * SIM_PAGE_SIZE) != 0)
		return false;
	for (unsigned int i = 1; i < RUN; i++) {
		if (chunk[i].pp_hpa != base + (uint64_t)i * SIM_PAGE_SIZE)
			return false;
	}
	return true;
}

bool
sim_pager_getrun(struct host_pager *p, uint64_t index, uint64_t *base)
{
	struct sim_machine *m = sim_the_machine;
	struct pager_page *chunk;
	bool got = false;

	check_pager(p, "host_pager_getrun()");
	mutex_check_may_sleep(m, "host_pager_getrun()");
	if (index % RUN != 0 || index >= p->pr_npages || p->pr_npages - index < RUN)
		sim_violation("CK-API", "I39", "host_pager_getrun(): page %" PRIu64 " of %" PRIu64,
			      index, p->pr_npages);
	memory_point(m, SIM_ALLOC, NULL);
	touch(m, SIM_OBJECT(SIM_OBJECT_DEVICE, 2), SIM_TOUCH_WRITE);
	memory_drain(m, self(m));
	reclaim_some(m);
	chunk = page_at(p, index, "host_pager_getrun()");
	if (chunk != NULL && !sim_fault(SIM_FAULT_PAGE_ALLOC) &&
	    sim_choose(SIM_CHOICE_HW, ODDS_NO_RUN) != 0)
		got = is_run(chunk) || settle_run(m, chunk);
	for (unsigned int i = 0; got && i < RUN; i++)
		take(m, p, &chunk[i]);
	if (got)
		*base = chunk[0].pp_hpa;
	/* That took a while: others may get pages of it before the caller can tell them. */
	for (unsigned int i = 0; got && i < RUN / 32; i++)
		point(m, SIM_ALLOC);
	m->m_ct.ct_pager_runs += got;
	trace(m, SIM_ALLOC, index, got ? *base - m->m_phys_base : 0);
	return got;
}

/* ---- Out ---- */

static bool
is_as_got(const struct pager_page *pp)
{
	static const char zeros[SIM_PAGE_SIZE];
	const struct sim_frame *f = sim_frame_at(pp->pp_hpa);

	if (f->fr_bytes == BYTES_ZERO && pp->pp_store == NULL)
		return true;
	return memcmp(sim_frame_bytes(pp->pp_hpa), pp->pp_store != NULL ? pp->pp_store : zeros,
		      SIM_PAGE_SIZE) == 0;
}

static void
store(struct pager_page *pp)
{
	if (pp->pp_store == NULL)
		pp->pp_store = sim_alloc(SIM_PAGE_SIZE);
	if (pp->pp_store == NULL)
		sim_violation("internal", "", "no memory for what pagers keep");
	memcpy(pp->pp_store, sim_frame_bytes(pp->pp_hpa), SIM_PAGE_SIZE);
}

/* The frame has what the store has. */
static void
revert(struct pager_page *pp)
{
	if (pp->pp_store != NULL)
		memcpy(sim_frame_bytes(pp->pp_hpa), pp->pp_store, SIM_PAGE_SIZE);
	else
		sim_frame_at(pp->pp_hpa)->fr_bytes = BYTES_ZERO;
}

/* Nobody has it any more. */
static void
leave(struct sim_machine *m, struct pager_page *pp)
{
	const struct sim_frame *f = sim_frame_at(pp->pp_hpa);

	iommu_check_free(f, pp->pp_hpa);
	if (m->m_free_hook != NULL)
		m->m_free_hook(m->m_free_hook_arg, pp->pp_hpa, SIM_FRAME_DATA);
	keep(m, pp);
	if (sim_choose(SIM_CHOICE_HW, 2) != 0)
		reclaim(m, pp, sim_choose(SIM_CHOICE_HW, 2) != 0);
}

void
sim_pager_putpage(struct host_pager *p, uint64_t index, uint64_t hpa, bool dirty)
{
	struct sim_machine *m = sim_the_machine;
	struct pager_page *pp;

	check_pager(p, "host_pager_putpage()");
	memory_point(m, SIM_FREE, NULL);
	touch(m, SIM_OBJECT(SIM_OBJECT_DEVICE, 2), SIM_TOUCH_WRITE);
	memory_drain(m, self(m));
	pp = page_at(p, index, "host_pager_putpage()");
	if (pp == NULL || pp->pp_got == 0 || pp->pp_hpa != hpa)
		sim_violation("CK-FREE", "I43",
			      "page %" PRIu64 " of a pager is put, and not got in frame 0x%" PRIx64,
			      index, hpa);
	trace(m, SIM_FREE, index, (hpa - m->m_phys_base) | dirty);
	m->m_ct.ct_pager_put[dirty]++;
	if (dirty)
		store(pp);
	p->pr_got--;
	if (--pp->pp_got != 0)
		return;
	if (!is_as_got(pp)) {
		if (sim_choose(SIM_CHOICE_HW, 2) == 0)
			store(pp);
		else
			revert(pp);
	}
	leave(m, pp);
}

void
sim_pager_discard(struct host_pager *p, uint64_t index, uint64_t npages)
{
	struct sim_machine *m = sim_the_machine;

	check_pager(p, "host_pager_discard()");
	mutex_check_may_sleep(m, "host_pager_discard()");
	if (index > p->pr_npages || npages > p->pr_npages - index)
		sim_violation("CK-API", "I39",
			      "host_pager_discard(): pages %" PRIu64 " to %" PRIu64 " of %" PRIu64,
			      index, index + npages, p->pr_npages);
	memory_point(m, SIM_FREE, NULL);
	touch(m, SIM_OBJECT(SIM_OBJECT_DEVICE, 2), SIM_TOUCH_WRITE);
	memory_drain(m, self(m));
	trace(m, SIM_FREE, index, npages);
	for (uint64_t i = index; i < index + npages; i++) {
		struct pager_page *chunk = p->pr_chunks[i / RUN];
		if (chunk == NULL)
			continue;
		forget(&chunk[i % RUN]);
		if (chunk[i % RUN].pp_hpa != 0)
			revert(&chunk[i % RUN]);
	}
	m->m_progress++;
}
