/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Interrupt and timer hardware of a machine: the models of kmod/platform/, and what they need of a
 * kernel: locks, timers, vCPUs that are called.
 *
 *	vm_platform.c	the machine's: wires, messages, ports, clock
 *	vcpu_platform.c	a vCPU's: its local APIC, its timer; INIT and SIPI; which interrupt is next
 *
 * Locks. pl_lock is for all that is the machine's (IOAPIC, 8259, PIT, RTC), vp_lock for accesses to
 * the registers of one local APIC and its timer. Both are spin locks that hard interrupts take;
 * vp_lock comes before pl_lock (the end of a level-triggered interrupt reaches the IOAPIC). That an
 * interrupt arrives takes neither: a bit is set, and the vCPU is kicked.
 *
 * No interrupt is lost. Who delivers sets the bit; then vcpu_kick() makes a full fence and looks
 * whether the vCPU is about to enter, or sleeps. The vCPU says that it is about to enter (or to
 * sleep: the wait queue does), makes a full fence, and looks at the bits (run.c). One sees the
 * other.
 */

#ifndef KMOD_VM_PLATFORM_H
#define KMOD_VM_PLATFORM_H

#include <linux/hrtimer.h>
#include <linux/spinlock.h>

#include "kmod/platform/ioapic.h"
#include "kmod/platform/lapic.h"
#include "kmod/platform/pic.h"
#include "kmod/platform/pit.h"
#include "kmod/platform/rtc.h"
#include "kmod/vmm_priv.h"

struct platform {
	struct vm *pl_vm;
	u32 pl_flags; /* VMM_PLATFORM_* */
	spinlock_t pl_lock;
	struct ioapic pl_ioapic;
	struct pic pl_pic;
	struct pit pl_pit;
	struct rtc pl_rtc;
	struct hrtimer pl_pit_timer;
	struct hrtimer pl_rtc_timer;
	unsigned int pl_ticks; /* of the PIT that are owed to a guest that was late */
	bool pl_intr;	       /* the 8259's output; read without the lock */
	unsigned int pl_turn;
	struct lapic *pl_lapics[VMM_MAXCPU]; /* published like vm_vcpus */
	unsigned long pl_dead;		     /* vCPUs that only an NMI, INIT or SIPI can wake */
};

struct vcpu_platform {
	struct vcpu *vp_vcpu;
	struct platform *vp_machine;
	spinlock_t vp_lock;
	struct lapic vp_lapic;
	struct hrtimer vp_timer;
	bool vp_extint; /* a message asked for an interrupt of the 8259; set from anywhere */
	u8 vp_sipi;	/* vector, with VCPU_REQ_SIPI */
};

static inline u64
platform_now(void)
{
	return ktime_get_ns();
}

/* Gives a message to whom it is for; from: the sending vCPU or -1. Any context. */
void platform_send(struct platform *pl, int from, const struct apic_msg *msg);
/* A local APIC ended a level-triggered interrupt. */
void platform_eoi(struct platform *pl, u8 vector);
/* Something was accepted or ended: a tick that is owed may come now. */
void platform_tick_again(struct platform *pl);
/* The 8259's vector; from now on it is in service. Interrupts off. */
u8 platform_pic_accept(struct platform *pl);
void platform_ioapic_access(struct platform *pl, u64 offset, bool write, u32 *value);

/* Makes a timer run at a model's deadline, or not at all. */
static inline void
platform_arm(struct hrtimer *timer, u64 deadline_ns)
{
	if (deadline_ns == PLAT_NEVER)
		hrtimer_try_to_cancel(timer); /* one that runs now finds nothing to do */
	else
		hrtimer_start(timer, ns_to_ktime(min_t(u64, deadline_ns, KTIME_MAX)),
			      HRTIMER_MODE_ABS);
}

#endif /* KMOD_VM_PLATFORM_H */
