/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The local APIC of a vCPU (SDM vol. 3A, chapter 11): xAPIC and x2APIC, and its timer.
 *
 * Who may call what. Interrupts arrive from anywhere (lapic_deliver(), hard interrupts included):
 * that only sets bits, atomically, and reads words that say who is addressed. Registers, the
 * acceptance of interrupts and EOI are the owner's of the vCPU. The timer is under a lock of the
 * caller's, together with register accesses: it is run from a timer's interrupt.
 *
 * A bit of IRR that is set is found by the owner's next look, whoever looks when; that the owner
 * does look is the caller's affair (la_kick).
 */

#ifndef KMOD_PLATFORM_LAPIC_H
#define KMOD_PLATFORM_LAPIC_H

#include "kmod/platform/apic.h"

#define LAPIC_BASE_GPA 0xfee00000ull
/* IA32_APIC_BASE */
#define LAPIC_BASE_BSP (1ull << 8)
#define LAPIC_BASE_X2APIC (1ull << 10)
#define LAPIC_BASE_ENABLE (1ull << 11)

/* The timer counts ns when its divider is 1: a bus of 1 GHz. */
#define LAPIC_TIMER_HZ 1000000000u

enum lapic_lvt {
	LAPIC_LVT_TIMER,
	LAPIC_LVT_THERMAL,
	LAPIC_LVT_PMC,
	LAPIC_LVT_LINT0,
	LAPIC_LVT_LINT1,
	LAPIC_LVT_ERROR,
	LAPIC_LVTS,
};

/* What is asked of the vCPU beside an interrupt of IRR. */
enum lapic_event {
	LAPIC_KICK, /* a bit of IRR was set: look */
	LAPIC_NMI,
	LAPIC_INIT,
	LAPIC_SIPI,   /* with its vector */
	LAPIC_EXTINT, /* the vector is the 8259's to say */
};

struct lapic {
	uint32_t la_id;
	/* Words that others read. */
	struct host_word la_base;
	struct host_word la_ldr; /* of xAPIC: bits 31:24 */
	struct host_word la_dfr;
	struct host_word la_svr;
	struct host_word la_lvt[LAPIC_LVTS];
	struct host_word la_irr[4];
	struct host_word la_tmr[4];
	struct host_word la_esr_next; /* errors since ESR was written */
	/* The owner's. */
	uint64_t la_isr[4];
	uint32_t la_tpr;
	uint32_t la_esr;
	uint64_t la_icr;
	/* The timer's, under the caller's lock. */
	uint32_t la_initial;
	uint32_t la_divide;
	uint64_t la_start_ns;
	uint64_t la_tsc_deadline;
	uint64_t la_deadline_ns; /* when it must be run; PLAT_NEVER */
	uint64_t la_tsc_khz;	 /* 0: no TSC deadline */

	/* Any context. */
	void (*la_event)(struct lapic *la, enum lapic_event event, uint8_t vector);
	/* The owner's. A message of its ICR; the end of a level-triggered interrupt. */
	void (*la_send)(struct lapic *la, const struct apic_msg *msg);
	void (*la_eoi)(struct lapic *la, uint8_t vector);
};

/* What time it is, for accesses that may concern the timer. */
struct lapic_now {
	uint64_t ln_ns;
	uint64_t ln_tsc;
};

/* As after power up; id and hooks stay. bsp: it is the first. */
void lapic_reset(struct lapic *la, bool bsp);

static inline bool
lapic_enabled(const struct lapic *la)
{
	return host_load(&la->la_base) & LAPIC_BASE_ENABLE;
}
static inline bool
lapic_x2apic(const struct lapic *la)
{
	return host_load(&la->la_base) & LAPIC_BASE_X2APIC;
}

/* ---- Interrupts: any context ----------------------------------------------------------------- */

/* Whether a message is for it, shorthands aside. */
bool lapic_matches(const struct lapic *la, const struct apic_msg *msg);
void lapic_deliver(struct lapic *la, const struct apic_msg *msg);
/* The 8259's output: whether the CPU takes it as an interrupt of the 8259's own; and what a rising
 * edge does if LINT0 is set up otherwise. */
bool lapic_takes_extint(const struct lapic *la);
void lapic_lint0(struct lapic *la);

/* ---- Interrupts: the owner's ----------------------------------------------------------------- */

/* The vector that is due, by priority, or -1; it goes from requested to in service. */
int lapic_pending(const struct lapic *la);
bool lapic_requested(const struct lapic *la, uint8_t vector); /* any context */
void lapic_accept(struct lapic *la, uint8_t vector);

/* ---- Registers: the owner's, and under the timer's lock -------------------------------------- */

/* Offset in the page. xAPIC mode. */
uint32_t lapic_read(struct lapic *la, unsigned int offset, const struct lapic_now *now);
void lapic_write(struct lapic *la, unsigned int offset, uint32_t value,
		 const struct lapic_now *now);
/* The same as lapic_read, without a trace: for tools, in any mode. */
uint32_t lapic_peek(struct lapic *la, unsigned int offset, const struct lapic_now *now);
/* MSRs 800H to 8FFH. -EINVAL: #GP. */
int lapic_rdmsr(struct lapic *la, uint32_t index, uint64_t *value, const struct lapic_now *now);
int lapic_wrmsr(struct lapic *la, uint32_t index, uint64_t value, const struct lapic_now *now);
/* IA32_APIC_BASE: -EINVAL for transitions that SDM figure 11-27 has not, and for another place. */
int lapic_set_base(struct lapic *la, uint64_t value);
uint64_t lapic_tsc_deadline(const struct lapic *la);
void lapic_set_tsc_deadline(struct lapic *la, uint64_t tsc, const struct lapic_now *now);

static inline uint64_t
lapic_deadline(const struct lapic *la)
{
	return la->la_deadline_ns;
}
void lapic_run(struct lapic *la, const struct lapic_now *now);

#endif /* KMOD_PLATFORM_LAPIC_H */
