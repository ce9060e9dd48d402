/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Calls on memory: segments, maps, pages, the dirty log. Most hand on to vmspace what user space
 * said, in vmspace's types; what they add is nodes of named segments, and mappings of nodes in
 * processes, which must not stand in the way.
 */

#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kmod/vmm_priv.h"

static_assert(VMM_PROT_READ == PMAP_PROT_R && VMM_PROT_WRITE == PMAP_PROT_W &&
	      VMM_PROT_EXEC == PMAP_PROT_X);
static_assert(VMM_MEMMAP_WIRED == VM_MEMMAP_F_WIRED && VMM_MEMMAP_IOMMU == VM_MEMMAP_F_IOMMU);
static_assert(VMM_SEG_NAME_BYTES == VM_MEMSEG_NAME_BYTES);

/* ---- Segments and maps ----------------------------------------------------------------------- */

/* Names become parts of file names; '!' is how a device's name says '/'. */
static int
check_seg_name(const char *name)
{
	const char *p;

	if (strnlen(name, VMM_SEG_NAME_BYTES) == VMM_SEG_NAME_BYTES)
		return -ENAMETOOLONG;
	for (p = name; *p != '\0'; p++)
		if (*p == '!' || *p == '/' || *p <= ' ' || *p >= 0x7f)
			return -EINVAL;
	return 0;
}

int
ioctl_alloc_memseg(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_memseg *const seg = arg;
	const bool named = seg->name[0] != '\0';
	int error;

	error = check_seg_name(seg->name);
	if (error)
		return error;
	error = vm_alloc_memseg(vm->vm_space, seg->ident, seg->len_bytes, named ? seg->name : NULL);
	if (error || !named)
		return error;
	mutex_lock(&vmm_list_lock);
	error = dev_seg_create(vm, seg->ident, seg->name);
	mutex_unlock(&vmm_list_lock);
	if (error)
		vm_free_memseg(vm->vm_space, seg->ident);
	return error;
}

int
ioctl_get_memseg(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_memseg *const seg = arg;
	struct vm_memseg found;
	int error;

	error = vm_get_memseg(vm->vm_space, seg->ident, &found);
	if (error)
		return error;
	seg->len_bytes = found.vg_len_bytes;
	memset(seg->name, 0, sizeof(seg->name));
	if (found.vg_len_bytes)
		strscpy(seg->name, found.vg_name, sizeof(seg->name));
	return 0;
}

int
ioctl_mmap_memseg(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_memmap *const map = arg;

	if (map->flags & ~VMM_MEMMAP_WIRED || map->segoff_bytes > S64_MAX ||
	    map->len_bytes > S64_MAX)
		return -EINVAL;
	return vm_mmap_memseg(vm->vm_space, map->gpa, map->ident, map->segoff_bytes, map->len_bytes,
			      map->prot, map->flags);
}

int
ioctl_munmap_memseg(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_range *const range = arg;

	return range->prot ? -EINVAL : vm_munmap_memseg(vm->vm_space, range->gpa, range->len_bytes);
}

int
ioctl_mmap_getnext(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_memmap *const map = arg;
	struct vm_memmap found;
	int error;

	error = vm_mmap_getnext(vm->vm_space, map->gpa, &found);
	if (error)
		return error;
	*map = (struct vmm_memmap){
		.gpa = found.vp_gpa,
		.len_bytes = found.vp_len_bytes,
		.ident = found.vp_ident,
		.prot = found.vp_prot,
		.segoff_bytes = found.vp_offset_bytes,
		.flags = found.vp_flags,
	};
	return 0;
}

int
ioctl_protect_memmap(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_range *const range = arg;

	return vm_protect_memmap(vm->vm_space, range->gpa, range->len_bytes, range->prot);
}

int
ioctl_wire_memmap(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_range *const range = arg;

	return range->prot ? -EINVAL : vm_wire_memmap(vm->vm_space, range->gpa, range->len_bytes);
}

int
ioctl_unwire_memmap(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_range *const range = arg;

	return range->prot ? -EINVAL : vm_unwire_memmap(vm->vm_space, range->gpa, range->len_bytes);
}

/* ---- Pages ----------------------------------------------------------------------------------- */

/*
 * A process that has the page mapped holds it, and would be in the way; it is made to fault again.
 * One that touches it all the time may win a few times.
 */
#define DISCARD_TRIES 8

int
ioctl_discard(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_range *const range = arg;
	int error, tries;

	if (range->prot)
		return -EINVAL;
	for (tries = 0; tries < DISCARD_TRIES; tries++) {
		mappings_release_range(vm, range->gpa, range->len_bytes);
		percpu_down_read(&vmm_quiet);
		error = vm_discard(vm->vm_space, range->gpa, range->len_bytes);
		percpu_up_read(&vmm_quiet);
		if (error != -EBUSY)
			break;
	}
	return error;
}

int
ioctl_pageout(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_pageout *const out = arg;
	uint64_t freed = 0;
	int error;

	if (out->flags & ~VMM_PAGEOUT_CLEAN)
		return -EINVAL;
	mappings_release_all(vm);
	percpu_down_read(&vmm_quiet);
	error = vm_pageout(vmm_system, vm->vm_space, out->npages,
			   out->flags & VMM_PAGEOUT_CLEAN ? VM_PAGEOUT_CLEAN : 0, &freed);
	percpu_up_read(&vmm_quiet);
	out->npages = freed;
	return error;
}

/* ---- The dirty log --------------------------------------------------------------------------- */

