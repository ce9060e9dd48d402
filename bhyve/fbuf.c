/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A framebuffer: device memory of the machine behind a BAR that the guest moves as it likes; the
 * segment and what is drawn stay the same. The guest draws without an exit. Registers, identity and
 * sizes are those of bhyve's fbuf, which firmware knows.
 *
 * Behind the part that the guest sees the segment has one more page, which says how large the
 * picture is (struct vm_framebuffer): so `vmmctl screenshot` needs nothing but the machine.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "fbuf.h"
#include "libvmm/libvmm.h"
#include "pci_emuls.h"

enum {
	FBUF_VENDOR = 0xfb5d,
	FBUF_DEVICE = 0x40fb,
	REGS_BAR = 0,
	MEMORY_BAR = 1,
	REGS_BYTES = 4096,
	/* Registers: bytes of memory (32 bits), width, height, depth, refresh rate (16 each). */
	REG_BYTES = 0,
	REG_WIDTH = 4,
	REG_HEIGHT = 6,
	REG_DEPTH = 8,
	REG_RATE = 10,
	REGS_USED = 12,

	WIDTH_MIN = 320,
	HEIGHT_MIN = 200,
	WIDTH_MAX = 2560,
	HEIGHT_MAX = 1600,
	PIXEL_BYTES = 4,
};

_Static_assert(WIDTH_MAX *HEIGHT_MAX *PIXEL_BYTES <= VM_FRAMEBUFFER_BYTES,
	       "the largest picture fits");

struct fbuf {
	pthread_mutex_t fb_lock;
	uint8_t fb_regs[REGS_USED];
	uint16_t fb_width; /* of the picture: what the registers say, as far as it is possible */
	uint16_t fb_height;
	uint16_t fb_first_width;
	uint16_t fb_first_height;
	uint8_t *fb_memory;
};

static void
set16(struct fbuf *fb, unsigned int reg, uint16_t value)
{
	memcpy(fb->fb_regs + reg, &value, sizeof(value));
}

static uint16_t
get16(const struct fbuf *fb, unsigned int reg)
{
	uint16_t value;

	memcpy(&value, fb->fb_regs + reg, sizeof(value));
	return value;
}

/* For whoever reads the segment. With fb_lock held. */
static void
publish(struct fbuf *fb)
{
	const struct vm_framebuffer mode = {
		.fb_magic = VM_FRAMEBUFFER_MAGIC,
		.fb_width = fb->fb_width,
		.fb_height = fb->fb_height,
		.fb_stride_bytes = (uint32_t)fb->fb_width * PIXEL_BYTES,
	};

	memcpy(fb->fb_memory + VM_FRAMEBUFFER_BYTES, &mode, sizeof(mode));
}

static bool
possible(unsigned int width, unsigned int height)
{
	return width >= WIDTH_MIN && width <= WIDTH_MAX && height >= HEIGHT_MIN &&
	       height <= HEIGHT_MAX;
}

static uint64_t
fbuf_barread(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int bytes)
{
	struct fbuf *const fb = dev->pd_arg;
	uint64_t value = 0;

	if (bar != REGS_BAR)
		return UINT64_MAX;
	pthread_mutex_lock(&fb->fb_lock);
	if (off < REGS_USED && bytes <= REGS_USED - off)
		memcpy(&value, fb->fb_regs + off, bytes);
	pthread_mutex_unlock(&fb->fb_lock);
	return value;
}

/* Width and height may be written one after the other: a pair that is not possible changes only
 * what the registers read as. */
static void
fbuf_barwrite(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int bytes,
	      uint64_t value)
{
	struct fbuf *const fb = dev->pd_arg;

	if (bar != REGS_BAR || off < REG_WIDTH || off + bytes > REG_DEPTH)
		return;
	pthread_mutex_lock(&fb->fb_lock);
	memcpy(fb->fb_regs + off, &value, bytes);
	if (possible(get16(fb, REG_WIDTH), get16(fb, REG_HEIGHT))) {
		fb->fb_width = get16(fb, REG_WIDTH);
		fb->fb_height = get16(fb, REG_HEIGHT);
		publish(fb);
	}
	pthread_mutex_unlock(&fb->fb_lock);
}

static int
fbuf_bar_moved(struct pci_dev *dev, unsigned int bar, bool on, uint64_t gpa)
{
	const struct pci_hooks *const hooks = &dev->pd_bus->pb_hooks;

	(void)bar;
	return hooks->ph_show(hooks->ph_arg, on, gpa, VM_FRAMEBUFFER, VM_FRAMEBUFFER_BYTES);
}

