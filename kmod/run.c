/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * VMM_RUN: the loop around guest entries.
 *
 *	may sleep	requests, signals, other threads' turn; a halted guest waits here
 *	preemption off	the backend loads the vCPU on this CPU; the host's FPU state is saved
 *	interrupts off	"I am about to enter" is published; whatever came meanwhile calls it off;
 *			the event to deliver is chosen; pmap_guest_enter() .. pmap_guest_exit()
 *	preemption on	the backend says what the exit was, with all of the kernel at its service
 *
 * Kicks. Who wants the vCPU out of the guest changes something, makes a full fence, and reads
 * vc_cpu. We publish vc_cpu, make a full fence, and look. One of the two sees the other; and an
 * interrupt that comes after we looked is pending until the guest is entered, and ends that at
 * once. The core's shootdowns rely on the same for their slots.
 *
 * Registers that hardware does not switch. x87 and SSE: the guest's are loaded by FXRSTOR, after
 * everything of the host's was saved and, where there is more than SSE, put into its initial state:
 * guests are not offered more (cpuid.c), and shall not see what a process left in the rest. Debug
 * registers: DR0-3 are loaded while the guest's DR7 enables one, and the host's breakpoints are set
 * again afterwards, since an exit clears DR7.
 */

#define pr_fmt(fmt) "vmm: " fmt

#include <linux/hw_breakpoint.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>

#include <asm/debugreg.h>
#include <asm/fpu/api.h>

#include <asm/trapnr.h>

#include "kmod/trace.h"
#include "kmod/vmm_priv.h"

/* What run_once() did; beside VCPU_RESUME. */
#define RUN_AGAIN 2   /* nothing: look at requests, then try again */
#define RUN_ENTERED 3 /* entered, or tried to */

/* ---- FPU ------------------------------------------------------------------------------------- */

/* An XSAVE area whose header says that every component is in its initial state. */
static const struct {
	u8 legacy[512];
	u64 header[8];
} __aligned(64) xstate_init = {
	.legacy[0] = 0x7f,
	.legacy[1] = 0x03, /* FCW 037FH */
	.legacy[24] = 0x80,
	.legacy[25] = 0x1f, /* MXCSR 1F80H */
};
static bool have_xsave __ro_after_init;

/* All but PKRU, which the kernel does not restore with the rest when a thread goes on. */
#define XSTATE_ALL_LOW (~BIT(9))

int
run_init(void)
{
	have_xsave = boot_cpu_has(X86_FEATURE_XSAVE) && (__read_cr4() & X86_CR4_OSXSAVE);
	return 0;
}

static void
fpu_enter(struct vcpu *vcpu)
{
	if (have_xsave)
		asm volatile("xrstor64 %0"
			     :
			     : "m"(xstate_init), "a"((u32)XSTATE_ALL_LOW), "d"(0xffffffff));
	asm volatile("fxrstor64 %0" : : "m"(vcpu->vc_fxsave));
}

static void
fpu_exit(struct vcpu *vcpu)
{
	asm volatile("fxsave64 %0" : "=m"(vcpu->vc_fxsave));
}

/* ---- Debug registers ------------------------------------------------------------------------- */

#define DR7_ENABLES 0xffu

static bool
debug_enter(struct vcpu *vcpu)
{
	u64 dr7 = 0;

	vmm_backend->vb_get_reg(vcpu, VMM_REG_DR7, &dr7);
	if (!(dr7 & DR7_ENABLES))
		return false;
	set_debugreg(0, 7);
	set_debugreg(vcpu->vc_dr[0], 0);
	set_debugreg(vcpu->vc_dr[1], 1);
	set_debugreg(vcpu->vc_dr[2], 2);
	set_debugreg(vcpu->vc_dr[3], 3);
	return true;
}

/* ---- Before an entry ------------------------------------------------------------------------- */

static int
exit_suspended(struct vcpu *vcpu)
{
	/* All of it, padding and the union included: it goes to user space. */
	memset(&vcpu->vc_exit, 0, sizeof(vcpu->vc_exit));
	vcpu->vc_exit.code = VMM_EXIT_SUSPENDED;
	vcpu->vc_exit.rip = vcpu_reg(vcpu, VMM_REG_RIP);
	vcpu->vc_exit.u.how = READ_ONCE(vcpu->vc_vm->vm_suspend);
	return VCPU_EXIT;
}

static bool
must_look(struct vcpu *vcpu)
{
	return READ_ONCE(vcpu->vc_requests) & ~BIT(VCPU_REQ_NMI);
}

/* The interrupt that is due by its priority, if the guest takes any; or -1. */
static int
next_intr(struct vcpu *vcpu)
{
	int vector;

	if (vcpu->vc_platform)
		return vcpu_platform_intr(vcpu);
	vector = vcpu_next_intr(vcpu);
	return vector >> 4 > (int)vcpu->vc_cr8 ? vector : -1;
}

/* Whether a halted guest goes on: an NMI, or an interrupt that it accepts (SDM vol. 3A 6.8.1). */
static bool
may_wake(struct vcpu *vcpu)
{
	if (test_bit(VCPU_REQ_NMI, &vcpu->vc_requests) || vcpu->vc_exception)
		return true;
	return next_intr(vcpu) >= 0 && vcpu_reg(vcpu, VMM_REG_RFLAGS) & X86_EFLAGS_IF;
}

