/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Shared words under x86-TSO (Sewell et al., "x86-TSO", 2010; Intel SDM vol. 3A 9.2): a CPU's
 * stores wait in its buffer, in order, and reach memory one by one at any later step; its own
 * loads see the newest of them; a locked operation or a fence first empties the buffer. With
 * sequential consistency instead, stores reach memory at once.
 *
 * A word of a table frame may be touched only while the frame is a table, one of a data frame only
 * while that is one: whoever reaches further followed a stale pointer.
 */

#include <inttypes.h>

#include "sim/machine/machine_priv.h"
#include "sim/story/story_record.h"

/* The frame that an address named by id lies in, or whose descriptor; UINT64_MAX: none. */
static inline uint64_t
frame_of(uint64_t id)
{
	uint64_t off = id & (((uint64_t)1 << 56) - 1);

	if (id >> 56 == SIM_ID_TABLE >> 56 || id >> 56 == SIM_ID_DATA >> 56)
		return off / SIM_PAGE_SIZE;
	if (id >> 56 == SIM_ID_DESC >> 56)
		return off / DESC_BYTES;
	return UINT64_MAX;
}

static _Noreturn void
stale_frame(struct sim_machine *m, uint64_t frame, enum sim_frame_kind kind, const char *what)
{
	static const char *const kinds[SIM_FRAME_KIND_COUNT] = {
		"free", "table", "data", "quarantined", "canary", "kept", "bad"};

	sim_violation("CK-FREE", "I44", "%s of a word of %s frame 0x%" PRIx64 ", which is %s", what,
		      kinds[kind], m->m_phys_base + frame * SIM_PAGE_SIZE,
		      kinds[m->m_frames[frame].fr_kind]);
}

static inline void
check_frame(struct sim_machine *m, uint64_t id, const char *what)
{
	uint64_t frame = frame_of(id);

	if (frame == UINT64_MAX)
		return;
	touch(m, SIM_OBJECT(SIM_OBJECT_FRAME, frame), SIM_TOUCH_READ);
	enum sim_frame_kind kind = id >> 56 == SIM_ID_DATA >> 56 ? SIM_FRAME_DATA : SIM_FRAME_TABLE;
	struct sim_frame *f = &m->m_frames[frame];
	if (__builtin_expect(f->fr_kind != kind, 0))
		stale_frame(m, frame, kind, what);
	if (kind == SIM_FRAME_DATA && f->fr_bytes != BYTES_THERE)
		bytes_fill(m, f);
}

void
memory_write_now(struct sim_machine *m, uint64_t *w, uint64_t value, enum sim_write_how how,
		 unsigned int cpu)
{
	uint64_t id = address_id(m, (uintptr_t)w);

	check_frame(m, id, "store");
	touch_word(m, w, SIM_TOUCH_WRITE);
	if (m->m_write_hook != NULL && id >> 56 == SIM_ID_TABLE >> 56) {
		struct sim_table_write tw = {m->m_phys_base + (id & ~SIM_ID_TABLE), *w, value, how,
					     cpu};
		STORY(written(&tw));
		m->m_write_hook(m->m_write_hook_arg, &tw);
	}
	STORY(word(w, *w, value));
	if (*w != value)
		m->m_progress++;
	*w = value;
}

/* The number-th store of a CPU, from 1. */
static void
touch_store(const struct sim_machine *m, enum sim_object what, const struct cpu *c, uint64_t number,
	    enum sim_touch how)
{
	touch(m, SIM_OBJECT(what, (uint64_t)c->cp_id << 32 | number), how);
}

static void
release_now(struct sim_machine *m, uint64_t *w)
{
	check_frame(m, address_id(m, (uintptr_t)w), "store");
	touch_word(m, w, SIM_TOUCH_RELEASE);
	STORY(word(w, *w, 0));
	m->m_progress++;
	*w = 0;
}

void
memory_drain_one(struct sim_machine *m, struct cpu *c)
{
	struct pending_store st = c->cp_stores[0];

	c->cp_nstores--;
	for (unsigned int i = 0; i < c->cp_nstores; i++)
		c->cp_stores[i] = c->cp_stores[i + 1];
	if (c->cp_settled > 0)
		c->cp_settled--;
	if (c->cp_nstores == 0)
		m->m_buffered &= ~((uint32_t)1 << c->cp_id);
	STORY(drain(c->cp_id, st.ps_word, st.ps_value));
	touch_store(m, SIM_OBJECT_STORED, c, c->cp_stored - c->cp_nstores, SIM_TOUCH_ACQUIRE);
	touch_store(m, SIM_OBJECT_DRAINED, c, c->cp_stored - c->cp_nstores, SIM_TOUCH_RELEASE);
	if (st.ps_release) {
		release_now(m, st.ps_word);
		return;
	}
	memory_write_now(m, st.ps_word, st.ps_value, SIM_WRITE_PLAIN, c->cp_id);
}

