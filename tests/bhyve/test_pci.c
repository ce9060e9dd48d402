/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The bus, as a guest sees it: slots, configuration space by ports and by ECAM, BARs that are sized
 * and moved, MSI-X that is masked and comes later, lines that are shared.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "rig.h"

static struct rig *rig;

static void
end(void)
{
	if (rig != NULL)
		rig_free(rig);
	rig = NULL;
}

TestSuite(pci, .fini = end);

Test(pci, options_that_make_no_sense_are_named)
{
	static const struct {
		const char *option;
		const char *says;
	} rows[] = {
		{"3", "comes the name"},
		{"", "comes the name"},
		{"x,virtio-rnd", "begins with slot"},
		{"3:,virtio-rnd", "begins with slot"},
		{"-1,virtio-rnd", "begins with slot"},
		{"0:1:2:3,virtio-rnd", "begins with slot"},
		{"1:3:0,virtio-rnd", "only bus 0"},
		{"32,virtio-rnd", "0 to 31"},
		{"3:8,virtio-rnd", "0 to 7"},
		{"99999999999999999999,virtio-rnd", "0 to 31"},
		{"5,virtio-rnx", "called 'virtio-rnx'"},
		{"5,virtio-rn", "called 'virtio-rn'"},
		{"5,", "called ''"},
		{"3,virtio-rnd", "has a device already: virtio-rnd"},
		{"0:3:0,lpc", "has a device already: virtio-rnd"},
	};

	rig = rig_new("virtio-rnd");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert_lt(pci_plug(&rig->rg_bus, rows[i].option), 0, "%s", rows[i].option);
		cr_assert(strstr(pci_why(&rig->rg_bus), rows[i].says) != NULL, "%s: %s",
			  rows[i].option, pci_why(&rig->rg_bus));
	}
	cr_assert_eq(pci_plug(&rig->rg_bus, "0:4:1,virtio-rnd"), 0);
	cr_assert_eq(pci_plug(&rig->rg_bus, "5:7,virtio-rnd"), 0);
	cr_assert_eq(rig->rg_bus.pb_devs[5][7]->pd_func, 7);
}

Test(pci, options_of_a_device_are_its_own)
{
	int error;

	rig = rig_try("virtio-rnd,fast", &error);
	cr_assert_eq(error, -EINVAL);
	cr_assert_str_eq(pci_why(&rig->rg_bus),
			 "-s 3:0,virtio-rnd: it takes no options, got 'fast'");
}

Test(pci, functions_need_the_first)
{
	struct pci_bus *bus;

	rig = rig_new("hostbridge");
	bus = &rig->rg_bus;
	cr_assert_eq(pci_plug(bus, "4:1,lpc"), 0);
	cr_assert_eq(pci_bus_start(bus), -EINVAL);
	cr_assert(strstr(pci_why(bus), "need a function 0") != NULL, "%s", pci_why(bus));
}

Test(pci, several_functions_are_announced)
{
	struct pci_hooks none;
	struct pci_bus bus;
	uint32_t value = 0x80000000 | 2 << 11 | 0x0c;

	memset(&none, 0, sizeof(none));
	pci_bus_init(&bus, &none, 0);
	cr_assert_eq(pci_plug(&bus, "2,hostbridge"), 0);
	cr_assert_eq(pci_plug(&bus, "2:3,lpc"), 0);
	cr_assert_eq(pci_plug(&bus, "31,lpc"), 0);
	cr_assert_eq(pci_bus_start(&bus), 0);
	pci_port_access(&bus, 0xcf8, 4, true, &value);
	pci_port_access(&bus, 0xcfe, 1, false, &value);
	cr_assert_eq(value, 0x80);
	value = 0x80000000 | 31 << 11 | 0x0c;
	pci_port_access(&bus, 0xcf8, 4, true, &value);
	pci_port_access(&bus, 0xcfe, 1, false, &value);
	cr_assert_eq(value, 0);
	pci_bus_fini(&bus);
}

Test(pci, virtio_without_msix_has_a_line)
{
	struct pci_hooks none;
	struct pci_bus bus;
	uint64_t cap = 0, at = RIG_SLOT << 15;

	rig = rig_new("virtio-rnd");
	none = rig->rg_bus.pb_hooks;
	pci_bus_init(&bus, &none, 0);
	bus.pb_no_msix = true;
	cr_assert_eq(pci_plug(&bus, "3,virtio-rnd"), 0);
	cr_assert_eq(pci_bus_start(&bus), 0, "%s", pci_why(&bus));
	for (pci_ecam_access(&bus, at + 0x34, 1, false, &cap); cap != 0;) {
		uint64_t id = 0;

		pci_ecam_access(&bus, at + cap, 1, false, &id);
		cr_assert_eq(id, 9, "a capability that is not virtio's");
		pci_ecam_access(&bus, at + cap + 1, 1, false, &cap);
	}
	pci_ecam_access(&bus, at + 0x3d, 1, false, &cap);
	cr_assert_eq(cap, 1);
	pci_msix_raise(bus.pb_devs[RIG_SLOT][0], 0);
	cr_assert_eq(rig->rg_nmsis, 0);
	pci_bus_fini(&bus);
}

