/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The invalidation paths other than the shootdown itself: entering a guest when nothing happened,
 * changes that need no flush, faults beside shootdowns.
 */

#include "bench/inv_run.h"

#include "pmap/posix/host_posix.h"

/* A long loop is interrupted; the best of many short ones was not. */
#define CHUNKS 50

static const unsigned int nobody[1];

double
inv_entry_ns(enum pt_type type, bool emulate_ad, unsigned int turns)
{
	const unsigned int self = host_cpu();
	struct inv *in;
	uint64_t from;
	double ns = 0;

	if (inv_open(&in, inv_schemes[0], type, emulate_ad, &self, 1, nobody, 0) != 0)
		return 0;

	struct pmap *const pm = in->in_pm;
	struct pmap_slot *const s = &in->in_slots[0].is_pmap;

	for (unsigned int chunk = 0; chunk < CHUNKS; chunk++) {
		from = inv_now_ns();
		for (unsigned int i = 0; i < turns; i++) {
			if (pmap_guest_enter(pm, s))
				pmap_guest_flushed(s);
			pmap_guest_exit(s);
		}
		from = inv_now_ns() - from;
		if (ns == 0 || (double)from / turns < ns)
			ns = (double)from / turns;
	}
	inv_close(in);
	return ns;
}

double
inv_locked_ns(unsigned int turns)
{
	static struct host_word word __attribute__((aligned(64)));
	uint64_t least = ~UINT64_C(0);

	for (unsigned int chunk = 0; chunk < CHUNKS; chunk++) {
		uint64_t from = inv_now_ns();

		for (unsigned int i = 0; i < turns; i++)
			host_xchg(&word, i);
		from = inv_now_ns() - from;
		least = from < least ? from : least;
	}
	return (double)least / turns;
}

/* ---- Faults beside shootdowns --------------------------------------------------------------- */

struct noise {
	struct inv *no_inv;
	int no_error;
};

static void
noise_main(struct crew_member *me, void *arg)
{
	struct noise *const no = arg;
	struct inv_initiator ii = {0};

	crew_begun(me);
	for (unsigned int i = 0; !crew_called_back(me) && no->no_error == 0; i++) {
		const gpa_t gpa = ((gpa_t)1 << 40) + (gpa_t)(i % 64) * HOST_PAGE_SIZE;

		no->no_error = inv_map(no->no_inv, gpa, 1);
		if (no->no_error == 0)
			no->no_error = inv_unmap(no->no_inv, &ii, gpa, 1);
	}
}

int
inv_faulting(struct crew *c, enum pt_type type, bool emulate_ad, bool loud, unsigned int n,
	     unsigned int block, struct hist *h)
{
	struct noise no = {0};
	int error;

	*h = (struct hist){0};
	if (loud && c->cr_n == 0)
		return -EAGAIN;
	error = inv_open(&no.no_inv, inv_schemes[0], type, emulate_ad, nobody, 0, nobody, 0);
	if (error != 0)
		return error;
	if (loud) {
		crew_send(c, 0, noise_main, &no);
		crew_await(c, 1);
	}
	for (unsigned int i = 0; i < n && error == 0; i += block) {
		const uint64_t from = inv_now_ns();

		error = inv_map(no.no_inv, (gpa_t)i * HOST_PAGE_SIZE, block);
		hist_add(h, (inv_now_ns() - from) / block);
	}
	if (loud)
		crew_dismiss(c);
	inv_close(no.no_inv);
	return error != 0 ? error : no.no_error;
}

/* ---- What needs no flush -------------------------------------------------------------------- */

/* A page with the rights given, never accessed unless said so. */
static int
enter(struct pmap *pm, gpa_t gpa, unsigned int prot, unsigned int access)
{
	const struct pmap_mapping m = {.pa_gpa = gpa,
				       .pa_hpa = ((hpa_t)8 << 30) + gpa,
				       .pa_prot = prot,
				       .pa_access = access};

	return pmap_enter(pm, &m);
}

static int
elide_one(struct inv *in, gpa_t gpa)
{
	struct pmap *const pm = in->in_pm;
	struct pmap_gather g;
	int error = enter(pm, gpa, PMAP_PROT_R, PMAP_PROT_R); /* not present before */

	if (error == 0)
		error = enter(pm, gpa, PMAP_PROT_RW, PMAP_PROT_RW); /* wider */
	if (error == 0)
		error = enter(pm, gpa, PMAP_PROT_RW, PMAP_PROT_R); /* the same again */
	if (error == 0)
		error = enter(pm, gpa + HOST_PAGE_SIZE, PMAP_PROT_RW, 0); /* mapped ahead */
	if (error != 0)
		return error;
	pmap_gather_begin(&g, pm);
	error = pmap_remove(pm, gpa + HOST_PAGE_SIZE, gpa + 2 * HOST_PAGE_SIZE, &g);
	pmap_gather_finish(&g);
	if (error != 0)
		return error;
	pmap_gather_begin(&g, pm); /* an empty range */
	error = pmap_protect(pm, gpa + HOST_PAGE_SIZE, gpa + 2 * HOST_PAGE_SIZE, PMAP_PROT_R, &g);
	pmap_gather_finish(&g);
	return error;
}

int
inv_elide(enum pt_type type, bool emulate_ad, unsigned int rounds, struct inv_counts *counts)
{
	/* A CPU that is in the guest and answers nobody: a shootdown would never end. */
	const unsigned int elsewhere = HOST_MAX_CPUS - 1;
	struct inv *in;
	int error = inv_open(&in, inv_schemes[0], type, emulate_ad, &elsewhere, 1, nobody, 0);

	if (error != 0)
		return error;
	if (in->in_scheme->sc_enter(in, &in->in_slots[0]))
		in->in_scheme->sc_flushed(in, &in->in_slots[0]);
	for (unsigned int i = 0; i < rounds && error == 0; i++)
		error = elide_one(in, (gpa_t)i * 4 * HOST_PAGE_SIZE);
	in->in_scheme->sc_exit(in, &in->in_slots[0]);
	inv_counts(in, counts);
	inv_close(in);
	return error;
}
