/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Faults on guest memory: pages come when they are touched, with the right bytes; what may not be
 * done is not done, and is told with address, kind and reason.
 */

#include "harness.h"

/* enum vm_fault_reason by number: part of the ABI. */
#define REASON_UNMAPPED 2
#define REASON_DENIED 3

#define NOWHERE 0x70000000ull /* no memory there, unless a case puts it */

static void
expect_record(const struct vmm_exit *exit, uint64_t gpa, unsigned int access, unsigned int reason,
	      int error)
{
	const struct vmm_exit_paging *const p = &exit->u.paging;

	KT_EQ(p->gpa & ~(PAGE - 1), gpa & ~(PAGE - 1));
	KT_CHECK(p->access & access, "access is %u, without %u", p->access, access);
	KT_EQ(p->reason, reason);
	KT_EQ(p->error, -error);
}

/* Three windows of one segment, overlapping in it: what is written by one is read by the others. */
static void
demand(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	const uint64_t windows[] = {KT_MEM, 0x2000000, 0x3001000};
	const uint64_t offsets[] = {0, 2 * MIB, 3 * MIB};

	KT_OK(kt_seg(vm, KT_MEM_IDENT, 8 * MIB, ""));
	for (int i = 0; i < 3; i++)
		KT_OK(kt_map(vm, windows[i], KT_MEM_IDENT, offsets[i], 4 * MIB, KT_RWX, 0));

	/* The host fills by the first, page by page with holes; the guest reads by the second. */
	for (uint64_t at = 2 * MIB; at < 4 * MIB; at += 16 * KIB)
		kt_poke(vm, windows[0] + at, guest_word(at, 1));
	for (uint64_t at = 2 * MIB; at < 4 * MIB; at += 4 * KIB)
		KT_EQ(kt_call(cpu, GUEST_READ, windows[1] + at - 2 * MIB, 0, 0, 0),
		      at % (16 * KIB) == 0 ? guest_word(at, 1) : 0);

	/* The guest fills by the third, to the last byte; the host reads by the second. */
	kt_call(cpu, GUEST_FILL, windows[2], 4 * MIB, 8 * KIB, 2);
	KT_EQ(kt_call(cpu, GUEST_VERIFY, windows[2], 4 * MIB, 8 * KIB, 2), 0);
	for (uint64_t at = 0; at < 3 * MIB; at += 8 * KIB)
		KT_EQ(kt_peek(vm, windows[1] + MIB + at), guest_word(windows[2] + at, 2));
	kt_call(cpu, GUEST_WRITE, windows[2] + 4 * MIB - 8, 0x1122334455667788, 0, 0);
	KT_EQ(kt_peek(vm, windows[2] + 4 * MIB - 8), 0x1122334455667788);
}

