/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A PCI device that a guest has: edu, behind VT-d or AMD-Vi (./dev boot --iommu). The guest's
 * driver for it is guest/edu.c. There are two on board: one with a group to itself, and one that
 * shares its group with a device of the host.
 */

#define _GNU_SOURCE

#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#define PCI "/sys/bus/pci"
#define EDU_VENDOR 0x1234
#define EDU_DEVICE 0x11e8
#define EDU_IDENT 0x010000ed
#define EDU_BAR_BYTES MIB
#define EDU_LONE_SLOT 0x1d

#define BAR 0xc0000000ull
#define BAR_2 0xd0000000ull
#define MEM_BYTES (16 * MIB)
/* QEMU 7.2 ends itself if the device is told to copy the last byte of its page. */
#define DMA_BYTES (PAGE / 2)
#define OUTSIDE 0x8000000ull /* no memory of the guest's; within the 28 bits of the device */

#define READ_ONLY 0x6000000ull

#define CFG_COMMAND 0x04
#define COMMAND_MASTER 4u
#define CFG_BAR0 0x10
#define MSR_APIC_BASE 0x1b
#define MSR_X2APIC_SVR 0x80f
#define MSI_ADDR 0xfee00000ull
#define VECTOR 0x51

/* ---- The host's side ------------------------------------------------------------------------- */

static bool
put_file(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok;
}

static unsigned int
hex_in(const char *name, const char *file)
{
	char path[512], text[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), PCI "/devices/%s/%s", name, file);
	f = fopen(path, "re");
	if (f == NULL)
		return 0;
	if (fgets(text, sizeof(text), f) == NULL)
		text[0] = '\0';
	fclose(f);
	return (unsigned int)strtoul(text, NULL, 16);
}

struct edu {
	char name[32];
	uint32_t dev;
};

/* The device with a group of its own, or the other. The case is n/a without. */
static struct edu
find_edu(bool lone)
{
	DIR *const dir = opendir(PCI "/devices");
	struct edu edu = {.name = "", .dev = 0};
	unsigned int segment, bus, slot, func;
	struct dirent *e;

	while (dir != NULL && (e = readdir(dir)) != NULL) {
		if (hex_in(e->d_name, "vendor") != EDU_VENDOR ||
		    hex_in(e->d_name, "device") != EDU_DEVICE ||
		    sscanf(e->d_name, "%x:%x:%x.%x", &segment, &bus, &slot, &func) != 4 ||
		    (slot == EDU_LONE_SLOT) != lone)
			continue;
		snprintf(edu.name, sizeof(edu.name), "%.31s", e->d_name);
		edu.dev = VMM_PPT_DEV(segment, bus, slot, func);
	}
	if (dir != NULL)
		closedir(dir);
	if (edu.name[0] == '\0')
		kt_not_applicable("there is no edu to give to a guest (--iommu)");
	return edu;
}

static bool
has_iommu(const struct edu *edu)
{
	char path[128];

	snprintf(path, sizeof(path), PCI "/devices/%s/iommu_group", edu->name);
	return access(path, F_OK) == 0;
}

/* To the module's driver. */
static void
own(const struct edu *edu)
{
	char path[128];

	snprintf(path, sizeof(path), PCI "/devices/%s/driver_override", edu->name);
	KT_TRUE(put_file(path, "vmm_ppt"));
	snprintf(path, sizeof(path), PCI "/drivers/vmm_ppt/%s", edu->name);
	if (access(path, F_OK) != 0)
		KT_TRUE(put_file(PCI "/drivers/vmm_ppt/bind", edu->name));
}

static void
disown(const struct edu *edu)
{
	char path[128];

	KT_TRUE(put_file(PCI "/drivers/vmm_ppt/unbind", edu->name));
	snprintf(path, sizeof(path), PCI "/devices/%s/driver_override", edu->name);
	KT_TRUE(put_file(path, "\n"));
}

static struct edu
lone_edu(void)
{
	const struct edu edu = find_edu(true);

	if (!has_iommu(&edu))
		kt_not_applicable("there is no IOMMU");
	own(&edu);
	return edu;
}

static int64_t
domains(void)
{
	return kt_number_in("/sys/kernel/debug/vmm/iommu", "domains: ");
}

/* ---- The guest's side ------------------------------------------------------------------------ */

