/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Interrupt and timer hardware: that what is sent arrives, once, at whom it is for, also while that
 * vCPU is about to halt or to enter; and that machines come to rest as they should. What each
 * register does is tested without a kernel (tests/platform).
 */

#include <sched.h>
#include <time.h>

#include "harness.h"

#define VECTOR 0x41u
#define VECTOR_2 0x62u
#define SPURIOUS 0xffu

#define MSR_APIC_BASE 0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define X2APIC(offset) (0x800 + (offset) / 16)
#define LVT_PERIODIC 0x20000u
#define LVT_DEADLINE 0x40000u
#define RFLAGS_IF 0x202u

static struct guest_events events;

static const struct guest_events *
seen(struct kt_vm *vm)
{
	KT_OK(kt_read(vm, GUEST_EVENTS, &events, sizeof(events)));
	return &events;
}

static void
wrmsr(struct kt_cpu *cpu, uint32_t index, uint64_t value)
{
	kt_call(cpu, GUEST_WRMSR, index, value, 0, 0);
}

static uint64_t
rdmsr(struct kt_cpu *cpu, uint32_t index)
{
	return kt_call(cpu, GUEST_RDMSR, index, 0, 0, 0);
}

static uint32_t
apic_read(struct kt_cpu *cpu, uint64_t gpa)
{
	uint64_t value = 0;

	KT_OK(vm_apic_access(cpu->vcpu, gpa, 4, false, &value));
	return (uint32_t)value;
}

static void
apic_write(struct kt_cpu *cpu, uint64_t gpa, uint32_t value)
{
	uint64_t word = value;

	KT_OK(vm_apic_access(cpu->vcpu, gpa, 4, true, &word));
}

/* A pin of the IOAPIC to that vCPU. */
static void
route(struct kt_cpu *cpu, unsigned int pin, uint32_t low, unsigned int dest)
{
	apic_write(cpu, VMM_IOAPIC_GPA, 0x11 + 2 * pin);
	apic_write(cpu, VMM_IOAPIC_GPA + 0x10, dest << 24);
	apic_write(cpu, VMM_IOAPIC_GPA, 0x10 + 2 * pin);
	apic_write(cpu, VMM_IOAPIC_GPA + 0x10, low);
}

/* In x2APIC mode, enabled. */
static struct kt_vm *
boot(unsigned int ncpus, unsigned int flags)
{
	struct kt_vm *const vm = kt_boot_pc(ncpus, flags);

	for (unsigned int i = 0; i < ncpus; i++) {
		wrmsr(&vm->cpus[i], MSR_APIC_BASE, rdmsr(&vm->cpus[i], MSR_APIC_BASE) | 0xc00);
		wrmsr(&vm->cpus[i], X2APIC(0xf0), 0x100 | SPURIOUS);
		KT_EQ(rdmsr(&vm->cpus[i], X2APIC(0x20)), i);
	}
	return vm;
}

/* ---- Asked for ------------------------------------------------------------------------------- */

