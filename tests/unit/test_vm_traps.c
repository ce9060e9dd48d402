/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Mistakes that hypervisors have shipped, each with a test of its name.
 */

#include "tests/unit/rng.h"
#include "tests/unit/vm_fixture.h"
#include "vmspace/vm_priv.h"

#include <string.h>
#include <time.h>

#define RAM (16 * MIB)

/* The entry that a walk of gpa ends with. */
static pt_entry_t
last_entry(struct vf *x, gpa_t gpa)
{
	pt_entry_t entries[PT_LEVELS_MAX];
	unsigned int n = 0;

	vf_errno(pmap_walk(x->vf_pm, gpa, entries, &n), 0);
	vf_assert(n >= 1);
	return entries[n - 1];
}

/* ---- Misconfigurations ----------------------------------------------------------------------- */

/*
 * Of R, W, X an EPT entry may have none, R, RW, RX or RWX, and X alone only where the CPU can (SDM
 * vol. 3C 29.3.3.1): never W without R.
 */
static void
check_entries(struct vf *x, unsigned int npages)
{
	for (unsigned int i = 0; i < npages; i++) {
		const unsigned int rwx = (unsigned int)last_entry(x, RAM + i * PAGE) & 7;

		vf_assert(rwx != 2 && rwx != 6);
		vf_assert(rwx != 4 || x->vf_format->ff_caps.pc_exec_only);
	}
}

/* Mapped ahead of any access, as wiring does: no right may show before A does. */
static void
populate_without_a(struct vf *x)
{
	if (!x->vf_fmt->pf_emulated_ad)
		return;
	vf_segment(x, 0, 16, NULL);
	vf_errno(vm_mmap_memseg(x->vf_vs, RAM, 0, 0, 8 * PAGE, PMAP_PROT_RWX, VM_MEMMAP_F_WIRED),
		 0);
	for (unsigned int i = 0; i < 8; i++) {
		struct pmap_leaf leaf;
		hpa_t hpa;

		vf_errno(pmap_extract(x->vf_pm, RAM + i * PAGE, &leaf), 0);
		vf_assert(leaf.pl_wired && leaf.pl_prot == PMAP_PROT_RWX);
		vf_assert(leaf.pl_accessed || (last_entry(x, RAM + i * PAGE) & 7) == 0);
		vf_errno(
			vf_touch(x, RAM + i * PAGE, i % 2 ? PMAP_PROT_X : PMAP_PROT_RW, &hpa, NULL),
			0);
	}
	check_entries(x, 8);
}

Test(vm_traps, populate_without_a)
{
	vf_each(NULL, populate_without_a);
}

/* A and M are set together, and cleared together: through everything that sets and clears them. */
static void
write_without_read(struct vf *x)
{
	uint64_t bits[1] = {0};
	struct rng rng = {5};
	uint64_t n;

	if (!x->vf_fmt->pf_emulated_ad)
		return;
	vf_segment(x, 0, 64, NULL);
	vf_map(x, RAM, 0, 0, 64, PMAP_PROT_RWX);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	for (unsigned int k = 0; k < 300; k++) {
		const gpa_t gpa = RAM + rng_below(&rng, 64) * PAGE;
		struct pmap_gather g;
		hpa_t hpa;

		switch (k % 7) {
		case 0:
			vf_errno(vm_dirty_log(x->vf_vs, RAM, 64 * PAGE, VM_DIRTY_CLEAR, bits), 0);
			break;
		case 1:
			pmap_gather_begin(&g, x->vf_pm);
			vf_errno(pmap_ts_referenced(x->vf_pm, RAM, gpa + PAGE, &n, &g), 0);
			pmap_gather_finish(&g);
			break;
		case 2:
			vf_errno(vm_pageout(x->vf_sys, NULL, 3, 0, &n), 0);
			break;
		case 3:
			vf_errno(vf_touch(x, gpa, PMAP_PROT_RX, &hpa, NULL), 0);
			break;
		default:
			vf_poke(x, gpa, k);
			break;
		}
		check_entries(x, 64);
	}
	vf_verify(x);
}