static int
wait_halted(struct vcpu *vcpu)
{
	const bool dead = vcpu->vc_platform && !(vcpu_reg(vcpu, VMM_REG_RFLAGS) & X86_EFLAGS_IF);
	int error;

	if (dead)
		vcpu_platform_dead(vcpu, true);
	error = wait_event_interruptible(vcpu->vc_wait, may_wake(vcpu) || must_look(vcpu));
	if (dead)
		vcpu_platform_dead(vcpu, false);
	if (error)
		return -EINTR;
	if (may_wake(vcpu))
		vcpu->vc_halted = false;
	return RUN_AGAIN;
}

/* INIT and SIPI are requests. An NMI waits until it has started. */
static int
wait_sipi(struct vcpu *vcpu)
{
	int error;

	vcpu_platform_dead(vcpu, true);
	error = wait_event_interruptible(vcpu->vc_wait, must_look(vcpu));
	vcpu_platform_dead(vcpu, false);
	return error ? -EINTR : RUN_AGAIN;
}

/* May sleep. VCPU_RESUME: go on to enter; RUN_AGAIN: call it again; else the end of the run. */
static int
look_at_requests(struct vcpu *vcpu)
{
	struct vm *const vm = vcpu->vc_vm;
	int error;

	if (READ_ONCE(vm->vm_dying))
		return -ENXIO;
	if (READ_ONCE(vm->vm_suspend))
		return exit_suspended(vcpu);
	clear_bit(VCPU_REQ_SUSPEND, &vcpu->vc_requests);
	smp_mb__after_atomic(); /* it may have been set anew for what we did not see above */
	if (READ_ONCE(vm->vm_dying) || READ_ONCE(vm->vm_suspend))
		return RUN_AGAIN;
	if (test_bit(VCPU_REQ_IDLE, &vcpu->vc_requests)) {
		error = vcpu_step_aside(vcpu);
		return error ?: RUN_AGAIN;
	}
	if (signal_pending(current))
		return -EINTR;
	if (test_and_clear_bit(VCPU_REQ_TRIPLE, &vcpu->vc_requests))
		return exit_triple_fault(vcpu);
	if (need_resched())
		cond_resched();
	if (vcpu->vc_platform)
		vcpu_platform_requests(vcpu);
	if (vcpu->vc_wait_sipi)
		return wait_sipi(vcpu);
	if (vcpu->vc_halted)
		return wait_halted(vcpu);
	return VCPU_RESUME;
}

/*
 * This CPU is going offline, or the machine down. In the first case we will be moved to another
 * one soon, in the second nothing helps; either way the guest does not run here.
 */
static int
wait_elsewhere(void)
{
	schedule_timeout_interruptible(1);
	return RUN_AGAIN;
}

/* ---- An entry -------------------------------------------------------------------------------- */

static u64
accept_intr(struct vcpu *vcpu, int intr)
{
	if (vcpu->vc_platform)
		return vcpu_platform_accept(vcpu, intr);
	clear_bit(intr, vcpu->vc_intr_pending);
	return intr;
}

/*
 * Here. What does the entry deliver? What an exit interrupted on its way; then exceptions, NMI,
 * interrupts. Asks for an exit as soon as what must wait can be taken. Returns the event, or 0.
 */
static u64
choose_event(struct vcpu *vcpu)
{
	const struct vmm_backend *const vb = vmm_backend;
	const bool nmi = test_bit(VCPU_REQ_NMI, &vcpu->vc_requests);
	const int intr = next_intr(vcpu);
	bool nmi_left = nmi, intr_left = intr >= 0;
	u64 event = 0;

	if (vcpu->vc_reinject & VCPU_EVENT_VALID) {
		event = vcpu->vc_reinject;
		vcpu->vc_reinject = 0;
	} else if (vcpu->vc_exception & VCPU_EVENT_VALID) {
		event = vcpu->vc_exception;
		vcpu->vc_exception = 0;
	} else if (nmi && vb->vb_can_nmi(vcpu)) {
		event = VCPU_EVENT_VALID | VCPU_EVENT_TYPE_NMI << 8 | X86_TRAP_NMI;
		clear_bit(VCPU_REQ_NMI, &vcpu->vc_requests);
		nmi_left = false;
	} else if (intr >= 0 && vb->vb_can_intr(vcpu)) {
		event = VCPU_EVENT_VALID | VCPU_EVENT_TYPE_INTR << 8 | accept_intr(vcpu, intr);
		intr_left = next_intr(vcpu) >= 0;
	}
	vb->vb_window(vcpu, intr_left, nmi_left);
	if (event) {
		vb->vb_inject(vcpu, event);
		vcpu_count(vcpu, VCPU_STAT_EVENTS_INJECTED);
	}
	return event;
}

