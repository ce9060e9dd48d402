/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What all virtio devices share: the PCI transport of VIRTIO 1.1, section 4.1 (modern devices
 * only), feature negotiation, and the queues' life.
 *
 * A device is a `struct virtio_ops` over a `struct virtio`, the first member of its own structure.
 * vi_lock guards both: callbacks are made with it held, and threads of the device take it to touch
 * queues. A driver that breaks a rule of the queues makes the device ask for a reset (NEEDS_RESET)
 * and say why on stderr once; it goes on working after one.
 */

#ifndef BHYVE_VIRTIO_H
#define BHYVE_VIRTIO_H

#include "pci.h"
#include "virtq.h"

#define VIRTIO_QUEUES_MAX 4

/* Features that concern the transport and the queues, not the device. */
#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1 (1ull << 32)

enum {
	VIRTIO_TYPE_NET = 1,
	VIRTIO_TYPE_BLOCK = 2,
	VIRTIO_TYPE_CONSOLE = 3,
	VIRTIO_TYPE_RNG = 4,

	VIRTIO_ACKNOWLEDGE = 1,
	VIRTIO_DRIVER = 2,
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 0x40,
	VIRTIO_FAILED = 0x80,

	VIRTIO_NO_VECTOR = 0xffff,
};

struct virtio;

struct virtio_ops {
	uint16_t vo_type;
	uint32_t vo_class; /* of the PCI function */
	unsigned int vo_nqueues;
	uint16_t vo_queue_size;
	/* Chains are in queue q: called with vi_lock held, when the device is running. */
	void (*vo_notify)(struct virtio *vi, unsigned int q);
	/* Stop using queues before returning: with vi_lock held, which it may wait under. NULL:
	 * nothing is ever used outside callbacks. */
	void (*vo_quiesce)(struct virtio *vi);
	/* DRIVER_OK: vi_features is what was agreed on. May be NULL. */
	void (*vo_started)(struct virtio *vi);
	/* The driver wrote [off, off + bytes) of vi_config; NULL: it is read-only. */
	void (*vo_config_written)(struct virtio *vi, unsigned int off, unsigned int bytes);
};

struct virtio_queue {
	struct virtq q_vq;
	uint16_t q_vector;
};

struct virtio {
	const struct virtio_ops *vi_ops;
	struct pci_dev *vi_dev;
	struct dma vi_dma;
	pthread_mutex_t vi_lock;
	pthread_cond_t vi_reset_done;
	uint64_t vi_offered;
	uint64_t vi_features;
	uint32_t vi_offered_select;
	uint32_t vi_features_select;
	uint8_t vi_status;
	uint8_t vi_generation; /* of vi_config */
	uint8_t vi_isr;
	bool vi_resetting;
	uint16_t vi_config_vector;
	uint16_t vi_queue_select;
	unsigned int vi_pci_cap; /* the capability through which BARs are reached */
	struct virtio_queue vi_queues[VIRTIO_QUEUES_MAX];
	uint8_t vi_config[64];
	unsigned int vi_config_bytes;
};

/*
 * In pe_init, with vi zeroed: makes the PCI function. offered: the device's own features.
 * 0 or -errno as pci_fail(). pd_arg becomes vi.
 */
int virtio_init(struct virtio *vi, struct pci_dev *dev, const struct virtio_ops *ops,
		uint64_t offered, const void *config, unsigned int config_bytes);
void virtio_fini(struct virtio *vi);

/* For the pci_emul of each device. */
uint64_t virtio_barread(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int bytes);
void virtio_barwrite(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int bytes,
		     uint64_t value);
bool virtio_cfgread(struct pci_dev *dev, unsigned int off, unsigned int bytes, uint32_t *value);
bool virtio_cfgwrite(struct pci_dev *dev, unsigned int off, unsigned int bytes, uint32_t value);
void virtio_pci_reset(struct pci_dev *dev);

/* ---- With vi_lock held ----------------------------------------------------------------------- */

/* DRIVER_OK, no error, and the device is a bus master. */
bool virtio_running(struct virtio *vi);
/* 1 and the next chain of a queue; 0: none, or the device does not run. */
int virtio_pop(struct virtio *vi, unsigned int q, struct virtq_chain *chain);
/* At the end of a round: turns notifications on again. True: there are chains already, go on. */
bool virtio_more(struct virtio *vi, unsigned int q);
/* After pushes: interrupts the driver if it wants. */
void virtio_signal(struct virtio *vi, unsigned int q);
/* Something is wrong with what the driver put into a queue. */
void virtio_break(struct virtio *vi, unsigned int q, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* vi_config was changed by the device. */
void virtio_config_changed(struct virtio *vi);

#endif /* BHYVE_VIRTIO_H */
