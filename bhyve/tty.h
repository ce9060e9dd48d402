/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The host's end of a console: standard input and output, a pty, a UNIX socket that one client at a
 * time may use, or a file that gets the output.
 */

#ifndef BHYVE_TTY_H
#define BHYVE_TTY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <termios.h>

enum tty_kind {
	TTY_STDIO,
	TTY_PTY,
	TTY_SOCKET,
	TTY_FILE,
};

struct tty {
	enum tty_kind ty_kind;
	int ty_in;     /* -1: nothing comes, or nobody is connected */
	int ty_out;    /* -1: output is lost */
	int ty_listen; /* -1, but for sockets */
	int ty_slave;  /* of a pty: kept open, so that a client may come and go */
	char ty_path[108];
	bool ty_raw; /* the terminal was made raw; ty_saved is how it was */
	struct termios ty_saved;
	char ty_why[200];
};

/* "stdio", "pty", "socket=PATH", "file=PATH". 0 or -errno and ty_why; then nothing is open. */
int tty_open(struct tty *tty, const char *word);
/* The terminal is as it was; the socket's name is gone. */
void tty_close(struct tty *tty);
/* Must output wait until ty_out takes it? If not, what it does not take is lost. */
bool tty_output_waits(const struct tty *tty);
/* What ty_out took of it, or -1; a client that is gone is no signal. */
ssize_t tty_write(const struct tty *tty, const void *bytes, size_t n);
/* Somebody knocks at ty_listen. */
void tty_accept(struct tty *tty);
/* The client is gone, or the input is at its end. */
void tty_hangup(struct tty *tty);

#endif /* BHYVE_TTY_H */
