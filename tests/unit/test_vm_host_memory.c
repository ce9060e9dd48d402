/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The contract of vmspace/vm_host.h, clause by clause, in every world that implements it: pages of
 * data, swap, and the IOMMU.
 */

#include "tests/unit/world.h"
#include "vmspace/vm_host.h"

#include <criterion/criterion.h>
#include <string.h>

#define ACTORS 3

static const struct world_config several = {.wc_actors = ACTORS};

static unsigned char
byte_of(uint64_t seed, uint64_t at)
{
	return (unsigned char)(seed * 37 + at * 7 + at / 256);
}

static void
fill(hpa_t hpa, uint64_t seed)
{
	unsigned char bytes[HOST_PAGE_SIZE];

	for (uint64_t at = 0; at < HOST_PAGE_SIZE; at++)
		bytes[at] = byte_of(seed, at);
	host_page_write(hpa, 0, bytes, sizeof(bytes));
}

static bool
is_filled(hpa_t hpa, uint64_t seed)
{
	unsigned char bytes[HOST_PAGE_SIZE];
	bool same = true;

	host_page_read(hpa, 0, bytes, sizeof(bytes));
	for (uint64_t at = 0; at < HOST_PAGE_SIZE; at++)
		same &= bytes[at] == byte_of(seed, at);
	return same;
}

/* ---- Pages ----------------------------------------------------------------------------------- */

static void
runs(void *arg, unsigned int i)
{
	(void)arg;
	(void)i;
	for (unsigned int order = 0; order <= 9; order++) {
		const uint64_t n = (uint64_t)1 << order;
		uint64_t before = world_pages_in_use();
		hpa_t hpa = 1;

		CHECK(host_page_alloc(&hpa, order));
		CHECK(hpa % (HOST_PAGE_SIZE << order) == 0);
		CHECK(world_pages_in_use() == before + n);
		fill(hpa, order);
		fill(hpa + (n - 1) * HOST_PAGE_SIZE, order + 1);
		CHECK(n == 1 || is_filled(hpa, order));
		if (order % 2 == 0) {
			host_page_free(hpa, order);
		} else {
			for (uint64_t k = 0; k < n; k++) /* odd ones, then even ones */
				host_page_free(hpa + (k * 2 + 1) % (n + 1) * HOST_PAGE_SIZE, 0);
		}
		CHECK(world_pages_in_use() == before);
	}
}

Test(vm_host, runs_are_aligned_and_freed_in_pieces)
{
	world_begin(NULL);
	world_run(1, runs, NULL);
	world_end();
}

static void
bytes(void *arg, unsigned int i)
{
	unsigned char buffer[64];
	hpa_t a, b;

	(void)arg;
	(void)i;
	CHECK(host_page_alloc(&a, 0));
	CHECK(host_page_alloc(&b, 0));
	CHECK(a != b);
	fill(a, 1);
	host_page_zero(b);
	host_page_read(b, 4000, buffer, 64);
	for (unsigned int k = 0; k < 64; k++)
		CHECK(buffer[k] == 0);
	CHECK(is_filled(a, 1));
	host_page_copy(b, a);
	CHECK(is_filled(b, 1) && is_filled(a, 1));

	/* Any offset and length; nothing beside them changes. */
	for (unsigned int k = 0; k < 64; k++)
		buffer[k] = (unsigned char)(200 + k);
	host_page_write(b, 13, buffer, 21);
	host_page_write(b, 4095, buffer, 1);
	host_page_write(b, 4096, buffer, 0);
	host_page_read(b, 10, buffer, 30);
	for (unsigned int k = 0; k < 30; k++)
		CHECK(buffer[k] == (k >= 3 && k < 24 ? 200 + k - 3 : byte_of(1, 10 + k)));
	host_page_read(b, 4094, buffer, 2);
	CHECK(buffer[0] == byte_of(1, 4094) && buffer[1] == 200);
	CHECK(is_filled(a, 1));
	host_page_free(a, 0);
	host_page_free(b, 0);
}

Test(vm_host, pages_hold_bytes)
{
	world_begin(NULL);
	world_run(1, bytes, NULL);
	world_end();
}

