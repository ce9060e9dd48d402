/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The table of invariants. docs/INVARIANTS.md has the long form; the titles here are what a report
 * says to somebody who has not read it.
 */

#include "sim/oracle/invariants.h"

#include <stddef.h>
#include <string.h>

#include "sim/cli/options.h"

#define ALL ((1u << SIM_ARCH_COUNT) - 1)
#define EPT (1u << SIM_ARCH_EPT | 1u << SIM_ARCH_EPT_NOAD)
#define NPT (1u << SIM_ARCH_NPT)

uint64_t sim_invariant_hits[SIM_INVARIANT_END];

#define ROW(id, check, layer, archs, title) \
	[SIM_##id] = {#id, check, title, SIM_LAYER_##layer, archs}

/* clang-format off */
static const struct sim_invariant_info invariants[SIM_INVARIANT_END] = {
	ROW(I01, "CK-WALK", CORE, ALL,
	    "A table entry points to exactly one live table of its own tree, one level down"),
	ROW(I02, "CK-HW", CORE, ALL,
	    "No present entry has a bit set that the CPU reserves at that level"),
	ROW(I03, "CK-HW", CORE, EPT,
	    "No EPT entry has rights or a memory type that the CPU calls a misconfiguration"),
	ROW(I04, "CK-HW", CORE, NPT,
	    "A nested AMD entry is user, not global, of its type, below writable tables"),
	ROW(I05, "CK-API", CORE, ALL,
	    "The rights of a page over all levels are never more than what was asked for it"),
	ROW(I06, "CK-API", CORE, ALL,
	    "Each page has the memory type asked for it, inside superpages too"),
	ROW(I07, "CK-WALK", CORE, ALL,
	    "A superpage stands only for aligned, contiguous pages that agree in everything"),
	ROW(I08, "CK-WALK", CORE, ALL,
	    "A writable superpage is dirty, and splitting it makes each of its pages dirty"),
	ROW(I09, "CK-API", CORE, ALL,
	    "Joining and splitting pages changes no translation and loses no A or D bit"),
	ROW(I10, "CK-HW", CORE, ALL,
	    "A CPU that cannot bear it never caches two sizes, types or frames for one address"),
	ROW(I11, "CK-HW", VMSPACE, ALL,
	    "No executable superpage exists while the instruction-TLB multihit mitigation is on"),
	ROW(I12, "CK-WALK", CORE, ALL,
	    "An entry that is not valid holds no stale frame number"),
	ROW(I13, "CK-ATOM", CORE, ALL,
	    "A published entry changes only by single atomic operations whose old value is heeded"),
	ROW(I14, "CK-TLB", CORE, ALL,
	    "After a shootdown nothing can use a translation that it took away"),
	ROW(I15, "CK-FREE", CORE, ALL,
	    "No page or table is reused before the shootdown of its entry is over"),
	ROW(I16, "CK-TLB", CORE, ALL,
	    "Whatever restricts or replaces a present entry leads to a flush"),
	ROW(I17, "CK-TLB", CORE, ALL,
	    "A flush covers the whole of the old leaf and every 4 KiB piece cached of it"),
	ROW(I18, "CK-TLB", CORE, ALL,
	    "A flush reaches every context and every CPU that may have cached the translation"),
	ROW(I19, "CK-TLB", CORE, ALL,
	    "Postponed flushes are done before pages are freed and before a caller relies on them"),
	ROW(I20, "CK-TLB", CORE, ALL,
	    "An initiator and a CPU entering the guest cannot both overlook each other"),
	ROW(I21, "CK-GEN", CORE, ALL,
	    "A CPU notes a generation as seen only once that flush has taken effect"),
	ROW(I22, "CK-TLB", CORE, ALL,
	    "A vCPU that moves, or whose CPU restarts, finds nothing stale where it arrives"),
	ROW(I23, "CK-GEN", CORE, ALL,
	    "Comparing generations gives what unbounded numbers would give, across wrap-around"),
	ROW(I24, "CK-SCHED", CORE, ALL,
	    "A shootdown ends in bounded time, whatever the other CPUs are doing"),
	ROW(I25, "CK-DIRTY", CORE, ALL,
	    "Every write is reported dirty, by this collection or by a later one"),
	ROW(I26, "CK-DIRTY", CORE, ALL,
	    "Only written pages are reported dirty, apart from the rest of a superpage"),
	ROW(I27, "CK-DIRTY", CORE, ALL,
	    "Accessed and dirty state reaches the owner before a mapping disappears"),
	ROW(I28, "CK-ACC", CORE, ALL,
	    "The accessed state is cleared by aging only, and never after the latest access"),
	ROW(I29, "CK-DIRTY", VMSPACE, ALL,
	    "In a dirty log each page is marked, or write-protected with its flush complete"),
	ROW(I30, "CK-FREE", VMSPACE, ALL,
	    "No entry maps a frame that its object does not own at that offset"),
	ROW(I31, "CK-REF", VMSPACE, ALL,
	    "A managed entry exists exactly where its object's map entries lead back to it"),
	ROW(I32, "CK-API", CORE, ALL,
	    "A wired page stays mapped to the same frame until it is unwired"),
	ROW(I33, "CK-REF", VMSPACE, ALL,
	    "A held page is neither freed nor moved until it is released"),
	ROW(I34, "CK-DIRTY", VMSPACE, ALL,
	    "A page comes back from swap with what was last written to it"),
	ROW(I35, "CK-API", VMSPACE, ALL,
	    "Device memory is never paged out, joined beyond its end, or counted as guest memory"),
	ROW(I36, "CK-API", VMSPACE, ALL,
	    "Read-only device memory and boot ROM are writable nowhere"),
	ROW(I37, "CK-IOMMU", VMSPACE, ALL,
	    "Devices reach exactly the wired memory of their guest"),
	ROW(I38, "CK-API", VMSPACE, ALL,
	    "Map entries are sorted, disjoint, and found by any address inside them"),
	ROW(I39, "CK-API", CORE, ALL,
	    "Ranges are half-open, reach the last page, and are refused without effect when wrong"),
	ROW(I40, "CK-OOM", CORE, ALL,
	    "An operation that fails leaves everything as it was, or as documented"),
	ROW(I41, "CK-OOM", CORE, ALL,
	    "Unmapping and restricting never fail for lack of memory"),
	ROW(I42, "CK-MEM", CORE, ALL,
	    "The accounts equal what a full walk of the tables counts"),
	ROW(I43, "CK-LEAK", CORE, ALL,
	    "Destroying an address space gives back everything, once"),
	ROW(I44, "CK-SCHED", CORE, ALL,
	    "Locks are taken in order and always released; lock-free readers see live tables"),
	ROW(I45, "CK-SCHED", CORE, ALL,
	    "Every fault makes progress, spurious and raced ones included"),
	ROW(I46, "CK-API", VMSPACE, ALL,
	    "Accesses made for a guest obey the rules of its own accesses"),
	ROW(I47, "CK-WALK", CORE, ALL,
	    "Software bits stay with their entry and out of the positions that hardware reads"),
	ROW(I48, "CK-REPLAY", TOOL, ALL,
	    "The same seed and build give the same run, step by step"),
};
/* clang-format on */

const struct sim_invariant_info *
sim_invariant(unsigned int i)
{
	return i >= 1 && i < SIM_INVARIANT_END ? &invariants[i] : NULL;
}

const struct sim_invariant_info *
sim_invariant_by_id(const char *id)
{
	for (unsigned int i = 1; i < SIM_INVARIANT_END; i++) {
		if (strcmp(invariants[i].id, id) == 0)
			return &invariants[i];
	}
	return NULL;
}

void
sim_invariants_reset(void)
{
	memset(sim_invariant_hits, 0, sizeof(sim_invariant_hits));
}
