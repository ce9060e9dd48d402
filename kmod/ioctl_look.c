/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Calls that look inside: page tables, pages, accounts, audits, statistics.
 */

#include <linux/capability.h>
#include <linux/ktime.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kmod/vmm_priv.h"

int
ioctl_get_gpa_pmap(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_gpa_pmap *const out = arg;
	pt_entry_t entries[PT_LEVELS_MAX];
	unsigned int i, n = 0;
	int error;

	BUILD_BUG_ON(ARRAY_SIZE(entries) > ARRAY_SIZE(out->entries));
	error = pmap_walk(vm->vm_pmap, out->gpa & PAGE_MASK, entries, &n);
	if (error)
		return error;
	memset(out->entries, 0, sizeof(out->entries));
	for (i = 0; i < n; i++)
		out->entries[i] = entries[i];
	out->n = n;
	return 0;
}

int
ioctl_page_info(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_page_info *const out = arg;
	struct vm_page_info info = {0};
	int error;

	error = vmspace_page_info(vm->vm_space, out->gpa & PAGE_MASK, &info);
	if (error)
		return error;
	*out = (struct vmm_page_info){
		.gpa = out->gpa,
		.flags = (info.pi_resident ? VMM_PAGE_RESIDENT : 0) |
			 (info.pi_dirty ? VMM_PAGE_DIRTY : 0) |
			 (info.pi_swapped ? VMM_PAGE_SWAPPED : 0) |
			 (info.pi_logged ? VMM_PAGE_LOGGED : 0) |
			 (info.pi_busy ? VMM_PAGE_BUSY : 0),
		.holds = info.pi_holds,
		.write_holds = info.pi_write_holds,
		.wirings = info.pi_wirings,
		.hpa = info.pi_resident && capable(CAP_SYS_ADMIN) ? info.pi_hpa : 0,
	};
	return 0;
}

/* ---- What the tables collected, and what they are made of ------------------------------------ */

/* Of a range, at most: bitmaps of 1 MiB. */
#define HARVEST_PAGES_MAX (8ull << 20)

int
ioctl_harvest(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_harvest *const h = arg;
	const u64 npages = h->len_bytes >> PAGE_SHIFT;
	const size_t bytes = BITS_TO_U64(npages) * sizeof(u64);
	uint64_t found = 0;
	u64 *bitmap;
	int error;

	if (h->flags & ~(VMM_HARVEST_ACCESSED | VMM_HARVEST_PEEK) || !PAGE_ALIGNED(h->gpa) ||
	    !PAGE_ALIGNED(h->len_bytes) || npages > HARVEST_PAGES_MAX)
		return -EINVAL;
	bitmap = kvzalloc(max_t(size_t, bytes, sizeof(u64)), GFP_KERNEL_ACCOUNT);
	if (!bitmap)
		return -ENOMEM;
	percpu_down_read(&vmm_quiet);
	error = vm_harvest(
		vm->vm_space, h->gpa, h->len_bytes,
		(h->flags & VMM_HARVEST_ACCESSED ? PMAP_HARVEST_ACCESSED : PMAP_HARVEST_MODIFIED) |
			(h->flags & VMM_HARVEST_PEEK ? PMAP_HARVEST_PEEK : 0),
		bitmap, &found);
	percpu_up_read(&vmm_quiet);
	h->found = found;
	if (!error && copy_to_user(u64_to_user_ptr(h->bitmap), bitmap, bytes))
		error = -EFAULT;
	kvfree(bitmap);
	return error;
}

int
ioctl_super(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_super *const s = arg;

	if (s->level < 1 || s->level >= PT_LEAF_LEVELS_MAX || s->demote > 1)
		return -EINVAL;
	return s->demote ? vm_demote(vm->vm_space, s->gpa, s->level)
			 : vm_promote(vm->vm_space, s->gpa, s->level);
}

int
ioctl_accounts(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	stats_accounts(vm, arg);
	return 0;
}

/* All is still: vCPUs frozen, and nobody, of any machine, pages. */
int
ioctl_check(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_check *const check = arg;
	int error;

	error = pmap_check(vm->vm_pmap, check->why, sizeof(check->why));
	if (!error)
		error = vmspace_check(vm->vm_space, check->why, sizeof(check->why));
	check->ok = !error;
	if (check->ok)
		memset(check->why, 0, sizeof(check->why));
	return 0;
}

/* ---- The tables as text ---------------------------------------------------------------------- */

struct text {
	char *tx_buf;
	u64 tx_room;
	u64 tx_need; /* of all lines, the final 0 not counted */
};

static void
put_line(void *arg, const char *line)
{
	struct text *const tx = arg;
	const size_t len = strlen(line);

	if (tx->tx_need + len + 1 <= tx->tx_room) {
		memcpy(tx->tx_buf + tx->tx_need, line, len);
		tx->tx_buf[tx->tx_need + len] = '\n';
	}
	tx->tx_need += len + 1;
}

#define DUMP_BYTES_MAX (64ull << 20)

/* Maps stand still; pages may come and go, and the next call may need more room. */
int
ioctl_dump(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_dump *const dump = arg;
	struct text tx = {.tx_room = min(dump->buf_bytes, DUMP_BYTES_MAX)};
	int error = 0;

	tx.tx_buf = kvzalloc(max_t(u64, tx.tx_room, 1), GFP_KERNEL_ACCOUNT);
	if (!tx.tx_buf)
		return -ENOMEM;
	pmap_dump(vm->vm_pmap, put_line, &tx);
	dump->buf_bytes = tx.tx_need;
	if (copy_to_user(u64_to_user_ptr(dump->buf), tx.tx_buf, min(tx.tx_need, tx.tx_room)))
		error = -EFAULT;
	kvfree(tx.tx_buf);
	return error;
}

/* ---- Statistics ------------------------------------------------------------------------------ */

/* -1: the machine. Otherwise an active vCPU. */
static int
stats_of(struct vm *vm, s32 id, struct vcpu **vcpu)
{
	*vcpu = NULL;
	if (id == -1)
		return 0;
	if (id < 0 || id >= (s32)vm->vm_maxcpu)
		return -EINVAL;
	*vcpu = vm_vcpu(vm, id);
	return *vcpu ? 0 : -ENOENT;
}

int
ioctl_stats(struct vm *vm, struct vcpu *unused, void *arg)
{
	struct vmm_stats *const st = arg;
	const unsigned int count = stats_count(st->vcpu == -1);
	u64 all[STATS_VM_MAX];
	struct vcpu *vcpu;
	int error;

	error = stats_of(vm, st->vcpu, &vcpu);
	if (error)
		return error;
	st->n = st->first < count ? min(count - st->first, (unsigned int)VMM_STATS_MAX) : 0;
	st->time_ns = ktime_get_ns();
	memset(st->values, 0, sizeof(st->values));
	if (st->n == 0)
		return 0;
	if (vcpu) {
		stats_vcpu(vcpu, st->first, st->n, st->values);
	} else {
		stats_vm(vm, all);
		memcpy(st->values, all + st->first, st->n * sizeof(u64));
	}
	return 0;
}

/* The words are the same for every vCPU; it need not be active. */
int
ioctl_stat_desc(struct vm *vm, struct vcpu *unused, void *arg)
{
	struct vmm_stat_desc *const sd = arg;
	const char *desc;

	if (sd->vcpu < -1 || sd->vcpu >= (s32)vm->vm_maxcpu)
		return -EINVAL;
	desc = stats_desc(sd->vcpu == -1, sd->index);
	if (!desc)
		return -ENOENT;
	strscpy_pad(sd->desc, desc, sizeof(sd->desc));
	return 0;
}
