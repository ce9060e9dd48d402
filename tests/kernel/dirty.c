/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The dirty log: what is reported is what was written, whoever wrote it; and nothing is lost while
 * a guest writes in a loop.
 */

#include "harness.h"

#define PAGES 512ull
#define WORDS (PAGES / 64)

static struct kt_vm *
logging(unsigned int ncpus)
{
	struct kt_vm *const vm = kt_boot(ncpus, 0);

	kt_memory(vm, PAGES * PAGE);
	KT_OK(kt_dirty(vm, VMM_DIRTY_ENABLE, 0, 0, NULL));
	return vm;
}

/* All bits are those of one page; or of none, with a page beyond. */
static void
expect_only(const uint64_t *bits, uint64_t page)
{
	for (uint64_t i = 0; i < PAGES; i++)
		KT_CHECK(kt_bit(bits, i) == (i == page), "page %llu is %s, page %llu was written",
			 (unsigned long long)i, kt_bit(bits, i) ? "reported" : "not reported",
			 (unsigned long long)page);
}

static void
expect_and_clear(struct kt_vm *vm, uint64_t page)
{
	uint64_t bits[WORDS];

	memset(bits, 0x5a, sizeof(bits));
	KT_OK(kt_dirty(vm, VMM_DIRTY_GET, KT_MEM, PAGES * PAGE, bits));
	expect_only(bits, page);
	KT_OK(kt_dirty(vm, VMM_DIRTY_CLEAR, KT_MEM, PAGES * PAGE, bits));
	expect_only(bits, page);
	KT_OK(kt_dirty(vm, VMM_DIRTY_CLEAR, KT_MEM, PAGES * PAGE, bits));
	expect_only(bits, PAGES);
}

static void
by_guest(void)
{
	struct kt_vm *const vm = logging(1);
	struct kt_cpu *const cpu = &vm->cpus[0];
	uint64_t bits[WORDS];

	for (uint64_t round = 1; round < 5; round++) {
		for (uint64_t page = 0; page < PAGES; page++) {
			if (guest_word(page, round) >> 9 & 1)
				kt_call(cpu, GUEST_WRITE, KT_MEM + page * PAGE + 8, round, 0, 0);
			else if (guest_word(page, round) >> 10 & 1)
				kt_call(cpu, GUEST_READ, KT_MEM + page * PAGE + 8, 0, 0, 0);
		}
		KT_OK(kt_dirty(vm, VMM_DIRTY_CLEAR, KT_MEM, PAGES * PAGE, bits));
		for (uint64_t page = 0; page < PAGES; page++)
			KT_EQ(kt_bit(bits, page), guest_word(page, round) >> 9 & 1);
	}
	KT_OK(kt_dirty(vm, VMM_DIRTY_CLEAR, KT_MEM, PAGES * PAGE, bits));
	expect_only(bits, PAGES);
}

static void
by_node_write(void)
{
	struct kt_vm *const vm = logging(1);
	const uint64_t word = 3;

	for (uint64_t page = 1; page < PAGES; page += 97) {
		KT_EQ(kt_peek(vm, KT_MEM + page * PAGE), 0); /* reading is no writing */
		KT_OK(kt_write(vm, KT_MEM + page * PAGE + 128, &word, sizeof(word)));
		expect_and_clear(vm, page);
	}
}

static void
by_copyout(void)
{
	struct kt_vm *const vm = logging(1);
	const uint64_t word = 4;
	uint64_t back = 0;

	for (uint64_t page = 2; page < PAGES; page += 89) {
		struct vmm_copy copy = {
			.flags = VMM_COPY_OUT,
			.gla = KT_MEM + page * PAGE + 16,
			.buf = (uint64_t)(uintptr_t)&word,
			.len_bytes = sizeof(word),
		};

		KT_OK(kt_ioctl(vm->fd, VMM_COPY, &copy));
		KT_EQ(copy.fault, 0);
		expect_and_clear(vm, page);
		copy.flags = 0;
		copy.buf = (uint64_t)(uintptr_t)&back;
		KT_OK(kt_ioctl(vm->fd, VMM_COPY, &copy));
		KT_EQ(back, 4);
		expect_and_clear(vm, PAGES);
	}
}

