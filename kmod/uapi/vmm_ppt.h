/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The part of the ABI that is PCI passthrough: included by vmm.h, which has the rules.
 *
 * A device that is to be a guest's belongs to the module's own PCI driver first, vmm_ppt (sysfs:
 * driver_override). Then a machine takes it: from then on the device reaches the machine's wired
 * system memory at its guest-physical addresses and nothing else, by an IOMMU domain that exists
 * while the machine has a device. BARs are shown where user space says (the guest's own idea of
 * BAR registers is kept there); interrupts of the device become messages to the guest's local APICs
 * and need its interrupt hardware (VMM_SET_PLATFORM). When the device goes back it is reset, if it
 * knows how to be, and may not access memory.
 */

#ifndef VMM_UAPI_PPT_H
#define VMM_UAPI_PPT_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* A device: PCI segment (domain), bus, slot, function. */
#define VMM_PPT_DEV(segment, bus, slot, func)                                            \
	((__u32)(segment) << 16 | ((__u32)(bus)&0xff) << 8 | ((__u32)(slot)&0x1f) << 3 | \
	 ((__u32)(func)&7))

/*
 * BIND gives the device to the machine; it is reset and may not access memory yet (VMM_PPT_CONFIG,
 * bus master). UNBIND takes it back: interrupts, windows, and the domain with the last device.
 * Class WRITERS. BIND:
 * -ENOENT no such PCI device; -ENODEV its driver is not vmm_ppt; -EOPNOTSUPP it is behind no IOMMU;
 * -EACCES nothing keeps its interrupts apart from the host's (no interrupt remapping: the module's
 * parameter unsafe_interrupts=1 allows that); -EAGAIN a map of system memory is not wired;
 * -EPERM another device of its IOMMU group is in the host's use; -EBUSY another machine has it;
 * -EEXIST this one has it; -ENOSPC too many; -EINVAL memory at an address that the IOMMU cannot
 * express; -EIO it cannot be enabled; -ENOMEM. UNBIND: -ENOENT the machine has it not;
 * -ENOMEM it still has it, though some windows may be gone: calling again goes on.
 */
struct vmm_ppt {
	__u32 dev; /* VMM_PPT_DEV() */
	__u32 reserved0;
	__u64 reserved[2];
};

/* The calls below fail with -ENOENT if the device is not this machine's. */

#define VMM_PPT_BARS 6

#define VMM_PPT_BAR_IO (1u << 0) /* ports: cannot be shown */
#define VMM_PPT_BAR_64 (1u << 1) /* takes the next BAR's place, too */
#define VMM_PPT_BAR_PREFETCH (1u << 2)
#define VMM_PPT_BAR_WINDOW (1u << 3) /* whole pages: can be shown */
struct vmm_ppt_bar {
	__u64 len_bytes; /* 0: there is none */
	__u32 flags;	 /* VMM_PPT_BAR_* */
	__u32 reserved0;
};

#define VMM_PPT_CAN_RESET (1u << 0)
/* Class READERS. */
struct vmm_ppt_info {
	__u32 dev;
	__u32 flags;	    /* out: VMM_PPT_CAN_RESET; the rest of it, too */
	__u32 msi_vectors;  /* how many MSI can be; 0: it has none */
	__u32 msix_vectors; /* likewise */
	__u32 msix_bar;	    /* where the device keeps its table, which is never shown */
	__u32 msix_off_bytes;
	struct vmm_ppt_bar bars[VMM_PPT_BARS];
	__u64 faults;	  /* accesses that the IOMMU refused and told of (docs/PASSTHROUGH.md) */
	__u64 fault_addr; /* the last one's address */
	__u64 reserved[2];
};

/*
 * Configuration space. Reads see the device's own, but for BARs (0), which lie in the host's
 * address space. Of writes those arrive that concern nobody but the guest: bus master, and
 * capabilities of the vendor's own; others are dropped. bytes: 1, 2, 4; aligned, below 256; else
 * -EINVAL. Class READERS.
 */
struct vmm_ppt_config {
	__u32 dev;
	__u32 off;
	__u32 bytes;
	__u32 write; /* 0, 1 */
	__u64 value; /* in or out */
	__u64 reserved[2];
};

/*
 * Shows a part of a BAR, in pages, at gpa (a window: uncached, never executable), or no longer.
 * -EINVAL not such a BAR or part; -EPERM it holds the MSI-X table; else as vm_map_mmio() says:
 * -EFAULT it overlaps a map, -ENOSPC, -ENOMEM. To move it, unmap (exactly what was mapped, -EINVAL)
 * and map. VMM_REINIT unmaps all. Class WRITERS.
 */
struct vmm_ppt_map {
	__u32 dev;
	__u32 bar;
	__u64 gpa;
	__u64 off_bytes;
	__u64 len_bytes;
	__u64 reserved[2];
};

/*
 * MSI: `vectors` (a power of two; 0: off), the messages `data`, `data` + 1, ... to addr; -EINVAL
 * more than it has, -EBUSY MSI-X is on. MSI-X: one vector's message; masked: it does not arrive;
 * the first such call, masked or not, switches MSI-X on in the device, with the others masked.
 * `vector` VMM_PPT_MSIX_OFF: all off; -EBUSY MSI is on. Both: -EINVAL not an MSI address,
 * -ENODEV the machine has no interrupt hardware, -ENOSPC the host has no vectors. Class READERS.
 */
struct vmm_ppt_msi {
	__u32 dev;
	__u32 vectors;
	__u64 addr;
	__u32 data;
	__u32 reserved0;
	__u64 reserved[2];
};

#define VMM_PPT_MSIX_OFF 0xffffffffu
struct vmm_ppt_msix {
	__u32 dev;
	__u32 vector;
	__u64 addr;
	__u32 data;
	__u32 masked; /* 0, 1 */
	__u64 reserved[2];
};

#define VMM_PPT_BIND _IOW('V', 0x90, struct vmm_ppt)
#define VMM_PPT_UNBIND _IOW('V', 0x91, struct vmm_ppt)
#define VMM_PPT_INFO _IOWR('V', 0x92, struct vmm_ppt_info)
#define VMM_PPT_CONFIG _IOWR('V', 0x93, struct vmm_ppt_config)
#define VMM_PPT_MAP_BAR _IOW('V', 0x94, struct vmm_ppt_map)
#define VMM_PPT_UNMAP_BAR _IOW('V', 0x95, struct vmm_ppt_map)
#define VMM_PPT_MSI _IOW('V', 0x96, struct vmm_ppt_msi)
#define VMM_PPT_MSIX _IOW('V', 0x97, struct vmm_ppt_msix)

#endif /* VMM_UAPI_PPT_H */
