/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A driver that means harm: random accesses to a device's configuration space and BARs, from two
 * threads at once, with rings full of random descriptors. Nothing of it may crash, hang or write
 * outside guest memory; and after a reset the device must work as if nothing had been.
 */

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"

#define OPS 20000

struct attack {
	struct rig *at_rig;
	const struct drv *at_drv;
	uint64_t at_state;
	unsigned int at_queue;
	unsigned int at_done; /* times that chains of that queue came back */
};

/* Each broken queue would be a line on stderr. */
static int saved_stderr;

static uint32_t
draw(struct attack *at, uint32_t n)
{
	at->at_state = at->at_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(at->at_state >> 33) % n;
}

/* Descriptors, heads and indices that are plausible more often than not. */
static void
scribble(struct attack *at)
{
	for (unsigned int q = 0; q < 2; q++) {
		const uint64_t base = 0x10000ull * (q + 1);
		struct drv_desc *const desc = (struct drv_desc *)(at->at_rig->rg_mem + base);
		volatile uint16_t *const avail =
			(volatile uint16_t *)(at->at_rig->rg_mem + base + 0x1000);
		const uint32_t index = draw(at, DRV_SIZE);
		struct drv_desc d = {
			.dd_gpa = 0x80000 + draw(at, draw(at, 20) == 0 ? 0x90000 : 0x60000),
			.dd_bytes = draw(at, 4) == 0 ? draw(at, 0x20000) : draw(at, 600),
			.dd_flags = (uint16_t)draw(at, draw(at, 30) == 0 ? 8 : 4),
			.dd_next = (uint16_t)draw(at, DRV_SIZE + (draw(at, 100) == 0)),
		};

		/* Mostly pairs, something to read and something to write. */
		if (draw(at, 8) != 0) {
			d.dd_flags = index % 2 == 0 ? 1 : 2;
			d.dd_next = (uint16_t)(index + 1);
		}
		memcpy(&desc[index], &d, sizeof(d));
		avail[2 + draw(at, DRV_SIZE)] = (uint16_t)draw(at, DRV_SIZE);
		avail[1] = (uint16_t)(avail[1] + draw(at, draw(at, 100) == 0 ? 20 : 2));
	}
}

/* What a good driver does, if nobody is in its way. */
static void
restart(struct attack *at)
{
	struct rig *const rig = at->at_rig;
	const uint64_t common = at->at_drv->dv_common;

	rig_cfg_write(rig, RIG_SLOT, 4, 2, 6);
	rig_write(rig, common + 0x14, 1, 0);
	memset(rig->rg_mem + 0x10000, 0, 0x20000); /* both queues' rings */
	rig_write(rig, common + 0x14, 1, 3);
	rig_write(rig, common + 0x08, 4, 0);
	rig_write(rig, common + 0x0c, 4, draw(at, 2) << 28 | draw(at, 2) << 29);
	rig_write(rig, common + 0x08, 4, 1);
	rig_write(rig, common + 0x0c, 4, 1);
	rig_write(rig, common + 0x14, 1, 11);
	for (unsigned int q = 0; q < 2; q++) {
		rig_write(rig, common + 0x16, 2, q);
		rig_write(rig, common + 0x18, 2, DRV_SIZE);
		for (unsigned int i = 0; i < 3; i++)
			rig_write(rig, common + 0x20 + 8 * i, 8, 0x10000 * (q + 1) + 0x1000 * i);
		rig_write(rig, common + 0x1c, 2, 1);
	}
	rig_write(rig, common + 0x14, 1, 15);
}

static void
poke(struct attack *at)
{
	const struct drv *const drv = at->at_drv;
	struct rig *const rig = at->at_rig;

	switch (draw(at, 100)) {
	case 0:
	case 1:
	case 2:
		restart(at);
		break;
	case 3:
		rig_write(rig, drv->dv_common + draw(at, 0x40), 1u << draw(at, 4), draw(at, 256));
		break;
	case 4: /* a status that leads somewhere */
		rig_write(rig, drv->dv_common + 0x14, 1, draw(at, 16));
		break;
	case 5:
		rig_write(rig, drv->dv_common + 0x16, 2, draw(at, 3));
		break;
	case 6:
		rig_read(rig, drv->dv_common + draw(at, 0x4000), 1u << draw(at, 4));
		break;
	case 7:
		/* Not the BARs: what follows would reach nothing. */
		rig_cfg_write(rig, RIG_SLOT, 0x28 + draw(at, 54) * 4, 4, draw(at, UINT32_MAX));
		rig_cfg_write(rig, RIG_SLOT, 4, 2, draw(at, 8) == 0 ? 2 : 6);
		break;
	case 8:
		rig_cfg_read(rig, RIG_SLOT, draw(at, 64) * 4, 4);
		break;
	default:
		scribble(at);
		rig_write(rig, drv->dv_notify + 4 * draw(at, 3), 2, 0);
		break;
	}
}

