/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The POSIX world for tests (world.h): actors are threads, which a barrier lets start together.
 */

#include "tests/unit/world_check.h"
#include "vmspace/posix/host_vm_posix.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <setjmp.h>

const char world_name[] = "posix";
const unsigned int world_rounds = 3;

static uint64_t tables_before;
static uint64_t allocs_before;
static uint64_t pages_before;
static uint64_t domains_before;

struct actor {
	pthread_t ac_thread;
	pthread_barrier_t *ac_start;
	void (*ac_fn)(void *arg, unsigned int i);
	void *ac_arg;
	unsigned int ac_i;
};

static void
make_fail(const struct world_config *cfg)
{
	uint64_t nth = cfg->wc_fail_table;

	cr_assert(cfg->wc_actors <= WORLD_ACTORS_MAX);
	nth = nth ? nth : cfg->wc_fail_alloc;
	nth = nth ? nth : cfg->wc_fail_page;
	nth = nth ? nth : cfg->wc_fail_iommu;
	host_posix_fail_alloc(nth, cfg->wc_fail_persistently);
	if (cfg->wc_fail_read)
		host_vm_posix_fail_swap(HOST_VM_POSIX_READ, cfg->wc_fail_read,
					cfg->wc_fail_persistently);
	if (cfg->wc_fail_write)
		host_vm_posix_fail_swap(HOST_VM_POSIX_WRITE, cfg->wc_fail_write,
					cfg->wc_fail_persistently);
}

void
world_begin(const struct world_config *cfg)
{
	cr_assert_eq(host_posix_cpu_register(), 0);
	world_check_begin();
	tables_before = host_posix_tables_in_use();
	allocs_before = host_posix_allocs_in_use();
	pages_before = host_vm_posix_pages_in_use();
	domains_before = host_vm_posix_iommu_domains();
	if (cfg)
		make_fail(cfg);
}

void
world_end(void)
{
	host_posix_fail_alloc(0, false);
	host_vm_posix_fail_swap(0, 0, false);
	host_epoch_drain();
	world_check_end();
	cr_assert_eq(host_posix_deferred(), 0);
	cr_assert_eq(host_posix_tables_in_use(), tables_before, "table pages were not freed");
	cr_assert_eq(host_posix_allocs_in_use(), allocs_before, "host_alloc() was not freed");
	cr_assert_eq(host_vm_posix_pages_in_use(), pages_before, "pages were not freed");
	cr_assert_eq(host_vm_posix_iommu_domains(), domains_before, "a domain is left");
}

static void *
act(void *arg)
{
	struct actor *a = arg;

	pthread_barrier_wait(a->ac_start);
	a->ac_fn(a->ac_arg, a->ac_i);
	return NULL;
}

void
world_run(unsigned int n, void (*fn)(void *arg, unsigned int i), void *arg)
{
	struct actor actors[WORLD_ACTORS_MAX];
	pthread_barrier_t start;

	cr_assert(n <= WORLD_ACTORS_MAX);
	pthread_barrier_init(&start, NULL, n);
	for (unsigned int i = 0; i < n; i++) {
		actors[i] =
			(struct actor){.ac_start = &start, .ac_fn = fn, .ac_arg = arg, .ac_i = i};
		cr_assert_eq(pthread_create(&actors[i].ac_thread, NULL, act, &actors[i]), 0);
	}
	for (unsigned int i = 0; i < n; i++)
		pthread_join(actors[i].ac_thread, NULL);
	pthread_barrier_destroy(&start);
}

/* ---- Broken rules ---------------------------------------------------------------------------- */

static jmp_buf stopped;

static void
stop(const char *file, int line, const char *what)
{
	(void)file;
	(void)line;
	(void)what;
	longjmp(stopped, 1);
}

/* Apart from what the caller keeps in registers, which a longjmp() would lose. */
static __attribute__((noinline)) bool
returns(void (*fn)(void *arg), void *arg)
{
	if (setjmp(stopped) != 0)
		return false;
	fn(arg);
	return true;
}

/*
 * In this thread, so that what fn leaves behind (a lock held, a section open) is here to be
 * cleared: the CPU is put back as it was.
 */
bool
world_stops(void (*fn)(void *arg), void *arg)
{
	struct host_posix_cpu *self = host_posix_this();
	const unsigned int nest = self->pc_nest;
	const unsigned int held = self->pc_held;
	const unsigned int mutexes = self->pc_mutexes_held;
	bool returned;

	host_posix_set_assert_handler(stop);
	returned = returns(fn, arg);
	host_posix_set_assert_handler(NULL);
	while (self->pc_held > held)
		host_unlock((struct host_lock *)self->pc_locks[self->pc_held - 1]);
	while (self->pc_nest > nest)
		host_epoch_exit();
	while (self->pc_mutexes_held > mutexes)
		host_mutex_unlock((struct host_mutex *)self->pc_mutexes[mutexes]);
	return !returned;
}

/* ---- Accounts -------------------------------------------------------------------------------- */

uint64_t
world_tables_in_use(void)
{
	return host_posix_tables_in_use();
}

uint64_t
world_pages_in_use(void)
{
	return host_vm_posix_pages_in_use();
}

/* The highest number; as numbers are given out from the lowest, nobody has it. */
unsigned int
world_offline_cpu(void)
{
	return HOST_MAX_CPUS - 1;
}

void
world_interrupt(unsigned int cpu)
{
	host_vm_posix_interrupt(cpu, true);
}

void
world_interrupt_end(void)
{
	host_vm_posix_interrupt(host_cpu(), false);
}

uint64_t
world_tlb_pages(void)
{
	struct host_posix_cpu_stats stats;

	host_posix_cpu_stats(host_cpu(), &stats);
	return stats.cs_invlpg_pages;
}

uint64_t
world_tlb_flushes(bool global)
{
	struct host_posix_cpu_stats stats;

	host_posix_cpu_stats(host_cpu(), &stats);
	return global ? stats.cs_global_flushes : stats.cs_flushes;
}
