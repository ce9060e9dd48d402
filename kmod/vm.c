/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The life of a machine: made by name, found by name, ended once.
 *
 * Three things keep a machine. Its name in the list of all of them, as long as it lives. A call in
 * progress (vm_calls), which destroy waits for, after it has taken the name away, made new calls
 * fail and called the vCPUs out. And references: an open file or a mapping keeps the struct, which
 * then is an empty shell whose calls say -ENXIO. Each machine holds the module.
 */

#define pr_fmt(fmt) "vmm: " fmt

#include <linux/ctype.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "kmod/trace.h"
#include "kmod/vmm_priv.h"

DEFINE_MUTEX(vmm_list_lock);
static LIST_HEAD(machines); /* by name */

DEFINE_PERCPU_RWSEM(vmm_quiet);
struct vm_system *vmm_system;

int
vm_system_init(void)
{
	const struct vm_system_config cfg = {
		.vy_mem_limit_bytes = hw_settings.hs_mem_limit_bytes,
	};

	return vm_system_create(&cfg, &vmm_system);
}

void
vm_system_exit(void)
{
	WARN_ON(!list_empty(&machines));
	vm_system_destroy(vmm_system);
}

/* ---- Names ----------------------------------------------------------------------------------- */

bool
vm_name_valid(const char *name)
{
	const size_t len = strnlen(name, VMM_NAME_BYTES);
	size_t i;

	if (len == 0 || len == VMM_NAME_BYTES || !isascii(name[0]) || !isalnum(name[0]))
		return false;
	for (i = 1; i < len; i++)
		if (!isascii(name[i]) || !(isalnum(name[i]) || strchr("-_.", name[i])))
			return false;
	return true;
}

static struct vm *
find(const char *name)
{
	struct vm *vm;

	lockdep_assert_held(&vmm_list_lock);
	list_for_each_entry(vm, &machines, vm_link) if (!strcmp(vm->vm_name, name)) return vm;
	return NULL;
}

bool
vm_name_used(const char *name)
{
	return find(name) != NULL;
}

int
vm_next_name(char name[VMM_NAME_BYTES])
{
	struct vm *vm;
	int error = -ENOENT;

	mutex_lock(&vmm_list_lock);
	list_for_each_entry(vm, &machines, vm_link)
	{
		if (strcmp(vm->vm_name, name) > 0) {
			strscpy_pad(name, vm->vm_name, VMM_NAME_BYTES);
			error = 0;
			break;
		}
	}
	mutex_unlock(&vmm_list_lock);
	return error;
}

static void
insert(struct vm *vm)
{
	struct vm *other;

	list_for_each_entry(other, &machines,
			    vm_link) if (strcmp(other->vm_name, vm->vm_name) > 0) break;
	list_add_tail(&vm->vm_link, &other->vm_link);
}

/* ---- Made ------------------------------------------------------------------------------------ */

static void
vm_free(struct kref *kref)
{
	struct vm *const vm = container_of(kref, struct vm, vm_kref);

	mappings_vm_free(vm);
	percpu_ref_exit(&vm->vm_calls);
	kfree(vm);
}

void
vm_put(struct vm *vm)
{
	kref_put(&vm->vm_kref, vm_free);
}

static void
calls_ended(struct percpu_ref *ref)
{
	complete(&container_of(ref, struct vm, vm_calls)->vm_drained);
}

/* The work of the backlog of deferred flushes: bounded in age (pmap.h, PMAP_DEFER). */
#define VM_DRAIN_DELAY (HZ / 10)

static void
drain_work(struct work_struct *work)
{
	struct vm *const vm = container_of(to_delayed_work(work), struct vm, vm_drain);

	vmspace_drain(vm->vm_space);
}

static void
backlog(void *arg)
{
	struct vm *const vm = arg;

	if (!READ_ONCE(vm->vm_dying)) /* then vmspace_destroy() does it */
		queue_delayed_work(system_unbound_wq, &vm->vm_drain, VM_DRAIN_DELAY);
}

static int
space_create(struct vm *vm)
{
	struct vmspace_config cfg = {
		.vc_flags = VM_HOST_PAGER,
		.vc_limit_pages = vm->vm_mem_limit_bytes >> PAGE_SHIFT,
	};
	int error;

	ept_pmap_config(&vmm_ept_cpu, &cfg.vc_pmap);
	cfg.vc_pmap.pc_flags |= PMAP_DEFER;
	cfg.vc_pmap.pc_backlog = backlog;
	cfg.vc_pmap.pc_arg = vm;
	if (!(vmm_ept_cpu.ec_flags & PMAP_PDE_SUPERPAGE))
		cfg.vc_flags |= VM_NO_SUPERPAGES;
	error = vmspace_create(vmm_system, &cfg, &vm->vm_space);
	if (error)
		return error;
	vm->vm_pmap = vmspace_pmap(vm->vm_space);
	if (vmm_backend->vb_type == PT_EPT)
		return ept_eptp(&vmm_ept_cpu, pmap_root(vm->vm_pmap), &vm->vm_root);
	return ept_ncr3(&vmm_ept_cpu, pmap_root(vm->vm_pmap), &vm->vm_root);
}

