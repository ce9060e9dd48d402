/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A vCPU: who owns it, its registers, the exceptions that are due to it.
 *
 * Ownership. Two kinds of calls want a vCPU. One works on it (VMM_RUN, registers): there can be one
 * such call at a time, a second is refused (vc_user). The other stops it while maps change
 * (vcpu_freeze()): these take turns by vm_mem_lock, and may wait. The state goes between the two:
 *
 *	call that works			   call that stops
 *	vc_user = true; IDLE -> FROZEN
 *	   ... runs ...			   vc_freezers++; VCPU_REQ_IDLE; kick; waits for IDLE
 *	leaves the guest, sees the request
 *	FROZEN -> IDLE, wakes, waits	   IDLE -> FROZEN, vc_freezers--
 *					   ... maps change ...
 *	   for IDLE and no freezers	   FROZEN -> IDLE, wakes
 *	IDLE -> FROZEN; goes on
 *
 * FROZEN -> RUNNING -> FROZEN is the owner's own affair, without the lock (run.c): a freezer waits
 * for IDLE and does not mind which of the two it is not.
 */

#include <linux/sched/signal.h>
#include <linux/smp.h>

#include <asm/processor.h>
#include <asm/trapnr.h>

#include "kmod/vmm_priv.h"

/* ---- Life ------------------------------------------------------------------------------------ */

/* What is in struct vcpu, as after a power-up reset (SDM vol. 3A table 10-1); the rest is the
 * backend's. */
static void
reset_common(struct vcpu *vcpu, bool init)
{
	memset(vcpu->vc_gpr, 0, sizeof(vcpu->vc_gpr));
	vcpu->vc_gpr[VMM_REG_RDX] = cpuid_eax(1) & 0x0fff0fff; /* family, model, stepping */
	vcpu->vc_cr2 = 0;
	vcpu->vc_cr8 = 0;
	memset(vcpu->vc_dr, 0, sizeof(vcpu->vc_dr));
	vcpu->vc_dr6 = 0xffff0ff0;
	/* At its usual place, enabled; the first vCPU is the bootstrap processor (SDM 11.4.4). */
	vcpu->vc_apic_base = 0xfee00000 | BIT(11) | (vcpu->vc_id == 0 ? BIT(8) : 0);

	if (!init) { /* which leaves these as they are */
		vcpu->vc_tsc_aux = 0;
		memset(vcpu->vc_fxsave, 0, sizeof(vcpu->vc_fxsave));
		*(u16 *)&vcpu->vc_fxsave[0] = 0x0040;  /* FCW */
		*(u32 *)&vcpu->vc_fxsave[24] = 0x1f80; /* MXCSR */
	}

	vcpu->vc_exception = 0;
	vcpu->vc_reinject = 0;
	vcpu->vc_skip = false;
	vcpu->vc_halted = false;
	memset(&vcpu->vc_exit, 0, sizeof(vcpu->vc_exit));
	bitmap_zero(vcpu->vc_intr_pending, 256);
	clear_bit(VCPU_REQ_NMI, &vcpu->vc_requests);
	clear_bit(VCPU_REQ_TRIPLE, &vcpu->vc_requests);
	if (vcpu->vc_platform)
		vcpu_platform_reset(vcpu, init);
}

void
vcpu_reset(struct vcpu *vcpu)
{
	reset_common(vcpu, false);
	vmm_backend->vb_vcpu_reset(vcpu);
}

/* Of the MSRs more are reset than INIT resets (SDM vol. 3A table 10-1): who sends it sets them. */
void
vcpu_init(struct vcpu *vcpu)
{
	reset_common(vcpu, true);
	vmm_backend->vb_vcpu_reset(vcpu);
}

