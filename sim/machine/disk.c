/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The disk: a swap device with slots of a page, and where pagers keep what is in no frame.
 *
 * It works on all requests that wait, a page at a time, from a page of its choice on, and completes
 * them in any order; so a page that somebody still writes while it goes out shows as wrong bytes
 * when it comes back. A request that fails has done its work, too, and then spoiled some of it.
 *
 * Like the bytes of frames (bytes.c) those of slots are kept from machine to machine, and what was
 * never written reads as poison.
 */

#define _GNU_SOURCE /* MAP_ANONYMOUS, MAP_NORESERVE */
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "sim/machine/machine_priv.h"
#include "sim/machine/machine_vm.h"
#include "sim/machine/side.h"

/* A late request waits for 2^LATE_LEAST to 2^(LATE_LEAST + LATE_LENGTHS - 1) turns. */
#define LATE_LEAST 4
#define LATE_LENGTHS 6

struct disk_request {
	bool dr_write;
	bool dr_over;
	bool dr_failed;
	uint64_t dr_slot;
	const char *dr_page; /* or NULL: a page of no slot, to read */
	const uint64_t *dr_frames;
	unsigned int dr_n;
	unsigned int dr_first; /* page to begin with */
	unsigned int dr_done;  /* pages */
	unsigned int dr_stop;  /* it fails with so many pages done; dr_n: it does not */
	uint32_t dr_hold;      /* turns before it begins */
	unsigned int dr_cpu;   /* that asked */
};

static struct {
	char *base;
	uint64_t bytes;
} spare;

/* ---- One step ---- */

static struct sim_frame *
io_frame(struct sim_machine *m, const struct disk_request *r, unsigned int i)
{
	const char *what = r->dr_write ? "a write to the disk" : "a read from the disk";
	uint64_t hpa = r->dr_frames[i];
	struct sim_frame *f = phys_data_frame(m, hpa, what);

	if (hpa % SIM_PAGE_SIZE != 0)
		sim_violation("CK-API", "I34", "%s at 0x%" PRIx64 ", which is no frame", what, hpa);
	if (f->fr_host == HOST_UNMAPPED)
		sim_violation("CK-IOMMU", "I37",
			      "%s at 0x%" PRIx64 ", which the host's domain does not map", what,
			      hpa);
	return f;
}

static char *
slot_bytes(struct disk *d, uint64_t slot)
{
	char *p = d->dk_bytes + slot * SIM_PAGE_SIZE;

	if (!d->dk_written[slot])
		bytes_fill_words(p, SIM_PAGE_POISON, 0);
	return p;
}

static void
transfer(struct sim_machine *m, const struct disk_request *r, unsigned int i)
{
	struct disk *d = &m->m_disk;
	uint64_t slot = r->dr_slot + i;
	char *frame = sim_frame_bytes(r->dr_frames[i]);

	if (r->dr_write) {
		memcpy(d->dk_bytes + slot * SIM_PAGE_SIZE, frame, SIM_PAGE_SIZE);
		d->dk_written[slot] = 1;
	} else {
		memcpy(frame, r->dr_page != NULL ? r->dr_page : slot_bytes(d, slot), SIM_PAGE_SIZE);
		m->m_progress++;
	}
	m->m_ct.ct_swap_pages[r->dr_write]++;
	trace(m, SIM_IO, SIM_ID_DATA | (r->dr_frames[i] - m->m_phys_base), slot);
}

/* Some of what a failed request was to write is written with anything. */
static void
spoil(struct sim_machine *m, const struct disk_request *r)
{
	uint64_t how = sim_choose_value(SIM_CHOICE_FAULT);

	for (unsigned int i = 0; i < r->dr_n; i++) {
		if ((how >> i % 64 & 1) == 0)
			continue;
		void *p = r->dr_write ? m->m_disk.dk_bytes + (r->dr_slot + i) * SIM_PAGE_SIZE
				      : (char *)sim_frame_bytes(r->dr_frames[i]);
		bytes_fill_words(p, how + i, how | 1);
	}
	m->m_progress++;
}

static void
complete(struct sim_machine *m, struct disk_request *r)
{
	if (fault_at(m, r->dr_write ? SIM_FAULT_SWAP_WRITE : SIM_FAULT_SWAP_READ, r->dr_cpu)) {
		spoil(m, r);
		r->dr_failed = true;
	}
	/* What was not done is as it was, on the disk or in memory. */
	r->dr_failed = r->dr_failed || r->dr_stop < r->dr_n;
	for (unsigned int i = 0; i < r->dr_n; i++)
		sim_frame_at(r->dr_frames[i])->fr_io--;
	r->dr_over = true;
	m->m_ct.ct_swap_requests[r->dr_write]++;
	m->m_progress++;
	trace(m, SIM_IO, r->dr_failed, r->dr_slot);
}

static void
work(struct sim_machine *m, struct disk_request *r)
{
	for (unsigned int i = 0; i < r->dr_n; i++)
		io_frame(m, r, i);
	if (r->dr_hold > 0)
		r->dr_hold--;
	else if (r->dr_done == r->dr_stop)
		complete(m, r);
	else
		transfer(m, r, (r->dr_first + r->dr_done++) % r->dr_n);
}

/* ---- Requests ---- */

static unsigned int
disk_enabled(void *arg)
{
	return ((const struct disk *)arg)->dk_nrequests;
}

static void
disk_step(void *arg, unsigned int which)
{
	struct disk *d = arg;
	struct disk_request *r = d->dk_requests[which];

	touch(sim_the_machine, SIM_OBJECT(SIM_OBJECT_DEVICE, 0), SIM_TOUCH_WRITE);
	work(sim_the_machine, r);
	if (r->dr_over)
		d->dk_requests[which] = d->dk_requests[--d->dk_nrequests];
}

