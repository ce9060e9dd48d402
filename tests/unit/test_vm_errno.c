/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Which errno for which mistake: a row for each one that vmspace.h names, and for each row of the
 * table of bhyve's that it comes from. After each call everything that can be seen must be as it
 * was.
 *
 * The furniture: system memory at RAM (all rights), read-only at ROM, wired at DMA; named segments,
 * one shown at BOOT, one nowhere; a device's window at WINDOW. Of the RAM some pages are in memory,
 * some in swap, one is held for writing.
 */

#include "tests/unit/vm_fixture.h"

#include <string.h>

#define RAM (4 * MIB)
#define RAM_PAGES 64u
#define ROM (64 * MIB)
#define ROM_PAGES 16u
#define DMA (128 * MIB)
#define DMA_PAGES 8u
#define BOOT ((uint64_t)0xffff0000)
#define BOOT_PAGES 16u
#define WINDOW (3 * GIB)
#define WINDOW_PAGES 4u
#define WINDOW_HPA FX_HPA

#define SYSMEM 0
#define BOOTROM 1
#define FRAMES 40000
#define SYSMEM_PAGES 600u
#define FRAMES_PAGES 4u

#define HELD (RAM + PAGE)

/* An address that far before the end of the space, or behind it. */
#define END ((uint64_t)1 << 62)
#define BEFORE_END(bytes) (END - (bytes))

enum call {
	ALLOC,
	GET,
	FREE,
	MMAP,
	MUNMAP,
	GETNEXT,
	PROTECT,
	MMIO,
	UNMMIO,
	FAULT,
	HOLD,
	SEGHOLD,
	READ,
	WRITE,
	WIRE,
	UNWIRE,
	ATTACH,
	DETACH,
	MIGRATE,
	DISCARD,
	INFO,
	LOG_ENABLE,
	LOG_DISABLE,
	LOG_GET,
	LOG_CLEAR,
	LOG_PEEK,
	LOG_SET,
};

struct row {
	const char *ro_what;
	enum call ro_call;
	int ro_want;
	uint64_t ro_gpa;
	uint64_t ro_len; /* or the host-physical address of a window's ro_first bytes */
	int ro_ident;
	int64_t ro_first;
	unsigned int ro_prot;
	unsigned int ro_flags;
	const char *ro_name;
	bool ro_loose; /* pages may have come into memory */
};

static uint64_t
place(const struct vf *x, uint64_t gpa)
{
	return gpa > END / 2 && gpa <= END ? x->vf_limit - (END - gpa) : gpa;
}

static int
call_segments(struct vf *x, const struct row *r)
{
	struct vm_memseg seg;

	switch (r->ro_call) {
	case ALLOC:
		return vm_alloc_memseg(x->vf_vs, r->ro_ident, r->ro_len, r->ro_name);
	case GET:
		return vm_get_memseg(x->vf_vs, r->ro_ident, &seg);
	case FREE:
		return vm_free_memseg(x->vf_vs, r->ro_ident);
	default:
		vf_fail("no such call");
	}
	return 1;
}

static int
call_maps(struct vf *x, const struct row *r, gpa_t gpa)
{
	struct vm_memmap m;

	switch (r->ro_call) {
	case MMAP:
		return vm_mmap_memseg(x->vf_vs, gpa, r->ro_ident, r->ro_first, (int64_t)r->ro_len,
				      r->ro_prot, r->ro_flags);
	case MUNMAP:
		return vm_munmap_memseg(x->vf_vs, gpa, r->ro_len);
	case GETNEXT:
		return vm_mmap_getnext(x->vf_vs, gpa, &m);
	case PROTECT:
		return vm_protect_memmap(x->vf_vs, gpa, r->ro_len, r->ro_prot);
	case MMIO:
		return vm_map_mmio(x->vf_vs, gpa, r->ro_len, (hpa_t)r->ro_first);
	case UNMMIO:
		return vm_unmap_mmio(x->vf_vs, gpa, r->ro_len);
	case WIRE:
		return vm_wire_memmap(x->vf_vs, gpa, r->ro_len);
	case UNWIRE:
		return vm_unwire_memmap(x->vf_vs, gpa, r->ro_len);
	default:
		return call_segments(x, r);
	}
}

static int
call_pages(struct vf *x, const struct row *r, gpa_t gpa)
{
	char bytes[3 * PAGE] = {0};
	struct vm_page_info pi;
	struct vm_hold hold;
	uint64_t done;

	switch (r->ro_call) {
	case FAULT:
		return vm_fault(x->vf_vs, gpa, r->ro_prot, NULL);
	case HOLD:
		return vm_gpa_hold(x->vf_vs, gpa, r->ro_len, r->ro_prot, &hold, NULL);
	case SEGHOLD:
		return vm_memseg_hold(x->vf_vs, r->ro_ident, gpa, r->ro_len, r->ro_prot, &hold);
	case READ:
		return vm_gpa_read(x->vf_vs, gpa, bytes, r->ro_len, &done);
	case WRITE:
		return vm_gpa_write(x->vf_vs, gpa, bytes, r->ro_len, &done);
	case MIGRATE:
		return vm_migrate(x->vf_vs, gpa, r->ro_len, &done);
	case DISCARD:
		return vm_discard(x->vf_vs, gpa, r->ro_len);
	case INFO:
		return vmspace_page_info(x->vf_vs, gpa, &pi);
	default:
		return call_maps(x, r, gpa);
	}
}

