// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// SPDX-FileCopyrightText: The skep authors

/*
 * How long is the instruction that exited? CPUs tell the address of the next one (NRIPS) since
 * 2009, but not all, and not every emulator of them. Then its bytes are fetched as the guest's CPU
 * did and decoded, as far as the few instructions go that can exit.
 *
 * Nothing is believed: other vCPUs may have changed the code since, so what is found must be the
 * instruction that the exit names; else the guest executes again what is there now.
 */

#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/string.h>

#include "kmod/svm/svm.h"

#define INST_BYTES_MAX 15

/* ---- Decoding -------------------------------------------------------------------------------- */

struct cursor {
	const u8 *cu_code;
	unsigned int cu_n;
	unsigned int cu_at;
	unsigned int cu_bits;
	u8 cu_rex;
	bool cu_rep;   /* F3 */
	bool cu_lock;  /* F0 */
	bool cu_short; /* 67 */
};

static int
next(struct cursor *cu, u8 *byte)
{
	if (cu->cu_at >= INST_BYTES_MAX)
		return -EINVAL;
	if (cu->cu_at >= cu->cu_n)
		return -E2BIG;
	*byte = cu->cu_code[cu->cu_at++];
	return 0;
}

/* Takes all prefixes; *opcode is the byte after them. */
static int
prefixes(struct cursor *cu, struct svm_inst *inst, u8 *opcode)
{
	int error;

	while ((error = next(cu, opcode)) == 0) {
		if (cu->cu_bits == 64 && (*opcode & 0xf0) == 0x40) {
			cu->cu_rex = *opcode;
			continue;
		}
		switch (*opcode) {
		case 0x26:
			inst->in_seg = VMM_REG_ES;
			break;
		case 0x2e:
			inst->in_seg = VMM_REG_CS;
			break;
		case 0x36:
			inst->in_seg = VMM_REG_SS;
			break;
		case 0x3e:
			inst->in_seg = VMM_REG_DS;
			break;
		case 0x64:
			inst->in_seg = VMM_REG_FS;
			break;
		case 0x65:
			inst->in_seg = VMM_REG_GS;
			break;
		case 0x67:
			cu->cu_short = true;
			break;
		case 0x66:
		case 0xf2:
			break;
		case 0xf0:
			cu->cu_lock = true;
			break;
		case 0xf3:
			cu->cu_rep = true;
			break;
		default:
			return 0;
		}
		cu->cu_rex = 0; /* counts only right before the opcode */
	}
	return error;
}

struct opcode {
	u8 oc_byte;
	u8 oc_immediate_bytes;
	enum svm_op oc_op;
};

static const struct opcode one_byte[] = {
	{0x6c, 0, SVM_OP_INS},	{0x6d, 0, SVM_OP_INS},	{0x6e, 0, SVM_OP_OUTS},
	{0x6f, 0, SVM_OP_OUTS}, {0xcc, 0, SVM_OP_INT3}, {0xcd, 1, SVM_OP_INTN},
	{0xce, 0, SVM_OP_INTO}, {0xe4, 1, SVM_OP_IN},	{0xe5, 1, SVM_OP_IN},
	{0xe6, 1, SVM_OP_OUT},	{0xe7, 1, SVM_OP_OUT},	{0xec, 0, SVM_OP_IN},
	{0xed, 0, SVM_OP_IN},	{0xee, 0, SVM_OP_OUT},	{0xef, 0, SVM_OP_OUT},
	{0xf1, 0, SVM_OP_INT1}, {0xf4, 0, SVM_OP_HLT},
};

/* After 0F. MOV CR and DR have a ModRM byte, of which the mode counts for nothing. */
static const struct opcode two_byte[] = {
	{0x08, 0, SVM_OP_INVD},	       {0x09, 0, SVM_OP_INVD},	    {0x20, 1, SVM_OP_MOV_FROM_CR},
	{0x21, 1, SVM_OP_MOV_FROM_DR}, {0x22, 1, SVM_OP_MOV_TO_CR}, {0x23, 1, SVM_OP_MOV_TO_DR},
	{0x30, 0, SVM_OP_WRMSR},       {0x32, 0, SVM_OP_RDMSR},	    {0xa2, 0, SVM_OP_CPUID},
};

static const struct opcode *
find(const struct opcode *table, size_t n, u8 byte)
{
	for (size_t i = 0; i < n; i++)
		if (table[i].oc_byte == byte)
			return &table[i];
	return NULL;
}

static int
after_0f(struct cursor *cu, struct svm_inst *inst)
{
	const struct opcode *oc;
	u8 byte, modrm = 0;
	int error = next(cu, &byte);

	if (error)
		return error;
	if (byte == 0x01) { /* a group; VMMCALL is 0F 01 D9 */
		error = next(cu, &modrm);
		if (error)
			return error;
		inst->in_op = SVM_OP_VMMCALL;
		return modrm == 0xd9 ? 0 : -EINVAL;
	}
	oc = find(two_byte, ARRAY_SIZE(two_byte), byte);
	if (!oc)
		return -EINVAL;
	inst->in_op = oc->oc_op;
	if (oc->oc_immediate_bytes == 0)
		return 0;
	error = next(cu, &modrm);
	if (error)
		return error;
	/* LOCK is another way to say CR8 where there is no REX (APM vol. 3, MOV CRn). */
	inst->in_reg = (modrm >> 3 & 7) | (cu->cu_rex & 4 || cu->cu_lock ? 8 : 0);
	inst->in_gpr = (modrm & 7) | (cu->cu_rex & 1 ? 8 : 0);
	return 0;
}

/* With the prefix 67. */
static u8
other_addr_bytes(unsigned int bits)
{
	return bits == 32 ? 2 : 4;
}

static int
decode(struct cursor *cu, struct svm_inst *inst)
{
	const struct opcode *oc;
	u8 opcode, immediate;
	int error = prefixes(cu, inst, &opcode);

	if (error)
		return error;
	inst->in_addr_bytes = cu->cu_short ? other_addr_bytes(cu->cu_bits) : cu->cu_bits / 8;
	if (opcode == 0x0f)
		return after_0f(cu, inst);
	if (opcode == 0x90 && cu->cu_rep) {
		inst->in_op = SVM_OP_PAUSE;
		return 0;
	}
	oc = find(one_byte, ARRAY_SIZE(one_byte), opcode);
	if (!oc)
		return -EINVAL;
	inst->in_op = oc->oc_op;
	if (oc->oc_immediate_bytes == 0)
		return 0;
	error = next(cu, &immediate);
	if (!error && oc->oc_op == SVM_OP_INTN)
		inst->in_vector = immediate;
	return error;
}

int
svm_inst_decode(const u8 *code, unsigned int n, unsigned int bits, struct svm_inst *inst)
{
	struct cursor cu = {.cu_code = code, .cu_n = n, .cu_bits = bits};
	struct svm_inst found = {.in_op = SVM_OP_OTHER, .in_seg = VMM_REG_DS};
	int error = decode(&cu, &found);

	if (error)
		return error;
	found.in_bytes = cu.cu_at;
	*inst = found;
	return 0;
}

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
	u8 code[INST_BYTES_MAX];
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

		if (n > 0 && n <= INST_BYTES_MAX) {
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
