/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the simulated hardware makes of a case: all outcomes that it allows, since the manuals leave
 * some choices to the processor (whether a walk that fails has set A on its way, for one).
 */

#ifndef TESTS_DIFFERENTIAL_MODEL_H
#define TESTS_DIFFERENTIAL_MODEL_H

#include "sim/hw/hw.h"
#include "tests/differential/tuple.h"

struct model_outcome {
	struct diff_result mo_result; /* as the emulator would have written it */
	enum hw_why_bad mo_bad;	      /* of the entry that decided, if it is a fault by one */
	uint8_t mo_level;	      /* its level, or that of the leaf */
	uint64_t mo_entry;	      /* its value */
	uint8_t mo_rights;	      /* over all levels that the walk has seen */
	bool mo_under_test;	      /* it happened at dc_gpa, or while that was accessed */
};

#define MODEL_OUTCOMES_MAX 64

/* Once per process. Each answers by a message on stderr and exit 70 if it cannot. */
void model_start(const struct diff_machine *m);
void model_end(void);

/* What to forget, so that the comparison can be seen to fail: see model_forgets[]. */
extern const char *const model_forgets[];
bool model_forget(const char *what);

/* The allowed outcomes; returns their number, at least 1. */
unsigned int model_run(const struct diff_case *c,
		       struct model_outcome outcomes[MODEL_OUTCOMES_MAX]);

#endif /* TESTS_DIFFERENTIAL_MODEL_H */
