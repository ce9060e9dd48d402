/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The interval timer of a PC, an 8254 (Intel data sheet 231164), and port 61, by which counter 2 is
 * gated and its output read. Counter 0 interrupts; 2 is what kernels measure other clocks by; 1
 * once refreshed memory.
 */

#ifndef KMOD_PLATFORM_PIT_H
#define KMOD_PLATFORM_PIT_H

#include "kmod/platform/plat.h"

#define PIT_HZ 1193182u
#define PIT_PORT_61 0x61u

struct pit_counter {
	uint8_t pc_mode;   /* 0 to 5 */
	uint8_t pc_access; /* 1: low byte, 2: high byte, 3: low, then high */
	bool pc_bcd;	   /* digits */
	bool pc_gate;
	bool pc_loaded;	    /* counts, or waits for its gate */
	bool pc_write_high; /* access 3: the next byte is the high one; so for reads */
	bool pc_read_high;
	uint8_t pc_write_low;
	uint8_t pc_latched; /* bytes of pc_latch that were not read yet */
	bool pc_status_latched;
	uint16_t pc_latch;
	uint8_t pc_status;
	uint32_t pc_reload;   /* 1 to 65536 */
	uint64_t pc_start_ns; /* when pc_reload was loaded; gate low in modes 0, 4: see pc_held */
	uint64_t pc_held_ns;  /* counted before the gate went low; while it is low nothing more */
};

struct pit {
	struct pit_counter pt_counters[3];
	uint8_t pt_port_61;  /* bits 0 and 1 */
	uint64_t pt_edge_ns; /* counter 0 interrupts next; PLAT_NEVER */
};

void pit_reset(struct pit *pit, uint64_t now_ns);
bool pit_has_port(uint16_t port); /* 40 to 43, 61 */
uint8_t pit_read(struct pit *pit, uint16_t port, uint64_t now_ns);
void pit_write(struct pit *pit, uint16_t port, uint8_t value, uint64_t now_ns);

/* When counter 0's output rises next; and how often it has since this was asked last. */
uint64_t pit_deadline(const struct pit *pit);
uint64_t pit_run(struct pit *pit, uint64_t now_ns);

#endif /* KMOD_PLATFORM_PIT_H */
