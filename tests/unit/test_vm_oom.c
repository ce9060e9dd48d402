/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * No memory: every call of vmspace.h, on pages in every state, with the first allocation failing,
 * then the second, until it needs no more; with all of them failing from one on; and, for calls
 * that clean up after a failure, with another one failing after that.
 *
 * A call either does what it does when nothing fails, or says -ENOMEM and has changed nothing but
 * where pages are. Whichever it is, no byte is lost and every account is right.
 */

#include "tests/unit/vm_fixture.h"

#include <stdio.h>

#define AT (32 * MIB)
#define OTHER (96 * MIB)
#define WINDOW (3 * GIB)
#define SPARE 5 /* a segment that no map shows */
#define PAIRS 20

/* ---- States ---------------------------------------------------------------------------------- */

enum how { ABSENT, TOUCHED, SWAPPED, HELD, WIRED, DEVICE, LOGGED };

struct state {
	const char *st_name;
	enum how st_how;
	unsigned int st_npages;
	const char *st_segment; /* NULL: system memory */
	struct vf_options st_options;
};

#define SUPER 520

static const struct state states[] = {
	{"absent", ABSENT, 6, NULL, {0}},
	{"pages", TOUCHED, 6, NULL, {0}},
	{"superpage", TOUCHED, SUPER, NULL, {.vo_flags = VM_EAGER_RUNS}},
	{"superpage, not executable",
	 TOUCHED,
	 SUPER,
	 NULL,
	 {.vo_flags = VM_EAGER_RUNS | VM_NX_SUPERPAGES}},
	{"swapped", SWAPPED, 6, NULL, {0}},
	{"held", HELD, 6, NULL, {0}},
	{"held under a superpage", HELD, SUPER, NULL, {.vo_flags = VM_EAGER_RUNS}},
	{"wired", WIRED, 6, NULL, {0}},
	{"wired superpage", WIRED, SUPER, NULL, {0}},
	{"attached", DEVICE, 6, NULL, {0}},
	{"logged", LOGGED, 6, NULL, {0}},
	{"logged superpage", LOGGED, SUPER, NULL, {.vo_flags = VM_EAGER_RUNS}},
	{"devmem", TOUCHED, 6, "framebuffer", {0}},
	{"devmem, absent", ABSENT, 6, "framebuffer", {0}},
	{"at the limit", TOUCHED, 12, NULL, {.vo_limit_pages = 16, .vo_flags = VM_NO_SUPERPAGES}},
	{"no swap", TOUCHED, 6, NULL, {.vo_no_swap = true}},
	{"pager, absent", ABSENT, 6, NULL, {.vo_flags = VM_HOST_PAGER}},
	{"pager, superpage", TOUCHED, SUPER, NULL, {.vo_flags = VM_HOST_PAGER | VM_EAGER_RUNS}},
	{"pager, put", SWAPPED, 6, NULL, {.vo_flags = VM_HOST_PAGER}},
	{"pager, held", HELD, 6, NULL, {.vo_flags = VM_HOST_PAGER}},
};

#define NSTATES (sizeof(states) / sizeof(states[0]))

struct attempt {
	struct vf at_x;
	const struct state *at_state;
	struct vm_hold at_before; /* held by the state */
	struct vm_hold at_hold;	  /* by the operation */
	bool at_holds;
	uint64_t at_len; /* of the map at AT */
};

