/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Pages of data: a buddy allocator over an arena of real memory.
 *
 * Pages are known here by number: offset in the arena / 4 KiB. Free blocks of each order are on a
 * list through the table of frames. Pages in use have a bit each, so that those of a run can be
 * freed one by one and a page that is freed twice is found.
 *
 * Free pages are closed to memcheck and AddressSanitizer. With checks they hold poison, so that who
 * forgets to fill a page, or reads one after it was freed, finds no zeros; with full checks the
 * poison must still be there when a page is handed out again.
 */

#include "pmap/posix/host_closed.h"
#include "vmspace/posix/host_vm_priv.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ORDERS (HOST_VM_POSIX_ORDER_MAX + 1)
#define RUN_BYTES (HOST_PAGE_SIZE << HOST_VM_POSIX_ORDER_MAX)
#define NOWHERE UINT32_MAX
#define POISON 0xdb

struct frame {
	/* Of the first page of a free block; under m_lock. */
	uint32_t fr_next;
	uint32_t fr_prev;
	uint8_t fr_free; /* order + 1; 0 of all others */

	bool fr_poisoned;	   /* while free: its bytes are poison */
	struct host_word fr_iommu; /* see host_vm_frame_iommu() */
};

static struct {
	struct host_lock m_lock;
	struct host_word m_npages; /* 0 until it is set up; what follows is then constant */
	char *m_bytes;
	struct frame *m_frames;
	struct host_word *m_used; /* a bit for each page */
	uint32_t m_first[ORDERS]; /* free blocks; under m_lock, as is the next */
	uint64_t m_in_use;
} memory;

static pthread_mutex_t setting_up = PTHREAD_MUTEX_INITIALIZER;

/* ---- Free blocks ----------------------------------------------------------------------------- */

static void
block_insert(uint32_t page, unsigned int order)
{
	struct frame *f = &memory.m_frames[page];

	f->fr_free = (uint8_t)(order + 1);
	f->fr_prev = NOWHERE;
	f->fr_next = memory.m_first[order];
	if (f->fr_next != NOWHERE)
		memory.m_frames[f->fr_next].fr_prev = page;
	memory.m_first[order] = page;
}

static void
block_remove(uint32_t page)
{
	struct frame *f = &memory.m_frames[page];

	if (f->fr_prev != NOWHERE)
		memory.m_frames[f->fr_prev].fr_next = f->fr_next;
	else
		memory.m_first[f->fr_free - 1] = f->fr_next;
	if (f->fr_next != NOWHERE)
		memory.m_frames[f->fr_next].fr_prev = f->fr_prev;
	f->fr_free = 0;
}

/* NOWHERE if there is no block so large. */
static uint32_t
block_take(unsigned int order)
{
	unsigned int found = order;
	uint32_t page;

	while (found < ORDERS && memory.m_first[found] == NOWHERE)
		found++;
	if (found == ORDERS)
		return NOWHERE;
	page = memory.m_first[found];
	block_remove(page);
	while (found-- > order)
		block_insert(page + ((uint32_t)1 << found), found);
	return page;
}

static void
block_give(uint32_t page, unsigned int order)
{
	for (; order < HOST_VM_POSIX_ORDER_MAX; order++) {
		uint32_t buddy = page ^ (uint32_t)1 << order;

		if (memory.m_frames[buddy].fr_free != order + 1)
			break;
		block_remove(buddy);
		page &= ~((uint32_t)1 << order);
	}
	block_insert(page, order);
}

/* ---- Setting up ------------------------------------------------------------------------------ */

static void
tear_down(void)
{
	uint64_t npages = host_load(&memory.m_npages);

	if (npages == 0)
		return;
	host_store_release(&memory.m_npages, 0);
	open_memory(memory.m_bytes, npages << HOST_PAGE_SHIFT);
	munmap(memory.m_bytes, npages << HOST_PAGE_SHIFT);
	free(memory.m_frames);
	free(memory.m_used);
}

static int
set_up(uint64_t bytes)
{
	const uint64_t npages = bytes >> HOST_PAGE_SHIFT;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	memory.m_frames = calloc(npages, sizeof(*memory.m_frames));
	memory.m_used = calloc(npages / 64, sizeof(*memory.m_used));
	if (!memory.m_frames || !memory.m_used) {
		free(memory.m_frames);
		free(memory.m_used);
		munmap(p, bytes);
		return -ENOMEM;
	}
	memory.m_bytes = p;
	close_memory(p, bytes);
	host_lock_init(&memory.m_lock, HOST_POSIX_RANK);
	for (unsigned int order = 0; order < ORDERS; order++)
		memory.m_first[order] = NOWHERE;
	for (uint64_t page = npages; page > 0;) {
		page -= (uint64_t)1 << HOST_VM_POSIX_ORDER_MAX;
		block_insert((uint32_t)page, HOST_VM_POSIX_ORDER_MAX);
	}
	host_store_release(&memory.m_npages, npages);
	return 0;
}

int
host_vm_posix_set_memory(uint64_t bytes)
{
	int error;

	if (bytes == 0 || bytes % RUN_BYTES != 0 || bytes >> HOST_PAGE_SHIFT >= NOWHERE)
		return -EINVAL;
	pthread_mutex_lock(&setting_up);
	if (memory.m_in_use > 0) {
		error = -EBUSY;
	} else {
		tear_down();
		error = set_up(bytes);
	}
	pthread_mutex_unlock(&setting_up);
	return error;
}

