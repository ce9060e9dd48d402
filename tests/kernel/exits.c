/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What ends VMM_RUN and what does not, with its facts; and that the guest goes on after it.
 */

#include "harness.h"

static struct kt_vm *vm;
static struct kt_cpu *cpu;

static void
boot(void)
{
	vm = kt_boot(1, 0);
	cpu = &vm->cpus[0];
}

/* ---- I/O ------------------------------------------------------------------------------------- */

static void
inout(void)
{
	static const uint64_t masks[] = {0xff, 0xffff, 0xffffffff};

	boot();
	for (unsigned int i = 0; i < 3; i++) {
		const unsigned int bytes = 1u << i;
		const struct vmm_exit_inout *const io = &cpu->exit.u.inout;

		kt_call_to(cpu, VMM_EXIT_INOUT, GUEST_OUT, 0x3f8 + i, bytes, 0x89abcdef, 0);
		KT_EQ(io->port, 0x3f8 + i);
		KT_EQ(io->bytes, bytes);
		KT_EQ(io->in, 0);
		KT_EQ(io->string, 0);
		KT_EQ(io->eax & masks[i], 0x89abcdef & masks[i]);
		KT_EQ(cpu->exit.inst_bytes, bytes == 2 ? 2 : 1);
		KT_EQ(kt_reg(cpu, VMM_REG_RIP), cpu->exit.rip);
		kt_go_on(cpu);

		kt_call_to(cpu, VMM_EXIT_INOUT, GUEST_IN, 0xffff, bytes, 0, 0);
		KT_EQ(io->port, 0xffff);
		KT_EQ(io->bytes, bytes);
		KT_EQ(io->in, 1);
		kt_set_reg(cpu, VMM_REG_RAX, 0x12345678 & masks[i]);
		KT_EQ(kt_go_on(cpu), 0x12345678 & masks[i]);
	}
}

static void
string_inout(void)
{
	const struct vmm_exit_inout *io;

	boot();
	io = &cpu->exit.u.inout;
	kt_call_to(cpu, VMM_EXIT_INOUT, GUEST_OUTS, 0x60, GUEST_WORDS + 0x100, 7, 0);
	KT_EQ(io->string, 1);
	KT_EQ(io->rep, 1);
	KT_EQ(io->in, 0);
	KT_EQ(io->bytes, 1);
	KT_EQ(io->port, 0x60);
	KT_TRUE(io->addr_bytes == 8 || io->addr_bytes == 0);
	if (io->addr_bytes)
		KT_EQ(io->seg, VMM_REG_DS);
	KT_EQ(kt_reg(cpu, VMM_REG_RSI), GUEST_WORDS + 0x100);
	KT_EQ(kt_reg(cpu, VMM_REG_RCX), 7);
	kt_set_reg(cpu, VMM_REG_RCX, 0);
	KT_EQ(kt_go_on(cpu), 0);

	kt_call_to(cpu, VMM_EXIT_INOUT, GUEST_INS, 0x61, GUEST_WORDS + 0x100, 9, 0);
	KT_EQ(io->string, 1);
	KT_EQ(io->in, 1);
	KT_EQ(io->port, 0x61);
	KT_EQ(kt_reg(cpu, VMM_REG_RDI), GUEST_WORDS + 0x100);
	KT_EQ(kt_reg(cpu, VMM_REG_RCX), 9);
	kt_set_reg(cpu, VMM_REG_RCX, 2);
	KT_EQ(kt_go_on(cpu), 2);
}

/* ---- MSRs, CPUID ----------------------------------------------------------------------------- */

