/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A snapshot, inside: snapshot.c (saving and restoring), snapshot_value.c (what has changed since,
 * in one number).
 */

#ifndef SIM_SNAPSHOT_PRIV_H
#define SIM_SNAPSHOT_PRIV_H

#include "sim/machine/machine_priv.h"
#include "sim/machine/side.h"
#include "sim/machine/snapshot.h"

/* A piece of memory, and its copy. */
struct piece {
	char *pc_at;
	char *pc_copy;
	size_t pc_bytes;
	bool pc_keep; /* what lies there is copied before a restore, and put back after it */
};

struct sim_snapshot {
	struct sim_machine *sn_machine;
	struct sim_machine sn_state;
	struct side_lists sn_side;
	struct piece *sn_pieces;
	unsigned int sn_npieces;
	unsigned int sn_room;
	size_t sn_bytes;
	char *sn_copies; /* of all pieces, one after the other */

	/* What of each frame is in a piece: bits SAVED_*. */
	uint8_t *sn_saved;

	/* Values of states that runs from here have left: a table of hashes; 0: empty. */
	uint64_t *sn_known;
	uint32_t sn_nknown;
	uint32_t sn_known_room; /* a power of two */
};

#define SAVED_DESC 1u /* its descriptors, the machine's and the core's */
#define SAVED_WORDS 2u
#define SAVED_BYTES 4u

#endif /* SIM_SNAPSHOT_PRIV_H */
