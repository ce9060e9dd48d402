/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Registers of a vCPU that are in its VMCS or in its list of MSRs.
 *
 * CR0 and CR4 are two-faced: in the VMCS they have bits that VT-x or the host insists on, and the
 * guest reads those bits as it wrote them, from a shadow. Bits that it may change without an exit
 * ("owned") are in the register itself. EFER.LMA is the CPU's to compute, from LME and CR0.PG,
 * which we do, since we see every change of either; it is the VM entry's mode, too.
 */

#include <asm/processor-flags.h>

#include "kmod/vmx/vmx_priv.h"

/* ---- Control registers ----------------------------------------------------------------------- */

#define CR0_ALL                                                                        \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | \
	 X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
/* What cpuid.c offers, or every CPU has. */
#define CR4_ALL                                                                             \
	(X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | \
	 X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT |    \
	 X86_CR4_FSGSBASE | X86_CR4_SMEP | X86_CR4_SMAP)
#define EFER_ALL (EFER_SCE | EFER_LME | EFER_LMA)

u64
vmx_cr0_owned(void)
{
	return X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_WP | X86_CR0_AM;
}

/* PGE changes flush, which the CPU then does by itself. */
u64
vmx_cr4_owned(void)
{
	return X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PGE | X86_CR4_PCE |
	       X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
}

u64
vmx_get_cr0(struct vmx_vcpu *vv)
{
	const u64 owned = vmx_cr0_owned();

	return (vmx_get(vv, VF_CR0) & owned) | (vmx_get(vv, VF_CR0_SHADOW) & ~owned);
}

u64
vmx_get_cr4(struct vmx_vcpu *vv)
{
	const u64 owned = vmx_cr4_owned();

	return (vmx_get(vv, VF_CR4) & owned) | (vmx_get(vv, VF_CR4_SHADOW) & ~owned);
}

/*
 * In long mode the entry insists on a TSS of 64 bits, which CPUs by themselves do not look at
 * before the next task switch or LTR (SDM vol. 3C 27.3.1.2).
 */
static void
settle_long_mode(struct vmx_vcpu *vv)
{
	const u64 efer = vmx_get(vv, VF_EFER);
	const bool lma = efer & EFER_LME && vmx_get(vv, VF_CR0_SHADOW) & X86_CR0_PG;
	const unsigned int tr = VF_ACCESS + VMX_SEG(VMM_REG_TR);

	vmx_set(vv, VF_EFER, lma ? efer | EFER_LMA : efer & ~(u64)EFER_LMA);
	if (!lma) {
		vv->vv_ctls.vc_entry &= ~ENTRY_IA32E;
		return;
	}
	vv->vv_ctls.vc_entry |= ENTRY_IA32E;
	vmx_set(vv, tr, (vmx_get(vv, tr) & ~(u64)ACCESS_TYPE) | ACCESS_TYPE_BUSY_TSS);
}

/*
 * Caches are the host's affair, so CD and NW only seem to be there. PE and PG are left to the entry
 * to refuse where the CPU has no unrestricted guests.
 */
int
vmx_set_cr0(struct vmx_vcpu *vv, u64 value)
{
	u64 real;

	if (value & ~(u64)CR0_ALL || (value & X86_CR0_PG && !(value & X86_CR0_PE)) ||
	    (value & X86_CR0_NW && !(value & X86_CR0_CD)))
		return -EINVAL;
	value |= X86_CR0_ET;
	real = (value & ~(u64)(X86_CR0_CD | X86_CR0_NW)) | vmx_caps.vx_cr0_fixed0;
	vmx_set(vv, VF_CR0, real & vmx_caps.vx_cr0_fixed1);
	vmx_set(vv, VF_CR0_SHADOW, value);
	settle_long_mode(vv);
	vv->vv_flush_linear = true;
	return 0;
}

