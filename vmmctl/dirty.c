/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The dirty log: on, off, and which pages were written, as ranges.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmmctl.h"

#define PAGE_BYTES 4096u
#define CHUNK_PAGES 4096u /* asked for at a time */

/* A range that goes on as long as pages are neighbors. */
struct ranges {
	struct out *ra_out;
	json_t *ra_list;
	uint64_t ra_gpa;
	uint64_t ra_npages;
	uint64_t ra_total;
};

static void
end_range(struct ranges *r)
{
	const uint64_t end = r->ra_gpa + r->ra_npages * PAGE_BYTES;

	if (r->ra_npages == 0)
		return;
	json_array_append_new(r->ra_list, json_pack("{s:o, s:I}", "gpa", json_hex(r->ra_gpa),
						    "pages", (json_int_t)r->ra_npages));
	if (r->ra_out->ou_root == NULL)
		printf("0x%016" PRIx64 "-0x%016" PRIx64 " %" PRIu64 " pages\n", r->ra_gpa, end,
		       r->ra_npages);
	r->ra_total += r->ra_npages;
	r->ra_npages = 0;
}

static void
add_page(struct ranges *r, uint64_t gpa)
{
	if (r->ra_npages == 0 || r->ra_gpa + r->ra_npages * PAGE_BYTES != gpa) {
		end_range(r);
		r->ra_gpa = gpa;
	}
	r->ra_npages++;
}

static void
collect(struct vmctx *ctx, const struct vmm_memmap *map, bool clear, struct ranges *r)
{
	const uint64_t npages = map->len_bytes / PAGE_BYTES;

	for (uint64_t first = 0; first < npages; first += CHUNK_PAGES) {
		const uint64_t n = npages - first < CHUNK_PAGES ? npages - first : CHUNK_PAGES;
		const uint64_t gpa = map->gpa + first * PAGE_BYTES;
		uint64_t bitmap[CHUNK_PAGES / 64] = {0};

		check_call(clear ? vm_dirty_clear(ctx, gpa, n * PAGE_BYTES, bitmap)
				 : vm_dirty_get(ctx, gpa, n * PAGE_BYTES, bitmap));
		for (uint64_t i = 0; i < n; i++) {
			if (bitmap[i / 64] >> i % 64 & 1)
				add_page(r, gpa + i * PAGE_BYTES);
		}
	}
}

static void
show_pages(struct out *out, struct vmctx *ctx, bool clear)
{
	struct ranges r = {.ra_out = out, .ra_list = json_array()};
	struct vmm_memmap map = {.gpa = 0};
	int error;

	while ((error = vm_mmap_getnext(ctx, &map)) == 0) {
		const uint64_t end = map.gpa + map.len_bytes;

		collect(ctx, &map, clear, &r);
		if (end < map.gpa)
			break;
		map = (struct vmm_memmap){.gpa = end};
	}
	if (error != -ENOENT)
		check_call(error);
	end_range(&r);
	out_put(out, "ranges", r.ra_list, "%s", "");
	out_number(out, "dirty_pages", r.ra_total);
}

int
verb_dirty(struct out *out, int argc, char **argv)
{
	const char *const what = argc == 3 ? argv[2] : "get";
	struct vmctx *ctx;

	if (argc < 2 || argc > 3)
		usage_error("dirty takes the name of a machine, and what to do");
	if (strcmp(what, "enable") != 0 && strcmp(what, "disable") != 0 &&
	    strcmp(what, "get") != 0 && strcmp(what, "clear") != 0)
		usage_error("dirty: enable, disable, get or clear, not '%s'", what);
	ctx = open_machine(argv[1]);
	if (strcmp(what, "enable") == 0)
		check_call(vm_dirty_enable(ctx, false));
	else if (strcmp(what, "disable") == 0)
		check_call(vm_dirty_disable(ctx));
	else
		show_pages(out, ctx, strcmp(what, "clear") == 0);
	vm_close(ctx);
	return EX_OK;
}