static void
msrs(void)
{
	boot();
	kt_call_to(cpu, VMM_EXIT_RDMSR, GUEST_RDMSR, 0x4b564d77, 0, 0, 0);
	KT_EQ(cpu->exit.u.msr.index, 0x4b564d77);
	KT_EQ(cpu->exit.inst_bytes, 2);
	kt_set_reg(cpu, VMM_REG_RAX, 0x55667788);
	kt_set_reg(cpu, VMM_REG_RDX, 0x11223344);
	KT_EQ(kt_go_on(cpu), 0x1122334455667788);
	kt_call_to(cpu, VMM_EXIT_WRMSR, GUEST_WRMSR, 0x4b564d78, 0xaabbccdd00112233, 0, 0);
	KT_EQ(cpu->exit.u.msr.index, 0x4b564d78);
	KT_EQ(cpu->exit.u.msr.value, 0xaabbccdd00112233);
	kt_go_on(cpu);

	/* Those that are answered at once: EFER, PAT, APIC base, the time. */
	KT_EQ(kt_call(cpu, GUEST_RDMSR, 0xc0000080, 0, 0, 0), 0x500);
	kt_call(cpu, GUEST_WRMSR, 0xc0000080, 0x501, 0, 0);
	KT_EQ(kt_call(cpu, GUEST_RDMSR, 0xc0000080, 0, 0, 0), 0x501);
	KT_EQ(kt_reg(cpu, VMM_REG_EFER), 0x501);
	kt_call(cpu, GUEST_WRMSR, 0x277, 0x0606060606060606, 0, 0);
	KT_EQ(kt_call(cpu, GUEST_RDMSR, 0x277, 0, 0, 0), 0x0606060606060606);
	KT_EQ(kt_call(cpu, GUEST_RDMSR, 0x1b, 0, 0, 0) & ~0x100ull, 0xfee00800);
	KT_TRUE(kt_call(cpu, GUEST_RDMSR, 0x10, 0, 0, 0) <
		kt_call(cpu, GUEST_RDMSR, 0x10, 0, 0, 0));

	/* A value that no CPU takes is #GP(0), and nothing is changed. */
	kt_poke(vm, GUEST_EVENTS + 8, 2);
	kt_call(cpu, GUEST_WRMSR, 0x277, 0x0202020202020202, 0, 0);
	KT_EQ(kt_peek(vm, GUEST_EVENTS), 1);
	KT_EQ(kt_peek(vm, GUEST_EVENTS + 16), 13);
	KT_EQ(kt_peek(vm, GUEST_EVENTS + 24), 0);
	KT_EQ(kt_call(cpu, GUEST_RDMSR, 0x277, 0, 0, 0), 0x0606060606060606);
	kt_call(cpu, GUEST_WRMSR, 0xc0000080, 1ull << 40, 0, 0);
	KT_EQ(kt_peek(vm, GUEST_EVENTS), 2);
	KT_EQ(kt_reg(cpu, VMM_REG_EFER), 0x501);
}

static void
cpuid(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	kt_call(cpu, GUEST_CPUID, leaf, sub, GUEST_WORDS + 0x200, 0);
	KT_OK(kt_read(vm, GUEST_WORDS + 0x200, out, 16));
}

static void
cpuid_leaves(void)
{
	uint32_t l[4];

	vm = kt_boot(3, 0);
	cpu = &vm->cpus[0];
	cpuid(VMM_CPUID_LEAF, 0, l);
	KT_EQ(l[0], VMM_CPUID_LEAF + 1);
	KT_EQ(memcmp(&l[1], VMM_CPUID_VENDOR, 12), 0);
	cpuid(VMM_CPUID_LEAF + 1, 0, l);
	KT_EQ(l[0], VMM_ABI_VERSION);
	cpu = &vm->cpus[2];
	cpuid(1, 0, l);
	KT_EQ(l[1] >> 24, 2);	  /* APIC id */
	KT_EQ(l[2] >> 31 & 1, 1); /* a hypervisor */
	KT_EQ(l[2] >> 5 & 1, 0);  /* VMX */
	KT_EQ(l[2] >> 26 & 3, 0); /* XSAVE, OSXSAVE */
	KT_EQ(l[2] >> 3 & 1, 0);  /* MONITOR */
	KT_EQ(l[3] >> 24 & 7, 7); /* FXSR, SSE, SSE2 */
	cpuid(0x80000001, 0, l);
	KT_EQ(l[2] >> 2 & 1, 0);  /* SVM */
	KT_EQ(l[3] >> 29 & 1, 1); /* long mode */
	cpuid(0x80000000, 0, l);
	KT_TRUE(l[0] >= 0x80000008);
}

