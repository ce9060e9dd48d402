/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Machines come and go: by calls and by sysctls, with their names, with their owner, by suspension
 * and reset; and leave nothing.
 */

#define _GNU_SOURCE

#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static bool
exists(const char *name)
{
	char path[sizeof(VMM_NODE_DIR) + 2 * VMM_NAME_BYTES];

	snprintf(path, sizeof(path), "%s/%s", VMM_NODE_DIR, name);
	return access(path, F_OK) == 0;
}

static int
create(const char *name)
{
	struct vmm_create c = {0};

	memcpy(c.name, name, strnlen(name, sizeof(c.name)));
	return kt_ctl(VMMCTL_CREATE, &c);
}

static int
destroy(const char *name)
{
	struct vmm_destroy d = {0};

	memcpy(d.name, name, strnlen(name, sizeof(d.name)));
	return kt_ctl(VMMCTL_DESTROY, &d);
}

/* ---- Names ----------------------------------------------------------------------------------- */

static void
names(void)
{
	static const char *const bad[] = {"",	 "-a",	".a",	"..",	"a/b",
					  "a b", "a!b", "a\nb", "\x80", "a%"};
	static const char *const good[] = {"a", "Z9", "0", "a.b-c_d", "a..b"};
	char longest[VMM_NAME_BYTES + 1];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const int error = create(bad[i]);

		KT_CHECK(error == -EINVAL, "name \"%s\": %s", bad[i], strerror(-error));
	}
	memset(longest, 'x', sizeof(longest));
	KT_ERR(create(longest), EINVAL); /* no final 0 */
	longest[VMM_NAME_BYTES - 1] = '\0';
	KT_OK(create(longest));
	KT_TRUE(exists(longest));
	KT_OK(destroy(longest));
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		KT_OK(create(good[i]));
		KT_TRUE(exists(good[i]));
		KT_ERR(create(good[i]), EEXIST);
		KT_OK(destroy(good[i]));
		KT_TRUE(!exists(good[i]));
		KT_ERR(destroy(good[i]), ENOENT);
	}
}

static void
list(void)
{
	struct vmm_next next = {0};
	int n = 0;

	KT_OK(create("kt-b"));
	KT_OK(create("kt-a"));
	KT_OK(create("kt-c"));
	memcpy(next.name, "kt-", 3);
	for (; kt_ctl(VMMCTL_NEXT, &next) == 0; n++) {
		const char want[] = {'k', 't', '-', (char)('a' + n), '\0'};

		KT_CHECK(strcmp(next.name, want) == 0, "%s comes, not %s", next.name, want);
	}
	KT_EQ(n, 3);
	KT_OK(destroy("kt-a"));
	KT_OK(destroy("kt-b"));
	KT_OK(destroy("kt-c"));
}

static void
sysctls(void)
{
	struct vmm_version version = {0};
	const char *const flags =
		kt_platform()->kind == VMM_CPU_VTX ? "ept/pmap_flags" : "npt/pmap_flags";

	KT_OK(kt_ctl(VMMCTL_VERSION, &version));
	KT_TRUE(memchr(version.release, '\0', sizeof(version.release)) != NULL);
	KT_EQ(kt_sysctl(flags), version.pmap_flags);
	KT_EQ(kt_sysctl("maxcpu"), version.maxcpu);
	KT_TRUE(kt_sysctl("mem_total") >= 16 * MIB);
	KT_TRUE(kt_sysctl("mem_free") <= kt_sysctl("mem_total"));
	KT_TRUE(kt_sysctl("ept/use_superpages") <= 1);
	KT_TRUE(kt_sysctl("ept/use_hw_ad_bits") <= 1);
	KT_TRUE(kt_sysctl("ept/use_exec_only") <= 1);
	KT_TRUE(kt_sysctl("npt/enable_superpage") <= 1);

	KT_OK(kt_sysctl_write("create", "kt-sysctl"));
	KT_TRUE(exists("kt-sysctl"));
	KT_ERR(kt_sysctl_write("create", "kt-sysctl"), EEXIST);
	KT_OK(kt_sysctl_write("destroy", "kt-sysctl\n"));
	KT_TRUE(!exists("kt-sysctl"));
	KT_ERR(kt_sysctl_write("destroy", "kt-sysctl"), ENOENT);
	KT_ERR(kt_sysctl_write("create", "a/b"), EINVAL);
	KT_TRUE(kt_sysctl_write("mem_total", "1") < 0);
	KT_TRUE(kt_sysctl_write("mem_free", "1") < 0);
}

/* ---- Again and again ------------------------------------------------------------------------- */

/* Where the emulator is an order of magnitude slower, fewer do. */
static int
cycles_wanted(void)
{
	return kt_platform()->kind == VMM_CPU_SVM ? 200 : 40;
}

