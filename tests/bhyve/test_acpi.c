/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The tables, as a guest walks them: from the RSDP to each, by addresses, signatures, lengths and
 * checksums. Whether the DSDT is sound is asked of iasl, where it is installed: it disassembles it,
 * and what it reads is compared with what the machine has.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acpi.h"
#include "aml.h"
#include "smbios.h"

#define MEM_BYTES 0x100000

static uint8_t *mem;
static const struct acpi_cfg pc = {
	.ac_ncpus = 3,
	.ac_mem32_base = 0xc0000000,
	.ac_mem32_end = 0xe0000000,
	.ac_mem64_base = 0x140000000,
	.ac_mem64_end = 0x540000000,
	.ac_com = {true, false, true, false},
};

static void *
ptr(void *arg, uint64_t gpa, uint64_t len)
{
	const uint64_t bytes = *(uint64_t *)arg;

	return gpa <= bytes && len <= bytes - gpa ? mem + gpa : NULL;
}

static uint64_t mem_bytes = MEM_BYTES;
static const struct dma dma = {.dma_ptr = ptr, .dma_arg = &mem_bytes};

static void
begin(void)
{
	mem_bytes = MEM_BYTES;
	mem = malloc(MEM_BYTES);
	memset(mem, 0xcc, MEM_BYTES);
}

static void
end(void)
{
	free(mem);
}

TestSuite(acpi, .init = begin, .fini = end);

static uint64_t
get(const uint8_t *at, unsigned int n)
{
	uint64_t value = 0;

	memcpy(&value, at, n);
	return value;
}

static void
sums_to_zero(const uint8_t *at, size_t n)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + at[i]);
	cr_assert_eq(sum, 0, "%.4s", (const char *)at);
}

/* A table with a header, at gpa. */
static uint8_t *
table_at(uint64_t gpa, const char *signature)
{
	uint8_t *const table = mem + gpa;

	cr_assert(gpa >= 0xf0000 && gpa < MEM_BYTES);
	cr_assert(memcmp(table, signature, 4) == 0, "%.4s, not %s", (char *)table, signature);
	cr_assert_leq(get(table + 4, 4), MEM_BYTES - gpa);
	sums_to_zero(table, get(table + 4, 4));
	return table;
}

static uint8_t *
table(unsigned int i, const char *signature)
{
	uint64_t rsdp = 0;
	uint8_t *xsdt;

	cr_assert_eq(acpi_build(&pc, &dma, &rsdp), 0);
	cr_assert_eq(rsdp % 16, 0);
	cr_assert(memcmp(mem + rsdp, "RSD PTR ", 8) == 0);
	cr_assert_eq(mem[rsdp + 15], 2);
	cr_assert_eq(get(mem + rsdp + 20, 4), 36);
	sums_to_zero(mem + rsdp, 20);
	sums_to_zero(mem + rsdp, 36);
	xsdt = table_at(get(mem + rsdp + 24, 8), "XSDT");
	cr_assert_eq(get(xsdt + 4, 4), 36 + 3 * 8);
	return table_at(get(xsdt + 36 + 8 * i, 8), signature);
}

Test(acpi, fadt_has_what_the_machine_serves)
{
	uint8_t *const fadt = table(0, "FACP");

	cr_assert_eq(get(fadt + 4, 4), 268);
	cr_assert_eq(get(fadt + 46, 2), 9);
	cr_assert_eq(get(fadt + 48, 4), 0, "always in ACPI mode");
	cr_assert_eq(get(fadt + 56, 4), 0x400);
	cr_assert_eq(get(fadt + 64, 4), 0x404);
	cr_assert_eq(get(fadt + 76, 4), 0x408);
	cr_assert_eq(get(fadt + 112, 4) & 1 << 8, 1 << 8, "the timer has 32 bits");
	cr_assert_eq(get(fadt + 112, 4) & 1 << 4, 0, "the power button is a fixed one");
	cr_assert_eq(get(fadt + 120, 8), 0xcf9);
	cr_assert_eq(fadt[128], 6);
	cr_assert_eq(get(fadt + 40, 4), get(fadt + 140, 8));
	cr_assert_eq(get(fadt + 36, 4), get(fadt + 132, 8));
	cr_assert_eq(get(fadt + 152, 8), 0x400);
	table_at(get(fadt + 140, 8), "DSDT");
	cr_assert_eq(get(fadt + 132, 8) % 64, 0);
	cr_assert(memcmp(mem + get(fadt + 132, 8), "FACS\x40\0\0\0", 8) == 0);
}

Test(acpi, madt_has_every_cpu)
{
	uint8_t *const madt = table(1, "APIC");
	const uint8_t *at = madt + 44, *const last = madt + get(madt + 4, 4);
	unsigned int cpus = 0, ioapics = 0, overrides = 0;

	cr_assert_eq(get(madt + 36, 4), 0xfee00000);
	for (; at < last; at += at[1]) {
		cr_assert_geq(at[1], 2);
		switch (at[0]) {
		case 0:
			cr_assert_eq(at[3], cpus);
			cr_assert_eq(get(at + 4, 4), 1);
			cpus++;
			break;
		case 1:
			cr_assert_eq(get(at + 4, 4), 0xfec00000);
			cr_assert_eq(get(at + 8, 4), 0);
			ioapics++;
			break;
		case 2:
			cr_assert_eq(get(at + 4, 4), at[3] == 0 ? 2 : 9);
			overrides++;
			break;
		default:
			break;
		}
	}
	cr_assert_eq(at, last);
	cr_assert_eq(cpus, 3);
	cr_assert_eq(ioapics, 1);
	cr_assert_eq(overrides, 2);
}

