/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * virtio-console over a socket and a file: bytes both ways, clients that come and go, output that
 * nobody takes.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "rig.h"

#define RX 0
#define TX 1
#define IN 0x80000u
#define OUT 0x90000u

static struct rig *rig;
static struct drv drv;
static char path[40];

static void
begin(void)
{
	snprintf(path, sizeof(path), "test-console-%d", (int)getpid());
	unlink(path);
}

static void
end(void)
{
	if (rig != NULL)
		rig_free(rig);
	rig = NULL;
	unlink(path);
}

TestSuite(console, .init = begin, .fini = end);

static void
start(const char *kind)
{
	char what[80];

	snprintf(what, sizeof(what), "virtio-console,%s=%s", kind, path);
	rig = rig_new(what);
	drv_probe(&drv, rig);
	drv_start(&drv, 0, 2);
}

/* Returns when the device has dealt with it. */
static void
print(const char *text)
{
	uint32_t id;

	strcpy((char *)rig->rg_mem + OUT, text);
	drv.dv_queues[TX].dq_desc[0] = (struct drv_desc){OUT, (uint32_t)strlen(text), 0, 0};
	drv_offer(&drv, TX, 0);
	drv_kick(&drv, TX);
	drv_used(&drv, TX, &id);
}

static void
offer_input(uint32_t bytes)
{
	drv.dv_queues[RX].dq_desc[0] = (struct drv_desc){IN, bytes, 2, 0};
	drv_offer(&drv, RX, 0);
	drv_kick(&drv, RX);
}

static int
connect_to(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval minute = {.tv_sec = 60};
	const int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &minute, sizeof(minute));
	return fd;
}

static void
expect(int fd, const char *text)
{
	char got[64] = "";
	size_t n = 0;

	while (n < strlen(text)) {
		const ssize_t part = read(fd, got + n, strlen(text) - n);

		cr_assert_gt(part, 0, "it ends after '%s'", got);
		n += (size_t)part;
	}
	cr_assert_str_eq(got, text);
}

Test(console, bytes_go_both_ways)
{
	uint32_t id;
	int fd, second;
	char byte;

	start("socket");
	print("lost: nobody is there\n");
	fd = connect_to();
	offer_input(16);
	cr_assert_eq(write(fd, "ls\n", 3), 3);
	cr_assert_eq(drv_used(&drv, RX, &id), 3);
	cr_assert(memcmp(rig->rg_mem + IN, "ls\n", 4) == 0);
	print("bin etc\n");
	expect(fd, "bin etc\n");
	/* More than the guest has room for waits. */
	cr_assert_eq(write(fd, "abcdef", 6), 6);
	offer_input(4);
	cr_assert_eq(drv_used(&drv, RX, &id), 4);
	offer_input(4);
	cr_assert_eq(drv_used(&drv, RX, &id), 2);
	cr_assert(memcmp(rig->rg_mem + IN, "efcd", 4) == 0);

	/* A second client is sent away; and another is served when the first is gone. */
	second = connect_to();
	cr_assert_eq(read(second, &byte, 1), 0);
	close(second);
	close(fd);
	fd = connect_to();
	offer_input(4);
	cr_assert_eq(write(fd, "hi", 2), 2);
	cr_assert_eq(drv_used(&drv, RX, &id), 2);
	print("again\n");
	expect(fd, "again\n");
	close(fd);
	rig_free(rig);
	rig = NULL;
	cr_assert_neq(access(path, F_OK), 0, "the socket's name is left");
}

Test(console, a_file_gets_all_of_it)
{
	char line[100], *got;
	uint32_t id;
	ssize_t n;
	int fd;

	start("file");
	for (unsigned int i = 0; i < 100; i++) {
		snprintf(line, sizeof(line), "line %u\n", i);
		print(line);
	}
	/* One chain of many segments, far more than a piece. */
	memset(rig->rg_mem + OUT, 'x', 0x8000);
	for (uint16_t i = 0; i < 4; i++)
		drv.dv_queues[TX].dq_desc[i] =
			(struct drv_desc){OUT + 0x2000u * i, 0x2000, i < 3, (uint16_t)(i + 1)};
	drv_offer(&drv, TX, 0);
	drv_kick(&drv, TX);
	drv_used(&drv, TX, &id);
	fd = open(path, O_RDONLY);
	got = calloc(1, 0x10000);
	n = read(fd, got, 0xffff);
	close(fd);
	cr_assert_eq(n, 790 + 0x8000);
	cr_assert(memcmp(got, "line 0\nline 1\n", 14) == 0);
	cr_assert(memcmp(got + 782, "line 99\nxxx", 11) == 0);
	cr_assert_eq(strspn(got + 790, "x"), 0x8000);
	free(got);
}

Test(console, resets_under_load)
{
	start("file");
	for (unsigned int round = 0; round < 50; round++) {
		for (uint16_t i = 0; i < DRV_SIZE; i++) {
			drv.dv_queues[TX].dq_desc[i] = (struct drv_desc){OUT, 0x4000, 0, 0};
			drv_offer(&drv, TX, i);
		}
		drv_kick(&drv, TX);
		drv_start(&drv, 0, 2);
		cr_assert_eq(drv.dv_queues[TX].dq_used[1], 0);
	}
	print("end\n");
}

Test(console, options_that_make_no_sense_are_named)
{
	int error;

	rig = rig_try("virtio-console,tty1", &error);
	cr_assert_eq(error, -EINVAL);
	cr_assert(strstr(pci_why(&rig->rg_bus), "'tty1' is none of") != NULL);
	rig_free(rig);
	rig = rig_try("virtio-console,file=/nonexistent/file", &error);
	cr_assert_eq(error, -ENOENT);
	rig_free(rig);
	rig = rig_try("virtio-console,socket=/nonexistent/socket", &error);
	cr_assert_eq(error, -ENOENT);
	cr_assert(strstr(pci_why(&rig->rg_bus), "/nonexistent/socket") != NULL);
}

Test(console, a_file_is_not_taken_for_a_socket)
{
	char what[80];
	struct stat st;
	int error;

	close(open(path, O_CREAT | O_WRONLY, 0600));
	snprintf(what, sizeof(what), "virtio-console,socket=%s", path);
	rig = rig_try(what, &error);
	cr_assert_eq(error, -EADDRINUSE);
	cr_assert_eq(stat(path, &st), 0, "it was removed");
}
