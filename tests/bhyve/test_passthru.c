/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * passthru over a host's device that is made up here: libvmm's calls on such devices are this
 * file's, which takes note of what it is told. What a real one does with it is asked in the
 * emulated machine (tests/guest/passthru).
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "libvmm/libvmm.h"
#include "rig.h"

#define DEV VMM_PPT_DEV(0, 0, 0x1c, 0)
#define BAR_BYTES 0x4000u
#define TABLE 0x2000u
#define PBA 0x3000u
#define VECTORS 5u
#define CAP_VENDOR 0x40u
#define CAP_MSI 0x50u
#define CAP_MSIX 0x60u
#define MSI_ADDR 0xfee00000u

static struct {
	uint8_t cfg[256];
	struct vmm_ppt_info info;
	int assign, msix; /* what these calls return */
	unsigned int calls, assigned;
	uint64_t windows[4][3]; /* gpa, offset, bytes */
	unsigned int nwindows;
	struct {
		bool on;
		uint64_t addr;
		uint32_t data;
	} vectors[VECTORS];
	struct {
		uint64_t addr;
		uint32_t data, n;
	} msi;
} host;

int
vm_assign_pptdev(struct vmctx *ctx, uint32_t dev)
{
	(void)ctx;
	cr_assert_eq(dev, DEV);
	host.assigned += host.assign == 0;
	return host.assign;
}

int
vm_unassign_pptdev(struct vmctx *ctx, uint32_t dev)
{
	(void)ctx;
	(void)dev;
	host.assigned--;
	return 0;
}

int
vm_pptdev_info(struct vmctx *ctx, uint32_t dev, struct vmm_ppt_info *info)
{
	(void)ctx;
	(void)dev;
	*info = host.info;
	return 0;
}

int
vm_pptdev_config(struct vmctx *ctx, uint32_t dev, bool write, unsigned int off, unsigned int bytes,
		 uint32_t *value)
{
	(void)ctx;
	(void)dev;
	cr_assert_leq(off + bytes, sizeof(host.cfg));
	if (write)
		memcpy(host.cfg + off, value, bytes);
	else
		memcpy(value, host.cfg + off, bytes);
	return 0;
}

int
vm_map_pptdev_mmio(struct vmctx *ctx, uint32_t dev, unsigned int bar, uint64_t off, uint64_t len,
		   uint64_t gpa)
{
	const uint64_t window[] = {gpa, off, len};

	(void)ctx;
	(void)dev;
	cr_assert_eq(bar, 0);
	cr_assert_lt(host.nwindows, 4);
	memcpy(host.windows[host.nwindows++], window, sizeof(window));
	return 0;
}

int
vm_unmap_pptdev_mmio(struct vmctx *ctx, uint32_t dev, unsigned int bar, uint64_t off, uint64_t len,
		     uint64_t gpa)
{
	const uint64_t window[] = {gpa, off, len};

	(void)ctx;
	(void)dev;
	(void)bar;
	for (unsigned int i = 0; i < host.nwindows; i++) {
		if (memcmp(host.windows[i], window, sizeof(window)) != 0)
			continue;
		host.nwindows--;
		memmove(host.windows[i], host.windows[host.nwindows], sizeof(window));
		return 0;
	}
	return -EINVAL;
}

int
vm_setup_pptdev_msi(struct vmctx *ctx, uint32_t dev, uint64_t addr, uint32_t data,
		    unsigned int vectors)
{
	(void)ctx;
	(void)dev;
	host.msi.addr = addr;
	host.msi.data = data;
	host.msi.n = vectors;
	return 0;
}

int
vm_setup_pptdev_msix(struct vmctx *ctx, uint32_t dev, unsigned int vector, uint64_t addr,
		     uint32_t data, bool masked)
{
	(void)ctx;
	(void)dev;
	cr_assert_lt(vector, VECTORS);
	host.calls++;
	if (host.msix != 0)
		return host.msix;
	host.vectors[vector].on = !masked;
	host.vectors[vector].addr = addr;
	host.vectors[vector].data = data;
	return 0;
}

int
vm_disable_pptdev_msix(struct vmctx *ctx, uint32_t dev)
{
	(void)ctx;
	(void)dev;
	host.calls++;
	memset(host.vectors, 0, sizeof(host.vectors));
	return 0;
}

/* ---- The guest's side ------------------------------------------------------------------------ */

static struct rig *rig;

