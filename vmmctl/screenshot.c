/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What a machine's framebuffer shows, as a PNG. It is read from the segment's node while the guest
 * draws: a picture in between is a picture. What the page behind it says is the machine's owner's
 * to write, and not to be trusted.
 */

#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmmctl.h"

#define PIXEL_BYTES 4

static const uint8_t *
map_framebuffer(struct vmctx *ctx, struct vm_framebuffer *mode)
{
	char name[VMM_SEG_NAME_BYTES] = "";
	uint64_t len = 0;
	const uint8_t *memory;

	check_call(vm_get_memseg(ctx, VM_FRAMEBUFFER, &len, name));
	if (len != VM_FRAMEBUFFER_BYTES + VM_FRAMEBUFFER_MODE_BYTES ||
	    strcmp(name, VM_FRAMEBUFFER_NAME) != 0)
		fail(EX_NOINPUT, "machine '%s' has no framebuffer; bhyve -s N,fbuf gives it one",
		     vm_get_name(ctx));
	memory = vm_create_devmem(ctx, VM_FRAMEBUFFER, VM_FRAMEBUFFER_NAME, len);
	if (memory == MAP_FAILED)
		check_call(-errno);
	memcpy(mode, memory + VM_FRAMEBUFFER_BYTES, sizeof(*mode));
	if (mode->fb_magic != VM_FRAMEBUFFER_MAGIC || mode->fb_width == 0 || mode->fb_height == 0 ||
	    mode->fb_width > mode->fb_stride_bytes / PIXEL_BYTES ||
	    mode->fb_height > VM_FRAMEBUFFER_BYTES / mode->fb_stride_bytes)
		fail(EX_DATAERR, "machine '%s': its framebuffer does not say how large it is",
		     vm_get_name(ctx));
	return memory;
}

/* Blue, green, red, nothing become red, green, blue. */
static uint8_t *
to_rgb(const uint8_t *memory, const struct vm_framebuffer *mode)
{
	uint8_t *const rgb = malloc((size_t)mode->fb_width * mode->fb_height * 3);
	uint8_t *to = rgb;

	if (rgb == NULL)
		fail(EX_OSERR, "not enough memory");
	for (uint32_t y = 0; y < mode->fb_height; y++) {
		const uint8_t *from = memory + (size_t)y * mode->fb_stride_bytes;

		for (uint32_t x = 0; x < mode->fb_width; x++, from += PIXEL_BYTES) {
			*to++ = from[2];
			*to++ = from[1];
			*to++ = from[0];
		}
	}
	return rgb;
}

int
verb_screenshot(struct out *out, int argc, char **argv)
{
	png_image image = {.version = PNG_IMAGE_VERSION, .format = PNG_FORMAT_RGB};
	struct vm_framebuffer mode;
	struct vmctx *ctx;
	uint8_t *rgb;

	if (argc != 3)
		usage_error("screenshot takes the name of a machine and that of a file");
	ctx = open_machine(argv[1]);
	rgb = to_rgb(map_framebuffer(ctx, &mode), &mode);
	image.width = mode.fb_width;
	image.height = mode.fb_height;
	if (png_image_write_to_file(&image, argv[2], 0, rgb, 0, NULL) == 0) {
		remove(argv[2]);
		fail(EX_CANTCREAT, "cannot write %s: %s", argv[2],
		     errno != 0 ? strerror(errno) : image.message);
	}
	free(rgb);
	vm_close(ctx);
	out_number(out, "width", mode.fb_width);
	out_number(out, "height", mode.fb_height);
	return EX_OK;
}