Test(vm_traps, write_without_read)
{
	vf_each(NULL, write_without_read);
}

/*
 * "A clear, so nobody has it cached" does not hold where X can show without A: under emulation
 * there are no mappings that only execute, whatever the CPU could do.
 */
Test(vm_traps, a_clear_is_not_uncached)
{
	struct fx_format f = *fx_format("ept-noad");
	const struct vf_options o = {0};
	const struct vm_system_config sc = {.vy_mem_limit_bytes = 64 * MIB};
	struct vmspace_config cfg;
	struct vm_system *sys;
	struct vmspace *vs;
	struct pmap_leaf leaf;

	f.ff_caps.pc_exec_only = true;
	world_begin(NULL);
	vf_config(&f, &o, &cfg);
	cfg.vc_pmap.pc_flags |= PMAP_SUPPORTS_EXEC_ONLY;
	CHECK(vm_system_create(&sc, &sys) == 0);
	if (vmspace_create(sys, &cfg, &vs) != 0) {
		/* The two together may be refused; with the CPU's right alone it must work. */
		cfg.vc_pmap.pc_flags &= ~PMAP_SUPPORTS_EXEC_ONLY;
		CHECK(vmspace_create(sys, &cfg, &vs) == 0);
	}
	CHECK(vm_alloc_memseg(vs, 0, 8 * PAGE, NULL) == 0);
	CHECK(vm_mmap_memseg(vs, RAM, 0, 0, 8 * PAGE, PMAP_PROT_X, 0) == -EOPNOTSUPP);
	CHECK(vm_mmap_memseg(vs, RAM, 0, 0, 8 * PAGE, PMAP_PROT_RX, VM_MEMMAP_F_WIRED) == 0);
	for (unsigned int i = 0; i < 8; i++) {
		pt_entry_t entries[PT_LEVELS_MAX];
		unsigned int n;

		CHECK(pmap_extract(vmspace_pmap(vs), RAM + i * PAGE, &leaf) == 0);
		CHECK(pmap_walk(vmspace_pmap(vs), RAM + i * PAGE, entries, &n) == 0);
		CHECK(leaf.pl_accessed || (entries[n - 1] & 7) == 0);
	}
	vmspace_destroy(vs);
	vm_system_destroy(sys);
	world_end();
}

/* ---- Bits that mean something else elsewhere ------------------------------------------------- */

/* Software's "wired" was once in the position of EPT's dirty flag. */
static void
wired_is_not_dirty(struct vf *x)
{
	uint64_t bits[1] = {0};

	vf_assert((x->vf_fmt->pf_wired & (x->vf_fmt->pf_m | x->vf_fmt->pf_a)) == 0);
	vf_segment(x, 0, 8, NULL);
	vf_map(x, RAM, 0, 0, 8, PMAP_PROT_RW);
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, 8 * PAGE), 0);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	for (unsigned int i = 0; i < 8; i++) {
		struct pmap_leaf leaf;

		vf_errno(pmap_extract(x->vf_pm, RAM + i * PAGE, &leaf), 0);
		vf_assert(leaf.pl_wired && !leaf.pl_modified);
		if (x->vf_format->ff_type == PT_EPT && !x->vf_fmt->pf_emulated_ad)
			vf_assert((last_entry(x, RAM + i * PAGE) >> 9 & 1) == 0);
	}
	vf_errno(vm_dirty_log(x->vf_vs, RAM, 8 * PAGE, VM_DIRTY_CLEAR, bits), 0);
	vf_assert(bits[0] == 0);
	vf_poke(x, RAM + 3 * PAGE, 1);
	vf_errno(vm_dirty_log(x->vf_vs, RAM, 8 * PAGE, VM_DIRTY_CLEAR, bits), 0);
	vf_assert(bits[0] == 8);
	/* Cleared, it is wired all the same. */
	vf_assert(vf_info(x, RAM + 3 * PAGE).pi_wirings == 1);
	vf_check(x);
}

