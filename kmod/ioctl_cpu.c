/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Calls on vCPUs: registers, events, life and running, and addresses of the guest's own.
 */

#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <asm/trapnr.h>

#include "kmod/vmm_priv.h"

/* ---- Registers ------------------------------------------------------------------------------- */

int
ioctl_get_regs(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_regs *const r = arg;
	int error = 0;
	u32 i;

	if (r->n > VMM_REGS_MAX)
		return -EINVAL;
	for (i = 0; i < r->n && !error; i++)
		error = vcpu_get_reg(vcpu, r->regs[i], &r->values[i]);
	return error;
}

/* All or nothing: what was set is set back, latest first, when one is refused. */
int
ioctl_set_regs(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_regs *const r = arg;
	const bool skip = vcpu->vc_skip, halted = vcpu->vc_halted;
	const bool wait_sipi = vcpu->vc_wait_sipi;
	int error = 0;
	u64 *before;
	u32 i;

	if (r->n > VMM_REGS_MAX)
		return -EINVAL;
	before = kcalloc(max(r->n, 1u), sizeof(*before), GFP_KERNEL_ACCOUNT);
	if (!before)
		return -ENOMEM;
	for (i = 0; i < r->n && !error; i++) {
		error = vcpu_get_reg(vcpu, r->regs[i], &before[i]);
		if (!error)
			error = vcpu_set_reg_checked(vcpu, r->regs[i], r->values[i]);
	}
	if (error) {
		for (i--; i-- > 0;) /* the last one tried was not set */
			vcpu_set_reg_checked(vcpu, r->regs[i], before[i]);
		vcpu->vc_skip = skip;
		vcpu->vc_halted = halted;
		vcpu->vc_wait_sipi = wait_sipi;
	}
	kfree(before);
	return error;
}

static bool
has_desc(u32 reg)
{
	return reg >= VMM_REG_ES && reg <= VMM_REG_IDTR;
}

int
ioctl_get_desc(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_desc *const desc = arg;

	return has_desc(desc->reg) ? vmm_backend->vb_get_desc(vcpu, desc->reg, desc) : -EINVAL;
}

int
ioctl_set_desc(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_desc *const desc = arg;

	if (!has_desc(desc->reg) ||
	    ((desc->reg == VMM_REG_GDTR || desc->reg == VMM_REG_IDTR) && desc->access))
		return -EINVAL;
	return vmm_backend->vb_set_desc(vcpu, desc->reg, desc);
}

int
ioctl_get_field(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_field *const f = arg;

	return vmm_backend->vb_get_field(vcpu, f->field, &f->value);
}

int
ioctl_set_field(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_field *const f = arg;

	return vmm_backend->vb_set_field(vcpu, f->field, f->value);
}

/* ---- Capabilities, events -------------------------------------------------------------------- */

int
ioctl_get_capability(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_capability *const c = arg;

	if (c->cap >= VMM_CAP_COUNT)
		return -EINVAL;
	c->value = vcpu->vc_caps[array_index_nospec(c->cap, VMM_CAP_COUNT)];
	return 0;
}

int
ioctl_set_capability(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	const struct vmm_capability *const c = arg;
	int error;

	if (c->cap >= VMM_CAP_COUNT || c->cap == VMM_CAP_UNRESTRICTED_GUEST ||
	    (c->cap != VMM_CAP_PREEMPT_TIMER && c->value > 1))
		return -EINVAL;
	error = vmm_backend->vb_set_cap(vcpu, c->cap, c->value);
	if (!error)
		vcpu->vc_caps[array_index_nospec(c->cap, VMM_CAP_COUNT)] = c->value;
	return error;
}

/* Which exceptions push an error code (SDM vol. 3A table 6-1): #DF #TS #NP #SS #GP #PF #AC #CP. */
#define PUSHES_ERROR_CODE \
	(BIT(8) | BIT(10) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(17) | BIT(21))

