/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * vCPUs: handles, registers, events, running, and addresses of the guest's own. Each is one call of
 * the module; what is here beside that is the shape and the sentence.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libvmm/libvmm_priv.h"

/* ---- Handles --------------------------------------------------------------------------------- */

struct vcpu *
vm_vcpu_open(struct vmctx *ctx, int id)
{
	struct vcpu *vcpu;

	if (id < 0 || id >= VMM_MAXCPU) {
		vmm_fail(-EINVAL, "there is no vCPU %d: they are 0 to %d", id, VMM_MAXCPU - 1);
		return NULL;
	}
	vcpu = calloc(1, sizeof(*vcpu));
	if (!vcpu) {
		vmm_fail(-ENOMEM, "no memory for vCPU %d", id);
		return NULL;
	}
	vcpu->vc_ctx = ctx;
	vcpu->vc_id = id;
	pthread_mutex_lock(&ctx->vx_lock);
	vcpu->vc_next = ctx->vx_vcpus;
	ctx->vx_vcpus = vcpu;
	pthread_mutex_unlock(&ctx->vx_lock);
	return vcpu;
}

void
vm_vcpu_close(struct vcpu *vcpu)
{
	struct vmctx *ctx;
	struct vcpu **link;

	if (!vcpu)
		return;
	ctx = vcpu->vc_ctx;
	pthread_mutex_lock(&ctx->vx_lock);
	for (link = &ctx->vx_vcpus; *link != vcpu;)
		link = &(*link)->vc_next;
	*link = vcpu->vc_next;
	pthread_mutex_unlock(&ctx->vx_lock);
	free(vcpu);
}

int
vcpu_id(const struct vcpu *vcpu)
{
	return vcpu->vc_id;
}

struct vmctx *
vcpu_ctx(const struct vcpu *vcpu)
{
	return vcpu->vc_ctx;
}

int
vm_activate_cpu(struct vcpu *vcpu)
{
	struct vmm_cpu cpu = {.vcpu = vcpu->vc_id};
	const int error = vm_ioctl_quiet(vcpu->vc_ctx, VMM_ACTIVATE_CPU, &cpu);

	if (error == 0)
		return 0;
	return vmm_fail(error, "machine '%s': cannot activate vCPU %d: %s", vcpu->vc_ctx->vx_name,
			vcpu->vc_id,
			error == -EBUSY	   ? "it is active already"
			: error == -EINVAL ? "the machine has not so many vCPUs"
					   : strerror(-error));
}

int
vm_get_cpus(struct vmctx *ctx, struct vmm_cpus *cpus)
{
	struct vmm_cpus now = {0};
	const int error = vm_ioctl(ctx, VMM_GET_CPUS, &now, "look at vCPUs");

	if (error == 0)
		*cpus = now;
	return error;
}

/* ---- Registers ------------------------------------------------------------------------------- */

int
vm_get_register_set(struct vcpu *vcpu, unsigned int n, const enum vmm_reg *regs, uint64_t *values)
{
	struct vmm_regs set = {.vcpu = vcpu->vc_id, .n = n};
	int error;

	if (n > VMM_REGS_MAX)
		return vmm_fail(-EINVAL, "at most %d registers at once", VMM_REGS_MAX);
	for (unsigned int i = 0; i < n; i++)
		set.regs[i] = regs[i];
	error = vcpu_ioctl(vcpu, VMM_GET_REGS, &set, "get registers");
	for (unsigned int i = 0; i < n && error == 0; i++)
		values[i] = set.values[i];
	return error;
}

int
vm_set_register_set(struct vcpu *vcpu, unsigned int n, const enum vmm_reg *regs,
		    const uint64_t *values)
{
	struct vmm_regs set = {.vcpu = vcpu->vc_id, .n = n};

	if (n > VMM_REGS_MAX)
		return vmm_fail(-EINVAL, "at most %d registers at once", VMM_REGS_MAX);
	for (unsigned int i = 0; i < n; i++) {
		set.regs[i] = regs[i];
		set.values[i] = values[i];
	}
	return vcpu_ioctl(vcpu, VMM_SET_REGS, &set, "set registers");
}

