/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Options are bhyve's where it has them (FreeBSD, bhyve(8)), and long ones for direct boot. Each
 * only sets variables; values are checked where they are used, so that -o and -k say the same.
 */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvmm/libvmm.h"
#include "lpc.h"
#include "options.h"
#include "pci.h"

enum {
	OPT_KERNEL = 256,
	OPT_INITRD,
	OPT_APPEND,
	OPT_VERSION,
};
static const struct option longs[] = {
	{"kernel", required_argument, NULL, OPT_KERNEL},
	{"initrd", required_argument, NULL, OPT_INITRD},
	{"append", required_argument, NULL, OPT_APPEND},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

/* Those that set a variable to their value, or to a fixed one. */
static const struct {
	int option;
	const char *name;
	const char *value; /* NULL: what follows */
} plain[] = {
	{'m', "memory.size", NULL},
	{'U', "uuid", NULL},
	{'G', "gdb.port", NULL},
	{OPT_KERNEL, "kernel", NULL},
	{OPT_INITRD, "initrd", NULL},
	{OPT_APPEND, "cmdline", NULL},
	{'S', "memory.wired", "true"},
	{'w', "x86.strictmsr", "false"},
	{'e', "x86.strictio", "true"},
	{'H', "x86.vmexit_on_hlt", "true"},
	{'P', "x86.vmexit_on_pause", "true"},
	{'A', "acpi_tables", "true"},
	{'u', "rtc.use_localtime", "false"},
	{'W', "virtio_msix", "false"},
	{'x', "x86.x2apic", "true"},
};

static void
help(void)
{
	fputs("usage: bhyve [OPTION...] NAME\n"
	      "Runs a guest in a machine of that name, until it is switched off.\n"
	      "  --kernel FILE   a Linux bzImage, an ELF file with a PVH note, or Multiboot 1\n"
	      "  --initrd FILE   its initial file system, or its one module\n"
	      "  --append TEXT   its command line\n"
	      "  -c [cpus=]N     vCPUs (1); also sockets=, cores=, threads=\n"
	      "  -m SIZE         memory (256M)\n"
	      "  -s SLOT,DEVICE[,CONF]   a PCI device; -s help lists them\n"
	      "  -l DEVICE,CONF  a device at its fixed place; -l help lists them\n"
	      "  -S              memory stays in RAM\n"
	      "  -A              ACPI tables (always there)\n"
	      "  -H, -P          exits at HLT (the module waits anyway) and at PAUSE\n"
	      "  -w              unknown model-specific registers read 0, and are no fault\n"
	      "  -e              unknown ports end the machine\n"
	      "  -u              the guest's clock has UTC, not local time\n"
	      "  -W              devices without MSI-X\n"
	      "  -x              the local APIC is offered as x2APIC, too (always)\n"
	      "  -p VCPU:CPU     pin a vCPU to a host's CPU\n"
	      "  -U UUID         the machine's identity, for the guest to read (SMBIOS)\n"
	      "  -G [w][ADDRESS:]PORT   serves gdb there; w waits for it\n"
	      "  -k FILE         a configuration: lines of VARIABLE=VALUE\n"
	      "  -o VAR=VALUE    a variable; -o config.dump=1 shows all, and ends\n"
	      "Exit status: 0 reboot, 1 power-off, 2 halt, 3 triple fault, 4 error;\n"
	      "or the byte that the guest wrote to a debugexit port.\n",
	      stdout);
}

static int
wrong(struct config *config, const char *format, const char *text)
{
	snprintf(config->cn_why, sizeof(config->cn_why), format, text);
	return -1;
}

/* "slot,emulation[,conf]": a variable by the slot. */
static int
parse_slot(struct config *config, const char *text)
{
	const char *const comma = strchr(text, ',');
	char name[48];

	if (comma == NULL || comma == text || comma - text > 20)
		return wrong(config, "-s %s: it is slot,device[,configuration]; -s help lists them",
			     text);
	snprintf(name, sizeof(name), "pci.%.*s", (int)(comma - text), text);
	if (config_get(config, name) != NULL)
		return wrong(config, "-s %s: the slot is used already", text);
	return config_set(config, name, comma + 1);
}

/* "[cpus=]n[,sockets=n][,cores=n][,threads=n]" */
static int
parse_cpus(struct config *config, const char *text)
{
	char *const copy = strdup(text);
	char *save, *word;
	int error = 0;

	if (copy == NULL)
		return wrong(config, "%s", "out of memory");
	for (word = strtok_r(copy, ",", &save); word != NULL && error == 0;
	     word = strtok_r(NULL, ",", &save)) {
		if (strchr(word, '=') == NULL)
			error = config_set(config, "cpus", word);
		else if (strncmp(word, "cpus=", 5) == 0 || strncmp(word, "sockets=", 8) == 0 ||
			 strncmp(word, "cores=", 6) == 0 || strncmp(word, "threads=", 8) == 0)
			error = config_set_pair(config, word);
		else
			error = wrong(config, "-c: unknown word '%s'", word);
	}
	free(copy);
	return error;
}

static int
parse_pin(struct config *config, const char *text)
{
	const char *const colon = strchr(text, ':');
	char name[40];

	if (colon == NULL || colon == text || colon - text > 4 || colon[1] == '\0')
		return wrong(config, "-p %s: it is vcpu:hostcpu", text);
	snprintf(name, sizeof(name), "vcpu.%.*s.cpuset", (int)(colon - text), text);
	return config_set(config, name, colon + 1);
}

static int
parse_one(struct config *config, int option, const char *value)
{
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (plain[i].option == option)
			return config_set(config, plain[i].name,
					  plain[i].value ? plain[i].value : value);
	}
	switch (option) {
	case 'c':
		return parse_cpus(config, value);
	case 's':
		if (strcmp(value, "help") == 0) {
			pci_help(stdout);
			return 1;
		}
		return parse_slot(config, value);
	case 'l':
		if (strcmp(value, "help") == 0) {
			lpc_help(stdout);
			return 1;
		}
		return lpc_parse(config, value);
	case 'p':
		return parse_pin(config, value);
	case 'o':
		return config_set_pair(config, value);
	case 'k':
		return config_read(config, value);
	case OPT_VERSION:
		printf("bhyve (skep) %s, ABI %d\n", BHYVE_VERSION_TEXT, VMM_ABI_VERSION);
		return 1;
	default: /* h */
		help();
		return 1;
	}
}