static void
furnish(struct attempt *a)
{
	const struct state *const s = a->at_state;
	struct vf *const x = &a->at_x;
	const unsigned int step = s->st_npages > 100 ? 37 : 1;

	a->at_len = s->st_npages * PAGE;
	vf_segment(x, 0, s->st_npages, s->st_segment);
	vf_segment(x, 1, 2, "rom");
	vf_segment(x, SPARE, 3, NULL);
	vf_map(x, AT, 0, 0, s->st_npages, PMAP_PROT_RWX);
	vf_map(x, OTHER, 1, 0, 2, PMAP_PROT_RX);
	vf_errno(vm_map_mmio(x->vf_vs, WINDOW, 2 * PAGE, FX_HPA), 0);
	/* Backwards: frames that are no neighbors must be shown to devices one by one. */
	for (unsigned int i = 0; s->st_how != ABSENT && i < s->st_npages; i += step) {
		const unsigned int page = s->st_how == DEVICE ? s->st_npages - 1 - i : i;

		vf_poke(x, AT + page * PAGE, page + 1);
	}
	if (s->st_how == SWAPPED) {
		vf_pageout_all(x);
		vf_assert(vf_accounts(x).va_resident == 0);
	}
	if (s->st_how == HELD)
		vf_errno(vm_gpa_hold(x->vf_vs, AT + PAGE, 2 * PAGE, PMAP_PROT_RW, &a->at_before,
				     NULL),
			 0);
	if (s->st_how == WIRED || s->st_how == DEVICE)
		vf_errno(vm_wire_memmap(x->vf_vs, AT, a->at_len), 0);
	if (s->st_how == DEVICE)
		vf_errno(vm_attach_device(x->vf_vs, 1), 0);
	if (s->st_how == LOGGED)
		vf_errno(vm_dirty_log_enable(x->vf_vs, true), 0);
}

/* ---- Operations ------------------------------------------------------------------------------ */

static int
op_alloc(struct attempt *a)
{
	return vm_alloc_memseg(a->at_x.vf_vs, 9, 1024 * PAGE, NULL);
}

static int
op_alloc_named(struct attempt *a)
{
	return vm_alloc_memseg(a->at_x.vf_vs, 9, PAGE, "new");
}

static int
op_free(struct attempt *a)
{
	vf_expect(&a->at_x, SPARE, 0, 0);
	return vm_free_memseg(a->at_x.vf_vs, SPARE);
}

static int
op_mmap(struct attempt *a)
{
	return vm_mmap_memseg(a->at_x.vf_vs, AT + GIB, 0, 0, (int64_t)a->at_len, PMAP_PROT_RW, 0);
}

static int
op_mmap_wired(struct attempt *a)
{
	return vm_mmap_memseg(a->at_x.vf_vs, AT + GIB, 0, 0, (int64_t)a->at_len, PMAP_PROT_RW,
			      VM_MEMMAP_F_WIRED);
}

static int
op_munmap(struct attempt *a)
{
	return vm_munmap_memseg(a->at_x.vf_vs, AT, a->at_len);
}

static int
op_protect(struct attempt *a)
{
	return vm_protect_memmap(a->at_x.vf_vs, AT, a->at_len, PMAP_PROT_R);
}

static int
op_mmio(struct attempt *a)
{
	return vm_map_mmio(a->at_x.vf_vs, WINDOW + MIB, 2 * PAGE, FX_HPA);
}

static int
op_unmmio(struct attempt *a)
{
	return vm_unmap_mmio(a->at_x.vf_vs, WINDOW, 2 * PAGE);
}

static int
op_reset(struct attempt *a)
{
	return vm_reset(a->at_x.vf_vs);
}

static int
op_fault_read(struct attempt *a)
{
	return vm_fault(a->at_x.vf_vs, AT + 3 * PAGE, PMAP_PROT_R, NULL);
}

static int
op_fault_write(struct attempt *a)
{
	return vm_fault(a->at_x.vf_vs, AT + 4 * PAGE + 5, PMAP_PROT_RW, NULL);
}

static int
op_fault_fetch(struct attempt *a)
{
	return vm_fault(a->at_x.vf_vs, AT, PMAP_PROT_X, NULL);
}

static int
op_fault_rom(struct attempt *a)
{
	return vm_fault(a->at_x.vf_vs, OTHER + PAGE, PMAP_PROT_R, NULL);
}

static int
op_fault_window(struct attempt *a)
{
	return vm_fault(a->at_x.vf_vs, WINDOW, PMAP_PROT_W, NULL);
}

static int
op_hold(struct attempt *a)
{
	const int error =
		vm_gpa_hold(a->at_x.vf_vs, AT + 100, 4 * PAGE, PMAP_PROT_RW, &a->at_hold, NULL);

	a->at_holds = error == 0;
	return error;
}

static int
op_seghold(struct attempt *a)
{
	const int error =
		vm_memseg_hold(a->at_x.vf_vs, 0, PAGE, 4 * PAGE, PMAP_PROT_R, &a->at_hold);

	a->at_holds = error == 0;
	return error;
}

