/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* A 64-bit guest on VMX with EPT (Intel SDM vol. 3C, chapters 25 to 28 and appendices A and B). */

#include "bare.h"

extern char gdt[], idt[], tss[];
unsigned int vmx_enter(struct bare_regs *regs, bool launched);

static uint8_t vmxon_region[4096] __attribute__((aligned(4096)));
static uint8_t vmcs[4096] __attribute__((aligned(4096)));
static bool launched;

enum msr {
	MSR_FEATURE_CONTROL = 0x3a,
	MSR_BASIC = 0x480,
	MSR_CR0_FIXED0 = 0x486,
	MSR_CR4_FIXED0 = 0x488,
	MSR_SECONDARY = 0x48b,
	MSR_EPT_CAPS = 0x48c,
};

enum field {
	PIN_CONTROLS = 0x4000,
	PROC_CONTROLS = 0x4002,
	EXCEPTIONS = 0x4004,
	EXIT_CONTROLS = 0x400c,
	ENTRY_CONTROLS = 0x4012,
	SECONDARY = 0x401e,
	EPT_POINTER = 0x201a,
	GUEST_PHYSICAL = 0x2400,
	LINK_POINTER = 0x2800,
	INSTRUCTION_ERROR = 0x4400,
	EXIT_REASON = 0x4402,
	QUALIFICATION = 0x6400,
	GUEST_LINEAR = 0x640a,
	GUEST_SELECTOR = 0x800, /* ES CS SS DS FS GS LDTR TR, 2 apart in each group */
	GUEST_LIMIT = 0x4800,
	GUEST_RIGHTS = 0x4814,
	GUEST_BASE = 0x6806,
	GUEST_CR0 = 0x6800,
	GUEST_CR3 = 0x6802,
	GUEST_CR4 = 0x6804,
	GUEST_DR7 = 0x681a,
	GUEST_RIP = 0x681e,
	GUEST_RFLAGS = 0x6820,
	HOST_SELECTOR = 0xc00, /* ES CS SS DS FS GS TR */
	HOST_CR0 = 0x6c00,
	HOST_CR3 = 0x6c02,
	HOST_CR4 = 0x6c04,
	HOST_TR_BASE = 0x6c0a,
	HOST_GDTR_BASE = 0x6c0c,
	HOST_IDTR_BASE = 0x6c0e,
};

#define USE_SECONDARY (1u << 31)
#define SECONDARY_EPT (1u << 1)
#define EXIT_TO_64 (1u << 9)
#define ENTRY_IA32E (1u << 9)
#define REASON_CALL 18
#define REASON_VIOLATION 48
#define REASON_MISCONFIG 49

static uint64_t
vmread(enum field f)
{
	uint64_t v = 0;

	__asm__ volatile("vmread %1, %0" : "=r"(v) : "r"((uint64_t)f) : "cc");
	return v;
}

static void
vmwrite(uint64_t f, uint64_t v)
{
	__asm__ volatile("vmwrite %1, %0" : : "r"(f), "r"(v) : "cc");
}

/* The instructions that take the address of a region; true if they worked. */
#define REGION(insn, region)                                                                      \
	({                                                                                        \
		uint64_t at_ = (uint64_t)(region);                                                \
		bool bad_;                                                                        \
		__asm__ volatile(insn " %1; setbe %0" : "=qm"(bad_) : "m"(at_) : "cc", "memory"); \
		!bad_;                                                                            \
	})

static void
invept_all(void)
{
	const uint64_t descriptor[2] = {0, 0};

	__asm__ volatile("invept %0, %1" : : "m"(descriptor), "r"(2ull) : "cc", "memory");
}

/* Appendix A: what is wanted, with what must be and without what cannot. */
static bool
set_controls(enum field f, uint32_t want, uint32_t msr)
{
	const uint64_t v = bare_rdmsr(msr);

	vmwrite(f, (want | (uint32_t)v) & (uint32_t)(v >> 32));
	return (want & ~(uint32_t)(v >> 32)) == 0;
}

static bool
set_all_controls(void)
{
	const bool exact = (bare_rdmsr(MSR_BASIC) >> 55) & 1;
	const uint32_t base = exact ? 0x48d : 0x481; /* pin, processor, exit, entry */
	bool fine;

	fine = set_controls(PIN_CONTROLS, 0, base);
	fine &= set_controls(PROC_CONTROLS, USE_SECONDARY, base + 1);
	fine &= set_controls(SECONDARY, SECONDARY_EPT, MSR_SECONDARY);
	fine &= set_controls(EXIT_CONTROLS, EXIT_TO_64, base + 2);
	fine &= set_controls(ENTRY_CONTROLS, ENTRY_IA32E, base + 3);
	vmwrite(EXCEPTIONS, UINT32_MAX);
	vmwrite(LINK_POINTER, UINT64_MAX);
	return fine;
}

static void
set_host(void)
{
	static const uint8_t selectors[] = {0, 0x08, 0x10, 0, 0, 0, 0x18};

	for (unsigned int i = 0; i < sizeof(selectors); i++)
		vmwrite(HOST_SELECTOR + 2 * i, selectors[i]);
	vmwrite(HOST_CR0, BARE_READ(cr0));
	vmwrite(HOST_CR3, BARE_READ(cr3));
	vmwrite(HOST_CR4, BARE_READ(cr4));
	vmwrite(HOST_TR_BASE, (uint64_t)tss);
	vmwrite(HOST_GDTR_BASE, (uint64_t)gdt);
	vmwrite(HOST_IDTR_BASE, (uint64_t)idt);
}

