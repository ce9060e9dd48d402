// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// SPDX-FileCopyrightText: The skep authors

/*
 * Registers by name, segments, and fields of the VMCB as they are.
 *
 * What is set from outside is held to what the guest itself could have: a value that no CPU would
 * hold, or that has bits of a feature that guests are not offered, is refused. Values that only
 * together make no sense are found by VMRUN.
 *
 * Descriptors travel in VT-x's format of access rights. SVM has no bit "unusable": a segment that
 * is not present is that. CPL, which VT-x derives from SS, is a field of its own here.
 */

#include <asm/cpufeature.h>
#include <asm/processor.h>
#include <asm/processor-flags.h>

#include "kmod/svm/svm.h"

/* ---- What a guest may have ------------------------------------------------------------------- */

u64
svm_cr4_allowed(void)
{
	u64 cr4 = X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE |
		  X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;

	if (boot_cpu_has(X86_FEATURE_FSGSBASE))
		cr4 |= X86_CR4_FSGSBASE;
	if (boot_cpu_has(X86_FEATURE_SMEP))
		cr4 |= X86_CR4_SMEP;
	if (boot_cpu_has(X86_FEATURE_SMAP))
		cr4 |= X86_CR4_SMAP;
	return cr4;
}

u64
svm_efer_allowed(void)
{
	u64 efer = EFER_SCE | EFER_LME;

	if (boot_cpu_has(X86_FEATURE_NX))
		efer |= EFER_NX;
	return efer;
}

static bool
canonical(u64 address)
{
	const unsigned int shift = boot_cpu_has(X86_FEATURE_LA57) ? 7 : 16;

	return (u64)((s64)(address << shift) >> shift) == address;
}

/* Bits of RFLAGS that exist: up to ID, without 1 (which is always set), 3, 5 and 15. */
#define RFLAGS_BITS 0x3f7fd7ull
#define CR0_BITS 0xe005003full

static bool
reg_possible(enum vmm_reg reg, u64 value)
{
	switch (reg) {
	case VMM_REG_RFLAGS:
		return (value & ~(u64)RFLAGS_BITS) == 0 && (value & X86_EFLAGS_FIXED);
	case VMM_REG_CR0:
		return (value & ~(u64)CR0_BITS) == 0 &&
		       (!(value & X86_CR0_PG) || (value & X86_CR0_PE)) &&
		       (!(value & X86_CR0_NW) || (value & X86_CR0_CD));
	case VMM_REG_CR3:
		return value >> boot_cpu_data.x86_phys_bits == 0;
	case VMM_REG_CR4:
		return (value & ~svm_cr4_allowed()) == 0;
	case VMM_REG_EFER:
		return (value & ~(svm_efer_allowed() | EFER_LMA)) == 0;
	case VMM_REG_DR7:
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
		return svm_pat_valid(value);
	case VMM_REG_INTR_SHADOW:
		return value <= 1;
	default:
		return true;
	}
}

/* ---- Where they are -------------------------------------------------------------------------- */

static struct vmcb_seg *
seg_of(struct vmcb_save *save, enum vmm_reg reg)
{
	switch (reg) {
	case VMM_REG_ES:
		return &save->es;
	case VMM_REG_CS:
		return &save->cs;
	case VMM_REG_SS:
		return &save->ss;
	case VMM_REG_DS:
		return &save->ds;
	case VMM_REG_FS:
		return &save->fs;
	case VMM_REG_GS:
		return &save->gs;
	case VMM_REG_LDTR:
		return &save->ldtr;
	case VMM_REG_TR:
		return &save->tr;
	case VMM_REG_GDTR:
		return &save->gdtr;
	case VMM_REG_IDTR:
		return &save->idtr;
	default:
		return NULL;
	}
}

/* Those that are one 64-bit word somewhere. */
static u64 *
word_of(struct vcpu *vcpu, enum vmm_reg reg)
{
	struct vmcb_save *save = &svm_vmcb(vcpu)->save;

	switch (reg) {
	case VMM_REG_RAX:
		return &vcpu->vc_gpr[VMM_REG_RAX];
	case VMM_REG_RSP:
		return &save->rsp;
	case VMM_REG_RIP:
		return &save->rip;
	case VMM_REG_RFLAGS:
		return &save->rflags;
	case VMM_REG_CR0:
		return &save->cr0;
	case VMM_REG_CR3:
		return &save->cr3;
	case VMM_REG_CR4:
		return &save->cr4;
	case VMM_REG_EFER:
		return &save->efer;
	case VMM_REG_DR7:
		return &save->dr7;
	case VMM_REG_STAR:
		return &save->star;
	case VMM_REG_LSTAR:
		return &save->lstar;
	case VMM_REG_CSTAR:
		return &save->cstar;
	case VMM_REG_SFMASK:
		return &save->sfmask;
	case VMM_REG_KGS_BASE:
		return &save->kernel_gs_base;
	case VMM_REG_SYSENTER_CS:
		return &save->sysenter_cs;
	case VMM_REG_SYSENTER_ESP:
		return &save->sysenter_esp;
	case VMM_REG_SYSENTER_EIP:
		return &save->sysenter_eip;
	case VMM_REG_PAT:
		return &save->g_pat;
	default:
		return NULL;
	}
}

