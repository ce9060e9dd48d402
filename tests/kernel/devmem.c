/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Named segments: memory of devices, shown to the guest at an address that may change, and to
 * processes by nodes of its own.
 */

#define _GNU_SOURCE

#include "harness.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FB_IDENT 5
#define FB_BYTES (4 * MIB)
#define ROM_IDENT 6
#define ROM_BYTES (256 * KIB)
#define ROM (4 * GIB - ROM_BYTES)
#define HERE 0xc0000000ull
#define THERE 0xd0000000ull

static void *
map_path(const char *directory, const struct kt_vm *vm, const char *segment, size_t bytes)
{
	char path[256];
	void *at;
	int fd;

	snprintf(path, sizeof(path), "%s/%s.%s", directory, vm->name, segment);
	fd = open(path, O_RDWR | O_CLOEXEC);
	KT_CHECK(fd >= 0, "%s: %s", path, strerror(errno));
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	KT_CHECK(at != MAP_FAILED, "%s: mmap: %s", path, strerror(errno));
	close(fd);
	return at;
}

static struct kt_vm *
with_framebuffer(unsigned int ncpus)
{
	struct kt_vm *const vm = kt_boot(ncpus, 0);

	KT_OK(kt_seg(vm, FB_IDENT, FB_BYTES, "framebuffer"));
	KT_OK(kt_map(vm, HERE, FB_IDENT, 0, FB_BYTES, KT_RW, 0));
	return vm;
}

/* What the guest draws is seen through both nodes, and the other way round. */
static void
framebuffer(void)
{
	struct kt_vm *const vm = with_framebuffer(1);
	struct kt_cpu *const cpu = &vm->cpus[0];
	volatile uint64_t *const io = map_path(VMM_IO_NODE_DIR, vm, "framebuffer", FB_BYTES);
	volatile uint64_t *const dev = map_path(VMM_NODE_DIR, vm, "framebuffer", FB_BYTES);
	struct vmm_accounts before;

	kt_call(cpu, GUEST_NOP, 0, 0, 0, 0);
	before = kt_accounts(vm);
	kt_call(cpu, GUEST_FILL, HERE, FB_BYTES, 8 * KIB, 1);
	for (uint64_t at = 0; at < FB_BYTES; at += 8 * KIB) {
		KT_EQ(io[at / 8], guest_word(HERE + at, 1));
		KT_EQ(dev[at / 8], guest_word(HERE + at, 1));
		KT_EQ(io[at / 8 + 512], 0);
	}
	for (uint64_t at = 0; at < FB_BYTES; at += 16 * KIB)
		io[at / 8] = guest_word(HERE + at, 2);
	KT_EQ(kt_call(cpu, GUEST_VERIFY, HERE, FB_BYTES, 16 * KIB, 2), 0);
	dev[1] = 55;
	KT_EQ(kt_call(cpu, GUEST_READ, HERE + 8, 0, 0, 0), 55);
	KT_EQ(io[1], 55);
	KT_EQ(kt_peek(vm, HERE + 8), 55);

	/* It is no code, and no memory of the guest's account. */
	kt_call_to(cpu, VMM_EXIT_PAGING, GUEST_EXECUTE, HERE, 0, 0, 0);
	KT_TRUE(cpu->exit.u.paging.access & VMM_PROT_EXEC);
	KT_EQ(kt_accounts(vm).devmem, FB_BYTES / PAGE);
	KT_EQ(kt_accounts(vm).resident, before.resident);
}

/* vCPUs that draw while it moves: an access at the old place exits, at the new one all is there. */
static _Atomic uint64_t fb_base;
static _Atomic bool fb_stop;
static _Atomic uint64_t fb_passes[2];

static void *
draw(void *arg)
{
	struct kt_cpu *const cpu = arg;
	const uint64_t mine = FB_BYTES / 2 * (uint64_t)cpu->id;
	uint64_t missed = 0, pass = 1;
	bool filled = false;

	while (!fb_stop) {
		const uint64_t base = fb_base;

		kt_prepare(cpu, GUEST_FILL_AS, base + mine, 64 * PAGE, mine, pass);
		if (filled)
			kt_prepare(cpu, GUEST_VERIFY_AS, base + mine, 64 * PAGE, mine, pass);
		KT_OK(kt_run(cpu));
		if (cpu->exit.code == VMM_EXIT_MMIO) {
			const uint64_t gpa = cpu->exit.u.paging.gpa;

			KT_TRUE(gpa >= base + mine && gpa < base + mine + 64 * PAGE);
			missed++;
			continue;
		}
		KT_CHECK(cpu->exit.code == VMM_EXIT_INOUT, "%s", kt_exit_text(&cpu->exit));
		if (filled)
			KT_EQ(kt_reg(cpu, VMM_REG_RAX), 0);
		pass += filled;
		filled = !filled;
		fb_passes[cpu->id] = pass - 1;
	}
	return (void *)(uintptr_t)missed;
}

