/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * gdbcheck PORT: does to small-multiboot, by the protocol of gdb, what a debugger would: registers,
 * memory, steps, a breakpoint, and on to its end. Exit: 0, 1 something was not as it should be (in
 * a sentence), 77 there is no network to connect by.
 */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEPS_MAX 40
#define INST_MAX 15

static int fd;

static void
die(int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
	exit(code);
}

static char
byte(void)
{
	char c;

	if (read(fd, &c, 1) != 1)
		die(1, "bhyve hung up");
	return c;
}

static void
command(const char *text)
{
	uint8_t sum = 0;

	for (const char *c = text; *c != '\0'; c++)
		sum += (uint8_t)*c;
	dprintf(fd, "$%s#%02x", text, sum);
}

static void
receive(char *text, size_t room)
{
	size_t n = 0;
	char c;

	while (byte() != '$')
		;
	while ((c = byte()) != '#') {
		if (n + 1 < room)
			text[n++] = c;
	}
	text[n] = '\0';
	byte();
	byte();
}

static void
expect(const char *text, const char *begin)
{
	char got[256];

	command(text);
	receive(got, sizeof(got));
	if (strncmp(got, begin, strlen(begin)) != 0)
		die(1, "'%s' is answered by '%s', not '%s'", text, got, begin);
}

/* Number of gdb's order, 8 bytes each up to RIP. */
static uint64_t
reg(unsigned int number)
{
	char text[1024];
	uint64_t value = 0;

	command("g");
	receive(text, sizeof(text));
	for (unsigned int i = 0; i < 8; i++) {
		unsigned int part;

		if (sscanf(text + number * 16 + i * 2, "%2x", &part) != 1)
			die(1, "registers are '%s'", text);
		value |= (uint64_t)part << i * 8;
	}
	return value;
}
#define RDX 3
#define RSP 7
#define RIP 16

static uint32_t
word(uint64_t at)
{
	char text[64];
	uint32_t value = 0;

	snprintf(text, sizeof(text), "m%llx,4", (unsigned long long)at);
	command(text);
	receive(text, sizeof(text));
	if (strlen(text) != 8)
		die(1, "memory at 0x%llx is '%s'", (unsigned long long)at, text);
	for (unsigned int i = 0; i < 4; i++) {
		unsigned int part;

		sscanf(text + i * 2, "%2x", &part);
		value |= part << i * 8;
	}
	return value;
}

static void
reach(const char *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	inet_pton(AF_INET, "127.0.0.1", &at.sin_addr);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0)
		die(77, "no network: %s", strerror(errno));
	ioctl(fd, SIOCSIFFLAGS, &lo);
	for (int tries = 0; connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0; tries++) {
		if (tries == 300)
			die(1, "no connection: %s", strerror(errno));
		usleep(100000);
		close(fd);
		fd = socket(AF_INET, SOCK_STREAM, 0);
	}
}

int
main(int argc, char **argv)
{
	uint64_t before, rip;
	char text[64];
	unsigned int steps = 0;

	if (argc != 2)
		die(64, "usage: gdbcheck PORT");
	reach(argv[1]);
	expect("qSupported", "PacketSize");
	expect("?", "T05thread:1");
	rip = reg(RIP);
	if ((word(rip) & 0xffff) != 0x2ab2) /* mov $0x2a, %dl */
		die(1, "it begins with 0x%x at 0x%llx", word(rip), (unsigned long long)rip);
	expect("s", "T05thread:1");
	if (reg(RIP) != rip + 2 || (reg(RDX) & 0xff) != 0x2a)
		die(1, "a step leads to 0x%llx", (unsigned long long)reg(RIP));
	/* On, until it calls a function: branches that are not taken lie on the way. */
	do {
		before = reg(RIP);
		expect("s", "T05thread:1");
		rip = reg(RIP);
		if (++steps > STEPS_MAX)
			die(1, "%u steps lead nowhere", steps);
	} while (rip > before && rip - before <= INST_MAX);
	before = word(reg(RSP)); /* where it returns to */
	snprintf(text, sizeof(text), "Z0,%llx,1", (unsigned long long)before);
	expect(text, "OK");
	expect("c", "T05thread:1");
	rip = reg(RIP);
	if (rip != before)
		die(1, "the breakpoint at 0x%llx stops at 0x%llx", (unsigned long long)before,
		    (unsigned long long)rip);
	text[0] = 'z';
	expect(text, "OK");
	command("c");
	die(0, "%u steps, one breakpoint", steps + 1);
}
