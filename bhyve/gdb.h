/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * -G: a guest under gdb. gdb.c speaks the remote protocol, gdb_cpu.c stops vCPUs, lets them go, and
 * keeps breakpoints.
 */

#ifndef BHYVE_GDB_H
#define BHYVE_GDB_H

#include "machine.h"

/* conf: "[w][address:]port"; w waits for gdb before the guest's first instruction. Before vCPUs'
 * threads. 0, or -1 after a sentence. */
int gdb_start(struct machine *ma, const char *conf);
void gdb_stop(void);

/* ---- Of a vCPU's own thread ------------------------------------------------------------------ */

/* Before each run: waits here while the machine is stopped. */
void gdb_check(struct machine_cpu *mc);
/* It will not run any more. */
void gdb_gone(struct machine_cpu *mc);
/* BPT or MTRAP ended a run: true if that was gdb's doing. */
bool gdb_exit(struct machine_cpu *mc, const struct vmm_exit *exit);

/* ---- Between the files: the protocol's thread ------------------------------------------------ */

/* fd: written to when a vCPU stopped by itself. */
int gdb_cpu_init(struct machine *ma, int event_fd, bool stopped);
/* Which vCPU stopped last by itself. */
int gdb_cpu_which(void);
/* All vCPUs stand when it returns. */
void gdb_cpu_stop_all(void);
void gdb_cpu_go(void);
/* One instruction of one vCPU; an event will come. -errno. */
int gdb_cpu_step(int cpu);
/* A byte is put over the guest's, or taken away. -errno. */
int gdb_cpu_break(int cpu, uint64_t gla, bool on);
void gdb_cpu_break_none(void);
/* The guest's memory as that vCPU sees it: how many bytes could be copied. */
size_t gdb_cpu_memory(int cpu, uint64_t gla, void *buf, size_t n, bool write);
/* vCPUs go on, and never stop again. */
void gdb_cpu_off(void);

#endif /* BHYVE_GDB_H */
