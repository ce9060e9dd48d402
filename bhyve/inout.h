/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * I/O ports, and who answers there.
 */

#ifndef BHYVE_INOUT_H
#define BHYVE_INOUT_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/* bytes: 1, 2 or 4; the first port is within the range. 0, or a negative errno that ends the
 * machine. */
typedef int (*inout_handler)(struct vcpu *vcpu, uint16_t port, unsigned int bytes, bool write,
			     uint32_t *value, void *arg);

/* -EEXIST the range overlaps one; -EINVAL; -ENOMEM. */
int inout_register(uint16_t port, unsigned int count, inout_handler handler, void *arg);
int inout_unregister(uint16_t port, unsigned int count);
/* What the handler says. -ENOENT nobody is there: a read gave all ones. */
int inout_access(struct vcpu *vcpu, uint16_t port, unsigned int bytes, bool write, uint32_t *value);
void inout_fini(void);

#endif /* BHYVE_INOUT_H */
