/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * VMCSs: where each is, and how to reach its fields from elsewhere. See vmx_priv.h.
 *
 * "Active" on a CPU begins with VMPTRLD and ends with VMCLEAR, which only that CPU can do (SDM
 * vol. 3C 25.1). Each CPU has a list of what is active there, changed by that CPU with interrupts
 * off; one of them is current. To take a VMCS away from a CPU, ask it, by an interprocessor call.
 *
 * The cache is locked, though registers belong to who owns the vCPU: a CPU that goes offline reads
 * the rest of the fields into it, and its owner may just then be elsewhere, setting one.
 */

#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/smp.h>

#include "kmod/vmx/vmx_inst.h"
#include "kmod/vmx/vmx_priv.h"

struct vmx_cpu {
	struct list_head vx_active;
	struct vmx_vcpu *vx_current;
};
static DEFINE_PER_CPU(struct vmx_cpu, vmx_cpus);

static const u16 encodings[VF_SELECTOR] = {
	[VF_RSP] = VMCS_GUEST_RSP,
	[VF_RIP] = VMCS_GUEST_RIP,
	[VF_RFLAGS] = VMCS_GUEST_RFLAGS,
	[VF_CR0] = VMCS_GUEST_CR0,
	[VF_CR0_SHADOW] = VMCS_CR0_SHADOW,
	[VF_CR3] = VMCS_GUEST_CR3,
	[VF_CR4] = VMCS_GUEST_CR4,
	[VF_CR4_SHADOW] = VMCS_CR4_SHADOW,
	[VF_EFER] = VMCS_GUEST_EFER,
	[VF_PAT] = VMCS_GUEST_PAT,
	[VF_DR7] = VMCS_GUEST_DR7,
	[VF_INTERRUPTIBILITY] = VMCS_GUEST_INTERRUPTIBILITY,
	[VF_PENDING_DEBUG] = VMCS_GUEST_PENDING_DEBUG,
	[VF_SYSENTER_CS] = VMCS_GUEST_SYSENTER_CS,
	[VF_SYSENTER_ESP] = VMCS_GUEST_SYSENTER_ESP,
	[VF_SYSENTER_EIP] = VMCS_GUEST_SYSENTER_EIP,
	[VF_PDPTE0] = VMCS_GUEST_PDPTE0,
	[VF_PDPTE1] = VMCS_GUEST_PDPTE1,
	[VF_PDPTE2] = VMCS_GUEST_PDPTE2,
	[VF_PDPTE3] = VMCS_GUEST_PDPTE3,
};

/* Of segments the encodings go up by 2, in the order that the cache has, too. */
static u32
encoding_of(unsigned int field)
{
	BUILD_BUG_ON(VF_COUNT > 64);
	BUILD_BUG_ON(VMCS_GUEST_TR != VMCS_GUEST_ES + 2 * 7);
	BUILD_BUG_ON(VMCS_GUEST_IDTR_BASE != VMCS_GUEST_ES_BASE + 2 * 9);
	BUILD_BUG_ON(VMCS_GUEST_IDTR_LIMIT != VMCS_GUEST_ES_LIMIT + 2 * 9);
	BUILD_BUG_ON(VMCS_GUEST_TR_ACCESS != VMCS_GUEST_ES_ACCESS + 2 * 7);
	if (field < VF_SELECTOR)
		return encodings[field];
	if (field < VF_BASE)
		return VMCS_GUEST_ES + 2 * (field - VF_SELECTOR);
	if (field < VF_LIMIT)
		return VMCS_GUEST_ES_BASE + 2 * (field - VF_BASE);
	if (field < VF_ACCESS)
		return VMCS_GUEST_ES_LIMIT + 2 * (field - VF_LIMIT);
	return VMCS_GUEST_ES_ACCESS + 2 * (field - VF_ACCESS);
}

/* ---- Here: interrupts off -------------------------------------------------------------------- */

