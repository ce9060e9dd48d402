/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Mutexes, events, and interrupts.
 *
 * Both kinds of object are one word and own nothing. Who must sleep does so in one of a few rooms,
 * found by the object's address, after marking the word under the room's mutex; who changes a
 * marked word wakes the whole room, and everybody in it looks again. After its one atomic operation
 * nobody but a sleeper touches the object, so the next owner may free it at once.
 */

#include "vmspace/posix/host_vm_priv.h"

#include <pthread.h>

#define ROOMS 32

static struct room {
	pthread_mutex_t ro_mutex;
	pthread_cond_t ro_cond;
} rooms[ROOMS] = {
	[0 ... ROOMS - 1] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER},
};

static struct room *
room_of(const void *object)
{
	return &rooms[((uintptr_t)object * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (ROOMS - 1)];
}

static void
wake(struct room *room)
{
	pthread_mutex_lock(&room->ro_mutex);
	pthread_cond_broadcast(&room->ro_cond);
	pthread_mutex_unlock(&room->ro_mutex);
}

/* Sleepers look at the flag inside their room, and the rooms are entered after it is set. */
void
host_vm_posix_interrupt(unsigned int cpu, bool on)
{
	HOST_ASSERT(cpu < HOST_MAX_CPUS);
	host_xchg(&host_posix_cpu_at(cpu)->pc_interrupted, on);
	for (unsigned int i = 0; on && i < ROOMS; i++)
		wake(&rooms[i]);
}

/* ---- Mutexes --------------------------------------------------------------------------------- */

#define SLEEPERS (HOST_VM_POSIX_OWNER + 1)

/* Whether m comes after every mutex that this thread holds. */
static bool
in_order(const struct host_posix_cpu *self, const struct host_mutex *m)
{
	for (unsigned int i = 0; i < self->pc_mutexes_held; i++) {
		const struct host_mutex *h = self->pc_mutexes[i];

		if (h->hm_rank > m->hm_rank || (h->hm_rank == m->hm_rank && h >= m))
			return false;
	}
	return true;
}

/*
 * Takes m if it is free, else marks it. Who takes it need not keep the mark: the release woke the
 * whole room, and each one there marks it anew before it sleeps again.
 */
static bool
take_or_mark(struct host_mutex *m, uint64_t me)
{
	uint64_t state = host_load(&m->hm_state);

	for (;;) {
		if ((state & HOST_VM_POSIX_OWNER) == 0) {
			if (host_cas(&m->hm_state, &state, me))
				return true;
		} else if ((state & SLEEPERS) != 0 ||
			   host_cas(&m->hm_state, &state, state | SLEEPERS)) {
			return false;
		}
	}
}

static int
sleep_for_lock(struct host_mutex *m, uint64_t me, bool interruptible)
{
	struct room *room = room_of(m);
	int error = 0;

	pthread_mutex_lock(&room->ro_mutex);
	while (error == 0 && !take_or_mark(m, me)) {
		if (interruptible && host_interrupted())
			error = -EINTR;
		else
			pthread_cond_wait(&room->ro_cond, &room->ro_mutex);
	}
	pthread_mutex_unlock(&room->ro_mutex);
	return error;
}

int
host_vm_posix_lock(struct host_mutex *m, bool interruptible)
{
	struct host_posix_cpu *self = host_posix_this();
	uint64_t free_mutex = 0;
	int error = 0;

	HOST_ASSERT(host_vm_may_sleep());
	HOST_ASSERT(in_order(self, m));
	HOST_ASSERT(self->pc_mutexes_held < HOST_POSIX_HELD_MAX);
	if (interruptible && host_interrupted())
		return -EINTR;
	if (!host_cas(&m->hm_state, &free_mutex, self->pc_id + 1))
		error = sleep_for_lock(m, self->pc_id + 1, interruptible);
	if (error != 0)
		return error;
	HOST_HG_LOCKED(m);
	self->pc_mutexes[self->pc_mutexes_held++] = m;
	return 0;
}

/* Takes m out of what this thread holds; mutexes may be released in any order. */
static bool
forget(struct host_posix_cpu *self, const struct host_mutex *m)
{
	for (unsigned int i = self->pc_mutexes_held; i-- > 0;) {
		if (self->pc_mutexes[i] == m) {
			self->pc_mutexes[i] = self->pc_mutexes[--self->pc_mutexes_held];
			return true;
		}
	}
	return false;
}

void
host_vm_posix_unlock(struct host_mutex *m)
{
	struct room *room = room_of(m);
	bool mine = forget(host_posix_this(), m);

	HOST_ASSERT(mine);
	HOST_HG_UNLOCKING(m);
	if ((host_xchg(&m->hm_state, 0) & SLEEPERS) != 0)
		wake(room);
}

/* ---- Events ---------------------------------------------------------------------------------- */

#define WAITED_FOR 1u

void
host_vm_posix_post(struct host_event *e)
{
	struct room *room = room_of(e);
	uint64_t state = host_load(&e->he_state);

	while (!host_cas(&e->he_state, &state, (state | WAITED_FOR) + 1))
		;
	if ((state & WAITED_FOR) != 0)
		wake(room);
}

int
host_vm_posix_wait(struct host_event *e, uint64_t seen, bool interruptible)
{
	struct room *room = room_of(e);
	int error = 0;

	HOST_ASSERT(host_vm_may_sleep());
	pthread_mutex_lock(&room->ro_mutex);
	for (;;) {
		uint64_t state = host_load_acquire(&e->he_state);

		if (state >> 1 != seen)
			break;
		if ((state & WAITED_FOR) == 0 &&
		    !host_cas(&e->he_state, &state, state | WAITED_FOR))
			continue;
		if (interruptible && host_interrupted()) {
			error = -EINTR;
			break;
		}
		pthread_cond_wait(&room->ro_cond, &room->ro_mutex);
	}
	pthread_mutex_unlock(&room->ro_mutex);
	return error;
}
