/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A boot ROM of a page: from the reset vector into 32-bit mode, where it can reach itself. It
 * writes to itself, looks whether that was dropped, says so on COM1, and writes 0x2c to the
 * debug-exit port (0x2d: the ROM changed). Descriptors have their accessed bit, or the CPU would
 * write it.
 */

#define BASE 0xfffff000
#define COM1 0x3f8
#define DEBUG_EXIT 0xf4

	.section .text
	.globl _start
_start:
base:
	.code32
start32:
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	$(BASE + hello - base), %esi
	movw	$COM1, %dx
	movl	$(BASE + back1 - base), %edi
	jmp	print
back1:
	movl	$0x12345678, BASE + word - base
	movl	BASE + word - base, %eax
	cmpl	$0x5eed5eed, %eax
	movb	$0x2d, %bl
	jne	leave
	movl	$(BASE + dropped - base), %esi
	movl	$(BASE + back2 - base), %edi
	jmp	print
back2:
	movb	$0x2c, %bl
leave:
	movb	%bl, %al
	outb	%al, $DEBUG_EXIT
1:	pause
	jmp	1b

print: /* what ESI points to, and on to EDI: there is no stack */
	movb	(%esi), %al
	incl	%esi
	testb	%al, %al
	jz	2f
	outb	%al, %dx
	jmp	print
2:	jmp	*%edi

	.align	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
gdtr:
	.word	23
	.long	BASE + gdt - base
word:
	.long	0x5eed5eed
hello:
	.asciz	"rom: from the reset vector\n"
dropped:
	.asciz	"rom: its own write was dropped\n"

	.code16
start16:
	lgdtl	%cs:(0xf000 + gdtr - base)
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$8, $(BASE + start32 - base)

	.org	0xff0
	jmp	start16
	.org	0x1000
	.section .note.GNU-stack, "", @progbits
