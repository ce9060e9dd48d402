/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Guest memory in this process: libvmm's mappings of the machine's nodes, in which the module sees
 * what is written. Nothing else in bhyve leads to a guest's bytes.
 */

#ifndef BHYVE_GUEST_MEM_H
#define BHYVE_GUEST_MEM_H

#include <stdint.h>

#include "dma.h"

struct vmctx;

/* [gpa, gpa + len), or NULL: not wholly in low or wholly in high memory. */
void *guest_ptr(struct vmctx *ctx, uint64_t gpa, uint64_t len);
/* The same for what is written for tests too: devices and loaders. */
struct dma guest_dma(struct vmctx *ctx);

#endif /* BHYVE_GUEST_MEM_H */
