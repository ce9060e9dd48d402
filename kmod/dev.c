/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Device nodes: /dev/vmmctl, /dev/vmm/NAME, and for a named segment /dev/vmm/NAME.SEG and
 * /dev/vmm.io/NAME.SEG, which are the same thing.
 *
 * Minor numbers of one character device, of which an array says what each stands for. Nodes come
 * and go under vmm_list_lock, with machines; an open file has a reference to the machine and
 * outlives its node. Names are those of devices, where '!' stands for '/': machines and segments
 * share /dev/vmm, so each new name is compared with all of them.
 */

#define pr_fmt(fmt) "vmm: " fmt

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>

#include "kmod/vmm_priv.h"

#define MINORS (1u << 16)
#define MINOR_CTL 0

/* "vmm.io!" NAME "." SEG */
#define DEVICE_NAME_BYTES (7 + VMM_NAME_BYTES + VMM_SEG_NAME_BYTES + 1)

struct node {
	struct list_head no_link; /* of the machine, in vm_nodes */
	struct vm *no_vm;
	int no_ident; /* the segment, or NODE_MACHINE */
	u32 no_minor;
	char no_name[DEVICE_NAME_BYTES];
};
#define NODE_MACHINE (-1)

/* What an open file stands for; the node may have gone. */
struct opened {
	struct vm *op_vm;
	int op_ident;
};

static dev_t first_dev;
static struct cdev nodes_cdev;
static struct class *nodes_class;
static DEFINE_XARRAY_ALLOC1(nodes); /* by minor */

/* ---- Files ----------------------------------------------------------------------------------- */

static int
file_release(struct inode *inode, struct file *file)
{
	struct opened *const op = file->private_data;

	vm_put(op->op_vm);
	kfree(op);
	return 0;
}

static long
machine_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	const struct opened *const op = file->private_data;

	return vm_ioctl(op->op_vm, cmd, arg);
}

/* Where the last map ends: beyond it there is nothing to read, not even zeros. */
static u64
maps_end(struct vm *vm)
{
	struct vm_memmap map;
	u64 end = 0;

	while (!vm_mmap_getnext(vm->vm_space, end, &map))
		end = map.vp_gpa + map.vp_len_bytes;
	return end;
}

/* Part of one page, from or to a buffer of ours. */
static int
machine_page(struct vm *vm, u64 gpa, char *buf, size_t len, bool write)
{
	uint64_t done = 0;
	int error;

	percpu_down_read(&vmm_quiet);
	if (write)
		error = vm_gpa_write(vm->vm_space, gpa, buf, len, &done);
	else
		error = vm_gpa_read(vm->vm_space, gpa, buf, len, &done);
	percpu_up_read(&vmm_quiet);
	if (error == -EFAULT && !write && gpa < maps_end(vm)) {
		memset(buf, 0, len); /* a hole */
		error = 0;
	}
	return error;
}

/* The position is a guest-physical address. What was moved before something failed counts. */
static ssize_t
machine_rw(struct file *file, char __user *user, size_t count, loff_t *pos, bool write)
{
	const struct opened *const op = file->private_data;
	size_t done = 0;
	ssize_t error = 0;
	char *buf;

	if (*pos < 0)
		return -EINVAL;
	if (!vm_call_begin(op->op_vm))
		return -ENXIO;
	buf = (char *)__get_free_page(GFP_KERNEL_ACCOUNT);
	if (!buf)
		error = -ENOMEM;
	while (done < count && !error) {
		const u64 gpa = (u64)*pos + done;
		const size_t len = min_t(size_t, count - done, PAGE_SIZE - offset_in_page(gpa));

		if (gpa > S64_MAX)
			error = -EFAULT;
		if (!error && write && copy_from_user(buf, user + done, len))
			error = -EFAULT;
		if (!error)
			error = machine_page(op->op_vm, gpa, buf, len, write);
		if (!error && !write && copy_to_user(user + done, buf, len))
			error = -EFAULT;
		if (!error)
			done += len;
		cond_resched();
	}
	free_page((unsigned long)buf);
	vm_call_end(op->op_vm);
	*pos += done;
	return done ? (ssize_t)done : error;
}

static ssize_t
machine_read(struct file *file, char __user *user, size_t count, loff_t *pos)
{
	return machine_rw(file, user, count, pos, false);
}

static ssize_t
machine_write(struct file *file, const char __user *user, size_t count, loff_t *pos)
{
	return machine_rw(file, (char __user *)user, count, pos, true);
}

static loff_t
machine_llseek(struct file *file, loff_t offset, int whence)
{
	return generic_file_llseek_size(file, offset, whence, S64_MAX, 0);
}

static int
file_mmap(struct file *file, struct vm_area_struct *vma)
{
	const struct opened *const op = file->private_data;
	int error;

	if (!vm_call_begin(op->op_vm))
		return -ENXIO;
	if (op->op_ident == NODE_MACHINE)
		error = mappings_mmap_gpa(op->op_vm, vma);
	else
		error = mappings_mmap_seg(op->op_vm, op->op_ident, vma);
	vm_call_end(op->op_vm);
	return error;
}

static const struct file_operations machine_fops = {
	.owner = THIS_MODULE,
	.release = file_release,
	.unlocked_ioctl = machine_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.read = machine_read,
	.write = machine_write,
	.llseek = machine_llseek,
	.mmap = file_mmap,
};

static const struct file_operations segment_fops = {
	.owner = THIS_MODULE,
	.release = file_release,
	.llseek = noop_llseek,
	.mmap = file_mmap,
};

static int
ctl_release(struct inode *inode, struct file *file)
{
	vm_destroy_owned(file);
	return 0;
}

