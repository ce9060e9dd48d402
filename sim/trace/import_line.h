/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * One line of `perf script`, of `trace-cmd report` or of tracefs, taken apart: who, when, which
 * event, and the event's own text.
 */

#ifndef SIM_IMPORT_LINE_H
#define SIM_IMPORT_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct import_text {
	const char *it_at;
	size_t it_n;
};

struct import_event {
	struct import_text ie_task; /* its name */
	uint64_t ie_pid;
	uint64_t ie_time_ns;
	struct import_text ie_name; /* without the subsystem */
	struct import_text ie_rest;
};

enum import_kind { IMPORT_EVENT, IMPORT_COMMENT, IMPORT_WRONG };

enum import_kind import_split(const char *line, size_t nbytes, struct import_event *e);

bool import_is(struct import_text t, const char *word);

/*
 * The number after a word: "address 0x1000" or, in the kernels before 6.1, "address 1000", which is
 * hexadecimal, too. False if the word is not there or no number follows it.
 */
bool import_hex(struct import_text t, const char *word, uint64_t *value);
bool import_decimal(struct import_text t, const char *word, uint64_t *value);

/* What is between two words, without the blanks. */
bool import_between(struct import_text t, const char *before, const char *after,
		    struct import_text *out);

#endif /* SIM_IMPORT_LINE_H */
