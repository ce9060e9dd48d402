/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * ept: what this CPU can do with nested page tables, and what it told us when one of them failed.
 *
 * Three questions, all answered by pure functions without state:
 *  - capabilities: raw CPUID and MSR words of a CPU -> what to tell pmap_init(), and which flush
 *    instructions exist; or a refusal that names what is missing;
 *  - pointers: the root table of a pmap -> EPTP (Intel) or nCR3 (AMD), and whether VM entry would
 *    accept an EPTP;
 *  - exits: exit qualification or EXITINFO1 -> which guest-physical address was used for what.
 *
 * Reading the words is the caller's task: it needs privileged instructions. So whoever has words,
 * be it a kernel, a simulator or a test, gets the same answers. Every function may be called in any
 * context; none allocates, locks or keeps a pointer that it was given.
 *
 * This folder is the only place that knows bit numbers of the capability registers, of EPTP and
 * nCR3 and of exit codes; bits of page-table entries are pmap's.
 */

#ifndef EPT_EPT_H
#define EPT_EPT_H

#include "pmap/pmap.h"

/* ---- Capabilities ---------------------------------------------------------------------------- */

/*
 * The raw words of one CPU, as the instruction or register returned them; 0 for one that the CPU
 * does not have. The words of the other vendor are 0, too. Where memory encryption takes bits away
 * from physical addresses, the caller lowers MAXPHYADDR by as many.
 */
struct ept_words {
	/* Every x86 CPU. */
	uint32_t ew_cpuid_1_eax;	/* family, model, stepping */
	uint32_t ew_cpuid_1_ecx;	/* bit 5: VMX */
	uint32_t ew_cpuid_80000001_ecx; /* bit 2: SVM; bit 9: OSVW */
	uint32_t ew_cpuid_80000001_edx; /* bit 20: NX; bit 26: 1 GiB pages; bit 29: long mode */
	uint32_t ew_cpuid_80000008_eax; /* bits 7:0: MAXPHYADDR, see above */
	uint64_t ew_host_efer;		/* the host's, as in force when a guest is entered */
	uint64_t ew_host_cr4;
	uint64_t ew_host_pat;

	/* Intel (SDM vol. 3D, appendix A). */
	uint64_t ew_feature_control;   /* IA32_FEATURE_CONTROL, 3AH */
	uint64_t ew_arch_capabilities; /* IA32_ARCH_CAPABILITIES, 10AH */
	uint64_t ew_procbased_ctls;    /* IA32_VMX_PROCBASED_CTLS, 482H, or its TRUE form, 48EH */
	uint64_t ew_procbased_ctls2;   /* IA32_VMX_PROCBASED_CTLS2, 48BH */
	uint64_t ew_ept_vpid_cap;      /* IA32_VMX_EPT_VPID_CAP, 48CH */

	/* AMD (APM vol. 2, 15.4 and 15.30; vol. 3, appendix E). */
	uint32_t ew_cpuid_8000000a_eax; /* SVM revision */
	uint32_t ew_cpuid_8000000a_ebx; /* number of ASIDs, the host's included */
	uint32_t ew_cpuid_8000000a_edx; /* SVM features */
	uint64_t ew_vm_cr;		/* VM_CR, C001_0114H */
	uint64_t ew_osvw_id_length;	/* OSVW_ID_Length, C001_0140H */
	uint64_t ew_osvw_status;	/* OSVW_Status, C001_0141H */
};

/* What the owner does not want, although the CPU has it. Zeroed, or NULL: use everything. */
struct ept_policy {
	bool ep_no_superpages; /* 4 KiB leaves only */
	bool ep_no_hw_ad;      /* EPT: emulate A and D although hardware has them */
	bool ep_no_exec_only;  /* EPT: no execute without read */
	bool ep_guest_pat;     /* EPT: the guest's PAT may override memory types (no IPAT) */
	bool ep_user;	       /* X86: a process address space, not the kernel's */
	bool ep_global;	       /* X86: mappings are the same in every address space */
	uint8_t ep_levels; /* EPT: 4 or 5; 0: the longest walk there is. Others: 0, or must agree */
};

/* INVEPT and INVVPID types: values of the register operand (SDM vol. 3C, chapter 31). */
enum ept_invept {
	EPT_INVEPT_NONE = 0,   /* not a type: this is not a CPU with EPT */
	EPT_INVEPT_SINGLE = 1, /* translations of one EPTP */
	EPT_INVEPT_ALL = 2,
};

enum ept_invvpid {
	EPT_INVVPID_ADDRESS = 0,       /* one linear address of one VPID */
	EPT_INVVPID_SINGLE = 1,	       /* one VPID */
	EPT_INVVPID_ALL = 2,	       /* every VPID but 0 */
	EPT_INVVPID_SINGLE_GLOBAL = 3, /* one VPID, but keeps global translations */
	EPT_INVVPID_COUNT,
};

/* What a CPU can do, after policy. */
struct ept_cpu {
	enum pt_type ec_type;
	unsigned int ec_flags;	/* PMAP_*, what hardware decides of them */
	struct pt_caps ec_caps; /* for pmap_init() */

