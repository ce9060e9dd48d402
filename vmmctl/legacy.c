/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * bhyvectl's way: --vm=NAME and any number of options, which are carried out in a fixed order: the
 * machine is made first, then what is set, then what is shown, then what ends it.
 *
 * Most options are made of names: of each register --get-NAME and --set-NAME, of each descriptor
 * --get-desc-NAME and --set-desc-NAME, of each field of the VMCS or VMCB --get-vmcs-NAME or
 * --get-vmcb-NAME.
 */

#define _GNU_SOURCE /* asprintf, memmem */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmmctl.h"

enum kind {
	ACTION, /* index: enum action */
	GET_REG,
	SET_REG,
	GET_DESC,
	SET_DESC,
	GET_VMCS,
	GET_VMCS_GROUP,
	SET_VMCS,
	GET_VMCB,
	SET_VMCB,
};

enum action {
	VM,
	CPU,
	CREATE,
	DESTROY,
	SET_MEM,
	DESC_BASE,
	DESC_LIMIT,
	DESC_ACCESS,
	CAPNAME,
	GETCAP,
	SETCAP,
	GET_ALL,
	GET_STATS,
	GET_GPA_PMAP,
	GET_EPTP,
	GET_LOWMEM,
	GET_HIGHMEM,
	GET_MEMMAP,
	GET_ACTIVE_CPUS,
	GET_SUSPENDED_CPUS,
	GET_INTINFO,
	INJECT_NMI,
	RUN,
	FORCE_RESET,
	FORCE_POWEROFF,
	ACTIONS,
};

static const struct {
	const char *name;
	int has_arg;
	const char *help; /* the argument's name, and what it does */
} actions[ACTIONS] = {
	[VM] = {"vm", required_argument, "=NAME  the machine"},
	[CPU] = {"cpu", required_argument, "=N  the vCPU, 0 if not given"},
	[CREATE] = {"create", no_argument, "  make the machine"},
	[DESTROY] = {"destroy", no_argument, "  end it"},
	[SET_MEM] = {"set-mem", required_argument, "=SIZE  give it memory (bare numbers are MiB)"},
	[DESC_BASE] = {"desc-base", required_argument, "=N  for --set-desc-*"},
	[DESC_LIMIT] = {"desc-limit", required_argument, "=N  for --set-desc-*"},
	[DESC_ACCESS] = {"desc-access", required_argument, "=N  for --set-desc-*"},
	[CAPNAME] = {"capname", required_argument, "=NAME  a capability"},
	[GETCAP] = {"getcap", no_argument, "  show it"},
	[SETCAP] = {"setcap", required_argument, "=N  set it"},
	[GET_ALL] = {"get-all", no_argument, "  all registers, descriptors, fields and maps"},
	[GET_STATS] = {"get-stats", no_argument, "  statistics of the vCPU and of the machine"},
	[GET_GPA_PMAP] = {"get-gpa-pmap", required_argument, "=GPA  entries that map an address"},
	[GET_EPTP] = {"get-eptp", no_argument, "  EPTP, or nCR3"},
	[GET_LOWMEM] = {"get-lowmem", no_argument, "  memory below 4 GiB"},
	[GET_HIGHMEM] = {"get-highmem", no_argument, "  memory above"},
	[GET_MEMMAP] = {"get-memmap", no_argument, "  segments, and where they are shown"},
	[GET_ACTIVE_CPUS] = {"get-active-cpus", no_argument, "  numbers of vCPUs"},
	[GET_SUSPENDED_CPUS] = {"get-suspended-cpus", no_argument, "  those that have left"},
	[GET_INTINFO] = {"get-intinfo", no_argument, "  events that are pending"},
	[INJECT_NMI] = {"inject-nmi", no_argument, "  give the vCPU an NMI"},
	[RUN] = {"run", no_argument, "  run the vCPU until its next exit, and show that"},
	[FORCE_RESET] = {"force-reset", no_argument, "  all vCPUs leave: reset"},
	[FORCE_POWEROFF] = {"force-poweroff", no_argument, "  all vCPUs leave: power off"},
};

/* Names of 2011 that stand for several fields: all whose names begin so. */
static const struct {
	const char *name;
	const char *prefix;
} vmcs_groups[] = {
	{"io-bitmap", "io-bitmap-"},
	{"cr3-targets", "cr3-target"},
	{"guest-sysenter", "guest-sysenter-"},
};

struct opt {
	enum kind op_kind;
	size_t op_index;
	bool op_given;
	const char *op_arg;
};

#define FIRST_VALUE 256

