/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Interrupt and timer hardware, which the module has: wires, messages, registers that user space
 * decodes accesses to, and the clock. All of it may be used from any thread while vCPUs run.
 */

#include <errno.h>
#include <string.h>

#include "libvmm/libvmm_priv.h"

int
vm_set_platform(struct vmctx *ctx, unsigned int flags)
{
	struct vmm_platform platform = {.kind = VMM_PLATFORM_PC, .flags = flags};
	const int error = vm_ioctl_quiet(ctx, VMM_SET_PLATFORM, &platform);

	if (error == -EBUSY)
		return vmm_fail(error,
				"machine '%s': cannot get interrupt hardware: it has it, or a "
				"vCPU is active already",
				ctx->vx_name);
	if (error)
		return vmm_fail(error, "machine '%s': cannot get interrupt hardware: %s",
				ctx->vx_name, strerror(-error));
	return 0;
}

int
vm_irq_line(struct vmctx *ctx, unsigned int pin, enum vmm_irq_level level)
{
	struct vmm_irq_line line = {.pin = pin, .level = level};

	return vm_ioctl(ctx, VMM_IRQ_LINE, &line, "set an interrupt line");
}

int
vm_msi(struct vmctx *ctx, uint64_t addr, uint32_t data)
{
	struct vmm_msi msi = {.addr = addr, .data = data};

	return vm_ioctl(ctx, VMM_MSI, &msi, "send an interrupt message");
}

int
vm_apic_access(struct vcpu *vcpu, uint64_t gpa, unsigned int bytes, bool write, uint64_t *value)
{
	struct vmm_apic_access access = {
		.vcpu = vcpu->vc_id,
		.bytes = bytes,
		.gpa = gpa,
		.value = write ? *value : 0,
		.write = write,
	};
	const int error = vm_ioctl_quiet(vcpu->vc_ctx, VMM_APIC_ACCESS, &access);

	if (error == -EFAULT)
		return vmm_fail(error, "machine '%s': no register of an APIC is at 0x%llx",
				vcpu->vc_ctx->vx_name, (unsigned long long)gpa);
	if (error)
		return vcpu_ioctl_fail(vcpu, error, "reach a register of an APIC");
	if (!write)
		*value = access.value;
	return 0;
}

int
vm_apic_state(struct vcpu *vcpu, struct vmm_apic_state *state)
{
	struct vmm_apic_state now = {.vcpu = vcpu->vc_id};
	const int error = vcpu_ioctl(vcpu, VMM_APIC_STATE, &now, "see the local APIC");

	if (error == 0)
		*state = now;
	return error;
}

/* ---- The clock ------------------------------------------------------------------------------- */

int
vm_rtc_gettime(struct vmctx *ctx, uint64_t *seconds)
{
	struct vmm_rtc rtc = {.op = VMM_RTC_GET_TIME};
	const int error = vm_ioctl(ctx, VMM_RTC, &rtc, "read the clock");

	if (error == 0)
		*seconds = rtc.value;
	return error;
}

int
vm_rtc_settime(struct vmctx *ctx, uint64_t seconds)
{
	struct vmm_rtc rtc = {.op = VMM_RTC_SET_TIME, .value = seconds};

	return vm_ioctl(ctx, VMM_RTC, &rtc, "set the clock");
}

int
vm_rtc_read(struct vmctx *ctx, unsigned int offset, uint8_t *value)
{
	struct vmm_rtc rtc = {.op = VMM_RTC_GET_NVRAM, .offset = offset};
	const int error = vm_ioctl(ctx, VMM_RTC, &rtc, "read the clock's memory");

	if (error == 0)
		*value = (uint8_t)rtc.value;
	return error;
}

int
vm_rtc_write(struct vmctx *ctx, unsigned int offset, uint8_t value)
{
	struct vmm_rtc rtc = {.op = VMM_RTC_SET_NVRAM, .offset = offset, .value = value};

	return vm_ioctl(ctx, VMM_RTC, &rtc, "write the clock's memory");
}