static int
call(struct vf *x, const struct row *r)
{
	const gpa_t gpa = place(x, r->ro_gpa);
	uint64_t bits[2] = {0};

	switch (r->ro_call) {
	case ATTACH:
		return vm_attach_device(x->vf_vs, r->ro_gpa);
	case DETACH:
		return vm_detach_device(x->vf_vs, r->ro_gpa);
	case LOG_ENABLE:
		return vm_dirty_log_enable(x->vf_vs, true);
	case LOG_DISABLE:
		return vm_dirty_log_disable(x->vf_vs);
	case LOG_GET:
		return vm_dirty_log(x->vf_vs, gpa, r->ro_len, VM_DIRTY_GET, bits);
	case LOG_CLEAR:
		return vm_dirty_log(x->vf_vs, gpa, r->ro_len, VM_DIRTY_CLEAR, bits);
	case LOG_PEEK:
		return vm_dirty_log(x->vf_vs, gpa, r->ro_len, VM_DIRTY_PEEK, bits);
	case LOG_SET:
		bits[0] = ~(uint64_t)0;
		return vm_dirty_log_set(x->vf_vs, gpa, r->ro_len, bits);
	default:
		return call_pages(x, r, gpa);
	}
}

/* ---- The furniture --------------------------------------------------------------------------- */

static struct vm_hold held;

static void
furnish(struct vf *x)
{
	vf_segment(x, SYSMEM, SYSMEM_PAGES, NULL);
	vf_segment(x, BOOTROM, BOOT_PAGES, "bootrom");
	vf_segment(x, FRAMES, FRAMES_PAGES, "framebuffer");
	vf_map(x, RAM, SYSMEM, 0, RAM_PAGES, PMAP_PROT_RWX);
	vf_map(x, ROM, SYSMEM, 0, ROM_PAGES, PMAP_PROT_R);
	vf_errno(vm_mmap_memseg(x->vf_vs, DMA, SYSMEM, 300 * PAGE, DMA_PAGES * PAGE, PMAP_PROT_RW,
				VM_MEMMAP_F_WIRED),
		 0);
	vf_map(x, BOOT, BOOTROM, 0, BOOT_PAGES, PMAP_PROT_RX);
	vf_errno(vm_map_mmio(x->vf_vs, WINDOW, WINDOW_PAGES * PAGE, WINDOW_HPA), 0);

	for (unsigned int i = 0; i < 8; i++)
		vf_poke(x, RAM + (20 + i) * PAGE, 100 + i);
	vf_pageout_all(x);
	for (unsigned int i = 0; i < 4; i++)
		vf_poke(x, RAM + i * PAGE, 1 + i);
	vf_poke(x, DMA, 50);
	vf_peek(x, BOOT);
	vf_errno(vm_gpa_hold(x->vf_vs, HELD, 100, PMAP_PROT_RW, &held, NULL), 0);
}

static void
unfurnish(struct vf *x)
{
	vf_verify(x);
	vm_gpa_release(&held);
}

static void
run_rows(struct vf *x, const struct row *rows, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		const struct row *const r = &rows[i];
		struct vf_snapshot before;
		int error;

		vf_snapshot(x, &before);
		error = call(x, r);
		if (error != r->ro_want)
			vf_fail("%s: %d, not %d", r->ro_what, error, r->ro_want);
		vf_same(x, &before, !r->ro_loose, r->ro_what);
		vf_snapshot_free(&before);
	}
}

#define ROWS(rows) (rows), (unsigned int)(sizeof(rows) / sizeof((rows)[0]))

/* ---- Segments and maps ----------------------------------------------------------------------- */

#define LONG_NAME "a234567890123456789012345678901234567890123456789012345678901234"

