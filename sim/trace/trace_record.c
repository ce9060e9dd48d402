/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Recording traces: a program runs under Valgrind's lackey, which writes a line of text for each
 * memory access into a pipe, where it becomes a trace. A second of a program's run is gigabytes of
 * such text; none of it is kept.
 */

#define _GNU_SOURCE /* F_SETPIPE_SZ */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/cli/outfile.h"
#include "sim/trace/trace.h"

#define LOG_FD 9
#define PIPE_BYTES (1 << 20)
#define LINE_MAX_BYTES 256
#define PROGRESS_CHUNKS 64

static int
say(int error, char *why, size_t why_bytes, const char *fmt, const char *arg)
{
	snprintf(why, why_bytes, fmt, arg);
	return error;
}

/*
 * Looks a program up as execvp() will, so that what cannot be started is said in a sentence of
 * ours, before a file is made. Returns 0, -ENOENT or -EACCES.
 */
static int
find_program(const char *name)
{
	const char *path = getenv("PATH");
	char candidate[4096];
	struct stat st;
	int error = -ENOENT;

	if (!*name)
		return -ENOENT;
	if (strchr(name, '/'))
		path = "";
	else if (!path)
		path = "/usr/bin:/bin";
	for (;;) {
		const size_t n = strcspn(path, ":");

		snprintf(candidate, sizeof(candidate), "%.*s%s%s", (int)n, path, n ? "/" : "",
			 name);
		if (stat(candidate, &st) == 0) {
			if (S_ISREG(st.st_mode) && access(candidate, X_OK) == 0)
				return 0;
			error = -EACCES;
		}
		if (!path[n])
			return error;
		path += n + 1;
	}
}

/* The command as one line, for the file. */
static char *
join_words(char *const *argv)
{
	size_t bytes = 1;
	char *line, *p;

	for (char *const *a = argv; *a; a++)
		bytes += strlen(*a) + 1;
	line = malloc(bytes);
	if (!line)
		return NULL;
	p = line;
	for (char *const *a = argv; *a; a++)
		p += sprintf(p, "%s%s", a == argv ? "" : " ", *a);
	return line;
}

static const char *
parse_hex(const char *p, const char *end, uint64_t *value)
{
	const char *const start = p;
	uint64_t v = 0;

	for (; p < end; p++) {
		if (*p >= '0' && *p <= '9')
			v = v << 4 | (uint64_t)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			v = v << 4 | (uint64_t)(*p - 'a' + 10);
		else
			break;
	}
	*value = v;
	return p > start && p - start <= 16 ? p : NULL;
}

/* "I  0401ab70,3", " L 1fff000708,8", " S ...", " M ..."; anything else is the tool talking. */
bool
trace_record_line(struct trace_writer *w, const char *line, size_t nbytes)
{
	const char *const end = line + nbytes;
	enum trace_kind kind;
	uint64_t va, size = 0;
	const char *p;

	if (nbytes < 6 || line[2] != ' ')
		return true;
	if (line[0] == 'I' && line[1] == ' ')
		kind = TRACE_FETCH;
	else if (line[0] == ' ' && line[1] == 'L')
		kind = TRACE_LOAD;
	else if (line[0] == ' ' && line[1] == 'S')
		kind = TRACE_STORE;
	else if (line[0] == ' ' && line[1] == 'M')
		kind = TRACE_MODIFY;
	else
		return true;
	p = parse_hex(line + 3, end, &va);
	if (!p || p == end || *p++ != ',')
		return true;
	for (; p < end && *p >= '0' && *p <= '9' && size < 100000; p++)
		size = 10 * size + (uint64_t)(*p - '0');
	if (p != end || size == 0)
		return true;
	return trace_writer_access(w, va, size, kind);
}

