/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Small parts of pmap-sim: numbers, JSON, files that appear whole, counters, invariants. */

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim/oracle/invariants.h"
#include "sim/report/json.h"
#include "sim/cli/number.h"
#include "sim/cli/options.h"
#include "sim/cli/outfile.h"

#define WHY_BYTES 256

Test(number, reads_decimal_and_hexadecimal)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {
		{"0", 0},
		{"42", 42},
		{"007", 7},
		{"0x0", 0},
		{"0xfF", 255},
		{"0X10", 16},
		{"18446744073709551615", UINT64_MAX},
		{"0xffffffffffffffff", UINT64_MAX},
		{"0x00000000000000000000001", 1},
	};
	static const char *const bad[] = {
		"",
		" 1",
		"1 ",
		"+1",
		"-1",
		"0x",
		"0xg",
		"1f",
		"18446744073709551616",
		"0x10000000000000000",
		"x1",
		"1.0",
		"1,0",
		"99999999999999999999",
		"0x 1",
	};
	uint64_t v;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		v = 77;
		cr_expect(sim_number(good[i].text, &v), "%s", good[i].text);
		cr_expect_eq(v, good[i].value, "%s", good[i].text);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		v = 77;
		cr_expect_not(sim_number(bad[i], &v), "'%s'", bad[i]);
		cr_expect_eq(v, 77, "'%s' changed the value", bad[i]);
	}
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static char *
json_of(void (*write)(struct json *j))
{
	char *text = NULL;
	struct json j;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	cr_assert(f);
	json_start(&j, f);
	write(&j);
	json_finish(&j);
	fclose(f);
	return text;
}

static void
write_nested(struct json *j)
{
	json_object(j, NULL);
	json_object(j, "empty");
	json_close(j);
	json_array(j, "list");
	json_u64(j, NULL, UINT64_MAX);
	json_bool(j, NULL, true);
	json_null(j, NULL);
	json_array(j, NULL);
	json_close(j);
	json_close(j);
	json_hex(j, "hex", 0xabc);
	json_decimal(j, "pi", 3.14159);
	json_decimal(j, "nan", NAN);
	json_string(j, "none", NULL);
	json_bool(j, "no", false);
	json_close(j);
}

Test(json, nests_and_separates)
{
	char *text = json_of(write_nested);

	cr_expect_str_eq(text, "{\n"
			       "  \"empty\": {},\n"
			       "  \"list\": [\n"
			       "    18446744073709551615,\n"
			       "    true,\n"
			       "    null,\n"
			       "    []\n"
			       "  ],\n"
			       "  \"hex\": \"0x0000000000000abc\",\n"
			       "  \"pi\": 3.142,\n"
			       "  \"nan\": null,\n"
			       "  \"none\": null,\n"
			       "  \"no\": false\n"
			       "}\n");
	free(text);
}

static const char *text_to_write;

static void
write_text(struct json *j)
{
	json_string(j, NULL, text_to_write);
}

