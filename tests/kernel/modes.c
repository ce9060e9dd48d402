/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Guests that are not in long mode: real mode, 32 bits with two-level paging, with PAE. And what a
 * mode's own page tables say, as the module walks them (gla2gpa, copies) and as the guest does.
 */

#include "harness.h"

#define DATA KT_MEM
#define OUT (KT_MEM + 0x100000)
#define COUNT 1024u

/* Where the guest has data and result: linear addresses, at other places than the physical ones. */
#define LINEAR_DATA 0x40000000u
#define LINEAR_OUT 0x80003000u

static void
needs_unrestricted(struct kt_cpu *cpu)
{
	uint64_t value = 0;

	KT_OK(vm_get_capability(cpu->vcpu, VMM_CAP_UNRESTRICTED_GUEST, &value));
	if (!value)
		kt_not_applicable("this CPU runs no guest in real mode");
}

static void
real(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	uint16_t words[100], sum = 0;

	needs_unrestricted(cpu);
	for (uint16_t i = 0; i < 100; i++) {
		words[i] = (uint16_t)(i * 523 + 7);
		sum = (uint16_t)(sum + words[i]);
	}
	KT_OK(kt_write(vm, 0x40000, words, sizeof(words)));
	kt_real_mode(cpu, 0x4000, 0x5000);
	kt_set_reg(cpu, VMM_REG_RSI, 100);
	KT_EQ(kt_go_on(cpu) & 0xffff, sum);
	KT_EQ(kt_peek(vm, 0x50000) & 0xffff, sum);

	/* Linear is physical there. */
	{
		uint64_t gpa;
		int fault;

		KT_OK(vm_gla2gpa(cpu->vcpu, 0x12345, VMM_PROT_READ, &gpa, &fault));
		KT_EQ(fault, 0);
		KT_EQ(gpa, 0x12345);
	}

	/* Beyond its memory, it faults as others do. */
	KT_OK(kt_unmap(vm, 0, GUEST_LOW_BYTES));
	KT_OK(kt_map(vm, 0, KT_LOW_IDENT, 0, 0x50000, KT_RWX, 0));
	kt_real_mode(cpu, 0x4000, 0x6000);
	kt_set_reg(cpu, VMM_REG_RSI, 100);
	kt_run_to(cpu, VMM_EXIT_MMIO);
	KT_EQ(cpu->exit.u.paging.gpa, 0x60000);
}

/* ---- 32 bits --------------------------------------------------------------------------------- */

/* Present, writable, user. */
#define TABLE 0x7u
#define LEAF 0x7u
#define LARGE 0x87u

/* Two levels: the low 4 MiB as one large page, data by small ones. */
static void
write_two_level(struct kt_vm *vm)
{
	uint32_t directory[1024] = {0}, data[1024] = {0}, out[1024] = {0};

	directory[0] = LARGE;
	directory[LINEAR_DATA >> 22] = (GUEST_TABLES_32 + 0x1000) | TABLE;
	directory[LINEAR_OUT >> 22] = (GUEST_TABLES_32 + 0x2000) | TABLE;
	data[0] = DATA | LEAF;
	out[LINEAR_OUT >> 12 & 1023] = OUT | LEAF;
	out[5] = OUT | 1; /* read only, the kernel's */
	KT_OK(kt_write(vm, GUEST_TABLES_32, directory, sizeof(directory)));
	KT_OK(kt_write(vm, GUEST_TABLES_32 + 0x1000, data, sizeof(data)));
	KT_OK(kt_write(vm, GUEST_TABLES_32 + 0x2000, out, sizeof(out)));
}

