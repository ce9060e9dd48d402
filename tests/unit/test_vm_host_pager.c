/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The contract of pagers in vmspace/vm_host.h, clause by clause, in every world that implements it.
 */

#include "tests/unit/world.h"
#include "vmspace/vm_host.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define RUN 512u
#define NPAGES (2 * RUN + 7) /* the last chunk is not whole */
#define ACTORS 3

/* A stamp at both ends of a frame, and what is in between must be zeros. */
static void
write_stamp(hpa_t hpa, uint64_t stamp)
{
	host_page_write(hpa, 0, &stamp, sizeof(stamp));
	host_page_write(hpa, HOST_PAGE_SIZE - sizeof(stamp), &stamp, sizeof(stamp));
}

static bool
has_stamp(hpa_t hpa, uint64_t stamp)
{
	uint64_t words[HOST_PAGE_SIZE / 8];
	bool same;

	host_page_read(hpa, 0, words, sizeof(words));
	same = words[0] == stamp && words[HOST_PAGE_SIZE / 8 - 1] == stamp;
	for (unsigned int i = 1; i < HOST_PAGE_SIZE / 8 - 1; i++)
		same &= words[i] == 0;
	return same;
}

static struct host_pager *
new_pager(void)
{
	struct host_pager *p = NULL;

	CHECK(host_has_pager());
	CHECK(host_pager_create(NPAGES, &p) == 0);
	return p;
}

/* Contents of a page, by getting it and putting it clean. */
static bool
holds(struct host_pager *p, uint64_t index, uint64_t stamp)
{
	hpa_t hpa;
	bool same;

	if (host_pager_getpage(p, index, &hpa) != 0)
		return false;
	same = has_stamp(hpa, stamp);
	host_pager_putpage(p, index, hpa, false);
	return same;
}

static void
change(struct host_pager *p, uint64_t index, uint64_t stamp)
{
	hpa_t hpa = 1;

	CHECK(host_pager_getpage(p, index, &hpa) == 0 && hpa % HOST_PAGE_SIZE == 0);
	write_stamp(hpa, stamp);
	host_pager_putpage(p, index, hpa, true);
}

/* Gets the run of a chunk; a host may have none for the asking, but has one sometime. */
static hpa_t
get_run(struct host_pager *p, uint64_t index)
{
	hpa_t base = 1;
	unsigned int tries = 0;

	while (!host_pager_getrun(p, index, &base) && ++tries < 50)
		host_relax();
	CHECK(tries < 50 && base % (RUN * HOST_PAGE_SIZE) == 0);
	return base;
}

static void
in_world(void (*fn)(void *arg, unsigned int i), unsigned int n)
{
	const struct world_config cfg = {.wc_actors = n};

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&cfg);
		world_run(n, fn, NULL);
		world_end();
	}
}

/* ---- Contents -------------------------------------------------------------------------------- */

static void
keeps(void *arg, unsigned int who)
{
	struct host_pager *const p = new_pager();

	(void)who;
	for (unsigned int round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < 20; i++)
			CHECK(holds(p, i * 54, round == 0 || i % 2 == 0 ? 0 : 100 * round + i));
		for (uint64_t i = 1; i < 20; i += 2)
			change(p, i * 54, 100 * (round + 1) + i);
	}
	CHECK(holds(p, NPAGES - 1, 0));
	host_pager_destroy(p);
	CHECK(arg != NULL || world_pages_in_use() == 0); /* nobody else is there */
}

Test(vm_host_pager, keeps_what_was_put_dirty)
{
	in_world(keeps, 1);
}

Test(vm_host_pager, pagers_are_apart)
{
	const struct world_config cfg = {.wc_actors = ACTORS};

	world_begin(&cfg);
	world_run(ACTORS, keeps, &(int){1});
	world_end();
}

