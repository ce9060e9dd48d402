/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Where lines are: a directory of owners and sharers, in the manner of MESI.
 *
 * A line belongs to one CPU, which may write it, or is shared. A read by a CPU that has no copy
 * fetches it from its last owner; a write takes it from everybody, which lasts as long as the
 * furthest of them. Requests for a line stand in a queue: each finds it busy until the one before
 * is served. Caches are as large as needed; what is not shared costs nothing here.
 */

#include "bench/cost/cost.h"

#include <stdlib.h>
#include <string.h>

#include "pmap/host.h"

#define LINE_SHIFT 6
#define WORDS ((HOST_MAX_CPUS + 63) / 64)
#define FIRST_SLOTS 4096

struct line {
	uint64_t li_number; /* address >> 6; 0: free */
	uint64_t li_busy;   /* until then */
	unsigned int li_owner;
	bool li_shared; /* others than the owner have it */
	uint64_t li_sharers[WORDS];
};

static struct line *table;
static size_t slots;
static size_t used;
static const struct cost_model *model;
static struct cost_totals *totals;

bool
cost_lines_begin(const struct cost_model *m, struct cost_totals *t)
{
	model = m;
	totals = t;
	slots = FIRST_SLOTS;
	used = 0;
	table = calloc(slots, sizeof(*table));
	return table != NULL;
}

void
cost_lines_end(void)
{
	free(table);
	table = NULL;
}

static struct line *
slot_for(struct line *in, size_t n, uint64_t number)
{
	size_t i = number * UINT64_C(0x9e3779b97f4a7c15) >> 20 & (n - 1);

	while (in[i].li_number != 0 && in[i].li_number != number)
		i = (i + 1) & (n - 1);
	return &in[i];
}

static void
grow(void)
{
	struct line *const wider = calloc(slots * 2, sizeof(*wider));

	HOST_ASSERT(wider != NULL);
	for (size_t i = 0; i < slots; i++)
		if (table[i].li_number != 0)
			*slot_for(wider, slots * 2, table[i].li_number) = table[i];
	free(table);
	table = wider;
	slots *= 2;
}

/* A line that nobody has used yet is its first user's. */
static struct line *
find(unsigned int cpu, const void *addr)
{
	const uint64_t number = (uint64_t)(uintptr_t)addr >> LINE_SHIFT;
	struct line *l = slot_for(table, slots, number);

	if (l->li_number != 0)
		return l;
	if (++used * 2 > slots) {
		grow();
		l = slot_for(table, slots, number);
	}
	l->li_number = number;
	l->li_owner = cpu;
	return l;
}

static unsigned int
distance(unsigned int a, unsigned int b)
{
	if (a / model->cm_value[COST_CLUSTER] == b / model->cm_value[COST_CLUSTER])
		return model->cm_value[COST_LINE_NEAR];
	if (a / model->cm_value[COST_SOCKET] == b / model->cm_value[COST_SOCKET])
		return model->cm_value[COST_LINE_SOCKET];
	return model->cm_value[COST_LINE_REMOTE];
}

static bool
has(const struct line *l, unsigned int cpu)
{
	return l->li_owner == cpu || (l->li_sharers[cpu / 64] >> cpu % 64 & 1) != 0;
}

uint64_t
cost_line_read(unsigned int cpu, uint64_t now, const void *addr)
{
	struct line *const l = find(cpu, addr);

	if (has(l, cpu))
		return now + model->cm_value[COST_HIT];
	if (l->li_busy > now)
		now = l->li_busy;
	l->li_busy = now + model->cm_value[COST_LINE_BUSY];
	l->li_sharers[cpu / 64] |= (uint64_t)1 << cpu % 64;
	l->li_shared = true;
	totals->ct_lines++;
	return now + distance(l->li_owner, cpu);
}

uint64_t
cost_line_own(unsigned int cpu, uint64_t now, const void *addr)
{
	struct line *const l = find(cpu, addr);
	unsigned int furthest = 0;

	if (l->li_owner == cpu && !l->li_shared)
		return now + model->cm_value[COST_HIT];
	if (l->li_busy > now)
		now = l->li_busy;
	if (l->li_owner != cpu)
		furthest = distance(l->li_owner, cpu);
	for (unsigned int w = 0; w < WORDS; w++) {
		for (uint64_t left = l->li_sharers[w]; left != 0; left &= left - 1) {
			const unsigned int other = w * 64 + (unsigned int)__builtin_ctzll(left);

			if (other != cpu && distance(other, cpu) > furthest)
				furthest = distance(other, cpu);
		}
		l->li_sharers[w] = 0;
	}
	l->li_shared = false;
	l->li_owner = cpu;
	l->li_busy = now + furthest;
	totals->ct_lines++;
	return now + furthest;
}
