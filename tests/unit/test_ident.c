/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Identifiers (pmap_ident.h): ASIDs against a model of what a CPU's TLB may still hold, their
 * debts, migration and CPUs coming online; VPIDs.
 */

#include "pmap/pmap_ident.h"
#include "tests/unit/world.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* ---- ASIDs --------------------------------------------------------------------------------- */

/* One VMRUN that does not fail. */
static enum pmap_tlb_control
vmrun(struct pmap_asid_cpu *c, uint32_t cpu, struct pmap_asid *a, bool flush)
{
	enum pmap_tlb_control how = pmap_asid_assign(c, cpu, a, flush);

	pmap_asid_flushed(c, how);
	return how;
}

Test(ident, asid_init_refuses_fewer_than_two)
{
	struct pmap_asid_cpu c = {.ac_round = 77};

	cr_assert_eq(pmap_asid_cpu_init(&c, 0, true), -EINVAL);
	cr_assert_eq(pmap_asid_cpu_init(&c, 1, true), -EINVAL);
	cr_assert_eq(c.ac_round, 77, "changed by a failure");
	cr_assert_eq(pmap_asid_cpu_init(&c, 2, true), 0);
	cr_assert_eq(c.ac_round, 1);
	cr_assert_eq(c.ac_max, 1);
	cr_assert_eq(pmap_asid_cpu_init(&c, UINT32_MAX, true), 0);
	cr_assert_eq(c.ac_max, UINT32_MAX - 1);
}

Test(ident, asid_first_run_flushes_all_then_keeps)
{
	struct pmap_asid_cpu c;
	struct pmap_asid a = {0};
	struct pmap_asid b = {0};

	cr_assert_eq(pmap_asid_cpu_init(&c, 8, true), 0);
	cr_assert_eq(vmrun(&c, 0, &a, true), PMAP_TLB_FLUSH_ALL);
	cr_assert_eq(a.as_asid, 1);
	cr_assert_eq(vmrun(&c, 0, &a, false), PMAP_TLB_KEEP);
	cr_assert_eq(a.as_asid, 1);
	cr_assert_eq(vmrun(&c, 0, &b, true), PMAP_TLB_KEEP, "a new ASID is clean");
	cr_assert_eq(b.as_asid, 2);
}

Test(ident, asid_flush_with_and_without_flush_by_asid)
{
	struct pmap_asid_cpu c;
	struct pmap_asid a = {0};

	cr_assert_eq(pmap_asid_cpu_init(&c, 8, true), 0);
	vmrun(&c, 0, &a, false);
	cr_assert_eq(vmrun(&c, 0, &a, true), PMAP_TLB_FLUSH_ASID);
	cr_assert_eq(a.as_asid, 1);

	a = (struct pmap_asid){0};
	cr_assert_eq(pmap_asid_cpu_init(&c, 8, false), 0);
	vmrun(&c, 0, &a, false);
	cr_assert_eq(vmrun(&c, 0, &a, true), PMAP_TLB_KEEP);
	cr_assert_eq(a.as_asid, 2, "a needed flush means a new ASID");
}

Test(ident, asid_never_the_hosts_nor_beyond_the_last)
{
	struct pmap_asid_cpu c;
	struct pmap_asid a[10] = {0};

	cr_assert_eq(pmap_asid_cpu_init(&c, 4, false), 0);
	for (unsigned int turn = 0; turn < 1000; turn++) {
		struct pmap_asid *one = &a[turn * 7 % 10];

		vmrun(&c, 3, one, turn % 3 == 0);
		cr_assert(one->as_asid >= 1 && one->as_asid <= 3, "ASID %u", one->as_asid);
		cr_assert_eq(one->as_round, c.ac_round);
		cr_assert_eq(one->as_cpu, 3);
	}
}

Test(ident, asid_wrap_flushes_all_and_voids_old_ones)
{
	struct pmap_asid_cpu c;
	struct pmap_asid a = {0};
	struct pmap_asid b = {0};
	struct pmap_asid d = {0};

	cr_assert_eq(pmap_asid_cpu_init(&c, 3, true), 0);
	vmrun(&c, 0, &a, false);
	vmrun(&c, 0, &b, false);
	cr_assert_eq(b.as_asid, 2);
	cr_assert_eq(vmrun(&c, 0, &d, false), PMAP_TLB_FLUSH_ALL);
	cr_assert_eq(c.ac_round, 2);
	cr_assert_eq(d.as_asid, 1);
	cr_assert_eq(vmrun(&c, 0, &a, false), PMAP_TLB_KEEP);
	cr_assert_eq(a.as_asid, 2, "what it had is another's now");
}

