/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * virtio-net: frames are written here byte by byte. Over libslirp: its gateway answers ARP, UDP
 * reaches a socket of this process and an answer comes back, and a connection to a forwarded port
 * arrives as a SYN. Over a tap, where the tests may make one: a frame comes in and one goes out.
 */

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rig.h"

#define RX 0
#define TX 1
#define RX_BUFFER(i) (0x80000u + 0x1000u * (i))
#define RX_BYTES 2048
#define TX_BUFFER 0x90000u
#define HEADER 12

static struct rig *rig;
static struct drv drv;
static uint8_t mac[6];

static void
end(void)
{
	if (rig != NULL)
		rig_free(rig);
	rig = NULL;
}

TestSuite(net, .fini = end);

static void
start_drv(void)
{
	drv_probe(&drv, rig);
	for (unsigned int i = 0; i < 6; i++)
		mac[i] = (uint8_t)rig_read(rig, drv.dv_config + i, 1);
	cr_assert_eq(rig_read(rig, drv.dv_config + 6, 2), 1, "the link is up");
	drv_start(&drv, 1 << 5 | 1 << 16, 2);
	for (uint16_t i = 0; i < DRV_SIZE; i++) {
		drv.dv_queues[RX].dq_desc[i] = (struct drv_desc){RX_BUFFER(i), RX_BYTES, 2, 0};
		drv_offer(&drv, RX, i);
	}
	drv_kick(&drv, RX);
}

static void
start(const char *what)
{
	rig = rig_new(what);
	start_drv();
}

static void
send_frame(const uint8_t *frame, uint32_t bytes)
{
	uint32_t id;

	memset(rig->rg_mem + TX_BUFFER, 0, HEADER);
	memcpy(rig->rg_mem + TX_BUFFER + HEADER, frame, bytes);
	drv.dv_queues[TX].dq_desc[0] = (struct drv_desc){TX_BUFFER, HEADER + bytes, 0, 0};
	drv_offer(&drv, TX, 0);
	drv_kick(&drv, TX);
	drv_used(&drv, TX, &id);
}

/* The next frame of that Ethernet type; its buffer is given back. */
static uint32_t
next_frame(uint16_t type, uint8_t *frame)
{
	for (;;) {
		uint32_t id, bytes = drv_used(&drv, RX, &id);

		cr_assert_geq(bytes, HEADER + 14);
		cr_assert_leq(bytes, RX_BYTES);
		cr_assert_eq(rig->rg_mem[RX_BUFFER(id) + 10], 1, "one buffer");
		bytes -= HEADER;
		memcpy(frame, rig->rg_mem + RX_BUFFER(id) + HEADER, bytes);
		drv_offer(&drv, RX, (uint16_t)id);
		drv_kick(&drv, RX);
		if (frame[12] == type >> 8 && frame[13] == (type & 0xff))
			return bytes;
	}
}

/* Who has 10.0.2.2? And so libslirp learns where 10.0.2.15 is. */
static void
arp(uint8_t *gateway)
{
	uint8_t frame[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, answer[RX_BYTES];
	static const uint8_t head[10] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
	static const uint8_t me[4] = {10, 0, 2, 15}, it[4] = {10, 0, 2, 2};

	memcpy(frame + 6, mac, 6);
	memcpy(frame + 12, head, sizeof(head));
	memcpy(frame + 22, mac, 6);
	memcpy(frame + 28, me, 4);
	memcpy(frame + 38, it, 4);
	send_frame(frame, 60);
	next_frame(0x0806, answer);
	cr_assert(memcmp(answer, mac, 6) == 0);
	cr_assert_eq(answer[21], 2, "a reply");
	cr_assert(memcmp(answer + 28, it, 4) == 0);
	memcpy(gateway, answer + 22, 6);
}

static void
put16(uint8_t *at, unsigned int value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static unsigned int
get16(const uint8_t *at)
{
	return (unsigned int)at[0] << 8 | at[1];
}

static uint32_t
udp_frame(uint8_t *frame, const uint8_t *gateway, unsigned int port, const char *text)
{
	const unsigned int bytes = (unsigned int)strlen(text);
	uint32_t sum = 0;
	uint8_t *const ip = frame + 14;

	memset(frame, 0, 200);
	memcpy(frame, gateway, 6);
	memcpy(frame + 6, mac, 6);
	put16(frame + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, 28 + bytes);
	ip[8] = 64;
	ip[9] = 17;
	memcpy(ip + 12, (const uint8_t[8]){10, 0, 2, 15, 10, 0, 2, 2}, 8);
	for (unsigned int i = 0; i < 20; i += 2)
		sum += get16(ip + i);
	sum = (sum & 0xffff) + (sum >> 16);
	put16(ip + 10, ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
	put16(ip + 20, 4000);
	put16(ip + 22, port);
	put16(ip + 24, 8 + bytes); /* and no checksum */
	memcpy(ip + 28, text, bytes);
	return 14 + 28 + bytes;
}

static int
host_socket(int type, struct sockaddr_in *address)
{
	const int fd = socket(AF_INET, type, 0);
	socklen_t n = sizeof(*address);
	const struct timeval minute = {.tv_sec = 60};

	*address = (struct sockaddr_in){.sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	cr_assert_neq(fd, -1);
	cr_assert_eq(bind(fd, (struct sockaddr *)address, n), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)address, &n), 0);
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &minute, sizeof(minute)), 0);
	return fd;
}

