/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Stories of small runs: what is told, in which order, from when on a translation is stale, and
 * that telling changes nothing.
 */

#include <stdio.h>

#include "sim/oracle/oracle_tlb.h"
#include "sim/story/story_record.h"
#include "tests/unit/hw_rig.h"

#define GPA 0x40201000ull

static void
write_hook(void *arg, const struct sim_table_write *w)
{
	(void)arg;
	oracle_tlb_write(w);
}

/* A rig whose tables are those of "guest 0", and a story of it. */
static struct rig *
told(enum hw_kind kind, struct story **out)
{
	struct rig *r = rig_new(kind);
	struct story *s = story_create();

	cr_assert_not_null(s);
	cr_assert_eq(oracle_tlb_create(), 0);
	cr_assert_eq(oracle_tlb_register(&r->ctx), 0);
	sim_set_write_hook(write_hook, NULL);
	word_at(r, GPA, 0); /* tables are there */
	story_attach(s);
	STORY(space("guest 0", &r->ctx, NULL));
	*out = s;
	return r;
}

static void
told_free(struct rig *r, struct story *s)
{
	story_detach();
	story_destroy(s);
	oracle_tlb_destroy();
	rig_free(r);
}

/* The next event of a kind from i on; STORY_NONE. */
static uint32_t
next(const struct story *s, uint32_t i, enum story_kind kind)
{
	for (; i < s->st_n; i++) {
		if (s->st_events[i].se_kind == kind)
			return i;
	}
	return STORY_NONE;
}

static struct story_state
state_at(const struct story *s, uint32_t at)
{
	struct story_state st;

	story_state_init(&st, s);
	cr_assert(story_state_go(&st, at));
	return st;
}

/* How many of a CPU's translations (not pointers to tables) are cached and stale. */
static unsigned int
stale(const struct story *s, uint32_t at, unsigned int cpu, unsigned int *ncached)
{
	struct story_state st = state_at(s, at);
	unsigned int n = 0;

	*ncached = 0;
	for (uint32_t i = 0; i < st.ss_cpus[cpu].sc_ncached; i++) {
		const struct story_tlb_entry *t = &st.ss_cpus[cpu].sc_cached[i];

		if (s->st_events[t->tl_fill].se_flags & SE_TABLE)
			continue;
		++*ncached;
		n += t->tl_stale != STORY_NONE;
	}
	story_state_free(&st);
	return n;
}

Test(story, a_translation_is_stale_from_the_change_to_the_flush)
{
	struct story *s;
	struct rig *r = told(HW_EPT, &s);
	const uint64_t hpa = data_new(0);
	char text[STORY_TEXT_BYTES], want[STORY_TEXT_BYTES];
	uint32_t change, flush, drop;
	unsigned int ncached;

	sim_word_xchg(word_at(r, GPA, 0), hpa | EPT_LEAF);
	assert_reaches(r, GPA, HW_WRITE, hpa);
	sim_word_xchg(word_at(r, GPA, 0), 0);
	hw_invept(0, &r->model, HW_INVEPT_SINGLE, r->ctx.hc_root);

	change = STORY_NONE;
	for (uint32_t i = 0; (i = next(s, i, STORY_ENTRY)) != STORY_NONE; i++) {
		if (s->st_events[i].se_new == 0)
			change = i;
	}
	cr_assert_neq(change, STORY_NONE);
	cr_assert_eq(s->st_events[change].se_gpa, GPA);
	cr_assert_eq(s->st_events[change].se_level, 0);
	cr_assert_str_eq(story_action(s, change, text, sizeof(text)),
			 "clears the level-0 entry of 0x40201000 in guest 0");
	snprintf(want, sizeof(want), "frame 0x%llx rwx A D -> nothing", (unsigned long long)hpa);
	cr_assert_str_eq(story_change(s, change, text, sizeof(text)), want);

	cr_assert_eq(stale(s, change, 0, &ncached), 0);
	cr_assert_eq(ncached, 1);
	flush = next(s, change, STORY_FLUSH);
	cr_assert_neq(flush, STORY_NONE);
	cr_assert_eq(s->st_events[next(s, change, STORY_STALE)].se_link, change);
	cr_assert_eq(stale(s, flush, 0, &ncached), 1);
	cr_assert_eq(stale(s, flush, 1, &ncached), 0);

	drop = next(s, flush, STORY_DROP);
	cr_assert_neq(drop, STORY_NONE);
	cr_assert_eq(s->st_events[drop].se_link, flush);
	cr_assert_geq(s->st_events[flush].se_count, 1);
	cr_assert_eq(stale(s, s->st_n, 0, &ncached), 0);
	cr_assert_eq(ncached, 0);
	cr_assert_str_eq(story_action(s, flush, text, sizeof(text)), "INVEPT of guest 0");
	told_free(r, s);
}

