/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Guest memory mapped into processes (mmap of nodes), so that every store is known to the dirty
 * log.
 *
 * A page is mapped when it is touched: held (vm_memseg_hold()), for reading, and mapped without the
 * right to write; or, at a store, held for writing. vmspace keeps a page that is held where it is,
 * counts one that is held for writing as dirty, and marks it when the hold ends. The hold stays as
 * long as the mapping may be used. Whoever wants the truth, or the page, takes mappings back first
 * and ends the holds (mappings_release_range(), _all()): the log before it reports, discard and
 * pageout. The next touch faults again.
 *
 * What makes this exact: entries of processes' page tables are made and taken away, together with
 * the holds, under one mutex per segment. Pages are mapped as bare frame numbers (VM_PFNMAP), so
 * there is no other way to the page: get_user_pages() refuses such memory, and no one keeps a
 * reference, or writes by DMA, after the hold has ended. The price is that O_DIRECT and the like
 * cannot read into guest memory.
 *
 * All mappings of a segment, through whichever node, are linked to one file of our own, the anchor,
 * at the offset in the segment. They are found through it; and it keeps what is here alive until
 * the last is gone, even when the machine has been destroyed: then touching it is SIGBUS.
 *
 * Holds are limited to a quarter of the machine's memory: all are given back when there are more.
 */

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "kmod/vmm_priv.h"

/* A page that processes have mapped. */
struct held {
	struct vm_hold he_hold;
	bool he_write;
};

/* A segment that is, or was, mapped by somebody. */
struct segment {
	struct list_head sg_link;
	struct vm *sg_vm; /* a reference */
	int sg_ident;
	struct file *sg_anchor;
	struct mutex sg_lock;
	struct xarray sg_held; /* struct held, by page of the segment */
	atomic_t sg_vmas;
};

struct vm_mappings {
	struct mutex mp_lock; /* the list */
	struct list_head mp_segments;
	atomic_long_t mp_nheld;
	long mp_limit;
};

/* Holds that a machine may have whatever its size. */
#define HELD_MIN 64

static struct vfsmount *anchor_mount;

/* ---- Taking back ----------------------------------------------------------------------------- */

/*
 * [first, first + npages) of a segment: no process can use it any more, then the holds end. In that
 * order, since a store that was possible until then counts.
 */
static void
segment_release(struct segment *sg, u64 first, u64 npages)
{
	struct vm_mappings *const mp = sg->sg_vm->vm_mappings;
	unsigned long index;
	struct held *he;

	if (npages == 0)
		return;
	percpu_down_read(&vmm_quiet);
	mutex_lock(&sg->sg_lock);
	if (!xa_empty(&sg->sg_held)) {
		unmap_mapping_range(sg->sg_anchor->f_mapping, (loff_t)first << PAGE_SHIFT,
				    (loff_t)npages << PAGE_SHIFT, 1);
		xa_for_each_range(&sg->sg_held, index, he, first, first + npages - 1)
		{
			xa_erase(&sg->sg_held, index);
			vm_gpa_release(&he->he_hold);
			kfree(he);
			atomic_long_dec(&mp->mp_nheld);
		}
	}
	mutex_unlock(&sg->sg_lock);
	percpu_up_read(&vmm_quiet);
}

#define ALL_PAGES ((u64)S64_MAX >> PAGE_SHIFT)

static struct segment *
find_segment(struct vm_mappings *mp, int ident)
{
	struct segment *sg;

	list_for_each_entry(sg, &mp->mp_segments, sg_link) if (sg->sg_ident == ident) return sg;
	return NULL;
}

void
mappings_release_all(struct vm *vm)
{
	struct vm_mappings *const mp = vm->vm_mappings;
	struct segment *sg;

	mutex_lock(&mp->mp_lock);
	list_for_each_entry(sg, &mp->mp_segments, sg_link) segment_release(sg, 0, ALL_PAGES);
	mutex_unlock(&mp->mp_lock);
}

