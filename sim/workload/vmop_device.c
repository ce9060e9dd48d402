/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Devices that are attached to guests and detached again, and what they do meanwhile: any word of
 * what is wired, at any time, judged at the instant of the access.
 */

#include "sim/workload/vmop.h"

#include <errno.h>

#include "sim/oracle/invariants.h"

static unsigned long long
ull(uint64_t v)
{
	return v;
}

/* ---- Accesses ------------------------------------------------------------------------------- */

/* What a device reached must be wired memory of its guest, at that address. */
static const struct region *
check_reached(struct space *sp, unsigned int device, uint64_t gpa, uint64_t hpa)
{
	struct vm_page_info info;
	const struct region *rg;

	sim_invariant_hit(SIM_I37);
	if (sp == NULL)
		sim_violation("CK-IOMMU", "I37", "device %u, which is nobody's, reaches 0x%llx",
			      device, ull(hpa));
	rg = vmop_slot(sp, gpa);
	/* A guest that ends takes its devices along, a step at a time. */
	if (rg != NULL && sp->sp_vs == NULL)
		return rg;
	if (rg == NULL || rg->rg_seg->sg_kind != SEG_SYSMEM || !space_page_info(sp, gpa, &info))
		sim_violation("CK-IOMMU", "I37", "%s: device %u reaches 0x%llx, where no memory is",
			      sp->sp_name, device, ull(gpa));
	if (info.pi_wirings == 0 || info.pi_hpa != PAGE_OF(hpa))
		sim_violation("CK-IOMMU", "I37",
			      "%s: device %u reaches 0x%llx at 0x%llx; it is at 0x%llx, wired %u "
			      "times",
			      sp->sp_name, device, ull(gpa), ull(hpa), ull(info.pi_hpa),
			      info.pi_wirings);
	return rg;
}

static void
reached(void *arg, unsigned int device, uint64_t gpa, uint64_t hpa, bool write)
{
	struct world *const w = arg;
	struct space *const sp = w->wo_vmops->vo_devices[device].dd_space;
	const struct region *const rg = check_reached(sp, device, gpa, hpa);
	struct page *const pg = region_page(rg, gpa);
	const unsigned int word = (gpa & (SIM_PAGE_SIZE - 1)) / 8;
	uint64_t value;

	sim_invariant_hit(SIM_I36);
	if (write && !(region_rights(rg) & PMAP_PROT_W))
		sim_violation("CK-IOMMU", "I36",
			      "%s: device %u may write 0x%llx, which is not to "
			      "be written",
			      sp->sp_name, device, ull(gpa));
	value = sim_data_load(hpa);
	if (!ghost_found(pg, word, value))
		sim_violation("CK-IOMMU", "I37",
			      "%s: device %u finds 0x%llx at 0x%llx, where 0x%llx was written",
			      sp->sp_name, device, ull(value), ull(gpa), ull(ghost_word(pg, word)));
	if (write) {
		value = ghost_value(w);
		sim_data_store(hpa, value);
		vmop_wrote(w, pg, word, value);
	}
	vmop_tick(w, write ? VO_DMA_WRITE : VO_DMA_READ);
}

void
vmop_devices_run(struct world *w, bool run)
{
	sim_set_dma_hook(run ? reached : NULL, w);
}

void
vmop_create(struct world *w)
{
	w->wo_vmops = sim_alloc(sizeof(*w->wo_vmops));
	vmop_hooks(w);
	vmop_devices_run(w, true);
}

/* ---- Attaching ------------------------------------------------------------------------------ */

static bool
has_devices(const struct space *sp, bool surely)
{
	if (sp->sp_attaching != 0 && !surely)
		return true;
	for (unsigned int i = 0; i < SIM_DEVICES; i++) {
		const struct dma_device *const dd = &sp->sp_world->wo_vmops->vo_devices[i];

		if (dd->dd_space == sp && !(surely && dd->dd_changing))
			return true;
	}
	return false;
}

bool
vmop_has_devices(const struct space *sp)
{
	return has_devices(sp, false);
}

