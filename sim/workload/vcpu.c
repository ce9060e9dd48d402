/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Running guests and threads: what a VMX, an SVM and an ordinary kernel backend do around the
 * core's entry protocol, step for step, on the simulated CPUs.
 */

#include "sim/workload/vmop.h"

#include <errno.h>

#include "sim/oracle/invariants.h"
#include "sim/story/story_record.h"

#define RUN_ACCESSES 24	    /* guest instructions per entry, at most */
#define FAULTS_IN_A_ROW 400 /* more without progress is a livelock */

/* Which of a space's rights the CPU's fault asks for. */
static int
decode_fault(const struct space *sp, const struct hw_fault *f, unsigned int *access)
{
	struct ept_fault ef;

	switch (f->hf_kind) {
	case HW_FAULT_EPT_VIOLATION:
		if (ept_fault_violation(f->hf_code, f->hf_gpa, 0, sp->sp_cpu.ec_eptp_ad, &ef) != 0)
			return -EINVAL;
		break;
	case HW_FAULT_EPT_MISCONFIG:
		ept_fault_misconfig(f->hf_gpa, &ef);
		break;
	case HW_FAULT_NPF:
		ept_fault_npf(f->hf_code, f->hf_gpa, &ef);
		break;
	default:
		/* #PF: bit 1 write, bit 3 reserved, bit 4 fetch (SDM vol. 3A 4.7). */
		ef.ef_access = (f->hf_code & 2)	     ? PMAP_PROT_W
			       : (f->hf_code & 0x10) ? PMAP_PROT_X
						     : PMAP_PROT_R;
		ef.ef_reserved = (f->hf_code & 8) != 0;
		break;
	}
	if (ef.ef_reserved)
		sim_violation("CK-HW", "I02", "%s: malformed entry 0x%llx for 0x%llx", sp->sp_name,
			      (unsigned long long)f->hf_entry, (unsigned long long)f->hf_gpa);
	*access = ef.ef_access;
	return 0;
}

/* The story of a slot: its vCPU's number, or its CPU's. */
static void
tell_slot(const struct space *sp, const struct pmap_slot *s, bool active)
{
	unsigned int n = sim_cpu();

	for (unsigned int i = 0; i < sp->sp_nvcpus && space_is_rvi(sp); i++) {
		if (sp->sp_vcpus[i].vc_slot == s)
			n = i;
	}
	STORY(slot(sp->sp_name, n, s, active));
}

/* ---- CK-GEN --------------------------------------------------------------------------------- */

/* An entry without a flush must have flushed for the very generation it acknowledged. */
static void
check_entry(struct space *sp, const struct pmap_slot *s, uint64_t *seen, bool flush)
{
	space_observe(sp);

	const uint64_t acked = space_ghost_of(sp, s->ps_ack);

	sim_invariant_hit(SIM_I20);
	sim_invariant_hit(SIM_I22);
	tell_slot(sp, s, true);
	if (!flush) {
		sim_invariant_hit(SIM_I23);
		if (acked != *seen)
			sim_violation("CK-GEN", "I23",
				      "%s: entry at generation %llu without a flush since %llu",
				      sp->sp_name, (unsigned long long)acked,
				      (unsigned long long)*seen);
	}
}

static void
flushed(struct space *sp, struct pmap_slot *s, uint64_t *seen)
{
	sim_invariant_hit(SIM_I21);
	*seen = space_ghost_of(sp, s->ps_ack);
	pmap_guest_flushed(s);
	tell_slot(sp, s, true);
	world_tick(sp->sp_world, WC_ENTRY_FLUSHES);
}

/* The slot of a CPU for an EPT or X86 space. */
static struct pmap_slot *
slot_of(struct space *sp, unsigned int cpu)
{
	const struct cpu *const cp = &sp->sp_world->wo_cpus[cpu];

	if (sp->sp_slots[cpu] == NULL) {
		struct pmap_slot *s = sim_alloc(sizeof(*s));

		sp->sp_slot_seen[cpu] = 0;
		sp->sp_slot_online[cpu] = cp->cp_online;
		pmap_slot_attach(sp->sp_pmap, s);
		sp->sp_slots[cpu] = s;
	}
	if (sp->sp_slot_online[cpu] != cp->cp_online) {
		/* VMXON, or a CPU that started anew: what it flushed before is void. */
		pmap_slot_reset(sp->sp_slots[cpu]);
		sp->sp_slot_seen[cpu] = 0;
		sp->sp_slot_online[cpu] = cp->cp_online;
	}
	return sp->sp_slots[cpu];
}

