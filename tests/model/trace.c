/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Runs the real clock (pmap/pmap_tlb.c) on the simulated machine and prints what its CPUs do to the
 * words that the model in shootdown.pml has: one operation per line, in the order in which the
 * machine made them, "LOAD_SLOT 0 2 5" for "CPU 0 reads 5 in the slot of CPU 2". check.py then asks
 * Spin whether the model can do the same. A store is printed when its CPU makes it, not when it
 * reaches memory: when that was must follow from what others read, in the model as in the machine.
 *
 * usage: model-trace SEED INITIATORS SHOOTDOWNS
 */

#include "pmap/host.h"
#include "pmap/pmap_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/machine/machine.h"

#define CPUS 3
#define STORE_BUFFER 2
#define POINTS_MAX 6 /* of a guest in one session */

enum word { WORD_GEN, WORD_DONE, WORD_SLOT, WORD_FORCE, WORD_PAGE, WORD_COUNT };

/* What the program tells of itself: the value of its SIM_USER steps. */
enum said { SAID_FLUSH, SAID_FAIL, SAID_RETURN, SAID_RESET, SAID_COUNT };

static const char *const said_names[SAID_COUNT] = {"FLUSH", "FAIL", "RETURN", "RESET"};

struct rig {
	struct pmap *pm;
	struct pmap_slot *slots[CPUS];
	struct host_word *pages; /* what CPU c takes away in its shootdowns */
	uint64_t ids[WORD_COUNT][CPUS];
	uint64_t *learned;	 /* where the next step's name goes, or NULL */
	uint64_t rmw_step[CPUS]; /* of its locked operation seen last */
	unsigned int running;	 /* initiators that are not through */
	unsigned int initiators;
	unsigned int shootdowns;
};

static struct rig rig;

/* ---- Printing ------------------------------------------------------------------------------- */

static bool
find_word(uint64_t id, enum word *word, unsigned int *cpu)
{
	for (unsigned int w = 0; w < WORD_COUNT; w++) {
		for (unsigned int c = 0; c < CPUS; c++) {
			if (rig.ids[w][c] == id) {
				*word = (enum word)w;
				*cpu = c;
				return true;
			}
		}
	}
	return false;
}

/* A locked operation that changes its word is two steps: what was there, then what is. */
static void
print_locked(const struct sim_step *st, enum word word, unsigned int cpu)
{
	const unsigned int c = st->st_actor;
	const bool first = rig.rmw_step[c] != st->st_step;

	rig.rmw_step[c] = st->st_step;
	if (word == WORD_SLOT && !first)
		printf("XCHG_SLOT %u %u %" PRIu64 "\n", c, cpu, st->st_value);
	else if (word == WORD_GEN && !first)
		printf("XCHG_GEN %u 0 %" PRIu64 "\n", c, st->st_value);
	else if (word == WORD_DONE && first)
		printf("CAS_DONE %u %" PRIu64 " 0\n", c, st->st_value);
	else if (word == WORD_FORCE && first)
		printf("%s %u %u %" PRIu64 "\n", c == cpu ? "CAS_FORCE" : "ADD_FORCE", c, cpu,
		       st->st_value);
	else if (word == WORD_PAGE && !first)
		printf("MAP %u %u 0\n", c, cpu);
}

static void
print_word(const struct sim_step *st, enum word word, unsigned int cpu)
{
	static const char *const loads[WORD_COUNT] = {"LOAD_GEN", "LOAD_DONE", "LOAD_SLOT",
						      "LOAD_FORCE", NULL};
	const unsigned int c = st->st_actor;

	switch (st->st_kind) {
	case SIM_LOAD:
	case SIM_LOAD_ACQUIRE:
		/* What a CPU reads in its own slot is its own; assertions do. */
		if (loads[word] != NULL && !(word == WORD_SLOT && c == cpu))
			printf("%s %u %u %" PRIu64 "\n", loads[word], c, cpu, st->st_value);
		break;
	case SIM_STORE:
	case SIM_STORE_RELEASE:
		printf("%s %u %u %" PRIu64 "\n", word == WORD_PAGE ? "CLEAR" : "STORE_SLOT", c, cpu,
		       st->st_value);
		break;
	case SIM_RMW:
		print_locked(st, word, cpu);
		break;
	default:
		break;
	}
}

static void
on_step(void *arg, const struct sim_step *st)
{
	enum word word;
	unsigned int cpu;

	(void)arg;
	if (st->st_actor >= CPUS)
		return;
	if (rig.learned != NULL) {
		*rig.learned = st->st_id;
		rig.learned = NULL;
		return;
	}
	if (st->st_kind == SIM_KICK)
		printf("KICK %u %" PRIu64 " 0\n", st->st_actor, st->st_value);
	else if (st->st_kind == SIM_USER && st->st_id == 0 && st->st_value >> 8 == 0xe0)
		printf("%s %u %u 0\n", said_names[st->st_value & 0xff], st->st_actor,
		       (st->st_value & 0xff) == SAID_RETURN ? st->st_actor : 0);
	else if (find_word(st->st_id, &word, &cpu))
		print_word(st, word, cpu);
}

static void
say(enum said what)
{
	sim_trace(SIM_USER, 0, (uint64_t)0xe0 << 8 | what);
}

/* ---- The program of each CPU ---------------------------------------------------------------- */