static const struct file_operations ctl_fops = {
	.owner = THIS_MODULE,
	.release = ctl_release,
	.unlocked_ioctl = vmmctl_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

/* The module cannot go: the open file has it. */
static void
go_on_with(struct file *file, const struct file_operations *fops)
{
	replace_fops(file, fops_get(fops));
}

/* Finds out what was opened, and goes on with that one's operations. */
static int
any_open(struct inode *inode, struct file *file)
{
	const unsigned int minor = iminor(inode) - MINOR(first_dev);
	struct opened *op;
	struct node *node;

	if (minor == MINOR_CTL) {
		go_on_with(file, &ctl_fops);
		return 0;
	}
	op = kzalloc(sizeof(*op), GFP_KERNEL_ACCOUNT);
	if (!op)
		return -ENOMEM;
	mutex_lock(&vmm_list_lock);
	node = xa_load(&nodes, minor);
	if (node) {
		kref_get(&node->no_vm->vm_kref);
		op->op_vm = node->no_vm;
		op->op_ident = node->no_ident;
	}
	mutex_unlock(&vmm_list_lock);
	if (!node) {
		kfree(op);
		return -ENXIO;
	}
	file->private_data = op;
	go_on_with(file, op->op_ident == NODE_MACHINE ? &machine_fops : &segment_fops);
	return 0;
}

static const struct file_operations any_fops = {
	.owner = THIS_MODULE,
	.open = any_open,
	.llseek = noop_llseek,
};

/* ---- Nodes ----------------------------------------------------------------------------------- */

static bool
name_used(const char *name)
{
	unsigned long minor;
	struct node *node;

	lockdep_assert_held(&vmm_list_lock);
	xa_for_each(&nodes, minor, node) if (!strcmp(node->no_name, name)) return true;
	return false;
}

static void
node_remove(struct node *node)
{
	device_destroy(nodes_class, first_dev + node->no_minor);
	xa_erase(&nodes, node->no_minor);
	list_del(&node->no_link);
	kfree(node);
}

static int
node_create(struct vm *vm, int ident, const char *name)
{
	struct device *dev;
	struct node *node;
	int error;

	if (name_used(name))
		return -EEXIST;
	node = kzalloc(sizeof(*node), GFP_KERNEL_ACCOUNT);
	if (!node)
		return -ENOMEM;
	node->no_vm = vm;
	node->no_ident = ident;
	strscpy(node->no_name, name, sizeof(node->no_name));
	error = xa_alloc(&nodes, &node->no_minor, node, XA_LIMIT(1, MINORS - 1), GFP_KERNEL);
	if (error) {
		kfree(node);
		return error == -EBUSY ? -ENOSPC : error;
	}
	list_add(&node->no_link, &vm->vm_nodes);
	dev = device_create(nodes_class, NULL, first_dev + node->no_minor, NULL, "%s", name);
	if (IS_ERR(dev)) {
		xa_erase(&nodes, node->no_minor);
		list_del(&node->no_link);
		kfree(node);
		return PTR_ERR(dev);
	}
	return 0;
}

int
dev_vm_create(struct vm *vm)
{
	char name[DEVICE_NAME_BYTES];

	snprintf(name, sizeof(name), "vmm!%s", vm->vm_name);
	return node_create(vm, NODE_MACHINE, name);
}

/* Latest first: segments' nodes go before their machine's. */
void
dev_vm_unlink(struct vm *vm)
{
	struct node *node, *next;

	lockdep_assert_held(&vmm_list_lock);
	list_for_each_entry_safe(node, next, &vm->vm_nodes, no_link) node_remove(node);
}

int
dev_seg_create(struct vm *vm, int ident, const char *seg)
{
	char name[DEVICE_NAME_BYTES];
	int error;

	if (READ_ONCE(vm->vm_dying) || list_empty(&vm->vm_nodes))
		return -ENXIO; /* its nodes have gone already */
	snprintf(name, sizeof(name), "vmm!%s.%s", vm->vm_name, seg);
	error = node_create(vm, ident, name);
	if (error)
		return error;
	snprintf(name, sizeof(name), "vmm.io!%s.%s", vm->vm_name, seg);
	error = node_create(vm, ident, name);
	if (error)
		node_remove(list_first_entry(&vm->vm_nodes, struct node, no_link));
	return error;
}

/* ---- The device ------------------------------------------------------------------------------ */

static char *
nodes_devnode(struct device *dev, umode_t *mode)
{
	if (mode)
		*mode = 0600;
	return NULL; /* the name is the device's */
}

int
dev_init(void)
{
	struct device *ctl;
	int error;

	error = alloc_chrdev_region(&first_dev, 0, MINORS, "vmm");
	if (error)
		return error;
	nodes_class = class_create(THIS_MODULE, "vmm");
	if (IS_ERR(nodes_class)) {
		error = PTR_ERR(nodes_class);
		goto no_class;
	}
	nodes_class->devnode = nodes_devnode;
	cdev_init(&nodes_cdev, &any_fops);
	nodes_cdev.owner = THIS_MODULE;
	error = cdev_add(&nodes_cdev, first_dev, MINORS);
	if (error)
		goto no_cdev;
	ctl = device_create(nodes_class, NULL, first_dev + MINOR_CTL, NULL, "vmmctl");
	if (!IS_ERR(ctl))
		return 0;
	error = PTR_ERR(ctl);
	cdev_del(&nodes_cdev);
no_cdev:
	class_destroy(nodes_class);
no_class:
	unregister_chrdev_region(first_dev, MINORS);
	return error;
}

void
dev_exit(void)
{
	device_destroy(nodes_class, first_dev + MINOR_CTL);
	cdev_del(&nodes_cdev);
	class_destroy(nodes_class);
	unregister_chrdev_region(first_dev, MINORS);
	WARN_ON(!xa_empty(&nodes));
	xa_destroy(&nodes);
}
