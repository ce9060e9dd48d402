/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * All calls in one table: number, size, class, and which bytes must be zero; and the one function
 * that does what they have in common. A handler finds its structure copied in and checked, its vCPU
 * owned, and whom its class excludes excluded.
 *
 * The class says which locks are taken (kmod/vmm.h has their order):
 *	NONE	 none
 *	VCPU	 the vCPU, whose number comes first in each structure of this class
 *	READERS	 vm_mem_lock for reading
 *	WRITERS	 vm_mem_lock for writing, then all vCPUs
 * PAGES: vmm_quiet for reading besides, for handlers that may page and touch no user memory; those
 * that touch some take it where it is due. STILL: for writing.
 */

#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kmod/vmm_priv.h"

enum call_class {
	CLASS_NONE,
	CLASS_VCPU,
	CLASS_READERS,
	CLASS_WRITERS,
};

#define CALL_PAGES BIT(0)
#define CALL_STILL BIT(1)

struct zeros {
	u16 offset;
	u16 bytes;
};

struct call {
	unsigned int cmd;
	u8 class;
	u8 flags;
	int (*handler)(struct vm *vm, struct vcpu *vcpu, void *arg);
	struct zeros zeros[2];
};

#define ZERO(type, field)                                                      \
	{                                                                      \
		offsetof(struct type, field), sizeof_field(struct type, field) \
	}
#define ROW(n, cl, fl, fn, ...)                                                             \
	{                                                                                   \
		.cmd = (n), .class = CLASS_##cl, .flags = (fl), .handler = (fn), .zeros = { \
			__VA_ARGS__                                                         \
		}                                                                           \
	}
/* With reserved[] alone, and with reserved0 as well. */
#define ROW1(n, t, cl, fl, fn) ROW(n, cl, fl, fn, ZERO(t, reserved))
#define ROW2(n, t, cl, fl, fn) ROW(n, cl, fl, fn, ZERO(t, reserved), ZERO(t, reserved0))