static int
slots_create(struct vm *vm)
{
	if (vmm_backend->vb_type != PT_EPT)
		return 0;
	vm->vm_slots = host_alloc(nr_cpu_ids * sizeof(*vm->vm_slots));
	vm->vm_slot_attached = host_alloc(nr_cpu_ids * sizeof(*vm->vm_slot_attached));
	vm->vm_slot_online = host_alloc(nr_cpu_ids * sizeof(*vm->vm_slot_online));
	return vm->vm_slots && vm->vm_slot_attached && vm->vm_slot_online ? 0 : -ENOMEM;
}

/* Everything of a machine that destroy takes away; also of one that was only half made. */
static void
resources_free(struct vm *vm)
{
	unsigned int cpu, id;

	WRITE_ONCE(vm->vm_dying, true);
	cancel_delayed_work_sync(&vm->vm_drain);
	for (id = 0; id < VMM_MAXCPU; id++)
		if (vm->vm_vcpus[id] && vmm_backend->vb_type == PT_RVI)
			pmap_slot_detach(vm->vm_pmap, &vm->vm_vcpus[id]->vc_slot);
	for (cpu = 0; vm->vm_slot_attached && cpu < nr_cpu_ids; cpu++)
		if (vm->vm_slot_attached[cpu])
			pmap_slot_detach(vm->vm_pmap, &vm->vm_slots[cpu]);
	host_epoch_drain(); /* who looks at slots has gone */
	ppt_vm_quiesce(vm);
	platform_stop(vm);
	for (id = 0; id < VMM_MAXCPU; id++)
		if (vm->vm_vcpus[id])
			vcpu_destroy(vm->vm_vcpus[id]);
	platform_free(vm);
	if (vm->vm_arch_made)
		vmm_backend->vb_vm_destroy(vm);
	if (vm->vm_space)
		vmspace_destroy(vm->vm_space);
	ppt_vm_release(vm);
	if (vm->vm_slots)
		host_free(vm->vm_slots, nr_cpu_ids * sizeof(*vm->vm_slots));
	if (vm->vm_slot_attached)
		host_free(vm->vm_slot_attached, nr_cpu_ids * sizeof(*vm->vm_slot_attached));
	if (vm->vm_slot_online)
		host_free(vm->vm_slot_online, nr_cpu_ids * sizeof(*vm->vm_slot_online));
	vm->vm_space = NULL;
}

static struct vm *
vm_alloc(const struct vmm_create *req, const void *owner)
{
	struct vm *const vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);

	if (!vm)
		return NULL;
	if (percpu_ref_init(&vm->vm_calls, calls_ended, 0, GFP_KERNEL)) {
		kfree(vm);
		return NULL;
	}
	kref_init(&vm->vm_kref);
	INIT_LIST_HEAD(&vm->vm_link);
	INIT_LIST_HEAD(&vm->vm_nodes);
	strscpy(vm->vm_name, req->name, VMM_NAME_BYTES);
	vm->vm_maxcpu = req->maxcpu ?: hw_settings.hs_maxcpu;
	vm->vm_mem_limit_bytes = req->mem_limit_bytes;
	vm->vm_owner = req->flags & VMM_CREATE_DESTROY_ON_CLOSE ? owner : NULL;
	mutex_init(&vm->vm_activate_lock);
	init_rwsem(&vm->vm_mem_lock);
	init_completion(&vm->vm_drained);
	INIT_DELAYED_WORK(&vm->vm_drain, drain_work);
	return vm;
}

static int
vm_make(struct vm *vm)
{
	int error;

	error = space_create(vm);
	if (error)
		return error;
	error = slots_create(vm);
	if (error)
		return error;
	error = vmm_backend->vb_vm_init(vm);
	if (error)
		return error;
	vm->vm_arch_made = true;
	return mappings_vm_init(vm);
}

int
vm_create(const struct vmm_create *req, const void *owner)
{
	struct vm *vm;
	int error;

	if (!vm_name_valid(req->name) || req->flags & ~VMM_CREATE_FLAGS_ALL ||
	    req->maxcpu > hw_settings.hs_maxcpu ||
	    (req->mem_limit_bytes && req->mem_limit_bytes < PAGE_SIZE))
		return -EINVAL;
	if (!try_module_get(THIS_MODULE))
		return -ENXIO; /* it is being unloaded */
	vm = vm_alloc(req, owner);
	error = vm ? vm_make(vm) : -ENOMEM;
	if (error)
		goto fail;

	mutex_lock(&vmm_list_lock);
	error = find(vm->vm_name) ? -EEXIST : dev_vm_create(vm);
	if (!error) {
		insert(vm);
		debugfs_vm_add(vm);
	}
	mutex_unlock(&vmm_list_lock);
	if (!error)
		return 0;
fail:
	if (vm) {
		mappings_vm_end(vm);
		resources_free(vm);
		vm_put(vm);
	}
	module_put(THIS_MODULE);
	return error;
}

