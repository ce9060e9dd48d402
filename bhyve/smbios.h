/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* A table by which a guest knows its machine's identity (-U). */

#ifndef BHYVE_SMBIOS_H
#define BHYVE_SMBIOS_H

#include "dma.h"

#define SMBIOS_GPA 0xff000ull /* behind the ACPI tables */
#define SMBIOS_BYTES 0x1000ull

/* "8-4-4-4-12" hexadecimal digits to 16 bytes in that order; 0, or -EINVAL. */
int smbios_parse_uuid(const char *text, uint8_t uuid[16]);
/* 0; -EFAULT no memory there. */
int smbios_build(const uint8_t uuid[16], const struct dma *dma);

#endif /* BHYVE_SMBIOS_H */
