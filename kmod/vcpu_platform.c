/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A vCPU's part of the interrupt hardware: its local APIC with its timer, what is asked of it by
 * INIT, SIPI and NMI, and which interrupt it takes next.
 *
 * vc_intr_pending, which is all that a machine without this hardware has, holds here what was
 * accepted already, for whose delivery something came between: it goes before all others, whatever
 * its priority, since to the local APIC it is in service.
 */

#include <asm/msr-index.h>
#include <asm/msr.h>
#include <asm/tsc.h>

#include "kmod/vm_platform.h"

static struct vcpu_platform *
of_lapic(struct lapic *la)
{
	return container_of(la, struct vcpu_platform, vp_lapic);
}

static struct lapic_now
time_now(void)
{
	return (struct lapic_now){.ln_ns = platform_now(), .ln_tsc = rdtsc()};
}

/* ---- Hooks of the local APIC ----------------------------------------------------------------- */

/*
 * Any context. INIT drops a SIPI that came before it; the other way round it is kept. The vector of
 * a second SIPI that comes before the first was seen is as good as the first's.
 */
static void
lapic_event(struct lapic *la, enum lapic_event event, u8 vector)
{
	struct vcpu_platform *const vp = of_lapic(la);
	struct vcpu *const vcpu = vp->vp_vcpu;

	switch (event) {
	case LAPIC_NMI:
		set_bit(VCPU_REQ_NMI, &vcpu->vc_requests);
		break;
	case LAPIC_INIT:
		clear_bit(VCPU_REQ_SIPI, &vcpu->vc_requests);
		set_bit(VCPU_REQ_INIT, &vcpu->vc_requests);
		break;
	case LAPIC_SIPI:
		WRITE_ONCE(vp->vp_sipi, vector);
		smp_wmb(); /* partner: vcpu_platform_requests() */
		set_bit(VCPU_REQ_SIPI, &vcpu->vc_requests);
		break;
	case LAPIC_EXTINT:
		WRITE_ONCE(vp->vp_extint, true);
		break;
	case LAPIC_KICK:
		break;
	}
	vcpu_kick(vcpu);
}

static void
lapic_send(struct lapic *la, const struct apic_msg *msg)
{
	struct vcpu_platform *const vp = of_lapic(la);

	platform_send(vp->vp_machine, vp->vp_vcpu->vc_id, msg);
}

static void
lapic_eoi(struct lapic *la, u8 vector)
{
	platform_eoi(of_lapic(la)->vp_machine, vector);
}

/* ---- The timer ------------------------------------------------------------------------------- */

static enum hrtimer_restart
timer(struct hrtimer *t)
{
	struct vcpu_platform *const vp = container_of(t, struct vcpu_platform, vp_timer);
	struct lapic_now now;
	unsigned long flags;

	spin_lock_irqsave(&vp->vp_lock, flags);
	now = time_now();
	lapic_run(&vp->vp_lapic, &now);
	platform_arm(&vp->vp_timer, lapic_deadline(&vp->vp_lapic));
	spin_unlock_irqrestore(&vp->vp_lock, flags);
	return HRTIMER_NORESTART; /* or it has been started again */
}

/* Around an access that may change the timer, or the priority. */
static struct lapic *
access_begin(struct vcpu_platform *vp, unsigned long *flags, struct lapic_now *now)
	__acquires(&vp->vp_lock)
{
	spin_lock_irqsave(&vp->vp_lock, *flags);
	*now = time_now();
	return &vp->vp_lapic;
}

static void
access_end(struct vcpu_platform *vp, unsigned long flags, u64 deadline_before)
	__releases(&vp->vp_lock)
{
	const u64 deadline = lapic_deadline(&vp->vp_lapic);

	if (deadline != deadline_before)
		platform_arm(&vp->vp_timer, deadline);
	vp->vp_vcpu->vc_cr8 = vp->vp_lapic.la_tpr >> 4;
	spin_unlock_irqrestore(&vp->vp_lock, flags);
	platform_tick_again(vp->vp_machine); /* it may have been an EOI */
}

/* ---- Accesses -------------------------------------------------------------------------------- */

