/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What emul.c reaches in its tests: an array for memory, which counts how it is reached.
 */

#ifndef TESTS_BHYVE_EMUL_RIG_H
#define TESTS_BHYVE_EMUL_RIG_H

#include "emul.h"

#define MEM_BYTES 0x4000u
#define CF 0x001u
#define PF 0x004u
#define AF 0x010u
#define ZF 0x040u
#define SF 0x080u
#define DF 0x400u
#define OF 0x800u
#define ALL (CF | PF | AF | ZF | SF | OF)

extern uint8_t mem[MEM_BYTES];
extern uint64_t bases[EMUL_SEGS];
extern unsigned int loads, stores, probes;
extern uint64_t no_write_from; /* stores at or above fault */
extern uint64_t xmms[16][2];
extern const struct emul_ops ops;

/* As it is before a test. */
void emul_rig_begin(void);

#endif /* TESTS_BHYVE_EMUL_RIG_H */
