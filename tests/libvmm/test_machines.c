/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Machines by name: what is made and left behind, and what sentence each failure has.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "fake_kernel.h"

TestSuite(machines, .init = fk_install);

static void
says(const char *what)
{
	cr_assert(strstr(vmm_errmsg(), what) != NULL, "'%s' is not in: %s", what, vmm_errmsg());
}

Test(machines, names_are_judged_before_they_become_paths)
{
	static const char *const bad[] = {
		"",
		"a/b",
		"../vmm",
		".hidden",
		"-x",
		"a b",
		"a\n",
		"\xc3\xa4",
		"0123456789012345678901234567890123456789012345678901234567890123"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(vm_create(bad[i]), -EINVAL, "%s", bad[i]);
		says("is no name of a machine");
		cr_assert(vm_open(bad[i]) == NULL && errno == EINVAL);
		cr_assert_eq(vm_destroy_name(bad[i]), -EINVAL);
	}
	cr_assert_eq(fk_calls(VMMCTL_CREATE), 0);
	cr_assert_eq(vm_create("0-a_b.c"), 0);
	cr_assert_eq(vm_create("012345678901234567890123456789012345678901234567890123456789012"),
		     0);
}

Test(machines, live_from_create_to_destroy)
{
	char name[VMM_NAME_BYTES] = "";
	struct vmctx *ctx;

	cr_assert_eq(vm_create("b"), 0);
	cr_assert_eq(vm_create("b"), -EEXIST);
	says("there is a machine 'b'");
	cr_assert_eq(vm_create("a"), 0);
	cr_assert(vmm_next_name(name) == 0 && strcmp(name, "a") == 0);
	cr_assert(vmm_next_name(name) == 0 && strcmp(name, "b") == 0);
	cr_assert(vmm_next_name(name) == -ENOENT && strcmp(name, "b") == 0);

	ctx = vm_open("a");
	cr_assert(ctx && strcmp(vm_get_name(ctx), "a") == 0 && vm_get_device_fd(ctx) >= 0);
	cr_assert_eq(fk_open_files(), 1, "the machine's node alone");
	cr_assert_eq(vm_destroy(ctx), 0);
	cr_assert_eq(vm_destroy_name("a"), -ENOENT);
	says("there is no machine 'a'; 'vmmctl list'");
	cr_assert_eq(vm_destroy_name("b"), 0);
	cr_assert(fk_open_files() == 0 && fk_machines() == 0);
}

Test(machines, may_end_with_who_opened_them)
{
	const struct vm_open_opts own = {.flags = VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE, .maxcpu = 2};
	const struct vm_open_opts stay = {.flags = VMMAPI_OPEN_CREATE};
	const struct vm_open_opts new = {.flags = VMMAPI_OPEN_CREATE | VMMAPI_OPEN_EXCLUSIVE};
	struct vmctx *ctx, *again;

	ctx = vm_openf("x", &own);
	cr_assert(ctx && fk_machines() == 1 && fk_open_files() == 2);
	again = vm_openf("x", &own);
	cr_assert(again != NULL, "it exists: opened");
	vm_close(again);
	cr_assert_eq(fk_machines(), 1, "it was not this one that made it");
	cr_assert(vm_openf("x", &new) == NULL && errno == EEXIST);
	vm_close(ctx);
	cr_assert(fk_machines() == 0 && fk_open_files() == 0);

	vm_close(vm_openf("x", &stay));
	cr_assert_eq(fk_machines(), 1);
	vm_close(NULL);
}

Test(machines, are_reset_when_opened_so_only_if_they_existed)
{
	const struct vm_open_opts opts = {.flags = VMMAPI_OPEN_CREATE | VMMAPI_OPEN_REINIT};
	struct vmctx *ctx = vm_openf("x", &opts);

	cr_assert(ctx && fk_calls(VMM_REINIT) == 0);
	cr_assert(vm_openf("x", &opts) == NULL && errno == EBUSY);
	says("before all its vCPUs are suspended");
	cr_assert_eq(vm_suspend(ctx, VMM_SUSPEND_RESET), 0);
	vm_close(ctx);
	ctx = vm_openf("x", &opts);
	cr_assert(ctx != NULL);
	vm_close(ctx);
	cr_assert_eq(fk_open_files(), 0);
}

Test(machines, that_cannot_be_opened_are_not_left_behind)
{
	const struct vm_open_opts stay = {.flags = VMMAPI_OPEN_CREATE};

	fk_fail(VMM_GET_CPUS, 1, ENXIO);
	cr_assert(vm_openf("x", &stay) == NULL && errno == ENXIO);
	says("being destroyed");
	cr_assert(fk_machines() == 0 && fk_open_files() == 0);
	cr_assert(vm_openf("x", &(struct vm_open_opts){.flags = 1u << 31}) == NULL &&
		  errno == EINVAL);
	cr_assert(vm_openf("x", &(struct vm_open_opts){.flags = VMMAPI_OPEN_CREATE,
						       .maxcpu = 99}) == NULL &&
		  errno == EINVAL);
	says("that many vCPUs");
}

Test(machines, are_not_segments)
{
	struct vmctx *const ctx =
		vm_openf("x", &(struct vm_open_opts){.flags = VMMAPI_OPEN_CREATE});

	cr_assert_eq(vm_alloc_memseg(ctx, VM_BOOTROM, 4096, "bootrom"), 0);
	cr_assert(vm_open("x.bootrom") == NULL && errno == ENOENT);
	says("a segment of a machine, not a machine");
	vm_close(ctx);
}

Test(machines, without_a_module_say_what_to_do)
{
	struct vmm_version version;
	uint64_t bytes;

	fk.fk_module = false;
	cr_assert(vm_open("x") == NULL && errno == ENODEV);
	says("modprobe vmm");
	cr_assert_eq(vm_create("x"), -ENODEV);
	cr_assert_eq(vmm_get_version(&version), -ENODEV);
	cr_assert_eq(vmm_get_mem_free(&bytes), -ENODEV);
	says("modprobe vmm");
	fk.fk_virtualization = false;
	cr_assert_eq(vm_create("x"), -ENODEV);
	says("neither VT-x nor SVM");
}

Test(machines, need_permission)
{
	struct vmctx *ctx;

	cr_assert_eq(vm_create("x"), 0);
	fk.fk_ctl_permission = false;
	cr_assert_eq(vm_create("y"), -EACCES);
	says("/dev/vmmctl: be root, or in the group");
	ctx = vm_open("x");
	cr_assert(ctx != NULL, "who may use a machine need not be able to make one");
	vm_close(ctx);
	fk.fk_permission = false;
	cr_assert(vm_open("x") == NULL && errno == EACCES);
	says("/dev/vmm/x: be root");
	cr_assert_eq(fk_open_files(), 0);
}

Test(machines, of_another_version_are_refused)
{
	fk.fk_abi = VMM_ABI_VERSION + 1;
	cr_assert(vm_open("x") == NULL && errno == EPROTO);
	says("version 3 of its interface, this program 2");
	cr_assert_eq(fk_open_files(), 0);
}

Test(machines, share_memory_that_is_told)
{
	struct vmm_version version;
	uint64_t total, left;

	cr_assert(vmm_get_mem_total(&total) == 0 && total == 4000);
	cr_assert(vmm_get_mem_free(&left) == 0 && left == 1000);
	cr_assert_eq(vmm_get_version(&version), 0);
	cr_assert(strcmp(version.release, "fake") == 0);
	cr_assert_eq(fk_open_files(), 0);
}
