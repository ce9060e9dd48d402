/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A first machine with libvmm: makes it, gives it memory and page tables, puts a few instructions
 * there, runs them in 64-bit mode, and prints how that ended. The machine ends with the program.
 *
 *	first_vm		prints "the guest says 42", then "the guest halted"
 *
 * It needs vmm.ko; `./dev boot --shell` starts a machine that has it, on any computer.
 */

#include <stdio.h>
#include <string.h>

#include "libvmm/libvmm.h"

#define MIB (1ull << 20)
#define MEMORY (16 * MIB)
#define TABLES (1 * MIB)
#define CODE (2 * MIB)
#define STACK_TOP (4 * MIB)
#define PORT 0x80

static const unsigned char code[] = {
	0xb8, 6,    0,	  0, 0, /* mov eax, 6 */
	0xbb, 7,    0,	  0, 0, /* mov ebx, 7 */
	0x0f, 0xaf, 0xc3,	/* imul eax, ebx */
	0xe7, PORT,		/* out PORT, eax */
	0xf4,			/* hlt */
};

/* Memory, tables that map all of it to itself, the code; and a vCPU that begins there. */
static struct vcpu *
prepare(struct vmctx *ctx)
{
	const struct vm_boot_cfg tables = {.tables_gpa = TABLES,
					   .room_bytes = CODE - TABLES,
					   .map_bytes = MEMORY,
					   .page_bytes = 2 * MIB};
	struct vcpu *const vcpu = vm_vcpu_open(ctx, 0);
	uint64_t cr3;

	if (!vcpu || vm_setup_memory(ctx, MEMORY, VM_MMAP_ALL) ||
	    vm_boot_tables(ctx, &tables, &cr3, NULL))
		return NULL;
	memcpy(vm_map_gpa(ctx, CODE, sizeof(code)), code, sizeof(code));
	if (vm_activate_cpu(vcpu) || vm_setup_long_mode(vcpu, CODE, STACK_TOP, cr3))
		return NULL;
	return vcpu;
}

/* Until the guest halts; what else it might do is an error. */
static int
run(struct vcpu *vcpu)
{
	struct vmm_exit exit;

	for (;;) {
		if (vm_run(vcpu, &exit))
			return -1;
		if (exit.code == VMM_EXIT_HLT) {
			printf("the guest halted at 0x%llx\n", (unsigned long long)exit.rip);
			return 0;
		}
		if (exit.code != VMM_EXIT_INOUT || exit.u.inout.in || exit.u.inout.port != PORT) {
			printf("unexpected: %s\n", vm_exit_name(exit.code));
			return -1;
		}
		printf("the guest says %u\n", exit.u.inout.eax);
	}
}

int
main(void)
{
	const struct vm_open_opts opts = {.flags = VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE |
						   VMMAPI_OPEN_EXCLUSIVE};
	struct vmctx *const ctx = vm_openf("first-vm", &opts);
	struct vcpu *const vcpu = ctx ? prepare(ctx) : NULL;
	const int error = vcpu ? run(vcpu) : -1;

	if (error)
		fprintf(stderr, "first_vm: %s\n", vmm_errmsg());
	vm_close(ctx);
	return error ? 1 : 0;
}
