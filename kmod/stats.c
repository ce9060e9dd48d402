/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Statistics: what is counted, and what it is called. Where bhyve counts the same thing, its words
 * are used, so that whoever reads them by machine finds them.
 */

#include "kmod/vmm_priv.h"

/* ---- vCPUs ----------------------------------------------------------------------------------- */

static const char *const vcpu_descs[VCPU_STATS] = {
	[VCPU_STAT_EXITS] = "total number of vm exits",
	[VCPU_STAT_EXITS_INTR] = "vm exits due to external interrupt",
	[VCPU_STAT_EXITS_NMI] = "vm exits due to host NMI",
	[VCPU_STAT_EXITS_INOUT] = "vm exits due to in/out instruction",
	[VCPU_STAT_EXITS_CPUID] = "vm exits due to cpuid",
	[VCPU_STAT_EXITS_RDMSR] = "vm exits due to rdmsr",
	[VCPU_STAT_EXITS_WRMSR] = "vm exits due to wrmsr",
	[VCPU_STAT_EXITS_HLT] = "vm exits due to halt",
	[VCPU_STAT_EXITS_PAUSE] = "vm exits due to pause",
	[VCPU_STAT_EXITS_MTRAP] = "vm exits due to monitor trap",
	[VCPU_STAT_EXITS_CR] = "vm exits due to control register access",
	[VCPU_STAT_EXITS_DR] = "vm exits due to debug register access",
	[VCPU_STAT_EXITS_EXCEPTION] = "vm exits due to exceptions",
	[VCPU_STAT_EXITS_INTR_WINDOW] = "vm exits due to interrupt window opening",
	[VCPU_STAT_EXITS_NMI_WINDOW] = "vm exits due to nmi window opening",
	[VCPU_STAT_EXITS_HYPERCALL] = "vm exits due to hypercall",
	[VCPU_STAT_EXITS_NESTED_FAULT] = "vm exits due to nested page fault",
	[VCPU_STAT_EXITS_INST_EMUL] = "vm exits for instruction emulation",
	[VCPU_STAT_EXITS_MISCONFIG] = "vm exits due to malformed nested page tables",
	[VCPU_STAT_EXITS_UNKNOWN] = "number of vm exits for unknown reason",
	[VCPU_STAT_EXITS_USERSPACE] = "number of vm exits handled in userspace",
	[VCPU_STAT_ENTRY_FAILURES] = "number of vm entries that failed",
	[VCPU_STAT_FLUSHES] = "number of times nested translations were flushed at entry",
	[VCPU_STAT_IDENT_FLUSHES] = "number of times VPID or ASID was flushed or changed",
	[VCPU_STAT_MIGRATIONS] = "vcpu migration across host cpus",
	[VCPU_STAT_EVENTS_INJECTED] = "number of events injected",
};

void
stats_vcpu(struct vcpu *vcpu, unsigned int first, unsigned int n, u64 *values)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		values[i] = READ_ONCE(vcpu->vc_stats[first + i]);
}

/* ---- Machines -------------------------------------------------------------------------------- */

/* All sources of a machine's numbers, read once. */
struct sources {
	struct vm_accounts so_accounts;
	struct vmspace_stats so_space;
	struct pmap_stats so_pmap;
};

