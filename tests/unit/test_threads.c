/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The core under real threads: vCPUs with a TLB of their own that walk the tables as hardware does,
 * while others map, unmap, protect, harvest, age, promote and demote under them.
 *
 * What is checked, all of it exact:
 *  - no vCPU uses a page after the shootdown that unmapped it has returned, or writes to one
 *    after the shootdown that made it read-only has returned;
 *  - each write is reported as modified after it was made (else the copy that the harvester keeps
 *    would differ from the data at the end);
 *  - a wired page is never found unmapped;
 *  - at the end the accounts equal a full walk, pmap_check() agrees, and nothing is left.
 *
 * Each page has a word that says what its owner decided about it; it is also the word of the
 * protocol for installing against revoking (pa_revoked).
 */

#include "pmap/pmap.h"
#include "pmap/posix/host_posix.h"
#include "tests/unit/world.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#define BLOCKS 3
#define BLOCK_PAGES 512u
#define NPAGES (BLOCKS * BLOCK_PAGES)
#define WIRED_PAGE ((BLOCKS - 1) * BLOCK_PAGES) /* the last block is wired */
#define FIRST_GPA ((gpa_t)64 << 20)
#define FIRST_HPA ((hpa_t)8 << 30)

/* What the owner decided. A word is a version and one of these. */
enum state {
	FREE,	 /* not mapped, nobody uses the frame */
	LIVE,	 /* may be mapped with all rights */
	DYING,	 /* is being unmapped */
	CLOSING, /* is being made read-only */
	CLOSED,	 /* may be mapped read-only */
	STATES = 8,
};

enum role { VCPU_0, VCPU_1, MAPPER, REMOVER, PROTECTOR, HARVESTER, ROLES };
#define WORKERS (ROLES - MAPPER)

struct env {
	struct pmap *en_pmap;
	const struct pt_fmt *en_fmt;
	uint64_t en_until_ns;	  /* when workers stop */
	struct host_word en_done; /* workers that have finished */
	struct host_word en_owner[NPAGES];
	struct host_word en_data[NPAGES];     /* one word per page stands for its contents */
	struct host_word en_log[NPAGES / 64]; /* dirty, and final: the shootdown is over */
	uint64_t en_copy[NPAGES];	      /* under en_copying */
	pthread_mutex_t en_copying;
	struct pmap_slot *en_slots[2];
};

static struct env env;

/* Reported by pc_note to this thread; becomes final with its next shootdown. */
static __thread uint64_t noted[NPAGES / 64];

static unsigned int
next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned int)(*seed >> 33);
}

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/*
 * A turn may take long: who waits for a vCPU that another thread keeps from running gets nowhere
 * either. So it is time that ends a worker, after a few turns at least. Between turns it sleeps, so
 * that vCPUs are in the guest most of the time, and on several processors.
 */
static bool
goes_on(unsigned int turn)
{
	const struct timespec pause = {.tv_nsec = 30000};

	nanosleep(&pause, NULL);
	return turn < 30 || now_ns() < env.en_until_ns;
}

static gpa_t
gpa_of(unsigned int page)
{
	return FIRST_GPA + (gpa_t)page * HOST_PAGE_SIZE;
}

static hpa_t
hpa_of(unsigned int page)
{
	return FIRST_HPA + (hpa_t)page * HOST_PAGE_SIZE;
}

static bool
is_wired(unsigned int page)
{
	return page >= WIRED_PAGE;
}

/* Moves a page from one of two states to another; the new word, or 0 if it is in neither. */
static uint64_t
decide(unsigned int page, enum state from, enum state or_from, enum state to)
{
	uint64_t word = host_load_acquire(&env.en_owner[page]);

	do {
		if (word % STATES != from && word % STATES != or_from)
			return 0;
	} while (!host_cas(&env.en_owner[page], &word, (word / STATES + 1) * STATES + to));
	return (word / STATES + 1) * STATES + to;
}

/* ---- Dirty pages ----------------------------------------------------------------------------- */

static void
note(void *arg, const struct pmap_leaf *leaf)
{
	(void)arg;
	if (!leaf->pl_modified)
		return;
	for (uint64_t n = 0; n < (uint64_t)1 << 9 * leaf->pl_level; n++) {
		uint64_t page = (leaf->pl_gpa - FIRST_GPA) / HOST_PAGE_SIZE + n;

		noted[page / 64] |= (uint64_t)1 << page % 64;
	}
}

/* After a shootdown, or a call that made its own: what was noted is final. */
static void
log_noted(void)
{
	for (unsigned int i = 0; i < NPAGES / 64; i++) {
		if (noted[i] != 0)
			host_fetch_or(&env.en_log[i], noted[i]);
		noted[i] = 0;
	}
}

