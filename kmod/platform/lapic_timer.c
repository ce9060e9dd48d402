/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The local APIC's timer (SDM vol. 3A 11.5.4): once, periodic, or at a value of the TSC. Periods
 * that passed while it could not be run are one interrupt.
 *
 * A deadline of the TSC is turned into a time by the TSC's frequency, and looked at again when that
 * has come: it is the TSC that decides, and an error of the frequency costs another look.
 */

#include "kmod/platform/lapic_priv.h"

/* An interrupt for each of shorter periods would leave the host no time. */
#define PERIOD_MIN_NS 50000u
/* Beyond this a deadline is looked at again: arithmetic stays within 64 bits. */
#define LOOK_AGAIN_MS 86400000ull

static unsigned int
divider_lg2(const struct lapic *la)
{
	const unsigned int code = (la->la_divide & 3) | (la->la_divide >> 1 & 4);

	return (code + 1) & 7;
}

static uint64_t
period_ns(const struct lapic *la)
{
	return (uint64_t)la->la_initial << divider_lg2(la);
}

static bool
has_mode(const struct lapic *la, uint32_t bit)
{
	return host_load(&la->la_lvt[LAPIC_LVT_TIMER]) & bit;
}

uint32_t
lapic_timer_count(const struct lapic *la, uint64_t now_ns)
{
	const uint64_t period = period_ns(la), passed = now_ns - la->la_start_ns;

	if (period == 0 || has_mode(la, LVT_TIMER_DEADLINE))
		return 0;
	if (has_mode(la, LVT_TIMER_PERIODIC))
		return (uint32_t)((period - passed % period) >> divider_lg2(la));
	return passed >= period ? 0 : (uint32_t)((period - passed) >> divider_lg2(la));
}

void
lapic_timer_initial(struct lapic *la, uint32_t value, uint64_t now_ns)
{
	if (has_mode(la, LVT_TIMER_DEADLINE))
		return;
	la->la_initial = value;
	la->la_start_ns = now_ns;
	la->la_deadline_ns = value ? now_ns + period_ns(la) : PLAT_NEVER;
}

/* What is left of the count goes on at the new pace. */
void
lapic_timer_divide(struct lapic *la, uint32_t value, uint64_t now_ns)
{
	const bool runs = la->la_deadline_ns != PLAT_NEVER;
	const uint32_t left = lapic_timer_count(la, now_ns);

	la->la_divide = value & 0xb;
	if (!runs || has_mode(la, LVT_TIMER_DEADLINE))
		return;
	la->la_deadline_ns = now_ns + ((uint64_t)left << divider_lg2(la));
	la->la_start_ns = la->la_deadline_ns - period_ns(la);
}

/* To and from deadline mode stops it; else a timer that runs goes on in the new mode. */
void
lapic_timer_lvt(struct lapic *la, uint32_t value)
{
	const uint64_t old = host_load(&la->la_lvt[LAPIC_LVT_TIMER]);

	if ((old ^ value) & LVT_TIMER_DEADLINE) {
		la->la_deadline_ns = PLAT_NEVER;
		la->la_tsc_deadline = 0;
		la->la_initial = 0;
	}
	host_store(&la->la_lvt[LAPIC_LVT_TIMER], value);
}

/* ---- TSC deadline ---------------------------------------------------------------------------- */

static uint64_t
time_of(const struct lapic *la, uint64_t tsc, const struct lapic_now *now)
{
	const uint64_t ticks = tsc - now->ln_tsc, khz = la->la_tsc_khz;

	if (ticks / khz >= LOOK_AGAIN_MS)
		return now->ln_ns + LOOK_AGAIN_MS * 1000000;
	return now->ln_ns + ticks / khz * 1000000 + (ticks % khz * 1000000 + khz - 1) / khz;
}

uint64_t
lapic_tsc_deadline(const struct lapic *la)
{
	return has_mode(la, LVT_TIMER_DEADLINE) ? la->la_tsc_deadline : 0;
}

void
lapic_set_tsc_deadline(struct lapic *la, uint64_t tsc, const struct lapic_now *now)
{
	if (!has_mode(la, LVT_TIMER_DEADLINE) || !la->la_tsc_khz)
		return;
	la->la_tsc_deadline = tsc;
	la->la_deadline_ns = PLAT_NEVER;
	if (tsc == 0)
		return;
	if (tsc > now->ln_tsc)
		la->la_deadline_ns = time_of(la, tsc, now);
	else
		lapic_run(la, now); /* it has come already */
}

static bool
run_deadline(struct lapic *la, const struct lapic_now *now)
{
	if (la->la_tsc_deadline == 0)
		return false;
	if (la->la_tsc_deadline > now->ln_tsc) {
		la->la_deadline_ns = time_of(la, la->la_tsc_deadline, now);
		return false;
	}
	la->la_tsc_deadline = 0;
	la->la_deadline_ns = PLAT_NEVER;
	return true;
}

/* ---- It fires -------------------------------------------------------------------------------- */

static bool
run_count(struct lapic *la, uint64_t now_ns)
{
	uint64_t period = period_ns(la);

	if (now_ns < la->la_deadline_ns)
		return false;
	if (!has_mode(la, LVT_TIMER_PERIODIC) || period == 0) {
		la->la_deadline_ns = PLAT_NEVER;
		return true;
	}
	if (period < PERIOD_MIN_NS)
		period *= PERIOD_MIN_NS / period + 1;
	la->la_deadline_ns += ((now_ns - la->la_deadline_ns) / period + 1) * period;
	return true;
}

void
lapic_run(struct lapic *la, const struct lapic_now *now)
{
	if (has_mode(la, LVT_TIMER_DEADLINE) ? run_deadline(la, now) : run_count(la, now->ln_ns))
		lapic_local(la, LAPIC_LVT_TIMER);
}
