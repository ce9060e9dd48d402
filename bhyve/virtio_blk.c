/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * virtio-blk (VIRTIO 1.1, section 5.2) over a block.
 *
 * A notification takes the chains out of the queue and hands them to worker threads, so that no
 * vCPU waits for a disk. Workers do the transfer without the device's lock and take it to give the
 * chain back. A reset drops what no worker has begun and waits for the rest: after it, nothing
 * touches memory that was the driver's.
 *
 * Completed is not durable: FLUSH makes it so. A driver that does not know FLUSH gets a disk that
 * writes through.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "pci_emuls.h"
#include "virtio.h"

#define BLK_F_SEG_MAX (1ull << 2)
#define BLK_F_RO (1ull << 5)
#define BLK_F_BLK_SIZE (1ull << 6)
#define BLK_F_FLUSH (1ull << 9)
#define BLK_F_DISCARD (1ull << 13)
#define BLK_F_WRITE_ZEROES (1ull << 14)

enum {
	BLK_IN = 0,
	BLK_OUT = 1,
	BLK_FLUSH = 4,
	BLK_GET_ID = 8,
	BLK_DISCARD = 11,
	BLK_WRITE_ZEROES = 13,

	BLK_OK = 0,
	BLK_IOERR = 1,
	BLK_UNSUPP = 2,

	BLK_ID_BYTES = 20,
	BLK_UNMAP = 1, /* flag of a range to be zeroed */
	BLK_QUEUE_SIZE = 128,
	BLK_WORKERS = 4,
	BLK_RANGE_SECTORS_MAX = 1 << 22, /* 2 GiB: bounds how long one request takes */
};

struct blk_config {
	uint64_t bc_capacity; /* sectors of 512 bytes */
	uint32_t bc_size_max;
	uint32_t bc_seg_max;
	uint8_t bc_geometry[4];
	uint32_t bc_blk_size;
	uint8_t bc_topology[8];
	uint8_t bc_writeback;
	uint8_t bc_unused0;
	uint16_t bc_num_queues;
	uint32_t bc_max_discard_sectors;
	uint32_t bc_max_discard_seg;
	uint32_t bc_discard_sector_alignment;
	uint32_t bc_max_zero_sectors;
	uint32_t bc_max_zero_seg;
	uint8_t bc_zero_may_unmap;
	uint8_t bc_unused1[7];
};

enum { BLK_CONFIG_BYTES = 60 };

_Static_assert(offsetof(struct blk_config, bc_zero_may_unmap) == 56,
	       "the layout is the specification's");

struct blk_header {
	uint32_t bh_type;
	uint32_t bh_reserved;
	uint64_t bh_sector;
};

struct blk_range {
	uint64_t br_sector;
	uint32_t br_sectors;
	uint32_t br_flags;
};

struct blk_request {
	struct blk_request *rq_next;
	struct virtq_chain rq_chain;
};

struct blk {
	struct virtio bl_virtio;
	struct block bl_block;
	/* All under vi_lock. */
	pthread_cond_t bl_work;
	pthread_cond_t bl_idle;
	struct blk_request *bl_free;
	struct blk_request *bl_first; /* to do, in order */
	struct blk_request **bl_last;
	unsigned int bl_busy; /* workers that have one */
	bool bl_end;
	unsigned int bl_nworkers;
	pthread_t bl_workers[BLK_WORKERS];
	struct blk_request bl_requests[BLK_QUEUE_SIZE];
};

/* ---- A request, without the lock ------------------------------------------------------------- */

/* The segments of a chain's data: behind the header, or before the status byte. */
static unsigned int
data_of(const struct virtq_chain *chain, bool in, struct iovec *iov, uint64_t *bytes)
{
	const struct iovec *from = chain->ch_iov + (in ? chain->ch_nout : 0);
	uint64_t skip = in ? 0 : sizeof(struct blk_header);
	uint64_t left = *bytes =
		in ? chain->ch_in_bytes - 1 : chain->ch_out_bytes - sizeof(struct blk_header);
	unsigned int n = 0;

	for (; left != 0; from++) {
		uint64_t part = from->iov_len;

		if (skip >= part) {
			skip -= part;
			continue;
		}
		part -= skip;
		if (part > left)
			part = left;
		iov[n].iov_base = (char *)from->iov_base + skip;
		iov[n++].iov_len = part;
		left -= part;
		skip = 0;
	}
	return n;
}

static int
read_write(struct blk *bl, const struct virtq_chain *chain, const struct blk_header *head)
{
	const bool in = head->bh_type == BLK_IN;
	struct iovec iov[VIRTQ_SEGS_MAX];
	uint64_t bytes;
	const unsigned int n = data_of(chain, in, iov, &bytes);
	int error;

	if (head->bh_sector > UINT64_MAX / BLOCK_SECTOR_BYTES)
		return -EINVAL;
	if (in)
		return block_read(&bl->bl_block, iov, n, head->bh_sector * BLOCK_SECTOR_BYTES,
				  bytes);
	error = block_write(&bl->bl_block, iov, n, head->bh_sector * BLOCK_SECTOR_BYTES, bytes);
	if (error == 0 && (bl->bl_virtio.vi_features & BLK_F_FLUSH) == 0)
		error = block_flush(&bl->bl_block);
	return error;
}