static void
put(unsigned int off, uint32_t value, unsigned int bytes)
{
	memcpy(host.cfg + off, &value, bytes);
}

/* With all of it; tests take things away. */
static void
begin(void)
{
	memset(&host, 0, sizeof(host));
	host.info = (struct vmm_ppt_info){
		.msi_vectors = 4, .msix_vectors = VECTORS, .msix_off_bytes = TABLE};
	host.info.bars[0] = (struct vmm_ppt_bar){.len_bytes = BAR_BYTES,
						 .flags = VMM_PPT_BAR_64 | VMM_PPT_BAR_WINDOW};
	host.info.bars[2] = (struct vmm_ppt_bar){.len_bytes = 32, .flags = VMM_PPT_BAR_IO};
	put(PCIR_VENDOR, 0x5678abcd, 4);
	put(PCIR_STATUS, PCIM_STATUS_CAPS, 2);
	put(PCIR_CAP_PTR, CAP_VENDOR, 1);
	put(PCIR_INTR_PIN, 1, 1);
	put(CAP_VENDOR, PCIC_VENDOR | CAP_MSI << 8 | 16 << 16 | 0x77u << 24, 4);
	put(CAP_VENDOR + 8, 0x11223344, 4);
	put(CAP_MSI, 5 | CAP_MSIX << 8, 2);
	put(CAP_MSIX, PCIC_MSIX, 2);
	put(CAP_MSIX + 4, TABLE, 4);
	put(CAP_MSIX + 8, PBA, 4);
}

static void
end(void)
{
	if (rig != NULL)
		rig_free(rig);
	rig = NULL;
	cr_assert_eq(host.assigned, 0, "it is given back");
}

TestSuite(passthru, .init = begin, .fini = end);

static uint32_t
cfg(unsigned int off, unsigned int bytes)
{
	return rig_cfg_read(rig, RIG_SLOT, off, bytes);
}

static unsigned int
find_cap(unsigned int id)
{
	unsigned int at = cfg(PCIR_CAP_PTR, 1);

	while (at != 0 && cfg(at, 1) != id)
		at = cfg(at + 1, 1);
	return at;
}

static uint64_t
bar(void)
{
	return (cfg(PCIR_BAR0, 4) & ~0xfu) | (uint64_t)cfg(PCIR_BAR0 + 4, 4) << 32;
}

static void
set_entry(unsigned int i, uint64_t addr, uint32_t data, uint32_t mask)
{
	const uint64_t at = bar() + TABLE + 16 * i;

	rig_write(rig, at, 4, (uint32_t)addr);
	rig_write(rig, at + 4, 4, addr >> 32);
	rig_write(rig, at + 8, 4, data);
	rig_write(rig, at + 12, 4, mask);
}

static bool
shown(uint64_t gpa, uint64_t off, uint64_t bytes)
{
	const uint64_t window[] = {gpa, off, bytes};
	bool found = false;

	for (unsigned int i = 0; i < host.nwindows; i++)
		found = found || memcmp(host.windows[i], window, sizeof(window)) == 0;
	return found;
}

Test(passthru, identity_and_windows)
{
	rig = rig_new("passthru,0/28/0");
	cr_assert_eq(cfg(PCIR_VENDOR, 4), 0x5678abcd);
	cr_assert_eq(cfg(PCIR_INTR_PIN, 1), 0, "no INTx");
	cr_assert_eq(cfg(PCIR_BAR0 + 8, 4), 0, "ports are left out");
	cr_assert_eq(host.nwindows, 2);
	cr_assert(shown(bar(), 0, TABLE));
	cr_assert(shown(bar() + PBA, PBA, BAR_BYTES - PBA));
	/* It moves, and the table with it. */
	rig_cfg_write(rig, RIG_SLOT, PCIR_BAR0 + 4, 4, 9);
	cr_assert_eq(bar() >> 32, 9);
	cr_assert_eq(host.nwindows, 2);
	cr_assert(shown(bar(), 0, TABLE));
	set_entry(4, MSI_ADDR, 0x44, 0);
	cr_assert_eq(rig_read(rig, bar() + TABLE + 64 + 8, 4), 0x44);
	/* What else is in the table's page reads 0. */
	cr_assert_eq(rig_read(rig, bar() + TABLE + 16 * VECTORS, 4), 0);
	rig_cfg_write(rig, RIG_SLOT, PCIR_COMMAND, 2, 0);
	cr_assert_eq(host.nwindows, 0);
	rig_cfg_write(rig, RIG_SLOT, PCIR_COMMAND, 2, PCIM_CMD_MEM | PCIM_CMD_BUSMASTER);
	cr_assert_eq(host.nwindows, 2);
	cr_assert_eq(host.cfg[PCIR_COMMAND], PCIM_CMD_BUSMASTER);
}

