/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * debugfs: vmm/NAME/{pmap,stats,accounts}, for eyes. Tools ask by ioctl. Nothing depends on it:
 * where there is no debugfs, or no memory for it, it is missing.
 */

#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "host/host_linux.h"
#include "kmod/vmm_priv.h"

static struct dentry *root;

static void
put_line(void *arg, const char *line)
{
	seq_printf(arg, "%s\n", line);
}

static int
pmap_show(struct seq_file *seq, void *unused)
{
	struct vm *const vm = seq->private;

	if (!vm_call_begin(vm))
		return -ENXIO;
	pmap_dump(vm->vm_pmap, put_line, seq);
	vm_call_end(vm);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(pmap);

static void
show_vcpu(struct seq_file *seq, struct vcpu *vcpu)
{
	u64 values[VCPU_STATS];
	unsigned int i;

	stats_vcpu(vcpu, 0, VCPU_STATS, values);
	for (i = 0; i < VCPU_STATS; i++)
		seq_printf(seq, "vcpu %u: %s: %llu\n", vcpu->vc_id, stats_desc(false, i),
			   values[i]);
}

static int
stats_show(struct seq_file *seq, void *unused)
{
	struct vm *const vm = seq->private;
	u64 values[STATS_VM_MAX];
	struct vcpu *vcpu;
	unsigned int i;

	if (!vm_call_begin(vm))
		return -ENXIO;
	stats_vm(vm, values);
	for (i = 0; i < stats_count(true); i++)
		seq_printf(seq, "%s: %llu\n", stats_desc(true, i), values[i]);
	for_each_vcpu(vm, i, vcpu) show_vcpu(seq, vcpu);
	vm_call_end(vm);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

static int
accounts_show(struct seq_file *seq, void *unused)
{
	struct vm *const vm = seq->private;
	struct vmm_accounts ac;

	if (!vm_call_begin(vm))
		return -ENXIO;
	stats_accounts(vm, &ac);
	vm_call_end(vm);
	seq_printf(seq, "resident: %llu\nwired: %llu\nreserved: %llu\ndevmem: %llu\n", ac.resident,
		   ac.wired, ac.reserved_runs, ac.devmem);
	seq_printf(seq, "swapped: %llu\ntables: %llu\nmapped: %llu\nlimit: %llu\n", ac.swapped,
		   ac.tables, ac.mapped, ac.limit);
	seq_printf(seq, "leaves: %llu %llu %llu\nroot: 0x%llx\n", ac.leaves[0], ac.leaves[1],
		   ac.leaves[2], ac.eptp);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(accounts);

static int
pageout_show(struct seq_file *seq, void *unused)
{
	struct pageout_counts pc;

	pageout_counts(&pc);
	seq_printf(seq, "calls: %lu\ndropped: %lu\nskipped: %lu\nwakeups: %lu\ntaken: %lu\n",
		   pc.pc_calls, pc.pc_dropped, pc.pc_skipped, pc.pc_wakeups, pc.pc_taken);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(pageout);

static int
iommu_show(struct seq_file *seq, void *unused)
{
	seq_printf(seq, "domains: %ld\n", host_linux_iommu_domains());
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(iommu);

/* Both under vmm_list_lock. Removing waits for those who are reading. */
void
debugfs_vm_add(struct vm *vm)
{
	struct dentry *const dir = debugfs_create_dir(vm->vm_name, root);

	debugfs_create_file("pmap", 0400, dir, vm, &pmap_fops);
	debugfs_create_file("stats", 0400, dir, vm, &stats_fops);
	debugfs_create_file("accounts", 0400, dir, vm, &accounts_fops);
	vm->vm_debugfs = dir;
}

void
debugfs_vm_remove(struct vm *vm)
{
	debugfs_remove_recursive(vm->vm_debugfs);
	vm->vm_debugfs = NULL;
}

int
debugfs_init(void)
{
	root = debugfs_create_dir("vmm", NULL);
	debugfs_create_file("pageout", 0400, root, NULL, &pageout_fops);
	selfbench_add(root);
	debugfs_create_file("iommu", 0400, root, NULL, &iommu_fops);
	return 0;
}

void
debugfs_exit(void)
{
	debugfs_remove_recursive(root);
	selfbench_forget();
}
