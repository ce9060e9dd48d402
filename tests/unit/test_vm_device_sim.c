/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Devices of the simulated host: the disk takes its time and tears what changes meanwhile, the
 * IOMMU keeps what it may keep, devices reach what they can, and misuse of all of it is found.
 */

#include "tests/unit/machine_util.h"
#include "vmspace/vm_host.h"
#include "sim/machine/machine_vm.h"

#define PAGE SIM_PAGE_SIZE
#define GPA ((gpa_t)0x40000000)
#define SLOTS 64

static struct {
	hpa_t frames[16];
	uint64_t torn;
	uint64_t steps;
	uint64_t failed;
	uint64_t spoiled;
	struct host_word over;
	struct host_iommu *domain[2];
	uint64_t dma[2];
	uint64_t stale;
	uint64_t wrong;
	uint64_t pages;
} s;

static struct sim_config
devices(unsigned int cpus, uint64_t seed)
{
	struct sim_config cfg = config(cpus, seed);

	cfg.sc_swap_slots = SLOTS;
	cfg.sc_iommu = true;
	memset(&s, 0, sizeof s);
	return cfg;
}

static void
take_frames(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		HOST_ASSERT(host_page_alloc(&s.frames[i], 0));
		host_page_zero(s.frames[i]);
	}
}

static void
mark(unsigned int n, uint64_t with)
{
	for (unsigned int i = 0; i < n; i++)
		sim_data_store(s.frames[i] + 8 * i, with + i);
}

/* ---- The disk -------------------------------------------------------------------------------- */

static void
write_and_read(void *arg)
{
	(void)arg;
	take_frames(8);
	for (unsigned int round = 0; round < 10; round++) {
		uint64_t slot = (round * 7) % (SLOTS - 8);
		mark(8, 100 * round + 1);
		HOST_ASSERT(host_swap_write(slot, s.frames, 8) == 0);
		for (unsigned int i = 0; i < 8; i++)
			host_page_zero(s.frames[i]);
		uint64_t before = sim_step_count();
		HOST_ASSERT(host_swap_read(slot, s.frames, 8) == 0);
		s.steps += sim_step_count() - before;
		for (unsigned int i = 0; i < 8; i++) {
			const uint64_t *w = sim_swap_bytes(slot + i);
			s.wrong += sim_data_load(s.frames[i] + 8 * i) != 100 * round + 1 + i;
			s.wrong += w[i] != 100 * round + 1 + i || w[511] != 0;
		}
	}
	/* What nobody wrote is poison, and no slot beyond the last. */
	HOST_ASSERT(host_swap_read(SLOTS - 1, s.frames, 1) == 0);
	HOST_ASSERT(sim_data_load(s.frames[0]) == SIM_PAGE_POISON);
	HOST_ASSERT(sim_swap_bytes(SLOTS) == NULL && host_swap_slots() == SLOTS);
	host_store(&s.over, 1);
}

static void
count_turns(void *arg)
{
	(void)arg;
	while (host_load(&s.over) == 0)
		s.torn++;
}

Test(vm_device_sim, the_disk_takes_time)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct sim_config cfg = devices(2, seed);
		struct sim_report r = run(&cfg, (program_fn[]){write_and_read, count_turns}, NULL);

		assert_passed(r);
		cr_assert_eq(s.wrong, 0);
		cr_assert_geq(s.steps, 10 * 9, "%d", (int)s.steps);
		cr_assert_gt(s.torn, 20);
		cr_assert_eq(r.sr_counters.ct_swap_requests[0], 11);
		cr_assert_eq(r.sr_counters.ct_swap_requests[1], 10);
		cr_assert_eq(r.sr_counters.ct_swap_pages[0], 81);
		cr_assert_eq(r.sr_counters.ct_swap_pages[1], 80);
	}
}

