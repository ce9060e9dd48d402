/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Memory of the simulated machine: frames, poison, quarantine, heap, injected failures, leaks
 * (CK-FREE, CK-WALK, CK-LEAK, CK-API).
 */

#include "tests/unit/machine_util.h"

static uint64_t result;

/* ---- Frames ---------------------------------------------------------------------------------- */

static void
misuse(int how, uint64_t hpa, struct host_word *w)
{
	switch (how) {
	case 6:
		sim_data_load(hpa);
		break;
	case 7:
		sim_data_store(sim_canary(), 1);
		break;
	case 8:
		hpa = sim_frame_alloc(SIM_FRAME_DATA, 0);
		sim_phys_load(hpa);
		break;
	case 9:
		hpa = sim_frame_alloc(SIM_FRAME_DATA, 0);
		sim_frame_free(hpa, 0);
		sim_data_load(hpa);
		break;
	case 10:
		host_table_words(sim_phys_limit());
		break;
	case 11:
		host_lock_init(host_table_desc(hpa), 1);
		host_lock(host_table_desc(hpa));
		host_table_free(hpa);
		break;
	case 12:
		sim_phys_load(sim_phys_limit());
		break;
	case 13:
		sim_phys_load(hpa + 4);
		break;
	case 14:
		sim_data_load(sim_phys_base() - 8);
		break;
	case 15:
		hpa = sim_frame_alloc(SIM_FRAME_DATA, 0);
		sim_frame_free(hpa, 0);
		sim_frame_free(hpa, 0);
		break;
	case 16:
		sim_frame_free(sim_phys_limit() - SIM_PAGE_SIZE, 9);
		break;
	case 17:
		sim_frame_alloc(SIM_FRAME_DATA, 10);
		break;
	case 18:
		sim_frame_alloc(SIM_FRAME_TABLE, 9);
		break;
	case 19:
		host_fill_private(w + 1, SIM_TABLE_WORDS, 0, 0);
		break;
	default:
		sim_free(w, 8);
	}
}

static void
use_after_free(void *arg)
{
	const int how = *(int *)arg;
	uint64_t hpa = 0;
	struct host_word *w;

	if (!host_table_alloc(&hpa))
		return;
	w = host_table_words(hpa);
	switch (how) {
	case 0:
		host_table_free(hpa);
		host_load(w);
		break;
	case 1:
		host_table_free(hpa);
		host_store(w, 1);
		break;
	case 2:
		host_table_free(hpa);
		host_xchg(w, 1);
		break;
	case 3:
		host_table_free(hpa);
		host_load(host_table_desc(hpa));
		break;
	case 4:
		host_table_free(hpa);
		sim_phys_load(hpa);
		break;
	case 5:
		host_table_free(hpa);
		host_table_free(hpa);
		break;
	default:
		misuse(how, hpa, w);
	}
}

Test(machine_phys, freed_and_foreign_frames)
{
	static const char *const expected[][2] = {
		{"CK-FREE", "load of a word of table frame"},
		{"CK-FREE", "store of a word of table frame"},
		{"CK-FREE", "locked operation of a word of table frame"},
		{"CK-FREE", "load of a word of table frame"},
		{"CK-FREE", "in a table that was freed"},
		{"CK-FREE", "which is no table"},
		{"CK-FREE", "in a page table"},
		{"CK-FREE", "in the canary frame"},
		{"CK-WALK", "in a data frame"},
		{"CK-FREE", "in a frame that was freed"},
		{"CK-API", "which is no frame"},
		{"CK-FREE", "lock of rank 1 that CPU 0 holds"},
		{"CK-WALK", "outside memory"},
		{"CK-API", "misaligned"},
		{"CK-FREE", "outside memory"},
		{"CK-FREE", "freed twice"},
		{"CK-FREE", "which is no frame"},
		{"CK-API", "order 10"},
		{"CK-API", "table of order 9"},
		{"CK-API", "do not lie in one frame"},
		{"CK-API", "never allocated"},
	};

	for (int i = 0; i < (int)(sizeof expected / sizeof expected[0]); i++) {
		for (int quarantine = 0; quarantine <= 1; quarantine++) {
			struct sim_config cfg = config(1, 1);
			cfg.sc_quarantine = quarantine;
			struct sim_report r = run(&cfg, (program_fn[]){use_after_free}, &i);
			assert_violation(r, expected[i][0], expected[i][1]);
		}
	}
}

