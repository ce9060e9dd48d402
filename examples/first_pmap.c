/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A first pmap: map, fault, shoot down, harvest.
 *
 * The main thread owns a guest's memory. A second thread plays a vCPU and its hardware: it runs
 * a "guest" that writes to four pages over and over, through a TLB of its own, on a CPU without
 * accessed and dirty flags (so that the pmap emulates them). Compile it with
 *
 *	cc first_pmap.c $(pkg-config --cflags --libs libpmap)
 */

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "pmap/pmap.h"
#include "pmap/posix/host_posix.h"

#define PAGE ((uint64_t)4096)
#define NPAGES 4
#define NFRAMES 5

/* The machine's memory: five frames, which we say are at 4 GiB; of each, one counter is used. */
#define FRAMES_HPA ((hpa_t)1 << 32)
static struct host_word frames[NFRAMES];

/* The guest's pages are at guest-physical 1 MiB. */
#define GUEST_GPA ((gpa_t)1 << 20)

static struct pmap *pm;
static struct host_word stop;

/* What the vCPU thread did, for the main thread to print. */
static struct host_word page_faults;
static struct host_word ad_faults;
static struct host_word tlb_flushes;
static struct host_word kicked_out;

/* Which frame a page that is touched for the first time shall get. Set by the main thread. */
static struct host_word frame_of_page[NPAGES];

