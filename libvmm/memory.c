/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A machine's memory, the easy way: low memory at 0, high memory at 4 GiB, seen here as one piece.
 *
 * The piece is as the guest sees it, hole included, so that one addition translates; the hole is
 * address space that nothing is behind. In the segment there is none: high memory follows low
 * memory. Guards before and behind catch what runs off an end.
 *
 * A loader sets memory up, and the program that runs the machine does it again: so nothing that
 * exists and is the same is an error, and what differs is named.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "libvmm/libvmm_priv.h"

#define PAGE_BYTES 4096ull
#define SUPER_BYTES (2ull << 20) /* so that the host can use its own superpages */
#define BYTES_MAX (1ull << 52)

/* ---- Windows --------------------------------------------------------------------------------- */

struct vm_window *
vm_window_open(struct vmctx *ctx, uint64_t len)
{
	const uint64_t bytes = len + 2 * VM_GUARD_BYTES + SUPER_BYTES;
	struct vm_window *const wi = calloc(1, sizeof(*wi));
	char *at;

	if (!wi || len > BYTES_MAX || bytes > SIZE_MAX) {
		free(wi);
		vmm_fail(-ENOMEM, "no memory to map %s", ctx->vx_name);
		return NULL;
	}
	at = vmm_sys.mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			  0);
	if (at == MAP_FAILED) {
		free(wi);
		vmm_fail(-ENOMEM,
			 "machine '%s': no room for %llu MiB in the address space of this program",
			 ctx->vx_name, (unsigned long long)(bytes >> 20));
		return NULL;
	}
	wi->wi_reserved = at;
	wi->wi_reserved_bytes = bytes;
	at += VM_GUARD_BYTES;
	wi->wi_base = at + (-(uintptr_t)at & (SUPER_BYTES - 1));
	pthread_mutex_lock(&ctx->vx_lock);
	wi->wi_next = ctx->vx_windows;
	ctx->vx_windows = wi;
	pthread_mutex_unlock(&ctx->vx_lock);
	return wi;
}

void
vm_window_close(struct vmctx *ctx, struct vm_window *wi)
{
	struct vm_window **link = &ctx->vx_windows;

	pthread_mutex_lock(&ctx->vx_lock);
	while (*link != wi)
		link = &(*link)->wi_next;
	*link = wi->wi_next;
	pthread_mutex_unlock(&ctx->vx_lock);
	vmm_sys.munmap(wi->wi_reserved, wi->wi_reserved_bytes);
	free(wi);
}

/* ---- Choices before -------------------------------------------------------------------------- */

static int
not_set_up(const struct vmctx *ctx)
{
	if (ctx->vx_low_bytes == 0)
		return 0;
	return vmm_fail(-EBUSY, "machine '%s': its memory is set up already", ctx->vx_name);
}

int
vm_set_lowmem_limit(struct vmctx *ctx, uint64_t bytes)
{
	if (bytes == 0 || bytes > VM_HIGHMEM_BASE || bytes % SUPER_BYTES)
		return vmm_fail(
			-EINVAL,
			"low memory ends at a multiple of 2 MiB, at most 4 GiB; not at 0x%llx",
			(unsigned long long)bytes);
	if (not_set_up(ctx))
		return -EBUSY;
	ctx->vx_lowmem_limit = bytes;
	return 0;
}

uint64_t
vm_get_lowmem_limit(const struct vmctx *ctx)
{
	return ctx->vx_lowmem_limit;
}

int
vm_set_memflags(struct vmctx *ctx, unsigned int flags)
{
	if (flags & ~VM_MEM_F_WIRED)
		return vmm_fail(-EINVAL, "unknown flags for memory: 0x%x", flags);
	if (not_set_up(ctx))
		return -EBUSY;
	ctx->vx_memflags = flags;
	return 0;
}

unsigned int
vm_get_memflags(const struct vmctx *ctx)
{
	return ctx->vx_memflags;
}

/* ---- Setting up ------------------------------------------------------------------------------ */

/* How much is where; and what this call made, for taking it back. */
struct layout {
	uint64_t low_bytes;
	uint64_t high_bytes;
	bool made_low;
	bool made_high;
};

