/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A kernel of a page, as people who write operating systems begin: by Multiboot 1, or (PVH defined)
 * by the PVH note. It says on COM1 how it was started, and does what the first letter of its
 * command line says; without one it writes 0x2a to the debug-exit port, or 0x2b after PVH.
 *
 *   r  resets the machine       h  halts for good       t  triple fault
 *   w  waits for ever           b  waits for the power button, then writes 0x2e
 */

#define MULTIBOOT_MAGIC 0x1badb002
#define LOADER_MAGIC 0x2badb002
#define START_MAGIC 0x336ec578
#define COM1 0x3f8
#define DEBUG_EXIT 0xf4
#define PM1_STATUS 0x400
#define PM1_ENABLE 0x402
#define POWER_BUTTON 0x100
#define RESET 0xcf9

	.code32
	.section .text
	.globl _start
#ifdef PVH
_start:
	movb	$0x2b, %dl
	cmpl	$START_MAGIC, (%ebx)
	jne	wrong
	movl	24(%ebx), %edi
	movl	$hello_pvh, %esi
	jmp	main

	.section .note.Xen, "a", @note
	.long	4, 4, 18
	.asciz	"Xen"
	.long	_start
	.text
#else
	.long	MULTIBOOT_MAGIC, 0, -MULTIBOOT_MAGIC
_start:
	movb	$0x2a, %dl
	cmpl	$LOADER_MAGIC, %eax
	jne	wrong
	movl	16(%ebx), %edi
	movl	$hello_multiboot, %esi
#endif

main:
	movl	$stack_end, %esp
	movb	%dl, %bl
	call	print
	movb	(%edi), %al
	cmpb	$'r', %al
	je	do_reset
	cmpb	$'h', %al
	je	do_halt
	cmpb	$'t', %al
	je	do_triple
	cmpb	$'w', %al
	je	do_wait
	cmpb	$'b', %al
	je	do_button
leave:
	movb	%bl, %al
	outb	%al, $DEBUG_EXIT
wrong:
	movb	$0x7f, %al
	outb	%al, $DEBUG_EXIT
1:	pause
	jmp	1b

do_reset:
	movw	$RESET, %dx
	movb	$6, %al
	outb	%al, %dx
	jmp	do_wait
do_halt:
	cli
	hlt
	jmp	wrong
do_triple:
	lidt	no_idt
	ud2
do_wait: /* by something that exits: Bochs calls no guest out that has interrupts off */
	inb	$0x61, %al
	jmp	do_wait
do_button:
	movw	$PM1_ENABLE, %dx
	movw	$POWER_BUTTON, %ax
	outw	%ax, %dx
	movl	$ready, %esi
	call	print
	movw	$PM1_STATUS, %dx
1:	inw	%dx, %ax
	testw	$POWER_BUTTON, %ax
	jz	1b
	movb	$0x2e, %bl
	jmp	leave

print: /* what ESI points to */
	movw	$COM1, %dx
1:	lodsb
	testb	%al, %al
	jz	2f
	outb	%al, %dx
	jmp	1b
2:	ret

no_idt:
	.word	0
	.long	0
hello_multiboot:
	.asciz	"small: by Multiboot\n"
hello_pvh:
	.asciz	"small: by PVH\n"
ready:
	.asciz	"small: ready\n"

	.bss
	.align	16
	.skip	256
stack_end:
	.section .note.GNU-stack, "", @progbits
