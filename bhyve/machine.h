/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The one machine of this process: what it consists of, and how it ends.
 *
 * Whoever decides that it is over (a guest that powers off, a device, an error, a signal) calls
 * machine_end(): the first one's exit status counts, all vCPUs leave, and the main thread, which
 * waits for that, takes everything down.
 */

#ifndef BHYVE_MACHINE_H
#define BHYVE_MACHINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "libvmm/libvmm.h"

/* What bhyve exits with, beside values written to a debug-exit port. */
enum {
	END_REBOOT = 0,
	END_POWEROFF = 1,
	END_HALT = 2,
	END_TRIPLE_FAULT = 3,
	END_ERROR = 4,
};

struct machine_cpu {
	struct machine *mc_machine;
	struct vcpu *mc_vcpu;
	int mc_id;
	int mc_host_cpu; /* -1: any */
	bool mc_started;
	pthread_t mc_thread;
};

struct machine {
	struct vmctx *ma_ctx;
	unsigned int ma_ncpus;
	struct machine_cpu ma_cpus[VMM_MAXCPU];
	bool ma_strict_msr; /* #GP for unknown ones */
	bool ma_strict_io;  /* the machine ends at unknown ports */
	bool ma_pause_exit;
	bool ma_msix;			   /* devices have it */
	uint64_t ma_rom_gpa, ma_rom_bytes; /* bytes 0: no boot ROM */
	pthread_t ma_main;
	int ma_status; /* -1: it is not over */
};

/* bhyve's own messages: a line on the standard error stream, on its left edge even if a terminal is
 * in raw mode. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Each returns 0, or -1 after a sentence. */
int machine_create(struct machine *ma, struct config *config, const char *name);
int machine_load(struct machine *ma, struct config *config);
int machine_start(struct machine *ma);
/* Sleeps until it is over; the exit status. */
int machine_wait(struct machine *ma);
/* Takes down what there is of it, after any of the above. */
void machine_destroy(struct machine *ma);

/* May be called by any thread, any number of times. */
void machine_end(struct machine *ma, int status);

/* exits.c: a vCPU's life. arg is its struct machine_cpu. */
void *vcpu_loop(void *arg);

/* mmio.c: carries out the instruction that ended VMM_RUN with MMIO, or wrote to a ROM. 0, or -1
 * after a sentence. */
int mmio_exit(struct machine *ma, struct vcpu *vcpu, const struct vmm_exit *exit);

/* entry.c: how vCPU 0 begins. */
struct load;
int entry_set(struct vmctx *ctx, struct vcpu *vcpu, const struct load *ld);

#endif /* BHYVE_MACHINE_H */
