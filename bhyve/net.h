/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What is at the other end of a network device's cable. A backend belongs to one thread, which
 * opens it, polls for it, and makes all calls.
 */

#ifndef BHYVE_NET_H
#define BHYVE_NET_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf.h"

#define NET_FRAME_MAX 65536 /* bytes */
#define NET_POLLS_MAX 64

struct net;

struct net_backend {
	const char *nb_name; /* the word in -s, or how that begins: "tap" is tap0, too */
	int (*nb_open)(struct net *net, const char *word, struct conf *conf);
	void (*nb_close)(struct net *net);
	/* A frame of the guest's. What cannot be sent now is dropped. */
	void (*nb_send)(struct net *net, const void *frame, size_t bytes);
	/* Adds what it waits for; lowers *timeout_ms (-1: for ever). can_receive: a frame from
	 * outside would find room now. How many of fds it took. */
	unsigned int (*nb_prepare)(struct net *net, struct pollfd *fds, unsigned int room,
				   int *timeout_ms, bool can_receive);
	/* After poll(): the same fds. Calls nt_receive for frames. */
	void (*nb_poll)(struct net *net, struct pollfd *fds, unsigned int n);
};

extern const struct net_backend net_tap;
extern const struct net_backend net_slirp;

struct net {
	const struct net_backend *nt_backend;
	void *nt_arg; /* the backend's */
	int nt_fd;    /* likewise */
	/* The device's: a frame has come in. False: there is no room for more. */
	bool (*nt_receive)(void *arg, const void *frame, size_t bytes);
	void *nt_receive_arg;
	char nt_why[200];
};

/* By the first word of conf. 0 or -errno and nt_why. */
int net_open(struct net *net, struct conf *conf);
int net_fail(struct net *net, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif /* BHYVE_NET_H */
