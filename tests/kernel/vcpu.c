/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * vCPUs, for tests: the state that each mode begins with, and calling functions of the guest.
 */

#define _GNU_SOURCE

#include "harness.h"

#include <unistd.h>

/* ---- Registers ------------------------------------------------------------------------------- */

int
kt_get_regs(struct kt_cpu *cpu, unsigned int n, const enum vmm_reg *regs, uint64_t *values)
{
	return vm_get_register_set(cpu->vcpu, n, regs, values);
}

int
kt_set_regs(struct kt_cpu *cpu, unsigned int n, const enum vmm_reg *regs, const uint64_t *values)
{
	return vm_set_register_set(cpu->vcpu, n, regs, values);
}

uint64_t
kt_reg(struct kt_cpu *cpu, enum vmm_reg reg)
{
	uint64_t value = 0;

	KT_OK(vm_get_register(cpu->vcpu, reg, &value));
	return value;
}

void
kt_set_reg(struct kt_cpu *cpu, enum vmm_reg reg, uint64_t value)
{
	const int error = vm_set_register(cpu->vcpu, reg, value);

	KT_CHECK(error == 0, "register %u cannot be 0x%llx: %s", reg, (unsigned long long)value,
		 strerror(-error));
}

int
kt_set_desc(struct kt_cpu *cpu, enum vmm_reg reg, uint64_t base, uint32_t limit, uint32_t access)
{
	return vm_set_desc(cpu->vcpu, reg, base, limit, access);
}

int
kt_get_desc(struct kt_cpu *cpu, enum vmm_reg reg, struct vmm_desc *desc)
{
	uint64_t base;
	const int error = vm_get_desc(cpu->vcpu, reg, &base, &desc->limit, &desc->access);

	desc->base = base;
	return error;
}

int
kt_set_cap(struct kt_cpu *cpu, enum vmm_cap cap, uint64_t value)
{
	return vm_set_capability(cpu->vcpu, cap, value);
}

/* Not by libvmm: tests inject what cannot be, too. */
int
kt_inject(struct kt_cpu *cpu, enum vmm_event event, unsigned int vector, int64_t error_code)
{
	struct vmm_inject inject = {
		.vcpu = cpu->id,
		.event = event,
		.vector = vector,
		.flags = error_code >= 0 ? VMM_EVENT_HAS_ERROR : 0,
		.error_code = error_code >= 0 ? (uint32_t)error_code : 0,
	};

	return kt_ioctl(cpu->vm->fd, VMM_INJECT, &inject);
}

/* ---- Modes ----------------------------------------------------------------------------------- */

#define CR0_PE 0x1ull
#define CR0_FIXED 0x30ull /* ET, NE */
#define CR0_PG 0x80000000ull
#define CR4_PAE 0x20ull
#define CR4_OSFXSR 0x200ull
#define EFER_LONG 0x500ull /* LME, LMA */
#define RFLAGS_IF 0x202ull

#define ACCESS_CODE64 0xa09bu
#define ACCESS_CODE32 0xc09bu
#define ACCESS_DATA 0xc093u
#define ACCESS_CODE16 0x9bu
#define ACCESS_DATA16 0x93u
#define ACCESS_TSS 0x8bu
#define ACCESS_UNUSABLE 0x10000u

struct reg_value {
	enum vmm_reg reg;
	uint64_t value;
};

static void
set_all(struct kt_cpu *cpu, const struct reg_value *list, size_t count)
{
	enum vmm_reg regs[VMM_REGS_MAX];
	uint64_t values[VMM_REGS_MAX];

	for (size_t i = 0; i < count; i++) {
		regs[i] = list[i].reg;
		values[i] = list[i].value;
	}
	KT_OK(kt_set_regs(cpu, (unsigned int)count, regs, values));
}
#define SET_ALL(cpu, list) set_all(cpu, list, sizeof(list) / sizeof((list)[0]))

