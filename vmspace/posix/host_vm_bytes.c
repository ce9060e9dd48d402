/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The bytes of pages of data.
 *
 * Others may touch the same bytes meanwhile, as guests do: that is no race between the callers. The
 * detectors of races are told so by making each access atomic, and slow, where they watch. Pages
 * that are zeroed or copied to are nobody else's: those writes stay plain, and are watched.
 */

#include "vmspace/posix/host_vm_priv.h"

#include <string.h>

#define WATCHED (HOST_TSAN || HOST_HELGRIND)

void
host_vm_copy_out(void *to, const char *from, size_t len)
{
	char *bytes = to;

	if (!WATCHED) {
		memcpy(to, from, len);
		return;
	}
	for (size_t i = 0; i < len;) {
		if ((uintptr_t)(from + i) % 8 == 0 && len - i >= 8) {
			uint64_t word = host_load((const struct host_word *)(from + i));

			memcpy(bytes + i, &word, 8);
			i += 8;
		} else {
			bytes[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
			i++;
		}
	}
}

static void
copy_in(char *to, const void *from, size_t len)
{
	const char *bytes = from;

	if (!WATCHED) {
		memcpy(to, from, len);
		return;
	}
	for (size_t i = 0; i < len;) {
		if ((uintptr_t)(to + i) % 8 == 0 && len - i >= 8) {
			uint64_t word;

			memcpy(&word, bytes + i, 8);
			host_store((struct host_word *)(to + i), word);
			i += 8;
		} else {
			__atomic_exchange_n(to + i, bytes[i], __ATOMIC_RELAXED);
			i++;
		}
	}
}

static bool
within(uint64_t offset, size_t len)
{
	return offset <= HOST_PAGE_SIZE && len <= HOST_PAGE_SIZE - offset;
}

void
host_vm_posix_page_read(hpa_t hpa, uint64_t offset, void *to, size_t len)
{
	HOST_ASSERT(within(offset, len));
	host_vm_copy_out(to, host_vm_bytes(hpa) + offset, len);
}

void
host_vm_posix_page_write(hpa_t hpa, uint64_t offset, const void *from, size_t len)
{
	HOST_ASSERT(within(offset, len));
	copy_in(host_vm_bytes(hpa) + offset, from, len);
}

void
host_vm_posix_page_zero(hpa_t hpa)
{
	memset(host_vm_bytes(hpa), 0, HOST_PAGE_SIZE);
}

void
host_vm_posix_page_copy(hpa_t to, hpa_t from)
{
	HOST_ASSERT(to != from);
	host_vm_copy_out(host_vm_bytes(to), host_vm_bytes(from), HOST_PAGE_SIZE);
}

struct host_word *
host_vm_posix_page_word(hpa_t hpa, uint64_t offset)
{
	HOST_ASSERT(within(offset, sizeof(struct host_word)) && offset % 8 == 0);
	return (struct host_word *)(host_vm_bytes(hpa) + offset);
}
