/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The module: what is brought up when it is loaded, in order, and taken down in the opposite one.
 */

#include <linux/module.h>

#include "host/host_linux.h"

static int __init
vmm_init(void)
{
	return host_linux_init();
}

static void __exit
vmm_exit(void)
{
	host_linux_fini();
}

module_init(vmm_init);
module_exit(vmm_exit);

MODULE_DESCRIPTION("skep: guest memory and virtual CPUs");
MODULE_AUTHOR("The skep authors");
MODULE_LICENSE("Dual BSD/GPL");
