/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the common files of the module share among themselves, and backends need not know.
 */

#ifndef KMOD_VMM_PRIV_H
#define KMOD_VMM_PRIV_H

#include <linux/fs.h>
#include <linux/mm.h>

#include "kmod/vmm.h"

/* ---- hw.c: module parameters, the CPUs ------------------------------------------------------- */

int hw_init(void);
void hw_exit(void);

/* As in force: a parameter, unless the CPU has it not. For sysctls. */
struct hw_settings {
	unsigned int hs_maxcpu;
	u64 hs_mem_limit_bytes;
	int hs_use_superpages;
	int hs_use_hw_ad_bits;
	int hs_use_exec_only;
	int hs_npt_superpage;
	int hs_ept_pmap_flags; /* 0 where the other kind is in use */
	int hs_npt_pmap_flags;
};
extern struct hw_settings hw_settings;

/* ---- vm.c: life of machines ------------------------------------------------------------------ */

#define VMM_CREATE_FLAGS_ALL VMM_CREATE_DESTROY_ON_CLOSE

extern struct mutex vmm_list_lock;

int vm_system_init(void);
void vm_system_exit(void);

/* Checks the request. owner: see vm_owner. -EINVAL, -EEXIST, -ENOMEM, -EOPNOTSUPP. */
int vm_create(const struct vmm_create *req, const void *owner);
int vm_destroy_by_name(const char *name);
void vm_destroy_owned(const void *owner);
/* The first name after `name`, in place. -ENOENT. */
int vm_next_name(char name[VMM_NAME_BYTES]);
bool vm_name_valid(const char *name);
bool vm_name_used(const char *name); /* under vmm_list_lock */
/* Calls fn for every machine, within a call of it and under vmm_list_lock. */
void vm_for_each(void (*fn)(struct vm *vm));

/* A reference keeps the struct; a call keeps everything that destroy takes away. */
void vm_put(struct vm *vm);
static inline bool
vm_call_begin(struct vm *vm)
{
	return percpu_ref_tryget_live(&vm->vm_calls);
}
static inline void
vm_call_end(struct vm *vm)
{
	percpu_ref_put(&vm->vm_calls);
}

/* Freezes every vCPU, vm_mem_lock held for writing; all or none. -EINTR. */
int vm_freeze_all(struct vm *vm);
void vm_thaw_all(struct vm *vm);

int vm_suspend(struct vm *vm, enum vmm_suspend_how how);
int vm_reinit(struct vm *vm); /* class WRITERS */

static inline struct vcpu *
vm_vcpu(struct vm *vm, unsigned int id)
{
	return id < VMM_MAXCPU ? smp_load_acquire(&vm->vm_vcpus[id]) : NULL;
}

#define for_each_vcpu(vm, id, vcpu)                    \
	for ((id) = 0; (id) < (vm)->vm_maxcpu; (id)++) \
		if (((vcpu) = vm_vcpu((vm), (id))) != NULL)

/* ---- vcpu.c, run.c --------------------------------------------------------------------------- */

int vcpu_create(struct vm *vm, unsigned int id);
void vcpu_destroy(struct vcpu *vcpu);
void vcpu_reset(struct vcpu *vcpu); /* frozen; so vcpu_init(): what INIT does */
void vcpu_init(struct vcpu *vcpu);

/* Between two entries: lets those go first who wait to freeze it. -EINTR: not frozen any more. */
int vcpu_step_aside(struct vcpu *vcpu);
void vcpu_request(struct vcpu *vcpu, int request);
int vcpu_next_intr(struct vcpu *vcpu); /* highest pending vector, or -1 */

/* VMM_RUN, acquired. 0: vcpu->vc_exit says why; or negative errno. */
int vcpu_run(struct vcpu *vcpu);
int run_init(void);

/* A register of any kind. -EINVAL. */
int vcpu_get_reg(struct vcpu *vcpu, u32 reg, u64 *value);
int vcpu_set_reg_checked(struct vcpu *vcpu, u32 reg, u64 value);

