/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Linux: a bzImage by the 64-bit boot protocol. Source: Linux, Documentation/x86/boot.rst (offsets
 * and meanings of the setup header, "64-bit boot protocol") and zero-page.rst.
 */

#include <errno.h>
#include <string.h>

#include "load.h"

/* Offsets in the image and, the same, in boot_params. */
enum {
	SETUP_SECTS = 0x1f1,
	BOOT_FLAG = 0x1fe,
	JUMP = 0x200,
	HEADER = 0x202, /* "HdrS" */
	VERSION = 0x206,
	TYPE_OF_LOADER = 0x210,
	LOADFLAGS = 0x211,
	RAMDISK_IMAGE = 0x218,
	RAMDISK_SIZE = 0x21c,
	CMD_LINE_PTR = 0x228,
	INITRD_ADDR_MAX = 0x22c,
	KERNEL_ALIGNMENT = 0x230,
	RELOCATABLE = 0x234,
	XLOADFLAGS = 0x236,
	CMDLINE_SIZE = 0x238,
	PREF_ADDRESS = 0x258,
	INIT_SIZE = 0x260,
	HEADER_MIN_END = 0x264,
	/* in boot_params alone; the first ones are struct screen_info's */
	VIDEO_TYPE = 0x00f,
	LFB_WIDTH = 0x012,
	LFB_HEIGHT = 0x014,
	LFB_DEPTH = 0x016,
	LFB_BASE = 0x018,
	LFB_SIZE = 0x01c, /* in units of 64 KiB */
	LFB_LINE_BYTES = 0x024,
	LFB_COLORS = 0x026, /* size and place of red, green, blue, what is left */
	ACPI_RSDP_ADDR = 0x070,
	E820_ENTRIES = 0x1e8,
	E820_TABLE = 0x2d0,
};

#define VERSION_64BIT 0x020c
#define LOADED_HIGH 0x01
#define XLF_KERNEL_64 0x01
#define LOADER_OTHER 0xff
#define SECTOR 512u
#define ENTRY_64 0x200u
#define VIDEO_LINEAR 0x23 /* VIDEO_TYPE_VLFB */
#define BOOT_PARAMS_BYTES 4096u

static uint32_t
get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t
get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static void
set32(uint8_t *p, uint64_t v)
{
	const uint32_t v32 = (uint32_t)v;

	memcpy(p, &v32, sizeof(v32));
}

bool
load_is_linux(const uint8_t *image, size_t bytes)
{
	return bytes >= HEADER + 4 && get16(image + BOOT_FLAG) == 0xaa55 &&
	       memcmp(image + HEADER, "HdrS", 4) == 0;
}

static int
check(struct load *ld, const uint8_t *image, size_t bytes, size_t *setup_bytes)
{
	const unsigned int sects =
		bytes > SETUP_SECTS && image[SETUP_SECTS] ? image[SETUP_SECTS] : 4;

	*setup_bytes = (sects + 1) * SECTOR;
	if (bytes < HEADER_MIN_END || bytes <= *setup_bytes + ENTRY_64)
		return load_fail(ld, -EINVAL, "the Linux image is cut off: %zu bytes", bytes);
	if (get16(image + VERSION) < VERSION_64BIT)
		return load_fail(ld, -EINVAL,
				 "a Linux of boot protocol %u.%02u; 2.12 (Linux 3.8) is needed",
				 image[VERSION + 1], image[VERSION]);
	if (!(image[LOADFLAGS] & LOADED_HIGH) || !(get16(image + XLOADFLAGS) & XLF_KERNEL_64))
		return load_fail(ld, -EINVAL, "a Linux that has no 64-bit entry");
	return 0;
}

