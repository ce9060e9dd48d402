/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The fiber switch for x86-64: saves what a called function must preserve (System V ABI 3.2.1),
 * changes the stack, restores. The control words of SSE and x87 are preserved too by that rule, but
 * nothing here changes them.
 */

#include "sim/machine/fiber.h"
#include "sim/machine/fiber_native.h"

#if FIBER_NATIVE

__attribute__((naked, noinline)) void
fiber_native_switch(void **save __attribute__((unused)), void *to __attribute__((unused)))
{
	__asm__("pushq %rbp\n\t"
		"pushq %rbx\n\t"
		"pushq %r12\n\t"
		"pushq %r13\n\t"
		"pushq %r14\n\t"
		"pushq %r15\n\t"
		"movq %rsp, (%rdi)\n\t"
		"movq %rsi, %rsp\n\t"
		"popq %r15\n\t"
		"popq %r14\n\t"
		"popq %r13\n\t"
		"popq %r12\n\t"
		"popq %rbx\n\t"
		"popq %rbp\n\t"
		"ret");
}

/* Where a new fiber's first switch returns to: r12 holds the argument, r13 the function. */
__attribute__((naked, noinline)) void
fiber_native_start(void)
{
	__asm__("movq %r12, %rdi\n\t"
		"xorl %ebp, %ebp\n\t"
		"callq *%r13\n\t"
		"ud2");
}

#endif
