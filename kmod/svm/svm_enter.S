/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The few instructions around VMRUN.
 *
 * VMRUN itself switches what a context needs to run: RIP, RSP, RAX, flags, control registers, most
 * segments. VMSAVE and VMLOAD switch the rest, which one may defer: FS, GS, TR, LDTR, the registers
 * of SYSCALL and SYSENTER. They are executed each time, since between two entries the host may run
 * anything. The other general registers are ours to move.
 *
 * GIF is 0 from before to after (svm_run.c), so nothing interrupts while GS is not the kernel's.
 * RFLAGS.IF must be 1 at VMRUN all the same: with V_INTR_MASKING it decides whether an interrupt of
 * the host's, such as a kick, makes the guest exit. STI is not the instruction before it: QEMU's
 * emulated CPU would take the shadow of that STI into the guest, where a STI that comes first has
 * none of its own then, and an interrupt comes between it and the HLT that waits for it.
 *
 * After the exit no register keeps a value of the guest's, so that none can be used speculatively,
 * and the return predictor is refilled, as the kernel wants it when it comes from code that it
 * does not trust. Guests run with the host's SPEC_CTRL; they are not offered one of their own.
 */

#include <linux/linkage.h>
#include <asm/nospec-branch.h>

#include "svm_asm.h"

#define GPR(r) (SVM_GPR_##r * 8)

	.text

/*
 * void svm_enter_guest(u64 *gprs (%rdi), u64 vmcb_pa (%rsi), u64 host_pa (%rdx))
 *
 * host_pa is a page where this CPU keeps what VMSAVE saves of the host. RAX and RSP of the guest
 * are in the VMCB.
 */
SYM_FUNC_START(svm_enter_guest)
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rdi
	push	%rdx

	mov	%rdx, %rax
	vmsave	%rax

	sti
	mov	%rsi, %rax
	vmload	%rax
	mov	GPR(RBX)(%rdi), %rbx
	mov	GPR(RCX)(%rdi), %rcx
	mov	GPR(RDX)(%rdi), %rdx
	mov	GPR(RSI)(%rdi), %rsi
	mov	GPR(RBP)(%rdi), %rbp
	mov	GPR(R8)(%rdi), %r8
	mov	GPR(R9)(%rdi), %r9
	mov	GPR(R10)(%rdi), %r10
	mov	GPR(R11)(%rdi), %r11
	mov	GPR(R12)(%rdi), %r12
	mov	GPR(R13)(%rdi), %r13
	mov	GPR(R14)(%rdi), %r14
	mov	GPR(R15)(%rdi), %r15
	mov	GPR(RDI)(%rdi), %rdi

	vmrun	%rax
	cli

	/* RSP is the host's again, and RAX: the VMCB's address. */
	vmsave	%rax
	pop	%rax
	vmload	%rax

	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT

	pop	%rax
	mov	%rbx, GPR(RBX)(%rax)
	mov	%rcx, GPR(RCX)(%rax)
	mov	%rdx, GPR(RDX)(%rax)
	mov	%rsi, GPR(RSI)(%rax)
	mov	%rdi, GPR(RDI)(%rax)
	mov	%rbp, GPR(RBP)(%rax)
	mov	%r8, GPR(R8)(%rax)
	mov	%r9, GPR(R9)(%rax)
	mov	%r10, GPR(R10)(%rax)
	mov	%r11, GPR(R11)(%rax)
	mov	%r12, GPR(R12)(%rax)
	mov	%r13, GPR(R13)(%rax)
	mov	%r14, GPR(R14)(%rax)
	mov	%r15, GPR(R15)(%rax)

	UNTRAIN_RET

	xor	%eax, %eax
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d

	/* These hold the guest's until here, and then the caller's. */
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	RET
SYM_FUNC_END(svm_enter_guest)
