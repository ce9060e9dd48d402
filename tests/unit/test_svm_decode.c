/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Decoding of instructions that exit (kmod/svm/svm_decode.h): encodings written down by hand from
 * the manual (APM vol. 3), each also cut short at every byte, and with every prefix; then bytes at
 * random, of which nothing is expected but that none is read that was not given.
 */

#include "kmod/svm/svm_decode.h"
#include "tests/unit/rng.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct row {
	const char *code; /* bytes */
	uint8_t bytes;
	uint8_t bits;
	enum svm_op op;
	uint8_t reg, gpr, vector, addr_bytes;
	enum vmm_reg seg;
};

#define DS VMM_REG_DS
/* clang-format off */
static const struct row rows[] = {
	{"\xf4", 1, 16, SVM_OP_HLT, 0, 0, 0, 2, DS},
	{"\xf4", 1, 32, SVM_OP_HLT, 0, 0, 0, 4, DS},
	{"\xf4", 1, 64, SVM_OP_HLT, 0, 0, 0, 8, DS},
	{"\x66\xf4", 2, 64, SVM_OP_HLT, 0, 0, 0, 8, DS},
	{"\xf3\x90", 2, 64, SVM_OP_PAUSE, 0, 0, 0, 8, DS},
	{"\x0f\xa2", 2, 16, SVM_OP_CPUID, 0, 0, 0, 2, DS},
	{"\x48\x0f\xa2", 3, 64, SVM_OP_CPUID, 0, 0, 0, 8, DS},
	{"\x0f\x32", 2, 64, SVM_OP_RDMSR, 0, 0, 0, 8, DS},
	{"\x0f\x30", 2, 32, SVM_OP_WRMSR, 0, 0, 0, 4, DS},
	{"\x0f\x08", 2, 32, SVM_OP_INVD, 0, 0, 0, 4, DS},
	{"\x0f\x09", 2, 32, SVM_OP_INVD, 0, 0, 0, 4, DS},
	{"\x0f\x01\xd9", 3, 64, SVM_OP_VMMCALL, 0, 0, 0, 8, DS},
	{"\xcc", 1, 64, SVM_OP_INT3, 0, 0, 0, 8, DS},
	{"\xcd\x80", 2, 32, SVM_OP_INTN, 0, 0, 0x80, 4, DS},
	{"\xce", 1, 32, SVM_OP_INTO, 0, 0, 0, 4, DS},
	{"\xf1", 1, 64, SVM_OP_INT1, 0, 0, 0, 8, DS},
	{"\xe4\x60", 2, 16, SVM_OP_IN, 0, 0, 0, 2, DS},
	{"\x66\xe5\x60", 3, 16, SVM_OP_IN, 0, 0, 0, 2, DS},
	{"\xec", 1, 64, SVM_OP_IN, 0, 0, 0, 8, DS},
	{"\x66\xed", 2, 64, SVM_OP_IN, 0, 0, 0, 8, DS},
	{"\xe6\x42", 2, 64, SVM_OP_OUT, 0, 0, 0, 8, DS},
	{"\xe7\x42", 2, 64, SVM_OP_OUT, 0, 0, 0, 8, DS},
	{"\xee", 1, 32, SVM_OP_OUT, 0, 0, 0, 4, DS},
	{"\xef", 1, 32, SVM_OP_OUT, 0, 0, 0, 4, DS},
	/* String I/O: segment and width of addresses. */
	{"\x6c", 1, 64, SVM_OP_INS, 0, 0, 0, 8, DS},
	{"\xf3\x6d", 2, 32, SVM_OP_INS, 0, 0, 0, 4, DS},
	{"\xf3\x6e", 2, 64, SVM_OP_OUTS, 0, 0, 0, 8, DS},
	{"\x64\xf3\x6e", 3, 64, SVM_OP_OUTS, 0, 0, 0, 8, VMM_REG_FS},
	{"\xf3\x65\x66\x6f", 4, 64, SVM_OP_OUTS, 0, 0, 0, 8, VMM_REG_GS},
	{"\x64\x26\x6e", 3, 64, SVM_OP_OUTS, 0, 0, 0, 8, VMM_REG_FS}, /* ES is ignored */
	{"\x3e\x6e", 2, 64, SVM_OP_OUTS, 0, 0, 0, 8, DS},
	{"\x26\x6e", 2, 16, SVM_OP_OUTS, 0, 0, 0, 2, VMM_REG_ES},
	{"\x2e\x36\x6e", 3, 16, SVM_OP_OUTS, 0, 0, 0, 2, VMM_REG_SS}, /* the last one counts */
	{"\x36\x2e\x6e", 3, 16, SVM_OP_OUTS, 0, 0, 0, 2, VMM_REG_CS},
	{"\x65\x3e\x6e", 3, 32, SVM_OP_OUTS, 0, 0, 0, 4, VMM_REG_DS},
	{"\x67\x6e", 2, 16, SVM_OP_OUTS, 0, 0, 0, 4, DS},
	{"\x67\x6e", 2, 32, SVM_OP_OUTS, 0, 0, 0, 2, DS},
	{"\x67\x6e", 2, 64, SVM_OP_OUTS, 0, 0, 0, 4, DS},
	/* MOV CR, MOV DR. */
	{"\x0f\x20\xe0", 3, 64, SVM_OP_MOV_FROM_CR, 4, 0, 0, 8, DS}, /* mov rax, cr4 */
	{"\x0f\x22\xe3", 3, 32, SVM_OP_MOV_TO_CR, 4, 3, 0, 4, DS},   /* mov cr4, ebx */
	{"\x41\x0f\x22\xe4", 4, 64, SVM_OP_MOV_TO_CR, 4, 12, 0, 8, DS}, /* mov cr4, r12 */
	{"\x44\x0f\x22\xc1", 4, 64, SVM_OP_MOV_TO_CR, 8, 1, 0, 8, DS},	/* mov cr8, rcx */
	{"\x45\x0f\x20\xc7", 4, 64, SVM_OP_MOV_FROM_CR, 8, 15, 0, 8, DS}, /* mov r15, cr8 */
	{"\xf0\x0f\x22\xc0", 4, 32, SVM_OP_MOV_TO_CR, 8, 0, 0, 4, DS},	/* lock mov cr0: cr8 */
	{"\x0f\x22\x20", 3, 32, SVM_OP_MOV_TO_CR, 4, 0, 0, 4, DS}, /* the mode counts for nothing */
	{"\x0f\x21\xfa", 3, 64, SVM_OP_MOV_FROM_DR, 7, 2, 0, 8, DS}, /* mov rdx, dr7 */
	{"\x41\x0f\x23\xc6", 4, 64, SVM_OP_MOV_TO_DR, 0, 14, 0, 8, DS}, /* mov dr0, r14 */
	/* REX counts only right before the opcode; 40 to 4F are INC and DEC elsewhere. */
	{"\x44\x66\x0f\x22\xe0", 5, 64, SVM_OP_MOV_TO_CR, 4, 0, 0, 8, DS},
	{"\x44\x41\x0f\x22\xe0", 5, 64, SVM_OP_MOV_TO_CR, 4, 8, 0, 8, DS},
	/* 15 bytes. */
	{"\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\xf4", 15, 64, SVM_OP_HLT, 0, 0,
	 0, 8, DS},
};

