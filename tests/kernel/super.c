/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Superpages under a running guest: they come, are split and joined again, and the guest's memory
 * keeps its contents. With use_superpages=0 the same cases assert that there are none.
 */

#include "harness.h"

#define BYTES (8 * MIB)
#define SUPERS (BYTES / SUPER)

static int
super(struct kt_vm *vm, uint64_t gpa, unsigned int level, bool demote)
{
	struct vmm_super s = {.gpa = gpa, .level = level, .demote = demote};

	return kt_ioctl(vm->fd, VMM_SUPER, &s);
}

static void
expect_consistent(struct kt_vm *vm)
{
	const struct vmm_accounts a = kt_accounts(vm);

	KT_EQ(a.leaves[0] + 512 * a.leaves[1] + 262144 * a.leaves[2], a.mapped);
}

/* A machine whose memory was all touched; -> whether it is in superpages, as it must be then. */
static struct kt_vm *
filled(unsigned int ncpus)
{
	struct kt_vm *const vm = kt_boot(ncpus, 0);

	kt_memory(vm, BYTES);
	kt_call(&vm->cpus[0], GUEST_FILL, KT_MEM, BYTES, 1024, 1);
	return vm;
}

static void
need_supers(struct kt_vm *vm)
{
	if (!kt_platform()->superpages)
		kt_not_applicable("superpages are off or not there");
	if (kt_accounts(vm).leaves[1] < SUPERS)
		kt_not_applicable("this kernel gave %llu runs of %llu",
				  (unsigned long long)kt_accounts(vm).leaves[1], SUPERS);
}

static void
present(void)
{
	struct kt_vm *const vm = filled(1);
	const struct vmm_accounts a = kt_accounts(vm);

	expect_consistent(vm);
	kt_note("%llu superpages after %llu MiB were touched", (unsigned long long)a.leaves[1],
		BYTES / MIB);
	KT_EQ(kt_call(&vm->cpus[0], GUEST_VERIFY, KT_MEM, BYTES, 1024, 1), 0);
	if (!kt_platform()->superpages) {
		KT_EQ(a.leaves[1], 0);
		KT_EQ(a.leaves[2], 0);
		KT_TRUE(super(vm, KT_MEM, 1, false) < 0);
		KT_EQ(kt_accounts(vm).leaves[1], 0);
	}
}

static void
split_and_joined(void)
{
	struct kt_vm *const vm = filled(2);
	struct vmm_accounts before, after;

	need_supers(vm);
	kt_start(&vm->cpus[1], -1, GUEST_WRITER, KT_MEM, BYTES / PAGE, GUEST_WORDS, 0);
	kt_wait_word(vm, GUEST_WORDS + 8, 1);
	before = kt_accounts(vm);
	for (int round = 0; round < 20; round++) {
		for (uint64_t i = 0; i < SUPERS; i++)
			KT_OK(super(vm, KT_MEM + i * SUPER, 1, true));
		after = kt_accounts(vm);
		KT_EQ(after.leaves[1], before.leaves[1] - SUPERS);
		KT_EQ(after.leaves[0], before.leaves[0] + SUPERS * 512);
		KT_EQ(after.mapped, before.mapped);
		for (uint64_t i = 0; i < SUPERS; i++)
			KT_OK(super(vm, KT_MEM + i * SUPER, 1, false));
		after = kt_accounts(vm);
		KT_EQ(after.leaves[1], before.leaves[1]);
		KT_EQ(after.leaves[0], before.leaves[0]);
	}
	KT_TRUE(kt_stat(vm, -1, "superpage demotions") >= 20 * SUPERS);
	KT_TRUE(kt_stat(vm, -1, "superpage promotions") >= 20 * SUPERS);
	kt_poke(vm, GUEST_WORDS, 1);
	{
		const uint64_t rounds = kt_join(&vm->cpus[1]);

		KT_TRUE(rounds > 0);
		for (uint64_t at = 0; at < BYTES; at += PAGE)
			KT_EQ(kt_peek(vm, KT_MEM + at), rounds);
	}
	for (uint64_t at = 0; at < BYTES; at += PAGE)
		KT_EQ(kt_call(&vm->cpus[0], GUEST_VERIFY, KT_MEM + at + 1024, 3072, 1024, 1), 0);
}

