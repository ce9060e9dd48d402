/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What pages must contain. Every write has a value of its own, so a word from a wrong frame, from
 * an old copy or from a page that should be empty is never the right one by chance.
 */

#include "sim/workload/world.h"

#include <string.h>

#define GHOSTS_AT_A_TIME 16

static struct ghost *
ghost_of(struct world *w, struct page *pg)
{
	if (pg->pg_ghost == NULL) {
		if (w->wo_nghosts == 0) {
			w->wo_ghosts = sim_alloc(sizeof(*w->wo_ghosts) * GHOSTS_AT_A_TIME);
			w->wo_nghosts = GHOSTS_AT_A_TIME;
		}
		pg->pg_ghost = &w->wo_ghosts[--w->wo_nghosts];
	}
	return pg->pg_ghost;
}

static bool
is_loose(const struct ghost *gh, unsigned int word)
{
	return (gh->gh_loose[word / 64] >> word % 64 & 1) != 0;
}

uint64_t
ghost_word(const struct page *pg, unsigned int word)
{
	return pg->pg_ghost != NULL ? pg->pg_ghost->gh_words[word] : 0;
}

bool
ghost_found(struct page *pg, unsigned int word, uint64_t value)
{
	struct ghost *const gh = pg->pg_ghost;

	if (gh == NULL)
		return value == 0;
	if (pg->pg_discarding)
		return value == gh->gh_words[word] || value == 0;
	if (is_loose(gh, word) && value == 0)
		gh->gh_words[word] = 0;
	gh->gh_loose[word / 64] &= ~(UINT64_C(1) << word % 64);
	return value == gh->gh_words[word];
}

void
ghost_write(struct world *w, struct page *pg, unsigned int word, uint64_t value)
{
	struct ghost *const gh = ghost_of(w, pg);

	gh->gh_words[word] = value;
	if (pg->pg_discarding)
		gh->gh_loose[word / 64] |= UINT64_C(1) << word % 64;
	else
		gh->gh_loose[word / 64] &= ~(UINT64_C(1) << word % 64);
}

void
ghost_clear(struct page *pg)
{
	if (pg->pg_ghost != NULL)
		memset(pg->pg_ghost, 0, sizeof(*pg->pg_ghost));
}

/*
 * What was loose before stays so in gh_loose; the marks of this discard are added to it, which
 * can only make the ghost less sure of words that it was not sure of.
 */
void
ghost_discard_begin(struct world *w, struct page *pg)
{
	ghost_of(w, pg);
	pg->pg_discarding = true;
	pg->pg_pinned = pg->pg_holds != 0;
}

void
ghost_discard_end(struct page *pg, enum ghost_fate fate)
{
	struct ghost *const gh = pg->pg_ghost;

	pg->pg_discarding = false;
	for (unsigned int i = 0; i < PAGE_WORDS && fate != GHOST_KEPT; i++) {
		if (gh->gh_words[i] == 0)
			continue;
		if (fate == GHOST_UNKNOWN)
			gh->gh_loose[i / 64] |= UINT64_C(1) << i % 64;
		else if (!is_loose(gh, i))
			gh->gh_words[i] = 0;
	}
}

bool
ghost_equal(const struct page *pg, const uint64_t *bytes, unsigned int *word)
{
	const struct ghost *const gh = pg->pg_ghost;

	if (gh != NULL && memcmp(gh->gh_words, bytes, sizeof(gh->gh_words)) == 0)
		return true;
	for (unsigned int i = 0; i < PAGE_WORDS; i++) {
		const uint64_t must = ghost_word(pg, i);

		if (bytes[i] == must ||
		    (bytes[i] == 0 && gh != NULL && (pg->pg_discarding || is_loose(gh, i))))
			continue;
		*word = i;
		return false;
	}
	return true;
}

uint64_t
ghost_value(struct world *w)
{
	return ++w->wo_next_content;
}
