/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A guest with page tables of its own, for tests of guest-linear addresses: some memory, some that
 * is read-only, a device's window, and an image of it all that the reference walker works on. What
 * the core does to the guest's memory, the reference must have done to the image.
 */

#ifndef TESTS_UNIT_GLA_RIG_H
#define TESTS_UNIT_GLA_RIG_H

#include "tests/unit/gla_ref.h"
#include "tests/unit/vm_fixture.h"
#include "vmspace/vm_gla.h"

#define RIG_LOW 0x10000 /* memory */
#define RIG_LOW_PAGES 16
#define RIG_RO 0x40000 /* a segment that is mapped read-only */
#define RIG_RO_PAGES 2
#define RIG_WINDOW 0x60000   /* one page of a device */
#define RIG_HIGH 0x140000000 /* memory beyond 4 GiB */
#define RIG_HIGH_PAGES 4

struct rig {
	struct vf rg_x;
	struct ref_memory rg_mem;
	uint64_t rg_cases;
	uint8_t rg_low[RIG_LOW_PAGES * 4096];
	uint8_t rg_ro[RIG_RO_PAGES * 4096];
	uint8_t rg_high[RIG_HIGH_PAGES * 4096];
};

/* Between world_begin() and world_end(), which these call. */
struct rig *rig_open(void);
void rig_close(struct rig *r);

/* Writes to the guest's memory, whatever its map permits, and to the image. */
void rig_write(struct rig *r, uint64_t gpa, const void *from, size_t len);
void rig_put(struct rig *r, uint64_t gpa, uint64_t value, int width);

/* Fails unless guest memory and image agree: all of it, or the aligned word at gpa. */
void rig_same(struct rig *r);
void rig_same_word(struct rig *r, uint64_t gpa);

/* What the core is told of a CPU. */
struct vm_guest_paging rig_paging(const struct ref_cpu *cpu);
unsigned int rig_access(char access);

/*
 * One case: both variants of the core against the reference; results, records, and the entries that
 * were read. Every so often all of memory is compared.
 */
void rig_case(struct rig *r, const struct ref_cpu *cpu, uint64_t la, char access);

#endif /* TESTS_UNIT_GLA_RIG_H */
