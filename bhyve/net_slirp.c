/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A network in user space, by libslirp: the guest is 10.0.2.15 by DHCP, the host 10.0.2.2, a name
 * server 10.0.2.3; TCP and UDP to anywhere are made by sockets of bhyve's, and need no rights.
 * hostfwd=tcp:[HOST]:PORT-[GUEST]:PORT hands connections to a port of the host on to the guest.
 *
 * libslirp has no lock: everything happens on the device's thread, its timers too.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net.h"

struct timer {
	struct timer *tm_next;
	SlirpTimerCb tm_fn;
	void *tm_arg;
	int64_t tm_expires_ms; /* -1: not set */
};

struct user {
	struct net *us_net;
	Slirp *us_slirp;
	struct timer *us_timers;
	/* While poll's table is made and read. */
	struct pollfd *us_fds;
	unsigned int us_nfds;
	unsigned int us_room;
};

/* ---- What libslirp asks of us ---------------------------------------------------------------- */

static ssize_t
send_packet(const void *frame, size_t bytes, void *opaque)
{
	struct user *const us = opaque;

	us->us_net->nt_receive(us->us_net->nt_receive_arg, frame, bytes);
	return (ssize_t)bytes;
}

static void
guest_error(const char *message, void *opaque)
{
	(void)message; /* the guest's mistake is the guest's to tell */
	(void)opaque;
}

