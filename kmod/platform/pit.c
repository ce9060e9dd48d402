/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * 8254. A counter is what it was loaded with and when; what it shows is computed from the time.
 */

#include "kmod/platform/pit.h"

/* An interrupt for each of shorter periods would leave the host no time. */
#define PERIOD_MIN_NS 50000u

/* ---- What a counter shows -------------------------------------------------------------------- */

/* Periods of the clock since it was loaded, those with the gate low left out. */
static uint64_t
elapsed(const struct pit_counter *pc, uint64_t now_ns)
{
	uint64_t ns = pc->pc_held_ns;

	if (pc->pc_gate || pc->pc_mode == 1 || pc->pc_mode == 5)
		ns += now_ns - pc->pc_start_ns;
	return plat_ticks(ns, PIT_HZ);
}

static uint16_t
to_bcd(uint32_t value)
{
	return (uint16_t)(value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 |
			  value / 1000 % 10 << 12);
}

static uint32_t
from_bcd(uint32_t value)
{
	return (value & 15) + (value >> 4 & 15) * 10 + (value >> 8 & 15) * 100 +
	       (value >> 12 & 15) * 1000;
}

static uint16_t
count(const struct pit_counter *pc, uint64_t now_ns)
{
	const uint32_t wrap = pc->pc_bcd ? 10000 : 65536;
	uint64_t ticks, value;

	if (!pc->pc_loaded)
		return 0;
	ticks = elapsed(pc, now_ns);
	switch (pc->pc_mode) {
	case 2:
		value = pc->pc_reload - ticks % pc->pc_reload;
		break;
	case 3: /* down by two, once for each half of the period */
		value = pc->pc_reload - 2 * ticks % pc->pc_reload;
		value &= ~1ull;
		break;
	default: /* once, and on through the largest number */
		value = (pc->pc_reload + wrap - ticks % wrap) % wrap;
		break;
	}
	return pc->pc_bcd ? to_bcd((uint32_t)(value % wrap)) : (uint16_t)value;
}

static bool
output(const struct pit_counter *pc, uint64_t now_ns)
{
	uint64_t ticks;

	if (!pc->pc_loaded)
		return pc->pc_mode != 0;
	ticks = elapsed(pc, now_ns);
	switch (pc->pc_mode) {
	case 0:
	case 1:
		return ticks >= pc->pc_reload;
	case 2:
		return !pc->pc_gate || ticks % pc->pc_reload != pc->pc_reload - 1;
	case 3:
		return !pc->pc_gate || ticks % pc->pc_reload < (pc->pc_reload + 1) / 2;
	default:
		return ticks != pc->pc_reload;
	}
}

/* ---- Interrupts ------------------------------------------------------------------------------ */

/* Of modes 2 and 3, as it is served. */
static uint64_t
period_of(const struct pit_counter *pc)
{
	const uint64_t least = plat_ticks(PERIOD_MIN_NS, PIT_HZ);

	return pc->pc_reload < least ? (least / pc->pc_reload + 1) * pc->pc_reload : pc->pc_reload;
}

/* The first time after now at which counter 0's output rises. Its gate is always high. */
static uint64_t
next_edge(const struct pit_counter *pc, uint64_t now_ns)
{
	uint64_t ticks, period;

	if (!pc->pc_loaded || pc->pc_mode == 1 || pc->pc_mode == 5)
		return PLAT_NEVER;
	ticks = elapsed(pc, now_ns);
	if (pc->pc_mode == 2 || pc->pc_mode == 3) {
		period = period_of(pc);
		return pc->pc_start_ns + plat_ticks_ns((ticks / period + 1) * period, PIT_HZ);
	}
	/* Mode 4 rises one period after it fell. */
	period = pc->pc_reload + (pc->pc_mode == 4);
	return ticks < period ? pc->pc_start_ns + plat_ticks_ns(period, PIT_HZ) : PLAT_NEVER;
}

uint64_t
pit_deadline(const struct pit *pit)
{
	return pit->pt_edge_ns;
}

uint64_t
pit_run(struct pit *pit, uint64_t now_ns)
{
	const struct pit_counter *const pc = &pit->pt_counters[0];
	uint64_t n = 1, period;

	if (now_ns < pit->pt_edge_ns)
		return 0;
	if (pc->pc_mode == 2 || pc->pc_mode == 3) {
		period = period_of(pc);
		n += elapsed(pc, now_ns) / period - elapsed(pc, pit->pt_edge_ns) / period;
	}
	pit->pt_edge_ns = next_edge(pc, now_ns);
	return n;
}

/* ---- Written --------------------------------------------------------------------------------- */

static void
load(struct pit *pit, struct pit_counter *pc, uint32_t value, uint64_t now_ns)
{
	if (pc->pc_bcd)
		value = from_bcd(value);
	if (value == 0)
		value = pc->pc_bcd ? 10000 : 65536;
	pc->pc_reload = value;
	/* Modes 1 and 5 wait for the gate to rise; the others begin. */
	if (pc->pc_mode != 1 && pc->pc_mode != 5) {
		pc->pc_loaded = true;
		pc->pc_start_ns = now_ns;
		pc->pc_held_ns = 0;
	}
	if (pc == &pit->pt_counters[0])
		pit->pt_edge_ns = next_edge(pc, now_ns);
}

