/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* ACPI machine language (aml.h). Encodings: ACPI 6.3, sections 20.2 and 6.4. */

#include <string.h>

#include "aml.h"

enum {
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_QWORD = 0x0e,
	OP_NAME = 0x08,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_EXT = 0x5b,
	OP_EXT_DEVICE = 0x82,
	LENGTH_BYTES = 3,

	RES_IRQ = 0x22,
	RES_IO = 0x47,
	RES_END = 0x79,
	RES_MEMORY32_FIXED = 0x86,
	RES_DWORD = 0x87,
	RES_WORD = 0x88,
	RES_QWORD = 0x8a,
	RES_TYPE_MEMORY = 0,
	RES_TYPE_IO = 1,
	RES_TYPE_BUS = 2,
	RES_PRODUCER_FIXED = 0x0c, /* both ends are fixed; the bridge hands it on */
};

void
aml_bytes(struct aml *aml, const void *bytes, size_t n)
{
	if (aml->am_full || n > aml->am_room - aml->am_used) {
		aml->am_full = true;
		return;
	}
	memcpy(aml->am_bytes + aml->am_used, bytes, n);
	aml->am_used += n;
}

void
aml_byte(struct aml *aml, uint8_t value)
{
	aml_bytes(aml, &value, 1);
}

void
aml_number(struct aml *aml, uint64_t value, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		aml_byte(aml, (uint8_t)(value >> (8 * i)));
}

/* ---- Objects --------------------------------------------------------------------------------- */

void
aml_integer(struct aml *aml, uint64_t value)
{
	if (value <= 1) {
		aml_byte(aml, (uint8_t)value); /* ZeroOp and OneOp */
	} else if (value <= UINT8_MAX) {
		aml_byte(aml, OP_BYTE);
		aml_number(aml, value, 1);
	} else if (value <= UINT16_MAX) {
		aml_byte(aml, OP_WORD);
		aml_number(aml, value, 2);
	} else if (value <= UINT32_MAX) {
		aml_byte(aml, OP_DWORD);
		aml_number(aml, value, 4);
	} else {
		aml_byte(aml, OP_QWORD);
		aml_number(aml, value, 8);
	}
}

/* Three letters of five bits, then four digits; the bytes of it in the opposite order. */
void
aml_eisaid(struct aml *aml, const char *id)
{
	uint32_t value = 0;

	for (unsigned int i = 0; i < 3; i++)
		value = value << 5 | ((uint32_t)id[i] - 0x40);
	for (unsigned int i = 3; i < 7; i++)
		value = value << 4 | (uint32_t)(id[i] <= '9' ? id[i] - '0' : id[i] - 'A' + 10);
	aml_byte(aml, OP_DWORD);
	aml_number(aml, __builtin_bswap32(value), 4);
}

void
aml_name(struct aml *aml, const char *segment)
{
	aml_byte(aml, OP_NAME);
	aml_bytes(aml, segment, strlen(segment));
}

void
aml_name_integer(struct aml *aml, const char *segment, uint64_t value)
{
	aml_name(aml, segment);
	aml_integer(aml, value);
}

void
aml_name_eisaid(struct aml *aml, const char *segment, const char *id)
{
	aml_name(aml, segment);
	aml_eisaid(aml, id);
}

/* ---- Things with a length -------------------------------------------------------------------- */

static size_t
open_length(struct aml *aml)
{
	const size_t at = aml->am_used;

	aml_number(aml, 0, LENGTH_BYTES);
	return at;
}

size_t
aml_scope(struct aml *aml, const char *segment)
{
	size_t at;

	aml_byte(aml, OP_SCOPE);
	at = open_length(aml);
	aml_bytes(aml, segment, strlen(segment));
	return at;
}

size_t
aml_device(struct aml *aml, const char *segment)
{
	size_t at;

	aml_byte(aml, OP_EXT);
	aml_byte(aml, OP_EXT_DEVICE);
	at = open_length(aml);
	aml_bytes(aml, segment, strlen(segment));
	return at;
}

