/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Exceptions, interrupts and NMIs: those that are injected, when they are delivered, and those that
 * the guest causes itself.
 */

#include "harness.h"

static struct guest_events events;

static const struct guest_events *
seen(struct kt_vm *vm)
{
	KT_OK(kt_read(vm, GUEST_EVENTS, &events, sizeof(events)));
	return &events;
}

static void
expect_last(struct kt_vm *vm, uint64_t count, uint64_t vector, uint64_t error)
{
	seen(vm);
	KT_EQ(events.count, count);
	KT_EQ(events.events[count - 1].vector, vector);
	KT_EQ(events.events[count - 1].error, error);
}

static void
exceptions(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	/* Where the call begins: the handler of an injected fault returns there. */
	const uint64_t resume = GUEST_ENTRY_CALL;
	uint64_t count = 0;

	kt_poke(vm, GUEST_EVENTS + 8, resume);
	for (unsigned int vector = 0; vector < 32; vector++) {
		const bool has_error = 0x227d00 >> vector & 1;
		const bool trap = vector == 1 || vector == 3 || vector == 4;
		int error;

		if (vector == 2 || vector == 8 ||
		    (vector > 14 && vector != 16 && vector != 17 && vector != 19) || vector == 9)
			continue;
		kt_prepare(cpu, GUEST_NOP, 0, 0, 0, 0);
		if (!trap)
			kt_set_reg(cpu, VMM_REG_CR2, 0x1000 + vector);
		error = kt_inject(cpu, VMM_EVENT_EXCEPTION, vector, has_error ? 0x10 : -1);
		KT_CHECK(error == 0, "exception %u: %s", vector, strerror(-error));
		KT_EQ(kt_go_on(cpu), GUEST_NOP_RESULT);
		expect_last(vm, ++count, vector, has_error ? 0x10 : 0);
		KT_EQ(events.events[count - 1].rip, GUEST_ENTRY_CALL);
		if (vector == 14)
			KT_EQ(events.events[count - 1].cr2, 0x100e);
	}
	KT_TRUE(count >= 12);

	/* One at a time; wrong ones are refused. */
	kt_prepare(cpu, GUEST_NOP, 0, 0, 0, 0);
	KT_OK(kt_inject(cpu, VMM_EVENT_EXCEPTION, 6, -1));
	KT_ERR(kt_inject(cpu, VMM_EVENT_EXCEPTION, 6, -1), EBUSY);
	KT_EQ(kt_go_on(cpu), GUEST_NOP_RESULT);
	expect_last(vm, ++count, 6, 0);
	KT_ERR(kt_inject(cpu, VMM_EVENT_EXCEPTION, 13, -1), EINVAL);
	KT_ERR(kt_inject(cpu, VMM_EVENT_EXCEPTION, 6, 0), EINVAL);
	KT_ERR(kt_inject(cpu, VMM_EVENT_EXCEPTION, 32, -1), EINVAL);
	KT_ERR(kt_inject(cpu, VMM_EVENT_EXCEPTION, 2, -1), EINVAL);
	KT_ERR(kt_inject(cpu, VMM_EVENT_INTR, 256, -1), EINVAL);
	KT_ERR(kt_inject(cpu, VMM_EVENT_INTR, 3, -1), EINVAL);
	KT_ERR(kt_inject(cpu, 9, 0, -1), EINVAL);
}

static void
own_faults(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	kt_poke(vm, GUEST_EVENTS + 8, 2);
	kt_call(cpu, GUEST_UD2, 0, 0, 0, 0);
	expect_last(vm, 1, 6, 0);
	kt_call(cpu, GUEST_DIVIDE, 0, 0, 0, 0);
	expect_last(vm, 2, 0, 0);
	kt_call(cpu, GUEST_INT3, 0, 0, 0, 0);
	expect_last(vm, 3, 3, 0);

	/* A page fault of the guest's own: beyond its tables. */
	kt_poke(vm, GUEST_EVENTS + 8, 3);
	kt_call(cpu, GUEST_READ, 8 * GIB, 0, 0, 0);
	expect_last(vm, 4, 14, 0);
	KT_EQ(events.events[3].cr2, 8 * GIB);
	kt_call(cpu, GUEST_WRITE, 8 * GIB + 8, 0, 0, 0);
	expect_last(vm, 5, 14, 2);
}

static void
breakpoint_exit(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	KT_OK(kt_set_cap(cpu, VMM_CAP_BPT_EXIT, 1));
	kt_call_to(cpu, VMM_EXIT_BPT, GUEST_INT3, 0, 0, 0, 0);
	KT_EQ(cpu->exit.inst_bytes, 1);
	KT_EQ(kt_reg(cpu, VMM_REG_RIP), cpu->exit.rip);
	kt_go_on(cpu);
	KT_EQ(seen(vm)->count, 0);
	KT_OK(kt_set_cap(cpu, VMM_CAP_BPT_EXIT, 0));
	kt_call(cpu, GUEST_INT3, 0, 0, 0, 0);
	expect_last(vm, 1, 3, 0);
}

