/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* PIT, RTC and ACPI timer under a clock of the test's own. */

#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

#include "kmod/platform/pit.h"
#include "kmod/platform/rtc.h"

#define S PLAT_NS_PER_S

Test(clock, ticks_are_exact)
{
	cr_assert_eq(plat_ticks(S, PIT_HZ), PIT_HZ);
	cr_assert_eq(plat_ticks(3600 * S, PIT_HZ), 3600ull * PIT_HZ);
	cr_assert_eq(plat_ticks_ns(PIT_HZ, PIT_HZ), S);
	for (uint64_t t = 0; t < 3000000; t += 997) /* the time of a tick is when it is complete */
		cr_assert_eq(plat_ticks(plat_ticks_ns(t, PIT_HZ), PIT_HZ), t);
	cr_assert_eq(pmtimer_read(S), 3579545);
	cr_assert_eq(pmtimer_read(2000 * S), (uint32_t)(2000ull * 3579545));
}

/* ---- PIT ------------------------------------------------------------------------------------- */

static struct pit pit;

static void
begin_pit(void)
{
	pit_reset(&pit, 0);
}

TestSuite(pit, .init = begin_pit);

static void
program(unsigned int counter, unsigned int mode, uint16_t value, uint64_t now)
{
	pit_write(&pit, 0x43, (uint8_t)(counter << 6 | 3 << 4 | mode << 1), now);
	pit_write(&pit, (uint16_t)(0x40 + counter), (uint8_t)value, now);
	pit_write(&pit, (uint16_t)(0x40 + counter), (uint8_t)(value >> 8), now);
}

static uint16_t
latched(unsigned int counter, uint64_t now)
{
	uint8_t low;

	pit_write(&pit, 0x43, (uint8_t)(counter << 6), now);
	low = pit_read(&pit, (uint16_t)(0x40 + counter), now + 1000000);
	return (uint16_t)(low | pit_read(&pit, (uint16_t)(0x40 + counter), now + 2000000) << 8);
}

Test(pit, periodic)
{
	cr_assert_eq(pit_deadline(&pit), PLAT_NEVER);
	program(0, 2, 11932, 0); /* about 10 ms */
	cr_assert_eq(pit_deadline(&pit), plat_ticks_ns(11932, PIT_HZ));
	cr_assert(!pit_run(&pit, 5000000));
	cr_assert(pit_run(&pit, pit_deadline(&pit)));
	cr_assert_eq(pit_deadline(&pit), plat_ticks_ns(2 * 11932, PIT_HZ));
	cr_assert_eq(pit_run(&pit, S), 98, "missed periods are counted");
	cr_assert(pit_deadline(&pit) > S && pit_deadline(&pit) < S + 10100000);
	cr_assert(!pit_run(&pit, S));
	program(0, 3, 2, S); /* a guest that asks for too much */
	cr_assert(pit_deadline(&pit) - S >= 49000);
	program(0, 0, 0, S);
	cr_assert_eq(pit_deadline(&pit), S + plat_ticks_ns(65536, PIT_HZ));
}

Test(pit, once)
{
	program(0, 0, 1000, 0);
	cr_assert(pit_run(&pit, plat_ticks_ns(1000, PIT_HZ)));
	cr_assert_eq(pit_deadline(&pit), PLAT_NEVER);
	program(0, 4, 1000, 0);
	cr_assert_eq(pit_deadline(&pit), plat_ticks_ns(1001, PIT_HZ));
	pit_write(&pit, 0x43, 0x30, 0); /* a mode without a count stops it */
	cr_assert_eq(pit_deadline(&pit), PLAT_NEVER);
}

Test(pit, counts)
{
	program(2, 0, 0xffff, 0);
	pit_write(&pit, 0x61, 1, 0);
	program(2, 0, 0xffff, 0);
	cr_assert_eq(latched(2, plat_ticks_ns(1000, PIT_HZ)), 0xffff - 1000);
	cr_assert_eq(latched(2, plat_ticks_ns(0xffff + 10, PIT_HZ)), 0x10000 - 10, "and on");
	program(0, 2, 100, 0);
	cr_assert_eq(latched(0, plat_ticks_ns(250, PIT_HZ)), 50);
	program(0, 3, 100, 0);
	cr_assert_eq(latched(0, plat_ticks_ns(110, PIT_HZ)), 80);
	pit_write(&pit, 0x43, 0x16, 0); /* low byte only, mode 3 */
	pit_write(&pit, 0x40, 0x50, 0);
	cr_assert_eq(pit_read(&pit, 0x40, 0), 0x50);
	pit_write(&pit, 0x43, 0x31, 0); /* digits */
	pit_write(&pit, 0x40, 0x00, 0);
	pit_write(&pit, 0x40, 0x10, 0);
	cr_assert_eq(latched(0, plat_ticks_ns(1, PIT_HZ)), 0x0999);
}

