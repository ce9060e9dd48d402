/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The instructions of VT-x as functions (SDM vol. 3C, chapter 31). They report failure in CF and
 * ZF; here that is false, and a warning, once, where none can come while the module is right.
 */

#ifndef KMOD_VMX_VMX_INST_H
#define KMOD_VMX_VMX_INST_H

#include <linux/bug.h>
#include <linux/types.h>

static inline bool
vmx_on(u64 hpa)
{
	bool failed;

	asm volatile("vmxon %1" : "=@ccbe"(failed) : "m"(hpa) : "memory");
	return !failed;
}

static inline void
vmx_off(void)
{
	asm volatile("vmxoff" : : : "cc", "memory");
}

static inline bool
vmx_clear(u64 hpa)
{
	bool failed;

	asm volatile("vmclear %1" : "=@ccbe"(failed) : "m"(hpa) : "memory");
	return !failed;
}

static inline bool
vmx_ptrld(u64 hpa)
{
	bool failed;

	asm volatile("vmptrld %1" : "=@ccbe"(failed) : "m"(hpa) : "memory");
	return !failed;
}

static inline bool
vmx_read_checked(u32 field, u64 *value)
{
	bool failed;

	asm volatile("vmread %2, %1" : "=@ccbe"(failed), "=r"(*value) : "r"((u64)field));
	return !failed;
}

static inline u64
vmx_read(u32 field)
{
	u64 value;

	if (unlikely(!vmx_read_checked(field, &value))) {
		WARN_ONCE(1, "VMREAD of %x failed\n", field);
		return 0;
	}
	return value;
}

static inline void
vmx_write(u32 field, u64 value)
{
	bool failed;

	asm volatile("vmwrite %2, %1" : "=@ccbe"(failed) : "r"((u64)field), "r"(value));
	WARN_ONCE(failed, "VMWRITE of %llx to %x failed\n", value, field);
}

/* kind: enum ept_invept, enum ept_invvpid. */
static inline bool
vmx_invept(u64 kind, u64 eptp)
{
	const struct {
		u64 eptp, zero;
	} what = {eptp, 0};
	bool failed;

	asm volatile("invept %1, %2" : "=@ccbe"(failed) : "m"(what), "r"(kind) : "memory");
	return !failed;
}

static inline bool
vmx_invvpid(u64 kind, u16 vpid, u64 gla)
{
	const struct {
		u64 vpid, gla;
	} what = {vpid, gla};
	bool failed;

	asm volatile("invvpid %1, %2" : "=@ccbe"(failed) : "m"(what), "r"(kind) : "memory");
	return !failed;
}

#endif /* KMOD_VMX_VMX_INST_H */