Test(vm_traps, wired_is_not_dirty)
{
	vf_each(NULL, wired_is_not_dirty);
}

/* Bit 63: no execution (RVI, X86); no right at all (EPT, where it is about #VE, and left clear). */
static void
bit_63(struct vf *x)
{
	const bool ept = x->vf_format->ff_type == PT_EPT;
	hpa_t hpa;

	vf_segment(x, 0, 8, NULL);
	vf_map(x, RAM, 0, 0, 4, PMAP_PROT_RW);
	vf_map(x, RAM + 4 * PAGE, 0, 4, 4, PMAP_PROT_RWX);
	vf_errno(vf_touch(x, RAM, PMAP_PROT_RW, &hpa, NULL), 0);
	vf_errno(vf_touch(x, RAM, PMAP_PROT_X, &hpa, NULL), -EACCES);
	vf_errno(vf_touch(x, RAM + 4 * PAGE, PMAP_PROT_RWX, &hpa, NULL), 0);
	vf_assert(last_entry(x, RAM) >> 63 == !ept);
	vf_assert(last_entry(x, RAM + 4 * PAGE) >> 63 == 0);
}

Test(vm_traps, bit_63)
{
	vf_each(NULL, bit_63);
}

/* ---- Shootdowns ------------------------------------------------------------------------------ */

/* The invalidation of 2013 kicked the CPUs, and did not wait until they had left. */

enum taking {
	TAKE_MUNMAP,
	TAKE_PROTECT,
	TAKE_PAGEOUT,
	TAKE_MIGRATE,
	TAKE_DISCARD,
	TAKE_LOG,
	TAKE_RESET,
	TAKE_WINDOW,
	TAKE_COUNT,
};

#define DEVMEM (64 * MIB)
#define WINDOW (3 * GIB)

static struct {
	struct vf wa_x;
	struct pmap_slot *wa_slot;
	enum taking wa_taking;
	struct host_word wa_inside;
	struct host_word wa_left;
} wait;

static gpa_t
taken_gpa(void)
{
	return wait.wa_taking == TAKE_RESET ? DEVMEM : wait.wa_taking == TAKE_WINDOW ? WINDOW : RAM;
}

static int
take(struct vmspace *vs)
{
	uint64_t n = 0;

	switch (wait.wa_taking) {
	case TAKE_MUNMAP:
		return vm_munmap_memseg(vs, RAM, 8 * PAGE);
	case TAKE_PROTECT:
		return vm_protect_memmap(vs, RAM, 8 * PAGE, PMAP_PROT_R);
	case TAKE_PAGEOUT:
		return vm_pageout(wait.wa_x.vf_sys, NULL, 100, 0, &n);
	case TAKE_MIGRATE:
		return vm_migrate(vs, RAM, 8 * PAGE, &n);
	case TAKE_DISCARD:
		return vm_discard(vs, RAM, 8 * PAGE);
	case TAKE_LOG:
		return vm_dirty_log(vs, RAM, 8 * PAGE, VM_DIRTY_CLEAR, &n);
	case TAKE_RESET:
		return vm_reset(vs);
	default:
		return vm_unmap_mmio(vs, WINDOW, 8 * PAGE);
	}
}

/* A vCPU that has the page cached, and takes its time to leave. */
static void
linger(struct pmap *pm, struct pmap_slot *s)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	hpa_t hpa;

	pmap_slot_attach(pm, s);
	if (pmap_guest_enter(pm, s))
		pmap_guest_flushed(s);
	CHECK(vf_walk(&wait.wa_x, taken_gpa(), PMAP_PROT_RW, &hpa));
	host_store_release(&wait.wa_inside, 1);
	while (!host_posix_kick_taken())
		host_relax();
	for (unsigned int i = 0; i < 5; i++)
		nanosleep(&pause, NULL);
	host_xchg(&wait.wa_left, 1);
	pmap_guest_exit(s);
	pmap_slot_detach(pm, s);
}