static void
store_and_hand_over(void *arg)
{
	struct host_word *w = host_table_words(*(uint64_t *)arg);

	host_store(w, 1);
	result = 1;
	for (unsigned int i = 0; i < 30; i++)
		sim_point(SIM_USER, NULL);
}

static bool
handed_over(void *arg)
{
	(void)arg;
	return result == 1;
}

static void
free_too_early(void *arg)
{
	sim_wait_until("the other", handed_over, NULL);
	host_table_free(*(uint64_t *)arg);
}

Test(machine_phys, a_store_that_arrives_after_the_free_is_seen)
{
	unsigned int late = 0;

	for (uint64_t seed = 0; seed < 50; seed++) {
		struct sim_config cfg = config(2, seed);
		struct sim_machine *m = machine(&cfg);
		uint64_t hpa = sim_frame_alloc(SIM_FRAME_TABLE, 0);

		result = 0;
		struct sim_report r =
			run_on(m, (program_fn[]){store_and_hand_over, free_too_early}, &hpa);
		sim_machine_destroy(m);
		if (r.sr_result == SIM_RUN_PASSED)
			continue;
		assert_violation(r, "CK-FREE", "store of a word of table frame");
		late++;
	}
	cr_assert(late > 0 && late < 50, "%u of 50", late);
}

static void
poisoned_words(void *arg)
{
	uint64_t hpa = 0;

	(void)arg;
	if (!host_table_alloc(&hpa))
		return;
	uint64_t *w = (uint64_t *)host_table_words(hpa);
	for (unsigned int i = 0; i < SIM_TABLE_WORDS; i++)
		result += w[i];
	host_table_free(hpa);
	for (unsigned int i = 0; i < SIM_TABLE_WORDS; i++) {
		uint64_t e = w[i];
		/* Present, writable, user or executable; points to the canary; no large page. */
		result += (e & 7) == 7 && (e & 0xffffffffff000) == sim_canary() &&
			  (e & 0xf8) == 0 && e >> 63 == 0;
	}
}

Test(machine_phys, freed_tables_are_poisoned)
{
	result = 0;
	struct sim_report r = run_one(poisoned_words, NULL);

	assert_passed(r);
	cr_assert_eq(result, 512, "zero before, poison after");
}

static void
frames(void *arg)
{
	const bool quarantine = *(bool *)arg;
	uint64_t a = sim_frame_alloc(SIM_FRAME_DATA, 0);
	uint64_t b = sim_frame_alloc(SIM_FRAME_DATA, 0);
	uint64_t run = sim_frame_alloc(SIM_FRAME_DATA, 9);

	HOST_ASSERT(a != 0 && b != 0 && a != b && run % (512 * SIM_PAGE_SIZE) == 0 && run != 0);
	HOST_ASSERT(run + 512 * SIM_PAGE_SIZE <= sim_phys_limit() && a > sim_phys_base());
	HOST_ASSERT(sim_frame_count(SIM_FRAME_DATA) == 514);
	HOST_ASSERT(sim_frame_at(run + 511 * SIM_PAGE_SIZE)->fr_kind == SIM_FRAME_DATA);
	HOST_ASSERT(sim_frame_at(sim_phys_limit()) == NULL);
	HOST_ASSERT(sim_frame_at(sim_phys_base() - 1) == NULL);
	sim_data_store(a + 4000, 17);
	HOST_ASSERT(sim_data_load(a + 4000) == 17);
	HOST_ASSERT(sim_data_load(a) == 0 && sim_data_load(b + 4000) == 0);
	sim_frame_free(a, 0);
	sim_frame_free(b, 0);
	uint64_t c = sim_frame_alloc(SIM_FRAME_DATA, 0);
	HOST_ASSERT(quarantine ? c != a && c != b : c == b);
	HOST_ASSERT(sim_data_load(c) == 0);
	sim_frame_free(run, 9);
	uint64_t again = sim_frame_alloc(SIM_FRAME_DATA, 9);
	HOST_ASSERT((again == run) == !quarantine);
	sim_frame_free(again + 5 * SIM_PAGE_SIZE, 0);
	HOST_ASSERT(sim_frame_count(SIM_FRAME_DATA) == 512);

	/* To the last frame, and then what was freed, in quarantine too. */
	uint64_t n = 0;
	while (sim_frame_alloc(SIM_FRAME_TABLE, 0) != 0)
		n++;
	HOST_ASSERT(n == sim_frame_count(SIM_FRAME_TABLE) && n > 1000);
	HOST_ASSERT(sim_frame_alloc(SIM_FRAME_DATA, 18) == 0);
	result = 1;
}

