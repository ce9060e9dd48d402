/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the POSIX host of vmspace promises beyond the contract (vmspace/posix/host_vm_posix.h).
 */

#include "tests/unit/world.h"
#include "vmspace/posix/host_vm_posix.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)
#define SMALL (4 * MIB)
#define GPA ((gpa_t)0x10000)

/* ---- Memory ---------------------------------------------------------------------------------- */

Test(vm_host_posix, memory_has_a_size)
{
	hpa_t hpa;

	world_begin(NULL);
	CHECK(host_vm_posix_set_memory(0) == -EINVAL);
	CHECK(host_vm_posix_set_memory(MIB) == -EINVAL);
	CHECK(host_vm_posix_set_memory(SMALL) == 0);
	CHECK(host_vm_posix_memory_pages() == SMALL / HOST_PAGE_SIZE);
	CHECK(host_page_alloc(&hpa, 0));
	CHECK(host_vm_posix_set_memory(SMALL * 2) == -EBUSY);
	CHECK(host_vm_posix_page_known(hpa));
	CHECK(!host_vm_posix_page_known(hpa + 1));
	CHECK(!host_vm_posix_page_known(HOST_VM_POSIX_MEMORY_START + SMALL));
	CHECK(!host_vm_posix_page_known(0));
	host_page_free(hpa, 0);
	CHECK(!host_vm_posix_page_known(hpa));
	CHECK(host_vm_posix_set_memory(HOST_VM_POSIX_MEMORY_BYTES) == 0);
	CHECK(host_vm_posix_memory_pages() == HOST_VM_POSIX_MEMORY_BYTES / HOST_PAGE_SIZE);
	world_end();
}

/* All of it can be had, in pieces of any size, and it grows together again. */
Test(vm_host_posix, memory_is_used_up_and_heals)
{
	static hpa_t pages[SMALL / HOST_PAGE_SIZE];
	const unsigned int npages = SMALL / HOST_PAGE_SIZE;
	hpa_t run;

	world_begin(NULL);
	CHECK(host_vm_posix_set_memory(SMALL) == 0);
	for (unsigned int order = 0; order <= HOST_VM_POSIX_ORDER_MAX; order += 3) {
		unsigned int n = 0;

		while (n < npages && host_page_alloc(&pages[n], order)) {
			CHECK(pages[n] >= HOST_VM_POSIX_MEMORY_START);
			CHECK(pages[n] < HOST_VM_POSIX_MEMORY_START + SMALL);
			n++;
		}
		CHECK(n == npages >> order);
		CHECK(!host_page_alloc(&run, 0));
		CHECK(host_vm_posix_pages_in_use() == npages);
		for (unsigned int k = 0; k < n; k++)
			host_page_free(pages[(k * 7 + 3) % n], order);
		CHECK(host_vm_posix_pages_in_use() == 0);
	}
	CHECK(host_page_alloc(&run, HOST_VM_POSIX_ORDER_MAX));
	CHECK(host_page_alloc(&pages[0], HOST_VM_POSIX_ORDER_MAX));
	for (unsigned int k = 0; k < 1 << HOST_VM_POSIX_ORDER_MAX; k += 2)
		host_page_free(run + k * HOST_PAGE_SIZE, 0);
	CHECK(!host_page_alloc(&pages[1], 1)); /* half is free, and no two of it together */
	for (unsigned int k = 1; k < 1 << HOST_VM_POSIX_ORDER_MAX; k += 2)
		host_page_free(run + k * HOST_PAGE_SIZE, 0);
	CHECK(host_page_alloc(&run, HOST_VM_POSIX_ORDER_MAX));
	host_page_free(run, HOST_VM_POSIX_ORDER_MAX);
	host_page_free(pages[0], HOST_VM_POSIX_ORDER_MAX);
	CHECK(host_vm_posix_set_memory(HOST_VM_POSIX_MEMORY_BYTES) == 0);
	world_end();
}

