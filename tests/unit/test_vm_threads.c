/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * vmspace under real threads: vCPUs with a TLB of their own, while pages go to swap, maps move and
 * lose rights, pages are held, wired, written by devices, moved, and the dirty log is read.
 *
 * What is checked, all of it exact:
 *  - each word of memory has one writer, who finds in it what it wrote last; others never see it
 *    go back;
 *  - no vCPU reaches a map after the call that took it away has returned, or writes to one after
 *    the call that made it read-only has returned;
 *  - a copy that is brought up to date by the dirty log alone is equal in the end;
 *  - at rest the audits agree, and at the end nothing is left.
 */

#include "tests/unit/rng.h"
#include "tests/unit/vm_fixture.h"

#include <string.h>
#include <time.h>

#define NPAGES 1024u
#define MOVING 768u /* pages from here on are in a map that moves */
#define NWIRED 40u  /* pages below this are shown by a map that is wired at times */
#define NSCRATCH 24u

#define RAM (16 * MIB)
#define WIRED (64 * MIB)
#define SCRATCH (80 * MIB)
#define PLACE(i) (96 * MIB + (i)*16 * MIB) /* where the moving map is, one at a time */
#define PLACES 2u

#define DEVICE 1

enum role { VCPU_0, VCPU_1, PAGER, LOGGER, HOLDER, MOVER, WIRER, ROLES };
#define WORKERS (ROLES - PAGER)

/* Who writes which word of a page. */
enum writer { BY_VCPU_0, BY_VCPU_1, BY_HOLDER, BY_DEVICE, NOBODY, WORDS };

static struct env {
	struct vf en_x;
	uint64_t en_until_ns;
	uint64_t en_calm_ns;	  /* no page leaves its run until then, and until there were */
	uint64_t en_supers;	  /* so many superpages; 0: as they come */
	struct host_word en_done; /* workers that have finished */
	struct host_word en_gone[PLACES]; /* the moving map is not there */
	struct host_word en_closed;	  /* the map at RAM is read-only */
	uint64_t en_wrote[WORDS][NPAGES]; /* the writer's own */
	uint64_t en_copy[NPAGES][WORDS];  /* the logger's */
	struct pmap_slot *en_slots[2];
} env;

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* On a busy machine it may take its time until there are superpages; not for ever. */
static bool
is_calm(void)
{
	struct vmspace_stats vt;

	if (now_ns() < env.en_calm_ns)
		return true;
	if (env.en_supers == 0 || now_ns() > env.en_calm_ns + 10u * 1000000000u)
		return false;
	vmspace_stats(env.en_x.vf_vs, &vt);
	return vt.vt_super_enters + vt.vt_promotions < env.en_supers;
}

/* As in threads of the page tables' own test: time ends a worker, after a few turns at least. */
static bool
goes_on(unsigned int turn)
{
	const struct timespec pause = {.tv_nsec = 30000};

	nanosleep(&pause, NULL);
	return turn < 10 || now_ns() < env.en_until_ns || is_calm();
}

/* ---- vCPUs ----------------------------------------------------------------------------------- */

#define TLB_ENTRIES 64

struct vcpu {
	unsigned int vc_i;
	struct pmap_slot *vc_slot;
	struct rng vc_rng;
	uint64_t vc_seen[NPAGES]; /* of the other's words */
	struct {
		bool te_valid;
		bool te_writable;
		gpa_t te_gpa;
		hpa_t te_hpa;
	} vc_tlb[TLB_ENTRIES];
};

static struct vcpu vcpus[2];

/* An access of the guest to a page; where it is shown is up to chance. */
struct access {
	unsigned int ac_page;
	unsigned int ac_place; /* PLACES: at RAM */
	gpa_t ac_gpa;
	bool ac_write;
};

static void
pick(struct vcpu *v, struct access *a)
{
	const unsigned int r = rng_below(&v->vc_rng, 4);

	a->ac_page = rng_below(&v->vc_rng, r == 0 ? NPAGES : r == 1 ? NWIRED : 100);
	a->ac_write = rng_percent(&v->vc_rng, 40);
	a->ac_place = PLACES;
	a->ac_gpa = RAM + a->ac_page * PAGE;
	if (a->ac_page >= MOVING) {
		a->ac_place = rng_below(&v->vc_rng, PLACES);
		a->ac_gpa = PLACE(a->ac_place) + (a->ac_page - MOVING) * PAGE;
	}
}

