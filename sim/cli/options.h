/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What one run of the simulator is asked to do, and what came of it: the seam between the command
 * line (cli_*.c) and the workloads (workload.c and the scenarios).
 *
 * A run is one seed on one page-table type. The command line spreads seeds and types over worker
 * processes; the workload sees one at a time, in a process that may have run others before.
 */

#ifndef SIM_OPTIONS_H
#define SIM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/explore/explore.h"
#include "sim/machine/policy.h"

struct story;
struct trace; /* trace.h */

/* What the guests' page tables are made of; the values are bit numbers of sim_options.arch_set. */
enum sim_arch {
	SIM_ARCH_EPT,	   /* Intel, accessed and dirty flags in hardware */
	SIM_ARCH_EPT_NOAD, /* Intel, emulated accessed and dirty flags */
	SIM_ARCH_NPT,	   /* AMD */
	SIM_ARCH_X86,	   /* ordinary page tables: address spaces of processes */
	SIM_ARCH_COUNT,
};

/* "ept", "ept-noad", "npt", "x86". */
const char *sim_arch_name(enum sim_arch arch);

#define SIM_REPORTS_MAX 8

/*
 * Zero or NULL means "not said on the command line" for cpus, vcpus, steps, scenario, caps and
 * trace_path; sim_options_complete() turns that into what will be done.
 */
struct sim_options {
	const char *scenario;	/* NULL: the random workload */
	const char *trace_path; /* NULL: no trace; never together with scenario */
	const char *caps;	/* CPU profile by name; NULL: the workload's choice for the type */
	unsigned int arch_set;	/* bit mask of 1 << enum sim_arch */
	enum sim_arch arch;	/* the one of this run */
	unsigned int cpus;
	unsigned int vcpus;
	uint64_t seed;	    /* of this run */
	uint64_t count;	    /* seeds: seed, seed + 1 ... */
	uint64_t steps;	    /* budget of this run */
	const char *policy; /* --scheduler; NULL: random. By sim_options_complete(): */
	enum sim_scheduler scheduler;
	unsigned int depth; /* of SIM_SCHEDULER_PCT */
	uint64_t schedule;  /* the first one after the set-up; 0: the seed's own */
	uint64_t schedules; /* how many, one after the other; 0: as many as it takes for one */
	unsigned int store_buffer; /* of a small scenario: room in one; 0: its own */
	bool sequential;	   /* --memory-model sc: no store buffers */
	bool reference;		   /* --reference: the core's plainest form, locks everywhere */
	/* --kindness: what the hardware is to be gentle in (hw.h); NULL: nothing. */
	const char *kindness;
	const char
		*faults; /* --faults, as faults.h has it; NULL: what the workload injects anyway */

	/* Replay of recorded choices, instead of drawing them; whether to hand back a recording. */
	const struct sim_choice_record *choices; /* NULL: by seed */
	size_t nchoices;
	bool record_choices;
	struct story *story; /* in which this run is to be told (story.h), or NULL */
	const struct sim_choice_note *notes; /* of choices; NULL: their numbers alone must fit */
	bool choices_by_seed;		     /* choices are what the seed gives anyway */

	/*
	 * For tools that take a run apart. None of it draws a choice unless it is set. choose() is
	 * asked in place of the generator; it may leave a choice to it (SIM_CHOICE_DRAW).
	 */
	uint32_t (*choose)(void *arg, enum sim_choice kind, uint32_t n);
	void *choose_arg;
	uint64_t draw_seed;  /* of the generator; 0: seed, which also decides the configuration */
	uint64_t step_limit; /* the run ends there, as SIM_BUDGET, whatever it does; 0: far away */
	uint64_t break_at;   /* step at which sim_breakpoint() is called; 0: never */
	const struct sim_policy_ops *policy_ops; /* who decides instead of --scheduler, or NULL */
	void *policy_arg;
	bool may_stop; /* before each operation a CPU may choose to be through; not by chance */
	void (*look)(void *arg, const struct sim_report *report); /* at the end of the run */
	void *look_arg;

	/* For the command line only. */
	unsigned int jobs;
	bool check_determinism;
	bool json;
	bool quiet;
	const char *reports[SIM_REPORTS_MAX];
	unsigned int nreports;
};

enum sim_verdict {
	SIM_PASS,
	SIM_VIOLATION,
	SIM_BUDGET, /* stopped by the step budget before the workload was through */
};

/* Counters are named by string literals, so that reports need no table of them elsewhere. */
enum sim_counter_group {
	SIM_COUNT_OPERATIONS,
	SIM_COUNT_FAULTS,     /* injected */
	SIM_COUNT_INVARIANTS, /* evaluations; filled in by the command line from invariants.h */
	SIM_COUNT_HARDWARE,
	SIM_COUNT_GROUPS,
};

/* Never exercised over a whole run of seeds: the run fails (see sim_coverage_seeds()). */
#define SIM_COUNTER_REQUIRED 1u
/* Shown in the summary for people; the others are in the reports only. */
#define SIM_COUNTER_HEADLINE 2u

#define SIM_COUNTERS_MAX 256
#define SIM_COUNTER_NAME_BYTES 32
#define SIM_CHECK_BYTES 16
#define SIM_MESSAGE_BYTES 512
#define SIM_AGENTS_BYTES 512
#define SIM_MADE_OF_BYTES 1024
#define SIM_NO_CPU UINT32_MAX
#define SIM_FAULTS_ROOM 40
#define SIM_OPERATIONS_ROOM 48

