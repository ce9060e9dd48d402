/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Memory other than frames: host_alloc() of the core, sim_alloc() of programs.
 *
 * One heap of its own, so that an address in it has the same offset in every run and every build,
 * which is how the trace names it. Blocks are handed out from the bottom and reused last-in
 * first-out by equal size. What is free is filled with a pattern, and hidden from AddressSanitizer
 * and Valgrind, and so is each block's head, which thereby is a red zone.
 */

#define _GNU_SOURCE /* MAP_ANONYMOUS, MAP_NORESERVE */
#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "sim/machine/machine_priv.h"
#include "sim/machine/poison.h"

#define HEAP_BYTES ((uint64_t)1 << 30) /* of address space; touched only as far as used */
#define ALIGN 64
#define FREED_BYTE 0xdb
#define MAGIC_LIVE 0x6c697665u
#define MAGIC_FREE 0x66726565u

struct heap_block {
	struct heap_block *hb_next; /* free list */
	uint64_t hb_bytes;	    /* as asked for */
	uint64_t hb_room;
	uint32_t hb_magic;
	bool hb_core; /* by host_alloc(): to be freed before the machine ends */
};

static_assert(sizeof(struct heap_block) <= ALIGN, "a block's head takes one unit");

static char *spare_heap;

bool
heap_init(struct sim_machine *m)
{
	if (spare_heap == NULL) {
		/* The hint keeps host pointers apart from the host-physical addresses in use. */
		void *p = mmap((void *)0x1f9000000000, HEAP_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			return false;
		spare_heap = p;
	}
	m->m_heap = spare_heap;
	m->m_heap_bytes = HEAP_BYTES;
	return true;
}

void
heap_fini(struct sim_machine *m)
{
	if (m->m_heap != NULL)
		memory_expose(m->m_heap, m->m_heap_top);
}

void
heap_open(struct sim_machine *m)
{
	memory_reveal(m->m_heap, m->m_heap_top);
}

void
heap_close(struct sim_machine *m)
{
	for (uint64_t at = 0; at < m->m_heap_top && memory_watched();) {
		struct heap_block *b = (struct heap_block *)(m->m_heap + at);
		const uint64_t used = b->hb_magic == MAGIC_LIVE ? b->hb_bytes : 0;

		at += ALIGN + b->hb_room;
		memory_hide((char *)b + ALIGN + used, b->hb_room - used);
		memory_hide(b, ALIGN);
	}
}

static void *
take(struct sim_machine *m, size_t bytes, bool core)
{
	uint64_t room = ((uint64_t)bytes + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
	struct heap_block **link = &m->m_heap_free;
	struct heap_block *b;

	if (bytes == 0 || bytes > HEAP_BYTES / 2)
		return NULL;
	for (b = *link; b != NULL; b = *link) {
		memory_reveal(b, sizeof *b);
		if (b->hb_room == room)
			break;
		link = &b->hb_next;
	}
	if (b != NULL) {
		*link = b->hb_next;
	} else {
		if (m->m_heap_top + ALIGN + room > m->m_heap_bytes)
			return NULL;
		b = (struct heap_block *)(m->m_heap + m->m_heap_top);
		m->m_heap_top += ALIGN + room;
		memory_expose(b, ALIGN + room);
		/* An earlier machine may have been here: what a block does not use is zero. */
		memset(b, 0, ALIGN + room);
	}
	*b = (struct heap_block){NULL, bytes, room, MAGIC_LIVE, core};
	char *p = (char *)b + ALIGN;
	memory_expose(p, bytes);
	memset(p, 0, bytes);
	memory_hide(p + bytes, room - bytes);
	memory_hide(b, ALIGN);
	m->m_heap_blocks += core;
	return p;
}

static void
give(struct sim_machine *m, void *p, size_t bytes, bool core)
{
	uint64_t off = (uintptr_t)p - (uintptr_t)m->m_heap;

	if (p == NULL)
		return;
	if (off >= m->m_heap_top || off % ALIGN != 0 || off < ALIGN)
		sim_violation("CK-API", "I43", "memory is freed that was never allocated");
	struct heap_block *b = (struct heap_block *)((char *)p - ALIGN);
	memory_reveal(b, sizeof *b);
	if (b->hb_magic != MAGIC_LIVE)
		sim_violation("CK-API", "I43", "memory is freed %s",
			      b->hb_magic == MAGIC_FREE ? "twice" : "that was never allocated");
	if (b->hb_bytes != bytes || b->hb_core != core)
		sim_violation("CK-API", "I43", "%zu bytes are freed of a block of %" PRIu64, bytes,
			      b->hb_bytes);
	lock_check_none_in(m, p, bytes);
	m->m_heap_blocks -= core;
	memory_expose(p, b->hb_room);
	memset(p, FREED_BYTE, b->hb_room);
	memory_hide(p, b->hb_room);
	b->hb_magic = MAGIC_FREE;
	b->hb_next = m->m_heap_free;
	m->m_heap_free = b;
	memory_hide(b, ALIGN);
}

void *
sim_alloc(size_t bytes)
{
	return take(sim_the_machine, bytes, false);
}

void
sim_free(void *p, size_t bytes)
{
	give(sim_the_machine, p, bytes, false);
}

void *
sim_host_alloc(size_t bytes)
{
	struct sim_machine *m = sim_the_machine;

	lock_check_may_wait(m, "host_alloc()");
	if (self(m)->cp_epoch_depth > 0)
		sim_violation("CK-SCHED", "I44", "host_alloc() inside an epoch section");
	point(m, SIM_ALLOC);
	touch(m, SIM_OBJECT(SIM_OBJECT_MEMORY, 1), SIM_TOUCH_WRITE);
	void *p = sim_fault(SIM_FAULT_ALLOC) ? NULL : take(m, bytes, true);
	trace(m, SIM_ALLOC, p == NULL ? 0 : address_id(m, (uintptr_t)p), bytes);
	return p;
}

void
sim_host_free(void *p, size_t bytes)
{
	struct sim_machine *m = sim_the_machine;

	memory_point(m, SIM_FREE, NULL);
	trace(m, SIM_FREE, p == NULL ? 0 : address_id(m, (uintptr_t)p), bytes);
	/* As for tables: what was stored before is visible to whoever gets the memory next. */
	memory_drain(m, self(m));
	touch(m, SIM_OBJECT(SIM_OBJECT_MEMORY, 1), SIM_TOUCH_WRITE);
	give(m, p, bytes, true);
}
