/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Instructions carried out by emul.c, one by one, against a table: bytes, what was before, what
 * must be after. Expected values are the manual's (SDM vol. 2), worked out by hand.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "emul_rig.h"

TestSuite(emul, .init = emul_rig_begin);

/* RBX is 0x1000 before, RAX, RCX, RDX and the quadword at 0x1000 as the row says. */
struct row {
	const char *text;
	uint8_t n, inst[12];
	uint64_t rax, rcx, rdx, at;
	uint32_t flags;
	uint64_t rax2, rcx2, rdx2, at2;
	uint32_t flags2, mask; /* of flags that are defined */
};

static const struct row rows[] = {
	{"mov %eax,(%rbx)",
	 2,
	 {0x89, 0x03},
	 0x1122334455667788,
	 0,
	 0,
	 ~0ull,
	 0,
	 0x1122334455667788,
	 0,
	 0,
	 0xffffffff55667788,
	 0,
	 ALL},
	{"mov (%rbx),%eax",
	 2,
	 {0x8b, 0x03},
	 ~0ull,
	 0,
	 0,
	 0x99aabbccddeeff00,
	 ALL,
	 0xddeeff00,
	 0,
	 0,
	 0x99aabbccddeeff00,
	 ALL,
	 ALL},
	{"mov (%rbx),%ax",
	 3,
	 {0x66, 0x8b, 0x03},
	 ~0ull,
	 0,
	 0,
	 0x1234,
	 0,
	 0xffffffffffff1234,
	 0,
	 0,
	 0x1234,
	 0,
	 ALL},
	{"mov (%rbx),%ah", 2, {0x8a, 0x23}, 0x55, 0, 0, 0xab, 0, 0xab55, 0, 0, 0xab, 0, ALL},
	{"mov %ah,(%rbx)", 2, {0x88, 0x23}, 0xcd11, 0, 0, 0, 0, 0xcd11, 0, 0, 0xcd, 0, ALL},
	{"mov (%rbx),%rax", 3, {0x48, 0x8b, 0x03}, 0, 0, 0, ~1ull, 0, ~1ull, 0, 0, ~1ull, 0, ALL},
	{"movl $imm,(%rbx)",
	 6,
	 {0xc7, 0x03, 0x78, 0x56, 0x34, 0x12},
	 0,
	 0,
	 0,
	 ~0ull,
	 0,
	 0,
	 0,
	 0,
	 0xffffffff12345678,
	 0,
	 ALL},
	{"movq $-2,(%rbx)",
	 7,
	 {0x48, 0xc7, 0x03, 0xfe, 0xff, 0xff, 0xff},
	 0,
	 0,
	 0,
	 0,
	 0,
	 0,
	 0,
	 0,
	 ~1ull,
	 0,
	 ALL},
	{"mov %eax,8(%rbx,%rcx,4) at 0x1000",
	 4,
	 {0x89, 0x44, 0x8b, 0x08},
	 7,
	 -2ull,
	 0,
	 0,
	 0,
	 7,
	 -2ull,
	 0,
	 7,
	 0,
	 ALL},
	{"movnti %eax,(%rbx)", 3, {0x0f, 0xc3, 0x03}, 5, 0, 0, 0, 0, 5, 0, 0, 5, 0, ALL},
	{"movzbl (%rbx),%eax",
	 3,
	 {0x0f, 0xb6, 0x03},
	 ~0ull,
	 0,
	 0,
	 0x80,
	 0,
	 0x80,
	 0,
	 0,
	 0x80,
	 0,
	 ALL},
	{"movswq (%rbx),%rax",
	 4,
	 {0x48, 0x0f, 0xbf, 0x03},
	 0,
	 0,
	 0,
	 0x8001,
	 0,
	 0xffffffffffff8001,
	 0,
	 0,
	 0x8001,
	 0,
	 ALL},
	{"movslq (%rbx),%rax",
	 3,
	 {0x48, 0x63, 0x03},
	 0,
	 0,
	 0,
	 0x80000000,
	 0,
	 0xffffffff80000000,
	 0,
	 0,
	 0x80000000,
	 0,
	 ALL},
	{"add %eax,(%rbx) carries",
	 2,
	 {0x01, 0x03},
	 1,
	 0,
	 0,
	 0xffffffff,
	 0,
	 1,
	 0,
	 0,
	 0,
	 CF | PF | AF | ZF,
	 ALL},
	{"add %eax,(%rbx) overflows",
	 2,
	 {0x01, 0x03},
	 1,
	 0,
	 0,
	 0x7fffffff,
	 0,
	 1,
	 0,
	 0,
	 0x80000000,
	 PF | AF | SF | OF,
	 ALL},
	{"adc %eax,(%rbx)", 2, {0x11, 0x03}, 1, 0, 0, 1, CF, 1, 0, 0, 3, PF, ALL},
	{"sub %eax,(%rbx)",
	 2,
	 {0x29, 0x03},
	 2,
	 0,
	 0,
	 1,
	 0,
	 2,
	 0,
	 0,
	 0xffffffff,
	 CF | PF | AF | SF,
	 ALL},
	{"sbb %eax,(%rbx)", 2, {0x19, 0x03}, 1, 0, 0, 5, CF, 1, 0, 0, 3, PF, ALL},
	{"cmp %eax,(%rbx)", 2, {0x39, 0x03}, 7, 0, 0, 7, 0, 7, 0, 0, 7, ZF | PF, ALL},
	{"cmpb $imm,(%rbx)",
	 3,
	 {0x80, 0x3b, 0x80},
	 0,
	 0,
	 0,
	 0x7f,
	 0,
	 0,
	 0,
	 0,
	 0x7f,
	 CF | SF | OF | PF,
	 ALL & ~AF},
	{"and (%rbx),%eax",
	 2,
	 {0x23, 0x03},
	 0xf0f0,
	 0,
	 0,
	 0xff,
	 CF | OF,
	 0xf0,
	 0,
	 0,
	 0xff,
	 PF,
	 ALL & ~AF},
	{"andl $imm8,(%rbx)", 3, {0x83, 0x23, 0xfe}, 0, 0, 0, 3, 0, 0, 0, 0, 2, 0, ALL & ~AF},
	{"or %eax,(%rbx)",
	 2,
	 {0x09, 0x03},
	 0x80000000,
	 0,
	 0,
	 1,
	 0,
	 0x80000000,
	 0,
	 0,
	 0x80000001,
	 SF,
	 ALL & ~AF},
	{"xor %eax,(%rbx)", 2, {0x31, 0x03}, 5, 0, 0, 5, CF, 5, 0, 0, 0, ZF | PF, ALL & ~AF},
	{"testl $imm,(%rbx)",
	 6,
	 {0xf7, 0x03, 0x00, 0x10, 0, 0},
	 0,
	 0,
	 0,
	 0xefff,
	 CF,
	 0,
	 0,
	 0,
	 0xefff,
	 ZF | PF,
	 ALL & ~AF},
	{"incl (%rbx) keeps carry",
	 2,
	 {0xff, 0x03},
	 0,
	 0,
	 0,
	 0xffffffff,
	 CF,
	 0,
	 0,
	 0,
	 0,
	 CF | PF | AF | ZF,
	 ALL},
	{"decl (%rbx)",
	 2,
	 {0xff, 0x0b},
	 0,
	 0,
	 0,
	 0x80000000,
	 0,
	 0,
	 0,
	 0,
	 0x7fffffff,
	 PF | AF | OF,
	 ALL},
	{"negl (%rbx)",
	 2,
	 {0xf7, 0x1b},
	 0,
	 0,
	 0,
	 1,
	 0,
	 0,
	 0,
	 0,
	 0xffffffff,
	 CF | PF | AF | SF,
	 ALL},
	{"notb (%rbx)", 2, {0xf6, 0x13}, 0, 0, 0, 0x0f, ALL, 0, 0, 0, 0xf0, ALL, ALL},
	{"xchg %eax,(%rbx)", 2, {0x87, 0x03}, 0x11, 0, 0, 0x22, 0, 0x22, 0, 0, 0x11, 0, ALL},
	{"lock xadd %ecx,(%rbx)", 4, {0xf0, 0x0f, 0xc1, 0x0b}, 0, 3, 0, 4, 0, 0, 4, 0, 7, 0, ALL},
	{"cmpxchg %ecx,(%rbx): equal",
	 3,
	 {0x0f, 0xb1, 0x0b},
	 9,
	 3,
	 0,
	 9,
	 0,
	 9,
	 3,
	 0,
	 3,
	 ZF | PF,
	 ALL},
	{"cmpxchg %ecx,(%rbx): not",
	 3,
	 {0x0f, 0xb1, 0x0b},
	 8,
	 3,
	 0,
	 9,
	 0,
	 9,
	 3,
	 0,
	 9,
	 CF | PF | AF | SF,
	 ALL},
	{"btl $imm,(%rbx)", 4, {0x0f, 0xba, 0x23, 0x21}, 0, 0, 0, 2, 0, 0, 0, 0, 2, CF, CF},
	{"bts %eax,-8(%rbx): of a string",
	 4,
	 {0x0f, 0xab, 0x43, 0xf8},
	 65,
	 0,
	 0,
	 0,
	 CF,
	 65,
	 0,
	 0,
	 2,
	 0,
	 CF},
	{"btrl $imm,(%rbx)", 4, {0x0f, 0xba, 0x33, 0x00}, 0, 0, 0, 3, 0, 0, 0, 0, 2, CF, CF},
	{"btcl $imm,(%rbx)", 4, {0x0f, 0xba, 0x3b, 0x02}, 0, 0, 0, 4, 0, 0, 0, 0, 0, CF, CF},
	{"mov (%rdx),%eax by disp32",
	 6,
	 {0x8b, 0x82, 0x00, 0x10, 0, 0},
	 0,
	 0,
	 0,
	 6,
	 0,
	 6,
	 0,
	 0,
	 6,
	 0,
	 ALL},
	{"mov moffs,%eax",
	 9,
	 {0xa1, 0x00, 0x10, 0, 0, 0, 0, 0, 0},
	 0,
	 0,
	 0,
	 6,
	 0,
	 6,
	 0,
	 0,
	 6,
	 0,
	 ALL},
};

