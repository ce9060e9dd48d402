/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What of a machine's interrupt and timer hardware is there once: wires into IOAPIC and 8259,
 * messages, I/O ports, the clock.
 *
 * Wires are numbered as the IOAPIC's pins. Those below 16 lead to an 8259 as well, but for the
 * timer, whose interrupt 0 is pin 2, and the cascade, which is input 2. PIT (2, and 0 of the 8259)
 * and RTC (8) drive theirs from here.
 */

#include "kmod/vm_platform.h"

#define RTC_PIN 8u
#define PIT_IRQ 0u

#define PORT_DELAY 0x80 /* written by kernels to lose some time */
#define PORT_DELAY_2 0xed

/* ---- Messages -------------------------------------------------------------------------------- */

void
platform_send(struct platform *pl, int from, const struct apic_msg *msg)
{
	apic_deliver(pl->pl_lapics, pl->pl_vm->vm_maxcpu, from, msg, &pl->pl_turn);
}

static void
send_from_ioapic(void *arg, const struct apic_msg *msg)
{
	platform_send(arg, -1, msg);
}

int
platform_msi(struct vm *vm, u64 addr, u32 data)
{
	struct apic_msg msg;
	int error;

	if (!vm->vm_platform)
		return -ENODEV;
	error = apic_msi(addr, data, &msg);
	if (!error)
		platform_send(vm->vm_platform, -1, &msg);
	return error;
}

/* ---- The 8259 -------------------------------------------------------------------------------- */

/* pl_lock held. Its output is every CPU's LINT0. */
static void
pic_changed(struct platform *pl)
{
	const bool intr = pic_output(&pl->pl_pic);
	const bool rose = intr && !pl->pl_intr;
	struct vcpu *vcpu;
	unsigned int id;

	WRITE_ONCE(pl->pl_intr, intr);
	if (!rose)
		return;
	for (id = 0; id < pl->pl_vm->vm_maxcpu; id++) {
		vcpu = vm_vcpu(pl->pl_vm, id);
		if (!vcpu || !READ_ONCE(pl->pl_lapics[id]))
			continue;
		lapic_lint0(pl->pl_lapics[id]);
		if (lapic_takes_extint(pl->pl_lapics[id]))
			vcpu_kick(vcpu);
	}
}

u8
platform_pic_accept(struct platform *pl)
{
	unsigned long flags;
	u8 vector;

	spin_lock_irqsave(&pl->pl_lock, flags);
	vector = pic_accept(&pl->pl_pic);
	/* One that is wanted next is an edge anew to who has been served. */
	WRITE_ONCE(pl->pl_intr, false);
	pic_changed(pl);
	spin_unlock_irqrestore(&pl->pl_lock, flags);
	return vector;
}

/* ---- Wires ----------------------------------------------------------------------------------- */

/* pl_lock held. */
static void
set_line(struct platform *pl, unsigned int pin, bool high)
{
	const unsigned int irq = pin == VMM_PIT_PIN ? PIT_IRQ : pin;

	ioapic_set_line(&pl->pl_ioapic, pin, high);
	if (irq < PIC_IRQS) {
		pic_set_line(&pl->pl_pic, irq, high);
		pic_changed(pl);
	}
}

static void
pulse(struct platform *pl, unsigned int pin)
{
	set_line(pl, pin, true);
	set_line(pl, pin, false);
}

int
platform_irq_line(struct vm *vm, u32 pin, u32 level)
{
	struct platform *const pl = vm->vm_platform;
	unsigned long flags;

	if (!pl)
		return -ENODEV;
	if (pin >= VMM_IOAPIC_PINS || level > VMM_IRQ_PULSE || pin == PIT_IRQ ||
	    pin == VMM_PIT_PIN || pin == RTC_PIN)
		return -EINVAL;
	spin_lock_irqsave(&pl->pl_lock, flags);
	if (level == VMM_IRQ_PULSE)
		pulse(pl, pin);
	else
		set_line(pl, pin, level == VMM_IRQ_HIGH);
	spin_unlock_irqrestore(&pl->pl_lock, flags);
	return 0;
}

void
platform_eoi(struct platform *pl, u8 vector)
{
	unsigned long flags;

	spin_lock_irqsave(&pl->pl_lock, flags);
	ioapic_eoi(&pl->pl_ioapic, vector);
	spin_unlock_irqrestore(&pl->pl_lock, flags);
}

void
platform_ioapic_access(struct platform *pl, u64 offset, bool write, u32 *value)
{
	unsigned long flags;

	spin_lock_irqsave(&pl->pl_lock, flags);
	if (write)
		ioapic_write(&pl->pl_ioapic, offset, *value);
	else
		*value = ioapic_read(&pl->pl_ioapic, offset);
	spin_unlock_irqrestore(&pl->pl_lock, flags);
}