/* The bus cannot decode the table's BAR there: no window is left of what came before. */
Test(passthru, a_place_that_cannot_be)
{
	rig = rig_new("passthru,0/28/0");
	rig_cfg_write(rig, RIG_SLOT, PCIR_COMMAND, 2, 0);
	rig->rg_refuse = true;
	rig_cfg_write(rig, RIG_SLOT, PCIR_COMMAND, 2, PCIM_CMD_MEM);
	cr_assert_eq(host.nwindows, 0);
	rig_cfg_write(rig, RIG_SLOT, PCIR_COMMAND, 2, PCIM_CMD_MEM);
	cr_assert_eq(host.nwindows, 2);
}

Test(passthru, msix)
{
	unsigned int cap;

	rig = rig_new("passthru,00:1c.0");
	cap = find_cap(PCIC_MSIX);
	cr_assert_neq(cap, 0);
	cr_assert_eq(cfg(cap + 2, 2), VECTORS - 1);
	cr_assert_eq(cfg(cap + 4, 4), TABLE);
	cr_assert_eq(cfg(cap + 8, 4), PBA);
	cr_assert_eq(rig_read(rig, bar() + TABLE + 12, 4), 1, "masked at first");

	/* As Linux does: all masked, on; entries; then they count. */
	rig_cfg_write(rig, RIG_SLOT, cap + 2, 2, 0xc000);
	set_entry(1, MSI_ADDR, 0x51, 0);
	set_entry(3, MSI_ADDR + 0x1000, 0x53, 0);
	cr_assert_eq(host.calls, 1, "it is on in the device, and masked");
	cr_assert(!host.vectors[0].on);
	rig_cfg_write(rig, RIG_SLOT, cap + 2, 2, 0x8000);
	cr_assert_eq(host.calls, 3);
	cr_assert(!host.vectors[0].on && host.vectors[1].on && host.vectors[3].on);
	cr_assert_eq(host.vectors[3].addr, MSI_ADDR + 0x1000);
	cr_assert_eq(host.vectors[3].data, 0x53);

	/* One is masked and meant for another CPU; what changes nothing is not told. */
	rig_write(rig, bar() + TABLE + 16 + 12, 4, 1);
	cr_assert(!host.vectors[1].on);
	rig_write(rig, bar() + TABLE + 16, 4, MSI_ADDR + 0x2000);
	rig_write(rig, bar() + TABLE + 16 + 12, 4, 0);
	cr_assert(host.vectors[1].on);
	cr_assert_eq(host.vectors[1].addr, MSI_ADDR + 0x2000);
	cr_assert_eq(host.calls, 5);
	rig_write(rig, bar() + TABLE + 16 + 12, 4, 0);
	cr_assert_eq(host.calls, 5);
	rig_write(rig, bar() + TABLE + 16, 4, 0x1000);
	cr_assert(!host.vectors[1].on, "a write to memory is no interrupt");
	rig_write(rig, bar() + TABLE + 16, 4, MSI_ADDR);
	cr_assert(host.vectors[1].on);

	rig_cfg_write(rig, RIG_SLOT, cap + 2, 2, 0xc000);
	cr_assert(!host.vectors[1].on && !host.vectors[3].on);
	rig_cfg_write(rig, RIG_SLOT, cap + 2, 2, 0x8000);
	cr_assert(host.vectors[1].on && host.vectors[3].on);
	rig_cfg_write(rig, RIG_SLOT, cap + 2, 2, 0);
	cr_assert(!host.vectors[1].on && !host.vectors[3].on);
	rig_cfg_write(rig, RIG_SLOT, cap + 2, 2, 0x8000);
	cr_assert(host.vectors[1].on && host.vectors[3].on);

	/* After a reset nothing of it is left. */
	memset(host.vectors, 0, sizeof(host.vectors));
	host.nwindows = 0;
	pci_bus_reset(&rig->rg_bus);
	cr_assert_eq(cfg(cap + 2, 2), VECTORS - 1);
	cr_assert_eq(rig_read(rig, bar() + TABLE + 16 + 12, 4), 1);
	cr_assert_eq(host.nwindows, 2);
}

