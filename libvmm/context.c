/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The module, and machines by name: made, found, opened, ended.
 *
 * A name becomes part of a path, so it is judged before it does. A machine's segments have nodes
 * beside it (NAME.SEG), and a name may contain a dot: whether what was opened is a machine is asked
 * of the module.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvmm/libvmm_priv.h"

/* ---- The module ------------------------------------------------------------------------------ */

/* What is in a file of /proc, with a final 0. Bytes, or a negative errno. */
static ssize_t
read_file(const char *path, char *buf, size_t bytes)
{
	const int fd = vmm_sys.open(path, O_RDONLY | O_CLOEXEC);
	size_t done = 0;
	ssize_t n;

	if (fd == -1)
		return -errno;
	do {
		n = vmm_sys.pread(fd, buf + done, bytes - 1 - done, (off_t)done);
		if (n > 0)
			done += (size_t)n;
	} while (n > 0 && done < bytes - 1);
	if (n < 0)
		n = -errno;
	vmm_sys.close(fd);
	buf[done] = '\0';
	return n < 0 ? n : (ssize_t)done;
}

/* Whether word stands alone in text. */
static bool
has_word(const char *text, const char *word)
{
	const size_t len = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at += len) {
		const bool begins = at == text || at[-1] == ' ' || at[-1] == '\t';

		if (begins && (at[len] == ' ' || at[len] == '\n' || at[len] == '\0'))
			return true;
	}
	return false;
}

/* Why the module is not there, as far as it can be told from here. */
static int
no_module(void)
{
	char cpu[8192];

	if (read_file("/proc/cpuinfo", cpu, sizeof(cpu)) > 0 && strstr(cpu, "flags") &&
	    !has_word(cpu, "vmx") && !has_word(cpu, "svm"))
		return vmm_fail(-ENODEV,
				"the module vmm is not loaded, and cannot be: this CPU has neither "
				"VT-x nor SVM, or the firmware has switched them off");
	return vmm_fail(-ENODEV, "the module vmm is not loaded: do 'modprobe vmm'; if it refuses, "
				 "'dmesg' says what is missing");
}

int
vmm_open_ctl(struct vmm_version *version)
{
	const int fd = vmm_sys.open(VMMCTL_NODE, O_RDWR | O_CLOEXEC);
	int error;

	if (fd == -1 && (errno == ENOENT || errno == ENXIO || errno == ENODEV))
		return no_module();
	if (fd == -1 && (errno == EACCES || errno == EPERM))
		return vmm_fail(-EACCES,
				"no permission to open %s: be root, or in the group that "
				"owns it",
				VMMCTL_NODE);
	if (fd == -1)
		return vmm_fail(-errno, "cannot open %s: %s", VMMCTL_NODE, strerror(errno));
	if (vmm_sys.ioctl(fd, VMMCTL_VERSION, version) == -1) {
		error = vmm_fail(errno == ENOTTY ? -EPROTO : -errno,
				 "%s does not answer as the module vmm does: %s", VMMCTL_NODE,
				 strerror(errno));
	} else if (version->abi != VMM_ABI_VERSION) {
		error = vmm_fail(-EPROTO,
				 "the module vmm speaks version %u of its interface, this program "
				 "%u: use those that were built together",
				 version->abi, VMM_ABI_VERSION);
	} else {
		return fd;
	}
	vmm_sys.close(fd);
	errno = -error;
	return error;
}

int
vmm_get_version(struct vmm_version *version)
{
	struct vmm_version v = {0};
	const int fd = vmm_open_ctl(&v);

	if (fd < 0)
		return fd;
	vmm_sys.close(fd);
	*version = v;
	return 0;
}

static int
read_sysctl(const char *path, uint64_t *value)
{
	char text[32], *end;
	const ssize_t n = read_file(path, text, sizeof(text));

	if (n == -ENOENT)
		return no_module();
	if (n < 0)
		return vmm_fail((int)n, "cannot read %s: %s", path, strerror((int)-n));
	*value = strtoull(text, &end, 10);
	if (n == 0 || end == text || (*end != '\n' && *end != '\0'))
		return vmm_fail(-EPROTO, "%s does not hold a number", path);
	return 0;
}

int
vmm_get_mem_total(uint64_t *bytes)
{
	return read_sysctl("/proc/sys/hw/vmm/mem_total", bytes);
}

int
vmm_get_mem_free(uint64_t *bytes)
{
	return read_sysctl("/proc/sys/hw/vmm/mem_free", bytes);
}