/* Rights that are being gained may be refused, those being lost may be gone: neither is sure. */
bool
vmop_device_writes(const struct space *sp, const struct region *rg, bool surely)
{
	const unsigned int rights =
		surely ? rg->rg_prot & (unsigned int)~rg->rg_gaining : region_rights(rg);

	const bool wired = rg->rg_wired || (rg->rg_wiring && !surely);

	return wired && (rights & PMAP_PROT_W) != 0 && has_devices(sp, surely);
}

/* Whatever a device could write may be in the log from here on. */
void
vmop_may_be_logged(struct space *sp)
{
	for (unsigned int s = 0; s < sp->sp_nsegs; s++) {
		const struct seg *const sg = &sp->sp_segs[s];

		for (unsigned int i = 0; sg->sg_kind == SEG_SYSMEM && i < sg->sg_npages; i++)
			sg->sg_pages[i].pg_maylog = true;
	}
}

/* For a while all that is wired is the device's that the guest will not get. */
int
vmop_attach_nothing(struct space *sp, uint64_t device)
{
	int error;

	sp->sp_attaching++;
	error = vm_attach_device(sp->sp_vs, device);
	sp->sp_attaching--;
	vmop_may_be_logged(sp);
	return error;
}

/* One that is somebody's already, whose end waits meanwhile: refused. */
static void
attach_refused(struct space *sp, unsigned int device, struct space *owner)
{
	int error;

	if (owner->sp_closing)
		return;
	owner->sp_users++;
	error = vmop_attach_nothing(sp, device);
	if (error == 0 || (error != (owner == sp ? -EEXIST : -EBUSY) && !vmop_excused(error) &&
			   !(error == -ENXIO && !sp->sp_world->wo_iommu)))
		sim_violation("CK-API", "I40",
			      "%s: device %u, which is taken, is attached with error %d",
			      sp->sp_name, device, -error);
	owner->sp_users--;
}

void
vmop_attach(struct space *sp, gpa_t start, gpa_t stop)
{
	struct world *const w = sp->sp_world;
	const unsigned int device = sim_choose(SIM_CHOICE_WORKLOAD, SIM_DEVICES);
	struct dma_device *const dd = &w->wo_vmops->vo_devices[device];
	int error;

	if (sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0)
		hostop_wire(sp, start, stop);
	if (dd->dd_changing)
		return;
	if (dd->dd_space != NULL) {
		dd->dd_changing = true;
		attach_refused(sp, device, dd->dd_space);
		dd->dd_changing = false;
		return;
	}
	*dd = (struct dma_device){sp, true};
	error = vm_attach_device(sp->sp_vs, device);
	if (error != 0 && !vmop_excused(error) && !(error == -ENXIO && !w->wo_iommu))
		sim_violation("CK-API", "I40", "%s: attaching of device %u ends with error %d",
			      sp->sp_name, device, -error);
	if (error != 0) {
		vmop_may_be_logged(sp);
		dd->dd_space = NULL;
	} else {
		vmop_tick(w, VO_ATTACH);
	}
	dd->dd_changing = false;
}

/* A device of this guest, or -1. */
static int
some_device(struct space *sp)
{
	const unsigned int from = sim_choose(SIM_CHOICE_WORKLOAD, SIM_DEVICES);

	for (unsigned int i = 0; i < SIM_DEVICES; i++) {
		const unsigned int device = (from + i) % SIM_DEVICES;
		const struct dma_device *const dd = &sp->sp_world->wo_vmops->vo_devices[device];

		if (dd->dd_space == sp && !dd->dd_changing)
			return (int)device;
	}
	return -1;
}

void
vmop_detach(struct space *sp, gpa_t start, gpa_t stop)
{
	struct world *const w = sp->sp_world;
	const int device = some_device(sp);
	struct dma_device *dd;
	int error;

	(void)start;
	(void)stop;
	if (device < 0)
		return;
	dd = &w->wo_vmops->vo_devices[device];
	dd->dd_changing = true;
	vmop_may_be_logged(sp);
	error = vm_detach_device(sp->sp_vs, (uint64_t)device);
	if (error != 0 && !vmop_excused(error))
		sim_violation("CK-API", "I40", "%s: detaching of device %d ends with error %d",
			      sp->sp_name, device, -error);
	vmop_may_be_logged(sp);
	if (error == 0) {
		dd->dd_space = NULL;
		vmop_tick(w, VO_DETACH);
	}
	dd->dd_changing = false;
}