void
memory_drain(struct sim_machine *m, struct cpu *c)
{
	while (c->cp_nstores > 0) {
		m->m_ct.ct_drains_forced++;
		sim_fault_met(SIM_FAULT_DELAYED_STORE, c->cp_id, false);
		memory_drain_one(m, c);
	}
}

uint64_t
memory_read(struct sim_machine *m, const uint64_t *w)
{
	const struct cpu *c = m->m_cpu;

	if (c != NULL) {
		for (unsigned int i = c->cp_nstores; i-- > 0;) {
			if (c->cp_stores[i].ps_word == w) {
				m->m_ct.ct_forwards++;
				return c->cp_stores[i].ps_value;
			}
		}
	}
	return *w;
}

static void
buffer_store(struct sim_machine *m, struct cpu *c, const struct pending_store *st)
{
	if (c->cp_nstores == m->m_store_buffer) {
		m->m_ct.ct_drains_forced++;
		memory_drain_one(m, c);
	}
	c->cp_stores[c->cp_nstores++] = *st;
	c->cp_stored++;
	if (c->cp_stored > m->m_store_buffer)
		touch_store(m, SIM_OBJECT_DRAINED, c, c->cp_stored - m->m_store_buffer,
			    SIM_TOUCH_ACQUIRE);
	touch_store(m, SIM_OBJECT_STORED, c, c->cp_stored, SIM_TOUCH_RELEASE);
	m->m_buffered |= (uint32_t)1 << c->cp_id;
	STORY(buffer(c->cp_id, st->ps_word, st->ps_value));
}

void
memory_write(struct sim_machine *m, uint64_t *w, uint64_t value)
{
	const struct pending_store st = {w, value, false};

	if (m->m_cpu == NULL || !m->m_tso)
		memory_write_now(m, w, value, SIM_WRITE_PLAIN, self(m)->cp_id);
	else
		buffer_store(m, m->m_cpu, &st);
}

void
memory_release(struct sim_machine *m, uint64_t *w)
{
	const struct pending_store st = {w, 0, true};

	if (m->m_cpu == NULL || !m->m_tso)
		release_now(m, w);
	else
		buffer_store(m, m->m_cpu, &st);
}

bool
memory_is_drained(void *arg)
{
	const struct cpu *c = arg;

	return c->cp_nstores == 0;
}

void
memory_touch_drained(const struct sim_machine *m, const struct cpu *c)
{
	if (c != NULL && c->cp_stored > 0)
		touch_store(m, SIM_OBJECT_DRAINED, c, c->cp_stored, SIM_TOUCH_ACQUIRE);
}

void
memory_take(struct sim_machine *m, uint64_t *w)
{
	memory_touch_drained(m, m->m_cpu);
	check_frame(m, address_id(m, (uintptr_t)w), "store");
	touch_word(m, w, SIM_TOUCH_TAKE);
	STORY(word(w, *w, (uint64_t)self(m)->cp_id + 1));
	m->m_progress++;
	*w = (uint64_t)self(m)->cp_id + 1;
}

void
memory_point(struct sim_machine *m, enum sim_access kind, const void *addr)
{
	struct cpu *const c = m->m_cpu;

	sched_point_settled(m, kind, addr, memory_is_drained, c);
	memory_touch_drained(m, c);
}

bool
memory_has_room(void *arg)
{
	const struct cpu *c = arg;

	return c->cp_nstores < sim_the_machine->m_store_buffer;
}

static __attribute__((noinline)) void
check_aside(struct sim_machine *m, const uint64_t *w)
{
	check_frame(m, address_id(m, (uintptr_t)w), "load");
}

/* As below, by nobody whose accesses are steps. */
static inline uint64_t
load_aside(struct sim_machine *m, const uint64_t *w)
{
	const uint64_t off = (uintptr_t)w - (uintptr_t)m->m_words;

	if (off < m->m_words_bytes ? m->m_frames[off / SIM_PAGE_SIZE].fr_kind != SIM_FRAME_TABLE
				   : (uintptr_t)w - (uintptr_t)m->m_heap >= m->m_heap_bytes)
		check_aside(m, w);
	touch_word(m, w, SIM_TOUCH_READ);
	return *w;
}

static __attribute__((noinline)) uint64_t
load_step(struct sim_machine *m, const uint64_t *w, enum sim_access kind)
{
	point_at(m, kind, w);
	uint64_t id = address_id(m, (uintptr_t)w);
	check_frame(m, id, "load");
	touch_word(m, w, SIM_TOUCH_READ);
	uint64_t value = memory_read(m, w);
	trace(m, kind, id, stable_value(m, id, value));
	return value;
}

/* The driver and the oracles read whole tables, and nothing depends on when. */
uint64_t
sim_word_load(const uint64_t *w, enum sim_access kind)
{
	struct sim_machine *m = sim_the_machine;

	return m->m_cpu == NULL ? load_aside(m, w) : load_step(m, w, kind);
}

void
sim_word_store(uint64_t *w, uint64_t value, enum sim_access kind)
{
	struct sim_machine *m = sim_the_machine;

	sched_point_settled(m, kind, w, memory_has_room, m->m_cpu);
	uint64_t id = address_id(m, (uintptr_t)w);
	check_frame(m, id, "store");
	trace(m, kind, id, stable_value(m, id, value));
	memory_write(m, w, value);
}

