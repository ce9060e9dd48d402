/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Calls on interrupt hardware: what goes in arrives, what comes out is told, errors have words. */

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "fake_kernel.h"
#include "fake_priv.h"

static struct vmctx *ctx;
static struct vcpu *vcpu;

static void
begin(void)
{
	fk_install();
	ctx = vm_openf("m", &(struct vm_open_opts){.flags = VMMAPI_OPEN_CREATE});
	vcpu = vm_vcpu_open(ctx, 1);
}

static void
end(void)
{
	vm_close(ctx);
}

TestSuite(platform, .init = begin, .fini = end);

static void
says(const char *what)
{
	cr_assert(strstr(vmm_errmsg(), what) != NULL, "'%s' is not in: %s", what, vmm_errmsg());
}

Test(platform, is_asked_for_once_and_first)
{
	uint64_t seconds = 7;

	cr_assert_eq(vm_irq_line(ctx, 4, VMM_IRQ_HIGH), -ENODEV);
	says("machine 'm': cannot set an interrupt line: the machine has no interrupt hardware");
	cr_assert_eq(vm_rtc_gettime(ctx, &seconds), -ENODEV);
	cr_assert_eq(seconds, 7);
	cr_assert_eq(vm_set_platform(ctx, 0x80), -EINVAL);
	cr_assert_eq(vm_set_platform(ctx, VMM_PLATFORM_HALT_DETECT), 0);
	cr_assert_eq(vm_set_platform(ctx, 0), -EBUSY);
	says("cannot get interrupt hardware: it has it, or a vCPU is active already");
}

Test(platform, not_after_the_first_vcpu)
{
	vm_activate_cpu(vcpu);
	cr_assert_eq(vm_set_platform(ctx, 0), -EBUSY);
}

Test(platform, wires_and_messages)
{
	struct fk_machine *const m = fk_find("m");

	cr_assert_eq(vm_set_platform(ctx, 0), 0);
	cr_assert_eq(vm_irq_line(ctx, 23, VMM_IRQ_PULSE), 0);
	cr_assert_eq(m->pins[23], VMM_IRQ_PULSE);
	cr_assert_eq(vm_irq_line(ctx, 24, VMM_IRQ_LOW), -EINVAL);
	cr_assert_eq(vm_irq_line(ctx, 1, 3), -EINVAL);
	cr_assert_eq(vm_msi(ctx, 0xfee01000, 0x41), 0);
	cr_assert(m->msi.addr == 0xfee01000 && m->msi.data == 0x41);
	cr_assert_eq(vm_msi(ctx, 0xfed00000, 0x41), -EINVAL);
	says("cannot send an interrupt message");
}

Test(platform, registers)
{
	uint64_t value = 0xf0;
	struct vmm_apic_state state;

	cr_assert_eq(vm_set_platform(ctx, 0), 0);
	cr_assert_eq(vm_apic_state(vcpu, &state), -ENOENT);
	says("vCPU 1: cannot see the local APIC: the vCPU was never activated");
	cr_assert_eq(vm_apic_access(vcpu, VMM_LAPIC_GPA, 4, false, &value), -ENOENT);
	says("never activated");
	vm_activate_cpu(vcpu);
	cr_assert_eq(vm_apic_access(vcpu, VMM_LAPIC_GPA + 0x80, 4, true, &value), 0);
	value = 0;
	cr_assert_eq(vm_apic_access(vcpu, VMM_LAPIC_GPA + 0x80, 4, false, &value), 0);
	cr_assert_eq(value, 0xf0);
	cr_assert_eq(vm_apic_access(vcpu, 0x1000, 4, false, &value), -EFAULT);
	says("no register of an APIC is at 0x1000");
	cr_assert_eq(value, 0xf0);
	cr_assert_eq(vm_apic_access(vcpu, VMM_LAPIC_GPA, 3, false, &value), -EINVAL);
	cr_assert_eq(vm_apic_state(vcpu, &state), 0);
	cr_assert(state.mode == VMM_APIC_XAPIC && state.regs[8] == 0xf0);
}

Test(platform, clock)
{
	uint64_t seconds = 0;
	uint8_t byte = 0;

	cr_assert_eq(vm_set_platform(ctx, 0), 0);
	cr_assert(vm_rtc_gettime(ctx, &seconds) == 0 && seconds == 1000000000);
	cr_assert_eq(vm_rtc_settime(ctx, 5), 0);
	cr_assert(vm_rtc_gettime(ctx, &seconds) == 0 && seconds == 5);
	cr_assert_eq(vm_rtc_write(ctx, 0x34, 0xab), 0);
	cr_assert(vm_rtc_read(ctx, 0x34, &byte) == 0 && byte == 0xab);
	cr_assert_eq(vm_rtc_read(ctx, 13, &byte), -EINVAL);
	cr_assert_eq(vm_rtc_write(ctx, 50, 0), -EINVAL);
	cr_assert_eq(byte, 0xab);
}
