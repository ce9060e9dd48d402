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

#include "sim/machine_priv.h"

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

bool
choice_init(struct sim_machine *m)
{
	uint64_t state = m->m_cfg.sc_seed;

	for (int i = 0; i < 4; i++)
		m->m_rng[i] = splitmix64(&state);
	if (m->m_cfg.sc_record) {
		m->m_record_room = 4096;
		m->m_record = malloc(m->m_record_room * sizeof *m->m_record);
		return m->m_record != NULL;
	}
	return true;
}

void
choice_fini(struct sim_machine *m)
{
	free(m->m_record);
	m->m_record = NULL;
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

static _Noreturn void
diverged(struct sim_machine *m, enum sim_choice kind, uint32_t n)
{
	char message[sizeof m->m_report.sr_message];
	size_t at = m->m_list_at;

	if (at >= m->m_cfg.sc_list_len) {
		snprintf(message, sizeof message,
			 "the recorded choices end after %zu, the run goes on: %s among %" PRIu32,
			 at, sim_choice_name(kind), n);
	} else {
		const struct sim_choice_record *r = &m->m_cfg.sc_list[at];
		snprintf(message, sizeof message,
			 "choice %zu: recorded %s %" PRIu32 " among %" PRIu32
			 ", now %s among %" PRIu32,
			 at, sim_choice_name(r->cr_kind), r->cr_value, r->cr_n,
			 sim_choice_name(kind), n);
	}
	machine_end(m, SIM_RUN_DIVERGED, "", "", message);
}

static uint32_t
from_list(struct sim_machine *m, enum sim_choice kind, uint32_t n)
{
	const struct sim_choice_record *r = &m->m_cfg.sc_list[m->m_list_at];

	if (m->m_cfg.sc_list_lenient) {
		if (m->m_list_at >= m->m_cfg.sc_list_len)
			return 0;
		m->m_list_at++;
		return r->cr_value % n;
	}
	if (m->m_list_at >= m->m_cfg.sc_list_len || r->cr_kind != (uint32_t)kind || r->cr_n != n ||
	    r->cr_value >= n)
		diverged(m, kind, n);
	m->m_list_at++;
	return r->cr_value;
}

static void
record(struct sim_machine *m, enum sim_choice kind, uint32_t n, uint32_t value)
{
	if (m->m_nrecord == m->m_record_room) {
		size_t room = m->m_record_room * 2;
		struct sim_choice_record *list = realloc(m->m_record, room * sizeof *list);
		if (list == NULL)
			machine_end(m, SIM_RUN_BUDGET, "", "", "no memory to record choices");
		m->m_record = list;
		m->m_record_room = room;
	}
	m->m_record[m->m_nrecord++] = (struct sim_choice_record){kind, n, value};
}

/* Every choice passes here: by chance it is `drawn`, otherwise the source's. */
static uint32_t
settle(struct sim_machine *m, enum sim_choice kind, uint32_t n, uint32_t drawn)
{
	uint32_t value = drawn;

	if (m->m_cfg.sc_source == SIM_SOURCE_LIST) {
		value = from_list(m, kind, n);
	} else if (m->m_cfg.sc_source == SIM_SOURCE_CALL) {
		value = m->m_cfg.sc_call(m->m_cfg.sc_call_arg, kind, n);
		if (value >= n)
			sim_violation("CK-API", "I48", "a choice of %" PRIu32 " among %" PRIu32,
				      value, n);
	}
	if (m->m_cfg.sc_record)
		record(m, kind, n, value);
	m->m_ct.ct_choices++;
	m->m_hash = (m->m_hash ^ value ^ ((uint64_t)kind << 32)) * 0x9e3779b97f4a7c15ull;
	return value;
}

uint32_t
sim_choose(enum sim_choice kind, uint32_t n)
{
	struct sim_machine *m = sim_the_machine;

	if (n == 1)
		return 0;
	if (n == 0)
		sim_violation("CK-API", "I48", "a choice (%s) among none", sim_choice_name(kind));
	return settle(m, kind, n, m->m_cfg.sc_source == SIM_SOURCE_SEED ? random_below(m, n) : 0);
}

uint32_t
sim_choose_weighted(enum sim_choice kind, uint32_t n, const uint32_t *weights)
{
	struct sim_machine *m = sim_the_machine;
	uint32_t total = 0;
	uint32_t drawn = 0;

	if (n == 1)
		return 0;
	for (uint32_t i = 0; i < n; i++)
		total += weights[i];
	if (total == 0)
		sim_violation("CK-API", "I48", "a choice (%s) without odds", sim_choice_name(kind));
	if (m->m_cfg.sc_source == SIM_SOURCE_SEED) {
		uint32_t r = random_below(m, total);
		while (r >= weights[drawn])
			r -= weights[drawn++];
	}
	return settle(m, kind, n, drawn);
}

bool
sim_choose_chance(enum sim_choice kind, uint32_t ppm)
{
	struct sim_machine *m = sim_the_machine;

	if (ppm == 0)
		return false;
	uint32_t drawn = 0;
	if (m->m_cfg.sc_source == SIM_SOURCE_SEED)
		drawn = random_below(m, 1000000) < ppm;
	return settle(m, kind, 2, drawn) != 0;
}

uint64_t
sim_choose_value(enum sim_choice kind)
{
	uint64_t state = sim_choose(kind, UINT32_MAX);

	return splitmix64(&state);
}
