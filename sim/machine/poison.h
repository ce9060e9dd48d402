/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Tells AddressSanitizer and Valgrind which parts of memory that we manage ourselves may be
 * touched. Without them it is nothing.
 */

#ifndef SIM_POISON_H
#define SIM_POISON_H

#include "sim/machine/fiber.h"

#if FIBER_ASAN
#include <sanitizer/asan_interface.h>
#endif

#ifndef PMAP_VALGRIND
#define PMAP_VALGRIND 0
#endif
#if PMAP_VALGRIND
#include <valgrind/memcheck.h>
#endif

/* From here on a touch of it is a mistake. */
static inline void
memory_hide(void *p, size_t bytes)
{
#if FIBER_ASAN
	__asan_poison_memory_region(p, bytes);
#endif
#if PMAP_VALGRIND
	VALGRIND_MAKE_MEM_NOACCESS(p, bytes);
#endif
	(void)p;
	(void)bytes;
}

/* It may be written, and then read. */
static inline void
memory_expose(void *p, size_t bytes)
{
#if FIBER_ASAN
	__asan_unpoison_memory_region(p, bytes);
#endif
#if PMAP_VALGRIND
	VALGRIND_MAKE_MEM_UNDEFINED(p, bytes);
#endif
	(void)p;
	(void)bytes;
}

/* It may be read as it is. */
static inline void
memory_reveal(void *p, size_t bytes)
{
#if FIBER_ASAN
	__asan_unpoison_memory_region(p, bytes);
#endif
#if PMAP_VALGRIND
	VALGRIND_MAKE_MEM_DEFINED(p, bytes);
#endif
	(void)p;
	(void)bytes;
}

/* Whether anybody looks. */
static inline bool
memory_watched(void)
{
#if FIBER_ASAN
	return true;
#elif PMAP_VALGRIND
	return RUNNING_ON_VALGRIND != 0;
#else
	return false;
#endif
}

#endif /* SIM_POISON_H */
