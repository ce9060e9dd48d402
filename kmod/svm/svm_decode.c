// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// SPDX-FileCopyrightText: The skep authors

/*
 * Decoding (APM vol. 3, 1.2 and appendix A): prefixes, an opcode out of two short tables, at most a
 * ModRM byte or an immediate one. What is in no table does not exit, and is refused.
 */

#include "kmod/svm/svm_decode.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

struct cursor {
	const uint8_t *cu_code;
	unsigned int cu_n;
	unsigned int cu_at;
	unsigned int cu_bits;
	uint8_t cu_rex;
	bool cu_rep;   /* F3 */
	bool cu_lock;  /* F0 */
	bool cu_short; /* 67 */
};

static int
next(struct cursor *cu, uint8_t *byte)
{
	if (cu->cu_at >= SVM_INST_BYTES_MAX)
		return -EINVAL;
	if (cu->cu_at >= cu->cu_n)
		return -E2BIG;
	*byte = cu->cu_code[cu->cu_at++];
	return 0;
}

/* Takes all prefixes; *opcode is the byte after them. */
static int
prefixes(struct cursor *cu, struct svm_inst *inst, uint8_t *opcode)
{
	int error;

	while ((error = next(cu, opcode)) == 0) {
		if (cu->cu_bits == 64 && (*opcode & 0xf0) == 0x40) {
			cu->cu_rex = *opcode;
			continue;
		}
		switch (*opcode) {
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
			/* 64-bit code has no such segments. */
			if (cu->cu_bits != 64)
				inst->in_seg = VMM_REG_ES + (*opcode >> 3 & 3);
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

_Static_assert(VMM_REG_CS == VMM_REG_ES + 1 && VMM_REG_SS == VMM_REG_ES + 2 &&
		       VMM_REG_DS == VMM_REG_ES + 3,
	       "prefixes number them");

struct opcode {
	uint8_t oc_byte;
	uint8_t oc_immediate_bytes;
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
find(const struct opcode *table, size_t n, uint8_t byte)
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
	uint8_t byte, modrm = 0;
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
	oc = find(two_byte, COUNT_OF(two_byte), byte);
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
static uint8_t
other_addr_bytes(unsigned int bits)
{
	return bits == 32 ? 2 : 4;
}

static int
decode(struct cursor *cu, struct svm_inst *inst)
{
	const struct opcode *oc;
	uint8_t opcode, immediate;
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
	oc = find(one_byte, COUNT_OF(one_byte), opcode);
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
svm_inst_decode(const uint8_t *code, unsigned int n, unsigned int bits, struct svm_inst *inst)
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
