/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The split virtqueue. Layout and bits: VIRTIO 1.1, sections 2.6.5 (descriptors), 2.6.6 (available
 * ring), 2.6.8 (used ring), 2.6.7 (when to notify).
 *
 * Descriptors of an indirect table and of the queue's own are walked by the same loop; a chain can
 * have at most as many as the table it is in, so a loop in it ends the walk there.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "virtq.h"

enum {
	DESC_NEXT = 1,
	DESC_WRITE = 2,
	DESC_INDIRECT = 4,
	DESC_BYTES = 16,
	AVAIL_NO_INTERRUPT = 1,
	USED_NO_NOTIFY = 1,
	/* Words of the rings: flags, index, then entries. */
	RING_FLAGS = 0,
	RING_INDEX = 1,
	RING_ENTRIES = 2,
};

struct desc {
	uint64_t de_gpa;
	uint32_t de_bytes;
	uint16_t de_flags;
	uint16_t de_next;
};

_Static_assert(sizeof(struct desc) == DESC_BYTES, "a descriptor's layout is the specification's");

void
virtq_break(struct virtq *vq, const char *format, ...)
{
	va_list ap;

	if (vq->vq_broken)
		return;
	vq->vq_broken = true;
	va_start(ap, format);
	vsnprintf(vq->vq_why, sizeof(vq->vq_why), format, ap);
	va_end(ap);
}

void
virtq_reset(struct virtq *vq, uint16_t size)
{
	const struct dma *const dma = vq->vq_dma;

	memset(vq, 0, sizeof(*vq));
	vq->vq_dma = dma;
	vq->vq_size = size;
}

int
virtq_enable(struct virtq *vq)
{
	const uint64_t size = vq->vq_size;

	if (size == 0 || size > VIRTQ_SIZE_MAX || (size & (size - 1)) != 0) {
		virtq_break(vq, "a queue of %u entries", vq->vq_size);
		return -EINVAL;
	}
	if (vq->vq_desc_gpa % 16 != 0 || vq->vq_avail_gpa % 2 != 0 || vq->vq_used_gpa % 4 != 0) {
		virtq_break(vq, "a ring is misaligned");
		return -EINVAL;
	}
	/* Both rings end with the word by which the other side says when to notify. */
	vq->vq_desc = dma_ptr(vq->vq_dma, vq->vq_desc_gpa, size * DESC_BYTES);
	vq->vq_avail = dma_ptr(vq->vq_dma, vq->vq_avail_gpa, 2 * (RING_ENTRIES + size + 1));
	vq->vq_used = dma_ptr(vq->vq_dma, vq->vq_used_gpa, 2 * (RING_ENTRIES + 4 * size + 1));
	if (vq->vq_desc == NULL || vq->vq_avail == NULL || vq->vq_used == NULL) {
		virtq_break(vq, "a ring is not in memory");
		return -EFAULT;
	}
	vq->vq_on = true;
	return 0;
}

/* ---- Taking chains --------------------------------------------------------------------------- */

struct walk {
	const volatile char *wk_table;
	unsigned int wk_size; /* descriptors in the table */
	unsigned int wk_left; /* that the chain may still have of them */
	bool wk_indirect;
};

static struct desc
read_desc(const volatile char *table, unsigned int index)
{
	const volatile uint64_t *const words =
		(const volatile uint64_t *)(table + index * DESC_BYTES);
	const uint64_t raw[2] = {words[0], words[1]};
	struct desc desc;

	memcpy(&desc, raw, sizeof(desc));
	return desc;
}

static bool
add_segment(struct virtq *vq, struct virtq_chain *chain, const struct desc *desc)
{
	const unsigned int n = chain->ch_nout + chain->ch_nin;
	void *at;

	if ((desc->de_flags & DESC_WRITE) == 0 && chain->ch_nin != 0) {
		virtq_break(vq, "a segment to read follows one to write");
		return false;
	}
	if (desc->de_bytes == 0)
		return true;
	if (n == VIRTQ_SEGS_MAX) {
		virtq_break(vq, "a chain of more than %d segments", VIRTQ_SEGS_MAX);
		return false;
	}
	at = dma_ptr(vq->vq_dma, desc->de_gpa, desc->de_bytes);
	if (at == NULL) {
		virtq_break(vq, "a segment of %u bytes at %#llx is not in memory", desc->de_bytes,
			    (unsigned long long)desc->de_gpa);
		return false;
	}
	chain->ch_iov[n] = (struct iovec){.iov_base = at, .iov_len = desc->de_bytes};
	if ((desc->de_flags & DESC_WRITE) != 0) {
		chain->ch_nin++;
		chain->ch_in_bytes += desc->de_bytes;
	} else {
		chain->ch_nout++;
		chain->ch_out_bytes += desc->de_bytes;
	}
	return true;
}

static bool
enter_indirect(struct virtq *vq, struct walk *walk, const struct desc *desc)
{
	if (!vq->vq_indirect || walk->wk_indirect || (desc->de_flags & DESC_NEXT) != 0) {
		virtq_break(vq, "an indirect table where there can be none");
		return false;
	}
	if (desc->de_bytes == 0 || desc->de_bytes % DESC_BYTES != 0 ||
	    desc->de_bytes / DESC_BYTES > VIRTQ_SIZE_MAX || desc->de_gpa % 8 != 0) {
		virtq_break(vq, "an indirect table of %u bytes at %#llx", desc->de_bytes,
			    (unsigned long long)desc->de_gpa);
		return false;
	}
	walk->wk_table = dma_ptr(vq->vq_dma, desc->de_gpa, desc->de_bytes);
	if (walk->wk_table == NULL) {
		virtq_break(vq, "an indirect table at %#llx is not in memory",
			    (unsigned long long)desc->de_gpa);
		return false;
	}
	walk->wk_size = walk->wk_left = desc->de_bytes / DESC_BYTES;
	walk->wk_indirect = true;
	return true;
}