static const struct call calls[] = {
	/* clang-format off */
	ROW1(VMM_RUN,		 vmm_run,	 VCPU,	  0,	      ioctl_run), /* most often */

	ROW2(VMM_ALLOC_MEMSEG,	 vmm_memseg,	 WRITERS, 0,	      ioctl_alloc_memseg),
	ROW2(VMM_GET_MEMSEG,	 vmm_memseg,	 READERS, 0,	      ioctl_get_memseg),
	ROW2(VMM_MMAP_MEMSEG,	 vmm_memmap,	 WRITERS, CALL_PAGES, ioctl_mmap_memseg),
	ROW2(VMM_MUNMAP_MEMSEG,	 vmm_range,	 WRITERS, CALL_PAGES, ioctl_munmap_memseg),
	ROW2(VMM_MMAP_GETNEXT,	 vmm_memmap,	 READERS, 0,	      ioctl_mmap_getnext),
	ROW2(VMM_PROTECT_MEMMAP, vmm_range,	 WRITERS, CALL_PAGES, ioctl_protect_memmap),
	ROW2(VMM_WIRE_MEMMAP,	 vmm_range,	 WRITERS, CALL_PAGES, ioctl_wire_memmap),
	ROW2(VMM_UNWIRE_MEMMAP,	 vmm_range,	 WRITERS, CALL_PAGES, ioctl_unwire_memmap),
	ROW2(VMM_DISCARD,	 vmm_range,	 READERS, 0,	      ioctl_discard),
	ROW2(VMM_PAGEOUT,	 vmm_pageout,	 NONE,	  0,	      ioctl_pageout),
	ROW1(VMM_DIRTY_LOG,	 vmm_dirty,	 READERS, 0,	      ioctl_dirty_log),
	ROW2(VMM_EXEC_CONTROL,	 vmm_exec,	 READERS, CALL_PAGES, ioctl_exec_control),

	ROW2(VMM_GET_GPA_PMAP,	 vmm_gpa_pmap,	 NONE,	  0,	      ioctl_get_gpa_pmap),
	ROW1(VMM_PAGE_INFO,	 vmm_page_info,	 READERS, 0,	      ioctl_page_info),
	ROW2(VMM_HARVEST,	 vmm_harvest,	 READERS, 0,	      ioctl_harvest),
	ROW1(VMM_SUPER,		 vmm_super,	 READERS, CALL_PAGES, ioctl_super),
	ROW1(VMM_ACCOUNTS,	 vmm_accounts,	 NONE,	  0,	      ioctl_accounts),
	ROW2(VMM_CHECK,		 vmm_check,	 WRITERS, CALL_STILL, ioctl_check),
	ROW1(VMM_DUMP,		 vmm_dump,	 WRITERS, 0,	      ioctl_dump),
	ROW2(VMM_STATS,		 vmm_stats,	 NONE,	  0,	      ioctl_stats),
	ROW1(VMM_STAT_DESC,	 vmm_stat_desc,	 NONE,	  0,	      ioctl_stat_desc),

	ROW1(VMM_GET_REGS,	 vmm_regs,	 VCPU,	  0,	      ioctl_get_regs),
	ROW1(VMM_SET_REGS,	 vmm_regs,	 VCPU,	  0,	      ioctl_set_regs),
	ROW1(VMM_GET_DESC,	 vmm_desc,	 VCPU,	  0,	      ioctl_get_desc),
	ROW1(VMM_SET_DESC,	 vmm_desc,	 VCPU,	  0,	      ioctl_set_desc),
	ROW1(VMM_GET_FIELD,	 vmm_field,	 VCPU,	  0,	      ioctl_get_field),
	ROW1(VMM_SET_FIELD,	 vmm_field,	 VCPU,	  0,	      ioctl_set_field),
	ROW1(VMM_GET_CAPABILITY, vmm_capability, VCPU,	  0,	      ioctl_get_capability),
	ROW1(VMM_SET_CAPABILITY, vmm_capability, VCPU,	  0,	      ioctl_set_capability),
	ROW2(VMM_INJECT,	 vmm_inject,	 NONE,	  0,	      ioctl_inject),
	ROW2(VMM_GET_INTINFO,	 vmm_intinfo,	 VCPU,	  0,	      ioctl_get_intinfo),

	ROW1(VMM_ACTIVATE_CPU,	 vmm_cpu,	 READERS, 0,	      ioctl_activate_cpu),
	ROW2(VMM_GET_CPUS,	 vmm_cpus,	 NONE,	  0,	      ioctl_get_cpus),
	ROW1(VMM_SUSPEND,	 vmm_cpu,	 NONE,	  0,	      ioctl_suspend),
	{.cmd = VMM_REINIT, .class = CLASS_WRITERS, .flags = CALL_PAGES, .handler = ioctl_reinit},

	ROW2(VMM_PPT_BIND,	 vmm_ppt,	 WRITERS, CALL_PAGES, ioctl_ppt_bind),
	ROW2(VMM_PPT_UNBIND,	 vmm_ppt,	 WRITERS, CALL_PAGES, ioctl_ppt_unbind),
	ROW1(VMM_PPT_INFO,	 vmm_ppt_info,	 READERS, 0,	      ioctl_ppt_info),
	ROW1(VMM_PPT_CONFIG,	 vmm_ppt_config, READERS, 0,	      ioctl_ppt_config),
	ROW1(VMM_PPT_MAP_BAR,	 vmm_ppt_map,	 WRITERS, CALL_PAGES, ioctl_ppt_map_bar),
	ROW1(VMM_PPT_UNMAP_BAR,	 vmm_ppt_map,	 WRITERS, CALL_PAGES, ioctl_ppt_unmap_bar),
	ROW2(VMM_PPT_MSI,	 vmm_ppt_msi,	 READERS, 0,	      ioctl_ppt_msi),
	ROW1(VMM_PPT_MSIX,	 vmm_ppt_msix,	 READERS, 0,	      ioctl_ppt_msix),

	ROW1(VMM_GLA2GPA,	 vmm_gla,	 VCPU,	  CALL_PAGES, ioctl_gla2gpa),
	ROW2(VMM_COPY,		 vmm_copy,	 VCPU,	  0,	      ioctl_copy),

	ROW1(VMM_SET_PLATFORM,	 vmm_platform,	 READERS, 0,	      ioctl_set_platform),
	ROW1(VMM_IRQ_LINE,	 vmm_irq_line,	 NONE,	  0,	      ioctl_irq_line),
	ROW2(VMM_MSI,		 vmm_msi,	 NONE,	  0,	      ioctl_msi),
	ROW2(VMM_APIC_ACCESS,	 vmm_apic_access, VCPU,	  0,	      ioctl_apic_access),
	ROW1(VMM_RTC,		 vmm_rtc,	 NONE,	  0,	      ioctl_rtc),
	ROW1(VMM_APIC_STATE,	 vmm_apic_state, VCPU,	  0,	      ioctl_apic_state),
	/* clang-format on */
};

