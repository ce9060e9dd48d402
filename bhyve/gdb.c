/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The remote serial protocol, as much of it as gdb needs for a kernel: registers, memory,
 * breakpoints, steps, threads (vCPUs, numbered from 1). Source: Debugging with GDB, appendix E. One
 * gdb at a time; the guest is stopped while it is there and has not said "continue".
 */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gdb.h"

#define PACKET_MAX 8192u
#define MEMORY_MAX 2048u
#define REG_64 17u /* the first of gdb's order are 8 bytes wide, then come 4 */

static const enum vmm_reg order[] = {
	VMM_REG_RAX, VMM_REG_RBX, VMM_REG_RCX, VMM_REG_RDX, VMM_REG_RSI, VMM_REG_RDI,
	VMM_REG_RBP, VMM_REG_RSP, VMM_REG_R8,  VMM_REG_R9,  VMM_REG_R10, VMM_REG_R11,
	VMM_REG_R12, VMM_REG_R13, VMM_REG_R14, VMM_REG_R15, VMM_REG_RIP, VMM_REG_RFLAGS,
	VMM_REG_CS,  VMM_REG_SS,  VMM_REG_DS,  VMM_REG_ES,  VMM_REG_FS,	 VMM_REG_GS,
};
#define REGS (sizeof(order) / sizeof(order[0]))

static struct {
	struct machine *ma;
	pthread_t thread;
	int listen_fd, fd, event[2];
	bool up, quit, running;
	int cpu;
	char packet[PACKET_MAX];
	size_t n;
} s = {.listen_fd = -1, .fd = -1};

/* ---- Packets --------------------------------------------------------------------------------- */

static void
send_all(const char *bytes, size_t n)
{
	while (n > 0) {
		const ssize_t sent = send(s.fd, bytes, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return;
		bytes += sent;
		n -= (size_t)sent;
	}
}

static void
reply(const char *text)
{
	char frame[PACKET_MAX + 8];
	uint8_t sum = 0;
	int n;

	for (const char *c = text; *c != '\0'; c++)
		sum += (uint8_t)*c;
	n = snprintf(frame, sizeof(frame), "$%s#%02x", text, sum);
	send_all(frame, (size_t)n);
}

static void
answer(int error)
{
	reply(error ? "E01" : "OK");
}

static void
to_hex(char *to, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		snprintf(to + i * 2, 3, "%02x", ((const uint8_t *)from)[i]);
}

static size_t
from_hex(void *to, const char *from, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		unsigned int byte;

		if (sscanf(from + i * 2, "%2x", &byte) != 1)
			break;
		((uint8_t *)to)[i] = (uint8_t)byte;
	}
	return i;
}

/* ---- Registers and memory -------------------------------------------------------------------- */

static struct vcpu *
current(void)
{
	return s.ma->ma_cpus[s.cpu].mc_vcpu;
}

static void
get_registers(void)
{
	char text[REGS * 16 + 1], *at = text;
	uint64_t values[REGS];

	if (vm_get_register_set(current(), REGS, order, values)) {
		answer(-1);
		return;
	}
	for (unsigned int i = 0; i < REGS; i++) {
		const size_t bytes = i < REG_64 ? 8 : 4;

		to_hex(at, &values[i], bytes);
		at += bytes * 2;
	}
	reply(text);
}

static void
set_registers(const char *text)
{
	uint64_t values[REGS];

	if (vm_get_register_set(current(), REGS, order, values)) {
		answer(-1);
		return;
	}
	/* Selectors stay: gdb does not know what is behind them. */
	for (unsigned int i = 0; i <= REG_64; i++) {
		const size_t bytes = i < REG_64 ? 8 : 4;

		if (from_hex(&values[i], text, bytes) != bytes) {
			answer(-1);
			return;
		}
		text += bytes * 2;
	}
	answer(vm_set_register_set(current(), REG_64 + 1, order, values));
}

