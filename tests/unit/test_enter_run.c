/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A run is what its leaves, entered one by one, would be: whatever is there already, however it
 * lies to the tables, and wherever memory ends. The tables it builds are complete when found.
 */

#include "tests/unit/pmap_fixture.h"
#include "pmap/posix/host_posix.h"

#define AT (6 * GIB)
#define NPAGES 1500u /* from the middle of a table over two whole ones into a fourth */
#define FIRST (AT + 300 * PAGE)

static struct pmap_mapping
first_page(void)
{
	return (struct pmap_mapping){.pa_gpa = FIRST,
				     .pa_hpa = FX_HPA,
				     .pa_prot = PMAP_PROT_RWX,
				     .pa_access = PMAP_PROT_R};
}

static void
assert_run(struct fx *x, uint64_t npages)
{
	for (uint64_t i = 0; i < NPAGES; i++) {
		const struct pmap_leaf leaf = fx_leaf(x, FIRST + i * PAGE);

		if (i >= npages) {
			fx_assert(leaf.pl_prot == 0);
			continue;
		}
		fx_assert(leaf.pl_hpa == FX_HPA + i * PAGE && leaf.pl_prot == PMAP_PROT_RWX);
		fx_assert(leaf.pl_level == 0 && leaf.pl_accessed && !leaf.pl_modified);
	}
	fx_assert(fx_leaf(x, FIRST - PAGE).pl_prot == 0);
	fx_assert(fx_leaf(x, FIRST + NPAGES * PAGE).pl_prot == 0);
	fx_assert(fx_stats(x).st_resident_pages == npages);
	fx_check(x);
}

static void
into_nothing(struct fx *x)
{
	const struct pmap_mapping m = first_page();
	uint64_t done = 0;

	fx_assert(pmap_enter_run(x->fx_pm, &m, NPAGES, &done) == 0 && done == NPAGES);
	assert_run(x, NPAGES);
	fx_remove(x, FIRST, FIRST + NPAGES * PAGE);
	fx_assert(fx_stats(x).st_resident_pages == 0);
	fx_check(x);
}

Test(enter_run, into_nothing)
{
	fx_each(into_nothing);
}

/* A page of it is there, another frame where one belongs, and one of the tables. */
static void
over_something(struct fx *x)
{
	const struct pmap_mapping m = first_page();
	uint64_t done = 0;

	fx_assert(fx_enter(x, FIRST + 5 * PAGE, FX_HPA + 5 * PAGE, PMAP_PROT_RWX, PMAP_PROT_R, 0) ==
		  0);
	fx_assert(fx_enter(x, FIRST + 700 * PAGE, FX_HPA + GIB, PMAP_PROT_RX, 0, 0) == 0);
	fx_assert(pmap_enter_run(x->fx_pm, &m, NPAGES, &done) == 0 && done == NPAGES);
	assert_run(x, NPAGES);
}

Test(enter_run, over_something)
{
	fx_each(over_something);
}

static void
of_superpages(struct fx *x)
{
	struct pmap_mapping m = {
		.pa_gpa = AT, .pa_hpa = FX_HPA, .pa_prot = PMAP_PROT_RWX, .pa_level = 1};
	uint64_t done = 0;

	if (x->fx_levels < 2)
		return;
	for (unsigned int wired = 0; wired < 2; wired++) {
		m.pa_wired = wired;
		fx_assert(pmap_enter_run(x->fx_pm, &m, 3, &done) == 0 && done == 3);
		for (unsigned int i = 0; i < 3; i++) {
			const struct pmap_leaf leaf = fx_leaf(x, AT + i * 2 * MIB + PAGE);

			fx_assert(leaf.pl_level == 1 && leaf.pl_hpa == FX_HPA + i * 2 * MIB);
			fx_assert(leaf.pl_wired == wired && leaf.pl_modified);
		}
		fx_assert(fx_stats(x).st_spares == (wired ? 3 : 0));
		fx_check(x);
	}
	fx_remove(x, AT, AT + 6 * MIB);
	fx_assert(fx_stats(x).st_resident_pages == 0 && fx_stats(x).st_spares == 0);
}

Test(enter_run, of_superpages)
{
	fx_each(of_superpages);
}

static void
refused(struct fx *x)
{
	struct fx_picture before;
	struct pmap_mapping m = first_page();
	struct host_word word = {1};
	uint64_t done = 7;

	fx_picture(x, &before);
	fx_assert(pmap_enter_run(x->fx_pm, &m, 0, &done) == -EINVAL && done == 0);
	fx_assert(pmap_enter_run(x->fx_pm, &m, UINT64_MAX, &done) == -EINVAL);
	fx_assert(pmap_enter_run(x->fx_pm, &m, x->fx_limit / PAGE, &done) == -EINVAL);
	m.pa_gpa = x->fx_limit - PAGE;
	fx_assert(pmap_enter_run(x->fx_pm, &m, 2, &done) == -EINVAL && done == 0);
	m = first_page();
	m.pa_hpa += 1;
	fx_assert(pmap_enter_run(x->fx_pm, &m, 2, &done) == -EINVAL && done == 0);
	m = first_page();
	m.pa_revoked = &word;
	fx_assert(pmap_enter_run(x->fx_pm, &m, 2, &done) == -EAGAIN && done == 0);
	fx_same(x, &before, true);
}

Test(enter_run, refused)
{
	fx_each(refused);
}

/* The k-th allocation fails, for each k: what is done is said, and it is so. */
static void
out_of_memory(struct fx *x)
{
	const struct pmap_mapping m = first_page();

	for (unsigned int k = 1;; k++) {
		uint64_t done = 0;
		int error;

		host_posix_fail_alloc(k, false);
		error = pmap_enter_run(x->fx_pm, &m, NPAGES, &done);
		host_posix_fail_alloc(0, false);
		fx_assert(error == 0 || error == -ENOMEM);
		fx_assert((error == 0) == (done == NPAGES));
		assert_run(x, done);
		fx_remove(x, FIRST, FIRST + NPAGES * PAGE);
		if (error == 0) {
			fx_assert(k > 4);
			return;
		}
	}
}

Test(enter_run, out_of_memory)
{
	fx_each(out_of_memory);
}
