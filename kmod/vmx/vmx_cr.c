/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Instructions that access control and debug registers, completed for the guest: what the CPU would
 * check, and what it would change besides (SDM vol. 3A 2.5, 4.1.2, 4.4.1, 10.8.5; vol. 2, MOV).
 */

#include <linux/percpu-rwsem.h>

#include <asm/debugreg.h>
#include <asm/processor-flags.h>

#include "kmod/vmx/vmx_priv.h"

/* What changes of CR4 and CR0 make a CPU with PAE paging load the PDPTEs again. */
#define CR0_LOADS_PDPTES (X86_CR0_PG | X86_CR0_CD | X86_CR0_NW)
#define CR4_LOADS_PDPTES (X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE | X86_CR4_SMEP)

#define CR3_PAE_TABLE 0xffffffe0ull

#define PDPTE_P 1ull
#define PDPTE_RESERVED 0x1e6ull

/* ---- PAE ------------------------------------------------------------------------------------- */

static bool
pae_paging(u64 cr0, u64 cr4, u64 efer)
{
	return cr0 & X86_CR0_PG && cr4 & X86_CR4_PAE && !(efer & EFER_LME);
}

/* -EINVAL: #GP. -EINTR. */
static int
load_pdptes(struct vcpu *vcpu)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const u64 reserved = PDPTE_RESERVED | GENMASK_ULL(63, vmm_ept_cpu.ec_caps.pc_phys_bits);
	u64 pdptes[4], done;
	unsigned int i;
	int error;

	percpu_down_read(&vmm_quiet);
	error = vm_gpa_read(vcpu->vc_vm->vm_space, vmx_get(vv, VF_CR3) & CR3_PAE_TABLE, pdptes,
			    sizeof(pdptes), &done);
	percpu_up_read(&vmm_quiet);
	if (error)
		return error == -EINTR ? -EINTR : -EINVAL;
	for (i = 0; i < 4; i++)
		if (pdptes[i] & PDPTE_P && pdptes[i] & reserved)
			return -EINVAL;
	for (i = 0; i < 4; i++)
		vmx_set(vv, VF_PDPTE0 + i, pdptes[i]);
	return 0;
}

/*
 * Registers were set from outside, one by one: where that ends in PAE paging, the PDPTEs are what
 * MOV CR3 would have loaded, or not present if it could not have. Who has others sets them last.
 */
void
vmx_reload_pdptes(struct vcpu *vcpu)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	unsigned int i;

	if (!pae_paging(vmx_get_cr0(vv), vmx_get_cr4(vv), vmx_get(vv, VF_EFER)))
		return;
	if (!load_pdptes(vcpu))
		return;
	for (i = 0; i < 4; i++)
		vmx_set(vv, VF_PDPTE0 + i, 0);
}

/* ---- CR0, CR4 -------------------------------------------------------------------------------- */

static int
write_cr0_of_guest(struct vcpu *vcpu, u64 value)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const u64 old = vmx_get_cr0(vv);
	const u64 cr4 = vmx_get_cr4(vv);
	const u64 efer = vmx_get(vv, VF_EFER);
	const bool code64 = vmx_get(vv, VF_ACCESS + VMX_SEG(VMM_REG_CS)) & ACCESS_L;
	int error;

	if ((value ^ old) & X86_CR0_PG && efer & EFER_LME) {
		if (code64)
			return -EINVAL; /* paging goes on and off in compatibility mode alone */
		if (value & X86_CR0_PG && !(cr4 & X86_CR4_PAE))
			return -EINVAL;
	}
	if ((value ^ old) & CR0_LOADS_PDPTES && value & X86_CR0_PE &&
	    pae_paging(value, cr4, efer)) {
		error = load_pdptes(vcpu);
		if (error)
			return error;
	}
	return vmx_set_cr0(vv, value);
}

static int
write_cr4_of_guest(struct vcpu *vcpu, u64 value)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const u64 old = vmx_get_cr4(vv);
	const u64 efer = vmx_get(vv, VF_EFER);
	int error;

	if (!(value & X86_CR4_PAE) && efer & EFER_LMA)
		return -EINVAL;
	if ((value ^ old) & CR4_LOADS_PDPTES && pae_paging(vmx_get_cr0(vv), value, efer)) {
		error = load_pdptes(vcpu);
		if (error)
			return error;
	}
	return vmx_set_cr4(vv, value);
}

/* LMSW sets the low four bits, but cannot clear PE. */
static u64
lmsw(u64 cr0, unsigned int source)
{
	const u64 bits = X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS;

	return (cr0 & ~(bits & ~(u64)X86_CR0_PE)) | (source & bits);
}

/* ---- The instruction ------------------------------------------------------------------------- */

/* MOV has operands of 64 bits in 64-bit code, else of 32. */
static u64
operand(struct vcpu *vcpu, unsigned int number)
{
	const u64 value = vmx_gpr(vcpu, number);

	return vmx_in_64bit_code(vmx_of(vcpu)) ? value : (u32)value;
}

