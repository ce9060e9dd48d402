/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Fibers: stacks that take turns in one thread.
 *
 * On x86-64 a switch is a dozen instructions (fiber_x86_64.c); elsewhere, and under
 * AddressSanitizer and ThreadSanitizer, which must see each switch, it is swapcontext() with their
 * annotations. Valgrind is told of each stack when it is made.
 */

#ifndef SIM_FIBER_H
#define SIM_FIBER_H

#include <stdbool.h>
#include <stddef.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#else
#define FIBER_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define FIBER_TSAN 1
#else
#define FIBER_TSAN 0
#endif
#if defined(__x86_64__) && !FIBER_ASAN && !FIBER_TSAN
#define FIBER_NATIVE 1
#else
#define FIBER_NATIVE 0
#include <ucontext.h>
#endif

struct fiber {
	void *fi_sp; /* native: saved stack pointer */
#if !FIBER_NATIVE
	ucontext_t fi_context;
#endif
	void *fi_stack; /* lowest usable byte; NULL: none, or the thread's own */
	void (*fi_entry)(void *arg);
	void *fi_arg;
	void *fi_bounds; /* AddressSanitizer's: the stack's extent, and its stack of fakes */
	size_t fi_bounds_bytes;
	void *fi_fake;
	void *fi_tsan; /* ThreadSanitizer's */
};

/* Makes *f stand for the thread's own stack, from which the first switch is made. */
void fiber_init_main(struct fiber *f);

/*
 * Gives f a stack and a beginning; entry must never return. False if memory is short. A fiber that
 * has been left, for good or not, may be begun anew.
 */
bool fiber_begin(struct fiber *f, void (*entry)(void *arg), void *arg);

/* Gives the stack back; the fiber must not be running. No-op if it has none. */
void fiber_end(struct fiber *f);

/* Leaves `from`, goes on in `to`. If `last`, from will not be switched to again. */
void fiber_switch(struct fiber *from, struct fiber *to, bool last);

#endif /* SIM_FIBER_H */
