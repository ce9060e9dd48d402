/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Changes inputs where it makes sense: read, a few decisions (seldom, the header) changed, written.
 * What comes out is a replay file again; its hashes are those of nobody.
 */

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define CHANGES_MOST 8
#define BLOCK_MOST 32
#define CHOICES_MOST 20000

struct text {
	struct replay tx_replay;
	struct sim_choice_record *tx_list; /* CHOICES_MOST of them */
	size_t tx_n;
	uint64_t tx_random;
};

/* splitmix64 (Steele, Lea, Flood, 2014). */
static uint32_t
below(struct text *t, uint32_t n)
{
	uint64_t z = t->tx_random += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return (uint32_t)((z ^ (z >> 31)) % n);
}

/* ---- Reading and writing -------------------------------------------------------------------- */

static const char beginning[] =
	"pmap-sim replay 2\nbuild: fuzz\narch: ept\nscenario: crowd\ncpus: 2\nvcpus: 2\n"
	"steps: 2000\nmemory-model: tso\nreference: no\nscheduler: pos\nseed: 0x1\n"
	"verdict: pass\nstep: 0\ntrace-hash: 0x0000000000000000\nend\n";

/* Of an input without decisions: those that the generator makes. */
static void
make_decisions(struct text *t)
{
	struct sim_outcome *const out = fuzz_run(&t->tx_replay, true);

	t->tx_n = out->nchoices < CHOICES_MOST ? out->nchoices : CHOICES_MOST;
	if (t->tx_n > 0)
		memcpy(t->tx_list, out->choices, t->tx_n * sizeof(*t->tx_list));
	free(out->choices);
	out->choices = NULL;
}

/* An input that is none becomes the shortest one. */
static bool
text_read(struct text *t, const uint8_t *data, size_t size, unsigned int seed)
{
	memset(t, 0, sizeof(*t));
	t->tx_random = seed;
	if (!fuzz_read(data, size, &t->tx_replay) &&
	    !fuzz_read((const uint8_t *)beginning, sizeof(beginning) - 1, &t->tx_replay))
		return false;
	t->tx_list = malloc(CHOICES_MOST * sizeof(*t->tx_list));
	if (t->tx_list == NULL) {
		replay_free(&t->tx_replay);
		return false;
	}
	const struct sim_options *const o = &t->tx_replay.re_options;
	t->tx_n = o->nchoices < CHOICES_MOST ? o->nchoices : CHOICES_MOST;
	if (t->tx_n > 0)
		memcpy(t->tx_list, o->choices, t->tx_n * sizeof(*t->tx_list));
	else
		make_decisions(t);
	return true;
}

static void
text_free(struct text *t)
{
	free(t->tx_list);
	replay_free(&t->tx_replay);
}

/* What fits; 0 if not even the header does. */
static size_t
text_write(struct text *t, uint8_t *out, size_t max)
{
	static struct sim_outcome made; /* large */
	size_t size = 0;

	for (;;) {
		char *text = NULL;
		FILE *to = open_memstream(&text, &size);

		if (to == NULL)
			return 0;
		memset(&made, 0, sizeof(made));
		made.arch = t->tx_replay.re_options.arch;
		made.seed = t->tx_replay.re_options.seed;
		made.schedule = t->tx_replay.re_options.schedule;
		made.choices = t->tx_list;
		made.nchoices = t->tx_n;
		replay_write(to, &t->tx_replay.re_options, &made);
		fclose(to);
		const bool fits = size <= max;
		if (fits)
			memcpy(out, text, size);
		free(text);
		if (fits)
			return size;
		if (t->tx_n == 0)
			return 0;
		t->tx_n = t->tx_n * max / size * 9 / 10;
	}
}

/* ---- Changes -------------------------------------------------------------------------------- */

static void
change_value(struct text *t, size_t at)
{
	struct sim_choice_record *const c = &t->tx_list[at];

	switch (below(t, 4)) {
	case 0:
		c->cr_value = 0;
		break;
	case 1:
		c->cr_value = c->cr_n - 1;
		break;
	default:
		c->cr_value = below(t, c->cr_n);
		break;
	}
}

/* One of a kind, lest the many of one kind hide the few of another. */
static void
change_kind(struct text *t)
{
	const uint32_t kind = below(t, SIM_CHOICE_COUNT);
	const size_t from = below(t, (uint32_t)t->tx_n);

	for (size_t i = 0; i < t->tx_n; i++) {
		const size_t at = (from + i) % t->tx_n;

		if (t->tx_list[at].cr_kind == kind) {
			change_value(t, at);
			return;
		}
	}
}

static void
remove_block(struct text *t, size_t at, size_t n)
{
	n = n < t->tx_n - at ? n : t->tx_n - at;
	memmove(t->tx_list + at, t->tx_list + at + n, (t->tx_n - at - n) * sizeof(*t->tx_list));
	t->tx_n -= n;
}