/* A register has 32 bits at the begin of 16 bytes; SDM vol. 3A 11.4.1 leaves others undefined. */
int
vcpu_platform_access(struct vcpu *vcpu, u64 gpa, unsigned int bytes, bool write, u64 *value)
{
	struct vcpu_platform *const vp = vcpu->vc_platform;
	struct lapic_now now;
	unsigned long flags;
	struct lapic *la;
	u64 deadline;
	u32 word = *value;

	if (!vp)
		return -ENODEV;
	if ((bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8) || gpa % 16 + bytes > 16)
		return -EINVAL;
	if (gpa - VMM_IOAPIC_GPA < VMM_IOAPIC_BYTES) {
		if (bytes == 4 || !write)
			platform_ioapic_access(vp->vp_machine, gpa - VMM_IOAPIC_GPA, write, &word);
	} else if (gpa - VMM_LAPIC_GPA < VMM_LAPIC_BYTES && lapic_enabled(&vp->vp_lapic) &&
		   !lapic_x2apic(&vp->vp_lapic)) {
		la = access_begin(vp, &flags, &now);
		deadline = lapic_deadline(la);
		if (!write)
			word = lapic_read(la, gpa - VMM_LAPIC_GPA, &now);
		else if (bytes == 4)
			lapic_write(la, gpa - VMM_LAPIC_GPA, word, &now);
		access_end(vp, flags, deadline);
	} else {
		return -EFAULT;
	}
	if (!write)
		*value = bytes < 4 ? word & ((1u << 8 * bytes) - 1) : word;
	return 0;
}

static bool
is_x2apic_msr(u32 index)
{
	return index >= 0x800 && index <= 0x8ff;
}

bool
vcpu_platform_has_msr(struct vcpu *vcpu, u32 index)
{
	return vcpu->vc_platform && (is_x2apic_msr(index) || index == MSR_IA32_APICBASE ||
				     index == MSR_IA32_TSC_DEADLINE);
}

int
vcpu_platform_rdmsr(struct vcpu *vcpu, u32 index, u64 *value)
{
	struct vcpu_platform *const vp = vcpu->vc_platform;
	struct lapic_now now;
	unsigned long flags;
	struct lapic *const la = access_begin(vp, &flags, &now);
	const u64 deadline = lapic_deadline(la);
	int error = 0;

	if (index == MSR_IA32_APICBASE)
		*value = host_load(&la->la_base);
	else if (index == MSR_IA32_TSC_DEADLINE && la->la_tsc_khz)
		*value = lapic_tsc_deadline(la);
	else if (is_x2apic_msr(index))
		error = lapic_rdmsr(la, index, value, &now);
	else
		error = -EINVAL;
	access_end(vp, flags, deadline);
	return error;
}

int
vcpu_platform_wrmsr(struct vcpu *vcpu, u32 index, u64 value)
{
	struct vcpu_platform *const vp = vcpu->vc_platform;
	struct lapic_now now;
	unsigned long flags;
	struct lapic *const la = access_begin(vp, &flags, &now);
	const u64 deadline = lapic_deadline(la);
	int error = 0;

	if (index == MSR_IA32_APICBASE)
		error = lapic_set_base(la, value);
	else if (index == MSR_IA32_TSC_DEADLINE && la->la_tsc_khz)
		lapic_set_tsc_deadline(la, value, &now);
	else if (is_x2apic_msr(index))
		error = lapic_wrmsr(la, index, value, &now);
	else
		error = -EINVAL;
	access_end(vp, flags, deadline);
	return error;
}

/* CR8 is the upper half of TPR (SDM vol. 3A 11.8.6). */
void
vcpu_set_cr8(struct vcpu *vcpu, u64 value)
{
	vcpu->vc_cr8 = value;
	if (vcpu->vc_platform)
		vcpu->vc_platform->vp_lapic.la_tpr = value << 4;
}

bool
vcpu_platform_apic_on(const struct vcpu *vcpu)
{
	return !vcpu->vc_platform || lapic_enabled(&vcpu->vc_platform->vp_lapic);
}

u32
vcpu_platform_tsc_khz(const struct vcpu *vcpu)
{
	return vcpu->vc_platform ? vcpu->vc_platform->vp_lapic.la_tsc_khz : 0;
}

