/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Each instruction is: operands read, a result and flags computed, operands written; memory last,
 * for that is what may fail. Whatever reads a memory operand before it writes it is checked for
 * writing first, as on a CPU, so that a read with side effects is not made twice.
 *
 * Flags: SDM vol. 1 3.4.3.1 and the pages of each instruction in vol. 2.
 */

#include <errno.h>
#include <string.h>

#include "emul_priv.h"

/* ---- Registers and values -------------------------------------------------------------------- */

uint64_t
emul_mask(unsigned int bytes)
{
	return bytes >= 8 ? UINT64_MAX : (1ull << bytes * 8) - 1;
}

static uint64_t
sign_of(unsigned int bytes)
{
	return 1ull << (bytes * 8 - 1);
}

static uint64_t
sign_extend(uint64_t value, unsigned int bytes)
{
	const uint64_t sign = sign_of(bytes);

	return ((value & emul_mask(bytes)) ^ sign) - sign;
}

/* Which general register, and whether it is one of AH, CH, DH, BH. -1: none of ours. */
static int
gpr_of(ZydisRegister reg, bool *high)
{
	*high = reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
	if (*high)
		return reg - ZYDIS_REGISTER_AH;
	reg = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
	if (ZydisRegisterGetClass(reg) != ZYDIS_REGCLASS_GPR64)
		return -1;
	return ZydisRegisterGetId(reg);
}

int
emul_reg_read(const struct emul *e, ZydisRegister reg, unsigned int bytes, uint64_t *value)
{
	bool high;
	const int n = gpr_of(reg, &high);

	if (n < 0)
		return -EOPNOTSUPP;
	*value = e->e_gpr[n] >> (high ? 8 : 0) & emul_mask(bytes);
	return 0;
}

/* A 32-bit result clears the upper half, shorter ones leave the rest. */
int
emul_reg_write(struct emul *e, ZydisRegister reg, unsigned int bytes, uint64_t value)
{
	bool high;
	const int n = gpr_of(reg, &high);

	if (n < 0)
		return -EOPNOTSUPP;
	if (high)
		e->e_gpr[n] = (e->e_gpr[n] & ~0xff00ull) | (value & 0xff) << 8;
	else if (bytes >= 4)
		e->e_gpr[n] = value & emul_mask(bytes);
	else
		e->e_gpr[n] = (e->e_gpr[n] & ~emul_mask(bytes)) | (value & emul_mask(bytes));
	return 0;
}

/* ---- Memory operands ------------------------------------------------------------------------- */

static enum emul_seg
seg_of(ZydisRegister reg)
{
	switch (reg) {
	case ZYDIS_REGISTER_ES:
		return EMUL_ES;
	case ZYDIS_REGISTER_CS:
		return EMUL_CS;
	case ZYDIS_REGISTER_SS:
		return EMUL_SS;
	case ZYDIS_REGISTER_FS:
		return EMUL_FS;
	case ZYDIS_REGISTER_GS:
		return EMUL_GS;
	default:
		return EMUL_DS;
	}
}

int
emul_linear(const struct emul *e, ZydisRegister seg_reg, uint64_t offset, uint64_t *gla)
{
	const enum emul_seg seg = seg_of(seg_reg);
	uint64_t base = 0;
	int error = 0;

	/* In 64-bit mode only FS and GS have a base. */
	if (e->e_cpu->em_mode != EMUL_LONG64 || seg == EMUL_FS || seg == EMUL_GS)
		error = e->e_ops->eo_base(e->e_ops->eo_arg, seg, &base);
	*gla = base + offset;
	if (e->e_cpu->em_mode != EMUL_LONG64)
		*gla &= UINT32_MAX;
	return error;
}

