/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Traces for Perfetto. The format was read in "Trace Event Format" (Google, 2016): complete events
 * (X) with a begin and a duration, instants (i), flows (s, f) for interrupts, counters (C), and
 * metadata (M) that names tracks. Complete events of one track must nest, and the operations of a
 * CPU do; translations do not, so each CPU has several tracks for stale ones, filled first fit.
 */

#include "sim/report/perfetto.h"

#include <inttypes.h>

#include "sim/report/html.h"

#define PID 1
#define STALE_TRACKS 8
/* Numbers of tracks; those of actors are their own. */
#define TID_STALE 1000 /* + CPU * STALE_TRACKS */
#define TID_VCPU 2000  /* + space * 64 + vCPU */

struct tracer {
	FILE *to;
	const struct story *s;
	bool more;
	uint64_t busy[STORY_CPUS_MAX][STALE_TRACKS]; /* until */
	bool named[STORY_SPACES_MAX][64];
};

static void
begin(struct tracer *t)
{
	fputs(t->more ? ",\n" : "\n", t->to);
	t->more = true;
}

static void
name_track(struct tracer *t, unsigned int tid, const char *name)
{
	begin(t);
	fprintf(t->to,
		"{\"ph\":\"M\",\"pid\":%d,\"tid\":%u,\"name\":\"thread_name\","
		"\"args\":{\"name\":\"",
		PID, tid);
	html_json(t->to, name);
	fprintf(t->to,
		"\"}},\n{\"ph\":\"M\",\"pid\":%d,\"tid\":%u,\"name\":\"thread_sort_index\","
		"\"args\":{\"sort_index\":%u}}",
		PID, tid, tid);
}

static void
name_tracks(struct tracer *t)
{
	char name[STORY_NAME_BYTES + 16];

	for (uint32_t i = 0; i < t->s->st_ncpus; i++) {
		snprintf(name, sizeof(name), "CPU %" PRIu32, i);
		name_track(t, i, name);
		snprintf(name, sizeof(name), "stale on CPU %" PRIu32, i);
		for (unsigned int k = 0; k < STALE_TRACKS; k++)
			name_track(t, TID_STALE + i * STALE_TRACKS + k, name);
	}
	name_track(t, t->s->st_ncpus, "service CPU");
	for (unsigned int i = 0; i < SIM_MAX_AGENTS && t->s->st_agents[i][0]; i++)
		name_track(t, SIM_ACTOR_AGENT + i, t->s->st_agents[i]);
	name_track(t, SIM_ACTOR_DRIVER, "driver");
}

static void
details(struct tracer *t, uint32_t i)
{
	char text[STORY_TEXT_BYTES];

	fprintf(t->to, ",\"args\":{\"step\":%" PRIu64 ",\"who\":\"", t->s->st_events[i].se_step);
	html_json(t->to, story_actor(t->s, i, text, sizeof(text)));
	fputs("\",\"what\":\"", t->to);
	html_json(t->to, story_action(t->s, i, text, sizeof(text)));
	fputs("\",\"change\":\"", t->to);
	html_json(t->to, story_change(t->s, i, text, sizeof(text)));
	fputs("\"}}", t->to);
}

static void
slice(struct tracer *t, unsigned int tid, const char *category, const char *name, uint32_t i,
      uint64_t end)
{
	const uint64_t start = t->s->st_events[i].se_step;

	begin(t);
	fprintf(t->to,
		"{\"ph\":\"X\",\"pid\":%d,\"tid\":%u,\"ts\":%" PRIu64 ",\"dur\":%" PRIu64
		",\"cat\":\"%s\",\"name\":\"",
		PID, tid, start, end > start ? end - start : 0, category);
	html_json(t->to, name);
	fputc('"', t->to);
	details(t, i);
}

static void
instant(struct tracer *t, unsigned int tid, uint32_t i)
{
	const struct story_event *const e = &t->s->st_events[i];
	char text[STORY_TEXT_BYTES];

	begin(t);
	fprintf(t->to,
		"{\"ph\":\"i\",\"s\":\"%s\",\"pid\":%d,\"tid\":%u,\"ts\":%" PRIu64
		",\"cat\":\"event\",\"name\":\"",
		e->se_kind == STORY_VIOLATION ? "g" : "t", PID, tid, e->se_step);
	html_json(t->to, story_action(t->s, i, text, sizeof(text)));
	fputc('"', t->to);
	details(t, i);
}

/* ---- What begins and ends ------------------------------------------------------------------- */

static uint64_t
last_step(const struct tracer *t)
{
	return t->s->st_last_step;
}

/* The step at which what began at i ends; operations lie one within another. */
static uint64_t
end_of(const struct tracer *t, uint32_t i, enum story_kind kind)
{
	const struct story_event *const e = &t->s->st_events[i];
	unsigned int depth = 0;

	for (uint32_t j = i + 1; j < t->s->st_n; j++) {
		const struct story_event *const f = &t->s->st_events[j];

		if (f->se_cpu != e->se_cpu)
			continue;
		if (f->se_kind == e->se_kind)
			depth++;
		else if (f->se_kind == kind && (kind != STORY_DONE || depth-- == 0))
			return f->se_step;
	}
	return last_step(t);
}

