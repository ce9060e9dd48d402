/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Where frames come from and contents go: the seam between pages and the two pagers.
 *
 * The pager that is built in takes frames from the host's free list, which hold nothing of use, and
 * keeps contents in swap slots (vm_swap.c). A pager of the host's hands out frames with the
 * contents in them, and gets them back as clean or dirty. Everything else (who may go, runs,
 * charging, accounts) is the same for both, and is not here.
 *
 * Both mark a page that has contents outside of memory in vp_slot, which belongs to its owner.
 */

#include "vmspace/vm_priv.h"

/* ---- Life ------------------------------------------------------------------------------------ */

int
vm_pager_create(struct vm_object *ob)
{
	if (ob->ob_type != OBJT_DEFAULT || (host_load(&ob->ob_space->vs_mode) & VM_HOST_PAGER) == 0)
		return 0;
	return host_pager_create(ob->ob_npages, &ob->ob_pager);
}

void
vm_pager_destroy(struct vm_object *ob)
{
	if (ob->ob_pager != NULL)
		host_pager_destroy(ob->ob_pager);
}

/* ---- Frames ---------------------------------------------------------------------------------- */

enum vm_fault_reason
vm_pager_get(struct vm_object *ob, uint64_t index, hpa_t *hpa)
{
	int error;

	if (ob->ob_pager == NULL)
		return host_page_alloc(hpa, 0) ? VM_FAULT_NONE : VM_FAULT_NO_MEMORY;
	error = host_pager_getpage(ob->ob_pager, index, hpa);
	if (error == 0)
		return VM_FAULT_NONE;
	if (error == -ENOMEM)
		return VM_FAULT_NO_MEMORY;
	if (error == -EINTR)
		return VM_FAULT_INTERRUPTED;
	vm_object_count(ob, VM_C_SWAP_ERRORS, 1);
	return VM_FAULT_SWAP_READ;
}

bool
vm_pager_get_run(struct vm_object *ob, uint64_t first, hpa_t *base)
{
	if (ob->ob_pager == NULL)
		return host_page_alloc(base, 9);
	return host_pager_getrun(ob->ob_pager, first, base);
}

void
vm_pager_put(struct vm_object *ob, uint64_t index, hpa_t hpa, bool dirty)
{
	if (ob->ob_pager == NULL)
		host_page_free(hpa, 0);
	else
		host_pager_putpage(ob->ob_pager, index, hpa, dirty);
}

/* ---- Contents -------------------------------------------------------------------------------- */

int
vm_pager_read(struct vm_object *ob, uint64_t index, hpa_t hpa)
{
	const bool stored = vm_object_page(ob, index)->vp_slot != 0;

	if (ob->ob_pager == NULL) {
		const int error = stored ? vm_swap_in(ob, index, hpa) : 0;

		if (error != 0)
			return error;
		if (!stored)
			host_page_zero(hpa);
	}
	vm_object_count(ob, stored ? VM_C_SWAP_INS : VM_C_ZERO_FILLS, 1);
	return 0;
}

void
vm_pager_save(struct vm_object *ob, const uint64_t *index, unsigned int n, bool *done)
{
	if (ob->ob_pager == NULL) {
		vm_swap_out(ob, index, n, done);
		return;
	}
	for (unsigned int i = 0; i < n; i++) {
		vm_object_page(ob, index[i])->vp_slot = VM_SLOT_PAGER;
		done[i] = true;
	}
	vm_object_count(ob, VM_C_SWAP_OUTS, n);
}

void
vm_pager_forget(struct vm_object *ob, struct vm_page *pg)
{
	if (pg->vp_slot == 0)
		return;
	if (ob->ob_pager == NULL)
		vm_swap_give(&ob->ob_sys->sy_swap, pg->vp_slot);
	pg->vp_slot = 0;
	if (!(host_load(&pg->vp_state) & VP_RESIDENT))
		host_fetch_add(&ob->ob_account->ac_swapped, ~(uint64_t)0);
}

void
vm_pager_discard(struct vm_object *ob, uint64_t first, uint64_t npages)
{
	if (ob->ob_pager != NULL && npages != 0)
		host_pager_discard(ob->ob_pager, first, npages);
}
