/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Page-table formats as data.
 *
 * A format is a row of masks, filled once by pt_fmt_init() and constant from then on. All code of
 * the core works on these masks; what hardware a pmap is for is never asked again, so tables of
 * every kind live side by side in one process. pt_fmt.c is the only file that knows a bit number.
 *
 *                  X86, RVI   EPT, hardware A/D     EPT, emulated A/D
 *   valid          0          any of R, W, X        52 (software valid)
 *   readable       0          0                     52
 *   writable       1          1                     53 (software writable)
 *   accessed       5          8                     0  (= EPT read)
 *   modified       6          9                     1  (= EPT write)
 *   executable     NX 63      X 2                   55 (software execute); X 2 shown only with A
 *
 * Emulated A/D (the idea is Alan Cox's, in FreeBSD's bhyve): hardware sees nothing of an entry
 * whose A is clear, so the first touch faults, and the fault sets A; it may write once M is set. So
 * "A is clear" keeps its meaning, "no CPU holds a translation", on CPUs that do not know A and D.
 *
 * Levels count from the leaf: 0 maps 4 KiB, 1 maps 2 MiB, 2 maps 1 GiB.
 */

#ifndef PMAP_PT_FMT_H
#define PMAP_PT_FMT_H

#include "pmap/host.h"

typedef uint64_t pt_entry_t;

/* Guest-physical (for PT_X86: linear) and host-physical addresses, in bytes. */
typedef uint64_t gpa_t;
typedef uint64_t hpa_t;

enum pt_type {
	PT_X86, /* host kernel, host processes, guest-internal tables */
	PT_EPT, /* Intel extended page tables */
	PT_RVI, /* AMD nested page tables (rapid virtualization indexing) */
	PT_TYPE_COUNT,
};

#define PT_LEVELS_MAX 5
#define PT_LEAF_LEVELS_MAX 3

/* Rights. A mapping without any is no mapping. */
#define PMAP_PROT_R 1u
#define PMAP_PROT_W 2u
#define PMAP_PROT_X 4u
#define PMAP_PROT_RW (PMAP_PROT_R | PMAP_PROT_W)
#define PMAP_PROT_RX (PMAP_PROT_R | PMAP_PROT_X)
#define PMAP_PROT_RWX (PMAP_PROT_R | PMAP_PROT_W | PMAP_PROT_X)
#define PMAP_PROT_COUNT 8

/* Memory types, in no format's encoding. */
enum pt_memattr {
	PT_MEMATTR_WB, /* write back: system memory */
	PT_MEMATTR_UC, /* uncached: device windows */
	PT_MEMATTR_WC, /* write combining: framebuffers */
	PT_MEMATTR_WT,
	PT_MEMATTR_WP,
	PT_MEMATTR_COUNT,
};

/* What one CPU model allows of a format. ept/ computes this from capability registers. */
struct pt_caps {
	uint64_t pc_pat;   /* IA32_PAT in force; X86 and RVI memory types are indices into it */
	uint8_t pc_levels; /* 4 or 5 */
	uint8_t pc_leaf_levels;	  /* leaf sizes: 1 = 4K, 2 = and 2M, 3 = and 1G */
	uint8_t pc_phys_bits;	  /* MAXPHYADDR, 36 to 52 */
	bool pc_exec_only;	  /* EPT: X without R; not under emulation */
	bool pc_emulate_ad;	  /* EPT: no accessed and dirty flags in hardware */
	bool pc_nx;		  /* X86, RVI: EFER.NXE is set */
	bool pc_user;		  /* X86: user mappings (always so for RVI) */
	bool pc_global;		  /* X86: global mappings (PG_G), for the host kernel */
	bool pc_ignore_guest_pat; /* EPT: IPAT, the guest's PAT does not override the type */
};

