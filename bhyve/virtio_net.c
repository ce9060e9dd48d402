/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * virtio-net (VIRTIO 1.1, section 5.1) over a backend: one queue each way, no offloads.
 *
 * One thread does everything: it is told of new chains by an eventfd, takes frames of the guest's
 * out and sends them, and puts those of the backend into the guest's buffers. vCPUs only ring the
 * bell. Frames are copied: it is a kilobyte or two, and no lock is held while the host works.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "net.h"
#include "pci_emuls.h"
#include "virtio.h"

#define NET_F_MAC (1ull << 5)
#define NET_F_STATUS (1ull << 16)

enum {
	QUEUE_RX = 0,
	QUEUE_TX = 1,
	NET_QUEUE_SIZE = 256,
	NET_HEADER_BYTES = 12,
	NET_FRAME_MIN = 14,
	NET_CONFIG_BYTES = 8, /* MAC and status */
	NET_LINK_UP = 1,
	NET_ROUND = 64, /* of the guest's frames, before the backend gets its turn */
};

struct vnet {
	struct virtio vn_virtio;
	struct net vn_net;
	int vn_bell;
	bool vn_end; /* under vi_lock */
	bool vn_threaded;
	pthread_t vn_thread;
	uint8_t vn_frame[NET_FRAME_MAX]; /* the thread's */
};

static void
ring(struct vnet *vn)
{
	const uint64_t one = 1;

	if (write(vn->vn_bell, &one, sizeof(one)) == -1)
		return; /* it rings already */
}

/* ---- The thread ------------------------------------------------------------------------------ */

static bool
receive(void *arg, const void *frame, size_t bytes)
{
	struct vnet *const vn = arg;
	struct virtio *const vi = &vn->vn_virtio;
	uint8_t header[NET_HEADER_BYTES] = {[10] = 1}; /* one buffer */
	struct virtq *const vq = &vi->vi_queues[QUEUE_RX].q_vq;
	struct virtq_chain chain;
	bool took;

	pthread_mutex_lock(&vi->vi_lock);
	took = virtio_pop(vi, QUEUE_RX, &chain) == 1;
	if (took && chain.ch_in_bytes < sizeof(header) + bytes) {
		/* Too long for this driver's buffers: the frame is lost, the buffer is not. */
		virtq_unpop(vq);
	} else if (took) {
		virtq_copy_in(&chain, 0, header, sizeof(header));
		virtq_copy_in(&chain, sizeof(header), frame, bytes);
		virtq_push(vq, chain.ch_head, (uint32_t)(sizeof(header) + bytes));
		virtio_signal(vi, QUEUE_RX);
	}
	pthread_mutex_unlock(&vi->vi_lock);
	return took;
}

/* Is there a buffer of the guest's? If not, the guest will ring when there is. */
static bool
can_receive(struct vnet *vn)
{
	struct virtio *const vi = &vn->vn_virtio;
	bool can;

	pthread_mutex_lock(&vi->vi_lock);
	can = virtio_more(vi, QUEUE_RX);
	pthread_mutex_unlock(&vi->vi_lock);
	return can;
}

/* The next frame of the guest's, into vn_frame: its length, or 0: there is none. */
static size_t
next_frame(struct vnet *vn)
{
	struct virtio *const vi = &vn->vn_virtio;
	struct virtq_chain chain;
	size_t bytes = 0;

	pthread_mutex_lock(&vi->vi_lock);
	while (bytes == 0) {
		if (virtio_pop(vi, QUEUE_TX, &chain) != 1) {
			virtio_signal(vi, QUEUE_TX);
			if (!virtio_more(vi, QUEUE_TX))
				break;
			continue;
		}
		if (chain.ch_out_bytes >= NET_HEADER_BYTES + NET_FRAME_MIN &&
		    chain.ch_out_bytes <= NET_HEADER_BYTES + NET_FRAME_MAX)
			bytes = virtq_copy_out(&chain, NET_HEADER_BYTES, vn->vn_frame,
					       sizeof(vn->vn_frame));
		virtq_push(&vi->vi_queues[QUEUE_TX].q_vq, chain.ch_head, 0);
	}
	pthread_mutex_unlock(&vi->vi_lock);
	return bytes;
}

static void *
net_thread(void *arg)
{
	struct vnet *const vn = arg;
	struct net *const net = &vn->vn_net;
	struct pollfd fds[1 + NET_POLLS_MAX];
	bool end = false;

	while (!end) {
		int timeout_ms = -1;
		unsigned int n, sent;
		uint64_t count;
		size_t bytes = 1;

		for (sent = 0; sent < NET_ROUND && (bytes = next_frame(vn)) != 0; sent++)
			net->nt_backend->nb_send(net, vn->vn_frame, bytes);
		if (bytes != 0)
			timeout_ms = 0; /* there may be more */
		fds[0] = (struct pollfd){.fd = vn->vn_bell, .events = POLLIN};
		n = net->nt_backend->nb_prepare(net, fds + 1, NET_POLLS_MAX, &timeout_ms,
						can_receive(vn));
		if (poll(fds, n + 1, timeout_ms) < 0)
			continue; /* EINTR */
		if ((fds[0].revents & POLLIN) != 0 &&
		    read(vn->vn_bell, &count, sizeof(count)) == -1)
			continue;
		net->nt_backend->nb_poll(net, fds + 1, n);
		pthread_mutex_lock(&vn->vn_virtio.vi_lock);
		end = vn->vn_end;
		pthread_mutex_unlock(&vn->vn_virtio.vi_lock);
	}
	return NULL;
}

