/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The simulated hardware that walks page tables and caches what it found.
 *
 * Written from the manuals alone (Intel SDM vol. 3A chapter 4, vol. 3C chapter 29; AMD APM vol. 2
 * chapters 5 and 15), as a second implementation beside the core's: it shares no bit number with
 * it. What it must be is unkind. It keeps a translation as long as the architecture lets it,
 * fetches ahead whatever it may, uses any of several cached translations, follows cached table
 * pointers after the entry in memory is gone, and sets accessed and dirty flags in steps of their
 * own between which all others may act. Where the manuals leave a choice, the choice is taken from
 * the machine's source.
 *
 * Kinds. HW_X86 is ordinary paging; HW_EPT and HW_NPT translate guest-physical addresses. Below,
 * `gpa` is the address that the tables translate: for HW_X86 the linear address. Levels count from
 * the leaf: 0 maps 4 KiB, 1 maps 2 MiB, 2 maps 1 GiB; an entry's level is that of the table that
 * holds it.
 *
 * What is cached, per CPU, and by which tag:
 *
 *   translations of gpa, and       EPT: EP4TA (bits 51:12 of EPTP); NPT: ASID; X86: PCID
 *   paging-structure entries       (nothing else: not VPID, not nCR3, not CR3)
 *   translations of linear         EPT: EP4TA and VPID ("combined mappings"); NPT: ASID
 *   addresses of a guest           made by hw_access_linear() only
 *   global translations (X86)      no tag
 *
 * Not modeled, and legal to leave out: large pages cached in pieces, paging-structure caches of the
 * guest's own tables, protection keys, shadow stacks, mode-based execute control, PML, WP = 0.
 *
 * Context: a function with a cpu argument is called in that CPU's fiber (or in the driver); a walk
 * and an invalidation are scheduling points. One set of CPUs at a time, that of the machine.
 */

#ifndef SIM_HW_H
#define SIM_HW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hw_kind { HW_X86, HW_EPT, HW_NPT };

#define HW_LEVELS_MAX 5
#define HW_LEAF_LEVELS 3

/* ---- CPU models ---------------------------------------------------------------------------- */

/*
 * Kindnesses: what gentle hardware, and most emulators, would do. None by default; tests switch
 * them on to show which bugs would then stay hidden.
 */
#define HW_KIND_NO_TLB (1u << 0)	 /* caches nothing: every access walks from the root */
#define HW_KIND_NO_PSC (1u << 1)	 /* no paging-structure caches */
#define HW_KIND_NO_SPECULATION (1u << 2) /* fetches only what is accessed */
#define HW_KIND_ATOMIC_WALK (1u << 3)	 /* nobody acts during a walk */
#define HW_KIND_EARLY_AD (1u << 4)	 /* A at once on the way down, A and D of a leaf together */
#define HW_KIND_WIDE_FLUSH (1u << 5)	 /* any invalidation drops all that the CPU has */
#define HW_KIND_VPID_FLUSHES_GPA (1u << 6) /* INVVPID drops guest-physical mappings too */
#define HW_KIND_EXIT_FLUSHES (1u << 7)	   /* VM exits drop all, as QEMU's and Bochs's do */
#define HW_KIND_ONE_SIZE (1u << 8)	/* a new translation drops those of other sizes below it */
#define HW_KIND_FAULT_FLUSHES (1u << 9) /* a fault drops the whole context */
#define HW_KIND_DIRTY_AGAIN (1u << 10)	/* a write through a dirty translation sets D again */
#define HW_KIND_ROOT_TAGS (1u << 11)	/* ASIDs and PCIDs of different roots never meet */
#define HW_KIND_NO_SPURIOUS (1u << 12)	/* a cached lack of rights is looked up again */
#define HW_KIND_NEWEST (1u << 13)	/* of several translations the newest is used */

struct hw_kindness {
	const char *ki_name;
	uint32_t ki_bit;
	const char *ki_about;
};

/* The i-th, or NULL past the last. A list of names with commas: 0, or -EINVAL and a sentence. */
const struct hw_kindness *hw_kindness(unsigned int i);
int hw_kindness_read(const char *list, uint32_t *set, char *why, size_t why_bytes);