/* ---- vm_platform.c, vcpu_platform.c: interrupt and timer hardware ---------------------------- */

/* -EINVAL, -EOPNOTSUPP, -ENOMEM. Before the first vCPU, under vm_activate_lock. */
int platform_create(struct vm *vm, u32 kind, u32 flags);
void platform_reset(struct vm *vm); /* frozen */
void platform_stop(struct vm *vm);
void platform_free(struct vm *vm);

/* Any context, hard interrupts included, while the machine lives. -ENODEV no hardware; -EINVAL. */
int platform_msi(struct vm *vm, u64 addr, u32 data);
int platform_irq_line(struct vm *vm, u32 pin, u32 level);

/* A guest's access to I/O ports; false: not to the hardware's. The machine has it. */
bool platform_inout(struct vm *vm, u16 port, unsigned int bytes, bool in, u32 *value);
int platform_rtc(struct vm *vm, u32 op, u32 offset, u64 *value); /* enum vmm_rtc_op */

int vcpu_platform_create(struct vcpu *vcpu);
void vcpu_platform_publish(struct vcpu *vcpu);
void vcpu_platform_destroy(struct vcpu *vcpu);
void vcpu_platform_reset(struct vcpu *vcpu, bool init);

/* The owner's. -ENODEV, -EINVAL, -EFAULT neither local APIC nor IOAPIC is at gpa. */
int vcpu_platform_access(struct vcpu *vcpu, u64 gpa, unsigned int bytes, bool write, u64 *value);
int vcpu_platform_state(struct vcpu *vcpu, struct vmm_apic_state *out);
/* MSRs that are the local APIC's where there is one. -EINVAL: #GP. */
bool vcpu_platform_has_msr(struct vcpu *vcpu, u32 index);
int vcpu_platform_rdmsr(struct vcpu *vcpu, u32 index, u64 *value);
int vcpu_platform_wrmsr(struct vcpu *vcpu, u32 index, u64 value);
void vcpu_set_cr8(struct vcpu *vcpu, u64 value); /* with hardware or without */
/* For CPUID: whether the local APIC is on (without hardware: yes); kHz, 0: no TSC deadline. */
bool vcpu_platform_apic_on(const struct vcpu *vcpu);
u32 vcpu_platform_tsc_khz(const struct vcpu *vcpu);

/* Those below only where there is hardware. */
void vcpu_platform_request(struct vcpu *vcpu, u8 vector); /* any thread */
/* The interrupt that the CPU gets next by priority, or -1; to accept makes it a vector. Here. */
#define VCPU_INTR_8259 256 /* whose vector is not known before */
int vcpu_platform_intr(struct vcpu *vcpu);
u8 vcpu_platform_accept(struct vcpu *vcpu, int intr);
/* The owner's: what INIT and SIPI ask for; that it waits for nothing else, nor an interrupt. */
void vcpu_platform_requests(struct vcpu *vcpu);
void vcpu_platform_dead(struct vcpu *vcpu, bool dead);

/* ---- pageout.c: when the host runs short of memory ------------------------------------------- */

int pageout_init(void);
void pageout_exit(void);

struct pageout_counts {
	unsigned long pc_calls;	  /* of the shrinker */
	unsigned long pc_dropped; /* clean pages that it took */
	unsigned long pc_skipped; /* calls that came upon an audit */
	unsigned long pc_wakeups; /* of the thread */
	unsigned long pc_taken;	  /* pages that the thread took */
};
void pageout_counts(struct pageout_counts *pc);

/* ---- cpuid.c, msr.c -------------------------------------------------------------------------- */

unsigned int cpuid_guest_phys_bits(void);

/* ---- stats.c --------------------------------------------------------------------------------- */

unsigned int stats_count(bool machine);
const char *stats_desc(bool machine, unsigned int index); /* NULL beyond the last */
void stats_vcpu(struct vcpu *vcpu, unsigned int first, unsigned int n, u64 *values);
void stats_vm(struct vm *vm, u64 *values); /* all of them */
#define STATS_VM_MAX 64
void stats_accounts(struct vm *vm, struct vmm_accounts *out);

