/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * passthru: a PCI device of the host, which the module's driver vmm_ppt owns
 * (kmod/uapi/vmm_ppt.h, docs/PASSTHROUGH.md).
 *
 * The guest sees the device's identity, and BARs of the same sizes where this bus puts them; each
 * memory BAR is a window that the module shows there, and follows when the guest moves it, but for
 * the pages with the table of MSI-X, to which accesses come here. Interrupts are
 * pci_passthru_intr.c's. Bus master, and capabilities of the vendor's own, are the device's.
 *
 * Not passed on: BARs that are ports or less than a page, which is said once; the ROM; INTx, and a
 * device that has nothing else is refused; and other capabilities.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pci_emuls.h"
#include "pci_passthru.h"

enum {
	CAP_VENDOR_BYTES = 2,  /* where such a capability says how long it is */
	CAP_VENDOR_HEADER = 4, /* and what of it is served here: it never changes */
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

int
passthru_config(struct pci_dev *dev, struct passthru *pt, unsigned int off, unsigned int bytes,
		uint32_t *value)
{
	*value = 0;
	if (vm_pptdev_config(pt->pt_ctx, pt->pt_dev, false, off, bytes, value) != 0)
		return pci_fail(dev, -EIO, "%s", vmm_errmsg());
	return 0;
}

unsigned int
passthru_find_cap(struct pci_dev *dev, struct passthru *pt, unsigned int id, unsigned int after)
{
	uint32_t status, word;
	unsigned int at = after;

	if (after == 0) {
		if (passthru_config(dev, pt, PCIR_STATUS, 2, &status) != 0 ||
		    (status & PCIM_STATUS_CAPS) == 0 ||
		    passthru_config(dev, pt, PCIR_CAP_PTR, 1, &word) != 0)
			return 0;
		at = word & 0xfc;
	} else if (passthru_config(dev, pt, after + 1, 1, &word) == 0) {
		at = word & 0xfc;
	}
	/* A list that bites its tail ends, too. */
	for (unsigned int n = 0; at >= PCIR_FIRST_CAP && n < PCI_CFG_BYTES / 4; n++) {
		if (passthru_config(dev, pt, at, 2, &word) != 0)
			return 0;
		if ((word & 0xff) == id)
			return at;
		at = word >> 8 & 0xfc;
	}
	return 0;
}

static int
copy_identity(struct pci_dev *dev, struct passthru *pt)
{
	static const unsigned int offsets[] = {PCIR_VENDOR, PCIR_REVISION, PCIR_SUBVENDOR};

	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		uint32_t value;
		const int error = passthru_config(dev, pt, offsets[i], 4, &value);

		if (error != 0)
			return error;
		pci_set32(dev, offsets[i], value);
	}
	return 0;
}

static bool
has_table(const struct pci_dev *dev, const struct passthru *pt, unsigned int bar)
{
	return pt->pt_info.msix_vectors != 0 && !dev->pd_bus->pb_no_msix &&
	       pt->pt_info.msix_bar == bar;
}

static int
make_bars(struct pci_dev *dev, struct passthru *pt)
{
	unsigned int made = 0;

	for (unsigned int i = 0; i < PCI_BARS; i++) {
		const struct vmm_ppt_bar *const bar = &pt->pt_info.bars[i];
		int error;

		if (bar->len_bytes == 0)
			continue;
		/* Where the table of MSI-X is, a window is not needed. */
		if (!(bar->flags & VMM_PPT_BAR_WINDOW) &&
		    (bar->flags & VMM_PPT_BAR_IO || !has_table(dev, pt, i))) {
			fprintf(stderr, "bhyve: -s %u:%u,passthru: BAR %u is left out: %s\n",
				dev->pd_slot, dev->pd_func, i,
				bar->flags & VMM_PPT_BAR_IO ? "it is ports, not memory"
							    : "it is not whole pages of memory");
			continue;
		}
		error = pci_alloc_bar_own(
			dev, i, bar->flags & VMM_PPT_BAR_64 ? PCI_BAR_MEM64 : PCI_BAR_MEM32,
			bar->len_bytes);
		if (error != 0)
			return error;
		made++;
	}
	return made != 0 ? 0 : pci_fail(dev, -EOPNOTSUPP, "none of its BARs can be passed on");
}

