/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The fake kernel: files and names. Its calls are in fake_calls.c. Descriptors are real ones, so
 * that one that is closed twice, or used after it, is found by the real kernel.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_priv.h"
#include "libvmm/libvmm_priv.h"

struct fk_world fk;
struct fk_machine fk_machine[FK_MACHINES];

static struct fk_file files[FK_FILES];
static unsigned int calls[256];
static struct {
	unsigned long cmd;
	unsigned int nth;
	int error;
} failure;
static unsigned int mmap_nth;
static int mmap_error;

/* ---- Machines -------------------------------------------------------------------------------- */

struct fk_machine *
fk_find(const char *name)
{
	for (int i = 0; i < FK_MACHINES; i++) {
		if (fk_machine[i].used && strcmp(fk_machine[i].name, name) == 0)
			return &fk_machine[i];
	}
	return NULL;
}

void
fk_end(struct fk_machine *m)
{
	for (int i = 0; i < FK_SEGS; i++) {
		if (m->segs[i].len_bytes)
			close(m->segs[i].fd);
	}
	memset(m, 0, sizeof(*m));
}

unsigned int
fk_machines(void)
{
	unsigned int n = 0;

	for (int i = 0; i < FK_MACHINES; i++)
		n += fk_machine[i].used;
	return n;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static struct fk_file *
file_of(int fd)
{
	return fd >= 0 && fd < FK_FILES && files[fd].kind != FK_NONE ? &files[fd] : NULL;
}

/* "NAME.SEG": the longest machine's name that fits. */
static struct fk_machine *
find_segment(const char *path, int *seg)
{
	for (int i = 0; i < FK_MACHINES; i++) {
		struct fk_machine *const m = &fk_machine[i];
		const size_t len = strlen(m->name);

		if (!m->used || strncmp(path, m->name, len) != 0 || path[len] != '.')
			continue;
		for (*seg = 0; *seg < FK_SEGS; (*seg)++) {
			if (m->segs[*seg].len_bytes && m->segs[*seg].name[0] &&
			    strcmp(m->segs[*seg].name, path + len + 1) == 0)
				return m;
		}
	}
	return NULL;
}

/* What a path stands for; the errno if nothing. */
static int
resolve(const char *path, struct fk_file *f)
{
	static const char machines[] = VMM_NODE_DIR "/", segments[] = VMM_IO_NODE_DIR "/";

	if (strcmp(path, "/proc/cpuinfo") == 0) {
		f->kind = FK_TEXT;
		strcpy(f->text,
		       fk.fk_virtualization ? "flags\t: fpu vmx nx\n" : "flags\t: fpu vmxx\n");
		return 0;
	}
	if (!fk.fk_module)
		return ENOENT;
	if (strncmp(path, "/proc/sys/hw/vmm/mem_", 21) == 0) {
		f->kind = FK_TEXT;
		strcpy(f->text, strcmp(path + 21, "free") == 0 ? "1000\n" : "4000\n");
		return 0;
	}
	if (strcmp(path, VMMCTL_NODE) == 0) {
		f->kind = FK_CTL;
		return fk.fk_permission && fk.fk_ctl_permission ? 0 : EACCES;
	}
	if (strncmp(path, machines, strlen(machines)) == 0) {
		path += strlen(machines);
		f->machine = fk_find(path);
		f->kind = FK_MACHINE;
	} else if (strncmp(path, segments, strlen(segments)) == 0) {
		path += strlen(segments);
	}
	if (!f->machine) {
		f->machine = find_segment(path, &f->seg);
		f->kind = FK_SEGMENT;
	}
	if (!f->machine)
		return ENOENT;
	return fk.fk_permission ? 0 : EACCES;
}

static int
fake_open(const char *path, int flags)
{
	struct fk_file f = {0};
	const int error = resolve(path, &f);
	int fd;

	(void)flags;
	if (error) {
		errno = error;
		return -1;
	}
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd >= FK_FILES)
		abort();
	files[fd] = f;
	return fd;
}

static int
fake_close(int fd)
{
	if (!file_of(fd))
		abort(); /* closed twice, or never opened */
	for (int i = 0; i < FK_MACHINES && files[fd].kind == FK_CTL; i++) {
		if (fk_machine[i].used && fk_machine[i].owner_fd == fd)
			fk_end(&fk_machine[i]);
	}
	files[fd].kind = FK_NONE;
	return close(fd);
}

