/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The registers: four regions of 4 KiB in one BAR, each announced by a vendor capability, and a
 * fifth capability by which firmware without mappings reaches them (VIRTIO 1.1, section 4.1.4).
 *
 * The common structure is read and written through one table: which field an offset is in, and how
 * wide it is. An access that is not exactly one field reads zeros and writes nothing; but drivers
 * may write 64-bit fields in halves, so those are two fields here.
 */

#include <errno.h>
#include <string.h>

#include "virtio.h"
#include "virtio_priv.h"

enum {
	VENDOR = 0x1af4,
	DEVICE_BASE = 0x1040,
	REGS_BAR = 4, /* and 5: it is a 64-bit BAR */
	MSIX_BAR = 1,
	REGION_BYTES = 0x1000,
	REGS_BYTES = 4 * REGION_BYTES,
	/* Regions in REGS_BAR, in the order of their place there. */
	REGION_COMMON = 0,
	REGION_ISR = 1,
	REGION_CONFIG = 2,
	REGION_NOTIFY = 3,
	/* cfg_type of the capabilities */
	CAP_COMMON = 1,
	CAP_NOTIFY = 2,
	CAP_ISR = 3,
	CAP_CONFIG = 4,
	CAP_PCI = 5,
	CAP_BYTES = 16,
	NOTIFY_MULTIPLIER = 4,
};

/* Offsets in the common structure. */
enum {
	COMMON_OFFERED_SELECT = 0x00,
	COMMON_OFFERED = 0x04,
	COMMON_FEATURES_SELECT = 0x08,
	COMMON_FEATURES = 0x0c,
	COMMON_CONFIG_VECTOR = 0x10,
	COMMON_NUM_QUEUES = 0x12,
	COMMON_STATUS = 0x14,
	COMMON_GENERATION = 0x15,
	COMMON_QUEUE_SELECT = 0x16,
	COMMON_QUEUE_SIZE = 0x18,
	COMMON_QUEUE_VECTOR = 0x1a,
	COMMON_QUEUE_ENABLE = 0x1c,
	COMMON_QUEUE_NOTIFY_OFF = 0x1e,
	COMMON_QUEUE_DESC = 0x20,
	COMMON_QUEUE_AVAIL = 0x28,
	COMMON_QUEUE_USED = 0x30,
	COMMON_END = 0x38,
};

static unsigned int
field_bytes(uint64_t off)
{
	switch (off) {
	case COMMON_STATUS:
	case COMMON_GENERATION:
		return 1;
	case COMMON_CONFIG_VECTOR:
	case COMMON_NUM_QUEUES:
	case COMMON_QUEUE_SELECT:
	case COMMON_QUEUE_SIZE:
	case COMMON_QUEUE_VECTOR:
	case COMMON_QUEUE_ENABLE:
	case COMMON_QUEUE_NOTIFY_OFF:
		return 2;
	default:
		return off < COMMON_END && off % 4 == 0 ? 4 : 0;
	}
}

/* ---- The common structure -------------------------------------------------------------------- */

static struct virtio_queue *
selected(struct virtio *vi)
{
	return vi->vi_queue_select < vi->vi_ops->vo_nqueues ? &vi->vi_queues[vi->vi_queue_select]
							    : NULL;
}

/* Where a ring's address is kept, for the offsets of its halves. */
static uint64_t *
ring_address(struct virtio_queue *q, uint64_t off)
{
	switch (off & ~7ull) {
	case COMMON_QUEUE_DESC:
		return &q->q_vq.vq_desc_gpa;
	case COMMON_QUEUE_AVAIL:
		return &q->q_vq.vq_avail_gpa;
	default:
		return &q->q_vq.vq_used_gpa;
	}
}