/* The module says no: the vector is not on, and the next write tries again. */
Test(passthru, msix_that_cannot_be)
{
	unsigned int cap;

	rig = rig_new("passthru,0/28/0");
	cap = find_cap(PCIC_MSIX);
	rig_cfg_write(rig, RIG_SLOT, cap + 2, 2, 0x8000);
	host.msix = -ENOSPC;
	set_entry(2, MSI_ADDR, 0x52, 0);
	cr_assert(!host.vectors[2].on);
	host.msix = 0;
	rig_write(rig, bar() + TABLE + 32 + 12, 4, 0);
	cr_assert(host.vectors[2].on);
}

Test(passthru, msi)
{
	unsigned int cap;

	rig = rig_new("passthru,0/28/0");
	cap = find_cap(5);
	cr_assert_neq(cap, 0);
	cr_assert_eq(cfg(cap + 2, 2), 0x84, "64-bit addresses, 4 messages");
	rig_cfg_write(rig, RIG_SLOT, cap + 4, 4, MSI_ADDR);
	rig_cfg_write(rig, RIG_SLOT, cap + 12, 2, 0x60);
	rig_cfg_write(rig, RIG_SLOT, cap + 2, 2, 0x21);
	cr_assert_eq(host.msi.n, 4);
	cr_assert_eq(host.msi.addr, MSI_ADDR);
	cr_assert_eq(host.msi.data, 0x60);
	rig_cfg_write(rig, RIG_SLOT, cap + 4, 4, 0);
	cr_assert_eq(host.msi.n, 0, "a write to memory is no interrupt");
	rig_cfg_write(rig, RIG_SLOT, cap + 4, 4, MSI_ADDR);
	cr_assert_eq(host.msi.n, 4);
	rig_cfg_write(rig, RIG_SLOT, cap + 2, 2, 0);
	cr_assert_eq(host.msi.n, 0);
}

Test(passthru, vendors_own)
{
	unsigned int cap;

	rig = rig_new("passthru,0/28/0");
	cap = find_cap(PCIC_VENDOR);
	cr_assert_neq(cap, 0);
	cr_assert_eq(cfg(cap + 2, 1), 16);
	cr_assert_eq(cfg(cap + 3, 1), 0x77);
	cr_assert_eq(cfg(cap + 8, 4), 0x11223344);
	put(CAP_VENDOR + 12, 0x99, 1);
	cr_assert_eq(cfg(cap + 12, 1), 0x99, "it is the device's own");
	rig_cfg_write(rig, RIG_SLOT, cap + 8, 4, 0x55667788);
	cr_assert_eq(host.cfg[CAP_VENDOR + 8], 0x88);
	rig_cfg_write(rig, RIG_SLOT, cap, 4, 0);
	cr_assert_eq(cfg(cap, 1), PCIC_VENDOR, "its header is not written");
}

/* A list of capabilities that has no end. */
Test(passthru, a_list_in_a_circle)
{
	int error;

	put(CAP_MSIX, PCIC_MSIX | CAP_VENDOR << 8, 2);
	rig = rig_try("passthru,0/28/0", &error);
	cr_assert_lt(error, 0, "it has more capabilities than there is room");
}

static void
refused(const char *what, const char *says)
{
	struct rig *const r = rig_try(what, &(int){0});

	cr_assert(strstr(pci_why(&r->rg_bus), says) != NULL, "%s", pci_why(&r->rg_bus));
	rig_free(r);
}

Test(passthru, refusals)
{
	refused("passthru,0/28", "no device of the host");
	refused("passthru,0/32/0", "no device of the host");
	refused("passthru,1c.0", "no device of the host");
	host.assign = -EAGAIN;
	refused("passthru,0/28/0", "-S");
	host.assign = 0;
	host.info.msi_vectors = host.info.msix_vectors = 0;
	refused("passthru,0/28/0", "INTx, which is not");
	put(PCIR_INTR_PIN, 0, 1); /* it has no interrupt at all */
	rig = rig_new("passthru,0/28/0");
	cr_assert_eq(host.nwindows, 1);
	rig_free(rig);
	rig = NULL;
	host.nwindows = 0;
	host.info.bars[0] = (struct vmm_ppt_bar){.len_bytes = 0};
	refused("passthru,0/28/0", "none of its BARs");
}