static void
cycles(void)
{
	const int count = cycles_wanted();
	const uint64_t free_before = kt_sysctl("mem_free");
	int64_t slab_before, slab_after;

	for (int warm = 0; warm < count / 10; warm++)
		kt_finish(kt_boot(2, 0));
	slab_before = kt_number_in("/proc/meminfo", "SUnreclaim:");
	for (int i = 0; i < count; i++) {
		struct kt_vm *const vm = kt_boot(2, 0);

		if (i % 20 == 0)
			kt_note("%d machines", i);

		kt_memory(vm, 4 * MIB);
		KT_OK(kt_seg(vm, 7, MIB, "framebuffer"));
		KT_OK(kt_map(vm, 0x5000000, 7, 0, MIB, KT_RW, 0));
		kt_call(&vm->cpus[0], GUEST_FILL, KT_MEM, 64 * PAGE, PAGE, 1);
		kt_call(&vm->cpus[1], GUEST_FILL, 0x5000000, 8 * PAGE, PAGE, 1);
		KT_EQ(kt_call(&vm->cpus[1], GUEST_VERIFY, KT_MEM, 64 * PAGE, PAGE, 1), 0);
		kt_finish(vm);
	}
	for (int i = 0; i < 200 && kt_sysctl("mem_free") != free_before; i++)
		kt_sleep_ms(10);
	KT_EQ(kt_sysctl("mem_free"), free_before);
	slab_after = kt_number_in("/proc/meminfo", "SUnreclaim:");
	kt_note("slab grew by %lld KiB over %d machines", (long long)(slab_after - slab_before),
		count);
	/* A leak of one page per machine would be more. */
	KT_CHECK(slab_after - slab_before < count * 2 + 64, "slab grew by %lld KiB",
		 (long long)(slab_after - slab_before));
}

/* ---- Owners ---------------------------------------------------------------------------------- */

/* Killed in the middle of it, with vCPUs in the guest: machine, nodes and memory are gone. */
static void
killed_owner(void)
{
	const uint64_t free_before = kt_sysctl("mem_free");

	for (int i = 0; i < 5; i++) {
		char name[VMM_NAME_BYTES];
		int ready[2], status;
		char byte;
		pid_t pid;

		KT_EQ(pipe(ready), 0);
		pid = fork();
		KT_TRUE(pid >= 0);
		if (pid == 0) {
			struct kt_vm *const vm = kt_boot(2, 0);

			kt_memory(vm, MIB);
			kt_start(&vm->cpus[0], -1, GUEST_WRITER, KT_MEM, 100, GUEST_WORDS, 0);
			kt_start(&vm->cpus[1], -1, GUEST_SPIN_WHILE, KT_MEM + 4088, 0, 0, 0);
			kt_wait_word(vm, GUEST_WORDS + 8, 1);
			if (write(ready[1], vm->name, sizeof(vm->name)) < 0)
				_exit(1);
			pause();
		}
		KT_EQ(read(ready[0], name, sizeof(name)), sizeof(name));
		close(ready[1]);
		KT_TRUE(exists(name));
		KT_EQ(kill(pid, SIGKILL), 0);
		KT_EQ(waitpid(pid, &status, 0), pid);
		KT_EQ(read(ready[0], &byte, 1), 0); /* nobody has it open any more */
		close(ready[0]);
		for (int wait = 0; wait < 500 && exists(name); wait++)
			kt_sleep_ms(10);
		KT_CHECK(!exists(name), "the node of %s is there still", name);
	}
	for (int i = 0; i < 500 && kt_sysctl("mem_free") != free_before; i++)
		kt_sleep_ms(10);
	KT_EQ(kt_sysctl("mem_free"), free_before);
}

/* Destroyed by name while its node is open: who has that open gets an error from each call. */
static void
destroyed_in_use(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct vmm_destroy d = {0};
	struct vmm_run run = {.vcpu = 0};

	kt_memory(vm, MIB);
	kt_call(&vm->cpus[0], GUEST_FILL, KT_MEM, MIB, PAGE, 1);
	memcpy(d.name, vm->name, sizeof(d.name));
	KT_OK(kt_ioctl(vm->ctl, VMMCTL_DESTROY, &d));
	KT_TRUE(!exists(vm->name));
	KT_ERR(kt_ioctl(vm->fd, VMM_RUN, &run), ENXIO);
	{
		struct vmm_accounts a = {0};
		char byte;

		KT_ERR(kt_ioctl(vm->fd, VMM_ACCOUNTS, &a), ENXIO);
		KT_TRUE(pread(vm->fd, &byte, 1, KT_MEM) < 0);
	}
	KT_ERR(kt_ioctl(vm->ctl, VMMCTL_DESTROY, &d), ENOENT);
	kt_forget(vm);
}

