/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/* What the files of the local APIC share: bits of its registers, and each other's functions. */

#ifndef KMOD_PLATFORM_LAPIC_PRIV_H
#define KMOD_PLATFORM_LAPIC_PRIV_H

#include "kmod/platform/lapic.h"

#define SVR_ENABLE (1u << 8)

#define LVT_MASKED (1u << 16)
#define LVT_TIMER_PERIODIC (1u << 17)
#define LVT_TIMER_DEADLINE (1u << 18)

#define ESR_SEND_ILLEGAL (1u << 5)
#define ESR_RECEIVED_ILLEGAL (1u << 6)
#define ESR_REGISTER (1u << 7)

uint32_t lapic_ppr(const struct lapic *la);
void lapic_end(struct lapic *la);
void lapic_request(struct lapic *la, uint8_t vector, bool level);
void lapic_error(struct lapic *la, uint32_t bits);
void lapic_local(struct lapic *la, enum lapic_lvt entry);
uint32_t lapic_wide_ldr(const struct lapic *la);

/* lapic_timer.c */
uint32_t lapic_timer_count(const struct lapic *la, uint64_t now_ns);
void lapic_timer_initial(struct lapic *la, uint32_t value, uint64_t now_ns);
void lapic_timer_divide(struct lapic *la, uint32_t value, uint64_t now_ns);
/* LVT timer becomes value. */
void lapic_timer_lvt(struct lapic *la, uint32_t value);

#endif /* KMOD_PLATFORM_LAPIC_PRIV_H */