static int
inject_exception(struct vcpu *vcpu, const struct vmm_inject *in)
{
	const bool has_error = in->flags & VMM_EVENT_HAS_ERROR;
	int error;

	if (in->vector >= 32 || in->vector == X86_TRAP_NMI ||
	    has_error != !!(PUSHES_ERROR_CODE & BIT(in->vector)) || in->error_code > S32_MAX)
		return -EINVAL;
	error = vcpu_acquire(vcpu);
	if (error)
		return error;
	if (vcpu->vc_exception)
		error = -EBUSY;
	else
		vcpu_inject_exception(vcpu, in->vector, has_error ? (int)in->error_code : -1);
	vcpu_release(vcpu);
	return error;
}

int
ioctl_inject(struct vm *vm, struct vcpu *unused, void *arg)
{
	const struct vmm_inject *const in = arg;
	struct vcpu *vcpu;

	if (in->vcpu < 0 || in->vcpu >= (s32)vm->vm_maxcpu || in->flags & ~VMM_EVENT_HAS_ERROR ||
	    (!(in->flags & VMM_EVENT_HAS_ERROR) && in->error_code))
		return -EINVAL;
	vcpu = vm_vcpu(vm, in->vcpu);
	if (!vcpu)
		return -ENOENT;
	switch (in->event) {
	case VMM_EVENT_EXCEPTION:
		return inject_exception(vcpu, in);
	case VMM_EVENT_INTR:
		if (in->vector < 16 || in->vector > 255 || in->flags) /* SDM vol. 3A 6.2, 11.5.2 */
			return -EINVAL;
		if (vcpu->vc_platform) {
			vcpu_platform_request(vcpu, in->vector);
			return 0;
		}
		set_bit(in->vector, vcpu->vc_intr_pending);
		vcpu_kick(vcpu);
		return 0;
	case VMM_EVENT_NMI:
		if (in->vector || in->flags)
			return -EINVAL;
		vcpu_request(vcpu, VCPU_REQ_NMI);
		return 0;
	default:
		return -EINVAL;
	}
}

int
ioctl_get_intinfo(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_intinfo *const info = arg;

	info->exit_intinfo = vcpu->vc_reinject;
	info->event_intinfo = vcpu->vc_exception;
	return 0;
}

/* ---- Life and running ------------------------------------------------------------------------ */

int
ioctl_activate_cpu(struct vm *vm, struct vcpu *unused, void *arg)
{
	const struct vmm_cpu *const cpu = arg;
	int error;

	if (cpu->vcpu < 0 || cpu->vcpu >= (s32)vm->vm_maxcpu || cpu->how)
		return -EINVAL;
	mutex_lock(&vm->vm_activate_lock);
	error = vm->vm_vcpus[cpu->vcpu] ? -EBUSY : vcpu_create(vm, cpu->vcpu);
	mutex_unlock(&vm->vm_activate_lock);
	return error;
}

/* After VMM_SUSPEND a vCPU has left for good as soon as no thread is in VMM_RUN with it. */
int
ioctl_get_cpus(struct vm *vm, struct vcpu *unused, void *arg)
{
	struct vmm_cpus *const out = arg;
	struct vcpu *vcpu;
	unsigned int id;

	out->how = READ_ONCE(vm->vm_suspend);
	for_each_vcpu(vm, id, vcpu)
	{
		out->active |= BIT_ULL(id);
		if (out->how && !READ_ONCE(vcpu->vc_in_run))
			out->suspended |= BIT_ULL(id);
		if (READ_ONCE(vcpu->vc_state) == VCPU_RUNNING)
			out->running |= BIT_ULL(id);
	}
	return 0;
}

int
ioctl_run(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_run *const run = arg;
	int error;

	if (run->flags)
		return -EINVAL;
	WRITE_ONCE(vcpu->vc_in_run, true);
	error = vcpu_run(vcpu);
	WRITE_ONCE(vcpu->vc_in_run, false);
	if (!error)
		run->exit = vcpu->vc_exit;
	return error;
}

int
ioctl_suspend(struct vm *vm, struct vcpu *unused, void *arg)
{
	const struct vmm_cpu *const cpu = arg;

	if (cpu->vcpu < -1 || cpu->vcpu >= (s32)vm->vm_maxcpu)
		return -EINVAL;
	return vm_suspend(vm, cpu->how);
}