int
emul_address(const struct emul *e, const ZydisDecodedOperand *op, uint64_t *gla)
{
	const unsigned int width = e->e_inst.address_width / 8u;
	uint64_t offset = (uint64_t)op->mem.disp.value;
	uint64_t value;

	if (op->mem.base == ZYDIS_REGISTER_RIP || op->mem.base == ZYDIS_REGISTER_EIP) {
		offset += e->e_cpu->em_rip + e->e_inst.length;
	} else if (op->mem.base != ZYDIS_REGISTER_NONE) {
		if (emul_reg_read(e, op->mem.base, width, &value))
			return -EOPNOTSUPP;
		offset += value;
	}
	if (op->mem.index != ZYDIS_REGISTER_NONE) {
		if (emul_reg_read(e, op->mem.index, width, &value))
			return -EOPNOTSUPP;
		offset += value * op->mem.scale;
	}
	return emul_linear(e, op->mem.segment, offset & emul_mask(width), gla);
}

unsigned int
emul_bytes(const ZydisDecodedOperand *op)
{
	return op->size / 8u;
}

int
emul_op_read(const struct emul *e, unsigned int i, uint64_t *value)
{
	const ZydisDecodedOperand *const op = &e->e_op[i];
	const unsigned int bytes = emul_bytes(op);
	uint64_t gla;
	int error;

	if (bytes == 0 || bytes > 8)
		return -EOPNOTSUPP;
	switch (op->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		return emul_reg_read(e, op->reg.value, bytes, value);
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		*value = op->imm.value.u;
		return 0;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		error = emul_address(e, op, &gla);
		if (error == 0)
			error = e->e_ops->eo_load(e->e_ops->eo_arg, gla, bytes, value);
		*value &= emul_mask(bytes);
		return error;
	default:
		return -EOPNOTSUPP;
	}
}

int
emul_op_write(struct emul *e, unsigned int i, uint64_t value)
{
	const ZydisDecodedOperand *const op = &e->e_op[i];
	const unsigned int bytes = emul_bytes(op);
	uint64_t gla;
	int error;

	if (bytes == 0 || bytes > 8)
		return -EOPNOTSUPP;
	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER)
		return emul_reg_write(e, op->reg.value, bytes, value);
	if (op->type != ZYDIS_OPERAND_TYPE_MEMORY)
		return -EOPNOTSUPP;
	error = emul_address(e, op, &gla);
	return error ? error
		     : e->e_ops->eo_store(e->e_ops->eo_arg, gla, bytes, value & emul_mask(bytes));
}

/* Before an operand is read that will be written. */
int
emul_op_probe(const struct emul *e, unsigned int i)
{
	const ZydisDecodedOperand *const op = &e->e_op[i];
	uint64_t gla;
	int error;

	if (op->type != ZYDIS_OPERAND_TYPE_MEMORY)
		return 0;
	error = emul_address(e, op, &gla);
	return error ? error : e->e_ops->eo_probe(e->e_ops->eo_arg, gla, emul_bytes(op));
}

/* ---- Flags ----------------------------------------------------------------------------------- */

static void
flags_set(struct emul *e, uint64_t which, uint64_t flags)
{
	e->e_rflags = (e->e_rflags & ~which) | (flags & which);
}

static uint64_t
flags_of_result(uint64_t r, unsigned int bytes)
{
	return ((r & emul_mask(bytes)) == 0 ? FLAG_ZF : 0) | (r & sign_of(bytes) ? FLAG_SF : 0) |
	       (__builtin_parity((unsigned int)(r & 0xff)) ? 0 : FLAG_PF);
}

static uint64_t
add(struct emul *e, uint64_t a, uint64_t b, uint64_t carry, unsigned int bytes, uint64_t which)
{
	const uint64_t m = emul_mask(bytes);
	const uint64_t r = (a + b + carry) & m;
	const uint64_t carries = (a & b) | ((a | b) & ~r);

	flags_set(e, which,
		  flags_of_result(r, bytes) | (carries & sign_of(bytes) ? FLAG_CF : 0) |
			  (carries & 8 ? FLAG_AF : 0) |
			  (~(a ^ b) & (a ^ r) & sign_of(bytes) ? FLAG_OF : 0));
	return r;
}

