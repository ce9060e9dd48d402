/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Interrupts of a passed-through device. MSI and MSI-X capabilities, and the table of MSI-X, are
 * ours: what the guest writes there is the message that the module sends when the host gets the
 * device's interrupt, and the device itself sends messages that the host chose. The pages of a BAR
 * in which the device has its own table are never shown to the guest; those accesses end here.
 *
 * A vector that is masked is one for which the host has no handler: its kernel masks it in the
 * device, which keeps an interrupt pending until it is unmasked.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pci_passthru.h"

enum {
	PAGE = 4096,

	MSI_CAP = 0x05,
	MSI_CONTROL = 2, /* offsets in the capability */
	MSI_ADDR = 4,
	MSI_DATA = 12,
	MSI_BYTES = 14,
	MSI_ENABLE = 1 << 0, /* of the control word */
	MSI_MMC_SHIFT = 1,
	MSI_MME_SHIFT = 4,
	MSI_64 = 1 << 7,

	MSIX_CONTROL = 2,
	MSIX_TABLE = 4,
	MSIX_PBA = 8,
	MSIX_BYTES = 12,
	MSIX_MASK_ALL = 1 << 14, /* of the control word */
	MSIX_ENABLE = 1 << 15,
};

/* ---- Capabilities ---------------------------------------------------------------------------- */

static int
make_msi(struct pci_dev *dev, struct passthru *pt, unsigned int vectors)
{
	uint8_t cap[MSI_BYTES] = {MSI_CAP};
	uint8_t writable[MSI_BYTES] = {[MSI_CONTROL] = MSI_ENABLE | 7 << MSI_MME_SHIFT};
	unsigned int log2 = 0;
	int at;

	memset(writable + MSI_ADDR, 0xff, MSI_BYTES - MSI_ADDR);
	writable[MSI_ADDR] = 0xfc;
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

/* Table and pending bits are where the device has them, in BARs of the same numbers. */
static int
make_msix(struct pci_dev *dev, struct passthru *pt, unsigned int vectors)
{
	static const uint8_t control[2] = {0, (MSIX_ENABLE | MSIX_MASK_ALL) >> 8};
	const struct vmm_ppt_info *const info = &pt->pt_info;
	const uint32_t table = info->msix_off_bytes | info->msix_bar;
	const unsigned int where = passthru_find_cap(dev, pt, PCIC_MSIX, 0);
	uint8_t cap[MSIX_BYTES] = {PCIC_MSIX};
	uint32_t pba;
	int at;

	if (where == 0)
		return pci_fail(dev, -EIO, "its MSI-X capability cannot be found");
	at = passthru_config(dev, pt, where + MSIX_PBA, 4, &pba);
	if (at != 0)
		return at;
	cap[MSIX_CONTROL] = (uint8_t)(vectors - 1);
	cap[MSIX_CONTROL + 1] = (uint8_t)((vectors - 1) >> 8);
	memcpy(cap + MSIX_TABLE, &table, sizeof(table));
	memcpy(cap + MSIX_PBA, &pba, sizeof(pba));
	pt->pt_vectors = calloc(vectors, sizeof(*pt->pt_vectors));
	if (pt->pt_vectors == NULL)
		return pci_fail(dev, -ENOMEM, "not enough memory");
	at = pci_add_cap(dev, cap, sizeof(cap));
	if (at < 0)
		return at;
	pt->pt_msix = (unsigned int)at;
	pci_set_writable(dev, pt->pt_msix + MSIX_CONTROL, control, sizeof(control));
	pt->pt_hidden = info->msix_off_bytes & ~(uint64_t)(PAGE - 1);
	pt->pt_hidden_end =
		(info->msix_off_bytes + (uint64_t)vectors * PCI_MSIX_ENTRY_BYTES + PAGE - 1) &
		~(uint64_t)(PAGE - 1);
	passthru_intr_reset(pt);
	return 0;
}

int
passthru_intr_init(struct pci_dev *dev, struct passthru *pt)
{
	const struct vmm_ppt_info *const info = &pt->pt_info;
	const bool msix = info->msix_vectors != 0 && !dev->pd_bus->pb_no_msix;
	uint32_t pin;
	int error;

	error = passthru_config(dev, pt, PCIR_INTR_PIN, 1, &pin);
	if (error == 0 && info->msi_vectors == 0 && !msix && (pin != 0 || info->msix_vectors != 0))
		error = pci_fail(dev, -EOPNOTSUPP,
				 info->msix_vectors ? "its only interrupts are MSI-X, which -W "
						      "takes away"
						    : "its only interrupt is INTx, which is not "
						      "passed on");
	if (error == 0 && info->msi_vectors != 0)
		error = make_msi(dev, pt, info->msi_vectors);
	if (error == 0 && msix)
		error = make_msix(dev, pt, info->msix_vectors);
	return error;
}

void
passthru_intr_fini(struct passthru *pt)
{
	free(pt->pt_vectors);
	pthread_mutex_destroy(&pt->pt_lock);
}

void
passthru_intr_reset(struct passthru *pt)
{
	pt->pt_msi_on = false;
	pt->pt_msix_on = false;
	for (unsigned int i = 0; pt->pt_vectors != NULL && i < pt->pt_info.msix_vectors; i++)
		pt->pt_vectors[i] = (struct passthru_vector){.pv_entry.me_mask = 1};
}

/* ---- What the module is told ----------------------------------------------------------------- */

/* Once: a guest can cause it as often as it likes. */
static void
complain_if(struct passthru *pt, int error, uint64_t addr, uint32_t data)
{
	if (error != 0 && !pt->pt_complained)
		fprintf(stderr, "bhyve: %s: 0x%x to 0x%llx\n", vmm_errmsg(), data,
			(unsigned long long)addr);
	pt->pt_complained = pt->pt_complained || error != 0;
}

/* A write to anywhere else is no interrupt: Linux, to name one, writes 0 when a driver lets go. */
static bool
is_message(uint64_t addr)
{
	return addr >> 20 == 0xfee;
}

/* The capability was written: the message that it says, or none. */
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
	if ((control & MSI_ENABLE) != 0 && is_message(addr)) {
		const unsigned int log2 = control >> MSI_MME_SHIFT & 7;

		pt->pt_msi_on = true;
		complain_if(pt, vm_setup_pptdev_msi(pt->pt_ctx, pt->pt_dev, addr, data, 1u << log2),
			    addr, data);
	} else if (pt->pt_msi_on) {
		pt->pt_msi_on = false;
		complain_if(pt, vm_setup_pptdev_msi(pt->pt_ctx, pt->pt_dev, 0, 0, 0), 0, 0);
	}
	pthread_mutex_unlock(&pt->pt_lock);
}

