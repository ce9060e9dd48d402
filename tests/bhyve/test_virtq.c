/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The virtqueue by itself: good chains come out as they were put in, and every way to write
 * nonsense into the rings breaks the queue with a sentence, and nothing else. The last test writes
 * random rings, and asks only that nothing outside guest memory is handed out.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtq.h"

#define MEM_BYTES 0x10000
#define DESC 0x1000
#define AVAIL 0x2000
#define USED 0x3000
#define SIZE 8

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

struct desc {
	uint64_t gpa;
	uint32_t bytes;
	uint16_t flags;
	uint16_t next;
};

static uint8_t *mem;
static struct virtq vq;
static struct dma dma;

static void *
ptr(void *arg, uint64_t gpa, uint64_t len)
{
	(void)arg;
	return gpa <= MEM_BYTES && len <= MEM_BYTES - gpa ? mem + gpa : NULL;
}

static void
on(void)
{
	vq.vq_dma = &dma;
	virtq_reset(&vq, SIZE);
	vq.vq_desc_gpa = DESC;
	vq.vq_avail_gpa = AVAIL;
	vq.vq_used_gpa = USED;
	vq.vq_indirect = true;
	memset(mem, 0, MEM_BYTES);
	cr_assert_eq(virtq_enable(&vq), 0);
}

static void
begin(void)
{
	mem = malloc(MEM_BYTES);
	dma = (struct dma){.dma_ptr = ptr};
	on();
}

static void
end(void)
{
	free(mem);
}

TestSuite(virtq, .init = begin, .fini = end);

static void
set(uint64_t table, unsigned int i, struct desc d)
{
	memcpy(mem + table + i * sizeof(d), &d, sizeof(d));
}

static uint16_t
word(uint64_t gpa)
{
	uint16_t value;

	memcpy(&value, mem + gpa, sizeof(value));
	return value;
}

static void
set_word(uint64_t gpa, uint16_t value)
{
	memcpy(mem + gpa, &value, sizeof(value));
}

static void
offer(uint16_t head)
{
	const uint16_t index = word(AVAIL + 2);

	set_word(AVAIL + 4 + 2 * (index % SIZE), head);
	set_word(AVAIL + 2, (uint16_t)(index + 1));
}

static void
breaks(const char *says)
{
	struct virtq_chain chain;

	cr_assert_eq(virtq_pop(&vq, &chain), -EIO, "not broken, but should be: %s", says);
	cr_assert(strstr(vq.vq_why, says) != NULL, "%s: %s", says, vq.vq_why);
	cr_assert_eq(virtq_pop(&vq, &chain), -EIO);
	cr_assert(!virtq_notifications(&vq, true));
	on();
}

Test(virtq, a_chain_comes_out_as_it_went_in)
{
	struct virtq_chain chain;
	char text[16] = "";

	cr_assert_eq(virtq_pop(&vq, &chain), 0);
	set(DESC, 2, (struct desc){0x4000, 3, NEXT, 5});
	set(DESC, 5, (struct desc){0x5000, 0, NEXT, 1}); /* empty: nothing to see */
	set(DESC, 1, (struct desc){0x6000, 2, NEXT, 7});
	set(DESC, 7, (struct desc){0x7000, 4, NEXT | WRITE, 0});
	set(DESC, 0, (struct desc){0x8000, 4, WRITE, 3});
	memcpy(mem + 0x4000, "abc", 3);
	memcpy(mem + 0x6000, "de", 2);
	offer(2);
	cr_assert_eq(virtq_pop(&vq, &chain), 1);
	cr_assert_eq(chain.ch_head, 2);
	cr_assert_eq(chain.ch_nout, 2);
	cr_assert_eq(chain.ch_nin, 2);
	cr_assert_eq(chain.ch_out_bytes, 5);
	cr_assert_eq(chain.ch_in_bytes, 8);
	cr_assert_eq(virtq_copy_out(&chain, 1, text, 16), 4);
	cr_assert_str_eq(text, "bcde");
	cr_assert_eq(virtq_copy_in(&chain, 2, "123456789", 9), 6);
	cr_assert(memcmp(mem + 0x7000, "\0\00012", 4) == 0);
	cr_assert(memcmp(mem + 0x8000, "3456", 5) == 0);
	cr_assert_eq(virtq_copy_in(&chain, 8, "x", 1), 0);
	cr_assert_eq(virtq_pop(&vq, &chain), 0);
	virtq_push(&vq, 2, 8);
	cr_assert_eq(word(USED + 2), 1);
	cr_assert_eq(word(USED + 4), 2);
	cr_assert_eq(word(USED + 8), 8);
	virtq_unpop(&vq);
	cr_assert_eq(virtq_pop(&vq, &chain), 1);
}

