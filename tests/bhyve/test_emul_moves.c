/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Instructions that only move (emul_moves.c). Expected values are the manual's (SDM vol. 2), worked
 * out by hand.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "emul_rig.h"

TestSuite(emul_moves, .init = emul_rig_begin);

Test(emul_moves, push_and_pop)
{
	static const uint8_t push[] = {0xff, 0x33};		   /* pushq (%rbx) */
	static const uint8_t push_imm[] = {0x6a, 0xfe};		   /* pushq $-2 */
	static const uint8_t pop[] = {0x8f, 0x03};		   /* popq (%rbx) */
	static const uint8_t pop_rel[] = {0x8f, 0x44, 0x24, 0x08}; /* popq 8(%rsp) */
	static const uint8_t pop_rsp[] = {0x5c};
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64, .em_rip = 0x10};
	uint64_t at = 0x1122334455667788;

	memcpy(mem + 0x1000, &at, 8);
	cpu.em_gpr[EMUL_RBX] = 0x1000;
	cpu.em_gpr[EMUL_RSP] = 0x2008;
	cr_assert_eq(emul_run(&cpu, push, sizeof(push), &ops), 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RSP], 0x2000);
	cr_assert_arr_eq(mem + 0x2000, mem + 0x1000, 8);
	cr_assert_eq(emul_run(&cpu, push_imm, sizeof(push_imm), &ops), 0);
	memcpy(&at, mem + 0x1ff8, 8);
	cr_assert_eq(at, ~1ull, "0x%lx", (unsigned long)at);
	cr_assert_eq(emul_run(&cpu, pop, sizeof(pop), &ops), 0);
	memcpy(&at, mem + 0x1000, 8);
	cr_assert_eq(at, ~1ull);
	cr_assert_eq(cpu.em_gpr[EMUL_RSP], 0x2000);
	/* The address is what it is behind the POP. */
	cr_assert_eq(emul_run(&cpu, pop_rel, sizeof(pop_rel), &ops), 0);
	memcpy(&at, mem + 0x2010, 8);
	cr_assert_eq(at, 0x1122334455667788);
	at = 0x3000;
	memcpy(mem + 0x2008, &at, 8);
	cr_assert_eq(emul_run(&cpu, pop_rsp, sizeof(pop_rsp), &ops), 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RSP], 0x3000);
	cr_assert_eq(cpu.em_rip, 0x10 + 2 + 2 + 2 + 4 + 1);
}

/* With a 16-bit stack only SP moves, and the stack's segment counts. */
Test(emul_moves, push_real_mode)
{
	static const uint8_t inst[] = {0xff, 0x37}; /* pushw (%bx) */
	struct emul_cpu cpu = {.em_mode = EMUL_REAL};

	bases[EMUL_SS] = 0x2000;
	mem[0x100] = 0x34;
	mem[0x101] = 0x12;
	cpu.em_gpr[EMUL_RBX] = 0x100;
	cpu.em_gpr[EMUL_RSP] = 0x70010;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RSP], 0x7000e);
	cr_assert_eq(mem[0x200e], 0x34);
	cr_assert_eq(mem[0x200f], 0x12);
	cr_assert_eq(mem[0x2010], 0);
}

/* Nothing was read, and the stack pointer is where it was, if it cannot be done. */
Test(emul_moves, push_and_pop_fault)
{
	static const uint8_t push[] = {0xff, 0x33}, pop[] = {0x8f, 0x03};
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64, .em_rip = 0x10};

	no_write_from = 0x1000;
	cpu.em_gpr[EMUL_RBX] = 0x1000;
	cpu.em_gpr[EMUL_RSP] = 0x2000;
	cr_assert_eq(emul_run(&cpu, push, sizeof(push), &ops), EMUL_FAULT);
	cr_assert_eq(emul_run(&cpu, pop, sizeof(pop), &ops), EMUL_FAULT);
	cr_assert_eq(loads, 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RSP], 0x2000);
	cr_assert_eq(cpu.em_rip, 0x10);
}

/* SETcc for all 16 conditions, against what each says of these flags. */
Test(emul_moves, conditions)
{
	static const struct {
		uint64_t flags;
		uint16_t true_ones; /* bit n: condition n holds */
	} sets[] = {
		{0, 0xaaaa},	       {CF, 0xaaaa ^ 0x00cc}, {ZF, 0xaaaa ^ 0xc0f0},
		{SF, 0xaaaa ^ 0xf300}, {OF, 0xaaaa ^ 0xf003}, {SF | OF, 0xaaaa ^ 0x0303},
		{PF, 0xaaaa ^ 0x0c00},
	};

	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		for (uint8_t n = 0; n < 16; n++) {
			const uint8_t inst[] = {0x0f, (uint8_t)(0x90 | n), 0x03};
			struct emul_cpu cpu = {.em_mode = EMUL_LONG64, .em_rflags = sets[i].flags};

			cpu.em_gpr[EMUL_RBX] = 0x1000;
			mem[0x1000] = 0xff;
			cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), 0);
			cr_assert_eq(mem[0x1000], sets[i].true_ones >> n & 1,
				     "condition %u with flags 0x%lx", n,
				     (unsigned long)sets[i].flags);
		}
	}
}