/* ---- Ticks that are owed --------------------------------------------------------------------- */

/*
 * A vCPU that the host did not run for some periods of the PIT would lose them, as a CPU does that
 * has interrupts off for so long; but it did nothing of the kind, and kernels count ticks to see
 * whether the timer works. So missed ticks come again, each when the one before was accepted; of
 * a long pause the last ones only.
 */
#define TICKS_OWED_MAX 50u

/* pl_lock held. */
static bool
tick_waits(struct platform *pl)
{
	const int vector = ioapic_vector(&pl->pl_ioapic, VMM_PIT_PIN);
	unsigned int id;

	if (pic_requested(&pl->pl_pic, PIT_IRQ))
		return true;
	for (id = 0; vector >= 0 && id < pl->pl_vm->vm_maxcpu; id++)
		if (READ_ONCE(pl->pl_lapics[id]) && lapic_requested(pl->pl_lapics[id], vector))
			return true;
	return false;
}

/* pl_lock held. */
static void
tick(struct platform *pl)
{
	if (pl->pl_ticks == 0 || tick_waits(pl))
		return;
	WRITE_ONCE(pl->pl_ticks, pl->pl_ticks - 1);
	pulse(pl, VMM_PIT_PIN);
}

void
platform_tick_again(struct platform *pl)
{
	unsigned long flags;

	if (!READ_ONCE(pl->pl_ticks))
		return;
	spin_lock_irqsave(&pl->pl_lock, flags);
	tick(pl);
	spin_unlock_irqrestore(&pl->pl_lock, flags);
}

/* ---- Timers ---------------------------------------------------------------------------------- */

/* pl_lock held; so the next two. */
static void
run_pit(struct platform *pl)
{
	const u64 n = pit_run(&pl->pl_pit, platform_now());

	WRITE_ONCE(pl->pl_ticks, min_t(u64, pl->pl_ticks + n, TICKS_OWED_MAX));
	tick(pl);
	platform_arm(&pl->pl_pit_timer, pit_deadline(&pl->pl_pit));
}

static void
run_rtc(struct platform *pl)
{
	set_line(pl, RTC_PIN, rtc_run(&pl->pl_rtc, platform_now()));
	platform_arm(&pl->pl_rtc_timer, rtc_deadline(&pl->pl_rtc));
}

static enum hrtimer_restart
pit_timer(struct hrtimer *timer)
{
	struct platform *const pl = container_of(timer, struct platform, pl_pit_timer);
	unsigned long flags;

	spin_lock_irqsave(&pl->pl_lock, flags);
	run_pit(pl);
	spin_unlock_irqrestore(&pl->pl_lock, flags);
	return HRTIMER_NORESTART; /* or it has been started again */
}

static enum hrtimer_restart
rtc_timer(struct hrtimer *timer)
{
	struct platform *const pl = container_of(timer, struct platform, pl_rtc_timer);
	unsigned long flags;

	spin_lock_irqsave(&pl->pl_lock, flags);
	run_rtc(pl);
	spin_unlock_irqrestore(&pl->pl_lock, flags);
	return HRTIMER_NORESTART;
}

/* ---- Ports ----------------------------------------------------------------------------------- */

/* pl_lock held. False: not one of ours. */
static bool
port_byte(struct platform *pl, u16 port, bool in, u8 *byte)
{
	const u64 now = platform_now();

	if (pit_has_port(port)) {
		if (in)
			*byte = pit_read(&pl->pl_pit, port, now);
		else
			pit_write(&pl->pl_pit, port, *byte, now);
		if (!in && (port == 0x40 || port == 0x43))
			WRITE_ONCE(pl->pl_ticks, 0); /* of how it was set before */
		platform_arm(&pl->pl_pit_timer, pit_deadline(&pl->pl_pit));
	} else if (pic_has_port(port)) {
		if (in)
			*byte = pic_read(&pl->pl_pic, port);
		else
			pic_write(&pl->pl_pic, port, *byte);
		pic_changed(pl);
		tick(pl);
	} else if (rtc_has_port(port)) {
		if (in)
			*byte = rtc_read(&pl->pl_rtc, port, now);
		else
			rtc_write(&pl->pl_rtc, port, *byte, now);
		run_rtc(pl);
	} else if (port == PORT_DELAY || port == PORT_DELAY_2) {
		if (in)
			*byte = 0xff;
	} else {
		return false;
	}
	return true;
}

