/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Guest memory, as a device sees it. All of a device's reads and writes go through pointers that
 * this gives out; in a machine they lead into libvmm's mappings, where the module sees which pages
 * are written; in tests, into an array.
 */

#ifndef BHYVE_DMA_H
#define BHYVE_DMA_H

#include <stddef.h>
#include <stdint.h>

struct dma {
	/* [gpa, gpa + len), or NULL if that is not wholly memory. Valid as long as the machine. */
	void *(*dma_ptr)(void *arg, uint64_t gpa, uint64_t len);
	void *dma_arg;
};

static inline void *
dma_ptr(const struct dma *dma, uint64_t gpa, uint64_t len)
{
	return dma->dma_ptr(dma->dma_arg, gpa, len);
}

#endif /* BHYVE_DMA_H */
