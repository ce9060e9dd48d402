/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The POSIX host: threads as CPUs, their kicks, and the slow side of locks.
 *
 * A CPU number is taken under a mutex and given back by a thread-specific destructor. What belongs
 * to a number and not to a thread (counters, pools of pages, deferred items) stays with it, so a
 * thread that ends leaves nothing behind that the next one, or a drain, would not find.
 */

#include "pmap/posix/host_posix.h"
#include "pmap/posix/host_priv.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__thread struct host_posix_cpu *host_posix_self;

static struct host_posix_cpu cpus[HOST_MAX_CPUS];

/* What kickers need to know of a CPU. Under cl_lock, except the words. */
static struct cpu_line {
	struct host_lock cl_lock;
	bool cl_online;
	pthread_t cl_thread;
	struct host_posix_hooks cl_hooks;
	struct host_word cl_kicks;
	struct host_word cl_invlpg_pages;
	struct host_word cl_flushes;
	struct host_word cl_global_flushes;
} __attribute__((aligned(128))) lines[HOST_MAX_CPUS];

static pthread_mutex_t enlisting = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t exit_key;
static bool ready;

static void (*assert_handler)(const char *file, int line, const char *what);

/* ---- Assertions ---------------------------------------------------------------------------- */

void
host_posix_set_assert_handler(void (*handler)(const char *file, int line, const char *what))
{
	__atomic_store_n(&assert_handler, handler, __ATOMIC_RELEASE);
}

void
host_posix_assert_failed(const char *file, int line, const char *what)
{
	void (*handler)(const char *, int, const char *) =
		__atomic_load_n(&assert_handler, __ATOMIC_ACQUIRE);

	if (handler)
		handler(file, line, what);
	fprintf(stderr, "libpmap: %s:%d: assertion failed: %s\n", file, line, what);
	abort();
}

/* ---- Threads become CPUs ------------------------------------------------------------------- */

static void
leave(struct host_posix_cpu *self)
{
	struct cpu_line *line = &lines[self->pc_id];

	HOST_ASSERT(self->pc_nest == 0 && self->pc_held == 0 && self->pc_mutexes_held == 0);
	if (self->pc_backlog > 0)
		host_posix_epoch_run();
	host_lock(&line->cl_lock);
	line->cl_online = false;
	line->cl_hooks = (struct host_posix_hooks){0};
	host_unlock(&line->cl_lock);

	pthread_mutex_lock(&enlisting);
	host_store_release(&self->pc_online, 0);
	host_posix_self = NULL;
	pthread_mutex_unlock(&enlisting);
}

/* Destructors of other keys may have made the thread a CPU anew: this is then called once more. */
static void
at_thread_exit(void *self)
{
	leave(self);
}

/* Once per process, under the mutex. */
static int
set_up(void)
{
	int error;

	if (ready)
		return 0;
	error = host_posix_arena_set_up();
	if (error == 0)
		error = -pthread_key_create(&exit_key, at_thread_exit);
	if (error != 0)
		return error;
	for (unsigned int i = 0; i < HOST_MAX_CPUS; i++) {
		cpus[i].pc_id = i;
		host_lock_init(&lines[i].cl_lock, HOST_POSIX_RANK);
	}
	host_posix_epoch_set_up();
	ready = true;
	return 0;
}

static int
take_number(void)
{
	for (unsigned int i = 0; i < HOST_MAX_CPUS; i++) {
		if (host_load(&cpus[i].pc_online) == 0) {
			int error = pthread_setspecific(exit_key, &cpus[i]);

			if (error != 0)
				return -error;
			host_store(&cpus[i].pc_kicked, 0);
			host_store(&cpus[i].pc_interrupted, 0);
			host_store_release(&cpus[i].pc_online, 1);
			host_posix_self = &cpus[i];
			return 0;
		}
	}
	return -EAGAIN;
}

int
host_posix_cpu_register(void)
{
	struct cpu_line *line;
	int error;

	if (host_posix_self)
		return 0;
	pthread_mutex_lock(&enlisting);
	error = set_up();
	if (error == 0)
		error = take_number();
	pthread_mutex_unlock(&enlisting);
	if (error != 0)
		return error;

	line = &lines[host_posix_self->pc_id];
	host_lock(&line->cl_lock);
	line->cl_thread = pthread_self();
	line->cl_online = true;
	host_unlock(&line->cl_lock);
	return 0;
}

