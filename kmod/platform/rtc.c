/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * MC146818. While SET is on the registers of time are kept in memory as they are written, and the
 * clock stands; when it goes off they become the time. Written without SET, the time is taken
 * apart, changed, and put together again: what cannot be a date is then one that can.
 *
 * Flags are raised by rtc_run(), which is called at each deadline and before C is read; deadlines
 * exist for what may interrupt, so a guest that only polls costs nothing.
 */

#include "kmod/platform/rtc.h"

enum {
	RTC_SECONDS,
	RTC_SECONDS_ALARM,
	RTC_MINUTES,
	RTC_MINUTES_ALARM,
	RTC_HOURS,
	RTC_HOURS_ALARM,
	RTC_WEEKDAY,
	RTC_DAY,
	RTC_MONTH,
	RTC_YEAR,
	RTC_A,
	RTC_B,
	RTC_C,
	RTC_D,
};

#define A_UIP 0x80
#define B_SET 0x80
#define B_PIE 0x40
#define B_AIE 0x20
#define B_UIE 0x10
#define B_BINARY 0x04
#define B_24H 0x02
#define C_IRQF 0x80
#define C_PF 0x40
#define C_AF 0x20
#define C_UF 0x10
#define D_VALID 0x80
#define HOUR_PM 0x80
#define ALARM_ANY 0xc0 /* and above: any value fits */

#define UIP_NS 244000u /* before a second ends (data sheet, table 6) */
/* Rates beyond 1024 Hz are served at that. */
#define PERIOD_MIN_NS (PLAT_NS_PER_S / 1024)

/* ---- Dates ----------------------------------------------------------------------------------- */

struct date {
	uint32_t da_year, da_month, da_day; /* month 1 to 12 */
	uint32_t da_weekday;		    /* 1: Sunday */
	uint32_t da_hour, da_minute, da_second;
};

/* Days since 1970 of the Gregorian calendar, counted from a first of March, and back. */
static uint64_t
days_of(uint64_t year, uint64_t month, uint64_t day)
{
	const uint64_t y = month > 2 ? year : year - 1;
	const uint64_t m = month > 2 ? month - 3 : month + 9;

	return y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static struct date
date_of(uint64_t seconds)
{
	const uint64_t days = seconds / 86400, z = days + 719468;
	const uint64_t era = z / 146097, doe = z % 146097;
	const uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	const uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	const uint64_t m = (5 * doy + 2) / 153;
	struct date d = {
		.da_month = (uint32_t)(m < 10 ? m + 3 : m - 9),
		.da_day = (uint32_t)(doy - (153 * m + 2) / 5 + 1),
		.da_weekday = (uint32_t)((days + 4) % 7 + 1),
		.da_hour = (uint32_t)(seconds / 3600 % 24),
		.da_minute = (uint32_t)(seconds / 60 % 60),
		.da_second = (uint32_t)(seconds % 60),
	};

	d.da_year = (uint32_t)(yoe + era * 400 + (d.da_month <= 2));
	return d;
}

/* Whatever was written. Before 1970: 1970. */
static uint64_t
seconds_of(const struct date *d)
{
	const uint64_t month = d->da_month < 1 ? 1 : d->da_month > 12 ? 12 : d->da_month;
	const uint64_t day = d->da_day < 1 ? 1 : d->da_day;

	if (d->da_year < 1970)
		return d->da_hour * 3600ull + d->da_minute * 60ull + d->da_second;
	return days_of(d->da_year, month, day) * 86400 + d->da_hour * 3600ull +
	       d->da_minute * 60ull + d->da_second;
}

/* ---- Registers of time ----------------------------------------------------------------------- */

static uint8_t
encode(const struct rtc *rtc, uint32_t value)
{
	if (rtc->rt_bytes[RTC_B] & B_BINARY)
		return (uint8_t)value;
	return (uint8_t)(value / 10 % 10 << 4 | value % 10);
}

static uint32_t
decode(const struct rtc *rtc, uint8_t value)
{
	if (rtc->rt_bytes[RTC_B] & B_BINARY)
		return value;
	return (value >> 4) * 10u + (value & 15);
}

static uint8_t
encode_hour(const struct rtc *rtc, uint32_t hour)
{
	if (rtc->rt_bytes[RTC_B] & B_24H)
		return encode(rtc, hour);
	return (uint8_t)(encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0));
}

