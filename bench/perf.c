/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * See perf.h. Only this thread, only in user mode: what an unprivileged process may always ask.
 */

#include "bench/perf.h"

#include <jansson.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
	const char *name;
	uint64_t config;
} events[] = {
	{"cycles", PERF_COUNT_HW_CPU_CYCLES},
	{"instructions", PERF_COUNT_HW_INSTRUCTIONS},
	{"cache_misses", PERF_COUNT_HW_CACHE_MISSES},
	{"branch_misses", PERF_COUNT_HW_BRANCH_MISSES},
};

#define EVENTS (sizeof(events) / sizeof(events[0]))

static int fds[EVENTS];
static bool opened;

bool
bench_perf_open(void)
{
	opened = false;
	for (unsigned int i = 0; i < EVENTS; i++) {
		struct perf_event_attr attr;

		memset(&attr, 0, sizeof(attr));
		attr.type = PERF_TYPE_HARDWARE;
		attr.size = sizeof(attr);
		attr.config = events[i].config;
		attr.disabled = 1;
		attr.exclude_kernel = 1;
		attr.exclude_hv = 1;
		fds[i] = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
		opened |= fds[i] >= 0;
	}
	return opened;
}

void
bench_perf_close(void)
{
	opened = false;
}

static void
all(unsigned long request)
{
	for (unsigned int i = 0; i < EVENTS && opened; i++) {
		if (fds[i] >= 0)
			(void)ioctl(fds[i], request, 0);
	}
}

void
bench_perf_start(void)
{
	all(PERF_EVENT_IOC_ENABLE);
}

void
bench_perf_stop(void)
{
	all(PERF_EVENT_IOC_DISABLE);
}

json_t *
bench_perf_json(double units)
{
	json_t *const out = json_object();

	for (unsigned int i = 0; i < EVENTS && opened; i++) {
		uint64_t count;

		if (fds[i] >= 0 && read(fds[i], &count, sizeof(count)) == sizeof(count))
			json_object_set_new(out, events[i].name, json_real((double)count / units));
	}
	return out;
}
