/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Reading traces. A file is hostile until proved sound: sizes are checked against fixed limits
 * before anything is allocated for them, memory grows only as fast as data really arrives, and the
 * whole body is decoded once before anybody may use it.
 */

#include "sim/trace/trace.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "sim/trace/trace_format.h"

struct trace {
	struct trace_info info;
	uint8_t *payload; /* program name, regions, body */
	size_t payload_bytes;
	const uint8_t *regions;
	const uint8_t *body;
	size_t body_bytes;
	char program[TRACE_PROGRAM_MAX + 1];
};

/* One compressed file being read, and where to put the sentence if it is unsound. */
struct inflater {
	FILE *file;
	ZSTD_DStream *zstd;
	ZSTD_inBuffer in;
	uint8_t *chunk;
	size_t chunk_bytes;
	bool started;
	bool ended; /* the frame is complete */
	char *why;
	size_t why_bytes;
};

__attribute__((format(printf, 2, 3))) static int
unsound(struct inflater *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->why, f->why_bytes, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int
refill(struct inflater *f)
{
	static const uint8_t zstd_magic[4] = {0x28, 0xb5, 0x2f, 0xfd};

	f->in.pos = 0;
	f->in.size = fread(f->chunk, 1, f->chunk_bytes, f->file);
	if (f->in.size == 0 && ferror(f->file)) {
		const int error = errno ? errno : EIO;

		snprintf(f->why, f->why_bytes, "cannot be read: %s", strerror(error));
		return -error;
	}
	if (!f->started) {
		f->started = true;
		if (f->in.size == 0)
			return unsound(f, "is empty");
		if (f->in.size < sizeof(zstd_magic) ||
		    memcmp(f->chunk, zstd_magic, sizeof(zstd_magic)) != 0)
			return unsound(f, "is not a trace: it is not compressed by zstd");
	}
	return 0;
}

/* Decompresses up to want bytes; *got is less only where the frame ends. */
static int
inflate(struct inflater *f, uint8_t *to, size_t want, size_t *got)
{
	ZSTD_outBuffer out = {to, want, 0};

	while (out.pos < want && !f->ended) {
		size_t rc;

		if (f->in.pos == f->in.size) {
			const int error = refill(f);

			if (error)
				return error;
			if (f->in.size == 0)
				return unsound(f, "is truncated");
		}
		rc = ZSTD_decompressStream(f->zstd, &out, &f->in);
		if (ZSTD_isError(rc))
			return unsound(f, "is damaged: %s", ZSTD_getErrorName(rc));
		f->ended = rc == 0;
	}
	*got = out.pos;
	return 0;
}

/* Reads n bytes into memory that grows with what arrives, not with what the header promises. */
static int
inflate_payload(struct inflater *f, size_t n, uint8_t **payload)
{
	size_t room = 0;
	size_t have = 0;

	*payload = NULL;
	while (have < n) {
		uint8_t *bigger;
		size_t got;
		int error;

		room = room ? 2 * room : (size_t)1 << 20;
		if (room > n)
			room = n;
		bigger = realloc(*payload, room);
		if (!bigger) {
			snprintf(f->why, f->why_bytes, "does not fit into memory");
			return -ENOMEM;
		}
		*payload = bigger;
		error = inflate(f, bigger + have, room - have, &got);
		if (error)
			return error;
		have += got;
		if (have < room)
			return unsound(f, "is truncated: its header promises more than it holds");
	}
	return 0;
}

static int
check_header(struct inflater *f, const uint8_t *h, struct trace *t)
{
	struct trace_info *i = &t->info;
	const uint64_t version = trace_get(h + TRACE_H_VERSION, 4);
	const uint64_t program_bytes = trace_get(h + TRACE_H_PROGRAM_BYTES, 4);
	const uint64_t body_bytes = trace_get(h + TRACE_H_BODY_BYTES, 8);

	if (memcmp(h + TRACE_H_MAGIC, TRACE_MAGIC, 8) != 0)
		return unsound(f, "is not a trace: wrong magic");
	if (version != TRACE_VERSION && version != TRACE_VERSION_TIMED)
		return unsound(f, "has format version %u; this program reads versions %u and %u",
			       (unsigned int)version, TRACE_VERSION, TRACE_VERSION_TIMED);
	i->ti_timed = version == TRACE_VERSION_TIMED;
	i->ti_vcpus = 1;
	i->ti_window = (uint32_t)trace_get(h + TRACE_H_WINDOW, 4);
	i->ti_records = trace_get(h + TRACE_H_RECORDS, 8);
	i->ti_accesses = trace_get(h + TRACE_H_ACCESSES, 8);
	i->ti_pages = trace_get(h + TRACE_H_PAGES, 8);
	i->ti_regions = (uint32_t)trace_get(h + TRACE_H_REGIONS, 4);
	if (i->ti_window < 1 || i->ti_window > TRACE_WINDOW_MAX)
		return unsound(f, "claims a window of %u records; at most %u are allowed",
			       i->ti_window, TRACE_WINDOW_MAX);
	if (i->ti_regions > TRACE_REGIONS_MAX)
		return unsound(f, "claims %u regions; at most %u are allowed", i->ti_regions,
			       TRACE_REGIONS_MAX);
	if (program_bytes > TRACE_PROGRAM_MAX)
		return unsound(f, "claims a program name of %u bytes; at most %u are allowed",
			       (unsigned int)program_bytes, TRACE_PROGRAM_MAX);
	if (body_bytes > TRACE_BODY_MAX)
		return unsound(f, "claims %llu bytes of records; at most %llu are allowed",
			       (unsigned long long)body_bytes, (unsigned long long)TRACE_BODY_MAX);
	if (i->ti_records == 0 || i->ti_records > body_bytes / TRACE_RECORD_BYTES_MIN)
		return unsound(f, "claims a number of records that its size does not allow");

	t->payload_bytes =
		program_bytes + (size_t)i->ti_regions * sizeof(uint64_t) + (size_t)body_bytes;
	t->body_bytes = (size_t)body_bytes;
	return 0;
}

/* Takes the payload apart; the checksum is known to be right, but not who computed it. */
static int
check_parts(struct inflater *f, struct trace *t, size_t program_bytes)
{
	static const unsigned int va_region_bits = 64 - TRACE_REGION_SHIFT;

	for (size_t i = 0; i < program_bytes; i++) {
		if (t->payload[i] < ' ' || t->payload[i] > '~')
			return unsound(f, "has a program name that is not printable");
	}
	memcpy(t->program, t->payload, program_bytes);
	t->info.ti_program = t->program;
	t->regions = t->payload + program_bytes;
	t->body = t->regions + (size_t)t->info.ti_regions * sizeof(uint64_t);
	for (uint32_t i = 0; i < t->info.ti_regions; i++) {
		if (trace_get(t->regions + i * sizeof(uint64_t), 8) >> va_region_bits)
			return unsound(f, "has region %u outside the address space", i);
	}
	return 0;
}

static bool
get_varint(const uint8_t **next, const uint8_t *end, uint64_t *value)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < TRACE_VARINT_BYTES_MAX && *next < end; i++) {
		const uint64_t byte = *(*next)++;

		if (i == TRACE_VARINT_BYTES_MAX - 1 && byte > 1)
			return false;
		v |= (byte & 0x7f) << (7 * i);
		if (!(byte & 0x80)) {
			*value = v;
			return true;
		}
	}
	return false;
}

