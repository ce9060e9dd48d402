/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Holds: the pages stay what and where they are, whatever becomes of maps, segments and the guest;
 * what is held for writing is dirty while it is held and when it is released; all or nothing.
 */

#include "tests/unit/vm_fixture.h"

#include <string.h>

#define RAM (16 * MIB)

static void
hold(struct vm_hold *h, struct vf *x, gpa_t gpa, uint64_t len, unsigned int prot)
{
	vf_errno(vm_gpa_hold(x->vf_vs, gpa, len, prot, h, NULL), 0);
	vf_assert(h->vh_len_bytes == len && h->vh_offset == gpa % PAGE && h->vh_prot == prot);
	vf_assert(h->vh_npages == (gpa % PAGE + len + PAGE - 1) / PAGE);
}

static uint64_t
held_word(const struct vm_hold *h, uint64_t offset)
{
	uint64_t word;

	vm_hold_read(h, offset, &word, sizeof(word));
	return word;
}

/* ---- What is held ---------------------------------------------------------------------------- */

static void
one_page(struct vf *x)
{
	struct vm_page_info pi;
	struct vm_hold r;
	struct vm_hold w;
	hpa_t hpa;

	vf_segment(x, 0, 8, NULL);
	vf_map(x, RAM, 0, 0, 8, PMAP_PROT_RW);
	vf_poke(x, RAM, 7);
	hold(&r, x, RAM, 8, PMAP_PROT_R);
	vf_assert(held_word(&r, 0) == 7);
	pi = vf_info(x, RAM);
	vf_assert(pi.pi_holds == 1 && pi.pi_write_holds == 0 && pi.pi_wirings == 0);
	vf_assert(pi.pi_hpa == r.vh_pages[0].hp_hpa);
	hold(&w, x, RAM + PAGE - 8, 8, PMAP_PROT_RW);
	vf_assert(held_word(&w, 0) == 7);
	pi = vf_info(x, RAM);
	vf_assert(pi.pi_holds == 2 && pi.pi_write_holds == 1);
	vf_assert(vf_touch(x, RAM, PMAP_PROT_R, &hpa, NULL) == 0 && hpa == pi.pi_hpa);
	vf_check(x);
	vm_gpa_release(&r);
	pi = vf_info(x, RAM);
	vf_assert(pi.pi_holds == 1 && pi.pi_write_holds == 1);
	vm_gpa_release(&w);
	pi = vf_info(x, RAM);
	vf_assert(pi.pi_holds == 0 && pi.pi_write_holds == 0);
	vf_assert(vf_stats(x).vt_holds == 2);
	/* Holding alone maps nothing. */
	hold(&w, x, RAM + 4 * PAGE, PAGE, PMAP_PROT_RW);
	vf_assert(!vf_walk(x, RAM + 4 * PAGE, PMAP_PROT_R, &hpa));
	vm_gpa_release(&w);
	vf_verify(x);
}

Test(vm_hold, one_page)
{
	vf_each(NULL, one_page);
}

/* Of any length and alignment, across maps of several segments. */
static void
crossing(struct vf *x)
{
	char bytes[5 * PAGE];
	char back[5 * PAGE];
	struct vm_hold h;

	vf_segment(x, 0, 8, NULL);
	vf_segment(x, 1, 8, "framebuffer");
	vf_map(x, RAM, 0, 4, 2, PMAP_PROT_RW);
	vf_map(x, RAM + 2 * PAGE, 1, 1, 2, PMAP_PROT_RW);
	vf_map(x, RAM + 4 * PAGE, 0, 0, 3, PMAP_PROT_RWX);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 7 + i / 256);

	hold(&h, x, RAM + 100, sizeof(bytes), PMAP_PROT_RW);
	vf_assert(h.vh_npages == 6);
	for (unsigned int i = 0; i < 6; i++)
		vf_assert(vf_info(x, RAM + i * PAGE).pi_write_holds == 1);
	vf_assert(vf_info(x, RAM + 6 * PAGE).pi_holds == 0);
	vm_hold_write(&h, 0, bytes, sizeof(bytes));
	memset(back, 0, sizeof(back));
	vm_hold_read(&h, 0, back, sizeof(back));
	vf_assert(memcmp(bytes, back, sizeof(back)) == 0);
	/* Parts of it, over a page's edge. */
	memset(back, 0, sizeof(back));
	vm_hold_read(&h, PAGE - 150, back, 300);
	vf_assert(memcmp(bytes + PAGE - 150, back, 300) == 0 && back[300] == 0);
	vm_hold_write(&h, 2 * PAGE - 3, "sixsix", 6);
	memcpy(bytes + 2 * PAGE - 3, "sixsix", 6);
	vm_gpa_release(&h);
	for (unsigned int i = 0; i < 7; i++)
		vf_assert(vf_info(x, RAM + i * PAGE).pi_holds == 0);

	uint64_t done = 0;

	vf_errno(vm_gpa_read(x->vf_vs, RAM + 100, back, sizeof(back), &done), 0);
	vf_assert(done == sizeof(back) && memcmp(bytes, back, sizeof(back)) == 0);
	vf_check(x);
}