static void
wire_all(struct kt_vm *vm)
{
	KT_OK(kt_range(vm, VMM_WIRE_MEMMAP, 0, GUEST_LOW_BYTES));
	KT_OK(kt_range(vm, VMM_WIRE_MEMMAP, KT_MEM, MEM_BYTES));
}

/* With interrupt hardware, memory that is wired, and the device; its BAR is at BAR. */
static struct kt_vm *
with_edu(const struct edu *edu)
{
	struct kt_vm *const vm = kt_boot_pc(1, 0);

	kt_memory(vm, MEM_BYTES);
	wire_all(vm);
	KT_OK(vm_assign_pptdev(vm->ctx, edu->dev));
	KT_OK(vm_map_pptdev_mmio(vm->ctx, edu->dev, 0, 0, EDU_BAR_BYTES, BAR));
	return vm;
}

static void
bus_master(struct kt_vm *vm, const struct edu *edu)
{
	uint32_t value = COMMAND_MASTER;

	KT_OK(vm_pptdev_config(vm->ctx, edu->dev, true, CFG_COMMAND, 2, &value));
	KT_OK(vm_pptdev_config(vm->ctx, edu->dev, false, CFG_COMMAND, 2, &value));
	KT_TRUE(value & COMMAND_MASTER);
}

static unsigned int
map_flags(struct kt_vm *vm, uint64_t gpa)
{
	struct vmm_memmap map = {.gpa = gpa};

	KT_OK(kt_ioctl(vm->fd, VMM_MMAP_GETNEXT, &map));
	return map.flags;
}

/* ---- Cases ----------------------------------------------------------------------------------- */

static void
refusals(void)
{
	const struct edu edu = find_edu(true);
	struct kt_vm *const vm = kt_boot(1, 0), *other;
	struct vmm_ppt_info info;

	KT_ERR(vm_assign_pptdev(vm->ctx, VMM_PPT_DEV(0, 77, 3, 0)), ENOENT);
	KT_ERR(vm_assign_pptdev(vm->ctx, edu.dev), ENODEV);
	own(&edu);
	KT_ERR(vm_unassign_pptdev(vm->ctx, edu.dev), ENOENT);
	KT_ERR(vm_pptdev_info(vm->ctx, edu.dev, &info), ENOENT);
	if (!has_iommu(&edu)) {
		KT_ERR(vm_assign_pptdev(vm->ctx, edu.dev), EOPNOTSUPP);
		KT_TRUE(strstr(vmm_errmsg(), "no IOMMU") != NULL);
		disown(&edu);
		return;
	}
	KT_ERR(vm_assign_pptdev(vm->ctx, edu.dev), EAGAIN);
	KT_TRUE(strstr(vmm_errmsg(), "not wired") != NULL);
	KT_EQ(domains(), 0);
	kt_memory(vm, MEM_BYTES);
	KT_OK(kt_range(vm, VMM_WIRE_MEMMAP, 0, GUEST_LOW_BYTES));
	KT_ERR(vm_assign_pptdev(vm->ctx, edu.dev), EAGAIN);
	wire_all(vm);
	KT_OK(vm_assign_pptdev(vm->ctx, edu.dev));
	KT_ERR(vm_assign_pptdev(vm->ctx, edu.dev), EEXIST);
	other = kt_create(0);
	KT_ERR(vm_assign_pptdev(other->ctx, edu.dev), EBUSY);
	KT_ERR(vm_pptdev_info(other->ctx, edu.dev, &info), ENOENT);
	KT_EQ(domains(), 1);

	/* What devices reach stays as it is. */
	KT_ERR(kt_unmap(vm, KT_MEM, MEM_BYTES), EINVAL);
	KT_ERR(kt_range(vm, VMM_UNWIRE_MEMMAP, KT_MEM, MEM_BYTES), EBUSY);

	/* Windows that are none. */
	KT_OK(vm_pptdev_info(vm->ctx, edu.dev, &info));
	KT_EQ(info.bars[0].len_bytes, EDU_BAR_BYTES);
	KT_EQ(info.bars[0].flags, VMM_PPT_BAR_WINDOW);
	KT_EQ(info.bars[1].len_bytes, 0);
	KT_EQ(info.msi_vectors, 1);
	KT_EQ(info.msix_vectors, 0);
	KT_ERR(vm_map_pptdev_mmio(vm->ctx, edu.dev, 1, 0, PAGE, BAR), EINVAL);
	KT_ERR(vm_map_pptdev_mmio(vm->ctx, edu.dev, 6, 0, PAGE, BAR), EINVAL);
	KT_ERR(vm_map_pptdev_mmio(vm->ctx, edu.dev, 0, 0, EDU_BAR_BYTES + PAGE, BAR), EINVAL);
	KT_ERR(vm_map_pptdev_mmio(vm->ctx, edu.dev, 0, EDU_BAR_BYTES, PAGE, BAR), EINVAL);
	KT_ERR(vm_map_pptdev_mmio(vm->ctx, edu.dev, 0, 64, PAGE, BAR), EINVAL);
	KT_ERR(vm_map_pptdev_mmio(vm->ctx, edu.dev, 0, 0, 0, BAR), EINVAL);
	KT_ERR(vm_map_pptdev_mmio(vm->ctx, edu.dev, 0, 0, PAGE, KT_MEM), EFAULT);
	KT_ERR(vm_unmap_pptdev_mmio(vm->ctx, edu.dev, 0, 0, PAGE, BAR), EINVAL);
	/* Interrupts that are none: no hardware to send them to, too many, no MSI-X. */
	KT_ERR(vm_setup_pptdev_msi(vm->ctx, edu.dev, MSI_ADDR, VECTOR, 1), ENODEV);
	KT_ERR(vm_setup_pptdev_msi(vm->ctx, edu.dev, MSI_ADDR, VECTOR, 2), EINVAL);
	KT_ERR(vm_setup_pptdev_msix(vm->ctx, edu.dev, 0, MSI_ADDR, VECTOR, false), EINVAL);

	KT_OK(vm_unassign_pptdev(vm->ctx, edu.dev));
	KT_EQ(domains(), 0);
	KT_ERR(vm_unassign_pptdev(vm->ctx, edu.dev), ENOENT);
	KT_OK(kt_range(vm, VMM_UNWIRE_MEMMAP, KT_MEM, MEM_BYTES));
	disown(&edu);
}

