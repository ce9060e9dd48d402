/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Negotiation, reset, and queues in use. Registers are in virtio_pci.c.
 */

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "virtio.h"
#include "virtio_priv.h"

static void
interrupt(struct virtio *vi, uint16_t vector, uint8_t isr)
{
	if (pci_msix_on(vi->vi_dev)) {
		if (vector != VIRTIO_NO_VECTOR)
			pci_msix_raise(vi->vi_dev, vector);
		return;
	}
	vi->vi_isr |= isr;
	pci_intx(vi->vi_dev, true);
}

bool
virtio_running(struct virtio *vi)
{
	return (vi->vi_status & (VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET | VIRTIO_FAILED)) ==
		       VIRTIO_DRIVER_OK &&
	       !vi->vi_resetting && pci_may_dma(vi->vi_dev);
}

void
virtio_config_changed(struct virtio *vi)
{
	vi->vi_generation++;
	if ((vi->vi_status & VIRTIO_DRIVER_OK) != 0)
		interrupt(vi, vi->vi_config_vector, VIRTIO_ISR_CONFIG);
}

/* The queue's vq_why tells people; NEEDS_RESET tells the driver. */
void
virtio_needs_reset(struct virtio *vi, unsigned int q)
{
	if ((vi->vi_status & VIRTIO_NEEDS_RESET) != 0)
		return;
	vi->vi_status |= VIRTIO_NEEDS_RESET;
	fprintf(stderr, "bhyve: %s in slot %u:%u needs a reset: queue %u: %s\n",
		vi->vi_dev->pd_emul->pe_name, vi->vi_dev->pd_slot, vi->vi_dev->pd_func, q,
		vi->vi_queues[q].q_vq.vq_why);
	virtio_config_changed(vi);
}

void
virtio_break(struct virtio *vi, unsigned int q, const char *format, ...)
{
	char why[100];
	va_list ap;

	va_start(ap, format);
	vsnprintf(why, sizeof(why), format, ap);
	va_end(ap);
	virtq_break(&vi->vi_queues[q].q_vq, "%s", why);
	virtio_needs_reset(vi, q);
}

int
virtio_pop(struct virtio *vi, unsigned int q, struct virtq_chain *chain)
{
	int got;

	if (!virtio_running(vi))
		return 0;
	got = virtq_pop(&vi->vi_queues[q].q_vq, chain);
	if (got < 0) {
		virtio_needs_reset(vi, q);
		return 0;
	}
	return got;
}

bool
virtio_more(struct virtio *vi, unsigned int q)
{
	return virtio_running(vi) && virtq_notifications(&vi->vi_queues[q].q_vq, true);
}

void
virtio_signal(struct virtio *vi, unsigned int q)
{
	if (virtq_wants_interrupt(&vi->vi_queues[q].q_vq))
		interrupt(vi, vi->vi_queues[q].q_vector, VIRTIO_ISR_QUEUE);
}

/* ---- Status ---------------------------------------------------------------------------------- */

static void
forget(struct virtio *vi)
{
	vi->vi_features = 0;
	vi->vi_offered_select = vi->vi_features_select = 0;
	vi->vi_status = 0;
	vi->vi_isr = 0;
	vi->vi_queue_select = 0;
	vi->vi_config_vector = VIRTIO_NO_VECTOR;
	for (unsigned int i = 0; i < vi->vi_ops->vo_nqueues; i++) {
		virtq_reset(&vi->vi_queues[i].q_vq, vi->vi_ops->vo_queue_size);
		vi->vi_queues[i].q_vector = VIRTIO_NO_VECTOR;
	}
	pci_intx(vi->vi_dev, false);
}

/* Two vCPUs may ask at once: the second waits for the first. */
void
virtio_reset(struct virtio *vi)
{
	while (vi->vi_resetting)
		pthread_cond_wait(&vi->vi_reset_done, &vi->vi_lock);
	vi->vi_resetting = true;
	if (vi->vi_ops->vo_quiesce != NULL)
		vi->vi_ops->vo_quiesce(vi);
	forget(vi);
	vi->vi_resetting = false;
	pthread_cond_broadcast(&vi->vi_reset_done);
}