/* What one model of CPU does. */
struct hw_model {
	uint8_t hm_phys_bits; /* MAXPHYADDR */
	bool hm_page_2m;      /* EPT: 2 MiB leaves; X86 and NPT always have them */
	bool hm_page_1g;
	bool hm_exec_only;	/* EPT: X without R is no misconfiguration */
	bool hm_ept_ad;		/* EPT: EPTP bit 6 may be set */
	bool hm_ept_5_levels;	/* EPT: walks of 5 levels, too */
	bool hm_nx;		/* X86, NPT: EFER.NXE of the host */
	bool hm_flush_by_asid;	/* NPT: TLB_CONTROL 3 and 7 */
	uint8_t hm_invept;	/* EPT: bit t is set if INVEPT type t (1, 2) is supported */
	uint8_t hm_invvpid;	/* EPT: the same for INVVPID types 0 to 3 */
	uint32_t hm_asids;	/* NPT: ASIDs are below this */
	uint64_t hm_pat;	/* IA32_PAT of the host: X86 and NPT */
	bool hm_mixed_size_mce; /* erratum: two sizes for one address are a machine check */
	bool hm_tolerant; /* illegal entries only fault; otherwise they are violations (CK-HW) */
	uint32_t hm_tlb_entries; /* room per CPU, for all together; 0: 65536 */
	uint32_t hm_kindness;	 /* HW_KIND_* */
};

/* The PAT after reset (Intel SDM vol. 3A, 12.12.4). */
#define HW_PAT_RESET UINT64_C(0x0007040600070406)

/* A CPU that can do everything and is unkind: 46 bits, 16 ASIDs, PAT as after reset. */
void hw_model_init(struct hw_model *m);

/*
 * INVEPT and INVVPID types (Intel SDM vol. 3C, chapter 31), TLB_CONTROL (AMD APM vol. 2, 15.16.1).
 */
enum hw_invept_type { HW_INVEPT_SINGLE = 1, HW_INVEPT_ALL = 2 };
enum hw_invvpid_type {
	HW_INVVPID_ADDRESS,
	HW_INVVPID_SINGLE,
	HW_INVVPID_ALL,
	HW_INVVPID_SINGLE_KEEP_GLOBAL,
};
enum hw_tlb_control {
	HW_TLB_KEEP = 0,
	HW_TLB_FLUSH_ALL = 1,
	HW_TLB_FLUSH_ASID = 3,
	HW_TLB_FLUSH_ASID_KEEP_GLOBAL = 7,
};

/* ---- Contexts ------------------------------------------------------------------------------ */

/* What a CPU's registers say about one address space. The caller's; constant while it is in use. */
struct hw_context {
	const struct hw_model *hc_model;
	enum hw_kind hc_kind;
	uint64_t hc_root;  /* the register: EPTP, nCR3 or CR3 */
	uint8_t hc_levels; /* X86, NPT: 4, or 5 with the host's CR4.LA57; EPT: by EPTP */
	uint16_t hc_tag;   /* VPID (0: not in use), ASID or PCID (0 without PCIDs) */
	bool hc_global;	   /* X86: CR4.PGE */
	bool hc_smep;	   /* X86 */
	bool hc_smap;	   /* X86, with EFLAGS.AC = 0 */

	/*
	 * The guest's own paging, for hw_access_linear(): false is a fault of its own. NULL:
	 * identity.
	 */
	bool (*hc_guest_map)(void *arg, uint64_t linear, uint64_t *gpa);
	void *hc_guest_arg;
};

/*
 * Whether a CPU accepts the register: for EPTP SDM vol. 3C 27.2.1.1 (a failed VM entry), for nCR3
 * and ASID APM vol. 2 15.5.1 (VMEXIT_INVALID), for CR3 SDM vol. 2 MOV to CR3 (#GP). If not, why[]
 * says so.
 */
bool hw_context_valid(const struct hw_context *ctx, char *why, size_t why_bytes);

/* Address of the root table; number of levels; whether hardware sets A and D. */
uint64_t hw_context_root(const struct hw_context *ctx);
unsigned int hw_context_levels(const struct hw_context *ctx);
bool hw_context_has_ad(const struct hw_context *ctx);

/* ---- Accesses ------------------------------------------------------------------------------ */

