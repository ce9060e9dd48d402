/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The bytes of data frames.
 *
 * They lie in memory of their own, which the system maps where it is touched, and which is kept
 * from machine to machine. What a frame holds after it was allocated, zeroed or freed is noted
 * (fr_bytes) and made true when somebody looks: most frames of most runs nobody ever looks into.
 *
 * The host's reads and writes of bytes happen at one instant, past the store buffers. A word of the
 * frame (host_page_word()) goes through the memory model instead, so the CPU's own buffer is looked
 * at, or drained, where the two meet.
 */

#include <inttypes.h>
#include <string.h>

#include "sim/machine/machine_priv.h"
#include "sim/machine/machine_vm.h"

static char *
page_of(const struct sim_machine *m, const struct sim_frame *f)
{
	return m->m_bytes + (uint64_t)(f - m->m_frames) * SIM_PAGE_SIZE;
}

void
bytes_fill_words(void *page, uint64_t first, uint64_t step)
{
	uint64_t *w = page;

	for (unsigned int i = 0; i < SIM_PAGE_SIZE / 8; i++)
		w[i] = first + i * step;
}

void
bytes_fill(struct sim_machine *m, struct sim_frame *f)
{
	if (f->fr_bytes == BYTES_ZERO)
		memset(page_of(m, f), 0, SIM_PAGE_SIZE);
	else if (f->fr_bytes == BYTES_POISON)
		bytes_fill_words(page_of(m, f), SIM_PAGE_POISON, 0);
	f->fr_bytes = BYTES_THERE;
}

static inline char *
bytes_of(struct sim_machine *m, struct sim_frame *f)
{
	if (f->fr_bytes != BYTES_THERE)
		bytes_fill(m, f);
	return page_of(m, f);
}

void *
sim_frame_bytes(uint64_t hpa)
{
	struct sim_frame *f = sim_frame_at(hpa);

	if (f == NULL)
		return NULL;
	/* A frame that was never allocated. */
	if (f->fr_life == 0)
		f->fr_bytes = BYTES_POISON;
	return bytes_of(sim_the_machine, f) + hpa % SIM_PAGE_SIZE;
}

/* ---- Guests and devices ---- */

static void
touch_bytes(const struct sim_machine *m, uint64_t hpa, enum sim_touch how)
{
	touch(m, SIM_OBJECT(SIM_OBJECT_DATA, (hpa - m->m_phys_base) / SIM_PAGE_SIZE), how);
}

static uint64_t *
data_word(struct sim_machine *m, uint64_t hpa, const char *what)
{
	struct sim_frame *f = phys_data_frame(m, hpa, what);

	if (hpa % 8 != 0)
		sim_violation("CK-API", "", "%s at 0x%" PRIx64 ", misaligned", what, hpa);
	return (uint64_t *)(bytes_of(m, f) + hpa % SIM_PAGE_SIZE);
}

uint64_t
sim_data_load(uint64_t hpa)
{
	struct sim_machine *m = sim_the_machine;
	uint64_t value = *data_word(m, hpa, "load");

	touch_bytes(m, hpa, SIM_TOUCH_READ);

	trace(m, SIM_LOAD, SIM_ID_PHYS | (hpa - m->m_phys_base), value);
	return value;
}

void
sim_data_store(uint64_t hpa, uint64_t value)
{
	struct sim_machine *m = sim_the_machine;

	touch_bytes(m, hpa, SIM_TOUCH_WRITE);
	*data_word(m, hpa, "store") = value;
	m->m_progress++;
	trace(m, SIM_STORE, SIM_ID_PHYS | (hpa - m->m_phys_base), value);
}

/* ---- The host ---- */

bool
sim_page_alloc(uint64_t *hpa, unsigned int order)
{
	struct sim_machine *m = sim_the_machine;

	point(m, SIM_ALLOC);
	uint64_t first =
		sim_fault(SIM_FAULT_PAGE_ALLOC) ? 0 : sim_frame_alloc(SIM_FRAME_DATA, order);
	trace(m, SIM_ALLOC, SIM_ID_DATA | (first == 0 ? 0 : first - m->m_phys_base), first != 0);
	if (first == 0)
		return false;
	for (uint64_t i = 0; i < (uint64_t)1 << order; i++)
		sim_frame_at(first + i * SIM_PAGE_SIZE)->fr_bytes = BYTES_POISON;
	*hpa = first;
	return true;
}

/* As for tables, what was stored before is visible to whoever gets the frame next. */
void
sim_page_free(uint64_t hpa, unsigned int order)
{
	struct sim_machine *m = sim_the_machine;

	memory_point(m, SIM_FREE, NULL);
	const struct sim_frame *f = sim_frame_at(hpa);
	if (f != NULL && f->fr_kind == SIM_FRAME_TABLE)
		sim_violation("CK-FREE", "I01", "host_page_free(0x%" PRIx64 "), which is a table",
			      hpa);
	memory_drain(m, self(m));
	sim_frame_free(hpa, order);
}

/* The bytes of the frame that starts at hpa, behind a point. */
static char *
host_page(struct sim_machine *m, enum sim_access kind, uint64_t hpa, const char *what)
{
	point(m, kind);
	if (hpa % SIM_PAGE_SIZE != 0)
		sim_violation("CK-API", "I30", "%s(0x%" PRIx64 "), which is no frame", what, hpa);
	touch_bytes(m, hpa, kind == SIM_LOAD ? SIM_TOUCH_READ : SIM_TOUCH_WRITE);
	return bytes_of(m, phys_data_frame(m, hpa, what));
}

