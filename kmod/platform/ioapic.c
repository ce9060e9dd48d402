/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * 82093AA. An edge is sent when the line rises, or lost while the pin is masked. A level is sent
 * once while it is high, and again after its end was told if it still is; "remote IRR" is what
 * stands between.
 */

#include "kmod/platform/ioapic.h"

#define REG_SELECT 0x00
#define REG_WINDOW 0x10

#define INDEX_ID 0x00
#define INDEX_VERSION 0x01
#define INDEX_ARBITRATION 0x02
#define INDEX_REDIR 0x10

#define VERSION (0x11u | (IOAPIC_PINS - 1) << 16)

#define REDIR_VECTOR(r) ((uint8_t)(r))
#define REDIR_MODE(r) ((enum apic_mode)((r) >> 8 & 7))
#define REDIR_LOGICAL (1ull << 11)
#define REDIR_STATUS (1ull << 12)
#define REDIR_REMOTE_IRR (1ull << 14)
#define REDIR_LEVEL (1ull << 15)
#define REDIR_MASKED (1ull << 16)
#define REDIR_DEST(r) ((uint32_t)((r) >> 56))
#define REDIR_READ_ONLY (REDIR_STATUS | REDIR_REMOTE_IRR)
#define REDIR_WRITABLE 0xff0000000001ffffull

static void
send(struct ioapic *io, unsigned int pin)
{
	const uint64_t redir = io->io_redir[pin];
	const struct apic_msg msg = {
		.am_dest = REDIR_DEST(redir),
		.am_mode = REDIR_MODE(redir),
		.am_vector = REDIR_VECTOR(redir),
		.am_logical = redir & REDIR_LOGICAL,
		.am_level = redir & REDIR_LEVEL,
	};

	if (redir & REDIR_LEVEL)
		io->io_redir[pin] |= REDIR_REMOTE_IRR;
	io->io_send(io->io_arg, &msg);
}

/* Sends a level that is due. */
static void
look(struct ioapic *io, unsigned int pin)
{
	const uint64_t redir = io->io_redir[pin];

	if (io->io_lines >> pin & 1 && redir & REDIR_LEVEL &&
	    !(redir & (REDIR_MASKED | REDIR_REMOTE_IRR)))
		send(io, pin);
}

void
ioapic_reset(struct ioapic *io)
{
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++)
		io->io_redir[pin] = REDIR_MASKED;
	io->io_id = 0;
	io->io_index = 0;
}

void
ioapic_set_line(struct ioapic *io, unsigned int pin, bool high)
{
	const uint32_t bit = 1u << pin;
	const bool rises = high && !(io->io_lines & bit);

	io->io_lines = high ? io->io_lines | bit : io->io_lines & ~bit;
	if (io->io_redir[pin] & REDIR_LEVEL)
		look(io, pin);
	else if (rises && !(io->io_redir[pin] & REDIR_MASKED))
		send(io, pin);
}

void
ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		if (REDIR_VECTOR(io->io_redir[pin]) != vector || !(io->io_redir[pin] & REDIR_LEVEL))
			continue;
		io->io_redir[pin] &= ~REDIR_REMOTE_IRR;
		look(io, pin);
	}
}

int
ioapic_vector(const struct ioapic *io, unsigned int pin)
{
	return io->io_redir[pin] & REDIR_MASKED ? -1 : REDIR_VECTOR(io->io_redir[pin]);
}

/* ---- Registers ------------------------------------------------------------------------------- */

/*
 * To make a pin edge-triggered clears remote IRR: operating systems end an interrupt that way where
 * its local APIC is gone.
 */
static void
write_redir(struct ioapic *io, unsigned int pin, uint64_t value, uint64_t part)
{
	const uint64_t old = io->io_redir[pin];

	part &= REDIR_WRITABLE & ~REDIR_READ_ONLY;
	io->io_redir[pin] = (old & ~part) | (value & part);
	if (!(io->io_redir[pin] & REDIR_LEVEL))
		io->io_redir[pin] &= ~REDIR_REMOTE_IRR;
	look(io, pin);
}

uint32_t
ioapic_read(const struct ioapic *io, unsigned int offset)
{
	const unsigned int index = io->io_index;

	if (offset == REG_SELECT)
		return index;
	if (offset != REG_WINDOW)
		return 0;
	if (index == INDEX_ID || index == INDEX_ARBITRATION)
		return (uint32_t)io->io_id << 24;
	if (index == INDEX_VERSION)
		return VERSION;
	if (index >= INDEX_REDIR && index < INDEX_REDIR + 2 * IOAPIC_PINS)
		return (uint32_t)(io->io_redir[(index - INDEX_REDIR) / 2] >> (index % 2 * 32));
	return 0;
}

void
ioapic_write(struct ioapic *io, unsigned int offset, uint32_t value)
{
	const unsigned int index = io->io_index;

	if (offset == REG_SELECT)
		io->io_index = (uint8_t)value;
	else if (offset == REG_WINDOW && index == INDEX_ID)
		io->io_id = value >> 24 & 15;
	else if (offset == REG_WINDOW && index >= INDEX_REDIR &&
		 index < INDEX_REDIR + 2 * IOAPIC_PINS)
		write_redir(io, (index - INDEX_REDIR) / 2, (uint64_t)value << (index % 2 * 32),
			    0xffffffffull << (index % 2 * 32));
}