/* A device whose group the host uses another one of. */
static void
group(void)
{
	const struct edu edu = find_edu(false);
	struct kt_vm *const vm = kt_create(0);

	if (!has_iommu(&edu))
		kt_not_applicable("there is no IOMMU");
	own(&edu);
	KT_ERR(vm_assign_pptdev(vm->ctx, edu.dev), EPERM);
	KT_TRUE(strstr(vmm_errmsg(), "not viable") != NULL);
	KT_EQ(domains(), 0);
	disown(&edu);
}

static void
config(void)
{
	const struct edu edu = lone_edu();
	struct kt_vm *const vm = with_edu(&edu);
	uint32_t value = 0xffffffff;

	KT_OK(vm_pptdev_config(vm->ctx, edu.dev, false, 0, 4, &value));
	KT_EQ(value, EDU_DEVICE << 16 | EDU_VENDOR);
	/* Where the host has its BAR is nobody's business, and it stays there. */
	KT_OK(vm_pptdev_config(vm->ctx, edu.dev, false, CFG_BAR0, 4, &value));
	KT_EQ(value, 0);
	value = 0xffffffff;
	KT_OK(vm_pptdev_config(vm->ctx, edu.dev, true, CFG_BAR0, 4, &value));
	KT_EQ(kt_call(&vm->cpus[0], GUEST_EDU_PROBE, BAR, 0, 0, 0), EDU_IDENT);
	/* Decoding cannot be switched off under the host's feet; bus master can. */
	KT_OK(vm_pptdev_config(vm->ctx, edu.dev, false, CFG_COMMAND, 2, &value));
	KT_EQ(value & 6, 2);
	bus_master(vm, &edu);
	value = 0;
	KT_OK(vm_pptdev_config(vm->ctx, edu.dev, true, CFG_COMMAND, 2, &value));
	KT_OK(vm_pptdev_config(vm->ctx, edu.dev, false, CFG_COMMAND, 2, &value));
	KT_EQ(value & 6, 2);
	KT_ERR(vm_pptdev_config(vm->ctx, edu.dev, false, 2, 4, &value), EINVAL);
	KT_ERR(vm_pptdev_config(vm->ctx, edu.dev, false, 256, 4, &value), EINVAL);
	KT_ERR(vm_pptdev_config(vm->ctx, edu.dev, false, 0, 3, &value), EINVAL);
	KT_OK(vm_unassign_pptdev(vm->ctx, edu.dev));
	disown(&edu);
}

