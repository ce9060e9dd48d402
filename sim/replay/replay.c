/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Replay files, strictly: a line that is unknown, given twice, missing or malformed is an error
 * with its number, since a replay that silently runs something else is worse than none.
 */

#include "sim/replay/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "sim/machine/machine.h"
#include "sim/cli/number.h"

#define MAGIC "pmap-sim replay "
#define FIELDS_MAX (4 + 64) /* of a decision: who, kind, actor, "of", all actors */

struct reader {
	FILE *from;
	struct replay *re;
	unsigned int line;
	char text[REPLAY_LINE_BYTES + 2];
	char *why;
	size_t why_bytes;
	uint64_t seen;	      /* keys, by their place in the table */
	uint64_t seen_rows;   /* options, by theirs */
	size_t nchoices;      /* as announced */
	size_t room;	      /* allocated */
	unsigned int nagents; /* as named */
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

/* Names of agents, by number; "none" if there are none. */
static bool
set_agents(struct reader *r, const char *value)
{
	char *to = r->re->re_agents;

	if (strcmp(value, "none") == 0)
		return true;
	if (strlen(value) >= sizeof(r->re->re_agents) || *value == ' ' || strstr(value, "  ") ||
	    value[strlen(value) - 1] == ' ')
		return false;
	strcpy(to, value);
	r->nagents = 1;
	while ((to = strchr(to, ' '))) {
		to++;
		r->nagents++;
	}
	return r->nagents <= SIM_MAX_AGENTS;
}

enum key {
	KEY_BUILD,
	KEY_ARCH,
	KEY_SEED,
	KEY_VERDICT,
	KEY_STEP,
	KEY_TRACE_HASH,
	KEY_CHECK,
	KEY_INVARIANT,
	KEY_STATE_HASH,
	KEY_BY_SEED,
	KEY_AGENTS,
	KEY_DECISIONS,
	KEY_COUNT,
};

static const char *const key_names[KEY_COUNT] = {
	"build", "arch",      "seed",	    "verdict", "step",	 "trace-hash",
	"check", "invariant", "state-hash", "by-seed", "agents", "decisions",
};

#define KEYS_REQUIRED ((1u << KEY_CHECK) - 1)
#define KEYS_OF_DECISIONS \
	(1u << KEY_STATE_HASH | 1u << KEY_BY_SEED | 1u << KEY_AGENTS | 1u << KEY_DECISIONS)

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
	case KEY_SEED:
		return sim_number(value, &o->seed);
	case KEY_VERDICT:
		return set_verdict(re, value);
	case KEY_STEP:
		return sim_number(value, &re->re_step);
	case KEY_TRACE_HASH:
		return sim_number(value, &re->re_trace_hash);
	case KEY_CHECK:
		return set_text(re->re_check, sizeof(re->re_check), value);
	case KEY_INVARIANT:
		return set_text(re->re_invariant, sizeof(re->re_invariant), value);
	case KEY_STATE_HASH:
		return sim_number(value, &re->re_state_hash);
	case KEY_BY_SEED:
		o->choices_by_seed = strcmp(value, "yes") == 0;
		return o->choices_by_seed || strcmp(value, "no") == 0;
	case KEY_AGENTS:
		return set_agents(r, value);
	case KEY_DECISIONS:
		if (!sim_number(value, &n) || n < 1 || n > REPLAY_CHOICES_MAX)
			return false;
		r->nchoices = (size_t)n;
		return true;
	default:
		return false;
	}
}

/* A key that is an option; -ENOENT if it is none. */
static int
read_option(struct reader *r, const char *value)
{
	struct replay *re = r->re;

	for (unsigned int i = 0; sim_option_row(i); i++) {
		const struct sim_option_row *row = sim_option_row(i);

		if (strcmp(row->op_name, r->text) != 0)
			continue;
		if (r->seen_rows >> i & 1)
			return unsound(r, "'%s' is given twice", r->text);
		r->seen_rows |= UINT64_C(1) << i;
		re->re_texts[i] = strdup(value);
		if (!re->re_texts[i])
			return -ENOMEM;
		if (!sim_option_set(row, &re->re_options, re->re_texts[i]))
			return unsound(r, "'%.40s' is no value for '%s'", value, r->text);
		return 0;
	}
	return -ENOENT;
}

/* Everything before the decisions is there, and goes together. */
static int
check_header(struct reader *r)
{
	const uint64_t missing = KEYS_REQUIRED & ~r->seen;
	const uint64_t of_decisions = KEYS_OF_DECISIONS & r->seen;
	struct replay *re = r->re;

	if (missing)
		return unsound(r, "'%s' is missing", key_names[__builtin_ctzll(missing)]);
	for (unsigned int i = 0; sim_option_row(i); i++) {
		if (sim_option_row(i)->op_required && !(r->seen_rows >> i & 1))
			return unsound(r, "'%s' is missing", sim_option_row(i)->op_name);
	}
	if (re->re_options.scenario && re->re_options.trace_path)
		return unsound(r, "both a scenario and a trace are given");
	if ((re->re_verdict == SIM_VIOLATION) != (r->seen >> KEY_CHECK & 1) ||
	    (re->re_verdict == SIM_VIOLATION) != (r->seen >> KEY_INVARIANT & 1))
		return unsound(r, "'check' and 'invariant' go with a violation, and only with one");
	if (of_decisions && of_decisions != KEYS_OF_DECISIONS)
		return unsound(r, "'%s' is missing, although there are decisions",
			       key_names[__builtin_ctzll(KEYS_OF_DECISIONS & ~of_decisions)]);
	return 0;
}

