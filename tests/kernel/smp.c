/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * More vCPUs than CPUs, vCPUs that change CPU, CPUs that come and go, and more vCPUs than the
 * hardware has tags for: what a vCPU reads is always what was written.
 */

#define _GNU_SOURCE

#include "harness.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#define VCPUS 4
#define SHARE (512 * KIB)

static _Atomic bool stop;

/* Fills its part with one pass after the other, and verifies it, until it is told to stop. */
static void *
work(void *arg)
{
	struct kt_cpu *const cpu = arg;
	const uint64_t mine = KT_MEM + SHARE * (uint64_t)cpu->id;
	uint64_t pass = 0;

	while (!stop) {
		pass++;
		kt_call(cpu, GUEST_FILL, mine, SHARE, 512, pass);
		KT_EQ(kt_call(cpu, GUEST_VERIFY, mine, SHARE, 512, pass), 0);
	}
	cpu->result = pass;
	return NULL;
}

static struct kt_vm *
working(pthread_t *threads, unsigned int ncpus)
{
	struct kt_vm *const vm = kt_boot(ncpus, 0);

	kt_memory(vm, SHARE * ncpus);
	for (unsigned int i = 0; i < ncpus; i++)
		KT_EQ(pthread_create(&threads[i], NULL, work, &vm->cpus[i]), 0);
	return vm;
}

static void
finish(struct kt_vm *vm, const pthread_t *threads)
{
	stop = true;
	for (unsigned int i = 0; i < vm->ncpus; i++) {
		KT_EQ(pthread_join(threads[i], NULL), 0);
		KT_TRUE(vm->cpus[i].result > 0);
	}
	for (unsigned int i = 0; i < vm->ncpus; i++) /* by another vCPU */
		KT_EQ(kt_call(&vm->cpus[0], GUEST_VERIFY, KT_MEM + SHARE * i, SHARE, 512,
			      vm->cpus[i].result),
		      0);
}

static void
move(pthread_t thread, unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	KT_EQ(pthread_setaffinity_np(thread, sizeof(set), &set), 0);
}

static void
need_cpus(void)
{
	if (kt_platform()->cpus < 2)
		kt_not_applicable("there is one CPU only");
}

static void
overcommitted(void)
{
	pthread_t threads[VCPUS];
	struct kt_vm *const vm = working(threads, VCPUS);

	kt_sleep_ms(500);
	finish(vm, threads);
}

/* Each of them to and fro; memory is taken away and comes back meanwhile. */
static void
migrated(void)
{
	pthread_t threads[VCPUS];
	uint64_t moves = 0, done;
	struct kt_vm *vm;

	need_cpus();
	vm = working(threads, VCPUS);
	for (unsigned int i = 0; i < 200; i++) {
		move(threads[i % VCPUS], i / VCPUS % 2);
		kt_sleep_ms(1);
		if (i % 20 == 0)
			KT_OK(kt_pageout(vm, 64, 0, &done));
	}
	finish(vm, threads);
	for (int i = 0; i < VCPUS; i++)
		moves += kt_stat(vm, i, "vcpu migration across host cpus");
	kt_note("%llu migrations", (unsigned long long)moves);
	KT_TRUE(moves >= 20);
}

/* The same vCPU, moved between two accesses to a page that changes: no stale translation shows. */
static void
to_and_fro(void)
{
	struct kt_vm *vm;

	need_cpus();
	vm = kt_boot(1, 0);
	KT_OK(kt_seg(vm, KT_MEM_IDENT, MIB, ""));
	KT_OK(kt_map(vm, KT_MEM, KT_MEM_IDENT, 0, MIB, KT_RWX, 0));
	for (uint64_t i = 1; i < 300; i++) {
		kt_run_on_cpu(i & 1);
		KT_EQ(kt_call(&vm->cpus[0], GUEST_READ, KT_MEM, 0, 0, 0), i == 1 ? 0 : i - 1);
		KT_OK(kt_range(vm, VMM_DISCARD, KT_MEM, PAGE));
		kt_poke(vm, KT_MEM, i);
	}
	KT_TRUE(kt_stat(vm, 0, "vcpu migration across host cpus") >= 250);
}

static int
set_online(unsigned int cpu, bool online)
{
	char path[96];
	int fd, error = 0;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, online ? "1" : "0", 1) < 0)
		error = -errno;
	close(fd);
	return error;
}

static void
hotplug(void)
{
	pthread_t threads[VCPUS];
	struct kt_vm *vm;

	need_cpus();
	vm = working(threads, VCPUS);
	for (int i = 0; i < 4; i++) {
		kt_sleep_ms(50);
		if (set_online(1, false) == -ENOENT) {
			finish(vm, threads);
			kt_not_applicable("this kernel cannot take a CPU offline");
		}
		kt_sleep_ms(50);
		KT_OK(set_online(1, true));
		for (int t = 0; t < VCPUS; t++)
			move(threads[t], (unsigned int)(t + i) & 1);
	}
	kt_sleep_ms(50);
	finish(vm, threads);
	kt_run_on_cpu(1);
	KT_EQ(kt_call(&vm->cpus[1], GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
}

/* Round after round of more vCPUs than there are ASIDs, in machines with equal addresses. */
#define MACHINES 4

static void
identifiers(void)
{
	const unsigned int ncpus = kt_platform()->maxcpu < 16 ? kt_platform()->maxcpu : 16;
	struct kt_vm *vms[MACHINES];

	for (unsigned int m = 0; m < MACHINES; m++) {
		vms[m] = kt_boot(ncpus, 0);
		KT_OK(kt_seg(vms[m], KT_MEM_IDENT, MIB, ""));
		KT_OK(kt_map(vms[m], KT_MEM, KT_MEM_IDENT, 0, MIB, KT_RWX, 0));
	}
	for (uint64_t round = 1; round <= 4; round++)
		for (unsigned int i = 0; i < ncpus; i++)
			for (unsigned int m = 0; m < MACHINES; m++) {
				struct kt_cpu *const cpu = &vms[m]->cpus[i];
				const uint64_t at = KT_MEM + i * PAGE;

				KT_EQ(kt_call(cpu, GUEST_READ, at, 0, 0, 0),
				      round == 1 ? 0 : guest_word(at + m, round - 1));
				kt_call(cpu, GUEST_WRITE, at, guest_word(at + m, round), 0, 0);
			}
}

/* x87 and SSE registers are each vCPU's own, whoever else runs on its CPU. */
static void
floating_point(void)
{
	struct kt_vm *const vm = kt_boot(VCPUS, 0);

	for (int i = 0; i < VCPUS; i++)
		kt_start(&vm->cpus[i], i % 2 < (int)kt_platform()->cpus ? i % 2 : 0, GUEST_SSE_SPIN,
			 GUEST_WORDS, 0x1000 + (uint64_t)i, 0, 0);
	for (int i = 0; i < 200; i++) {
		volatile double x = i;

		x = x * 1.5 + 0.25;
		KT_TRUE(x == i * 1.5 + 0.25);
		kt_sleep_ms(1);
	}
	kt_poke(vm, GUEST_WORDS, 1);
	for (int i = 0; i < VCPUS; i++)
		KT_EQ(kt_join(&vm->cpus[i]), 0);
}

static const struct kt_case cases[] = {
	{.name = "overcommitted", .run = overcommitted},
	{.name = "migrated", .run = migrated},
	{.name = "to-and-fro", .run = to_and_fro},
	{.name = "hotplug", .run = hotplug},
	{.name = "identifiers", .run = identifiers},
	{.name = "floating-point", .run = floating_point},
};

KT_MAIN(cases)
