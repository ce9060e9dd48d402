/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Consoles' other ends (tty.h). */

#define _GNU_SOURCE /* accept4, posix_openpt */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tty.h"

static int tty_fail(struct tty *tty, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int
tty_fail(struct tty *tty, int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(tty->ty_why, sizeof(tty->ty_why), format, ap);
	va_end(ap);
	tty_close(tty);
	return error;
}

static int
open_stdio(struct tty *tty)
{
	struct termios raw;

	tty->ty_in = STDIN_FILENO;
	tty->ty_out = STDOUT_FILENO;
	if (tcgetattr(STDIN_FILENO, &tty->ty_saved) == 0) {
		raw = tty->ty_saved;
		cfmakeraw(&raw);
		raw.c_oflag = tty->ty_saved.c_oflag; /* others write to it too */
		if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0)
			tty->ty_raw = true;
	}
	return 0;
}

static int
open_pty(struct tty *tty)
{
	struct termios raw;
	char name[64];

	tty->ty_in = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (tty->ty_in == -1 || grantpt(tty->ty_in) != 0 || unlockpt(tty->ty_in) != 0 ||
	    ptsname_r(tty->ty_in, name, sizeof(name)) != 0)
		return tty_fail(tty, -errno, "pty: there is none: %s", strerror(errno));
	tty->ty_out = tty->ty_in;
	tty->ty_slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (tty->ty_slave == -1)
		return tty_fail(tty, -errno, "%s: cannot be opened: %s", name, strerror(errno));
	if (tcgetattr(tty->ty_slave, &raw) == 0) {
		cfmakeraw(&raw);
		tcsetattr(tty->ty_slave, TCSANOW, &raw);
	}
	fprintf(stderr, "bhyve: a console is at %s\n", name);
	return 0;
}

static int
open_socket(struct tty *tty, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	int error;

	if (strlen(path) >= sizeof(address.sun_path))
		return tty_fail(tty, -ENAMETOOLONG, "%s: too long for a socket's name", path);
	strcpy(address.sun_path, path);
	/* A socket that is left over from before is in the way; anything else is not ours. */
	if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
	tty->ty_listen = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (tty->ty_listen == -1 ||
	    bind(tty->ty_listen, (struct sockaddr *)&address, sizeof(address)) != 0) {
		error = -errno;
		return tty_fail(tty, error, "%s: no socket can be made: %s", path,
				strerror(-error));
	}
	strcpy(tty->ty_path, path);
	if (listen(tty->ty_listen, 1) != 0) {
		error = -errno;
		return tty_fail(tty, error, "%s: nobody can connect: %s", path, strerror(-error));
	}
	return 0;
}

static int
open_file(struct tty *tty, const char *path)
{
	int error;

	tty->ty_out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (tty->ty_out != -1)
		return 0;
	error = -errno;
	return tty_fail(tty, error, "%s: cannot be written: %s", path, strerror(-error));
}

int
tty_open(struct tty *tty, const char *word)
{
	memset(tty, 0, sizeof(*tty));
	tty->ty_in = tty->ty_out = tty->ty_listen = tty->ty_slave = -1;
	if (strcmp(word, "stdio") == 0) {
		tty->ty_kind = TTY_STDIO;
		return open_stdio(tty);
	}
	if (strcmp(word, "pty") == 0) {
		tty->ty_kind = TTY_PTY;
		return open_pty(tty);
	}
	if (strncmp(word, "socket=", 7) == 0) {
		tty->ty_kind = TTY_SOCKET;
		return open_socket(tty, word + 7);
	}
	if (strncmp(word, "file=", 5) == 0) {
		tty->ty_kind = TTY_FILE;
		return open_file(tty, word + 5);
	}
	return tty_fail(tty, -EINVAL, "'%s' is none of stdio, pty, socket=PATH, file=PATH", word);
}

void
tty_close(struct tty *tty)
{
	if (tty->ty_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &tty->ty_saved);
	tty->ty_raw = false;
	if (tty->ty_kind != TTY_STDIO) {
		if (tty->ty_in != -1)
			close(tty->ty_in);
		if (tty->ty_out != -1 && tty->ty_out != tty->ty_in)
			close(tty->ty_out);
	}
	if (tty->ty_listen != -1)
		close(tty->ty_listen);
	if (tty->ty_slave != -1)
		close(tty->ty_slave);
	if (tty->ty_path[0] != '\0')
		unlink(tty->ty_path);
	tty->ty_path[0] = '\0';
	tty->ty_in = tty->ty_out = tty->ty_listen = tty->ty_slave = -1;
}

bool
tty_output_waits(const struct tty *tty)
{
	return tty->ty_kind == TTY_STDIO || tty->ty_kind == TTY_FILE;
}

ssize_t
tty_write(const struct tty *tty, const void *bytes, size_t n)
{
	if (tty->ty_out == -1)
		return -1;
	if (tty->ty_kind == TTY_SOCKET)
		return send(tty->ty_out, bytes, n, MSG_NOSIGNAL);
	return write(tty->ty_out, bytes, n);
}

void
tty_accept(struct tty *tty)
{
	const int fd = accept4(tty->ty_listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	struct pollfd client = {.fd = tty->ty_in};

	if (fd == -1)
		return;
	/* One at a time; but one that has left may not have been noticed yet. */
	if (tty->ty_in != -1 && poll(&client, 1, 0) == 1 && (client.revents & POLLHUP) != 0)
		tty_hangup(tty);
	if (tty->ty_in != -1)
		close(fd);
	else
		tty->ty_in = tty->ty_out = fd;
}

void
tty_hangup(struct tty *tty)
{
	if (tty->ty_kind == TTY_SOCKET) {
		close(tty->ty_in);
		tty->ty_out = -1;
	}
	if (tty->ty_kind != TTY_PTY)
		tty->ty_in = -1;
}
