/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * debugfs: vmm/selfbench, the inner loops of the core where they will run: in the kernel, on this
 * processor, on a private pmap that no guest uses. What is mapped is not memory; nobody looks.
 *
 * Writing a number of MiB runs all loops over that much and keeps the results; reading gives them,
 * a JSON object a line. A write that fails, or that a signal ends, keeps those of before. Times
 * mean something on hardware; counts are the same everywhere, and tests look at those.
 */

#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/hardirq.h>

#include "host/host_linux.h"
#include "kmod/vmm_priv.h"

#define FRAMES (4ull << 30)
#define SUPER_BYTES (2ull << 20)
#define MIB_MAX 1024
#define SPARSE 64      /* every so many pages: dirty */
#define SINGLES 256    /* unmaps of one page */
#define ENTRIES 100000 /* guest entries without an invalidation */
#define ROWS_MAX 16
#define CHUNK 512 /* pages between two looks whether to go on */

struct row {
	const char *ro_name;
	u64 ro_units;
	u64 ro_ns;
	u64 ro_found; /* what the loop itself counted, or noted */
	struct pmap_stats ro_before;
	struct pmap_stats ro_after;
};

struct selfbench {
	struct pmap *sb_pm;
	u64 sb_npages;
	u64 sb_noted; /* pages whose M left the tables */
	unsigned long *sb_bitmap;
	unsigned int sb_mib;
	unsigned int sb_cpu;
	unsigned int sb_nrows;
	struct row sb_rows[ROWS_MAX];
};

static DEFINE_MUTEX(running); /* and what is kept */
static struct selfbench *kept;

/* ---- Rows ------------------------------------------------------------------------------------ */

static struct row *
row_begin(struct selfbench *sb, const char *name, u64 units)
{
	struct row *const ro = &sb->sb_rows[sb->sb_nrows++];

	ro->ro_name = name;
	ro->ro_units = units;
	ro->ro_found = sb->sb_noted;
	pmap_stats(sb->sb_pm, &ro->ro_before);
	ro->ro_ns = ktime_get_ns();
	return ro;
}

/* Unless the loop brought a count of its own: what was noted meanwhile. */
static void
row_end(struct selfbench *sb, struct row *ro)
{
	ro->ro_ns = ktime_get_ns() - ro->ro_ns;
	ro->ro_found = sb->sb_noted - ro->ro_found;
	pmap_stats(sb->sb_pm, &ro->ro_after);
}

static void
note(void *arg, const struct pmap_leaf *leaf)
{
	struct selfbench *const sb = arg;

	if (leaf->pl_modified)
		sb->sb_noted += 1ull << 9 * leaf->pl_level;
}

static int
enter(struct selfbench *sb, u64 page, unsigned int level, unsigned int access)
{
	const struct pmap_mapping m = {
		.pa_gpa = page << PAGE_SHIFT,
		.pa_hpa = FRAMES + (page << PAGE_SHIFT),
		.pa_prot = PMAP_PROT_RW,
		.pa_access = access,
		.pa_level = level,
	};

	return pmap_enter(sb->sb_pm, &m);
}

/* Every step-th page of n from `first` on, as a fault enters it. */
static int
enter_pages(struct selfbench *sb, u64 first, u64 n, u64 step, unsigned int access)
{
	u64 i;

	for (i = 0; i < n; i += step) {
		const int error = enter(sb, first + i, 0, access);

		if (error)
			return error;
		if (i % CHUNK == 0) {
			if (fatal_signal_pending(current))
				return -EINTR;
			cond_resched();
		}
	}
	return 0;
}

static int
remove_pages(struct selfbench *sb, u64 first, u64 n)
{
	struct pmap_gather g;
	int error;

	pmap_gather_begin(&g, sb->sb_pm);
	error = pmap_remove(sb->sb_pm, first << PAGE_SHIFT, (first + n) << PAGE_SHIFT, &g);
	pmap_gather_finish(&g);
	return error;
}