static void
asked_for(void)
{
	struct kt_vm *const without = kt_boot(1, 0);
	struct kt_vm *vm;
	uint32_t leaf[4];
	uint64_t value;

	KT_ERR(vm_irq_line(without->ctx, 4, VMM_IRQ_HIGH), ENODEV);
	KT_ERR(vm_msi(without->ctx, 0xfee00000, VECTOR), ENODEV);
	KT_ERR(vm_apic_access(without->cpus[0].vcpu, VMM_LAPIC_GPA, 4, false, &value), ENODEV);
	KT_ERR(vm_set_platform(without->ctx, 0), EBUSY);
	kt_call(&without->cpus[0], GUEST_CPUID, 1, 0, GUEST_WORDS, 0);
	KT_OK(kt_read(without, GUEST_WORDS, leaf, sizeof(leaf)));
	KT_EQ(leaf[2] & (1 << 21 | 1 << 24), 0);
	kt_call_to(&without->cpus[0], VMM_EXIT_HLT, GUEST_HLT, 0, 0, 0, 0);
	kt_call_to(&without->cpus[0], VMM_EXIT_INOUT, GUEST_IN, 0x61, 1, 0, 0);
	kt_finish(without);

	vm = kt_boot_pc(1, 0);
	KT_ERR(vm_set_platform(vm->ctx, 0), EBUSY);
	KT_ERR(vm_irq_line(vm->ctx, 24, VMM_IRQ_HIGH), EINVAL);
	KT_ERR(vm_irq_line(vm->ctx, 2, VMM_IRQ_HIGH), EINVAL);
	KT_ERR(vm_irq_line(vm->ctx, 4, 3), EINVAL);
	KT_ERR(vm_msi(vm->ctx, 0xfef00000, VECTOR), EINVAL);
	KT_ERR(vm_apic_access(vm->cpus[0].vcpu, 0x1000, 4, false, &value), EFAULT);
	KT_ERR(vm_apic_access(vm->cpus[0].vcpu, VMM_LAPIC_GPA, 3, false, &value), EINVAL);
	KT_EQ(apic_read(&vm->cpus[0], VMM_LAPIC_GPA + 0x30), 0x50014);
	KT_EQ(apic_read(&vm->cpus[0], VMM_IOAPIC_GPA), 0);
	kt_call(&vm->cpus[0], GUEST_CPUID, 1, 0, GUEST_WORDS, 0);
	KT_OK(kt_read(vm, GUEST_WORDS, leaf, sizeof(leaf)));
	KT_EQ(leaf[2] >> 21 & 1, 1);
}

/* ---- Timers ---------------------------------------------------------------------------------- */

static void
timers(void)
{
	struct kt_vm *const vm = boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	const uint64_t rounds = kt_platform()->kind == VMM_CPU_SVM ? 1000 : 150;
	uint32_t leaf[4];

	wrmsr(cpu, X2APIC(0x3e0), 0xb); /* a tick is 1 ns */
	wrmsr(cpu, X2APIC(0x320), VECTOR);
	KT_EQ(kt_call(cpu, GUEST_TIMERS, rounds, 100000, 0, 1), 0);
	KT_EQ(seen(vm)->count, rounds);
	KT_EQ(events.events[0].vector, VECTOR);
	KT_EQ(kt_call(cpu, GUEST_TIMERS, rounds, 2000, 0, 2), 0);
	KT_EQ(seen(vm)->count, 2 * rounds);

	kt_call(cpu, GUEST_CPUID, 1, 0, GUEST_WORDS, 0);
	KT_OK(kt_read(vm, GUEST_WORDS, leaf, sizeof(leaf)));
	KT_TRUE(leaf[2] >> 24 & 1);
	wrmsr(cpu, X2APIC(0x320), LVT_DEADLINE | VECTOR);
	KT_EQ(kt_call(cpu, GUEST_TIMERS, rounds, 200000, 1, 3), 0);
	KT_EQ(kt_call(cpu, GUEST_TIMERS, rounds, 2000, 1, 4), 0);
	KT_EQ(seen(vm)->count, 4 * rounds);
	KT_EQ(rdmsr(cpu, MSR_TSC_DEADLINE), 0);

	wrmsr(cpu, X2APIC(0x320), LVT_PERIODIC | VECTOR);
	wrmsr(cpu, X2APIC(0x380), 1000000);
	KT_EQ(kt_call(cpu, GUEST_HALT_FOR, 20, 4 * rounds, 0, 0), 4 * rounds + 20);
	wrmsr(cpu, X2APIC(0x380), 0);
}

