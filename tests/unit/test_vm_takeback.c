/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A fault that takes its own entry back, and the dirty log (vmspace/vm_dirty.c). The entry was
 * there for a moment: a guest has cached it, with D set, and writes by it until the fault's
 * shootdown is over. Whoever takes the page off the log before that has to see to it that the guest
 * is out.
 *
 * That needs one order of events, which chance does not find: three CPUs are led through it by a
 * policy. Only where the log's call is interrupted is tried out, at each of its points. Whether it
 * went wrong is not looked up anywhere: the guest writes once more if it still can when the call
 * has returned, and the next call has to report that.
 */

#include "sim/hw/hw.h"
#include "tests/unit/machine_util.h"
#include "vmspace/vmspace.h"

#define FAULTER 0u
#define LOGGER 1u
#define GUEST 2u
#define CPUS 3u

#define PAGES 4
#define RAM ((gpa_t)0x40000000)
#define PAGE_GPA (RAM + HOST_PAGE_SIZE) /* what it is all about */
#define OTHER ((gpa_t)0x80000000)	/* another map, whose rights change */
#define EPTP_AD 0x5eull			/* write back, 4 levels, A and D */

/* Who is led how far; each ends when what it names has happened. */
enum stage {
	FAULT_DECIDES,	/* the faulter's next step is to install its entry */
	LOG_SWEEPS,	/* the log's call is at the point where it is interrupted */
	FAULT_INSTALLS, /* the entry is there */
	GUEST_CACHES,	/* the guest has written by it */
	FAULT_RETRACTS, /* it is gone, its M told; the faulter's next step begins a shootdown */
	LOG_RETURNS,
	GUEST_WRITES, /* or has been thrown out */
	ANYTHING,
};

static struct {
	struct vm_system *sys;
	struct vmspace *vs;
	struct pmap_slot *slot;
	struct hw_model model;
	struct hw_context ctx;
	uint64_t leaf; /* hpa of the entry */
	enum stage stage;
	uint64_t stop; /* after so many of its points the log's call is interrupted */
	bool begins;   /* it switches the log on; else it asks, and clears */
	/* What happened. */
	bool interrupted;
	bool installed;
	bool cached;
	bool retracted;
	bool returned;
	bool off_log; /* the page was not in the log then, and the entry was gone */
	bool late;    /* the guest wrote after that */
	bool guest_over;
	bool fault_over;
	unsigned int errors; /* calls that failed */
} t;

/* ---- Programs -------------------------------------------------------------------------------- */

static void
must(int error)
{
	t.errors += error != 0;
}

static bool
ask(void)
{
	uint64_t bitmap = 0;

	must(vm_dirty_log(t.vs, RAM, PAGES * HOST_PAGE_SIZE, VM_DIRTY_CLEAR, &bitmap));
	return (bitmap >> (PAGE_GPA - RAM) / HOST_PAGE_SIZE & 1) != 0;
}

/* The page is in memory, but not in the tables; the table that will hold it exists. */
static void
set_up(void *arg)
{
	const struct vm_system_config sc = {.vy_mem_limit_bytes = 4u << 20};
	const struct vmspace_config cfg = {
		.vc_flags = VM_NO_SUPERPAGES,
		.vc_pmap = {.pc_type = PT_EPT,
			    .pc_flags = PMAP_PDE_SUPERPAGE,
			    .pc_caps = {.pc_levels = 4, .pc_leaf_levels = 2, .pc_phys_bits = 46}},
	};
	const uint64_t len = PAGES * HOST_PAGE_SIZE;
	struct hw_walk walk;

	(void)arg;
	must(vm_system_create(&sc, &t.sys));
	must(vmspace_create(t.sys, &cfg, &t.vs));
	must(vm_alloc_memseg(t.vs, 0, len, NULL));
	must(vm_alloc_memseg(t.vs, 1, len, NULL));
	must(vm_mmap_memseg(t.vs, OTHER, 1, 0, len, PMAP_PROT_RW, 0));
	must(vm_mmap_memseg(t.vs, RAM, 0, 0, len, PMAP_PROT_RW, 0));
	must(vm_fault(t.vs, PAGE_GPA, PMAP_PROT_R, NULL));
	must(vm_munmap_memseg(t.vs, RAM, len));
	must(vm_mmap_memseg(t.vs, RAM, 0, 0, len, PMAP_PROT_RW, 0));
	must(vm_fault(t.vs, RAM, PMAP_PROT_R, NULL));
	if (!t.begins)
		must(vm_dirty_log_enable(t.vs, false));

	pmap_slot_attach(vmspace_pmap(t.vs), t.slot);
	hw_model_init(&t.model);
	t.ctx = (struct hw_context){
		.hc_model = &t.model,
		.hc_kind = HW_EPT,
		.hc_root = pmap_root(vmspace_pmap(t.vs)) | EPTP_AD,
		.hc_levels = 4,
		.hc_tag = 1,
	};
	hw_walk_quiet(&t.ctx, PAGE_GPA, &walk);
	HOST_ASSERT(!walk.wk_present && walk.wk_level == 0);
	t.leaf = walk.wk_where[walk.wk_n - 1];
}

