/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the hardware does by itself, and its life.
 *
 * Speculation: at any step, for any context that is live on a CPU, the hardware may follow any path
 * whose entries are present and cache what it finds on it (Intel SDM vol. 3A 4.10.2.3, vol. 3C
 * 29.4.2; AMD APM vol. 2 5.5). It may set accessed flags thereby, never dirty ones. A step is one
 * attempt, from the root or from a cached table pointer, by one level or all the way down; so what
 * memory says and what is cached may drift apart between the levels of one path. Addresses accessed
 * of late and their neighbors are tried most; now and then anything that is present.
 *
 * Eviction: at any step any entry may go.
 */

#include <errno.h>

#include "sim/hw/hw_priv.h"
#include "sim/machine/side.h"
#include "sim/story/story_record.h"

/* One in so many steps of the agent evicts: what is forgotten early can no longer be stale. */
#define EVICT_RARITY 8

void
hw_model_init(struct hw_model *m)
{
	*m = (struct hw_model){
		.hm_phys_bits = 46,
		.hm_page_2m = true,
		.hm_page_1g = true,
		.hm_exec_only = true,
		.hm_ept_ad = true,
		.hm_nx = true,
		.hm_flush_by_asid = true,
		.hm_invept = 1u << HW_INVEPT_SINGLE | 1u << HW_INVEPT_ALL,
		.hm_invvpid = 1u << HW_INVVPID_ADDRESS | 1u << HW_INVVPID_SINGLE |
			      1u << HW_INVVPID_ALL | 1u << HW_INVVPID_SINGLE_KEEP_GLOBAL,
		.hm_asids = 16,
		.hm_pat = HW_PAT_RESET,
	};
}

/* ---- Speculation --------------------------------------------------------------------------- */

/* The n-th CPU of a set. */
static unsigned int
nth_cpu(uint32_t set, unsigned int n)
{
	while (n-- > 0)
		set &= set - 1;
	return __builtin_ctz(set);
}

/*
 * Some address that is mapped: in each table the first present entry from a random one on. False if
 * there is none below the path taken.
 */
static bool
find_present(const struct hw_context *ctx, uint64_t *gpa)
{
	uint64_t table = hw_context_root(ctx);
	unsigned int level = hw_context_levels(ctx);
	const unsigned int top = hw_shift(level);

	*gpa = 0;
	while (level-- > 0) {
		const unsigned int first = sim_choose(SIM_CHOICE_HW, SIM_TABLE_WORDS);
		struct hw_entry e = {0};
		unsigned int i, slot = 0;
		uint64_t value;

		for (i = 0; i < SIM_TABLE_WORDS && !e.en_present; i++) {
			slot = (first + i) % SIM_TABLE_WORDS;
			if (!sim_phys_peek(table + 8 * slot, &value))
				return false;
			if (value != 0)
				hw_entry_decode(ctx, level, value, &e);
		}
		if (!e.en_present || e.en_bad != HW_FINE)
			return false;
		*gpa |= (uint64_t)slot << hw_shift(level);
		if (e.en_leaf)
			break;
		table = e.en_addr;
	}
	if (ctx->hc_kind == HW_X86 && *gpa >> (top - 1)) /* canonical */
		*gpa |= ~(uint64_t)0 << top;
	return true;
}

/* Near an address accessed of late. */
static uint64_t
nearby(const struct hw_cpu *c, unsigned int which, unsigned int how)
{
	const unsigned int n = c->hw_nrecent < HW_RECENT ? c->hw_nrecent : HW_RECENT;
	const uint64_t gpa = c->hw_recent[which % n];
	const uint64_t run = ((uint64_t)1 << hw_shift(1)) - 1;

	switch (how) {
	case 0:
		return gpa + SIM_PAGE_SIZE;
	case 1:
		return gpa - SIM_PAGE_SIZE;
	case 2: /* anywhere in the same 2 MiB */
		return (gpa & ~run) +
		       SIM_PAGE_SIZE * (uint64_t)sim_choose(SIM_CHOICE_HW, SIM_TABLE_WORDS);
	default:
		return gpa;
	}
}

