/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The framebuffer, for whoever loads a guest: a kernel that is told of it in its boot parameters
 * prints there from its first line on, without a driver for the device.
 */

#ifndef BHYVE_FBUF_H
#define BHYVE_FBUF_H

#include <stdbool.h>
#include <stdint.h>

#include "pci.h"

struct fbuf_mode {
	uint64_t fm_gpa; /* where it is as long as the guest does not move the BAR */
	uint64_t fm_bytes;
	uint32_t fm_width; /* pixels, of 4 bytes: blue, green, red, nothing */
	uint32_t fm_height;
};

/* The first one on the bus, after pci_bus_start(). False: there is none. */
bool fbuf_find(const struct pci_bus *bus, struct fbuf_mode *mode);

#endif /* BHYVE_FBUF_H */