Test(pci, ports_and_ecam_see_the_same)
{
	uint64_t value = 0;
	uint32_t word = 0x80001803; /* the two lowest bits are not kept */

	rig = rig_new("virtio-rnd");
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 0, 4), 0x10441af4);
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 2, 2), 0x1044);
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 3, 1), 0x10);
	pci_ecam_access(&rig->rg_bus, RIG_SLOT << 15, 4, false, &value);
	cr_assert_eq(value, 0x10441af4);
	pci_ecam_access(&rig->rg_bus, (RIG_SLOT << 15) + 8, 8, false, &value);
	cr_assert_eq(value & UINT32_MAX, rig_cfg_read(rig, RIG_SLOT, 8, 4));
	cr_assert_eq(value >> 32, rig_cfg_read(rig, RIG_SLOT, 12, 4));
	/* What is not there. */
	cr_assert_eq(rig_cfg_read(rig, 4, 0, 4), UINT32_MAX);
	cr_assert_eq(rig_cfg_read(rig, 4, 0, 2), 0xffff);
	pci_ecam_access(&rig->rg_bus, (1 << 20) + (RIG_SLOT << 15), 4, false, &value);
	cr_assert_eq(value, UINT32_MAX);
	pci_ecam_access(&rig->rg_bus, (RIG_SLOT << 15) + 0x100, 4, false, &value);
	cr_assert_eq(value, UINT32_MAX);
	/* Misaligned. */
	pci_ecam_access(&rig->rg_bus, (RIG_SLOT << 15) + 1, 4, false, &value);
	cr_assert_eq(value, UINT32_MAX);
	/* The address register, and data without its enable bit. */
	pci_port_access(&rig->rg_bus, 0xcf8, 4, true, &word);
	pci_port_access(&rig->rg_bus, 0xcf8, 4, false, &word);
	cr_assert_eq(word, 0x80001800);
	word = 0x1800;
	pci_port_access(&rig->rg_bus, 0xcf8, 4, true, &word);
	pci_port_access(&rig->rg_bus, 0xcfc, 4, false, &word);
	cr_assert_eq(word, UINT32_MAX);
}

Test(pci, identity_is_not_writable)
{
	rig = rig_new("virtio-rnd");
	rig_cfg_write(rig, RIG_SLOT, 0, 4, 0);
	rig_cfg_write(rig, RIG_SLOT, 8, 4, 0);
	rig_cfg_write(rig, RIG_SLOT, 0x34, 1, 0);
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 0, 4), 0x10441af4);
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 8, 4), 0x10000001);
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 0x34, 1), 0x40);
	rig_cfg_write(rig, RIG_SLOT, 0x3c, 2, 0x070b); /* the line is, the pin is not */
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 0x3c, 2), 0x010b);
}