static struct pmap_slot *
cpu_slot(struct space *sp)
{
	return slot_of(sp, sim_cpu());
}

void
vcpu_attach(struct space *sp)
{
	for (unsigned int cpu = 0; cpu < sim_cpu_count() && !space_is_rvi(sp); cpu++)
		slot_of(sp, cpu);
}

/* The ASID that an entry on this CPU would have, as if it had been made. */
static void
assign_asid(struct vcpu *v, struct cpu *cp, unsigned int cpu)
{
	pmap_asid_flushed(&cp->cp_asids, pmap_asid_assign(&cp->cp_asids, cpu, &v->vc_asid, true));
	v->vc_ctx.hc_tag = (uint16_t)v->vc_asid.as_asid;
}

void
vcpu_ran(struct vcpu *v, unsigned int cpu)
{
	struct space *const sp = v->vc_space;
	struct cpu *const cp = &sp->sp_world->wo_cpus[cpu];
	struct pmap_slot *const s = space_is_rvi(sp) ? v->vc_slot : slot_of(sp, cpu);

	space_observe(sp);
	s->ps_ack = pmap_generation(sp->sp_pmap);
	s->ps_seen = s->ps_ack;
	if (space_is_rvi(sp)) {
		v->vc_seen = space_ghost_of(sp, s->ps_ack);
		assign_asid(v, cp, cpu);
		return;
	}
	sp->sp_slot_seen[cpu] = space_ghost_of(sp, s->ps_ack);
	if (v->vc_vpid != 0 && pmap_vpid_stale(&v->vc_home, cpu, cp->cp_online))
		pmap_vpid_flushed(&v->vc_home, cpu, cp->cp_online);
}

/* ---- Entries -------------------------------------------------------------------------------- */

/* VMX: flush by INVEPT before the entry; an entry that then fails has flushed all the same. */
static struct pmap_slot *
enter_vmx(struct vcpu *v)
{
	struct space *const sp = v->vc_space;
	const unsigned int cpu = sim_cpu();
	struct cpu *const cp = &sp->sp_world->wo_cpus[cpu];
	struct pmap_slot *const s = cpu_slot(sp);

	if (v->vc_vpid != 0 && pmap_vpid_stale(&v->vc_home, cpu, cp->cp_online)) {
		hw_invvpid(cpu, &sp->sp_model, (enum hw_invvpid_type)sp->sp_cpu.ec_invvpid,
			   v->vc_vpid, 0);
		pmap_vpid_flushed(&v->vc_home, cpu, cp->cp_online);
	}

	const bool flush = pmap_guest_enter(sp->sp_pmap, s);

	check_entry(sp, s, &sp->sp_slot_seen[cpu], flush);
	if (flush) {
		hw_invept(cpu, &sp->sp_model, (enum hw_invept_type)sp->sp_cpu.ec_invept,
			  v->vc_ctx.hc_root);
		flushed(sp, s, &sp->sp_slot_seen[cpu]);
	}
	if (sim_fault(SIM_FAULT_ENTRY)) {
		pmap_guest_exit(s);
		tell_slot(sp, s, false);
		return NULL;
	}
	return s;
}

/* SVM: the flush is part of VMRUN, and has taken effect only if VMRUN did not fail. */
static struct pmap_slot *
enter_svm(struct vcpu *v, enum hw_tlb_control *control)
{
	struct space *const sp = v->vc_space;
	const unsigned int cpu = sim_cpu();
	struct cpu *const cp = &sp->sp_world->wo_cpus[cpu];
	struct pmap_slot *const s = v->vc_slot;
	const bool flush = pmap_guest_enter(sp->sp_pmap, s);
	enum pmap_tlb_control tc;

	check_entry(sp, s, &v->vc_seen, flush);
	tc = pmap_asid_assign(&cp->cp_asids, cpu, &v->vc_asid, flush);
	if (sim_fault(SIM_FAULT_ENTRY)) {
		pmap_guest_exit(s);
		tell_slot(sp, s, false);
		return NULL;
	}
	pmap_asid_flushed(&cp->cp_asids, tc);
	if (flush)
		flushed(sp, s, &v->vc_seen);
	v->vc_ctx.hc_tag = (uint16_t)v->vc_asid.as_asid;
	*control = (enum hw_tlb_control)tc;
	return s;
}

/* ---- Accesses ------------------------------------------------------------------------------- */

/*
 * The frame that an access reaches is bad: a machine check, and no access. True until the frame is
 * taken away, for every CPU.
 */
