/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * pmap-sim replay that stops: at a step, or where something happens, and shows the machine there;
 * or lets a debugger show it.
 *
 * Where "where something happens" lies is found out by making the run once: it is deterministic.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/cli/cli.h"
#include "sim/hw/hw_priv.h"
#include "sim/cli/number.h"
#include "sim/story/story.h"

#define TLB_LINES 24
#define TABLE_LINES 64

/* ---- The machine, as it is ------------------------------------------------------------------ */

static void
write_cached(const struct story *s, const struct story_cpu *c)
{
	char text[STORY_TEXT_BYTES];

	printf("  cached: %" PRIu32 "\n", c->sc_ncached);
	for (uint32_t i = 0; i < c->sc_ncached; i++) {
		const struct story_tlb_entry *t = &c->sc_cached[i];

		if (i == TLB_LINES) {
			printf("    ... and %" PRIu32 " more\n", c->sc_ncached - i);
			return;
		}
		printf("    %s", story_cached(s, t->tl_fill, text, sizeof(text)));
		if (t->tl_stale != STORY_NONE)
			printf(", stale since step %" PRIu64, s->st_events[t->tl_stale].se_step);
		putchar('\n');
	}
}

static void
write_cpu(const struct story *s, const struct story_state *state, unsigned int cpu)
{
	const struct story_cpu *c = &state->ss_cpus[cpu];
	char text[STORY_TEXT_BYTES];

	if (cpu == s->st_ncpus)
		printf("service CPU\n");
	else
		printf("CPU %u%s%s\n", cpu, c->sc_guest != STORY_NONE ? ", in guest mode" : "",
		       c->sc_pending  ? ", an interrupt waits"
		       : c->sc_flying ? ", an interrupt is on its way"
				      : "");
	for (uint32_t i = 0; i < c->sc_depth && i < STORY_DEPTH_MAX; i++)
		printf("  %s\n", story_action(s, c->sc_operations[i], text, sizeof(text)));
	for (uint32_t i = 0; i < c->sc_nstores; i++)
		printf("  in its buffer: %s\n",
		       story_action(s, c->sc_stores[i], text, sizeof(text)));
	write_cached(s, c);
}

/* The tables of a space, top down, without recursion. */
static void
write_tables(const struct story *s, unsigned int space)
{
	const struct hw_context *ctx = &s->st_spaces[space].sa_ctx;
	const unsigned int top = hw_context_levels(ctx) - 1;
	uint64_t tables[HW_LEVELS_MAX], value, gpa = 0;
	unsigned int slots[HW_LEVELS_MAX] = {0}, level = top, lines = 0;
	char text[STORY_TEXT_BYTES];

	tables[top] = hw_context_root(ctx);
	for (;;) {
		struct hw_entry e;

		if (slots[level] == SIM_TABLE_WORDS) {
			if (level == top)
				return;
			slots[level] = 0;
			level++;
			gpa &= ~(((uint64_t)SIM_TABLE_WORDS << hw_shift(level)) - 1);
			continue;
		}
		gpa = (gpa & ~(((uint64_t)SIM_TABLE_WORDS << hw_shift(level)) - 1)) |
		      (uint64_t)slots[level] << hw_shift(level);
		if (!sim_phys_peek(tables[level] + 8 * (uint64_t)slots[level]++, &value) ||
		    value == 0)
			continue;
		if (lines++ == TABLE_LINES) {
			printf("    ... and more\n");
			return;
		}
		printf("    %*s0x%" PRIx64 ": %s\n", (int)(2 * (top - level)), "", gpa,
		       story_entry(s, space, level, value, text, sizeof(text)));
		hw_entry_decode(ctx, level, value, &e);
		if (e.en_present && !e.en_leaf && level > 0 && e.en_bad == HW_FINE) {
			tables[--level] = e.en_addr;
			slots[level] = 0;
		}
	}
}

static void
write_space(const struct story *s, const struct story_state *state, unsigned int i)
{
	char text[STORY_TEXT_BYTES];

	printf("%s", s->st_spaces[i].sa_name);
	if (state->ss_gen[i])
		printf(", generation %" PRIu64, state->ss_gen[i]);
	putchar('\n');
	for (unsigned int k = 0; k < STORY_SLOTS_MAX; k++) {
		char change[STORY_TEXT_BYTES];
		const uint32_t ev = state->ss_slots[i][k];

		if (ev == STORY_NONE)
			continue;
		story_change(s, ev, change, sizeof(change));
		printf("  %s%s%s\n", story_action(s, ev, text, sizeof(text)), *change ? ", " : "",
		       change);
	}
	printf("  tables, from 0x%" PRIx64 ":\n", s->st_spaces[i].sa_root);
	write_tables(s, i);
}

