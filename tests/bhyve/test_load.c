/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Kernels into memory: images made here, good ones and such as no loader may believe; and Debian's
 * own, where it is installed.
 */

#define _GNU_SOURCE /* GLOB_TILDE */

#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define MIB (1ull << 20)
#define MEM_BYTES (32 * MIB)

static uint8_t *mem;
static uint64_t mem_bytes;
static uint8_t image[0x8000];
static struct load ld;

static void *
ptr(void *arg, uint64_t gpa, uint64_t len)
{
	(void)arg;
	return gpa + len <= mem_bytes ? mem + gpa : NULL;
}

static void
begin(void)
{
	mem_bytes = MEM_BYTES;
	mem = calloc(1, mem_bytes);
	memset(image, 0, sizeof(image));
	ld = (struct load){.ld_dma = {.dma_ptr = ptr}, .ld_low_bytes = MEM_BYTES, .ld_cmdline = ""};
}

static void
end(void)
{
	free(mem);
}

TestSuite(load, .init = begin, .fini = end);

static void
put16(size_t at, uint16_t v)
{
	memcpy(image + at, &v, sizeof(v));
}

static void
put32(size_t at, uint32_t v)
{
	memcpy(image + at, &v, sizeof(v));
}

static uint64_t
get(uint64_t gpa, size_t n)
{
	uint64_t v = 0;

	memcpy(&v, mem + gpa, n);
	return v;
}

static void
refused(size_t bytes, int error, const char *word)
{
	cr_assert_eq(load_kernel(&ld, image, bytes), error, "%s: %s", word, ld.ld_why);
	cr_assert(strstr(ld.ld_why, word) != NULL, "'%s' in '%s'", word, ld.ld_why);
}

/* ---- Linux ----------------------------------------------------------------------------------- */

#define LINUX_BYTES 0x3000u

/* Setup of two sectors, a kernel that wants to be at 16 MiB and needs 4 MiB. */
static void
make_linux(void)
{
	image[0x1f1] = 1;
	put16(0x1fe, 0xaa55);
	put16(0x200, 0x62eb);
	memcpy(image + 0x202, "HdrS", 4);
	put16(0x206, 0x020f);
	image[0x211] = 1;
	put32(0x22c, 0x7fffffff);
	put32(0x230, 0x200000);
	image[0x234] = 1;
	put16(0x236, 1);
	put32(0x238, 255);
	put32(0x258, 16 * MIB);
	put32(0x260, 4 * MIB);
	for (size_t i = 0x400; i < LINUX_BYTES; i++)
		image[i] = (uint8_t)(i * 7);
}

Test(load, linux_kernel)
{
	static const uint8_t initrd[] = "an initrd";

	make_linux();
	ld.ld_cmdline = "quiet";
	ld.ld_initrd = initrd;
	ld.ld_initrd_bytes = sizeof(initrd);
	ld.ld_rsdp = 0xf0000;
	cr_assert_eq(load_kernel(&ld, image, LINUX_BYTES), 0, "%s", ld.ld_why);
	cr_assert(ld.ld_long);
	cr_assert_eq(ld.ld_rip, 16 * MIB + 0x200);
	cr_assert_eq(ld.ld_rsi, LOAD_INFO);
	cr_assert_arr_eq(mem + 16 * MIB, image + 0x400, LINUX_BYTES - 0x400);
	cr_assert_eq(get(LOAD_INFO + 0x210, 1), 0xff, "an unknown loader");
	cr_assert_eq(get(LOAD_INFO + 0x218, 4), MEM_BYTES - 4096, "the initrd is at the top");
	cr_assert_eq(get(LOAD_INFO + 0x21c, 4), sizeof(initrd));
	cr_assert_str_eq((char *)mem + MEM_BYTES - 4096, "an initrd");
	cr_assert_eq(get(LOAD_INFO + 0x228, 4), LOAD_CMDLINE);
	cr_assert_str_eq((char *)mem + LOAD_CMDLINE, "quiet");
	cr_assert_eq(get(LOAD_INFO + 0x70, 8), 0xf0000);
	cr_assert_eq(get(LOAD_INFO + 0x1e8, 1), 5, "entries of the map");
	cr_assert_eq(get(LOAD_INFO + 0x2d0 + 60, 8), MIB);
	cr_assert_eq(get(LOAD_INFO + 0x2d0 + 68, 8), MEM_BYTES - MIB);
	cr_assert_eq(get(LOAD_GDT + LOAD_SEL_CODE, 8), 0x00af9b000000ffffull);
}

