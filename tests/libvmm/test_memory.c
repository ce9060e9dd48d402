/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Memory: set up once and again, its guards, its edges in both directions, and which attribute is
 * named when something differs.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "fake_kernel.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define RWX (VMM_PROT_READ | VMM_PROT_WRITE | VMM_PROT_EXEC)

static struct vmctx *ctx;

static void
begin(void)
{
	fk_install();
	ctx = vm_openf("m", &(struct vm_open_opts){.flags = VMMAPI_OPEN_CREATE});
}

static void
end(void)
{
	vm_close(ctx);
}

TestSuite(memory, .init = begin, .fini = end);

static void
says(const char *what)
{
	cr_assert(strstr(vmm_errmsg(), what) != NULL, "'%s' is not in: %s", what, vmm_errmsg());
}

Test(memory, sizes_are_parsed_as_bhyve_does)
{
	static const struct {
		const char *text;
		int error;
		uint64_t bytes;
	} rows[] = {
		{"1", 0, MIB},
		{"512", 0, 512 * MIB},
		{"1048575", 0, 1048575 * MIB},
		{"1048576", 0, MIB},
		{"4096k", 0, 4 * MIB},
		{"1K", 0, 1024},
		{"64m", 0, 64 * MIB},
		{"3G", 0, 3 * GIB},
		{"1t", 0, 1024 * GIB},
		{"16777215T", 0, 16777215ull << 40},
		{"16777216T", -ERANGE, 0},
		{"99999999999999999999", -ERANGE, 0},
		{"0", -EINVAL, 0},
		{"0G", -EINVAL, 0},
		{"", -EINVAL, 0},
		{"G", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"1GB", -EINVAL, 0},
		{"1 G", -EINVAL, 0},
		{"1P", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t bytes = 0;

		cr_assert_eq(vm_parse_memsize(rows[i].text, &bytes), rows[i].error, "%s",
			     rows[i].text);
		cr_assert_eq(bytes, rows[i].bytes, "%s", rows[i].text);
	}
}

Test(memory, low_and_high_are_one_segment_without_a_hole)
{
	struct vmm_memmap map = {0};
	uint64_t len;

	cr_assert_eq(vm_setup_memory(ctx, 5 * GIB, VM_MMAP_ALL), 0);
	cr_assert_eq(vm_get_lowmem_size(ctx), 3 * GIB);
	cr_assert_eq(vm_get_highmem_size(ctx), 2 * GIB);
	cr_assert_eq(vm_get_highmem_base(ctx), 4 * GIB);
	cr_assert_eq(vm_get_memseg(ctx, VM_SYSMEM, &len, NULL), 0);
	cr_assert_eq(len, 5 * GIB);
	cr_assert_eq(vm_mmap_getnext(ctx, &map), 0);
	cr_assert(map.len_bytes == 3 * GIB && map.prot == RWX);
	map.gpa++;
	cr_assert_eq(vm_mmap_getnext(ctx, &map), 0);
	cr_assert(map.gpa == 4 * GIB && map.segoff_bytes == 3 * GIB);

	/* The first byte of high memory is the one behind low memory's last. */
	*(char *)vm_map_gpa(ctx, 4 * GIB, 1) = 'h';
	*(char *)vm_map_gpa(ctx, 3 * GIB - 1, 1) = 'l';
	cr_assert(vm_read_mem(ctx, 4 * GIB, &len, 1) == 0 && (char)len == 'h');
	cr_assert(vm_read_mem(ctx, 3 * GIB - 1, &len, 1) == 0 && (char)len == 'l');
	cr_assert_eq(vm_read_mem(ctx, 3 * GIB, &len, 1), -EFAULT, "the hole");
}

Test(memory, both_directions_at_every_edge)
{
	static const struct {
		uint64_t gpa, len;
		bool good;
	} rows[] = {
		{0, 0, true},
		{0, 1, true},
		{0, 3 * GIB, true},
		{0, 3 * GIB + 1, false},
		{3 * GIB - 1, 1, true},
		{3 * GIB - 1, 2, false},
		{3 * GIB, 0, false},
		{3 * GIB, 1, false},
		{4 * GIB - 1, 1, false},
		{4 * GIB - 1, 2, false},
		{4 * GIB, 1, true},
		{4 * GIB, GIB, true},
		{4 * GIB, GIB + 1, false},
		{5 * GIB - 1, 1, true},
		{5 * GIB, 1, false},
		{2 * GIB, 3 * GIB, false},
		{UINT64_MAX, 1, false},
		{1, UINT64_MAX, false},
		{4 * GIB, UINT64_MAX, false},
	};
	uint64_t gpa;
	char *base;

	cr_assert_eq(vm_setup_memory(ctx, 4 * GIB, VM_MMAP_ALL), 0);
	base = vm_map_gpa(ctx, 0, 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *const at = vm_map_gpa(ctx, rows[i].gpa, rows[i].len);

		cr_assert((at != NULL) == rows[i].good, "row %zu", i);
		cr_assert(!at || (at == base + rows[i].gpa && vm_rev_map_gpa(ctx, at, &gpa) == 0 &&
				  gpa == rows[i].gpa));
	}
	gpa = 7;
	cr_assert_eq(vm_rev_map_gpa(ctx, base - 1, &gpa), -EFAULT);
	cr_assert_eq(vm_rev_map_gpa(ctx, base + 3 * GIB, &gpa), -EFAULT, "end of low memory");
	cr_assert_eq(vm_rev_map_gpa(ctx, base + 4 * GIB - 1, &gpa), -EFAULT);
	cr_assert_eq(vm_rev_map_gpa(ctx, base + 5 * GIB, &gpa), -EFAULT);
	cr_assert_eq(vm_rev_map_gpa(ctx, &gpa, &gpa), -EFAULT);
	cr_assert_eq(gpa, 7, "untouched");
	cr_assert_eq(vm_rev_map_gpa(ctx, base + 3 * GIB - 1, &gpa), 0);
	cr_assert_eq(gpa, 3 * GIB - 1);
}

/* Rights of the mapping around an address, by the kernel's own account. */
static bool
is_guarded(const char *at)
{
	unsigned long start, stop;
	char line[512], prot[8];
	bool guarded = false;
	FILE *const maps = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %4s", &start, &stop, prot) == 3 &&
		    (unsigned long)at >= start && (unsigned long)at < stop)
			guarded = strcmp(prot, "---p") == 0;
	}
	fclose(maps);
	return guarded;
}

