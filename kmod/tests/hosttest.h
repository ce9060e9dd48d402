/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Tests of the host contract (pmap/host.h, vmspace/vm_host.h) in a kernel. They are a module of
 * their own, vmm_hosttest.ko, which has the same host sources in it as vmm.ko, and is never
 * installed. Loading it runs them; it can be loaded only if all have passed.
 */

#ifndef KMOD_TESTS_HOSTTEST_H
#define KMOD_TESTS_HOSTTEST_H

#include <linux/kthread.h>

#include "vmspace/vm_host.h"

/* A case returns NULL, or why it failed; HOSTTEST_SKIP says that this machine cannot tell. */
#define HOSTTEST_SKIP "n/a: "

struct hosttest {
	const char *ht_name;
	const char *(*ht_fn)(void);
};

/* Each file's cases; the last has no name. */
extern const struct hosttest hosttest_cpu[];
extern const struct hosttest hosttest_epoch[];
extern const struct hosttest hosttest_memory[];
extern const struct hosttest hosttest_sleep[];
extern const struct hosttest hosttest_pager[];

#define HOSTTEST_STR_(x) #x
#define HOSTTEST_STR(x) HOSTTEST_STR_(x)

/* Returns from the case with the condition that does not hold. */
#define CHECK(cond)                                                       \
	do {                                                              \
		if (!(cond))                                              \
			return "line " HOSTTEST_STR(__LINE__) ": " #cond; \
	} while (0)

/* A thread that runs fn(arg) on a CPU, until it returns why it failed, or NULL. */
struct hosttest_thread {
	struct task_struct *th_task;
	const char *(*th_fn)(void *arg);
	void *th_arg;
	const char *th_why;
	struct completion th_done;
};

/* False if there is no such CPU or thread. */
bool hosttest_start(struct hosttest_thread *th, unsigned int cpu, const char *(*fn)(void *arg),
		    void *arg);
/* Waits for its end, and returns what fn returned. */
const char *hosttest_join(struct hosttest_thread *th);

/* Runs fn(arg) on the first two CPUs at once. NULL, the first failure, or HOSTTEST_SKIP. */
const char *hosttest_on_two(const char *(*fn)(void *arg), void *arg);

/* Sleeps until *flag is set; false if that takes ten seconds. */
bool hosttest_await(const bool *flag);

#endif /* KMOD_TESTS_HOSTTEST_H */
