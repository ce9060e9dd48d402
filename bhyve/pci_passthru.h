/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A passed-through device: what its two files share. pci_passthru.c has its identity, BARs and
 * life, pci_passthru_intr.c its interrupts.
 *
 * Lock: pt_lock (interrupts, and the calls that change them), then the device's pd_lock.
 */

#ifndef BHYVE_PCI_PASSTHRU_H
#define BHYVE_PCI_PASSTHRU_H

#include "libvmm/libvmm.h"
#include "pci.h"

#define PASSTHRU_CAPS 16

/* A capability of the vendor's own: where the guest finds it, and where the device has it. */
struct passthru_cap {
	unsigned int pc_guest;
	unsigned int pc_device;
	unsigned int pc_bytes;
};

struct passthru_vector {
	struct pci_msix_entry pv_entry; /* what the guest wrote */
	struct pci_msix_entry pv_told;	/* what the module was told, if pv_on */
	bool pv_on;
};

struct passthru {
	struct vmctx *pt_ctx;
	uint32_t pt_dev;
	bool pt_assigned;
	struct vmm_ppt_info pt_info;
	struct passthru_cap pt_caps[PASSTHRU_CAPS];
	unsigned int pt_ncaps;
	bool pt_shown[PCI_BARS];

	unsigned int pt_msi; /* offsets of its capabilities; 0: none */
	unsigned int pt_msix;
	uint64_t pt_hidden, pt_hidden_end; /* pages of the BAR msix_bar that hold the table */
	pthread_mutex_t pt_lock;
	bool pt_msi_on;
	bool pt_msix_on;
	bool pt_complained;
	struct passthru_vector *pt_vectors;
};

/* Adds the capabilities. With neither, what interrupts it has are not passed on: an error. */
int passthru_intr_init(struct pci_dev *dev, struct passthru *pt);
void passthru_intr_fini(struct passthru *pt);
/* The module has switched them off, the bus has reset the capabilities. */
void passthru_intr_reset(struct passthru *pt);
/* Did the write concern one of the capabilities? Then it is done. */
bool passthru_intr_cfgwrite(struct pci_dev *dev, struct passthru *pt, unsigned int off,
			    unsigned int bytes, uint32_t value);
/* Accesses to the BAR msix_bar, in the pages that hold the table. */
uint64_t passthru_table_read(struct passthru *pt, uint64_t off, unsigned int bytes);
void passthru_table_write(struct pci_dev *dev, struct passthru *pt, uint64_t off,
			  unsigned int bytes, uint64_t value);

/* A word of the device's own configuration space; an error has its sentence. */
int passthru_config(struct pci_dev *dev, struct passthru *pt, unsigned int off, unsigned int bytes,
		    uint32_t *value);
/* The next capability of that kind behind offset `after` (0: the first); 0: none. */
unsigned int passthru_find_cap(struct pci_dev *dev, struct passthru *pt, unsigned int id,
			       unsigned int after);

#endif /* BHYVE_PCI_PASSTHRU_H */
