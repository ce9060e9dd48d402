/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The virtual machine control block: layout, bits and exit codes, as AMD's manual has them (APM
 * vol. 2, appendices B and C; chapter 15). The only file that knows these numbers.
 *
 * The structure is written down whole, so that a field's name is its place; the assertions at the
 * end hold it to the offsets that the manual's tables print. Holes are named by their offset.
 */

#ifndef KMOD_SVM_VMCB_H
#define KMOD_SVM_VMCB_H

#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>

/* ---- Layout ---------------------------------------------------------------------------------- */

/* Two halves each: which of the 16 registers exit when read, and when written. */
struct vmcb_rw {
	u16 read;
	u16 write;
};

struct vmcb_control {
	struct vmcb_rw cr_intercepts;
	struct vmcb_rw dr_intercepts;
	u32 exception_intercepts; /* bit n: vector n */
	u32 intercepts1;	  /* VMCB_I1_* */
	u32 intercepts2;	  /* VMCB_I2_* */
	u32 intercepts3;
	u8 reserved_018[0x3c - 0x18];
	u16 pause_filter_threshold;
	u16 pause_filter_count;
	u64 iopm_pa;
	u64 msrpm_pa;
	u64 tsc_offset;
	u32 asid;
	u8 tlb_control;
	u8 reserved_05d[3];
	u64 vintr;     /* VMCB_V_* */
	u64 int_state; /* VMCB_INT_* */
	u64 exit_code;
	u64 exit_info1;
	u64 exit_info2;
	u64 exit_int_info; /* VMCB_EVENT_* */
	u64 nested;	   /* VMCB_NESTED_* */
	u8 reserved_098[0xa8 - 0x98];
	u64 event_inj; /* VMCB_EVENT_* */
	u64 ncr3;
	u64 virt_ext;
	u32 clean; /* VMCB_CLEAN_* */
	u32 reserved_0c4;
	u64 next_rip;
	u8 inst_bytes;
	u8 inst[15];
	u8 reserved_0e0[0x400 - 0xe0];
};

struct vmcb_seg {
	u16 selector;
	u16 attr; /* VMCB_ATTR_* */
	u32 limit;
	u64 base;
};

struct vmcb_save {
	struct vmcb_seg es;
	struct vmcb_seg cs;
	struct vmcb_seg ss;
	struct vmcb_seg ds;
	struct vmcb_seg fs;
	struct vmcb_seg gs;
	struct vmcb_seg gdtr;
	struct vmcb_seg ldtr;
	struct vmcb_seg idtr;
	struct vmcb_seg tr;
	u8 reserved_4a0[0xcb - 0xa0];
	u8 cpl;
	u32 reserved_4cc;
	u64 efer;
	u8 reserved_4d8[0x148 - 0xd8];
	u64 cr4;
	u64 cr3;
	u64 cr0;
	u64 dr7;
	u64 dr6;
	u64 rflags;
	u64 rip;
	u8 reserved_580[0x1d8 - 0x180];
	u64 rsp;
	u64 s_cet;
	u64 ssp;
	u64 isst;
	u64 rax;
	u64 star;
	u64 lstar;
	u64 cstar;
	u64 sfmask;
	u64 kernel_gs_base;
	u64 sysenter_cs;
	u64 sysenter_esp;
	u64 sysenter_eip;
	u64 cr2;
	u8 reserved_648[0x268 - 0x248];
	u64 g_pat;
	u64 dbgctl;
	u64 br_from;
	u64 br_to;
	u64 last_excp_from;
	u64 last_excp_to;
	u8 reserved_698[0xc00 - 0x298];
};

struct vmcb {
	struct vmcb_control control;
	struct vmcb_save save;
};

/* Offsets of fields that tools may set (vb_set_field), and the end of what they may see. */
#define VMCB_OFFSET_EXCEPTIONS 0x008
#define VMCB_OFFSET_EVENT_INJ 0x0a8
#define VMCB_OFFSET_END 0x698
#define VMCB_SAVE_BYTES (VMCB_OFFSET_END - 0x400) /* of the guest's state */

/* ---- Intercepts ------------------------------------------------------------------------------ */

#define VMCB_I1_INTR BIT(0)
#define VMCB_I1_NMI BIT(1)
#define VMCB_I1_SMI BIT(2)
#define VMCB_I1_INIT BIT(3)
#define VMCB_I1_VINTR BIT(4)
#define VMCB_I1_RDPMC BIT(15)
#define VMCB_I1_CPUID BIT(18)
#define VMCB_I1_IRET BIT(20)
#define VMCB_I1_SWINT BIT(21)
#define VMCB_I1_INVD BIT(22)
#define VMCB_I1_PAUSE BIT(23)
#define VMCB_I1_HLT BIT(24)
#define VMCB_I1_INVLPGA BIT(26)
#define VMCB_I1_IOIO BIT(27)
#define VMCB_I1_MSR BIT(28)
#define VMCB_I1_FERR_FREEZE BIT(30)
#define VMCB_I1_SHUTDOWN BIT(31)

