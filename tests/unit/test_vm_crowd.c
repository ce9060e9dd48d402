/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Everything that takes pages from a guest, or looks at what it wrote, at the same time as what
 * writes; in every world, where the world orders events in as many ways as it can.
 */

#include "tests/unit/pmap_fixture.h"
#include "tests/unit/rng.h"
#include "vmspace/vmspace.h"

#include <string.h>

#define RAM (16 * MIB)
#define ALIAS (64 * MIB)
#define NPAGES 12
#define TURNS 30
#define WRITERS 2

static struct town {
	struct vm_system *to_sys;
	struct vmspace *to_vs;
	struct host_word to_done;
	uint64_t to_mine[NPAGES][WRITERS];  /* what each writer wrote last */
	uint64_t to_there[NPAGES][WRITERS]; /* what the log's reader copied */
} town;

static const char *format_name;
static unsigned int mode;

/* ---- Beginning and end ----------------------------------------------------------------------- */

static void
set_up(void *arg, unsigned int who)
{
	const struct vm_system_config sc = {.vy_mem_limit_bytes = 64 * MIB};
	struct vmspace_config cfg = {.vc_flags = mode};

	(void)arg;
	(void)who;
	memset(&town, 0, sizeof(town));
	fx_config(fx_format(format_name), 0, &cfg.vc_pmap);
	CHECK(vm_system_create(&sc, &town.to_sys) == 0);
	CHECK(vmspace_create(town.to_sys, &cfg, &town.to_vs) == 0);
	CHECK(vm_alloc_memseg(town.to_vs, 0, NPAGES * PAGE, NULL) == 0);
	CHECK(vm_mmap_memseg(town.to_vs, RAM, 0, 0, NPAGES * PAGE, PMAP_PROT_RWX, 0) == 0);
}

/* Both places hold what was written. */
static void
check_bytes(void)
{
	for (uint64_t i = 0; i < NPAGES; i++) {
		uint64_t words[WRITERS] = {0};
		uint64_t done;

		CHECK(vm_gpa_read(town.to_vs, RAM + i * PAGE, words, sizeof(words), &done) == 0);
		CHECK(memcmp(words, town.to_mine[i], sizeof(words)) == 0);
		CHECK(memcmp(words, town.to_there[i], sizeof(words)) == 0);
	}
}

static void
tear_down(void *arg, unsigned int who)
{
	char why[FX_WHY_BYTES] = "";

	(void)arg;
	(void)who;
	CHECK(vmspace_check(town.to_vs, why, sizeof(why)) == 0);
	CHECK(vm_system_check(town.to_sys, why, sizeof(why)) == 0);
	check_bytes();
	vmspace_destroy(town.to_vs);
	vm_system_destroy(town.to_sys);
}

static void
live(const char *format, unsigned int flags, unsigned int n, void (*fn)(void *, unsigned int))
{
	const struct world_config cfg = {.wc_actors = n};

	format_name = format;
	mode = flags;
	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&cfg);
		world_run(1, set_up, NULL);
		world_run(n, fn, &round);
		world_run(1, tear_down, NULL);
		world_end();
	}
}

/* ---- Who lives there ------------------------------------------------------------------------- */

/* Writes by a hold that lasts: the page keeps its frame meanwhile, and is where others read it. */
static void
write_held(gpa_t gpa, uint64_t value)
{
	struct vm_page_info pi = {0};
	struct vm_hold hold;
	uint64_t word = ~value;
	uint64_t done;
	hpa_t hpa;

	CHECK(vm_gpa_hold(town.to_vs, gpa, sizeof(value), PMAP_PROT_W, &hold, NULL) == 0);
	hpa = hold.vh_pages[0].hp_hpa;
	host_relax();
	vm_hold_write(&hold, 0, &value, sizeof(value));
	host_relax();
	CHECK(vm_gpa_read(town.to_vs, gpa, &word, sizeof(word), &done) == 0 && word == value);
	CHECK(vmspace_page_info(town.to_vs, gpa, &pi) == 0);
	CHECK(pi.pi_hpa == hpa && pi.pi_resident && pi.pi_write_holds != 0);
	vm_gpa_release(&hold);
}

/* Writes, and reads again what was written. */
static void
writer(unsigned int who, unsigned int round)
{
	struct rng rng = {round * 10 + who};

	for (uint64_t i = 1; i <= TURNS; i++) {
		const uint64_t page = rng_below(&rng, NPAGES);
		const gpa_t gpa = RAM + page * PAGE + who * 8;
		uint64_t was = ~i;
		uint64_t done;

		CHECK(vm_gpa_read(town.to_vs, gpa, &was, sizeof(was), &done) == 0);
		CHECK(was == town.to_mine[page][who]);
		if (who == 0)
			write_held(gpa, i);
		else
			CHECK(vm_gpa_write(town.to_vs, gpa, &i, sizeof(i), &done) == 0);
		town.to_mine[page][who] = i;
	}
	host_fetch_add(&town.to_done, 1);
}

static bool
is_over(void)
{
	return host_load_acquire(&town.to_done) == WRITERS;
}

