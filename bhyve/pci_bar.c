/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * BARs: where they are at first, and where the guest moves them.
 *
 * What the guest writes into a BAR is kept whatever it is, since it reads sizes that way; whether
 * it is decoded there is another question. A place that cannot be decoded (in memory, over another
 * range) makes the BAR unreachable until it is moved again, and breaks nothing else.
 */

#include <errno.h>
#include <string.h>

#include "pci.h"

enum {
	BAR_IO = 1,
	BAR_64 = 4,
	BAR_PREFETCHABLE = 8,
};

static uint32_t
low_bits(const struct pci_bar *bar)
{
	switch (bar->bar_kind) {
	case PCI_BAR_IO:
		return BAR_IO;
	case PCI_BAR_MEM64:
		return BAR_64 | (bar->bar_prefetchable ? BAR_PREFETCHABLE : 0);
	case PCI_BAR_MEM32:
		return bar->bar_prefetchable ? BAR_PREFETCHABLE : 0;
	default:
		return 0;
	}
}

static uint64_t *
pool(struct pci_bus *bus, enum pci_bar_kind kind, uint64_t *end)
{
	switch (kind) {
	case PCI_BAR_IO:
		*end = PCI_IO_END;
		return &bus->pb_io_next;
	case PCI_BAR_MEM32:
		*end = PCI_MEM32_END;
		return &bus->pb_mem32_next;
	default:
		*end = bus->pb_mem64_base + PCI_MEM64_BYTES;
		return &bus->pb_mem64_next;
	}
}

static int
alloc_bar(struct pci_dev *dev, unsigned int index, enum pci_bar_kind kind, uint64_t bytes, bool own)
{
	struct pci_bar *const bar = &dev->pd_bars[index];
	uint64_t end, *next, base;
	uint8_t mask[8];
	uint64_t writable;

	if (bytes < (kind == PCI_BAR_IO ? 4 : 16) || (bytes & (bytes - 1)) != 0 ||
	    (kind == PCI_BAR_MEM64 && index + 1 >= PCI_BARS))
		return pci_fail(dev, -EINVAL, "a BAR of %#llx bytes is not possible",
				(unsigned long long)bytes);
	next = pool(dev->pd_bus, kind, &end);
	/* Memory BARs have pages of their own: they are mapped, and passed on, by pages. */
	if (kind != PCI_BAR_IO && bytes < 4096)
		base = (*next + 4095) & ~4095ull;
	else
		base = (*next + bytes - 1) & ~(bytes - 1);
	if (base >= end || bytes > end - base)
		return pci_fail(dev, -ENOSPC, "no room is left for a BAR of %#llx bytes",
				(unsigned long long)bytes);
	*next = base + bytes;
	*bar = (struct pci_bar){
		.bar_dev = dev,
		.bar_index = index,
		.bar_kind = kind,
		.bar_own = own,
		.bar_prefetchable = own,
		.bar_bytes = bytes,
		.bar_first = base,
		.bar_base = base,
	};
	writable = ~(bytes - 1);
	memcpy(mask, &writable, sizeof(mask));
	pci_set_writable(dev, PCIR_BAR0 + 4 * index, mask, kind == PCI_BAR_MEM64 ? 8 : 4);
	pci_set32(dev, PCIR_BAR0 + 4 * index, (uint32_t)base | low_bits(bar));
	if (kind == PCI_BAR_MEM64) {
		dev->pd_bars[index + 1].bar_dev = dev;
		dev->pd_bars[index + 1].bar_index = index + 1;
		dev->pd_bars[index + 1].bar_kind = PCI_BAR_MEM64H;
		pci_set32(dev, PCIR_BAR0 + 4 * index + 4, (uint32_t)(base >> 32));
	}
	return 0;
}

int
pci_alloc_bar(struct pci_dev *dev, unsigned int index, enum pci_bar_kind kind, uint64_t bytes)
{
	return alloc_bar(dev, index, kind, bytes, false);
}

int
pci_alloc_bar_own(struct pci_dev *dev, unsigned int index, enum pci_bar_kind kind, uint64_t bytes)
{
	return alloc_bar(dev, index, kind, bytes, true);
}