struct sim_counter {
	char name[SIM_COUNTER_NAME_BYTES];
	uint64_t value;
	uint8_t group; /* enum sim_counter_group */
	uint8_t flags; /* SIM_COUNTER_* */
};

struct sim_outcome {
	enum sim_verdict verdict;
	enum sim_arch arch;
	uint64_t seed;
	uint64_t steps;	     /* made; for a violation, the step it happened at */
	uint64_t schedule;   /* the last one */
	uint64_t schedules;  /* made */
	unsigned int actors; /* of a policy (policy.h); the most */
	uint64_t picks;	     /* the most in a schedule */
	uint64_t trace_hash;
	uint64_t run_hash;   /* of what the programs did alone; of the last schedule */
	uint64_t state_hash; /* of the machine at the end: of violations, and with record_choices */
	uint32_t cpu;	     /* that violated, or SIM_NO_CPU */
	char check[SIM_CHECK_BYTES];	 /* "CK-TLB", for violations */
	char invariant[SIM_CHECK_BYTES]; /* "I14", for violations */
	char agents[SIM_AGENTS_BYTES];	 /* with record_choices: their names, in order, apart */
	char made_of[SIM_MADE_OF_BYTES]; /* with record_choices: what seed and options came to */
	char message[SIM_MESSAGE_BYTES]; /* a sentence: the violation, or why there was no run */
	/* How often each fault (machine.h) met each operation, and how often that was begun. */
	struct sim_outcome_faults {
		uint32_t begun[SIM_OPERATIONS_ROOM];
		uint32_t asked[SIM_FAULTS_ROOM][SIM_OPERATIONS_ROOM];
		uint32_t hit[SIM_FAULTS_ROOM][SIM_OPERATIONS_ROOM];
	} faults;

	unsigned int ncounters;
	struct sim_counter counters[SIM_COUNTERS_MAX];

	/* With record_choices: from malloc(), the caller's to free. Else NULL. */
	struct sim_choice_record *choices;
	size_t nchoices;
	struct sim_choice_note *notes; /* as many, in the same memory as the choices; or NULL */
};

/*
 * A machine as the options ask for: its CPUs and memory model, where its choices come from, when it
 * stops, what it records. Everything else is as usual.
 */
struct sim_config;
void sim_options_machine(const struct sim_options *o, struct sim_config *cfg);

/* What a machine's report says, as an outcome. */
struct sim_report;
void sim_outcome_of(const struct sim_report *report, struct sim_outcome *out);

/* Memory for n choices and their notes; NULL if there is none. */
struct sim_choice_record *sim_outcome_room(struct sim_outcome *out, size_t n);

/* What the machine has recorded, with the names of its agents. 0 or -ENOMEM. */
int sim_outcome_keep(struct sim_outcome *out, struct sim_machine *m);

/*
 * Adds value to the counter of that name and group, creating it if needed, and sets flags. Names
 * are words joined by dashes. Counters of value 0 are meaningful: they say what could have been
 * exercised. A table that is full, or a name that is too long, is a mistake of the program:
 * abort().
 */
void sim_outcome_count(struct sim_outcome *out, enum sim_counter_group group, const char *name,
		       uint64_t value, unsigned int flags);

/* ---- What the workload provides ------------------------------------------------------------- */

/*
 * Fills in what the command line left open, and says whether the options make sense together for
 * every type in arch_set. Returns 0, or -EINVAL with one sentence in why; *o is then unchanged.
 * trace is the opened trace of trace_path, or NULL. What it fills in must not depend on arch_set: a
 * replay of one type alone must find the same.
 */
int sim_options_complete(struct sim_options *o, const struct trace *trace, char *why,
			 size_t why_bytes);

/*
 * One run: o->seed (or o->choices) on o->arch. *out is zeroed by the caller except for arch and
 * seed. Returns 0 when the run took place, whatever its verdict; a negative errno, with a sentence
 * in out->message, when it could not; -EILSEQ if the list of choices does not fit this program (it
 * was recorded by another build). May be called again and again; leaves nothing behind.
 */
int sim_run_workload(const struct sim_options *o, struct sim_outcome *out);

/* The same, with the accesses of a recorded program as what the guests do. */
int sim_run_trace(const struct sim_options *o, const struct trace *trace, struct sim_outcome *out);

/*
 * From how many runs on, all types together, every required counter must have been exercised;
 * UINT64_MAX: these options promise no coverage.
 */
uint64_t sim_coverage_seeds(const struct sim_options *o);

/*
 * The search of all runs of a small scenario, as explore_search(). EXPLORE_FAILED with a sentence
 * in why if it cannot be. First: whether *o names one, and of which kind of page table; what it
 * says of bounds goes into *b unless that is NULL.
 */
enum explore_end sim_search(const struct sim_options *o, struct explore *ex, char *why,
			    size_t why_bytes);
bool sim_search_complete(struct sim_options *o, struct explore_bounds *b, char *why,
			 size_t why_bytes);

struct sim_scenario_info {
	const char *name;
	const char *purpose; /* one line */
};

/* The name of the i-th operation of the workloads, "none" being the first; NULL past the last. */
const char *sim_workload_operation(unsigned int i);

/* The i-th scenario, or NULL past the last one. */
const struct sim_scenario_info *sim_scenario(unsigned int i);

#endif /* SIM_OPTIONS_H */
