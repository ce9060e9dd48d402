/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Traces that are damaged or made to do harm: each is refused with a sentence, and none crashes the
 * reader or makes it take more memory than its limits.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "sim/trace/trace.h"
#include "sim/trace/trace_format.h"

#define WHY_BYTES 256
#define PLAIN_MAX 4096

/* A small trace by hand: header, name "p", two regions, records. */
struct plain {
	uint8_t bytes[PLAIN_MAX];
	size_t n;
};

/* Fetch, page given as a difference of +1, offset 16 * 16, once. */
static const uint8_t body[] = {0xfc, 0x02, 0x10, 0x00};

static void
make_plain(struct plain *p, const uint8_t *records, size_t nbytes, uint64_t nrecords,
	   uint64_t accesses, uint64_t pages)
{
	uint8_t *h = p->bytes;

	memset(p, 0, sizeof(*p));
	memcpy(h + TRACE_H_MAGIC, TRACE_MAGIC, 8);
	trace_put(h + TRACE_H_VERSION, 4, TRACE_VERSION);
	trace_put(h + TRACE_H_WINDOW, 4, 32);
	trace_put(h + TRACE_H_RECORDS, 8, nrecords);
	trace_put(h + TRACE_H_ACCESSES, 8, accesses);
	trace_put(h + TRACE_H_PAGES, 8, pages);
	trace_put(h + TRACE_H_REGIONS, 4, 2);
	trace_put(h + TRACE_H_PROGRAM_BYTES, 4, 1);
	trace_put(h + TRACE_H_BODY_BYTES, 8, nbytes);
	p->n = TRACE_HEADER_BYTES;
	p->bytes[p->n++] = 'p';
	trace_put(p->bytes + p->n, 8, 2);
	trace_put(p->bytes + p->n + 8, 8, 0x3fffffffff);
	p->n += 16;
	if (nbytes)
		memcpy(p->bytes + p->n, records, nbytes);
	p->n += nbytes;
}

static void
seal(struct plain *p)
{
	trace_put(p->bytes + TRACE_H_CHECKSUM, 8, 0);
	trace_put(p->bytes + TRACE_H_CHECKSUM, 8,
		  trace_checksum(TRACE_CHECKSUM_SEED, p->bytes, p->n));
}

/* Compresses and parses; frees the result. */
static int
parse(const void *plain, size_t n, char *why)
{
	static uint8_t packed[2 * PLAIN_MAX];
	const size_t size = ZSTD_compress(packed, sizeof(packed), plain, n, 1);
	struct trace *t = NULL;
	int error;

	cr_assert_not(ZSTD_isError(size));
	*why = '\0';
	error = trace_parse(packed, size, &t, why, WHY_BYTES);
	cr_assert((error == 0) == (t != NULL));
	trace_close(t);
	return error;
}

static void
expect_refused(const struct plain *p, const char *sentence)
{
	char why[WHY_BYTES];
	const int error = parse(p->bytes, p->n, why);

	cr_expect_eq(error, -EINVAL, "%d for '%s'", error, sentence);
	cr_expect(strstr(why, sentence), "'%s' does not say '%s'", why, sentence);
}

static void
make_sound(struct plain *p)
{
	make_plain(p, body, sizeof(body), 1, 1, 1);
	seal(p);
}

Test(trace_hostile, the_handmade_trace_is_sound)
{
	char why[WHY_BYTES];
	struct plain p;

	make_sound(&p);
	cr_assert_eq(parse(p.bytes, p.n, why), 0, "%s", why);
}

