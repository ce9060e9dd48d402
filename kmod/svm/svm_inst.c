// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// SPDX-FileCopyrightText: The skep authors

/*
 * How long is the instruction that exited? CPUs tell the address of the next one (NRIPS) since
 * 2009, but not all, and not every emulator of them. Then its bytes are fetched as the guest's CPU
 * did, and decoded (svm_decode.c).
 *
 * Nothing is believed: other vCPUs may have changed the code since, so what is found must be the
 * instruction that the exit names; else the guest executes again what is there now.
 */

#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/string.h>

#include "kmod/svm/svm.h"

enum vmm_reg
svm_gpr(unsigned int number)
{
	static const u8 regs[16] = {
		VMM_REG_RAX, VMM_REG_RCX, VMM_REG_RDX, VMM_REG_RBX, VMM_REG_RSP, VMM_REG_RBP,
		VMM_REG_RSI, VMM_REG_RDI, VMM_REG_R8,  VMM_REG_R9,  VMM_REG_R10, VMM_REG_R11,
		VMM_REG_R12, VMM_REG_R13, VMM_REG_R14, VMM_REG_R15,
	};

	return regs[number & 15];
}

/* ---- Fetching -------------------------------------------------------------------------------- */

static unsigned int
code_bits(const struct vmcb_save *save)
{
	if ((save->efer & EFER_LMA) && (save->cs.attr & VMCB_ATTR_L))
		return 64;
	return save->cs.attr & VMCB_ATTR_DB ? 32 : 16;
}

/* As many bytes from gla on as lie in its page. */
static int
fetch_page(struct vcpu *vcpu, const struct vm_guest_paging *paging, u64 gla, u8 *code,
	   unsigned int n)
{
	struct vmspace *vs = vcpu->vc_vm->vm_space;
	struct vm_gla out;
	u64 done;
	int error;

	percpu_down_read(&vmm_quiet);
	error = vm_gla2gpa_nofault(vs, paging, gla, PMAP_PROT_X, &out);
	if (!error)
		error = vm_gpa_read(vs, out.gl_gpa, code, n, &done);
	percpu_up_read(&vmm_quiet);
	return error > 0 ? -EFAULT : error;
}

int
svm_inst_fetch(struct vcpu *vcpu, struct svm_inst *inst)
{
	const struct vmcb_save *save = &svm_vmcb(vcpu)->save;
	const unsigned int bits = code_bits(save);
	struct vm_guest_paging paging;
	u8 code[SVM_INST_BYTES_MAX];
	unsigned int n;
	u64 gla = save->rip;
	int error;

	if (bits != 64)
		gla = (u32)(gla + save->cs.base);
	n = min_t(u64, sizeof(code), PAGE_SIZE - offset_in_page(gla));
	vcpu_paging(vcpu, &paging);
	error = fetch_page(vcpu, &paging, gla, code, n);
	if (error)
		return error;
	error = svm_inst_decode(code, n, bits, inst);
	if (error != -E2BIG || n == sizeof(code))
		return error;
	gla += n;
	if (bits != 64)
		gla = (u32)gla;
	error = fetch_page(vcpu, &paging, gla, code + n, sizeof(code) - n);
	return error ?: svm_inst_decode(code, sizeof(code), bits, inst);
}

int
svm_inst_bytes(struct vcpu *vcpu, enum svm_op op, unsigned int *bytes)
{
	const struct vmcb *vmcb = svm_vmcb(vcpu);
	struct svm_inst inst;
	int error;

	if ((svm_features & SVM_FEATURE_NRIPS) && vmcb->control.next_rip) {
		const u8 n = (u8)(vmcb->control.next_rip - vmcb->save.rip);

		if (n > 0 && n <= SVM_INST_BYTES_MAX) {
			*bytes = n;
			return 0;
		}
	}
	error = svm_inst_fetch(vcpu, &inst);
	if (error)
		return error;
	if (inst.in_op != op)
		return -EINVAL;
	svm_vcpu(vcpu)->sv_bad_fetch = 0;
	*bytes = inst.in_bytes;
	return 0;
}
