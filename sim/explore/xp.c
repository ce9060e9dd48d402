/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The rig of small scenarios: machine, guest and oracles as in any workload, but with everything
 * that is drawn elsewhere held still, so that what remains is the schedule and what the hardware
 * does.
 */

#include "sim/explore/xp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/machine/snapshot.h"
#include "sim/workload/vmop.h"

#define XP_FRAMES 512
#define XP_STEPS 20000

static const struct xp_scenario *const tables[] = {
	xp_shootdown_scenarios,
	xp_bits_scenarios,
	xp_tables_scenarios,
	xp_memory_scenarios,
};

const struct xp_scenario *
xp_scenario_at(unsigned int i)
{
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
		for (const struct xp_scenario *xs = tables[t]; xs->xs_info.name != NULL; xs++) {
			if (i-- == 0)
				return xs;
		}
	}
	return NULL;
}

const struct xp_scenario *
xp_find(const char *name)
{
	const struct xp_scenario *xs = NULL;

	for (unsigned int i = 0; name != NULL && (xs = xp_scenario_at(i)) != NULL; i++) {
		if (strcmp(xs->xs_info.name, name) == 0)
			return xs;
	}
	return NULL;
}

unsigned int
xp_cpus(const struct xp_scenario *xs)
{
	unsigned int n = 0;

	while (n < XP_CPUS && xs->xs_programs[n] != NULL)
		n++;
	return n;
}

int
xp_complete(struct sim_options *o, char *why, size_t why_bytes)
{
	static const char *const caps[SIM_ARCH_COUNT] = {
		[SIM_ARCH_EPT] = "cascadelake",
		[SIM_ARCH_EPT_NOAD] = "ept-noad",
		[SIM_ARCH_NPT] = "npt-2asid",
		[SIM_ARCH_X86] = "cascadelake",
	};
	const struct xp_scenario *const xs = xp_find(o->scenario);

	if ((o->cpus != 0 && o->cpus != xp_cpus(xs)) ||
	    (o->vcpus != 0 && o->vcpus != xs->xs_vcpus)) {
		snprintf(why, why_bytes, "scenario '%s' has %u CPUs and %u vCPUs", o->scenario,
			 xp_cpus(xs), xs->xs_vcpus);
		return -EINVAL;
	}
	if ((o->arch_set & xs->xs_arches) == 0) {
		snprintf(why, why_bytes, "scenario '%s' is not for this kind of page table",
			 o->scenario);
		return -EINVAL;
	}
	o->arch_set &= xs->xs_arches;
	o->cpus = xp_cpus(xs);
	o->vcpus = xs->xs_vcpus;
	if (o->caps == NULL && xs->xs_caps != NULL)
		o->caps = xs->xs_caps;
	/* One model for each kind of table: what is drawn elsewhere by the seed. */
	if (o->caps == NULL && (o->arch_set & (o->arch_set - 1)) == 0)
		o->caps = caps[__builtin_ctz(o->arch_set)];
	return 0;
}

bool
sim_search_complete(struct sim_options *o, struct explore_bounds *b, char *why, size_t why_bytes)
{
	const struct xp_scenario *const xs = xp_find(o->scenario);
	struct sim_options one = *o;

	if (xs == NULL) {
		snprintf(why, why_bytes,
			 "scenario '%s' is too large to be searched; xp-... are not", o->scenario);
		return false;
	}
	one.arch = (enum sim_arch)__builtin_ctz(one.arch_set);
	one.arch_set = 1u << one.arch;
	if (xp_complete(&one, why, why_bytes) != 0)
		return false;
	*o = one;
	if (b != NULL)
		b->eb_preemptions = xs->xs_preemptions;
	return true;
}

/* ---- Set-up --------------------------------------------------------------------------------- */

struct space *
xp_guest_named(struct xp *x, const char *name, unsigned int npages)
{
	struct world *const w = &x->xp_world;
	const struct xp_scenario *const xs = x->xp_scenario;
	const struct sim_options *const o = w->wo_options;
	const struct ept_profile *const p = workload_profile(o, o->arch);
	const struct space_plan plan = {
		.sl_arch = o->arch,
		.sl_name = name,
		.sl_profile = p,
		.sl_policy = {.ep_no_hw_ad = o->arch == SIM_ARCH_EPT_NOAD},
		.sl_flags = xs->xs_flags | (o->reference ? PMAP_REFERENCE : 0),
		.sl_vm_flags = xs->xs_vm_flags,
		.sl_nvcpus = xs->xs_vcpus,
		.sl_kindness = xs->xs_kindness | (xs->xs_torn_walks ? 0 : HW_KIND_ATOMIC_WALK),
	};
	struct space *sp = NULL;

	if (p == NULL || world_add_space(w, &plan, &sp) != 0)
		sim_violation("internal", "", "there is no CPU model for the scenario");
	vcpu_attach(sp);
	space_reserve(sp, 4, 8);
	if (npages > 0)
		space_add_region(sp, 0, space_add_seg(sp, SEG_SYSMEM, npages), 0, npages,
				 PMAP_PROT_RWX);
	return sp;
}

