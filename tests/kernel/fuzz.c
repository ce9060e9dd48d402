/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Calls with arguments at random, of two threads on the same machine, on all kinds of nodes.
 * Nothing may break: the kernel says nothing (the runner looks), the machine passes its check,
 * memory is back. Arguments are made to be nearly right as often as wrong, since what is refused at
 * once tests little. The seed is fixed, and can be given: FUZZ_SEED.
 */

#define _GNU_SOURCE

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define CALLS 100000
#define CALLS_SLOW 6000 /* where the emulator is an order of magnitude slower */
#define THREADS 2
#define BUF_BYTES (64 * KIB)
#define ARG_BYTES (1ull << 14) /* as many as an ioctl's number can tell */

struct fuzzer {
	bool pc; /* the machine has interrupt hardware */
	struct kt_vm *vm;
	int segment_fd;
	uint64_t state;
	uint32_t ppt;	    /* a device that the machine has; 0: none */
	unsigned char *buf; /* what pointers mostly point to */
	uint64_t calls, wanted, successes, ppt_successes;
};

static uint64_t
next(struct fuzzer *f)
{
	f->state ^= f->state << 13;
	f->state ^= f->state >> 7;
	f->state ^= f->state << 17;
	return f->state;
}

/* A number that is sometimes meant. */
static uint64_t
number(struct fuzzer *f)
{
	static const uint64_t known[] = {0,
					 1,
					 2,
					 3,
					 4,
					 7,
					 PAGE,
					 SUPER,
					 GIB,
					 KT_MEM,
					 KT_MEM * 2,
					 MIB,
					 4 * GIB,
					 1ull << 47,
					 1ull << 63,
					 ~0ull,
					 ~0ull - 4095,
					 0x80000031};
	const uint64_t r = next(f);

	switch (r & 7) {
	case 0:
		return next(f);
	case 1:
		return (next(f) & 0xff) * PAGE;
	case 2:
		return KT_MEM + (next(f) & 0x1ff) * PAGE;
	case 3:
		return next(f) & 0xffff;
	case 4:
		return (uint64_t)(uintptr_t)f->buf + (next(f) & 0xfff8);
	default:
		return known[next(f) % (sizeof(known) / sizeof(known[0]))];
	}
}