static bool
is_poisoned(const struct vcpu *v, gpa_t gpa, const struct hw_translation *t)
{
	const struct region *const rg = space_region(v->vc_space, gpa);
	struct sim_frame *const fr = sim_frame_at(t->ht_hpa);

	if (fr == NULL || rg == NULL || rg->rg_seg->sg_kind != SEG_SYSMEM)
		return false;
	if (sim_fault(SIM_FAULT_POISON))
		fr->fr_bad = true;
	return fr->fr_bad;
}

/* One access; false if it faulted, with the fault in *f. */
static bool
try_access(struct vcpu *v, gpa_t gpa, unsigned int access, struct hw_fault *f)
{
	struct space *const sp = v->vc_space;
	const struct hw_context *const ctx = sp->sp_arch == SIM_ARCH_X86 ? &sp->sp_ctx : &v->vc_ctx;
	const bool user = sp->sp_arch == SIM_ARCH_X86 && sp->sp_cpu.ec_caps.pc_user;
	struct hw_translation t;
	enum hw_result result;

	oracle_access_begin(sp, gpa, access);
	if (sp->sp_arch != SIM_ARCH_X86 && sim_choose_chance(SIM_CHOICE_WORKLOAD, 250000))
		result = hw_access_linear(sim_cpu(), ctx, gpa, access, &t, f);
	else
		result = hw_access(sim_cpu(), ctx, gpa, access | (user ? HW_USER : 0), &t, f);
	v->vc_poisoned = result == HW_OK && is_poisoned(v, gpa, &t);
	if (v->vc_poisoned) {
		oracle_access_failed(sp, gpa, access);
		return false;
	}
	if (result == HW_OK) {
		v->vc_faults = 0;
		oracle_access_done(sp, gpa, access, &t);
	} else {
		oracle_access_failed(sp, gpa, access);
	}
	return result == HW_OK;
}

/*
 * After a machine check the host takes the page away, and with it what it held; where it cannot,
 * since the page is pinned or no plain memory, the guest does without. True: try again.
 */
static bool
answer_poison(struct vcpu *v)
{
	struct space *const sp = v->vc_space;

	v->vc_poisoned = false;
	v->vc_have = false;
	hostop_discard(sp, PAGE_OF(v->vc_gpa), PAGE_OF(v->vc_gpa) + SIM_PAGE_SIZE);
	return false;
}

/* Answers a fault on the host's side; false if the vCPU should do something else for a while. */
static bool
answer_fault(struct vcpu *v, const struct hw_fault *f)
{
	struct space *const sp = v->vc_space;
	unsigned int access;

	if (v->vc_poisoned)
		return answer_poison(v);
	if (decode_fault(sp, f, &access) != 0)
		sim_violation("CK-HW", "I45", "%s: a fault without an access", sp->sp_name);

	if (sp->sp_world->wo_unanswered) {
		v->vc_have = false;
		return false;
	}

	const int error = space_fault(sp, PAGE_OF(f->hf_gpa), access);

	sim_invariant_hit(SIM_I45);
	if (error == 0 && ++v->vc_faults > FAULTS_IN_A_ROW)
		sim_violation("CK-SCHED", "I45", "%s: 0x%llx faults again and again", sp->sp_name,
			      (unsigned long long)f->hf_gpa);
	if (error == -EACCES || error == -EFAULT) {
		/*
		 * A guest that is refused goes on with something else; a recorded program cannot.
		 */
		world_tick(sp->sp_world, WC_DENIED);
		if (sp->sp_world->wo_yielding)
			hostop_widen(sp, PAGE_OF(f->hf_gpa), PAGE_OF(f->hf_gpa) + SIM_PAGE_SIZE);
		else
			v->vc_have = false;
	}
	return error == 0;
}

/* The rest of a run; what the vCPU is about to do is kept in it until that is done. */
struct run {
	unsigned int ru_left;
	bool ru_stuck; /* it never exits by itself */
	next_access_fn *ru_next;
	void *ru_arg;
};

/*
 * Whether nothing but an interrupt ends the guest's run. Who destroys its space, or wants to look
 * at everything, would send one.
 */
static bool
is_stuck(const struct run *ru, const struct space *sp)
{
	return ru->ru_stuck && !sp->sp_closing && !sp->sp_world->wo_vmops->vo_stopping &&
	       sim_step_count() < sp->sp_world->wo_until;
}

static bool
fetch(struct run *ru, struct vcpu *v)
{
	if (!v->vc_have) {
		if (is_stuck(ru, v->vc_space)) {
			v->vc_have = true; /* the same again, for ever */
			return true;
		}
		if (ru->ru_left == 0 || !ru->ru_next(ru->ru_arg, v, &v->vc_gpa, &v->vc_access))
			return false;
		ru->ru_left--;
		v->vc_have = true;
		v->vc_gpa_known = true;
	}
	return true;
}

