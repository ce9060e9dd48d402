/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Exits of the AMD kind: nested page fault. Its error code is that of an ordinary page fault, with
 * the question answered above bit 31 whether the access was to a guest page table.
 */

#include "ept/ept.h"
#include "ept/ept_bits.h"

void
ept_fault_npf(uint64_t exitinfo1, gpa_t exitinfo2, struct ept_fault *f)
{
	const bool walk = (exitinfo1 & NPF_GUEST_TABLE) != 0;
	uint8_t access = PMAP_PROT_R;

	/* The walk that an instruction fetch needs is still no fetch of what the table holds. */
	if (walk)
		access = PMAP_PROT_RW;
	else if (exitinfo1 & NPF_FETCH)
		access = PMAP_PROT_X;
	else if (exitinfo1 & NPF_WRITE)
		access = PMAP_PROT_W;

	*f = (struct ept_fault){
		.ef_gpa = exitinfo2,
		.ef_access = access,
		/* A reserved bit is only looked for in an entry that is present; QEMU 7.2 says not.
		 */
		.ef_present = (exitinfo1 & (NPF_PRESENT | NPF_RESERVED)) != 0,
		.ef_walk = walk,
		.ef_reserved = (exitinfo1 & NPF_RESERVED) != 0,
	};
}
