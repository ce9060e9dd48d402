/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * PCI devices that are to be guests': the driver that keeps them from the host's own, a machine
 * that takes one, and the way back.
 *
 * A device does no DMA of its own accord between two owners: bus master is cleared before it is
 * attached and before it is detached, and in between the IOMMU blocks what its group does. INTx
 * stays off at all times, for the host could neither acknowledge nor pass it on; interrupts are MSI
 * or MSI-X.
 */

#define pr_fmt(fmt) "vmm: " fmt

#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "host/host_linux.h"
#include "kmod/ppt.h"

static bool unsafe_interrupts;
module_param(unsafe_interrupts, bool, 0444);
MODULE_PARM_DESC(
	unsafe_interrupts,
	"give devices to guests without interrupt remapping, by which a guest could raise any "
	"interrupt of the host (default 0)");

static DEFINE_MUTEX(ppt_lock);
static LIST_HEAD(ppts);

struct window {
	struct list_head wi_link;
	struct vmm_ppt_map wi_map;
};

static struct ppt *
find(u32 dev)
{
	struct ppt *pp;

	lockdep_assert_held(&ppt_lock);
	list_for_each_entry(pp, &ppts, pp_link) if (ppt_dev(pp->pp_pdev) == dev) return pp;
	return NULL;
}

struct ppt *
ppt_find(struct vm *vm, u32 dev)
{
	struct ppt *pp;

	mutex_lock(&ppt_lock);
	pp = find(dev);
	if (pp && pp->pp_vm != vm)
		pp = NULL;
	mutex_unlock(&ppt_lock);
	return pp;
}

/* ---- A machine takes it ---------------------------------------------------------------------- */

/* Every map of system memory is wired: what is not, the device could not reach. */
static bool
all_wired(struct vm *vm)
{
	struct vm_memmap map;
	struct vm_memseg seg;
	u64 gpa = 0;

	while (vm_mmap_getnext(vm->vm_space, gpa, &map) == 0) {
		if (!(map.vp_flags & VM_MEMMAP_F_WIRED) &&
		    vm_get_memseg(vm->vm_space, map.vp_ident, &seg) == 0 && seg.vg_name[0] == '\0')
			return false;
		gpa = map.vp_gpa + map.vp_len_bytes;
	}
	return true;
}

static int
may_be_given(struct vm *vm, const struct ppt *pp)
{
	struct device *const dev = &pp->pp_pdev->dev;
	struct iommu_group *group;

	if (pp->pp_vm)
		return pp->pp_vm == vm ? -EEXIST : -EBUSY;
	group = iommu_group_get(dev);
	if (!group)
		return -EOPNOTSUPP;
	iommu_group_put(group);
	if (!unsafe_interrupts && !device_iommu_capable(dev, IOMMU_CAP_INTR_REMAP))
		return -EACCES;
	return all_wired(vm) ? 0 : -EAGAIN;
}

/* It answers, and does nothing of its own accord. */
static int
wake_up_device(struct pci_dev *pdev)
{
	if (pci_enable_device(pdev))
		return -EIO;
	if (pci_request_regions(pdev, "vmm_ppt")) {
		pci_disable_device(pdev);
		return -EIO;
	}
	pci_clear_master(pdev);
	pci_try_reset_function(pdev); /* if it can be */
	pci_intx(pdev, 0);
	return 0;
}

static void
put_to_sleep(struct pci_dev *pdev)
{
	pci_clear_master(pdev);
	pci_try_reset_function(pdev); /* while the driver goes, its removal does it */
	pci_release_regions(pdev);
	pci_disable_device(pdev);
}

static int
bind_locked(struct vm *vm, u32 dev)
{
	struct ppt *const pp = find(dev);
	struct pci_dev *pdev;
	int error;

	if (!pp) {
		pdev = pci_get_domain_bus_and_slot(dev >> 16, dev >> 8 & 0xff, dev & 0xff);
		pci_dev_put(pdev);
		return pdev ? -ENODEV : -ENOENT;
	}
	error = may_be_given(vm, pp);
	if (error)
		return error;
	error = wake_up_device(pp->pp_pdev);
	if (error)
		return error;
	pp->pp_faults = 0;
	error = vm_attach_device(vm->vm_space, dev);
	if (error) {
		put_to_sleep(pp->pp_pdev);
		return error;
	}
	WRITE_ONCE(pp->pp_vm, vm);
	return 0;
}

int
ppt_bind(struct vm *vm, u32 dev)
{
	int error;

	mutex_lock(&ppt_lock);
	error = bind_locked(vm, dev);
	mutex_unlock(&ppt_lock);
	return error;
}

/* ---- And gives it back ----------------------------------------------------------------------- */