static const struct row refused[] = {
	{.code = "\x90", 1, 64, SVM_OP_OTHER},	       /* NOP */
	{.code = "\xf2\x90", 2, 64, SVM_OP_OTHER},
	{.code = "\x41\xf4", 2, 32, SVM_OP_OTHER},     /* INC */
	{.code = "\x0f\x01\xd8", 3, 64, SVM_OP_OTHER}, /* VMRUN: its exit needs no length */
	{.code = "\x0f\x01\x19", 3, 64, SVM_OP_OTHER}, /* LIDT */
	{.code = "\x0f\x0b", 2, 64, SVM_OP_OTHER},     /* UD2 */
	{.code = "\x89\x18", 2, 64, SVM_OP_OTHER},     /* MOV */
	{.code = "\xc4\xe2\x7b\xf7\xc0", 5, 64, SVM_OP_OTHER}, /* VEX */
	{.code = "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\xf4", 16, 64,
	 SVM_OP_OTHER},
};
/* clang-format on */

/* In memory of just that size, so that a tool notices what lies beyond. */
static int
decode(const char *code, unsigned int n, unsigned int bits, struct svm_inst *inst)
{
	uint8_t *copy = malloc(n ? n : 1);
	int error;

	cr_assert_not_null(copy);
	memcpy(copy, code, n);
	error = svm_inst_decode(copy, n, bits, inst);
	free(copy);
	return error;
}