static int
op_read(struct attempt *a)
{
	char bytes[4 * PAGE];
	uint64_t done;
	const int error = vm_gpa_read(a->at_x.vf_vs, AT + 5, bytes, sizeof(bytes), &done);

	vf_assert(error != 0 || done == sizeof(bytes));
	return error;
}

/* Writes what is there already. */
static int
op_write(struct attempt *a)
{
	const uint64_t stamp = vf_expected(&a->at_x, 0, 2);
	uint64_t done = 77;
	const int error = vm_gpa_write(a->at_x.vf_vs, AT + 2 * PAGE, &stamp, sizeof(stamp), &done);

	vf_assert(done == (error == 0 ? sizeof(stamp) : 0));
	return error;
}

static int
op_wire(struct attempt *a)
{
	return vm_wire_memmap(a->at_x.vf_vs, AT, a->at_len);
}

static int
op_unwire(struct attempt *a)
{
	return vm_unwire_memmap(a->at_x.vf_vs, AT, a->at_len);
}

static int
op_attach(struct attempt *a)
{
	return vm_attach_device(a->at_x.vf_vs, 3);
}

static int
op_detach(struct attempt *a)
{
	return vm_detach_device(a->at_x.vf_vs, 1);
}

static int
op_pageout(struct attempt *a)
{
	uint64_t freed;

	return vm_pageout(a->at_x.vf_sys, NULL, 3, 0, &freed);
}

static int
op_migrate(struct attempt *a)
{
	uint64_t moved;

	return vm_migrate(a->at_x.vf_vs, AT, a->at_len, &moved);
}

static int
op_discard(struct attempt *a)
{
	const int error = vm_discard(a->at_x.vf_vs, AT + 3 * PAGE, 2 * PAGE);

	if (error == 0) {
		vf_expect(&a->at_x, 0, 3, 0);
		vf_expect(&a->at_x, 0, 4, 0);
	}
	return error;
}

static int
op_log_enable(struct attempt *a)
{
	return vm_dirty_log_enable(a->at_x.vf_vs, false);
}

static int
op_log_disable(struct attempt *a)
{
	return vm_dirty_log_disable(a->at_x.vf_vs);
}

/* What was dirty is reported, by this call or by the next. */
static int
op_log_clear(struct attempt *a)
{
	uint64_t bits[SUPER / 64 + 1] = {0};
	uint64_t again[SUPER / 64 + 1] = {0};
	const int error = vm_dirty_log(a->at_x.vf_vs, AT, a->at_len, VM_DIRTY_CLEAR, bits);

	if (error != 0 && error != -ENOMEM)
		return error;
	if (error != 0)
		vf_errno(vm_dirty_log(a->at_x.vf_vs, AT, a->at_len, VM_DIRTY_CLEAR, again), 0);
	for (unsigned int i = 0; i < a->at_state->st_npages; i++) {
		const bool told = (again[i / 64] >> i % 64 & 1) != 0 ||
				  (error == 0 && (bits[i / 64] >> i % 64 & 1) != 0);

		vf_assert(told || vf_expected(&a->at_x, 0, i) == 0);
	}
	return error;
}

static int
op_log_set(struct attempt *a)
{
	const uint64_t bits = 5;

	return vm_dirty_log_set(a->at_x.vf_vs, AT, 4 * PAGE, &bits);
}

static int
op_nx(struct attempt *a)
{
	return vm_set_nx_superpages(a->at_x.vf_vs, true);
}

static int
op_recover(struct attempt *a)
{
	return vm_exec_recover(a->at_x.vf_vs);
}

static int
op_create(struct attempt *a)
{
	struct vmspace_config cfg;
	struct vmspace *vs = NULL;
	int error;

	vf_config(a->at_x.vf_format, &a->at_x.vf_options, &cfg);
	error = vmspace_create(a->at_x.vf_sys, &cfg, &vs);
	vf_assert((vs != NULL) == (error == 0));
	if (vs != NULL)
		vmspace_destroy(vs);
	return error;
}

