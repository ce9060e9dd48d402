/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Each device's only public name; what it is, is in the file that defines it. */

#ifndef BHYVE_PCI_EMULS_H
#define BHYVE_PCI_EMULS_H

#include "pci.h"

extern const struct pci_emul pci_fbuf;
extern const struct pci_emul pci_hostbridge; /* pci_bridges.c */
extern const struct pci_emul pci_lpc;	     /* pci_bridges.c */
extern const struct pci_emul pci_passthru;
extern const struct pci_emul pci_virtio_blk;
extern const struct pci_emul pci_virtio_console;
extern const struct pci_emul pci_virtio_net;
extern const struct pci_emul pci_virtio_rnd;

#endif /* BHYVE_PCI_EMULS_H */
