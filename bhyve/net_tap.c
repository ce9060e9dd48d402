/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A tap interface of the host's. Whether it is up, has an address or is part of a bridge is for the
 * host's administrator; a tap that does not exist is made, and goes when the machine ends.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net.h"

/* Frames taken in at once, so that the guest's own get their turn. */
#define TAP_ROUND 64

static int
tap_open(struct net *net, const char *word, struct conf *conf)
{
	struct ifreq request;
	int error;

	(void)conf;
	memset(&request, 0, sizeof(request));
	if (strlen(word) >= sizeof(request.ifr_name))
		return net_fail(net, -EINVAL, "%s: the name is too long", word);
	strcpy(request.ifr_name, word);
	request.ifr_flags = IFF_TAP | IFF_NO_PI;
	net->nt_fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (net->nt_fd == -1) {
		error = -errno;
		return net_fail(net, error, "/dev/net/tun: cannot be opened: %s%s",
				strerror(-error), error == -ENOENT ? " (modprobe tun)" : "");
	}
	if (ioctl(net->nt_fd, TUNSETIFF, &request) == 0)
		return 0;
	error = -errno;
	close(net->nt_fd);
	net->nt_fd = -1;
	return net_fail(net, error, "%s: cannot be used: %s%s", word, strerror(-error),
			error == -EBUSY	   ? " (another machine has it)"
			: error == -EPERM  ? " (root, or its owner, can)"
			: error == -EINVAL ? " (it is no tap)"
					   : "");
}

static void
tap_close(struct net *net)
{
	if (net->nt_fd != -1)
		close(net->nt_fd);
	net->nt_fd = -1;
}

static void
tap_send(struct net *net, const void *frame, size_t bytes)
{
	ssize_t done;

	/* A frame that the host has no room for, or does not like, is lost: it is a network. */
	do {
		done = write(net->nt_fd, frame, bytes);
	} while (done == -1 && errno == EINTR);
}

static unsigned int
tap_prepare(struct net *net, struct pollfd *fds, unsigned int room, int *timeout_ms,
	    bool can_receive)
{
	(void)room;
	(void)timeout_ms;
	/* With no room in the guest, frames wait in the tap's queue. */
	fds[0] = (struct pollfd){.fd = net->nt_fd, .events = can_receive ? POLLIN : 0};
	return 1;
}

static void
tap_poll(struct net *net, struct pollfd *fds, unsigned int n)
{
	char frame[NET_FRAME_MAX];

	(void)n;
	if ((fds[0].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0 && net->nt_fd != -1) {
		/* Somebody removed the interface. Not asked again, or poll() would never wait. */
		fprintf(stderr, "bhyve: a tap is gone: the guest's cable leads nowhere\n");
		tap_close(net);
	}
	if ((fds[0].revents & POLLIN) == 0 || net->nt_fd == -1)
		return;
	for (unsigned int i = 0; i < TAP_ROUND; i++) {
		const ssize_t bytes = read(net->nt_fd, frame, sizeof(frame));

		if (bytes <= 0 || !net->nt_receive(net->nt_receive_arg, frame, (size_t)bytes))
			break;
	}
}

const struct net_backend net_tap = {
	.nb_name = "tap",
	.nb_open = tap_open,
	.nb_close = tap_close,
	.nb_send = tap_send,
	.nb_prepare = tap_prepare,
	.nb_poll = tap_poll,
};