/* The CPU has none of them: under nested paging it reads them from memory each time. */
static int
get_pdpte(struct vcpu *vcpu, unsigned int i, u64 *value)
{
	const struct vmcb_save *save = &svm_vmcb(vcpu)->save;
	const gpa_t gpa = (gpa_t)((save->cr3 & 0xffffffe0) + i * sizeof(*value));
	u64 done;
	int error;

	*value = 0;
	if (!(save->cr0 & X86_CR0_PG) || !(save->cr4 & X86_CR4_PAE) || (save->efer & EFER_LME))
		return 0;
	percpu_down_read(&vmm_quiet);
	error = vm_gpa_read(vcpu->vc_vm->vm_space, gpa, value, sizeof(*value), &done);
	percpu_up_read(&vmm_quiet);
	return error ? -EINVAL : 0;
}

/* ---- Registers ------------------------------------------------------------------------------- */

int
svm_get_reg(struct vcpu *vcpu, enum vmm_reg reg, u64 *value)
{
	struct vmcb *vmcb = svm_vmcb(vcpu);
	const u64 *word = word_of(vcpu, reg);

	if (word) {
		*value = reg == VMM_REG_EFER ? *word & ~(u64)EFER_SVME : *word;
		return 0;
	}
	switch (reg) {
	case VMM_REG_ES ... VMM_REG_TR:
		*value = seg_of(&vmcb->save, reg)->selector;
		return 0;
	case VMM_REG_PDPTE0 ... VMM_REG_PDPTE3:
		return get_pdpte(vcpu, reg - VMM_REG_PDPTE0, value);
	case VMM_REG_INTR_SHADOW:
		*value = vmcb->control.int_state & VMCB_INT_SHADOW;
		return 0;
	default:
		return -EINVAL;
	}
}

/* What VMRUN checks; and all that translations depend on. */
static bool
is_state(enum vmm_reg reg)
{
	switch (reg) {
	case VMM_REG_CR0:
	case VMM_REG_CR3:
	case VMM_REG_CR4:
	case VMM_REG_EFER:
	case VMM_REG_DR7:
	case VMM_REG_PAT:
		return true;
	default:
		return false;
	}
}

int
svm_set_reg(struct vcpu *vcpu, enum vmm_reg reg, u64 value)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct vmcb *vmcb = sv->sv_vmcb;
	u64 *word = word_of(vcpu, reg);

	if (!reg_possible(reg, value))
		return -EINVAL;
	switch (reg) {
	case VMM_REG_ES ... VMM_REG_TR:
		seg_of(&vmcb->save, reg)->selector = (u16)value;
		sv->sv_touched = true;
		return 0;
	case VMM_REG_INTR_SHADOW:
		vmcb->control.int_state = value ? VMCB_INT_SHADOW : 0;
		return 0;
	case VMM_REG_CR0:
		value |= X86_CR0_ET;
		break;
	case VMM_REG_EFER:
		value |= EFER_SVME;
		break;
	case VMM_REG_DR7:
		value |= 0x400; /* always set */
		break;
	case VMM_REG_PAT:
		svm_dirty(sv, VMCB_CLEAN_NP);
		break;
	default:
		break;
	}
	if (!word)
		return -EINVAL;
	if (is_state(reg)) {
		sv->sv_touched = true;
		sv->sv_flush_self = true;
	}
	*word = value;
	if ((vmcb->save.cr0 & X86_CR0_PG) && (vmcb->save.efer & EFER_LME))
		vmcb->save.efer |= EFER_LMA;
	return 0;
}

/* ---- Segments -------------------------------------------------------------------------------- */

#define ACCESS_UNUSABLE BIT(16)
#define ACCESS_BITS 0x1f0ffu
#define ACCESS_LOW 0xffu    /* type, S, DPL, P: the same in both */
#define ACCESS_HIGH_SHIFT 4 /* AVL, L, D/B, G: 15:12 there, 11:8 in the VMCB */
#define ACCESS_HIGH 0xf00u

static bool
is_table(enum vmm_reg reg)
{
	return reg == VMM_REG_GDTR || reg == VMM_REG_IDTR;
}

/* What CPUs are known not to save is made up for: G, a TSS's busy bit, SS.DPL. */
static u16
repaired(const struct vmcb_save *save, enum vmm_reg reg, const struct vmcb_seg *seg)
{
	u16 attr = seg->attr;

	if (seg->limit > 0xfffff)
		attr |= VMCB_ATTR_G;
	if (reg == VMM_REG_TR)
		attr |= VMCB_ATTR_BUSY;
	if (reg == VMM_REG_SS)
		attr = (attr & ~VMCB_ATTR_DPL) | (save->cpl & 3) << VMCB_ATTR_DPL_SHIFT;
	return attr;
}