static uint32_t
decode_hour(const struct rtc *rtc, uint8_t value)
{
	if (rtc->rt_bytes[RTC_B] & B_24H)
		return decode(rtc, value);
	return decode(rtc, value & (0xff ^ HOUR_PM)) % 12 + (value & HOUR_PM ? 12 : 0);
}

static bool
is_time(unsigned int index)
{
	return index == RTC_SECONDS || index == RTC_MINUTES || index == RTC_HOURS ||
	       (index >= RTC_WEEKDAY && index <= RTC_YEAR) || index == RTC_CENTURY;
}

static void
show(struct rtc *rtc, uint64_t seconds)
{
	const struct date d = date_of(seconds);

	rtc->rt_bytes[RTC_SECONDS] = encode(rtc, d.da_second);
	rtc->rt_bytes[RTC_MINUTES] = encode(rtc, d.da_minute);
	rtc->rt_bytes[RTC_HOURS] = encode_hour(rtc, d.da_hour);
	rtc->rt_bytes[RTC_WEEKDAY] = encode(rtc, d.da_weekday);
	rtc->rt_bytes[RTC_DAY] = encode(rtc, d.da_day);
	rtc->rt_bytes[RTC_MONTH] = encode(rtc, d.da_month);
	rtc->rt_bytes[RTC_YEAR] = encode(rtc, d.da_year % 100);
	rtc->rt_bytes[RTC_CENTURY] = encode(rtc, d.da_year / 100);
}

static uint64_t
shown(const struct rtc *rtc)
{
	const struct date d = {
		.da_year = decode(rtc, rtc->rt_bytes[RTC_CENTURY]) * 100 +
			   decode(rtc, rtc->rt_bytes[RTC_YEAR]),
		.da_month = decode(rtc, rtc->rt_bytes[RTC_MONTH]),
		.da_day = decode(rtc, rtc->rt_bytes[RTC_DAY]),
		.da_hour = decode_hour(rtc, rtc->rt_bytes[RTC_HOURS]),
		.da_minute = decode(rtc, rtc->rt_bytes[RTC_MINUTES]),
		.da_second = decode(rtc, rtc->rt_bytes[RTC_SECONDS]),
	};

	return seconds_of(&d);
}

/* SET, or a divider that is held in reset (data sheet, table 5). */
static bool
stands(const struct rtc *rtc)
{
	return rtc->rt_bytes[RTC_B] & B_SET || (rtc->rt_a >> 4 & 7) >= 6;
}

uint64_t
rtc_time(const struct rtc *rtc, uint64_t now_ns)
{
	if (stands(rtc))
		return rtc->rt_seconds;
	return rtc->rt_seconds + (now_ns - rtc->rt_base_ns) / PLAT_NS_PER_S;
}

/* ---- Interrupts ------------------------------------------------------------------------------ */

static uint64_t
period_ns(const struct rtc *rtc)
{
	unsigned int rate = rtc->rt_a & 15;
	uint64_t ns;

	if (rate == 0 || stands(rtc))
		return 0;
	if (rate < 3)
		rate += 7; /* with the usual divider, 1 and 2 are as 8 and 9 */
	ns = plat_ticks_ns(1ull << (rate - 1), 32768);
	return ns < PERIOD_MIN_NS ? PERIOD_MIN_NS : ns;
}

/* The time or an enable bit changed: when does what happen next? */
static void
set_deadlines(struct rtc *rtc, uint64_t now_ns)
{
	const uint64_t period = period_ns(rtc);

	rtc->rt_period_ns = period ? now_ns + period : PLAT_NEVER;
	rtc->rt_update_ns = PLAT_NEVER;
	if (!stands(rtc))
		rtc->rt_update_ns =
			now_ns + PLAT_NS_PER_S - (now_ns - rtc->rt_base_ns) % PLAT_NS_PER_S;
}

