/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The POSIX host, which counts what it does to shared memory: each built-in through which the host
 * reaches it is wrapped by a macro of the same name. Found before the plain one by -I.
 */

#ifndef BENCH_COUNT_HOST_IMPL_H
#define BENCH_COUNT_HOST_IMPL_H

void bench_count_locked(const volatile void *p);
void bench_count_store(const volatile void *p);
void bench_count_fence(void);

#define __atomic_exchange_n(p, v, o) (bench_count_locked(p), __atomic_exchange_n(p, v, o))
#define __atomic_compare_exchange_n(p, e, v, w, s, f) \
	(bench_count_locked(p), __atomic_compare_exchange_n(p, e, v, w, s, f))
#define __atomic_fetch_and(p, v, o) (bench_count_locked(p), __atomic_fetch_and(p, v, o))
#define __atomic_fetch_or(p, v, o) (bench_count_locked(p), __atomic_fetch_or(p, v, o))
#define __atomic_fetch_add(p, v, o) (bench_count_locked(p), __atomic_fetch_add(p, v, o))
#define __atomic_store_n(p, v, o) (bench_count_store(p), __atomic_store_n(p, v, o))
#define __atomic_thread_fence(o) (bench_count_fence(), __atomic_thread_fence(o))

#include "pmap/posix/host_impl.h"

#endif /* BENCH_COUNT_HOST_IMPL_H */
