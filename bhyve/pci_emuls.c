/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* The devices that -s knows. To add one: declare it in pci_emuls.h, and give it a line here. */

#include "pci_emuls.h"

const struct pci_emul *const pci_emuls[] = {
	&pci_fbuf,	     &pci_hostbridge, &pci_lpc,	       &pci_passthru, &pci_virtio_blk,
	&pci_virtio_console, &pci_virtio_net, &pci_virtio_rnd, NULL,
};
