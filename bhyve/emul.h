/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * An instruction that touched what is no memory, carried out here: decoded by Zydis, done on a copy
 * of the registers. How memory is reached is the caller's: by hooks, so that tests need no machine.
 */

#ifndef BHYVE_EMUL_H
#define BHYVE_EMUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EMUL_INST_MAX 15

enum emul_mode {
	EMUL_REAL,	  /* 16-bit code */
	EMUL_PROTECTED16, /* likewise, with protection */
	EMUL_PROTECTED32,
	EMUL_LONG64,
};

/* In the order of their numbers in an instruction. */
enum emul_gpr {
	EMUL_RAX,
	EMUL_RCX,
	EMUL_RDX,
	EMUL_RBX,
	EMUL_RSP,
	EMUL_RBP,
	EMUL_RSI,
	EMUL_RDI,
	EMUL_R8, /* to R15 */
	EMUL_GPRS = 16,
};
enum emul_seg {
	EMUL_ES,
	EMUL_CS,
	EMUL_SS,
	EMUL_DS,
	EMUL_FS,
	EMUL_GS,
	EMUL_SEGS,
};

struct emul_cpu {
	enum emul_mode em_mode;
	uint64_t em_gpr[EMUL_GPRS];
	uint64_t em_rip;
	uint64_t em_rflags;
};

/*
 * Linear addresses. Each returns 0; EMUL_FAULT, the guest gets an exception and nothing else of
 * the instruction happens; or a negative errno. bytes: 1, 2, 4, 8.
 */
#define EMUL_FAULT 1
struct emul_ops {
	int (*eo_load)(void *arg, uint64_t gla, unsigned int bytes, uint64_t *value);
	int (*eo_store)(void *arg, uint64_t gla, unsigned int bytes, uint64_t value);
	/* Can all of it be stored? For instructions that load first: a fault comes before. */
	int (*eo_probe)(void *arg, uint64_t gla, unsigned int bytes);
	int (*eo_base)(void *arg, enum emul_seg seg, uint64_t *base);
	/* An SSE register, both halves. NULL: there are none. */
	int (*eo_xmm)(void *arg, unsigned int n, bool write, uint64_t value[2]);
	void *eo_arg;
};

/*
 * One instruction, and RIP behind it; of a repeated one as many rounds as EMUL_REP_MAX allows, and
 * RIP stays until the last. -EILSEQ no instruction; -EOPNOTSUPP one that is not known here; else
 * what a hook returned. Registers are unchanged unless it returns 0, but for rounds that were done.
 */
#define EMUL_REP_MAX 4096
int emul_run(struct emul_cpu *cpu, const uint8_t *inst, size_t bytes, const struct emul_ops *ops);

/* The instruction as text, for messages. */
void emul_text(const struct emul_cpu *cpu, const uint8_t *inst, size_t bytes, char *text,
	       size_t room);

#endif /* BHYVE_EMUL_H */