Test(ident, asid_failed_vmrun_keeps_the_debt)
{
	struct pmap_asid_cpu c;
	struct pmap_asid a = {0};
	struct pmap_asid b = {0};

	cr_assert_eq(pmap_asid_cpu_init(&c, 8, true), 0);
	for (unsigned int i = 0; i < 3; i++)
		cr_assert_eq(pmap_asid_assign(&c, 0, &a, false), PMAP_TLB_FLUSH_ALL);
	cr_assert_eq(a.as_asid, 1, "no new ASID for each attempt");

	/* Another vCPU comes in between: the debt is the CPU's, not the first one's. */
	cr_assert_eq(vmrun(&c, 0, &b, false), PMAP_TLB_FLUSH_ALL);
	cr_assert_eq(vmrun(&c, 0, &a, false), PMAP_TLB_KEEP);

	/* Other flushes do not pay it. */
	pmap_asid_cpu_online(&c);
	pmap_asid_flushed(&c, PMAP_TLB_FLUSH_ASID);
	pmap_asid_flushed(&c, PMAP_TLB_KEEP);
	cr_assert_eq(vmrun(&c, 0, &a, false), PMAP_TLB_FLUSH_ALL);
}

Test(ident, asid_in_debt_needs_no_new_asid)
{
	struct pmap_asid_cpu c;
	struct pmap_asid a = {0};

	cr_assert_eq(pmap_asid_cpu_init(&c, 8, false), 0);
	for (unsigned int i = 0; i < 20; i++)
		cr_assert_eq(pmap_asid_assign(&c, 0, &a, true), PMAP_TLB_FLUSH_ALL);
	cr_assert_eq(a.as_asid, 1);
	cr_assert_eq(c.ac_round, 1, "failing entries must not use up ASIDs");
}

Test(ident, asid_migration_there_and_back)
{
	struct pmap_asid_cpu c[2];
	struct pmap_asid a = {0};

	cr_assert_eq(pmap_asid_cpu_init(&c[0], 8, true), 0);
	cr_assert_eq(pmap_asid_cpu_init(&c[1], 8, true), 0);
	vmrun(&c[0], 0, &a, false);
	cr_assert_eq(a.as_asid, 1);
	vmrun(&c[1], 1, &a, false);
	cr_assert_eq(a.as_asid, 1);
	cr_assert_eq(a.as_cpu, 1);

	/*
	 * Back on CPU 0, in the same round: what CPU 0 cached under ASID 1 missed every
	 * shootdown.
	 */
	cr_assert_eq(c[0].ac_round, a.as_round);
	cr_assert_eq(vmrun(&c[0], 0, &a, false), PMAP_TLB_KEEP);
	cr_assert_eq(a.as_asid, 2);
	cr_assert_eq(a.as_cpu, 0);
}

Test(ident, asid_online_starts_a_new_round_in_debt)
{
	struct pmap_asid_cpu c;
	struct pmap_asid a = {0};
	struct pmap_asid old;

	cr_assert_eq(pmap_asid_cpu_init(&c, 8, true), 0);
	vmrun(&c, 0, &a, false);
	old = a;
	for (uint64_t times = 1; times < 5; times++) {
		pmap_asid_cpu_online(&c);
		cr_assert_eq(c.ac_round, 1 + times, "the round must never go back");
		cr_assert(c.ac_debt);
	}
	cr_assert_eq(vmrun(&c, 0, &old, false), PMAP_TLB_FLUSH_ALL);
	cr_assert_neq(old.as_round, a.as_round);
}

Test(ident, asid_zeroed_is_none)
{
	struct pmap_asid_cpu c;
	struct pmap_asid a = {0};

	/* On CPU 0, whose number the zeroed ASID names. */
	cr_assert_eq(pmap_asid_cpu_init(&c, 2, true), 0);
	cr_assert_eq(pmap_asid_assign(&c, 0, &a, false), PMAP_TLB_FLUSH_ALL);
	cr_assert_eq(a.as_asid, 1);
}

/*
 * The model: for each (CPU, ASID), which vCPU's translations, since which of its flushes, the
 * TLB may hold. A VMRUN is right if the TLB holds nothing under its ASID but this vCPU's own
 * translations that it made since its last flush, and while it stayed on this CPU.
 */