struct stop {
	const struct cli_args *args;
	struct story *story;
	uint64_t step;
	bool reached;
};

/* While the machine still stands. */
static void
look(void *arg, const struct sim_report *report)
{
	struct stop *stop = arg;
	const struct story *s = stop->story;
	struct story_state state;

	stop->reached = report->sr_result == SIM_RUN_BUDGET && report->sr_step >= stop->step;
	if (!stop->reached)
		return;
	printf("stopped at step %" PRIu64 "; the last that mattered before it:\n", stop->step);
	cli_write_steps(stdout, s);
	story_state_init(&state, s);
	if (story_state_go(&state, s->st_n)) {
		for (unsigned int i = 0; i <= s->st_ncpus; i++)
			write_cpu(s, &state, i);
		for (unsigned int i = 0; i < s->st_nspaces; i++)
			write_space(s, &state, i);
	}
	story_state_free(&state);
}

/* ---- Where to stop -------------------------------------------------------------------------- */

/* The run as it is, told if there is a story. */
static int
run_through(const struct cli_args *a, struct story *story, struct sim_outcome *out)
{
	struct sim_options o = a->options;

	o.story = story;
	return cli_execute(&o, a->trace, out);
}

/* "cpu1", "cpu1:tlb", "cpu1:buffer": its last step, change of what is cached, of what is stored. */
static bool
parse_cpu(const char *what, unsigned int cpus, unsigned int *cpu, const char **part)
{
	char number[8];
	const char *colon = strchr(what, ':');
	const size_t n = colon ? (size_t)(colon - what) : strlen(what);
	uint64_t v;

	if (strncmp(what, "cpu", 3) != 0 || n < 4 || n - 3 >= sizeof(number))
		return false;
	snprintf(number, sizeof(number), "%.*s", (int)(n - 3), what + 3);
	*part = colon ? colon + 1 : "";
	if (!sim_number(number, &v) || v >= cpus)
		return false;
	*cpu = (unsigned int)v;
	return !colon || strcmp(*part, "tlb") == 0 || strcmp(*part, "buffer") == 0;
}

static bool
is_part(const struct story_event *e, unsigned int cpu, const char *part)
{
	if (strcmp(part, "tlb") == 0)
		return e->se_cpu == cpu && (e->se_kind == STORY_FILL || e->se_kind == STORY_DROP);
	if (strcmp(part, "buffer") == 0)
		return e->se_cpu == cpu &&
		       (e->se_kind == STORY_BUFFER || e->se_kind == STORY_DRAIN);
	return e->se_kind == STORY_POINT && e->se_actor == cpu;
}

/* The step behind the last event that is meant. 0: there is none. */
static uint64_t
last_of(const struct story *s, unsigned int cpu, const char *part)
{
	for (uint32_t i = s->st_n; i-- > 0;) {
		const struct story_event *e = &s->st_events[i];

		if (!(e->se_flags & SE_BEFORE) && is_part(e, cpu, part))
			return e->se_step + 1;
	}
	return 0;
}

/* The step of a violation of that invariant, or by that check. */
static int
find_violation(const struct stop *stop, const struct sim_outcome *out, uint64_t *step)
{
	const char *what = stop->args->break_at;

	if (out->verdict != SIM_VIOLATION) {
		cli_complain("the run violates nothing, so not %s either", what);
		return CLI_BUDGET;
	}
	if (strcmp(what, out->invariant) != 0 && strcmp(what, out->check) != 0) {
		cli_complain("the run violates %s (%s), and not %s",
			     *out->invariant ? out->invariant : "no invariant", out->check, what);
		return CLI_BUDGET;
	}
	*step = out->steps;
	return CLI_PASS;
}

