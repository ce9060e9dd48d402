/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A caller who means harm: every function of vmspace.h with arguments that are wrong in one way.
 * The answer must be the error that the header promises, and nothing may have changed, which is
 * looked at when the caller is alone.
 */

#include "sim/workload/vmop.h"

#include <errno.h>
#include <string.h>

#include "sim/oracle/invariants.h"

/* What a wrong call is made of. */
struct hostile {
	struct space *hs_space;
	struct vmspace *hs_vs;
	gpa_t hs_limit;	 /* of the guest's addresses */
	gpa_t hs_hole;	 /* where nothing is ever mapped */
	gpa_t hs_at;	 /* where a region begins, mapped or not */
	uint64_t hs_len; /* of the region */
	struct seg *hs_seg;
	int hs_ident; /* of its segment; -1: a window */
	uint64_t hs_seg_len;
	uint64_t hs_odd; /* 1 to 4095 */
};

/* A number that is no identity. */
static int
bad_ident(void)
{
	static const int idents[] = {-1, VM_IDENT_MAX + 1, INT32_MIN, INT32_MAX};

	return idents[sim_choose(SIM_CHOICE_WORKLOAD, 4)];
}

/* One in range that nobody has. */
static int
unused_ident(void)
{
	return 1000 + (int)sim_choose(SIM_CHOICE_WORKLOAD, 60000);
}

/* ---- Segments ------------------------------------------------------------------------------- */

static int
alloc_bad_ident(const struct hostile *hs)
{
	return vm_alloc_memseg(hs->hs_vs, bad_ident(), SIM_PAGE_SIZE, NULL);
}

static int
alloc_bad_len(const struct hostile *hs)
{
	/* One after the other: compilers evaluate arguments in the order they like. */
	const char *const name = sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0 ? NULL : "odd";
	const uint64_t len = sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0 ? 0 : hs->hs_odd;
	const int ident = unused_ident();

	return vm_alloc_memseg(hs->hs_vs, ident, len, name);
}

static int
alloc_bad_name(const struct hostile *hs)
{
	static const char *const names[] = {"", "a/b", "..", "nul\001", "with space"};

	const char *const name = names[sim_choose(SIM_CHOICE_WORKLOAD, 5)];

	return vm_alloc_memseg(hs->hs_vs, unused_ident(), SIM_PAGE_SIZE, name);
}

static int
alloc_long_name(const struct hostile *hs)
{
	char name[VM_MEMSEG_NAME_BYTES + 40];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	return vm_alloc_memseg(hs->hs_vs, unused_ident(), SIM_PAGE_SIZE, name);
}

/* The identity is in use by another length; a window has none. */
static int
alloc_again(const struct hostile *hs)
{
	int error;

	/* One that is being made anew is not there for a while. */
	if (hs->hs_ident < 0 || hs->hs_seg->sg_remaking)
		return -EINVAL;
	hs->hs_seg->sg_users++;
	error = vm_alloc_memseg(hs->hs_vs, hs->hs_ident, hs->hs_seg_len + SIM_PAGE_SIZE, NULL);
	hs->hs_seg->sg_users--;
	return error;
}

static int
get_bad_ident(const struct hostile *hs)
{
	struct vm_memseg seg;

	return vm_get_memseg(hs->hs_vs, bad_ident(), &seg);
}

static int
free_bad_ident(const struct hostile *hs)
{
	return vm_free_memseg(hs->hs_vs, bad_ident());
}

static int
free_unused(const struct hostile *hs)
{
	return vm_free_memseg(hs->hs_vs, unused_ident());
}

/* ---- Maps ----------------------------------------------------------------------------------- */

static int
map_bad_prot(const struct hostile *hs)
{
	return vm_mmap_memseg(hs->hs_vs, hs->hs_hole, 0, 0, SIM_PAGE_SIZE,
			      sim_choose(SIM_CHOICE_WORKLOAD, 2) * 8u, 0);
}

static int
map_bad_flags(const struct hostile *hs)
{
	return vm_mmap_memseg(hs->hs_vs, hs->hs_hole, 0, 0, SIM_PAGE_SIZE, PMAP_PROT_RX,
			      1u << (1 + sim_choose(SIM_CHOICE_WORKLOAD, 31)));
}

static int
map_unused(const struct hostile *hs)
{
	return vm_mmap_memseg(hs->hs_vs, hs->hs_hole,
			      sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0 ? bad_ident()
								      : unused_ident(),
			      0, SIM_PAGE_SIZE, PMAP_PROT_RX, 0);
}

