/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Copies between the host and guest memory, by guest-physical and by guest-linear addresses.
 *
 * An instruction either happens or it does not, so the range of an operand is made ready first: all
 * pages are translated and held before the guest's tables get their accessed and dirty flags, and
 * these before a byte is copied. From then on nothing can fail. Pages whose flags were missing are
 * translated a second time, which sets them; if the guest has mapped something else there
 * meanwhile, all is done again.
 */

#include "vmspace/vm_gla.h"
#include "vmspace/vm_host.h"

/* How often the guest may change its mind; then the instruction is to be started anew. */
#define ROUNDS 8

/* ---- By guest-physical address --------------------------------------------------------------- */

/* How many of len bytes from an address on lie in its page. */
static uint64_t
in_page(uint64_t at, uint64_t len)
{
	const uint64_t room = HOST_PAGE_SIZE - at % HOST_PAGE_SIZE;

	return len < room ? len : room;
}

static bool
in_space(struct vmspace *vs, gpa_t gpa, uint64_t len)
{
	const uint64_t limit = pmap_fmt(vmspace_pmap(vs))->pf_limit;

	return gpa <= limit && len <= limit - gpa;
}

int
vm_gpa_read(struct vmspace *vs, gpa_t gpa, void *to, uint64_t len, uint64_t *done)
{
	*done = 0;
	if (!in_space(vs, gpa, len))
		return -EINVAL;
	while (*done < len) {
		const uint64_t n = in_page(gpa + *done, len - *done);
		struct vm_hold hold;
		const int error = vm_gpa_hold(vs, gpa + *done, n, PMAP_PROT_R, &hold, NULL);

		if (error != 0)
			return error;
		vm_hold_read(&hold, 0, (char *)to + *done, n);
		vm_gpa_release(&hold);
		*done += n;
	}
	return 0;
}

int
vm_gpa_write(struct vmspace *vs, gpa_t gpa, const void *from, uint64_t len, uint64_t *done)
{
	*done = 0;
	if (!in_space(vs, gpa, len))
		return -EINVAL;
	while (*done < len) {
		const uint64_t n = in_page(gpa + *done, len - *done);
		struct vm_hold hold;
		const int error = vm_gpa_hold(vs, gpa + *done, n, PMAP_PROT_W, &hold, NULL);

		if (error != 0)
			return error;
		vm_hold_write(&hold, 0, (const char *)from + *done, n);
		vm_gpa_release(&hold);
		*done += n;
	}
	return 0;
}

/* ---- By guest-linear address ----------------------------------------------------------------- */

static int
copy_init(struct vm_copy *cp, uint64_t gla, uint64_t len, unsigned int access)
{
	if (len != 0 && gla + len - 1 < gla)
		return -EINVAL;
	*cp = (struct vm_copy){
		.cp_offset = gla % HOST_PAGE_SIZE,
		.cp_len_bytes = len,
		.cp_access = access,
		.cp_pages = cp->cp_few,
	};
	if (len == 0)
		return 0;
	cp->cp_npages = (gla + len - 1) / HOST_PAGE_SIZE - gla / HOST_PAGE_SIZE + 1;
	if (cp->cp_npages <= VM_COPY_FEW)
		return 0;
	cp->cp_pages = NULL;
	if (cp->cp_npages <= (~(uint64_t)0 >> 8) / sizeof(*cp->cp_pages))
		cp->cp_pages = host_alloc(cp->cp_npages * sizeof(*cp->cp_pages));
	return cp->cp_pages != NULL ? 0 : -ENOMEM;
}

static void
release(struct vm_copy *cp, uint64_t n)
{
	while (n-- > 0)
		vm_gpa_release(&cp->cp_pages[n].cg_hold);
}

/* The part of a range that lies in its i-th page. */
static uint64_t
piece(const struct vm_copy *cp, uint64_t gla, uint64_t i, uint64_t *len)
{
	const uint64_t skip = i == 0 ? 0 : i * HOST_PAGE_SIZE - cp->cp_offset;

	*len = in_page(gla + skip, cp->cp_len_bytes - skip);
	return gla + skip;
}

