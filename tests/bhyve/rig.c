/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* A machine for devices, and a driver (rig.h). Layouts are written from the specifications. */

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rig.h"

/* ---- The machine ----------------------------------------------------------------------------- */

static void *
rig_ptr(void *arg, uint64_t gpa, uint64_t len)
{
	struct rig *const rig = arg;

	return gpa <= RIG_MEM_BYTES && len <= RIG_MEM_BYTES - gpa ? rig->rg_mem + gpa : NULL;
}

static int
rig_decode(void *arg, struct pci_bar *bar, bool on, uint64_t base)
{
	struct rig *const rig = arg;

	for (unsigned int i = 0; i < RIG_BARS_MAX; i++) {
		if (on && rig->rg_refuse) {
			rig->rg_refuse = false;
			return -EEXIST;
		}
		if (on && rig->rg_bars[i].rb_bar == NULL) {
			rig->rg_bars[i].rb_bar = bar;
			rig->rg_bars[i].rb_base = base;
			return 0;
		}
		if (!on && rig->rg_bars[i].rb_bar == bar) {
			cr_assert_eq(rig->rg_bars[i].rb_base, base);
			rig->rg_bars[i].rb_bar = NULL;
			return 0;
		}
	}
	cr_assert_fail("a BAR is decoded twice, or was not");
	return -1;
}

static void
rig_irq(void *arg, unsigned int gsi, bool level)
{
	struct rig *const rig = arg;

	pthread_mutex_lock(&rig->rg_lock);
	rig->rg_lines[gsi] = level;
	rig->rg_line_changes++;
	pthread_cond_broadcast(&rig->rg_changed);
	pthread_mutex_unlock(&rig->rg_lock);
}

static void
rig_msi(void *arg, uint64_t addr, uint32_t data)
{
	struct rig *const rig = arg;

	pthread_mutex_lock(&rig->rg_lock);
	rig->rg_msis[rig->rg_nmsis++ % RIG_MSIS_MAX] =
		(struct rig_msi){.rm_addr = addr, .rm_data = data};
	pthread_cond_broadcast(&rig->rg_changed);
	pthread_mutex_unlock(&rig->rg_lock);
}

static void *
rig_devmem(void *arg, int ident, const char *name, uint64_t len)
{
	struct rig *const rig = arg;

	(void)ident;
	(void)name;
	if (rig->rg_devmem == NULL)
		rig->rg_devmem = calloc(1, len);
	return rig->rg_devmem;
}

static int
rig_show(void *arg, bool on, uint64_t gpa, int ident, uint64_t len)
{
	struct rig *const rig = arg;

	(void)ident;
	(void)len;
	if (!on && rig->rg_reset) {
		rig->rg_reset = false;
		return -EINVAL;
	}
	if (!on)
		cr_assert_eq(rig->rg_shown_gpa, gpa);
	rig->rg_shown_gpa = on ? gpa : 0;
	return 0;
}

struct rig *
rig_try(const char *what, int *error)
{
	struct rig *const rig = calloc(1, sizeof(*rig));
	char option[300];
	struct pci_hooks hooks = {
		.ph_arg = rig,
		.ph_ptr = rig_ptr,
		.ph_decode = rig_decode,
		.ph_irq = rig_irq,
		.ph_msi = rig_msi,
		.ph_devmem = rig_devmem,
		.ph_show = rig_show,
		.ph_machine = rig,
	};

	cr_assert_not_null(rig);
	rig->rg_mem = calloc(1, RIG_MEM_BYTES);
	cr_assert_not_null(rig->rg_mem);
	pthread_mutex_init(&rig->rg_lock, NULL);
	pthread_cond_init(&rig->rg_changed, NULL);
	pci_bus_init(&rig->rg_bus, &hooks, RIG_MEM_BYTES);
	snprintf(option, sizeof(option), "%d,%s", RIG_SLOT, what);
	*error = pci_plug(&rig->rg_bus, option);
	if (*error == 0)
		*error = pci_bus_start(&rig->rg_bus);
	return rig;
}

struct rig *
rig_new(const char *what)
{
	int error;
	struct rig *const rig = rig_try(what, &error);

	cr_assert_eq(error, 0, "%s", pci_why(&rig->rg_bus));
	return rig;
}

void
rig_free(struct rig *rig)
{
	pci_bus_fini(&rig->rg_bus);
	pthread_mutex_destroy(&rig->rg_lock);
	pthread_cond_destroy(&rig->rg_changed);
	free(rig->rg_devmem);
	free(rig->rg_mem);
	free(rig);
}