static void
use(struct vcpu *v, const struct access *a, hpa_t hpa)
{
	const unsigned int other = v->vc_i == BY_VCPU_0 ? BY_VCPU_1 : BY_VCPU_0;
	uint64_t *const wrote = &env.en_wrote[v->vc_i][a->ac_page];
	uint64_t seen;

	CHECK(host_load_acquire(host_page_word(hpa, 8 * v->vc_i)) == *wrote);
	seen = host_load_acquire(host_page_word(hpa, 8 * other));
	CHECK(seen >= v->vc_seen[a->ac_page]);
	v->vc_seen[a->ac_page] = seen;
	CHECK(host_load(host_page_word(hpa, 8 * NOBODY)) == 0);
	if (a->ac_write)
		host_store_release(host_page_word(hpa, 8 * v->vc_i), ++*wrote);
}

/* One guest instruction: false if it faults. */
static bool
access_page(struct vcpu *v, const struct access *a)
{
	const unsigned int i = (unsigned int)(a->ac_gpa / PAGE) % TLB_ENTRIES;

	if (!v->vc_tlb[i].te_valid || v->vc_tlb[i].te_gpa != a->ac_gpa ||
	    (a->ac_write && !v->vc_tlb[i].te_writable)) {
		hpa_t hpa;

		if (!vf_walk(&env.en_x, a->ac_gpa, a->ac_write ? PMAP_PROT_RW : PMAP_PROT_R, &hpa))
			return false;
		v->vc_tlb[i].te_valid = true;
		v->vc_tlb[i].te_writable = a->ac_write;
		v->vc_tlb[i].te_gpa = a->ac_gpa;
		v->vc_tlb[i].te_hpa = hpa;
	}
	/* We are in the guest: who took this away cannot have returned before we leave. */
	if (a->ac_place != PLACES)
		CHECK(host_load_acquire(&env.en_gone[a->ac_place]) == 0);
	else if (a->ac_write)
		CHECK(host_load_acquire(&env.en_closed) == 0);
	use(v, a, v->vc_tlb[i].te_hpa);
	return true;
}

static void
flush_all(struct vcpu *v)
{
	for (unsigned int i = 0; i < TLB_ENTRIES; i++)
		v->vc_tlb[i].te_valid = false;
}

static void
on_invlpg(void *arg, uint64_t va, uint64_t npages)
{
	struct vcpu *const v = arg;

	for (unsigned int i = 0; i < TLB_ENTRIES; i++) {
		if (v->vc_tlb[i].te_gpa >= va && v->vc_tlb[i].te_gpa - va < npages * PAGE)
			v->vc_tlb[i].te_valid = false;
	}
}

static void
on_flush_tlb(void *arg, bool global)
{
	(void)global;
	flush_all(arg);
}

/* True if it ended with a fault; otherwise somebody kicked, or it had enough. */
static bool
run_guest(struct vcpu *v, struct access *a)
{
	for (unsigned int n = 0; n < 300; n++) {
		if (n % 32 == 0 && host_posix_kick_taken())
			break;
		pick(v, a);
		if (!access_page(v, a))
			return true;
	}
	return false;
}

static void
handle_fault(const struct access *a)
{
	struct vm_fault_record r = {0};
	const int error =
		vm_fault(env.en_x.vf_vs, a->ac_gpa, a->ac_write ? PMAP_PROT_RW : PMAP_PROT_R, &r);

	if (error == 0)
		return;
	CHECK(error == -ENOMEM || error == -EACCES || error == -EFAULT);
	CHECK(r.fr_error == error && r.fr_gpa == a->ac_gpa);
	if (error == -EACCES)
		CHECK(a->ac_write && a->ac_place == PLACES);
	if (error == -EFAULT)
		CHECK(a->ac_place != PLACES);
	host_relax();
}

