/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Local APICs and messages between them, under a clock of the test's own: to whom a message goes,
 * in what order interrupts are taken, what each register lets be written, when timers fire.
 */

#include <criterion/criterion.h>
#include <string.h>

#include "kmod/platform/lapic.h"

#define CPUS 4u

struct note {
	enum lapic_event event;
	unsigned int id;
	uint8_t vector;
};

static struct lapic lapics[CPUS];
static struct lapic *all[CPUS];
static struct note notes[64];
static unsigned int noted, ended;
static uint8_t last_ended;
static struct lapic_now now;

static void
event(struct lapic *la, enum lapic_event e, uint8_t vector)
{
	cr_assert(noted < 64);
	notes[noted++] = (struct note){e, la->la_id, vector};
}

static void
send(struct lapic *la, const struct apic_msg *msg)
{
	apic_deliver(all, CPUS, (int)la->la_id, msg, NULL);
}

static void
eoi(struct lapic *la, uint8_t vector)
{
	(void)la;
	ended++;
	last_ended = vector;
}

static void
begin(void)
{
	memset(lapics, 0, sizeof(lapics));
	noted = ended = 0;
	now = (struct lapic_now){.ln_ns = 1000, .ln_tsc = 5000};
	for (unsigned int i = 0; i < CPUS; i++) {
		lapics[i] = (struct lapic){.la_id = i,
					   .la_tsc_khz = 2000000,
					   .la_event = event,
					   .la_send = send,
					   .la_eoi = eoi};
		all[i] = &lapics[i];
		lapic_reset(all[i], i == 0);
		lapic_write(all[i], 0xf0, 0x1ff, &now);
	}
}

TestSuite(lapic, .init = begin);

static void
enable_x2apic(struct lapic *la)
{
	cr_assert_eq(lapic_set_base(la, host_load(&la->la_base) | LAPIC_BASE_X2APIC), 0);
}

static bool
requested(struct lapic *la, unsigned int vector)
{
	return lapic_peek(la, 0x200 + vector / 32 * 16, &now) >> vector % 32 & 1;
}

static bool
in_service(struct lapic *la, unsigned int vector)
{
	return lapic_peek(la, 0x100 + vector / 32 * 16, &now) >> vector % 32 & 1;
}

/* Which of the CPUs get it, as bits; and it is forgotten. */
static unsigned int
receivers(const struct apic_msg *msg, int from)
{
	unsigned int bits = 0;

	apic_deliver(all, CPUS, from, msg, NULL);
	for (unsigned int i = 0; i < CPUS; i++) {
		bits |= (unsigned int)requested(all[i], msg->am_vector) << i;
		for (unsigned int w = 0; w < 4; w++)
			host_store(&all[i]->la_irr[w], 0);
	}
	return bits;
}

Test(lapic, after_reset)
{
	lapic_reset(all[1], false);
	cr_assert_eq(lapic_read(all[1], 0x20, &now), 1u << 24);
	cr_assert_eq(lapic_read(all[1], 0x30, &now), 0x50014);
	cr_assert_eq(lapic_read(all[1], 0xf0, &now), 0xff);
	cr_assert_eq(lapic_read(all[1], 0xe0, &now), 0xffffffff);
	for (unsigned int at = 0x320; at <= 0x370; at += 0x10)
		cr_assert_eq(lapic_read(all[1], at, &now), 0x10000);
	cr_assert_eq(host_load(&all[0]->la_base), 0xfee00900);
	cr_assert_eq(host_load(&all[1]->la_base), 0xfee00800);
	cr_assert_eq(lapic_deadline(all[1]), PLAT_NEVER);
}

Test(lapic, the_higher_class_goes_first)
{
	struct lapic *const la = all[0];
	struct apic_msg msg = {.am_mode = APIC_FIXED};

	for (unsigned int v = 0x31; v <= 0x91; v += 0x20) {
		msg.am_vector = (uint8_t)v;
		lapic_deliver(la, &msg);
	}
	cr_assert_eq(lapic_pending(la), 0x91);
	lapic_accept(la, 0x91);
	cr_assert(in_service(la, 0x91) && !requested(la, 0x91));
	cr_assert_eq(lapic_pending(la), -1, "the rest is below what is in service");
	msg.am_vector = 0x95; /* the same class does not interrupt either */
	lapic_deliver(la, &msg);
	cr_assert_eq(lapic_pending(la), -1);
	lapic_write(la, 0xb0, 0, &now);
	cr_assert_eq(lapic_pending(la), 0x95);
	lapic_accept(la, 0x95);
	lapic_write(la, 0xb0, 0, &now);
	cr_assert_eq(lapic_pending(la), 0x71);
	lapic_write(la, 0x80, 0x70, &now);
	cr_assert_eq(lapic_pending(la), -1);
	cr_assert_eq(lapic_read(la, 0xa0, &now), 0x70);
	lapic_write(la, 0x80, 0x6f, &now);
	cr_assert_eq(lapic_pending(la), 0x71);
	cr_assert_eq(ended, 0, "edges end here");
}