static void
taker_or_vcpu(void *arg, unsigned int i)
{
	(void)arg;
	if (i == 0) {
		linger(wait.wa_x.vf_pm, wait.wa_slot);
		return;
	}
	while (host_load_acquire(&wait.wa_inside) == 0)
		host_relax();
	CHECK(take(wait.wa_x.vf_vs) == 0);
	CHECK(host_load_acquire(&wait.wa_left) == 1);
}

static void
take_and_wait(const char *format, enum taking taking)
{
	struct vf *const x = &wait.wa_x;
	hpa_t hpa;

	world_begin(&(struct world_config){.wc_actors = 2});
	memset(&wait, 0, sizeof(wait));
	wait.wa_taking = taking;
	vf_open(x, format, NULL);
	vf_assert((wait.wa_slot = host_alloc(sizeof(*wait.wa_slot))) != NULL);
	vf_segment(x, 0, 8, NULL);
	vf_segment(x, 1, 8, "framebuffer");
	vf_map(x, RAM, 0, 0, 8, PMAP_PROT_RW);
	vf_map(x, DEVMEM, 1, 0, 8, PMAP_PROT_RW);
	vf_errno(vm_map_mmio(x->vf_vs, WINDOW, 8 * PAGE, FX_HPA), 0);
	if (taking == TAKE_LOG)
		vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	vf_errno(vf_touch(x, taken_gpa(), PMAP_PROT_RW, &hpa, NULL), 0);
	world_run(2, taker_or_vcpu, NULL);
	host_epoch_drain();
	host_free(wait.wa_slot, sizeof(*wait.wa_slot));
	vf_close(x);
	world_end();
}

Test(vm_traps, invalidation_waits)
{
	for (unsigned int t = 0; t < TAKE_COUNT; t++) {
		take_and_wait("ept", (enum taking)t);
		take_and_wait("ept-noad", (enum taking)t);
		take_and_wait("rvi-4", (enum taking)t);
	}
}

/* Nor do they wait for CPUs only: a fault that was decided before must be over, too. */

static struct {
	struct vf ff_x;
	bool ff_protect;
	struct host_word ff_inside;
	struct host_word ff_over;
} flight;

static void
revoker_or_fault(void *arg, unsigned int i)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	struct vmspace *const vs = flight.ff_x.vf_vs;
	struct vm_object *const ob = vs->vs_segs[0].sg_object;
	struct vm_page *const pg = vm_object_page(ob, 3);

	(void)arg;
	if (i == 0) {
		CHECK(vm_page_share(pg));
		host_store_release(&flight.ff_inside, 1);
		nanosleep(&pause, NULL);
		host_xchg(&flight.ff_over, 1);
		vm_page_unshare(ob, pg);
		return;
	}
	while (host_load_acquire(&flight.ff_inside) == 0)
		host_relax();
	CHECK((flight.ff_protect ? vm_protect_memmap(vs, RAM, 8 * PAGE, PMAP_PROT_R)
				 : vm_munmap_memseg(vs, RAM, 8 * PAGE)) == 0);
	CHECK(host_load_acquire(&flight.ff_over) == 1);
}

Test(vm_traps, faults_in_flight)
{
	for (unsigned int k = 0; k < 4; k++) {
		struct vf *const x = &flight.ff_x;

		world_begin(&(struct world_config){.wc_actors = 2});
		memset(&flight, 0, sizeof(flight));
		flight.ff_protect = k % 2 != 0;
		vf_open(x, k < 2 ? "ept" : "rvi-4", NULL);
		vf_segment(x, 0, 8, NULL);
		vf_map(x, RAM, 0, 0, 8, PMAP_PROT_RW);
		vf_poke(x, RAM + 3 * PAGE, 1);
		world_run(2, revoker_or_fault, NULL);
		vf_verify(x);
		vf_close(x);
		world_end();
	}
}