Test(vm_host_posix, failures_cover_every_kind)
{
	struct host_iommu *d = NULL;
	hpa_t page, table;

	world_begin(NULL);
	CHECK(host_page_alloc(&page, 0));
	for (unsigned int nth = 1; nth <= 5; nth++) {
		bool got;

		host_posix_fail_alloc(nth, false);
		got = host_table_alloc(&table);
		CHECK(got == (nth != 1));
		if (got)
			host_table_free(table);
		CHECK(host_iommu_create(&d) == (nth == 2 ? -ENOMEM : 0));
		if (nth == 2)
			CHECK(host_iommu_create(&d) == 0);
		CHECK(host_iommu_map(d, GPA, page, HOST_PAGE_SIZE, PMAP_PROT_R) ==
		      (nth == 3 ? -ENOMEM : 0));
		if (nth == 3)
			CHECK(host_iommu_map(d, GPA, page, HOST_PAGE_SIZE, PMAP_PROT_R) == 0);
		CHECK(host_iommu_attach(d, 0) == (nth == 4 ? -ENOMEM : 0));
		if (nth == 4)
			CHECK(host_iommu_attach(d, 0) == 0);
		got = host_page_alloc(&table, 0);
		CHECK(got == (nth != 5));
		if (got)
			host_page_free(table, 0);
		CHECK(host_posix_failed_allocs() == 1);
		host_iommu_detach(d, 0);
		host_iommu_destroy(d);
	}
	/* Giving frames back to the host's domain is no allocation. */
	host_posix_fail_alloc(1, true);
	host_iommu_unmap(NULL, page, HOST_PAGE_SIZE);
	CHECK(host_iommu_map(NULL, page, page, HOST_PAGE_SIZE, PMAP_PROT_RW) == 0);
	host_posix_fail_alloc(0, false);
	host_page_free(page, 0);
	world_end();
}

#if PMAP_CHECK >= 1 && !(defined(PMAP_VALGRIND) && PMAP_VALGRIND)

/* Fresh or freed, a page is never full of zeros by chance. */
Test(vm_host_posix, pages_come_with_poison)
{
	uint64_t word = 0;
	hpa_t hpa;

	world_begin(NULL);
	for (unsigned int n = 0; n < 2; n++) {
		CHECK(host_page_alloc(&hpa, 0));
		host_page_read(hpa, 8, &word, sizeof(word));
		CHECK(word == UINT64_C(0xdbdbdbdbdbdbdbdb));
		host_page_zero(hpa);
		host_page_free(hpa, 0);
	}
	world_end();
}

#endif

/* ---- Swap ------------------------------------------------------------------------------------ */

Test(vm_host_posix, swap_counts_and_spoils)
{
	struct host_vm_posix_swap_stats before, after;
	hpa_t frames[4];
	char byte;

	world_begin(NULL);
	CHECK(host_vm_posix_set_swap(0) == 0);
	CHECK(host_swap_slots() == 0);
	CHECK(host_vm_posix_set_swap(UINT64_MAX) == -ENOMEM);
	CHECK(host_vm_posix_set_swap(10) == 0);
	CHECK(host_swap_slots() == 10);
	for (unsigned int k = 0; k < 4; k++) {
		CHECK(host_page_alloc(&frames[k], 0));
		host_page_zero(frames[k]);
	}
	host_vm_posix_swap_stats(&before);
	CHECK(host_swap_write(6, frames, 4) == 0);
	host_vm_posix_fail_swap(HOST_VM_POSIX_READ | HOST_VM_POSIX_WRITE, 2, false);
	CHECK(host_swap_read(6, frames, 4) == 0);
	CHECK(host_swap_write(6, frames, 4) == -EIO);
	CHECK(host_swap_read(6, frames, 4) == 0);
	for (unsigned int k = 0; k < 4; k++) {
		host_page_read(frames[k], 77, &byte, 1);
		CHECK((byte == 0) == (k < 2));
	}
	host_vm_posix_fail_swap(HOST_VM_POSIX_WRITE, 1, true);
	CHECK(host_swap_read(6, frames, 1) == 0);
	CHECK(host_swap_write(6, frames, 1) == -EIO);
	CHECK(host_swap_write(6, frames, 1) == -EIO);
	host_vm_posix_fail_swap(0, 0, false);
	CHECK(host_swap_write(6, frames, 1) == 0);
	host_vm_posix_swap_stats(&after);
	CHECK(after.ss_reads - before.ss_reads == 3);
	CHECK(after.ss_writes - before.ss_writes == 5);
	CHECK(after.ss_pages_read - before.ss_pages_read == 9);
	CHECK(after.ss_pages_written - before.ss_pages_written == 7);
	CHECK(after.ss_failed - before.ss_failed == 3);
	for (unsigned int k = 0; k < 4; k++)
		host_page_free(frames[k], 0);
	CHECK(host_vm_posix_set_swap(HOST_VM_POSIX_SWAP_SLOTS) == 0);
	world_end();
}

