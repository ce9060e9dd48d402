/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * vCPUs and the host at work on one pmap at once, each by a script of its own, under an owner that
 * does what pmap.h asks of owners: it takes decisions back in the order that protects them, moves a
 * page only once nobody can reach the old frame, and refuses no access in the end.
 *
 * Ghosts judge on the way: an access reaches the page's frame and finds what was written there
 * last; cleaning tells of all that was written before.
 */

#ifndef TESTS_UNIT_DIFF_RACE_H
#define TESTS_UNIT_DIFF_RACE_H

#include "tests/unit/diff_script.h"
#include "tests/unit/twin.h"

#define RACE_HOSTS 2
#define RACE_ACTORS (TWIN_VCPUS + RACE_HOSTS)

/* A page as its owner sees it. Plain memory: between scheduling points a fiber is alone. */
struct race_page {
	hpa_t frames[2];
	unsigned int which;
	unsigned int prot;
	uint64_t content; /* ghost: what was written last */
	bool wired;
	bool busy;   /* an operation of the host works on it */
	bool absent; /* being moved: faults come again later */
	bool dirty;  /* ghost: written since it was last reported */
	bool noted;  /* reported by a note since it was last cleaned */
};

struct race {
	uint64_t seed;
	const struct diff_map *map;
	enum twin_arch arch;
	unsigned int flags;
	struct twin_cpus cpus;
	struct diff_script scripts[RACE_ACTORS];
	struct rig rig;
	struct twin *twin;
	struct host_word *revoke;   /* what pmap_enter() reads again */
	uint64_t faults[TWIN_CPUS]; /* odd while one is being answered */
	struct race_page pages[DIFF_PAGES_MAX];

	/* At rest. */
	uint64_t contents[DIFF_PAGES_MAX];
	unsigned int rights[DIFF_PAGES_MAX];
	struct pmap_stats stats;
};

/* What goes wrong, with what it takes to see it again. */
#define RACE_WRONG(ra, invariant, format, ...)                       \
	sim_violation("differ", invariant, "seed %llu, %s: " format, \
		      (unsigned long long)(ra)->seed, (ra)->twin->tw_name, __VA_ARGS__)

typedef void race_page_fn(struct race *ra, struct race_page *pg, gpa_t gpa);

/* Calls fn for each page in [start, end). */
void race_each_page(struct race *ra, gpa_t start, gpa_t end, race_page_fn *fn);

static inline hpa_t
race_frame(const struct race_page *pg)
{
	return pg->frames[pg->which];
}

/* Answers a fault; a right that was taken away is given back. -EAGAIN: not now. */
int race_fault(struct race *ra, gpa_t gpa, unsigned int access);

/* A vCPU's script, or one of the host's CPUs': in a fiber. */
void race_vcpu(struct race *ra, unsigned int vcpu);
void race_host(struct race *ra, unsigned int actor);

/* One operation of the host, with none other on its pages. */
void race_operate(struct race *ra, const struct diff_step *st);

#endif /* TESTS_UNIT_DIFF_RACE_H */