Test(lapic, ends_of_levels_are_told)
{
	struct lapic *const la = all[0];
	struct apic_msg msg = {.am_vector = 0x40, .am_level = true};

	lapic_deliver(la, &msg);
	cr_assert_eq(lapic_read(la, 0x1a0, &now), 1);
	lapic_accept(la, 0x40);
	lapic_write(la, 0xb0, 0, &now);
	cr_assert(ended == 1 && last_ended == 0x40);
	lapic_write(la, 0xb0, 0, &now); /* with nothing in service */
	cr_assert_eq(ended, 1);
	msg.am_level = false;
	lapic_deliver(la, &msg);
	cr_assert_eq(lapic_read(la, 0x1a0, &now), 0);
}

Test(lapic, to_whom)
{
	struct apic_msg msg = {.am_vector = 0x50};

	for (unsigned int i = 0; i < CPUS; i++) {
		msg.am_dest = i;
		cr_assert_eq(receivers(&msg, -1), 1u << i);
	}
	msg.am_dest = 0xff;
	cr_assert_eq(receivers(&msg, -1), 0xf);
	msg.am_dest = 9;
	cr_assert_eq(receivers(&msg, -1), 0);

	msg.am_logical = true; /* flat: bits */
	for (unsigned int i = 0; i < CPUS; i++)
		lapic_write(all[i], 0xd0, 1u << (24 + i), &now);
	msg.am_dest = 0x5;
	cr_assert_eq(receivers(&msg, -1), 0x5);
	for (unsigned int i = 0; i < CPUS; i++) { /* clusters of two */
		lapic_write(all[i], 0xe0, 0x0fffffff, &now);
		lapic_write(all[i], 0xd0, (i / 2 << 4 | 1u << i % 2) << 24, &now);
	}
	msg.am_dest = 0x13;
	cr_assert_eq(receivers(&msg, -1), 0xc);
	msg.am_dest = 0x02;
	cr_assert_eq(receivers(&msg, -1), 0x2);

	msg.am_dest = 0;
	msg.am_shorthand = APIC_TO_SELF;
	cr_assert_eq(receivers(&msg, 2), 0x4);
	msg.am_shorthand = APIC_TO_ALL;
	cr_assert_eq(receivers(&msg, 2), 0xf);
	msg.am_shorthand = APIC_TO_OTHERS;
	cr_assert_eq(receivers(&msg, 2), 0xb);
}

Test(lapic, lowest_priority_is_for_one_of_them_in_turn)
{
	struct apic_msg msg = {.am_vector = 0x50, .am_mode = APIC_LOWEST, .am_dest = 0xff};
	unsigned int turn = 0, got[CPUS] = {0};

	lapic_write(all[1], 0xf0, 0xff, &now); /* takes no part */
	for (unsigned int n = 0; n < 6; n++) {
		apic_deliver(all, CPUS, -1, &msg, &turn);
		for (unsigned int i = 0; i < CPUS; i++) {
			got[i] += requested(all[i], 0x50);
			host_store(&all[i]->la_irr[1], 0);
		}
	}
	cr_assert(got[0] == 2 && got[1] == 0 && got[2] == 2 && got[3] == 2);
}

