/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Identifiers: ASIDs and VPIDs.
 *
 * ASIDs are few and belong to one CPU each: a vCPU gets the next one of the CPU that it runs on,
 * and when they are used up a new round begins, in which every ASID handed out before is void. What
 * the TLB still holds under their numbers is then a debt of the CPU, not of the vCPU that happened
 * to cause the wrap: that one's VMRUN may fail, or never happen, and the next vCPU gets a number
 * that was used before. So each VMRUN asks for a flush of everything until one has not failed. The
 * number of the round only grows. Were it to start over when a CPU comes online, a vCPU that last
 * ran here long ago could hold an ASID of a round with the same number.
 *
 * VPIDs are many: a vCPU keeps one for life.
 */

#include "pmap/pmap_ident.h"

/* ---- ASIDs --------------------------------------------------------------------------------- */

static void
new_round(struct pmap_asid_cpu *c)
{
	c->ac_round++;
	c->ac_next = 1;
	c->ac_debt = true;
}

int
pmap_asid_cpu_init(struct pmap_asid_cpu *c, uint32_t nasids, bool flush_by_asid)
{
	if (nasids < 2)
		return -EINVAL;
	*c = (struct pmap_asid_cpu){
		.ac_max = nasids - 1,
		.ac_flush_by_asid = flush_by_asid,
	};
	new_round(c); /* in debt from the first: who knows what the TLB holds */
	return 0;
}

void
pmap_asid_cpu_online(struct pmap_asid_cpu *c)
{
	new_round(c);
}

/*
 * A new ASID needs no flush of its own: in this round nobody used it, and of earlier rounds nothing
 * is left once the debt is paid. That is also why it serves as a flush where one ASID cannot be
 * flushed (AMD APM vol. 2 15.16.1: TLB_CONTROL 3 and 7 only with CPUID 8000_000A EDX FlushByAsid);
 * while there is a debt, the flush of all does that too, and the ASID can stay.
 */
enum pmap_tlb_control
pmap_asid_assign(struct pmap_asid_cpu *c, uint32_t cpu, struct pmap_asid *a, bool flush)
{
	bool fresh = a->as_round != c->ac_round || a->as_cpu != cpu;

	HOST_ASSERT(c->ac_round > 0); /* initialized: 0 is the round of vCPUs that have none */
	if (flush && !c->ac_flush_by_asid && !c->ac_debt)
		fresh = true;
	if (fresh) {
		if (c->ac_next > c->ac_max)
			new_round(c);
		a->as_round = c->ac_round;
		a->as_asid = c->ac_next++;
		a->as_cpu = cpu;
	}
	if (c->ac_debt)
		return PMAP_TLB_FLUSH_ALL;
	return flush && !fresh ? PMAP_TLB_FLUSH_ASID : PMAP_TLB_KEEP;
}

void
pmap_asid_flushed(struct pmap_asid_cpu *c, enum pmap_tlb_control done)
{
	if (done == PMAP_TLB_FLUSH_ALL)
		c->ac_debt = false;
}

/* ---- VPIDs --------------------------------------------------------------------------------- */

/* Nothing is locked while this lock is held; it comes after all others of the core. */
#define VPID_RANK 64

#define VPID_COUNT_MAX (PMAP_VPID_WORDS * 64)

_Static_assert(VPID_COUNT_MAX == 65536, "a VPID has 16 bits (Intel SDM vol. 3C 25.6.12)");

int
pmap_vpids_init(struct pmap_vpids *v, uint32_t count)
{
	if (count < 2 || count > VPID_COUNT_MAX)
		return -EINVAL;
	host_lock_init(&v->vp_lock, VPID_RANK);
	for (uint32_t i = 0; i < PMAP_VPID_WORDS; i++)
		v->vp_used[i] = 0;
	v->vp_used[0] = 1; /* VPID 0 is the host's */
	v->vp_count = count;
	v->vp_hint = 1;
	return 0;
}

/* The word that a VPID's bit is in. With the lock held. */
static uint64_t *
used_word(struct pmap_vpids *v, uint32_t vpid)
{
	HOST_ASSERT(host_lock_held(&v->vp_lock));
	return &v->vp_used[vpid / 64];
}

/* The first free VPID in [start, end), or 0. */
static uint32_t
find_free(struct pmap_vpids *v, uint32_t start, uint32_t end)
{
	uint32_t vpid = start;

	while (vpid < end) {
		uint64_t open = ~*used_word(v, vpid) >> (vpid % 64);

		if (open == 0) {
			vpid = (vpid / 64 + 1) * 64;
			continue;
		}
		vpid += (uint32_t)__builtin_ctzll(open);
		return vpid < end ? vpid : 0;
	}
	return 0;
}

int
pmap_vpid_alloc(struct pmap_vpids *v, uint16_t *vpid)
{
	uint32_t found;

	host_lock(&v->vp_lock);
	found = find_free(v, v->vp_hint, v->vp_count);
	if (found == 0)
		found = find_free(v, 1, v->vp_hint);
	if (found != 0) {
		*used_word(v, found) |= (uint64_t)1 << (found % 64);
		v->vp_hint = found + 1 < v->vp_count ? found + 1 : 1;
	}
	host_unlock(&v->vp_lock);
	if (found == 0)
		return -ENOSPC;
	*vpid = (uint16_t)found;
	return 0;
}

void
pmap_vpid_free(struct pmap_vpids *v, uint16_t vpid)
{
	const uint64_t bit = (uint64_t)1 << (vpid % 64);
	bool was_used;

	HOST_ASSERT(vpid != 0 && vpid < v->vp_count);
	host_lock(&v->vp_lock);
	was_used = (*used_word(v, vpid) & bit) != 0;
	*used_word(v, vpid) &= ~bit;
	host_unlock(&v->vp_lock);
	HOST_ASSERT(was_used);
}

bool
pmap_vpid_stale(const struct pmap_vpid_home *h, uint32_t cpu, uint64_t online)
{
	return h->vh_online == 0 || h->vh_cpu != cpu || h->vh_online != online;
}

void
pmap_vpid_flushed(struct pmap_vpid_home *h, uint32_t cpu, uint64_t online)
{
	HOST_ASSERT(online > 0); /* 0 says "never" */
	h->vh_cpu = cpu;
	h->vh_online = online;
}
