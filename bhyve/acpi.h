/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The tables by which a guest finds the machine's hardware: RSDP, XSDT, FADT, FACS, MADT, MCFG and
 * DSDT, in the last 64 KiB below 1 MiB, where a guest without a boot loader's hint looks for them.
 */

#ifndef BHYVE_ACPI_H
#define BHYVE_ACPI_H

#include <stdbool.h>

#include "dma.h"

#define ACPI_TABLES_GPA 0xf0000ull /* the RSDP is there */
#define ACPI_TABLES_BYTES 0xf000ull
#define ACPI_CPUS_MAX 255 /* by 8-bit APIC ids */

/* What the tables say, and bhyve's power management serves (the PM timer is the module's). */
#define ACPI_PM1_EVT_PORT 0x400 /* 4 bytes: status, enable */
#define ACPI_PM1_CNT_PORT 0x404 /* 2 bytes */
#define ACPI_PM_TIMER_PORT 0x408
#define ACPI_RESET_PORT 0xcf9
#define ACPI_RESET_VALUE 6
#define ACPI_S5_TYPE 5 /* SLP_TYP of power-off */
#define ACPI_SCI 9

struct acpi_cfg {
	unsigned int ac_ncpus;
	uint64_t ac_mem32_base; /* windows of the PCI bus, [base, end) */
	uint64_t ac_mem32_end;
	uint64_t ac_mem64_base;
	uint64_t ac_mem64_end; /* base: there is none */
	bool ac_com[4];	       /* COM1 to COM4 are there */
};

/* 0 and where the RSDP is; -EINVAL too many CPUs; -EFAULT no memory there; -ENOSPC. */
int acpi_build(const struct acpi_cfg *cfg, const struct dma *dma, uint64_t *rsdp_gpa);

#endif /* BHYVE_ACPI_H */
