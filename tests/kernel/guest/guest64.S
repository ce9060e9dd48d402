/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Where the guest begins, and what C cannot say: storing and loading all registers, handlers of
 * events, and code for the two other modes. The linker script puts each section at its address of
 * guest.h.
 */

#include "guest.h"

	.section .entries, "ax"
	.code64
	jmp	call
	.org	0x10
	jmp	store
	.org	0x20
	jmp	load

call:
	cld
	call	*guest_calls(, %rax, 8)
1:	out	%eax, $GUEST_PORT_DONE
	jmp	1b

/* ---- Registers ------------------------------------------------------------------------------- */

#define AT(base, index) (base + 8 * (index))

/* Stores what it was entered with; needs no stack of the caller's, and changes nothing before. */
store:
	mov	%rax, AT(GUEST_REGS, 0)
	mov	%rbx, AT(GUEST_REGS, 1)
	mov	%rcx, AT(GUEST_REGS, 2)
	mov	%rdx, AT(GUEST_REGS, 3)
	mov	%rsi, AT(GUEST_REGS, 4)
	mov	%rdi, AT(GUEST_REGS, 5)
	mov	%rbp, AT(GUEST_REGS, 6)
	mov	%r8, AT(GUEST_REGS, 7)
	mov	%r9, AT(GUEST_REGS, 8)
	mov	%r10, AT(GUEST_REGS, 9)
	mov	%r11, AT(GUEST_REGS, 10)
	mov	%r12, AT(GUEST_REGS, 11)
	mov	%r13, AT(GUEST_REGS, 12)
	mov	%r14, AT(GUEST_REGS, 13)
	mov	%r15, AT(GUEST_REGS, 14)
	mov	%rsp, AT(GUEST_REGS, 15)
	mov	$GUEST_STACKS + GUEST_PAGE, %rsp
	pushf
	pop	%rax
	mov	%rax, AT(GUEST_REGS, 16)
	mov	$AT(GUEST_REGS, 17), %rdi
	.macro	keep reg
	mov	%\reg, %rax
	mov	%rax, (%rdi)
	add	$8, %rdi
	.endm
	.irp	reg, cr0, cr2, cr3, cr4, cr8, dr0, dr1, dr2, dr3, dr6, dr7
	keep	\reg
	.endr
	xor	%eax, %eax
	.irp	reg, es, cs, ss, ds, fs, gs
	mov	%\reg, %ax
	mov	%rax, (%rdi)
	add	$8, %rdi
	.endr
	sldt	%ax
	mov	%rax, (%rdi)
	str	%ax
	mov	%rax, 8(%rdi)
	add	$16, %rdi
	sub	$16, %rsp
	.irp	insn, sgdt, sidt
	\insn	6(%rsp)
	mov	8(%rsp), %rax
	mov	%rax, (%rdi)
	movzwl	6(%rsp), %eax
	mov	%rax, 8(%rdi)
	add	$16, %rdi
	.endr
	lea	msrs(%rip), %rsi
1:	mov	(%rsi), %ecx
	test	%ecx, %ecx
	jz	2f
	rdmsr
	mov	%eax, (%rdi)
	mov	%edx, 4(%rdi)
	add	$8, %rdi
	add	$4, %rsi
	jmp	1b
2:	movups	%xmm0, (%rdi)
	movups	%xmm15, 16(%rdi)
3:	out	%eax, $GUEST_PORT_DONE
	jmp	3b

/* Loads what can be loaded by an instruction, from GUEST_REGS_IN; RFLAGS last. */
load:
	.macro	fetch reg, index
	mov	AT(GUEST_REGS_IN, \index), %rax
	mov	%rax, %\reg
	.endm
	fetch	cr2, 18
	fetch	cr8, 21
	fetch	dr0, 22
	fetch	dr1, 23
	fetch	dr2, 24
	fetch	dr3, 25
	fetch	dr6, 26
	movups	AT(GUEST_REGS_IN, 52), %xmm0
	movups	AT(GUEST_REGS_IN, 54), %xmm15
	mov	$AT(GUEST_REGS_IN, 40), %rdi /* EFER is the host's to set */
	lea	msrs + 4(%rip), %rsi
	add	$8, %rdi
1:	mov	(%rsi), %ecx
	test	%ecx, %ecx
	jz	2f
	mov	(%rdi), %eax
	mov	4(%rdi), %edx
	cmp	$0xc0000080, %ecx
	je	3f
	wrmsr
3:	add	$8, %rdi
	add	$4, %rsi
	jmp	1b
