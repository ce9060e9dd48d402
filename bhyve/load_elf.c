/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * ELF files: their segments, and the PVH way to start them. Sources: System V ABI, chapters 4 and 5
 * (headers), Xen, docs/misc/pvh.pandoc and include/public/arch-x86/hvm/start_info.h (the note of
 * type 18, the state at its entry, and hvm_start_info).
 */

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "load.h"

#define NOTE_PHYS32_ENTRY 18
#define START_MAGIC 0x336ec578u
#define SEGMENTS_MAX 64u

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	uint32_t memmap_entries, reserved;
};
struct start_module {
	uint64_t paddr, size, cmdline_paddr, reserved;
};
struct start_map {
	uint64_t addr, size;
	uint32_t type, reserved;
};

/* A program header of either class. */
struct segment {
	uint32_t type;
	uint64_t offset, paddr, filesz, memsz, align;
};

static int
read_segment(struct load *ld, const uint8_t *image, size_t bytes, const Elf64_Ehdr *eh,
	     unsigned int i, struct segment *s)
{
	const uint64_t at = eh->e_phoff + (uint64_t)i * eh->e_phentsize;

	if (at + eh->e_phentsize < at || at + eh->e_phentsize > bytes)
		return load_fail(ld, -EINVAL, "the ELF file is cut off: no program header %u", i);
	if (image[EI_CLASS] == ELFCLASS64) {
		Elf64_Phdr p;

		memcpy(&p, image + at, sizeof(p));
		*s = (struct segment){p.p_type,	  p.p_offset, p.p_paddr,
				      p.p_filesz, p.p_memsz,  p.p_align};
	} else {
		Elf32_Phdr p;

		memcpy(&p, image + at, sizeof(p));
		*s = (struct segment){p.p_type,	  p.p_offset, p.p_paddr,
				      p.p_filesz, p.p_memsz,  p.p_align};
	}
	if (s->offset + s->filesz < s->offset || s->offset + s->filesz > bytes)
		return load_fail(ld, -EINVAL, "the ELF file is cut off within segment %u", i);
	if (s->type == PT_LOAD && s->memsz < s->filesz)
		return load_fail(ld, -EINVAL, "segment %u of the ELF file is larger than its place",
				 i);
	return 0;
}

static int
read_header(struct load *ld, const uint8_t *image, size_t bytes, Elf64_Ehdr *eh)
{
	const bool is64 = bytes > EI_CLASS && image[EI_CLASS] == ELFCLASS64;
	Elf32_Ehdr e32;

	if (bytes < sizeof(*eh))
		return load_fail(ld, -EINVAL, "the ELF file is cut off: %zu bytes", bytes);
	if (is64) {
		memcpy(eh, image, sizeof(*eh));
	} else {
		memcpy(&e32, image, sizeof(e32));
		*eh = (Elf64_Ehdr){.e_machine = e32.e_machine,
				   .e_entry = e32.e_entry,
				   .e_phoff = e32.e_phoff,
				   .e_phentsize = e32.e_phentsize,
				   .e_phnum = e32.e_phnum};
	}
	if (image[EI_DATA] != ELFDATA2LSB ||
	    (eh->e_machine != EM_X86_64 && eh->e_machine != EM_386))
		return load_fail(ld, -EINVAL, "an ELF file of another processor");
	if (eh->e_phentsize != (is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) ||
	    eh->e_phnum == 0 || eh->e_phnum > SEGMENTS_MAX)
		return load_fail(ld, -EINVAL, "an ELF file with bad program headers");
	return 0;
}

/* Its entry if the notes have that of PVH. */
static void
read_notes(const uint8_t *image, const struct segment *s, struct load_elf *le)
{
	const uint64_t align = s->align == 8 ? 8 : 4;
	uint64_t at = 0;

	while (s->filesz - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		uint64_t name, desc;

		memcpy(&n, image + s->offset + at, sizeof(n));
		name = at + sizeof(n);
		desc = name + (((uint64_t)n.n_namesz + align - 1) & ~(align - 1));
		at = desc + (((uint64_t)n.n_descsz + align - 1) & ~(align - 1));
		if (desc + n.n_descsz > s->filesz)
			break;
		if (n.n_type == NOTE_PHYS32_ENTRY && n.n_namesz == 4 &&
		    memcmp(image + s->offset + name, "Xen", 4) == 0 && n.n_descsz >= 4)
			memcpy(&le->le_note_entry, image + s->offset + desc,
			       n.n_descsz >= 8 ? 8 : 4);
		if (at > s->filesz)
			break;
	}
}