/* The ACPI timer is read as a whole; the others are of bytes, wider accesses several of them. */
bool
platform_inout(struct vm *vm, u16 port, unsigned int bytes, bool in, u32 *value)
{
	struct platform *const pl = vm->vm_platform;
	unsigned long flags;
	u32 result = 0;
	unsigned int i;

	if (port >= VMM_PMTIMER_PORT && port + bytes <= VMM_PMTIMER_PORT + 4) {
		if (in)
			*value = pmtimer_read(platform_now()) >> (port - VMM_PMTIMER_PORT) * 8;
		return true;
	}
	spin_lock_irqsave(&pl->pl_lock, flags);
	for (i = 0; i < bytes; i++) {
		u8 byte = in ? 0xff : *value >> i * 8;

		if (!port_byte(pl, port + i, in, &byte) && i == 0)
			break;
		result |= (u32)byte << i * 8;
	}
	spin_unlock_irqrestore(&pl->pl_lock, flags);
	if (i == 0)
		return false;
	if (in)
		*value = result;
	return true;
}

/* ---- The clock, from outside ----------------------------------------------------------------- */

int
platform_rtc(struct vm *vm, u32 op, u32 offset, u64 *value)
{
	struct platform *const pl = vm->vm_platform;
	const u64 now = platform_now();
	unsigned long flags;
	int error = 0;
	u8 byte = *value;

	if (!pl)
		return -ENODEV;
	if ((op == VMM_RTC_SET_TIME && *value > RTC_TIME_MAX) ||
	    (op == VMM_RTC_SET_NVRAM && *value > 255))
		return -EINVAL;
	spin_lock_irqsave(&pl->pl_lock, flags);
	switch (op) {
	case VMM_RTC_GET_TIME:
		*value = rtc_time(&pl->pl_rtc, now);
		break;
	case VMM_RTC_SET_TIME:
		rtc_set_time(&pl->pl_rtc, *value, now);
		run_rtc(pl);
		break;
	case VMM_RTC_GET_NVRAM:
	case VMM_RTC_SET_NVRAM:
		error = rtc_nvram(&pl->pl_rtc, offset, op == VMM_RTC_SET_NVRAM, &byte);
		if (!error)
			*value = byte;
		break;
	default:
		error = -EINVAL;
		break;
	}
	spin_unlock_irqrestore(&pl->pl_lock, flags);
	return error;
}

/* ---- Life ------------------------------------------------------------------------------------ */

int
platform_create(struct vm *vm, u32 kind, u32 flags)
{
	struct platform *pl;

	if (flags & ~VMM_PLATFORM_HALT_DETECT)
		return -EINVAL;
	if (kind != VMM_PLATFORM_PC)
		return -EOPNOTSUPP;
	pl = host_alloc(sizeof(*pl));
	if (!pl)
		return -ENOMEM;
	pl->pl_vm = vm;
	pl->pl_flags = flags;
	spin_lock_init(&pl->pl_lock);
	hrtimer_init(&pl->pl_pit_timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	pl->pl_pit_timer.function = pit_timer;
	hrtimer_init(&pl->pl_rtc_timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	pl->pl_rtc_timer.function = rtc_timer;
	pl->pl_ioapic.io_send = send_from_ioapic;
	pl->pl_ioapic.io_arg = pl;
	ioapic_reset(&pl->pl_ioapic);
	pic_reset(&pl->pl_pic);
	pit_reset(&pl->pl_pit, platform_now());
	rtc_init(&pl->pl_rtc, ktime_get_real_seconds(), platform_now());
	smp_store_release(&vm->vm_platform, pl);
	return 0;
}

/* All vCPUs are frozen. Lines are their owners' to say; the clock goes on. */
void
platform_reset(struct vm *vm)
{
	struct platform *const pl = vm->vm_platform;
	unsigned long flags;

	if (!pl)
		return;
	spin_lock_irqsave(&pl->pl_lock, flags);
	ioapic_reset(&pl->pl_ioapic);
	pic_reset(&pl->pl_pic);
	pl->pl_intr = false;
	pl->pl_ticks = 0;
	pit_reset(&pl->pl_pit, platform_now());
	rtc_reset(&pl->pl_rtc, platform_now());
	platform_arm(&pl->pl_pit_timer, PLAT_NEVER);
	run_rtc(pl);
	spin_unlock_irqrestore(&pl->pl_lock, flags);
}

/* No call is being made any more: nothing starts a timer again. */
void
platform_stop(struct vm *vm)
{
	struct platform *const pl = vm->vm_platform;

	if (!pl)
		return;
	hrtimer_cancel(&pl->pl_pit_timer);
	hrtimer_cancel(&pl->pl_rtc_timer);
}

void
platform_free(struct vm *vm)
{
	if (vm->vm_platform)
		host_free(vm->vm_platform, sizeof(*vm->vm_platform));
	vm->vm_platform = NULL;
}
