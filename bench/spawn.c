/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Starting workers: they lie beside this program in a build, and under BENCH_LIBEXEC once
 * installed. A worker says what is wrong on standard error, which is ours.
 */

#include "bench/front.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

static void
path_of(const char *name, char *path, size_t bytes)
{
	char self[PATH_MAX];
	const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash != NULL)
			*slash = '\0';
		if (snprintf(path, bytes, "%s/%s", self, name) < (int)bytes &&
		    access(path, X_OK) == 0)
			return;
	}
	snprintf(path, bytes, "%s/%s", BENCH_LIBEXEC, name);
}

void
spawn_become(const char *name, char **argv)
{
	char path[PATH_MAX + 32];

	path_of(name, path, sizeof(path));
	execv(path, argv);
	front_fail(EX_TEMPFAIL, "%s: %s", path, strerror(errno));
}

/* Starts it; *in is what it prints. */
static pid_t
start(const char *program, const char *const *args, FILE **in)
{
	const char *argv[SPAWN_ARGS_MAX + 2] = {program};
	int fds[2];
	pid_t pid;

	for (unsigned int i = 0; args[i] != NULL && i < SPAWN_ARGS_MAX; i++)
		argv[i + 1] = args[i];
	if (pipe(fds) != 0)
		front_fail(EX_OSERR, "no pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		front_fail(EX_OSERR, "no process: %s", strerror(errno));
	if (pid == 0) {
		close(fds[0]);
		dup2(fds[1], STDOUT_FILENO);
		close(fds[1]);
		spawn_become(program, (char **)(uintptr_t)argv);
	}
	close(fds[1]);
	*in = fdopen(fds[0], "r");
	if (*in == NULL)
		front_fail(EX_OSERR, "no stream: %s", strerror(errno));
	return pid;
}

/* Waits for it; value unless it failed, then NULL. */
static json_t *
finish(const char *program, pid_t pid, json_t *value, int *code)
{
	int status;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	*code = WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
	if (WIFSIGNALED(status))
		front_say("%s: ended by signal %d", program, WTERMSIG(status));
	if (*code == 0 && value == NULL)
		*code = EX_SOFTWARE;
	if (*code != 0) {
		json_decref(value);
		value = NULL;
	}
	return value;
}

json_t *
spawn_json(const char *program, const char *const *args, int *code)
{
	json_error_t error;
	json_t *value;
	FILE *in;
	const pid_t pid = start(program, args, &in);

	value = json_loadf(in, 0, &error);
	fclose(in);
	return finish(program, pid, value, code);
}

json_t *
spawn_worker(const char *tier, const char *const *args, int *code)
{
	char name[32];

	snprintf(name, sizeof(name), "pmap-bench-%s", tier);
	return spawn_json(name, args, code);
}

json_t *
spawn_lines(const char *program, const char *const *args, int *code)
{
	json_t *const lines = json_array();
	char line[512];
	FILE *in;
	const pid_t pid = start(program, args, &in);

	while (fgets(line, sizeof(line), in) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		json_array_append_new(lines, json_string(line));
	}
	fclose(in);
	return finish(program, pid, lines, code);
}