/* vm_activate_lock held; vm_mem_lock for reading, so that nobody has all vCPUs frozen meanwhile. */
int
vcpu_create(struct vm *vm, unsigned int id)
{
	struct vcpu *const vcpu = host_alloc(sizeof(*vcpu));
	int error;

	if (!vcpu)
		return -ENOMEM;
	vcpu->vc_vm = vm;
	vcpu->vc_id = id;
	spin_lock_init(&vcpu->vc_lock);
	init_waitqueue_head(&vcpu->vc_wait);
	vcpu->vc_cpu = -1;
	vcpu->vc_last_cpu = -1;
	vcpu->vc_caps[VMM_CAP_HALT_EXIT] = 1;
	error = vcpu_platform_create(vcpu);
	if (!error) {
		reset_common(vcpu, false);
		error = vmm_backend->vb_vcpu_init(vcpu);
	}
	if (error) {
		vcpu_platform_destroy(vcpu);
		host_free(vcpu, sizeof(*vcpu));
		return error;
	}
	if (vmm_backend->vb_type == PT_RVI)
		pmap_slot_attach(vm->vm_pmap, &vcpu->vc_slot);
	smp_store_release(&vm->vm_vcpus[id], vcpu);
	vcpu_platform_publish(vcpu);
	return 0;
}

/* No call is being made, its slot is detached and an epoch has passed. */
void
vcpu_destroy(struct vcpu *vcpu)
{
	vcpu_platform_destroy(vcpu);
	vmm_backend->vb_vcpu_destroy(vcpu);
	host_free(vcpu, sizeof(*vcpu));
}

/* ---- Ownership ------------------------------------------------------------------------------- */

/*
 * Whether it is IDLE and nobody is about to freeze it; if so, FROZEN for the caller. The condition
 * of waits: takes and drops the lock.
 */
static bool
try_own(struct vcpu *vcpu)
{
	bool mine;

	spin_lock(&vcpu->vc_lock);
	mine = vcpu->vc_state == VCPU_IDLE && vcpu->vc_freezers == 0;
	if (mine) {
		WRITE_ONCE(vcpu->vc_state, VCPU_FROZEN);
		clear_bit(VCPU_REQ_IDLE, &vcpu->vc_requests); /* by who asked, and then gave up */
	}
	spin_unlock(&vcpu->vc_lock);
	return mine;
}

static bool
try_freeze(struct vcpu *vcpu)
{
	bool mine;

	spin_lock(&vcpu->vc_lock);
	mine = vcpu->vc_state == VCPU_IDLE;
	if (mine) {
		WRITE_ONCE(vcpu->vc_state, VCPU_FROZEN);
		if (--vcpu->vc_freezers == 0)
			clear_bit(VCPU_REQ_IDLE, &vcpu->vc_requests);
	}
	spin_unlock(&vcpu->vc_lock);
	return mine;
}

static void
make_idle(struct vcpu *vcpu)
{
	spin_lock(&vcpu->vc_lock);
	WARN_ON_ONCE(vcpu->vc_state != VCPU_FROZEN);
	WRITE_ONCE(vcpu->vc_state, VCPU_IDLE);
	spin_unlock(&vcpu->vc_lock);
	wake_up_all(&vcpu->vc_wait);
}

int
vcpu_acquire(struct vcpu *vcpu)
{
	int error = 0;

	spin_lock(&vcpu->vc_lock);
	if (vcpu->vc_user)
		error = -EBUSY;
	else
		vcpu->vc_user = true;
	spin_unlock(&vcpu->vc_lock);
	if (error)
		return error;
	if (!wait_event_interruptible(vcpu->vc_wait, try_own(vcpu)))
		return 0;
	spin_lock(&vcpu->vc_lock);
	vcpu->vc_user = false;
	spin_unlock(&vcpu->vc_lock);
	return -EINTR;
}

void
vcpu_release(struct vcpu *vcpu)
{
	spin_lock(&vcpu->vc_lock);
	if (!vcpu->vc_aside) {
		WARN_ON_ONCE(vcpu->vc_state != VCPU_FROZEN);
		WRITE_ONCE(vcpu->vc_state, VCPU_IDLE);
	}
	vcpu->vc_aside = false;
	vcpu->vc_user = false;
	spin_unlock(&vcpu->vc_lock);
	wake_up_all(&vcpu->vc_wait);
}