/* Counter 0 in mode 2; then the clock's periodic interrupt: through the IOAPIC. */
static void
old_timers(void)
{
	struct kt_vm *const vm = boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	route(cpu, VMM_PIT_PIN, VECTOR, 0);
	kt_call(cpu, GUEST_OUT, 0x43, 1, 0x34, 0);
	kt_call(cpu, GUEST_OUT, 0x40, 1, 0xa9, 0);
	kt_call(cpu, GUEST_OUT, 0x40, 1, 0x04, 0); /* 1193: 1 kHz */
	KT_TRUE(kt_call(cpu, GUEST_HALT_FOR, 10, 0, 0, 0) >= 10);
	KT_EQ(seen(vm)->events[9].vector, VECTOR);
	route(cpu, VMM_PIT_PIN, 0x10000, 0);
	kt_set_reg(cpu, VMM_REG_RFLAGS, RFLAGS_IF); /* for one that came meanwhile */
	wrmsr(cpu, X2APIC(0xb0), 0);

	kt_poke(vm, GUEST_EVENTS, 0);
	route(cpu, 8, VECTOR_2, 0);
	kt_call(cpu, GUEST_OUT, 0x70, 1, 0xb, 0);
	kt_call(cpu, GUEST_OUT, 0x71, 1, 0x42, 0);
	for (uint64_t i = 1; i <= 5; i++) {
		KT_EQ(kt_call(cpu, GUEST_HALT_FOR, 1, i - 1, 0, 0), i);
		KT_EQ(seen(vm)->events[i - 1].vector, VECTOR_2);
		kt_call(cpu, GUEST_OUT, 0x70, 1, 0xc, 0);
		KT_EQ(kt_call(cpu, GUEST_IN, 0x71, 1, 0, 0) & 0xc0, 0xc0);
	}
}

/* Time of day, memory, and the ACPI timer. */
static void
clocks(void)
{
	struct kt_vm *const vm = boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	uint64_t seconds, first, second;
	uint8_t byte;

	KT_OK(vm_rtc_gettime(vm->ctx, &seconds));
	KT_TRUE(seconds + 5 > (uint64_t)time(NULL) && seconds < (uint64_t)time(NULL) + 5);
	KT_OK(vm_rtc_settime(vm->ctx, 951782400)); /* 2000-02-29 */
	kt_call(cpu, GUEST_OUT, 0x70, 1, 7, 0);
	KT_EQ(kt_call(cpu, GUEST_IN, 0x71, 1, 0, 0) & 0xff, 0x29);
	kt_call(cpu, GUEST_OUT, 0x70, 1, 8, 0);
	KT_EQ(kt_call(cpu, GUEST_IN, 0x71, 1, 0, 0) & 0xff, 0x02);
	kt_call(cpu, GUEST_OUT, 0x70, 1, 0x40, 0);
	kt_call(cpu, GUEST_OUT, 0x71, 1, 0xab, 0);
	KT_OK(vm_rtc_read(vm->ctx, 0x40, &byte));
	KT_EQ(byte, 0xab);
	KT_ERR(vm_rtc_write(vm->ctx, 0x32, 1), EINVAL);

	first = kt_call(cpu, GUEST_IN, VMM_PMTIMER_PORT, 4, 0, 0);
	kt_sleep_ms(10);
	second = kt_call(cpu, GUEST_IN, VMM_PMTIMER_PORT, 4, 0, 0);
	KT_TRUE((uint32_t)(second - first) >= 35795);
}

/* ---- Messages -------------------------------------------------------------------------------- */

/* There and back, many times, while the other is halting, halted, awake, or just entering. */
static void
ping(void)
{
	struct kt_vm *const vm = boot(2, 0);
	const uint64_t rounds = kt_platform()->kind == VMM_CPU_SVM ? 1000 : 200;

	kt_start(&vm->cpus[1], -1, GUEST_PING, 0, rounds, 0, VECTOR_2);
	kt_start(&vm->cpus[0], -1, GUEST_PING, 1, rounds, 1, VECTOR);
	KT_EQ(kt_join(&vm->cpus[0]), 2 * rounds);
	kt_join(&vm->cpus[1]);
	KT_EQ(seen(vm)->count, 2 * rounds);
	KT_EQ(events.events[0].vector, VECTOR);
	KT_EQ(events.events[1].vector, VECTOR_2);
	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int r = 0x100; r < 0x280; r += 0x10)
			if (r < 0x180 || r >= 0x200)
				KT_EQ(rdmsr(&vm->cpus[i], X2APIC(r)), 0);
}

