/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Where an emulator departs from the manuals, or the manuals leave open what it does: each as
 * narrow as it can be said, with the section that says what is right. docs/DIFFERENTIAL.md has the
 * table in words.
 *
 * A departure is a way to change the case that the model is given, or what the model says of it, or
 * both. A difference is accounted for by departures that turn the model's answer into exactly the
 * emulator's; what else is wrong with that answer stays a mismatch.
 */

#ifndef TESTS_DIFFERENTIAL_EXPLAINED_H
#define TESTS_DIFFERENTIAL_EXPLAINED_H

#include "tests/differential/model.h"

struct explained {
	const char *ex_name;
	const char *ex_emulator;
	const char *ex_section; /* of the manual that says otherwise, or leaves it open */
	/* Each changes its last argument; false: the departure has no part in this. NULL: none. */
	bool (*ex_case)(const struct diff_machine *m, struct diff_case *c);
	bool (*ex_outcome)(const struct diff_machine *m, const struct diff_case *c,
			   struct model_outcome *o);
};

#define EXPLAINED_MAX 16

extern const struct explained explained[];
extern const unsigned int explained_count;

#endif /* TESTS_DIFFERENTIAL_EXPLAINED_H */
