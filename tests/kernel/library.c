/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * libvmm over the real module: memory set up by several programs, what is mapped here against what
 * the guest sees, boot tables of every page size that a guest runs on, and the example. What the
 * library makes of refusals is tested without a kernel (tests/libvmm).
 */

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define MEMORY (64 * MIB)
#define TABLES (1 * MIB)
#define CODE (2 * MIB)
#define STACK_TOP (4 * MIB)

/* mov rax, [rdi]; mov [rsi], rax; hlt */
static const unsigned char copy_word[] = {0x48, 0x8b, 0x07, 0x48, 0x89, 0x06, 0xf4};

#define SURE(call) KT_CHECK((call) == 0, "%s: %s", #call, vmm_errmsg())

static void
setup_twice(void)
{
	struct kt_vm *const vm = kt_create(0);
	struct vmctx *const other = vm_open(vm->name);
	char *here, *there;
	uint64_t gpa;

	KT_CHECK(other != NULL, "%s", vmm_errmsg());
	SURE(vm_set_lowmem_limit(vm->ctx, MEMORY / 2));
	SURE(vm_setup_memory(vm->ctx, MEMORY, VM_MMAP_ALL));
	SURE(vm_setup_memory(vm->ctx, MEMORY, VM_MMAP_ALL));
	KT_ERR(vm_setup_memory(other, MEMORY, VM_MMAP_ALL), EEXIST);
	KT_CHECK(strstr(vmm_errmsg(), "low memory of another size"), "%s", vmm_errmsg());
	SURE(vm_set_lowmem_limit(other, MEMORY / 2));
	KT_ERR(vm_setup_memory(other, MEMORY / 2, VM_MMAP_ALL), EEXIST);
	KT_CHECK(strstr(vmm_errmsg(), "another length"), "%s", vmm_errmsg());
	SURE(vm_setup_memory(other, MEMORY, VM_MMAP_ALL));

	/* One memory, seen by both, in low and in high memory; and no hole in the segment. */
	here = vm_map_gpa(vm->ctx, MEMORY / 2 - PAGE, PAGE);
	there = vm_map_gpa(other, MEMORY / 2 - PAGE, PAGE);
	KT_TRUE(here && there && here != there);
	strcpy(here, "low");
	KT_TRUE(strcmp(there, "low") == 0);
	here = vm_map_gpa(vm->ctx, VM_HIGHMEM_BASE, MEMORY / 2);
	strcpy(here, "high");
	KT_TRUE(strcmp(vm_map_gpa(other, VM_HIGHMEM_BASE, 5), "high") == 0);
	KT_OK(vm_rev_map_gpa(vm->ctx, here, &gpa));
	KT_EQ(gpa, VM_HIGHMEM_BASE);
	KT_EQ(kt_peek(vm, VM_HIGHMEM_BASE) & 0xffffffff, 0x68676968); /* "high" */
	vm_close(other);
	kt_finish(vm);
}

/* A touch of a guard ends the process that touches; of memory it does not. */
static bool
touch_kills(volatile char *at)
{
	const pid_t child = fork();
	int status;

	KT_TRUE(child >= 0);
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		*at = 1;
		_exit(0);
	}
	KT_EQ(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static void
guards(void)
{
	struct kt_vm *const vm = kt_create(0);
	char *at, *rom;

	SURE(vm_setup_memory(vm->ctx, MEMORY, VM_MMAP_ALL));
	at = vm_map_gpa(vm->ctx, 0, MEMORY);
	KT_TRUE(at != NULL);
	KT_TRUE(touch_kills(at - 1) && touch_kills(at + MEMORY));
	KT_TRUE(!touch_kills(at) && !touch_kills(at + MEMORY - 1));
	rom = vm_create_devmem(vm->ctx, VM_BOOTROM, "bootrom", 4 * PAGE);
	KT_CHECK(rom != MAP_FAILED, "%s", vmm_errmsg());
	KT_TRUE(touch_kills(rom - 1) && touch_kills(rom + 4 * PAGE));
	strcpy(rom, "boot");
	SURE(vm_mmap_memseg(vm->ctx, GIB, VM_BOOTROM, 0, 4 * PAGE, VMM_PROT_READ | VMM_PROT_EXEC,
			    0));
	KT_EQ(kt_peek(vm, GIB), 0x746f6f62); /* "boot" */
	kt_finish(vm);
}

/* A guest that runs on them reads and writes by them. */
static void
boots_with(uint64_t page_bytes, uint64_t map_bytes)
{
	const struct vm_boot_cfg cfg = {.tables_gpa = TABLES,
					.room_bytes = CODE - TABLES,
					.map_bytes = map_bytes,
					.page_bytes = page_bytes};
	const enum vmm_reg regs[] = {VMM_REG_RDI, VMM_REG_RSI};
	const uint64_t values[] = {32 * MIB, MEMORY - 8};
	struct kt_vm *const vm = kt_create(0);
	struct vcpu *const vcpu = vm_vcpu_open(vm->ctx, 0);
	uint64_t cr3, gpa;
	struct vmm_exit exit;
	int fault;

	SURE(vm_setup_memory(vm->ctx, MEMORY, VM_MMAP_ALL));
	SURE(vm_boot_tables(vm->ctx, &cfg, &cr3, NULL));
	memcpy(vm_map_gpa(vm->ctx, CODE, sizeof(copy_word)), copy_word, sizeof(copy_word));
	kt_poke(vm, 32 * MIB, 0x1122334455667788);
	SURE(vm_activate_cpu(vcpu));
	SURE(vm_setup_long_mode(vcpu, CODE, STACK_TOP, cr3));
	SURE(vm_set_register_set(vcpu, 2, regs, values));
	SURE(vm_run(vcpu, &exit));
	KT_CHECK(exit.code == VMM_EXIT_HLT, "%s", kt_exit_text(&exit));
	KT_EQ(kt_peek(vm, MEMORY - 8), 0x1122334455667788);
	SURE(vm_gla2gpa_nofault(vcpu, MEMORY - 8, VMM_PROT_WRITE, &gpa, &fault));
	KT_TRUE(fault == 0 && gpa == MEMORY - 8);
	SURE(vm_gla2gpa_nofault(vcpu, map_bytes, VMM_PROT_READ, &gpa, &fault));
	KT_EQ(fault, 1);
	kt_finish(vm);
}

static void
boot_tables(void)
{
	boots_with(PAGE, MEMORY);
	boots_with(SUPER, MEMORY);
}

static void
example(void)
{
	char text[200] = "";
	FILE *const out = popen("/tests/first_vm 2>&1", "r");
	size_t n;

	KT_TRUE(out != NULL);
	n = fread(text, 1, sizeof(text) - 1, out);
	text[n] = '\0';
	KT_CHECK(pclose(out) == 0, "first_vm: %s", text);
	KT_CHECK(strcmp(text, "the guest says 42\nthe guest halted at 0x20000f\n") == 0, "%s",
		 text);
}

static const struct kt_case cases[] = {
	{"setup-twice", setup_twice, 0},
	{"guards", guards, 0},
	{"boot-tables", boot_tables, 0},
	{"example", example, 0},
};
KT_MAIN(cases)