/*
 * What was flushed is known per (guest, CPU) on Intel, per vCPU on AMD: what one slot has flushed
 * says nothing of another, even on the same CPU.
 */
static void
every_slot_flushes(struct vf *x)
{
	struct pmap_slot *slots[3];
	hpa_t hpa;

	if (x->vf_format->ff_type == PT_X86)
		return;
	vf_segment(x, 0, 8, NULL);
	vf_map(x, RAM, 0, 0, 8, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 3; i++) {
		vf_assert((slots[i] = host_alloc(sizeof(*slots[i]))) != NULL);
		pmap_slot_attach(x->vf_pm, slots[i]);
	}
	for (unsigned int round = 0; round < 4; round++) {
		vf_errno(vf_touch(x, RAM, PMAP_PROT_RW, &hpa, NULL), 0);
		for (unsigned int i = 0; i < 6; i++) {
			const bool flush = pmap_guest_enter(x->vf_pm, slots[i % 3]);

			if (flush)
				pmap_guest_flushed(slots[i % 3]);
			pmap_guest_exit(slots[i % 3]);
			vf_assert(flush == (i < 3)); /* the first time, once each */
		}
		vf_errno(vm_protect_memmap(x->vf_vs, RAM, 8 * PAGE,
					   round % 2 ? PMAP_PROT_RW : PMAP_PROT_R),
			 0);
		if (round % 2) {
			vf_unmap(x, RAM, 8);
			vf_map(x, RAM, 0, 0, 8, PMAP_PROT_RW);
		} else {
			vf_errno(vm_protect_memmap(x->vf_vs, RAM, 8 * PAGE, PMAP_PROT_RW), 0);
		}
	}
	for (unsigned int i = 0; i < 3; i++)
		pmap_slot_detach(x->vf_pm, slots[i]);
	host_epoch_drain();
	for (unsigned int i = 0; i < 3; i++)
		host_free(slots[i], sizeof(*slots[i]));
}

Test(vm_traps, generation_is_per_slot)
{
	vf_each(NULL, every_slot_flushes);
}

/* ---- Splitting ------------------------------------------------------------------------------- */

/* The table that is kept from a promotion is as old as that: rights have changed since. */
static void
split_after_protect(struct vf *x)
{
	const unsigned int n = 512;

	vf_segment(x, 0, n, NULL);
	vf_map(x, RAM, 0, 0, n, PMAP_PROT_RWX);
	for (unsigned int i = 0; i < n; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, n * PAGE), 0);
	vf_poke(x, RAM, 1);
	vf_errno(vm_protect_memmap(x->vf_vs, RAM, n * PAGE, PMAP_PROT_RX), 0);
	vf_errno(vm_unwire_memmap(x->vf_vs, RAM, n * PAGE), 0);
	for (unsigned int i = 0; i < n; i++)
		vf_assert(vf_peek(x, RAM + i * PAGE) == i + 1);
	/* Into single pages, as pageout, the log and discarding do. */
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	for (unsigned int i = 0; i < n; i++) {
		struct pmap_leaf leaf;
		struct pmap_gather g;

		pmap_gather_begin(&g, x->vf_pm);
		pmap_demote(x->vf_pm, RAM, 1, &g);
		pmap_gather_finish(&g);
		if (pmap_extract(x->vf_pm, RAM + i * PAGE, &leaf) != 0)
			continue;
		vf_assert(leaf.pl_level == 0 && !leaf.pl_wired);
		vf_assert((leaf.pl_prot & PMAP_PROT_W) == 0);
		vf_assert(leaf.pl_hpa == vf_info(x, RAM + i * PAGE).pi_hpa);
	}
	vf_check(x);
	vf_verify(x);
}

Test(vm_traps, split_after_protect)
{
	vf_each(NULL, split_after_protect);
}

