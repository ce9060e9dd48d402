/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The CPUs: which backend fits, what it may use (module parameters), and virtualization switched on
 * and off on each CPU as it comes and goes.
 *
 * A CPU that comes online runs hw_cpu_online() before any ordinary thread may run there, and
 * hw_cpu_offline() after they have been moved away, both in a thread of that CPU: so no vCPU is
 * between being loaded and leaving the guest there. Suspend and resume of the boot CPU, which is
 * never taken offline, come with everything else stopped. A reboot switches it off by a work item
 * on each CPU for the same reason; who runs a guest then waits for the end (run.c).
 *
 * What a CPU cached before it was switched on is not to be trusted, and is not even flushed by
 * being switched off: hw_online counts, and whoever keeps state by CPU compares (run.c: slots; the
 * backend: VPIDs; ASIDs begin a new round here).
 */

#define pr_fmt(fmt) "vmm: " fmt

#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/syscore_ops.h>
#include <linux/version.h>
#include <linux/workqueue.h>

#include "kmod/vmm_priv.h"

static bool use_superpages = true;
module_param(use_superpages, bool, 0444);
MODULE_PARM_DESC(use_superpages, "map guest memory by superpages where the CPU can (default 1)");
static bool use_hw_ad_bits = true;
module_param(use_hw_ad_bits, bool, 0444);
MODULE_PARM_DESC(use_hw_ad_bits, "EPT: accessed and dirty bits by hardware (default 1)");
static bool use_exec_only = true;
module_param(use_exec_only, bool, 0444);
MODULE_PARM_DESC(use_exec_only, "EPT: memory that can be executed and not read (default 1)");
static bool enable_superpage = true;
module_param(enable_superpage, bool, 0444);
MODULE_PARM_DESC(enable_superpage, "NPT: as use_superpages, for AMD alone (default 1)");
static unsigned int maxcpu = VMM_MAXCPU;
module_param(maxcpu, uint, 0444);
MODULE_PARM_DESC(maxcpu, "vCPUs that a machine may have, 1 to 64 (default 64)");
static char *mem_limit = "";
module_param(mem_limit, charp, 0444);
MODULE_PARM_DESC(mem_limit,
		 "bytes of memory for all guests, K, M, G allowed (default: all of the host's)");

const struct vmm_backend *vmm_backend;
struct ept_cpu vmm_ept_cpu;
struct hw_settings hw_settings;
struct pmap_vpids vmm_vpids;
bool vmm_guest_rdtscp;

struct hw_cpu {
	bool hw_enabled;
	u64 hw_online; /* how often it was switched on */
	struct pmap_asid_cpu hw_asids;
};
static DEFINE_PER_CPU(struct hw_cpu, hw_cpus);

static enum cpuhp_state hw_hotplug_state;

bool
vmm_cpu_enabled(void)
{
	return this_cpu_read(hw_cpus.hw_enabled);
}

u64
vmm_cpu_online_count(void)
{
	return this_cpu_read(hw_cpus.hw_online);
}

struct pmap_asid_cpu *
vmm_asid_this_cpu(void)
{
	return this_cpu_ptr(&hw_cpus.hw_asids);
}

/* ---- On and off, on this CPU ----------------------------------------------------------------- */

/* Interrupts off. */
static int
cpu_switch_on(void)
{
	struct hw_cpu *const hc = this_cpu_ptr(&hw_cpus);
	int error;

	if (hc->hw_enabled)
		return 0;
	error = vmm_backend->vb_cpu_enable();
	if (error)
		return error;
	hc->hw_online++;
	if (vmm_backend->vb_type == PT_RVI)
		pmap_asid_cpu_online(&hc->hw_asids);
	WRITE_ONCE(hc->hw_enabled, true);
	return 0;
}

static void
cpu_switch_off(void)
{
	struct hw_cpu *const hc = this_cpu_ptr(&hw_cpus);

	if (!hc->hw_enabled)
		return;
	WRITE_ONCE(hc->hw_enabled, false);
	vmm_backend->vb_cpu_disable();
}

static int
hw_cpu_online(unsigned int cpu)
{
	unsigned long flags;
	int error;

	local_irq_save(flags);
	error = cpu_switch_on();
	local_irq_restore(flags);
	if (error == -EBUSY)
		pr_err("CPU %u: %s is in use by another hypervisor (is kvm loaded?)\n", cpu,
		       vmm_backend->vb_name);
	else if (error)
		pr_err("CPU %u: %s cannot be switched on (%d)\n", cpu, vmm_backend->vb_name, error);
	return error;
}

static int
hw_cpu_offline(unsigned int cpu)
{
	unsigned long flags;

	local_irq_save(flags);
	cpu_switch_off();
	local_irq_restore(flags);
	return 0;
}

static int
hw_suspend(void)
{
	cpu_switch_off();
	return 0;
}

static void
hw_resume(void)
{
	const int error = cpu_switch_on();

	if (error)
		pr_err("%s could not be switched on again after sleep (%d): guests stand still\n",
		       vmm_backend->vb_name, error);
}

static struct syscore_ops hw_syscore_ops = {
	.suspend = hw_suspend,
	.resume = hw_resume,
};

static int
hw_off_work(void *unused)
{
	return hw_cpu_offline(smp_processor_id());
}

static int
hw_reboot(struct notifier_block *nb, unsigned long event, void *unused)
{
	unsigned int cpu;

	cpus_read_lock();
	for_each_online_cpu(cpu) smp_call_on_cpu(cpu, hw_off_work, NULL, false);
	cpus_read_unlock();
	return NOTIFY_DONE;
}

