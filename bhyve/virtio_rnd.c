/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * virtio-rnd: random bytes of the host (VIRTIO 1.1, section 5.4).
 *
 * Each buffer gets at most one page, which getrandom(2) fills without blocking once the host's pool
 * is up; drivers ask again for more. So one request cannot hold a vCPU for long.
 */

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "pci_emuls.h"
#include "virtio.h"

static void
rnd_notify(struct virtio *vi, unsigned int q)
{
	struct virtq *const vq = &vi->vi_queues[q].q_vq;
	struct virtq_chain chain;

	do {
		while (virtio_pop(vi, q, &chain) == 1) {
			char bytes[4096];
			size_t want = chain.ch_in_bytes;
			ssize_t got;

			if (want > sizeof(bytes))
				want = sizeof(bytes);
			got = getrandom(bytes, want, 0);
			virtq_push(
				vq, chain.ch_head,
				got <= 0 ? 0
					 : (uint32_t)virtq_copy_in(&chain, 0, bytes, (size_t)got));
		}
	} while (virtio_more(vi, q));
	virtio_signal(vi, q);
}

static const struct virtio_ops rnd_ops = {
	.vo_type = VIRTIO_TYPE_RNG,
	.vo_class = 0x100000, /* encryption, as nothing fits better */
	.vo_nqueues = 1,
	.vo_queue_size = 64,
	.vo_notify = rnd_notify,
};

static int
rnd_init(struct pci_dev *dev, const char *conf)
{
	struct virtio *vi;

	if (conf[0] != '\0')
		return pci_fail(dev, -EINVAL, "it takes no options, got '%s'", conf);
	vi = calloc(1, sizeof(*vi));
	if (vi == NULL)
		return pci_fail(dev, -ENOMEM, "not enough memory");
	return virtio_init(vi, dev, &rnd_ops, 0, "", 0);
}

static void
rnd_fini(struct pci_dev *dev)
{
	virtio_fini(dev->pd_arg);
	free(dev->pd_arg);
}

const struct pci_emul pci_virtio_rnd = {
	.pe_name = "virtio-rnd",
	.pe_help = "random bytes of the host",
	.pe_init = rnd_init,
	.pe_fini = rnd_fini,
	.pe_reset = virtio_pci_reset,
	.pe_barread = virtio_barread,
	.pe_barwrite = virtio_barwrite,
	.pe_cfgread = virtio_cfgread,
	.pe_cfgwrite = virtio_cfgwrite,
};