/* As kernels measure other clocks: the gate starts it, the output tells its end. */
Test(pit, gate_and_output)
{
	pit_write(&pit, 0x61, 0, 0);
	program(2, 0, 59659, 0); /* 50 ms */
	cr_assert_eq(latched(2, 10000000), 59659, "it waits for the gate");
	pit_write(&pit, 0x61, 1, 100);
	cr_assert_eq(pit_read(&pit, 0x61, 49000000) & 0x21, 0x01);
	cr_assert_eq(pit_read(&pit, 0x61, 51000000) & 0x21, 0x21);
	pit_write(&pit, 0x61, 0, 60000000);
	program(2, 1, 1193, 60000000); /* mode 1: at the gate's rise, each time */
	cr_assert_eq(pit_read(&pit, 0x61, 60000000) & 0x20, 0x20);
	pit_write(&pit, 0x61, 1, 70000000);
	cr_assert_eq(pit_read(&pit, 0x61, 70500000) & 0x20, 0);
	cr_assert_eq(pit_read(&pit, 0x61, 71100000) & 0x20, 0x20);
	cr_assert_neq(pit_read(&pit, 0x61, 0) & 0x10, pit_read(&pit, 0x61, 15085) & 0x10);
}

Test(pit, read_back)
{
	program(0, 2, 1000, 0);
	pit_write(&pit, 0x43, 0xc2, 0); /* status and count of counter 0 */
	cr_assert_eq(pit_read(&pit, 0x40, 0), 0xb4);
	cr_assert_eq(pit_read(&pit, 0x40, 500000), 1000 & 0xff);
	cr_assert_eq(pit_read(&pit, 0x40, 500000), 1000 >> 8);
}

Test(pit, hostile_accesses)
{
	uint64_t state = 7, now = 0;

	for (unsigned int i = 0; i < 200000; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		now += state >> 44;
		if (state >> 63)
			pit_read(&pit, state >> 40 & 1 ? 0x61 : 0x40 + (state >> 41 & 3), now);
		else
			pit_write(&pit, (state >> 40 & 7) == 0 ? 0x61 : 0x40 + (state >> 43 & 3),
				  (uint8_t)(state >> 32), now);
		pit_run(&pit, now);
		cr_assert_gt(pit_deadline(&pit), now);
	}
}

/* ---- RTC ------------------------------------------------------------------------------------- */

static struct rtc rtc;

static void
begin_rtc(void)
{
	rtc_init(&rtc, 951827696, 0); /* 2000-02-29 12:34:56, a Tuesday */
}

TestSuite(rtc, .init = begin_rtc);

static uint8_t
get(unsigned int index, uint64_t now)
{
	rtc_write(&rtc, 0x70, (uint8_t)index, now);
	return rtc_read(&rtc, 0x71, now);
}

static void
set(unsigned int index, uint8_t value, uint64_t now)
{
	rtc_write(&rtc, 0x70, (uint8_t)index, now);
	rtc_write(&rtc, 0x71, value, now);
}

Test(rtc, shows_the_time)
{
	static const uint8_t digits[] = {0x56, 0, 0x34, 0, 0x12, 0, 3, 0x29, 0x02, 0x00};
	static const uint8_t binary[] = {56, 0, 34, 0, 12, 0, 3, 29, 2, 0};

	for (unsigned int i = 0; i < 10; i++)
		cr_assert_eq(get(i, 0), digits[i], "%u", i);
	cr_assert_eq(get(0x32, 0), 0x20);
	cr_assert_eq(get(13, 0), 0x80);
	set(11, 0x06, 0);
	for (unsigned int i = 0; i < 10; i++)
		cr_assert_eq(get(i, 0), binary[i], "%u", i);
	set(11, 0x00, 0); /* 12 hours */
	cr_assert_eq(get(4, 0), 0x92);
	cr_assert_eq(get(4, 11 * 3600 * S), 0x91, "23:34");
	cr_assert_eq(get(4, 12 * 3600 * S), 0x12, "0:34");
	cr_assert_eq(get(7, 12 * 3600 * S), 0x01);
}

