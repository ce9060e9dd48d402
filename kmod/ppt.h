/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * PCI passthrough: what its files share.
 *
 *	ppt.c		the driver that owns devices; a machine takes one and gives it back; windows
 *	ppt_intr.c	its interrupts, which become the guest's messages
 *	ioctl_ppt.c	the calls; configuration space
 *
 * A device's machine changes under ppt_lock, and only within calls of class WRITERS, when the
 * machine ends, and, with the locks of class WRITERS, when the driver must let the device go. Calls
 * of class READERS that have found it use it without that lock. ppt_lock comes after vmm_quiet and
 * before vmspace's locks.
 */

#ifndef KMOD_PPT_H
#define KMOD_PPT_H

#include <linux/pci.h>

#include "kmod/vmm_priv.h"

struct ppt;

/* A host interrupt, and the guest's message that it becomes. */
struct ppt_vector {
	struct ppt *pv_ppt;
	spinlock_t pv_lock; /* the message; hard interrupts take it */
	u64 pv_addr;
	u32 pv_data;
	bool pv_on; /* requested */
};

struct ppt {
	struct list_head pp_link; /* all of the driver's; ppt_lock */
	struct pci_dev *pp_pdev;
	struct vm *pp_vm; /* ppt_lock; NULL: nobody's */
	wait_queue_head_t pp_free;
	struct work_struct pp_take;  /* from its machine, when the driver must let it go */
	struct list_head pp_windows; /* class WRITERS */

	struct mutex pp_lock; /* interrupts, configuration */
	unsigned int pp_nvectors;
	bool pp_msix;
	struct ppt_vector *pp_vectors;

	u64 pp_faults;
	u64 pp_fault_addr;
};

static inline u32
ppt_dev(const struct pci_dev *pdev)
{
	return VMM_PPT_DEV(pci_domain_nr(pdev->bus), pdev->bus->number, PCI_SLOT(pdev->devfn),
			   PCI_FUNC(pdev->devfn));
}

/* One that the machine has; NULL: it has it not. */
struct ppt *ppt_find(struct vm *vm, u32 dev);

int ppt_bind(struct vm *vm, u32 dev);
int ppt_unbind(struct ppt *pp);
int ppt_map(struct ppt *pp, const struct vmm_ppt_map *map);
int ppt_unmap(struct ppt *pp, const struct vmm_ppt_map *map);

/* Where the MSI-X table is; the number of vectors, 0: it has none. */
unsigned int ppt_msix_table(struct pci_dev *pdev, unsigned int *bar, u32 *off);
int ppt_msi(struct ppt *pp, unsigned int vectors, u64 addr, u32 data);
int ppt_msix(struct ppt *pp, u32 vector, u64 addr, u32 data, bool masked);
void ppt_intr_off(struct ppt *pp);

#endif /* KMOD_PPT_H */