static void
tear_down(void *arg)
{
	(void)arg;
	pmap_slot_detach(vmspace_pmap(t.vs), t.slot);
	vmspace_destroy(t.vs);
	vm_system_destroy(t.sys);
	host_epoch_drain();
}

/* By a read, so that D comes from the guest alone. */
static void
faulter(void *arg)
{
	(void)arg;
	must(vm_fault(t.vs, PAGE_GPA, PMAP_PROT_R, NULL));
	t.fault_over = true;
}

static void
logger(void *arg)
{
	struct vm_page_info pi = {0};
	bool reported = true;

	(void)arg;
	if (t.begins) {
		must(vm_dirty_log_enable(t.vs, false));
	} else {
		must(vm_protect_memmap(t.vs, OTHER, PAGES * HOST_PAGE_SIZE, PMAP_PROT_R));
		reported = ask();
	}
	t.interrupted = t.stage > LOG_SWEEPS;
	must(vmspace_page_info(t.vs, PAGE_GPA, &pi));
	t.off_log = reported && t.retracted && !pi.pi_logged;
	t.returned = true;
}

static bool
guest_stores(uint64_t value)
{
	struct hw_translation out;
	struct hw_fault fault;

	if (hw_access(GUEST, &t.ctx, PAGE_GPA, HW_WRITE, &out, &fault) != HW_OK)
		return false;
	sim_data_store(out.ht_hpa, value);
	return true;
}

/* Enters once. Stays until it is thrown out, or has written after the log's call. */
static void
guest(void *arg)
{
	struct pmap *const pm = vmspace_pmap(t.vs);

	(void)arg;
	sim_irq_disable();
	if (pmap_guest_enter(pm, t.slot)) {
		hw_invept(GUEST, &t.model, HW_INVEPT_SINGLE, t.ctx.hc_root);
		pmap_guest_flushed(t.slot);
	}
	if (sim_guest_enter()) {
		hw_guest_enter(GUEST, &t.ctx, HW_TLB_KEEP);
		t.cached = guest_stores(1);
		while (t.cached && !t.late && sim_guest_point(PAGE_GPA))
			t.late = t.returned && guest_stores(2);
		hw_guest_exit(GUEST);
	}
	sim_guest_exit();
	pmap_guest_exit(t.slot);
	sim_irq_enable();
	t.guest_over = true;
}

/* ---- Leading them ---------------------------------------------------------------------------- */

/* What a CPU does next, and to what; SIM_ACCESS_COUNT if it cannot go on. */
static enum sim_access
next_of(const struct sim_offer *offers, uint32_t n, unsigned int cpu, uint64_t *id)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!offers[i].of_agent && offers[i].of_index == cpu) {
			*id = offers[i].of_id;
			return offers[i].of_kind;
		}
	}
	*id = 0;
	return SIM_ACCESS_COUNT;
}

static bool
is_over(const struct sim_offer *offers, uint32_t n)
{
	uint64_t id;
	const enum sim_access kind = next_of(offers, n, FAULTER, &id);

	switch (t.stage) {
	case FAULT_DECIDES:
		return kind == SIM_RMW && id == (SIM_ID_TABLE | (t.leaf - sim_phys_base()));
	case LOG_SWEEPS:
		return t.returned || sim_cpu_points(LOGGER) >= t.stop;
	case FAULT_INSTALLS:
		return t.installed;
	case GUEST_CACHES:
		return t.cached || t.guest_over;
	case FAULT_RETRACTS:
		return t.fault_over || (t.retracted && kind == SIM_FENCE);
	case LOG_RETURNS:
		return t.returned;
	case GUEST_WRITES:
		return t.guest_over;
	case ANYTHING:
		break;
	}
	return false;
}

