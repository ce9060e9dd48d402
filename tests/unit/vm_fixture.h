/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the tests of vmspace share: a guest's address space on page tables of every kind, accesses
 * to it as a guest makes them, a ghost that knows what each page must hold, and snapshots of all
 * that can be seen.
 *
 * A test body is a function of one vmspace; vf_each() runs it over the kinds, in both forms. Guest
 * accesses walk the tables as hardware does, word by word, and fault where hardware would. A page
 * of the ghost is zeros, or a stamp in its first and in its last word.
 */

#ifndef TESTS_UNIT_VM_FIXTURE_H
#define TESTS_UNIT_VM_FIXTURE_H

#include "tests/unit/pmap_fixture.h"
#include "vmspace/posix/host_vm_posix.h"
#include "vmspace/vmspace.h"

#define VF_SEGMENTS 8

/* Zeroed: no flags, a system and a host with plenty of everything. */
struct vf_options {
	unsigned int vo_flags;	    /* VM_* */
	unsigned int vo_pmap_flags; /* beside those that the format demands */
	uint64_t vo_limit_pages;    /* the guest's; 0: none */
	uint64_t vo_system_pages;
	uint64_t vo_memory_bytes; /* the host's */
	uint64_t vo_swap_slots;
	bool vo_no_swap;
};

/* What the pages of a segment must hold. */
struct vf_ghost {
	int gh_ident;
	uint64_t gh_npages; /* 0: not in use */
	uint64_t *gh_stamps;
};

struct vf {
	const struct fx_format *vf_format;
	struct vf_options vf_options;
	struct vm_system *vf_sys;
	bool vf_second; /* the system is another's */
	struct vmspace *vf_vs;
	struct pmap *vf_pm;
	const struct pt_fmt *vf_fmt;
	gpa_t vf_limit; /* first address beyond the space */
	struct vf_ghost vf_ghosts[VF_SEGMENTS];

	/* Called in pc_note, if set. */
	void (*vf_on_note)(struct vf *x, const struct pmap_leaf *leaf);
	void *vf_arg;
	unsigned int vf_backlogs;
};

/* The kind that is being tested, for messages. */
const char *vf_name(void);

#define vf_assert(cond) cr_assert((cond), "%s: %s", vf_name(), #cond)
#define vf_fail(...) vf_fail_at(__FILE__, __LINE__, __VA_ARGS__)
__attribute__((format(printf, 3, 4))) void vf_fail_at(const char *file, int line,
						      const char *format, ...);
/* Fails unless the result of a call is the errno that is wanted; tells both. */
#define vf_errno(call, wanted) vf_errno_at(__FILE__, __LINE__, #call, (call), (wanted))
void vf_errno_at(const char *file, int line, const char *call, int error, int wanted);

/* options NULL: zeroed ones. */
void vf_config(const struct fx_format *format, const struct vf_options *options,
	       struct vmspace_config *cfg);
void vf_open(struct vf *x, const char *format, const struct vf_options *options);

/*
 * Checks, destroys the vmspace, and fails unless nothing is left of it in any account of the system
 * or of the host. vf_destroy() is the first half: pages that are held may outlive it.
 */
void vf_close(struct vf *x);
void vf_destroy(struct vf *x);

/* A second guest in the same system; vf_close() of it leaves the system alone. */
void vf_open_second(struct vf *x, struct vf *first, const char *format,
		    const struct vf_options *options);

/*
 * Runs body over every kind, each in one form, or each in both if there is time; and over one of
 * them, each time another, with a pager of the host's. vf_each_swap(): without that, for what is
 * the affair of swap slots.
 */
void vf_each(const struct vf_options *options, void (*body)(struct vf *x));
void vf_each_swap(const struct vf_options *options, void (*body)(struct vf *x));

/* Fails with the sentence of vmspace_check() or vm_system_check(). */
void vf_check(struct vf *x);

/* ---- Segments and maps ----------------------------------------------------------------------- */

/* These must succeed. */
void vf_segment(struct vf *x, int ident, uint64_t npages, const char *name);
void vf_free_segment(struct vf *x, int ident);
void vf_map(struct vf *x, gpa_t gpa, int ident, uint64_t first_page, uint64_t npages,
	    unsigned int prot);
void vf_unmap(struct vf *x, gpa_t gpa, uint64_t npages);

/* Of the page that is shown at gpa; must succeed. */
struct vm_page_info vf_info(struct vf *x, gpa_t gpa);
struct vm_accounts vf_accounts(struct vf *x);
struct vm_accounts vf_system_accounts(struct vf *x);
struct vmspace_stats vf_stats(struct vf *x);

/* ---- What guests do -------------------------------------------------------------------------- */

/*
 * Hardware walks gpa for an access with the rights: true, A and M set as it sets them, and where
 * the byte is; false is a fault. Any thread; between pmap_guest_enter() and _exit() if others take
 * pages away.
 */
bool vf_walk(struct vf *x, gpa_t gpa, unsigned int access, hpa_t *hpa);

/* The same with the fault handler behind it, until it succeeds; or vm_fault()'s error. */
int vf_touch(struct vf *x, gpa_t gpa, unsigned int access, hpa_t *hpa,
	     struct vm_fault_record *record);

/* The guest writes a stamp into the page at gpa, or reads it: must succeed. The ghost is told. */
void vf_poke(struct vf *x, gpa_t gpa, uint64_t stamp);
uint64_t vf_peek(struct vf *x, gpa_t gpa);

/* As vf_poke(), by vm_gpa_write(). */
void vf_write(struct vf *x, gpa_t gpa, uint64_t stamp);

/* Tells the ghost what a page of a segment must hold; asks it. */
void vf_expect(struct vf *x, int ident, uint64_t page, uint64_t stamp);
uint64_t vf_expected(struct vf *x, int ident, uint64_t page);

/* Reads every page of every segment, whole, by holds of it: must be as the ghost knows it. */
void vf_verify(struct vf *x);

/* Pages out until nothing more goes; how many went. */
uint64_t vf_pageout_all(struct vf *x);

/* Pages out a page that can go and is known to be alone in that, or fails. */
void vf_swap_out(struct vf *x, gpa_t gpa);

/* ---- Snapshots ------------------------------------------------------------------------------- */

/*
 * All that can be seen, as two texts: what a call that fails may not change, and what it may, since
 * pages may come into memory and leave it.
 */
struct vf_text {
	char *te_bytes;
	size_t te_used;
	size_t te_room;
};

struct vf_snapshot {
	bool sn_only_firm;	 /* looks at no contents and no tables */
	struct vf_text sn_firm;	 /* segments, maps, holds, wirings, devices */
	struct vf_text sn_loose; /* where pages are, their contents, the tables, the accounts */
};

void vf_snapshot(struct vf *x, struct vf_snapshot *s);
void vf_snapshot_firm(struct vf *x, struct vf_snapshot *s);
void vf_snapshot_free(struct vf_snapshot *s);

/* Fails unless all is as before; unless exact, of what is loose anything may have changed. */
void vf_same(struct vf *x, struct vf_snapshot *before, bool exact, const char *what);

/* Fails unless two guests, of different runs maybe, are alike in what is firm. */
void vf_same_firm(const struct vf_snapshot *a, const struct vf_snapshot *b, const char *what);

#endif /* TESTS_UNIT_VM_FIXTURE_H */