/* A guest that still writes while its pages go out. */
static void
write_out(void *arg)
{
	(void)arg;
	take_frames(8);
	mark(8, 0);
	host_store(&s.over, 1);
	HOST_ASSERT(host_swap_write(0, s.frames, 8) == 0);
	host_store(&s.over, 2);
	bool old = false, new = false;
	for (unsigned int i = 0; i < 8; i++) {
		const uint64_t *w = sim_swap_bytes(i);
		old |= w[i] == i;
		new |= w[i] == 1000 + i;
	}
	s.torn = old && new;
}

static void
write_meanwhile(void *arg)
{
	(void)arg;
	while (host_load(&s.over) == 0)
		host_relax();
	for (unsigned int i = 0; i < 20; i++)
		sim_point(SIM_USER, NULL);
	mark(8, 1000);
}

Test(vm_device_sim, who_writes_meanwhile_tears_what_goes_out)
{
	unsigned int torn = 0;

	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct sim_config cfg = devices(2, seed);
		struct sim_report r = run(&cfg, (program_fn[]){write_out, write_meanwhile}, NULL);
		assert_passed(r);
		torn += s.torn == 1;
	}
	cr_assert_gt(torn, 5, "%u of 40", torn);
}

static void
fail_io(void *arg)
{
	(void)arg;
	take_frames(8);
	for (unsigned int round = 0; round < 20; round++) {
		mark(8, round + 1);
		bool failed = host_swap_write(0, s.frames, 8) == -EIO;
		s.failed += failed;
		for (unsigned int i = 0; i < 8; i++) {
			const uint64_t *w = sim_swap_bytes(i);
			bool right = w[i] == round + 1 + i;
			HOST_ASSERT(sim_data_load(s.frames[i] + 8 * i) == round + 1 + i);
			HOST_ASSERT(failed || right);
			s.spoiled += !right;
		}
		if (failed)
			continue;
		failed = host_swap_read(0, s.frames, 8) == -EIO;
		s.failed += failed;
		for (unsigned int i = 0; i < 8; i++) {
			bool right = sim_data_load(s.frames[i] + 8 * i) == round + 1 + i;
			HOST_ASSERT(failed || right);
			s.spoiled += !right;
		}
	}
}

Test(vm_device_sim, requests_fail_and_spoil)
{
	uint64_t failed = 0;
	uint64_t spoiled = 0;

	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct sim_config cfg = devices(1, seed);
		cfg.sc_fault_ppm[SIM_FAULT_SWAP_READ] = 200000;
		cfg.sc_fault_ppm[SIM_FAULT_SWAP_WRITE] = 200000;
		struct sim_report r = run(&cfg, (program_fn[]){fail_io}, NULL);
		assert_passed(r);
		cr_assert_eq(s.failed, r.sr_counters.ct_faults[SIM_FAULT_SWAP_READ] +
					       r.sr_counters.ct_faults[SIM_FAULT_SWAP_WRITE]);
		failed += s.failed;
		spoiled += s.spoiled;
	}
	cr_assert(failed > 30 && failed < 120, "%d of about 360", (int)failed);
	cr_assert(spoiled > failed && spoiled < 8 * failed, "%d", (int)spoiled);
}

static void
misuse_disk(void *arg)
{
	const int how = *(int *)arg;
	hpa_t table = 0;

	take_frames(2);
	switch (how) {
	case 0:
		host_swap_read(SLOTS - 1, s.frames, 2);
		break;
	case 1:
		host_swap_write(0, s.frames, 0);
		break;
	case 2:
		HOST_ASSERT(host_table_alloc(&table));
		host_swap_write(0, &table, 1);
		break;
	case 3:
		host_page_free(s.frames[1], 0);
		host_swap_read(0, s.frames, 2);
		break;
	case 4:
		s.frames[0] += 8;
		host_swap_read(0, s.frames, 2);
		break;
	case 5:
		host_iommu_unmap(NULL, s.frames[0], PAGE);
		host_iommu_flush(NULL);
		host_swap_read(0, s.frames, 2);
		break;
	default: /* the other one frees a frame, or writes the slot as well */
		host_store(&s.over, 1);
		host_swap_write(0, s.frames, 2);
	}
}

