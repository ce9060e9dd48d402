/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Traces: what is written is what is read, and how accesses become records. */

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim/trace/trace.h"

#define WHY_BYTES 256

static char path[64];

static void
make_path(void)
{
	int fd;

	strcpy(path, "/var/tmp/test_trace.XXXXXX");
	fd = mkstemp(path);
	cr_assert(fd >= 0);
	close(fd);
}

static void
remove_path(void)
{
	unlink(path);
}

TestSuite(trace, .init = make_path, .fini = remove_path);

static struct trace *
finish(struct trace_writer *w, struct trace_info *info)
{
	char why[WHY_BYTES] = "";
	struct trace *t = NULL;

	cr_assert_eq(trace_writer_finish(w, path, info, why, sizeof(why)), 0, "%s", why);
	trace_writer_free(w);
	cr_assert_eq(trace_open(path, &t, why, sizeof(why)), 0, "%s", why);
	return t;
}

static void
expect_next(struct trace_cursor *c, uint32_t page, uint16_t offset, enum trace_kind kind,
	    uint64_t count)
{
	struct trace_access a;

	cr_assert(trace_next(c, &a));
	cr_expect_eq(a.ta_page, page, "page %u, not %u", a.ta_page, page);
	cr_expect_eq(a.ta_offset, offset, "offset %u, not %u", a.ta_offset, offset);
	cr_expect_eq(a.ta_kind, kind);
	cr_expect_eq(a.ta_count, count);
}

Test(trace, keeps_order_kind_offset_and_counts)
{
	struct trace_writer *w = trace_writer_new("prog --with args", 1);
	struct trace_info written;
	struct trace_cursor c;
	struct trace_access a;
	struct trace *t;

	cr_assert(trace_writer_access(w, 0x401000, 4, TRACE_FETCH));
	cr_assert(trace_writer_access(w, 0x401004, 4, TRACE_FETCH));
	cr_assert(trace_writer_access(w, 0x7fff12345678, 8, TRACE_STORE));
	cr_assert(trace_writer_access(w, 0x401ff0, 1, TRACE_MODIFY));
	cr_assert(trace_writer_access(w, 0x402008, 8, TRACE_LOAD));
	cr_assert_eq(trace_writer_accesses(w), 5);
	t = finish(w, &written);

	cr_expect_str_eq(trace_info(t)->ti_program, "prog --with args");
	cr_expect_eq(trace_info(t)->ti_records, 4);
	cr_expect_eq(trace_info(t)->ti_accesses, 5);
	cr_expect_eq(trace_info(t)->ti_pages, 3);
	cr_expect_eq(trace_info(t)->ti_regions, 2);
	cr_expect_eq(trace_info(t)->ti_window, 1);
	cr_expect_eq(written.ti_records, 4);
	cr_expect_eq(written.ti_accesses, 5);

	trace_rewind(&c, t);
	expect_next(&c, 0x001, 0x000, TRACE_FETCH, 2);
	expect_next(&c, 512 + 0x145, 0x670, TRACE_STORE, 1);
	expect_next(&c, 0x001, 0xff0, TRACE_MODIFY, 1);
	expect_next(&c, 0x002, 0x000, TRACE_LOAD, 1);
	cr_expect_not(trace_next(&c, &a));
	cr_expect_not(trace_next(&c, &a), "the end stays the end");
	trace_close(t);
}

Test(trace, numbers_regions_by_first_touch_and_keeps_them_whole)
{
	struct trace_writer *w = trace_writer_new("p", 1);
	const uint64_t high = UINT64_C(0xffffffffffe00000);
	struct trace *t;

	/* Neighbors within 2 MiB stay neighbors, wherever their region is. */
	cr_assert(trace_writer_access(w, high + 0x1000, 1, TRACE_LOAD));
	cr_assert(trace_writer_access(w, 0x0, 1, TRACE_LOAD));
	cr_assert(trace_writer_access(w, high + 0x2000, 1, TRACE_LOAD));
	cr_assert(trace_writer_access(w, UINT64_C(1) << 47, 1, TRACE_LOAD));
	t = finish(w, NULL);
	cr_assert_eq(trace_info(t)->ti_regions, 3);
	cr_expect_eq(trace_page_va(t, 1), high + 0x1000);
	cr_expect_eq(trace_page_va(t, 2), high + 0x2000);
	cr_expect_eq(trace_page_va(t, 512), 0);
	cr_expect_eq(trace_page_va(t, 1024), UINT64_C(1) << 47);
	trace_close(t);
}

