/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Every counter after every step: what is to change is named, and all the rest must be as before.
 * People set limits and look for trouble by these numbers; one that counts something else, or the
 * same twice, misleads for years.
 */

#include "tests/unit/vm_fixture.h"

#define RAM (16 * MIB)

/* What all counters must be by now. */
static struct vmspace_stats ledger;

static const struct {
	const char *co_name;
	size_t co_offset;
} columns[] = {
#define COLUMN(name)                                             \
	{                                                        \
#name, offsetof(struct vmspace_stats, vt_##name) \
	}
	COLUMN(faults),	       COLUMN(faults_spurious), COLUMN(faults_failed),
	COLUMN(fault_retries), COLUMN(zero_fills),	COLUMN(swap_ins),
	COLUMN(read_ahead),    COLUMN(swap_outs),	COLUMN(swap_errors),
	COLUMN(reclaimed),     COLUMN(reclaimed_clean), COLUMN(runs),
	COLUMN(runs_broken),   COLUMN(super_enters),	COLUMN(promotions),
	COLUMN(exec_splits),   COLUMN(holds),		COLUMN(moved),
#undef COLUMN
};

_Static_assert(sizeof(columns) / sizeof(columns[0]) == sizeof(ledger) / sizeof(uint64_t),
	       "every counter has a column");

static uint64_t
column(const struct vmspace_stats *st, unsigned int i)
{
	return *(const uint64_t *)(const void *)((const char *)st + columns[i].co_offset);
}

/* A step has ended: compares all of them. */
static void
balance(struct vf *x, const char *step)
{
	const struct vmspace_stats now = vf_stats(x);

	for (unsigned int i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
		if (column(&now, i) != column(&ledger, i))
			vf_fail("after %s: %s is %llu, not %llu", step, columns[i].co_name,
				(unsigned long long)column(&now, i),
				(unsigned long long)column(&ledger, i));
	}
	vf_check(x);
}

static uint64_t
pageout(struct vf *x, uint64_t n)
{
	uint64_t freed = 0;

	vf_errno(vm_pageout(x->vf_sys, NULL, n, 0, &freed), 0);
	return freed;
}

/* ---- Pages ----------------------------------------------------------------------------------- */