/* The guest talks to it where it put it, and nowhere else; it is no code. */
static void
mmio(void)
{
	const struct edu edu = lone_edu();
	struct kt_vm *const vm = with_edu(&edu);
	struct kt_cpu *const cpu = &vm->cpus[0];

	KT_EQ(kt_call(cpu, GUEST_EDU_PROBE, BAR, 0, 0, 0), EDU_IDENT);
	KT_EQ(kt_call(cpu, GUEST_EDU_FACTORIAL, BAR, 10, 0, 0), 3628800);
	kt_call_to(cpu, VMM_EXIT_PAGING, GUEST_EXECUTE, BAR, 0, 0, 0);

	KT_OK(vm_unmap_pptdev_mmio(vm->ctx, edu.dev, 0, 0, EDU_BAR_BYTES, BAR));
	KT_OK(vm_map_pptdev_mmio(vm->ctx, edu.dev, 0, 0, EDU_BAR_BYTES, BAR_2));
	kt_call_to(cpu, VMM_EXIT_MMIO, GUEST_EDU_PROBE, BAR, 0, 0, 0);
	KT_EQ(kt_call(cpu, GUEST_EDU_PROBE, BAR_2, 0, 0, 0), EDU_IDENT);
	KT_EQ(kt_call(cpu, GUEST_EDU_FACTORIAL, BAR_2, 5, 0, 0), 120);

	KT_OK(vm_unassign_pptdev(vm->ctx, edu.dev));
	kt_call_to(cpu, VMM_EXIT_MMIO, GUEST_EDU_PROBE, BAR_2, 0, 0, 0);
	disown(&edu);
}

/* A page through the device and back; memory that is the device's counts as written. */
static void
dma(void)
{
	const struct edu edu = lone_edu();
	struct kt_vm *const vm = with_edu(&edu);
	struct kt_cpu *const cpu = &vm->cpus[0];
	const uint64_t from = KT_MEM + 3 * PAGE, to = KT_MEM + MEM_BYTES - PAGE;

	KT_EQ(map_flags(vm, KT_MEM), VMM_MEMMAP_WIRED | VMM_MEMMAP_IOMMU);
	bus_master(vm, &edu);
	kt_call(cpu, GUEST_FILL_AS, from, DMA_BYTES, to, 7);
	kt_call(cpu, GUEST_EDU_DMA, BAR, from, DMA_BYTES, 0);
	kt_call(cpu, GUEST_EDU_DMA, BAR, to, DMA_BYTES, 1);
	KT_EQ(kt_call(cpu, GUEST_VERIFY_AS, to, DMA_BYTES, to, 7), 0);
	kt_check(vm);

	KT_OK(vm_unassign_pptdev(vm->ctx, edu.dev));
	KT_EQ(map_flags(vm, KT_MEM), VMM_MEMMAP_WIRED);
	KT_TRUE(kt_page(vm, to).flags & VMM_PAGE_DIRTY);
	KT_EQ(domains(), 0);
	KT_EQ(kt_call(cpu, GUEST_VERIFY_AS, to, DMA_BYTES, to, 7), 0);
	disown(&edu);
}

/* The kernel's log from now on; VT-d's driver tells of refused accesses nowhere else. */
static bool
log_says(int fd, const char *a, const char *b)
{
	char line[2048];
	ssize_t n;

	while ((n = read(fd, line, sizeof(line) - 1)) > 0) {
		line[n] = '\0';
		if (strcasestr(line, a) != NULL && strcasestr(line, b) != NULL)
			return true;
	}
	return false;
}

/*
 * QEMU 7.2's AMD-Vi blocks an access and keeps quiet: it writes no event into its log, for its
 * amdvi_test_mask() finds an overflow that is none (docs/PASSTHROUGH.md). There is nothing to hear
 * of then; real ones tell, and Linux hands that on.
 */