/* What is done to the address. */
#define HW_READ 1u
#define HW_WRITE 2u
#define HW_EXEC 4u
#define HW_USER 8u	  /* X86: in user mode (CPL 3) */
#define HW_GUEST_WALK 16u /* EPT, NPT: by the CPU's walk of the guest's own tables */

/* What a translation grants: the same bits, HW_USER meaning that user mode may. */
enum hw_memtype { HW_UC = 0, HW_WC = 1, HW_WT = 4, HW_WP = 5, HW_WB = 6, HW_UC_MINUS = 7 };

struct hw_translation {
	uint64_t ht_hpa;  /* of the byte */
	uint8_t ht_level; /* size of what was cached */
	uint8_t ht_rights;
	uint8_t ht_memtype; /* enum hw_memtype */
	bool ht_ignore_pat; /* EPT */
	bool ht_dirty;	    /* D was set, or there is no D */
	bool ht_cached;	    /* from the TLB, without a walk */
};

enum hw_fault_kind {
	HW_FAULT_EPT_VIOLATION, /* hf_code: the exit qualification */
	HW_FAULT_EPT_MISCONFIG,
	HW_FAULT_NPF,	       /* hf_code: EXITINFO1 */
	HW_FAULT_PAGE,	       /* hf_code: the error code of #PF */
	HW_FAULT_NONCANONICAL, /* #GP */
	HW_FAULT_GUEST,	       /* the guest's own paging has no such address */
};

struct hw_fault {
	enum hw_fault_kind hf_kind;
	uint64_t hf_code;
	uint64_t hf_gpa;
	uint64_t hf_entry; /* the entry that decided; 0 if it was cached */
	uint8_t hf_level;  /* its level */
	bool hf_cached;	   /* raised by a cached translation: may be spurious */
	bool hf_reserved;  /* a reserved bit, or a misconfiguration */
};

enum hw_result { HW_OK, HW_FAULT };

/*
 * One access. HW_OK: *out says where it goes; do the access before the next scheduling point, as
 * the instruction would. HW_FAULT: *fault says what the CPU reports, and what was cached of the
 * address is dropped as the manuals promise. fault->hf_gpa is the address as given.
 */
enum hw_result hw_access(unsigned int cpu, const struct hw_context *ctx, uint64_t gpa,
			 unsigned int access, struct hw_translation *out, struct hw_fault *fault);

/* The same by a linear address of the guest, through combined mappings. EPT and NPT. */
enum hw_result hw_access_linear(unsigned int cpu, const struct hw_context *ctx, uint64_t linear,
				unsigned int access, struct hw_translation *out,
				struct hw_fault *fault);

/* ---- What memory says ---------------------------------------------------------------------- */

enum hw_why_bad {
	HW_FINE,
	HW_BAD_RESERVED, /* a reserved bit */
	HW_BAD_RIGHTS,	 /* EPT: W without R, or X alone without the capability */
	HW_BAD_MEMTYPE,	 /* EPT: type 2, 3 or 7 */
	HW_BAD_POINTER,	 /* leads to what is no table */
};

/* Where an entry leads, whatever its format: bits 51:12. */
#define HW_FRAME_MASK (((uint64_t)1 << 52) - SIM_PAGE_SIZE)

/* A walk of the tables as they are, without any effect. */
struct hw_walk {
	bool wk_present; /* ends in a leaf, legal at every level */
	enum hw_why_bad wk_bad;
	uint8_t wk_level;  /* of the last entry */
	uint8_t wk_rights; /* over all levels, so far */
	uint8_t wk_memtype;
	bool wk_ignore_pat;
	bool wk_dirty;	   /* of the leaf: D, or there is no D */
	bool wk_accessed;  /* of all entries, or there is no A */
	bool wk_global;	   /* X86 */
	uint64_t wk_hpa;   /* of the page */
	unsigned int wk_n; /* entries met, top down */
	uint64_t wk_entries[HW_LEVELS_MAX];
	uint64_t wk_where[HW_LEVELS_MAX]; /* their addresses */
};

void hw_walk_quiet(const struct hw_context *ctx, uint64_t gpa, struct hw_walk *walk);

/* The same over memory as load() shows it; load returns false for what is no table. */
void hw_walk_over(const struct hw_context *ctx, uint64_t gpa,
		  bool (*load)(void *arg, uint64_t hpa, uint64_t *value), void *arg,
		  struct hw_walk *walk);