void
mappings_release_range(struct vm *vm, u64 gpa, u64 len_bytes)
{
	struct vm_mappings *const mp = vm->vm_mappings;
	const u64 end = gpa + len_bytes < gpa ? U64_MAX : gpa + len_bytes;
	struct vm_memmap map;
	struct segment *sg;
	u64 next = 0;

	if (!atomic_long_read(&mp->mp_nheld))
		return;
	mutex_lock(&mp->mp_lock);
	while (next < end && !vm_mmap_getnext(vm->vm_space, next, &map)) {
		const u64 from = max(gpa, map.vp_gpa);
		const u64 to = min(end, map.vp_gpa + map.vp_len_bytes);

		sg = from < to ? find_segment(mp, map.vp_ident) : NULL;
		if (sg)
			segment_release(sg, (from - map.vp_gpa + map.vp_offset_bytes) >> PAGE_SHIFT,
					(to - from) >> PAGE_SHIFT);
		next = map.vp_gpa + map.vp_len_bytes;
	}
	mutex_unlock(&mp->mp_lock);
}

/* ---- Faults ---------------------------------------------------------------------------------- */

/*
 * sg_lock held. The page held as it is needed, in *out. A hold for reading is exchanged for one for
 * writing, the new one first: the page does not move in between, since it is always held.
 */
static int
hold_page(struct segment *sg, unsigned long index, bool write, struct held **out)
{
	struct vm_mappings *const mp = sg->sg_vm->vm_mappings;
	struct held *const old = xa_load(&sg->sg_held, index);
	struct held *he;
	int error;

	*out = old;
	if (old && (old->he_write || !write))
		return 0;
	he = kzalloc(sizeof(*he), GFP_KERNEL_ACCOUNT);
	if (!he)
		return -ENOMEM;
	he->he_write = write;
	error = vm_memseg_hold(sg->sg_vm->vm_space, sg->sg_ident, (u64)index << PAGE_SHIFT,
			       PAGE_SIZE, write ? PMAP_PROT_R | PMAP_PROT_W : PMAP_PROT_R,
			       &he->he_hold);
	if (error)
		goto no_hold;
	error = xa_err(xa_store(&sg->sg_held, index, he, GFP_KERNEL_ACCOUNT));
	if (error)
		goto no_store;
	if (old) {
		vm_gpa_release(&old->he_hold);
		kfree(old);
	} else {
		atomic_long_inc(&mp->mp_nheld);
	}
	*out = he;
	return 0;
no_store:
	vm_gpa_release(&he->he_hold);
no_hold:
	kfree(he);
	return error;
}

/* sg_lock held. An entry that only permits to read is replaced when a store wants more. */
static vm_fault_t
map_page(struct vm_fault *vmf, const struct held *he, bool write)
{
	struct vm_area_struct *const vma = vmf->vma;
	const unsigned long flags = write ? vma->vm_flags : vma->vm_flags & ~(VM_WRITE | VM_SHARED);

	if (write)
		zap_vma_ptes(vma, vmf->address, PAGE_SIZE);
	return vmf_insert_pfn_prot(vma, vmf->address, he->he_hold.vh_pages[0].hp_hpa >> PAGE_SHIFT,
				   vm_get_page_prot(flags));
}

static int
fault_once(struct vm_fault *vmf, struct segment *sg, bool write, vm_fault_t *result)
{
	struct held *he;
	int error;

	percpu_down_read(&vmm_quiet);
	mutex_lock(&sg->sg_lock);
	error = hold_page(sg, vmf->pgoff, write, &he);
	if (!error)
		*result = map_page(vmf, he, write);
	mutex_unlock(&sg->sg_lock);
	percpu_up_read(&vmm_quiet);
	return error;
}

/*
 * Inside a system call a signal cannot be handled before the page is there, and -EFAULT would be a
 * lie. So the page is brought in with all signals blocked but the one that kills.
 */
static int
fault_in_kernel(struct vm_fault *vmf, struct segment *sg, bool write, vm_fault_t *result)
{
	sigset_t all, before;
	int error;

	siginitsetinv(&all, sigmask(SIGKILL));
	sigprocmask(SIG_BLOCK, &all, &before);
	error = fault_once(vmf, sg, write, result);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return error;
}

/*
 * A signal that came while the page was brought in: the thread goes to handle it, and touches the
 * page again later.
 */
static vm_fault_t
fault_failed(const struct vm_fault *vmf, int error)
{
	if (error == -EINTR && vmf->flags & FAULT_FLAG_USER)
		return VM_FAULT_NOPAGE;
	return VM_FAULT_SIGBUS;
}

