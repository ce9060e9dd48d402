/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * CK-TLB: no CPU uses a translation after the shootdown that was to end it (I14).
 *
 * When an operation on a pmap is over, its shootdown included, every cached translation and every
 * cached table pointer in its range is compared with the tables, read by the hardware's own walker.
 * One that grants more than they do, or leads elsewhere, is dead: a CPU that is in guest mode must not
 * have it at all; elsewhere it may lie around, since the CPU will flush before it enters the guest,
 * but its use by an access is a violation, whenever that comes.
 *
 * Many operations run at the same time, and a translation that another one has just outlawed is legal
 * until that one is over too. So the oracle keeps the writes to table words that operations still
 * pending have made, and believes a cached translation if some of those, taken back, would allow it.
 * A write is never taken back across a later one, to the same word, by an operation that is over.
 *
 * A pmap and its workload call it so:
 *
 *	oracle_tlb_op_begin(&op, root);		before the first change
 *	pmap_remove(...); pmap_gather_finish(...);
 *	oracle_tlb_op_done(&op, start, end);	at once when the shootdown has returned
 *
 * for every call that may take away anything, pmap_enter() included (it may replace). Changes that
 * only add (a fault that sets A) need none. One operation at a time per CPU.
 */

#ifndef SIM_ORACLE_TLB_H
#define SIM_ORACLE_TLB_H

#include <stdint.h>

#include "sim/hw.h"
#include "sim/machine.h"

/* For the machine and hardware that exist; takes over hw_set_dead_use(). 0 or -ENOMEM. */
int oracle_tlb_create(void);
void oracle_tlb_destroy(void);

/*
 * How the tables below a root are to be read: before its first operation. The context must stay until
 * oracle_tlb_forget(), which is to be called when its pmap is gone: whatever is still cached from that
 * root is dead from then on, also for the next owner of the same page. -ENOMEM.
 */
int oracle_tlb_register(const struct hw_context *ctx);
void oracle_tlb_forget(uint64_t root);

/* To be called from the machine's write hook, for every write. */
void oracle_tlb_write(const struct sim_table_write *w);

struct oracle_tlb_op {
	uint64_t op_id;
	uint64_t op_root;
};

void oracle_tlb_op_begin(struct oracle_tlb_op *op, uint64_t root);

/* Over, and its shootdown with it. Judges what is cached of [start, end); end 0: of all. */
void oracle_tlb_op_done(struct oracle_tlb_op *op, uint64_t start, uint64_t end);

/* Over, but its flush is left for later: its changes stay pending until a drain that begins now or
 * later is done. */
void oracle_tlb_op_defer(struct oracle_tlb_op *op);
uint64_t oracle_tlb_drain_begin(uint64_t root);
void oracle_tlb_drain_done(uint64_t root, uint64_t ticket);

/*
 * CK-FREE (I15): a frame is about to be free. No CPU may have a translation of it, or a pointer to it
 * if it was a table, that is not dead.
 */
void oracle_tlb_frame_freed(uint64_t hpa);

/* Changes kept since they may have to be taken back; 0 when nothing is pending. For tests. */
size_t oracle_tlb_backlog(void);

#endif /* SIM_ORACLE_TLB_H */