static const struct row segment_rows[] = {
	{"identity -1", ALLOC, -EINVAL, .ro_ident = -1, .ro_len = PAGE},
	{"identity too large", ALLOC, -EINVAL, .ro_ident = VM_IDENT_MAX + 1, .ro_len = PAGE},
	{"no length", ALLOC, -EINVAL, .ro_ident = 5},
	{"odd length", ALLOC, -EINVAL, .ro_ident = 5, .ro_len = PAGE + 1},
	{"the same again", ALLOC, -EEXIST, .ro_ident = SYSMEM, .ro_len = SYSMEM_PAGES * PAGE},
	{"the same named one again", ALLOC, -EEXIST, .ro_ident = BOOTROM,
	 .ro_len = BOOT_PAGES * PAGE, .ro_name = "bootrom"},
	{"another length", ALLOC, -EINVAL, .ro_ident = SYSMEM, .ro_len = PAGE},
	{"another kind", ALLOC, -EINVAL, .ro_ident = SYSMEM, .ro_len = SYSMEM_PAGES * PAGE,
	 .ro_name = "sysmem"},
	{"another name", ALLOC, -EINVAL, .ro_ident = BOOTROM, .ro_len = BOOT_PAGES * PAGE,
	 .ro_name = "bootrom2"},
	{"a name taken", ALLOC, -EEXIST, .ro_ident = 6, .ro_len = PAGE, .ro_name = "bootrom"},
	{"an empty name", ALLOC, -EINVAL, .ro_ident = 6, .ro_len = PAGE, .ro_name = ""},
	{"a path", ALLOC, -EINVAL, .ro_ident = 6, .ro_len = PAGE, .ro_name = "a/b"},
	{"a line", ALLOC, -EINVAL, .ro_ident = 6, .ro_len = PAGE, .ro_name = "a\n"},
	{"a control character", ALLOC, -EINVAL, .ro_ident = 6, .ro_len = PAGE, .ro_name = "\x01"},
	{"a long name", ALLOC, -ENAMETOOLONG, .ro_ident = 6, .ro_len = PAGE, .ro_name = LONG_NAME},

	{"get -1", GET, -EINVAL, .ro_ident = -1},
	{"get beyond", GET, -EINVAL, .ro_ident = VM_IDENT_MAX + 1},
	{"get unused", GET, 0, .ro_ident = VM_IDENT_MAX},
	{"free -1", FREE, -EINVAL, .ro_ident = -1},
	{"free beyond", FREE, -EINVAL, .ro_ident = VM_IDENT_MAX + 1},
	{"free unused", FREE, -ENOENT, .ro_ident = 7},
	{"free mapped", FREE, -EBUSY, .ro_ident = SYSMEM},
	{"free mapped devmem", FREE, -EBUSY, .ro_ident = BOOTROM},
};

#define MAP_AT(what, want, gpa, ident, first, len, prot, flags)                                   \
	{                                                                                         \
		(what), MMAP, (want), .ro_gpa = (gpa), .ro_len = (len), .ro_ident = (ident),      \
				      .ro_first = (first), .ro_prot = (prot), .ro_flags = (flags) \
	}