static void
words(void *arg, unsigned int i)
{
	uint64_t value = UINT64_C(0x8877665544332211);
	unsigned char low = 0;
	hpa_t hpa;

	(void)arg;
	(void)i;
	CHECK(host_page_alloc(&hpa, 0));
	host_page_zero(hpa);
	host_page_write(hpa, 4088, &value, sizeof(value));
	CHECK(host_load(host_page_word(hpa, 4088)) == value);
	CHECK(host_load(host_page_word(hpa, 4080)) == 0);
	CHECK(host_cas(host_page_word(hpa, 4088), &value, value + 1));
	host_page_read(hpa, 4088, &low, 1);
	CHECK(low == 0x12); /* as x86 stores it */
	host_xchg(host_page_word(hpa, 0), 5);
	host_page_read(hpa, 0, &value, sizeof(value));
	CHECK(value == 5);
	host_page_free(hpa, 0);
}

Test(vm_host, words_of_pages_are_their_bytes)
{
	world_begin(NULL);
	world_run(1, words, NULL);
	world_end();
}

#define KEPT 12

/* Everybody takes, marks, checks and gives back: no page is anybody else's meanwhile. */
static void
churn(void *arg, unsigned int i)
{
	struct {
		hpa_t hpa;
		unsigned int order;
	} kept[KEPT] = {0};

	(void)arg;
	for (unsigned int n = 0; n < 5 * KEPT; n++) {
		unsigned int k = (n * 5 + i) % KEPT;
		uint64_t mark = (uint64_t)i << 32 | k;

		if (kept[k].hpa != 0) {
			uint64_t last = ((uint64_t)1 << kept[k].order) - 1;
			uint64_t value = 0;

			host_page_read(kept[k].hpa, 24, &value, sizeof(value));
			CHECK(value == mark);
			host_page_read(kept[k].hpa + last * HOST_PAGE_SIZE, 32, &value,
				       sizeof(value));
			CHECK(value == mark + 1);
			host_page_free(kept[k].hpa, kept[k].order);
			kept[k].hpa = 0;
		} else {
			kept[k].order = (n + i) % 4;
			CHECK(host_page_alloc(&kept[k].hpa, kept[k].order));
			host_page_write(kept[k].hpa, 24, &mark, sizeof(mark));
			mark++;
			host_page_write(kept[k].hpa + (((uint64_t)1 << kept[k].order) - 1) *
							      HOST_PAGE_SIZE,
					32, &mark, sizeof(mark));
		}
	}
	for (unsigned int k = 0; k < KEPT; k++) {
		if (kept[k].hpa != 0)
			host_page_free(kept[k].hpa, kept[k].order);
	}
}

Test(vm_host, a_page_has_one_owner)
{
	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		world_run(ACTORS, churn, NULL);
		cr_assert_eq(world_pages_in_use(), 0);
		world_end();
	}
}

static void
pages_fail(void *arg, unsigned int i)
{
	const struct world_config *cfg = arg;

	(void)i;
	for (unsigned int n = 1; n <= 5; n++) {
		bool fails =
			cfg->wc_fail_persistently ? n >= cfg->wc_fail_page : n == cfg->wc_fail_page;
		hpa_t hpa;
		bool got = host_page_alloc(&hpa, n % 3);

		CHECK(got == !fails);
		if (got)
			host_page_free(hpa, n % 3);
	}
	CHECK(world_pages_in_use() == 0);
}

Test(vm_host, page_allocation_fails_when_told)
{
	for (unsigned int nth = 1; nth <= 6; nth++) {
		struct world_config cfg = {.wc_fail_page = nth};

		world_begin(&cfg);
		world_run(1, pages_fail, &cfg);
		world_end();
		cfg.wc_fail_persistently = true;
		world_begin(&cfg);
		world_run(1, pages_fail, &cfg);
		world_end();
	}
}

/* ---- Swap ------------------------------------------------------------------------------------ */

#define SWAPPED 8

static bool
take_frames(hpa_t *frames, unsigned int n)
{
	bool all = true;

	for (unsigned int k = 0; k < n; k++)
		all &= host_page_alloc(&frames[k], 0);
	return all;
}

static void
give_frames(const hpa_t *frames, unsigned int n)
{
	for (unsigned int k = 0; k < n; k++)
		host_page_free(frames[k], 0);
}