/* Where it is run: where it would like to be, or lower if it can move and memory is short. */
static int
place(struct load *ld, const uint8_t *image, uint64_t *base, uint64_t *len)
{
	const uint64_t align = get32(image + KERNEL_ALIGNMENT);

	*len = get32(image + INIT_SIZE);
	*base = get64(image + PREF_ADDRESS);
	if (*base + *len < *base || *base + *len > ld->ld_low_bytes) {
		if (image[RELOCATABLE] && align >= 4096 && (align & (align - 1)) == 0)
			*base = (LOAD_1MIB + align - 1) & ~(align - 1);
	}
	if (*base < LOAD_1MIB)
		return load_fail(ld, -EINVAL, "a Linux that wants to be below 1 MiB");
	return 0;
}

static void
fill_e820(const struct load *ld, uint8_t *params)
{
	struct load_map map[LOAD_MAP_MAX];
	const unsigned int n = load_memory_map(ld, map);

	params[E820_ENTRIES] = (uint8_t)n;
	for (unsigned int i = 0; i < n; i++) {
		uint8_t *const e = params + E820_TABLE + i * 20;

		memcpy(e, &map[i].lm_base, 8);
		memcpy(e + 8, &map[i].lm_len, 8);
		set32(e + 16, map[i].lm_type);
	}
}

static void
fill_screen(const struct load *ld, uint8_t *params)
{
	static const uint8_t colors[8] = {8, 16, 8, 8, 8, 0, 8, 24};
	const uint16_t size[3] = {(uint16_t)ld->ld_fb_width, (uint16_t)ld->ld_fb_height, 32};
	const uint16_t line_bytes = (uint16_t)(4 * ld->ld_fb_width);

	if (ld->ld_fb_bytes == 0)
		return;
	params[VIDEO_TYPE] = VIDEO_LINEAR;
	memcpy(params + LFB_WIDTH, size, sizeof(size));
	set32(params + LFB_BASE, ld->ld_fb_gpa);
	set32(params + LFB_SIZE, ld->ld_fb_bytes >> 16);
	memcpy(params + LFB_LINE_BYTES, &line_bytes, sizeof(line_bytes));
	memcpy(params + LFB_COLORS, colors, sizeof(colors));
}

static int
put_params(struct load *ld, const uint8_t *image, uint64_t initrd)
{
	const size_t end = HEADER + image[JUMP + 1]; /* as the jump at its start tells */
	uint8_t params[BOOT_PARAMS_BYTES] = {0};

	memcpy(params + SETUP_SECTS, image + SETUP_SECTS, end - SETUP_SECTS);
	params[TYPE_OF_LOADER] = LOADER_OTHER;
	set32(params + RAMDISK_IMAGE, initrd);
	set32(params + RAMDISK_SIZE, ld->ld_initrd_bytes);
	set32(params + CMD_LINE_PTR, LOAD_CMDLINE);
	memcpy(params + ACPI_RSDP_ADDR, &ld->ld_rsdp, 8);
	fill_e820(ld, params);
	fill_screen(ld, params);
	return load_put(ld, LOAD_INFO, sizeof(params), params, sizeof(params), "boot_params");
}

int
load_linux(struct load *ld, const uint8_t *image, size_t bytes)
{
	uint64_t base, len, initrd = 0;
	size_t setup_bytes;
	uint8_t *tables;
	int error;

	ld->ld_kind = "Linux";
	error = check(ld, image, bytes, &setup_bytes);
	if (error == 0)
		error = place(ld, image, &base, &len);
	if (error)
		return error;
	if (len < bytes - setup_bytes)
		len = bytes - setup_bytes;
	error = load_put(ld, base, len, image + setup_bytes, bytes - setup_bytes, "the kernel");
	if (error == 0)
		error = load_initrd(ld, get32(image + INITRD_ADDR_MAX) + 1ull, &initrd);
	if (error == 0)
		error = load_cmdline(ld, get32(image + CMDLINE_SIZE));
	if (error == 0)
		error = put_params(ld, image, initrd);
	if (error == 0)
		error = load_claim(ld, LOAD_TABLES, LOAD_TABLES_BYTES, "page tables", &tables);
	ld->ld_long = true;
	ld->ld_rip = base + ENTRY_64;
	ld->ld_rsi = LOAD_INFO;
	return error;
}