static void
free_meanwhile(void *arg)
{
	if (*(int *)arg < 6)
		return;
	while (host_load(&s.over) == 0)
		host_relax();
	while (sim_frame_at(s.frames[1])->fr_io == 0)
		sim_point(SIM_USER, NULL);
	if (*(int *)arg == 6)
		host_page_free(s.frames[1], 0);
	else
		host_swap_write(1, s.frames, 1);
}

Test(vm_device_sim, misuse_of_the_disk_is_found)
{
	static const char *const expected[][2] = {
		{"CK-API", "slots 63 to 65 of a disk with 64"},
		{"CK-API", "slots 0 to 0"},
		{"CK-FREE", "a write to the disk at"},
		{"CK-FREE", "a read from the disk at"},
		{"CK-API", "which is no frame"},
		{"CK-IOMMU", "which the host's domain does not map"},
		{"CK-FREE", "is freed while the disk uses it"},
		{"CK-API", "slot 1 is written by two at a time"},
	};

	for (int how = 0; how < (int)(sizeof expected / sizeof expected[0]); how++) {
		struct sim_config cfg = devices(2, 1);
		struct sim_report r = run(&cfg, (program_fn[]){misuse_disk, free_meanwhile}, &how);

		assert_violation(r, expected[how][0], expected[how][1]);
	}
}

/* ---- The IOMMU ------------------------------------------------------------------------------- */

#define MODEL_PAGES 600

static void
count_pages(void *arg, uint64_t gpa, uint64_t hpa, unsigned int prot, bool stale)
{
	const hpa_t *model = arg;
	const uint64_t i = (gpa - GPA) / PAGE;

	s.pages += !stale;
	s.stale += stale;
	s.wrong += i >= MODEL_PAGES || prot != (i % 2 != 0 ? PMAP_PROT_RW : PMAP_PROT_R) ||
		   (!stale && model[i] != hpa);
}

/* Pages come and go, and the domain knows which. */
static void
map_at_random(void *arg)
{
	static hpa_t model[MODEL_PAGES];
	const bool attached = *(bool *)arg;
	uint64_t mapped = 0;
	uint64_t stale = 0;
	hpa_t run;

	memset(model, 0, sizeof model);
	HOST_ASSERT(host_page_alloc(&run, 9));
	HOST_ASSERT(host_iommu_create(&s.domain[0]) == 0);
	HOST_ASSERT(!attached || host_iommu_attach(s.domain[0], 7) == 0);
	for (unsigned int n = 0; n < 6000; n++) {
		const uint64_t i = sim_choose(SIM_CHOICE_WORKLOAD, MODEL_PAGES);
		const hpa_t hpa = run + PAGE * (uint64_t)sim_choose(SIM_CHOICE_WORKLOAD, 512);
		const unsigned int prot = i % 2 != 0 ? PMAP_PROT_RW : PMAP_PROT_R;

		if (n % 1500 == 1499) {
			host_iommu_flush(s.domain[0]);
			stale = 0;
		} else if (model[i] == 0) {
			HOST_ASSERT(!host_iommu_map(s.domain[0], GPA + i * PAGE, hpa, PAGE, prot));
			model[i] = hpa;
			mapped++;
		} else {
			host_iommu_unmap(s.domain[0], GPA + i * PAGE, PAGE);
			model[i] = 0;
			mapped--;
			stale += attached;
		}
		if (n % 100 != 0)
			continue;
		s.pages = s.stale = 0;
		sim_iommu_foreach(s.domain[0], count_pages, model);
		HOST_ASSERT(s.pages == mapped && s.stale == stale && s.wrong == 0);
	}
	if (attached)
		host_iommu_detach(s.domain[0], 7);
	host_iommu_destroy(s.domain[0]);
	host_page_free(run, 9);
}

Test(vm_device_sim, domains_know_their_pages)
{
	for (int attached = 0; attached < 2; attached++) {
		struct sim_config cfg = devices(1, 11);
		bool with = attached == 1;
		struct sim_report r = run(&cfg, (program_fn[]){map_at_random}, &with);

		assert_passed(r);
	}
}