static void
finish(struct pmap_gather *g)
{
	pmap_gather_finish(g);
	log_noted();
}

static void
copy_dirty(void)
{
	pthread_mutex_lock(&env.en_copying);
	for (unsigned int i = 0; i < NPAGES / 64; i++) {
		uint64_t dirty = host_load(&env.en_log[i]) ? host_xchg(&env.en_log[i], 0) : 0;

		for (; dirty != 0; dirty &= dirty - 1) {
			unsigned int page = i * 64 + (unsigned int)__builtin_ctzll(dirty);

			env.en_copy[page] = host_load_acquire(&env.en_data[page]);
		}
	}
	pthread_mutex_unlock(&env.en_copying);
}

/* ---- Hardware -------------------------------------------------------------------------------- */

#define TLB_ENTRIES 64

struct vcpu {
	struct pmap_slot *vc_slot;
	uint64_t vc_seed;
	struct {
		bool te_valid;
		bool te_writable; /* and marked modified */
		unsigned int te_page;
	} vc_tlb[TLB_ENTRIES];
};

/* A leaf as the walker finds it: whether it may be used. Sets A and D if that is its task. */
static bool
use_leaf(struct host_word *w, pt_entry_t e, bool write, bool *writable)
{
	const struct pt_fmt *f = env.en_fmt;
	pt_entry_t want;

	if (f->pf_emulated_ad) {
		*writable = (e & f->pf_m) != 0;
		return (e & f->pf_a) != 0 && (!write || *writable);
	}
	do {
		if ((e & f->pf_valid) == 0 || (e & f->pf_r) == 0 || (write && (e & f->pf_rw) == 0))
			return false;
		want = e | f->pf_a | (write ? f->pf_m : 0);
	} while (want != e && !host_cas(w, &e, want));
	*writable = (want & f->pf_m) != 0 && (want & f->pf_rw) != 0;
	return true;
}

static bool
walk(gpa_t gpa, bool write, bool *writable, hpa_t *hpa)
{
	const struct pt_fmt *f = env.en_fmt;
	hpa_t table = pmap_root(env.en_pmap);

	for (unsigned int level = f->pf_levels - 1u;; level--) {
		struct host_word *w = &host_table_words(table)[pt_index(gpa, level)];
		pt_entry_t e = host_load_acquire(w);

		if ((e & f->pf_valid) == 0)
			return false;
		if (level == 0 || (e & f->pf_ps) != 0) {
			const uint64_t in_leaf = pt_level_size(level) - 1;

			if (!use_leaf(w, e, write, writable))
				return false;
			*hpa = (e & f->pf_addr & ~in_leaf) | (gpa & in_leaf);
			return true;
		}
		if (!f->pf_emulated_ad && (e & f->pf_a) == 0 && !host_cas(w, &e, e | f->pf_a))
			level++; /* it changed: look again */
		else
			table = e & f->pf_addr;
	}
}

/* One guest instruction: false if it faults. */
static bool
access_page(struct vcpu *v, unsigned int page, bool write)
{
	const unsigned int i = page % TLB_ENTRIES;
	enum state state;

	if (!v->vc_tlb[i].te_valid || v->vc_tlb[i].te_page != page ||
	    (write && !v->vc_tlb[i].te_writable)) {
		bool writable;
		hpa_t hpa;

		if (!walk(gpa_of(page), write, &writable, &hpa))
			return false;
		CHECK(hpa == hpa_of(page));
		v->vc_tlb[i].te_valid = true;
		v->vc_tlb[i].te_writable = writable;
		v->vc_tlb[i].te_page = page;
	}
	state = host_load_acquire(&env.en_owner[page]) % STATES;
	CHECK(state != FREE);
	if (write) {
		CHECK(state != CLOSED);
		host_fetch_add(&env.en_data[page], 1);
	}
	return true;
}

static void
flush_all(struct vcpu *v)
{
	for (unsigned int i = 0; i < TLB_ENTRIES; i++)
		v->vc_tlb[i].te_valid = false;
}

/* INVLPG and CR3 loads, for PT_X86. */
static void
on_invlpg(void *arg, uint64_t va, uint64_t npages)
{
	struct vcpu *v = arg;

	for (unsigned int i = 0; i < TLB_ENTRIES; i++) {
		gpa_t gpa = gpa_of(v->vc_tlb[i].te_page);

		if (gpa >= va && gpa - va < npages * HOST_PAGE_SIZE)
			v->vc_tlb[i].te_valid = false;
	}
}