static int
run_faults(struct selfbench *sb)
{
	struct row *const ro = row_begin(sb, "fault.seq", sb->sb_npages);
	const int error = enter_pages(sb, 0, sb->sb_npages, 1, PMAP_PROT_RW);

	row_end(sb, ro);
	return error;
}

static int
run_harvest(struct selfbench *sb, const char *name)
{
	struct pmap_gather g;
	struct row *ro;
	u64 found = 0;
	int error;

	memset(sb->sb_bitmap, 0, sb->sb_npages / 8);
	ro = row_begin(sb, name, sb->sb_npages);
	pmap_gather_begin(&g, sb->sb_pm);
	error = pmap_harvest(sb->sb_pm, 0, sb->sb_npages << PAGE_SHIFT, PMAP_HARVEST_MODIFIED,
			     (uint64_t *)sb->sb_bitmap, &found, &g);
	pmap_gather_finish(&g);
	row_end(sb, ro);
	ro->ro_found = found;
	return error;
}

static int
run_harvests(struct selfbench *sb)
{
	int error = run_harvest(sb, "harvest.dense");

	if (!error)
		error = run_harvest(sb, "harvest.none");
	if (!error)
		error = enter_pages(sb, 0, sb->sb_npages, SPARSE, PMAP_PROT_RW);
	return error ? error : run_harvest(sb, "harvest.sparse");
}

static int
run_unmap(struct selfbench *sb)
{
	struct row *const ro = row_begin(sb, "unmap.4k", sb->sb_npages);
	const int error = remove_pages(sb, 0, sb->sb_npages);

	row_end(sb, ro);
	return error;
}

static int
run_super(struct selfbench *sb)
{
	const u64 n = sb->sb_npages >> 9;
	struct row *ro;
	u64 i;
	int error = 0;

	if (!(vmm_ept_cpu.ec_flags & PMAP_PDE_SUPERPAGE))
		return 0;
	ro = row_begin(sb, "map.2m", n);
	for (i = 0; i < n && !error; i++)
		error = enter(sb, i << 9, 1, PMAP_PROT_RW);
	row_end(sb, ro);
	if (error)
		return error;
	ro = row_begin(sb, "unmap.2m", n);
	error = remove_pages(sb, 0, sb->sb_npages);
	row_end(sb, ro);
	return error;
}

/* Nothing here needs a flush: new pages, the same again, pages that were never touched. */
static int
run_elide(struct selfbench *sb)
{
	struct row *const ro = row_begin(sb, "inv.elide", SINGLES);
	int error = 0;
	u64 i;

	for (i = 0; i < SINGLES && !error; i++) {
		error = enter(sb, i, 0, 0);
		if (!error)
			error = enter(sb, i, 0, 0);
		if (!error)
			error = remove_pages(sb, i, 1);
	}
	row_end(sb, ro);
	return error;
}

/* Page by page, a gather each. */
static int
run_singles(struct selfbench *sb, const char *name)
{
	struct row *ro;
	int error = enter_pages(sb, 0, SINGLES, 1, PMAP_PROT_RW);
	u64 i;

	if (error)
		return error;
	ro = row_begin(sb, name, SINGLES);
	for (i = 0; i < SINGLES && !error; i++)
		error = remove_pages(sb, i, 1);
	row_end(sb, ro);
	return error;
}

/* ---- CPUs on the pmap ------------------------------------------------------------------------ */

static void
run_entries(struct selfbench *sb, struct pmap_slot *s)
{
	struct row *ro;
	unsigned int i;

	pmap_slot_attach(sb->sb_pm, s);
	ro = row_begin(sb, "inv.entry", ENTRIES);
	for (i = 0; i < ENTRIES; i++) {
		local_irq_disable();
		if (pmap_guest_enter(sb->sb_pm, s)) {
			pmap_guest_flushed(s);
			ro->ro_found--; /* row_end(): one found for each flush */
		}
		pmap_guest_exit(s);
		local_irq_enable();
	}
	row_end(sb, ro);
	pmap_slot_detach(sb->sb_pm, s);
}