/* A call of /dev/vmmctl, opened for it alone. The errno; no sentence but that of opening. */
static int
ctl_call(unsigned long cmd, void *arg, bool *opened)
{
	struct vmm_version v = {0};
	const int fd = vmm_open_ctl(&v);
	int error;

	*opened = fd >= 0;
	if (fd < 0)
		return fd;
	error = vmm_sys.ioctl(fd, cmd, arg) == -1 ? -errno : 0;
	vmm_sys.close(fd);
	return error;
}

int
vmm_next_name(char name[VMM_NAME_BYTES])
{
	struct vmm_next next = {0};
	bool opened;
	int error;

	if (strnlen(name, VMM_NAME_BYTES) == VMM_NAME_BYTES)
		return vmm_fail(-EINVAL, "a name has at most %d characters", VMM_NAME_BYTES - 1);
	strcpy(next.name, name);
	error = ctl_call(VMMCTL_NEXT, &next, &opened);
	if (error == -ENOENT && opened)
		return vmm_fail(error, "there is no further machine");
	if (error && opened)
		return vmm_fail(error, "cannot list machines: %s", strerror(-error));
	if (error == 0)
		memcpy(name, next.name, VMM_NAME_BYTES);
	return error;
}

/* ---- Names ----------------------------------------------------------------------------------- */

int
vmm_name_check(const char *name)
{
	const size_t len = strlen(name);
	bool good = len > 0 && len < VMM_NAME_BYTES;

	for (size_t i = 0; i < len && good; i++) {
		const char c = name[i];

		good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		       (i > 0 && (c == '-' || c == '_' || c == '.'));
	}
	if (good)
		return 0;
	return vmm_fail(-EINVAL,
			"'%.70s' is no name of a machine: at most %d letters and digits, after the "
			"first also '-', '_' and '.'",
			name, VMM_NAME_BYTES - 1);
}

static int
no_machine(const char *name)
{
	return vmm_fail(-ENOENT,
			"there is no machine '%s'; 'vmmctl list' shows those that there are", name);
}

/* ---- Made and ended -------------------------------------------------------------------------- */

static int
create_by(int ctl, const char *name, const struct vm_open_opts *opts)
{
	struct vmm_create req = {.maxcpu = opts->maxcpu, .mem_limit_bytes = opts->mem_limit_bytes};

	strcpy(req.name, name);
	if (opts->flags & VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE)
		req.flags |= VMM_CREATE_DESTROY_ON_CLOSE;
	if (vmm_sys.ioctl(ctl, VMMCTL_CREATE, &req) == 0)
		return 0;
	switch (errno) {
	case EEXIST:
		return vmm_fail(-EEXIST,
				"there is a machine '%s', or a segment's node of that name", name);
	case EINVAL:
		return vmm_fail(-EINVAL,
				"cannot create '%s': the module refuses the name, or that many "
				"vCPUs",
				name);
	default:
		return vmm_fail(-errno, "cannot create '%s': %s", name, strerror(errno));
	}
}

int
vm_create(const char *name)
{
	const struct vm_open_opts opts = {.flags = VMMAPI_OPEN_CREATE};
	struct vmm_version v = {0};
	int ctl, error;

	error = vmm_name_check(name);
	if (error)
		return error;
	ctl = vmm_open_ctl(&v);
	if (ctl < 0)
		return ctl;
	error = create_by(ctl, name, &opts);
	vmm_sys.close(ctl);
	return error;
}

int
vm_destroy_name(const char *name)
{
	struct vmm_destroy req = {0};
	bool opened;
	int error;

	error = vmm_name_check(name);
	if (error)
		return error;
	strcpy(req.name, name);
	error = ctl_call(VMMCTL_DESTROY, &req, &opened);
	if (error == -ENOENT && opened)
		return no_machine(name);
	if (error && opened)
		return vmm_fail(error, "cannot destroy '%s': %s", name, strerror(-error));
	return error;
}

/* ---- Opened and closed ----------------------------------------------------------------------- */

/* A descriptor of a machine's node, or a negative errno with its sentence. */
static int
open_node(const char *name)
{
	char path[sizeof(VMM_NODE_DIR) + VMM_NAME_BYTES + 1];
	struct vmm_cpus cpus = {0};
	int fd;

	snprintf(path, sizeof(path), "%s/%s", VMM_NODE_DIR, name);
	fd = vmm_sys.open(path, O_RDWR | O_CLOEXEC);
	if (fd == -1 && (errno == ENOENT || errno == ENXIO || errno == ENODEV))
		return no_machine(name);
	if (fd == -1 && (errno == EACCES || errno == EPERM))
		return vmm_fail(-EACCES,
				"no permission to open %s: be root, or in the group that owns it",
				path);
	if (fd == -1)
		return vmm_fail(-errno, "cannot open %s: %s", path, strerror(errno));
	if (vmm_sys.ioctl(fd, VMM_GET_CPUS, &cpus) == 0)
		return fd;

	const int error = errno == ENOTTY ? -ENOENT : -errno;

	vmm_sys.close(fd);
	if (error == -ENOENT)
		return vmm_fail(error, "'%s' is a segment of a machine, not a machine", name);
	return vmm_fail(error, "cannot use '%s': %s", name,
			error == -ENXIO ? "it is being destroyed" : strerror(-error));
}

