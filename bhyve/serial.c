/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Output goes out byte by byte, as the guest sends it. Input is read by the thread of mevent.c, and
 * no faster than the guest takes it: what did not fit is kept, and nothing more is read until the
 * guest has made room, which it says through an eventfd, since it says so under the port's lock.
 *
 * The terminal is raw while a guest has it: keys that make signals are the guest's. However the
 * process ends, short of SIGKILL, the terminal is put back: serial_close() and an atexit handler.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include "inout.h"
#include "libvmm/libvmm.h"
#include "mevent.h"
#include "serial.h"
#include "uart.h"

static const struct {
	uint16_t port;
	unsigned int irq;
} coms[] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};

struct serial {
	struct uart se_uart;
	struct vmctx *se_ctx;
	unsigned int se_com;
	int se_in, se_out; /* -1: nothing comes in */
	int se_wake;
	int se_slave; /* of a pty: kept open, so that users may come and go */
	bool se_close;
	bool se_registered;
	struct mevent *se_reading, *se_waking;
	uint8_t se_buf[64];
	size_t se_at, se_n;
	struct termios se_before;
	int se_raw_fd; /* whose mode to put back; -1: none */
};

/* The one that has this process's terminal. */
static struct serial *on_terminal;

static void
restore(struct serial *se)
{
	if (se->se_raw_fd >= 0)
		tcsetattr(se->se_raw_fd, TCSANOW, &se->se_before);
	se->se_raw_fd = -1;
}

static void
restore_at_exit(void)
{
	if (on_terminal != NULL)
		restore(on_terminal);
}

static void
make_raw(struct serial *se, int fd)
{
	struct termios raw;

	if (tcgetattr(fd, &se->se_before) != 0)
		return;
	raw = se->se_before;
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSANOW, &raw) == 0)
		se->se_raw_fd = fd;
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

static void
out(void *arg, uint8_t byte)
{
	struct serial *const se = arg;

	/* Nobody reads any more: then nobody misses it. */
	while (write(se->se_out, &byte, 1) < 0 && errno == EINTR)
		;
}

static void
irq(void *arg, bool level)
{
	struct serial *const se = arg;

	vm_irq_line(se->se_ctx, coms[se->se_com].irq, level ? VMM_IRQ_HIGH : VMM_IRQ_LOW);
}