Test(net, user_mode_reaches_the_host_and_back)
{
	struct sockaddr_in host, from;
	socklen_t n = sizeof(from);
	uint8_t gateway[6], frame[200], answer[RX_BYTES];
	char text[32] = "";
	const int fd = host_socket(SOCK_DGRAM, &host);

	start("virtio-net,slirp,mac=02:11:22:33:44:55");
	cr_assert(memcmp(mac, "\x02\x11\x22\x33\x44\x55", 6) == 0);
	arp(gateway);
	send_frame(frame, udp_frame(frame, gateway, ntohs(host.sin_port), "from the guest"));
	cr_assert_eq(recvfrom(fd, text, sizeof(text), 0, (struct sockaddr *)&from, &n), 14);
	cr_assert_str_eq(text, "from the guest");
	cr_assert_eq(sendto(fd, "to it", 5, 0, (struct sockaddr *)&from, n), 5);
	next_frame(0x0800, answer);
	cr_assert_eq(get16(answer + 14 + 22), 4000);
	cr_assert(memcmp(answer + 14 + 28, "to it", 5) == 0);
	cr_assert_geq(rig->rg_nmsis, 1);
	close(fd);
}

Test(net, a_forwarded_port_leads_to_the_guest)
{
	struct sockaddr_in host;
	uint8_t gateway[6], frame[RX_BYTES];
	char what[100];
	int fd = host_socket(SOCK_STREAM, &host); /* a port that is free */

	close(fd);
	snprintf(what, sizeof(what), "virtio-net,slirp,hostfwd=tcp::%u-:22", ntohs(host.sin_port));
	start(what);
	arp(gateway);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	connect(fd, (struct sockaddr *)&host, sizeof(host));
	next_frame(0x0800, frame);
	cr_assert_eq(frame[14 + 9], 6, "TCP");
	cr_assert_eq(get16(frame + 14 + 22), 22);
	cr_assert_eq(frame[14 + 33] & 0x12, 2, "a SYN");
	close(fd);
}

Test(net, frames_that_make_no_sense_are_lost)
{
	uint8_t gateway[6], frame[200] = {0};

	start("virtio-net,slirp");
	cr_assert_eq(mac[0] & 1, 0);
	send_frame(frame, 0);
	send_frame(frame, 13);
	send_frame(frame, 14);
	memset(frame, 0xff, sizeof(frame));
	send_frame(frame, 200);
	arp(gateway);
	cr_assert_eq(drv_status(&drv), 15);
}