/* The first line is what every walk needs; code hoists from it by the pmap_*_bit() accessors. */
struct pt_fmt {
	pt_entry_t pf_valid;  /* an entry is valid if it has any of these */
	pt_entry_t pf_addr;   /* the output address, at every level */
	pt_entry_t pf_ps;     /* above level 0: a leaf */
	pt_entry_t pf_rw;     /* writable */
	pt_entry_t pf_a;      /* accessed */
	pt_entry_t pf_m;      /* modified */
	pt_entry_t pf_x_mask; /* executable if (entry & pf_x_mask) == pf_x_val */
	pt_entry_t pf_x_val;

	pt_entry_t pf_prot[PMAP_PROT_COUNT]; /* rights -> bits, A and M clear */
	pt_entry_t pf_r;		     /* readable */
	pt_entry_t pf_hw_x; /* hardware's X where it follows A; 0 where A needs no emulation */
	pt_entry_t
		pf_a_clear; /* what goes when A goes; includes M under emulation (no W without R) */
	pt_entry_t pf_soft_ad; /* the bits a fault must set in software; 0 with hardware A/D */
	pt_entry_t pf_leaf;    /* constant bits of each leaf (U, G, ignore PAT) */
	pt_entry_t pf_table;   /* constant bits of an entry that points to a table */
	pt_entry_t pf_table_a; /* A of such an entry; 0: going by it has no use (pmap_quiet.c) */
	pt_entry_t pf_quiet;   /* software, there: a flush is over since A was cleared */
	pt_entry_t pf_wired;   /* software: counts as wired */
	pt_entry_t pf_frozen;  /* software: the value of a slot that nobody may fill; not valid */
	pt_entry_t pf_memattr[2][PT_MEMATTR_COUNT]; /* [level > 0][type] */
	pt_entry_t pf_memattr_mask[2];
	/* A leaf but for its frame; 0: no such type with such rights, or no such level */
	pt_entry_t pf_new_leaf[PT_LEAF_LEVELS_MAX][PT_MEMATTR_COUNT][PMAP_PROT_COUNT];
	gpa_t pf_gpa_wrong[PT_LEAF_LEVELS_MAX]; /* bits that no leaf's address may have, by level */
	hpa_t pf_hpa_wrong[PT_LEAF_LEVELS_MAX];
	pt_entry_t pf_rsvd_leaf[PT_LEAF_LEVELS_MAX]; /* must be zero, by level */
	pt_entry_t pf_rsvd_table[PT_LEVELS_MAX];

	uint64_t pf_limit;     /* first address beyond the space: 2^48 or 2^57 */
	hpa_t pf_phys_limit;   /* first host-physical address beyond the CPU's */
	uint8_t pf_prot_ok;    /* bit p is set if rights p can be expressed */
	uint8_t pf_memattr_ok; /* bit t is set if type t can be expressed */
	uint8_t pf_levels;
	uint8_t pf_leaf_levels;
	uint16_t pf_invlpg_pages; /* flush page by page up to so many; 0: contexts only */
	enum pt_type pf_type;	  /* for printing; no code decides by it */
	bool pf_emulated_ad;	  /* likewise, and for tests */
};

/*
 * Fills *f. Returns 0, or -EINVAL if type or caps are out of range or contradict each other
 * (emulated A/D or execute-only outside EPT, 1 GiB without 2 MiB, physical width outside 36..52, no
 * WB in the PAT); *f is then unchanged. Pure; any context. Sources: Intel SDM vol. 3A 4.5 (4- and
 * 5-level paging), vol. 3C 29.3 (EPT); AMD APM vol. 2 5.3 (long-mode paging), 15.25 (nested
 * paging).
 */
int pt_fmt_init(struct pt_fmt *f, enum pt_type type, const struct pt_caps *caps);

/*
 * Bytes that one entry at a level maps; log2 of it; the slot of an address in a table of a level.
 */
static inline unsigned int
pt_level_shift(unsigned int level)
{
	return HOST_PAGE_SHIFT + 9 * level;
}

static inline uint64_t
pt_level_size(unsigned int level)
{
	return (uint64_t)1 << pt_level_shift(level);
}

static inline unsigned int
pt_index(gpa_t gpa, unsigned int level)
{
	return (gpa >> pt_level_shift(level)) & (HOST_TABLE_WORDS - 1);
}