static void
select_here(struct vmx_vcpu *vv)
{
	if (this_cpu_read(vmx_cpus.vx_current) == vv)
		return;
	WARN_ON_ONCE(!vmx_ptrld(vv->vv_vmcs_hpa));
	this_cpu_write(vmx_cpus.vx_current, vv);
}

static void
activate_here(struct vmx_vcpu *vv)
{
	if (!vv->vv_set_up)
		WARN_ON_ONCE(!vmx_clear(vv->vv_vmcs_hpa));
	select_here(vv);
	if (!vv->vv_set_up)
		vmx_set_up(vv);
	vmx_set_up_host(vv);
	vv->vv_set_up = true;
	list_add(&vv->vv_link, this_cpu_ptr(&vmx_cpus.vx_active));
	WRITE_ONCE(vv->vv_cpu, smp_processor_id());
}

/* Locked, active here. */
static void
read_missing_here(struct vmx_vcpu *vv)
{
	unsigned int field;

	select_here(vv);
	for (field = 0; field < VF_COUNT; field++)
		if (!(vv->vv_valid & BIT_ULL(field)))
			vv->vv_fields[field] = vmx_read(encoding_of(field));
	vv->vv_valid = GENMASK_ULL(VF_COUNT - 1, 0);
}

static void
evict_here(struct vmx_vcpu *vv)
{
	raw_spin_lock(&vv->vv_lock);
	read_missing_here(vv);
	WARN_ON_ONCE(!vmx_clear(vv->vv_vmcs_hpa));
	vv->vv_launched = false;
	list_del_init(&vv->vv_link);
	this_cpu_write(vmx_cpus.vx_current, NULL);
	WRITE_ONCE(vv->vv_cpu, -1);
	raw_spin_unlock(&vv->vv_lock);
}

void
vmx_evict_all_here(void)
{
	struct vmx_cpu *const vx = this_cpu_ptr(&vmx_cpus);

	while (!list_empty(&vx->vx_active))
		evict_here(list_first_entry(&vx->vx_active, struct vmx_vcpu, vv_link));
	vx->vx_current = NULL;
}

void
vmx_cpu_init(unsigned int cpu)
{
	INIT_LIST_HEAD(&per_cpu_ptr(&vmx_cpus, cpu)->vx_active);
}

/* ---- Elsewhere ------------------------------------------------------------------------------- */

static void
evict_call(void *arg)
{
	struct vmx_vcpu *const vv = arg;

	if (vv->vv_cpu == smp_processor_id())
		evict_here(vv);
}

/*
 * From wherever it is but the CPU `here`. A CPU that cannot be asked is offline, and all that was
 * active there left before. Interrupts on.
 */
static void
evict_unless(struct vmx_vcpu *vv, int here)
{
	int cpu, error;

	while ((cpu = READ_ONCE(vv->vv_cpu)) >= 0 && cpu != here) {
		error = smp_call_function_single(cpu, evict_call, vv, 1);
		if (WARN_ON_ONCE(error && READ_ONCE(vv->vv_cpu) == cpu))
			return;
	}
}

void
vmx_evict(struct vmx_vcpu *vv)
{
	evict_unless(vv, -1);
}

void
vmx_make_current(struct vmx_vcpu *vv)
{
	unsigned long flags;

	evict_unless(vv, smp_processor_id());
	local_irq_save(flags);
	if (vv->vv_cpu < 0)
		activate_here(vv);
	else
		select_here(vv);
	local_irq_restore(flags);
}

bool
vmx_select(struct vmx_vcpu *vv)
{
	if (WARN_ON_ONCE(vv->vv_cpu != smp_processor_id()))
		return false;
	select_here(vv);
	return true;
}

/* ---- The cache ------------------------------------------------------------------------------- */

static void
read_missing_call(void *arg)
{
	struct vmx_vcpu *const vv = arg;

	if (vv->vv_cpu != smp_processor_id())
		return;
	raw_spin_lock(&vv->vv_lock);
	read_missing_here(vv);
	raw_spin_unlock(&vv->vv_lock);
}

