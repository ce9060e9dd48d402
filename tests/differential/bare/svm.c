/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* A 64-bit guest on SVM with nested paging (AMD APM vol. 2, chapter 15 and appendices B and C). */

#include "bare.h"

void svm_enter(struct bare_regs *regs, uint64_t vmcb);

static uint8_t vmcb[4096] __attribute__((aligned(4096)));
static uint8_t host_save[4096] __attribute__((aligned(4096)));
static uint8_t io_map[3 * 4096] __attribute__((aligned(4096)));
static uint8_t msr_map[2 * 4096] __attribute__((aligned(4096)));

enum msr { MSR_EFER = 0xc0000080, MSR_VM_CR = 0xc0010114, MSR_HSAVE_PA = 0xc0010117 };
#define EFER_NXE (1ull << 11)
#define EFER_SVME (1ull << 12)

enum offset {
	EXCEPTIONS = 0x08,
	INTERCEPTS = 0x0c, /* 31: shutdown; 24: HLT */
	INTERCEPTS_2 = 0x10,
	IOPM = 0x40,
	MSRPM = 0x48,
	ASID = 0x58,
	TLB_CONTROL = 0x5c,
	EXIT_CODE = 0x70,
	EXIT_INFO_1 = 0x78,
	EXIT_INFO_2 = 0x80,
	NESTED = 0x90,
	NESTED_CR3 = 0xb0,
	SEGMENTS = 0x400, /* ES CS SS DS FS GS GDTR LDTR IDTR TR, 16 apart */
	GUEST_EFER = 0x4d0,
	CR4 = 0x548,
	CR3 = 0x550,
	CR0 = 0x558,
	DR7 = 0x560,
	DR6 = 0x568,
	RFLAGS = 0x570,
	RIP = 0x578,
	PAT = 0x668,
};

#define EXIT_CALL 0x81
#define EXIT_FAULT 0x400

static volatile uint64_t *
word(enum offset at)
{
	return (volatile uint64_t *)(vmcb + at);
}

static volatile uint32_t *
half(enum offset at)
{
	return (volatile uint32_t *)(vmcb + at);
}

static void
set_segment(unsigned int n, uint16_t selector, uint16_t attributes, uint32_t limit)
{
	volatile uint8_t *s = vmcb + SEGMENTS + 16 * n;

	*(volatile uint16_t *)s = selector;
	*(volatile uint16_t *)(s + 2) = attributes;
	*(volatile uint32_t *)(s + 4) = limit;
	*(volatile uint64_t *)(s + 8) = 0;
}

static void
set_guest(void)
{
	for (unsigned int i = 0; i < 6; i++)
		set_segment(i, i == 1 ? 8 : 16, i == 1 ? 0xa9b : 0xc93, UINT32_MAX);
	set_segment(7, 0, 0x82, 0);
	set_segment(9, 24, 0x8b, 0x67);
	*half(EXCEPTIONS) = UINT32_MAX;
	*half(INTERCEPTS) = 1u << 31 | 1u << 24;
	*half(INTERCEPTS_2) = 3; /* VMRUN must be; VMMCALL */
	*word(IOPM) = (uint64_t)io_map;
	*word(MSRPM) = (uint64_t)msr_map;
	*half(ASID) = 1;
	*word(NESTED) = 1;
	*word(GUEST_EFER) = BARE_GUEST_EFER | EFER_SVME;
	*word(CR0) = BARE_GUEST_CR0;
	*word(CR4) = BARE_GUEST_CR4;
	*word(DR7) = 0x400;
	*word(DR6) = 0xffff0ff0;
	*word(RFLAGS) = 2;
	*word(PAT) = 0x0007040600070406ull;
}

static bool
start(struct diff_machine *m, const char **why)
{
	*why = "no nested paging";
	if (!(bare_cpuid(0x8000000a).d & 1))
		return false;
	*why = "SVM is switched off";
	if (bare_rdmsr(MSR_VM_CR) & 0x10)
		return false;
	bare_wrmsr(MSR_EFER, bare_rdmsr(MSR_EFER) | EFER_SVME);
	bare_wrmsr(MSR_HSAVE_PA, (uint64_t)host_save);
	set_guest();
	m->dm_kind = DIFF_NPT;
	return true;
}

static void
run(const struct diff_machine *m, const struct diff_case *c, uint64_t rip, struct bare_regs *regs,
    struct diff_result *r)
{
	(void)m;
	const uint64_t efer = bare_rdmsr(MSR_EFER) & ~EFER_NXE;

	/* The host's own tables do not use NX: its NXE is about the nested ones alone. */
	bare_wrmsr(MSR_EFER, efer | (c->dc_nx ? EFER_NXE : 0));
	*word(NESTED_CR3) = c->dc_root;
	*word(CR3) = c->dc_guest_root;
	*word(RIP) = rip;
	*half(TLB_CONTROL) = 1; /* flush all */
	*word(EXIT_CODE) = 0;
	svm_enter(regs, (uint64_t)vmcb);
	r->dr_code = *word(EXIT_CODE);
	switch (r->dr_code) {
	case EXIT_CALL:
		r->dr_outcome = DIFF_DONE;
		break;
	case EXIT_FAULT:
		r->dr_outcome = DIFF_VIOLATION;
		r->dr_code = *word(EXIT_INFO_1);
		r->dr_gpa = *word(EXIT_INFO_2);
		break;
	default:
		r->dr_outcome = (int64_t)r->dr_code < 0 ? DIFF_FAILED : DIFF_OTHER;
		r->dr_gpa = *word(EXIT_INFO_2);
		break;
	}
}

const struct bare_backend bare_svm = {start, run, 0, {0x0f, 0x01, 0xd9}};
