/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Interrupts on their way: accepted from messages, chosen by priority, ended. Registers are
 * lapic_regs.c's, the timer lapic_timer.c's.
 */

#include "kmod/platform/lapic.h"
#include "kmod/platform/lapic_priv.h"

/* ---- Sets of vectors ------------------------------------------------------------------------- */

static int
highest(uint64_t word3, uint64_t word2, uint64_t word1, uint64_t word0)
{
	if (word3)
		return 255 - __builtin_clzll(word3);
	if (word2)
		return 191 - __builtin_clzll(word2);
	if (word1)
		return 127 - __builtin_clzll(word1);
	return word0 ? 63 - __builtin_clzll(word0) : -1;
}

static int
highest_requested(const struct lapic *la)
{
	return highest(host_load(&la->la_irr[3]), host_load(&la->la_irr[2]),
		       host_load(&la->la_irr[1]), host_load(&la->la_irr[0]));
}

static int
highest_in_service(const struct lapic *la)
{
	return highest(la->la_isr[3], la->la_isr[2], la->la_isr[1], la->la_isr[0]);
}

/* ---- Priorities ------------------------------------------------------------------------------ */

/* SDM vol. 3A 11.8.3.1. */
uint32_t
lapic_ppr(const struct lapic *la)
{
	const int served = highest_in_service(la);
	const uint32_t isr = served < 0 ? 0 : (uint32_t)served & 0xf0;

	return la->la_tpr >> 4 >= isr >> 4 ? la->la_tpr : isr;
}

int
lapic_pending(const struct lapic *la)
{
	const int vector = highest_requested(la);

	if (vector < 0 || !lapic_enabled(la))
		return -1;
	return (uint32_t)vector >> 4 > lapic_ppr(la) >> 4 ? vector : -1;
}

bool
lapic_requested(const struct lapic *la, uint8_t vector)
{
	return host_load(&la->la_irr[vector / 64]) >> vector % 64 & 1;
}

void
lapic_accept(struct lapic *la, uint8_t vector)
{
	host_fetch_and(&la->la_irr[vector / 64], ~(1ull << vector % 64));
	la->la_isr[vector / 64] |= 1ull << vector % 64;
}

/* One that was spurious, or of the 8259, is in no set: an EOI for it ends another or nothing. */
void
lapic_end(struct lapic *la)
{
	const int vector = highest_in_service(la);

	if (vector < 0)
		return;
	la->la_isr[vector / 64] &= ~(1ull << vector % 64);
	if (host_load(&la->la_tmr[vector / 64]) >> vector % 64 & 1)
		la->la_eoi(la, (uint8_t)vector);
}

/* ---- Requests -------------------------------------------------------------------------------- */

/* Vectors 0 to 15 are none (SDM vol. 3A 11.5.2): an error is noted instead. */
void
lapic_request(struct lapic *la, uint8_t vector, bool level)
{
	const uint64_t bit = 1ull << vector % 64;

	if (!(host_load(&la->la_svr) & SVR_ENABLE) || !lapic_enabled(la))
		return;
	if (vector < 16) {
		lapic_error(la, ESR_RECEIVED_ILLEGAL);
		return;
	}
	/* How it triggers is told with the request: before it is seen. */
	if (level)
		host_fetch_or(&la->la_tmr[vector / 64], bit);
	else
		host_fetch_and(&la->la_tmr[vector / 64], ~bit);
	host_fetch_or(&la->la_irr[vector / 64], bit);
	la->la_event(la, LAPIC_KICK, vector);
}

void
lapic_error(struct lapic *la, uint32_t bits)
{
	const uint64_t lvt = host_load(&la->la_lvt[LAPIC_LVT_ERROR]);

	host_fetch_or(&la->la_esr_next, bits);
	if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= 16)
		lapic_request(la, (uint8_t)lvt, false);
}

/* An LVT entry's source fires. */
void
lapic_local(struct lapic *la, enum lapic_lvt entry)
{
	const uint64_t lvt = host_load(&la->la_lvt[entry]);

	if (lvt & LVT_MASKED)
		return;
	switch (lvt >> 8 & 7) {
	case APIC_FIXED:
		lapic_request(la, (uint8_t)lvt, false);
		break;
	case APIC_NMI:
		la->la_event(la, LAPIC_NMI, 0);
		break;
	default:
		break; /* ExtINT is not an edge, but looked at: lapic_takes_extint() */
	}
}

/* ---- Messages -------------------------------------------------------------------------------- */

