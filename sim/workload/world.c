/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Building the world and taking it down: spaces with their pmaps, slots and vCPUs, and CPU models
 * made from profiles, through the same decoders that a kernel would use.
 */

#include "sim/workload/vmop.h"

#include <errno.h>
#include <string.h>

#include "sim/oracle/invariants.h"
#include "sim/story/story_record.h"

const char *const world_count_names[WC_COUNT] = {
	[WC_READS] = "guest-reads",
	[WC_WRITES] = "guest-writes",
	[WC_FETCHES] = "guest-fetches",
	[WC_DENIED] = "guest-denied",
	[WC_FAULTS] = "faults",
	[WC_FAULT_RETRIES] = "fault-retries",
	[WC_FAULT_NOMEM] = "faults-without-memory",
	[WC_FAULT_INTERRUPTED] = "faults-interrupted",
	[WC_ZERO_FILLS] = "zero-fills",
	[WC_SUPER_ENTERS] = "superpage-enters",
	[WC_MOVES] = "vcpu-moves",
	[WC_ENTRIES] = "guest-entries",
	[WC_ENTRY_FLUSHES] = "entry-flushes",
	[WC_REMOVE] = "remove",
	[WC_MIGRATE] = "migrate-page",
	[WC_DISCARD] = "discard",
	[WC_PROTECT] = "protect",
	[WC_WIDEN] = "widen",
	[WC_CLEAN] = "collect-dirty",
	[WC_HARVEST] = "harvest-modified",
	[WC_LOG] = "dirty-log",
	[WC_CLEAR_MODIFY] = "clear-modify",
	[WC_AGE] = "harvest-accessed",
	[WC_REFERENCED] = "ts-referenced",
	[WC_PEEK] = "is-modified",
	[WC_PROMOTE] = "promote-tries",
	[WC_PROMOTED] = "promote",
	[WC_DEMOTE] = "demote-tries",
	[WC_DEMOTED] = "demote",
	[WC_PREFAULT] = "prefault",
	[WC_WIRE] = "wire",
	[WC_UNWIRE] = "unwire",
	[WC_EXTRACT] = "extract",
	[WC_INVALIDATE] = "invalidate",
	[WC_DRAIN] = "drain",
	[WC_MISUSE] = "misuse",
	[WC_RECREATE] = "recreate",
	[WC_OFFLINE] = "offline",
	[WC_ENTER_RUN] = "enter-run",
};

void
world_tick(struct world *w, enum world_count c)
{
	w->wo_count[c]++;
}

/* ---- The clock's ghost ---------------------------------------------------------------------- */

#ifndef PMAP_GEN_BITS
#define PMAP_GEN_BITS 64
#endif
#define GEN_MASK (~UINT64_C(0) >> (PMAP_GEN_BITS < 63 ? 64 - PMAP_GEN_BITS : 1))

void
space_observe(struct space *sp)
{
	const uint64_t gen = pmap_generation(sp->sp_pmap);

	sp->sp_ghost_gen += (gen - sp->sp_last_gen) & GEN_MASK;
	sp->sp_last_gen = gen;
}

uint64_t
space_ghost_of(const struct space *sp, uint64_t gen)
{
	return sp->sp_ghost_gen - ((sp->sp_last_gen - gen) & GEN_MASK);
}

/* ---- CPU models ----------------------------------------------------------------------------- */

bool
space_is_rvi(const struct space *sp)
{
	return sp->sp_arch == SIM_ARCH_NPT;
}

/*
 * The CPU is what its profile says; what the decoder made of its capability words is the core's
 * opinion, and may be wrong. A/D and execute-only as the policy has them.
 */
