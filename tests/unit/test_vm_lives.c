/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Guests begin and end while others want their memory: pageout goes over pages of all guests, and
 * one of them may be ending. Pages that are held outlive their guest. Every byte is checked, and at
 * the end nothing is left.
 */

#include "tests/unit/rng.h"
#include "tests/unit/vm_fixture.h"

#include <string.h>
#include <time.h>

#define RAM (16 * MIB)
#define NPAGES 160u
#define LIMIT 190u /* pages of the system; the tables of two or three guests are among them */

enum role { GUEST_0, GUEST_1, LIVES_0, LIVES_1, PAGER, ROLES };

static struct {
	struct vf en_x;
	uint64_t en_until_ns;
	struct host_word en_turns[ROLES];
} env;

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static bool
goes_on(enum role role)
{
	const uint64_t turn = host_fetch_add(&env.en_turns[role], 1);

	return turn < 20 || now_ns() < env.en_until_ns;
}

/* Writes or reads one word at the end of a page: true if that was done. */
static bool
put_word(struct vmspace *vs, unsigned int page, uint64_t word)
{
	uint64_t done;
	const int error =
		vm_gpa_write(vs, RAM + page * PAGE + PAGE - 8, &word, sizeof(word), &done);

	CHECK(error == 0 || error == -ENOMEM);
	CHECK(done == (error == 0 ? sizeof(word) : 0));
	return error == 0;
}

static void
check_word(struct vmspace *vs, unsigned int page, uint64_t word)
{
	uint64_t found = 0;
	uint64_t done;
	const int error =
		vm_gpa_read(vs, RAM + page * PAGE + PAGE - 8, &found, sizeof(found), &done);

	CHECK(error == 0 || error == -ENOMEM);
	CHECK(error != 0 || found == word);
}

/* Two threads of one guest, each with pages of its own. */
static void
guest(enum role role)
{
	struct vmspace *const vs = env.en_x.vf_vs;
	uint64_t wrote[NPAGES] = {0};
	struct rng rng = {role};

	while (goes_on(role)) {
		const unsigned int page = rng_below(&rng, NPAGES / 2) * 2 + role;

		if (rng_percent(&rng, 50))
			check_word(vs, page, wrote[page]);
		else if (put_word(vs, page, wrote[page] + 1))
			wrote[page]++;
	}
	for (unsigned int page = role; page < NPAGES; page += 2)
		check_word(vs, page, wrote[page]);
}

/* One guest from its beginning to its end; a page of it may be held beyond that. */
static void
live(struct rng *rng, const struct vmspace_config *cfg, unsigned int npages)
{
	struct vmspace *vs;
	struct vm_hold h;
	uint64_t word;
	bool holds;

	if (vmspace_create(env.en_x.vf_sys, cfg, &vs) != 0)
		return;
	CHECK(vm_alloc_memseg(vs, 0, npages * PAGE, NULL) == 0);
	CHECK(vm_mmap_memseg(vs, RAM, 0, 0, (int64_t)(npages * PAGE), PMAP_PROT_RW, 0) == 0);
	for (unsigned int page = 0; page < npages; page++) {
		if (put_word(vs, page, page + 1) && rng_percent(rng, 30)) {
			(void)vm_fault(vs, RAM + page * PAGE, PMAP_PROT_R, NULL);
			check_word(vs, page, page + 1);
		}
	}
	/* A page that could not be written before may be now, and is zeros then. */
	holds = vm_gpa_hold(vs, RAM + 3 * PAGE, PAGE, PMAP_PROT_RW, &h, NULL) == 0;
	if (holds)
		vm_hold_write(&h, PAGE - 8, &(uint64_t){4711}, 8);
	if (rng_percent(rng, 50)) {
		CHECK(vm_munmap_memseg(vs, RAM, npages * PAGE) == 0);
		CHECK(vm_free_memseg(vs, 0) == 0);
	}
	vmspace_destroy(vs);
	if (holds) {
		vm_hold_read(&h, PAGE - 8, &word, sizeof(word));
		CHECK(word == 4711);
		vm_gpa_release(&h);
	}
}

static void
lives(enum role role)
{
	static const struct vf_options o = {0};
	struct vmspace_config cfg;
	struct rng rng = {role};

	vf_config(fx_format(role == LIVES_0 ? "ept" : "rvi-4"), &o, &cfg);
	while (goes_on(role))
		live(&rng, &cfg, 4 + rng_below(&rng, 60));
}

static void
pager(void)
{
	struct rng rng = {77};

	while (goes_on(PAGER)) {
		struct vm_accounts va;
		uint64_t freed;

		CHECK(vm_pageout(env.en_x.vf_sys, NULL, rng_below(&rng, 20),
				 rng_percent(&rng, 30) ? VM_PAGEOUT_CLEAN : 0, &freed) == 0);
		vm_system_accounts(env.en_x.vf_sys, &va);
		CHECK(va.va_devmem == 0 && va.va_wired == 0);
		CHECK(va.va_tables < LIMIT && va.va_slots <= 4096);
		CHECK(vm_mem_free(env.en_x.vf_sys) <= vm_mem_total(env.en_x.vf_sys));
	}
}

static void
act(void *arg, unsigned int role)
{
	(void)arg;
	if (role <= GUEST_1)
		guest((enum role)role);
	else if (role <= LIVES_1)
		lives((enum role)role);
	else
		pager();
}

static void
stress(const char *format, unsigned int flags)
{
	const struct vf_options o = {
		.vo_system_pages = LIMIT, .vo_flags = flags, .vo_memory_bytes = 4 * MIB};
	struct vf *const x = &env.en_x;

	world_begin(&(struct world_config){.wc_actors = ROLES});
	memset(&env, 0, sizeof(env));
	vf_open(x, format, &o);
	vf_errno(vm_alloc_memseg(x->vf_vs, 0, NPAGES * PAGE, NULL), 0);
	vf_map(x, RAM, 0, 0, NPAGES, PMAP_PROT_RW);
	/* However slow it is: it begins with everything in swap. */
	for (unsigned int page = 0; page < NPAGES; page++)
		CHECK(put_word(x->vf_vs, page, 0));
	vf_assert(vf_pageout_all(x) > 0);
	env.en_until_ns = now_ns() + 300u * 1000000u;
	world_run(ROLES, act, NULL);
	vf_check(x);
	vf_assert(vf_stats(x).vt_reclaimed > 0 && vf_stats(x).vt_swap_ins > 0);
	vf_close(x);
	world_end();
}

Test(vm_lives, ept)
{
	stress("ept", 0);
}

Test(vm_lives, ept_emulated)
{
	stress("ept-noad", 0);
}

Test(vm_lives, rvi)
{
	stress("rvi-5", VM_NO_SUPERPAGES);
}
