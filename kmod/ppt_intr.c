/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Interrupts of a device that a guest has: the host takes them by vectors of its own, which the
 * guest cannot choose, and sends the message that the guest's driver meant the device to send.
 *
 * MSI-X vectors are all allocated with the first that is told of, for the host's kernel cannot add
 * to them later; an interrupt is requested, and so unmasked in the device's table, while the guest
 * has its vector unmasked.
 */

#include <linux/interrupt.h>
#include <linux/msi.h>
#include <linux/slab.h>

#include "kmod/platform/lapic.h"
#include "kmod/ppt.h"

static irqreturn_t
arrived(int irq, void *arg)
{
	struct ppt_vector *const pv = arg;
	unsigned long flags;
	u64 addr;
	u32 data;

	spin_lock_irqsave(&pv->pv_lock, flags);
	addr = pv->pv_addr;
	data = pv->pv_data;
	spin_unlock_irqrestore(&pv->pv_lock, flags);
	platform_msi(pv->pv_ppt->pp_vm, addr, data);
	return IRQ_HANDLED;
}

static void
set_message(struct ppt_vector *pv, u64 addr, u32 data)
{
	unsigned long flags;

	spin_lock_irqsave(&pv->pv_lock, flags);
	pv->pv_addr = addr;
	pv->pv_data = data;
	spin_unlock_irqrestore(&pv->pv_lock, flags);
}

static int
check_message(const struct vm *vm, u64 addr, u32 data)
{
	struct apic_msg msg;

	if (!vm->vm_platform)
		return -ENODEV;
	return apic_msi(addr, data, &msg);
}

static int
switch_on(struct ppt *pp, unsigned int i)
{
	struct ppt_vector *const pv = &pp->pp_vectors[i];
	int error = 0;

	if (!pv->pv_on)
		error = request_irq(pci_irq_vector(pp->pp_pdev, i), arrived, 0, "vmm_ppt", pv);
	pv->pv_on = pv->pv_on || !error;
	return error ? -ENOSPC : 0;
}

static void
switch_off(struct ppt *pp, unsigned int i)
{
	struct ppt_vector *const pv = &pp->pp_vectors[i];

	if (pv->pv_on)
		free_irq(pci_irq_vector(pp->pp_pdev, i), pv);
	pv->pv_on = false;
}

static void
all_off(struct ppt *pp)
{
	unsigned int i;

	if (!pp->pp_vectors)
		return;
	for (i = 0; i < pp->pp_nvectors; i++)
		switch_off(pp, i);
	pci_free_irq_vectors(pp->pp_pdev);
	kfree(pp->pp_vectors);
	pp->pp_vectors = NULL;
	pp->pp_nvectors = 0;
}

void
ppt_intr_off(struct ppt *pp)
{
	mutex_lock(&pp->pp_lock);
	all_off(pp);
	mutex_unlock(&pp->pp_lock);
}

/* Host vectors, none of them on. */
static int
allocate(struct ppt *pp, unsigned int n, bool msix)
{
	struct ppt_vector *const v = kcalloc(n, sizeof(*v), GFP_KERNEL_ACCOUNT);
	unsigned int i;

	if (!v)
		return -ENOMEM;
	if (pci_alloc_irq_vectors(pp->pp_pdev, n, n, msix ? PCI_IRQ_MSIX : PCI_IRQ_MSI) < 0) {
		kfree(v);
		return -ENOSPC;
	}
	for (i = 0; i < n; i++) {
		v[i].pv_ppt = pp;
		spin_lock_init(&v[i].pv_lock);
	}
	pp->pp_vectors = v;
	pp->pp_nvectors = n;
	pp->pp_msix = msix;
	return 0;
}

static int
msi_locked(struct ppt *pp, unsigned int n, u64 addr, u32 data)
{
	unsigned int i;
	int error = 0;

	if (n && pp->pp_vectors && pp->pp_msix)
		return -EBUSY;
	if (n == 0) {
		if (!pp->pp_msix)
			all_off(pp);
		return 0;
	}
	if (pp->pp_nvectors != n) {
		all_off(pp);
		error = allocate(pp, n, false);
	}
	for (i = 0; i < n && !error; i++) {
		set_message(&pp->pp_vectors[i], addr, data + i);
		error = switch_on(pp, i);
	}
	if (error)
		all_off(pp);
	return error;
}

int
ppt_msi(struct ppt *pp, unsigned int vectors, u64 addr, u32 data)
{
	int error = 0;

	if (vectors) {
		const int most = pci_msi_vec_count(pp->pp_pdev);

		if (!is_power_of_2(vectors) || most < 0 || vectors > most)
			return -EINVAL;
		error = check_message(pp->pp_vm, addr, data);
	}
	if (error)
		return error;
	mutex_lock(&pp->pp_lock);
	error = msi_locked(pp, vectors, addr, data);
	mutex_unlock(&pp->pp_lock);
	return error;
}

unsigned int
ppt_msix_table(struct pci_dev *pdev, unsigned int *bar, u32 *off)
{
	const int count = pci_msix_vec_count(pdev);
	u32 table;

	if (count <= 0)
		return 0;
	pci_read_config_dword(pdev, pdev->msix_cap + PCI_MSIX_TABLE, &table);
	*bar = table & PCI_MSIX_TABLE_BIR;
	*off = table & PCI_MSIX_TABLE_OFFSET;
	return count;
}

/* MSI-X is on in the device when it is for the guest, whether a vector is unmasked or not: a device
 * may look at that when its driver switches it on. */
static int
msix_locked(struct ppt *pp, unsigned int count)
{
	if (pp->pp_vectors)
		return pp->pp_msix ? 0 : -EBUSY;
	return allocate(pp, count, true);
}

int
ppt_msix(struct ppt *pp, u32 vector, u64 addr, u32 data, bool masked)
{
	const int count = pci_msix_vec_count(pp->pp_pdev);
	int error = 0;

	if (vector != VMM_PPT_MSIX_OFF) {
		if (count <= 0 || vector >= count)
			return -EINVAL;
		if (!masked)
			error = check_message(pp->pp_vm, addr, data);
	}
	if (error)
		return error;
	mutex_lock(&pp->pp_lock);
	if (vector == VMM_PPT_MSIX_OFF) {
		if (pp->pp_msix)
			all_off(pp);
	} else {
		error = msix_locked(pp, count);
		if (!error && masked) {
			switch_off(pp, vector);
		} else if (!error && !masked) {
			set_message(&pp->pp_vectors[vector], addr, data);
			error = switch_on(pp, vector);
		}
	}
	mutex_unlock(&pp->pp_lock);
	return error;
}
