/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Several pmaps on one simulated machine, to be held against each other: the same format in fast
 * and in reference form, or different formats on CPUs that are otherwise alike. Each has vCPUs (for
 * PT_X86: threads) that run on any CPU and reach memory through the simulated hardware alone.
 *
 * What runs on a CPU must not use Criterion's assertions: it reports by sim_violation().
 */

#ifndef TESTS_UNIT_TWIN_H
#define TESTS_UNIT_TWIN_H

#include "ept/ept.h"
#include "pmap/pmap_ident.h"
#include "sim/hw/hw.h"
#include "sim/machine/machine.h"

#define TWIN_CPUS 5
#define TWIN_VCPUS 3
#define TWINS_MAX 16

enum twin_arch { TWIN_EPT, TWIN_EPT_NOAD, TWIN_NPT, TWIN_X86, TWIN_ARCHES };

/* What the CPUs of a rig can do, whatever their format. */
struct twin_cpus {
	uint8_t tc_levels;
	uint8_t tc_leaf_levels;
	bool tc_exec_only; /* where the format has it */
	bool tc_mixed_size_erratum;
};

struct rig;

struct twin {
	struct rig *tw_rig;
	unsigned int tw_index;
	char tw_name[48];
	enum twin_arch tw_arch;
	struct ept_cpu tw_cpu;
	struct hw_model tw_model;
	struct pmap *tw_pmap;
	struct hw_context tw_ctx[TWIN_VCPUS];
	struct pmap_slot *tw_slots[TWIN_CPUS]; /* by CPU; RVI: by vCPU */
	struct pmap_asid tw_asids[TWIN_VCPUS];
};

struct rig {
	struct sim_machine *rg_machine;
	struct twin_cpus rg_cpus;
	struct pmap_asid_cpu rg_asids[TWIN_CPUS];
	struct twin *rg_loaded[TWIN_CPUS];
	struct twin rg_twins[TWINS_MAX];
	unsigned int rg_ntwins;

	/* The notes of every pmap; called with locks held. */
	void (*rg_note)(void *arg, struct twin *tw, const struct pmap_leaf *leaf);
	void *rg_arg;
	struct sim_report rg_report;
};

/*
 * A machine with hardware and without pmaps, seeded; false with a sentence in why[]. speculation
 * also means that CPUs forget translations by themselves.
 */
bool rig_open(struct rig *r, uint64_t seed, const struct twin_cpus *cpus, bool speculation,
	      char *why, size_t why_bytes);
void rig_close(struct rig *r);

/* Runs fn in the driver's context, or alone on a CPU; false if rg_report tells of a violation. */
bool rig_call(struct rig *r, void (*fn)(void *arg), void *arg);
bool rig_run_on(struct rig *r, unsigned int cpu, void (*fn)(void *arg), void *arg);

/* Adds a pmap: in the driver. flags: PMAP_REFERENCE, PMAP_DEFER. */
void twin_open(struct rig *r, enum twin_arch arch, unsigned int flags);
/* Ends all of them: in the driver. Data frames are the test's. */
void twins_close(struct rig *r);

static inline bool
twin_emulates(const struct twin *tw)
{
	return tw->tw_arch == TWIN_EPT_NOAD;
}

/* What a vCPU does, and what its owner does about faults. */
struct twin_program {
	/* The next access; false: no more. */
	bool (*tp_next)(void *arg, gpa_t *gpa, unsigned int *access);
	/* It takes place, now: no scheduling point before the return. */
	void (*tp_done)(void *arg, gpa_t gpa, unsigned int access, const struct hw_translation *t);
	/* The pmap has no answer: 0 or -EAGAIN to try again; else the access is given up. */
	int (*tp_fault)(void *arg, gpa_t gpa, unsigned int access);
	void *tp_arg;
};

/* Runs a vCPU on the CPU of the caller's fiber to the end of its program. */
void twin_run(struct twin *tw, unsigned int vcpu, const struct twin_program *p);

#endif /* TESTS_UNIT_TWIN_H */