/* With pt_lock held: one vector, as the guest wants it. */
static void
update_vector(struct passthru *pt, unsigned int i, bool wanted)
{
	struct passthru_vector *const pv = &pt->pt_vectors[i];
	const struct pci_msix_entry *const e = &pv->pv_entry;
	int error;

	wanted = wanted && (e->me_mask & 1) == 0 && is_message(e->me_addr);
	if (wanted == pv->pv_on &&
	    (!wanted || (e->me_addr == pv->pv_told.me_addr && e->me_data == pv->pv_told.me_data)))
		return;
	error = vm_setup_pptdev_msix(pt->pt_ctx, pt->pt_dev, i, e->me_addr, e->me_data, !wanted);
	complain_if(pt, error, e->me_addr, e->me_data);
	pv->pv_on = wanted && error == 0;
	pv->pv_told = *e;
}

/* With pt_lock held: MSI-X is on, and not masked as a whole. */
static bool
vectors_wanted(struct pci_dev *dev, const struct passthru *pt, bool *enabled)
{
	uint32_t control;

	pthread_mutex_lock(&dev->pd_lock);
	control = pci_get(dev, pt->pt_msix + MSIX_CONTROL, 2);
	pthread_mutex_unlock(&dev->pd_lock);
	*enabled = (control & MSIX_ENABLE) != 0;
	return *enabled && (control & MSIX_MASK_ALL) == 0;
}