/* What a record of a timed trace has beyond: NULL, or what is wrong with it. */
static const char *
decode_time(struct trace_cursor *c, struct trace_access *a)
{
	uint64_t v;

	if (!get_varint(&c->tc_next, c->tc_end, &v) || v >= TRACE_VCPUS_MAX)
		return "has a bad vCPU";
	a->ta_vcpu = (uint16_t)v;
	if (!get_varint(&c->tc_next, c->tc_end, &v) ||
	    __builtin_add_overflow(c->tc_time_ns, v, &c->tc_time_ns))
		return "has a bad time";
	a->ta_time_ns = c->tc_time_ns;
	return NULL;
}

/* Returns NULL, or what is wrong with the record. *end is set instead at the end of the body. */
static const char *
decode(struct trace_cursor *c, struct trace_access *a, bool *end)
{
	uint32_t rank;
	uint64_t v;

	*end = c->tc_next == c->tc_end;
	if (*end)
		return NULL;
	a->ta_vcpu = 0;
	a->ta_time_ns = 0;
	a->ta_kind = *c->tc_next & TRACE_TAG_KIND_MASK;
	rank = *c->tc_next++ >> TRACE_TAG_RANK_SHIFT;
	if (rank == TRACE_RANK_EXPLICIT) {
		uint64_t page;

		if (!get_varint(&c->tc_next, c->tc_end, &v))
			return "has a bad page number";
		/* Unsigned arithmetic: a difference that is too large lands beyond the bound. */
		page = c->tc_page + ((v >> 1) ^ -(v & 1));
		if (page >= c->tc_npages)
			return "names a page beyond its regions";
		c->tc_page = (uint32_t)page;
		rank = c->tc_nrecent;
	} else if (rank < c->tc_nrecent) {
		c->tc_page = c->tc_recent[rank];
	} else {
		return "refers to a recent page that there is not";
	}
	c->tc_nrecent =
		trace_recent_touch(c->tc_recent, c->tc_nrecent, TRACE_RECENT, rank, c->tc_page);
	a->ta_page = c->tc_page;

	if (c->tc_next == c->tc_end)
		return "ends early";
	a->ta_offset = (uint16_t)(*c->tc_next++ * TRACE_OFFSET_UNIT);
	if (!get_varint(&c->tc_next, c->tc_end, &v) || v == UINT64_MAX)
		return "has a bad count";
	a->ta_count = v + 1;
	return c->tc_timed ? decode_time(c, a) : NULL;
}

