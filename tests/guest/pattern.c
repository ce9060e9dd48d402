/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * pattern: runs in a guest's user space and finds out whether its memory keeps what is stored
 * there, while the host has less than the guest uses. Each word is a function of its page, its
 * place and the pass, so that a page that came back as another, or as it was a pass ago, is told
 * apart.
 *
 *	pattern MIB PASSES
 *
 * The last line says what was verified. Exit: 0, 1 a wrong word, 64 usage.
 *
 * A pass verifies what the pass before wrote, and writes anew, page by page; every other one in an
 * order that jumps, since what is merely sequential can be right by luck.
 */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_BYTES 4096u
#define PAGE_WORDS (PAGE_BYTES / sizeof(uint64_t))
#define MIB_MAX 65536u
#define PASSES_MAX 100000u

/* One round of a 64-bit finalizer: neighbors have nothing in common. */
static uint64_t
word(uint64_t page, uint64_t at, uint64_t pass)
{
	uint64_t x = page << 32 ^ at << 20 ^ pass;

	x = (x ^ x >> 31) * 0x9e3779b97f4a7c15ull;
	return x ^ x >> 29;
}

/* Visits every page once: by steps of a prime, unless that divides n. */
static uint64_t
nth_page(uint64_t i, uint64_t n, uint64_t pass)
{
	return pass % 2 && n % 7919 != 0 ? i * 7919 % n : i;
}

static int
verify_page(const volatile uint64_t *words, uint64_t page, uint64_t pass)
{
	for (uint64_t at = 0; at < PAGE_WORDS; at++) {
		const uint64_t want = word(page, at, pass), got = words[at];

		if (got == want)
			continue;
		printf("pattern: page %" PRIu64 " word %" PRIu64 " after pass %" PRIu64
		       ": %016" PRIx64 ", not %016" PRIx64 "\n",
		       page, at, pass, got, want);
		return 1;
	}
	return 0;
}

/* Pass 0 finds zeros, for so memory begins. */
static int
run_pass(volatile uint64_t *memory, uint64_t npages, uint64_t pass, uint64_t last)
{
	for (uint64_t i = 0; i < npages; i++) {
		const uint64_t page = nth_page(i, npages, pass);
		volatile uint64_t *const words = memory + page * PAGE_WORDS;

		if (pass > 0 && verify_page(words, page, pass - 1))
			return 1;
		for (uint64_t at = 0; pass == 0 && at < PAGE_WORDS; at++) {
			if (words[at] != 0) {
				printf("pattern: page %" PRIu64 " began with %016" PRIx64 "\n",
				       page, words[at]);
				return 1;
			}
		}
		for (uint64_t at = 0; pass < last && at < PAGE_WORDS; at++)
			words[at] = word(page, at, pass);
	}
	return 0;
}

static uint64_t
number(const char *text, uint64_t max)
{
	char *end;
	const unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n == 0 || n > max) {
		fprintf(stderr, "pattern: '%s' is not a number from 1 to %" PRIu64 "\n", text, max);
		exit(64);
	}
	return n;
}

int
main(int argc, char **argv)
{
	uint64_t mib, passes, npages;
	volatile uint64_t *memory;

	if (argc != 3) {
		fprintf(stderr, "usage: pattern MIB PASSES\n");
		return 64;
	}
	mib = number(argv[1], MIB_MAX);
	passes = number(argv[2], PASSES_MAX);
	npages = (mib << 20) / PAGE_BYTES;
	memory = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		perror("pattern: mmap");
		return 1;
	}
	for (uint64_t pass = 0; pass <= passes; pass++) { /* the last one only verifies */
		if (run_pass(memory, npages, pass, passes))
			return 1;
	}
	printf("pattern: %" PRIu64 " MiB, %" PRIu64 " passes, %" PRIu64 " words verified\n", mib,
	       passes, npages * PAGE_WORDS * passes);
	return 0;
}