Test(svm_decode, encodings)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		struct svm_inst inst = {0};

		cr_assert_eq(decode(r->code, r->bytes, r->bits, &inst), 0, "row %zu", i);
		cr_expect_eq(inst.in_op, r->op, "row %zu", i);
		cr_expect_eq(inst.in_bytes, r->bytes, "row %zu: %u bytes", i, inst.in_bytes);
		cr_expect_eq(inst.in_reg, r->reg, "row %zu: register %u", i, inst.in_reg);
		cr_expect_eq(inst.in_gpr, r->gpr, "row %zu: gpr %u", i, inst.in_gpr);
		cr_expect_eq(inst.in_vector, r->vector, "row %zu", i);
		cr_expect_eq(inst.in_addr_bytes, r->addr_bytes, "row %zu", i);
		cr_expect_eq(inst.in_seg, r->seg, "row %zu", i);
	}
}

/* What follows makes no difference; what is missing is noticed, and nothing is written. */
Test(svm_decode, cut_short)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		struct svm_inst inst;
		char longer[32];

		for (unsigned int n = 0; n < r->bytes; n++) {
			memset(&inst, 0x5a, sizeof(inst));
			cr_assert_eq(decode(r->code, n, r->bits, &inst), -E2BIG, "row %zu, %u", i,
				     n);
			cr_assert_eq(inst.in_bytes, 0x5a);
		}
		memset(longer, 0xff, sizeof(longer));
		memcpy(longer, r->code, r->bytes);
		cr_assert_eq(decode(longer, sizeof(longer), r->bits, &inst), 0, "row %zu", i);
		cr_assert_eq(inst.in_bytes, r->bytes, "row %zu", i);
	}
}

Test(svm_decode, refused)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		const struct row *r = &refused[i];
		struct svm_inst inst = {.in_bytes = 77};

		cr_assert_eq(decode(r->code, r->bytes, r->bits, &inst), -EINVAL, "row %zu", i);
		cr_assert_eq(inst.in_bytes, 77);
	}
}

Test(svm_decode, random_bytes)
{
	static const uint8_t bits[] = {16, 32, 64};
	struct rng rng = {.r_state = 20};
	unsigned int found = 0;

	for (int i = 0; i < 200000; i++) {
		const unsigned int n = (unsigned int)(rng_next(&rng) % 18);
		struct svm_inst inst = {0};
		char code[18];
		int error;

		for (unsigned int k = 0; k < n; k++)
			code[k] = (char)rng_next(&rng);
		error = decode(code, n, bits[rng_next(&rng) % 3], &inst);
		if (error) {
			cr_assert(error == -EINVAL || error == -E2BIG);
			continue;
		}
		found++;
		cr_assert(inst.in_bytes >= 1 && inst.in_bytes <= n &&
			  inst.in_bytes <= SVM_INST_BYTES_MAX);
		cr_assert(inst.in_op != SVM_OP_OTHER && inst.in_reg < 16 && inst.in_gpr < 16);
	}
	cr_assert_gt(found, 1000);
}