/* ---- HLT, PAUSE, calls, single steps --------------------------------------------------------- */

static void
halt(void)
{
	boot();
	kt_call_to(cpu, VMM_EXIT_HLT, GUEST_HLT, 0, 0, 0, 0);
	KT_TRUE(cpu->exit.u.rflags & 0x200);
	KT_EQ(cpu->exit.inst_bytes, 1);
	kt_go_on(cpu);

	/* Within the module: until an interrupt comes. */
	KT_OK(kt_set_cap(cpu, VMM_CAP_HALT_EXIT, 0));
	kt_start(cpu, -1, GUEST_HLT, 0, 0, 0, 0);
	kt_sleep_ms(100);
	KT_EQ(kt_peek(vm, GUEST_EVENTS), 0);
	KT_OK(kt_inject(cpu, VMM_EVENT_INTR, 0x40, -1));
	kt_join(cpu);
	KT_EQ(kt_peek(vm, GUEST_EVENTS), 1);
	KT_EQ(kt_peek(vm, GUEST_EVENTS + 16), 0x40);
	kt_start(cpu, -1, GUEST_HLT, 0, 0, 0, 0);
	kt_sleep_ms(20);
	KT_OK(kt_inject(cpu, VMM_EVENT_NMI, 0, -1));
	kt_join(cpu);
	KT_EQ(kt_peek(vm, GUEST_EVENTS), 2);
}

static void
pause_exit(void)
{
	boot();
	kt_call(cpu, GUEST_PAUSE, 0, 0, 0, 0);
	if (kt_set_cap(cpu, VMM_CAP_PAUSE_EXIT, 1) == -EOPNOTSUPP)
		kt_not_applicable("PAUSE cannot be made to exit here");
	kt_call_to(cpu, VMM_EXIT_PAUSE, GUEST_PAUSE, 0, 0, 0, 0);
	KT_EQ(cpu->exit.inst_bytes, 2);
	kt_go_on(cpu);
	KT_OK(kt_set_cap(cpu, VMM_CAP_PAUSE_EXIT, 0));
	kt_call(cpu, GUEST_PAUSE, 0, 0, 0, 0);
}

static void
hypercall(void)
{
	const bool vtx = kt_platform()->kind == VMM_CPU_VTX;
	const struct vmm_exit_hypercall *h;

	boot();
	h = &cpu->exit.u.hypercall;
	kt_call_to(cpu, VMM_EXIT_HYPERCALL, vtx ? GUEST_VMCALL : GUEST_VMMCALL, 0x66, 0, 0, 0);
	KT_EQ(h->rax, 0x11);
	KT_EQ(h->rbx, 0x22);
	KT_EQ(h->rcx, 0x33);
	KT_EQ(h->rdx, 0x44);
	KT_EQ(h->rsi, 0x55);
	KT_EQ(h->rdi, 0x66);
	KT_EQ(cpu->exit.inst_bytes, 3);
	kt_set_reg(cpu, VMM_REG_RAX, 0x77);
	KT_EQ(kt_go_on(cpu), 0x77);

	/* The other vendor's is an undefined instruction. */
	kt_poke(vm, GUEST_EVENTS + 8, 3);
	kt_call(cpu, vtx ? GUEST_VMMCALL : GUEST_VMCALL, 0, 0, 0, 0);
	KT_EQ(kt_peek(vm, GUEST_EVENTS), 1);
	KT_EQ(kt_peek(vm, GUEST_EVENTS + 16), 6);
}

