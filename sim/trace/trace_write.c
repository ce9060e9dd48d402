/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Writing traces.
 *
 * Three things make a trace small. Virtual addresses are renumbered by 2 MiB regions in the order
 * of their first touch, so page numbers are small and neighbors within a region stay neighbors.
 * Repeated accesses within a short window are counted in one record. And a record names its page
 * by how recently it was used; that leaves zstd with short, repetitive bytes.
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "sim/cli/outfile.h"
#include "sim/trace/trace.h"
#include "sim/trace/trace_format.h"

#define REGION_SLOTS (4 * TRACE_REGIONS_MAX) /* open addressing, at most a quarter full */
#define ZSTD_LEVEL 19

struct trace_writer {
	char program[TRACE_PROGRAM_MAX + 1];
	unsigned int window;
	int error; /* the first one */
	const char *error_text;

	uint64_t accesses;
	uint64_t records;
	uint64_t pages;
	uint8_t *page_seen; /* bitmap, by guest page number */

	uint64_t last_vregion; /* the region looked up last, and its number */
	uint32_t last_region;
	uint32_t nregions;
	uint64_t *regions; /* number -> va >> TRACE_REGION_SHIFT */
	uint32_t *slots;   /* hash of the above: number + 1, or 0 */

	/* Records that may still be joined, oldest first, in a ring. */
	struct trace_access pending[TRACE_WINDOW_MAX];
	unsigned int first;
	unsigned int npending;

	bool timed;
	uint32_t vcpus;	  /* one more than the highest */
	uint64_t time_ns; /* of the last record written */
	uint64_t first_ns;

	uint32_t page; /* of the last record written */
	uint32_t nrecent;
	uint32_t recent[TRACE_RECENT];
	uint8_t *body;
	size_t body_bytes;
	size_t body_room;
};

struct trace_writer *
trace_writer_new(const char *program, unsigned int window)
{
	struct trace_writer *w = calloc(1, sizeof(*w));

	assert(window >= 1 && window <= TRACE_WINDOW_MAX);
	if (!w)
		return NULL;
	w->window = window;
	w->last_vregion = UINT64_MAX;
	w->page_seen = calloc(TRACE_REGIONS_MAX * TRACE_REGION_PAGES / 8, 1);
	w->regions = calloc(TRACE_REGIONS_MAX, sizeof(*w->regions));
	w->slots = calloc(REGION_SLOTS, sizeof(*w->slots));
	if (!w->page_seen || !w->regions || !w->slots) {
		trace_writer_free(w);
		return NULL;
	}
	snprintf(w->program, sizeof(w->program), "%s", program);
	for (char *p = w->program; *p; p++) {
		if (*p < ' ' || *p > '~')
			*p = '?';
	}
	return w;
}

void
trace_writer_free(struct trace_writer *w)
{
	if (!w)
		return;
	free(w->page_seen);
	free(w->regions);
	free(w->slots);
	free(w->body);
	free(w);
}

static bool
give_up(struct trace_writer *w, int error, const char *text)
{
	if (!w->error) {
		w->error = error;
		w->error_text = text;
	}
	return false;
}

/* The number of a region, given at its first touch. */
static bool
number_region(struct trace_writer *w, uint64_t vregion, uint32_t *number)
{
	uint32_t slot = (uint32_t)(vregion * UINT64_C(0x9e3779b97f4a7c15) >> 32) % REGION_SLOTS;

	for (; w->slots[slot]; slot = (slot + 1) % REGION_SLOTS) {
		if (w->regions[w->slots[slot] - 1] == vregion) {
			*number = w->slots[slot] - 1;
			return true;
		}
	}
	if (w->nregions == TRACE_REGIONS_MAX)
		return give_up(w, -EFBIG, "the program touches too many 2 MiB regions");
	*number = w->nregions++;
	w->regions[*number] = vregion;
	w->slots[slot] = w->nregions;
	return true;
}

static uint8_t *
put_varint(uint8_t *p, uint64_t v)
{
	for (; v > 0x7f; v >>= 7)
		*p++ = (uint8_t)(v | 0x80);
	*p++ = (uint8_t)v;
	return p;
}

static bool
reserve(struct trace_writer *w, size_t nbytes)
{
	uint8_t *bigger;

	if (w->body_room - w->body_bytes >= nbytes)
		return true;
	if (w->body_room >= TRACE_BODY_MAX)
		return give_up(w, -EFBIG, "the program makes more accesses than a trace can hold");
	bigger = realloc(w->body, w->body_room ? 2 * w->body_room : (size_t)1 << 16);
	if (!bigger)
		return give_up(w, -ENOMEM, "out of memory");
	w->body = bigger;
	w->body_room = w->body_room ? 2 * w->body_room : (size_t)1 << 16;
	return true;
}