/* One page touched takes one page: where there can be no runs, the accounts are exact. */
static void
accounts(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	const uint64_t base = KT_MEM + PAGE; /* gpa and offset never agree: no superpages */
	struct vmm_accounts before, after;

	KT_OK(kt_seg(vm, KT_MEM_IDENT, MIB, ""));
	KT_OK(kt_map(vm, base, KT_MEM_IDENT, 0, MIB, KT_RWX, 0));
	KT_EQ(kt_call(cpu, GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
	before = kt_accounts(vm);
	KT_EQ(kt_call(cpu, GUEST_TOUCH, base, 64 * PAGE, 4 * PAGE, 0), 0);
	kt_call(cpu, GUEST_FILL, base + 128 * PAGE, 8 * PAGE, PAGE, 1);
	after = kt_accounts(vm);
	KT_EQ(after.resident + after.reserved_runs - before.resident - before.reserved_runs, 24);
	KT_EQ(after.mapped - before.mapped, 24);
	KT_EQ(after.leaves[0] + 512 * after.leaves[1] + 262144 * after.leaves[2], after.mapped);
	KT_TRUE(kt_stat(vm, 0, "vm exits due to nested page fault") >= 24);
}

/* Code that a window may or may not execute: mov $0x2a, %eax; ret */
static const unsigned char answer[] = {0xb8, 0x2a, 0, 0, 0, 0xc3};

static void
denied(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	const uint64_t rwx = KT_MEM, r = 0x2000000, rx = 0x3000000, rw = 0x4000000;

	KT_OK(kt_seg(vm, KT_MEM_IDENT, MIB, ""));
	KT_OK(kt_map(vm, rwx, KT_MEM_IDENT, 0, MIB, KT_RWX, 0));
	KT_OK(kt_map(vm, r, KT_MEM_IDENT, 0, MIB, VMM_PROT_READ, 0));
	KT_OK(kt_map(vm, rx, KT_MEM_IDENT, 0, MIB, VMM_PROT_READ | VMM_PROT_EXEC, 0));
	KT_OK(kt_map(vm, rw, KT_MEM_IDENT, 0, MIB, KT_RW, 0));
	KT_OK(kt_write(vm, rwx, answer, sizeof(answer)));
	kt_poke(vm, rwx + 64, 77);

	KT_EQ(kt_call(cpu, GUEST_READ, r + 64, 0, 0, 0), 77);
	KT_EQ(kt_call(cpu, GUEST_EXECUTE, rwx, 0, 0, 0), 0x2a);
	KT_EQ(kt_call(cpu, GUEST_EXECUTE, rx, 0, 0, 0), 0x2a);

	kt_call_to(cpu, VMM_EXIT_PAGING, GUEST_WRITE, r + 64, 1, 0, 0);
	expect_record(&cpu->exit, r + 64, VMM_PROT_WRITE, REASON_DENIED, EACCES);
	KT_EQ(cpu->exit.u.paging.gpa, r + 64);
	kt_call_to(cpu, VMM_EXIT_PAGING, GUEST_WRITE, rx + 64, 1, 0, 0);
	expect_record(&cpu->exit, rx + 64, VMM_PROT_WRITE, REASON_DENIED, EACCES);
	kt_call_to(cpu, VMM_EXIT_PAGING, GUEST_EXECUTE, r, 0, 0, 0);
	expect_record(&cpu->exit, r, VMM_PROT_EXEC, REASON_DENIED, EACCES);
	kt_call_to(cpu, VMM_EXIT_PAGING, GUEST_EXECUTE, rw, 0, 0, 0);
	expect_record(&cpu->exit, rw, VMM_PROT_EXEC, REASON_DENIED, EACCES);
	KT_EQ(kt_peek(vm, rwx + 64), 77);
	KT_ERR(kt_write(vm, r + 64, answer, sizeof(answer)), EACCES);
	KT_EQ(kt_peek(vm, rwx + 64), 77);

	/* Rights that no format can express are refused, not widened. */
	KT_ERR(kt_map(vm, 0x5000000, KT_MEM_IDENT, 0, MIB, VMM_PROT_WRITE, 0), EOPNOTSUPP);
	KT_ERR(kt_map(vm, 0x5000000, KT_MEM_IDENT, 0, MIB, 0, 0), EINVAL);
	KT_ERR(kt_map(vm, 0x5000000, KT_MEM_IDENT, 0, MIB, 8, 0), EINVAL);
}

static void
execute_only(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	const uint64_t x = 0x2000000;

	kt_memory(vm, MIB);
	if (!kt_platform()->exec_only) {
		KT_ERR(kt_map(vm, x, KT_MEM_IDENT, 0, MIB, VMM_PROT_EXEC, 0), EOPNOTSUPP);
		return;
	}
	KT_OK(kt_map(vm, x, KT_MEM_IDENT, 0, MIB, VMM_PROT_EXEC, 0));
	KT_OK(kt_write(vm, KT_MEM, answer, sizeof(answer)));
	KT_EQ(kt_call(cpu, GUEST_EXECUTE, x, 0, 0, 0), 0x2a);
	kt_call_to(cpu, VMM_EXIT_PAGING, GUEST_READ, x, 0, 0, 0);
	expect_record(&cpu->exit, x, VMM_PROT_READ, REASON_DENIED, EACCES);
	KT_EQ(kt_call(cpu, GUEST_EXECUTE, x, 0, 0, 0), 0x2a);
}

/* The same instruction goes on when the right is given. */
static void
retried(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	KT_OK(kt_seg(vm, KT_MEM_IDENT, MIB, ""));
	KT_OK(kt_map(vm, KT_MEM, KT_MEM_IDENT, 0, MIB, VMM_PROT_READ, 0));
	kt_call_to(cpu, VMM_EXIT_PAGING, GUEST_WRITE, KT_MEM + 8, 5, 0, 0);
	kt_run_to(cpu, VMM_EXIT_PAGING);
	KT_OK(kt_protect(vm, KT_MEM, MIB, KT_RW));
	kt_go_on(cpu);
	KT_EQ(kt_peek(vm, KT_MEM + 8), 5);

	/* And a right that is taken away is gone at once. */
	KT_OK(kt_protect(vm, KT_MEM, MIB, VMM_PROT_READ));
	kt_call_to(cpu, VMM_EXIT_PAGING, GUEST_WRITE, KT_MEM + 8, 6, 0, 0);
	KT_EQ(kt_peek(vm, KT_MEM + 8), 5);
}

static void
unmapped(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	KT_OK(kt_seg(vm, KT_MEM_IDENT, MIB, ""));
	KT_OK(kt_map(vm, NOWHERE + 0x10000, KT_MEM_IDENT, 0, MIB, KT_RWX, 0));

	kt_call_to(cpu, VMM_EXIT_MMIO, GUEST_READ, NOWHERE + 0x1008, 0, 0, 0);
	expect_record(&cpu->exit, NOWHERE + 0x1008, VMM_PROT_READ, REASON_UNMAPPED, EFAULT);
	KT_EQ(cpu->exit.u.paging.gpa, NOWHERE + 0x1008);
	KT_EQ(cpu->exit.u.paging.len_bytes, 0xf000);
	KT_EQ(cpu->exit.u.paging.walk, 0);
	if (cpu->exit.u.paging.gla_valid)
		KT_EQ(cpu->exit.u.paging.gla, NOWHERE + 0x1008);
	kt_call_to(cpu, VMM_EXIT_MMIO, GUEST_WRITE, NOWHERE + 0x2000, 1, 0, 0);
	expect_record(&cpu->exit, NOWHERE + 0x2000, VMM_PROT_WRITE, REASON_UNMAPPED, EFAULT);
	/* What cannot be emulated as an access to a device is told as what it is. */
	kt_call_to(cpu, VMM_EXIT_PAGING, GUEST_EXECUTE, NOWHERE, 0, 0, 0);
	expect_record(&cpu->exit, NOWHERE, VMM_PROT_EXEC, REASON_UNMAPPED, EFAULT);

	/* Memory comes there, and the access goes on. */
	kt_call_to(cpu, VMM_EXIT_MMIO, GUEST_READ, NOWHERE + 0x1008, 0, 0, 0);
	KT_OK(kt_map(vm, NOWHERE, KT_MEM_IDENT, 0, 0x10000, KT_RWX, 0));
	kt_poke(vm, NOWHERE + 0x11008, 0x1234);
	KT_EQ(kt_go_on(cpu), 0x1234);
}

/* The guest's page tables are where there is no memory, or where they may not be written. */
static void
walk(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	kt_prepare(cpu, GUEST_NOP, 0, 0, 0, 0);
	kt_set_reg(cpu, VMM_REG_CR3, NOWHERE);
	kt_run_to(cpu, VMM_EXIT_PAGING);
	expect_record(&cpu->exit, NOWHERE, VMM_PROT_READ | VMM_PROT_WRITE, REASON_UNMAPPED, EFAULT);
	KT_EQ(cpu->exit.u.paging.walk, 1);
	kt_set_reg(cpu, VMM_REG_CR3, GUEST_TABLES);
	KT_EQ(kt_go_on(cpu), GUEST_NOP_RESULT);
}

static const struct kt_case cases[] = {
	{.name = "demand", .run = demand},   {.name = "accounts", .run = accounts},
	{.name = "denied", .run = denied},   {.name = "execute-only", .run = execute_only},
	{.name = "retried", .run = retried}, {.name = "unmapped", .run = unmapped},
	{.name = "walk", .run = walk},
};

KT_MAIN(cases)