static uint64_t
sub(struct emul *e, uint64_t a, uint64_t b, uint64_t borrow, unsigned int bytes, uint64_t which)
{
	const uint64_t r = (a - b - borrow) & emul_mask(bytes);
	const uint64_t borrows = (~a & b) | ((~a | b) & r);

	flags_set(e, which,
		  flags_of_result(r, bytes) | (borrows & sign_of(bytes) ? FLAG_CF : 0) |
			  (borrows & 8 ? FLAG_AF : 0) |
			  ((a ^ b) & (a ^ r) & sign_of(bytes) ? FLAG_OF : 0));
	return r;
}

/* AF is undefined after these; it is cleared. */
static uint64_t
logic(struct emul *e, uint64_t r, unsigned int bytes)
{
	flags_set(e, FLAGS_ALL, flags_of_result(r, bytes));
	return r & emul_mask(bytes);
}

/* ---- Instructions ---------------------------------------------------------------------------- */

/* Two operands in, the first one out, unless it is only compared. */
static int
arithmetic(struct emul *e)
{
	const ZydisMnemonic m = e->e_inst.mnemonic;
	const bool writes = m != ZYDIS_MNEMONIC_CMP && m != ZYDIS_MNEMONIC_TEST;
	const unsigned int bytes = emul_bytes(&e->e_op[0]);
	const uint64_t carry = e->e_rflags & FLAG_CF ? 1 : 0;
	uint64_t a, b, r;
	int error;

	error = writes ? emul_op_probe(e, 0) : 0;
	if (error == 0)
		error = emul_op_read(e, 0, &a);
	if (error == 0)
		error = emul_op_read(e, 1, &b);
	if (error)
		return error;
	b &= emul_mask(bytes);
	switch (m) {
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_ADC:
		r = add(e, a, b, m == ZYDIS_MNEMONIC_ADC ? carry : 0, bytes, FLAGS_ALL);
		break;
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_TEST:
		r = logic(e, a & b, bytes);
		break;
	case ZYDIS_MNEMONIC_OR:
		r = logic(e, a | b, bytes);
		break;
	case ZYDIS_MNEMONIC_XOR:
		r = logic(e, a ^ b, bytes);
		break;
	default: /* SUB, SBB, CMP */
		r = sub(e, a, b, m == ZYDIS_MNEMONIC_SBB ? carry : 0, bytes, FLAGS_ALL);
		break;
	}
	return writes ? emul_op_write(e, 0, r) : 0;
}

static int
unary(struct emul *e)
{
	const unsigned int bytes = emul_bytes(&e->e_op[0]);
	const uint64_t without_carry = FLAGS_ALL & ~FLAG_CF;
	uint64_t a, r;
	int error;

	error = emul_op_probe(e, 0);
	if (error == 0)
		error = emul_op_read(e, 0, &a);
	if (error)
		return error;
	switch (e->e_inst.mnemonic) {
	case ZYDIS_MNEMONIC_INC:
		r = add(e, a, 1, 0, bytes, without_carry);
		break;
	case ZYDIS_MNEMONIC_DEC:
		r = sub(e, a, 1, 0, bytes, without_carry);
		break;
	case ZYDIS_MNEMONIC_NEG:
		r = sub(e, 0, a, 0, bytes, FLAGS_ALL);
		break;
	default: /* NOT */
		r = ~a;
		break;
	}
	return emul_op_write(e, 0, r);
}

static int
move(struct emul *e)
{
	const unsigned int bytes = emul_bytes(&e->e_op[1]);
	uint64_t value;
	int error;

	error = emul_op_read(e, 1, &value);
	if (error)
		return error;
	if (e->e_inst.mnemonic == ZYDIS_MNEMONIC_MOVSX ||
	    e->e_inst.mnemonic == ZYDIS_MNEMONIC_MOVSXD)
		value = sign_extend(value, bytes);
	return emul_op_write(e, 0, value);
}

/* XCHG and XADD: both operands are written. One is a register, and that cannot fail. */
static int
exchange(struct emul *e)
{
	const unsigned int memory = e->e_op[0].type == ZYDIS_OPERAND_TYPE_MEMORY ? 0 : 1;
	const unsigned int bytes = emul_bytes(&e->e_op[0]);
	uint64_t a, b, first;
	int error;

	error = emul_op_probe(e, memory);
	if (error == 0)
		error = emul_op_read(e, 0, &a);
	if (error == 0)
		error = emul_op_read(e, 1, &b);
	if (error)
		return error;
	first = e->e_inst.mnemonic == ZYDIS_MNEMONIC_XADD ? add(e, a, b, 0, bytes, FLAGS_ALL) : b;
	/* The address may depend on the register: memory comes first. */
	error = emul_op_write(e, memory, memory == 0 ? first : a);
	return error ? error : emul_op_write(e, 1 - memory, memory == 0 ? a : first);
}

