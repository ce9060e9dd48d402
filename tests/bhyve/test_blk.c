/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * virtio-blk over files: what is written is in the file and comes back, also by O_DIRECT and in odd
 * segments; requests that are wrong fail alone; a reset under load leaves nothing behind.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"

#define DISK_SECTORS 2048u
#define HEAD 0x90000u
#define STATUS 0x91000u
#define DATA 0xa0000u

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };

static char path[] = "test-blk-XXXXXX";
static int fd;
static struct rig *rig;
static struct drv drv;

static void
begin(void)
{
	strcpy(path, "test-blk-XXXXXX");
	fd = mkstemp(path);
	cr_assert_neq(fd, -1);
	cr_assert_eq(ftruncate(fd, DISK_SECTORS * 512), 0);
	rig = NULL;
}

static void
end(void)
{
	if (rig != NULL)
		rig_free(rig);
	close(fd);
	unlink(path);
}

TestSuite(blk, .init = begin, .fini = end);

static void
start(const char *options, uint64_t features)
{
	char what[100];

	snprintf(what, sizeof(what), "virtio-blk,%s%s", path, options);
	rig = rig_new(what);
	drv_probe(&drv, rig);
	drv_start(&drv, features, 1);
}

static void
fails(const char *what, int error, const char *says)
{
	int got;

	rig = rig_try(what, &got);
	cr_assert_eq(got, error, "%s: %d", what, got);
	cr_assert(strstr(pci_why(&rig->rg_bus), says) != NULL, "%s: %s", what,
		  pci_why(&rig->rg_bus));
	rig_free(rig);
	rig = NULL;
}

/* One request with data in [DATA, DATA + bytes); its status. */
static uint8_t
request(uint32_t type, uint64_t sector, uint32_t bytes, bool in)
{
	struct drv_desc *const desc = drv.dv_queues[0].dq_desc;
	uint32_t id;

	memcpy(rig->rg_mem + HEAD, &type, 4);
	memcpy(rig->rg_mem + HEAD + 8, &sector, 8);
	rig->rg_mem[STATUS] = 0xee;
	desc[0] = (struct drv_desc){HEAD, 16, 1, 1};
	desc[1] = (struct drv_desc){DATA, bytes, (uint16_t)(1 | (in ? 2 : 0)), 2};
	desc[2] = (struct drv_desc){STATUS, 1, 2, 0};
	drv_offer(&drv, 0, 0);
	drv_kick(&drv, 0);
	drv_used(&drv, 0, &id);
	cr_assert_eq(id, 0);
	return rig->rg_mem[STATUS];
}

static void
pattern(uint8_t *at, size_t bytes, unsigned int seed)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(i * 7 + i / 251 + seed);
}

static void
write_and_read(void)
{
	static uint8_t wanted[0x8000], got[0x8000];

	pattern(wanted, sizeof(wanted), 1);
	memcpy(rig->rg_mem + DATA, wanted, sizeof(wanted));
	cr_assert_eq(request(OUT, 8, sizeof(wanted), false), 0);
	cr_assert_eq(request(FLUSH, 0, 0, false), 0);
	cr_assert_eq(pread(fd, got, sizeof(got), 8 * 512), (ssize_t)sizeof(got));
	cr_assert(memcmp(got, wanted, sizeof(got)) == 0);
	memset(rig->rg_mem + DATA, 0, sizeof(wanted) + 1);
	cr_assert_eq(request(IN, 8, sizeof(wanted), true), 0);
	cr_assert(memcmp(rig->rg_mem + DATA, wanted, sizeof(wanted)) == 0);
	cr_assert_eq(rig->rg_mem[DATA + sizeof(wanted)], 0);
}

