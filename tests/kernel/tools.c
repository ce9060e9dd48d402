/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * vmmctl as people call it: what it shows is what the module says, what it sets is set, and what
 * goes wrong is a sentence and an exit code of sysexits(3).
 */

#define _GNU_SOURCE /* memmem */

#include "harness.h"

#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_BYTES 65536

static char output[OUTPUT_BYTES]; /* of the last call, stderr too */

/* Runs `vmmctl ARGS` -> its exit code. */
static int
vmmctl(const char *format, ...)
{
	char args[512], command[600];
	va_list ap;
	size_t n;
	FILE *f;
	int status;

	va_start(ap, format);
	vsnprintf(args, sizeof(args), format, ap);
	va_end(ap);
	snprintf(command, sizeof(command), "vmmctl %s 2>&1", args);
	f = popen(command, "r");
	KT_CHECK(f != NULL, "popen: %s", strerror(errno));
	n = fread(output, 1, sizeof(output) - 1, f);
	output[n] = '\0';
	status = pclose(f);
	KT_CHECK(WIFEXITED(status), "%s: ended by a signal", command);
	return WEXITSTATUS(status);
}

#define EXITS(code, ...)                                                                        \
	do {                                                                                    \
		int exits_ = vmmctl(__VA_ARGS__);                                               \
		KT_CHECK(exits_ == (code), "exit code %d, not %d: %s", exits_, (code), output); \
	} while (0)

/* The number behind "KEY" at the beginning of a line. */
static uint64_t
shown(const char *key)
{
	const size_t n = strlen(key);

	for (const char *line = output; *line != '\0';) {
		if (strncmp(line, key, n) == 0 && strchr("[: \t", line[n]) != NULL) {
			const char *number = line + n + strcspn(line + n, "\t:");

			return strtoull(number + strspn(number, "\t: "), NULL, 0);
		}
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	KT_FAIL("no line '%s' in: %.200s", key, output);
}

static bool
says(const char *text)
{
	return strstr(output, text) != NULL;
}

/* ---- Registers ------------------------------------------------------------------------------- */

/* A second list: what vmmctl has is compared with it. Values a fresh long-mode vCPU may hold. */
static const struct {
	const char *name;
	enum vmm_reg reg;
	uint64_t value; /* to be set */
} regs[] = {
	{"rax", VMM_REG_RAX, 0x1001},
	{"rbx", VMM_REG_RBX, 0x8000000000001002},
	{"rcx", VMM_REG_RCX, 0x1003},
	{"rdx", VMM_REG_RDX, 0x1004},
	{"rsi", VMM_REG_RSI, 0x1005},
	{"rdi", VMM_REG_RDI, 0x1006},
	{"rbp", VMM_REG_RBP, 0x1007},
	{"r8", VMM_REG_R8, 0x1008},
	{"r9", VMM_REG_R9, 0x1009},
	{"r10", VMM_REG_R10, 0x100a},
	{"r11", VMM_REG_R11, 0x100b},
	{"r12", VMM_REG_R12, 0x100c},
	{"r13", VMM_REG_R13, 0x100d},
	{"r14", VMM_REG_R14, 0x100e},
	{"r15", VMM_REG_R15, 0x100f},
	{"rsp", VMM_REG_RSP, 0x7ff0},
	{"rip", VMM_REG_RIP, 0x12345},
	{"rflags", VMM_REG_RFLAGS, 0x202},
	{"cr0", VMM_REG_CR0, 0x80050033},
	{"cr2", VMM_REG_CR2, 0xabc000},
	{"cr3", VMM_REG_CR3, 0x5000},
	{"cr4", VMM_REG_CR4, 0x6a0},
	{"cr8", VMM_REG_CR8, 7},
	{"efer", VMM_REG_EFER, 0xd01},
	{"dr0", VMM_REG_DR0, 0x100000},
	{"dr1", VMM_REG_DR1, 0x110000},
	{"dr2", VMM_REG_DR2, 0x120000},
	{"dr3", VMM_REG_DR3, 0x130000},
	{"dr6", VMM_REG_DR6, 0xffff0ff1},
	{"dr7", VMM_REG_DR7, 0x50400},
	{"es", VMM_REG_ES, 0x10},
	{"cs", VMM_REG_CS, 0x8},
	{"ss", VMM_REG_SS, 0x10},
	{"ds", VMM_REG_DS, 0x18},
	{"fs", VMM_REG_FS, 0x20},
	{"gs", VMM_REG_GS, 0x28},
	{"ldtr", VMM_REG_LDTR, 0x30},
	{"tr", VMM_REG_TR, 0x38},
	{"star", VMM_REG_STAR, 0x0013000800000000},
	{"lstar", VMM_REG_LSTAR, 0x400000},
	{"cstar", VMM_REG_CSTAR, 0x410000},
	{"sfmask", VMM_REG_SFMASK, 0x700},
	{"kgsbase", VMM_REG_KGS_BASE, 0x420000},
	{"sysenter-cs", VMM_REG_SYSENTER_CS, 0x8},
	{"sysenter-esp", VMM_REG_SYSENTER_ESP, 0x430000},
	{"sysenter-eip", VMM_REG_SYSENTER_EIP, 0x440000},
	{"pat", VMM_REG_PAT, 0x0007010600070106},
};

static void
registers(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct kt_cpu *const cpu = &vm->cpus[0];

	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++) {
		EXITS(0, "--vm=%s --set-%s=%#llx", vm->name, regs[i].name,
		      (unsigned long long)regs[i].value);
		KT_CHECK(kt_reg(cpu, regs[i].reg) == regs[i].value, "--set-%s: %#llx, not %#llx",
			 regs[i].name, (unsigned long long)kt_reg(cpu, regs[i].reg),
			 (unsigned long long)regs[i].value);
		EXITS(0, "--vm=%s --get-%s", vm->name, regs[i].name);
		KT_CHECK(shown(regs[i].name) == regs[i].value, "--get-%s: %s", regs[i].name,
			 output);
	}
	EXITS(0, "--vm=%s --get-all", vm->name);
	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++)
		KT_CHECK(shown(regs[i].name) == regs[i].value, "--get-all: %s is %#llx",
			 regs[i].name, (unsigned long long)shown(regs[i].name));
	kt_finish(vm);
}

