/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Numbers of VT-x: encodings of the VMCS's fields, bits of its controls, reasons and qualifications
 * of exits (SDM vol. 3C, chapters 25, 26, 28; vol. 3D, appendices A to C). The only place that has
 * them. What concerns EPT alone, EPTP and the qualification of its violations, is ept's.
 *
 * Only #define, since the entry code, which is assembly, includes it, too.
 */

#ifndef KMOD_VMX_VMCS_H
#define KMOD_VMX_VMCS_H

/* ---- Fields (appendix B) --------------------------------------------------------------------- */

/* 16 bits wide: control, guest, host. */
#define VMCS_VPID 0x0000
#define VMCS_GUEST_ES 0x0800
#define VMCS_GUEST_CS 0x0802
#define VMCS_GUEST_SS 0x0804
#define VMCS_GUEST_DS 0x0806
#define VMCS_GUEST_FS 0x0808
#define VMCS_GUEST_GS 0x080a
#define VMCS_GUEST_LDTR 0x080c
#define VMCS_GUEST_TR 0x080e
#define VMCS_HOST_ES 0x0c00
#define VMCS_HOST_CS 0x0c02
#define VMCS_HOST_SS 0x0c04
#define VMCS_HOST_DS 0x0c06
#define VMCS_HOST_FS 0x0c08
#define VMCS_HOST_GS 0x0c0a
#define VMCS_HOST_TR 0x0c0c

/* 64 bits: control, read-only, guest, host. */
#define VMCS_IO_BITMAP_A 0x2000
#define VMCS_IO_BITMAP_B 0x2002
#define VMCS_MSR_BITMAP 0x2004
#define VMCS_EXIT_MSR_STORE 0x2006
#define VMCS_EXIT_MSR_LOAD 0x2008
#define VMCS_ENTRY_MSR_LOAD 0x200a
#define VMCS_TSC_OFFSET 0x2010
#define VMCS_EPTP 0x201a
#define VMCS_GUEST_PHYSICAL_ADDRESS 0x2400
#define VMCS_LINK_POINTER 0x2800
#define VMCS_GUEST_DEBUGCTL 0x2802
#define VMCS_GUEST_PAT 0x2804
#define VMCS_GUEST_EFER 0x2806
#define VMCS_GUEST_PDPTE0 0x280a
#define VMCS_GUEST_PDPTE1 0x280c
#define VMCS_GUEST_PDPTE2 0x280e
#define VMCS_GUEST_PDPTE3 0x2810
#define VMCS_HOST_PAT 0x2c00
#define VMCS_HOST_EFER 0x2c02

/* 32 bits. */
#define VMCS_PIN_CTLS 0x4000
#define VMCS_PROC_CTLS 0x4002
#define VMCS_EXCEPTION_BITMAP 0x4004
#define VMCS_PF_ERROR_MASK 0x4006
#define VMCS_PF_ERROR_MATCH 0x4008
#define VMCS_CR3_TARGET_COUNT 0x400a
#define VMCS_EXIT_CTLS 0x400c
#define VMCS_EXIT_MSR_STORE_COUNT 0x400e
#define VMCS_EXIT_MSR_LOAD_COUNT 0x4010
#define VMCS_ENTRY_CTLS 0x4012
#define VMCS_ENTRY_MSR_LOAD_COUNT 0x4014
#define VMCS_ENTRY_INTR_INFO 0x4016
#define VMCS_ENTRY_INTR_ERROR 0x4018
#define VMCS_ENTRY_INST_BYTES 0x401a
#define VMCS_PROC_CTLS2 0x401e
#define VMCS_INSTRUCTION_ERROR 0x4400
#define VMCS_EXIT_REASON 0x4402
#define VMCS_EXIT_INTR_INFO 0x4404
#define VMCS_EXIT_INTR_ERROR 0x4406
#define VMCS_IDT_VECTORING_INFO 0x4408
#define VMCS_IDT_VECTORING_ERROR 0x440a
#define VMCS_EXIT_INST_BYTES 0x440c
#define VMCS_EXIT_INST_INFO 0x440e
#define VMCS_GUEST_ES_LIMIT 0x4800
#define VMCS_GUEST_CS_LIMIT 0x4802
#define VMCS_GUEST_SS_LIMIT 0x4804
#define VMCS_GUEST_DS_LIMIT 0x4806
#define VMCS_GUEST_FS_LIMIT 0x4808
#define VMCS_GUEST_GS_LIMIT 0x480a
#define VMCS_GUEST_LDTR_LIMIT 0x480c
#define VMCS_GUEST_TR_LIMIT 0x480e
#define VMCS_GUEST_GDTR_LIMIT 0x4810
#define VMCS_GUEST_IDTR_LIMIT 0x4812
#define VMCS_GUEST_ES_ACCESS 0x4814
#define VMCS_GUEST_CS_ACCESS 0x4816
#define VMCS_GUEST_SS_ACCESS 0x4818
#define VMCS_GUEST_DS_ACCESS 0x481a
#define VMCS_GUEST_FS_ACCESS 0x481c
#define VMCS_GUEST_GS_ACCESS 0x481e
#define VMCS_GUEST_LDTR_ACCESS 0x4820
#define VMCS_GUEST_TR_ACCESS 0x4822
#define VMCS_GUEST_INTERRUPTIBILITY 0x4824
#define VMCS_GUEST_ACTIVITY 0x4826
#define VMCS_GUEST_SYSENTER_CS 0x482a
#define VMCS_PREEMPTION_TIMER 0x482e
#define VMCS_HOST_SYSENTER_CS 0x4c00

