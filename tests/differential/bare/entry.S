/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What C cannot say: from the boot loader to 64 bits, into a guest and back, and where exceptions
 * end. The loader is anything that knows Multiboot (version 0.6.96); the file is a flat image, so
 * the header says where it goes.
 */

#define MAGIC 0x1badb002
#define FLAGS 0x00010000 /* the addresses below are there */

	.section .boot, "ax"
	.code32
	.balign	4
header:
	.long	MAGIC, FLAGS, -(MAGIC + FLAGS)
	.long	header, image_start, image_end, image_bss_end, start

start:
	cli
	mov	$stack_end, %esp
	mov	%ebx, info

	/* 4 GiB, each page where it is, and writable. */
	mov	$level_2 + 3, %eax
	mov	%eax, level_3
	mov	$level_1 + 3, %eax
	xor	%ecx, %ecx
1:	mov	%eax, level_2(, %ecx, 8)
	add	$0x1000, %eax
	inc	%ecx
	cmp	$4, %ecx
	jne	1b
	mov	$0x83, %eax
	xor	%ecx, %ecx
2:	mov	%eax, level_1(, %ecx, 8)
	add	$0x200000, %eax
	inc	%ecx
	cmp	$2048, %ecx
	jne	2b
	mov	$level_3 + 3, %eax
	mov	%eax, level_4

	/* Five levels wherever there are five: nested walks have as many as the host's. */
	mov	$level_3, %edi
	mov	$0x20, %esi /* PAE */
	xor	%eax, %eax
	cpuid
	cmp	$7, %eax
	jb	3f
	mov	$7, %eax
	xor	%ecx, %ecx
	cpuid
	test	$0x10000, %ecx
	jz	3f
	mov	$level_4, %edi
	or	$0x1000, %esi /* LA57 */
3:	mov	%esi, %cr4
	mov	%edi, %cr3
	mov	$0xc0000080, %ecx /* EFER */
	rdmsr
	or	$0x100, %eax /* LME */
	wrmsr
	mov	%cr0, %eax
	and	$0x9fffffff, %eax /* caches on */
	or	$0x80010023, %eax /* PG, WP, NE, MP, PE */
	mov	%eax, %cr0
	lgdt	gdt_pointer
	ljmp	$0x08, $long

	.code64
long:
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	xor	%eax, %eax
	mov	%eax, %fs
	mov	%eax, %gs

	/* The state segment's address is split over its descriptor. */
	lea	tss, %rax
	mov	%ax, gdt + 0x1a
	shr	$16, %rax
	mov	%al, gdt + 0x1c
	mov	%ah, gdt + 0x1f
	mov	$0x18, %eax
	ltr	%ax

	/* All exceptions lead to bare_exception(). */
	lea	stubs, %rax
	lea	idt, %rdi
	mov	$32, %ecx
4:	mov	%ax, (%rdi)
	movw	$0x08, 2(%rdi)
	movw	$0x8e00, 4(%rdi)
	mov	%rax, %rdx
	shr	$16, %rdx
	mov	%dx, 6(%rdi)
	add	$16, %rdi
	add	$16, %rax
	dec	%ecx
	jnz	4b
	lidt	idt_pointer
	mov	info, %edi
	call	bare_main
5:	hlt
	jmp	5b

	.balign	16
stubs:
	.set	vector, 0
	.rept	32
	.balign	16
	mov	$vector, %edi
	mov	(%rsp), %rsi
	mov	8(%rsp), %rdx
	jmp	exception
	.set	vector, vector + 1
	.endr
exception:
	and	$-16, %rsp
	call	bare_exception
6:	hlt
	jmp	6b

/* ---- Into the guest -------------------------------------------------------------------------- */

	.text

	.macro	save_all
	.irp	reg, rbp, rbx, r12, r13, r14, r15
	push	%\reg
	.endr
	.endm
	.macro	restore_all
	.irp	reg, r15, r14, r13, r12, rbx, rbp
	pop	%\reg
	.endr
	.endm

/*
 * unsigned int vmx_enter(struct bare_regs *regs, bool launched): 0 after an exit, 1 if the
 * instruction failed.
 */
	.globl	vmx_enter
vmx_enter:
	save_all
	push	%rdi
	mov	$0x6c14, %eax /* the host's RSP and RIP */
	vmwrite	%rsp, %rax
	lea	1f, %rdx
	mov	$0x6c16, %eax
	vmwrite	%rdx, %rax
	mov	(%rdi), %rbx
	mov	8(%rdi), %rcx
	test	%esi, %esi
	jnz	2f
	vmlaunch
	jmp	3f
2:	vmresume
3:	pop	%rdi
	mov	$1, %eax
	jmp	4f
1:	pop	%rdi
	mov	%rbx, (%rdi)
	mov	%rcx, 8(%rdi)
	xor	%eax, %eax
4:	restore_all
	ret

/* void svm_enter(struct bare_regs *regs, uint64_t vmcb) */
	.globl	svm_enter
svm_enter:
	save_all
	push	%rdi
	mov	(%rdi), %rbx
	mov	8(%rdi), %rcx
	mov	%rsi, %rax
	clgi
	vmload
	vmrun
	stgi
	pop	%rdi
	mov	%rbx, (%rdi)
	mov	%rcx, 8(%rdi)
	restore_all
	ret

/* ---- Tables ---------------------------------------------------------------------------------- */

	.data
	.balign	16
	.globl	gdt
gdt:	.quad	0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x0000890000000067, 0
gdt_pointer:
	.word	39
	.quad	gdt
idt_pointer:
	.word	32 * 16 - 1
	.quad	idt

	.bss
	.balign	4096
level_4: .skip	4096
level_3: .skip	4096
level_2: .skip	4096
level_1: .skip	4 * 4096
	.globl	idt
idt:	.skip	4096
	.globl	tss
tss:	.skip	4096
	.skip	16384
stack_end:
info:	.skip	8

	.section .note.GNU-stack, "", @progbits
