/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Guest-linear addresses: translated by the page tables that the guest itself wrote, as its CPU
 * would, for those who emulate its instructions.
 *
 * A translation can go wrong in two ways that must not be mixed up. The guest's: its tables do not
 * permit the access, so its CPU would have raised an exception, and the caller injects it. The
 * host's: a table, or what is to be copied, is no memory, or cannot be brought into memory.
 *
 * What a real CPU does that is not done here: protection keys (CR4.PKE, CR4.PKS), shadow stacks
 * (CR4.CET) and linear-address masking (LAM) are unknown. The first two only ever deny more, and
 * addresses are unmasked by who computes them; guests that are offered these features need more.
 *
 * All functions may sleep. Any thread; a guest that changes its tables meanwhile gets the answer of
 * some moment during the call.
 */

#ifndef VMSPACE_VM_GLA_H
#define VMSPACE_VM_GLA_H

#include "vmspace/vmspace.h"

/* Returned where the guest is to be told: beside 0 and negative errno. */
#define VM_GLA_EXCEPTION 1

/* State of a virtual CPU that translations depend on. */
struct vm_guest_paging {
	enum pt_guest_mode gp_mode;
	uint64_t gp_cr3;
	/*
	 * PAE: the four entries that the CPU loaded with CR3, where it keeps them (VT-x). Otherwise
	 * (SVM) they are read from memory each time.
	 */
	uint64_t gp_pdpte[4];
	bool gp_pdpte_loaded;
	uint8_t gp_phys_bits; /* MAXPHYADDR as the guest sees it, 32 to 52 */
	/*
	 * 3 is a user access, all else a supervisor's. For what the CPU itself reads and writes
	 * (descriptor tables, TSS) give 0, whatever CPL is, and no gp_ac.
	 */
	uint8_t gp_cpl;
	bool gp_wp;   /* CR0.WP */
	bool gp_pse;  /* CR4.PSE */
	bool gp_smep; /* CR4.SMEP */
	bool gp_smap; /* CR4.SMAP */
	bool gp_ac;   /* EFLAGS.AC */
	bool gp_nxe;  /* EFER.NXE */
	bool gp_1g;   /* CPUID: pages of 1 GiB */
};

#define VM_VECTOR_GP 13 /* not canonical; for a stack access the caller makes it #SS (12) */
#define VM_VECTOR_PF 14

/* Error codes of page faults. */
#define VM_PF_P (1u << 0)    /* not for want of an entry */
#define VM_PF_W (1u << 1)    /* a write */
#define VM_PF_U (1u << 2)    /* a user access */
#define VM_PF_RSVD (1u << 3) /* a reserved bit is set */
#define VM_PF_I (1u << 4)    /* an instruction fetch, if fetches are told apart */

struct vm_guest_exception {
	uint8_t ge_vector;
	uint32_t ge_error_code;
	uint64_t ge_cr2; /* of page faults */
};

/* Each part is set only with its own result. */
struct vm_gla {
	/* 0 */
	gpa_t gl_gpa;
	uint64_t gl_page_bytes; /* what the guest maps by one entry around it; 4 KiB if flat */
	bool gl_unmarked;	/* A or D were missing, and still are */

	/* VM_GLA_EXCEPTION */
	struct vm_guest_exception gl_exception;

	/* negative; but not -EINVAL and -EAGAIN */
	struct vm_fault_record gl_record;
};

/*
 * Translates an address for an access: R, W, R|W or X. On success the tables have A set on the way,
 * and D if the access writes; after any other result of a walk that was not raced they are as they
 * were. A processor may set A on the way to a fault; this one does not.
 *
 * 0                 out->gl_gpa, which need not be memory
 * VM_GLA_EXCEPTION  #GP or #PF, for the guest
 * -EFAULT           a table is not memory, or A or D cannot be set in it: out->gl_record
 * -ENOMEM, -EIO, -EINTR   as vm_gpa_hold(), for a table
 * -EAGAIN           others changed the tables each time that this was about to; as good as a signal
 * -EINVAL           no such access or mode; beyond 4 GiB in a mode with addresses of 32 bits
 */
int vm_gla2gpa(struct vmspace *vs, const struct vm_guest_paging *paging, uint64_t gla,
	       unsigned int access, struct vm_gla *out);

/* The same without effects: guest memory stays as it is. The exception is not one to inject. */
int vm_gla2gpa_nofault(struct vmspace *vs, const struct vm_guest_paging *paging, uint64_t gla,
		       unsigned int access, struct vm_gla *out);

/* ---- Copies ---------------------------------------------------------------------------------- */

#define VM_COPY_FEW 2 /* pages: what one operand of an instruction can touch */

struct vm_copy_page {
	gpa_t cg_gpa;	  /* of the first byte of the range in it */
	bool cg_unmarked; /* A or D are missing in the guest's tables */
	struct vm_hold cg_hold;
};

/* Pages of guest memory, ready to be copied from and to. Not copied itself while set up. */
struct vm_copy {
	uint64_t cp_offset; /* of the first byte in the first page */
	uint64_t cp_len_bytes;
	uint64_t cp_npages;
	unsigned int cp_access;
	struct vm_copy_page *cp_pages;
	struct vm_copy_page cp_few[VM_COPY_FEW]; /* cp_pages, when they are enough */
};

/*
 * Translates and holds all of [gla, gla + len) for an access, so that copying cannot fail. As
 * vm_gla2gpa(), all or nothing: when it does not return 0 nothing is held. Also -EFAULT where the
 * guest's page is no memory or does not grant the right (out->gl_record), -ENOMEM for the list, and
 * -EINVAL for a range that wraps. Pages are looked at in order: what is wrong with the lowest
 * address counts. Of no bytes everything succeeds.
 */
int vm_copy_setup(struct vmspace *vs, const struct vm_guest_paging *paging, uint64_t gla,
		  uint64_t len, unsigned int access, struct vm_copy *cp, struct vm_gla *out);
void vm_copy_teardown(struct vm_copy *cp);

/*
 * Copies bytes [offset, offset + len) of what is set up, out of the guest or (if the access writes)
 * into it.
 */
void vm_copyin(const struct vm_copy *cp, uint64_t offset, void *to, uint64_t len);
void vm_copyout(const struct vm_copy *cp, uint64_t offset, const void *from, uint64_t len);

#endif /* VMSPACE_VM_GLA_H */
