/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A virtqueue, split format (Virtual I/O Device specification 1.1, section 2.6): the device's side.
 *
 * The three rings are in guest memory and the guest writes them whenever it likes, also what it
 * must not. Each word is therefore read once, and checked as read. What makes no sense breaks the
 * queue: it hands out nothing any more and vq_why says what was wrong, for a log and for the
 * device's NEEDS_RESET. The caller has a lock around all calls for a queue.
 */

#ifndef BHYVE_VIRTQ_H
#define BHYVE_VIRTQ_H

#include <stdbool.h>
#include <sys/uio.h>

#include "dma.h"

#define VIRTQ_SIZE_MAX 1024 /* entries; a power of two */
#define VIRTQ_SEGS_MAX 258  /* of a chain: 1 MiB of pages, and a block request's head and status */

struct virtq {
	const struct dma *vq_dma;
	/* Set by the owner before virtq_enable(). */
	uint16_t vq_size;
	uint64_t vq_desc_gpa;
	uint64_t vq_avail_gpa;
	uint64_t vq_used_gpa;
	bool vq_indirect;  /* VIRTIO_F_INDIRECT_DESC was negotiated */
	bool vq_event_idx; /* VIRTIO_F_EVENT_IDX was */

	bool vq_on;
	bool vq_broken;
	char vq_why[120];
	const volatile char *vq_desc;
	volatile uint16_t *vq_avail;
	volatile uint16_t *vq_used;
	uint16_t vq_next_avail; /* the next entry of the available ring to take */
	uint16_t vq_next_used;
	uint16_t vq_signalled; /* vq_next_used at the last decision to interrupt */
};

struct virtq_chain {
	uint16_t ch_head;
	unsigned int ch_nout; /* segments that the device reads; they come first */
	unsigned int ch_nin;  /* that it writes */
	uint64_t ch_out_bytes;
	uint64_t ch_in_bytes;
	struct iovec ch_iov[VIRTQ_SEGS_MAX];
};

/* -EINVAL the size or an address is misaligned, -EFAULT a ring is not in memory; vq_why says so. */
int virtq_enable(struct virtq *vq);
/* As before the first virtq_enable(), and the rings are forgotten. */
void virtq_reset(struct virtq *vq, uint16_t size);

/* 1 and the next chain, 0 there is none, -EIO the queue is broken. */
int virtq_pop(struct virtq *vq, struct virtq_chain *chain);
/* Gives the last popped chain back untouched; only right after virtq_pop(). */
void virtq_unpop(struct virtq *vq);
/* The chain is done; `bytes` were written to its writable segments. */
void virtq_push(struct virtq *vq, uint16_t head, uint32_t bytes);
/* After pushes: does the driver want to be interrupted for them? */
bool virtq_wants_interrupt(struct virtq *vq);
/*
 * Whether the driver shall notify of new chains. After turning it on, true: there are some already,
 * and the caller must look again.
 */
bool virtq_notifications(struct virtq *vq, bool on);

/* The device found something wrong in a chain itself. */
void virtq_break(struct virtq *vq, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Copies from the readable segments at off, or to the writable ones; how many bytes there were. */
size_t virtq_copy_out(const struct virtq_chain *chain, uint64_t off, void *to, size_t bytes);
size_t virtq_copy_in(const struct virtq_chain *chain, uint64_t off, const void *from, size_t bytes);

#endif /* BHYVE_VIRTQ_H */