Test(machine_phys, frame_allocator)
{
	for (int i = 0; i < 4; i++) {
		struct sim_config cfg = config(1, 1);
		bool quarantine = i % 2 != 0;

		result = 0;
		cfg.sc_quarantine = quarantine;
		if (i >= 2)
			cfg.sc_phys_base = ((uint64_t)1 << 52) - 4096 * SIM_PAGE_SIZE;
		struct sim_report r = run(&cfg, (program_fn[]){frames}, &quarantine);
		assert_passed(r);
		cr_assert_eq(result, 1);
	}
}

static struct {
	uint64_t tables;
	uint64_t data;
} freed;

static void
note_free(void *arg, uint64_t hpa, enum sim_frame_kind kind)
{
	uint64_t value = 1;

	(void)arg;
	freed.tables += kind == SIM_FRAME_TABLE;
	freed.data += kind == SIM_FRAME_DATA;
	/* Still what it was. */
	HOST_ASSERT(sim_phys_peek(hpa + 8, &value) == (kind == SIM_FRAME_TABLE));
	HOST_ASSERT(value == (kind == SIM_FRAME_TABLE ? 6 : 1));
}

static void
free_both(void *arg)
{
	uint64_t hpa;
	uint64_t value = 6;

	(void)arg;
	if (!host_table_alloc(&hpa))
		return;
	host_store(host_table_words(hpa) + 1, 7);
	host_fence();
	host_fetch_and(host_table_words(hpa) + 1, 6);
	host_table_free(hpa);
	HOST_ASSERT(!sim_phys_peek(hpa, &value) && !sim_phys_peek(sim_phys_limit(), &value));
	sim_frame_free(sim_frame_alloc(SIM_FRAME_DATA, 9), 9);
}

Test(machine_phys, oracles_hear_of_frees)
{
	struct sim_config cfg = config(1, 1);
	struct sim_machine *m = machine(&cfg);

	memset(&freed, 0, sizeof freed);
	sim_set_free_hook(note_free, NULL);
	struct sim_report r = run_on(m, (program_fn[]){free_both}, NULL);
	sim_machine_destroy(m);
	assert_passed(r);
	cr_assert(freed.tables == 1 && freed.data == 512);
	cr_assert_eq(r.sr_counters.ct_frames_freed[SIM_FRAME_DATA], 512);
}

static void
heap_of_sizes(void *arg)
{
	unsigned char *p[20];

	(void)arg;
	for (unsigned int round = 0; round < 3; round++) {
		for (size_t i = 0; i < 20; i++) {
			p[i] = sim_alloc(1 + 100 * i);
			for (size_t k = 0; k <= 100 * i; k++)
				result += p[i][k];
			memset(p[i], 0xff, 1 + 100 * i);
		}
		for (size_t i = 0; i < 20; i++)
			sim_free(p[(i * 7) % 20], 1 + 100 * ((i * 7) % 20));
	}
	HOST_ASSERT(sim_alloc(0) == NULL && sim_alloc(SIZE_MAX) == NULL);
}

Test(machine_phys, heap_of_many_sizes)
{
	result = 0;
	struct sim_report r = run_one(heap_of_sizes, NULL);

	assert_passed(r);
	cr_assert_eq(result, 0);
}

static void
heap(void *arg)
{
	unsigned char *p = host_alloc(100);
	unsigned char *q = host_alloc(100);

	(void)arg;
	HOST_ASSERT(p != NULL && q != NULL && (uintptr_t)p % 64 == 0 && (uintptr_t)q % 64 == 0);
	for (unsigned int i = 0; i < 100; i++)
		HOST_ASSERT(p[i] == 0 && q[i] == 0);
	memset(p, 0xff, 100);
	host_free(p, 100);
	unsigned char *r = host_alloc(100);
	HOST_ASSERT(r == p && r[0] == 0 && r[99] == 0);
	host_free(NULL, 0);
	host_free(q, 100);
	if (result != 0)
		host_free(result == 1 ? q : r, result == 1 ? 100 : 99);
	host_free(r, 100);
}

