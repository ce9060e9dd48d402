/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Registers by name. Each name makes the options --get-NAME and --set-NAME.
 */

#include "vmmctl.h"

const struct reg_name reg_names[] = {
	{"rax", VMM_REG_RAX},
	{"rbx", VMM_REG_RBX},
	{"rcx", VMM_REG_RCX},
	{"rdx", VMM_REG_RDX},
	{"rsi", VMM_REG_RSI},
	{"rdi", VMM_REG_RDI},
	{"rbp", VMM_REG_RBP},
	{"r8", VMM_REG_R8},
	{"r9", VMM_REG_R9},
	{"r10", VMM_REG_R10},
	{"r11", VMM_REG_R11},
	{"r12", VMM_REG_R12},
	{"r13", VMM_REG_R13},
	{"r14", VMM_REG_R14},
	{"r15", VMM_REG_R15},
	{"rsp", VMM_REG_RSP},
	{"rip", VMM_REG_RIP},
	{"rflags", VMM_REG_RFLAGS},
	{"cr0", VMM_REG_CR0},
	{"cr2", VMM_REG_CR2},
	{"cr3", VMM_REG_CR3},
	{"cr4", VMM_REG_CR4},
	{"cr8", VMM_REG_CR8},
	{"efer", VMM_REG_EFER},
	{"dr0", VMM_REG_DR0},
	{"dr1", VMM_REG_DR1},
	{"dr2", VMM_REG_DR2},
	{"dr3", VMM_REG_DR3},
	{"dr6", VMM_REG_DR6},
	{"dr7", VMM_REG_DR7},
	{"es", VMM_REG_ES},
	{"cs", VMM_REG_CS},
	{"ss", VMM_REG_SS},
	{"ds", VMM_REG_DS},
	{"fs", VMM_REG_FS},
	{"gs", VMM_REG_GS},
	{"ldtr", VMM_REG_LDTR},
	{"tr", VMM_REG_TR},
	{"pdpte0", VMM_REG_PDPTE0},
	{"pdpte1", VMM_REG_PDPTE1},
	{"pdpte2", VMM_REG_PDPTE2},
	{"pdpte3", VMM_REG_PDPTE3},
	{"star", VMM_REG_STAR},
	{"lstar", VMM_REG_LSTAR},
	{"cstar", VMM_REG_CSTAR},
	{"sfmask", VMM_REG_SFMASK},
	{"kgsbase", VMM_REG_KGS_BASE},
	{"sysenter-cs", VMM_REG_SYSENTER_CS},
	{"sysenter-esp", VMM_REG_SYSENTER_ESP},
	{"sysenter-eip", VMM_REG_SYSENTER_EIP},
	{"pat", VMM_REG_PAT},
	{"intr-shadow", VMM_REG_INTR_SHADOW},
};
const size_t reg_names_count = ARRAY_SIZE(reg_names);

const struct reg_name desc_names[] = {
	{"es", VMM_REG_ES},	{"cs", VMM_REG_CS},	{"ss", VMM_REG_SS},	{"ds", VMM_REG_DS},
	{"fs", VMM_REG_FS},	{"gs", VMM_REG_GS},	{"ldtr", VMM_REG_LDTR}, {"tr", VMM_REG_TR},
	{"gdtr", VMM_REG_GDTR}, {"idtr", VMM_REG_IDTR},
};
const size_t desc_names_count = ARRAY_SIZE(desc_names);