static const struct row map_rows[] = {
	MAP_AT("no rights", -EINVAL, GIB, SYSMEM, 0, PAGE, 0, 0),
	MAP_AT("rights beyond", -EINVAL, GIB, SYSMEM, 0, PAGE, 8, 0),
	MAP_AT("rights and beyond", -EINVAL, GIB, SYSMEM, 0, PAGE, 9, 0),
	MAP_AT("write only", -EOPNOTSUPP, GIB, SYSMEM, 0, PAGE, PMAP_PROT_W, 0),
	MAP_AT("write and execute", -EOPNOTSUPP, GIB, SYSMEM, 0, PAGE, PMAP_PROT_W | PMAP_PROT_X,
	       0),
	MAP_AT("flags beyond", -EINVAL, GIB, SYSMEM, 0, PAGE, PMAP_PROT_RW, 4),
	MAP_AT("the system's flag", -EINVAL, GIB, SYSMEM, 0, PAGE, PMAP_PROT_RW, VM_MEMMAP_F_IOMMU),
	MAP_AT("identity -1", -EINVAL, GIB, -1, 0, PAGE, PMAP_PROT_RW, 0),
	MAP_AT("identity too large", -EINVAL, GIB, VM_IDENT_MAX + 1, 0, PAGE, PMAP_PROT_RW, 0),
	MAP_AT("identity unused", -EINVAL, GIB, 7, 0, PAGE, PMAP_PROT_RW, 0),
	MAP_AT("first negative", -EINVAL, GIB, SYSMEM, -(int64_t)PAGE, PAGE, PMAP_PROT_RW, 0),
	MAP_AT("no length", -EINVAL, GIB, SYSMEM, 0, 0, PMAP_PROT_RW, 0),
	MAP_AT("negative length", -EINVAL, GIB, SYSMEM, 2 * PAGE, -PAGE, PMAP_PROT_RW, 0),
	MAP_AT("beyond the segment", -EINVAL, GIB, SYSMEM, 0, (SYSMEM_PAGES + 1) * PAGE,
	       PMAP_PROT_RW, 0),
	MAP_AT("one page beyond", -EINVAL, GIB, SYSMEM, SYSMEM_PAGES *PAGE, PAGE, PMAP_PROT_RW, 0),
	MAP_AT("far beyond", -EINVAL, GIB, SYSMEM, PAGE, INT64_MAX - 4095, PMAP_PROT_RW, 0),
	MAP_AT("first far beyond", -EINVAL, GIB, SYSMEM, INT64_MAX - 4095, PAGE, PMAP_PROT_RW, 0),
	MAP_AT("odd address", -EINVAL, GIB + 1, SYSMEM, 0, PAGE, PMAP_PROT_RW, 0),
	MAP_AT("odd first", -EINVAL, GIB, SYSMEM, 512, PAGE, PMAP_PROT_RW, 0),
	MAP_AT("odd length", -EINVAL, GIB, SYSMEM, 0, PAGE + 8, PMAP_PROT_RW, 0),
	MAP_AT("behind the space", -EINVAL, END, SYSMEM, 0, PAGE, PMAP_PROT_RW, 0),
	MAP_AT("over the end", -EINVAL, BEFORE_END(PAGE), SYSMEM, 0, 2 * PAGE, PMAP_PROT_RW, 0),
	MAP_AT("around", -EINVAL, -PAGE, SYSMEM, 0, 2 * PAGE, PMAP_PROT_RW, 0),
	MAP_AT("wired devmem", -EINVAL, GIB, BOOTROM, 0, PAGE, PMAP_PROT_RW, VM_MEMMAP_F_WIRED),
	MAP_AT("the same again", -EFAULT, RAM, SYSMEM, 0, RAM_PAGES *PAGE, PMAP_PROT_RWX, 0),
	MAP_AT("over the head", -EFAULT, RAM - PAGE, SYSMEM, 0, 2 * PAGE, PMAP_PROT_RW, 0),
	MAP_AT("over the tail", -EFAULT, RAM + (RAM_PAGES - 1) * PAGE, SYSMEM, 0, 2 * PAGE,
	       PMAP_PROT_RW, 0),
	MAP_AT("within", -EFAULT, RAM + PAGE, SYSMEM, 0, PAGE, PMAP_PROT_RW, 0),
	MAP_AT("around it", -EFAULT, RAM - PAGE, SYSMEM, 0, (RAM_PAGES + 2) * PAGE, PMAP_PROT_RW,
	       0),
	MAP_AT("wired over", -EFAULT, RAM + PAGE, SYSMEM, 0, PAGE, PMAP_PROT_RW, VM_MEMMAP_F_WIRED),
	MAP_AT("over a window", -EFAULT, WINDOW + PAGE, SYSMEM, 0, PAGE, PMAP_PROT_RW, 0),

	{"unmap less", MUNMAP, -EINVAL, .ro_gpa = RAM, .ro_len = PAGE},
	{"unmap more", MUNMAP, -EINVAL, .ro_gpa = RAM, .ro_len = (RAM_PAGES + 1) * PAGE},
	{"unmap the rest", MUNMAP, -EINVAL, .ro_gpa = RAM + PAGE, .ro_len = (RAM_PAGES - 1) * PAGE},
	{"unmap nothing", MUNMAP, -EINVAL, .ro_gpa = RAM},
	{"unmap a hole", MUNMAP, -EINVAL, .ro_gpa = GIB, .ro_len = PAGE},
	{"unmap around", MUNMAP, -EINVAL, .ro_gpa = -PAGE, .ro_len = 2 * PAGE},
	{"unmap a window as memory", MUNMAP, -EINVAL, .ro_gpa = WINDOW,
	 .ro_len = WINDOW_PAGES * PAGE},
	{"next of the last", GETNEXT, -ENOENT, .ro_gpa = BOOT + 1},
	{"next of the end", GETNEXT, -ENOENT, .ro_gpa = END},
	{"next of everything", GETNEXT, -ENOENT, .ro_gpa = ~(uint64_t)0},

	{"protect less", PROTECT, -EINVAL, .ro_gpa = RAM, .ro_len = PAGE, .ro_prot = PMAP_PROT_R},
	{"protect a hole", PROTECT, -EINVAL, .ro_gpa = GIB, .ro_len = PAGE, .ro_prot = PMAP_PROT_R},
	{"protect: no rights", PROTECT, -EINVAL, .ro_gpa = RAM, .ro_len = RAM_PAGES * PAGE},
	{"protect: rights beyond", PROTECT, -EINVAL, .ro_gpa = RAM, .ro_len = RAM_PAGES * PAGE,
	 .ro_prot = 8},
	{"protect: write only", PROTECT, -EOPNOTSUPP, .ro_gpa = RAM, .ro_len = RAM_PAGES * PAGE,
	 .ro_prot = PMAP_PROT_W},
	{"protect a window", PROTECT, -EINVAL, .ro_gpa = WINDOW, .ro_len = WINDOW_PAGES * PAGE,
	 .ro_prot = PMAP_PROT_R},
};

#define WINDOW_AT(what, want, gpa, len, hpa)                                                       \
	{                                                                                          \
		(what), MMIO, (want), .ro_gpa = (gpa), .ro_len = (len), .ro_first = (int64_t)(hpa) \
	}

static const struct row window_rows[] = {
	WINDOW_AT("window: odd address", -EINVAL, GIB + 1, PAGE, WINDOW_HPA),
	WINDOW_AT("window: odd length", -EINVAL, GIB, PAGE - 1, WINDOW_HPA),
	WINDOW_AT("window: odd host address", -EINVAL, GIB, PAGE, WINDOW_HPA + 16),
	WINDOW_AT("window: empty", -EINVAL, GIB, 0, WINDOW_HPA),
	WINDOW_AT("window: behind the space", -EINVAL, END, PAGE, WINDOW_HPA),
	WINDOW_AT("window: over the end", -EINVAL, BEFORE_END(PAGE), 2 * PAGE, WINDOW_HPA),
	WINDOW_AT("window: around", -EINVAL, -PAGE, 2 * PAGE, WINDOW_HPA),
	WINDOW_AT("window: host address beyond", -EINVAL, GIB, PAGE, (uint64_t)1 << 52),
	WINDOW_AT("window: host address around", -EINVAL, GIB, 2 * PAGE, -PAGE),
	WINDOW_AT("window: over memory", -EFAULT, RAM, PAGE, WINDOW_HPA),
	WINDOW_AT("window: over the tail", -EFAULT, RAM + (RAM_PAGES - 1) * PAGE, 2 * PAGE,
		  WINDOW_HPA),
	WINDOW_AT("window: over itself", -EFAULT, WINDOW, WINDOW_PAGES *PAGE, WINDOW_HPA),
	{"unmap less of a window", UNMMIO, -EINVAL, .ro_gpa = WINDOW, .ro_len = PAGE},
	{"unmap no window", UNMMIO, -EINVAL, .ro_gpa = GIB, .ro_len = PAGE},
	{"unmap memory as a window", UNMMIO, -EINVAL, .ro_gpa = RAM, .ro_len = RAM_PAGES * PAGE},
};