static struct opt *opts;
static struct option *longs;
static size_t nopts;

/* ---- The options ----------------------------------------------------------------------------- */

static void
add(enum kind kind, size_t index, int has_arg, const char *prefix, const char *name)
{
	char *text;

	opts = realloc(opts, (nopts + 1) * sizeof(*opts));
	longs = realloc(longs, (nopts + 2) * sizeof(*longs));
	if (opts == NULL || longs == NULL || asprintf(&text, "%s%s", prefix, name) < 0)
		fail(EX_OSERR, "not enough memory for the table of options");
	opts[nopts] = (struct opt){.op_kind = kind, .op_index = index};
	longs[nopts] = (struct option){text, has_arg, NULL, FIRST_VALUE + (int)nopts};
	longs[++nopts] = (struct option){0};
}

static void
add_fields(const struct field_name *fields, size_t n, enum kind get, const char *prefix_get,
	   enum kind set, const char *prefix_set)
{
	for (size_t i = 0; i < n; i++) {
		add(get, i, no_argument, prefix_get, fields[i].fn_name);
		if (fields[i].fn_settable)
			add(set, i, required_argument, prefix_set, fields[i].fn_name);
	}
}

static void
build_options(void)
{
	for (size_t i = 0; i < ACTIONS; i++)
		add(ACTION, i, actions[i].has_arg, "", actions[i].name);
	for (size_t i = 0; i < reg_names_count; i++) {
		add(GET_REG, i, no_argument, "get-", reg_names[i].rn_name);
		add(SET_REG, i, required_argument, "set-", reg_names[i].rn_name);
	}
	for (size_t i = 0; i < desc_names_count; i++) {
		add(GET_DESC, i, no_argument, "get-desc-", desc_names[i].rn_name);
		add(SET_DESC, i, no_argument, "set-desc-", desc_names[i].rn_name);
	}
	add_fields(vmcs_fields, vmcs_fields_count, GET_VMCS, "get-vmcs-", SET_VMCS, "set-vmcs-");
	for (size_t i = 0; i < ARRAY_SIZE(vmcs_groups); i++)
		add(GET_VMCS_GROUP, i, no_argument, "get-vmcs-", vmcs_groups[i].name);
	add_fields(vmcb_fields, vmcb_fields_count, GET_VMCB, "get-vmcb-", SET_VMCB, "set-vmcb-");
}

void
legacy_list(void)
{
	build_options();
	for (size_t i = 0; i < nopts; i++)
		printf("--%s%s\n", longs[i].name, longs[i].has_arg == required_argument ? "=" : "");
}

void
legacy_help(void)
{
	printf("\nOptions, as bhyvectl's:\n");
	for (size_t i = 0; i < ACTIONS; i++)
		printf("  --%s%s\n", actions[i].name, actions[i].help);
	printf("  --get-REG, --set-REG=N  a register:");
	for (size_t i = 0; i < reg_names_count; i++)
		printf("%s%s", i % 12 == 0 ? "\n      " : " ", reg_names[i].rn_name);
	printf("\n  --get-desc-REG, --set-desc-REG  base, limit and rights:\n      ");
	for (size_t i = 0; i < desc_names_count; i++)
		printf("%s%s", i ? " " : "", desc_names[i].rn_name);
	printf("\n  --get-vmcs-FIELD, --get-vmcb-FIELD  of the VMCS (VT-x), of the VMCB (SVM);\n"
	       "      vmmctl(8) lists them\n");
}

static struct opt *
action(enum action a)
{
	return &opts[a];
}

static void
parse(int argc, char **argv)
{
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		if (c == ':')
			usage_error("%s needs a value", argv[optind - 1]);
		if (c < FIRST_VALUE)
			usage_error("unknown option '%s'", argv[optind - 1]);
		opts[c - FIRST_VALUE].op_given = true;
		opts[c - FIRST_VALUE].op_arg = optarg;
	}
	if (optind < argc)
		usage_error("'%s' is no option", argv[optind]);
	if (!action(VM)->op_given)
		usage_error("say which machine: --vm=NAME");
}

/* ---- Setting --------------------------------------------------------------------------------- */

static const char *
name_of(const struct opt *o)
{
	return longs[o - opts].name;
}

/* The number given for an action, of which no more than `max` fits. */
static uint64_t
number_of(enum action a, uint64_t max)
{
	const uint64_t value = parse_number(action(a)->op_arg, name_of(action(a)));

	if (value > max)
		usage_error("--%s: %s is too large", actions[a].name, action(a)->op_arg);
	return value;
}