static int
op_system(struct attempt *a)
{
	const struct vm_system_config cfg = {.vy_mem_limit_bytes = PAGE};
	struct vm_system *sys = NULL;
	const int error = vm_system_create(&cfg, &sys);

	(void)a;
	/* It can do without nothing that it asks for. */
	vf_assert((error != 0) == (host_posix_failed_allocs() != 0));
	vf_assert((sys != NULL) == (error == 0));
	if (sys != NULL)
		vm_system_destroy(sys);
	return error;
}

static int
op_destroy(struct attempt *a)
{
	vf_destroy(&a->at_x);
	return 0;
}

static const struct operation {
	const char *op_name;
	int (*op_fn)(struct attempt *a);
	bool op_many; /* goes over several pages: pairs of failures, too */
} operations[] = {
	{"alloc", op_alloc, false},
	{"alloc named", op_alloc_named, false},
	{"free", op_free, false},
	{"mmap", op_mmap, true},
	{"mmap wired", op_mmap_wired, true},
	{"munmap", op_munmap, true},
	{"protect", op_protect, true},
	{"map mmio", op_mmio, false},
	{"unmap mmio", op_unmmio, false},
	{"reset", op_reset, true},
	{"fault read", op_fault_read, true},
	{"fault write", op_fault_write, true},
	{"fault fetch", op_fault_fetch, true},
	{"fault in the ROM", op_fault_rom, false},
	{"fault in the window", op_fault_window, true},
	{"hold", op_hold, true},
	{"hold of the segment", op_seghold, true},
	{"read", op_read, false},
	{"write", op_write, false},
	{"wire", op_wire, true},
	{"unwire", op_unwire, true},
	{"attach", op_attach, true},
	{"detach", op_detach, true},
	{"pageout", op_pageout, true},
	{"migrate", op_migrate, true},
	{"discard", op_discard, true},
	{"log enable", op_log_enable, true},
	{"log disable", op_log_disable, true},
	{"log clear", op_log_clear, true},
	{"log set", op_log_set, false},
	{"no executable superpages", op_nx, true},
	{"recover", op_recover, true},
	{"create", op_create, false},
	{"create a system", op_system, false},
	{"destroy", op_destroy, false},
};

#define NOPERATIONS (sizeof(operations) / sizeof(operations[0]))

/* ---- One attempt ----------------------------------------------------------------------------- */

struct plan {
	const char *pl_format;
	const struct state *pl_state;
	const struct operation *pl_op;
	int pl_want;		     /* when nothing fails */
	struct vf_snapshot pl_after; /* and what it looks like then */
};

static void
describe(char text[160], const struct plan *p, uint64_t n, bool persistent, uint64_t again)
{
	snprintf(text, 160, "%s: %s, failure %u%s, %u later", p->pl_state->st_name,
		 p->pl_op->op_name, (unsigned int)n, persistent ? " and on" : "",
		 (unsigned int)again);
}

/* Contents, and a life after it: what was refused can be done now. */
static void
aftermath(struct attempt *a, const struct operation *op)
{
	struct vf *const x = &a->at_x;
	hpa_t hpa;

	if (a->at_holds)
		vm_gpa_release(&a->at_hold);
	if (x->vf_vs != NULL && op->op_fn != op_munmap && op->op_fn != op_reset) {
		vf_errno(vf_touch(x, AT + 2 * PAGE, PMAP_PROT_R, &hpa, NULL), 0);
		vf_assert(vf_peek(x, AT + 2 * PAGE) == vf_expected(x, 0, 2));
	}
	if (op->op_fn == op_free) { /* the ghost does not know whether it went */
		vm_free_memseg(x->vf_vs, SPARE);
		vf_errno(vm_alloc_memseg(x->vf_vs, SPARE, 3 * PAGE, NULL), 0);
	}
	if (x->vf_vs != NULL)
		vf_verify(x);
	if (a->at_state->st_how == HELD)
		vm_gpa_release(&a->at_before);
}

