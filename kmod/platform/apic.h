/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Interrupt messages: what IOAPIC, MSIs and local APICs send each other, and to whom they go (SDM
 * vol. 3A 11.6, 11.11).
 */

#ifndef KMOD_PLATFORM_APIC_H
#define KMOD_PLATFORM_APIC_H

#include "kmod/platform/plat.h"

/* As in bits 10:8 of an ICR, a redirection entry, MSI data and an LVT. */
enum apic_mode {
	APIC_FIXED = 0,
	APIC_LOWEST = 1,
	APIC_SMI = 2,
	APIC_NMI = 4,
	APIC_INIT = 5,
	APIC_SIPI = 6,
	APIC_EXTINT = 7,
};

enum apic_shorthand {
	APIC_TO_DEST = 0,
	APIC_TO_SELF = 1,
	APIC_TO_ALL = 2,
	APIC_TO_OTHERS = 3,
};

struct apic_msg {
	uint32_t am_dest;
	enum apic_mode am_mode;
	enum apic_shorthand am_shorthand; /* for local APICs */
	uint8_t am_vector;
	bool am_logical;
	bool am_level;
	bool am_wide; /* am_dest has 32 bits, of x2APIC; else 8 */
};

#define APIC_DEST_ALL 0xffu
#define APIC_DEST_ALL_WIDE 0xffffffffu

/* What an MSI's address and data say. -EINVAL: the address is none of FEEx_xxxxH. */
int apic_msi(uint64_t addr, uint32_t data, struct apic_msg *msg);

struct lapic;

/*
 * Gives a message to those of n local APICs that it is for; NULLs are none. `from` is the sender if
 * it is one of them, or -1. *turn, if not NULL, says who is first among equals for a message to the
 * lowest priority, and is moved on. Any context.
 */
void apic_deliver(struct lapic *const *lapics, unsigned int n, int from, const struct apic_msg *msg,
		  unsigned int *turn);

#endif /* KMOD_PLATFORM_APIC_H */