static vm_fault_t
fault_any(struct vm_fault *vmf, bool write)
{
	struct segment *const sg = vmf->vma->vm_private_data;
	struct vm *const vm = sg->sg_vm;
	vm_fault_t result = VM_FAULT_SIGBUS;
	int error;

	if (!vm_call_begin(vm))
		return VM_FAULT_SIGBUS;
	if (atomic_long_read(&vm->vm_mappings->mp_nheld) >= vm->vm_mappings->mp_limit)
		mappings_release_all(vm);
	error = fault_once(vmf, sg, write, &result);
	if (error == -ENOMEM) { /* the holds may be what is in the way */
		mappings_release_all(vm);
		error = fault_once(vmf, sg, write, &result);
	}
	if (error == -EINTR && !(vmf->flags & FAULT_FLAG_USER))
		error = fault_in_kernel(vmf, sg, write, &result);
	vm_call_end(vm);
	return error ? fault_failed(vmf, error) : result;
}

static vm_fault_t
segment_fault(struct vm_fault *vmf)
{
	return fault_any(vmf, vmf->flags & FAULT_FLAG_WRITE);
}

/* A store where the entry only permits to read; that there is this operation makes it so. */
static vm_fault_t
segment_pfn_mkwrite(struct vm_fault *vmf)
{
	return fault_any(vmf, true);
}

static void
segment_open(struct vm_area_struct *vma)
{
	struct segment *const sg = vma->vm_private_data;

	atomic_inc(&sg->sg_vmas);
}

static void
segment_close(struct vm_area_struct *vma)
{
	struct segment *const sg = vma->vm_private_data;

	if (atomic_dec_and_test(&sg->sg_vmas))
		segment_release(sg, 0, ALL_PAGES);
}

static const struct vm_operations_struct segment_vm_ops = {
	.open = segment_open,
	.close = segment_close,
	.fault = segment_fault,
	.pfn_mkwrite = segment_pfn_mkwrite,
};

/* ---- Segments -------------------------------------------------------------------------------- */

/* The last mapping, and the machine, let go of it. */
static int
anchor_release(struct inode *inode, struct file *file)
{
	struct segment *const sg = file->private_data;

	WARN_ON(!xa_empty(&sg->sg_held));
	xa_destroy(&sg->sg_held);
	vm_put(sg->sg_vm);
	kfree(sg);
	return 0;
}

static const struct file_operations anchor_fops = {
	.owner = THIS_MODULE,
	.release = anchor_release,
};

static int
anchor_create(struct segment *sg)
{
	struct inode *const inode = alloc_anon_inode(anchor_mount->mnt_sb);

	if (IS_ERR(inode))
		return PTR_ERR(inode);
	__module_get(THIS_MODULE); /* the file's; it is put with it */
	sg->sg_anchor = alloc_file_pseudo(inode, anchor_mount, "vmm", O_RDWR, &anchor_fops);
	if (IS_ERR(sg->sg_anchor)) {
		iput(inode);
		module_put(THIS_MODULE);
		return PTR_ERR(sg->sg_anchor);
	}
	sg->sg_anchor->private_data = sg;
	return 0;
}

/* mp_lock held. */
static struct segment *
segment_create(struct vm *vm, int ident)
{
	struct segment *const sg = kzalloc(sizeof(*sg), GFP_KERNEL_ACCOUNT);
	int error;

	if (!sg)
		return ERR_PTR(-ENOMEM);
	sg->sg_ident = ident;
	mutex_init(&sg->sg_lock);
	xa_init(&sg->sg_held);
	error = anchor_create(sg);
	if (error) {
		kfree(sg);
		return ERR_PTR(error);
	}
	kref_get(&vm->vm_kref);
	sg->sg_vm = vm;
	list_add(&sg->sg_link, &vm->vm_mappings->mp_segments);
	return sg;
}

int
mappings_vm_init(struct vm *vm)
{
	struct vm_mappings *const mp = kzalloc(sizeof(*mp), GFP_KERNEL_ACCOUNT);
	const u64 bytes = vm->vm_mem_limit_bytes ?: hw_settings.hs_mem_limit_bytes;

	if (!mp)
		return -ENOMEM;
	mutex_init(&mp->mp_lock);
	INIT_LIST_HEAD(&mp->mp_segments);
	mp->mp_limit = max_t(u64, bytes >> PAGE_SHIFT >> 2, HELD_MIN);
	vm->vm_mappings = mp;
	return 0;
}

/* Mappings that are left have a segment that is on no list, and a machine without calls. */
void
mappings_vm_end(struct vm *vm)
{
	struct vm_mappings *const mp = vm->vm_mappings;
	struct segment *sg, *next;

	if (!mp)
		return;
	mutex_lock(&mp->mp_lock);
	list_for_each_entry_safe(sg, next, &mp->mp_segments, sg_link)
	{
		segment_release(sg, 0, ALL_PAGES);
		list_del(&sg->sg_link);
		fput(sg->sg_anchor);
	}
	mutex_unlock(&mp->mp_lock);
}

