/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A sorted array under a lock for reading and writing. What is found is copied out and called
 * without the lock: a handler may itself add and remove ranges, which is how a BAR moves.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ranges.h"

/* The first range that ends beyond addr. */
static size_t
position(const struct ranges *rs, uint64_t addr)
{
	size_t low = 0, high = rs->rs_n;

	while (low < high) {
		const size_t mid = low + (high - low) / 2;
		const struct range *const r = &rs->rs_list[mid];

		if (r->ra_base + (r->ra_len - 1) < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int
insert(struct ranges *rs, const struct range *range)
{
	const size_t at = position(rs, range->ra_base);

	if (at < rs->rs_n && rs->rs_list[at].ra_base <= range->ra_base + (range->ra_len - 1))
		return -EEXIST;
	if (rs->rs_n == rs->rs_room) {
		const size_t room = rs->rs_room ? rs->rs_room * 2 : 16;
		struct range *const list = realloc(rs->rs_list, room * sizeof(*list));

		if (list == NULL)
			return -ENOMEM;
		rs->rs_list = list;
		rs->rs_room = room;
	}
	memmove(&rs->rs_list[at + 1], &rs->rs_list[at], (rs->rs_n - at) * sizeof(*range));
	rs->rs_list[at] = *range;
	rs->rs_n++;
	return 0;
}

int
ranges_add(struct ranges *rs, const struct range *range)
{
	int error;

	if (range->ra_len == 0 || range->ra_base + (range->ra_len - 1) < range->ra_base)
		return -EINVAL;
	pthread_rwlock_wrlock(&rs->rs_lock);
	error = insert(rs, range);
	pthread_rwlock_unlock(&rs->rs_lock);
	return error;
}

int
ranges_remove(struct ranges *rs, uint64_t base, uint64_t len)
{
	int error = -ENOENT;
	size_t at;

	pthread_rwlock_wrlock(&rs->rs_lock);
	at = position(rs, base);
	if (at < rs->rs_n && rs->rs_list[at].ra_base == base && rs->rs_list[at].ra_len == len) {
		rs->rs_n--;
		memmove(&rs->rs_list[at], &rs->rs_list[at + 1],
			(rs->rs_n - at) * sizeof(struct range));
		error = 0;
	}
	pthread_rwlock_unlock(&rs->rs_lock);
	return error;
}

int
ranges_find(struct ranges *rs, uint64_t addr, struct range *range)
{
	int error = -ENOENT;
	size_t at;

	pthread_rwlock_rdlock(&rs->rs_lock);
	at = position(rs, addr);
	if (at < rs->rs_n && rs->rs_list[at].ra_base <= addr) {
		*range = rs->rs_list[at];
		error = 0;
	}
	pthread_rwlock_unlock(&rs->rs_lock);
	return error;
}

void
ranges_free(struct ranges *rs)
{
	free(rs->rs_list);
	rs->rs_list = NULL;
	rs->rs_n = rs->rs_room = 0;
}
