/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Two devices that are there to be seen: the host bridge, by which a guest knows that there is a
 * PCI bus at all, and the bridge to the ISA ports (LPC), behind which guests expect COM1.
 */

#include <errno.h>

#include "pci_emuls.h"

static int
hostbridge_init(struct pci_dev *dev, const char *conf)
{
	if (conf[0] != '\0')
		return pci_fail(dev, -EINVAL, "it takes no options, got '%s'", conf);
	pci_set_ids(dev, 0x1275, 0x1275, 0x060000); /* as bhyve's */
	return 0;
}

static int
lpc_init(struct pci_dev *dev, const char *conf)
{
	if (conf[0] != '\0')
		return pci_fail(dev, -EINVAL, "it takes no options here, got '%s'; see -l", conf);
	pci_set_ids(dev, 0x8086, 0x7000, 0x060100);
	return 0;
}

const struct pci_emul pci_hostbridge = {
	.pe_name = "hostbridge",
	.pe_help = "what makes the bus a bus; slot 0",
	.pe_init = hostbridge_init,
};

const struct pci_emul pci_lpc = {
	.pe_name = "lpc",
	.pe_help = "the bridge to what -l adds; slot 31 by custom",
	.pe_init = lpc_init,
};