/* PAE: four directories by a page of their own, the low 2 MiB as one large page. */
static void
write_pae(struct kt_vm *vm)
{
	uint64_t pointers[4] = {0}, low[512] = {0}, data[512] = {0}, out[512] = {0};
	uint64_t data_table[512] = {0}, out_table[512] = {0};
	const uint64_t at = KT_MEM + 0x180000; /* tables that do not fit below */

	pointers[0] = (GUEST_TABLES_32 + 0x1000) | 1;
	pointers[LINEAR_DATA >> 30] = (GUEST_TABLES_32 + 0x2000) | 1;
	pointers[LINEAR_OUT >> 30] = at | 1;
	low[0] = LARGE;
	data[LINEAR_DATA >> 21 & 511] = (at + 0x1000) | TABLE;
	out[LINEAR_OUT >> 21 & 511] = (at + 0x2000) | TABLE;
	data_table[0] = DATA | LEAF;
	out_table[LINEAR_OUT >> 12 & 511] = OUT | LEAF;
	KT_OK(kt_write(vm, GUEST_TABLES_32, pointers, sizeof(pointers)));
	KT_OK(kt_write(vm, GUEST_TABLES_32 + 0x1000, low, sizeof(low)));
	KT_OK(kt_write(vm, GUEST_TABLES_32 + 0x2000, data, sizeof(data)));
	KT_OK(kt_write(vm, at, out, sizeof(out)));
	KT_OK(kt_write(vm, at + 0x1000, data_table, sizeof(data_table)));
	KT_OK(kt_write(vm, at + 0x2000, out_table, sizeof(out_table)));
}

/* The guest copies COUNT words from LINEAR_DATA to LINEAR_OUT and adds them up. */
static void
copy_words(struct kt_vm *vm, bool pae, uint32_t reload_cr3)
{
	struct kt_cpu *const cpu = &vm->cpus[0];
	uint32_t words[COUNT], copied[COUNT], sum = 0;

	for (uint32_t i = 0; i < COUNT; i++) {
		words[i] = (uint32_t)guest_word(i, 9);
		sum += words[i];
	}
	KT_OK(kt_write(vm, DATA, words, sizeof(words)));
	kt_protected_mode(cpu, GUEST_TABLES_32, pae);
	if (pae) {
		/* As MOV CR3 would have left them. SVM reads them from memory itself. */
		uint64_t pointers[4];

		KT_OK(kt_read(vm, GUEST_TABLES_32, pointers, sizeof(pointers)));
		if (kt_platform()->kind == VMM_CPU_VTX)
			for (int i = 0; i < 4; i++)
				kt_set_reg(cpu, VMM_REG_PDPTE0 + (unsigned int)i, pointers[i]);
	}
	kt_set_reg(cpu, VMM_REG_RBX, reload_cr3);
	kt_set_reg(cpu, VMM_REG_RCX, COUNT);
	kt_set_reg(cpu, VMM_REG_RSI, LINEAR_DATA);
	kt_set_reg(cpu, VMM_REG_RDI, LINEAR_OUT);
	KT_EQ(kt_go_on(cpu) & 0xffffffff, sum);
	KT_OK(kt_read(vm, OUT, copied, sizeof(copied)));
	KT_EQ(memcmp(words, copied, sizeof(words)), 0);
	if (pae)
		for (unsigned int i = 0; i < 4; i++)
			KT_EQ(kt_reg(cpu, VMM_REG_PDPTE0 + i),
			      kt_peek(vm, GUEST_TABLES_32 + 8 * i));
}

static void
expect_gla(struct kt_vm *vm, uint64_t gla, unsigned int prot, uint64_t gpa)
{
	struct vmm_gla g = {.vcpu = 0, .flags = VMM_GLA_NOFAULT, .prot = prot, .gla = gla};

	KT_OK(kt_ioctl(vm->fd, VMM_GLA2GPA, &g));
	KT_CHECK(!g.fault, "0x%llx faults: vector %u, error code 0x%x", (unsigned long long)gla,
		 g.vector, g.error_code);
	KT_EQ(g.gpa, gpa);
}

static void
expect_gla_fault(struct kt_vm *vm, uint64_t gla, unsigned int prot, uint32_t error_code)
{
	struct vmm_gla g = {.vcpu = 0, .flags = VMM_GLA_NOFAULT, .prot = prot, .gla = gla};

	KT_OK(kt_ioctl(vm->fd, VMM_GLA2GPA, &g));
	KT_EQ(g.fault, 1);
	KT_EQ(g.vector, 14);
	KT_EQ(g.error_code, error_code);
}

