/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the guest's program and the tests outside know of each other: where things lie in the first
 * two MiB of guest memory, which functions the guest has, and what its pages hold.
 *
 * A test calls a function of the guest as it would one of its own: it sets the argument registers
 * and the number of the function, runs, and the guest ends with OUT to GUEST_PORT_DONE, the result
 * in RAX. Nothing of the call lies in memory, so a test decides alone which pages are touched.
 * All addresses are mapped one to one.
 */

#ifndef TESTS_KERNEL_GUEST_H
#define TESTS_KERNEL_GUEST_H

#define GUEST_TABLES 0x1000 /* the guest's own page tables: six pages for the first 4 GiB */
#define GUEST_GDT 0x7000
#define GUEST_TSS 0x7800
#define GUEST_IDT 0x8000     /* 256 gates of 16 bytes */
#define GUEST_EVENTS 0x9000  /* struct guest_events */
#define GUEST_REGS 0xa000    /* struct guest_regs, written by GUEST_ENTRY_STORE */
#define GUEST_REGS_IN 0xa400 /* read by GUEST_ENTRY_LOAD */
#define GUEST_WORDS 0xb000   /* words that tests and guests share: flags, counters */
#define GUEST_TABLES_32 0xc000
#define GUEST_CODE 0x10000
#define GUEST_STUBS 0x11000 /* 256 of 16 bytes: where gates lead */
#define GUEST_REAL 0x18000  /* code for real mode: segment GUEST_REAL / 16 */
#define GUEST_CODE_32 0x19000
#define GUEST_STACKS 0x80000 /* a page for each vCPU, from here up */
#define GUEST_LOW_BYTES 0x200000

#define GUEST_SEL_CODE 0x08
#define GUEST_SEL_DATA 0x10
#define GUEST_SEL_TSS 0x18

/* What lies at the begin of GUEST_CODE, 16 bytes apart. */
#define GUEST_ENTRY_CALL (GUEST_CODE + 0x00)  /* RAX: enum guest_call; RDI.. arguments */
#define GUEST_ENTRY_STORE (GUEST_CODE + 0x10) /* stores all registers at GUEST_REGS */
#define GUEST_ENTRY_LOAD (GUEST_CODE + 0x20)  /* loads what lies at GUEST_REGS_IN */

#define GUEST_PORT_DONE 0x50
#define GUEST_PORT_STOP 0x51 /* a handler that has nowhere to return to */

#define GUEST_PAGE 4096
#define GUEST_EVENTS_MAX 100

#ifndef __ASSEMBLER__

#include <stdint.h>

