/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The memory of the oracle of translations (oracle_tlb.h): operations on pmaps, what they have
 * written, and what the tables allowed before they did. Its users are oracle_tlb.c and tests.
 */

#ifndef SIM_ORACLE_LOG_H
#define SIM_ORACLE_LOG_H

#include "sim/oracle/oracle_tlb.h"

/*
 * What is judged: an entry, or the part of it in [jd_first, jd_last]; a table entry always whole.
 */
struct oracle_judged {
	const struct hw_context *jd_ctx;
	const struct hw_tlb_entry *jd_entry;
	uint64_t jd_first; /* first byte of a page */
	uint64_t jd_last;
};

/* Whether the tables allow it, or would but for what a pending operation has written. */
bool oracle_log_allows(const struct oracle_judged *j);

/* Whether tables allow it that are as load() shows them. */
bool oracle_log_allowed_by(const struct oracle_judged *j,
			   bool (*load)(void *arg, uint64_t hpa, uint64_t *value));

/* The operation is over; it stays in the log until oracle_log_trim(). */
void oracle_log_over(struct oracle_tlb_op *op);

/* The same for those of a root that were deferred before the ticket; the last one's id, or 0. */
uint64_t oracle_log_drained(uint64_t root, uint64_t ticket);

/* For searches: when operations begin or end (to write), and tables change (to read). */
void oracle_log_touch(enum sim_touch how);

/* Forgets what nothing pending can need. */
void oracle_log_trim(void);

int oracle_log_create(void);
void oracle_log_destroy(void);

#endif /* SIM_ORACLE_LOG_H */
