/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Running cases, and what they ask of the system they run on. See harness.h.
 *
 * A case that hangs is ended from outside, by its parent. If the kernel does not let it go, that is
 * told, and the program goes on without having waited for it.
 */

#define _GNU_SOURCE /* sched_setaffinity, pipe2 */

#include "harness.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_PASS 0
#define EXIT_FAIL 1
#define EXIT_NOT_APPLICABLE 77 /* as Automake and Meson have it */

#define SECONDS_DEFAULT 120
#define SECONDS_TO_DIE 20
#define SECONDS_TO_FREE 10

static const char *case_name = "";
static pthread_mutex_t verdict_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- Verdicts, in the case's process --------------------------------------------------------- */

/* Only the first one of all threads is told: the lock is never given back. */
static _Noreturn void
verdict(const char *word, const char *where, const char *format, va_list args, int code)
{
	pthread_mutex_lock(&verdict_lock);
	printf("%s %s: %s", word, case_name, where);
	vprintf(format, args);
	printf("\n");
	fflush(stdout);
	_exit(code);
}

void
kt_fail(const char *file, int line, const char *format, ...)
{
	const char *base = strrchr(file, '/');
	char where[64];
	va_list args;

	snprintf(where, sizeof(where), "%s:%d: ", base ? base + 1 : file, line);
	va_start(args, format);
	verdict("fail", where, format, args, EXIT_FAIL);
}

void
kt_not_applicable(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	verdict("n/a", "", format, args, EXIT_NOT_APPLICABLE);
}

void
kt_note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("# %s: ", case_name);
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

void
kt_eq(const char *file, int line, const char *a_text, uint64_t a, const char *b_text, uint64_t b)
{
	if (a != b)
		kt_fail(file, line, "%s is 0x%llx, and %s is 0x%llx", a_text, (unsigned long long)a,
			b_text, (unsigned long long)b);
}

void
kt_result(const char *file, int line, const char *text, int result, int expected)
{
	if (result != expected)
		kt_fail(file, line, "%s: %s; expected: %s", text,
			result ? strerror(-result) : "success",
			expected ? strerror(-expected) : "success");
}

/* ---- The system ------------------------------------------------------------------------------ */

uint64_t
kt_now_ms(void)
{
	return kt_now_ns() / 1000000;
}

uint64_t
kt_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void
kt_sleep_us(unsigned int us)
{
	const struct timespec time = {us / 1000000, us % 1000000 * 1000l};

	nanosleep(&time, NULL);
}

void
kt_sleep_ms(unsigned int ms)
{
	kt_sleep_us(ms * 1000);
}

void
kt_run_on_cpu(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	KT_CHECK(sched_setaffinity(0, sizeof(set), &set) == 0, "cannot run on CPU %u: %s", cpu,
		 strerror(errno));
}

int64_t
kt_number_in(const char *path, const char *key)
{
	char text[8192];
	char *at;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		return -1;
	text[n] = '\0';
	at = strstr(text, key);
	if (!at)
		return -1;
	at += strlen(key);
	at += strcspn(at, "0123456789");
	return *at ? (int64_t)strtoull(at, NULL, 10) : -1;
}

static int
sysctl_path(char *path, size_t bytes, const char *name)
{
	return snprintf(path, bytes, "/proc/sys/hw/vmm/%s", name);
}