/* ppt_lock held; it is attached to nothing. */
static void
give_back(struct ppt *pp)
{
	ppt_intr_off(pp);
	put_to_sleep(pp->pp_pdev);
	WRITE_ONCE(pp->pp_vm, NULL);
	wake_up(&pp->pp_free);
}

static int
unmap_window(struct vm *vm, struct window *w)
{
	const int error = vm_unmap_mmio(vm->vm_space, w->wi_map.gpa, w->wi_map.len_bytes);

	if (error)
		return error;
	list_del(&w->wi_link);
	kfree(w);
	return 0;
}

int
ppt_unbind(struct ppt *pp)
{
	struct window *w, *next;
	u16 command;
	int error;

	list_for_each_entry_safe(w, next, &pp->pp_windows, wi_link)
	{
		error = unmap_window(pp->pp_vm, w);
		if (error)
			return error;
	}
	mutex_lock(&ppt_lock);
	pci_read_config_word(pp->pp_pdev, PCI_COMMAND, &command);
	pci_clear_master(pp->pp_pdev);
	error = vm_detach_device(pp->pp_vm->vm_space, ppt_dev(pp->pp_pdev));
	if (!error)
		give_back(pp);
	else if (command & PCI_COMMAND_MASTER)
		pci_set_master(pp->pp_pdev);
	mutex_unlock(&ppt_lock);
	return error;
}

static void
forget_windows(struct ppt *pp)
{
	struct window *w, *next;

	list_for_each_entry_safe(w, next, &pp->pp_windows, wi_link)
	{
		list_del(&w->wi_link);
		kfree(w);
	}
}

/* The machine's devices, under ppt_lock. */
static void
each_of(struct vm *vm, void (*fn)(struct ppt *pp))
{
	struct ppt *pp;

	mutex_lock(&ppt_lock);
	list_for_each_entry(pp, &ppts, pp_link)
	{
		if (pp->pp_vm == vm)
			fn(pp);
	}
	mutex_unlock(&ppt_lock);
}

static void
quiesce_one(struct ppt *pp)
{
	ppt_intr_off(pp);
	pci_clear_master(pp->pp_pdev);
}

static void
reset_one(struct ppt *pp)
{
	forget_windows(pp);
	quiesce_one(pp);
	pci_try_reset_function(pp->pp_pdev);
}

static void
release_one(struct ppt *pp)
{
	forget_windows(pp);
	give_back(pp);
}

/* vmspace has taken the windows away. What the guest set up is void; the device stays. */
void
ppt_vm_reset(struct vm *vm)
{
	each_of(vm, reset_one);
}

/* Its vCPUs and calls are over: from now on no interrupt, and no new DMA. */
void
ppt_vm_quiesce(struct vm *vm)
{
	each_of(vm, quiesce_one);
}

/* vmspace, which is gone, has detached it. */
void
ppt_vm_release(struct vm *vm)
{
	each_of(vm, release_one);
}

/* ---- Windows --------------------------------------------------------------------------------- */

static int
check_window(struct pci_dev *pdev, const struct vmm_ppt_map *map)
{
	unsigned int table_bar;
	u64 start, bytes;
	u32 table, vectors;

	if (map->bar >= VMM_PPT_BARS || !(pci_resource_flags(pdev, map->bar) & IORESOURCE_MEM))
		return -EINVAL;
	start = pci_resource_start(pdev, map->bar);
	bytes = pci_resource_len(pdev, map->bar);
	if (!PAGE_ALIGNED(start) || !PAGE_ALIGNED(bytes) || !PAGE_ALIGNED(map->off_bytes) ||
	    !PAGE_ALIGNED(map->len_bytes) || map->len_bytes == 0 || map->off_bytes > bytes ||
	    map->len_bytes > bytes - map->off_bytes)
		return -EINVAL;
	vectors = ppt_msix_table(pdev, &table_bar, &table);
	if (vectors && table_bar == map->bar &&
	    PAGE_ALIGN((u64)table + vectors * PCI_MSIX_ENTRY_SIZE) > map->off_bytes &&
	    (table & PAGE_MASK) < map->off_bytes + map->len_bytes)
		return -EPERM;
	return 0;
}

int
ppt_map(struct ppt *pp, const struct vmm_ppt_map *map)
{
	struct window *w;
	int error;

	error = check_window(pp->pp_pdev, map);
	if (error)
		return error;
	w = kmalloc(sizeof(*w), GFP_KERNEL_ACCOUNT);
	if (!w)
		return -ENOMEM;
	w->wi_map = *map;
	error = vm_map_mmio(pp->pp_vm->vm_space, map->gpa, map->len_bytes,
			    pci_resource_start(pp->pp_pdev, map->bar) + map->off_bytes);
	if (error) {
		kfree(w);
		return error;
	}
	list_add(&w->wi_link, &pp->pp_windows);
	return 0;
}