static bool
write_record(struct trace_writer *w, const struct trace_access *a)
{
	uint32_t rank = 0;
	uint8_t *p;

	if (!reserve(w, 2 + 4 * TRACE_VARINT_BYTES_MAX))
		return false;
	while (rank < w->nrecent && w->recent[rank] != a->ta_page)
		rank++;

	p = w->body + w->body_bytes;
	if (rank < w->nrecent) {
		*p++ = (uint8_t)(a->ta_kind | rank << TRACE_TAG_RANK_SHIFT);
	} else {
		const int64_t delta = (int64_t)a->ta_page - (int64_t)w->page;

		*p++ = (uint8_t)(a->ta_kind | TRACE_RANK_EXPLICIT << TRACE_TAG_RANK_SHIFT);
		p = put_varint(p, (uint64_t)delta << 1 ^ (delta < 0 ? UINT64_MAX : 0));
	}
	*p++ = (uint8_t)(a->ta_offset / TRACE_OFFSET_UNIT);
	p = put_varint(p, a->ta_count - 1);
	if (w->timed) {
		p = put_varint(p, a->ta_vcpu);
		p = put_varint(p, a->ta_time_ns - w->time_ns);
		w->time_ns = a->ta_time_ns;
	}

	w->nrecent = trace_recent_touch(w->recent, w->nrecent, TRACE_RECENT, rank, a->ta_page);
	w->page = a->ta_page;
	w->body_bytes = (size_t)(p - w->body);
	w->records++;
	return true;
}

static bool
write_oldest(struct trace_writer *w)
{
	const struct trace_access *oldest = &w->pending[w->first];

	w->first = (w->first + 1) % w->window;
	w->npending--;
	return write_record(w, oldest);
}

static bool
number_page(struct trace_writer *w, uint64_t va, uint32_t *page)
{
	const uint64_t vregion = va >> TRACE_REGION_SHIFT;

	if (vregion != w->last_vregion) {
		if (!number_region(w, vregion, &w->last_region))
			return false;
		w->last_vregion = vregion;
	}
	*page = w->last_region * TRACE_REGION_PAGES +
		(uint32_t)(va >> TRACE_PAGE_SHIFT) % TRACE_REGION_PAGES;
	return true;
}

static void
count_page(struct trace_writer *w, uint32_t page)
{
	if (!(w->page_seen[page / 8] >> page % 8 & 1)) {
		w->page_seen[page / 8] |= (uint8_t)(1u << page % 8);
		w->pages++;
	}
}

static uint16_t
offset_of(uint64_t va)
{
	return va % (1u << TRACE_PAGE_SHIFT) / TRACE_OFFSET_UNIT * TRACE_OFFSET_UNIT;
}

/* One access within one page. */
static bool
access_page(struct trace_writer *w, uint64_t va, enum trace_kind kind)
{
	uint32_t page;

	if (!number_page(w, va, &page))
		return false;
	w->accesses++;
	for (unsigned int i = w->npending; i-- > 0;) {
		struct trace_access *a = &w->pending[(w->first + i) % w->window];

		if (a->ta_page == page && a->ta_kind == kind) {
			a->ta_count++;
			return true;
		}
	}
	count_page(w, page);
	if (w->npending == w->window && !write_oldest(w))
		return false;
	w->pending[(w->first + w->npending++) % w->window] = (struct trace_access){
		.ta_count = 1,
		.ta_page = page,
		.ta_offset = offset_of(va),
		.ta_kind = kind,
	};
	return true;
}

bool
trace_writer_access(struct trace_writer *w, uint64_t va, uint64_t nbytes, enum trace_kind kind)
{
	const uint64_t page_bytes = (uint64_t)1 << TRACE_PAGE_SHIFT;
	uint64_t last;

	if (w->error)
		return false;
	if (nbytes == 0 || nbytes > page_bytes)
		return give_up(w, -EINVAL, "an access has a size that no instruction has");
	last = va + nbytes - 1;
	if (last < va)
		last = UINT64_MAX;
	if (!access_page(w, va, kind))
		return false;
	if (last >> TRACE_PAGE_SHIFT != va >> TRACE_PAGE_SHIFT)
		return access_page(w, last & ~(page_bytes - 1), kind);
	return true;
}

bool
trace_writer_event(struct trace_writer *w, uint64_t gpa, enum trace_kind kind, unsigned int vcpu,
		   uint64_t time_ns)
{
	struct trace_access a = {
		.ta_count = 1,
		.ta_offset = offset_of(gpa),
		.ta_kind = kind,
		.ta_vcpu = (uint16_t)vcpu,
	};

	if (w->error)
		return false;
	assert(w->accesses == 0 || w->timed);
	if (vcpu >= TRACE_VCPUS_MAX)
		return give_up(w, -EFBIG, "the guest has too many vCPUs");
	if (!w->timed)
		w->first_ns = time_ns;
	w->timed = true;
	assert(time_ns - w->first_ns >= w->time_ns);
	a.ta_time_ns = time_ns - w->first_ns;
	if (!number_page(w, gpa, &a.ta_page))
		return false;
	if (vcpu >= w->vcpus)
		w->vcpus = vcpu + 1;
	w->accesses++;
	count_page(w, a.ta_page);
	return write_record(w, &a);
}

uint64_t
trace_writer_accesses(const struct trace_writer *w)
{
	return w->accesses;
}

/* ---- The file ------------------------------------------------------------------------------- */