Test(memory, guards_lie_before_and_behind)
{
	char *base, *rom;

	cr_assert_eq(vm_setup_memory(ctx, 8 * MIB, VM_MMAP_ALL), 0);
	base = vm_map_gpa(ctx, 0, 8 * MIB);
	cr_assert_eq((uintptr_t)base % (2 * MIB), 0, "aligned for superpages");
	cr_assert(is_guarded(base - 1) && is_guarded(base - VM_GUARD_BYTES));
	cr_assert(!is_guarded(base) && !is_guarded(base + 8 * MIB - 1));
	cr_assert(is_guarded(base + 8 * MIB) && is_guarded(base + 8 * MIB + VM_GUARD_BYTES - 1));

	rom = vm_create_devmem(ctx, VM_BOOTROM, "bootrom", 2 * MIB);
	cr_assert(rom != MAP_FAILED && is_guarded(rom - 1) && !is_guarded(rom));
	cr_assert(!is_guarded(rom + 2 * MIB - 1) && is_guarded(rom + 2 * MIB));
}

Test(memory, is_set_up_twice_by_a_loader_and_by_who_comes_after)
{
	struct vmctx *const other = vm_open("m");
	void *at;

	cr_assert_eq(vm_setup_memory(ctx, 64 * MIB, VM_MMAP_ALL), 0);
	at = vm_map_gpa(ctx, 0, 1);
	memcpy(at, "loader", 7);
	cr_assert_eq(vm_setup_memory(ctx, 64 * MIB, VM_MMAP_ALL), 0);
	cr_assert(vm_map_gpa(ctx, 0, 1) == at, "pointers stay good");
	cr_assert_eq(vm_setup_memory(other, 64 * MIB, VM_MMAP_NONE), 0);
	cr_assert(vm_map_gpa(other, 0, 1) == NULL && errno == EFAULT);
	cr_assert_eq(vm_setup_memory(other, 64 * MIB, VM_MMAP_ALL), 0);
	cr_assert(strcmp(vm_map_gpa(other, 0, 7), "loader") == 0);
	vm_close(other);
}

Test(memory, that_differs_is_named)
{
	struct vmctx *const other = vm_open("m");
	struct vmctx *const third = vm_open("m");

	cr_assert_eq(vm_setup_memory(ctx, 64 * MIB, VM_MMAP_NONE), 0);
	cr_assert_eq(vm_setup_memory(other, 128 * MIB, VM_MMAP_ALL), -EEXIST);
	says("another length: 0x4000000 bytes, not 0x8000000");
	cr_assert_eq(vm_set_memflags(other, VM_MEM_F_WIRED), 0);
	cr_assert_eq(vm_setup_memory(other, 64 * MIB, VM_MMAP_ALL), -EEXIST);
	says("another wiring: pageable, not wired");
	cr_assert_eq(vm_set_lowmem_limit(third, 32 * MIB), 0);
	cr_assert_eq(vm_setup_memory(third, 64 * MIB, VM_MMAP_ALL), -EEXIST);
	says("low memory of another size");
	cr_assert_eq(vm_get_lowmem_size(other), 0, "nothing is half set up");
	vm_close(other);
	vm_close(third);
}

