/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Output files that appear whole or not at all. */

#define _GNU_SOURCE /* asprintf() */

#include "sim/cli/outfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
fail(struct outfile *of, int error, const char *path, char *why, size_t why_bytes)
{
	snprintf(why, why_bytes, "cannot write %s: %s", path, strerror(error));
	outfile_abort(of);
	return -error;
}

/* A name beside path, so that the rename stays within one file system. */
static int
open_temp(struct outfile *of)
{
	mode_t mask;
	int fd;

	if (asprintf(&of->of_temp, "%s.XXXXXX", of->of_path) < 0) {
		of->of_temp = NULL;
		return -ENOMEM;
	}
	fd = mkstemp(of->of_temp);
	if (fd < 0) {
		const int error = errno;

		free(of->of_temp);
		of->of_temp = NULL;
		return -error;
	}
	/* mkstemp() makes it private; give it the mode that open() would have. */
	mask = umask(0);
	umask(mask);
	if (fchmod(fd, 0666 & ~mask) != 0 || !(of->of_stream = fdopen(fd, "w"))) {
		const int error = errno;

		close(fd);
		return -error;
	}
	return 0;
}

int
outfile_open(struct outfile *of, const char *path, char *why, size_t why_bytes)
{
	struct stat st;
	int error;

	memset(of, 0, sizeof(*of));
	of->of_path = strdup(path);
	if (!of->of_path)
		return fail(of, ENOMEM, path, why, why_bytes);
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		of->of_stream = fopen(path, "w");
		error = of->of_stream ? 0 : -errno;
	} else {
		error = open_temp(of);
	}
	return error ? fail(of, -error, path, why, why_bytes) : 0;
}

int
outfile_commit(struct outfile *of, char *why, size_t why_bytes)
{
	const int failed = ferror(of->of_stream);
	int error = 0;

	if (fclose(of->of_stream) != 0)
		error = errno;
	else if (failed)
		error = EIO;
	of->of_stream = NULL;
	if (!error && of->of_temp && rename(of->of_temp, of->of_path) != 0)
		error = errno;
	if (error) {
		snprintf(why, why_bytes, "cannot write %s: %s", of->of_path, strerror(error));
	} else {
		free(of->of_temp);
		of->of_temp = NULL;
	}
	outfile_abort(of);
	return -error;
}

void
outfile_abort(struct outfile *of)
{
	if (of->of_stream)
		fclose(of->of_stream);
	if (of->of_temp)
		unlink(of->of_temp);
	free(of->of_temp);
	free(of->of_path);
	memset(of, 0, sizeof(*of));
}

int
outfile_probe(const char *path, char *why, size_t why_bytes)
{
	struct outfile of;
	struct stat st;
	int error;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return 0; /* opening a pipe would wait for its reader */
	error = outfile_open(&of, path, why, why_bytes);
	if (!error)
		outfile_abort(&of);
	return error;
}