/* Frozen: all of it as it is now. */
int
vcpu_platform_state(struct vcpu *vcpu, struct vmm_apic_state *out)
{
	struct vcpu_platform *const vp = vcpu->vc_platform;
	struct lapic_now now;
	unsigned long flags;
	struct lapic *la;
	u64 deadline;
	unsigned int i;

	if (!vp)
		return -ENODEV;
	la = access_begin(vp, &flags, &now);
	deadline = lapic_deadline(la);
	out->base = host_load(&la->la_base);
	out->mode = !lapic_enabled(la) ? VMM_APIC_OFF
		    : lapic_x2apic(la) ? VMM_APIC_X2APIC
				       : VMM_APIC_XAPIC;
	for (i = 0; i < ARRAY_SIZE(out->regs); i++)
		out->regs[i] = lapic_peek(la, i * 16, &now);
	out->tsc_deadline = lapic_tsc_deadline(la);
	access_end(vp, flags, deadline);
	out->waits_for_sipi = vcpu->vc_wait_sipi;
	out->halted = vcpu->vc_halted;
	return 0;
}

/* ---- What is next ---------------------------------------------------------------------------- */

/* Any thread. An interrupt from outside of all hardware (VMM_INJECT) is one more request. */
void
vcpu_platform_request(struct vcpu *vcpu, u8 vector)
{
	const struct apic_msg msg = {.am_mode = APIC_FIXED, .am_vector = vector};

	lapic_deliver(&vcpu->vc_platform->vp_lapic, &msg);
}

int
vcpu_platform_intr(struct vcpu *vcpu)
{
	struct vcpu_platform *const vp = vcpu->vc_platform;
	const int accepted = vcpu_next_intr(vcpu);

	if (accepted >= 0)
		return accepted;
	if (READ_ONCE(vp->vp_machine->pl_intr) &&
	    (lapic_takes_extint(&vp->vp_lapic) || READ_ONCE(vp->vp_extint)))
		return VCPU_INTR_8259;
	return lapic_pending(&vp->vp_lapic);
}

/* Here. Takes it: from now on it is in service. */
u8
vcpu_platform_accept(struct vcpu *vcpu, int intr)
{
	struct vcpu_platform *const vp = vcpu->vc_platform;

	if (intr == VCPU_INTR_8259) {
		WRITE_ONCE(vp->vp_extint, false);
		return platform_pic_accept(vp->vp_machine);
	}
	if (test_and_clear_bit(intr, vcpu->vc_intr_pending))
		return intr;
	lapic_accept(&vp->vp_lapic, intr);
	return intr;
}

/* ---- INIT and SIPI --------------------------------------------------------------------------- */

static void
start(struct vcpu *vcpu, u8 vector)
{
	struct vmm_desc cs = {.reg = VMM_REG_CS};

	WARN_ON_ONCE(vmm_backend->vb_get_desc(vcpu, VMM_REG_CS, &cs));
	cs.base = (u64)vector << 12;
	WARN_ON_ONCE(vmm_backend->vb_set_desc(vcpu, VMM_REG_CS, &cs));
	vcpu_set_reg(vcpu, VMM_REG_CS, (u64)vector << 8);
	vcpu_set_reg(vcpu, VMM_REG_RIP, 0); /* which ends the wait */
}

/* Frozen, may sleep. */
void
vcpu_platform_requests(struct vcpu *vcpu)
{
	struct vcpu_platform *const vp = vcpu->vc_platform;

	if (test_and_clear_bit(VCPU_REQ_INIT, &vcpu->vc_requests))
		vcpu_init(vcpu);
	if (test_and_clear_bit(VCPU_REQ_SIPI, &vcpu->vc_requests)) {
		smp_rmb(); /* partner: lapic_event() */
		if (vcpu->vc_wait_sipi)
			start(vcpu, READ_ONCE(vp->vp_sipi));
	}
}

/* ---- Machines that have come to rest --------------------------------------------------------- */

/* An NMI, INIT or SIPI that was not seen yet will make it go on. */
static bool
is_dead(struct platform *pl, struct vcpu *vcpu)
{
	return test_bit(vcpu->vc_id, &pl->pl_dead) &&
	       !(READ_ONCE(vcpu->vc_requests) &
		 (BIT(VCPU_REQ_NMI) | BIT(VCPU_REQ_INIT) | BIT(VCPU_REQ_SIPI)));
}

