/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * An instruction that is being carried out: what emul.c and emul_moves.c share.
 */

#ifndef BHYVE_EMUL_PRIV_H
#define BHYVE_EMUL_PRIV_H

#include <stdbool.h>
#include <Zydis/Zydis.h>

#include "emul.h"

#define FLAG_CF 0x001ull
#define FLAG_PF 0x004ull
#define FLAG_AF 0x010ull
#define FLAG_ZF 0x040ull
#define FLAG_SF 0x080ull
#define FLAG_DF 0x400ull
#define FLAG_OF 0x800ull
#define FLAGS_ALL (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

struct emul {
	struct emul_cpu *e_cpu;
	const struct emul_ops *e_ops;
	ZydisDecodedInstruction e_inst;
	ZydisDecodedOperand e_op[ZYDIS_MAX_OPERAND_COUNT];
	uint64_t e_gpr[EMUL_GPRS]; /* becomes the CPU's if all goes well */
	uint64_t e_rflags;
};

uint64_t emul_mask(unsigned int bytes);
unsigned int emul_bytes(const ZydisDecodedOperand *op);
/* -EOPNOTSUPP no general register. A 32-bit result clears the upper half, shorter ones leave it. */
int emul_reg_read(const struct emul *e, ZydisRegister reg, unsigned int bytes, uint64_t *value);
int emul_reg_write(struct emul *e, ZydisRegister reg, unsigned int bytes, uint64_t value);
/* From a segment and an offset in it, or from a memory operand, to a linear address. */
int emul_linear(const struct emul *e, ZydisRegister seg_reg, uint64_t offset, uint64_t *gla);
int emul_address(const struct emul *e, const ZydisDecodedOperand *op, uint64_t *gla);
/* Operand i, of up to 8 bytes. To probe comes before an operand is read that will be written. */
int emul_op_read(const struct emul *e, unsigned int i, uint64_t *value);
int emul_op_write(struct emul *e, unsigned int i, uint64_t value);
int emul_op_probe(const struct emul *e, unsigned int i);

/* emul_moves.c; -EOPNOTSUPP it is none of those either. */
int emul_move(struct emul *e);

#endif /* BHYVE_EMUL_PRIV_H */
