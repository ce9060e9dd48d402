/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Calls of /dev/vmmctl: the module's version, and machines by name.
 */

#include <linux/module.h>
#include <linux/uaccess.h>

#include "kmod/vmm_priv.h"

static long
ctl_version(void __user *user)
{
	struct vmm_version v = {
		.abi = VMM_ABI_VERSION,
		.cpu_kind = vmm_backend->vb_kind,
		.maxcpu = hw_settings.hs_maxcpu,
		.pmap_flags = vmm_ept_cpu.ec_flags,
	};

	strscpy(v.release, THIS_MODULE->version ?: "unknown", sizeof(v.release));
	return copy_to_user(user, &v, sizeof(v)) ? -EFAULT : 0;
}

static bool
all_zero(const void *reserved, size_t bytes)
{
	return !memchr_inv(reserved, 0, bytes);
}

static long
ctl_create(struct file *file, void __user *user)
{
	struct vmm_create req;

	if (copy_from_user(&req, user, sizeof(req)))
		return -EFAULT;
	if (!all_zero(req.reserved, sizeof(req.reserved)))
		return -EINVAL;
	return vm_create(&req, file);
}

static long
ctl_destroy(void __user *user)
{
	struct vmm_destroy req;

	if (copy_from_user(&req, user, sizeof(req)))
		return -EFAULT;
	if (!all_zero(req.reserved, sizeof(req.reserved)))
		return -EINVAL;
	return vm_destroy_by_name(req.name);
}

/* Any string that ends may be asked for; only names are told. */
static long
ctl_next(void __user *user)
{
	struct vmm_next req;
	int error;

	if (copy_from_user(&req, user, sizeof(req)))
		return -EFAULT;
	if (!all_zero(req.reserved, sizeof(req.reserved)) ||
	    strnlen(req.name, sizeof(req.name)) == sizeof(req.name))
		return -EINVAL;
	error = vm_next_name(req.name);
	if (!error && copy_to_user(user, &req, sizeof(req)))
		error = -EFAULT;
	return error;
}

long
vmmctl_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *const user = (void __user *)arg;

	switch (cmd) {
	case VMMCTL_VERSION:
		return ctl_version(user);
	case VMMCTL_CREATE:
		return ctl_create(file, user);
	case VMMCTL_DESTROY:
		return ctl_destroy(user);
	case VMMCTL_NEXT:
		return ctl_next(user);
	default:
		return -ENOTTY;
	}
}