static int
fake_ioctl(int fd, unsigned long cmd, void *arg)
{
	static const char zeros[16];
	const size_t size = _IOC_SIZE(cmd);
	struct fk_file *const f = file_of(fd);
	int error;

	if (!f)
		abort();
	calls[_IOC_NR(cmd)]++;
	if (failure.nth && failure.cmd == cmd && --failure.nth == 0) {
		errno = failure.error;
		return -1;
	}
	/* All structures end with at least two reserved words. */
	if (size && memcmp((char *)arg + size - sizeof(zeros), zeros, sizeof(zeros)) != 0)
		error = EINVAL;
	else if (f->kind == FK_CTL)
		error = fk_ctl_call(fd, cmd, arg);
	else if (f->kind == FK_MACHINE)
		error = f->machine->used ? fk_machine_call(f->machine, cmd, arg) : ENXIO;
	else
		error = ENOTTY;
	errno = error;
	return error ? -1 : 0;
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

const struct fk_map *
fk_map_at(const struct fk_machine *m, uint64_t gpa)
{
	for (int i = 0; i < FK_MAPS; i++) {
		const struct fk_map *const map = &m->maps[i];

		if (map->len_bytes && gpa >= map->gpa && gpa - map->gpa < map->len_bytes)
			return map;
	}
	return NULL;
}

static void *
fake_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	const struct fk_file *const f = file_of(fd);
	const struct fk_map *map;

	if (fd == -1)
		return mmap(addr, len, prot, flags, fd, offset);
	if (mmap_nth && --mmap_nth == 0) {
		errno = mmap_error;
		return MAP_FAILED;
	}
	errno = EINVAL;
	if (f->kind == FK_SEGMENT && (uint64_t)offset + len <= f->machine->segs[f->seg].len_bytes)
		return mmap(addr, len, prot, flags, f->machine->segs[f->seg].fd, offset);
	map = f->kind == FK_MACHINE ? fk_map_at(f->machine, (uint64_t)offset) : NULL;
	if (!map || f->machine->segs[map->ident].name[0] ||
	    (uint64_t)offset + len > map->gpa + map->len_bytes)
		return MAP_FAILED;
	return mmap(addr, len, prot, flags, f->machine->segs[map->ident].fd,
		    (off_t)((uint64_t)offset - map->gpa + map->segoff_bytes));
}

/* One page's part at a time: callers must go on by themselves. */
static ssize_t
fake_rw(int fd, void *to, const void *from, size_t bytes, off_t offset)
{
	const struct fk_file *const f = file_of(fd);
	const size_t left = 4096 - (size_t)(offset & 4095);
	const struct fk_map *const map = fk_map_at(f->machine, (uint64_t)offset);
	off_t at;

	bytes = bytes < left ? bytes : left;
	if (!map) {
		errno = EFAULT;
		return -1;
	}
	at = (off_t)((uint64_t)offset - map->gpa + map->segoff_bytes);
	return to ? pread(f->machine->segs[map->ident].fd, to, bytes, at)
		  : pwrite(f->machine->segs[map->ident].fd, from, bytes, at);
}

static ssize_t
fake_pread(int fd, void *buf, size_t bytes, off_t offset)
{
	const struct fk_file *const f = file_of(fd);

	if (f->kind == FK_TEXT) {
		const size_t len = strlen(f->text);

		if ((size_t)offset >= len)
			return 0;
		bytes = bytes < len - (size_t)offset ? bytes : len - (size_t)offset;
		memcpy(buf, f->text + offset, bytes);
		return (ssize_t)bytes;
	}
	return fake_rw(fd, buf, NULL, bytes, offset);
}

static ssize_t
fake_pwrite(int fd, const void *buf, size_t bytes, off_t offset)
{
	return fake_rw(fd, NULL, buf, bytes, offset);
}

/* ---- For tests ------------------------------------------------------------------------------- */

void
fk_install(void)
{
	for (int i = 0; i < FK_MACHINES; i++) {
		if (fk_machine[i].used)
			fk_end(&fk_machine[i]);
	}
	for (int fd = 0; fd < FK_FILES; fd++) {
		if (files[fd].kind != FK_NONE)
			close(fd);
	}
	memset(files, 0, sizeof(files));
	memset(calls, 0, sizeof(calls));
	memset(&failure, 0, sizeof(failure));
	mmap_nth = 0;
	fk = (struct fk_world){.fk_module = true,
			       .fk_permission = true,
			       .fk_ctl_permission = true,
			       .fk_virtualization = true,
			       .fk_abi = VMM_ABI_VERSION,
			       .fk_kind = VMM_CPU_VTX,
			       .fk_dump = "0x0 table 0x100000 level 3\n"};
	vmm_sys = (struct vmm_sys){.open = fake_open,
				   .close = fake_close,
				   .ioctl = fake_ioctl,
				   .mmap = fake_mmap,
				   .munmap = munmap,
				   .pread = fake_pread,
				   .pwrite = fake_pwrite};
}

void
fk_fail(unsigned long cmd, unsigned int nth, int error)
{
	failure.cmd = cmd;
	failure.nth = nth;
	failure.error = error;
}

void
fk_fail_mmap(unsigned int nth, int error)
{
	mmap_nth = nth;
	mmap_error = error;
}

unsigned int
fk_open_files(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < FK_FILES; fd++)
		n += files[fd].kind != FK_NONE;
	return n;
}

unsigned int
fk_calls(unsigned long cmd)
{
	return calls[_IOC_NR(cmd)];
}