static int
compare_exchange(struct emul *e)
{
	const unsigned int bytes = emul_bytes(&e->e_op[0]);
	const uint64_t rax = e->e_gpr[EMUL_RAX] & emul_mask(bytes);
	uint64_t a, b;
	int error;

	error = emul_op_probe(e, 0);
	if (error == 0)
		error = emul_op_read(e, 0, &a);
	if (error == 0)
		error = emul_op_read(e, 1, &b);
	if (error)
		return error;
	sub(e, rax, a, 0, bytes, FLAGS_ALL);
	/* A CPU writes in either case. */
	error = emul_op_write(e, 0, rax == a ? b : a);
	if (error == 0 && rax != a)
		error = emul_reg_write(e,
				       bytes == 1   ? ZYDIS_REGISTER_AL
				       : bytes == 2 ? ZYDIS_REGISTER_AX
				       : bytes == 4 ? ZYDIS_REGISTER_EAX
						    : ZYDIS_REGISTER_RAX,
				       bytes, a);
	return error;
}

/* BT and its kin. With a register for the bit's number the memory operand is a bit string. */
static int
bit(struct emul *e)
{
	const ZydisMnemonic m = e->e_inst.mnemonic;
	const unsigned int bytes = emul_bytes(&e->e_op[0]);
	const bool memory = e->e_op[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
	uint64_t number, value, gla = 0, one;
	int error;

	error = emul_op_read(e, 1, &number);
	if (error == 0 && memory)
		error = emul_address(e, &e->e_op[0], &gla);
	if (error)
		return error;
	if (memory && e->e_op[1].type == ZYDIS_OPERAND_TYPE_REGISTER) {
		const int64_t at = (int64_t)sign_extend(number, emul_bytes(&e->e_op[1]));

		gla += (uint64_t)((at >> (bytes == 8 ? 6 : bytes == 4 ? 5 : 4)) * bytes);
	}
	one = 1ull << (number & (bytes * 8 - 1));
	if (memory && m != ZYDIS_MNEMONIC_BT)
		error = e->e_ops->eo_probe(e->e_ops->eo_arg, gla, bytes);
	if (error == 0)
		error = memory ? e->e_ops->eo_load(e->e_ops->eo_arg, gla, bytes, &value)
			       : emul_op_read(e, 0, &value);
	if (error)
		return error;
	flags_set(e, FLAG_CF, value & one ? FLAG_CF : 0);
	if (m == ZYDIS_MNEMONIC_BT)
		return 0;
	value = m == ZYDIS_MNEMONIC_BTS	  ? value | one
		: m == ZYDIS_MNEMONIC_BTR ? value & ~one
					  : value ^ one;
	return memory ? e->e_ops->eo_store(e->e_ops->eo_arg, gla, bytes, value)
		      : emul_op_write(e, 0, value);
}

/* ---- String instructions --------------------------------------------------------------------- */

struct string {
	unsigned int st_bytes; /* of an element */
	unsigned int st_width; /* of addresses */
	bool st_loads;	       /* from SI */
	bool st_stores;	       /* to DI */
	bool st_compares;      /* CMPS, SCAS */
	ZydisRegister st_seg;  /* of SI */
};

static bool
is_string(ZydisMnemonic m, struct string *st)
{
	switch (m) {
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ:
		st->st_loads = st->st_stores = true;
		return true;
	case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD:
	case ZYDIS_MNEMONIC_STOSQ:
		st->st_stores = true;
		return true;
	case ZYDIS_MNEMONIC_LODSB:
	case ZYDIS_MNEMONIC_LODSW:
	case ZYDIS_MNEMONIC_LODSD:
	case ZYDIS_MNEMONIC_LODSQ:
		st->st_loads = true;
		return true;
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ:
		st->st_loads = st->st_compares = true;
		return true;
	case ZYDIS_MNEMONIC_SCASB:
	case ZYDIS_MNEMONIC_SCASW:
	case ZYDIS_MNEMONIC_SCASD:
	case ZYDIS_MNEMONIC_SCASQ:
		st->st_compares = true;
		return true;
	default:
		return false;
	}
}

static void
step(struct emul *e, enum emul_gpr reg, const struct string *st)
{
	static const ZydisRegister names[3][2] = {
		{ZYDIS_REGISTER_SI, ZYDIS_REGISTER_DI},
		{ZYDIS_REGISTER_ESI, ZYDIS_REGISTER_EDI},
		{ZYDIS_REGISTER_RSI, ZYDIS_REGISTER_RDI},
	};
	const uint64_t by = e->e_rflags & FLAG_DF ? -(uint64_t)st->st_bytes : st->st_bytes;
	const unsigned int row = st->st_width == 2 ? 0 : st->st_width == 4 ? 1 : 2;

	emul_reg_write(e, names[row][reg == EMUL_RDI], st->st_width, e->e_gpr[reg] + by);
}

static int
string_round(struct emul *e, const struct string *st)
{
	const uint64_t m = emul_mask(st->st_width);
	const struct emul_ops *const ops = e->e_ops;
	uint64_t value = e->e_gpr[EMUL_RAX] & emul_mask(st->st_bytes);
	uint64_t from = 0, to = 0, other;
	int error = 0;

	if (st->st_loads)
		error = emul_linear(e, st->st_seg, e->e_gpr[EMUL_RSI] & m, &from);
	if (error == 0 && (st->st_stores || st->st_compares))
		error = emul_linear(e, ZYDIS_REGISTER_ES, e->e_gpr[EMUL_RDI] & m, &to);
	if (error == 0 && st->st_loads && st->st_stores)
		error = ops->eo_probe(ops->eo_arg, to, st->st_bytes);
	if (error == 0 && st->st_loads)
		error = ops->eo_load(ops->eo_arg, from, st->st_bytes, &value);
	if (error == 0 && st->st_compares)
		error = ops->eo_load(ops->eo_arg, to, st->st_bytes, &other);
	if (error == 0 && st->st_stores)
		error = ops->eo_store(ops->eo_arg, to, st->st_bytes, value);
	if (error)
		return error;
	if (st->st_compares)
		sub(e, value, other, 0, st->st_bytes, FLAGS_ALL);
	if (st->st_loads && !st->st_stores && !st->st_compares)
		emul_reg_write(e, e->e_op[0].reg.value, st->st_bytes, value);
	if (st->st_loads)
		step(e, EMUL_RSI, st);
	if (st->st_stores || st->st_compares)
		step(e, EMUL_RDI, st);
	return 0;
}

static void
commit(struct emul *e, bool finished)
{
	memcpy(e->e_cpu->em_gpr, e->e_gpr, sizeof(e->e_gpr));
	e->e_cpu->em_rflags = e->e_rflags;
	if (finished)
		e->e_cpu->em_rip += e->e_inst.length;
	if (e->e_cpu->em_mode != EMUL_LONG64)
		e->e_cpu->em_rip &= UINT32_MAX;
}

static ZydisRegister
source_segment(const struct emul *e)
{
	const ZydisInstructionAttributes a = e->e_inst.attributes;

	return a & ZYDIS_ATTRIB_HAS_SEGMENT_CS	 ? ZYDIS_REGISTER_CS
	       : a & ZYDIS_ATTRIB_HAS_SEGMENT_SS ? ZYDIS_REGISTER_SS
	       : a & ZYDIS_ATTRIB_HAS_SEGMENT_ES ? ZYDIS_REGISTER_ES
	       : a & ZYDIS_ATTRIB_HAS_SEGMENT_FS ? ZYDIS_REGISTER_FS
	       : a & ZYDIS_ATTRIB_HAS_SEGMENT_GS ? ZYDIS_REGISTER_GS
						 : ZYDIS_REGISTER_DS;
}

static int
string(struct emul *e, struct string *st)
{
	const ZydisInstructionAttributes a = e->e_inst.attributes;
	const bool rep =
		a & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
	const bool until_equal = a & ZYDIS_ATTRIB_HAS_REPNE;
	unsigned int rounds = 0;

	st->st_bytes = emul_bytes(&e->e_op[0]);
	st->st_width = e->e_inst.address_width / 8u;
	st->st_seg = source_segment(e);
	for (;;) {
		const uint64_t count = e->e_gpr[EMUL_RCX] & emul_mask(st->st_width);
		bool last;
		int error;

		if (rep && count == 0)
			break;
		if (rounds++ == EMUL_REP_MAX)
			return 0;
		error = string_round(e, st);
		if (error)
			return error;
		if (!rep)
			break;
		emul_reg_write(e,
			       st->st_width == 2   ? ZYDIS_REGISTER_CX
			       : st->st_width == 4 ? ZYDIS_REGISTER_ECX
						   : ZYDIS_REGISTER_RCX,
			       st->st_width, count - 1);
		last = st->st_compares && !(e->e_rflags & FLAG_ZF) == !until_equal;
		if (last)
			break;
		commit(e, false);
	}
	commit(e, true);
	return 0;
}

/* ---- One instruction ------------------------------------------------------------------------- */

static int
other(struct emul *e)
{
	switch (e->e_inst.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVZX:
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
	case ZYDIS_MNEMONIC_MOVNTI:
		return move(e);
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_ADC:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_SBB:
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_TEST:
		return arithmetic(e);
	case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_DEC:
	case ZYDIS_MNEMONIC_NEG:
	case ZYDIS_MNEMONIC_NOT:
		return unary(e);
	case ZYDIS_MNEMONIC_XCHG:
	case ZYDIS_MNEMONIC_XADD:
		return exchange(e);
	case ZYDIS_MNEMONIC_CMPXCHG:
		return compare_exchange(e);
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
		return bit(e);
	default:
		return emul_move(e);
	}
}

static bool
decode(const struct emul_cpu *cpu, const uint8_t *inst, size_t bytes, ZydisDecodedInstruction *zi,
       ZydisDecodedOperand *ops)
{
	static const struct {
		ZydisMachineMode mode;
		ZydisStackWidth stack;
	} modes[] = {
		[EMUL_REAL] = {ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16},
		[EMUL_PROTECTED16] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
		[EMUL_PROTECTED32] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
		[EMUL_LONG64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
	};
	ZydisDecoder decoder;

	return ZYAN_SUCCESS(ZydisDecoderInit(&decoder, modes[cpu->em_mode].mode,
					     modes[cpu->em_mode].stack)) &&
	       ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, inst, bytes, zi, ops));
}

