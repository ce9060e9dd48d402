/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * 8259A. Inputs are numbered by priority from ch_lowest + 1 on, which rotates if software wants it.
 * An edge is kept until it is accepted, though its line has gone down again: devices here may
 * pulse. Of the initialization words what counts is the vector, automatic EOI, and that all
 * begins anew.
 */

#include "kmod/platform/pic.h"

#define BIT8(n) ((uint8_t)(1u << (n)))

#define ELCR_MASTER 0xf8 /* inputs 0 to 2 are edges: timer, keyboard, cascade */
#define ELCR_SLAVE 0xde	 /* so are 8 (clock) and 13 (coprocessor) */

/* ---- One chip -------------------------------------------------------------------------------- */

/* The highest of those in mask, by priority: 0 the highest; 8 none. */
static unsigned int
rank_of(const struct pic_chip *ch, uint8_t mask)
{
	for (unsigned int rank = 0; rank < 8; rank++)
		if (mask & BIT8((ch->ch_lowest + 1 + rank) & 7))
			return rank;
	return 8;
}

static unsigned int
input_of(const struct pic_chip *ch, unsigned int rank)
{
	return (ch->ch_lowest + 1 + rank) & 7;
}

/* The input that interrupts, or 8. */
static unsigned int
wanted(const struct pic_chip *ch, bool master)
{
	const unsigned int rank = rank_of(ch, ch->ch_irr & (uint8_t)~ch->ch_imr);
	uint8_t served = ch->ch_isr;

	if (rank == 8)
		return 8;
	if (ch->ch_special_mask)
		served &= (uint8_t)~ch->ch_imr;
	if (ch->ch_special_nested && master)
		served &= (uint8_t)~BIT8(PIC_CASCADE);
	return rank < rank_of(ch, served) ? input_of(ch, rank) : 8;
}

static void
set_input(struct pic_chip *ch, unsigned int input, bool high)
{
	const uint8_t bit = BIT8(input);

	if (ch->ch_elcr & bit)
		ch->ch_irr = high ? ch->ch_irr | bit : ch->ch_irr & (uint8_t)~bit;
	else if (high && !(ch->ch_lines & bit))
		ch->ch_irr |= bit;
	ch->ch_lines = high ? ch->ch_lines | bit : ch->ch_lines & (uint8_t)~bit;
}

static void
acknowledge(struct pic_chip *ch, unsigned int input)
{
	if (!(ch->ch_elcr & BIT8(input)))
		ch->ch_irr &= (uint8_t)~BIT8(input);
	if (!ch->ch_auto_eoi)
		ch->ch_isr |= BIT8(input);
	else if (ch->ch_rotate_auto)
		ch->ch_lowest = (uint8_t)input;
}

/* What the first chip sees of the second. It is no edge to latch, but what is so now. */
static void
cascade(struct pic *pic)
{
	struct pic_chip *const master = &pic->pi_chips[0];

	if (wanted(&pic->pi_chips[1], false) < 8)
		master->ch_irr |= BIT8(PIC_CASCADE);
	else
		master->ch_irr &= (uint8_t)~BIT8(PIC_CASCADE);
}

/* ---- Both ------------------------------------------------------------------------------------ */

void
pic_reset(struct pic *pic)
{
	for (unsigned int i = 0; i < 2; i++)
		pic->pi_chips[i] = (struct pic_chip){
			.ch_lowest = 7,
			.ch_lines = pic->pi_chips[i].ch_lines,
			.ch_imr = 0xff, /* until somebody initializes it */
		};
}

void
pic_set_line(struct pic *pic, unsigned int irq, bool high)
{
	if (irq >= PIC_IRQS || irq == PIC_CASCADE)
		return;
	set_input(&pic->pi_chips[irq / 8], irq % 8, high);
	cascade(pic);
}

bool
pic_output(const struct pic *pic)
{
	return wanted(&pic->pi_chips[0], true) < 8;
}

bool
pic_requested(const struct pic *pic, unsigned int irq)
{
	const struct pic_chip *const ch = &pic->pi_chips[irq / 8];

	return ch->ch_irr & (uint8_t)~ch->ch_imr & BIT8(irq % 8);
}

uint8_t
pic_accept(struct pic *pic)
{
	struct pic_chip *const master = &pic->pi_chips[0];
	struct pic_chip *const slave = &pic->pi_chips[1];
	const unsigned int input = wanted(master, true);
	unsigned int second;

	if (input == 8)
		return (uint8_t)(master->ch_base + 7);
	acknowledge(master, input);
	if (input != PIC_CASCADE)
		return (uint8_t)(master->ch_base + input);
	second = wanted(slave, false);
	if (second == 8)
		return (uint8_t)(slave->ch_base + 7);
	acknowledge(slave, second);
	cascade(pic);
	return (uint8_t)(slave->ch_base + second);
}