/* How many allocations were made to fail. n 0: none is, and the plan learns what is right. */
static uint64_t
attempt(struct plan *p, uint64_t n, bool persistent, uint64_t again)
{
	struct attempt a = {.at_state = p->pl_state};
	struct vf_snapshot before;
	struct vf_snapshot after = {0};
	char what[160];
	uint64_t failed;
	int error;

	describe(what, p, n, persistent, again);
	world_begin(NULL);
	vf_open(&a.at_x, p->pl_format, &p->pl_state->st_options);
	furnish(&a);
	vf_snapshot_firm(&a.at_x, &before);
	host_posix_fail_alloc(n, persistent);
	if (again != 0)
		host_posix_fail_alloc_again(again);
	error = p->pl_op->op_fn(&a);
	failed = host_posix_failed_allocs();
	host_posix_fail_alloc(0, false);
	if (n == 0)
		p->pl_want = error;
	else if (error != p->pl_want && (error != -ENOMEM || failed == 0))
		vf_fail("%s: %d, not %d", what, error, p->pl_want);
	if (a.at_x.vf_vs != NULL) {
		vf_check(&a.at_x);
		vf_snapshot_firm(&a.at_x, &after);
		if (error != 0)
			vf_same_firm(&before, &after, what);
		else if (n != 0)
			vf_same_firm(&p->pl_after, &after, what);
	}
	aftermath(&a, p->pl_op);
	vf_close(&a.at_x);
	vf_snapshot_free(&before);
	if (n == 0)
		p->pl_after = after;
	else
		vf_snapshot_free(&after);
	CHECK(true);
	world_end();
	return failed;
}

/* ---- All of them ----------------------------------------------------------------------------- */

/* Of very many allocations, only some in the middle. */
static uint64_t
next_n(uint64_t n)
{
	return n < 40 ? n + 1 : n + 97;
}

static void
sweep(struct plan *p, unsigned int *failures)
{
	attempt(p, 0, false, 0);
	for (unsigned int persistent = 0; persistent < 2; persistent++) {
		for (uint64_t n = 1; attempt(p, n, persistent != 0, 0) != 0; n = next_n(n))
			++*failures;
	}
	vf_snapshot_free(&p->pl_after);
}

/* Both must come to pass; the second may not, if the call gives up after the first. */
static void
sweep_pairs(struct plan *p, unsigned int *failures)
{
	bool came = true;

	if (!p->pl_op->op_many)
		return;
	attempt(p, 0, false, 0);
	for (uint64_t n = 1; n < PAIRS && came; n++) {
		uint64_t failed = 2;

		for (uint64_t again = 1; n + again <= PAIRS && failed == 2; again++) {
			failed = attempt(p, n, false, again);
			*failures += failed == 2;
		}
		came = failed != 0;
	}
	vf_snapshot_free(&p->pl_after);
}

static void
all(const char *format, void (*fn)(struct plan *p, unsigned int *failures), unsigned int least)
{
	/* Under a tool a part of them, each time another; much less where it is much slower. */
	const unsigned int one_in = fx_scale(20) == 20 ? 1 : fx_scale(20) == 1 ? 37 : 5;
	static unsigned int turn;
	unsigned int failures = 0;
	unsigned int done = 0;

	turn++;
	for (unsigned int s = 0; s < NSTATES; s++) {
		for (unsigned int o = 0; o < NOPERATIONS; o++) {
			struct plan p = {
				.pl_format = format,
				.pl_state = &states[s],
				.pl_op = &operations[o],
			};

			if ((s * NOPERATIONS + o) % one_in != turn % one_in)
				continue;
			fn(&p, &failures);
			done += p.pl_want == 0;
		}
	}
	/* Of a part, little can be said; all of them run where there is no tool. */
	cr_assert(done > (one_in == 1 ? 300 : 0), "%s: only %u calls do anything", format, done);
	cr_assert(failures > least || one_in > 1, "%s: only %u failures", format, failures);
}

Test(vm_oom, ept)
{
	all("ept", sweep, 1000);
}

Test(vm_oom, ept_emulated)
{
	all("ept-noad", sweep, 1000);
}

Test(vm_oom, rvi)
{
	all("rvi-4", sweep, 1000);
}

Test(vm_oom, x86)
{
	all("x86-kernel", sweep, 1000);
}

Test(vm_oom, pairs)
{
	all("ept", sweep_pairs, 500);
}

Test(vm_oom, pairs_emulated)
{
	all("ept-noad", sweep_pairs, 500);
}
