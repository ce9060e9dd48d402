/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A case on the simulated hardware: the accesses of the guest's instruction in the order in which a
 * processor makes them, each by hw_access(), once per combination of the choices that the hardware
 * has. Nothing is cached from one access to the next, as nothing is on an emulator after an entry.
 */

#include "tests/differential/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/machine/machine.h"

#define FRAMES 4096 /* 16 MiB from DIFF_BASE on */
#define CHOICES 32

static struct {
	struct sim_machine *machine;
	struct diff_machine emulated;
	struct hw_model model;
	bool page_1g;
	struct hw_context ctx;

	/* Choices: those to be made, and out of how many each was. */
	uint32_t chosen[CHOICES];
	uint32_t options[CHOICES];
	unsigned int nchosen; /* given; all others are 0 */
	unsigned int nasked;
} st;

/* ---- Life ---------------------------------------------------------------------------------- */

static void
broken(const char *what)
{
	fprintf(stderr, "judge: %s\n", what);
	exit(70);
}

static uint32_t
choose(void *arg, enum sim_choice kind, uint32_t n)
{
	(void)arg;
	if (kind != SIM_CHOICE_HW || n < 2)
		return 0;
	if (st.nasked == CHOICES)
		broken("the hardware makes too many choices");
	st.options[st.nasked] = n;
	st.nasked++;
	return st.nasked <= st.nchosen ? st.chosen[st.nasked - 1] : 0;
}

static void
set_model(const struct diff_machine *m)
{
	const bool ept = m->dm_kind == DIFF_EPT;
	const uint64_t caps = m->dm_ept_caps;

	hw_model_init(&st.model);
	st.model.hm_phys_bits = (uint8_t)m->dm_phys_bits;
	st.model.hm_tolerant = true;
	st.model.hm_kindness = HW_KIND_NO_TLB | HW_KIND_NO_PSC | HW_KIND_NO_SPECULATION;
	st.model.hm_page_1g = (m->dm_features >> 26) & 1;
	if (ept) { /* IA32_VMX_EPT_VPID_CAP: SDM vol. 3D, A.10 */
		st.model.hm_exec_only = caps & 1;
		st.model.hm_page_2m = (caps >> 16) & 1;
		st.model.hm_page_1g = (caps >> 17) & 1;
		st.model.hm_ept_ad = (caps >> 21) & 1;
		st.model.hm_invept = (uint8_t)(((caps >> 25) & 1) << 1 | ((caps >> 26) & 1) << 2);
		st.model.hm_invvpid = (caps >> 40) & 15;
	}
	st.page_1g = st.model.hm_page_1g;
	st.ctx.hc_model = &st.model;
	st.ctx.hc_kind = ept ? HW_EPT : HW_NPT;
	st.ctx.hc_levels = (uint8_t)m->dm_levels;
	st.ctx.hc_tag = 1;
}

const char *const model_forgets[] = {"exec-only", "1g", "ad", "phys-bits", "invept", NULL};

bool
model_forget(const char *what)
{
	if (strcmp(what, "exec-only") == 0)
		st.model.hm_exec_only = !st.model.hm_exec_only;
	else if (strcmp(what, "1g") == 0)
		st.page_1g = !st.page_1g;
	else if (strcmp(what, "ad") == 0)
		st.model.hm_kindness |= HW_KIND_EARLY_AD;
	else if (strcmp(what, "invept") == 0)
		st.model.hm_invept ^= 1u << HW_INVEPT_ALL;
	else if (strcmp(what, "phys-bits") == 0)
		st.model.hm_phys_bits = 26; /* tables are below, pages above */
	else
		return false;
	return true;
}

