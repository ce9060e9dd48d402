/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Raw files and block devices (block.h). A file is locked while it is open, so that two machines do
 * not write one disk; read-only ones may share it.
 */

#define _GNU_SOURCE /* O_DIRECT, fallocate */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block.h"

enum {
	SEGMENTS_MAX = 300,	   /* more than a chain has */
	BOUNCE_BYTES = 256 * 1024, /* at once */
	BOUNCE_ALIGN = 4096,
};

static int block_fail(struct block *bk, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int
block_fail(struct block *bk, int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(bk->bk_why, sizeof(bk->bk_why), format, ap);
	va_end(ap);
	block_close(bk);
	return error;
}

/* ---- Opening --------------------------------------------------------------------------------- */

/* Does the file take transfers of so many bytes? */
static bool
takes(const struct block *bk, unsigned int bytes)
{
	void *buffer;
	bool good;

	if (posix_memalign(&buffer, BOUNCE_ALIGN, bytes) != 0)
		return false;
	good = pread(bk->bk_fd, buffer, bytes, 0) == (ssize_t)bytes;
	free(buffer);
	return good;
}

static int
size_of(struct block *bk, const char *path)
{
	struct stat st;

	if (fstat(bk->bk_fd, &st) != 0)
		return block_fail(bk, -errno, "%s: %s", path, strerror(errno));
	if (S_ISBLK(st.st_mode)) {
		int sector = 0;

		if (ioctl(bk->bk_fd, BLKGETSIZE64, &bk->bk_bytes) != 0 ||
		    ioctl(bk->bk_fd, BLKSSZGET, &sector) != 0)
			return block_fail(bk, -errno, "%s: its size cannot be found out: %s", path,
					  strerror(errno));
		bk->bk_device = true;
		if (bk->bk_direct && sector > (int)bk->bk_sector_bytes)
			bk->bk_sector_bytes = (unsigned int)sector;
	} else if (S_ISREG(st.st_mode)) {
		bk->bk_bytes = (uint64_t)st.st_size;
		if (bk->bk_direct && !takes(bk, bk->bk_sector_bytes))
			bk->bk_sector_bytes = 4096;
	} else {
		return block_fail(bk, -EINVAL, "%s: neither a file nor a block device", path);
	}
	if (bk->bk_bytes == 0 || bk->bk_bytes % bk->bk_sector_bytes != 0)
		return block_fail(bk, -EINVAL,
				  "%s: a disk has a multiple of %u bytes, and some; this has %llu",
				  path, bk->bk_sector_bytes, (unsigned long long)bk->bk_bytes);
	if (bk->bk_direct && !takes(bk, bk->bk_sector_bytes))
		return block_fail(bk, -EOPNOTSUPP, "%s: it cannot be used with nocache (O_DIRECT)",
				  path);
	return 0;
}

static int
parse(struct block *bk, struct conf *conf, const char **path, int *flags)
{
	const char *text;

	bk->bk_ro = conf_flag(conf, "ro");
	bk->bk_direct = conf_flag(conf, "nocache");
	*flags = (bk->bk_ro ? O_RDONLY : O_RDWR) | O_CLOEXEC | (bk->bk_direct ? O_DIRECT : 0) |
		 (conf_flag(conf, "direct") ? O_SYNC : 0);
	bk->bk_sector_bytes = BLOCK_SECTOR_BYTES;
	text = conf_value(conf, "sectorsize");
	if (text != NULL && strcmp(text, "4096") == 0)
		bk->bk_sector_bytes = 4096;
	else if (text != NULL && strcmp(text, "512") != 0)
		return block_fail(bk, -EINVAL, "sectorsize is 512 or 4096, not '%s'", text);
	text = conf_value(conf, "ser");
	if (text != NULL && strlen(text) >= sizeof(bk->bk_serial))
		return block_fail(bk, -EINVAL, "a serial number has at most %zu characters",
				  sizeof(bk->bk_serial) - 1);
	snprintf(bk->bk_serial, sizeof(bk->bk_serial), "%s", text != NULL ? text : "skep");
	*path = conf_word(conf);
	if (*path == NULL || **path == '\0')
		return block_fail(bk, -EINVAL, "a disk needs a file");
	if (conf_left(conf) != NULL)
		return block_fail(bk, -EINVAL, "a disk has no option '%s'", conf_left(conf));
	return 0;
}

int
block_open(struct block *bk, struct conf *conf)
{
	const char *path = NULL;
	int flags = 0, error;

	memset(bk, 0, sizeof(*bk));
	bk->bk_fd = -1;
	error = parse(bk, conf, &path, &flags);
	if (error != 0)
		return error;
	bk->bk_fd = open(path, flags);
	if (bk->bk_fd == -1) {
		error = -errno;
		return block_fail(bk, error, "%s: cannot be opened%s: %s", path,
				  bk->bk_ro ? "" : " for writing (there is the option ro)",
				  strerror(-error));
	}
	if (flock(bk->bk_fd, (bk->bk_ro ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0)
		return block_fail(bk, -EBUSY, "%s: another machine uses it", path);
	return size_of(bk, path);
}

void
block_close(struct block *bk)
{
	if (bk->bk_fd != -1)
		close(bk->bk_fd);
	bk->bk_fd = -1;
}

/* ---- Transfers ------------------------------------------------------------------------------- */

/* All of it, however the system splits it. iov is used up. */
static int
transfer(struct block *bk, bool write, struct iovec *iov, unsigned int n, uint64_t off)
{
	while (n != 0) {
		ssize_t done;

		if (iov->iov_len == 0) {
			iov++;
			n--;
			continue;
		}
		done = write ? pwritev(bk->bk_fd, iov, (int)n, (off_t)off)
			     : preadv(bk->bk_fd, iov, (int)n, (off_t)off);
		if (done == -1 && errno == EINTR)
			continue;
		if (done <= 0) /* the end of the file: it was made shorter meanwhile */
			return done == 0 ? -EIO : -errno;
		off += (uint64_t)done;
		while (done > 0) {
			const size_t part =
				(size_t)done < iov->iov_len ? (size_t)done : iov->iov_len;

			iov->iov_base = (char *)iov->iov_base + part;
			iov->iov_len -= part;
			done -= (ssize_t)part;
			if (iov->iov_len == 0) {
				iov++;
				n--;
			}
		}
	}
	return 0;
}

/* Between a buffer and the next bytes of the segments, which are used up. */
static void
shuffle(struct iovec **iov, char *buffer, size_t bytes, bool from_segments)
{
	while (bytes != 0) {
		struct iovec *const at = *iov;
		const size_t part = bytes < at->iov_len ? bytes : at->iov_len;

		if (from_segments)
			memcpy(buffer, at->iov_base, part);
		else
			memcpy(at->iov_base, buffer, part);
		at->iov_base = (char *)at->iov_base + part;
		at->iov_len -= part;
		buffer += part;
		bytes -= part;
		if (at->iov_len == 0)
			++*iov;
	}
}

static int
bounced(struct block *bk, bool write, struct iovec *iov, uint64_t off, uint64_t bytes)
{
	void *buffer;
	int error = 0;

	if (posix_memalign(&buffer, BOUNCE_ALIGN, BOUNCE_BYTES) != 0)
		return -ENOMEM;
	while (bytes != 0 && error == 0) {
		const size_t part = bytes < BOUNCE_BYTES ? (size_t)bytes : BOUNCE_BYTES;
		struct iovec one = {.iov_base = buffer, .iov_len = part};

		if (write)
			shuffle(&iov, buffer, part, true);
		error = transfer(bk, write, &one, 1, off);
		if (!write && error == 0)
			shuffle(&iov, buffer, part, false);
		off += part;
		bytes -= part;
	}
	free(buffer);
	return error;
}

static bool
within(const struct block *bk, uint64_t off, uint64_t bytes)
{
	return off % bk->bk_sector_bytes == 0 && bytes % bk->bk_sector_bytes == 0 &&
	       off <= bk->bk_bytes && bytes <= bk->bk_bytes - off;
}

static int
block_rw(struct block *bk, bool write, const struct iovec *iov, unsigned int n, uint64_t off,
	 uint64_t bytes)
{
	struct iovec copy[SEGMENTS_MAX];

	if (n > SEGMENTS_MAX || !within(bk, off, bytes))
		return -EINVAL;
	memcpy(copy, iov, n * sizeof(*iov));
	if (bk->bk_direct)
		return bounced(bk, write, copy, off, bytes);
	return transfer(bk, write, copy, n, off);
}

int
block_read(struct block *bk, const struct iovec *iov, unsigned int n, uint64_t off, uint64_t bytes)
{
	return block_rw(bk, false, iov, n, off, bytes);
}

int
block_write(struct block *bk, const struct iovec *iov, unsigned int n, uint64_t off, uint64_t bytes)
{
	return bk->bk_ro ? -EROFS : block_rw(bk, true, iov, n, off, bytes);
}

int
block_flush(struct block *bk)
{
	return fdatasync(bk->bk_fd) == 0 ? 0 : -errno;
}

/* ---- Holes ----------------------------------------------------------------------------------- */

static int
punch(struct block *bk, int mode, unsigned long request, uint64_t off, uint64_t bytes)
{
	uint64_t range[2] = {off, bytes};
	int done;

	do {
		done = bk->bk_device ? ioctl(bk->bk_fd, request, range)
				     : fallocate(bk->bk_fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)off,
						 (off_t)bytes);
	} while (done != 0 && errno == EINTR);
	return done == 0 ? 0 : -errno;
}

int
block_discard(struct block *bk, uint64_t off, uint64_t bytes)
{
	if (bk->bk_ro)
		return -EROFS;
	if (!within(bk, off, bytes))
		return -EINVAL;
	return bytes == 0 ? 0 : punch(bk, FALLOC_FL_PUNCH_HOLE, BLKDISCARD, off, bytes);
}

int
block_zero(struct block *bk, uint64_t off, uint64_t bytes, bool may_unmap)
{
	static const char zeros[65536] __attribute__((aligned(4096)));
	int error;

	if (bk->bk_ro)
		return -EROFS;
	if (!within(bk, off, bytes))
		return -EINVAL;
	if (bytes == 0)
		return 0;
	error = punch(bk, may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, BLKZEROOUT, off,
		      bytes);
	if (error != -EOPNOTSUPP)
		return error;
	for (error = 0; bytes != 0 && error == 0;) {
		const size_t part = bytes < sizeof(zeros) ? (size_t)bytes : sizeof(zeros);
		struct iovec one = {.iov_base = (char *)(uintptr_t)zeros, .iov_len = part};

		error = transfer(bk, true, &one, 1, off);
		off += part;
		bytes -= part;
	}
	return error;
}
