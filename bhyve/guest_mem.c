/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * libvmm has the bounds; here is the shape that others want.
 */

#include <stddef.h>

#include "guest_mem.h"
#include "libvmm/libvmm.h"

void *
guest_ptr(struct vmctx *ctx, uint64_t gpa, uint64_t len)
{
	return vm_map_gpa(ctx, gpa, len);
}

static void *
ptr(void *arg, uint64_t gpa, uint64_t len)
{
	return guest_ptr(arg, gpa, len);
}

struct dma
guest_dma(struct vmctx *ctx)
{
	return (struct dma){.dma_ptr = ptr, .dma_arg = ctx};
}
