/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The transmitter is always empty: a byte is gone when it was written. The interrupt's source is
 * what the data sheet's table gives the highest priority. Hooks are called under the lock, in the
 * order in which things happened; they do not call back.
 */

#include <string.h>

#include "uart.h"

enum { /* registers */
       REG_DATA,
       REG_IER,
       REG_IIR, /* FCR when written */
       REG_LCR,
       REG_MCR,
       REG_LSR,
       REG_MSR,
       REG_SCR,
};

#define IER_RX 0x01u
#define IER_THRE 0x02u
#define IER_LINE 0x04u
#define IER_MODEM 0x08u
#define IIR_NONE 0x01u
#define IIR_MODEM 0x00u
#define IIR_THRE 0x02u
#define IIR_RX 0x04u
#define IIR_LINE 0x06u
#define IIR_FIFO 0xc0u
#define FCR_ENABLE 0x01u
#define FCR_RESET_RX 0x02u
#define LCR_DLAB 0x80u
#define MCR_RTS_DTR 0x03u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define LSR_DATA 0x01u
#define LSR_OVERRUN 0x02u
#define LSR_EMPTY 0x60u /* holding register and shifter */
#define MSR_CTS_DSR_DCD 0xb0u

static uint8_t
modem_status(const struct uart *ua)
{
	const uint8_t m = ua->ua_mcr;

	if (!(m & MCR_LOOP))
		return MSR_CTS_DSR_DCD;
	/* RTS to CTS, DTR to DSR, OUT1 to RI, OUT2 to DCD */
	return (uint8_t)((m & 2) << 3 | (m & 1) << 5 | (m & 4) << 4 | (m & 8) << 4);
}

static uint8_t
source(const struct uart *ua)
{
	if (ua->ua_ier & IER_LINE && ua->ua_overrun)
		return IIR_LINE;
	if (ua->ua_ier & IER_RX && ua->ua_n > 0)
		return IIR_RX;
	if (ua->ua_ier & IER_THRE && ua->ua_thre_due)
		return IIR_THRE;
	if (ua->ua_ier & IER_MODEM && ua->ua_msr_delta)
		return IIR_MODEM;
	return IIR_NONE;
}

static void
update(struct uart *ua)
{
	const bool level = source(ua) != IIR_NONE;

	if (level != ua->ua_level) {
		ua->ua_level = level;
		ua->ua_irq(ua->ua_arg, level);
	}
}

static size_t
put(struct uart *ua, const uint8_t *bytes, size_t n)
{
	const size_t room = (ua->ua_fcr & FCR_ENABLE ? UART_FIFO : 1) - ua->ua_n;

	if (n > room)
		n = room;
	for (size_t i = 0; i < n; i++)
		ua->ua_fifo[(ua->ua_first + ua->ua_n++) % UART_FIFO] = bytes[i];
	return n;
}

static uint8_t
take(struct uart *ua)
{
	uint8_t byte;

	if (ua->ua_n == 0)
		return 0;
	byte = ua->ua_fifo[ua->ua_first];
	ua->ua_first = (ua->ua_first + 1) % UART_FIFO;
	ua->ua_n--;
	if (ua->ua_full) {
		ua->ua_full = false;
		if (ua->ua_room)
			ua->ua_room(ua->ua_arg);
	}
	return byte;
}

void
uart_init(struct uart *ua)
{
	pthread_mutex_init(&ua->ua_lock, NULL);
	ua->ua_dll = 1; /* 115200 */
}