static void
model_of(const struct ept_cpu *cpu, const struct space_plan *plan, struct hw_model *m)
{
	const struct ept_profile *const p = plan->sl_profile;
	const struct ept_cpu *const real = cpu->ec_type == PT_X86 ? &p->pr_x86 : &p->pr_nested;

	hw_model_init(m);
	m->hm_phys_bits = real->ec_caps.pc_phys_bits;
	m->hm_page_2m = real->ec_caps.pc_leaf_levels > 1;
	m->hm_page_1g = real->ec_caps.pc_leaf_levels > 2;
	m->hm_exec_only = cpu->ec_caps.pc_exec_only;
	m->hm_ept_ad = cpu->ec_eptp_ad;
	m->hm_ept_5_levels = real->ec_caps.pc_levels == 5;
	m->hm_nx = real->ec_caps.pc_nx;
	m->hm_flush_by_asid = real->ec_flush_by_asid;
	m->hm_invept =
		(uint8_t)((real->ec_invept == EPT_INVEPT_SINGLE ? 1u << HW_INVEPT_SINGLE : 0) |
			  (real->ec_invept_all ? 1u << HW_INVEPT_ALL : 0));
	m->hm_invvpid = real->ec_invvpid_kinds;
	m->hm_pat = p->pr_words.ew_host_pat != 0 ? p->pr_words.ew_host_pat : HW_PAT_RESET;
	m->hm_mixed_size_mce = (real->ec_flags & PMAP_MIXED_SIZE_ERRATUM) != 0;
	m->hm_kindness = plan->sl_kindness;
	if (real->ec_nasids != 0)
		m->hm_asids = real->ec_nasids;
}

static enum pt_type
type_of(enum sim_arch arch)
{
	static const enum pt_type types[SIM_ARCH_COUNT] = {
		[SIM_ARCH_EPT] = PT_EPT,
		[SIM_ARCH_EPT_NOAD] = PT_EPT,
		[SIM_ARCH_NPT] = PT_RVI,
		[SIM_ARCH_X86] = PT_X86,
	};

	return types[arch];
}

static void
fill_context(struct space *sp, struct hw_context *ctx, uint16_t tag)
{
	static const enum hw_kind kinds[] = {
		[PT_X86] = HW_X86,
		[PT_EPT] = HW_EPT,
		[PT_RVI] = HW_NPT,
	};
	uint64_t root = pmap_root(sp->sp_pmap);

	if (sp->sp_cpu.ec_type == PT_EPT)
		ept_eptp(&sp->sp_cpu, root, &root);
	else if (sp->sp_cpu.ec_type == PT_RVI)
		ept_ncr3(&sp->sp_cpu, root, &root);
	*ctx = (struct hw_context){
		.hc_model = &sp->sp_model,
		.hc_kind = kinds[sp->sp_cpu.ec_type],
		.hc_root = root,
		.hc_levels = sp->sp_cpu.ec_caps.pc_levels,
		.hc_tag = tag,
		.hc_global = sp->sp_cpu.ec_caps.pc_global,
	};
}

/* ---- Spaces --------------------------------------------------------------------------------- */

static void
backlog(void *arg)
{
	struct space *sp = arg;

	sp->sp_backlogged = true;
}

/* Failed allocations are tried again, as injected ones may hit a system, too. */
static int
open_system(struct world *w)
{
	const uint64_t all = sim_phys_limit() - sim_phys_base();
	const struct vm_system_config cfg = {
		.vy_mem_limit_bytes = w->wo_mem_limit != 0 ? w->wo_mem_limit : all,
	};
	int error = -ENOMEM;

	for (unsigned int i = 0; w->wo_system == NULL && i < 1000 && error == -ENOMEM; i++)
		error = vm_system_create(&cfg, &w->wo_system);
	return w->wo_system != NULL ? 0 : error;
}

/*
 * Where the clock of a new space begins: a few turns before it wraps, or before slots are made to
 * flush lest it laps them, where it would be after years; 0: at its beginning.
 */