/* As wide as addresses. */
#define VMCS_CR0_MASK 0x6000
#define VMCS_CR4_MASK 0x6002
#define VMCS_CR0_SHADOW 0x6004
#define VMCS_CR4_SHADOW 0x6006
#define VMCS_EXIT_QUALIFICATION 0x6400
#define VMCS_GUEST_LINEAR_ADDRESS 0x640a
#define VMCS_GUEST_CR0 0x6800
#define VMCS_GUEST_CR3 0x6802
#define VMCS_GUEST_CR4 0x6804
#define VMCS_GUEST_ES_BASE 0x6806
#define VMCS_GUEST_CS_BASE 0x6808
#define VMCS_GUEST_SS_BASE 0x680a
#define VMCS_GUEST_DS_BASE 0x680c
#define VMCS_GUEST_FS_BASE 0x680e
#define VMCS_GUEST_GS_BASE 0x6810
#define VMCS_GUEST_LDTR_BASE 0x6812
#define VMCS_GUEST_TR_BASE 0x6814
#define VMCS_GUEST_GDTR_BASE 0x6816
#define VMCS_GUEST_IDTR_BASE 0x6818
#define VMCS_GUEST_DR7 0x681a
#define VMCS_GUEST_RSP 0x681c
#define VMCS_GUEST_RIP 0x681e
#define VMCS_GUEST_RFLAGS 0x6820
#define VMCS_GUEST_PENDING_DEBUG 0x6822
#define VMCS_GUEST_SYSENTER_ESP 0x6824
#define VMCS_GUEST_SYSENTER_EIP 0x6826
#define VMCS_HOST_CR0 0x6c00
#define VMCS_HOST_CR3 0x6c02
#define VMCS_HOST_CR4 0x6c04
#define VMCS_HOST_FS_BASE 0x6c06
#define VMCS_HOST_GS_BASE 0x6c08
#define VMCS_HOST_TR_BASE 0x6c0a
#define VMCS_HOST_GDTR_BASE 0x6c0c
#define VMCS_HOST_IDTR_BASE 0x6c0e
#define VMCS_HOST_SYSENTER_ESP 0x6c10
#define VMCS_HOST_SYSENTER_EIP 0x6c12
#define VMCS_HOST_RSP 0x6c14
#define VMCS_HOST_RIP 0x6c16

/* An encoding: bit 0 the high half of a 64-bit field, index, type 11:10, width 14:13 (25.11.2). */
#define VMCS_FIELD_RESERVED (~0x6fffu)

#ifndef __ASSEMBLY__

/* ---- Controls (25.6 to 25.8) ----------------------------------------------------------------- */

#define PIN_EXTERNAL_INTR (1u << 0)
#define PIN_NMI (1u << 3)
#define PIN_VIRTUAL_NMI (1u << 5)
#define PIN_PREEMPTION_TIMER (1u << 6)

#define PROC_INTR_WINDOW (1u << 2)
#define PROC_HLT (1u << 7)
#define PROC_INVLPG (1u << 9)
#define PROC_MWAIT (1u << 10)
#define PROC_RDPMC (1u << 11)
#define PROC_RDTSC (1u << 12)
#define PROC_CR3_LOAD (1u << 15)
#define PROC_CR3_STORE (1u << 16)
#define PROC_CR8_LOAD (1u << 19)
#define PROC_CR8_STORE (1u << 20)
#define PROC_NMI_WINDOW (1u << 22)
#define PROC_MOV_DR (1u << 23)
#define PROC_IO_BITMAPS (1u << 25)
#define PROC_MONITOR_TRAP (1u << 27)
#define PROC_MSR_BITMAPS (1u << 28)
#define PROC_MONITOR (1u << 29)
#define PROC_PAUSE (1u << 30)
#define PROC_SECONDARY (1u << 31)

#define PROC2_EPT (1u << 1)
#define PROC2_RDTSCP (1u << 3)
#define PROC2_VPID (1u << 5)
#define PROC2_WBINVD (1u << 6)
#define PROC2_UNRESTRICTED (1u << 7)

#define EXIT_SAVE_DEBUG (1u << 2)
#define EXIT_HOST_64 (1u << 9)
#define EXIT_SAVE_PAT (1u << 18)
#define EXIT_LOAD_PAT (1u << 19)
#define EXIT_SAVE_EFER (1u << 20)
#define EXIT_LOAD_EFER (1u << 21)