static void
moved(void)
{
	struct kt_vm *const vm = with_framebuffer(2);
	volatile uint64_t *const io = map_path(VMM_IO_NODE_DIR, vm, "framebuffer", FB_BYTES);
	pthread_t threads[2];
	void *missed[2];

	io[FB_BYTES / 16 - 1] = 4711; /* the last word before the second half: nobody's */
	fb_base = HERE;
	for (int i = 0; i < 2; i++)
		KT_EQ(pthread_create(&threads[i], NULL, draw, &vm->cpus[i]), 0);
	for (int i = 0; i < 40 || i % 2 || fb_passes[0] < 3 || fb_passes[1] < 3; i++) {
		const uint64_t from = i % 2 ? THERE : HERE, to = i % 2 ? HERE : THERE;

		kt_sleep_ms(i < 40 ? 3 : 30);
		KT_OK(kt_unmap(vm, from, FB_BYTES));
		KT_OK(kt_map(vm, to, FB_IDENT, 0, FB_BYTES, KT_RW, 0));
		fb_base = to;
		KT_EQ(io[FB_BYTES / 16 - 1], 4711);
	}
	kt_sleep_ms(10);
	fb_stop = true;
	for (int i = 0; i < 2; i++)
		KT_EQ(pthread_join(threads[i], &missed[i]), 0);
	kt_note("%llu and %llu passes, %llu and %llu accesses at the old place",
		(unsigned long long)fb_passes[0], (unsigned long long)fb_passes[1],
		(unsigned long long)(uintptr_t)missed[0], (unsigned long long)(uintptr_t)missed[1]);
	KT_EQ(kt_call(&vm->cpus[0], GUEST_READ, HERE + FB_BYTES / 2 - 8, 0, 0, 0), 4711);
}

/* Filled by its node, executed by the guest, written by nobody else. */
static void
bootrom(void)
{
	static const unsigned char answer[] = {0xb8, 0x2a, 0, 0, 0, 0xc3};
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	volatile unsigned char *rom;

	KT_OK(kt_seg(vm, ROM_IDENT, ROM_BYTES, "bootrom"));
	rom = map_path(VMM_NODE_DIR, vm, "bootrom", ROM_BYTES);
	for (size_t i = 0; i < sizeof(answer); i++)
		rom[ROM_BYTES - 16 + i] = answer[i];
	KT_OK(kt_map(vm, ROM, ROM_IDENT, 0, ROM_BYTES, VMM_PROT_READ | VMM_PROT_EXEC, 0));
	KT_EQ(kt_call(cpu, GUEST_EXECUTE, 4 * GIB - 16, 0, 0, 0), 0x2a);
	for (uint64_t at = ROM; at < 4 * GIB; at += 60 * KIB) {
		kt_call_to(cpu, VMM_EXIT_PAGING, GUEST_WRITE, at, 1, 0, 0);
		KT_EQ(cpu->exit.u.paging.gpa, at);
		KT_EQ(cpu->exit.u.paging.error, -EACCES);
		KT_ERR(kt_write(vm, at, "x", 1), EACCES);
		KT_EQ(kt_peek(vm, at), 0);
	}
	kt_call_to(cpu, VMM_EXIT_PAGING, GUEST_WRITE, 4 * GIB - 16, 1, 0, 0);
	KT_EQ(kt_call(cpu, GUEST_EXECUTE, 4 * GIB - 16, 0, 0, 0), 0x2a);
	KT_EQ(rom[ROM_BYTES - 16], 0xb8);
}

static void
expect_mode(const char *directory, const struct kt_vm *vm, const char *segment)
{
	struct stat st;
	char path[256];

	snprintf(path, sizeof(path), "%s/%s%s%s", directory, vm->name, segment ? "." : "",
		 segment ? segment : "");
	KT_CHECK(stat(path, &st) == 0, "%s: %s", path, strerror(errno));
	KT_TRUE(S_ISCHR(st.st_mode));
	KT_EQ(st.st_mode & 07777, 0600);
	KT_EQ(st.st_uid, 0);
}

