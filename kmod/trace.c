/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Where the tracepoints' code is, once; and the core's, which knows nothing of them, are fed from
 * its host contract.
 */

#include <linux/types.h>

#define CREATE_TRACE_POINTS
#include "kmod/trace.h"

#include "pmap/host.h"

void
host_linux_trace(unsigned int event, uint64_t a, uint64_t b, uint64_t c)
{
	switch (event) {
	case HOST_TRACE_SHOOTDOWN_BEGIN:
		trace_vmm_inv_begin(a, b);
		break;
	case HOST_TRACE_SHOOTDOWN_END:
		trace_vmm_inv_end(a, b);
		break;
	case HOST_TRACE_PROMOTE:
		trace_vmm_promote(a, b, c);
		break;
	case HOST_TRACE_PAGEOUT:
		trace_vmm_pageout(a, b);
		break;
	}
}