Test(memory, choices_come_before)
{
	cr_assert_eq(vm_set_lowmem_limit(ctx, 0), -EINVAL);
	cr_assert_eq(vm_set_lowmem_limit(ctx, MIB), -EINVAL);
	cr_assert_eq(vm_set_lowmem_limit(ctx, 4 * GIB + 2 * MIB), -EINVAL);
	cr_assert_eq(vm_set_memflags(ctx, 1), -EINVAL);
	cr_assert_eq(vm_set_lowmem_limit(ctx, 16 * MIB), 0);
	cr_assert_eq(vm_set_memflags(ctx, VM_MEM_F_WIRED), 0);
	cr_assert_eq(vm_setup_memory(ctx, 0, VM_MMAP_ALL), -EINVAL);
	cr_assert_eq(vm_setup_memory(ctx, 4095, VM_MMAP_ALL), -EINVAL);
	cr_assert_eq(vm_setup_memory(ctx, 64 * MIB, VM_MMAP_ALL), 0);
	cr_assert_eq(vm_get_lowmem_size(ctx), 16 * MIB);
	cr_assert_eq(vm_get_lowmem_limit(ctx), 16 * MIB);
	cr_assert_eq(vm_get_memflags(ctx), VM_MEM_F_WIRED);
	cr_assert_eq(vm_set_lowmem_limit(ctx, 32 * MIB), -EBUSY);
	cr_assert_eq(vm_set_memflags(ctx, 0), -EBUSY);
	says("set up already");
}

Test(memory, failures_take_back_what_was_mapped)
{
	struct vmm_memmap map;

	/* Each step in turn: the segment, low memory, high memory, and mapping both here. */
	for (unsigned int step = 0; step < 5; step++) {
		if (step < 3)
			fk_fail(step == 0 ? VMM_ALLOC_MEMSEG : VMM_MMAP_MEMSEG, step == 2 ? 2 : 1,
				ENOMEM);
		else
			fk_fail_mmap(step - 2, ENOMEM);
		cr_assert_eq(vm_setup_memory(ctx, 4 * GIB, VM_MMAP_ALL), -ENOMEM, "step %u", step);
		map.gpa = 0;
		cr_assert_eq(vm_mmap_getnext(ctx, &map), -ENOENT, "step %u", step);
		cr_assert(vm_map_gpa(ctx, 0, 1) == NULL);
	}
	cr_assert_eq(vm_setup_memory(ctx, 4 * GIB, VM_MMAP_ALL), 0);
	/* Nor is anything taken away that was there before. */
	vm_close(ctx);
	ctx = vm_open("m");
	fk_fail_mmap(2, ENOMEM);
	cr_assert_eq(vm_setup_memory(ctx, 4 * GIB, VM_MMAP_ALL), -ENOMEM);
	map.gpa = 4 * GIB;
	cr_assert_eq(vm_mmap_getnext(ctx, &map), 0);
}

Test(memory, segments_are_idempotent_and_differences_named)
{
	uint64_t len;
	char name[VMM_SEG_NAME_BYTES];

	cr_assert_eq(vm_alloc_memseg(ctx, 5, 8192, "rom"), 0);
	cr_assert_eq(vm_alloc_memseg(ctx, 5, 8192, "rom"), 0);
	cr_assert_eq(vm_alloc_memseg(ctx, 5, 4096, "rom"), -EEXIST);
	says("segment 5 with another length: 0x2000 bytes, not 0x1000");
	cr_assert_eq(vm_alloc_memseg(ctx, 5, 8192, "ram"), -EEXIST);
	says("another name: 'rom', not 'ram'");
	cr_assert_eq(vm_alloc_memseg(ctx, 6, 8192, "rom"), -EEXIST);
	says("the name 'rom' is another segment's");
	cr_assert_eq(vm_alloc_memseg(ctx, 7, 100, NULL), -EINVAL);
	cr_assert_eq(vm_alloc_memseg(ctx, -1, 4096, NULL), -EINVAL);
	memset(name, 'n', sizeof(name));
	cr_assert_eq(vm_alloc_memseg(ctx, 7, 4096,
				     "0123456789012345678901234567890123456789"
				     "012345678901234567890123"),
		     -ENAMETOOLONG);
	cr_assert_eq(vm_get_memseg(ctx, 5, &len, name), 0);
	cr_assert(len == 8192 && strcmp(name, "rom") == 0);
	cr_assert(vm_get_memseg(ctx, 9, &len, NULL) == 0 && len == 0);
}