static int
map_part(struct vmctx *ctx, uint64_t gpa, uint64_t off, uint64_t len, bool *made)
{
	const unsigned int flags = ctx->vx_memflags & VM_MEM_F_WIRED ? VMM_MEMMAP_WIRED : 0;
	struct vmm_memmap old = {.gpa = gpa};
	const bool there = vm_ioctl_quiet(ctx, VMM_MMAP_GETNEXT, &old) == 0 && old.gpa == gpa;
	int error;

	if (there && old.ident == VM_SYSMEM && old.segoff_bytes == off && old.len_bytes != len)
		return vmm_fail(-EEXIST,
				"machine '%s' has %s memory of another size: 0x%llx bytes, not "
				"0x%llx (the limit of low memory differs)",
				ctx->vx_name, gpa ? "high" : "low",
				(unsigned long long)old.len_bytes, (unsigned long long)len);
	error = vm_mmap_memseg(ctx, gpa, VM_SYSMEM, off, len,
			       VMM_PROT_READ | VMM_PROT_WRITE | VMM_PROT_EXEC, flags);
	*made = error == 0 && !there;
	return error;
}

static int
set_up_guest(struct vmctx *ctx, struct layout *la)
{
	int error;

	error = vm_alloc_memseg(ctx, VM_SYSMEM, la->low_bytes + la->high_bytes, NULL);
	if (error)
		return error;
	error = map_part(ctx, 0, 0, la->low_bytes, &la->made_low);
	if (error == 0 && la->high_bytes)
		error = map_part(ctx, VM_HIGHMEM_BASE, la->low_bytes, la->high_bytes,
				 &la->made_high);
	if (error == 0 && la->high_bytes == 0) {
		struct vmm_memmap old = {.gpa = VM_HIGHMEM_BASE};

		if (vm_ioctl_quiet(ctx, VMM_MMAP_GETNEXT, &old) == 0 && old.ident == VM_SYSMEM)
			error = vmm_fail(-EEXIST, "machine '%s' has high memory; not wanted here",
					 ctx->vx_name);
	}
	return error;
}

/* What failed keeps its sentence. */
static void
take_back(struct vmctx *ctx, const struct layout *la)
{
	struct vmm_range low = {.len_bytes = la->low_bytes};
	struct vmm_range high = {.gpa = VM_HIGHMEM_BASE, .len_bytes = la->high_bytes};

	if (la->made_high)
		vm_ioctl_quiet(ctx, VMM_MUNMAP_MEMSEG, &high);
	if (la->made_low)
		vm_ioctl_quiet(ctx, VMM_MUNMAP_MEMSEG, &low);
}

static int
map_here(struct vmctx *ctx, char *base, uint64_t gpa, uint64_t len)
{
	if (len == 0 || vmm_sys.mmap(base + gpa, len, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_FIXED, ctx->vx_fd, (off_t)gpa) != MAP_FAILED)
		return 0;
	return vmm_fail(-errno,
			"machine '%s': cannot map its memory at 0x%llx into this program: %s",
			ctx->vx_name, (unsigned long long)gpa, strerror(errno));
}

static int
set_up_here(struct vmctx *ctx, const struct layout *la)
{
	struct vm_window *const wi = vm_window_open(
		ctx, la->high_bytes ? VM_HIGHMEM_BASE + la->high_bytes : la->low_bytes);
	int error;

	if (!wi)
		return -ENOMEM;
	error = map_here(ctx, wi->wi_base, 0, la->low_bytes);
	if (error == 0)
		error = map_here(ctx, wi->wi_base, VM_HIGHMEM_BASE, la->high_bytes);
	if (error)
		vm_window_close(ctx, wi);
	else
		ctx->vx_mem = wi->wi_base;
	return error;
}

int
vm_setup_memory(struct vmctx *ctx, uint64_t bytes, enum vm_mmap_how how)
{
	struct layout la = {0};
	int error;

	if (bytes == 0 || bytes % PAGE_BYTES || bytes > BYTES_MAX)
		return vmm_fail(-EINVAL, "memory of 0x%llx bytes: it must be a multiple of 4 KiB",
				(unsigned long long)bytes);
	la.low_bytes = bytes < ctx->vx_lowmem_limit ? bytes : ctx->vx_lowmem_limit;
	la.high_bytes = bytes - la.low_bytes;
	error = set_up_guest(ctx, &la);
	if (error == 0 && how == VM_MMAP_ALL && !ctx->vx_mem)
		error = set_up_here(ctx, &la);
	if (error) {
		take_back(ctx, &la);
		errno = -error;
		return error;
	}
	ctx->vx_low_bytes = la.low_bytes;
	ctx->vx_high_bytes = la.high_bytes;
	return 0;
}

