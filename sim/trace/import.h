/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Faults of real guests, as Linux' tracing tools print them, become a timed trace: docs/TRACE.md
 * says which lines are understood. What is not understood is counted and named, never guessed.
 */

#ifndef SIM_IMPORT_H
#define SIM_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/trace/trace.h"

#define IMPORT_REASONS_MAX 64
#define IMPORT_REASON_BYTES 32
#define IMPORT_WRONG_KEPT 5

struct import_reason {
	char ir_name[IMPORT_REASON_BYTES];
	uint64_t ir_count;
};

struct import_counts {
	uint64_t ic_lines;
	uint64_t ic_events; /* lines that are events of any kind */
	uint64_t ic_faults; /* made into accesses */
	uint64_t ic_exits;
	uint64_t ic_shadow;    /* faults that shadow paging had: of linear addresses, left out */
	uint64_t ic_failed;    /* vmm_fault with an error: left out */
	uint64_t ic_strange;   /* events of another machine than the first (vmm_*): left out */
	uint64_t ic_others;    /* events that say nothing about faults */
	uint64_t ic_comments;  /* headers, empty lines, call stacks */
	uint64_t ic_backwards; /* events before the one above: put in order */
	uint64_t ic_wrong;
	struct {
		uint64_t iw_line;
		char iw_why[96];
	} ic_first_wrong[IMPORT_WRONG_KEPT];
	bool ic_shared_vcpu; /* two threads ran the vCPU of one number: two guests in one file? */
	unsigned int ic_nreasons;
	struct import_reason ic_reasons[IMPORT_REASONS_MAX]; /* of exits; the last: all others */
};

struct import;

/* NULL when out of memory. */
struct import *import_new(void);
void import_free(struct import *im);

/* One line, without its newline. -ENOMEM, or 0 whatever the line is. */
int import_line(struct import *im, const char *line, size_t nbytes);

/* All lines of a file; "-": of standard input. A negative errno, with a sentence. */
int import_file(struct import *im, const char *path, char *why, size_t why_bytes);

const struct import_counts *import_counts(const struct import *im);

/*
 * Writes the faults, in order of time. As trace_writer_finish(); -ENODATA if there were none. The
 * trace has `name` as its program.
 */
int import_write(struct import *im, const char *path, const char *name, struct trace_info *info,
		 char *why, size_t why_bytes);

#endif /* SIM_IMPORT_H */
