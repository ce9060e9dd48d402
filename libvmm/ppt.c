/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * PCI devices of the host that a machine has. What can stand in the way is for the most part a
 * matter of how the host is set up, so each reason gets the sentence that says what to do.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libvmm/libvmm_priv.h"

#define NAME_BYTES 24

static const char *
name_of(uint32_t dev, char *name)
{
	snprintf(name, NAME_BYTES, "%04x:%02x:%02x.%x", dev >> 16, dev >> 8 & 0xff, dev >> 3 & 0x1f,
		 dev & 7);
	return name;
}

static const char *
why_not(int error)
{
	switch (-error) {
	case ENOENT:
		return "there is no such PCI device";
	case ENODEV:
		return "it is not owned by vmm_ppt (write that to its driver_override in sysfs, "
		       "and bind it)";
	case EOPNOTSUPP:
		return "it is behind no IOMMU (is it switched on, in the firmware and on the "
		       "kernel's command line?)";
	case EACCES:
		return "the IOMMU does not remap interrupts, so the guest could raise any of the "
		       "host's (unsafe_interrupts=1 of vmm.ko allows that)";
	case EAGAIN:
		return "the machine's memory is not wired";
	case EPERM:
		return "its IOMMU group is not viable: the host uses another device of it";
	case EBUSY:
		return "another machine has it, or a device of its IOMMU group";
	case EEXIST:
		return "the machine has it already";
	case EINVAL:
		return "the IOMMU cannot express the machine's addresses";
	case EIO:
		return "it cannot be enabled; the kernel's log may tell more";
	default:
		return NULL;
	}
}

int
vm_assign_pptdev(struct vmctx *ctx, uint32_t dev)
{
	struct vmm_ppt ppt = {.dev = dev};
	const int error = vm_ioctl_quiet(ctx, VMM_PPT_BIND, &ppt);
	const char *const why = why_not(error);
	char name[NAME_BYTES];

	if (error && why)
		return vmm_fail(error, "machine '%s': cannot get the device %s: %s", ctx->vx_name,
				name_of(dev, name), why);
	return error ? vm_ioctl_fail(ctx, error, "get a device") : 0;
}

/* For the calls that a machine makes about what it has. */
static int
ppt_ioctl(struct vmctx *ctx, unsigned long cmd, void *arg, uint32_t dev, const char *what)
{
	const int error = vm_ioctl_quiet(ctx, cmd, arg);
	char name[NAME_BYTES];

	if (error == -ENOENT)
		return vmm_fail(error, "machine '%s': cannot %s: it does not have the device %s",
				ctx->vx_name, what, name_of(dev, name));
	if (error == -EPERM)
		return vmm_fail(error,
				"machine '%s': cannot %s: the MSI-X table of the device %s lies "
				"there",
				ctx->vx_name, what, name_of(dev, name));
	return error ? vm_ioctl_fail(ctx, error, what) : 0;
}

int
vm_unassign_pptdev(struct vmctx *ctx, uint32_t dev)
{
	struct vmm_ppt ppt = {.dev = dev};

	return ppt_ioctl(ctx, VMM_PPT_UNBIND, &ppt, dev, "give a device back");
}

int
vm_pptdev_info(struct vmctx *ctx, uint32_t dev, struct vmm_ppt_info *info)
{
	struct vmm_ppt_info asked = {.dev = dev};
	const int error = ppt_ioctl(ctx, VMM_PPT_INFO, &asked, dev, "look at a device");

	if (!error)
		*info = asked;
	return error;
}

int
vm_pptdev_config(struct vmctx *ctx, uint32_t dev, bool write, unsigned int off, unsigned int bytes,
		 uint32_t *value)
{
	struct vmm_ppt_config config = {
		.dev = dev,
		.off = off,
		.bytes = bytes,
		.write = write,
		.value = write ? *value : 0,
	};
	const int error = ppt_ioctl(ctx, VMM_PPT_CONFIG, &config, dev,
				    "reach a device's configuration space");

	if (!error && !write)
		*value = (uint32_t)config.value;
	return error;
}

static struct vmm_ppt_map
window(uint32_t dev, unsigned int bar, uint64_t off, uint64_t len, uint64_t gpa)
{
	return (struct vmm_ppt_map){
		.dev = dev,
		.bar = bar,
		.gpa = gpa,
		.off_bytes = off,
		.len_bytes = len,
	};
}

int
vm_map_pptdev_mmio(struct vmctx *ctx, uint32_t dev, unsigned int bar, uint64_t off, uint64_t len,
		   uint64_t gpa)
{
	struct vmm_ppt_map map = window(dev, bar, off, len, gpa);

	return ppt_ioctl(ctx, VMM_PPT_MAP_BAR, &map, dev, "show a device's BAR");
}

int
vm_unmap_pptdev_mmio(struct vmctx *ctx, uint32_t dev, unsigned int bar, uint64_t off, uint64_t len,
		     uint64_t gpa)
{
	struct vmm_ppt_map map = window(dev, bar, off, len, gpa);

	return ppt_ioctl(ctx, VMM_PPT_UNMAP_BAR, &map, dev, "hide a device's BAR");
}

int
vm_setup_pptdev_msi(struct vmctx *ctx, uint32_t dev, uint64_t addr, uint32_t data,
		    unsigned int vectors)
{
	struct vmm_ppt_msi msi = {.dev = dev, .vectors = vectors, .addr = addr, .data = data};

	return ppt_ioctl(ctx, VMM_PPT_MSI, &msi, dev, "set up a device's MSI");
}

int
vm_setup_pptdev_msix(struct vmctx *ctx, uint32_t dev, unsigned int vector, uint64_t addr,
		     uint32_t data, bool masked)
{
	struct vmm_ppt_msix msix = {
		.dev = dev,
		.vector = vector,
		.addr = addr,
		.data = data,
		.masked = masked,
	};

	return ppt_ioctl(ctx, VMM_PPT_MSIX, &msix, dev, "set up a device's MSI-X");
}

int
vm_disable_pptdev_msix(struct vmctx *ctx, uint32_t dev)
{
	return vm_setup_pptdev_msix(ctx, dev, VMM_PPT_MSIX_OFF, 0, 0, true);
}