void
mappings_vm_free(struct vm *vm)
{
	kfree(vm->vm_mappings);
}

/* ---- mmap(2) --------------------------------------------------------------------------------- */

static int
map_segment(struct vm *vm, int ident, u64 first_page, bool writable, struct vm_area_struct *vma)
{
	struct vm_mappings *const mp = vm->vm_mappings;
	struct segment *sg;

	/*
	 * Private mappings would be copies; code of the host's has no business in guest memory. Of
	 * a file that is open for reading only, shared mappings do not have VM_SHARED.
	 */
	if (!(vma->vm_flags & VM_MAYSHARE) || vma->vm_flags & VM_EXEC)
		return -EINVAL;
	if (!writable && vma->vm_flags & VM_WRITE)
		return -EACCES;
	mutex_lock(&mp->mp_lock);
	sg = find_segment(mp, ident);
	if (!sg)
		sg = segment_create(vm, ident);
	if (!IS_ERR(sg)) {
		vma_set_file(vma, sg->sg_anchor);
		atomic_inc(&sg->sg_vmas);
	}
	mutex_unlock(&mp->mp_lock);
	if (IS_ERR(sg))
		return PTR_ERR(sg);
	vma->vm_pgoff = first_page;
	vma->vm_private_data = sg;
	vma->vm_ops = &segment_vm_ops;
	vma->vm_flags |= VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP;
	vma->vm_flags &= ~(VM_MAYEXEC | (writable ? 0 : VM_MAYWRITE));
	return 0;
}

/*
 * [gpa, gpa + len) lies within one map of system memory. What becomes of that map later is no
 * matter.
 */
int
mappings_mmap_gpa(struct vm *vm, struct vm_area_struct *vma)
{
	const u64 gpa = (u64)vma->vm_pgoff << PAGE_SHIFT;
	const u64 len = vma->vm_end - vma->vm_start;
	struct vm_memseg seg;
	struct vm_memmap map;
	u64 next = 0;

	if (vma->vm_pgoff > ALL_PAGES || gpa + len < gpa)
		return -EINVAL;
	while (!vm_mmap_getnext(vm->vm_space, next, &map)) {
		next = map.vp_gpa + map.vp_len_bytes;
		if (gpa < map.vp_gpa || gpa >= next)
			continue;
		if (gpa + len > next || map.vp_ident < 0 ||
		    vm_get_memseg(vm->vm_space, map.vp_ident, &seg) || !seg.vg_sysmem)
			return -EINVAL;
		return map_segment(vm, map.vp_ident,
				   (gpa - map.vp_gpa + map.vp_offset_bytes) >> PAGE_SHIFT,
				   map.vp_prot & PMAP_PROT_W, vma);
	}
	return -EINVAL;
}

int
mappings_mmap_seg(struct vm *vm, int ident, struct vm_area_struct *vma)
{
	const u64 len = vma->vm_end - vma->vm_start;
	struct vm_memseg seg;
	u64 offset;
	int error;

	error = vm_get_memseg(vm->vm_space, ident, &seg);
	if (error)
		return error;
	if (vma->vm_pgoff > ALL_PAGES)
		return -EINVAL;
	offset = (u64)vma->vm_pgoff << PAGE_SHIFT;
	if (offset > seg.vg_len_bytes || len > seg.vg_len_bytes - offset)
		return -EINVAL;
	return map_segment(vm, ident, vma->vm_pgoff, true, vma);
}

/* ---- The module's ---------------------------------------------------------------------------- */

#define ANCHOR_MAGIC 0x736b6570 /* "skep" */

static int
anchor_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, ANCHOR_MAGIC) ? 0 : -ENOMEM;
}

/* Without an owner: its mount, made once, would keep the module for ever. Files keep it. */
static struct file_system_type anchor_fs = {
	.name = "vmm",
	.init_fs_context = anchor_fs_context,
	.kill_sb = kill_anon_super,
};

int
mappings_init(void)
{
	anchor_mount = kern_mount(&anchor_fs);
	return PTR_ERR_OR_ZERO(anchor_mount);
}

void
mappings_exit(void)
{
	kern_unmount(anchor_mount);
}
