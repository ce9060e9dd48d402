/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The PCI bus of this process's machine: its hooks lead to libvmm and to the registries of ports
 * and addresses.
 */

#ifndef BHYVE_PCI_MACHINE_H
#define BHYVE_PCI_MACHINE_H

#include "acpi.h"
#include "config.h"
#include "libvmm/libvmm.h"
#include "pci.h"

/*
 * Plugs what config's "pci.SLOT" say, and starts it. After the machine's memory was set up, before
 * a vCPU runs. 0, or -errno and *why is a sentence; then pci_machine_stop() is still due.
 */
int pci_machine_start(struct vmctx *ctx, const struct config *config, bool msix, const char **why);
/* No vCPU runs any more. May be called whatever happened before. */
void pci_machine_stop(void);

/* NULL before pci_machine_start(). */
struct pci_bus *pci_machine_bus(void);
/* Fills in the windows that the DSDT tells the guest of. */
void pci_machine_windows(struct acpi_cfg *cfg);

#endif /* BHYVE_PCI_MACHINE_H */