/*
 * Whose turn it is goes on. If it waits: what may help it, agents first. Agents that cannot help
 * are never picked: they would make the guest forget, or cache, more than it is led to.
 */
static int
rank_of(const struct sim_offer *of)
{
	static const unsigned int turns[] = {FAULTER, LOGGER, FAULTER, GUEST,
					     FAULTER, LOGGER, GUEST,   FAULTER};

	if (of->of_agent)
		return of->of_helps ? 4 : -1;
	if (of->of_index == turns[t.stage])
		return of->of_spins ? 1 : 5;
	/* A guest waits for nobody: only interrupts matter to it. */
	if (of->of_index == GUEST)
		return sim_cpu_kick_pending(GUEST) ? 3 : 0;
	/* The call may hold a lock where it was interrupted. */
	return of->of_index == LOGGER && !of->of_spins ? 2 : 0;
}

static uint32_t
lead(void *arg, const struct sim_offer *offers, uint32_t n)
{
	uint32_t best = 0;
	int best_rank = -1;

	(void)arg;
	while (is_over(offers, n))
		t.stage++;
	for (uint32_t i = 0; i < n; i++) {
		const int rank = rank_of(&offers[i]);

		if (rank > best_rank) {
			best = i;
			best_rank = rank;
		}
	}
	return best;
}

static void
see_write(void *arg, const struct sim_table_write *w)
{
	(void)arg;
	if (t.stage == FAULT_DECIDES || w->tw_hpa != t.leaf || w->tw_cpu != FAULTER)
		return;
	if (w->tw_new != 0)
		t.installed = true;
	else
		t.retracted = true;
}

/* Whether the call was interrupted at this point, and not over before. */
static bool
live_once(bool begins, uint64_t stop, enum sim_memory_model model)
{
	static const struct sim_policy_ops policy = {.po_pick = lead};
	static const program_fn programs[CPUS] = {faulter, logger, guest};
	const struct hw_config hw = {0};
	struct sim_config cfg = config(CPUS, stop);
	struct sim_machine *m;
	struct sim_report r;
	bool again;

	memset(&t, 0, sizeof t);
	t.begins = begins;
	t.stop = stop;
	cfg.sc_memory_model = model;
	m = machine(&cfg);
	cr_assert_eq(hw_create(&hw), 0);
	t.slot = sim_alloc(sizeof *t.slot);
	cr_assert_eq(sim_machine_call(m, set_up, NULL, &r), SIM_RUN_PASSED, "%s", r.sr_message);
	sim_set_write_hook(see_write, NULL);
	sim_set_policy(&policy, NULL);
	r = run_on(m, programs, NULL);
	assert_passed(r);
	again = ask();
	cr_assert_eq(sim_machine_call(m, tear_down, NULL, &r), SIM_RUN_PASSED, "%s", r.sr_message);
	cr_assert_eq(sim_machine_check_leaks(m, &r), SIM_RUN_PASSED, "%s", r.sr_message);
	hw_destroy();
	sim_machine_destroy(m);
	cr_assert_eq(t.errors, 0);
	cr_assert(again || !t.late,
		  "point %llu: a write after the page was taken off the log is in no report",
		  (unsigned long long)stop);
	return t.interrupted;
}

static void
interrupt_everywhere(bool begins)
{
	for (enum sim_memory_model model = SIM_TSO; model <= SIM_SC; model++) {
		unsigned int met = 0;
		unsigned int wrote = 0;

		for (uint64_t stop = 1; live_once(begins, stop, model); stop++) {
			met += t.cached && t.off_log;
			wrote += t.late;
		}
		cr_assert_gt(met, 0, "the page was never taken off the log in between");
		cr_assert_gt(wrote, 0, "the guest never got to write after the call");
	}
}

Test(vm_takeback, asking_the_log_leaves_no_writer_of_an_entry_that_is_gone)
{
	interrupt_everywhere(false);
}

Test(vm_takeback, switching_the_log_on_leaves_no_writer_of_an_entry_that_is_gone)
{
	interrupt_everywhere(true);
}
