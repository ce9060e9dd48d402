/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Guests that change their tables while we walk them. What the guest finds in an entry that it
 * replaces is what it stored there, with A or D at most where they may be; and every translation is
 * one that was in force.
 */

#include "tests/unit/gla_rig.h"

#include <sched.h>

#define LA 0x7fff12345678u
#define A_BIT 0x20u
#define D_BIT 0x40u

#define FRAME_1 0x4abcd000u
#define FRAME_2 0x5abcd000u
#define FRAME_3 0x6abcd000u
#define OFFSET (LA & 0xfff)

struct race {
	struct rig *rc_rig;
	struct vm_hold rc_hold; /* the tables: the guest writes to them as it pleases */
	struct ref_cpu rc_cpu;
	unsigned int rc_rounds;
	uint64_t rc_walkers; /* that are not done */
	uint64_t rc_done;    /* translations that succeeded */
	uint32_t rc_counted; /* by the guest, in a neighbor of an entry */
	uint64_t rc_denied;  /* that did not: by an exception, or as the guest was too fast */
};

static struct host_word *
word_at(struct race *rc, uint64_t gpa)
{
	const uint64_t offset = gpa - RIG_LOW;

	return host_page_word(rc->rc_hold.vh_pages[offset / PAGE].hp_hpa, offset % PAGE & ~7u);
}

static void
begin(struct race *rc)
{
	*rc = (struct race){.rc_rig = rig_open(), .rc_rounds = 40 * fx_scale(1000)};
	vf_errno(vm_memseg_hold(rc->rc_rig->rg_x.vf_vs, 0, 0, RIG_LOW_PAGES * PAGE, PMAP_PROT_RW,
				&rc->rc_hold),
		 0);
	rc->rc_cpu = (struct ref_cpu){
		.cr0 = 0x80010001,
		.cr3 = RIG_LOW,
		.cr4 = 0x20,
		.efer = 0x500,
		.cpl = 3,
		.maxphyaddr = 46,
	};
}

/* The image does not follow what the guest does by itself: it is taken from memory. */
static void
end(struct race *rc)
{
	vm_hold_read(&rc->rc_hold, 0, rc->rc_rig->rg_low, sizeof(rc->rc_rig->rg_low));
	vm_gpa_release(&rc->rc_hold);
	cr_assert(rc->rc_done > 0, "nothing succeeded");
	rig_close(rc->rc_rig);
}

