/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The one source of choices: a generator (xoshiro256**, seeded through splitmix64; Blackman and
 * Vigna), a recorded list, or a function. Odds matter to the generator only; to the other sources a
 * choice is a number among n.
 *
 * A recorded list fits a run if each choice asked for is of the recorded kind, among as many. Where
 * it does not, the run that was recorded was another one, and saying where they part is all that
 * honesty allows.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/machine/machine_priv.h"

static uint64_t
splitmix64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint64_t
rotl(uint64_t x, unsigned int k)
{
	return x << k | x >> (64 - k);
}

static uint64_t
next_random(uint64_t s[4])
{
	uint64_t result = rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

/* In [0, n), by the upper half of a product; the bias is below 2^-32. */
static uint32_t
random_below(struct sim_machine *m, uint32_t n)
{
	return (uint32_t)((next_random(m->m_rng) >> 32) * n >> 32);
}

void
choice_restart(struct sim_machine *m)
{
	uint64_t state = m->m_cfg.sc_draw_seed != 0 ? m->m_cfg.sc_draw_seed : m->m_cfg.sc_seed;

	for (int i = 0; i < 4; i++)
		m->m_rng[i] = splitmix64(&state);
	m->m_list_at = 0;
}

bool
choice_init(struct sim_machine *m)
{
	choice_restart(m);
	if (m->m_cfg.sc_record) {
		m->m_record_room = 4096;
		m->m_record = malloc(m->m_record_room * sizeof *m->m_record);
		m->m_notes = malloc(m->m_record_room * sizeof *m->m_notes);
		return m->m_record != NULL && m->m_notes != NULL;
	}
	return true;
}

void
choice_fini(struct sim_machine *m)
{
	free(m->m_record);
	free(m->m_notes);
	m->m_record = NULL;
	m->m_notes = NULL;
}

const char *
sim_choice_name(enum sim_choice kind)
{
	static const char *const names[SIM_CHOICE_COUNT] = {
		[SIM_CHOICE_ACTOR] = "actor",	    [SIM_CHOICE_RUN] = "run",
		[SIM_CHOICE_AGENT] = "agent",	    [SIM_CHOICE_FAULT] = "fault",
		[SIM_CHOICE_EPOCH] = "epoch",	    [SIM_CHOICE_HW] = "hw",
		[SIM_CHOICE_WORKLOAD] = "workload",
	};

	return (unsigned int)kind < SIM_CHOICE_COUNT ? names[kind] : "unknown";
}

/* ---- Names ---------------------------------------------------------------------------------- */

unsigned int
sim_offered_actor(uint64_t offered, unsigned int running, uint32_t k)
{
	if (running < 32 && offered >> running & 1) {
		if (k-- == 0)
			return running;
		offered &= ~SIM_OFFER_CPU(running);
	}
	for (; k > 0; k--)
		offered &= offered - 1;
	if (offered == 0)
		return SIM_ACTOR_DRIVER;
	const unsigned int bit = (unsigned int)__builtin_ctzll(offered);
	return bit < 32 ? bit : SIM_ACTOR_AGENT + bit - 32;
}

static const char *
actor_name(const struct sim_machine *m, unsigned int actor, char *buf, size_t bytes)
{
	if (actor == SIM_ACTOR_DRIVER)
		return "the driver";
	if (actor >= SIM_ACTOR_AGENT)
		return m->m_agents[actor - SIM_ACTOR_AGENT].ag_ops->ag_name;
	if (actor == m->m_ncpus)
		return "service";
	snprintf(buf, bytes, "cpu%u", actor);
	return buf;
}

/* "{cpu0, cpu2, eviction}" */
static void
name_offered(const struct sim_machine *m, uint64_t offered, char *buf, size_t bytes)
{
	size_t used = (size_t)snprintf(buf, bytes, "{");
	char name[16];

	for (unsigned int i = 0; i < 64 && used < bytes; i++) {
		const unsigned int actor = i < 32 ? i : SIM_ACTOR_AGENT + i - 32;

		/* A file may name agents that this machine does not have. */
		if (!(offered >> i & 1) || (i >= 32 && i - 32 >= m->m_nagents))
			continue;
		used += (size_t)snprintf(buf + used, bytes - used, "%s%s", used > 1 ? ", " : "",
					 actor_name(m, actor, name, sizeof name));
	}
	if (used < bytes)
		snprintf(buf + used, bytes - used, "}");
}

/* ---- A recorded list ------------------------------------------------------------------------ */

/* Whether the choice asked for is the recorded one; if not, where they part. */
static bool
is_recorded(const struct sim_machine *m, size_t at, enum sim_choice kind, uint32_t n)
{
	const struct sim_choice_record *r = &m->m_cfg.sc_list[at];
	const struct sim_choice_note *note =
		m->m_cfg.sc_list_notes != NULL ? &m->m_cfg.sc_list_notes[at] : NULL;

	if (r->cr_kind != (uint32_t)kind || r->cr_n != n || r->cr_value >= n)
		return false;
	return note == NULL || (note->cn_actor == m->m_actor &&
				(kind != SIM_CHOICE_ACTOR || note->cn_offered == m->m_offered));
}

static _Noreturn void
diverged(struct sim_machine *m, enum sim_choice kind, uint32_t n)
{
	char message[sizeof m->m_report.sr_message];
	char was[160], is[160], who[32], before[32];
	size_t at = m->m_list_at;
	const struct sim_choice_note *note =
		m->m_cfg.sc_list_notes != NULL ? &m->m_cfg.sc_list_notes[at] : NULL;

	if (at >= m->m_cfg.sc_list_len) {
		snprintf(message, sizeof message,
			 "the recorded choices end after %zu, the run goes on: %s among %" PRIu32,
			 at, sim_choice_name(kind), n);
		machine_end(m, SIM_RUN_DIVERGED, "", "", message);
	}
	const struct sim_choice_record *r = &m->m_cfg.sc_list[at];
	if (note != NULL && kind == SIM_CHOICE_ACTOR && r->cr_kind == SIM_CHOICE_ACTOR) {
		const unsigned int actor =
			sim_offered_actor(note->cn_offered, note->cn_actor, r->cr_value);

		name_offered(m, note->cn_offered, was, sizeof was);
		name_offered(m, m->m_offered, is, sizeof is);
		snprintf(message, sizeof message,
			 "decision %zu, step %" PRIu64 ": recorded %s among %s, now runnable %s",
			 at, m->m_step,
			 actor < SIM_ACTOR_AGENT || actor - SIM_ACTOR_AGENT < m->m_nagents
				 ? actor_name(m, actor, who, sizeof who)
				 : "nobody",
			 was, is);
	} else {
		snprintf(message, sizeof message,
			 "decision %zu, step %" PRIu64 ": recorded %s%s%s %" PRIu32
			 " among %" PRIu32 ", now %s by %s among %" PRIu32,
			 at, m->m_step, sim_choice_name(r->cr_kind), note != NULL ? " by " : "",
			 note != NULL && (note->cn_actor < SIM_ACTOR_AGENT ||
					  note->cn_actor == SIM_ACTOR_DRIVER ||
					  note->cn_actor - SIM_ACTOR_AGENT < m->m_nagents)
				 ? actor_name(m, note->cn_actor, before, sizeof before)
				 : "",
			 r->cr_value, r->cr_n, sim_choice_name(kind),
			 actor_name(m, m->m_actor, who, sizeof who), n);
	}
	machine_end(m, SIM_RUN_DIVERGED, "", "", message);
}

static uint32_t
from_list(struct sim_machine *m, enum sim_choice kind, uint32_t n)
{
	if (m->m_cfg.sc_list_lenient) {
		if (m->m_list_at >= m->m_cfg.sc_list_len)
			return 0;
		return m->m_cfg.sc_list[m->m_list_at++].cr_value % n;
	}
	if (m->m_list_at >= m->m_cfg.sc_list_len || !is_recorded(m, m->m_list_at, kind, n))
		diverged(m, kind, n);
	return m->m_cfg.sc_list[m->m_list_at++].cr_value;
}

/* ---- Recording ------------------------------------------------------------------------------ */

static void
record(struct sim_machine *m, enum sim_choice kind, uint32_t n, uint32_t value)
{
	if (m->m_nrecord == m->m_record_room) {
		size_t room = m->m_record_room * 2;
		struct sim_choice_record *list = realloc(m->m_record, room * sizeof *list);
		if (list != NULL)
			m->m_record = list;
		struct sim_choice_note *notes = realloc(m->m_notes, room * sizeof *notes);
		if (notes != NULL)
			m->m_notes = notes;
		if (list == NULL || notes == NULL)
			machine_end(m, SIM_RUN_BUDGET, "", "", "no memory to record choices");
		m->m_record_room = room;
	}
	const bool begins = kind == SIM_CHOICE_WORKLOAD && m->m_cpu != NULL && m->m_cpu->cp_begins;
	m->m_notes[m->m_nrecord] = (struct sim_choice_note){
		.cn_step = m->m_step,
		.cn_offered = kind == SIM_CHOICE_ACTOR ? m->m_offered : 0,
		.cn_actor = (uint8_t)m->m_actor,
		.cn_begins = begins,
	};
	if (m->m_cpu != NULL) {
		const struct cpu *c = m->m_cpu;

		m->m_notes[m->m_nrecord].cn_operation = (uint32_t)c->cp_operations;
		m->m_notes[m->m_nrecord].cn_points =
			(uint32_t)(c->cp_points - c->cp_operation_points);
		m->m_notes[m->m_nrecord].cn_passed = (uint32_t)c->cp_points;
	}
	if (begins)
		m->m_cpu->cp_begins = false;
	m->m_record[m->m_nrecord++] = (struct sim_choice_record){kind, n, value};
}

void
sim_operation(void)
{
	struct sim_machine *m = sim_the_machine;

	if (m->m_cpu == NULL)
		return;
	m->m_cpu->cp_begins = true;
	m->m_cpu->cp_operations++;
	m->m_cpu->cp_operation_points = m->m_cpu->cp_points;
}

void
sim_choice_word(const char *word)
{
	struct sim_machine *m = sim_the_machine;

	if (m->m_cfg.sc_record && m->m_nrecord > 0)
		m->m_notes[m->m_nrecord - 1].cn_word = word;
}

uint64_t
sim_operations(unsigned int cpu, uint64_t *points)
{
	const struct cpu *c = &sim_the_machine->m_cpus[cpu];

	*points = c->cp_points - c->cp_operation_points;
	return c->cp_operations;
}

unsigned int
sim_actor(void)
{
	return sim_the_machine->m_actor;
}

uint64_t
sim_offered(void)
{
	return sim_the_machine->m_offered;
}

void
sim_stop(const char *why)
{
	machine_end(sim_the_machine, SIM_RUN_BUDGET, "", "", why);
}

/* ---- Taking one ----------------------------------------------------------------------------- */

/* What the source says, or SIM_CHOICE_DRAW. */
static uint32_t
ask(struct sim_machine *m, enum sim_choice kind, uint32_t n)
{
	uint32_t value = SIM_CHOICE_DRAW;

	if (m->m_cfg.sc_source == SIM_SOURCE_LIST) {
		value = from_list(m, kind, n);
	} else if (m->m_cfg.sc_source == SIM_SOURCE_CALL) {
		value = m->m_cfg.sc_call(m->m_cfg.sc_call_arg, kind, n);
		if (value >= n && value != SIM_CHOICE_DRAW)
			sim_violation("CK-API", "I48", "a choice of %" PRIu32 " among %" PRIu32,
				      value, n);
	}
	return value;
}

/* Every choice passes here, whoever made it. */
static uint32_t
settle(struct sim_machine *m, enum sim_choice kind, uint32_t n, uint32_t value)
{
	if (m->m_cfg.sc_record)
		record(m, kind, n, value);
	m->m_ct.ct_choices++;
	m->m_hash = (m->m_hash ^ value ^ ((uint64_t)kind << 32)) * 0x9e3779b97f4a7c15ull;
	return value;
}

uint32_t
choice_made(struct sim_machine *m, enum sim_choice kind, uint32_t n, uint32_t value)
{
	return n == 1 ? 0 : settle(m, kind, n, value);
}

uint32_t
sim_choose(enum sim_choice kind, uint32_t n)
{
	struct sim_machine *m = sim_the_machine;

	if (n == 1)
		return 0;
	if (n == 0)
		sim_violation("CK-API", "I48", "a choice (%s) among none", sim_choice_name(kind));
	uint32_t value = ask(m, kind, n);
	if (value == SIM_CHOICE_DRAW)
		value = random_below(m, n);
	return settle(m, kind, n, value);
}

uint32_t
sim_choose_weighted(enum sim_choice kind, uint32_t n, const uint32_t *weights)
{
	struct sim_machine *m = sim_the_machine;
	uint32_t total = 0;

	if (n == 1)
		return 0;
	for (uint32_t i = 0; i < n; i++)
		total += weights[i];
	if (total == 0)
		sim_violation("CK-API", "I48", "a choice (%s) without odds", sim_choice_name(kind));
	uint32_t value = ask(m, kind, n);
	if (value == SIM_CHOICE_DRAW) {
		uint32_t r = random_below(m, total);
		for (value = 0; r >= weights[value]; value++)
			r -= weights[value];
	}
	return settle(m, kind, n, value);
}

bool
sim_choose_chance(enum sim_choice kind, uint32_t ppm)
{
	struct sim_machine *m = sim_the_machine;

	if (ppm == 0)
		return false;
	uint32_t value = ask(m, kind, 2);
	if (value == SIM_CHOICE_DRAW)
		value = random_below(m, 1000000) < ppm;
	return settle(m, kind, 2, value) != 0;
}

uint64_t
sim_choose_value(enum sim_choice kind)
{
	uint64_t state = sim_choose(kind, UINT32_MAX);

	return splitmix64(&state);
}
