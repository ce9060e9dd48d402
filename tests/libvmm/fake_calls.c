/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Calls of the fake kernel, as kmod/uapi/vmm.h describes them. A table leads from number to
 * function.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_priv.h"

#define PAGE 4096u
#define ALIGNED(x) ((x) % PAGE == 0)

/* ---- /dev/vmmctl ----------------------------------------------------------------------------- */

static int
ctl_create(int fd, const struct vmm_create *req)
{
	if (req->flags & ~VMM_CREATE_DESTROY_ON_CLOSE || req->maxcpu > FK_CPUS)
		return EINVAL;
	if (fk_find(req->name))
		return EEXIST;
	for (int i = 0; i < FK_MACHINES; i++) {
		struct fk_machine *const m = &fk_machine[i];

		if (m->used)
			continue;
		m->used = true;
		memcpy(m->name, req->name, sizeof(m->name));
		m->how = *req;
		m->owner_fd = req->flags & VMM_CREATE_DESTROY_ON_CLOSE ? fd : -1;
		return 0;
	}
	return ENOMEM;
}

static int
ctl_next(struct vmm_next *req)
{
	const struct fk_machine *best = NULL;

	for (int i = 0; i < FK_MACHINES; i++) {
		const struct fk_machine *const m = &fk_machine[i];

		if (m->used && strcmp(m->name, req->name) > 0 &&
		    (!best || strcmp(m->name, best->name) < 0))
			best = m;
	}
	if (!best)
		return ENOENT;
	memcpy(req->name, best->name, sizeof(req->name));
	return 0;
}