#define MUST(what)                                                                           \
	do {                                                                                 \
		if (!(what)) {                                                               \
			fprintf(stderr, "%s:%d: this should hold: %s\n", __FILE__, __LINE__, \
				#what);                                                      \
			exit(1);                                                             \
		}                                                                            \
	} while (0)

static hpa_t
frame_hpa(uint64_t frame)
{
	return FRAMES_HPA + frame * PAGE;
}

static struct host_word *
frame_at(hpa_t hpa)
{
	return &frames[(hpa - FRAMES_HPA) / PAGE];
}

/* ---- The vCPU thread: hardware -------------------------------------------------------------- */

struct tlb_entry {
	hpa_t hpa;
	bool valid;
	bool writable;
};

/* A page walk. With emulated A/D, hardware may read a page once A is set, and write once M is. */
static bool
hardware_walk(gpa_t gpa, struct tlb_entry *e)
{
	struct pmap_leaf leaf;

	if (pmap_extract(pm, gpa, &leaf) != 0 || !leaf.pl_accessed)
		return false;
	*e = (struct tlb_entry){leaf.pl_hpa, true, leaf.pl_modified};
	return true;
}

/* Runs the guest until it must leave: true for a kick, false for a fault at *gpa. */
static bool
run_guest(struct tlb_entry tlb[NPAGES], unsigned int *next, gpa_t *gpa)
{
	while (!host_posix_kick_taken()) {
		unsigned int page = *next;
		struct tlb_entry *e = &tlb[page];

		*gpa = GUEST_GPA + page * PAGE;
		if (!e->valid && !hardware_walk(*gpa, e))
			return false;
		if (!e->writable && !(hardware_walk(*gpa, e) && e->writable))
			return false;
		host_fetch_add(frame_at(e->hpa), 1); /* the guest's store */
		*next = (page + 1) % NPAGES;
	}
	return true;
}

/* ---- The vCPU thread: hypervisor ------------------------------------------------------------ */

/* The guest wants to write to gpa and could not. */
static void
handle_fault(gpa_t gpa)
{
	int error = pmap_emulate_accessed_dirty(pm, gpa, PMAP_PROT_W);

	if (error == 0) {
		host_fetch_add(&ad_faults, 1); /* mapped, and now marked as accessed and modified */
		return;
	}
	MUST(error == -ENOENT);
	host_fetch_add(&page_faults, 1);

	const struct pmap_mapping mapping = {
		.pa_gpa = gpa,
		.pa_hpa = frame_hpa(host_load_acquire(&frame_of_page[(gpa - GUEST_GPA) / PAGE])),
		.pa_prot = PMAP_PROT_RWX,
		.pa_access = PMAP_PROT_W, /* why we are here: saves the next fault */
	};

	MUST(pmap_enter(pm, &mapping) == 0);
}

static void *
vcpu(void *arg)
{
	struct pmap_slot *slot = arg;
	struct tlb_entry tlb[NPAGES] = {0};
	unsigned int next = 0;

	pmap_slot_attach(pm, slot);
	while (host_load_acquire(&stop) == 0) {
		gpa_t gpa;
		bool kicked;

		/* The pmap says whether what this CPU has cached may still be used. */
		if (pmap_guest_enter(pm, slot)) {
			for (unsigned int i = 0; i < NPAGES; i++)
				tlb[i].valid = tlb[i].writable = false; /* INVEPT */
			pmap_guest_flushed(slot);
			host_fetch_add(&tlb_flushes, 1);
		}
		kicked = run_guest(tlb, &next, &gpa);
		pmap_guest_exit(slot);

		if (kicked)
			host_fetch_add(&kicked_out, 1);
		else
			handle_fault(gpa);
	}
	pmap_slot_detach(pm, slot);
	return NULL;
}

/* ---- The main thread: the owner of the guest's memory ---------------------------------------- */

/* Lets the guest run: it writes to every page at least twice from now on. */
static void
let_run(void)
{
	for (unsigned int page = 0; page < NPAGES; page++) {
		struct host_word *frame = &frames[host_load(&frame_of_page[page])];
		uint64_t goal = host_load(frame) + 2;

		while (host_load_acquire(frame) < goal)
			host_relax();
	}
}

static void
create(void)
{
	const struct pmap_config config = {
		.pc_type = PT_EPT,
		.pc_flags = PMAP_PDE_SUPERPAGE | PMAP_EMULATE_AD_BITS,
		.pc_caps = {.pc_pat = UINT64_C(0x0007040600070406), /* as after reset */
			    .pc_levels = 4,
			    .pc_leaf_levels = 2,
			    .pc_phys_bits = 46,
			    .pc_emulate_ad = true},
	};

	MUST(pmap_init(&config, &pm) == 0);
	for (unsigned int page = 0; page < NPAGES; page++)
		host_store(&frame_of_page[page], page);
	printf("pmap: Intel EPT, 4 levels, accessed and dirty bits emulated\n");
}

/* Two pages are mapped ahead; the other two the guest will have to fault in. */
static void
map_ahead(void)
{
	for (unsigned int page = 0; page < 2; page++) {
		const struct pmap_mapping mapping = {
			.pa_gpa = GUEST_GPA + page * PAGE,
			.pa_hpa = frame_hpa(page),
			.pa_prot = PMAP_PROT_RWX,
		};

		MUST(pmap_enter(pm, &mapping) == 0);
	}
	printf("map: 2 of %d pages\n", NPAGES);
}

static void
fault(void)
{
	let_run();
	MUST(host_load_acquire(&page_faults) == 2);
	MUST(host_load_acquire(&ad_faults) >= 2);
	printf("fault: the guest wrote to all pages; 2 were faulted in, 2 marked accessed and "
	       "modified on the way\n");
}

/* Which pages has the guest written to? Asked twice: the second time after it ran on. */
static void
harvest(void)
{
	uint64_t bitmap;
	uint64_t found;
	struct pmap_gather gather;

	for (unsigned int turn = 0; turn < 2; turn++) {
		bitmap = 0;
		pmap_gather_begin(&gather, pm);
		MUST(pmap_harvest(pm, GUEST_GPA, GUEST_GPA + NPAGES * PAGE, PMAP_HARVEST_MODIFIED,
				  &bitmap, &found, &gather) == 0);
		/*
		 * Until here the guest may write to a page that is in the bitmap; from here on a
		 * write to any page faults first, and will be in the next bitmap.
		 */
		pmap_gather_finish(&gather);
		MUST(bitmap == 0xf && found == NPAGES);
		let_run();
	}
	printf("harvest: all pages modified, and again after the guest ran on\n");
}

/* Page 0 moves to another frame. The old one may be reused at once: no CPU can write to it. */
static void
shoot_down(void)
{
	struct pmap_gather gather;
	uint64_t left;

	host_store_release(&frame_of_page[0], NFRAMES - 1);
	pmap_gather_begin(&gather, pm);
	MUST(pmap_remove(pm, GUEST_GPA, GUEST_GPA + PAGE, &gather) == 0);
	pmap_gather_finish(&gather);
	left = host_load_acquire(&frames[0]);
	let_run();
	MUST(host_load_acquire(&frames[0]) == left);
	MUST(host_load_acquire(&page_faults) == 3);
	printf("shoot down: page 0 was unmapped under the running guest, which faulted; it got\n"
	       "            another frame, and nobody wrote to the old one\n");
}

static void
report(void)
{
	struct pmap_stats st;
	char why[200];

	if (pmap_check(pm, why, sizeof(why)) != 0) {
		fprintf(stderr, "pmap_check: %s\n", why);
		exit(1);
	}
	pmap_stats(pm, &st);
	MUST(st.st_resident_pages == NPAGES);
	MUST(st.st_shootdowns > 0 && st.st_kicks > 0);
	MUST(host_load_acquire(&kicked_out) > 0 && host_load_acquire(&tlb_flushes) > 0);
	printf("in all: %u pages in %u tables; at least one kick made the guest exit and flush\n",
	       (unsigned int)st.st_resident_pages, (unsigned int)st.st_tables);
}

int
main(void)
{
	struct pmap_slot *slot = host_alloc(sizeof(*slot));
	pthread_t thread;

	MUST(slot != NULL);
	create();
	map_ahead();
	MUST(pthread_create(&thread, NULL, vcpu, slot) == 0);
	fault();
	harvest();
	shoot_down();

	host_store_release(&stop, 1);
	pmap_invalidate_all(pm); /* kicks whoever is in the guest, who then sees `stop` */
	pthread_join(thread, NULL);
	report();

	host_epoch_drain(); /* nobody looks at the slot any more */
	host_free(slot, sizeof(*slot));
	pmap_destroy(pm);
	MUST(host_posix_tables_in_use() == 0 && host_posix_allocs_in_use() == 0);
	printf("destroyed; nothing is left\n");
	return 0;
}
