/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Registers: what is set from outside is what the guest finds, what the guest loads is what is read
 * from outside; each of them a value of its own, so that none is taken for another.
 */

#include "harness.h"

#define CANONICAL 0xffff800000000000ull

struct known {
	enum vmm_reg reg;
	uint64_t value;
	size_t offset; /* where the guest stores it, or loads it from */
};
#define IN(field) offsetof(struct guest_regs, field)
#define NOT_STORED ((size_t)-1)

/* Values that a 64-bit guest can run with. */
static const struct known known[] = {
	{VMM_REG_RAX, 0x1111000000000001, IN(gpr[0])},
	{VMM_REG_RBX, 0x2222000000000002, IN(gpr[1])},
	{VMM_REG_RCX, 0x3333000000000003, IN(gpr[2])},
	{VMM_REG_RDX, 0x4444000000000004, IN(gpr[3])},
	{VMM_REG_RSI, 0x5555000000000005, IN(gpr[4])},
	{VMM_REG_RDI, 0x6666000000000006, IN(gpr[5])},
	{VMM_REG_RBP, 0x7777000000000007, IN(gpr[6])},
	{VMM_REG_R8, 0x8888000000000008, IN(gpr[7])},
	{VMM_REG_R9, 0x9999000000000009, IN(gpr[8])},
	{VMM_REG_R10, 0xaaaa00000000000a, IN(gpr[9])},
	{VMM_REG_R11, 0xbbbb00000000000b, IN(gpr[10])},
	{VMM_REG_R12, 0xcccc00000000000c, IN(gpr[11])},
	{VMM_REG_R13, 0xdddd00000000000d, IN(gpr[12])},
	{VMM_REG_R14, 0xeeee00000000000e, IN(gpr[13])},
	{VMM_REG_R15, 0xffff00000000000f, IN(gpr[14])},
	{VMM_REG_RSP, GUEST_STACKS + 0x1ff0, IN(rsp)},
	{VMM_REG_RFLAGS, 0x2d7, IN(rflags)},
	{VMM_REG_CR0, 0x80050033, IN(cr0)},
	{VMM_REG_CR2, 0x0000123456789abc, IN(cr2)},
	{VMM_REG_CR3, GUEST_TABLES, IN(cr3)},
	{VMM_REG_CR4, 0x6a8, IN(cr4)},
	{VMM_REG_CR8, 5, IN(cr8)},
	{VMM_REG_EFER, 0xd01, IN(efer)},
	{VMM_REG_DR0, 0x10000, IN(dr0)},
	{VMM_REG_DR1, 0x21000, IN(dr1)},
	{VMM_REG_DR2, 0x32000, IN(dr2)},
	{VMM_REG_DR3, 0x43000, IN(dr3)},
	{VMM_REG_DR6, 0xffff0ff5, IN(dr6)},
	{VMM_REG_DR7, 0x50400, IN(dr7)},
	{VMM_REG_ES, 0x40, IN(es)},
	{VMM_REG_CS, 0x48, IN(cs)},
	{VMM_REG_SS, 0x50, IN(ss)},
	{VMM_REG_DS, 0x58, IN(ds)},
	{VMM_REG_FS, 0x60, IN(fs)},
	{VMM_REG_GS, 0x68, IN(gs)},
	{VMM_REG_LDTR, 0x70, IN(ldtr)},
	{VMM_REG_TR, 0x78, IN(tr)},
	{VMM_REG_STAR, 0x0023001012345678, IN(star)},
	{VMM_REG_LSTAR, CANONICAL | 0x81000000, IN(lstar)},
	{VMM_REG_CSTAR, CANONICAL | 0x82000000, IN(cstar)},
	{VMM_REG_SFMASK, 0x47700, IN(sfmask)},
	{VMM_REG_KGS_BASE, CANONICAL | 0x83000000, IN(kgs_base)},
	{VMM_REG_SYSENTER_CS, 0x90, IN(sysenter_cs)},
	{VMM_REG_SYSENTER_ESP, CANONICAL | 0x84000000, IN(sysenter_esp)},
	{VMM_REG_SYSENTER_EIP, CANONICAL | 0x85000000, IN(sysenter_eip)},
	{VMM_REG_PAT, 0x0007040601050406, IN(pat)},
	{VMM_REG_XMM0, 0x1010000000000010, IN(xmm0[0])},
	{VMM_REG_XMM0 + 1, 0x1111000000000011, IN(xmm0[1])},
	{VMM_REG_XMM_LAST - 1, 0x1e1e00000000001e, IN(xmm15[0])},
	{VMM_REG_XMM_LAST, 0x1f1f00000000001f, IN(xmm15[1])},
};
#define KNOWN (sizeof(known) / sizeof(known[0]))