static uint64_t
first_generation(void)
{
	const uint64_t quarter = (GEN_MASK >> 2) + 1;
	uint64_t gen;

	if (!sim_fault(SIM_FAULT_GENERATION))
		return 0;
	gen = quarter * (1 + sim_choose(SIM_CHOICE_FAULT, 4));
	return (gen - 1 - sim_choose(SIM_CHOICE_FAULT, 6)) & GEN_MASK;
}

static void
attach(struct space *sp)
{
	/* PCIDs tell X86 spaces apart, so that nothing is flushed but by the core. */
	fill_context(sp, &sp->sp_ctx, sp->sp_arch == SIM_ARCH_X86 ? (uint16_t)(sp->sp_id + 1) : 0);
	if (space_is_rvi(sp))
		sp->sp_ctx.hc_tag = 1;
	if (oracle_tlb_register(&sp->sp_ctx) != 0)
		sim_violation("internal", "", "no memory for the oracle of translations");
	STORY(space(sp->sp_name, &sp->sp_ctx, sp->sp_pmap));
	sp->sp_last_gen = pmap_generation(sp->sp_pmap);
	sp->sp_ghost_gen = sp->sp_last_gen;
	for (unsigned int i = 0; i < SIM_MAX_CPUS; i++)
		sp->sp_slots[i] = NULL;
	for (unsigned int i = 0; i < sp->sp_nvcpus; i++) {
		struct vcpu *v = &sp->sp_vcpus[i];

		fill_context(sp, &v->vc_ctx, sp->sp_ctx.hc_tag);
		v->vc_seen = 0;
		if (space_is_rvi(sp)) {
			v->vc_slot = sim_alloc(sizeof(*v->vc_slot));
			pmap_slot_attach(sp->sp_pmap, v->vc_slot);
		} else if (sp->sp_cpu.ec_type == PT_EPT) {
			v->vc_ctx.hc_tag = v->vc_vpid;
		}
	}
}

/*
 * Auditors see the space when it has all that it needs: its tables are empty until then.
 */
int
space_open(struct space *sp)
{
	struct oracle_tlb_op op;
	struct vmspace *vs;
	int error;

	sp->sp_config.vc_pmap.pc_note = oracle_note;
	sp->sp_config.vc_pmap.pc_backlog = backlog;
	sp->sp_config.vc_pmap.pc_arg = sp;
	sp->sp_config.vc_pmap.pc_generation = first_generation();
	error = vmspace_create(sp->sp_world->wo_system, &sp->sp_config, &vs);
	if (error != 0)
		return error;
	sp->sp_backlogged = false;
	sp->sp_had_super = false;
	sp->sp_log = false;
	sp->sp_nx = (sp->sp_config.vc_flags & VM_NX_SUPERPAGES) != 0;
	sp->sp_renewed = false;
	space_renew(sp);
	sp->sp_vs = vs;
	sp->sp_pmap = vmspace_pmap(vs);
	attach(sp);
	space_op_begin(sp, &op); /* what fills it may take pages from anybody */
	error = space_populate(sp);
	space_op_end(sp, &op, 0, 0);
	if (error != 0)
		space_close(sp);
	return error;
}

static void
add_stats(struct pmap_stats *sum, const struct pmap_stats *st)
{
	sum->st_promotions += st->st_promotions;
	sum->st_demotions += st->st_demotions;
	sum->st_demotion_failures += st->st_demotion_failures;
	sum->st_ad_emulations += st->st_ad_emulations;
	sum->st_spurious_faults += st->st_spurious_faults;
	sum->st_shootdowns += st->st_shootdowns;
	sum->st_shootdowns_merged += st->st_shootdowns_merged;
	sum->st_shootdowns_elided += st->st_shootdowns_elided;
	sum->st_kicks += st->st_kicks;
	sum->st_enter_restarts += st->st_enter_restarts;
	sum->st_revoked += st->st_revoked;
}

