/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Words for numbers of the interface. Reasons of memory faults are those of vmspace/vmspace.h (enum
 * vm_fault_reason), which user space does not see: the tests compare the two.
 */

#include <errno.h>
#include <string.h>

#include "libvmm/libvmm_priv.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const char *const exits[] = {
	[VMM_EXIT_NONE] = "none",
	[VMM_EXIT_INOUT] = "inout",
	[VMM_EXIT_RDMSR] = "rdmsr",
	[VMM_EXIT_WRMSR] = "wrmsr",
	[VMM_EXIT_HLT] = "hlt",
	[VMM_EXIT_PAUSE] = "pause",
	[VMM_EXIT_MTRAP] = "mtrap",
	[VMM_EXIT_BPT] = "bpt",
	[VMM_EXIT_HYPERCALL] = "hypercall",
	[VMM_EXIT_PAGING] = "paging",
	[VMM_EXIT_MMIO] = "mmio",
	[VMM_EXIT_SUSPENDED] = "suspended",
	[VMM_EXIT_SHUTDOWN] = "shutdown",
	[VMM_EXIT_TIMER] = "timer",
	[VMM_EXIT_TASK_SWITCH] = "task switch",
	[VMM_EXIT_ENTRY_FAILED] = "entry failed",
	[VMM_EXIT_UNKNOWN] = "unknown exit",
};

static const char *const reasons[] = {
	"none",
	"beyond the guest's address space",
	"no map there",
	"the map does not grant the right",
	"neither the host nor reclaim found a page",
	"the machine is at its limit, and nothing of it can be paged out",
	"all machines together are at the limit",
	"no page for a page table",
	"the contents cannot be read back from swap",
	"interrupted",
	"a device's window cannot be held",
};

static const char *const suspends[] = {
	[VMM_SUSPEND_NONE] = "none",
	[VMM_SUSPEND_RESET] = "reset",
	[VMM_SUSPEND_POWEROFF] = "poweroff",
	[VMM_SUSPEND_HALT] = "halt",
	[VMM_SUSPEND_TRIPLEFAULT] = "triplefault",
};

/* bhyve's names, where it has them. */
static const char *const caps[] = {
	[VMM_CAP_HALT_EXIT] = "hlt_exit",    [VMM_CAP_MTRAP_EXIT] = "mtrap_exit",
	[VMM_CAP_PAUSE_EXIT] = "pause_exit", [VMM_CAP_UNRESTRICTED_GUEST] = "unrestricted_guest",
	[VMM_CAP_BPT_EXIT] = "bpt_exit",     [VMM_CAP_PREEMPT_TIMER] = "preempt_timer",
};
_Static_assert(COUNT(caps) == VMM_CAP_COUNT, "each capability has a name");

const char *
vm_exit_name(uint32_t exitcode)
{
	return exitcode < COUNT(exits) ? exits[exitcode] : "unknown";
}

const char *
vm_fault_reason_text(uint32_t reason)
{
	return reason < COUNT(reasons) ? reasons[reason] : "unknown";
}

const char *
vm_suspend_name(uint32_t how)
{
	return how < COUNT(suspends) ? suspends[how] : "unknown";
}

const char *
vm_capability_type2name(enum vmm_cap cap)
{
	return (unsigned int)cap < COUNT(caps) ? caps[cap] : NULL;
}

int
vm_capability_name2type(const char *name)
{
	for (unsigned int i = 0; i < COUNT(caps); i++) {
		if (strcmp(caps[i], name) == 0)
			return (int)i;
	}
	return vmm_fail(-ENOENT, "there is no capability '%.40s'", name);
}