struct host_posix_cpu *
host_posix_cpu_enlist(void)
{
	int error = host_posix_cpu_register();

	if (error == -EAGAIN) {
		fprintf(stderr, "libpmap: more than %d threads use the library at once\n",
			HOST_MAX_CPUS);
		abort();
	}
	if (error != 0) {
		fprintf(stderr, "libpmap: no address space to set up: %s\n", strerror(-error));
		abort();
	}
	return host_posix_self;
}

void
host_posix_cpu_release(void)
{
	if (!host_posix_self)
		return;
	pthread_setspecific(exit_key, NULL);
	leave(host_posix_self);
}

struct host_posix_cpu *
host_posix_cpu_at(unsigned int cpu)
{
	return &cpus[cpu];
}

/* ---- Locks --------------------------------------------------------------------------------- */

/* Spins a while, then lets others run: with more threads than processors the holder may be waiting
 * for this one. */
void
host_posix_lock_wait(struct host_lock *l, uint32_t me)
{
	unsigned int turns = 0;

	for (;;) {
		uint32_t free_lock = 0;

		if (__atomic_load_n(&l->hl_owner, __ATOMIC_RELAXED) == 0 &&
		    __atomic_compare_exchange_n(&l->hl_owner, &free_lock, me, false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return;
		host_posix_pause();
		if (++turns % 64 == 0)
			sched_yield();
	}
}

/* ---- Kicks --------------------------------------------------------------------------------- */

static void
on_signal(int signo)
{
	(void)signo; /* interrupting what the thread does is all it is for */
}

void
host_posix_kick(unsigned int cpu)
{
	struct cpu_line *line = &lines[cpu];

	if (cpu == host_cpu() || host_load(&cpus[cpu].pc_online) == 0)
		return;
	host_lock(&line->cl_lock);
	if (line->cl_online) {
		host_count(&line->cl_kicks, 1);
		host_store_release(&cpus[cpu].pc_kicked, 1);
		if (line->cl_hooks.ph_kick)
			line->cl_hooks.ph_kick(line->cl_hooks.ph_arg, cpu);
		if (line->cl_hooks.ph_signal)
			pthread_kill(line->cl_thread, SIGURG);
	}
	host_unlock(&line->cl_lock);
}

bool
host_posix_kick_taken(void)
{
	struct host_posix_cpu *self = host_posix_this();

	return host_load(&self->pc_kicked) != 0 && host_xchg(&self->pc_kicked, 0) != 0;
}

void
host_posix_set_hooks(const struct host_posix_hooks *hooks)
{
	struct cpu_line *line = &lines[host_cpu()];

	if (hooks && hooks->ph_signal) {
		struct sigaction action = {.sa_handler = on_signal};

		sigemptyset(&action.sa_mask);
		sigaction(SIGURG, &action, NULL);
	}
	host_lock(&line->cl_lock);
	line->cl_hooks = hooks ? *hooks : (struct host_posix_hooks){0};
	host_unlock(&line->cl_lock);
}

/* ---- The TLB that a process does not have ---------------------------------------------------- */

/* Only this thread writes its hooks, so it may read them without the lock. */
void
host_posix_invlpg(uint64_t va, uint64_t npages)
{
	struct cpu_line *line = &lines[host_cpu()];

	host_count(&line->cl_invlpg_pages, npages);
	if (line->cl_hooks.ph_invlpg)
		line->cl_hooks.ph_invlpg(line->cl_hooks.ph_arg, va, npages);
}

void
host_posix_flush_tlb(bool global)
{
	struct cpu_line *line = &lines[host_cpu()];

	host_count(global ? &line->cl_global_flushes : &line->cl_flushes, 1);
	if (line->cl_hooks.ph_flush_tlb)
		line->cl_hooks.ph_flush_tlb(line->cl_hooks.ph_arg, global);
}

void
host_posix_trace(enum host_trace_event event, uint64_t a, uint64_t b, uint64_t c)
{
	const struct host_posix_hooks *hooks = &lines[host_cpu()].cl_hooks;

	if (hooks->ph_trace)
		hooks->ph_trace(hooks->ph_arg, event, a, b, c);
}

void
host_posix_cpu_stats(unsigned int cpu, struct host_posix_cpu_stats *stats)
{
	const struct cpu_line *line = &lines[cpu];

	HOST_ASSERT(cpu < HOST_MAX_CPUS);
	stats->cs_kicks = host_load(&line->cl_kicks);
	stats->cs_invlpg_pages = host_load(&line->cl_invlpg_pages);
	stats->cs_flushes = host_load(&line->cl_flushes);
	stats->cs_global_flushes = host_load(&line->cl_global_flushes);
}
