/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Physical memory: frames of 4 KiB, their allocator, and table pages for the core.
 *
 * Single frames are handed out from the bottom, runs from the top. When there is neither a run of
 * the size that was freed nor a fresh one, a larger one is broken up; when there is none, frames
 * that were freed one by one and make up 2 MiB become a run again. Freed frames are reused last-in
 * first-out, which makes a use after free meet new contents at once; in quarantine they are reused
 * first-in first-out, and only when no fresh frame is left, which leaves the poison in place for
 * the rest of most runs. Both find what the other misses.
 */

#define _GNU_SOURCE /* MAP_ANONYMOUS, MAP_NORESERVE */
#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "sim/machine/machine_priv.h"
#include "sim/machine/poison.h"
#include "sim/story/story_record.h"
#include "pmap/host.h"

static_assert(DESC_BYTES == HOST_TABLE_DESC_BYTES, "descriptors");
static_assert(SIM_PAGE_SIZE == HOST_PAGE_SIZE && SIM_TABLE_WORDS == HOST_TABLE_WORDS, "tables");
static_assert(HOST_MAX_CPUS == NCPUS_MAX, "the service CPU is one more");

/*
 * Together with the canary's address: present with every right in all formats and at all levels,
 * as a table or a 4 KiB page. R, W, X (EPT), P, R/W, U/S (x86) in bits 2:0; A and D of EPT in 9:8,
 * where x86 has G and an ignored bit; software V, W, X of EPT with emulated A/D in 52, 53, 55;
 * bits 7:3 and 63 are zero, since EPT reserves the former in entries that point to tables.
 */
#define POISON_BITS (0x7ull | 0x300ull | 0xb0000000000000ull)

#define ALLOC_POISON 0xdb /* descriptors of freed tables */

static const unsigned int orders[FREE_LISTS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 18};
#define ORDER_9 9 /* its index */

/* The block is kept for the next machine of the same size: a process simulates thousands. */
static struct {
	char *base;
	uint64_t bytes;
} spare;

static uint64_t
block_bytes(uint64_t nframes)
{
	return nframes * (2 * SIM_PAGE_SIZE + DESC_BYTES + sizeof(struct sim_frame)) +
	       nframes / SIM_TABLE_WORDS * sizeof(uint16_t);
}