static void
vcpu(unsigned int i)
{
	struct vcpu *const v = &vcpus[i];
	struct pmap *const pm = env.en_x.vf_pm;
	const bool x86 = env.en_x.vf_fmt->pf_type == PT_X86;
	const struct host_posix_hooks hooks = {
		.ph_invlpg = on_invlpg, .ph_flush_tlb = on_flush_tlb, .ph_arg = v};

	*v = (struct vcpu){.vc_i = i, .vc_slot = env.en_slots[i], .vc_rng = {i + 1}};
	host_posix_set_hooks(&hooks);
	pmap_slot_attach(pm, v->vc_slot);
	while (host_load_acquire(&env.en_done) < WORKERS) {
		struct access a;
		bool faulted;

		if (x86) {
			pmap_activate(pm, v->vc_slot);
		} else if (pmap_guest_enter(pm, v->vc_slot)) {
			flush_all(v);
			pmap_guest_flushed(v->vc_slot);
		}
		faulted = run_guest(v, &a);
		if (x86) {
			pmap_kicked(pm, v->vc_slot);
			pmap_deactivate(v->vc_slot);
		} else {
			pmap_guest_exit(v->vc_slot);
		}
		if (faulted)
			handle_fault(&a);
	}
	pmap_slot_detach(pm, v->vc_slot);
	host_posix_set_hooks(NULL);
}

/* ---- Pages go -------------------------------------------------------------------------------- */

static void
pager(void)
{
	struct rng rng = {100};
	unsigned int done = 0; /* turns that count */

	for (unsigned int n = 0; goes_on(done); n++) {
		const uint64_t want = rng_below(&rng, 200);
		uint64_t freed = 0;

		if (n % 8 == 0)
			vmspace_drain(env.en_x.vf_vs);
		if (is_calm())
			continue;
		done++;
		CHECK(vm_pageout(env.en_x.vf_sys, n % 2 ? env.en_x.vf_vs : NULL, want,
				 n % 4 == 3 ? VM_PAGEOUT_CLEAN : 0, &freed) == 0);
	}
}

/* ---- The dirty log --------------------------------------------------------------------------- */

static void
copy_page(unsigned int page)
{
	struct vm_hold h;
	int error;

	do
		error = vm_memseg_hold(env.en_x.vf_vs, 0, page * PAGE, PAGE, PMAP_PROT_R, &h);
	while (error == -ENOMEM);
	CHECK(error == 0);
	if (error != 0)
		return;
	for (unsigned int w = 0; w < WORDS; w++)
		vm_hold_read(&h, 8 * w, &env.en_copy[page][w], 8);
	vm_gpa_release(&h);
}

/* A chunk of the log: copies what it reports; or gives it back, as after a transfer that failed. */
static void
collect(gpa_t gpa, unsigned int first, unsigned int npages, bool fails)
{
	uint64_t bits[NPAGES / 64] = {0};
	int error;

	do
		error = vm_dirty_log(env.en_x.vf_vs, gpa, npages * PAGE, VM_DIRTY_CLEAR, bits);
	while (error == -ENOMEM);
	CHECK(error == 0);
	if (error == 0 && fails) {
		CHECK(vm_dirty_log_set(env.en_x.vf_vs, gpa, npages * PAGE, bits) == 0);
		return;
	}
	for (unsigned int i = 0; error == 0 && i < npages; i++) {
		if (bits[i / 64] >> i % 64 & 1)
			copy_page(first + i);
	}
}

static void
collect_all(void)
{
	collect(RAM, 0, MOVING, false);
	for (unsigned int i = 0; i < PLACES; i++)
		collect(PLACE(i), MOVING, NPAGES - MOVING, false);
}

/* The tables are a cache: what is taken out comes back, by larger pages if it may. */
static void
refill(void)
{
	struct pmap *const pm = env.en_x.vf_pm;
	struct pmap_gather g;

	pmap_gather_begin(&g, pm);
	CHECK(pmap_remove(pm, RAM, RAM + 2 * MIB, &g) == 0);
	pmap_gather_finish(&g);
	CHECK(vm_fault(env.en_x.vf_vs, RAM + 9 * PAGE, PMAP_PROT_R, NULL) == 0);
	goes_on(0);
}

