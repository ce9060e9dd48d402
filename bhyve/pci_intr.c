/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Interrupts of devices: MSI-X messages, and INTx lines that several devices share.
 *
 * A vector that is masked when it is raised stays pending and is sent at the moment nothing masks
 * it any more. A line is high as long as one device holds it; each device's share is remembered, so
 * that it can be taken back when the guest turns INTx off or MSI-X on, and given again after.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pci.h"

enum {
	MSIX_ENABLE = 1 << 15, /* of the control word, at offset 2 of the capability */
	MSIX_MASK_ALL = 1 << 14,
	MSIX_VECTORS_MAX = 128,
	MSIX_PBA = MSIX_VECTORS_MAX * PCI_MSIX_ENTRY_BYTES, /* behind the largest table */
	MSIX_BAR_BYTES = 4096,
};

/* ---- MSI-X ----------------------------------------------------------------------------------- */

int
pci_add_msix(struct pci_dev *dev, unsigned int bar, unsigned int vectors)
{
	static const uint8_t control[2] = {0, (MSIX_ENABLE | MSIX_MASK_ALL) >> 8};
	struct pci_msix *const mx = &dev->pd_msix;
	uint8_t cap[12] = {PCIC_MSIX, 0};
	const uint32_t table = bar, pba = MSIX_PBA | bar;
	int at, error;

	if (vectors == 0 || vectors > MSIX_VECTORS_MAX)
		return pci_fail(dev, -EINVAL, "MSI-X has 1 to %d vectors", MSIX_VECTORS_MAX);
	if (dev->pd_bus->pb_no_msix)
		return 0;
	error = pci_alloc_bar(dev, bar, PCI_BAR_MEM32, MSIX_BAR_BYTES);
	if (error != 0)
		return error;
	cap[2] = (uint8_t)(vectors - 1);
	memcpy(cap + 4, &table, sizeof(table));
	memcpy(cap + 8, &pba, sizeof(pba));
	at = pci_add_cap(dev, cap, sizeof(cap));
	if (at < 0)
		return at;
	pci_set_writable(dev, (unsigned int)at + 2, control, sizeof(control));
	mx->mx_table = calloc(vectors, sizeof(*mx->mx_table));
	mx->mx_pending = calloc((vectors + 63) / 64, sizeof(*mx->mx_pending));
	if (mx->mx_table == NULL || mx->mx_pending == NULL)
		return pci_fail(dev, -ENOMEM, "not enough memory");
	mx->mx_bar = bar;
	mx->mx_cap = (unsigned int)at;
	mx->mx_vectors = vectors;
	pci_msix_reset(dev);
	return 0;
}

void
pci_msix_reset(struct pci_dev *dev)
{
	struct pci_msix *const mx = &dev->pd_msix;

	for (unsigned int i = 0; i < mx->mx_vectors; i++) {
		mx->mx_table[i] = (struct pci_msix_entry){.me_mask = 1};
		mx->mx_pending[i / 64] = 0;
	}
}

static uint16_t
msix_control(const struct pci_dev *dev)
{
	return (uint16_t)pci_get(dev, dev->pd_msix.mx_cap + 2, 2);
}

static bool
msix_enabled(const struct pci_dev *dev)
{
	return dev->pd_msix.mx_vectors != 0 && (msix_control(dev) & MSIX_ENABLE) != 0;
}

bool
pci_msix_on(struct pci_dev *dev)
{
	bool on;

	pthread_mutex_lock(&dev->pd_lock);
	on = msix_enabled(dev);
	pthread_mutex_unlock(&dev->pd_lock);
	return on;
}

/* With pd_lock held. A message is a write to memory: only a bus master can send it. */
static bool
may_send(const struct pci_dev *dev, unsigned int vector)
{
	const uint16_t control = msix_control(dev);

	return (control & MSIX_ENABLE) != 0 && (control & MSIX_MASK_ALL) == 0 &&
	       (dev->pd_cfg[PCIR_COMMAND] & PCIM_CMD_BUSMASTER) != 0 &&
	       (dev->pd_msix.mx_table[vector].me_mask & 1) == 0;
}

static void
send(struct pci_dev *dev, unsigned int vector)
{
	const struct pci_msix_entry *const entry = &dev->pd_msix.mx_table[vector];
	const struct pci_hooks *const hooks = &dev->pd_bus->pb_hooks;

	dev->pd_msix.mx_pending[vector / 64] &= ~(1ull << vector % 64);
	hooks->ph_msi(hooks->ph_arg, entry->me_addr, entry->me_data);
}

void
pci_msix_flush(struct pci_dev *dev)
{
	const struct pci_msix *const mx = &dev->pd_msix;

	for (unsigned int i = 0; i < mx->mx_vectors; i++) {
		if ((mx->mx_pending[i / 64] >> i % 64 & 1) != 0 && may_send(dev, i))
			send(dev, i);
	}
}

void
pci_msix_raise(struct pci_dev *dev, unsigned int vector)
{
	pthread_mutex_lock(&dev->pd_lock);
	if (vector < dev->pd_msix.mx_vectors && msix_enabled(dev)) {
		if (may_send(dev, vector))
			send(dev, vector);
		else
			dev->pd_msix.mx_pending[vector / 64] |= 1ull << vector % 64;
	}
	pthread_mutex_unlock(&dev->pd_lock);
}