static int64_t
clock_get_ns(void *opaque)
{
	struct timespec now;

	(void)opaque;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void *
timer_new(SlirpTimerCb fn, void *arg, void *opaque)
{
	struct user *const us = opaque;
	struct timer *const timer = calloc(1, sizeof(*timer));

	if (timer == NULL)
		return NULL;
	*timer = (struct timer){
		.tm_next = us->us_timers, .tm_fn = fn, .tm_arg = arg, .tm_expires_ms = -1};
	us->us_timers = timer;
	return timer;
}

static void
timer_free(void *which, void *opaque)
{
	struct user *const us = opaque;

	for (struct timer **at = &us->us_timers; *at != NULL; at = &(*at)->tm_next) {
		if (*at == which) {
			*at = (*at)->tm_next;
			free(which);
			return;
		}
	}
}

static void
timer_mod(void *which, int64_t expires_ms, void *opaque)
{
	struct timer *const timer = which;

	(void)opaque;
	if (timer != NULL)
		timer->tm_expires_ms = expires_ms;
}

static void
poll_fd(int fd, void *opaque)
{
	(void)fd; /* they come by slirp_pollfds_fill() */
	(void)opaque;
}

static void
notify(void *opaque)
{
	(void)opaque; /* it is this thread that calls */
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_get_ns,
	.timer_new = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = poll_fd,
	.unregister_poll_fd = poll_fd,
	.notify = notify,
};

/* ---- Forwarding ------------------------------------------------------------------------------ */

/* "[address]:port", the first being optional; *text behind it. */
static bool
parse_end(const char **text, char stop, struct in_addr *address, int *port)
{
	const char *const colon = strchr(*text, ':');
	char name[INET_ADDRSTRLEN];
	char *after;
	long number;

	if (colon == NULL || (size_t)(colon - *text) >= sizeof(name))
		return false;
	memcpy(name, *text, (size_t)(colon - *text));
	name[colon - *text] = '\0';
	if (name[0] != '\0' && inet_pton(AF_INET, name, address) != 1)
		return false;
	if (colon[1] < '0' || colon[1] > '9')
		return false;
	number = strtol(colon + 1, &after, 10);
	if (*after != stop || number < 1 || number > 65535)
		return false;
	*port = (int)number;
	*text = stop == '\0' ? after : after + 1;
	return true;
}

static int
add_forward(struct user *us, const char *text)
{
	struct in_addr host = {.s_addr = htonl(INADDR_LOOPBACK)}, guest = {.s_addr = 0};
	int host_port, guest_port;
	const char *at = text + 4;
	const bool udp = strncmp(text, "udp:", 4) == 0;

	if ((!udp && strncmp(text, "tcp:", 4) != 0) || !parse_end(&at, '-', &host, &host_port) ||
	    !parse_end(&at, '\0', &guest, &guest_port))
		return net_fail(us->us_net, -EINVAL,
				"hostfwd=%s: it is tcp or udp, then :[host]:port-[guest]:port",
				text);
	if (guest.s_addr == 0)
		guest.s_addr = inet_addr("10.0.2.15");
	if (slirp_add_hostfwd(us->us_slirp, udp, host, host_port, guest, guest_port) == 0)
		return 0;
	return net_fail(us->us_net, -EADDRINUSE, "hostfwd=%s: the port of the host is in use",
			text);
}

/* ---- The backend ----------------------------------------------------------------------------- */

static void
slirp_net_close(struct net *net)
{
	struct user *const us = net->nt_arg;

	slirp_cleanup(us->us_slirp);
	while (us->us_timers != NULL)
		timer_free(us->us_timers, us);
	free(us);
	net->nt_arg = NULL;
}

static int
slirp_net_open(struct net *net, const char *word, struct conf *conf)
{
	const SlirpConfig config = {
		.version = 1,
		.in_enabled = true,
		.vnetwork.s_addr = inet_addr("10.0.2.0"),
		.vnetmask.s_addr = inet_addr("255.255.255.0"),
		.vhost.s_addr = inet_addr("10.0.2.2"),
		.vdhcp_start.s_addr = inet_addr("10.0.2.15"),
		.vnameserver.s_addr = inet_addr("10.0.2.3"),
		.restricted = conf_flag(conf, "restrict"),
	};
	struct user *us;
	const char *forward;
	int error;

	if (strcmp(word, "slirp") != 0)
		return net_fail(net, -EINVAL, "no network is called '%s'; there are tapN and slirp",
				word);
	us = calloc(1, sizeof(*us));
	if (us == NULL)
		return net_fail(net, -ENOMEM, "not enough memory");
	us->us_net = net;
	us->us_slirp = slirp_new(&config, &callbacks, us);
	if (us->us_slirp == NULL) {
		free(us);
		return net_fail(net, -ENOMEM, "libslirp does not start");
	}
	net->nt_arg = us;
	while ((forward = conf_value(conf, "hostfwd")) != NULL) {
		error = add_forward(us, forward);
		if (error != 0) {
			slirp_net_close(net);
			return error;
		}
	}
	return 0;
}

static void
slirp_net_send(struct net *net, const void *frame, size_t bytes)
{
	struct user *const us = net->nt_arg;

	slirp_input(us->us_slirp, frame, (int)bytes);
}

static const struct {
	short events;
	int slirp;
} event_bits[] = {
	{POLLIN, SLIRP_POLL_IN},   {POLLOUT, SLIRP_POLL_OUT}, {POLLPRI, SLIRP_POLL_PRI},
	{POLLERR, SLIRP_POLL_ERR}, {POLLHUP, SLIRP_POLL_HUP},
};

static int
add_poll(int fd, int events, void *opaque)
{
	struct user *const us = opaque;
	short bits = 0;

	if (us->us_nfds == us->us_room)
		return -1; /* its turn comes when others are done */
	for (unsigned int i = 0; i < 5; i++)
		bits |= (events & event_bits[i].slirp) != 0 ? event_bits[i].events : 0;
	us->us_fds[us->us_nfds] = (struct pollfd){.fd = fd, .events = bits};
	return (int)us->us_nfds++;
}

static int
get_revents(int index, void *opaque)
{
	struct user *const us = opaque;
	int events = 0;

	if (index < 0)
		return 0;
	for (unsigned int i = 0; i < 5; i++) {
		if ((us->us_fds[index].revents & event_bits[i].events) != 0)
			events |= event_bits[i].slirp;
	}
	return events;
}

static unsigned int
slirp_net_prepare(struct net *net, struct pollfd *fds, unsigned int room, int *timeout_ms,
		  bool can_receive)
{
	struct user *const us = net->nt_arg;
	const int64_t now_ms = clock_get_ns(us) / 1000000;
	uint32_t timeout = *timeout_ms < 0 ? UINT32_MAX : (uint32_t)*timeout_ms;

	(void)can_receive;
	us->us_fds = fds;
	us->us_nfds = 0;
	us->us_room = room;
	slirp_pollfds_fill(us->us_slirp, &timeout, add_poll, us);
	for (const struct timer *timer = us->us_timers; timer != NULL; timer = timer->tm_next) {
		if (timer->tm_expires_ms >= 0 && timer->tm_expires_ms - now_ms < timeout)
			timeout = timer->tm_expires_ms > now_ms
					  ? (uint32_t)(timer->tm_expires_ms - now_ms)
					  : 0;
	}
	*timeout_ms = timeout > INT32_MAX ? -1 : (int)timeout;
	return us->us_nfds;
}

static void
run_timers(struct user *us)
{
	const int64_t now_ms = clock_get_ns(us) / 1000000;
	struct timer *next;

	for (struct timer *timer = us->us_timers; timer != NULL; timer = next) {
		next = timer->tm_next;
		if (timer->tm_expires_ms >= 0 && timer->tm_expires_ms <= now_ms) {
			timer->tm_expires_ms = -1;
			timer->tm_fn(timer->tm_arg);
		}
	}
}

static void
slirp_net_poll(struct net *net, struct pollfd *fds, unsigned int n)
{
	struct user *const us = net->nt_arg;

	us->us_fds = fds;
	us->us_nfds = n;
	slirp_pollfds_poll(us->us_slirp, 0, get_revents, us);
	run_timers(us);
}

const struct net_backend net_slirp = {
	.nb_name = "slirp",
	.nb_open = slirp_net_open,
	.nb_close = slirp_net_close,
	.nb_send = slirp_net_send,
	.nb_prepare = slirp_net_prepare,
	.nb_poll = slirp_net_poll,
};