static void
add_vm_stats(struct world *w, const struct vmspace_stats *st)
{
	struct vmspace_stats *const sum = &w->wo_vm_stats;

	sum->vt_faults += st->vt_faults;
	sum->vt_faults_spurious += st->vt_faults_spurious;
	sum->vt_faults_failed += st->vt_faults_failed;
	sum->vt_fault_retries += st->vt_fault_retries;
	sum->vt_zero_fills += st->vt_zero_fills;
	sum->vt_swap_ins += st->vt_swap_ins;
	sum->vt_read_ahead += st->vt_read_ahead;
	sum->vt_swap_outs += st->vt_swap_outs;
	sum->vt_swap_errors += st->vt_swap_errors;
	sum->vt_reclaimed += st->vt_reclaimed;
	sum->vt_reclaimed_clean += st->vt_reclaimed_clean;
	sum->vt_runs += st->vt_runs;
	sum->vt_runs_broken += st->vt_runs_broken;
	sum->vt_super_enters += st->vt_super_enters;
	sum->vt_promotions += st->vt_promotions;
	sum->vt_exec_splits += st->vt_exec_splits;
	sum->vt_holds += st->vt_holds;
	sum->vt_moved += st->vt_moved;
	w->wo_count[WC_FAULT_RETRIES] += st->vt_fault_retries;
	w->wo_count[WC_ZERO_FILLS] += st->vt_zero_fills;
	w->wo_count[WC_SUPER_ENTERS] += st->vt_super_enters;
}

/* What was counted in a space that is about to go. */
static void
keep_stats(void *arg)
{
	struct space *const sp = arg;
	struct vmspace_stats vm;
	struct pmap_stats st;

	pmap_stats(sp->sp_pmap, &st);
	add_stats(&sp->sp_world->wo_stats, &st);
	vmspace_stats(sp->sp_vs, &vm);
	add_vm_stats(sp->sp_world, &vm);
}

void
world_keep_stats(struct world *w)
{
	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		if (w->wo_spaces[i]->sp_vs != NULL)
			sim_aside(keep_stats, w->wo_spaces[i]);
	}
}

void
space_close(struct space *sp)
{
	struct vmspace *const vs = sp->sp_vs;
	struct pmap *const pm = sp->sp_pmap;

	for (unsigned int i = 0; i < SIM_MAX_CPUS; i++) {
		if (sp->sp_slots[i] != NULL)
			pmap_slot_detach(pm, sp->sp_slots[i]);
		sp->sp_slots[i] = NULL;
	}
	for (unsigned int i = 0; i < sp->sp_nvcpus; i++) {
		if (sp->sp_vcpus[i].vc_slot != NULL)
			pmap_slot_detach(pm, sp->sp_vcpus[i].vc_slot);
		sp->sp_vcpus[i].vc_slot = NULL;
	}
	sim_aside(keep_stats, sp);
	sp->sp_dying_root = pmap_root(pm);
	/* Nobody looks into it from here on. */
	sp->sp_vs = NULL;
	sp->sp_pmap = NULL;
	vmspace_destroy(vs);
	vmop_space_closed(sp);
	HOST_ASSERT(sp->sp_dying_root == 0);
	sim_invariant_hit(SIM_I43);
}

