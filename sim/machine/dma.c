/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Devices: attached to a guest's domain and detached from it, and reading and writing its memory by
 * themselves. An access goes through any translation that the device can have (iommu.c); what is
 * stale is preferred, since that is what may be wrong.
 */

#include <inttypes.h>

#include "sim/oracle/invariants.h"
#include "sim/machine/machine_priv.h"
#include "sim/machine/machine_vm.h"
#include "pmap/pt_fmt.h"

struct host_iommu *
sim_iommu_of_device(unsigned int device)
{
	return device < SIM_DEVICES ? sim_the_machine->m_iommu.im_attached[device] : NULL;
}

unsigned int
sim_iommu_domains(void)
{
	return sim_the_machine->m_iommu.im_ndomains;
}

void
sim_iommu_foreach(const struct host_iommu *d, sim_iommu_fn *fn, void *arg)
{
	iommu_check_domain(d, "enumeration");
	for (uint32_t i = 0; i < d->io_mapped.is_n; i++) {
		const struct iommu_page *p = &d->io_mapped.is_pages[i];
		fn(arg, p->ip_gpa, p->ip_hpa, p->ip_prot, false);
	}
	for (uint32_t i = 0; i < d->io_stale.is_n; i++) {
		const struct iommu_page *p = &d->io_stale.is_pages[i];
		fn(arg, p->ip_gpa, p->ip_hpa, p->ip_prot, true);
	}
}

/* ---- Attaching ---- */

static void
enter_device(struct sim_machine *m, const struct host_iommu *d, const char *what)
{
	mutex_check_may_sleep(m, what);
	memory_point(m, SIM_IO, NULL);
	touch(m, SIM_OBJECT(SIM_OBJECT_DEVICE, 1), SIM_TOUCH_WRITE);
	memory_drain(m, self(m));
	iommu_check_domain(d, what);
}

int
sim_iommu_attach(struct host_iommu *d, uint64_t device)
{
	struct sim_machine *m = sim_the_machine;
	struct iommu *im = &m->m_iommu;

	enter_device(m, d, "host_iommu_attach()");
	trace(m, SIM_IO, address_id(m, (uintptr_t)d), device << 8 | 3);
	if (device >= SIM_DEVICES)
		return -ENOENT;
	if (im->im_attached[device] != NULL)
		return -EBUSY;
	if (sim_fault(SIM_FAULT_IOMMU))
		return -ENOMEM;
	im->im_attached[device] = d;
	d->io_ndevices++;
	for (uint32_t i = 0; i < d->io_mapped.is_n; i++)
		d->io_mapped.is_pages[i].ip_reachable = true;
	return 0;
}

void
sim_iommu_detach(struct host_iommu *d, uint64_t device)
{
	struct sim_machine *m = sim_the_machine;
	struct iommu *im = &m->m_iommu;

	enter_device(m, d, "host_iommu_detach()");
	trace(m, SIM_IO, address_id(m, (uintptr_t)d), device << 8 | 4);
	if (device >= SIM_DEVICES || im->im_attached[device] != d)
		sim_violation("CK-IOMMU", "I37",
			      "device %" PRIu64 " is detached from a domain that it is not in",
			      device);
	im->im_attached[device] = NULL;
	d->io_ndevices--;
}

/* ---- Accesses ---- */

static bool
may_act(const struct iommu *im, unsigned int device)
{
	const struct host_iommu *d = im->im_attached[device];

	return d != NULL && d->io_mapped.is_n + d->io_stale.is_n > 0;
}

static unsigned int
dma_enabled(void *arg)
{
	const struct iommu *im = arg;
	unsigned int n = 0;

	/* Whoever acts for ever on its own would keep a run from its end. */
	if (im->im_hook == NULL || sim_the_machine->m_nlive == 0 || sim_fault_off(SIM_FAULT_DMA))
		return 0;
	for (unsigned int i = 0; i < SIM_DEVICES; i++)
		n += may_act(im, i);
	return n;
}

/* One of the pages that the domain's devices can reach. */
static const struct iommu_page *
pick(const struct host_iommu *d, bool *stale)
{
	const struct iommu_pages *set = &d->io_mapped;

	*stale = d->io_stale.is_n > 0 &&
		 (d->io_mapped.is_n == 0 || sim_choose(SIM_CHOICE_HW, 2) == 1);
	if (*stale)
		set = &d->io_stale;
	return &set->is_pages[sim_choose(SIM_CHOICE_HW, set->is_n)];
}

static void
dma_step(void *arg, unsigned int which)
{
	struct sim_machine *m = sim_the_machine;
	struct iommu *im = arg;
	unsigned int device = 0;
	bool stale;

	while (!may_act(im, device) || which-- > 0)
		device++;
	const struct iommu_page *p = pick(im->im_attached[device], &stale);
	bool write = p->ip_prot == PMAP_PROT_W ||
		     (p->ip_prot == PMAP_PROT_RW && sim_choose(SIM_CHOICE_HW, 2) == 1);
	uint64_t off = 8 * (uint64_t)sim_choose(SIM_CHOICE_HW, SIM_PAGE_SIZE / 8);

	sim_invariant_hit(SIM_I37);
	phys_data_frame(m, p->ip_hpa, "a device's access");
	trace(m, SIM_IO, SIM_ID_PHYS | (p->ip_hpa + off - m->m_phys_base), write);
	m->m_ct.ct_dma[write]++;
	m->m_ct.ct_dma_stale += stale;
	fault_met_by_all(m, SIM_FAULT_DMA);
	im->im_hook(im->im_hook_arg, device, p->ip_gpa + off, p->ip_hpa + off, write);
}

void
sim_set_dma_hook(sim_dma_fn *hook, void *arg)
{
	sim_the_machine->m_iommu.im_hook = hook;
	sim_the_machine->m_iommu.im_hook_arg = arg;
}

void
dma_init(struct sim_machine *m)
{
	struct iommu *im = &m->m_iommu;

	if (!m->m_cfg.sc_iommu)
		return;
	im->im_dma_ops = (struct sim_agent_ops){
		"device", m->m_cfg.sc_dma_weight, dma_enabled, dma_step, false, NULL};
	sim_agent_add(&im->im_dma_ops, im);
}
