/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A 16550A serial port, as a state machine: bytes go out by a hook, come in by uart_receive(), and
 * the interrupt is a wire. Source: National Semiconductor, PC16550D data sheet.
 */

#ifndef BHYVE_UART_H
#define BHYVE_UART_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UART_PORTS 8
#define UART_FIFO 256 /* more than a 16550 has: what a guest pastes is not lost */

struct uart {
	pthread_mutex_t ua_lock;
	void (*ua_out)(void *arg, uint8_t byte);
	void (*ua_irq)(void *arg, bool level);
	/* There is room for input again, after uart_receive() took less than all. */
	void (*ua_room)(void *arg);
	void *ua_arg;
	uint8_t ua_ier, ua_lcr, ua_mcr, ua_scr, ua_dll, ua_dlh;
	uint8_t ua_fcr;
	uint8_t ua_msr_delta;
	bool ua_thre_due; /* the transmitter became empty, and nobody was told */
	bool ua_overrun;
	bool ua_level;
	bool ua_full; /* input was turned away */
	uint8_t ua_fifo[UART_FIFO];
	size_t ua_first, ua_n;
};

/* ua_out, ua_irq, ua_room (may be NULL) and ua_arg are set by the caller before. */
void uart_init(struct uart *ua);
uint8_t uart_read(struct uart *ua, unsigned int reg);
void uart_write(struct uart *ua, unsigned int reg, uint8_t value);
/* Takes as many of n bytes as there is room for, and says how many. */
size_t uart_receive(struct uart *ua, const uint8_t *bytes, size_t n);

#endif /* BHYVE_UART_H */