/* From outside, by several threads at once, into a guest that halts for each. */
struct sender {
	struct kt_vm *vm;
	unsigned int vector;
	uint64_t sent;
};

static void *
send_many(void *arg)
{
	struct sender *const s = arg;

	for (uint64_t i = 0; i < s->sent; i++) {
		if (vm_msi(s->vm->ctx, 0xfee00000, s->vector) != 0)
			return arg;
		/* One of a vector at a time: wait until it was counted. */
		while (kt_peek(s->vm, GUEST_EVENTS) <= i)
			sched_yield();
	}
	return NULL;
}

static void
messages(void)
{
	struct kt_vm *const vm = boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	struct sender sender = {vm, VECTOR, kt_platform()->kind == VMM_CPU_SVM ? 1000 : 150};
	pthread_t thread;
	void *failed;

	kt_start(cpu, -1, GUEST_HALT_FOR, sender.sent, 0, 0, 0);
	KT_EQ(pthread_create(&thread, NULL, send_many, &sender), 0);
	KT_EQ(kt_join(cpu), sender.sent);
	KT_EQ(pthread_join(thread, &failed), 0);
	KT_TRUE(failed == NULL);
}

/* A level that is high comes again after its end, and not before; an edge does not. */
static void
levels(void)
{
	struct kt_vm *const vm = boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	route(cpu, 20, 0x8000 | VECTOR, 0);
	KT_OK(vm_irq_line(vm->ctx, 20, VMM_IRQ_HIGH));
	KT_EQ(kt_call(cpu, GUEST_HALT_FOR, 3, 0, 0, 0), 3);
	KT_OK(vm_irq_line(vm->ctx, 20, VMM_IRQ_LOW));
	kt_set_reg(cpu, VMM_REG_RFLAGS, RFLAGS_IF);
	KT_EQ(kt_call(cpu, GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
	wrmsr(cpu, X2APIC(0xb0), 0);
	KT_EQ(seen(vm)->count, 4); /* the fourth was requested by the third's end */
	KT_EQ(kt_call(cpu, GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
	KT_EQ(seen(vm)->count, 4);
	route(cpu, 10, VECTOR_2, 0);
	KT_OK(vm_irq_line(vm->ctx, 10, VMM_IRQ_PULSE));
	KT_OK(vm_irq_line(vm->ctx, 10, VMM_IRQ_HIGH));
	KT_EQ(kt_call(cpu, GUEST_HALT_FOR, 1, 4, 0, 0), 5);
	kt_set_reg(cpu, VMM_REG_RFLAGS, RFLAGS_IF);
	KT_EQ(kt_call(cpu, GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
	KT_EQ(seen(vm)->count, 5);
}

/* CR8 and what is in service keep lower ones away; NMI does not care; self IPI. */
static void
priorities(void)
{
	struct kt_vm *const vm = boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	KT_EQ(kt_call(cpu, GUEST_WRITE_CR, 8, 6, 0, 0), 6);
	KT_EQ(rdmsr(cpu, X2APIC(0x80)), 0x60);
	wrmsr(cpu, X2APIC(0x3f0), VECTOR_2); /* 62H: of class 6 */
	KT_EQ(seen(vm)->count, 0);
	wrmsr(cpu, X2APIC(0x300), 0x44400); /* NMI to itself */
	KT_EQ(kt_call(cpu, GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
	KT_EQ(seen(vm)->count, 1);
	KT_EQ(events.events[0].vector, 2);
	wrmsr(cpu, X2APIC(0x80), 0x50);
	KT_EQ(kt_call(cpu, GUEST_READ_CR, 8, 0, 0, 0), 5);
	KT_EQ(seen(vm)->count, 2);
	KT_EQ(events.events[1].vector, VECTOR_2);
	wrmsr(cpu, X2APIC(0x80), 0);
	KT_OK(kt_inject(cpu, VMM_EVENT_INTR, VECTOR, -1)); /* below what is in service */
	KT_EQ(kt_call(cpu, GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
	KT_EQ(seen(vm)->count, 2);
	wrmsr(cpu, X2APIC(0xb0), 0);
	KT_EQ(kt_call(cpu, GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
	KT_EQ(seen(vm)->count, 3);
	KT_EQ(events.events[2].vector, VECTOR);
}

/* ---- Starting and stopping ------------------------------------------------------------------- */

static void *
wait_for_sipi(void *arg)
{
	struct kt_cpu *const cpu = arg;

	kt_run_to(cpu, VMM_EXIT_INOUT);
	return NULL;
}

static void
init_and_sipi(struct kt_cpu *bsp, int id)
{
	apic_write(bsp, VMM_LAPIC_GPA + 0x310, (uint32_t)id << 24);
	apic_write(bsp, VMM_LAPIC_GPA + 0x300, 0xc500);
	apic_write(bsp, VMM_LAPIC_GPA + 0x300, 0x8500);
	apic_write(bsp, VMM_LAPIC_GPA + 0x300, 0x4600 | GUEST_REAL >> 12);
	apic_write(bsp, VMM_LAPIC_GPA + 0x300, 0x4600 | GUEST_REAL >> 12);
}

/*
 * Others begin in real mode where SIPI says, whether their thread waits for it already or comes
 * later; a second SIPI means nothing then.
 */
static void
startup(void)
{
	struct kt_vm *const vm = kt_boot_pc(1, 0);
	struct kt_cpu *const bsp = &vm->cpus[0];
	struct vmm_apic_state state;
	uint64_t real = 0;

	KT_OK(vm_get_capability(bsp->vcpu, VMM_CAP_UNRESTRICTED_GUEST, &real));
	if (!real)
		kt_not_applicable("this CPU runs no guest in real mode");
	for (int id = 1; id <= 2; id++) {
		struct kt_cpu *const ap = kt_activate(vm, id);
		struct vmm_desc cs = {0};
		pthread_t thread;

		KT_OK(vm_apic_state(ap->vcpu, &state));
		KT_EQ(state.waits_for_sipi, 1);
		if (id == 2)
			init_and_sipi(bsp, id);
		KT_EQ(pthread_create(&thread, NULL, wait_for_sipi, ap), 0);
		if (id == 1) {
			kt_sleep_ms(20);
			init_and_sipi(bsp, id);
		}
		KT_EQ(pthread_join(thread, NULL), 0);
		KT_EQ(ap->exit.u.inout.port, GUEST_PORT_DONE);
		KT_OK(kt_get_desc(ap, VMM_REG_CS, &cs));
		KT_EQ(cs.base, GUEST_REAL);
		KT_EQ(kt_reg(ap, VMM_REG_CS), GUEST_REAL >> 4);
		KT_OK(vm_apic_state(ap->vcpu, &state));
		KT_EQ(state.waits_for_sipi, 0);
	}
}

/* Halted for ever, one vCPU and the other never started: told, if that was asked for. */
static void
at_rest(void)
{
	struct kt_vm *const vm = boot(2, VMM_PLATFORM_HALT_DETECT);

	kt_prepare(&vm->cpus[1], GUEST_HLT, 0, 0, 0, 0);
	kt_set_reg(&vm->cpus[1], VMM_REG_RFLAGS, 2);
	kt_start_to(&vm->cpus[1], -1, VMM_EXIT_SUSPENDED, GUEST_HLT, 0, 0, 0, 0);
	/* It is not alone, and an interrupt that the other waits for will come. */
	wrmsr(&vm->cpus[0], X2APIC(0x3e0), 0xb);
	wrmsr(&vm->cpus[0], X2APIC(0x320), VECTOR);
	wrmsr(&vm->cpus[0], X2APIC(0x380), 50000000);
	KT_EQ(kt_call(&vm->cpus[0], GUEST_HALT_FOR, 1, 0, 0, 0), 1);
	kt_prepare(&vm->cpus[0], GUEST_HLT, 0, 0, 0, 0);
	kt_set_reg(&vm->cpus[0], VMM_REG_RFLAGS, 2);
	kt_run_to(&vm->cpus[0], VMM_EXIT_SUSPENDED);
	KT_EQ(vm->cpus[0].exit.u.how, VMM_SUSPEND_HALT);
	kt_join(&vm->cpus[1]);
	KT_EQ(vm->cpus[1].exit.u.how, VMM_SUSPEND_HALT);

	KT_OK(vm_reinit(vm->ctx));
	KT_EQ(apic_read(&vm->cpus[0], VMM_LAPIC_GPA + 0xf0), 0xff);
	KT_EQ(apic_read(&vm->cpus[0], VMM_LAPIC_GPA + 0x320), 0x10000);
	kt_long_mode(&vm->cpus[0]);
	KT_EQ(kt_call(&vm->cpus[0], GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
}

/*
 * An interrupt that is due when STI is executed comes behind the HLT, not between the two, where it
 * would not end the HLT. In turn the entry is at the STI, and at the HLT with the STI's shadow.
 */
static void
sti_and_halt(void)
{
	static const uint8_t code[] = {0xfb, 0xf4, 0xfa, 0xe7,
				       GUEST_PORT_DONE}; /* STI HLT CLI OUT */
	struct kt_vm *const vm = boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	kt_memory(vm, MIB);
	KT_OK(kt_write(vm, KT_MEM, code, sizeof(code)));
	for (unsigned int i = 0; i < 2 * GUEST_EVENTS_MAX; i++) {
		const unsigned int at_hlt = i & 1;

		KT_OK(vm_msi(vm->ctx, 0xfee00000, VECTOR));
		kt_set_reg(cpu, VMM_REG_RSP, GUEST_STACKS + GUEST_PAGE);
		kt_set_reg(cpu, VMM_REG_RIP, KT_MEM + at_hlt);
		kt_set_reg(cpu, VMM_REG_RFLAGS, at_hlt ? RFLAGS_IF : 2);
		kt_set_reg(cpu, VMM_REG_INTR_SHADOW, at_hlt);
		KT_OK(kt_run(cpu));
		KT_CHECK(cpu->exit.code == VMM_EXIT_INOUT, "%s", kt_exit_text(&cpu->exit));
		KT_EQ(seen(vm)->count, i + 1);
		if (i < GUEST_EVENTS_MAX)
			KT_EQ(events.events[i].rip, KT_MEM + 2);
		wrmsr(cpu, X2APIC(0xb0), 0);
	}
}

static const struct kt_case cases[] = {
	{.name = "asked-for", .run = asked_for},
	{.name = "sti-and-halt", .run = sti_and_halt, .seconds = 60},
	{.name = "timers", .run = timers, .seconds = 300},
	{.name = "old-timers", .run = old_timers},
	{.name = "clocks", .run = clocks},
	{.name = "ping", .run = ping, .seconds = 600},
	{.name = "messages", .run = messages, .seconds = 300},
	{.name = "levels", .run = levels},
	{.name = "priorities", .run = priorities},
	{.name = "startup", .run = startup, .seconds = 60},
	{.name = "at-rest", .run = at_rest},
};

KT_MAIN(cases)
