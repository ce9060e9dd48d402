/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* The kindnesses of hw.h by name, for --kindness. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/hw/hw.h"

static const struct hw_kindness kindnesses[] = {
	{"no-tlb", HW_KIND_NO_TLB, "every access walks from the root"},
	{"no-psc", HW_KIND_NO_PSC, "no paging-structure entry is cached"},
	{"no-speculation", HW_KIND_NO_SPECULATION, "only what is accessed is cached"},
	{"atomic-walk", HW_KIND_ATOMIC_WALK, "nobody acts during a walk"},
	{"early-ad", HW_KIND_EARLY_AD, "A at once on the way down, A and D of a leaf together"},
	{"wide-flush", HW_KIND_WIDE_FLUSH, "any invalidation drops all that the CPU has"},
	{"vpid-flushes-gpa", HW_KIND_VPID_FLUSHES_GPA, "INVVPID drops guest-physical mappings"},
	{"exit-flushes", HW_KIND_EXIT_FLUSHES, "a VM exit drops all"},
	{"one-size", HW_KIND_ONE_SIZE, "a new translation drops those of other sizes below it"},
	{"fault-flushes", HW_KIND_FAULT_FLUSHES, "a fault drops the whole context"},
	{"dirty-again", HW_KIND_DIRTY_AGAIN, "a write through a dirty translation sets D again"},
	{"root-tags", HW_KIND_ROOT_TAGS, "ASIDs and PCIDs of different roots never meet"},
	{"no-spurious", HW_KIND_NO_SPURIOUS, "a cached lack of rights is looked up again"},
	{"newest", HW_KIND_NEWEST, "of several translations the newest is used"},
};

#define NKINDNESSES (sizeof(kindnesses) / sizeof(kindnesses[0]))

const struct hw_kindness *
hw_kindness(unsigned int i)
{
	return i < NKINDNESSES ? &kindnesses[i] : NULL;
}

int
hw_kindness_read(const char *list, uint32_t *set, char *why, size_t why_bytes)
{
	*set = 0;
	for (const char *p = list;; p++) {
		const size_t n = strcspn(p, ",");
		uint32_t found = 0;

		for (unsigned int i = 0; i < NKINDNESSES; i++) {
			if (strlen(kindnesses[i].ki_name) == n &&
			    strncmp(kindnesses[i].ki_name, p, n) == 0)
				found = kindnesses[i].ki_bit;
		}
		if (found == 0) {
			snprintf(why, why_bytes,
				 "--kindness: '%.*s' is no kindness; docs/HARDWARE.md lists them",
				 (int)(n < 60 ? n : 60), p);
			return -EINVAL;
		}
		*set |= found;
		p += n;
		if (*p == '\0')
			return 0;
	}
}
