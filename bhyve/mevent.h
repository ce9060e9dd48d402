/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Waiting for file descriptors and for time, by one thread, which calls back. A callback may add
 * and remove. Callbacks of one another's are never called at once.
 */

#ifndef BHYVE_MEVENT_H
#define BHYVE_MEVENT_H

#include <stdint.h>

struct mevent;
typedef void (*mevent_fn)(int fd, uint32_t events, void *arg);

/* Starts the thread, with all signals blocked in it. -errno. */
int mevent_start(void);
/* Ends it, and forgets what is left; descriptors of timers are closed. */
void mevent_stop(void);

/* events: EPOLLIN and the like. NULL with errno. */
struct mevent *mevent_add_fd(int fd, uint32_t events, mevent_fn fn, void *arg);
/* Called with the timer's descriptor, every period_ns (0: once), first after first_ns. */
struct mevent *mevent_add_timer(uint64_t first_ns, uint64_t period_ns, mevent_fn fn, void *arg);
/* Waits no longer. When it returns the callback is not being called, except by the caller. */
void mevent_del(struct mevent *me);

#endif /* BHYVE_MEVENT_H */
