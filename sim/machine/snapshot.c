/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Saving and restoring, piece by piece. Everything that a run changes lies in a few places of known
 * extent: that is what the machine's own heap and the side heap are for. No static variable is part
 * of the state but pointers to what is saved; the test of snapshots looks through all of them for
 * one that was forgotten.
 *
 * Of frames, what nobody can see is left out: the words of those that are no tables, the bytes of
 * those that nobody has looked into.
 */

#include "sim/machine/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/machine/machine_priv.h"
#include "sim/machine/side.h"
#include "sim/machine/snapshot_priv.h"

/* ---- What there is to save ------------------------------------------------------------------ */

static bool
add_piece(struct sim_snapshot *s, void *at, size_t bytes, bool keep)
{
	if (s->sn_npieces == s->sn_room) {
		const unsigned int room = s->sn_room > 0 ? 2 * s->sn_room : 64;
		struct piece *more = realloc(s->sn_pieces, room * sizeof(*more));

		if (more == NULL)
			return false;
		s->sn_pieces = more;
		s->sn_room = room;
	}
	s->sn_pieces[s->sn_npieces++] =
		(struct piece){.pc_at = at, .pc_bytes = bytes, .pc_keep = keep};
	s->sn_bytes += bytes;
	return true;
}

static bool
add(struct sim_snapshot *s, void *at, size_t bytes)
{
	struct piece *last = s->sn_npieces > 0 ? &s->sn_pieces[s->sn_npieces - 1] : NULL;

	if (bytes == 0)
		return true;
	if (last == NULL || last->pc_at + last->pc_bytes != (char *)at)
		return add_piece(s, at, bytes, false);
	last->pc_bytes += bytes;
	s->sn_bytes += bytes;
	return true;
}

/* Descriptors and contents of frames [first, end). */
static bool
add_frames(struct sim_snapshot *s, uint32_t first, uint32_t end)
{
	struct sim_machine *m = s->sn_machine;

	if (!add(s, m->m_frames + first, (end - first) * sizeof(*m->m_frames)) ||
	    !add(s, m->m_descs + (uint64_t)first * DESC_BYTES,
		 (uint64_t)(end - first) * DESC_BYTES))
		return false;
	for (uint32_t i = first; i < end; i++) {
		s->sn_saved[i] = SAVED_DESC;
		if (m->m_frames[i].fr_kind != SIM_FRAME_TABLE)
			continue;
		s->sn_saved[i] |= SAVED_WORDS;
		if (!add(s, m->m_words + (uint64_t)i * SIM_PAGE_SIZE, SIM_PAGE_SIZE))
			return false;
	}
	for (uint32_t i = first; i < end; i++) {
		if (m->m_frames[i].fr_life == 0 || m->m_frames[i].fr_bytes != BYTES_THERE)
			continue;
		s->sn_saved[i] |= SAVED_BYTES;
		if (!add(s, m->m_bytes + (uint64_t)i * SIM_PAGE_SIZE, SIM_PAGE_SIZE))
			return false;
	}
	return true;
}

static bool
add_all(struct sim_snapshot *s, const struct sim_region *regions, unsigned int n)
{
	struct sim_machine *m = s->sn_machine;
	/* Whoever took frames out of the host's domain left traces in all of them. */
	const uint32_t top = m->m_iommu.im_host_missing > 0 ? m->m_run_bottom : m->m_single_top;

	s->sn_saved = calloc(m->m_nframes, sizeof(*s->sn_saved));
	if (s->sn_saved == NULL || !add(s, m->m_heap, m->m_heap_top) ||
	    !add(s, side_base(), side_top()) ||
	    !add(s, m->m_in_use, m->m_nframes / SIM_TABLE_WORDS * sizeof(*m->m_in_use)) ||
	    !add_frames(s, 0, top) || !add_frames(s, m->m_run_bottom, m->m_nframes))
		return false;
	for (uint32_t i = 0; i < m->m_disk.dk_slots; i++) {
		if (m->m_disk.dk_written[i] != 0 &&
		    !add(s, m->m_disk.dk_bytes + (uint64_t)i * SIM_PAGE_SIZE, SIM_PAGE_SIZE))
			return false;
	}
	for (unsigned int i = 0; i < n; i++) {
		if (!regions[i].rg_counts && !add(s, regions[i].rg_at, regions[i].rg_bytes))
			return false;
	}
	for (unsigned int i = 0; i < n; i++) {
		if (regions[i].rg_counts &&
		    !add_piece(s, regions[i].rg_at, regions[i].rg_bytes, true))
			return false;
	}
	return true;
}

/* ---- Saving --------------------------------------------------------------------------------- */

static const char *
unfit(const struct sim_machine *m)
{
	if (m == NULL)
		return "there is no machine";
	if (m->m_running || m->m_cpu != NULL)
		return "the machine runs";
	if (m->m_report.sr_result != SIM_RUN_PASSED)
		return "the machine has come to its end";
	if (m->m_disk.dk_nrequests > 0 || m->m_iommu.im_nflushes > 0)
		return "requests to devices are under way";
	return NULL;
}

/* Both heaps are open meanwhile. */
static void
copy_out(const struct sim_snapshot *s, bool kept)
{
	for (unsigned int i = 0; i < s->sn_npieces; i++) {
		const struct piece *p = &s->sn_pieces[i];

		if (p->pc_keep == kept)
			memcpy(p->pc_copy, p->pc_at, p->pc_bytes);
	}
}