Test(vm_hold, crossing)
{
	vf_each(NULL, crossing);
}

/* All or nothing: at a hole, at a right that is missing, at a window. */
static void
all_or_nothing(struct vf *x)
{
	struct vm_fault_record r;
	struct vm_hold h;

	vf_segment(x, 0, 16, NULL);
	vf_map(x, RAM, 0, 0, 4, PMAP_PROT_RW);
	vf_map(x, RAM + 4 * PAGE, 0, 4, 4, PMAP_PROT_R);
	vf_errno(vm_map_mmio(x->vf_vs, RAM + 8 * PAGE, 2 * PAGE, FX_HPA), 0);
	vf_errno(vm_gpa_hold(x->vf_vs, RAM + PAGE, 6 * PAGE, PMAP_PROT_RW, &h, &r), -EACCES);
	vf_assert(r.fr_reason == VM_FAULT_DENIED && r.fr_gpa == RAM + 4 * PAGE);
	vf_errno(vm_gpa_hold(x->vf_vs, RAM + PAGE, 8 * PAGE, PMAP_PROT_R, &h, &r), -EFAULT);
	vf_assert(r.fr_reason == VM_FAULT_WINDOW && r.fr_gpa == RAM + 8 * PAGE);
	vf_errno(vm_gpa_hold(x->vf_vs, RAM - 1, 2, PMAP_PROT_R, &h, &r), -EFAULT);
	vf_assert(r.fr_reason == VM_FAULT_UNMAPPED && r.fr_gpa == RAM - PAGE);
	for (unsigned int i = 0; i < 8; i++)
		vf_assert(vf_info(x, RAM + i * PAGE).pi_holds == 0);
	vf_errno(vm_gpa_hold(x->vf_vs, RAM + PAGE, 7 * PAGE, PMAP_PROT_R, &h, &r), 0);
	vm_gpa_release(&h);
	vf_verify(x);
}

Test(vm_hold, all_or_nothing)
{
	vf_each(NULL, all_or_nothing);
}

static void
by_segment(struct vf *x)
{
	struct vm_hold h;
	struct vm_hold g;

	vf_segment(x, 9, 4, "framebuffer");
	h = (struct vm_hold){0};
	vf_errno(vm_memseg_hold(x->vf_vs, 9, PAGE + 8, PAGE, PMAP_PROT_RW, &h), 0);
	vf_assert(h.vh_npages == 2 && held_word(&h, 0) == 0);
	vf_map(x, RAM, 9, 1, 2, PMAP_PROT_R);
	vf_assert(vf_info(x, RAM).pi_write_holds == 1 && vf_info(x, RAM + PAGE).pi_holds == 1);
	vm_hold_write(&h, 0, "pixels!", 8);
	hold(&g, x, RAM + 8, 8, PMAP_PROT_R);
	vf_assert(held_word(&g, 0) == held_word(&h, 0) && held_word(&g, 0) != 0);
	vm_gpa_release(&g);
	vm_gpa_release(&h);
	vf_errno(vm_memseg_hold(x->vf_vs, 9, 4 * PAGE, 1, PMAP_PROT_R, &h), -EINVAL);
	vf_errno(vm_memseg_hold(x->vf_vs, 9, 4 * PAGE - 1, 2, PMAP_PROT_R, &h), -EINVAL);
	vf_errno(vm_memseg_hold(x->vf_vs, 9, ~(uint64_t)0, 2, PMAP_PROT_R, &h), -EINVAL);
	vf_errno(vm_memseg_hold(x->vf_vs, 9, 1, ~(uint64_t)0, PMAP_PROT_R, &h), -EINVAL);
	vf_errno(vm_memseg_hold(x->vf_vs, 9, 4 * PAGE - 1, 1, PMAP_PROT_R, &h), 0);
	vm_gpa_release(&h);
}