Test(virtq, indices_wrap)
{
	struct virtq_chain chain;

	set(DESC, 0, (struct desc){0x4000, 1, WRITE, 0});
	for (unsigned int i = 0; i < 0x10000 + 3 * SIZE; i++) {
		offer(0);
		cr_assert_eq(virtq_pop(&vq, &chain), 1);
		virtq_push(&vq, chain.ch_head, 1);
		cr_assert_eq(word(USED + 2), (uint16_t)(i + 1));
	}
	cr_assert_eq(virtq_pop(&vq, &chain), 0);
}

Test(virtq, indirect_tables_follow_and_end_a_chain)
{
	struct virtq_chain chain;

	set(DESC, 0, (struct desc){0x4000, 8, NEXT, 1});
	set(DESC, 1, (struct desc){0x9000, 48, INDIRECT, 6});
	set(0x9000, 0, (struct desc){0x5000, 8, NEXT, 2});
	set(0x9000, 2, (struct desc){0x6000, 8, WRITE, 0});
	offer(0);
	cr_assert_eq(virtq_pop(&vq, &chain), 1);
	cr_assert_eq(chain.ch_nout, 2);
	cr_assert_eq(chain.ch_nin, 1);
	cr_assert_eq(chain.ch_iov[2].iov_base, mem + 0x6000);
}

