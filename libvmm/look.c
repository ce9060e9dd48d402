/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Looking inside a machine: the dirty log, nested page tables, accounts, statistics.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libvmm/libvmm_priv.h"

/* ---- The dirty log; execute control ---------------------------------------------------------- */

static int
dirty(struct vmctx *ctx, struct vmm_dirty *req, const char *what)
{
	const int error = vm_ioctl_quiet(ctx, VMM_DIRTY_LOG, req);

	if (error == 0)
		return 0;
	return vmm_fail(error, "machine '%s': cannot %s: %s", ctx->vx_name, what,
			error == -EBUSY	   ? "the dirty log is on already"
			: error == -ENOENT ? "the dirty log is off"
			: error == -EINVAL ? "the range is not one of whole pages"
					   : strerror(-error));
}

int
vm_dirty_enable(struct vmctx *ctx, bool all_set)
{
	struct vmm_dirty req = {.op = VMM_DIRTY_ENABLE, .flags = all_set ? VMM_DIRTY_ALL_SET : 0};

	return dirty(ctx, &req, "enable the dirty log");
}

int
vm_dirty_disable(struct vmctx *ctx)
{
	struct vmm_dirty req = {.op = VMM_DIRTY_DISABLE};

	return dirty(ctx, &req, "disable the dirty log");
}

static int
dirty_range(struct vmctx *ctx, enum vmm_dirty_op op, uint64_t gpa, uint64_t len, uintptr_t bitmap)
{
	struct vmm_dirty req = {.op = op, .gpa = gpa, .len_bytes = len, .bitmap = bitmap};

	return dirty(ctx, &req,
		     op == VMM_DIRTY_SET ? "give bits to the dirty log" : "read the dirty log");
}

int
vm_dirty_peek(struct vmctx *ctx, uint64_t gpa, uint64_t len, uint64_t *bitmap)
{
	return dirty_range(ctx, VMM_DIRTY_PEEK, gpa, len, (uintptr_t)bitmap);
}

int
vm_dirty_get(struct vmctx *ctx, uint64_t gpa, uint64_t len, uint64_t *bitmap)
{
	return dirty_range(ctx, VMM_DIRTY_GET, gpa, len, (uintptr_t)bitmap);
}

int
vm_dirty_clear(struct vmctx *ctx, uint64_t gpa, uint64_t len, uint64_t *bitmap)
{
	return dirty_range(ctx, VMM_DIRTY_CLEAR, gpa, len, (uintptr_t)bitmap);
}

int
vm_dirty_set(struct vmctx *ctx, uint64_t gpa, uint64_t len, const uint64_t *bitmap)
{
	return dirty_range(ctx, VMM_DIRTY_SET, gpa, len, (uintptr_t)bitmap);
}

int
vm_exec_control(struct vmctx *ctx, enum vmm_exec_op op)
{
	struct vmm_exec req = {.op = op};

	return vm_ioctl(ctx, VMM_EXEC_CONTROL, &req, "change how superpages execute");
}

/* ---- Page tables ----------------------------------------------------------------------------- */

int
vm_get_gpa_pmap(struct vmctx *ctx, uint64_t gpa, uint64_t entries[5], unsigned int *n)
{
	struct vmm_gpa_pmap req = {.gpa = gpa};
	const int error = vm_ioctl(ctx, VMM_GET_GPA_PMAP, &req, "walk its page tables");

	if (error)
		return error;
	*n = req.n < 5 ? req.n : 5;
	for (unsigned int i = 0; i < *n; i++)
		entries[i] = req.entries[i];
	return 0;
}

int
vm_get_page_info(struct vmctx *ctx, struct vmm_page_info *info)
{
	struct vmm_page_info req = {.gpa = info->gpa};
	const int error = vm_ioctl(ctx, VMM_PAGE_INFO, &req, "look at a page");

	if (error == 0)
		*info = req;
	return error;
}

int
vm_harvest(struct vmctx *ctx, uint64_t gpa, uint64_t len, unsigned int flags, uint64_t *bitmap,
	   uint64_t *found)
{
	struct vmm_harvest req = {
		.flags = flags, .gpa = gpa, .len_bytes = len, .bitmap = (uintptr_t)bitmap};
	const int error = vm_ioctl(ctx, VMM_HARVEST, &req, "harvest accessed or dirty bits");

	if (error == 0 && found)
		*found = req.found;
	return error;
}

