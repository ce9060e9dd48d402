/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What a program that embeds libpmap may ask of its POSIX host.
 *
 * None of this is needed to begin: the host sets itself up when the first thread calls the library.
 *
 * Table pages live in an arena of the host's own; their host-physical addresses are offsets in it,
 * between HOST_POSIX_TABLES_START and HOST_POSIX_TABLES_END. What addresses data pages have is the
 * program's affair: the core never touches them.
 */

#ifndef PMAP_POSIX_HOST_POSIX_H
#define PMAP_POSIX_HOST_POSIX_H

#include "pmap/host.h"

/* From 1 MiB, so that no table is at address 0, to 4 GiB, which CPUs of 36 bits can name. */
#define HOST_POSIX_TABLES_START ((uint64_t)1 << 20)
#define HOST_POSIX_TABLES_END ((uint64_t)1 << 32)

/* ---- CPUs ---------------------------------------------------------------------------------- */

/*
 * Makes the calling thread a CPU now, instead of at its first use of the library, where having no
 * CPU number left is fatal. 0, or -EAGAIN if HOST_MAX_CPUS threads are CPUs already, or -ENOMEM.
 */
int host_posix_cpu_register(void);

/* Gives the CPU number back before the thread ends. No open epoch section, no lock held. */
void host_posix_cpu_release(void);

/* Whether a kick has come for this thread since the last call. Poll it in guest mode. */
bool host_posix_kick_taken(void);

/* How the calling thread's CPU learns of what a real one does in hardware. All may be NULL. */
struct host_posix_hooks {
	/* Called by the thread that kicks, whatever it holds: must not call the library. */
	void (*ph_kick)(void *arg, unsigned int cpu);

	/* Called by this thread, for host_invlpg() and host_flush_tlb(). */
	void (*ph_invlpg)(void *arg, uint64_t va, uint64_t npages);
	void (*ph_flush_tlb)(void *arg, bool global);

	/* Called by this thread, for host_trace(): whatever it holds, so it must not call back. */
	void (*ph_trace)(void *arg, enum host_trace_event event, uint64_t a, uint64_t b,
			 uint64_t c);
	void *ph_arg;

	/* Kicks also send SIGURG to this thread: blocking system calls end with EINTR. */
	bool ph_signal;
};

/* Sets the hooks of the calling thread's CPU; NULL removes them. They end with the thread. */
void host_posix_set_hooks(const struct host_posix_hooks *hooks);

struct host_posix_cpu_stats {
	uint64_t cs_kicks; /* received */
	uint64_t cs_invlpg_pages;
	uint64_t cs_flushes;
	uint64_t cs_global_flushes;
};

/* Of one CPU number, over all threads that had it. Exact when that CPU is at rest. */
void host_posix_cpu_stats(unsigned int cpu, struct host_posix_cpu_stats *stats);

/* ---- Accounts and faults --------------------------------------------------------------------- */

/* Table pages and pieces of host_alloc() that are in use. Exact when no other thread is inside. */
uint64_t host_posix_tables_in_use(void);
uint64_t host_posix_allocs_in_use(void);

/* Deferred items that have not run yet. */
uint64_t host_posix_deferred(void);

/*
 * Makes the nth allocation from now on fail (1 is the next one), of table pages and host_alloc()
 * together, in whatever thread; if persistent, all later ones too. 0 ends it.
 */
void host_posix_fail_alloc(uint64_t nth, bool persistent);

/* And after that failure another one: the nth from there on. Ends with it, too. */
void host_posix_fail_alloc_again(uint64_t nth);

/* Allocations that were made to fail since the last host_posix_fail_alloc(). */
uint64_t host_posix_failed_allocs(void);

/* Counts as an allocation, for what a program allocates beside the host; whether it must fail. */
bool host_posix_alloc_fails(void);

/*
 * Called instead of a message and abort() when an assertion fails, in the thread where it did. It
 * may leave by longjmp(); if it returns, the process ends as usual. NULL restores the default.
 */
void host_posix_set_assert_handler(void (*handler)(const char *file, int line, const char *what));

#endif /* PMAP_POSIX_HOST_POSIX_H */