static unsigned int
speculate_enabled(void *arg)
{
	(void)arg;
	if (sim_fault_off(SIM_FAULT_SPECULATION))
		return 0;
	return __builtin_popcount(hw_state->st_live);
}

static void
speculate_step(void *arg, unsigned int which)
{
	const unsigned int cpu = nth_cpu(hw_state->st_live, which);
	struct hw_cpu *c = hw_cpu_at(cpu);
	const struct hw_context *ctx = hw_live(cpu);
	const uint32_t v = sim_choose(SIM_CHOICE_HW, HW_RECENT * 8 * 4 * 4);
	const unsigned int from = v / (8 * 4 * 4);
	uint64_t gpa;

	(void)arg;
	if (v % 8 == 0 || c->hw_nrecent == 0) {
		if (!find_present(ctx, &gpa))
			return;
	} else {
		gpa = nearby(c, from, v / 8 % 4);
	}
	sim_fault_met(SIM_FAULT_SPECULATION, cpu,
		      hw_speculate(c, ctx, gpa, v / 32 % 4 == 0 ? 1 : HW_LEVELS_MAX));
}

/* ---- Counted, for a search ---- */

static unsigned int
fill_enabled(void *arg)
{
	unsigned int n = 0;

	(void)arg;
	for (unsigned int cpu = 0; cpu < hw_state->st_ncpus; cpu++)
		n += (hw_state->st_live >> cpu & 1) != 0 && hw_cpu_at(cpu)->hw_fills > 0;
	return hw_state->st_search.hs_ntargets > 0 ? n : 0;
}

/* The CPU of the which-th fill. */
static unsigned int
fill_cpu(unsigned int which)
{
	unsigned int cpu = 0;

	for (;; cpu++) {
		if ((hw_state->st_live >> cpu & 1) == 0 || hw_cpu_at(cpu)->hw_fills == 0)
			continue;
		if (which-- == 0)
			return cpu;
	}
}

static void
fill_step(void *arg, unsigned int which)
{
	const struct hw_search *const s = &hw_state->st_search;
	const unsigned int cpu = fill_cpu(which);

	(void)arg;
	sim_touch(SIM_OBJECT(SIM_OBJECT_LIVE, cpu), SIM_TOUCH_READ);
	hw_cpu_at(cpu)->hw_fills--;
	hw_speculate(hw_cpu_at(cpu), hw_live(cpu),
		     s->hs_targets[sim_choose(SIM_CHOICE_HW, s->hs_ntargets)], HW_LEVELS_MAX);
}

static void
fill_about(void *arg, unsigned int which, struct sim_offer *of)
{
	(void)arg;
	of->of_lane = (uint8_t)fill_cpu(which);
	of->of_id = of->of_lane;
}

void
hw_search_target(uint64_t gpa)
{
	struct hw_search *const s = &hw_state->st_search;

	if (s->hs_ntargets < HW_TARGETS_MAX)
		s->hs_targets[s->hs_ntargets++] = gpa;
}

static unsigned int
drop_enabled(void *arg)
{
	(void)arg;
	return hw_state->st_evictions > 0 ? hw_state->st_entries : 0;
}

static void
drop_step(void *arg, unsigned int which)
{
	unsigned int cpu = 0;

	(void)arg;
	hw_state->st_evictions--;
	while (which >= hw_tlb_count(cpu))
		which -= hw_tlb_count(cpu++);
	hw_tlb_evict(cpu, which);
	hw_counters[HW_CT_EVICT]++;
}

static void
add_search_agents(struct hw_state *st)
{
	for (unsigned int cpu = 0; cpu < st->st_ncpus; cpu++)
		st->st_cpus[cpu].hw_fills = st->st_search.hs_fills;
	st->st_evictions = st->st_search.hs_evictions;
	st->st_speculate.ag_enabled = fill_enabled;
	st->st_speculate.ag_step = fill_step;
	st->st_speculate.ag_about = fill_about;
	st->st_evict.ag_enabled = drop_enabled;
	st->st_evict.ag_step = drop_step;
	if (st->st_search.hs_fills > 0)
		sim_agent_add(&st->st_speculate, NULL);
	if (st->st_search.hs_evictions > 0)
		sim_agent_add(&st->st_evict, NULL);
}