int
vm_get_register(struct vcpu *vcpu, enum vmm_reg reg, uint64_t *value)
{
	return vm_get_register_set(vcpu, 1, &reg, value);
}

int
vm_set_register(struct vcpu *vcpu, enum vmm_reg reg, uint64_t value)
{
	return vm_set_register_set(vcpu, 1, &reg, &value);
}

int
vm_get_desc(struct vcpu *vcpu, enum vmm_reg reg, uint64_t *base, uint32_t *limit, uint32_t *access)
{
	struct vmm_desc desc = {.vcpu = vcpu->vc_id, .reg = reg};
	const int error = vcpu_ioctl(vcpu, VMM_GET_DESC, &desc, "get a descriptor");

	if (error == 0) {
		*base = desc.base;
		*limit = desc.limit;
		*access = desc.access;
	}
	return error;
}

int
vm_set_desc(struct vcpu *vcpu, enum vmm_reg reg, uint64_t base, uint32_t limit, uint32_t access)
{
	struct vmm_desc desc = {
		.vcpu = vcpu->vc_id, .reg = reg, .base = base, .limit = limit, .access = access};

	return vcpu_ioctl(vcpu, VMM_SET_DESC, &desc, "set a descriptor");
}

int
vm_get_field(struct vcpu *vcpu, uint32_t field, uint64_t *value)
{
	struct vmm_field f = {.vcpu = vcpu->vc_id, .field = field};
	const int error = vcpu_ioctl(vcpu, VMM_GET_FIELD, &f, "get a field of its control block");

	if (error == 0)
		*value = f.value;
	return error;
}

int
vm_set_field(struct vcpu *vcpu, uint32_t field, uint64_t value)
{
	struct vmm_field f = {.vcpu = vcpu->vc_id, .field = field, .value = value};

	return vcpu_ioctl(vcpu, VMM_SET_FIELD, &f, "set a field of its control block");
}

/* ---- Capabilities, events -------------------------------------------------------------------- */

int
vm_get_capability(struct vcpu *vcpu, enum vmm_cap cap, uint64_t *value)
{
	struct vmm_capability c = {.vcpu = vcpu->vc_id, .cap = cap};
	const int error = vcpu_ioctl(vcpu, VMM_GET_CAPABILITY, &c, "get a capability");

	if (error == 0)
		*value = c.value;
	return error;
}

int
vm_set_capability(struct vcpu *vcpu, enum vmm_cap cap, uint64_t value)
{
	struct vmm_capability c = {.vcpu = vcpu->vc_id, .cap = cap, .value = value};

	return vcpu_ioctl(vcpu, VMM_SET_CAPABILITY, &c, "set a capability");
}

int
vm_inject_exception(struct vcpu *vcpu, unsigned int vector, int64_t error_code)
{
	struct vmm_inject in = {
		.vcpu = vcpu->vc_id, .event = VMM_EVENT_EXCEPTION, .vector = vector};

	if (error_code > UINT32_MAX)
		return vmm_fail(-EINVAL, "an error code has 32 bits");
	if (error_code >= 0) {
		in.flags = VMM_EVENT_HAS_ERROR;
		in.error_code = (uint32_t)error_code;
	}
	return vcpu_ioctl(vcpu, VMM_INJECT, &in, "inject an exception");
}

int
vm_inject_intr(struct vcpu *vcpu, unsigned int vector)
{
	struct vmm_inject in = {.vcpu = vcpu->vc_id, .event = VMM_EVENT_INTR, .vector = vector};

	return vcpu_ioctl(vcpu, VMM_INJECT, &in, "inject an interrupt");
}

