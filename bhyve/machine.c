/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The machine, put together from the configuration, and taken down. It is made so that the module
 * ends it when this process does, however that happens.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fbuf.h"
#include "gdb.h"
#include "guest_mem.h"
#include "inout.h"
#include "load.h"
#include "lpc.h"
#include "machine.h"
#include "mem.h"
#include "mevent.h"
#include "pci_machine.h"
#include "pm.h"
#include "smbios.h"

#define MEMORY_DEFAULT "256M"
#define MEMORY_UNIT (2ull << 20)

void
complain(const char *format, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	/* In one piece, for vCPUs complain at once. */
	fprintf(stderr, "bhyve: %s%s", text, isatty(STDERR_FILENO) ? "\r\n" : "\n");
}

/* ---- Ends ------------------------------------------------------------------------------------ */

void
machine_end(struct machine *ma, int status)
{
	int none = -1;

	if (!__atomic_compare_exchange_n(&ma->ma_status, &none, status, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return;
	vm_suspend(ma->ma_ctx, VMM_SUSPEND_POWEROFF);
	gdb_cpu_off();
	pthread_kill(ma->ma_main, SIGUSR1);
}

/* Signals are blocked everywhere, and taken here. */
int
machine_wait(struct machine *ma)
{
	sigset_t set;
	int signo;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	while (__atomic_load_n(&ma->ma_status, __ATOMIC_ACQUIRE) < 0) {
		if (sigwait(&set, &signo) != 0)
			continue;
		if (signo == SIGTERM) {
			pm_power_button();
		} else if (signo != SIGUSR1) {
			complain("ended by %s", signo == SIGINT ? "SIGINT" : "SIGHUP");
			machine_end(ma, END_ERROR);
		}
	}
	for (unsigned int i = 0; i < ma->ma_ncpus; i++) {
		if (ma->ma_cpus[i].mc_started)
			pthread_join(ma->ma_cpus[i].mc_thread, NULL);
		ma->ma_cpus[i].mc_started = false;
	}
	return __atomic_load_n(&ma->ma_status, __ATOMIC_ACQUIRE);
}

void
machine_destroy(struct machine *ma)
{
	gdb_stop();
	mevent_stop();
	pci_machine_stop();
	lpc_fini();
	inout_fini();
	mem_fini();
	if (ma->ma_ctx != NULL)
		vm_close(ma->ma_ctx);
	ma->ma_ctx = NULL;
}

/* ---- Making it ------------------------------------------------------------------------------- */

static int
say(const char *what)
{
	complain("%s%s%s", what, what[0] ? ": " : "", vmm_errmsg());
	return -1;
}

static int
read_flags(struct machine *ma, struct config *config, bool *wired)
{
	bool acpi, x2apic, hlt;

	if (config_get_bool(config, "memory.wired", false, wired) ||
	    config_get_bool(config, "x86.strictmsr", true, &ma->ma_strict_msr) ||
	    config_get_bool(config, "x86.strictio", false, &ma->ma_strict_io) ||
	    config_get_bool(config, "x86.vmexit_on_pause", false, &ma->ma_pause_exit) ||
	    config_get_bool(config, "x86.vmexit_on_hlt", true, &hlt) ||
	    config_get_bool(config, "virtio_msix", true, &ma->ma_msix) ||
	    config_get_bool(config, "acpi_tables", true, &acpi) ||
	    config_get_bool(config, "x86.x2apic", true, &x2apic)) {
		complain("%s", config->cn_why);
		return -1;
	}
	if (!acpi || !x2apic || !hlt) {
		complain("%s cannot be switched off", !acpi	? "acpi_tables: the tables"
						      : !x2apic ? "x86.x2apic: that mode"
								: "x86.vmexit_on_hlt: exits at "
								  "HLT");
		return -1;
	}
	return 0;
}

static int
set_up_memory(struct machine *ma, struct config *config, bool wired)
{
	const char *const text = config_get_or(config, "memory.size", MEMORY_DEFAULT);
	uint64_t bytes;

	if (vm_parse_memsize(text, &bytes) || bytes % MEMORY_UNIT) {
		complain("-m %s: not a size of memory: a number with K, M, G or T, of whole 2 MiB",
			 text);
		return -1;
	}
	if (wired && vm_set_memflags(ma->ma_ctx, VM_MEM_F_WIRED))
		return say("");
	return vm_setup_memory(ma->ma_ctx, bytes, VM_MMAP_ALL) ? say("") : 0;
}

/* The guest's clock begins with the host's time, or with what clocks on the wall show there. */
static int
set_clock(struct machine *ma, struct config *config)
{
	const time_t now = time(NULL);
	struct tm tm;
	bool local;

	if (config_get_bool(config, "rtc.use_localtime", true, &local)) {
		complain("%s", config->cn_why);
		return -1;
	}
	if (!local || localtime_r(&now, &tm) == NULL)
		return 0;
	return vm_rtc_settime(ma->ma_ctx, (uint64_t)(now + tm.tm_gmtoff)) ? say("") : 0;
}

static int
open_vcpus(struct machine *ma)
{
	for (unsigned int i = 0; i < ma->ma_ncpus; i++) {
		struct machine_cpu *const mc = &ma->ma_cpus[i];

		mc->mc_machine = ma;
		mc->mc_id = (int)i;
		mc->mc_vcpu = vm_vcpu_open(ma->ma_ctx, (int)i);
		if (mc->mc_vcpu == NULL || vm_activate_cpu(mc->mc_vcpu))
			return say("");
		if (ma->ma_pause_exit && vm_set_capability(mc->mc_vcpu, VMM_CAP_PAUSE_EXIT, 1))
			return say("-P");
	}
	return 0;
}

/* By -U, which the guest reads out of a table. */
static int
set_identity(struct machine *ma, const struct config *config)
{
	const struct dma dma = guest_dma(ma->ma_ctx);
	const char *const text = config_get(config, "uuid");
	uint8_t uuid[16];
	int error;

	if (text == NULL || smbios_parse_uuid(text, uuid) != 0)
		return 0; /* it has been checked */
	error = smbios_build(uuid, &dma);
	if (error)
		complain("-U: no SMBIOS table: %s", strerror(-error));
	return error ? -1 : 0;
}

static int
check_identity(const struct config *config)
{
	const char *const text = config_get(config, "uuid");
	uint8_t uuid[16];

	if (text == NULL || smbios_parse_uuid(text, uuid) == 0)
		return 0;
	complain("-U %s: not a UUID, as 01234567-89ab-cdef-0123-456789abcdef", text);
	return -1;
}

/* How much of its memory may be in RAM at once; the rest is swapped. */
static int
read_limit(struct config *config, uint64_t *bytes)
{
	const char *const text = config_get(config, "memory.limit");

	*bytes = 0;
	if (text != NULL && vm_parse_memsize(text, bytes)) {
		complain("memory.limit=%s: not a size of memory", text);
		return -1;
	}
	return 0;
}

int
machine_create(struct machine *ma, struct config *config, const char *name)
{
	struct vm_open_opts opts = {
		.flags = VMMAPI_OPEN_CREATE | VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE |
			 VMMAPI_OPEN_EXCLUSIVE,
		.maxcpu = ma->ma_ncpus,
	};
	const char *const gdb = config_get(config, "gdb.port");
	const char *why = "";
	bool wired;
	int error;

	if (read_flags(ma, config, &wired) || check_identity(config) ||
	    read_limit(config, &opts.mem_limit_bytes))
		return -1;
	ma->ma_ctx = vm_openf(name, &opts);
	if (ma->ma_ctx == NULL)
		return say("");
	if (set_up_memory(ma, config, wired))
		return -1;
	if (vm_set_platform(ma->ma_ctx, VMM_PLATFORM_HALT_DETECT))
		return say("");
	error = mevent_start();
	if (error == 0)
		error = pm_init(ma->ma_ctx);
	if (error) {
		complain("cannot begin: %s", strerror(-error));
		return -1;
	}
	if (set_clock(ma, config) || lpc_init(ma, config))
		return -1;
	if (pci_machine_start(ma->ma_ctx, config, ma->ma_msix, &why)) {
		complain("%s", why);
		return -1;
	}
	if (open_vcpus(ma))
		return -1;
	return gdb != NULL ? gdb_start(ma, gdb) : 0;
}

/* ---- What it runs ---------------------------------------------------------------------------- */

/* Without it a CPU must be in protected mode with paging from its first instruction on. */
static int
check_unrestricted(struct machine *ma, const char *what)
{
	uint64_t value = 0;

	if (vm_get_capability(ma->ma_cpus[0].mc_vcpu, VMM_CAP_UNRESTRICTED_GUEST, &value) == 0 &&
	    value)
		return 0;
	complain("%s needs a CPU with unrestricted guest mode (real mode, no paging), and this "
		 "one has it not; a Linux bzImage with one vCPU can be run",
		 what);
	return -1;
}

static int
map_file(const char *option, const char *path, const uint8_t **bytes, size_t *n)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *map;

	if (fd < 0 || fstat(fd, &st) != 0) {
		complain("%s: cannot open %s: %s", option, path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (!S_ISREG(st.st_mode) || st.st_size == 0) {
		complain("%s: %s is %s", option, path, S_ISREG(st.st_mode) ? "empty" : "no file");
		close(fd);
		return -1;
	}
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (map == MAP_FAILED) {
		complain("%s: cannot read %s: %s", option, path, strerror(errno));
		return -1;
	}
	*bytes = map;
	*n = (size_t)st.st_size;
	return 0;
}

/* Everywhere the same, and harmless to a guest that looks for none. */
static int
build_tables(struct machine *ma, struct config *config, uint64_t *rsdp)
{
	const struct dma dma = guest_dma(ma->ma_ctx);
	struct acpi_cfg cfg = {.ac_ncpus = ma->ma_ncpus};
	int error;

	for (unsigned int i = 0; i < 4; i++) {
		char name[32];

		snprintf(name, sizeof(name), "lpc.com%u.path", i + 1);
		cfg.ac_com[i] = config_get(config, name) != NULL;
	}
	pci_machine_windows(&cfg);
	error = acpi_build(&cfg, &dma, rsdp);
	if (error)
		complain("no ACPI tables: %s", strerror(-error));
	return error ? -1 : 0;
}

int
machine_load(struct machine *ma, struct config *config)
{
	const char *const kernel = config_get(config, "kernel");
	const char *const initrd = config_get(config, "initrd");
	struct load ld = {.ld_dma = guest_dma(ma->ma_ctx),
			  .ld_low_bytes = vm_get_lowmem_size(ma->ma_ctx),
			  .ld_high_bytes = vm_get_highmem_size(ma->ma_ctx),
			  .ld_cmdline = config_get_or(config, "cmdline", "")};
	struct fbuf_mode fb;
	const uint8_t *image;
	size_t bytes;

	if (fbuf_find(pci_machine_bus(), &fb)) {
		ld.ld_fb_gpa = fb.fm_gpa;
		ld.ld_fb_bytes = fb.fm_bytes;
		ld.ld_fb_width = fb.fm_width;
		ld.ld_fb_height = fb.fm_height;
	}
	if (ma->ma_ncpus > 1 && check_unrestricted(ma, "more than one vCPU"))
		return -1;
	if (build_tables(ma, config, &ld.ld_rsdp) || set_identity(ma, config))
		return -1;
	if (kernel == NULL)
		return check_unrestricted(ma, "a boot ROM");
	if (map_file("--kernel", kernel, &image, &bytes) ||
	    (initrd != NULL && map_file("--initrd", initrd, &ld.ld_initrd, &ld.ld_initrd_bytes)))
		return -1;
	if (load_kernel(&ld, image, bytes)) {
		complain("%s: %s", kernel, ld.ld_why);
		return -1;
	}
	munmap((void *)(uintptr_t)image, bytes);
	if (ld.ld_initrd != NULL)
		munmap((void *)(uintptr_t)ld.ld_initrd, ld.ld_initrd_bytes);
	if (!ld.ld_long && check_unrestricted(ma, ld.ld_kind))
		return -1;
	return entry_set(ma->ma_ctx, ma->ma_cpus[0].mc_vcpu, &ld) ? say("") : 0;
}

int
machine_start(struct machine *ma)
{
	for (unsigned int i = 0; i < ma->ma_ncpus; i++) {
		struct machine_cpu *const mc = &ma->ma_cpus[i];
		const int error = pthread_create(&mc->mc_thread, NULL, vcpu_loop, mc);
		char name[16];

		if (error) {
			complain("no thread for vCPU %u: %s", i, strerror(error));
			machine_end(ma, END_ERROR);
			machine_wait(ma);
			return -1;
		}
		mc->mc_started = true;
		snprintf(name, sizeof(name), "vcpu %u", i);
		pthread_setname_np(mc->mc_thread, name);
	}
	return 0;
}