/* What differs from page to page forces a split; when it is alike again they may come back. */
static void
logged(void)
{
	struct kt_vm *const vm = filled(1);
	struct vmm_accounts before;
	uint64_t bits[BYTES / PAGE / 64];

	need_supers(vm);
	before = kt_accounts(vm);
	KT_OK(kt_dirty(vm, VMM_DIRTY_ENABLE, 0, 0, NULL));
	kt_call(&vm->cpus[0], GUEST_WRITE, KT_MEM + 5 * PAGE, 9, 0, 0);
	KT_OK(kt_dirty(vm, VMM_DIRTY_CLEAR, KT_MEM, BYTES, bits));
	KT_EQ(bits[0], 1 << 5);
	for (uint64_t i = 1; i < sizeof(bits) / sizeof(bits[0]); i++)
		KT_EQ(bits[i], 0);
	KT_OK(kt_dirty(vm, VMM_DIRTY_DISABLE, 0, 0, NULL));
	expect_consistent(vm);
	KT_EQ(kt_accounts(vm).mapped, before.mapped);
	KT_EQ(kt_call(&vm->cpus[0], GUEST_READ, KT_MEM + 5 * PAGE, 0, 0, 0), 9);
	KT_EQ(kt_call(&vm->cpus[0], GUEST_VERIFY, KT_MEM + SUPER, BYTES - SUPER, 1024, 1), 0);
}

/* No superpage is executable: a fetch splits one, and recovery brings it back. */
static void
not_executable(void)
{
	static const unsigned char answer[] = {0xb8, 0x2a, 0, 0, 0, 0xc3};
	struct kt_vm *const vm = filled(1);
	struct kt_cpu *const cpu = &vm->cpus[0];
	struct vmm_accounts before, after;
	uint64_t splits;

	need_supers(vm);
	for (uint64_t i = 0; i < SUPERS; i++)
		KT_OK(kt_write(vm, KT_MEM + i * SUPER + 7 * PAGE, answer, sizeof(answer)));
	KT_OK(kt_exec_control(vm, VMM_EXEC_NX_SUPERPAGES_ON));
	KT_EQ(kt_call(cpu, GUEST_VERIFY, KT_MEM + 8 * PAGE, SUPER / 2, 1024, 1), 0);
	before = kt_accounts(vm);
	splits = kt_stat(vm, -1, "superpages split for execution");
	for (uint64_t i = 0; i < SUPERS; i++)
		KT_EQ(kt_call(cpu, GUEST_EXECUTE, KT_MEM + i * SUPER + 7 * PAGE, 0, 0, 0), 0x2a);
	after = kt_accounts(vm);
	KT_EQ(kt_stat(vm, -1, "superpages split for execution") - splits,
	      before.leaves[1] - after.leaves[1]);
	KT_TRUE(after.leaves[1] < before.leaves[1]);
	expect_consistent(vm);
	KT_OK(kt_exec_control(vm, VMM_EXEC_RECOVER));
	kt_call(cpu, GUEST_FILL, KT_MEM + 8, BYTES, 1024, 3); /* and again, beside the code */
	KT_EQ(kt_call(cpu, GUEST_VERIFY, KT_MEM + 8, BYTES, 1024, 3), 0);
	KT_OK(kt_exec_control(vm, VMM_EXEC_RECOVER));
	KT_TRUE(kt_accounts(vm).leaves[1] > after.leaves[1]);
	KT_EQ(kt_call(cpu, GUEST_EXECUTE, KT_MEM + 7 * PAGE, 0, 0, 0), 0x2a);
	KT_OK(kt_exec_control(vm, VMM_EXEC_NX_SUPERPAGES_OFF));
	KT_EQ(kt_call(cpu, GUEST_EXECUTE, KT_MEM + SUPER + 7 * PAGE, 0, 0, 0), 0x2a);
	KT_EQ(kt_call(cpu, GUEST_VERIFY, KT_MEM + 8, BYTES, 1024, 3), 0);
}

static void
arguments(void)
{
	struct kt_vm *const vm = filled(1);
	struct vmm_exec exec = {.op = 77};

	KT_ERR(super(vm, KT_MEM, 0, false), EINVAL);
	KT_ERR(super(vm, KT_MEM, 9, false), EINVAL);
	KT_TRUE(super(vm, 0x50000000, 1, false) < 0);
	KT_ERR(kt_ioctl(vm->fd, VMM_EXEC_CONTROL, &exec), EINVAL);
}

static const struct kt_case cases[] = {
	{.name = "present", .run = present},
	{.name = "split-and-joined", .run = split_and_joined},
	{.name = "logged", .run = logged},
	{.name = "not-executable", .run = not_executable},
	{.name = "arguments", .run = arguments},
};

KT_MAIN(cases)