static void
misuse_iommu(void *arg)
{
	const int how = *(int *)arg;
	struct host_iommu **d = s.domain;

	take_frames(2);
	HOST_ASSERT(host_iommu_create(&d[0]) == 0 && host_iommu_create(&d[1]) == 0);
	HOST_ASSERT(host_iommu_map(d[0], GPA, s.frames[0], PAGE, PMAP_PROT_RW) == 0);
	HOST_ASSERT(host_iommu_attach(d[0], 0) == 0);
	switch (how) {
	case 0:
		host_iommu_map(d[0], GPA, s.frames[1], PAGE, PMAP_PROT_RW);
		break;
	case 1:
		host_iommu_unmap(d[0], GPA + PAGE, PAGE);
		break;
	case 2:
		host_iommu_map(d[0], GPA + PAGE, sim_canary(), PAGE, PMAP_PROT_RW);
		break;
	case 3:
		host_iommu_map(NULL, s.frames[0], s.frames[0], PAGE, PMAP_PROT_RW);
		break;
	case 4:
		host_iommu_unmap(NULL, s.frames[1], PAGE);
		host_iommu_map(NULL, s.frames[1], s.frames[0], PAGE, PMAP_PROT_RW);
		break;
	case 5:
		host_iommu_unmap(NULL, s.frames[1], PAGE);
		host_iommu_unmap(NULL, s.frames[1], PAGE);
		break;
	case 6:
		host_iommu_destroy(d[0]);
		break;
	case 7:
		host_iommu_detach(d[1], 0);
		break;
	case 8:
		host_iommu_destroy(d[1]);
		host_iommu_flush(d[1]);
		break;
	case 9:
		host_iommu_map(d[0], GPA + 8, s.frames[1], PAGE, PMAP_PROT_RW);
		break;
	case 10:
		host_iommu_map(d[0], GPA + PAGE, s.frames[1], PAGE, 0);
		break;
	case 11:
		host_page_free(s.frames[0], 0);
		break;
	case 12: /* unmapped, not flushed */
		host_iommu_unmap(d[0], GPA, PAGE);
		host_page_free(s.frames[0], 0);
		break;
	case 13: /* cached while a device was there, which another device can use */
		host_iommu_detach(d[0], 0);
		host_iommu_unmap(d[0], GPA, PAGE);
		host_page_free(s.frames[0], 0);
		break;
	case 14:
		host_iommu_unmap(NULL, s.frames[1], PAGE);
		host_iommu_flush(NULL);
		host_page_free(s.frames[1], 0);
		break;
	case 15:
		host_epoch_enter();
		host_iommu_flush(d[0]);
		break;
	default:
		host_iommu_attach(NULL, 1);
	}
}

Test(vm_device_sim, misuse_of_the_iommu_is_found)
{
	static const char *const expected[][2] = {
		{"CK-IOMMU", "and is mapped already"},
		{"CK-IOMMU", "and is not mapped"},
		{"CK-IOMMU", "which is no data frame"},
		{"CK-IOMMU", "and does so already"},
		{"CK-IOMMU", "which is not the same"},
		{"CK-IOMMU", "and does not map it"},
		{"CK-IOMMU", "with 1 devices in it"},
		{"CK-IOMMU", "from a domain that it is not in"},
		{"CK-IOMMU", "a domain that was destroyed"},
		{"CK-IOMMU", "host_iommu_map() of"},
		{"CK-IOMMU", "for no access"},
		{"CK-IOMMU", "is freed while a guest's domain maps it"},
		{"CK-IOMMU", "is freed while a guest's domain maps it"},
		{"CK-IOMMU", "is freed while a guest's domain maps it"},
		{"CK-IOMMU", "is freed while the host's domain lacks it"},
		{"CK-SCHED", "inside an epoch section"},
		{"CK-IOMMU", "of the host's domain"},
	};

	for (int how = 0; how < (int)(sizeof expected / sizeof expected[0]); how++) {
		struct sim_config cfg = devices(1, 1);
		struct sim_report r = run(&cfg, (program_fn[]){misuse_iommu}, &how);

		assert_violation(r, expected[how][0], expected[how][1]);
		if (how >= 11 && how < 15)
			cr_assert_str_eq(r.sr_invariant, "I37");
	}
}

