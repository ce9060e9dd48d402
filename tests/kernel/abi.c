/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The rules of the ABI that hold for every call: what is reserved must be 0, numbers of vCPUs are
 * in range and active, sizes and directions are part of the number, pointers are checked.
 */

#include "harness.h"

#include <fcntl.h>
#include <unistd.h>

struct rule {
	const char *name;
	unsigned long cmd;
	bool vcpu;	       /* the structure begins with a vCPU's number */
	size_t reserved[3][2]; /* offset, bytes */
};

#define AT(type, field)                                                         \
	{                                                                       \
		offsetof(struct type, field), sizeof(((struct type *)0)->field) \
	}
#define ROW(cmd, vcpu, ...)         \
	{                           \
#cmd, cmd, vcpu,    \
		{                   \
			__VA_ARGS__ \
		}                   \
	}

static const struct rule of_vm[] = {
	ROW(VMM_ALLOC_MEMSEG, false, AT(vmm_memseg, reserved), AT(vmm_memseg, reserved0)),
	ROW(VMM_GET_MEMSEG, false, AT(vmm_memseg, reserved), AT(vmm_memseg, reserved0)),
	ROW(VMM_MMAP_MEMSEG, false, AT(vmm_memmap, reserved), AT(vmm_memmap, reserved0)),
	ROW(VMM_MUNMAP_MEMSEG, false, AT(vmm_range, reserved), AT(vmm_range, reserved0)),
	ROW(VMM_MMAP_GETNEXT, false, AT(vmm_memmap, reserved), AT(vmm_memmap, reserved0)),
	ROW(VMM_PROTECT_MEMMAP, false, AT(vmm_range, reserved), AT(vmm_range, reserved0)),
	ROW(VMM_WIRE_MEMMAP, false, AT(vmm_range, reserved), AT(vmm_range, reserved0)),
	ROW(VMM_UNWIRE_MEMMAP, false, AT(vmm_range, reserved), AT(vmm_range, reserved0)),
	ROW(VMM_DISCARD, false, AT(vmm_range, reserved), AT(vmm_range, reserved0)),
	ROW(VMM_PAGEOUT, false, AT(vmm_pageout, reserved), AT(vmm_pageout, reserved0)),
	ROW(VMM_DIRTY_LOG, false, AT(vmm_dirty, reserved)),
	ROW(VMM_EXEC_CONTROL, false, AT(vmm_exec, reserved), AT(vmm_exec, reserved0)),
	ROW(VMM_GET_GPA_PMAP, false, AT(vmm_gpa_pmap, reserved), AT(vmm_gpa_pmap, reserved0)),
	ROW(VMM_PAGE_INFO, false, AT(vmm_page_info, reserved)),
	ROW(VMM_HARVEST, false, AT(vmm_harvest, reserved), AT(vmm_harvest, reserved0)),
	ROW(VMM_SUPER, false, AT(vmm_super, reserved)),
	ROW(VMM_DUMP, false, AT(vmm_dump, reserved)),
	ROW(VMM_STATS, true, AT(vmm_stats, reserved), AT(vmm_stats, reserved0)),
	ROW(VMM_STAT_DESC, true, AT(vmm_stat_desc, reserved)),
	ROW(VMM_GET_REGS, true, AT(vmm_regs, reserved)),
	ROW(VMM_SET_REGS, true, AT(vmm_regs, reserved)),
	ROW(VMM_GET_DESC, true, AT(vmm_desc, reserved)),
	ROW(VMM_SET_DESC, true, AT(vmm_desc, reserved)),
	ROW(VMM_GET_FIELD, true, AT(vmm_field, reserved)),
	ROW(VMM_SET_FIELD, true, AT(vmm_field, reserved)),
	ROW(VMM_GET_CAPABILITY, true, AT(vmm_capability, reserved)),
	ROW(VMM_SET_CAPABILITY, true, AT(vmm_capability, reserved)),
	ROW(VMM_INJECT, true, AT(vmm_inject, reserved), AT(vmm_inject, reserved0)),
	ROW(VMM_GET_INTINFO, true, AT(vmm_intinfo, reserved), AT(vmm_intinfo, reserved0)),
	ROW(VMM_ACTIVATE_CPU, true, AT(vmm_cpu, reserved)),
	ROW(VMM_RUN, true, AT(vmm_run, reserved), AT(vmm_run, flags)),
	ROW(VMM_SUSPEND, false, AT(vmm_cpu, reserved)),
	ROW(VMM_GLA2GPA, true, AT(vmm_gla, reserved)),
	ROW(VMM_COPY, true, AT(vmm_copy, reserved), AT(vmm_copy, reserved0)),
	ROW(VMM_SET_PLATFORM, false, AT(vmm_platform, reserved)),
	ROW(VMM_IRQ_LINE, false, AT(vmm_irq_line, reserved)),
	ROW(VMM_MSI, false, AT(vmm_msi, reserved), AT(vmm_msi, reserved0)),
	ROW(VMM_APIC_ACCESS, true, AT(vmm_apic_access, reserved), AT(vmm_apic_access, reserved0)),
	ROW(VMM_RTC, false, AT(vmm_rtc, reserved)),
	ROW(VMM_APIC_STATE, true, AT(vmm_apic_state, reserved)),
	ROW(VMM_PPT_BIND, false, AT(vmm_ppt, reserved), AT(vmm_ppt, reserved0)),
	ROW(VMM_PPT_UNBIND, false, AT(vmm_ppt, reserved), AT(vmm_ppt, reserved0)),
	ROW(VMM_PPT_INFO, false, AT(vmm_ppt_info, reserved)),
	ROW(VMM_PPT_CONFIG, false, AT(vmm_ppt_config, reserved)),
	ROW(VMM_PPT_MAP_BAR, false, AT(vmm_ppt_map, reserved)),
	ROW(VMM_PPT_UNMAP_BAR, false, AT(vmm_ppt_map, reserved)),
	ROW(VMM_PPT_MSI, false, AT(vmm_ppt_msi, reserved), AT(vmm_ppt_msi, reserved0)),
	ROW(VMM_PPT_MSIX, false, AT(vmm_ppt_msix, reserved)),
};
#define OF_VM (sizeof(of_vm) / sizeof(of_vm[0]))