int
vm_inject_nmi(struct vcpu *vcpu)
{
	struct vmm_inject in = {.vcpu = vcpu->vc_id, .event = VMM_EVENT_NMI};

	return vcpu_ioctl(vcpu, VMM_INJECT, &in, "inject an NMI");
}

int
vm_get_intinfo(struct vcpu *vcpu, uint64_t *exit_intinfo, uint64_t *event_intinfo)
{
	struct vmm_intinfo info = {.vcpu = vcpu->vc_id};
	const int error = vcpu_ioctl(vcpu, VMM_GET_INTINFO, &info, "see what is pending");

	if (error == 0) {
		*exit_intinfo = info.exit_intinfo;
		*event_intinfo = info.event_intinfo;
	}
	return error;
}

/* ---- Running --------------------------------------------------------------------------------- */

int
vm_run(struct vcpu *vcpu, struct vmm_exit *exit)
{
	struct vmm_run run = {.vcpu = vcpu->vc_id};
	const int error = vcpu_ioctl(vcpu, VMM_RUN, &run, "run");

	if (error == 0)
		*exit = run.exit;
	return error;
}

int
vm_suspend(struct vmctx *ctx, enum vmm_suspend_how how)
{
	struct vmm_cpu cpu = {.how = how};

	return vm_ioctl(ctx, VMM_SUSPEND, &cpu, "suspend");
}

int
vm_reinit(struct vmctx *ctx)
{
	const int error = vm_ioctl_quiet(ctx, VMM_REINIT, NULL);

	if (error == -EBUSY)
		return vmm_fail(error,
				"machine '%s': cannot be reset before all its vCPUs are "
				"suspended",
				ctx->vx_name);
	if (error)
		return vmm_fail(error, "machine '%s': cannot be reset: %s", ctx->vx_name,
				strerror(-error));
	return 0;
}

/* ---- Addresses of the guest's own ------------------------------------------------------------ */

static int
gla2gpa(struct vcpu *vcpu, uint64_t gla, unsigned int prot, uint32_t flags, uint64_t *gpa,
	int *fault)
{
	struct vmm_gla g = {.vcpu = vcpu->vc_id, .flags = flags, .prot = prot, .gla = gla};
	const int error = vcpu_ioctl(vcpu, VMM_GLA2GPA, &g, "translate an address");

	if (error)
		return error;
	*gpa = g.gpa;
	*fault = g.fault != 0;
	return 0;
}

int
vm_gla2gpa(struct vcpu *vcpu, uint64_t gla, unsigned int prot, uint64_t *gpa, int *fault)
{
	return gla2gpa(vcpu, gla, prot, 0, gpa, fault);
}

int
vm_gla2gpa_nofault(struct vcpu *vcpu, uint64_t gla, unsigned int prot, uint64_t *gpa, int *fault)
{
	return gla2gpa(vcpu, gla, prot, VMM_GLA_NOFAULT, gpa, fault);
}

static int
copy(struct vcpu *vcpu, uint64_t gla, uint64_t buf, size_t bytes, uint32_t flags, int *fault)
{
	struct vmm_copy c = {
		.vcpu = vcpu->vc_id, .flags = flags, .gla = gla, .buf = buf, .len_bytes = bytes};
	int error;

	if (bytes > VMM_COPY_BYTES_MAX)
		return vmm_fail(-EINVAL, "at most %u bytes are copied at once", VMM_COPY_BYTES_MAX);
	error = vcpu_ioctl(vcpu, VMM_COPY, &c, "copy guest memory");
	if (error == 0)
		*fault = c.fault != 0;
	return error;
}

int
vm_copyin(struct vcpu *vcpu, uint64_t gla, void *to, size_t bytes, int *fault)
{
	return copy(vcpu, gla, (uintptr_t)to, bytes, 0, fault);
}

int
vm_copyout(struct vcpu *vcpu, const void *from, uint64_t gla, size_t bytes, int *fault)
{
	return copy(vcpu, gla, (uintptr_t)from, bytes, VMM_COPY_OUT, fault);
}
