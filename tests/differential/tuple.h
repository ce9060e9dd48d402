/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * One case of the differential test: nested page tables, and one access of a guest to an address
 * that they translate.
 *
 * A case is made from (machine, seed, index) by tuple.c alone, and that file is compiled twice:
 * into the program that runs on an emulator without any system (bare/), and into the judge, which
 * asks the simulated hardware. Only results travel, never tables. There is no C library here.
 *
 * Entries are put together from raw bits, which are mostly right and partly anything. Nothing here
 * knows which of them is legal: that is for the two to say.
 *
 * Physical memory, the same on both sides: tables in DIFF_BASE, one page each; 2 MiB of what the
 * guest needs to run (its program and its own page tables) at DIFF_INFRA; and pages of data from
 * DIFF_DATA on. The guest finds what it needs at guest-physical 0, and the address under test far
 * above, below another entry of the root (of the table below, where there are five levels).
 */

#ifndef TESTS_DIFFERENTIAL_TUPLE_H
#define TESTS_DIFFERENTIAL_TUPLE_H

#include <stdbool.h>
#include <stdint.h>

#define DIFF_LEVELS_MAX 5
#define DIFF_LEAVES 3

/* What the emulated processor is; told by the program, and all that the judge knows of it. */
enum diff_kind { DIFF_EPT = 1, DIFF_NPT = 2 };

struct diff_machine {
	uint32_t dm_kind;
	uint32_t dm_levels; /* of the nested walk */
	uint32_t dm_phys_bits;
	uint32_t dm_features; /* CPUID 80000001h, EDX */
	uint64_t dm_ept_caps; /* IA32_VMX_EPT_VPID_CAP; 0 for NPT */
	uint64_t dm_seed;
	uint32_t dm_first;
	uint32_t dm_count;
};

/* Places in host-physical memory. No table is at a multiple of 2 MiB, not even of 8 KiB above. */
#define DIFF_BASE 0x1000000ull
#define DIFF_TABLE(n) (DIFF_BASE + 0x2000 + 0x1000ull * (n)) /* n: the level, or one of: */
#define DIFF_INFRA_2 5					     /* leads to what the guest needs */
#define DIFF_INFRA_1 6
#define DIFF_TABLES 7
#define DIFF_INFRA 0x2000000ull
#define DIFF_DATA 0x4000000ull
#define DIFF_DATA_END 0x8000000ull /* and of memory */

/* Places in guest-physical memory, in the first 2 MiB. */
#define DIFF_GUEST_CODE 0x1000ull
#define DIFF_GUEST_ROOT 0x2000ull
#define DIFF_GUEST_CODE_2 0x3000ull /* tables of the program, which is in a page of 2 MiB */
#define DIFF_GUEST_CODE_1 0x4000ull
#define DIFF_GUEST_TABLE(level) (0x5000ull + 0x1000ull * (level)) /* of the address, 0 to 2 */
#define DIFF_GUEST_GOOD 0x8000ull				  /* a page that is always there */
#define DIFF_GOOD_VALUE 0x600df00dull

/* What the guest does to the address. */
enum diff_access {
	DIFF_READ,
	DIFF_WRITE,
	DIFF_EXCHANGE,	 /* reads and writes in one instruction */
	DIFF_READ_WRITE, /* reads, and writes by the next */
	DIFF_FETCH,
	DIFF_WALK,	 /* the processor reads an entry of the guest's own tables there */
	DIFF_WALK_UNSET, /* the same, of an entry whose A it must set */
	DIFF_ACCESSES,

	/* No access of a guest, but an instruction of the host: EPT only. */
	DIFF_INVEPT = DIFF_ACCESSES,
	DIFF_INVVPID,
	DIFF_KINDS,
};

struct diff_case {
	uint32_t dc_index;
	uint8_t dc_access;
	uint8_t dc_walk_level; /* of the guest's table that is at the address */
	uint64_t dc_root;      /* EPTP, now and then one that is refused; or nCR3 */
	bool dc_nx;	       /* NPT: with EFER.NXE of the host */
	bool dc_gigabyte;      /* explained.c: pages of 1 GiB, whatever the processor says */
	uint64_t dc_type;      /* of DIFF_INVEPT and DIFF_INVVPID, and their descriptor */
	uint64_t dc_descriptor[2];
	uint64_t dc_gpa;    /* under test */
	uint64_t dc_linear; /* by which the guest accesses it */
	uint64_t dc_code;   /* linear address of DIFF_GUEST_CODE's 2 MiB */
	uint64_t dc_guest_root;
	uint64_t dc_entry[DIFF_LEVELS_MAX]; /* by level */
	uint64_t dc_where[DIFF_LEVELS_MAX]; /* their addresses */
	uint64_t dc_spot[DIFF_LEAVES];	    /* where such a leaf leads to, or 0 */
};

/* Case `index`. */
void diff_make(const struct diff_machine *m, uint32_t index, struct diff_case *c);

/*
 * The guest's own tables: entries and their guest-physical addresses, one of which may be the
 * address under test. The last one that translates the access is DIFF_GUEST_PARTS - 1.
 */
#define DIFF_GUEST_PARTS 7

struct diff_part {
	uint64_t dp_gpa;
	uint64_t dp_value;
};

/* Fills in [0, 3) for the program's address and [3, n) for the access; returns n. */
unsigned int diff_guest_parts(const struct diff_case *c, struct diff_part part[DIFF_GUEST_PARTS]);

/* Entries that are always right: to a table; to a leaf of 2 MiB. A and D are set. */
uint64_t diff_good_table(const struct diff_machine *m, uint64_t hpa);
uint64_t diff_good_large(const struct diff_machine *m, uint64_t hpa);

/* A and D in an entry's format. */
uint64_t diff_accessed(const struct diff_machine *m);
uint64_t diff_dirty(const struct diff_machine *m);

/* ---- Results ------------------------------------------------------------------------------- */

enum diff_outcome {
	DIFF_DONE,	/* the access was made */
	DIFF_VIOLATION, /* EPT violation, or nested page fault: dr_code says what it reports */
	DIFF_MISCONFIG,
	DIFF_OTHER,  /* dr_code is the exit reason */
	DIFF_FAILED, /* the guest was not entered; dr_code says why */
	DIFF_OUTCOMES,
};

/* One per case, in order, after a struct diff_machine. Little-endian, as the processors are. */
struct diff_result {
	uint32_t dr_index;
	uint8_t dr_outcome;
	uint8_t dr_written; /* bit n: dc_spot[n] has changed */
	uint8_t dr_changed; /* bit n: more of the entry at level n than A or D has changed */
	uint8_t dr_unused;
	uint16_t dr_accessed; /* bit n: A of the entry at level n is set; likewise D */
	uint16_t dr_dirty;
	uint32_t dr_check; /* of all the other words */
	uint64_t dr_code;
	uint64_t dr_gpa;
	uint64_t dr_linear; /* EPT, for a violation */
	uint64_t dr_value;  /* what the guest read, or found to execute */
};

/* What a spot holds before the access: its address and the case. */
static inline uint64_t
diff_mark(const struct diff_case *c, uint64_t hpa)
{
	return (uint64_t)c->dc_index << 32 | hpa;
}

uint32_t diff_check(const struct diff_result *r);

/* The last record: dr_index is this, dr_code how many words outside of entries were not zero. */
#define DIFF_END UINT32_MAX

#endif /* TESTS_DIFFERENTIAL_TUPLE_H */
