/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * How vCPU 0 begins, after load.c: in 64-bit mode with first page tables, made by libpmap, or in
 * 32-bit mode without paging. Which registers hold what: Linux, Documentation/x86/boot.rst, "64-bit
 * boot protocol"; Xen, docs/misc/pvh.pandoc; Multiboot Specification 3.2.
 */

#include <errno.h>

#include "load.h"
#include "machine.h"

#define CR0_32 0x31ull /* PE, ET, NE */
#define RFLAGS_FIXED 0x2ull
#define ACCESS_CODE32 0xc09bu
#define ACCESS_DATA 0xc093u
#define ACCESS_TSS 0x8bu
#define ACCESS_UNUSABLE 0x10000u
#define GDT_LIMIT 39u
#define SEL_TSS 0x20u
#define STACK (LOAD_LOW_END - 16) /* nobody promises one, and it does no harm */

static int
protected_mode(struct vcpu *vcpu, uint64_t rip)
{
	static const enum vmm_reg regs[] = {VMM_REG_EFER, VMM_REG_CR4, VMM_REG_CR3,
					    VMM_REG_CR0,  VMM_REG_RIP, VMM_REG_RFLAGS};
	const uint64_t values[] = {0, 0, 0, CR0_32, rip, RFLAGS_FIXED};

	return vm_set_register_set(vcpu, 6, regs, values);
}

static int
segments(struct vcpu *vcpu, bool is_long)
{
	static const enum vmm_reg datas[] = {VMM_REG_ES, VMM_REG_SS, VMM_REG_DS, VMM_REG_FS,
					     VMM_REG_GS};
	int error = 0;

	for (unsigned int i = 0; i < 5 && error == 0; i++) {
		error = vm_set_register(vcpu, datas[i], LOAD_SEL_DATA);
		if (error == 0)
			error = vm_set_desc(vcpu, datas[i], 0, UINT32_MAX, ACCESS_DATA);
	}
	if (error == 0)
		error = vm_set_register(vcpu, VMM_REG_CS, LOAD_SEL_CODE);
	if (error == 0 && !is_long)
		error = vm_set_desc(vcpu, VMM_REG_CS, 0, UINT32_MAX, ACCESS_CODE32);
	if (error == 0)
		error = vm_set_register(vcpu, VMM_REG_TR, SEL_TSS);
	if (error == 0)
		error = vm_set_desc(vcpu, VMM_REG_TR, 0, 0x67, ACCESS_TSS);
	if (error == 0)
		error = vm_set_desc(vcpu, VMM_REG_LDTR, 0, 0, ACCESS_UNUSABLE);
	if (error == 0)
		error = vm_set_desc(vcpu, VMM_REG_GDTR, LOAD_GDT, GDT_LIMIT, 0);
	return error;
}

int
entry_set(struct vmctx *ctx, struct vcpu *vcpu, const struct load *ld)
{
	static const enum vmm_reg regs[] = {VMM_REG_RAX, VMM_REG_RBX, VMM_REG_RSI, VMM_REG_RSP};
	const uint64_t values[] = {ld->ld_rax, ld->ld_rbx, ld->ld_rsi, STACK};
	const struct vm_boot_cfg tables = {.tables_gpa = LOAD_TABLES,
					   .room_bytes = LOAD_TABLES_BYTES,
					   .map_bytes = 4ull << 30,
					   .page_bytes = 2ull << 20};
	uint64_t cr3;
	int error;

	if (ld->ld_long) {
		error = vm_boot_tables(ctx, &tables, &cr3, NULL);
		if (error == 0)
			error = vm_setup_long_mode(vcpu, ld->ld_rip, STACK, cr3);
	} else {
		error = protected_mode(vcpu, ld->ld_rip);
	}
	if (error == 0)
		error = segments(vcpu, ld->ld_long);
	if (error == 0)
		error = vm_set_register_set(vcpu, 4, regs, values);
	return error;
}
