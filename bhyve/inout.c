/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * As mem.c, for ports. What is wider than a device expects is the device's to sort out.
 */

#include <errno.h>
#include <stddef.h>

#include "inout.h"
#include "ranges.h"

static struct ranges inout_ranges = RANGES_INITIALIZER;

#define PORTS 0x10000u

int
inout_register(uint16_t port, unsigned int count, inout_handler handler, void *arg)
{
	if (count > PORTS - port)
		return -EINVAL;
	return ranges_add(&inout_ranges, &(struct range){.ra_base = port,
							 .ra_len = count,
							 .ra_fn = (void (*)(void))handler,
							 .ra_arg = arg});
}

int
inout_unregister(uint16_t port, unsigned int count)
{
	return ranges_remove(&inout_ranges, port, count);
}

int
inout_access(struct vcpu *vcpu, uint16_t port, unsigned int bytes, bool write, uint32_t *value)
{
	struct range r;

	if (!write)
		*value = UINT32_MAX;
	if (ranges_find(&inout_ranges, port, &r))
		return -ENOENT;
	return ((inout_handler)r.ra_fn)(vcpu, port, bytes, write, value, r.ra_arg);
}

void
inout_fini(void)
{
	ranges_free(&inout_ranges);
}