void
vm_for_each(void (*fn)(struct vm *vm))
{
	struct vm *vm;

	mutex_lock(&vmm_list_lock);
	list_for_each_entry(vm, &machines, vm_link)
	{
		if (!vm_call_begin(vm))
			continue;
		fn(vm);
		vm_call_end(vm);
	}
	mutex_unlock(&vmm_list_lock);
}

/* ---- Ended ----------------------------------------------------------------------------------- */

/*
 * vmm_list_lock held, vm on the list. Afterwards nobody finds it; the caller, and no other, ends
 * it.
 */
static void
take_off(struct vm *vm)
{
	lockdep_assert_held(&vmm_list_lock);
	list_del_init(&vm->vm_link);
	debugfs_vm_remove(vm);
	dev_vm_unlink(vm);
}

/* vmm_list_lock is not held: a call may take long to end, and others come and go meanwhile. */
static void
vm_end(struct vm *vm)
{
	struct vcpu *vcpu;
	unsigned int id;

	WRITE_ONCE(vm->vm_dying, true);
	percpu_ref_kill(&vm->vm_calls);
	for_each_vcpu(vm, id, vcpu) vcpu_request(vcpu, VCPU_REQ_SUSPEND);
	wait_for_completion(&vm->vm_drained);

	mappings_vm_end(vm);
	resources_free(vm);
	vm_put(vm);
	module_put(THIS_MODULE);
}

int
vm_destroy_by_name(const char *name)
{
	struct vm *vm;

	if (!vm_name_valid(name))
		return -EINVAL;
	mutex_lock(&vmm_list_lock);
	vm = find(name);
	if (vm)
		take_off(vm);
	mutex_unlock(&vmm_list_lock);
	if (!vm)
		return -ENOENT;
	vm_end(vm);
	return 0;
}

void
vm_destroy_owned(const void *owner)
{
	struct vm *vm, *next;
	LIST_HEAD(mine);

	mutex_lock(&vmm_list_lock);
	list_for_each_entry_safe(vm, next, &machines, vm_link)
	{
		if (vm->vm_owner != owner)
			continue;
		take_off(vm);
		list_add(&vm->vm_link, &mine);
	}
	mutex_unlock(&vmm_list_lock);
	list_for_each_entry_safe(vm, next, &mine, vm_link)
	{
		list_del_init(&vm->vm_link);
		vm_end(vm);
	}
}

/* ---- All vCPUs ------------------------------------------------------------------------------- */

void
vm_thaw_all(struct vm *vm)
{
	struct vcpu *vcpu;
	unsigned int id;

	for_each_vcpu(vm, id, vcpu) vcpu_thaw(vcpu);
}

int
vm_freeze_all(struct vm *vm)
{
	struct vcpu *vcpu;
	unsigned int id, got;
	int error = 0;

	/* All are asked before any is waited for. */
	for_each_vcpu(vm, id, vcpu) vcpu_request(vcpu, VCPU_REQ_IDLE);
	for_each_vcpu(vm, got, vcpu)
	{
		error = vcpu_freeze(vcpu);
		if (error)
			break;
	}
	if (!error)
		return 0;
	for (id = 0; id < got; id++) {
		vcpu = vm_vcpu(vm, id);
		if (vcpu)
			vcpu_thaw(vcpu);
	}
	return error;
}

int
vm_suspend(struct vm *vm, enum vmm_suspend_how how)
{
	struct vcpu *vcpu;
	unsigned int id;

	if (how <= VMM_SUSPEND_NONE || how > VMM_SUSPEND_TRIPLEFAULT)
		return -EINVAL;
	if (cmpxchg(&vm->vm_suspend, VMM_SUSPEND_NONE, how) != VMM_SUSPEND_NONE)
		return -EALREADY;
	for_each_vcpu(vm, id, vcpu) vcpu_request(vcpu, VCPU_REQ_SUSPEND);
	return 0;
}

/* All vCPUs are frozen: one whose thread is still in VMM_RUN has not left, it only waits. */
int
vm_reinit(struct vm *vm)
{
	struct vcpu *vcpu;
	unsigned int id;
	int error;

	for_each_vcpu(vm, id,
		      vcpu) if (!READ_ONCE(vm->vm_suspend) || vcpu->vc_in_run) return -EBUSY;
	error = vm_reset(vm->vm_space);
	if (error)
		return error;
	ppt_vm_reset(vm);
	platform_reset(vm);
	for_each_vcpu(vm, id, vcpu)
	{
		clear_bit(VCPU_REQ_SUSPEND, &vcpu->vc_requests);
		vcpu_reset(vcpu);
	}
	WRITE_ONCE(vm->vm_suspend, VMM_SUSPEND_NONE);
	return 0;
}