#define MODEL_CPUS 3
#define MODEL_VCPUS 7
#define MODEL_ASIDS 5

struct model_tag {
	unsigned int mt_vcpu; /* 0: nothing cached */
	uint64_t mt_stay;
};

struct model {
	struct pmap_asid_cpu mo_cpu[MODEL_CPUS];
	struct model_tag mo_tlb[MODEL_CPUS][MODEL_ASIDS];
	struct pmap_asid mo_asid[MODEL_VCPUS + 1];
	uint64_t mo_stay[MODEL_VCPUS + 1]; /* changes with each flush and each change of CPU */
	unsigned int mo_on[MODEL_VCPUS + 1];
	bool mo_flush[MODEL_VCPUS + 1];
	uint64_t mo_stays;
};

static void
model_vmrun(struct model *m, unsigned int cpu, unsigned int v, bool fails)
{
	struct pmap_asid_cpu *c = &m->mo_cpu[cpu];
	enum pmap_tlb_control how = pmap_asid_assign(c, cpu, &m->mo_asid[v], m->mo_flush[v]);
	unsigned int asid = m->mo_asid[v].as_asid;
	struct model_tag *tag = &m->mo_tlb[cpu][asid];

	cr_assert(asid >= 1 && asid < MODEL_ASIDS);
	cr_assert(how != PMAP_TLB_FLUSH_ASID || c->ac_flush_by_asid);
	if (fails)
		return;
	if (m->mo_on[v] != cpu || m->mo_flush[v])
		m->mo_stay[v] = ++m->mo_stays;
	m->mo_on[v] = cpu;
	m->mo_flush[v] = false;
	if (how == PMAP_TLB_FLUSH_ASID)
		*tag = (struct model_tag){0};
	for (unsigned int i = 0; how == PMAP_TLB_FLUSH_ALL && i < MODEL_ASIDS; i++)
		m->mo_tlb[cpu][i] = (struct model_tag){0};
	cr_assert(tag->mt_vcpu == 0 || (tag->mt_vcpu == v && tag->mt_stay == m->mo_stay[v]),
		  "vCPU %u on CPU %u with ASID %u would use what vCPU %u cached", v, cpu, asid,
		  tag->mt_vcpu);
	*tag = (struct model_tag){v, m->mo_stay[v]};
	pmap_asid_flushed(c, how);
}

static void
model_run(bool flush_by_asid, unsigned int seed)
{
	static struct model m;

	m = (struct model){0};
	for (unsigned int i = 0; i < MODEL_CPUS; i++) {
		cr_assert_eq(pmap_asid_cpu_init(&m.mo_cpu[i], MODEL_ASIDS, flush_by_asid), 0);
		for (unsigned int j = 0; j < MODEL_ASIDS; j++)
			m.mo_tlb[i][j] = (struct model_tag){MODEL_VCPUS + 1, 0};
	}
	for (unsigned int v = 1; v <= MODEL_VCPUS; v++)
		m.mo_on[v] = MODEL_CPUS;
	for (unsigned int turn = 0; turn < 2000; turn++) {
		unsigned int r = (unsigned int)rand_r(&seed);
		unsigned int v = 1 + r % MODEL_VCPUS;
		unsigned int cpu = r / 8 % 4 ? m.mo_on[v] : r / 32 % MODEL_CPUS;

		if (r / 128 % 16 == 0)
			m.mo_flush[v] = true;
		if (r / 2048 % 64 == 0)
			pmap_asid_cpu_online(&m.mo_cpu[r / 32 % MODEL_CPUS]);
		if (cpu < MODEL_CPUS)
			model_vmrun(&m, cpu, v, r / 4096 % 8 == 0);
	}
	cr_assert(m.mo_cpu[0].ac_round > 5, "hardly a wrap in this run");
}

Test(ident, asid_random_against_a_model)
{
	for (unsigned int seed = 1; seed <= 50; seed++)
		model_run(seed % 2, seed);
}

/* ---- VPIDs --------------------------------------------------------------------------------- */

static struct pmap_vpids pool;
static bool seen[65536];

Test(ident, vpid_count_is_checked)
{
	pool.vp_count = 5;
	cr_assert_eq(pmap_vpids_init(&pool, 0), -EINVAL);
	cr_assert_eq(pmap_vpids_init(&pool, 1), -EINVAL);
	cr_assert_eq(pmap_vpids_init(&pool, 65537), -EINVAL);
	cr_assert_eq(pool.vp_count, 5, "changed by a failure");
}