static void
on_flush_tlb(void *arg, bool global)
{
	(void)global;
	flush_all(arg);
}

/* ---- Fault handling -------------------------------------------------------------------------- */

static void
enter(unsigned int page, uint64_t word, unsigned int access)
{
	const bool closed = word % STATES == CLOSED;
	const struct pmap_mapping m = {
		.pa_gpa = gpa_of(page),
		.pa_hpa = hpa_of(page),
		.pa_prot = closed ? PMAP_PROT_RX : PMAP_PROT_RWX,
		.pa_access = closed ? access & PMAP_PROT_RX : access,
		.pa_wired = is_wired(page),
		.pa_revoked = &env.en_owner[page],
		.pa_revoked_was = word,
	};
	int error = pmap_enter(env.en_pmap, &m);

	CHECK(error == 0 || error == -EAGAIN);
	log_noted();
}

/* Nothing is mapped: the owner gives the page a frame, if it has decided nothing else. */
static void
page_in(unsigned int page, unsigned int access)
{
	uint64_t word = decide(page, FREE, FREE, LIVE);

	if (word == 0)
		word = host_load_acquire(&env.en_owner[page]);
	if (word % STATES == LIVE || word % STATES == CLOSED)
		enter(page, word, access);
}

static void
handle_fault(unsigned int page, bool write)
{
	const unsigned int access = write ? PMAP_PROT_W : PMAP_PROT_R;
	int error = pmap_emulate_accessed_dirty(env.en_pmap, gpa_of(page), access);

	CHECK(error == 0 || error == -ENOENT || error == -EACCES);
	CHECK(error != -ENOENT || !is_wired(page));
	if (error == -ENOENT) {
		page_in(page, access);
	} else if (error == -EACCES) {
		uint64_t word = decide(page, CLOSED, CLOSED, LIVE);

		if (word == 0)
			word = host_load_acquire(&env.en_owner[page]);
		if (word % STATES == LIVE)
			enter(page, word, access);
	}
	host_relax();
}

/*
 * Runs until something needs the host: true if that is a fault at *page. An interrupt takes its
 * time to arrive: as long as it does, what is cached is used.
 */
static bool
run_guest(struct vcpu *v, unsigned int *page, bool *write)
{
	for (unsigned int n = 0; n < 400; n++) {
		if (n % 64 == 0 && host_posix_kick_taken())
			break;

		unsigned int r = next_random(&v->vc_seed);

		*page = r / 16 % 4 ? r / 64 % NPAGES : r / 64 % 16; /* some are hot */
		*write = r % 2;
		if (!access_page(v, *page, *write))
			return true;
	}
	return false;
}

static void
vcpu(unsigned int i)
{
	static struct vcpu vcpus[2];
	struct vcpu *v = &vcpus[i];
	const bool x86 = env.en_fmt->pf_type == PT_X86;
	const struct host_posix_hooks hooks = {
		.ph_invlpg = on_invlpg, .ph_flush_tlb = on_flush_tlb, .ph_arg = v};

	*v = (struct vcpu){.vc_slot = env.en_slots[i], .vc_seed = i + 1};
	host_posix_set_hooks(&hooks);
	pmap_slot_attach(env.en_pmap, v->vc_slot);
	while (host_load_acquire(&env.en_done) < WORKERS) {
		unsigned int page;
		bool write;
		bool faulted = false;
		bool failed = false;

		if (x86) {
			pmap_activate(env.en_pmap, v->vc_slot);
		} else if (pmap_guest_enter(env.en_pmap, v->vc_slot)) {
			failed = next_random(&v->vc_seed) % 8 ==
				 0; /* the entry: nothing is flushed */
			if (!failed) {
				flush_all(v);
				pmap_guest_flushed(v->vc_slot);
			}
		}
		if (!failed)
			faulted = run_guest(v, &page, &write);
		if (x86) {
			pmap_kicked(env.en_pmap, v->vc_slot);
			pmap_deactivate(v->vc_slot);
		} else {
			pmap_guest_exit(v->vc_slot);
		}
		if (faulted)
			handle_fault(page, write);
	}
	pmap_slot_detach(env.en_pmap, v->vc_slot);
	host_posix_set_hooks(NULL);
}

/* ---- Those who change what is mapped --------------------------------------------------------- */

/* A range of pages in the first `npages`: mostly short, sometimes whole blocks. */
static void
pick_range(uint64_t *seed, unsigned int npages, unsigned int *start, unsigned int *end)
{
	unsigned int r = next_random(seed);

	if (r % 8 == 0) {
		*start = r / 8 % (npages / BLOCK_PAGES) * BLOCK_PAGES;
		*end = *start + BLOCK_PAGES;
		return;
	}
	*start = r / 8 % npages;
	*end = *start + 1 + r / 65536 % 70;
	*end = *end < npages ? *end : npages;
}

