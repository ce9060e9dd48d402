/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The bytes of a trace, shared by its reader and its writer: docs/TRACE.md in code. All of it lies
 * in one zstd frame.
 */

#ifndef SIM_TRACE_FORMAT_H
#define SIM_TRACE_FORMAT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TRACE_MAGIC "SKEPTRC\n"
#define TRACE_VERSION 1u
#define TRACE_VERSION_TIMED 2u	 /* each record ends with its vCPU and the time since the last */
#define TRACE_ZSTD_WINDOW_LOG 23 /* 8 MiB: what a reader must be ready to hold */

/* Offsets in the header; integers are little-endian. */
enum {
	TRACE_H_MAGIC = 0,    /* 8 bytes */
	TRACE_H_VERSION = 8,  /* 32 bits */
	TRACE_H_WINDOW = 12,  /* 32 bits */
	TRACE_H_RECORDS = 16, /* 64 bits, and so the next two */
	TRACE_H_ACCESSES = 24,
	TRACE_H_PAGES = 32,
	TRACE_H_REGIONS = 40,	    /* 32 bits */
	TRACE_H_PROGRAM_BYTES = 44, /* 32 bits */
	TRACE_H_BODY_BYTES = 48,    /* 64 bits */
	TRACE_H_CHECKSUM = 56,	    /* 64 bits, over everything with this field zero */
	TRACE_HEADER_BYTES = 64,
};

/* A record: tag, offset, count - 1. The tag holds the kind and the page's rank among the recent. */
#define TRACE_TAG_KIND_MASK 3u
#define TRACE_TAG_RANK_SHIFT 2
#define TRACE_RANK_EXPLICIT 63u /* the page follows: zigzag varint, difference to the last page */
#define TRACE_RECORD_BYTES_MIN 3u
#define TRACE_VARINT_BYTES_MAX 10

#define TRACE_CHECKSUM_SEED UINT64_C(0xcbf29ce484222325)

/* FNV-1a, 64 bits. */
static inline uint64_t
trace_checksum(uint64_t sum, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
	return sum;
}

static inline uint64_t
trace_get(const uint8_t *p, unsigned int nbytes)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < nbytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static inline void
trace_put(uint8_t *p, unsigned int nbytes, uint64_t v)
{
	for (unsigned int i = 0; i < nbytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

/* Makes page, at place rank of n, the latest of a list; rank n: it is new. Returns the new n. */
static inline uint32_t
trace_recent_touch(uint32_t *recent, uint32_t n, uint32_t room, uint32_t rank, uint32_t page)
{
	if (rank == n && n < room)
		n++;
	else if (rank == n)
		rank--;
	memmove(recent + 1, recent, rank * sizeof(*recent));
	recent[0] = page;
	return n;
}

#endif /* SIM_TRACE_FORMAT_H */
