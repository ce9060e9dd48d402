/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Several pmaps on one simulated machine (twin.h): CPUs, entries and faults.
 */

#include "tests/unit/twin.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Enough that ASIDs never run out in a test: a wrap flushes, and not every twin's would come. */
#define ASIDS 65536

static const char *const arch_names[TWIN_ARCHES] = {
	[TWIN_EPT] = "ept",
	[TWIN_EPT_NOAD] = "ept-noad",
	[TWIN_NPT] = "npt",
	[TWIN_X86] = "x86",
};

/* ---- The machine ---------------------------------------------------------------------------- */

static void
kick_handler(void *arg, unsigned int cpu)
{
	struct rig *const r = arg;
	struct twin *const tw = r->rg_loaded[cpu];

	if (tw != NULL && tw->tw_slots[cpu] != NULL)
		pmap_kicked(tw->tw_pmap, tw->tw_slots[cpu]);
}

static void
invlpg(void *arg, unsigned int cpu, uint64_t va, uint64_t npages)
{
	const struct rig *const r = arg;

	for (uint64_t i = 0; i < npages; i++)
		hw_invlpg(cpu, &r->rg_loaded[cpu]->tw_ctx[0], va + i * SIM_PAGE_SIZE);
}

static void
flush(void *arg, unsigned int cpu, bool global)
{
	const struct rig *const r = arg;

	hw_flush_cr3(cpu, &r->rg_loaded[cpu]->tw_ctx[0], global);
}

bool
rig_open(struct rig *r, uint64_t seed, const struct twin_cpus *cpus, bool speculation, char *why,
	 size_t why_bytes)
{
	static const struct sim_tlb_ops ops = {invlpg, flush};
	struct sim_config sc;
	struct hw_config hw;

	*r = (struct rig){.rg_cpus = *cpus};
	sim_config_init(&sc);
	sc.sc_cpus = TWIN_CPUS;
	sc.sc_seed = seed;
	sc.sc_quarantine = seed % 2 == 0;
	sc.sc_run_lengths = 1 + (unsigned int)(seed % 6);
	r->rg_machine = sim_machine_create(&sc, why, why_bytes);
	if (r->rg_machine == NULL)
		return false;
	hw_config_init(&hw);
	if (!speculation) {
		hw.hg_speculate_weight = 0;
		hw.hg_evict_weight = 0;
	}
	if (hw_create(&hw) != 0) {
		snprintf(why, why_bytes, "no memory for the hardware");
		sim_machine_destroy(r->rg_machine);
		return false;
	}
	sim_set_irq_handler(kick_handler, r);
	sim_set_tlb_ops(&ops, r);
	for (unsigned int cpu = 0; cpu < TWIN_CPUS; cpu++)
		pmap_asid_cpu_init(&r->rg_asids[cpu], ASIDS, true);
	return true;
}

void
rig_close(struct rig *r)
{
	hw_destroy();
	sim_machine_destroy(r->rg_machine);
	r->rg_machine = NULL;
}

bool
rig_call(struct rig *r, void (*fn)(void *arg), void *arg)
{
	return sim_machine_call(r->rg_machine, fn, arg, &r->rg_report) == SIM_RUN_PASSED;
}

bool
rig_run_on(struct rig *r, unsigned int cpu, void (*fn)(void *arg), void *arg)
{
	return sim_spawn(r->rg_machine, cpu, fn, arg) == 0 &&
	       sim_machine_run(r->rg_machine, &r->rg_report) == SIM_RUN_PASSED;
}

/* ---- Twins ---------------------------------------------------------------------------------- */