static void
leave_iommu(void *arg)
{
	const int how = *(int *)arg;
	hpa_t hpa;

	if (how == 0) {
		HOST_ASSERT(host_iommu_create(&s.domain[0]) == 0);
	} else if (how == 1) {
		hpa = sim_phys_limit() - PAGE;
		host_iommu_unmap(NULL, hpa, PAGE);
		HOST_ASSERT(sim_iommu_host_maps(hpa) && sim_iommu_host_missing() == 1);
		host_iommu_flush(NULL);
		HOST_ASSERT(!sim_iommu_host_maps(hpa) && sim_iommu_host_maps(hpa - PAGE));
	} else {
		HOST_ASSERT(host_iommu_create(&s.domain[0]) == -ENXIO);
	}
}

Test(vm_device_sim, what_is_left_is_found)
{
	for (int how = 0; how < 3; how++) {
		struct sim_config cfg = devices(1, 1);
		cfg.sc_iommu = how != 2;
		struct sim_machine *m = machine(&cfg);
		struct sim_report r = run_on(m, (program_fn[]){leave_iommu}, &how);

		assert_passed(r);
		sim_machine_check_leaks(m, &r);
		sim_machine_destroy(m);
		if (how == 2)
			assert_passed(r);
		else
			assert_violation(r, "CK-LEAK",
					 how == 0 ? "1 IOMMU domains" : "1 frames were not given");
	}
}

/* ---- Devices --------------------------------------------------------------------------------- */

static void
on_dma(void *arg, unsigned int device, uint64_t gpa, uint64_t hpa, bool write)
{
	(void)arg;
	const uint64_t i = (gpa - GPA) / PAGE;

	s.dma[write]++;
	s.wrong += device != 3 && device != 4;
	s.wrong += sim_iommu_of_device(device) != s.domain[0];
	s.wrong += i >= 4 || gpa % 8 != 0 || (hpa ^ gpa) % PAGE != 0;
	s.wrong += i < 4 && hpa / PAGE != s.frames[i] / PAGE;
	s.wrong += write && i % 2 == 0; /* read-only */
	if (write)
		sim_data_store(hpa, gpa);
	else
		s.wrong += sim_data_load(hpa) != 0 && sim_data_load(hpa) != gpa;
	/* The fourth page is unmapped later on, and then flushed. */
	s.stale += i == 3 && host_load(&s.over) == 1;
	s.wrong += i == 3 && host_load(&s.over) == 2;
}

static void
let_pass(unsigned int points)
{
	while (points-- > 0)
		sim_point(SIM_USER, NULL);
}

static void
own_devices(void *arg)
{
	(void)arg;
	struct host_iommu **d = s.domain;

	take_frames(5);
	HOST_ASSERT(host_iommu_create(&d[0]) == 0 && host_iommu_create(&d[1]) == 0);
	for (unsigned int i = 0; i < 4; i++)
		HOST_ASSERT(!host_iommu_map(d[0], GPA + i * PAGE, s.frames[i], PAGE,
					    i % 2 != 0 ? PMAP_PROT_RW : PMAP_PROT_R));
	HOST_ASSERT(!host_iommu_map(d[1], GPA, s.frames[4], PAGE, PMAP_PROT_RW));
	sim_set_dma_hook(on_dma, NULL);
	let_pass(200);
	HOST_ASSERT(s.dma[0] + s.dma[1] == 0); /* no device is anywhere */
	HOST_ASSERT(!host_iommu_attach(d[0], 3) && !host_iommu_attach(d[0], 4));
	HOST_ASSERT(host_iommu_attach(d[1], 8) == -ENOENT);
	let_pass(400);
	host_iommu_unmap(d[0], GPA + 3 * PAGE, PAGE);
	host_xchg(&s.over, 1);
	let_pass(200);
	host_iommu_flush(d[0]);
	host_xchg(&s.over, 2);
	host_page_free(s.frames[3], 0);
	let_pass(200);
	host_iommu_detach(d[0], 3);
	host_iommu_detach(d[0], 4);
	const uint64_t before = s.dma[0] + s.dma[1];
	let_pass(200);
	HOST_ASSERT(s.dma[0] + s.dma[1] == before);
	HOST_ASSERT(sim_iommu_domains() == 2);
	host_iommu_destroy(d[0]);
	host_iommu_destroy(d[1]);
	HOST_ASSERT(sim_iommu_domains() == 0);
	for (unsigned int i = 0; i < 5; i++) {
		if (i != 3)
			host_page_free(s.frames[i], 0);
	}
}