Test(pci, a_bar_is_sized_moved_and_turned_off)
{
	uint64_t base;

	rig = rig_new("virtio-rnd");
	base = rig_cfg_read(rig, RIG_SLOT, 0x20, 4) & ~0xfu;
	base |= (uint64_t)rig_cfg_read(rig, RIG_SLOT, 0x24, 4) << 32;
	cr_assert_eq(base, 4ull << 30);
	cr_assert_eq(rig_read(rig, base + 0x12, 2), 1); /* number of queues */

	/* Sizing, as Linux does: decoding off, all ones, back. */
	rig_cfg_write(rig, RIG_SLOT, 4, 2, 0);
	cr_assert_eq(rig_read(rig, base + 0x12, 2), UINT64_MAX);
	rig_cfg_write(rig, RIG_SLOT, 0x20, 4, UINT32_MAX);
	rig_cfg_write(rig, RIG_SLOT, 0x24, 4, UINT32_MAX);
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 0x20, 4), 0xffffc004);
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 0x24, 4), UINT32_MAX);
	rig_cfg_write(rig, RIG_SLOT, 0x14, 4, UINT32_MAX);
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 0x14, 4), 0xfffff000);

	/* Moved while off, and then while on. */
	rig_cfg_write(rig, RIG_SLOT, 0x20, 4, 0xd0000000);
	rig_cfg_write(rig, RIG_SLOT, 0x24, 4, 0);
	rig_cfg_write(rig, RIG_SLOT, 4, 2, 2);
	cr_assert_eq(rig_read(rig, 0xd0000012, 2), 1);
	cr_assert_eq(rig_read(rig, base + 0x12, 2), UINT64_MAX);
	rig_cfg_write(rig, RIG_SLOT, 0x20, 4, 0xd0123456);
	cr_assert_eq(rig_read(rig, 0xd0120012, 2), 1); /* a multiple of its size */
	cr_assert_eq(rig_read(rig, 0xd0000012, 2), UINT64_MAX);

	/* 0 is no place; and one that the machine refuses is none either, until it is moved. */
	rig_cfg_write(rig, RIG_SLOT, 0x20, 4, 0);
	cr_assert_eq(rig_read(rig, 0x12, 2), UINT64_MAX);
	rig->rg_refuse = true;
	rig_cfg_write(rig, RIG_SLOT, 0x20, 4, 0xd0200000);
	cr_assert_eq(rig_read(rig, 0xd0200012, 2), UINT64_MAX);
	rig_cfg_write(rig, RIG_SLOT, 0x20, 4, 0xd0300000);
	cr_assert_eq(rig_read(rig, 0xd0300012, 2), 1);

	/* A reset puts it where it was. */
	pci_bus_reset(&rig->rg_bus);
	cr_assert_eq(rig_read(rig, base + 0x12, 2), 1);
	cr_assert_eq(rig_read(rig, 0xd0300012, 2), UINT64_MAX);
}

Test(pci, accesses_stay_within_a_bar)
{
	uint64_t value = 0;
	struct pci_bar *bar;

	rig = rig_new("virtio-rnd");
	bar = &rig->rg_bus.pb_devs[RIG_SLOT][0]->pd_bars[4];
	pci_bar_access(bar, 0x3ffe, 4, false, &value);
	cr_assert_eq(value, UINT32_MAX);
	pci_bar_access(bar, UINT64_MAX, 2, false, &value);
	cr_assert_eq(value, 0xffff);
	pci_bar_access(bar, UINT64_MAX, 2, true, &value);
}

/* The table is in BAR 1; vector 0's entry first. */
static uint64_t
msix_table(unsigned int *cap)
{
	*cap = 0x40; /* it was added first */
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, *cap, 1), 0x11);
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, *cap + 2, 2), 1); /* two vectors */
	return rig_cfg_read(rig, RIG_SLOT, 0x14, 4);
}

Test(pci, msix_waits_while_masked)
{
	struct pci_dev *dev;
	unsigned int cap;
	uint64_t table, pba;

	rig = rig_new("virtio-rnd");
	dev = rig->rg_bus.pb_devs[RIG_SLOT][0];
	table = msix_table(&cap);
	pba = table + (rig_cfg_read(rig, RIG_SLOT, cap + 8, 4) & ~7u);
	cr_assert_eq(rig_read(rig, table + 12, 4), 1); /* masked after a reset */
	rig_write(rig, table, 4, 0xfee01003);
	cr_assert_eq(rig_read(rig, table, 4), 0xfee01000);
	rig_write(rig, table + 8, 4, 0x31);
	rig_write(rig, table + 12, 4, 0xfffffffe);

	pci_msix_raise(dev, 0); /* MSI-X is off: lost, as a device's is */
	cr_assert_eq(rig->rg_nmsis, 0);
	rig_cfg_write(rig, RIG_SLOT, cap + 2, 2, 0xc000); /* on, all masked */
	rig_cfg_write(rig, RIG_SLOT, 4, 2, 6);
	pci_msix_raise(dev, 0);
	pci_msix_raise(dev, 0);
	cr_assert_eq(rig->rg_nmsis, 0);
	cr_assert_eq(rig_read(rig, pba, 8), 1);
	rig_cfg_write(rig, RIG_SLOT, cap + 2, 2, 0x8000);
	cr_assert_eq(rig->rg_nmsis, 1);
	cr_assert_eq(rig->rg_msis[0].rm_addr, 0xfee01000);
	cr_assert_eq(rig->rg_msis[0].rm_data, 0x31);
	cr_assert_eq(rig_read(rig, pba, 8), 0);

	rig_write(rig, table + 12, 4, 1);
	pci_msix_raise(dev, 0);
	cr_assert_eq(rig->rg_nmsis, 1);
	rig_write(rig, table + 12, 4, 0);
	cr_assert_eq(rig->rg_nmsis, 2);

	/* A message is a write of the device's: not without bus mastering. */
	rig_cfg_write(rig, RIG_SLOT, 4, 2, 2);
	pci_msix_raise(dev, 0);
	cr_assert_eq(rig->rg_nmsis, 2);
	pci_msix_raise(dev, 2); /* there is none */

	/* Entries are whole words; what is between table and pending bits is empty. */
	rig_write(rig, table + 8, 2, 0x77);
	cr_assert_eq(rig_read(rig, table + 8, 4), 0x31);
	cr_assert_eq(rig_read(rig, table + 2, 2), 0xffff);
	rig_write(rig, table + 0x20, 4, 5);
	cr_assert_eq(rig_read(rig, table + 0x20, 4), 0);
	rig_write(rig, pba, 8, 3);
	cr_assert_neq(rig_read(rig, pba, 8), 3);
	cr_assert_eq(rig_read(rig, table + 0xff8, 8), 0);
}

