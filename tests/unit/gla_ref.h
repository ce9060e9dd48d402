/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A second walker of guests' page tables, from Intel's manual alone (SDM vol. 3A 4.3 to 4.8): it
 * shares no code, no masks and no names of bits with the core. It knows a CPU by its control
 * registers and memory as bytes.
 */

#ifndef TESTS_UNIT_GLA_REF_H
#define TESTS_UNIT_GLA_REF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ref_cpu {
	uint64_t cr0, cr3, cr4, efer, rflags;
	int cpl;
	int maxphyaddr;
	bool page1gb;	 /* CPUID.80000001H:EDX */
	bool has_pdptes; /* PAE: from registers */
	uint64_t pdpte[4];
};

#define REF_REGIONS 5

struct ref_memory {
	struct {
		uint64_t start, len;
		bool read_only;
		uint8_t *bytes;
	} regions[REF_REGIONS];
	int nregions;
};

enum ref_kind { REF_OK, REF_PF, REF_GP, REF_NO_MEMORY };

struct ref_result {
	enum ref_kind kind;
	uint64_t pa;	    /* REF_OK */
	uint64_t page_size; /* likewise */
	uint32_t error_code;
	uint64_t bad_pa; /* REF_NO_MEMORY: the word that is none, or that cannot be written */
	bool bad_write;
	uint64_t read[5]; /* entries that were read, by address */
	int nread;
	bool would_mark;
};

/* access: 'r', 'w', 'm' (reads and writes), 'x'. With set, flags are set in memory. */
struct ref_result ref_walk(const struct ref_cpu *cpu, const struct ref_memory *mem, uint64_t la,
			   char access, bool set);

#endif /* TESTS_UNIT_GLA_REF_H */
