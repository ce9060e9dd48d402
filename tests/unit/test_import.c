/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Faults of real guests: which lines are understood, as what, and what becomes of the others. */

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/trace/import.h"
#include "sim/trace/import_line.h"

#define WHY_BYTES 256

static char path[64];
static struct import *im;

static void
set_up(void)
{
	int fd;

	strcpy(path, "/var/tmp/test_import.XXXXXX");
	fd = mkstemp(path);
	cr_assert(fd >= 0);
	close(fd);
	im = import_new();
	cr_assert_not_null(im);
}

static void
tear_down(void)
{
	unlink(path);
	import_free(im);
	im = NULL;
}

TestSuite(import, .init = set_up, .fini = tear_down);

static void
feed(const char *line)
{
	cr_assert_eq(import_line(im, line, strlen(line)), 0);
}

/* A trace of what was fed. */
static struct trace *
written(struct trace_info *info)
{
	char why[WHY_BYTES] = "";
	struct trace *t = NULL;

	cr_assert_eq(import_write(im, path, "test", info, why, sizeof(why)), 0, "%s", why);
	cr_assert_eq(trace_open(path, &t, why, sizeof(why)), 0, "%s", why);
	cr_assert(trace_info(t)->ti_timed);
	cr_assert_eq(trace_info(t)->ti_vcpus, info->ti_vcpus);
	cr_assert_eq(trace_info(t)->ti_ns, info->ti_ns);
	return t;
}

struct expected {
	uint64_t gpa;
	enum trace_kind kind;
	unsigned int vcpu;
	uint64_t ns;
};

static void
expect_events(const struct expected *want, unsigned int n)
{
	struct trace_info info;
	struct trace *const t = written(&info);
	struct trace_access a;
	struct trace_cursor c;

	trace_rewind(&c, t);
	for (unsigned int i = 0; i < n; i++) {
		cr_assert(trace_next(&c, &a), "event %u is missing", i);
		cr_expect_eq(trace_page_va(t, a.ta_page), want[i].gpa & ~0xfffull,
			     "event %u: 0x%llx", i,
			     (unsigned long long)trace_page_va(t, a.ta_page));
		cr_expect_eq(a.ta_offset, want[i].gpa & 0xff0, "event %u", i);
		cr_expect_eq(a.ta_kind, want[i].kind, "event %u: kind %d", i, (int)a.ta_kind);
		cr_expect_eq(a.ta_vcpu, want[i].vcpu, "event %u: vCPU %u", i, a.ta_vcpu);
		cr_expect_eq(a.ta_time_ns, want[i].ns, "event %u: %llu ns", i,
			     (unsigned long long)a.ta_time_ns);
		cr_expect_eq(a.ta_count, 1);
	}
	cr_expect_not(trace_next(&c, &a));
	trace_close(t);
}

/* ---- Lines ---------------------------------------------------------------------------------- */

Test(import, takes_lines_of_all_tools_apart)
{
	static const struct {
		const char *line, *task, *name, *rest;
		uint64_t pid, ns;
	} rows[] = {
		{" CPU 0/KVM  41 [002]    86.581900: kvm:kvm_entry: vcpu 0, rip 0xfff0",
		 "CPU 0/KVM", "kvm_entry", "vcpu 0, rip 0xfff0", 41, 86581900000ull},
		{"CPU 0/KVM-41 [002] d..2 86.581900123: kvm_entry:   vcpu 0", "CPU 0/KVM",
		 "kvm_entry", "vcpu 0", 41, 86581900123ull},
		{"<...>-19 [226] ...1. 7.000001: kvm_page_fault: address fd000 error_code 14",
		 "<...>", "kvm_page_fault", "address fd000 error_code 14", 19, 7000001000ull},
		{"qemu-kvm 12/34 [0] 1.5:   1 kvm:kvm_exit: reason hlt rip 0x1", "qemu-kvm",
		 "kvm_exit", "reason hlt rip 0x1", 34, 1500000000ull},
		{"a [3] b 9 [001] 1.0: x:y:z: ", "a [3] b", "z", "", 9, 1000000000ull},
	};
	struct import_event e;

	for (unsigned int i = 0; i < 4; i++) {
		cr_assert_eq(import_split(rows[i].line, strlen(rows[i].line), &e), IMPORT_EVENT,
			     "%s", rows[i].line);
		cr_expect(import_is(e.ie_task, rows[i].task), "%s", rows[i].line);
		cr_expect(import_is(e.ie_name, rows[i].name), "%s", rows[i].line);
		cr_expect(import_is(e.ie_rest, rows[i].rest), "%s", rows[i].line);
		cr_expect_eq(e.ie_pid, rows[i].pid);
		cr_expect_eq(e.ie_time_ns, rows[i].ns, "%s: %llu", rows[i].line,
			     (unsigned long long)e.ie_time_ns);
	}
}