static bool
is_quiet_iommu(void)
{
	DIR *const dir = opendir(PCI "/devices");
	bool found = false;
	struct dirent *e;

	while (dir != NULL && !found && (e = readdir(dir)) != NULL)
		found = hex_in(e->d_name, "class") == 0x080600 &&
			hex_in(e->d_name, "vendor") == 0x1022 && hex_in(e->d_name, "device") == 8;
	if (dir != NULL)
		closedir(dir);
	return found;
}

static bool
reported(struct kt_vm *vm, const struct edu *edu, int log, uint64_t addr)
{
	struct vmm_ppt_info info;
	char text[64];

	kt_sleep_ms(200); /* it comes by an interrupt of the IOMMU's */
	KT_OK(vm_pptdev_info(vm->ctx, edu->dev, &info));
	if (info.faults > 0 && info.fault_addr >= addr && info.fault_addr < addr + PAGE)
		return true;
	snprintf(text, sizeof(text), "fault addr 0x%llx", (unsigned long long)addr);
	return log_says(log, "DMAR:", text);
}

static void
outside(void)
{
	const struct edu edu = lone_edu();
	struct kt_vm *const vm = with_edu(&edu);
	struct kt_cpu *const cpu = &vm->cpus[0];
	const int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	const bool quiet = is_quiet_iommu();
	const uint64_t in = KT_MEM;

	KT_TRUE(log >= 0 && lseek(log, 0, SEEK_END) >= 0);
	if (quiet)
		kt_note("this IOMMU reports nothing: only that it blocks is tested");
	/* Without bus master nothing happens at all. */
	kt_call(cpu, GUEST_FILL, in, DMA_BYTES, 8, 1);
	kt_call(cpu, GUEST_EDU_DMA, BAR, in, DMA_BYTES, 1);
	KT_EQ(kt_call(cpu, GUEST_VERIFY, in, DMA_BYTES, 8, 1), 0);

	/* To where the guest has no memory, and the host has some. */
	bus_master(vm, &edu);
	kt_call(cpu, GUEST_EDU_DMA, BAR, in, DMA_BYTES, 0);
	kt_call(cpu, GUEST_EDU_DMA, BAR, OUTSIDE, DMA_BYTES, 1);
	KT_CHECK(quiet || reported(vm, &edu, log, OUTSIDE), "nobody told of the access outside");

	/* To memory that came later, and is not to be written. */
	KT_OK(kt_seg(vm, 7, SUPER, ""));
	KT_OK(kt_map(vm, READ_ONLY, 7, 0, SUPER, VMM_PROT_READ, VMM_MEMMAP_WIRED));
	KT_EQ(map_flags(vm, READ_ONLY), VMM_MEMMAP_WIRED | VMM_MEMMAP_IOMMU);
	kt_call(cpu, GUEST_EDU_DMA, BAR, READ_ONLY, DMA_BYTES, 1);
	KT_CHECK(quiet || reported(vm, &edu, log, READ_ONLY),
		 "nobody told of the write that was denied");
	KT_EQ(kt_peek(vm, READ_ONLY), 0);

	/* The device has kept what it had, and goes on where it may. */
	kt_call(cpu, GUEST_EDU_DMA, BAR, in + PAGE, DMA_BYTES, 1);
	KT_EQ(kt_call(cpu, GUEST_VERIFY_AS, in + PAGE, DMA_BYTES, in, 1), 0);
	close(log);
	KT_OK(vm_unassign_pptdev(vm->ctx, edu.dev));
	disown(&edu);
}

