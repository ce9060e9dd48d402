/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * harass: does to a running machine's memory, from the host, all that may be done without the
 * guest noticing: ages, write-protects and harvests it (the dirty log), joins and splits
 * superpages, takes pages out, and switches executable superpages off and on. Beside a guest that
 * verifies its memory it shows that nothing is lost; and it verifies the tables and the accounts
 * itself, and that every counter that must add up does. To have done nothing of a kind is wrong.
 *
 *	harass NAME ROUNDS	the last line counts what was done; exit 0, 1 wrong, 64 usage
 *
 * It ends early, successfully, when the machine ends.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvmm/libvmm.h"

#define PAGE_BYTES 4096ull
#define SUPER_BYTES (2ull << 20)
#define CHUNK_BYTES (8ull << 20) /* of the log, and of what is aged, at a time */
#define CHUNK_WORDS (CHUNK_BYTES / PAGE_BYTES / 64)
#define ROUNDS_MAX 1000000ul

struct harass {
	struct vmctx *h_ctx;
	uint64_t h_mem_bytes; /* low memory, whole chunks */
	uint64_t h_random;
	uint64_t h_large; /* superpages met */
	uint64_t h_aged, h_logged, h_promoted, h_demoted, h_taken, h_checks;
};

static uint64_t
draw(struct harass *h, uint64_t below)
{
	h->h_random ^= h->h_random << 13;
	h->h_random ^= h->h_random >> 7;
	h->h_random ^= h->h_random << 17;
	return (h->h_random >> 16) % below;
}

static bool
machine_ended(int error)
{
	return error == -ENXIO || error == -ENOENT || error == -ENODEV;
}

/* What calls answer that may rightly find nothing to do. */
static int
tolerate(int error, int harmless)
{
	return error == -harmless ? 0 : error;
}

static unsigned int
bits_in(const uint64_t *bitmap)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < CHUNK_WORDS; i++)
		n += (unsigned int)__builtin_popcountll(bitmap[i]);
	return n;
}

/* found is what the call counted: leaves; each is at least a page of the bitmap. */
static int
age(struct harass *h, uint64_t gpa)
{
	uint64_t bitmap[CHUNK_WORDS] = {0}, found = 0;
	const int error =
		vm_harvest(h->h_ctx, gpa, CHUNK_BYTES, VMM_HARVEST_ACCESSED, bitmap, &found);

	if (error)
		return error;
	if (bits_in(bitmap) < found) {
		printf("harass: %" PRIu64 " leaves were accessed, and %u pages\n", found,
		       bits_in(bitmap));
		return -EUCLEAN;
	}
	h->h_aged += bits_in(bitmap);
	return 0;
}

/* What was cleared is given back, as after a migration that failed: then it must be there. */
static int
harvest(struct harass *h, uint64_t gpa)
{
	uint64_t taken[CHUNK_WORDS] = {0}, again[CHUNK_WORDS] = {0};
	int error = vm_dirty_clear(h->h_ctx, gpa, CHUNK_BYTES, taken);

	if (error)
		return error;
	h->h_logged += bits_in(taken);
	error = vm_dirty_set(h->h_ctx, gpa, CHUNK_BYTES, taken);
	if (!error)
		error = vm_dirty_peek(h->h_ctx, gpa, CHUNK_BYTES, again);
	if (error)
		return error;
	for (unsigned int i = 0; i < CHUNK_WORDS; i++) {
		if ((taken[i] & ~again[i]) == 0)
			continue;
		printf("harass: bits that were given back are not in the log\n");
		return -EUCLEAN;
	}
	return vm_dirty_clear(h->h_ctx, gpa, CHUNK_BYTES, again);
}

static int
log_round(struct harass *h)
{
	int error = vm_dirty_enable(h->h_ctx, draw(h, 2));

	if (error)
		return error;
	for (uint64_t gpa = 0; !error && gpa < h->h_mem_bytes; gpa += CHUNK_BYTES)
		error = harvest(h, gpa);
	if (machine_ended(error))
		return error;
	return vm_dirty_disable(h->h_ctx) ?: error;
}

/* Counts what was done; there may rightly be nothing to do. */
static int
count_done(int error, uint64_t *counter)
{
	if (error == 0)
		++*counter;
	return error == -EBUSY || error == -ENOENT ? 0 : error;
}

/* What is split keeps its bits, so half of it can be joined again at once, if the guest lets it. */
static int
superpages(struct harass *h)
{
	struct vmm_accounts a;
	int error = vm_get_accounts(h->h_ctx, &a);

	if (error == 0)
		h->h_large += a.leaves[1];
	for (uint64_t gpa = 0; !error && gpa < h->h_mem_bytes; gpa += SUPER_BYTES) {
		error = count_done(vm_demote(h->h_ctx, gpa, 1), &h->h_demoted);
		if (!error && draw(h, 2))
			error = count_done(vm_promote(h->h_ctx, gpa, 1), &h->h_promoted);
	}
	return error;
}

static int
take_out(struct harass *h)
{
	uint64_t npages = 1 + draw(h, h->h_mem_bytes / PAGE_BYTES / 4);
	const int error = vm_pageout(h->h_ctx, &npages, draw(h, 4) == 0);

	if (!error)
		h->h_taken += npages;
	return error;
}