struct space *
xp_guest(struct xp *x, unsigned int npages)
{
	x->xp_guest = xp_guest_named(x, "guest", npages);
	return x->xp_guest;
}

void
xp_fault(struct space *sp, gpa_t gpa, unsigned int access)
{
	if (space_fault(sp, gpa, access) != 0)
		sim_violation("internal", "", "a page cannot be mapped for the scenario");
}

static void
access_once(struct space *sp, gpa_t gpa, unsigned int access)
{
	struct hw_translation t;
	struct hw_fault f;

	xp_fault(sp, gpa, access);
	oracle_access_begin(sp, gpa, access);
	if (hw_access(0, &sp->sp_ctx, gpa, access, &t, &f) != HW_OK)
		sim_violation("internal", "", "a page that is mapped faults");
	oracle_access_done(sp, gpa, access, &t);
	for (unsigned int i = hw_tlb_count(0); i > 0; i--)
		hw_tlb_evict(0, 0);
}

void
xp_warm(struct space *sp, gpa_t gpa)
{
	access_once(sp, gpa, PMAP_PROT_R);
}

void
xp_write(struct space *sp, gpa_t gpa)
{
	access_once(sp, gpa, PMAP_PROT_W);
}

void
xp_ran(struct space *sp, unsigned int vcpu, unsigned int cpu, gpa_t gpa)
{
	struct vcpu *const v = &sp->sp_vcpus[vcpu];
	struct hw_translation t;
	struct hw_fault f;

	vcpu_ran(v, cpu);
	if (hw_access(cpu, &v->vc_ctx, gpa, PMAP_PROT_R, &t, &f) != HW_OK)
		sim_violation("internal", "", "a page that is mapped faults");
}

void
xp_target(gpa_t gpa)
{
	hw_search_target(gpa);
}

static void
set_up(void *arg)
{
	struct xp *const x = arg;

	const struct sim_options *const o = x->xp_world.wo_options;

	if (o->policy_ops != NULL)
		sim_set_policy(o->policy_ops, o->policy_arg);
	x->xp_world.wo_unanswered = x->xp_scenario->xs_unanswered;
	x->xp_scenario->xs_set_up(x);
	host_epoch_drain();
}

/* ---- Programs ------------------------------------------------------------------------------- */

static bool
next_access(void *arg, struct vcpu *v, gpa_t *gpa, unsigned int *access)
{
	struct xp_script *const sc = arg;

	(void)v;
	if (sc->sc_at == sc->sc_n)
		return false;
	*gpa = sc->sc_access[sc->sc_at].gpa;
	*access = sc->sc_access[sc->sc_at].access;
	sc->sc_at++;
	return true;
}

void
xp_run(struct xp *x, struct space *sp, unsigned int vcpu, unsigned int n,
       const gpa_t (*accesses)[2])
{
	struct xp_script *const sc = &x->xp_scripts[sim_cpu()];

	sc->sc_n = n;
	sc->sc_at = 0;
	for (unsigned int i = 0; i < n && i < XP_SCRIPT_MAX; i++) {
		sc->sc_access[i].gpa = accesses[i][0];
		sc->sc_access[i].access = (unsigned int)accesses[i][1];
	}
	/* A fault that has to wait ends a run of the vCPU; so does a map that is not there. */
	while (sc->sc_at < sc->sc_n || sp->sp_vcpus[vcpu].vc_have) {
		if (!vcpu_run(&sp->sp_vcpus[vcpu], next_access, sc))
			return;
	}
}

static void
program(void *arg)
{
	struct xp *const x = arg;

	sim_operation();
	x->xp_scenario->xs_programs[sim_cpu()](x);
	x->xp_over++;
}

