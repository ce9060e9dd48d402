/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the page's script plays: the state at the slider's first step, then events, each with its
 * words and what it does to the state. One JSON object; html_script.c reads it.
 *
 * An event is [letter, step, actor, action, change, ...], where the rest depends on the letter:
 *   F serial, cpu, text, pointer	D serial, cpu	S serial, cpu	R serial, cpu
 *   B cpu, text	W cpu	G space, generation	O space, slot, text	E word, text
 *   N cpu, text	X cpu	P cpu, text	Q cpu	K cpu	A cpu	I cpu
 * Any other letter changes nothing.
 */

#include <inttypes.h>
#include <stdlib.h>

#include "sim/report/html.h"
#include "sim/hw/hw_priv.h"

#define WORDS_MAX 700

struct word {
	uint64_t hpa;
	uint64_t gpa;
	uint8_t space;
	uint8_t level;
};

struct data {
	FILE *to;
	const struct html_view *vw;
	const struct story *s;
	struct word *words;
	uint32_t nwords;
	bool more;
};

/* ---- Table words ---------------------------------------------------------------------------- */

static uint32_t
word_at(const struct data *d, uint64_t hpa)
{
	for (uint32_t i = 0; i < d->nwords; i++) {
		if (d->words[i].hpa == hpa)
			return i;
	}
	return STORY_NONE;
}

static void
add_word(struct data *d, uint64_t hpa, uint64_t gpa, unsigned int space, unsigned int level)
{
	if (d->nwords < WORDS_MAX && space < d->s->st_nspaces && word_at(d, hpa) == STORY_NONE)
		d->words[d->nwords++] = (struct word){hpa, gpa, (uint8_t)space, (uint8_t)level};
}

/* By space, then as a tree is read: what is above comes first. */
static int
in_tree(const void *a, const void *b)
{
	const struct word *const x = a, *const y = b;

	if (x->space != y->space)
		return x->space < y->space ? -1 : 1;
	if (x->gpa != y->gpa)
		return x->gpa < y->gpa ? -1 : 1;
	if (x->level != y->level)
		return x->level > y->level ? -1 : 1;
	return (x->hpa > y->hpa) - (x->hpa < y->hpa);
}

/* Nearest to the end first, in case there are too many. */
static void
collect_words(struct data *d)
{
	for (uint32_t i = d->vw->vw_end + 1; i-- > d->vw->vw_first;) {
		const struct story_event *const e = &d->s->st_events[i];

		if (e->se_kind == STORY_ENTRY && !(e->se_flags & SE_PRIVATE))
			add_word(d, e->se_id, e->se_gpa, e->se_space, e->se_level);
	}
	for (uint32_t i = 0; i < d->s->st_npaths; i++) {
		const struct story_path *const p = &d->s->st_paths[i];

		add_word(d, p->pa_hpa, p->pa_gpa, p->pa_space, p->pa_level);
	}
	qsort(d->words, d->nwords, sizeof(*d->words), in_tree);
}

static void
string(struct data *d, const char *text)
{
	fputc('"', d->to);
	html_json(d->to, text);
	fputc('"', d->to);
}

static void
write_words(struct data *d)
{
	char text[STORY_TEXT_BYTES];

	fputs(",\n\"words\":[", d->to);
	for (uint32_t i = 0; i < d->nwords; i++) {
		const struct word *const w = &d->words[i];
		uint64_t value = 0;

		story_word(d->s, d->vw->vw_first, w->hpa, &value);
		fprintf(d->to, "%s\n[%u,%u,\"0x%" PRIx64 "\",%" PRIu64 ",", i > 0 ? "," : "",
			w->space, w->level, w->gpa, w->hpa / 8 % 512);
		string(d, story_entry(d->s, w->space, w->level, value, text, sizeof(text)));
		fputc(']', d->to);
	}
	fputs("]", d->to);
}

/* ---- Events --------------------------------------------------------------------------------- */

static char
letter_of(const struct story_event *e)
{
	static const char letters[STORY_KIND_COUNT] = {
		[STORY_BUFFER] = 'B',	 [STORY_DRAIN] = 'W',	  [STORY_ENTRY] = 'E',
		[STORY_FILL] = 'F',	 [STORY_DROP] = 'D',	  [STORY_STALE] = 'S',
		[STORY_FRESH] = 'R',	 [STORY_GUEST_ON] = 'N',  [STORY_GUEST_OFF] = 'X',
		[STORY_BEGIN] = 'P',	 [STORY_DONE] = 'Q',	  [STORY_GEN] = 'G',
		[STORY_SLOT] = 'O',	 [STORY_KICK] = 'K',	  [STORY_ARRIVED] = 'A',
		[STORY_INTERRUPT] = 'I', [STORY_VIOLATION] = '!', [STORY_BLAME] = '!',
	};

	return letters[e->se_kind] ? letters[e->se_kind] : '-';
}

