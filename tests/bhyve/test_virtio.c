/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The transport, on the simplest device (virtio-rnd): negotiation, registers, reset, interrupts by
 * line, the capability that reaches BARs, and what a broken queue does to the device.
 */

#include <criterion/criterion.h>
#include <string.h>

#include "rig.h"

static struct rig *rig;
static struct drv drv;

static void
begin(void)
{
	rig = rig_new("virtio-rnd");
	drv_probe(&drv, rig);
}

static void
end(void)
{
	rig_free(rig);
}

TestSuite(virtio, .init = begin, .fini = end);

/* Offers one buffer of `bytes` in queue 0; how many were filled. */
static uint32_t
fill(uint32_t bytes)
{
	uint32_t id, got;

	drv.dv_queues[0].dq_desc[3] = (struct drv_desc){0x80000, bytes, 2, 0};
	drv_offer(&drv, 0, 3);
	drv_kick(&drv, 0);
	got = drv_used(&drv, 0, &id);
	cr_assert_eq(id, 3);
	return got;
}

Test(virtio, random_bytes_come)
{
	unsigned int zeros = 0;

	drv_start(&drv, 0, 1);
	cr_assert_eq(fill(64), 64);
	rig_wait_msis(rig, 1);
	cr_assert_eq(rig->rg_msis[0].rm_data, 0x40);
	for (unsigned int i = 0; i < 64; i++)
		zeros += rig->rg_mem[0x80000 + i] == 0;
	cr_assert_lt(zeros, 32, "these are not random");
	cr_assert_eq(rig->rg_mem[0x80000 + 64], 0);
	cr_assert_eq(fill(0x10000), 4096); /* at most that at once */
}

Test(virtio, features_must_be_agreed_on)
{
	drv_set_common(&drv, 0x00, 4, 0);
	cr_assert_eq(drv_common(&drv, 0x04, 4), 0x30000000);
	drv_set_common(&drv, 0x00, 4, 1);
	cr_assert_eq(drv_common(&drv, 0x04, 4), 1);
	drv_set_common(&drv, 0x00, 4, 2);
	cr_assert_eq(drv_common(&drv, 0x04, 4), 0);

	/* Without VERSION_1. */
	drv_set_common(&drv, 0x14, 1, 3);
	drv_set_common(&drv, 0x14, 1, 11);
	cr_assert_eq(drv_status(&drv), 3);
	/* With what was not offered. */
	drv_set_common(&drv, 0x08, 4, 1);
	drv_set_common(&drv, 0x0c, 4, 3);
	drv_set_common(&drv, 0x14, 1, 15);
	cr_assert_eq(drv_status(&drv), 3, "and no DRIVER_OK either");
	drv_set_common(&drv, 0x0c, 4, 1);
	drv_set_common(&drv, 0x14, 1, 11);
	cr_assert_eq(drv_status(&drv), 11);
	/* From then on they are fixed. */
	drv_set_common(&drv, 0x0c, 4, 0);
	cr_assert_eq(drv_common(&drv, 0x0c, 4), 1);
	drv_set_common(&drv, 0x14, 1, 0);
	cr_assert_eq(drv_status(&drv), 0);
	cr_assert_eq(drv_common(&drv, 0x0c, 4), 0);
}

Test(virtio, registers_have_their_widths)
{
	cr_assert_eq(drv_common(&drv, 0x12, 2), 1);
	cr_assert_eq(drv_common(&drv, 0x12, 1), 0);
	cr_assert_eq(drv_common(&drv, 0x18, 2), 64);
	drv_set_common(&drv, 0x18, 2, 3);
	drv_set_common(&drv, 0x18, 2, 128);
	drv_set_common(&drv, 0x18, 4, 16);
	cr_assert_eq(drv_common(&drv, 0x18, 2), 64);
	drv_set_common(&drv, 0x18, 2, 16);
	cr_assert_eq(drv_common(&drv, 0x18, 2), 16);
	drv_set_common(&drv, 0x1a, 2, 7);
	cr_assert_eq(drv_common(&drv, 0x1a, 2), 0xffff);
	drv_set_common(&drv, 0x10, 2, 1);
	cr_assert_eq(drv_common(&drv, 0x10, 2), 1);
	drv_set_common(&drv, 0x20, 8, 0x123456789ab0);
	cr_assert_eq(drv_common(&drv, 0x20, 4), 0x56789ab0);
	cr_assert_eq(drv_common(&drv, 0x24, 4), 0x1234);
	cr_assert_eq(drv_common(&drv, 0x20, 8), 0x123456789ab0);
	/* A queue that there is not. */
	drv_set_common(&drv, 0x16, 2, 1);
	cr_assert_eq(drv_common(&drv, 0x18, 2), 0);
	drv_set_common(&drv, 0x1c, 2, 1);
	cr_assert_eq(drv_common(&drv, 0x1c, 2), 0);
	cr_assert_eq(drv_common(&drv, 0x38, 4), 0);
	cr_assert_eq(rig_read(rig, drv.dv_config, 4), 0);
}

