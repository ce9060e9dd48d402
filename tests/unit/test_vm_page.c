/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The state of one page, word by word: who may share it, own it, wait for it, and what is left of
 * it after. Everything else relies on this; seen from further away a slip in it is a rare hang.
 */

#include "tests/unit/scripted_cpu.h"
#include "tests/unit/vm_fixture.h"
#include "vmspace/vm_priv.h"

#define FRAME ((uint64_t)0x1234 << HOST_PAGE_SHIFT)
#define MARKS (VP_DIRTY | VP_REFERENCED | VP_LOGGED)
/* Whatever else is set. */
static const uint64_t others[] = {0, FRAME, VP_DIRTY, FRAME | MARKS};

static struct vm_object *
object(struct vf *x)
{
	vf_segment(x, 0, 8, NULL);
	vf_map(x, 0, 0, 0, 8, PMAP_PROT_RW);
	return x->vf_vs->vs_segs[0].sg_object;
}

static uint64_t
state_of(const struct vm_page *pg)
{
	return host_load(&pg->vp_state);
}

static void
sharing(struct vf *x)
{
	struct vm_object *const ob = object(x);
	struct vm_page pg = {0};

	for (unsigned int i = 0; i < 4; i++) {
		const uint64_t was = VP_RESIDENT | others[i];

		host_store(&pg.vp_state, others[i]);
		vf_assert(!vm_page_share(&pg) && state_of(&pg) == others[i]);
		host_store(&pg.vp_state, was | VP_OWNED);
		vf_assert(!vm_page_share(&pg) && state_of(&pg) == (was | VP_OWNED));
		host_store(&pg.vp_state, was);
		for (uint64_t n = 1; n <= 4095; n++)
			vf_assert(vm_page_share(&pg) && state_of(&pg) == was + n * VP_SHARE);
		vf_assert(!vm_page_share(&pg) && state_of(&pg) == was + 4095 * VP_SHARE);
		for (uint64_t n = 4095; n-- > 0;) {
			vm_page_unshare(ob, &pg);
			vf_assert(state_of(&pg) == was + n * VP_SHARE);
		}
		vf_assert(!vm_state_busy(state_of(&pg)));
	}
}

Test(vm_page, sharing)
{
	vf_each(NULL, sharing);
}

static void
owning(struct vf *x)
{
	struct vm_object *const ob = object(x);
	struct vm_page pg = {0};
	uint64_t state;

	for (unsigned int i = 0; i < 8; i++) {
		const uint64_t was = others[i / 2] | (i % 2 != 0 ? VP_RESIDENT : 0);

		host_store(&pg.vp_state, was);
		state = 1;
		vf_assert(vm_page_own(&pg, &state) && state == was);
		vf_assert(state_of(&pg) == (was | VP_OWNED) && vm_state_busy(state_of(&pg)));
		vf_assert(!vm_page_own(&pg, &state) && state_of(&pg) == (was | VP_OWNED));
		vm_page_disown(ob, &pg, 0, 0);
		vf_assert(state_of(&pg) == was);

		vf_assert(vm_page_own(&pg, &state));
		vm_page_disown(ob, &pg, VP_DIRTY, VP_LOGGED);
		vf_assert(state_of(&pg) == ((was & ~VP_DIRTY) | VP_LOGGED));

		host_store(&pg.vp_state, was);
		vf_assert(vm_page_own(&pg, &state));
		vm_page_downgrade(ob, &pg, VP_LOGGED, VP_REFERENCED);
		vf_assert(state_of(&pg) == ((was & ~VP_LOGGED) | VP_REFERENCED) + VP_SHARE);
		vf_assert(!vm_page_own(&pg, &state));
		vm_page_unshare(ob, &pg);
	}
}

Test(vm_page, owning)
{
	vf_each(NULL, owning);
}

static void
unpinned(struct vf *x)
{
	static const uint64_t pins[] = {VP_HOLD, VP_HOLD | VP_WRITE_HOLD, VP_WIRING};
	struct vm_object *const ob = object(x);
	struct vm_page pg = {0};

	host_store(&pg.vp_state, FRAME);
	vf_assert(!vm_page_own_unpinned(ob, &pg) && state_of(&pg) == FRAME);
	host_store(&pg.vp_state, FRAME | VP_RESIDENT | VP_DIRTY);
	for (unsigned int i = 0; i < 3; i++) {
		host_store(&pg.vp_pins, pins[i]);
		vf_assert(!vm_page_own_unpinned(ob, &pg));
		vf_assert(state_of(&pg) == (FRAME | VP_RESIDENT | VP_DIRTY));
	}
	host_store(&pg.vp_pins, 0);
	vf_assert(vm_page_share(&pg) && !vm_page_own_unpinned(ob, &pg));
	vm_page_unshare(ob, &pg);
	vf_assert(vm_page_own_unpinned(ob, &pg));
	vf_assert(state_of(&pg) == (FRAME | VP_RESIDENT | VP_DIRTY | VP_OWNED));
	vf_assert(!vm_page_own_unpinned(ob, &pg));
	vm_page_disown(ob, &pg, 0, 0);
}

Test(vm_page, unpinned)
{
	vf_each(NULL, unpinned);
}

