/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * SMBIOS, as little as tells a guest the UUID: a 64-bit entry point, a structure of type 1, and the
 * end (DMTF DSP0134 3.2, sections 5.2.2, 7.2 and 7.45). The first three fields of a UUID are stored
 * with their lowest byte first (7.2.1).
 */

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "smbios.h"

enum {
	ENTRY_BYTES = 24,
	SYSTEM_BYTES = 27,
	SYSTEM_UUID = 8,
	END_BYTES = 4,
	TYPE_SYSTEM = 1,
	TYPE_END = 127,
	WAKE_UP_POWER = 6,
};

int
smbios_parse_uuid(const char *text, uint8_t uuid[16])
{
	unsigned int digits = 0;

	for (; *text != '\0'; text++) {
		char byte[3] = {text[0], text[1], '\0'};

		if (*text == '-') {
			if (digits != 8 && digits != 12 && digits != 16 && digits != 20)
				return -EINVAL;
			continue;
		}
		if (!isxdigit((unsigned char)byte[0]) || !isxdigit((unsigned char)byte[1]) ||
		    digits == 32)
			return -EINVAL;
		uuid[digits / 2] = (uint8_t)strtoul(byte, NULL, 16);
		digits += 2;
		text++;
	}
	return digits == 32 ? 0 : -EINVAL;
}

static uint8_t *
put_system(uint8_t *at, const uint8_t uuid[16])
{
	static const char strings[] = "skep\0bhyve\0"; /* and one more 0 behind the last */
	static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

	at[0] = TYPE_SYSTEM;
	at[1] = SYSTEM_BYTES;
	at[2] = 1; /* its handle */
	at[4] = 1; /* strings: manufacturer, product */
	at[5] = 2;
	for (unsigned int i = 0; i < 16; i++)
		at[SYSTEM_UUID + i] = uuid[order[i]];
	at[24] = WAKE_UP_POWER;
	memcpy(at + SYSTEM_BYTES, strings, sizeof(strings));
	return at + SYSTEM_BYTES + sizeof(strings);
}

int
smbios_build(const uint8_t uuid[16], const struct dma *dma)
{
	uint8_t *const entry = dma_ptr(dma, SMBIOS_GPA, SMBIOS_BYTES);
	uint8_t *const table = entry != NULL ? entry + 32 : NULL;
	const uint64_t table_gpa = SMBIOS_GPA + 32;
	uint8_t *at, sum = 0;
	uint32_t bytes;

	if (entry == NULL)
		return -EFAULT;
	memset(entry, 0, SMBIOS_BYTES);
	at = put_system(table, uuid);
	at[0] = TYPE_END;
	at[1] = END_BYTES;
	at[2] = 2;
	bytes = (uint32_t)(at - table) + END_BYTES + 2; /* no strings: two zeros */
	memcpy(entry, "_SM3_", 5);
	entry[6] = ENTRY_BYTES;
	entry[7] = 3; /* the version, and that of the entry point */
	entry[8] = 2;
	entry[10] = 1;
	memcpy(entry + 12, &bytes, sizeof(bytes));
	memcpy(entry + 16, &table_gpa, sizeof(table_gpa));
	for (unsigned int i = 0; i < ENTRY_BYTES; i++)
		sum = (uint8_t)(sum + entry[i]);
	entry[5] = (uint8_t)-sum;
	return 0;
}