#define ENTRY_LOAD_DEBUG (1u << 2)
#define ENTRY_IA32E (1u << 9)
#define ENTRY_LOAD_PAT (1u << 14)
#define ENTRY_LOAD_EFER (1u << 15)

/* IA32_VMX_BASIC (A.1) */
#define VMX_BASIC_REVISION 0x7fffffffull
#define VMX_BASIC_MEMORY_TYPE(v) ((v) >> 50 & 15) /* 6: write-back */
#define VMX_BASIC_INOUT_INFO (1ull << 54) /* of INS, OUTS the instruction information tells */
#define VMX_BASIC_HAS_TRUE_CTLS (1ull << 55)
#define VMX_MEMORY_WB 6

/* ---- Guest state ----------------------------------------------------------------------------- */

#define BLOCKED_BY_STI (1u << 0)
#define BLOCKED_BY_MOV_SS (1u << 1)
#define BLOCKED_BY_NMI (1u << 3)

#define ACTIVITY_ACTIVE 0

#define PENDING_DEBUG_BS (1u << 14)

#define ACCESS_TYPE 0xfu
#define ACCESS_TYPE_BUSY_TSS 11u /* of 32 or 64 bits */
#define ACCESS_DPL(a) ((a) >> 5 & 3)
#define ACCESS_L (1u << 13)
#define ACCESS_UNUSABLE (1u << 16)
#define ACCESS_RESERVED (~0x1f0ffu)

/* ---- Exits (appendix C) ---------------------------------------------------------------------- */

#define REASON_BASIC 0xffffu
#define REASON_ENTRY_FAILED (1u << 31)

#define REASON_EXCEPTION_NMI 0
#define REASON_EXTERNAL_INTR 1
#define REASON_TRIPLE_FAULT 2
#define REASON_INTR_WINDOW 7
#define REASON_NMI_WINDOW 8
#define REASON_TASK_SWITCH 9
#define REASON_CPUID 10
#define REASON_GETSEC 11
#define REASON_HLT 12
#define REASON_INVD 13
#define REASON_RDPMC 15
#define REASON_VMCALL 18
#define REASON_VMCLEAR 19
#define REASON_VMXON 27
#define REASON_CR 28
#define REASON_DR 29
#define REASON_IO 30
#define REASON_RDMSR 31
#define REASON_WRMSR 32
#define REASON_MWAIT 36
#define REASON_MONITOR_TRAP 37
#define REASON_MONITOR 39
#define REASON_PAUSE 40
#define REASON_EPT_VIOLATION 48
#define REASON_EPT_MISCONFIG 49
#define REASON_INVEPT 50
#define REASON_PREEMPTION_TIMER 52
#define REASON_INVVPID 53
#define REASON_WBINVD 54
#define REASON_XSETBV 55

/* Interruption information (25.9.2): as VCPU_EVENT_*, and this. */
#define INTR_INFO_NMI_UNBLOCKED (1u << 12) /* by IRET */
#define INTR_INFO_EVENT 0x80000fffu	   /* valid, error code, type, vector: as VCPU_EVENT_* */

/* Qualification of accesses to control registers (table 28-3); registers as in instructions. */
#define QUAL_CR_NUMBER(q) ((unsigned int)(q)&15)
#define QUAL_CR_KIND(q) ((unsigned int)((q) >> 4) & 3)
#define QUAL_CR_TO 0u
#define QUAL_CR_FROM 1u
#define QUAL_CR_CLTS 2u
#define QUAL_CR_LMSW 3u
#define QUAL_CR_GPR(q) ((unsigned int)((q) >> 8) & 15)
#define QUAL_CR_LMSW_SOURCE(q) ((unsigned int)((q) >> 16) & 0xffff)

/* Of MOV DR (table 28-4). */
#define QUAL_DR_NUMBER(q) ((unsigned int)(q)&7)
#define QUAL_DR_READ (1u << 4)
#define QUAL_DR_GPR(q) ((unsigned int)((q) >> 8) & 15)

/* Of I/O (table 28-5); and of the instruction information of INS and OUTS (table 28-8). */
#define QUAL_IO_BYTES(q) (((unsigned int)(q)&7) + 1)
#define QUAL_IO_IN (1u << 3)
#define QUAL_IO_STRING (1u << 4)
#define QUAL_IO_REP (1u << 5)
#define QUAL_IO_PORT(q) ((unsigned int)((q) >> 16) & 0xffff)
#define INST_INFO_ADDRESS_LG2(i) (((i) >> 7 & 7) + 1) /* of bytes */
#define INST_INFO_SEGMENT(i) ((i) >> 15 & 7)	      /* ES, CS, SS, DS, FS, GS */

/* Of #DB (table 28-1): as DR6, but for what is always 1 there. */
#define QUAL_DEBUG 0x600fu

#endif /* __ASSEMBLY__ */

#endif /* KMOD_VMX_VMCS_H */