/* Interrupts off: it waits until they are on again. */
static void
interrupt_window(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	for (uint64_t i = 1; i <= 20; i++) {
		kt_prepare(cpu, GUEST_CLI_COUNT, 1000, 0, 0, 0);
		kt_set_reg(cpu, VMM_REG_RFLAGS, 2);
		KT_OK(kt_inject(cpu, VMM_EVENT_INTR, 0x40 + (unsigned int)i, -1));
		KT_EQ(kt_go_on(cpu), i - 1); /* events before STI */
		expect_last(vm, i, 0x40 + i, 0);
		KT_TRUE(events.events[i - 1].rflags & 0x200);
	}
	KT_TRUE(kt_stat(vm, 0, "vm exits due to interrupt window opening") >= 1);

	/* At once, where they are on; the higher first. */
	kt_prepare(cpu, GUEST_NOP, 0, 0, 0, 0);
	kt_set_reg(cpu, VMM_REG_RFLAGS, 0x202);
	KT_OK(kt_inject(cpu, VMM_EVENT_INTR, 0x50, -1));
	KT_OK(kt_inject(cpu, VMM_EVENT_INTR, 0x60, -1));
	KT_OK(kt_inject(cpu, VMM_EVENT_INTR, 0x50, -1)); /* pending once */
	KT_EQ(kt_go_on(cpu), GUEST_NOP_RESULT);
	seen(vm);
	KT_EQ(events.count, 22);
	KT_EQ(events.events[20].vector, 0x60);
	KT_EQ(events.events[21].vector, 0x50);
}

/* CR8 keeps those of its class and below away. */
static void
priority(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	KT_EQ(kt_call(cpu, GUEST_WRITE_CR, 8, 5, 0, 0), 5);
	KT_OK(kt_inject(cpu, VMM_EVENT_INTR, 0x5f, -1));
	KT_EQ(kt_call(cpu, GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
	KT_EQ(seen(vm)->count, 0);
	KT_OK(kt_inject(cpu, VMM_EVENT_INTR, 0x60, -1));
	KT_EQ(kt_call(cpu, GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
	expect_last(vm, 1, 0x60, 0);
	KT_EQ(kt_call(cpu, GUEST_WRITE_CR, 8, 0, 0, 0), 0);
	KT_EQ(kt_call(cpu, GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
	expect_last(vm, 2, 0x5f, 0);
}

static void
nmi(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	for (uint64_t i = 1; i <= 10; i++) {
		kt_prepare(cpu, GUEST_SUM_LOOP, 100, 0, 0, 0);
		kt_set_reg(cpu, VMM_REG_RFLAGS, i & 1 ? 2 : 0x202);
		KT_OK(kt_inject(cpu, VMM_EVENT_NMI, 0, -1));
		KT_OK(kt_inject(cpu, VMM_EVENT_NMI, 0, -1)); /* pending once */
		KT_EQ(kt_go_on(cpu), 5050);
		expect_last(vm, i, 2, 0);
	}
}

/* Into a guest that is running: it is called out for it. */
static void
while_running(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	kt_start(cpu, -1, GUEST_STI_LOOP, GUEST_WORDS, GUEST_WORDS + 8, 0, 0);
	kt_wait_word(vm, GUEST_WORDS + 8, 1);
	for (uint64_t i = 1; i <= 40; i += 2) {
		KT_OK(kt_inject(cpu, VMM_EVENT_INTR, 0x30 + (unsigned int)i, -1));
		kt_wait_word(vm, GUEST_EVENTS, i);
		expect_last(vm, i, 0x30 + i, 0);
		KT_OK(kt_inject(cpu, VMM_EVENT_NMI, 0, -1));
		kt_wait_word(vm, GUEST_EVENTS, i + 1);
		expect_last(vm, i + 1, 2, 0);
	}
	kt_poke(vm, GUEST_WORDS, 1);
	KT_TRUE(kt_join(cpu) > 0);
}

static const struct kt_case cases[] = {
	{.name = "exceptions", .run = exceptions},
	{.name = "own-faults", .run = own_faults},
	{.name = "breakpoint-exit", .run = breakpoint_exit},
	{.name = "interrupt-window", .run = interrupt_window},
	{.name = "priority", .run = priority},
	{.name = "nmi", .run = nmi},
	{.name = "while-running", .run = while_running},
};

KT_MAIN(cases)
