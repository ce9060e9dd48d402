/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Machines and their memory, for tests: libvmm's calls with names and addresses that all tests
 * share. A call that a test expects to fail returns its error; what it takes for granted fails the
 * case by itself.
 */

#define _GNU_SOURCE

#include "harness.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest_image.h"

static struct kt_vm *machines; /* of this process; only the case's first thread makes any */

/* ---- Calls ----------------------------------------------------------------------------------- */

int
kt_ioctl(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) < 0 ? -errno : 0;
}

int
kt_ctl(unsigned long cmd, void *arg)
{
	const int fd = open(VMMCTL_NODE, O_RDWR | O_CLOEXEC);
	int error;

	if (fd < 0)
		return -errno;
	error = kt_ioctl(fd, cmd, arg);
	close(fd);
	return error;
}

/* ---- Life ------------------------------------------------------------------------------------ */

int
kt_open_node(const struct kt_vm *vm, const char *segment)
{
	char path[sizeof(VMM_NODE_DIR) + VMM_NAME_BYTES + VMM_SEG_NAME_BYTES + 2];
	int fd;

	snprintf(path, sizeof(path), "%s/%s%s%s", VMM_NODE_DIR, vm->name, segment ? "." : "",
		 segment ? segment : "");
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

struct kt_vm *
kt_create(uint64_t mem_limit_bytes)
{
	static unsigned int number;
	const struct vm_open_opts opts = {
		.flags = VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE | VMMAPI_OPEN_EXCLUSIVE,
		.mem_limit_bytes = mem_limit_bytes,
	};
	struct kt_vm *vm = calloc(1, sizeof(*vm));

	KT_TRUE(vm != NULL);
	snprintf(vm->name, sizeof(vm->name), "kt%d-%u", (int)getpid(), ++number);
	vm->ctl = open(VMMCTL_NODE, O_RDWR | O_CLOEXEC);
	KT_CHECK(vm->ctl >= 0, "%s: %s", VMMCTL_NODE, strerror(errno));
	vm->ctx = vm_openf(vm->name, &opts);
	KT_CHECK(vm->ctx != NULL, "%s", vmm_errmsg());
	vm->fd = vm_get_device_fd(vm->ctx);
	vm->next = machines;
	machines = vm;
	return vm;
}

void
kt_check(struct kt_vm *vm)
{
	KT_CHECK(vm_check(vm->ctx) == 0, "VMM_CHECK: %s", vmm_errmsg());
}

static void
forget(struct kt_vm *vm)
{
	struct kt_vm **link;

	for (link = &machines; *link != vm; link = &(*link)->next)
		KT_TRUE(*link != NULL);
	*link = vm->next;
	close(vm->ctl);
	free(vm);
}

void
kt_forget(struct kt_vm *vm)
{
	vm_close(vm->ctx);
	forget(vm);
}

void
kt_finish(struct kt_vm *vm)
{
	for (unsigned int i = 0; i < vm->ncpus; i++)
		KT_CHECK(!vm->cpus[i].started, "vCPU %u was not joined", i);
	kt_check(vm);
	KT_OK(vm_destroy(vm->ctx));
	forget(vm);
}

void kt_finish_all(void); /* harness.c's */

void
kt_finish_all(void)
{
	while (machines)
		kt_finish(machines);
}

/* ---- The usual machine ----------------------------------------------------------------------- */

/* One to one, for the first 4 GiB. */
static void
write_tables(struct kt_vm *vm)
{
	const struct vm_boot_cfg cfg = {
		.tables_gpa = GUEST_TABLES,
		.room_bytes = GUEST_GDT - GUEST_TABLES,
		.map_bytes = 4 * GIB,
		.page_bytes = SUPER,
	};
	uint64_t cr3, used;

	KT_CHECK(vm_boot_tables(vm->ctx, &cfg, &cr3, &used) == 0, "%s", vmm_errmsg());
	KT_EQ(cr3, GUEST_TABLES);
}

static void
write_descriptors(struct kt_vm *vm)
{
	/* Null, code, data, TSS (two). */
	const uint64_t gdt[] = {0, 0x00af9b000000ffffull, 0x00cf93000000ffffull,
				0x00008b0000000067ull | (uint64_t)GUEST_TSS << 16, 0};
	uint64_t idt[512];

	for (uint64_t i = 0; i < 256; i++) {
		const uint64_t at = GUEST_STUBS + i * 16;

		idt[2 * i] = (at & 0xffff) | GUEST_SEL_CODE << 16 | 0x8e00ull << 32 |
			     (at >> 16 & 0xffff) << 48;
		idt[2 * i + 1] = 0;
	}
	KT_OK(kt_write(vm, GUEST_GDT, gdt, sizeof(gdt)));
	KT_OK(kt_write(vm, GUEST_IDT, idt, sizeof(idt)));
}

struct kt_cpu *
kt_activate(struct kt_vm *vm, int id)
{
	struct kt_cpu *const cpu = &vm->cpus[id];

	cpu->vm = vm;
	cpu->id = id;
	cpu->vcpu = vm_vcpu_open(vm->ctx, id);
	KT_TRUE(cpu->vcpu != NULL);
	KT_CHECK(vm_activate_cpu(cpu->vcpu) == 0, "%s", vmm_errmsg());
	return cpu;
}

static struct kt_vm *
with_program(uint64_t mem_limit_bytes)
{
	struct kt_vm *const vm = kt_create(mem_limit_bytes);

	KT_OK(kt_seg(vm, KT_LOW_IDENT, GUEST_LOW_BYTES, ""));
	KT_OK(kt_map(vm, 0, KT_LOW_IDENT, 0, GUEST_LOW_BYTES, KT_RWX, 0));
	KT_OK(kt_write(vm, GUEST_CODE, guest_image, sizeof(guest_image)));
	write_tables(vm);
	write_descriptors(vm);
	return vm;
}

static void
activate(struct kt_vm *vm, unsigned int ncpus)
{
	vm->ncpus = ncpus;
	for (unsigned int i = 0; i < ncpus; i++)
		kt_long_mode(kt_activate(vm, (int)i));
}

struct kt_vm *
kt_boot(unsigned int ncpus, uint64_t mem_limit_bytes)
{
	struct kt_vm *const vm = with_program(mem_limit_bytes);

	activate(vm, ncpus);
	return vm;
}

struct kt_vm *
kt_boot_pc(unsigned int ncpus, unsigned int flags)
{
	struct kt_vm *const vm = with_program(0);

	KT_OK(vm_set_platform(vm->ctx, flags));
	activate(vm, ncpus);
	return vm;
}

/* ---- Memory ---------------------------------------------------------------------------------- */

int
kt_seg(struct kt_vm *vm, int ident, uint64_t bytes, const char *name)
{
	return vm_alloc_memseg(vm->ctx, ident, bytes, name);
}

int
kt_seg_anew(struct kt_vm *vm, int ident, uint64_t bytes, const char *name)
{
	struct vmm_memseg seg = {.ident = ident, .len_bytes = bytes};

	snprintf(seg.name, sizeof(seg.name), "%s", name);
	return kt_ioctl(vm->fd, VMM_ALLOC_MEMSEG, &seg);
}

int
kt_map(struct kt_vm *vm, uint64_t gpa, int ident, uint64_t offset, uint64_t bytes,
       unsigned int prot, unsigned int flags)
{
	return vm_mmap_memseg(vm->ctx, gpa, ident, offset, bytes, prot, flags);
}

int
kt_unmap(struct kt_vm *vm, uint64_t gpa, uint64_t bytes)
{
	return vm_munmap_memseg(vm->ctx, gpa, bytes);
}

int
kt_protect(struct kt_vm *vm, uint64_t gpa, uint64_t bytes, unsigned int prot)
{
	return vm_protect_memmap(vm->ctx, gpa, bytes, prot);
}

int
kt_range(struct kt_vm *vm, unsigned long cmd, uint64_t gpa, uint64_t bytes)
{
	struct vmm_range range = {.gpa = gpa, .len_bytes = bytes};

	return kt_ioctl(vm->fd, cmd, &range);
}

void
kt_memory(struct kt_vm *vm, uint64_t bytes)
{
	KT_OK(kt_seg(vm, KT_MEM_IDENT, bytes, ""));
	KT_OK(kt_map(vm, KT_MEM, KT_MEM_IDENT, 0, bytes, KT_RWX, 0));
}

int
kt_read(struct kt_vm *vm, uint64_t gpa, void *to, size_t bytes)
{
	return vm_read_mem(vm->ctx, gpa, to, bytes);
}

int
kt_write(struct kt_vm *vm, uint64_t gpa, const void *from, size_t bytes)
{
	return vm_write_mem(vm->ctx, gpa, from, bytes);
}

void *
kt_mmap(struct kt_vm *vm, const char *segment, uint64_t offset, size_t bytes, bool writable)
{
	const int fd = kt_open_node(vm, segment);
	void *at;

	KT_CHECK(fd >= 0, "node of %s %s: %s", vm->name, segment ? segment : "", strerror(-fd));
	at = mmap(NULL, bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd,
		  (off_t)offset);
	KT_CHECK(at != MAP_FAILED, "mmap at 0x%llx: %s", (unsigned long long)offset,
		 strerror(errno));
	close(fd);
	return at;
}

uint64_t
kt_peek(struct kt_vm *vm, uint64_t gpa)
{
	uint64_t word = 0;

	KT_OK(kt_read(vm, gpa, &word, sizeof(word)));
	return word;
}

void
kt_poke(struct kt_vm *vm, uint64_t gpa, uint64_t word)
{
	KT_OK(kt_write(vm, gpa, &word, sizeof(word)));
}

/* ---- Looking inside -------------------------------------------------------------------------- */

struct vmm_accounts
kt_accounts(struct kt_vm *vm)
{
	struct vmm_accounts accounts;

	KT_OK(vm_get_accounts(vm->ctx, &accounts));
	return accounts;
}

struct vmm_page_info
kt_page(struct kt_vm *vm, uint64_t gpa)
{
	struct vmm_page_info info = {.gpa = gpa};

	KT_OK(vm_get_page_info(vm->ctx, &info));
	return info;
}

int
kt_pageout(struct kt_vm *vm, uint64_t npages, unsigned int flags, uint64_t *done)
{
	struct vmm_pageout out = {.npages = npages, .flags = flags};
	const int error = kt_ioctl(vm->fd, VMM_PAGEOUT, &out);

	if (done)
		*done = error ? 0 : out.npages;
	return error;
}

int
kt_dirty(struct kt_vm *vm, enum vmm_dirty_op op, uint64_t gpa, uint64_t bytes, uint64_t *bits)
{
	struct vmm_dirty dirty = {
		.op = op,
		.gpa = gpa,
		.len_bytes = bytes,
		.bitmap = (uint64_t)(uintptr_t)bits,
	};

	return kt_ioctl(vm->fd, VMM_DIRTY_LOG, &dirty);
}

int
kt_harvest(struct kt_vm *vm, unsigned int flags, uint64_t gpa, uint64_t bytes, uint64_t *bits,
	   uint64_t *found)
{
	struct vmm_harvest harvest = {
		.flags = flags,
		.gpa = gpa,
		.len_bytes = bytes,
		.bitmap = (uint64_t)(uintptr_t)bits,
	};
	const int error = kt_ioctl(vm->fd, VMM_HARVEST, &harvest);

	if (found)
		*found = harvest.found;
	return error;
}

int
kt_exec_control(struct kt_vm *vm, enum vmm_exec_op op)
{
	return vm_exec_control(vm->ctx, op);
}

uint64_t
kt_stat(struct kt_vm *vm, int vcpu, const char *desc)
{
	struct vm_stats *stats;
	unsigned int index = 0;
	char text[120];
	uint64_t value;

	for (;; index++) {
		const int error = vm_get_stat_desc(vm->ctx, vcpu, index, text);

		KT_CHECK(error == 0, "no statistic \"%s\": %s", desc, strerror(-error));
		if (strcmp(text, desc) == 0)
			break;
	}
	KT_OK(vm_get_stats(vm->ctx, vcpu, &stats));
	KT_TRUE(index < stats->n);
	value = stats->values[index];
	free(stats);
	return value;
}