static void
exhaust(uint32_t count)
{
	uint16_t vpid = 0;

	cr_assert_eq(pmap_vpids_init(&pool, count), 0);
	for (uint32_t i = 0; i < count; i++)
		seen[i] = false;
	for (uint32_t i = 1; i < count; i++) {
		cr_assert_eq(pmap_vpid_alloc(&pool, &vpid), 0);
		cr_assert(vpid != 0 && vpid < count);
		cr_assert(!seen[vpid], "VPID %u twice", vpid);
		seen[vpid] = true;
	}
	vpid = 12345;
	cr_assert_eq(pmap_vpid_alloc(&pool, &vpid), -ENOSPC);
	cr_assert_eq(vpid, 12345, "changed by a failure");

	/* The one that is given back is the one that is found, wherever it lies. */
	for (uint32_t i = 1; i < count; i += 1 + count / 97) {
		pmap_vpid_free(&pool, (uint16_t)i);
		cr_assert_eq(pmap_vpid_alloc(&pool, &vpid), 0);
		cr_assert_eq(vpid, i);
		cr_assert_eq(pmap_vpid_alloc(&pool, &vpid), -ENOSPC);
	}
}

Test(ident, vpid_all_of_a_pool_and_no_more)
{
	static const uint32_t counts[] = {2, 3, 63, 64, 65, 128, 1000, 65535, 65536};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		exhaust(counts[i]);
}

#if PMAP_CHECK >= 1

static void
free_twice(void *arg)
{
	uint16_t vpid = *(uint16_t *)arg;

	pmap_vpid_free(&pool, vpid);
	pmap_vpid_free(&pool, vpid);
}

static void
free_once(void *arg)
{
	pmap_vpid_free(&pool, *(uint16_t *)arg);
}

Test(ident, vpid_double_free_asserts)
{
	uint16_t vpid = 0;
	uint16_t zero = 0;
	uint16_t beyond = 10;

	cr_assert_eq(pmap_vpids_init(&pool, 10), 0);
	cr_assert_eq(pmap_vpid_alloc(&pool, &vpid), 0);
	cr_assert(!world_stops(free_once, &vpid));
	cr_assert_eq(pmap_vpid_alloc(&pool, &vpid), 0);
	cr_assert(world_stops(free_twice, &vpid));
	cr_assert(world_stops(free_once, &zero), "VPID 0 is the host's");
	cr_assert(world_stops(free_once, &beyond));
	cr_assert_eq(pmap_vpid_alloc(&pool, &vpid), 0, "the lock is free again");
}

#endif

#define STRESS_TURNS 300

/* Each VPID is owned by one actor at most. */
static void
stress(void *arg, unsigned int i)
{
	struct host_word *owner = arg;
	uint16_t mine[8];

	for (unsigned int turn = 0; turn < STRESS_TURNS; turn++) {
		unsigned int n = 0;

		while (n < 8 && pmap_vpid_alloc(&pool, &mine[n]) == 0) {
			CHECK(host_xchg(&owner[mine[n]], i + 1) == 0);
			n++;
		}
		while (n-- > 0) {
			CHECK(host_xchg(&owner[mine[n]], 0) == i + 1);
			pmap_vpid_free(&pool, mine[n]);
		}
	}
}

Test(ident, vpid_concurrently)
{
	static struct host_word owner[21];
	const struct world_config cfg = {.wc_actors = 4};

	world_begin(&cfg);
	cr_assert_eq(pmap_vpids_init(&pool, 21), 0);
	world_run(4, stress, owner);
	cr_assert_eq(pool.vp_used[0], 1);
	world_end();
}

Test(ident, vpid_home)
{
	struct pmap_vpid_home h = {0};

	cr_assert(pmap_vpid_stale(&h, 0, 1), "never flushed");
	pmap_vpid_flushed(&h, 0, 1);
	cr_assert(!pmap_vpid_stale(&h, 0, 1));
	cr_assert(pmap_vpid_stale(&h, 1, 1), "another CPU");
	pmap_vpid_flushed(&h, 1, 1);
	cr_assert(pmap_vpid_stale(&h, 0, 1), "there and back");
	pmap_vpid_flushed(&h, 0, 1);
	cr_assert(pmap_vpid_stale(&h, 0, 2), "VMXON since");
}
