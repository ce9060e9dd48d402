/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * passthru: a PCI device of the host, which the module's driver vmm_ppt owns
 * (kmod/uapi/vmm_ppt.h, docs/PASSTHROUGH.md).
 *
 * The guest sees the device's identity, and BARs of the same sizes where this bus puts them; each
 * memory BAR is a window that the module shows there, and follows when the guest moves it. Its MSI
 * capability is one of ours: what the guest writes into it is the message that the module sends
 * when the host gets the device's interrupt. Bus master goes to the device itself.
 *
 * Not passed on: I/O BARs, BARs that are not whole pages, MSI-X (a device that has it works by
 * MSI, if it has that), and other capabilities.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvmm/libvmm.h"
#include "pci_emuls.h"

enum {
	MSI_CAP = 0x05,
	MSI_CONTROL = 2, /* offsets in the capability */
	MSI_ADDR = 4,
	MSI_DATA = 12,
	MSI_BYTES = 14,
	MSI_ENABLE = 1 << 0, /* of the control word */
	MSI_MMC_SHIFT = 1,
	MSI_MME_SHIFT = 4,
	MSI_64 = 1 << 7,
};

struct passthru {
	struct vmctx *pt_ctx;
	uint32_t pt_dev;
	bool pt_assigned;
	unsigned int pt_msi; /* offset of its capability; 0: none */
	pthread_mutex_t pt_lock;
	bool pt_msi_on; /* under pt_lock, and so calls that change it */
	bool pt_shown[PCI_BARS];
};

/* "bus/slot/function", as bhyve has it, or "[segment:]bus:slot.function". */
static bool
parse_device(const char *text, uint32_t *dev)
{
	unsigned int segment = 0, bus, slot, func;
	int end = -1;

	if (sscanf(text, "%u/%u/%u%n", &bus, &slot, &func, &end) != 3 || end < 0 || text[end]) {
		end = -1;
		if (sscanf(text, "%x:%x:%x.%u%n", &segment, &bus, &slot, &func, &end) != 4 ||
		    end < 0 || text[end]) {
			segment = 0;
			end = -1;
			if (sscanf(text, "%x:%x.%u%n", &bus, &slot, &func, &end) != 3 || end < 0 ||
			    text[end])
				return false;
		}
	}
	if (segment > 0xffff || bus > 0xff || slot > 0x1f || func > 7)
		return false;
	*dev = VMM_PPT_DEV(segment, bus, slot, func);
	return true;
}

/* ---- What the guest finds -------------------------------------------------------------------- */

static int
copy_identity(struct pci_dev *dev, struct passthru *pt)
{
	static const unsigned int offsets[] = {PCIR_VENDOR, PCIR_REVISION, PCIR_SUBVENDOR};

	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		uint32_t value;

		if (vm_pptdev_config(pt->pt_ctx, pt->pt_dev, false, offsets[i], 4, &value) != 0)
			return pci_fail(dev, -EIO, "%s", vmm_errmsg());
		pci_set32(dev, offsets[i], value);
	}
	return 0;
}

static int
make_bars(struct pci_dev *dev, const struct vmm_ppt_info *info)
{
	for (unsigned int i = 0; i < PCI_BARS; i++) {
		const struct vmm_ppt_bar *const bar = &info->bars[i];
		int error;

		if (!(bar->flags & VMM_PPT_BAR_WINDOW))
			continue;
		error = pci_alloc_bar_own(
			dev, i, bar->flags & VMM_PPT_BAR_64 ? PCI_BAR_MEM64 : PCI_BAR_MEM32,
			bar->len_bytes);
		if (error != 0)
			return error;
	}
	return 0;
}

static int
make_msi(struct pci_dev *dev, struct passthru *pt, unsigned int vectors)
{
	uint8_t cap[MSI_BYTES] = {MSI_CAP};
	const uint8_t writable[MSI_BYTES] = {
		[MSI_CONTROL] = MSI_ENABLE | 7 << MSI_MME_SHIFT,
		[MSI_ADDR] = 0xfc,
		[MSI_ADDR + 1] = 0xff,
		[MSI_ADDR + 2] = 0xff,
		[MSI_ADDR + 3] = 0xff,
		[MSI_ADDR + 4] = 0xff,
		[MSI_ADDR + 5] = 0xff,
		[MSI_ADDR + 6] = 0xff,
		[MSI_ADDR + 7] = 0xff,
		[MSI_DATA] = 0xff,
		[MSI_DATA + 1] = 0xff,
	};
	unsigned int log2 = 0;
	int at;

	if (vectors == 0)
		return 0;
	while (2u << log2 <= vectors && log2 < 5)
		log2++;
	cap[MSI_CONTROL] = (uint8_t)(MSI_64 | log2 << MSI_MMC_SHIFT);
	at = pci_add_cap(dev, cap, sizeof(cap));
	if (at < 0)
		return at;
	pt->pt_msi = (unsigned int)at;
	pci_set_writable(dev, pt->pt_msi, writable, sizeof(writable));
	return 0;
}

/* ---- What the guest does --------------------------------------------------------------------- */

static int
passthru_bar_moved(struct pci_dev *dev, unsigned int bar, bool on, uint64_t gpa)
{
	struct passthru *const pt = dev->pd_arg;
	const uint64_t bytes = dev->pd_bars[bar].bar_bytes;
	int error;

	if (on == pt->pt_shown[bar])
		return 0;
	error = on ? vm_map_pptdev_mmio(pt->pt_ctx, pt->pt_dev, bar, 0, bytes, gpa)
		   : vm_unmap_pptdev_mmio(pt->pt_ctx, pt->pt_dev, bar, 0, bytes, gpa);
	if (error == 0)
		pt->pt_shown[bar] = on;
	return error;
}