static void
descriptors(void)
{
	static const struct {
		const char *name;
		enum vmm_reg reg;
		uint32_t access;
	} descs[] = {
		{"es", VMM_REG_ES, 0xc093},	{"cs", VMM_REG_CS, 0xa09b},
		{"ss", VMM_REG_SS, 0xc093},	{"ds", VMM_REG_DS, 0xc093},
		{"fs", VMM_REG_FS, 0xc093},	{"gs", VMM_REG_GS, 0xc093},
		{"ldtr", VMM_REG_LDTR, 0x0082}, {"tr", VMM_REG_TR, 0x008b},
		{"gdtr", VMM_REG_GDTR, 0},	{"idtr", VMM_REG_IDTR, 0},
	};
	struct kt_vm *const vm = kt_boot(1, 0);

	for (size_t i = 0; i < sizeof(descs) / sizeof(descs[0]); i++) {
		const uint64_t base = descs[i].reg == VMM_REG_CS ? 0 : 0x10000 * (i + 1);
		const uint32_t limit = descs[i].access & 0x8000 ? 0xffffffff : 0x67 + (uint32_t)i;
		struct vmm_desc desc;
		char line[96];

		EXITS(0,
		      "--vm=%s --set-desc-%s --desc-base=%#llx --desc-limit=%#x --desc-access=%#x",
		      vm->name, descs[i].name, (unsigned long long)base, limit, descs[i].access);
		KT_OK(kt_get_desc(&vm->cpus[0], descs[i].reg, &desc));
		KT_EQ(desc.base, base);
		KT_EQ(desc.limit, limit);
		KT_EQ(desc.access, descs[i].access);
		snprintf(line, sizeof(line), "%s desc[0]\t\t0x%016llx/0x%08x/0x%08x\n",
			 descs[i].name, (unsigned long long)base, limit, descs[i].access);
		EXITS(0, "--vm=%s --get-desc-%s", vm->name, descs[i].name);
		KT_CHECK(strcmp(output, line) == 0, "'%s', not '%s'", output, line);
	}
	kt_finish(vm);
}