static void
describe_cpu(const struct twin_cpus *cpus, enum twin_arch arch, struct ept_cpu *cpu)
{
	const bool ept = arch == TWIN_EPT || arch == TWIN_EPT_NOAD;
	const bool emulated = arch == TWIN_EPT_NOAD;
	const bool exec_only = cpus->tc_exec_only && arch == TWIN_EPT;

	*cpu = (struct ept_cpu){
		.ec_type = ept		      ? PT_EPT
			   : arch == TWIN_NPT ? PT_RVI
					      : PT_X86,
		.ec_flags = (cpus->tc_leaf_levels > 1 ? PMAP_PDE_SUPERPAGE : 0) |
			    (emulated ? PMAP_EMULATE_AD_BITS : 0) |
			    (exec_only ? PMAP_SUPPORTS_EXEC_ONLY : 0) |
			    (cpus->tc_mixed_size_erratum ? PMAP_MIXED_SIZE_ERRATUM : 0),
		.ec_caps = {.pc_pat = HW_PAT_RESET,
			    .pc_levels = cpus->tc_levels,
			    .pc_leaf_levels = cpus->tc_leaf_levels,
			    .pc_phys_bits = 46,
			    .pc_exec_only = exec_only,
			    .pc_emulate_ad = emulated,
			    .pc_nx = !ept,
			    .pc_user = arch == TWIN_X86},
		.ec_eptp_ad = arch == TWIN_EPT,
		.ec_nasids = ASIDS,
		.ec_flush_by_asid = true,
	};
}

static void
describe_model(const struct twin_cpus *cpus, enum twin_arch arch, struct hw_model *m)
{
	hw_model_init(m);
	m->hm_page_1g = cpus->tc_leaf_levels > 2;
	m->hm_exec_only = cpus->tc_exec_only;
	m->hm_ept_ad = arch == TWIN_EPT;
	m->hm_ept_5_levels = cpus->tc_levels == 5;
	m->hm_asids = ASIDS;
	m->hm_mixed_size_mce = cpus->tc_mixed_size_erratum;
}

static void
fill_context(struct twin *tw, unsigned int vcpu)
{
	static const enum hw_kind kinds[] = {
		[PT_X86] = HW_X86,
		[PT_EPT] = HW_EPT,
		[PT_RVI] = HW_NPT,
	};
	uint64_t root = pmap_root(tw->tw_pmap);

	if (tw->tw_cpu.ec_type == PT_EPT)
		ept_eptp(&tw->tw_cpu, root, &root);
	else if (tw->tw_cpu.ec_type == PT_RVI)
		ept_ncr3(&tw->tw_cpu, root, &root);
	tw->tw_ctx[vcpu] = (struct hw_context){
		.hc_model = &tw->tw_model,
		.hc_kind = kinds[tw->tw_cpu.ec_type],
		.hc_root = root,
		.hc_levels = tw->tw_cpu.ec_caps.pc_levels,
		/* Spaces of their own: PCIDs; an ASID comes with each entry; no VPIDs. */
		.hc_tag = tw->tw_arch == TWIN_X86 ? (uint16_t)(tw->tw_index + 1) : 0,
	};
}

static void
note(void *arg, const struct pmap_leaf *leaf)
{
	struct twin *const tw = arg;

	if (tw->tw_rig->rg_note != NULL)
		tw->tw_rig->rg_note(tw->tw_rig->rg_arg, tw, leaf);
}

void
twin_open(struct rig *r, enum twin_arch arch, unsigned int flags)
{
	struct twin *const tw = &r->rg_twins[r->rg_ntwins];
	struct pmap_config cfg = {.pc_note = note, .pc_arg = tw};

	*tw = (struct twin){.tw_rig = r, .tw_index = r->rg_ntwins++, .tw_arch = arch};
	snprintf(tw->tw_name, sizeof(tw->tw_name), "%s%s %s", arch_names[arch],
		 flags & PMAP_DEFER ? " deferring" : "",
		 flags & PMAP_REFERENCE ? "reference" : "fast");
	describe_cpu(&r->rg_cpus, arch, &tw->tw_cpu);
	describe_model(&r->rg_cpus, arch, &tw->tw_model);
	ept_pmap_config(&tw->tw_cpu, &cfg);
	cfg.pc_flags |= flags;

	const int error = pmap_init(&cfg, &tw->tw_pmap);

	if (error != 0)
		sim_violation("rig", "", "%s: pmap_init() gives %d", tw->tw_name, error);
	for (unsigned int i = 0; i < TWIN_VCPUS; i++)
		fill_context(tw, i);
	for (unsigned int i = 0; i < (arch == TWIN_NPT ? TWIN_VCPUS : TWIN_CPUS); i++) {
		tw->tw_slots[i] = sim_alloc(sizeof(*tw->tw_slots[i]));
		pmap_slot_attach(tw->tw_pmap, tw->tw_slots[i]);
	}
}