Test(emul, table)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *const r = &rows[i];
		struct emul_cpu cpu = {
			.em_mode = EMUL_LONG64, .em_rip = 0x2000, .em_rflags = 0x202u | r->flags};
		uint64_t at;

		emul_rig_begin();
		memcpy(mem + 0x1000, &r->at, 8);
		cpu.em_gpr[EMUL_RBX] = 0x1000;
		cpu.em_gpr[EMUL_RAX] = r->rax;
		cpu.em_gpr[EMUL_RCX] = r->rcx;
		cpu.em_gpr[EMUL_RDX] = r->rdx;
		cr_assert_eq(emul_run(&cpu, r->inst, r->n, &ops), 0, "%s", r->text);
		memcpy(&at, mem + 0x1000, 8);
		cr_assert_eq(cpu.em_gpr[EMUL_RAX], r->rax2, "%s: RAX 0x%lx", r->text,
			     (unsigned long)cpu.em_gpr[EMUL_RAX]);
		cr_assert_eq(cpu.em_gpr[EMUL_RCX], r->rcx2, "%s: RCX", r->text);
		cr_assert_eq(cpu.em_gpr[EMUL_RDX], r->rdx2, "%s: RDX", r->text);
		cr_assert_eq(cpu.em_gpr[EMUL_RBX], 0x1000, "%s: RBX", r->text);
		cr_assert_eq(at, r->at2, "%s: memory 0x%lx", r->text, (unsigned long)at);
		cr_assert_eq(cpu.em_rflags & r->mask, r->flags2 & r->mask, "%s: flags 0x%lx",
			     r->text, (unsigned long)cpu.em_rflags);
		cr_assert_eq(cpu.em_rflags & ~(uint64_t)ALL, 0x202, "%s: other flags", r->text);
		cr_assert_eq(cpu.em_rip, 0x2000u + r->n, "%s: RIP", r->text);
		cr_assert_leq(loads, 1, "%s reads once, for reading may have effects", r->text);
	}
}

