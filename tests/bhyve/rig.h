/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A machine for devices: 1 MiB of guest memory in an array, a bus with one device in slot 3, and
 * what a guest's driver would do, written here a second time from the specification: configuration
 * space by 0xcf8, BARs by address, a virtio driver with rings of its own.
 *
 * Device code that reaches outside guest memory reaches outside the array, which ASan sees.
 */

#ifndef TESTS_BHYVE_RIG_H
#define TESTS_BHYVE_RIG_H

#include "pci.h"

#define RIG_MEM_BYTES (1u << 20)
#define RIG_SLOT 3
#define RIG_MSIS_MAX 64
#define RIG_BARS_MAX 8

struct rig_msi {
	uint64_t rm_addr;
	uint32_t rm_data;
};

struct rig {
	struct pci_bus rg_bus;
	uint8_t *rg_mem;
	pthread_mutex_t rg_lock;
	pthread_cond_t rg_changed;
	unsigned int rg_nmsis; /* in all; the last ones are kept */
	struct rig_msi rg_msis[RIG_MSIS_MAX];
	bool rg_lines[24];
	unsigned int rg_line_changes;
	struct {
		struct pci_bar *rb_bar;
		uint64_t rb_base;
	} rg_bars[RIG_BARS_MAX];
	bool rg_refuse; /* the next decode fails */
	/* fbuf */
	uint8_t *rg_devmem;
	uint64_t rg_shown_gpa; /* 0: not shown */
	bool rg_reset;	       /* the machine took all maps away: the next hiding fails */
};

/* "slot" 3 gets `what` ("virtio-rnd", with options behind a comma); started. Fails the test if it
 * cannot be. */
struct rig *rig_new(const char *what);
/* The same, but the bus is left as pci_plug() and pci_bus_start() leave it, with their error. */
struct rig *rig_try(const char *what, int *error);
void rig_free(struct rig *rig);

uint32_t rig_cfg_read(struct rig *rig, unsigned int slot, unsigned int off, unsigned int bytes);
void rig_cfg_write(struct rig *rig, unsigned int slot, unsigned int off, unsigned int bytes,
		   uint32_t value);
/* By address, as a guest; all ones where nothing is. */
uint64_t rig_read(struct rig *rig, uint64_t gpa, unsigned int bytes);
void rig_write(struct rig *rig, uint64_t gpa, unsigned int bytes, uint64_t value);
/* Waits (at most a minute) until there were n MSIs in all. */
void rig_wait_msis(struct rig *rig, unsigned int n);

/* ---- A virtio driver ------------------------------------------------------------------------- */

#define DRV_QUEUES 4
#define DRV_SIZE 8

struct drv_desc {
	uint64_t dd_gpa;
	uint32_t dd_bytes;
	uint16_t dd_flags; /* 1 next, 2 write, 4 indirect */
	uint16_t dd_next;
};

struct drv_queue {
	struct drv_desc *dq_desc;
	uint16_t *dq_avail; /* flags, index, ring, used_event */
	uint16_t *dq_used;  /* flags, index, ring of {id32, len32}, avail_event */
	uint16_t dq_size;
	uint16_t dq_seen; /* of the used ring */
};

struct drv {
	struct rig *dv_rig;
	uint64_t dv_common, dv_isr, dv_config, dv_notify; /* addresses */
	uint32_t dv_notify_multiplier;
	unsigned int dv_cap_pci; /* the capability's offset */
	struct drv_queue dv_queues[DRV_QUEUES];
};

/* Finds the regions by the capabilities. */
void drv_probe(struct drv *drv, struct rig *rig);
uint64_t drv_common(struct drv *drv, unsigned int off, unsigned int bytes);
void drv_set_common(struct drv *drv, unsigned int off, unsigned int bytes, uint64_t value);
/* Reset, features (VERSION_1 is added), MSI-X on with vector q for queue q, nqueues of DRV_SIZE,
 * DRIVER_OK. Queue q's rings are at 0x10000 * (q + 1). */
void drv_start(struct drv *drv, uint64_t features, unsigned int nqueues);
/* Chain of n descriptors at `first`, offered and notified. */
void drv_offer(struct drv *drv, unsigned int q, uint16_t head);
void drv_kick(struct drv *drv, unsigned int q);
/* The next used entry, waited for (at most a minute): its length; *id its head. */
uint32_t drv_used(struct drv *drv, unsigned int q, uint32_t *id);
uint8_t drv_status(struct drv *drv);

#endif /* TESTS_BHYVE_RIG_H */
