/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the models of interrupt and timer hardware have in common.
 *
 * Each model is a state machine that knows no clock, no lock and no thread: time comes in as an
 * argument (ns since some beginning, never back), what it wants done goes out as a result or by a
 * hook. So the same sources run in the module, under its locks and timers, and in unit tests with a
 * clock of their own. Written in the words of pmap/host.h, as the core is, for the same reason.
 *
 * A model with a timer is asked for its next deadline, and run when that has come; running it too
 * early, or twice, does nothing.
 */

#ifndef KMOD_PLATFORM_PLAT_H
#define KMOD_PLATFORM_PLAT_H

#include "pmap/host.h"

#define PLAT_NEVER UINT64_MAX
#define PLAT_NS_PER_S 1000000000ull

/* Whole periods of a clock of `hz` in `ns`, and the time at which a number of them is complete. */
static inline uint64_t
plat_ticks(uint64_t ns, uint64_t hz)
{
	return ns / PLAT_NS_PER_S * hz + ns % PLAT_NS_PER_S * hz / PLAT_NS_PER_S;
}

static inline uint64_t
plat_ticks_ns(uint64_t ticks, uint64_t hz)
{
	return ticks / hz * PLAT_NS_PER_S + (ticks % hz * PLAT_NS_PER_S + hz - 1) / hz;
}

/* The ACPI timer counts at 3.579545 MHz, three times the PIT's clock (ACPI 6.5, 4.8.2.1). */
#define PMTIMER_HZ 3579545u

static inline uint32_t
pmtimer_read(uint64_t now_ns)
{
	return (uint32_t)plat_ticks(now_ns, PMTIMER_HZ);
}

#endif /* KMOD_PLATFORM_PLAT_H */