static void
speculate_about(void *arg, unsigned int which, struct sim_offer *of)
{
	(void)arg;
	of->of_lane = (uint8_t)nth_cpu(hw_state->st_live, which);
	of->of_id = of->of_lane;
}

static unsigned int
evict_enabled(void *arg)
{
	(void)arg;
	return hw_state->st_entries != 0 && !sim_fault_off(SIM_FAULT_EVICTION);
}

static void
evict_step(void *arg, unsigned int which)
{
	uint32_t index = sim_choose(SIM_CHOICE_HW, EVICT_RARITY * hw_state->st_entries);
	unsigned int cpu = 0;

	(void)arg;
	(void)which;
	if (index >= hw_state->st_entries)
		return;
	while (index >= hw_tlb_count(cpu))
		index -= hw_tlb_count(cpu++);
	sim_fault_met(SIM_FAULT_EVICTION, cpu, true);
	hw_tlb_evict(cpu, index);
	hw_counters[HW_CT_EVICT]++;
}

/* ---- What is live -------------------------------------------------------------------------- */

const struct hw_context *
hw_live(unsigned int cpu)
{
	const struct hw_cpu *c = hw_cpu_at(cpu);

	return c->hw_guest ? c->hw_guest : c->hw_host;
}

static void
update_live(unsigned int cpu)
{
	const struct hw_context *ctx = hw_live(cpu);
	const uint32_t bit = (uint32_t)1 << cpu;

	sim_touch(SIM_OBJECT(SIM_OBJECT_LIVE, cpu), SIM_TOUCH_WRITE);
	if (ctx && !hw_kind_of(ctx, HW_KIND_NO_SPECULATION))
		hw_state->st_live |= bit;
	else
		hw_state->st_live &= ~bit;
}

/*
 * VPID 0 stands for "no VPIDs": VM entry and exit drop its combined mappings, whatever the EP4TA.
 */
static void
drop_vpid0(struct hw_cpu *c, const struct hw_context *ctx)
{
	if (ctx->hc_kind != HW_EPT || ctx->hc_tag != 0)
		return;
	for (unsigned int i = 0; i < c->hw_nspaces; i++) {
		if (c->hw_spaces[i]->sp_kind == HW_SPACE_EPT_LINEAR &&
		    (c->hw_spaces[i]->sp_key & 0xffff) == 0)
			hw_drop_space(c, c->hw_spaces[i]);
	}
}

static void
tlb_control(unsigned int cpu, const struct hw_context *ctx, enum hw_tlb_control control)
{
	switch (control) {
	case HW_TLB_KEEP:
		return;
	case HW_TLB_FLUSH_ALL:
		hw_flush_all_asids(cpu);
		return;
	case HW_TLB_FLUSH_ASID:
	case HW_TLB_FLUSH_ASID_KEEP_GLOBAL:
		if (!ctx->hc_model->hm_flush_by_asid)
			break;
		hw_flush_asid(cpu, ctx->hc_tag);
		return;
	}
	sim_violation("CK-HW", "I18", "VMRUN on CPU %u with TLB_CONTROL %u, which it does not have",
		      cpu, (unsigned int)control);
}

void
hw_guest_enter(unsigned int cpu, const struct hw_context *ctx, enum hw_tlb_control control)
{
	struct hw_cpu *c = hw_cpu_at(cpu);
	char why[120];

	if (c->hw_guest)
		sim_violation("CK-HW", "", "CPU %u enters a guest from within a guest", cpu);
	if (ctx->hc_kind == HW_X86)
		sim_violation("CK-HW", "", "CPU %u enters a guest without nested tables", cpu);
	if (!hw_context_valid(ctx, why, sizeof(why)))
		sim_violation("CK-HW", ctx->hc_kind == HW_EPT ? "I18" : "I22",
			      "VM entry on CPU %u fails: %s", cpu, why);
	hw_tidy_spaces(c);
	if (ctx->hc_kind == HW_NPT)
		tlb_control(cpu, ctx, control);
	drop_vpid0(c, ctx);
	c->hw_guest = ctx;
	update_live(cpu);
	STORY(guest(cpu, ctx, control));
}