/* With pd_lock held. */
void
pci_bar_config_written(struct pci_dev *dev, unsigned int index)
{
	struct pci_bar *bar = &dev->pd_bars[index];
	uint64_t value;

	if (bar->bar_kind == PCI_BAR_MEM64H)
		bar = &dev->pd_bars[index - 1];
	if (bar->bar_kind == PCI_BAR_NONE)
		return;
	value = pci_get(dev, PCIR_BAR0 + 4 * bar->bar_index, 4);
	if (bar->bar_kind == PCI_BAR_MEM64)
		value |= (uint64_t)pci_get(dev, PCIR_BAR0 + 4 * bar->bar_index + 4, 4) << 32;
	bar->bar_base = value & ~(bar->bar_bytes - 1);
}

void
pci_bars_reset(struct pci_dev *dev)
{
	for (unsigned int i = 0; i < PCI_BARS; i++)
		pci_bar_config_written(dev, i);
}

static bool
wanted(const struct pci_dev *dev, const struct pci_bar *bar)
{
	const uint8_t command = dev->pd_cfg[PCIR_COMMAND];

	if (bar->bar_kind == PCI_BAR_IO)
		return (command & PCIM_CMD_IO) != 0 && bar->bar_base != 0 &&
		       bar->bar_base + bar->bar_bytes <= 0x10000;
	/* The end must not wrap; and 0 is no address for a BAR. */
	return (command & PCIM_CMD_MEM) != 0 && bar->bar_base != 0 &&
	       bar->bar_base + bar->bar_bytes > bar->bar_base;
}

static int
decode(struct pci_dev *dev, struct pci_bar *bar, bool on, uint64_t base)
{
	const struct pci_hooks *const hooks = &dev->pd_bus->pb_hooks;

	if (bar->bar_own)
		return dev->pd_emul->pe_bar_moved(dev, bar->bar_index, on, base);
	return hooks->ph_decode(hooks->ph_arg, bar, on, base);
}

/* With pd_lock held; takes pb_lock, so that one moves and another takes its place in order. */
void
pci_decode_update(struct pci_dev *dev)
{
	if (!dev->pd_up)
		return;
	pthread_mutex_lock(&dev->pd_bus->pb_lock);
	for (unsigned int i = 0; i < PCI_BARS; i++) {
		struct pci_bar *const bar = &dev->pd_bars[i];
		const bool want = bar->bar_kind != PCI_BAR_NONE &&
				  bar->bar_kind != PCI_BAR_MEM64H && wanted(dev, bar);

		if (bar->bar_decoded && (!want || bar->bar_shown != bar->bar_base)) {
			decode(dev, bar, false, bar->bar_shown);
			bar->bar_decoded = false;
		}
		if (want && !bar->bar_decoded && decode(dev, bar, true, bar->bar_base) == 0) {
			bar->bar_decoded = true;
			bar->bar_shown = bar->bar_base;
		}
	}
	pthread_mutex_unlock(&dev->pd_bus->pb_lock);
}

void
pci_bar_access(struct pci_bar *bar, uint64_t off, unsigned int bytes, bool write, uint64_t *value)
{
	struct pci_dev *const dev = bar->bar_dev;
	const struct pci_emul *const emul = dev->pd_emul;
	const bool msix = dev->pd_msix.mx_vectors != 0 && dev->pd_msix.mx_bar == bar->bar_index;
	const bool inside = off < bar->bar_bytes && bytes <= bar->bar_bytes - off;

	if (write) {
		if (inside && msix)
			pci_msix_write(dev, off, bytes, *value);
		else if (inside && emul->pe_barwrite != NULL)
			emul->pe_barwrite(dev, bar->bar_index, off, bytes, *value);
		return;
	}
	if (inside && msix)
		*value = pci_msix_read(dev, off, bytes);
	else if (inside && emul->pe_barread != NULL)
		*value = emul->pe_barread(dev, bar->bar_index, off, bytes);
	else
		*value = UINT64_MAX;
	if (bytes < 8)
		*value &= (1ull << (8 * bytes)) - 1;
}