static void
nodes(void)
{
	struct kt_vm *const vm = with_framebuffer(0);
	char byte;
	void *at;
	int fd;

	expect_mode(VMM_NODE_DIR, vm, NULL);
	expect_mode(VMM_NODE_DIR, vm, "framebuffer");
	expect_mode(VMM_IO_NODE_DIR, vm, "framebuffer");

	/* A segment's node is mapped, and nothing else; not beyond its end, and never as code. */
	fd = kt_open_node(vm, "framebuffer");
	KT_TRUE(fd >= 0);
	KT_TRUE(read(fd, &byte, 1) < 0);
	KT_TRUE(write(fd, "x", 1) < 0);
	KT_ERR(kt_ioctl(fd, VMM_ACCOUNTS, NULL), ENOTTY);
	at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	KT_TRUE(at == MAP_FAILED);
	at = mmap(NULL, FB_BYTES + PAGE, PROT_READ, MAP_SHARED, fd, 0);
	KT_TRUE(at == MAP_FAILED);
	at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, FB_BYTES);
	KT_TRUE(at == MAP_FAILED);
	at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, FB_BYTES - PAGE);
	KT_TRUE(at != MAP_FAILED);
	KT_TRUE(mprotect(at, PAGE, PROT_READ | PROT_EXEC) < 0);
	*(volatile char *)at = 7;
	close(fd);
	KT_EQ(kt_peek(vm, HERE + FB_BYTES - PAGE), 7);
	at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, vm->fd, 0);
	KT_TRUE(at == MAP_FAILED);
}

/* A node that is open for reading shows what others write, and is never written by. */
static void
read_only(void)
{
	struct kt_vm *const vm = with_framebuffer(0);
	volatile uint64_t *at;
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s.framebuffer", VMM_NODE_DIR, vm->name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	KT_CHECK(fd >= 0, "%s: %s", path, strerror(errno));
	KT_TRUE(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	KT_TRUE(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED);
	at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	KT_CHECK(at != MAP_FAILED, "%s: mmap: %s", path, strerror(errno));
	close(fd);
	KT_EQ(*at, 0);
	kt_poke(vm, HERE, 42);
	KT_EQ(*at, 42);
	KT_TRUE(mprotect((void *)(uintptr_t)at, PAGE, PROT_READ | PROT_WRITE) < 0);
}

/* A machine and a segment of another cannot have the same node, whichever comes first. */
static void
collisions(void)
{
	struct kt_vm *const vm = with_framebuffer(0);
	struct vmm_create create = {.flags = 0};

	snprintf(create.name, sizeof(create.name), "%.40s.framebuffer", vm->name);
	KT_ERR(kt_ctl(VMMCTL_CREATE, &create), EEXIST);
	snprintf(create.name, sizeof(create.name), "%.40s", vm->name);
	KT_ERR(kt_ctl(VMMCTL_CREATE, &create), EEXIST);

	snprintf(create.name, sizeof(create.name), "%.40s.flash", vm->name);
	KT_OK(kt_ctl(VMMCTL_CREATE, &create));
	KT_ERR(kt_seg_anew(vm, 9, MIB, "flash"), EEXIST);
	{
		struct vmm_memseg seg = {.ident = 9};
		struct vmm_destroy destroy = {0};

		KT_OK(kt_ioctl(vm->fd, VMM_GET_MEMSEG, &seg));
		KT_EQ(seg.len_bytes, 0);
		memcpy(destroy.name, create.name, sizeof(destroy.name));
		KT_OK(kt_ctl(VMMCTL_DESTROY, &destroy));
	}
	KT_OK(kt_seg_anew(vm, 9, MIB, "flash"));
	KT_ERR(kt_seg_anew(vm, 9, MIB, "flash"), EEXIST);
	KT_ERR(kt_seg_anew(vm, 10, MIB, "flash"), EEXIST);
	KT_ERR(kt_seg_anew(vm, 9, 2 * MIB, "flash"), EINVAL);
}

static const struct kt_case cases[] = {
	{.name = "framebuffer", .run = framebuffer}, {.name = "moved", .run = moved},
	{.name = "bootrom", .run = bootrom},	     {.name = "nodes", .run = nodes},
	{.name = "read-only", .run = read_only},     {.name = "collisions", .run = collisions},
};

KT_MAIN(cases)
