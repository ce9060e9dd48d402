/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Where emul.c meets a machine: registers are fetched and put back, linear addresses lead through
 * the guest's own page tables, and what is behind them is an APIC, a device, a ROM or memory.
 */

#include <errno.h>
#include <string.h>

#include "emul.h"
#include "guest_mem.h"
#include "machine.h"
#include "mem.h"

#define PAGE 4096u
#define CR0_PE 1ull
#define EFER_LMA (1ull << 10)
#define DESC_L (1u << 13) /* in a descriptor's rights: 64-bit code; 32-bit */
#define DESC_D (1u << 14)
#define RFLAGS_VM (1ull << 17)

typedef unsigned long long ull;

struct mmio {
	struct machine *mm_machine;
	struct vcpu *mm_vcpu;
};

/* emul_gpr's order, then what else is wanted. */
static const enum vmm_reg regs[] = {
	VMM_REG_RAX, VMM_REG_RCX, VMM_REG_RDX,	  VMM_REG_RBX, VMM_REG_RSP,
	VMM_REG_RBP, VMM_REG_RSI, VMM_REG_RDI,	  VMM_REG_R8,  VMM_REG_R9,
	VMM_REG_R10, VMM_REG_R11, VMM_REG_R12,	  VMM_REG_R13, VMM_REG_R14,
	VMM_REG_R15, VMM_REG_RIP, VMM_REG_RFLAGS, VMM_REG_CR0, VMM_REG_EFER,
};
#define SET_REGS (EMUL_GPRS + 2) /* those that an instruction may change */
#define ALL_REGS (sizeof(regs) / sizeof(regs[0]))

/* ---- Guest-physical accesses ----------------------------------------------------------------- */

static bool
is_apic(uint64_t gpa)
{
	return gpa - VMM_LAPIC_GPA < VMM_LAPIC_BYTES || gpa - VMM_IOAPIC_GPA < VMM_IOAPIC_BYTES;
}

/* Within a page. What nobody answers reads as ones, and a write to it is lost, as on a bus. */
static int
access_gpa(struct mmio *mm, uint64_t gpa, unsigned int bytes, bool write, uint64_t *value)
{
	void *ptr;
	int error;

	if (is_apic(gpa)) {
		error = vm_apic_access(mm->mm_vcpu, gpa, bytes, write, value);
		if (error != -EFAULT && error != -EINVAL)
			return error;
	}
	error = mem_access(mm->mm_vcpu, gpa, bytes, write, value);
	if (error != -ENOENT)
		return error;
	ptr = guest_ptr(mm->mm_machine->ma_ctx, gpa, bytes);
	if (ptr == NULL) {
		if (!write)
			*value = UINT64_MAX;
	} else if (write) {
		memcpy(ptr, value, bytes);
	} else {
		*value = 0;
		memcpy(value, ptr, bytes);
	}
	return 0;
}

static int
translate(struct mmio *mm, uint64_t gla, unsigned int prot, uint64_t *gpa)
{
	int fault = 0;
	const int error = vm_gla2gpa(mm->mm_vcpu, gla, prot, gpa, &fault);

	return error ? error : fault ? EMUL_FAULT : 0;
}

/* ---- Hooks ----------------------------------------------------------------------------------- */

static int
access_gla(struct mmio *mm, uint64_t gla, unsigned int bytes, bool write, uint64_t *value)
{
	const unsigned int prot = write ? VMM_PROT_WRITE : VMM_PROT_READ;
	const unsigned int first = PAGE - (unsigned int)(gla % PAGE);
	uint64_t gpa[2], result = 0;
	int error;

	error = translate(mm, gla, prot, &gpa[0]);
	if (error)
		return error;
	if (bytes <= first)
		return access_gpa(mm, gpa[0], bytes, write, value);
	/* It lies on two pages: by bytes, once both are known to be reachable. */
	error = translate(mm, gla + first, prot, &gpa[1]);
	for (unsigned int i = 0; i < bytes && error == 0; i++) {
		uint64_t byte = write ? *value >> i * 8 & 0xff : 0;

		error = access_gpa(mm, i < first ? gpa[0] + i : gpa[1] + (i - first), 1, write,
				   &byte);
		result |= (byte & 0xff) << i * 8;
	}
	if (!write)
		*value = result;
	return error;
}

static int
load(void *arg, uint64_t gla, unsigned int bytes, uint64_t *value)
{
	return access_gla(arg, gla, bytes, false, value);
}

static int
store(void *arg, uint64_t gla, unsigned int bytes, uint64_t value)
{
	return access_gla(arg, gla, bytes, true, &value);
}

static int
probe(void *arg, uint64_t gla, unsigned int bytes)
{
	uint64_t gpa;
	int error;

	error = translate(arg, gla, VMM_PROT_WRITE, &gpa);
	if (error == 0 && gla % PAGE + bytes > PAGE)
		error = translate(arg, (gla | (PAGE - 1)) + 1, VMM_PROT_WRITE, &gpa);
	return error;
}

static int
segment_base(void *arg, enum emul_seg seg, uint64_t *base)
{
	struct mmio *const mm = arg;
	uint32_t limit, access;

	/* The enumerations have the same order. */
	return vm_get_desc(mm->mm_vcpu, VMM_REG_ES + seg, base, &limit, &access);
}

