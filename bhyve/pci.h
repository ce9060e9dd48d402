/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The machine's one PCI bus: slots, configuration space, BARs, MSI-X and INTx.
 *
 * A device is a `struct pci_emul`, found by the name that follows the slot in -s, and a pci_dev for
 * each place where it is plugged in. What a device sets up in its init (identity, BARs,
 * capabilities) is kept here; it then hears of accesses to its BARs and little else. The bus
 * reaches the machine by `struct pci_hooks` only, so that tests run devices over one of their own.
 *
 * Locks: pd_lock of a device (its configuration space and MSI-X table), then pb_lock of the bus
 * (INTx lines, what is decoded). Callbacks of a device are made with neither held, so that a
 * device may hold a lock of its own whenever it calls here; only pe_bar_moved is called with both,
 * and must call nothing of the bus.
 *
 * Sources: PCI Local Bus Specification 3.0, sections 3.2.2.3.2 (0xcf8), 6.2 (header), 6.8.2
 * (MSI-X); PCI Express Base Specification, 7.2.2 (ECAM).
 */

#ifndef BHYVE_PCI_H
#define BHYVE_PCI_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PCI_SLOTS 32
#define PCI_FUNCS 8
#define PCI_BARS 6
#define PCI_CFG_BYTES 256
#define PCI_ECAM_BASE 0xe0000000ull
#define PCI_ECAM_BYTES 0x10000000ull /* 256 buses of 1 MiB; only bus 0 has devices */
/* 32-bit memory BARs: from low memory's highest end to ECAM. */
#define PCI_MEM32_BASE 0xc0000000ull
#define PCI_MEM32_END PCI_ECAM_BASE
#define PCI_MEM64_BYTES (16ull << 30)
#define PCI_IO_BASE 0x2000
#define PCI_IO_END 0x10000
/* INTx: the IOAPIC pins behind the ISA ones. */
#define PCI_GSI_BASE 16
#define PCI_GSIS 8

/* Offsets and bits in configuration space. */
enum {
	PCIR_VENDOR = 0x00,
	PCIR_DEVICE = 0x02,
	PCIR_COMMAND = 0x04,
	PCIR_STATUS = 0x06,
	PCIR_REVISION = 0x08,
	PCIR_PROGIF = 0x09,
	PCIR_SUBCLASS = 0x0a,
	PCIR_CLASS = 0x0b,
	PCIR_HEADER_TYPE = 0x0e,
	PCIR_BAR0 = 0x10,
	PCIR_SUBVENDOR = 0x2c,
	PCIR_SUBDEVICE = 0x2e,
	PCIR_CAP_PTR = 0x34,
	PCIR_INTR_LINE = 0x3c,
	PCIR_INTR_PIN = 0x3d,
	PCIR_FIRST_CAP = 0x40,

	PCIM_CMD_IO = 1 << 0,
	PCIM_CMD_MEM = 1 << 1,
	PCIM_CMD_BUSMASTER = 1 << 2,
	PCIM_CMD_INTX_OFF = 1 << 10,
	PCIM_STATUS_INTX = 1 << 3,
	PCIM_STATUS_CAPS = 1 << 4,
	PCIM_MULTIFUNCTION = 0x80,

	PCIC_VENDOR = 0x09,
	PCIC_MSIX = 0x11,
};

struct pci_bus;
struct pci_dev;

enum pci_bar_kind {
	PCI_BAR_NONE,
	PCI_BAR_IO,
	PCI_BAR_MEM32,
	PCI_BAR_MEM64,	/* takes the next index too */
	PCI_BAR_MEM64H, /* that next index */
};

struct pci_bar {
	struct pci_dev *bar_dev;
	unsigned int bar_index;
	enum pci_bar_kind bar_kind;
	bool bar_prefetchable;
	bool bar_own;	  /* no handler: the device is told where it is (pe_bar_moved) */
	bool bar_decoded; /* the guest reaches it at bar_base */
	uint64_t bar_bytes;
	uint64_t bar_first; /* where it is after a reset */
	uint64_t bar_base;  /* what the guest wrote last */
	uint64_t bar_shown; /* where it is decoded */
};

