/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The part of the ABI that is interrupt and timer hardware: included by vmm.h, which has the rules.
 *
 * A machine has none unless it asks for it. Then the module serves all of a PC's that an operating
 * system cannot do without, and user space is left with wires: it raises pins and sends messages,
 * and never sees an interrupt again. What stays outside is the decoding of instructions: accesses
 * to the registers of local APIC and IOAPIC end VMM_RUN as VMM_EXIT_MMIO, and whoever decodes them
 * makes them by VMM_APIC_ACCESS.
 */

#ifndef VMM_UAPI_IRQ_H
#define VMM_UAPI_IRQ_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Where things are, as the firmware tables of the machine should say. */
#define VMM_LAPIC_GPA 0xfee00000u
#define VMM_LAPIC_BYTES 0x1000u
#define VMM_IOAPIC_GPA 0xfec00000u
#define VMM_IOAPIC_BYTES 0x1000u
#define VMM_IOAPIC_PINS 24u
#define VMM_IOAPIC_ID 0u
#define VMM_PIT_PIN 2u		/* of the IOAPIC: ISA interrupt 0 is GSI 2, as on every PC */
#define VMM_PMTIMER_PORT 0x408u /* 32 bits, 3.579545 MHz */

enum vmm_platform_kind {
	VMM_PLATFORM_PC = 1,
};
/*
 * When no vCPU can ever run again (each is halted with interrupts off, or was never started), the
 * machine is suspended with VMM_SUSPEND_HALT.
 */
#define VMM_PLATFORM_HALT_DETECT (1u << 0)

/*
 * Gives the machine its hardware: each vCPU a local APIC (xAPIC, and x2APIC by MSR, with a timer),
 * and together an IOAPIC, two 8259 (ports 20, 21, A0, A1, 4D0, 4D1), PIT (40 to 43, 61), RTC with
 * CMOS memory (70, 71) and the ACPI timer. Accesses to those ports, and to port 80, never end
 * VMM_RUN. vCPU 0 runs from the start, the others wait in VMM_RUN for INIT and SIPI, unless their
 * RIP is set from outside. HLT waits in VMM_RUN (VMM_CAP_HALT_EXIT is off from the start).
 * VMM_REINIT puts all of it back to how it began, but for the RTC's time and memory.
 *
 * -EBUSY a vCPU is active, or it has been done; -EOPNOTSUPP no such kind; -ENOMEM.
 */
struct vmm_platform {
	__u32 kind;  /* enum vmm_platform_kind */
	__u32 flags; /* VMM_PLATFORM_* */
	__u64 reserved[2];
};

/* The calls below fail with -ENODEV on a machine without a platform. */

enum vmm_irq_level {
	VMM_IRQ_LOW = 0,
	VMM_IRQ_HIGH = 1,
	VMM_IRQ_PULSE = 2, /* high, then low: an edge */
};

/*
 * Sets a wire: an IOAPIC pin by its number (GSI); those below 16 lead to an 8259 as well. A wire
 * has one owner: devices that share one do so outside. -EINVAL no such pin, or the module's own: 0
 * and 2 (PIT), 8 (RTC).
 */
struct vmm_irq_line {
	__u32 pin;   /* below VMM_IOAPIC_PINS */
	__u32 level; /* enum vmm_irq_level */
	__u64 reserved[2];
};

/* A message to FEEx_xxxxH as a device writes it (SDM vol. 3A 11.11). -EINVAL another address. */
struct vmm_msi {
	__u64 addr;
	__u32 data;
	__u32 reserved0;
	__u64 reserved[2];
};

/*
 * An access of a vCPU to a register of its local APIC (in xAPIC mode) or of the IOAPIC: what is
 * read is in value. As on a CPU, accesses of other sizes than 4 read nothing sensible and write
 * nothing. -EFAULT neither lies there; -EINVAL bytes not 1, 2, 4, 8, or it crosses 16 bytes.
 */
struct vmm_apic_access {
	__s32 vcpu;
	__u32 bytes;
	__u64 gpa;
	__u64 value;
	__u32 write;
	__u32 reserved0;
	__u64 reserved[2];
};

enum vmm_rtc_op {
	VMM_RTC_GET_TIME = 1, /* value: seconds since 1970, as the guest's clock has it */
	VMM_RTC_SET_TIME = 2,
	VMM_RTC_GET_NVRAM = 3, /* a byte; offset 14 (0EH) to 127, but for the century at 50 (32H) */
	VMM_RTC_SET_NVRAM = 4,
};
/* It begins with the host's time (UTC). -EINVAL: no such byte, or a time beyond the year 9999. */
struct vmm_rtc {
	__u32 op; /* enum vmm_rtc_op */
	__u32 offset;
	__u64 value;
	__u64 reserved[2];
};

enum vmm_apic_mode {
	VMM_APIC_OFF = 0,
	VMM_APIC_XAPIC = 1,
	VMM_APIC_X2APIC = 2,
};
/* For tools: regs[i] is the register at offset 16 * i of the local APIC's page. Frozen. */
struct vmm_apic_state {
	__s32 vcpu;
	__u32 mode; /* enum vmm_apic_mode */
	__u64 base; /* IA32_APIC_BASE */
	__u32 regs[64];
	__u64 tsc_deadline;
	__u32 waits_for_sipi;
	__u32 halted;
	__u64 reserved[2];
};

#define VMM_SET_PLATFORM _IOW('V', 0x80, struct vmm_platform)
#define VMM_IRQ_LINE _IOW('V', 0x81, struct vmm_irq_line)
#define VMM_MSI _IOW('V', 0x82, struct vmm_msi)
#define VMM_APIC_ACCESS _IOWR('V', 0x83, struct vmm_apic_access)
#define VMM_RTC _IOWR('V', 0x84, struct vmm_rtc)
#define VMM_APIC_STATE _IOWR('V', 0x85, struct vmm_apic_state)

#endif /* VMM_UAPI_IRQ_H */