static void
first_mode(struct fbuf *fb)
{
	const uint32_t bytes = VM_FRAMEBUFFER_BYTES;

	pthread_mutex_lock(&fb->fb_lock);
	memcpy(fb->fb_regs + REG_BYTES, &bytes, sizeof(bytes));
	fb->fb_width = fb->fb_first_width;
	fb->fb_height = fb->fb_first_height;
	set16(fb, REG_WIDTH, fb->fb_width);
	set16(fb, REG_HEIGHT, fb->fb_height);
	set16(fb, REG_DEPTH, 8 * PIXEL_BYTES);
	set16(fb, REG_RATE, 0);
	publish(fb);
	pthread_mutex_unlock(&fb->fb_lock);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static int
parse(struct pci_dev *dev, const char *text, unsigned long *width, unsigned long *height)
{
	struct conf conf;
	const char *w, *h, *left;
	int error = 0;

	*width = 1024;
	*height = 768;
	if (conf_parse(&conf, text) != 0)
		return pci_fail(dev, -ENOMEM, "not enough memory, or too many options");
	w = conf_value(&conf, "w");
	h = conf_value(&conf, "h");
	left = conf_left(&conf);
	if (left != NULL)
		error = pci_fail(dev, -EINVAL, "it has no option '%s'", left);
	if (w != NULL)
		*width = strtoul(w, NULL, 10);
	if (h != NULL)
		*height = strtoul(h, NULL, 10);
	if (error == 0 && (*width > WIDTH_MAX || *height > HEIGHT_MAX ||
			   !possible((unsigned int)*width, (unsigned int)*height)))
		error = pci_fail(dev, -EINVAL, "a picture has %d by %d to %d by %d pixels",
				 WIDTH_MIN, HEIGHT_MIN, WIDTH_MAX, HEIGHT_MAX);
	conf_free(&conf);
	return error;
}

static int
fbuf_init(struct pci_dev *dev, const char *text)
{
	const struct pci_hooks *const hooks = &dev->pd_bus->pb_hooks;
	unsigned long width, height;
	struct fbuf *fb;
	int error;

	error = parse(dev, text, &width, &height);
	if (error != 0)
		return error;
	fb = calloc(1, sizeof(*fb));
	if (fb == NULL)
		return pci_fail(dev, -ENOMEM, "not enough memory");
	fb->fb_memory = hooks->ph_devmem(hooks->ph_arg, VM_FRAMEBUFFER, VM_FRAMEBUFFER_NAME,
					 VM_FRAMEBUFFER_BYTES + VM_FRAMEBUFFER_MODE_BYTES);
	if (fb->fb_memory == NULL) {
		free(fb);
		return pci_fail(dev, -ENOMEM, "the machine has no memory for it");
	}
	pthread_mutex_init(&fb->fb_lock, NULL);
	fb->fb_first_width = (uint16_t)width;
	fb->fb_first_height = (uint16_t)height;
	dev->pd_arg = fb;
	first_mode(fb);
	pci_set_ids(dev, FBUF_VENDOR, FBUF_DEVICE, 0x030000);
	error = pci_alloc_bar(dev, REGS_BAR, PCI_BAR_MEM32, REGS_BYTES);
	if (error != 0)
		return error;
	return pci_alloc_bar_own(dev, MEMORY_BAR, PCI_BAR_MEM32, VM_FRAMEBUFFER_BYTES);
}

static void
fbuf_fini(struct pci_dev *dev)
{
	struct fbuf *const fb = dev->pd_arg;

	pthread_mutex_destroy(&fb->fb_lock);
	free(fb); /* the mapping is libvmm's */
}

static void
fbuf_reset(struct pci_dev *dev)
{
	first_mode(dev->pd_arg);
}

bool
fbuf_find(const struct pci_bus *bus, struct fbuf_mode *mode)
{
	for (unsigned int i = 0; i < PCI_SLOTS * PCI_FUNCS; i++) {
		const struct pci_dev *const dev = bus->pb_devs[i / PCI_FUNCS][i % PCI_FUNCS];

		if (dev != NULL && dev->pd_emul == &pci_fbuf) {
			const struct fbuf *const fb = dev->pd_arg;

			*mode = (struct fbuf_mode){
				.fm_gpa = dev->pd_bars[MEMORY_BAR].bar_base,
				.fm_bytes = VM_FRAMEBUFFER_BYTES,
				.fm_width = fb->fb_width,
				.fm_height = fb->fb_height,
			};
			return true;
		}
	}
	return false;
}

const struct pci_emul pci_fbuf = {
	.pe_name = "fbuf",
	.pe_help = "[w=W][,h=H]: a framebuffer; vmmctl screenshot shows it",
	.pe_init = fbuf_init,
	.pe_fini = fbuf_fini,
	.pe_reset = fbuf_reset,
	.pe_barread = fbuf_barread,
	.pe_barwrite = fbuf_barwrite,
	.pe_bar_moved = fbuf_bar_moved,
};
