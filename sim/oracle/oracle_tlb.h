/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * CK-TLB: no CPU uses a translation after the shootdown that was to end it (I14).
 *
 * When an operation on a pmap is over, its shootdown included, every cached translation and every
 * cached table pointer in its range is compared with the tables, read by the hardware's own walker.
 * One that grants more than they do, or leads elsewhere, is dead: a CPU that is in guest mode must
 * not have it at all; elsewhere it may lie around, since the CPU will flush before it enters the
 * guest, but its use by an access is a violation, whenever that comes.
 *
 * Many operations run at the same time, and a translation that another one has just outlawed is
 * legal until that one is over too. So the oracle keeps the writes to table words since the
 * beginning of the oldest operation still pending, finds the one that took the translation away,
 * and believes the translation as long as the operation that made it is pending.
 *
 * A pmap and its workload call it so:
 *
 *	oracle_tlb_op_begin(&op, root);		before the first change
 *	pmap_remove(...); pmap_gather_finish(...);
 *	oracle_tlb_op_done(&op, start, end);	at once when the shootdown has returned
 *
 * A CPU's side: it flushes (hw_invept()), then calls hw_guest_enter(); it calls hw_guest_exit()
 * before it tells the pmap that it is idle. So what a CPU in guest mode has cached is what it may
 * use.
 *
 * The first and the last are for every call that may take anything away, pmap_enter() included,
 * which may replace. Changes that only add (a fault that sets A) need none. One operation at a time
 * per CPU.
 */

#ifndef SIM_ORACLE_TLB_H
#define SIM_ORACLE_TLB_H

#include <stdint.h>

#include "sim/hw/hw.h"
#include "sim/machine/machine.h"

/* For the machine and hardware that exist; takes over hw_set_dead_use(). 0 or -ENOMEM. */
int oracle_tlb_create(void);
void oracle_tlb_destroy(void);

/*
 * How the tables below a root are to be read: before its first operation. One context per root will
 * do; it is copied, its model must stay. 0 or -ENOMEM. oracle_tlb_forget() when the pmap is gone:
 * whatever is still cached from that root is dead from then on, also for the next owner of the
 * page.
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
uint64_t oracle_tlb_drain_begin(void);
void oracle_tlb_drain_done(uint64_t root, uint64_t ticket);

/*
 * CK-FREE (I15): a frame is about to be free; call it from the machine's free hook. No CPU may be
 * in a context in which it could use a translation of it, or, if it was a table, a pointer to it.
 * What is cached of it elsewhere is dead.
 */
void oracle_tlb_frame_freed(uint64_t hpa);

/* Changes kept since they may have to be taken back; 0 when nothing is pending. For tests. */
size_t oracle_tlb_backlog(void);

#endif /* SIM_ORACLE_TLB_H */