/* Preemption off, interrupts on: the slot by which the core knows what this vCPU, here, may see. */
static struct pmap_slot *
slot_here(struct vcpu *vcpu, unsigned int cpu)
{
	struct vm *const vm = vcpu->vc_vm;

	if (vmm_backend->vb_type == PT_RVI)
		return &vcpu->vc_slot;
	if (!vm->vm_slot_attached[cpu]) {
		pmap_slot_attach(vm->vm_pmap, &vm->vm_slots[cpu]);
		vm->vm_slot_attached[cpu] = 1;
	}
	return &vm->vm_slots[cpu];
}

/* Interrupts off. What was flushed before this CPU was switched on last is void. */
static void
slot_refresh(struct vcpu *vcpu, struct pmap_slot *slot, unsigned int cpu)
{
	struct vm *const vm = vcpu->vc_vm;

	if (vmm_backend->vb_type == PT_RVI) {
		if (vcpu->vc_last_cpu != (int)cpu)
			pmap_slot_reset(
				slot); /* another CPU's TLB, of whose past it knows nothing */
	} else if (vm->vm_slot_online[cpu] != vmm_cpu_online_count()) {
		pmap_slot_reset(slot);
		vm->vm_slot_online[cpu] = vmm_cpu_online_count();
	}
	if (vcpu->vc_last_cpu != (int)cpu) {
		if (vcpu->vc_last_cpu >= 0)
			vcpu_count(vcpu, VCPU_STAT_MIGRATIONS);
		vcpu->vc_last_cpu = cpu;
	}
}

/* Interrupts off. Whether the entry may be made; from here on a kick interrupts it. */
static bool
publish_running(struct vcpu *vcpu, unsigned int cpu)
{
	WRITE_ONCE(vcpu->vc_cpu, cpu);
	WRITE_ONCE(vcpu->vc_state, VCPU_RUNNING);
	smp_mb(); /* partner: vcpu_kick() */
	return !must_look(vcpu) && !signal_pending(current) && !need_resched() && vmm_cpu_enabled();
}

static void
publish_left(struct vcpu *vcpu)
{
	WRITE_ONCE(vcpu->vc_cpu, -1);
	WRITE_ONCE(vcpu->vc_state, VCPU_FROZEN);
}

/* Interrupts off, published. */
static void
enter(struct vcpu *vcpu, struct pmap_slot *slot, unsigned int cpu)
{
	struct pmap *const pm = vcpu->vc_vm->vm_pmap;
	const bool debug = debug_enter(vcpu);
	const u64 event = choose_event(vcpu);
	bool flush;
	int error;

	slot_refresh(vcpu, slot, cpu);
	fpu_enter(vcpu);
	rcu_virt_note_context_switch(cpu);
	flush = pmap_guest_enter(pm, slot);
	if (flush)
		vcpu_count(vcpu, VCPU_STAT_FLUSHES);
	error = vmm_backend->vb_enter(vcpu, slot, flush);
	pmap_guest_exit(slot);
	fpu_exit(vcpu);
	if (debug || hw_breakpoint_active())
		hw_breakpoint_restore();
	if (error) {
		vcpu_count(vcpu, VCPU_STAT_ENTRY_FAILURES);
		vcpu->vc_reinject = event; /* it was not delivered */
	} else {
		vcpu_count(vcpu, VCPU_STAT_EXITS);
	}
}

/* RUN_AGAIN, RUN_ENTERED. */
static int
run_once(struct vcpu *vcpu)
{
	struct pmap_slot *slot;
	unsigned int cpu;
	bool entered;

	cpu = get_cpu();
	if (!vmm_cpu_enabled()) {
		put_cpu();
		return wait_elsewhere();
	}
	slot = slot_here(vcpu, cpu);
	vmm_backend->vb_load(vcpu);
	kernel_fpu_begin();

	local_irq_disable();
	entered = publish_running(vcpu, cpu);
	if (entered)
		enter(vcpu, slot, cpu);
	publish_left(vcpu);
	local_irq_enable(); /* what made the guest exit is served here */
	kernel_fpu_end();   /* as it began: newer kernels let soft interrupts in here */

	put_cpu();
	return entered ? RUN_ENTERED : RUN_AGAIN;
}

/* 0: vcpu->vc_exit; or negative. */
int
vcpu_run(struct vcpu *vcpu)
{
	int result;

	if (vcpu->vc_skip) {
		vcpu->vc_skip = false;
		vcpu_skip(vcpu, vcpu->vc_exit.inst_bytes);
	}
	do {
		result = look_at_requests(vcpu);
		if (result == VCPU_RESUME)
			result = run_once(vcpu);
		if (result != RUN_ENTERED)
			continue;
		if (trace_vmm_exit_enabled())
			trace_vmm_exit(vcpu->vc_vm->vm_name, vcpu->vc_id, vcpu->vc_raw_reason,
				       vcpu_reg(vcpu, VMM_REG_RIP));
		result = vmm_backend->vb_handle(vcpu);
	} while (result == VCPU_RESUME || result == RUN_AGAIN);
	if (result != VCPU_EXIT)
		return result;
	vcpu_count(vcpu, VCPU_STAT_EXITS_USERSPACE);
	vcpu->vc_skip = vcpu->vc_exit.inst_bytes != 0;
	return 0;
}
