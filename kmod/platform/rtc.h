/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The real-time clock of a PC, an MC146818 with 128 bytes: time of day, alarm, periodic and update
 * interrupts, memory that keeps what is written. Time is seconds since 1970; what the registers
 * show is computed from it, in digits or not, as the guest likes it.
 */

#ifndef KMOD_PLATFORM_RTC_H
#define KMOD_PLATFORM_RTC_H

#include "kmod/platform/plat.h"

#define RTC_BYTES 128u
#define RTC_CENTURY 0x32u	     /* where the ACPI tables of a PC say that it is */
#define RTC_TIME_MAX 253402300799ull /* the last second of the year 9999 */

struct rtc {
	uint8_t rt_index;
	uint8_t rt_bytes[RTC_BYTES]; /* but for those of time, A, and C */
	uint8_t rt_a;		     /* divider and rate */
	uint8_t rt_c;		     /* interrupt flags */
	uint64_t rt_seconds;	     /* the time at rt_base_ns */
	uint64_t rt_base_ns;	     /* a second began */
	uint64_t rt_period_ns;	     /* when the next periodic flag is due; PLAT_NEVER */
	uint64_t rt_update_ns;	     /* the end of the next second */
};

/* Begins with memory of zeros. */
void rtc_init(struct rtc *rtc, uint64_t seconds, uint64_t now_ns);
/* As after a reset: interrupts off; time and memory stay. */
void rtc_reset(struct rtc *rtc, uint64_t now_ns);

uint64_t rtc_time(const struct rtc *rtc, uint64_t now_ns);
void rtc_set_time(struct rtc *rtc, uint64_t seconds, uint64_t now_ns);
/* Memory alone. -EINVAL: no such byte. */
int rtc_nvram(struct rtc *rtc, unsigned int offset, bool write, uint8_t *value);

bool rtc_has_port(uint16_t port); /* 70, 71 */
uint8_t rtc_read(struct rtc *rtc, uint16_t port, uint64_t now_ns);
void rtc_write(struct rtc *rtc, uint16_t port, uint8_t value, uint64_t now_ns);

/* When it must be run next; what its interrupt line is afterwards. */
uint64_t rtc_deadline(const struct rtc *rtc);
bool rtc_run(struct rtc *rtc, uint64_t now_ns);
bool rtc_line(const struct rtc *rtc);

#endif /* KMOD_PLATFORM_RTC_H */
