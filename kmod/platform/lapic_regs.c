/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Registers of the local APIC, as memory (xAPIC) and as MSRs (x2APIC). Tables say which bits can be
 * written; in x2APIC mode others are #GP, in xAPIC mode they are ignored (SDM vol. 3A tables 11-1,
 * 11-6).
 */

#include "kmod/platform/lapic_priv.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define R_ID 0x02
#define R_VERSION 0x03
#define R_TPR 0x08
#define R_APR 0x09
#define R_PPR 0x0a
#define R_EOI 0x0b
#define R_LDR 0x0d
#define R_DFR 0x0e
#define R_SVR 0x0f
#define R_ISR 0x10
#define R_TMR 0x18
#define R_IRR 0x20
#define R_ESR 0x28
#define R_ICR 0x30
#define R_ICR_HIGH 0x31
#define R_LVT 0x32
#define R_TIMER_INITIAL 0x38
#define R_TIMER_COUNT 0x39
#define R_TIMER_DIVIDE 0x3e
#define R_SELF_IPI 0x3f

#define VERSION (0x14u | (LAPIC_LVTS - 1) << 16)

#define X2APIC_MSR_BASE 0x800u

#define LVT_READ_ONLY ((1u << 12) | (1u << 14)) /* delivery status, remote IRR */
#define LVT_LOCAL 0x107ffu			/* vector, mode, mask */
#define LVT_LINT 0x1a7ffu			/* and polarity, trigger */

static const uint32_t lvt_writable[LAPIC_LVTS] = {
	[LAPIC_LVT_TIMER] = 0x700ff,  [LAPIC_LVT_THERMAL] = LVT_LOCAL, [LAPIC_LVT_PMC] = LVT_LOCAL,
	[LAPIC_LVT_LINT0] = LVT_LINT, [LAPIC_LVT_LINT1] = LVT_LINT,    [LAPIC_LVT_ERROR] = 0x100ff,
};

#define ICR_STATUS (1u << 12)
#define ICR_ASSERT (1u << 14)
#define ICR_LEVEL (1u << 15)
#define ICR_WRITABLE 0xccfffu

/* ---- Life ------------------------------------------------------------------------------------ */

static void
clear(struct lapic *la)
{
	for (unsigned int i = 0; i < 4; i++) {
		host_store(&la->la_irr[i], 0);
		host_store(&la->la_tmr[i], 0);
		la->la_isr[i] = 0;
	}
	for (unsigned int i = 0; i < LAPIC_LVTS; i++)
		host_store(&la->la_lvt[i], LVT_MASKED);
	host_store(&la->la_ldr, 0);
	host_store(&la->la_dfr, 0xffffffff);
	host_store(&la->la_svr, 0xff);
	host_store(&la->la_esr_next, 0);
	la->la_tpr = 0;
	la->la_esr = 0;
	la->la_icr = 0;
	la->la_initial = 0;
	la->la_divide = 0;
	la->la_start_ns = 0;
	la->la_tsc_deadline = 0;
	la->la_deadline_ns = PLAT_NEVER;
}

void
lapic_reset(struct lapic *la, bool bsp)
{
	clear(la);
	host_store(&la->la_base, LAPIC_BASE_GPA | LAPIC_BASE_ENABLE | (bsp ? LAPIC_BASE_BSP : 0));
}

int
lapic_set_base(struct lapic *la, uint64_t value)
{
	const uint64_t mode = LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC;
	const uint64_t old = host_load(&la->la_base);

	if ((value & ~(mode | LAPIC_BASE_BSP)) != LAPIC_BASE_GPA ||
	    (value & mode) == LAPIC_BASE_X2APIC)
		return -EINVAL;
	/* From x2APIC only to off, and from off not to x2APIC. */
	if (old & LAPIC_BASE_X2APIC && (value & mode) == LAPIC_BASE_ENABLE)
		return -EINVAL;
	if (!(old & LAPIC_BASE_ENABLE) && value & LAPIC_BASE_X2APIC)
		return -EINVAL;
	if (!(value & LAPIC_BASE_ENABLE) && old & LAPIC_BASE_ENABLE)
		clear(la);
	host_store(&la->la_base, value);
	return 0;
}

/* ---- Read ------------------------------------------------------------------------------------ */

static uint32_t
set_word(const struct host_word *words, unsigned int i)
{
	return (uint32_t)(host_load(&words[i / 2]) >> (i % 2 * 32));
}