static void
update_msix(struct pci_dev *dev, struct passthru *pt)
{
	bool enabled, wanted;

	pthread_mutex_lock(&pt->pt_lock);
	wanted = vectors_wanted(dev, pt, &enabled);
	if (enabled) {
		/* A device may look whether it is on when its driver switches it on, long before
		 * there is a vector that is not masked. */
		if (!pt->pt_msix_on)
			complain_if(pt, vm_setup_pptdev_msix(pt->pt_ctx, pt->pt_dev, 0, 0, 0, true),
				    0, 0);
		pt->pt_msix_on = true;
		for (unsigned int i = 0; i < pt->pt_info.msix_vectors; i++)
			update_vector(pt, i, wanted);
	} else if (pt->pt_msix_on) {
		complain_if(pt, vm_disable_pptdev_msix(pt->pt_ctx, pt->pt_dev), 0, 0);
		pt->pt_msix_on = false;
		for (unsigned int i = 0; i < pt->pt_info.msix_vectors; i++)
			pt->pt_vectors[i].pv_on = false;
	}
	pthread_mutex_unlock(&pt->pt_lock);
}

/* ---- What the guest writes ------------------------------------------------------------------- */

static bool
concerns(unsigned int cap, unsigned int cap_bytes, unsigned int off, unsigned int bytes)
{
	return cap != 0 && off < cap + cap_bytes && off + bytes > cap;
}

bool
passthru_intr_cfgwrite(struct pci_dev *dev, struct passthru *pt, unsigned int off,
		       unsigned int bytes, uint32_t value)
{
	const bool msi = concerns(pt->pt_msi, MSI_BYTES, off, bytes);
	const bool msix = concerns(pt->pt_msix, MSIX_BYTES, off, bytes);

	if (!msi && !msix)
		return false;
	pthread_mutex_lock(&dev->pd_lock);
	pci_write_bits(dev, off, bytes, value);
	pthread_mutex_unlock(&dev->pd_lock);
	if (msi)
		update_msi(dev, pt);
	else
		update_msix(dev, pt);
	return true;
}

/* A word of the table; NULL: none is there. */
static struct passthru_vector *
vector_at(const struct passthru *pt, uint64_t off)
{
	const uint64_t i = (off - pt->pt_info.msix_off_bytes) / PCI_MSIX_ENTRY_BYTES;

	return off >= pt->pt_info.msix_off_bytes && i < pt->pt_info.msix_vectors
		       ? &pt->pt_vectors[i]
		       : NULL;
}

static uint32_t
table_word(const struct passthru *pt, uint64_t off)
{
	const struct passthru_vector *const pv = vector_at(pt, off);

	return pv == NULL ? 0 : pci_msix_word(&pv->pv_entry, off - pt->pt_info.msix_off_bytes);
}

/* What else is in these pages, pending bits among it, cannot be reached: it reads 0. */
uint64_t
passthru_table_read(struct passthru *pt, uint64_t off, unsigned int bytes)
{
	uint64_t value;

	if ((bytes != 4 && bytes != 8) || off % bytes != 0)
		return UINT64_MAX;
	pthread_mutex_lock(&pt->pt_lock);
	value = table_word(pt, off);
	if (bytes == 8)
		value |= (uint64_t)table_word(pt, off + 4) << 32;
	pthread_mutex_unlock(&pt->pt_lock);
	return value;
}

static void
set_table_word(struct passthru *pt, uint64_t off, uint32_t value)
{
	struct passthru_vector *const pv = vector_at(pt, off);

	if (pv != NULL)
		pci_msix_set_word(&pv->pv_entry, off - pt->pt_info.msix_off_bytes, value);
}

void
passthru_table_write(struct pci_dev *dev, struct passthru *pt, uint64_t off, unsigned int bytes,
		     uint64_t value)
{
	bool enabled, wanted;

	if ((bytes != 4 && bytes != 8) || off % bytes != 0 || vector_at(pt, off) == NULL)
		return;
	pthread_mutex_lock(&pt->pt_lock);
	set_table_word(pt, off, (uint32_t)value);
	if (bytes == 8)
		set_table_word(pt, off + 4, (uint32_t)(value >> 32));
	wanted = vectors_wanted(dev, pt, &enabled);
	if (enabled)
		update_vector(
			pt,
			(unsigned int)((off - pt->pt_info.msix_off_bytes) / PCI_MSIX_ENTRY_BYTES),
			wanted);
	pthread_mutex_unlock(&pt->pt_lock);
}
