/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * ACPI tables, made from what the machine has (ACPI 6.3, section 5.2). They are put together in a
 * buffer and copied into guest memory at once. The machine is in ACPI mode from the start (no SMI
 * command), and the module serves the timer; so the FADT has few fields that are not 0.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acpi.h"
#include "acpi_dsdt.h"
#include "pci.h"

enum {
	HEADER_BYTES = 36,
	RSDP_BYTES = 36,
	FADT_BYTES = 268, /* revision 5 */
	FACS_BYTES = 64,
	GAS_IO = 1,

	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_LAPIC_NMI = 4,
	MADT_HIGH_EDGE = 0x5, /* flags of an interrupt: polarity and trigger */
	MADT_HIGH_LEVEL = 0xd,

	FADT_WBINVD = 1 << 0,
	FADT_C1 = 1 << 2,
	FADT_NO_SLEEP_BUTTON = 1 << 5,
	FADT_NO_RTC_WAKE = 1 << 6,
	FADT_TIMER_32 = 1 << 8,
	FADT_RESET = 1 << 10,
	FADT_BOOT_NO_VGA = 1 << 2,
	FADT_BOOT_LEGACY = 1 << 0, /* COM ports */

	LAPIC_GPA = 0xfee00000,
	IOAPIC_GPA = 0xfec00000,
	PIT_GSI = 2,
	CMOS_CENTURY = 0x32,
};

struct tables {
	uint8_t *tb_bytes; /* ACPI_TABLES_BYTES of them, from ACPI_TABLES_GPA on */
	size_t tb_used;
};

static void
put(uint8_t *at, uint64_t value, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

static uint8_t
checksum(const uint8_t *bytes, size_t n)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return (uint8_t)-sum;
}

static uint64_t
gpa_of(const struct tables *tb, const uint8_t *at)
{
	return ACPI_TABLES_GPA + (uint64_t)(at - tb->tb_bytes);
}

/* Room for one of n bytes; they are zeros. NULL: none is left. */
static uint8_t *
add(struct tables *tb, size_t n)
{
	const size_t at = (tb->tb_used + 63) & ~(size_t)63; /* what the FACS needs */

	if (n > ACPI_TABLES_BYTES - at)
		return NULL;
	tb->tb_used = at + n;
	return tb->tb_bytes + at;
}