Test(lapic, disabled_takes_no_interrupt_but_init)
{
	struct apic_msg msg = {.am_vector = 0x50};

	lapic_write(all[0], 0x350, 0x700, &now);
	cr_assert(lapic_takes_extint(all[0]));
	lapic_write(all[0], 0xf0, 0xff, &now);
	cr_assert_eq(lapic_read(all[0], 0x350, &now), 0x10700);
	lapic_write(all[0], 0x350, 0x700, &now);
	cr_assert_eq(lapic_read(all[0], 0x350, &now), 0x10700, "masked while it is disabled");
	cr_assert_eq(receivers(&msg, -1), 0);
	cr_assert_eq(noted, 0);
	msg.am_mode = APIC_INIT;
	lapic_deliver(all[0], &msg);
	cr_assert(noted == 1 && notes[0].event == LAPIC_INIT);
	cr_assert_eq(lapic_set_base(all[0], LAPIC_BASE_GPA | LAPIC_BASE_BSP), 0);
	cr_assert(lapic_takes_extint(all[0]), "then the pin is the CPU's");
	cr_assert(!lapic_takes_extint(all[1]));
}

Test(lapic, init_and_sipi_by_icr)
{
	lapic_write(all[0], 0x310, 3u << 24, &now);
	lapic_write(all[0], 0x300, 0xc500, &now);
	lapic_write(all[0], 0x300, 0x8500, &now); /* deassert: nothing */
	lapic_write(all[0], 0x300, 0x4699, &now);
	cr_assert_eq(noted, 2);
	cr_assert(notes[0].event == LAPIC_INIT && notes[0].id == 3);
	cr_assert(notes[1].event == LAPIC_SIPI && notes[1].id == 3 && notes[1].vector == 0x99);
	lapic_write(all[0], 0x300, 0xc4400, &now); /* NMI to all others */
	cr_assert(noted == 5 && notes[4].event == LAPIC_NMI);
}

Test(lapic, errors_are_told_when_asked)
{
	struct lapic *const la = all[0];

	lapic_write(la, 0x370, 0x45, &now);
	lapic_write(la, 0x300, 0x40005, &now); /* vector 5 to itself */
	cr_assert(requested(la, 0x45));
	cr_assert_eq(lapic_read(la, 0x280, &now), 0);
	lapic_write(la, 0x280, 0, &now);
	cr_assert_eq(lapic_read(la, 0x280, &now), 1u << 5);
	lapic_write(la, 0x280, 0, &now);
	cr_assert_eq(lapic_read(la, 0x280, &now), 0);
	lapic_read(la, 0x40, &now);
	lapic_write(la, 0x280, 0, &now);
	cr_assert_eq(lapic_read(la, 0x280, &now), 1u << 7);
}

Test(lapic, modes_change_as_they_may)
{
	struct lapic *const la = all[1];
	const uint64_t on = LAPIC_BASE_GPA | LAPIC_BASE_ENABLE;

	cr_assert_eq(lapic_set_base(la, on + 0x1000), -EINVAL);
	cr_assert_eq(lapic_set_base(la, on | 1), -EINVAL);
	cr_assert_eq(lapic_set_base(la, LAPIC_BASE_GPA | LAPIC_BASE_X2APIC), -EINVAL);
	enable_x2apic(la);
	cr_assert_eq(lapic_set_base(la, on), -EINVAL, "from x2APIC to off only");
	cr_assert_eq(lapic_set_base(la, LAPIC_BASE_GPA), 0);
	cr_assert_eq(lapic_set_base(la, on | LAPIC_BASE_X2APIC), -EINVAL, "nor from off to it");
	cr_assert_eq(lapic_set_base(la, on), 0);
	cr_assert_eq(lapic_read(la, 0xf0, &now), 0xff, "off has made it new");
}