/* FEATURES_OK is granted only for what was offered, and VERSION_1 must be taken (section 6.1). */
static bool
features_good(const struct virtio *vi)
{
	return (vi->vi_features & ~vi->vi_offered) == 0 &&
	       (vi->vi_features & VIRTIO_F_VERSION_1) != 0;
}

void
virtio_set_status(struct virtio *vi, uint8_t status)
{
	const uint8_t old = vi->vi_status;

	if (status == 0) {
		virtio_reset(vi);
		return;
	}
	/* Bits are only added, but by a reset; and NEEDS_RESET is the device's. */
	status |= old;
	if ((old & VIRTIO_FEATURES_OK) == 0 && (status & VIRTIO_FEATURES_OK) != 0 &&
	    !features_good(vi))
		status &= (uint8_t)~VIRTIO_FEATURES_OK;
	if ((status & VIRTIO_FEATURES_OK) == 0)
		status &= (uint8_t)~VIRTIO_DRIVER_OK;
	vi->vi_status = status;
	if ((old & VIRTIO_DRIVER_OK) == 0 && (status & VIRTIO_DRIVER_OK) != 0 &&
	    vi->vi_ops->vo_started != NULL)
		vi->vi_ops->vo_started(vi);
}

void
virtio_queue_enable(struct virtio *vi)
{
	struct virtq *const vq = &vi->vi_queues[vi->vi_queue_select].q_vq;

	if (vq->vq_on || vq->vq_broken || (vi->vi_status & VIRTIO_FEATURES_OK) == 0)
		return;
	vq->vq_indirect = (vi->vi_features & VIRTIO_F_INDIRECT_DESC) != 0;
	vq->vq_event_idx = (vi->vi_features & VIRTIO_F_EVENT_IDX) != 0;
	if (virtq_enable(vq) != 0)
		virtio_needs_reset(vi, vi->vi_queue_select);
}

void
virtio_notify(struct virtio *vi, unsigned int q)
{
	if (q < vi->vi_ops->vo_nqueues && virtio_running(vi))
		vi->vi_ops->vo_notify(vi, q);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void *
dev_ptr(void *arg, uint64_t gpa, uint64_t len)
{
	struct virtio *const vi = arg;

	return pci_ptr(vi->vi_dev, gpa, len);
}

int
virtio_init(struct virtio *vi, struct pci_dev *dev, const struct virtio_ops *ops, uint64_t offered,
	    const void *config, unsigned int config_bytes)
{
	vi->vi_ops = ops;
	vi->vi_dev = dev;
	vi->vi_dma = (struct dma){.dma_ptr = dev_ptr, .dma_arg = vi};
	vi->vi_offered = offered | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
	memcpy(vi->vi_config, config, config_bytes);
	vi->vi_config_bytes = config_bytes;
	pthread_mutex_init(&vi->vi_lock, NULL);
	pthread_cond_init(&vi->vi_reset_done, NULL);
	for (unsigned int i = 0; i < ops->vo_nqueues; i++)
		vi->vi_queues[i].q_vq.vq_dma = &vi->vi_dma;
	dev->pd_arg = vi;
	pthread_mutex_lock(&vi->vi_lock);
	forget(vi);
	pthread_mutex_unlock(&vi->vi_lock);
	return virtio_pci_init(vi);
}

void
virtio_fini(struct virtio *vi)
{
	pthread_cond_destroy(&vi->vi_reset_done);
	pthread_mutex_destroy(&vi->vi_lock);
}

void
virtio_pci_reset(struct pci_dev *dev)
{
	struct virtio *const vi = dev->pd_arg;

	pthread_mutex_lock(&vi->vi_lock);
	virtio_reset(vi);
	pthread_mutex_unlock(&vi->vi_lock);
}