	/* PT_EPT */
	enum ept_invept ec_invept;   /* the narrowest there is; flushes one address space */
	bool ec_invept_all;	     /* and whether all of them can be flushed at once */
	bool ec_vpid;		     /* VPIDs are usable: they exist and can be flushed */
	enum ept_invvpid ec_invvpid; /* if so: the narrowest type that drops one VPID whole */
	uint8_t ec_invvpid_kinds;    /* bit t is set if type t exists */
	bool ec_eptp_ad;	     /* set EPTP's A/D bit */

	/* PT_RVI */
	uint32_t ec_nasids;    /* ASIDs are 1 .. ec_nasids - 1; 0 is the host's */
	bool ec_flush_by_asid; /* TLB_CONTROL can flush one ASID */
};

/*
 * Decide what the CPU can do for a pmap of a type. Each returns 0 and fills *cpu, or -ENODEV and
 * points *why at a sentence that names what is missing; *cpu is then unchanged. *why is a constant
 * string, NULL after success. policy may be NULL.
 *
 * EPT needs: VMX, not disabled by firmware; secondary controls with EPT; a walk of 4 or 5 levels;
 * tables in write-back memory; INVEPT with at least one type. It does without (and says so in *cpu)
 * A/D flags, superpages, execute-only, VPIDs; emulated A/D takes execute-only away. RVI needs: SVM,
 * not disabled by firmware; nested paging; two ASIDs; a host in long mode with write-back memory in
 * its PAT. X86 needs the latter two. All need physical addresses of 36 to 52 bits.
 *
 * Sources: SDM vol. 3D A.3.3, A.10; vol. 3C 24.7, 29.3; APM vol. 2 15.4, 15.25.
 */
int ept_caps_ept(const struct ept_words *w, const struct ept_policy *policy, struct ept_cpu *cpu,
		 const char **why);
int ept_caps_rvi(const struct ept_words *w, const struct ept_policy *policy, struct ept_cpu *cpu,
		 const char **why);
int ept_caps_x86(const struct ept_words *w, const struct ept_policy *policy, struct ept_cpu *cpu,
		 const char **why);

/* The one of them that decides for a type; a type out of range is refused like the rest. */
int ept_caps(enum pt_type type, const struct ept_words *w, const struct ept_policy *policy,
	     struct ept_cpu *cpu, const char **why);

/*
 * Fills type, flags and capabilities of a pmap's configuration; the other fields stay as they are.
 * The caller may add PMAP_REFERENCE and PMAP_DEFER afterwards.
 */
void ept_pmap_config(const struct ept_cpu *cpu, struct pmap_config *cfg);

/* ---- Roots ----------------------------------------------------------------------------------- */

/*
 * EPTP for a root table: write-back, the walk's length, A/D if ec_eptp_ad. (SDM vol. 3C 25.6.11.)
 * nCR3 likewise (APM vol. 2 15.25.3). -EINVAL if root is misaligned or beyond the CPU's physical
 * addresses, or the CPU is of another type; the result is then unchanged.
 */
int ept_eptp(const struct ept_cpu *cpu, hpa_t root, uint64_t *eptp);
int ept_ncr3(const struct ept_cpu *cpu, hpa_t root, uint64_t *ncr3);

/*
 * Whether VM entry accepts an EPTP on the CPU with these words (SDM vol. 3C 27.2.1.1): 0, or
 * -EINVAL and a sentence in *why. Policy plays no part: this is what hardware checks.
 */
int ept_eptp_check(const struct ept_words *w, uint64_t eptp, const char **why);

/* ---- Exits ----------------------------------------------------------------------------------- */

/* What a guest did to leave us with a fault of the nested tables. */
struct ept_fault {
	gpa_t ef_gpa;	   /* the byte, or only its page where hardware says no more */
	uint64_t ef_gla;   /* guest-linear address that led there, if ef_gla_valid */
	uint8_t ef_access; /* PMAP_PROT_*: what it was used for; 0 after a misconfiguration */
	bool ef_present;   /* the entries granted some right, only not this one */
	bool ef_walk;	   /* the guest's own page table was accessed, not what it maps */
	bool ef_reserved;  /* an entry is malformed: our bug, nothing the guest did */
	bool ef_gla_valid;
	bool ef_nmi_iret; /* NMIs were blocked before an IRET unblocked them: block them again */
};

/*
 * EPT violation (exit reason 48): exit qualification, guest-physical and guest-linear address. `ad`
 * is whether the EPTP in force had its A/D bit set: then every access to a guest page table counts
 * as a write (SDM vol. 3C 29.3.3.2), and ef_access says so even if the qualification does not.
 * -EINVAL, *f unchanged, for a qualification without any access: no such exit exists. (SDM table
 * 28-7.)
 */
int ept_fault_violation(uint64_t qualification, gpa_t gpa, uint64_t gla, bool ad,
			struct ept_fault *f);

/* EPT misconfiguration (exit reason 49): hardware tells the address and nothing else. */
void ept_fault_misconfig(gpa_t gpa, struct ept_fault *f);

/*
 * Nested page fault (#VMEXIT(NPF), 400H): EXITINFO1 and EXITINFO2. An access to a guest page table
 * is a write at the nested level, whatever led to it. (APM vol. 2 15.25.6.)
 */
void ept_fault_npf(uint64_t exitinfo1, gpa_t exitinfo2, struct ept_fault *f);

#endif /* EPT_EPT_H */
