/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Replay files, strictly: a line that is unknown, given twice, missing or malformed is an error
 * with its number, since a replay that silently runs something else is worse than none.
 */

#include "sim/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "sim/machine.h"
#include "sim/number.h"
#include "sim/version.h"

#define MAGIC "pmap-sim replay "
#define CHOICES_WIDTH 90

struct reader {
	FILE *from;
	struct replay *re;
	unsigned int line;
	char text[REPLAY_LINE_BYTES + 2];
	char *why;
	size_t why_bytes;
	uint64_t seen;	 /* keys, by their place in the table */
	size_t nchoices; /* as announced */
	size_t room;	 /* allocated */
	uint64_t version;
};

__attribute__((format(printf, 2, 3))) static int
unsound(struct reader *r, const char *fmt, ...)
{
	const int n = snprintf(r->why, r->why_bytes, "line %u: ", r->line);
	va_list ap;

	va_start(ap, fmt);
	if (n > 0 && (size_t)n < r->why_bytes)
		vsnprintf(r->why + n, r->why_bytes - (size_t)n, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* Reads a line without its newline. */
static int
next_line(struct reader *r)
{
	size_t n;

	r->line++;
	if (!fgets(r->text, sizeof(r->text), r->from)) {
		if (ferror(r->from)) {
			const int error = errno ? errno : EIO;

			snprintf(r->why, r->why_bytes, "cannot be read: %s", strerror(error));
			return -error;
		}
		return unsound(r, "the file ends without its last line, 'end'");
	}
	n = strlen(r->text);
	if (n == 0 || r->text[n - 1] != '\n')
		return unsound(r, "too long, cut off, or not text");
	r->text[n - 1] = '\0';
	for (const char *p = r->text; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return unsound(r, "holds a control character");
	}
	return 0;
}

/* ---- Values of keys ------------------------------------------------------------------------- */

static bool
set_text(char *to, size_t room, const char *value)
{
	if (!*value || strlen(value) >= room)
		return false;
	strcpy(to, value);
	return true;
}

static bool
set_count(unsigned int *to, const char *value)
{
	uint64_t v;

	if (!sim_number(value, &v) || v < 1 || v > UINT32_MAX)
		return false;
	*to = (unsigned int)v;
	return true;
}

/* The index of value among n words, or -1. */
static int
word_index(const char *const *words, unsigned int n, const char *value)
{
	for (unsigned int i = 0; i < n; i++) {
		if (strcmp(words[i], value) == 0)
			return (int)i;
	}
	return -1;
}

static bool
set_bool(bool *to, const char *if_false, const char *if_true, const char *value)
{
	const char *const words[] = {if_false, if_true};
	const int i = word_index(words, 2, value);

	*to = i == 1;
	return i >= 0;
}

static bool
set_arch(struct replay *re, const char *value)
{
	for (unsigned int i = 0; i < SIM_ARCH_COUNT; i++) {
		if (strcmp(sim_arch_name((enum sim_arch)i), value) == 0) {
			re->re_options.arch = (enum sim_arch)i;
			re->re_options.arch_set = 1u << i;
			return true;
		}
	}
	return false;
}

static bool
set_verdict(struct replay *re, const char *value)
{
	static const char *const words[] = {"pass", "violation", "budget"};
	static const enum sim_verdict verdicts[] = {SIM_PASS, SIM_VIOLATION, SIM_BUDGET};
	const int i = word_index(words, 3, value);

	if (i >= 0)
		re->re_verdict = verdicts[i];
	return i >= 0;
}

enum key {
	KEY_BUILD,
	KEY_ARCH,
	KEY_SCENARIO,
	KEY_TRACE,
	KEY_CAPS,
	KEY_CPUS,
	KEY_VCPUS,
	KEY_STEPS,
	KEY_MEMORY_MODEL,
	KEY_REFERENCE,
	KEY_SEED,
	KEY_VERDICT,
	KEY_CHECK,
	KEY_INVARIANT,
	KEY_STEP,
	KEY_TRACE_HASH,
	KEY_CHOICES,
	KEY_COUNT,
};

static const char *const key_names[KEY_COUNT] = {
	"build", "arch",      "scenario",     "trace",	    "caps",    "cpus",
	"vcpus", "steps",     "memory-model", "reference",  "seed",    "verdict",
	"check", "invariant", "step",	      "trace-hash", "choices",
};

#define KEYS_REQUIRED                                                                            \
	(1u << KEY_BUILD | 1u << KEY_ARCH | 1u << KEY_CPUS | 1u << KEY_VCPUS | 1u << KEY_STEPS | \
	 1u << KEY_MEMORY_MODEL | 1u << KEY_REFERENCE | 1u << KEY_SEED | 1u << KEY_VERDICT |     \
	 1u << KEY_STEP | 1u << KEY_TRACE_HASH)

static bool
set_value(struct reader *r, enum key key, const char *value)
{
	struct replay *re = r->re;
	struct sim_options *o = &re->re_options;
	uint64_t n;

	switch (key) {
	case KEY_BUILD:
		return set_text(re->re_build, sizeof(re->re_build), value);
	case KEY_ARCH:
		return set_arch(re, value);
	case KEY_SCENARIO:
		o->scenario = re->re_scenario;
		return set_text(re->re_scenario, sizeof(re->re_scenario), value);
	case KEY_TRACE:
		o->trace_path = re->re_trace;
		return set_text(re->re_trace, sizeof(re->re_trace), value);
	case KEY_CAPS:
		o->caps = re->re_caps;
		return set_text(re->re_caps, sizeof(re->re_caps), value);
	case KEY_CPUS:
		return set_count(&o->cpus, value);
	case KEY_VCPUS:
		return set_count(&o->vcpus, value);
	case KEY_STEPS:
		return sim_number(value, &o->steps) && o->steps > 0;
	case KEY_MEMORY_MODEL:
		return set_bool(&o->sequential, "tso", "sc", value);
	case KEY_REFERENCE:
		return set_bool(&o->reference, "no", "yes", value);
	case KEY_SEED:
		return sim_number(value, &o->seed);
	case KEY_VERDICT:
		return set_verdict(re, value);
	case KEY_CHECK:
		return set_text(re->re_check, sizeof(re->re_check), value);
	case KEY_INVARIANT:
		return set_text(re->re_invariant, sizeof(re->re_invariant), value);
	case KEY_STEP:
		return sim_number(value, &re->re_step);
	case KEY_TRACE_HASH:
		return sim_number(value, &re->re_trace_hash);
	case KEY_CHOICES:
		if (!sim_number(value, &n) || n > REPLAY_CHOICES_MAX)
			return false;
		r->nchoices = (size_t)n;
		return true;
	default:
		return false;
	}
}

static int
read_key(struct reader *r)
{
	char *value = strstr(r->text, ": ");
	int key;

	if (!value)
		return unsound(r, "not of the form 'key: value'");
	*value = '\0';
	value += 2;
	key = word_index(key_names, KEY_COUNT, r->text);
	if (key < 0)
		return unsound(r, "unknown key '%.40s'", r->text);
	if (r->seen >> key & 1)
		return unsound(r, "'%s' is given twice", r->text);
	r->seen |= UINT64_C(1) << key;
	if (!set_value(r, (enum key)key, value))
		return unsound(r, "'%.40s' is no value for '%s'", value, r->text);
	return 0;
}

/* ---- Choices -------------------------------------------------------------------------------- */

/* One field of a choice: digits up to a delimiter. */
static bool
get_field(char **p, const char *delimiters, uint64_t *value)
{
	const size_t n = strcspn(*p, delimiters);
	const char saved = (*p)[n];
	bool ok;

	(*p)[n] = '\0';
	ok = sim_number(*p, value) && *value <= UINT32_MAX;
	(*p)[n] = saved;
	*p += n;
	return ok;
}

static bool
append(struct reader *r, const struct sim_choice_record *c, uint64_t times)
{
	struct replay *re = r->re;
	struct sim_options *o = &re->re_options;

	if (times < 1 || times > r->nchoices - o->nchoices)
		return false;
	if (o->nchoices + times > r->room) {
		const size_t need = o->nchoices + (size_t)times;
		const size_t room = need < 2 * r->room ? 2 * r->room : need;
		struct sim_choice_record *bigger = realloc(re->re_choices, room * sizeof(*bigger));

		if (!bigger)
			return false;
		re->re_choices = bigger;
		r->room = room;
	}
	for (uint64_t i = 0; i < times; i++)
		re->re_choices[o->nchoices++] = *c;
	o->choices = re->re_choices;
	return true;
}

/* KIND.N.VALUE or KIND.N.VALUE*COUNT, separated by single blanks. */
static int
read_choice_line(struct reader *r)
{
	char *p = r->text;

	for (;;) {
		uint64_t kind, n, value, times = 1;
		struct sim_choice_record c;

		if (!get_field(&p, ".", &kind) || *p++ != '.' || !get_field(&p, ".", &n) ||
		    *p++ != '.' || !get_field(&p, "* ", &value) ||
		    (*p == '*' && (p++, !get_field(&p, " ", &times))))
			return unsound(r, "not a list of choices KIND.N.VALUE");
		if (kind >= SIM_CHOICE_COUNT || n < 2 || value >= n)
			return unsound(r, "an impossible choice, %" PRIu64 ".%" PRIu64 ".%" PRIu64,
				       kind, n, value);
		c = (struct sim_choice_record){(uint32_t)kind, (uint32_t)n, (uint32_t)value};
		if (!append(r, &c, times))
			return unsound(r, "more choices than the file announces, or than fit");
		if (!*p)
			return 0;
		p++;
	}
}

/* ---- Whole files ---------------------------------------------------------------------------- */

static int
check_whole(struct reader *r)
{
	const uint64_t missing = KEYS_REQUIRED & ~r->seen;
	struct replay *re = r->re;

	if (missing)
		return unsound(r, "'%s' is missing", key_names[__builtin_ctzll(missing)]);
	if (re->re_options.scenario && re->re_options.trace_path)
		return unsound(r, "both a scenario and a trace are given");
	if ((re->re_verdict == SIM_VIOLATION) != (r->seen >> KEY_CHECK & 1) ||
	    (re->re_verdict == SIM_VIOLATION) != (r->seen >> KEY_INVARIANT & 1))
		return unsound(r, "'check' and 'invariant' go with a violation, and only with one");
	if (re->re_options.nchoices != r->nchoices)
		return unsound(r, "%zu choices announced, %zu found", r->nchoices,
			       re->re_options.nchoices);
	if (strcmp(re->re_invariant, "none") == 0)
		re->re_invariant[0] = '\0';
	return 0;
}

static int
read_all(struct reader *r)
{
	int error = next_line(r);

	if (error)
		return error;
	if (strncmp(r->text, MAGIC, strlen(MAGIC)) != 0)
		return unsound(r, "not a replay file");
	if (!sim_number(r->text + strlen(MAGIC), &r->version) || r->version != REPLAY_VERSION)
		return unsound(r, "replay format '%.20s'; this program reads format %u",
			       r->text + strlen(MAGIC), REPLAY_VERSION);
	for (;;) {
		error = next_line(r);
		if (error)
			return error;
		if (strcmp(r->text, "end") == 0)
			break;
		if (r->text[0] == '#')
			continue;
		/* Choices come last: once announced, every line is one of theirs. */
		error = r->seen >> KEY_CHOICES & 1 ? read_choice_line(r) : read_key(r);
		if (error)
			return error;
	}
	if (fgetc(r->from) != EOF) {
		r->line++;
		return unsound(r, "there is more after 'end'");
	}
	return check_whole(r);
}

int
replay_read(FILE *from, struct replay *re, char *why, size_t why_bytes)
{
	struct reader r = {.from = from, .re = re, .why = why, .why_bytes = why_bytes};
	int error;

	memset(re, 0, sizeof(*re));
	re->re_options.count = 1;
	re->re_options.jobs = 1;
	error = read_all(&r);
	if (error)
		replay_free(re);
	return error;
}

void
replay_free(struct replay *re)
{
	free(re->re_choices);
	memset(re, 0, sizeof(*re));
}

static bool
equal_choices(const struct sim_choice_record *a, const struct sim_choice_record *b)
{
	return a->cr_kind == b->cr_kind && a->cr_n == b->cr_n && a->cr_value == b->cr_value;
}

static void
write_choices(FILE *to, const struct sim_choice_record *c, size_t n)
{
	int column = 0;

	fprintf(to, "choices: %zu\n", n);
	for (size_t i = 0, run; i < n; i += run) {
		run = 1;
		while (i + run < n && equal_choices(&c[i], &c[i + run]))
			run++;
		column += fprintf(to, "%s%" PRIu32 ".%" PRIu32 ".%" PRIu32, column ? " " : "",
				  c[i].cr_kind, c[i].cr_n, c[i].cr_value);
		if (run > 1)
			column += fprintf(to, "*%zu", run);
		if (column >= CHOICES_WIDTH) {
			fputc('\n', to);
			column = 0;
		}
	}
	if (column)
		fputc('\n', to);
}

void
replay_write(FILE *to, const struct sim_options *o, const struct sim_outcome *out)
{
	fprintf(to, "%s%u\nbuild: %s\narch: %s\n", MAGIC, REPLAY_VERSION, sim_build_id,
		sim_arch_name(out->arch));
	if (o->scenario)
		fprintf(to, "scenario: %s\n", o->scenario);
	if (o->trace_path)
		fprintf(to, "trace: %s\n", o->trace_path);
	if (o->caps)
		fprintf(to, "caps: %s\n", o->caps);
	fprintf(to, "cpus: %u\nvcpus: %u\nsteps: %" PRIu64 "\nmemory-model: %s\nreference: %s\n",
		o->cpus, o->vcpus, o->steps, o->sequential ? "sc" : "tso",
		o->reference ? "yes" : "no");
	fprintf(to, "seed: 0x%" PRIx64 "\nverdict: %s\n", out->seed,
		sim_verdict_name(out->verdict));
	if (out->verdict == SIM_VIOLATION)
		fprintf(to, "check: %s\ninvariant: %s\n", out->check,
			*out->invariant ? out->invariant : "none");
	fprintf(to, "step: %" PRIu64 "\ntrace-hash: 0x%016" PRIx64 "\n", out->steps,
		out->trace_hash);
	if (out->choices && out->nchoices > 0)
		write_choices(to, out->choices, out->nchoices);
	fprintf(to, "end\n");
}