int
ppt_unmap(struct ppt *pp, const struct vmm_ppt_map *map)
{
	struct window *w;

	list_for_each_entry(w, &pp->pp_windows, wi_link)
	{
		if (w->wi_map.gpa == map->gpa && w->wi_map.len_bytes == map->len_bytes &&
		    w->wi_map.bar == map->bar && w->wi_map.off_bytes == map->off_bytes)
			return unmap_window(pp->pp_vm, w);
	}
	return -EINVAL;
}

/* ---- The driver ------------------------------------------------------------------------------ */

/* Ends with pp_vm NULL: a machine that is ending gives it back itself. */
static void
take_away(struct work_struct *work)
{
	struct ppt *const pp = container_of(work, struct ppt, pp_take);
	struct vm *vm;
	bool live;

	for (;;) {
		mutex_lock(&ppt_lock);
		vm = pp->pp_vm;
		live = vm && vm_call_begin(vm);
		mutex_unlock(&ppt_lock);
		if (!vm)
			return;
		if (!live) {
			wait_event_idle(pp->pp_free, !READ_ONCE(pp->pp_vm));
			continue;
		}
		down_write(&vm->vm_mem_lock);
		if (vm_freeze_all(vm) == 0) {
			percpu_down_read(&vmm_quiet);
			if (pp->pp_vm == vm && ppt_unbind(pp) == 0)
				pci_notice(pp->pp_pdev, "vmm: taken from machine '%s'\n",
					   vm->vm_name);
			percpu_up_read(&vmm_quiet);
			vm_thaw_all(vm);
		}
		up_write(&vm->vm_mem_lock);
		vm_call_end(vm);
		cond_resched(); /* it has gone, or there was no memory to let it go */
	}
}

/*
 * A machine that has it loses it, as if it were pulled out. This thread may be the machine's own,
 * and being killed: another one does it, that no signal keeps from waiting for vCPUs.
 */
static void
remove(struct pci_dev *pdev)
{
	struct ppt *const pp = pci_get_drvdata(pdev);

	for (;;) {
		queue_work(system_unbound_wq, &pp->pp_take);
		flush_work(&pp->pp_take);
		mutex_lock(&ppt_lock);
		if (!pp->pp_vm)
			break;
		mutex_unlock(&ppt_lock);
	}
	list_del(&pp->pp_link);
	mutex_unlock(&ppt_lock);
	if (pci_enable_device(pdev) == 0) {
		__pci_reset_function_locked(pdev);
		pci_disable_device(pdev);
	}
	pci_set_drvdata(pdev, NULL);
	kfree(pp);
}

static int
probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct ppt *pp;

	if (pdev->hdr_type != PCI_HEADER_TYPE_NORMAL)
		return -EINVAL; /* a bridge is no device to give away */
	pp = kzalloc(sizeof(*pp), GFP_KERNEL);
	if (!pp)
		return -ENOMEM;
	pp->pp_pdev = pdev;
	init_waitqueue_head(&pp->pp_free);
	INIT_LIST_HEAD(&pp->pp_windows);
	INIT_WORK(&pp->pp_take, take_away);
	mutex_init(&pp->pp_lock);
	pci_set_drvdata(pdev, pp);
	mutex_lock(&ppt_lock);
	list_add_tail(&pp->pp_link, &ppts);
	mutex_unlock(&ppt_lock);
	return 0;
}

static struct pci_driver ppt_driver = {
	.name = "vmm_ppt",
	.probe = probe,
	.remove = remove,
	.driver_managed_dma = true, /* of the group: by host_linux_iommu.c */
};

/* Not every IOMMU driver tells; the others write to the kernel's log themselves. */
static int
fault(struct device *dev, unsigned long iova, int flags)
{
	struct ppt *pp;
	struct vm *vm;

	if (dev->driver != &ppt_driver.driver)
		return -ENOSYS;
	pp = dev_get_drvdata(dev);
	vm = READ_ONCE(pp->pp_vm);
	WRITE_ONCE(pp->pp_fault_addr, iova);
	WRITE_ONCE(pp->pp_faults, pp->pp_faults + 1);
	dev_warn_ratelimited(dev, "vmm: machine '%s': DMA %s at 0x%lx blocked\n",
			     vm ? vm->vm_name : "", flags & IOMMU_FAULT_WRITE ? "write" : "read",
			     iova);
	return 0;
}

int
ppt_init(void)
{
	host_linux_iommu_fault = fault;
	return pci_register_driver(&ppt_driver);
}

void
ppt_exit(void)
{
	pci_unregister_driver(&ppt_driver);
	WARN_ON(host_linux_iommu_domains() != 0);
}
