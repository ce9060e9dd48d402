/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What threads meet once in a million walks, each time: the guest changes an entry between the look
 * and the mark, or a page between the hold and the mark; and the host fails there. The walk and the
 * copies are compiled here a second time, with their holds in our hands.
 */

#include "vmspace/vmspace.h"

#define vm_gla2gpa window_gla2gpa
#define vm_gla2gpa_nofault window_gla2gpa_nofault
#define vm_copy_setup window_copy_setup
#define vm_copy_teardown window_copy_teardown
#define vm_copyin window_copyin
#define vm_copyout window_copyout
#include "tests/unit/gla_rig.h"

#include <string.h>

/* What happens before the guest's tables are held for writing, and before a page of data is. */
struct window {
	struct rig *wi_rig;
	void (*wi_act)(struct window *w); /* before each word of a table is held to be marked */
	unsigned int wi_holds;		  /* so many were */
	unsigned int wi_from, wi_to;	  /* act on these, numbered from 1 */
	uint64_t wi_gpa;
	uint64_t wi_value;
	int wi_width;
	int wi_error; /* fail, instead */
};

static struct window window;

static int
window_hold(struct vmspace *vs, gpa_t gpa, uint64_t len, unsigned int prot, struct vm_hold *hold,
	    struct vm_fault_record *record)
{
	if (window.wi_rig != NULL && prot == PMAP_PROT_RW && len == 8 && gpa < RIG_LOW + 5 * PAGE) {
		const unsigned int n = ++window.wi_holds;

		if (n >= window.wi_from && n <= window.wi_to) {
			if (window.wi_error != 0) {
				record->fr_error = window.wi_error;
				return window.wi_error;
			}
			window.wi_act(&window);
		}
	}
	return vm_gpa_hold(vs, gpa, len, prot, hold, record);
}

#define vm_gpa_hold window_hold
#include "vmspace/vm_gla.c"
#undef ROUNDS
#define WALKS 64

#define vm_gpa_read window_gpa_read
#define vm_gpa_write window_gpa_write
int window_gpa_read(struct vmspace *vs, gpa_t gpa, void *to, uint64_t len, uint64_t *done);
int window_gpa_write(struct vmspace *vs, gpa_t gpa, const void *from, uint64_t len, uint64_t *done);
#include "vmspace/vm_copy.c"
#undef vm_gpa_hold

/* ---- The guest ------------------------------------------------------------------------------- */

#define LA 0x7fff12345678u
#define LA_OFFSET (LA & 0xfff)
#define A_BIT 0x20u
#define D_BIT 0x40u
#define FRAME_1 (RIG_LOW + 8 * PAGE)
#define FRAME_2 (RIG_LOW + 9 * PAGE)

static const struct ref_cpu long_cpu = {
	.cr0 = 0x80010001,
	.cr3 = RIG_LOW,
	.cr4 = 0x20,
	.efer = 0x500,
	.cpl = 3,
	.maxphyaddr = 46,
};

/* The entry of a level, from the top. */
static uint64_t
entry_at(int i)
{
	return RIG_LOW + (uint64_t)i * PAGE + ((LA >> (39 - 9 * i)) & 511) * 8;
}

static struct rig *
begin(void)
{
	struct rig *r = rig_open();

	for (int i = 0; i < 3; i++)
		rig_put(r, entry_at(i), (RIG_LOW + ((uint64_t)i + 1) * PAGE) | 7, 8);
	rig_put(r, entry_at(3), FRAME_1 | 7, 8);
	return r;
}

static void
store(struct window *w)
{
	rig_put(w->wi_rig, w->wi_gpa, w->wi_value, w->wi_width);
}

/* Something else each time. */
static void
count_up(struct window *w)
{
	w->wi_value += 0x200;
	store(w);
}

static void
end(struct rig *r)
{
	window = (struct window){0};
	rig_close(r);
}

/* What is in an entry now is what the image has, with these flags. */
static void
flags_are(struct rig *r, uint64_t gpa, uint64_t flags)
{
	uint64_t value;

	memcpy(&value, r->rg_low + (gpa - RIG_LOW), 8);
	rig_put(r, gpa, value | flags, 8);
}

static void
expect(struct rig *r, uint64_t gpa, uint64_t flags)
{
	uint64_t want, is, done;

	memcpy(&want, r->rg_low + (gpa - RIG_LOW), 8);
	vf_errno(window_gpa_read(r->rg_x.vf_vs, gpa, &is, 8, &done), 0);
	cr_assert_eq(is, want | flags, "%llx, not %llx", (unsigned long long)is,
		     (unsigned long long)(want | flags));
	flags_are(r, gpa, flags);
}