/* Also what reads as 0, and what is not there: then *exists is false. */
static uint32_t
read_reg(struct lapic *la, unsigned int r, const struct lapic_now *now, bool *exists)
{
	*exists = true;
	switch (r) {
	case R_ID:
		return lapic_x2apic(la) ? la->la_id : la->la_id << 24;
	case R_VERSION:
		return VERSION;
	case R_TPR:
		return la->la_tpr;
	case R_APR:
		*exists = !lapic_x2apic(la);
		return 0;
	case R_PPR:
		return lapic_ppr(la);
	case R_LDR:
		return lapic_x2apic(la) ? lapic_wide_ldr(la) : (uint32_t)host_load(&la->la_ldr);
	case R_DFR:
		*exists = !lapic_x2apic(la);
		return (uint32_t)host_load(&la->la_dfr);
	case R_SVR:
		return (uint32_t)host_load(&la->la_svr);
	case R_ISR ... R_ISR + 7:
		return (uint32_t)(la->la_isr[(r - R_ISR) / 2] >> (r % 2 * 32));
	case R_TMR ... R_TMR + 7:
		return set_word(la->la_tmr, r - R_TMR);
	case R_IRR ... R_IRR + 7:
		return set_word(la->la_irr, r - R_IRR);
	case R_ESR:
		return la->la_esr;
	case R_ICR:
		return (uint32_t)la->la_icr;
	case R_ICR_HIGH:
		return (uint32_t)(la->la_icr >> 32);
	case R_LVT ... R_LVT + LAPIC_LVTS - 1:
		return (uint32_t)host_load(&la->la_lvt[r - R_LVT]);
	case R_TIMER_INITIAL:
		return la->la_initial;
	case R_TIMER_COUNT:
		return lapic_timer_count(la, now->ln_ns);
	case R_TIMER_DIVIDE:
		return la->la_divide;
	default:
		*exists = false;
		return 0;
	}
}

uint32_t
lapic_peek(struct lapic *la, unsigned int offset, const struct lapic_now *now)
{
	bool exists;

	return read_reg(la, offset / 16, now, &exists);
}

uint32_t
lapic_read(struct lapic *la, unsigned int offset, const struct lapic_now *now)
{
	uint32_t value;
	bool exists;

	if (offset % 16)
		return 0;
	value = read_reg(la, offset / 16, now, &exists);
	if (!exists && offset / 16 != R_EOI)
		lapic_error(la, ESR_REGISTER);
	return value;
}

int
lapic_rdmsr(struct lapic *la, uint32_t index, uint64_t *value, const struct lapic_now *now)
{
	const unsigned int r = index - X2APIC_MSR_BASE;
	bool exists;

	if (!lapic_x2apic(la) || r == R_ICR_HIGH)
		return -EINVAL;
	*value = read_reg(la, r, now, &exists);
	if (r == R_ICR)
		*value = la->la_icr;
	return exists ? 0 : -EINVAL;
}

/* ---- Written --------------------------------------------------------------------------------- */

/* INIT with level "deassert" is of a time when APICs had a bus, and means nothing. */
static void
send_icr(struct lapic *la)
{
	const uint32_t low = (uint32_t)la->la_icr;
	const bool wide = lapic_x2apic(la);
	struct apic_msg msg = {
		.am_dest = (uint32_t)(wide ? la->la_icr >> 32 : la->la_icr >> 56),
		.am_mode = (enum apic_mode)(low >> 8 & 7),
		.am_shorthand = (enum apic_shorthand)(low >> 18 & 3),
		.am_vector = (uint8_t)low,
		.am_logical = low >> 11 & 1,
		.am_wide = wide,
	};

	if (msg.am_mode == APIC_INIT && low & ICR_LEVEL && !(low & ICR_ASSERT))
		return;
	if (msg.am_mode == APIC_EXTINT)
		return;
	if ((msg.am_mode == APIC_FIXED || msg.am_mode == APIC_LOWEST) && msg.am_vector < 16) {
		lapic_error(la, ESR_SEND_ILLEGAL);
		return;
	}
	la->la_send(la, &msg);
}

static void
write_lvt(struct lapic *la, enum lapic_lvt entry, uint32_t value)
{
	value &= lvt_writable[entry];
	if (!(host_load(&la->la_svr) & SVR_ENABLE))
		value |= LVT_MASKED;
	if (entry != LAPIC_LVT_TIMER) {
		host_store(&la->la_lvt[entry], value);
		return;
	}
	if (!la->la_tsc_khz)
		value &= ~LVT_TIMER_DEADLINE;
	lapic_timer_lvt(la, value);
}

