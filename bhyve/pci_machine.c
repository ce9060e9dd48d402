/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Between the bus and the machine (pci_machine.h). A process has one machine, and so one bus.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "guest_mem.h"
#include "inout.h"
#include "mem.h"
#include "pci_machine.h"

/* 0xcf9 between them is the reset register, which is no part of the bus. */
#define ADDRESS_PORT 0xcf8
#define DATA_PORT 0xcfc

static struct pci_bus bus;
static struct vmctx *machine;
static bool made;

/* ---- From the guest -------------------------------------------------------------------------- */

static int
port_access(struct vcpu *vcpu, uint16_t port, unsigned int bytes, bool write, uint32_t *value,
	    void *arg)
{
	(void)vcpu;
	(void)arg;
	pci_port_access(&bus, port, bytes, write, value);
	return 0;
}

static int
ecam_access(struct vcpu *vcpu, uint64_t gpa, unsigned int bytes, bool write, uint64_t *value,
	    void *arg)
{
	(void)vcpu;
	(void)arg;
	pci_ecam_access(&bus, gpa - PCI_ECAM_BASE, bytes, write, value);
	return 0;
}

static int
memory_bar_access(struct vcpu *vcpu, uint64_t gpa, unsigned int bytes, bool write, uint64_t *value,
		  void *arg)
{
	struct pci_bar *const bar = arg;

	(void)vcpu;
	/* It is aligned to its size, wherever it was when this access began. */
	pci_bar_access(bar, gpa & (bar->bar_bytes - 1), bytes, write, value);
	return 0;
}

static int
io_bar_access(struct vcpu *vcpu, uint16_t port, unsigned int bytes, bool write, uint32_t *value,
	      void *arg)
{
	struct pci_bar *const bar = arg;
	uint64_t wide = *value;

	(void)vcpu;
	pci_bar_access(bar, port & (bar->bar_bytes - 1), bytes, write, &wide);
	if (!write)
		*value = (uint32_t)wide;
	return 0;
}

/* ---- The bus's hooks ------------------------------------------------------------------------- */

static void *
hook_ptr(void *arg, uint64_t gpa, uint64_t len)
{
	return guest_ptr(arg, gpa, len);
}

static int
hook_decode(void *arg, struct pci_bar *bar, bool on, uint64_t base)
{
	(void)arg;
	if (bar->bar_kind == PCI_BAR_IO)
		return on ? inout_register((uint16_t)base, (unsigned int)bar->bar_bytes,
					   io_bar_access, bar)
			  : inout_unregister((uint16_t)base, (unsigned int)bar->bar_bytes);
	return on ? mem_register(base, bar->bar_bytes, memory_bar_access, bar)
		  : mem_unregister(base, bar->bar_bytes);
}

static void
hook_irq(void *arg, unsigned int gsi, bool level)
{
	if (vm_irq_line(arg, gsi, level ? VMM_IRQ_HIGH : VMM_IRQ_LOW) != 0)
		fprintf(stderr, "bhyve: an interrupt is lost: %s\n", vmm_errmsg());
}

/* A guest may write any address into a table; what is no message is a write to nowhere. */
static void
hook_msi(void *arg, uint64_t addr, uint32_t data)
{
	(void)vm_msi(arg, addr, data);
}

static void *
hook_devmem(void *arg, int ident, const char *name, uint64_t len)
{
	void *const memory = vm_create_devmem(arg, ident, name, len);

	return memory == MAP_FAILED ? NULL : memory;
}

static int
hook_show(void *arg, bool on, uint64_t gpa, int ident, uint64_t len)
{
	return on ? vm_mmap_memseg(arg, gpa, ident, 0, len, VMM_PROT_READ | VMM_PROT_WRITE, 0)
		  : vm_munmap_memseg(arg, gpa, len);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static int
plug_all(const struct config *config)
{
	static const char prefix[] = "pci.";

	for (const char *name = config_next(config, prefix, NULL); name != NULL;
	     name = config_next(config, prefix, name)) {
		char option[1024];
		int error;

		snprintf(option, sizeof(option), "%s,%s", name + sizeof(prefix) - 1,
			 config_get_or(config, name, ""));
		error = pci_plug(&bus, option);
		if (error != 0)
			return error;
	}
	return 0;
}

int
pci_machine_start(struct vmctx *ctx, const struct config *config, bool msix, const char **why)
{
	const struct pci_hooks hooks = {
		.ph_arg = ctx,
		.ph_ptr = hook_ptr,
		.ph_decode = hook_decode,
		.ph_irq = hook_irq,
		.ph_msi = hook_msi,
		.ph_devmem = hook_devmem,
		.ph_show = hook_show,
		.ph_machine = ctx,
	};
	int error;

	pci_bus_init(&bus, &hooks, vm_get_highmem_base(ctx) + vm_get_highmem_size(ctx));
	machine = ctx;
	made = true;
	bus.pb_no_msix = !msix;
	*why = pci_why(&bus);
	error = plug_all(config);
	if (error == 0)
		error = pci_bus_start(&bus);
	if (error != 0)
		return error;
	*why = "the addresses of the PCI bus are taken";
	error = inout_register(ADDRESS_PORT, 1, port_access, NULL);
	if (error == 0)
		error = inout_register(DATA_PORT, 4, port_access, NULL);
	if (error == 0)
		error = mem_register(PCI_ECAM_BASE, PCI_ECAM_BYTES, ecam_access, NULL);
	return error;
}

void
pci_machine_stop(void)
{
	if (!made)
		return;
	made = false;
	inout_unregister(ADDRESS_PORT, 1);
	inout_unregister(DATA_PORT, 4);
	mem_unregister(PCI_ECAM_BASE, PCI_ECAM_BYTES);
	pci_bus_fini(&bus);
}

struct pci_bus *
pci_machine_bus(void)
{
	return made ? &bus : NULL;
}

void
pci_machine_windows(struct acpi_cfg *cfg)
{
	cfg->ac_mem32_base = PCI_MEM32_BASE;
	if (vm_get_lowmem_size(machine) > PCI_MEM32_BASE)
		cfg->ac_mem32_base = vm_get_lowmem_size(machine);
	cfg->ac_mem32_end = PCI_MEM32_END;
	cfg->ac_mem64_base = bus.pb_mem64_base;
	cfg->ac_mem64_end = bus.pb_mem64_base + PCI_MEM64_BYTES;
}
