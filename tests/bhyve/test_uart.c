/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The serial port by its registers, as a driver sees it.
 */

#include <criterion/criterion.h>
#include <string.h>

#include "uart.h"

static struct uart ua;
static char sent[64];
static size_t nsent;
static int level, rooms;

static void
out(void *arg, uint8_t byte)
{
	(void)arg;
	sent[nsent++] = (char)byte;
}

static void
irq(void *arg, bool on)
{
	(void)arg;
	cr_assert_neq((int)on, level, "told of changes only");
	level = on;
}

static void
room(void *arg)
{
	(void)arg;
	rooms++;
}

static void
begin(void)
{
	ua = (struct uart){.ua_out = out, .ua_irq = irq, .ua_room = room};
	uart_init(&ua);
	memset(sent, 0, sizeof(sent));
	nsent = 0;
	level = rooms = 0;
}

TestSuite(uart, .init = begin);

Test(uart, transmits)
{
	cr_assert_eq(uart_read(&ua, 5), 0x60, "empty");
	uart_write(&ua, 0, 'h');
	uart_write(&ua, 0, 'i');
	cr_assert_str_eq(sent, "hi");
	cr_assert_eq(uart_read(&ua, 5), 0x60);
	cr_assert_eq(level, 0, "no interrupt that nobody asked for");
}

Test(uart, divisor_is_apart)
{
	uart_write(&ua, 3, 0x83);
	uart_write(&ua, 0, 0x0c);
	uart_write(&ua, 1, 0x01);
	cr_assert_eq(nsent, 0);
	cr_assert_eq(uart_read(&ua, 0), 0x0c);
	cr_assert_eq(uart_read(&ua, 1), 0x01);
	uart_write(&ua, 3, 0x03);
	cr_assert_eq(uart_read(&ua, 1), 0, "IER is as it was");
}

Test(uart, transmitter_interrupt)
{
	uart_write(&ua, 1, 0x02);
	cr_assert_eq(level, 1, "it is empty when one asks");
	cr_assert_eq(uart_read(&ua, 2), 0x02);
	cr_assert_eq(level, 0, "told once");
	cr_assert_eq(uart_read(&ua, 2), 0x01);
	uart_write(&ua, 0, 'x');
	cr_assert_eq(level, 1);
	uart_write(&ua, 1, 0);
	cr_assert_eq(level, 0);
}

Test(uart, receives)
{
	uart_write(&ua, 2, 0x01);
	cr_assert_eq(uart_receive(&ua, (const uint8_t *)"abc", 3), 3);
	cr_assert_eq(level, 0);
	uart_write(&ua, 1, 0x01);
	cr_assert_eq(level, 1);
	cr_assert_eq(uart_read(&ua, 2), 0xc4);
	cr_assert_eq(uart_read(&ua, 5), 0x61);
	cr_assert_eq(uart_read(&ua, 0), 'a');
	cr_assert_eq(uart_read(&ua, 0), 'b');
	cr_assert_eq(level, 1);
	cr_assert_eq(uart_read(&ua, 0), 'c');
	cr_assert_eq(level, 0);
	cr_assert_eq(uart_read(&ua, 5), 0x60);
	cr_assert_eq(rooms, 0);
}

/* Input that does not fit is turned away, and asked for when there is room. */
Test(uart, turns_away)
{
	static uint8_t many[UART_FIFO + 10];

	cr_assert_eq(uart_receive(&ua, many, 2), 1, "without FIFO, one");
	uart_read(&ua, 0);
	cr_assert_eq(rooms, 1);
	uart_write(&ua, 2, 0x01);
	cr_assert_eq(uart_receive(&ua, many, sizeof(many)), UART_FIFO);
	uart_read(&ua, 0);
	uart_read(&ua, 0);
	cr_assert_eq(rooms, 2, "asked once");
	uart_write(&ua, 2, 0x03);
	cr_assert_eq(uart_read(&ua, 5), 0x60, "emptied");
}

Test(uart, loops_back)
{
	uart_write(&ua, 2, 0x01);
	uart_write(&ua, 4, 0x1a);
	cr_assert_eq(uart_read(&ua, 6) & 0xf0, 0x90, "RTS is CTS, OUT2 is DCD");
	uart_write(&ua, 0, 'q');
	cr_assert_eq(nsent, 0);
	cr_assert_eq(uart_read(&ua, 0), 'q');
	uart_write(&ua, 4, 0x0b);
	cr_assert_eq(uart_read(&ua, 6) & 0xf0, 0xb0);
	uart_write(&ua, 7, 0x5a);
	cr_assert_eq(uart_read(&ua, 7), 0x5a);
}