static void
make_machine(void)
{
	const struct diff_machine *const m = &st.emulated;
	struct sim_config cfg;
	struct hw_config hw;
	char why[128] = "";

	sim_config_init(&cfg);
	cfg.sc_cpus = 1;
	cfg.sc_frames = FRAMES;
	cfg.sc_phys_base = DIFF_BASE;
	cfg.sc_source = SIM_SOURCE_CALL;
	cfg.sc_call = choose;
	st.machine = sim_machine_create(&cfg, why, sizeof(why));
	if (!st.machine)
		broken(why);
	hw_config_init(&hw);
	if (hw_create(&hw) != 0)
		broken("no memory for the hardware");
	/* Frames come one after the other: the places of tuple.h are among the first. */
	for (unsigned int n = 0; n < DIFF_TABLES;) {
		const uint64_t hpa = sim_frame_alloc(SIM_FRAME_TABLE, 0);

		if (hpa > DIFF_TABLE(n))
			broken("a table is not where it should be");
		if (hpa < DIFF_TABLE(n))
			continue;
		memset(sim_table_words(hpa), 0, 4096);
		n++;
	}
	*sim_table_words(DIFF_TABLE(3)) = diff_good_table(m, DIFF_TABLE(DIFF_INFRA_2));
	*sim_table_words(DIFF_TABLE(DIFF_INFRA_2)) = diff_good_table(m, DIFF_TABLE(DIFF_INFRA_1));
	*sim_table_words(DIFF_TABLE(DIFF_INFRA_1)) = diff_good_large(m, DIFF_INFRA);
}

void
model_start(const struct diff_machine *m)
{
	st.emulated = *m;
	set_model(m);
	make_machine();
}

void
model_end(void)
{
	hw_destroy();
	sim_machine_destroy(st.machine);
}

/* ---- The accesses -------------------------------------------------------------------------- */

struct step {
	uint64_t st_gpa;
	uint64_t st_linear;
	unsigned int st_access;
};

#define STEPS_MAX (2 * DIFF_GUEST_PARTS + 3)
#define GUEST_A 0x20 /* SDM vol. 3A 4.5: bit 5 of every entry */

static unsigned int
add_walk(struct step *steps, unsigned int n, const struct diff_part *p, uint64_t linear)
{
	steps[n++] = (struct step){p->dp_gpa, linear, HW_GUEST_WALK};
	if (!(p->dp_value & GUEST_A)) /* which is then set, by a locked operation */
		steps[n++] = (struct step){p->dp_gpa, linear, HW_GUEST_WALK | HW_WRITE};
	return n;
}

static unsigned int
make_steps(const struct diff_case *c, struct step *steps)
{
	static const unsigned int access[DIFF_ACCESSES] = {
		[DIFF_READ] = HW_READ,	     [DIFF_WRITE] = HW_WRITE,
		[DIFF_FETCH] = HW_EXEC,	     [DIFF_EXCHANGE] = HW_READ | HW_WRITE,
		[DIFF_WALK] = HW_READ,	     [DIFF_WALK_UNSET] = HW_READ,
		[DIFF_READ_WRITE] = HW_READ,
	};
	const bool walk = c->dc_access == DIFF_WALK || c->dc_access == DIFF_WALK_UNSET;
	const uint64_t insn = DIFF_GUEST_CODE + 16ull * c->dc_access;
	const uint64_t gpa = walk ? DIFF_GUEST_GOOD | (c->dc_linear & 0xfff) : c->dc_gpa;
	struct diff_part parts[DIFF_GUEST_PARTS];
	const unsigned int nparts = diff_guest_parts(c, parts);
	unsigned int n = 0;

	for (unsigned int i = 0; i < 3; i++)
		n = add_walk(steps, n, &parts[i], c->dc_code + insn);
	steps[n++] = (struct step){insn, c->dc_code + insn, HW_EXEC};
	for (unsigned int i = 3; i < nparts; i++)
		n = add_walk(steps, n, &parts[i], c->dc_linear);
	steps[n++] = (struct step){gpa, c->dc_linear, access[c->dc_access]};
	if (c->dc_access == DIFF_READ_WRITE)
		steps[n++] = (struct step){gpa, c->dc_linear, HW_WRITE};
	return n;
}

