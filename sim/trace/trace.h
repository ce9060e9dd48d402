/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Traces: the memory accesses of a real program, to be replayed as a guest. docs/TRACE.md has the
 * file format and what recording keeps and what it does not.
 *
 * A trace lies in memory as compact, fully validated bytes, which any number of cursors may read;
 * a cursor cannot fail.
 */

#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum trace_kind {
	TRACE_FETCH, /* instruction */
	TRACE_LOAD,
	TRACE_STORE,
	TRACE_MODIFY, /* load and store of one instruction */
	TRACE_KINDS,
};

/* Guest pages are numbered by regions, so that what was one superpage to the program stays one. */
#define TRACE_PAGE_SHIFT 12
#define TRACE_REGION_SHIFT 21
#define TRACE_REGION_PAGES 512u

#define TRACE_REGIONS_MAX 16384u /* 32 GiB of guest-physical addresses */
#define TRACE_PROGRAM_MAX 4096u
#define TRACE_BODY_MAX ((uint64_t)256 << 20)
#define TRACE_WINDOW_MAX 256u
#define TRACE_WINDOW_DEFAULT 32u
#define TRACE_RECENT 63u /* pages that a record can name by a small number */
#define TRACE_OFFSET_UNIT 16u
#define TRACE_VCPUS_MAX 256u

struct trace_access {
	uint64_t ta_count;  /* accesses that this one stands for, at least 1 */
	uint32_t ta_page;   /* guest page number, below ti_regions * TRACE_REGION_PAGES */
	uint16_t ta_offset; /* within the page, rounded down to TRACE_OFFSET_UNIT */
	enum trace_kind ta_kind;
	uint16_t ta_vcpu;    /* of a timed trace; else 0 */
	uint64_t ta_time_ns; /* since its first access; else 0 */
};

struct trace_info {
	const char *ti_program; /* as it was started; printable ASCII */
	uint64_t ti_records;	/* what a cursor yields */
	uint64_t ti_accesses;	/* what the program made: the sum of ta_count */
	uint64_t ti_pages;	/* distinct pages touched */
	uint32_t ti_regions;
	uint32_t ti_window; /* records that an access could be joined with when recorded */
	bool ti_timed;	    /* faults of a real guest, with vCPU and time; nothing is joined */
	uint32_t ti_vcpus;  /* 1 unless timed: one more than the highest */
	uint64_t ti_ns;	    /* from the first to the last */
};

struct trace;

/*
 * Reads and validates a trace. Returns 0; -EINVAL with one sentence in why for what is not a sound
 * trace; another negative errno, with a sentence, for what could not be read. Memory is bounded by
 * the limits above, whatever the file claims.
 */
int trace_open(const char *path, struct trace **out, char *why, size_t why_bytes);

/* The same from compressed bytes in memory. */
int trace_parse(const void *bytes, size_t nbytes, struct trace **out, char *why, size_t why_bytes);

void trace_close(struct trace *t); /* NULL is allowed */

const struct trace_info *trace_info(const struct trace *t);

/* The virtual address that the program knew this guest page by. */
uint64_t trace_page_va(const struct trace *t, uint32_t page);

/* A reader; the fields are private. Copy it to mark a place. */
struct trace_cursor {
	const uint8_t *tc_next;
	const uint8_t *tc_end;
	uint32_t tc_npages; /* bound of page numbers */
	uint32_t tc_page;   /* of the last record */
	uint32_t tc_nrecent;
	uint32_t tc_recent[TRACE_RECENT]; /* latest first */
	bool tc_timed;
	uint64_t tc_time_ns;
};

void trace_rewind(struct trace_cursor *c, const struct trace *t);

/* The next access; false at the end. */
bool trace_next(struct trace_cursor *c, struct trace_access *a);

/* ---- Writing -------------------------------------------------------------------------------- */

struct trace_writer;

/*
 * window: 1 .. TRACE_WINDOW_MAX. An access to the same page and of the same kind as one of the
 * latest `window` records is counted there instead of making a record. NULL when out of memory.
 */
struct trace_writer *trace_writer_new(const char *program, unsigned int window);

/*
 * One access of the program, which may cross pages. Errors (a limit, memory) stick and are
 * returned by trace_writer_finish(); false once there is one.
 */
bool trace_writer_access(struct trace_writer *w, uint64_t va, uint64_t nbytes,
			 enum trace_kind kind);

/*
 * One fault of a guest, at a time that is not before that of the last one. A trace has either such
 * events or accesses as above, and is timed if it has events.
 */
bool trace_writer_event(struct trace_writer *w, uint64_t gpa, enum trace_kind kind,
			unsigned int vcpu, uint64_t time_ns);

/* Accesses counted so far, and the records they made. */
uint64_t trace_writer_accesses(const struct trace_writer *w);

/*
 * Writes the trace to path, which appears whole or not at all. Returns 0, with what was written in
 * *info if that is not NULL (but for the program's name), or a negative errno with a sentence:
 * -EFBIG for a limit, -ENODATA if there was no access at all.
 */
int trace_writer_finish(struct trace_writer *w, const char *path, struct trace_info *info,
			char *why, size_t why_bytes);

void trace_writer_free(struct trace_writer *w);

/* ---- Recording ------------------------------------------------------------------------------ */

struct trace_recording {
	const char *tr_path;	 /* file to write */
	const char *tr_valgrind; /* program to trace with; NULL: "valgrind" on PATH */
	const char *tr_name;	 /* program name for the file; NULL: the command's words */
	unsigned int tr_window;
	char *const *tr_argv; /* the program to record; NULL-terminated */
	void (*tr_progress)(void *arg, uint64_t accesses); /* now and then; may be NULL */
	void *tr_arg;

	struct trace_info tr_info; /* result */
	int tr_status;		   /* result: the program's own, as of waitpid() */
};

/*
 * Runs a program under Valgrind's lackey and writes its trace, converted as it arrives. Returns 0
 * when a trace was written, whatever the program's exit status; else a negative errno and one
 * sentence: -ENOPKG without valgrind, -ENOENT or -EACCES for a program that cannot be started.
 */
int trace_record(struct trace_recording *r, char *why, size_t why_bytes);

/* Feeds one line of lackey's output; lines that are no accesses are ignored. For tests. */
bool trace_record_line(struct trace_writer *w, const char *line, size_t nbytes);

#endif /* SIM_TRACE_H */
