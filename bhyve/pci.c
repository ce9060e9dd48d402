/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Slots and their life: -s is parsed, devices are found by name, started in the order of their
 * slots, reset and ended. A slot option is checked as far as it can be before anything is made, so
 * that a mistake in the last option leaves nothing behind of the first.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "pci.h"

static int bus_fail(struct pci_bus *bus, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int
bus_fail(struct pci_bus *bus, int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(bus->pb_why, sizeof(bus->pb_why), format, ap);
	va_end(ap);
	return error;
}

int
pci_fail(struct pci_dev *dev, int error, const char *format, ...)
{
	char *const why = dev->pd_bus->pb_why;
	const size_t room = sizeof(dev->pd_bus->pb_why);
	va_list ap;
	int n;

	n = snprintf(why, room, "-s %u:%u,%s: ", dev->pd_slot, dev->pd_func, dev->pd_emul->pe_name);
	va_start(ap, format);
	if (n > 0 && (size_t)n < room)
		vsnprintf(why + n, room - (size_t)n, format, ap);
	va_end(ap);
	return error;
}

const char *
pci_why(const struct pci_bus *bus)
{
	return bus->pb_why;
}

unsigned int
pci_gsi(unsigned int slot, unsigned int pin)
{
	return PCI_GSI_BASE + (slot + pin) % PCI_GSIS;
}

void
pci_help(FILE *out)
{
	for (unsigned int i = 0; pci_emuls[i] != NULL; i++)
		fprintf(out, "%-16s %s\n", pci_emuls[i]->pe_name, pci_emuls[i]->pe_help);
}

/* ---- -s -------------------------------------------------------------------------------------- */

/* "slot", "slot:func" or "bus:slot:func", up to `end`. */
static int
parse_place(struct pci_bus *bus, const char *option, const char *end, unsigned int *slot,
	    unsigned int *func)
{
	unsigned long numbers[3];
	unsigned int n = 0;
	const char *at = option;

	for (;;) {
		char *after;

		if (n == 3 || *at < '0' || *at > '9')
			goto bad;
		numbers[n++] = strtoul(at, &after, 10);
		at = after;
		if (at == end)
			break;
		if (*at++ != ':')
			goto bad;
	}
	if (n == 3 && numbers[0] != 0)
		return bus_fail(bus, -EINVAL, "-s %s: there is only bus 0", option);
	*slot = (unsigned int)numbers[n == 3 ? 1 : 0];
	*func = n == 1 ? 0 : (unsigned int)numbers[n - 1];
	if (numbers[n == 3 ? 1 : 0] >= PCI_SLOTS || (n > 1 && numbers[n - 1] >= PCI_FUNCS))
		return bus_fail(bus, -EINVAL, "-s %s: a slot is 0 to %d, and its function 0 to %d",
				option, PCI_SLOTS - 1, PCI_FUNCS - 1);
	return 0;
bad:
	return bus_fail(bus, -EINVAL,
			"-s %s: it begins with slot, slot:function or bus:slot:function", option);
}

static const struct pci_emul *
find_emul(const char *name, size_t n)
{
	for (unsigned int i = 0; pci_emuls[i] != NULL; i++) {
		if (strlen(pci_emuls[i]->pe_name) == n &&
		    memcmp(pci_emuls[i]->pe_name, name, n) == 0)
			return pci_emuls[i];
	}
	return NULL;
}

int
pci_plug(struct pci_bus *bus, const char *option)
{
	const char *const comma = strchr(option, ',');
	const char *name, *conf;
	const struct pci_emul *emul;
	struct pci_dev *dev;
	unsigned int slot = 0, func = 0;
	size_t n;
	int error;

	if (comma == NULL)
		return bus_fail(bus, -EINVAL,
				"-s %s: after the slot comes the name of a device; "
				"-s help lists them",
				option);
	error = parse_place(bus, option, comma, &slot, &func);
	if (error != 0)
		return error;
	name = comma + 1;
	n = strcspn(name, ",");
	conf = name[n] == ',' ? name + n + 1 : "";
	emul = find_emul(name, n);
	if (emul == NULL)
		return bus_fail(bus, -EINVAL,
				"-s %s: no device is called '%.*s'; -s help lists them", option,
				(int)n, name);
	if (bus->pb_devs[slot][func] != NULL)
		return bus_fail(bus, -EEXIST, "-s %s: slot %u:%u has a device already: %s", option,
				slot, func, bus->pb_devs[slot][func]->pd_emul->pe_name);
	dev = calloc(1, sizeof(*dev));
	if (dev != NULL)
		dev->pd_conf = strdup(conf);
	if (dev == NULL || dev->pd_conf == NULL) {
		free(dev);
		return bus_fail(bus, -ENOMEM, "-s %s: not enough memory", option);
	}
	dev->pd_bus = bus;
	dev->pd_emul = emul;
	dev->pd_slot = slot;
	dev->pd_func = func;
	dev->pd_cap_next = PCIR_FIRST_CAP;
	dev->pd_gsi = -1;
	pthread_mutex_init(&dev->pd_lock, NULL);
	bus->pb_devs[slot][func] = dev;
	return 0;
}

/* ---- Life ------------------------------------------------------------------------------------ */

void
pci_bus_init(struct pci_bus *bus, const struct pci_hooks *hooks, uint64_t mem64_base)
{
	const uint64_t gib = 1ull << 30;

	memset(bus, 0, sizeof(*bus));
	bus->pb_hooks = *hooks;
	bus->pb_io_next = PCI_IO_BASE;
	bus->pb_mem32_next = PCI_MEM32_BASE;
	/* Never below 4 GiB, where the window of 32-bit BARs is. */
	if (mem64_base < 4 * gib)
		mem64_base = 4 * gib;
	bus->pb_mem64_base = (mem64_base + gib - 1) & ~(gib - 1);
	bus->pb_mem64_next = bus->pb_mem64_base;
	pthread_mutex_init(&bus->pb_lock, NULL);
}

static int
start_dev(struct pci_dev *dev)
{
	static const uint8_t command[2] = {PCIM_CMD_IO | PCIM_CMD_MEM | PCIM_CMD_BUSMASTER,
					   PCIM_CMD_INTX_OFF >> 8};
	static const uint8_t line[1] = {0xff};
	int error;

	pci_set_writable(dev, PCIR_COMMAND, command, sizeof(command));
	pci_set_writable(dev, PCIR_INTR_LINE, line, sizeof(line));
	error = dev->pd_emul->pe_init(dev, dev->pd_conf);
	if (error != 0)
		return error;
	/* As firmware leaves it: decoded, and no bus master. */
	pci_set16(dev, PCIR_COMMAND, PCIM_CMD_IO | PCIM_CMD_MEM);
	for (unsigned int func = 1; dev->pd_func == 0 && func < PCI_FUNCS; func++) {
		if (dev->pd_bus->pb_devs[dev->pd_slot][func] != NULL)
			dev->pd_cfg[PCIR_HEADER_TYPE] |= PCIM_MULTIFUNCTION;
	}
	memcpy(dev->pd_cfg_reset, dev->pd_cfg, sizeof(dev->pd_cfg));
	dev->pd_up = true;
	pthread_mutex_lock(&dev->pd_lock);
	pci_bars_reset(dev);
	pci_decode_update(dev);
	pthread_mutex_unlock(&dev->pd_lock);
	return 0;
}

int
pci_bus_start(struct pci_bus *bus)
{
	bus->pb_up = true;
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++) {
		for (unsigned int func = 0; func < PCI_FUNCS; func++) {
			struct pci_dev *const dev = bus->pb_devs[slot][func];
			int error;

			if (dev == NULL)
				continue;
			/* A guest looks no further where function 0 is absent. */
			if (bus->pb_devs[slot][0] == NULL)
				return pci_fail(dev, -EINVAL,
						"a slot's functions need a function 0 beside them");
			error = start_dev(dev);
			if (error != 0)
				return error;
		}
	}
	return 0;
}