Test(emul_moves, conditional_move)
{
	static const uint8_t inst[] = {0x0f, 0x44, 0x03}; /* cmove (%rbx),%eax */
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64};

	mem[0x1000] = 9;
	cpu.em_gpr[EMUL_RBX] = 0x1000;
	cpu.em_gpr[EMUL_RAX] = ~0ull;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RAX], UINT32_MAX, "the upper half goes in any case");
	cr_assert_eq(loads, 1, "it is read in any case");
	cpu.em_rflags = ZF;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RAX], 9);
}

Test(emul_moves, movbe)
{
	static const uint8_t in[] = {0x0f, 0x38, 0xf0, 0x03};	     /* movbe (%rbx),%eax */
	static const uint8_t out[] = {0x66, 0x0f, 0x38, 0xf1, 0x03}; /* movbe %ax,(%rbx) */
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64};

	memcpy(mem + 0x1000, "\1\2\3\4", 4);
	cpu.em_gpr[EMUL_RBX] = 0x1000;
	cpu.em_gpr[EMUL_RAX] = ~0ull;
	cr_assert_eq(emul_run(&cpu, in, sizeof(in), &ops), 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RAX], 0x01020304);
	cr_assert_eq(emul_run(&cpu, out, sizeof(out), &ops), 0);
	cr_assert_arr_eq(mem + 0x1000, "\3\4\3\4", 4);
}

struct sse_row {
	const char *text;
	uint8_t n, inst[6];
	bool loads;
	unsigned int bytes;
};

static const struct sse_row sse_rows[] = {
	{"movdqu (%rbx),%xmm9", 5, {0xf3, 0x44, 0x0f, 0x6f, 0x0b}, true, 16},
	{"movdqa %xmm9,(%rbx)", 5, {0x66, 0x44, 0x0f, 0x7f, 0x0b}, false, 16},
	{"movups (%rbx),%xmm9", 4, {0x44, 0x0f, 0x10, 0x0b}, true, 16},
	{"movaps %xmm9,(%rbx)", 4, {0x44, 0x0f, 0x29, 0x0b}, false, 16},
	{"movntdq %xmm9,(%rbx)", 5, {0x66, 0x44, 0x0f, 0xe7, 0x0b}, false, 16},
	{"movq (%rbx),%xmm9", 5, {0xf3, 0x44, 0x0f, 0x7e, 0x0b}, true, 8},
	{"movq %xmm9,(%rbx)", 5, {0x66, 0x44, 0x0f, 0xd6, 0x0b}, false, 8},
	{"movsd (%rbx),%xmm9", 5, {0xf2, 0x44, 0x0f, 0x10, 0x0b}, true, 8},
	{"movd (%rbx),%xmm9", 5, {0x66, 0x44, 0x0f, 0x6e, 0x0b}, true, 4},
	{"movss %xmm9,(%rbx)", 5, {0xf3, 0x44, 0x0f, 0x11, 0x0b}, false, 4},
};

Test(emul_moves, sse)
{
	for (size_t i = 0; i < sizeof(sse_rows) / sizeof(sse_rows[0]); i++) {
		const struct sse_row *const r = &sse_rows[i];
		struct emul_cpu cpu = {.em_mode = EMUL_LONG64, .em_rip = 0x10};
		uint8_t there[16], here[16], zeros[16] = {0};

		emul_rig_begin();
		for (unsigned int k = 0; k < 16; k++)
			mem[0x1000 + k] = (uint8_t)(k + 1);
		memcpy(there, mem + 0x1000, 16);
		cpu.em_gpr[EMUL_RBX] = 0x1000;
		cr_assert_eq(emul_run(&cpu, r->inst, r->n, &ops), 0, "%s", r->text);
		memcpy(here, xmms[9], 16);
		cr_assert_arr_eq(here, mem + 0x1000, r->bytes, "%s", r->text);
		if (r->loads)
			cr_assert_arr_eq(here + r->bytes, zeros, 16 - r->bytes, "%s: the rest",
					 r->text);
		else
			cr_assert_arr_eq(mem + 0x1000 + r->bytes, there + r->bytes, 16 - r->bytes,
					 "%s: the rest", r->text);
		cr_assert_eq(cpu.em_rip, 0x10u + r->n, "%s: RIP", r->text);
		cr_assert_eq(xmms[8][0], 0x5a5a5a5a5a5a5a5a, "%s: another register", r->text);
	}
}

/* Half of it could be stored: then none of it is. */
Test(emul_moves, sse_fault)
{
	static const uint8_t inst[] = {0x0f, 0x11, 0x03};    /* movups %xmm0,(%rbx) */
	static const uint8_t between[] = {0x0f, 0x28, 0xc1}; /* movaps %xmm1,%xmm0: no memory */
	struct emul_ops none = ops;
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64, .em_rip = 0x10};

	no_write_from = 0x1008;
	cpu.em_gpr[EMUL_RBX] = 0x1000;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), EMUL_FAULT);
	cr_assert_eq(stores, 0);
	cr_assert_eq(cpu.em_rip, 0x10);
	cr_assert_eq(emul_run(&cpu, between, sizeof(between), &ops), -EOPNOTSUPP);
	none.eo_xmm = NULL;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &none), -EOPNOTSUPP);
}