/*
 * The entry at `level` above gpa, over such memory: true if it leads to a table, with that table's
 * address and the rights over all levels down to there.
 */
bool hw_table_over(const struct hw_context *ctx, uint64_t gpa, unsigned int level,
		   bool (*load)(void *arg, uint64_t hpa, uint64_t *value), void *arg,
		   uint64_t *table, unsigned int *rights, bool *accessed);

/* ---- Invalidation -------------------------------------------------------------------------- */

/*
 * Each does exactly what its instruction promises, no more. A type that the model lacks, a bad
 * EPTP, VPID 0 or an address that is not canonical is a violation (CK-HW): the instruction would
 * fail and flush nothing. Intel SDM vol. 3C 29.4.3.1; AMD APM vol. 2 15.16; vol. 3A 4.10.4.1.
 */
void hw_invept(unsigned int cpu, const struct hw_model *m, unsigned int type, uint64_t eptp);
void hw_invvpid(unsigned int cpu, const struct hw_model *m, unsigned int type, uint16_t vpid,
		uint64_t linear);
void hw_invlpg(unsigned int cpu, const struct hw_context *ctx, uint64_t va);
void hw_invlpga(unsigned int cpu, uint32_t asid, uint64_t linear);
void hw_guest_invlpg(unsigned int cpu, const struct hw_context *ctx, uint64_t linear);
void hw_flush_asid(unsigned int cpu, uint32_t asid);
void hw_flush_all_asids(unsigned int cpu);

/* MOV to CR3 (global false), or CR4.PGE toggled (true: global ones, and every PCID). */
void hw_flush_cr3(unsigned int cpu, const struct hw_context *ctx, bool global);

/* ---- What is live on a CPU ----------------------------------------------------------------- */

/*
 * VM entry and exit, by the hardware's side: call between sim_guest_enter() and sim_guest_exit(). A
 * live context is one that the CPU may speculate for. tlb_control acts on NPT only. A register that
 * the CPU would refuse is a violation (CK-HW). Entry and exit drop combined mappings of VPID 0, and
 * nothing else (Intel SDM vol. 3C 29.4.3.1).
 */
void hw_guest_enter(unsigned int cpu, const struct hw_context *ctx, enum hw_tlb_control control);
void hw_guest_exit(unsigned int cpu);

/* The host's own address space on this CPU: MOV to CR3; NULL: none that matters. */
void hw_load_cr3(unsigned int cpu, const struct hw_context *ctx);

/* The context that is live, or NULL. In guest mode the guest's. */
const struct hw_context *hw_live(unsigned int cpu);

/* An address worth speculating about, beside those accessed of late. */
void hw_hint(unsigned int cpu, uint64_t gpa);

/* ---- Looking into the caches --------------------------------------------------------------- */

enum hw_space_kind {
	HW_SPACE_X86,	     /* key: PCID */
	HW_SPACE_X86_GLOBAL, /* key: 0 */
	HW_SPACE_EPT,	     /* key: EP4TA */
	HW_SPACE_EPT_LINEAR, /* key: EP4TA << 4 | VPID */
	HW_SPACE_NPT,	     /* key: ASID */
	HW_SPACE_NPT_LINEAR, /* key: ASID */
};

/* A cached translation or, with te_table, a cached paging-structure entry. */
struct hw_tlb_entry {
	uint64_t te_key;    /* private: what it is found by */
	uint64_t te_va;	    /* first address it serves, in its space: gpa or linear address */
	uint64_t te_gpa;    /* first address that the tables translated for it */
	uint64_t te_hpa;    /* first byte of the page, or the next table */
	uint64_t te_root;   /* address of the root that it came from */
	uint64_t te_step;   /* when it was made (sim_step_count()) */
	uint64_t te_dead;   /* the oracle's: not 0 if it may not be used any more */
	uint32_t te_next;   /* private */
	uint32_t te_serial; /* the story's: names it there; 0: not yet */
	uint8_t te_level;   /* of a leaf: its size; of a table entry: of the table that held it */
	bool te_table;
	uint8_t te_rights; /* over all levels down to it */
	uint8_t te_memtype;
	bool te_ignore_pat;
	bool te_dirty;
	bool te_global;
	bool te_stale; /* the story's: the tables do not allow it */
};

