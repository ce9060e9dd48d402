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

static void
child(const char *tier, const char *const *args, int out)
{
	char name[32];
	const char *argv[8] = {name};

	snprintf(name, sizeof(name), "pmap-bench-%s", tier);
	for (unsigned int i = 0; args[i] != NULL && i < 6; i++)
		argv[i + 1] = args[i];
	dup2(out, STDOUT_FILENO);
	spawn_become(name, (char **)(uintptr_t)argv);
}

json_t *
spawn_worker(const char *tier, const char *const *args, int *code)
{
	json_error_t error;
	json_t *value;
	FILE *in;
	int fds[2];
	int status;
	pid_t pid;

	if (pipe(fds) != 0)
		front_fail(EX_OSERR, "no pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		front_fail(EX_OSERR, "no process: %s", strerror(errno));
	if (pid == 0) {
		close(fds[0]);
		child(tier, args, fds[1]);
	}
	close(fds[1]);
	in = fdopen(fds[0], "r");
	value = in != NULL ? json_loadf(in, 0, &error) : NULL;
	if (in != NULL)
		fclose(in);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	*code = WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
	if (WIFSIGNALED(status))
		front_say("%s: ended by signal %d", args[0], WTERMSIG(status));
	if (*code == 0 && value == NULL)
		*code = EX_SOFTWARE;
	if (*code != 0) {
		json_decref(value);
		value = NULL;
	}
	return value;
}