static void
tear_down(void *arg)
{
	struct xp *const x = arg;
	struct world *const w = &x->xp_world;

	if (x->xp_scenario->xs_check != NULL)
		x->xp_scenario->xs_check(x);
	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		if (w->wo_spaces[i]->sp_vs == NULL)
			continue;
		hostop_drain(w->wo_spaces[i], 0, 0);
		oracle_check_quiet(w->wo_spaces[i]);
	}
	world_end(w);
}

/* ---- What a run has left behind ------------------------------------------------------------- */

static uint64_t
mixed(uint64_t h, uint64_t v)
{
	return workload_hash(h ^ v, 31);
}

/* Not which frame a page has, but what is in it; nor how often somebody looked. */
static uint64_t
digest_page(struct space *sp, const struct region *rg, gpa_t gpa, uint64_t h)
{
	const struct page *const pg = region_page(rg, gpa);
	struct vm_page_info info = {0};
	struct hw_walk walk;

	hw_walk_quiet(&sp->sp_ctx, gpa, &walk);
	h = mixed(h, walk.wk_present ? 1u + walk.wk_level + 8u * walk.wk_rights +
					       128u * walk.wk_dirty + 256u * walk.wk_accessed
				     : 0);
	h = mixed(h, pg->pg_dirty | pg->pg_noted << 1 | pg->pg_logdirty << 2 | pg->pg_used << 3 |
			     pg->pg_holds << 4);
	h = mixed(h, ghost_word(pg, 0));
	if (space_page_info(sp, gpa, &info))
		h = mixed(h, info.pi_resident | info.pi_dirty << 1 | info.pi_logged << 2 |
				     (uint64_t)info.pi_write_holds << 3);
	return h;
}

struct cached {
	const struct world *ca_world;
	uint64_t ca_sum;
};

/* What is cached, in no order. */
static void
digest_entry(void *arg, unsigned int cpu, enum hw_space_kind space, uint64_t key,
	     struct hw_tlb_entry *e)
{
	struct cached *const ca = arg;
	uint64_t h = mixed(cpu, space);

	(void)key;
	h = mixed(h, e->te_gpa | e->te_level | (uint64_t)e->te_table << 4);
	h = mixed(h, e->te_rights | (uint64_t)e->te_dirty << 8 | (uint64_t)(e->te_dead != 0) << 9);
	ca->ca_sum += h;
}

static uint64_t
digest(struct xp *x)
{
	struct world *const w = &x->xp_world;
	struct cached ca = {w, 0};
	uint64_t h = 0;

	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		struct space *const sp = w->wo_spaces[i];

		h = mixed(h, sp->sp_vs != NULL ? space_ghost_of(sp, sp->sp_last_gen) : 0);
		for (unsigned int r = 0; r < sp->sp_nregions && sp->sp_vs != NULL; r++) {
			const struct region *const rg = &sp->sp_regions[r];

			h = mixed(h, rg->rg_prot | rg->rg_absent << 4 | rg->rg_wired << 5);
			for (unsigned int p = 0; p < rg->rg_npages && p < 16; p++)
				h = digest_page(sp, rg, rg->rg_base + XP_PAGE(p), h);
		}
	}
	for (unsigned int cpu = 0; cpu < sim_cpu_count(); cpu++)
		hw_tlb_foreach(cpu, digest_entry, &ca);
	for (unsigned int kind = 0; kind < SIM_FRAME_KIND_COUNT; kind++)
		h = mixed(h, sim_frame_count((enum sim_frame_kind)kind));
	for (size_t i = 0; i < sizeof(x->xp_values) / sizeof(x->xp_values[0]); i++)
		h = mixed(h, x->xp_values[i]);
	return mixed(h, ca.ca_sum);
}

/* ---- Runs ----------------------------------------------------------------------------------- */

static void
configure(const struct sim_options *o, const struct xp_scenario *xs, struct sim_config *cfg,
	  struct hw_config *hw)
{
	workload_machine_config(o, cfg);
	cfg->sc_frames = xs->xs_frames != 0 ? xs->xs_frames : XP_FRAMES;
	cfg->sc_quarantine = false;
	cfg->sc_pager = false;
	cfg->sc_run_lengths = 1;
	cfg->sc_settle = true;
	cfg->sc_store_buffer = o->store_buffer != 0 ? o->store_buffer
			       : xs->xs_stores != 0 ? xs->xs_stores
						    : 2;
	cfg->sc_steps = XP_STEPS;
	cfg->sc_swap_slots = xs->xs_swap_slots;
	cfg->sc_iommu = xs->xs_iommu;
	for (unsigned int f = 0; f < SIM_FAULT_COUNT; f++) {
		if ((xs->xs_faults >> f & 1) != 0)
			cfg->sc_fault_ppm[f] = 100000;
	}
	cfg->sc_fault_budget = xs->xs_fault_count;
	hw_config_init(hw);
	hw->hg_search.hs_on = true;
	hw->hg_search.hs_fills = xs->xs_fills;
	hw->hg_search.hs_evictions = xs->xs_evictions;
}

