/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the files of the POSIX host share with each other and with nobody else.
 */

#ifndef PMAP_POSIX_HOST_PRIV_H
#define PMAP_POSIX_HOST_PRIV_H

#include "pmap/host.h"

/* The host's own locks: taken last, never two at a time. */
#define HOST_POSIX_RANK UINT32_MAX

struct host_posix_cpu *host_posix_cpu_at(unsigned int cpu);

/* Called once, before the first CPU exists. 0 or a negative errno. */
int host_posix_arena_set_up(void);
void host_posix_epoch_set_up(void);

#endif /* PMAP_POSIX_HOST_PRIV_H */