/* With vCPUs in the guest, one of them in a thread that waits in HLT. */
static void *
run_to_the_end(void *arg)
{
	struct kt_cpu *const cpu = arg;

	cpu->result = (uint64_t)(int64_t)kt_run(cpu);
	return NULL;
}

static void
destroyed_running(void)
{
	struct kt_vm *const vm = kt_boot(2, 0);
	struct vmm_destroy d = {0};
	pthread_t threads[2];

	KT_OK(kt_set_cap(&vm->cpus[1], VMM_CAP_HALT_EXIT, 0));
	kt_prepare(&vm->cpus[0], GUEST_SPIN_WHILE, GUEST_WORDS, 0, 0, 0);
	kt_prepare(&vm->cpus[1], GUEST_HLT, 0, 0, 0, 0);
	for (int i = 0; i < 2; i++)
		KT_EQ(pthread_create(&threads[i], NULL, run_to_the_end, &vm->cpus[i]), 0);
	kt_wait_running(&vm->cpus[0]);
	kt_sleep_ms(20);
	memcpy(d.name, vm->name, sizeof(d.name));
	KT_OK(kt_ioctl(vm->ctl, VMMCTL_DESTROY, &d));
	for (int i = 0; i < 2; i++) {
		KT_EQ(pthread_join(threads[i], NULL), 0);
		KT_EQ((int)vm->cpus[i].result, -ENXIO);
	}
	kt_forget(vm);
}

static void
unload_refused(void)
{
	struct kt_vm *const vm = kt_create(0);

	KT_TRUE(syscall(SYS_delete_module, "vmm", O_NONBLOCK) < 0);
	KT_TRUE(errno == EWOULDBLOCK || errno == EBUSY);
	kt_check(vm);
}

/* ---- vCPUs ----------------------------------------------------------------------------------- */

static void
one_user(void)
{
	struct kt_vm *const vm = kt_boot(2, 0);
	struct vmm_cpu again = {.vcpu = 0}, beyond = {.vcpu = VMM_MAXCPU};
	struct vmm_run run = {.vcpu = 0};
	uint64_t value;
	enum vmm_reg reg = VMM_REG_RIP;

	KT_ERR(kt_ioctl(vm->fd, VMM_ACTIVATE_CPU, &again), EBUSY);
	KT_ERR(kt_ioctl(vm->fd, VMM_ACTIVATE_CPU, &beyond), EINVAL);
	run.vcpu = 2;
	KT_ERR(kt_ioctl(vm->fd, VMM_RUN, &run), ENOENT);
	run.vcpu = 0;

	kt_start(&vm->cpus[0], -1, GUEST_SPIN_WHILE, GUEST_WORDS, 0, 0, 0);
	kt_wait_running(&vm->cpus[0]);
	KT_ERR(kt_ioctl(vm->fd, VMM_RUN, &run), EBUSY);
	KT_ERR(kt_get_regs(&vm->cpus[0], 1, &reg, &value), EBUSY);
	KT_OK(kt_get_regs(&vm->cpus[1], 1, &reg, &value));
	kt_poke(vm, GUEST_WORDS, 1);
	kt_join(&vm->cpus[0]);
	KT_OK(kt_get_regs(&vm->cpus[0], 1, &reg, &value));
}

static void
suspended(void)
{
	struct kt_vm *const vm = kt_boot(2, 0);
	struct vmm_cpu suspend = {.how = VMM_SUSPEND_POWEROFF};
	struct vmm_cpus cpus = {0};

	KT_OK(kt_ioctl(vm->fd, VMM_GET_CPUS, &cpus));
	KT_EQ(cpus.active, 3);
	KT_EQ(cpus.suspended, 0);
	KT_ERR(kt_ioctl(vm->fd, VMM_REINIT, NULL), EBUSY);
	kt_start_to(&vm->cpus[0], -1, VMM_EXIT_SUSPENDED, GUEST_SPIN_WHILE, GUEST_WORDS, 0, 0, 0);
	kt_wait_running(&vm->cpus[0]);
	KT_OK(kt_ioctl(vm->fd, VMM_SUSPEND, &suspend));
	kt_join(&vm->cpus[0]);
	KT_EQ(vm->cpus[0].exit.u.how, VMM_SUSPEND_POWEROFF);
	suspend.how = VMM_SUSPEND_RESET;
	KT_ERR(kt_ioctl(vm->fd, VMM_SUSPEND, &suspend), EALREADY);
	kt_call_to(&vm->cpus[1], VMM_EXIT_SUSPENDED, GUEST_NOP, 0, 0, 0, 0);
	KT_EQ(vm->cpus[1].exit.u.how, VMM_SUSPEND_POWEROFF);
	KT_OK(kt_ioctl(vm->fd, VMM_GET_CPUS, &cpus));
	KT_EQ(cpus.suspended, 3);
	KT_EQ(cpus.how, VMM_SUSPEND_POWEROFF);
	suspend.how = 77;
	KT_ERR(kt_ioctl(vm->fd, VMM_SUSPEND, &suspend), EINVAL);
}