Test(lapic, x2apic_msrs)
{
	struct lapic *const la = all[2];
	uint64_t value;

	cr_assert_eq(lapic_rdmsr(la, 0x802, &value, &now), -EINVAL, "not in xAPIC mode");
	enable_x2apic(la);
	cr_assert(lapic_rdmsr(la, 0x802, &value, &now) == 0 && value == 2);
	cr_assert(lapic_rdmsr(la, 0x80d, &value, &now) == 0 && value == 4);
	cr_assert_eq(lapic_rdmsr(la, 0x80e, &value, &now), -EINVAL);
	cr_assert_eq(lapic_rdmsr(la, 0x831, &value, &now), -EINVAL);
	cr_assert_eq(lapic_rdmsr(la, 0x80b, &value, &now), -EINVAL);
	cr_assert_eq(lapic_wrmsr(la, 0x80b, 1, &now), -EINVAL);
	cr_assert_eq(lapic_wrmsr(la, 0x80d, 4, &now), -EINVAL);
	cr_assert_eq(lapic_wrmsr(la, 0x808, 0x100, &now), -EINVAL);
	cr_assert_eq(lapic_wrmsr(la, 0x832, 1ull << 40, &now), -EINVAL);
	cr_assert_eq(lapic_wrmsr(la, 0x832, 0x20041, &now), 0);
	cr_assert_eq(lapic_wrmsr(la, 0x83f, 0x44, &now), 0);
	cr_assert(requested(la, 0x44));
	cr_assert_eq(lapic_wrmsr(la, 0x83f, 0x144, &now), -EINVAL);
	enable_x2apic(all[1]);
	cr_assert_eq(lapic_wrmsr(la, 0x830, 1ull << 32 | 0x46, &now), 0);
	cr_assert(requested(all[1], 0x46));
	cr_assert(lapic_rdmsr(la, 0x830, &value, &now) == 0 && value == (1ull << 32 | 0x46));
	cr_assert_eq(lapic_wrmsr(la, 0x830, 0xffffffffull << 32 | 0x47, &now), 0);
	cr_assert(requested(all[1], 0x47) && requested(la, 0x47));
	cr_assert(requested(all[0], 0x47), "it is a broadcast in whatever mode who hears it is");
	cr_assert_eq(lapic_wrmsr(la, 0x830, 0x2ull << 32 | 0x848, &now), 0);
	cr_assert(requested(all[1], 0x48) && !requested(la, 0x48));
}

Test(lapic, a_deadline_that_is_not_offered)
{
	all[0]->la_tsc_khz = 0;
	lapic_write(all[0], 0x320, 0x40041, &now);
	cr_assert_eq(lapic_read(all[0], 0x320, &now), 0x41);
}

Test(lapic, timer_once)
{
	struct lapic *const la = all[0];

	lapic_write(la, 0x3e0, 0xb, &now); /* by 1 */
	lapic_write(la, 0x320, 0x41, &now);
	lapic_write(la, 0x380, 5000, &now);
	cr_assert_eq(lapic_deadline(la), 6000);
	now.ln_ns = 3000;
	cr_assert_eq(lapic_read(la, 0x390, &now), 3000);
	lapic_run(la, &now); /* too early */
	cr_assert(!requested(la, 0x41));
	now.ln_ns = 6000;
	lapic_run(la, &now);
	cr_assert(requested(la, 0x41));
	cr_assert_eq(lapic_deadline(la), PLAT_NEVER);
	cr_assert_eq(lapic_read(la, 0x390, &now), 0);
	cr_assert_eq(noted, 1);
	lapic_run(la, &now); /* twice */
	cr_assert_eq(noted, 1);
}

Test(lapic, timer_divided)
{
	static const struct {
		uint32_t code, by;
	} rows[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};

	for (unsigned int i = 0; i < 8; i++) {
		lapic_write(all[0], 0x3e0, rows[i].code, &now);
		lapic_write(all[0], 0x380, 1000, &now);
		cr_assert_eq(lapic_deadline(all[0]), now.ln_ns + 1000 * rows[i].by, "%u",
			     rows[i].code);
		cr_assert_eq(lapic_read(all[0], 0x3e0, &now), rows[i].code);
	}
	lapic_write(all[0], 0x380, 0, &now);
	cr_assert_eq(lapic_deadline(all[0]), PLAT_NEVER);
}

Test(lapic, timer_periodic_counts_missed_periods_as_one)
{
	struct lapic *const la = all[0];
	const uint64_t first = now.ln_ns + 100000;

	lapic_write(la, 0x3e0, 0xb, &now);
	lapic_write(la, 0x320, 0x20041, &now);
	lapic_write(la, 0x380, 100000, &now);
	now.ln_ns = first;
	lapic_run(la, &now);
	cr_assert(noted == 1 && lapic_deadline(la) == first + 100000);
	now.ln_ns = first + 1234567;
	lapic_run(la, &now);
	cr_assert(noted == 2 && lapic_deadline(la) == first + 1300000);
	lapic_write(la, 0x320, 0x30041, &now); /* masked it goes on */
	now.ln_ns = first + 1300000;
	lapic_run(la, &now);
	cr_assert(noted == 2 && lapic_deadline(la) == first + 1400000);
	lapic_write(la, 0x380, 10, &now); /* far too short */
	cr_assert(noted == 2);
	now.ln_ns = lapic_deadline(la);
	lapic_run(la, &now);
	cr_assert_geq(lapic_deadline(la) - now.ln_ns, 49990);
}