/* ---- Using it -------------------------------------------------------------------------------- */

/* Whether [at, at + len) lies in [start, start + bytes). */
static bool
within(uint64_t at, uint64_t len, uint64_t start, uint64_t bytes)
{
	return at >= start && at - start < bytes && len <= bytes - (at - start);
}

void *
vm_map_gpa(struct vmctx *ctx, uint64_t gpa, uint64_t len)
{
	if (ctx->vx_mem && (within(gpa, len, 0, ctx->vx_low_bytes) ||
			    within(gpa, len, VM_HIGHMEM_BASE, ctx->vx_high_bytes)))
		return ctx->vx_mem + gpa;
	vmm_fail(-EFAULT, "machine '%s': 0x%llx and 0x%llx bytes from there are not mapped memory",
		 ctx->vx_name, (unsigned long long)gpa, (unsigned long long)len);
	return NULL;
}

int
vm_rev_map_gpa(struct vmctx *ctx, const void *addr, uint64_t *gpa)
{
	const uintptr_t at = (uintptr_t)addr, base = (uintptr_t)ctx->vx_mem;

	if (!ctx->vx_mem || at < base ||
	    !(within(at - base, 1, 0, ctx->vx_low_bytes) ||
	      within(at - base, 1, VM_HIGHMEM_BASE, ctx->vx_high_bytes)))
		return vmm_fail(-EFAULT, "that address is not in memory of machine '%s'",
				ctx->vx_name);
	*gpa = at - base;
	return 0;
}

uint64_t
vm_get_lowmem_size(const struct vmctx *ctx)
{
	return ctx->vx_low_bytes;
}

uint64_t
vm_get_highmem_size(const struct vmctx *ctx)
{
	return ctx->vx_high_bytes;
}

uint64_t
vm_get_highmem_base(const struct vmctx *ctx)
{
	(void)ctx;
	return VM_HIGHMEM_BASE;
}

static int
no_memory(const struct vmctx *ctx, uint64_t gpa, ssize_t n)
{
	const int error = n < 0 ? -errno : -EFAULT;

	return vmm_fail(error, "machine '%s': there is no memory at 0x%llx%s%s", ctx->vx_name,
			(unsigned long long)gpa, error == -EFAULT ? "" : ": ",
			error == -EFAULT ? "" : strerror(-error));
}

int
vm_read_mem(struct vmctx *ctx, uint64_t gpa, void *to, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		const ssize_t n = vmm_sys.pread(ctx->vx_fd, (char *)to + done, bytes - done,
						(off_t)(gpa + done));

		if (n <= 0 && !(n < 0 && errno == EINTR))
			return no_memory(ctx, gpa + done, n);
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int
vm_write_mem(struct vmctx *ctx, uint64_t gpa, const void *from, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		const ssize_t n = vmm_sys.pwrite(ctx->vx_fd, (const char *)from + done,
						 bytes - done, (off_t)(gpa + done));

		if (n <= 0 && !(n < 0 && errno == EINTR))
			return no_memory(ctx, gpa + done, n);
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* ---- Sizes ----------------------------------------------------------------------------------- */

int
vm_parse_memsize(const char *text, uint64_t *bytes)
{
	static const char suffixes[] = "kmgt";
	unsigned int shift = 0;
	uint64_t n = 0;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++) {
		if (__builtin_mul_overflow(n, (uint64_t)10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*at - '0'), &n))
			return vmm_fail(-ERANGE, "'%.40s' is too large a size", text);
	}
	if (at != text && *at) {
		const char *const s = strchr(suffixes, *at | 0x20); /* lower case */

		if (s && at[1] == '\0') {
			shift = 10 * (unsigned int)(s - suffixes + 1);
			at++;
		}
	} else if (n < 1u << 20) {
		shift = 20;
	}
	if (at == text || *at || n == 0)
		return vmm_fail(-EINVAL,
				"'%.40s' is not a size: give a number, and K, M, G or T after it",
				text);
	if (n > UINT64_MAX >> shift)
		return vmm_fail(-ERANGE, "'%.40s' is too large a size", text);
	*bytes = n << shift;
	return 0;
}
