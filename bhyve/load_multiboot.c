/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Multiboot 1: test kernels of people who write operating systems. Source: Multiboot Specification
 * 0.6.96, sections 3.1 (header), 3.2 (machine state), 3.3 (information).
 */

#include <errno.h>
#include <string.h>

#include "load.h"

#define HEADER_MAGIC 0x1badb002u
#define LOADER_MAGIC 0x2badb002u
#define SEARCH_BYTES 8192u
#define HEADER_BYTES 12u
#define HEADER_ADDR_BYTES 32u
#define FLAG_VIDEO (1u << 2)
#define FLAG_MUST 0xffffu
#define FLAG_MUST_KNOWN 0x7u /* page-aligned modules, memory, video */
#define FLAG_ADDRESSES (1u << 16)

#define INFO_MEMORY (1u << 0)
#define INFO_CMDLINE (1u << 2)
#define INFO_MODULES (1u << 3)
#define INFO_MAP (1u << 6)
#define INFO_LOADER (1u << 9)

struct header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};
struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table;
	uint32_t boot_loader_name, apm_table;
	char name[8];
};
struct module {
	uint32_t start, end, string, reserved;
};
struct map_entry {
	uint32_t size;
	uint64_t base, len;
	uint32_t type;
} __attribute__((packed));

long
load_find_multiboot(const uint8_t *image, size_t bytes)
{
	for (size_t at = 0; at + HEADER_BYTES <= bytes && at < SEARCH_BYTES; at += 4) {
		uint32_t w[3];

		memcpy(w, image + at, sizeof(w));
		if (w[0] == HEADER_MAGIC && w[0] + w[1] + w[2] == 0)
			return (long)at;
	}
	return -1;
}

/* What the header says, for files that are no ELF. */
static int
put_by_addresses(struct load *ld, const uint8_t *image, size_t bytes, size_t at,
		 const struct header *h)
{
	const uint64_t before = (uint64_t)h->header_addr - h->load_addr;
	uint64_t first, n, len;

	if (h->load_addr > h->header_addr || before > at)
		return load_fail(ld, -EINVAL,
				 "the Multiboot header's addresses do not fit its place");
	first = at - before;
	n = h->load_end_addr ? (uint64_t)h->load_end_addr - h->load_addr : bytes - first;
	if ((h->load_end_addr && h->load_end_addr < h->load_addr) || n > bytes - first)
		return load_fail(ld, -EINVAL, "the Multiboot file is cut off, or its header wrong");
	len = h->bss_end_addr ? (uint64_t)h->bss_end_addr - h->load_addr : n;
	if ((h->bss_end_addr && h->bss_end_addr < h->load_addr) || len < n)
		return load_fail(ld, -EINVAL, "the Multiboot header ends bss before the data");
	ld->ld_rip = h->entry_addr;
	return load_put(ld, h->load_addr, len, image + first, n, "the kernel");
}

static int
put_image(struct load *ld, const uint8_t *image, size_t bytes, size_t at, const struct header *h)
{
	struct load_elf le = {0};
	int error;

	if (h->flags & FLAG_ADDRESSES)
		return put_by_addresses(ld, image, bytes, at, h);
	if (memcmp(image, "\177ELF", 4) != 0)
		return load_fail(ld, -EINVAL,
				 "a Multiboot file that is no ELF and gives no addresses");
	error = load_elf(ld, image, bytes, true, &le);
	if (error == 0 && le.le_entry > UINT32_MAX)
		error = load_fail(ld, -EINVAL, "the entry is beyond 4 GiB");
	ld->ld_rip = le.le_entry;
	return error;
}

static int
put_info(struct load *ld, uint64_t initrd)
{
	struct load_map map[LOAD_MAP_MAX];
	struct map_entry entries[LOAD_MAP_MAX];
	const unsigned int n = load_memory_map(ld, map);
	struct {
		struct info info;
		struct module module;
	} mi = {
		.info = {.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MAP | INFO_LOADER |
				  (initrd ? INFO_MODULES : 0),
			 .mem_lower = (uint32_t)(LOAD_LOW_END / 1024),
			 .mem_upper = (uint32_t)((ld->ld_low_bytes - LOAD_1MIB) / 1024),
			 .cmdline = LOAD_CMDLINE,
			 .mods_count = initrd ? 1 : 0,
			 .mods_addr = LOAD_INFO + sizeof(struct info),
			 .mmap_length = n * (uint32_t)sizeof(entries[0]),
			 .mmap_addr = LOAD_MAP,
			 .boot_loader_name = LOAD_INFO + offsetof(struct info, name),
			 .name = "bhyve"},
		.module = {.start = (uint32_t)initrd,
			   .end = (uint32_t)(initrd + ld->ld_initrd_bytes),
			   .string = LOAD_CMDLINE},
	};
	int error;

	for (unsigned int i = 0; i < n; i++)
		entries[i] = (struct map_entry){sizeof(entries[0]) - sizeof(entries[0].size),
						map[i].lm_base, map[i].lm_len, map[i].lm_type};
	error = load_put(ld, LOAD_INFO, 4096, &mi, sizeof(mi), "the Multiboot information");
	if (error)
		return error;
	return load_put(ld, LOAD_MAP, 4096, entries, n * sizeof(entries[0]), "the memory map");
}

int
load_multiboot(struct load *ld, const uint8_t *image, size_t bytes)
{
	const size_t at = (size_t)load_find_multiboot(image, bytes);
	struct header h = {0};
	uint64_t initrd = 0;
	int error;

	ld->ld_kind = "Multiboot 1";
	memcpy(&h, image + at, HEADER_BYTES);
	if (h.flags & FLAG_MUST & ~FLAG_MUST_KNOWN)
		return load_fail(ld, -EINVAL,
				 "a Multiboot kernel that wants what is not known: 0x%x",
				 h.flags & FLAG_MUST);
	if (h.flags & FLAG_VIDEO)
		return load_fail(ld, -EINVAL, "a Multiboot kernel that wants a video mode");
	if (h.flags & FLAG_ADDRESSES) {
		if (bytes - at < HEADER_ADDR_BYTES)
			return load_fail(ld, -EINVAL, "the Multiboot file is cut off");
		memcpy(&h, image + at, HEADER_ADDR_BYTES);
	}
	error = put_image(ld, image, bytes, at, &h);
	if (error == 0)
		error = load_initrd(ld, LOAD_HIGH, &initrd);
	if (error == 0)
		error = load_cmdline(ld, LOAD_CMDLINE_MAX);
	if (error == 0)
		error = put_info(ld, initrd);
	ld->ld_long = false;
	ld->ld_rax = LOADER_MAGIC;
	ld->ld_rbx = LOAD_INFO;
	return error;
}