/* MCE stays as the host has it: a machine check must exit, not shut the guest down. */
int
vmx_set_cr4(struct vmx_vcpu *vv, u64 value)
{
	if (value & ~(u64)CR4_ALL || value & ~vmx_caps.vx_cr4_fixed1)
		return -EINVAL;
	vmx_set(vv, VF_CR4, value | vmx_caps.vx_cr4_fixed0 | (__read_cr4() & X86_CR4_MCE));
	vmx_set(vv, VF_CR4_SHADOW, value);
	vv->vv_flush_linear = true;
	return 0;
}

int
vmx_set_efer(struct vmx_vcpu *vv, u64 value)
{
	if (value & ~(u64)(EFER_ALL | (boot_cpu_has(X86_FEATURE_NX) ? EFER_NX : 0)))
		return -EINVAL;
	vmx_set(vv, VF_EFER, value);
	settle_long_mode(vv);
	vv->vv_flush_linear = true;
	return 0;
}

/* ---- Values ---------------------------------------------------------------------------------- */

/* Of 48 bits; guests are not offered LA57. */
static bool
canonical(u64 address)
{
	return (u64)((s64)(address << 16) >> 16) == address;
}

/* Types UC, WC, WT, WP, WB, UC- (SDM vol. 3A 12.12.2). */
static bool
pat_valid(u64 value)
{
	unsigned int i;

	for (i = 0; i < 8; i++)
		if (!(BIT(value >> (8 * i) & 0xff & 31) & 0xf3) || (value >> (8 * i) & 0xff) > 7)
			return false;
	return true;
}

#define RFLAGS_ALL                                                                          \
	(X86_EFLAGS_CF | X86_EFLAGS_FIXED | X86_EFLAGS_PF | X86_EFLAGS_AF | X86_EFLAGS_ZF | \
	 X86_EFLAGS_SF | X86_EFLAGS_TF | X86_EFLAGS_IF | X86_EFLAGS_DF | X86_EFLAGS_OF |    \
	 X86_EFLAGS_IOPL | X86_EFLAGS_NT | X86_EFLAGS_RF | X86_EFLAGS_VM | X86_EFLAGS_AC |  \
	 X86_EFLAGS_VIF | X86_EFLAGS_VIP | X86_EFLAGS_ID)

/*
 * Any RIP is possible: an instruction at the end of the canonical range, completed for the guest,
 * leads out of it. The next entry then fails and says so.
 */
static bool
value_possible(enum vmm_reg reg, u64 value)
{
	switch (reg) {
	case VMM_REG_RFLAGS:
		return !(value & ~(u64)RFLAGS_ALL);
	case VMM_REG_CR3:
		return value >> vmm_ept_cpu.ec_caps.pc_phys_bits == 0;
	case VMM_REG_DR7:
	case VMM_REG_SYSENTER_CS:
	case VMM_REG_SFMASK:
		return value >> 32 == 0;
	case VMM_REG_ES ... VMM_REG_TR:
		return value >> 16 == 0;
	case VMM_REG_LSTAR:
	case VMM_REG_CSTAR:
	case VMM_REG_KGS_BASE:
	case VMM_REG_SYSENTER_ESP:
	case VMM_REG_SYSENTER_EIP:
		return canonical(value);
	case VMM_REG_PAT:
		return pat_valid(value);
	case VMM_REG_INTR_SHADOW:
		return value <= 1;
	default:
		return true;
	}
}

#define DR7_FIXED_1 0x400ull
#define DR7_FIXED_0 0xd000ull /* bits 15, 14, 12 */

/* ---- One register ---------------------------------------------------------------------------- */

