/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * virtio-console (VIRTIO 1.1, section 5.3): one port, the guest's hvc0.
 *
 * One thread moves bytes both ways. Of a chain of the guest's it writes a piece at a time, and goes
 * on where it stopped; a reset of the device takes the chain away from it.
 */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "pci_emuls.h"
#include "tty.h"
#include "virtio.h"

enum {
	QUEUE_RX = 0,
	QUEUE_TX = 1,
	CON_QUEUE_SIZE = 64,
	CON_CONFIG_BYTES = 12,
	CON_PIECE = 4096, /* what a pipe that is ready takes without blocking (PIPE_BUF) */
	/* Places in poll's table. */
	POLL_BELL = 0,
	POLL_IN = 1,
	POLL_OUT = 2,
	POLL_LISTEN = 3,
	POLLS = 4,
};

struct con {
	struct virtio cn_virtio;
	struct tty cn_tty; /* the thread's */
	int cn_bell;
	bool cn_threaded;
	pthread_t cn_thread;
	/* Under vi_lock. */
	bool cn_end;
	bool cn_sending; /* cn_chain is being written, from cn_off on */
	uint64_t cn_off;
	struct virtq_chain cn_chain;
};

static void
ring(struct con *cn)
{
	const uint64_t one = 1;

	if (write(cn->cn_bell, &one, sizeof(one)) == -1)
		return; /* it rings already */
}

/* ---- The thread ------------------------------------------------------------------------------ */

/* Something to write, copied into piece; 0: nothing. */
static size_t
next_piece(struct con *cn, char *piece)
{
	struct virtio *const vi = &cn->cn_virtio;
	size_t bytes = 0;

	pthread_mutex_lock(&vi->vi_lock);
	for (;;) {
		if (!cn->cn_sending) {
			if (virtio_pop(vi, QUEUE_TX, &cn->cn_chain) == 1) {
				cn->cn_sending = true;
				cn->cn_off = 0;
			} else if (!virtio_more(vi, QUEUE_TX)) {
				break;
			}
			continue;
		}
		bytes = virtq_copy_out(&cn->cn_chain, cn->cn_off, piece, CON_PIECE);
		if (bytes != 0)
			break;
		cn->cn_sending = false;
		virtq_push(&vi->vi_queues[QUEUE_TX].q_vq, cn->cn_chain.ch_head, 0);
		virtio_signal(vi, QUEUE_TX);
	}
	pthread_mutex_unlock(&vi->vi_lock);
	return bytes;
}

static void
written(struct con *cn, size_t bytes)
{
	pthread_mutex_lock(&cn->cn_virtio.vi_lock);
	if (cn->cn_sending)
		cn->cn_off += bytes;
	pthread_mutex_unlock(&cn->cn_virtio.vi_lock);
}

static void
output(struct con *cn, const struct pollfd *out)
{
	struct tty *const tty = &cn->cn_tty;
	const bool waits = tty_output_waits(tty);
	char piece[CON_PIECE];
	size_t bytes;
	ssize_t done;

	if (waits && (out->revents & (POLLOUT | POLLERR | POLLHUP)) == 0)
		return;
	while ((bytes = next_piece(cn, piece)) != 0) {
		done = tty_write(tty, piece, bytes);
		/* What nobody takes is lost; the guest does not hang because of it. */
		written(cn, done < 0 ? bytes : (size_t)done);
		if (waits)
			break; /* ask again whether it is ready */
	}
}

static void
input(struct con *cn)
{
	struct virtio *const vi = &cn->cn_virtio;
	struct virtq_chain chain;
	char bytes[CON_PIECE];
	ssize_t got = 0;

	pthread_mutex_lock(&vi->vi_lock);
	if (virtio_pop(vi, QUEUE_RX, &chain) == 1) {
		const size_t room =
			chain.ch_in_bytes < sizeof(bytes) ? chain.ch_in_bytes : sizeof(bytes);

		/* It is ready: this does not wait. */
		got = read(cn->cn_tty.ty_in, bytes, room);
		if (got > 0) {
			virtq_copy_in(&chain, 0, bytes, (size_t)got);
			virtq_push(&vi->vi_queues[QUEUE_RX].q_vq, chain.ch_head, (uint32_t)got);
			virtio_signal(vi, QUEUE_RX);
		} else {
			virtq_unpop(&vi->vi_queues[QUEUE_RX].q_vq);
		}
		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			tty_hangup(&cn->cn_tty);
	}
	pthread_mutex_unlock(&vi->vi_lock);
}