static struct notifier_block hw_reboot_nb = {
	.notifier_call = hw_reboot,
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
/* A crashing kernel calls this on each CPU; before 6.6 it switches VT-x and SVM off by itself. */
static void
hw_emergency(void)
{
	cpu_switch_off();
}

static void
hw_emergency_register(void)
{
	cpu_emergency_register_virt_callback(hw_emergency);
}

static void
hw_emergency_unregister(void)
{
	cpu_emergency_unregister_virt_callback(hw_emergency);
}
#else
static void
hw_emergency_register(void)
{
}

static void
hw_emergency_unregister(void)
{
}
#endif

/* ---- What is there --------------------------------------------------------------------------- */

/*
 * Which sentence to show when neither fits: that of the CPU's own vendor.
 */
static int
hw_probe(void)
{
	static const struct vmm_backend *const backends[] = {&vmx_backend, &svm_backend};
	const bool amd = boot_cpu_data.x86_vendor == X86_VENDOR_AMD ||
			 boot_cpu_data.x86_vendor == X86_VENDOR_HYGON;
	const char *why[ARRAY_SIZE(backends)] = {NULL};
	int error[ARRAY_SIZE(backends)];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(backends); i++) {
		struct ept_policy policy = {
			.ep_no_superpages = !use_superpages,
			.ep_no_hw_ad = !use_hw_ad_bits,
			.ep_no_exec_only = !use_exec_only,
		};
		struct ept_words words = {0};

		if (backends[i]->vb_type == PT_RVI && !enable_superpage)
			policy.ep_no_superpages = true;
		error[i] = backends[i]->vb_probe(&words, &why[i]);
		if (!error[i])
			error[i] = ept_caps(backends[i]->vb_type, &words, &policy, &vmm_ept_cpu,
					    &why[i]);
		if (!error[i]) {
			vmm_backend = backends[i];
			return 0;
		}
	}
	i = amd ? 1 : 0;
	pr_err("this CPU cannot run guests: %s\n", why[i] ? why[i] : "it has no virtualization");
	return error[i];
}

static int
hw_parse_settings(void)
{
	char *end;

	if (maxcpu < 1 || maxcpu > VMM_MAXCPU) {
		pr_err("maxcpu=%u: a machine may have 1 to %u vCPUs\n", maxcpu, VMM_MAXCPU);
		return -EINVAL;
	}
	hw_settings.hs_maxcpu = maxcpu;
	hw_settings.hs_mem_limit_bytes = (u64)totalram_pages() << PAGE_SHIFT;
	if (mem_limit[0] != '\0') {
		hw_settings.hs_mem_limit_bytes = memparse(mem_limit, &end) & PAGE_MASK;
		if (*end != '\0' || hw_settings.hs_mem_limit_bytes == 0) {
			pr_err("mem_limit=%s: want a number of bytes, like 512M\n", mem_limit);
			return -EINVAL;
		}
	}
	return 0;
}

static void
hw_tell_settings(void)
{
	const bool ept = vmm_backend->vb_type == PT_EPT;
	const int flags = (int)vmm_ept_cpu.ec_flags;

	hw_settings.hs_use_superpages = use_superpages;
	hw_settings.hs_npt_superpage = use_superpages && enable_superpage;
	hw_settings.hs_use_hw_ad_bits = use_hw_ad_bits;
	hw_settings.hs_use_exec_only = use_exec_only;
	if (ept) {
		hw_settings.hs_use_superpages = !!(flags & PMAP_PDE_SUPERPAGE);
		hw_settings.hs_use_hw_ad_bits = !(flags & PMAP_EMULATE_AD_BITS);
		hw_settings.hs_use_exec_only = !!(flags & PMAP_SUPPORTS_EXEC_ONLY);
		hw_settings.hs_ept_pmap_flags = flags;
	} else {
		hw_settings.hs_npt_superpage = !!(flags & PMAP_PDE_SUPERPAGE);
		hw_settings.hs_npt_pmap_flags = flags;
	}
}

static int
hw_idents_init(void)
{
	unsigned int cpu;
	int error;

	if (vmm_backend->vb_type == PT_EPT)
		return pmap_vpids_init(&vmm_vpids, 1 << 16);
	for_each_possible_cpu(cpu)
	{
		error = pmap_asid_cpu_init(&per_cpu_ptr(&hw_cpus, cpu)->hw_asids,
					   vmm_ept_cpu.ec_nasids, vmm_ept_cpu.ec_flush_by_asid);
		if (error)
			return error;
	}
	return 0;
}

int
hw_init(void)
{
	int error;

	error = hw_parse_settings();
	if (error)
		return error;
	error = hw_probe();
	if (error)
		return error;
	vmm_guest_rdtscp = boot_cpu_has(X86_FEATURE_RDTSCP);
	error = hw_idents_init();
	if (error)
		return error;
	error = vmm_backend->vb_init(&vmm_ept_cpu);
	if (error) {
		pr_err("no memory for %s\n", vmm_backend->vb_name);
		return error;
	}
	hw_tell_settings();
	error = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "vmm:online", hw_cpu_online, hw_cpu_offline);
	if (error < 0) {
		vmm_backend->vb_fini();
		return error;
	}
	hw_hotplug_state = error;
	register_reboot_notifier(&hw_reboot_nb);
	register_syscore_ops(&hw_syscore_ops);
	hw_emergency_register();
	return 0;
}

void
hw_exit(void)
{
	hw_emergency_unregister();
	unregister_syscore_ops(&hw_syscore_ops);
	unregister_reboot_notifier(&hw_reboot_nb);
	cpuhp_remove_state(hw_hotplug_state);
	vmm_backend->vb_fini();
}