/* Translates and holds every page, or none. The guest sees nothing of it. */
static int
hold_all(struct vmspace *vs, const struct vm_guest_paging *g, uint64_t gla, struct vm_copy *cp,
	 struct vm_gla *out)
{
	for (uint64_t i = 0; i < cp->cp_npages; i++) {
		struct vm_copy_page *const cg = &cp->cp_pages[i];
		uint64_t len;
		const uint64_t at = piece(cp, gla, i, &len);
		int rc = vm_gla2gpa_nofault(vs, g, at, cp->cp_access, out);

		if (rc == 0) {
			cg->cg_gpa = out->gl_gpa;
			cg->cg_unmarked = out->gl_unmarked;
			rc = vm_gpa_hold(vs, cg->cg_gpa, len, cp->cp_access, &cg->cg_hold,
					 &out->gl_record);
			if (rc == -EINVAL || rc == -EACCES)
				rc = -EFAULT;
		}
		if (rc != 0) {
			release(cp, i);
			return rc;
		}
	}
	return 0;
}

/* Sets A and D where they were missing. -EAGAIN: an address means something else by now. */
static int
mark_all(struct vmspace *vs, const struct vm_guest_paging *g, uint64_t gla,
	 const struct vm_copy *cp, struct vm_gla *out)
{
	for (uint64_t i = 0; i < cp->cp_npages; i++) {
		const struct vm_copy_page *const cg = &cp->cp_pages[i];
		uint64_t len;
		int rc;

		if (!cg->cg_unmarked)
			continue;
		rc = vm_gla2gpa(vs, g, piece(cp, gla, i, &len), cp->cp_access, out);
		if (rc != 0)
			return rc;
		if (out->gl_gpa != cg->cg_gpa)
			return -EAGAIN;
	}
	return 0;
}

static void
copy_fini(struct vm_copy *cp)
{
	if (cp->cp_pages != cp->cp_few)
		host_free(cp->cp_pages, cp->cp_npages * sizeof(*cp->cp_pages));
	*cp = (struct vm_copy){0};
}

int
vm_copy_setup(struct vmspace *vs, const struct vm_guest_paging *paging, uint64_t gla, uint64_t len,
	      unsigned int access, struct vm_copy *cp, struct vm_gla *out)
{
	unsigned int rounds = 0;
	int rc = copy_init(cp, gla, len, access);

	if (rc == -ENOMEM)
		out->gl_record = (struct vm_fault_record){
			.fr_access = access,
			.fr_reason = VM_FAULT_NO_MEMORY,
			.fr_error = rc,
		};
	if (rc != 0)
		return rc;
	do {
		rc = hold_all(vs, paging, gla, cp, out);
		if (rc == 0) {
			rc = mark_all(vs, paging, gla, cp, out);
			if (rc != 0)
				release(cp, cp->cp_npages);
		}
	} while (rc == -EAGAIN && ++rounds < ROUNDS);
	if (rc != 0)
		copy_fini(cp);
	return rc;
}

void
vm_copy_teardown(struct vm_copy *cp)
{
	release(cp, cp->cp_npages);
	copy_fini(cp);
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

/* Where bytes from an offset on lie: the hold, the offset in it, how many of len are there. */
static const struct vm_hold *
copy_at(const struct vm_copy *cp, uint64_t offset, uint64_t *in_hold, uint64_t *len)
{
	const uint64_t i = (cp->cp_offset + offset) / HOST_PAGE_SIZE;

	*in_hold = i == 0 ? offset : (cp->cp_offset + offset) % HOST_PAGE_SIZE;
	*len = in_page(cp->cp_offset + offset, *len);
	return &cp->cp_pages[i].cg_hold;
}

void
vm_copyin(const struct vm_copy *cp, uint64_t offset, void *to, uint64_t len)
{
	char *p = to;

	HOST_ASSERT(offset <= cp->cp_len_bytes && len <= cp->cp_len_bytes - offset);
	while (len != 0) {
		uint64_t in_hold, n = len;
		const struct vm_hold *const hold = copy_at(cp, offset, &in_hold, &n);

		vm_hold_read(hold, in_hold, p, n);
		offset += n;
		p += n;
		len -= n;
	}
}

void
vm_copyout(const struct vm_copy *cp, uint64_t offset, const void *from, uint64_t len)
{
	const char *p = from;

	HOST_ASSERT((cp->cp_access & PMAP_PROT_W) != 0);
	HOST_ASSERT(offset <= cp->cp_len_bytes && len <= cp->cp_len_bytes - offset);
	while (len != 0) {
		uint64_t in_hold, n = len;
		const struct vm_hold *const hold = copy_at(cp, offset, &in_hold, &n);

		vm_hold_write(hold, in_hold, p, n);
		offset += n;
		p += n;
		len -= n;
	}
}