static void
need_kind(const struct opt *o, enum vmm_cpu_kind kind)
{
	if (cpu_kind() != kind)
		fail(EX_UNAVAILABLE, "--%s: this machine's CPU is %s; use --get-%s-*", name_of(o),
		     kind == VMM_CPU_VTX ? "AMD's, which has no VMCS"
					 : "Intel's, which has no VMCB",
		     kind == VMM_CPU_VTX ? "vmcb" : "vmcs");
}

static void
set_desc(struct vcpu *vcpu, enum vmm_reg reg)
{
	uint64_t base;
	uint32_t limit, access;

	check_call(vm_get_desc(vcpu, reg, &base, &limit, &access));
	if (action(DESC_BASE)->op_given)
		base = number_of(DESC_BASE, UINT64_MAX);
	if (action(DESC_LIMIT)->op_given)
		limit = (uint32_t)number_of(DESC_LIMIT, UINT32_MAX);
	if (action(DESC_ACCESS)->op_given)
		access = (uint32_t)number_of(DESC_ACCESS, UINT32_MAX);
	check_call(vm_set_desc(vcpu, reg, base, limit, access));
}

static void
set_one(struct vcpu *vcpu, const struct opt *o)
{
	uint64_t value = 0;

	if (o->op_arg != NULL)
		value = parse_number(o->op_arg, name_of(o));
	switch (o->op_kind) {
	case SET_REG:
		check_call(vm_set_register(vcpu, reg_names[o->op_index].rn_reg, value));
		break;
	case SET_DESC:
		set_desc(vcpu, desc_names[o->op_index].rn_reg);
		break;
	case SET_VMCS:
		need_kind(o, VMM_CPU_VTX);
		check_call(vm_set_field(vcpu, vmcs_fields[o->op_index].fn_field, value));
		break;
	case SET_VMCB:
		need_kind(o, VMM_CPU_SVM);
		check_call(vm_set_field(vcpu, vmcb_fields[o->op_index].fn_field, value));
		break;
	default:
		break;
	}
}

static int
capability(void)
{
	int cap;

	if (!action(CAPNAME)->op_given)
		usage_error("say which capability: --capname=NAME");
	cap = vm_capability_name2type(action(CAPNAME)->op_arg);
	if (cap < 0)
		usage_error("there is no capability '%s'", action(CAPNAME)->op_arg);
	return cap;
}

static void
do_sets(struct vmctx *ctx, struct vcpu *vcpu)
{
	uint64_t bytes;

	if (action(SET_MEM)->op_given) {
		if (vm_parse_memsize(action(SET_MEM)->op_arg, &bytes) != 0)
			usage_error("--set-mem: '%s' is not a size", action(SET_MEM)->op_arg);
		check_call(vm_setup_memory(ctx, bytes, VM_MMAP_NONE));
	}
	for (size_t i = ACTIONS; i < nopts; i++) {
		if (opts[i].op_given)
			set_one(vcpu, &opts[i]);
	}
	if (action(SETCAP)->op_given)
		check_call(vm_set_capability(vcpu, (enum vmm_cap)capability(),
					     parse_number(action(SETCAP)->op_arg, "--setcap")));
	if (action(INJECT_NMI)->op_given)
		check_call(vm_inject_nmi(vcpu));
}

/* ---- Showing --------------------------------------------------------------------------------- */

/* With --get-all a field or register that this CPU does not have is left out. */
static bool
absent(int error, bool all)
{
	if (all && (error == -EINVAL || error == -EOPNOTSUPP))
		return true;
	check_call(error);
	return false;
}

static void
get_desc(struct out *out, struct vcpu *vcpu, const struct reg_name *name)
{
	char key[32];
	uint64_t base;
	uint32_t limit, access;

	check_call(vm_get_desc(vcpu, name->rn_reg, &base, &limit, &access));
	snprintf(key, sizeof(key), "desc-%s", name->rn_name);
	out_put(out, key,
		json_pack("{s:o, s:o, s:o}", "base", json_hex(base), "limit", json_hex(limit),
			  "access", json_hex(access)),
		"%s desc[%d]\t\t0x%016" PRIx64 "/0x%08x/0x%08x\n", name->rn_name, vcpu_id(vcpu),
		base, limit, access);
}

static void
get_field(struct out *out, struct vcpu *vcpu, const char *prefix, const struct field_name *field,
	  bool all)
{
	char key[64];
	uint64_t value;

	if (absent(vm_get_field(vcpu, field->fn_field, &value), all))
		return;
	snprintf(key, sizeof(key), "%s%s", prefix, field->fn_name);
	out_cpu_hex(out, key, vcpu_id(vcpu), value);
}

