/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * How a run has left the machine, in one number: of all that a snapshot made now would save, what
 * is not as it was when this one was made. What follows a run (audits, taking everything down, the
 * search for leaks) is done by the driver alone, and what comes of it depends on that state. So
 * whoever makes many runs from one snapshot need do it once for each state, of which there are few:
 * runs differ in order, mostly, and not in what they leave.
 *
 * Bit for bit, addresses included: a state that differs in what nobody looks at is another one.
 * Left out is the record of the run itself: clocks, the generator of choices, counters, and the
 * regions that a snapshot knows to be counters.
 */

#include <stdlib.h>
#include <string.h>

#include "sim/machine/snapshot_priv.h"

#define BLOCK 256	     /* bytes compared at a time */
#define KNOWN_MAX (1u << 20) /* states remembered; what comes after is always new */

/* Four chains, since one would wait for its own multiplications. */
struct folding {
	uint64_t fo_lane[4];
};

static void
fold(struct folding *fo, unsigned int lane, uint64_t value)
{
	uint64_t h = (fo->fo_lane[lane] ^ value) * UINT64_C(0x9e3779b97f4a7c15);

	fo->fo_lane[lane] = h ^ h >> 29;
}

static void
fold_bytes(struct folding *fo, const char *at, size_t bytes)
{
	uint64_t w[4];

	fold(fo, 0, (uintptr_t)at);
	fold(fo, 1, bytes);
	for (; bytes >= sizeof(w); at += sizeof(w), bytes -= sizeof(w)) {
		memcpy(w, at, sizeof(w));
		for (unsigned int i = 0; i < 4; i++)
			fold(fo, i, w[i]);
	}
	memset(w, 0, sizeof(w));
	memcpy(w, at, bytes);
	for (unsigned int i = 0; i < 4; i++)
		fold(fo, i, w[i]);
}

/* What of [at, at + bytes) is not as in the copy. */
static void
fold_changes(struct folding *fo, const char *at, const char *copy, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += BLOCK) {
		const size_t n = bytes - i < BLOCK ? bytes - i : BLOCK;

		if (memcmp(at + i, copy + i, n) != 0)
			fold_bytes(fo, at + i, n);
	}
}

/* A piece, but for the counters that lie in it. */
static void
fold_piece(struct folding *fo, const struct sim_snapshot *s, const struct piece *p)
{
	const char *from = p->pc_at;
	const char *const end = p->pc_at + p->pc_bytes;

	while (from < end) {
		const char *to = end;
		const char *next = end;

		for (unsigned int i = s->sn_npieces; i-- > 0 && s->sn_pieces[i].pc_keep;) {
			const struct piece *const k = &s->sn_pieces[i];

			if (k->pc_at + k->pc_bytes <= from || k->pc_at >= to)
				continue;
			to = k->pc_at > from ? k->pc_at : from;
			next = k->pc_at + k->pc_bytes;
		}
		fold_changes(fo, from, p->pc_copy + (from - p->pc_at), (size_t)(to - from));
		from = next;
	}
}

/* Frames that the snapshot knows nothing of, and pages of others that it left out. */
static void
fold_frame(struct folding *fo, const struct sim_snapshot *s, uint32_t i)
{
	const struct sim_machine *const m = s->sn_machine;
	const struct sim_frame *const fr = &m->m_frames[i];
	const unsigned int saved = s->sn_saved[i];

	if (!(saved & SAVED_DESC))
		fold_bytes(fo, (const char *)fr, sizeof(*fr));
	/* Of a frame that is no table nobody looks into what the core keeps of it. */
	if (!(saved & SAVED_DESC) && fr->fr_kind == SIM_FRAME_TABLE)
		fold_bytes(fo, m->m_descs + (uint64_t)i * DESC_BYTES, DESC_BYTES);
	if (fr->fr_kind == SIM_FRAME_TABLE && !(saved & SAVED_WORDS))
		fold_bytes(fo, m->m_words + (uint64_t)i * SIM_PAGE_SIZE, SIM_PAGE_SIZE);
	if (fr->fr_life > 0 && fr->fr_bytes == BYTES_THERE && !(saved & SAVED_BYTES))
		fold_bytes(fo, m->m_bytes + (uint64_t)i * SIM_PAGE_SIZE, SIM_PAGE_SIZE);
}