/* The walker's flags are changes, too, and take nothing away. */
Test(story, a_walker_that_sets_flags_makes_nothing_stale)
{
	struct story *s;
	struct rig *r = told(HW_NPT, &s);
	const uint64_t hpa = data_new(0);
	char text[STORY_TEXT_BYTES];
	unsigned int hardware = 0;

	sim_word_xchg(word_at(r, GPA, 0), hpa | X86_ALL);
	assert_reaches(r, GPA, HW_READ | HW_USER, hpa);
	assert_reaches(r, GPA, HW_WRITE | HW_USER, hpa);
	for (uint32_t i = 0; (i = next(s, i, STORY_ENTRY)) != STORY_NONE; i++) {
		if (!(s->st_events[i].se_flags & SE_HARDWARE))
			continue;
		hardware++;
		story_action(s, i, text, sizeof(text));
		cr_assert_eq(strncmp(text, "sets flags by a page walk in ", 29), 0, "%s", text);
	}
	cr_assert_geq(hardware, 2);
	cr_assert_eq(next(s, 0, STORY_STALE), STORY_NONE);
	told_free(r, s);
}

/* Rights that went away make a translation stale; given back, it is right again. */
Test(story, what_is_given_back_is_right_again)
{
	struct story *s;
	struct rig *r = told(HW_EPT, &s);
	const uint64_t hpa = data_new(0);
	uint64_t leaf;

	sim_word_xchg(word_at(r, GPA, 0), hpa | EPT_LEAF);
	assert_reaches(r, GPA, HW_WRITE, hpa);
	leaf = *word_at(r, GPA, 0);
	sim_word_xchg(word_at(r, GPA, 0), leaf & ~2ull);
	sim_word_xchg(word_at(r, GPA, 0), leaf);
	cr_assert_neq(next(s, 0, STORY_STALE), STORY_NONE);
	cr_assert_neq(next(s, next(s, 0, STORY_STALE), STORY_FRESH), STORY_NONE);
	told_free(r, s);
}

/* What an entry was before its first change in the story is what that change found. */
Test(story, words_are_known_before_and_after_their_changes)
{
	struct story *s;
	struct rig *r = told(HW_EPT, &s);
	const uint64_t hpa = data_new(0);
	uint64_t value = 1, where;

	sim_word_xchg(word_at(r, GPA, 0), hpa | EPT_LEAF);
	where = s->st_events[next(s, 0, STORY_ENTRY)].se_id;
	cr_assert(story_word(s, 0, where, &value));
	cr_assert_eq(value, 0);
	cr_assert(story_word(s, s->st_n, where, &value));
	cr_assert_eq(value, hpa | EPT_LEAF);
	cr_assert_not(story_word(s, s->st_n, 8, &value));
	told_free(r, s);
}

/* The blamed translation leads to the change that made it stale. */
Test(story, the_racing_steps_are_found)
{
	struct story *s;
	struct rig *r = told(HW_EPT, &s);
	const uint64_t hpa = data_new(0);
	struct hw_tlb_entry blamed = {0};

	sim_word_xchg(word_at(r, GPA, 0), hpa | EPT_LEAF);
	assert_reaches(r, GPA, HW_READ, hpa);
	sim_word_xchg(word_at(r, GPA, 0), 0);
	blamed.te_root = r->root;
	blamed.te_gpa = GPA;
	for (uint32_t i = 0; (i = next(s, i, STORY_FILL)) != STORY_NONE; i++) {
		if (!(s->st_events[i].se_flags & SE_TABLE))
			blamed.te_serial = s->st_events[i].se_serial;
	}
	STORY(blame(0, &blamed, GPA));
	story_detach();
	cr_assert_neq(s->st_changed, STORY_NONE);
	cr_assert_eq(s->st_events[s->st_changed].se_kind, STORY_ENTRY);
	cr_assert_eq(s->st_events[s->st_changed].se_new, 0);
	cr_assert_eq(s->st_used, s->st_blame);
	cr_assert_gt(s->st_npaths, 0);
	told_free(r, s);
}

static void
complain(void *arg)
{
	(void)arg;
	sim_violation("CK-DIRTY", "I25", "guest 0: frame 0x1000 of 0x%llx was written, and lost",
		      (unsigned long long)GPA + 8);
}

/* Without a translation to blame: the address in the message, and the last change of its entry. */
Test(story, a_message_names_what_it_is_about)
{
	struct story *s;
	struct rig *r = told(HW_EPT, &s);
	const uint64_t hpa = data_new(0);
	struct sim_report report;

	sim_word_xchg(word_at(r, GPA, 0), hpa | EPT_LEAF);
	assert_reaches(r, GPA, HW_WRITE, hpa);
	sim_word_xchg(word_at(r, GPA, 0), 0);
	sim_machine_call(r->m, complain, NULL, &report);
	cr_assert_eq(report.sr_result, SIM_RUN_VIOLATED);
	story_detach();
	cr_assert(s->st_ended);
	cr_assert_eq(s->st_blame, STORY_NONE);
	cr_assert_neq(s->st_changed, STORY_NONE);
	cr_assert_eq(s->st_events[s->st_changed].se_gpa, GPA);
	cr_assert_eq(s->st_events[s->st_changed].se_new, 0);
	cr_assert_eq(s->st_events[s->st_used].se_kind, STORY_VIOLATION);
	told_free(r, s);
}

