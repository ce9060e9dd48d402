/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A guest's first page tables, walked here as a CPU would: by a walker written from the manual (SDM
 * vol. 3A 4.5), which knows the bits itself and nothing of libpmap.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "fake_kernel.h"

#define PAGE 4096ull
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define TABLES 0x100000ull
#define ADDR 0x000ffffffffff000ull

static struct vmctx *ctx;

static void
begin(void)
{
	fk_install();
	ctx = vm_openf("m", &(struct vm_open_opts){.flags = VMMAPI_OPEN_CREATE});
	vm_setup_memory(ctx, 64 * MIB, VM_MMAP_ALL);
}

static void
end(void)
{
	vm_close(ctx);
}

TestSuite(boot, .init = begin, .fini = end);

/* Where gla leads, and how large the page is; false: not present. Reserved bits must be 0. */
static bool
walk(uint64_t cr3, uint64_t gla, uint64_t *gpa, uint64_t *page_bytes)
{
	uint64_t table = cr3;

	for (int shift = 39; shift >= 12; shift -= 9) {
		const uint64_t *const entries = vm_map_gpa(ctx, table, PAGE);
		const uint64_t e = entries[gla >> shift & 511];
		const uint64_t size = 1ull << shift;
		const bool leaf = shift == 12 || e & 1 << 7;

		if (!(e & 1))
			return false;
		cr_assert(e & 2, "writable at every level");
		cr_assert(!(e & 1ull << 63), "executable, and without EFER.NXE");
		cr_assert(!(e & 1 << 2), "the supervisor's");
		cr_assert(!(e & (1 << 3 | 1 << 4)), "write back");
		if (!leaf) {
			table = e & ADDR;
			continue;
		}
		cr_assert(shift <= 30 && !(e & ADDR & (size - 1)), "aligned; PAT index 0");
		cr_assert(shift != 12 || !(e & 1 << 7), "PAT index 0");
		*gpa = (e & ADDR) | (gla & (size - 1));
		*page_bytes = size;
		return true;
	}
	return false;
}

Test(boot, tables_map_memory_to_itself)
{
	static const struct {
		uint64_t map_bytes, page_bytes, tables;
	} rows[] = {
		{PAGE, PAGE, 4},
		{2 * MIB, PAGE, 4},
		{2 * MIB + PAGE, PAGE, 5},
		{64 * MIB, PAGE, 3 + 32},
		{GIB + PAGE, PAGE, 2 + 2 + 513},
		{2 * MIB, 2 * MIB, 3},
		{4 * GIB, 2 * MIB, 2 + 4},
		{600 * GIB, GIB, 3},
		{512 * GIB, GIB, 2},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct vm_boot_cfg cfg = {.tables_gpa = TABLES,
						.room_bytes = rows[i].tables * PAGE,
						.map_bytes = rows[i].map_bytes,
						.page_bytes = rows[i].page_bytes};
		const uint64_t step = rows[i].map_bytes / 1000 | 1;
		char *const after = vm_map_gpa(ctx, TABLES + cfg.room_bytes, PAGE);
		uint64_t cr3 = 1, used = 0, gpa = 0, size = 0;

		memset(vm_map_gpa(ctx, TABLES, 40 * MIB), 0xa5, 40 * MIB);
		cr_assert_eq(vm_boot_tables(ctx, &cfg, &cr3, &used), 0, "row %zu: %s", i,
			     vmm_errmsg());
		cr_assert(cr3 == TABLES && used == rows[i].tables * PAGE, "row %zu", i);
		for (uint64_t gla = 0; gla < cfg.map_bytes; gla += step)
			cr_assert(walk(cr3, gla, &gpa, &size) && gpa == gla &&
					  size == cfg.page_bytes,
				  "row %zu: 0x%llx", i, (unsigned long long)gla);
		cr_assert(walk(cr3, cfg.map_bytes - 1, &gpa, &size) && gpa == cfg.map_bytes - 1);
		cr_assert(!walk(cr3, cfg.map_bytes, &gpa, &size), "row %zu: and no more", i);
		cr_assert(!walk(cr3, (1ull << 48) - 1, &gpa, &size));
		for (size_t b = 0; b < PAGE; b++)
			cr_assert(after[b] == (char)0xa5, "row %zu: beyond its room", i);
	}
}