static int
read_key(struct reader *r)
{
	char *value = strstr(r->text, ": ");
	int key, error;

	if (!value)
		return unsound(r, "not of the form 'key: value'");
	*value = '\0';
	value += 2;
	error = read_option(r, value);
	if (error != -ENOENT)
		return error;
	key = word_index(key_names, KEY_COUNT, r->text);
	if (key < 0)
		return unsound(r, "unknown key '%.40s'", r->text);
	if (r->seen >> key & 1)
		return unsound(r, "'%s' is given twice", r->text);
	r->seen |= UINT64_C(1) << key;
	if (!set_value(r, (enum key)key, value))
		return unsound(r, "'%.40s' is no value for '%s'", value, r->text);
	return key == KEY_DECISIONS ? check_header(r) : 0;
}

/* ---- Decisions ------------------------------------------------------------------------------ */

/* Makes room for as many as `need`, of both. */
static bool
make_room(struct reader *r, size_t need)
{
	struct replay *re = r->re;
	const size_t room = need < 2 * r->room ? 2 * r->room : need + 60;
	struct sim_choice_record *choices;
	struct sim_choice_note *notes;

	if (need <= r->room)
		return true;
	choices = realloc(re->re_choices, room * sizeof(*choices));
	if (choices)
		re->re_choices = choices;
	notes = realloc(re->re_notes, room * sizeof(*notes));
	if (notes)
		re->re_notes = notes;
	if (choices && notes)
		r->room = room;
	return choices && notes;
}

/* The number of an actor; -1 for a name that is none. */
static int
actor_number(const struct reader *r, const char *name)
{
	const struct replay *re = r->re;
	const unsigned int cpus = re->re_options.cpus;
	char buf[REPLAY_WORD_BYTES];

	if (strcmp(name, "driver") == 0)
		return SIM_ACTOR_DRIVER;
	for (unsigned int i = 0; i <= cpus && i <= SIM_MAX_CPUS; i++) {
		if (strcmp(replay_actor_name(re->re_agents, cpus, i, buf), name) == 0)
			return (int)i;
	}
	for (unsigned int i = 0; i < r->nagents; i++) {
		const unsigned int actor = SIM_ACTOR_AGENT + i;

		if (strcmp(replay_actor_name(re->re_agents, cpus, actor, buf), name) == 0)
			return (int)actor;
	}
	return -1;
}

/* The literal of a word: each is kept once, and lives as long as the replay. */
static const char *
keep_word(struct replay *re, const char *word)
{
	for (unsigned int i = 0; i < re->re_nwords; i++) {
		if (strcmp(re->re_words[i], word) == 0)
			return re->re_words[i];
	}
	if (re->re_nwords == REPLAY_WORDS_MAX)
		return NULL;
	re->re_words[re->re_nwords] = strdup(word);
	return re->re_words[re->re_nwords] ? re->re_words[re->re_nwords++] : NULL;
}

/* ACTOR of ALL: fields[2] and from fields[4] on. */
static int
read_actor(struct reader *r, char *const *fields, unsigned int n, struct sim_choice_record *c,
	   struct sim_choice_note *note)
{
	unsigned int chosen = n;

	for (unsigned int i = 4; i < n; i++) {
		const int actor = actor_number(r, fields[i]);
		uint64_t bit;

		if (actor < 0 || actor == SIM_ACTOR_DRIVER)
			return unsound(r, "there is no actor '%.40s' to choose", fields[i]);
		bit = actor < (int)SIM_ACTOR_AGENT
			      ? SIM_OFFER_CPU(actor)
			      : SIM_OFFER_AGENT((unsigned int)actor - SIM_ACTOR_AGENT);
		if (note->cn_offered & bit)
			return unsound(r, "'%.40s' is offered twice", fields[i]);
		note->cn_offered |= bit;
		chosen = strcmp(fields[i], fields[2]) == 0 ? i - 4 : chosen;
	}
	if (chosen == n)
		return unsound(r, "'%.40s' is not among those offered", fields[2]);
	for (unsigned int i = 4; i < n; i++) {
		if ((int)sim_offered_actor(note->cn_offered, note->cn_actor, i - 4) !=
		    actor_number(r, fields[i]))
			return unsound(r, "'%.40s' is offered out of order", fields[i]);
	}
	c->cr_n = n - 4;
	c->cr_value = chosen;
	return 0;
}

/* VALUE/N and maybe a word. */
static int
read_value(struct reader *r, char *const *fields, unsigned int n, struct sim_choice_record *c,
	   struct sim_choice_note *note)
{
	char *slash = strchr(fields[2], '/');
	uint64_t value, among;