/* Variables that mean something; those that end with a dot have more behind it. A typing mistake
 * would be without effect, and nobody would hear of it. */
static int
check_names(struct config *config)
{
	static const char *const others[] = {
		"name",		 "cpus",	  "sockets",	   "cores",	    "threads",
		"memory.limit",	 "bootrom",	  "config.dump",   "vcpu.",	    "lpc.debugexit",
		"lpc.com1.path", "lpc.com2.path", "lpc.com3.path", "lpc.com4.path", "pci."};

	for (const char *name = NULL; (name = config_next(config, "", name)) != NULL;) {
		bool known = false;

		for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
			known = known || strcmp(name, plain[i].name) == 0;
		for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
			const size_t n = strlen(others[i]);

			known = known || (others[i][n - 1] == '.' ? strncmp(name, others[i], n)
								  : strcmp(name, others[i])) == 0;
		}
		if (!known)
			return wrong(config, "there is no variable '%.64s'", name);
	}
	return 0;
}

/* What no PC is without: a bridge to make a bus of it, and one to what -l adds. */
static int
add_bridges(struct config *config)
{
	static const char *const firsts[] = {"pci.0", "pci.0:0", "pci.0:0:0"};
	static const char *const lasts[] = {"pci.31", "pci.31:0", "pci.0:31:0"};
	bool first = false, last = false;

	for (unsigned int i = 0; i < 3; i++) {
		first = first || config_get(config, firsts[i]) != NULL;
		last = last || config_get(config, lasts[i]) != NULL;
	}
	if (!first && config_set(config, firsts[0], "hostbridge"))
		return -1;
	return !last && config_set(config, lasts[0], "lpc") ? -1 : 0;
}

int
options_parse(struct config *config, int argc, char **argv, const char **name)
{
	int option, result;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":c:m:s:l:AHPSwWuxek:o:U:p:G:h", longs, NULL)) !=
	       -1) {
		char text[64];

		snprintf(text, sizeof(text), "%s", argv[optind - 1]);
		if (option == '?')
			return wrong(config, "unknown option '%s'; try: bhyve --help", text);
		if (option == ':')
			return wrong(config, "'%s' needs a value; try: bhyve --help", text);
		result = parse_one(config, option, optarg);
		if (result)
			return result > 0 ? 1 : -1;
	}
	*name = optind < argc ? argv[optind] : config_get(config, "name");
	if (argc - optind > 1)
		return wrong(config, "one machine at a time: what is '%s'?", argv[optind + 1]);
	if (check_names(config) || add_bridges(config))
		return -1;
	if (config_get(config, "config.dump") != NULL) {
		config_dump(config, stdout);
		return 1;
	}
	if (*name == NULL)
		return wrong(config, "%s", "which name shall the machine have? Try: bhyve --help");
	if (config_get(config, "kernel") == NULL && config_get(config, "bootrom") == NULL)
		return wrong(config, "%s",
			     "nothing to run: give --kernel FILE, or -l bootrom,FILE");
	if (config_get(config, "kernel") != NULL && config_get(config, "bootrom") != NULL)
		return wrong(config, "%s", "both a kernel and a boot ROM: which one?");
	return 0;
}

static int
number(struct config *config, const char *name, unsigned long fallback)
{
	const char *const text = config_get(config, name);
	char *end;
	unsigned long value;

	if (text == NULL)
		return (int)fallback;
	value = strtoul(text, &end, 10);
	if (end == text || *end != '\0' || value == 0 || value > VMM_MAXCPU) {
		snprintf(config->cn_why, sizeof(config->cn_why), "-c: %s is '%s', not 1 to %d",
			 name, text, VMM_MAXCPU);
		return -1;
	}
	return (int)value;
}

int
options_cpus(struct config *config)
{
	const int sockets = number(config, "sockets", 1), cores = number(config, "cores", 1);
	const int threads = number(config, "threads", 1);
	const bool topology = config_get(config, "sockets") || config_get(config, "cores") ||
			      config_get(config, "threads");
	int cpus;

	if (sockets < 0 || cores < 0 || threads < 0)
		return -1;
	cpus = number(config, "cpus", (unsigned long)(sockets * cores * threads));
	if (cpus > 0 && topology && cpus != sockets * cores * threads)
		return wrong(config, "%s", "-c: cpus is not sockets times cores times threads");
	return cpus > VMM_MAXCPU ? wrong(config, "%s", "-c: too many vCPUs") : cpus;
}
