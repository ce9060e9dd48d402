/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Memory of those who watch the machine and of its hardware: caches of translations, logs of the
 * oracles. It is apart from the machine's heap (heap.c), whose addresses enter the trace, and in
 * one piece, so that a snapshot finds all of it.
 *
 * It is there without a machine, too. When the last block is freed, it is as new.
 */

#ifndef SIM_SIDE_H
#define SIM_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed, 16-byte aligned; NULL if there is none. */
void *sim_side_alloc(size_t bytes);

/* As realloc(): what is new is zeroed; if it fails, p stays as it is. */
void *sim_side_resize(void *p, size_t bytes);

/* NULL is nothing. */
void sim_side_free(void *p);

/* ---- For snapshots ---- */

/* Where it lies, and how much of it has been handed out. */
char *side_base(void);
uint64_t side_top(void);

/* Puts back what side_top() said, before or after the bytes were put back. */
#define SIDE_CLASSES 120
struct side_lists {
	uint64_t sl_top;
	uint64_t sl_live;
	uint64_t sl_free[SIDE_CLASSES];
};
void side_save(struct side_lists *lists);
void side_restore(const struct side_lists *lists);

/* Under AddressSanitizer and Valgrind: opens all of it to be copied, and closes what is free. */
void side_open(void);
void side_close(void);

#endif /* SIM_SIDE_H */