int
world_add_space(struct world *w, const struct space_plan *plan, struct space **out)
{
	const char *why;
	struct space *sp = sim_alloc(sizeof(*sp));
	int error;

	sp->sp_world = w;
	sp->sp_id = w->wo_nspaces;
	sp->sp_arch = plan->sl_arch;
	sp->sp_name = plan->sl_name;
	error = ept_caps(type_of(plan->sl_arch), &plan->sl_profile->pr_words, &plan->sl_policy,
			 &sp->sp_cpu, &why);
	if (error != 0)
		return error;
	model_of(&sp->sp_cpu, plan, &sp->sp_model);
	sp->sp_model.hm_tlb_entries = w->wo_tlb_entries;
	ept_pmap_config(&sp->sp_cpu, &sp->sp_config.vc_pmap);
	sp->sp_config.vc_pmap.pc_flags |= plan->sl_flags;
	sp->sp_config.vc_flags = plan->sl_vm_flags;
	sp->sp_config.vc_limit_pages = plan->sl_limit_pages;
	sp->sp_nvcpus = plan->sl_nvcpus;
	sp->sp_vcpus = sim_alloc(sizeof(*sp->sp_vcpus) * (plan->sl_nvcpus + 1));
	for (unsigned int i = 0; i < sp->sp_nvcpus; i++) {
		sp->sp_vcpus[i].vc_space = sp;
		if (sp->sp_cpu.ec_type == PT_EPT && sp->sp_cpu.ec_vpid &&
		    pmap_vpid_alloc(w->wo_vpids, &sp->sp_vcpus[i].vc_vpid) != 0)
			return -ENOSPC;
	}
	if (space_is_rvi(sp)) {
		for (unsigned int cpu = 0; cpu < sim_cpu_count(); cpu++)
			pmap_asid_cpu_init(&w->wo_cpus[cpu].cp_asids, sp->sp_cpu.ec_nasids,
					   sp->sp_cpu.ec_flush_by_asid);
	}
	error = open_system(w);
	/* Injected failures may hit here, too: whoever wants a space tries again. */
	for (unsigned int tries = 0; tries < 1000 && error == 0; tries++) {
		error = space_open(sp);
		if (!vmop_excused(error))
			break;
		error = 0;
	}
	if (error == 0 && sp->sp_vs == NULL)
		error = -ENOMEM;
	if (error != 0)
		return error;
	w->wo_spaces[w->wo_nspaces++] = sp;
	*out = sp;
	return 0;
}

/* ---- The world ------------------------------------------------------------------------------ */

int
world_create(struct world *w, const struct sim_options *o, struct sim_machine *m)
{
	memset(w, 0, sizeof(*w));
	w->wo_options = o;
	w->wo_machine = m;
	w->wo_vpids = sim_alloc(sizeof(*w->wo_vpids));
	for (unsigned int cpu = 0; cpu < SIM_MAX_CPUS; cpu++)
		w->wo_cpus[cpu].cp_online = 1;
	oracle_hooks(w);
	oracle_write_hooks(w);
	sim_set_irq_handler(vcpu_kick_handler, w);
	vcpu_tlb_hooks(w);
	vmop_create(w);
	return pmap_vpids_init(w->wo_vpids, 64);
}

void
world_destroy(struct world *w)
{
	for (unsigned int i = 0; i < w->wo_nspaces; i++)
		space_close(w->wo_spaces[i]);
	vmop_release_all(w);
	host_epoch_drain();
	oracle_check_empty(w);
	vm_system_destroy(w->wo_system);
	/*
	 * Every root is gone, and every cached translation dead with it: no frame is watched any
	 * more.
	 */
	sim_set_free_hook(NULL, NULL);
	if (w->wo_devices != 0)
		sim_frame_free(w->wo_devices, 9);
	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		struct space *sp = w->wo_spaces[i];

		for (unsigned int v = 0; v < sp->sp_nvcpus; v++) {
			if (sp->sp_vcpus[v].vc_vpid != 0)
				pmap_vpid_free(w->wo_vpids, sp->sp_vcpus[v].vc_vpid);
		}
	}
	host_epoch_drain();
}

void
world_end(struct world *w)
{
	oracle_check_system(w);
	oracle_vm_quiet(w);
	oracle_vm_read_back(w);
	world_destroy(w);
}

void
world_bury(struct world *w, struct space *sp)
{
	sim_signal_clear();
	vmop_enter(w);
	if (sp != NULL && !sp->sp_closing && !sim_fault_off(SIM_FAULT_DESTROY)) {
		sp->sp_users++;
		hostop_recreate(sp, 0, 0);
		host_fence();
		sp->sp_users--;
	}
	vmop_leave(w);
}