int
emul_run(struct emul_cpu *cpu, const uint8_t *inst, size_t bytes, const struct emul_ops *ops)
{
	struct emul e = {.e_cpu = cpu, .e_ops = ops, .e_rflags = cpu->em_rflags};
	struct string st = {.st_loads = false};
	int error;

	memcpy(e.e_gpr, cpu->em_gpr, sizeof(e.e_gpr));
	if (!decode(cpu, inst, bytes, &e.e_inst, e.e_op))
		return -EILSEQ;
	/* MOVSD and CMPSD are SSE's names as well. */
	if (e.e_inst.meta.category == ZYDIS_CATEGORY_STRINGOP)
		return is_string(e.e_inst.mnemonic, &st) ? string(&e, &st) : -EOPNOTSUPP;
	error = other(&e);
	if (error == 0)
		commit(&e, true);
	return error;
}

void
emul_text(const struct emul_cpu *cpu, const uint8_t *inst, size_t bytes, char *text, size_t room)
{
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction zi;
	ZydisFormatter formatter;

	text[0] = '\0';
	if (room == 0 || !decode(cpu, inst, bytes, &zi, ops) ||
	    !ZYAN_SUCCESS(ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_ATT)))
		return;
	ZydisFormatterFormatInstruction(&formatter, &zi, ops, zi.operand_count_visible, text, room,
					cpu->em_rip, NULL);
}