static int
ranges(struct blk *bl, const struct virtq_chain *chain, uint32_t type)
{
	struct blk_range range;
	uint64_t off, bytes;

	/* One range for each request is what the configuration says. */
	if (chain->ch_out_bytes != sizeof(struct blk_header) + sizeof(range))
		return -EINVAL;
	virtq_copy_out(chain, sizeof(struct blk_header), &range, sizeof(range));
	if (range.br_sectors > BLK_RANGE_SECTORS_MAX ||
	    range.br_sector > UINT64_MAX / BLOCK_SECTOR_BYTES)
		return -EINVAL;
	off = range.br_sector * BLOCK_SECTOR_BYTES;
	bytes = (uint64_t)range.br_sectors * BLOCK_SECTOR_BYTES;
	if ((range.br_flags & ~(type == BLK_DISCARD ? 0u : BLK_UNMAP)) != 0)
		return -ENOTSUP;
	if (type == BLK_DISCARD) {
		const int error = block_discard(&bl->bl_block, off, bytes);

		return error == -EOPNOTSUPP ? 0
					    : error; /* a hint: what cannot be forgotten, stays */
	}
	return block_zero(&bl->bl_block, off, bytes, (range.br_flags & BLK_UNMAP) != 0);
}

/* *in_bytes: what was written for the driver, without the status. */
static uint8_t
perform(struct blk *bl, const struct virtq_chain *chain, uint32_t *in_bytes)
{
	struct blk_header head;
	char id[BLK_ID_BYTES] = "";
	int error;

	*in_bytes = 0;
	virtq_copy_out(chain, 0, &head, sizeof(head));
	switch (head.bh_type) {
	case BLK_IN:
	case BLK_OUT:
		error = read_write(bl, chain, &head);
		if (head.bh_type == BLK_IN && error == 0)
			*in_bytes = (uint32_t)(chain->ch_in_bytes - 1);
		break;
	case BLK_FLUSH:
		error = block_flush(&bl->bl_block);
		break;
	case BLK_GET_ID:
		memcpy(id, bl->bl_block.bk_serial, strnlen(bl->bl_block.bk_serial, BLK_ID_BYTES));
		if (chain->ch_in_bytes != BLK_ID_BYTES + 1)
			return BLK_IOERR;
		*in_bytes = (uint32_t)virtq_copy_in(chain, 0, id, sizeof(id));
		return BLK_OK;
	case BLK_DISCARD:
	case BLK_WRITE_ZEROES:
		error = ranges(bl, chain, head.bh_type);
		break;
	default:
		return BLK_UNSUPP;
	}
	return error == 0 ? BLK_OK : error == -ENOTSUP ? BLK_UNSUPP : BLK_IOERR;
}

/* ---- Workers --------------------------------------------------------------------------------- */

static void
put_free(struct blk *bl, struct blk_request *request)
{
	request->rq_next = bl->bl_free;
	bl->bl_free = request;
}

static void
work_on(struct blk *bl, struct blk_request *request)
{
	struct virtio *const vi = &bl->bl_virtio;
	const struct virtq_chain *const chain = &request->rq_chain;
	uint32_t in_bytes;
	uint8_t status;

	bl->bl_busy++;
	pthread_mutex_unlock(&vi->vi_lock);
	status = perform(bl, chain, &in_bytes);
	virtq_copy_in(chain, chain->ch_in_bytes - 1, &status, 1);
	pthread_mutex_lock(&vi->vi_lock);
	virtq_push(&vi->vi_queues[0].q_vq, chain->ch_head, in_bytes + 1);
	virtio_signal(vi, 0);
	put_free(bl, request);
	if (--bl->bl_busy == 0)
		pthread_cond_broadcast(&bl->bl_idle);
}

static void *
worker(void *arg)
{
	struct blk *const bl = arg;

	pthread_mutex_lock(&bl->bl_virtio.vi_lock);
	while (!bl->bl_end) {
		struct blk_request *const request = bl->bl_first;

		if (request == NULL) {
			pthread_cond_wait(&bl->bl_work, &bl->bl_virtio.vi_lock);
			continue;
		}
		bl->bl_first = request->rq_next;
		if (bl->bl_first == NULL)
			bl->bl_last = &bl->bl_first;
		work_on(bl, request);
	}
	pthread_mutex_unlock(&bl->bl_virtio.vi_lock);
	return NULL;
}

/* ---- With the lock --------------------------------------------------------------------------- */

static void
blk_notify(struct virtio *vi, unsigned int q)
{
	struct blk *const bl = (struct blk *)vi;

	do {
		struct blk_request *request;

		/* A queue has no more chains than there are requests, unless the driver offers one
		 * twice; then the rest is taken when it notifies again. */
		while ((request = bl->bl_free) != NULL &&
		       virtio_pop(vi, q, &request->rq_chain) == 1) {
			const struct virtq_chain *const chain = &request->rq_chain;

			if (chain->ch_out_bytes < sizeof(struct blk_header) ||
			    chain->ch_in_bytes < 1) {
				virtio_break(vi, q, "a request without its header or status");
				return;
			}
			bl->bl_free = request->rq_next;
			request->rq_next = NULL;
			*bl->bl_last = request;
			bl->bl_last = &request->rq_next;
			pthread_cond_signal(&bl->bl_work);
		}
	} while (bl->bl_free != NULL && virtio_more(vi, q));
}