/* ---- Guests' lives --------------------------------------------------------------------------- */

/* A guest whose memory is all wired asks for more: it is told, at once, and can be killed. */
static void
no_wait_for_ever(struct vf *x)
{
	vf_segment(x, 0, 64, NULL);
	vf_map(x, RAM, 0, 0, 64, PMAP_PROT_RW);
	vf_errno(
		vm_mmap_memseg(x->vf_vs, 2 * RAM, 0, 0, 30 * PAGE, PMAP_PROT_RW, VM_MEMMAP_F_WIRED),
		0);
	for (unsigned int i = 30; i < 64; i++)
		vf_errno(vm_fault(x->vf_vs, RAM + i * PAGE, PMAP_PROT_R, NULL), -ENOMEM);
	host_vm_posix_interrupt(host_cpu(), true);
	for (unsigned int i = 30; i < 64; i++)
		vf_errno(vm_fault(x->vf_vs, RAM + i * PAGE, PMAP_PROT_R, NULL), -EINTR);
	host_vm_posix_interrupt(host_cpu(), false);
	vf_check(x);
}

Test(vm_traps, no_wait_for_ever)
{
	static const struct vf_options o = {.vo_limit_pages = 30};

	vf_each(&o, no_wait_for_ever);
}

/* A hold does not pass by the tables: no M tells of what is written through it. */
static void
hold_is_a_write(struct vf *x)
{
	uint64_t bits[1] = {0};
	struct vm_hold h;

	vf_segment(x, 0, 8, NULL);
	vf_map(x, RAM, 0, 0, 8, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 8; i++)
		vf_peek(x, RAM + i * PAGE);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	vf_errno(vm_gpa_hold(x->vf_vs, RAM + 2 * PAGE, 2 * PAGE, PMAP_PROT_RW, &h, NULL), 0);
	vf_errno(vm_dirty_log(x->vf_vs, RAM, 8 * PAGE, VM_DIRTY_CLEAR, bits), 0);
	vf_assert(bits[0] == 0xc);
	/* Collected while it is held, and written after that. */
	vm_hold_write(&h, 0, &(uint64_t){6}, 8);
	vm_hold_write(&h, PAGE - 8, &(uint64_t){6}, 8);
	vf_expect(x, 0, 2, 6);
	vm_gpa_release(&h);
	vf_errno(vm_dirty_log(x->vf_vs, RAM, 8 * PAGE, VM_DIRTY_CLEAR, bits), 0);
	vf_assert(bits[0] == 0xc);
	vf_errno(vm_dirty_log(x->vf_vs, RAM, 8 * PAGE, VM_DIRTY_CLEAR, bits), 0);
	vf_assert(bits[0] == 0);
	vf_swap_out(x, RAM + 2 * PAGE);
	vf_verify(x);
}

Test(vm_traps, hold_is_a_write)
{
	vf_each(NULL, hold_is_a_write);
}

/* The loader sets memory up, and the VMM that comes after it does so again. */
static int
set_up(struct vf *x, uint64_t npages)
{
	struct vm_memmap m;
	int error = vm_alloc_memseg(x->vf_vs, 0, npages * PAGE, NULL);

	if (error != 0 && error != -EEXIST)
		return error;
	if (vm_mmap_getnext(x->vf_vs, RAM, &m) == 0 && m.vp_gpa == RAM)
		return m.vp_ident == 0 && m.vp_len_bytes == npages * PAGE ? 0 : -EEXIST;
	return vm_mmap_memseg(x->vf_vs, RAM, 0, 0, (int64_t)(npages * PAGE), PMAP_PROT_RWX, 0);
}