static void
faults(struct vf *x)
{
	struct vm_fault_record r;

	vf_errno(vm_fault(x->vf_vs, RAM, PMAP_PROT_W, NULL), 0);
	ledger.vt_faults++;
	ledger.vt_zero_fills++;
	balance(x, "the first fault");
	vf_errno(vm_fault(x->vf_vs, RAM, PMAP_PROT_W, NULL), 0);
	ledger.vt_faults++;
	ledger.vt_faults_spurious++;
	balance(x, "a spurious fault");
	vf_errno(vm_fault(x->vf_vs, 2 * RAM, PMAP_PROT_R, &r), -EFAULT);
	vf_errno(vm_fault(x->vf_vs, RAM + 64 * PAGE, PMAP_PROT_R, NULL), -EFAULT);
	ledger.vt_faults += 2;
	ledger.vt_faults_failed += 2;
	balance(x, "faults at nothing");
	vf_errno(vm_fault(x->vf_vs, RAM, 0, NULL), -EINVAL);
	balance(x, "no fault");
	for (uint64_t i = 0; i < 64; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	ledger.vt_faults += 63;
	ledger.vt_zero_fills += 63;
	balance(x, "63 more pages");
}

static void
holds(struct vf *x)
{
	struct vm_hold h;

	vf_errno(vm_gpa_hold(x->vf_vs, RAM + 3, 3 * PAGE, PMAP_PROT_W, &h, NULL), 0);
	ledger.vt_holds++;
	balance(x, "a hold of four pages");
	vm_gpa_release(&h);
	vf_errno(vm_memseg_hold(x->vf_vs, 0, PAGE, 9, PMAP_PROT_R, &h), 0);
	ledger.vt_holds++;
	vm_gpa_release(&h);
	balance(x, "a hold of a segment");
	vf_errno(vm_gpa_hold(x->vf_vs, RAM + 63 * PAGE, PAGE + 1, PMAP_PROT_R, &h, NULL), -EFAULT);
	vf_errno(vm_memseg_hold(x->vf_vs, 0, 64 * PAGE, 1, PMAP_PROT_R, &h), -EINVAL);
	balance(x, "holds of nothing");
}

static void
swap(struct vf *x)
{
	vf_assert(pageout(x, 64) == 64);
	ledger.vt_swap_outs += 64;
	ledger.vt_reclaimed += 64;
	balance(x, "pageout of dirty pages");
	vf_peek(x, RAM + 20 * PAGE);
	ledger.vt_faults++;
	ledger.vt_swap_ins++;
	ledger.vt_read_ahead = vf_stats(x).vt_read_ahead;
	vf_assert(vf_accounts(x).va_resident == 1 + ledger.vt_read_ahead);
	vf_assert(ledger.vt_read_ahead > 0 && ledger.vt_read_ahead < 63);
	balance(x, "one page back");
	for (uint64_t i = 0; i < 64; i++)
		vf_errno(vm_fault(x->vf_vs, RAM + i * PAGE, PMAP_PROT_R, NULL), 0);
	ledger.vt_faults += 64;
	ledger.vt_faults_spurious = vf_stats(x).vt_faults_spurious;
	ledger.vt_swap_ins = vf_stats(x).vt_swap_ins;
	ledger.vt_read_ahead = vf_stats(x).vt_read_ahead;
	vf_assert(ledger.vt_swap_ins + ledger.vt_read_ahead == 64);
	balance(x, "all of them back");
	vf_assert(pageout(x, 10) == 10);
	ledger.vt_reclaimed += 10;
	ledger.vt_reclaimed_clean += 10;
	balance(x, "pageout of clean pages");
	for (uint64_t i = 0; i < 64; i++) {
		if (vf_info(x, RAM + i * PAGE).pi_resident)
			vf_poke(x, RAM + i * PAGE, i + 100);
	}
	ledger.vt_faults = vf_stats(x).vt_faults;
	ledger.vt_faults_spurious = vf_stats(x).vt_faults_spurious;
	balance(x, "writing to the others");
}

static void
io_errors(struct vf *x)
{
	host_vm_posix_fail_swap(HOST_VM_POSIX_WRITE, 1, true);
	vf_assert(pageout(x, 1000) == 0);
	host_vm_posix_fail_swap(0, 0, false);
	ledger.vt_swap_errors = vf_stats(x).vt_swap_errors;
	vf_assert(ledger.vt_swap_errors >= 54);
	balance(x, "writes that fail");
	for (uint64_t i = 0; i < 64; i++) {
		struct vm_fault_record r;

		if (vf_info(x, RAM + i * PAGE).pi_resident)
			continue;
		host_vm_posix_fail_swap(HOST_VM_POSIX_READ, 1, true);
		vf_errno(vm_fault(x->vf_vs, RAM + i * PAGE, PMAP_PROT_R, &r), -EIO);
		host_vm_posix_fail_swap(0, 0, false);
		ledger.vt_faults++;
		ledger.vt_faults_failed++;
		ledger.vt_swap_errors++;
		balance(x, "a read that fails");
	}
}

static void
moves(struct vf *x)
{
	uint64_t moved = 0;

	vf_errno(vm_migrate(x->vf_vs, RAM, 64 * PAGE, &moved), 0);
	vf_assert(moved == 54);
	ledger.vt_moved += 54;
	balance(x, "54 pages that moved");
}

static void
pages(struct vf *x)
{
	ledger = (struct vmspace_stats){0};
	vf_segment(x, 0, 64, NULL);
	vf_map(x, RAM, 0, 0, 64, PMAP_PROT_RW);
	balance(x, "the beginning");
	faults(x);
	holds(x);
	swap(x);
	io_errors(x);
	moves(x);
}

Test(vm_ledger, pages)
{
	static const struct vf_options o = {.vo_flags = VM_NO_SUPERPAGES};

	vf_each_swap(&o, pages);
}

/* ---- Superpages ------------------------------------------------------------------------------ */

static void
superpages(struct vf *x)
{
	ledger = (struct vmspace_stats){0};
	vf_segment(x, 0, 1024, NULL);
	vf_map(x, RAM, 0, 0, 1024, PMAP_PROT_RWX);
	vf_errno(vm_fault(x->vf_vs, RAM, PMAP_PROT_W, NULL), 0);
	ledger.vt_faults++;
	ledger.vt_zero_fills += 512;
	ledger.vt_runs++;
	ledger.vt_super_enters++;
	balance(x, "a superpage");
	vf_errno(vm_fault(x->vf_vs, RAM + 9 * PAGE, PMAP_PROT_X, NULL), 0);
	ledger.vt_faults++;
	ledger.vt_exec_splits++;
	balance(x, "a fetch");
	vf_errno(vm_fault(x->vf_vs, RAM + 10 * PAGE, PMAP_PROT_X, NULL), 0);
	ledger.vt_faults++;
	balance(x, "another fetch");
	vf_errno(vm_exec_recover(x->vf_vs), 0);
	ledger.vt_promotions++;
	balance(x, "recovery");
	vf_assert(pageout(x, 512) == 512);
	ledger.vt_swap_outs += 512;
	ledger.vt_reclaimed += 512;
	balance(x, "pageout of it");
}

Test(vm_ledger, superpages)
{
	static const struct vf_options o = {.vo_flags = VM_EAGER_RUNS | VM_NX_SUPERPAGES};

	vf_each_swap(&o, superpages);
}

/* A run that is given back, and one that fills up page by page. */
static void
runs(struct vf *x)
{
	ledger = (struct vmspace_stats){0};
	vf_segment(x, 0, 1024, NULL);
	vf_map(x, RAM, 0, 0, 1024, PMAP_PROT_RW);
	vf_poke(x, RAM, 1);
	ledger.vt_faults++;
	ledger.vt_zero_fills++;
	ledger.vt_runs++;
	balance(x, "the first page of a run");
	vf_assert(vf_accounts(x).va_reserved == 511);
	vf_assert(pageout(x, 512) == 512);
	ledger.vt_runs_broken++;
	ledger.vt_swap_outs++;
	ledger.vt_reclaimed++;
	balance(x, "a run that is given back");
	for (uint64_t i = 512; i < 1024; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	ledger.vt_faults += 512;
	ledger.vt_zero_fills += 512;
	ledger.vt_runs++;
	ledger.vt_promotions++;
	balance(x, "a run that fills up");
	vf_verify(x);
}

Test(vm_ledger, runs)
{
	vf_each_swap(NULL, runs);
}
