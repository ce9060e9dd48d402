/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* The table of the options that decide what a run does, and how a row is read and written. */

#include "sim/cli/option_table.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "sim/cli/number.h"

#define AT(field) .op_offset = offsetof(struct sim_options, field)

/* In the order in which files and lines have them. */
static const struct sim_option_row rows[] = {
	{"scenario", SIM_OPTION_TEXT, AT(scenario)},
	{"trace", SIM_OPTION_TEXT, AT(trace_path)},
	{"caps", SIM_OPTION_TEXT, AT(caps)},
	{"cpus", SIM_OPTION_COUNT, AT(cpus), .op_required = true},
	{"vcpus", SIM_OPTION_COUNT, AT(vcpus), .op_required = true},
	{"steps", SIM_OPTION_NUMBER, AT(steps), .op_required = true},
	{"memory-model", SIM_OPTION_WORDS, AT(sequential), .op_required = true,
	 .op_words = {"tso", "sc"}},
	{"reference", SIM_OPTION_FLAG, AT(reference), .op_required = true},
	{"faults", SIM_OPTION_TEXT, AT(faults)},
	{"kindness", SIM_OPTION_TEXT, AT(kindness)},
	{"scheduler", SIM_OPTION_TEXT, AT(policy)},
	{"schedule", SIM_OPTION_NUMBER, AT(schedule)},
	{"store-buffer", SIM_OPTION_COUNT, AT(store_buffer), .op_no_line = true},
	{"may-stop", SIM_OPTION_FLAG, AT(may_stop), .op_no_line = true},
};

#define NROWS (sizeof(rows) / sizeof(rows[0]))

static_assert(NROWS <= SIM_OPTION_ROWS, "room for all options");

const struct sim_option_row *
sim_option_row(unsigned int i)
{
	return i < NROWS ? &rows[i] : NULL;
}

static const char *
word_of(const struct sim_option_row *row, bool value)
{
	if (row->op_kind == SIM_OPTION_FLAG)
		return value ? "yes" : "no";
	return row->op_words[value];
}

const char *
sim_option_text(const struct sim_option_row *row, const struct sim_options *o, char *buf)
{
	const void *at = (const char *)o + row->op_offset;
	uint64_t number;

	switch (row->op_kind) {
	case SIM_OPTION_TEXT:
		return *(const char *const *)at;
	case SIM_OPTION_COUNT:
		number = *(const unsigned int *)at;
		break;
	case SIM_OPTION_NUMBER:
		number = *(const uint64_t *)at;
		break;
	default:
		return row->op_required || *(const bool *)at ? word_of(row, *(const bool *)at)
							     : NULL;
	}
	if (number == 0 && !row->op_required)
		return NULL;
	snprintf(buf, 32, "%" PRIu64, number);
	return buf;
}

bool
sim_option_set(const struct sim_option_row *row, struct sim_options *o, const char *text)
{
	void *at = (char *)o + row->op_offset;
	uint64_t number;

	switch (row->op_kind) {
	case SIM_OPTION_TEXT:
		*(const char **)at = text;
		return *text != '\0';
	case SIM_OPTION_COUNT:
		if (!sim_number(text, &number) || number < 1 || number > UINT32_MAX)
			return false;
		*(unsigned int *)at = (unsigned int)number;
		return true;
	case SIM_OPTION_NUMBER:
		if (!sim_number(text, &number) || number < 1)
			return false;
		*(uint64_t *)at = number;
		return true;
	default:
		*(bool *)at = strcmp(text, word_of(row, true)) == 0;
		return *(bool *)at || strcmp(text, word_of(row, false)) == 0;
	}
}
