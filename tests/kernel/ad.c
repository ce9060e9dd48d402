/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Accessed and modified, as collected from the nested tables. One payload, one expectation: it is
 * the same whether hardware sets the bits (EPT with A and D, nested paging) or faults do (EPT
 * without, or with use_hw_ad_bits=0). What is expected is computed, not compared between runs.
 */

#include "harness.h"

#define PAGES 192ull
#define WORDS (PAGES / 64)
/* Address and offset never agree in a superpage, so each page has an entry of its own. */
#define BASE (KT_MEM + PAGE)

enum touch {
	TOUCH_NONE,
	TOUCH_READ,
	TOUCH_WRITE,
	TOUCH_EXECUTE,
};

/* What a round does to a page; without pattern, but known. */
static enum touch
plan(uint64_t page, uint64_t round)
{
	return guest_word(page, round) >> 17 & 3;
}

static void
do_round(struct kt_cpu *cpu, uint64_t round)
{
	for (uint64_t page = 0; page < PAGES; page++) {
		const uint64_t at = BASE + page * PAGE;

		switch (plan(page, round)) {
		case TOUCH_NONE:
			break;
		case TOUCH_READ:
			kt_call(cpu, GUEST_READ, at + 64, 0, 0, 0);
			break;
		case TOUCH_WRITE:
			kt_call(cpu, GUEST_WRITE, at + 64, round, 0, 0);
			break;
		case TOUCH_EXECUTE:
			KT_EQ(kt_call(cpu, GUEST_EXECUTE, at, 0, 0, 0), 0x2a);
			break;
		}
	}
}

static void
expect(const char *what, uint64_t round, const uint64_t *bits, bool modified)
{
	for (uint64_t page = 0; page < PAGES; page++) {
		const enum touch touch = plan(page, round);
		const bool want = modified ? touch == TOUCH_WRITE : touch != TOUCH_NONE;

		KT_CHECK(kt_bit(bits, page) == want, "round %llu: page %llu, touch %u: %s is %d",
			 (unsigned long long)round, (unsigned long long)page, touch, what, !want);
	}
}

static struct kt_vm *
prepare(void)
{
	static const unsigned char answer[] = {0xb8, 0x2a, 0, 0, 0, 0xc3};
	struct kt_vm *const vm = kt_boot(1, 0);

	KT_OK(kt_seg(vm, KT_MEM_IDENT, PAGES * PAGE, ""));
	KT_OK(kt_map(vm, BASE, KT_MEM_IDENT, 0, PAGES * PAGE, KT_RWX, 0));
	for (uint64_t page = 0; page < PAGES; page++)
		KT_OK(kt_write(vm, BASE + page * PAGE, answer, sizeof(answer)));
	return vm;
}

/* Rounds that begin with tables that know nothing, the first by being empty. */
static void
harvest(void)
{
	struct kt_vm *const vm = prepare();
	uint64_t bits[WORDS], found;

	for (uint64_t round = 1; round <= 4; round++) {
		do_round(&vm->cpus[0], round);
		KT_OK(kt_harvest(vm, VMM_HARVEST_ACCESSED | VMM_HARVEST_PEEK, BASE, PAGES * PAGE,
				 bits, NULL));
		expect("A", round, bits, false);
		KT_OK(kt_harvest(vm, VMM_HARVEST_PEEK, BASE, PAGES * PAGE, bits, NULL));
		expect("M", round, bits, true);

		/* The peeks changed nothing; M goes first, A stays; then A. */
		KT_OK(kt_harvest(vm, 0, BASE, PAGES * PAGE, bits, &found));
		expect("M", round, bits, true);
		KT_OK(kt_harvest(vm, VMM_HARVEST_ACCESSED | VMM_HARVEST_PEEK, BASE, PAGES * PAGE,
				 bits, NULL));
		expect("A", round, bits, false);
		KT_OK(kt_harvest(vm, VMM_HARVEST_ACCESSED, BASE, PAGES * PAGE, bits, &found));
		expect("A", round, bits, false);

		KT_OK(kt_harvest(vm, 0, BASE, PAGES * PAGE, bits, &found));
		KT_EQ(found, 0);
		KT_OK(kt_harvest(vm, VMM_HARVEST_ACCESSED, BASE, PAGES * PAGE, bits, &found));
		KT_EQ(found, 0);
		for (uint64_t i = 0; i < WORDS; i++)
			KT_EQ(bits[i], 0);
	}
}

/* A bit that was taken is set again by the next access, though the guest has not left its loop. */
static void
set_again(void)
{
	struct kt_vm *const vm = prepare();
	struct kt_cpu *const cpu = &vm->cpus[0];
	uint64_t bits[WORDS], found;

	kt_start(cpu, -1, GUEST_WRITER, BASE, 8, GUEST_WORDS, 0);
	for (int i = 0; i < 50; i++) {
		uint64_t round = kt_peek(vm, GUEST_WORDS + 8);

		kt_wait_word(vm, GUEST_WORDS + 8, round + 2);
		KT_OK(kt_harvest(vm, 0, BASE, PAGES * PAGE, bits, &found));
		KT_EQ(found, 8);
		KT_EQ(bits[0], 0xff);
		round = kt_peek(vm, GUEST_WORDS + 8);
		kt_wait_word(vm, GUEST_WORDS + 8, round + 2);
		KT_OK(kt_harvest(vm, VMM_HARVEST_ACCESSED, BASE, PAGES * PAGE, bits, &found));
		KT_EQ(found, 8);
		KT_EQ(bits[0], 0xff);
	}
	kt_poke(vm, GUEST_WORDS, 1);
	kt_join(cpu);
}

/* How the bits come is what the CPU can and the tunable allows. */
static void
kind(void)
{
	struct kt_vm *const vm = prepare();
	const char *const name = "accessed and dirty bit emulations";
	const uint64_t before = kt_stat(vm, -1, name);
	uint64_t bits[WORDS], found;

	do_round(&vm->cpus[0], 1);
	KT_OK(kt_harvest(vm, 0, BASE, PAGES * PAGE, bits, &found));
	KT_OK(kt_harvest(vm, VMM_HARVEST_ACCESSED, BASE, PAGES * PAGE, bits, &found));
	do_round(&vm->cpus[0], 1);
	kt_note("A and D by %s", kt_platform()->hardware_ad ? "hardware" : "faults");
	if (kt_platform()->hardware_ad)
		KT_EQ(kt_stat(vm, -1, name), before);
	else
		KT_TRUE(kt_stat(vm, -1, name) > before);
}

static void
arguments(void)
{
	struct kt_vm *const vm = prepare();
	uint64_t bits[WORDS];

	KT_ERR(kt_harvest(vm, 4, BASE, PAGE, bits, NULL), EINVAL);
	KT_ERR(kt_harvest(vm, 0, BASE + 8, PAGE, bits, NULL), EINVAL);
	KT_ERR(kt_harvest(vm, 0, BASE, PAGE + 1, bits, NULL), EINVAL);
	KT_ERR(kt_harvest(vm, 0, BASE, PAGE, NULL, NULL), EFAULT);
}

static const struct kt_case cases[] = {
	{.name = "harvest", .run = harvest},
	{.name = "set-again", .run = set_again},
	{.name = "kind", .run = kind},
	{.name = "arguments", .run = arguments},
};

KT_MAIN(cases)
