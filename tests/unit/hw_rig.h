/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A machine with hardware, page tables made by hand, and choices by script, for the tests of the
 * hardware model. Entries are written as numbers, as the manuals print them: no code of the core
 * and none of the model stands between.
 *
 * All choices are 0 unless pushed: of the cached table entries the lowest, accessed flags at once,
 * A and D together, a lack of rights straight from the cache.
 */

#ifndef TESTS_UNIT_HW_RIG_H
#define TESTS_UNIT_HW_RIG_H

#include "sim/hw/hw.h"
#include "tests/unit/machine_util.h"

#define RIG_CHOICES 32

struct rig {
	struct sim_machine *m;
	struct hw_model model;
	struct hw_context ctx;
	uint64_t root;
	unsigned int levels;
	uint32_t pushed[RIG_CHOICES];
	unsigned int npushed;
	unsigned int nused;
	struct hw_translation out;
	struct hw_fault fault;
};

/* EPTP: write back, four levels; with A/D. */
#define EPTP_PLAIN 0x1eull
#define EPTP_AD 0x5eull

/*
 * Entries that grant everything: a table; a leaf (EPT: write back); accessed; accessed and dirty.
 */
#define EPT_TABLE 0x7ull
#define EPT_LEAF 0x37ull
#define EPT_LARGE 0xb7ull
#define EPT_A 0x100ull
#define EPT_D 0x200ull
#define X86_ALL 0x7ull /* user, writable, present */
#define X86_LARGE 0x87ull
#define X86_A 0x20ull
#define X86_D 0x40ull
#define X86_G 0x100ull
#define X86_NX 0x8000000000000000ull

static inline uint32_t
rig_choose(void *arg, enum sim_choice kind, uint32_t n)
{
	struct rig *r = arg;

	if (kind != SIM_CHOICE_HW || r->nused == r->npushed)
		return 0;
	return r->pushed[r->nused++] % n;
}

/* The next choice of the hardware, after those pushed before. */
static inline void
push(struct rig *r, uint32_t choice)
{
	cr_assert_lt(r->npushed, RIG_CHOICES);
	r->pushed[r->npushed++] = choice;
}

static inline uint64_t
table_new(void)
{
	const uint64_t hpa = sim_frame_alloc(SIM_FRAME_TABLE, 0);

	cr_assert_neq(hpa, 0);
	return hpa;
}

static inline uint64_t
data_new(unsigned int order)
{
	const uint64_t hpa = sim_frame_alloc(SIM_FRAME_DATA, order);

	cr_assert_neq(hpa, 0);
	return hpa;
}

static inline void
rig_free(struct rig *r)
{
	hw_destroy();
	sim_machine_destroy(r->m);
	r->m = NULL;
}

static inline struct rig *
rig_new(enum hw_kind kind)
{
	static struct rig rig;
	struct sim_config cfg = config(2, 1);
	struct hw_config hw;
	struct rig *r = &rig;

	if (r->m) /* left by a test that failed in this process */
		rig_free(r);
	memset(r, 0, sizeof(*r));
	cfg.sc_frames = 4096;
	cfg.sc_source = SIM_SOURCE_CALL;
	cfg.sc_call = rig_choose;
	cfg.sc_call_arg = r;
	r->m = machine(&cfg);
	hw_config_init(&hw);
	cr_assert_eq(hw_create(&hw), 0);
	hw_model_init(&r->model);
	r->root = table_new();
	r->levels = 4;
	r->ctx.hc_model = &r->model;
	r->ctx.hc_kind = kind;
	r->ctx.hc_root = r->root | (kind == HW_EPT ? EPTP_AD : 0);
	r->ctx.hc_levels = 4;
	r->ctx.hc_tag = kind == HW_X86 ? 0 : 1;
	return r;
}

/* The word that a walk of gpa meets at a level; tables are made on the way, with all rights. */
static inline uint64_t *
word_at(struct rig *r, uint64_t gpa, unsigned int level)
{
	uint64_t table = r->ctx.hc_root & 0xffffffffff000ull;

	for (unsigned int l = r->levels - 1;; l--) {
		uint64_t *w = &sim_table_words(table)[(gpa >> (12 + 9 * l)) & 511];

		if (l == level)
			return w;
		if (*w == 0)
			*w = table_new() | (r->ctx.hc_kind == HW_EPT ? EPT_TABLE : X86_ALL);
		table = *w & 0xffffffffff000ull;
	}
}

/* Maps gpa to a new data frame (a run, above level 0) with these bits; returns the frame. */
static inline uint64_t
map(struct rig *r, uint64_t gpa, unsigned int level, uint64_t bits)
{
	const uint64_t hpa = level < 2 ? data_new(9 * level) : 0x40000000;

	*word_at(r, gpa, level) = hpa | bits;
	return hpa;
}

static inline enum hw_result
touch(struct rig *r, uint64_t gpa, unsigned int access)
{
	return hw_access(0, &r->ctx, gpa, access, &r->out, &r->fault);
}

/* The access succeeds and reaches this frame. */
#define assert_reaches(r, gpa, access, hpa)                                      \
	do {                                                                     \
		cr_assert_eq(touch(r, gpa, access), HW_OK, "fault, code 0x%llx", \
			     (unsigned long long)(r)->fault.hf_code);            \
		cr_assert_eq((r)->out.ht_hpa & ~0xfffull, hpa, "frame 0x%llx",   \
			     (unsigned long long)(r)->out.ht_hpa);               \
	} while (0)

#define assert_faults(r, gpa, access, kind, code)                                            \
	do {                                                                                 \
		cr_assert_eq(touch(r, gpa, access), HW_FAULT);                               \
		cr_assert_eq((r)->fault.hf_kind, kind, "fault kind %d", (r)->fault.hf_kind); \
		cr_assert_eq((r)->fault.hf_code, code, "code 0x%llx",                        \
			     (unsigned long long)(r)->fault.hf_code);                        \
	} while (0)

/* Whether CPU 0 still has anything for gpa: the entry in memory is taken away for the time. */
static inline bool
keeps(struct rig *r, uint64_t gpa, unsigned int level, unsigned int access)
{
	uint64_t *w = word_at(r, gpa, level);
	const uint64_t was = *w;
	struct hw_walk walk;
	bool kept;

	*w = 0;
	hw_walk_quiet(&r->ctx, gpa, &walk);
	cr_assert(!walk.wk_present);
	kept = touch(r, gpa, access) == HW_OK;
	*w = was;
	return kept;
}

/* Maps gpa with all rights and has CPU 0 cache it, clean; returns the frame. */
static inline uint64_t
load_page(struct rig *r, uint64_t gpa, unsigned int level)
{
	const bool ept = r->ctx.hc_kind == HW_EPT;
	const uint64_t hpa =
		map(r, gpa, level,
		    level == 0 ? (ept ? EPT_LEAF : X86_ALL) : (ept ? EPT_LARGE : X86_LARGE));

	assert_reaches(r, gpa, HW_READ, hpa);
	return hpa;
}

static inline void
count_tables(void *arg, unsigned int cpu, enum hw_space_kind space, uint64_t key,
	     struct hw_tlb_entry *e)
{
	(void)cpu;
	(void)space;
	(void)key;
	*(unsigned int *)arg += e->te_table;
}

#endif /* TESTS_UNIT_HW_RIG_H */