/* Disabled by software: LVTs are masked and stay so; what is requested or in service stays. */
static void
write_svr(struct lapic *la, uint32_t value)
{
	host_store(&la->la_svr, value & 0x3ff);
	if (value & SVR_ENABLE)
		return;
	for (unsigned int i = 0; i < LAPIC_LVTS; i++)
		host_store(&la->la_lvt[i], host_load(&la->la_lvt[i]) | LVT_MASKED);
}

/* False: no such register, or none that can be written. */
static bool
write_reg(struct lapic *la, unsigned int r, uint32_t value, const struct lapic_now *now)
{
	switch (r) {
	case R_TPR:
		la->la_tpr = value & 0xff;
		return true;
	case R_EOI:
		lapic_end(la);
		return true;
	case R_SVR:
		write_svr(la, value);
		return true;
	case R_ESR:
		la->la_esr = (uint32_t)host_xchg(&la->la_esr_next, 0);
		return true;
	case R_LVT ... R_LVT + LAPIC_LVTS - 1:
		write_lvt(la, (enum lapic_lvt)(r - R_LVT), value);
		return true;
	case R_TIMER_INITIAL:
		lapic_timer_initial(la, value, now->ln_ns);
		return true;
	case R_TIMER_DIVIDE:
		lapic_timer_divide(la, value, now->ln_ns);
		return true;
	default:
		return false;
	}
}

void
lapic_write(struct lapic *la, unsigned int offset, uint32_t value, const struct lapic_now *now)
{
	const unsigned int r = offset / 16;

	if (offset % 16)
		return;
	switch (r) {
	case R_LDR:
		host_store(&la->la_ldr, value & 0xff000000);
		break;
	case R_DFR:
		host_store(&la->la_dfr, value | 0x0fffffff);
		break;
	case R_ICR:
		la->la_icr = (la->la_icr & ~0xffffffffull) | (value & ICR_WRITABLE);
		send_icr(la);
		break;
	case R_ICR_HIGH:
		la->la_icr = (la->la_icr & 0xffffffffull) | (uint64_t)(value & 0xff000000) << 32;
		break;
	case R_ID: /* read-only, as on recent CPUs */
		break;
	default:
		if (!write_reg(la, r, value, now))
			lapic_error(la, ESR_REGISTER);
		break;
	}
}

/* Bits that x2APIC mode lets be written; what is in no row cannot be. */
static const struct {
	uint8_t r;
	uint32_t bits;
} wide_writable[] = {
	{R_TPR, 0xff},
	{R_EOI, 0},
	{R_SVR, 0x3ff},
	{R_ESR, 0},
	{R_TIMER_INITIAL, 0xffffffff},
	{R_TIMER_DIVIDE, 0xb},
};

static bool
allowed_wide(unsigned int r, uint64_t value)
{
	if (r >= R_LVT && r < R_LVT + LAPIC_LVTS)
		return (value & ~(uint64_t)(lvt_writable[r - R_LVT] | LVT_READ_ONLY)) == 0;
	for (unsigned int i = 0; i < COUNT_OF(wide_writable); i++)
		if (wide_writable[i].r == r)
			return (value & ~(uint64_t)wide_writable[i].bits) == 0;
	return false;
}

int
lapic_wrmsr(struct lapic *la, uint32_t index, uint64_t value, const struct lapic_now *now)
{
	const unsigned int r = index - X2APIC_MSR_BASE;

	if (!lapic_x2apic(la))
		return -EINVAL;
	if (r == R_ICR) {
		if ((uint32_t)value & ~(ICR_WRITABLE | ICR_STATUS))
			return -EINVAL;
		la->la_icr = value & ~(uint64_t)ICR_STATUS;
		send_icr(la);
		return 0;
	}
	if (r == R_SELF_IPI) {
		if (value > 0xff)
			return -EINVAL;
		if (value < 16)
			lapic_error(la, ESR_SEND_ILLEGAL);
		else
			lapic_request(la, (uint8_t)value, false);
		return 0;
	}
	if (!allowed_wide(r, value))
		return -EINVAL;
	write_reg(la, r, (uint32_t)value, now);
	return 0;
}