/* All calls but those that the loop makes with care (RUN), or that would end the test (DESTROY). */
static const unsigned long commands[] = {
	VMM_ALLOC_MEMSEG, VMM_GET_MEMSEG,     VMM_MMAP_MEMSEG,	  VMM_MUNMAP_MEMSEG,
	VMM_MMAP_GETNEXT, VMM_PROTECT_MEMMAP, VMM_WIRE_MEMMAP,	  VMM_UNWIRE_MEMMAP,
	VMM_DISCARD,	  VMM_PAGEOUT,	      VMM_DIRTY_LOG,	  VMM_EXEC_CONTROL,
	VMM_GET_GPA_PMAP, VMM_PAGE_INFO,      VMM_HARVEST,	  VMM_SUPER,
	VMM_ACCOUNTS,	  VMM_DUMP,	      VMM_STATS,	  VMM_STAT_DESC,
	VMM_GET_REGS,	  VMM_SET_REGS,	      VMM_GET_DESC,	  VMM_SET_DESC,
	VMM_GET_FIELD,	  VMM_SET_FIELD,      VMM_GET_CAPABILITY, VMM_SET_CAPABILITY,
	VMM_INJECT,	  VMM_GET_INTINFO,    VMM_ACTIVATE_CPU,	  VMM_GET_CPUS,
	VMM_SUSPEND,	  VMM_REINIT,	      VMM_GLA2GPA,	  VMM_COPY,
	VMM_SET_PLATFORM, VMM_IRQ_LINE,	      VMMCTL_VERSION,	  VMMCTL_NEXT,
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* And those on interrupt hardware and devices, for a machine that has it. */
static const unsigned long hardware[] = {
	VMM_SET_PLATFORM, VMM_IRQ_LINE,	     VMM_MSI,	     VMM_APIC_ACCESS, VMM_RTC,
	VMM_APIC_STATE,	  VMM_PPT_BIND,	     VMM_PPT_UNBIND, VMM_PPT_INFO,    VMM_PPT_CONFIG,
	VMM_PPT_MAP_BAR,  VMM_PPT_UNMAP_BAR, VMM_PPT_MSI,    VMM_PPT_MSIX,
};
#define HARDWARE (sizeof(hardware) / sizeof(hardware[0]))

static void
fill(struct fuzzer *f, uint64_t *words, size_t bytes)
{
	const bool clean = next(f) % 4 != 0;

	memset(words, 0, ARG_BYTES);
	for (size_t i = 0; i < (bytes + 7) / 8; i++) {
		switch (next(f) % 4) {
		case 0:
			words[i] = number(f);
			break;
		case 1:
			words[i] = (number(f) & 7) | (number(f) & 7) << 32;
			break;
		default:
			break;
		}
	}
	if (clean && bytes >= 16) /* reserved words are the last in most structures */
		memset((char *)words + bytes - 16, 0, 16);
}

static void
call(struct fuzzer *f)
{
	static const char *const names[] = {"", "", "", "a", "framebuffer", "x/y"};
	uint64_t words[ARG_BYTES / 8];
	unsigned long cmd =
		f->pc && next(f) % 2 ? hardware[next(f) % HARDWARE] : commands[next(f) % COMMANDS];
	const uint64_t r = next(f);
	void *arg = words;
	int fd = f->vm->fd;

	if (r % 64 == 0)
		cmd ^= 1ul << (next(f) & 31);
	fill(f, words, _IOC_SIZE(cmd));
	if (cmd == VMM_ALLOC_MEMSEG)
		snprintf(((struct vmm_memseg *)words)->name, VMM_SEG_NAME_BYTES, "%s",
			 names[next(f) % 6]);
	if (cmd == VMM_MSI && r % 4)
		words[0] = 0xfee00000 | (r & 0xff00c);
	if (cmd == VMM_APIC_ACCESS && r % 4)
		words[1] = (r % 8 < 4 ? VMM_LAPIC_GPA : VMM_IOAPIC_GPA) + (r >> 8 & 0xff0);
	if (_IOC_NR(cmd) >= _IOC_NR(VMM_PPT_BIND) && f->ppt != 0 && r % 8)
		memcpy(words, &f->ppt, sizeof(f->ppt));
	if (cmd == VMM_PPT_UNBIND && r % 128)
		return;
	if (cmd == VMM_SUSPEND && r % 16)
		return;
	if (r % 37 == 0)
		arg = (void *)(uintptr_t)number(f);
	if (r % 29 == 0)
		fd = f->segment_fd;
	else if (r % 31 == 0)
		fd = f->vm->ctl;
	if (cmd == VMM_SUSPEND)
		kt_ioctl(f->vm->fd, VMM_REINIT, NULL);
	if (kt_ioctl(fd, cmd, arg) == 0) {
		f->successes++;
		f->ppt_successes += _IOC_NR(cmd) >= _IOC_NR(VMM_PPT_BIND);
		if (cmd == VMM_PPT_UNBIND) /* or it would soon be gone for good */
			(void)vm_assign_pptdev(f->vm->ctx, f->ppt);
	}
}

/*
 * A run of whatever state it is in, ended by the clock's signal. Not where that could not call such
 * a guest out: Bochs, which emulates VT-x, takes no interrupt while a guest's are off.
 */
static void
run(struct fuzzer *f)
{
	struct vmm_run r = {.vcpu = (int)(next(f) % 2)};

	if (kt_platform()->kind == VMM_CPU_VTX)
		return;
	if (next(f) % 3 == 0)
		kt_ioctl(f->vm->fd, VMM_REINIT, NULL);
	f->successes += kt_ioctl(f->vm->fd, VMM_RUN, &r) == 0;
}

static void
node(struct fuzzer *f)
{
	const off_t at = (off_t)number(f);
	size_t bytes;
	void *map;

	switch (next(f) % 4) {
	case 0:
		f->successes += pread(f->vm->fd, f->buf, next(f) % BUF_BYTES, at) > 0;
		break;
	case 1:
		f->successes += pwrite(f->vm->fd, f->buf, next(f) % BUF_BYTES, at) > 0;
		break;
	default:
		bytes = (next(f) % 64 + 1) * PAGE;
		map = mmap(NULL, bytes, (int)(next(f) & 7), MAP_SHARED,
			   next(f) % 2 ? f->vm->fd : f->segment_fd, at & ~0xfff);
		if (map != MAP_FAILED) {
			f->successes++;
			if (next(f) % 2) /* by the kernel: what cannot be touched is an error */
				f->successes += pread(f->vm->fd, map, PAGE, KT_MEM) > 0;
			munmap(map, bytes);
		}
		break;
	}
}

static void *
fuzz(void *arg)
{
	struct fuzzer *const f = arg;

	for (uint64_t i = 0; i < f->wanted; i++) {
		const uint64_t r = next(f) % 100;

		if (r < 3)
			run(f);
		else if (r < 8)
			node(f);
		else
			call(f);
		f->calls++;
		if (i % 1000 == 0) /* who is silent for long is taken to hang */
			kt_note("%llu calls", (unsigned long long)i);
	}
	return NULL;
}

static void
on_alarm(int signal)
{
	(void)signal;
}

/* ---- A device (./dev boot --iommu) ----------------------------------------------------------- */

#define EDU "0000:00:1d.0"
#define EDU_DEV VMM_PPT_DEV(0, 0, 0x1d, 0)
#define PCI "/sys/bus/pci/"

static void
put(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		kt_note("%s: %s", path, strerror(errno));
	close(fd);
}

/* Gives the machine edu, if there is one and an IOMMU: then calls on it find it mostly. */
static uint32_t
give_device(struct kt_vm *vm)
{
	struct vmm_memmap map = {.gpa = 0};

	if (access(PCI "devices/" EDU "/iommu_group", F_OK) != 0)
		return 0;
	put(PCI "devices/" EDU "/driver_override", "vmm_ppt");
	put(PCI "drivers/vmm_ppt/bind", EDU);
	for (; kt_ioctl(vm->fd, VMM_MMAP_GETNEXT, &map) == 0; map.gpa += map.len_bytes)
		KT_OK(kt_range(vm, VMM_WIRE_MEMMAP, map.gpa, map.len_bytes));
	KT_OK(vm_assign_pptdev(vm->ctx, EDU_DEV));
	return EDU_DEV;
}

static void
take_device_back(void)
{
	put(PCI "drivers/vmm_ppt/unbind", EDU);
	put(PCI "devices/" EDU "/driver_override", "\n");
}

/* ---- All of it ------------------------------------------------------------------------------- */

static struct fuzzer
make(struct kt_vm *vm, uint64_t seed)
{
	struct fuzzer f = {.vm = vm, .segment_fd = kt_open_node(vm, "framebuffer"), .state = seed};

	KT_TRUE(f.segment_fd >= 0);
	f.buf = mmap(NULL, BUF_BYTES * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	KT_TRUE(f.buf != MAP_FAILED);
	return f;
}

static void
calls_at_random(bool pc)
{
	const struct sigaction action = {.sa_handler = on_alarm};
	const struct itimerval clock = {{0, 3000}, {0, 3000}};
	const char *const given = getenv("FUZZ_SEED");
	const uint64_t seed = given ? strtoull(given, NULL, 0) : 20260711;
	struct kt_vm *const vm =
		pc ? kt_boot_pc(2, VMM_PLATFORM_HALT_DETECT) : kt_boot(2, 16 * MIB);
	struct fuzzer fuzzers[THREADS];
	pthread_t threads[THREADS];
	const uint64_t calls =
		(kt_platform()->kind == VMM_CPU_SVM ? CALLS : CALLS_SLOW) / (pc ? 5 : 1);
	uint64_t successes = 0, ppt_successes = 0;
	uint32_t ppt;

	kt_memory(vm, 4 * MIB);
	ppt = pc ? give_device(vm) : 0;
	KT_OK(kt_seg(vm, 7, MIB, "framebuffer"));
	KT_OK(kt_map(vm, 0x5000000, 7, 0, MIB, KT_RW, 0));
	kt_platform();
	sigaction(SIGALRM, &action, NULL);
	for (int i = 0; i < THREADS; i++) {
		fuzzers[i] = make(vm, seed + (uint64_t)i * 7919);
		fuzzers[i].wanted = calls / THREADS;
		fuzzers[i].pc = pc;
		fuzzers[i].ppt = ppt;
	}
	KT_EQ(setitimer(ITIMER_REAL, &clock, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		KT_EQ(pthread_create(&threads[i], NULL, fuzz, &fuzzers[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		KT_EQ(pthread_join(threads[i], NULL), 0);
		KT_EQ(fuzzers[i].calls, calls / THREADS);
		successes += fuzzers[i].successes;
		ppt_successes += fuzzers[i].ppt_successes;
	}
	kt_note("seed %llu: %llu calls, %llu succeeded", (unsigned long long)seed,
		(unsigned long long)calls, (unsigned long long)successes);
	KT_TRUE(successes > calls / 20);
	{
		const struct itimerval off = {{0, 0}, {0, 0}};

		setitimer(ITIMER_REAL, &off, NULL);
	}
	if (ppt != 0) {
		kt_note("%llu of them on the device", (unsigned long long)ppt_successes);
		KT_TRUE(ppt_successes > calls / 100);
		take_device_back();
	}
}

static void
random_calls(void)
{
	calls_at_random(false);
}

static void
hardware_calls(void)
{
	calls_at_random(true);
}

static const struct kt_case cases[] = {
	{.name = "random-calls", .run = random_calls, .seconds = 600},
	{.name = "hardware-calls", .run = hardware_calls, .seconds = 600},
};

KT_MAIN(cases)
