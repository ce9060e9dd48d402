/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Pointers to root tables: EPTP and nCR3.
 *
 * Tables are always write-back: a walker that fetched them past the caches would be correct and
 * very slow. In nCR3, bits 4:3 (PCD, PWT) clear mean just that, as in CR3.
 */

#include "ept/ept.h"
#include "ept/ept_bits.h"

static bool
root_ok(const struct ept_cpu *cpu, enum pt_type type, hpa_t root)
{
	return cpu->ec_type == type && root % HOST_PAGE_SIZE == 0 &&
	       root >> cpu->ec_caps.pc_phys_bits == 0;
}

int
ept_eptp(const struct ept_cpu *cpu, hpa_t root, uint64_t *eptp)
{
	if (!root_ok(cpu, PT_EPT, root))
		return -EINVAL;
	*eptp = root | MEMTYPE_WB | (uint64_t)(cpu->ec_caps.pc_levels - 1) << EPTP_WALK_SHIFT |
		(cpu->ec_eptp_ad ? EPTP_AD : 0);
	return 0;
}

int
ept_ncr3(const struct ept_cpu *cpu, hpa_t root, uint64_t *ncr3)
{
	if (!root_ok(cpu, PT_RVI, root))
		return -EINVAL;
	*ncr3 = root;
	return 0;
}

static const char *
eptp_fault(const struct ept_words *w, uint64_t eptp)
{
	const uint64_t cap = w->ew_ept_vpid_cap;
	const unsigned int memtype = eptp & EPTP_MEMTYPE;
	const unsigned int levels = (eptp >> EPTP_WALK_SHIFT & 7) + 1;
	unsigned int width = w->ew_cpuid_80000008_eax & 0xff;

	if (memtype != MEMTYPE_WB && memtype != MEMTYPE_UC)
		return "EPTP bits 2:0 name a memory type that tables cannot have.";
	if (!(cap & (memtype == MEMTYPE_WB ? EPT_CAP_WB : EPT_CAP_UC)))
		return "EPTP bits 2:0 name a memory type that this CPU does not support.";
	if (levels != 4 && levels != 5)
		return "EPTP bits 5:3 name a walk of neither 4 nor 5 levels.";
	if (!(cap & (levels == 4 ? EPT_CAP_WALK_4 : EPT_CAP_WALK_5)))
		return "EPTP bits 5:3 name a walk that this CPU does not support.";
	if ((eptp & EPTP_AD) && !(cap & EPT_CAP_AD))
		return "EPTP bit 6 enables accessed and dirty flags that this CPU does not have.";
	if ((eptp & EPTP_SSS) && !(cap & EPT_CAP_SSS))
		return "EPTP bit 7 enables shadow-stack rights that this CPU does not have.";
	if (eptp & EPTP_RESERVED)
		return "EPTP bits 11:8 are reserved.";
	if (width == 0)
		width = 36; /* as in ept_caps.c */
	if (width < 64 && eptp >> width)
		return "EPTP has bits beyond this CPU's physical address width.";
	return NULL;
}

int
ept_eptp_check(const struct ept_words *w, uint64_t eptp, const char **why)
{
	*why = eptp_fault(w, eptp);
	return *why ? -EINVAL : 0;
}