int
vcpu_freeze(struct vcpu *vcpu)
{
	spin_lock(&vcpu->vc_lock);
	vcpu->vc_freezers++;
	set_bit(VCPU_REQ_IDLE, &vcpu->vc_requests);
	spin_unlock(&vcpu->vc_lock);
	vcpu_kick(vcpu);
	if (!wait_event_interruptible(vcpu->vc_wait, try_freeze(vcpu)))
		return 0;
	spin_lock(&vcpu->vc_lock);
	if (--vcpu->vc_freezers == 0)
		clear_bit(VCPU_REQ_IDLE, &vcpu->vc_requests);
	spin_unlock(&vcpu->vc_lock);
	wake_up_all(&vcpu->vc_wait);
	return -EINTR;
}

void
vcpu_thaw(struct vcpu *vcpu)
{
	make_idle(vcpu);
}

int
vcpu_step_aside(struct vcpu *vcpu)
{
	make_idle(vcpu);
	if (!wait_event_interruptible(vcpu->vc_wait, try_own(vcpu)))
		return 0;
	vcpu->vc_aside = true; /* vcpu_release() leaves the state to whoever has it */
	return -EINTR;
}

/*
 * The request was made before; its bit and vc_cpu are a pair, as vc_cpu and the look at the
 * requests are before an entry (run.c): either we see that it is about to enter, and interrupt it,
 * or it sees the request.
 */
void
vcpu_kick(struct vcpu *vcpu)
{
	int cpu, here;

	smp_mb();	  /* partner: publish_running() */
	here = get_cpu(); /* a CPU that is read after this cannot finish going offline */
	cpu = READ_ONCE(vcpu->vc_cpu);
	if (cpu >= 0 && cpu != here)
		smp_send_reschedule(cpu);
	put_cpu();
	if (wq_has_sleeper(&vcpu->vc_wait))
		wake_up_all(&vcpu->vc_wait);
}

void
vcpu_request(struct vcpu *vcpu, int request)
{
	set_bit(request, &vcpu->vc_requests);
	vcpu_kick(vcpu);
}

/* ---- Registers ------------------------------------------------------------------------------- */

#define FXSAVE_XMM0 160 /* SDM vol. 1 table 10-2 */

/* Where struct vcpu keeps a register, or NULL: it is the backend's. */
static u64 *
reg_here(struct vcpu *vcpu, u32 reg)
{
	switch (reg) {
	case VMM_REG_RBX ... VMM_REG_R15:
		return &vcpu->vc_gpr[reg];
	case VMM_REG_CR2:
		return &vcpu->vc_cr2;
	case VMM_REG_CR8:
		return &vcpu->vc_cr8;
	case VMM_REG_DR0 ... VMM_REG_DR3:
		return &vcpu->vc_dr[reg - VMM_REG_DR0];
	case VMM_REG_DR6:
		return &vcpu->vc_dr6;
	case VMM_REG_XMM0 ... VMM_REG_XMM_LAST:
		return (u64 *)&vcpu->vc_fxsave[FXSAVE_XMM0 + 8 * (reg - VMM_REG_XMM0)];
	default:
		return NULL;
	}
}

int
vcpu_get_reg(struct vcpu *vcpu, u32 reg, u64 *value)
{
	const u64 *const here = reg_here(vcpu, reg);

	if (reg >= VMM_REG_COUNT || reg == VMM_REG_GDTR || reg == VMM_REG_IDTR)
		return -EINVAL;
	if (!here)
		return vmm_backend->vb_get_reg(vcpu, reg, value);
	*value = *here;
	return 0;
}

