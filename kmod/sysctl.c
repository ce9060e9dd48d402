/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * hw.vmm.* (/proc/sys/hw/vmm/): bhyve's names for what the module has and does. Numbers are read
 * only; a name written to create or destroy does that.
 */

#include <linux/sysctl.h>

#include "kmod/vmm_priv.h"

/* A number that is computed when it is read. */
static int
show_number(struct ctl_table *table, u64 value, int write, void *buf, size_t *len, loff_t *pos)
{
	unsigned long number = value;
	struct ctl_table copy = {
		.procname = table->procname,
		.data = &number,
		.maxlen = sizeof(number),
		.mode = table->mode,
	};

	return write ? -EPERM : proc_doulongvec_minmax(&copy, write, buf, len, pos);
}

static int
do_mem_total(struct ctl_table *table, int write, void *buf, size_t *len, loff_t *pos)
{
	return show_number(table, vm_mem_total(vmm_system), write, buf, len, pos);
}

static int
do_mem_free(struct ctl_table *table, int write, void *buf, size_t *len, loff_t *pos)
{
	return show_number(table, vm_mem_free(vmm_system), write, buf, len, pos);
}

/* A name, in one piece; what is read is an empty line. -EINVAL also for one that is cut off. */
static int
get_name(int write, void *buf, size_t *len, loff_t *pos, char name[VMM_NAME_BYTES])
{
	char line[VMM_NAME_BYTES + 2] = "";
	struct ctl_table copy = {.data = line, .maxlen = sizeof(line), .mode = 0200};
	int error;

	if (write && (*pos != 0 || *len >= sizeof(line)))
		return -EINVAL;
	error = proc_dostring(&copy, write, buf, len, pos);
	if (error || !write)
		return error;
	return strscpy_pad(name, line, VMM_NAME_BYTES) < 0 ? -EINVAL : 0;
}

static int
do_create(struct ctl_table *table, int write, void *buf, size_t *len, loff_t *pos)
{
	struct vmm_create req = {0};
	int error;

	error = get_name(write, buf, len, pos, req.name);
	return error || !write ? error : vm_create(&req, NULL);
}

static int
do_destroy(struct ctl_table *table, int write, void *buf, size_t *len, loff_t *pos)
{
	char name[VMM_NAME_BYTES];
	int error;

	error = get_name(write, buf, len, pos, name);
	return error || !write ? error : vm_destroy_by_name(name);
}

#define NUMBER(name, field)                                                                        \
	{                                                                                          \
		.procname = name, .data = &hw_settings.field, .maxlen = sizeof(int), .mode = 0444, \
		.proc_handler = proc_dointvec,                                                     \
	}

static struct ctl_table vmm_table[] = {
	{.procname = "mem_total", .mode = 0444, .proc_handler = do_mem_total},
	{.procname = "mem_free", .mode = 0444, .proc_handler = do_mem_free},
	{.procname = "create", .mode = 0600, .proc_handler = do_create},
	{.procname = "destroy", .mode = 0600, .proc_handler = do_destroy},
	NUMBER("maxcpu", hs_maxcpu),
	{}};

static struct ctl_table ept_table[] = {NUMBER("use_superpages", hs_use_superpages),
				       NUMBER("use_hw_ad_bits", hs_use_hw_ad_bits),
				       NUMBER("use_exec_only", hs_use_exec_only),
				       NUMBER("pmap_flags", hs_ept_pmap_flags),
				       {}};

static struct ctl_table npt_table[] = {
	NUMBER("enable_superpage", hs_npt_superpage), NUMBER("pmap_flags", hs_npt_pmap_flags), {}};

static const struct {
	const char *path;
	struct ctl_table *table;
} tables[] = {
	{"hw/vmm", vmm_table},
	{"hw/vmm/ept", ept_table},
	{"hw/vmm/npt", npt_table},
};
static struct ctl_table_header *headers[ARRAY_SIZE(tables)];

void
sysctl_exit(void)
{
	size_t i;

	for (i = ARRAY_SIZE(tables); i-- > 0;) {
		if (headers[i])
			unregister_sysctl_table(headers[i]);
		headers[i] = NULL;
	}
}

int
sysctl_init(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tables); i++) {
		headers[i] = register_sysctl(tables[i].path, tables[i].table);
		if (!headers[i]) {
			sysctl_exit();
			return -ENOMEM;
		}
	}
	return 0;
}
