/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The IOMMU part of vmspace/vm_host.h on Linux's own interface, which hides whether it is VT-d,
 * AMD-Vi or another.
 *
 * What Linux isolates is a group: devices that the IOMMU cannot tell apart, or that reach each
 * other behind its back. A group is claimed as a whole for user space, which Linux grants only
 * while no driver of the host does DMA with any device of it; until it is attached to a domain, and
 * after it was detached, its accesses are blocked. So it is attached once, for all devices of it
 * that a guest has.
 *
 * Linux has no domain of the host in which all of memory is mapped and frames could be taken out
 * of: a driver's device sees either the buffers that the driver mapped, or (iommu=pt) everything.
 * For the domain NULL there is nothing to do. iommu_unmap() returns when the IOMMU has forgotten,
 * so there is nothing to flush.
 */

#define pr_fmt(fmt) "vmm: " fmt

#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "host_linux.h"
#include "host_linux_priv.h"

struct host_iommu {
	struct iommu_domain *hi_domain;
	struct list_head hi_groups; /* attached; groups_lock */
};

struct attached_group {
	struct list_head ag_link;
	struct iommu_group *ag_group;
	unsigned int ag_devices;
};

static DEFINE_MUTEX(groups_lock);
static atomic_long_t domains;

long
host_linux_iommu_domains(void)
{
	return atomic_long_read(&domains);
}

static int
fault(struct iommu_domain *domain, struct device *dev, unsigned long iova, int flags, void *arg)
{
	return host_linux_iommu_fault ? host_linux_iommu_fault(dev, iova, flags) : -ENOSYS;
}

/* Set by whoever wants to know (ppt.c), before any domain exists. */
int (*host_linux_iommu_fault)(struct device *dev, unsigned long iova, int flags);

int
host_linux_iommu_create(struct host_iommu **out)
{
	struct host_iommu *const hi = kzalloc(sizeof(*hi), GFP_KERNEL_ACCOUNT);

	if (!hi)
		return -ENOMEM;
	hi->hi_domain = iommu_domain_alloc(&pci_bus_type);
	if (!hi->hi_domain) {
		kfree(hi);
		return -ENXIO;
	}
	INIT_LIST_HEAD(&hi->hi_groups);
	iommu_set_fault_handler(hi->hi_domain, fault, hi);
	atomic_long_inc(&domains);
	*out = hi;
	return 0;
}

void
host_linux_iommu_destroy(struct host_iommu *hi)
{
	HOST_ASSERT(list_empty(&hi->hi_groups));
	iommu_domain_free(hi->hi_domain);
	atomic_long_dec(&domains);
	kfree(hi);
}

int
host_linux_iommu_map(struct host_iommu *hi, gpa_t gpa, hpa_t hpa, uint64_t len, unsigned int prot)
{
	int how = IOMMU_CACHE;

	if (prot & PMAP_PROT_R)
		how |= IOMMU_READ;
	if (prot & PMAP_PROT_W)
		how |= IOMMU_WRITE;
	return iommu_map(hi->hi_domain, gpa, hpa, len, how);
}

void
host_linux_iommu_unmap(struct host_iommu *hi, gpa_t gpa, uint64_t len)
{
	const size_t done = iommu_unmap(hi->hi_domain, gpa, len);

	HOST_ASSERT(done == len);
	(void)done;
}

/* With a reference, or NULL. */
static struct iommu_group *
group_of(uint64_t device)
{
	struct pci_dev *const pdev =
		pci_get_domain_bus_and_slot(device >> 16, device >> 8 & 0xff, device & 0xff);
	struct iommu_group *group;

	if (!pdev)
		return NULL;
	group = iommu_group_get(&pdev->dev);
	pci_dev_put(pdev);
	return group;
}

static struct attached_group *
find_group(struct host_iommu *hi, struct iommu_group *group)
{
	struct attached_group *ag;

	list_for_each_entry(ag, &hi->hi_groups, ag_link) if (ag->ag_group == group) return ag;
	return NULL;
}

/* The reference of group is ag's if this succeeds. */
static int
attach_group(struct host_iommu *hi, struct iommu_group *group)
{
	struct attached_group *const ag = kzalloc(sizeof(*ag), GFP_KERNEL_ACCOUNT);
	int error;

	if (!ag)
		return -ENOMEM;
	error = iommu_group_claim_dma_owner(group, hi);
	if (!error) {
		error = iommu_attach_group(hi->hi_domain, group);
		if (error)
			iommu_group_release_dma_owner(group);
	}
	if (error) {
		kfree(ag);
		return error;
	}
	ag->ag_group = group;
	ag->ag_devices = 1;
	list_add(&ag->ag_link, &hi->hi_groups);
	return 0;
}

int
host_linux_iommu_attach(struct host_iommu *hi, uint64_t device)
{
	struct iommu_group *const group = group_of(device);
	struct attached_group *ag;
	int error = 0;

	if (!group)
		return -ENOENT;
	mutex_lock(&groups_lock);
	ag = find_group(hi, group);
	if (ag)
		ag->ag_devices++;
	else
		error = attach_group(hi, group);
	mutex_unlock(&groups_lock);
	if (ag || error)
		iommu_group_put(group);
	return error;
}

void
host_linux_iommu_detach(struct host_iommu *hi, uint64_t device)
{
	struct iommu_group *const group = group_of(device);
	struct attached_group *ag;

	HOST_ASSERT(group != NULL);
	if (!group)
		return;
	mutex_lock(&groups_lock);
	ag = find_group(hi, group);
	HOST_ASSERT(ag != NULL);
	if (ag && --ag->ag_devices == 0) {
		list_del(&ag->ag_link);
		iommu_detach_group(hi->hi_domain, group);
		iommu_group_release_dma_owner(group);
		iommu_group_put(group);
		kfree(ag);
	}
	mutex_unlock(&groups_lock);
	iommu_group_put(group);
}