#define VMCB_I2_VMRUN BIT(0)
#define VMCB_I2_VMMCALL BIT(1)
#define VMCB_I2_VMLOAD BIT(2)
#define VMCB_I2_VMSAVE BIT(3)
#define VMCB_I2_STGI BIT(4)
#define VMCB_I2_CLGI BIT(5)
#define VMCB_I2_SKINIT BIT(6)
#define VMCB_I2_WBINVD BIT(9)
#define VMCB_I2_MONITOR BIT(10)
#define VMCB_I2_MWAIT BIT(11)
#define VMCB_I2_MWAIT_ARMED BIT(12)
#define VMCB_I2_XSETBV BIT(13)
#define VMCB_I2_RDPRU BIT(14)

/* ---- Other controls -------------------------------------------------------------------------- */

#define VMCB_V_TPR 0xffull
#define VMCB_V_IRQ BIT_ULL(8)
#define VMCB_V_INTR_PRIO (0xfull << 16)
#define VMCB_V_IGN_TPR BIT_ULL(20)
#define VMCB_V_INTR_MASKING BIT_ULL(24)

#define VMCB_INT_SHADOW BIT_ULL(0)

#define VMCB_NESTED_ENABLE BIT_ULL(0)

/* EVENTINJ, EXITINTINFO: vector 7:0, type 10:8, error code valid 11, valid 31, error code 63:32. */
#define VMCB_EVENT_INTR 0u
#define VMCB_EVENT_NMI 2u
#define VMCB_EVENT_EXCEPTION 3u
#define VMCB_EVENT_SOFT 4u
#define VMCB_EVENT_TYPE_SHIFT 8
#define VMCB_EVENT_TYPE (7ull << VMCB_EVENT_TYPE_SHIFT)

/* What the CPU may keep from its last VMRUN of the same VMCB. */
#define VMCB_CLEAN_INTERCEPTS BIT(0) /* and TSC_OFFSET, pause filter */
#define VMCB_CLEAN_IOPM BIT(1)	     /* and MSRPM */
#define VMCB_CLEAN_ASID BIT(2)
#define VMCB_CLEAN_NP BIT(4) /* nCR3, G_PAT */
#define VMCB_CLEAN_LBR BIT(10)
#define VMCB_CLEAN_AVIC BIT(11)

/* Segment attributes: a descriptor's bits 55:52 and 47:40. */
#define VMCB_ATTR_TYPE 0x00fu
#define VMCB_ATTR_BUSY 0x002u /* of a TSS's type */
#define VMCB_ATTR_S 0x010u
#define VMCB_ATTR_DPL_SHIFT 5
#define VMCB_ATTR_DPL 0x060u
#define VMCB_ATTR_P 0x080u
#define VMCB_ATTR_L 0x200u
#define VMCB_ATTR_DB 0x400u
#define VMCB_ATTR_G 0x800u

/* ---- Permission maps ------------------------------------------------------------------------- */

/* A bit for each port, and 3 more for accesses that reach beyond the last. */
#define SVM_IOPM_BYTES 0x3000u
/* Three ranges of 8192 MSRs, two bits for each: read, write. */
#define SVM_MSRPM_BYTES 0x2000u
#define SVM_MSRPM_RANGE_MSRS 0x2000u
#define SVM_MSRPM_RANGE_BYTES 0x800u
#define SVM_MSRPM_BASE_0 0x00000000u
#define SVM_MSRPM_BASE_1 0xc0000000u
#define SVM_MSRPM_BASE_2 0xc0010000u

/* ---- Capabilities (CPUID 8000_000A EDX) that only the entry code cares for ------------------- */

#define SVM_FEATURE_NRIPS BIT(3)
#define SVM_FEATURE_CLEAN BIT(5)
#define SVM_FEATURE_DECODE BIT(7)

#define SVM_VM_CR_DISABLED BIT_ULL(4) /* VM_CR: by firmware */

/* ---- Exit codes and their information -------------------------------------------------------- */

#define SVM_EXIT_CR_READ 0x000u /* + register */
#define SVM_EXIT_CR_WRITE 0x010u
#define SVM_EXIT_DR_READ 0x020u
#define SVM_EXIT_DR_WRITE 0x030u
#define SVM_EXIT_EXCEPTION 0x040u /* + vector */
#define SVM_EXIT_INTR 0x060u
#define SVM_EXIT_NMI 0x061u
#define SVM_EXIT_SMI 0x062u
#define SVM_EXIT_INIT 0x063u
#define SVM_EXIT_VINTR 0x064u
#define SVM_EXIT_RDPMC 0x06fu
#define SVM_EXIT_CPUID 0x072u
#define SVM_EXIT_IRET 0x074u
#define SVM_EXIT_SWINT 0x075u
#define SVM_EXIT_INVD 0x076u
#define SVM_EXIT_PAUSE 0x077u
#define SVM_EXIT_HLT 0x078u
#define SVM_EXIT_INVLPGA 0x07au
#define SVM_EXIT_IOIO 0x07bu
#define SVM_EXIT_MSR 0x07cu
#define SVM_EXIT_FERR_FREEZE 0x07eu
#define SVM_EXIT_SHUTDOWN 0x07fu
#define SVM_EXIT_VMRUN 0x080u
#define SVM_EXIT_VMMCALL 0x081u
#define SVM_EXIT_VMLOAD 0x082u
#define SVM_EXIT_VMSAVE 0x083u
#define SVM_EXIT_STGI 0x084u
#define SVM_EXIT_CLGI 0x085u
#define SVM_EXIT_SKINIT 0x086u
#define SVM_EXIT_WBINVD 0x089u
#define SVM_EXIT_MONITOR 0x08au
#define SVM_EXIT_MWAIT 0x08bu
#define SVM_EXIT_MWAIT_ARMED 0x08cu
#define SVM_EXIT_XSETBV 0x08du
#define SVM_EXIT_RDPRU 0x08eu
#define SVM_EXIT_NPF 0x400u

