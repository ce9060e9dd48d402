/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Guest-physical addresses where no memory is, and who answers there.
 */

#ifndef BHYVE_MEM_H
#define BHYVE_MEM_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/* bytes: 1, 2, 4 or 8, within the range. A read sets *value. 0, or a negative errno that ends the
 * machine. */
typedef int (*mem_handler)(struct vcpu *vcpu, uint64_t gpa, unsigned int bytes, bool write,
			   uint64_t *value, void *arg);

/* -EEXIST the range overlaps one; -EINVAL; -ENOMEM. */
int mem_register(uint64_t gpa, uint64_t len, mem_handler handler, void *arg);
/* -ENOENT not exactly one. Another vCPU's call that has begun may still be under way. */
int mem_unregister(uint64_t gpa, uint64_t len);
/* What a handler says; -ENOENT nobody is there, or not for all of the bytes. */
int mem_access(struct vcpu *vcpu, uint64_t gpa, unsigned int bytes, bool write, uint64_t *value);
/* Forgets all. */
void mem_fini(void);

#endif /* BHYVE_MEM_H */
