/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The guest's loops around interrupts of its local APIC, in x2APIC mode: timers that it halts for,
 * and messages between two vCPUs. Handlers only count (guest_events), so what is counted is what
 * arrived; the end of an interrupt is told here.
 */

#include "guest.h"
#include "guest_fn.h"

#define MSR_X2APIC_EOI 0x80b
#define MSR_X2APIC_ICR 0x830
#define MSR_X2APIC_INITIAL 0x838
#define MSR_TSC_DEADLINE 0x6e0

static volatile struct guest_events *const events = (void *)(uintptr_t)GUEST_EVENTS;

static void
wrmsr(uint32_t index, uint64_t value)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
}

static uint64_t
rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

/* Until so many events were counted: halted, or awake. Interrupts are off before and after. */
static void
wait_for(uint64_t count, bool halt)
{
	while (events->count < count) {
		if (halt)
			__asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
		else
			__asm__ volatile("sti\n\tnop\n\tpause\n\tcli" : : : "memory");
	}
}

static void
end_of_interrupt(void)
{
	wrmsr(MSR_X2APIC_EOI, 0);
}

/* Halts until n interrupts have come beyond the first ones -> how many were counted in all. */
uint64_t
do_halt_for(uint64_t n, uint64_t first, uint64_t c, uint64_t d)
{
	(void)c, (void)d;
	__asm__ volatile("cli");
	for (uint64_t i = 1; i <= n; i++) {
		wait_for(first + i, true);
		end_of_interrupt();
	}
	return events->count;
}

/*
 * n timers, one after the other, of up to `span` ticks, by TSC deadline or by count; every other
 * time it waits awake. -> 0, or 1 + the round in which not one interrupt came, but more.
 */
uint64_t
do_timers(uint64_t n, uint64_t span, uint64_t by_tsc, uint64_t seed)
{
	const uint64_t first = events->count;

	__asm__ volatile("cli");
	for (uint64_t i = 1; i <= n; i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		if (by_tsc)
			wrmsr(MSR_TSC_DEADLINE, rdtsc() + (seed >> 33) % span);
		else
			wrmsr(MSR_X2APIC_INITIAL, (seed >> 33) % span + 1);
		wait_for(first + i, i & 1);
		end_of_interrupt();
		if (events->count != first + i)
			return 1 + i;
	}
	return 0;
}

/*
 * Rounds of messages there and back with the vCPU whose id is `peer`; `first` begins. Whoever waits
 * does so halted two times, and awake two times. So events are counted from 0 on, and one is under
 * way at any time. -> events that it saw.
 */
uint64_t
do_ping(uint64_t peer, uint64_t rounds, uint64_t first, uint64_t vector)
{
	__asm__ volatile("cli");
	for (uint64_t i = 0; i < rounds; i++) {
		if (first)
			wrmsr(MSR_X2APIC_ICR, peer << 32 | 0x4000 | vector);
		wait_for(first ? 2 * i + 2 : 2 * i + 1, i & 2);
		end_of_interrupt();
		if (!first)
			wrmsr(MSR_X2APIC_ICR, peer << 32 | 0x4000 | vector);
	}
	return events->count;
}
