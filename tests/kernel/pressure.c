/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The host runs short of memory: the shrinker drops the guest's clean pages, the thread takes the
 * others, nothing is lost, and pages that are mapped by processes come back like all.
 */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define PAGEOUT "/sys/kernel/debug/vmm/pageout"
#define MEM (8 * MIB)

static int64_t
counted(const char *key)
{
	const int64_t n = kt_number_in(PAGEOUT, key);

	KT_CHECK(n >= 0, "no %s in " PAGEOUT, key);
	return n;
}

/* What the kernel does when memory is short, without it being so: asks every shrinker for all. */
static void
shrink(void)
{
	const int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	KT_TRUE(fd >= 0 && write(fd, "2", 1) == 1);
	close(fd);
}

/* Waits until the counter is larger than it was. */
static void
wait_for_more(const char *key, int64_t than)
{
	const uint64_t end = kt_now_ms() + 60000;

	while (counted(key) <= than) {
		KT_CHECK(kt_now_ms() < end, "%s stays %lld", key, (long long)than);
		kt_sleep_ms(10);
	}
}

static struct kt_vm *
boot_with_memory(uint64_t bytes)
{
	struct kt_vm *const vm = kt_boot(1, 0);

	KT_OK(kt_seg(vm, KT_MEM_IDENT, bytes, ""));
	/* gpa and offset never agree: single pages, which can go one by one */
	KT_OK(kt_map(vm, KT_MEM + PAGE, KT_MEM_IDENT, 0, bytes, KT_RWX, 0));
	return vm;
}

/* Half of the memory was only read. It goes at once, and within the call; the rest is written. */
static void
clean(void)
{
	struct kt_vm *const vm = boot_with_memory(MEM);
	struct kt_cpu *const cpu = &vm->cpus[0];
	const uint64_t dirty = KT_MEM + PAGE, read_only = dirty + MEM / 2;
	int64_t dropped, wakeups;

	KT_EQ(kt_call(cpu, GUEST_TOUCH, read_only, MEM / 2, PAGE, 0), 0);
	kt_call(cpu, GUEST_FILL, dirty, MEM / 2, PAGE, 3);
	dropped = counted("dropped");
	wakeups = counted("wakeups");
	shrink();
	KT_CHECK(counted("dropped") >= dropped + (int64_t)(MEM / 2 / PAGE),
		 "dropped %lld pages instead of %lld", (long long)(counted("dropped") - dropped),
		 (long long)(MEM / 2 / PAGE));
	KT_TRUE(counted("wakeups") > wakeups);
	KT_EQ(kt_call(cpu, GUEST_VERIFY, dirty, MEM / 2, PAGE, 3), 0);
	KT_EQ(kt_call(cpu, GUEST_TOUCH, read_only, MEM / 2, PAGE, 0), 0);
}

/* The thread takes what was written, while the guest goes on writing it. */
static void
dirty(void)
{
	struct kt_vm *const vm = boot_with_memory(MEM);
	struct kt_cpu *const cpu = &vm->cpus[0];
	const uint64_t at = KT_MEM + PAGE;

	for (uint64_t round = 1; round <= 5; round++) {
		const int64_t taken = counted("taken");

		kt_call(cpu, GUEST_FILL, at, MEM, PAGE, round);
		shrink();
		wait_for_more("taken", taken);
		KT_EQ(kt_call(cpu, GUEST_VERIFY, at, MEM, PAGE, round), 0);
	}
	KT_TRUE(kt_accounts(vm).resident * PAGE <= 2 * MEM);
}

/* A process has mapped the memory: that pins it, until the thread takes the mapping back. */
static void
mapped(void)
{
	struct kt_vm *const vm = boot_with_memory(MIB);
	const int64_t taken = counted("taken");
	volatile uint64_t *p =
		mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, vm->fd, KT_MEM + PAGE);

	KT_TRUE(p != MAP_FAILED);
	for (uint64_t i = 0; i < MIB / 8; i += PAGE / 8)
		p[i] = guest_word(i, 9);
	shrink();
	wait_for_more("taken", taken);
	for (uint64_t i = 0; i < MIB / 8; i += PAGE / 8)
		KT_EQ(p[i], guest_word(i, 9));
	for (uint64_t i = 0; i < MIB / 8; i += PAGE / 8)
		KT_EQ(kt_peek(vm, KT_MEM + PAGE + i * 8), guest_word(i, 9));
	munmap((void *)(uintptr_t)p, MIB);
}

/* More than there is: a process takes all memory that is free, and the guest must give way. */
static void
squeeze(void)
{
	const int64_t free_kib = kt_number_in("/proc/meminfo", "MemAvailable:");
	const int64_t swap_kib = kt_number_in("/proc/meminfo", "SwapFree:");
	const int64_t written = kt_number_in("/proc/vmstat", "pswpout");
	const uint64_t guest_bytes = 32 * MIB;
	struct kt_vm *vm;
	struct kt_cpu *cpu;
	size_t greed;
	char *p;

	if (swap_kib < 192 * 1024 || free_kib < 128 * 1024 || free_kib > 1024 * 1024)
		kt_not_applicable("%lld MiB of memory, %lld MiB of swap",
				  (long long)free_kib / 1024, (long long)swap_kib / 1024);
	vm = boot_with_memory(guest_bytes);
	cpu = &vm->cpus[0];
	kt_call(cpu, GUEST_FILL, KT_MEM + PAGE, guest_bytes, PAGE, 5);

	/* What was free before the guest was filled, so that the guest's share is missing. */
	greed = (size_t)free_kib * 1024 - 8 * MIB;
	p = mmap(NULL, greed, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	KT_TRUE(p != MAP_FAILED);
	for (size_t i = 0; i < greed; i += PAGE)
		*(volatile uint64_t *)(p + i) = guest_word(i, 6);
	KT_TRUE(kt_number_in("/proc/vmstat", "pswpout") > written + 4096);
	KT_TRUE(kt_accounts(vm).swapped > 256);
	KT_EQ(kt_call(cpu, GUEST_VERIFY, KT_MEM + PAGE, guest_bytes, PAGE, 5), 0);
	for (size_t i = 0; i < greed; i += 16 * PAGE)
		KT_CHECK(*(volatile uint64_t *)(p + i) == guest_word(i, 6), "our own byte %zu", i);
	munmap(p, greed);
	KT_EQ(kt_call(cpu, GUEST_VERIFY, KT_MEM + PAGE, guest_bytes, PAGE, 5), 0);
}

static const struct kt_case cases[] = {
	{"clean", clean, 0},
	{"dirty", dirty, 0},
	{"mapped", mapped, 0},
	{"squeeze", squeeze, 600},
};
KT_MAIN(cases)