static void
set_segments(struct kt_cpu *cpu, uint32_t code, uint32_t data, uint32_t limit)
{
	static const enum vmm_reg datas[] = {VMM_REG_ES, VMM_REG_SS, VMM_REG_DS, VMM_REG_FS,
					     VMM_REG_GS};

	KT_OK(kt_set_desc(cpu, VMM_REG_CS, 0, limit, code));
	for (size_t i = 0; i < sizeof(datas) / sizeof(datas[0]); i++)
		KT_OK(kt_set_desc(cpu, datas[i], 0, limit, data));
	KT_OK(kt_set_desc(cpu, VMM_REG_TR, GUEST_TSS, 0x67, ACCESS_TSS));
	KT_OK(kt_set_desc(cpu, VMM_REG_LDTR, 0, 0, ACCESS_UNUSABLE));
	KT_OK(kt_set_desc(cpu, VMM_REG_GDTR, GUEST_GDT, 0x27, 0));
	KT_OK(kt_set_desc(cpu, VMM_REG_IDTR, GUEST_IDT, 0xfff, 0));
}

void
kt_long_mode(struct kt_cpu *cpu)
{
	const struct reg_value regs[] = {
		{VMM_REG_EFER, EFER_LONG},
		{VMM_REG_CR4, CR4_PAE | CR4_OSFXSR},
		{VMM_REG_CR3, GUEST_TABLES},
		{VMM_REG_CR0, CR0_PG | CR0_FIXED | CR0_PE},
		{VMM_REG_RFLAGS, RFLAGS_IF},
		{VMM_REG_RIP, GUEST_ENTRY_CALL},
		{VMM_REG_RSP, GUEST_STACKS + PAGE * ((uint64_t)cpu->id + 1)},
		{VMM_REG_CS, GUEST_SEL_CODE},
		{VMM_REG_SS, GUEST_SEL_DATA},
		{VMM_REG_DS, GUEST_SEL_DATA},
		{VMM_REG_ES, GUEST_SEL_DATA},
		{VMM_REG_FS, GUEST_SEL_DATA},
		{VMM_REG_GS, GUEST_SEL_DATA},
		{VMM_REG_TR, GUEST_SEL_TSS},
		{VMM_REG_LDTR, 0},
	};

	SET_ALL(cpu, regs);
	set_segments(cpu, ACCESS_CODE64, ACCESS_DATA, 0xffffffff);
}

void
kt_real_mode(struct kt_cpu *cpu, uint16_t ds, uint16_t es)
{
	const struct reg_value regs[] = {
		{VMM_REG_CR0, CR0_FIXED},
		{VMM_REG_EFER, 0},
		{VMM_REG_CR4, 0},
		{VMM_REG_CR3, 0},
		{VMM_REG_RFLAGS, RFLAGS_IF},
		{VMM_REG_RIP, 0},
		{VMM_REG_RSP, 0x8000},
		{VMM_REG_CS, GUEST_REAL >> 4},
		{VMM_REG_SS, 0},
		{VMM_REG_DS, ds},
		{VMM_REG_ES, es},
		{VMM_REG_FS, 0},
		{VMM_REG_GS, 0},
		{VMM_REG_TR, 0},
	};

	SET_ALL(cpu, regs);
	set_segments(cpu, ACCESS_CODE16, ACCESS_DATA16, 0xffff);
	KT_OK(kt_set_desc(cpu, VMM_REG_CS, GUEST_REAL, 0xffff, ACCESS_CODE16));
	KT_OK(kt_set_desc(cpu, VMM_REG_DS, (uint64_t)ds << 4, 0xffff, ACCESS_DATA16));
	KT_OK(kt_set_desc(cpu, VMM_REG_ES, (uint64_t)es << 4, 0xffff, ACCESS_DATA16));
	KT_OK(kt_set_desc(cpu, VMM_REG_TR, 0, 0xffff, ACCESS_TSS));
}

