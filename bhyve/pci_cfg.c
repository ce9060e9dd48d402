/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Configuration space, and the two ways a guest reaches it.
 *
 * The default is a register file with a mask of what may be written; three places do more: BARs,
 * the command register, and MSI-X's control word. An access that is not naturally aligned, or that
 * meets no device, reads all ones and writes nothing, as a master abort does.
 */

#include <errno.h>
#include <string.h>

#include "pci.h"

static uint32_t
ones(unsigned int bytes)
{
	return bytes >= 4 ? UINT32_MAX : (1u << (8 * bytes)) - 1;
}

/* ---- Registers, from the device's side ------------------------------------------------------- */

void
pci_set8(struct pci_dev *dev, unsigned int off, uint8_t value)
{
	dev->pd_cfg[off] = value;
}

void
pci_set16(struct pci_dev *dev, unsigned int off, uint16_t value)
{
	memcpy(dev->pd_cfg + off, &value, sizeof(value));
}

void
pci_set32(struct pci_dev *dev, unsigned int off, uint32_t value)
{
	memcpy(dev->pd_cfg + off, &value, sizeof(value));
}

uint32_t
pci_get(const struct pci_dev *dev, unsigned int off, unsigned int bytes)
{
	uint32_t value = 0;

	memcpy(&value, dev->pd_cfg + off, bytes);
	return value;
}

void
pci_set_ids(struct pci_dev *dev, uint16_t vendor, uint16_t device, uint32_t class_code)
{
	pci_set16(dev, PCIR_VENDOR, vendor);
	pci_set16(dev, PCIR_DEVICE, device);
	pci_set8(dev, PCIR_PROGIF, (uint8_t)class_code);
	pci_set8(dev, PCIR_SUBCLASS, (uint8_t)(class_code >> 8));
	pci_set8(dev, PCIR_CLASS, (uint8_t)(class_code >> 16));
}

void
pci_set_writable(struct pci_dev *dev, unsigned int off, const void *mask, size_t n)
{
	memcpy(dev->pd_writable + off, mask, n);
}

int
pci_add_cap(struct pci_dev *dev, const void *cap, size_t bytes)
{
	const unsigned int at = dev->pd_cap_next;

	if (bytes < 2 || at + bytes > PCI_CFG_BYTES)
		return pci_fail(dev, -ENOSPC, "no room for another capability");
	memcpy(dev->pd_cfg + at, cap, bytes);
	dev->pd_cfg[at + 1] = 0;
	dev->pd_cfg[dev->pd_cap_last == 0 ? PCIR_CAP_PTR : dev->pd_cap_last + 1] = (uint8_t)at;
	dev->pd_cfg[PCIR_STATUS] |= PCIM_STATUS_CAPS;
	dev->pd_cap_last = at;
	dev->pd_cap_next = (at + (unsigned int)bytes + 3) & ~3u;
	return (int)at;
}

bool
pci_may_dma(struct pci_dev *dev)
{
	bool may;

	pthread_mutex_lock(&dev->pd_lock);
	may = (dev->pd_cfg[PCIR_COMMAND] & PCIM_CMD_BUSMASTER) != 0;
	pthread_mutex_unlock(&dev->pd_lock);
	return may;
}

/* ---- From the guest's side ------------------------------------------------------------------- */

static uint32_t
cfg_read(struct pci_dev *dev, unsigned int off, unsigned int bytes)
{
	uint32_t value;

	if (dev->pd_emul->pe_cfgread != NULL && dev->pd_emul->pe_cfgread(dev, off, bytes, &value))
		return value & ones(bytes);
	if (off + bytes > PCI_CFG_BYTES)
		return ones(bytes);
	pthread_mutex_lock(&dev->pd_lock);
	value = pci_get(dev, off, bytes);
	pthread_mutex_unlock(&dev->pd_lock);
	return value;
}