static uint64_t
add(uint64_t *counter, uint64_t n)
{
	return __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* The guest goes on as long as anybody walks. */
static bool
guest_runs(struct race *rc, unsigned int turn)
{
	/* Odd, so that it pauses in every state in turn. */
	if (turn % 61 == 0)
		sched_yield();
	return add(&rc->rc_walkers, 0) > 0;
}

static void
run(struct race *rc, void (*act)(void *arg, unsigned int i), unsigned int guests)
{
	rc->rc_walkers = 2;
	world_run(guests + 2, act, rc);
}

/* ---- Entries of 8 bytes ---------------------------------------------------------------------- */

#define LEAF (RIG_LOW + 3 * PAGE + ((LA >> 12) & 511) * 8)
#define OTHER_LEAF (RIG_LOW + 4 * PAGE + ((LA >> 12) & 511) * 8)
#define PDE (RIG_LOW + 2 * PAGE + ((LA >> 21) & 511) * 8)

static const uint64_t leaf_values[] = {FRAME_1 | 7, FRAME_2 | 5, 0xabcdef000, FRAME_1 | 7 | D_BIT};

/* What may have come to an entry since it was stored: nothing, A, or D with A. */
static void
check_found(uint64_t stored, uint64_t found, bool writable)
{
	CHECK((found & ~(uint64_t)(A_BIT | D_BIT)) == (stored & ~(uint64_t)(A_BIT | D_BIT)));
	CHECK((found & stored) == stored);
	if (!(stored & 1))
		CHECK(found == stored);
	if (!writable)
		CHECK((found & D_BIT) == (stored & D_BIT));
	if ((found & ~stored & D_BIT) != 0)
		CHECK((found & A_BIT) != 0);
}

static void
flip_leaf(struct race *rc)
{
	struct host_word *w = word_at(rc, LEAF);
	uint64_t stored = leaf_values[0];

	for (unsigned int i = 1; guest_runs(rc, i); i++) {
		const uint64_t next = leaf_values[i % 4];

		check_found(stored, host_xchg(w, next), (stored & 2) != 0);
		stored = next;
	}
	check_found(stored, host_xchg(w, leaf_values[0]), (stored & 2) != 0);
}

static void
flip_table(struct race *rc)
{
	const uint64_t values[] = {(RIG_LOW + 3 * PAGE) | 7, (RIG_LOW + 4 * PAGE) | 7};
	struct host_word *w = word_at(rc, PDE);
	uint64_t stored = values[0];

	for (unsigned int i = 1; guest_runs(rc, i); i++) {
		const uint64_t next = values[i / 8 % 2];

		/* Bit 6 of an entry that points to a table is nobody's. */
		check_found(stored, host_xchg(w, next), false);
		stored = next;
	}
	check_found(stored, host_xchg(w, values[0]), false);
}

static void
walk(struct race *rc, unsigned int i)
{
	const struct vm_guest_paging g = rig_paging(&rc->rc_cpu);
	struct vmspace *vs = rc->rc_rig->rg_x.vf_vs;

	/* At least until both outcomes have been seen, if that takes no ages. */
	for (unsigned int n = 0;
	     n < rc->rc_rounds / 4 || (n < 100 * rc->rc_rounds && !add(&rc->rc_denied, 0)); n++) {
		const bool writes = ((n + i) & 1) != 0;
		const unsigned int access = writes ? PMAP_PROT_W : PMAP_PROT_R;
		struct vm_gla out;
		const int rv = n % 16 == 0 ? vm_gla2gpa_nofault(vs, &g, LA, access, &out)
					   : vm_gla2gpa(vs, &g, LA, access, &out);

		if (rv == 0) {
			CHECK(out.gl_gpa == (FRAME_1 | OFFSET) ||
			      out.gl_gpa == (FRAME_3 | OFFSET) ||
			      (!writes && out.gl_gpa == (FRAME_2 | OFFSET)));
			add(&rc->rc_done, 1);
		} else if (rv == VM_GLA_EXCEPTION) {
			const uint32_t code = out.gl_exception.ge_error_code;

			CHECK(out.gl_exception.ge_vector == VM_VECTOR_PF);
			CHECK(code == (writes ? 6u : 4u) || (writes && code == 7));
			add(&rc->rc_denied, 1);
		} else {
			CHECK(rv == -EAGAIN);
		}
	}
	add(&rc->rc_walkers, (uint64_t)-1);
}

static void
act_8(void *arg, unsigned int i)
{
	struct race *rc = arg;

	switch (i) {
	case 0:
		flip_leaf(rc);
		break;
	case 1:
		flip_table(rc);
		break;
	default:
		walk(rc, i);
		break;
	}
}

Test(gla_race, entries_change)
{
	struct race rc;

	begin(&rc);
	for (int i = 0; i < 3; i++)
		rig_put(rc.rc_rig, RIG_LOW + i * PAGE + ((LA >> (39 - 9 * i)) & 511) * 8,
			(RIG_LOW + (i + 1) * PAGE) | 7, 8);
	rig_put(rc.rc_rig, LEAF, leaf_values[0], 8);
	rig_put(rc.rc_rig, OTHER_LEAF, FRAME_3 | 7, 8);
	run(&rc, act_8, 2);
	cr_assert(rc.rc_denied > 0, "the guest changed nothing in time");
	end(&rc);
}

/* ---- Entries of 4 bytes ---------------------------------------------------------------------- */

#define LA_32 0x12345678u
#define PTE_32 (RIG_LOW + PAGE + ((LA_32 >> 12) & 1023) * 4)

static uint32_t *
half_at(struct race *rc, uint64_t gpa)
{
	return (uint32_t *)word_at(rc, gpa) + (gpa >> 2 & 1);
}

/* The guest counts in one half and takes flags back in the other. */
static void
count_beside(struct race *rc, bool counts)
{
	uint32_t *const beside = half_at(rc, PTE_32 ^ 4);
	uint32_t *const pte = half_at(rc, PTE_32);

	for (unsigned int i = 0; guest_runs(rc, i); i++) {
		if (counts) {
			__atomic_fetch_add(beside, 1, __ATOMIC_SEQ_CST);
			rc->rc_counted++;
		} else {
			const uint32_t was =
				__atomic_fetch_and(pte, ~(A_BIT | D_BIT), __ATOMIC_SEQ_CST);

			CHECK((was & ~(A_BIT | D_BIT)) == (FRAME_1 | 7));
			CHECK(!(was & D_BIT) || (was & A_BIT));
		}
	}
}

static void
act_4(void *arg, unsigned int i)
{
	struct race *rc = arg;
	const struct vm_guest_paging g = rig_paging(&rc->rc_cpu);

	if (i < 2) {
		count_beside(rc, i == 0);
		return;
	}
	for (unsigned int n = 0; n < rc->rc_rounds / 4; n++) {
		struct vm_gla out;
		const int rv = vm_gla2gpa(rc->rc_rig->rg_x.vf_vs, &g, LA_32,
					  n & 1 ? PMAP_PROT_W : PMAP_PROT_R, &out);

		CHECK(rv == 0 || rv == -EAGAIN);
		CHECK(rv != 0 || out.gl_gpa == (FRAME_1 | (LA_32 & 0xfff)));
		add(rv == 0 ? &rc->rc_done : &rc->rc_denied, 1);
	}
	add(&rc->rc_walkers, (uint64_t)-1);
}

Test(gla_race, neighbor_changes)
{
	struct race rc;

	begin(&rc);
	rc.rc_cpu.cr4 = 0;
	rc.rc_cpu.efer = 0;
	rig_put(rc.rc_rig, RIG_LOW + (LA_32 >> 22) * 4, (RIG_LOW + PAGE) | 7, 4);
	rig_put(rc.rc_rig, PTE_32, FRAME_1 | 7, 4);
	run(&rc, act_4, 2);
	cr_assert_eq(*half_at(&rc, PTE_32 ^ 4), rc.rc_counted, "a count was lost");
	end(&rc);
}

/* ---- Copies ---------------------------------------------------------------------------------- */

#define DATA (RIG_LOW + 8 * PAGE)

/*
 * The guest moves a page between two frames while a copy is made across it: every copy lies in one
 * frame or in the other, and a frame keeps what was copied as long as it is held.
 */
static void
act_copy(void *arg, unsigned int i)
{
	struct race *rc = arg;
	const struct vm_guest_paging g = rig_paging(&rc->rc_cpu);
	struct host_word *const w = word_at(rc, LEAF);

	for (unsigned int n = 0; i == 0 && guest_runs(rc, n); n++)
		host_xchg(w, (DATA + (n & 1) * PAGE) | 7);
	if (i == 0)
		return;
	for (unsigned int n = 0; n < rc->rc_rounds / 8; n++) {
		const uint64_t stamp = (uint64_t)i << 32 | n;
		struct vm_copy cp;
		struct vm_gla out;
		uint64_t back;
		const int rv = vm_copy_setup(rc->rc_rig->rg_x.vf_vs, &g, (LA - OFFSET) + 8 * i, 8,
					     PMAP_PROT_RW, &cp, &out);

		CHECK(rv == 0 || rv == -EAGAIN);
		add(rv == 0 ? &rc->rc_done : &rc->rc_denied, 1);
		if (rv != 0)
			continue;
		CHECK(cp.cp_pages[0].cg_gpa == DATA + 8 * i ||
		      cp.cp_pages[0].cg_gpa == DATA + PAGE + 8 * i);
		vm_copyout(&cp, 0, &stamp, 8);
		vm_copyin(&cp, 0, &back, 8);
		CHECK(back == stamp);
		vm_copy_teardown(&cp);
	}
	add(&rc->rc_walkers, (uint64_t)-1);
}

Test(gla_race, copies)
{
	struct race rc;

	begin(&rc);
	for (int i = 0; i < 3; i++)
		rig_put(rc.rc_rig, RIG_LOW + i * PAGE + ((LA >> (39 - 9 * i)) & 511) * 8,
			(RIG_LOW + (i + 1) * PAGE) | 7, 8);
	rig_put(rc.rc_rig, LEAF, DATA | 7, 8);
	run(&rc, act_copy, 1);
	end(&rc);
}
