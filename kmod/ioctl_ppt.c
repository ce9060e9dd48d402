/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/* Calls on passed-through devices, and their configuration space. */

#include "kmod/ppt.h"

int
ioctl_ppt_bind(struct vm *vm, struct vcpu *unused, void *arg)
{
	return ppt_bind(vm, ((const struct vmm_ppt *)arg)->dev);
}

int
ioctl_ppt_unbind(struct vm *vm, struct vcpu *unused, void *arg)
{
	struct ppt *const pp = ppt_find(vm, ((const struct vmm_ppt *)arg)->dev);

	return pp ? ppt_unbind(pp) : -ENOENT;
}

int
ioctl_ppt_map_bar(struct vm *vm, struct vcpu *unused, void *arg)
{
	const struct vmm_ppt_map *const map = arg;
	struct ppt *const pp = ppt_find(vm, map->dev);

	return pp ? ppt_map(pp, map) : -ENOENT;
}

int
ioctl_ppt_unmap_bar(struct vm *vm, struct vcpu *unused, void *arg)
{
	const struct vmm_ppt_map *const map = arg;
	struct ppt *const pp = ppt_find(vm, map->dev);

	return pp ? ppt_unmap(pp, map) : -ENOENT;
}

int
ioctl_ppt_msi(struct vm *vm, struct vcpu *unused, void *arg)
{
	const struct vmm_ppt_msi *const msi = arg;
	struct ppt *const pp = ppt_find(vm, msi->dev);

	return pp ? ppt_msi(pp, msi->vectors, msi->addr, msi->data) : -ENOENT;
}

int
ioctl_ppt_msix(struct vm *vm, struct vcpu *unused, void *arg)
{
	const struct vmm_ppt_msix *const msix = arg;
	struct ppt *const pp = ppt_find(vm, msix->dev);

	if (msix->masked > 1)
		return -EINVAL;
	return pp ? ppt_msix(pp, msix->vector, msix->addr, msix->data, msix->masked) : -ENOENT;
}

static void
describe_bar(struct pci_dev *pdev, unsigned int i, struct vmm_ppt_bar *bar)
{
	const unsigned long flags = pci_resource_flags(pdev, i);
	const u64 bytes = pci_resource_len(pdev, i);

	if (!(flags & (IORESOURCE_IO | IORESOURCE_MEM)) || bytes == 0)
		return;
	bar->len_bytes = bytes;
	if (flags & IORESOURCE_IO)
		bar->flags |= VMM_PPT_BAR_IO;
	else if (PAGE_ALIGNED(pci_resource_start(pdev, i)) && PAGE_ALIGNED(bytes))
		bar->flags |= VMM_PPT_BAR_WINDOW;
	if (flags & IORESOURCE_MEM_64)
		bar->flags |= VMM_PPT_BAR_64;
	if (flags & IORESOURCE_PREFETCH)
		bar->flags |= VMM_PPT_BAR_PREFETCH;
}

int
ioctl_ppt_info(struct vm *vm, struct vcpu *unused, void *arg)
{
	struct vmm_ppt_info *const info = arg;
	struct ppt *const pp = ppt_find(vm, info->dev);
	unsigned int bar = 0, i;
	u32 off = 0;

	if (!pp)
		return -ENOENT;
	*info = (struct vmm_ppt_info){
		.dev = info->dev,
		.flags = pp->pp_pdev->reset_methods[0] ? VMM_PPT_CAN_RESET : 0,
		.msi_vectors = max(pci_msi_vec_count(pp->pp_pdev), 0),
		.msix_vectors = ppt_msix_table(pp->pp_pdev, &bar, &off),
		.msix_bar = bar,
		.msix_off_bytes = off,
		.faults = READ_ONCE(pp->pp_faults),
		.fault_addr = READ_ONCE(pp->pp_fault_addr),
	};
	for (i = 0; i < VMM_PPT_BARS; i++)
		describe_bar(pp->pp_pdev, i, &info->bars[i]);
	return 0;
}

/* ---- Configuration space --------------------------------------------------------------------- */

/* Registers that hold addresses of the host: BARs, and the one of a ROM. */
static bool
is_address(u32 off)
{
	return (off >= PCI_BASE_ADDRESS_0 && off < PCI_CARDBUS_CIS) ||
	       (off & ~3u) == PCI_ROM_ADDRESS;
}

static bool
is_vendors(struct pci_dev *pdev, u32 off, u32 bytes)
{
	u8 at = pci_find_capability(pdev, PCI_CAP_ID_VNDR);
	unsigned int most = 64;
	u8 len;

	for (; at && most--; at = pci_find_next_capability(pdev, at, PCI_CAP_ID_VNDR)) {
		pci_read_config_byte(pdev, at + 2, &len); /* its header counts */
		if (off >= at + 3u && off + bytes <= (u32)at + len)
			return true;
	}
	return false;
}

static void
config_read(struct pci_dev *pdev, struct vmm_ppt_config *c)
{
	u32 value = 0;
	u16 word = 0;
	u8 byte = 0;

	if (is_address(c->off)) {
		c->value = 0;
		return;
	}
	if (c->bytes == 1)
		pci_read_config_byte(pdev, c->off, &byte);
	else if (c->bytes == 2)
		pci_read_config_word(pdev, c->off, &word);
	else
		pci_read_config_dword(pdev, c->off, &value);
	c->value = (u64)value | word | byte;
}

static void
config_write(struct pci_dev *pdev, const struct vmm_ppt_config *c)
{
	if (c->off == PCI_COMMAND) {
		if (c->value & PCI_COMMAND_MASTER)
			pci_set_master(pdev);
		else
			pci_clear_master(pdev);
	} else if (is_vendors(pdev, c->off, c->bytes)) {
		if (c->bytes == 1)
			pci_write_config_byte(pdev, c->off, c->value);
		else if (c->bytes == 2)
			pci_write_config_word(pdev, c->off, c->value);
		else
			pci_write_config_dword(pdev, c->off, c->value);
	}
}

int
ioctl_ppt_config(struct vm *vm, struct vcpu *unused, void *arg)
{
	struct vmm_ppt_config *const c = arg;
	struct ppt *const pp = ppt_find(vm, c->dev);

	if (!pp)
		return -ENOENT;
	if ((c->bytes != 1 && c->bytes != 2 && c->bytes != 4) || c->off % c->bytes != 0 ||
	    c->off >= PCI_CFG_SPACE_SIZE || c->write > 1)
		return -EINVAL;
	mutex_lock(&pp->pp_lock);
	if (c->write)
		config_write(pp->pp_pdev, c);
	else
		config_read(pp->pp_pdev, c);
	mutex_unlock(&pp->pp_lock);
	return 0;
}