struct pci_emul {
	const char *pe_name;
	const char *pe_help; /* "conf: what it is", for -s help */
	/* conf may be "". 0, or what pci_fail() returned. pd_arg is the device's. */
	int (*pe_init)(struct pci_dev *dev, const char *conf);
	/* No vCPU runs any more; also after an init that failed, if pd_arg was set. */
	void (*pe_fini)(struct pci_dev *dev);
	/* The machine is reset: no vCPU runs; BARs and MSI-X are as after pe_init again. */
	void (*pe_reset)(struct pci_dev *dev);
	/* Reads give all ones, and writes are dropped, where these are NULL. */
	uint64_t (*pe_barread)(struct pci_dev *dev, unsigned int bar, uint64_t off,
			       unsigned int bytes);
	void (*pe_barwrite)(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int bytes,
			    uint64_t value);
	/* For BARs of pci_alloc_bar_own(): shown at gpa, or (on false) no longer. 0 or -errno. */
	int (*pe_bar_moved)(struct pci_dev *dev, unsigned int bar, bool on, uint64_t gpa);
	/* What configuration space does by itself is skipped if these return true. */
	bool (*pe_cfgread)(struct pci_dev *dev, unsigned int off, unsigned int bytes,
			   uint32_t *value);
	bool (*pe_cfgwrite)(struct pci_dev *dev, unsigned int off, unsigned int bytes,
			    uint32_t value);
};

/* The emulations that there are; ends with NULL (pci_emuls.c). */
extern const struct pci_emul *const pci_emuls[];

#define PCI_MSIX_ENTRY_BYTES 16
struct pci_msix_entry {
	uint64_t me_addr;
	uint32_t me_data;
	uint32_t me_mask; /* bit 0 */
};

struct pci_msix {
	unsigned int mx_vectors; /* 0: the device has no MSI-X */
	unsigned int mx_bar;
	unsigned int mx_cap; /* its offset in configuration space */
	struct pci_msix_entry *mx_table;
	uint64_t *mx_pending;
};

struct pci_dev {
	struct pci_bus *pd_bus;
	const struct pci_emul *pd_emul;
	void *pd_arg;
	unsigned int pd_slot;
	unsigned int pd_func;
	char *pd_conf;
	bool pd_up; /* pe_init was done */

	pthread_mutex_t pd_lock;
	uint8_t pd_cfg[PCI_CFG_BYTES];
	uint8_t pd_writable[PCI_CFG_BYTES]; /* masks */
	uint8_t pd_cfg_reset[PCI_CFG_BYTES];
	unsigned int pd_cap_last; /* offset of the last capability; 0: none */
	unsigned int pd_cap_next; /* where the next one goes */
	struct pci_bar pd_bars[PCI_BARS];
	struct pci_msix pd_msix;
	int pd_gsi;	 /* -1: no INTx */
	bool pd_intx;	 /* the device wants its line high */
	bool pd_intx_on; /* the line is high for it */
};

/* What the bus needs of the machine. ph_arg comes first in each. */
struct pci_hooks {
	void *ph_arg;
	/* Guest memory, or NULL: not wholly memory. */
	void *(*ph_ptr)(void *arg, uint64_t gpa, uint64_t len);
	/* From now on (or no longer) accesses to [base, base + bar_bytes) are pci_bar_access(). */
	int (*ph_decode)(void *arg, struct pci_bar *bar, bool on, uint64_t base);
	void (*ph_irq)(void *arg, unsigned int gsi, bool level);
	void (*ph_msi)(void *arg, uint64_t addr, uint32_t data);
	/* Device memory of the machine: made, and shown to the guest at gpa (or no longer). */
	void *(*ph_devmem)(void *arg, int ident, const char *name, uint64_t len);
	int (*ph_show)(void *arg, bool on, uint64_t gpa, int ident, uint64_t len);
	void *ph_machine; /* for devices that know more: its struct vmctx */
};

struct pci_bus {
	struct pci_hooks pb_hooks;
	struct pci_dev *pb_devs[PCI_SLOTS][PCI_FUNCS];
	pthread_mutex_t pb_lock;
	uint32_t pb_cf8;
	uint64_t pb_io_next;
	uint64_t pb_mem32_next;
	uint64_t pb_mem64_next;
	uint64_t pb_mem64_base;
	unsigned int pb_lines[PCI_GSIS]; /* how many devices hold the line high */
	bool pb_no_msix;		 /* -W: devices are offered none, and use INTx */
	bool pb_up;
	char pb_why[256];
};

/* ---- Building it ----------------------------------------------------------------------------- */

/* mem64_base: the first address above all memory; 64-bit BARs go from there on. */
void pci_bus_init(struct pci_bus *bus, const struct pci_hooks *hooks, uint64_t mem64_base);
/*
 * One -s: "slot[:func]" or "bus:slot:func", then ",emulation[,conf]". Nothing is touched but the
 * slot. -EINVAL, -EEXIST, -ENOMEM: pci_why() says what is wrong.
 */