Test(json, escapes_what_must_be_and_repairs_what_is_not_utf8)
{
	static const struct {
		const char *text, *json;
	} rows[] = {
		{"", "\"\""},
		{"plain", "\"plain\""},
		{"a\"b\\c/", "\"a\\\"b\\\\c/\""},
		{"\n\t\r\b\x1f\x7f", "\"\\n\\t\\u000d\\u0008\\u001f\\u007f\""},
		{"\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x9d",
		 "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x9d\""},
		{"\xff", "\"\\ufffd\""},
		{"\x80z", "\"\\ufffdz\""},
		{"\xc3", "\"\\ufffd\""},
		{"\xe2\x82", "\"\\ufffd\\ufffd\""},
		{"\xc0\xaf", "\"\\ufffd\\ufffd\""},			  /* overlong */
		{"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},		  /* surrogate */
		{"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""}, /* beyond */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text;

		text_to_write = rows[i].text;
		text = json_of(write_text);
		cr_expect_eq(strncmp(text, rows[i].json, strlen(rows[i].json)), 0, "row %zu: %s", i,
			     text);
		cr_expect_str_eq(text + strlen(rows[i].json), "\n");
		free(text);
	}
}

/* ---- Files ---------------------------------------------------------------------------------- */

static char folder[64];

static void
make_folder(void)
{
	strcpy(folder, "/var/tmp/test_tool.XXXXXX");
	cr_assert(mkdtemp(folder));
}

static void
remove_folder(void)
{
	cr_expect_eq(rmdir(folder), 0, "%s is not empty: a temporary file was left", folder);
}

TestSuite(outfile, .init = make_folder, .fini = remove_folder);

static void
expect_content(const char *path, const char *content)
{
	char text[64] = "";
	FILE *f = fopen(path, "r");

	cr_assert(f);
	cr_assert(fgets(text, sizeof(text), f));
	fclose(f);
	cr_expect_str_eq(text, content);
}

Test(outfile, replaces_a_file_only_when_complete)
{
	char path[128], why[WHY_BYTES];
	struct outfile of;
	struct stat st;

	snprintf(path, sizeof(path), "%s/file", folder);
	cr_assert_eq(outfile_probe(path, why, sizeof(why)), 0);
	cr_expect_neq(access(path, F_OK), 0, "a probe makes nothing");

	cr_assert_eq(outfile_open(&of, path, why, sizeof(why)), 0);
	fputs("one", of.of_stream);
	cr_assert_eq(outfile_commit(&of, why, sizeof(why)), 0);
	expect_content(path, "one");
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 0600, 0600);

	cr_assert_eq(outfile_open(&of, path, why, sizeof(why)), 0);
	fputs("two", of.of_stream);
	fflush(of.of_stream);
	expect_content(path, "one");
	outfile_abort(&of);
	expect_content(path, "one");

	cr_assert_eq(outfile_open(&of, path, why, sizeof(why)), 0);
	fputs("two", of.of_stream);
	cr_assert_eq(outfile_commit(&of, why, sizeof(why)), 0);
	expect_content(path, "two");
	outfile_abort(&of); /* after a commit: nothing */
	unlink(path);
}

Test(outfile, says_what_cannot_be_written)
{
	char path[128], why[WHY_BYTES];
	struct outfile of;

	snprintf(path, sizeof(path), "%s/no/file", folder);
	cr_expect_eq(outfile_open(&of, path, why, sizeof(why)), -ENOENT);
	cr_expect(strstr(why, path), "%s", why);
	cr_expect_eq(outfile_probe(path, why, sizeof(why)), -ENOENT);
	cr_expect_eq(outfile_open(&of, folder, why, sizeof(why)), -EISDIR);
	cr_expect_eq(outfile_probe(folder, why, sizeof(why)), -EISDIR);
	cr_assert_eq(outfile_open(&of, "/dev/full", why, sizeof(why)), 0);
	fputs("x", of.of_stream);
	cr_expect_eq(outfile_commit(&of, why, sizeof(why)), -ENOSPC);
	cr_expect(strstr(why, "/dev/full: No space"), "%s", why);
}

/* ---- Counters and invariants ---------------------------------------------------------------- */

Test(outcome, counters_add_up_by_group_and_name)
{
	static struct sim_outcome out;

	sim_outcome_count(&out, SIM_COUNT_OPERATIONS, "enter", 2, 0);
	sim_outcome_count(&out, SIM_COUNT_HARDWARE, "enter", 5, SIM_COUNTER_HEADLINE);
	sim_outcome_count(&out, SIM_COUNT_OPERATIONS, "enter", 3, SIM_COUNTER_REQUIRED);
	cr_assert_eq(out.ncounters, 2);
	cr_expect_eq(out.counters[0].value, 5);
	cr_expect_eq(out.counters[0].flags, SIM_COUNTER_REQUIRED);
	cr_expect_eq(out.counters[1].value, 5);
	cr_expect_eq(out.counters[1].group, SIM_COUNT_HARDWARE);
}

Test(invariants, the_table_is_whole)
{
	for (unsigned int i = 1; i < SIM_INVARIANT_END; i++) {
		const struct sim_invariant_info *info = sim_invariant(i);
		char id[8];

		snprintf(id, sizeof(id), "I%02u", i);
		cr_assert(info && info->id, "I%02u is missing", i);
		cr_expect_str_eq(info->id, id);
		cr_expect_eq(sim_invariant_by_id(id), info);
		cr_expect_eq(strncmp(info->check, "CK-", 3), 0, "%s", info->check);
		cr_expect_gt(strlen(info->title), 20, "%s", id);
		cr_expect_lt(strlen(info->title), SIM_MESSAGE_BYTES);
		cr_expect_neq(info->title[strlen(info->title) - 1], '.', "%s", id);
		cr_expect_neq(info->arch_set, 0, "%s", id);
	}
	cr_expect_null(sim_invariant(0));
	cr_expect_null(sim_invariant(SIM_INVARIANT_END));
	cr_expect_null(sim_invariant_by_id("I49"));
	cr_expect_null(sim_invariant_by_id(""));
}

Test(invariants, evaluations_are_counted_and_forgotten)
{
	sim_invariants_reset();
	sim_invariant_hit(SIM_I14);
	sim_invariant_hit(SIM_I14);
	cr_expect_eq(sim_invariant_hits[SIM_I14], 2);
	cr_expect_eq(sim_invariant_hits[SIM_I15], 0);
	sim_invariants_reset();
	cr_expect_eq(sim_invariant_hits[SIM_I14], 0);
}
