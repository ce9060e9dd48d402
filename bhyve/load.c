/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What all formats share: claims on guest memory, the memory map, command line and initrd.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "load.h"

#define PAGE 4096ull
/* Configuration space by memory (pci.h); in the map so that Linux believes in it. */
#define ECAM_BASE 0xe0000000ull
#define ECAM_BYTES 0x10000000ull

typedef unsigned long long ull;

int
load_fail(struct load *ld, int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(ld->ld_why, sizeof(ld->ld_why), format, ap);
	va_end(ap);
	return error;
}

int
load_claim(struct load *ld, uint64_t gpa, uint64_t len, const char *what, uint8_t **ptr)
{
	const uint64_t end = gpa + len;

	if (len == 0)
		return load_fail(ld, -EINVAL, "%s is empty", what);
	/* Low memory has a hole: screens and firmware. */
	if (end < gpa || end > ld->ld_low_bytes || (end > LOAD_LOW_END && gpa < LOAD_1MIB))
		return load_fail(ld, -ENOSPC,
				 "%s does not fit: it needs 0x%llx to 0x%llx, and memory is there "
				 "from 0 to 0x%llx and from 0x%llx to 0x%llx",
				 what, (ull)gpa, (ull)end, LOAD_LOW_END, LOAD_1MIB,
				 (ull)ld->ld_low_bytes);
	for (unsigned int i = 0; i < ld->ld_n; i++) {
		const uint64_t base = ld->ld_claims[i].base;

		if (gpa < base + ld->ld_claims[i].len && base < end)
			return load_fail(ld, -ENOSPC,
					 "%s at 0x%llx to 0x%llx overlaps %s at 0x%llx", what,
					 (ull)gpa, (ull)end, ld->ld_claims[i].what, (ull)base);
	}
	if (ld->ld_n == LOAD_CLAIMS_MAX)
		return load_fail(ld, -EINVAL, "%s is one segment too many", what);
	*ptr = dma_ptr(&ld->ld_dma, gpa, len);
	if (*ptr == NULL)
		return load_fail(ld, -ENOSPC, "%s: no memory at 0x%llx to 0x%llx", what, (ull)gpa,
				 (ull)end);
	ld->ld_claims[ld->ld_n].base = gpa;
	ld->ld_claims[ld->ld_n].len = len;
	ld->ld_claims[ld->ld_n++].what = what;
	return 0;
}

int
load_put(struct load *ld, uint64_t gpa, uint64_t len, const void *from, size_t n, const char *what)
{
	uint8_t *to;
	int error;

	if (n > len)
		return load_fail(ld, -EINVAL, "%s has more bytes than room", what);
	error = load_claim(ld, gpa, len, what, &to);
	if (error)
		return error;
	if (n > 0)
		memcpy(to, from, n);
	memset(to + n, 0, len - n);
	return 0;
}

int
load_initrd(struct load *ld, uint64_t limit, uint64_t *gpa)
{
	const uint64_t len = (ld->ld_initrd_bytes + PAGE - 1) & ~(PAGE - 1);
	const uint64_t top = (limit < ld->ld_low_bytes ? limit : ld->ld_low_bytes) & ~(PAGE - 1);

	*gpa = 0;
	if (ld->ld_initrd_bytes == 0)
		return 0;
	if (top < LOAD_1MIB + len)
		return load_fail(ld, -ENOSPC,
				 "the initrd of %llu KiB does not fit into %llu KiB of memory",
				 (ull)len / 1024, (ull)top / 1024);
	*gpa = top - len;
	return load_put(ld, *gpa, len, ld->ld_initrd, ld->ld_initrd_bytes, "the initrd");
}

int
load_cmdline(struct load *ld, size_t max)
{
	const size_t n = strlen(ld->ld_cmdline);

	if (max > LOAD_CMDLINE_MAX - 1)
		max = LOAD_CMDLINE_MAX - 1;
	if (n > max)
		return load_fail(ld, -EINVAL,
				 "a command line of %zu characters; the kernel takes %zu", n, max);
	return load_put(ld, LOAD_CMDLINE, LOAD_CMDLINE_MAX, ld->ld_cmdline, n, "the command line");
}

unsigned int
load_memory_map(const struct load *ld, struct load_map map[LOAD_MAP_MAX])
{
	unsigned int n = 0;

	map[n++] = (struct load_map){0, LOAD_LOW_END, LOAD_RAM};
	map[n++] = (struct load_map){LOAD_LOW_END, 0xa0000 - LOAD_LOW_END, LOAD_RESERVED};
	map[n++] = (struct load_map){LOAD_FIRMWARE, LOAD_1MIB - LOAD_FIRMWARE, LOAD_RESERVED};
	map[n++] = (struct load_map){LOAD_1MIB, ld->ld_low_bytes - LOAD_1MIB, LOAD_RAM};
	map[n++] = (struct load_map){ECAM_BASE, ECAM_BYTES, LOAD_RESERVED};
	if (ld->ld_high_bytes > 0)
		map[n++] = (struct load_map){LOAD_HIGH, ld->ld_high_bytes, LOAD_RAM};
	return n;
}

/* Null, unused, 64- or 32-bit code, data; flat. */
static int
put_gdt(struct load *ld)
{
	const uint64_t gdt[] = {
		0,
		0,
		ld->ld_long ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull,
		0x00cf93000000ffffull,
		0x00008b0000000067ull, /* a TSS, for TR must have one */
	};

	return load_put(ld, LOAD_GDT, sizeof(gdt), gdt, sizeof(gdt), "the descriptor table");
}

int
load_kernel(struct load *ld, const uint8_t *image, size_t bytes)
{
	int error;

	ld->ld_n = 0;
	ld->ld_rax = ld->ld_rbx = ld->ld_rsi = 0;
	if (ld->ld_low_bytes <= LOAD_1MIB)
		return load_fail(ld, -ENOSPC, "a kernel needs more than 1 MiB of memory");
	if (load_is_linux(image, bytes))
		error = load_linux(ld, image, bytes);
	else if (load_find_multiboot(image, bytes) >= 0)
		error = load_multiboot(ld, image, bytes);
	else if (bytes >= 4 && memcmp(image, "\177ELF", 4) == 0)
		error = load_pvh(ld, image, bytes);
	else
		error = load_fail(ld, -ENOEXEC,
				  "it is no kernel: neither a Linux bzImage, nor an ELF file with "
				  "a PVH note, nor Multiboot 1");
	return error ? error : put_gdt(ld);
}