/* One frame from the first get to the last put, and the contents whichever is put dirty. */
static void
twice(void *arg, unsigned int who)
{
	struct host_pager *const p = new_pager();
	hpa_t a = 0;
	hpa_t b = 1;

	(void)arg;
	(void)who;
	for (unsigned int first = 0; first < 2; first++) {
		CHECK(host_pager_getpage(p, 5, &a) == 0);
		CHECK(host_pager_getpage(p, 5, &b) == 0);
		CHECK(a == b && world_pages_in_use() == 1);
		write_stamp(a, 70 + first);
		host_pager_putpage(p, 5, a, first == 0);
		CHECK(has_stamp(b, 70 + first));
		host_pager_putpage(p, 5, b, first == 1);
		CHECK(world_pages_in_use() == 0);
		CHECK(holds(p, 5, 70 + first));
	}
	host_pager_destroy(p);
}

Test(vm_host_pager, may_be_got_twice)
{
	in_world(twice, 1);
}

/* ---- Runs ------------------------------------------------------------------------------------ */

static void
runs(void *arg, unsigned int who)
{
	struct host_pager *const p = new_pager();
	hpa_t base;
	hpa_t hpa = 0;

	(void)arg;
	(void)who;
	change(p, RUN + 3, 33);
	base = get_run(p, RUN);
	CHECK(has_stamp(base + 3 * HOST_PAGE_SIZE, 33));
	CHECK(has_stamp(base, 0) && has_stamp(base + 511 * HOST_PAGE_SIZE, 0));
	CHECK(host_pager_getpage(p, RUN + 4, &hpa) == 0);
	CHECK(hpa == base + 4 * HOST_PAGE_SIZE && world_pages_in_use() == RUN);
	write_stamp(hpa, 44);
	host_pager_putpage(p, RUN + 4, hpa, true);
	write_stamp(base + 7 * HOST_PAGE_SIZE, 77);
	for (uint64_t i = 0; i < RUN; i++)
		host_pager_putpage(p, RUN + i, base + i * HOST_PAGE_SIZE, i == 7);
	CHECK(world_pages_in_use() == 0);
	CHECK(holds(p, RUN + 3, 33) && holds(p, RUN + 4, 44) && holds(p, RUN + 7, 77));
	CHECK(holds(p, RUN + 8, 0));
	host_pager_destroy(p);
}

Test(vm_host_pager, runs_hold_contents)
{
	in_world(runs, 1);
}

/* ---- Discarding ------------------------------------------------------------------------------ */

static void
discards(void *arg, unsigned int who)
{
	struct host_pager *const p = new_pager();
	hpa_t base;

	(void)arg;
	(void)who;
	for (uint64_t i = 10; i < 20; i++)
		change(p, i, i);
	host_pager_discard(p, 12, 5);
	for (uint64_t i = 10; i < 20; i++)
		CHECK(holds(p, i, i >= 12 && i < 17 ? 0 : i));

	/* In a run that is got: where they are, and no neighbor is touched. */
	base = get_run(p, 0);
	CHECK(has_stamp(base + 18 * HOST_PAGE_SIZE, 18));
	host_pager_discard(p, 18, 1);
	host_pager_discard(p, 100, 300);
	CHECK(has_stamp(base + 17 * HOST_PAGE_SIZE, 17) &&
	      has_stamp(base + 19 * HOST_PAGE_SIZE, 19));
	CHECK(has_stamp(base + 18 * HOST_PAGE_SIZE, 0));
	write_stamp(base + 20 * HOST_PAGE_SIZE, 2000);
	host_pager_discard(p, 21, 1);
	for (uint64_t i = 0; i < RUN; i++)
		host_pager_putpage(p, i, base + i * HOST_PAGE_SIZE, i == 20);
	CHECK(holds(p, 20, 2000) && holds(p, 19, 19) && holds(p, 18, 0) && holds(p, 21, 0));

	/* What was written, put clean and discarded is gone. */
	CHECK(host_pager_getpage(p, 30, &base) == 0);
	write_stamp(base, 30);
	host_pager_putpage(p, 30, base, false);
	host_pager_discard(p, 30, 1);
	CHECK(holds(p, 30, 0));
	host_pager_discard(p, 0, NPAGES);
	CHECK(holds(p, 20, 0) && holds(p, 10, 0));
	host_pager_destroy(p);
}