/* Bytes that an entry covers. */
static inline uint64_t
hw_entry_bytes(const struct hw_tlb_entry *e)
{
	return (uint64_t)1 << (12 + 9 * e->te_level);
}

/*
 * Calls fn for every cached entry of a CPU; fn may change te_dead only. `hw_tlb_foreach_range`
 * limits it to entries that came from a root and overlap [start, end) of its gpa; end 0: all.
 */
typedef void hw_tlb_fn(void *arg, unsigned int cpu, enum hw_space_kind space, uint64_t key,
		       struct hw_tlb_entry *e);
void hw_tlb_foreach(unsigned int cpu, hw_tlb_fn *fn, void *arg);
void hw_tlb_foreach_range(unsigned int cpu, uint64_t root, uint64_t start, uint64_t end,
			  hw_tlb_fn *fn, void *arg);

/* Number of entries cached by a CPU. */
unsigned int hw_tlb_count(unsigned int cpu);

/*
 * Drops one entry, as an eviction would; index below the count, in the order of hw_tlb_foreach().
 */
void hw_tlb_evict(unsigned int cpu, unsigned int index);

/* False if surely no CPU has cached anything that names the 4 KiB frame at hpa. */
bool hw_frame_maybe_cached(uint64_t hpa);

/* Called when an access or a walk for it uses an entry with te_dead set; must not return. */
typedef void hw_dead_use_fn(void *arg, unsigned int cpu, const struct hw_context *ctx,
			    const struct hw_tlb_entry *e, uint64_t gpa, unsigned int access);
void hw_set_dead_use(hw_dead_use_fn *fn, void *arg);

/* ---- Counters ------------------------------------------------------------------------------ */

enum hw_counter {
	HW_CT_TLB_HIT,
	HW_CT_WALK,
	HW_CT_WALK_RESTART, /* an entry changed under the walk, or an invalidation came between */
	HW_CT_PSC_HIT,	    /* walks that began below the root */
	HW_CT_SET_A,
	HW_CT_SET_D,
	HW_CT_SPEC_FILL,  /* translations cached ahead */
	HW_CT_SPEC_TABLE, /* paging-structure entries cached ahead */
	HW_CT_SPEC_SET_A,
	HW_CT_EVICT,
	HW_CT_MIXED_SIZE,  /* a translation cached beside one of another size */
	HW_CT_AMBIGUOUS,   /* accesses with more than one translation to choose from */
	HW_CT_CLEAN_WRITE, /* writes through a clean translation: walked again for D */
	HW_CT_FAULT,
	HW_CT_FAULT_CACHED, /* of these, by a cached translation */
	HW_CT_INVALIDATE,
	HW_CT_INVALIDATED, /* entries dropped by these */
	HW_CT_COUNT,
};

extern uint64_t hw_counters[HW_CT_COUNT];
const char *hw_counter_name(enum hw_counter c);

/* ---- Life ---------------------------------------------------------------------------------- */

/*
 * For a search of all runs: what the hardware may do by itself, counted. A CPU attempts hs_fills
 * speculative walks, each to one of the targets; from a cached entry only where that says something
 * else than memory.
 */
#define HW_TARGETS_MAX 4

struct hw_search {
	bool hs_on;
	uint32_t hs_fills;     /* of each CPU */
	uint32_t hs_evictions; /* of all together */
	unsigned int hs_ntargets;
	uint64_t hs_targets[HW_TARGETS_MAX];
};

struct hw_config {
	unsigned int hg_cpus;	      /* 0: as many as the machine has */
	uint32_t hg_speculate_weight; /* odds of the agents against SIM_CPU_WEIGHT; 0: never */
	uint32_t hg_evict_weight;
	struct hw_search hg_search;
};

/* One more target, for all CPUs. */
void hw_search_target(uint64_t gpa);

/* The defaults: speculation 3, evictions 1. */
void hw_config_init(struct hw_config *cfg);

/*
 * Hardware for the machine that exists, with empty caches and counters at 0; adds its agents. 0 or
 * -ENOMEM. Destroy it before or after the machine; creating it again destroys what was there.
 */
int hw_create(const struct hw_config *cfg);
void hw_destroy(void);

#endif /* SIM_HW_H */
