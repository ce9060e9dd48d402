/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What is behind a disk: a raw file or a block device.
 *
 * Transfers go between the file and guest memory directly, except with O_DIRECT: there the host
 * would write pages of the guest by DMA of its own, behind the module's back, so they go through a
 * buffer of ours and are copied.
 */

#ifndef BHYVE_BLOCK_H
#define BHYVE_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "conf.h"

#define BLOCK_SECTOR_BYTES 512 /* virtio's unit, whatever the disk's is */

struct block {
	int bk_fd; /* -1: not open */
	uint64_t bk_bytes;
	unsigned int bk_sector_bytes; /* 512 or 4096: what a transfer is a multiple of */
	bool bk_ro;
	bool bk_direct;
	bool bk_device; /* a block device */
	char bk_serial[21];
	char bk_why[200];
};

/*
 * conf: a path, and of ro, nocache (O_DIRECT), direct (O_SYNC), sectorsize=512|4096, ser=SERIAL
 * those that are there. 0 or -errno; then bk_why is a sentence, and nothing is open.
 */
int block_open(struct block *bk, struct conf *conf);
void block_close(struct block *bk);

/* Of `bytes` at `off`, in segments; from any thread. 0 or -errno: -EINVAL outside, or no multiple
 * of a sector. */
int block_read(struct block *bk, const struct iovec *iov, unsigned int n, uint64_t off,
	       uint64_t bytes);
int block_write(struct block *bk, const struct iovec *iov, unsigned int n, uint64_t off,
		uint64_t bytes);
/* What was written before is on the disk after. */
int block_flush(struct block *bk);
/* The contents are not needed any more (-EOPNOTSUPP: kept); or they are zeros. */
int block_discard(struct block *bk, uint64_t off, uint64_t bytes);
int block_zero(struct block *bk, uint64_t off, uint64_t bytes, bool may_unmap);

#endif /* BHYVE_BLOCK_H */