/* Is there room for input, and is there output to write? */
static void
look(struct con *cn, bool *room, bool *more, bool *end)
{
	struct virtio *const vi = &cn->cn_virtio;

	pthread_mutex_lock(&vi->vi_lock);
	*room = virtio_more(vi, QUEUE_RX);
	*more = cn->cn_sending || virtio_more(vi, QUEUE_TX);
	*end = cn->cn_end;
	pthread_mutex_unlock(&vi->vi_lock);
}

static void *
con_thread(void *arg)
{
	struct con *const cn = arg;
	struct tty *const tty = &cn->cn_tty;

	for (;;) {
		struct pollfd fds[POLLS];
		bool room, more, end;
		uint64_t count;

		look(cn, &room, &more, &end);
		if (end)
			return NULL;
		/* poll() ignores what is negative. */
		fds[POLL_BELL] = (struct pollfd){.fd = cn->cn_bell, .events = POLLIN};
		fds[POLL_IN] = (struct pollfd){.fd = room ? tty->ty_in : -1, .events = POLLIN};
		fds[POLL_OUT] = (struct pollfd){
			.fd = more && tty_output_waits(tty) ? tty->ty_out : -1, .events = POLLOUT};
		fds[POLL_LISTEN] = (struct pollfd){.fd = tty->ty_listen, .events = POLLIN};
		if (poll(fds, POLLS, more && !tty_output_waits(tty) ? 0 : -1) < 0)
			continue; /* EINTR */
		if ((fds[POLL_BELL].revents & POLLIN) != 0 &&
		    read(cn->cn_bell, &count, sizeof(count)) == -1)
			continue;
		if (fds[POLL_IN].revents != 0)
			input(cn);
		if ((fds[POLL_LISTEN].revents & POLLIN) != 0)
			tty_accept(tty);
		output(cn, &fds[POLL_OUT]);
	}
}

/* ---- The device ------------------------------------------------------------------------------ */

static void
con_notify(struct virtio *vi, unsigned int q)
{
	(void)q;
	ring((struct con *)vi);
}

static void
con_quiesce(struct virtio *vi)
{
	((struct con *)vi)->cn_sending = false;
}

static void
con_started(struct virtio *vi)
{
	ring((struct con *)vi);
}

static const struct virtio_ops con_ops = {
	.vo_type = VIRTIO_TYPE_CONSOLE,
	.vo_class = 0x078000,
	.vo_nqueues = 2,
	.vo_queue_size = CON_QUEUE_SIZE,
	.vo_notify = con_notify,
	.vo_quiesce = con_quiesce,
	.vo_started = con_started,
};

static int
con_init(struct pci_dev *dev, const char *text)
{
	static const uint8_t config[CON_CONFIG_BYTES];
	struct con *const cn = calloc(1, sizeof(*cn));
	int error;

	if (cn == NULL)
		return pci_fail(dev, -ENOMEM, "not enough memory");
	error = tty_open(&cn->cn_tty, text[0] == '\0' ? "stdio" : text);
	if (error != 0) {
		pci_fail(dev, error, "%s", cn->cn_tty.ty_why);
		free(cn);
		return error;
	}
	cn->cn_bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (cn->cn_bell == -1) {
		error = pci_fail(dev, -errno, "no event for it: %s", strerror(errno));
		tty_close(&cn->cn_tty);
		free(cn);
		return error;
	}
	error = virtio_init(&cn->cn_virtio, dev, &con_ops, 0, config, sizeof(config));
	if (error != 0)
		return error;
	error = pthread_create(&cn->cn_thread, NULL, con_thread, cn);
	if (error != 0)
		return pci_fail(dev, -error, "no thread for it: %s", strerror(error));
	cn->cn_threaded = true;
	return 0;
}

static void
con_fini(struct pci_dev *dev)
{
	struct con *const cn = dev->pd_arg;

	if (cn->cn_threaded) {
		pthread_mutex_lock(&cn->cn_virtio.vi_lock);
		cn->cn_end = true;
		pthread_mutex_unlock(&cn->cn_virtio.vi_lock);
		ring(cn);
		pthread_join(cn->cn_thread, NULL);
	}
	tty_close(&cn->cn_tty);
	close(cn->cn_bell);
	virtio_fini(&cn->cn_virtio);
	free(cn);
}

const struct pci_emul pci_virtio_console = {
	.pe_name = "virtio-console",
	.pe_help = "[stdio|pty|socket=PATH|file=PATH]: a console, the guest's hvc0",
	.pe_init = con_init,
	.pe_fini = con_fini,
	.pe_reset = virtio_pci_reset,
	.pe_barread = virtio_barread,
	.pe_barwrite = virtio_barwrite,
	.pe_cfgread = virtio_cfgread,
	.pe_cfgwrite = virtio_cfgwrite,
};