Test(boot, tables_that_do_not_fit_are_not_begun)
{
	struct vm_boot_cfg cfg = {.tables_gpa = TABLES,
				  .room_bytes = 4 * PAGE - 1,
				  .map_bytes = 2 * MIB,
				  .page_bytes = PAGE};
	uint64_t cr3 = 7, used = 7;

	*(uint64_t *)vm_map_gpa(ctx, TABLES, 8) = 0x5a;
	cr_assert_eq(vm_boot_tables(ctx, &cfg, &cr3, &used), -ENOSPC);
	cr_assert(strstr(vmm_errmsg(), "need 0x4000 bytes of room, not 0x3fff") != NULL);
	cr_assert_eq(*(uint64_t *)vm_map_gpa(ctx, TABLES, 8), 0x5a);
	cr_assert(cr3 == 7 && used == 7);
	cfg.room_bytes = MIB;
	cfg.tables_gpa = 64 * MIB;
	cr_assert_eq(vm_boot_tables(ctx, &cfg, &cr3, &used), -EFAULT);
	cr_assert_eq(cr3, 7);
}

Test(boot, nonsense_is_refused)
{
	static const struct vm_boot_cfg rows[] = {
		{TABLES + 1, MIB, 2 * MIB, PAGE},      {TABLES, MIB, 0, PAGE},
		{TABLES, MIB, 2 * MIB + 1, PAGE},      {TABLES, MIB, 2 * MIB, GIB},
		{TABLES, MIB, 2 * MIB, 8192},	       {TABLES, MIB, 2 * MIB, 0},
		{TABLES, MIB, 1ull << 49, GIB},	       {1ull << 48, MIB, 2 * MIB, PAGE},
		{TABLES, MIB, 1ull << 48, 1ull << 39},
	};
	uint64_t cr3;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_assert_eq(vm_boot_tables(ctx, &rows[i], &cr3, NULL), -EINVAL, "row %zu", i);
}

Test(boot, a_vcpu_begins_in_long_mode)
{
	struct vcpu *const vcpu = vm_vcpu_open(ctx, 0);
	uint32_t limit, access;
	uint64_t value, base;

	cr_assert_eq(vm_setup_long_mode(vcpu, 1, 2, TABLES), -ENOENT);
	cr_assert(strstr(vmm_errmsg(), "never activated") != NULL);
	cr_assert_eq(vm_activate_cpu(vcpu), 0);
	cr_assert_eq(vm_setup_long_mode(vcpu, 0x1234, 0x5678, TABLES), 0);
	cr_assert(vm_get_register(vcpu, VMM_REG_RIP, &value) == 0 && value == 0x1234);
	cr_assert(vm_get_register(vcpu, VMM_REG_RSP, &value) == 0 && value == 0x5678);
	cr_assert(vm_get_register(vcpu, VMM_REG_CR3, &value) == 0 && value == TABLES);
	cr_assert(vm_get_register(vcpu, VMM_REG_CR0, &value) == 0 && value == 0x80000031);
	cr_assert(vm_get_register(vcpu, VMM_REG_CR4, &value) == 0 && value == 0x20);
	cr_assert(vm_get_register(vcpu, VMM_REG_EFER, &value) == 0 && value == 0x500);
	cr_assert(vm_get_register(vcpu, VMM_REG_RFLAGS, &value) == 0 && value == 2);
	cr_assert(vm_get_desc(vcpu, VMM_REG_CS, &base, &limit, &access) == 0);
	cr_assert(base == 0 && limit == UINT32_MAX && access == 0xa09b);
	cr_assert(vm_get_desc(vcpu, VMM_REG_TR, &base, &limit, &access) == 0 && access == 0x8b);
}