Test(lapic, timer_by_tsc)
{
	struct lapic *const la = all[0];

	lapic_set_tsc_deadline(la, 9000, &now); /* not in that mode: nothing */
	cr_assert(lapic_deadline(la) == PLAT_NEVER && lapic_tsc_deadline(la) == 0);
	lapic_write(la, 0x320, 0x40041, &now);
	lapic_write(la, 0x380, 1000, &now); /* ignored there */
	cr_assert_eq(lapic_deadline(la), PLAT_NEVER);
	lapic_set_tsc_deadline(la, 5000 + 2000000, &now); /* a ms at 2 GHz */
	cr_assert_eq(lapic_deadline(la), 1000 + 1000000);
	cr_assert_eq(lapic_tsc_deadline(la), 5000 + 2000000);
	now = (struct lapic_now){1001000, 2004000}; /* the TSC is late by 500 ns */
	lapic_run(la, &now);
	cr_assert(!requested(la, 0x41));
	cr_assert_eq(lapic_deadline(la), 1001500);
	now = (struct lapic_now){1001500, 2005000};
	lapic_run(la, &now);
	cr_assert(requested(la, 0x41) && lapic_tsc_deadline(la) == 0);
	cr_assert_eq(lapic_deadline(la), PLAT_NEVER);
	host_store(&la->la_irr[1], 0);
	lapic_set_tsc_deadline(la, 17, &now); /* passed long ago */
	cr_assert(requested(la, 0x41));
	lapic_set_tsc_deadline(la, UINT64_MAX, &now); /* in centuries: looked at each day */
	cr_assert_eq(lapic_deadline(la) - now.ln_ns, 86400ull * 1000000000);
	lapic_write(la, 0x320, 0x41, &now); /* leaving the mode disarms */
	cr_assert_eq(lapic_deadline(la), PLAT_NEVER);
}

Test(lapic, messages_of_devices)
{
	struct apic_msg msg;

	cr_assert_eq(apic_msi(0xfee03000, 0x4041, &msg), 0);
	cr_assert(msg.am_dest == 3 && msg.am_vector == 0x41 && !msg.am_logical);
	cr_assert_eq(receivers(&msg, -1), 1u << 3);
	cr_assert_eq(apic_msi(0xfee0500c, 0x42, &msg), 0);
	cr_assert(msg.am_logical && msg.am_mode == APIC_LOWEST);
	cr_assert_eq(apic_msi(0xfee00000, 0x400, &msg), 0);
	cr_assert_eq(msg.am_mode, APIC_NMI);
	cr_assert_eq(apic_msi(0xfed00000, 0x41, &msg), -EINVAL);
	cr_assert_eq(apic_msi(0x1fee00000, 0x41, &msg), -EINVAL);
}

/* Random accesses of a hostile guest: no assertion of the model, no access beyond it. */
Test(lapic, hostile_accesses)
{
	uint64_t state = 42, value;

	for (unsigned int i = 0; i < 200000; i++) {
		struct lapic *const la = all[state >> 60 & 3];

		state = state * 6364136223846793005ull + 1442695040888963407ull;
		now.ln_ns += state >> 50;
		now.ln_tsc += state >> 49;
		switch (state >> 40 & 7) {
		case 0:
			lapic_rdmsr(la, 0x800 + (state >> 20 & 0xff), &value, &now);
			break;
		case 1:
			lapic_wrmsr(la, 0x800 + (state >> 20 & 0xff), state & 0xfffff, &now);
			break;
		case 2:
			lapic_read(la, state >> 20 & 0xfff, &now);
			break;
		case 3:
			lapic_run(la, &now);
			break;
		case 4:
			if (lapic_pending(la) >= 0)
				lapic_accept(la, (uint8_t)lapic_pending(la));
			break;
		case 5:
			if ((state >> 20 & 0xff) == 0)
				lapic_set_base(la, LAPIC_BASE_GPA | (state >> 30 & 3) << 10);
			break;
		default:
			lapic_write(la, state >> 20 & 0xff0, (uint32_t)state, &now);
			break;
		}
		noted = 0;
		cr_assert(lapic_deadline(la) > now.ln_ns || lapic_deadline(la) + 1000000 > 0);
	}
}