/* ---- One outcome --------------------------------------------------------------------------- */

static void
fill_done(const struct diff_case *c, uint64_t hpa, struct diff_result *r)
{
	unsigned int spots = 0;

	for (unsigned int l = 0; l < DIFF_LEAVES; l++)
		spots |= (c->dc_spot[l] == hpa ? 1u : 0) << l;
	r->dr_outcome = DIFF_DONE;
	r->dr_value = diff_mark(c, hpa);
	switch (c->dc_access) {
	case DIFF_WRITE:
	case DIFF_READ_WRITE:
		r->dr_value = ~(uint64_t)c->dc_index; /* what RCX was */
		r->dr_written = (uint8_t)spots;
		break;
	case DIFF_EXCHANGE:
	case DIFF_WALK_UNSET:
		r->dr_written = (uint8_t)spots;
		break;
	default:
		break;
	}
	if (c->dc_access == DIFF_WALK || c->dc_access == DIFF_WALK_UNSET)
		r->dr_value = DIFF_GOOD_VALUE;
}

static void
fill_fault(const struct diff_case *c, const struct step *s, const struct hw_fault *f,
	   struct model_outcome *o)
{
	struct diff_result *r = &o->mo_result;
	struct hw_walk walk;

	r->dr_outcome = f->hf_kind == HW_FAULT_EPT_MISCONFIG ? DIFF_MISCONFIG : DIFF_VIOLATION;
	r->dr_code = f->hf_code;
	r->dr_gpa = f->hf_gpa;
	if (f->hf_kind == HW_FAULT_EPT_VIOLATION)
		r->dr_linear = s->st_linear;
	hw_walk_quiet(&st.ctx, s->st_gpa, &walk);
	o->mo_bad = walk.wk_bad;
	o->mo_rights = walk.wk_rights;
	o->mo_level = f->hf_level;
	o->mo_entry = f->hf_entry;
	o->mo_under_test = s->st_gpa == c->dc_gpa;
	/* RCX is what it was: the instruction did not complete. */
	r->dr_value = ~(uint64_t)c->dc_index;
}

static void
read_flags(const struct diff_case *c, struct diff_result *r)
{
	for (unsigned int l = 0; l < st.emulated.dm_levels; l++) {
		const uint64_t at = c->dc_where[l];
		const uint64_t e = sim_table_words(at & ~0xfffull)[(at & 0xfff) / 8];

		r->dr_accessed |= (uint16_t)((e & diff_accessed(&st.emulated) ? 1u : 0) << l);
		r->dr_dirty |= (uint16_t)((e & diff_dirty(&st.emulated) ? 1u : 0) << l);
	}
}

static void
set_entries(const struct diff_case *c, bool clear)
{
	for (unsigned int l = 0; l < st.emulated.dm_levels; l++) {
		const uint64_t at = c->dc_where[l];

		sim_table_words(at & ~0xfffull)[(at & 0xfff) / 8] = clear ? 0 : c->dc_entry[l];
	}
}

/* SDM vol. 3C, table 31-1. */
#define INVALID_CONTROL_FIELD 7
#define INVALID_INVALIDATION 28

static void
fill_refused(const struct diff_case *c, uint64_t code, struct diff_result *r)
{
	r->dr_outcome = DIFF_FAILED;
	r->dr_code = code;
	r->dr_value = ~(uint64_t)c->dc_index;
}

static void
run_once(const struct diff_case *c, const struct step *steps, unsigned int n,
	 struct model_outcome *o)
{
	struct hw_translation out = {0}, at_test = {0};
	struct hw_fault fault;
	bool faulted = false;

