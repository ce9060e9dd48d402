/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Every other call: that what goes in arrives, what comes out is told, and errors have a sentence.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_kernel.h"
#include "fake_reasons.h"

#define PAGE 4096ull

static struct vmctx *ctx;
static struct vcpu *vcpu;

static void
begin(void)
{
	fk_install();
	ctx = vm_openf("m", &(struct vm_open_opts){.flags = VMMAPI_OPEN_CREATE});
	vcpu = vm_vcpu_open(ctx, 1);
	vm_activate_cpu(vcpu);
}

static void
end(void)
{
	vm_close(ctx);
}

TestSuite(calls, .init = begin, .fini = end);

static void
says(const char *what)
{
	cr_assert(strstr(vmm_errmsg(), what) != NULL, "'%s' is not in: %s", what, vmm_errmsg());
}

Test(calls, vcpus_have_handles)
{
	struct vcpu *const again = vm_vcpu_open(ctx, 1);
	struct vcpu *const none = vm_vcpu_open(ctx, 3);
	struct vcpu *const beyond = vm_vcpu_open(ctx, 9);
	struct vmm_cpus cpus;
	uint64_t value;

	cr_assert(vcpu_id(again) == 1 && vcpu_ctx(again) == ctx);
	cr_assert_eq(vm_activate_cpu(again), -EBUSY);
	says("vCPU 1: it is active already");
	cr_assert_eq(vm_activate_cpu(beyond), -EINVAL);
	says("not so many vCPUs");
	cr_assert_eq(vm_get_register(none, VMM_REG_RAX, &value), -ENOENT);
	says("machine 'm', vCPU 3: cannot get registers: the vCPU was never activated");
	cr_assert(vm_vcpu_open(ctx, -1) == NULL && errno == EINVAL);
	cr_assert(vm_vcpu_open(ctx, VMM_MAXCPU) == NULL && errno == EINVAL);
	cr_assert(vm_get_cpus(ctx, &cpus) == 0 && cpus.active == 2);
	vm_vcpu_close(again);
	vm_vcpu_close(NULL);
}

Test(calls, registers)
{
	const enum vmm_reg regs[] = {VMM_REG_RBX, VMM_REG_CR0, VMM_REG_R15};
	const uint64_t bad[] = {1, 1ull << 40, 3}, good[] = {4, 5, 6};
	uint64_t values[3] = {0};
	enum vmm_reg many[VMM_REGS_MAX + 1] = {0};
	uint64_t all[VMM_REGS_MAX + 1];
	uint32_t limit, access;

	cr_assert_eq(vm_set_register_set(vcpu, 3, regs, good), 0);
	cr_assert_eq(vm_set_register_set(vcpu, 3, regs, bad), -EINVAL);
	cr_assert_eq(vm_get_register_set(vcpu, 3, regs, values), 0);
	cr_assert(memcmp(values, good, sizeof(good)) == 0, "all or nothing");
	cr_assert_eq(vm_get_register_set(vcpu, VMM_REGS_MAX + 1, many, all), -EINVAL);
	cr_assert_eq(vm_get_register_set(vcpu, VMM_REGS_MAX, many, all), 0);
	cr_assert_eq(vm_get_register(vcpu, VMM_REG_COUNT, values), -EINVAL);
	cr_assert_eq(vm_set_desc(vcpu, VMM_REG_GS, 0x123456789abc, 0xfffff, 0x93), 0);
	cr_assert_eq(vm_get_desc(vcpu, VMM_REG_GS, values, &limit, &access), 0);
	cr_assert(values[0] == 0x123456789abc && limit == 0xfffff && access == 0x93);
	cr_assert_eq(vm_get_desc(vcpu, VMM_REG_RAX, values, &limit, &access), -EINVAL);
	cr_assert(vm_get_field(vcpu, 0x6802, values) == 0 && values[0] == 0x6802);
	cr_assert_eq(vm_set_field(vcpu, 0x6802, 1), -EINVAL);
	cr_assert_eq(vm_set_field(vcpu, 0x4004, 9), 0);
	cr_assert(vm_get_field(vcpu, 0x4004, values) == 0 && values[0] == 9);
}