static void
kicked(void *arg, unsigned int cpu)
{
	(void)arg;
	(void)cpu;
}

static void
session(struct pmap_slot *s)
{
	sim_irq_disable();

	const bool flush = pmap_guest_enter(rig.pm, s);

	if (sim_choose(SIM_CHOICE_WORKLOAD, 4) == 0) {
		say(SAID_FAIL);
	} else {
		if (flush) {
			say(SAID_FLUSH);
			pmap_guest_flushed(s);
		}
		unsigned int points = sim_choose(SIM_CHOICE_WORKLOAD, POINTS_MAX);
		if (sim_guest_enter()) {
			while (points-- > 0 && sim_guest_point(0))
				;
		}
		sim_guest_exit();
	}
	pmap_guest_exit(s);
	sim_irq_enable();
}

static void
shootdown(unsigned int cpu)
{
	host_store(&rig.pages[cpu], 0);
	pmap_invalidate_page(rig.pm, 0);
	say(SAID_RETURN);
	host_xchg(&rig.pages[cpu], 1);
}

static void
go_offline(unsigned int cpu)
{
	host_fence();
	sim_cpu_set_online(cpu, false);
	for (unsigned int i = 0; i < POINTS_MAX; i++)
		sim_point(SIM_USER, NULL);
	sim_cpu_set_online(cpu, true);
	pmap_slot_reset(rig.slots[cpu]);
	say(SAID_RESET);
}

static void
program(void *arg)
{
	const unsigned int cpu = sim_cpu();
	const bool initiates = cpu < rig.initiators;

	(void)arg;
	for (unsigned int left = rig.shootdowns; initiates ? left > 0 : rig.running > 0;) {
		const unsigned int what = sim_choose(SIM_CHOICE_WORKLOAD, 4);

		if (initiates && what < 2) {
			shootdown(cpu);
			left--;
		} else if (cpu == CPUS - 1 && what == 0) {
			go_offline(cpu);
		} else {
			session(rig.slots[cpu]);
		}
	}
	if (initiates)
		rig.running--;
}

/* ---- Set-up --------------------------------------------------------------------------------- */

static void
learn(enum word word, unsigned int cpu, const struct host_word *w)
{
	rig.learned = &rig.ids[word][cpu];
	(void)host_load(w);
}

static void
set_up(void *arg)
{
	const struct pmap_config cfg = {
		.pc_type = PT_EPT,
		.pc_caps = {.pc_levels = 4, .pc_leaf_levels = 1, .pc_phys_bits = 46},
	};

	(void)arg;
	HOST_ASSERT(pmap_init(&cfg, &rig.pm) == 0);
	rig.pages = sim_alloc(CPUS * 64);
	for (unsigned int c = CPUS; c-- > 0;) {
		rig.slots[c] = sim_alloc(sizeof(*rig.slots[c]));
		pmap_slot_attach(rig.pm, rig.slots[c]);
	}
}

/* A program: what the driver reads leaves no step. */
static void
learn_all(void *arg)
{
	(void)arg;
	learn(WORD_GEN, 0, &rig.pm->pm_gen);
	learn(WORD_DONE, 0, &rig.pm->pm_completed);
	for (unsigned int c = 0; c < CPUS; c++) {
		learn(WORD_SLOT, c, &rig.slots[c]->ps_state);
		learn(WORD_FORCE, c, &rig.slots[c]->ps_force);
		learn(WORD_PAGE, c, &rig.pages[c]);
	}
}

int
main(int argc, char **argv)
{
	struct sim_config cfg;
	struct sim_report report;
	char why[256];

	if (argc != 4) {
		fputs("usage: model-trace SEED INITIATORS SHOOTDOWNS\n", stderr);
		return 64;
	}
	sim_config_init(&cfg);
	cfg.sc_cpus = CPUS;
	cfg.sc_seed = strtoull(argv[1], NULL, 0);
	cfg.sc_store_buffer = STORE_BUFFER;
	cfg.sc_run_lengths = 1;
	rig.initiators = (unsigned int)strtoul(argv[2], NULL, 0);
	rig.shootdowns = (unsigned int)strtoul(argv[3], NULL, 0);
	rig.running = rig.initiators;

	struct sim_machine *m = sim_machine_create(&cfg, why, sizeof(why));

	if (m == NULL || rig.initiators > CPUS) {
		fprintf(stderr, "model-trace: %s\n",
			m == NULL ? why : "so many CPUs there are not");
		return 70;
	}
	sim_set_irq_handler(kicked, NULL);
	sim_set_step_hook(on_step, NULL);
	if (sim_machine_call(m, set_up, NULL, &report) == SIM_RUN_PASSED &&
	    sim_spawn(m, 0, learn_all, NULL) == 0 &&
	    sim_machine_run(m, &report) == SIM_RUN_PASSED) {
		for (unsigned int c = 0; c < CPUS; c++)
			sim_spawn(m, c, program, NULL);
		sim_machine_run(m, &report);
	}
	if (report.sr_result != SIM_RUN_PASSED)
		fprintf(stderr, "model-trace: %s %s: %s\n", report.sr_check, report.sr_invariant,
			report.sr_message);
	sim_set_step_hook(NULL, NULL);
	sim_machine_destroy(m);
	return report.sr_result == SIM_RUN_PASSED ? 0 : 1;
}