int
svm_get_desc(struct vcpu *vcpu, enum vmm_reg reg, struct vmm_desc *desc)
{
	struct vmcb_save *save = &svm_vmcb(vcpu)->save;
	const struct vmcb_seg *seg = seg_of(save, reg);
	u16 attr;

	if (!seg)
		return -EINVAL;
	desc->base = seg->base;
	desc->limit = seg->limit;
	desc->access = 0;
	if (is_table(reg))
		return 0;
	attr = repaired(save, reg, seg);
	desc->access = (attr & ACCESS_LOW) | (attr & ACCESS_HIGH) << ACCESS_HIGH_SHIFT;
	if (!(attr & VMCB_ATTR_P))
		desc->access |= ACCESS_UNUSABLE;
	return 0;
}

static bool
desc_possible(enum vmm_reg reg, const struct vmm_desc *desc)
{
	switch (reg) {
	case VMM_REG_GDTR:
	case VMM_REG_IDTR:
		return canonical(desc->base) && desc->limit <= 0xffff && desc->access == 0;
	case VMM_REG_FS:
	case VMM_REG_GS:
	case VMM_REG_LDTR:
	case VMM_REG_TR:
		return canonical(desc->base) && (desc->access & ~ACCESS_BITS) == 0;
	default:
		return desc->base >> 32 == 0 && (desc->access & ~ACCESS_BITS) == 0;
	}
}

int
svm_set_desc(struct vcpu *vcpu, enum vmm_reg reg, const struct vmm_desc *desc)
{
	struct vmcb_save *save = &svm_vmcb(vcpu)->save;
	struct vmcb_seg *seg = seg_of(save, reg);
	u16 attr = (desc->access & ACCESS_LOW) | (desc->access >> ACCESS_HIGH_SHIFT & ACCESS_HIGH);

	if (!seg || !desc_possible(reg, desc))
		return -EINVAL;
	if (desc->access & ACCESS_UNUSABLE)
		attr &= ~VMCB_ATTR_P;
	seg->base = desc->base;
	seg->limit = desc->limit;
	seg->attr = is_table(reg) ? 0 : attr;
	svm_vcpu(vcpu)->sv_touched = true;
	if (reg == VMM_REG_SS)
		save->cpl = (desc->access & VMCB_ATTR_DPL) >> VMCB_ATTR_DPL_SHIFT;
	return 0;
}

/* ---- Fields ---------------------------------------------------------------------------------- */

#define FIELD_OFFSET(f) ((f)&0xffff)
#define FIELD_BYTES(f) ((f) >> 16 & 0xf)

static bool
field_exists(u32 field)
{
	const u32 offset = FIELD_OFFSET(field), bytes = FIELD_BYTES(field);

	return field >> 20 == 0 && (bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8) &&
	       offset % bytes == 0 && offset + bytes <= VMCB_OFFSET_END;
}

int
svm_get_field(struct vcpu *vcpu, u32 field, u64 *value)
{
	const u8 *at;

	if (!field_exists(field))
		return -EINVAL;
	svm_sync(vcpu);
	at = (const u8 *)svm_vmcb(vcpu) + FIELD_OFFSET(field);
	switch (FIELD_BYTES(field)) {
	case 1:
		*value = *at;
		break;
	case 2:
		*value = *(const u16 *)at;
		break;
	case 4:
		*value = *(const u32 *)at;
		break;
	default:
		*value = *(const u64 *)at;
		break;
	}
	return 0;
}

/* An event set that way is injected as one that was made pending. */
static int
set_event(struct vcpu *vcpu, u64 value)
{
	const unsigned int type = VCPU_EVENT_TYPE(value);

	if (value == 0) {
		vcpu->vc_exception = 0;
		return 0;
	}
	if (!(value & VCPU_EVENT_VALID) || (value & 0x7ffff000))
		return -EINVAL;
	if (type != VMCB_EVENT_INTR && type != VMCB_EVENT_NMI && type != VMCB_EVENT_EXCEPTION &&
	    type != VMCB_EVENT_SOFT)
		return -EINVAL;
	if (type == VMCB_EVENT_EXCEPTION && VCPU_EVENT_VECTOR(value) > 31)
		return -EINVAL;
	vcpu->vc_exception = value;
	return 0;
}

int
svm_set_field(struct vcpu *vcpu, u32 field, u64 value)
{
	if (field == (VMCB_OFFSET_EXCEPTIONS | 4u << 16) && value >> 32 == 0) {
		svm_vcpu(vcpu)->sv_exceptions = (u32)value;
		svm_intercept_exceptions(vcpu);
		return 0;
	}
	if (field == (VMCB_OFFSET_EVENT_INJ | 8u << 16))
		return set_event(vcpu, value);
	return -EINVAL;
}