static void
has_room(void *arg)
{
	struct serial *const se = arg;
	const uint64_t one = 1;

	while (write(se->se_wake, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void incoming(int fd, uint32_t events, void *arg);

static void
hand_over(struct serial *se)
{
	se->se_at += uart_receive(&se->se_uart, se->se_buf + se->se_at, se->se_n - se->se_at);
	if (se->se_at < se->se_n && se->se_reading != NULL) {
		mevent_del(se->se_reading);
		se->se_reading = NULL;
	} else if (se->se_at == se->se_n && se->se_reading == NULL && se->se_in >= 0) {
		se->se_reading = mevent_add_fd(se->se_in, EPOLLIN, incoming, se);
	}
}

static void
incoming(int fd, uint32_t events, void *arg)
{
	struct serial *const se = arg;
	const ssize_t n = read(fd, se->se_buf, sizeof(se->se_buf));

	(void)events;
	if (n > 0) {
		se->se_at = 0;
		se->se_n = (size_t)n;
		hand_over(se);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		mevent_del(se->se_reading);
		se->se_reading = NULL;
		se->se_in = -1;
	}
}

static void
woken(int fd, uint32_t events, void *arg)
{
	uint64_t count;

	(void)events;
	if (read(fd, &count, sizeof(count)) == sizeof(count))
		hand_over(arg);
}

static int
port_handler(struct vcpu *vcpu, uint16_t port, unsigned int bytes, bool write, uint32_t *value,
	     void *arg)
{
	struct serial *const se = arg;
	const unsigned int reg = port - coms[se->se_com].port;

	(void)vcpu;
	/* The port is a byte wide; what is wider reaches its neighbors. */
	if (!write)
		*value = 0;
	for (unsigned int i = 0; i < bytes && reg + i < UART_PORTS; i++) {
		if (write)
			uart_write(&se->se_uart, reg + i, (uint8_t)(*value >> i * 8));
		else
			*value |= (uint32_t)uart_read(&se->se_uart, reg + i) << i * 8;
	}
	return 0;
}

/* ---- Ends ------------------------------------------------------------------------------------ */

static int
open_stdio(struct serial *se, char *why, size_t room)
{
	if (on_terminal != NULL) {
		snprintf(why, room, "stdio is another port's already");
		return -EBUSY;
	}
	on_terminal = se;
	atexit(restore_at_exit);
	se->se_in = STDIN_FILENO;
	se->se_out = STDOUT_FILENO;
	if (isatty(STDIN_FILENO))
		make_raw(se, STDIN_FILENO);
	return 0;
}

static int
open_pty(struct serial *se, char *why, size_t room)
{
	struct termios raw;
	char name[128];
	int master;

	if (openpty(&master, &se->se_slave, NULL, NULL, NULL) != 0 ||
	    ttyname_r(se->se_slave, name, sizeof(name)) != 0) {
		snprintf(why, room, "no pseudo-terminal: %s", strerror(errno));
		return -errno;
	}
	if (tcgetattr(se->se_slave, &raw) == 0) {
		cfmakeraw(&raw);
		tcsetattr(se->se_slave, TCSANOW, &raw);
	}
	/* What nobody reads is lost: a guest must not hang by it. */
	fcntl(master, F_SETFL, O_NONBLOCK);
	fcntl(master, F_SETFD, FD_CLOEXEC);
	fcntl(se->se_slave, F_SETFD, FD_CLOEXEC);
	se->se_in = se->se_out = master;
	se->se_close = true;
	fprintf(stderr, "bhyve: com%u is %s\r\n", se->se_com + 1, name);
	return 0;
}

static int
open_file(struct serial *se, const char *path, char *why, size_t room)
{
	int fd = open(path, O_RDWR | O_CREAT | O_NOCTTY | O_CLOEXEC, 0666);

	if (fd < 0) {
		snprintf(why, room, "cannot open %s: %s", path, strerror(errno));
		return -errno;
	}
	if (isatty(fd)) {
		make_raw(se, fd);
		se->se_in = fd;
	} else if (ftruncate(fd, 0) != 0 && errno != EINVAL) {
		snprintf(why, room, "cannot write %s: %s", path, strerror(errno));
		close(fd);
		return -EIO;
	}
	se->se_out = fd;
	se->se_close = true;
	return 0;
}

static int
begin(struct serial *se, char *why, size_t room)
{
	se->se_uart.ua_out = out;
	se->se_uart.ua_irq = irq;
	se->se_uart.ua_room = has_room;
	se->se_uart.ua_arg = se;
	uart_init(&se->se_uart);
	se->se_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (se->se_wake < 0 ||
	    (se->se_waking = mevent_add_fd(se->se_wake, EPOLLIN, woken, se)) == NULL) {
		snprintf(why, room, "%s", strerror(errno));
		return -errno;
	}
	/* A file (or /dev/null) cannot be waited for: nothing comes in. */
	if (se->se_in >= 0)
		se->se_reading = mevent_add_fd(se->se_in, EPOLLIN, incoming, se);
	if (se->se_reading == NULL)
		se->se_in = -1;
	if (inout_register(coms[se->se_com].port, UART_PORTS, port_handler, se)) {
		snprintf(why, room, "its ports are taken");
		return -EEXIST;
	}
	se->se_registered = true;
	return 0;
}

struct serial *
serial_open(struct vmctx *ctx, unsigned int n, const char *where, char *why, size_t room)
{
	struct serial *const se = calloc(1, sizeof(*se));
	int error;

	if (se == NULL) {
		snprintf(why, room, "out of memory");
		return NULL;
	}
	se->se_ctx = ctx;
	se->se_com = n - 1;
	se->se_in = se->se_out = se->se_wake = se->se_slave = se->se_raw_fd = -1;
	if (strcmp(where, "stdio") == 0)
		error = open_stdio(se, why, room);
	else if (strcmp(where, "pty") == 0)
		error = open_pty(se, why, room);
	else
		error = open_file(se, where, why, room);
	if (error == 0)
		error = begin(se, why, room);
	if (error) {
		serial_close(se);
		return NULL;
	}
	return se;
}

void
serial_close(struct serial *se)
{
	if (se == NULL)
		return;
	if (se->se_registered)
		inout_unregister(coms[se->se_com].port, UART_PORTS);
	if (se->se_waking != NULL)
		mevent_del(se->se_waking);
	if (se->se_reading != NULL)
		mevent_del(se->se_reading);
	restore(se);
	if (on_terminal == se)
		on_terminal = NULL;
	if (se->se_close)
		close(se->se_out);
	if (se->se_slave >= 0)
		close(se->se_slave);
	if (se->se_wake >= 0)
		close(se->se_wake);
	free(se);
}