int
xp_run_workload(const struct sim_options *o, struct sim_outcome *out)
{
	static struct xp x;
	struct sim_config cfg;
	struct hw_config hw;
	const struct workload_parts parts = {set_up, program, tear_down, &x, sizeof(x), &hw};

	memset(&x, 0, sizeof(x));
	x.xp_scenario = xp_find(o->scenario);
	configure(o, x.xp_scenario, &cfg, &hw);
	return workload_run(o, &cfg, &x.xp_world, &parts, false, out);
}

/* ---- Searches ------------------------------------------------------------------------------- */

struct search {
	struct xp *se_x;
	struct sim_machine *se_machine;
	struct sim_snapshot *se_start;
	struct sim_config se_config;
};

/*
 * Whether all is well, everything can be taken down, and nothing is left then, depends on what is
 * left now: bit for bit, which is stricter than what tells ends apart.
 */
static int
run_once(void *arg, struct explore *ex, struct sim_report *report, uint64_t *left, char *why,
	 size_t why_bytes)
{
	const struct search *const se = arg;
	struct xp *const x = se->se_x;
	uint64_t state;

	(void)why;
	(void)why_bytes;
	sim_restore(se->se_start);
	sim_choose_from(&se->se_config);
	sim_set_policy(&explore_policy, ex);
	for (unsigned int cpu = 0; cpu < xp_cpus(x->xp_scenario); cpu++)
		sim_spawn(se->se_machine, cpu, program, x);
	sim_machine_run(se->se_machine, report);
	explore_run_over(ex);
	if (report->sr_result != SIM_RUN_PASSED)
		return 0;
	*left = digest(x);
	state = sim_state_value(se->se_start);
	if (sim_state_known(se->se_start, state))
		return 0;
	if (sim_machine_call(se->se_machine, tear_down, x, report) == SIM_RUN_PASSED &&
	    sim_machine_check_leaks(se->se_machine, report) == SIM_RUN_PASSED)
		sim_state_note(se->se_start, state);
	return 0;
}

static enum explore_end
search_world(struct search *se, struct explore *ex, char *why, size_t why_bytes)
{
	struct xp *const x = se->se_x;
	struct sim_report report;
	struct sim_snapshot *s;
	enum explore_end end;

	if (sim_machine_call(se->se_machine, set_up, x, &report) != SIM_RUN_PASSED) {
		snprintf(why, why_bytes, "the scenario cannot be set up: %.150s",
			 report.sr_message);
		return EXPLORE_FAILED;
	}
	s = workload_save(&x->xp_world, x, sizeof(*x), why, why_bytes);
	if (s == NULL)
		return EXPLORE_FAILED;
	se->se_start = s;
	end = explore_search(ex, run_once, se);
	sim_snapshot_free(s);
	if (end == EXPLORE_FAILED) {
		struct explore_stats st;

		explore_stats(ex, &st);
		snprintf(why, why_bytes, "%s", st.es_message);
	}
	return end;
}

enum explore_end
sim_search(const struct sim_options *o, struct explore *ex, char *why, size_t why_bytes)
{
	static struct xp x;
	struct search se = {.se_x = &x};
	struct hw_config hw;
	enum explore_end end = EXPLORE_FAILED;

	memset(&x, 0, sizeof(x));
	x.xp_scenario = xp_find(o->scenario);
	explore_set_program_choice(ex, x.xp_scenario->xs_program_choice);
	configure(o, x.xp_scenario, &se.se_config, &hw);
	se.se_config.sc_source = SIM_SOURCE_CALL;
	se.se_config.sc_call = explore_choose;
	se.se_config.sc_call_arg = ex;
	se.se_machine = sim_machine_create(&se.se_config, why, why_bytes);
	if (se.se_machine == NULL)
		return end;
	if (hw_create(&hw) == 0 && oracle_tlb_create() == 0 &&
	    world_create(&x.xp_world, o, se.se_machine) == 0)
		end = search_world(&se, ex, why, why_bytes);
	else
		snprintf(why, why_bytes, "no memory");
	oracle_tlb_destroy();
	hw_destroy();
	sim_machine_destroy(se.se_machine);
	return end;
}
