/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Segments, maps, device memory: the calls of the module, made idempotent as bhyve's library has
 * them, with the attribute that differs named.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "libvmm/libvmm_priv.h"

typedef unsigned long long ull;

/* ---- Segments -------------------------------------------------------------------------------- */

/* The module has refused; was it because of one that exists? */
static int
judge_memseg(struct vmctx *ctx, const struct vmm_memseg *want, int error)
{
	struct vmm_memseg old = {.ident = want->ident};

	if ((error != -EEXIST && error != -EINVAL) ||
	    vm_ioctl_quiet(ctx, VMM_GET_MEMSEG, &old) != 0 || old.len_bytes == 0) {
		if (error == -EEXIST)
			return vmm_fail(error,
					"machine '%s': the name '%s' is another segment's, or its "
					"node's that of a machine",
					ctx->vx_name, want->name);
		return vmm_fail(error, "machine '%s': cannot make segment %d of 0x%llx bytes: %s",
				ctx->vx_name, want->ident, (ull)want->len_bytes,
				error == -EINVAL ? "a bad number, or not whole pages"
						 : strerror(-error));
	}
	if (old.len_bytes != want->len_bytes)
		return vmm_fail(-EEXIST,
				"machine '%s' has segment %d with another length: 0x%llx bytes, "
				"not 0x%llx",
				ctx->vx_name, want->ident, (ull)old.len_bytes,
				(ull)want->len_bytes);
	if (strcmp(old.name, want->name) != 0)
		return vmm_fail(-EEXIST,
				"machine '%s' has segment %d with another name: '%s', not '%s'",
				ctx->vx_name, want->ident, old.name, want->name);
	return 0;
}

int
vm_alloc_memseg(struct vmctx *ctx, int ident, uint64_t len, const char *name)
{
	struct vmm_memseg seg = {.ident = ident, .len_bytes = len};
	int error;

	name = name ? name : "";
	if (strlen(name) >= sizeof(seg.name))
		return vmm_fail(-ENAMETOOLONG, "a segment's name has at most %d characters",
				VMM_SEG_NAME_BYTES - 1);
	strcpy(seg.name, name);
	error = vm_ioctl_quiet(ctx, VMM_ALLOC_MEMSEG, &seg);
	return error ? judge_memseg(ctx, &seg, error) : 0;
}

int
vm_get_memseg(struct vmctx *ctx, int ident, uint64_t *len, char *name)
{
	struct vmm_memseg seg = {.ident = ident};
	const int error = vm_ioctl(ctx, VMM_GET_MEMSEG, &seg, "look at a segment");

	if (error)
		return error;
	*len = seg.len_bytes;
	if (name)
		memcpy(name, seg.name, sizeof(seg.name));
	return 0;
}

/* ---- Maps ------------------------------------------------------------------------------------ */

static void
prot_text(unsigned int prot, char text[4])
{
	text[0] = prot & VMM_PROT_READ ? 'r' : '-';
	text[1] = prot & VMM_PROT_WRITE ? 'w' : '-';
	text[2] = prot & VMM_PROT_EXEC ? 'x' : '-';
	text[3] = '\0';
}

/* A map begins where one is wanted: 0 if it is the very same, or which attribute differs. */
static int
compare_maps(const struct vmctx *ctx, const struct vmm_memmap *old, const struct vmm_memmap *want)
{
	const bool old_wired = old->flags & VMM_MEMMAP_WIRED;
	const bool want_wired = want->flags & VMM_MEMMAP_WIRED;
	char old_prot[4], want_prot[4];
	char what[100] = "";

	prot_text(old->prot, old_prot);
	prot_text(want->prot, want_prot);
	if (old->ident != want->ident)
		snprintf(what, sizeof(what), "segment: %d, not %d", old->ident, want->ident);
	else if (old->segoff_bytes != want->segoff_bytes)
		snprintf(what, sizeof(what), "offset in the segment: 0x%llx, not 0x%llx",
			 (ull)old->segoff_bytes, (ull)want->segoff_bytes);
	else if (old->len_bytes != want->len_bytes)
		snprintf(what, sizeof(what), "length: 0x%llx bytes, not 0x%llx",
			 (ull)old->len_bytes, (ull)want->len_bytes);
	else if (old->prot != want->prot)
		snprintf(what, sizeof(what), "protection: %s, not %s", old_prot, want_prot);
	else if (old_wired != want_wired)
		snprintf(what, sizeof(what), "wiring: %s, not %s", old_wired ? "wired" : "pageable",
			 want_wired ? "wired" : "pageable");
	if (what[0] == '\0')
		return 0;
	return vmm_fail(-EEXIST, "machine '%s' has a map at 0x%llx with another %s", ctx->vx_name,
			(ull)want->gpa, what);
}

