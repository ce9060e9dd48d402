/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What tests inside an emulated machine are written with. A harness of our own: Criterion wants
 * more of a system than the machine has, and a test of a kernel module needs what it does not give:
 * an end in bounded time whatever the kernel does, and proof that nothing is left behind.
 *
 * A program is a table of cases. Each case runs in a process of its own; what fails ends that
 * process. Machines are destroyed when their file is closed, so nothing of a case survives it, and
 * the harness asserts that: before a case passes, each of its machines was verified by a full walk
 * (VMM_CHECK) and destroyed, and hw.vmm.mem_free is what it was.
 *
 * Machines are driven through libvmm, but for what it does not let through: what is wrong.
 *
 *	PROGRAM [CASE...]	runs all cases, or those; a line each on stdout: "pass CASE",
 *				"fail CASE: why", "n/a CASE: why". Exit: 0 none failed, 1 some did
 *	PROGRAM --list		names of cases
 */

#ifndef TESTS_KERNEL_HARNESS_H
#define TESTS_KERNEL_HARNESS_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/guest.h"
#include "kmod/uapi/vmm.h"
#include "libvmm/libvmm.h"

#define KIB 1024ull
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define PAGE 4096ull
#define SUPER (2 * MIB)

/* ---- Cases ----------------------------------------------------------------------------------- */

struct kt_case {
	const char *name;
	void (*run)(void);
	unsigned int seconds; /* after which it is taken to hang; 0: 120 */
};

/* What main() is: never returns. */
_Noreturn void kt_main(int argc, char **argv, const struct kt_case *cases, size_t count);
#define KT_MAIN(cases)                                                          \
	int main(int argc, char **argv)                                         \
	{                                                                       \
		kt_main(argc, argv, cases, sizeof(cases) / sizeof((cases)[0])); \
	}