static void
get_group(struct out *out, struct vcpu *vcpu, const char *prefix)
{
	for (size_t i = 0; i < vmcs_fields_count; i++) {
		if (strncmp(vmcs_fields[i].fn_name, prefix, strlen(prefix)) == 0)
			get_field(out, vcpu, "vmcs-", &vmcs_fields[i], false);
	}
}

static void
get_one(struct out *out, struct vcpu *vcpu, const struct opt *o, bool all)
{
	uint64_t value;

	switch (o->op_kind) {
	case GET_REG:
		if (!absent(vm_get_register(vcpu, reg_names[o->op_index].rn_reg, &value), all))
			out_cpu_hex(out, reg_names[o->op_index].rn_name, vcpu_id(vcpu), value);
		break;
	case GET_DESC:
		get_desc(out, vcpu, &desc_names[o->op_index]);
		break;
	case GET_VMCS:
		if (all && cpu_kind() != VMM_CPU_VTX)
			break;
		need_kind(o, VMM_CPU_VTX);
		get_field(out, vcpu, "vmcs-", &vmcs_fields[o->op_index], all);
		break;
	case GET_VMCS_GROUP:
		if (all)
			break;
		need_kind(o, VMM_CPU_VTX);
		get_group(out, vcpu, vmcs_groups[o->op_index].prefix);
		break;
	case GET_VMCB:
		if (all && cpu_kind() != VMM_CPU_SVM)
			break;
		need_kind(o, VMM_CPU_SVM);
		get_field(out, vcpu, "vmcb-", &vmcb_fields[o->op_index], all);
		break;
	default:
		break;
	}
}

static void
get_gpa_pmap(struct out *out, struct vmctx *ctx)
{
	const uint64_t gpa = parse_number(action(GET_GPA_PMAP)->op_arg, "--get-gpa-pmap");
	json_t *const list = json_array();
	uint64_t entries[5];
	unsigned int n;

	check_call(vm_get_gpa_pmap(ctx, gpa, entries, &n));
	if (out->ou_root == NULL)
		printf("gpa 0x%016" PRIx64 ":", gpa);
	for (unsigned int i = 0; i < n; i++) {
		json_array_append_new(list, json_hex(entries[i]));
		if (out->ou_root == NULL)
			printf(" 0x%016" PRIx64, entries[i]);
	}
	out_put(out, "gpa-pmap", list, "\n");
}

/* Sums the maps of system memory that begin below 4 GiB, or from there on. */
static void
get_mem(struct out *out, struct vmctx *ctx, const char *key, uint64_t from, uint64_t to)
{
	struct vmm_memmap map = {.gpa = from};
	uint64_t bytes = 0;

	while (vm_mmap_getnext(ctx, &map) == 0 && map.gpa < to) {
		char name[VMM_SEG_NAME_BYTES] = "";
		uint64_t len;

		if (map.ident >= 0 && vm_get_memseg(ctx, map.ident, &len, name) == 0 && !name[0])
			bytes += map.len_bytes;
		if (map.gpa + map.len_bytes < map.gpa)
			break;
		map = (struct vmm_memmap){.gpa = map.gpa + map.len_bytes};
	}
	out_put(out, key, json_integer((json_int_t)bytes), "%s\t\t0x%016" PRIx64 "/%" PRIu64 "\n",
		key, from, bytes);
}

static void
get_cpus(struct out *out, const char *key, uint64_t set)
{
	json_t *const list = json_array();
	const char *space = "";

	if (out->ou_root == NULL)
		printf("%s:\t", key);
	for (int i = 0; i < VMM_MAXCPU; i++) {
		if (!(set >> i & 1))
			continue;
		json_array_append_new(list, json_integer(i));
		if (out->ou_root == NULL)
			printf("%s%d", space, i);
		space = " ";
	}
	out_put(out, key, list, "\n");
}

