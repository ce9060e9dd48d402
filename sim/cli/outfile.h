/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A file that appears whole or not at all: written beside its place, then renamed. What is not a
 * regular file (a terminal, a pipe) is written in place.
 */

#ifndef SIM_OUTFILE_H
#define SIM_OUTFILE_H

#include <stddef.h>
#include <stdio.h>

struct outfile {
	FILE *of_stream;
	char *of_path;
	char *of_temp; /* NULL: written in place */
};

/*
 * Opens path for writing. Returns 0 or a negative errno with one sentence in why. A file that is
 * already there keeps its content until outfile_commit().
 */
int outfile_open(struct outfile *of, const char *path, char *why, size_t why_bytes);

/* Completes the file. Returns 0 or a negative errno; *of is closed and the file unchanged then. */
int outfile_commit(struct outfile *of, char *why, size_t why_bytes);

/* Gives up. Does nothing for one that is zeroed, or closed already. */
void outfile_abort(struct outfile *of);

/* Whether outfile_open() would succeed now: 0 or a negative errno and a sentence. */
int outfile_probe(const char *path, char *why, size_t why_bytes);

#endif /* SIM_OUTFILE_H */