Test(blk, what_is_written_comes_back)
{
	start(",ser=disk-1", 1 << 9);
	cr_assert_eq(rig_read(rig, drv.dv_config, 8), DISK_SECTORS);
	cr_assert_eq(rig_read(rig, drv.dv_config + 20, 4), 512);
	write_and_read();
	cr_assert_eq(request(GET_ID, 0, 20, true), 0);
	cr_assert(memcmp(rig->rg_mem + DATA, "disk-1\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20) == 0);
	rig_wait_msis(rig, 1);
}

Test(blk, and_through_a_buffer_of_ours)
{
	int error;
	char what[100];

	/* Not every file system takes O_DIRECT; then the sentence is what there is to see. */
	snprintf(what, sizeof(what), "virtio-blk,%s,nocache", path);
	rig = rig_try(what, &error);
	if (error != 0) {
		cr_assert(strstr(pci_why(&rig->rg_bus), "nocache") != NULL ||
				  strstr(pci_why(&rig->rg_bus), "opened") != NULL,
			  "%s", pci_why(&rig->rg_bus));
		return;
	}
	drv_probe(&drv, rig);
	drv_start(&drv, 0, 1);
	write_and_read();
}

Test(blk, a_driver_without_flush_writes_through)
{
	start("", 0);
	write_and_read();
}

Test(blk, data_in_odd_segments)
{
	struct drv_desc *desc;
	const uint64_t sector = 5;
	const uint32_t type = OUT;
	uint8_t wanted[1024], got[1024];
	uint32_t id;

	start("", 0);
	/* The header in two parts, the second with the first data; the status with the last. */
	desc = drv.dv_queues[0].dq_desc;
	pattern(wanted, sizeof(wanted), 9);
	memcpy(rig->rg_mem + HEAD, &type, 4);
	memset(rig->rg_mem + HEAD + 4, 0, 4);
	memcpy(rig->rg_mem + DATA, &sector, 8);
	memcpy(rig->rg_mem + DATA + 8, wanted, 100);
	memcpy(rig->rg_mem + DATA + 0x1000, wanted + 100, 1);
	memcpy(rig->rg_mem + DATA + 0x2003, wanted + 101, 923);
	desc[0] = (struct drv_desc){HEAD, 8, 1, 1};
	desc[1] = (struct drv_desc){DATA, 108, 1, 2};
	desc[2] = (struct drv_desc){DATA + 0x1000, 1, 1, 3};
	desc[3] = (struct drv_desc){DATA + 0x2003, 923, 1, 4};
	desc[4] = (struct drv_desc){STATUS, 1, 2, 0};
	drv_offer(&drv, 0, 0);
	drv_kick(&drv, 0);
	cr_assert_eq(drv_used(&drv, 0, &id), 1);
	cr_assert_eq(rig->rg_mem[STATUS], 0);
	cr_assert_eq(pread(fd, got, sizeof(got), 5 * 512), (ssize_t)sizeof(got));
	cr_assert(memcmp(got, wanted, sizeof(got)) == 0);

	rig->rg_mem[HEAD] = IN;
	memcpy(rig->rg_mem + HEAD + 8, &sector, 8);
	desc[0] = (struct drv_desc){HEAD, 16, 1, 1};
	desc[1] = (struct drv_desc){DATA + 0x3001, 3, 3, 2};
	desc[2] = (struct drv_desc){DATA + 0x4000, 1022, 2, 0}; /* 1021, and the status */
	drv_offer(&drv, 0, 0);
	drv_kick(&drv, 0);
	cr_assert_eq(drv_used(&drv, 0, &id), 1025);
	cr_assert(memcmp(rig->rg_mem + DATA + 0x3001, wanted, 3) == 0);
	cr_assert(memcmp(rig->rg_mem + DATA + 0x4000, wanted + 3, 1021) == 0);
	cr_assert_eq(rig->rg_mem[DATA + 0x4000 + 1021], 0);
}

Test(blk, holes)
{
	const struct {
		uint64_t sector;
		uint32_t sectors, flags;
	} range = {16, 8, 0};
	uint8_t got[16 * 512], ones[16 * 512];

	start("", 1 << 13 | 1 << 14);
	memset(ones, 1, sizeof(ones));
	cr_assert_eq(pwrite(fd, ones, sizeof(ones), 16 * 512), (ssize_t)sizeof(ones));
	memcpy(rig->rg_mem + DATA, &range, 16);
	cr_assert_eq(request(WRITE_ZEROES, 0, 16, false), 0);
	cr_assert_eq(pread(fd, got, sizeof(got), 16 * 512), (ssize_t)sizeof(got));
	cr_assert(got[0] == 0 && got[8 * 512 - 1] == 0 && got[8 * 512] == 1);
	cr_assert_eq(request(DISCARD, 0, 16, false), 0);
	rig->rg_mem[DATA + 12] = 1; /* unmap: for zeroes only */
	cr_assert_eq(request(WRITE_ZEROES, 0, 16, false), 0);
	cr_assert_eq(request(DISCARD, 0, 16, false), 2);
	rig->rg_mem[DATA + 12] = 2;
	cr_assert_eq(request(WRITE_ZEROES, 0, 16, false), 2);
	rig->rg_mem[DATA + 12] = 0;
	cr_assert_eq(request(WRITE_ZEROES, 0, 15, false), 1);
	memset(rig->rg_mem + DATA, 0xff, 12);
	cr_assert_eq(request(WRITE_ZEROES, 0, 16, false), 1);
	cr_assert_eq(lseek(fd, 0, SEEK_END), DISK_SECTORS * 512);
}

Test(blk, wrong_requests_fail_alone)
{
	start("", 0);
	cr_assert_eq(request(IN, DISK_SECTORS, 512, true), 1);
	cr_assert_eq(request(IN, DISK_SECTORS - 1, 1024, true), 1);
	cr_assert_eq(request(IN, UINT64_MAX, 512, true), 1);
	cr_assert_eq(request(IN, UINT64_MAX / 512, 512, true), 1);
	cr_assert_eq(request(OUT, 0, 100, false), 1);
	cr_assert_eq(request(99, 0, 512, true), 2);
	cr_assert_eq(request(GET_ID, 0, 19, true), 1);
	cr_assert_eq(request(IN, DISK_SECTORS - 1, 512, true), 0);
	cr_assert_eq(drv_status(&drv), 15);
	/* A chain without room for a status cannot even fail. */
	drv.dv_queues[0].dq_desc[0] = (struct drv_desc){HEAD, 16, 0, 0};
	drv_offer(&drv, 0, 0);
	drv_kick(&drv, 0);
	cr_assert_eq(drv_status(&drv), 15 | 0x40);
}

Test(blk, read_only_is_kept)
{
	start(",ro", 0);
	drv_set_common(&drv, 0, 4, 0);
	cr_assert_eq(drv_common(&drv, 4, 4) >> 5 & 1, 1);
	cr_assert_eq(request(OUT, 0, 512, false), 1);
	cr_assert_eq(request(DISCARD, 0, 16, false), 1);
	cr_assert_eq(request(IN, 0, 512, true), 0);
}

Test(blk, options_that_make_no_sense_are_named)
{
	char what[100];

	fails("virtio-blk", -EINVAL, "needs a file");
	fails("virtio-blk,/nonexistent/disk", -ENOENT, "/nonexistent/disk: cannot be opened");
	fails("virtio-blk,/dev/null", -EINVAL, "neither a file nor a block device");
	snprintf(what, sizeof(what), "virtio-blk,%s,sectorsize=1000", path);
	fails(what, -EINVAL, "512 or 4096");
	snprintf(what, sizeof(what), "virtio-blk,%s,fast", path);
	fails(what, -EINVAL, "no option 'fast'");
	snprintf(what, sizeof(what), "virtio-blk,%s,ser=123456789012345678901", path);
	fails(what, -EINVAL, "at most 20");
	cr_assert_eq(ftruncate(fd, 1000), 0);
	snprintf(what, sizeof(what), "virtio-blk,%s", path);
	fails(what, -EINVAL, "this has 1000");
	cr_assert_eq(ftruncate(fd, 0), 0);
	fails(what, -EINVAL, "this has 0");
}

Test(blk, a_disk_has_one_writer)
{
	char what[100];
	struct rig *second;
	int error;

	start("", 0);
	snprintf(what, sizeof(what), "virtio-blk,%s,ro", path);
	second = rig_try(what, &error);
	cr_assert_eq(error, -EBUSY);
	cr_assert(strstr(pci_why(&second->rg_bus), "another machine uses it") != NULL);
	rig_free(second);
}

Test(blk, a_reset_under_load)
{
	start("", 0);
	for (unsigned int round = 0; round < 50; round++) {
		struct drv_desc *const desc = drv.dv_queues[0].dq_desc;
		uint64_t zero = 0;

		memcpy(rig->rg_mem + HEAD, &zero, 8);
		memcpy(rig->rg_mem + HEAD + 8, &zero, 8);
		desc[0] = (struct drv_desc){HEAD, 16, 1, 1};
		desc[1] = (struct drv_desc){DATA, 0x8000, 3, 2};
		desc[2] = (struct drv_desc){STATUS, 1, 2, 0};
		for (unsigned int i = 0; i < 8; i++)
			drv_offer(&drv, 0, 0);
		drv_kick(&drv, 0);
		drv_set_common(&drv, 0x14, 1, 0);
		/* From here on the memory is the driver's. */
		memset(rig->rg_mem + DATA, 0x5a, 0x8000);
		drv_start(&drv, 0, 1);
		for (unsigned int i = 0; i < 0x8000; i += 512)
			cr_assert_eq(rig->rg_mem[DATA + i], 0x5a);
	}
	cr_assert_eq(request(IN, 0, 512, true), 0);
}