Test(vm_host_pager, discards_are_exact)
{
	in_world(discards, 1);
}

/* ---- Failures -------------------------------------------------------------------------------- */

/* How many pages could not be read; what could be is right. */
static unsigned int
read_all(struct host_pager *p)
{
	unsigned int failed = 0;

	for (uint64_t i = 0; i < 40; i++) {
		hpa_t hpa;
		const int error = host_pager_getpage(p, i, &hpa);

		CHECK(error == 0 || error == -EIO);
		failed += error != 0;
		if (error == 0) {
			CHECK(has_stamp(hpa, 500 + i));
			host_pager_putpage(p, i, hpa, false);
		}
		CHECK(world_pages_in_use() == 0);
	}
	return failed;
}

/* A host may have the contents in memory, for a while. */
static void
reads_fail(void *arg, unsigned int who)
{
	struct host_pager *const p = new_pager();
	unsigned int failed = 0;

	(void)who;
	for (uint64_t i = 0; i < 40; i++)
		change(p, i, 500 + i);
	for (unsigned int round = 0; round < 50 && failed == 0; round++)
		failed = read_all(p);
	CHECK(failed == 1);
	*(unsigned int *)arg += failed;
	for (uint64_t i = 0; i < 40; i++)
		CHECK(holds(p, i, 500 + i));
	host_pager_destroy(p);
}

Test(vm_host_pager, reads_fail_and_nothing_is_lost)
{
	unsigned int failures = 0;

	for (unsigned int nth = 1; nth <= 4; nth++) {
		const struct world_config cfg = {.wc_fail_read = nth};

		world_begin(&cfg);
		world_run(1, reads_fail, &failures);
		world_end();
	}
	cr_assert_eq(failures, 4);
}

/* The creation, a page: nothing is left of it, and the next try succeeds. */
static void
memory_fails(void *arg, unsigned int who)
{
	struct host_pager *p = NULL;
	hpa_t hpa;
	hpa_t base;
	int error = host_pager_create(NPAGES, &p);

	(void)who;
	CHECK(error == 0 || error == -ENOMEM);
	if (error != 0) {
		++*(unsigned int *)arg;
		CHECK(host_pager_create(NPAGES, &p) == 0);
	}
	error = host_pager_getpage(p, 1, &hpa);
	CHECK(error == 0 || error == -ENOMEM);
	if (error != 0) {
		++*(unsigned int *)arg;
		CHECK(world_pages_in_use() == 0);
		CHECK(host_pager_getpage(p, 1, &hpa) == 0);
	}
	if (host_pager_getrun(p, RUN, &base)) {
		for (uint64_t i = 0; i < RUN; i++)
			host_pager_putpage(p, RUN + i, base + i * HOST_PAGE_SIZE, false);
	}
	CHECK(world_pages_in_use() == 1);
	host_pager_putpage(p, 1, hpa, false);
	host_pager_destroy(p);
}

Test(vm_host_pager, memory_fails_when_told)
{
	unsigned int failures = 0;

	for (unsigned int nth = 1; nth <= 3; nth++) {
		const struct world_config alloc = {.wc_fail_alloc = nth};
		const struct world_config pages = {.wc_fail_page = nth};

		world_begin(&alloc);
		world_run(1, memory_fails, &failures);
		world_end();
		world_begin(&pages);
		world_run(1, memory_fails, &failures);
		world_end();
	}
	cr_assert_geq(failures, 2, "%u", failures);
}

/* ---- At the same time ------------------------------------------------------------------------ */

static struct host_pager *common;

static void
common_begin(void *arg, unsigned int who)
{
	(void)arg;
	(void)who;
	common = new_pager();
}

