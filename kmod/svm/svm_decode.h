/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Decoding of the few instructions that make a guest exit. A pure function, and written like the
 * core, so that tests outside of a kernel can try every encoding.
 */

#ifndef KMOD_SVM_SVM_DECODE_H
#define KMOD_SVM_SVM_DECODE_H

#include "kmod/uapi/vmm.h"
#include "pmap/host.h"

#define SVM_INST_BYTES_MAX 15

/* Instructions that exit, as far as they must be told apart. */
enum svm_op {
	SVM_OP_OTHER,
	SVM_OP_HLT,
	SVM_OP_PAUSE,
	SVM_OP_INT3,
	SVM_OP_INTO,
	SVM_OP_INT1,
	SVM_OP_INTN,
	SVM_OP_IN,
	SVM_OP_OUT,
	SVM_OP_INS,
	SVM_OP_OUTS,
	SVM_OP_CPUID,
	SVM_OP_RDMSR,
	SVM_OP_WRMSR,
	SVM_OP_INVD, /* and WBINVD: QEMU 7.2 takes one for the other, and both do the same here */
	SVM_OP_VMMCALL,
	SVM_OP_MOV_FROM_CR,
	SVM_OP_MOV_TO_CR,
	SVM_OP_MOV_FROM_DR,
	SVM_OP_MOV_TO_DR,
};

struct svm_inst {
	enum svm_op in_op;
	uint8_t in_bytes;
	uint8_t in_reg;	       /* MOV CR, DR: number of the control or debug register */
	uint8_t in_gpr;	       /* and of the general register, as the instruction encodes it */
	uint8_t in_vector;     /* INT n */
	uint8_t in_addr_bytes; /* width of addresses */
	enum vmm_reg in_seg;   /* OUTS: segment of the source */
};

/* Decodes code of n bytes in a segment of 16, 32 or 64 bits. 0; -EINVAL: not an instruction of the
 * above; -E2BIG: it goes on beyond n. */
int svm_inst_decode(const uint8_t *code, unsigned int n, unsigned int bits, struct svm_inst *inst);

#endif /* KMOD_SVM_SVM_DECODE_H */