static bool
fits(const struct rtc *rtc, uint8_t alarm, uint32_t value, bool hour)
{
	if (alarm >= ALARM_ANY)
		return true;
	return (hour ? decode_hour(rtc, alarm) : decode(rtc, alarm)) == value;
}

/* Whether the alarm's time was one of the seconds in (from, to]; beyond a day each one was. */
static bool
alarm_passed(const struct rtc *rtc, uint64_t from, uint64_t to)
{
	if (to - from > 86400)
		return true;
	for (uint64_t s = from + 1; s <= to; s++)
		if (fits(rtc, rtc->rt_bytes[RTC_SECONDS_ALARM], s % 60, false) &&
		    fits(rtc, rtc->rt_bytes[RTC_MINUTES_ALARM], s / 60 % 60, false) &&
		    fits(rtc, rtc->rt_bytes[RTC_HOURS_ALARM], s / 3600 % 24, true))
			return true;
	return false;
}

static void
settle_line(struct rtc *rtc)
{
	if (rtc->rt_c & rtc->rt_bytes[RTC_B] & (C_PF | C_AF | C_UF))
		rtc->rt_c |= C_IRQF;
	else
		rtc->rt_c &= (0xff ^ C_IRQF);
}

bool
rtc_line(const struct rtc *rtc)
{
	return rtc->rt_c & C_IRQF;
}

bool
rtc_run(struct rtc *rtc, uint64_t now_ns)
{
	uint64_t period;

	if (now_ns >= rtc->rt_period_ns) {
		rtc->rt_c |= C_PF;
		period = period_ns(rtc);
		rtc->rt_period_ns += ((now_ns - rtc->rt_period_ns) / period + 1) * period;
	}
	if (now_ns >= rtc->rt_update_ns) {
		const uint64_t passed = (now_ns - rtc->rt_update_ns) / PLAT_NS_PER_S + 1;
		const uint64_t to = rtc_time(rtc, now_ns);

		rtc->rt_c |= C_UF;
		if (alarm_passed(rtc, to - passed, to))
			rtc->rt_c |= C_AF;
		rtc->rt_update_ns += passed * PLAT_NS_PER_S;
	}
	settle_line(rtc);
	return rtc_line(rtc);
}

/* Of what is enabled, and whose flag is not up already. */
uint64_t
rtc_deadline(const struct rtc *rtc)
{
	const uint8_t wanted = rtc->rt_bytes[RTC_B] & (uint8_t)~rtc->rt_c;
	uint64_t ns = PLAT_NEVER;

	if (wanted & B_PIE)
		ns = rtc->rt_period_ns;
	if (wanted & (B_AIE | B_UIE) && rtc->rt_update_ns < ns)
		ns = rtc->rt_update_ns;
	return ns;
}

/* ---- Life, and from outside ------------------------------------------------------------------ */

void
rtc_reset(struct rtc *rtc, uint64_t now_ns)
{
	const uint64_t seconds = rtc_time(rtc, now_ns);

	if (stands(rtc)) {
		rtc->rt_seconds = seconds;
		rtc->rt_base_ns = now_ns;
	}
	rtc->rt_index = 0;
	rtc->rt_a = 0x26; /* 32768 Hz; 1024 Hz */
	rtc->rt_bytes[RTC_B] = B_24H;
	rtc->rt_c = 0;
	set_deadlines(rtc, now_ns);
}

void
rtc_init(struct rtc *rtc, uint64_t seconds, uint64_t now_ns)
{
	*rtc = (struct rtc){.rt_a = 0x26, .rt_seconds = seconds, .rt_base_ns = now_ns};
	rtc_reset(rtc, now_ns);
}