Test(load, linux_is_told_of_a_framebuffer)
{
	make_linux();
	cr_assert_eq(load_kernel(&ld, image, LINUX_BYTES), 0, "%s", ld.ld_why);
	cr_assert_eq(get(LOAD_INFO + 0x0f, 1), 0, "there is none");
	ld.ld_fb_gpa = 0xc1000000;
	ld.ld_fb_bytes = 16 * MIB;
	ld.ld_fb_width = 800;
	ld.ld_fb_height = 600;
	cr_assert_eq(load_kernel(&ld, image, LINUX_BYTES), 0, "%s", ld.ld_why);
	cr_assert_eq(get(LOAD_INFO + 0x0f, 1), 0x23);
	cr_assert_eq(get(LOAD_INFO + 0x12, 6), 800 | 600ull << 16 | 32ull << 32);
	cr_assert_eq(get(LOAD_INFO + 0x18, 4), 0xc1000000);
	cr_assert_eq(get(LOAD_INFO + 0x1c, 4), 256);
	cr_assert_eq(get(LOAD_INFO + 0x24, 2), 3200);
	cr_assert_eq(get(LOAD_INFO + 0x26, 8), 0x1808000808081008ull);
}

/* With little memory it goes where there is some, if it can. */
Test(load, linux_moves)
{
	make_linux();
	ld.ld_low_bytes = 8 * MIB;
	cr_assert_eq(load_kernel(&ld, image, LINUX_BYTES), 0, "%s", ld.ld_why);
	cr_assert_eq(ld.ld_rip, 2 * MIB + 0x200);
	image[0x234] = 0;
	refused(LINUX_BYTES, -ENOSPC, "does not fit");
}

Test(load, linux_refused)
{
	static uint8_t initrd[2 * MIB];

	make_linux();
	refused(0x600, -EINVAL, "cut off");
	put16(0x206, 0x0209);
	refused(LINUX_BYTES, -EINVAL, "2.09");
	put16(0x206, 0x020f);
	put16(0x236, 0);
	refused(LINUX_BYTES, -EINVAL, "64-bit");
	put16(0x236, 1);
	ld.ld_low_bytes = 4 * MIB;
	refused(LINUX_BYTES, -ENOSPC, "does not fit");
	ld.ld_low_bytes = 8 * MIB;
	ld.ld_initrd = initrd;
	ld.ld_initrd_bytes = sizeof(initrd);
	cr_assert_eq(load_kernel(&ld, image, LINUX_BYTES), 0, "%s", ld.ld_why);
	ld.ld_initrd_bytes = 2 * MIB + 1;
	refused(LINUX_BYTES, -ENOSPC, "overlaps the kernel");
	ld.ld_initrd_bytes = 9 * MIB;
	refused(LINUX_BYTES, -ENOSPC, "initrd");
	ld.ld_initrd_bytes = 0;
	put32(0x238, 3);
	ld.ld_cmdline = "four";
	refused(LINUX_BYTES, -EINVAL, "command line");
	ld.ld_low_bytes = MIB;
	refused(LINUX_BYTES, -ENOSPC, "more than 1 MiB");
}

/* ---- ELF ------------------------------------------------------------------------------------- */

#define ELF_BYTES 0x2000u

/* A segment at 2 MiB with bss behind it, and the note. */
static Elf64_Phdr *
make_elf(void)
{
	static const Elf64_Nhdr note = {4, 4, 18};
	const uint32_t entry = 0x200010;
	Elf64_Ehdr *const eh = (Elf64_Ehdr *)image;
	Elf64_Phdr *const ph = (Elf64_Phdr *)(image + 0x40);

	memcpy(eh->e_ident, "\177ELF\2\1\1", 7);
	eh->e_machine = EM_X86_64;
	eh->e_phoff = 0x40;
	eh->e_phentsize = sizeof(*ph);
	eh->e_phnum = 2;
	ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
			     .p_offset = 0x1000,
			     .p_paddr = 2 * MIB,
			     .p_filesz = 0x800,
			     .p_memsz = 0x1800};
	ph[1] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = 0x200, .p_filesz = 20, .p_align = 4};
	memcpy(image + 0x200, &note, sizeof(note));
	memcpy(image + 0x20c, "Xen", 4);
	memcpy(image + 0x210, &entry, 4);
	memset(image + 0x1000, 0x5a, 0x1000);
	return ph;
}

