/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Linked with vmmctl: before main() a fake kernel is put behind libvmm, with one machine, "testvm".
 * SKEP_FAKE names what is different, in words: see below.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fake_kernel.h"

#define MIB (1ull << 20)

static bool
wants(const char *word)
{
	const char *const text = getenv("SKEP_FAKE");

	return text && strcmp(text, word) == 0;
}

/* 3 by 2 pixels: red, green, blue, and the same in the other order. */
static void
draw(struct vmctx *ctx)
{
	static const uint32_t lines[2][3] = {{0xff0000, 0x00ff00, 0x0000ff},
					     {0x0000ff, 0x00ff00, 0xff0000}};
	const struct vm_framebuffer mode = {
		.fb_magic = VM_FRAMEBUFFER_MAGIC,
		.fb_width = 3,
		.fb_height = wants("framebuffer") ? 2 : 1 << 20,
		.fb_stride_bytes = 64,
	};
	uint8_t *const memory = vm_create_devmem(ctx, VM_FRAMEBUFFER, VM_FRAMEBUFFER_NAME,
						 VM_FRAMEBUFFER_BYTES + VM_FRAMEBUFFER_MODE_BYTES);

	if (memory == MAP_FAILED)
		abort();
	memcpy(memory, lines[0], sizeof(lines[0]));
	memcpy(memory + 64, lines[1], sizeof(lines[1]));
	memcpy(memory + VM_FRAMEBUFFER_BYTES, &mode, sizeof(mode));
}

static void
make_machine(void)
{
	struct vmctx *const ctx =
		vm_openf("testvm", &(struct vm_open_opts){.flags = VMMAPI_OPEN_CREATE,
							  .mem_limit_bytes = 64 * MIB});
	struct vcpu *const vcpu = vm_vcpu_open(ctx, 0);

	if (!ctx || !vcpu || vm_setup_memory(ctx, 8 * MIB, VM_MMAP_NONE) ||
	    vm_alloc_memseg(ctx, VM_BOOTROM, 0x4000, "bootrom") ||
	    vm_mmap_memseg(ctx, 0xffffc000, VM_BOOTROM, 0, 0x4000, VMM_PROT_READ | VMM_PROT_EXEC,
			   0) ||
	    vm_activate_cpu(vcpu))
		abort();
	for (uint32_t reg = 0; reg < VMM_REG_COUNT; reg++) {
		if (vm_set_register(vcpu, reg, 0x1000 + reg))
			abort();
	}
	if (wants("framebuffer") || wants("bad-framebuffer"))
		draw(ctx);
	vm_close(ctx);
}

/* As a guest's tables look: each page is somewhere else. Half of them were not accessed. */
static const char *
scattered_dump(void)
{
	char *text;
	size_t bytes;
	FILE *const out = open_memstream(&text, &bytes);

	if (out == NULL)
		abort();
	fputs("0x0 table 0x100000 level 1\n  0x200000 table 0x101000 level 0\n", out);
	for (int i = 0; i < 256; i++)
		fprintf(out, "    0x%x -> 0x%x 4K x 1 rwx WB %s\n", 0x200000 + i * 0x1000,
			0x9000000 - i * 0x3000, i < 128 ? "AM" : "--");
	if (fclose(out) != 0)
		abort();
	return text;
}

static void __attribute__((constructor)) preset(void)
{
	fk_install();
	make_machine();
	fk.fk_exit = (struct vmm_exit){.code = VMM_EXIT_HLT, .inst_bytes = 1, .rip = 0xfff0};
	fk.fk_dump = "0x0 table 0x100000 level 3\n"
		     "  0x0 table 0x101000 level 2\n"
		     "    0x0 table 0x102000 level 1\n"
		     "      0x0 -> 0x40000000 2M x 3 rwx WB AM\n"
		     "      0x600000 table 0x103000 level 0\n"
		     "        0x600000 -> 0x7000000 4K x 5 r-- WB A-\n"
		     "        0x605000 -> 0x9000000 4K x 1 rw- UC -- wired\n";
	if (wants("scattered"))
		fk.fk_dump = scattered_dump();
	if (wants("bad-dump"))
		fk.fk_dump = "0x0 table 0x100000 level 1\n  0x40000000 -> 0x0 2M x 1 rwx WB --\n";
	fk.fk_kind = wants("svm") ? VMM_CPU_SVM : VMM_CPU_VTX;
	fk.fk_module = !wants("no-module") && !wants("no-virtualization");
	fk.fk_virtualization = !wants("no-virtualization");
	fk.fk_permission = !wants("no-permission");
	fk.fk_abi = wants("other-version") ? 99 : VMM_ABI_VERSION;
	fk.fk_broken = wants("broken") ? "I05 at 0x1000" : NULL;
}
