/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The table of invariants. docs/INVARIANTS.md has the long form; the titles here are what a report
 * says to somebody who has not read it.
 */

#include "sim/invariants.h"

#include <stddef.h>
#include <string.h>

#include "sim/options.h"

#define ALL ((1u << SIM_ARCH_COUNT) - 1)
#define EPT (1u << SIM_ARCH_EPT | 1u << SIM_ARCH_EPT_NOAD)
#define NPT (1u << SIM_ARCH_NPT)
#define NESTED (EPT | NPT)

uint64_t sim_invariant_hits[SIM_INVARIANT_END];

static const struct sim_invariant_info invariants[SIM_INVARIANT_END] = {
    [SIM_I01] = {"I01", "CK-WALK",
		 "A table entry points to exactly one live table of its own tree, one level down",
		 SIM_LAYER_CORE, ALL},
    [SIM_I02] = {"I02", "CK-HW",
		 "No present entry has a bit set that the CPU reserves at that level",
		 SIM_LAYER_CORE, ALL},
    [SIM_I03] =
	{"I03", "CK-HW",
	 "An EPT entry never has rights or a memory type that the CPU calls a misconfiguration",
	 SIM_LAYER_CORE, EPT},
    [SIM_I04] =
	{"I04", "CK-HW",
	 "A nested AMD entry is user, not global, of the type asked for, below writable tables",
	 SIM_LAYER_CORE, NPT},
    [SIM_I05] = {"I05", "CK-API",
		 "The rights of a page over all levels are never more than what was asked for it",
		 SIM_LAYER_CORE, ALL},
    [SIM_I06] = {"I06", "CK-API",
		 "Each page has the memory type asked for it, inside superpages too",
		 SIM_LAYER_CORE, ALL},
    [SIM_I07] = {"I07", "CK-WALK",
		 "A superpage stands only for aligned, contiguous pages that agree in everything",
		 SIM_LAYER_CORE, ALL},
    [SIM_I08] = {"I08", "CK-WALK",
		 "A writable superpage is dirty, and splitting it makes each of its pages dirty",
		 SIM_LAYER_CORE, ALL},
    [SIM_I09] =
	{"I09", "CK-API",
	 "Joining and splitting pages changes no translation and loses no accessed or dirty bit",
	 SIM_LAYER_CORE, ALL},
    [SIM_I10] =
	{"I10", "CK-HW",
	 "A CPU that cannot bear it never caches two sizes, types or frames for one address",
	 SIM_LAYER_CORE, ALL},
    [SIM_I11] =
	{"I11", "CK-HW",
	 "No executable superpage exists while the instruction-TLB multihit mitigation is on",
	 SIM_LAYER_CORE, EPT},
    [SIM_I12] = {"I12", "CK-WALK", "An entry that is not valid holds no stale frame number",
		 SIM_LAYER_CORE, ALL},
    [SIM_I13] =
	{"I13", "CK-ATOM",
	 "A published entry changes only by single atomic operations whose old value is heeded",
	 SIM_LAYER_CORE, ALL},
    [SIM_I14] = {"I14", "CK-TLB",
		 "After a shootdown nothing can use a translation that it took away",
		 SIM_LAYER_CORE, ALL},
    [SIM_I15] =
	{"I15", "CK-FREE",
	 "No page or table is reused between the change of its entry and the end of the shootdown",
	 SIM_LAYER_CORE, ALL},
    [SIM_I16] =
	{"I16", "CK-TLB",
	 "Whatever restricts or replaces a present entry leads to a flush, judged by the old value",
	 SIM_LAYER_CORE, ALL},
    [SIM_I17] = {"I17", "CK-TLB",
		 "A flush covers the whole of the old leaf and every 4 KiB piece cached of it",
		 SIM_LAYER_CORE, ALL},
    [SIM_I18] = {"I18", "CK-TLB",
		 "A flush reaches every context and every CPU that may have cached the translation",
		 SIM_LAYER_CORE, ALL},
    [SIM_I19] =
	{"I19", "CK-TLB",
	 "Postponed flushes are done before pages are freed and before a caller relies on them",
	 SIM_LAYER_CORE, ALL},
    [SIM_I20] = {"I20", "CK-TLB",
		 "An initiator and a CPU entering the guest cannot both overlook each other",
		 SIM_LAYER_CORE, ALL},
    [SIM_I21] = {"I21", "CK-GEN",
		 "A CPU notes a generation as seen only once that flush has taken effect",
		 SIM_LAYER_CORE, ALL},
    [SIM_I22] =
	{"I22", "CK-TLB",
	 "A virtual CPU that moves, or whose CPU restarts, finds nothing stale where it arrives",
	 SIM_LAYER_CORE, ALL},
    [SIM_I23] =
	{"I23", "CK-GEN",
	 "Comparing generations gives what unbounded numbers would give, across wrap-around",
	 SIM_LAYER_CORE, ALL},
    [SIM_I24] = {"I24", "CK-SCHED",
		 "A shootdown ends in bounded time, whatever the other CPUs are doing",
		 SIM_LAYER_CORE, ALL},
    [SIM_I25] = {"I25", "CK-DIRTY",
		 "Every write is reported dirty, by this collection or by a later one",
		 SIM_LAYER_CORE, ALL},
    [SIM_I26] = {"I26", "CK-DIRTY",
		 "Only written pages are reported dirty, apart from the rest of a superpage",
		 SIM_LAYER_CORE, ALL},
    [SIM_I27] = {"I27", "CK-DIRTY",
		 "Accessed and dirty state reaches the owner before a mapping disappears",
		 SIM_LAYER_CORE, ALL},
    [SIM_I28] = {"I28", "CK-ACC",
		 "The accessed state is cleared by aging only, and never after the latest access",
		 SIM_LAYER_CORE, ALL},
    [SIM_I29] = {"I29", "CK-DIRTY",
		 "In a dirty log each page is marked, or write-protected with its flush complete",
		 SIM_LAYER_VMSPACE, NESTED},
    [SIM_I30] = {"I30", "CK-FREE",
		 "No entry maps a frame that its object does not own at that offset",
		 SIM_LAYER_VMSPACE, ALL},
    [SIM_I31] = {"I31", "CK-REF",
		 "A managed entry exists exactly where its object's map entries lead back to it",
		 SIM_LAYER_VMSPACE, ALL},
    [SIM_I32] = {"I32", "CK-API", "A wired page stays mapped to the same frame until it is unwired",
		 SIM_LAYER_CORE, ALL},
    [SIM_I33] = {"I33", "CK-REF", "A held page is neither freed nor moved until it is released",
		 SIM_LAYER_VMSPACE, ALL},
    [SIM_I34] = {"I34", "CK-DIRTY", "A page comes back from swap with what was last written to it",
		 SIM_LAYER_VMSPACE, ALL},
    [SIM_I35] =
	{"I35", "CK-API",
	 "Device memory is never paged out, joined beyond its end, or counted as guest memory",
	 SIM_LAYER_VMSPACE, ALL},
    [SIM_I36] = {"I36", "CK-API", "Read-only device memory and boot ROM are writable nowhere",
		 SIM_LAYER_VMSPACE, ALL},
    [SIM_I37] = {"I37", "CK-IOMMU", "Devices reach exactly the wired memory of their guest",
		 SIM_LAYER_VMSPACE, ALL},
    [SIM_I38] = {"I38", "CK-API",
		 "Map entries are sorted, disjoint, and found by any address inside them",
		 SIM_LAYER_VMSPACE, ALL},
    [SIM_I39] =
	{"I39", "CK-API",
	 "Ranges are half-open, reach the last page, and are refused without effect when wrong",
	 SIM_LAYER_CORE, ALL},
    [SIM_I40] = {"I40", "CK-OOM",
		 "An operation that fails leaves everything as it was, or as documented",
		 SIM_LAYER_CORE, ALL},
    [SIM_I41] = {"I41", "CK-OOM", "Unmapping and restricting never fail for lack of memory",
		 SIM_LAYER_CORE, ALL},
    [SIM_I42] = {"I42", "CK-MEM", "The accounts equal what a full walk of the tables counts",
		 SIM_LAYER_CORE, ALL},
    [SIM_I43] = {"I43", "CK-LEAK", "Destroying an address space gives back everything, once",
		 SIM_LAYER_CORE, ALL},
    [SIM_I44] =
	{"I44", "CK-SCHED",
	 "Locks are taken in order and released on every path; lock-free readers see live tables",
	 SIM_LAYER_CORE, ALL},
    [SIM_I45] = {"I45", "CK-SCHED", "Every fault makes progress, spurious and raced ones included",
		 SIM_LAYER_CORE, ALL},
    [SIM_I46] = {"I46", "CK-API", "Accesses made for a guest obey the rules of its own accesses",
		 SIM_LAYER_VMSPACE, ALL},
    [SIM_I47] = {"I47", "CK-WALK",
		 "Software bits stay with their entry and out of the positions that hardware reads",
		 SIM_LAYER_CORE, ALL},
    [SIM_I48] = {"I48", "CK-REPLAY", "The same seed and build give the same run, step by step",
		 SIM_LAYER_TOOL, ALL},
};

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
