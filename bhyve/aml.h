/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Writes ACPI machine language, as much of it as a table without methods needs: names, devices,
 * packages, integers, and resource templates (ACPI 6.3, chapters 20 and 6.4).
 *
 * What the buffer has no room for is dropped and remembered: the caller asks once, in the end. A
 * thing with a length (scope, device, package, buffer) is opened and closed; its length is filled
 * in when it is closed, always in the form of three bytes.
 */

#ifndef BHYVE_AML_H
#define BHYVE_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *am_bytes;
	size_t am_room;
	size_t am_used;
	bool am_full;
};

void aml_bytes(struct aml *aml, const void *bytes, size_t n);
void aml_byte(struct aml *aml, uint8_t value);
/* Little endian, n bytes. */
void aml_number(struct aml *aml, uint64_t value, unsigned int n);

/* Name (segment, ...): the object comes next. A segment has four characters; "\\_SB_" is rooted. */
void aml_name(struct aml *aml, const char *segment);
void aml_integer(struct aml *aml, uint64_t value);
void aml_eisaid(struct aml *aml, const char *id);
void aml_name_integer(struct aml *aml, const char *segment, uint64_t value);
void aml_name_eisaid(struct aml *aml, const char *segment, const char *id);

/* What these return is given to aml_close(). */
size_t aml_scope(struct aml *aml, const char *segment);
size_t aml_device(struct aml *aml, const char *segment);
size_t aml_package(struct aml *aml, uint8_t elements);
void aml_close(struct aml *aml, size_t opened);

/* A buffer of resource descriptors; begins with room for its size. */
size_t aml_resources(struct aml *aml);
void aml_resources_close(struct aml *aml, size_t opened);
void aml_io(struct aml *aml, uint16_t port, uint8_t n);
void aml_irq(struct aml *aml, unsigned int irq);
void aml_memory32_fixed(struct aml *aml, uint32_t base, uint32_t bytes);
/* Windows of a bridge: what it hands on; last is the last one inside. */
void aml_window_bus(struct aml *aml, uint16_t first, uint16_t last);
void aml_window_io(struct aml *aml, uint16_t first, uint16_t last);
void aml_window_memory32(struct aml *aml, uint32_t first, uint32_t last);
void aml_window_memory64(struct aml *aml, uint64_t first, uint64_t last);

#endif /* BHYVE_AML_H */
