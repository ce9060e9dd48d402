/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Source: ACPI Specification 6.4, sections 4.8.2 (power button), 4.8.3 (PM1 registers), 4.8.3.6
 * (reset register). ACPI is always on: there is no SMI command port.
 */

#include <errno.h>
#include <pthread.h>

#include <stdbool.h>
#include <stddef.h>

#include "inout.h"
#include "libvmm/libvmm.h"
#include "pm.h"

#define PWRBTN (1u << 8) /* in status and enable */
#define STATUS_MASK 0xcd31u
#define CONTROL_SCI_EN (1u << 0)
#define CONTROL_SLP_TYP 10 /* 3 bits */
#define CONTROL_SLP_EN (1u << 13)
#define RESET_NOW 4u
#define KBD_PORT 0x64
#define KBD_RESET 0xfe

static struct {
	pthread_mutex_t lock;
	struct vmctx *ctx;
	uint16_t status, enable, control;
	bool level;
} pm = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void
update_sci(void)
{
	const bool level = pm.status & pm.enable;

	if (level != pm.level) {
		pm.level = level;
		vm_irq_line(pm.ctx, PM_SCI, level ? VMM_IRQ_HIGH : VMM_IRQ_LOW);
	}
}

static uint8_t
read_byte(unsigned int off)
{
	const uint16_t regs[PM_PORTS / 2] = {pm.status, pm.enable, pm.control | CONTROL_SCI_EN, 0};

	return (uint8_t)(regs[off / 2] >> off % 2 * 8);
}

static void
write_byte(unsigned int off, uint8_t value)
{
	const unsigned int shift = off % 2 * 8;
	const uint16_t bits = (uint16_t)(value << shift), mask = (uint16_t)(0xff << shift);

	switch (off / 2) {
	case 0: /* ones clear */
		pm.status &= (uint16_t)~bits;
		break;
	case 1:
		pm.enable = (uint16_t)((pm.enable & ~mask) | bits) & STATUS_MASK;
		break;
	case 2:
		pm.control = (uint16_t)((pm.control & ~mask) | bits);
		break;
	default:
		break;
	}
}

static int
pm1(struct vcpu *vcpu, uint16_t port, unsigned int bytes, bool write, uint32_t *value, void *arg)
{
	bool off = false;

	(void)vcpu;
	(void)arg;
	pthread_mutex_lock(&pm.lock);
	if (!write)
		*value = 0;
	for (unsigned int i = 0; i < bytes && port - PM_EVENT_PORT + i < PM_PORTS; i++) {
		const unsigned int at = port - PM_EVENT_PORT + i;

		if (write)
			write_byte(at, (uint8_t)(*value >> i * 8));
		else
			*value |= (uint32_t)read_byte(at) << i * 8;
	}
	if (pm.control & CONTROL_SLP_EN) {
		off = (pm.control >> CONTROL_SLP_TYP & 7) == PM_S5_TYPE;
		pm.control &= (uint16_t)~CONTROL_SLP_EN; /* it always reads as 0 */
	}
	update_sci();
	pthread_mutex_unlock(&pm.lock);
	if (off)
		vm_suspend(pm.ctx, VMM_SUSPEND_POWEROFF);
	return 0;
}

static int
reset(struct vcpu *vcpu, uint16_t port, unsigned int bytes, bool write, uint32_t *value, void *arg)
{
	(void)vcpu;
	(void)arg;
	(void)bytes;
	if (!write) {
		*value = 0;
	} else if (port == KBD_PORT ? (*value & 0xff) == KBD_RESET : *value & RESET_NOW) {
		vm_suspend(pm.ctx, VMM_SUSPEND_RESET);
	}
	return 0;
}

int
pm_init(struct vmctx *ctx)
{
	int error;

	pm.ctx = ctx;
	pm.status = pm.enable = pm.control = 0;
	pm.level = false;
	error = inout_register(PM_EVENT_PORT, PM_PORTS, pm1, NULL);
	if (error == 0)
		error = inout_register(PM_RESET_PORT, 1, reset, NULL);
	if (error == 0)
		error = inout_register(KBD_PORT, 1, reset, NULL);
	return error;
}

void
pm_power_button(void)
{
	bool listens;

	pthread_mutex_lock(&pm.lock);
	listens = pm.enable & PWRBTN;
	if (listens) {
		pm.status |= PWRBTN;
		update_sci();
	}
	pthread_mutex_unlock(&pm.lock);
	if (!listens)
		vm_suspend(pm.ctx, VMM_SUSPEND_POWEROFF);
}