static void
stale(struct tracer *t, uint32_t i)
{
	const struct story_event *const e = &t->s->st_events[i];
	uint64_t end = last_step(t);
	char text[STORY_TEXT_BYTES];
	unsigned int k = 0;

	for (uint32_t j = i + 1; j < t->s->st_n; j++) {
		const struct story_event *const f = &t->s->st_events[j];

		if ((f->se_kind == STORY_DROP || f->se_kind == STORY_FRESH) &&
		    f->se_serial == e->se_serial) {
			end = f->se_step;
			break;
		}
	}
	while (k < STALE_TRACKS - 1 && t->busy[e->se_cpu][k] > e->se_step)
		k++;
	if (t->busy[e->se_cpu][k] > e->se_step || e->se_serial == 0)
		return; /* more at once than there are tracks */
	t->busy[e->se_cpu][k] = end > e->se_step ? end : e->se_step + 1;
	story_cached(t->s, e->se_serial - 1, text, sizeof(text));
	slice(t, TID_STALE + e->se_cpu * STALE_TRACKS + k, "stale", text, i, end);
}

static void
vcpu(struct tracer *t, uint32_t i)
{
	const struct story_event *const e = &t->s->st_events[i];
	const unsigned int v = e->se_serial % 64;
	const unsigned int tid = TID_VCPU + e->se_space * 64 + v;
	char text[64];

	if (e->se_space >= t->s->st_nspaces)
		return;
	if (!t->named[e->se_space][v]) {
		snprintf(text, sizeof(text), "vCPU %u of %s", v,
			 t->s->st_spaces[e->se_space].sa_name);
		name_track(t, tid, text);
		t->named[e->se_space][v] = true;
	}
	snprintf(text, sizeof(text), "on CPU %u", e->se_cpu);
	slice(t, tid, "vcpu", text, i, end_of(t, i, STORY_VCPU_OFF));
}

/* ---- Interrupts and generations ------------------------------------------------------------- */

static void
flow(struct tracer *t, uint32_t i)
{
	const struct story_event *const e = &t->s->st_events[i];
	uint32_t arrived = i;

	while (arrived < t->s->st_n && (t->s->st_events[arrived].se_kind != STORY_ARRIVED ||
					t->s->st_events[arrived].se_cpu != e->se_cpu))
		arrived++;
	instant(t, e->se_actor, i);
	if (arrived == t->s->st_n)
		return;
	begin(t);
	fprintf(t->to,
		"{\"ph\":\"s\",\"id\":%" PRIu32 ",\"pid\":%d,\"tid\":%u,\"ts\":%" PRIu64
		",\"cat\":\"kick\",\"name\":\"interrupt\"},\n"
		"{\"ph\":\"f\",\"bp\":\"e\",\"id\":%" PRIu32
		",\"pid\":%d,\"tid\":%u,\"ts\":%" PRIu64
		",\"cat\":\"kick\",\"name\":\"interrupt\"}",
		i, PID, e->se_actor, e->se_step, i, PID, e->se_cpu,
		t->s->st_events[arrived].se_step);
}

static void
generation(struct tracer *t, const struct story_event *e)
{
	if (e->se_space >= t->s->st_nspaces)
		return;
	begin(t);
	fprintf(t->to, "{\"ph\":\"C\",\"pid\":%d,\"ts\":%" PRIu64 ",\"name\":\"generation of ", PID,
		e->se_step);
	html_json(t->to, t->s->st_spaces[e->se_space].sa_name);
	fprintf(t->to, "\",\"args\":{\"generation\":%" PRIu64 "}}", e->se_new);
}

/* ---- The whole ------------------------------------------------------------------------------ */

static void
event(struct tracer *t, uint32_t i)
{
	const struct story_event *const e = &t->s->st_events[i];
	const unsigned int tid = e->se_cpu != STORY_NO_CPU ? e->se_cpu : e->se_actor;
	const struct story_space *const sa =
		e->se_space < t->s->st_nspaces ? &t->s->st_spaces[e->se_space] : NULL;

	switch (e->se_kind) {
	case STORY_BEGIN:
		slice(t, tid, "operation", t->s->st_names[e->se_name], i, end_of(t, i, STORY_DONE));
		break;
	case STORY_GUEST_ON:
		slice(t, tid, "guest", sa != NULL ? sa->sa_name : "guest", i,
		      end_of(t, i, STORY_GUEST_OFF));
		break;
	case STORY_GUEST_OFF:
	case STORY_DONE:
		break;
	case STORY_STALE:
		stale(t, i);
		break;
	case STORY_VCPU_ON:
		vcpu(t, i);
		break;
	case STORY_KICK:
		flow(t, i);
		break;
	case STORY_GEN:
		generation(t, e);
		break;
	default:
		if (story_matters(t->s, i))
			instant(t, tid, i);
	}
}

void
perfetto_write(FILE *to, const struct story *s)
{
	struct tracer t = {.to = to, .s = s};

	fputs("{\"displayTimeUnit\":\"ns\",\"otherData\":{\"tool\":\"pmap-sim\",\"unit\":\"one "
	      "step is a microsecond\"},\"traceEvents\":[",
	      to);
	begin(&t);
	fprintf(to,
		"{\"ph\":\"M\",\"pid\":%d,\"name\":\"process_name\",\"args\":{\"name\":"
		"\"pmap-sim\"}}",
		PID);
	if (s != NULL)
		name_tracks(&t);
	for (uint32_t i = 0; s != NULL && i < s->st_n; i++)
		event(&t, i);
	fputs("\n]}\n", to);
}
