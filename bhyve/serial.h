/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What is at the other end of a serial port: this terminal, a file, or a new pseudo-terminal.
 */

#ifndef BHYVE_SERIAL_H
#define BHYVE_SERIAL_H

#include <stddef.h>

struct vmctx;
struct serial;

/*
 * COMn (1 to 4) at "stdio", "pty" or a file's path, its ports registered. A file that is a terminal
 * is read as well, another one is written from its beginning. NULL with a sentence in why.
 */
struct serial *serial_open(struct vmctx *ctx, unsigned int n, const char *where, char *why,
			   size_t room);
/* Puts the terminal back as it was. */
void serial_close(struct serial *se);

#endif /* BHYVE_SERIAL_H */