static void
each_dev(struct pci_bus *bus, void (*fn)(struct pci_dev *dev))
{
	for (unsigned int i = 0; i < PCI_SLOTS * PCI_FUNCS; i++) {
		if (bus->pb_devs[i / PCI_FUNCS][i % PCI_FUNCS] != NULL)
			fn(bus->pb_devs[i / PCI_FUNCS][i % PCI_FUNCS]);
	}
}

static void
reset_dev(struct pci_dev *dev)
{
	if (!dev->pd_up)
		return;
	if (dev->pd_emul->pe_reset != NULL)
		dev->pd_emul->pe_reset(dev);
	pci_intx(dev, false);
	pthread_mutex_lock(&dev->pd_lock);
	/* Hidden, and shown again: the machine's reset took away what pe_bar_moved showed. */
	pci_set16(dev, PCIR_COMMAND, 0);
	pci_decode_update(dev);
	memcpy(dev->pd_cfg, dev->pd_cfg_reset, sizeof(dev->pd_cfg));
	pci_msix_reset(dev);
	pci_bars_reset(dev);
	pci_decode_update(dev);
	pthread_mutex_unlock(&dev->pd_lock);
}

void
pci_bus_reset(struct pci_bus *bus)
{
	bus->pb_cf8 = 0;
	each_dev(bus, reset_dev);
}

static void
end_dev(struct pci_dev *dev)
{
	if ((dev->pd_up || dev->pd_arg != NULL) && dev->pd_emul->pe_fini != NULL)
		dev->pd_emul->pe_fini(dev);
	free(dev->pd_msix.mx_table);
	free(dev->pd_msix.mx_pending);
	pthread_mutex_destroy(&dev->pd_lock);
	free(dev->pd_conf);
	free(dev);
}

void
pci_bus_fini(struct pci_bus *bus)
{
	each_dev(bus, end_dev);
	memset(bus->pb_devs, 0, sizeof(bus->pb_devs));
	pthread_mutex_destroy(&bus->pb_lock);
}

void *
pci_ptr(struct pci_dev *dev, uint64_t gpa, uint64_t len)
{
	return dev->pd_bus->pb_hooks.ph_ptr(dev->pd_bus->pb_hooks.ph_arg, gpa, len);
}
