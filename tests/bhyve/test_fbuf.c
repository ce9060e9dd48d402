/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The framebuffer: shown where the BAR is, moved with it, hidden with memory decoding; and what the
 * guest says of its size is told to others only if it is possible.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "fbuf.h"
#include "libvmm/libvmm.h"
#include "rig.h"

static struct rig *rig;

static void
end(void)
{
	if (rig != NULL)
		rig_free(rig);
	rig = NULL;
}

TestSuite(fbuf, .fini = end);

static struct vm_framebuffer
published(void)
{
	struct vm_framebuffer mode;

	memcpy(&mode, rig->rg_devmem + VM_FRAMEBUFFER_BYTES, sizeof(mode));
	cr_assert_eq(mode.fb_magic, VM_FRAMEBUFFER_MAGIC);
	cr_assert_eq(mode.fb_stride_bytes, 4 * mode.fb_width);
	return mode;
}

Test(fbuf, it_moves_with_its_bar)
{
	const uint64_t first = 0xc1000000;
	struct fbuf_mode mode;

	rig = rig_new("fbuf,w=800,h=600");
	cr_assert_eq(rig->rg_shown_gpa, first);
	cr_assert(fbuf_find(&rig->rg_bus, &mode));
	cr_assert_eq(mode.fm_gpa, first);
	cr_assert_eq(mode.fm_width, 800);
	cr_assert_eq(mode.fm_height, 600);
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 0x14, 4), first | 8);
	rig->rg_devmem[77] = 0x5a;
	rig_cfg_write(rig, RIG_SLOT, 4, 2, 0);
	cr_assert_eq(rig->rg_shown_gpa, 0);
	rig_cfg_write(rig, RIG_SLOT, 0x14, 4, UINT32_MAX);
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 0x14, 4), 0xff000008);
	rig_cfg_write(rig, RIG_SLOT, 0x14, 4, 0xd3000000);
	rig_cfg_write(rig, RIG_SLOT, 4, 2, 2);
	cr_assert_eq(rig->rg_shown_gpa, 0xd3000000);
	cr_assert_eq(rig->rg_devmem[77], 0x5a);
	rig_cfg_write(rig, RIG_SLOT, 0x14, 4, 0xd4000000);
	cr_assert_eq(rig->rg_shown_gpa, 0xd4000000);
	rig->rg_shown_gpa = 0; /* a reset of the machine takes named segments' maps */
	rig->rg_reset = true;
	pci_bus_reset(&rig->rg_bus);
	cr_assert_eq(rig->rg_shown_gpa, first);
}

Test(fbuf, sizes_that_are_possible_are_told)
{
	uint64_t regs;

	rig = rig_new("fbuf");
	regs = rig_cfg_read(rig, RIG_SLOT, 0x10, 4);
	cr_assert_eq(rig_read(rig, regs, 4), VM_FRAMEBUFFER_BYTES);
	cr_assert_eq(rig_read(rig, regs + 8, 2), 32);
	cr_assert_eq(published().fb_width, 1024);
	cr_assert_eq(published().fb_height, 768);
	rig_write(rig, regs + 4, 2, 640);
	cr_assert_eq(published().fb_width, 640);
	rig_write(rig, regs + 6, 2, 2000);
	cr_assert_eq(rig_read(rig, regs + 6, 2), 2000);
	cr_assert_eq(published().fb_height, 768);
	rig_write(rig, regs + 4, 4, 480 << 16 | 600);
	cr_assert_eq(published().fb_width, 600);
	cr_assert_eq(published().fb_height, 480);
	rig_write(rig, regs, 4, 0);
	rig_write(rig, regs + 8, 2, 16);
	cr_assert_eq(rig_read(rig, regs, 4), VM_FRAMEBUFFER_BYTES);
	cr_assert_eq(rig_read(rig, regs + 8, 2), 32);
	rig_write(rig, regs + 0xfff, 1, 7);
	cr_assert_eq(rig_read(rig, regs + 0xff8, 8), 0);
	rig->rg_reset = true;
	pci_bus_reset(&rig->rg_bus);
	cr_assert_eq(published().fb_width, 1024);
}

Test(fbuf, options_that_make_no_sense_are_named)
{
	static const char *const rows[] = {"fbuf,w=100",     "fbuf,w=-1",
					   "fbuf,h=199",     "fbuf,w=2561",
					   "fbuf,w=800,h=x", "fbuf,w=99999999999999999999",
					   "fbuf,h=65936",   "fbuf,depth=16"};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int error;

		rig = rig_try(rows[i], &error);
		cr_assert_eq(error, -EINVAL, "%s", rows[i]);
		rig_free(rig);
	}
	rig = NULL;
}

Test(fbuf, there_may_be_none)
{
	struct fbuf_mode mode;

	rig = rig_new("virtio-rnd");
	cr_assert(!fbuf_find(&rig->rg_bus, &mode));
}
