/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Memory of the POSIX host: table pages, their descriptors, and small allocations.
 *
 * Addresses for all table pages that there can ever be are reserved at the start and made usable in
 * steps, so a page's words and its descriptor are found from its host-physical address by adding.
 * Free pages are always zeroed: they are cleared when they are freed, off the path of faults. Each
 * CPU keeps a magazine of them; half a magazine goes to, or comes from, the common stack at a time.
 *
 * Free pages and descriptors are closed to memcheck and AddressSanitizer. With full checks each
 * page must still be zero when it is handed out again; and behind each small allocation lies a
 * pattern, which must still be there when it is freed, so that whoever goes one too far reads
 * nonsense and is told of what it wrote.
 */

#include "pmap/posix/host_closed.h"
#include "pmap/posix/host_posix.h"
#include "pmap/posix/host_priv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MAGAZINE 64
#define GUARD_BYTES (PMAP_CHECK >= 2 ? 64 : 0)
#define GUARD_BYTE 0xa5
#define FREED_BYTE 0xdb
#define GROWTH 256 /* pages made usable at a time: 1 MiB of them, 16 KiB of descriptors */

/* Pages are known here by number: host-physical address / 4 KiB. */
#define FIRST_PAGE ((uint32_t)(HOST_POSIX_TABLES_START >> HOST_PAGE_SHIFT))
#define LAST_PAGE ((uint32_t)((HOST_POSIX_TABLES_END - 1) >> HOST_PAGE_SHIFT))

struct host_posix_arena host_posix_arena;

/* Free pages of one CPU, touched by its thread only, and its share of the accounts. */
static struct magazine {
	uint32_t m_pages[MAGAZINE];
	unsigned int m_count;
	struct host_word m_in_use;    /* tables allocated less tables freed, on this CPU */
	struct host_word m_allocated; /* the same for host_alloc() */
} __attribute__((aligned(128))) magazines[HOST_MAX_CPUS];

/* What all CPUs share. Under c_lock, except the words. */
static struct {
	struct host_lock c_lock;
	uint32_t c_top;		 /* first page of the stack of free ones, or 0 */
	struct host_word c_next; /* pages from here on were never used */
	uint32_t c_usable;	 /* pages below this may be touched */
	struct host_word c_fail_armed;
	uint64_t c_fail_in;
	uint64_t c_fail_again; /* c_fail_in after that, or 0 */
	bool c_fail_persistent;
	struct host_word c_failed;
} common;

/* The link of the stack lies in the descriptor of each page on it. */
static uint32_t *
link_of(uint32_t page)
{
	return (uint32_t *)(host_posix_arena.pa_descs + (size_t)page * HOST_TABLE_DESC_BYTES);
}

static void *
words_of(uint32_t page)
{
	return host_posix_arena.pa_words + ((size_t)page << HOST_PAGE_SHIFT);
}

static void *
reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* The reservation covers addresses from 0, so that adding is enough. */
int
host_posix_arena_set_up(void)
{
	const size_t desc_bytes = ((size_t)LAST_PAGE + 1) * HOST_TABLE_DESC_BYTES;
	char *words = reserve(HOST_POSIX_TABLES_END);
	char *descs = words ? reserve(desc_bytes) : NULL;

	if (!descs) {
		if (words)
			munmap(words, HOST_POSIX_TABLES_END);
		return -ENOMEM;
	}
	host_posix_arena.pa_words = words;
	host_posix_arena.pa_descs = descs;
	host_lock_init(&common.c_lock, HOST_POSIX_RANK);
	host_store(&common.c_next, FIRST_PAGE);
	common.c_usable = FIRST_PAGE;
	return 0;
}

/* Makes the next pages usable. False when the system has no memory or the arena is full. */
static bool
grow(void)
{
	const size_t words = (size_t)GROWTH << HOST_PAGE_SHIFT;
	const size_t descs = (size_t)GROWTH * HOST_TABLE_DESC_BYTES;
	uint32_t page = common.c_usable;

	if (page > LAST_PAGE || mprotect(words_of(page), words, PROT_READ | PROT_WRITE) != 0 ||
	    mprotect(link_of(page), descs, PROT_READ | PROT_WRITE) != 0)
		return false;
	close_memory(words_of(page), words);
	close_memory(link_of(page), descs);
	common.c_usable += GROWTH;
	return true;
}

static bool
take_common(uint32_t *page)
{
	uint32_t next = (uint32_t)host_load(&common.c_next);

	if (common.c_top != 0) {
		*page = common.c_top;
		open_memory(link_of(*page), sizeof(uint32_t));
		common.c_top = *link_of(*page);
		*link_of(*page) = 0;
		close_memory(link_of(*page), sizeof(uint32_t));
		return true;
	}
	if (next == common.c_usable && !grow())
		return false;
	*page = next;
	host_store(&common.c_next, next + 1);
	return true;
}

static void
refill(struct magazine *m)
{
	host_lock(&common.c_lock);
	while (m->m_count < MAGAZINE / 2 && take_common(&m->m_pages[m->m_count]))
		m->m_count++;
	host_unlock(&common.c_lock);
}

static void
spill(struct magazine *m)
{
	host_lock(&common.c_lock);
	while (m->m_count > MAGAZINE / 2) {
		uint32_t page = m->m_pages[--m->m_count];

		open_memory(link_of(page), sizeof(uint32_t));
		*link_of(page) = common.c_top;
		close_memory(link_of(page), sizeof(uint32_t));
		common.c_top = page;
	}
	host_unlock(&common.c_lock);
}

