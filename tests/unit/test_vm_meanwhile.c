/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What happens to pageout while it is under way: an interrupt, and a guest that goes on using its
 * pages. Hooks of the owner and of the host are where the test gets a word in, so all is in order.
 */

#include "tests/unit/vm_fixture.h"

#define RAM (16 * MIB)

static void
interrupt(struct vf *x, const struct pmap_leaf *leaf)
{
	(void)x;
	(void)leaf;
	host_vm_posix_interrupt(host_cpu(), true);
}

/* It ends soon, and what it has freed is a success: the caller goes on with that. */
static void
interrupted_later(struct vf *x)
{
	uint64_t freed = 0;

	vf_segment(x, 0, 1536, NULL);
	vf_map(x, RAM, 0, 0, 1536, PMAP_PROT_RW);
	for (uint64_t i = 0; i < 1536; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	/* What was used is passed over the first time: let that be over. */
	vf_errno(vm_pageout(x->vf_sys, NULL, 1, 0, &freed), 0);
	vf_assert(freed == 1);
	x->vf_on_note = interrupt;
	vf_errno(vm_pageout(x->vf_sys, NULL, 1500, 0, &freed), 0);
	x->vf_on_note = NULL;
	host_vm_posix_interrupt(host_cpu(), false);
	vf_assert(freed > 0 && freed <= 512);
	vf_check(x);
	vf_verify(x);
}

Test(vm_meanwhile, interrupted_later)
{
	static const struct vf_options o = {.vo_flags = VM_NO_SUPERPAGES};
	struct vf x;

	/* Where hardware sets M, aging leaves it: the first who hears of it is who removes. */
	world_begin(NULL);
	vf_open(&x, "ept", &o);
	interrupted_later(&x);
	vf_close(&x);
	CHECK(true);
	world_end();
}

/* Before it has freed anything: then that is why, however little was wanted. */
static void
interrupted_first(struct vf *x)
{
	uint64_t freed = 7;

	vf_segment(x, 0, 1, NULL);
	vf_map(x, RAM, 0, 0, 1, PMAP_PROT_RW);
	vf_poke(x, RAM, 1);
	x->vf_on_note = interrupt;
	vf_errno(vm_pageout(x->vf_sys, NULL, 1, 0, &freed), -EINTR);
	x->vf_on_note = NULL;
	host_vm_posix_interrupt(host_cpu(), false);
	vf_assert(freed == 0 && vf_info(x, RAM).pi_resident);
	vf_check(x);
	vf_verify(x);
}

Test(vm_meanwhile, interrupted_first)
{
	static const struct vf_options o = {.vo_flags = VM_NO_SUPERPAGES};
	struct vf x;

	/* Without A and M of the CPU's both go when the page ages. */
	world_begin(NULL);
	vf_open(&x, "ept-noad", &o);
	interrupted_first(&x);
	vf_close(&x);
	CHECK(true);
	world_end();
}

struct user {
	struct vf *us_x;
	unsigned int us_times;
};

static void
use(void *arg, enum host_trace_event event, uint64_t a, uint64_t b, uint64_t c)
{
	struct user *const us = arg;
	hpa_t hpa;

	(void)a;
	(void)b;
	(void)c;
	if (event == HOST_TRACE_SHOOTDOWN_END && us->us_times++ < 100)
		(void)vf_walk(us->us_x, RAM, PMAP_PROT_R, &hpa);
}

/* A page that is used all the time goes too, if nothing else does: the third time round. */
static void
used_all_the_time(struct vf *x)
{
	struct user us = {.us_x = x};
	const struct host_posix_hooks hooks = {.ph_trace = use, .ph_arg = &us};
	uint64_t freed = 0;

	vf_segment(x, 0, 1, NULL);
	vf_map(x, RAM, 0, 0, 1, PMAP_PROT_RW);
	vf_poke(x, RAM, 1);
	vf_peek(x, RAM);
	host_posix_set_hooks(&hooks);
	vf_errno(vm_pageout(x->vf_sys, NULL, 1, 0, &freed), 0);
	host_posix_set_hooks(NULL);
	vf_assert(freed == 1);
	vf_assert(!vf_info(x, RAM).pi_resident);
	/* Twice, at both ends of a lap, in two laps, and then no more is asked. */
	vf_assert(us.us_times <= 5);
	vf_verify(x);
}

Test(vm_meanwhile, used_all_the_time)
{
	static const struct vf_options o = {.vo_flags = VM_NO_SUPERPAGES};

	vf_each(&o, used_all_the_time);
}

/*
 * But what was used only once goes before it, though the hand comes by later: it goes round from
 * the second segment to the third the second time.
 */
static void
used_once(struct vf *x)
{
	struct user us = {.us_x = x};
	const struct host_posix_hooks hooks = {.ph_trace = use, .ph_arg = &us};
	uint64_t freed = 0;

	for (int i = 0; i < 3; i++)
		vf_segment(x, i, 1, NULL);
	vf_map(x, RAM, 1, 0, 1, PMAP_PROT_RW);
	vf_map(x, 2 * RAM, 2, 0, 1, PMAP_PROT_RW);
	vf_poke(x, RAM, 1);
	vf_poke(x, 2 * RAM, 2);
	host_posix_set_hooks(&hooks);
	vf_errno(vm_pageout(x->vf_sys, NULL, 1, 0, &freed), 0);
	host_posix_set_hooks(NULL);
	vf_assert(freed == 1 && us.us_times > 0);
	vf_assert(vf_info(x, RAM).pi_resident && !vf_info(x, 2 * RAM).pi_resident);
	vf_verify(x);
}

Test(vm_meanwhile, used_once)
{
	static const struct vf_options o = {.vo_flags = VM_NO_SUPERPAGES};
	struct vf x;

	/* Where the CPU says what is used. */
	world_begin(NULL);
	vf_open(&x, "ept", &o);
	used_once(&x);
	vf_close(&x);
	CHECK(true);
	world_end();
}