static uint32_t
queue_read(struct virtio_queue *q, unsigned int index, uint64_t off)
{
	if (q == NULL) /* a queue of size 0 is none */
		return off == COMMON_QUEUE_VECTOR ? VIRTIO_NO_VECTOR : 0;
	switch (off) {
	case COMMON_QUEUE_SIZE:
		return q->q_vq.vq_size;
	case COMMON_QUEUE_VECTOR:
		return q->q_vector;
	case COMMON_QUEUE_ENABLE:
		return q->q_vq.vq_on;
	case COMMON_QUEUE_NOTIFY_OFF:
		return index;
	default:
		return (uint32_t)(*ring_address(q, off) >> (off % 8 * 8));
	}
}

static uint32_t
half(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

static uint32_t
common_read(struct virtio *vi, uint64_t off)
{
	switch (off) {
	case COMMON_OFFERED_SELECT:
		return vi->vi_offered_select;
	case COMMON_OFFERED:
		return half(vi->vi_offered, vi->vi_offered_select);
	case COMMON_FEATURES_SELECT:
		return vi->vi_features_select;
	case COMMON_FEATURES:
		return half(vi->vi_features, vi->vi_features_select);
	case COMMON_CONFIG_VECTOR:
		return vi->vi_config_vector;
	case COMMON_NUM_QUEUES:
		return vi->vi_ops->vo_nqueues;
	case COMMON_STATUS:
		return vi->vi_status;
	case COMMON_GENERATION:
		return vi->vi_generation;
	case COMMON_QUEUE_SELECT:
		return vi->vi_queue_select;
	default:
		return queue_read(selected(vi), vi->vi_queue_select, off);
	}
}

/* A vector that there is not reads back as none: so a driver learns it. */
static uint16_t
vector_of(const struct virtio *vi, uint32_t value)
{
	return value < vi->vi_dev->pd_msix.mx_vectors ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

static void
queue_write(struct virtio *vi, struct virtio_queue *q, uint64_t off, uint32_t value)
{
	uint64_t *address;

	if (q == NULL)
		return;
	if (off == COMMON_QUEUE_VECTOR) {
		q->q_vector = vector_of(vi, value);
		return;
	}
	if (q->q_vq.vq_on) /* a queue in use stays as it is until a reset */
		return;
	switch (off) {
	case COMMON_QUEUE_SIZE:
		if (value != 0 && value <= vi->vi_ops->vo_queue_size && (value & (value - 1)) == 0)
			q->q_vq.vq_size = (uint16_t)value;
		return;
	case COMMON_QUEUE_ENABLE:
		if (value == 1)
			virtio_queue_enable(vi);
		return;
	case COMMON_QUEUE_NOTIFY_OFF:
		return;
	default:
		address = ring_address(q, off);
		if (off % 8 == 0)
			*address = (*address & ~(uint64_t)UINT32_MAX) | value;
		else
			*address = (*address & UINT32_MAX) | (uint64_t)value << 32;
	}
}

static void
write_features(struct virtio *vi, uint32_t value)
{
	const uint32_t select = vi->vi_features_select;

	if (select > 1 || (vi->vi_status & VIRTIO_FEATURES_OK) != 0)
		return;
	vi->vi_features &= ~((uint64_t)UINT32_MAX << (32 * select));
	vi->vi_features |= (uint64_t)value << (32 * select);
}

static void
common_write(struct virtio *vi, uint64_t off, uint32_t value)
{
	switch (off) {
	case COMMON_OFFERED_SELECT:
		vi->vi_offered_select = value;
		break;
	case COMMON_FEATURES_SELECT:
		vi->vi_features_select = value;
		break;
	case COMMON_FEATURES:
		write_features(vi, value);
		break;
	case COMMON_CONFIG_VECTOR:
		vi->vi_config_vector = vector_of(vi, value);
		break;
	case COMMON_STATUS:
		virtio_set_status(vi, (uint8_t)value);
		break;
	case COMMON_QUEUE_SELECT:
		vi->vi_queue_select = (uint16_t)value;
		break;
	case COMMON_OFFERED:
	case COMMON_NUM_QUEUES:
	case COMMON_GENERATION:
		break;
	default:
		queue_write(vi, selected(vi), off, value);
	}
}

/* ---- Regions --------------------------------------------------------------------------------- */

static uint64_t
config_read(struct virtio *vi, uint64_t off, unsigned int bytes)
{
	uint64_t value = 0;

	if (off < vi->vi_config_bytes && bytes <= vi->vi_config_bytes - off)
		memcpy(&value, vi->vi_config + off, bytes);
	return value;
}

static uint64_t
region_read(struct virtio *vi, uint64_t off, unsigned int bytes)
{
	const uint64_t in = off % REGION_BYTES;
	uint8_t isr;

	switch (off / REGION_BYTES) {
	case REGION_COMMON:
		/* Both halves of a 64-bit field. */
		if (bytes == 8 && in % 8 == 0 && in >= COMMON_QUEUE_DESC && in < COMMON_END)
			return common_read(vi, in) | (uint64_t)common_read(vi, in + 4) << 32;
		return field_bytes(in) == bytes ? common_read(vi, in) : 0;
	case REGION_ISR:
		if (in != 0)
			return 0;
		/* Reading takes the interrupt back. */
		isr = vi->vi_isr;
		vi->vi_isr = 0;
		pci_intx(vi->vi_dev, false);
		return isr;
	case REGION_CONFIG:
		return config_read(vi, in, bytes);
	default:
		return 0;
	}
}

static void
region_write(struct virtio *vi, uint64_t off, unsigned int bytes, uint64_t value)
{
	const uint64_t in = off % REGION_BYTES;

	switch (off / REGION_BYTES) {
	case REGION_COMMON:
		if (bytes == 8 && in % 8 == 0 && in >= COMMON_QUEUE_DESC && in < COMMON_END) {
			common_write(vi, in, (uint32_t)value);
			common_write(vi, in + 4, (uint32_t)(value >> 32));
		} else if (field_bytes(in) == bytes) {
			common_write(vi, in, (uint32_t)value);
		}
		break;
	case REGION_CONFIG:
		if (vi->vi_ops->vo_config_written != NULL && in < vi->vi_config_bytes &&
		    bytes <= vi->vi_config_bytes - in) {
			memcpy(vi->vi_config + in, &value, bytes);
			vi->vi_ops->vo_config_written(vi, (unsigned int)in, bytes);
		}
		break;
	case REGION_NOTIFY:
		if (in % NOTIFY_MULTIPLIER == 0)
			virtio_notify(vi, (unsigned int)(in / NOTIFY_MULTIPLIER));
		break;
	default:
		break;
	}
}

uint64_t
virtio_barread(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int bytes)
{
	struct virtio *const vi = dev->pd_arg;
	uint64_t value;

	if (bar != REGS_BAR)
		return UINT64_MAX;
	pthread_mutex_lock(&vi->vi_lock);
	value = region_read(vi, off, bytes);
	pthread_mutex_unlock(&vi->vi_lock);
	return value;
}

void
virtio_barwrite(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int bytes,
		uint64_t value)
{
	struct virtio *const vi = dev->pd_arg;

	if (bar != REGS_BAR)
		return;
	pthread_mutex_lock(&vi->vi_lock);
	region_write(vi, off, bytes, value);
	pthread_mutex_unlock(&vi->vi_lock);
}

/* ---- The capability that reaches the regions ------------------------------------------------- */

/* The access that the capability now describes; false: none that makes sense. */
static bool
described(struct virtio *vi, uint64_t *off, unsigned int *bytes)
{
	struct pci_dev *const dev = vi->vi_dev;
	bool good;

	pthread_mutex_lock(&dev->pd_lock);
	*off = pci_get(dev, vi->vi_pci_cap + 8, 4);
	*bytes = pci_get(dev, vi->vi_pci_cap + 12, 4);
	good = pci_get(dev, vi->vi_pci_cap + 4, 1) == REGS_BAR && *off < REGS_BYTES &&
	       (*bytes == 1 || *bytes == 2 || *bytes == 4) && *off % *bytes == 0;
	pthread_mutex_unlock(&dev->pd_lock);
	return good;
}

bool
virtio_cfgread(struct pci_dev *dev, unsigned int off, unsigned int bytes, uint32_t *value)
{
	struct virtio *const vi = dev->pd_arg;
	uint64_t at;
	unsigned int n;

	(void)bytes;
	if (off != vi->vi_pci_cap + CAP_BYTES || !described(vi, &at, &n))
		return false;
	*value = (uint32_t)virtio_barread(dev, REGS_BAR, at, n);
	return true;
}

bool
virtio_cfgwrite(struct pci_dev *dev, unsigned int off, unsigned int bytes, uint32_t value)
{
	struct virtio *const vi = dev->pd_arg;
	uint64_t at;
	unsigned int n;

	(void)bytes;
	if (off != vi->vi_pci_cap + CAP_BYTES || !described(vi, &at, &n))
		return false;
	virtio_barwrite(dev, REGS_BAR, at, n, n == 4 ? value : value & ((1u << (8 * n)) - 1));
	return true;
}

/* ---- Making it ------------------------------------------------------------------------------- */

static int
add_cap(struct virtio *vi, uint8_t type, unsigned int region, uint32_t bytes, uint32_t extra,
	uint8_t cap_bytes)
{
	const uint32_t off = region * REGION_BYTES;
	uint8_t cap[CAP_BYTES + 4] = {PCIC_VENDOR, 0, cap_bytes, type, REGS_BAR};

	memcpy(cap + 8, &off, sizeof(off));
	memcpy(cap + 12, &bytes, sizeof(bytes));
	memcpy(cap + CAP_BYTES, &extra, sizeof(extra));
	return pci_add_cap(vi->vi_dev, cap, cap_bytes);
}

int
virtio_pci_init(struct virtio *vi)
{
	/* bar, offset, length and data of the capability of configuration space */
	static const uint8_t writable[CAP_BYTES] = {0xff, 0,	0,    0,    0xff, 0xff, 0xff, 0xff,
						    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	const struct virtio_ops *const ops = vi->vi_ops;
	struct pci_dev *const dev = vi->vi_dev;
	int error;

	pci_set_ids(dev, VENDOR, (uint16_t)(DEVICE_BASE + ops->vo_type), ops->vo_class);
	pci_set8(dev, PCIR_REVISION, 1);
	pci_set16(dev, PCIR_SUBVENDOR, VENDOR);
	pci_set16(dev, PCIR_SUBDEVICE, (uint16_t)(0x40 + ops->vo_type));
	/* One for each queue, and one for changes of the configuration. */
	error = pci_add_msix(dev, MSIX_BAR, ops->vo_nqueues + 1);
	if (error == 0)
		error = pci_alloc_bar(dev, REGS_BAR, PCI_BAR_MEM64, REGS_BYTES);
	if (error != 0)
		return error;
	if ((error = add_cap(vi, CAP_COMMON, REGION_COMMON, COMMON_END, 0, CAP_BYTES)) < 0 ||
	    (error = add_cap(vi, CAP_ISR, REGION_ISR, 1, 0, CAP_BYTES)) < 0 ||
	    (error = add_cap(vi, CAP_CONFIG, REGION_CONFIG, REGION_BYTES, 0, CAP_BYTES)) < 0 ||
	    (error = add_cap(vi, CAP_NOTIFY, REGION_NOTIFY, REGION_BYTES, NOTIFY_MULTIPLIER,
			     CAP_BYTES + 4)) < 0 ||
	    (error = add_cap(vi, CAP_PCI, 0, 0, 0, CAP_BYTES + 4)) < 0)
		return error;
	vi->vi_pci_cap = (unsigned int)error;
	pci_set_writable(dev, vi->vi_pci_cap + 4, writable, sizeof(writable));
	pci_add_intx(dev);
	return 0;
}
