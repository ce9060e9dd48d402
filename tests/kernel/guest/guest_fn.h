/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Functions of the guest that are not in guest64.c; its table has them all. */

#ifndef TESTS_KERNEL_GUEST_FN_H
#define TESTS_KERNEL_GUEST_FN_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t guest_fn(uint64_t a, uint64_t b, uint64_t c, uint64_t d);

guest_fn do_halt_for, do_timers, do_ping;
guest_fn edu_probe, edu_factorial, edu_dma, edu_intr; /* edu.c */

#endif /* TESTS_KERNEL_GUEST_FN_H */