/* Through a mapping of the machine's node, and of a segment's; kept over many calls. */
static void
by_mapping(void)
{
	struct kt_vm *const vm = logging(1);
	volatile uint64_t *const map = kt_mmap(vm, NULL, KT_MEM, PAGES * PAGE, true);
	uint64_t bits[WORDS];

	/* The first collection after a page was mapped may not report what was not written. */
	for (uint64_t round = 1; round < 4; round++)
		for (uint64_t page = 3; page < PAGES; page += 83) {
			KT_EQ(map[page * PAGE / 8], round - 1);
			expect_and_clear(vm, PAGES);
			map[page * PAGE / 8] = round;
			expect_and_clear(vm, page);
			KT_EQ(kt_peek(vm, KT_MEM + page * PAGE), round);
		}

	/* Both at once: guest and mapping on one page, and on others. */
	map[0] = 1;
	kt_call(&vm->cpus[0], GUEST_WRITE, KT_MEM, 2, 0, 0);
	kt_call(&vm->cpus[0], GUEST_WRITE, KT_MEM + PAGE, 2, 0, 0);
	map[2 * PAGE / 8] = 1;
	KT_OK(kt_dirty(vm, VMM_DIRTY_CLEAR, KT_MEM, PAGES * PAGE, bits));
	KT_EQ(bits[0], 7);
	KT_EQ(map[0], 2);
	expect_and_clear(vm, PAGES);
}

/* Migration: what is reported is copied; in the end both sides are equal. */
static void
writer(void)
{
	struct kt_vm *const vm = logging(2);
	struct kt_cpu *const cpu = &vm->cpus[1];
	static uint64_t copy[PAGES];
	uint64_t bits[WORDS], sum = 0, total, reports = 0;

	kt_start(cpu, -1, GUEST_RANDOM, KT_MEM, PAGES, GUEST_WORDS, 12345);
	kt_wait_word(vm, GUEST_WORDS + 8, 1);
	for (int pass = 0; pass < 60; pass++) {
		kt_sleep_ms(2);
		if (pass == 59) {
			kt_poke(vm, GUEST_WORDS, 1);
			kt_join(cpu);
		}
		KT_OK(kt_dirty(vm, VMM_DIRTY_CLEAR, KT_MEM, PAGES * PAGE, bits));
		for (uint64_t page = 0; page < PAGES; page++)
			if (kt_bit(bits, page)) {
				copy[page] = kt_peek(vm, KT_MEM + page * PAGE);
				reports++;
			}
	}
	for (uint64_t page = 0; page < PAGES; page++) {
		KT_EQ(copy[page], kt_peek(vm, KT_MEM + page * PAGE));
		sum += copy[page];
	}
	total = cpu->result;
	KT_EQ(sum, total);
	kt_note("%llu writes, %llu reports", (unsigned long long)total,
		(unsigned long long)reports);
	expect_and_clear(vm, PAGES);
}

/* The same against a process that stores through its mapping all the time. */
static volatile uint64_t *hammered;
static volatile bool hammer_stop;

static void *
hammer(void *arg)
{
	uint64_t x = 88172645463325252ull, done = 0;

	(void)arg;
	while (!hammer_stop) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		hammered[x % PAGES * PAGE / 8 + 1]++;
		done++;
	}
	return (void *)(uintptr_t)done;
}

static void
mapping_writer(void)
{
	struct kt_vm *const vm = logging(1);
	static uint64_t copy[PAGES];
	uint64_t bits[WORDS], sum = 0;
	pthread_t thread;
	void *total = NULL;

	hammered = kt_mmap(vm, NULL, KT_MEM, PAGES * PAGE, true);
	KT_EQ(pthread_create(&thread, NULL, hammer, NULL), 0);
	for (int pass = 0; pass < 40; pass++) {
		if (pass == 39) {
			hammer_stop = true;
			KT_EQ(pthread_join(thread, &total), 0);
		}
		KT_OK(kt_dirty(vm, VMM_DIRTY_CLEAR, KT_MEM, PAGES * PAGE, bits));
		for (uint64_t page = 0; page < PAGES; page++)
			if (kt_bit(bits, page))
				copy[page] = kt_peek(vm, KT_MEM + page * PAGE + 8);
	}
	for (uint64_t page = 0; page < PAGES; page++) {
		KT_EQ(copy[page], kt_peek(vm, KT_MEM + page * PAGE + 8));
		sum += copy[page];
	}
	KT_EQ(sum, (uintptr_t)total);
}

