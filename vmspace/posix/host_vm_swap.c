/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The swap device: memory, whose requests can be made to fail.
 *
 * The bytes are copied without a lock, as a device would: two requests for the same slot or frame
 * at a time are a mistake that race detectors see.
 */

#include "vmspace/posix/host_vm_priv.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

static struct {
	pthread_mutex_t sw_mutex;
	char *sw_bytes;
	uint64_t sw_slots;
	bool sw_set;

	/* What fails. */
	unsigned int sw_fail_kinds;
	uint64_t sw_fail_in;
	bool sw_fail_persistent;
	struct host_vm_posix_swap_stats sw_stats;
} swap = {.sw_mutex = PTHREAD_MUTEX_INITIALIZER};

/* With the mutex held. */
static int
set_slots(uint64_t slots)
{
	void *p = NULL;

	if (slots > SIZE_MAX >> HOST_PAGE_SHIFT)
		return -ENOMEM;
	if (slots > 0)
		p = mmap(NULL, slots << HOST_PAGE_SHIFT, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	if (swap.sw_bytes)
		munmap(swap.sw_bytes, swap.sw_slots << HOST_PAGE_SHIFT);
	swap.sw_bytes = p;
	swap.sw_slots = slots;
	swap.sw_set = true;
	return 0;
}

/* The first use, if nobody has set anything. With the mutex held. */
static void
set_up(void)
{
	if (!swap.sw_set)
		(void)set_slots(HOST_VM_POSIX_SWAP_SLOTS);
}

int
host_vm_posix_set_swap(uint64_t slots)
{
	int error;

	pthread_mutex_lock(&swap.sw_mutex);
	error = set_slots(slots);
	pthread_mutex_unlock(&swap.sw_mutex);
	return error;
}

uint64_t
host_vm_posix_swap_slots(void)
{
	uint64_t slots;

	pthread_mutex_lock(&swap.sw_mutex);
	set_up();
	slots = swap.sw_slots;
	pthread_mutex_unlock(&swap.sw_mutex);
	return slots;
}

void
host_vm_posix_fail_swap(unsigned int kinds, uint64_t nth, bool persistent)
{
	pthread_mutex_lock(&swap.sw_mutex);
	swap.sw_fail_kinds = kinds;
	swap.sw_fail_in = nth;
	swap.sw_fail_persistent = persistent;
	pthread_mutex_unlock(&swap.sw_mutex);
}

void
host_vm_posix_swap_stats(struct host_vm_posix_swap_stats *stats)
{
	pthread_mutex_lock(&swap.sw_mutex);
	*stats = swap.sw_stats;
	pthread_mutex_unlock(&swap.sw_mutex);
}

/* With the mutex held. */
static bool
must_fail(unsigned int kind)
{
	if ((swap.sw_fail_kinds & kind) == 0 || swap.sw_fail_in == 0)
		return false;
	if (swap.sw_fail_in > 1) {
		swap.sw_fail_in--;
		return false;
	}
	if (!swap.sw_fail_persistent)
		swap.sw_fail_in = 0;
	swap.sw_stats.ss_failed++;
	return true;
}

unsigned int
host_vm_io_begin(unsigned int kind, unsigned int n)
{
	bool fails;

	pthread_mutex_lock(&swap.sw_mutex);
	set_up();
	fails = must_fail(kind);
	if (kind == HOST_VM_POSIX_READ) {
		swap.sw_stats.ss_reads++;
		swap.sw_stats.ss_pages_read += fails ? n / 2 : n;
	} else {
		swap.sw_stats.ss_writes++;
		swap.sw_stats.ss_pages_written += fails ? n / 2 : n;
	}
	pthread_mutex_unlock(&swap.sw_mutex);
	return fails ? n / 2 : n;
}

static bool
on_device(uint64_t slot, unsigned int n)
{
	uint64_t slots = host_vm_posix_swap_slots();

	return n > 0 && n <= slots && slot <= slots - n;
}

static char *
bytes_of(uint64_t slot)
{
	return swap.sw_bytes + (slot << HOST_PAGE_SHIFT);
}

int
host_vm_posix_swap_read(uint64_t slot, const hpa_t *frames, unsigned int n)
{
	unsigned int good;

	HOST_ASSERT(host_vm_may_sleep());
	HOST_ASSERT(on_device(slot, n));
	good = host_vm_io_begin(HOST_VM_POSIX_READ, n);
	for (unsigned int i = 0; i < n; i++) {
		if (i < good)
			memcpy(host_vm_bytes(frames[i]), bytes_of(slot + i), HOST_PAGE_SIZE);
		else
			memset(host_vm_bytes(frames[i]), HOST_VM_SPOILED, HOST_PAGE_SIZE);
		sched_yield(); /* it takes time: others act meanwhile */
	}
	return good < n ? -EIO : 0;
}

int
host_vm_posix_swap_write(uint64_t slot, const hpa_t *frames, unsigned int n)
{
	unsigned int good;

	HOST_ASSERT(host_vm_may_sleep());
	HOST_ASSERT(on_device(slot, n));
	good = host_vm_io_begin(HOST_VM_POSIX_WRITE, n);
	for (unsigned int i = 0; i < n; i++) {
		const char *from = host_vm_bytes(frames[i]);

		if (i < good)
			host_vm_copy_out(bytes_of(slot + i), from, HOST_PAGE_SIZE);
		else
			memset(bytes_of(slot + i), HOST_VM_SPOILED, HOST_PAGE_SIZE);
		sched_yield();
	}
	return good < n ? -EIO : 0;
}