static void
set_up_twice(struct vf *x)
{
	struct vf_snapshot before;

	vf_errno(set_up(x, 20), 0);
	vf_errno(vm_gpa_write(x->vf_vs, RAM + 5, "kernel", 7, &(uint64_t){0}), 0);
	vf_snapshot(x, &before);
	vf_errno(set_up(x, 20), 0);
	vf_same(x, &before, true, "set up twice");
	vf_errno(set_up(x, 21), -EINVAL);
	vf_errno(set_up(x, 19), -EINVAL);
	vf_errno(vm_alloc_memseg(x->vf_vs, 0, 20 * PAGE, "sysmem"), -EINVAL);
	vf_errno(vm_mmap_memseg(x->vf_vs, RAM, 0, 0, 20 * PAGE, PMAP_PROT_RWX, 0), -EFAULT);
	vf_same(x, &before, true, "set up otherwise");
	vf_snapshot_free(&before);
}

Test(vm_traps, set_up_twice)
{
	vf_each(NULL, set_up_twice);
}

static void
reset_keeps_memory(struct vf *x)
{
	struct vm_memmap m;

	vf_segment(x, 0, 8, NULL);
	vf_segment(x, 1, 8, "bootrom");
	vf_map(x, RAM, 0, 0, 8, PMAP_PROT_RWX);
	vf_map(x, 2 * RAM, 1, 0, 8, PMAP_PROT_RWX);
	vf_poke(x, RAM, 1);
	vf_poke(x, 2 * RAM, 2);
	vf_errno(vm_reset(x->vf_vs), 0);
	vf_assert(vf_peek(x, RAM) == 1);
	vf_errno(vm_fault(x->vf_vs, 2 * RAM, PMAP_PROT_R, NULL), -EFAULT);
	vf_errno(vm_mmap_getnext(x->vf_vs, RAM + 1, &m), -ENOENT);
	vf_map(x, 3 * RAM, 1, 0, 8, PMAP_PROT_R);
	vf_assert(vf_peek(x, 3 * RAM) == 2);
	vf_verify(x);
}

Test(vm_traps, reset_keeps_memory)
{
	vf_each(NULL, reset_keeps_memory);
}

/* Identities are names: no index, no order, no kind. */
static void
identities_are_names(struct vf *x)
{
	static const int idents[] = {VM_IDENT_MAX, 3, 40000, 8, 0};
	struct vm_memseg g;
	struct vm_memmap m;

	for (unsigned int i = 0; i < 5; i++) {
		vf_segment(x, idents[i], i + 1,
			   i % 2 ? (const char *[]){"", "a", "", "b"}[i] : NULL);
		vf_map(x, RAM + i * MIB, idents[i], 0, i + 1, PMAP_PROT_RW);
		vf_poke(x, RAM + i * MIB, i + 100);
	}
	for (unsigned int i = 0; i < 5; i++) {
		vf_errno(vm_get_memseg(x->vf_vs, idents[i], &g), 0);
		vf_assert(g.vg_ident == idents[i] && g.vg_len_bytes == (i + 1) * PAGE);
		vf_assert(g.vg_sysmem == (i % 2 == 0));
		vf_errno(vm_mmap_getnext(x->vf_vs, RAM + i * MIB, &m), 0);
		vf_assert(m.vp_ident == idents[i]);
	}
	/* The place of one that is gone is another's; nobody's name changes. */
	vf_unmap(x, RAM + MIB, 2);
	vf_free_segment(x, 3);
	vf_segment(x, 17, 9, NULL);
	vf_errno(vm_get_memseg(x->vf_vs, 3, &g), 0);
	vf_assert(g.vg_len_bytes == 0 && g.vg_ident == 3);
	vf_errno(vm_get_memseg(x->vf_vs, 17, &g), 0);
	vf_assert(g.vg_len_bytes == 9 * PAGE && g.vg_sysmem);
	vf_errno(vm_mmap_memseg(x->vf_vs, RAM + MIB, 3, 0, PAGE, PMAP_PROT_R, 0), -EINVAL);
	vf_verify(x);
}

Test(vm_traps, identities_are_names)
{
	vf_each(NULL, identities_are_names);
}