static int
map_bad_part(const struct hostile *hs)
{
	const int64_t len = (int64_t)hs->hs_seg_len;
	const struct {
		int64_t first, len;
	} parts[] = {
		{-SIM_PAGE_SIZE, SIM_PAGE_SIZE},
		{0, 0},
		{0, -SIM_PAGE_SIZE},
		{len, SIM_PAGE_SIZE},
		{0, len + SIM_PAGE_SIZE},
		{(int64_t)hs->hs_odd, SIM_PAGE_SIZE},
		{0, (int64_t)hs->hs_odd},
		{INT64_MAX - SIM_PAGE_SIZE + 1, SIM_PAGE_SIZE},
		{INT64_MIN, SIM_PAGE_SIZE},
	};
	const unsigned int i = sim_choose(SIM_CHOICE_WORKLOAD, sizeof(parts) / sizeof(parts[0]));

	return vm_mmap_memseg(hs->hs_vs, hs->hs_hole, hs->hs_ident, parts[i].first, parts[i].len,
			      PMAP_PROT_RX, 0);
}

static int
map_bad_place(const struct hostile *hs)
{
	const gpa_t places[] = {hs->hs_hole + hs->hs_odd, hs->hs_limit, ~UINT64_C(4095),
				hs->hs_limit + hs->hs_hole};

	return vm_mmap_memseg(hs->hs_vs, places[sim_choose(SIM_CHOICE_WORKLOAD, 4)], hs->hs_ident,
			      0, SIM_PAGE_SIZE, PMAP_PROT_RX, 0);
}

static int
unmap_part(const struct hostile *hs)
{
	const struct {
		gpa_t gpa;
		uint64_t len;
	} parts[] = {
		{hs->hs_at, hs->hs_len + SIM_PAGE_SIZE},
		{hs->hs_at, hs->hs_len - 1},
		{hs->hs_at + hs->hs_odd, hs->hs_len},
		{hs->hs_hole, SIM_PAGE_SIZE},
		{hs->hs_at, 0},
		{~UINT64_C(0), ~UINT64_C(0)},
	};
	const unsigned int i = sim_choose(SIM_CHOICE_WORKLOAD, sizeof(parts) / sizeof(parts[0]));

	switch (sim_choose(SIM_CHOICE_WORKLOAD, 5)) {
	case 0:
		return vm_unmap_mmio(hs->hs_vs, parts[i].gpa, parts[i].len);
	case 1:
		return vm_wire_memmap(hs->hs_vs, parts[i].gpa, parts[i].len);
	case 2:
		return vm_unwire_memmap(hs->hs_vs, parts[i].gpa, parts[i].len);
	case 3:
		return vm_protect_memmap(hs->hs_vs, parts[i].gpa, parts[i].len, PMAP_PROT_RX);
	default:
		return vm_munmap_memseg(hs->hs_vs, parts[i].gpa, parts[i].len);
	}
}

static int
protect_bad_prot(const struct hostile *hs)
{
	return vm_protect_memmap(hs->hs_vs, hs->hs_at, hs->hs_len,
				 sim_choose(SIM_CHOICE_WORKLOAD, 2) * 8u);
}

static int
window_bad(const struct hostile *hs)
{
	const hpa_t limit = pmap_fmt(hs->hs_space->sp_pmap)->pf_phys_limit;
	const struct {
		gpa_t gpa;
		uint64_t len;
		hpa_t hpa;
	} rows[] = {
		{hs->hs_hole, 0, 0},
		{hs->hs_hole, SIM_PAGE_SIZE, hs->hs_odd},
		{hs->hs_hole, hs->hs_odd, 0},
		{hs->hs_hole, 2 * SIM_PAGE_SIZE, limit - SIM_PAGE_SIZE},
		{hs->hs_limit - SIM_PAGE_SIZE, 2 * SIM_PAGE_SIZE, 0},
		{hs->hs_hole, ~UINT64_C(4095), SIM_PAGE_SIZE},
	};
	const unsigned int i = sim_choose(SIM_CHOICE_WORKLOAD, sizeof(rows) / sizeof(rows[0]));

	return vm_map_mmio(hs->hs_vs, rows[i].gpa, rows[i].len, rows[i].hpa);
}

/* ---- Faults, holds, copies ------------------------------------------------------------------ */

static int
fault_bad_access(const struct hostile *hs)
{
	return vm_fault(hs->hs_vs, hs->hs_at, sim_choose(SIM_CHOICE_WORKLOAD, 2) * 8u, NULL);
}