static int
xmm(void *arg, unsigned int n, bool write, uint64_t value[2])
{
	struct mmio *const mm = arg;
	const enum vmm_reg halves[] = {VMM_REG_XMM0 + 2 * n, VMM_REG_XMM0 + 2 * n + 1};

	return write ? vm_set_register_set(mm->mm_vcpu, 2, halves, value)
		     : vm_get_register_set(mm->mm_vcpu, 2, halves, value);
}

/* ---- One instruction ------------------------------------------------------------------------- */

/* The code segment's base, and by which rules the instruction is read. */
static int
mode_of(struct vcpu *vcpu, const uint64_t *values, enum emul_mode *mode, uint64_t *base)
{
	const uint64_t rflags = values[EMUL_GPRS + 1], cr0 = values[EMUL_GPRS + 2];
	const uint64_t efer = values[EMUL_GPRS + 3];
	uint32_t limit, access;
	int error;

	error = vm_get_desc(vcpu, VMM_REG_CS, base, &limit, &access);
	if (!(cr0 & CR0_PE) || rflags & RFLAGS_VM)
		*mode = EMUL_REAL;
	else if (efer & EFER_LMA && access & DESC_L)
		*mode = EMUL_LONG64;
	else
		*mode = access & DESC_D ? EMUL_PROTECTED32 : EMUL_PROTECTED16;
	if (*mode == EMUL_LONG64)
		*base = 0;
	return error;
}

/* As many bytes of the instruction as can be had: what follows may lie on a page that is not there,
 * and not belong to it. */
static int
fetch(struct vcpu *vcpu, uint64_t gla, uint8_t inst[EMUL_INST_MAX], size_t *n)
{
	const size_t here = PAGE - gla % PAGE;
	uint64_t gpa;
	int fault = 0, error;

	*n = here < EMUL_INST_MAX ? here : EMUL_INST_MAX;
	error = vm_copyin(vcpu, gla, inst, *n, &fault);
	if (error || fault)
		return error ? error : EMUL_FAULT;
	if (*n < EMUL_INST_MAX &&
	    vm_gla2gpa_nofault(vcpu, gla + here, VMM_PROT_READ, &gpa, &fault) == 0 && !fault &&
	    vm_copyin(vcpu, gla + here, inst + here, EMUL_INST_MAX - here, &fault) == 0 && !fault)
		*n = EMUL_INST_MAX;
	return 0;
}

static int
put_back(struct vcpu *vcpu, const struct emul_cpu *cpu, const uint64_t *before)
{
	enum vmm_reg changed[SET_REGS];
	uint64_t values[SET_REGS];
	unsigned int n = 0;

	for (unsigned int i = 0; i < SET_REGS; i++) {
		const uint64_t now = i < EMUL_GPRS    ? cpu->em_gpr[i]
				     : i == EMUL_GPRS ? cpu->em_rip
						      : cpu->em_rflags;

		if (now != before[i]) {
			changed[n] = regs[i];
			values[n++] = now;
		}
	}
	return n ? vm_set_register_set(vcpu, n, changed, values) : 0;
}

static void
complain_about(const struct emul_cpu *cpu, const struct vmm_exit *exit, const uint8_t *inst,
	       size_t n, int error)
{
	char text[96], hex[EMUL_INST_MAX * 2 + 1] = "";

	for (size_t i = 0; i < n; i++)
		snprintf(hex + i * 2, 3, "%02x", inst[i]);
	emul_text(cpu, inst, n, text, sizeof(text));
	complain("the guest's instruction at 0x%llx (%s, bytes %s) touches 0x%llx, where no memory "
		 "is, and cannot be carried out: %s",
		 (ull)cpu->em_rip, text[0] ? text : "no instruction", hex, (ull)exit->u.paging.gpa,
		 error == -EOPNOTSUPP || error == -EILSEQ ? "it is not known here"
							  : strerror(-error));
}

int
mmio_exit(struct machine *ma, struct vcpu *vcpu, const struct vmm_exit *exit)
{
	struct mmio mm = {.mm_machine = ma, .mm_vcpu = vcpu};
	const struct emul_ops ops = {load, store, probe, segment_base, xmm, &mm};
	uint8_t inst[EMUL_INST_MAX];
	uint64_t before[ALL_REGS], base;
	struct emul_cpu cpu;
	size_t n = 0;
	int error;

	error = vm_get_register_set(vcpu, ALL_REGS, regs, before);
	if (error == 0)
		error = mode_of(vcpu, before, &cpu.em_mode, &base);
	if (error) {
		complain("%s", vmm_errmsg());
		return -1;
	}
	memcpy(cpu.em_gpr, before, sizeof(cpu.em_gpr));
	cpu.em_rip = before[EMUL_GPRS];
	cpu.em_rflags = before[EMUL_GPRS + 1];
	if (exit->code == VMM_EXIT_MMIO && exit->u.paging.inst_bytes >= EMUL_INST_MAX) {
		n = EMUL_INST_MAX;
		memcpy(inst, exit->u.paging.inst, n);
	} else {
		error = fetch(vcpu, base + cpu.em_rip, inst, &n);
	}
	if (error == 0)
		error = emul_run(&cpu, inst, n, &ops);
	/* What repeated instructions did before a fault stays done. */
	if (error >= 0 && put_back(vcpu, &cpu, before)) {
		complain("%s", vmm_errmsg());
		return -1;
	}
	if (error < 0) {
		complain_about(&cpu, exit, inst, n, error);
		return -1;
	}
	return 0;
}