/* ---- Store buffers --------------------------------------------------------------------------- */

struct words {
	struct host_word *w;
};

static void
store_and_fence(void *arg)
{
	struct words *words = arg;

	for (unsigned int i = 0; i < 4; i++) {
		host_store(&words->w[i], i + 1);
		host_load(&words->w[0]);
	}
	host_fence();
	host_fetch_add(&words->w[5], 3);
}

static struct sim_report
run_stores(struct story *s)
{
	struct sim_config cfg = config(2, 7);
	struct sim_machine *m = machine(&cfg);
	struct words words = {sim_alloc(8 * sizeof(struct host_word))};
	struct sim_report report;

	story_attach(s);
	report = run_on(m, (program_fn[]){store_and_fence, store_and_fence}, &words);
	story_detach();
	sim_machine_destroy(m);
	return report;
}

Test(story, stores_wait_and_then_arrive_in_order)
{
	struct story *s = story_create();
	unsigned int most = 0, buffers = 0, drains = 0;
	struct story_state st;

	assert_passed(run_stores(s));
	story_state_init(&st, s);
	for (uint32_t i = 0; i < s->st_n; i++) {
		const struct story_event *e = &s->st_events[i];

		if (e->se_kind == STORY_DRAIN) {
			const struct story_cpu *c = &st.ss_cpus[e->se_cpu];

			cr_assert_gt(c->sc_nstores, 0);
			cr_assert_eq(s->st_events[c->sc_stores[0]].se_id, e->se_id);
			cr_assert_eq(s->st_events[c->sc_stores[0]].se_new, e->se_new);
			drains++;
		}
		buffers += e->se_kind == STORY_BUFFER;
		cr_assert(story_state_go(&st, i + 1));
		if (st.ss_cpus[0].sc_nstores > most)
			most = st.ss_cpus[0].sc_nstores;
	}
	cr_assert_eq(buffers, 8);
	cr_assert_eq(drains, 8);
	cr_assert_geq(most, 1);
	cr_assert_eq(st.ss_cpus[0].sc_nstores, 0);
	story_state_free(&st);
	story_destroy(s);
}

Test(story, telling_changes_nothing)
{
	struct story *s = story_create();
	const struct sim_report without = run_stores(NULL);
	const struct sim_report with = run_stores(s);

	cr_assert_eq(with.sr_hash, without.sr_hash);
	cr_assert_eq(with.sr_step, without.sr_step);
	cr_assert_gt(s->st_n, 0);
	story_destroy(s);
}

/* Begun in the middle: what is in the buffers then comes first. */
Test(story, what_was_before_comes_first)
{
	struct story *all = story_create();
	struct story *late = story_create();
	struct story_state st;
	uint32_t i = 0;

	assert_passed(run_stores(all));
	story_state_init(&st, all);
	/* A step at whose begin something waits. */
	for (i = next(all, 0, STORY_BUFFER) + 1; i < all->st_n; i++) {
		cr_assert(story_state_go(&st, i));
		if (all->st_events[i].se_kind == STORY_POINT &&
		    all->st_events[i].se_step > all->st_events[i - 1].se_step &&
		    st.ss_cpus[0].sc_nstores + st.ss_cpus[1].sc_nstores != 0)
			break;
	}
	cr_assert_lt(i, all->st_n);
	story_clear(late, all->st_events[i].se_step);
	assert_passed(run_stores(late));
	cr_assert_eq(late->st_events[0].se_kind, STORY_BUFFER);
	cr_assert(late->st_events[0].se_flags & SE_BEFORE);
	cr_assert_eq(late->st_first_step, all->st_events[i].se_step);
	cr_assert_lt(late->st_n, all->st_n);
	cr_assert_eq(late->st_events[late->st_n - 1].se_step,
		     all->st_events[all->st_n - 1].se_step);
	story_state_free(&st);
	story_destroy(all);
	story_destroy(late);
}

/* A story that lost its end says from where to tell it again. */
Test(story, a_story_that_is_too_long_is_told_from_later_on)
{
	struct story *s = story_create();

	s->st_n = STORY_EVENTS_MAX;
	s->st_lost = STORY_EVENTS_MAX;
	cr_assert_eq(story_shorter(s, 10000), 10000 - 3750);
	s->st_lost = 0;
	s->st_n = 10;
	cr_assert_eq(story_shorter(s, 10000), 0);
	story_destroy(s);
}