struct segment {
	enum vmm_reg reg;
	uint64_t base;
	uint32_t limit;
	uint32_t access;
	size_t offset; /* of its base, as the guest stores it */
};
static const struct segment segments[] = {
	{VMM_REG_ES, 0x1000, 0xfffff, 0x4093, NOT_STORED},
	{VMM_REG_CS, 0, 0xffffffff, 0xa09b, NOT_STORED},
	{VMM_REG_SS, 0, 0xffffffff, 0xc093, NOT_STORED},
	{VMM_REG_DS, 0x2000, 0xffffffff, 0xc093, NOT_STORED},
	{VMM_REG_FS, 0x0000111122223000, 0xfffff, 0x4093, IN(fs_base)},
	{VMM_REG_GS, CANONICAL | 0x86000000, 0xfffff, 0x4093, IN(gs_base)},
	{VMM_REG_LDTR, 0x3000, 0xff, 0x82, NOT_STORED},
	{VMM_REG_TR, 0x7800, 0x67, 0x8b, NOT_STORED},
	{VMM_REG_GDTR, 0x7000, 0x7f, 0, IN(gdt_base)},
	{VMM_REG_IDTR, 0x8000, 0xfff, 0, IN(idt_base)},
};
#define SEGMENTS (sizeof(segments) / sizeof(segments[0]))

static void
set_known(struct kt_cpu *cpu)
{
	enum vmm_reg regs[KNOWN];
	uint64_t values[KNOWN];

	for (size_t i = 0; i < KNOWN; i++) {
		regs[i] = known[i].reg;
		values[i] = known[i].value;
	}
	KT_OK(kt_set_regs(cpu, KNOWN, regs, values));
	for (size_t i = 0; i < SEGMENTS; i++)
		KT_OK(kt_set_desc(cpu, segments[i].reg, segments[i].base, segments[i].limit,
				  segments[i].access));
	kt_set_reg(cpu, VMM_REG_RIP, GUEST_ENTRY_STORE);
}

static void
expect_known(struct kt_cpu *cpu, const char *when)
{
	for (size_t i = 0; i < KNOWN; i++) {
		const uint64_t value = kt_reg(cpu, known[i].reg);

		KT_CHECK(value == known[i].value, "%s: register %u is 0x%llx, not 0x%llx", when,
			 known[i].reg, (unsigned long long)value,
			 (unsigned long long)known[i].value);
	}
}

static void
expect_segments(struct kt_cpu *cpu, const char *when)
{
	struct vmm_desc desc;

	for (size_t i = 0; i < SEGMENTS; i++) {
		const struct segment *const s = &segments[i];

		KT_OK(kt_get_desc(cpu, s->reg, &desc));
		KT_CHECK(desc.base == s->base && desc.limit == s->limit && desc.access == s->access,
			 "%s: segment %u is 0x%llx, 0x%x, 0x%x; not 0x%llx, 0x%x, 0x%x", when,
			 s->reg, (unsigned long long)desc.base, desc.limit, desc.access,
			 (unsigned long long)s->base, s->limit, s->access);
	}
}