/* The field that is the register, or VF_COUNT. */
static unsigned int
field_of(enum vmm_reg reg)
{
	switch (reg) {
	case VMM_REG_RSP:
		return VF_RSP;
	case VMM_REG_RIP:
		return VF_RIP;
	case VMM_REG_RFLAGS:
		return VF_RFLAGS;
	case VMM_REG_CR3:
		return VF_CR3;
	case VMM_REG_EFER:
		return VF_EFER;
	case VMM_REG_DR7:
		return VF_DR7;
	case VMM_REG_ES ... VMM_REG_TR:
		return VF_SELECTOR + VMX_SEG(reg);
	case VMM_REG_PDPTE0 ... VMM_REG_PDPTE3:
		return VF_PDPTE0 + (reg - VMM_REG_PDPTE0);
	case VMM_REG_SYSENTER_CS:
		return VF_SYSENTER_CS;
	case VMM_REG_SYSENTER_ESP:
		return VF_SYSENTER_ESP;
	case VMM_REG_SYSENTER_EIP:
		return VF_SYSENTER_EIP;
	case VMM_REG_PAT:
		return VF_PAT;
	default:
		return VF_COUNT;
	}
}

static u64 *
msr_of(struct vmx_vcpu *vv, enum vmm_reg reg)
{
	switch (reg) {
	case VMM_REG_STAR ... VMM_REG_KGS_BASE:
		return &vv->vv_msrs->vl_guest[VMX_MSR_STAR + (reg - VMM_REG_STAR)].ve_value;
	default:
		return NULL;
	}
}

int
vmx_get_reg(struct vcpu *vcpu, enum vmm_reg reg, u64 *value)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const unsigned int field = field_of(reg);
	const u64 *const msr = msr_of(vv, reg);

	if (field < VF_COUNT)
		*value = vmx_get(vv, field);
	else if (msr)
		*value = *msr;
	else if (reg == VMM_REG_RAX)
		*value = vcpu->vc_gpr[VMM_REG_RAX];
	else if (reg == VMM_REG_CR0)
		*value = vmx_get_cr0(vv);
	else if (reg == VMM_REG_CR4)
		*value = vmx_get_cr4(vv);
	else if (reg == VMM_REG_INTR_SHADOW)
		*value =
			!!(vmx_get(vv, VF_INTERRUPTIBILITY) & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
	else
		return -EINVAL;
	return 0;
}

/* Of MOV SS, which may be whether or not interrupts are enabled. */
static void
set_shadow(struct vmx_vcpu *vv, bool on)
{
	u64 blocked = vmx_get(vv, VF_INTERRUPTIBILITY);

	blocked &= ~(u64)(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS);
	vmx_set(vv, VF_INTERRUPTIBILITY, on ? blocked | BLOCKED_BY_MOV_SS : blocked);
}

static void
set_field_reg(struct vmx_vcpu *vv, enum vmm_reg reg, unsigned int field, u64 value)
{
	if (reg == VMM_REG_RFLAGS)
		value |= X86_EFLAGS_FIXED;
	if (reg == VMM_REG_DR7)
		value = (value & ~DR7_FIXED_0) | DR7_FIXED_1;
	vmx_set(vv, field, value);
}

/* Those that say how the guest pages its memory. */
static int
set_paging_reg(struct vcpu *vcpu, enum vmm_reg reg, u64 value)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	int error = 0;

	if (reg == VMM_REG_CR0)
		error = vmx_set_cr0(vv, value);
	else if (reg == VMM_REG_CR4)
		error = vmx_set_cr4(vv, value);
	else if (reg == VMM_REG_EFER)
		error = vmx_set_efer(vv, value);
	else
		vmx_set(vv, VF_CR3, value);
	if (error)
		return error;
	vv->vv_flush_linear = true;
	vmx_reload_pdptes(vcpu);
	return 0;
}

