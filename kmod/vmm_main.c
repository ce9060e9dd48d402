/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The module: what is brought up when it is loaded, in order, and taken down in the opposite one.
 * Nodes and sysctls come last: when they can be found, everything behind them is there.
 */

#include <linux/module.h>

#include "host/host_linux.h"
#include "kmod/vmm_priv.h"

static const struct {
	int (*init)(void);
	void (*exit)(void);
} parts[] = {
	{host_linux_init, host_linux_fini},
	{run_init, NULL},
	{hw_init, hw_exit},
	{vm_system_init, vm_system_exit},
	{mappings_init, mappings_exit},
	{pageout_init, pageout_exit},
	{ppt_init, ppt_exit},
	{debugfs_init, debugfs_exit},
	{dev_init, dev_exit},
	{sysctl_init, sysctl_exit},
};

static void
take_down(size_t n)
{
	while (n-- > 0)
		if (parts[n].exit)
			parts[n].exit();
}

static int __init
vmm_init(void)
{
	size_t i;
	int error;

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		error = parts[i].init();
		if (error) {
			take_down(i);
			return error;
		}
	}
	return 0;
}

static void __exit
vmm_exit(void)
{
	take_down(ARRAY_SIZE(parts));
}

module_init(vmm_init);
module_exit(vmm_exit);

MODULE_DESCRIPTION("skep: guest memory and virtual CPUs");
MODULE_AUTHOR("The skep authors");
MODULE_LICENSE("Dual BSD/GPL");