int
vm_promote(struct vmctx *ctx, uint64_t gpa, unsigned int level)
{
	struct vmm_super req = {.gpa = gpa, .level = level};

	return vm_ioctl(ctx, VMM_SUPER, &req, "join pages into a superpage");
}

int
vm_demote(struct vmctx *ctx, uint64_t gpa, unsigned int level)
{
	struct vmm_super req = {.gpa = gpa, .level = level, .demote = 1};

	return vm_ioctl(ctx, VMM_SUPER, &req, "split a superpage");
}

int
vm_get_accounts(struct vmctx *ctx, struct vmm_accounts *accounts)
{
	struct vmm_accounts now = {0};
	const int error = vm_ioctl(ctx, VMM_ACCOUNTS, &now, "read its accounts");

	if (error == 0)
		*accounts = now;
	return error;
}

int
vm_check(struct vmctx *ctx)
{
	struct vmm_check check = {0};
	const int error = vm_ioctl(ctx, VMM_CHECK, &check, "verify its memory");

	if (error)
		return error;
	if (check.ok)
		return 0;
	return vmm_fail(-EUCLEAN, "machine '%s': %.*s", ctx->vx_name, (int)sizeof(check.why),
			check.why);
}

/* The tables may grow between asking how much it is and getting it. */
int
vm_dump_pmap(struct vmctx *ctx, char **text)
{
	struct vmm_dump dump = {.buf_bytes = 16384};
	char *buf = NULL;
	uint64_t room;
	int error;

	do {
		room = dump.buf_bytes + dump.buf_bytes / 4;
		free(buf);
		buf = malloc(room + 1);
		if (!buf)
			return vmm_fail(-ENOMEM, "no memory for the page tables of '%s' as text",
					ctx->vx_name);
		dump = (struct vmm_dump){.buf = (uintptr_t)buf, .buf_bytes = room};
		error = vm_ioctl(ctx, VMM_DUMP, &dump, "read its page tables");
	} while (error == 0 && dump.buf_bytes > room);
	if (error) {
		free(buf);
		return error;
	}
	buf[dump.buf_bytes] = '\0';
	*text = buf;
	return 0;
}

/* ---- Statistics ------------------------------------------------------------------------------ */

int
vm_get_stats(struct vmctx *ctx, int vcpu, struct vm_stats **stats)
{
	struct vm_stats *all = calloc(1, sizeof(*all));
	struct vmm_stats part;
	int error = all ? 0 : -ENOMEM;

	while (error == 0) {
		struct vm_stats *grown;

		part = (struct vmm_stats){.vcpu = vcpu, .first = all->n};
		error = vm_ioctl_quiet(ctx, VMM_STATS, &part);
		if (error || part.n == 0 || part.n > VMM_STATS_MAX)
			break;
		grown = realloc(all, sizeof(*all) + (all->n + part.n) * sizeof(uint64_t));
		if (!grown) {
			error = -ENOMEM;
			break;
		}
		all = grown;
		for (unsigned int i = 0; i < part.n; i++)
			all->values[all->n + i] = part.values[i];
		all->n += part.n;
		all->time_ns = part.time_ns;
	}
	if (error) {
		free(all);
		return vmm_fail(error, "machine '%s': cannot read statistics%s: %s", ctx->vx_name,
				vcpu < 0 ? "" : " of a vCPU",
				error == -ENOENT   ? "the vCPU was never activated"
				: error == -EINVAL ? "there is no such vCPU"
						   : strerror(-error));
	}
	*stats = all;
	return 0;
}

int
vm_get_stat_desc(struct vmctx *ctx, int vcpu, unsigned int index, char desc[120])
{
	struct vmm_stat_desc req = {.vcpu = vcpu, .index = index};
	const int error = vm_ioctl(ctx, VMM_STAT_DESC, &req, "name a statistic");

	if (error == 0)
		memcpy(desc, req.desc, sizeof(req.desc));
	return error;
}