static bool
walk_chain(struct virtq *vq, struct virtq_chain *chain)
{
	struct walk walk = {
		.wk_table = vq->vq_desc, .wk_size = vq->vq_size, .wk_left = vq->vq_size};
	unsigned int at = chain->ch_head;

	for (;;) {
		struct desc desc;

		if (at >= walk.wk_size) {
			virtq_break(vq, "descriptor %u of %u", at, walk.wk_size);
			return false;
		}
		if (walk.wk_left-- == 0) {
			virtq_break(vq, "a chain that has a loop");
			return false;
		}
		desc = read_desc(walk.wk_table, at);
		if ((desc.de_flags & DESC_INDIRECT) != 0) {
			if (!enter_indirect(vq, &walk, &desc))
				return false;
			at = 0;
			continue;
		}
		if (!add_segment(vq, chain, &desc))
			return false;
		if ((desc.de_flags & DESC_NEXT) == 0)
			return true;
		at = desc.de_next;
	}
}

int
virtq_pop(struct virtq *vq, struct virtq_chain *chain)
{
	uint16_t index;

	if (vq->vq_broken)
		return -EIO;
	if (!vq->vq_on)
		return 0;
	index = vq->vq_avail[RING_INDEX];
	if (index == vq->vq_next_avail)
		return 0;
	if ((uint16_t)(index - vq->vq_next_avail) > vq->vq_size) {
		virtq_break(vq, "%u chains are offered to a queue of %u",
			    (uint16_t)(index - vq->vq_next_avail), vq->vq_size);
		return -EIO;
	}
	/* Partner: the driver's fence between its entry and its index. */
	atomic_thread_fence(memory_order_acquire);
	chain->ch_head = vq->vq_avail[RING_ENTRIES + vq->vq_next_avail % vq->vq_size];
	chain->ch_nout = chain->ch_nin = 0;
	chain->ch_out_bytes = chain->ch_in_bytes = 0;
	if (!walk_chain(vq, chain))
		return -EIO;
	vq->vq_next_avail++;
	return 1;
}

void
virtq_unpop(struct virtq *vq)
{
	vq->vq_next_avail--;
}

/* ---- Giving them back ------------------------------------------------------------------------ */

void
virtq_push(struct virtq *vq, uint16_t head, uint32_t bytes)
{
	volatile uint32_t *entry;

	if (!vq->vq_on)
		return;
	entry = (volatile uint32_t *)(vq->vq_used + RING_ENTRIES) +
		(size_t)2 * (vq->vq_next_used % vq->vq_size);
	entry[0] = head;
	entry[1] = bytes;
	vq->vq_next_used++;
	/* What was written, and the entry, before the index that says so. Partner: the driver's. */
	atomic_thread_fence(memory_order_release);
	vq->vq_used[RING_INDEX] = vq->vq_next_used;
}

bool
virtq_wants_interrupt(struct virtq *vq)
{
	const uint16_t old = vq->vq_signalled, new = vq->vq_next_used;
	uint16_t event;

	if (!vq->vq_on || old == new)
		return false;
	vq->vq_signalled = new;
	/* The index was stored; now look what the driver wants. The driver stores what it wants,
	 * and then looks at the index: its fence is the partner. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!vq->vq_event_idx)
		return (vq->vq_avail[RING_FLAGS] & AVAIL_NO_INTERRUPT) == 0;
	event = vq->vq_avail[RING_ENTRIES + vq->vq_size];
	/* Is event within [old, new)? */
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

bool
virtq_notifications(struct virtq *vq, bool on)
{
	if (!vq->vq_on || vq->vq_broken)
		return false;
	if (!vq->vq_event_idx)
		vq->vq_used[RING_FLAGS] = on ? 0 : USED_NO_NOTIFY;
	else if (on)
		vq->vq_used[RING_ENTRIES + 4 * vq->vq_size] = vq->vq_next_avail;
	if (!on)
		return false;
	/* Partner: the driver's fence between its index and its look at ours. */
	atomic_thread_fence(memory_order_seq_cst);
	return vq->vq_avail[RING_INDEX] != vq->vq_next_avail;
}

/* ---- Contents -------------------------------------------------------------------------------- */

/* to: out of the segments; from: into them. */
static size_t
copy(const struct iovec *iov, unsigned int n, uint64_t off, char *to, const char *from,
     size_t bytes)
{
	size_t done = 0;

	for (unsigned int i = 0; i < n && done < bytes; i++) {
		char *const base = iov[i].iov_base;
		size_t part = iov[i].iov_len;

		if (off >= part) {
			off -= part;
			continue;
		}
		part -= off;
		if (part > bytes - done)
			part = bytes - done;
		if (to != NULL)
			memcpy(to + done, base + off, part);
		else
			memcpy(base + off, from + done, part);
		done += part;
		off = 0;
	}
	return done;
}

size_t
virtq_copy_out(const struct virtq_chain *chain, uint64_t off, void *to, size_t bytes)
{
	return copy(chain->ch_iov, chain->ch_nout, off, to, NULL, bytes);
}

size_t
virtq_copy_in(const struct virtq_chain *chain, uint64_t off, const void *from, size_t bytes)
{
	return copy(chain->ch_iov + chain->ch_nout, chain->ch_nin, off, NULL, from, bytes);
}