/* The capability was written: the message that it says, or none. A bad one is no interrupt. */
static void
update_msi(struct pci_dev *dev, struct passthru *pt)
{
	uint32_t control, data;
	uint64_t addr;

	pthread_mutex_lock(&pt->pt_lock);
	pthread_mutex_lock(&dev->pd_lock);
	control = pci_get(dev, pt->pt_msi + MSI_CONTROL, 2);
	addr = pci_get(dev, pt->pt_msi + MSI_ADDR, 4) |
	       (uint64_t)pci_get(dev, pt->pt_msi + MSI_ADDR + 4, 4) << 32;
	data = pci_get(dev, pt->pt_msi + MSI_DATA, 2);
	pthread_mutex_unlock(&dev->pd_lock);
	if ((control & MSI_ENABLE) != 0) {
		const unsigned int log2 = control >> MSI_MME_SHIFT & 7;

		pt->pt_msi_on = true;
		if (vm_setup_pptdev_msi(pt->pt_ctx, pt->pt_dev, addr, data, 1u << log2) != 0)
			fprintf(stderr, "bhyve: %s\n", vmm_errmsg());
	} else if (pt->pt_msi_on) {
		pt->pt_msi_on = false;
		(void)vm_setup_pptdev_msi(pt->pt_ctx, pt->pt_dev, 0, 0, 0);
	}
	pthread_mutex_unlock(&pt->pt_lock);
}

static bool
passthru_cfgwrite(struct pci_dev *dev, unsigned int off, unsigned int bytes, uint32_t value)
{
	struct passthru *const pt = dev->pd_arg;

	if (off == PCIR_COMMAND) {
		uint32_t command = value & PCIM_CMD_BUSMASTER;

		if (vm_pptdev_config(pt->pt_ctx, pt->pt_dev, true, PCIR_COMMAND, 2, &command) != 0)
			fprintf(stderr, "bhyve: %s\n", vmm_errmsg());
		return false;
	}
	if (pt->pt_msi == 0 || off < pt->pt_msi || off + bytes > pt->pt_msi + MSI_BYTES + 2)
		return false;
	pthread_mutex_lock(&dev->pd_lock);
	for (unsigned int i = 0; i < bytes; i++) {
		const uint8_t mask = dev->pd_writable[off + i];
		uint8_t *const at = &dev->pd_cfg[off + i];

		*at = (uint8_t)((*at & ~mask) | ((value >> (8 * i)) & mask));
	}
	pthread_mutex_unlock(&dev->pd_lock);
	update_msi(dev, pt);
	return true;
}

/* ---- Life ------------------------------------------------------------------------------------ */

static int
assign(struct pci_dev *dev, struct passthru *pt)
{
	struct vmm_ppt_info info;
	int error = vm_assign_pptdev(pt->pt_ctx, pt->pt_dev);

	if (error == -EAGAIN)
		return pci_fail(dev, error, "the guest's memory must be wired: -S");
	if (error != 0)
		return pci_fail(dev, error, "%s", vmm_errmsg());
	pt->pt_assigned = true;
	error = vm_pptdev_info(pt->pt_ctx, pt->pt_dev, &info);
	if (error != 0)
		return pci_fail(dev, error, "%s", vmm_errmsg());
	error = copy_identity(dev, pt);
	if (error == 0)
		error = make_bars(dev, &info);
	return error != 0 ? error : make_msi(dev, pt, info.msi_vectors);
}

static int
passthru_init(struct pci_dev *dev, const char *conf)
{
	struct passthru *pt;
	uint32_t which;

	if (!parse_device(conf, &which))
		return pci_fail(dev, -EINVAL,
				"'%s' is no device of the host: bus/slot/function, as 0/29/0, or "
				"bus:slot.function, as 00:1d.0",
				conf);
	if (dev->pd_bus->pb_hooks.ph_machine == NULL)
		return pci_fail(dev, -EOPNOTSUPP, "there is no machine to give it to");
	pt = calloc(1, sizeof(*pt));
	if (pt == NULL)
		return pci_fail(dev, -ENOMEM, "not enough memory");
	pt->pt_ctx = dev->pd_bus->pb_hooks.ph_machine;
	pt->pt_dev = which;
	pthread_mutex_init(&pt->pt_lock, NULL);
	dev->pd_arg = pt;
	return assign(dev, pt);
}

static void
passthru_fini(struct pci_dev *dev)
{
	struct passthru *const pt = dev->pd_arg;

	if (pt->pt_assigned)
		(void)vm_unassign_pptdev(pt->pt_ctx, pt->pt_dev);
	pthread_mutex_destroy(&pt->pt_lock);
	free(pt);
}

/* The module has done it: windows and interrupts are gone, the device was reset. */
static void
passthru_reset(struct pci_dev *dev)
{
	struct passthru *const pt = dev->pd_arg;

	pt->pt_msi_on = false;
	memset(pt->pt_shown, 0, sizeof(pt->pt_shown));
}

const struct pci_emul pci_passthru = {
	.pe_name = "passthru",
	.pe_help = "bus/slot/function: a device of the host, owned by vmm_ppt; needs -S",
	.pe_init = passthru_init,
	.pe_fini = passthru_fini,
	.pe_reset = passthru_reset,
	.pe_bar_moved = passthru_bar_moved,
	.pe_cfgwrite = passthru_cfgwrite,
};
