/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The hardware model's inside: hw_entry.c (what the bits of an entry mean), hw_tlb.c (caches),
 * hw_flush.c (invalidations), hw_walk.c (walks),
 * hw_access.c (accesses), hw_agent.c (speculation, evictions, life).
 */

#ifndef SIM_HW_PRIV_H
#define SIM_HW_PRIV_H

#include "sim/hw/hw.h"
#include "sim/machine/machine.h"

/* ---- Entries (hw_entry.c) ------------------------------------------------------------------ */

/* What one entry says, by the rules of its level. */
struct hw_entry {
	bool en_present;
	bool en_leaf;
	enum hw_why_bad en_bad; /* meaningful if present */
	uint8_t en_rights;
	uint8_t en_memtype;
	bool en_ignore_pat;
	bool en_accessed; /* or there is no A */
	bool en_dirty;	  /* or there is no D */
	bool en_global;
	uint64_t en_addr; /* next table, or the page */
};

void hw_entry_decode(const struct hw_context *ctx, unsigned int level, uint64_t value,
		     struct hw_entry *e);

/* The bits that hardware sets; 0 where it does not. */
uint64_t hw_accessed_bit(const struct hw_context *ctx);
uint64_t hw_dirty_bit(const struct hw_context *ctx);

/* Whether rights suffice for an access, and whether the access must find or make the page dirty. */
bool hw_allows(const struct hw_context *ctx, unsigned int rights, unsigned int access);
bool hw_wants_dirty(const struct hw_context *ctx, unsigned int access);

/* Whether the tables can translate the address at all. */
bool hw_in_range(const struct hw_context *ctx, uint64_t gpa);

/* What the CPU reports. rights 0: something on the way was not present. */
void hw_make_fault(const struct hw_context *ctx, uint64_t gpa, unsigned int access,
		   unsigned int rights, bool present, bool reserved, struct hw_fault *fault);

static inline unsigned int
hw_shift(unsigned int level)
{
	return 12 + 9 * level;
}

static inline uint64_t
hw_slot(uint64_t table, uint64_t gpa, unsigned int level)
{
	return table + ((gpa >> hw_shift(level)) & 511) * 8;
}

static inline bool
hw_kind_of(const struct hw_context *ctx, uint32_t kindness)
{
	return (ctx->hc_model->hm_kindness & kindness) != 0;
}

static inline void
hw_touch_tlb(unsigned int cpu, enum sim_touch how)
{
	sim_touch(SIM_OBJECT(SIM_OBJECT_TLB, cpu), how);
}

/* ---- Caches (hw_tlb.c) --------------------------------------------------------------------- */

/*
 * All that a CPU caches under one tag: a dense array of entries, found through a hash of (level,
 * page number, leaf or table). Several entries may answer to one address.
 */
struct hw_space {
	enum hw_space_kind sp_kind;
	uint64_t sp_key;
	struct hw_tlb_entry *sp_entries;
	uint32_t sp_n;
	uint32_t sp_room;
	uint32_t *sp_heads; /* index + 1; 0: none */
	uint32_t sp_mask;   /* number of heads - 1 */
	uint32_t sp_leaves[HW_LEAF_LEVELS];
	uint32_t sp_tables[HW_LEVELS_MAX];
};

#define HW_RECENT 16
#define HW_FRAME_COUNTS 8192 /* power of two */

struct hw_cpu {
	unsigned int hw_id;
	struct hw_space **hw_spaces;
	unsigned int hw_nspaces;
	struct hw_space *hw_last; /* looked up last */
	uint32_t hw_entries;	  /* in all spaces */
	uint64_t hw_flushes;	  /* a walk that finds this changed starts again */
	const struct hw_context *hw_guest;
	const struct hw_context *hw_host;
	uint64_t hw_recent[HW_RECENT]; /* addresses to speculate about */
	unsigned int hw_nrecent;
	uint32_t hw_fills; /* of a search: attempts left */
};

struct hw_state {
	unsigned int st_ncpus;
	struct hw_cpu *st_cpus;
	uint32_t *st_frames; /* how many cached entries name a frame, by a hash of its number */
	uint32_t *st_runs;   /* the same for 2 MiB leaves, by a hash of the 2 MiB number */
	uint32_t st_huge;    /* 1 GiB leaves cached */
	uint32_t st_live;    /* bit per CPU: it has a context that it may speculate for */
	uint32_t st_entries; /* cached by all CPUs */
	struct sim_agent_ops st_speculate;
	struct sim_agent_ops st_evict;
	struct hw_search st_search;
	uint32_t st_evictions; /* of a search: left */
	hw_dead_use_fn *st_dead_use;
	void *st_dead_arg;
};

/* The one that exists. */
extern struct hw_state *hw_state;

static inline struct hw_cpu *
hw_cpu_at(unsigned int cpu)
{
	return &hw_state->st_cpus[cpu];
}

/*
 * The space of what ctx translates (linear: of the guest's linear addresses); made if there is
 * none.
 */
struct hw_space *hw_space_of(struct hw_cpu *c, const struct hw_context *ctx, bool linear);
struct hw_space *hw_space_global(struct hw_cpu *c);

#define HW_MATCH_MAX 8

/*
 * Appends to found[n...] the translations (or table entries) that serve va; returns their number.
 */
unsigned int hw_match_leaves(struct hw_space *s, uint64_t va, struct hw_tlb_entry **found,
			     unsigned int n);
unsigned int hw_match_tables(struct hw_space *s, uint64_t va, struct hw_tlb_entry **found,
			     unsigned int n);

/* Caches what *e says, unless that is there already; fills in its key and links. */
void hw_cache(struct hw_cpu *c, const struct hw_context *ctx, struct hw_space *s,
	      struct hw_tlb_entry *e);

/* Drops translations of va and table entries on its path. */
void hw_drop_address(struct hw_cpu *c, struct hw_space *s, uint64_t va, bool tables);
void hw_drop_tables(struct hw_cpu *c, struct hw_space *s);
void hw_drop_space(struct hw_cpu *c, struct hw_space *s);
void hw_drop_all(struct hw_cpu *c);
void hw_tidy_spaces(struct hw_cpu *c);
void hw_free_spaces(struct hw_cpu *c);

/* ---- Walks (hw_walk.c) --------------------------------------------------------------------- */

enum hw_walked {
	HW_WALK_DONE,	 /* *e is what was found, and cached */
	HW_WALK_FAULT,	 /* *fault says why */
	HW_WALK_CHANGED, /* the tables changed under it: again */
};

enum hw_walked hw_walk_once(struct hw_cpu *c, const struct hw_context *ctx, uint64_t gpa,
			    unsigned int access, struct hw_tlb_entry *e, struct hw_fault *fault);

/* One speculative attempt at gpa, as an agent: at most `levels` entries are read. */
bool hw_speculate(struct hw_cpu *c, const struct hw_context *ctx, uint64_t gpa,
		  unsigned int levels);

/* Reports an entry that software must not have written. */
void hw_report_bad(const struct hw_context *ctx, uint64_t gpa, unsigned int level, uint64_t value,
		   const struct hw_entry *e);

/* ---- Accesses (hw_access.c) ---------------------------------------------------------------- */

/* An access used an entry that the oracle has declared dead: a violation. */
void hw_dead_use(struct hw_cpu *c, const struct hw_context *ctx, const struct hw_tlb_entry *e,
		 uint64_t gpa, unsigned int access);

#endif /* SIM_HW_PRIV_H */