/* An interrupt of the device becomes the guest's. */
static void
msi(void)
{
	const struct edu edu = lone_edu();
	struct kt_vm *const vm = with_edu(&edu);
	struct kt_cpu *const cpu = &vm->cpus[0];

	bus_master(vm, &edu);
	kt_call(cpu, GUEST_WRMSR, MSR_APIC_BASE, MSI_ADDR | 0xd00, 0, 0);
	kt_call(cpu, GUEST_WRMSR, MSR_X2APIC_SVR, 0x1ff, 0, 0);
	KT_ERR(vm_setup_pptdev_msi(vm->ctx, edu.dev, 0x1000, VECTOR, 1), EINVAL);
	KT_OK(vm_setup_pptdev_msi(vm->ctx, edu.dev, MSI_ADDR, VECTOR, 1));
	for (unsigned int i = 1; i <= 5; i++) {
		KT_EQ(kt_call(cpu, GUEST_EDU_INTR, BAR, i, 0, 0), i);
		KT_EQ(kt_peek(vm, GUEST_EVENTS), i);
		KT_EQ(kt_peek(vm,
			      GUEST_EVENTS + offsetof(struct guest_events, events) + (i - 1) * 40),
		      VECTOR);
	}
	/* Another message, then none. */
	KT_OK(vm_setup_pptdev_msi(vm->ctx, edu.dev, MSI_ADDR, VECTOR + 1, 1));
	KT_EQ(kt_call(cpu, GUEST_EDU_INTR, BAR, 9, 0, 0), 9);
	KT_EQ(kt_peek(vm, GUEST_EVENTS + offsetof(struct guest_events, events) + 5 * 40),
	      VECTOR + 1);
	KT_OK(vm_setup_pptdev_msi(vm->ctx, edu.dev, 0, 0, 0));
	KT_OK(vm_unassign_pptdev(vm->ctx, edu.dev));
	disown(&edu);
}

/* A machine that ends with its device; one that loses it while it runs. */
static void
ends(void)
{
	const struct edu edu = lone_edu();
	struct kt_vm *vm = with_edu(&edu);
	struct vmm_ppt_info info;

	bus_master(vm, &edu);
	KT_OK(vm_setup_pptdev_msi(vm->ctx, edu.dev, MSI_ADDR, VECTOR, 1));
	kt_finish(vm);
	KT_EQ(domains(), 0);

	vm = with_edu(&edu);
	KT_EQ(kt_call(&vm->cpus[0], GUEST_EDU_PROBE, BAR, 0, 0, 0), EDU_IDENT);
	kt_poke(vm, GUEST_WORDS, 0);
	kt_start(&vm->cpus[0], -1, GUEST_COUNT_UNTIL, GUEST_WORDS, GUEST_WORDS + 64, 0, 0);
	kt_wait_running(&vm->cpus[0]);
	disown(&edu);
	KT_EQ(domains(), 0);
	KT_ERR(vm_pptdev_info(vm->ctx, edu.dev, &info), ENOENT);
	KT_EQ(map_flags(vm, KT_MEM), VMM_MEMMAP_WIRED);
	kt_poke(vm, GUEST_WORDS, 1);
	kt_join(&vm->cpus[0]);
	kt_call_to(&vm->cpus[0], VMM_EXIT_MMIO, GUEST_EDU_PROBE, BAR, 0, 0, 0);
}

/* A reset takes windows and interrupts, not the device. */
static void
reset(void)
{
	const struct edu edu = lone_edu();
	struct kt_vm *const vm = with_edu(&edu);
	struct kt_cpu *const cpu = &vm->cpus[0];
	uint32_t value;

	bus_master(vm, &edu);
	KT_OK(vm_setup_pptdev_msi(vm->ctx, edu.dev, MSI_ADDR, VECTOR, 1));
	KT_OK(vm_suspend(vm->ctx, VMM_SUSPEND_RESET));
	KT_OK(kt_ioctl(vm->fd, VMM_REINIT, NULL));
	kt_long_mode(cpu);
	KT_OK(vm_pptdev_config(vm->ctx, edu.dev, false, CFG_COMMAND, 2, &value));
	KT_EQ(value & COMMAND_MASTER, 0);
	kt_call_to(cpu, VMM_EXIT_MMIO, GUEST_EDU_PROBE, BAR, 0, 0, 0);
	KT_OK(vm_map_pptdev_mmio(vm->ctx, edu.dev, 0, 0, EDU_BAR_BYTES, BAR));
	KT_EQ(kt_call(cpu, GUEST_EDU_PROBE, BAR, 0, 0, 0), EDU_IDENT);
	KT_EQ(domains(), 1);
	KT_OK(vm_unassign_pptdev(vm->ctx, edu.dev));
	disown(&edu);
}

static const struct kt_case cases[] = {
	{.name = "refusals", .run = refusals}, {.name = "group", .run = group},
	{.name = "config", .run = config},     {.name = "mmio", .run = mmio},
	{.name = "dma", .run = dma},	       {.name = "outside", .run = outside},
	{.name = "msi", .run = msi},	       {.name = "ends", .run = ends},
	{.name = "reset", .run = reset},
};

KT_MAIN(cases)
