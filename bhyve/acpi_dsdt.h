/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* The DSDT's contents, behind its header: written into aml, which may become full. */

#ifndef BHYVE_ACPI_DSDT_H
#define BHYVE_ACPI_DSDT_H

#include "acpi.h"
#include "aml.h"

void acpi_dsdt(struct aml *aml, const struct acpi_cfg *cfg);

#endif /* BHYVE_ACPI_DSDT_H */