static void
finish(uint8_t *table, const char *signature, uint8_t revision, size_t n)
{
	memcpy(table, signature, 4);
	put(table + 4, n, 4);
	table[8] = revision;
	memcpy(table + 10, "SKEP  SKEPBHYV", 14);
	put(table + 24, 1, 4);
	memcpy(table + 28, "SKEP", 4);
	put(table + 32, 1, 4);
	table[9] = checksum(table, n);
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static uint8_t *
add_madt(struct tables *tb, unsigned int ncpus)
{
	const size_t bytes = HEADER_BYTES + 8 + 8 * ncpus + 12 + 2 * 10 + 6;
	uint8_t *const table = add(tb, bytes);
	uint8_t *at;

	if (table == NULL)
		return NULL;
	put(table + 36, LAPIC_GPA, 4);
	put(table + 40, 1, 4); /* there are 8259s too */
	at = table + 44;
	for (unsigned int i = 0; i < ncpus; i++, at += 8) {
		const uint8_t lapic[8] = {MADT_LAPIC, 8, (uint8_t)i, (uint8_t)i, 1};

		memcpy(at, lapic, sizeof(lapic));
	}
	at[0] = MADT_IOAPIC;
	at[1] = 12;
	put(at + 4, IOAPIC_GPA, 4);
	at += 12;
	/* ISA interrupt, GSI, flags. */
	memcpy(at, (const uint8_t[10]){MADT_OVERRIDE, 10, 0, 0, PIT_GSI, 0, 0, 0, MADT_HIGH_EDGE},
	       10);
	at += 10;
	memcpy(at,
	       (const uint8_t[10]){MADT_OVERRIDE, 10, 0, ACPI_SCI, ACPI_SCI, 0, 0, 0,
				   MADT_HIGH_LEVEL},
	       10);
	at += 10;
	memcpy(at, (const uint8_t[6]){MADT_LAPIC_NMI, 6, 0xff, MADT_HIGH_EDGE, 0, 1}, 6);
	finish(table, "APIC", 3, bytes);
	return table;
}

static uint8_t *
add_mcfg(struct tables *tb)
{
	const size_t bytes = HEADER_BYTES + 8 + 16;
	uint8_t *const table = add(tb, bytes);

	if (table == NULL)
		return NULL;
	put(table + 44, PCI_ECAM_BASE, 8);
	/* First and last bus: 0. There is no other, and guests look for devices on each. */
	finish(table, "MCFG", 1, bytes);
	return table;
}

static void
put_gas(uint8_t *at, uint64_t port, unsigned int bytes)
{
	at[0] = GAS_IO;
	at[1] = (uint8_t)(8 * bytes);
	at[3] = (uint8_t)(bytes == 1 ? 1 : bytes == 2 ? 2 : 3);
	put(at + 4, port, 8);
}

static uint8_t *
add_fadt(struct tables *tb, uint64_t facs_gpa, uint64_t dsdt_gpa)
{
	uint8_t *const table = add(tb, FADT_BYTES);

	if (table == NULL)
		return NULL;
	put(table + 36, facs_gpa, 4);
	put(table + 40, dsdt_gpa, 4);
	put(table + 46, ACPI_SCI, 2);
	put(table + 56, ACPI_PM1_EVT_PORT, 4);
	put(table + 64, ACPI_PM1_CNT_PORT, 4);
	put(table + 76, ACPI_PM_TIMER_PORT, 4);
	table[88] = 4; /* bytes of each of the three */
	table[89] = 2;
	table[91] = 4;
	put(table + 96, 101, 2);  /* no C2: microseconds beyond the limit */
	put(table + 98, 1001, 2); /* no C3 */
	table[108] = CMOS_CENTURY;
	put(table + 109, FADT_BOOT_LEGACY | FADT_BOOT_NO_VGA, 2);
	put(table + 112,
	    FADT_WBINVD | FADT_C1 | FADT_NO_SLEEP_BUTTON | FADT_NO_RTC_WAKE | FADT_TIMER_32 |
		    FADT_RESET,
	    4);
	put_gas(table + 116, ACPI_RESET_PORT, 1);
	table[128] = ACPI_RESET_VALUE;
	put(table + 132, facs_gpa, 8);
	put(table + 140, dsdt_gpa, 8);
	put_gas(table + 148, ACPI_PM1_EVT_PORT, 4);
	put_gas(table + 172, ACPI_PM1_CNT_PORT, 2);
	put_gas(table + 208, ACPI_PM_TIMER_PORT, 4);
	finish(table, "FACP", 5, FADT_BYTES);
	return table;
}

static uint8_t *
add_facs(struct tables *tb)
{
	uint8_t *const table = add(tb, FACS_BYTES);

	if (table == NULL)
		return NULL;
	memcpy(table, "FACS", 4); /* no header, no checksum */
	put(table + 4, FACS_BYTES, 4);
	table[32] = 2;
	return table;
}

static uint8_t *
add_dsdt(struct tables *tb, const struct acpi_cfg *cfg)
{
	uint8_t *const table = add(tb, HEADER_BYTES);
	struct aml aml;

	if (table == NULL)
		return NULL;
	aml = (struct aml){.am_bytes = table + HEADER_BYTES,
			   .am_room = ACPI_TABLES_BYTES - tb->tb_used};
	acpi_dsdt(&aml, cfg);
	if (aml.am_full)
		return NULL;
	tb->tb_used += aml.am_used;
	finish(table, "DSDT", 2, HEADER_BYTES + aml.am_used);
	return table;
}

static uint8_t *
add_xsdt(struct tables *tb, uint8_t *const *tables, unsigned int n)
{
	const size_t bytes = HEADER_BYTES + 8 * n;
	uint8_t *const table = add(tb, bytes);

	if (table == NULL)
		return NULL;
	for (unsigned int i = 0; i < n; i++)
		put(table + HEADER_BYTES + 8 * i, gpa_of(tb, tables[i]), 8);
	finish(table, "XSDT", 1, bytes);
	return table;
}

static void
make_rsdp(struct tables *tb, const uint8_t *xsdt)
{
	uint8_t *const rsdp = tb->tb_bytes;

	memcpy(rsdp, "RSD PTR ", 8);
	memcpy(rsdp + 9, "SKEP  ", 6);
	rsdp[15] = 2; /* revision: there is an XSDT, and no RSDT */
	put(rsdp + 20, RSDP_BYTES, 4);
	put(rsdp + 24, gpa_of(tb, xsdt), 8);
	rsdp[8] = checksum(rsdp, 20);
	rsdp[32] = checksum(rsdp, RSDP_BYTES);
}

static int
fill(struct tables *tb, const struct acpi_cfg *cfg)
{
	uint8_t *tables[3], *facs, *dsdt, *xsdt;

	add(tb, RSDP_BYTES);
	facs = add_facs(tb);
	dsdt = add_dsdt(tb, cfg);
	if (facs == NULL || dsdt == NULL)
		return -ENOSPC;
	tables[0] = add_fadt(tb, gpa_of(tb, facs), gpa_of(tb, dsdt));
	tables[1] = add_madt(tb, cfg->ac_ncpus);
	tables[2] = add_mcfg(tb);
	if (tables[0] == NULL || tables[1] == NULL || tables[2] == NULL)
		return -ENOSPC;
	xsdt = add_xsdt(tb, tables, 3);
	if (xsdt == NULL)
		return -ENOSPC;
	make_rsdp(tb, xsdt);
	return 0;
}

int
acpi_build(const struct acpi_cfg *cfg, const struct dma *dma, uint64_t *rsdp_gpa)
{
	void *const to = dma_ptr(dma, ACPI_TABLES_GPA, ACPI_TABLES_BYTES);
	struct tables tb;
	int error;

	if (cfg->ac_ncpus == 0 || cfg->ac_ncpus > ACPI_CPUS_MAX)
		return -EINVAL;
	if (to == NULL)
		return -EFAULT;
	tb = (struct tables){.tb_bytes = calloc(1, ACPI_TABLES_BYTES)};
	if (tb.tb_bytes == NULL)
		return -ENOMEM;
	error = fill(&tb, cfg);
	if (error == 0) {
		memcpy(to, tb.tb_bytes, ACPI_TABLES_BYTES);
		*rsdp_gpa = ACPI_TABLES_GPA;
	}
	free(tb.tb_bytes);
	return error;
}
