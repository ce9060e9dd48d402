/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * hammer: runs in a guest's user space and changes its page tables as fast as it can, by everything
 * that processes do to them, and verifies each byte that must have survived. What is counted are
 * operations, not time: an emulated guest is slow.
 *
 *	hammer OPERATIONS [SEED]
 *
 * The last line counts them. Exit: 0, 1 wrong contents, 64 usage.
 *
 * A model of the arena, a byte per page, says what the page must hold; an operation changes both.
 */

#define _GNU_SOURCE /* mremap() */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE_BYTES 4096u
#define ARENA_PAGES 1024u
#define RUN_PAGES_MAX 96u
#define OPERATIONS_MAX 10000000ul

enum op {
	OP_WRITE,
	OP_VERIFY,
	OP_FORGET,  /* madvise(DONTNEED): zeros */
	OP_PROTECT, /* to read-only and back */
	OP_MOVE,    /* mremap() away and back */
	OP_REPLACE, /* munmap() and mmap(): zeros */
	OP_FORK,    /* a child that writes copies, and checks that it has the parent's pages */
	OPS,
};
static const char *const op_names[OPS] = {"write", "verify",  "forget", "protect",
					  "move",  "replace", "fork"};

struct arena {
	unsigned char *a_memory;
	unsigned char a_model[ARENA_PAGES]; /* 0: zeros */
	uint64_t a_random;
};

static uint32_t
draw(struct arena *a, uint32_t below)
{
	a->a_random ^= a->a_random << 13;
	a->a_random ^= a->a_random >> 7;
	a->a_random ^= a->a_random << 17;
	return (uint32_t)(a->a_random >> 16) % below;
}

/* A page is filled with words that tell its value and its number. */
static uint32_t
word_of(unsigned int page, unsigned char value)
{
	return value == 0 ? 0 : value * 0x01010101u ^ page << 8;
}

static void
fill(struct arena *a, unsigned int page, unsigned char value)
{
	uint32_t *const words = (uint32_t *)(a->a_memory + (size_t)page * PAGE_BYTES);

	for (unsigned int i = 0; i < PAGE_BYTES / 4; i++)
		words[i] = word_of(page, value);
	a->a_model[page] = value;
}

static int
verify(const struct arena *a, unsigned int first, unsigned int n)
{
	for (unsigned int page = first; page < first + n; page++) {
		const volatile uint32_t *const words =
			(const volatile uint32_t *)(a->a_memory + (size_t)page * PAGE_BYTES);

		for (unsigned int i = 0; i < PAGE_BYTES / 4; i++) {
			if (words[i] == word_of(page, a->a_model[page]))
				continue;
			printf("hammer: page %u word %u is %08x, not %08x\n", page, i, words[i],
			       word_of(page, a->a_model[page]));
			return 1;
		}
	}
	return 0;
}

static int
trouble(const char *what)
{
	perror(what);
	return 1;
}

/* The child's writes must not reach us, and it must see what we had. */
static int
do_fork(struct arena *a, unsigned int first, unsigned int n)
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child < 0)
		return trouble("hammer: fork");
	if (child == 0) {
		int bad = verify(a, first, n);

		for (unsigned int page = first; page < first + n; page++)
			fill(a, page, (unsigned char)(a->a_model[page] + 101));
		bad |= verify(a, first, n);
		fflush(stdout);
		_exit(bad);
	}
	if (waitpid(child, &status, 0) != child)
		return trouble("hammer: waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		printf("hammer: the child ended with status %x\n", status);
		return 1;
	}
	return verify(a, first, n);
}

static int
do_move(struct arena *a, unsigned char *at, size_t bytes)
{
	unsigned char *const away = mremap(at, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
					   a->a_memory + ((size_t)ARENA_PAGES + 1) * PAGE_BYTES);

	if (away == MAP_FAILED)
		return trouble("hammer: mremap");
	if (mremap(away, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at) != at)
		return trouble("hammer: mremap back");
	/* The room stays ours, or the next move would go over what came there meanwhile. */
	if (mmap(away, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != away)
		return trouble("hammer: mmap");
	return 0;
}

static int
operate(struct arena *a, enum op op)
{
	const unsigned int n = 1 + draw(a, RUN_PAGES_MAX);
	const unsigned int first = draw(a, ARENA_PAGES - n + 1);
	unsigned char *const at = a->a_memory + (size_t)first * PAGE_BYTES;
	const size_t bytes = (size_t)n * PAGE_BYTES;

	switch (op) {
	case OP_WRITE:
		for (unsigned int page = first; page < first + n; page++)
			fill(a, page, (unsigned char)(1 + draw(a, 255)));
		return 0;
	case OP_FORGET:
		memset(a->a_model + first, 0, n);
		return madvise(at, bytes, MADV_DONTNEED) ? trouble("hammer: madvise") : 0;
	case OP_PROTECT:
		if (mprotect(at, bytes, PROT_READ) || verify(a, first, n) ||
		    mprotect(at, bytes, PROT_READ | PROT_WRITE))
			return trouble("hammer: mprotect");
		fill(a, first, (unsigned char)(1 + draw(a, 255)));
		return 0;
	case OP_MOVE:
		return do_move(a, at, bytes);
	case OP_REPLACE:
		memset(a->a_model + first, 0, n);
		if (munmap(at, bytes) || mmap(at, bytes, PROT_READ | PROT_WRITE,
					      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
			return trouble("hammer: munmap, mmap");
		return 0;
	case OP_FORK:
		return do_fork(a, first, n);
	default:
		return verify(a, first, n);
	}
}

static uint64_t
number(const char *text, uint64_t max)
{
	char *end;
	const unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n == 0 || n > max) {
		fprintf(stderr, "hammer: '%s' is not a number from 1 to %lu\n", text,
			(unsigned long)max);
		exit(64);
	}
	return n;
}

int
main(int argc, char **argv)
{
	static struct arena a;
	unsigned long counts[OPS] = {0};
	unsigned long operations;

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: hammer OPERATIONS [SEED]\n");
		return 64;
	}
	operations = number(argv[1], OPERATIONS_MAX);
	a.a_random = argc == 3 ? number(argv[2], UINT32_MAX) : 1;
	/* Behind it a page of nothing, and room to move runs to. */
	a.a_memory = mmap(NULL, ((size_t)ARENA_PAGES + 1 + RUN_PAGES_MAX) * PAGE_BYTES,
			  PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (a.a_memory == MAP_FAILED)
		return trouble("hammer: mmap");
	for (unsigned long i = 0; i < operations; i++) {
		const enum op op = draw(&a, OPS);

		counts[op]++;
		if (operate(&a, op))
			return 1;
	}
	if (verify(&a, 0, ARENA_PAGES))
		return 1;
	printf("hammer: %lu operations", operations);
	for (int op = 0; op < OPS; op++)
		printf(", %lu %s", counts[op], op_names[op]);
	printf("\n");
	return 0;
}