/* ---- Walks ----------------------------------------------------------------------------------- */

/* The leaf goes away, moves, loses its rights while it is to be marked; at any of the marks. */
Test(gla_window, leaf_changes)
{
	static const uint64_t values[] = {0xabcdef000, FRAME_2 | 7, FRAME_1 | 5, FRAME_1 | 3,
					  FRAME_2 | 7 | A_BIT | D_BIT};

	for (unsigned int at = 1; at <= 4; at++) {
		for (unsigned int k = 0; k < 5; k++) {
			struct rig *r = begin();
			const struct vm_guest_paging g = rig_paging(&long_cpu);
			const bool good = k == 1 || k == 4;
			struct vm_gla out;

			window = (struct window){r, store, 0, at, at, entry_at(3), values[k], 8, 0};
			vf_errno(vm_gla2gpa(r->rg_x.vf_vs, &g, LA, PMAP_PROT_W, &out),
				 good ? 0 : VM_GLA_EXCEPTION);
			if (good)
				cr_assert_eq(out.gl_gpa, FRAME_2 | LA_OFFSET);
			else
				cr_assert_eq(out.gl_exception.ge_error_code, k == 0 ? 6 : 7);
			/* It was used before it was lost, as far as the levels above go. */
			for (int i = 0; i < 3; i++)
				expect(r, entry_at(i), A_BIT);
			expect(r, entry_at(3), good ? A_BIT | D_BIT : 0);
			end(r);
		}
	}
}

/* A table is exchanged for another: what is marked then is the new way, and not the old one. */
Test(gla_window, table_changes)
{
	struct rig *r = begin();
	const struct vm_guest_paging g = rig_paging(&long_cpu);
	const uint64_t other = entry_at(3) + PAGE;
	struct vm_gla out;

	rig_put(r, other, FRAME_2 | 7, 8);
	window = (struct window){r, store, 0, 4, 4, entry_at(2), (RIG_LOW + 4 * PAGE) | 7, 8, 0};
	vf_errno(vm_gla2gpa(r->rg_x.vf_vs, &g, LA, PMAP_PROT_W, &out), 0);
	cr_assert_eq(out.gl_gpa, FRAME_2 | LA_OFFSET);
	for (int i = 0; i < 3; i++)
		expect(r, entry_at(i), A_BIT);
	expect(r, other, A_BIT | D_BIT);
	expect(r, entry_at(3), 0);
	end(r);
}

/* It changes each time: the walk ends all the same, and has not touched it. */
Test(gla_window, never_the_same)
{
	struct rig *r = begin();
	const struct vm_guest_paging g = rig_paging(&long_cpu);
	struct vm_gla out;

	for (int i = 0; i < 3; i++) /* but for the leaf nothing is to be done */
		rig_put(r, entry_at(i), (RIG_LOW + ((uint64_t)i + 1) * PAGE) | 7 | A_BIT, 8);
	window = (struct window){r, count_up, 0, 1, ~0u, entry_at(3), FRAME_1 | 7, 8, 0};
	vf_errno(vm_gla2gpa(r->rg_x.vf_vs, &g, LA, PMAP_PROT_R, &out), -EAGAIN);
	cr_assert_eq(window.wi_holds, WALKS);
	rig_same(r);

	/* And once it stays: */
	window.wi_to = 0;
	vf_errno(vm_gla2gpa(r->rg_x.vf_vs, &g, LA, PMAP_PROT_R, &out), 0);
	expect(r, entry_at(3), A_BIT);
	end(r);
}

/* Entries of 4 bytes: the neighbor's change is kept, and the entry marked. */
Test(gla_window, neighbor_changes)
{
	struct rig *r = rig_open();
	const struct ref_cpu c = {.cr0 = 0x80000001, .cr3 = RIG_LOW, .maxphyaddr = 36};
	const struct vm_guest_paging g = rig_paging(&c);
	const uint64_t pte = RIG_LOW + PAGE + (0x12345678u >> 12 & 1023) * 4;
	struct vm_gla out;

	rig_put(r, RIG_LOW + (0x12345678u >> 22) * 4, (RIG_LOW + PAGE) | 7, 4);
	rig_put(r, pte, FRAME_1 | 7, 4);
	window = (struct window){r, count_up, 0, 1, 7, pte ^ 4, 0x1234, 4, 0};
	vf_errno(vm_gla2gpa(r->rg_x.vf_vs, &g, 0x12345678, PMAP_PROT_W, &out), 0);
	cr_assert_eq(out.gl_gpa, FRAME_1 | 0x678);
	cr_assert_geq(window.wi_holds, 7);
	rig_put(r, pte, FRAME_1 | 7 | A_BIT | D_BIT, 4);
	cr_assert_eq(ref_walk(&c, &r->rg_mem, 0x12345678, 'w', true).kind, REF_OK);
	end(r);
}

