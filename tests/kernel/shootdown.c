/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A page is taken away by one CPU while a vCPU spins on another without exits.
 *
 * Emulators drop all translations at each entry, but keep them while the guest runs: so a guest
 * that does not leave shows whether it was called out, and whether the call that took the page
 * waited for it. The host's clock calls it out now and then, too. Therefore:
 *
 * - Neither kick nor wait: the guest tells at each round what it reads. One round after the page
 *   was taken that must be new, which is microseconds later, long before the next tick. (A kick
 *   that is not waited for mostly comes before we look: that bug is the simulator's to find.)
 * - No kick, but a wait: the call lasts until the next tick, and all is well otherwise. So the
 *   kernel's own count of rescheduling interrupts, which is what kicks are, must have grown by as
 *   many as the core says it sent.
 *
 * tests/kernel/mutants shows that each of them is found.
 */

#include "harness.h"

#define MIRROR (GUEST_WORDS + 16)
#define ROUNDS (GUEST_WORDS + 24)
#define PROBE (KT_MEM + 3 * PAGE)

/* Rescheduling interrupts that a CPU has received. */
static uint64_t
interrupts_of(unsigned int cpu)
{
	char line[1024];
	uint64_t count = 0;
	bool found = false;
	FILE *const file = fopen("/proc/interrupts", "r");

	KT_TRUE(file != NULL);
	while (!found && fgets(line, sizeof(line), file)) {
		char *at = strstr(line, "RES:");

		if (!at)
			continue;
		found = true;
		at += 4;
		for (unsigned int i = 0; i <= cpu; i++)
			count = strtoull(at, &at, 10);
	}
	fclose(file);
	KT_CHECK(found, "/proc/interrupts has no line RES");
	return count;
}

static void
need_cpus(void)
{
	if (kt_platform()->cpus < 2)
		kt_not_applicable("there is one CPU only");
}

/* A spinner on CPU 1; the calling thread on CPU 0. */
static struct kt_vm *
spinning(void)
{
	struct kt_vm *vm;

	need_cpus();
	vm = kt_boot(1, 0);
	KT_OK(kt_seg(vm, KT_MEM_IDENT, 64 * PAGE, ""));
	KT_OK(kt_map(vm, KT_MEM, KT_MEM_IDENT, 0, 64 * PAGE, KT_RWX, 0));
	kt_run_on_cpu(0);
	kt_poke(vm, PROBE, 1);
	kt_start(&vm->cpus[0], 1, GUEST_MIRROR, PROBE, MIRROR, GUEST_WORDS, 0);
	kt_wait_word(vm, ROUNDS, 1);
	return vm;
}

static void
stop(struct kt_vm *vm)
{
	kt_poke(vm, GUEST_WORDS, 1);
	kt_join(&vm->cpus[0]);
}

/* What the guest reads in a round that began after now. */
static uint64_t
seen_now(struct kt_vm *vm, const volatile uint64_t *words)
{
	const uint64_t round = words[ROUNDS % PAGE / 8];

	(void)vm;
	while (words[ROUNDS % PAGE / 8] < round + 2)
		;
	return words[MIRROR % PAGE / 8];
}

/* The words that guest and test share, without calls: the test polls at the speed of memory. */
static const volatile uint64_t *
map_words(struct kt_vm *vm)
{
	return kt_mmap(vm, NULL, GUEST_WORDS, PAGE, false);
}

#define TIMES 100

static void
discarded(void)
{
	const char *const sent = "shootdown interrupts sent";
	struct kt_vm *const vm = spinning();
	const volatile uint64_t *const words = map_words(vm);
	uint64_t value = 1, kicks, received, slowest_ns = 0;

	for (int i = 0; i < 5; i++) /* until the words' own page is settled */
		KT_EQ(seen_now(vm, words), value);
	kicks = kt_stat(vm, -1, sent);
	received = interrupts_of(1);
	for (int i = 0; i < TIMES; i++) {
		uint64_t start, ns;

		KT_EQ(seen_now(vm, words), value);
		start = kt_now_ns();
		KT_OK(kt_range(vm, VMM_DISCARD, PROBE, PAGE));
		ns = kt_now_ns() - start;
		slowest_ns = ns > slowest_ns ? ns : slowest_ns;
		KT_EQ(seen_now(vm, words), 0);
		value = guest_word((uint64_t)i, 7);
		kt_poke(vm, PROBE, value);
	}
	received = interrupts_of(1) - received;
	kicks = kt_stat(vm, -1, sent) - kicks;
	stop(vm);
	kt_note("%llu kicks sent, %llu received; a discard took %llu us at most",
		(unsigned long long)kicks, (unsigned long long)received,
		(unsigned long long)slowest_ns / 1000);
	KT_TRUE(kicks >= TIMES / 4);
	KT_CHECK(received >= kicks, "%llu kicks were sent, %llu were received",
		 (unsigned long long)kicks, (unsigned long long)received);
}

/* Another page in its place, with other contents: the guest sees the new one. */
static void
remapped(void)
{
	struct kt_vm *const vm = spinning();
	const volatile uint64_t *const words = map_words(vm);

	for (uint64_t i = 2; i < 100; i++) {
		KT_OK(kt_range(vm, VMM_DISCARD, PROBE, PAGE));
		kt_poke(vm, PROBE, i);
		KT_EQ(seen_now(vm, words), i);
	}
	stop(vm);
}

static void
paged_out(void)
{
	struct kt_vm *const vm = spinning();
	const volatile uint64_t *const words = map_words(vm);

	for (uint64_t i = 2; i < 50; i++) {
		uint64_t done;

		KT_OK(kt_pageout(vm, 1000, 0, &done));
		kt_poke(vm, PROBE, i);
		KT_EQ(seen_now(vm, words), i);
	}
	stop(vm);
}

/* Rights go: after the call returned, no store of the guest's gets through. */
static void protected(void)
{
	struct kt_vm *vm;
	struct kt_cpu *cpu;

	need_cpus();
	vm = kt_boot(1, 0);
	cpu = &vm->cpus[0];
	KT_OK(kt_seg(vm, KT_MEM_IDENT, 64 * PAGE, ""));
	KT_OK(kt_map(vm, KT_MEM, KT_MEM_IDENT, 0, 64 * PAGE, KT_RWX, 0));
	kt_run_on_cpu(0);
	for (int i = 0; i < 30; i++) {
		uint64_t last;

		kt_start_to(cpu, 1, VMM_EXIT_PAGING, GUEST_COUNT_UNTIL, GUEST_WORDS, PROBE, 0, 0);
		kt_wait_word(vm, PROBE, 100);
		KT_OK(kt_protect(vm, KT_MEM, 64 * PAGE, VMM_PROT_READ));
		last = kt_peek(vm, PROBE);
		kt_join(cpu);
		KT_EQ(cpu->exit.u.paging.gpa, PROBE);
		KT_EQ(kt_peek(vm, PROBE), last);
		KT_OK(kt_protect(vm, KT_MEM, 64 * PAGE, KT_RWX));
		kt_poke(vm, PROBE, 0);
	}
}

/*
 * Thousands of shootdowns with a guest that mostly stays inside: in the narrow build generations
 * wrap many times, at each of which a slot must not be taken for up to date.
 */
static void
many(void)
{
	struct kt_vm *const vm = spinning();
	const volatile uint64_t *const words = map_words(vm);

	for (uint64_t i = 1; i <= 1200; i++) {
		KT_OK(kt_range(vm, VMM_DISCARD, PROBE, PAGE));
		kt_poke(vm, PROBE, i);
		if (i % 7 == 0)
			KT_EQ(seen_now(vm, words), i);
	}
	KT_TRUE(kt_stat(vm, -1, "shootdowns") + kt_stat(vm, -1, "shootdowns elided") >= 1200);
	kt_note("%llu shootdowns, %llu that nobody had to be called for",
		(unsigned long long)kt_stat(vm, -1, "shootdowns"),
		(unsigned long long)kt_stat(vm, -1, "shootdowns elided"));
	KT_TRUE(kt_stat(vm, -1, "shootdowns") >= 20);
	stop(vm);
}

static const struct kt_case cases[] = {
	{.name = "discarded", .run = discarded},       {.name = "remapped", .run = remapped},
	{.name = "paged-out", .run = paged_out},       {.name = "protected", .run = protected},
	{.name = "many", .run = many, .seconds = 240},
};

KT_MAIN(cases)
