/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Fields of the VMCB, at their offsets (APM vol. 2, appendix B). Each makes the option
 * --get-vmcb-NAME; those that may be set make --set-vmcb-NAME.
 */

#include "vmmctl.h"

/* As struct vmm_field has it: offset, and width in bytes above it. */
#define FIELD(offset, bytes) ((uint32_t)(bytes) << 16 | (offset))

const struct field_name vmcb_fields[] = {
	{"cr-intercept", FIELD(0x000, 4), false},
	{"dr-intercept", FIELD(0x004, 4), false},
	{"exception-bitmap", FIELD(0x008, 4), true},
	{"inst1-intercept", FIELD(0x00c, 4), false},
	{"inst2-intercept", FIELD(0x010, 4), false},
	{"iopm", FIELD(0x040, 8), false},
	{"msrpm", FIELD(0x048, 8), false},
	{"tsc-offset", FIELD(0x050, 8), false},
	{"asid", FIELD(0x058, 4), false},
	{"tlb-control", FIELD(0x05c, 1), false},
	{"virq", FIELD(0x060, 8), false},
	{"interruptibility", FIELD(0x068, 8), false},
	{"exit-code", FIELD(0x070, 8), false},
	{"exit-info1", FIELD(0x078, 8), false},
	{"exit-info2", FIELD(0x080, 8), false},
	{"exit-intinfo", FIELD(0x088, 8), false},
	{"np-enable", FIELD(0x090, 8), false},
	{"event-inject", FIELD(0x0a8, 8), true},
	{"np-cr3", FIELD(0x0b0, 8), false},
	{"clean", FIELD(0x0c0, 4), false},
	{"next-rip", FIELD(0x0c8, 8), false},
	{"cpl", FIELD(0x4cb, 1), false},
	{"guest-sysenter-cs", FIELD(0x628, 8), false},
	{"guest-sysenter-sp", FIELD(0x630, 8), false},
	{"guest-sysenter-ip", FIELD(0x638, 8), false},
	{"guest-pat", FIELD(0x668, 8), false},
};
const size_t vmcb_fields_count = ARRAY_SIZE(vmcb_fields);
