/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Instructions that only move: to and from the stack, with bytes reversed, on a condition, and
 * moves of whole SSE registers, by which user space copies blocks. None sets a flag.
 *
 * Sources: SDM vol. 2, the pages of each instruction; appendix B.1.4 for conditions.
 */

#include <errno.h>
#include <string.h>

#include "emul_priv.h"

/* ---- The stack ------------------------------------------------------------------------------- */

static ZydisRegister
stack_pointer(const struct emul *e)
{
	return e->e_inst.stack_width == 64   ? ZYDIS_REGISTER_RSP
	       : e->e_inst.stack_width == 32 ? ZYDIS_REGISTER_ESP
					     : ZYDIS_REGISTER_SP;
}

static int
push(struct emul *e)
{
	const unsigned int width = e->e_inst.stack_width / 8u;
	const unsigned int bytes = e->e_inst.operand_width / 8u;
	const uint64_t to = (e->e_gpr[EMUL_RSP] - bytes) & emul_mask(width);
	uint64_t gla, value;
	int error;

	error = emul_linear(e, ZYDIS_REGISTER_SS, to, &gla);
	if (error == 0)
		error = e->e_ops->eo_probe(e->e_ops->eo_arg, gla, bytes);
	if (error == 0)
		error = emul_op_read(e, 0, &value);
	if (error == 0)
		error = e->e_ops->eo_store(e->e_ops->eo_arg, gla, bytes, value & emul_mask(bytes));
	return error ? error : emul_reg_write(e, stack_pointer(e), width, to);
}

/* The stack pointer moves first: an address that is relative to it, and POP to itself, see that. */
static int
pop(struct emul *e)
{
	const unsigned int width = e->e_inst.stack_width / 8u;
	const unsigned int bytes = e->e_inst.operand_width / 8u;
	const uint64_t from = e->e_gpr[EMUL_RSP] & emul_mask(width);
	uint64_t gla, value;
	int error;

	error = emul_linear(e, ZYDIS_REGISTER_SS, from, &gla);
	if (error == 0)
		error = emul_reg_write(e, stack_pointer(e), width,
				       (from + bytes) & emul_mask(width));
	if (error == 0)
		error = emul_op_probe(e, 0);
	if (error == 0)
		error = e->e_ops->eo_load(e->e_ops->eo_arg, gla, bytes, &value);
	return error ? error : emul_op_write(e, 0, value);
}

/* ---- Bytes reversed, conditions -------------------------------------------------------------- */

static int
reversed(struct emul *e)
{
	const unsigned int bytes = emul_bytes(&e->e_op[1]);
	uint64_t value;
	int error;

	error = emul_op_read(e, 1, &value);
	return error ? error : emul_op_write(e, 0, __builtin_bswap64(value) >> (64 - bytes * 8));
}

/* The lower 4 bits of the opcode say which, and the lowest of them reverses it. */
static bool
condition(const struct emul *e)
{
	const uint64_t f = e->e_rflags;
	const bool less = !(f & FLAG_SF) != !(f & FLAG_OF);
	bool is;

	switch (e->e_inst.opcode >> 1 & 7) {
	case 0:
		is = f & FLAG_OF;
		break;
	case 1:
		is = f & FLAG_CF;
		break;
	case 2:
		is = f & FLAG_ZF;
		break;
	case 3:
		is = f & (FLAG_CF | FLAG_ZF);
		break;
	case 4:
		is = f & FLAG_SF;
		break;
	case 5:
		is = f & FLAG_PF;
		break;
	case 6:
		is = less;
		break;
	default:
		is = less || (f & FLAG_ZF);
		break;
	}
	return is != (e->e_inst.opcode & 1);
}

/* Its source is read in any case, and a 32-bit destination is written in any case. */
static int
move_if(struct emul *e)
{
	uint64_t old, value;
	int error;

	error = emul_op_read(e, 1, &value);
	if (error == 0)
		error = emul_op_read(e, 0, &old);
	return error ? error : emul_op_write(e, 0, condition(e) ? value : old);
}

/* ---- SSE ------------------------------------------------------------------------------------- */

static int
op_xmm(const struct emul *e, unsigned int i)
{
	const ZydisDecodedOperand *const op = &e->e_op[i];

	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER ||
	    ZydisRegisterGetClass(op->reg.value) != ZYDIS_REGCLASS_XMM || e->e_ops->eo_xmm == NULL)
		return -EOPNOTSUPP;
	return ZydisRegisterGetId(op->reg.value);
}

/* One operand is a register, the other memory of 4, 8 or 16 bytes; what a load leaves is cleared.
 * All of it is probed before its first half is stored. */
static int
sse(struct emul *e)
{
	const struct emul_ops *const ops = e->e_ops;
	const bool loads = e->e_op[1].type == ZYDIS_OPERAND_TYPE_MEMORY;
	const ZydisDecodedOperand *const memory = &e->e_op[loads ? 1 : 0];
	const int reg = op_xmm(e, loads ? 0 : 1);
	const unsigned int bytes = emul_bytes(memory), low = bytes < 8 ? bytes : 8;
	uint64_t value[2] = {0, 0}, gla;
	int error;

	if (memory->type != ZYDIS_OPERAND_TYPE_MEMORY || reg < 0)
		return -EOPNOTSUPP;
	error = emul_address(e, memory, &gla);
	if (error == 0 && loads) {
		error = ops->eo_load(ops->eo_arg, gla, low, &value[0]);
		if (error == 0 && bytes == 16)
			error = ops->eo_load(ops->eo_arg, gla + 8, 8, &value[1]);
		return error ? error : ops->eo_xmm(ops->eo_arg, (unsigned int)reg, true, value);
	}
	if (error == 0)
		error = ops->eo_probe(ops->eo_arg, gla, bytes);
	if (error == 0)
		error = ops->eo_xmm(ops->eo_arg, (unsigned int)reg, false, value);
	if (error == 0)
		error = ops->eo_store(ops->eo_arg, gla, low, value[0] & emul_mask(low));
	if (error == 0 && bytes == 16)
		error = ops->eo_store(ops->eo_arg, gla + 8, 8, value[1]);
	return error;
}

int
emul_move(struct emul *e)
{
	switch (e->e_inst.mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
		return push(e);
	case ZYDIS_MNEMONIC_POP:
		return pop(e);
	case ZYDIS_MNEMONIC_MOVBE:
		return reversed(e);
	case ZYDIS_MNEMONIC_MOVD:
	case ZYDIS_MNEMONIC_MOVQ:
	case ZYDIS_MNEMONIC_MOVSS:
	case ZYDIS_MNEMONIC_MOVSD: /* the string instruction went elsewhere */
	case ZYDIS_MNEMONIC_MOVDQA:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_MOVAPS:
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVNTDQ:
	case ZYDIS_MNEMONIC_MOVNTDQA:
	case ZYDIS_MNEMONIC_MOVNTPS:
	case ZYDIS_MNEMONIC_MOVNTPD:
		return sse(e);
	default:
		break;
	}
	if (e->e_inst.meta.category == ZYDIS_CATEGORY_CMOV)
		return move_if(e);
	if (e->e_inst.meta.category == ZYDIS_CATEGORY_SETCC)
		return emul_op_write(e, 0, condition(e));
	return -EOPNOTSUPP;
}