/* What was made is not left behind when it cannot be opened. The sentence stays. */
static void
unmake(int ctl, const char *name)
{
	struct vmm_destroy req = {0};

	strcpy(req.name, name);
	vmm_sys.ioctl(ctl, VMMCTL_DESTROY, &req);
}

/* Opens, or makes and opens. ctx has its name. */
static int
open_or_create(struct vmctx *ctx, const struct vm_open_opts *opts)
{
	const bool own = opts->flags & VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE;
	const bool make = own || opts->flags & VMMAPI_OPEN_CREATE;
	struct vmm_version v = {0};
	bool made = false;
	int error = 0;
	int ctl;

	/* Who may only use machines need not be able to open /dev/vmmctl. */
	ctl = vmm_open_ctl(&v);
	if (ctl < 0 && (make || ctl != -EACCES))
		return ctl;
	if (make) {
		error = create_by(ctl, ctx->vx_name, opts);
		made = error == 0;
		if (error == -EEXIST && !(opts->flags & VMMAPI_OPEN_EXCLUSIVE))
			error = 0;
	}
	if (error == 0) {
		ctx->vx_fd = open_node(ctx->vx_name);
		error = ctx->vx_fd < 0 ? ctx->vx_fd : 0;
	}
	if (error && made)
		unmake(ctl, ctx->vx_name);
	if (error == 0 && made && own)
		ctx->vx_ctl_fd = ctl;
	else if (ctl >= 0)
		vmm_sys.close(ctl);
	if (error == 0 && !made && opts->flags & VMMAPI_OPEN_REINIT)
		error = vm_reinit(ctx);
	return error;
}

struct vmctx *
vm_openf(const char *name, const struct vm_open_opts *opts)
{
	static const struct vm_open_opts plain;
	const uint32_t known = VMMAPI_OPEN_CREATE | VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE |
			       VMMAPI_OPEN_EXCLUSIVE | VMMAPI_OPEN_REINIT;
	struct vmctx *ctx;
	int error;

	opts = opts ? opts : &plain;
	if (vmm_name_check(name))
		return NULL;
	if (opts->flags & ~known) {
		vmm_fail(-EINVAL, "unknown flags for opening '%s'", name);
		return NULL;
	}
	ctx = calloc(1, sizeof(*ctx));
	if (!ctx) {
		vmm_fail(-ENOMEM, "no memory to open '%s'", name);
		return NULL;
	}
	strcpy(ctx->vx_name, name);
	ctx->vx_fd = ctx->vx_ctl_fd = -1;
	ctx->vx_lowmem_limit = VM_LOWMEM_LIMIT;
	pthread_mutex_init(&ctx->vx_lock, NULL);
	error = open_or_create(ctx, opts);
	if (error) {
		vm_close(ctx);
		errno = -error;
		return NULL;
	}
	return ctx;
}

struct vmctx *
vm_open(const char *name)
{
	return vm_openf(name, NULL);
}

void
vm_close(struct vmctx *ctx)
{
	if (!ctx)
		return;
	while (ctx->vx_windows)
		vm_window_close(ctx, ctx->vx_windows);
	while (ctx->vx_vcpus) {
		struct vcpu *const vcpu = ctx->vx_vcpus;

		ctx->vx_vcpus = vcpu->vc_next;
		free(vcpu);
	}
	if (ctx->vx_fd >= 0)
		vmm_sys.close(ctx->vx_fd);
	if (ctx->vx_ctl_fd >= 0)
		vmm_sys.close(ctx->vx_ctl_fd);
	pthread_mutex_destroy(&ctx->vx_lock);
	free(ctx);
}

int
vm_destroy(struct vmctx *ctx)
{
	const int error = vm_destroy_name(ctx->vx_name);

	vm_close(ctx);
	if (error)
		errno = -error;
	return error;
}

const char *
vm_get_name(const struct vmctx *ctx)
{
	return ctx->vx_name;
}

int
vm_get_device_fd(const struct vmctx *ctx)
{
	return ctx->vx_fd;
}