uint64_t
kt_sysctl(const char *name)
{
	char path[128], text[64];
	ssize_t n;
	int fd;

	sysctl_path(path, sizeof(path), name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	KT_CHECK(fd >= 0, "%s: %s", path, strerror(errno));
	n = read(fd, text, sizeof(text) - 1);
	KT_CHECK(n > 0, "%s: cannot be read: %s", path, strerror(errno));
	close(fd);
	text[n] = '\0';
	return strtoull(text, NULL, 0);
}

int
kt_sysctl_write(const char *name, const char *text)
{
	char path[128];
	int fd, error = 0;

	sysctl_path(path, sizeof(path), name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		error = -errno;
	close(fd);
	return error;
}

/* pmap_flags of a machine, as hw.vmm.{ept,npt}.pmap_flags tells them. */
#define FLAG_SUPERPAGE (1u << 8)
#define FLAG_EMULATE_AD (1u << 9)
#define FLAG_EXEC_ONLY (1u << 10)

const struct kt_platform *
kt_platform(void)
{
	static struct kt_platform platform;
	struct vmm_version version;

	if (platform.kind)
		return &platform;
	memset(&version, 0, sizeof(version));
	KT_OK(kt_ctl(VMMCTL_VERSION, &version));
	KT_EQ(version.abi, VMM_ABI_VERSION);
	platform.hardware_ad = !(version.pmap_flags & FLAG_EMULATE_AD);
	platform.superpages = version.pmap_flags & FLAG_SUPERPAGE;
	platform.exec_only = version.pmap_flags & FLAG_EXEC_ONLY;
	platform.maxcpu = version.maxcpu;
	platform.cpus = (unsigned int)sysconf(_SC_NPROCESSORS_ONLN);
	platform.kind = version.cpu_kind;
	return &platform;
}

/* ---- Running cases --------------------------------------------------------------------------- */

static _Noreturn void
in_child(const struct kt_case *c)
{
	extern void kt_finish_all(void);

	c->run();
	kt_finish_all();
	fflush(stdout);
	_exit(EXIT_PASS);
}

/* The child's status, or -1 if it did not end in time. */
static int
wait_bounded(pid_t pid, unsigned int seconds)
{
	const uint64_t end = kt_now_ms() + seconds * 1000ull;
	int status;

	for (;;) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		if (kt_now_ms() > end)
			return -1;
		kt_sleep_ms(2);
	}
}

/* mem_free, read without failing; 0 if there is none. */
static uint64_t
mem_free_now(void)
{
	const int64_t bytes = kt_number_in("/proc/sys/hw/vmm/mem_free", "");

	return bytes < 0 ? 0 : (uint64_t)bytes;
}

/* What was deferred is freed a little later. */
static bool
memory_is_back(uint64_t before)
{
	const uint64_t end = kt_now_ms() + SECONDS_TO_FREE * 1000;

	while (mem_free_now() != before && kt_now_ms() < end)
		kt_sleep_ms(10);
	return mem_free_now() == before;
}

/* Whether it did not fail. */
static bool
run_case(const struct kt_case *c)
{
	const unsigned int seconds = c->seconds ? c->seconds : SECONDS_DEFAULT;
	const uint64_t before = mem_free_now();
	int status;
	pid_t pid;

	case_name = c->name;
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		in_child(c);
	if (pid < 0) {
		printf("fail %s: fork: %s\n", c->name, strerror(errno));
		return false;
	}
	status = wait_bounded(pid, seconds);
	if (status == -1) {
		kill(pid, SIGKILL);
		printf("fail %s: no end after %u s%s\n", c->name, seconds,
		       wait_bounded(pid, SECONDS_TO_DIE) == -1 ? ", and it cannot be killed" : "");
		return false;
	}
	if (WIFSIGNALED(status)) {
		printf("fail %s: ended by signal %d\n", c->name, WTERMSIG(status));
		return false;
	}
	if (WEXITSTATUS(status) == EXIT_NOT_APPLICABLE)
		return true;
	if (WEXITSTATUS(status) != EXIT_PASS)
		return false;
	if (!memory_is_back(before)) {
		printf("fail %s: hw.vmm.mem_free was %llu and is %llu\n", c->name,
		       (unsigned long long)before, (unsigned long long)mem_free_now());
		return false;
	}
	printf("pass %s\n", c->name);
	return true;
}

static const struct kt_case *
find_case(const struct kt_case *cases, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(cases[i].name, name) == 0)
			return &cases[i];
	return NULL;
}

void
kt_main(int argc, char **argv, const struct kt_case *cases, size_t count)
{
	bool ok = true;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (size_t i = 0; i < count; i++)
			printf("%s\n", cases[i].name);
		exit(0);
	}
	for (int i = 1; i < argc; i++)
		if (!find_case(cases, count, argv[i])) {
			fprintf(stderr, "no case %s; --list tells them\n", argv[i]);
			exit(64);
		}
	if (argc > 1)
		for (int i = 1; i < argc; i++)
			ok &= run_case(find_case(cases, count, argv[i]));
	else
		for (size_t i = 0; i < count; i++)
			ok &= run_case(&cases[i]);
	exit(ok ? EXIT_PASS : EXIT_FAIL);
}