static void
get_machine(struct out *out, struct vmctx *ctx, bool all)
{
	struct vmm_accounts accounts;
	struct vmm_cpus cpus;

	check_call(vm_get_cpus(ctx, &cpus));
	if (all || action(GET_EPTP)->op_given) {
		check_call(vm_get_accounts(ctx, &accounts));
		out_put(out, "eptp", json_hex(accounts.eptp), "eptp\t\t0x%016" PRIx64 "\n",
			(uint64_t)accounts.eptp);
	}
	if (all || action(GET_LOWMEM)->op_given)
		get_mem(out, ctx, "lowmem", 0, VM_HIGHMEM_BASE);
	if (all || action(GET_HIGHMEM)->op_given)
		get_mem(out, ctx, "highmem", VM_HIGHMEM_BASE, UINT64_MAX);
	if (all || action(GET_MEMMAP)->op_given)
		out_memory(out, ctx);
	if (all || action(GET_ACTIVE_CPUS)->op_given)
		get_cpus(out, "active cpus", cpus.active);
	if (all || action(GET_SUSPENDED_CPUS)->op_given)
		get_cpus(out, "suspended cpus", cpus.suspended);
	if (action(GET_GPA_PMAP)->op_given)
		get_gpa_pmap(out, ctx);
}

static void
get_vcpu(struct out *out, struct vcpu *vcpu, bool all)
{
	uint64_t exiting, pending, value;

	for (size_t i = ACTIONS; i < nopts; i++) {
		if (opts[i].op_given || all)
			get_one(out, vcpu, &opts[i], all && !opts[i].op_given);
	}
	if (action(GETCAP)->op_given) {
		check_call(vm_get_capability(vcpu, (enum vmm_cap)capability(), &value));
		out_put(out, action(CAPNAME)->op_arg, json_integer((json_int_t)value),
			"Capability \"%s\" is %s on vcpu %d\n", action(CAPNAME)->op_arg,
			value ? "set" : "not set", vcpu_id(vcpu));
	}
	if (all || action(GET_INTINFO)->op_given) {
		check_call(vm_get_intinfo(vcpu, &exiting, &pending));
		out_cpu_hex(out, "exit-intinfo", vcpu_id(vcpu), exiting);
		out_cpu_hex(out, "event-intinfo", vcpu_id(vcpu), pending);
	}
}

static void
run_vcpu(struct out *out, struct vcpu *vcpu)
{
	struct vmm_exit exit;

	check_call(vm_run(vcpu, &exit));
	out_put(out, "exit",
		json_pack("{s:s, s:o, s:i}", "code", vm_exit_name(exit.code), "rip",
			  json_hex(exit.rip), "inst_bytes", (int)exit.inst_bytes),
		"exit %s at rip 0x%016" PRIx64 ", instruction of %u bytes\n",
		vm_exit_name(exit.code), (uint64_t)exit.rip, exit.inst_bytes);
}

/* ---- All of it ------------------------------------------------------------------------------- */

/* Whether anything that was asked for needs the vCPU to exist. */
static bool
wants_vcpu(void)
{
	static const enum action of_vcpu[] = {GETCAP,	   SETCAP,     GET_ALL,
					      GET_INTINFO, INJECT_NMI, RUN};

	for (size_t i = 0; i < ARRAY_SIZE(of_vcpu); i++) {
		if (action(of_vcpu[i])->op_given)
			return true;
	}
	for (size_t i = ACTIONS; i < nopts; i++) {
		if (opts[i].op_given)
			return true;
	}
	return false;
}

int
legacy_main(struct out *out, int argc, char **argv)
{
	struct vmctx *ctx;
	struct vcpu *vcpu;
	const char *name;
	int cpu = 0;
	bool all;

	build_options();
	parse(argc, argv);
	name = action(VM)->op_arg;
	if (action(CPU)->op_given)
		cpu = parse_cpu(action(CPU)->op_arg);
	all = action(GET_ALL)->op_given;
	if (action(CREATE)->op_given)
		check_call(vm_create(name));
	ctx = open_machine(name);
	vcpu = open_vcpu(ctx, cpu);
	do_sets(ctx, vcpu);
	if (wants_vcpu())
		get_vcpu(out, vcpu, all);
	get_machine(out, ctx, all);
	if (action(GET_STATS)->op_given) {
		struct vmm_cpus cpus;

		check_call(vm_get_cpus(ctx, &cpus));
		if (cpus.active >> vcpu_id(vcpu) & 1)
			out_stats(out, ctx, vcpu_id(vcpu));
		out_stats(out, ctx, -1);
	}
	if (action(RUN)->op_given)
		run_vcpu(out, vcpu);
	if (action(FORCE_RESET)->op_given)
		check_call(vm_suspend(ctx, VMM_SUSPEND_RESET));
	if (action(FORCE_POWEROFF)->op_given)
		check_call(vm_suspend(ctx, VMM_SUSPEND_POWEROFF));
	if (action(DESTROY)->op_given)
		check_call(vm_destroy(ctx));
	else
		vm_close(ctx);
	return EX_OK;
}
