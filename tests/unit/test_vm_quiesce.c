/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Whoever takes something out of the map waits for those who are using a page of it (they read the
 * old map), and for nobody else. Here the user is the test itself, so it is known whether somebody
 * must wait, and that he does is seen by VP_WANTED: nothing depends on timing.
 */

#include "tests/unit/scripted_cpu.h"
#include "tests/unit/vm_fixture.h"
#include "vmspace/vm_priv.h"

#define NPAGES 1100
#define WINDOW (64 * MIB)

/* Three places in a row, with other pages of the segment around each. */
static const struct {
	gpa_t pl_gpa;
	uint64_t pl_first;
	uint64_t pl_npages;
} places[] = {{16 * MIB, 0, 10}, {24 * MIB, 20, 1030}, {32 * MIB, 1060, 3}};

struct unmapping {
	struct vf *un_x;
	gpa_t un_gpa;
	uint64_t un_npages;
	bool un_window;
	int un_error;
	struct host_word un_done;
};

static void
unmap(void *arg)
{
	struct unmapping *const un = arg;
	struct vmspace *const vs = un->un_x->vf_vs;

	un->un_error = un->un_window ? vm_unmap_mmio(vs, un->un_gpa, un->un_npages * PAGE)
				     : vm_munmap_memseg(vs, un->un_gpa, un->un_npages * PAGE);
	host_store_release(&un->un_done, 1);
}

static struct vm_object *
object_at(struct vf *x, gpa_t gpa)
{
	struct vm_object *ob;

	host_epoch_enter();
	ob = vm_map_lookup(vm_map_current(x->vf_vs), gpa)->me_object;
	host_epoch_exit();
	return ob;
}

/* A place goes while page `index` of an object is in use. */
static void
goes(struct scripted_cpu *cpu, struct unmapping *un, struct vm_object *ob, uint64_t index,
     bool waits)
{
	struct vm_page *const pg = vm_object_page(ob, index);

	host_store(&un->un_done, 0);
	vm_object_ref(ob);
	vf_assert(vm_page_share(pg));
	scripted_tell(cpu, unmap, un);
	while (host_load_acquire(&un->un_done) == 0 && (host_load(&pg->vp_state) & VP_WANTED) == 0)
		sched_yield();
	if ((host_load_acquire(&un->un_done) == 0) != waits)
		vf_fail("page %u in use, %#llx is unmapped: somebody %s", (unsigned int)index,
			(unsigned long long)un->un_gpa, waits ? "does not wait" : "waits");
	vm_page_unshare(ob, pg);
	scripted_wait(cpu);
	vf_errno(un->un_error, 0);
	vm_object_unref(ob);
}

static void
segments(struct vf *x)
{
	struct scripted_cpu cpu;

	vf_segment(x, 0, NPAGES, NULL);
	vf_map(x, 0, 0, 0, NPAGES, PMAP_PROT_RW);
	for (uint64_t i = 0; i < NPAGES; i++)
		vf_poke(x, i * PAGE, i + 1);
	for (unsigned int k = 0; k < 3; k++)
		vf_map(x, places[k].pl_gpa, 0, places[k].pl_first, places[k].pl_npages,
		       PMAP_PROT_RW);
	scripted_start(&cpu);
	for (unsigned int k = 0; k < 3; k++) {
		const uint64_t first = places[k].pl_first;
		const uint64_t last = first + places[k].pl_npages - 1;
		const uint64_t used[] = {first,
					 first + 1,
					 last - 1,
					 last,
					 511,
					 512,
					 513,
					 1023,
					 1024,
					 last + 1,
					 first != 0 ? first - 1 : last + 2};
		struct unmapping un = {
			.un_x = x, .un_gpa = places[k].pl_gpa, .un_npages = places[k].pl_npages};

		for (unsigned int i = 0; i < sizeof(used) / sizeof(used[0]); i++) {
			goes(&cpu, &un, object_at(x, 0), used[i],
			     used[i] >= first && used[i] <= last);
			vf_map(x, places[k].pl_gpa, 0, first, places[k].pl_npages, PMAP_PROT_RW);
		}
	}
	scripted_stop(&cpu);
	vf_verify(x);
}

Test(vm_quiesce, segments)
{
	static const struct vf_options o = {.vo_flags = VM_NO_SUPERPAGES};

	vf_each(&o, segments);
}

/* A window is in use as a whole. */
static void
windows(struct vf *x)
{
	struct unmapping un = {.un_x = x, .un_gpa = WINDOW, .un_npages = 4, .un_window = true};
	struct scripted_cpu cpu;

	vf_segment(x, 0, 4, NULL);
	vf_map(x, 0, 0, 0, 4, PMAP_PROT_RW);
	vf_poke(x, 0, 1);
	scripted_start(&cpu);
	for (unsigned int k = 0; k < 2; k++) {
		vf_errno(vm_map_mmio(x->vf_vs, WINDOW, 4 * PAGE, FX_HPA), 0);
		goes(&cpu, &un, object_at(x, k == 0 ? WINDOW : 0), 0, k == 0);
	}
	scripted_stop(&cpu);
	vf_verify(x);
}

Test(vm_quiesce, windows)
{
	vf_each(NULL, windows);
}

/* ---- Where a page is shown, while one of the places goes ------------------------------------- */

#define FIRST (16 * MIB)
#define SECOND (32 * MIB)

static struct {
	unsigned int se_calls;
	unsigned int se_first; /* how often each was found, at the last call */
	unsigned int se_second;
} seen;

/* Pages 3 and 4, of which FIRST shows the first eight and SECOND 4 to 7. */
static void
look(struct vf *x, const struct pmap_leaf *leaf)
{
	struct vm_object *const ob = x->vf_vs->vs_segs[0].sg_object;
	struct vm_place place = {0};

	(void)leaf;
	seen.se_calls++;
	seen.se_first = seen.se_second = 0;
	while (vm_map_next_place(x->vf_vs, ob, 3, 2, &place)) {
		if (place.pl_gpa == FIRST + 3 * PAGE)
			seen.se_first += place.pl_index == 3 && place.pl_npages == 2;
		else if (place.pl_gpa == SECOND)
			seen.se_second += place.pl_index == 4 && place.pl_npages == 1;
		else
			seen.se_calls = 1000;
	}
}

/* What takes A and M from all places of a page looks in those that are going, too. */
static void
going(struct vf *x)
{
	vf_segment(x, 0, 8, NULL);
	vf_map(x, FIRST, 0, 0, 8, PMAP_PROT_RW);
	vf_map(x, SECOND, 0, 4, 4, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 8; i++)
		vf_poke(x, FIRST + i * PAGE, i + 1);
	host_epoch_enter();
	look(x, NULL);
	host_epoch_exit();
	vf_assert(seen.se_first == 1 && seen.se_second == 1);
	seen.se_calls = 0;
	x->vf_on_note = look;
	vf_unmap(x, FIRST, 8);
	x->vf_on_note = NULL;
	vf_assert(seen.se_calls == 8 && seen.se_first == 1 && seen.se_second >= 1);
	look(x, NULL);
	vf_assert(seen.se_first == 0 && seen.se_second == 1);
	vf_verify(x);
}

Test(vm_quiesce, a_place_that_is_going_is_found)
{
	static const struct vf_options o = {.vo_flags = VM_NO_SUPERPAGES};

	vf_each(&o, going);
}