Test(load, pvh)
{
	make_elf();
	memset(mem + 2 * MIB, 0xff, 0x2000);
	ld.ld_cmdline = "x";
	ld.ld_rsdp = 0xf0000;
	cr_assert_eq(load_kernel(&ld, image, ELF_BYTES), 0, "%s", ld.ld_why);
	cr_assert_not(ld.ld_long);
	cr_assert_eq(ld.ld_rip, 0x200010);
	cr_assert_eq(ld.ld_rbx, LOAD_INFO);
	cr_assert_eq(get(2 * MIB + 0x7ff, 1), 0x5a);
	cr_assert_eq(get(2 * MIB + 0x800, 1), 0, "bss");
	cr_assert_eq(get(2 * MIB + 0x17ff, 1), 0);
	cr_assert_eq(get(2 * MIB + 0x1800, 1), 0xff, "and nothing behind it");
	cr_assert_eq(get(LOAD_INFO, 4), 0x336ec578);
	cr_assert_eq(get(LOAD_INFO + 24, 8), LOAD_CMDLINE);
	cr_assert_eq(get(LOAD_INFO + 32, 8), 0xf0000);
	cr_assert_eq(get(LOAD_INFO + 40, 8), LOAD_MAP);
	cr_assert_eq(get(LOAD_INFO + 48, 4), 5);
	cr_assert_eq(get(LOAD_GDT + LOAD_SEL_CODE, 8), 0x00cf9b000000ffffull);
}

Test(load, elf_refused)
{
	Elf64_Ehdr *const eh = (Elf64_Ehdr *)image;
	Elf64_Phdr *const ph = make_elf();

	refused(0x30, -EINVAL, "cut off");
	refused(0x60, -EINVAL, "cut off");
	refused(0x1400, -EINVAL, "cut off within segment 0");
	ph[0].p_offset = ~0ull - 0x100;
	refused(ELF_BYTES, -EINVAL, "cut off");
	ph[0].p_offset = 0x1000;
	ph[0].p_memsz = 0x700;
	refused(ELF_BYTES, -EINVAL, "larger than its place");
	ph[0].p_memsz = 0x1800;
	ph[0].p_paddr = MEM_BYTES - 0x1000;
	refused(ELF_BYTES, -ENOSPC, "does not fit");
	ph[0].p_paddr = ~0ull - 0x100;
	refused(ELF_BYTES, -ENOSPC, "does not fit");
	ph[0].p_paddr = 0x9f000;
	refused(ELF_BYTES, -ENOSPC, "does not fit");
	ph[0].p_paddr = LOAD_INFO;
	refused(ELF_BYTES, -ENOSPC, "overlaps");
	ph[0].p_paddr = 2 * MIB;
	ph[1].p_type = PT_LOAD;
	ph[1].p_paddr = 2 * MIB + 0x1700;
	ph[1].p_memsz = 0x200;
	refused(ELF_BYTES, -ENOEXEC, "PVH");
	ph[1].p_type = PT_NOTE;
	ph[1].p_filesz = 16;
	refused(ELF_BYTES, -ENOEXEC, "PVH");
	ph[1].p_filesz = 20;
	put32(0x204, 0xffffffff);
	refused(ELF_BYTES, -ENOEXEC, "PVH");
	eh->e_machine = EM_AARCH64;
	refused(ELF_BYTES, -EINVAL, "another processor");
	eh->e_machine = EM_X86_64;
	eh->e_phnum = 0;
	refused(ELF_BYTES, -EINVAL, "program headers");
	memset(image, 0, sizeof(image));
	refused(ELF_BYTES, -ENOEXEC, "no kernel");
	refused(1, -ENOEXEC, "no kernel");
}

/* ---- Multiboot ------------------------------------------------------------------------------- */