/* Registers as after reset; named segments' maps are gone, system memory and its contents stay. */
static void
reinitialized(void)
{
	struct kt_vm *const vm = kt_boot(2, 0);
	struct vmm_cpu suspend = {.how = VMM_SUSPEND_RESET};
	struct vmm_memmap map = {.gpa = 0};
	struct vmm_memseg seg = {.ident = 7};
	uint64_t *fb;
	int maps = 0;

	kt_memory(vm, MIB);
	KT_OK(kt_seg(vm, 7, MIB, "framebuffer"));
	KT_OK(kt_map(vm, 0x5000000, 7, 0, MIB, KT_RW, 0));
	kt_call(&vm->cpus[0], GUEST_FILL, KT_MEM, MIB, PAGE, 1);
	kt_call(&vm->cpus[0], GUEST_FILL, 0x5000000, MIB, PAGE, 2);
	fb = kt_mmap(vm, "framebuffer", 0, MIB, true);
	KT_OK(kt_ioctl(vm->fd, VMM_SUSPEND, &suspend));
	KT_OK(kt_ioctl(vm->fd, VMM_REINIT, NULL));

	KT_EQ(kt_reg(&vm->cpus[0], VMM_REG_RIP), 0xfff0);
	KT_EQ(kt_reg(&vm->cpus[1], VMM_REG_RFLAGS), 2);
	KT_OK(kt_ioctl(vm->fd, VMM_GET_MEMSEG, &seg));
	KT_EQ(seg.len_bytes, MIB);
	for (; kt_ioctl(vm->fd, VMM_MMAP_GETNEXT, &map) == 0; map.gpa += map.len_bytes) {
		KT_TRUE(map.ident != 7);
		maps++;
	}
	KT_EQ(maps, 2);
	KT_EQ(fb[0], guest_word(0x5000000, 2));
	kt_long_mode(&vm->cpus[0]);
	KT_EQ(kt_call(&vm->cpus[0], GUEST_VERIFY, KT_MEM, MIB, PAGE, 1), 0);
	kt_call_to(&vm->cpus[0], VMM_EXIT_MMIO, GUEST_READ, 0x5000000, 0, 0, 0);
	KT_OK(kt_map(vm, 0x6000000, 7, 0, MIB, KT_RW, 0));
	KT_EQ(kt_call(&vm->cpus[0], GUEST_READ, 0x6000000, 0, 0, 0), guest_word(0x5000000, 2));
}

/* ---- A signal -------------------------------------------------------------------------------- */

static void
on_signal(int number)
{
	(void)number;
}

static void *
run_once(void *arg)
{
	struct kt_cpu *const cpu = arg;
	struct vmm_run run = {.vcpu = 0};

	cpu->result = (uint64_t)(int64_t)kt_ioctl(cpu->vm->fd, VMM_RUN, &run);
	return NULL;
}

static void
interrupted(void)
{
	const struct sigaction action = {.sa_handler = on_signal};
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];
	uint64_t counted;

	sigaction(SIGUSR1, &action, NULL);
	kt_prepare(cpu, GUEST_COUNT_UNTIL, GUEST_WORDS, GUEST_WORDS + 8, 0, 0);
	for (int i = 0; i < 20; i++) {
		const uint64_t before = kt_peek(vm, GUEST_WORDS + 8);
		pthread_t thread;

		KT_EQ(pthread_create(&thread, NULL, run_once, cpu), 0);
		kt_wait_word(vm, GUEST_WORDS + 8, before + 1);
		KT_EQ(pthread_kill(thread, SIGUSR1), 0);
		KT_EQ(pthread_join(thread, NULL), 0);
		KT_EQ((int)cpu->result, -EINTR);
	}
	kt_poke(vm, GUEST_WORDS, 1);
	counted = kt_go_on(cpu);
	KT_EQ(counted, kt_peek(vm, GUEST_WORDS + 8));
}

static const struct kt_case cases[] = {
	{.name = "names", .run = names},
	{.name = "list", .run = list},
	{.name = "sysctls", .run = sysctls},
	{.name = "cycles", .run = cycles, .seconds = 300},
	{.name = "killed-owner", .run = killed_owner},
	{.name = "destroyed-in-use", .run = destroyed_in_use},
	{.name = "destroyed-running", .run = destroyed_running},
	{.name = "unload-refused", .run = unload_refused},
	{.name = "one-user", .run = one_user},
	{.name = "suspended", .run = suspended},
	{.name = "reinitialized", .run = reinitialized},
	{.name = "interrupted", .run = interrupted},
};

KT_MAIN(cases)