/* ---- ioctl_table.c --------------------------------------------------------------------------- */

long vm_ioctl(struct vm *vm, unsigned int cmd, unsigned long arg);
long vmmctl_ioctl(struct file *file, unsigned int cmd, unsigned long arg);

/* Handlers; arg is the structure, copied in. What they return is the call's result. */
int ioctl_alloc_memseg(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_get_memseg(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_mmap_memseg(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_munmap_memseg(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_mmap_getnext(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_protect_memmap(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_wire_memmap(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_unwire_memmap(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_discard(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_pageout(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_dirty_log(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_exec_control(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_get_gpa_pmap(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_page_info(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_harvest(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_super(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_accounts(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_check(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_dump(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_stats(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_stat_desc(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_get_regs(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_set_regs(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_get_desc(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_set_desc(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_get_field(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_set_field(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_get_capability(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_set_capability(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_inject(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_get_intinfo(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_activate_cpu(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_get_cpus(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_run(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_suspend(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_reinit(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_gla2gpa(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_copy(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_set_platform(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_irq_line(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_msi(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_apic_access(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_rtc(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_apic_state(struct vm *vm, struct vcpu *vcpu, void *arg);

int ioctl_ppt_bind(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_ppt_unbind(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_ppt_info(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_ppt_config(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_ppt_map_bar(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_ppt_unmap_bar(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_ppt_msi(struct vm *vm, struct vcpu *vcpu, void *arg);
int ioctl_ppt_msix(struct vm *vm, struct vcpu *vcpu, void *arg);

/* ---- ppt.c: PCI devices that are guests' ------------------------------------------------- */

int ppt_init(void);
void ppt_exit(void);
void ppt_vm_reset(struct vm *vm); /* after vm_reset(), frozen */
/* When a machine ends, before and after its vmspace goes; platform_free() comes between. */
void ppt_vm_quiesce(struct vm *vm);
void ppt_vm_release(struct vm *vm);

/* ---- dev.c, dev_mmap.c: nodes ---------------------------------------------------------------- */

int dev_init(void);
void dev_exit(void);

/* Under vmm_list_lock. The nodes of a machine, and of a named segment. -EEXIST, -ENOMEM. */
int dev_vm_create(struct vm *vm);
void dev_vm_unlink(struct vm *vm); /* no new opens; the nodes go */
int dev_seg_create(struct vm *vm, int ident, const char *name);

/*
 * Stores through mappings of nodes. Each page that user space has mapped is held (vmspace.h), for
 * writing if it may be written; these take mappings and holds back, and so make later stores fault
 * again. Not with user memory's locks, nor vmm_quiet, held.
 */
int mappings_init(void);
void mappings_exit(void);
void mappings_release_range(struct vm *vm, u64 gpa, u64 len_bytes);
void mappings_release_all(struct vm *vm);
/* mmap(2) of a machine's node at a gpa, and of a segment's. */
int mappings_mmap_gpa(struct vm *vm, struct vm_area_struct *vma);
int mappings_mmap_seg(struct vm *vm, int ident, struct vm_area_struct *vma);
/* Life of what they keep for a machine. */
int mappings_vm_init(struct vm *vm);
void mappings_vm_end(struct vm *vm);  /* no call is being made any more; user space gets SIGBUS */
void mappings_vm_free(struct vm *vm); /* with the last reference */

/* ---- sysctl.c, debugfs.c, selfbench.c -------------------------------------------------------- */

int sysctl_init(void);
void sysctl_exit(void);
int debugfs_init(void);
void debugfs_exit(void);
void debugfs_vm_add(struct vm *vm);
void debugfs_vm_remove(struct vm *vm);

struct dentry;
void selfbench_add(struct dentry *dir);
void selfbench_forget(void);

#endif /* KMOD_VMM_PRIV_H */