Test(vm_device_sim, devices_reach_what_they_can)
{
	uint64_t stale = 0;
	uint64_t dma[2] = {0};

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim_config cfg = devices(1, seed);
		struct sim_machine *m = machine(&cfg);
		struct sim_report r = run_on(m, (program_fn[]){own_devices}, NULL);

		assert_passed(r);
		sim_machine_check_leaks(m, &r);
		sim_machine_destroy(m);
		assert_passed(r);
		cr_assert_eq(s.wrong, 0);
		cr_assert_leq(s.stale, r.sr_counters.ct_dma_stale);
		for (int i = 0; i < 2; i++) {
			cr_assert_eq(s.dma[i], r.sr_counters.ct_dma[i]);
			dma[i] += s.dma[i];
		}
		stale += s.stale;
	}
	cr_assert(dma[0] > 500 && dma[1] > 150, "%d, %d", (int)dma[0], (int)dma[1]);
	cr_assert_gt(stale, 60, "%d", (int)stale);
}

/*
 * Intel VT-d 6.5.2: an invalidation is over when its wait descriptor is written, and takes effect
 * at some time before. Until then a device may use what was unmapped, however late that is.
 */
Test(vm_device_sim, a_late_flush_leaves_what_is_stale_within_reach)
{
	uint64_t stale[2] = {0};

	for (uint64_t seed = 1; seed <= 20; seed++) {
		for (unsigned int late = 0; late < 2; late++) {
			struct sim_config cfg = devices(1, seed);
			struct sim_report r;

			cfg.sc_fault_ppm[SIM_FAULT_FLUSH_LATE] = late * 1000000;
			r = run(&cfg, (program_fn[]){own_devices}, NULL);
			assert_passed(r);
			cr_assert_eq(r.sr_counters.ct_faults[SIM_FAULT_FLUSH_LATE], late);
			stale[late] += r.sr_counters.ct_dma_stale;
		}
	}
	cr_assert_gt(stale[1], 2 * stale[0], "%d and %d", (int)stale[1], (int)stale[0]);
}

/* The same run twice, with all devices at work. */
static void
everything(void *arg)
{
	hpa_t frames[4];
	const uint64_t slot = sim_cpu() * 4;

	(void)arg;
	for (unsigned int n = 0; n < 20; n++) {
		for (unsigned int i = 0; i < 4; i++) {
			HOST_ASSERT(host_page_alloc(&frames[i], 0));
			host_page_zero(frames[i]);
			sim_data_store(frames[i], n);
		}
		host_swap_write(slot, frames, 4);
		host_swap_read(slot, frames, 4);
		for (unsigned int i = 0; i < 4; i++) {
			HOST_ASSERT(sim_data_load(frames[i]) == n);
			host_page_free(frames[i], 0);
		}
	}
	if (sim_cpu() == 0)
		own_devices(NULL);
}

Test(vm_device_sim, runs_repeat)
{
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct sim_report r[2];

		for (int i = 0; i < 2; i++) {
			struct sim_config cfg = devices(3, seed);
			r[i] = run(&cfg, (program_fn[]){everything, everything, everything}, NULL);
			assert_passed(r[i]);
		}
		cr_assert_eq(r[0].sr_hash, r[1].sr_hash);
		cr_assert_eq(r[0].sr_step, r[1].sr_step);
	}
}
