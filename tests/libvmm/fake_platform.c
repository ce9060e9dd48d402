/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The fake kernel's interrupt hardware: it remembers what it was told, and refuses what
 * kmod/uapi/vmm_irq.h says is refused.
 */

#include <errno.h>
#include <string.h>

#include "fake_priv.h"

static int
set_platform(struct fk_machine *m, const struct vmm_platform *req)
{
	if (req->flags & ~VMM_PLATFORM_HALT_DETECT)
		return EINVAL;
	if (req->kind != VMM_PLATFORM_PC)
		return EOPNOTSUPP;
	for (unsigned int i = 0; i < FK_CPUS; i++)
		if (m->cpus[i].active)
			return EBUSY;
	if (m->platform)
		return EBUSY;
	m->platform = true;
	m->rtc_seconds = 1000000000;
	return 0;
}

static int
irq_line(struct fk_machine *m, const struct vmm_irq_line *req)
{
	if (req->pin >= VMM_IOAPIC_PINS || req->level > VMM_IRQ_PULSE)
		return EINVAL;
	m->pins[req->pin] = (uint8_t)req->level;
	return 0;
}

static int
msi(struct fk_machine *m, const struct vmm_msi *req)
{
	if (req->addr >> 20 != 0xfee)
		return EINVAL;
	m->msi = *req;
	return 0;
}

/* The local APIC alone: each of its registers keeps what was written. */
static int
apic_access(struct fk_machine *m, struct vmm_apic_access *req)
{
	const uint64_t at = req->gpa - VMM_LAPIC_GPA;

	if (req->bytes != 1 && req->bytes != 2 && req->bytes != 4 && req->bytes != 8)
		return EINVAL;
	if (at >= VMM_LAPIC_BYTES)
		return EFAULT;
	if (req->vcpu < 0 || req->vcpu >= FK_CPUS || !m->cpus[req->vcpu].active)
		return ENOENT;
	if (req->write)
		m->apic[at / 16] = req->value;
	else
		req->value = m->apic[at / 16];
	return 0;
}

static int
apic_state(struct fk_machine *m, struct vmm_apic_state *req)
{
	if (req->vcpu < 0 || req->vcpu >= FK_CPUS || !m->cpus[req->vcpu].active)
		return ENOENT;
	req->mode = VMM_APIC_XAPIC;
	req->base = VMM_LAPIC_GPA;
	for (unsigned int i = 0; i < 64; i++)
		req->regs[i] = (uint32_t)m->apic[i];
	return 0;
}

static int
rtc(struct fk_machine *m, struct vmm_rtc *req)
{
	const bool byte = req->offset >= 14 && req->offset < 128 && req->offset != 50;

	switch (req->op) {
	case VMM_RTC_GET_TIME:
		req->value = m->rtc_seconds;
		return 0;
	case VMM_RTC_SET_TIME:
		m->rtc_seconds = req->value;
		return 0;
	case VMM_RTC_GET_NVRAM:
		if (!byte)
			return EINVAL;
		req->value = m->rtc_memory[req->offset];
		return 0;
	case VMM_RTC_SET_NVRAM:
		if (!byte || req->value > 255)
			return EINVAL;
		m->rtc_memory[req->offset] = (uint8_t)req->value;
		return 0;
	default:
		return EINVAL;
	}
}

int
fk_platform_call(struct fk_machine *m, unsigned long cmd, void *arg)
{
	if (cmd == VMM_SET_PLATFORM)
		return set_platform(m, arg);
	if (_IOC_NR(cmd) < _IOC_NR(VMM_SET_PLATFORM) || _IOC_NR(cmd) > _IOC_NR(VMM_APIC_STATE))
		return -1;
	if (!m->platform)
		return ENODEV;
	switch (cmd) {
	case VMM_IRQ_LINE:
		return irq_line(m, arg);
	case VMM_MSI:
		return msi(m, arg);
	case VMM_APIC_ACCESS:
		return apic_access(m, arg);
	case VMM_APIC_STATE:
		return apic_state(m, arg);
	case VMM_RTC:
		return rtc(m, arg);
	default:
		return ENOTTY;
	}
}
