/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Exits of the Intel kind: EPT violation and EPT misconfiguration.
 */

#include "ept/ept.h"
#include "ept/ept_bits.h"

int
ept_fault_violation(uint64_t qualification, gpa_t gpa, uint64_t gla, bool ad, struct ept_fault *f)
{
	uint8_t access = 0;
	bool walk;

	if (qualification & EPT_QUAL_READ)
		access |= PMAP_PROT_R;
	if (qualification & EPT_QUAL_WRITE)
		access |= PMAP_PROT_W;
	if (qualification & EPT_QUAL_FETCH)
		access |= PMAP_PROT_X;
	if (access == 0)
		return -EINVAL;

	/* Bit 8 is only defined while bit 7 is set: no linear address, no walk of one. */
	walk = (qualification & EPT_QUAL_GLA_VALID) && !(qualification & EPT_QUAL_TRANSLATED);

	/*
	 * Hardware reports such an access as read and write; some emulators as a write only, or as
	 * the read that it was at first. Answering a read would map the guest's table read-only,
	 * and the guest would fault for ever.
	 */
	if (walk && ad)
		access |= PMAP_PROT_RW;

	*f = (struct ept_fault){
		.ef_gpa = gpa,
		.ef_gla = (qualification & EPT_QUAL_GLA_VALID) ? gla : 0,
		.ef_access = access,
		.ef_present = (qualification & EPT_QUAL_RIGHTS) != 0,
		.ef_walk = walk,
		.ef_gla_valid = (qualification & EPT_QUAL_GLA_VALID) != 0,
		.ef_nmi_iret = (qualification & EPT_QUAL_NMI_IRET) != 0,
	};
	return 0;
}

void
ept_fault_misconfig(gpa_t gpa, struct ept_fault *f)
{
	*f = (struct ept_fault){.ef_gpa = gpa, .ef_present = true, .ef_reserved = true};
}