/* Values that MOV would refuse are refused (SDM vol. 3A 2.5, 18.2.3, 11.8.6). */
static bool
value_possible(u32 reg, u64 value)
{
	switch (reg) {
	case VMM_REG_CR8:
		return value <= 15;
	case VMM_REG_DR6:
		return value >> 32 == 0;
	default:
		return true;
	}
}

int
vcpu_set_reg_checked(struct vcpu *vcpu, u32 reg, u64 value)
{
	u64 *const here = reg_here(vcpu, reg);
	int error;

	if (reg >= VMM_REG_COUNT || reg == VMM_REG_GDTR || reg == VMM_REG_IDTR ||
	    !value_possible(reg, value))
		return -EINVAL;
	if (reg == VMM_REG_CR8) {
		vcpu_set_cr8(vcpu, value);
		return 0;
	}
	if (here) {
		*here = value;
		return 0;
	}
	error = vmm_backend->vb_set_reg(vcpu, reg, value);
	if (!error && reg == VMM_REG_RIP) {
		vcpu->vc_skip = false;
		vcpu->vc_halted = false;
		if (vcpu->vc_wait_sipi)
			vcpu_platform_dead(vcpu, false);
		vcpu->vc_wait_sipi = false;
	}
	return error;
}

u64
vcpu_reg(struct vcpu *vcpu, enum vmm_reg reg)
{
	u64 value = 0;

	WARN_ON_ONCE(vcpu_get_reg(vcpu, reg, &value));
	return value;
}

void
vcpu_set_reg(struct vcpu *vcpu, enum vmm_reg reg, u64 value)
{
	WARN_ON_ONCE(vcpu_set_reg_checked(vcpu, reg, value));
}

/*
 * Past an instruction that was completed for the guest: what STI or MOV SS shadowed is over. RIP is
 * as wide as the code segment: 64-bit code (L), 32-bit (D), or 16-bit.
 */
void
vcpu_skip(struct vcpu *vcpu, unsigned int inst_bytes)
{
	struct vmm_desc cs = {.reg = VMM_REG_CS};
	u64 rip = vcpu_reg(vcpu, VMM_REG_RIP) + inst_bytes;

	if (vcpu_reg(vcpu, VMM_REG_EFER) & BIT(10) &&
	    !vmm_backend->vb_get_desc(vcpu, VMM_REG_CS, &cs) && cs.access & BIT(13))
		vcpu_set_reg(vcpu, VMM_REG_RIP, rip);
	else
		vcpu_set_reg(vcpu, VMM_REG_RIP, (u32)rip);
	vcpu_set_reg(vcpu, VMM_REG_INTR_SHADOW, 0);
}

void
vcpu_paging(struct vcpu *vcpu, struct vm_guest_paging *paging)
{
	const u64 cr0 = vcpu_reg(vcpu, VMM_REG_CR0);
	const u64 cr4 = vcpu_reg(vcpu, VMM_REG_CR4);
	const u64 efer = vcpu_reg(vcpu, VMM_REG_EFER);
	struct vmm_desc ss = {.reg = VMM_REG_SS};
	u32 reg;

	memset(paging, 0, sizeof(*paging));
	if (!(cr0 & X86_CR0_PG))
		paging->gp_mode = PT_GUEST_FLAT;
	else if (!(cr4 & X86_CR4_PAE))
		paging->gp_mode = PT_GUEST_32BIT;
	else if (!(efer & EFER_LMA))
		paging->gp_mode = PT_GUEST_PAE;
	else
		paging->gp_mode = cr4 & X86_CR4_LA57 ? PT_GUEST_5LEVEL : PT_GUEST_4LEVEL;
	paging->gp_cr3 = vcpu_reg(vcpu, VMM_REG_CR3);
	if (paging->gp_mode == PT_GUEST_PAE && vmm_backend->vb_type == PT_EPT) {
		for (reg = 0; reg < 4; reg++)
			paging->gp_pdpte[reg] = vcpu_reg(vcpu, VMM_REG_PDPTE0 + reg);
		paging->gp_pdpte_loaded = true;
	}
	paging->gp_phys_bits = cpuid_guest_phys_bits();
	if (!vmm_backend->vb_get_desc(vcpu, VMM_REG_SS, &ss))
		paging->gp_cpl = ss.access >> 5 & 3;
	paging->gp_wp = cr0 & X86_CR0_WP;
	paging->gp_pse = cr4 & X86_CR4_PSE;
	paging->gp_smep = cr4 & X86_CR4_SMEP;
	paging->gp_smap = cr4 & X86_CR4_SMAP;
	paging->gp_ac = vcpu_reg(vcpu, VMM_REG_RFLAGS) & X86_EFLAGS_AC;
	paging->gp_nxe = efer & EFER_NX;
	paging->gp_1g = boot_cpu_has(X86_FEATURE_GBPAGES);
}