static int
fault_beyond(const struct hostile *hs)
{
	struct vm_fault_record r = {0};
	const int error = vm_fault(hs->hs_vs, hs->hs_limit + hs->hs_odd, PMAP_PROT_R, &r);

	return r.fr_reason == VM_FAULT_BEYOND && r.fr_error == error ? error : 0;
}

static int
fault_hole(const struct hostile *hs)
{
	struct vm_fault_record r = {0};
	const int error = vm_fault(hs->hs_vs, hs->hs_hole + hs->hs_odd, PMAP_PROT_R, &r);

	return r.fr_reason == VM_FAULT_UNMAPPED && r.fr_error == error && r.fr_gpa == hs->hs_hole &&
			       r.fr_len_bytes != 0
		       ? error
		       : 0;
}

static int
hold_bad(const struct hostile *hs)
{
	const struct {
		gpa_t gpa;
		uint64_t len;
		unsigned int prot;
	} rows[] = {
		{hs->hs_at, 0, PMAP_PROT_R},
		{hs->hs_at, 1, 0},
		{hs->hs_at, 1, 8},
		{hs->hs_limit, 1, PMAP_PROT_R},
		{~UINT64_C(0), 2, PMAP_PROT_R},
		{hs->hs_at, ~UINT64_C(0), PMAP_PROT_R},
	};
	const unsigned int i = sim_choose(SIM_CHOICE_WORKLOAD, sizeof(rows) / sizeof(rows[0]));
	struct vm_hold hold;

	return vm_gpa_hold(hs->hs_vs, rows[i].gpa, rows[i].len, rows[i].prot, &hold, NULL);
}

static int
hold_hole(const struct hostile *hs)
{
	struct vm_hold hold;

	return vm_gpa_hold(hs->hs_vs, hs->hs_hole + hs->hs_odd, 3 * SIM_PAGE_SIZE, PMAP_PROT_RW,
			   &hold, NULL);
}

static int
hold_bad_segment(const struct hostile *hs)
{
	struct vm_hold hold;
	const int ident = hs->hs_ident;

	switch (sim_choose(SIM_CHOICE_WORKLOAD, 4)) {
	case 0:
		return vm_memseg_hold(hs->hs_vs, bad_ident(), 0, 1, PMAP_PROT_R, &hold);
	case 1:
		return vm_memseg_hold(hs->hs_vs, unused_ident(), 0, 1, PMAP_PROT_R, &hold);
	case 2:
		return vm_memseg_hold(hs->hs_vs, ident, hs->hs_seg_len, 1, PMAP_PROT_R, &hold);
	default:
		return vm_memseg_hold(hs->hs_vs, ident, 1, ~UINT64_C(0), PMAP_PROT_R, &hold);
	}
}

static int
copy_beyond(const struct hostile *hs)
{
	char bytes[16] = {0};
	uint64_t done = 99;
	const int error =
		sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0
			? vm_gpa_read(hs->hs_vs, hs->hs_limit - 8, bytes, sizeof(bytes), &done)
			: vm_gpa_write(hs->hs_vs, ~UINT64_C(7), bytes, sizeof(bytes), &done);

	return done == 0 ? error : 0;
}

static int
copy_hole(const struct hostile *hs)
{
	char bytes[16] = {0};
	uint64_t done = 99;
	const int error = vm_gpa_write(hs->hs_vs, hs->hs_hole, bytes, sizeof(bytes), &done);

	return done == 0 ? error : 0;
}

/* ---- Devices, pageout, the log -------------------------------------------------------------- */

static int
attach_unknown(const struct hostile *hs)
{
	return vmop_attach_nothing(hs->hs_space, SIM_DEVICES + hs->hs_odd);
}

static int
detach_unknown(const struct hostile *hs)
{
	return vm_detach_device(hs->hs_vs, SIM_DEVICES + hs->hs_odd);
}

static int
pageout_flags(const struct hostile *hs)
{
	uint64_t freed;

	return vm_pageout(hs->hs_space->sp_world->wo_system, hs->hs_vs, 1,
			  1u << (1 + sim_choose(SIM_CHOICE_WORKLOAD, 31)), &freed);
}

static int
misaligned(const struct hostile *hs)
{
	uint64_t moved;

	return sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0
		       ? vm_migrate(hs->hs_vs, hs->hs_at + hs->hs_odd, SIM_PAGE_SIZE, &moved)
		       : vm_discard(hs->hs_vs, hs->hs_at, hs->hs_odd);
}