size_t
aml_package(struct aml *aml, uint8_t elements)
{
	size_t at;

	aml_byte(aml, OP_PACKAGE);
	at = open_length(aml);
	aml_byte(aml, elements);
	return at;
}

/* The length counts itself: four bits in its first byte, which says that two more follow. */
void
aml_close(struct aml *aml, size_t opened)
{
	const size_t length = aml->am_used - opened;

	if (aml->am_full)
		return;
	aml->am_bytes[opened] = (uint8_t)(0x80 | (length & 0xf));
	aml->am_bytes[opened + 1] = (uint8_t)(length >> 4);
	aml->am_bytes[opened + 2] = (uint8_t)(length >> 12);
}

/* ---- Resources ------------------------------------------------------------------------------- */

size_t
aml_resources(struct aml *aml)
{
	size_t at;

	aml_byte(aml, OP_BUFFER);
	at = open_length(aml);
	aml_byte(aml, OP_WORD);
	aml_number(aml, 0, 2); /* the size, once it is known */
	return at;
}

void
aml_resources_close(struct aml *aml, size_t opened)
{
	size_t bytes;

	aml_byte(aml, RES_END);
	aml_byte(aml, 0); /* no checksum */
	if (aml->am_full)
		return;
	bytes = aml->am_used - opened - LENGTH_BYTES - 3;
	aml->am_bytes[opened + LENGTH_BYTES + 1] = (uint8_t)bytes;
	aml->am_bytes[opened + LENGTH_BYTES + 2] = (uint8_t)(bytes >> 8);
	aml_close(aml, opened);
}

void
aml_io(struct aml *aml, uint16_t port, uint8_t n)
{
	aml_byte(aml, RES_IO);
	aml_byte(aml, 1); /* all 16 bits are decoded */
	aml_number(aml, port, 2);
	aml_number(aml, port, 2);
	aml_byte(aml, 1);
	aml_byte(aml, n);
}

void
aml_irq(struct aml *aml, unsigned int irq)
{
	aml_byte(aml, RES_IRQ);
	aml_number(aml, 1u << irq, 2);
}

void
aml_memory32_fixed(struct aml *aml, uint32_t base, uint32_t bytes)
{
	aml_byte(aml, RES_MEMORY32_FIXED);
	aml_number(aml, 9, 2);
	aml_byte(aml, 1); /* writable */
	aml_number(aml, base, 4);
	aml_number(aml, bytes, 4);
}

/* Granularity, first, last, translation, length: in `width` bytes each. */
static void
window(struct aml *aml, uint8_t descriptor, unsigned int width, uint8_t type, uint8_t specific,
       uint64_t first, uint64_t last)
{
	aml_byte(aml, descriptor);
	aml_number(aml, 3 + 5 * width, 2);
	aml_byte(aml, type);
	aml_byte(aml, RES_PRODUCER_FIXED);
	aml_byte(aml, specific);
	aml_number(aml, 0, width);
	aml_number(aml, first, width);
	aml_number(aml, last, width);
	aml_number(aml, 0, width);
	aml_number(aml, last - first + 1, width);
}

void
aml_window_bus(struct aml *aml, uint16_t first, uint16_t last)
{
	window(aml, RES_WORD, 2, RES_TYPE_BUS, 0, first, last);
}

void
aml_window_io(struct aml *aml, uint16_t first, uint16_t last)
{
	window(aml, RES_WORD, 2, RES_TYPE_IO, 3 /* the whole range */, first, last);
}

void
aml_window_memory32(struct aml *aml, uint32_t first, uint32_t last)
{
	window(aml, RES_DWORD, 4, RES_TYPE_MEMORY, 1 /* writable, not cacheable */, first, last);
}

void
aml_window_memory64(struct aml *aml, uint64_t first, uint64_t last)
{
	window(aml, RES_QWORD, 8, RES_TYPE_MEMORY, 1, first, last);
}