static void
write_counter(struct pit *pit, struct pit_counter *pc, uint8_t value, uint64_t now_ns)
{
	switch (pc->pc_access) {
	case 1:
		load(pit, pc, value, now_ns);
		break;
	case 2:
		load(pit, pc, (uint32_t)value << 8, now_ns);
		break;
	case 3:
		if (!pc->pc_write_high) {
			pc->pc_write_low = value;
			pc->pc_write_high = true;
			/* In mode 0 the first byte stops it. */
			if (pc->pc_mode == 0) {
				pc->pc_loaded = false;
				if (pc == &pit->pt_counters[0])
					pit->pt_edge_ns = PLAT_NEVER;
			}
			break;
		}
		pc->pc_write_high = false;
		load(pit, pc, (uint32_t)value << 8 | pc->pc_write_low, now_ns);
		break;
	default:
		break;
	}
}

static void
latch(struct pit_counter *pc, uint64_t now_ns)
{
	if (pc->pc_latched)
		return; /* the first is kept until it is read */
	pc->pc_latch = count(pc, now_ns);
	pc->pc_latched = pc->pc_access == 3 ? 2 : 1;
}

static void
latch_status(struct pit_counter *pc, uint64_t now_ns)
{
	if (pc->pc_status_latched)
		return;
	pc->pc_status_latched = true;
	pc->pc_status = (uint8_t)(output(pc, now_ns) << 7 | !pc->pc_loaded << 6 |
				  pc->pc_access << 4 | pc->pc_mode << 1 | pc->pc_bcd);
}

static void
read_back(struct pit *pit, uint8_t value, uint64_t now_ns)
{
	for (unsigned int i = 0; i < 3; i++) {
		if (!(value & 2u << i))
			continue;
		if (!(value & 0x20))
			latch(&pit->pt_counters[i], now_ns);
		if (!(value & 0x10))
			latch_status(&pit->pt_counters[i], now_ns);
	}
}

static void
write_control(struct pit *pit, uint8_t value, uint64_t now_ns)
{
	struct pit_counter *pc;
	unsigned int mode = value >> 1 & 7;

	if (value >> 6 == 3) {
		read_back(pit, value, now_ns);
		return;
	}
	pc = &pit->pt_counters[value >> 6];
	if ((value >> 4 & 3) == 0) {
		latch(pc, now_ns);
		return;
	}
	if (mode > 5)
		mode -= 4;
	*pc = (struct pit_counter){
		.pc_mode = (uint8_t)mode,
		.pc_access = value >> 4 & 3,
		.pc_bcd = value & 1,
		.pc_gate = pc->pc_gate,
		.pc_reload = 65536,
	};
	if (pc == &pit->pt_counters[0])
		pit->pt_edge_ns = PLAT_NEVER;
}

/* Low, it holds modes 0 and 4 where they are; rising, it starts the others from the beginning. */
static void
set_gate(struct pit_counter *pc, bool gate, uint64_t now_ns)
{
	const bool held = pc->pc_mode == 0 || pc->pc_mode == 4;

	if (gate == pc->pc_gate)
		return;
	if (held && !gate)
		pc->pc_held_ns += now_ns - pc->pc_start_ns;
	if (gate) {
		pc->pc_start_ns = now_ns;
		if (!held)
			pc->pc_held_ns = 0;
		if (pc->pc_mode == 1 || pc->pc_mode == 5)
			pc->pc_loaded = true;
	}
	pc->pc_gate = gate;
}

/* ---- Ports ----------------------------------------------------------------------------------- */

void
pit_reset(struct pit *pit, uint64_t now_ns)
{
	*pit = (struct pit){.pt_edge_ns = PLAT_NEVER};
	for (unsigned int i = 0; i < 3; i++)
		pit->pt_counters[i] = (struct pit_counter){
			.pc_mode = 2,
			.pc_access = 3,
			.pc_gate = i != 2,
			.pc_reload = 65536,
			.pc_start_ns = now_ns,
		};
}

bool
pit_has_port(uint16_t port)
{
	return (port >= 0x40 && port <= 0x43) || port == PIT_PORT_61;
}

static uint8_t
read_counter(struct pit_counter *pc, uint64_t now_ns)
{
	uint16_t value;

	if (pc->pc_status_latched) {
		pc->pc_status_latched = false;
		return pc->pc_status;
	}
	value = pc->pc_latched ? pc->pc_latch : count(pc, now_ns);
	if (pc->pc_latched)
		pc->pc_latched--;
	if (pc->pc_access == 3) {
		pc->pc_read_high = !pc->pc_read_high;
		return (uint8_t)(pc->pc_read_high ? value : value >> 8);
	}
	return (uint8_t)(pc->pc_access == 2 ? value >> 8 : value);
}

/* Port 61: gate and speaker as written; memory refresh, toggling about each 15 us; the output. */
uint8_t
pit_read(struct pit *pit, uint16_t port, uint64_t now_ns)
{
	if (port == PIT_PORT_61)
		return (uint8_t)(pit->pt_port_61 | (now_ns / 15085 & 1) << 4 |
				 output(&pit->pt_counters[2], now_ns) << 5);
	if (port == 0x43)
		return 0; /* not driven */
	return read_counter(&pit->pt_counters[port & 3], now_ns);
}

void
pit_write(struct pit *pit, uint16_t port, uint8_t value, uint64_t now_ns)
{
	if (port == PIT_PORT_61) {
		pit->pt_port_61 = value & 3;
		set_gate(&pit->pt_counters[2], value & 1, now_ns);
	} else if (port == 0x43) {
		write_control(pit, value, now_ns);
	} else {
		write_counter(pit, &pit->pt_counters[port & 3], value, now_ns);
	}
}
