/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Small scenarios, which can be searched exhaustively: a short program for each CPU, on a guest of
 * a few pages. Nothing in them is random but what the machine chooses, so that a run is its
 * schedule.
 *
 * A scenario is a row of a table in one of the files xp_*.c; docs/EXPLORE.md tells how to write
 * one. It runs with `pmap-sim run` as well, by chance, and with every scheduler; its replay files
 * are like any other's.
 */

#ifndef SIM_XP_H
#define SIM_XP_H

#include "sim/explore/explore.h"
#include "sim/workload/hostop.h"
#include "sim/workload/workload.h"

#define XP_CPUS (EXPLORE_CPUS - 1)

struct xp;
typedef void xp_fn(struct xp *x);

struct xp_scenario {
	struct sim_scenario_info xs_info;
	const char *xs_mutant;	/* of tests/mutants: what the search must find */
	const char *xs_caps;	/* CPU profile; NULL: the first that fits */
	unsigned int xs_arches; /* bits 1 << enum sim_arch; the lowest is the default */
	unsigned int xs_vcpus;

	/* In the driver's context: the guest, what is mapped, what is warm. */
	xp_fn *xs_set_up;
	xp_fn *xs_programs[XP_CPUS]; /* of CPU 0, 1 ...; up to the first NULL */
	xp_fn *xs_check;	     /* in the driver's context, when all are over; or NULL */

	/* Bounds, and what the machine has. */
	uint32_t xs_preemptions;     /* by default; EXPLORE_UNBOUNDED */
	unsigned int xs_stores;	     /* room in a store buffer; 0: 2 */
	uint32_t xs_fills;	     /* speculative walks of each CPU */
	uint32_t xs_evictions;	     /* of all */
	unsigned int xs_faults;	     /* bits 1 << enum sim_fault: these may happen, each time */
	unsigned int xs_fault_count; /* but so many in one run */
	uint32_t xs_kindness;	     /* HW_KIND_*, beside HW_KIND_ATOMIC_WALK */
	bool xs_torn_walks;	     /* not even that */
	uint32_t xs_frames;	     /* 0: 512 */
	uint32_t xs_swap_slots;
	bool xs_iommu;
	uint32_t xs_program_choice; /* what programs choose, where they do; or the last */
	bool xs_unanswered;	    /* a vCPU that faults has done */
	unsigned int xs_flags;	    /* PMAP_DEFER ... of guests */
	unsigned int xs_vm_flags;   /* VM_* of guests */
};

#define XP_PAGES_MAX 8
#define XP_SCRIPT_MAX 8

/* What a vCPU does: accesses, in order. */
struct xp_script {
	unsigned int sc_n;
	unsigned int sc_at;
	struct {
		gpa_t gpa;
		unsigned int access;
	} sc_access[XP_SCRIPT_MAX];
};

struct xp {
	struct world xp_world;
	const struct xp_scenario *xp_scenario;
	struct space *xp_guest;
	struct xp_script xp_scripts[XP_CPUS];
	unsigned int xp_over;  /* programs that have returned */
	uint64_t xp_values[8]; /* a scenario's own; part of the end's digest */
};

#define XP_PAGE(n) ((gpa_t)(n)*SIM_PAGE_SIZE)

/* ---- For set-up ----------------------------------------------------------------------------- */

/* The guest: npages of memory from address 0, one map, all rights. */
struct space *xp_guest(struct xp *x, unsigned int npages);
struct space *xp_guest_named(struct xp *x, const char *name, unsigned int npages);

/* Maps a page by a fault, as an access would. */
void xp_fault(struct space *sp, gpa_t gpa, unsigned int access);

/* A CPU reads the page: A is set from the root down, and nothing stays cached. */
void xp_warm(struct space *sp, gpa_t gpa);

/* The same for a write; the ghosts know of it. */
void xp_write(struct space *sp, gpa_t gpa);

/*
 * As if the vCPU had run on that CPU, with the accesses that it made there cached, and its flushes
 * made: its next entry there needs none. Reads only; what was written before stays dirty.
 */
void xp_ran(struct space *sp, unsigned int vcpu, unsigned int cpu, gpa_t gpa);

/*
 * Whole set-ups: a guest of one page that was read, or written, by the vCPU on CPU 1, where it is
 * cached.
 */
void xp_one_read(struct xp *x);
void xp_one_written(struct xp *x);

/* An address that the hardware speculates about; HW_TARGETS_MAX at most. */
void xp_target(gpa_t gpa);

/* ---- For programs --------------------------------------------------------------------------- */

/* Runs a vCPU of a guest until it has made these accesses: pairs of address and PMAP_PROT_*. */
void xp_run(struct xp *x, struct space *sp, unsigned int vcpu, unsigned int n,
	    const gpa_t (*accesses)[2]);

#define XP_RUN(x, sp, vcpu, ...)                                                                \
	do {                                                                                    \
		static const gpa_t xp_accesses[][2] = {__VA_ARGS__};                            \
		xp_run(x, sp, vcpu, sizeof(xp_accesses) / sizeof(xp_accesses[0]), xp_accesses); \
	} while (0)

/* Whole programs: vCPU 0 reads, or writes, the guest's first page; the host unmaps it. */
void xp_read_first(struct xp *x);
void xp_write_first(struct xp *x);
void xp_remove_first(struct xp *x);

/* ---- The tables, and running one ------------------------------------------------------------ */

/* One per file xp_*.c: ends with a row without a name. */
extern const struct xp_scenario xp_shootdown_scenarios[];
extern const struct xp_scenario xp_bits_scenarios[];
extern const struct xp_scenario xp_tables_scenarios[];
extern const struct xp_scenario xp_memory_scenarios[];

/* The i-th, or NULL; by name, or NULL. */
const struct xp_scenario *xp_scenario_at(unsigned int i);
const struct xp_scenario *xp_find(const char *name);

unsigned int xp_cpus(const struct xp_scenario *xs);

/* What the options of a run of one leave open. 0, or -EINVAL with a sentence. */
int xp_complete(struct sim_options *o, char *why, size_t why_bytes);

/* One run, or schedules, as any workload. */
int xp_run_workload(const struct sim_options *o, struct sim_outcome *out);

#endif /* SIM_XP_H */
