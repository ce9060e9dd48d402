/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The Linux world of vmspace, first half: types (see vmspace/vm_host.h).
 */

#ifndef KMOD_HOST_VM_TYPES_H
#define KMOD_HOST_VM_TYPES_H

#include <linux/atomic.h>
#include <linux/mutex.h>
#include <linux/wait.h>

#include "pmap/host.h"

struct task_struct;

/* Linux's own mutex; lockdep sees the mutexes of a rank as a class. */
struct host_mutex {
	struct mutex hm_mutex;
	struct task_struct *hm_owner; /* who holds it; read by the others to compare only */
};

struct host_event {
	atomic64_t he_count;
	wait_queue_head_t he_waiters;
};

#endif /* KMOD_HOST_VM_TYPES_H */