int pci_plug(struct pci_bus *bus, const char *option);
/* -s help */
void pci_help(FILE *out);
/* Initializes all devices. 0 or -errno with pci_why(); then pci_bus_fini() is still due. */
int pci_bus_start(struct pci_bus *bus);
/* After vm_reinit(): no vCPU runs. */
void pci_bus_reset(struct pci_bus *bus);
void pci_bus_fini(struct pci_bus *bus);
/* The sentence of the last failure. */
const char *pci_why(const struct pci_bus *bus);

/* ---- The guest's side ------------------------------------------------------------------------ */

/* Ports 0xcf8 to 0xcff. Reads of what is not there are all ones. */
void pci_port_access(struct pci_bus *bus, unsigned int port, unsigned int bytes, bool write,
		     uint32_t *value);
/* off: in the ECAM window. */
void pci_ecam_access(struct pci_bus *bus, uint64_t off, unsigned int bytes, bool write,
		     uint64_t *value);
void pci_bar_access(struct pci_bar *bar, uint64_t off, unsigned int bytes, bool write,
		    uint64_t *value);

/* ---- For devices ----------------------------------------------------------------------------- */

/* Makes the sentence, with the device's place and name before it; returns error. */
int pci_fail(struct pci_dev *dev, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void pci_set8(struct pci_dev *dev, unsigned int off, uint8_t value);
void pci_set16(struct pci_dev *dev, unsigned int off, uint16_t value);
void pci_set32(struct pci_dev *dev, unsigned int off, uint32_t value);
uint32_t pci_get(const struct pci_dev *dev, unsigned int off, unsigned int bytes);
void pci_set_ids(struct pci_dev *dev, uint16_t vendor, uint16_t device, uint32_t class_code);
/* Which bits of [off, off + n) the guest may write. */
void pci_set_writable(struct pci_dev *dev, unsigned int off, const void *mask, size_t n);

/* bytes: a power of two, at least 4 (I/O), 16 (memory). Only in pe_init. -ENOSPC no room. */
int pci_alloc_bar(struct pci_dev *dev, unsigned int index, enum pci_bar_kind kind, uint64_t bytes);
/* One that the device shows itself (pe_bar_moved). */
int pci_alloc_bar_own(struct pci_dev *dev, unsigned int index, enum pci_bar_kind kind,
		      uint64_t bytes);
/* Appends a capability, its header included; its offset, or -ENOSPC. */
int pci_add_cap(struct pci_dev *dev, const void *cap, size_t bytes);
/* MSI-X with its table and pending bits in a memory BAR of its own; nothing, where the user wants
 * none. */
int pci_add_msix(struct pci_dev *dev, unsigned int bar, unsigned int vectors);
/* Gives it INTA#. */
void pci_add_intx(struct pci_dev *dev);

bool pci_msix_on(struct pci_dev *dev);
void pci_msix_raise(struct pci_dev *dev, unsigned int vector);
void pci_intx(struct pci_dev *dev, bool level);
/* May it read and write guest memory (bus master)? */
bool pci_may_dma(struct pci_dev *dev);
/* Guest memory, or NULL. */
void *pci_ptr(struct pci_dev *dev, uint64_t gpa, uint64_t len);

/* The IOAPIC pin of a slot's INTA#..INTD# (pin 0 to 3); the DSDT's _PRT says the same. */
unsigned int pci_gsi(unsigned int slot, unsigned int pin);

/* ---- Between the files of the bus ------------------------------------------------------------ */

/* With pd_lock held: of what the guest writes, the bits that it may. */
void pci_write_bits(struct pci_dev *dev, unsigned int off, unsigned int bytes, uint32_t value);
void pci_bar_config_written(struct pci_dev *dev, unsigned int index);
void pci_decode_update(struct pci_dev *dev);
void pci_bars_reset(struct pci_dev *dev);
/* The word of an entry of the table that is at off, which may be the table's. */
uint32_t pci_msix_word(const struct pci_msix_entry *entry, uint64_t off);
void pci_msix_set_word(struct pci_msix_entry *entry, uint64_t off, uint32_t value);
uint64_t pci_msix_read(struct pci_dev *dev, uint64_t off, unsigned int bytes);
void pci_msix_write(struct pci_dev *dev, uint64_t off, unsigned int bytes, uint64_t value);
void pci_msix_flush(struct pci_dev *dev); /* vectors that wait and need no longer */
void pci_msix_reset(struct pci_dev *dev);
void pci_intx_update(struct pci_dev *dev);

#endif /* BHYVE_PCI_H */