static int
discard_hole(const struct hostile *hs)
{
	return vm_discard(hs->hs_vs, hs->hs_hole, SIM_PAGE_SIZE);
}

static int
info_hole(const struct hostile *hs)
{
	struct vm_page_info info;

	return vmspace_page_info(hs->hs_vs, hs->hs_hole, &info);
}

static int
log_misaligned(const struct hostile *hs)
{
	uint64_t bitmap[2] = {0};

	return sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0
		       ? vm_dirty_log(hs->hs_vs, hs->hs_at + hs->hs_odd, SIM_PAGE_SIZE,
				      VM_DIRTY_GET, bitmap)
		       : vm_dirty_log_set(hs->hs_vs, hs->hs_limit, SIM_PAGE_SIZE, bitmap);
}

static int
create_flags(const struct hostile *hs)
{
	struct vmspace_config cfg = hs->hs_space->sp_config;
	struct vmspace *vs;

	cfg.vc_flags = VMSPACE_FLAGS_ALL + (1u << (4 + sim_choose(SIM_CHOICE_WORKLOAD, 28)));
	return vmspace_create(hs->hs_space->sp_world->wo_system, &cfg, &vs);
}

/* ---- The table ------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	int (*call)(const struct hostile *hs);
	int errors[3]; /* what it may say */
} calls[] = {
	{"a segment of no identity", alloc_bad_ident, {-EINVAL}},
	{"a segment of no length", alloc_bad_len, {-EINVAL}},
	{"a segment of no name", alloc_bad_name, {-EINVAL}},
	{"a segment of a long name", alloc_long_name, {-ENAMETOOLONG}},
	{"a segment once more", alloc_again, {-EINVAL}},
	{"asking for no identity", get_bad_ident, {-EINVAL}},
	{"freeing no identity", free_bad_ident, {-EINVAL}},
	{"freeing nothing", free_unused, {-ENOENT}},
	{"a map without rights", map_bad_prot, {-EINVAL}},
	{"a map with unknown flags", map_bad_flags, {-EINVAL}},
	{"a map of nothing", map_unused, {-EINVAL}},
	{"a map beyond its segment", map_bad_part, {-EINVAL}},
	{"a map beyond the guest", map_bad_place, {-EINVAL}},
	{"part of a map", unmap_part, {-EINVAL}},
	{"protecting to nothing", protect_bad_prot, {-EINVAL}},
	{"a window beyond", window_bad, {-EINVAL}},
	{"a fault without access", fault_bad_access, {-EINVAL}},
	{"a fault beyond", fault_beyond, {-EINVAL}},
	{"a fault in a hole", fault_hole, {-EFAULT}},
	{"a hold of nothing", hold_bad, {-EINVAL}},
	{"a hold of a hole", hold_hole, {-EFAULT}},
	{"a hold of no segment", hold_bad_segment, {-EINVAL}},
	{"a copy beyond", copy_beyond, {-EINVAL, -EFAULT, -EACCES}},
	{"a copy into a hole", copy_hole, {-EFAULT}},
	{"attaching no device", attach_unknown, {-ENOENT, -ENXIO}},
	{"detaching no device", detach_unknown, {-ENOENT}},
	{"pageout with unknown flags", pageout_flags, {-EINVAL}},
	{"a misaligned range", misaligned, {-EINVAL}},
	{"discarding a hole", discard_hole, {-EFAULT}},
	{"asking for a hole", info_hole, {-EFAULT}},
	{"a misaligned log", log_misaligned, {-EINVAL, -ENOENT}},
	{"a guest with unknown flags", create_flags, {-EINVAL}},
};

#define NCALLS (sizeof(calls) / sizeof(calls[0]))

static void
hostile_init(struct hostile *hs, struct space *sp, gpa_t start)
{
	const struct region *const rg = hostop_region(sp, start);

	*hs = (struct hostile){
		.hs_space = sp,
		.hs_vs = sp->sp_vs,
		.hs_limit = pmap_fmt(sp->sp_pmap)->pf_limit,
		.hs_hole = sp->sp_many_base - REGION_BYTES,
		.hs_at = rg->rg_base,
		.hs_len = region_end(rg) - rg->rg_base,
		.hs_seg = rg->rg_seg,
		.hs_ident = rg->rg_seg->sg_ident,
		.hs_seg_len = (uint64_t)rg->rg_seg->sg_npages * SIM_PAGE_SIZE,
		.hs_odd = 1 + sim_choose(SIM_CHOICE_WORKLOAD, SIM_PAGE_SIZE - 1),
	};
}