/* A copy of another place's decisions. */
static void
insert_block(struct text *t, size_t at, size_t from, size_t n)
{
	struct sim_choice_record block[BLOCK_MOST];

	n = n < t->tx_n - from ? n : t->tx_n - from;
	if (t->tx_n + n > CHOICES_MOST)
		return;
	memcpy(block, t->tx_list + from, n * sizeof(*block));
	memmove(t->tx_list + at + n, t->tx_list + at, (t->tx_n - at) * sizeof(*t->tx_list));
	memcpy(t->tx_list + at, block, n * sizeof(*block));
	t->tx_n += n;
}

/* Somebody else's turn, for a while. */
static void
preempt(struct text *t, size_t at)
{
	const uint32_t turns = 1 + below(t, 200);
	bool first = true;
	uint32_t made = 0;

	for (size_t i = at; i < t->tx_n && made < turns; i++) {
		struct sim_choice_record *const c = &t->tx_list[i];

		if (c->cr_kind != SIM_CHOICE_ACTOR)
			continue;
		c->cr_value = first ? 1 + below(t, c->cr_n - 1) : 0;
		first = false;
		made++;
	}
}

/* Of those that are over soon: the small ones that can be searched, too. */
static const char *
some_scenario(struct text *t)
{
	static const char *const names[] = {"crowd", "shootdown", "revoke", "dirty",
					    "aging", "wiring",	  "stalls", "holding",
					    "turns", "devices",	  "swarm"};
	const unsigned int nnames = sizeof(names) / sizeof(names[0]);
	const unsigned int pick = below(t, 2 * nnames);
	const struct sim_scenario_info *info = NULL;
	unsigned int nsmall = 0;

	for (unsigned int i = 0; (info = sim_scenario(i)) != NULL; i++)
		nsmall += strncmp(info->name, "xp-", 3) == 0;
	if (pick < nnames || nsmall == 0)
		return names[pick % nnames];
	nsmall = below(t, nsmall) + 1;
	for (unsigned int i = 0; nsmall > 0; i++) {
		info = sim_scenario(i);
		nsmall -= strncmp(info->name, "xp-", 3) == 0;
	}
	return info->name;
}

/* Undone if the options make no sense together. */
static void
change_header(struct text *t)
{
	struct sim_options *const o = &t->tx_replay.re_options;
	const struct sim_options was = *o;
	char why[256];

	switch (below(t, 5)) {
	case 0:
		o->seed = below(t, 1000);
		break;
	case 1:
		o->arch = (enum sim_arch)below(t, SIM_ARCH_COUNT);
		o->arch_set = 1u << o->arch;
		break;
	case 2:
		o->scenario = some_scenario(t);
		o->caps = NULL;
		break;
	case 3:
		o->sequential = !o->sequential;
		break;
	default:
		o->cpus = 2 + below(t, 2);
		break;
	}
	if (sim_options_complete(o, NULL, why, sizeof(why)) != 0)
		*o = was;
}

static void
change(struct text *t)
{
	if (t->tx_n == 0 || below(t, 60) == 0) {
		change_header(t);
		return;
	}
	const size_t at = below(t, (uint32_t)t->tx_n);

	switch (below(t, 8)) {
	case 0:
	case 1:
		change_value(t, at);
		break;
	case 2:
	case 3:
		change_kind(t);
		break;
	case 4:
		remove_block(t, at, 1 + below(t, BLOCK_MOST));
		break;
	case 5:
		insert_block(t, at, below(t, (uint32_t)t->tx_n), 1 + below(t, BLOCK_MOST));
		break;
	case 6:
		preempt(t, at);
		break;
	default:
		/* What comes after is another run's. */
		if (below(t, 8) == 0)
			t->tx_n = at;
		break;
	}
}

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	struct text t;

	if (!text_read(&t, data, size, seed))
		return 0;
	for (uint32_t i = 1 + below(&t, CHANGES_MOST); i > 0; i--)
		change(&t);
	const size_t n = text_write(&t, data, max_size);
	text_free(&t);
	return n;
}

/* The beginning of one, the end of the other, on the machine of the first. */
size_t
LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2, size_t size2,
			  uint8_t *out, size_t max_out, unsigned int seed)
{
	struct text a;
	struct text b;

	if (!text_read(&a, data1, size1, seed))
		return 0;
	if (!text_read(&b, data2, size2, seed + 1)) {
		text_free(&a);
		return 0;
	}
	const size_t head = a.tx_n > 0 ? below(&a, (uint32_t)a.tx_n) : 0;
	const size_t from = b.tx_n > 0 ? below(&b, (uint32_t)b.tx_n) : 0;
	const size_t tail =
		b.tx_n - from < CHOICES_MOST - head ? b.tx_n - from : CHOICES_MOST - head;

	memcpy(a.tx_list + head, b.tx_list + from, tail * sizeof(*a.tx_list));
	a.tx_n = head + tail;
	const size_t n = text_write(&a, out, max_out);
	text_free(&a);
	text_free(&b);
	return n;
}