Test(vm_hold, by_segment)
{
	vf_each(NULL, by_segment);
}

/* ---- What becomes of the rest ---------------------------------------------------------------- */

static void
survives_unmap(struct vf *x)
{
	struct vm_hold h;
	hpa_t hpa;

	vf_segment(x, 0, 16, NULL);
	vf_map(x, RAM, 0, 0, 16, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 16; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	hold(&h, x, RAM + 2 * PAGE, 3 * PAGE, PMAP_PROT_RW);
	vf_unmap(x, RAM, 16);
	vf_assert(!vf_walk(x, RAM + 2 * PAGE, PMAP_PROT_R, &hpa));
	vf_assert(held_word(&h, 0) == 3 && held_word(&h, 2 * PAGE) == 5);
	vf_pageout_all(x);
	vf_assert(held_word(&h, PAGE) == 4);
	vf_assert(vf_accounts(x).va_resident == 3); /* what is held does not go to swap */
	vm_hold_write(&h, 0, &(uint64_t){33}, 8);
	vm_hold_write(&h, PAGE - 8, &(uint64_t){33}, 8);
	vf_expect(x, 0, 2, 33);
	vf_map(x, 2 * RAM, 0, 0, 16, PMAP_PROT_RW);
	vf_assert(vf_peek(x, 2 * RAM + 2 * PAGE) == 33);
	vf_assert(vf_info(x, 2 * RAM + 2 * PAGE).pi_hpa == h.vh_pages[0].hp_hpa);
	vf_assert(vf_info(x, 2 * RAM + 2 * PAGE).pi_write_holds == 1);
	vm_gpa_release(&h);
	vf_swap_out(x, 2 * RAM + 2 * PAGE);
	vf_verify(x);
}

Test(vm_hold, survives_unmap)
{
	vf_each(NULL, survives_unmap);
}

/* Under a superpage, promoted, demoted, protected: the page does not move. */
static void
survives_tables(struct vf *x)
{
	struct pmap_gather g;
	struct vm_hold h;
	uint64_t moved = 0;

	vf_segment(x, 0, 1024, NULL);
	vf_map(x, RAM, 0, 0, 1024, PMAP_PROT_RWX);
	vf_poke(x, RAM + 5 * PAGE, 5);
	hold(&h, x, RAM + 5 * PAGE, PAGE, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 512; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	vf_errno(vm_protect_memmap(x->vf_vs, RAM, 1024 * PAGE, PMAP_PROT_R), 0);
	vf_assert(held_word(&h, 0) == 6);
	vf_errno(vm_protect_memmap(x->vf_vs, RAM, 1024 * PAGE, PMAP_PROT_RW), 0);
	pmap_gather_begin(&g, x->vf_pm);
	vf_errno(pmap_remove(x->vf_pm, 0, x->vf_limit, &g), 0);
	pmap_gather_finish(&g);
	vf_errno(vm_migrate(x->vf_vs, RAM, 8 * PAGE, &moved), 0);
	vf_assert(vf_info(x, RAM + 5 * PAGE).pi_hpa == h.vh_pages[0].hp_hpa);
	vf_assert(moved <= 7);
	vf_pageout_all(x);
	vf_assert(vf_accounts(x).va_resident == 1);
	vf_assert(vf_peek(x, RAM + 5 * PAGE) == 6);
	vm_gpa_release(&h);
	vf_check(x);
	vf_verify(x);
}

Test(vm_hold, survives_tables)
{
	vf_each(NULL, survives_tables);
}

static void
survives_segment(struct vf *x)
{
	struct vm_hold h;
	struct vm_hold again;

	vf_segment(x, 0, 16, NULL);
	vf_map(x, RAM, 0, 0, 16, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 16; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	hold(&h, x, RAM + 2 * PAGE, 3 * PAGE, PMAP_PROT_RW);
	hold(&again, x, RAM + 3 * PAGE, 8, PMAP_PROT_R);
	vf_unmap(x, RAM, 16);
	vf_free_segment(x, 0);
	/* The rest is gone, these are charged until they go. */
	vf_assert(vf_accounts(x).va_resident == 3 && host_vm_posix_pages_in_use() == 3);
	vf_check(x);
	vf_assert(held_word(&h, 0) == 3);
	vm_hold_write(&h, 2 * PAGE, "still here", 10);

	/* Another segment of that identity has nothing of it. */
	vf_segment(x, 0, 16, NULL);
	vf_map(x, RAM, 0, 0, 16, PMAP_PROT_RW);
	vf_assert(vf_peek(x, RAM + 2 * PAGE) == 0);
	vf_assert(vf_info(x, RAM + 2 * PAGE).pi_hpa != h.vh_pages[0].hp_hpa);
	vf_assert(held_word(&again, 0) == 4);
	vm_gpa_release(&h);
	host_epoch_drain();
	vf_assert(vf_accounts(x).va_resident == 2);
	vf_assert(held_word(&again, 0) == 4);
	vm_gpa_release(&again);
	vf_assert(vf_accounts(x).va_resident == 1);
	vf_check(x);
	vf_verify(x);
}

Test(vm_hold, survives_segment)
{
	vf_each(NULL, survives_segment);
}

static void
survives_guest(struct vf *x)
{
	struct vm_accounts va;
	struct vm_hold h;
	struct vm_hold dev;

	vf_segment(x, 0, 600, NULL);
	vf_segment(x, 1, 4, "bootrom");
	vf_map(x, RAM, 0, 0, 600, PMAP_PROT_RW);
	vf_map(x, 2 * RAM, 1, 0, 4, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 600; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	vf_poke(x, 2 * RAM, 9);
	hold(&h, x, RAM + 10 * PAGE, 3 * PAGE, PMAP_PROT_RW);
	vf_errno(vm_memseg_hold(x->vf_vs, 1, 0, PAGE, PMAP_PROT_R, &dev), 0);
	vf_destroy(x);
	va = vf_system_accounts(x);
	vf_assert(va.va_resident == 3 && va.va_devmem == 1 && va.va_tables == 0);
	vf_assert(va.va_slots == 0 && va.va_reserved == 0);
	vf_assert(host_vm_posix_pages_in_use() == 4);
	vf_assert(vm_mem_total(x->vf_sys) - vm_mem_free(x->vf_sys) == 4 * PAGE);
	vf_check(x);
	vf_assert(held_word(&h, 0) == 11 && held_word(&dev, 0) == 9);
	vm_hold_write(&h, PAGE, "of no guest", 11);
	vm_gpa_release(&dev);
	va = vf_system_accounts(x);
	vf_assert(va.va_resident == 3 && va.va_devmem == 0);
	vm_gpa_release(&h);
}

Test(vm_hold, survives_guest)
{
	vf_each(NULL, survives_guest);
}

/* Without holds nothing survives: no map, object or account is on its way out any more. */
static void
nothing_survives(struct vf *x)
{
	const struct vf_options o = x->vf_options;
	const uint64_t allocs = host_posix_allocs_in_use();
	struct vf y;

	vf_open_second(&y, x, x->vf_format->ff_name, &o);
	vf_segment(&y, 0, 8, NULL);
	vf_map(&y, RAM, 0, 0, 8, PMAP_PROT_RW);
	vf_poke(&y, RAM, 1);
	vf_destroy(&y);
	vf_assert(host_posix_allocs_in_use() == allocs);
	vf_assert(host_vm_posix_pages_in_use() == 0);
	vf_close(&y);
}

Test(vm_hold, nothing_survives)
{
	vf_each(NULL, nothing_survives);
}

/* The last hold goes, and the system at once: what is on its way out is waited for. */
Test(vm_hold, system_goes_at_once)
{
	struct vm_hold h;
	struct vf x;

	world_begin(NULL);
	vf_open(&x, "ept", NULL);
	vf_segment(&x, 0, 8, NULL);
	vf_map(&x, RAM, 0, 0, 8, PMAP_PROT_RW);
	hold(&h, &x, RAM, PAGE, PMAP_PROT_RW);
	vf_destroy(&x);
	vm_gpa_release(&h);
	vm_system_destroy(x.vf_sys);
	CHECK(host_posix_allocs_in_use() == 0);
	world_end();
}

/* A page that came from swap has its slot still: both go with the last hold. */
static void
survives_with_slot(struct vf *x)
{
	struct vm_hold read;
	struct vm_hold write;

	vf_segment(x, 0, 16, NULL);
	vf_map(x, RAM, 0, 0, 16, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 16; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	vf_pageout_all(x);
	vf_assert(vf_system_accounts(x).va_slots == 16);
	hold(&read, x, RAM + 3 * PAGE, PAGE, PMAP_PROT_R);
	hold(&write, x, RAM + 3 * PAGE, 2 * PAGE, PMAP_PROT_RW);
	vf_unmap(x, RAM, 16);
	vf_free_segment(x, 0);
	host_epoch_drain();
	vf_assert(vf_system_accounts(x).va_slots <= 2 && vf_accounts(x).va_swapped == 0);
	vf_check(x);
	vf_destroy(x);
	vf_check(x);
	vf_assert(held_word(&read, 0) == 4 && held_word(&write, PAGE) == 5);
	vm_gpa_release(&write);
	vf_assert(vf_system_accounts(x).va_resident == 1);
	vf_assert(held_word(&read, PAGE - 8) == 4);
	vm_gpa_release(&read);
}

Test(vm_hold, survives_with_slot)
{
	vf_each_swap(NULL, survives_with_slot);
}

/* ---- Dirty ----------------------------------------------------------------------------------- */

static bool
logged(struct vf *x, gpa_t gpa, enum vm_dirty_op op)
{
	uint64_t bits = 0;

	vf_errno(vm_dirty_log(x->vf_vs, gpa, PAGE, op, &bits), 0);
	vf_assert(bits <= 1);
	return bits != 0;
}

static void
dirty_while_held(struct vf *x)
{
	struct vm_hold h;

	vf_segment(x, 0, 8, NULL);
	vf_map(x, RAM, 0, 0, 8, PMAP_PROT_RW);
	vf_peek(x, RAM);
	vf_peek(x, RAM + PAGE);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	vf_assert(!logged(x, RAM, VM_DIRTY_CLEAR));

	hold(&h, x, RAM, 8, PMAP_PROT_R);
	vf_assert(!logged(x, RAM, VM_DIRTY_CLEAR));
	vm_gpa_release(&h);
	vf_assert(!logged(x, RAM, VM_DIRTY_CLEAR));

	hold(&h, x, RAM, 8, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 3; i++) {
		vf_assert(logged(x, RAM, VM_DIRTY_PEEK));
		vf_assert(logged(x, RAM, VM_DIRTY_GET));
		vf_assert(logged(x, RAM, VM_DIRTY_CLEAR));
	}
	vf_assert(!logged(x, RAM + PAGE, VM_DIRTY_CLEAR));
	vm_hold_write(&h, 0, "hello", 6);
	vf_assert(logged(x, RAM, VM_DIRTY_CLEAR));
	vm_gpa_release(&h);
	/* Once more for what was written since. */
	vf_assert(logged(x, RAM, VM_DIRTY_CLEAR));
	vf_assert(!logged(x, RAM, VM_DIRTY_CLEAR));
	vf_errno(vm_dirty_log_disable(x->vf_vs), 0);
}

Test(vm_hold, dirty_while_held)
{
	vf_each(NULL, dirty_while_held);
}

/* What was written through a hold only, and never by the guest, is not lost by pageout. */
static void
written_and_paged(struct vf *x)
{
	struct vm_hold h;

	vf_segment(x, 0, 64, NULL);
	vf_map(x, RAM, 0, 0, 64, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 64; i++)
		vf_write(x, RAM + i * PAGE, i + 1);
	vf_swap_out(x, RAM);
	vf_assert(vf_accounts(x).va_resident == 0 && vf_accounts(x).va_swapped == 64);
	/* In swap, read back clean, then held for writing. */
	vf_peek(x, RAM + 3 * PAGE);
	vf_assert(!vf_info(x, RAM + 3 * PAGE).pi_dirty);
	hold(&h, x, RAM + 3 * PAGE, PAGE, PMAP_PROT_W);
	vf_assert(vf_info(x, RAM + 3 * PAGE).pi_dirty);
	vm_hold_write(&h, 0, &(uint64_t){1000}, 8);
	vm_hold_write(&h, PAGE - 8, &(uint64_t){1000}, 8);
	vf_expect(x, 0, 3, 1000);
	vf_pageout_all(x);
	vf_assert(vf_info(x, RAM + 3 * PAGE).pi_resident);
	vm_gpa_release(&h);
	vf_assert(vf_info(x, RAM + 3 * PAGE).pi_dirty);
	vf_swap_out(x, RAM + 3 * PAGE);
	vf_verify(x);
}

Test(vm_hold, written_and_paged)
{
	vf_each(NULL, written_and_paged);
}

/* ---- Copies ---------------------------------------------------------------------------------- */

static void
copies(struct vf *x)
{
	uint64_t words[3 * PAGE / 8];
	uint64_t done;

	vf_segment(x, 0, 8, NULL);
	vf_map(x, RAM, 0, 0, 2, PMAP_PROT_RW);
	vf_map(x, RAM + 2 * PAGE, 0, 2, 1, PMAP_PROT_R);
	for (unsigned int i = 0; i < 3 * PAGE / 8; i++)
		words[i] = i + 1;
	done = 99;
	vf_errno(vm_gpa_write(x->vf_vs, RAM + 24, words, 3 * PAGE - 24, &done), -EACCES);
	vf_assert(done == 2 * PAGE - 24);
	memset(words, 0, sizeof(words));
	done = 99;
	vf_errno(vm_gpa_read(x->vf_vs, RAM, words, sizeof(words), &done), 0);
	vf_assert(done == sizeof(words));
	for (unsigned int i = 0; i < 3 * PAGE / 8; i++)
		vf_assert(words[i] == (i < 3 || i >= 2 * PAGE / 8 ? 0 : i - 2));
	done = 99;
	vf_errno(vm_gpa_read(x->vf_vs, RAM + PAGE, words, 3 * PAGE, &done), -EFAULT);
	vf_assert(done == 2 * PAGE);
	done = 99;
	vf_errno(vm_gpa_read(x->vf_vs, RAM + 5, words, 0, &done), 0);
	vf_assert(done == 0);
	vf_check(x);
}

Test(vm_hold, copies)
{
	vf_each(NULL, copies);
}

/* Many at once, released in another order. */
static void
many(struct vf *x)
{
	struct vm_hold h[100];

	vf_segment(x, 0, 40, NULL);
	vf_map(x, RAM, 0, 0, 40, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 100; i++)
		vf_errno(vm_gpa_hold(x->vf_vs, RAM + i % 37 * PAGE + i, (1 + i % 3) * PAGE,
				     i % 2 ? PMAP_PROT_R : PMAP_PROT_RW, &h[i], NULL),
			 0);
	vf_check(x);
	vf_assert(vf_pageout_all(x) == 0);
	for (unsigned int i = 0; i < 100; i++)
		vm_gpa_release(&h[i * 37 % 100]);
	for (unsigned int i = 0; i < 40; i++) {
		vf_assert(vf_info(x, RAM + i * PAGE).pi_holds == 0);
		vf_assert(vf_info(x, RAM + i * PAGE).pi_write_holds == 0);
	}
	vf_assert(vf_pageout_all(x) > 0);
	vf_verify(x);
}

Test(vm_hold, many)
{
	vf_each(NULL, many);
}