/* ---- The device ------------------------------------------------------------------------------ */

static void
vnet_notify(struct virtio *vi, unsigned int q)
{
	(void)q;
	ring((struct vnet *)vi);
}

static const struct virtio_ops net_ops = {
	.vo_type = VIRTIO_TYPE_NET,
	.vo_class = 0x020000,
	.vo_nqueues = 2,
	.vo_queue_size = NET_QUEUE_SIZE,
	.vo_notify = vnet_notify,
};

/* Six bytes in hex with colons; not a group's, and not 0. */
static int
parse_mac(const char *text, uint8_t *mac)
{
	unsigned int b[6];
	int n = 0;

	if (strlen(text) != 17 ||
	    sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
		   &n) != 6 ||
	    n != 17 || (b[0] & 1) != 0)
		return -EINVAL;
	for (unsigned int i = 0; i < 6; i++)
		mac[i] = (uint8_t)b[i];
	return 0;
}

static int
open_net(struct vnet *vn, struct pci_dev *dev, struct conf *conf, uint8_t *config)
{
	/* Locally administered; by slot, so that two devices of a machine differ. */
	const uint8_t mac[6] = {0x02,
				's',
				'k',
				'e',
				(uint8_t)getpid(),
				(uint8_t)(dev->pd_slot << 3 | dev->pd_func)};
	const char *const text = conf_value(conf, "mac");
	int error;

	memcpy(config, mac, sizeof(mac));
	if (text != NULL && parse_mac(text, config) != 0)
		return pci_fail(dev, -EINVAL,
				"mac=%s: it is six bytes in hex with colons, the first even", text);
	config[6] = NET_LINK_UP;
	error = net_open(&vn->vn_net, conf);
	if (error != 0)
		return pci_fail(dev, error, "%s", vn->vn_net.nt_why);
	return 0;
}

static int
start(struct vnet *vn, struct pci_dev *dev, const uint8_t *config)
{
	int error;

	error = virtio_init(&vn->vn_virtio, dev, &net_ops, NET_F_MAC | NET_F_STATUS, config,
			    NET_CONFIG_BYTES);
	if (error != 0)
		return error;
	error = pthread_create(&vn->vn_thread, NULL, net_thread, vn);
	if (error != 0)
		return pci_fail(dev, -error, "no thread for it: %s", strerror(error));
	vn->vn_threaded = true;
	return 0;
}

static int
vnet_init(struct pci_dev *dev, const char *text)
{
	struct vnet *const vn = calloc(1, sizeof(*vn));
	uint8_t config[NET_CONFIG_BYTES] = {0};
	struct conf conf;
	int error;

	if (vn == NULL || conf_parse(&conf, text) != 0) {
		free(vn);
		return pci_fail(dev, -ENOMEM, "not enough memory, or too many options");
	}
	vn->vn_net.nt_receive = receive;
	vn->vn_net.nt_receive_arg = vn;
	vn->vn_bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (vn->vn_bell == -1)
		error = pci_fail(dev, -errno, "no event for it: %s", strerror(errno));
	else
		error = open_net(vn, dev, &conf, config);
	conf_free(&conf);
	if (error != 0) {
		if (vn->vn_bell != -1)
			close(vn->vn_bell);
		free(vn);
		return error;
	}
	return start(vn, dev, config);
}

static void
vnet_fini(struct pci_dev *dev)
{
	struct vnet *const vn = dev->pd_arg;

	if (vn->vn_threaded) {
		pthread_mutex_lock(&vn->vn_virtio.vi_lock);
		vn->vn_end = true;
		pthread_mutex_unlock(&vn->vn_virtio.vi_lock);
		ring(vn);
		pthread_join(vn->vn_thread, NULL);
	}
	vn->vn_net.nt_backend->nb_close(&vn->vn_net);
	close(vn->vn_bell);
	virtio_fini(&vn->vn_virtio);
	free(vn);
}

const struct pci_emul pci_virtio_net = {
	.pe_name = "virtio-net",
	.pe_help = "tapN|slirp[,mac=M][,hostfwd=tcp:[H]:P-[G]:P]...: a network device",
	.pe_init = vnet_init,
	.pe_fini = vnet_fini,
	.pe_reset = virtio_pci_reset,
	.pe_barread = virtio_barread,
	.pe_barwrite = virtio_barwrite,
	.pe_cfgread = virtio_cfgread,
	.pe_cfgwrite = virtio_cfgwrite,
};