/*
 * A CPU that is "in the guest": what ends its stay is a reschedule interrupt, which is what kicks
 * are. Now and then Linux sends one of its own; that ends it, too. Should none be counted, a new
 * generation ends it after a while, and there is a kick less.
 */
#define PATIENCE 10000000

struct pretender {
	struct pmap *pr_pm;
	struct pmap_slot *pr_slot;
	u64 pr_stays;
};

static int
pretend(void *arg)
{
	struct pretender *const pr = arg;

	while (!kthread_should_stop()) {
		unsigned int interrupts, turns = 0;
		u64 gen;

		preempt_disable();
		interrupts = this_cpu_read(irq_stat.irq_resched_count);
		if (pmap_guest_enter(pr->pr_pm, pr->pr_slot))
			pmap_guest_flushed(pr->pr_slot);
		gen = pr->pr_slot->ps_ack;
		smp_store_release(&pr->pr_stays, pr->pr_stays + 1);
		while (this_cpu_read(irq_stat.irq_resched_count) == interrupts &&
		       !kthread_should_stop()) {
			if (pmap_generation(pr->pr_pm) != gen && ++turns == PATIENCE)
				break;
			cpu_relax();
		}
		pmap_guest_exit(pr->pr_slot);
		preempt_enable();
		cond_resched();
	}
	return 0;
}

/* Each unmap finds the other CPU inside; found: the stays that were ended. */
static int
shoot(struct selfbench *sb, struct pretender *pr)
{
	struct row *ro;
	u64 stays = 0;
	int error = enter_pages(sb, 0, SINGLES, 1, PMAP_PROT_RW);
	u64 i;

	if (error)
		return error;
	ro = row_begin(sb, "inv.in", SINGLES);
	for (i = 0; i < SINGLES && !error; i++) {
		while (smp_load_acquire(&pr->pr_stays) == stays)
			cond_resched();
		stays = pr->pr_stays;
		error = remove_pages(sb, i, 1);
	}
	row_end(sb, ro);
	ro->ro_found = stays;
	return error;
}

static int
run_inside(struct selfbench *sb, struct pmap_slot *s)
{
	struct pretender pr = {.pr_pm = sb->sb_pm, .pr_slot = s};
	struct task_struct *task;
	unsigned int other;
	int error;

	cpus_read_lock();
	other = cpumask_any_but(cpu_online_mask, sb->sb_cpu);
	if (other >= nr_cpu_ids) {
		cpus_read_unlock();
		return 0; /* the only one: there is no such row */
	}
	task = kthread_create(pretend, &pr, "vmm_selfbench");
	if (IS_ERR(task)) {
		cpus_read_unlock();
		return (int)PTR_ERR(task);
	}
	pmap_slot_attach(sb->sb_pm, s);
	kthread_bind(task, other);
	wake_up_process(task);
	error = shoot(sb, &pr);
	kthread_stop(task);
	cpus_read_unlock();
	pmap_slot_detach(sb->sb_pm, s);
	return error;
}

static int
run_clock(struct selfbench *sb)
{
	struct pmap_slot *const slots = host_alloc(2 * sizeof(*slots));
	int error;

	if (!slots)
		return -ENOMEM;
	error = run_elide(sb);
	if (!error) {
		run_entries(sb, &slots[0]);
		error = run_singles(sb, "inv.out");
	}
	if (!error)
		error = run_inside(sb, &slots[1]);
	host_epoch_drain(); /* somebody may still read the list of slots */
	host_free(slots, 2 * sizeof(*slots));
	return error;
}

/* ---- A run ----------------------------------------------------------------------------------- */

static int
run_all(struct selfbench *sb)
{
	struct pmap_config cfg = {.pc_note = note, .pc_arg = sb};
	int error;

	ept_pmap_config(&vmm_ept_cpu, &cfg);
	error = pmap_init(&cfg, &sb->sb_pm);
	if (error)
		return error;
	error = run_faults(sb);
	if (!error)
		error = run_harvests(sb);
	if (!error)
		error = run_unmap(sb);
	if (!error)
		error = run_super(sb);
	if (!error)
		error = run_clock(sb);
	pmap_destroy(sb->sb_pm);
	sb->sb_pm = NULL;
	return error;
}

