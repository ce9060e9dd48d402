/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A guest's address space: its beginning and its end.
 */

#include "vmspace/vm_priv.h"

void
vm_count(struct vmspace *vs, enum vm_counter c, uint64_t addend)
{
	host_epoch_enter();
	host_count(&vs->vs_counters[host_cpu()].cc_word[c], addend);
	host_epoch_exit();
}

void
vm_object_count(const struct vm_object *ob, enum vm_counter c, uint64_t addend)
{
	if (addend != 0 && ob->ob_space != NULL)
		vm_count(ob->ob_space, c, addend);
}

/* ---- What the pmap tells --------------------------------------------------------------------- */

static void
noted(void *arg, const struct pmap_leaf *leaf)
{
	struct vmspace *const vs = arg;

	vm_map_note(vs, leaf);
	if (vs->vs_config.pc_note != NULL)
		vs->vs_config.pc_note(vs->vs_config.pc_arg, leaf);
}

static void
backlogged(void *arg)
{
	struct vmspace *const vs = arg;

	if (vs->vs_config.pc_backlog != NULL)
		vs->vs_config.pc_backlog(vs->vs_config.pc_arg);
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* Rights of superpages without execution must be expressible. */
int
vm_nx_supported(const struct pt_fmt *f)
{
	return (f->pf_prot_ok >> PMAP_PROT_RW & 1) != 0 && (f->pf_prot_ok >> PMAP_PROT_R & 1) != 0
		       ? 0
		       : -EOPNOTSUPP;
}

static int
create_parts(struct vmspace *vs, const struct vmspace_config *cfg)
{
	struct pmap_config pc = cfg->vc_pmap;
	struct vm_map *map;
	int error;

	pc.pc_note = noted;
	pc.pc_backlog = backlogged;
	pc.pc_arg = vs;
	error = pmap_init(&pc, &vs->vs_pmap);
	if (error != 0)
		return error;
	if ((cfg->vc_flags & VM_NX_SUPERPAGES) && vm_nx_supported(pmap_fmt(vs->vs_pmap)) != 0) {
		error = -EOPNOTSUPP;
		goto no_map;
	}
	error = -ENOMEM;
	map = vm_map_alloc(0);
	if (map == NULL)
		goto no_map;
	vs->vs_account = vm_account_create(vs->vs_sys, cfg->vc_limit_pages);
	if (vs->vs_account == NULL) {
		vm_map_discard(map);
		goto no_map;
	}
	host_store(&vs->vs_map, (uintptr_t)map);
	return 0;
no_map:
	pmap_destroy(vs->vs_pmap);
	return error;
}

int
vmspace_create(struct vm_system *sys, const struct vmspace_config *cfg, struct vmspace **out)
{
	struct vmspace *vs;
	int error;

	if ((cfg->vc_flags & ~VMSPACE_FLAGS_ALL) != 0)
		return -EINVAL;
	if ((cfg->vc_flags & VM_HOST_PAGER) && !host_has_pager())
		return -EOPNOTSUPP;
	vs = host_alloc(sizeof(*vs));
	if (vs == NULL)
		return -ENOMEM;
	vs->vs_sys = sys;
	vs->vs_config = cfg->vc_pmap;
	host_mutex_init(&vs->vs_lock, VM_RANK_SPACE);
	host_mutex_init(&vs->vs_sweep, VM_RANK_SWEEP);
	host_store(&vs->vs_mode, cfg->vc_flags);
	error = create_parts(vs, cfg);
	if (error != 0) {
		host_free(vs, sizeof(*vs));
		return error;
	}
	host_lock(&sys->sy_lock);
	vs->vs_next = *vm_system_first_space(sys);
	*vm_system_first_space(sys) = vs;
	host_unlock(&sys->sy_lock);
	vm_charge_tables(vs);
	*out = vs;
	return 0;
}

static void
unlink_space(struct vmspace *vs)
{
	struct vmspace **link;

	host_lock(&vs->vs_sys->sy_lock);
	link = vm_system_first_space(vs->vs_sys);
	while (*link != vs)
		link = &(*link)->vs_next;
	*link = vs->vs_next;
	host_unlock(&vs->vs_sys->sy_lock);
}

/* Segments by their objects, windows by their entries. */
static void
terminate_objects(struct vmspace *vs, const struct vm_map *map)
{
	for (unsigned int i = 0; i < map->mp_n; i++) {
		if (map->mp_entries[i].me_object->ob_type == OBJT_SG)
			vm_object_terminate(map->mp_entries[i].me_object);
	}
	for (unsigned int i = 0; i < VM_MAX_MEMSEGS; i++) {
		struct vm_object *const ob = vs->vs_segs[i].sg_object;

		if (ob != NULL)
			vm_object_terminate(ob);
	}
}

/* Pageout, which is not under way, does not come to this one again. */
static void
forget_object(struct vm_object *ob)
{
	HOST_ASSERT(host_mutex_held(&ob->ob_sys->sy_pageout));
	vm_object_unclock(ob);
}

/* Pageout leaves the guest's objects alone from here on. */
static void
forget_objects(struct vmspace *vs)
{
	host_mutex_lock(&vs->vs_sys->sy_pageout);
	for (unsigned int i = 0; i < VM_MAX_MEMSEGS; i++) {
		if (vs->vs_segs[i].sg_object != NULL)
			forget_object(vs->vs_segs[i].sg_object);
	}
	host_mutex_unlock(&vs->vs_sys->sy_pageout);
}

/*
 * The tables go first, all at once: what they know of A and M is noted while the map is still
 * there. Pages that are held go with their objects, which do not know the vmspace any more.
 */
void
vmspace_destroy(struct vmspace *vs)
{
	forget_objects(vs);
	host_mutex_lock(&vs->vs_lock);
	vm_iommu_detach_all(vs);
	vm_unwire_all(vs);
	host_mutex_unlock(&vs->vs_lock);
	unlink_space(vs);
	host_fetch_add(&vs->vs_sys->sy_held, -host_xchg(&vs->vs_tables, 0));
	pmap_destroy(vs->vs_pmap);
	for (unsigned int i = 0; i < VM_MAX_MEMSEGS; i++) {
		if (vs->vs_segs[i].sg_object != NULL)
			vs->vs_segs[i].sg_object->ob_space = NULL;
	}
	/* Nobody else is here any more. */
	struct vm_map *const map = (struct vm_map *)(uintptr_t)host_load(&vs->vs_map);

	terminate_objects(vs, map);
	vm_map_discard(map);
	vm_account_unref(vs->vs_account);
	host_epoch_drain(); /* maps and objects that point here */
	host_free(vs, sizeof(*vs));
}

struct pmap *
vmspace_pmap(struct vmspace *vs)
{
	return vs->vs_pmap;
}

void
vmspace_drain(struct vmspace *vs)
{
	pmap_drain(vs->vs_pmap);
	vm_charge_tables(vs);
}

/* ---- Counts ---------------------------------------------------------------------------------- */

static uint64_t
counter_sum(const struct vmspace *vs, enum vm_counter c)
{
	uint64_t sum = 0;

	for (unsigned int cpu = 0; cpu < HOST_MAX_CPUS; cpu++)
		sum += host_load(&vs->vs_counters[cpu].cc_word[c]);
	return sum;
}

void
vmspace_stats(struct vmspace *vs, struct vmspace_stats *out)
{
	*out = (struct vmspace_stats){
		.vt_faults = counter_sum(vs, VM_C_FAULTS),
		.vt_faults_spurious = counter_sum(vs, VM_C_SPURIOUS),
		.vt_faults_failed = counter_sum(vs, VM_C_FAILED),
		.vt_fault_retries = counter_sum(vs, VM_C_RETRIES),
		.vt_zero_fills = counter_sum(vs, VM_C_ZERO_FILLS),
		.vt_swap_ins = counter_sum(vs, VM_C_SWAP_INS),
		.vt_read_ahead = counter_sum(vs, VM_C_READ_AHEAD),
		.vt_swap_outs = counter_sum(vs, VM_C_SWAP_OUTS),
		.vt_swap_errors = counter_sum(vs, VM_C_SWAP_ERRORS),
		.vt_reclaimed = counter_sum(vs, VM_C_RECLAIMED),
		.vt_reclaimed_clean = counter_sum(vs, VM_C_RECLAIMED_CLEAN),
		.vt_runs = counter_sum(vs, VM_C_RUNS),
		.vt_runs_broken = counter_sum(vs, VM_C_RUNS_BROKEN),
		.vt_super_enters = counter_sum(vs, VM_C_SUPER_ENTERS),
		.vt_promotions = counter_sum(vs, VM_C_PROMOTIONS),
		.vt_exec_splits = counter_sum(vs, VM_C_EXEC_SPLITS),
		.vt_holds = counter_sum(vs, VM_C_HOLDS),
		.vt_moved = counter_sum(vs, VM_C_MOVED),
	};
}