static void
blk_quiesce(struct virtio *vi)
{
	struct blk *const bl = (struct blk *)vi;

	while (bl->bl_first != NULL) {
		struct blk_request *const request = bl->bl_first;

		bl->bl_first = request->rq_next;
		put_free(bl, request);
	}
	bl->bl_last = &bl->bl_first;
	while (bl->bl_busy != 0)
		pthread_cond_wait(&bl->bl_idle, &vi->vi_lock);
}

static const struct virtio_ops blk_ops = {
	.vo_type = VIRTIO_TYPE_BLOCK,
	.vo_class = 0x010000,
	.vo_nqueues = 1,
	.vo_queue_size = BLK_QUEUE_SIZE,
	.vo_notify = blk_notify,
	.vo_quiesce = blk_quiesce,
};

/* ---- Life ------------------------------------------------------------------------------------ */

static int
start(struct blk *bl, struct pci_dev *dev)
{
	const struct block *const bk = &bl->bl_block;
	const struct blk_config config = {
		.bc_capacity = bk->bk_bytes / BLOCK_SECTOR_BYTES,
		.bc_seg_max = VIRTQ_SEGS_MAX - 2,
		.bc_blk_size = bk->bk_sector_bytes,
		.bc_num_queues = 1,
		.bc_max_discard_sectors = BLK_RANGE_SECTORS_MAX,
		.bc_max_discard_seg = 1,
		.bc_discard_sector_alignment = bk->bk_sector_bytes / BLOCK_SECTOR_BYTES,
		.bc_max_zero_sectors = BLK_RANGE_SECTORS_MAX,
		.bc_max_zero_seg = 1,
		.bc_zero_may_unmap = 1,
	};
	uint64_t features = BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_FLUSH;
	int error;

	features |= bk->bk_ro ? BLK_F_RO : BLK_F_DISCARD | BLK_F_WRITE_ZEROES;
	error = virtio_init(&bl->bl_virtio, dev, &blk_ops, features, &config, BLK_CONFIG_BYTES);
	while (error == 0 && bl->bl_nworkers < BLK_WORKERS) {
		error = pthread_create(&bl->bl_workers[bl->bl_nworkers], NULL, worker, bl);
		if (error != 0)
			return pci_fail(dev, -error, "no thread for it: %s", strerror(error));
		bl->bl_nworkers++;
	}
	return error;
}

static int
blk_init(struct pci_dev *dev, const char *text)
{
	struct blk *const bl = calloc(1, sizeof(*bl));
	struct conf conf;
	int error;

	if (bl == NULL)
		return pci_fail(dev, -ENOMEM, "not enough memory");
	error = conf_parse(&conf, text);
	if (error != 0) {
		free(bl);
		return pci_fail(dev, error, "too many options");
	}
	error = block_open(&bl->bl_block, &conf);
	if (error != 0)
		pci_fail(dev, error, "%s", bl->bl_block.bk_why);
	conf_free(&conf);
	if (error != 0) {
		free(bl);
		return error;
	}
	pthread_cond_init(&bl->bl_work, NULL);
	pthread_cond_init(&bl->bl_idle, NULL);
	bl->bl_last = &bl->bl_first;
	for (unsigned int i = 0; i < BLK_QUEUE_SIZE; i++)
		put_free(bl, &bl->bl_requests[i]);
	return start(bl, dev);
}

static void
blk_fini(struct pci_dev *dev)
{
	struct blk *const bl = dev->pd_arg;

	pthread_mutex_lock(&bl->bl_virtio.vi_lock);
	blk_quiesce(&bl->bl_virtio);
	bl->bl_end = true;
	pthread_cond_broadcast(&bl->bl_work);
	pthread_mutex_unlock(&bl->bl_virtio.vi_lock);
	for (unsigned int i = 0; i < bl->bl_nworkers; i++)
		pthread_join(bl->bl_workers[i], NULL);
	pthread_cond_destroy(&bl->bl_work);
	pthread_cond_destroy(&bl->bl_idle);
	block_close(&bl->bl_block);
	virtio_fini(&bl->bl_virtio);
	free(bl);
}

const struct pci_emul pci_virtio_blk = {
	.pe_name = "virtio-blk",
	.pe_help = "FILE[,ro][,nocache][,direct][,sectorsize=512|4096][,ser=TEXT]: a disk",
	.pe_init = blk_init,
	.pe_fini = blk_fini,
	.pe_reset = virtio_pci_reset,
	.pe_barread = virtio_barread,
	.pe_barwrite = virtio_barwrite,
	.pe_cfgread = virtio_cfgread,
	.pe_cfgwrite = virtio_cfgwrite,
};
