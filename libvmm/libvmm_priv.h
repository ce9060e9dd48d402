/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the files of libvmm share: what a context is, how errors get their sentence, and the one
 * seam to the system. Tests put a kernel of their own behind that seam; nothing else in the library
 * makes a system call about a node.
 */

#ifndef LIBVMM_PRIV_H
#define LIBVMM_PRIV_H

#include <pthread.h>

#include "libvmm/libvmm.h"

struct vmm_sys {
	int (*open)(const char *path, int flags);
	int (*close)(int fd);
	int (*ioctl)(int fd, unsigned long cmd, void *arg);
	void *(*mmap)(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
	int (*munmap)(void *addr, size_t len);
	ssize_t (*pread)(int fd, void *buf, size_t bytes, off_t offset);
	ssize_t (*pwrite)(int fd, const void *buf, size_t bytes, off_t offset);
};
extern struct vmm_sys vmm_sys;

/* Memory of ours: guards around what is mapped between them. */
struct vm_window {
	struct vm_window *wi_next;
	char *wi_reserved;
	size_t wi_reserved_bytes;
	char *wi_base; /* behind the first guard */
};

struct vmctx {
	char vx_name[VMM_NAME_BYTES];
	int vx_fd;
	int vx_ctl_fd;		 /* -1; else closing it ends the machine */
	pthread_mutex_t vx_lock; /* the lists */
	struct vm_window *vx_windows;
	struct vcpu *vx_vcpus;

	/* What vm_setup_memory() works by, and did. */
	uint64_t vx_lowmem_limit;
	unsigned int vx_memflags;
	uint64_t vx_low_bytes;
	uint64_t vx_high_bytes;
	char *vx_mem; /* of gpa 0; NULL: not mapped */
};

struct vcpu {
	struct vcpu *vc_next;
	struct vmctx *vc_ctx;
	int vc_id;
};

/* Makes the sentence; returns error, which is negative. */
int vmm_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * A call on a machine. On failure the sentence is "cannot WHAT", whose machine it is, and what the
 * errno means. The errno alone by vm_ioctl_quiet(), the sentence alone by *_fail().
 */
int vm_ioctl(const struct vmctx *ctx, unsigned long cmd, void *arg, const char *what);
int vm_ioctl_quiet(const struct vmctx *ctx, unsigned long cmd, void *arg);
int vcpu_ioctl(const struct vcpu *vcpu, unsigned long cmd, void *arg, const char *what);
int vm_ioctl_fail(const struct vmctx *ctx, int error, const char *what);
int vcpu_ioctl_fail(const struct vcpu *vcpu, int error, const char *what);

/* Opens /dev/vmmctl and asks for its version. A descriptor or a negative errno, with a sentence. */
int vmm_open_ctl(struct vmm_version *version);
/* 0, or -EINVAL with a sentence: letters and digits, then also '-', '_', '.'. */
int vmm_name_check(const char *name);

/*
 * Reserves len bytes between guards, aligned for superpages; nothing of it can be touched yet. NULL
 * with a sentence. The window belongs to ctx until vm_window_close().
 */
struct vm_window *vm_window_open(struct vmctx *ctx, uint64_t len);
void vm_window_close(struct vmctx *ctx, struct vm_window *wi);

#endif /* LIBVMM_PRIV_H */