static bool
request_over(void *arg)
{
	return ((const struct disk_request *)arg)->dr_over;
}

static void
begin(struct sim_machine *m, struct disk_request *r)
{
	const struct disk *d = &m->m_disk;

	if (r->dr_page == NULL &&
	    (r->dr_n == 0 || r->dr_slot >= d->dk_slots || r->dr_n > d->dk_slots - r->dr_slot))
		sim_violation("CK-API", "I34",
			      "slots %" PRIu64 " to %" PRIu64 " of a disk with %" PRIu32,
			      r->dr_slot, r->dr_slot + r->dr_n, d->dk_slots);
	for (unsigned int i = 0; i < r->dr_n; i++) {
		struct sim_frame *f = io_frame(m, r, i);
		if (f->fr_io == UINT8_MAX)
			sim_violation("CK-API", "I34",
				      "the disk is to use frame 0x%" PRIx64 " 256 times at once",
				      r->dr_frames[i]);
		f->fr_io++;
	}
	/* Two writes of one slot cannot both be right; a read and a write can, if nobody looks. */
	for (unsigned int i = 0; i < d->dk_nrequests && r->dr_write; i++) {
		const struct disk_request *o = d->dk_requests[i];
		if (o->dr_write && o->dr_slot < r->dr_slot + r->dr_n &&
		    r->dr_slot < o->dr_slot + o->dr_n)
			sim_violation("CK-API", "I34",
				      "slot %" PRIu64 " is written by two at a time",
				      r->dr_slot > o->dr_slot ? r->dr_slot : o->dr_slot);
	}
	r->dr_first = sim_choose(SIM_CHOICE_HW, r->dr_n);
	r->dr_cpu = self(m)->cp_id;
	r->dr_stop = r->dr_n;
	if (sim_fault(SIM_FAULT_SWAP_SHORT))
		r->dr_stop = sim_choose(SIM_CHOICE_FAULT, r->dr_n);
	if (sim_fault(SIM_FAULT_SWAP_LATE))
		r->dr_hold = 1u << (LATE_LEAST + sim_choose(SIM_CHOICE_FAULT, LATE_LENGTHS));
}

static int
do_request(struct sim_machine *m, struct disk_request *r)
{
	struct disk *d = &m->m_disk;

	memory_point(m, SIM_IO, NULL);
	touch(m, SIM_OBJECT(SIM_OBJECT_DEVICE, 0), SIM_TOUCH_WRITE);
	memory_drain(m, self(m));
	begin(m, r);
	trace(m, SIM_IO, r->dr_slot, (uint64_t)r->dr_n << 1 | r->dr_write);
	if (m->m_cpu == NULL) {
		while (!r->dr_over)
			work(m, r);
	} else {
		d->dk_requests[d->dk_nrequests++] = r;
		sim_wait_until("the disk", request_over, r);
	}
	return r->dr_failed ? -EIO : 0;
}

static int
swap_io(bool write, uint64_t slot, const uint64_t *frames, unsigned int n)
{
	struct sim_machine *m = sim_the_machine;
	struct disk_request r = {
		.dr_write = write, .dr_slot = slot, .dr_frames = frames, .dr_n = n};

	mutex_check_may_sleep(m, write ? "host_swap_write()" : "host_swap_read()");
	return do_request(m, &r);
}

int
disk_read_into(const char *page, uint64_t hpa)
{
	struct disk_request r = {.dr_page = page, .dr_frames = &hpa, .dr_n = 1};

	return do_request(sim_the_machine, &r);
}

uint64_t
sim_swap_slots(void)
{
	return sim_the_machine->m_disk.dk_slots;
}

int
sim_swap_read(uint64_t slot, const uint64_t *frames, unsigned int n)
{
	return swap_io(false, slot, frames, n);
}

int
sim_swap_write(uint64_t slot, const uint64_t *frames, unsigned int n)
{
	return swap_io(true, slot, frames, n);
}

const void *
sim_swap_bytes(uint64_t slot)
{
	struct disk *d = &sim_the_machine->m_disk;

	return slot < d->dk_slots ? slot_bytes(d, slot) : NULL;
}

/* ---- Life ---- */

bool
disk_init(struct sim_machine *m)
{
	struct disk *d = &m->m_disk;
	uint64_t bytes = (uint64_t)m->m_cfg.sc_swap_slots * SIM_PAGE_SIZE;

	d->dk_ops = (struct sim_agent_ops){
		"disk", m->m_cfg.sc_disk_weight, disk_enabled, disk_step, true, NULL};
	if (bytes != 0 || m->m_cfg.sc_pager)
		sim_agent_add(&d->dk_ops, d);
	if (bytes == 0)
		return true;
	if (spare.base != NULL && spare.bytes < bytes) {
		munmap(spare.base, spare.bytes);
		spare.base = NULL;
	}
	if (spare.base == NULL) {
		spare.base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (spare.base == MAP_FAILED) {
			spare.base = NULL;
			return false;
		}
		spare.bytes = bytes;
	}
	d->dk_written = sim_side_alloc(m->m_cfg.sc_swap_slots);
	if (d->dk_written == NULL)
		return false;
	d->dk_bytes = spare.base;
	d->dk_slots = m->m_cfg.sc_swap_slots;
	return true;
}

void
disk_fini(struct sim_machine *m)
{
	sim_side_free(m->m_disk.dk_written);
	m->m_disk.dk_written = NULL;
}
