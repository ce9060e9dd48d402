/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Stacks of fibers, and the portable switch. Stacks are kept for the next run when a fiber ends: a
 * process simulates thousands of machines.
 */

#define _GNU_SOURCE /* pthread_getattr_np() */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "sim/machine/fiber.h"
#include "sim/machine/fiber_native.h"
#include "sim/machine/poison.h"

#if FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* Deep enough for the core (whose frames are small) and for printf; sanitizers want far more. */
#if FIBER_ASAN || FIBER_TSAN
#define STACK_BYTES ((size_t)512 << 10)
#else
#define STACK_BYTES ((size_t)128 << 10)
#endif
#define GUARD_BYTES ((size_t)16 << 10)

/* Stacks that nobody uses: as many as a machine has fibers, and some. */
#define SPARES_MAX 64
static void *spare_stacks[SPARES_MAX];
static unsigned int nspare_stacks;

static void *
stack_take(void)
{
	if (nspare_stacks > 0)
		return spare_stacks[--nspare_stacks];
	char *p = mmap(NULL, STACK_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (mprotect(p, GUARD_BYTES, PROT_NONE) != 0) {
		munmap(p, STACK_BYTES + GUARD_BYTES);
		return NULL;
	}
#if PMAP_VALGRIND
	VALGRIND_STACK_REGISTER(p + GUARD_BYTES, p + GUARD_BYTES + STACK_BYTES);
#endif
	return p + GUARD_BYTES;
}

static void
stack_give(void *stack)
{
	if (nspare_stacks < SPARES_MAX)
		spare_stacks[nspare_stacks++] = stack;
	else
		munmap((char *)stack - GUARD_BYTES, STACK_BYTES + GUARD_BYTES);
}

void
fiber_init_main(struct fiber *f)
{
	*f = (struct fiber){0};
#if FIBER_ASAN
	pthread_attr_t attr;
	if (pthread_getattr_np(pthread_self(), &attr) == 0) {
		pthread_attr_getstack(&attr, &f->fi_bounds, &f->fi_bounds_bytes);
		pthread_attr_destroy(&attr);
	}
#endif
#if FIBER_TSAN
	f->fi_tsan = __tsan_get_current_fiber();
#endif
}

/* The last part of every switch, on the stack of the fiber that goes on. */
static void
fiber_arrive(struct fiber *f)
{
#if FIBER_ASAN
	__sanitizer_finish_switch_fiber(f->fi_fake, NULL, NULL);
#endif
	(void)f;
}

#if FIBER_NATIVE

static void
context_make(struct fiber *f)
{
	void **sp = (void **)((char *)f->fi_stack + STACK_BYTES);

	/* One word of padding keeps the ABI's alignment at the call in fiber_native_start(). */
	*--sp = NULL;
	*--sp = NULL;
	*--sp = (void *)(uintptr_t)fiber_native_start;
	*--sp = NULL;				/* rbp */
	*--sp = NULL;				/* rbx */
	*--sp = f->fi_arg;			/* r12 */
	*--sp = (void *)(uintptr_t)f->fi_entry; /* r13 */
	*--sp = NULL;				/* r14 */
	*--sp = NULL;				/* r15 */
	f->fi_sp = sp;
}

#else

/* makecontext() hands on integers only. */
static void
context_start(unsigned int high, unsigned int low)
{
	struct fiber *f = (struct fiber *)(((uintptr_t)high << 16 << 16) | low);

	fiber_arrive(f);
	f->fi_entry(f->fi_arg);
	abort();
}

static void
context_make(struct fiber *f)
{
	uintptr_t p = (uintptr_t)f;

	getcontext(&f->fi_context);
	f->fi_context.uc_stack.ss_sp = f->fi_stack;
	f->fi_context.uc_stack.ss_size = STACK_BYTES;
	f->fi_context.uc_link = NULL;
	makecontext(&f->fi_context, (void (*)(void))(uintptr_t)context_start, 2,
		    (unsigned int)(p >> 16 >> 16), (unsigned int)p);
}

#endif

bool
fiber_begin(struct fiber *f, void (*entry)(void *arg), void *arg)
{
	fiber_end(f);
	void *stack = stack_take();
	if (stack == NULL)
		return false;
	/* Its last user may have left it in the middle of a function. */
	memory_expose(stack, STACK_BYTES);
	f->fi_stack = stack;
	f->fi_bounds = stack;
	f->fi_bounds_bytes = STACK_BYTES;
	f->fi_entry = entry;
	f->fi_arg = arg;
	f->fi_fake = NULL;
#if FIBER_TSAN
	f->fi_tsan = __tsan_create_fiber(0);
#endif
	context_make(f);
	return true;
}

void
fiber_end(struct fiber *f)
{
	if (f->fi_stack == NULL)
		return;
#if FIBER_TSAN
	__tsan_destroy_fiber(f->fi_tsan);
	f->fi_tsan = NULL;
#endif
	stack_give(f->fi_stack);
	f->fi_stack = NULL;
}

void
fiber_switch(struct fiber *from, struct fiber *to, bool last)
{
#if FIBER_ASAN
	__sanitizer_start_switch_fiber(last ? NULL : &from->fi_fake, to->fi_bounds,
				       to->fi_bounds_bytes);
#endif
#if FIBER_TSAN
	__tsan_switch_to_fiber(to->fi_tsan, 0);
#endif
#if FIBER_NATIVE
	(void)last;
	fiber_native_switch(&from->fi_sp, to->fi_sp);
#else
	(void)last;
	swapcontext(&from->fi_context, &to->fi_context);
#endif
	fiber_arrive(from);
}