uint32_t
rig_cfg_read(struct rig *rig, unsigned int slot, unsigned int off, unsigned int bytes)
{
	uint32_t address = 0x80000000 | slot << 11 | (off & 0xfc), value = 0;

	pci_port_access(&rig->rg_bus, 0xcf8, 4, true, &address);
	pci_port_access(&rig->rg_bus, 0xcfc + off % 4, bytes, false, &value);
	return value;
}

void
rig_cfg_write(struct rig *rig, unsigned int slot, unsigned int off, unsigned int bytes,
	      uint32_t value)
{
	uint32_t address = 0x80000000 | slot << 11 | (off & 0xfc);

	pci_port_access(&rig->rg_bus, 0xcf8, 4, true, &address);
	pci_port_access(&rig->rg_bus, 0xcfc + off % 4, bytes, true, &value);
}

static struct pci_bar *
bar_at(struct rig *rig, uint64_t gpa, uint64_t *off)
{
	for (unsigned int i = 0; i < RIG_BARS_MAX; i++) {
		struct pci_bar *const bar = rig->rg_bars[i].rb_bar;

		if (bar != NULL && gpa >= rig->rg_bars[i].rb_base &&
		    gpa - rig->rg_bars[i].rb_base < bar->bar_bytes) {
			*off = gpa - rig->rg_bars[i].rb_base;
			return bar;
		}
	}
	return NULL;
}

uint64_t
rig_read(struct rig *rig, uint64_t gpa, unsigned int bytes)
{
	uint64_t off, value = UINT64_MAX;
	struct pci_bar *const bar = bar_at(rig, gpa, &off);

	if (bar != NULL)
		pci_bar_access(bar, off, bytes, false, &value);
	return value;
}

void
rig_write(struct rig *rig, uint64_t gpa, unsigned int bytes, uint64_t value)
{
	uint64_t off;
	struct pci_bar *const bar = bar_at(rig, gpa, &off);

	if (bar != NULL)
		pci_bar_access(bar, off, bytes, true, &value);
}

/* With rg_lock held: false if nothing changed for a minute. */
static bool
wait_changed(struct rig *rig)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	return pthread_cond_timedwait(&rig->rg_changed, &rig->rg_lock, &until) == 0;
}

void
rig_wait_msis(struct rig *rig, unsigned int n)
{
	bool good = true;

	pthread_mutex_lock(&rig->rg_lock);
	while (good && rig->rg_nmsis < n)
		good = wait_changed(rig);
	pthread_mutex_unlock(&rig->rg_lock);
	cr_assert(good, "no interrupt came");
}

/* ---- The driver ------------------------------------------------------------------------------ */

static uint64_t
bar_base(struct rig *rig, unsigned int bar)
{
	const uint32_t low = rig_cfg_read(rig, RIG_SLOT, 0x10 + 4 * bar, 4);
	uint64_t base = low & ~0xfu;

	if ((low & 6) == 4)
		base |= (uint64_t)rig_cfg_read(rig, RIG_SLOT, 0x14 + 4 * bar, 4) << 32;
	return base;
}

void
drv_probe(struct drv *drv, struct rig *rig)
{
	unsigned int cap = rig_cfg_read(rig, RIG_SLOT, 0x34, 1);

	memset(drv, 0, sizeof(*drv));
	drv->dv_rig = rig;
	for (; cap != 0; cap = rig_cfg_read(rig, RIG_SLOT, cap + 1, 1)) {
		const uint64_t at = bar_base(rig, rig_cfg_read(rig, RIG_SLOT, cap + 4, 1)) +
				    rig_cfg_read(rig, RIG_SLOT, cap + 8, 4);

		if (rig_cfg_read(rig, RIG_SLOT, cap, 1) != 9)
			continue;
		switch (rig_cfg_read(rig, RIG_SLOT, cap + 3, 1)) {
		case 1:
			drv->dv_common = at;
			break;
		case 2:
			drv->dv_notify = at;
			drv->dv_notify_multiplier = rig_cfg_read(rig, RIG_SLOT, cap + 16, 4);
			break;
		case 3:
			drv->dv_isr = at;
			break;
		case 4:
			drv->dv_config = at;
			break;
		case 5:
			drv->dv_cap_pci = cap;
			break;
		}
	}
	cr_assert(drv->dv_common != 0 && drv->dv_notify != 0 && drv->dv_isr != 0 &&
		  drv->dv_config != 0 && drv->dv_cap_pci != 0);
}

uint64_t
drv_common(struct drv *drv, unsigned int off, unsigned int bytes)
{
	return rig_read(drv->dv_rig, drv->dv_common + off, bytes);
}

void
drv_set_common(struct drv *drv, unsigned int off, unsigned int bytes, uint64_t value)
{
	rig_write(drv->dv_rig, drv->dv_common + off, bytes, value);
}

uint8_t
drv_status(struct drv *drv)
{
	return (uint8_t)drv_common(drv, 0x14, 1);
}