void
kt_protected_mode(struct kt_cpu *cpu, uint64_t cr3, bool pae)
{
	const struct reg_value regs[] = {
		{VMM_REG_CR0, CR0_PG | CR0_FIXED | CR0_PE},
		{VMM_REG_EFER, 0},
		{VMM_REG_CR4, pae ? CR4_PAE : 0x10 /* PSE */},
		{VMM_REG_CR3, cr3},
		{VMM_REG_RFLAGS, RFLAGS_IF},
		{VMM_REG_RIP, GUEST_CODE_32},
		{VMM_REG_RSP, GUEST_STACKS + PAGE * ((uint64_t)cpu->id + 1)},
		{VMM_REG_CS, GUEST_SEL_CODE},
		{VMM_REG_SS, GUEST_SEL_DATA},
		{VMM_REG_DS, GUEST_SEL_DATA},
		{VMM_REG_ES, GUEST_SEL_DATA},
		{VMM_REG_FS, GUEST_SEL_DATA},
		{VMM_REG_GS, GUEST_SEL_DATA},
		{VMM_REG_TR, GUEST_SEL_TSS},
	};

	SET_ALL(cpu, regs);
	set_segments(cpu, ACCESS_CODE32, ACCESS_DATA, 0xffffffff);
}

/* ---- Running --------------------------------------------------------------------------------- */

int
kt_run(struct kt_cpu *cpu)
{
	int error;

	do
		error = vm_run(cpu->vcpu, &cpu->exit);
	while (error == -EINTR);
	return error;
}

void
kt_prepare(struct kt_cpu *cpu, enum guest_call call, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	const struct reg_value regs[] = {
		{VMM_REG_RIP, GUEST_ENTRY_CALL},
		{VMM_REG_RSP, GUEST_STACKS + PAGE * ((uint64_t)cpu->id + 1)},
		{VMM_REG_RAX, call},
		{VMM_REG_RDI, a},
		{VMM_REG_RSI, b},
		{VMM_REG_RDX, c},
		{VMM_REG_RCX, d},
	};

	SET_ALL(cpu, regs);
}

static bool
is_done(const struct vmm_exit *exit)
{
	return exit->code == VMM_EXIT_INOUT && !exit->u.inout.in &&
	       exit->u.inout.port == GUEST_PORT_DONE;
}

uint64_t
kt_go_on(struct kt_cpu *cpu)
{
	const int error = kt_run(cpu);

	KT_CHECK(error == 0, "vCPU %d: VMM_RUN: %s", cpu->id, strerror(-error));
	KT_CHECK(is_done(&cpu->exit), "vCPU %d ended with %s", cpu->id, kt_exit_text(&cpu->exit));
	return kt_reg(cpu, VMM_REG_RAX);
}

uint64_t
kt_call(struct kt_cpu *cpu, enum guest_call call, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	kt_prepare(cpu, call, a, b, c, d);
	return kt_go_on(cpu);
}

void
kt_run_to(struct kt_cpu *cpu, enum vmm_exitcode code)
{
	const int error = kt_run(cpu);

	KT_CHECK(error == 0, "vCPU %d: VMM_RUN: %s", cpu->id, strerror(-error));
	KT_CHECK(cpu->exit.code == code, "vCPU %d ended with %s, not with code %u", cpu->id,
		 kt_exit_text(&cpu->exit), code);
}

void
kt_call_to(struct kt_cpu *cpu, enum vmm_exitcode code, enum guest_call call, uint64_t a, uint64_t b,
	   uint64_t c, uint64_t d)
{
	kt_prepare(cpu, call, a, b, c, d);
	kt_run_to(cpu, code);
}

/* ---- Threads --------------------------------------------------------------------------------- */

struct start {
	struct kt_cpu *cpu;
	int on_cpu;
	enum vmm_exitcode code; /* or 0: the end of the call */
};

static void *
vcpu_thread(void *arg)
{
	struct start start = *(struct start *)arg;

	free(arg);
	if (start.on_cpu >= 0)
		kt_run_on_cpu((unsigned int)start.on_cpu);
	if (start.code)
		kt_run_to(start.cpu, start.code);
	else
		start.cpu->result = kt_go_on(start.cpu);
	return NULL;
}

void
kt_start(struct kt_cpu *cpu, int on_cpu, enum guest_call call, uint64_t a, uint64_t b, uint64_t c,
	 uint64_t d)
{
	kt_start_to(cpu, on_cpu, VMM_EXIT_NONE, call, a, b, c, d);
}