static void
single_steps(void)
{
	uint64_t steps = 0, last = 0;

	boot();
	if (kt_set_cap(cpu, VMM_CAP_MTRAP_EXIT, 1) == -EOPNOTSUPP)
		kt_not_applicable("this CPU has no monitor trap flag");
	kt_prepare(cpu, GUEST_SUM_LOOP, 10, 0, 0, 0);
	for (;;) {
		KT_OK(kt_run(cpu));
		if (cpu->exit.code != VMM_EXIT_MTRAP)
			break;
		KT_TRUE(cpu->exit.rip != last);
		last = cpu->exit.rip;
		KT_TRUE(++steps < 1000);
	}
	KT_EQ(cpu->exit.code, VMM_EXIT_INOUT);
	KT_TRUE(steps > 30);
	KT_EQ(kt_reg(cpu, VMM_REG_RAX), 55);
	KT_OK(kt_set_cap(cpu, VMM_CAP_MTRAP_EXIT, 0));
	KT_EQ(kt_call(cpu, GUEST_SUM_LOOP, 10, 0, 0, 0), 55);
}

static void
preemption_timer(void)
{
	unsigned int times = 0;

	boot();
	if (kt_set_cap(cpu, VMM_CAP_PREEMPT_TIMER, 10000) == -EOPNOTSUPP)
		kt_not_applicable("this CPU has no preemption timer");
	kt_prepare(cpu, GUEST_SUM_LOOP, 1000000, 0, 0, 0);
	kt_set_reg(cpu, VMM_REG_RFLAGS, 2); /* interrupts off: nothing else calls it out */
	while (kt_run(cpu) == 0 && cpu->exit.code == VMM_EXIT_TIMER)
		KT_TRUE(++times < 1000000);
	KT_EQ(cpu->exit.code, VMM_EXIT_INOUT);
	KT_TRUE(times > 0);
	KT_EQ(kt_reg(cpu, VMM_REG_RAX), 500000500000);
	KT_OK(kt_set_cap(cpu, VMM_CAP_PREEMPT_TIMER, 0));
	KT_EQ(kt_call(cpu, GUEST_SUM_LOOP, 1000, 0, 0, 0), 500500);
}

/* ---- Control registers ----------------------------------------------------------------------- */

static void
control_registers(void)
{
	boot();
	KT_EQ(kt_call(cpu, GUEST_READ_CR, 3, 0, 0, 0), GUEST_TABLES);
	KT_EQ(kt_call(cpu, GUEST_WRITE_CR, 0, 0x80010031, 0, 0), 0x80010031);
	KT_EQ(kt_reg(cpu, VMM_REG_CR0), 0x80010031);
	KT_EQ(kt_call(cpu, GUEST_WRITE_CR, 4, 0x2a0, 0, 0), 0x2a0);
	KT_EQ(kt_reg(cpu, VMM_REG_CR4), 0x2a0);
	KT_EQ(kt_call(cpu, GUEST_WRITE_CR, 3, GUEST_TABLES | 0x18, 0, 0), GUEST_TABLES | 0x18);
	KT_EQ(kt_call(cpu, GUEST_WRITE_CR, 2, 0x123000, 0, 0), 0x123000);
	KT_EQ(kt_reg(cpu, VMM_REG_CR2), 0x123000);
	KT_EQ(kt_call(cpu, GUEST_WRITE_CR, 8, 7, 0, 0), 7);
	KT_EQ(kt_reg(cpu, VMM_REG_CR8), 7);
	KT_EQ(kt_call(cpu, GUEST_WRITE_CR, 8, 0, 0, 0), 0);
	KT_EQ(kt_call(cpu, GUEST_WRITE_DR, 0, 0x1234, 0, 0), 0x1234);
	KT_EQ(kt_call(cpu, GUEST_WRITE_DR, 3, 0x5678, 0, 0), 0x5678);
	KT_EQ(kt_reg(cpu, VMM_REG_DR3), 0x5678);

	/* What is reserved, or not offered, is #GP(0): VMXE, bit 40. */
	kt_poke(vm, GUEST_EVENTS + 8, 3);
	kt_call(cpu, GUEST_WRITE_CR, 4, 0x22a0, 0, 0);
	KT_EQ(kt_peek(vm, GUEST_EVENTS), 1);
	kt_call(cpu, GUEST_WRITE_CR, 4, 1ull << 40 | 0x2a0, 0, 0);
	KT_EQ(kt_peek(vm, GUEST_EVENTS), 2);
	KT_EQ(kt_peek(vm, GUEST_EVENTS + 16), 13);
	KT_EQ(kt_reg(cpu, VMM_REG_CR4), 0x2a0);
	KT_EQ(kt_reg(cpu, VMM_REG_CR0), 0x80010031);
}

