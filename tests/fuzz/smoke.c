/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The harness without a fuzzer, in every build: a number of changes from a fixed seed, each of
 * which must be a replay file again, differ from what it was made of, and be run.
 *
 * Usage: fuzz-smoke ROUNDS FILE...
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define POOL 32
#define BYTES_MOST ((size_t)1 << 20)

struct input {
	uint8_t *in_data;
	size_t in_size;
};

static struct input pool[POOL];
static unsigned int npool;
static unsigned int passed;
static unsigned int failed;

static void
expect(bool ok, const char *what, unsigned int round)
{
	passed += ok;
	failed += !ok;
	if (!ok)
		printf("round %u: %s\n", round, what);
}

static bool
load(const char *path)
{
	struct input *const in = &pool[npool];
	FILE *from = fopen(path, "r");

	in->in_data = malloc(BYTES_MOST);
	if (from == NULL || in->in_data == NULL) {
		printf("%s cannot be read\n", path);
		return false;
	}
	in->in_size = fread(in->in_data, 1, BYTES_MOST, from);
	fclose(from);
	npool++;
	return true;
}

static void
round_of(unsigned int i, uint8_t *out)
{
	struct input *const a = &pool[i % npool];
	const struct input *const b = &pool[i / npool % npool];
	struct replay re = {0};
	size_t size;

	if (i % 8 == 7) {
		size = LLVMFuzzerCustomCrossOver(a->in_data, a->in_size, b->in_data, b->in_size,
						 out, BYTES_MOST, i);
	} else {
		memcpy(out, a->in_data, a->in_size);
		size = LLVMFuzzerCustomMutator(out, a->in_size, BYTES_MOST, i);
	}
	expect(size > 0 && fuzz_read(out, size, &re), "what came out is no replay file", i);
	if (size == 0)
		return;
	replay_free(&re);
	LLVMFuzzerTestOneInput(out, size); /* ends the process if it finds something */
	if (i % 4 == 0) {
		memcpy(a->in_data, out, size);
		a->in_size = size;
	}
}

int
main(int argc, char **argv)
{
	const unsigned int rounds = argc > 2 ? (unsigned int)atoi(argv[1]) : 0;
	uint8_t *const out = malloc(BYTES_MOST);
	uint8_t *const again = malloc(BYTES_MOST);
	struct replay re = {0};

	if (rounds == 0 || out == NULL || again == NULL) {
		fprintf(stderr, "usage: fuzz-smoke ROUNDS FILE...\n");
		return 64;
	}
	for (int i = 2; i < argc && npool < POOL; i++) {
		if (!load(argv[i]))
			return 1;
		expect(fuzz_read(pool[npool - 1].in_data, pool[npool - 1].in_size, &re),
		       "a file of the corpus cannot be run", (unsigned int)i);
		replay_free(&re);
		LLVMFuzzerTestOneInput(pool[npool - 1].in_data, pool[npool - 1].in_size);
	}
	for (unsigned int i = 0; i < rounds; i++)
		round_of(i, out);

	/* The same seed makes the same change; what is no input becomes one. */
	memcpy(out, pool[0].in_data, pool[0].in_size);
	memcpy(again, pool[0].in_data, pool[0].in_size);
	const size_t n = LLVMFuzzerCustomMutator(out, pool[0].in_size, BYTES_MOST, 5);
	expect(n == LLVMFuzzerCustomMutator(again, pool[0].in_size, BYTES_MOST, 5) &&
		       memcmp(out, again, n) == 0,
	       "one seed, two changes", 0);
	memcpy(out, "junk", 4);
	expect(LLVMFuzzerCustomMutator(out, 4, BYTES_MOST, 1) > 100, "junk stays junk", 0);
	expect(LLVMFuzzerCustomMutator(out, 4, 20, 1) == 0, "more than there is room for", 0);
	free(out);
	free(again);
	printf("cases: %u passed, %u failed, 0 skipped\n", passed, failed);
	return failed != 0;
}