/* MSI-X on: vector v sends 0xfee00000 with data 0x40 + v. */
static void
msix_on(struct rig *rig)
{
	unsigned int cap = rig_cfg_read(rig, RIG_SLOT, 0x34, 1);
	uint64_t table;

	while (rig_cfg_read(rig, RIG_SLOT, cap, 1) != 0x11)
		cap = rig_cfg_read(rig, RIG_SLOT, cap + 1, 1);
	table = bar_base(rig, rig_cfg_read(rig, RIG_SLOT, cap + 4, 1) & 7);
	for (unsigned int v = 0; v <= (rig_cfg_read(rig, RIG_SLOT, cap + 2, 2) & 0x7ff); v++) {
		rig_write(rig, table + 16 * v, 8, 0xfee00000);
		rig_write(rig, table + 16 * v + 8, 4, 0x40 + v);
		rig_write(rig, table + 16 * v + 12, 4, 0);
	}
	rig_cfg_write(rig, RIG_SLOT, cap + 2, 2, 0x8000);
}

static void
start_queue(struct drv *drv, unsigned int q)
{
	struct drv_queue *const dq = &drv->dv_queues[q];
	const uint64_t base = 0x10000ull * (q + 1);
	uint8_t *const mem = drv->dv_rig->rg_mem + base;

	memset(mem, 0, 0x3000);
	dq->dq_size = DRV_SIZE;
	dq->dq_seen = 0;
	dq->dq_desc = (struct drv_desc *)mem;
	dq->dq_avail = (uint16_t *)(mem + 0x1000);
	dq->dq_used = (uint16_t *)(mem + 0x2000);
	drv_set_common(drv, 0x16, 2, q);
	cr_assert_geq(drv_common(drv, 0x18, 2), DRV_SIZE);
	drv_set_common(drv, 0x18, 2, DRV_SIZE);
	drv_set_common(drv, 0x1a, 2, q);
	cr_assert_eq(drv_common(drv, 0x1a, 2), q);
	drv_set_common(drv, 0x20, 4, base);
	drv_set_common(drv, 0x24, 4, 0);
	drv_set_common(drv, 0x28, 4, base + 0x1000);
	drv_set_common(drv, 0x2c, 4, 0);
	drv_set_common(drv, 0x30, 8, base + 0x2000);
	drv_set_common(drv, 0x1c, 2, 1);
}

void
drv_start(struct drv *drv, uint64_t features, unsigned int nqueues)
{
	features |= 1ull << 32;
	rig_cfg_write(drv->dv_rig, RIG_SLOT, 4, 2, 6);
	msix_on(drv->dv_rig);
	drv_set_common(drv, 0x14, 1, 0);
	cr_assert_eq(drv_status(drv), 0);
	drv_set_common(drv, 0x14, 1, 1);
	drv_set_common(drv, 0x14, 1, 3);
	drv_set_common(drv, 0x08, 4, 0);
	drv_set_common(drv, 0x0c, 4, (uint32_t)features);
	drv_set_common(drv, 0x08, 4, 1);
	drv_set_common(drv, 0x0c, 4, features >> 32);
	drv_set_common(drv, 0x14, 1, 11);
	cr_assert_eq(drv_status(drv), 11, "features are refused");
	for (unsigned int q = 0; q < nqueues; q++)
		start_queue(drv, q);
	drv_set_common(drv, 0x14, 1, 15);
	cr_assert_eq(drv_status(drv), 15);
}

void
drv_kick(struct drv *drv, unsigned int q)
{
	drv_set_common(drv, 0x16, 2, q);
	rig_write(drv->dv_rig,
		  drv->dv_notify + drv_common(drv, 0x1e, 2) * drv->dv_notify_multiplier, 2, q);
}

void
drv_offer(struct drv *drv, unsigned int q, uint16_t head)
{
	struct drv_queue *const dq = &drv->dv_queues[q];
	const uint16_t index = dq->dq_avail[1];

	dq->dq_avail[2 + index % dq->dq_size] = head;
	__atomic_store_n(&dq->dq_avail[1], (uint16_t)(index + 1), __ATOMIC_RELEASE);
}

uint32_t
drv_used(struct drv *drv, unsigned int q, uint32_t *id)
{
	struct drv_queue *const dq = &drv->dv_queues[q];
	uint32_t entry[2];

	for (unsigned int tries = 0; tries < 60000; tries++) {
		if (__atomic_load_n(&dq->dq_used[1], __ATOMIC_ACQUIRE) != dq->dq_seen) {
			memcpy(entry, &dq->dq_used[2 + 4 * (dq->dq_seen++ % dq->dq_size)],
			       sizeof(entry));
			*id = entry[0];
			return entry[1];
		}
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	cr_assert_fail("the device does not answer");
	return 0;
}
