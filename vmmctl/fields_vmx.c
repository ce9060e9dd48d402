/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Fields of the VMCS by bhyvectl's names, and their encodings (SDM vol. 3D, appendix B). Each makes
 * the option --get-vmcs-NAME; the two that may be set make --set-vmcs-NAME.
 */

#include "vmmctl.h"

const struct field_name vmcs_fields[] = {
	{"pinbased-ctls", 0x4000, false},
	{"procbased-ctls", 0x4002, false},
	{"procbased-ctls2", 0x401e, false},
	{"exit-ctls", 0x400c, false},
	{"entry-ctls", 0x4012, false},
	{"entry-interruption-info", 0x4016, true},
	{"entry-exception-error", 0x4018, false},
	{"entry-instruction-length", 0x401a, false},
	{"exception-bitmap", 0x4004, true},
	{"eptp", 0x201a, false},
	{"vpid", 0x0000, false},
	{"io-bitmap-a", 0x2000, false},
	{"io-bitmap-b", 0x2002, false},
	{"msr-bitmap-address", 0x2004, false},
	{"tsc-offset", 0x2010, false},
	{"virtual-apic-address", 0x2012, false},
	{"apic-access-address", 0x2014, false},
	{"tpr-threshold", 0x401c, false},
	{"ple-gap", 0x4020, false},
	{"ple-window", 0x4022, false},
	{"cr0-mask", 0x6000, false},
	{"cr4-mask", 0x6002, false},
	{"cr0-shadow", 0x6004, false},
	{"cr4-shadow", 0x6006, false},
	{"cr3-target-count", 0x400a, false},
	{"cr3-target0", 0x6008, false},
	{"cr3-target1", 0x600a, false},
	{"cr3-target2", 0x600c, false},
	{"cr3-target3", 0x600e, false},
	{"guest-pat", 0x2804, false},
	{"guest-sysenter-cs", 0x482a, false},
	{"guest-sysenter-sp", 0x6824, false},
	{"guest-sysenter-ip", 0x6826, false},
	{"link", 0x2800, false},
	{"interruptibility", 0x4824, false},
	{"host-pat", 0x2c00, false},
	{"host-cr0", 0x6c00, false},
	{"host-cr3", 0x6c02, false},
	{"host-cr4", 0x6c04, false},
	{"host-rip", 0x6c16, false},
	{"host-rsp", 0x6c14, false},
	{"exit-reason", 0x4402, false},
	{"exit-qualification", 0x6400, false},
	{"exit-interruption-info", 0x4404, false},
	{"exit-interruption-error", 0x4406, false},
	{"instruction-error", 0x4400, false},
	{"guest-physical-address", 0x2400, false},
	{"guest-linear-address", 0x640a, false},
};
const size_t vmcs_fields_count = ARRAY_SIZE(vmcs_fields);