/* ---- IOMMU ----------------------------------------------------------------------------------- */

struct seen {
	unsigned int se_pages;
	uint64_t se_gpas;
	hpa_t se_last;
	unsigned int se_prot;
};

static void
see(void *arg, gpa_t gpa, hpa_t hpa, unsigned int prot)
{
	struct seen *s = arg;

	s->se_pages++;
	s->se_gpas += gpa >> HOST_PAGE_SHIFT;
	s->se_last = hpa;
	s->se_prot |= prot;
}

static struct seen
look(struct host_iommu *d, bool stale)
{
	struct seen s = {0};

	host_vm_posix_iommu_foreach(d, stale, see, &s);
	return s;
}

Test(vm_host_posix, devices_reach_what_is_mapped)
{
	char text[16] = "fifteen letters";
	struct host_iommu *d;
	hpa_t a = 0, b = 0;

	world_begin(NULL);
	CHECK(host_page_alloc(&a, 0) && host_page_alloc(&b, 0));
	host_page_zero(a);
	host_page_zero(b);
	CHECK(host_vm_posix_iommu_domain(1) == NULL);
	CHECK(host_vm_posix_dma_write(1, a + 100, text, 16) == 0); /* 1:1 */
	CHECK(host_vm_posix_dma_write(HOST_VM_POSIX_DEVICES, a, text, 16) == -ENOENT);
	CHECK(host_vm_posix_dma_write(1, HOST_VM_POSIX_MEMORY_START - 4096, text, 1) == -EFAULT);
	host_iommu_unmap(NULL, a, HOST_PAGE_SIZE);
	host_iommu_flush(NULL);
	CHECK(host_vm_posix_iommu_hidden() == 1);
	CHECK(!host_vm_posix_iommu_host_maps(a) && host_vm_posix_iommu_host_maps(b));
	CHECK(host_vm_posix_dma_read(1, a + 100, text, 16) == -EFAULT);

	CHECK(host_iommu_create(&d) == 0);
	CHECK(host_iommu_map(d, GPA, a, HOST_PAGE_SIZE, PMAP_PROT_RW) == 0);
	CHECK(host_iommu_map(d, GPA + HOST_PAGE_SIZE, b, HOST_PAGE_SIZE, PMAP_PROT_R) == 0);
	CHECK(host_iommu_attach(d, 1) == 0);
	CHECK(host_vm_posix_iommu_domain(1) == d);
	memset(text, 0, sizeof(text));
	CHECK(host_vm_posix_dma_read(1, GPA + 100, text, 16) == 0);
	CHECK(strcmp(text, "fifteen letters") == 0);
	CHECK(host_vm_posix_dma_write(1, GPA + 4090, text, 16) == -EFAULT); /* the rest is R */
	CHECK(host_vm_posix_dma_read(1, GPA + 4090, text, 16) == 0);
	CHECK(memcmp(text, "fiftee\0\0\0\0\0\0\0\0\0", 16) == 0);

	host_iommu_unmap(d, GPA, HOST_PAGE_SIZE);
	CHECK(look(d, true).se_pages == 1 && look(d, true).se_last == a);
	CHECK(look(d, false).se_pages == 1 && look(d, false).se_last == b);
	CHECK(host_vm_posix_iommu_pages() == 1);
	CHECK(host_vm_posix_dma_read(1, GPA, text, 1) == 0); /* until the flush */
	host_iommu_flush(d);
	CHECK(look(d, true).se_pages == 0);
	CHECK(host_vm_posix_dma_read(1, GPA, text, 1) == -EFAULT);
	host_iommu_detach(d, 1);
	CHECK(host_vm_posix_dma_read(1, GPA + HOST_PAGE_SIZE, text, 1) == -EFAULT);
	host_iommu_destroy(d); /* with what is left in it */
	CHECK(host_vm_posix_iommu_pages() == 0 && host_vm_posix_iommu_domains() == 0);
	CHECK(host_iommu_map(NULL, a, a, HOST_PAGE_SIZE, PMAP_PROT_RW) == 0);
	CHECK(host_vm_posix_iommu_hidden() == 0);
	host_page_free(a, 0);
	host_page_free(b, 0);
	world_end();
}