/* Ahead of any fault; often in sequence, so that there is something to promote. */
static void
mapper(void)
{
	uint64_t seed = 100;

	for (unsigned int n = 0; goes_on(n); n++) {
		unsigned int start;
		unsigned int end;

		pick_range(&seed, WIRED_PAGE, &start, &end);

		const bool whole = end - start == BLOCK_PAGES;

		for (unsigned int page = start; page < end; page++)
			page_in(page, whole || next_random(&seed) % 8 ? PMAP_PROT_RW : 0);
	}
}

static void
remover(void)
{
	uint64_t seed = 200;
	struct pmap_gather g;

	for (unsigned int n = 0; goes_on(n); n++) {
		bool mine[NPAGES] = {false};
		unsigned int start;
		unsigned int end;

		pick_range(&seed, WIRED_PAGE, &start, &end);
		for (unsigned int page = start; page < end; page++)
			mine[page] = decide(page, LIVE, CLOSED, DYING) != 0;
		host_fence(); /* revoked, before the tables are swept */
		pmap_gather_begin(&g, env.en_pmap);
		CHECK(pmap_remove(env.en_pmap, gpa_of(start), gpa_of(end), &g) == 0);
		finish(&g);
		for (unsigned int page = start; page < end; page++) {
			if (mine[page])
				CHECK(decide(page, DYING, DYING, FREE) != 0);
		}
	}
}

/* Makes pages read-only; and lets blocks be large or small. */
static void
protector(void)
{
	uint64_t seed = 300;
	struct pmap_gather g;

	for (unsigned int n = 0; goes_on(n); n++) {
		bool mine[NPAGES] = {false};
		gpa_t block = gpa_of(n % BLOCKS * BLOCK_PAGES);
		unsigned int start;
		unsigned int end;
		int error;

		pick_range(&seed, NPAGES, &start, &end);
		for (unsigned int page = start; page < end; page++)
			mine[page] = decide(page, LIVE, LIVE, CLOSING) != 0;
		host_fence();
		pmap_gather_begin(&g, env.en_pmap);
		CHECK(pmap_protect(env.en_pmap, gpa_of(start), gpa_of(end), PMAP_PROT_RX, &g) == 0);
		finish(&g);
		for (unsigned int page = start; page < end; page++) {
			if (mine[page])
				CHECK(decide(page, CLOSING, CLOSING, CLOSED) != 0);
		}

		error = pmap_promote(env.en_pmap, block, 1, &g);
		CHECK(error == 0 || error == -EBUSY || error == -ENOENT);
		finish(&g);
		if (n % 3 == 0) {
			error = pmap_demote(env.en_pmap, block, 1, &g);
			CHECK(error == 0 || error == -ENOENT);
			finish(&g);
		}
	}
}

static void
harvester(void)
{
	uint64_t seed = 400;
	struct pmap_gather g;

	for (unsigned int n = 0; goes_on(n); n++) {
		uint64_t bitmap[NPAGES / 64] = {0};
		uint64_t found;
		unsigned int start;
		unsigned int end;

		pick_range(&seed, NPAGES, &start, &end);
		pmap_gather_begin(&g, env.en_pmap);
		if (n % 4 == 3) {
			CHECK(pmap_ts_referenced(env.en_pmap, gpa_of(start), gpa_of(end), &found,
						 &g) == 0);
			CHECK(found <= end - start);
		} else if (n % 4 == 2) {
			CHECK(pmap_clear_modify(env.en_pmap, gpa_of(start), gpa_of(end), &g) == 0);
		} else {
			CHECK(pmap_harvest(env.en_pmap, gpa_of(start), gpa_of(end),
					   PMAP_HARVEST_MODIFIED, bitmap, &found, &g) == 0);
			for (unsigned int i = 0; i < end - start; i++) {
				if (bitmap[i / 64] >> i % 64 & 1)
					noted[(start + i) / 64] |= (uint64_t)1 << (start + i) % 64;
			}
		}
		finish(&g);
		copy_dirty();
	}
}

static void
act(void *arg, unsigned int role)
{
	(void)arg;
	switch (role) {
	case VCPU_0:
	case VCPU_1:
		vcpu(role - VCPU_0);
		return;
	case MAPPER:
		mapper();
		break;
	case REMOVER:
		remover();
		break;
	case PROTECTOR:
		protector();
		break;
	case HARVESTER:
		harvester();
		break;
	}
	host_fetch_add(&env.en_done, 1);
}