static void
arguments(struct data *d, uint32_t i)
{
	const struct story_event *const e = &d->s->st_events[i];
	char text[STORY_TEXT_BYTES], change[STORY_TEXT_BYTES], both[2 * STORY_TEXT_BYTES + 4];

	switch (e->se_kind) {
	case STORY_FILL:
		fprintf(d->to, ",%" PRIu32 ",%u,", e->se_serial, e->se_cpu);
		string(d, story_cached(d->s, i, text, sizeof(text)));
		fprintf(d->to, ",%u", e->se_flags & SE_TABLE ? 1 : 0);
		break;
	case STORY_DROP:
	case STORY_STALE:
	case STORY_FRESH:
		fprintf(d->to, ",%" PRIu32 ",%u", e->se_serial, e->se_cpu);
		break;
	case STORY_BUFFER:
	case STORY_GUEST_ON:
	case STORY_BEGIN:
		fprintf(d->to, ",%u,", e->se_cpu);
		string(d, story_action(d->s, i, text, sizeof(text)));
		break;
	case STORY_GEN:
		fprintf(d->to, ",%u,%" PRIu64, e->se_space, e->se_new);
		break;
	case STORY_SLOT:
		fprintf(d->to, ",%u,%" PRIu32 ",", e->se_space, e->se_serial);
		story_action(d->s, i, text, sizeof(text));
		story_change(d->s, i, change, sizeof(change));
		snprintf(both, sizeof(both), "%s, %s", text, change);
		string(d, both);
		break;
	case STORY_ENTRY:
		fprintf(d->to, ",%" PRId32 ",", (int32_t)word_at(d, e->se_id));
		string(d,
		       story_entry(d->s, e->se_space, e->se_level, e->se_new, text, sizeof(text)));
		break;
	default:
		fprintf(d->to, ",%u", e->se_cpu);
	}
}

static void
event(struct data *d, uint32_t i, bool words)
{
	const struct story_event *const e = &d->s->st_events[i];
	char text[STORY_TEXT_BYTES];

	fprintf(d->to, "%s\n[\"%c\",%" PRIu64 ",%u,", d->more ? "," : "", letter_of(e), e->se_step,
		e->se_actor);
	string(d, words ? story_action(d->s, i, text, sizeof(text)) : "");
	fputc(',', d->to);
	string(d, words ? story_change(d->s, i, text, sizeof(text)) : "");
	arguments(d, i);
	fputc(']', d->to);
	d->more = true;
}

/* The state at the slider's begin, as the events that made it. */
static void
base(struct data *d)
{
	struct story_state st;

	story_state_init(&st, d->s);
	story_state_go(&st, d->vw->vw_first);
	for (unsigned int cpu = 0; cpu <= d->s->st_ncpus; cpu++) {
		const struct story_cpu *const c = &st.ss_cpus[cpu];

		for (uint32_t i = 0; i < c->sc_ncached; i++) {
			event(d, c->sc_cached[i].tl_fill, false);
			if (c->sc_cached[i].tl_stale != STORY_NONE)
				event(d, c->sc_cached[i].tl_stale, false);
		}
		for (uint32_t i = 0; i < c->sc_nstores; i++)
			event(d, c->sc_stores[i], false);
		if (c->sc_guest != STORY_NONE)
			event(d, c->sc_guest, false);
		for (uint32_t i = 0; i < c->sc_depth && i < STORY_DEPTH_MAX; i++)
			event(d, c->sc_operations[i], false);
	}
	for (uint32_t i = 0; i < d->s->st_nspaces; i++) {
		if (st.ss_gen[i] != 0)
			fprintf(d->to, "%s\n[\"G\",0,0,\"\",\"\",%u,%" PRIu64 "]",
				d->more ? "," : "", i, st.ss_gen[i]);
		d->more = d->more || st.ss_gen[i] != 0;
		for (unsigned int j = 0; j < STORY_SLOTS_MAX; j++) {
			if (st.ss_slots[i][j] != STORY_NONE)
				event(d, st.ss_slots[i][j], false);
		}
	}
	story_state_free(&st);
}

/* ---- The whole ------------------------------------------------------------------------------ */

static void
actors(struct data *d)
{
	fputs(",\n\"agents\":[", d->to);
	for (unsigned int i = 0; i < SIM_MAX_AGENTS && d->s->st_agents[i][0]; i++) {
		fputs(i > 0 ? "," : "", d->to);
		string(d, d->s->st_agents[i]);
	}
	fputs("],\"spaces\":[", d->to);
	for (uint32_t i = 0; i < d->s->st_nspaces; i++) {
		fputs(i > 0 ? "," : "", d->to);
		string(d, d->s->st_spaces[i].sa_name);
	}
	fputs("]", d->to);
}

static void
step_of(struct data *d, const char *name, uint32_t i)
{
	if (i == STORY_NONE)
		fprintf(d->to, ",\"%s\":null", name);
	else
		fprintf(d->to, ",\"%s\":%" PRIu64, name, d->s->st_events[i].se_step);
}

void
html_data(FILE *to, const struct html_view *vw)
{
	struct data d = {.to = to, .vw = vw, .s = vw->vw_story};

	d.words = calloc(WORDS_MAX, sizeof(*d.words));
	if (d.words == NULL)
		return;
	collect_words(&d);
	fprintf(to, "{\"ncpus\":%" PRIu32, d.s->st_ncpus);
	step_of(&d, "changed", d.s->st_changed);
	step_of(&d, "used", d.s->st_used);
	step_of(&d, "end", vw->vw_end);
	actors(&d);
	fputs(",\n\"picks\":[", to);
	for (uint32_t k = 0; k < vw->vw_npicks; k++)
		fprintf(to, "%s%" PRIu64, k > 0 ? "," : "",
			d.s->st_events[vw->vw_picks[k]].se_step);
	fputs("]", to);
	write_words(&d);
	fputs(",\n\"base\":[", to);
	base(&d);
	fputs("],\n\"events\":[", to);
	d.more = false;
	for (uint32_t i = vw->vw_first; i <= vw->vw_end; i++)
		event(&d, i, true);
	fputs("]}\n", to);
	free(d.words);
}
