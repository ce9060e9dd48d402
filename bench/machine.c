/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What a figure depends on beside the code: the machine, the compiler, and what else ran. A run is
 * called noisy when others used more than a twentieth of the CPUs, or the hypervisor kept more than
 * a hundredth for itself.
 */

#include "bench/front.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define NOISY_OTHERS 0.05
#define NOISY_STEAL 0.01

unsigned int
machine_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return 1;
	return (unsigned int)CPU_COUNT(&set);
}

/* The value behind "name" in a file of lines "name ... value"; false if there is none. */
static bool
line_of(const char *path, const char *name, char *value, size_t bytes)
{
	FILE *const in = fopen(path, "r");
	char line[512];
	bool found = false;

	if (in == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), in) != NULL) {
		if (strncmp(line, name, strlen(name)) == 0) {
			const char *const at =
				line + strlen(name) + strspn(line + strlen(name), "\t :");

			snprintf(value, bytes, "%s", at);
			value[strcspn(value, "\n")] = '\0';
			found = true;
		}
	}
	fclose(in);
	return found;
}

unsigned int
machine_free_mib(void)
{
	char text[64];

	if (!line_of("/proc/meminfo", "MemAvailable", text, sizeof(text)))
		return ~0u;
	return (unsigned int)(strtoull(text, NULL, 10) / 1024);
}

static void
set_line(json_t *out, const char *key, const char *path, const char *name)
{
	char text[256];

	if (line_of(path, name, text, sizeof(text)))
		json_object_set_new(out, key, json_string(text));
}

json_t *
machine_describe(void)
{
	json_t *const out = json_object();
	struct utsname name;

	set_line(out, "cpu", "/proc/cpuinfo", "model name");
	set_line(out, "cpu_family", "/proc/cpuinfo", "cpu family");
	set_line(out, "cpu_model", "/proc/cpuinfo", "model\t");
	set_line(out, "memory", "/proc/meminfo", "MemTotal");
	set_line(out, "huge_pages", "/sys/kernel/mm/transparent_hugepage/enabled", "");
	set_line(out, "governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "");
	json_object_set_new(out, "cpus", json_integer(machine_cpus()));
	if (uname(&name) == 0) {
		json_object_set_new(out, "kernel", json_string(name.release));
		json_object_set_new(out, "architecture", json_string(name.machine));
	}
	return out;
}

json_t *
machine_build(void)
{
	return json_pack("{s:s, s:s, s:s, s:s}", "version", BENCH_VERSION, "compiler", __VERSION__,
			 "flags_native", BENCH_FLAGS_NATIVE, "flags_kernel", BENCH_FLAGS_KERNEL);
}

/* ---- What else ran --------------------------------------------------------------------------- */

/* In seconds, all CPUs together. */
struct usage {
	double us_busy;
	double us_steal;
	double us_ours;
	double us_wall;
};

static struct usage at_start;

static double
seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void
read_usage(struct usage *u)
{
	uint64_t v[8] = {0};
	struct rusage self;
	struct rusage children;
	struct timespec now;
	const double hz = (double)sysconf(_SC_CLK_TCK);
	char line[256];

	*u = (struct usage){0};
	if (line_of("/proc/stat", "cpu ", line, sizeof(line)))
		sscanf(line,
		       "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		       " %" SCNu64 " %" SCNu64,
		       &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]);
	u->us_busy = (double)(v[0] + v[1] + v[2] + v[5] + v[6]) / hz;
	u->us_steal = (double)v[7] / hz;
	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	u->us_ours = seconds(self.ru_utime) + seconds(self.ru_stime) + seconds(children.ru_utime) +
		     seconds(children.ru_stime);
	clock_gettime(CLOCK_MONOTONIC, &now);
	u->us_wall = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void
machine_before(json_t *run)
{
	double load[3];
	char date[32];
	const time_t now = time(NULL);
	struct tm tm;

	read_usage(&at_start);
	if (getloadavg(load, 3) == 3)
		json_object_set_new(run, "load_before", json_real(load[0]));
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	json_object_set_new(run, "date", json_string(date));
	json_object_set_new(run, "pinned", json_true());
}

void
machine_after(json_t *run)
{
	struct usage end;
	double load[3];
	double all;
	double others;
	double steal;

	read_usage(&end);
	all = (end.us_wall - at_start.us_wall) * (double)sysconf(_SC_NPROCESSORS_ONLN);
	others = ((end.us_busy - at_start.us_busy) - (end.us_ours - at_start.us_ours)) / all;
	steal = (end.us_steal - at_start.us_steal) / all;
	others = others > 0 ? others : 0;
	if (getloadavg(load, 3) == 3)
		json_object_set_new(run, "load_after", json_real(load[0]));
	json_object_set_new(run, "seconds", json_real(end.us_wall - at_start.us_wall));
	json_object_set_new(run, "others", json_real(others));
	json_object_set_new(run, "steal", json_real(steal));
	json_object_set_new(run, "noisy",
			    json_boolean(others > NOISY_OTHERS || steal > NOISY_STEAL));
}
