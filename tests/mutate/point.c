/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Linked into every program that mutants are built into. The environment says which mutant this
 * process is (SKEP_MUTANT), and into which file it notes the points it came by (SKEP_REACHED). The
 * file is mapped, so that what a child of the process reached, or one that died, is noted too.
 */

#include "point.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int skep_mutant;
unsigned char *skep_reached;

static void __attribute__((constructor)) begin(void)
{
	const char *mutant = getenv("SKEP_MUTANT");
	const char *reached = getenv("SKEP_REACHED");
	struct stat st;
	int fd;

	if (mutant)
		skep_mutant = atoi(mutant);
	if (!reached)
		return;
	fd = open(reached, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0)
		abort();
	skep_reached = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (skep_reached == MAP_FAILED)
		abort();
	close(fd);
}