/* Against another implementation of the calendar. */
Test(rtc, dates)
{
	for (uint64_t t = 0; t < 253402300799ull; t += 86400 * 37 + 12345) {
		const time_t tt = (time_t)t;
		struct tm tm;

		gmtime_r(&tt, &tm);
		rtc_init(&rtc, t, 0);
		set(11, 0x06, 0);
		cr_assert_eq(get(7, 0), tm.tm_mday);
		cr_assert_eq(get(8, 0), tm.tm_mon + 1);
		cr_assert_eq(get(9, 0) + get(0x32, 0) * 100, tm.tm_year + 1900);
		cr_assert_eq(get(6, 0), tm.tm_wday + 1);
		set(11, 0x86, 0); /* and back */
		set(11, 0x06, 0);
		cr_assert_eq(rtc_time(&rtc, 0), t);
	}
}

Test(rtc, is_set)
{
	set(11, 0x82, 0);
	set(9, 0x26, 0);
	set(8, 0x11, 0);
	set(7, 0x25, 0);
	set(4, 0x23, 0);
	cr_assert_eq(get(0, 5 * S), 0x56, "it stands");
	set(11, 0x02, 10 * S);
	cr_assert_eq(rtc_time(&rtc, 10 * S), 1795649696, "2026-11-25 23:34:56");
	cr_assert_eq(rtc_time(&rtc, 12 * S), 1795649698);
	set(2, 0x00, 12 * S); /* without SET */
	cr_assert_eq(rtc_time(&rtc, 12 * S), 1795649698 - 34 * 60);
	rtc_set_time(&rtc, 100, 13 * S);
	cr_assert_eq(get(0, 13 * S), 0x40);
}

Test(rtc, an_update_is_announced)
{
	cr_assert_eq(get(10, 500000000) & 0x80, 0);
	cr_assert_eq(get(10, S - 100000) & 0x80, 0x80);
	cr_assert_eq(get(10, S) & 0x80, 0);
}

Test(rtc, periodic)
{
	cr_assert_eq(rtc_deadline(&rtc), PLAT_NEVER);
	set(11, 0x42, 0);
	cr_assert_eq(rtc_deadline(&rtc), 976563, "1024 Hz");
	cr_assert(!rtc_run(&rtc, 900000));
	cr_assert(rtc_run(&rtc, 976563));
	cr_assert_eq(rtc_deadline(&rtc), PLAT_NEVER, "until it is read");
	cr_assert_eq(get(12, 1000000), 0xc0);
	cr_assert(!rtc_line(&rtc));
	cr_assert_eq(rtc_deadline(&rtc), 2 * 976563);
	set(10, 0x2f, 1000000); /* 2 Hz */
	cr_assert_eq(rtc_deadline(&rtc), 501000000);
}

Test(rtc, update_and_alarm)
{
	set(11, 0x12, 0);
	cr_assert_eq(rtc_deadline(&rtc), S);
	cr_assert(rtc_run(&rtc, S));
	cr_assert_eq(get(12, S) & 0xb0, 0x90);
	set(11, 0x22, S);
	set(1, 0x00, S);
	set(3, 0x35, S);
	set(5, 0xc0, S); /* in any hour at 35:00: in 3 s, for it is 34:57 */
	cr_assert(!rtc_run(&rtc, 2 * S) && !rtc_run(&rtc, 3 * S));
	cr_assert(rtc_run(&rtc, 4 * S));
	cr_assert_eq(get(12, 4 * S) & 0xa0, 0xa0);
	cr_assert(!rtc_run(&rtc, 5 * S));
}

Test(rtc, memory)
{
	uint8_t byte = 0x5a;

	cr_assert_eq(rtc_nvram(&rtc, 0x40, true, &byte), 0);
	cr_assert_eq(get(0x40, 0), 0x5a);
	set(0x7f, 0x77, 0);
	cr_assert(rtc_nvram(&rtc, 0x7f, false, &byte) == 0 && byte == 0x77);
	cr_assert_eq(rtc_nvram(&rtc, 13, false, &byte), -EINVAL);
	cr_assert_eq(rtc_nvram(&rtc, 0x32, false, &byte), -EINVAL);
	cr_assert_eq(rtc_nvram(&rtc, 128, false, &byte), -EINVAL);
	rtc_reset(&rtc, 3 * S);
	cr_assert_eq(get(0x7f, 3 * S), 0x77);
	cr_assert_eq(rtc_time(&rtc, 3 * S), 951827699);
}

Test(rtc, hostile_accesses)
{
	uint64_t state = 3, now = 0;

	for (unsigned int i = 0; i < 200000; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		now += state >> 36;
		if (state >> 63)
			rtc_read(&rtc, 0x70 + (state >> 40 & 1), now);
		else
			rtc_write(&rtc, 0x70 + (state >> 40 & 1), (uint8_t)(state >> 32), now);
		rtc_run(&rtc, now);
		cr_assert(rtc_deadline(&rtc) > now);
		cr_assert_leq(rtc_time(&rtc, now), 999999999999ull);
	}
}