Test(calls, capabilities_and_events)
{
	uint64_t value, event;

	for (unsigned int cap = 0; cap < VMM_CAP_COUNT; cap++) {
		const char *const name = vm_capability_type2name(cap);

		cr_assert(name && vm_capability_name2type(name) == (int)cap);
	}
	cr_assert(vm_capability_type2name(VMM_CAP_COUNT) == NULL);
	cr_assert_eq(vm_capability_name2type("x2apic"), -ENOENT);
	cr_assert(vm_get_capability(vcpu, VMM_CAP_HALT_EXIT, &value) == 0 && value == 1);
	cr_assert_eq(vm_set_capability(vcpu, VMM_CAP_PREEMPT_TIMER, 77), 0);
	cr_assert_eq(vm_get_capability(vcpu, VMM_CAP_PREEMPT_TIMER, &value), 0);
	cr_assert_eq(value, 77);
	cr_assert_eq(vm_set_capability(vcpu, VMM_CAP_UNRESTRICTED_GUEST, 1), -EINVAL);
	fk.fk_kind = VMM_CPU_SVM;
	cr_assert_eq(vm_set_capability(vcpu, VMM_CAP_PREEMPT_TIMER, 1), -EOPNOTSUPP);
	says("this CPU cannot do that");

	cr_assert_eq(vm_inject_exception(vcpu, 13, -1), -EINVAL);
	cr_assert_eq(vm_inject_exception(vcpu, 6, 0), -EINVAL);
	cr_assert_eq(vm_inject_exception(vcpu, 13, 1ll << 32), -EINVAL);
	cr_assert_eq(vm_inject_exception(vcpu, 13, 0), 0);
	cr_assert_eq(vm_inject_exception(vcpu, 6, -1), -EBUSY);
	cr_assert_eq(vm_get_intinfo(vcpu, &value, &event), 0);
	cr_assert(value == 0 && event == 0x80000b0d);
	cr_assert_eq(vm_inject_intr(vcpu, 32), 0);
	cr_assert_eq(vm_inject_nmi(vcpu), 0);
}

Test(calls, running)
{
	struct vmm_exit exit = {.code = 99};

	fk.fk_exit = (struct vmm_exit){.code = VMM_EXIT_HLT, .inst_bytes = 1, .rip = 0xfff0};
	fk_fail(VMM_RUN, 1, EINTR);
	cr_assert(vm_run(vcpu, &exit) == -EINTR && exit.code == 99);
	cr_assert_eq(vm_run(vcpu, &exit), 0);
	cr_assert(memcmp(&exit, &fk.fk_exit, sizeof(exit)) == 0);
	cr_assert_eq(vm_reinit(ctx), -EBUSY);
	cr_assert_eq(vm_suspend(ctx, VMM_SUSPEND_NONE), -EINVAL);
	cr_assert_eq(vm_suspend(ctx, VMM_SUSPEND_HALT), 0);
	cr_assert_eq(vm_suspend(ctx, VMM_SUSPEND_HALT), -EALREADY);
	cr_assert_eq(vm_reinit(ctx), 0);
}

Test(calls, addresses_of_the_guests_own)
{
	char text[16] = "";
	uint64_t gpa = 7;
	int fault = 7;

	cr_assert_eq(vm_setup_memory(ctx, 64 * PAGE, VM_MMAP_ALL), 0);
	cr_assert_eq(vm_gla2gpa(vcpu, 0x3010, VMM_PROT_READ, &gpa, &fault), 0);
	cr_assert(gpa == 0x2010 && fault == 0);
	cr_assert_eq(vm_gla2gpa_nofault(vcpu, 1ull << 30, VMM_PROT_READ, &gpa, &fault), 0);
	cr_assert_eq(fault, 1);
	cr_assert(vm_copyout(vcpu, "hello", 0x3010, 6, &fault) == 0 && fault == 0);
	cr_assert(strcmp(vm_map_gpa(ctx, 0x2010, 6), "hello") == 0);
	cr_assert_eq(vm_copyin(vcpu, 0x3010, text, 6, &fault), 0);
	cr_assert(fault == 0 && strcmp(text, "hello") == 0);
	cr_assert(vm_copyin(vcpu, 1ull << 30, text, 6, &fault) == 0 && fault == 1);
	cr_assert_eq(vm_copyin(vcpu, 0x10000000, text, 6, &fault), -EFAULT);
	cr_assert_eq(vm_copyin(vcpu, 0, text, VMM_COPY_BYTES_MAX + 1, &fault), -EINVAL);
}

Test(calls, the_dirty_log)
{
	uint64_t bits[2] = {0};
	const uint64_t back[2] = {0x10, 0};

	cr_assert_eq(vm_dirty_get(ctx, 0, 128 * PAGE, bits), -ENOENT);
	says("the dirty log is off");
	cr_assert_eq(vm_dirty_disable(ctx), -ENOENT);
	cr_assert_eq(vm_dirty_enable(ctx, true), 0);
	cr_assert_eq(vm_dirty_enable(ctx, true), -EBUSY);
	says("on already");
	cr_assert(vm_dirty_peek(ctx, 0, 128 * PAGE, bits) == 0 && bits[1] == UINT64_MAX);
	cr_assert(vm_dirty_clear(ctx, 0, 128 * PAGE, bits) == 0 && bits[1] == UINT64_MAX);
	cr_assert_eq(vm_dirty_set(ctx, 0, 128 * PAGE, back), 0);
	cr_assert_eq(vm_dirty_get(ctx, 0, 128 * PAGE, bits), 0);
	cr_assert(memcmp(bits, back, sizeof(bits)) == 0);
	cr_assert_eq(vm_dirty_get(ctx, 0, 100, bits), -EINVAL);
	cr_assert_eq(vm_dirty_disable(ctx), 0);
	cr_assert_eq(vm_exec_control(ctx, VMM_EXEC_RECOVER), 0);
	cr_assert_eq(vm_exec_control(ctx, 99), -EINVAL);
}