/* ---- The end, and none ----------------------------------------------------------------------- */

static void
triple_fault(void)
{
	boot();
	kt_call_to(cpu, VMM_EXIT_SHUTDOWN, GUEST_TRIPLE, 0, 0, 0, 0);
	kt_run_to(cpu, VMM_EXIT_SHUTDOWN);
	kt_long_mode(cpu);
	KT_EQ(kt_call(cpu, GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
}

/* Long mode without PAE is no state: entry fails, that is told, and the vCPU is not lost. */
static void
entry_failed(void)
{
	boot();
	for (int i = 0; i < 3; i++) {
		kt_prepare(cpu, GUEST_NOP, 0, 0, 0, 0);
		kt_set_reg(cpu, VMM_REG_CR4, 0);
		kt_run_to(cpu, VMM_EXIT_ENTRY_FAILED);
		KT_EQ(cpu->exit.rip, GUEST_ENTRY_CALL);
		KT_EQ(kt_stat(vm, 0, "number of vm entries that failed"), (uint64_t)i + 1);
		kt_set_reg(cpu, VMM_REG_CR4, 0x220);
		KT_EQ(kt_go_on(cpu), GUEST_NOP_RESULT);
	}
	/* The flush that the failed entry owed is made by the next. */
	KT_OK(kt_seg(vm, KT_MEM_IDENT, MIB, ""));
	KT_OK(kt_map(vm, KT_MEM, KT_MEM_IDENT, 0, MIB, KT_RWX, 0));
	kt_call(cpu, GUEST_WRITE, KT_MEM, 1, 0, 0);
	KT_OK(kt_range(vm, VMM_DISCARD, KT_MEM, PAGE));
	kt_prepare(cpu, GUEST_READ, KT_MEM, 0, 0, 0);
	kt_set_reg(cpu, VMM_REG_CR4, 0);
	kt_run_to(cpu, VMM_EXIT_ENTRY_FAILED);
	kt_set_reg(cpu, VMM_REG_CR4, 0x220);
	KT_EQ(kt_go_on(cpu), 0);
}

/* ---- x87 and SSE ----------------------------------------------------------------------------- */

static void
floating_point(void)
{
	const double a = 1.5, b = 2.25, sum = 3.75;
	uint64_t x, y, z;

	boot();
	memcpy(&x, &a, 8);
	memcpy(&y, &b, 8);
	memcpy(&z, &sum, 8);
	KT_EQ(kt_call(cpu, GUEST_SSE, x, y, 0, 0), z);
}

static const struct kt_case cases[] = {
	{.name = "inout", .run = inout},
	{.name = "string-inout", .run = string_inout},
	{.name = "msrs", .run = msrs},
	{.name = "cpuid", .run = cpuid_leaves},
	{.name = "halt", .run = halt},
	{.name = "pause", .run = pause_exit},
	{.name = "hypercall", .run = hypercall},
	{.name = "single-steps", .run = single_steps},
	{.name = "preemption-timer", .run = preemption_timer},
	{.name = "control-registers", .run = control_registers},
	{.name = "triple-fault", .run = triple_fault},
	{.name = "entry-failed", .run = entry_failed},
	{.name = "floating-point", .run = floating_point},
};

KT_MAIN(cases)
