/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A guest's first page tables, and the state in which a vCPU begins to use them.
 *
 * The tables are made by libpmap: a pmap of type PT_X86, entered as any other. Its tables lie in
 * the arena of the POSIX host and point to each other by addresses that mean nothing to the guest.
 * So they are carried over: a walk of each mapping in turn (pmap_walk()) shows the entries from the
 * root to the leaf; leaves are taken as they are, and an entry that points to a table gets the
 * address of that table's copy in guest memory. Which bits of it are the address is asked of the
 * format (pf_addr): no bit of an entry is known here.
 *
 * Mappings are walked in ascending order, so that a table's entries come one after another: one
 * table per level is open at a time, and is written when the walk has left it.
 */

#include <errno.h>
#include <string.h>

#include "libvmm/libvmm_priv.h"
#include "pmap/pmap.h"
#include "pmap/posix/host_posix.h"

#define TABLE_BYTES 4096u
#define TABLE_ENTRIES (TABLE_BYTES / sizeof(pt_entry_t))
#define BOOT_LEVELS 4
#define MAP_BYTES_MAX (1ull << 48)

/* IA32_PAT after a reset (SDM vol. 3A 12.12.4): what the guest has when it loads these tables. */
#define PAT_AFTER_RESET 0x0007040600070406ull

typedef unsigned long long ull;

/* ---- Carried over ---------------------------------------------------------------------------- */

/* A table whose copy is being filled. */
struct open_table {
	hpa_t ot_hpa; /* the original's */
	uint64_t ot_gpa;
	pt_entry_t ot_entries[TABLE_ENTRIES];
};

struct carrier {
	struct vmctx *ca_ctx;
	struct pmap *ca_pmap;
	uint64_t ca_next_gpa;
	struct open_table ca_open[BOOT_LEVELS]; /* by depth: the root is 0 */
	unsigned int ca_depth;			/* how many are open */
};

/* Writes the tables at that depth and below it. */
static int
close_tables(struct carrier *ca, unsigned int depth)
{
	int error = 0;

	while (ca->ca_depth > depth && error == 0) {
		const struct open_table *const t = &ca->ca_open[--ca->ca_depth];

		error = vm_write_mem(ca->ca_ctx, t->ot_gpa, t->ot_entries, sizeof(t->ot_entries));
	}
	return error;
}

static void
open_table(struct carrier *ca, hpa_t hpa)
{
	struct open_table *const t = &ca->ca_open[ca->ca_depth++];

	memset(t, 0, sizeof(*t));
	t->ot_hpa = hpa;
	t->ot_gpa = ca->ca_next_gpa;
	ca->ca_next_gpa += TABLE_BYTES;
}

/* The path to what maps gpa. */
static int
carry_path(struct carrier *ca, uint64_t gpa)
{
	const pt_entry_t addr = pmap_fmt(ca->ca_pmap)->pf_addr;
	pt_entry_t path[PT_LEVELS_MAX];
	unsigned int n;
	int error;

	error = pmap_walk(ca->ca_pmap, gpa, path, &n);
	for (unsigned int depth = 0; depth < n && error == 0; depth++) {
		const unsigned int slot = pt_index(gpa, BOOT_LEVELS - 1 - depth);
		const bool leaf = depth == n - 1;
		struct open_table *const t = &ca->ca_open[depth];

		if (leaf) {
			t->ot_entries[slot] = path[depth];
			break;
		}
		if (ca->ca_depth > depth + 1 &&
		    ca->ca_open[depth + 1].ot_hpa == (path[depth] & addr))
			continue;
		error = close_tables(ca, depth + 1);
		if (error)
			break;
		open_table(ca, path[depth] & addr);
		t->ot_entries[slot] = (path[depth] & ~addr) | ca->ca_open[depth + 1].ot_gpa;
	}
	return error;
}

static int
carry(struct vmctx *ctx, struct pmap *pm, const struct vm_boot_cfg *cfg)
{
	struct carrier ca = {.ca_ctx = ctx, .ca_pmap = pm, .ca_next_gpa = cfg->tables_gpa};
	int error = 0;

	open_table(&ca, pmap_root(pm));
	for (uint64_t gpa = 0; gpa < cfg->map_bytes && error == 0; gpa += cfg->page_bytes)
		error = carry_path(&ca, gpa);
	return error ? error : close_tables(&ca, 0);
}

/* ---- Built ----------------------------------------------------------------------------------- */

static int
check_cfg(const struct vm_boot_cfg *cfg, unsigned int *level)
{
	for (*level = 0; *level < PT_LEAF_LEVELS_MAX; (*level)++) {
		if (cfg->page_bytes == pt_level_size(*level))
			break;
	}
	if (*level == PT_LEAF_LEVELS_MAX)
		return vmm_fail(-EINVAL,
				"page tables with pages of 0x%llx bytes: there are only "
				"4 KiB, 2 MiB and 1 GiB",
				(ull)cfg->page_bytes);
	if (cfg->map_bytes == 0 || cfg->map_bytes % cfg->page_bytes ||
	    cfg->map_bytes > MAP_BYTES_MAX)
		return vmm_fail(-EINVAL,
				"page tables for 0x%llx bytes: not a multiple of the page's size, "
				"or beyond 256 TiB",
				(ull)cfg->map_bytes);
	if (cfg->tables_gpa % TABLE_BYTES || cfg->tables_gpa >= MAP_BYTES_MAX)
		return vmm_fail(-EINVAL, "page tables at 0x%llx: not a page's address",
				(ull)cfg->tables_gpa);
	return 0;
}