Test(net, buffers_that_are_too_small_stay)
{
	uint8_t gateway[6], frame[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	rig = rig_new("virtio-net,slirp");
	drv_probe(&drv, rig);
	drv_start(&drv, 0, 2);
	for (unsigned int i = 0; i < 6; i++)
		mac[i] = (uint8_t)rig_read(rig, drv.dv_config + i, 1);
	drv.dv_queues[RX].dq_desc[0] = (struct drv_desc){RX_BUFFER(0), 20, 2, 0};
	drv_offer(&drv, RX, 0);
	drv_kick(&drv, RX);
	memcpy(frame + 6, mac, 6);
	memcpy(frame + 12, (const uint8_t[10]){8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, 10);
	memcpy(frame + 22, mac, 6);
	memcpy(frame + 28, (const uint8_t[4]){10, 0, 2, 15}, 4);
	memcpy(frame + 38, (const uint8_t[4]){10, 0, 2, 2}, 4);
	send_frame(frame, 60); /* its answer finds no room */
	send_frame(frame, 60); /* by now the thread has seen it */
	cr_assert_eq(drv.dv_queues[RX].dq_used[1], 0);
	start_drv();
	arp(gateway);
}

Test(net, resets_under_load)
{
	uint8_t gateway[6], frame[200];

	start("virtio-net,slirp");
	arp(gateway);
	for (unsigned int round = 0; round < 50; round++) {
		const uint32_t bytes = udp_frame(frame, gateway, 9, "nobody is there");

		memcpy(rig->rg_mem + TX_BUFFER + HEADER, frame, bytes);
		for (uint16_t i = 0; i < DRV_SIZE; i++) {
			drv.dv_queues[TX].dq_desc[i] =
				(struct drv_desc){TX_BUFFER, HEADER + bytes, 0, 0};
			drv_offer(&drv, TX, i);
		}
		drv_kick(&drv, TX);
		drv_set_common(&drv, 0x14, 1, 0);
		memset(rig->rg_mem + 0x10000, 0, 0x20000); /* both queues' rings */
		drv_start(&drv, 0, 2);
		for (uint16_t i = 0; i < DRV_SIZE; i++) {
			drv.dv_queues[RX].dq_desc[i] =
				(struct drv_desc){RX_BUFFER(i), RX_BYTES, 2, 0};
			drv_offer(&drv, RX, i);
		}
		drv_kick(&drv, RX);
	}
	arp(gateway);
}

Test(net, options_that_make_no_sense_are_named)
{
	static const struct {
		const char *what;
		const char *says;
	} rows[] = {
		{"virtio-net", "needs tapN or slirp"},
		{"virtio-net,bridge0", "called 'bridge0'"},
		{"virtio-net,slirpy", "called 'slirpy'"},
		{"virtio-net,slirp,fast", "no option 'fast'"},
		{"virtio-net,slirp,mac=02:11:22:33:44", "mac=02:11:22:33:44"},
		{"virtio-net,slirp,mac=01:11:22:33:44:55", "the first even"},
		{"virtio-net,slirp,mac=02:11:22:33:44:5x", "six bytes"},
		{"virtio-net,slirp,hostfwd=tcp:22", "hostfwd=tcp:22"},
		{"virtio-net,slirp,hostfwd=sctp::1-:2", "tcp or udp"},
		{"virtio-net,slirp,hostfwd=tcp::0-:2", "tcp or udp"},
		{"virtio-net,slirp,hostfwd=tcp::1-:65536", "tcp or udp"},
		{"virtio-net,slirp,hostfwd=tcp:localhost:1-:2", "tcp or udp"},
		{"virtio-net,slirp,hostfwd=tcp::1-:2 ", "tcp or udp"},
		{"virtio-net,tap-with-a-long-name", "too long"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int error;

		rig = rig_try(rows[i].what, &error);
		cr_assert_eq(error, -EINVAL, "%s", rows[i].what);
		cr_assert(strstr(pci_why(&rig->rg_bus), rows[i].says) != NULL, "%s: %s",
			  rows[i].what, pci_why(&rig->rg_bus));
		rig_free(rig);
	}
	rig = NULL;
}

Test(net, a_tap_carries_frames)
{
	struct ifreq request = {.ifr_flags = IFF_UP};
	uint8_t frame[RX_BYTES];
	char what[40];
	int error;
	const int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (access("/proc/net/if_inet6", F_OK) != 0)
		cr_skip_test("a tap that comes up says nothing where there is no IPv6");
	snprintf(request.ifr_name, sizeof(request.ifr_name), "tap%d", (int)getpid());
	snprintf(what, sizeof(what), "virtio-net,%s", request.ifr_name);
	rig = rig_try(what, &error);
	if (error != 0) {
		cr_assert(error == -ENOENT || error == -EPERM || error == -EACCES ||
				  error == -ENODEV,
			  "%s", pci_why(&rig->rg_bus));
		close(fd);
		cr_skip_test("no tap can be made here");
	}
	start_drv();
	cr_assert_eq(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	/* An interface that comes up looks for its neighbors by IPv6. */
	next_frame(0x86dd, frame);
	close(fd);
}