/* A counter of the machine's by its name, as vmmctl stats shows it. */
static int
counter(struct harass *h, const struct vm_stats *stats, const char *name, uint64_t *value)
{
	for (unsigned int i = 0; i < stats->n; i++) {
		char desc[120];
		const int error = vm_get_stat_desc(h->h_ctx, -1, i, desc);

		if (error)
			return error;
		if (strcmp(desc, name) == 0) {
			*value = stats->values[i];
			return 0;
		}
	}
	printf("harass: there is no counter '%s'\n", name);
	return -EUCLEAN;
}

/*
 * What was done from here has been counted. The module does some of it of its own accord. Of what
 * was taken out, no counter knows what was held in reserve only.
 */
static int
check_counters(struct harass *h)
{
	const struct {
		const char *name;
		uint64_t least;
	} counters[] = {
		{"superpage promotions", h->h_promoted},
		{"superpage demotions", h->h_demoted},
	};
	struct vm_stats *stats;
	int error = vm_get_stats(h->h_ctx, -1, &stats);

	if (error)
		return error;
	for (size_t i = 0; !error && i < sizeof(counters) / sizeof(counters[0]); i++) {
		uint64_t value = 0;

		error = counter(h, stats, counters[i].name, &value);
		if (error || value >= counters[i].least)
			continue;
		printf("harass: '%s' is %" PRIu64 ", and %" PRIu64 " were done from here\n",
		       counters[i].name, value, counters[i].least);
		error = -EUCLEAN;
	}
	free(stats);
	return error;
}

/*
 * Tables and accounts by a full walk, while nothing moves: sums of several numbers are compared
 * there, and there alone. As soon as the guest goes on, one number is older than the next.
 */
static int
check(struct harass *h)
{
	struct vmm_accounts a;
	int error = vm_check(h->h_ctx);

	if (error == -EUCLEAN)
		printf("harass: %s\n", vmm_errmsg());
	if (!error)
		error = vm_get_accounts(h->h_ctx, &a);
	if (error)
		return error;
	h->h_checks++;
	if (a.limit != 0 && a.resident > a.limit) {
		printf("harass: %" PRIu64 " pages are resident, of %" PRIu64 "\n",
		       (uint64_t)a.resident, (uint64_t)a.limit);
		return -EUCLEAN;
	}
	return check_counters(h);
}

/* Superpages come first: the log leaves none, and aging clears what joining asks for. */
static int
round_of(struct harass *h)
{
	int error = superpages(h);

	for (uint64_t gpa = 0; !error && gpa < h->h_mem_bytes; gpa += CHUNK_BYTES)
		error = age(h, gpa);
	error = error ?: log_round(h);
	error = error ?: take_out(h);
	error = error
			?: tolerate(vm_exec_control(h->h_ctx, draw(h, 2)
								      ? VMM_EXEC_NX_SUPERPAGES_ON
								      : VMM_EXEC_NX_SUPERPAGES_OFF),
				    EOPNOTSUPP);
	error = error ?: tolerate(vm_exec_control(h->h_ctx, VMM_EXEC_RECOVER), EOPNOTSUPP);
	return error ?: check(h);
}

/* Whether there was something of each kind to do, and it was done. */
static bool
did_all(const struct harass *h)
{
	return h->h_aged != 0 && h->h_logged != 0 && h->h_taken != 0 && h->h_checks != 0 &&
	       (h->h_large == 0 || (h->h_demoted != 0 && h->h_promoted != 0));
}

/* Low memory begins at 0, and is one map or several without a hole. */
static uint64_t
low_memory(struct vmctx *ctx)
{
	struct vmm_memmap map = {0};
	uint64_t end = 0;

	while (vm_mmap_getnext(ctx, &map) == 0 && map.gpa == end) {
		end += map.len_bytes;
		map = (struct vmm_memmap){.gpa = end};
	}
	return end - end % CHUNK_BYTES;
}

int
main(int argc, char **argv)
{
	struct harass h = {.h_random = 88172645463325252ull};
	unsigned long rounds, done = 0;
	char *end;
	int error = 0;

	if (argc != 3 || (rounds = strtoul(argv[2], &end, 10), *end) || rounds == 0 ||
	    rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: harass NAME ROUNDS\n");
		return 64;
	}
	h.h_ctx = vm_open(argv[1]);
	if (!h.h_ctx) {
		fprintf(stderr, "harass: %s\n", vmm_errmsg());
		return 1;
	}
	h.h_mem_bytes = low_memory(h.h_ctx);
	if (h.h_mem_bytes == 0) {
		fprintf(stderr, "harass: '%s' has less than %llu MiB from 0 on\n", argv[1],
			CHUNK_BYTES >> 20);
		vm_close(h.h_ctx);
		return 1;
	}
	while (!error && done < rounds) {
		error = round_of(&h);
		done += !error;
	}
	if (error && error != -EUCLEAN && !machine_ended(error)) /* that was said already */
		printf("harass: round %lu: %s (%s)\n", done, vmm_errmsg(), strerror(-error));
	printf("harass: %lu rounds, %" PRIu64 " aged, %" PRIu64 " logged, %" PRIu64
	       " promoted, %" PRIu64 " demoted, %" PRIu64 " taken out, %" PRIu64 " checks%s\n",
	       done, h.h_aged, h.h_logged, h.h_promoted, h.h_demoted, h.h_taken, h.h_checks,
	       did_all(&h) ? "" : ": not all of it was done");
	vm_close(h.h_ctx);
	return (error && !machine_ended(error)) || !did_all(&h);
}