/* The host fails at any of the holds: nothing was marked, nothing stays held. */
Test(gla_window, host_fails)
{
	static const int errors[] = {-ENOMEM, -EIO, -EINTR, -EACCES, -EFAULT, -EINVAL};

	for (unsigned int at = 1; at <= 4; at++) {
		for (unsigned int k = 0; k < 6; k++) {
			struct rig *r = begin();
			const struct vm_guest_paging g = rig_paging(&long_cpu);
			struct vm_gla out;

			window = (struct window){r, NULL, 0, at, at, 0, 0, 0, errors[k]};
			vf_errno(vm_gla2gpa(r->rg_x.vf_vs, &g, LA, PMAP_PROT_W, &out),
				 k < 3 ? errors[k] : -EFAULT);
			cr_assert_eq(out.gl_record.fr_error, errors[k]);
			for (unsigned int i = 0; i < RIG_LOW_PAGES; i++)
				cr_assert_eq(vf_info(&r->rg_x, RIG_LOW + i * PAGE).pi_holds, 0);
			rig_same(r);
			end(r);
		}
	}
}

/* ---- Copies ---------------------------------------------------------------------------------- */

/* The page moves between its hold and the mark: the copy goes where the guest sees it now. */
Test(gla_window, page_moves)
{
	struct rig *r = begin();
	const struct vm_guest_paging g = rig_paging(&long_cpu);
	struct vm_copy cp;
	struct vm_gla out;

	rig_write(r, FRAME_2 | LA_OFFSET, "two", 4);
	window = (struct window){r, store, 0, 1, 1, entry_at(3), FRAME_2 | 7, 8, 0};
	vf_errno(vm_copy_setup(r->rg_x.vf_vs, &g, LA, 4, PMAP_PROT_RW, &cp, &out), 0);
	cr_assert_eq(cp.cp_pages[0].cg_gpa, FRAME_2 | LA_OFFSET);
	cr_assert_eq(vf_info(&r->rg_x, FRAME_1).pi_holds, 0);
	cr_assert_eq(vf_info(&r->rg_x, FRAME_2).pi_holds, 1);
	vm_copyout(&cp, 0, "TWO", 4);
	vm_copy_teardown(&cp);
	cr_assert_eq(vf_info(&r->rg_x, FRAME_2).pi_holds, 0);
	memcpy(r->rg_low + (FRAME_2 | LA_OFFSET) - RIG_LOW, "TWO", 4);
	for (int i = 0; i < 3; i++)
		expect(r, entry_at(i), A_BIT);
	expect(r, entry_at(3), A_BIT | D_BIT);
	end(r);
}

/* It goes away there: an exception, and nothing is held. */
Test(gla_window, page_goes)
{
	struct rig *r = begin();
	const struct vm_guest_paging g = rig_paging(&long_cpu);
	struct vm_copy cp;
	struct vm_gla out;

	window = (struct window){r, store, 0, 1, 1, entry_at(3), 0, 8, 0};
	vf_errno(vm_copy_setup(r->rg_x.vf_vs, &g, LA, 4, PMAP_PROT_RW, &cp, &out),
		 VM_GLA_EXCEPTION);
	cr_assert_eq(out.gl_exception.ge_error_code, 6);
	cr_assert_eq(vf_info(&r->rg_x, FRAME_1).pi_holds, 0);
	for (int i = 0; i < 3; i++)
		expect(r, entry_at(i), A_BIT);
	end(r);
}

static void
move_back_and_forth(struct window *w)
{
	w->wi_value ^= FRAME_1 ^ FRAME_2;
	store(w);
}

/* It moves each time: that ends, too. */
Test(gla_window, page_never_stays)
{
	struct rig *r = begin();
	const struct vm_guest_paging g = rig_paging(&long_cpu);
	struct vm_copy cp;
	struct vm_gla out;

	for (int i = 0; i < 3; i++)
		rig_put(r, entry_at(i), (RIG_LOW + ((uint64_t)i + 1) * PAGE) | 7 | A_BIT, 8);
	window = (struct window){r, move_back_and_forth, 0, 1, ~0u, entry_at(3), FRAME_1 | 7, 8, 0};
	vf_errno(vm_copy_setup(r->rg_x.vf_vs, &g, LA, 4, PMAP_PROT_RW, &cp, &out), -EAGAIN);
	cr_assert_eq(vf_info(&r->rg_x, FRAME_1).pi_holds, 0);
	cr_assert_eq(vf_info(&r->rg_x, FRAME_2).pi_holds, 0);
	end(r);
}