static void
logger(void)
{
	struct vmspace *const vs = env.en_x.vf_vs;
	struct rng rng = {200};
	int error = 0;

	for (unsigned int n = 0; goes_on(n); n++) {
		const unsigned int first = rng_below(&rng, MOVING);
		const unsigned int npages = 1 + rng_below(&rng, MOVING - first);

		/* Maps that move while bits are given back would lose them: at RAM only. */
		collect(RAM + first * PAGE, first, npages, n % 5 == 0);
		if (n % 3 == 0)
			collect_all();
		if (n % 8 == 7) {
			CHECK(vm_dirty_log_disable(vs) == 0);
			for (unsigned int k = 0; k < 20 && is_calm(); k++)
				refill();
			do
				error = vm_dirty_log_enable(vs, true);
			while (error == -ENOMEM);
			CHECK(error == 0);
		}
	}
}

/* ---- Holds ----------------------------------------------------------------------------------- */

static void
held_page(const struct vm_hold *h, unsigned int i, unsigned int page, bool write)
{
	uint64_t *const wrote = &env.en_wrote[BY_HOLDER][page];
	uint64_t words[WORDS];

	vm_hold_read(h, i * PAGE, words, sizeof(words));
	CHECK(words[BY_HOLDER] == *wrote && words[NOBODY] == 0);
	if (!write)
		return;
	++*wrote;
	vm_hold_write(h, i * PAGE + 8 * BY_HOLDER, wrote, 8);
}

static void
holder(void)
{
	struct rng rng = {300};

	for (unsigned int n = 0; goes_on(n); n++) {
		const unsigned int npages = 1 + rng_below(&rng, 6);
		const unsigned int page = rng_below(&rng, (n % 3 ? MOVING : NWIRED) - npages);
		const bool write = n % 4 != 0;
		struct vm_fault_record r;
		struct vm_hold h;
		const int error = vm_gpa_hold(env.en_x.vf_vs, RAM + page * PAGE, npages * PAGE,
					      write ? PMAP_PROT_RW : PMAP_PROT_R, &h, &r);

		CHECK(error == 0 || error == -ENOMEM || (error == -EACCES && write));
		if (error != 0)
			continue;
		for (unsigned int i = 0; i < npages; i++)
			held_page(&h, i, page + i, write);
		goes_on(0);
		for (unsigned int i = 0; i < npages; i++)
			held_page(&h, i, page + i, write);
		vm_gpa_release(&h);
	}
}

/* ---- Maps ------------------------------------------------------------------------------------ */

static int
until_memory(int error, unsigned int *tries)
{
	CHECK(error == 0 || error == -ENOMEM);
	return error == -ENOMEM && ++*tries < 1000 ? -EAGAIN : error;
}

/* Rights come and go at RAM; the moving map is at one place or at none. */
static void
mover(void)
{
	struct vmspace *const vs = env.en_x.vf_vs;
	const uint64_t len = (NPAGES - MOVING) * PAGE;
	unsigned int tries = 0;

	for (unsigned int n = 0; goes_on(n); n++) {
		const unsigned int from = n % PLACES;
		const unsigned int to = (n + 1) % PLACES;

		while (until_memory(vm_munmap_memseg(vs, PLACE(from), len), &tries) == -EAGAIN)
			;
		host_store_release(&env.en_gone[from], 1);
		CHECK(vm_mmap_memseg(vs, PLACE(from), 0, 0, 0, PMAP_PROT_RW, 0) == -EINVAL);
		host_store_release(&env.en_gone[to], 0);
		while (until_memory(vm_mmap_memseg(vs, PLACE(to), 0, MOVING * PAGE, (int64_t)len,
						   PMAP_PROT_RWX, 0),
				    &tries) == -EAGAIN)
			;
		if (n % 4 != 0)
			continue;
		while (until_memory(vm_protect_memmap(vs, RAM, MOVING * PAGE, PMAP_PROT_RX),
				    &tries) == -EAGAIN)
			;
		host_store_release(&env.en_closed, 1);
		goes_on(0);
		host_store_release(&env.en_closed, 0);
		while (until_memory(vm_protect_memmap(vs, RAM, MOVING * PAGE, PMAP_PROT_RWX),
				    &tries) == -EAGAIN)
			;
	}
}