int
ioctl_reinit(struct vm *vm, struct vcpu *unused, void *arg)
{
	return vm_reinit(vm);
}

/* ---- Addresses of the guest's own ------------------------------------------------------------ */

/* The exception that the guest would get; and, unless only asked, gets. */
static void
tell_exception(struct vcpu *vcpu, const struct vm_guest_exception *ge, bool inject, u32 *vector,
	       u32 *error_code)
{
	*vector = ge->ge_vector;
	*error_code = ge->ge_error_code;
	if (!inject)
		return;
	if (ge->ge_vector == VM_VECTOR_PF)
		vcpu->vc_cr2 = ge->ge_cr2;
	vcpu_inject_exception(vcpu, ge->ge_vector, ge->ge_error_code);
}

int
ioctl_gla2gpa(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_gla *const g = arg;
	const bool nofault = g->flags & VMM_GLA_NOFAULT;
	struct vm_guest_paging paging;
	struct vm_gla gla;
	int error;

	if (g->flags & ~VMM_GLA_NOFAULT)
		return -EINVAL;
	vcpu_paging(vcpu, &paging);
	error = (nofault ? vm_gla2gpa_nofault : vm_gla2gpa)(vm->vm_space, &paging, g->gla, g->prot,
							    &gla);
	g->fault = error == VM_GLA_EXCEPTION;
	g->gpa = 0;
	g->page_bytes = 0;
	g->vector = 0;
	g->error_code = 0;
	if (error == 0) {
		g->gpa = gla.gl_gpa;
		g->page_bytes = gla.gl_page_bytes;
	} else if (error == VM_GLA_EXCEPTION) {
		tell_exception(vcpu, &gla.gl_exception, !nofault, &g->vector, &g->error_code);
		error = 0;
	}
	return error;
}

/*
 * The bytes go through a buffer of ours: so no user memory is touched while pages are held, and
 * "all or nothing" includes the caller's buffer.
 */
static int
copy_bytes(struct vm *vm, struct vcpu *vcpu, struct vmm_copy *c, void *bytes, bool out)
{
	const unsigned int access = out ? PMAP_PROT_W : PMAP_PROT_R;
	struct vm_guest_paging paging;
	struct vm_copy cp;
	struct vm_gla gla;
	int error;

	vcpu_paging(vcpu, &paging);
	percpu_down_read(&vmm_quiet);
	error = vm_copy_setup(vm->vm_space, &paging, c->gla, c->len_bytes, access, &cp, &gla);
	if (!error) {
		if (out)
			vm_copyout(&cp, 0, bytes, c->len_bytes);
		else
			vm_copyin(&cp, 0, bytes, c->len_bytes);
		vm_copy_teardown(&cp);
	}
	percpu_up_read(&vmm_quiet);
	c->fault = error == VM_GLA_EXCEPTION;
	c->vector = 0;
	c->error_code = 0;
	if (error == VM_GLA_EXCEPTION) {
		tell_exception(vcpu, &gla.gl_exception, true, &c->vector, &c->error_code);
		error = 0;
	}
	return error;
}

int
ioctl_copy(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_copy *const c = arg;
	const bool out = c->flags & VMM_COPY_OUT;
	void __user *const user = u64_to_user_ptr(c->buf);
	void *bytes;
	int error = 0;

	if (c->flags & ~VMM_COPY_OUT || c->len_bytes > VMM_COPY_BYTES_MAX)
		return -EINVAL;
	bytes = kvzalloc(max_t(u64, c->len_bytes, 1), GFP_KERNEL_ACCOUNT);
	if (!bytes)
		return -ENOMEM;
	if (out && copy_from_user(bytes, user, c->len_bytes))
		error = -EFAULT;
	if (!error)
		error = copy_bytes(vm, vcpu, c, bytes, out);
	if (!error && !c->fault && !out && copy_to_user(user, bytes, c->len_bytes))
		error = -EFAULT;
	kvfree(bytes);
	return error;
}