void
kt_start_to(struct kt_cpu *cpu, int on_cpu, enum vmm_exitcode code, enum guest_call call,
	    uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct start *const start = malloc(sizeof(*start));

	KT_TRUE(start != NULL && !cpu->started);
	*start = (struct start){cpu, on_cpu, code};
	kt_prepare(cpu, call, a, b, c, d);
	KT_EQ(pthread_create(&cpu->thread, NULL, vcpu_thread, start), 0);
	cpu->started = true;
}

uint64_t
kt_join(struct kt_cpu *cpu)
{
	KT_TRUE(cpu->started);
	KT_EQ(pthread_join(cpu->thread, NULL), 0);
	cpu->started = false;
	return cpu->result;
}

void
kt_wait_running(struct kt_cpu *cpu)
{
	struct vmm_cpus cpus;

	for (;;) {
		memset(&cpus, 0, sizeof(cpus));
		KT_OK(kt_ioctl(cpu->vm->fd, VMM_GET_CPUS, &cpus));
		if (cpus.running >> cpu->id & 1)
			return;
		kt_sleep_ms(1);
	}
}

void
kt_wait_word(struct kt_vm *vm, uint64_t gpa, uint64_t at_least)
{
	while (kt_peek(vm, gpa) < at_least)
		kt_sleep_ms(1);
}

/* ---- Words ----------------------------------------------------------------------------------- */

const char *
kt_exit_text(const struct vmm_exit *exit)
{
	static const char *const names[] = {
		[VMM_EXIT_NONE] = "NONE",
		[VMM_EXIT_INOUT] = "INOUT",
		[VMM_EXIT_RDMSR] = "RDMSR",
		[VMM_EXIT_WRMSR] = "WRMSR",
		[VMM_EXIT_HLT] = "HLT",
		[VMM_EXIT_PAUSE] = "PAUSE",
		[VMM_EXIT_MTRAP] = "MTRAP",
		[VMM_EXIT_BPT] = "BPT",
		[VMM_EXIT_HYPERCALL] = "HYPERCALL",
		[VMM_EXIT_PAGING] = "PAGING",
		[VMM_EXIT_MMIO] = "MMIO",
		[VMM_EXIT_SUSPENDED] = "SUSPENDED",
		[VMM_EXIT_SHUTDOWN] = "SHUTDOWN",
		[VMM_EXIT_TIMER] = "TIMER",
		[VMM_EXIT_TASK_SWITCH] = "TASK_SWITCH",
		[VMM_EXIT_ENTRY_FAILED] = "ENTRY_FAILED",
		[VMM_EXIT_UNKNOWN] = "UNKNOWN",
	};
	static _Thread_local char text[256];
	const struct vmm_exit_paging *const p = &exit->u.paging;
	const struct vmm_exit_raw *const raw = &exit->u.raw;
	int n;

	n = snprintf(text, sizeof(text), "exit %s at 0x%llx",
		     exit->code < sizeof(names) / sizeof(names[0]) ? names[exit->code] : "?",
		     (unsigned long long)exit->rip);
	if (exit->code == VMM_EXIT_INOUT)
		snprintf(text + n, sizeof(text) - (size_t)n, ", port 0x%x, %u bytes, eax 0x%x",
			 exit->u.inout.port, exit->u.inout.bytes, exit->u.inout.eax);
	else if (exit->code == VMM_EXIT_PAGING || exit->code == VMM_EXIT_MMIO)
		snprintf(text + n, sizeof(text) - (size_t)n,
			 ", gpa 0x%llx, access %u, reason %u, error %d, walk %u",
			 (unsigned long long)p->gpa, p->access, p->reason, p->error, p->walk);
	else if (exit->code == VMM_EXIT_UNKNOWN || exit->code == VMM_EXIT_ENTRY_FAILED)
		snprintf(text + n, sizeof(text) - (size_t)n,
			 ", reason 0x%llx, info 0x%llx 0x%llx, error %llu",
			 (unsigned long long)raw->reason, (unsigned long long)raw->info1,
			 (unsigned long long)raw->info2, (unsigned long long)raw->error);
	return text;
}