Test(trace, an_access_across_pages_counts_in_both)
{
	struct trace_writer *w = trace_writer_new("p", 4);
	struct trace_cursor c;
	struct trace *t;

	cr_assert(trace_writer_access(w, 0x1ffffc, 8, TRACE_STORE));
	cr_assert(trace_writer_access(w, UINT64_MAX - 3, 16, TRACE_LOAD));
	t = finish(w, NULL);
	cr_expect_eq(trace_info(t)->ti_accesses, 3, "the last address does not wrap");
	trace_rewind(&c, t);
	expect_next(&c, 511, 0xff0, TRACE_STORE, 1);
	expect_next(&c, 512, 0x000, TRACE_STORE, 1);
	expect_next(&c, 1024 + 511, 0xff0, TRACE_LOAD, 1);
	trace_close(t);
}

Test(trace, joins_equal_accesses_within_the_window_only)
{
	struct trace_writer *w = trace_writer_new("p", 2);
	struct trace_cursor c;
	struct trace *t;

	/* A B A: A is still among the last two records. A B C A: it is not. */
	cr_assert(trace_writer_access(w, 0x1000, 1, TRACE_LOAD));
	cr_assert(trace_writer_access(w, 0x2000, 1, TRACE_LOAD));
	cr_assert(trace_writer_access(w, 0x1010, 1, TRACE_LOAD));
	cr_assert(trace_writer_access(w, 0x1010, 1, TRACE_STORE));
	cr_assert(trace_writer_access(w, 0x1020, 1, TRACE_LOAD));
	t = finish(w, NULL);
	trace_rewind(&c, t);
	expect_next(&c, 1, 0x00, TRACE_LOAD, 2);
	expect_next(&c, 2, 0x00, TRACE_LOAD, 1);
	expect_next(&c, 1, 0x10, TRACE_STORE, 1);
	expect_next(&c, 1, 0x20, TRACE_LOAD, 1);
	cr_expect_eq(trace_info(t)->ti_accesses, 5);
	trace_close(t);
}

/* More pages than can be named by recency, so that every form of a record occurs. */
Test(trace, a_long_random_run_comes_back)
{
	enum { N = 20000 };
	static struct trace_access want[N];
	struct trace_writer *w = trace_writer_new("p", 1);
	struct trace_cursor c, mark;
	struct trace_access a;
	uint64_t x = 1;
	size_t n = 0;
	struct trace *t;

	for (int i = 0; i < N; i++) {
		uint32_t page, offset;
		enum trace_kind kind;

		x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
		page = (uint32_t)(x >> 33) % (i % 3 ? 100 : 512);
		offset = (uint32_t)(x >> 50) & 0xff0;
		kind = (enum trace_kind)(x >> 62);
		cr_assert(trace_writer_access(w, (uint64_t)page << 12 | offset, 1, kind));
		if (n && want[n - 1].ta_page == page && want[n - 1].ta_kind == kind)
			want[n - 1].ta_count++;
		else
			want[n++] = (struct trace_access){1, page, (uint16_t)offset, kind, 0, 0};
	}
	t = finish(w, NULL);
	cr_assert_eq(trace_info(t)->ti_records, n);
	trace_rewind(&c, t);
	for (size_t i = 0; i < n; i++) {
		if (i == n / 2)
			mark = c;
		expect_next(&c, want[i].ta_page, want[i].ta_offset, want[i].ta_kind,
			    want[i].ta_count);
	}
	cr_expect_not(trace_next(&c, &a));
	for (size_t i = n / 2; i < n; i++)
		expect_next(&mark, want[i].ta_page, want[i].ta_offset, want[i].ta_kind,
			    want[i].ta_count);
	trace_close(t);
}

/* ---- What cannot be written ----------------------------------------------------------------- */

static void
expect_unfinished(struct trace_writer *w, const char *to, int error, const char *sentence)
{
	char why[WHY_BYTES] = "";
	int got;

	unlink(path);
	got = trace_writer_finish(w, to, NULL, why, sizeof(why));
	cr_expect_eq(got, error, "error %d, not %d", got, error);
	cr_expect(strstr(why, sentence), "'%s' says not '%s'", why, sentence);
	cr_expect_neq(access(path, F_OK), 0, "no file is left behind");
	trace_writer_free(w);
}

Test(trace, nothing_is_no_trace)
{
	expect_unfinished(trace_writer_new("p", 1), path, -ENODATA, "no memory access");
}