/* In guest mode until something ends it; true if that was a fault. */
static bool
run_guest(struct vcpu *v, struct run *ru, enum hw_tlb_control control, struct hw_fault *f)
{
	bool faulted = false;

	ru->ru_stuck = v->vc_gpa_known && sim_fault(SIM_FAULT_STUCK_GUEST);
	if (sim_guest_enter()) {
		hw_guest_enter(sim_cpu(), &v->vc_ctx, control);
		while (fetch(ru, v) && sim_guest_point(v->vc_gpa)) {
			if (sim_fault(SIM_FAULT_SPURIOUS_EXIT))
				break;
			faulted = !try_access(v, v->vc_gpa, v->vc_access, f);
			if (faulted)
				break;
			v->vc_have = false;
		}
		hw_guest_exit(sim_cpu());
	} else if (control != HW_TLB_KEEP) {
		/* The VMRUN took place, and its flush; only the guest's instructions did not. */
		hw_guest_enter(sim_cpu(), &v->vc_ctx, control);
		hw_guest_exit(sim_cpu());
	}
	ru->ru_stuck = false;
	sim_guest_exit();
	return faulted;
}

/* One entry and exit of a nested guest; false to stop running it for now. */
static bool
guest_round(struct vcpu *v, struct run *ru)
{
	struct space *const sp = v->vc_space;
	enum hw_tlb_control control = HW_TLB_KEEP;
	struct hw_fault f;
	bool faulted = false;

	/* The machine refuses an entry with a lock held or an epoch section open (CK-SCHED). */
	sim_invariant_hit(SIM_I44);
	sim_irq_disable();
	struct pmap_slot *const s = space_is_rvi(sp) ? enter_svm(v, &control) : enter_vmx(v);

	if (s != NULL) {
		world_tick(sp->sp_world, WC_ENTRIES);
		faulted = run_guest(v, ru, control, &f);
		pmap_guest_exit(s);
		tell_slot(sp, s, false);
	}
	sim_irq_enable();
	if (!faulted && sim_fault(SIM_FAULT_SPURIOUS_FAULT) && v->vc_have) {
		/* A fault that nothing in the tables explains: must change nothing. */
		space_fault(sp, v->vc_gpa, v->vc_access);
		return true;
	}
	return !faulted || answer_fault(v, &f);
}

/*
 * Loads an X86 space, for its thread; the kernel's is part of every one, and its slot always
 * active.
 */
static void
load_space(struct space *sp)
{
	struct cpu *const cp = &sp->sp_world->wo_cpus[sim_cpu()];

	sim_irq_disable();
	if (sp != sp->sp_world->wo_kernel) {
		cp->cp_loaded = sp;
		pmap_activate(sp->sp_pmap, cpu_slot(sp));
		tell_slot(sp, cpu_slot(sp), true);
	}
	hw_load_cr3(sim_cpu(), &sp->sp_ctx);
	sim_irq_enable();
}

static void
unload_space(struct space *sp)
{
	struct cpu *const cp = &sp->sp_world->wo_cpus[sim_cpu()];

	sim_irq_disable();
	hw_load_cr3(sim_cpu(), NULL);
	if (sp != sp->sp_world->wo_kernel) {
		pmap_deactivate(cpu_slot(sp));
		tell_slot(sp, cpu_slot(sp), false);
		cp->cp_loaded = NULL;
	}
	sim_irq_enable();
}

/* A thread of an X86 space runs on this CPU, until it has done or must wait. */
static void
run_thread(struct vcpu *v, struct run *ru)
{
	load_space(v->vc_space);
	while (fetch(ru, v)) {
		struct hw_fault f;

		sim_point(SIM_USER, NULL);
		if (try_access(v, v->vc_gpa, v->vc_access, &f))
			v->vc_have = false;
		else if (!answer_fault(v, &f))
			break;
	}
	unload_space(v->vc_space);
}