/* ---- The test -------------------------------------------------------------------------------- */

/* Everything is at rest: accounts against a full walk, data against its copy. */
static void
settle(void)
{
	uint64_t bitmap[NPAGES / 64] = {0};
	uint64_t resident = 0;
	uint64_t wired = 0;
	struct pmap_gather g;
	struct pmap_stats st;
	char why[256] = "";

	cr_assert_eq(pmap_check(env.en_pmap, why, sizeof(why)), 0, "%s", why);
	for (unsigned int page = 0; page < NPAGES; page++) {
		struct pmap_leaf leaf;

		if (pmap_extract(env.en_pmap, gpa_of(page), &leaf) != 0)
			continue;
		resident++;
		wired += leaf.pl_wired;
	}
	pmap_stats(env.en_pmap, &st);
	cr_assert_eq(st.st_resident_pages, resident);
	cr_assert_eq(st.st_wired_pages, wired);
	cr_assert_eq(wired, BLOCK_PAGES);

	pmap_gather_begin(&g, env.en_pmap);
	cr_assert_eq(pmap_harvest(env.en_pmap, gpa_of(0), gpa_of(NPAGES), PMAP_HARVEST_MODIFIED,
				  bitmap, NULL, &g),
		     0);
	finish(&g);
	for (unsigned int i = 0; i < NPAGES / 64; i++)
		host_fetch_or(&env.en_log[i], bitmap[i]);
	copy_dirty();
	for (unsigned int page = 0; page < NPAGES; page++)
		cr_assert_eq(env.en_copy[page], host_load(&env.en_data[page]),
			     "a write to page %u was never reported", page);
	cr_assert_gt(st.st_shootdowns, 0);
	cr_assert_eq(pmap_check(env.en_pmap, why, sizeof(why)), 0, "%s", why);
}

static void
stress(const struct pmap_config *cfg)
{
	struct pmap_config config = *cfg;

	world_begin(&(struct world_config){.wc_actors = ROLES});
	memset(&env, 0, sizeof(env));
	pthread_mutex_init(&env.en_copying, NULL);
	config.pc_note = note;
	cr_assert_eq(pmap_init(&config, &env.en_pmap), 0);
	env.en_fmt = pmap_fmt(env.en_pmap);
	env.en_until_ns = now_ns() + 300u * 1000000u;
	for (unsigned int i = 0; i < 2; i++)
		cr_assert_not_null(env.en_slots[i] = host_alloc(sizeof(struct pmap_slot)));
	for (unsigned int page = WIRED_PAGE; page < NPAGES; page++)
		page_in(page, PMAP_PROT_RW);

	world_run(ROLES, act, NULL);
	settle();

	host_epoch_drain();
	for (unsigned int i = 0; i < 2; i++)
		host_free(env.en_slots[i], sizeof(struct pmap_slot));
	pmap_destroy(env.en_pmap);
	pthread_mutex_destroy(&env.en_copying);
	world_end();
}

#define CAPS .pc_pat = UINT64_C(0x0007040600070406), .pc_levels = 4, .pc_phys_bits = 46

static struct pmap_config
config_of(enum pt_type type, bool emulated, unsigned int more_flags)
{
	return (struct pmap_config){
		.pc_type = type,
		.pc_flags = PMAP_PDE_SUPERPAGE | more_flags | (emulated ? PMAP_EMULATE_AD_BITS : 0),
		.pc_caps = {CAPS, .pc_leaf_levels = 2, .pc_nx = type != PT_EPT,
			    .pc_emulate_ad = emulated},
	};
}

#define STRESS(name, type, emulated, flags)                                      \
	Test(threads, name)                                                      \
	{                                                                        \
		const struct pmap_config cfg = config_of(type, emulated, flags); \
                                                                                 \
		stress(&cfg);                                                    \
	}

STRESS(ept, PT_EPT, false, 0)
STRESS(ept_deferred, PT_EPT, false, PMAP_DEFER)
STRESS(ept_mixed_size_erratum, PT_EPT, false, PMAP_MIXED_SIZE_ERRATUM)
STRESS(ept_reference, PT_EPT, false, PMAP_REFERENCE)
STRESS(ept_emulated, PT_EPT, true, 0)
STRESS(ept_emulated_deferred, PT_EPT, true, PMAP_DEFER)
STRESS(ept_emulated_reference, PT_EPT, true, PMAP_REFERENCE)
STRESS(rvi, PT_RVI, false, 0)
STRESS(x86, PT_X86, false, 0)
STRESS(x86_reference, PT_X86, false, PMAP_REFERENCE)
