/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Who answers at which address: ranges that do not overlap, looked up by every vCPU at once while
 * another one moves a BAR. What mem.h and inout.h have in common.
 */

#ifndef BHYVE_RANGES_H
#define BHYVE_RANGES_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct range {
	uint64_t ra_base;
	uint64_t ra_len;
	void (*ra_fn)(void); /* the owner's kind of handler, cast */
	void *ra_arg;
};

struct ranges {
	pthread_rwlock_t rs_lock;
	struct range *rs_list; /* ascending */
	size_t rs_n, rs_room;
};

#define RANGES_INITIALIZER                            \
	{                                             \
		.rs_lock = PTHREAD_RWLOCK_INITIALIZER \
	}

/* -EINVAL empty, or around the end; -EEXIST overlaps one; -ENOMEM. */
int ranges_add(struct ranges *rs, const struct range *range);
/* Exactly that one; -ENOENT. A handler that was found before may still be under way. */
int ranges_remove(struct ranges *rs, uint64_t base, uint64_t len);
/* The range that holds addr, copied; -ENOENT. */
int ranges_find(struct ranges *rs, uint64_t addr, struct range *range);
void ranges_free(struct ranges *rs);

#endif /* BHYVE_RANGES_H */