	if (!slash || n > 4)
		return unsound(r, "not a decision: WHO KIND VALUE/N WORD");
	*slash = '\0';
	if (!sim_number(fields[2], &value) || !sim_number(slash + 1, &among) ||
	    among > UINT32_MAX || among < 2 || value >= among)
		return unsound(r, "an impossible choice, %.20s of %.20s", fields[2], slash + 1);
	c->cr_value = (uint32_t)value;
	c->cr_n = (uint32_t)among;
	if (n == 4) {
		note->cn_word =
			strlen(fields[3]) < REPLAY_WORD_BYTES ? keep_word(r->re, fields[3]) : NULL;
		if (!note->cn_word)
			return unsound(r, "the word '%.40s' does not fit", fields[3]);
	}
	return 0;
}

static int
read_decision(struct reader *r)
{
	struct sim_options *o = &r->re->re_options;
	char *fields[FIELDS_MAX + 1], *p = r->text;
	struct sim_choice_record c = {.cr_kind = SIM_CHOICE_COUNT};
	struct sim_choice_note note = {0};
	unsigned int n = 0;
	int who, error;

	for (char *field; n <= FIELDS_MAX && (field = strsep(&p, " ")); n++) {
		fields[n] = field;
		if (!*field)
			return unsound(r, "not a decision: WHO KIND VALUE/N WORD");
	}
	if (n < 3 || n > FIELDS_MAX)
		return unsound(r, "not a decision: WHO KIND VALUE/N WORD");
	who = strcmp(fields[0], "-") == 0 ? -1 : actor_number(r, fields[0]);
	if (who < 0 && strcmp(fields[0], "-") != 0)
		return unsound(r, "there is no actor '%.40s'", fields[0]);
	note.cn_actor = who < 0 ? 0 : (uint8_t)who;
	note.cn_begins = strcmp(fields[1], "operation") == 0;
	for (unsigned int k = 0; k < SIM_CHOICE_COUNT; k++) {
		if (strcmp(sim_choice_name((enum sim_choice)k), fields[1]) == 0)
			c.cr_kind = k;
	}
	if (note.cn_begins)
		c.cr_kind = SIM_CHOICE_WORKLOAD;
	if (c.cr_kind == SIM_CHOICE_COUNT)
		return unsound(r, "there is no kind of choice '%.40s'", fields[1]);
	if (c.cr_kind == SIM_CHOICE_ACTOR && n > 5 && strcmp(fields[3], "of") == 0)
		error = read_actor(r, fields, n, &c, &note);
	else
		error = read_value(r, fields, n, &c, &note);
	if (error)
		return error;
	if (o->nchoices == r->nchoices || !make_room(r, o->nchoices + 1))
		return unsound(r, "more decisions than the file announces, or than fit");
	if (o->nchoices > 0 && (who < 0) != (r->re->re_notes[0].cn_actor == UINT8_MAX - 1))
		return unsound(r, "it is told of some decisions who made them, and not of others");
	if (who < 0)
		note.cn_actor = UINT8_MAX - 1;
	r->re->re_notes[o->nchoices] = note;
	r->re->re_choices[o->nchoices++] = c;
	return 0;
}

/* ---- Whole files ---------------------------------------------------------------------------- */

static int
check_whole(struct reader *r)
{
	struct replay *re = r->re;
	struct sim_options *o = &re->re_options;
	int error = check_header(r);

	if (error)
		return error;
	if (o->nchoices != r->nchoices)
		return unsound(r, "%zu decisions announced, %zu found", r->nchoices, o->nchoices);
	if (strcmp(re->re_invariant, "none") == 0)
		re->re_invariant[0] = '\0';
	o->choices = re->re_choices;
	if (re->re_notes && re->re_notes[0].cn_actor == UINT8_MAX - 1) {
		free(re->re_notes);
		re->re_notes = NULL;
	}
	o->notes = re->re_notes;
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
		return unsound(r, "replay format '%.20s'; this program reads format %u%s",
			       r->text + strlen(MAGIC), REPLAY_VERSION,
			       r->version == 1 ? ": record it anew from its seed" : "");
	for (;;) {
		error = next_line(r);
		if (error)
			return error;
		if (strcmp(r->text, "end") == 0)
			break;
		if (r->text[0] == '#')
			continue;
		/* Decisions come last: once announced, every line is one of them. */
		error = r->seen >> KEY_DECISIONS & 1 ? read_decision(r) : read_key(r);
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
	re->re_options.schedules = 1;
	error = read_all(&r);
	if (error == -ENOMEM)
		snprintf(why, why_bytes, "cannot be read: out of memory");
	if (error)
		replay_free(re);
	return error;
}

void
replay_free(struct replay *re)
{
	for (unsigned int i = 0; i < SIM_OPTION_ROWS; i++)
		free(re->re_texts[i]);
	for (unsigned int i = 0; i < re->re_nwords; i++)
		free(re->re_words[i]);
	free(re->re_choices);
	free(re->re_notes);
	memset(re, 0, sizeof(*re));
}
