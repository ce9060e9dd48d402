/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Into the guest and back: the general registers, which VT-x does not switch.
 *
 *	int vmx_enter_guest(u64 *regs, unsigned long launched)
 *
 * regs is in the order of enum vmm_reg, RAX to R15 without RSP. Returns 0 after an exit, and after
 * an entry that failed while it loaded the guest's state; 1 if VMLAUNCH or VMRESUME itself failed
 * (SDM vol. 3C 31.2), in which case the guest's registers are as they were.
 *
 * An exit comes to vmx_exit_point with the stack as we left it and all other registers the guest's.
 * They are cleared once they are saved, so that nothing that runs speculatively later computes with
 * the guest's values. What this does not do: IBRS, stuffing of the return stack buffer, flushes
 * of L1D and of CPU buffers (MDS). Who needs them for guests that are not trusted must not use this
 * version.
 */

#include <linux/linkage.h>
#include <asm/nospec-branch.h>
#include <asm/unwind_hints.h>

#include "kmod/vmx/vmcs.h"

#define REG(n) (8 * (n))

	.text

SYM_FUNC_START(vmx_enter_guest)
	push %rbp
	push %r15
	push %r14
	push %r13
	push %r12
	push %rbx
	push %rdi
	mov $VMCS_HOST_RSP, %eax
	vmwrite %rsp, %rax

	test %rsi, %rsi		/* MOV leaves the flags alone */
	mov REG(0)(%rdi), %rax
	mov REG(1)(%rdi), %rbx
	mov REG(2)(%rdi), %rcx
	mov REG(3)(%rdi), %rdx
	mov REG(4)(%rdi), %rsi
	mov REG(6)(%rdi), %rbp
	mov REG(7)(%rdi), %r8
	mov REG(8)(%rdi), %r9
	mov REG(9)(%rdi), %r10
	mov REG(10)(%rdi), %r11
	mov REG(11)(%rdi), %r12
	mov REG(12)(%rdi), %r13
	mov REG(13)(%rdi), %r14
	mov REG(14)(%rdi), %r15
	mov REG(5)(%rdi), %rdi
	UNWIND_HINT_SAVE
	jnz .Lresume
	vmlaunch
	jmp .Lfailed
.Lresume:
	vmresume
.Lfailed:
	mov $1, %eax
	jmp .Lout

SYM_INNER_LABEL(vmx_exit_point, SYM_L_GLOBAL)
	UNWIND_HINT_RESTORE
	ENDBR
	push %rdi
	mov 8(%rsp), %rdi
	mov %rax, REG(0)(%rdi)
	mov %rbx, REG(1)(%rdi)
	mov %rcx, REG(2)(%rdi)
	mov %rdx, REG(3)(%rdi)
	mov %rsi, REG(4)(%rdi)
	mov %rbp, REG(6)(%rdi)
	mov %r8, REG(7)(%rdi)
	mov %r9, REG(8)(%rdi)
	mov %r10, REG(9)(%rdi)
	mov %r11, REG(10)(%rdi)
	mov %r12, REG(11)(%rdi)
	mov %r13, REG(12)(%rdi)
	mov %r14, REG(13)(%rdi)
	mov %r15, REG(14)(%rdi)
	pop REG(5)(%rdi)
	xor %eax, %eax
.Lout:
	add $8, %rsp		/* regs */
	xor %ecx, %ecx
	xor %edx, %edx
	xor %esi, %esi
	xor %edi, %edi
	xor %r8d, %r8d
	xor %r9d, %r9d
	xor %r10d, %r10d
	xor %r11d, %r11d
	pop %rbx
	pop %r12
	pop %r13
	pop %r14
	pop %r15
	pop %rbp
	RET
SYM_FUNC_END(vmx_enter_guest)