/* bytes: what the source has in pages is told in bytes, as bhyve does. */
static const struct {
	const char *desc;
	size_t offset;
	bool bytes;
} vm_stats[] = {
#define STAT(what, from)                                               \
	{                                                              \
		.desc = what, .offset = offsetof(struct sources, from) \
	}
#define STAT_BYTES(what, from)                                                        \
	{                                                                             \
		.desc = what, .offset = offsetof(struct sources, from), .bytes = true \
	}
	STAT_BYTES("Resident memory", so_accounts.va_resident),
	STAT_BYTES("Wired memory", so_accounts.va_wired),
	STAT_BYTES("Reserved memory", so_accounts.va_reserved),
	STAT_BYTES("Device memory", so_accounts.va_devmem),
	STAT_BYTES("Swapped memory", so_accounts.va_swapped),
	STAT_BYTES("Page table memory", so_accounts.va_tables),
	STAT_BYTES("Mapped memory", so_pmap.st_resident_pages),
	STAT("4 KB mappings", so_pmap.st_leaves[0]),
	STAT("2 MB mappings", so_pmap.st_leaves[1]),
	STAT("1 GB mappings", so_pmap.st_leaves[2]),
	STAT("superpage promotions", so_pmap.st_promotions),
	STAT("superpage demotions", so_pmap.st_demotions),
	STAT("superpage demotion failures", so_pmap.st_demotion_failures),
	STAT("accessed and dirty bit emulations", so_pmap.st_ad_emulations),
	STAT("spurious nested page faults", so_pmap.st_spurious_faults),
	STAT("shootdowns", so_pmap.st_shootdowns),
	STAT("shootdowns merged", so_pmap.st_shootdowns_merged),
	STAT("shootdowns elided", so_pmap.st_shootdowns_elided),
	STAT("shootdown interrupts sent", so_pmap.st_kicks),
	STAT("mapping restarts", so_pmap.st_enter_restarts),
	STAT("mappings revoked while made", so_pmap.st_revoked),
	STAT("memory faults", so_space.vt_faults),
	STAT("memory faults without cause", so_space.vt_faults_spurious),
	STAT("memory faults failed", so_space.vt_faults_failed),
	STAT("memory fault retries", so_space.vt_fault_retries),
	STAT("pages zero-filled", so_space.vt_zero_fills),
	STAT("pages swapped in", so_space.vt_swap_ins),
	STAT("pages read ahead", so_space.vt_read_ahead),
	STAT("pages swapped out", so_space.vt_swap_outs),
	STAT("swap errors", so_space.vt_swap_errors),
	STAT("pages reclaimed", so_space.vt_reclaimed),
	STAT("pages reclaimed clean", so_space.vt_reclaimed_clean),
	STAT("contiguous runs obtained", so_space.vt_runs),
	STAT("contiguous runs broken", so_space.vt_runs_broken),
	STAT("superpages mapped by faults", so_space.vt_super_enters),
	STAT("runs promoted", so_space.vt_promotions),
	STAT("superpages split for execution", so_space.vt_exec_splits),
	STAT("pages held", so_space.vt_holds),
	STAT("pages moved", so_space.vt_moved),
#undef STAT
#undef STAT_BYTES
};

void
stats_vm(struct vm *vm, u64 *values)
{
	struct sources so;
	unsigned int i;

	BUILD_BUG_ON(ARRAY_SIZE(vm_stats) > STATS_VM_MAX);
	vmspace_accounts(vm->vm_space, &so.so_accounts);
	vmspace_stats(vm->vm_space, &so.so_space);
	pmap_stats(vm->vm_pmap, &so.so_pmap);
	for (i = 0; i < ARRAY_SIZE(vm_stats); i++) {
		values[i] = *(const uint64_t *)((const char *)&so + vm_stats[i].offset);
		if (vm_stats[i].bytes)
			values[i] <<= PAGE_SHIFT;
	}
}

void
stats_accounts(struct vm *vm, struct vmm_accounts *out)
{
	struct vm_accounts ac;
	struct pmap_stats st;
	unsigned int i;

	vmspace_accounts(vm->vm_space, &ac);
	pmap_stats(vm->vm_pmap, &st);
	*out = (struct vmm_accounts){
		.resident = ac.va_resident,
		.wired = ac.va_wired,
		.reserved_runs = ac.va_reserved,
		.devmem = ac.va_devmem,
		.swapped = ac.va_swapped,
		.tables = ac.va_tables,
		.mapped = st.st_resident_pages,
		.limit = vm->vm_mem_limit_bytes >> PAGE_SHIFT,
		.eptp = vm->vm_root,
	};
	for (i = 0; i < min_t(size_t, ARRAY_SIZE(out->leaves), PT_LEAF_LEVELS_MAX); i++)
		out->leaves[i] = st.st_leaves[i];
}

/* ---- Both ------------------------------------------------------------------------------------ */

unsigned int
stats_count(bool machine)
{
	return machine ? ARRAY_SIZE(vm_stats) : VCPU_STATS;
}

const char *
stats_desc(bool machine, unsigned int index)
{
	if (index >= stats_count(machine))
		return NULL;
	return machine ? vm_stats[index].desc : vcpu_descs[index];
}