/* The beginning of a locked operation: what memory holds, with every earlier store in it. */
static uint64_t
locked_begin(struct sim_machine *m, const uint64_t *w)
{
	memory_point(m, SIM_RMW, w);
	check_frame(m, address_id(m, (uintptr_t)w), "locked operation");
	memory_drain(m, self(m));
	return *w;
}

/*
 * What the driver does to words follows from what has been done before, and is much: every entry of
 * every table when all is taken down. Those who watch are told, the hash is not.
 */
static inline void
trace_word(struct sim_machine *m, enum sim_access kind, uint64_t id, uint64_t value)
{
	const uint64_t h = m->m_hash;

	if (m->m_actor == SIM_ACTOR_DRIVER && m->m_step_hook == NULL)
		return;
	trace(m, kind, id, stable_value(m, id, value));
	if (m->m_actor == SIM_ACTOR_DRIVER)
		m->m_hash = h;
}

static void
locked_end(struct sim_machine *m, uint64_t *w, uint64_t old, uint64_t new)
{
	uint64_t id = address_id(m, (uintptr_t)w);

	trace_word(m, SIM_RMW, id, old);
	trace_word(m, SIM_RMW, id, new);
	memory_write_now(m, w, new, SIM_WRITE_LOCKED, self(m)->cp_id);
}

uint64_t
sim_word_xchg(uint64_t *w, uint64_t value)
{
	struct sim_machine *m = sim_the_machine;

	/* As below, where there is no buffer to drain and nobody to tell. */
	if (m->m_actor == SIM_ACTOR_DRIVER && m->m_step_hook == NULL) {
		const uint64_t was = *w;

		memory_write_now(m, w, value, SIM_WRITE_LOCKED, m->m_driver.cp_id);
		return was;
	}
	uint64_t old = locked_begin(m, w);

	locked_end(m, w, old, value);
	return old;
}

bool
sim_word_cas(uint64_t *w, uint64_t *old, uint64_t new)
{
	struct sim_machine *m = sim_the_machine;
	uint64_t was = locked_begin(m, w);

	if (was != *old) {
		uint64_t id = address_id(m, (uintptr_t)w);
		touch_word(m, w, SIM_TOUCH_READ);
		trace(m, SIM_RMW, id, stable_value(m, id, was));
		*old = was;
		return false;
	}
	locked_end(m, w, was, new);
	return true;
}

uint64_t
sim_word_fetch_and(uint64_t *w, uint64_t mask)
{
	struct sim_machine *m = sim_the_machine;
	uint64_t old = locked_begin(m, w);

	locked_end(m, w, old, old & mask);
	return old;
}

uint64_t
sim_word_fetch_or(uint64_t *w, uint64_t bits)
{
	struct sim_machine *m = sim_the_machine;
	uint64_t old = locked_begin(m, w);

	locked_end(m, w, old, old | bits);
	return old;
}

uint64_t
sim_word_fetch_add(uint64_t *w, uint64_t addend)
{
	struct sim_machine *m = sim_the_machine;
	uint64_t old = locked_begin(m, w);

	locked_end(m, w, old, old + addend);
	return old;
}

void
sim_fence(void)
{
	struct sim_machine *m = sim_the_machine;

	memory_point(m, SIM_FENCE, NULL);
	trace(m, SIM_FENCE, 0, 0);
	memory_drain(m, self(m));
}

/*
 * The words are nobody else's, so no step lies between them, and no one can tell when they reach
 * memory: before the store that publishes them, which comes later in the same buffer.
 */
void
sim_fill_private(uint64_t *words, unsigned int n, uint64_t first, uint64_t step)
{
	struct sim_machine *m = sim_the_machine;

	point_at(m, SIM_STORE, words);
	uint64_t id = address_id(m, (uintptr_t)words);
	if (n == 0)
		return;
	if (id != SIM_ID_OTHER && frame_of(id) != frame_of(address_id(m, (uintptr_t)&words[n - 1])))
		sim_violation("CK-API", "I01", "%u words to fill do not lie in one frame", n);
	trace(m, SIM_STORE, id, first);
	trace(m, SIM_STORE, id, step + n);
	for (unsigned int i = 0; i < n; i++)
		memory_write_now(m, &words[i], first + i * step, SIM_WRITE_PRIVATE, self(m)->cp_id);
}

/*
 * Not a point: the word is written by this CPU only, and readers bear any old value. It still goes
 * past the buffer, so that the newest value is the one that a later host_load() here sees.
 */
void
sim_count(uint64_t *w, uint64_t addend)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = m->m_cpu;

	if (c != NULL && c->cp_epoch_depth == 0 && c->cp_irq_on)
		sim_violation("CK-API", "I44",
			      "host_count() outside an epoch section, interrupts on");
	check_frame(m, address_id(m, (uintptr_t)w), "count");
	*w += addend;
}