static void
swap_back_and_forth(void *arg, unsigned int i)
{
	hpa_t frames[SWAPPED];
	const uint64_t first = (uint64_t)i * SWAPPED;

	(void)arg;
	CHECK(host_swap_slots() >= ACTORS * SWAPPED);
	CHECK(take_frames(frames, SWAPPED));
	for (unsigned int k = 0; k < SWAPPED; k++)
		fill(frames[k], first + k);
	CHECK(host_swap_write(first, frames, SWAPPED) == 0);
	for (unsigned int k = 0; k < SWAPPED; k++)
		host_page_zero(frames[k]);
	CHECK(host_swap_read(first + 3, frames, 1) == 0); /* alone, elsewhere */
	CHECK(is_filled(frames[0], first + 3));
	CHECK(host_swap_write(first + 5, frames, 1) == 0);
	CHECK(host_swap_read(first, frames, SWAPPED) == 0);
	for (unsigned int k = 0; k < SWAPPED; k++)
		CHECK(is_filled(frames[k], first + (k == 5 ? 3 : k)));
	CHECK(host_swap_write(host_swap_slots() - 1 - i, frames, 1) == 0);
	CHECK(host_swap_read(host_swap_slots() - 1 - i, &frames[1], 1) == 0);
	CHECK(is_filled(frames[1], first));
	give_frames(frames, SWAPPED);
}

Test(vm_host, swap_keeps_what_was_written)
{
	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		world_run(ACTORS, swap_back_and_forth, NULL);
		world_end();
	}
}

static void
swap_fails(void *arg, unsigned int i)
{
	const struct world_config *cfg = arg;
	hpa_t frames[SWAPPED];

	(void)i;
	CHECK(take_frames(frames, SWAPPED));
	for (unsigned int n = 1; n <= 4; n++) {
		bool write_fails = n == cfg->wc_fail_write ||
				   (cfg->wc_fail_persistently && cfg->wc_fail_write != 0 &&
				    n > cfg->wc_fail_write);
		bool read_fails =
			n == cfg->wc_fail_read || (cfg->wc_fail_persistently &&
						   cfg->wc_fail_read != 0 && n > cfg->wc_fail_read);
		int error;

		for (unsigned int k = 0; k < SWAPPED; k++)
			fill(frames[k], n * SWAPPED + k);
		error = host_swap_write(n * SWAPPED, frames, SWAPPED);
		CHECK(error == (write_fails ? -EIO : 0));
		for (unsigned int k = 0; k < SWAPPED; k++) /* only slots are spoiled by that */
			CHECK(is_filled(frames[k], n * SWAPPED + k));
		for (unsigned int k = 0; k < SWAPPED; k++)
			host_page_zero(frames[k]);
		CHECK(host_swap_read(n * SWAPPED, frames, SWAPPED) == (read_fails ? -EIO : 0));
		for (unsigned int k = 0; k < SWAPPED && !read_fails && !write_fails; k++)
			CHECK(is_filled(frames[k], n * SWAPPED + k));
	}
	give_frames(frames, SWAPPED);
}

Test(vm_host, swap_fails_when_told)
{
	for (unsigned int nth = 1; nth <= 5; nth++) {
		for (unsigned int kind = 0; kind < 4; kind++) {
			struct world_config cfg = {.wc_fail_persistently = kind % 2 != 0};

			if (kind / 2 == 0)
				cfg.wc_fail_read = nth;
			else
				cfg.wc_fail_write = nth;
			world_begin(&cfg);
			world_run(1, swap_fails, &cfg);
			world_end();
		}
	}
}

/* ---- IOMMU ----------------------------------------------------------------------------------- */

#define DEVICE 2
#define GPA ((gpa_t)0x7654000)

