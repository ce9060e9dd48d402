/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The Linux world of vmspace: guests' memory lies in files of shmem (tmpfs).
 *
 * A page that is got has a reference, which keeps it in the file and where it is: neither reclaim
 * nor migration takes a page that somebody else refers to. Once put it is Linux's, which writes it
 * to swap if it is dirty, drops it if not, and brings it back when it is got again. A page of a
 * file that was never dirty is zeros.
 *
 * A run is a transparent huge page of the file. Such a page is in memory whole or not at all, so
 * single pages must not come with one: 4 KiB that are got would hold 2 MiB. tmpfs decides by mount
 * whether to use huge pages, so there are two files to each pager, one on either kind of mount, and
 * each 2 MiB chunk lies in the one or the other, as it was first asked for.
 */

#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <asm/io.h>

#include "host_linux_priv.h"

#define CHUNK_ORDER 9
#define CHUNK_PAGES (1ul << CHUNK_ORDER)

/* Where a chunk lies; changed once, from PLACE_NONE. */
enum {
	PLACE_NONE,
	PLACE_SMALL,
	PLACE_HUGE,
};

struct host_pager {
	struct file *pr_small;
	struct file *pr_huge;  /* or NULL: no huge pages on this machine */
	struct mutex pr_mutex; /* runs are got, or contents discarded */
	u64 pr_npages;
	size_t pr_bytes;
	u8 pr_place[]; /* by chunk */
};

/* The mount whose files use huge pages; NULL if there is none. */
static struct vfsmount *huge_mount;

/*
 * Not __GFP_MOVABLE: pages stay put as long as they are got, which may be forever. Tries hard, but
 * kills nobody for it: the caller can make room.
 */
#define PAGER_GFP (GFP_HIGHUSER | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

/* ---- Life ------------------------------------------------------------------------------------ */

int
host_linux_pager_create(uint64_t npages, struct host_pager **out)
{
	const size_t bytes = sizeof(struct host_pager) + DIV_ROUND_UP(npages, CHUNK_PAGES);
	struct host_pager *p;

	if (npages == 0 || npages > MAX_LFS_FILESIZE >> PAGE_SHIFT)
		return -ENOMEM;
	p = host_alloc(bytes);
	if (p == NULL)
		return -ENOMEM;
	p->pr_npages = npages;
	p->pr_bytes = bytes;
	mutex_init(&p->pr_mutex);
	p->pr_small = shmem_file_setup("vmm", npages << PAGE_SHIFT, VM_NORESERVE);
	if (IS_ERR(p->pr_small))
		goto free;
	if (huge_mount != NULL) {
		p->pr_huge = shmem_file_setup_with_mnt(huge_mount, "vmm", npages << PAGE_SHIFT,
						       VM_NORESERVE);
		if (IS_ERR(p->pr_huge))
			goto close;
	}
	atomic_long_inc(&host_linux_pagers);
	*out = p;
	return 0;

close:
	fput(p->pr_small);
free:
	host_free(p, bytes);
	return -ENOMEM;
}

void
host_linux_pager_destroy(struct host_pager *p)
{
	fput(p->pr_small);
	if (p->pr_huge != NULL)
		fput(p->pr_huge);
	mutex_destroy(&p->pr_mutex);
	host_free(p, p->pr_bytes);
	atomic_long_dec(&host_linux_pagers);
}

/* ---- In -------------------------------------------------------------------------------------- */

/* Where the chunk of a page lies, after it was put there if it lay nowhere. */
static unsigned int
settle(struct host_pager *p, uint64_t index, u8 place)
{
	const u8 old = cmpxchg(&p->pr_place[index / CHUNK_PAGES], PLACE_NONE, place);

	return old == PLACE_NONE ? place : old;
}

static struct page *
read_page(struct host_pager *p, uint64_t index, unsigned int place)
{
	struct file *const file = place == PLACE_HUGE ? p->pr_huge : p->pr_small;

	return shmem_read_mapping_page_gfp(file->f_mapping, index, PAGER_GFP);
}

int
host_linux_pager_getpage(struct host_pager *p, uint64_t index, hpa_t *hpa)
{
	struct page *page;

	HOST_ASSERT(index < p->pr_npages);
	page = read_page(p, index, settle(p, index, PLACE_SMALL));
	if (IS_ERR(page)) {
		switch (PTR_ERR(page)) {
		case -ENOMEM:
		case -ENOSPC: /* of shmem: no memory, or not allowed to have more */
			return -ENOMEM;
		case -EINTR:
			return -EINTR;
		default:
			return -EIO;
		}
	}
	atomic_long_inc(&host_linux_paged);
	*hpa = page_to_phys(page);
	return 0;
}