/* May sleep for CR0, CR3, CR4 and EFER, which only calls of user space set by this. */
int
vmx_set_reg(struct vcpu *vcpu, enum vmm_reg reg, u64 value)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const unsigned int field = field_of(reg);
	u64 *const msr = msr_of(vv, reg);

	if (!value_possible(reg, value))
		return -EINVAL;
	if (reg == VMM_REG_CR0 || reg == VMM_REG_CR3 || reg == VMM_REG_CR4 || reg == VMM_REG_EFER)
		return set_paging_reg(vcpu, reg, value);
	if (field < VF_COUNT)
		set_field_reg(vv, reg, field, value);
	else if (msr)
		*msr = value;
	else if (reg == VMM_REG_RAX)
		vcpu->vc_gpr[VMM_REG_RAX] = value;
	else if (reg == VMM_REG_INTR_SHADOW)
		set_shadow(vv, value);
	else
		return -EINVAL;
	return 0;
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

static bool
is_table(enum vmm_reg reg)
{
	return reg == VMM_REG_GDTR || reg == VMM_REG_IDTR;
}

int
vmx_get_desc(struct vcpu *vcpu, enum vmm_reg reg, struct vmm_desc *desc)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const unsigned int i = VMX_SEG(reg);

	if (reg < VMM_REG_ES || reg > VMM_REG_IDTR)
		return -EINVAL;
	desc->base = vmx_get(vv, VF_BASE + i);
	desc->limit = vmx_get(vv, VF_LIMIT + i);
	desc->access = is_table(reg) ? 0 : vmx_get(vv, VF_ACCESS + i);
	return 0;
}

int
vmx_set_desc(struct vcpu *vcpu, enum vmm_reg reg, const struct vmm_desc *desc)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const unsigned int i = VMX_SEG(reg);

	if (reg < VMM_REG_ES || reg > VMM_REG_IDTR || !canonical(desc->base))
		return -EINVAL;
	if (is_table(reg) ? desc->access != 0 || desc->limit > 0xffff
			  : (desc->access & ACCESS_RESERVED) != 0)
		return -EINVAL;
	vmx_set(vv, VF_BASE + i, desc->base);
	vmx_set(vv, VF_LIMIT + i, desc->limit);
	if (!is_table(reg))
		vmx_set(vv, VF_ACCESS + i, desc->access);
	return 0;
}

/* ---- Fields of the VMCS ---------------------------------------------------------------------- */

int
vmx_get_field(struct vcpu *vcpu, u32 encoding, u64 *value)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);

	if (encoding & VMCS_FIELD_RESERVED)
		return -EINVAL;
	if (encoding == VMCS_ENTRY_INTR_INFO && vcpu->vc_reinject & VCPU_EVENT_VALID) {
		*value = (u32)vcpu->vc_reinject;
		return 0;
	}
	return vmx_read_anywhere(vv, encoding, value);
}

/* What an entry would accept: reserved bits, types 1 and 7 (none, "other"), vectors by type. */
static bool
event_possible(u64 event)
{
	const unsigned int vector = VCPU_EVENT_VECTOR(event);

	if (event == 0)
		return true;
	if (event & ~(u64)INTR_INFO_EVENT || !(event & VCPU_EVENT_VALID))
		return false;
	switch (VCPU_EVENT_TYPE(event)) {
	case VCPU_EVENT_TYPE_INTR:
		return !(event & VCPU_EVENT_ERROR);
	case VCPU_EVENT_TYPE_NMI:
		return vector == X86_TRAP_NMI && !(event & VCPU_EVENT_ERROR);
	case VCPU_EVENT_TYPE_EXCEPTION:
		return vector < 32;
	default: /* software's: there is no way to tell the instruction's length */
		return false;
	}
}

int
vmx_set_field(struct vcpu *vcpu, u32 encoding, u64 value)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);

	switch (encoding) {
	case VMCS_EXCEPTION_BITMAP:
		if (value >> 32)
			return -EINVAL;
		vv->vv_exceptions_asked = value;
		vmx_choose_ctls(vcpu);
		return 0;
	case VMCS_ENTRY_INTR_INFO:
		if (!event_possible(value))
			return -EINVAL;
		vcpu->vc_reinject = value;
		return 0;
	default:
		return -EINVAL;
	}
}