static void
check_within(uint64_t offset, size_t len, const char *what)
{
	if (offset > SIM_PAGE_SIZE || len > SIM_PAGE_SIZE - offset)
		sim_violation("CK-API", "I30", "%s of %zu bytes at %" PRIu64 " leaves the frame",
			      what, len, offset);
}

/* An access by the host enters the trace by its place, its size, and what its first word is. */
static void
trace_bytes(struct sim_machine *m, enum sim_access kind, uint64_t hpa, const void *p, size_t len)
{
	uint64_t first = 0;

	memcpy(&first, p, len < sizeof first ? len : sizeof first);
	trace(m, kind, SIM_ID_DATA | (hpa - m->m_phys_base), first ^ (uint64_t)len << 48);
}

/* The stores into a page that the CPU itself still holds back, oldest first. */
static bool
next_pending(const struct cpu *c, const char *page, unsigned int *i)
{
	for (; *i < c->cp_nstores; ++*i) {
		if ((uintptr_t)c->cp_stores[*i].ps_word - (uintptr_t)page < SIM_PAGE_SIZE)
			return true;
	}
	return false;
}

/* Bytes are written past the buffer: an older store must not come after them. */
static void
settle(struct sim_machine *m, const char *page)
{
	unsigned int i = 0;

	if (next_pending(self(m), page, &i))
		memory_drain(m, self(m));
}

static void
tell(struct sim_machine *m, uint64_t hpa, const void *bytes, size_t len, bool write)
{
	if (m->m_copy_hook != NULL)
		m->m_copy_hook(m->m_copy_hook_arg, hpa, bytes, len, write);
}

void
sim_set_copy_hook(sim_copy_fn *hook, void *arg)
{
	sim_the_machine->m_copy_hook = hook;
	sim_the_machine->m_copy_hook_arg = arg;
}

void
sim_page_read(uint64_t hpa, uint64_t offset, void *to, size_t len)
{
	struct sim_machine *m = sim_the_machine;
	const struct cpu *c = self(m);
	unsigned int i = 0;

	check_within(offset, len, "host_page_read()");
	char *page = host_page(m, SIM_LOAD, hpa, "host_page_read");
	if (!next_pending(c, page, &i)) {
		memcpy(to, page + offset, len);
	} else {
		char seen[SIM_PAGE_SIZE];
		memcpy(seen, page, SIM_PAGE_SIZE);
		for (; next_pending(c, page, &i); i++)
			memcpy(seen + ((char *)c->cp_stores[i].ps_word - page),
			       &c->cp_stores[i].ps_value, 8);
		memcpy(to, seen + offset, len);
		m->m_ct.ct_forwards++;
	}
	trace_bytes(m, SIM_LOAD, hpa + offset, to, len);
	tell(m, hpa + offset, to, len, false);
}

void
sim_page_write(uint64_t hpa, uint64_t offset, const void *from, size_t len)
{
	struct sim_machine *m = sim_the_machine;

	check_within(offset, len, "host_page_write()");
	char *page = host_page(m, SIM_STORE, hpa, "host_page_write");
	settle(m, page);
	memcpy(page + offset, from, len);
	m->m_progress++;
	trace_bytes(m, SIM_STORE, hpa + offset, from, len);
	tell(m, hpa + offset, from, len, true);
}

void
sim_page_zero(uint64_t hpa)
{
	struct sim_machine *m = sim_the_machine;

	settle(m, host_page(m, SIM_STORE, hpa, "host_page_zero"));
	sim_frame_at(hpa)->fr_bytes = BYTES_ZERO;
	m->m_progress++;
	trace(m, SIM_STORE, SIM_ID_DATA | (hpa - m->m_phys_base), 0);
}

void
sim_page_copy(uint64_t to, uint64_t from)
{
	struct sim_machine *m = sim_the_machine;
	char *page = host_page(m, SIM_STORE, to, "host_page_copy");
	struct sim_frame *f = phys_data_frame(m, from, "host_page_copy");

	if (from % SIM_PAGE_SIZE != 0 || from == to)
		sim_violation("CK-API", "I30", "host_page_copy() from 0x%" PRIx64 " to 0x%" PRIx64,
			      from, to);
	settle(m, page);
	settle(m, page_of(m, f));
	touch_bytes(m, from, SIM_TOUCH_READ);
	memcpy(page, bytes_of(m, f), SIM_PAGE_SIZE);
	m->m_progress++;
	trace_bytes(m, SIM_STORE, to, page, 8);
	trace(m, SIM_LOAD, SIM_ID_DATA | (from - m->m_phys_base), SIM_PAGE_SIZE);
}

uint64_t *
sim_page_word(uint64_t hpa, uint64_t offset)
{
	struct sim_machine *m = sim_the_machine;

	check_within(offset, 8, "host_page_word()");
	if (hpa % SIM_PAGE_SIZE != 0)
		sim_violation("CK-API", "I30", "host_page_word(0x%" PRIx64 "), which is no frame",
			      hpa);
	return data_word(m, hpa + offset, "host_page_word");
}