int
load_elf(struct load *ld, const uint8_t *image, size_t bytes, bool put, struct load_elf *le)
{
	Elf64_Ehdr eh;
	int error;

	error = read_header(ld, image, bytes, &eh);
	if (error)
		return error;
	*le = (struct load_elf){.le_64 = image[EI_CLASS] == ELFCLASS64, .le_entry = eh.e_entry};
	for (unsigned int i = 0; i < eh.e_phnum; i++) {
		struct segment s = {0};

		error = read_segment(ld, image, bytes, &eh, i, &s);
		if (error)
			return error;
		if (s.type == PT_NOTE)
			read_notes(image, &s, le);
		if (s.type != PT_LOAD || s.memsz == 0 || !put)
			continue;
		error = load_put(ld, s.paddr, s.memsz, image + s.offset, s.filesz,
				 "a segment of the kernel");
		if (error)
			return error;
		if (s.paddr + s.memsz > le->le_end)
			le->le_end = s.paddr + s.memsz;
	}
	if (put && le->le_end == 0)
		return load_fail(ld, -EINVAL, "an ELF file with nothing to load");
	return 0;
}

/* ---- PVH ------------------------------------------------------------------------------------- */

static int
put_start_info(struct load *ld, uint64_t initrd)
{
	struct load_map map[LOAD_MAP_MAX];
	struct start_map entries[LOAD_MAP_MAX];
	struct {
		struct start_info info;
		struct start_module module;
	} si = {
		.info = {.magic = START_MAGIC,
			 .version = 1,
			 .nr_modules = initrd ? 1 : 0,
			 .modlist_paddr = initrd ? LOAD_INFO + sizeof(struct start_info) : 0,
			 .cmdline_paddr = LOAD_CMDLINE,
			 .rsdp_paddr = ld->ld_rsdp,
			 .memmap_paddr = LOAD_MAP},
		.module = {.paddr = initrd, .size = ld->ld_initrd_bytes},
	};
	int error;

	si.info.memmap_entries = load_memory_map(ld, map);
	for (unsigned int i = 0; i < si.info.memmap_entries; i++)
		entries[i] = (struct start_map){map[i].lm_base, map[i].lm_len, map[i].lm_type, 0};
	error = load_put(ld, LOAD_INFO, 4096, &si, sizeof(si), "the start information");
	if (error)
		return error;
	return load_put(ld, LOAD_MAP, 4096, entries, si.info.memmap_entries * sizeof(entries[0]),
			"the memory map");
}

int
load_pvh(struct load *ld, const uint8_t *image, size_t bytes)
{
	uint64_t initrd = 0;
	struct load_elf le = {0};
	int error;

	ld->ld_kind = "ELF with a PVH note";
	error = load_elf(ld, image, bytes, false, &le);
	if (error == 0 && le.le_note_entry == 0)
		return load_fail(ld, -ENOEXEC,
				 "an ELF file without a PVH note (Xen, type 18) and without a "
				 "Multiboot header: nothing says how to start it");
	if (error == 0)
		error = load_elf(ld, image, bytes, true, &le);
	if (error == 0 && le.le_note_entry > UINT32_MAX)
		error = load_fail(ld, -EINVAL, "the PVH entry is beyond 4 GiB");
	if (error == 0)
		error = load_initrd(ld, LOAD_HIGH, &initrd);
	if (error == 0)
		error = load_cmdline(ld, LOAD_CMDLINE_MAX);
	if (error == 0)
		error = put_start_info(ld, initrd);
	ld->ld_long = false;
	ld->ld_rip = le.le_note_entry;
	ld->ld_rbx = LOAD_INFO;
	return error;
}