/*
 * A VMRUN that failed exits with a negative code. QEMU 7.2 writes only the low half of it where it
 * finds ASID 0, so that is what is looked at; codes of exits are small.
 */
#define SVM_EXIT_FAILED(code) ((s32)(code) < 0)

/* IOIO: EXITINFO1; EXITINFO2 is the next RIP. */
#define SVM_IOIO_IN BIT_ULL(0)
#define SVM_IOIO_STRING BIT_ULL(2)
#define SVM_IOIO_REP BIT_ULL(3)
#define SVM_IOIO_BYTES_SHIFT 4 /* bits 6:4, one of them set: 1, 2, 4 */
#define SVM_IOIO_ADDR_SHIFT 7  /* bits 9:7, one of them set: 16, 32, 64 bits */
#define SVM_IOIO_SEG_SHIFT 10  /* bits 12:10, with decode assists: ES, CS, SS, DS, FS, GS */
#define SVM_IOIO_PORT_SHIFT 16

#define SVM_MSR_WRITE 1ull /* EXITINFO1 */

/* MOV CR, MOV DR with decode assists: EXITINFO1. Bit 63 is clear for CLTS, LMSW and SMSW. */
#define SVM_MOV_CR BIT_ULL(63)
#define SVM_MOV_GPR 0xfull

/* ---- The manual's offsets -------------------------------------------------------------------- */

#define VMCB_AT(field, offset) static_assert(offsetof(struct vmcb, field) == (offset))

VMCB_AT(control.cr_intercepts, 0x000);
VMCB_AT(control.dr_intercepts, 0x004);
VMCB_AT(control.exception_intercepts, VMCB_OFFSET_EXCEPTIONS);
VMCB_AT(control.intercepts1, 0x00c);
VMCB_AT(control.intercepts2, 0x010);
VMCB_AT(control.pause_filter_threshold, 0x03c);
VMCB_AT(control.iopm_pa, 0x040);
VMCB_AT(control.msrpm_pa, 0x048);
VMCB_AT(control.tsc_offset, 0x050);
VMCB_AT(control.asid, 0x058);
VMCB_AT(control.tlb_control, 0x05c);
VMCB_AT(control.vintr, 0x060);
VMCB_AT(control.int_state, 0x068);
VMCB_AT(control.exit_code, 0x070);
VMCB_AT(control.exit_info1, 0x078);
VMCB_AT(control.exit_info2, 0x080);
VMCB_AT(control.exit_int_info, 0x088);
VMCB_AT(control.nested, 0x090);
VMCB_AT(control.event_inj, VMCB_OFFSET_EVENT_INJ);
VMCB_AT(control.ncr3, 0x0b0);
VMCB_AT(control.virt_ext, 0x0b8);
VMCB_AT(control.clean, 0x0c0);
VMCB_AT(control.next_rip, 0x0c8);
VMCB_AT(control.inst_bytes, 0x0d0);
VMCB_AT(control.inst, 0x0d1);
VMCB_AT(save.es, 0x400);
VMCB_AT(save.gdtr, 0x460);
VMCB_AT(save.tr, 0x490);
VMCB_AT(save.cpl, 0x4cb);
VMCB_AT(save.efer, 0x4d0);
VMCB_AT(save.cr4, 0x548);
VMCB_AT(save.cr3, 0x550);
VMCB_AT(save.cr0, 0x558);
VMCB_AT(save.dr7, 0x560);
VMCB_AT(save.dr6, 0x568);
VMCB_AT(save.rflags, 0x570);
VMCB_AT(save.rip, 0x578);
VMCB_AT(save.rsp, 0x5d8);
VMCB_AT(save.rax, 0x5f8);
VMCB_AT(save.star, 0x600);
VMCB_AT(save.kernel_gs_base, 0x620);
VMCB_AT(save.sysenter_eip, 0x638);
VMCB_AT(save.cr2, 0x640);
VMCB_AT(save.g_pat, 0x668);
VMCB_AT(save.last_excp_to, 0x690);
static_assert(sizeof(struct vmcb) == 4096);

#endif /* KMOD_SVM_VMCB_H */