static void
common_end(void *arg, unsigned int who)
{
	(void)arg;
	(void)who;
	for (uint64_t i = 0; i < ACTORS * 4; i++)
		CHECK(holds(common, i, 100 * 5 + i));
	CHECK(world_pages_in_use() == 0);
	host_pager_destroy(common);
}

/* Pages of its own, and runs that all of them are part of. */
static void
share(void *arg, unsigned int who)
{
	(void)arg;
	for (uint64_t round = 1; round <= 5; round++) {
		hpa_t base;

		for (uint64_t k = 0; k < 4; k++) {
			const uint64_t i = k * ACTORS + who;

			CHECK(holds(common, i, round == 1 ? 0 : 100 * (round - 1) + i));
			change(common, i, 100 * round + i);
		}
		if (host_pager_getrun(common, 0, &base)) {
			for (uint64_t i = 0; i < RUN; i++)
				host_pager_putpage(common, i, base + i * HOST_PAGE_SIZE, false);
		}
		host_relax();
	}
}

Test(vm_host_pager, is_shared)
{
	const struct world_config cfg = {.wc_actors = ACTORS};

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&cfg);
		world_run(1, common_begin, NULL);
		world_run(ACTORS, share, NULL);
		world_run(1, common_end, NULL);
		world_end();
	}
}

/* ---- Broken rules ---------------------------------------------------------------------------- */

#if PMAP_CHECK >= 1

/* What is left behind, where the world does not end with it. */
static bool is_put;
static hpa_t got;

static void
take(void)
{
	is_put = false;
	common = new_pager();
	CHECK(host_pager_getpage(common, 6, &got) == 0);
}

static void
put(void)
{
	host_pager_putpage(common, 6, got, true);
	is_put = true;
}

static bool
stops(void (*fn)(void *arg))
{
	const bool stopped = world_stops(fn, NULL);

	if (strcmp(world_name, "sim") == 0)
		return stopped;
	if (!is_put)
		put();
	host_pager_destroy(common);
	return stopped;
}

static void
obey(void *arg)
{
	(void)arg;
	take();
	put();
	host_pager_destroy(common);
}

static void
put_twice(void *arg)
{
	(void)arg;
	take();
	put();
	put();
}

static void
put_elsewhere(void *arg)
{
	(void)arg;
	take();
	host_pager_putpage(common, 6, got + HOST_PAGE_SIZE, false);
}

static void
put_another(void *arg)
{
	(void)arg;
	take();
	host_pager_putpage(common, 7, got, false);
}

static void
read_after_put(void *arg)
{
	char byte;

	(void)arg;
	take();
	put();
	host_page_read(got, 0, &byte, 1);
}

static void
get_beyond(void *arg)
{
	hpa_t hpa;

	(void)arg;
	take();
	(void)host_pager_getpage(common, NPAGES, &hpa);
}

static void
run_beyond(void *arg)
{
	hpa_t base;

	(void)arg;
	take();
	(void)host_pager_getrun(common, 2 * RUN, &base);
}

static void
run_between(void *arg)
{
	hpa_t base;

	(void)arg;
	take();
	(void)host_pager_getrun(common, 8, &base);
}

static void
discard_beyond(void *arg)
{
	(void)arg;
	take();
	host_pager_discard(common, NPAGES - 1, 2);
}

static void
get_in_section(void *arg)
{
	hpa_t hpa;

	(void)arg;
	take();
	host_epoch_enter();
	(void)host_pager_getpage(common, 1, &hpa);
	host_epoch_exit();
}

Test(vm_host_pager, misuse_is_stopped)
{
	cr_assert(!world_stops(obey, NULL), "the rules themselves");
	cr_assert(stops(put_twice));
	cr_assert(stops(put_elsewhere));
	cr_assert(stops(put_another));
	cr_assert(stops(read_after_put));
	cr_assert(stops(get_beyond));
	cr_assert(stops(run_beyond));
	cr_assert(stops(run_between));
	cr_assert(stops(discard_beyond));
	cr_assert(stops(get_in_section));
}

#endif
