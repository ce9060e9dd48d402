/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The two 8259A of a PC (Intel data sheet 231468): the second one's output is the first one's input
 * 2. Operating systems use them while they look for something better, and to find that the timer's
 * interrupt arrives.
 */

#ifndef KMOD_PLATFORM_PIC_H
#define KMOD_PLATFORM_PIC_H

#include "kmod/platform/plat.h"

#define PIC_IRQS 16u
#define PIC_CASCADE 2u

struct pic_chip {
	uint8_t ch_irr;	  /* requests: edges latched, or levels that are high */
	uint8_t ch_isr;	  /* in service */
	uint8_t ch_imr;	  /* masked */
	uint8_t ch_lines; /* as they are now */
	uint8_t ch_elcr;  /* inputs that are level-triggered */
	uint8_t ch_base;  /* vector of input 0 */
	uint8_t ch_lowest;
	uint8_t ch_icw; /* the next byte to the data port is that ICW: 2, 3, 4; 0: a mask */
	bool ch_icw4;
	bool ch_auto_eoi;
	bool ch_rotate_auto;
	bool ch_special_mask;
	bool ch_special_nested;
	bool ch_read_isr;
	bool ch_poll;
};

struct pic {
	struct pic_chip pi_chips[2];
};

void pic_reset(struct pic *pic);
void pic_set_line(struct pic *pic, unsigned int irq, bool high);
/* Whether an interrupt is wanted; and the vector of it, which is in service then. If it went away
 * meanwhile: the vector of input 7, with nothing in service. */
bool pic_output(const struct pic *pic);
uint8_t pic_accept(struct pic *pic);

/* Whether an input's request waits to be accepted, and is not masked. */
bool pic_requested(const struct pic *pic, unsigned int irq);

/* Ports 20, 21, A0, A1, 4D0, 4D1. */
bool pic_has_port(uint16_t port);
uint8_t pic_read(struct pic *pic, uint16_t port);
void pic_write(struct pic *pic, uint16_t port, uint8_t value);

#endif /* KMOD_PLATFORM_PIC_H */