Test(virtio, a_queue_in_use_is_fixed)
{
	drv_start(&drv, 0, 1);
	drv_set_common(&drv, 0x18, 2, 2);
	drv_set_common(&drv, 0x20, 4, 0);
	cr_assert_eq(drv_common(&drv, 0x18, 2), DRV_SIZE);
	cr_assert_eq(drv_common(&drv, 0x20, 4), 0x10000);
	cr_assert_eq(fill(8), 8);
	drv_set_common(&drv, 0x14, 1, 0);
	drv_set_common(&drv, 0x16, 2, 0);
	cr_assert_eq(drv_common(&drv, 0x18, 2), 64);
	cr_assert_eq(drv_common(&drv, 0x1c, 2), 0);
	drv_start(&drv, 0, 1);
	cr_assert_eq(fill(8), 8);
}

Test(virtio, interrupts_by_line)
{
	const unsigned int gsi = pci_gsi(RIG_SLOT, 0);

	drv_start(&drv, 0, 1);
	rig_cfg_write(rig, RIG_SLOT, 0x42, 2, 0); /* MSI-X off again */
	fill(8);
	cr_assert(rig->rg_lines[gsi]);
	cr_assert_eq(rig_read(rig, drv.dv_isr, 1), 1);
	cr_assert(!rig->rg_lines[gsi], "reading takes it back");
	cr_assert_eq(rig_read(rig, drv.dv_isr, 1), 0);
	cr_assert_eq(rig->rg_nmsis, 0);
}

Test(virtio, no_bus_master_no_memory)
{
	struct drv_queue *const dq = &drv.dv_queues[0];
	uint32_t id;

	drv_start(&drv, 0, 1);
	rig_cfg_write(rig, RIG_SLOT, 4, 2, 2);
	dq->dq_desc[0] = (struct drv_desc){0x80000, 8, 2, 0};
	drv_offer(&drv, 0, 0);
	drv_kick(&drv, 0);
	cr_assert_eq(dq->dq_used[1], 0);
	rig_cfg_write(rig, RIG_SLOT, 4, 2, 6);
	drv_kick(&drv, 0);
	cr_assert_eq(drv_used(&drv, 0, &id), 8);
}

Test(virtio, nonsense_needs_a_reset)
{
	const unsigned int before = rig->rg_nmsis;

	drv_start(&drv, 0, 1);
	drv_set_common(&drv, 0x10, 2, 1);
	drv.dv_queues[0].dq_desc[0] = (struct drv_desc){RIG_MEM_BYTES, 8, 2, 0};
	drv_offer(&drv, 0, 0);
	drv_kick(&drv, 0);
	cr_assert_eq(drv_status(&drv), 15 | 0x40);
	cr_assert_eq(rig->rg_nmsis, before + 1, "the driver is told");
	cr_assert_eq(rig->rg_msis[before].rm_data, 0x41);
	drv_kick(&drv, 0);
	cr_assert_eq(drv.dv_queues[0].dq_used[1], 0);
	drv_start(&drv, 0, 1);
	cr_assert_eq(fill(8), 8);
}

Test(virtio, rings_outside_memory_need_a_reset)
{
	drv_set_common(&drv, 0x14, 1, 3);
	drv_set_common(&drv, 0x08, 4, 1);
	drv_set_common(&drv, 0x0c, 4, 1);
	drv_set_common(&drv, 0x14, 1, 11);
	drv_set_common(&drv, 0x20, 8, RIG_MEM_BYTES);
	drv_set_common(&drv, 0x1c, 2, 1);
	cr_assert_eq(drv_status(&drv), 11 | 0x40);
	cr_assert_eq(drv_common(&drv, 0x1c, 2), 0);
	drv_set_common(&drv, 0x14, 1, 15);
	drv_kick(&drv, 0);
}

Test(virtio, bars_are_reached_through_configuration_space)
{
	const unsigned int cap = drv.dv_cap_pci;

	rig_cfg_write(rig, RIG_SLOT, cap + 4, 1, 4);
	rig_cfg_write(rig, RIG_SLOT, cap + 8, 4, 0x18); /* the queue's size */
	rig_cfg_write(rig, RIG_SLOT, cap + 12, 4, 2);
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, cap + 16, 4), 64);
	rig_cfg_write(rig, RIG_SLOT, cap + 16, 4, 0xffff0008);
	cr_assert_eq(drv_common(&drv, 0x18, 2), 8);
	/* Where nothing is, or across its end. */
	rig_cfg_write(rig, RIG_SLOT, cap + 8, 4, 0x4000);
	rig_cfg_write(rig, RIG_SLOT, cap + 16, 4, 1);
	rig_cfg_write(rig, RIG_SLOT, cap + 8, 4, 0x19);
	rig_cfg_write(rig, RIG_SLOT, cap + 16, 4, 1);
	rig_cfg_write(rig, RIG_SLOT, cap + 8, 4, 0x18);
	rig_cfg_write(rig, RIG_SLOT, cap + 12, 4, 3);
	rig_cfg_write(rig, RIG_SLOT, cap + 16, 4, 16);
	rig_cfg_write(rig, RIG_SLOT, cap + 12, 4, 2);
	rig_cfg_write(rig, RIG_SLOT, cap + 4, 1, 1);
	rig_cfg_write(rig, RIG_SLOT, cap + 16, 4, 16);
	cr_assert_eq(drv_common(&drv, 0x18, 2), 8);
}

Test(virtio, a_reset_of_the_machine_is_one)
{
	drv_start(&drv, 0, 1);
	pci_bus_reset(&rig->rg_bus);
	cr_assert_eq(drv_status(&drv), 0);
	drv_start(&drv, 1ull << 29 | 1 << 28, 1);
	cr_assert_eq(fill(8), 8);
}