/* As long as what is read of it fits: it is the device's word. */
static int
copy_vendor_caps(struct pci_dev *dev, struct passthru *pt)
{
	unsigned int from = 0;

	while (pt->pt_ncaps < PASSTHRU_CAPS &&
	       (from = passthru_find_cap(dev, pt, PCIC_VENDOR, from)) != 0) {
		uint8_t cap[PCI_CFG_BYTES] = {PCIC_VENDOR};
		uint32_t bytes, type;
		int at;

		if (passthru_config(dev, pt, from + CAP_VENDOR_BYTES, 1, &bytes) != 0 ||
		    passthru_config(dev, pt, from + CAP_VENDOR_BYTES + 1, 1, &type) != 0)
			return -EIO;
		if (bytes < CAP_VENDOR_HEADER || from + bytes > PCI_CFG_BYTES)
			continue;
		cap[CAP_VENDOR_BYTES] = (uint8_t)bytes;
		cap[CAP_VENDOR_BYTES + 1] = (uint8_t)type;
		at = pci_add_cap(dev, cap, bytes);
		if (at < 0)
			return at;
		pt->pt_caps[pt->pt_ncaps++] = (struct passthru_cap){
			.pc_guest = (unsigned int)at, .pc_device = from, .pc_bytes = bytes};
	}
	return 0;
}

/* ---- What the guest does --------------------------------------------------------------------- */

static int
show(struct passthru *pt, unsigned int bar, bool on, uint64_t off, uint64_t end, uint64_t gpa)
{
	if (off >= end)
		return 0;
	return on ? vm_map_pptdev_mmio(pt->pt_ctx, pt->pt_dev, bar, off, end - off, gpa + off)
		  : vm_unmap_pptdev_mmio(pt->pt_ctx, pt->pt_dev, bar, off, end - off, gpa + off);
}

/* The pages before and behind those with the table; these are decoded as an emulated BAR is, and so
 * is the rest of it, which windows then lie over. */
static int
show_around_table(struct pci_dev *dev, struct passthru *pt, bool on, uint64_t gpa)
{
	const struct pci_hooks *const hooks = &dev->pd_bus->pb_hooks;
	const unsigned int i = pt->pt_info.msix_bar;
	struct pci_bar *const bar = &dev->pd_bars[i];
	const bool window = (pt->pt_info.bars[i].flags & VMM_PPT_BAR_WINDOW) != 0;
	const uint64_t before = window ? pt->pt_hidden : 0;
	const uint64_t behind = window ? pt->pt_hidden_end : bar->bar_bytes;
	int error;

	if (!on) {
		(void)hooks->ph_decode(hooks->ph_arg, bar, false, gpa);
		error = show(pt, i, false, 0, before, gpa);
		return error != 0 ? error : show(pt, i, false, behind, bar->bar_bytes, gpa);
	}
	error = show(pt, i, true, 0, before, gpa);
	if (error != 0)
		return error;
	error = show(pt, i, true, behind, bar->bar_bytes, gpa);
	if (error == 0) {
		error = hooks->ph_decode(hooks->ph_arg, bar, true, gpa);
		if (error != 0)
			(void)show(pt, i, false, behind, bar->bar_bytes, gpa);
	}
	if (error != 0)
		(void)show(pt, i, false, 0, before, gpa);
	return error;
}

static int
passthru_bar_moved(struct pci_dev *dev, unsigned int bar, bool on, uint64_t gpa)
{
	struct passthru *const pt = dev->pd_arg;
	int error;

	if (on == pt->pt_shown[bar])
		return 0;
	error = has_table(dev, pt, bar) ? show_around_table(dev, pt, on, gpa)
					: show(pt, bar, on, 0, dev->pd_bars[bar].bar_bytes, gpa);
	if (error == 0)
		pt->pt_shown[bar] = on;
	return error;
}