static void
set_guest(void)
{
	static const struct {
		uint16_t selector;
		uint32_t rights, limit;
	} segments[] = {
		{16, 0xc093, UINT32_MAX}, {8, 0xa09b, UINT32_MAX},  {16, 0xc093, UINT32_MAX},
		{16, 0xc093, UINT32_MAX}, {16, 0xc093, UINT32_MAX}, {16, 0xc093, UINT32_MAX},
		{0, 0x10000, 0},	  {24, 0x8b, 0x67},
	};

	for (unsigned int i = 0; i < sizeof(segments) / sizeof(segments[0]); i++) {
		vmwrite(GUEST_SELECTOR + 2 * i, segments[i].selector);
		vmwrite(GUEST_RIGHTS + 2 * i, segments[i].rights);
		vmwrite(GUEST_LIMIT + 2 * i, segments[i].limit);
		vmwrite(GUEST_BASE + 2 * i, 0);
	}
	vmwrite(GUEST_CR0, BARE_GUEST_CR0 | bare_rdmsr(MSR_CR0_FIXED0));
	vmwrite(GUEST_CR4, BARE_GUEST_CR4 | bare_rdmsr(MSR_CR4_FIXED0));
	vmwrite(GUEST_DR7, 0x400);
	vmwrite(GUEST_RFLAGS, 2);
}

static bool
start(struct diff_machine *m, const char **why)
{
	const uint32_t revision = (uint32_t)bare_rdmsr(MSR_BASIC) & 0x7fffffff;

	*why = "no VMX";
	if (!(bare_cpuid(1).c & (1u << 5)))
		return false;
	if (!(bare_rdmsr(MSR_FEATURE_CONTROL) & 1))
		bare_wrmsr(MSR_FEATURE_CONTROL, 5);
	BARE_WRITE(cr0, BARE_READ(cr0) | bare_rdmsr(MSR_CR0_FIXED0));
	BARE_WRITE(cr4, BARE_READ(cr4) | bare_rdmsr(MSR_CR4_FIXED0));
	*(uint32_t *)vmxon_region = *(uint32_t *)vmcs = revision;
	*why = "VMXON, VMCLEAR or VMPTRLD failed";
	if (!REGION("vmxon", vmxon_region) || !REGION("vmclear", vmcs) || !REGION("vmptrld", vmcs))
		return false;
	*why = "no EPT, or another control is missing";
	if (!set_all_controls())
		return false;
	set_host();
	set_guest();
	m->dm_kind = DIFF_EPT;
	m->dm_levels = 4; /* five are another capability, which no emulator has */
	m->dm_ept_caps = bare_rdmsr(MSR_EPT_CAPS);
	return true;
}

static void
run(const struct diff_machine *m, const struct diff_case *c, uint64_t rip, struct bare_regs *regs,
    struct diff_result *r)
{
	(void)m;
	vmwrite(EPT_POINTER, c->dc_root);
	vmwrite(GUEST_CR3, c->dc_guest_root);
	vmwrite(GUEST_RIP, rip);
	invept_all();
	if (vmx_enter(regs, launched) != 0) {
		r->dr_outcome = DIFF_FAILED;
		r->dr_code = vmread(INSTRUCTION_ERROR);
		return;
	}
	launched = true;
	r->dr_code = vmread(EXIT_REASON);
	switch (r->dr_code) {
	case REASON_CALL:
		r->dr_outcome = DIFF_DONE;
		break;
	case REASON_VIOLATION:
		r->dr_outcome = DIFF_VIOLATION;
		r->dr_code = vmread(QUALIFICATION);
		r->dr_gpa = vmread(GUEST_PHYSICAL);
		r->dr_linear = vmread(GUEST_LINEAR);
		break;
	case REASON_MISCONFIG:
		r->dr_outcome = DIFF_MISCONFIG;
		r->dr_gpa = vmread(GUEST_PHYSICAL);
		break;
	default:
		r->dr_outcome = DIFF_OTHER;
		r->dr_gpa = vmread(QUALIFICATION);
		break;
	}
}

/* VMfail sets ZF, with an error in the VMCS, or CF if there is no VMCS. */
#define INVALIDATE(insn, type, descriptor)                                             \
	({                                                                             \
		bool bad_;                                                             \
		__asm__ volatile(insn " %1, %2; setbe %0"                              \
				 : "=qm"(bad_)                                         \
				 : "m"(*(const uint64_t(*)[2])(descriptor)), "r"(type) \
				 : "cc", "memory");                                    \
		bad_;                                                                  \
	})

static void
invalidate(const struct diff_case *c, struct diff_result *r)
{
	const bool bad = c->dc_access == DIFF_INVEPT
				 ? INVALIDATE("invept", c->dc_type, c->dc_descriptor)
				 : INVALIDATE("invvpid", c->dc_type, c->dc_descriptor);

	r->dr_outcome = bad ? DIFF_FAILED : DIFF_DONE;
	r->dr_code = bad ? vmread(INSTRUCTION_ERROR) : 0;
}

const struct bare_backend bare_vmx = {start, run, invalidate, {0x0f, 0x01, 0xc1}};