int
vm_mmap_memseg(struct vmctx *ctx, uint64_t gpa, int ident, uint64_t off, uint64_t len,
	       unsigned int prot, unsigned int flags)
{
	struct vmm_memmap map = {.gpa = gpa,
				 .len_bytes = len,
				 .ident = ident,
				 .prot = prot,
				 .segoff_bytes = off,
				 .flags = flags};
	const int error = vm_ioctl_quiet(ctx, VMM_MMAP_MEMSEG, &map);
	struct vmm_memmap old = {.gpa = gpa};

	if (error == 0)
		return 0;
	if (error == -EFAULT && vm_ioctl_quiet(ctx, VMM_MMAP_GETNEXT, &old) == 0 && old.gpa == gpa)
		return compare_maps(ctx, &old, &map);
	return vmm_fail(error, "machine '%s': cannot map segment %d at 0x%llx: %s", ctx->vx_name,
			ident, (ull)gpa,
			error == -EFAULT       ? "another map overlaps"
			: error == -EINVAL     ? "bad rights, misaligned, or beyond the segment"
			: error == -EOPNOTSUPP ? "this CPU's tables cannot express such rights"
			: error == -ENOSPC     ? "the machine has too many maps"
					       : strerror(-error));
}

static int
range_call(struct vmctx *ctx, unsigned long cmd, uint64_t gpa, uint64_t len, unsigned int prot,
	   const char *what)
{
	struct vmm_range range = {.gpa = gpa, .len_bytes = len, .prot = prot};
	const int error = vm_ioctl_quiet(ctx, cmd, &range);

	if (error == 0)
		return 0;
	return vmm_fail(error, "machine '%s': cannot %s 0x%llx, 0x%llx bytes: %s", ctx->vx_name,
			what, (ull)gpa, (ull)len,
			error == -EINVAL  ? "that is not exactly a map, or the rights are bad"
			: error == -EBUSY ? "devices, or someone who holds pages, use it"
					  : strerror(-error));
}

int
vm_munmap_memseg(struct vmctx *ctx, uint64_t gpa, uint64_t len)
{
	return range_call(ctx, VMM_MUNMAP_MEMSEG, gpa, len, 0, "unmap");
}

int
vm_protect_memmap(struct vmctx *ctx, uint64_t gpa, uint64_t len, unsigned int prot)
{
	return range_call(ctx, VMM_PROTECT_MEMMAP, gpa, len, prot, "protect");
}

int
vm_wire_memmap(struct vmctx *ctx, uint64_t gpa, uint64_t len)
{
	return range_call(ctx, VMM_WIRE_MEMMAP, gpa, len, 0, "wire");
}

int
vm_unwire_memmap(struct vmctx *ctx, uint64_t gpa, uint64_t len)
{
	return range_call(ctx, VMM_UNWIRE_MEMMAP, gpa, len, 0, "unwire");
}

int
vm_mmap_getnext(struct vmctx *ctx, struct vmm_memmap *map)
{
	struct vmm_memmap next = {.gpa = map->gpa};
	const int error = vm_ioctl_quiet(ctx, VMM_MMAP_GETNEXT, &next);

	if (error == -ENOENT)
		return vmm_fail(error, "machine '%s': there is no map at or above 0x%llx",
				ctx->vx_name, (ull)map->gpa);
	if (error)
		return vmm_fail(error, "machine '%s': cannot look at maps: %s", ctx->vx_name,
				strerror(-error));
	*map = next;
	return 0;
}

int
vm_discard(struct vmctx *ctx, uint64_t gpa, uint64_t len)
{
	struct vmm_range range = {.gpa = gpa, .len_bytes = len};

	return vm_ioctl(ctx, VMM_DISCARD, &range, "discard a range");
}

int
vm_pageout(struct vmctx *ctx, uint64_t *npages, bool clean_only)
{
	struct vmm_pageout req = {.npages = *npages, .flags = clean_only ? VMM_PAGEOUT_CLEAN : 0};
	const int error = vm_ioctl(ctx, VMM_PAGEOUT, &req, "page out");

	if (error == 0)
		*npages = req.npages;
	return error;
}

/* ---- Device memory --------------------------------------------------------------------------- */

/* What the node of a segment has is put into the window. */
static int
map_node(struct vmctx *ctx, const char *name, uint64_t len, char *at)
{
	char path[sizeof(VMM_IO_NODE_DIR) + VMM_NAME_BYTES + VMM_SEG_NAME_BYTES + 2];
	int fd, error = 0;

	snprintf(path, sizeof(path), "%s/%s.%s", VMM_IO_NODE_DIR, ctx->vx_name, name);
	fd = vmm_sys.open(path, O_RDWR | O_CLOEXEC);
	if (fd == -1)
		return vmm_fail(-errno, "cannot open %s: %s", path, strerror(errno));
	if (vmm_sys.mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
	    MAP_FAILED)
		error = vmm_fail(-errno, "cannot map %s: %s", path, strerror(errno));
	vmm_sys.close(fd);
	return error;
}

void *
vm_create_devmem(struct vmctx *ctx, int ident, const char *name, uint64_t len)
{
	struct vm_window *wi;
	int error;

	if (!name || name[0] == '\0') {
		vmm_fail(-EINVAL, "machine '%s': device memory needs a name", ctx->vx_name);
		return MAP_FAILED;
	}
	if (vm_alloc_memseg(ctx, ident, len, name))
		return MAP_FAILED;
	wi = vm_window_open(ctx, len);
	if (!wi)
		return MAP_FAILED;
	error = map_node(ctx, name, len, wi->wi_base);
	if (error) {
		vm_window_close(ctx, wi);
		errno = -error;
		return MAP_FAILED;
	}
	return wi->wi_base;
}