Test(trace_hostile, headers_that_lie)
{
	static const struct {
		unsigned int at, nbytes;
		uint64_t value;
		const char *sentence;
	} lies[] = {
		{TRACE_H_MAGIC, 1, 'X', "wrong magic"},
		{TRACE_H_VERSION, 4, 3, "format version 3; this program reads versions 1 and 2"},
		{TRACE_H_VERSION, 4, UINT32_MAX, "format version"},
		{TRACE_H_WINDOW, 4, 0, "window"},
		{TRACE_H_WINDOW, 4, 257, "window"},
		{TRACE_H_RECORDS, 8, 0, "number of records"},
		{TRACE_H_RECORDS, 8, 2, "number of records"},
		{TRACE_H_RECORDS, 8, UINT64_MAX, "number of records"},
		{TRACE_H_ACCESSES, 8, 2, "counts something else"},
		{TRACE_H_ACCESSES, 8, UINT64_MAX, "counts something else"},
		{TRACE_H_PAGES, 8, 2, "counts something else"},
		{TRACE_H_REGIONS, 4, 1, "data after its end"},
		{TRACE_H_REGIONS, 4, 3, "promises more than it holds"},
		{TRACE_H_REGIONS, 4, TRACE_REGIONS_MAX + 1, "regions; at most"},
		{TRACE_H_REGIONS, 4, UINT32_MAX, "regions; at most"},
		{TRACE_H_PROGRAM_BYTES, 4, 2, "promises more than it holds"},
		{TRACE_H_PROGRAM_BYTES, 4, TRACE_PROGRAM_MAX + 1, "program name of"},
		{TRACE_H_PROGRAM_BYTES, 4, UINT32_MAX, "program name of"},
		{TRACE_H_BODY_BYTES, 8, TRACE_BODY_MAX, "promises more than it holds"},
		{TRACE_H_BODY_BYTES, 8, TRACE_BODY_MAX + 1, "bytes of records; at most"},
		{TRACE_H_BODY_BYTES, 8, UINT64_MAX, "bytes of records; at most"},
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct plain p;

		make_sound(&p);
		trace_put(p.bytes + lies[i].at, lies[i].nbytes, lies[i].value);
		seal(&p);
		expect_refused(&p, lies[i].sentence);
	}
}

Test(trace_hostile, parts_that_are_wrong)
{
	struct plain p;

	make_sound(&p);
	p.bytes[TRACE_HEADER_BYTES] = '\033';
	seal(&p);
	expect_refused(&p, "not printable");

	make_sound(&p);
	trace_put(p.bytes + TRACE_HEADER_BYTES + 1, 8, UINT64_C(1) << 43);
	seal(&p);
	expect_refused(&p, "region 0 outside the address space");

	make_sound(&p);
	p.bytes[p.n - 1] ^= 1;
	expect_refused(&p, "wrong checksum");

	make_sound(&p);
	p.n--;
	expect_refused(&p, "promises more than it holds");

	make_sound(&p);
	p.n++;
	expect_refused(&p, "data after its end");

	make_sound(&p);
	p.n = TRACE_HEADER_BYTES - 1;
	expect_refused(&p, "too short");
}