/* Makes one of the calls; true if it failed as it should for what is wrong with it. */
static void
make_call(const struct hostile *hs, unsigned int i)
{
	const int error = calls[i].call(hs);
	bool right = false;

	for (unsigned int e = 0; e < 3; e++)
		right = right || (error != 0 && error == calls[i].errors[e]);
	sim_invariant_hit(SIM_I39);
	if (!right && !vmop_excused(error))
		sim_violation("CK-API", "I39", "%s: %s is answered with %d", hs->hs_space->sp_name,
			      calls[i].name, -error);
	vmop_tick(hs->hs_space->sp_world, VO_HOSTILE);
	sim_fault_met(SIM_FAULT_HOSTILE, sim_cpu(), true);
}

void
vmop_hostile(struct space *sp, gpa_t start, gpa_t stop)
{
	struct hostile hs;

	(void)stop;
	hostile_init(&hs, sp, start);
	make_call(&hs, sim_choose(SIM_CHOICE_WORKLOAD, NCALLS));
}

/* ---- Alone ---------------------------------------------------------------------------------- */

/* All that can be seen of a space, in one number. */
struct sight {
	struct space *si_space;
	uint64_t si_hash;
};

static void
mix(struct sight *si, uint64_t v)
{
	si->si_hash = (si->si_hash ^ v) * UINT64_C(0x100000001b3);
	si->si_hash ^= si->si_hash >> 29;
}

static void
see_page(struct sight *si, gpa_t gpa)
{
	struct vm_page_info info;
	struct hw_walk walk;

	if (vmspace_page_info(si->si_space->sp_vs, gpa, &info) == 0) {
		mix(si, info.pi_hpa);
		mix(si, (uint64_t)info.pi_holds << 40 | (uint64_t)info.pi_write_holds << 20 |
				info.pi_wirings);
		mix(si, (uint64_t)info.pi_resident | (uint64_t)info.pi_dirty << 1 |
				(uint64_t)info.pi_swapped << 2 | (uint64_t)info.pi_logged << 3);
	}
	hw_walk_quiet(&si->si_space->sp_ctx, gpa, &walk);
	/* Hardware that speculates sets A at any time. */
	mix(si,
	    walk.wk_present ? walk.wk_hpa << 8 | walk.wk_level << 4 | (walk.wk_rights & 15) : 1);
}

static void
see(void *arg)
{
	struct sight *const si = arg;
	struct space *const sp = si->si_space;
	struct vm_accounts va;
	struct vm_memmap map;

	vmspace_accounts(sp->sp_vs, &va);
	mix(si, va.va_resident);
	mix(si, va.va_wired);
	mix(si, va.va_reserved);
	mix(si, va.va_devmem);
	mix(si, va.va_swapped);
	/* Not va_tables: unlinked ones go when their epoch is over, whoever calls what. */
	for (gpa_t at = 0; vm_mmap_getnext(sp->sp_vs, at, &map) == 0;
	     at = map.vp_gpa + map.vp_len_bytes) {
		mix(si, map.vp_gpa);
		mix(si, map.vp_len_bytes);
		mix(si, map.vp_offset_bytes);
		mix(si, (uint64_t)map.vp_ident << 16 | (uint64_t)map.vp_prot << 8 | map.vp_flags);
	}
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *const rg = &sp->sp_regions[r];

		for (gpa_t gpa = rg->rg_base; gpa < region_end(rg); gpa += SIM_PAGE_SIZE) {
			if (region_page(rg, gpa)->pg_touched)
				see_page(si, gpa);
		}
	}
}

/* Nobody else moves: what a refused call has changed shows. */
void
vmop_hostile_alone(struct space *sp, gpa_t start, gpa_t stop)
{
	struct hostile hs;

	(void)stop;
	hostile_init(&hs, sp, start);
	for (unsigned int n = 0; n < 4; n++) {
		const unsigned int i = sim_choose(SIM_CHOICE_WORKLOAD, NCALLS);
		struct sight before = {sp, 0};
		struct sight after = {sp, 0};

		sim_aside(see, &before);
		make_call(&hs, i);
		sim_aside(see, &after);
		sim_invariant_hit(SIM_I40);
		if (before.si_hash != after.si_hash)
			sim_violation("CK-OOM", "I40", "%s: %s was refused, and changed something",
				      sp->sp_name, calls[i].name);
	}
}