/* What of the machine itself who comes after a run may find changed. */
static void
fold_machine(struct folding *fo, const struct sim_machine *m)
{
	fold_bytes(fo, (const char *)m->m_free_head, sizeof(m->m_free_head));
	fold_bytes(fo, (const char *)m->m_free_tail, sizeof(m->m_free_tail));
	fold_bytes(fo, (const char *)m->m_kinds, sizeof(m->m_kinds));
	fold_bytes(fo, (const char *)&m->m_disk, sizeof(m->m_disk));
	fold_bytes(fo, (const char *)&m->m_iommu, sizeof(m->m_iommu));
	fold(fo, 0, m->m_single_top | (uint64_t)m->m_run_bottom << 32);
	fold(fo, 1, m->m_heap_top);
	fold(fo, 2, (uintptr_t)m->m_heap_free);
	fold(fo, 3, m->m_heap_blocks);
	fold(fo, 0, m->m_npagers);
	fold(fo, 1, (uintptr_t)m->m_kept_first);
	fold(fo, 2, (uintptr_t)m->m_kept_last);
	fold(fo, 3, m->m_drought);
	for (unsigned int i = 0; i <= m->m_ncpus; i++) {
		const struct cpu *const c = &m->m_cpus[i];

		fold(fo, 0,
		     c->cp_online | (uint64_t)c->cp_irq_on << 1 | (uint64_t)c->cp_irq_pending << 2 |
			     (uint64_t)c->cp_state << 3);
	}
}

uint64_t
sim_state_value(const struct sim_snapshot *s)
{
	struct sim_machine *const m = s->sn_machine;
	const struct sim_machine *const then = &s->sn_state;
	struct side_lists side;
	struct folding fo = {{1, 2, 3, 4}};

	heap_open(m);
	side_open();
	for (unsigned int i = 0; i < s->sn_npieces && !s->sn_pieces[i].pc_keep; i++)
		fold_piece(&fo, s, &s->sn_pieces[i]);
	if (m->m_heap_top > then->m_heap_top)
		fold_bytes(&fo, m->m_heap + then->m_heap_top, m->m_heap_top - then->m_heap_top);
	side_save(&side);
	fold_bytes(&fo, (const char *)&side, sizeof(side));
	if (side.sl_top > s->sn_side.sl_top)
		fold_bytes(&fo, side_base() + s->sn_side.sl_top, side.sl_top - s->sn_side.sl_top);
	for (uint32_t i = 0; i < m->m_single_top; i++)
		fold_frame(&fo, s, i);
	for (uint32_t i = m->m_run_bottom; i < m->m_nframes; i++)
		fold_frame(&fo, s, i);
	for (uint32_t i = 0; i < m->m_disk.dk_slots; i++) {
		if (m->m_disk.dk_written[i] != 0)
			fold_bytes(&fo, m->m_disk.dk_bytes + (uint64_t)i * SIM_PAGE_SIZE,
				   SIM_PAGE_SIZE);
	}
	heap_close(m);
	side_close();
	fold_machine(&fo, m);
	for (unsigned int i = 1; i < 4; i++)
		fold(&fo, 0, fo.fo_lane[i]);
	return fo.fo_lane[0] | 1;
}

/* ---- States that are known ------------------------------------------------------------------ */

static uint64_t *
slot_of(const struct sim_snapshot *s, uint64_t value)
{
	const uint32_t mask = s->sn_known_room - 1;
	uint32_t i = (uint32_t)(value >> 32) & mask;

	while (s->sn_known[i] != 0 && s->sn_known[i] != value)
		i = (i + 1) & mask;
	return &s->sn_known[i];
}

bool
sim_state_known(const struct sim_snapshot *s, uint64_t value)
{
	return s->sn_known_room != 0 && *slot_of(s, value) == value;
}

static bool
grow(struct sim_snapshot *s)
{
	struct sim_snapshot more = *s;

	more.sn_known_room = s->sn_known_room != 0 ? 2 * s->sn_known_room : 256;
	more.sn_known = calloc(more.sn_known_room, sizeof(*more.sn_known));
	if (more.sn_known == NULL)
		return false;
	for (uint32_t i = 0; i < s->sn_known_room; i++) {
		if (s->sn_known[i] != 0)
			*slot_of(&more, s->sn_known[i]) = s->sn_known[i];
	}
	free(s->sn_known);
	*s = more;
	return true;
}

/* Without memory, or with too many, it is forgotten, and new the next time as well. */
void
sim_state_note(struct sim_snapshot *s, uint64_t value)
{
	if (sim_state_known(s, value) || s->sn_nknown >= KNOWN_MAX)
		return;
	if (2 * (s->sn_nknown + 1) > s->sn_known_room && !grow(s))
		return;
	*slot_of(s, value) = value;
	s->sn_nknown++;
}