bool
host_linux_pager_getrun(struct host_pager *p, uint64_t index, hpa_t *base)
{
	struct page *page;
	bool is_run;

	HOST_ASSERT(index % CHUNK_PAGES == 0 && index < p->pr_npages &&
		    p->pr_npages - index >= CHUNK_PAGES);
	if (p->pr_huge == NULL || settle(p, index, PLACE_HUGE) != PLACE_HUGE)
		return false;
	mutex_lock(&p->pr_mutex);
	page = read_page(p, index, PLACE_HUGE);
	if (IS_ERR(page)) {
		mutex_unlock(&p->pr_mutex);
		return false;
	}
	/* With the one reference that we have it cannot be split any more. */
	is_run = page == compound_head(page) && compound_order(page) == CHUNK_ORDER;
	if (is_run) {
		page_ref_add(page, CHUNK_PAGES - 1);
		atomic_long_add(CHUNK_PAGES, &host_linux_paged);
		*base = page_to_phys(page);
	} else {
		put_page(page);
	}
	mutex_unlock(&p->pr_mutex);
	return is_run;
}

/* ---- Out ------------------------------------------------------------------------------------- */

void
host_linux_pager_putpage(struct host_pager *p, uint64_t index, hpa_t hpa, bool dirty)
{
	struct page *const page = pfn_to_page(hpa >> PAGE_SHIFT);

	HOST_ASSERT(index < p->pr_npages);
	HOST_ASSERT(compound_head(page)->index + (page - compound_head(page)) == index);
	if (dirty)
		set_page_dirty(page);
	put_page(page);
	atomic_long_dec(&host_linux_paged);
}

/*
 * If a page of the file is part of a huge one that is got: zeros this page where it is, and says
 * so. Each reference beyond those of the file itself, one for each 4 KiB, may be one that was got.
 * It may also be a passing one; then memory is kept that could have been freed, no more.
 */
static bool
zero_if_got(struct address_space *mapping, uint64_t index)
{
	struct page *const page = find_lock_page(mapping, index);
	bool got;

	if (page == NULL)
		return false;
	got = PageTransCompound(page) &&
	      page_count(compound_head(page)) > compound_nr(compound_head(page)) + 1;
	if (got) {
		clear_page(page_address(page));
		set_page_dirty(page);
	}
	unlock_page(page);
	put_page(page);
	return got;
}

/* [first, last) lies in one chunk. */
static void
discard_in_chunk(struct host_pager *p, uint64_t first, uint64_t last)
{
	const u8 place = READ_ONCE(p->pr_place[first / CHUNK_PAGES]);
	struct file *const file = place == PLACE_HUGE ? p->pr_huge : p->pr_small;
	uint64_t from = first;

	if (place == PLACE_NONE)
		return;
	for (uint64_t i = first; i <= last; i++) {
		if (i < last && !zero_if_got(file->f_mapping, i))
			continue;
		if (from < i)
			shmem_truncate_range(file_inode(file), (loff_t)from << PAGE_SHIFT,
					     ((loff_t)i << PAGE_SHIFT) - 1);
		from = i + 1;
	}
}

void
host_linux_pager_discard(struct host_pager *p, uint64_t index, uint64_t npages)
{
	const uint64_t end = index + npages;

	HOST_ASSERT(index <= p->pr_npages && npages <= p->pr_npages - index);
	mutex_lock(&p->pr_mutex);
	while (index < end) {
		const uint64_t next = min_t(uint64_t, end, round_up(index + 1, CHUNK_PAGES));

		discard_in_chunk(p, index, next);
		index = next;
		cond_resched();
	}
	mutex_unlock(&p->pr_mutex);
}

/* ---- Up and down ----------------------------------------------------------------------------- */

/* Without such a mount there are no runs, and all else works. */
void
host_linux_pager_init(void)
{
	struct file_system_type *const type = get_fs_type("tmpfs");
	char options[] = "huge=always"; /* the parser writes into it */
	struct vfsmount *mount;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) || type == NULL)
		return;
	mount = vfs_kern_mount(type, SB_KERNMOUNT, type->name, options);
	if (IS_ERR(mount)) {
		pr_info("vmm: no huge pages for guests: tmpfs with huge=always failed (%ld)\n",
			PTR_ERR(mount));
		return;
	}
	huge_mount = mount;
}

void
host_linux_pager_fini(void)
{
	if (huge_mount != NULL)
		kern_unmount(huge_mount);
	huge_mount = NULL;
}