static void
transfer(bool fails)
{
	uint64_t bitmap = 0;
	uint64_t done;

	CHECK(vm_dirty_log(town.to_vs, RAM, NPAGES * PAGE, VM_DIRTY_CLEAR, &bitmap) == 0);
	for (uint64_t i = 0; i < NPAGES && !fails; i++) {
		if ((bitmap >> i & 1) != 0)
			CHECK(vm_gpa_read(town.to_vs, RAM + i * PAGE, town.to_there[i],
					  sizeof(town.to_there[i]), &done) == 0);
	}
	if (fails)
		CHECK(vm_dirty_log_set(town.to_vs, RAM, NPAGES * PAGE, &bitmap) == 0);
}

static void
reader(void)
{
	CHECK(vm_dirty_log_enable(town.to_vs, true) == 0);
	for (unsigned int n = 0; !is_over(); n++) {
		transfer(n % 3 == 2);
		host_relax();
	}
	transfer(false);
	CHECK(vm_dirty_log_disable(town.to_vs) == 0);
}

/* Pages out, and moves. */
static void
taker(void)
{
	while (!is_over()) {
		uint64_t some;

		CHECK(vm_pageout(town.to_sys, town.to_vs, 5, 0, &some) == 0);
		CHECK(vm_migrate(town.to_vs, RAM, NPAGES * PAGE, &some) == 0);
		host_relax();
	}
}

/* A second window on the pages comes and goes. */
static void
mapper(void)
{
	uint64_t done;
	uint64_t word;

	while (!is_over()) {
		CHECK(vm_mmap_memseg(town.to_vs, ALIAS, 0, 0, NPAGES * PAGE, PMAP_PROT_R, 0) == 0);
		CHECK(vm_gpa_read(town.to_vs, ALIAS + PAGE, &word, sizeof(word), &done) == 0);
		CHECK(vm_munmap_memseg(town.to_vs, ALIAS, NPAGES * PAGE) == 0);
		host_relax();
	}
}

static void
log_actor(void *arg, unsigned int who)
{
	if (who < WRITERS)
		writer(who, *(unsigned int *)arg);
	else if (who == WRITERS)
		reader();
	else if (who == WRITERS + 1)
		taker();
	else
		mapper();
}

Test(vm_crowd, log)
{
	live("ept", 0, WRITERS + 3, log_actor);
}

Test(vm_crowd, log_emulated)
{
	live("ept-noad", 0, WRITERS + 3, log_actor);
	live("ept", VM_HOST_PAGER, WRITERS + 3, log_actor);
}

/* ---- Devices --------------------------------------------------------------------------------- */

/* Devices come and go, with half of the memory theirs. */
static void
device(void)
{
	while (!is_over()) {
		CHECK(vm_mmap_memseg(town.to_vs, ALIAS, 0, 0, NPAGES / 2 * PAGE, PMAP_PROT_RW, 0) ==
		      0);
		CHECK(vm_attach_device(town.to_vs, 0) == 0);
		CHECK(vm_wire_memmap(town.to_vs, ALIAS, NPAGES / 2 * PAGE) == 0);
		CHECK(vm_munmap_memseg(town.to_vs, ALIAS, NPAGES / 2 * PAGE) == -EINVAL);
		CHECK(vm_detach_device(town.to_vs, 0) == 0);
		CHECK(vm_munmap_memseg(town.to_vs, ALIAS, NPAGES / 2 * PAGE) == 0);
		host_relax();
	}
}

static void
device_actor(void *arg, unsigned int who)
{
	if (who < WRITERS)
		writer(who, *(unsigned int *)arg);
	else if (who == WRITERS)
		reader();
	else if (who == WRITERS + 1)
		taker();
	else
		device();
}

Test(vm_crowd, devices)
{
	live("ept", 0, WRITERS + 3, device_actor);
	live("ept", VM_HOST_PAGER, WRITERS + 3, device_actor);
}

/* ---- Execute control ------------------------------------------------------------------------- */

static void
executor(unsigned int round)
{
	struct rng rng = {round};

	while (!is_over()) {
		const gpa_t gpa = RAM + rng_below(&rng, NPAGES) * PAGE;

		CHECK(vm_fault(town.to_vs, gpa, PMAP_PROT_X, NULL) == 0);
		host_relax();
	}
}

static void
switcher(void)
{
	while (!is_over()) {
		CHECK(vm_exec_recover(town.to_vs) == 0);
		CHECK(vm_set_nx_superpages(town.to_vs, false) == 0);
		CHECK(vm_set_nx_superpages(town.to_vs, true) == 0);
		host_relax();
	}
}

static void
exec_actor(void *arg, unsigned int who)
{
	if (who < WRITERS)
		writer(who, *(unsigned int *)arg);
	else if (who == WRITERS)
		reader();
	else if (who == WRITERS + 1)
		executor(*(unsigned int *)arg);
	else
		switcher();
}

Test(vm_crowd, exec)
{
	live("ept", VM_NX_SUPERPAGES, WRITERS + 3, exec_actor);
}