uint32_t
pci_msix_word(const struct pci_msix_entry *entry, uint64_t off)
{
	switch (off % PCI_MSIX_ENTRY_BYTES) {
	case 0:
		return (uint32_t)entry->me_addr;
	case 4:
		return (uint32_t)(entry->me_addr >> 32);
	case 8:
		return entry->me_data;
	default:
		return entry->me_mask;
	}
}

void
pci_msix_set_word(struct pci_msix_entry *entry, uint64_t off, uint32_t value)
{
	switch (off % PCI_MSIX_ENTRY_BYTES) {
	case 0:
		entry->me_addr = (entry->me_addr & ~(uint64_t)UINT32_MAX) | (value & ~3u);
		break;
	case 4:
		entry->me_addr = (entry->me_addr & UINT32_MAX) | (uint64_t)value << 32;
		break;
	case 8:
		entry->me_data = value;
		break;
	default:
		entry->me_mask = value & 1;
		break;
	}
}

/* One 32-bit word of the BAR. */
static uint32_t
msix_word(const struct pci_dev *dev, uint64_t off)
{
	const struct pci_msix *const mx = &dev->pd_msix;

	if (off / PCI_MSIX_ENTRY_BYTES < mx->mx_vectors)
		return pci_msix_word(&mx->mx_table[off / PCI_MSIX_ENTRY_BYTES], off);
	if (off >= MSIX_PBA && (off - MSIX_PBA) * 8 < mx->mx_vectors)
		return (uint32_t)(mx->mx_pending[(off - MSIX_PBA) / 8] >> (off % 8 * 8));
	return 0;
}

uint64_t
pci_msix_read(struct pci_dev *dev, uint64_t off, unsigned int bytes)
{
	uint64_t value;

	/* Other accesses than of 4 and 8 bytes, aligned, are undefined. */
	if ((bytes != 4 && bytes != 8) || off % bytes != 0)
		return UINT64_MAX;
	pthread_mutex_lock(&dev->pd_lock);
	value = msix_word(dev, off);
	if (bytes == 8)
		value |= (uint64_t)msix_word(dev, off + 4) << 32;
	pthread_mutex_unlock(&dev->pd_lock);
	return value;
}

static void
set_msix_word(struct pci_dev *dev, uint64_t off, uint32_t value)
{
	/* Pending bits are not written. */
	if (off / PCI_MSIX_ENTRY_BYTES < dev->pd_msix.mx_vectors)
		pci_msix_set_word(&dev->pd_msix.mx_table[off / PCI_MSIX_ENTRY_BYTES], off, value);
}

void
pci_msix_write(struct pci_dev *dev, uint64_t off, unsigned int bytes, uint64_t value)
{
	if ((bytes != 4 && bytes != 8) || off % bytes != 0)
		return;
	pthread_mutex_lock(&dev->pd_lock);
	set_msix_word(dev, off, (uint32_t)value);
	if (bytes == 8)
		set_msix_word(dev, off + 4, (uint32_t)(value >> 32));
	pci_msix_flush(dev);
	pthread_mutex_unlock(&dev->pd_lock);
}

/* ---- INTx ------------------------------------------------------------------------------------ */

void
pci_add_intx(struct pci_dev *dev)
{
	dev->pd_gsi = (int)pci_gsi(dev->pd_slot, dev->pd_func % 4);
	pci_set8(dev, PCIR_INTR_PIN, (uint8_t)(1 + dev->pd_func % 4));
	pci_set8(dev, PCIR_INTR_LINE, (uint8_t)dev->pd_gsi);
}

/* With pd_lock held. The line is changed under pb_lock, so that two devices' changes do not
 * overtake each other on their way to the IOAPIC. */
void
pci_intx_update(struct pci_dev *dev)
{
	const struct pci_hooks *const hooks = &dev->pd_bus->pb_hooks;
	const uint16_t command = (uint16_t)pci_get(dev, PCIR_COMMAND, 2);
	const bool on = dev->pd_intx && (command & PCIM_CMD_INTX_OFF) == 0 && !msix_enabled(dev);
	unsigned int *count;

	if (dev->pd_gsi < 0)
		return;
	if (dev->pd_intx)
		dev->pd_cfg[PCIR_STATUS] |= PCIM_STATUS_INTX;
	else
		dev->pd_cfg[PCIR_STATUS] &= (uint8_t)~PCIM_STATUS_INTX;
	if (on == dev->pd_intx_on)
		return;
	dev->pd_intx_on = on;
	pthread_mutex_lock(&dev->pd_bus->pb_lock);
	count = &dev->pd_bus->pb_lines[dev->pd_gsi - PCI_GSI_BASE];
	if (on && (*count)++ == 0)
		hooks->ph_irq(hooks->ph_arg, (unsigned int)dev->pd_gsi, true);
	else if (!on && --*count == 0)
		hooks->ph_irq(hooks->ph_arg, (unsigned int)dev->pd_gsi, false);
	pthread_mutex_unlock(&dev->pd_bus->pb_lock);
}

void
pci_intx(struct pci_dev *dev, bool level)
{
	pthread_mutex_lock(&dev->pd_lock);
	dev->pd_intx = level;
	pci_intx_update(dev);
	pthread_mutex_unlock(&dev->pd_lock);
}
