/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * CHECK() for actors (world.h): counts, and keeps the first failure for the test's own thread.
 */

#include "tests/unit/world_check.h"

#include <criterion/criterion.h>

struct failure {
	const char *fa_file;
	const char *fa_what;
	int fa_line;
};

static struct failure first;
static unsigned int failures;
static unsigned int checks;

void
world_check_begin(void)
{
	failures = 0;
	checks = 0;
}

void
world_check(bool ok, const char *file, int line, const char *what)
{
	__atomic_fetch_add(&checks, 1, __ATOMIC_RELAXED);
	if (!ok && __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED) == 0)
		first = (struct failure){file, what, line};
}

/* After the actors have ended. */
void
world_check_end(void)
{
	cr_assert(checks > 0, "nothing was checked");
	cr_assert(failures == 0, "%s:%d: check failed: %s (%u failures in all)", first.fa_file,
		  first.fa_line, first.fa_what, failures);
}