enum guest_call {
	GUEST_NOP,	   /* -> GUEST_NOP_RESULT */
	GUEST_READ,	   /* (address) -> the word there */
	GUEST_WRITE,	   /* (address, word) */
	GUEST_EXECUTE,	   /* (address): calls it -> RAX */
	GUEST_FILL,	   /* (address, bytes, step, pass): writes guest_word() each `step` bytes */
	GUEST_VERIFY,	   /* the same arguments -> 0, or 1 + the first address that is wrong */
	GUEST_FILL_AS,	   /* (address, bytes, as, pass): page by page, as if it were at `as` */
	GUEST_VERIFY_AS,   /* so this */
	GUEST_TOUCH,	   /* (address, bytes, step): reads a byte each -> their sum */
	GUEST_SPIN_UNTIL,  /* (address, word): reads until it is that -> rounds */
	GUEST_SPIN_WHILE,  /* (address, word): the same the other way round -> what it was then */
	GUEST_WRITER,	   /* (address, pages, stop): see guest64.c */
	GUEST_RANDOM,	   /* (address, pages, stop, seed): see guest64.c */
	GUEST_MIRROR,	   /* (address, mirror, stop): see guest64.c */
	GUEST_COUNT_UNTIL, /* (stop, counter): counts until *stop is not 0 -> what it counted */
	GUEST_SUM_LOOP,	   /* (rounds): no memory, no exits */
	GUEST_IN,	   /* (port, bytes) -> value */
	GUEST_OUT,	   /* (port, bytes, value) */
	GUEST_INS,	   /* (port, address, count): bytes */
	GUEST_OUTS,	   /* (port, address, count) */
	GUEST_RDMSR,	   /* (index) */
	GUEST_WRMSR,	   /* (index, value) */
	GUEST_CPUID,	   /* (leaf, sub, address): EAX, EBX, ECX, EDX to four 32-bit words */
	GUEST_HLT,	   /* HLT, and back */
	GUEST_PAUSE,
	GUEST_VMCALL,
	GUEST_VMMCALL,	/* both with RBX 0x22, RCX 0x33, RDX 0x44, RSI 0x55, RDI as given */
	GUEST_READ_CR,	/* (n) */
	GUEST_WRITE_CR, /* (n, value) -> the value read back */
	GUEST_READ_DR,
	GUEST_WRITE_DR,
	GUEST_UD2, /* the handler skips it, if events.fixup says so */
	GUEST_INT3,
	GUEST_DIVIDE,	 /* by 0 */
	GUEST_TRIPLE,	 /* loads an empty IDT, and faults */
	GUEST_STI_LOOP,	 /* (stop, counter): interrupts on; as GUEST_COUNT_UNTIL */
	GUEST_CLI_COUNT, /* (rounds): interrupts off for so long, then on -> events before that */
	GUEST_SSE,	 /* (a, b): adds two doubles' bits in XMM and x87, -> sum's bits */
	GUEST_SSE_SPIN,	 /* (stop, value): keeps value in XMM and x87 registers -> 0, or changed */
	GUEST_HALT_FOR,	 /* (n, before): halts for n interrupts -> events in all */
	GUEST_TIMERS,	 /* (n, span, by TSC, seed) -> 0, or 1 + the round that was wrong */
	GUEST_PING,	 /* (peer, rounds, first, vector) -> events in all */
	GUEST_EDU_PROBE, /* (bar) -> its identification, or 0: it is not alive */
	GUEST_EDU_FACTORIAL, /* (bar, n) -> n! in 32 bits */
	GUEST_EDU_DMA,	     /* (bar, address, bytes, out of the device) -> 0 */
	GUEST_EDU_INTR,	     /* (bar, cause) -> the cause that the handler's side found */
	GUEST_CALLS,
};

#define GUEST_NOP_RESULT 0x600dull

/* What a page holds at an address after a pass: of good mixture, and never 0. */
static inline uint64_t
guest_word(uint64_t address, uint64_t pass)
{
	uint64_t x = address + pass * 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return (x ^ x >> 31) | 1;
}

/* What handlers saw. With `fixup` an exception returns there; below 16, it skips so many bytes. */
struct guest_events {
	uint64_t count;
	uint64_t fixup;
	struct {
		uint64_t vector;
		uint64_t error;
		uint64_t rip;
		uint64_t cr2;
		uint64_t rflags;
	} events[GUEST_EVENTS_MAX];
};

/* In the order in which guest64.S stores and loads them. */
struct guest_regs {
	uint64_t gpr[15]; /* RAX RBX RCX RDX RSI RDI RBP R8 .. R15 */
	uint64_t rsp;
	uint64_t rflags;
	uint64_t cr0, cr2, cr3, cr4, cr8;
	uint64_t dr0, dr1, dr2, dr3, dr6, dr7;
	uint64_t es, cs, ss, ds, fs, gs, ldtr, tr;
	uint64_t gdt_base, gdt_limit, idt_base, idt_limit;
	uint64_t efer, star, lstar, cstar, sfmask, kgs_base, fs_base, gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip, pat;
	uint64_t xmm0[2], xmm15[2];
};

#endif /* __ASSEMBLER__ */

#endif /* TESTS_KERNEL_GUEST_H */