/* ---- Events ---------------------------------------------------------------------------------- */

int
vcpu_next_intr(struct vcpu *vcpu)
{
	const unsigned long vector = find_last_bit(vcpu->vc_intr_pending, 256);

	return vector < 256 ? (int)vector : -1;
}

enum exception_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

/* SDM vol. 3A table 6-4. */
static enum exception_class
class_of(unsigned int vector)
{
	switch (vector) {
	case X86_TRAP_DE:
	case X86_TRAP_TS:
	case X86_TRAP_NP:
	case X86_TRAP_SS:
	case X86_TRAP_GP:
		return CONTRIBUTORY;
	case X86_TRAP_PF:
		return PAGE_FAULT;
	case X86_TRAP_DF:
		return DOUBLE_FAULT;
	default:
		return BENIGN;
	}
}

/*
 * The delivery of something was interrupted by an exit that turns out to be an exception: an
 * exception goes with it as below; an interrupt or NMI comes later; a software interrupt's
 * instruction is executed again.
 */
static u64
take_reinject(struct vcpu *vcpu)
{
	const u64 event = vcpu->vc_reinject;

	vcpu->vc_reinject = 0;
	if (!(event & VCPU_EVENT_VALID))
		return 0;
	switch (VCPU_EVENT_TYPE(event)) {
	case VCPU_EVENT_TYPE_EXCEPTION:
		return event;
	case VCPU_EVENT_TYPE_INTR:
		set_bit(VCPU_EVENT_VECTOR(event), vcpu->vc_intr_pending);
		return 0;
	case VCPU_EVENT_TYPE_NMI:
		set_bit(VCPU_REQ_NMI, &vcpu->vc_requests);
		return 0;
	default:
		return 0;
	}
}

void
vcpu_inject_exception(struct vcpu *vcpu, u8 vector, int error_code)
{
	u64 first = take_reinject(vcpu);
	u64 event = VCPU_EVENT_VALID | VCPU_EVENT_TYPE_EXCEPTION << 8 | vector;

	if (vcpu->vc_exception & VCPU_EVENT_VALID)
		first = vcpu->vc_exception;
	if (error_code >= 0)
		event |= VCPU_EVENT_ERROR | (u64)(u32)error_code << 32;
	if (first) {
		const enum exception_class a = class_of(VCPU_EVENT_VECTOR(first));
		const enum exception_class b = class_of(vector);

		if (a == DOUBLE_FAULT && (b == CONTRIBUTORY || b == PAGE_FAULT)) {
			vcpu->vc_exception = 0;
			set_bit(VCPU_REQ_TRIPLE, &vcpu->vc_requests);
			return;
		}
		if ((a == CONTRIBUTORY && b == CONTRIBUTORY) ||
		    (a == PAGE_FAULT && (b == CONTRIBUTORY || b == PAGE_FAULT)))
			event = VCPU_EVENT_VALID | VCPU_EVENT_ERROR |
				VCPU_EVENT_TYPE_EXCEPTION << 8 | X86_TRAP_DF;
	}
	vcpu->vc_exception = event;
}
