/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * One set of ranges: a process has one machine.
 */

#include <errno.h>
#include <stddef.h>

#include "mem.h"
#include "ranges.h"

static struct ranges mem_ranges = RANGES_INITIALIZER;

int
mem_register(uint64_t gpa, uint64_t len, mem_handler handler, void *arg)
{
	return ranges_add(&mem_ranges, &(struct range){.ra_base = gpa,
						       .ra_len = len,
						       .ra_fn = (void (*)(void))handler,
						       .ra_arg = arg});
}

int
mem_unregister(uint64_t gpa, uint64_t len)
{
	return ranges_remove(&mem_ranges, gpa, len);
}

int
mem_access(struct vcpu *vcpu, uint64_t gpa, unsigned int bytes, bool write, uint64_t *value)
{
	struct range r;

	if (ranges_find(&mem_ranges, gpa, &r) || bytes > r.ra_len - (gpa - r.ra_base))
		return -ENOENT;
	return ((mem_handler)r.ra_fn)(vcpu, gpa, bytes, write, value, r.ra_arg);
}

void
mem_fini(void)
{
	ranges_free(&mem_ranges);
}
