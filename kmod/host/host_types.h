/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The Linux world, first half: types and limits (see pmap/host.h).
 *
 * The core is written in the words of C's freestanding headers; a kernel has them under other names
 * or not at all. What the core uses of them is defined here, once, so that its sources compile as
 * they are. Where Linux uses a name for something else it is told so here, or the core avoids it
 * (BIT, EFER_LMA).
 */

#ifndef KMOD_HOST_TYPES_H
#define KMOD_HOST_TYPES_H

#include <linux/bug.h>
#include <linux/build_bug.h>
#include <linux/errno.h>
#include <linux/limits.h>
#include <linux/llist.h>
#include <linux/mm_types.h>
#include <linux/spinlock_types.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>

#ifndef PMAP_CHECK
#define PMAP_CHECK 0
#endif

/* The one name that both have. Linux's is an unused tag in a header that is now behind us. */
#define vm_fault_reason vmspace_fault_reason

#define UINT32_MAX U32_MAX
#define UINT64_MAX U64_MAX
#define INT64_MAX S64_MAX

/* pmaps and address spaces hold counters for each. vmm.ko refuses a machine that may have more. */
#define HOST_MAX_CPUS 256

/*
 * A spin lock of the core. Its room is bounded (HOST_TABLE_DESC_BYTES), that of Linux's own locks
 * is not when they are being debugged; so it is the architecture's bare lock, and debug builds
 * check what lockdep would: who holds it, and the order of ranks. It does not block interrupts:
 * handlers, soft ones included, must never take one.
 */
struct host_lock {
	arch_spinlock_t hl_lock;
	uint16_t hl_owner; /* CPU number + 1 of who holds it */
	uint16_t hl_rank;
};

/* First with RCU; when that is done, in the list of what a worker is to call. */
struct host_epoch_item {
	union {
		struct rcu_head ei_rcu;
		struct llist_node ei_node;
	};
	void (*ei_fn)(struct host_epoch_item *item);
};

/*
 * A broken rule of the interface. With all checks on it stops the thread that broke it (BUG); with
 * the cheap ones it is told with a stack trace each time, the kernel is marked as tainted, and the
 * caller goes on.
 */
void host_linux_assert_failed(const char *file, int line, const char *what);

#if PMAP_CHECK >= 1
#define HOST_ASSERT(cond) ((cond) ? (void)0 : host_linux_assert_failed(__FILE__, __LINE__, #cond))
#else
#define HOST_ASSERT(cond) BUILD_BUG_ON_INVALID(cond)
#endif

#endif /* KMOD_HOST_TYPES_H */