/* ---- Ports ----------------------------------------------------------------------------------- */

bool
pic_has_port(uint16_t port)
{
	return (port & ~0x81u) == 0x20 || (port & ~1u) == 0x4d0;
}

/* ICW1: begins anew, but for the lines and how they trigger. */
static void
initialize(struct pic_chip *ch, uint8_t value)
{
	*ch = (struct pic_chip){
		.ch_irr = ch->ch_lines & ch->ch_elcr,
		.ch_lines = ch->ch_lines,
		.ch_elcr = ch->ch_elcr,
		.ch_lowest = 7,
		.ch_icw = 2,
		.ch_icw4 = value & 1,
	};
}

static void
end_of_interrupt(struct pic_chip *ch, uint8_t value)
{
	const unsigned int command = value >> 5;
	unsigned int input = value & 7;
	unsigned int rank;

	switch (command) {
	case 0: /* rotate in automatic EOI: off, on */
	case 4:
		ch->ch_rotate_auto = command == 4;
		break;
	case 1: /* not specific: the highest in service; 5 rotates */
	case 5:
		rank = rank_of(ch, ch->ch_isr);
		if (rank == 8)
			break;
		input = input_of(ch, rank);
		ch->ch_isr &= (uint8_t)~BIT8(input);
		if (command == 5)
			ch->ch_lowest = (uint8_t)input;
		break;
	case 3: /* specific; 7 rotates */
	case 7:
		ch->ch_isr &= (uint8_t)~BIT8(input);
		if (command == 7)
			ch->ch_lowest = (uint8_t)input;
		break;
	case 6:
		ch->ch_lowest = (uint8_t)input;
		break;
	default:
		break;
	}
}

static void
write_command(struct pic_chip *ch, uint8_t value)
{
	if (value & 0x10) {
		initialize(ch, value);
	} else if (value & 8) { /* OCW3 */
		if (value & 4)
			ch->ch_poll = true;
		if (value & 2)
			ch->ch_read_isr = value & 1;
		if (value & 0x40)
			ch->ch_special_mask = value & 0x20;
	} else {
		end_of_interrupt(ch, value);
	}
}

static void
write_data(struct pic_chip *ch, uint8_t value)
{
	switch (ch->ch_icw) {
	case 2:
		ch->ch_base = value & 0xf8;
		ch->ch_icw = 3; /* a PC has both, whatever ICW1 says of a single one */
		break;
	case 3:
		ch->ch_icw = ch->ch_icw4 ? 4 : 0;
		break;
	case 4:
		ch->ch_auto_eoi = value & 2;
		ch->ch_special_nested = value & 0x10;
		ch->ch_icw = 0;
		break;
	default:
		ch->ch_imr = value;
		break;
	}
}

static uint8_t
poll(struct pic_chip *ch, bool master)
{
	const unsigned int input = wanted(ch, master);

	ch->ch_poll = false;
	if (input == 8)
		return 0;
	acknowledge(ch, input);
	return (uint8_t)(0x80 | input);
}

uint8_t
pic_read(struct pic *pic, uint16_t port)
{
	const bool slave = port >= 0x4d0 ? port & 1 : port & 0x80;
	struct pic_chip *const ch = &pic->pi_chips[slave];
	uint8_t value;

	if (port >= 0x4d0)
		return ch->ch_elcr;
	if (ch->ch_poll) {
		value = poll(ch, !slave);
		cascade(pic);
		return value;
	}
	if (port & 1)
		return ch->ch_imr;
	return ch->ch_read_isr ? ch->ch_isr : ch->ch_irr;
}

void
pic_write(struct pic *pic, uint16_t port, uint8_t value)
{
	const bool slave = port >= 0x4d0 ? port & 1 : port & 0x80;
	struct pic_chip *const ch = &pic->pi_chips[slave];

	if (port >= 0x4d0) {
		ch->ch_elcr = value & (slave ? ELCR_SLAVE : ELCR_MASTER);
		ch->ch_irr = (ch->ch_irr & (uint8_t)~ch->ch_elcr) | (ch->ch_lines & ch->ch_elcr);
	} else if (port & 1) {
		write_data(ch, value);
	} else {
		write_command(ch, value);
	}
	cascade(pic);
}