static void
make_multiboot(uint32_t flags)
{
	put32(0x100, 0x1badb002);
	put32(0x104, flags);
	put32(0x108, -(0x1badb002 + flags));
	put32(0x10c, 0x200100); /* header_addr */
	put32(0x110, 0x200000); /* load_addr */
	put32(0x114, 0x201000); /* load_end_addr */
	put32(0x118, 0x202000); /* bss_end_addr */
	put32(0x11c, 0x200200); /* entry_addr */
}

Test(load, multiboot)
{
	static const uint8_t module[] = "m";

	make_multiboot(1u << 16 | 3);
	ld.ld_cmdline = "hello";
	ld.ld_initrd = module;
	ld.ld_initrd_bytes = sizeof(module);
	cr_assert_eq(load_kernel(&ld, image, 0x1000), 0, "%s", ld.ld_why);
	cr_assert_eq(ld.ld_rax, 0x2badb002);
	cr_assert_eq(ld.ld_rip, 0x200200);
	cr_assert_eq(get(2 * MIB + 0x100, 4), 0x1badb002);
	cr_assert_eq(get(LOAD_INFO, 4), 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
	cr_assert_eq(get(LOAD_INFO + 8, 4), (MEM_BYTES - MIB) / 1024);
	cr_assert_str_eq((char *)mem + get(LOAD_INFO + 16, 4), "hello");
	cr_assert_eq(get(LOAD_INFO + 20, 4), 1);
	cr_assert_eq(get(get(LOAD_INFO + 24, 4), 4), MEM_BYTES - 4096);
	cr_assert_eq(get(LOAD_INFO + 44, 4), 5 * 24);
	cr_assert_eq(get(get(LOAD_INFO + 48, 4), 4), 20);
}

Test(load, multiboot_elf)
{
	make_elf();
	put32(0x300, 0x1badb002);
	put32(0x308, -0x1badb002u);
	((Elf64_Ehdr *)image)->e_entry = 0x200020;
	cr_assert_eq(load_kernel(&ld, image, ELF_BYTES), 0, "%s", ld.ld_why);
	cr_assert_eq(ld.ld_rip, 0x200020);
	((Elf64_Ehdr *)image)->e_entry = 1ull << 40;
	refused(ELF_BYTES, -EINVAL, "beyond 4 GiB");
}

Test(load, multiboot_refused)
{
	make_multiboot(1u << 16 | 8);
	refused(0x1000, -EINVAL, "0x8");
	make_multiboot(1u << 16 | 4);
	refused(0x1000, -EINVAL, "video");
	make_multiboot(0);
	refused(0x1000, -EINVAL, "no ELF");
	make_multiboot(1u << 16);
	refused(0x110, -EINVAL, "cut off");
	refused(0xf00, -EINVAL, "cut off");
	put32(0x110, 0x200180);
	refused(0x1000, -EINVAL, "addresses");
	put32(0x110, 0x1fff00);
	refused(0x1000, -EINVAL, "addresses");
	make_multiboot(1u << 16);
	put32(0x118, 0x200800);
	refused(0x1000, -EINVAL, "bss");
	put32(0x118, 0xffffffff);
	refused(0x1000, -ENOSPC, "does not fit");
}

/* ---- A real one ------------------------------------------------------------------------------ */

Test(load, debian)
{
	uint8_t *file;
	long bytes;
	FILE *in;
	glob_t g;

	/* Installed, or what the emulated machines boot. */
	if (glob("/boot/vmlinuz-*", 0, NULL, &g) != 0 &&
	    glob("~/.cache/skep/linux-*/vmlinuz", GLOB_TILDE, NULL, &g) != 0)
		cr_skip_test("no kernel is installed");
	in = fopen(g.gl_pathv[0], "rb");
	globfree(&g);
	if (in == NULL)
		cr_skip_test("the kernel cannot be read");
	fseek(in, 0, SEEK_END);
	bytes = ftell(in);
	rewind(in);
	file = malloc((size_t)bytes);
	cr_assert_eq(fread(file, 1, (size_t)bytes, in), (size_t)bytes);
	fclose(in);
	free(mem);
	mem_bytes = ld.ld_low_bytes = 256 * MIB;
	mem = calloc(1, mem_bytes);
	cr_assert_eq(load_kernel(&ld, file, (size_t)bytes), 0, "%s", ld.ld_why);
	cr_assert(ld.ld_long);
	cr_assert_eq(get(LOAD_INFO + 0x202, 4), 0x53726448, "its header went along");
	free(file);
}
