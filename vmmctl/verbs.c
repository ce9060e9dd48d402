/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Verbs that are one call or two: list, show, mem, check, create, destroy.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmmctl.h"

#define KIB_PER_PAGE 4

/* The one argument of a verb that takes a machine's name and nothing else. */
static const char *
only_name(int argc, char **argv)
{
	if (argc != 2)
		usage_error("%s takes the name of a machine", argv[0]);
	return argv[1];
}

static void
no_arguments(int argc, char **argv)
{
	if (argc != 1)
		usage_error("%s takes no arguments, got '%s'", argv[0], argv[1]);
}

/* ---- Of all machines ------------------------------------------------------------------------- */

int
verb_list(struct out *out, int argc, char **argv)
{
	json_t *const names = json_array();
	char name[VMM_NAME_BYTES] = "";
	int error;

	no_arguments(argc, argv);
	while ((error = vmm_next_name(name)) == 0) {
		json_array_append_new(names, json_string(name));
		if (out->ou_root == NULL)
			printf("%s\n", name);
	}
	if (error != -ENOENT)
		check_call(error);
	out_put(out, "machines", names, "%s", "");
	return EX_OK;
}

int
verb_mem(struct out *out, int argc, char **argv)
{
	uint64_t bytes;

	no_arguments(argc, argv);
	check_call(vmm_get_mem_free(&bytes));
	out_number(out, "hw.vmm.mem_free", bytes);
	check_call(vmm_get_mem_total(&bytes));
	out_number(out, "hw.vmm.mem_total", bytes);
	return EX_OK;
}

int
verb_create(struct out *out, int argc, char **argv)
{
	(void)out;
	check_call(vm_create(only_name(argc, argv)));
	return EX_OK;
}

int
verb_destroy(struct out *out, int argc, char **argv)
{
	(void)out;
	check_call(vm_destroy_name(only_name(argc, argv)));
	return EX_OK;
}

/* ---- Of one ---------------------------------------------------------------------------------- */

static void
prot_text(unsigned int prot, char text[4])
{
	snprintf(text, 4, "%c%c%c", prot & VMM_PROT_READ ? 'r' : '-',
		 prot & VMM_PROT_WRITE ? 'w' : '-', prot & VMM_PROT_EXEC ? 'x' : '-');
}

void
out_memory(struct out *out, struct vmctx *ctx)
{
	json_t *const maps = json_array();
	struct vmm_memmap map = {.gpa = 0};
	int error;

	while ((error = vm_mmap_getnext(ctx, &map)) == 0) {
		const bool wired = map.flags & VMM_MEMMAP_WIRED;
		const uint64_t end = map.gpa + map.len_bytes;
		char name[VMM_SEG_NAME_BYTES] = "";
		char prot[4];
		uint64_t len;

		if (map.ident >= 0)
			check_call(vm_get_memseg(ctx, map.ident, &len, name));
		prot_text(map.prot, prot);
		json_array_append_new(maps,
				      json_pack("{s:o, s:o, s:s, s:i, s:s, s:o, s:b}", "gpa",
						json_hex(map.gpa), "len_bytes",
						json_hex(map.len_bytes), "prot", prot, "segment",
						map.ident, "name", name, "offset_bytes",
						json_hex(map.segoff_bytes), "wired", wired));
		if (out->ou_root == NULL)
			printf("map 0x%016" PRIx64 "-0x%016" PRIx64 " %s segment %d%s%s +0x%" PRIx64
			       "%s\n",
			       (uint64_t)map.gpa, end, prot, map.ident, name[0] ? " " : "", name,
			       (uint64_t)map.segoff_bytes, wired ? " wired" : "");
		if (end < map.gpa)
			break;
		map = (struct vmm_memmap){.gpa = end};
	}
	if (error != -ENOENT)
		check_call(error);
	out_put(out, "maps", maps, "%s", "");
}

static void
out_accounts(struct out *out, struct vmctx *ctx)
{
	struct vmm_accounts a;

	check_call(vm_get_accounts(ctx, &a));
	out_number(out, "resident_kib", a.resident * KIB_PER_PAGE);
	out_number(out, "wired_kib", a.wired * KIB_PER_PAGE);
	out_number(out, "swapped_kib", a.swapped * KIB_PER_PAGE);
	out_number(out, "devmem_kib", a.devmem * KIB_PER_PAGE);
	out_number(out, "runs_kib", a.reserved_runs * KIB_PER_PAGE);
	out_number(out, "tables_kib", a.tables * KIB_PER_PAGE);
	out_number(out, "mapped_kib", a.mapped * KIB_PER_PAGE);
	out_number(out, "limit_kib", a.limit * KIB_PER_PAGE);
	out_number(out, "leaves_4k", a.leaves[0]);
	out_number(out, "leaves_2m", a.leaves[1]);
	out_number(out, "leaves_1g", a.leaves[2]);
	out_put(out, "eptp", json_hex(a.eptp), "%s: 0x%" PRIx64 "\n",
		cpu_kind() == VMM_CPU_VTX ? "eptp" : "ncr3", (uint64_t)a.eptp);
}

int
verb_show(struct out *out, int argc, char **argv)
{
	struct vmctx *const ctx = open_machine(only_name(argc, argv));
	struct vmm_cpus cpus;

	out_put(out, "name", json_string(vm_get_name(ctx)), "name: %s\n", vm_get_name(ctx));
	out_accounts(out, ctx);
	out_memory(out, ctx);
	check_call(vm_get_cpus(ctx, &cpus));
	out_put(out, "cpus_active", json_hex(cpus.active), "cpus_active: 0x%" PRIx64 "\n",
		(uint64_t)cpus.active);
	out_put(out, "cpus_running", json_hex(cpus.running), "cpus_running: 0x%" PRIx64 "\n",
		(uint64_t)cpus.running);
	out_put(out, "suspended", json_string(vm_suspend_name(cpus.how)), "suspended: %s\n",
		vm_suspend_name(cpus.how));
	vm_close(ctx);
	return EX_OK;
}

int
verb_check(struct out *out, int argc, char **argv)
{
	struct vmctx *const ctx = open_machine(only_name(argc, argv));
	const int error = vm_check(ctx);

	if (error != 0 && error != -EUCLEAN)
		check_call(error);
	out_put(out, "ok", json_boolean(error == 0), "%s: %s\n", vm_get_name(ctx),
		error == 0 ? "page tables and accounts are sound" : vmm_errmsg());
	if (error != 0)
		out_put(out, "why", json_string(vmm_errmsg()), "%s", "");
	vm_close(ctx);
	return error == 0 ? EX_OK : EX_SOFTWARE;
}
