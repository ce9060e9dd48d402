/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * One epoll, one thread. A callback runs under the lock that mevent_del() takes (a recursive one,
 * so that a callback may remove), and an entry is looked up in the list before it is called: what
 * was removed after epoll reported it is not called any more.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "mevent.h"

struct mevent {
	struct mevent *me_next;
	uint64_t me_id;
	int me_fd;
	bool me_timer;
	mevent_fn me_fn;
	void *me_arg;
};

#define NS_PER_S 1000000000ull

static struct {
	pthread_mutex_t lock;
	pthread_t thread;
	struct mevent *list;
	uint64_t next_id; /* 0 is the wake-up */
	int epoll_fd, wake_fd;
	bool up, stop;
} mev;

static void
call(uint64_t id, uint32_t events)
{
	pthread_mutex_lock(&mev.lock);
	for (struct mevent *me = mev.list; me != NULL; me = me->me_next) {
		uint64_t ticks;

		if (me->me_id != id)
			continue;
		if (me->me_timer && read(me->me_fd, &ticks, sizeof(ticks)) != sizeof(ticks))
			break;
		me->me_fn(me->me_fd, events, me->me_arg);
		break;
	}
	pthread_mutex_unlock(&mev.lock);
}

static void *
loop(void *arg)
{
	struct epoll_event events[16];

	(void)arg;
	while (!__atomic_load_n(&mev.stop, __ATOMIC_ACQUIRE)) {
		const int n = epoll_wait(mev.epoll_fd, events, 16, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.u64 != 0)
				call(events[i].data.u64, events[i].events);
		}
	}
	return NULL;
}

static int
watch(int fd, uint32_t what, uint64_t id)
{
	struct epoll_event ev = {.events = what, .data.u64 = id};

	return epoll_ctl(mev.epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

int
mevent_start(void)
{
	pthread_mutexattr_t attr;
	sigset_t all, old;
	int error;

	memset(&mev, 0, sizeof(mev));
	mev.next_id = 1;
	mev.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	mev.wake_fd = eventfd(0, EFD_CLOEXEC);
	error = mev.epoll_fd < 0 || mev.wake_fd < 0 ? -errno : watch(mev.wake_fd, EPOLLIN, 0);
	if (error == 0) {
		pthread_mutexattr_init(&attr);
		pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
		pthread_mutex_init(&mev.lock, &attr);
		pthread_mutexattr_destroy(&attr);
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		error = -pthread_create(&mev.thread, NULL, loop, NULL);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	if (error) {
		close(mev.epoll_fd);
		close(mev.wake_fd);
		return error;
	}
	mev.up = true;
	return 0;
}

void
mevent_stop(void)
{
	const uint64_t one = 1;

	if (!mev.up)
		return;
	__atomic_store_n(&mev.stop, true, __ATOMIC_RELEASE);
	if (write(mev.wake_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(mev.thread, NULL);
	while (mev.list != NULL)
		mevent_del(mev.list);
	close(mev.epoll_fd);
	close(mev.wake_fd);
	pthread_mutex_destroy(&mev.lock);
	mev.up = false;
}

static struct mevent *
add(int fd, uint32_t events, bool timer, mevent_fn fn, void *arg)
{
	struct mevent *const me = malloc(sizeof(*me));
	int error;

	if (me == NULL)
		return NULL;
	pthread_mutex_lock(&mev.lock);
	*me = (struct mevent){
		.me_id = mev.next_id++, .me_fd = fd, .me_timer = timer, .me_fn = fn, .me_arg = arg};
	error = watch(fd, events, me->me_id);
	if (error == 0) {
		me->me_next = mev.list;
		mev.list = me;
	}
	pthread_mutex_unlock(&mev.lock);
	if (error) {
		free(me);
		errno = -error;
		return NULL;
	}
	return me;
}

struct mevent *
mevent_add_fd(int fd, uint32_t events, mevent_fn fn, void *arg)
{
	return add(fd, events, false, fn, arg);
}

struct mevent *
mevent_add_timer(uint64_t first_ns, uint64_t period_ns, mevent_fn fn, void *arg)
{
	const struct itimerspec when = {
		/* all zeros would disarm it */
		.it_value = {(time_t)(first_ns / NS_PER_S),
			     first_ns ? (long)(first_ns % NS_PER_S) : 1},
		.it_interval = {(time_t)(period_ns / NS_PER_S), (long)(period_ns % NS_PER_S)},
	};
	const int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct mevent *me = NULL;

	if (fd < 0)
		return NULL;
	if (timerfd_settime(fd, 0, &when, NULL) == 0)
		me = add(fd, EPOLLIN, true, fn, arg);
	if (me == NULL)
		close(fd);
	return me;
}

void
mevent_del(struct mevent *me)
{
	pthread_mutex_lock(&mev.lock);
	for (struct mevent **at = &mev.list; *at != NULL; at = &(*at)->me_next) {
		if (*at == me) {
			*at = me->me_next;
			epoll_ctl(mev.epoll_fd, EPOLL_CTL_DEL, me->me_fd, NULL);
			if (me->me_timer)
				close(me->me_fd);
			free(me);
			break;
		}
	}
	pthread_mutex_unlock(&mev.lock);
}
