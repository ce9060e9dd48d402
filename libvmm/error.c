/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Errors with a sentence, and the seam to the system.
 *
 * An errno says what kind of failure it was, to programs. People need to be told which machine, and
 * what to do; that is said here once, by the place that knows, and kept for the thread that failed.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libvmm/libvmm_priv.h"

static _Thread_local char sentence[512];

const char *
vmm_errmsg(void)
{
	return sentence;
}

int
vmm_fail(int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(sentence, sizeof(sentence), format, ap);
	va_end(ap);
	errno = -error;
	return error;
}

static int
sys_open(const char *path, int flags)
{
	return open(path, flags);
}

static int
sys_ioctl(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg);
}

struct vmm_sys vmm_sys = {
	.open = sys_open,
	.close = close,
	.ioctl = sys_ioctl,
	.mmap = mmap,
	.munmap = munmap,
	.pread = pread,
	.pwrite = pwrite,
};

int
vm_ioctl_quiet(const struct vmctx *ctx, unsigned long cmd, void *arg)
{
	return vmm_sys.ioctl(ctx->vx_fd, cmd, arg) == -1 ? -errno : 0;
}

/* What an errno means, as far as it means the same for every call (kmod/uapi/vmm.h). */
static const char *
meaning(int error)
{
	switch (-error) {
	case EINVAL:
		return "an argument is out of range or misaligned";
	case EFAULT:
		return "no memory of the machine is there, or something else is there already";
	case ENXIO:
		return "the machine is being destroyed";
	case ENOENT:
		return "there is none";
	case EBUSY:
		return "it is in use";
	case EOPNOTSUPP:
		return "this CPU cannot do that";
	case ENODEV:
		return "the machine has no interrupt hardware (vm_set_platform)";
	case ENOTTY:
		return "the module does not know this call; its version is another one";
	case ENOSPC:
		return "the machine has as many as it can have";
	case ENOMEM:
		return "not enough memory; see hw.vmm.mem_free, and the machine's limit";
	default:
		return strerror(-error);
	}
}

int
vm_ioctl_fail(const struct vmctx *ctx, int error, const char *what)
{
	return vmm_fail(error, "machine '%s': cannot %s: %s", ctx->vx_name, what, meaning(error));
}

int
vm_ioctl(const struct vmctx *ctx, unsigned long cmd, void *arg, const char *what)
{
	const int error = vm_ioctl_quiet(ctx, cmd, arg);

	return error ? vm_ioctl_fail(ctx, error, what) : 0;
}

int
vcpu_ioctl_fail(const struct vcpu *vcpu, int error, const char *what)
{
	const char *why = meaning(error);

	if (error == -ENOENT)
		why = "the vCPU was never activated";
	else if (error == -EBUSY)
		why = "the vCPU is in use by another thread, or something is pending there";
	return vmm_fail(error, "machine '%s', vCPU %d: cannot %s: %s", vcpu->vc_ctx->vx_name,
			vcpu->vc_id, what, why);
}

int
vcpu_ioctl(const struct vcpu *vcpu, unsigned long cmd, void *arg, const char *what)
{
	const int error = vm_ioctl_quiet(vcpu->vc_ctx, cmd, arg);

	return error ? vcpu_ioctl_fail(vcpu, error, what) : 0;
}