static union {
	unsigned char bytes[2048];
	int32_t vcpu;
} arg;

static void
reserved(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);

	for (size_t i = 0; i < OF_VM; i++)
		for (int r = 0; r < 3; r++)
			for (size_t b = 0; b < of_vm[i].reserved[r][1]; b++) {
				int error;

				memset(&arg, 0, sizeof(arg));
				arg.bytes[of_vm[i].reserved[r][0] + b] = 1;
				error = kt_ioctl(vm->fd, of_vm[i].cmd, &arg);
				KT_CHECK(error == -EINVAL, "%s, byte %zu: %s", of_vm[i].name,
					 of_vm[i].reserved[r][0] + b, strerror(-error));
			}
	/* None of them has had an effect. */
	KT_EQ(kt_call(&vm->cpus[0], GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
}

static void
vcpus(void)
{
	static const int32_t bad[] = {-2, -2147483647, VMM_MAXCPU, 2147483647};
	struct kt_vm *const vm = kt_boot(1, 0);

	for (size_t i = 0; i < OF_VM; i++) {
		int error;

		if (!of_vm[i].vcpu)
			continue;
		for (size_t b = 0; b < sizeof(bad) / sizeof(bad[0]); b++) {
			memset(&arg, 0, sizeof(arg));
			arg.vcpu = bad[b];
			error = kt_ioctl(vm->fd, of_vm[i].cmd, &arg);
			KT_CHECK(error == -EINVAL, "%s of vCPU %d: %s", of_vm[i].name, bad[b],
				 strerror(-error));
		}
		if (of_vm[i].cmd == VMM_ACTIVATE_CPU || of_vm[i].cmd == VMM_STAT_DESC)
			continue;
		memset(&arg, 0, sizeof(arg));
		arg.vcpu = 1;
		if (of_vm[i].cmd == VMM_INJECT) {
			struct vmm_inject in = {.vcpu = 1, .event = VMM_EVENT_NMI};

			memcpy(&arg, &in, sizeof(in));
		}
		error = kt_ioctl(vm->fd, of_vm[i].cmd, &arg);
		KT_CHECK(error == -ENOENT, "%s of a vCPU that is not active: %s", of_vm[i].name,
			 strerror(-error));
	}
}

static void
numbers(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	const int segment_fd =
		(KT_OK(kt_seg(vm, 7, MIB, "framebuffer")), kt_open_node(vm, "framebuffer"));

	KT_TRUE(segment_fd >= 0);
	for (size_t i = 0; i < OF_VM; i++) {
		const unsigned long cmd = of_vm[i].cmd;
		const unsigned long others[] = {
			_IOC(_IOC_DIR(cmd), 'V', _IOC_NR(cmd), _IOC_SIZE(cmd) + 8),
			_IOC(_IOC_DIR(cmd), 'V', _IOC_NR(cmd), _IOC_SIZE(cmd) - 8),
			_IOC(_IOC_NONE, 'V', _IOC_NR(cmd), _IOC_SIZE(cmd)),
			_IOC(_IOC_DIR(cmd), 'W', _IOC_NR(cmd), _IOC_SIZE(cmd)),
			cmd & 0xffff,
		};

		memset(&arg, 0, sizeof(arg));
		for (size_t o = 0; o < sizeof(others) / sizeof(others[0]); o++) {
			const int error = kt_ioctl(vm->fd, others[o], &arg);

			KT_CHECK(error == -ENOTTY, "0x%lx instead of %s: %s", others[o],
				 of_vm[i].name, strerror(-error));
		}
		KT_ERR(kt_ioctl(segment_fd, cmd, &arg), ENOTTY);
		KT_ERR(kt_ctl(cmd, &arg), ENOTTY);
		KT_ERR(kt_ioctl(vm->fd, cmd, NULL), EFAULT);
		KT_ERR(kt_ioctl(vm->fd, cmd, (void *)(uintptr_t)-4096), EFAULT);
	}
	KT_ERR(kt_ioctl(vm->fd, VMMCTL_CREATE, &arg), ENOTTY);
	for (unsigned int nr = 0x80; nr < 0x100; nr++)
		KT_ERR(kt_ioctl(vm->fd, _IOC(_IOC_READ, 'V', nr, 8), &arg), ENOTTY);
	close(segment_fd);
}

/* /dev/vmmctl: the same rules. */
static void
control(void)
{
	struct vmm_create create = {.name = "kt-abi"};
	struct vmm_next next = {0};
	struct vmm_destroy destroy = {.name = "kt-abi"};

	for (int i = 0; i < 4; i++) {
		create.reserved[i] = 1;
		KT_ERR(kt_ctl(VMMCTL_CREATE, &create), EINVAL);
		create.reserved[i] = 0;
	}
	create.flags = 2;
	KT_ERR(kt_ctl(VMMCTL_CREATE, &create), EINVAL);
	create.flags = 0;
	create.maxcpu = VMM_MAXCPU + 1;
	KT_ERR(kt_ctl(VMMCTL_CREATE, &create), EINVAL);
	create.maxcpu = 1;
	KT_OK(kt_ctl(VMMCTL_CREATE, &create));
	destroy.reserved[1] = 1;
	KT_ERR(kt_ctl(VMMCTL_DESTROY, &destroy), EINVAL);
	destroy.reserved[1] = 0;
	KT_OK(kt_ctl(VMMCTL_DESTROY, &destroy));
	next.reserved[0] = 1;
	KT_ERR(kt_ctl(VMMCTL_NEXT, &next), EINVAL);
	KT_ERR(kt_ctl(VMMCTL_VERSION, NULL), EFAULT);
}

/* Sizes, as user space of any compiler sees them: a change is a change of VMM_ABI_VERSION. */
static void
sizes(void)
{
	KT_EQ(VMM_ABI_VERSION, 2);
	KT_EQ(sizeof(struct vmm_version), 120);
	KT_EQ(sizeof(struct vmm_create), 112);
	KT_EQ(sizeof(struct vmm_destroy), 80);
	KT_EQ(sizeof(struct vmm_next), 80);
	KT_EQ(sizeof(struct vmm_memseg), 96);
	KT_EQ(sizeof(struct vmm_memmap), 56);
	KT_EQ(sizeof(struct vmm_range), 40);
	KT_EQ(sizeof(struct vmm_pageout), 32);
	KT_EQ(sizeof(struct vmm_dirty), 48);
	KT_EQ(sizeof(struct vmm_exec), 24);
	KT_EQ(sizeof(struct vmm_gpa_pmap), 72);
	KT_EQ(sizeof(struct vmm_page_info), 48);
	KT_EQ(sizeof(struct vmm_harvest), 56);
	KT_EQ(sizeof(struct vmm_super), 32);
	KT_EQ(sizeof(struct vmm_accounts), 128);
	KT_EQ(sizeof(struct vmm_check), 264);
	KT_EQ(sizeof(struct vmm_dump), 32);
	KT_EQ(sizeof(struct vmm_stats), 296);
	KT_EQ(sizeof(struct vmm_stat_desc), 144);
	KT_EQ(sizeof(struct vmm_regs), 792);
	KT_EQ(sizeof(struct vmm_desc), 40);
	KT_EQ(sizeof(struct vmm_field), 32);
	KT_EQ(sizeof(struct vmm_capability), 32);
	KT_EQ(sizeof(struct vmm_inject), 40);
	KT_EQ(sizeof(struct vmm_intinfo), 40);
	KT_EQ(sizeof(struct vmm_cpu), 24);
	KT_EQ(sizeof(struct vmm_cpus), 48);
	KT_EQ(sizeof(struct vmm_exit), 112);
	KT_EQ(sizeof(struct vmm_run), 136);
	KT_EQ(sizeof(struct vmm_gla), 64);
	KT_EQ(sizeof(struct vmm_copy), 64);
	KT_EQ(sizeof(struct vmm_platform), 24);
	KT_EQ(sizeof(struct vmm_irq_line), 24);
	KT_EQ(sizeof(struct vmm_msi), 32);
	KT_EQ(sizeof(struct vmm_apic_access), 48);
	KT_EQ(sizeof(struct vmm_rtc), 32);
	KT_EQ(sizeof(struct vmm_apic_state), 304);
	KT_EQ(sizeof(struct vmm_ppt), 24);
	KT_EQ(sizeof(struct vmm_ppt_info), 152);
	KT_EQ(sizeof(struct vmm_ppt_config), 40);
	KT_EQ(sizeof(struct vmm_ppt_map), 48);
	KT_EQ(sizeof(struct vmm_ppt_msi), 40);
	KT_EQ(sizeof(struct vmm_ppt_msix), 40);
}

static const struct kt_case cases[] = {
	{.name = "reserved", .run = reserved}, {.name = "vcpus", .run = vcpus},
	{.name = "numbers", .run = numbers},   {.name = "control", .run = control},
	{.name = "sizes", .run = sizes},
};

KT_MAIN(cases)