static void
set_register(const char *text)
{
	unsigned int number;
	uint64_t value = 0;
	int skip = 0;

	if (sscanf(text, "%x=%n", &number, &skip) != 1 || skip == 0 || number > REG_64 ||
	    from_hex(&value, text + skip, number < REG_64 ? 8 : 4) == 0)
		answer(-1);
	else
		answer(vm_set_register(current(), order[number], value));
}

static void
memory(const char *text, bool write)
{
	char hex[MEMORY_MAX * 2 + 1];
	uint8_t bytes[MEMORY_MAX];
	unsigned long long gla;
	unsigned int n;
	int skip = 0;
	size_t done;

	if (sscanf(text, "%llx,%x%n", &gla, &n, &skip) != 2 || n > MEMORY_MAX) {
		answer(-1);
		return;
	}
	if (write) {
		if (text[skip] != ':' || from_hex(bytes, text + skip + 1, n) != n)
			answer(-1);
		else
			answer(gdb_cpu_memory(s.cpu, gla, bytes, n, true) != n);
		return;
	}
	done = gdb_cpu_memory(s.cpu, gla, bytes, n, false);
	to_hex(hex, bytes, done);
	hex[done * 2] = '\0';
	reply(done || n == 0 ? hex : "E01");
}

static void
breakpoint(const char *text, bool on)
{
	unsigned long long gla;

	/* Software ones; for others gdb hears that there are none. */
	if (text[0] != '0')
		reply("");
	else if (sscanf(text + 1, ",%llx", &gla) != 1)
		answer(-1);
	else
		answer(gdb_cpu_break(s.cpu, gla, on));
}

/* ---- Questions ------------------------------------------------------------------------------- */

static void
tell_stop(void)
{
	char text[32];

	snprintf(text, sizeof(text), "T05thread:%x;", s.cpu + 1);
	reply(text);
}

static void
query(const char *text)
{
	char list[VMM_MAXCPU * 4 + 16] = "m";

	if (strncmp(text, "Supported", 9) == 0) {
		reply("PacketSize=1000");
	} else if (strcmp(text, "fThreadInfo") == 0) {
		for (unsigned int i = 0; i < s.ma->ma_ncpus; i++)
			snprintf(list + strlen(list), 12, "%s%x", i ? "," : "", i + 1);
		reply(list);
	} else if (strcmp(text, "sThreadInfo") == 0) {
		reply("l");
	} else if (strcmp(text, "C") == 0) {
		snprintf(list, sizeof(list), "QC%x", s.cpu + 1);
		reply(list);
	} else if (strcmp(text, "Attached") == 0) {
		reply("1");
	} else {
		reply("");
	}
}

/* 0 and -1 are "any". */
static bool
thread_number(const char *text, int *cpu)
{
	const long n = strtol(text, NULL, 16);

	if (n > (long)s.ma->ma_ncpus)
		return false;
	if (n > 0)
		*cpu = (int)n - 1;
	return true;
}

static void
go(bool step)
{
	if (step && gdb_cpu_step(s.cpu)) {
		answer(-1);
		return;
	}
	s.running = true;
	if (!step)
		gdb_cpu_go();
}

static void
leave(void)
{
	gdb_cpu_break_none();
	gdb_cpu_go();
	s.running = true;
	close(s.fd);
	s.fd = -1;
	s.n = 0;
}

static void
obey(const char *p)
{
	int ignored = 0;

	switch (p[0]) {
	case '?':
		tell_stop();
		break;
	case 'g':
		get_registers();
		break;
	case 'G':
		set_registers(p + 1);
		break;
	case 'P':
		set_register(p + 1);
		break;
	case 'm':
	case 'M':
		memory(p + 1, p[0] == 'M');
		break;
	case 'Z':
	case 'z':
		breakpoint(p + 1, p[0] == 'Z');
		break;
	case 'c':
	case 's':
		go(p[0] == 's');
		break;
	case 'H':
		answer(!thread_number(p + 2, p[1] == 'g' ? &s.cpu : &ignored));
		break;
	case 'T':
		answer(!thread_number(p + 1, &ignored));
		break;
	case 'q':
		query(p + 1);
		break;
	case 'D':
		answer(0);
		leave();
		break;
	case 'k':
		machine_end(s.ma, END_ERROR);
		leave();
		break;
	default:
		reply("");
		break;
	}
}