/* ---- Wiring, devices, moving ----------------------------------------------------------------- */

static void
write_by_device(struct rng *rng)
{
	for (unsigned int k = 0; k < 10; k++) {
		const unsigned int page = rng_below(rng, NWIRED);
		uint64_t *const wrote = &env.en_wrote[BY_DEVICE][page];
		const gpa_t gpa = WIRED + page * PAGE + 8 * BY_DEVICE;
		uint64_t word;

		CHECK(host_vm_posix_dma_read(DEVICE, gpa, &word, 8) == 0);
		CHECK(word == *wrote);
		++*wrote;
		CHECK(host_vm_posix_dma_write(DEVICE, gpa, wrote, 8) == 0);
	}
}

static void
wire_and_attach(struct rng *rng)
{
	struct vmspace *const vs = env.en_x.vf_vs;
	unsigned int tries = 0;
	int error;

	if (vm_wire_memmap(vs, WIRED, NWIRED * PAGE) != 0)
		return; /* no memory: others hold it all */
	error = vm_attach_device(vs, DEVICE);
	CHECK(error == 0 || error == -ENOMEM);
	if (error == 0) {
		write_by_device(rng);
		goes_on(0);
		write_by_device(rng);
		CHECK(vm_unwire_memmap(vs, WIRED, NWIRED * PAGE) == -EBUSY);
		while (until_memory(vm_detach_device(vs, DEVICE), &tries) == -EAGAIN)
			;
	}
	while (until_memory(vm_unwire_memmap(vs, WIRED, NWIRED * PAGE), &tries) == -EAGAIN)
		;
}

/* Memory that nobody else uses: written, given up, reads as zeros. */
static void
write_and_discard(struct rng *rng)
{
	struct vmspace *const vs = env.en_x.vf_vs;
	const unsigned int page = rng_below(rng, NSCRATCH - 4);
	uint64_t words[4 * PAGE / 8];
	uint64_t done;

	for (unsigned int i = 0; i < 4 * PAGE / 8; i++)
		words[i] = page + i;
	if (vm_gpa_write(vs, SCRATCH + page * PAGE, words, sizeof(words), &done) != 0)
		return;
	CHECK(done == sizeof(words));
	if (vm_discard(vs, SCRATCH + page * PAGE, 4 * PAGE) != 0)
		return;
	if (vm_gpa_read(vs, SCRATCH + page * PAGE, words, sizeof(words), &done) != 0)
		return;
	for (unsigned int i = 0; i < 4 * PAGE / 8; i++)
		CHECK(words[i] == 0);
}

static void
wirer(void)
{
	struct rng rng = {500};

	for (unsigned int n = 0; goes_on(n); n++) {
		const unsigned int first = rng_below(&rng, MOVING);
		uint64_t moved = 0;

		if (n % 2 == 0)
			wire_and_attach(&rng);
		write_and_discard(&rng);
		if (is_calm())
			continue;
		CHECK(vm_migrate(env.en_x.vf_vs, RAM + first * PAGE,
				 (1 + rng_below(&rng, MOVING - first)) * PAGE, &moved) == 0);
	}
}

static void
act(void *arg, unsigned int role)
{
	static void (*const workers[])(void) = {pager, logger, holder, mover, wirer};

	(void)arg;
	if (role < PAGER) {
		vcpu(role);
		return;
	}
	workers[role - PAGER]();
	host_fetch_add(&env.en_done, 1);
}

/* ---- The test -------------------------------------------------------------------------------- */