/* Makes the run once, and looks for the place. */
static int
find(struct stop *stop)
{
	const struct cli_args *a = stop->args;
	static struct sim_outcome out;
	unsigned int cpu = 0;
	const char *part = "";
	const bool is_cpu = a->break_at && parse_cpu(a->break_at, a->options.cpus, &cpu, &part);
	int error;

	if (a->break_at && !is_cpu && strncmp(a->break_at, "CK-", 3) != 0 &&
	    (a->break_at[0] != 'I' || strlen(a->break_at) != 3)) {
		cli_complain("--break: '%s' is neither an invariant (I14), nor a check (CK-TLB), "
			     "nor cpuN, cpuN:tlb or cpuN:buffer",
			     a->break_at);
		return CLI_USAGE;
	}
	error = run_through(a, is_cpu ? stop->story : NULL, &out);
	free(out.choices);
	if (error) {
		cli_complain("%s", *out.message ? out.message : strerror(-error));
		return error == -EILSEQ ? CLI_DATA : CLI_INTERNAL;
	}
	if (is_cpu) {
		stop->step = last_of(stop->story, cpu, part);
		if (stop->step == 0) {
			cli_complain("there is no %s in this run", a->break_at);
			return CLI_BUDGET;
		}
		/* Behind its last step of all there is nothing. */
		if (stop->step > out.steps)
			stop->step = out.steps;
		return CLI_PASS;
	}
	if (a->break_at)
		return find_violation(stop, &out, &stop->step);
	stop->step = out.steps; /* for a debugger: the end */
	return CLI_PASS;
}

/* ---- Debuggers ------------------------------------------------------------------------------ */

/* The same command once more, under gdb, and with the step at which to stop. */
static int
debug(uint64_t step, int argc, char **argv)
{
	static const char *const before[] = {"gdb",    "-q",
					     "-ex",    "set breakpoint pending on",
					     "-ex",    "break sim_breakpoint",
					     "-ex",    "break sim_violation",
					     "-ex",    "run",
					     "--args", "/proc/self/exe",
					     "replay"};
	const size_t nbefore = sizeof(before) / sizeof(before[0]);
	const char **args = calloc(nbefore + (size_t)argc + 3, sizeof(*args));
	char self[REPLAY_LINE_BYTES], number[32];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t n = 0;

	if (!args || len < 0) {
		free(args);
		cli_complain("cannot start gdb: %s", strerror(errno));
		return CLI_ENVIRONMENT;
	}
	self[len] = '\0';
	snprintf(number, sizeof(number), "%" PRIu64, step);
	for (; n < nbefore; n++)
		args[n] = strcmp(before[n], "/proc/self/exe") == 0 ? self : before[n];
	for (int i = 1; i < argc; i++)
		args[n++] = argv[i];
	args[n++] = "--breakpoint";
	args[n++] = number;
	fflush(NULL);
	execvp(args[0], (char *const *)args);
	cli_complain("gdb cannot be started: %s", strerror(errno));
	free(args);
	return CLI_ENVIRONMENT;
}

/* ---- The whole ------------------------------------------------------------------------------ */

static int
stop_there(struct stop *stop)
{
	struct sim_options o = stop->args->options;
	static struct sim_outcome out;
	int error;

	o.story = stop->story;
	o.step_limit = stop->step;
	o.look = look;
	o.look_arg = stop;
	story_clear(stop->story,
		    stop->step > STORY_EVENTS_MAX / 4 ? stop->step - STORY_EVENTS_MAX / 4 : 0);
	error = cli_execute(&o, stop->args->trace, &out);
	free(out.choices);
	if (error) {
		cli_complain("%s", *out.message ? out.message : strerror(-error));
		return error == -EILSEQ ? CLI_DATA : CLI_INTERNAL;
	}
	if (!stop->reached) {
		cli_complain("the run ends before that: %s at step %" PRIu64,
			     sim_verdict_name(out.verdict), out.steps);
		return CLI_BUDGET;
	}
	return fflush(stdout) != 0 || ferror(stdout) ? CLI_ENVIRONMENT : CLI_PASS;
}

int
cli_stop(struct cli_args *a, int argc, char **argv)
{
	struct stop stop = {.args = a, .step = a->until};
	int code = CLI_PASS;

	if (a->options.arch_set & (a->options.arch_set - 1)) {
		cli_complain("--arch: one run only, so one kind of page table");
		return CLI_USAGE;
	}
	a->options.arch = (enum sim_arch)__builtin_ctz(a->options.arch_set);
	a->options.schedules = 1;
	stop.story = story_create();
	if (!stop.story) {
		cli_complain("out of memory");
		return CLI_INTERNAL;
	}
	if (stop.step == 0)
		code = find(&stop);
	if (code == CLI_PASS)
		code = a->gdb ? debug(stop.step, argc, argv) : stop_there(&stop);
	story_destroy(stop.story);
	return code;
}