static void
fields(void)
{
	const bool vtx = kt_platform()->kind == VMM_CPU_VTX;
	const char *const mine = vtx ? "vmcs" : "vmcb", *const other = vtx ? "vmcb" : "vmcs";
	struct kt_vm *const vm = kt_boot(1, 0);
	const struct vmm_accounts accounts = kt_accounts(vm);
	const char *const bitmap_name = vtx ? "vmcs-exception-bitmap" : "vmcb-exception-bitmap";
	uint64_t bitmap;

	KT_EQ(kt_call(&vm->cpus[0], GUEST_NOP, 0, 0, 0, 0), GUEST_NOP_RESULT);
	EXITS(0, "--vm=%s --get-%s", vm->name, vtx ? "vmcs-eptp" : "vmcb-np-cr3");
	KT_EQ(shown(vtx ? "vmcs-eptp" : "vmcb-np-cr3"), accounts.eptp);
	EXITS(0, "--vm=%s --get-eptp", vm->name);
	KT_EQ(shown("eptp"), accounts.eptp);
	/* The module needs some bits for itself: those that are set stay, one more comes. */
	EXITS(0, "--vm=%s --get-%s-exception-bitmap", vm->name, mine);
	bitmap = shown(bitmap_name);
	KT_TRUE(!(bitmap & 1 << 6));
	EXITS(0, "--vm=%s --set-%s-exception-bitmap=%#llx", vm->name, mine,
	      (unsigned long long)bitmap | 1 << 6);
	EXITS(0, "--vm=%s --get-%s-exception-bitmap", vm->name, mine);
	KT_EQ(shown(bitmap_name), bitmap | 1 << 6);
	EXITS(69, "--vm=%s --get-%s-exception-bitmap", vm->name, other);
	EXITS(64, "--vm=%s --set-%s-interruptibility=1", vm->name, mine);
	EXITS(0, "--vm=%s --get-all", vm->name);
	KT_TRUE(!says(other));
	KT_EQ(shown(vtx ? "vmcs-eptp" : "vmcb-np-cr3"), accounts.eptp);
	kt_finish(vm);
}

static void
capabilities(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);

	EXITS(0, "--vm=%s --capname=hlt_exit --getcap", vm->name);
	KT_TRUE(says("is set on vcpu 0"));
	EXITS(0, "--vm=%s --capname=hlt_exit --setcap=0 --getcap", vm->name);
	KT_TRUE(says("is not set on vcpu 0"));
	EXITS(64, "--vm=%s --capname=none --getcap", vm->name);
	EXITS(64, "--vm=%s --getcap", vm->name);
	kt_finish(vm);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static void
memory(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct vmm_gpa_pmap pmap = {.gpa = KT_MEM};
	char text[64];

	EXITS(0, "mem");
	KT_TRUE(strncmp(output, "hw.vmm.mem_free: ", 17) == 0);
	KT_EQ(shown("hw.vmm.mem_total"), kt_sysctl("mem_total"));
	KT_TRUE(shown("hw.vmm.mem_free") <= kt_sysctl("mem_total"));

	kt_memory(vm, 4 * MIB);
	kt_call(&vm->cpus[0], GUEST_WRITE, KT_MEM, 0x5a, 0, 0);
	KT_OK(kt_ioctl(vm->fd, VMM_GET_GPA_PMAP, &pmap));
	EXITS(0, "--vm=%s --get-gpa-pmap=%#llx", vm->name, (unsigned long long)KT_MEM);
	snprintf(text, sizeof(text), " 0x%016llx\n", (unsigned long long)pmap.entries[pmap.n - 1]);
	KT_CHECK(says(text), "not '%s' but '%s'", text, output);
	EXITS(0, "--vm=%s --get-memmap", vm->name);
	KT_CHECK(says("map 0x0000000001000000-0x0000000001400000 rwx segment 1"), "%s", output);
	EXITS(0, "show %s", vm->name);
	KT_EQ(shown("resident_kib") * KIB, kt_accounts(vm).resident * PAGE);
	EXITS(0, "check %s", vm->name);
	KT_TRUE(says("sound"));
	kt_finish(vm);
}