static int
identity(struct pmap *pm, const struct vm_boot_cfg *cfg, unsigned int level)
{
	int error = 0;

	for (uint64_t gpa = 0; gpa < cfg->map_bytes && error == 0; gpa += cfg->page_bytes) {
		const struct pmap_mapping m = {
			.pa_gpa = gpa, .pa_hpa = gpa, .pa_prot = PMAP_PROT_RWX, .pa_level = level};

		error = pmap_enter(pm, &m);
	}
	return error;
}

static int
build(struct vmctx *ctx, struct pmap *pm, const struct vm_boot_cfg *cfg, unsigned int level,
      uint64_t *used)
{
	struct pmap_stats st;
	int error;

	error = identity(pm, cfg, level);
	if (error)
		return vmm_fail(error, "cannot build page tables for 0x%llx bytes: %s",
				(ull)cfg->map_bytes, strerror(-error));
	pmap_stats(pm, &st);
	*used = st.st_tables * TABLE_BYTES;
	if (*used > cfg->room_bytes)
		return vmm_fail(-ENOSPC,
				"page tables for 0x%llx bytes need 0x%llx bytes of room, "
				"not 0x%llx",
				(ull)cfg->map_bytes, (ull)*used, (ull)cfg->room_bytes);
	return carry(ctx, pm, cfg);
}

int
vm_boot_tables(struct vmctx *ctx, const struct vm_boot_cfg *cfg, uint64_t *cr3,
	       uint64_t *used_bytes)
{
	const struct pmap_config pc = {.pc_type = PT_X86,
				       .pc_flags = PMAP_PDE_SUPERPAGE,
				       .pc_caps = {.pc_pat = PAT_AFTER_RESET,
						   .pc_levels = BOOT_LEVELS,
						   .pc_leaf_levels = PT_LEAF_LEVELS_MAX,
						   .pc_phys_bits = 52}};
	unsigned int level;
	struct pmap *pm;
	uint64_t used = 0;
	int error;

	error = check_cfg(cfg, &level);
	if (error)
		return error;
	error = host_posix_cpu_register();
	if (error == 0)
		error = pmap_init(&pc, &pm);
	if (error)
		return vmm_fail(error, "cannot begin to build page tables: %s",
				error == -EAGAIN ? "too many threads use libpmap at once"
						 : strerror(-error));
	error = build(ctx, pm, cfg, level, &used);
	pmap_destroy(pm);
	if (error)
		return error;
	*cr3 = cfg->tables_gpa;
	if (used_bytes)
		*used_bytes = used;
	return 0;
}

/* ---- Begun ----------------------------------------------------------------------------------- */

/* Rights of descriptors, as struct vmm_desc has them. */
#define DESC_CODE64 0xa09bu /* execute, read, accessed; present; 64-bit; in pages */
#define DESC_DATA 0xc093u   /* read, write, accessed; present; 32-bit; in pages */
#define DESC_TSS 0x8bu	    /* a busy TSS; present */
#define DESC_UNUSABLE 0x10000u

static int
flat_segments(struct vcpu *vcpu)
{
	static const struct {
		enum vmm_reg reg;
		uint32_t limit, access;
	} descs[] = {
		{VMM_REG_CS, UINT32_MAX, DESC_CODE64},
		{VMM_REG_SS, UINT32_MAX, DESC_DATA},
		{VMM_REG_DS, UINT32_MAX, DESC_DATA},
		{VMM_REG_ES, UINT32_MAX, DESC_DATA},
		{VMM_REG_FS, UINT32_MAX, DESC_DATA},
		{VMM_REG_GS, UINT32_MAX, DESC_DATA},
		{VMM_REG_LDTR, 0, DESC_UNUSABLE},
		{VMM_REG_TR, 0x67, DESC_TSS},
		{VMM_REG_GDTR, 0, 0},
		{VMM_REG_IDTR, 0, 0},
	};
	int error = 0;

	for (size_t i = 0; i < sizeof(descs) / sizeof(descs[0]) && error == 0; i++)
		error = vm_set_desc(vcpu, descs[i].reg, 0, descs[i].limit, descs[i].access);
	return error;
}

int
vm_setup_long_mode(struct vcpu *vcpu, uint64_t rip, uint64_t rsp, uint64_t cr3)
{
	/* In the order in which a CPU would accept them: PAE and long mode before paging. */
	static const enum vmm_reg regs[] = {
		VMM_REG_CR4,  VMM_REG_EFER, VMM_REG_CR3, VMM_REG_CR0, VMM_REG_CS,
		VMM_REG_SS,   VMM_REG_DS,   VMM_REG_ES,	 VMM_REG_FS,  VMM_REG_GS,
		VMM_REG_LDTR, VMM_REG_TR,   VMM_REG_RIP, VMM_REG_RSP, VMM_REG_RFLAGS,
	};
	const uint64_t values[] = {
		1u << 5,	    /* CR4.PAE */
		1u << 8 | 1u << 10, /* EFER: LME, LMA */
		cr3,
		1u | 1u << 4 | 1u << 5 | 1ull << 31, /* CR0: PE, ET, NE, PG */
		1u << 3, /* CS: the descriptor that a GDT would have there */
		2u << 3,
		2u << 3,
		2u << 3,
		2u << 3,
		2u << 3,
		0,
		3u << 3,
		rip,
		rsp,
		1u << 1, /* RFLAGS: the bit that is always set */
	};
	int error;

	_Static_assert(sizeof(values) / sizeof(values[0]) == sizeof(regs) / sizeof(regs[0]),
		       "a value for each");
	error = vm_set_register_set(vcpu, sizeof(regs) / sizeof(regs[0]), regs, values);
	return error ? error : flat_segments(vcpu);
}
