/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A kernel with vmm.ko, as far as libvmm can see: behind the library's seam to the system, in this
 * process. Machines have segments with real bytes, maps, vCPUs with registers; each call refuses
 * what kmod/uapi/vmm.h says is refused. It runs no guest. What the module itself does is tested
 * where it runs (tests/kernel); here is tested what the library makes of it.
 */

#ifndef TESTS_LIBVMM_FAKE_KERNEL_H
#define TESTS_LIBVMM_FAKE_KERNEL_H

#include <stdbool.h>

#include "libvmm/libvmm.h"

/* What may be changed before, or between, calls. */
struct fk_world {
	bool fk_module;	    /* loaded */
	bool fk_permission; /* to open nodes */
	bool fk_ctl_permission;
	bool fk_virtualization; /* told by /proc/cpuinfo */
	unsigned int fk_abi;
	enum vmm_cpu_kind fk_kind;
	const char *fk_broken;	 /* what VMM_CHECK finds; NULL: nothing */
	const char *fk_dump;	 /* what VMM_DUMP says */
	struct vmm_exit fk_exit; /* how VMM_RUN ends */
};
extern struct fk_world fk;

/* Begins anew: a loaded module, no machine; the seam leads here. */
void fk_install(void);

/* The nth call of that number from now on (1: the next) fails with that errno. 0 ends it. */
void fk_fail(unsigned long cmd, unsigned int nth, int error);
/* The nth mmap of a node fails so. */
void fk_fail_mmap(unsigned int nth, int error);

/* Descriptors that are open; calls of that number since fk_install(). */
unsigned int fk_open_files(void);
unsigned int fk_calls(unsigned long cmd);
unsigned int fk_machines(void);

#endif /* TESTS_LIBVMM_FAKE_KERNEL_H */