/*
 * This vCPU waits for nothing but those. The last one of all that comes here sees that every other
 * is dead: each says it first, then makes a full fence, then looks. What wakes one is requested by
 * another that was not dead then, and before it says that it is; and who was woken takes its word
 * back before the request.
 */
void
vcpu_platform_dead(struct vcpu *vcpu, bool dead)
{
	struct platform *const pl = vcpu->vc_platform->vp_machine;
	struct vcpu *other;
	unsigned int id;

	if (!dead) {
		clear_bit(vcpu->vc_id, &pl->pl_dead);
		smp_mb__after_atomic(); /* partner: is_dead() of others */
		return;
	}
	set_bit(vcpu->vc_id, &pl->pl_dead);
	smp_mb__after_atomic(); /* partner: the same of others */
	if (!(pl->pl_flags & VMM_PLATFORM_HALT_DETECT))
		return;
	for_each_vcpu(pl->pl_vm, id, other) if (!is_dead(pl, other)) return;
	vm_suspend(pl->pl_vm, VMM_SUSPEND_HALT);
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* Frozen. After INIT the mode stays, and what is the CPU's number. */
void
vcpu_platform_reset(struct vcpu *vcpu, bool init)
{
	struct vcpu_platform *const vp = vcpu->vc_platform;
	const u64 base = host_load(&vp->vp_lapic.la_base);
	unsigned long flags;

	spin_lock_irqsave(&vp->vp_lock, flags);
	lapic_reset(&vp->vp_lapic, vcpu->vc_id == 0);
	if (init)
		host_store(&vp->vp_lapic.la_base, base);
	vp->vp_extint = false;
	platform_arm(&vp->vp_timer, PLAT_NEVER);
	spin_unlock_irqrestore(&vp->vp_lock, flags);
	if (!init) { /* SIPI may have come after INIT already */
		clear_bit(VCPU_REQ_INIT, &vcpu->vc_requests);
		clear_bit(VCPU_REQ_SIPI, &vcpu->vc_requests);
	}
	vcpu->vc_wait_sipi = vcpu->vc_id != 0;
	if (vcpu->vc_wait_sipi)
		set_bit(vcpu->vc_id, &vp->vp_machine->pl_dead);
	else
		clear_bit(vcpu->vc_id, &vp->vp_machine->pl_dead);
}

/* Before it is published. */
int
vcpu_platform_create(struct vcpu *vcpu)
{
	struct platform *const pl = vcpu->vc_vm->vm_platform;
	struct vcpu_platform *vp;

	if (!pl)
		return 0;
	vp = host_alloc(sizeof(*vp));
	if (!vp)
		return -ENOMEM;
	vp->vp_vcpu = vcpu;
	vp->vp_machine = pl;
	spin_lock_init(&vp->vp_lock);
	hrtimer_init(&vp->vp_timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	vp->vp_timer.function = timer;
	vp->vp_lapic.la_id = vcpu->vc_id;
	vp->vp_lapic.la_tsc_khz = tsc_khz;
	vp->vp_lapic.la_event = lapic_event;
	vp->vp_lapic.la_send = lapic_send;
	vp->vp_lapic.la_eoi = lapic_eoi;
	vcpu->vc_platform = vp;
	vcpu->vc_caps[VMM_CAP_HALT_EXIT] = 0;
	return 0;
}

/* After the vCPU is: from now on messages find it. */
void
vcpu_platform_publish(struct vcpu *vcpu)
{
	struct vcpu_platform *const vp = vcpu->vc_platform;

	if (vp)
		smp_store_release(&vp->vp_machine->pl_lapics[vcpu->vc_id], &vp->vp_lapic);
}

/* Nobody sends any more. */
void
vcpu_platform_destroy(struct vcpu *vcpu)
{
	struct vcpu_platform *const vp = vcpu->vc_platform;

	if (!vp)
		return;
	hrtimer_cancel(&vp->vp_timer);
	vp->vp_machine->pl_lapics[vcpu->vc_id] = NULL;
	vcpu->vc_platform = NULL;
	host_free(vp, sizeof(*vp));
}