/* Structures up to this size live on the stack; VMM_RUN's, which is called most, is one. */
#define ARG_ON_STACK 192
static_assert(sizeof(struct vmm_run) <= ARG_ON_STACK);

static bool
all_zero(const void *arg, const struct zeros *z)
{
	return z->bytes == 0 || !memchr_inv((const char *)arg + z->offset, 0, z->bytes);
}

/* The locks of a class, the call, and back. */
static int
call_locked(struct vm *vm, const struct call *call, struct vcpu *vcpu, void *arg)
{
	int error = 0;

	if (call->class == CLASS_VCPU)
		error = vcpu_acquire(vcpu);
	else if (call->class == CLASS_READERS)
		error = down_read_killable(&vm->vm_mem_lock);
	else if (call->class == CLASS_WRITERS)
		error = down_write_killable(&vm->vm_mem_lock);
	if (error)
		return error;
	if (call->class == CLASS_WRITERS)
		error = vm_freeze_all(vm);
	if (!error) {
		if (call->flags & CALL_PAGES)
			percpu_down_read(&vmm_quiet);
		else if (call->flags & CALL_STILL)
			percpu_down_write(&vmm_quiet);
		error = call->handler(vm, vcpu, arg);
		if (call->flags & CALL_PAGES)
			percpu_up_read(&vmm_quiet);
		else if (call->flags & CALL_STILL)
			percpu_up_write(&vmm_quiet);
		if (call->class == CLASS_WRITERS)
			vm_thaw_all(vm);
	}
	if (call->class == CLASS_VCPU)
		vcpu_release(vcpu);
	else if (call->class == CLASS_READERS)
		up_read(&vm->vm_mem_lock);
	else if (call->class == CLASS_WRITERS)
		up_write(&vm->vm_mem_lock);
	return error;
}

static int
call_vm(struct vm *vm, const struct call *call, void *arg)
{
	struct vcpu *vcpu = NULL;
	int error;

	if (!vm_call_begin(vm))
		return -ENXIO;
	if (call->class == CLASS_VCPU) {
		const s32 id = *(const s32 *)arg;

		error = id < 0 || id >= (s32)vm->vm_maxcpu ? -EINVAL : 0;
		if (!error) {
			vcpu = vm_vcpu(vm, id);
			error = vcpu ? 0 : -ENOENT;
		}
		if (error)
			goto out;
	}
	error = call_locked(vm, call, vcpu, arg);
out:
	vm_call_end(vm);
	return error;
}

static long
call_copied(struct vm *vm, const struct call *call, void __user *from, void *arg)
{
	const size_t bytes = _IOC_SIZE(call->cmd);
	int error;

	if (_IOC_DIR(call->cmd) & _IOC_WRITE) {
		if (copy_from_user(arg, from, bytes))
			return -EFAULT;
		if (!all_zero(arg, &call->zeros[0]) || !all_zero(arg, &call->zeros[1]))
			return -EINVAL;
	} else {
		memset(arg, 0, bytes); /* the kernel's own to fill */
	}
	error = call_vm(vm, call, arg);
	if (!error && _IOC_DIR(call->cmd) & _IOC_READ && copy_to_user(from, arg, bytes))
		error = -EFAULT;
	return error;
}

long
vm_ioctl(struct vm *vm, unsigned int cmd, unsigned long arg)
{
	u64 small[ARG_ON_STACK / sizeof(u64)];
	const size_t bytes = _IOC_SIZE(cmd);
	const struct call *call = NULL;
	void *big;
	long error;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(calls) && !call; i++)
		if (calls[i].cmd == cmd)
			call = &calls[i];
	if (!call)
		return -ENOTTY;
	if (bytes <= sizeof(small))
		return call_copied(vm, call, (void __user *)arg, small);
	big = kmalloc(bytes, GFP_KERNEL_ACCOUNT);
	if (!big)
		return -ENOMEM;
	error = call_copied(vm, call, (void __user *)arg, big);
	kfree(big);
	return error;
}
