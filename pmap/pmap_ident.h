/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Identifiers that tag cached translations: VPIDs and ASIDs, and what a CPU owes before they may be
 * trusted. Translations survive VM transitions, VMXON and VMXOFF; only a flush drops them.
 */

#ifndef PMAP_PMAP_IDENT_H
#define PMAP_PMAP_IDENT_H

#include "pmap/pmap.h"

/* ASIDs of one CPU (AMD APM vol. 2 15.15.1, 15.16). Used by that CPU only, interrupts blocked. */
struct pmap_asid_cpu {
	uint64_t ac_round; /* generation of ASIDs; starts at 1, never goes back, not even offline */
	uint32_t ac_next;  /* next ASID of this round */
	uint32_t ac_max;   /* ASIDs are 1 .. ac_max */
	bool ac_flush_by_asid; /* TLB_CONTROL can flush one ASID */
	bool ac_debt;	       /* all ASIDs must be flushed by the next VMRUN that succeeds */
};

/* The ASID of one vCPU: valid on one CPU for one round. Zeroed: none. */
struct pmap_asid {
	uint64_t as_round;
	uint32_t as_asid;
	uint32_t as_cpu;
};

/* Value for the VMCB's TLB_CONTROL field (AMD APM vol. 2 15.16.1). */
enum pmap_tlb_control {
	PMAP_TLB_KEEP = 0,
	PMAP_TLB_FLUSH_ALL = 1,
	PMAP_TLB_FLUSH_ASID = 3,
};

/* nasids as CPUID 8000_000A EBX tells, at least 2 (ASID 0 is the host's); else -EINVAL. */
int pmap_asid_cpu_init(struct pmap_asid_cpu *c, uint32_t nasids, bool flush_by_asid);

/* This CPU came online: nothing in its TLB may be trusted, no old ASID is valid. */
void pmap_asid_cpu_online(struct pmap_asid_cpu *c);

/*
 * Chooses the ASID and TLB_CONTROL for this VMRUN. A vCPU that changed CPU, or whose round is over,
 * gets a new ASID. Call after pmap_guest_enter(), whose result is `flush`.
 */
enum pmap_tlb_control pmap_asid_assign(struct pmap_asid_cpu *c, uint32_t cpu, struct pmap_asid *a,
				       bool flush);

/* The VMRUN did not fail: its TLB_CONTROL has taken effect. */
void pmap_asid_flushed(struct pmap_asid_cpu *c, enum pmap_tlb_control done);

/* VPIDs: unique per live vCPU, never 0 (Intel SDM vol. 3C 29.1). One pool per machine. */
#define PMAP_VPID_WORDS 1024
struct pmap_vpids {
	struct host_lock vp_lock;
	uint64_t vp_used[PMAP_VPID_WORDS]; /* 65536 bits; bit 0 stays set */
	uint32_t vp_count;		   /* usable ones: 1 .. vp_count - 1 */
	uint32_t vp_hint;
};

/* count: 2 .. 65536. */
int pmap_vpids_init(struct pmap_vpids *v, uint32_t count);
int pmap_vpid_alloc(struct pmap_vpids *v, uint16_t *vpid); /* -ENOSPC when none is left */
void pmap_vpid_free(struct pmap_vpids *v, uint16_t vpid);

/* A vCPU's VPID on a CPU: true if INVVPID is needed before entry, since the vCPU comes from another
 * CPU, or this CPU has been online anew since. */
struct pmap_vpid_home {
	uint64_t vh_online; /* the CPU's count of VMXONs when last flushed; 0: never */
	uint32_t vh_cpu;
};
bool pmap_vpid_stale(const struct pmap_vpid_home *h, uint32_t cpu, uint64_t online);
void pmap_vpid_flushed(struct pmap_vpid_home *h, uint32_t cpu, uint64_t online);

#endif /* PMAP_PMAP_IDENT_H */