/* ---- The connection -------------------------------------------------------------------------- */

static void
stopped(void)
{
	gdb_cpu_stop_all();
	s.running = false;
}

/* Takes whole packets off the front of what came in. */
static void
parse(void)
{
	while (s.fd >= 0 && s.n > 0) {
		char *const end = memchr(s.packet, '#', s.n);
		size_t used = 1;

		if (s.packet[0] == 3 && s.running) {
			stopped();
			tell_stop();
		} else if (s.packet[0] == '$') {
			if (end == NULL || (size_t)(end - s.packet) + 3 > s.n)
				return;
			used = (size_t)(end - s.packet) + 3;
			*end = '\0';
			send_all("+", 1);
			obey(s.packet + 1);
		}
		if (s.fd >= 0) {
			s.n -= used;
			memmove(s.packet, s.packet + used, s.n);
		}
	}
}

static void
receive(void)
{
	const ssize_t n = recv(s.fd, s.packet + s.n, sizeof(s.packet) - s.n, 0);

	if (n <= 0) {
		leave();
		return;
	}
	s.n += (size_t)n;
	parse();
	if (s.n == sizeof(s.packet))
		leave();
}

static void *
serve(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&s.quit, __ATOMIC_ACQUIRE)) {
		struct pollfd fds[2] = {{.fd = s.event[0], .events = POLLIN},
					{.fd = s.fd >= 0 ? s.fd : s.listen_fd, .events = POLLIN}};
		char byte;

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[0].revents && read(s.event[0], &byte, 1) == 1 && byte == 's') {
			stopped();
			s.cpu = gdb_cpu_which();
			if (s.fd >= 0)
				tell_stop();
			else
				gdb_cpu_go();
		} else if (fds[1].revents && s.fd >= 0) {
			receive();
		} else if (fds[1].revents) {
			s.fd = accept4(s.listen_fd, NULL, NULL, SOCK_CLOEXEC);
			if (s.fd >= 0)
				stopped();
		}
	}
	return NULL;
}

static int
listen_at(const char *text)
{
	const char *const colon = strrchr(text, ':');
	struct sockaddr_in at = {.sin_family = AF_INET};
	const char *const port = colon ? colon + 1 : text;
	char host[64] = "127.0.0.1", *end;
	const unsigned long number = strtoul(port, &end, 10);
	const int one = 1;

	if (colon != NULL && colon != text)
		snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	if (end == port || *end != '\0' || number == 0 || number > 0xffff ||
	    inet_pton(AF_INET, host, &at.sin_addr) != 1) {
		complain("-G %s: it is [w][address:]port", text);
		return -1;
	}
	at.sin_port = htons((uint16_t)number);
	s.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s.listen_fd < 0 ||
	    setsockopt(s.listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    bind(s.listen_fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    listen(s.listen_fd, 1) != 0) {
		complain("-G %s: %s", text, strerror(errno));
		return -1;
	}
	return 0;
}

int
gdb_start(struct machine *ma, const char *conf)
{
	const bool wait = conf[0] == 'w';

	s.ma = ma;
	s.running = !wait;
	if (listen_at(conf + (wait ? 1 : 0)))
		return -1;
	if (pipe2(s.event, O_CLOEXEC) != 0 || gdb_cpu_init(ma, s.event[1], wait) ||
	    pthread_create(&s.thread, NULL, serve, NULL) != 0) {
		complain("-G: cannot begin to serve gdb");
		return -1;
	}
	s.up = true;
	return 0;
}

void
gdb_stop(void)
{
	if (!s.up)
		return;
	__atomic_store_n(&s.quit, true, __ATOMIC_RELEASE);
	if (write(s.event[1], "q", 1) == 1)
		pthread_join(s.thread, NULL);
	if (s.fd >= 0) {
		reply("W00");
		close(s.fd);
	}
	close(s.listen_fd);
	s.up = false;
}
