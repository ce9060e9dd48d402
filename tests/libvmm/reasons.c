/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * vmspace's side of numbers that libvmm has words for: its header and libvmm's name the same calls
 * and cannot be seen together.
 */

#include "fake_reasons.h"
#include "vmspace/vmspace.h"

unsigned int
fk_fault_reasons(void)
{
	return VM_FAULT_REASON_COUNT;
}