Test(virtq, queues_that_cannot_be)
{
	static const struct {
		uint16_t size;
		uint64_t desc, avail, used;
		int error;
	} rows[] = {
		{0, DESC, AVAIL, USED, -EINVAL},
		{6, DESC, AVAIL, USED, -EINVAL},
		{2048, DESC, AVAIL, USED, -EINVAL},
		{8, DESC + 8, AVAIL, USED, -EINVAL},
		{8, DESC, AVAIL + 1, USED, -EINVAL},
		{8, DESC, AVAIL, USED + 2, -EINVAL},
		{8, MEM_BYTES - 112, AVAIL, USED, -EFAULT},
		{8, DESC, MEM_BYTES - 20, USED, -EFAULT},
		{8, DESC, AVAIL, MEM_BYTES - 68, -EFAULT},
		{8, DESC, AVAIL, UINT64_MAX - 3, -EFAULT},
		{8, DESC, AVAIL, MEM_BYTES - 72, 0},
		{8, MEM_BYTES - 128, AVAIL, USED, 0},
		{8, DESC, MEM_BYTES - 22, USED, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		virtq_reset(&vq, rows[i].size);
		vq.vq_desc_gpa = rows[i].desc;
		vq.vq_avail_gpa = rows[i].avail;
		vq.vq_used_gpa = rows[i].used;
		cr_assert_eq(virtq_enable(&vq), rows[i].error, "row %zu", i);
		cr_assert_eq(vq.vq_broken, rows[i].error != 0);
	}
}

Test(virtq, nonsense_breaks_it)
{
	offer(SIZE);
	breaks("descriptor 8 of 8");

	set(DESC, 0, (struct desc){0x4000, 1, NEXT, 9});
	offer(0);
	breaks("descriptor 9 of 8");

	set(DESC, 0, (struct desc){0x4000, 1, NEXT, 1});
	set(DESC, 1, (struct desc){0x4000, 1, NEXT, 0});
	offer(0);
	breaks("loop");

	set(DESC, 0, (struct desc){MEM_BYTES - 4, 5, 0, 0});
	offer(0);
	breaks("not in memory");

	set(DESC, 0, (struct desc){UINT64_MAX - 1, 0xffffffff, 0, 0});
	offer(0);
	breaks("not in memory");

	set(DESC, 0, (struct desc){0x4000, 1, NEXT | WRITE, 1});
	set(DESC, 1, (struct desc){0x4000, 1, 0, 0});
	offer(0);
	breaks("follows one to write");

	set_word(AVAIL + 2, SIZE + 1);
	breaks("9 chains are offered");

	virtq_break(&vq, "its own %s", "reason");
	breaks("its own reason");
}

Test(virtq, nonsense_in_indirect_tables_breaks_it)
{
	static const struct {
		struct desc first;
		const char *says;
	} rows[] = {
		{{0x9000, 32, INDIRECT | NEXT, 1}, "where there can be none"},
		{{0x9000, 0, INDIRECT, 0}, "of 0 bytes"},
		{{0x9000, 24, INDIRECT, 0}, "of 24 bytes"},
		{{0x9004, 16, INDIRECT, 0}, "of 16 bytes"},
		{{0x9000, 16 * 2048, INDIRECT, 0}, "of 32768 bytes"},
		{{MEM_BYTES - 16, 32, INDIRECT, 0}, "not in memory"},
		{{0x9000, 16, INDIRECT, 0}, "descriptor 1 of 1"},
		{{0x9000, 32, INDIRECT, 0}, "where there can be none"},
		{{0xa000, 32, INDIRECT, 0}, "loop"},
		{{0xb000, 16 * 300, INDIRECT, 0}, "more than 258 segments"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		set(DESC, 0, rows[i].first);
		set(0x9000, 0, (struct desc){0x4000, 1, NEXT, 1});
		set(0x9000, 1, (struct desc){0x9000, 16, INDIRECT, 0}); /* nested */
		set(0xa000, 0, (struct desc){0x4000, 1, NEXT, 0});
		for (unsigned int d = 0; d < 300; d++)
			set(0xb000, d,
			    (struct desc){0x4000, 1, d < 299 ? NEXT : 0, (uint16_t)(d + 1)});
		offer(0);
		breaks(rows[i].says);
	}
	vq.vq_indirect = false; /* not agreed on */
	set(DESC, 0, (struct desc){0x9000, 16, INDIRECT, 0});
	offer(0);
	breaks("where there can be none");
}

Test(virtq, interrupts_as_the_driver_wants_them)
{
	virtq_push(&vq, 0, 0);
	cr_assert(virtq_wants_interrupt(&vq));
	cr_assert(!virtq_wants_interrupt(&vq), "nothing was pushed since");
	set_word(AVAIL, 1);
	virtq_push(&vq, 0, 0);
	cr_assert(!virtq_wants_interrupt(&vq));

	/* By index: exactly when the used index passes what the driver wrote. */
	on();
	vq.vq_event_idx = true;
	set_word(AVAIL + 4 + 2 * SIZE, 2);
	for (unsigned int i = 1; i <= 6; i++) {
		virtq_push(&vq, 0, 0);
		cr_assert_eq(virtq_wants_interrupt(&vq), i == 3, "push %u", i);
	}
	set_word(AVAIL + 4 + 2 * SIZE, 8);
	for (unsigned int i = 7; i <= 12; i++)
		virtq_push(&vq, 0, 0);
	cr_assert(virtq_wants_interrupt(&vq));
	vq.vq_next_used = vq.vq_signalled = 0xfffe;
	set_word(AVAIL + 4 + 2 * SIZE, 0xffff);
	virtq_push(&vq, 0, 0);
	cr_assert(!virtq_wants_interrupt(&vq));
	virtq_push(&vq, 0, 0);
	cr_assert(virtq_wants_interrupt(&vq));
}

Test(virtq, notifications_as_the_device_wants_them)
{
	struct virtq_chain chain;

	set(DESC, 0, (struct desc){0x4000, 1, 0, 0});
	virtq_notifications(&vq, false);
	cr_assert_eq(word(USED), 1);
	offer(0);
	cr_assert(virtq_notifications(&vq, true), "a chain came meanwhile");
	cr_assert_eq(word(USED), 0);
	cr_assert_eq(virtq_pop(&vq, &chain), 1);
	cr_assert(!virtq_notifications(&vq, true));

	vq.vq_event_idx = true;
	cr_assert(!virtq_notifications(&vq, true));
	cr_assert_eq(word(USED + 4 + 8 * SIZE), 1);
}

Test(virtq, random_rings_lead_nowhere_else)
{
	unsigned int good = 0, broken = 0;
	uint64_t state = 1;

	for (unsigned int round = 0; round < 20000; round++) {
		struct virtq_chain chain;

		on();
		for (unsigned int i = 0; i < 24; i++) {
			state = state * 6364136223846793005ull + 1442695040888963407ull;
			/* Mostly plausible: addresses within or a little beyond, small indices. */
			set(i < SIZE ? DESC : 0x9000, i % 16,
			    (struct desc){state >> 40 & 0x10fff, (uint32_t)(state >> 30 & 0xfff),
					  (uint16_t)(state >> 20 & 7),
					  (uint16_t)(state >> 24 & 7)});
		}
		if (round % 4 == 0)
			set(DESC, 0, (struct desc){0x9000, 256, INDIRECT, 0});
		offer((uint16_t)(state >> 60 & (round % 16 == 0 ? 15 : 7)));
		if (virtq_pop(&vq, &chain) == 1) {
			good++;
			for (unsigned int i = 0; i < chain.ch_nout + chain.ch_nin; i++) {
				const uint8_t *const at = chain.ch_iov[i].iov_base;

				cr_assert(at >= mem && chain.ch_iov[i].iov_len <= MEM_BYTES &&
					  at + chain.ch_iov[i].iov_len <= mem + MEM_BYTES);
			}
		} else {
			cr_assert(vq.vq_broken && vq.vq_why[0] != '\0');
			broken++;
		}
	}
	cr_assert(good > 100 && broken > 100, "%u good, %u broken", good, broken);
}