static void
two_level(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);

	kt_memory(vm, SUPER);
	write_two_level(vm);
	copy_words(vm, false, 0);
	copy_words(vm, false, GUEST_TABLES_32);
	expect_gla(vm, LINEAR_DATA + 0x123, VMM_PROT_READ | VMM_PROT_WRITE, DATA + 0x123);
	expect_gla(vm, 0x123456, VMM_PROT_READ, 0x123456);
	expect_gla_fault(vm, LINEAR_DATA + PAGE, VMM_PROT_READ, 0);
	expect_gla_fault(vm, LINEAR_DATA + PAGE, VMM_PROT_WRITE, 2);
}

static void
pae(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);

	kt_memory(vm, SUPER);
	write_pae(vm);
	copy_words(vm, true, GUEST_TABLES_32);
	copy_words(vm, true, 0);
	write_pae(vm); /* QEMU 7.2 sets bit 5 of the four entries, which is reserved there */
	expect_gla(vm, LINEAR_OUT + 0xfff, VMM_PROT_READ | VMM_PROT_WRITE, OUT + 0xfff);
	expect_gla_fault(vm, LINEAR_DATA + PAGE, VMM_PROT_READ, 0);
}

/* Long mode: copies across pages, all or nothing; faults told, or injected. */
static void
linear(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	static unsigned char out[16 * PAGE], in[16 * PAGE];
	uint64_t gpa;
	int fault;

	kt_memory(vm, SUPER);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (unsigned char)(i * 7 + i / 256);
	KT_OK(vm_copyout(cpu->vcpu, out, KT_MEM + 100, sizeof(out), &fault));
	KT_EQ(fault, 0);
	KT_OK(vm_copyin(cpu->vcpu, KT_MEM + 100, in, sizeof(in), &fault));
	KT_EQ(fault, 0);
	KT_EQ(memcmp(in, out, sizeof(in)), 0);
	KT_EQ(kt_call(cpu, GUEST_READ, KT_MEM + 100, 0, 0, 0), *(uint64_t *)out);

	/* Where the guest has memory, and beyond it: nothing was copied. */
	memset(out, 0xee, sizeof(out));
	KT_TRUE(vm_copyout(cpu->vcpu, out, KT_MEM + SUPER - PAGE, 2 * PAGE, &fault) < 0);
	KT_EQ(kt_peek(vm, KT_MEM + SUPER - PAGE), 0);

	/* Beyond its tables: a page fault, which it gets with its next run. */
	KT_OK(vm_gla2gpa_nofault(cpu->vcpu, 8 * GIB, VMM_PROT_WRITE, &gpa, &fault));
	KT_TRUE(fault != 0);
	KT_EQ(kt_call(cpu, GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
	KT_EQ(kt_peek(vm, GUEST_EVENTS), 0);
	kt_prepare(cpu, GUEST_NOP, 0, 0, 0, 0);
	kt_poke(vm, GUEST_EVENTS + 8, GUEST_ENTRY_CALL);
	KT_OK(vm_gla2gpa(cpu->vcpu, 8 * GIB + 16, VMM_PROT_WRITE, &gpa, &fault));
	KT_TRUE(fault != 0);
	KT_EQ(kt_go_on(cpu), GUEST_NOP_RESULT);
	KT_EQ(kt_peek(vm, GUEST_EVENTS), 1);
	KT_EQ(kt_peek(vm, GUEST_EVENTS + 16), 14);
	KT_EQ(kt_peek(vm, GUEST_EVENTS + 24), 2);
	KT_EQ(kt_peek(vm, GUEST_EVENTS + 40), 8 * GIB + 16);
}

static const struct kt_case cases[] = {
	{.name = "real", .run = real},
	{.name = "two-level", .run = two_level},
	{.name = "pae", .run = pae},
	{.name = "linear", .run = linear},
};

KT_MAIN(cases)