/* Converts lines until the writers of the pipe are gone. */
static int
convert(const struct trace_recording *r, int fd, struct trace_writer *w)
{
	static char buffer[1 << 16];
	size_t have = 0;
	unsigned int chunks = 0;

	for (;;) {
		const ssize_t n = read(fd, buffer + have, sizeof(buffer) - have);
		char *line = buffer;
		char *newline;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		have += (size_t)n;
		while ((newline = memchr(line, '\n', have))) {
			/* On an error the rest is read and dropped: the program runs to its end. */
			trace_record_line(w, line, (size_t)(newline - line));
			have -= (size_t)(newline + 1 - line);
			line = newline + 1;
		}
		if (have > LINE_MAX_BYTES)
			have = 0; /* no access has a line that long */
		memmove(buffer, line, have);
		if (r->tr_progress && ++chunks % PROGRESS_CHUNKS == 0)
			r->tr_progress(r->tr_arg, trace_writer_accesses(w));
	}
}

static _Noreturn void
exec_valgrind(const struct trace_recording *r, const char *valgrind, int pipe_fd)
{
	static const char *const options[] = {
		"--tool=lackey",     "--trace-mem=yes",
		"--basic-counts=no", "--child-silent-after-fork=yes",
		"--log-fd=9",	     "--",
	};
	const size_t noptions = sizeof(options) / sizeof(options[0]);
	size_t nwords = 0;
	const char **argv;

	while (r->tr_argv[nwords])
		nwords++;
	argv = calloc(1 + noptions + nwords + 1, sizeof(*argv));
	/* dup2() clears close-on-exec, except where it has nothing to do. */
	if (!argv || (pipe_fd == LOG_FD ? fcntl(LOG_FD, F_SETFD, 0) : dup2(pipe_fd, LOG_FD)) < 0)
		_exit(126);
	argv[0] = valgrind;
	memcpy(argv + 1, options, sizeof(options));
	memcpy(argv + 1 + noptions, r->tr_argv, nwords * sizeof(*argv));
	execvp(valgrind, (char *const *)argv);
	_exit(127);
}

/* Both programs must be there, and the file be possible, before anything is started. */
static int
check_first(const struct trace_recording *r, const char *valgrind, char *why, size_t why_bytes)
{
	const int error = find_program(r->tr_argv[0]);

	if (find_program(valgrind) != 0)
		return say(-ENOPKG, why, why_bytes,
			   "recording needs Valgrind, and there is no program '%s'; "
			   "install the package valgrind",
			   valgrind);
	if (error)
		return say(error, why, why_bytes,
			   error == -EACCES ? "'%s' is not a program that can be started"
					    : "there is no program '%s'",
			   r->tr_argv[0]);
	/* Not minutes later, when the program is through. */
	return outfile_probe(r->tr_path, why, why_bytes);
}

static int
run_and_convert(struct trace_recording *r, const char *valgrind, struct trace_writer *w, char *why,
		size_t why_bytes)
{
	int fds[2];
	int error;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return say(-errno, why, why_bytes, "cannot make a pipe: %s", strerror(errno));
	/* The usual 64 KiB mean many more switches of the two programs; failing is harmless. */
	(void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		exec_valgrind(r, valgrind, fds[1]);
	error = pid < 0 ? -errno : 0;
	close(fds[1]);
	if (!error)
		error = convert(r, fds[0], w);
	close(fds[0]);
	while (pid > 0 && waitpid(pid, &r->tr_status, 0) < 0 && errno == EINTR)
		;
	if (error)
		return say(error, why, why_bytes, "cannot run the program: %s", strerror(-error));
	return 0;
}

int
trace_record(struct trace_recording *r, char *why, size_t why_bytes)
{
	const char *valgrind = r->tr_valgrind ? r->tr_valgrind : "valgrind";
	struct trace_writer *w;
	char *words;
	int error;

	error = check_first(r, valgrind, why, why_bytes);
	if (error)
		return error;
	words = join_words(r->tr_argv);
	w = words ? trace_writer_new(r->tr_name ? r->tr_name : words, r->tr_window) : NULL;
	free(words);
	if (!w)
		return say(-ENOMEM, why, why_bytes, "%s", "out of memory");
	error = run_and_convert(r, valgrind, w, why, why_bytes);
	if (!error)
		error = trace_writer_finish(w, r->tr_path, &r->tr_info, why, why_bytes);
	trace_writer_free(w);
	return error;
}