Test(import, says_what_is_no_event)
{
	static const char *const comments[] = {
		"",
		"   ",
		"# a comment",
		"\t    ffffffffc0a1 vmx_vcpu_run+0x1 ([kvm_intel])",
		"cpus=8",
		"version = 6",
		"CPU:3 [LOST 17 EVENTS]",
	};
	static const char *const wrong[] = {
		"hello",
		"CPU 0/KVM [002] 86.5: kvm_entry: no pid",
		"CPU 0/KVM 41 86.5: kvm_entry: no processor",
		"CPU 0/KVM 41 [002] soon: kvm_entry: no time",
		"CPU 0/KVM 41 [002] 1.1234567890: kvm_entry: more than nine digits",
		"CPU 0/KVM 41 [002] 99999999999999999999.0: kvm_entry: too late",
		"CPU 0/KVM 41 [002] 86.5 kvm_entry: no colon",
		"CPU 0/KVM 41 [002] 86.5: kvm_entry",
		"CPU 0/KVM 41 [002]",
		"[002] 1.0: x: y",
	};
	struct import_event e;

	for (unsigned int i = 0; i < sizeof(comments) / sizeof(comments[0]); i++)
		cr_expect_eq(import_split(comments[i], strlen(comments[i]), &e), IMPORT_COMMENT,
			     "%s", comments[i]);
	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_eq(import_split(wrong[i], strlen(wrong[i]), &e), IMPORT_WRONG, "%s",
			     wrong[i]);
}

/* Every prefix of a line, and the line with any byte changed, is some answer within its bytes. */
Test(import, survives_any_damage)
{
	static const char whole[] =
		"CPU 0/KVM-41 [002] d..2 86.581900: kvm_exit: vcpu 0 reason npf "
		"rip 0x1 info 100000014 fd000";
	const size_t n = sizeof(whole) - 1;

	for (size_t i = 0; i <= n; i++) {
		char *copy = malloc(i + 1); /* no byte beyond, for those who look */

		memcpy(copy, whole, i);
		cr_expect_eq(import_line(im, copy, i), 0);
		for (size_t j = 0; j < i; j++) {
			memcpy(copy, whole, i);
			copy[j] = (char)(i * 31 + j * 7);
			cr_expect_eq(import_line(im, copy, i), 0);
		}
		free(copy);
	}
	cr_expect_eq(import_counts(im)->ic_lines, (n + 1) * (n + 2) / 2);
}

/* ---- Faults --------------------------------------------------------------------------------- */

Test(import, qualifications_of_intel)
{
	static const struct expected want[] = {
		{0x113600010, TRACE_LOAD, 0, 0},
		{0x113600200, TRACE_STORE, 1, 9000},
		{0x20fe610, TRACE_FETCH, 0, 19000},
		{0x111400ff0, TRACE_STORE, 1, 6991000},
	};

	feed("CPU 0/KVM 1 [2] 86.581922: kvm:kvm_page_fault: vcpu 0 rip 0x1 address "
	     "0x0000000113600010 error_code 0x181");
	feed("CPU 1/KVM 2 [6] 86.581931: kvm:kvm_page_fault: vcpu 1 rip 0x1 address "
	     "0x0000000113600200 error_code 0x182");
	feed("CPU 0/KVM 1 [2] 86.581941: kvm:kvm_page_fault: vcpu 0 rip 0x1 address "
	     "0x00000000020fe612 error_code 0x184");
	feed("CPU 1/KVM 2 [6] 86.588913: kvm:kvm_page_fault: vcpu 1 rip 0x1 address "
	     "0x0000000111400ff8 error_code 0x83");
	expect_events(want, 4);
}