static int
mov_to_cr(struct vcpu *vcpu, unsigned int cr, u64 value)
{
	switch (cr) {
	case 0:
		return write_cr0_of_guest(vcpu, value);
	case 4:
		return write_cr4_of_guest(vcpu, value);
	case 8:
		return exit_cr8(vcpu, true, &value);
	default:
		WARN_ONCE(1, "exit for MOV to CR%u\n", cr);
		return -EINVAL;
	}
}

/* Only CR8 exits when it is read. */
static int
mov_from_cr(struct vcpu *vcpu, unsigned int cr, unsigned int number)
{
	u64 value;

	if (WARN_ONCE(cr != 8, "exit for MOV from CR%u\n", cr))
		return -EINVAL;
	if (exit_cr8(vcpu, false, &value))
		return -EINVAL;
	vmx_set_gpr(vcpu, number, value);
	return 0;
}

static int
do_cr(struct vcpu *vcpu)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const u64 q = vv->vv_exit.xi_qualification;

	switch (QUAL_CR_KIND(q)) {
	case QUAL_CR_TO:
		return mov_to_cr(vcpu, QUAL_CR_NUMBER(q), operand(vcpu, QUAL_CR_GPR(q)));
	case QUAL_CR_FROM:
		return mov_from_cr(vcpu, QUAL_CR_NUMBER(q), QUAL_CR_GPR(q));
	case QUAL_CR_CLTS:
		return vmx_set_cr0(vv, vmx_get_cr0(vv) & ~(u64)X86_CR0_TS);
	default:
		return write_cr0_of_guest(vcpu, lmsw(vmx_get_cr0(vv), QUAL_CR_LMSW_SOURCE(q)));
	}
}

static int
finish(struct vcpu *vcpu, int error)
{
	if (error == -EINTR)
		return error;
	if (error)
		return vmx_inject_gp(vcpu);
	vcpu_skip(vcpu, vmx_of(vcpu)->vv_exit.xi_inst_bytes);
	return VCPU_RESUME;
}

int
vmx_exit_cr(struct vcpu *vcpu)
{
	const u64 q = vmx_of(vcpu)->vv_exit.xi_qualification;

	if (QUAL_CR_NUMBER(q) != 8 || QUAL_CR_KIND(q) > QUAL_CR_FROM)
		vcpu_count(vcpu, VCPU_STAT_EXITS_CR); /* CR8's is counted by exit_cr8() */
	return finish(vcpu, do_cr(vcpu));
}

/* ---- Debug registers ------------------------------------------------------------------------- */

#define DR6_BD BIT_ULL(13)
#define DR7_GD BIT_ULL(13)

/*
 * The exit comes before the checks of CPL, of DR4 and DR5, and of DR7.GD (SDM vol. 3C 26.1.3, "MOV
 * DR"). Whether something was injected.
 */
static bool
dr_faults(struct vcpu *vcpu, unsigned int *dr)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const u64 dr7 = vmx_get(vv, VF_DR7);

	if (*dr == 4 || *dr == 5) {
		if (vmx_get_cr4(vv) & X86_CR4_DE) {
			vmx_inject_ud(vcpu);
			return true;
		}
		*dr += 2;
	}
	if (vmx_cpl(vv) != 0) {
		vmx_inject_gp(vcpu);
		return true;
	}
	if (dr7 & DR7_GD) {
		vcpu->vc_dr6 |= DR6_BD;
		vmx_set(vv, VF_DR7, dr7 & ~DR7_GD);
		vcpu_inject_exception(vcpu, X86_TRAP_DB, -1);
		return true;
	}
	return false;
}

static int
access_dr(struct vcpu *vcpu, unsigned int dr, bool write, u64 *value)
{
	if (dr != 7)
		return exit_dr(vcpu, dr, write, value);
	vcpu_count(vcpu, VCPU_STAT_EXITS_DR);
	return write ? vmx_set_reg(vcpu, VMM_REG_DR7, *value)
		     : vmx_get_reg(vcpu, VMM_REG_DR7, value);
}

int
vmx_exit_dr(struct vcpu *vcpu)
{
	const u64 q = vmx_of(vcpu)->vv_exit.xi_qualification;
	const unsigned int number = QUAL_DR_GPR(q);
	const bool write = !(q & QUAL_DR_READ);
	unsigned int dr = QUAL_DR_NUMBER(q);
	u64 value = write ? operand(vcpu, number) : 0;

	if (dr_faults(vcpu, &dr))
		return VCPU_RESUME;
	if (access_dr(vcpu, dr, write, &value))
		return vmx_inject_gp(vcpu);
	if (!write)
		vmx_set_gpr(vcpu, number, value);
	return finish(vcpu, 0);
}