Test(acpi, mcfg_has_the_window)
{
	uint8_t *const mcfg = table(2, "MCFG");

	cr_assert_eq(get(mcfg + 44, 8), 0xe0000000);
	cr_assert_eq(mcfg[54], 0);
	cr_assert_eq(mcfg[55], 0, "guests would look for devices on every bus");
}

Test(acpi, what_cannot_be_is_refused)
{
	struct acpi_cfg cfg = pc;
	uint64_t rsdp = 7;

	cfg.ac_ncpus = 0;
	cr_assert_eq(acpi_build(&cfg, &dma, &rsdp), -EINVAL);
	cfg.ac_ncpus = 256;
	cr_assert_eq(acpi_build(&cfg, &dma, &rsdp), -EINVAL);
	mem_bytes = ACPI_TABLES_GPA + ACPI_TABLES_BYTES - 1;
	cr_assert_eq(acpi_build(&pc, &dma, &rsdp), -EFAULT);
	cr_assert_eq(rsdp, 7);
	for (unsigned int i = 0; i < MEM_BYTES; i++)
		cr_assert_eq(mem[i], 0xcc);
	mem_bytes = MEM_BYTES;
	cfg.ac_ncpus = 255;
	cr_assert_eq(acpi_build(&cfg, &dma, &rsdp), 0);
}

Test(acpi, a_full_buffer_is_remembered)
{
	uint8_t bytes[8];
	struct aml aml = {.am_bytes = bytes, .am_room = sizeof(bytes)};
	const size_t package = aml_package(&aml, 1);

	aml_integer(&aml, 0x123456789);
	cr_assert(aml.am_full);
	aml_integer(&aml, 0);
	aml_close(&aml, package);
	cr_assert_leq(aml.am_used, sizeof(bytes));
}

static void
has(const char *text, const char *what)
{
	cr_assert(strstr(text, what) != NULL, "not in the disassembly: %s", what);
}

Test(acpi, the_dsdt_can_be_disassembled)
{
	char path[] = "test-acpi-XXXXXX", command[200], *text;
	uint8_t *const fadt = table(0, "FACP");
	const uint8_t *const dsdt = mem + get(fadt + 140, 8);
	const int fd = mkstemp(path);
	FILE *in;
	size_t n;
	int status;

	cr_assert_neq(fd, -1);
	cr_assert_eq(write(fd, dsdt, get(dsdt + 4, 4)), (ssize_t)get(dsdt + 4, 4));
	close(fd);
	/* iasl says what it thinks of the table on stdout, the disassembly goes to a file. */
	snprintf(command, sizeof(command), "iasl -p %s -d %s >/dev/null 2>&1", path, path);
	status = system(command);
	unlink(path);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		cr_skip_test("iasl is not installed");
	cr_assert_eq(status, 0, "iasl cannot read it");
	snprintf(command, sizeof(command), "%s.dsl", path);
	in = fopen(command, "r");
	cr_assert_not_null(in);
	text = calloc(1, 1 << 20);
	n = fread(text, 1, (1 << 20) - 1, in);
	fclose(in);
	unlink(command);
	cr_assert_gt(n, 1000);
	has(text, "Name (\\_S5, Package (0x04)");
	has(text, "Device (PCI0)");
	has(text, "EisaId (\"PNP0A08\")");
	has(text, "0xC0000000,         // Range Minimum");
	has(text, "0xDFFFFFFF,         // Range Maximum");
	has(text, "0x0000000140000000, // Range Minimum");
	has(text, "0x000000053FFFFFFF, // Range Maximum");
	has(text, "Name (_PRT, Package (0x80)");
	has(text, "Device (COM1)");
	has(text, "Device (COM3)");
	has(text, "0xE0000000,         // Address Base");
	cr_assert_null(strstr(text, "Device (COM2)"));
	free(text);
}

/* ---- The machine's identity (smbios.c) ------------------------------------------------------- */

Test(acpi, uuid)
{
	static const char *const wrong[] = {"",
					    "0123",
					    "0123456789abcdef0123456789abcdef0",
					    "0123456-789ab-cdef-0123-456789abcdef",
					    "0123456789abcdef0123456789abcdeg",
					    "0123456789abcdef0123456789abcde"};
	static const uint8_t first[] = {0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 0x01};
	const uint8_t *const entry = mem + SMBIOS_GPA;
	uint8_t uuid[16], sum = 0;
	uint64_t table;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_assert_eq(smbios_parse_uuid(wrong[i], uuid), -EINVAL, "%s", wrong[i]);
	cr_assert_eq(smbios_parse_uuid("01234567-89ab-CDEF-0123-456789abcdef", uuid), 0);
	cr_assert_eq(uuid[0], 0x01);
	cr_assert_eq(uuid[15], 0xef);
	cr_assert_eq(smbios_build(uuid, &dma), 0);
	/* As a guest finds it: by the anchor, at 16 bytes, with a checksum. */
	cr_assert_eq(SMBIOS_GPA % 16, 0);
	cr_assert_arr_eq(entry, "_SM3_", 5);
	for (unsigned int i = 0; i < entry[6]; i++)
		sum = (uint8_t)(sum + entry[i]);
	cr_assert_eq(sum, 0);
	table = get(entry + 16, 8);
	cr_assert_eq(mem[table], 1);
	cr_assert_arr_eq(mem + table + 8, first, sizeof(first));
	cr_assert_str_eq((char *)mem + table + mem[table + 1], "skep");
	/* Behind its strings is the end, within what the entry says. */
	cr_assert_eq(mem[table + mem[table + 1] + 12], 127);
	cr_assert_eq(get(entry + 12, 4), mem[table + 1] + 12u + 4 + 2);
	mem_bytes = SMBIOS_GPA;
	cr_assert_eq(smbios_build(uuid, &dma), -EFAULT);
}