static void
begin(const char *format, const struct vf_options *o)
{
	struct vf *const x = &env.en_x;

	memset(&env, 0, sizeof(env));
	vf_open(x, format, o);
	vf_errno(vm_alloc_memseg(x->vf_vs, 0, NPAGES * PAGE, NULL), 0);
	vf_errno(vm_alloc_memseg(x->vf_vs, 1, NSCRATCH * PAGE, NULL), 0);
	vf_map(x, RAM, 0, 0, MOVING, PMAP_PROT_RWX);
	vf_map(x, PLACE(0), 0, MOVING, NPAGES - MOVING, PMAP_PROT_RWX);
	vf_map(x, WIRED, 0, 0, NWIRED, PMAP_PROT_RW);
	vf_map(x, SCRATCH, 1, 0, NSCRATCH, PMAP_PROT_RW);
	for (unsigned int i = 1; i < PLACES; i++)
		host_store(&env.en_gone[i], 1);
	for (unsigned int i = 0; i < 2; i++)
		vf_assert((env.en_slots[i] = host_alloc(sizeof(struct pmap_slot))) != NULL);
	if (o->vo_flags & VM_EAGER_RUNS) {
		vf_errno(vm_fault(x->vf_vs, RAM, PMAP_PROT_RW, NULL), 0);
		vf_assert(vf_stats(x).vt_super_enters == 1);
	}
	vf_errno(vm_dirty_log_enable(x->vf_vs, true), 0);
	env.en_until_ns = now_ns() + 250u * 1000000u;
	if (o->vo_flags & VM_EAGER_RUNS) {
		env.en_calm_ns = now_ns() + 100u * 1000000u;
		/* Under a tool there is no time for more than that one. */
		env.en_supers = fx_scale(20) == 20 ? 4 : 1;
	}
}

/* Everything is at rest. */
static void
settle(void)
{
	struct vf *const x = &env.en_x;
	uint64_t words[WORDS];
	struct vm_hold h;

	vf_check(x);
	collect_all();
	for (unsigned int page = 0; page < NPAGES; page++) {
		vf_errno(vm_memseg_hold(x->vf_vs, 0, page * PAGE, sizeof(words), PMAP_PROT_R, &h),
			 0);
		vm_hold_read(&h, 0, words, sizeof(words));
		vm_gpa_release(&h);
		for (unsigned int w = 0; w < WORDS; w++) {
			if (words[w] != env.en_wrote[w][page])
				vf_fail("page %u, word %u: lost", page, w);
			if (words[w] != env.en_copy[page][w])
				vf_fail("page %u, word %u: written and not reported", page, w);
		}
	}
	vf_check(x);
}

static void
stress(const char *format, const struct vf_options *o)
{
	world_begin(&(struct world_config){.wc_actors = ROLES});
	begin(format, o);
	world_run(ROLES, act, NULL);
	settle();
	vf_assert(vf_stats(&env.en_x).vt_reclaimed > 0 && vf_stats(&env.en_x).vt_holds > 0);
	vf_assert(vf_stats(&env.en_x).vt_super_enters + vf_stats(&env.en_x).vt_promotions >=
		  env.en_supers);
	host_epoch_drain();
	for (unsigned int i = 0; i < 2; i++)
		host_free(env.en_slots[i], sizeof(struct pmap_slot));
	vf_close(&env.en_x);
	world_end();
}

#define STRESS(name, format, flags, pmap_flags, limit)                             \
	Test(vm_threads, name)                                                     \
	{                                                                          \
		static const struct vf_options o = {.vo_flags = (flags),           \
						    .vo_pmap_flags = (pmap_flags), \
						    .vo_limit_pages = (limit),     \
						    .vo_memory_bytes = 16 * MIB};  \
                                                                                   \
		stress(format, &o);                                                \
	}

STRESS(ept, "ept", 0, 0, 700)
STRESS(ept_plenty, "ept", VM_EAGER_RUNS, 0, 0)
STRESS(ept_nx, "ept", VM_EAGER_RUNS | VM_NX_SUPERPAGES, 0, 0)
STRESS(ept_deferred, "ept", 0, PMAP_DEFER, 700)
STRESS(ept_reference, "ept", 0, PMAP_REFERENCE, 700)
STRESS(ept_emulated, "ept-noad", 0, 0, 700)
STRESS(ept_emulated_plenty, "ept-noad", VM_EAGER_RUNS, 0, 0)
STRESS(rvi, "rvi-4", 0, 0, 700)
STRESS(x86, "x86-kernel", 0, 0, 700)
