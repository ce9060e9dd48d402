/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Between the two halves of the transport: what registers do (virtio_pci.c), and what that means
 * (virtio.c). All but virtio_pci_init() are called with vi_lock held.
 */

#ifndef BHYVE_VIRTIO_PRIV_H
#define BHYVE_VIRTIO_PRIV_H

#include "virtio.h"

enum {
	VIRTIO_ISR_QUEUE = 1,
	VIRTIO_ISR_CONFIG = 2,
};

int virtio_pci_init(struct virtio *vi);
void virtio_reset(struct virtio *vi);
void virtio_set_status(struct virtio *vi, uint8_t status);
void virtio_queue_enable(struct virtio *vi);
void virtio_notify(struct virtio *vi, unsigned int q);
void virtio_needs_reset(struct virtio *vi, unsigned int q);

#endif /* BHYVE_VIRTIO_PRIV_H */
