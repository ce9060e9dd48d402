/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Blocks come in sizes of four to each power of two, handed out from the bottom and reused last-in
 * first-out. What is free, the rest of a block, and each block's head are hidden from
 * AddressSanitizer and Valgrind.
 */

#define _GNU_SOURCE /* MAP_ANONYMOUS, MAP_NORESERVE */
#include "sim/machine/side.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#include "sim/machine/poison.h"

#define SIDE_BYTES ((uint64_t)1 << 32) /* of address space; touched only as far as used */
#define CLASSES SIDE_CLASSES

struct block {
	uint64_t sb_bytes; /* as asked for, and one; 0: free */
	uint32_t sb_class;
	uint32_t sb_unused;
};

static_assert(sizeof(struct block) == 16, "blocks keep the alignment of their contents");

static char *base;
static uint64_t top;
static uint64_t live;		     /* blocks */
static uint64_t free_heads[CLASSES]; /* offset of a block + 1; the next one's stands in it */

/* 64, 80, 96, 112, 128, 160 ... */
static uint64_t
block_bytes(unsigned int class)
{
	return (uint64_t)(4 + class % 4) << (class / 4 + 4);
}

static unsigned int
class_of(size_t bytes)
{
	unsigned int class = 0;

	while (block_bytes(class) - sizeof(struct block) < bytes)
		class ++;
	return class;
}

static struct block *
head_of(void *p)
{
	struct block *b = (struct block *)((char *)p - sizeof(*b));

	memory_reveal(b, sizeof(*b));
	return b;
}

static struct block *
take(unsigned int class)
{
	struct block *b;

	if (free_heads[class] != 0) {
		b = (struct block *)(base + free_heads[class] - 1);
		memory_reveal(b, sizeof(*b) + sizeof(uint64_t));
		memcpy(&free_heads[class], b + 1, sizeof(uint64_t));
		return b;
	}
	if (base == NULL) {
		base = mmap(NULL, SIDE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (base == MAP_FAILED) {
			base = NULL;
			return NULL;
		}
	}
	if (top + block_bytes(class) > SIDE_BYTES)
		return NULL;
	b = (struct block *)(base + top);
	top += block_bytes(class);
	/* Somebody may have been here before: what a block does not use is zero. */
	memory_expose(b, block_bytes(class));
	memset(b, 0, block_bytes(class));
	return b;
}

void *
sim_side_alloc(size_t bytes)
{
	if (bytes > SIDE_BYTES / 2)
		return NULL;
	const unsigned int class = class_of(bytes);
	struct block *b = take(class);

	if (b == NULL)
		return NULL;
	memory_expose(b, block_bytes(class));
	*b = (struct block){.sb_bytes = bytes + 1, .sb_class = class};
	memset(b + 1, 0, bytes);
	memory_hide((char *)(b + 1) + bytes, block_bytes(class) - sizeof(*b) - bytes);
	memory_hide(b, sizeof(*b));
	live++;
	return b + 1;
}

void *
sim_side_resize(void *p, size_t bytes)
{
	if (p == NULL)
		return sim_side_alloc(bytes);
	struct block *b = head_of(p);
	const size_t had = b->sb_bytes - 1;
	const uint64_t room = block_bytes(b->sb_class) - sizeof(*b);

	if (bytes > had && bytes <= room) {
		memory_expose((char *)p + had, bytes - had);
		memset((char *)p + had, 0, bytes - had);
		b->sb_bytes = bytes + 1;
		memory_hide(b, sizeof(*b));
		return p;
	}
	memory_hide(b, sizeof(*b));
	void *more = sim_side_alloc(bytes);
	if (more == NULL)
		return NULL;
	memcpy(more, p, had < bytes ? had : bytes);
	sim_side_free(p);
	return more;
}

void
sim_side_free(void *p)
{
	if (p == NULL)
		return;
	struct block *b = head_of(p);
	const unsigned int class = b->sb_class;

	assert(b->sb_bytes != 0);
	b->sb_bytes = 0;
	memory_expose(p, sizeof(uint64_t));
	memcpy(p, &free_heads[class], sizeof(uint64_t));
	free_heads[class] = (uint64_t)((char *)b - base) + 1;
	memory_hide(b, block_bytes(class));
	if (--live > 0)
		return;
	memset(free_heads, 0, sizeof(free_heads));
	top = 0;
}

/* ---- For snapshots ---- */

char *
side_base(void)
{
	return base;
}

uint64_t
side_top(void)
{
	return top;
}

void
side_save(struct side_lists *lists)
{
	static_assert(sizeof(lists->sl_free) == sizeof(free_heads), "a list for each class");
	lists->sl_top = top;
	lists->sl_live = live;
	memcpy(lists->sl_free, free_heads, sizeof(free_heads));
}

void
side_restore(const struct side_lists *lists)
{
	top = lists->sl_top;
	live = lists->sl_live;
	memcpy(free_heads, lists->sl_free, sizeof(free_heads));
}

void
side_open(void)
{
	memory_reveal(base, top);
}

void
side_close(void)
{
	for (uint64_t at = 0; at < top && memory_watched();) {
		struct block *b = (struct block *)(base + at);
		const uint64_t whole = block_bytes(b->sb_class);
		const uint64_t used = b->sb_bytes == 0 ? 0 : b->sb_bytes - 1;

		memory_hide((char *)(b + 1) + used, whole - sizeof(*b) - used);
		memory_hide(b, sizeof(*b));
		at += whole;
	}
}