static int
fail(int error, const char *text, char *why, size_t why_bytes)
{
	snprintf(why, why_bytes, "%s", text);
	return error;
}

/* Compresses one piece into the stream; the last one ends the frame. */
static bool
compress(ZSTD_CCtx *zstd, FILE *to, const uint8_t *bytes, size_t nbytes, bool last)
{
	ZSTD_inBuffer in = {bytes, nbytes, 0};
	uint8_t chunk[1 << 14];
	size_t left;

	do {
		ZSTD_outBuffer out = {chunk, sizeof(chunk), 0};

		left = ZSTD_compressStream2(zstd, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left) || fwrite(chunk, 1, out.pos, to) != out.pos)
			return false;
	} while (in.pos < in.size || (last && left > 0));
	return true;
}

static void
make_header(const struct trace_writer *w, const uint8_t *regions, uint8_t *h)
{
	const size_t program_bytes = strlen(w->program);
	uint64_t sum = TRACE_CHECKSUM_SEED;

	memset(h, 0, TRACE_HEADER_BYTES);
	memcpy(h + TRACE_H_MAGIC, TRACE_MAGIC, 8);
	trace_put(h + TRACE_H_VERSION, 4, w->timed ? TRACE_VERSION_TIMED : TRACE_VERSION);
	trace_put(h + TRACE_H_WINDOW, 4, w->window);
	trace_put(h + TRACE_H_RECORDS, 8, w->records);
	trace_put(h + TRACE_H_ACCESSES, 8, w->accesses);
	trace_put(h + TRACE_H_PAGES, 8, w->pages);
	trace_put(h + TRACE_H_REGIONS, 4, w->nregions);
	trace_put(h + TRACE_H_PROGRAM_BYTES, 4, program_bytes);
	trace_put(h + TRACE_H_BODY_BYTES, 8, w->body_bytes);

	sum = trace_checksum(sum, h, TRACE_HEADER_BYTES);
	sum = trace_checksum(sum, (const uint8_t *)w->program, program_bytes);
	sum = trace_checksum(sum, regions, w->nregions * sizeof(uint64_t));
	sum = trace_checksum(sum, w->body, w->body_bytes);
	trace_put(h + TRACE_H_CHECKSUM, 8, sum);
}

static bool
write_all(const struct trace_writer *w, const uint8_t *regions, ZSTD_CCtx *zstd, FILE *to)
{
	const size_t program_bytes = strlen(w->program);
	const size_t region_bytes = w->nregions * sizeof(uint64_t);
	uint8_t header[TRACE_HEADER_BYTES];

	ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
	ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, TRACE_ZSTD_WINDOW_LOG);
	ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
	ZSTD_CCtx_setPledgedSrcSize(zstd,
				    sizeof(header) + program_bytes + region_bytes + w->body_bytes);
	make_header(w, regions, header);
	return compress(zstd, to, header, sizeof(header), false) &&
	       compress(zstd, to, (const uint8_t *)w->program, program_bytes, false) &&
	       compress(zstd, to, regions, region_bytes, false) &&
	       compress(zstd, to, w->body, w->body_bytes, true);
}

static int
write_file(const struct trace_writer *w, const char *path, char *why, size_t why_bytes)
{
	uint8_t *regions = malloc((size_t)w->nregions * sizeof(uint64_t));
	ZSTD_CCtx *zstd = ZSTD_createCCtx();
	struct outfile of;
	int error;

	if (!regions || !zstd) {
		free(regions);
		ZSTD_freeCCtx(zstd);
		return fail(-ENOMEM, "out of memory", why, why_bytes);
	}
	for (uint32_t i = 0; i < w->nregions; i++)
		trace_put(regions + i * sizeof(uint64_t), 8, w->regions[i]);
	error = outfile_open(&of, path, why, why_bytes);
	if (!error && !write_all(w, regions, zstd, of.of_stream)) {
		outfile_abort(&of);
		snprintf(why, why_bytes, "cannot write %s", path);
		error = -EIO;
	} else if (!error) {
		error = outfile_commit(&of, why, why_bytes);
	}
	ZSTD_freeCCtx(zstd);
	free(regions);
	return error;
}

int
trace_writer_finish(struct trace_writer *w, const char *path, struct trace_info *info, char *why,
		    size_t why_bytes)
{
	int error;

	while (!w->error && w->npending > 0)
		write_oldest(w);
	if (!w->error && w->body_bytes > TRACE_BODY_MAX)
		give_up(w, -EFBIG, "the program makes more accesses than a trace can hold");
	if (!w->error && w->records == 0)
		give_up(w, -ENODATA, "the program made no memory access that could be seen");
	if (w->error)
		return fail(w->error, w->error_text, why, why_bytes);
	error = write_file(w, path, why, why_bytes);
	if (!error && info) {
		*info = (struct trace_info){
			.ti_records = w->records,
			.ti_accesses = w->accesses,
			.ti_pages = w->pages,
			.ti_regions = w->nregions,
			.ti_window = w->window,
			.ti_timed = w->timed,
			.ti_vcpus = w->timed ? w->vcpus : 1,
			.ti_ns = w->time_ns,
		};
	}
	return error;
}