Test(machine_phys, heap)
{
	result = 0;
	struct sim_report r = run_one(heap, NULL);
	assert_passed(r);
	result = 1;
	r = run_one(heap, NULL);
	assert_violation(r, "CK-API", "freed twice");
	result = 2;
	r = run_one(heap, NULL);
	assert_violation(r, "CK-API", "99 bytes are freed of a block of 100");
}

static void
allocate_ten(void *arg)
{
	uint64_t hpa[10];
	uint64_t *failed = arg;

	for (unsigned int i = 0; i < 10; i++) {
		if (!host_table_alloc(&hpa[i]))
			*failed |= (uint64_t)1 << i;
	}
	for (unsigned int i = 0; i < 10; i++) {
		if (!(*failed & (uint64_t)1 << i))
			host_table_free(hpa[i]);
	}
	for (unsigned int i = 0; i < 10; i++) {
		void *p = host_alloc(8);
		if (p == NULL)
			*failed |= (uint64_t)1 << (16 + i);
		host_free(p, 8);
	}
}

Test(machine_phys, injected_failures)
{
	struct sim_config cfg = config(1, 1);
	uint64_t failed = 0;
	struct sim_report r;

	cfg.sc_fault_nth[SIM_FAULT_TABLE_ALLOC] = 4;
	r = run(&cfg, (program_fn[]){allocate_ten}, &failed);
	assert_passed(r);
	cr_assert_eq(failed, 0x8);
	cr_assert_eq(r.sr_counters.ct_faults[SIM_FAULT_TABLE_ALLOC], 1);
	cr_assert_eq(r.sr_counters.ct_fault_asked[SIM_FAULT_TABLE_ALLOC], 10);

	failed = 0;
	cfg.sc_fault_persist[SIM_FAULT_TABLE_ALLOC] = true;
	cfg.sc_fault_nth[SIM_FAULT_ALLOC] = 2;
	r = run(&cfg, (program_fn[]){allocate_ten}, &failed);
	assert_passed(r);
	cr_assert_eq(failed, 0x203f8, "0x%x", (unsigned int)failed);

	uint64_t failures = 0;
	for (uint64_t seed = 0; seed < 20; seed++) {
		cfg = config(1, seed);
		cfg.sc_fault_ppm[SIM_FAULT_TABLE_ALLOC] = 300000;
		failed = 0;
		r = run(&cfg, (program_fn[]){allocate_ten}, &failed);
		assert_passed(r);
		cr_assert_eq(r.sr_counters.ct_faults[SIM_FAULT_TABLE_ALLOC],
			     (uint64_t)__builtin_popcountll(failed));
		failures += (uint64_t)__builtin_popcountll(failed);
	}
	cr_assert(failures > 30 && failures < 90, "%d of 200 at 30 %%", (int)failures);
}

/* ---- Leaks ----------------------------------------------------------------------------------- */

static void
leave_behind(void *arg)
{
	uint64_t hpa;

	switch (*(int *)arg) {
	case 0:
		host_table_alloc(&hpa);
		break;
	case 1:
		host_alloc(8);
		break;
	case 2:
		sim_frame_alloc(SIM_FRAME_DATA, 0);
		break;
	default:
		sim_alloc(8); /* a program's own: ends with the machine */
	}
}

Test(machine_phys, leaks)
{
	static const char *const expected[] = {"1 table frames", "1 blocks of host_alloc()",
					       "1 data frames"};

	for (int i = 0; i < 4; i++) {
		struct sim_config cfg = config(1, 1);
		struct sim_machine *m = machine(&cfg);
		struct sim_report r = run_on(m, (program_fn[]){leave_behind}, &i);

		assert_passed(r);
		sim_machine_check_leaks(m, &r);
		sim_machine_destroy(m);
		if (i == 3)
			assert_passed(r);
		else
			assert_violation(r, "CK-LEAK", expected[i]);
	}
}