/* From outside into the guest. */
static void
stored(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	struct guest_regs seen;

	set_known(cpu);
	expect_known(cpu, "before the run");
	expect_segments(cpu, "before the run");
	KT_OK(kt_run(cpu));
	KT_CHECK(cpu->exit.code == VMM_EXIT_INOUT, "%s", kt_exit_text(&cpu->exit));
	KT_OK(kt_read(vm, GUEST_REGS, &seen, sizeof(seen)));
	for (size_t i = 0; i < KNOWN; i++) {
		const uint64_t value = *(uint64_t *)((char *)&seen + known[i].offset);

		KT_CHECK(value == known[i].value,
			 "the guest finds 0x%llx in register %u, not 0x%llx",
			 (unsigned long long)value, known[i].reg,
			 (unsigned long long)known[i].value);
	}
	for (size_t i = 0; i < SEGMENTS; i++) {
		const uint64_t *const base = (uint64_t *)((char *)&seen + segments[i].offset);

		if (segments[i].offset == NOT_STORED)
			continue;
		KT_CHECK(*base == segments[i].base, "the guest finds base 0x%llx of %u, not 0x%llx",
			 (unsigned long long)*base, segments[i].reg,
			 (unsigned long long)segments[i].base);
		if (segments[i].access == 0)
			KT_EQ(base[1], segments[i].limit);
	}
	/* The run has changed what the program changes, and no segment. */
	expect_segments(cpu, "after the run");
}

/* From the guest to the outside: what it loads by instructions. */
static void
loaded(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	static const enum vmm_reg by_host[] = {VMM_REG_CR0, VMM_REG_CR3, VMM_REG_CR4, VMM_REG_EFER,
					       VMM_REG_DR7, VMM_REG_ES,	 VMM_REG_CS,  VMM_REG_SS,
					       VMM_REG_DS,  VMM_REG_FS,	 VMM_REG_GS,  VMM_REG_LDTR,
					       VMM_REG_TR};
	struct guest_regs regs;
	struct vmm_desc desc;

	memset(&regs, 0, sizeof(regs));
	for (size_t i = 0; i < KNOWN; i++)
		*(uint64_t *)((char *)&regs + known[i].offset) = known[i].value;
	regs.fs_base = 0x0000111122223000;
	regs.gs_base = CANONICAL | 0x86000000;
	KT_OK(kt_write(vm, GUEST_REGS_IN, &regs, sizeof(regs)));
	kt_set_reg(cpu, VMM_REG_CR4, regs.cr4); /* with OSFXSR: SSE */
	kt_set_reg(cpu, VMM_REG_RIP, GUEST_ENTRY_LOAD);
	KT_OK(kt_run(cpu));
	KT_CHECK(cpu->exit.code == VMM_EXIT_INOUT, "%s", kt_exit_text(&cpu->exit));
	for (size_t i = 0; i < KNOWN; i++) {
		bool skip = false;

		for (size_t j = 0; j < sizeof(by_host) / sizeof(by_host[0]); j++)
			skip |= by_host[j] == known[i].reg;
		if (!skip)
			KT_CHECK(kt_reg(cpu, known[i].reg) == known[i].value,
				 "register %u reads 0x%llx, the guest loaded 0x%llx", known[i].reg,
				 (unsigned long long)kt_reg(cpu, known[i].reg),
				 (unsigned long long)known[i].value);
	}
	KT_OK(kt_get_desc(cpu, VMM_REG_FS, &desc));
	KT_EQ(desc.base, regs.fs_base);
	KT_OK(kt_get_desc(cpu, VMM_REG_GS, &desc));
	KT_EQ(desc.base, regs.gs_base);
	KT_EQ(kt_reg(cpu, VMM_REG_RIP), cpu->exit.rip);
}