static bool
is_zero(const void *start, size_t bytes)
{
	const uint64_t *words = start;
	uint64_t any = 0;

	for (size_t i = 0; i < bytes / sizeof(*words); i++)
		any |= words[i];
	return any == 0;
}

/* ---- Making allocations fail ----------------------------------------------------------------- */

void
host_posix_fail_alloc(uint64_t nth, bool persistent)
{
	(void)host_cpu();
	host_lock(&common.c_lock);
	common.c_fail_in = nth;
	common.c_fail_again = 0;
	common.c_fail_persistent = persistent;
	host_store(&common.c_failed, 0);
	host_store_release(&common.c_fail_armed, nth != 0);
	host_unlock(&common.c_lock);
}

void
host_posix_fail_alloc_again(uint64_t nth)
{
	host_lock(&common.c_lock);
	common.c_fail_again = nth;
	host_unlock(&common.c_lock);
}

uint64_t
host_posix_failed_allocs(void)
{
	return host_load_acquire(&common.c_failed);
}

bool
host_posix_alloc_fails(void)
{
	bool fail = false;

	if (host_load(&common.c_fail_armed) == 0)
		return false;
	host_lock(&common.c_lock);
	if (common.c_fail_in > 1) {
		common.c_fail_in--;
	} else if (common.c_fail_in == 1) {
		fail = true;
		host_count(&common.c_failed, 1);
		if (!common.c_fail_persistent) {
			common.c_fail_in = common.c_fail_again;
			common.c_fail_again = 0;
			host_store(&common.c_fail_armed, common.c_fail_in != 0);
		}
	}
	host_unlock(&common.c_lock);
	return fail;
}

/* ---- Table pages ----------------------------------------------------------------------------- */

/*
 * A page that will be asked for next: both lines that are sure to be written then. Inline, since a
 * compiler drops calls of a function that does nothing else.
 */
static inline __attribute__((__always_inline__)) void
bring_near(uint32_t page)
{
	__builtin_prefetch(link_of(page), 1);
	__builtin_prefetch(words_of(page), 1);
}

bool
host_posix_table_alloc(uint64_t *hpa)
{
	struct magazine *m = &magazines[host_cpu()];
	uint32_t page;

	if (host_posix_alloc_fails())
		return false;
	if (m->m_count == 0)
		refill(m);
	if (m->m_count == 0)
		return false;
	page = m->m_pages[--m->m_count];
	if (m->m_count > 0)
		bring_near(m->m_pages[m->m_count - 1]);
	open_memory(words_of(page), HOST_PAGE_SIZE);
	open_memory(link_of(page), HOST_TABLE_DESC_BYTES);
	if (PMAP_CHECK >= 2) {
		HOST_ASSERT(is_zero(words_of(page), HOST_PAGE_SIZE));
		HOST_ASSERT(is_zero(link_of(page), HOST_TABLE_DESC_BYTES));
	}
	host_count(&m->m_in_use, 1);
	*hpa = (uint64_t)page << HOST_PAGE_SHIFT;
	return true;
}

void
host_posix_table_free(uint64_t hpa)
{
	struct magazine *m = &magazines[host_cpu()];
	uint32_t page = (uint32_t)(hpa >> HOST_PAGE_SHIFT);

	HOST_ASSERT(host_posix_table_known(hpa));
	memset(words_of(page), 0, HOST_PAGE_SIZE);
	memset(link_of(page), 0, HOST_TABLE_DESC_BYTES);
	close_memory(words_of(page), HOST_PAGE_SIZE);
	close_memory(link_of(page), HOST_TABLE_DESC_BYTES);
	if (m->m_count == MAGAZINE)
		spill(m);
	m->m_pages[m->m_count++] = page;
	host_count(&m->m_in_use, (uint64_t)-1);
}

/* Whether hpa is the address of a page that was handed out at some time. For assertions. */
bool
host_posix_table_known(uint64_t hpa)
{
	return hpa >= HOST_POSIX_TABLES_START && hpa % HOST_PAGE_SIZE == 0 &&
	       hpa >> HOST_PAGE_SHIFT < host_load(&common.c_next);
}

uint64_t
host_posix_tables_in_use(void)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < HOST_MAX_CPUS; i++)
		n += host_load(&magazines[i].m_in_use);
	return n;
}

/* ---- Small memory ---------------------------------------------------------------------------- */

/* What lies behind an allocation of so many bytes. */
static size_t
guard_of(size_t bytes)
{
	return GUARD_BYTES + (-bytes & 63);
}

void *
host_posix_alloc(size_t bytes)
{
	const size_t all = bytes + guard_of(bytes);
	char *p;

	if (all < bytes || host_posix_alloc_fails())
		return NULL;
	p = aligned_alloc(64, all ? all : 64);
	if (!p)
		return NULL;
	memset(p, 0, bytes);
	memset(p + bytes, GUARD_BYTE, all - bytes);
	close_memory(p + bytes, all - bytes);
	host_count(&magazines[host_cpu()].m_allocated, 1);
	return p;
}

void
host_posix_free(void *p, size_t bytes)
{
	if (!p)
		return;

	unsigned char *const guard = (unsigned char *)p + bytes;

	open_memory(guard, guard_of(bytes));
	if (PMAP_CHECK >= 2) {
		for (size_t i = 0; i < guard_of(bytes); i++)
			HOST_ASSERT(guard[i] == GUARD_BYTE);
		memset(p, FREED_BYTE, bytes);
	}
	host_count(&magazines[host_cpu()].m_allocated, (uint64_t)-1);
	free(p);
}

uint64_t
host_posix_allocs_in_use(void)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < HOST_MAX_CPUS; i++)
		n += host_load(&magazines[i].m_allocated);
	return n;
}
