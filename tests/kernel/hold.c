/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A process has guest memory mapped. It is the pages it has, not their address in the guest: they
 * stay while maps come and go, and when the machine is gone, touching them is an error and no
 * crash.
 */

#define _GNU_SOURCE

#include "harness.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

static void
unmapped(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	volatile uint64_t *map;

	kt_memory(vm, MIB);
	kt_call(&vm->cpus[0], GUEST_FILL, KT_MEM, MIB, PAGE, 1);
	map = kt_mmap(vm, NULL, KT_MEM, MIB, true);
	for (uint64_t at = 0; at < MIB / 2; at += PAGE)
		KT_EQ(map[at / 8], guest_word(KT_MEM + at, 1));
	KT_OK(kt_unmap(vm, KT_MEM, MIB));
	kt_call_to(&vm->cpus[0], VMM_EXIT_MMIO, GUEST_READ, KT_MEM, 0, 0, 0);

	/* What was touched before, what was not, and stores. */
	for (uint64_t at = 0; at < MIB; at += PAGE) {
		KT_EQ(map[at / 8], guest_word(KT_MEM + at, 1));
		map[at / 8 + 1] = at;
	}
	KT_OK(kt_map(vm, 0x5000000, KT_MEM_IDENT, 0, MIB, KT_RWX, 0));
	for (uint64_t at = 0; at < MIB; at += PAGE) {
		KT_EQ(kt_call(&vm->cpus[0], GUEST_READ, 0x5000000 + at + 8, 0, 0, 0), at);
		KT_EQ(kt_call(&vm->cpus[0], GUEST_READ, 0x5000000 + at, 0, 0, 0),
		      guest_word(KT_MEM + at, 1));
	}
	kt_call(&vm->cpus[0], GUEST_WRITE, 0x5000000, 99, 0, 0);
	KT_EQ(map[0], 99);
}

/* Under pageout, which must not tear a page away from under a mapping, nor keep it for ever. */
static void
paged(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	volatile uint64_t *map;
	uint64_t done;

	KT_OK(kt_seg(vm, KT_MEM_IDENT, MIB, ""));
	KT_OK(kt_map(vm, KT_MEM + PAGE, KT_MEM_IDENT, 0, MIB, KT_RWX, 0));
	map = kt_mmap(vm, NULL, KT_MEM + PAGE, MIB, true);
	for (uint64_t round = 1; round < 10; round++) {
		for (uint64_t at = 0; at < MIB; at += PAGE)
			map[at / 8] = guest_word(at, round);
		KT_TRUE(kt_page(vm, KT_MEM + PAGE).write_holds > 0);
		KT_OK(kt_pageout(vm, 10000, 0, &done));
		KT_TRUE(done > 0);
		for (uint64_t at = 0; at < MIB; at += PAGE)
			KT_EQ(kt_call(&vm->cpus[0], GUEST_READ, KT_MEM + PAGE + at, 0, 0, 0),
			      guest_word(at, round));
		for (uint64_t at = 0; at < MIB; at += PAGE)
			KT_EQ(map[at / 8], guest_word(at, round));
	}
	KT_EQ(munmap((void *)(uintptr_t)map, MIB), 0);
	kt_call(&vm->cpus[0], GUEST_NOP, 0, 0, 0, 0);
	KT_EQ(kt_page(vm, KT_MEM + PAGE).holds, 0);
	KT_EQ(kt_page(vm, KT_MEM + PAGE).write_holds, 0);
}

/* Rights: what may not be written by the guest's map may not through a mapping of that address. */
static void
arguments(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	void *at;

	kt_memory(vm, MIB);
	KT_OK(kt_map(vm, 0x5000000, KT_MEM_IDENT, 0, MIB, VMM_PROT_READ, 0));
	at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, vm->fd, 0x7000000);
	KT_TRUE(at == MAP_FAILED); /* no memory there */
	at = mmap(NULL, 2 * MIB, PROT_READ, MAP_SHARED, vm->fd, KT_MEM);
	KT_TRUE(at == MAP_FAILED); /* more than the map */
	at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, vm->fd, 0x5000000);
	KT_TRUE(at == MAP_FAILED);
	at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, vm->fd, KT_MEM);
	KT_TRUE(at == MAP_FAILED);
	at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, vm->fd, 0x5000000);
	KT_TRUE(at != MAP_FAILED);
	KT_TRUE(mprotect(at, PAGE, PROT_READ | PROT_WRITE) < 0);
	KT_TRUE(mprotect(at, PAGE, PROT_READ | PROT_EXEC) < 0);
	kt_poke(vm, KT_MEM, 5);
	KT_EQ(*(volatile uint64_t *)at, 5);
}

static sigjmp_buf back;

static void
on_sigbus(int signal)
{
	(void)signal;
	siglongjmp(back, 1);
}

static void
after_the_end(void)
{
	const struct sigaction action = {.sa_handler = on_sigbus};
	struct kt_vm *const vm = kt_boot(1, 0);
	volatile uint64_t *map;

	kt_memory(vm, MIB);
	map = kt_mmap(vm, NULL, KT_MEM, MIB, true);
	map[0] = 1;
	kt_finish(vm);
	sigaction(SIGBUS, &action, NULL);
	if (sigsetjmp(back, 1) == 0) {
		KT_FAIL("memory of a machine that is gone reads as %llu",
			(unsigned long long)map[0]);
	}
	KT_EQ(munmap((void *)(uintptr_t)map, MIB), 0);
}

static const struct kt_case cases[] = {
	{.name = "unmapped", .run = unmapped},
	{.name = "paged", .run = paged},
	{.name = "arguments", .run = arguments},
	{.name = "after-the-end", .run = after_the_end},
};

KT_MAIN(cases)