/* The exit and the page fault are one; an exit alone is one, too; old kernels print half a code. */
Test(import, codes_of_amd)
{
	static const struct expected want[] = {
		{0xfc000, TRACE_FETCH, 3, 0},	  {0x200000, TRACE_STORE, 1, 5000},
		{0x201ff0, TRACE_LOAD, 3, 20000}, {0xfd000, TRACE_FETCH, 1, 30000},
		{0x300000, TRACE_LOAD, 1, 31000}, {0x400000, TRACE_STORE, 5, 32000},
	};

	feed("CPU 3/KVM-10 [1] ...1 4.000110: kvm_exit: reason npf rip 0xfc95a info1 "
	     "0x0000000100000014 info2 0x00000000000fc000 intr_info 0x0 error_code 0x0");
	feed("CPU 3/KVM-10 [1] ...1 4.000111: kvm_page_fault: address fc000 error_code 14");
	feed("CPU 1/KVM-11 [4] ...1 4.000115: kvm_exit: reason npf rip 0x1 info1 "
	     "0x0000000200000006 info2 0x0000000000200000 intr_info 0x0 error_code 0x0");
	feed("CPU 3/KVM-10 [1] d..2 4.000118: kvm_entry: vcpu 3, rip 0xfc95a");
	feed("CPU 1/KVM-11 [4] ...1 4.000119: kvm_page_fault: address 200000 error_code 6");
	feed("CPU 3/KVM-10 [1] ...1 4.000130: kvm_exit: reason npf rip 0xfc95a info1 "
	     "0x0000000100000004 info2 0x0000000000201ff0 intr_info 0x0 error_code 0x0");
	feed("CPU 3/KVM-10 [1] d..2 4.000135: kvm_entry: vcpu 3, rip 0xfc95a");
	feed("CPU 1/KVM-11 [4] ...1 4.000140: kvm_exit: vcpu 1 reason npf rip 0xfd11d info "
	     "100000014 fd000");
	feed("CPU 1/KVM-11 [4] ...1 4.000141: kvm_page_fault: address 300000 error_code 4");
	feed("other-77 [4] ...1 4.000142: kvm_page_fault: vcpu 5 rip 0x0 address 0x400000 "
	     "error_code 0x100000006");
	cr_expect_eq(import_counts(im)->ic_wrong, 0);
	expect_events(want, 6);
}

Test(import, whose_code_must_be_known)
{
	feed("a-1 [0] 1.0: kvm_page_fault: address 1000 error_code 6");
	cr_expect_eq(import_counts(im)->ic_wrong, 1);
	cr_expect_eq(import_counts(im)->ic_first_wrong[0].iw_line, 1);
	cr_expect_not_null(strstr(import_counts(im)->ic_first_wrong[0].iw_why, "Intel's or AMD's"));
	/* Once an exit of any thread has said it, it is. */
	feed("b-2 [0] 1.1: kvm_exit: vcpu 1 reason npf rip 0x1 info1 0x100000006 info2 0x2000");
	feed("a-1 [0] 1.2: kvm_page_fault: address 1000 error_code 6");
	cr_expect_eq(import_counts(im)->ic_wrong, 1);
	cr_expect_eq(import_counts(im)->ic_faults, 1);
}

Test(import, shadow_paging_is_left_out)
{
	char why[WHY_BYTES];

	feed("a-1 [0] 1.0: kvm_exit: reason EXCEPTION_NMI rip 0x1000 info 1000 80000b0e");
	feed("a-1 [0] 1.1: kvm_page_fault: address 7f0000001000 error_code 14");
	cr_expect_eq(import_counts(im)->ic_shadow, 1);
	cr_expect_eq(import_counts(im)->ic_faults, 0);
	cr_expect_eq(import_write(im, path, "x", NULL, why, sizeof(why)), -ENODATA);
}