/* Both end the case. A case is n/a where the machine lacks what it needs. */
_Noreturn void kt_fail(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
_Noreturn void kt_not_applicable(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line for whoever reads the log; no verdict. */
void kt_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define KT_FAIL(...) kt_fail(__FILE__, __LINE__, __VA_ARGS__)
#define KT_CHECK(what, ...)                   \
	do {                                  \
		if (!(what))                  \
			KT_FAIL(__VA_ARGS__); \
	} while (0)
#define KT_TRUE(what) KT_CHECK(what, "not so: %s", #what)
#define KT_EQ(a, b) kt_eq(__FILE__, __LINE__, #a, (uint64_t)(a), #b, (uint64_t)(b))
/* 0 of a call that answers with a negative errno; and the error that is expected of one. */
#define KT_OK(call) kt_result(__FILE__, __LINE__, #call, (call), 0)
#define KT_ERR(call, error) kt_result(__FILE__, __LINE__, #call, (call), -(error))

void kt_eq(const char *file, int line, const char *a_text, uint64_t a, const char *b_text,
	   uint64_t b);
void kt_result(const char *file, int line, const char *text, int result, int expected);

/* ---- The machine we run on ------------------------------------------------------------------- */

struct kt_platform {
	enum vmm_cpu_kind kind;
	bool hardware_ad; /* A and D of nested tables are set by hardware */
	bool superpages;  /* in use for nested tables */
	bool exec_only;
	unsigned int cpus;
	unsigned int maxcpu;
};
const struct kt_platform *kt_platform(void);

/* hw.vmm.NAME, "ept/use_superpages" for one further down. Fails the case if there is none. */
uint64_t kt_sysctl(const char *name);
int kt_sysctl_write(const char *name, const char *text);

uint64_t kt_now_ms(void);
uint64_t kt_now_ns(void);
void kt_sleep_ms(unsigned int ms);
void kt_sleep_us(unsigned int us);
void kt_run_on_cpu(unsigned int cpu); /* the calling thread */
/* A number out of a file of /proc or /sys: the first after `key` ("" the first). -1: none. */
int64_t kt_number_in(const char *path, const char *key);

/* ---- Virtual machines ------------------------------------------------------------------------ */

struct kt_vm;

struct kt_cpu {
	struct kt_vm *vm;
	struct vcpu *vcpu;
	int id;
	pthread_t thread; /* of kt_start() */
	bool started;
	uint64_t result;
	struct vmm_exit exit; /* the last */
};

struct kt_vm {
	char name[VMM_NAME_BYTES];
	struct vmctx *ctx; /* when it is closed, the machine is destroyed */
	int ctl;	   /* /dev/vmmctl, for calls as they are; so the next */
	int fd;		   /* /dev/vmm/NAME */
	unsigned int ncpus;
	struct kt_cpu cpus[VMM_MAXCPU];
	struct kt_vm *next;
};

/* Of which limit: bytes, or 0. No memory, no vCPU. Fails the case if it cannot be made. */
struct kt_vm *kt_create(uint64_t mem_limit_bytes);
/* The usual machine: the guest's program at its place in segment 0, and `ncpus` in long mode. */
struct kt_vm *kt_boot(unsigned int ncpus, uint64_t mem_limit_bytes);
/* The same with a PC's interrupt and timer hardware; flags: VMM_PLATFORM_*. */
struct kt_vm *kt_boot_pc(unsigned int ncpus, unsigned int flags);
/* Makes a vCPU exist, as after a reset. */
struct kt_cpu *kt_activate(struct kt_vm *vm, int id);
/* Verifies, then destroys. What a case leaves is finished after it. */
void kt_finish(struct kt_vm *vm);
void kt_check(struct kt_vm *vm);
/* Forgets one that is gone already. */
void kt_forget(struct kt_vm *vm);

/* Opens a node of its name; /dev/vmm/NAME.SEG for a segment's. Negative errno. */
int kt_open_node(const struct kt_vm *vm, const char *segment);

/* Calls as they are, beside libvmm: 0 or a negative errno. */
int kt_ioctl(int fd, unsigned long cmd, void *arg);
int kt_ctl(unsigned long cmd, void *arg); /* of /dev/vmmctl, opened for this one call */

/* ---- Memory ---------------------------------------------------------------------------------- */

#define KT_LOW_IDENT 0
#define KT_MEM_IDENT 1
#define KT_MEM 0x1000000ull /* where tests put their memory */
#define KT_RWX (VMM_PROT_READ | VMM_PROT_WRITE | VMM_PROT_EXEC)
#define KT_RW (VMM_PROT_READ | VMM_PROT_WRITE)

int kt_seg(struct kt_vm *vm, int ident, uint64_t bytes, const char *name);
/* As the module answers, for libvmm is content if it is there already. */
int kt_seg_anew(struct kt_vm *vm, int ident, uint64_t bytes, const char *name);
int kt_map(struct kt_vm *vm, uint64_t gpa, int ident, uint64_t offset, uint64_t bytes,
	   unsigned int prot, unsigned int flags);
int kt_unmap(struct kt_vm *vm, uint64_t gpa, uint64_t bytes);
int kt_protect(struct kt_vm *vm, uint64_t gpa, uint64_t bytes, unsigned int prot);
int kt_range(struct kt_vm *vm, unsigned long cmd, uint64_t gpa, uint64_t bytes);
/* Segment KT_MEM_IDENT of so many bytes, all of it at KT_MEM, RWX. */
void kt_memory(struct kt_vm *vm, uint64_t bytes);

/* By the node's read and write; all of it, or a negative errno. */
int kt_read(struct kt_vm *vm, uint64_t gpa, void *to, size_t bytes);
int kt_write(struct kt_vm *vm, uint64_t gpa, const void *from, size_t bytes);
/* Maps a node: of the machine (segment NULL; offset: gpa), or of a segment. Fails the case. */
void *kt_mmap(struct kt_vm *vm, const char *segment, uint64_t offset, size_t bytes, bool writable);
uint64_t kt_peek(struct kt_vm *vm, uint64_t gpa);
void kt_poke(struct kt_vm *vm, uint64_t gpa, uint64_t word);

struct vmm_accounts kt_accounts(struct kt_vm *vm);
struct vmm_page_info kt_page(struct kt_vm *vm, uint64_t gpa);
int kt_pageout(struct kt_vm *vm, uint64_t npages, unsigned int flags, uint64_t *done);
int kt_dirty(struct kt_vm *vm, enum vmm_dirty_op op, uint64_t gpa, uint64_t bytes, uint64_t *bits);
int kt_harvest(struct kt_vm *vm, unsigned int flags, uint64_t gpa, uint64_t bytes, uint64_t *bits,
	       uint64_t *found);
int kt_exec_control(struct kt_vm *vm, enum vmm_exec_op op);
/* A statistic by its description; of the machine with vcpu -1. Fails the case if there is none. */
uint64_t kt_stat(struct kt_vm *vm, int vcpu, const char *desc);

static inline bool
kt_bit(const uint64_t *bits, uint64_t n)
{
	return bits[n / 64] >> n % 64 & 1;
}

/* ---- vCPUs ----------------------------------------------------------------------------------- */

int kt_get_regs(struct kt_cpu *cpu, unsigned int n, const enum vmm_reg *regs, uint64_t *values);
int kt_set_regs(struct kt_cpu *cpu, unsigned int n, const enum vmm_reg *regs,
		const uint64_t *values);
uint64_t kt_reg(struct kt_cpu *cpu, enum vmm_reg reg);
void kt_set_reg(struct kt_cpu *cpu, enum vmm_reg reg, uint64_t value);
int kt_set_desc(struct kt_cpu *cpu, enum vmm_reg reg, uint64_t base, uint32_t limit,
		uint32_t access);
int kt_get_desc(struct kt_cpu *cpu, enum vmm_reg reg, struct vmm_desc *desc);
int kt_set_cap(struct kt_cpu *cpu, enum vmm_cap cap, uint64_t value);
int kt_inject(struct kt_cpu *cpu, enum vmm_event event, unsigned int vector, int64_t error_code);

/* 64-bit mode, as the guest's program wants it; interrupts on. */
void kt_long_mode(struct kt_cpu *cpu);
/* One of the other modes; code at GUEST_REAL and GUEST_CODE_32. */
void kt_real_mode(struct kt_cpu *cpu, uint16_t ds, uint16_t es);
void kt_protected_mode(struct kt_cpu *cpu, uint64_t cr3, bool pae);

/* One VMM_RUN, again after signals. exit in cpu->exit. 0, or a negative errno. */
int kt_run(struct kt_cpu *cpu);

/* Makes the next run begin with a call of the guest's function. */
void kt_prepare(struct kt_cpu *cpu, enum guest_call call, uint64_t a, uint64_t b, uint64_t c,
		uint64_t d);
/* Runs until the function has returned -> its result. Any other exit fails the case. */
uint64_t kt_go_on(struct kt_cpu *cpu);
uint64_t kt_call(struct kt_cpu *cpu, enum guest_call call, uint64_t a, uint64_t b, uint64_t c,
		 uint64_t d);
/* Runs to an exit of that code, which is in cpu->exit; any other fails the case. */
void kt_run_to(struct kt_cpu *cpu, enum vmm_exitcode code);
void kt_call_to(struct kt_cpu *cpu, enum vmm_exitcode code, enum guest_call call, uint64_t a,
		uint64_t b, uint64_t c, uint64_t d);

/* kt_call() in a thread of its own, until kt_join(). on_cpu -1: wherever. */
void kt_start(struct kt_cpu *cpu, int on_cpu, enum guest_call call, uint64_t a, uint64_t b,
	      uint64_t c, uint64_t d);
/* The same, to an exit of that code. */
void kt_start_to(struct kt_cpu *cpu, int on_cpu, enum vmm_exitcode code, enum guest_call call,
		 uint64_t a, uint64_t b, uint64_t c, uint64_t d);
uint64_t kt_join(struct kt_cpu *cpu);
/* Waits until a vCPU is inside the guest; or until a word of memory is not, or is, a value. */
void kt_wait_running(struct kt_cpu *cpu);
void kt_wait_word(struct kt_vm *vm, uint64_t gpa, uint64_t at_least);

const char *kt_exit_text(const struct vmm_exit *exit);

#endif /* TESTS_KERNEL_HARNESS_H */
