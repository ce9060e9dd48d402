/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * vCPUs on scripted CPUs: in the guest, until kicked and allowed to leave.
 */

#ifndef TESTS_UNIT_SCRIPTED_VCPU_H
#define TESTS_UNIT_SCRIPTED_VCPU_H

#include "tests/unit/pmap_fixture.h"
#include "tests/unit/scripted_cpu.h"

#include <stdlib.h>
#include <string.h>

static inline struct pmap_slot *
new_slot(struct fx *x)
{
	struct pmap_slot *s = aligned_alloc(64, sizeof(*s));

	memset(s, 0, sizeof(*s));
	pmap_slot_attach(x->fx_pm, s);
	return s;
}

static inline void
free_slot(struct fx *x, struct pmap_slot *s)
{
	pmap_slot_detach(x->fx_pm, s);
	host_epoch_drain();
	free(s);
}

/* A vCPU on a CPU of its own. */
struct vcpu {
	struct scripted_cpu vc_cpu;
	struct fx *vc_x;
	struct pmap_slot *vc_slot;
	bool vc_flush;		  /* what the last entry asked for */
	struct host_word vc_stay; /* do not leave when kicked */
};

static inline void
vcpu_enter(void *arg)
{
	struct vcpu *v = arg;

	(void)host_posix_kick_taken();
	v->vc_flush = pmap_guest_enter(v->vc_x->fx_pm, v->vc_slot);
	if (v->vc_flush)
		pmap_guest_flushed(v->vc_slot);
}

static inline void
vcpu_exit(void *arg)
{
	struct vcpu *v = arg;

	pmap_guest_exit(v->vc_slot);
}

/* In the guest until kicked, and allowed to leave. */
static inline void
vcpu_until_kicked(void *arg)
{
	struct vcpu *v = arg;
	bool kicked = false;

	while (!kicked || host_load_acquire(&v->vc_stay) != 0) {
		kicked |= host_posix_kick_taken();
		sched_yield();
	}
	pmap_guest_exit(v->vc_slot);
}

static inline void
vcpu_start(struct vcpu *v, struct fx *x)
{
	*v = (struct vcpu){.vc_x = x, .vc_slot = new_slot(x)};
	scripted_start(&v->vc_cpu);
}

static inline void
vcpu_stop(struct vcpu *v)
{
	scripted_stop(&v->vc_cpu);
	free_slot(v->vc_x, v->vc_slot);
}

/*
 * In the guest now; leaves when kicked, unless told to stay. Returns the kicks it has had so far.
 */
static inline uint64_t
vcpu_run(struct vcpu *v, bool stay)
{
	const uint64_t kicks = kicks_of(v->vc_cpu.sc_cpu);

	host_store_release(&v->vc_stay, stay);
	scripted_call(&v->vc_cpu, vcpu_enter, v);
	scripted_tell(&v->vc_cpu, vcpu_until_kicked, v);
	return kicks;
}

/* Lets it leave. */
static inline void
vcpu_release(struct vcpu *v)
{
	host_store_release(&v->vc_stay, 0);
	scripted_wait(&v->vc_cpu);
}

#endif /* TESTS_UNIT_SCRIPTED_VCPU_H */