/* ---- Pages ----------------------------------------------------------------------------------- */

#define TOUCH(what, call, want, gpa, len, prot)                                             \
	{                                                                                   \
		(what), (call), (want), .ro_gpa = (gpa), .ro_len = (len), .ro_prot = (prot) \
	}

static const struct row fault_rows[] = {
	TOUCH("fault behind the space", FAULT, -EINVAL, END, 0, PMAP_PROT_R),
	TOUCH("fault at the very end", FAULT, -EINVAL, ~(uint64_t)0, 0, PMAP_PROT_R),
	TOUCH("fault in a hole", FAULT, -EFAULT, GIB, 0, PMAP_PROT_R),
	TOUCH("fault before", FAULT, -EFAULT, RAM - 1, 0, PMAP_PROT_R),
	TOUCH("fault after", FAULT, -EFAULT, RAM + RAM_PAGES * PAGE, 0, PMAP_PROT_R),
	TOUCH("write to read-only", FAULT, -EACCES, ROM, 0, PMAP_PROT_W),
	TOUCH("fetch from read-only", FAULT, -EACCES, ROM, 0, PMAP_PROT_X),
	TOUCH("write to the boot ROM", FAULT, -EACCES, BOOT, 0, PMAP_PROT_W),
	TOUCH("fetch from what is read-write", FAULT, -EACCES, DMA, 0, PMAP_PROT_X),
	TOUCH("fetch from a window", FAULT, -EACCES, WINDOW, 0, PMAP_PROT_X),

	TOUCH("hold: no rights", HOLD, -EINVAL, RAM, PAGE, 0),
	TOUCH("hold: rights beyond", HOLD, -EINVAL, RAM, PAGE, 8),
	TOUCH("hold nothing", HOLD, -EINVAL, RAM, 0, PMAP_PROT_R),
	TOUCH("hold around", HOLD, -EINVAL, -PAGE, 2 * PAGE, PMAP_PROT_R),
	TOUCH("hold everything", HOLD, -EINVAL, PAGE, ~(uint64_t)0, PMAP_PROT_R),
	TOUCH("hold behind the space", HOLD, -EINVAL, END, 1, PMAP_PROT_R),
	TOUCH("hold over the end", HOLD, -EINVAL, BEFORE_END(1), 2, PMAP_PROT_R),
	TOUCH("hold a hole", HOLD, -EFAULT, GIB, 1, PMAP_PROT_R),
	{"hold into a hole", HOLD, -EFAULT, .ro_gpa = RAM + (RAM_PAGES - 1) * PAGE,
	 .ro_len = PAGE + 1, .ro_prot = PMAP_PROT_R, .ro_loose = true},
	TOUCH("hold a window", HOLD, -EFAULT, WINDOW, 1, PMAP_PROT_R),
	TOUCH("hold what is read-only", HOLD, -EACCES, ROM, 1, PMAP_PROT_RW),
	TOUCH("hold the boot ROM for writing", HOLD, -EACCES, BOOT, PAGE, PMAP_PROT_W),
	{"hold of a segment: no rights", SEGHOLD, -EINVAL, .ro_len = PAGE, .ro_ident = SYSMEM},
	{"hold of a segment: nothing", SEGHOLD, -EINVAL, .ro_ident = SYSMEM,
	 .ro_prot = PMAP_PROT_R},
	{"hold of a segment: identity", SEGHOLD, -EINVAL, .ro_len = PAGE, .ro_ident = -1,
	 .ro_prot = PMAP_PROT_R},

	TOUCH("read a hole", READ, -EFAULT, GIB, 8, 0),
	TOUCH("read a window", READ, -EFAULT, WINDOW, 8, 0),
	TOUCH("read behind the space", READ, -EINVAL, END, 8, 0),
	TOUCH("write a hole", WRITE, -EFAULT, GIB, 8, 0),
	TOUCH("write what is read-only", WRITE, -EACCES, ROM, 8, 0),
	TOUCH("write the boot ROM", WRITE, -EACCES, BOOT + 5, 8, 0),
	TOUCH("ask about a hole", INFO, -EFAULT, GIB, 0, 0),
	TOUCH("ask about a window", INFO, -EFAULT, WINDOW, 0, 0),

	TOUCH("wire less", WIRE, -EINVAL, RAM, PAGE, 0),
	TOUCH("wire a hole", WIRE, -EINVAL, GIB, PAGE, 0),
	TOUCH("wire devmem", WIRE, -EINVAL, BOOT, BOOT_PAGES *PAGE, 0),
	TOUCH("wire a window", WIRE, -EINVAL, WINDOW, WINDOW_PAGES *PAGE, 0),
	TOUCH("wire what is wired", WIRE, 0, DMA, DMA_PAGES *PAGE, 0),
	TOUCH("unwire less", UNWIRE, -EINVAL, DMA, PAGE, 0),
	TOUCH("unwire a hole", UNWIRE, -EINVAL, GIB, PAGE, 0),
	TOUCH("unwire what is not", UNWIRE, 0, RAM, RAM_PAGES *PAGE, 0),

	TOUCH("move an odd range", MIGRATE, -EINVAL, RAM + 1, PAGE, 0),
	TOUCH("move an odd length", MIGRATE, -EINVAL, RAM, PAGE + 1, 0),
	TOUCH("move around", MIGRATE, -EINVAL, -PAGE, 2 * PAGE, 0),
	TOUCH("move behind the space", MIGRATE, -EINVAL, END, PAGE, 0),
	TOUCH("discard an odd range", DISCARD, -EINVAL, RAM + 1, PAGE, 0),
	TOUCH("discard an odd length", DISCARD, -EINVAL, RAM, PAGE + 1, 0),
	TOUCH("discard around", DISCARD, -EINVAL, -PAGE, 2 * PAGE, 0),
	TOUCH("discard behind the space", DISCARD, -EINVAL, END, PAGE, 0),
	TOUCH("discard a hole", DISCARD, -EFAULT, GIB, PAGE, 0),
	TOUCH("discard into a hole", DISCARD, -EFAULT, RAM + (RAM_PAGES - 1) * PAGE, 2 * PAGE, 0),
	TOUCH("discard what is read-only", DISCARD, -EACCES, ROM, PAGE, 0),
	TOUCH("discard devmem", DISCARD, -EACCES, BOOT, PAGE, 0),
	TOUCH("discard what is wired", DISCARD, -EBUSY, DMA, PAGE, 0),
	TOUCH("discard what is held", DISCARD, -EBUSY, HELD, PAGE, 0),

	{"detach what is not", DETACH, -ENOENT, .ro_gpa = 0},
	{"attach what does not exist", ATTACH, -ENOENT, .ro_gpa = 99},
	{"disable a log", LOG_DISABLE, -ENOENT, .ro_len = PAGE},
	TOUCH("get a log", LOG_GET, -ENOENT, RAM, PAGE, 0),
	TOUCH("clear a log", LOG_CLEAR, -ENOENT, RAM, PAGE, 0),
	TOUCH("peek at a log", LOG_PEEK, -ENOENT, RAM, PAGE, 0),
	TOUCH("set a log", LOG_SET, -ENOENT, RAM, PAGE, 0),
};