/* Whoever runs it stays on its CPU meanwhile: the pretender takes another. */
static int
run_on_one_cpu(struct selfbench *sb)
{
	int error;

	migrate_disable();
	sb->sb_cpu = raw_smp_processor_id();
	error = run_all(sb);
	migrate_enable();
	return error;
}

static void
forget(struct selfbench *sb)
{
	if (sb)
		vfree(sb->sb_bitmap);
	vfree(sb);
}

static ssize_t
selfbench_write(struct file *file, const char __user *from, size_t n, loff_t *pos)
{
	struct selfbench *sb;
	unsigned int mib;
	int error = kstrtouint_from_user(from, n, 10, &mib);

	if (error)
		return error;
	if (mib < 2 || mib > MIB_MAX || mib % 2 != 0)
		return -EINVAL;
	if (mutex_lock_interruptible(&running))
		return -EINTR;
	sb = vzalloc(sizeof(*sb));
	if (sb) {
		sb->sb_mib = mib;
		sb->sb_npages = (u64)mib << (20 - PAGE_SHIFT);
		sb->sb_bitmap = vzalloc(sb->sb_npages / 8);
	}
	error = sb && sb->sb_bitmap ? run_on_one_cpu(sb) : -ENOMEM;
	if (!error)
		swap(sb, kept);
	mutex_unlock(&running);
	forget(sb);
	return error ? error : (ssize_t)n;
}

static void
show_row(struct seq_file *seq, const struct row *ro)
{
	const struct pmap_stats *const a = &ro->ro_before;
	const struct pmap_stats *const b = &ro->ro_after;

	seq_printf(seq, "{\"row\":\"%s\",\"units\":%llu,\"ns\":%llu,\"ps_per_unit\":%llu",
		   ro->ro_name, ro->ro_units, ro->ro_ns, div64_u64(ro->ro_ns * 1000, ro->ro_units));
	seq_printf(seq,
		   ",\"shootdowns\":%llu,\"elided\":%llu,\"kicks\":%llu,\"found\":%llu,"
		   "\"resident\":%llu,\"tables\":%llu}\n",
		   b->st_shootdowns - a->st_shootdowns,
		   b->st_shootdowns_elided - a->st_shootdowns_elided, b->st_kicks - a->st_kicks,
		   ro->ro_found, b->st_resident_pages, b->st_tables);
}

static int
selfbench_show(struct seq_file *seq, void *unused)
{
	unsigned int i;

	if (mutex_lock_interruptible(&running))
		return -EINTR;
	if (kept) {
		seq_printf(seq,
			   "{\"selfbench\":1,\"type\":\"%s\",\"emulated_ad\":%u,\"cpu\":%u,"
			   "\"mib\":%u,\"checks\":%u}\n",
			   vmm_ept_cpu.ec_type == PT_EPT ? "ept" : "rvi",
			   !!(vmm_ept_cpu.ec_flags & PMAP_EMULATE_AD_BITS), kept->sb_cpu,
			   kept->sb_mib, PMAP_CHECK);
		for (i = 0; i < kept->sb_nrows; i++)
			show_row(seq, &kept->sb_rows[i]);
	}
	mutex_unlock(&running);
	return 0;
}

static int
selfbench_open(struct inode *inode, struct file *file)
{
	return single_open(file, selfbench_show, NULL);
}

static const struct file_operations selfbench_fops = {
	.owner = THIS_MODULE,
	.open = selfbench_open,
	.read = seq_read,
	.write = selfbench_write,
	.llseek = seq_lseek,
	.release = single_release,
};

void
selfbench_add(struct dentry *dir)
{
	debugfs_create_file("selfbench", 0600, dir, NULL, &selfbench_fops);
}

/* After its file is gone. */
void
selfbench_forget(void)
{
	forget(kept);
	kept = NULL;
}
