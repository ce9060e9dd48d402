/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The POSIX world of vmspace, first half: types (see vmspace/vm_host.h).
 *
 * As in pmap's, layouts do not depend on build options. Neither kind of object owns anything: both
 * may live in memory that is simply freed.
 */

#ifndef VMSPACE_POSIX_HOST_VM_TYPES_H
#define VMSPACE_POSIX_HOST_VM_TYPES_H

#include "pmap/host.h"

/* Who holds it, as CPU number + 1, and above that whether somebody sleeps; where it stands. */
struct host_mutex {
	struct host_word hm_state;
	uint32_t hm_rank;
};

/* Twice the count, plus one while somebody sleeps. */
struct host_event {
	struct host_word he_state;
};

#endif /* VMSPACE_POSIX_HOST_VM_TYPES_H */
