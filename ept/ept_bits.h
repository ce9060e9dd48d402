/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Bits of the registers that this folder decodes; private to it.
 */

#ifndef EPT_EPT_BITS_H
#define EPT_EPT_BITS_H

#include "pmap/host.h"

#define EPT_BIT(n) ((uint64_t)1 << (n))

/* CPUID (SDM vol. 2A, CPUID; APM vol. 3, appendix E). */
#define CPUID_1_ECX_VMX EPT_BIT(5)
#define CPUID_80000001_ECX_SVM EPT_BIT(2)
#define CPUID_80000001_ECX_OSVW EPT_BIT(9)
#define CPUID_80000001_EDX_NX EPT_BIT(20)
#define CPUID_80000001_EDX_PAGE1GB EPT_BIT(26)
#define CPUID_80000001_EDX_LM EPT_BIT(29)
#define CPUID_8000000A_EDX_NP EPT_BIT(0)
#define CPUID_8000000A_EDX_FLUSH_BY_ASID EPT_BIT(6)

/* Control registers and MSRs that both vendors have (SDM vol. 3A 2.5, vol. 4; APM vol. 2 3.1). */
#define EPT_EFER_LMA EPT_BIT(10)
#define EPT_EFER_NXE EPT_BIT(11)
#define EPT_CR4_LA57 EPT_BIT(12)

/* Memory types, in PAT entries, MTRRs and EPTP alike (SDM vol. 3A, table 12-2). */
#define MEMTYPE_UC 0u
#define MEMTYPE_WB 6u

/* Intel's MSRs (SDM vol. 4, table 2-2; vol. 3D A.3.2, A.3.3). */
#define FEATURE_CONTROL_LOCKED EPT_BIT(0)
#define FEATURE_CONTROL_VMX EPT_BIT(2) /* outside SMX */
#define ARCH_CAP_IF_PSCHANGE_MC_NO EPT_BIT(6)
#define ALLOWED_1(n) EPT_BIT(32 + (n))
#define CTL_SECONDARY 31
#define CTL2_EPT 1
#define CTL2_VPID 5

/* IA32_VMX_EPT_VPID_CAP (SDM vol. 3D A.10). */
#define EPT_CAP_EXEC_ONLY EPT_BIT(0)
#define EPT_CAP_WALK_4 EPT_BIT(6)
#define EPT_CAP_WALK_5 EPT_BIT(7)
#define EPT_CAP_UC EPT_BIT(8)
#define EPT_CAP_WB EPT_BIT(14)
#define EPT_CAP_2M EPT_BIT(16)
#define EPT_CAP_1G EPT_BIT(17)
#define EPT_CAP_INVEPT EPT_BIT(20)
#define EPT_CAP_AD EPT_BIT(21)
#define EPT_CAP_SSS EPT_BIT(23)
#define EPT_CAP_INVEPT_SINGLE EPT_BIT(25)
#define EPT_CAP_INVEPT_ALL EPT_BIT(26)
#define EPT_CAP_INVVPID EPT_BIT(32)
#define EPT_CAP_INVVPID_KINDS_SHIFT 40 /* a bit for each type, in the order of the types */

/* EPTP (SDM vol. 3C, table 25-9). */
#define EPTP_MEMTYPE ((uint64_t)7)
#define EPTP_WALK_SHIFT 3 /* three bits: levels - 1 */
#define EPTP_AD EPT_BIT(6)
#define EPTP_SSS EPT_BIT(7) /* access rights for supervisor shadow-stack pages */
#define EPTP_RESERVED ((uint64_t)0xf00)

/* Exit qualification of an EPT violation (SDM vol. 3C, table 28-7). */
#define EPT_QUAL_READ EPT_BIT(0)
#define EPT_QUAL_WRITE EPT_BIT(1)
#define EPT_QUAL_FETCH EPT_BIT(2)
#define EPT_QUAL_RIGHTS ((uint64_t)7 << 3) /* what all entries used grant: R, W, X */
#define EPT_QUAL_GLA_VALID EPT_BIT(7)
#define EPT_QUAL_TRANSLATED EPT_BIT(8) /* the final access, not one to a guest table */
#define EPT_QUAL_NMI_IRET EPT_BIT(12)

/* AMD's MSRs (APM vol. 2 15.30.1; revision guides, "OS visible workarounds"). */
#define VM_CR_SVMDIS EPT_BIT(4)
#define OSVW_ID_ERRATUM_383 3

/* EXITINFO1 of a nested page fault (APM vol. 2 15.25.6). */
#define NPF_PRESENT EPT_BIT(0)
#define NPF_WRITE EPT_BIT(1)
#define NPF_RESERVED EPT_BIT(3)
#define NPF_FETCH EPT_BIT(4)
#define NPF_GUEST_TABLE EPT_BIT(33)

#endif /* EPT_EPT_BITS_H */