static void
all_rows(struct vf *x)
{
	furnish(x);
	run_rows(x, ROWS(segment_rows));
	run_rows(x, ROWS(map_rows));
	run_rows(x, ROWS(window_rows));
	run_rows(x, ROWS(fault_rows));
	unfurnish(x);
}

Test(vm_errno, everywhere)
{
	vf_each(NULL, all_rows);
}

/* ---- With a log ------------------------------------------------------------------------------ */

static const struct row log_rows[] = {
	{"enable it twice", LOG_ENABLE, -EBUSY, .ro_len = PAGE},
	TOUCH("log of an odd range", LOG_GET, -EINVAL, RAM + 1, PAGE, 0),
	TOUCH("log of an odd length", LOG_CLEAR, -EINVAL, RAM, PAGE + 1, 0),
	TOUCH("log around", LOG_CLEAR, -EINVAL, -PAGE, 2 * PAGE, 0),
	TOUCH("log behind the space", LOG_PEEK, -EINVAL, END, PAGE, 0),
	TOUCH("log over the end", LOG_GET, -EINVAL, BEFORE_END(PAGE), 2 * PAGE, 0),
	TOUCH("set an odd range", LOG_SET, -EINVAL, RAM + 1, PAGE, 0),
	TOUCH("set around", LOG_SET, -EINVAL, -PAGE, 2 * PAGE, 0),
	TOUCH("set behind the space", LOG_SET, -EINVAL, END, PAGE, 0),
};

static void
with_log(struct vf *x)
{
	furnish(x);
	vf_errno(vm_dirty_log_enable(x->vf_vs, true), 0);
	run_rows(x, ROWS(log_rows));
	run_rows(x, ROWS(map_rows));
	unfurnish(x);
}

Test(vm_errno, log)
{
	vf_each(NULL, with_log);
}

/* ---- With a device --------------------------------------------------------------------------- */

static const struct row device_rows[] = {
	{"attach it twice", ATTACH, -EEXIST, .ro_gpa = 2},
	{"attach what does not exist beside", ATTACH, -ENOENT, .ro_gpa = 99},
	{"detach another", DETACH, -ENOENT, .ro_gpa = 3},
	TOUCH("unmap what devices reach", MUNMAP, -EINVAL, DMA, DMA_PAGES *PAGE, 0),
	TOUCH("protect what devices reach", PROTECT, -EBUSY, DMA, DMA_PAGES *PAGE, PMAP_PROT_R),
	TOUCH("unwire what devices reach", UNWIRE, -EBUSY, DMA, DMA_PAGES *PAGE, 0),
};

