/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The guest's driver of edu, QEMU's device for teaching: a BAR with a calculator, an interrupt that
 * can be raised, and an engine that copies between memory and a page of its own. Registers are
 * those of QEMU's docs/specs/edu.txt; below 0x80 they are to be accessed by four bytes.
 */

#include <stdint.h>

#include "guest.h"
#include "guest_fn.h"

#define REG32(bar, off) (*(volatile uint32_t *)(uintptr_t)((bar) + (off)))
#define REG64(bar, off) (*(volatile uint64_t *)(uintptr_t)((bar) + (off)))

enum {
	EDU_IDENT = 0x00,
	EDU_LIVENESS = 0x04, /* reads inverted */
	EDU_FACTORIAL = 0x08,
	EDU_STATUS = 0x20, /* bit 0: computing */
	EDU_INTR_CAUSE = 0x24,
	EDU_INTR_RAISE = 0x60,
	EDU_INTR_ACK = 0x64,
	EDU_DMA_FROM = 0x80,
	EDU_DMA_TO = 0x88,
	EDU_DMA_BYTES = 0x90,
	EDU_DMA_COMMAND = 0x98, /* bit 0: go; bit 1: out of the device */

	EDU_BUFFER = 0x40000, /* in the device's own addresses */

	X2APIC_EOI = 0x80b,
};

uint64_t
edu_probe(uint64_t bar, uint64_t b, uint64_t c, uint64_t d)
{
	(void)b, (void)c, (void)d;
	REG32(bar, EDU_LIVENESS) = 0x12345678;
	return REG32(bar, EDU_LIVENESS) == (uint32_t)~0x12345678u ? REG32(bar, EDU_IDENT) : 0;
}

uint64_t
edu_factorial(uint64_t bar, uint64_t n, uint64_t c, uint64_t d)
{
	(void)c, (void)d;
	REG32(bar, EDU_FACTORIAL) = (uint32_t)n;
	while (REG32(bar, EDU_STATUS) & 1)
		;
	return REG32(bar, EDU_FACTORIAL);
}

uint64_t
edu_dma(uint64_t bar, uint64_t address, uint64_t bytes, uint64_t out)
{
	REG64(bar, EDU_DMA_FROM) = out ? EDU_BUFFER : address;
	REG64(bar, EDU_DMA_TO) = out ? address : EDU_BUFFER;
	REG64(bar, EDU_DMA_BYTES) = bytes;
	REG64(bar, EDU_DMA_COMMAND) = out ? 3 : 1;
	while (REG64(bar, EDU_DMA_COMMAND) & 1)
		;
	return 0;
}

uint64_t
edu_intr(uint64_t bar, uint64_t cause, uint64_t c, uint64_t d)
{
	volatile const struct guest_events *const events = (void *)(uintptr_t)GUEST_EVENTS;
	const uint64_t before = events->count;
	uint32_t found;

	(void)c, (void)d;
	__asm__ volatile("sti");
	REG32(bar, EDU_INTR_RAISE) = (uint32_t)cause;
	while (events->count == before)
		;
	found = REG32(bar, EDU_INTR_CAUSE);
	REG32(bar, EDU_INTR_ACK) = found;
	__asm__ volatile("wrmsr" : : "c"(X2APIC_EOI), "a"(0), "d"(0));
	return found;
}
