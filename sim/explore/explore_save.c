/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A search as text, so that one that was interrupted goes on where it was:
 *
 *	pmap-sim explore 1
 *	what: SCENARIO AND BOUNDS
 *	stats: NUMBERS
 *	ran: 0 or 1
 *	decisions: N
 *	a CHOSEN RUNNING PREEMPTIONS EVENT ENABLED BARRED OPTIONAL BACKTRACK DONE FREE
 *	f TOUCHES			(of the chosen one's step so far)
 *	s ACTOR TOUCHES			(for each that sleeps)
 *	d KIND N VALUE EVENT
 *	states: N			(then the values; likewise ends, seen)
 *	end
 *
 * The steps themselves are not in it: the first run after reading makes them anew.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/explore/explore_priv.h"

#define MAGIC "pmap-sim explore 1"
#define LINE_BYTES 1024

/* The counters that a search goes on with, in their order in a file. */
static uint64_t *
counter(struct explore_stats *st, unsigned int i)
{
	uint64_t *const all[] = {
		&st->es_executions, &st->es_whole,	&st->es_cut_sleep, &st->es_cut_seen,
		&st->es_bounded,    &st->es_states,	&st->es_finals,	   &st->es_finals_sum,
		&st->es_races,	    &st->es_violations, &st->es_traces,	   &st->es_steps,
		&st->es_ms,
	};

	return i < sizeof(all) / sizeof(all[0]) ? all[i] : NULL;
}

/* ---- Writing -------------------------------------------------------------------------------- */

static void
write_touches(const struct explore *ex, FILE *to, const struct footprint *f)
{
	fprintf(to, " %" PRIu32, f->fp_n);
	for (uint32_t i = 0; i < f->fp_n; i++)
		fprintf(to, " %" PRIx64 ".%u", ex->ex_objects[f->fp_touches[i] >> 8].ob_key,
			(unsigned int)(f->fp_touches[i] & 255));
	fputc('\n', to);
}

static void
write_decision(const struct explore *ex, FILE *to, const struct decision *de)
{
	if (de->de_data) {
		fprintf(to, "d %u %" PRIu32 " %" PRIu32 " %" PRIu32 "\n", de->de_kind, de->de_n,
			de->de_value, de->de_event);
		return;
	}
	fprintf(to,
		"a %u %u %" PRIu32 " %" PRIu32 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64
		" %" PRIx64 " %d %" PRIu32 "\nf",
		de->de_chosen, de->de_running, de->de_preemptions, de->de_event, de->de_enabled,
		de->de_barred, de->de_optional, de->de_backtrack, de->de_done, de->de_free,
		de->de_nsleepers);
	write_touches(ex, to, &de->de_foot);
	for (uint32_t i = 0; i < de->de_nsleepers; i++) {
		fprintf(to, "s %u", de->de_sleepers[i].sl_actor);
		write_touches(ex, to, de->de_sleepers[i].sl_foot);
	}
}

static void
write_set(FILE *to, const char *name, const struct value_set *s)
{
	fprintf(to, "%s: %" PRIu64 "\n", name, s->vs_n);
	for (uint64_t i = 0; i < s->vs_room; i++) {
		if (s->vs_slots[i] != 0)
			fprintf(to, "%" PRIx64 "\n", s->vs_slots[i]);
	}
}

int
explore_write(const struct explore *ex, FILE *to, const char *what)
{
	struct explore_stats st = ex->ex_stats;

	fprintf(to, "%s\nwhat: %s\nstats:", MAGIC, what);
	for (unsigned int i = 0; counter(&st, i) != NULL; i++)
		fprintf(to, " %" PRIu64, *counter(&st, i));
	fprintf(to, " %" PRIu32 "\nran: %d %d\ndecisions: %" PRIu32 "\n", st.es_depth, ex->ex_ran,
		ex->ex_over, ex->ex_depth);
	for (uint32_t i = 0; i < ex->ex_depth; i++)
		write_decision(ex, to, &ex->ex_stack[i]);
	write_set(to, "states", &ex->ex_states);
	write_set(to, "ends", &ex->ex_finals);
	write_set(to, "traces", &ex->ex_traces);
	write_set(to, "seen", &ex->ex_seen);
	fputs("end\n", to);
	return ferror(to) ? -EIO : 0;
}

/* ---- Reading -------------------------------------------------------------------------------- */

static bool
expect(FILE *from, const char *word)
{
	char text[64];

	return fscanf(from, "%63s", text) == 1 && strcmp(text, word) == 0;
}

static bool
read_touches(struct explore *ex, FILE *from, struct footprint *f)
{
	uint32_t n;

	if (fscanf(from, "%" SCNu32, &n) != 1)
		return false;
	for (; n > 0; n--) {
		uint64_t key;
		unsigned int how;

		if (fscanf(from, " %" SCNx64 ".%u", &key, &how) != 2 || how > SIM_TOUCH_ACQUIRE)
			return false;
		footprint_add(f, order_object(ex, key), how);
	}
	return true;
}

static bool
read_actor_decision(struct explore *ex, FILE *from, struct decision *de)
{
	unsigned int chosen, running, sleepers;
	int is_free;

	if (fscanf(from,
		   "%u %u %" SCNu32 " %" SCNu32 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64
		   " %" SCNx64 " %d %u",
		   &chosen, &running, &de->de_preemptions, &de->de_event, &de->de_enabled,
		   &de->de_barred, &de->de_optional, &de->de_backtrack, &de->de_done, &is_free,
		   &sleepers) != 11 ||
	    chosen >= ACTORS || (running != ACTOR_NONE && running >= EXPLORE_CPUS) ||
	    sleepers > ACTORS || !expect(from, "f") || !read_touches(ex, from, &de->de_foot))
		return false;
	de->de_chosen = (uint8_t)chosen;
	de->de_running = (uint8_t)running;
	de->de_free = is_free != 0;
	for (; sleepers > 0; sleepers--) {
		struct footprint *const foot = calloc(1, sizeof(*foot));
		unsigned int actor;

		if (foot == NULL || !expect(from, "s") || fscanf(from, "%u", &actor) != 1 ||
		    actor >= ACTORS || !read_touches(ex, from, foot)) {
			free(foot);
			return false;
		}
		decision_add_sleeper(de, actor, foot, true);
	}
	return true;
}

static bool
read_decision(struct explore *ex, FILE *from)
{
	char kind[2];
	struct decision *const de = explore_push(ex);
	unsigned int data_kind;

	if (fscanf(from, "%1s", kind) != 1)
		return false;
	if (kind[0] == 'a')
		return read_actor_decision(ex, from, de);
	de->de_data = true;
	if (kind[0] != 'd' ||
	    fscanf(from, "%u %" SCNu32 " %" SCNu32 " %" SCNu32, &data_kind, &de->de_n,
		   &de->de_value, &de->de_event) != 4 ||
	    data_kind >= SIM_CHOICE_COUNT || de->de_value >= de->de_n)
		return false;
	de->de_kind = (uint8_t)data_kind;
	return true;
}

static bool
read_set(FILE *from, const char *name, struct value_set *s)
{
	uint64_t n;
	uint64_t value;

	if (!expect(from, name) || fscanf(from, "%" SCNu64, &n) != 1)
		return false;
	set_reserve(s, n);
	for (; n > 0; n--) {
		if (fscanf(from, "%" SCNx64, &value) != 1 || !set_add(s, value))
			return false;
	}
	return true;
}

static bool
read_body(struct explore *ex, FILE *from)
{
	struct explore_stats *const st = &ex->ex_stats;
	uint32_t n;
	int ran, over;
	char rest[2];

	if (!expect(from, "stats:"))
		return false;
	for (unsigned int i = 0; counter(st, i) != NULL; i++) {
		if (fscanf(from, "%" SCNu64, counter(st, i)) != 1)
			return false;
	}
	if (fscanf(from, "%" SCNu32, &st->es_depth) != 1 || !expect(from, "ran:") ||
	    fscanf(from, "%d %d", &ran, &over) != 2 || !expect(from, "decisions:") ||
	    fscanf(from, "%" SCNu32, &n) != 1 || n > 4 * DEPTH_MAX)
		return false;
	for (; n > 0; n--) {
		if (!read_decision(ex, from))
			return false;
	}
	ex->ex_over = over != 0;
	/* The steps of the run that was made last are not known any more: it is made once more. */
	ex->ex_again = ran != 0 && !ex->ex_over;
	return read_set(from, "states:", &ex->ex_states) &&
	       read_set(from, "ends:", &ex->ex_finals) &&
	       read_set(from, "traces:", &ex->ex_traces) && read_set(from, "seen:", &ex->ex_seen) &&
	       expect(from, "end") && fscanf(from, " %1s", rest) == EOF;
}

int
explore_read(struct explore *ex, FILE *from, const char *what, char *why, size_t why_bytes)
{
	char line[LINE_BYTES];

	if (fgets(line, sizeof(line), from) == NULL || strcmp(line, MAGIC "\n") != 0) {
		snprintf(why, why_bytes, "is no search that was stopped, or of another version");
		return -EINVAL;
	}
	if (fgets(line, sizeof(line), from) == NULL || strncmp(line, "what: ", 6) != 0) {
		snprintf(why, why_bytes, "is damaged in line 2");
		return -EINVAL;
	}
	line[strcspn(line, "\n")] = '\0';
	if (strcmp(line + 6, what) != 0) {
		snprintf(why, why_bytes, "is another search: %s", line + 6);
		return -EINVAL;
	}
	if (!read_body(ex, from)) {
		snprintf(why, why_bytes, "is damaged");
		return -EINVAL;
	}
	return 0;
}