static void
with_device(struct vf *x)
{
	struct vm_memmap m;
	struct vf other;

	furnish(x);
	host_vm_posix_set_iommu(false);
	vf_errno(vm_attach_device(x->vf_vs, 2), -ENXIO);
	host_vm_posix_set_iommu(true);
	vf_errno(vm_attach_device(x->vf_vs, 2), 0);
	vf_errno(vm_mmap_getnext(x->vf_vs, DMA, &m), 0);
	vf_assert(m.vp_flags == (VM_MEMMAP_F_WIRED | VM_MEMMAP_F_IOMMU));
	run_rows(x, ROWS(device_rows));
	run_rows(x, ROWS(map_rows));

	vf_open_second(&other, x, "ept", NULL);
	vf_errno(vm_attach_device(other.vf_vs, 2), -EBUSY);
	vf_close(&other);

	vf_errno(vm_detach_device(x->vf_vs, 2), 0);
	vf_errno(vm_detach_device(x->vf_vs, 2), -ENOENT);
	vf_errno(vm_unwire_memmap(x->vf_vs, DMA, DMA_PAGES * PAGE), 0);
	unfurnish(x);
}

Test(vm_errno, device)
{
	vf_each(NULL, with_device);
}

/* ---- Names ----------------------------------------------------------------------------------- */

