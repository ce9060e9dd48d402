/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What is common to all schemes, ours among them: birth, the change itself, accounts.
 */

#include "bench/inv.h"

/* Data pages: above where a host keeps its tables, within 36 bits. */
#define FRAMES ((hpa_t)8 << 30)

/* ---- Ours ----------------------------------------------------------------------------------- */

static void
ours_begin(struct inv *in, struct inv_initiator *ii)
{
	pmap_gather_begin(&ii->ii_gather, in->in_pm);
}

static void
ours_finish(struct inv *in, struct inv_initiator *ii)
{
	(void)in;
	pmap_gather_finish(&ii->ii_gather);
}

static bool
ours_enter(struct inv *in, struct inv_slot *s)
{
	return pmap_guest_enter(in->in_pm, &s->is_pmap);
}

static void
ours_flushed(struct inv *in, struct inv_slot *s)
{
	(void)in;
	pmap_guest_flushed(&s->is_pmap);
}

static void
ours_exit(struct inv *in, struct inv_slot *s)
{
	(void)in;
	pmap_guest_exit(&s->is_pmap);
}

static const struct inv_scheme ours = {
	.sc_name = "gather",
	.sc_what = "ours: one generation for a gather, shared by initiators, kicks by need",
	.sc_begin = ours_begin,
	.sc_finish = ours_finish,
	.sc_enter = ours_enter,
	.sc_flushed = ours_flushed,
	.sc_exit = ours_exit,
};

/* ---- None ----------------------------------------------------------------------------------- */

static bool
none_enter(struct inv *in, struct inv_slot *s)
{
	(void)in;
	(void)s;
	return false;
}

static void
none_exit(struct inv *in, struct inv_slot *s)
{
	(void)in;
	(void)s;
}

static const struct inv_scheme none = {
	.sc_name = "none",
	.sc_what = "no shootdown at all: the floor, and wrong",
	.sc_unsafe = true,
	.sc_begin = ours_begin,
	.sc_finish = ours_finish,
	.sc_enter = none_enter,
	.sc_flushed = none_exit,
	.sc_exit = none_exit,
};

const struct inv_scheme *const inv_schemes[] = {&ours,		 &inv_nomerge,	&inv_kick,
						&inv_rendezvous, &inv_deferred, &none};
const unsigned int inv_nschemes = sizeof(inv_schemes) / sizeof(inv_schemes[0]);

static bool
same(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

const struct inv_scheme *
inv_scheme_named(const char *name)
{
	for (unsigned int i = 0; i < inv_nschemes; i++)
		if (same(inv_schemes[i]->sc_name, name))
			return inv_schemes[i];
	return NULL;
}

/* ---- Birth and death ------------------------------------------------------------------------ */

static void
configure(struct pmap_config *cfg, enum pt_type type, bool emulate_ad)
{
	*cfg = (struct pmap_config){
		.pc_type = type,
		.pc_flags = PMAP_PDE_SUPERPAGE | (emulate_ad ? PMAP_EMULATE_AD_BITS : 0),
		.pc_caps = {.pc_pat = 0x0007040600070406,
			    .pc_levels = 4,
			    .pc_leaf_levels = 3,
			    .pc_phys_bits = 46,
			    .pc_emulate_ad = emulate_ad,
			    .pc_nx = type != PT_EPT},
	};
}

int
inv_open(struct inv **out, const struct inv_scheme *scheme, enum pt_type type, bool emulate_ad,
	 const unsigned int *cpus, unsigned int ncpus, const unsigned int *everybody,
	 unsigned int neverybody)
{
	struct inv *in = host_alloc(sizeof(*in));
	struct inv_slot *slots = host_alloc((ncpus > 0 ? ncpus : 1) * sizeof(*slots));
	struct pmap_config cfg;
	int error = -ENOMEM;

	configure(&cfg, type, emulate_ad);
	if (in != NULL && slots != NULL)
		error = pmap_init(&cfg, &in->in_pm);
	if (error != 0) {
		if (slots != NULL)
			host_free(slots, (ncpus > 0 ? ncpus : 1) * sizeof(*slots));
		if (in != NULL)
			host_free(in, sizeof(*in));
		return error;
	}
	in->in_scheme = scheme;
	in->in_ncpus = ncpus;
	in->in_slots = slots;
	in->in_everybody = everybody;
	in->in_neverybody = neverybody;
	host_store(&in->in_gen, 1);
	for (unsigned int i = 0; i < ncpus; i++) {
		slots[i].is_cpu = cpus[i];
		if (scheme == &ours)
			pmap_slot_attach(in->in_pm, &slots[i].is_pmap);
	}
	*out = in;
	return 0;
}

void
inv_close(struct inv *in)
{
	for (unsigned int i = 0; i < in->in_ncpus && in->in_scheme == &ours; i++)
		pmap_slot_detach(in->in_pm, &in->in_slots[i].is_pmap);
	pmap_destroy(in->in_pm);
	host_epoch_drain();
	host_free(in->in_slots, (in->in_ncpus > 0 ? in->in_ncpus : 1) * sizeof(*in->in_slots));
	host_free(in, sizeof(*in));
}

/* ---- The change ----------------------------------------------------------------------------- */

int
inv_map(struct inv *in, gpa_t gpa, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		const struct pmap_mapping m = {
			.pa_gpa = gpa + i * HOST_PAGE_SIZE,
			.pa_hpa = FRAMES + (gpa + i * HOST_PAGE_SIZE) % ((hpa_t)32 << 30),
			.pa_prot = PMAP_PROT_R | PMAP_PROT_W,
			.pa_access = PMAP_PROT_R | PMAP_PROT_W,
		};
		const int error = pmap_enter(in->in_pm, &m);

		if (error != 0)
			return error;
	}
	return 0;
}

int
inv_unmap(struct inv *in, struct inv_initiator *ii, gpa_t gpa, unsigned int n)
{
	int error;

	in->in_scheme->sc_begin(in, ii);
	error = pmap_remove(in->in_pm, gpa, gpa + n * HOST_PAGE_SIZE, &ii->ii_gather);
	in->in_scheme->sc_finish(in, ii);
	inv_mine(in)->ic_unmaps++;
	return error;
}

void
inv_counts(struct inv *in, struct inv_counts *sum)
{
	struct pmap_stats st;

	*sum = (struct inv_counts){0};
	for (unsigned int i = 0; i < INV_CPUS_MAX; i++) {
		const struct inv_counts *c = &in->in_counts[i].cc;

		sum->ic_unmaps += c->ic_unmaps;
		sum->ic_shootdowns += c->ic_shootdowns;
		sum->ic_kicks += c->ic_kicks;
		sum->ic_flushes += c->ic_flushes;
		sum->ic_merged += c->ic_merged;
	}
	if (in->in_scheme != &ours)
		return;
	pmap_stats(in->in_pm, &st);
	sum->ic_shootdowns = st.st_shootdowns;
	sum->ic_kicks = st.st_kicks;
	sum->ic_merged = st.st_shootdowns_merged;
	sum->ic_elided = st.st_shootdowns_elided;
}