Test(trace, too_many_regions_are_refused)
{
	struct trace_writer *w = trace_writer_new("p", 1);

	for (uint64_t i = 0; i < TRACE_REGIONS_MAX; i++)
		cr_assert(trace_writer_access(w, i << TRACE_REGION_SHIFT, 1, TRACE_LOAD));
	cr_assert_not(trace_writer_access(w, UINT64_C(1) << 60, 1, TRACE_LOAD));
	cr_assert_not(trace_writer_access(w, 0, 1, TRACE_LOAD), "the error sticks");
	expect_unfinished(w, path, -EFBIG, "too many 2 MiB regions");
}

Test(trace, impossible_sizes_are_refused)
{
	struct trace_writer *w = trace_writer_new("p", 1);

	cr_assert_not(trace_writer_access(w, 0, 0, TRACE_LOAD));
	expect_unfinished(w, path, -EINVAL, "size");
	w = trace_writer_new("p", 1);
	cr_assert_not(trace_writer_access(w, 0, 4097, TRACE_LOAD));
	expect_unfinished(w, path, -EINVAL, "size");
}

Test(trace, a_folder_that_is_not_there_is_an_error)
{
	struct trace_writer *w = trace_writer_new("p", 1);

	cr_assert(trace_writer_access(w, 0, 1, TRACE_LOAD));
	expect_unfinished(w, "/nonexistent/x.trace.zst", -ENOENT, "/nonexistent/x.trace.zst");
}

Test(trace, unprintable_names_are_made_printable)
{
	struct trace_writer *w = trace_writer_new("a\nb\033[31m\xc3\xa9", 1);
	struct trace *t;

	cr_assert(trace_writer_access(w, 0, 1, TRACE_LOAD));
	t = finish(w, NULL);
	cr_expect_str_eq(trace_info(t)->ti_program, "a?b?[31m??");
	trace_close(t);
}

/* ---- Lackey's lines ------------------------------------------------------------------------- */

Test(trace, reads_the_lines_of_lackey)
{
	static const char *const lines[] = {
		"I  0401ab70,3",
		" S 1fff000708,8",
		" L 0401ab70,4",
		" M 0401ab70,1",
		/* and none of these */
		"==8464== Lackey, an example Valgrind tool",
		"",
		"I",
		"I  ",
		"I  0401ab70",
		"I  0401ab70,",
		"I  ,3",
		"I  0401ab70,3x",
		" X 0401ab70,3",
		"I  zz,3",
		"I  00000000000000001,3",
		" S 10,0",
		"IS 0401ab70,3",
	};
	struct trace_writer *w = trace_writer_new("p", 1);
	struct trace_cursor c;
	struct trace *t;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		cr_expect(trace_record_line(w, lines[i], strlen(lines[i])), "%s", lines[i]);
	t = finish(w, NULL);
	cr_assert_eq(trace_info(t)->ti_accesses, 4);
	trace_rewind(&c, t);
	expect_next(&c, 0x1a, 0xb70, TRACE_FETCH, 1);
	expect_next(&c, 512, 0x700, TRACE_STORE, 1);
	expect_next(&c, 0x1a, 0xb70, TRACE_LOAD, 1);
	expect_next(&c, 0x1a, 0xb70, TRACE_MODIFY, 1);
	trace_close(t);
}

/* ---- The trace that comes with the sources -------------------------------------------------- */

Test(trace, the_bundled_trace_is_large_enough_and_small_enough)
{
	uint64_t records = 0, accesses = 0, kinds[TRACE_KINDS] = {0};
	char why[WHY_BYTES] = "";
	struct trace_cursor c;
	struct trace_access a;
	struct stat st;
	struct trace *t;

	cr_assert_eq(stat(TRACE_DIR "/cc.trace.zst", &st), 0);
	cr_expect_leq(st.st_size, 2 << 20);
	cr_assert_eq(trace_open(TRACE_DIR "/cc.trace.zst", &t, why, sizeof(why)), 0, "%s", why);
	trace_rewind(&c, t);
	while (trace_next(&c, &a)) {
		records++;
		accesses += a.ta_count;
		kinds[a.ta_kind]++;
	}
	cr_expect_eq(records, trace_info(t)->ti_records);
	cr_expect_eq(accesses, trace_info(t)->ti_accesses);
	cr_expect_geq(records, 1000000);
	cr_expect_geq(trace_info(t)->ti_pages, 2000);
	for (int k = 0; k < TRACE_KINDS; k++)
		cr_expect_gt(kinds[k], 1000, "kind %d", k);
	trace_close(t);
}