static bool
fit_for_a_name(int c, bool first)
{
	static const char fit[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

	return strchr(fit, c) != NULL && !(first && c == '.');
}

/* Each character, as the first and as another; and what a name leaves behind. */
static void
names(struct vf *x)
{
	struct vm_memseg g;
	char name[VM_MEMSEG_NAME_BYTES] = "";

	for (int c = 1; c < 256; c++) {
		name[0] = (char)c;
		name[1] = '\0';
		vf_errno(vm_alloc_memseg(x->vf_vs, c, PAGE, name),
			 fit_for_a_name(c, true) ? 0 : -EINVAL);
		if (fit_for_a_name(c, true))
			vf_errno(vm_free_memseg(x->vf_vs, c), 0);
		memcpy(name, "ab", 3);
		name[c % 2 + 1] = (char)c;
		vf_errno(vm_alloc_memseg(x->vf_vs, c, PAGE, name),
			 fit_for_a_name(c, false) ? 0 : -EINVAL);
		memset(&g, '?', sizeof(g));
		vf_errno(vm_get_memseg(x->vf_vs, c, &g), 0);
		vf_assert(g.vg_ident == c && !g.vg_sysmem);
		vf_assert(g.vg_len_bytes == (fit_for_a_name(c, false) ? PAGE : 0));
		if (fit_for_a_name(c, false)) {
			vf_assert(memcmp(g.vg_name, name, sizeof(name)) == 0);
			vf_errno(vm_alloc_memseg(x->vf_vs, 300, PAGE, name), -EEXIST);
			vf_errno(vm_free_memseg(x->vf_vs, c), 0);
		}
		memset(name, 0, sizeof(name));
	}
	/* A name that begins another's, or is begun by it, is another. */
	vf_errno(vm_alloc_memseg(x->vf_vs, 0, PAGE, "rom1"), 0);
	vf_errno(vm_alloc_memseg(x->vf_vs, 1, PAGE, "rom"), 0);
	vf_errno(vm_alloc_memseg(x->vf_vs, 2, PAGE, "rom12"), 0);
	vf_errno(vm_alloc_memseg(x->vf_vs, 3, PAGE, "rom"), -EEXIST);
	vf_errno(vm_free_memseg(x->vf_vs, 1), 0);
	vf_errno(vm_alloc_memseg(x->vf_vs, 3, PAGE, "rom"), 0);
	vf_errno(vm_get_memseg(x->vf_vs, VM_IDENT_MAX, &g), 0);
	vf_assert(g.vg_ident == VM_IDENT_MAX && g.vg_len_bytes == 0);
	vf_errno(vm_alloc_memseg(x->vf_vs, VM_IDENT_MAX, PAGE, NULL), 0);
	vf_errno(vm_get_memseg(x->vf_vs, VM_IDENT_MAX, &g), 0);
	vf_assert(g.vg_sysmem && g.vg_len_bytes == PAGE && g.vg_name[0] == '\0');
	vf_errno(vm_free_memseg(x->vf_vs, VM_IDENT_MAX), 0);
}

Test(vm_errno, names)
{
	vf_each(NULL, names);
}

/* ---- Too many -------------------------------------------------------------------------------- */

static void
fill_segments(struct vf *x)
{
	struct vf_snapshot before;
	char name[VM_MEMSEG_NAME_BYTES];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	vf_errno(vm_alloc_memseg(x->vf_vs, 0, PAGE, name), 0); /* as long as a name may be */
	for (int i = 1; i < VM_MAX_MEMSEGS; i++)
		vf_errno(vm_alloc_memseg(x->vf_vs, 1000 * i, (uint64_t)i * PAGE, NULL), 0);
	vf_snapshot(x, &before);
	vf_errno(vm_alloc_memseg(x->vf_vs, 1, PAGE, NULL), -ENOSPC);
	vf_errno(vm_alloc_memseg(x->vf_vs, 1, PAGE, "n"), -ENOSPC);
	vf_same(x, &before, true, "too many segments");
	vf_snapshot_free(&before);
	for (int i = 1; i < VM_MAX_MEMSEGS; i++) {
		struct vm_memseg g;

		vf_errno(vm_get_memseg(x->vf_vs, 1000 * i, &g), 0);
		vf_assert(g.vg_len_bytes == (uint64_t)i * PAGE && g.vg_sysmem);
		vf_assert(g.vg_ident == 1000 * i && g.vg_name[0] == '\0');
	}
	vf_errno(vm_free_memseg(x->vf_vs, 5000), 0);
	vf_errno(vm_alloc_memseg(x->vf_vs, 1, PAGE, "n"), 0);
}

Test(vm_errno, segments_enough)
{
	vf_each(NULL, fill_segments);
}

static void
fill_maps(struct vf *x)
{
	struct vf_snapshot before;

	vf_segment(x, SYSMEM, 1, NULL);
	for (unsigned int i = 0; i < VM_MAX_MEMMAPS; i++)
		vf_map(x, GIB + 2 * i * PAGE, SYSMEM, 0, 1, PMAP_PROT_RW);
	vf_poke(x, GIB + 10 * PAGE, 77);
	vf_snapshot(x, &before);
	vf_errno(vm_mmap_memseg(x->vf_vs, 3 * GIB, SYSMEM, 0, PAGE, PMAP_PROT_R, 0), -ENOSPC);
	vf_errno(vm_mmap_memseg(x->vf_vs, 3 * GIB, SYSMEM, 0, PAGE, PMAP_PROT_R, VM_MEMMAP_F_WIRED),
		 -ENOSPC);
	vf_errno(vm_map_mmio(x->vf_vs, 3 * GIB, PAGE, WINDOW_HPA), -ENOSPC);
	vf_same(x, &before, true, "too many maps");
	vf_snapshot_free(&before);
	vf_unmap(x, GIB, 1);
	vf_errno(vm_map_mmio(x->vf_vs, 3 * GIB, PAGE, WINDOW_HPA), 0);
	vf_verify(x);
}

Test(vm_errno, maps_enough)
{
	vf_each(NULL, fill_maps);
}

static void
fill_devices(struct vf *x)
{
	for (uint64_t d = 0; d < HOST_VM_POSIX_DEVICES; d++)
		vf_errno(vm_attach_device(x->vf_vs, d), 0);
	vf_errno(vm_attach_device(x->vf_vs, HOST_VM_POSIX_DEVICES), -ENOENT);
	for (uint64_t d = 0; d < HOST_VM_POSIX_DEVICES; d++)
		vf_errno(vm_attach_device(x->vf_vs, d), -EEXIST);
	vf_assert(host_vm_posix_iommu_domains() == 1);
}

Test(vm_errno, devices)
{
	vf_each(NULL, fill_devices);
}

/* ---- Beginnings ------------------------------------------------------------------------------ */

static void
bad_beginnings(struct vf *x)
{
	struct vm_system_config sc = {.vy_mem_limit_bytes = PAGE - 1};
	struct vf_options o = {.vo_flags = VMSPACE_FLAGS_ALL + 1};
	struct fx_format plain = *fx_format("x86-kernel");
	struct vmspace_config cfg;
	struct vmspace *vs = NULL;
	struct vm_system *sys = NULL;
	struct vf_snapshot before;

	vf_errno(vm_system_create(&sc, &sys), -EINVAL);
	vf_assert(sys == NULL);
	vf_snapshot(x, &before);
	vf_config(x->vf_format, &o, &cfg);
	vf_errno(vmspace_create(x->vf_sys, &cfg, &vs), -EINVAL);
	o.vo_flags = 0;
	vf_config(x->vf_format, &o, &cfg);
	cfg.vc_pmap.pc_caps.pc_levels = 3;
	vf_errno(vmspace_create(x->vf_sys, &cfg, &vs), -EINVAL);

	/* A CPU without NX has no memory that is not executable. */
	plain.ff_caps.pc_nx = false;
	o.vo_flags = VM_NX_SUPERPAGES;
	vf_config(&plain, &o, &cfg);
	vf_errno(vmspace_create(x->vf_sys, &cfg, &vs), -EOPNOTSUPP);
	vf_assert(vs == NULL);
	vf_same(x, &before, true, "a bad beginning");
	vf_snapshot_free(&before);

	o.vo_flags = 0;
	vf_config(&plain, &o, &cfg);
	vf_errno(vmspace_create(x->vf_sys, &cfg, &vs), 0);
	vf_errno(vm_set_nx_superpages(vs, true), -EOPNOTSUPP);
	vf_errno(vm_alloc_memseg(vs, 0, PAGE, NULL), 0);
	vf_errno(vm_mmap_memseg(vs, 0, 0, 0, PAGE, PMAP_PROT_RW, 0), -EOPNOTSUPP);
	vf_errno(vm_mmap_memseg(vs, 0, 0, 0, PAGE, PMAP_PROT_RWX, 0), 0);
	vmspace_destroy(vs);
}

Test(vm_errno, beginnings)
{
	vf_each(NULL, bad_beginnings);
}
