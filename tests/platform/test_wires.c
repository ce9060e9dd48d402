/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* IOAPIC and 8259: what becomes of a line. */

#include <criterion/criterion.h>
#include <string.h>

#include "kmod/platform/ioapic.h"
#include "kmod/platform/pic.h"

/* ---- IOAPIC ---------------------------------------------------------------------------------- */

static struct ioapic io;
static struct apic_msg last;
static unsigned int sent;

static void
send(void *arg, const struct apic_msg *msg)
{
	cr_assert_eq(arg, &io);
	last = *msg;
	sent++;
}

static void
begin_ioapic(void)
{
	memset(&io, 0, sizeof(io));
	io.io_send = send;
	io.io_arg = &io;
	ioapic_reset(&io);
	sent = 0;
}

TestSuite(ioapic, .init = begin_ioapic);

static void
set(unsigned int index, uint32_t value)
{
	ioapic_write(&io, 0, index);
	ioapic_write(&io, 0x10, value);
}

static uint32_t
get(unsigned int index)
{
	ioapic_write(&io, 0, index);
	return ioapic_read(&io, 0x10);
}

Test(ioapic, registers)
{
	cr_assert_eq(get(1), 0x170011);
	set(0, 0x0f000000);
	cr_assert(get(0) == 0x0f000000 && get(2) == 0x0f000000);
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++)
		cr_assert_eq(get(0x10 + 2 * pin), 0x10000);
	set(0x10 + 46, 0xffffffff);
	set(0x10 + 47, 0xffffffff);
	cr_assert_eq(get(0x10 + 46), 0x1afff, "status and remote IRR are read-only");
	cr_assert_eq(get(0x10 + 47), 0xff000000);
	cr_assert_eq(get(0x40), 0);
	cr_assert_eq(ioapic_read(&io, 0x20), 0);
}

Test(ioapic, edges)
{
	ioapic_set_line(&io, 4, true); /* masked: lost */
	set(0x10 + 8, 0x0841);
	set(0x10 + 9, 0x05000000);
	cr_assert_eq(sent, 0);
	ioapic_set_line(&io, 4, true);
	cr_assert_eq(sent, 0, "it was high already");
	ioapic_set_line(&io, 4, false);
	ioapic_set_line(&io, 4, true);
	cr_assert(sent == 1 && last.am_vector == 0x41 && last.am_dest == 5);
	cr_assert(last.am_logical && !last.am_level);
	ioapic_eoi(&io, 0x41);
	cr_assert_eq(sent, 1);
}

Test(ioapic, levels)
{
	ioapic_set_line(&io, 20, true);
	set(0x10 + 40, 0x8042); /* unmasked while it is high */
	cr_assert(sent == 1 && last.am_level);
	cr_assert_eq(get(0x10 + 40), 0xc042);
	ioapic_set_line(&io, 20, true);
	cr_assert_eq(sent, 1, "not before its end");
	ioapic_eoi(&io, 0x43);
	cr_assert_eq(sent, 1, "nor at another's");
	ioapic_eoi(&io, 0x42);
	cr_assert_eq(sent, 2);
	ioapic_set_line(&io, 20, false);
	ioapic_eoi(&io, 0x42);
	cr_assert(sent == 2 && get(0x10 + 40) == 0x8042);
	ioapic_set_line(&io, 20, true);
	cr_assert_eq(sent, 3);
	set(0x10 + 40, 0x18042);
	ioapic_eoi(&io, 0x42);
	cr_assert_eq(sent, 3, "masked");
	set(0x10 + 40, 0x8042);
	cr_assert_eq(sent, 4);
	set(0x10 + 40, 0x10042); /* as an edge, masked: remote IRR goes */
	set(0x10 + 40, 0x8042);
	cr_assert_eq(sent, 5);
}

/* ---- 8259 ------------------------------------------------------------------------------------ */

static struct pic pic;

static void
initialize(uint8_t icw4)
{
	static const uint16_t ports[] = {0x20, 0xa0};

	for (unsigned int i = 0; i < 2; i++) {
		pic_write(&pic, ports[i], 0x11);
		pic_write(&pic, ports[i] + 1, (uint8_t)(0x30 + 8 * i));
		pic_write(&pic, ports[i] + 1, i ? 2 : 4);
		pic_write(&pic, ports[i] + 1, icw4);
		pic_write(&pic, ports[i] + 1, 0);
	}
}

static void
begin_pic(void)
{
	memset(&pic, 0, sizeof(pic));
	pic_reset(&pic);
	initialize(1);
}

TestSuite(pic, .init = begin_pic);

static void
edge(unsigned int irq)
{
	pic_set_line(&pic, irq, true);
	pic_set_line(&pic, irq, false);
}

Test(pic, silent_until_initialized)
{
	pic_reset(&pic);
	edge(0);
	cr_assert(!pic_output(&pic));
	cr_assert_eq(pic_read(&pic, 0x21), 0xff);
}