static void
domains(void *arg, unsigned int i)
{
	struct host_iommu *a = NULL, *b = NULL;
	hpa_t run, other;

	(void)arg;
	(void)i;
	CHECK(host_page_alloc(&run, 2));
	CHECK(host_page_alloc(&other, 0));
	CHECK(host_iommu_create(&a) == 0);
	CHECK(host_iommu_create(&b) == 0);
	CHECK(a != NULL && b != NULL && a != b);
	CHECK(host_iommu_map(a, GPA, run, 4 * HOST_PAGE_SIZE, PMAP_PROT_RW) == 0);
	CHECK(host_iommu_map(a, 0, other, HOST_PAGE_SIZE, PMAP_PROT_R) == 0);
	CHECK(host_iommu_map(b, GPA, other, HOST_PAGE_SIZE, PMAP_PROT_RW) == 0);

	CHECK(host_iommu_attach(a, 1000) == -ENOENT);
	CHECK(host_iommu_attach(a, DEVICE) == 0);
	CHECK(host_iommu_attach(b, DEVICE) == -EBUSY);
	CHECK(host_iommu_attach(b, DEVICE + 1) == 0);
	host_iommu_detach(a, DEVICE);
	CHECK(host_iommu_attach(b, DEVICE) == 0);
	host_iommu_detach(b, DEVICE);
	host_iommu_detach(b, DEVICE + 1);

	/* Part of what was mapped at once, and that again; the frames leave with the flush. */
	host_iommu_unmap(a, GPA + HOST_PAGE_SIZE, 2 * HOST_PAGE_SIZE);
	host_iommu_flush(a);
	CHECK(host_iommu_map(a, GPA + 2 * HOST_PAGE_SIZE, other, HOST_PAGE_SIZE, PMAP_PROT_R) == 0);
	host_page_free(run + HOST_PAGE_SIZE, 0);
	host_page_free(run + 2 * HOST_PAGE_SIZE, 0);
	host_iommu_unmap(a, GPA, HOST_PAGE_SIZE);
	host_iommu_unmap(a, GPA + 2 * HOST_PAGE_SIZE, 2 * HOST_PAGE_SIZE);
	host_iommu_unmap(a, 0, HOST_PAGE_SIZE);
	host_iommu_flush(a);
	host_page_free(run, 0);
	host_page_free(run + 3 * HOST_PAGE_SIZE, 0);
	host_iommu_unmap(b, GPA, HOST_PAGE_SIZE);
	host_iommu_flush(b);
	host_iommu_destroy(a);
	host_iommu_destroy(b);

	/* The host's own. */
	host_iommu_unmap(NULL, other, HOST_PAGE_SIZE);
	host_iommu_flush(NULL);
	CHECK(host_iommu_map(NULL, other, other, HOST_PAGE_SIZE, PMAP_PROT_RW) == 0);
	host_page_free(other, 0);
}

Test(vm_host, domains_map_and_forget)
{
	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(NULL);
		world_run(1, domains, NULL);
		world_end();
	}
}

/* Whether it was told to fail: then nothing has changed, and another try succeeds. */
static bool
failed(int error, unsigned int *failures)
{
	CHECK(error == 0 || error == -ENOMEM);
	*failures += error != 0;
	return error == -ENOMEM;
}

static void
iommu_fails(void *arg, unsigned int i)
{
	unsigned int *failures = arg;
	struct host_iommu *d = NULL;
	hpa_t frames[3] = {0};

	(void)i;
	*failures = 0;
	for (unsigned int k = 0; k < 3; k++) {
		while (!host_page_alloc(&frames[k],
					0)) /* it counts, too, where all count together */
			++*failures;
	}
	while (failed(host_iommu_create(&d), failures))
		;
	for (unsigned int k = 0; k < 3; k++) {
		while (failed(host_iommu_map(d, GPA + k * HOST_PAGE_SIZE, frames[k], HOST_PAGE_SIZE,
					     PMAP_PROT_RW),
			      failures))
			;
	}
	while (failed(host_iommu_attach(d, DEVICE), failures))
		;
	host_iommu_detach(d, DEVICE);
	host_iommu_unmap(d, GPA, 3 * HOST_PAGE_SIZE);
	host_iommu_flush(d);
	host_iommu_destroy(d);
	give_frames(frames, 3);
}

Test(vm_host, iommu_fails_when_told)
{
	for (unsigned int nth = 1; nth <= 5; nth++) {
		const struct world_config cfg = {.wc_fail_iommu = nth};
		unsigned int failures;

		world_begin(&cfg);
		world_run(1, iommu_fails, &failures);
		cr_assert_eq(failures, 1, "%u", nth);
		world_end();
	}
}

/* ---- Broken rules ---------------------------------------------------------------------------- */

#if PMAP_CHECK >= 1

/* What a broken rule leaves behind, where the world does not end with it. */
static hpa_t page; /* two of them */
static struct host_iommu *domain;
static bool first_is_free, is_hidden, is_attached;

static void
take(void *arg)
{
	(void)arg;
	first_is_free = is_hidden = is_attached = false;
	CHECK(host_page_alloc(&page, 1));
	CHECK(host_iommu_create(&domain) == 0);
}

static void
obey(void *arg)
{
	take(arg);
	CHECK(host_iommu_map(domain, GPA, page, HOST_PAGE_SIZE, PMAP_PROT_RW) == 0);
	host_iommu_unmap(domain, GPA, HOST_PAGE_SIZE);
	host_iommu_flush(domain);
	host_iommu_destroy(domain);
	host_page_write(page, 4095, "", 1);
	host_page_free(page, 1);
}

static void
free_first(void)
{
	host_page_free(page, 0);
	first_is_free = true;
}