2:	mov	AT(GUEST_REGS_IN, 16), %rax
	push	%rax
	popf
	mov	AT(GUEST_REGS_IN, 1), %rbx
	mov	AT(GUEST_REGS_IN, 2), %rcx
	mov	AT(GUEST_REGS_IN, 3), %rdx
	mov	AT(GUEST_REGS_IN, 4), %rsi
	mov	AT(GUEST_REGS_IN, 5), %rdi
	mov	AT(GUEST_REGS_IN, 6), %rbp
	mov	AT(GUEST_REGS_IN, 7), %r8
	mov	AT(GUEST_REGS_IN, 8), %r9
	mov	AT(GUEST_REGS_IN, 9), %r10
	mov	AT(GUEST_REGS_IN, 10), %r11
	mov	AT(GUEST_REGS_IN, 11), %r12
	mov	AT(GUEST_REGS_IN, 12), %r13
	mov	AT(GUEST_REGS_IN, 13), %r14
	mov	AT(GUEST_REGS_IN, 14), %r15
	mov	AT(GUEST_REGS_IN, 15), %rsp
	mov	AT(GUEST_REGS_IN, 0), %rax
	out	%al, $GUEST_PORT_DONE
	hlt

	.balign	4
msrs:	/* EFER STAR LSTAR CSTAR SFMASK KERNEL_GS_BASE FS_BASE GS_BASE SYSENTER_CS _ESP _EIP PAT */
	.long	0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102
	.long	0xc0000100, 0xc0000101, 0x174, 0x175, 0x176, 0x277, 0

/* ---- Events ---------------------------------------------------------------------------------- */

	.section .stubs, "ax"
	.set	vector, 0
	.rept	256
	.balign	16
	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || \
		  vector == 29 || vector == 30)
	push	$0
	.endif
	pushq	$vector
	jmp	event
	.set	vector, vector + 1
	.endr

	.text
	.globl	event
	.hidden	event
event: /* on the stack: vector, error code, RIP, CS, RFLAGS, RSP, SS */
	push	%rax
	push	%rcx
	push	%rdx
	mov	$1, %eax
	lock xadd %rax, GUEST_EVENTS
	cmp	$GUEST_EVENTS_MAX, %rax
	jae	1f
	imul	$40, %rax, %rcx
	mov	24(%rsp), %rdx
	mov	%rdx, GUEST_EVENTS + 16(%rcx)
	mov	32(%rsp), %rdx
	mov	%rdx, GUEST_EVENTS + 24(%rcx)
	mov	40(%rsp), %rdx
	mov	%rdx, GUEST_EVENTS + 32(%rcx)
	mov	%cr2, %rdx
	mov	%rdx, GUEST_EVENTS + 40(%rcx)
	mov	56(%rsp), %rdx
	mov	%rdx, GUEST_EVENTS + 48(%rcx)
1:	/* NMI and interrupts go on where they came; so do #DB, #BP, #OF */
	mov	24(%rsp), %rdx
	cmp	$32, %rdx
	jae	3f
	cmp	$5, %rdx
	jae	2f
	test	%rdx, %rdx
	jnz	3f
2:	mov	GUEST_EVENTS + 8, %rdx
	test	%rdx, %rdx
	jz	4f
	cmp	$16, %rdx
	jae	5f
	add	%rdx, 40(%rsp)
	jmp	3f
5:	mov	%rdx, 40(%rsp)
3:	pop	%rdx
	pop	%rcx
	pop	%rax
	add	$16, %rsp
	iretq
4:	out	%al, $GUEST_PORT_STOP
	jmp	4b

/* ---- Real mode ------------------------------------------------------------------------------- */

/*
 * CS is GUEST_REAL / 16, DS and ES wherever the test says. Adds SI words at DS:0, writes the sum at
 * ES:0 and tells it in AX.
 */
	.section .real, "ax"
	.code16
	xor	%bx, %bx
	xor	%ax, %ax
1:	add	(%bx), %ax
	add	$2, %bx
	dec	%si
	jnz	1b
	mov	%ax, %es:0
	out	%al, $GUEST_PORT_DONE
	hlt

/* ---- 32 bits, paged -------------------------------------------------------------------------- */

/*
 * Flat. Reloads CR3 with EBX if that is not 0, which reads the four entries of PAE paging; then
 * copies ECX words from ESI to EDI, and tells their sum in EAX.
 */
	.section .code32, "ax"
	.code32
	test	%ebx, %ebx
	jz	1f
	mov	%ebx, %cr3
1:	xor	%eax, %eax
2:	mov	(%esi), %edx
	mov	%edx, (%edi)
	add	%edx, %eax
	add	$4, %esi
	add	$4, %edi
	dec	%ecx
	jnz	2b
	out	%eax, $GUEST_PORT_DONE
	hlt

	.section .note.GNU-stack, "", @progbits