Test(pic, vectors_and_priorities)
{
	edge(7);
	edge(1);
	cr_assert(pic_output(&pic));
	cr_assert_eq(pic_accept(&pic), 0x31);
	cr_assert(!pic_output(&pic), "7 waits for the end of 1");
	edge(0);
	cr_assert_eq(pic_accept(&pic), 0x30);
	pic_write(&pic, 0x20, 0xb);
	cr_assert_eq(pic_read(&pic, 0x20), 3, "ISR");
	pic_write(&pic, 0x20, 0x20); /* the highest ends */
	cr_assert_eq(pic_read(&pic, 0x20), 2);
	pic_write(&pic, 0x20, 0x61); /* that one ends */
	cr_assert_eq(pic_read(&pic, 0x20), 0);
	cr_assert_eq(pic_accept(&pic), 0x37);
	pic_write(&pic, 0x20, 0x20);
	cr_assert_eq(pic_accept(&pic), 0x37, "spurious");
	cr_assert_eq(pic_read(&pic, 0x20), 0);
}

Test(pic, the_second_chip)
{
	edge(12);
	cr_assert(pic_output(&pic));
	cr_assert_eq(pic_accept(&pic), 0x3c);
	cr_assert(!pic_output(&pic));
	edge(8);
	cr_assert(!pic_output(&pic), "the first chip's input 2 is in service");
	pic_write(&pic, 0xa0, 0x20);
	pic_write(&pic, 0x20, 0x20);
	cr_assert_eq(pic_accept(&pic), 0x38);
}

Test(pic, masks_keep_requests)
{
	pic_write(&pic, 0x21, 0x02);
	edge(1);
	cr_assert(!pic_output(&pic));
	pic_write(&pic, 0x20, 0xa);
	cr_assert_eq(pic_read(&pic, 0x20), 2, "IRR");
	pic_write(&pic, 0x21, 0);
	cr_assert(pic_output(&pic));
	pic_write(&pic, 0xa1, 0xff);
	edge(9);
	cr_assert_eq(pic_accept(&pic), 0x31);
	pic_write(&pic, 0x20, 0x20);
	cr_assert(!pic_output(&pic));
}

Test(pic, levels)
{
	pic_write(&pic, 0x4d1, 0x02); /* 9 */
	cr_assert_eq(pic_read(&pic, 0x4d1), 2);
	pic_write(&pic, 0x4d0, 0xff);
	cr_assert_eq(pic_read(&pic, 0x4d0), 0xf8);
	pic_set_line(&pic, 9, true);
	cr_assert_eq(pic_accept(&pic), 0x39);
	pic_write(&pic, 0xa0, 0x20);
	pic_write(&pic, 0x20, 0x20);
	cr_assert(pic_output(&pic), "still high");
	pic_set_line(&pic, 9, false);
	cr_assert(!pic_output(&pic));
}

Test(pic, automatic_end_and_rotation)
{
	initialize(3);
	edge(3);
	cr_assert_eq(pic_accept(&pic), 0x33);
	edge(5);
	cr_assert_eq(pic_accept(&pic), 0x35, "nothing is in service");
	initialize(1);
	pic_write(&pic, 0x20, 0xc3); /* 3 becomes the lowest: 4 is the highest */
	edge(0);
	edge(4);
	cr_assert_eq(pic_accept(&pic), 0x34);
	pic_write(&pic, 0x20, 0xa0); /* ends, and becomes the lowest */
	edge(4);
	cr_assert_eq(pic_accept(&pic), 0x30);
}

Test(pic, polled)
{
	edge(6);
	pic_write(&pic, 0x20, 0x0c);
	cr_assert_eq(pic_read(&pic, 0x20), 0x86);
	pic_write(&pic, 0x20, 0x0c);
	cr_assert_eq(pic_read(&pic, 0x20), 0);
}

Test(pic, hostile_accesses)
{
	static const uint16_t ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};
	uint64_t state = 1;

	for (unsigned int i = 0; i < 200000; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		switch (state >> 61) {
		case 0:
			pic_set_line(&pic, state >> 40 & 31, state >> 50 & 1);
			break;
		case 1:
			if (pic_output(&pic))
				pic_accept(&pic);
			break;
		case 2:
			pic_read(&pic, ports[(state >> 40) % 6]);
			break;
		default:
			pic_write(&pic, ports[(state >> 40) % 6], (uint8_t)(state >> 32));
			break;
		}
	}
	initialize(1);
	for (unsigned int irq = 0; irq < 16; irq++)
		pic_set_line(&pic, irq, false);
	pic_write(&pic, 0x4d0, 0);
	pic_write(&pic, 0x4d1, 0);
	initialize(1);
	edge(1);
	cr_assert_eq(pic_accept(&pic), 0x31, "initialized it is as new");
}
