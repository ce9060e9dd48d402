/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What all guests share: the limit, and the accounts of who holds how much.
 *
 * Pages are charged before they are asked of the host, to the guest's account and to the system, by
 * words that are only raised as long as they stay below their limit: no limit is ever passed, even
 * for an instant. Tables are the exception: page tables take them from the host by themselves. They
 * are counted afterwards (vm_charge_tables()), when a guest touches a new 2 MiB and when memory is
 * short; and exactly whenever somebody asks.
 *
 * An account outlives its guest while pages of the guest are still held.
 */

#include "vmspace/vm_priv.h"

int
vm_system_create(const struct vm_system_config *cfg, struct vm_system **out)
{
	struct vm_system *sys;
	int error;

	if (cfg->vy_mem_limit_bytes < HOST_PAGE_SIZE)
		return -EINVAL;
	sys = host_alloc(sizeof(*sys));
	if (sys == NULL)
		return -ENOMEM;
	sys->sy_limit_pages = cfg->vy_mem_limit_bytes / HOST_PAGE_SIZE;
	host_mutex_init(&sys->sy_pageout, VM_RANK_PAGEOUT);
	host_lock_init(&sys->sy_lock, VM_RANK_LISTS);
	error = vm_swap_init(&sys->sy_swap);
	if (error != 0) {
		host_free(sys, sizeof(*sys));
		return error;
	}
	*out = sys;
	return 0;
}

void
vm_system_destroy(struct vm_system *sys)
{
	host_epoch_drain(); /* objects and accounts that are on their way out */
	HOST_ASSERT(sys->sy_spaces == NULL && sys->sy_accounts == NULL && sys->sy_clock == NULL);
	HOST_ASSERT(host_load(&sys->sy_held) == 0);
	vm_swap_destroy(&sys->sy_swap);
	host_free(sys, sizeof(*sys));
}

/* ---- Accounts -------------------------------------------------------------------------------- */

struct vm_account *
vm_account_create(struct vm_system *sys, uint64_t limit_pages)
{
	struct vm_account *const ac = host_alloc(sizeof(*ac));

	if (ac == NULL)
		return NULL;
	ac->ac_sys = sys;
	ac->ac_limit_pages = limit_pages != 0 ? limit_pages : ~(uint64_t)0;
	host_store(&ac->ac_refs, 1);
	host_lock(&sys->sy_lock);
	ac->ac_next = *vm_system_first_account(sys);
	*vm_system_first_account(sys) = ac;
	host_unlock(&sys->sy_lock);
	return ac;
}

void
vm_account_ref(struct vm_account *ac)
{
	host_fetch_add(&ac->ac_refs, 1);
}

void
vm_account_unref(struct vm_account *ac)
{
	struct vm_system *const sys = ac->ac_sys;
	struct vm_account **link;

	if (host_fetch_add(&ac->ac_refs, ~(uint64_t)0) != 1)
		return;
	HOST_ASSERT(host_load(&ac->ac_held) == 0 && host_load(&ac->ac_swapped) == 0);
	host_lock(&sys->sy_lock);
	link = vm_system_first_account(sys);
	while (*link != ac)
		link = &(*link)->ac_next;
	*link = ac->ac_next;
	host_unlock(&sys->sy_lock);
	host_free(ac, sizeof(*ac));
}

/* Adds n if the sum stays within the limit. */
static bool
raise_within(struct host_word *w, uint64_t n, uint64_t limit)
{
	uint64_t old = host_load(w);

	do {
		if (n > limit || old > limit - n)
			return false;
	} while (!host_cas(w, &old, old + n));
	return true;
}

enum vm_fault_reason
vm_charge(struct vm_account *ac, uint64_t npages)
{
	struct vm_system *const sys = ac->ac_sys;

	if (!raise_within(&ac->ac_held, npages, ac->ac_limit_pages))
		return VM_FAULT_GUEST_LIMIT;
	if (!raise_within(&sys->sy_held, npages, sys->sy_limit_pages)) {
		host_fetch_add(&ac->ac_held, -npages);
		return VM_FAULT_TOTAL_LIMIT;
	}
	return VM_FAULT_NONE;
}

void
vm_uncharge(struct vm_account *ac, uint64_t npages)
{
	host_fetch_add(&ac->ac_held, -npages);
	host_fetch_add(&ac->ac_sys->sy_held, -npages);
}

void
vm_charge_tables(struct vmspace *vs)
{
	const uint64_t now = pmap_table_pages(vs->vs_pmap);
	const uint64_t before = host_xchg(&vs->vs_tables, now);

	if (now != before)
		host_fetch_add(&vs->vs_sys->sy_held, now - before);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

uint64_t
vm_mem_total(const struct vm_system *sys)
{
	return sys->sy_limit_pages * HOST_PAGE_SIZE;
}

static void
add_account(struct vm_accounts *out, const struct vm_account *ac)
{
	out->va_resident += host_load(&ac->ac_resident);
	out->va_wired += host_load(&ac->ac_wired);
	out->va_reserved += host_load(&ac->ac_reserved);
	out->va_devmem += host_load(&ac->ac_devmem);
	out->va_swapped += host_load(&ac->ac_swapped);
}

void
vm_system_accounts(struct vm_system *sys, struct vm_accounts *out)
{
	*out = (struct vm_accounts){0};
	host_lock(&sys->sy_lock);
	for (const struct vm_account *ac = *vm_system_first_account(sys); ac != NULL;
	     ac = ac->ac_next)
		add_account(out, ac);
	for (const struct vmspace *vs = *vm_system_first_space(sys); vs != NULL; vs = vs->vs_next)
		out->va_tables += pmap_table_pages(vs->vs_pmap);
	host_unlock(&sys->sy_lock);
	host_lock(&sys->sy_swap.sw_lock);
	out->va_slots = *vm_swap_used(&sys->sy_swap);
	host_unlock(&sys->sy_swap.sw_lock);
}

uint64_t
vm_mem_free(struct vm_system *sys)
{
	struct vm_accounts va;
	uint64_t held;

	vm_system_accounts(sys, &va);
	held = va.va_resident + va.va_reserved + va.va_devmem + va.va_tables;
	return held < sys->sy_limit_pages ? (sys->sy_limit_pages - held) * HOST_PAGE_SIZE : 0;
}

void
vmspace_accounts(struct vmspace *vs, struct vm_accounts *out)
{
	*out = (struct vm_accounts){.va_tables = pmap_table_pages(vs->vs_pmap)};
	add_account(out, vs->vs_account);
}
