/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The DSDT: power-off, the PCI bus with its windows and the pins its interrupts come by, serial
 * ports, the clock, and what is in use elsewhere. Guests in 8259 mode get no interrupts of PCI by
 * it: pins 16 to 23 lead to the IOAPIC only.
 */

#include "acpi_dsdt.h"
#include "pci.h"

static void
add_s5(struct aml *aml)
{
	size_t package;

	aml_name(aml, "\\_S5_");
	package = aml_package(aml, 4);
	aml_integer(aml, ACPI_S5_TYPE);
	aml_integer(aml, ACPI_S5_TYPE);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_close(aml, package);
}

static void
add_windows(struct aml *aml, const struct acpi_cfg *cfg)
{
	size_t resources;

	aml_name(aml, "_CRS");
	resources = aml_resources(aml);
	aml_window_bus(aml, 0, 0);
	aml_io(aml, 0xcf8, 8);
	aml_window_io(aml, 0, 0xcf7);
	aml_window_io(aml, 0xd00, 0xffff);
	aml_window_memory32(aml, (uint32_t)cfg->ac_mem32_base, (uint32_t)(cfg->ac_mem32_end - 1));
	if (cfg->ac_mem64_end > cfg->ac_mem64_base)
		aml_window_memory64(aml, cfg->ac_mem64_base, cfg->ac_mem64_end - 1);
	aml_resources_close(aml, resources);
}

/* { slot and any function, pin, no link device, GSI } */
static void
add_routes(struct aml *aml)
{
	size_t routes;

	aml_name(aml, "_PRT");
	routes = aml_package(aml, 4 * PCI_SLOTS);
	for (unsigned int i = 0; i < 4 * PCI_SLOTS; i++) {
		const size_t route = aml_package(aml, 4);

		aml_integer(aml, (uint64_t)(i / 4) << 16 | 0xffff);
		aml_integer(aml, i % 4);
		aml_integer(aml, 0);
		aml_integer(aml, pci_gsi(i / 4, i % 4));
		aml_close(aml, route);
	}
	aml_close(aml, routes);
}

static void
add_pci(struct aml *aml, const struct acpi_cfg *cfg)
{
	const size_t device = aml_device(aml, "PCI0");

	aml_name_eisaid(aml, "_HID", "PNP0A08");
	aml_name_eisaid(aml, "_CID", "PNP0A03");
	aml_name_integer(aml, "_UID", 0);
	aml_name_integer(aml, "_BBN", 0);
	aml_name_integer(aml, "_SEG", 0);
	add_windows(aml, cfg);
	add_routes(aml);
	aml_close(aml, device);
}

static void
add_isa(struct aml *aml, const char *name, const char *id, unsigned int uid, uint16_t port,
	uint8_t nports, unsigned int irq)
{
	const size_t device = aml_device(aml, name);
	size_t resources;

	aml_name_eisaid(aml, "_HID", id);
	aml_name_integer(aml, "_UID", uid);
	aml_name(aml, "_CRS");
	resources = aml_resources(aml);
	aml_io(aml, port, nports);
	aml_irq(aml, irq);
	aml_resources_close(aml, resources);
	aml_close(aml, device);
}

/* ECAM must be reserved by a device, or guests do not trust it; and so should the PM ports. */
static void
add_reserved(struct aml *aml)
{
	const size_t device = aml_device(aml, "RES0");
	size_t resources;

	aml_name_eisaid(aml, "_HID", "PNP0C02");
	aml_name_integer(aml, "_UID", 0);
	aml_name(aml, "_CRS");
	resources = aml_resources(aml);
	aml_memory32_fixed(aml, (uint32_t)PCI_ECAM_BASE, (uint32_t)PCI_ECAM_BYTES);
	aml_io(aml, ACPI_PM1_EVT_PORT, ACPI_PM_TIMER_PORT + 4 - ACPI_PM1_EVT_PORT);
	aml_resources_close(aml, resources);
	aml_close(aml, device);
}

void
acpi_dsdt(struct aml *aml, const struct acpi_cfg *cfg)
{
	static const struct {
		const char name[5];
		uint16_t port;
		uint8_t irq;
	} coms[4] = {
		{"COM1", 0x3f8, 4}, {"COM2", 0x2f8, 3}, {"COM3", 0x3e8, 4}, {"COM4", 0x2e8, 3}};
	size_t scope;

	add_s5(aml);
	scope = aml_scope(aml, "\\_SB_");
	add_pci(aml, cfg);
	for (unsigned int i = 0; i < 4; i++) {
		if (cfg->ac_com[i])
			add_isa(aml, coms[i].name, "PNP0501", i + 1, coms[i].port, 8, coms[i].irq);
	}
	add_isa(aml, "RTC0", "PNP0B00", 0, 0x70, 2, 8);
	add_reserved(aml);
	aml_close(aml, scope);
}