void
twins_close(struct rig *r)
{
	for (unsigned int i = 0; i < r->rg_ntwins; i++) {
		struct twin *const tw = &r->rg_twins[i];

		for (unsigned int s = 0; s < TWIN_CPUS; s++) {
			if (tw->tw_slots[s] != NULL)
				pmap_slot_detach(tw->tw_pmap, tw->tw_slots[s]);
		}
		pmap_destroy(tw->tw_pmap);
	}
	host_epoch_drain();
}

/* ---- Running -------------------------------------------------------------------------------- */

struct run {
	struct twin *ru_twin;
	unsigned int ru_vcpu;
	const struct twin_program *ru_program;
	bool ru_have; /* an access is to be made, or made again */
	gpa_t ru_gpa;
	unsigned int ru_access;
	struct hw_fault ru_fault;
};

static void
fetch(struct run *ru)
{
	const struct twin_program *const p = ru->ru_program;

	ru->ru_have = p->tp_next(p->tp_arg, &ru->ru_gpa, &ru->ru_access);
}

/* One access; on success the next one is at hand. */
static bool
try_access(struct run *ru)
{
	struct twin *const tw = ru->ru_twin;
	const unsigned int user = tw->tw_arch == TWIN_X86 ? HW_USER : 0;
	struct hw_translation t;

	if (hw_access(sim_cpu(), &tw->tw_ctx[ru->ru_vcpu], ru->ru_gpa, ru->ru_access | user, &t,
		      &ru->ru_fault) != HW_OK)
		return false;
	ru->ru_program->tp_done(ru->ru_program->tp_arg, ru->ru_gpa, ru->ru_access, &t);
	fetch(ru);
	return true;
}

static unsigned int
access_of_fault(const struct twin *tw, const struct hw_fault *f)
{
	struct ept_fault ef = {.ef_reserved = f->hf_reserved};

	switch (f->hf_kind) {
	case HW_FAULT_EPT_VIOLATION:
		if (ept_fault_violation(f->hf_code, f->hf_gpa, 0, tw->tw_cpu.ec_eptp_ad, &ef) != 0)
			sim_violation("CK-HW", "I45", "%s: no access in 0x%llx", tw->tw_name,
				      (unsigned long long)f->hf_code);
		break;
	case HW_FAULT_NPF:
		ept_fault_npf(f->hf_code, f->hf_gpa, &ef);
		break;
	case HW_FAULT_PAGE:
		/* Bit 1 write, bit 4 fetch (Intel SDM vol. 3A 4.7). */
		ef.ef_access = (f->hf_code & 2)	     ? PMAP_PROT_W
			       : (f->hf_code & 0x10) ? PMAP_PROT_X
						     : PMAP_PROT_R;
		break;
	default:
		ef.ef_reserved = true;
		break;
	}
	if (ef.ef_reserved)
		sim_violation("CK-HW", "I02", "%s: malformed entry 0x%llx for 0x%llx", tw->tw_name,
			      (unsigned long long)f->hf_entry, (unsigned long long)f->hf_gpa);
	return ef.ef_access;
}

