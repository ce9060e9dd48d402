/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Nothing wrong here: every way of running tests must call this green, so that red means red. */

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <signal.h>
#include <stdlib.h>

static int *cell;

static void
make_cell(void)
{
	cell = malloc(sizeof(*cell));
	*cell = 7;
}

static void
drop_cell(void)
{
	free(cell);
}

TestSuite(clean, .init = make_cell, .fini = drop_cell);

Test(clean, fixture_ran)
{
	cr_assert(eq(int, *cell, 7));
}

Test(clean, killed_on_purpose, .signal = SIGABRT)
{
	abort();
}

ParameterizedTestParameters(clean, doubled)
{
	static int values[] = {1, 2, 3};

	return cr_make_param_array(int, values, 3);
}

ParameterizedTest(int *value, clean, doubled)
{
	cr_assert(eq(int, *value * 2, *value + *value));
}