static void
modes(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct vmm_dirty all = {.op = VMM_DIRTY_ENABLE, .flags = VMM_DIRTY_ALL_SET};
	uint64_t bits[WORDS], back[WORDS] = {0};

	kt_memory(vm, PAGES * PAGE);
	KT_ERR(kt_dirty(vm, VMM_DIRTY_DISABLE, 0, 0, NULL), ENOENT);
	KT_ERR(kt_dirty(vm, VMM_DIRTY_GET, KT_MEM, PAGES * PAGE, bits), ENOENT);
	KT_ERR(kt_dirty(vm, VMM_DIRTY_CLEAR, KT_MEM, PAGES * PAGE, bits), ENOENT);
	KT_ERR(kt_dirty(vm, VMM_DIRTY_SET, KT_MEM, PAGES * PAGE, back), ENOENT);

	/* Only what has contents is reported once. */
	kt_call(&vm->cpus[0], GUEST_WRITE, KT_MEM + 17 * PAGE, 1, 0, 0);
	KT_OK(kt_ioctl(vm->fd, VMM_DIRTY_LOG, &all));
	KT_ERR(kt_dirty(vm, VMM_DIRTY_ENABLE, 0, 0, NULL), EBUSY);
	KT_OK(kt_dirty(vm, VMM_DIRTY_GET, KT_MEM, PAGES * PAGE, bits));
	KT_TRUE(kt_bit(bits, 17));
	KT_OK(kt_dirty(vm, VMM_DIRTY_CLEAR, KT_MEM, PAGES * PAGE, bits));
	KT_TRUE(kt_bit(bits, 17));
	expect_and_clear(vm, PAGES);

	/* A transfer failed: bits come back, beside what was written meanwhile. */
	back[3] = 1ull << 63;
	KT_OK(kt_dirty(vm, VMM_DIRTY_SET, KT_MEM, PAGES * PAGE, back));
	KT_OK(kt_dirty(vm, VMM_DIRTY_PEEK, KT_MEM, PAGES * PAGE, bits));
	expect_only(bits, 255);
	expect_and_clear(vm, 255);

	/* A part of the range: nothing else is looked at or cleared. */
	kt_call(&vm->cpus[0], GUEST_WRITE, KT_MEM + 64 * PAGE, 1, 0, 0);
	kt_call(&vm->cpus[0], GUEST_WRITE, KT_MEM + 128 * PAGE, 1, 0, 0);
	KT_OK(kt_dirty(vm, VMM_DIRTY_CLEAR, KT_MEM + 64 * PAGE, 64 * PAGE, bits));
	KT_EQ(bits[0], 1);
	expect_and_clear(vm, 128);

	KT_ERR(kt_dirty(vm, VMM_DIRTY_GET, KT_MEM + 1, PAGE, bits), EINVAL);
	KT_ERR(kt_dirty(vm, VMM_DIRTY_GET, KT_MEM, PAGE + 1, bits), EINVAL);
	KT_ERR(kt_dirty(vm, VMM_DIRTY_GET, KT_MEM, PAGE, NULL), EFAULT);
	KT_ERR(kt_dirty(vm, 99, KT_MEM, PAGE, bits), EINVAL);
	KT_OK(kt_dirty(vm, VMM_DIRTY_DISABLE, 0, 0, NULL));
	KT_ERR(kt_dirty(vm, VMM_DIRTY_GET, KT_MEM, PAGES * PAGE, bits), ENOENT);
}

static const struct kt_case cases[] = {
	{.name = "by-guest", .run = by_guest},
	{.name = "by-node-write", .run = by_node_write},
	{.name = "by-copyout", .run = by_copyout},
	{.name = "by-mapping", .run = by_mapping},
	{.name = "writer", .run = writer},
	{.name = "mapping-writer", .run = mapping_writer},
	{.name = "modes", .run = modes},
};

KT_MAIN(cases)