Test(trace_hostile, records_that_are_wrong)
{
	static const struct {
		uint8_t bytes[24];
		size_t n;
		const char *sentence;
	} bad[] = {
		{{0x00, 0x00, 0x00}, 3, "recent page that there is not"},
		{{0xfc, 0x02, 0x00, 0x00, 0x04, 0x00, 0x00}, 7, "record 2 refers to a recent page"},
		{{0xfc, 0x80, 0x10, 0x00, 0x00}, 5, "page beyond its regions"}, /* 1024 */
		{{0xfc, 0x01, 0x00, 0x00}, 4, "page beyond its regions"},	/* -1 */
		{{0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00, 0x00},
		 13,
		 "page beyond its regions"},
		{{0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x00, 0x00},
		 13,
		 "bad page number"},
		{{0xfc, 0x80, 0x80}, 3, "bad page number"},
		{{0xfc, 0x80, 0x01}, 3, "ends early"},
		{{0xfc, 0x02, 0x00, 0x80}, 4, "bad count"},
		{{0xfc, 0x02, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		 13,
		 "bad count"}, /* 2^64 accesses */
		{{0xfc, 0x02, 0x00, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
		  0x00, 0x00, 0x00},
		 16,
		 "record 2 has a bad count"}, /* the sum overflows */
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct plain p;

		make_plain(&p, bad[i].bytes, bad[i].n, 1, 1, 1);
		seal(&p);
		expect_refused(&p, bad[i].sentence);
	}
}

/* What a timed trace has beyond: vCPU and time. */
Test(trace_hostile, timed_records_that_are_wrong)
{
	static const struct {
		uint8_t bytes[24];
		size_t n;
		uint64_t records;
		const char *sentence; /* NULL: it is sound */
	} bad[] = {
		{{0xfc, 0x02, 0x10, 0x00, 0xff, 0x01, 0x05}, 7, 1, NULL}, /* vCPU 255 */
		{{0xfc, 0x02, 0x10, 0x00, 0x80, 0x02, 0x05}, 7, 1, "record 1 has a bad vCPU"},
		{{0xfc, 0x02, 0x10, 0x00}, 4, 1, "record 1 has a bad vCPU"},
		{{0xfc, 0x02, 0x10, 0x00, 0x01}, 5, 1, "record 1 has a bad time"},
		{{0xfc, 0x02, 0x10, 0x00, 0x01, 0x80}, 6, 1, "record 1 has a bad time"},
		{{0xfc, 0x02, 0x10, 0x00, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff,
		  0xff, 0xff, 0xff, 0xff, 0x01, 0x00, 0x10, 0x00, 0x01, 0x01},
		 20,
		 2,
		 "record 2 has a bad time"}, /* after the end of time */
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct plain p;

		make_plain(&p, bad[i].bytes, bad[i].n, bad[i].records, bad[i].records, 1);
		trace_put(p.bytes + TRACE_H_VERSION, 4, TRACE_VERSION_TIMED);
		seal(&p);
		if (bad[i].sentence) {
			expect_refused(&p, bad[i].sentence);
		} else {
			char why[WHY_BYTES];

			cr_expect_eq(parse(p.bytes, p.n, why), 0, "%s", why);
		}
	}
}

/* With the right checksum, so that the bytes get as far as the decoder. */
Test(trace_hostile, random_records_never_crash)
{
	unsigned int sound = 0;
	uint64_t x = 12345;

	for (int i = 0; i < 5000; i++) {
		uint8_t records[64];
		char why[WHY_BYTES];
		struct plain p;
		int error;

		for (size_t k = 0; k < sizeof(records); k++) {
			x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
			records[k] = (uint8_t)(x >> 56);
		}
		records[0] |= 0xfc;
		records[1] &= 0x7f;
		make_plain(&p, records, 4 + (size_t)(i % 60), 1, 1 + (uint64_t)records[3], 1);
		seal(&p);
		error = parse(p.bytes, p.n, why);
		cr_assert(error == 0 || (error == -EINVAL && *why), "round %d: %d", i, error);
		sound += error == 0;
	}
	cr_expect_gt(sound, 0, "some of the shortest ones are sound");
}

/* ---- Damage to the compressed file ---------------------------------------------------------- */

struct packed {
	uint8_t bytes[1 << 16];
	size_t n;
};

/* A real one, as the writer makes it, with the frame's own checksum. */
static void
make_packed(struct packed *p, uint64_t *records)
{
	char path[] = "/var/tmp/test_trace.XXXXXX";
	struct trace_writer *w = trace_writer_new("a program", 4);
	struct trace_info info;
	char why[WHY_BYTES];
	uint64_t x = 7;
	FILE *f;

	close(mkstemp(path));
	for (int i = 0; i < 3000; i++) {
		x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
		cr_assert(trace_writer_access(w, x >> 40, 1, (enum trace_kind)(x & 3)));
	}
	cr_assert_eq(trace_writer_finish(w, path, &info, why, sizeof(why)), 0, "%s", why);
	trace_writer_free(w);
	*records = info.ti_records;
	f = fopen(path, "rb");
	cr_assert(f);
	p->n = fread(p->bytes, 1, sizeof(p->bytes), f);
	cr_assert_lt(p->n, sizeof(p->bytes));
	fclose(f);
	unlink(path);
}

Test(trace_hostile, truncation_anywhere_is_refused)
{
	static struct packed p;
	uint64_t records;

	make_packed(&p, &records);
	for (size_t n = 0; n < p.n; n += n < 300 || p.n - n < 300 ? 1 : 37) {
		char why[WHY_BYTES] = "";
		struct trace *t = NULL;

		cr_assert_eq(trace_parse(p.bytes, n, &t, why, sizeof(why)), -EINVAL, "%zu bytes",
			     n);
		cr_assert(*why && !t);
	}
}

Test(trace_hostile, flipped_bits_are_refused_or_harmless)
{
	static struct packed p;
	unsigned int refused = 0, harmless = 0;
	uint64_t records;

	make_packed(&p, &records);
	for (size_t at = 0; at < p.n; at += at < 300 || p.n - at < 300 ? 1 : 29) {
		for (unsigned int bit = 0; bit < 8; bit += 1 + (at >= 300)) {
			char why[WHY_BYTES] = "";
			struct trace *t = NULL;
			int error;

			p.bytes[at] ^= (uint8_t)(1u << bit);
			error = trace_parse(p.bytes, p.n, &t, why, sizeof(why));
			p.bytes[at] ^= (uint8_t)(1u << bit);
			if (error) {
				cr_assert_eq(error, -EINVAL, "byte %zu: %s", at, why);
				cr_assert(*why);
				refused++;
			} else {
				/* A bit that zstd ignores: what came out is what went in. */
				cr_assert_eq(trace_info(t)->ti_records, records);
				harmless++;
			}
			trace_close(t);
		}
	}
	cr_expect_gt(refused, 1000);
	cr_expect_leq(harmless, 8, "%u flips went unnoticed", harmless);
}

Test(trace_hostile, more_than_one_frame_is_refused)
{
	static struct packed p;
	char why[WHY_BYTES];
	struct trace *t = NULL;
	uint64_t records;

	make_packed(&p, &records);
	memcpy(p.bytes + p.n, p.bytes, 64);
	cr_expect_eq(trace_parse(p.bytes, p.n + 64, &t, why, sizeof(why)), -EINVAL);
	cr_expect(strstr(why, "data after its end"), "%s", why);
	p.bytes[p.n] = 0;
	cr_expect_eq(trace_parse(p.bytes, p.n + 1, &t, why, sizeof(why)), -EINVAL);
	cr_expect(strstr(why, "data after its end"), "%s", why);
}

/* Two hundred megabytes of nothing in a few kilobytes. */
Test(trace_hostile, a_bomb_goes_off_within_limits)
{
	const size_t n = 200u << 20;
	ZSTD_CCtx *z = ZSTD_createCCtx();
	static uint8_t packed[1 << 18];
	ZSTD_outBuffer out = {packed, sizeof(packed), 0};
	static uint8_t zeros[1 << 20];
	char why[WHY_BYTES];
	struct trace *t = NULL;
	struct plain p;

	make_plain(&p, NULL, 0, 1000, 1000, 1);
	trace_put(p.bytes + TRACE_H_BODY_BYTES, 8, 3000);
	ZSTD_compressStream2(z, &out, &(ZSTD_inBuffer){p.bytes, p.n, 0}, ZSTD_e_continue);
	for (size_t i = 0; i < n; i += sizeof(zeros))
		ZSTD_compressStream2(z, &out, &(ZSTD_inBuffer){zeros, sizeof(zeros), 0},
				     ZSTD_e_continue);
	cr_assert_eq(ZSTD_compressStream2(z, &out, &(ZSTD_inBuffer){NULL, 0, 0}, ZSTD_e_end), 0);
	ZSTD_freeCCtx(z);

	cr_expect_eq(trace_parse(packed, out.pos, &t, why, sizeof(why)), -EINVAL);
	cr_expect(strstr(why, "data after its end"), "%s", why);
}

Test(trace_hostile, a_window_beyond_the_limit_is_refused)
{
	ZSTD_CCtx *z = ZSTD_createCCtx();
	static uint8_t packed[2 * PLAIN_MAX];
	ZSTD_outBuffer out = {packed, sizeof(packed), 0};
	char why[WHY_BYTES];
	struct trace *t = NULL;
	struct plain p;

	make_sound(&p);
	ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog, TRACE_ZSTD_WINDOW_LOG + 1);
	ZSTD_compressStream2(z, &out, &(ZSTD_inBuffer){p.bytes, p.n, 0}, ZSTD_e_continue);
	ZSTD_compressStream2(z, &out, &(ZSTD_inBuffer){NULL, 0, 0}, ZSTD_e_end);
	ZSTD_freeCCtx(z);
	cr_expect_eq(trace_parse(packed, out.pos, &t, why, sizeof(why)), -EINVAL);
	cr_expect(strstr(why, "damaged"), "%s", why);
}

Test(trace_hostile, what_is_no_trace_at_all)
{
	static const char text[] = "#!/bin/sh\necho hello\n";
	char why[WHY_BYTES];
	struct trace *t = NULL;

	cr_expect_eq(trace_parse(text, sizeof(text), &t, why, sizeof(why)), -EINVAL);
	cr_expect(strstr(why, "not compressed by zstd"), "%s", why);
	cr_expect_eq(trace_parse(text, 0, &t, why, sizeof(why)), -EINVAL);
	cr_expect_eq(trace_open("/nonexistent", &t, why, sizeof(why)), -ENOENT);
	cr_expect(strstr(why, "cannot be read: No such file"), "%s", why);
	cr_expect_eq(trace_open("/", &t, why, sizeof(why)), -EISDIR);
	cr_expect(strstr(why, "directory"), "%s", why);
	cr_expect_null(t);
}