/* Locked. Whether the field is cached now: it was, or the VMCS is here. */
static bool
cached(struct vmx_vcpu *vv, unsigned int field)
{
	if (vv->vv_valid & BIT_ULL(field))
		return true;
	if (vv->vv_cpu != raw_smp_processor_id())
		return false;
	select_here(vv);
	vv->vv_fields[field] = vmx_read(encoding_of(field));
	vv->vv_valid |= BIT_ULL(field);
	return true;
}

/*
 * With interrupts off an owner is between load and the end of the exit, so that the VMCS is here.
 * Else it may be on another CPU, if the owner has been moved since the exit: that CPU reads all of
 * it, since one field is seldom all that is wanted.
 */
u64
vmx_get(struct vmx_vcpu *vv, unsigned int field)
{
	unsigned long flags;
	u64 value;
	bool done;
	int cpu;

	for (;;) {
		raw_spin_lock_irqsave(&vv->vv_lock, flags);
		done = cached(vv, field);
		value = vv->vv_fields[field];
		cpu = vv->vv_cpu;
		raw_spin_unlock_irqrestore(&vv->vv_lock, flags);
		if (done)
			return value;
		if (WARN_ON_ONCE(irqs_disabled()))
			return 0;
		smp_call_function_single(cpu, read_missing_call, vv, 1);
	}
}

void
vmx_set(struct vmx_vcpu *vv, unsigned int field, u64 value)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&vv->vv_lock, flags);
	vv->vv_fields[field] = value;
	vv->vv_valid |= BIT_ULL(field);
	vv->vv_dirty |= BIT_ULL(field);
	raw_spin_unlock_irqrestore(&vv->vv_lock, flags);
}

void
vmx_write_dirty(struct vmx_vcpu *vv)
{
	unsigned int field;

	while (vv->vv_dirty) {
		field = __ffs64(vv->vv_dirty);
		vmx_write(encoding_of(field), vv->vv_fields[field]);
		vv->vv_dirty &= ~BIT_ULL(field);
	}
}

/* The guest ran. What it cannot change without us stays. */
void
vmx_forget(struct vmx_vcpu *vv)
{
	vv->vv_valid = BIT_ULL(VF_CR0_SHADOW) | BIT_ULL(VF_CR4_SHADOW);
}

/* ---- Any field, for tools -------------------------------------------------------------------- */

struct read_request {
	struct vmx_vcpu *rr_vv;
	u32 rr_encoding;
	u64 rr_value;
	bool rr_done;
	bool rr_found;
};

static void
read_call(void *arg)
{
	struct read_request *const rr = arg;
	struct vmx_vcpu *const vv = rr->rr_vv;

	if (!vmm_cpu_enabled())
		return;
	if (vv->vv_cpu < 0)
		activate_here(vv);
	if (vv->vv_cpu != smp_processor_id())
		return;
	raw_spin_lock(&vv->vv_lock);
	select_here(vv);
	vmx_write_dirty(vv);
	vmx_write_ctls(vv);
	rr->rr_found = vmx_read_checked(rr->rr_encoding, &rr->rr_value);
	raw_spin_unlock(&vv->vv_lock);
	rr->rr_done = true;
}

/* CPUs may come and go meanwhile; but not for long. */
#define READ_TRIES 100

int
vmx_read_anywhere(struct vmx_vcpu *vv, u32 encoding, u64 *value)
{
	struct read_request rr = {.rr_vv = vv, .rr_encoding = encoding};
	unsigned int tries;
	int cpu;

	for (tries = 0; tries < READ_TRIES && !rr.rr_done; tries++) {
		if (tries > 0)
			schedule_timeout_uninterruptible(1);
		cpu = READ_ONCE(vv->vv_cpu);
		smp_call_function_single(cpu >= 0 ? cpu : raw_smp_processor_id(), read_call, &rr,
					 1);
	}
	if (!rr.rr_done)
		return -EAGAIN;
	if (!rr.rr_found)
		return -EINVAL;
	*value = rr.rr_value;
	return 0;
}