/* Of a bitmap, at a time: 1 MiB, for 32 GiB of memory. */
#define CHUNK_PAGES (8ull << 20)

static int
log_chunk(struct vm *vm, const struct vmm_dirty *d, u64 gpa, u64 len, u64 *bitmap, u64 __user *to)
{
	static const enum vm_dirty_op ops[] = {
		[VMM_DIRTY_PEEK] = VM_DIRTY_PEEK,
		[VMM_DIRTY_GET] = VM_DIRTY_GET,
		[VMM_DIRTY_CLEAR] = VM_DIRTY_CLEAR,
	};
	const size_t bytes = BITS_TO_U64(len >> PAGE_SHIFT) * sizeof(u64);
	int error;

	if (d->op == VMM_DIRTY_SET && copy_from_user(bitmap, to, bytes))
		return -EFAULT;
	percpu_down_read(&vmm_quiet);
	if (d->op == VMM_DIRTY_SET)
		error = vm_dirty_log_set(vm->vm_space, gpa, len, bitmap);
	else
		error = vm_dirty_log(vm->vm_space, gpa, len, ops[d->op], bitmap);
	percpu_up_read(&vmm_quiet);
	if (!error && d->op != VMM_DIRTY_SET && copy_to_user(to, bitmap, bytes)) {
		/* Nobody heard of what was cleared: it is given back. */
		if (d->op == VMM_DIRTY_CLEAR)
			vm_dirty_log_set(vm->vm_space, gpa, len, bitmap);
		error = -EFAULT;
	}
	return error;
}

/* Gives back chunks that were cleared and copied out. */
static void
log_give_back(struct vm *vm, const struct vmm_dirty *d, u64 end, u64 *bitmap)
{
	const u64 chunk = CHUNK_PAGES << PAGE_SHIFT;
	u64 __user *user = u64_to_user_ptr(d->bitmap);
	u64 gpa;

	for (gpa = d->gpa; gpa < end; gpa += chunk, user += CHUNK_PAGES / 64) {
		/* What cannot be read any more counts as dirty. */
		if (copy_from_user(bitmap, user, CHUNK_PAGES / 8))
			memset(bitmap, 0xff, CHUNK_PAGES / 8);
		vm_dirty_log_set(vm->vm_space, gpa, chunk, bitmap);
	}
}

/*
 * Stores through mappings of nodes. A page that a process may write is held for writing, and such
 * pages are reported at each call. So before the log is read these pages are taken away from
 * processes: the holds end, which marks the pages, and a later store faults and is seen anew.
 */
static int
log_bits(struct vm *vm, const struct vmm_dirty *d)
{
	u64 __user *user = u64_to_user_ptr(d->bitmap);
	u64 gpa = d->gpa, left = d->len_bytes;
	u64 *bitmap;
	int error = 0;

	if (!PAGE_ALIGNED(gpa) || !PAGE_ALIGNED(left) || gpa + left < gpa)
		return -EINVAL;
	bitmap = kvzalloc(BITS_TO_U64(min(left >> PAGE_SHIFT, CHUNK_PAGES)) * sizeof(u64),
			  GFP_KERNEL_ACCOUNT);
	if (!bitmap)
		return -ENOMEM;
	if (d->op == VMM_DIRTY_GET || d->op == VMM_DIRTY_CLEAR)
		mappings_release_range(vm, gpa, left);
	do {
		const u64 len = min(left, CHUNK_PAGES << PAGE_SHIFT);

		bitmap_zero((unsigned long *)bitmap, BITS_TO_U64(len >> PAGE_SHIFT) * 64);
		error = log_chunk(vm, d, gpa, len, bitmap, user);
		if (error)
			break;
		gpa += len;
		left -= len;
		user += CHUNK_PAGES / 64;
	} while (left);
	if (error && d->op == VMM_DIRTY_CLEAR)
		log_give_back(vm, d, gpa, bitmap); /* the caller must not trust the buffer */
	kvfree(bitmap);
	return error;
}

int
ioctl_dirty_log(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_dirty *const d = arg;
	int error;

	if (d->flags & ~(d->op == VMM_DIRTY_ENABLE ? VMM_DIRTY_ALL_SET : 0))
		return -EINVAL;
	switch (d->op) {
	case VMM_DIRTY_ENABLE:
	case VMM_DIRTY_DISABLE:
		if (d->gpa || d->len_bytes || d->bitmap)
			return -EINVAL;
		/* What was stored before is not what the log is asked for. */
		mappings_release_all(vm);
		percpu_down_read(&vmm_quiet);
		error = d->op == VMM_DIRTY_ENABLE
				? vm_dirty_log_enable(vm->vm_space, d->flags & VMM_DIRTY_ALL_SET)
				: vm_dirty_log_disable(vm->vm_space);
		percpu_up_read(&vmm_quiet);
		return error;
	case VMM_DIRTY_PEEK:
	case VMM_DIRTY_GET:
	case VMM_DIRTY_CLEAR:
	case VMM_DIRTY_SET:
		return log_bits(vm, d);
	default:
		return -EINVAL;
	}
}

int
ioctl_exec_control(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_exec *const exec = arg;

	switch (exec->op) {
	case VMM_EXEC_NX_SUPERPAGES_ON:
		return vm_set_nx_superpages(vm->vm_space, true);
	case VMM_EXEC_NX_SUPERPAGES_OFF:
		return vm_set_nx_superpages(vm->vm_space, false);
	case VMM_EXEC_RECOVER:
		return vm_exec_recover(vm->vm_space);
	default:
		return -EINVAL;
	}
}