Test(import, our_own_events)
{
	static const struct expected want[] = {
		{0x5000, TRACE_LOAD, 0, 0},
		{0x5000, TRACE_STORE, 1, 2000},
		{0x10000, TRACE_FETCH, 0, 6000},
	};

	feed("x-87 [0] ..... 12.000001: vmm_exit: demo vcpu 0: reason 0x30 at rip 0x10020");
	feed("x-87 [0] ..... 12.000004: vmm_fault: demo vcpu 0: gpa 0x5000 r: 0");
	feed("x-88 [1] ..... 12.000006: vmm_fault: demo vcpu 1: gpa 0x5008 w: 0");
	feed("x-88 [1] ..... 12.000007: vmm_inv_begin: root 0x2345000 generation 2");
	feed("x-87 [0] ..... 12.000010: vmm_fault: demo vcpu 0: gpa 0x10000 x: 0");
	feed("x-87 [0] ..... 12.000012: vmm_fault: demo vcpu 0: gpa 0xfffff000 w: -14");
	feed("y-99 [2] ..... 12.000013: vmm_fault: second vcpu 0: gpa 0x1000 r: 0");
	feed("y-99 [2] ..... 12.000014: vmm_fault: demo vcpu 0: gpa 0x1000 q: 0");
	cr_expect_eq(import_counts(im)->ic_exits, 1);
	cr_expect_eq(import_counts(im)->ic_others, 1);
	cr_expect_eq(import_counts(im)->ic_failed, 1);
	cr_expect_eq(import_counts(im)->ic_strange, 1);
	cr_expect_eq(import_counts(im)->ic_wrong, 1);
	expect_events(want, 3);
}

Test(import, order_of_time_and_of_lines)
{
	static const struct expected want[] = {
		{0x1000, TRACE_LOAD, 0, 0},
		{0x2000, TRACE_LOAD, 0, 1000000000},
		{0x3000, TRACE_LOAD, 0, 1000000000},
	};

	feed("x-1 [0] 6.0: vmm_fault: a vcpu 0: gpa 0x2000 r: 0");
	feed("x-1 [0] 5.0: vmm_fault: a vcpu 0: gpa 0x1000 r: 0");
	feed("x-1 [0] 6.0: vmm_fault: a vcpu 0: gpa 0x3000 r: 0");
	cr_expect_eq(import_counts(im)->ic_backwards, 1);
	expect_events(want, 3);
}

Test(import, two_guests_in_one_file_are_noticed)
{
	feed("CPU 0/KVM-1 [0] 1.0: kvm_entry: vcpu 0, rip 0x1");
	feed("CPU 1/KVM-2 [0] 1.1: kvm_entry: vcpu 1, rip 0x1");
	cr_expect_not(import_counts(im)->ic_shared_vcpu);
	feed("CPU 0/KVM-9 [0] 1.2: kvm_entry: vcpu 0, rip 0x1");
	cr_expect(import_counts(im)->ic_shared_vcpu);
}

Test(import, limits)
{
	char line[128];

	feed("x-1 [0] 1.0: kvm_page_fault: vcpu 256 rip 0x1 address 0x1000 error_code 0x182");
	cr_expect_eq(import_counts(im)->ic_wrong, 1);
	for (unsigned int i = 0; i < 1100; i++) {
		snprintf(line, sizeof(line), "x-%u [0] 1.0: vmm_fault: a vcpu 0: gpa 0x1000 r: 0",
			 i + 2);
		feed(line);
	}
	cr_expect_eq(import_counts(im)->ic_faults, 1023);
	cr_expect_eq(import_counts(im)->ic_wrong, 1 + 77);
	for (unsigned int i = 0; i < 200; i++) {
		snprintf(line, sizeof(line), "x-2 [0] 1.0: kvm_exit: vcpu 0 reason R%u rip 0x1", i);
		feed(line);
	}
	cr_expect_eq(import_counts(im)->ic_nreasons, IMPORT_REASONS_MAX);
	cr_expect_str_eq(import_counts(im)->ic_reasons[IMPORT_REASONS_MAX - 1].ir_name, "others");
	cr_expect_eq(import_counts(im)->ic_reasons[IMPORT_REASONS_MAX - 1].ir_count,
		     200 - (IMPORT_REASONS_MAX - 1));
}
