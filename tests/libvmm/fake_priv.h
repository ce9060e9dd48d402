/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* What the two files of the fake kernel share. */

#ifndef TESTS_LIBVMM_FAKE_PRIV_H
#define TESTS_LIBVMM_FAKE_PRIV_H

#include "fake_kernel.h"

#define FK_FILES 256
#define FK_MACHINES 8
#define FK_SEGS 80
#define FK_MAPS 16
#define FK_CPUS 4
#define FK_STATS 40 /* more than one call hands out */

enum fk_kind {
	FK_NONE,
	FK_CTL,
	FK_MACHINE,
	FK_SEGMENT,
	FK_TEXT,
};

struct fk_seg {
	uint64_t len_bytes; /* 0: none */
	char name[VMM_SEG_NAME_BYTES];
	int fd;
};

struct fk_map {
	uint64_t gpa, len_bytes, segoff_bytes; /* len_bytes 0: none */
	int ident;
	unsigned int prot, flags;
};

struct fk_cpu {
	bool active;
	uint64_t regs[VMM_REG_COUNT];
	struct vmm_desc descs[VMM_REG_COUNT];
	uint64_t caps[VMM_CAP_COUNT];
	uint64_t field_value;
	bool exception;
};

struct fk_machine {
	bool used;
	char name[VMM_NAME_BYTES];
	int owner_fd; /* of /dev/vmmctl that ends it; -1 */
	struct vmm_create how;
	struct fk_seg segs[FK_SEGS];
	struct fk_map maps[FK_MAPS];
	struct fk_cpu cpus[FK_CPUS];
	bool log;
	uint64_t logged[4]; /* pages 0 to 255 */
	uint32_t suspend;
	bool platform;
	uint8_t pins[VMM_IOAPIC_PINS]; /* enum vmm_irq_level */
	struct vmm_msi msi;	       /* the last */
	uint64_t apic[256];	       /* registers, 16 bytes apart */
	uint64_t rtc_seconds;
	uint8_t rtc_memory[128];
};

struct fk_file {
	enum fk_kind kind;
	struct fk_machine *machine;
	int seg;
	char text[64];
};

extern struct fk_machine fk_machine[FK_MACHINES];

struct fk_machine *fk_find(const char *name);
void fk_end(struct fk_machine *m);
const struct fk_map *fk_map_at(const struct fk_machine *m, uint64_t gpa);

/* Both: 0, or a positive errno. */
int fk_ctl_call(int fd, unsigned long cmd, void *arg);
int fk_machine_call(struct fk_machine *m, unsigned long cmd, void *arg);
/* Calls of kmod/uapi/vmm_irq.h (fake_platform.c): likewise; -1: it is another. */
int fk_platform_call(struct fk_machine *m, unsigned long cmd, void *arg);

#endif /* TESTS_LIBVMM_FAKE_PRIV_H */