bool
vcpu_run(struct vcpu *v, next_access_fn *next, void *arg)
{
	struct space *const sp = v->vc_space;
	struct run ru = {.ru_left = RUN_ACCESSES, .ru_next = next, .ru_arg = arg};

	sim_touch_ghost(v);
	sim_touch_ghost(sp); /* whether it is there, and in use */
	if (v->vc_running || sp->sp_closing)
		return false;
	if (v->vc_ran && v->vc_cpu != sim_cpu() && sim_fault_off(SIM_FAULT_MIGRATION))
		return false;
	v->vc_running = true;
	if (v->vc_cpu != sim_cpu())
		world_tick(sp->sp_world, WC_MOVES);
	sim_fault_met(SIM_FAULT_MIGRATION, sim_cpu(), v->vc_ran && v->vc_cpu != sim_cpu());
	v->vc_cpu = sim_cpu();
	v->vc_ran = true;
	sp->sp_users++;
	STORY(vcpu(sp->sp_name, (unsigned int)(v - sp->sp_vcpus), true));
	if (sp->sp_arch == SIM_ARCH_X86) {
		run_thread(v, &ru);
	} else {
		while (fetch(&ru, v) && guest_round(v, &ru))
			;
	}
	/*
	 * A vCPU goes from CPU to CPU by way of a run queue's lock: all it stored here is seen
	 * there.
	 */
	host_fence();
	STORY(vcpu(sp->sp_name, (unsigned int)(v - sp->sp_vcpus), false));
	sp->sp_users--;
	sim_touch_ghost(sp);
	sim_touch_ghost(v);
	v->vc_running = false;
	return true;
}

/* ---- Interrupts, CPUs that come and go ------------------------------------------------------ */

static void
kicked(struct space *sp, unsigned int cpu)
{
	if (sp != NULL && sp->sp_slots[cpu] != NULL)
		pmap_kicked(sp->sp_pmap, sp->sp_slots[cpu]);
}

void
vcpu_kick_handler(void *arg, unsigned int cpu)
{
	struct world *const w = arg;

	sim_invariant_hit(SIM_I24);
	kicked(w->wo_kernel, cpu);
	kicked(w->wo_cpus[cpu].cp_loaded, cpu);
}

/*
 * host_invlpg() and host_flush_tlb(). The kernel's addresses lie in every space, and its
 * translations are global: what is loaded beside them is not touched on their account.
 */
static void
invlpg(void *arg, unsigned int cpu, uint64_t va, uint64_t npages)
{
	struct world *const w = arg;
	const struct space *sp = w->wo_cpus[cpu].cp_loaded;

	if (va >= WORLD_KERNEL_BASE || sp == NULL)
		sp = w->wo_kernel;
	sim_invariant_hit(SIM_I17);
	for (uint64_t i = 0; i < npages; i++)
		hw_invlpg(cpu, &sp->sp_ctx, va + i * SIM_PAGE_SIZE);
}

static void
flush(void *arg, unsigned int cpu, bool global)
{
	struct world *const w = arg;
	const struct space *const sp = global ? w->wo_kernel : w->wo_cpus[cpu].cp_loaded;

	/* With no process loaded there is nothing but what is global. */
	if (sp != NULL)
		hw_flush_cr3(cpu, &sp->sp_ctx, global);
}

void
vcpu_tlb_hooks(struct world *w)
{
	static const struct sim_tlb_ops ops = {invlpg, flush};

	sim_set_tlb_ops(&ops, w);
}

void
cpu_begin(struct world *w)
{
	sim_irq_disable();
	if (w->wo_kernel != NULL)
		pmap_activate(w->wo_kernel->sp_pmap, cpu_slot(w->wo_kernel));
	sim_irq_enable();
}

void
cpu_end(struct world *w)
{
	sim_irq_disable();
	if (w->wo_kernel != NULL)
		pmap_deactivate(cpu_slot(w->wo_kernel));
	sim_irq_enable();
}

void
cpu_bounce(struct world *w)
{
	const unsigned int cpu = sim_cpu();
	struct cpu *const cp = &w->wo_cpus[cpu];

	cpu_end(w);
	sim_irq_disable();
	sim_cpu_set_online(cpu, false);
	for (unsigned int i = 0; i < 8; i++)
		sim_point(SIM_USER, NULL);
	sim_cpu_set_online(cpu, true);
	cp->cp_online++;
	sim_fault_met(SIM_FAULT_OFFLINE, cpu, true);
	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		const struct space *sp = w->wo_spaces[i];

		/*
		 * VMXON is followed by INVEPT of all contexts (docs/PROTOCOL-TLB.md, identifiers).
		 */
		if (sp->sp_cpu.ec_type == PT_EPT && sp->sp_cpu.ec_invept_all)
			hw_invept(cpu, &sp->sp_model, HW_INVEPT_ALL, 0);
	}
	if (cp->cp_asids.ac_max != 0)
		pmap_asid_cpu_online(&cp->cp_asids);
	sim_irq_enable();
	cpu_begin(w);
	world_tick(w, WC_OFFLINE);
}
