/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * vmmctl: inspects and steers machines of vmm.ko. Two ways to say what: a verb, or bhyvectl's
 * options (any argument list that does not begin with a verb). Which errno becomes which exit code,
 * and how numbers are read, is decided here for both.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmmctl.h"

static const struct verb verbs[] = {
	{"list", "", "names of all machines", verb_list},
	{"show", "NAME", "memory, maps and vCPUs of a machine", verb_show},
	{"mem", "", "memory for guests: what is free, and in all", verb_mem},
	{"check", "NAME", "verify its page tables and accounts by a full walk", verb_check},
	{"dump-pt", "NAME [--svg FILE]", "its nested page tables, as text or a picture",
	 verb_dump_pt},
	{"stats", "NAME [--cpu N] [--watch[=SECONDS]]", "statistics, of it or of one vCPU",
	 verb_stats},
	{"dirty", "NAME [enable|disable|get|clear]", "its dirty log: pages that were written",
	 verb_dirty},
	{"screenshot", "NAME FILE", "what its framebuffer shows, as a PNG", verb_screenshot},
	{"create", "NAME", "make a machine", verb_create},
	{"destroy", "NAME", "end a machine", verb_destroy},
};

/* ---- Ends ------------------------------------------------------------------------------------ */

void
fail(int exitcode, const char *format, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("vmmctl: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(exitcode);
}

void
usage_error(const char *format, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	fail(EX_USAGE, "%s; try: vmmctl --help", text);
}

/* sysexits(3) for an errno of libvmm's. */
static int
exitcode_of(int error)
{
	switch (-error) {
	case ENOENT:
		return EX_NOINPUT;
	case EINVAL:
	case ERANGE:
	case ENAMETOOLONG:
		return EX_DATAERR;
	case ENODEV:
	case EPROTO:
	case EOPNOTSUPP:
		return EX_UNAVAILABLE;
	case EACCES:
	case EPERM:
		return EX_NOPERM;
	case EEXIST:
		return EX_CANTCREAT;
	case EBUSY:
	case EAGAIN:
	case EINTR:
		return EX_TEMPFAIL;
	case ENOMEM:
	case ENOSPC:
		return EX_OSERR;
	default:
		return EX_SOFTWARE;
	}
}

void
check_call(int error)
{
	if (error != 0)
		fail(exitcode_of(error), "%s", vmm_errmsg());
}

/* ---- What files share ------------------------------------------------------------------------ */

uint64_t
parse_number(const char *text, const char *what)
{
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (end == text || *end != '\0' || errno != 0 || strchr(text, '-') != NULL)
		usage_error("%s: '%s' is not a number", what, text);
	return value;
}

int
parse_cpu(const char *text)
{
	const uint64_t id = parse_number(text, "--cpu");

	if (id >= VMM_MAXCPU)
		usage_error("--cpu: '%s' is not within 0 to %d", text, VMM_MAXCPU - 1);
	return (int)id;
}

struct vmctx *
open_machine(const char *name)
{
	struct vmctx *const ctx = vm_open(name);

	if (ctx == NULL)
		check_call(-errno);
	return ctx;
}

struct vcpu *
open_vcpu(struct vmctx *ctx, int id)
{
	struct vcpu *const vcpu = vm_vcpu_open(ctx, id);

	if (vcpu == NULL)
		check_call(-errno);
	return vcpu;
}

enum vmm_cpu_kind
cpu_kind(void)
{
	struct vmm_version version;

	check_call(vmm_get_version(&version));
	return version.cpu_kind;
}

/* ---- Command line ---------------------------------------------------------------------------- */

static void
help(void)
{
	printf("usage: vmmctl [--json] VERB [ARGUMENT...]\n"
	       "       vmmctl [--json] --vm=NAME [--cpu=N] OPTION...\n\nVerbs:\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		printf("  %-8s %-36s %s\n", verbs[i].ve_name, verbs[i].ve_args, verbs[i].ve_help);
	legacy_help();
}

static void
list_verbs(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		printf("%s\n", verbs[i].ve_name);
}

static void
show_version(void)
{
	struct vmm_version version;

	printf("vmmctl %s, ABI %d\n", VMMCTL_VERSION_TEXT, VMM_ABI_VERSION);
	if (vmm_get_version(&version) == 0)
		printf("vmm.ko %.*s, ABI %u, %s\n", (int)sizeof(version.release), version.release,
		       version.abi, version.cpu_kind == VMM_CPU_VTX ? "VT-x" : "SVM");
}

static const struct verb *
find_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(verbs[i].ve_name, name) == 0)
			return &verbs[i];
	}
	return NULL;
}

/* --json may stand anywhere before "--"; it is taken out. */
static bool
take_json(int *argc, char **argv)
{
	bool json = false;
	int n = 0;

	for (int i = 0; i < *argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else
			argv[n++] = argv[i];
	}
	argv[n] = NULL;
	*argc = n;
	return json;
}

int
main(int argc, char **argv)
{
	const struct verb *verb;
	struct out out;
	int status;

	out.ou_root = take_json(&argc, argv) ? json_object() : NULL;
	if (argc < 2)
		usage_error("say what to do");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		help();
		return EX_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		show_version();
		return EX_OK;
	}
	if (strcmp(argv[1], "--list-verbs") == 0) { /* these two: for completion */
		list_verbs();
		return EX_OK;
	}
	if (strcmp(argv[1], "--list-options") == 0) {
		legacy_list();
		return EX_OK;
	}
	if (argv[1][0] == '-') {
		status = legacy_main(&out, argc, argv);
	} else {
		verb = find_verb(argv[1]);
		if (verb == NULL)
			usage_error("no such verb '%s'", argv[1]);
		status = verb->ve_run(&out, argc - 1, argv + 1);
	}
	out_end(&out);
	return status;
}