void
rtc_set_time(struct rtc *rtc, uint64_t seconds, uint64_t now_ns)
{
	rtc->rt_seconds = seconds;
	rtc->rt_base_ns = now_ns;
	if (stands(rtc))
		show(rtc, seconds);
	set_deadlines(rtc, now_ns);
}

int
rtc_nvram(struct rtc *rtc, unsigned int offset, bool write, uint8_t *value)
{
	if (offset <= RTC_D || offset >= RTC_BYTES || offset == RTC_CENTURY)
		return -EINVAL;
	if (write)
		rtc->rt_bytes[offset] = *value;
	else
		*value = rtc->rt_bytes[offset];
	return 0;
}

/* ---- Ports ----------------------------------------------------------------------------------- */

bool
rtc_has_port(uint16_t port)
{
	return port == 0x70 || port == 0x71;
}

uint8_t
rtc_read(struct rtc *rtc, uint16_t port, uint64_t now_ns)
{
	const unsigned int index = rtc->rt_index;
	uint8_t value;

	if (port == 0x70)
		return 0xff; /* write only */
	switch (index) {
	case RTC_A:
		value = rtc->rt_a;
		if (!stands(rtc) && rtc->rt_base_ns <= now_ns &&
		    (now_ns - rtc->rt_base_ns) % PLAT_NS_PER_S >= PLAT_NS_PER_S - UIP_NS)
			value |= A_UIP;
		return value;
	case RTC_C:
		rtc_run(rtc, now_ns);
		value = rtc->rt_c;
		rtc->rt_c = 0;
		return value;
	case RTC_D:
		return D_VALID;
	default:
		if (is_time(index) && !stands(rtc))
			show(rtc, rtc_time(rtc, now_ns));
		return rtc->rt_bytes[index];
	}
}

static void
write_b(struct rtc *rtc, uint8_t value, uint64_t now_ns)
{
	const uint8_t old = rtc->rt_bytes[RTC_B];
	const uint64_t seconds = rtc_time(rtc, now_ns);

	if (value & B_SET)
		value &= (uint8_t)~B_UIE;
	if (!(old & B_SET) && value & B_SET) {
		show(rtc, seconds);
		rtc->rt_seconds = seconds;
	}
	rtc->rt_bytes[RTC_B] = value;
	if (old & B_SET && !(value & B_SET)) {
		rtc->rt_seconds = shown(rtc);
		rtc->rt_base_ns = now_ns;
	}
	if ((old ^ value) & B_SET)
		set_deadlines(rtc, now_ns);
	settle_line(rtc);
}

static void
write_a(struct rtc *rtc, uint8_t value, uint64_t now_ns)
{
	const uint64_t seconds = rtc_time(rtc, now_ns);
	const bool stood = stands(rtc);

	rtc->rt_a = value & (0xff ^ A_UIP);
	if (stands(rtc) != stood) {
		rtc->rt_seconds = seconds;
		/* A divider that is released counts its first second in half of one. */
		rtc->rt_base_ns = now_ns;
	}
	set_deadlines(rtc, now_ns);
}

void
rtc_write(struct rtc *rtc, uint16_t port, uint8_t value, uint64_t now_ns)
{
	const unsigned int index = rtc->rt_index;

	if (port == 0x70) {
		rtc->rt_index =
			value & (RTC_BYTES - 1); /* bit 7 masks NMIs, which none here sends */
		return;
	}
	switch (index) {
	case RTC_A:
		write_a(rtc, value, now_ns);
		break;
	case RTC_B:
		write_b(rtc, value, now_ns);
		break;
	case RTC_C:
	case RTC_D:
		break;
	default:
		if (is_time(index) && !stands(rtc)) {
			show(rtc, rtc_time(rtc, now_ns));
			rtc->rt_bytes[index] = value;
			rtc->rt_seconds = shown(rtc);
			rtc->rt_base_ns = now_ns;
			set_deadlines(rtc, now_ns);
		} else {
			rtc->rt_bytes[index] = value;
		}
		break;
	}
}