/* x2APIC: the logical destination is made of the id (SDM vol. 3A 11.12.10.2). */
uint32_t
lapic_wide_ldr(const struct lapic *la)
{
	return (la->la_id >> 4 << 16) | 1u << (la->la_id & 15);
}

static bool
matches_logical(const struct lapic *la, const struct apic_msg *msg)
{
	const uint32_t dest = msg->am_dest;
	uint32_t ldr;

	if (lapic_x2apic(la)) {
		ldr = lapic_wide_ldr(la);
		return dest >> 16 == ldr >> 16 && dest & ldr & 0xffff;
	}
	if (dest > 0xff)
		return false;
	ldr = (uint32_t)host_load(&la->la_ldr) >> 24;
	if (host_load(&la->la_dfr) >> 28 == 0xf) /* flat; else clusters of four */
		return dest & ldr;
	return dest >> 4 == ldr >> 4 && dest & ldr & 15;
}

bool
lapic_matches(const struct lapic *la, const struct apic_msg *msg)
{
	if (!lapic_enabled(la))
		return false;
	if (msg->am_dest == (msg->am_wide ? APIC_DEST_ALL_WIDE : APIC_DEST_ALL))
		return true;
	if (msg->am_logical)
		return matches_logical(la, msg);
	return msg->am_dest == (lapic_x2apic(la) ? la->la_id : la->la_id & 0xff);
}

void
lapic_deliver(struct lapic *la, const struct apic_msg *msg)
{
	switch (msg->am_mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		lapic_request(la, msg->am_vector, msg->am_level);
		break;
	case APIC_NMI:
		la->la_event(la, LAPIC_NMI, 0);
		break;
	case APIC_INIT:
		la->la_event(la, LAPIC_INIT, 0);
		break;
	case APIC_SIPI:
		la->la_event(la, LAPIC_SIPI, msg->am_vector);
		break;
	case APIC_EXTINT:
		la->la_event(la, LAPIC_EXTINT, 0);
		break;
	default:
		break; /* SMI: there is no system management mode; reserved */
	}
}

/* Switched off it is not there: the pin is the CPU's own (SDM vol. 3A 11.4.3). */
bool
lapic_takes_extint(const struct lapic *la)
{
	const uint64_t lvt = host_load(&la->la_lvt[LAPIC_LVT_LINT0]);
	const uint64_t base = host_load(&la->la_base);

	if (!(base & LAPIC_BASE_ENABLE))
		return base & LAPIC_BASE_BSP;
	return !(lvt & LVT_MASKED) && (lvt >> 8 & 7) == APIC_EXTINT;
}

void
lapic_lint0(struct lapic *la)
{
	if (lapic_enabled(la))
		lapic_local(la, LAPIC_LVT_LINT0);
}

/* ---- To whom --------------------------------------------------------------------------------- */

int
apic_msi(uint64_t addr, uint32_t data, struct apic_msg *msg)
{
	if (addr >> 20 != 0xfee)
		return -EINVAL;
	*msg = (struct apic_msg){
		.am_dest = addr >> 12 & 0xff,
		.am_mode = (enum apic_mode)(data >> 8 & 7),
		.am_vector = (uint8_t)data,
		.am_logical = addr >> 2 & 1,
	};
	/* A hint to choose one of several, and lowest priority, come to the same. */
	if (addr & 8 && msg->am_mode == APIC_FIXED && msg->am_logical)
		msg->am_mode = APIC_LOWEST;
	return 0;
}

static bool
is_for(struct lapic *const *lapics, unsigned int i, int from, const struct apic_msg *msg)
{
	switch (msg->am_shorthand) {
	case APIC_TO_SELF:
		return (int)i == from;
	case APIC_TO_ALL:
		return lapic_enabled(lapics[i]);
	case APIC_TO_OTHERS:
		return (int)i != from && lapic_enabled(lapics[i]);
	default:
		return lapic_matches(lapics[i], msg);
	}
}

void
apic_deliver(struct lapic *const *lapics, unsigned int n, int from, const struct apic_msg *msg,
	     unsigned int *turn)
{
	const unsigned int first = turn && n ? *turn % n : 0;

	for (unsigned int k = 0; k < n; k++) {
		const unsigned int i = (first + k) % n;

		if (!lapics[i] || !is_for(lapics, i, from, msg))
			continue;
		if (msg->am_mode != APIC_LOWEST) {
			lapic_deliver(lapics[i], msg);
			continue;
		}
		/* Those that are switched off by software take no part. */
		if (!(host_load(&lapics[i]->la_svr) & SVR_ENABLE))
			continue;
		lapic_deliver(lapics[i], msg);
		if (turn)
			*turn = i + 1;
		return;
	}
}