static void
copy_back(const struct sim_snapshot *s)
{
	for (unsigned int i = 0; i < s->sn_npieces; i++) {
		const struct piece *p = &s->sn_pieces[i];

		memcpy(p->pc_at, p->pc_copy, p->pc_bytes);
	}
}

static bool
place_copies(struct sim_snapshot *s)
{
	size_t at = 0;

	s->sn_copies = malloc(s->sn_bytes + 1);
	if (s->sn_copies == NULL)
		return false;
	for (unsigned int i = 0; i < s->sn_npieces; i++) {
		s->sn_pieces[i].pc_copy = s->sn_copies + at;
		at += s->sn_pieces[i].pc_bytes;
	}
	return true;
}

struct sim_snapshot *
sim_save(const struct sim_region *regions, unsigned int n, char *why, size_t why_bytes)
{
	struct sim_machine *m = sim_the_machine;
	const char *problem = unfit(m);
	struct sim_snapshot *s = problem == NULL ? calloc(1, sizeof(*s)) : NULL;

	if (s == NULL) {
		snprintf(why, why_bytes, "%s", problem != NULL ? problem : "no memory");
		return NULL;
	}
	s->sn_machine = m;
	if (!add_all(s, regions, n) || !place_copies(s)) {
		snprintf(why, why_bytes, "no memory");
		sim_snapshot_free(s);
		return NULL;
	}
	heap_open(m);
	side_open();
	copy_out(s, false);
	heap_close(m);
	side_close();
	side_save(&s->sn_side);
	s->sn_state = *m;
	return s;
}

void
sim_snapshot_free(struct sim_snapshot *s)
{
	if (s == NULL)
		return;
	free(s->sn_copies);
	free(s->sn_pieces);
	free(s->sn_saved);
	free(s->sn_known);
	free(s);
}

size_t
sim_snapshot_bytes(const struct sim_snapshot *s)
{
	return s->sn_bytes + sizeof(*s->sn_machine);
}

/* ---- Restoring ------------------------------------------------------------------------------ */

/* The machine itself, except for what belongs to the process or to the next run. */
static void
restore_machine(const struct sim_snapshot *s)
{
	struct sim_machine *m = s->sn_machine;
	const struct fiber main = m->m_main;
	const struct sim_config cfg = m->m_cfg;
	struct sim_choice_record *const record = m->m_record;
	struct sim_choice_note *const notes = m->m_notes;
	const size_t record_room = m->m_record_room;
	struct sim_counters ct = m->m_ct;
	const bool catching = m->m_catching;
	jmp_buf catch;

	memcpy(&catch, &m->m_catch, sizeof(catch));
	for (unsigned int i = 0; i <= m->m_ncpus; i++)
		fiber_end(&m->m_cpus[i].cp_fiber);
	*m = s->sn_state;
	for (unsigned int i = 0; i <= m->m_ncpus; i++)
		m->m_cpus[i].cp_fiber = (struct fiber){0};
	m->m_main = main;
	m->m_cfg = cfg;
	m->m_record = record;
	m->m_notes = notes;
	m->m_record_room = record_room;
	m->m_catching = catching;
	memcpy(&m->m_catch, &catch, sizeof(catch));
	/* The n-th request fails: these counts decide something. */
	memcpy(ct.ct_fault_asked, m->m_ct.ct_fault_asked, sizeof(ct.ct_fault_asked));
	m->m_ct = ct;
}

/* Memory, as new again, that was used since and had not been before. */
static void
forget(char *base, uint64_t then, uint64_t now, uint64_t unit)
{
	if (now > then)
		memset(base + then * unit, 0, (now - then) * unit);
}

static void
forget_all(const struct sim_snapshot *s)
{
	struct sim_machine *m = s->sn_machine;
	const struct sim_machine *then = &s->sn_state;
	const uint32_t top = m->m_iommu.im_host_missing > 0 ? m->m_run_bottom : m->m_single_top;

	forget((char *)m->m_frames, then->m_single_top, top, sizeof(*m->m_frames));
	forget((char *)m->m_frames, m->m_run_bottom, then->m_run_bottom, sizeof(*m->m_frames));
	forget(m->m_descs, then->m_single_top, top, DESC_BYTES);
	forget(m->m_descs, m->m_run_bottom, then->m_run_bottom, DESC_BYTES);
	forget(m->m_heap, then->m_heap_top, m->m_heap_top, 1);
	forget(side_base(), s->sn_side.sl_top, side_top(), 1);
}

void
sim_restore(const struct sim_snapshot *s)
{
	struct sim_machine *m = s->sn_machine;

	heap_open(m);
	side_open();
	copy_out(s, true);
	forget_all(s);
	restore_machine(s);
	side_restore(&s->sn_side);
	copy_back(s);
	heap_close(m);
	side_close();
}

void
sim_choose_from(const struct sim_config *cfg)
{
	struct sim_machine *m = sim_the_machine;

	m->m_cfg.sc_source = cfg->sc_source;
	m->m_cfg.sc_seed = cfg->sc_seed;
	m->m_cfg.sc_draw_seed = cfg->sc_draw_seed;
	m->m_cfg.sc_list = cfg->sc_list;
	m->m_cfg.sc_list_len = cfg->sc_list_len;
	m->m_cfg.sc_list_notes = cfg->sc_list_notes;
	m->m_cfg.sc_list_lenient = cfg->sc_list_lenient;
	m->m_cfg.sc_call = cfg->sc_call;
	m->m_cfg.sc_call_arg = cfg->sc_call_arg;
	choice_restart(m);
}
