/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What a machine looks like, in one number: two runs that end in the same state have the same, in
 * every build. So nothing that depends on where a program's own memory lies may enter it; of that
 * memory only what stands in store buffers does.
 */

#include <string.h>

#include "sim/machine/machine_priv.h"

static uint64_t
mix(uint64_t h, uint64_t value)
{
	h = (h ^ value) * 0x9e3779b97f4a7c15ull;
	return h ^ (h >> 29);
}

static uint64_t
mix_page(uint64_t h, const char *page)
{
	for (unsigned int i = 0; i < SIM_PAGE_SIZE / 8; i++) {
		uint64_t w;

		memcpy(&w, page + 8 * i, sizeof w);
		h = mix(h, w);
	}
	return h;
}

static uint64_t
mix_frame(uint64_t h, const struct sim_machine *m, uint32_t i)
{
	const struct sim_frame *f = &m->m_frames[i];

	h = mix(h, (uint64_t)i << 8 | f->fr_kind);
	if (f->fr_kind == SIM_FRAME_TABLE)
		return mix_page(h, m->m_words + (uint64_t)i * SIM_PAGE_SIZE);
	/* A page that is still to be filled has no bytes of its own yet. */
	if (f->fr_bytes != BYTES_THERE)
		return mix(h, f->fr_bytes);
	return mix_page(h, m->m_bytes + (uint64_t)i * SIM_PAGE_SIZE);
}

uint64_t
sim_machine_state_hash(const struct sim_machine *m)
{
	uint64_t h = m->m_ncpus;

	for (uint32_t i = 0; i < m->m_nframes; i++) {
		const uint8_t kind = m->m_frames[i].fr_kind;

		if (kind == SIM_FRAME_TABLE || kind == SIM_FRAME_DATA || kind == SIM_FRAME_KEPT)
			h = mix_frame(h, m, i);
	}
	for (unsigned int i = 0; i <= m->m_ncpus; i++) {
		const struct cpu *c = &m->m_cpus[i];

		h = mix(h, (uint64_t)c->cp_online << 3 | (uint64_t)c->cp_irq_on << 2 |
				   (uint64_t)c->cp_irq_pending << 1 | c->cp_in_guest);
		h = mix(h, c->cp_kicks);
		for (unsigned int s = 0; s < c->cp_nstores; s++) {
			const uint64_t id = address_id(m, (uintptr_t)c->cp_stores[s].ps_word);

			h = mix(mix(h, id), stable_value(m, id, c->cp_stores[s].ps_value));
		}
	}
	return h;
}