/* Whom a fault may fill, and what the others are told. */
static void
absent(struct vf *x)
{
	struct vm_object *const ob = object(x);
	struct vm_page pg = {0};

	vf_errno(vm_object_own_absent(ob, &pg), 0);
	vf_assert(state_of(&pg) == VP_OWNED);
	vf_errno(vm_object_own_absent(ob, &pg), -EBUSY);
	vf_assert(state_of(&pg) == VP_OWNED);
	vm_page_disown(ob, &pg, 0, VP_RESIDENT);
	vf_errno(vm_object_own_absent(ob, &pg), -EBUSY);
	vf_assert(state_of(&pg) == VP_RESIDENT);
	host_store(&ob->ob_dead, 1);
	vf_errno(vm_object_own_absent(ob, &pg), -EAGAIN);
	host_store(&pg.vp_state, 0);
	vf_errno(vm_object_own_absent(ob, &pg), -EAGAIN);
	host_store(&ob->ob_dead, 0);
	vf_assert(state_of(&pg) == 0);
}

Test(vm_page, absent)
{
	vf_each(NULL, absent);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

struct waiter {
	struct vm_object *wa_ob;
	struct vm_page *wa_pg;
	bool wa_interruptible;
	int wa_error;
	struct host_word wa_done;
};

static void
wait(void *arg)
{
	struct waiter *const w = arg;

	w->wa_error = vm_page_wait(w->wa_ob, w->wa_pg, w->wa_interruptible);
	host_store_release(&w->wa_done, 1);
}

/* Somebody begins to wait; returns when he does. */
static void
begin(struct scripted_cpu *cpu, struct waiter *w)
{
	host_store(&w->wa_done, 0);
	scripted_tell(cpu, wait, w);
	while (!(state_of(w->wa_pg) & VP_WANTED) && host_load_acquire(&w->wa_done) == 0)
		sched_yield();
	vf_assert(host_load(&w->wa_done) == 0);
}

/* Whoever lets go wakes, and leaves no mark of it; a sharer that others remain with does, too. */
static void
waiting(struct vf *x)
{
	struct vm_object *const ob = object(x);
	struct vm_page pg = {0};
	struct waiter w = {.wa_ob = ob, .wa_pg = &pg};
	struct scripted_cpu cpu;
	uint64_t state;

	vf_errno(vm_page_wait(ob, &pg, true), 0);
	vf_assert(state_of(&pg) == 0); /* nobody is busy: nobody waits */
	scripted_start(&cpu);

	vf_assert(vm_page_own(&pg, &state));
	begin(&cpu, &w);
	vm_page_disown(ob, &pg, 0, VP_RESIDENT);
	scripted_wait(&cpu);
	vf_assert(w.wa_error == 0 && state_of(&pg) == VP_RESIDENT);

	vf_assert(vm_page_own(&pg, &state));
	begin(&cpu, &w);
	vm_page_downgrade(ob, &pg, 0, 0);
	scripted_wait(&cpu);
	vf_assert(w.wa_error == 0 && state_of(&pg) == (VP_RESIDENT + VP_SHARE));

	vf_assert(vm_page_share(&pg));
	begin(&cpu, &w);
	vm_page_unshare(ob, &pg);
	scripted_wait(&cpu);
	vf_assert(w.wa_error == 0 && state_of(&pg) == (VP_RESIDENT + VP_SHARE));
	vm_page_unshare(ob, &pg);

	/* An interrupt ends it, if it may. */
	vf_assert(vm_page_own(&pg, &state));
	for (unsigned int i = 0; i < 2; i++) {
		w.wa_interruptible = i == 0;
		host_vm_posix_interrupt(cpu.sc_cpu, i != 0);
		begin(&cpu, &w);
		host_vm_posix_interrupt(cpu.sc_cpu, true);
		if (i != 0)
			vm_page_disown(ob, &pg, 0, 0);
		scripted_wait(&cpu);
		host_vm_posix_interrupt(cpu.sc_cpu, false);
		vf_errno(w.wa_error, i == 0 ? -EINTR : 0);
	}
	scripted_stop(&cpu);
}

Test(vm_page, waiting)
{
	vf_each(NULL, waiting);
}

/* ---- Who has no hold of it ------------------------------------------------------------------- */

#if PMAP_CHECK >= 1

static struct vm_page foreign;

static void
unshare(void *arg)
{
	vm_page_unshare(arg, &foreign);
}

static void
disown(void *arg)
{
	vm_page_disown(arg, &foreign, 0, 0);
}

static void
downgrade(void *arg)
{
	vm_page_downgrade(arg, &foreign, 0, 0);
}

static void
letting_go(struct vf *x)
{
	struct vm_object *const ob = object(x);

	host_store(&foreign.vp_state, VP_RESIDENT | VP_OWNED);
	vf_assert(world_stops(unshare, ob));
	host_store(&foreign.vp_state, VP_RESIDENT | VP_SHARE);
	vf_assert(world_stops(disown, ob) && world_stops(downgrade, ob));
	vf_assert(state_of(&foreign) == (VP_RESIDENT | VP_SHARE));
}

Test(vm_page, letting_go)
{
	vf_each(NULL, letting_go);
}

#endif