void
hw_guest_exit(unsigned int cpu)
{
	struct hw_cpu *c = hw_cpu_at(cpu);
	const struct hw_context *ctx = c->hw_guest;

	if (!ctx)
		return;
	drop_vpid0(c, ctx);
	if (hw_kind_of(ctx, HW_KIND_EXIT_FLUSHES))
		hw_drop_all(c);
	c->hw_guest = NULL;
	update_live(cpu);
	STORY(guest_off(cpu));
}

void
hw_load_cr3(unsigned int cpu, const struct hw_context *ctx)
{
	struct hw_cpu *c = hw_cpu_at(cpu);
	char why[120];

	if (ctx && !hw_context_valid(ctx, why, sizeof(why)))
		sim_violation("CK-HW", "I18", "MOV to CR3 on CPU %u: %s", cpu, why);
	if (ctx)
		hw_flush_cr3(cpu, ctx, false);
	hw_tidy_spaces(c);
	c->hw_host = ctx;
	update_live(cpu);
}

/* ---- Life ---------------------------------------------------------------------------------- */

void
hw_config_init(struct hw_config *cfg)
{
	*cfg = (struct hw_config){.hg_speculate_weight = 3, .hg_evict_weight = 1};
}

static struct hw_state *
state_create(unsigned int cpus)
{
	struct hw_state *st = sim_side_alloc(sizeof(*st));

	if (!st)
		return NULL;
	st->st_ncpus = cpus;
	st->st_cpus = sim_side_alloc(cpus * sizeof(*st->st_cpus));
	st->st_frames = sim_side_alloc(HW_FRAME_COUNTS * sizeof(*st->st_frames));
	st->st_runs = sim_side_alloc(HW_FRAME_COUNTS * sizeof(*st->st_runs));
	for (unsigned int i = 0; st->st_cpus && i < cpus; i++)
		st->st_cpus[i].hw_id = i;
	return st;
}

int
hw_create(const struct hw_config *cfg)
{
	struct hw_state *st;

	hw_destroy();
	st = state_create(cfg->hg_cpus ? cfg->hg_cpus : sim_cpu_count());
	hw_state = st;
	if (!st || !st->st_cpus || !st->st_frames || !st->st_runs) {
		hw_destroy();
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < HW_CT_COUNT; i++)
		hw_counters[i] = 0;
	st->st_speculate = (struct sim_agent_ops){
		.ag_name = "speculation",
		.ag_weight = cfg->hg_speculate_weight,
		.ag_enabled = speculate_enabled,
		.ag_step = speculate_step,
		.ag_about = speculate_about,
	};
	st->st_evict = (struct sim_agent_ops){
		.ag_name = "eviction",
		.ag_weight = cfg->hg_evict_weight,
		.ag_enabled = evict_enabled,
		.ag_step = evict_step,
	};
	st->st_search = cfg->hg_search;
	if (st->st_search.hs_on) {
		add_search_agents(st);
		return 0;
	}
	sim_agent_add(&st->st_speculate, NULL);
	sim_agent_add(&st->st_evict, NULL);
	return 0;
}

void
hw_destroy(void)
{
	struct hw_state *st = hw_state;

	if (!st)
		return;
	for (unsigned int i = 0; st->st_cpus && i < st->st_ncpus; i++)
		hw_free_spaces(&st->st_cpus[i]);
	sim_side_free(st->st_cpus);
	sim_side_free(st->st_frames);
	sim_side_free(st->st_runs);
	sim_side_free(st);
	hw_state = NULL;
}