static void
dirty(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);

	kt_memory(vm, 4 * MIB);
	EXITS(66, "dirty %s get", vm->name);
	EXITS(0, "dirty %s enable", vm->name);
	EXITS(75, "dirty %s enable", vm->name);
	EXITS(0, "dirty %s clear", vm->name);
	kt_call(&vm->cpus[0], GUEST_WRITE, KT_MEM + 5 * PAGE, 1, 0, 0);
	EXITS(0, "dirty %s get", vm->name);
	KT_CHECK(says("0x0000000001005000-0x0000000001006000 1 pages"), "%s", output);
	EXITS(0, "dirty %s clear", vm->name);
	KT_TRUE(says("0x0000000001005000-0x0000000001006000 1 pages"));
	EXITS(0, "dirty %s get", vm->name);
	KT_TRUE(!says("0x0000000001005000-"));
	EXITS(0, "dirty %s disable", vm->name);
	EXITS(64, "dirty %s nonsense", vm->name);
	kt_finish(vm);
}

static void
tables(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);
	struct stat st;

	kt_memory(vm, 4 * MIB);
	kt_call(&vm->cpus[0], GUEST_WRITE, KT_MEM, 1, 0, 0);
	EXITS(0, "dump-pt %s", vm->name);
	KT_CHECK(says("table") && says("0x1000000 -> "), "%s", output);
	EXITS(0, "dump-pt %s --svg pt.svg", vm->name);
	KT_TRUE(stat("pt.svg", &st) == 0 && st.st_size > 500);
	EXITS(73, "dump-pt %s --svg /nowhere/pt.svg", vm->name);
	EXITS(0, "--json dump-pt %s", vm->name);
	KT_TRUE(output[0] == '{' && says("\"lines\""));
	unlink("pt.svg");
	kt_finish(vm);
}

static void
statistics(void)
{
	struct kt_vm *const vm = kt_boot(1, 0);

	EXITS(0, "stats %s --cpu 0", vm->name);
	KT_EQ(shown("total number of vm exits"), 0);
	kt_call(&vm->cpus[0], GUEST_NOP, 0, 0, 0, 0);
	EXITS(0, "stats %s --cpu 0", vm->name);
	KT_TRUE(shown("total number of vm exits") >= 1);
	EXITS(0, "--vm=%s --get-stats", vm->name);
	KT_TRUE(says("total number of vm exits") && says("Resident memory"));
	EXITS(66, "stats %s --cpu 1", vm->name);
	EXITS(64, "stats %s --watch=never", vm->name);
	kt_finish(vm);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void
life(void)
{
	EXITS(0, "create tools-a");
	EXITS(73, "create tools-a");
	EXITS(0, "--vm=tools-b --create --set-mem=8");
	EXITS(0, "list");
	KT_TRUE(says("tools-a\n") && says("tools-b\n"));
	EXITS(0, "--json list");
	KT_TRUE(output[0] == '{' && says("\"tools-a\""));
	EXITS(0, "--vm=tools-b --get-lowmem --get-highmem");
	KT_CHECK(says("lowmem\t\t0x0000000000000000/8388608") &&
			 says("highmem\t\t0x0000000100000000/0"),
		 "%s", output);
	EXITS(0, "--vm=tools-b --force-poweroff --destroy");
	EXITS(0, "destroy tools-a");
	EXITS(66, "destroy tools-a");
	EXITS(0, "list");
	KT_TRUE(!says("tools-"));
}

static void
mistakes(void)
{
	EXITS(64, " ");
	EXITS(64, "nonsense");
	EXITS(64, "--get-rip");
	EXITS(64, "--vm=x --no-such-option");
	EXITS(64, "--vm=x --cpu=y --get-rip");
	EXITS(64, "show");
	EXITS(66, "show nobody");
	EXITS(66, "--vm=nobody --get-rip");
	EXITS(65, "create ../x");
	EXITS(65, "create %s",
	      "x123456789012345678901234567890123456789012345678901234567890123456");
	KT_TRUE(strncmp(output, "vmmctl: ", 8) == 0);
	EXITS(0, "--help");
	EXITS(0, "--version");
	KT_TRUE(says("ABI"));
}

static const struct kt_case cases[] = {
	{"vmmctl_registers", registers, 240},
	{"vmmctl_descriptors", descriptors, 0},
	{"vmmctl_fields", fields, 0},
	{"vmmctl_capabilities", capabilities, 0},
	{"vmmctl_memory", memory, 0},
	{"vmmctl_dirty", dirty, 0},
	{"vmmctl_tables", tables, 0},
	{"vmmctl_stats", statistics, 0},
	{"vmmctl_life", life, 0},
	{"vmmctl_mistakes", mistakes, 0},
};
KT_MAIN(cases)