Test(calls, looking_inside)
{
	struct vmm_page_info info = {.gpa = 0x5000};
	struct vmm_accounts accounts;
	uint64_t entries[5] = {0}, bits = 0, found = 0, npages = 100;
	unsigned int n;
	char *text;

	cr_assert_eq(vm_get_page_info(ctx, &info), -EFAULT);
	cr_assert_eq(vm_setup_memory(ctx, 64 * PAGE, VM_MMAP_NONE), 0);
	cr_assert(vm_get_page_info(ctx, &info) == 0 && info.flags == VMM_PAGE_RESIDENT);
	cr_assert_eq(vm_get_gpa_pmap(ctx, 0x9000, entries, &n), 0);
	cr_assert(n == 3 && entries[2] == 0x9002);
	cr_assert_eq(vm_harvest(ctx, 0, PAGE, VMM_HARVEST_ACCESSED, &bits, &found), 0);
	cr_assert(bits == 5 && found == 2);
	cr_assert_eq(vm_promote(ctx, 0, 1), 0);
	cr_assert_eq(vm_promote(ctx, 0, 2), -EBUSY);
	cr_assert_eq(vm_demote(ctx, 0, 2), -ENOENT);
	cr_assert(vm_get_accounts(ctx, &accounts) == 0 && accounts.resident == 10);
	cr_assert(vm_pageout(ctx, &npages, true) == 0 && npages == 7);
	cr_assert_eq(vm_discard(ctx, 0, PAGE), 0);
	cr_assert_eq(vm_check(ctx), 0);
	fk.fk_broken = "I05 at 0x1000";
	cr_assert_eq(vm_check(ctx), -EUCLEAN);
	says("machine 'm': I05 at 0x1000");
	cr_assert_eq(vm_dump_pmap(ctx, &text), 0);
	cr_assert(strcmp(text, fk.fk_dump) == 0);
	free(text);
}

Test(calls, dumps_of_any_length_are_whole)
{
	static char big[100001];
	char *text;

	memset(big, 'x', sizeof(big) - 1);
	for (size_t len = 1; len < sizeof(big); len = len * 5 / 2 + 1) {
		big[len] = '\0';
		fk.fk_dump = big;
		cr_assert_eq(vm_dump_pmap(ctx, &text), 0);
		cr_assert(strcmp(text, big) == 0);
		free(text);
		big[len] = 'x';
	}
	fk_fail(VMM_DUMP, 2, ENXIO);
	cr_assert_eq(vm_dump_pmap(ctx, &text), -ENXIO);
	says("being destroyed");
}

Test(calls, statistics_beyond_one_call)
{
	struct vm_stats *stats;
	char desc[120];

	cr_assert_eq(vm_get_stats(ctx, -1, &stats), 0);
	cr_assert(stats->n == 40 && stats->time_ns == 5);
	for (unsigned int i = 0; i < stats->n; i++)
		cr_assert_eq(stats->values[i], 100 * i);
	free(stats);
	cr_assert_eq(vm_get_stat_desc(ctx, -1, 39, desc), 0);
	cr_assert(strcmp(desc, "statistic 39") == 0);
	cr_assert_eq(vm_get_stat_desc(ctx, -1, 40, desc), -ENOENT);
	cr_assert_eq(vm_get_stats(ctx, 0, &stats), -ENOENT);
	says("never activated");
	cr_assert_eq(vm_get_stats(ctx, 99, &stats), -EINVAL);
	fk_fail(VMM_STATS, 2, EINTR);
	cr_assert_eq(vm_get_stats(ctx, 1, &stats), -EINTR);
}

Test(calls, numbers_have_words)
{
	for (uint32_t i = 0; i <= VMM_EXIT_UNKNOWN; i++)
		cr_assert(vm_exit_name(i) && strcmp(vm_exit_name(i), "unknown") != 0, "%u", i);
	cr_assert(strcmp(vm_exit_name(VMM_EXIT_UNKNOWN + 1), "unknown") == 0);
	/* The module hands out vmspace's numbers: each has a sentence here, and no further one. */
	for (uint32_t i = 0; i < fk_fault_reasons(); i++)
		cr_assert(strcmp(vm_fault_reason_text(i), "unknown") != 0, "%u", i);
	cr_assert(strcmp(vm_fault_reason_text(fk_fault_reasons()), "unknown") == 0);
	cr_assert(strcmp(vm_suspend_name(VMM_SUSPEND_HALT), "halt") == 0);
	cr_assert(strcmp(vm_suspend_name(5), "unknown") == 0);
}