static bool
block_take(struct sim_machine *m)
{
	uint64_t n = m->m_nframes;
	uint64_t bytes = block_bytes(n);

	if (spare.base != NULL && spare.bytes != bytes) {
		munmap(spare.base, spare.bytes);
		spare.base = NULL;
	}
	if (spare.base == NULL) {
		/* The hint keeps host pointers apart from the host-physical addresses in use. */
		spare.base = mmap((void *)0x1f1000000000, bytes, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (spare.base == MAP_FAILED) {
			spare.base = NULL;
			return false;
		}
		spare.bytes = bytes;
	}
	m->m_words = spare.base;
	m->m_words_bytes = n * SIM_PAGE_SIZE;
	m->m_bytes = m->m_words + m->m_words_bytes;
	m->m_descs = m->m_bytes + m->m_words_bytes;
	m->m_descs_bytes = n * DESC_BYTES;
	m->m_frames = (struct sim_frame *)(m->m_descs + m->m_descs_bytes);
	m->m_in_use = (uint16_t *)(m->m_frames + n);
	return true;
}

bool
phys_init(struct sim_machine *m)
{
	m->m_nframes = m->m_cfg.sc_frames;
	m->m_phys_base = m->m_cfg.sc_phys_base;
	if (!block_take(m))
		return false;
	m->m_run_bottom = m->m_nframes;
	m->m_kinds[SIM_FRAME_FREE] = m->m_nframes;
	m->m_poison = m->m_phys_base | POISON_BITS;

	/* The canary's own words lead back to it, so that walks of any depth end there. */
	uint64_t hpa = sim_frame_alloc(SIM_FRAME_CANARY, 0);
	uint64_t *words = (uint64_t *)(m->m_words + (hpa - m->m_phys_base));
	for (unsigned int i = 0; i < SIM_TABLE_WORDS; i++)
		words[i] = m->m_poison;
	m->m_ct.ct_frames_alloc[SIM_FRAME_CANARY] = 0;
	return true;
}

void
phys_fini(struct sim_machine *m)
{
	if (m->m_frames == NULL)
		return;
	/* Others were never touched, except by who took them out of the host's domain. */
	if (m->m_iommu.im_host_missing > 0)
		m->m_single_top = m->m_nframes;
	memset(m->m_frames, 0, m->m_single_top * sizeof *m->m_frames);
	memset(m->m_frames + m->m_run_bottom, 0,
	       (m->m_nframes - m->m_run_bottom) * sizeof *m->m_frames);
	memset(m->m_in_use, 0, m->m_nframes / SIM_TABLE_WORDS * sizeof *m->m_in_use);
}

uint64_t
sim_phys_base(void)
{
	return sim_the_machine->m_phys_base;
}

uint64_t
sim_phys_limit(void)
{
	return sim_the_machine->m_phys_base + sim_the_machine->m_words_bytes;
}

uint64_t
sim_canary(void)
{
	return sim_the_machine->m_phys_base;
}

struct sim_frame *
sim_frame_at(uint64_t hpa)
{
	struct sim_machine *m = sim_the_machine;
	uint64_t off = hpa - m->m_phys_base;

	return off < m->m_words_bytes ? &m->m_frames[off / SIM_PAGE_SIZE] : NULL;
}

uint64_t
sim_frame_count(enum sim_frame_kind kind)
{
	return sim_the_machine->m_kinds[kind];
}

/* ---- The allocator ---- */

static void
set_kind(struct sim_machine *m, struct sim_frame *f, enum sim_frame_kind kind)
{
	m->m_kinds[f->fr_kind]--;
	m->m_kinds[kind]++;
	f->fr_kind = (uint8_t)kind;
}

void
phys_set_kind(struct sim_frame *f, enum sim_frame_kind kind)
{
	set_kind(sim_the_machine, f, kind);
}

static int
order_index(unsigned int order)
{
	for (int i = 0; i < FREE_LISTS; i++) {
		if (orders[i] == order)
			return i;
	}
	sim_violation("CK-API", "I43", "frames of order %u", order);
}

/* Freed frames of an order, oldest at the head. Links are frame numbers + 1. */
static uint32_t
list_pop(struct sim_machine *m, int oi)
{
	uint32_t first = m->m_free_head[oi];

	if (first == 0)
		return UINT32_MAX;
	m->m_free_head[oi] = m->m_frames[first - 1].fr_next;
	if (m->m_free_head[oi] == 0)
		m->m_free_tail[oi] = 0;
	return first - 1;
}

static void
list_put(struct sim_machine *m, int oi, uint32_t frame, bool at_end)
{
	m->m_frames[frame].fr_next = at_end ? 0 : m->m_free_head[oi];
	if (m->m_free_head[oi] == 0)
		m->m_free_tail[oi] = frame + 1;
	else if (at_end)
		m->m_frames[m->m_free_tail[oi] - 1].fr_next = frame + 1;
	if (m->m_free_head[oi] == 0 || !at_end)
		m->m_free_head[oi] = frame + 1;
	if (at_end)
		m->m_free_tail[oi] = frame + 1;
}

/* Takes out of a list what lies in [first, end). */
static void
list_purge(struct sim_machine *m, int oi, uint32_t first, uint32_t end)
{
	uint32_t *link = &m->m_free_head[oi];
	uint32_t last = 0;

	while (*link != 0) {
		struct sim_frame *f = &m->m_frames[*link - 1];
		if (*link - 1 - first < end - first) {
			*link = f->fr_next;
			continue;
		}
		last = *link;
		link = &f->fr_next;
	}
	m->m_free_tail[oi] = last;
}

/* Makes a run of frames that were freed in pieces. */
static bool
join_frames(struct sim_machine *m)
{
	for (uint32_t first = 0; first < m->m_nframes; first += SIM_TABLE_WORDS) {
		uint32_t end = first + SIM_TABLE_WORDS;
		bool fresh = m->m_single_top < m->m_run_bottom && end > m->m_single_top &&
			     first < m->m_run_bottom;
		if (fresh || m->m_in_use[first / SIM_TABLE_WORDS] != 0)
			continue;
		for (int oi = 0; oi < ORDER_9; oi++)
			list_purge(m, oi, first, end);
		list_put(m, ORDER_9, first, true);
		return true;
	}
	return false;
}

/* Part of a larger run that is free. The rest is put where it now belongs. */
static uint32_t
break_run(struct sim_machine *m, int oi)
{
	int large = oi + 1;

	while (large < FREE_LISTS && m->m_free_head[large] == 0)
		large++;
	if (large == FREE_LISTS)
		return UINT32_MAX;
	uint32_t frame = list_pop(m, large);
	for (; large > oi; large--) {
		uint32_t part = (uint32_t)1 << orders[large - 1];
		uint32_t whole = (uint32_t)1 << orders[large];
		for (uint32_t off = part; off < whole; off += part)
			list_put(m, large - 1, frame + off, true);
	}
	return frame;
}

static uint32_t
take_fresh(struct sim_machine *m, unsigned int order)
{
	uint32_t n = (uint32_t)1 << order;

	if (order == 0)
		return m->m_single_top < m->m_run_bottom ? m->m_single_top++ : UINT32_MAX;

	/* Aligned by address, not by number. */
	uint64_t end = m->m_phys_base / SIM_PAGE_SIZE + m->m_run_bottom;
	uint64_t start = (end - n) & ~(uint64_t)(n - 1);
	uint64_t lowest = m->m_phys_base / SIM_PAGE_SIZE + m->m_single_top;
	if (end < n || start < lowest)
		return UINT32_MAX;
	uint32_t gap_end = m->m_run_bottom;
	m->m_run_bottom = (uint32_t)(start - m->m_phys_base / SIM_PAGE_SIZE);
	for (uint32_t i = m->m_run_bottom + n; i < gap_end; i++)
		list_put(m, 0, i, true);
	return m->m_run_bottom;
}

static uint32_t
take_frames(struct sim_machine *m, unsigned int order)
{
	int oi = order_index(order);
	uint32_t frame = UINT32_MAX;

	if (!m->m_cfg.sc_quarantine)
		frame = list_pop(m, oi);
	if (frame == UINT32_MAX)
		frame = take_fresh(m, order);
	if (frame == UINT32_MAX)
		frame = list_pop(m, oi);
	if (frame == UINT32_MAX)
		frame = break_run(m, oi);
	if (frame == UINT32_MAX && oi > 0 && oi <= ORDER_9 && join_frames(m))
		frame = oi == ORDER_9 ? list_pop(m, oi) : break_run(m, oi);
	return frame;
}

uint64_t
sim_frame_alloc(enum sim_frame_kind kind, unsigned int order)
{
	struct sim_machine *m = sim_the_machine;
	if (kind == SIM_FRAME_TABLE && order != 0)
		sim_violation("CK-API", "I43", "a table of order %u", order);
	touch(m, SIM_OBJECT(SIM_OBJECT_MEMORY, 0), SIM_TOUCH_WRITE);
	uint32_t frame = take_frames(m, order);
	if (frame == UINT32_MAX && pager_shrink(m))
		frame = take_frames(m, order);
	if (frame == UINT32_MAX)
		return 0;
	for (uint32_t i = 0; i < (uint32_t)1 << order; i++) {
		struct sim_frame *f = &m->m_frames[frame + i];
		touch(m, SIM_OBJECT(SIM_OBJECT_FRAME, frame + i), SIM_TOUCH_WRITE);
		m->m_in_use[(frame + i) / SIM_TABLE_WORDS]++;
		set_kind(m, f, kind);
		f->fr_bytes = kind == SIM_FRAME_DATA ? BYTES_ZERO : BYTES_POISON;
		f->fr_owner = 0;
		f->fr_life++;
		f->fr_next = 0;
	}
	if (kind == SIM_FRAME_TABLE) {
		memset(m->m_words + (uint64_t)frame * SIM_PAGE_SIZE, 0, SIM_PAGE_SIZE);
		memset(m->m_descs + (uint64_t)frame * DESC_BYTES, 0, DESC_BYTES);
	}
	m->m_ct.ct_frames_alloc[kind] += (uint64_t)1 << order;
	return m->m_phys_base + (uint64_t)frame * SIM_PAGE_SIZE;
}

static void
poison_table(struct sim_machine *m, uint32_t frame)
{
	uint64_t *words = (uint64_t *)(m->m_words + (uint64_t)frame * SIM_PAGE_SIZE);

	for (unsigned int i = 0; i < SIM_TABLE_WORDS; i++)
		words[i] = m->m_poison;
	memset(m->m_descs + (uint64_t)frame * DESC_BYTES, ALLOC_POISON, DESC_BYTES);
}

/* The frames of a run of which some are bad: these are in use for ever. */
static void
put_but_bad(struct sim_machine *m, uint32_t frame, uint32_t n)
{
	for (uint32_t i = frame; i < frame + n; i++) {
		if (m->m_frames[i].fr_bad)
			m->m_in_use[i / SIM_TABLE_WORDS]++;
		else
			list_put(m, 0, i, m->m_cfg.sc_quarantine);
	}
}

void
sim_frame_free(uint64_t hpa, unsigned int order)
{
	struct sim_machine *m = sim_the_machine;
	int oi = order_index(order);
	uint64_t bytes = (uint64_t)SIM_PAGE_SIZE << order;
	uint64_t off = hpa - m->m_phys_base;

	if (hpa % SIM_PAGE_SIZE != 0 || off >= m->m_words_bytes || bytes > m->m_words_bytes - off)
		sim_violation("CK-FREE", "I43", "0x%" PRIx64 " is freed, which is no frame", hpa);
	uint32_t frame = (uint32_t)(off / SIM_PAGE_SIZE);
	touch(m, SIM_OBJECT(SIM_OBJECT_MEMORY, 0), SIM_TOUCH_WRITE);
	uint32_t bad = 0;
	for (uint32_t i = 0; i < (uint32_t)1 << order; i++) {
		struct sim_frame *f = &m->m_frames[frame + i];
		touch(m, SIM_OBJECT(SIM_OBJECT_FRAME, frame + i), SIM_TOUCH_WRITE);
		enum sim_frame_kind kind = f->fr_kind;
		if (kind != SIM_FRAME_TABLE && kind != SIM_FRAME_DATA)
			sim_violation("CK-FREE", "I43", "frame 0x%" PRIx64 " is freed twice",
				      hpa + (uint64_t)i * SIM_PAGE_SIZE);
		if (f->fr_pager)
			sim_violation("CK-FREE", "I43",
				      "frame 0x%" PRIx64 " is freed, and is a pager's",
				      hpa + (uint64_t)i * SIM_PAGE_SIZE);
		if (m->m_free_hook != NULL)
			m->m_free_hook(m->m_free_hook_arg, hpa + (uint64_t)i * SIM_PAGE_SIZE, kind);
		iommu_check_free(f, hpa + (uint64_t)i * SIM_PAGE_SIZE);
		f->fr_bytes = BYTES_POISON;
		m->m_in_use[(frame + i) / SIM_TABLE_WORDS]--;
		if (kind == SIM_FRAME_TABLE)
			poison_table(m, frame + i);
		set_kind(m, f,
			 f->fr_bad		  ? SIM_FRAME_BAD
			 : m->m_cfg.sc_quarantine ? SIM_FRAME_QUARANTINE
						  : SIM_FRAME_FREE);
		m->m_ct.ct_frames_freed[kind]++;
		bad += f->fr_bad;
	}
	trace(m, SIM_FREE, SIM_ID_PHYS | off, order);
	if (bad == 0)
		list_put(m, oi, frame, m->m_cfg.sc_quarantine);
	else
		put_but_bad(m, frame, (uint32_t)1 << order);
}

/* ---- What hardware and guests do to memory ---- */

static uint64_t *
walker_word(struct sim_machine *m, uint64_t hpa)
{
	uint64_t off = hpa - m->m_phys_base;

	if (off >= m->m_words_bytes)
		sim_violation("CK-WALK", "I01", "a page walk reads 0x%" PRIx64 ", outside memory",
			      hpa);
	if (hpa % 8 != 0)
		sim_violation("CK-API", "", "a page walk reads 0x%" PRIx64 ", misaligned", hpa);
	touch(m, SIM_OBJECT(SIM_OBJECT_FRAME, off / SIM_PAGE_SIZE), SIM_TOUCH_READ);
	switch ((enum sim_frame_kind)m->m_frames[off / SIM_PAGE_SIZE].fr_kind) {
	case SIM_FRAME_TABLE:
		return (uint64_t *)(m->m_words + off);
	case SIM_FRAME_DATA:
		sim_violation("CK-WALK", "I01", "a page walk reads 0x%" PRIx64 ", in a data frame",
			      hpa);
	default:
		sim_violation("CK-FREE", "I15",
			      "a page walk reads 0x%" PRIx64 ", in a table that was freed", hpa);
	}
}

uint64_t
sim_phys_load(uint64_t hpa)
{
	const uint64_t *w = walker_word(sim_the_machine, hpa);

	touch_word(sim_the_machine, w, SIM_TOUCH_READ);
	return *w;
}

bool
sim_phys_cas(uint64_t hpa, uint64_t *old, uint64_t new)
{
	struct sim_machine *m = sim_the_machine;
	uint64_t *w = walker_word(m, hpa);

	trace(m, SIM_HW, SIM_ID_PHYS | (hpa - m->m_phys_base), new);
	touch_word(m, w, *w == *old && *w != new ? SIM_TOUCH_WRITE : SIM_TOUCH_READ);
	if (*w != *old) {
		*old = *w;
		return false;
	}
	if (*w != new)
		m->m_progress++;
	STORY(walker_wrote(hpa, *w, new));
	*w = new;
	return true;
}

bool
sim_phys_peek(uint64_t hpa, uint64_t *value)
{
	const struct sim_machine *m = sim_the_machine;

	if (!sim_phys_look(hpa, value))
		return false;
	touch_word(m, m->m_words + (hpa - m->m_phys_base), SIM_TOUCH_READ);
	return true;
}

bool
sim_phys_look(uint64_t hpa, uint64_t *value)
{
	const struct sim_machine *m = sim_the_machine;
	uint64_t off = hpa - m->m_phys_base;

	if (off >= m->m_words_bytes || hpa % 8 != 0 ||
	    m->m_frames[off / SIM_PAGE_SIZE].fr_kind != SIM_FRAME_TABLE)
		return false;
	*value = *(const uint64_t *)(m->m_words + off);
	return true;
}

struct sim_frame *
phys_data_frame(struct sim_machine *m, uint64_t hpa, const char *what)
{
	uint64_t off = hpa - m->m_phys_base;

	touch(m, SIM_OBJECT(SIM_OBJECT_FRAME, off / SIM_PAGE_SIZE), SIM_TOUCH_READ);
	struct sim_frame *f = off < m->m_words_bytes ? &m->m_frames[off / SIM_PAGE_SIZE] : NULL;

	if (f == NULL)
		sim_violation("CK-FREE", "I30", "%s at 0x%" PRIx64 ", outside memory", what, hpa);
	if (f->fr_kind == SIM_FRAME_TABLE)
		sim_violation("CK-FREE", "I01", "%s at 0x%" PRIx64 ", in a page table", what, hpa);
	if (f->fr_kind == SIM_FRAME_CANARY)
		sim_violation("CK-FREE", "I15",
			      "%s in the canary frame, through a table that was freed", what);
	if (f->fr_kind == SIM_FRAME_KEPT)
		sim_violation("CK-FREE", "I15", "%s at 0x%" PRIx64 ", in a frame that was put",
			      what, hpa);
	if (f->fr_kind != SIM_FRAME_DATA)
		sim_violation("CK-FREE", "I15", "%s at 0x%" PRIx64 ", in a frame that was freed",
			      what, hpa);
	return f;
}

/* ---- Tables for the core ---- */

bool
sim_table_alloc(uint64_t *hpa)
{
	struct sim_machine *m = sim_the_machine;
	const struct cpu *c = self(m);

	if (c->cp_nheld > 0)
		sim_violation("CK-SCHED", "I44", "host_table_alloc() with a lock of rank %u held",
			      c->cp_held[c->cp_nheld - 1]->hl_rank);
	point(m, SIM_ALLOC);
	const bool dry = sim_fault(SIM_FAULT_RESERVE);
	const bool none = sim_fault(SIM_FAULT_TABLE_ALLOC) || dry;
	uint64_t frame = none ? 0 : sim_frame_alloc(SIM_FRAME_TABLE, 0);
	trace(m, SIM_ALLOC, SIM_ID_PHYS | (frame == 0 ? 0 : frame - m->m_phys_base), frame != 0);
	if (frame == 0)
		return false;
	*hpa = frame;
	return true;
}

/*
 * The allocator is behind a lock of its own, so what this CPU stored before is visible when another
 * gets the frame.
 */
void
sim_table_free(uint64_t hpa)
{
	struct sim_machine *m = sim_the_machine;
	const struct sim_frame *f = sim_frame_at(hpa);

	memory_point(m, SIM_FREE, NULL);
	if (f == NULL || hpa % SIM_PAGE_SIZE != 0 || f->fr_kind != SIM_FRAME_TABLE)
		sim_violation("CK-FREE", "I43", "host_table_free(0x%" PRIx64 "), which is no table",
			      hpa);
	memory_drain(m, self(m));
	lock_check_none_in(m, sim_table_desc(hpa), DESC_BYTES);
	sim_frame_free(hpa, 0);
}

static uint64_t
frame_number(struct sim_machine *m, uint64_t hpa, const char *what)
{
	uint64_t off = hpa - m->m_phys_base;

	if (off >= m->m_words_bytes || hpa % SIM_PAGE_SIZE != 0)
		sim_violation("CK-API", "I01", "%s(0x%" PRIx64 "), which is no frame", what, hpa);
	return off / SIM_PAGE_SIZE;
}

/* Any frame will do here: a stale pointer shows when it is used. */
uint64_t *
sim_table_words(uint64_t hpa)
{
	struct sim_machine *m = sim_the_machine;

	return (uint64_t *)(m->m_words + frame_number(m, hpa, "host_table_words") * SIM_PAGE_SIZE);
}

uint64_t
sim_table_hpa(const uint64_t *words)
{
	struct sim_machine *m = sim_the_machine;
	const uint64_t hpa = m->m_phys_base + ((uintptr_t)words - (uintptr_t)m->m_words);

	frame_number(m, hpa, "host_table_hpa");
	return hpa;
}

void *
sim_table_desc(uint64_t hpa)
{
	struct sim_machine *m = sim_the_machine;

	return m->m_descs + frame_number(m, hpa, "host_table_desc") * DESC_BYTES;
}
