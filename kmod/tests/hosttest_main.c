/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Runs the cases of all files in order, a line in the log for each, and keeps the module out if one
 * failed. The lines are what kmod/tests/hosttest (the script) reads.
 */

#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/module.h>

#include "hosttest.h"
#include "kmod/host/host_linux.h"

/* Nobody watches here. */
void
host_linux_trace(unsigned int event, u64 a, u64 b, u64 c)
{
}

static const struct hosttest *const files[] = {
	hosttest_cpu, hosttest_epoch, hosttest_memory, hosttest_sleep, hosttest_pager,
};

/* ---- Threads --------------------------------------------------------------------------------- */

static int
thread_main(void *arg)
{
	struct hosttest_thread *const th = arg;

	allow_signal(SIGUSR1);
	th->th_why = th->th_fn(th->th_arg);
	complete(&th->th_done);
	return 0;
}

bool
hosttest_start(struct hosttest_thread *th, unsigned int cpu, const char *(*fn)(void *arg),
	       void *arg)
{
	if (cpu >= nr_cpu_ids || !cpu_online(cpu))
		return false;
	*th = (struct hosttest_thread){.th_fn = fn, .th_arg = arg};
	init_completion(&th->th_done);
	th->th_task = kthread_create(thread_main, th, "hosttest/%u", cpu);
	if (IS_ERR(th->th_task))
		return false;
	kthread_bind(th->th_task, cpu);
	get_task_struct(th->th_task);
	wake_up_process(th->th_task);
	return true;
}

const char *
hosttest_join(struct hosttest_thread *th)
{
	while (!wait_for_completion_timeout(&th->th_done, 10 * HZ))
		; /* in short sleeps, that are not taken for a hang */
	put_task_struct(th->th_task);
	return th->th_why;
}

const char *
hosttest_on_two(const char *(*fn)(void *arg), void *arg)
{
	struct hosttest_thread one, two;
	const char *why, *why_two;

	if (num_online_cpus() < 2)
		return HOSTTEST_SKIP "there is one CPU only";
	if (!hosttest_start(&one, 0, fn, arg))
		return "no thread";
	if (!hosttest_start(&two, 1, fn, arg)) {
		(void)hosttest_join(&one);
		return "no second thread";
	}
	why = hosttest_join(&one);
	why_two = hosttest_join(&two);
	return why != NULL ? why : why_two;
}

bool
hosttest_await(const bool *flag)
{
	for (unsigned int i = 0; i < 10000; i++) {
		if (READ_ONCE(*flag))
			return true;
		usleep_range(1000, 1100);
	}
	return false;
}

/* ---- The run --------------------------------------------------------------------------------- */

/* What the host holds, all told: a case must leave it as it found it. */
static long
held(void)
{
	struct host_linux_held_pages hp;

	host_epoch_drain();
	host_linux_held_pages(&hp);
	return hp.hp_tables + hp.hp_frames + hp.hp_allocs + hp.hp_pagers + hp.hp_paged;
}

/* Returns whether it failed. */
static bool
run_case(const struct hosttest *ht)
{
	const long before = held();
	const char *why = ht->ht_fn();

	if (why != NULL && strncmp(why, HOSTTEST_SKIP, strlen(HOSTTEST_SKIP)) == 0) {
		pr_info("hosttest: n/a %s: %s\n", ht->ht_name, why + strlen(HOSTTEST_SKIP));
		return false;
	}
	if (why == NULL && held() != before)
		why = "something is still held";
	if (why == NULL)
		pr_info("hosttest: pass %s\n", ht->ht_name);
	else
		pr_info("hosttest: fail %s: %s\n", ht->ht_name, why);
	return why != NULL;
}

static int __init
hosttest_init(void)
{
	unsigned int run = 0, failed = 0;
	int error = host_linux_init();

	if (error != 0)
		return error;
	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++) {
		for (const struct hosttest *ht = files[i]; ht->ht_name != NULL; ht++) {
			failed += run_case(ht);
			run++;
		}
	}
	pr_info("hosttest: %u passed, %u failed\n", run - failed, failed);
	if (failed == 0)
		return 0;
	host_linux_fini();
	return -EINVAL;
}

static void __exit
hosttest_exit(void)
{
	host_linux_fini();
}

module_init(hosttest_init);
module_exit(hosttest_exit);

MODULE_DESCRIPTION("skep: tests of what the memory core is offered by Linux");
MODULE_AUTHOR("The skep authors");
MODULE_LICENSE("Dual BSD/GPL");