/* The first use, if nobody has set anything. */
static bool
is_set_up(void)
{
	int error = 0;

	if (host_load_acquire(&memory.m_npages) != 0)
		return true;
	pthread_mutex_lock(&setting_up);
	if (host_load(&memory.m_npages) == 0)
		error = set_up(HOST_VM_POSIX_MEMORY_BYTES);
	pthread_mutex_unlock(&setting_up);
	return error == 0;
}

uint64_t
host_vm_posix_memory_pages(void)
{
	return is_set_up() ? host_load(&memory.m_npages) : 0;
}

uint64_t
host_vm_posix_pages_in_use(void)
{
	uint64_t n = 0;

	if (host_load_acquire(&memory.m_npages) != 0) {
		host_lock(&memory.m_lock);
		n = memory.m_in_use;
		host_unlock(&memory.m_lock);
	}
	return n;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

static uint32_t
page_of(hpa_t hpa)
{
	return (uint32_t)((hpa - HOST_VM_POSIX_MEMORY_START) >> HOST_PAGE_SHIFT);
}

static char *
bytes_of(uint32_t page)
{
	return memory.m_bytes + ((size_t)page << HOST_PAGE_SHIFT);
}

static bool
is_used(uint32_t page)
{
	return (host_load(&memory.m_used[page / 64]) >> (page % 64) & 1) != 0;
}

static void
set_used(uint32_t page, bool used)
{
	uint64_t bit = (uint64_t)1 << (page % 64);

	if (used)
		host_fetch_or(&memory.m_used[page / 64], bit);
	else
		host_fetch_and(&memory.m_used[page / 64], ~bit);
}

static bool
is_address(hpa_t hpa, unsigned int order)
{
	uint64_t npages = host_load_acquire(&memory.m_npages);

	return order < ORDERS && hpa >= HOST_VM_POSIX_MEMORY_START &&
	       hpa % (HOST_PAGE_SIZE << order) == 0 &&
	       (hpa - HOST_VM_POSIX_MEMORY_START) >> HOST_PAGE_SHIFT < npages;
}

bool
host_vm_posix_page_known(hpa_t hpa)
{
	return is_address(hpa, 0) && is_used(page_of(hpa));
}

char *
host_vm_bytes(hpa_t hpa)
{
	HOST_ASSERT(host_vm_posix_page_known(hpa));
	return bytes_of(page_of(hpa));
}

struct host_word *
host_vm_frame_iommu(hpa_t hpa)
{
	HOST_ASSERT(host_vm_posix_page_known(hpa));
	return &memory.m_frames[page_of(hpa)].fr_iommu;
}

static bool
is_poison(const char *start)
{
	const uint64_t *words = (const uint64_t *)start;
	uint64_t wrong = 0;

	for (size_t i = 0; i < HOST_PAGE_SIZE / sizeof(*words); i++)
		wrong |= words[i] ^ (UINT64_MAX / 0xff * POISON);
	return wrong == 0;
}

static void
hand_out(uint32_t page)
{
	struct frame *f = &memory.m_frames[page];
	char *bytes = bytes_of(page);

	open_memory(bytes, HOST_PAGE_SIZE);
	if (PMAP_CHECK >= 2 && f->fr_poisoned)
		HOST_ASSERT(is_poison(bytes));
	else if (PMAP_CHECK >= 1 && !f->fr_poisoned)
		memset(bytes, POISON, HOST_PAGE_SIZE);
	forget_contents(bytes, HOST_PAGE_SIZE);
}

static void
take_back(uint32_t page)
{
	char *bytes = bytes_of(page);

	if (PMAP_CHECK >= 1) {
		memset(bytes, POISON, HOST_PAGE_SIZE);
		memory.m_frames[page].fr_poisoned = true;
	}
	close_memory(bytes, HOST_PAGE_SIZE);
}

bool
host_vm_posix_page_alloc(hpa_t *hpa, unsigned int order)
{
	uint32_t first;

	HOST_ASSERT(order < ORDERS);
	if (order >= ORDERS || host_posix_alloc_fails() || !is_set_up())
		return false;
	host_lock(&memory.m_lock);
	first = block_take(order);
	if (first != NOWHERE)
		memory.m_in_use += (uint64_t)1 << order;
	host_unlock(&memory.m_lock);
	if (first == NOWHERE)
		return false;
	for (uint32_t i = 0; i < (uint32_t)1 << order; i++) {
		hand_out(first + i);
		set_used(first + i, true);
	}
	*hpa = HOST_VM_POSIX_MEMORY_START + ((uint64_t)first << HOST_PAGE_SHIFT);
	return true;
}

/* A frame that a device could still reach, or that devices of the host no longer could, is not
 * free. */
void
host_vm_posix_page_free(hpa_t hpa, unsigned int order)
{
	uint32_t first = page_of(hpa);

	HOST_ASSERT(is_address(hpa, order));
	for (uint32_t i = 0; i < (uint32_t)1 << order; i++) {
		HOST_ASSERT(is_used(first + i));
		HOST_ASSERT(host_load(&memory.m_frames[first + i].fr_iommu) == 0);
		take_back(first + i);
		set_used(first + i, false);
	}
	host_lock(&memory.m_lock);
	memory.m_in_use -= (uint64_t)1 << order;
	block_give(first, order);
	host_unlock(&memory.m_lock);
}
