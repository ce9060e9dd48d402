/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/* Calls on interrupt and timer hardware. */

#include "kmod/vmm_priv.h"

/* Class READERS, as VMM_ACTIVATE_CPU: the two take turns by vm_activate_lock. */
int
ioctl_set_platform(struct vm *vm, struct vcpu *unused, void *arg)
{
	const struct vmm_platform *const p = arg;
	struct vcpu *vcpu;
	unsigned int id;
	int error = 0;

	mutex_lock(&vm->vm_activate_lock);
	if (vm->vm_platform)
		error = -EBUSY;
	for_each_vcpu(vm, id, vcpu) error = -EBUSY;
	if (!error)
		error = platform_create(vm, p->kind, p->flags);
	mutex_unlock(&vm->vm_activate_lock);
	return error;
}

int
ioctl_irq_line(struct vm *vm, struct vcpu *unused, void *arg)
{
	const struct vmm_irq_line *const line = arg;

	return platform_irq_line(vm, line->pin, line->level);
}

int
ioctl_msi(struct vm *vm, struct vcpu *unused, void *arg)
{
	const struct vmm_msi *const msi = arg;

	return platform_msi(vm, msi->addr, msi->data);
}

int
ioctl_apic_access(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	struct vmm_apic_access *const a = arg;

	if (a->write > 1)
		return -EINVAL;
	return vcpu_platform_access(vcpu, a->gpa, a->bytes, a->write, &a->value);
}

int
ioctl_rtc(struct vm *vm, struct vcpu *unused, void *arg)
{
	struct vmm_rtc *const rtc = arg;

	return platform_rtc(vm, rtc->op, rtc->offset, &rtc->value);
}

int
ioctl_apic_state(struct vm *vm, struct vcpu *vcpu, void *arg)
{
	return vcpu_platform_state(vcpu, arg);
}
