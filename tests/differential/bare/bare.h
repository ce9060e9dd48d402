/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The program without a system: main.c runs cases, vmx.c and svm.c enter the guest. All memory is
 * mapped where it is, so an address is a pointer.
 */

#ifndef TESTS_DIFFERENTIAL_BARE_H
#define TESTS_DIFFERENTIAL_BARE_H

#include "tests/differential/tuple.h"

/* The guest's registers that matter: RBX has the address, RCX the value. */
struct bare_regs {
	uint64_t br_rbx;
	uint64_t br_rcx;
};

/* What a backend provides. Both are 0, or say in *why what is missing. */
struct bare_backend {
	bool (*bb_start)(struct diff_machine *m, const char **why);
	void (*bb_run)(const struct diff_machine *m, const struct diff_case *c, uint64_t rip,
		       struct bare_regs *regs, struct diff_result *r);
	void (*bb_invalidate)(const struct diff_case *c, struct diff_result *r); /* EPT */
	uint8_t bb_call[3]; /* the instruction by which the guest ends */
};

extern const struct bare_backend bare_vmx, bare_svm;

/* ---- Memory and instructions --------------------------------------------------------------- */

static inline volatile uint64_t *
bare_word(uint64_t hpa)
{
	return (volatile uint64_t *)hpa;
}

static inline void
bare_zero(void *page, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes / 8; i++)
		((volatile uint64_t *)page)[i] = 0;
}

static inline void
bare_out(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint64_t
bare_rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static inline void
bare_wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

struct bare_cpuid {
	uint32_t a, b, c, d;
};

static inline struct bare_cpuid
bare_cpuid(uint32_t leaf)
{
	struct bare_cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(0));
	return r;
}

#define BARE_READ(reg)                                             \
	({                                                         \
		uint64_t v_;                                       \
		__asm__ volatile("mov %%" #reg ", %0" : "=r"(v_)); \
		v_;                                                \
	})
#define BARE_WRITE(reg, v) __asm__ volatile("mov %0, %%" #reg : : "r"((uint64_t)(v)) : "memory")

/* Not one of the two vendors' control structures: what both use of a 64-bit guest. */
#define BARE_GUEST_CR0 0x80010033ull /* PG, WP, NE, ET, MP, PE */
#define BARE_GUEST_CR4 0x20ull	     /* PAE */
#define BARE_GUEST_EFER 0x500ull     /* LMA, LME */

#endif /* TESTS_DIFFERENTIAL_BARE_H */