static uint8_t
read_iir(struct uart *ua)
{
	const uint8_t is = source(ua);

	if (is == IIR_THRE)
		ua->ua_thre_due = false;
	return is | (ua->ua_fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t
read_lsr(struct uart *ua)
{
	const uint8_t status = (uint8_t)(LSR_EMPTY | (ua->ua_n ? LSR_DATA : 0) |
					 (ua->ua_overrun ? LSR_OVERRUN : 0));

	ua->ua_overrun = false;
	return status;
}

static uint8_t
read_msr(struct uart *ua)
{
	const uint8_t status = modem_status(ua) | ua->ua_msr_delta;

	ua->ua_msr_delta = 0;
	return status;
}

static uint8_t
read_locked(struct uart *ua, unsigned int reg)
{
	const bool dlab = ua->ua_lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		return dlab ? ua->ua_dll : take(ua);
	case REG_IER:
		return dlab ? ua->ua_dlh : ua->ua_ier;
	case REG_IIR:
		return read_iir(ua);
	case REG_LCR:
		return ua->ua_lcr;
	case REG_MCR:
		return ua->ua_mcr;
	case REG_LSR:
		return read_lsr(ua);
	case REG_MSR:
		return read_msr(ua);
	default:
		return ua->ua_scr;
	}
}

uint8_t
uart_read(struct uart *ua, unsigned int reg)
{
	uint8_t value;

	pthread_mutex_lock(&ua->ua_lock);
	value = read_locked(ua, reg);
	update(ua);
	pthread_mutex_unlock(&ua->ua_lock);
	return value;
}

static void
transmit(struct uart *ua, uint8_t byte)
{
	if (ua->ua_mcr & MCR_LOOP) {
		if (put(ua, &byte, 1) == 0)
			ua->ua_overrun = true;
	} else {
		ua->ua_out(ua->ua_arg, byte);
	}
	ua->ua_thre_due = true;
}

static void
write_mcr(struct uart *ua, uint8_t value)
{
	const uint8_t before = modem_status(ua);
	uint8_t now;

	ua->ua_mcr = value & 0x1f;
	now = modem_status(ua);
	/* DCTS, DDSR, TERI (only the trailing edge), DDCD */
	ua->ua_msr_delta |=
		(uint8_t)((before ^ now) >> 4 & 0x0b) | (uint8_t)((before & ~now) >> 4 & 0x04);
}

static void
write_fcr(struct uart *ua, uint8_t value)
{
	/* Turning the FIFO on or off empties it too. */
	if (value & FCR_RESET_RX || (value ^ ua->ua_fcr) & FCR_ENABLE)
		ua->ua_n = 0;
	ua->ua_fcr = value;
	if (ua->ua_full) {
		ua->ua_full = false;
		if (ua->ua_room)
			ua->ua_room(ua->ua_arg);
	}
}

static void
write_ier(struct uart *ua, uint8_t value)
{
	/* Whoever asks for it hears that the transmitter is empty at once. */
	if (value & ~ua->ua_ier & IER_THRE)
		ua->ua_thre_due = true;
	ua->ua_ier = value & 0x0f;
}

void
uart_write(struct uart *ua, unsigned int reg, uint8_t value)
{
	pthread_mutex_lock(&ua->ua_lock);
	if (ua->ua_lcr & LCR_DLAB && reg <= REG_IER) {
		*(reg == REG_DATA ? &ua->ua_dll : &ua->ua_dlh) = value;
	} else if (reg == REG_DATA) {
		transmit(ua, value);
	} else if (reg == REG_IER) {
		write_ier(ua, value);
	} else if (reg == REG_IIR) {
		write_fcr(ua, value);
	} else if (reg == REG_LCR) {
		ua->ua_lcr = value;
	} else if (reg == REG_MCR) {
		write_mcr(ua, value);
	} else if (reg == REG_SCR) {
		ua->ua_scr = value;
	}
	update(ua);
	pthread_mutex_unlock(&ua->ua_lock);
}

size_t
uart_receive(struct uart *ua, const uint8_t *bytes, size_t n)
{
	size_t taken = n;

	pthread_mutex_lock(&ua->ua_lock);
	if (!(ua->ua_mcr & MCR_LOOP)) {
		taken = put(ua, bytes, n);
		ua->ua_full = taken < n;
	}
	update(ua);
	pthread_mutex_unlock(&ua->ua_lock);
	return taken;
}
