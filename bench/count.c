/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Where the counting host counts. Rows in the counting build let one thread run at a time, so none
 * of this needs to be atomic, and who wrote a line last is a question with one answer.
 */

#include "bench/bench.h"

/* Lines that were written, each with its last writer; a power of two, far more than are. */
#define LINES ((uint64_t)1 << 21)

#ifdef BENCH_COUNTING
static struct bench_events events;
static uint64_t lines[LINES]; /* line << 8 | writer + 1 */

static void
written(const volatile void *p)
{
	const uint64_t line = (uint64_t)(uintptr_t)p >> 6;
	const unsigned int writer = host_posix_self ? host_posix_self->pc_id + 1 : 255;
	uint64_t at = (line * 0x9e3779b97f4a7c15) >> 43;

	while (lines[at] != 0 && lines[at] >> 8 != line)
		at = (at + 1) % LINES;
	if (lines[at] != 0 && (lines[at] & 255) != writer)
		events.ev_shared++;
	lines[at] = line << 8 | writer;
}

void
bench_count_locked(const volatile void *p)
{
	events.ev_locked++;
	written(p);
}

void
bench_count_store(const volatile void *p)
{
	events.ev_stores++;
	written(p);
}

void
bench_count_fence(void)
{
	events.ev_fences++;
}

void
bench_events(struct bench_events *ev)
{
	*ev = events;
	events = (struct bench_events){0};
}
#else
void
bench_events(struct bench_events *ev)
{
	*ev = (struct bench_events){0};
}
#endif