Test(emul, rip_relative)
{
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64, .em_rip = 0xff0};
	static const uint8_t inst[] = {0x8b, 0x05, 0x0a, 0, 0, 0}; /* mov 10(%rip),%eax */

	mem[0x1000] = 0x77;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RAX], 0x77);
}

Test(emul, segments)
{
	static const uint8_t gs[] = {0x65, 0x8b, 0x03}; /* mov %gs:(%rbx),%eax */
	static const uint8_t ds[] = {0x8b, 0x03};
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64};

	bases[EMUL_GS] = 0x800;
	bases[EMUL_DS] = 0x900;
	mem[0x1800] = 1;
	mem[0x1900] = 2;
	mem[0x1000] = 3;
	cpu.em_gpr[EMUL_RBX] = 0x1000;
	cr_assert_eq(emul_run(&cpu, gs, sizeof(gs), &ops), 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RAX], 1);
	cr_assert_eq(emul_run(&cpu, ds, sizeof(ds), &ops), 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RAX], 3, "no base in 64-bit mode");
	cpu.em_mode = EMUL_PROTECTED32;
	cr_assert_eq(emul_run(&cpu, ds, sizeof(ds), &ops), 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RAX], 2);
}

Test(emul, real_mode)
{
	static const uint8_t inst[] = {0x88, 0x07}; /* mov %al,(%bx) */
	struct emul_cpu cpu = {.em_mode = EMUL_REAL};

	bases[EMUL_DS] = 0x2000;
	cpu.em_gpr[EMUL_RAX] = 0x5a;
	cpu.em_gpr[EMUL_RBX] = 0xdead0010;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), 0);
	cr_assert_eq(mem[0x2010], 0x5a);
}