	memset(o, 0, sizeof(*o));
	o->mo_result.dr_index = c->dc_index;
	set_entries(c, false);
	st.nasked = 0;
	for (unsigned int i = 0; i < n && !faulted; i++) {
		faulted = hw_access(0, &st.ctx, steps[i].st_gpa, steps[i].st_access, &out,
				    &fault) != HW_OK;
		if (faulted)
			fill_fault(c, &steps[i], &fault, o);
		else if (steps[i].st_gpa == c->dc_gpa)
			at_test = out;
	}
	if (!faulted) {
		fill_done(c, at_test.ht_hpa, &o->mo_result);
		o->mo_level = at_test.ht_level;
		o->mo_rights = at_test.ht_rights;
	}
	read_flags(c, &o->mo_result);
	set_entries(c, true);
}

/* The next combination of choices, as an odometer turns; false after the last. */
static bool
next_choices(void)
{
	unsigned int n = st.nasked;

	for (unsigned int i = st.nchosen; i < n; i++)
		st.chosen[i] = 0;
	while (n > 0 && st.chosen[n - 1] + 1 == st.options[n - 1])
		n--;
	if (n == 0)
		return false;
	st.chosen[n - 1]++;
	st.nchosen = n;
	return true;
}

static void
invalidate(void *arg)
{
	const struct diff_case *const c = arg;
	const unsigned int type = c->dc_type > 8 ? 8 : (unsigned int)c->dc_type;

	if (c->dc_access == DIFF_INVEPT)
		hw_invept(0, &st.model, type, c->dc_descriptor[0]);
	else
		hw_invvpid(0, &st.model, type, (uint16_t)c->dc_descriptor[0], c->dc_descriptor[1]);
}

/* To the simulator an invalidation that fails is a violation, which ends a machine. */
static void
run_invalidation(const struct diff_case *c, struct model_outcome *o)
{
	struct sim_report report;
	struct diff_case copy = *c;

	memset(o, 0, sizeof(*o));
	o->mo_result.dr_index = c->dc_index;
	o->mo_result.dr_outcome = DIFF_DONE;
	o->mo_result.dr_value = ~(uint64_t)c->dc_index;
	if (sim_machine_call(st.machine, invalidate, &copy, &report) != SIM_RUN_PASSED) {
		fill_refused(c, INVALID_INVALIDATION, &o->mo_result);
		model_end();
		make_machine();
	}
	set_entries(c, false);
	read_flags(c, &o->mo_result);
	set_entries(c, true);
}

unsigned int
model_run(const struct diff_case *c, struct model_outcome outcomes[MODEL_OUTCOMES_MAX])
{
	struct step steps[STEPS_MAX];
	const unsigned int nsteps = make_steps(c, steps);
	unsigned int n = 0;
	char why[128];

	if (c->dc_access >= DIFF_ACCESSES) {
		run_invalidation(c, outcomes);
		return 1;
	}
	st.ctx.hc_root = c->dc_root;
	if (st.emulated.dm_kind == DIFF_NPT)
		st.model.hm_nx = c->dc_nx;
	st.model.hm_page_1g = st.page_1g || c->dc_gigabyte;
	if (!hw_context_valid(&st.ctx, why, sizeof(why))) {
		memset(outcomes, 0, sizeof(*outcomes));
		outcomes->mo_result.dr_index = c->dc_index;
		fill_refused(c, INVALID_CONTROL_FIELD, &outcomes->mo_result);
		set_entries(c, false);
		read_flags(c, &outcomes->mo_result);
		set_entries(c, true);
		return 1;
	}
	st.nchosen = 0;
	do {
		unsigned int i = 0;

		if (n == MODEL_OUTCOMES_MAX)
			broken("a case has too many outcomes");
		run_once(c, steps, nsteps, &outcomes[n]);
		while (i < n && memcmp(&outcomes[i].mo_result, &outcomes[n].mo_result,
				       sizeof(outcomes[n].mo_result)) != 0)
			i++;
		n += i == n; /* a new one */
	} while (next_choices());
	return n;
}