Test(pci, lines_are_shared)
{
	struct pci_dev *one, *two;
	const unsigned int gsi = pci_gsi(RIG_SLOT, 0);

	rig = rig_new("virtio-rnd");
	one = rig->rg_bus.pb_devs[RIG_SLOT][0];
	cr_assert_eq(pci_plug(&rig->rg_bus, "11,virtio-rnd"), 0); /* 8 further: the same pin */
	two = rig->rg_bus.pb_devs[11][0];
	cr_assert_eq(two->pd_emul->pe_init(two, ""), 0);
	cr_assert_eq(two->pd_gsi, one->pd_gsi);
	cr_assert_eq((unsigned int)one->pd_gsi, gsi);
	cr_assert(gsi >= 16 && gsi < 24);

	pci_intx(one, true);
	pci_intx(one, true);
	pci_intx(two, true);
	cr_assert(rig->rg_lines[gsi]);
	pci_intx(one, false);
	cr_assert(rig->rg_lines[gsi], "another device still holds it");
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 6, 2) & 8, 0);
	pci_intx(two, false);
	cr_assert(!rig->rg_lines[gsi]);
	cr_assert_eq(rig->rg_line_changes, 2);

	/* Turned off by the command register, and on again; the status bit tells it anyway. */
	rig_cfg_write(rig, RIG_SLOT, 4, 2, 0x0400);
	pci_intx(one, true);
	cr_assert(!rig->rg_lines[gsi]);
	cr_assert_eq(rig_cfg_read(rig, RIG_SLOT, 6, 2) & 8, 8);
	rig_cfg_write(rig, RIG_SLOT, 4, 2, 0);
	cr_assert(rig->rg_lines[gsi]);
	/* MSI-X takes its place. */
	rig_cfg_write(rig, RIG_SLOT, 0x42, 2, 0x8000);
	cr_assert(!rig->rg_lines[gsi]);
	rig_cfg_write(rig, RIG_SLOT, 0x42, 2, 0);
	cr_assert(rig->rg_lines[gsi]);
	pci_bus_reset(&rig->rg_bus);
	cr_assert(!rig->rg_lines[gsi]);
}

static int
big_init(struct pci_dev *dev, const char *conf)
{
	(void)conf;
	return pci_alloc_bar(dev, 0, PCI_BAR_MEM32, 1ull << 29);
}

Test(pci, bars_that_find_no_room_are_named)
{
	static const struct pci_emul big = {.pe_name = "big", .pe_init = big_init};
	static const struct pci_emul none = {.pe_name = "x"};
	struct pci_dev *dev;

	rig = rig_new("hostbridge");
	dev = rig->rg_bus.pb_devs[RIG_SLOT][0];
	dev->pd_emul = &big;
	cr_assert_eq(pci_alloc_bar(dev, 0, PCI_BAR_MEM32, 1ull << 29), 0);
	cr_assert_eq(pci_alloc_bar(dev, 1, PCI_BAR_MEM32, 1ull << 29), -ENOSPC);
	cr_assert_str_eq(pci_why(&rig->rg_bus),
			 "-s 3:0,big: no room is left for a BAR of 0x20000000 bytes");
	cr_assert_eq(pci_alloc_bar(dev, 1, PCI_BAR_MEM32, 24), -EINVAL);
	cr_assert_eq(pci_alloc_bar(dev, 1, PCI_BAR_MEM32, 8), -EINVAL);
	cr_assert_eq(pci_alloc_bar(dev, 5, PCI_BAR_MEM64, 4096), -EINVAL);
	cr_assert_eq(pci_alloc_bar(dev, 1, PCI_BAR_IO, 32), 0);
	cr_assert_eq(pci_get(dev, 0x14, 4), 0x2001);
	cr_assert_eq(pci_alloc_bar(dev, 2, PCI_BAR_IO, 0x10000), -ENOSPC);
	dev->pd_emul = &none;
}