static void *
attack(void *arg)
{
	struct attack *const at = arg;
	const volatile uint16_t *const used =
		(const volatile uint16_t *)(at->at_rig->rg_mem + 0x12000 + 0x10000 * at->at_queue);

	for (unsigned int i = 0; i < OPS; i++) {
		const uint16_t before = used[1];

		poke(at);
		at->at_done += used[1] != before;
	}
	return NULL;
}

/* BARs go back to their places, by a reset of the machine; then a chain must come through. */
static void
survives(const char *what, unsigned int nqueues, unsigned int q, struct drv_desc desc)
{
	struct rig *const rig = rig_new(what);
	struct drv drv;
	struct attack attacks[2];
	pthread_t thread;
	uint32_t id;

	drv_probe(&drv, rig);
	for (unsigned int i = 0; i < 2; i++)
		attacks[i] = (struct attack){
			.at_rig = rig, .at_drv = &drv, .at_state = i + 1, .at_queue = q};
	drv_start(&drv, 0, nqueues);
	pthread_create(&thread, NULL, attack, &attacks[0]);
	attack(&attacks[1]);
	pthread_join(thread, NULL);
	cr_assert_gt(attacks[0].at_done + attacks[1].at_done, 0, "nothing came through");
	pci_bus_reset(&rig->rg_bus);
	memset(rig->rg_mem, 0, RIG_MEM_BYTES);
	drv_probe(&drv, rig);
	drv_start(&drv, 0, nqueues);
	drv.dv_queues[q].dq_desc[0] = desc;
	drv_offer(&drv, q, 0);
	drv_kick(&drv, q);
	drv_used(&drv, q, &id);
	cr_assert_eq(id, 0);
	cr_assert_eq(drv_status(&drv), 15);
	rig_free(rig);
}

static void
begin(void)
{
	const int nowhere = open("/dev/null", O_WRONLY);

	saved_stderr = dup(STDERR_FILENO);
	dup2(nowhere, STDERR_FILENO);
	close(nowhere);
}

static void
end(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
}

TestSuite(hostile, .init = begin, .fini = end, .timeout = 100);

Test(hostile, rnd)
{
	survives("virtio-rnd", 1, 0, (struct drv_desc){0x80000, 64, 2, 0});
}

Test(hostile, console)
{
	survives("virtio-console,file=/dev/null", 2, 1, (struct drv_desc){0x80000, 64, 0, 0});
}

Test(hostile, net)
{
	survives("virtio-net,slirp,restrict", 2, 1, (struct drv_desc){0x80000, 100, 0, 0});
}

Test(hostile, blk)
{
	char path[] = "test-hostile-XXXXXX", what[60];
	const int fd = mkstemp(path);
	struct rig *rig;
	struct drv drv;
	uint32_t id;

	cr_assert_eq(ftruncate(fd, 1 << 20), 0);
	snprintf(what, sizeof(what), "virtio-blk,%s", path);
	rig = rig_new(what);
	drv_probe(&drv, rig);
	for (unsigned int round = 0; round < 2; round++) {
		struct attack attacks[2];
		pthread_t thread;

		drv_start(&drv, 0, 1);
		for (unsigned int i = 0; i < 2; i++)
			attacks[i] = (struct attack){
				.at_rig = rig, .at_drv = &drv, .at_state = 10 * round + i};
		pthread_create(&thread, NULL, attack, &attacks[0]);
		attack(&attacks[1]);
		pthread_join(thread, NULL);
		pci_bus_reset(&rig->rg_bus);
		memset(rig->rg_mem, 0, RIG_MEM_BYTES);
		drv_start(&drv, 1 << 9, 1);
		rig->rg_mem[0x80000] = 4; /* a flush */
		drv.dv_queues[0].dq_desc[0] = (struct drv_desc){0x80000, 16, 1, 1};
		drv.dv_queues[0].dq_desc[1] = (struct drv_desc){0x81000, 1, 2, 0};
		rig->rg_mem[0x81000] = 0xee;
		drv_offer(&drv, 0, 0);
		drv_kick(&drv, 0);
		drv_used(&drv, 0, &id);
		cr_assert_eq(rig->rg_mem[0x81000], 0);
	}
	rig_free(rig);
	close(fd);
	unlink(path);
}
