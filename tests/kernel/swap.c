/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A guest with more memory than it may have: pages leave and come back with what was in them, which
 * is a function of page and pass, so that an old or a foreign page is known as such.
 */

#define _GNU_SOURCE

#include "harness.h"

#include <sys/mman.h>

#define MISALIGNED (KT_MEM + PAGE) /* no superpages: page by page */

/* Half of the memory fits. */
static void
limited(void)
{
	const uint64_t bytes = 8 * MIB, limit = GUEST_LOW_BYTES + bytes / 2;
	struct kt_vm *const vm = kt_boot(1, limit);
	struct kt_cpu *const cpu = &vm->cpus[0];
	struct vmm_accounts a;

	KT_OK(kt_seg(vm, KT_MEM_IDENT, bytes, ""));
	KT_OK(kt_map(vm, MISALIGNED, KT_MEM_IDENT, 0, bytes, KT_RWX, 0));
	for (uint64_t pass = 1; pass <= 3; pass++) {
		kt_call(cpu, GUEST_FILL, MISALIGNED, bytes, 2048, pass);
		a = kt_accounts(vm);
		KT_CHECK(a.resident + a.reserved_runs <= limit / PAGE,
			 "%llu pages and %llu reserved, of %llu", (unsigned long long)a.resident,
			 (unsigned long long)a.reserved_runs, (unsigned long long)limit / PAGE);
		KT_TRUE(a.swapped >= (bytes - limit) / PAGE / 2);
		KT_EQ(kt_call(cpu, GUEST_VERIFY, MISALIGNED, bytes, 2048, pass), 0);
	}
	KT_TRUE(kt_stat(vm, -1, "pages swapped out") > 0);
	KT_TRUE(kt_stat(vm, -1, "pages swapped in") > 0);
	KT_EQ(kt_stat(vm, -1, "swap errors"), 0);
	kt_note("%llu pages out, %llu in", (unsigned long long)kt_stat(vm, -1, "pages swapped out"),
		(unsigned long long)kt_stat(vm, -1, "pages swapped in"));
	/* By the host, too, in whatever order. */
	for (uint64_t at = bytes; at > 0; at -= 64 * PAGE)
		KT_EQ(kt_peek(vm, MISALIGNED + at - PAGE), guest_word(MISALIGNED + at - PAGE, 3));
}

/* On demand, to the last page, again and again; what is clean needs no writing. */
static void
pageout(void)
{
	const uint64_t bytes = 4 * MIB;
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	uint64_t done, total;

	KT_OK(kt_seg(vm, KT_MEM_IDENT, bytes, ""));
	KT_OK(kt_map(vm, MISALIGNED, KT_MEM_IDENT, 0, bytes, KT_RWX, 0));
	for (uint64_t pass = 1; pass <= 3; pass++) {
		kt_call(cpu, GUEST_FILL, MISALIGNED, bytes, 512, pass);
		total = 0;
		do {
			KT_OK(kt_pageout(vm, 300, 0, &done));
			total += done;
		} while (done > 0);
		KT_TRUE(total >= bytes / PAGE);
		KT_EQ(kt_accounts(vm).resident, 0);
		KT_TRUE(kt_accounts(vm).swapped >= bytes / PAGE);
		KT_TRUE(kt_page(vm, MISALIGNED).flags & VMM_PAGE_SWAPPED);
		KT_TRUE(!(kt_page(vm, MISALIGNED).flags & VMM_PAGE_RESIDENT));
		KT_EQ(kt_call(cpu, GUEST_VERIFY, MISALIGNED, bytes, 512, pass), 0);
	}
	KT_ERR(kt_pageout(vm, 1, 2, NULL), EINVAL);
	/* Modified pages are none that need no writing. */
	kt_call(cpu, GUEST_FILL, MISALIGNED, bytes, PAGE, 4);
	KT_OK(kt_pageout(vm, bytes / PAGE * 2, VMM_PAGEOUT_CLEAN, &done));
	KT_TRUE(kt_accounts(vm).resident >= bytes / PAGE);
	KT_EQ(kt_call(cpu, GUEST_VERIFY, MISALIGNED, bytes, PAGE, 4), 0);
}

/* While the guest writes: nothing is lost on the way out. */
static void
under_writer(void)
{
	const uint64_t pages = 256;
	struct kt_vm *const vm = kt_boot(2, 0);
	uint64_t sum = 0, done, total;

	KT_OK(kt_seg(vm, KT_MEM_IDENT, pages * PAGE, ""));
	KT_OK(kt_map(vm, MISALIGNED, KT_MEM_IDENT, 0, pages * PAGE, KT_RWX, 0));
	kt_start(&vm->cpus[1], -1, GUEST_RANDOM, MISALIGNED, pages, GUEST_WORDS, 99);
	for (int i = 0; i < 100; i++) {
		KT_OK(kt_pageout(vm, 100, 0, &done));
		if (i % 10 == 0)
			kt_sleep_ms(1);
	}
	kt_poke(vm, GUEST_WORDS, 1);
	total = kt_join(&vm->cpus[1]);
	for (uint64_t page = 0; page < pages; page++)
		sum += kt_peek(vm, MISALIGNED + page * PAGE);
	KT_EQ(sum, total);
	KT_TRUE(total > 0);
}

