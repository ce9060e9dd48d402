/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Memory that is free, and that nobody may touch: memcheck and AddressSanitizer are told, where
 * they watch.
 */

#ifndef PMAP_POSIX_HOST_CLOSED_H
#define PMAP_POSIX_HOST_CLOSED_H

#include <stddef.h>

#if defined(PMAP_VALGRIND) && PMAP_VALGRIND
#include <valgrind/memcheck.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HOST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HOST_ASAN 1
#endif
#endif
#ifdef HOST_ASAN
#include <sanitizer/asan_interface.h>
#endif

static inline void
close_memory(void *start, size_t bytes)
{
#ifdef HOST_ASAN
	ASAN_POISON_MEMORY_REGION(start, bytes);
#endif
#if defined(PMAP_VALGRIND) && PMAP_VALGRIND
	(void)VALGRIND_MAKE_MEM_NOACCESS(start, bytes);
#endif
	(void)start;
	(void)bytes;
}

static inline void
open_memory(void *start, size_t bytes)
{
#ifdef HOST_ASAN
	ASAN_UNPOISON_MEMORY_REGION(start, bytes);
#endif
#if defined(PMAP_VALGRIND) && PMAP_VALGRIND
	(void)VALGRIND_MAKE_MEM_DEFINED(start, bytes);
#endif
	(void)start;
	(void)bytes;
}

/* It may be written, but not yet read. */
static inline void
forget_contents(void *start, size_t bytes)
{
#if defined(PMAP_VALGRIND) && PMAP_VALGRIND
	(void)VALGRIND_MAKE_MEM_UNDEFINED(start, bytes);
#endif
	(void)start;
	(void)bytes;
}

#endif /* PMAP_POSIX_HOST_CLOSED_H */