/* Against a model: mapped, stale or neither, in a table that grows and shrinks. */
Test(vm_host_posix, domains_are_exact)
{
	enum { PAGES = 700 };
	static bool mapped[PAGES];
	struct host_iommu *d;
	uint64_t random = 1;
	hpa_t run;

	world_begin(NULL);
	CHECK(host_page_alloc(&run, HOST_VM_POSIX_ORDER_MAX));
	CHECK(host_iommu_create(&d) == 0);
	memset(mapped, 0, sizeof(mapped));
	for (unsigned int n = 0; n < 6000; n++) {
		unsigned int k;
		gpa_t gpa;

		random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
		k = (unsigned int)(random >> 33) % PAGES;
		gpa = (uint64_t)k * 513 << HOST_PAGE_SHIFT;
		if (mapped[k])
			host_iommu_unmap(d, gpa, HOST_PAGE_SIZE);
		else
			CHECK(host_iommu_map(d, gpa, run + k % 512 * HOST_PAGE_SIZE, HOST_PAGE_SIZE,
					     PMAP_PROT_RWX) == 0);
		mapped[k] = !mapped[k];
		if (n % 97 == 0)
			host_iommu_flush(d);
		if (n % 300 == 299) {
			struct seen s = look(d, false);
			uint64_t gpas = 0;
			unsigned int pages = 0;

			for (k = 0; k < PAGES; k++) {
				pages += mapped[k];
				gpas += mapped[k] ? (uint64_t)k * 513 : 0;
			}
			CHECK(s.se_pages == pages && s.se_gpas == gpas);
			CHECK(host_vm_posix_iommu_pages() == pages);
		}
	}
	host_iommu_flush(d);
	CHECK(look(d, true).se_pages == 0);
	CHECK(look(d, false).se_prot == PMAP_PROT_RWX);
	host_iommu_destroy(d);
	host_page_free(run, HOST_VM_POSIX_ORDER_MAX);
	world_end();
}

Test(vm_host_posix, without_an_iommu)
{
	struct host_iommu *d;

	world_begin(NULL);
	host_vm_posix_set_iommu(false);
	CHECK(host_iommu_create(&d) == -ENXIO);
	host_vm_posix_set_iommu(true);
	CHECK(host_iommu_create(&d) == 0);
	host_iommu_destroy(d);
	world_end();
}

/* ---- Interrupts ------------------------------------------------------------------------------ */

static void *
interrupt_self(void *arg)
{
	unsigned int *cpu = arg;

	*cpu = host_cpu();
	CHECK(!host_interrupted());
	host_vm_posix_interrupt(*cpu, true);
	CHECK(host_interrupted());
	return NULL;
}

Test(vm_host_posix, an_interrupt_ends_with_its_thread)
{
	unsigned int cpus[2];

	world_begin(NULL);
	for (unsigned int n = 0; n < 2; n++) {
		pthread_t thread;

		cr_assert_eq(pthread_create(&thread, NULL, interrupt_self, &cpus[n]), 0);
		pthread_join(thread, NULL);
	}
	CHECK(cpus[0] == cpus[1]);
	CHECK(!host_interrupted());
	world_end();
}