Test(emul, rep_movs)
{
	static const uint8_t inst[] = {0xf3, 0xa5}; /* rep movsl */
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64, .em_rip = 0x10};

	for (unsigned int i = 0; i < 40; i++)
		mem[0x100 + i] = (uint8_t)(i + 1);
	cpu.em_gpr[EMUL_RSI] = 0x100;
	cpu.em_gpr[EMUL_RDI] = 0x200;
	cpu.em_gpr[EMUL_RCX] = 10;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), 0);
	cr_assert_arr_eq(mem + 0x100, mem + 0x200, 40);
	cr_assert_eq(mem[0x200 + 40], 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RCX], 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RSI], 0x128);
	cr_assert_eq(cpu.em_gpr[EMUL_RDI], 0x228);
	cr_assert_eq(cpu.em_rip, 0x12);
	/* With nothing to do nothing is touched. */
	loads = stores = 0;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), 0);
	cr_assert_eq(loads + stores, 0);
	cr_assert_eq(cpu.em_rip, 0x14);
}

Test(emul, string_backwards)
{
	static const uint8_t inst[] = {0xf3, 0xaa}; /* rep stosb */
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64, .em_rflags = DF};

	cpu.em_gpr[EMUL_RAX] = 0x7e;
	cpu.em_gpr[EMUL_RDI] = 0x300;
	cpu.em_gpr[EMUL_RCX] = 3;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), 0);
	cr_assert_eq(mem[0x2fd], 0);
	cr_assert_eq(mem[0x2fe], 0x7e);
	cr_assert_eq(mem[0x300], 0x7e);
	cr_assert_eq(cpu.em_gpr[EMUL_RDI], 0x2fd);
}

/* A fault in the middle: what was done stays done, and the instruction is still there. */
Test(emul, rep_fault)
{
	static const uint8_t inst[] = {0xf3, 0x48, 0xab}; /* rep stosq */
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64, .em_rip = 0x10};

	no_write_from = 0x420;
	cpu.em_gpr[EMUL_RAX] = ~0ull;
	cpu.em_gpr[EMUL_RDI] = 0x400;
	cpu.em_gpr[EMUL_RCX] = 9;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), EMUL_FAULT);
	cr_assert_eq(cpu.em_gpr[EMUL_RCX], 5);
	cr_assert_eq(cpu.em_gpr[EMUL_RDI], 0x420);
	cr_assert_eq(cpu.em_rip, 0x10);
	cr_assert_eq(mem[0x41f], 0xff);
	cr_assert_eq(mem[0x420], 0);
}

Test(emul, repne_scas)
{
	static const uint8_t inst[] = {0xf2, 0xae}; /* repne scasb */
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64};

	memcpy(mem + 0x500, "abc", 4);
	cpu.em_gpr[EMUL_RDI] = 0x500;
	cpu.em_gpr[EMUL_RCX] = 100;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RDI], 0x504);
	cr_assert_eq(cpu.em_gpr[EMUL_RCX], 96);
	cr_assert(cpu.em_rflags & ZF);
}

Test(emul, lods)
{
	static const uint8_t inst[] = {0xad}; /* lodsl */
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64};

	memcpy(mem + 0x500, "\1\2\3\4", 4);
	cpu.em_gpr[EMUL_RSI] = 0x500;
	cpu.em_gpr[EMUL_RAX] = ~0ull;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), 0);
	cr_assert_eq(cpu.em_gpr[EMUL_RAX], 0x04030201);
	cr_assert_eq(cpu.em_gpr[EMUL_RSI], 0x504);
}

/* What cannot be written is not read either. */
Test(emul, fault_before_read)
{
	static const uint8_t inst[] = {0x01, 0x03}; /* add %eax,(%rbx) */
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64, .em_rip = 0x10, .em_rflags = ALL};

	no_write_from = 0x1000;
	cpu.em_gpr[EMUL_RBX] = 0x1000;
	cr_assert_eq(emul_run(&cpu, inst, sizeof(inst), &ops), EMUL_FAULT);
	cr_assert_eq(loads, 0);
	cr_assert_eq(cpu.em_rip, 0x10);
	cr_assert_eq(cpu.em_rflags, ALL);
}

Test(emul, refused)
{
	static const uint8_t cut[] = {0x8b};
	static const uint8_t unknown[] = {0x0f, 0x6f, 0x03}; /* movq (%rbx),%mm0 */
	struct emul_cpu cpu = {.em_mode = EMUL_LONG64}, before = cpu;
	char text[64];

	cr_assert_eq(emul_run(&cpu, cut, sizeof(cut), &ops), -EILSEQ);
	cr_assert_eq(emul_run(&cpu, unknown, sizeof(unknown), &ops), -EOPNOTSUPP);
	cr_assert_eq(memcmp(&cpu, &before, sizeof(cpu)), 0);
	emul_text(&cpu, unknown, sizeof(unknown), text, sizeof(text));
	cr_assert(strstr(text, "movq") != NULL, "'%s'", text);
}