static uint64_t
passthru_barread(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int bytes)
{
	(void)bar; /* only one is not a window */
	return passthru_table_read(dev->pd_arg, off, bytes);
}

static void
passthru_barwrite(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int bytes,
		  uint64_t value)
{
	(void)bar;
	passthru_table_write(dev, dev->pd_arg, off, bytes, value);
}

/* Where the device has what the guest finds in a vendor's capability; 0: it is none. */
static unsigned int
vendors(const struct passthru *pt, unsigned int off)
{
	for (unsigned int i = 0; i < pt->pt_ncaps; i++) {
		const struct passthru_cap *const pc = &pt->pt_caps[i];

		if (off >= pc->pc_guest + CAP_VENDOR_HEADER && off < pc->pc_guest + pc->pc_bytes)
			return pc->pc_device + (off - pc->pc_guest);
	}
	return 0;
}

static bool
passthru_cfgread(struct pci_dev *dev, unsigned int off, unsigned int bytes, uint32_t *value)
{
	struct passthru *const pt = dev->pd_arg;
	const unsigned int from = vendors(pt, off);

	return from != 0 &&
	       vm_pptdev_config(pt->pt_ctx, pt->pt_dev, false, from, bytes, value) == 0;
}

static bool
passthru_cfgwrite(struct pci_dev *dev, unsigned int off, unsigned int bytes, uint32_t value)
{
	struct passthru *const pt = dev->pd_arg;
	const unsigned int to = vendors(pt, off);

	if (to != 0) {
		(void)vm_pptdev_config(pt->pt_ctx, pt->pt_dev, true, to, bytes, &value);
		return true;
	}
	if (off == PCIR_COMMAND) {
		uint32_t command = value & PCIM_CMD_BUSMASTER;

		if (vm_pptdev_config(pt->pt_ctx, pt->pt_dev, true, PCIR_COMMAND, 2, &command) != 0)
			fprintf(stderr, "bhyve: %s\n", vmm_errmsg());
		return false;
	}
	return passthru_intr_cfgwrite(dev, pt, off, bytes, value);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static int
assign(struct pci_dev *dev, struct passthru *pt)
{
	int error = vm_assign_pptdev(pt->pt_ctx, pt->pt_dev);

	if (error == -EAGAIN)
		return pci_fail(dev, error, "the guest's memory must be wired: -S");
	if (error != 0)
		return pci_fail(dev, error, "%s", vmm_errmsg());
	pt->pt_assigned = true;
	error = vm_pptdev_info(pt->pt_ctx, pt->pt_dev, &pt->pt_info);
	if (error != 0)
		return pci_fail(dev, error, "%s", vmm_errmsg());
	error = copy_identity(dev, pt);
	if (error == 0)
		error = make_bars(dev, pt);
	if (error == 0)
		error = passthru_intr_init(dev, pt);
	return error != 0 ? error : copy_vendor_caps(dev, pt);
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
	passthru_intr_fini(pt);
	free(pt);
}

/* The module has done it: windows and interrupts are gone, the device was reset. */
static void
passthru_reset(struct pci_dev *dev)
{
	struct passthru *const pt = dev->pd_arg;

	passthru_intr_reset(pt);
	memset(pt->pt_shown, 0, sizeof(pt->pt_shown));
}

const struct pci_emul pci_passthru = {
	.pe_name = "passthru",
	.pe_help = "bus/slot/function: a device of the host, owned by vmm_ppt; needs -S",
	.pe_init = passthru_init,
	.pe_fini = passthru_fini,
	.pe_reset = passthru_reset,
	.pe_barread = passthru_barread,
	.pe_barwrite = passthru_barwrite,
	.pe_bar_moved = passthru_bar_moved,
	.pe_cfgread = passthru_cfgread,
	.pe_cfgwrite = passthru_cfgwrite,
};