int
fk_ctl_call(int fd, unsigned long cmd, void *arg)
{
	struct vmm_version *const version = arg;
	struct fk_machine *m;

	switch (cmd) {
	case VMMCTL_VERSION:
		*version = (struct vmm_version){
			.abi = fk.fk_abi, .cpu_kind = fk.fk_kind, .maxcpu = FK_CPUS};
		strcpy(version->release, "fake");
		return 0;
	case VMMCTL_CREATE:
		return ctl_create(fd, arg);
	case VMMCTL_DESTROY:
		m = fk_find(((struct vmm_destroy *)arg)->name);
		if (m)
			fk_end(m);
		return m ? 0 : ENOENT;
	case VMMCTL_NEXT:
		return ctl_next(arg);
	default:
		return ENOTTY;
	}
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static int
alloc_memseg(struct fk_machine *m, void *arg)
{
	const struct vmm_memseg *const req = arg;
	struct fk_seg *seg;

	if (req->ident < 0 || req->ident >= FK_SEGS || req->len_bytes == 0 ||
	    !ALIGNED(req->len_bytes))
		return EINVAL;
	seg = &m->segs[req->ident];
	if (seg->len_bytes)
		return seg->len_bytes == req->len_bytes && strcmp(seg->name, req->name) == 0
			       ? EEXIST
			       : EINVAL;
	for (int i = 0; i < FK_SEGS && req->name[0]; i++) {
		if (m->segs[i].len_bytes && strcmp(m->segs[i].name, req->name) == 0)
			return EEXIST;
	}
	seg->fd = memfd_create("segment", MFD_CLOEXEC);
	if (seg->fd < 0 || ftruncate(seg->fd, (off_t)req->len_bytes) != 0)
		return ENOMEM;
	seg->len_bytes = req->len_bytes;
	memcpy(seg->name, req->name, sizeof(seg->name));
	return 0;
}

static int
get_memseg(struct fk_machine *m, void *arg)
{
	struct vmm_memseg *const req = arg;

	if (req->ident < 0 || req->ident > 65535)
		return EINVAL;
	if (req->ident >= FK_SEGS)
		return 0;
	req->len_bytes = m->segs[req->ident].len_bytes;
	memcpy(req->name, m->segs[req->ident].name, sizeof(req->name));
	return 0;
}

static int
mmap_memseg(struct fk_machine *m, void *arg)
{
	const struct vmm_memmap *const req = arg;
	int slot = -1;

	if (req->ident < 0 || req->ident >= FK_SEGS || req->prot == 0 || req->prot > 7 ||
	    req->flags & ~VMM_MEMMAP_WIRED || req->len_bytes == 0 || !ALIGNED(req->gpa) ||
	    !ALIGNED(req->len_bytes) || !ALIGNED(req->segoff_bytes) ||
	    req->segoff_bytes + req->len_bytes > m->segs[req->ident].len_bytes)
		return EINVAL;
	for (int i = 0; i < FK_MAPS; i++) {
		const struct fk_map *const map = &m->maps[i];

		if (map->len_bytes == 0)
			slot = slot < 0 ? i : slot;
		else if (map->gpa < req->gpa + req->len_bytes &&
			 req->gpa < map->gpa + map->len_bytes)
			return EFAULT;
	}
	if (slot < 0)
		return ENOSPC;
	m->maps[slot] = (struct fk_map){.gpa = req->gpa,
					.len_bytes = req->len_bytes,
					.segoff_bytes = req->segoff_bytes,
					.ident = req->ident,
					.prot = req->prot,
					.flags = req->flags};
	return 0;
}

static struct fk_map *
exactly(struct fk_machine *m, const struct vmm_range *range)
{
	for (int i = 0; i < FK_MAPS; i++) {
		if (m->maps[i].len_bytes && m->maps[i].gpa == range->gpa &&
		    m->maps[i].len_bytes == range->len_bytes)
			return &m->maps[i];
	}
	return NULL;
}

static int
munmap_memseg(struct fk_machine *m, void *arg)
{
	struct fk_map *const map = exactly(m, arg);

	if (!map)
		return EINVAL;
	map->len_bytes = 0;
	return 0;
}

static int
protect(struct fk_machine *m, void *arg)
{
	const struct vmm_range *const range = arg;
	struct fk_map *const map = exactly(m, range);

	if (!map || range->prot == 0 || range->prot > 7)
		return EINVAL;
	map->prot = range->prot;
	return 0;
}

static int
wire(struct fk_machine *m, void *arg)
{
	struct fk_map *const map = exactly(m, arg);

	if (!map)
		return EINVAL;
	map->flags = VMM_MEMMAP_WIRED;
	return 0;
}

static int
unwire(struct fk_machine *m, void *arg)
{
	struct fk_map *const map = exactly(m, arg);

	if (!map)
		return EINVAL;
	map->flags = 0;
	return 0;
}

static int
getnext(struct fk_machine *m, void *arg)
{
	struct vmm_memmap *const req = arg;
	const struct fk_map *best = NULL;

	for (int i = 0; i < FK_MAPS; i++) {
		const struct fk_map *const map = &m->maps[i];

		if (map->len_bytes && map->gpa >= req->gpa && (!best || map->gpa < best->gpa))
			best = map;
	}
	if (!best)
		return ENOENT;
	*req = (struct vmm_memmap){.gpa = best->gpa,
				   .len_bytes = best->len_bytes,
				   .ident = best->ident,
				   .prot = best->prot,
				   .segoff_bytes = best->segoff_bytes,
				   .flags = best->flags};
	return 0;
}

static int
discard(struct fk_machine *m, void *arg)
{
	const struct vmm_range *const range = arg;

	return fk_map_at(m, range->gpa) && ALIGNED(range->gpa) ? 0 : EINVAL;
}

static int
pageout(struct fk_machine *m, void *arg)
{
	struct vmm_pageout *const req = arg;

	(void)m;
	req->npages = req->npages < 7 ? req->npages : 7;
	return 0;
}

/* ---- The dirty log --------------------------------------------------------------------------- */

static int
dirty(struct fk_machine *m, void *arg)
{
	const struct vmm_dirty *const req = arg;
	uint64_t *const bitmap = (uint64_t *)(uintptr_t)req->bitmap;

	if (req->op == VMM_DIRTY_ENABLE) {
		if (m->log)
			return EBUSY;
		m->log = true;
		memset(m->logged, req->flags & VMM_DIRTY_ALL_SET ? 0xff : 0, sizeof(m->logged));
		return 0;
	}
	if (!m->log)
		return ENOENT;
	if (req->op == VMM_DIRTY_DISABLE) {
		m->log = false;
		return 0;
	}
	if (req->gpa != 0 || !ALIGNED(req->len_bytes) || req->len_bytes > 256 * PAGE)
		return EINVAL;
	for (uint64_t i = 0; i < req->len_bytes / PAGE / 64; i++) {
		if (req->op == VMM_DIRTY_SET)
			m->logged[i] |= bitmap[i];
		else
			bitmap[i] = m->logged[i];
		if (req->op == VMM_DIRTY_CLEAR)
			m->logged[i] = 0;
	}
	return 0;
}

static int
exec_control(struct fk_machine *m, void *arg)
{
	const struct vmm_exec *const req = arg;

	(void)m;
	return req->op >= VMM_EXEC_NX_SUPERPAGES_ON && req->op <= VMM_EXEC_RECOVER ? 0 : EINVAL;
}

/* ---- Looking inside -------------------------------------------------------------------------- */

static int
gpa_pmap(struct fk_machine *m, void *arg)
{
	struct vmm_gpa_pmap *const req = arg;

	(void)m;
	req->n = 3;
	for (unsigned int i = 0; i < 3; i++)
		req->entries[i] = req->gpa + i;
	return 0;
}

static int
page_info(struct fk_machine *m, void *arg)
{
	struct vmm_page_info *const req = arg;

	if (!fk_map_at(m, req->gpa))
		return EFAULT;
	req->flags = VMM_PAGE_RESIDENT;
	return 0;
}

static int
harvest(struct fk_machine *m, void *arg)
{
	struct vmm_harvest *const req = arg;

	(void)m;
	*(uint64_t *)(uintptr_t)req->bitmap = 0x5;
	req->found = 2;
	return 0;
}

static int
super(struct fk_machine *m, void *arg)
{
	const struct vmm_super *const req = arg;

	(void)m;
	return req->level == 1 ? 0 : req->demote ? ENOENT : EBUSY;
}

static int
accounts(struct fk_machine *m, void *arg)
{
	*(struct vmm_accounts *)arg = (struct vmm_accounts){.resident = 10,
							    .tables = 4,
							    .limit = m->how.mem_limit_bytes / PAGE,
							    .eptp = 0x1234};
	return 0;
}

static int
check(struct fk_machine *m, void *arg)
{
	struct vmm_check *const req = arg;

	(void)m;
	req->ok = !fk.fk_broken;
	if (fk.fk_broken)
		snprintf(req->why, sizeof(req->why), "%s", fk.fk_broken);
	return 0;
}

static int
dump(struct fk_machine *m, void *arg)
{
	struct vmm_dump *const req = arg;
	const size_t need = strlen(fk.fk_dump);

	(void)m;
	memcpy((void *)(uintptr_t)req->buf, fk.fk_dump,
	       need < req->buf_bytes ? need : req->buf_bytes);
	req->buf_bytes = need;
	return 0;
}

static bool
vcpu_exists(const struct fk_machine *m, int id, int *error)
{
	*error = id < 0 || id >= FK_CPUS ? EINVAL : m->cpus[id].active ? 0 : ENOENT;
	return *error == 0;
}

static int
stats(struct fk_machine *m, void *arg)
{
	struct vmm_stats *const req = arg;
	int error;

	if (req->vcpu != -1 && !vcpu_exists(m, req->vcpu, &error))
		return error;
	req->n = 0;
	while (req->n < VMM_STATS_MAX && req->first + req->n < FK_STATS) {
		req->values[req->n] = 100 * (uint64_t)(req->first + req->n);
		req->n++;
	}
	req->time_ns = 5;
	return 0;
}

static int
stat_desc(struct fk_machine *m, void *arg)
{
	struct vmm_stat_desc *const req = arg;

	(void)m;
	if (req->index >= FK_STATS)
		return ENOENT;
	snprintf(req->desc, sizeof(req->desc), "statistic %u", req->index);
	return 0;
}

/* ---- vCPUs ----------------------------------------------------------------------------------- */

static int
get_regs(struct fk_machine *m, void *arg)
{
	struct vmm_regs *const req = arg;

	for (unsigned int i = 0; i < req->n; i++) {
		if (req->regs[i] >= VMM_REG_COUNT)
			return EINVAL;
		req->values[i] = m->cpus[req->vcpu].regs[req->regs[i]];
	}
	return 0;
}

static int
set_regs(struct fk_machine *m, void *arg)
{
	const struct vmm_regs *const req = arg;

	for (unsigned int i = 0; i < req->n; i++) {
		if (req->regs[i] >= VMM_REG_COUNT ||
		    (req->regs[i] == VMM_REG_CR0 && req->values[i] >> 32))
			return EINVAL;
	}
	for (unsigned int i = 0; i < req->n; i++)
		m->cpus[req->vcpu].regs[req->regs[i]] = req->values[i];
	return 0;
}

static int
get_desc(struct fk_machine *m, void *arg)
{
	struct vmm_desc *const req = arg;

	if (req->reg < VMM_REG_ES || req->reg > VMM_REG_IDTR)
		return EINVAL;
	*req = m->cpus[req->vcpu].descs[req->reg];
	return 0;
}

static int
set_desc(struct fk_machine *m, void *arg)
{
	const struct vmm_desc *const req = arg;

	if (req->reg < VMM_REG_ES || req->reg > VMM_REG_IDTR)
		return EINVAL;
	m->cpus[req->vcpu].descs[req->reg] = *req;
	return 0;
}

/* Every field reads as its own number, until the exception bitmap was set. */
static int
get_field(struct fk_machine *m, void *arg)
{
	struct vmm_field *const req = arg;
	const uint64_t set = m->cpus[req->vcpu].field_value;

	req->value = req->field == 0x4004 && set ? set : req->field;
	return 0;
}

static int
set_field(struct fk_machine *m, void *arg)
{
	const struct vmm_field *const req = arg;

	if (req->field != 0x4004)
		return EINVAL;
	m->cpus[req->vcpu].field_value = req->value;
	return 0;
}

static int
get_capability(struct fk_machine *m, void *arg)
{
	struct vmm_capability *const req = arg;

	if (req->cap >= VMM_CAP_COUNT)
		return EINVAL;
	req->value = m->cpus[req->vcpu].caps[req->cap];
	return 0;
}

static int
set_capability(struct fk_machine *m, void *arg)
{
	const struct vmm_capability *const req = arg;

	if (req->cap >= VMM_CAP_COUNT || req->cap == VMM_CAP_UNRESTRICTED_GUEST)
		return EINVAL;
	if (req->cap == VMM_CAP_PREEMPT_TIMER && fk.fk_kind == VMM_CPU_SVM)
		return EOPNOTSUPP;
	m->cpus[req->vcpu].caps[req->cap] = req->value;
	return 0;
}

static int
inject(struct fk_machine *m, void *arg)
{
	const struct vmm_inject *const req = arg;
	struct fk_cpu *const cpu = &m->cpus[req->vcpu];

	if (req->event != VMM_EVENT_EXCEPTION)
		return req->event == VMM_EVENT_NMI && req->vector ? EINVAL : 0;
	if ((req->vector == 13) != (req->flags == VMM_EVENT_HAS_ERROR))
		return EINVAL;
	if (cpu->exception)
		return EBUSY;
	cpu->exception = true;
	return 0;
}

static int
get_intinfo(struct fk_machine *m, void *arg)
{
	struct vmm_intinfo *const req = arg;

	req->exit_intinfo = 0;
	req->event_intinfo = m->cpus[req->vcpu].exception ? 0x80000b0d : 0;
	return 0;
}

static int
activate(struct fk_machine *m, void *arg)
{
	const struct vmm_cpu *const req = arg;
	struct fk_cpu *cpu;

	if (req->vcpu < 0 || req->vcpu >= FK_CPUS)
		return EINVAL;
	cpu = &m->cpus[req->vcpu];
	if (cpu->active)
		return EBUSY;
	cpu->active = true;
	cpu->regs[VMM_REG_RFLAGS] = 2;
	cpu->caps[VMM_CAP_HALT_EXIT] = 1;
	for (uint32_t reg = 0; reg < VMM_REG_COUNT; reg++)
		cpu->descs[reg] = (struct vmm_desc){.vcpu = req->vcpu, .reg = reg, .limit = 0xffff};
	return 0;
}

static int
get_cpus(struct fk_machine *m, void *arg)
{
	struct vmm_cpus *const req = arg;

	for (unsigned int i = 0; i < FK_CPUS; i++)
		req->active |= (uint64_t)m->cpus[i].active << i;
	req->how = m->suspend;
	req->suspended = m->suspend ? req->active : 0;
	return 0;
}

static int
run(struct fk_machine *m, void *arg)
{
	struct vmm_run *const req = arg;

	(void)m;
	req->exit = fk.fk_exit;
	return 0;
}

static int
suspend(struct fk_machine *m, void *arg)
{
	const struct vmm_cpu *const req = arg;

	if (req->vcpu || req->how == VMM_SUSPEND_NONE || req->how > VMM_SUSPEND_TRIPLEFAULT)
		return EINVAL;
	if (m->suspend)
		return EALREADY;
	m->suspend = req->how;
	return 0;
}

static int
reinit(struct fk_machine *m, void *arg)
{
	(void)arg;
	if (!m->suspend)
		return EBUSY;
	m->suspend = 0;
	return 0;
}

/* Linear 0x1000 more than physical; beyond 1 GiB the guest maps nothing. */
static int
gla2gpa(struct fk_machine *m, void *arg)
{
	struct vmm_gla *const req = arg;

	(void)m;
	req->fault = req->gla >= 1u << 30;
	req->gpa = req->fault ? 0 : req->gla - 0x1000;
	req->vector = req->fault ? 14 : 0;
	return 0;
}

static int
copy(struct fk_machine *m, void *arg)
{
	struct vmm_copy *const req = arg;
	void *const buf = (void *)(uintptr_t)req->buf;
	const struct fk_map *const map = fk_map_at(m, req->gla - 0x1000);
	off_t at;
	ssize_t n;

	if (req->len_bytes > VMM_COPY_BYTES_MAX)
		return EINVAL;
	req->fault = req->gla >= 1u << 30;
	if (req->fault)
		return 0;
	if (!map)
		return EFAULT;
	at = (off_t)(req->gla - 0x1000 - map->gpa + map->segoff_bytes);
	n = req->flags & VMM_COPY_OUT ? pwrite(m->segs[map->ident].fd, buf, req->len_bytes, at)
				      : pread(m->segs[map->ident].fd, buf, req->len_bytes, at);
	return n == (ssize_t)req->len_bytes ? 0 : EFAULT;
}

/* ---- The table ------------------------------------------------------------------------------- */

static const struct {
	unsigned long cmd;
	int (*call)(struct fk_machine *m, void *arg);
	bool vcpu; /* begins with the number of one that must exist */
} table[] = {
	{VMM_ALLOC_MEMSEG, alloc_memseg, false},
	{VMM_GET_MEMSEG, get_memseg, false},
	{VMM_MMAP_MEMSEG, mmap_memseg, false},
	{VMM_MUNMAP_MEMSEG, munmap_memseg, false},
	{VMM_MMAP_GETNEXT, getnext, false},
	{VMM_PROTECT_MEMMAP, protect, false},
	{VMM_WIRE_MEMMAP, wire, false},
	{VMM_UNWIRE_MEMMAP, unwire, false},
	{VMM_DISCARD, discard, false},
	{VMM_PAGEOUT, pageout, false},
	{VMM_DIRTY_LOG, dirty, false},
	{VMM_EXEC_CONTROL, exec_control, false},
	{VMM_GET_GPA_PMAP, gpa_pmap, false},
	{VMM_PAGE_INFO, page_info, false},
	{VMM_HARVEST, harvest, false},
	{VMM_SUPER, super, false},
	{VMM_ACCOUNTS, accounts, false},
	{VMM_CHECK, check, false},
	{VMM_DUMP, dump, false},
	{VMM_STATS, stats, false},
	{VMM_STAT_DESC, stat_desc, false},
	{VMM_GET_REGS, get_regs, true},
	{VMM_SET_REGS, set_regs, true},
	{VMM_GET_DESC, get_desc, true},
	{VMM_SET_DESC, set_desc, true},
	{VMM_GET_FIELD, get_field, true},
	{VMM_SET_FIELD, set_field, true},
	{VMM_GET_CAPABILITY, get_capability, true},
	{VMM_SET_CAPABILITY, set_capability, true},
	{VMM_INJECT, inject, true},
	{VMM_GET_INTINFO, get_intinfo, true},
	{VMM_ACTIVATE_CPU, activate, false},
	{VMM_GET_CPUS, get_cpus, false},
	{VMM_RUN, run, true},
	{VMM_SUSPEND, suspend, false},
	{VMM_REINIT, reinit, false},
	{VMM_GLA2GPA, gla2gpa, true},
	{VMM_COPY, copy, true},
};

int
fk_machine_call(struct fk_machine *m, unsigned long cmd, void *arg)
{
	int error = fk_platform_call(m, cmd, arg);

	if (error >= 0)
		return error;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].cmd != cmd)
			continue;
		if (table[i].vcpu && !vcpu_exists(m, *(const int32_t *)arg, &error))
			return error;
		return table[i].call(m, arg);
	}
	return ENOTTY;
}