/* Decodes everything once, so that cursors need not doubt. */
static int
check_body(struct inflater *f, struct trace *t)
{
	const uint32_t npages = t->info.ti_regions * TRACE_REGION_PAGES;
	uint64_t records = 0, accesses = 0, pages = 0;
	struct trace_access a;
	struct trace_cursor c;
	uint8_t *seen;

	seen = calloc(npages / 8 + 1, 1);
	if (!seen) {
		snprintf(f->why, f->why_bytes, "does not fit into memory");
		return -ENOMEM;
	}
	trace_rewind(&c, t);
	for (;;) {
		bool end;
		const char *wrong = decode(&c, &a, &end);

		if (end)
			break;
		records++;
		if (!wrong && __builtin_add_overflow(accesses, a.ta_count, &accesses))
			wrong = "has a bad count";
		if (wrong) {
			free(seen);
			return unsound(f, "is unsound: record %llu %s", (unsigned long long)records,
				       wrong);
		}
		if (a.ta_vcpu >= t->info.ti_vcpus)
			t->info.ti_vcpus = a.ta_vcpu + 1u;
		pages += !(seen[a.ta_page / 8] >> a.ta_page % 8 & 1);
		seen[a.ta_page / 8] |= (uint8_t)(1u << a.ta_page % 8);
	}
	free(seen);
	t->info.ti_ns = c.tc_time_ns;
	if (records != t->info.ti_records || accesses != t->info.ti_accesses ||
	    pages != t->info.ti_pages)
		return unsound(f, "is unsound: its header counts something else than it holds");
	return 0;
}