/*
 * What must happen to cached translations when an entry changes from old to new. Judged on the
 * value that the atomic operation replaced; true for a leaf without a pending restriction (see
 * pd_stamp in docs/PROTOCOL-TLB.md).
 */
enum pt_change {
	PT_CHANGE_NONE,	    /* nothing cached can be wrong: installed, widened, equal */
	PT_CHANGE_UNCACHED, /* restricted or replaced, but A was clear: nothing can be cached */
	PT_CHANGE_AGED,	    /* only A was cleared: may be flushed late */
	PT_CHANGE_FLUSH,    /* a stale translation would be wrong */
};

/* Pure, any context, for leaves of one level, empty entries included. */
enum pt_change pt_change_kind(const struct pt_fmt *f, pt_entry_t old, pt_entry_t pte_new,
			      unsigned int level);

/* ---- Page tables that guests write ----------------------------------------------------------- */

/*
 * What a guest's own tables may look like: rows for every paging mode of x86, for walking what the
 * guest wrote. Unlike the formats above these are never written but for accessed and dirty flags,
 * and any bits may be found in them.
 */
enum pt_guest_mode {
	PT_GUEST_FLAT,	/* paging is off */
	PT_GUEST_32BIT, /* two levels, entries of 4 bytes */
	PT_GUEST_PAE,	/* four entries above two levels */
	PT_GUEST_4LEVEL,
	PT_GUEST_5LEVEL,
	PT_GUEST_MODE_COUNT,
};

/* What the virtual CPU is and has switched on, as far as formats depend on it. */
struct pt_guest_caps {
	enum pt_guest_mode gc_mode;
	uint8_t gc_phys_bits; /* MAXPHYADDR as the guest sees it, 32 to 52 */
	bool gc_nx;	      /* EFER.NXE */
	bool gc_pse;	      /* CR4.PSE; matters to 32-bit paging alone, which then has PSE-36 */
	bool gc_1g;	      /* CPUID: pages of 1 GiB */
};

/* One level. */
struct pt_guest_level {
	pt_entry_t gl_ps;	  /* a leaf; level 0 has nothing else. 0: the level has none */
	pt_entry_t gl_addr;	  /* address of a table, or of a page, as far as it is in place */
	pt_entry_t gl_frame_high; /* the rest of a page's (PSE-36), to be shifted left */
	pt_entry_t gl_rsvd[2];	  /* must be zero, [is a leaf] */
	uint8_t gl_frame_shift;
	uint8_t gl_shift; /* log2 of what an entry maps */
	uint8_t gl_index_bits;
	bool gl_bare; /* knows neither rights nor A */
};

struct pt_guest_fmt {
	struct pt_guest_level gf_level[PT_LEVELS_MAX];
	pt_entry_t gf_valid;
	pt_entry_t gf_rw; /* rights: those that all levels grant */
	pt_entry_t gf_us;
	pt_entry_t gf_nx; /* 0: everything is executable */
	pt_entry_t gf_a;
	pt_entry_t gf_m;   /* in leaves */
	uint64_t gf_root;  /* CR3: address of the top table */
	uint8_t gf_levels; /* 0: flat */
	uint8_t gf_entry_lg2_bytes;
	uint8_t gf_linear_bits; /* 32, 48, 57 */
	bool gf_sign_extended;	/* addresses are canonical or wrong; otherwise just so long */
};

/*
 * Fills *f. 0, or -EINVAL if the mode is none or the physical width outside 32..52; *f is then
 * unchanged. Pure; any context. Reserved bits are Intel's: AMD's CPUs have one more, bit 8 of
 * entries that point from the two levels above 2 MiB to a table. Sources: Intel SDM vol. 3A, 4.3
 * (32-bit), 4.4 (PAE), 4.5 (4 and 5 levels).
 */
int pt_guest_fmt_init(struct pt_guest_fmt *f, const struct pt_guest_caps *caps);

#endif /* PMAP_PT_FMT_H */