static bool
stops(void (*fn)(void *arg))
{
	bool stopped = world_stops(fn, NULL);

	if (strcmp(world_name, "sim") == 0)
		return stopped;
	if (is_attached)
		host_iommu_detach(domain, DEVICE);
	host_iommu_destroy(domain);
	if (is_hidden)
		cr_assert_eq(host_iommu_map(NULL, page, page, HOST_PAGE_SIZE, PMAP_PROT_RW), 0);
	if (!first_is_free)
		host_page_free(page, 0);
	host_page_free(page + HOST_PAGE_SIZE, 0);
	return stopped;
}

static void
free_twice(void *arg)
{
	take(arg);
	free_first();
	host_page_free(page, 1);
}

static void
free_astray(void *arg)
{
	take(arg);
	host_page_free(page + HOST_PAGE_SIZE, 1);
}

static void
read_after_free(void *arg)
{
	char byte;

	take(arg);
	free_first();
	host_page_read(page, 0, &byte, 1);
}

static void
write_across_the_end(void *arg)
{
	take(arg);
	host_page_write(page, 4095, "ab", 2);
}

static void
word_between_words(void *arg)
{
	take(arg);
	(void)host_load(host_page_word(page, 4));
}

static void
swap_a_page_that_is_none(void *arg)
{
	take(arg);
	free_first();
	(void)host_swap_write(0, &page, 1);
}

static void
swap_beyond_the_end(void *arg)
{
	hpa_t frames[2];

	take(arg);
	frames[0] = page;
	frames[1] = page + HOST_PAGE_SIZE;
	(void)host_swap_write(host_swap_slots() - 1, frames, 2);
}

static void
swap_in_section(void *arg)
{
	take(arg);
	host_epoch_enter();
	(void)host_swap_write(0, &page, 1);
	host_epoch_exit();
}

static void
map_twice(void *arg)
{
	take(arg);
	CHECK(host_iommu_map(domain, GPA, page, HOST_PAGE_SIZE, PMAP_PROT_RW) == 0);
	(void)host_iommu_map(domain, GPA, page + HOST_PAGE_SIZE, HOST_PAGE_SIZE, PMAP_PROT_RW);
}

static void
unmap_nothing(void *arg)
{
	take(arg);
	host_iommu_unmap(domain, GPA, HOST_PAGE_SIZE);
}

static void
free_what_is_mapped(void *arg)
{
	take(arg);
	CHECK(host_iommu_map(domain, GPA, page, HOST_PAGE_SIZE, PMAP_PROT_RW) == 0);
	host_page_free(page, 0);
}

/* With a device there, whose translations may be cached. */
static void
free_before_flush(void *arg)
{
	take(arg);
	CHECK(host_iommu_attach(domain, DEVICE) == 0);
	is_attached = true;
	CHECK(host_iommu_map(domain, GPA, page, HOST_PAGE_SIZE, PMAP_PROT_RW) == 0);
	host_iommu_unmap(domain, GPA, HOST_PAGE_SIZE);
	host_page_free(page, 0);
}

static void
hide_twice(void *arg)
{
	take(arg);
	host_iommu_unmap(NULL, page, HOST_PAGE_SIZE);
	is_hidden = true;
	host_iommu_unmap(NULL, page, HOST_PAGE_SIZE);
}

static void
show_what_is_shown(void *arg)
{
	take(arg);
	(void)host_iommu_map(NULL, page, page, HOST_PAGE_SIZE, PMAP_PROT_RW);
}

static void
free_what_is_hidden(void *arg)
{
	take(arg);
	host_iommu_unmap(NULL, page, HOST_PAGE_SIZE);
	is_hidden = true;
	host_iommu_flush(NULL);
	host_page_free(page, 0);
}

Test(vm_host, misuse_of_memory_is_stopped)
{
	cr_assert(!world_stops(obey, NULL), "the rules themselves");
	cr_assert(stops(free_twice));
	cr_assert(stops(free_astray));
	cr_assert(stops(read_after_free));
	cr_assert(stops(write_across_the_end));
	cr_assert(stops(word_between_words));
	cr_assert(stops(swap_a_page_that_is_none));
	cr_assert(stops(swap_beyond_the_end));
	cr_assert(stops(swap_in_section));
}

Test(vm_host, misuse_of_the_iommu_is_stopped)
{
	cr_assert(stops(map_twice));
	cr_assert(stops(unmap_nothing));
	cr_assert(stops(free_what_is_mapped));
	cr_assert(stops(hide_twice));
	cr_assert(stops(show_what_is_shown));
	cr_assert(stops(free_what_is_hidden));
	cr_assert(stops(free_before_flush));
}

#endif