/* The fault handler of the host. */
static void
answer(struct run *ru)
{
	struct twin *const tw = ru->ru_twin;
	const gpa_t page = ru->ru_gpa & ~(gpa_t)(SIM_PAGE_SIZE - 1);
	const unsigned int access = access_of_fault(tw, &ru->ru_fault);
	int error = pmap_emulate_accessed_dirty(tw->tw_pmap, page, access);

	if (error == -ENOENT || error == -EACCES)
		error = ru->ru_program->tp_fault(ru->ru_program->tp_arg, page, access);
	if (error == -EAGAIN)
		host_relax();
	else if (error != 0)
		fetch(ru);
}

/* The slot, and whether to flush first; for RVI the flush is VMRUN's. */
static struct pmap_slot *
enter(struct run *ru, enum hw_tlb_control *control)
{
	struct twin *const tw = ru->ru_twin;
	struct hw_context *const ctx = &tw->tw_ctx[ru->ru_vcpu];
	const unsigned int cpu = sim_cpu();
	struct pmap_slot *const s = tw->tw_slots[tw->tw_arch == TWIN_NPT ? ru->ru_vcpu : cpu];
	const bool flushes = pmap_guest_enter(tw->tw_pmap, s);

	*control = HW_TLB_KEEP;
	if (tw->tw_arch == TWIN_NPT) {
		struct pmap_asid *const asid = &tw->tw_asids[ru->ru_vcpu];
		const enum pmap_tlb_control tc =
			pmap_asid_assign(&tw->tw_rig->rg_asids[cpu], cpu, asid, flushes);

		pmap_asid_flushed(&tw->tw_rig->rg_asids[cpu], tc);
		ctx->hc_tag = (uint16_t)asid->as_asid;
		*control = (enum hw_tlb_control)tc;
	} else if (flushes) {
		hw_invept(cpu, &tw->tw_model, HW_INVEPT_SINGLE, ctx->hc_root);
	}
	if (flushes)
		pmap_guest_flushed(s);
	return s;
}

/* One entry and exit. */
static void
guest_round(struct run *ru)
{
	struct hw_context *const ctx = &ru->ru_twin->tw_ctx[ru->ru_vcpu];
	enum hw_tlb_control control;
	bool faulted = false;

	sim_irq_disable();
	struct pmap_slot *const s = enter(ru, &control);
	const bool entered = sim_guest_enter();

	/* Even a VMRUN that is interrupted before the first instruction has flushed. */
	hw_guest_enter(sim_cpu(), ctx, control);
	while (entered && ru->ru_have && !faulted && sim_guest_point(ru->ru_gpa))
		faulted = !try_access(ru);
	hw_guest_exit(sim_cpu());
	sim_guest_exit();
	pmap_guest_exit(s);
	sim_irq_enable();
	if (faulted)
		answer(ru);
}

/* A thread: its space stays loaded over faults. */
static void
thread_run(struct run *ru)
{
	struct twin *const tw = ru->ru_twin;
	const unsigned int cpu = sim_cpu();

	sim_irq_disable();
	tw->tw_rig->rg_loaded[cpu] = tw;
	pmap_activate(tw->tw_pmap, tw->tw_slots[cpu]);
	hw_load_cr3(cpu, &tw->tw_ctx[0]);
	sim_irq_enable();
	while (ru->ru_have) {
		sim_point(SIM_USER, NULL);
		if (!try_access(ru))
			answer(ru);
	}
	sim_irq_disable();
	hw_load_cr3(cpu, NULL);
	pmap_deactivate(tw->tw_slots[cpu]);
	tw->tw_rig->rg_loaded[cpu] = NULL;
	sim_irq_enable();
}

void
twin_run(struct twin *tw, unsigned int vcpu, const struct twin_program *p)
{
	struct run ru = {
		.ru_twin = tw,
		.ru_vcpu = tw->tw_arch == TWIN_X86 ? 0 : vcpu,
		.ru_program = p,
	};

	fetch(&ru);
	if (tw->tw_arch == TWIN_X86)
		thread_run(&ru);
	while (ru.ru_have)
		guest_round(&ru);
	/* A vCPU changes CPU by way of a run queue's lock: what it stored here is seen there. */
	host_fence();
}