/* Nothing of a list is set if one of it cannot be. */
static void
all_or_nothing(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	static const struct {
		enum vmm_reg reg;
		uint64_t value;
	} bad[] = {
		{VMM_REG_CR0, 0x80000030}, /* PG without PE */
		{VMM_REG_CR0, 1ull << 40},
		{VMM_REG_CR4, 1ull << 40},
		{VMM_REG_CR8, 16},
		{VMM_REG_EFER, 1ull << 40},
		{VMM_REG_DR7, 1ull << 40},
		{VMM_REG_RFLAGS, 1ull << 40},
		{VMM_REG_LSTAR, 0x0000800000000000},
		{VMM_REG_PAT, 2},
		{VMM_REG_CS, 0x10000},
		{VMM_REG_COUNT, 0},
		{VMM_REG_GDTR, 0},
		{(enum vmm_reg)0xffffffff, 0},
	};
	struct vmm_regs many = {.vcpu = 0, .n = VMM_REGS_MAX + 1};

	set_known(cpu);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const enum vmm_reg regs[] = {VMM_REG_RAX, VMM_REG_CR8, VMM_REG_LSTAR, bad[i].reg,
					     VMM_REG_RBX};
		const uint64_t values[] = {1, 2, 3, bad[i].value, 4};
		const int error = kt_set_regs(cpu, 5, regs, values);

		KT_CHECK(error == -EINVAL, "register %u, 0x%llx: %s", bad[i].reg,
			 (unsigned long long)bad[i].value, strerror(-error));
		expect_known(cpu, "after a list that failed");
	}
	KT_ERR(kt_ioctl(vm->fd, VMM_GET_REGS, &many), EINVAL);
	KT_ERR(kt_ioctl(vm->fd, VMM_SET_REGS, &many), EINVAL);
	KT_ERR(kt_set_desc(cpu, VMM_REG_RAX, 0, 0, 0), EINVAL);
	KT_ERR(kt_set_desc(cpu, VMM_REG_GDTR, 0, 0, 1), EINVAL);
}

/* As SDM vol. 3A table 10-1 says: what a vCPU begins with. */
static void
after_reset(void)
{
	static const struct {
		enum vmm_reg reg;
		uint64_t value;
	} expected[] = {
		{VMM_REG_RIP, 0xfff0},	  {VMM_REG_RFLAGS, 2},	     {VMM_REG_CR0, 0x60000010},
		{VMM_REG_CR2, 0},	  {VMM_REG_CR3, 0},	     {VMM_REG_CR4, 0},
		{VMM_REG_EFER, 0},	  {VMM_REG_DR6, 0xffff0ff0}, {VMM_REG_DR7, 0x400},
		{VMM_REG_CS, 0xf000},	  {VMM_REG_RAX, 0},	     {VMM_REG_RSP, 0},
		{VMM_REG_SYSENTER_CS, 0},
	};
	struct kt_vm *const vm = kt_create(0);
	struct kt_cpu *const cpu = kt_activate(vm, 0);
	struct vmm_desc desc;

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
			const uint64_t value = kt_reg(cpu, expected[i].reg);

			KT_CHECK(value == expected[i].value,
				 "register %u is 0x%llx after reset, not 0x%llx", expected[i].reg,
				 (unsigned long long)value, (unsigned long long)expected[i].value);
		}
		KT_OK(kt_get_desc(cpu, VMM_REG_CS, &desc));
		KT_EQ(desc.base, 0xffff0000);
		KT_EQ(desc.limit, 0xffff);
		KT_OK(kt_get_desc(cpu, VMM_REG_IDTR, &desc));
		KT_EQ(desc.limit, 0xffff);

		/* Once more, after all was changed. */
		kt_long_mode(cpu);
		set_known(cpu);
		{
			struct vmm_cpu suspend = {.how = VMM_SUSPEND_RESET};

			KT_OK(kt_ioctl(vm->fd, VMM_SUSPEND, &suspend));
			KT_OK(kt_ioctl(vm->fd, VMM_REINIT, NULL));
		}
	}
}

static const struct kt_case cases[] = {
	{.name = "stored", .run = stored},
	{.name = "loaded", .run = loaded},
	{.name = "all-or-nothing", .run = all_or_nothing},
	{.name = "after-reset", .run = after_reset},
};

KT_MAIN(cases)
