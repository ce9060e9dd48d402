/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Kernels put into guest memory, as a boot loader would: Linux by its 64-bit boot protocol, ELF
 * files by the PVH note, and whatever has a Multiboot 1 header. Nothing here knows a machine: an
 * image comes as bytes, guest memory by a hook, and what comes back is how a vCPU is to begin.
 *
 * Everything is checked before it is believed; what is loaded twice to one place, or to where no
 * memory is, is refused with a sentence.
 */

#ifndef BHYVE_LOAD_H
#define BHYVE_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dma.h"

/* Places below 1 MiB that loading takes for itself. */
#define LOAD_GDT 0x1000ull
#define LOAD_INFO 0x7000ull /* boot_params, hvm_start_info, or Multiboot information: a page */
#define LOAD_MAP 0x8000ull  /* what INFO points to: a page */
#define LOAD_CMDLINE 0x9000ull
#define LOAD_CMDLINE_MAX 2048u
#define LOAD_TABLES 0x10000ull
#define LOAD_TABLES_BYTES 0x8000ull
#define LOAD_LOW_END 0x9fc00ull /* of memory below the legacy hole */
#define LOAD_FIRMWARE 0xf0000ull
#define LOAD_1MIB 0x100000ull
#define LOAD_HIGH 0x100000000ull

/* Selectors of the GDT at LOAD_GDT: those that Linux wants. */
#define LOAD_SEL_CODE 0x10
#define LOAD_SEL_DATA 0x18

#define LOAD_CLAIMS_MAX 40

struct load {
	struct dma ld_dma;
	uint64_t ld_low_bytes;
	uint64_t ld_high_bytes;
	const char *ld_cmdline; /* "" */
	const uint8_t *ld_initrd;
	size_t ld_initrd_bytes; /* 0: none */
	uint64_t ld_rsdp;	/* 0: no ACPI */
	/* A framebuffer below 4 GiB; a pixel is blue, green, red, nothing. 0 bytes: none. */
	uint64_t ld_fb_gpa, ld_fb_bytes;
	uint32_t ld_fb_width, ld_fb_height;

	/* Results. */
	char ld_why[256];
	const char *ld_kind; /* for people */
	bool ld_long;	     /* 64-bit mode with tables; else 32-bit, without paging */
	uint64_t ld_rip, ld_rax, ld_rbx, ld_rsi;

	struct {
		uint64_t base, len;
		const char *what;
	} ld_claims[LOAD_CLAIMS_MAX];
	unsigned int ld_n;
};

/* Whatever it is. -ENOEXEC not one of the three; -EINVAL a bad image; -ENOSPC no memory for it;
 * ld_why is about it. */
int load_kernel(struct load *ld, const uint8_t *image, size_t bytes);

/* ---- Between the files ----------------------------------------------------------------------- */

bool load_is_linux(const uint8_t *image, size_t bytes);
int load_linux(struct load *ld, const uint8_t *image, size_t bytes);
/* Offset of the header, or -1. */
long load_find_multiboot(const uint8_t *image, size_t bytes);
int load_multiboot(struct load *ld, const uint8_t *image, size_t bytes);
int load_pvh(struct load *ld, const uint8_t *image, size_t bytes);

int load_fail(struct load *ld, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* [gpa, gpa + len) is memory, nobody else's, and from now on what's; *ptr is where it is. */
int load_claim(struct load *ld, uint64_t gpa, uint64_t len, const char *what, uint8_t **ptr);
/* The same, filled: n bytes, then zeros up to len. */
int load_put(struct load *ld, uint64_t gpa, uint64_t len, const void *from, size_t n,
	     const char *what);
/* The initrd, as high in low memory as it may be: below limit. *gpa is 0 if there is none. */
int load_initrd(struct load *ld, uint64_t limit, uint64_t *gpa);
int load_cmdline(struct load *ld, size_t max);

/* What memory there is, as e820 says it. */
enum load_map_type {
	LOAD_RAM = 1,
	LOAD_RESERVED = 2,
};
struct load_map {
	uint64_t lm_base, lm_len;
	enum load_map_type lm_type;
};
#define LOAD_MAP_MAX 8
unsigned int load_memory_map(const struct load *ld, struct load_map map[LOAD_MAP_MAX]);

/* The segments of an ELF file, by physical address. is64 as the file says. */
struct load_elf {
	bool le_64;
	uint64_t le_entry;
	uint64_t le_note_entry; /* of the PVH note; 0: there is none */
	uint64_t le_end;	/* of what was loaded */
};
int load_elf(struct load *ld, const uint8_t *image, size_t bytes, bool put, struct load_elf *le);

#endif /* BHYVE_LOAD_H */