Test(memory, maps_are_idempotent_and_differences_named)
{
	static const struct {
		uint64_t off, len;
		int ident;
		unsigned int prot, flags;
		const char *sentence;
	} rows[] = {
		{0x1000, 0x2000, 6, RWX, 0, "another segment: 5, not 6"},
		{0, 0x2000, 5, RWX, 0, "another offset in the segment: 0x1000, not 0x0"},
		{0x1000, 0x1000, 5, RWX, 0, "another length: 0x2000 bytes, not 0x1000"},
		{0x1000, 0x2000, 5, VMM_PROT_READ, 0, "another protection: rwx, not r--"},
		{0x1000, 0x2000, 5, RWX, VMM_MEMMAP_WIRED, "another wiring: pageable, not wired"},
	};

	cr_assert_eq(vm_alloc_memseg(ctx, 5, 0x4000, NULL), 0);
	cr_assert_eq(vm_alloc_memseg(ctx, 6, 0x4000, NULL), 0);
	cr_assert_eq(vm_mmap_memseg(ctx, 0x10000, 5, 0x1000, 0x2000, RWX, 0), 0);
	cr_assert_eq(vm_mmap_memseg(ctx, 0x10000, 5, 0x1000, 0x2000, RWX, 0), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert_eq(vm_mmap_memseg(ctx, 0x10000, rows[i].ident, rows[i].off, rows[i].len,
					    rows[i].prot, rows[i].flags),
			     -EEXIST, "row %zu", i);
		says(rows[i].sentence);
	}
	cr_assert_eq(vm_mmap_memseg(ctx, 0x11000, 5, 0, 0x1000, RWX, 0), -EFAULT);
	says("another map overlaps");
	cr_assert_eq(vm_mmap_memseg(ctx, 0x20000, 5, 0, 0x1000, 0, 0), -EINVAL);
	cr_assert_eq(vm_munmap_memseg(ctx, 0x10000, 0x1000), -EINVAL);
	says("not exactly a map");
	cr_assert_eq(vm_protect_memmap(ctx, 0x10000, 0x2000, VMM_PROT_READ), 0);
	cr_assert_eq(vm_protect_memmap(ctx, 0x10000, 0x2000, 8), -EINVAL);
	cr_assert_eq(vm_wire_memmap(ctx, 0x10000, 0x2000), 0);
	cr_assert_eq(vm_unwire_memmap(ctx, 0x10000, 0x2000), 0);
	cr_assert_eq(vm_unwire_memmap(ctx, 0x10000, 0x1000), -EINVAL);
	cr_assert_eq(vm_munmap_memseg(ctx, 0x10000, 0x2000), 0);
}

Test(memory, of_devices_is_one_with_its_node)
{
	char byte = 0;
	char *const rom = vm_create_devmem(ctx, VM_BOOTROM, "bootrom", 0x4000);

	cr_assert(rom != MAP_FAILED);
	rom[0x3fff] = 'r';
	cr_assert_eq(vm_mmap_memseg(ctx, GIB, VM_BOOTROM, 0, 0x4000, 5, 0), 0);
	cr_assert(vm_read_mem(ctx, GIB + 0x3fff, &byte, 1) == 0 && byte == 'r');
	cr_assert(vm_create_devmem(ctx, 2, "", 0x4000) == MAP_FAILED && errno == EINVAL);
	cr_assert(vm_create_devmem(ctx, 2, NULL, 0x4000) == MAP_FAILED && errno == EINVAL);
	cr_assert(vm_create_devmem(ctx, VM_BOOTROM, "bootrom", 0x8000) == MAP_FAILED &&
		  errno == EEXIST);
	fk_fail_mmap(1, ENXIO);
	cr_assert(vm_create_devmem(ctx, VM_FRAMEBUFFER, "framebuffer", 0x4000) == MAP_FAILED &&
		  errno == ENXIO);
	cr_assert_eq(fk_open_files(), 1, "the machine's node alone");
}

Test(memory, is_read_and_written_through_the_node)
{
	char in[10000], out[10000];

	cr_assert_eq(vm_setup_memory(ctx, MIB, VM_MMAP_ALL), 0);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 7);
	cr_assert_eq(vm_write_mem(ctx, 4000, out, sizeof(out)), 0);
	cr_assert_eq(vm_read_mem(ctx, 4000, in, sizeof(in)), 0);
	cr_assert(memcmp(in, out, sizeof(in)) == 0);
	cr_assert(memcmp(vm_map_gpa(ctx, 4000, sizeof(out)), out, sizeof(out)) == 0);
	cr_assert_eq(vm_write_mem(ctx, MIB - 100, out, 200), -EFAULT);
	says("no memory at 0x100000");
	cr_assert_eq(vm_read_mem(ctx, MIB, in, 0), 0);
}
