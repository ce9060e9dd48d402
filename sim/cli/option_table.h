/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The options that decide what a run does, in one table. Replay files and the lines that are
 * printed to repeat a run are made from it, so that neither forgets one: whoever adds an option
 * that changes a run adds a row.
 */

#ifndef SIM_OPTION_TABLE_H
#define SIM_OPTION_TABLE_H

#include "sim/cli/options.h"

enum sim_option_kind {
	SIM_OPTION_TEXT,   /* const char *; NULL: not said */
	SIM_OPTION_COUNT,  /* unsigned int, from 1; 0: not said */
	SIM_OPTION_NUMBER, /* uint64_t, from 1; 0: not said */
	SIM_OPTION_WORDS,  /* bool, as one of two words */
	SIM_OPTION_FLAG,   /* bool; "no" or "yes" in files, there or not on command lines */
};

struct sim_option_row {
	const char *op_name; /* in files, and after "--" */
	enum sim_option_kind op_kind;
	bool op_required; /* in files, whatever it is; otherwise only if it is said */
	bool op_no_line;  /* there is no such option on the command line */
	size_t op_offset; /* in struct sim_options */
	const char *op_words[2];
};

/* The i-th, or NULL past the last. At most SIM_OPTION_ROWS of them; asserted. */
#define SIM_OPTION_ROWS 32
const struct sim_option_row *sim_option_row(unsigned int i);

/* As it is written in files; NULL if it was not said. buf is for numbers, of 32 bytes. */
const char *sim_option_text(const struct sim_option_row *row, const struct sim_options *o,
			    char *buf);

/* Sets it from a text, which must live as long as *o does. False: the text is no value for it. */
bool sim_option_set(const struct sim_option_row *row, struct sim_options *o, const char *text);

#endif /* SIM_OPTION_TABLE_H */
