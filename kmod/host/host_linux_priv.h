/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the files of the Linux world share with each other and nobody else.
 */

#ifndef KMOD_HOST_LINUX_PRIV_H
#define KMOD_HOST_LINUX_PRIV_H

#include <linux/atomic.h>
#include <linux/gfp.h>

#include "vmspace/vm_host.h"

/* What is asked for on a guest's behalf: charged to its owner's cgroup, and refused in silence. */
#define HOST_LINUX_GFP (__GFP_ACCOUNT | __GFP_NOWARN)

/* Memory that may be slept for, but is not worth killing anybody. */
#define HOST_LINUX_GFP_SLEEP (GFP_KERNEL | __GFP_NORETRY | HOST_LINUX_GFP)

/* What the core holds (host_linux_held_pages()). */
extern atomic_long_t host_linux_tables;
extern atomic_long_t host_linux_frames;
extern atomic_long_t host_linux_allocs;
extern atomic_long_t host_linux_pagers;
extern atomic_long_t host_linux_paged;

/* For tests: so many of the next table pages are to be refused by the kernel. */
extern atomic_t host_linux_refuse_tables;

/* Returns when the reserve of table pages is full again, or cannot be filled. For tests, too. */
void host_linux_reserve_sync(void);

int host_linux_mem_init(void);
void host_linux_mem_fini(void);
void host_linux_pager_init(void);
void host_linux_pager_fini(void);

#endif /* KMOD_HOST_LINUX_PRIV_H */