void
pci_write_bits(struct pci_dev *dev, unsigned int off, unsigned int bytes, uint32_t value)
{
	for (unsigned int i = 0; i < bytes; i++) {
		const uint8_t mask = dev->pd_writable[off + i];
		uint8_t *const at = &dev->pd_cfg[off + i];

		*at = (uint8_t)((*at & ~mask) | ((value >> (8 * i)) & mask));
	}
}

static void
cfg_write(struct pci_dev *dev, unsigned int off, unsigned int bytes, uint32_t value)
{
	const unsigned int bars_end = PCIR_BAR0 + 4 * PCI_BARS;

	if (dev->pd_emul->pe_cfgwrite != NULL && dev->pd_emul->pe_cfgwrite(dev, off, bytes, value))
		return;
	if (off + bytes > PCI_CFG_BYTES)
		return;
	pthread_mutex_lock(&dev->pd_lock);
	pci_write_bits(dev, off, bytes, value);
	if (off >= PCIR_BAR0 && off < bars_end) {
		pci_bar_config_written(dev, (off - PCIR_BAR0) / 4);
		pci_decode_update(dev);
	}
	if (off < PCIR_COMMAND + 2 && off + bytes > PCIR_COMMAND)
		pci_decode_update(dev);
	if (dev->pd_msix.mx_vectors != 0 && off <= dev->pd_msix.mx_cap + 3 &&
	    off + bytes > dev->pd_msix.mx_cap)
		pci_msix_flush(dev);
	pci_intx_update(dev); /* MSI-X or the command register may have turned it off */
	pthread_mutex_unlock(&dev->pd_lock);
}

static void
access_cfg(struct pci_bus *bus, unsigned int bdf, unsigned int off, unsigned int bytes, bool write,
	   uint32_t *value)
{
	const unsigned int slot = bdf >> 3 & 31, func = bdf & 7;
	struct pci_dev *const dev = bdf >> 8 == 0 ? bus->pb_devs[slot][func] : NULL;

	if (dev == NULL || (bytes != 1 && bytes != 2 && bytes != 4) || off % bytes != 0) {
		if (!write)
			*value = ones(bytes);
		return;
	}
	if (write)
		cfg_write(dev, off, bytes, *value & ones(bytes));
	else
		*value = cfg_read(dev, off, bytes);
}

void
pci_port_access(struct pci_bus *bus, unsigned int port, unsigned int bytes, bool write,
		uint32_t *value)
{
	uint32_t address;

	if (port == 0xcf8 && bytes == 4) {
		pthread_mutex_lock(&bus->pb_lock);
		if (write)
			bus->pb_cf8 = *value & 0x80fffffc;
		else
			*value = bus->pb_cf8;
		pthread_mutex_unlock(&bus->pb_lock);
		return;
	}
	pthread_mutex_lock(&bus->pb_lock);
	address = bus->pb_cf8;
	pthread_mutex_unlock(&bus->pb_lock);
	/* Other widths at 0xcf8 are plain ports, of which there are none. */
	if (port < 0xcfc || (address & 0x80000000) == 0) {
		if (!write)
			*value = ones(bytes);
		return;
	}
	access_cfg(bus, address >> 8 & 0xffff, (address & 0xfc) + (port - 0xcfc), bytes, write,
		   value);
}

void
pci_ecam_access(struct pci_bus *bus, uint64_t off, unsigned int bytes, bool write, uint64_t *value)
{
	uint32_t word = (uint32_t)*value;

	/* As a host bridge does with 8 bytes: two of 4, the lower first. */
	if (bytes == 8 && off % 8 == 0) {
		uint64_t high = *value >> 32;

		pci_ecam_access(bus, off, 4, write, value);
		pci_ecam_access(bus, off + 4, 4, write, &high);
		if (!write)
			*value = (*value & UINT32_MAX) | high << 32;
		return;
	}
	access_cfg(bus, (unsigned int)(off >> 12 & 0xffff), off & 0xfff, bytes, write, &word);
	if (!write)
		*value = word;
}
