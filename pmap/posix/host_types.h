/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The POSIX world, first half: types and limits (see pmap/host.h).
 *
 * The layouts do not depend on build options, so that a program may be compiled with other options
 * than the library it links.
 */

#ifndef PMAP_POSIX_HOST_TYPES_H
#define PMAP_POSIX_HOST_TYPES_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef PMAP_CHECK
#define PMAP_CHECK 0
#endif

/* Threads that may use the library at the same time; each is a CPU. */
#define HOST_MAX_CPUS 64

/* A spin lock: who holds it, as CPU number + 1, and where it stands in the order. */
struct host_lock {
	uint32_t hl_owner;
	uint32_t hl_rank;
};

struct host_epoch_item {
	struct host_epoch_item *ei_next;
	void (*ei_fn)(struct host_epoch_item *item);
	uint64_t ei_epoch; /* when it was deferred */
};

/*
 * Reports a broken rule of the interface and does not return; see
 * host_posix_set_assert_handler().
 */
_Noreturn void host_posix_assert_failed(const char *file, int line, const char *what);

#if PMAP_CHECK >= 1
#define HOST_ASSERT(cond) ((cond) ? (void)0 : host_posix_assert_failed(__FILE__, __LINE__, #cond))
#else
#define HOST_ASSERT(cond) ((void)(0 && (cond))) /* what it calls is used, for compilers */
#endif

#endif /* PMAP_POSIX_HOST_TYPES_H */