/* ---- The host's memory, and its disk --------------------------------------------------------- */

/* The seventh number of a block device's stat: sectors written. */
static int64_t
sectors_written(const char *disk)
{
	unsigned long long n[7];
	char path[128];
	FILE *file;
	int got;

	snprintf(path, sizeof(path), "/sys/block/%s/stat", disk);
	file = fopen(path, "r");
	if (!file)
		return -1;
	got = fscanf(file, "%llu %llu %llu %llu %llu %llu %llu", &n[0], &n[1], &n[2], &n[3], &n[4],
		     &n[5], &n[6]);
	fclose(file);
	return got == 7 ? (int64_t)n[6] : -1;
}

/*
 * What the guest has not used for long goes to the host's disk when the host needs its memory: the
 * disk is written to, the host can use the memory, and the guest finds all as it was.
 */
static void
disk(void)
{
	const int64_t free_kib = kt_number_in("/proc/meminfo", "MemAvailable:");
	const int64_t swap_kib = kt_number_in("/proc/meminfo", "SwapFree:");
	const uint64_t bytes = (uint64_t)free_kib * KIB / 3 & ~(SUPER - 1);
	struct kt_vm *vm;
	struct kt_cpu *cpu;
	int64_t written;
	uint64_t done, want;
	char *host;

	if (sectors_written("vda") < 0 || swap_kib * (int64_t)KIB < (int64_t)(bytes * 3 / 2))
		kt_not_applicable("no disk to swap to, or a small one (%lld MiB)",
				  (long long)swap_kib / 1024);
	vm = kt_boot(1, 0);
	cpu = &vm->cpus[0];
	kt_memory(vm, bytes);
	kt_call(cpu, GUEST_FILL, KT_MEM, bytes, PAGE, 1);
	KT_OK(kt_pageout(vm, 2 * bytes / PAGE, 0, &done));
	KT_TRUE(done >= bytes / PAGE / 2);
	written = sectors_written("vda");

	/* More than there is without the guest's. */
	want = (uint64_t)kt_number_in("/proc/meminfo", "MemFree:") * KIB + bytes * 3 / 4;
	host = mmap(NULL, want, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	KT_TRUE(host != MAP_FAILED);
	for (uint64_t at = 0; at < want; at += PAGE)
		host[at] = 1;
	kt_note("%llu MiB of the guest, %llu MiB of the host, %lld KiB written",
		(unsigned long long)bytes / MIB, (unsigned long long)want / MIB,
		(long long)(sectors_written("vda") - written) / 2);
	KT_TRUE(sectors_written("vda") - written >= (int64_t)(bytes / 2 / 512));
	for (uint64_t at = 0; at < want; at += PAGE)
		KT_TRUE(host[at] == 1);
	munmap(host, want);
	KT_EQ(kt_call(cpu, GUEST_VERIFY, KT_MEM, bytes, PAGE, 1), 0);
	KT_EQ(kt_stat(vm, -1, "swap errors"), 0);
}

/* All that the limit allows is wired: the next page is refused, with its reason. */
#define REASON_GUEST_LIMIT 5

static void
exhausted(void)
{
	const uint64_t limit = GUEST_LOW_BYTES + MIB;
	struct kt_vm *const vm = kt_boot(1, limit);
	struct kt_cpu *const cpu = &vm->cpus[0];
	uint64_t at;

	KT_OK(kt_seg(vm, KT_MEM_IDENT, 4 * MIB, ""));
	KT_OK(kt_map(vm, MISALIGNED, KT_MEM_IDENT, 0, 4 * MIB, KT_RWX, 0));
	KT_OK(kt_range(vm, VMM_WIRE_MEMMAP, 0, GUEST_LOW_BYTES));
	KT_ERR(kt_range(vm, VMM_WIRE_MEMMAP, MISALIGNED, 4 * MIB), ENOMEM);
	KT_EQ(kt_accounts(vm).wired, GUEST_LOW_BYTES / PAGE);
	KT_OK(kt_seg(vm, 7, MIB, ""));
	KT_OK(kt_map(vm, 0x4000000, 7, 0, MIB, KT_RWX, VMM_MEMMAP_WIRED));
	at = MISALIGNED;
	kt_call_to(cpu, VMM_EXIT_PAGING, GUEST_WRITE, at, 1, 0, 0);
	KT_EQ(cpu->exit.u.paging.error, -ENOMEM);
	KT_EQ(cpu->exit.u.paging.reason, REASON_GUEST_LIMIT);
	KT_OK(kt_range(vm, VMM_UNWIRE_MEMMAP, 0x4000000, MIB));
	kt_go_on(cpu);
	KT_EQ(kt_call(cpu, GUEST_READ, at, 0, 0, 0), 1);
}

static const struct kt_case cases[] = {
	{.name = "limited", .run = limited},
	{.name = "pageout", .run = pageout},
	{.name = "under-writer", .run = under_writer},
	{.name = "disk", .run = disk, .seconds = 240},
	{.name = "exhausted", .run = exhausted},
};

KT_MAIN(cases)