static int
read_trace(struct inflater *f, struct trace *t)
{
	uint8_t header[TRACE_HEADER_BYTES];
	uint64_t claimed, sum;
	uint8_t beyond;
	size_t got;
	int error;

	error = inflate(f, header, sizeof(header), &got);
	if (error)
		return error;
	if (got < sizeof(header))
		return unsound(f, "is not a trace: too short");
	error = check_header(f, header, t);
	if (error)
		return error;
	error = inflate_payload(f, t->payload_bytes, &t->payload);
	if (error)
		return error;
	error = inflate(f, &beyond, 1, &got);
	if (error)
		return error;
	if (got > 0 || f->in.pos < f->in.size || fgetc(f->file) != EOF)
		return unsound(f, "has data after its end");

	claimed = trace_get(header + TRACE_H_CHECKSUM, 8);
	trace_put(header + TRACE_H_CHECKSUM, 8, 0);
	sum = trace_checksum(TRACE_CHECKSUM_SEED, header, sizeof(header));
	if (trace_checksum(sum, t->payload, t->payload_bytes) != claimed)
		return unsound(f, "is damaged: wrong checksum");
	error = check_parts(f, t, trace_get(header + TRACE_H_PROGRAM_BYTES, 4));
	return error ? error : check_body(f, t);
}

static int
open_stream(FILE *file, struct trace **out, char *why, size_t why_bytes)
{
	struct inflater f = {.file = file, .why = why, .why_bytes = why_bytes};
	struct trace *t = calloc(1, sizeof(*t));
	int error = -ENOMEM;

	f.chunk_bytes = ZSTD_DStreamInSize();
	f.chunk = malloc(f.chunk_bytes);
	f.in.src = f.chunk;
	f.zstd = ZSTD_createDStream();
	if (t && f.chunk && f.zstd) {
		ZSTD_DCtx_setParameter(f.zstd, ZSTD_d_windowLogMax, TRACE_ZSTD_WINDOW_LOG);
		error = read_trace(&f, t);
	} else {
		snprintf(why, why_bytes, "cannot be read: out of memory");
	}
	ZSTD_freeDStream(f.zstd);
	free(f.chunk);
	if (error) {
		trace_close(t);
		return error;
	}
	*out = t;
	return 0;
}

int
trace_open(const char *path, struct trace **out, char *why, size_t why_bytes)
{
	FILE *file = fopen(path, "rb");
	int error;

	if (!file) {
		error = errno;
		snprintf(why, why_bytes, "cannot be read: %s", strerror(error));
		return -error;
	}
	error = open_stream(file, out, why, why_bytes);
	fclose(file);
	return error;
}

int
trace_parse(const void *bytes, size_t nbytes, struct trace **out, char *why, size_t why_bytes)
{
	/* fmemopen() takes no empty buffer, and does not write to one opened for reading. */
	FILE *file = nbytes ? fmemopen((void *)bytes, nbytes, "rb") : fopen("/dev/null", "rb");
	int error;

	if (!file) {
		error = errno;
		snprintf(why, why_bytes, "cannot be read: %s", strerror(error));
		return -error;
	}
	error = open_stream(file, out, why, why_bytes);
	fclose(file);
	return error;
}

void
trace_close(struct trace *t)
{
	if (t)
		free(t->payload);
	free(t);
}

const struct trace_info *
trace_info(const struct trace *t)
{
	return &t->info;
}

uint64_t
trace_page_va(const struct trace *t, uint32_t page)
{
	const uint32_t region = page / TRACE_REGION_PAGES;

	assert(region < t->info.ti_regions);
	return trace_get(t->regions + region * sizeof(uint64_t), 8) << TRACE_REGION_SHIFT |
	       (uint64_t)(page % TRACE_REGION_PAGES) << TRACE_PAGE_SHIFT;
}

void
trace_rewind(struct trace_cursor *c, const struct trace *t)
{
	memset(c, 0, sizeof(*c));
	c->tc_next = t->body;
	c->tc_end = t->body + t->body_bytes;
	c->tc_npages = t->info.ti_regions * TRACE_REGION_PAGES;
	c->tc_timed = t->info.ti_timed;
}

bool
trace_next(struct trace_cursor *c, struct trace_access *a)
{
	bool end;
	const char *wrong = decode(c, a, &end);

	assert(!wrong);
	(void)wrong;
	return !end;
}
