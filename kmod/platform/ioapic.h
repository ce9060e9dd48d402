/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The IOAPIC of a PC, an 82093AA (Intel data sheet 290566) with 24 pins.
 */

#ifndef KMOD_PLATFORM_IOAPIC_H
#define KMOD_PLATFORM_IOAPIC_H

#include "kmod/platform/apic.h"

#define IOAPIC_PINS 24u

struct ioapic {
	uint64_t io_redir[IOAPIC_PINS];
	uint32_t io_lines; /* high now */
	uint8_t io_id;
	uint8_t io_index;
	void (*io_send)(void *arg, const struct apic_msg *msg);
	void *io_arg;
};

/* All pins masked; lines and hook stay. */
void ioapic_reset(struct ioapic *io);
void ioapic_set_line(struct ioapic *io, unsigned int pin, bool high);
/* A local APIC ended a level-triggered interrupt of that vector: those still high come again. */
void ioapic_eoi(struct ioapic *io, uint8_t vector);

/* The vector of a pin, or -1: masked. */
int ioapic_vector(const struct ioapic *io, unsigned int pin);

/* Registers of its page, 32 bits wide; offset within it. */
uint32_t ioapic_read(const struct ioapic *io, unsigned int offset);
void ioapic_write(struct ioapic *io, unsigned int offset, uint32_t value);

#endif /* KMOD_PLATFORM_IOAPIC_H */
