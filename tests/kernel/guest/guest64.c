/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The functions of the guest. Freestanding, without SSE except where it is the matter, and without
 * any exit except those that are the matter, or that the memory they touch causes.
 */

#include <stddef.h>

#include "guest.h"
#include "guest_fn.h"

#define WORD(address) (*(volatile uint64_t *)(uintptr_t)(address))
#define BYTE(address) (*(volatile uint8_t *)(uintptr_t)(address))

/* ---- Memory ---------------------------------------------------------------------------------- */

static uint64_t
do_nop(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	(void)a, (void)b, (void)c, (void)d;
	return GUEST_NOP_RESULT;
}

static uint64_t
do_read(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	(void)b, (void)c, (void)d;
	return WORD(a);
}

static uint64_t
do_write(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	(void)c, (void)d;
	WORD(a) = b;
	return 0;
}

static uint64_t
do_execute(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	(void)b, (void)c, (void)d;
	return ((uint64_t(*)(void))(uintptr_t)a)();
}

static uint64_t
do_fill(uint64_t address, uint64_t bytes, uint64_t step, uint64_t pass)
{
	for (uint64_t at = address; at < address + bytes; at += step)
		WORD(at) = guest_word(at, pass);
	return 0;
}

static uint64_t
do_verify(uint64_t address, uint64_t bytes, uint64_t step, uint64_t pass)
{
	for (uint64_t at = address; at < address + bytes; at += step)
		if (WORD(at) != guest_word(at, pass))
			return 1 + at;
	return 0;
}

/* Of memory that moves: what it holds goes by another address than the one where it is. */
static uint64_t
do_fill_as(uint64_t address, uint64_t bytes, uint64_t as, uint64_t pass)
{
	for (uint64_t at = 0; at < bytes; at += GUEST_PAGE)
		WORD(address + at) = guest_word(as + at, pass);
	return 0;
}

static uint64_t
do_verify_as(uint64_t address, uint64_t bytes, uint64_t as, uint64_t pass)
{
	for (uint64_t at = 0; at < bytes; at += GUEST_PAGE)
		if (WORD(address + at) != guest_word(as + at, pass))
			return 1 + address + at;
	return 0;
}

static uint64_t
do_touch(uint64_t address, uint64_t bytes, uint64_t step, uint64_t d)
{
	uint64_t sum = 0;

	(void)d;
	for (uint64_t at = address; at < address + bytes; at += step)
		sum += BYTE(at);
	return sum;
}

static uint64_t
do_spin_until(uint64_t address, uint64_t word, uint64_t c, uint64_t d)
{
	uint64_t rounds = 0;

	(void)c, (void)d;
	while (WORD(address) != word)
		rounds++;
	return rounds;
}

static uint64_t
do_spin_while(uint64_t address, uint64_t word, uint64_t c, uint64_t d)
{
	uint64_t seen;

	(void)c, (void)d;
	while ((seen = WORD(address)) == word)
		;
	return seen;
}

/*
 * Rounds over pages: the first word of each becomes the round's number, and after each round the
 * word behind `stop` says how many are complete. Ends when *stop is not 0, -> complete rounds.
 */
static uint64_t
do_writer(uint64_t address, uint64_t pages, uint64_t stop, uint64_t d)
{
	uint64_t round = 0;

	(void)d;
	while (WORD(stop) == 0) {
		round++;
		for (uint64_t page = 0; page < pages; page++)
			WORD(address + page * GUEST_PAGE) = round;
		WORD(stop + 8) = round;
	}
	return round;
}

/*
 * Pages at random: counts up the first word of one, and the word behind `stop` with it. So the sum
 * over all pages is what that says in the end, if nothing was lost. -> how many it were.
 */
static uint64_t
do_random(uint64_t address, uint64_t pages, uint64_t stop, uint64_t seed)
{
	uint64_t done = 0;

	while (WORD(stop) == 0) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		WORD(address + seed % pages * GUEST_PAGE) += 1;
		WORD(stop + 8) = ++done;
	}
	return done;
}

/* Tells in each round what it reads, and then, in the word behind, how many rounds there were. */
static uint64_t
do_mirror(uint64_t address, uint64_t mirror, uint64_t stop, uint64_t d)
{
	uint64_t rounds = 0;

	(void)d;
	while (WORD(stop) == 0) {
		WORD(mirror) = WORD(address);
		WORD(mirror + 8) = ++rounds;
	}
	return rounds;
}

static uint64_t
do_count_until(uint64_t stop, uint64_t counter, uint64_t c, uint64_t d)
{
	uint64_t n = 0;

	(void)c, (void)d;
	while (WORD(stop) == 0)
		WORD(counter) = ++n;
	return n;
}

static uint64_t
do_sum_loop(uint64_t rounds, uint64_t b, uint64_t c, uint64_t d)
{
	uint64_t sum = 0;

	(void)b, (void)c, (void)d;
	for (uint64_t i = 1; i <= rounds; i++)
		__asm__ volatile("add %1, %0" : "+r"(sum) : "r"(i));
	return sum;
}

/* ---- Instructions that exit ------------------------------------------------------------------ */

static uint64_t
do_in(uint64_t port, uint64_t bytes, uint64_t c, uint64_t d)
{
	uint32_t value = 0;

	(void)c, (void)d;
	if (bytes == 1)
		__asm__ volatile("inb %%dx, %%al" : "+a"(value) : "d"((uint16_t)port));
	else if (bytes == 2)
		__asm__ volatile("inw %%dx, %%ax" : "+a"(value) : "d"((uint16_t)port));
	else
		__asm__ volatile("inl %%dx, %%eax" : "+a"(value) : "d"((uint16_t)port));
	return value;
}

static uint64_t
do_out(uint64_t port, uint64_t bytes, uint64_t value, uint64_t d)
{
	(void)d;
	if (bytes == 1)
		__asm__ volatile("outb %%al, %%dx" : : "a"((uint32_t)value), "d"((uint16_t)port));
	else if (bytes == 2)
		__asm__ volatile("outw %%ax, %%dx" : : "a"((uint32_t)value), "d"((uint16_t)port));
	else
		__asm__ volatile("outl %%eax, %%dx" : : "a"((uint32_t)value), "d"((uint16_t)port));
	return 0;
}

static uint64_t
do_ins(uint64_t port, uint64_t address, uint64_t count, uint64_t d)
{
	(void)d;
	__asm__ volatile("rep insb" : "+D"(address), "+c"(count) : "d"((uint16_t)port) : "memory");
	return count;
}

static uint64_t
do_outs(uint64_t port, uint64_t address, uint64_t count, uint64_t d)
{
	(void)d;
	__asm__ volatile("rep outsb" : "+S"(address), "+c"(count) : "d"((uint16_t)port) : "memory");
	return count;
}

static uint64_t
do_cpuid(uint64_t leaf, uint64_t sub, uint64_t address, uint64_t d)
{
	uint32_t eax = (uint32_t)leaf, ebx, ecx = (uint32_t)sub, edx;
	volatile uint32_t *const out = (volatile uint32_t *)(uintptr_t)address;

	(void)d;
	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	out[0] = eax;
	out[1] = ebx;
	out[2] = ecx;
	out[3] = edx;
	return 0;
}

static uint64_t
do_hlt(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	(void)a, (void)b, (void)c, (void)d;
	__asm__ volatile("hlt");
	return 0;
}

static uint64_t
do_pause(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	(void)a, (void)b, (void)c, (void)d;
	__asm__ volatile("pause");
	return 0;
}

static uint64_t
do_vmcall(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	uint64_t rax = 0x11;

	(void)b, (void)c, (void)d;
	__asm__ volatile("vmcall"
			 : "+a"(rax)
			 : "b"(0x22ul), "c"(0x33ul), "d"(0x44ul), "S"(0x55ul), "D"(a)
			 : "memory");
	return rax;
}

static uint64_t
do_vmmcall(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	uint64_t rax = 0x11;

	(void)b, (void)c, (void)d;
	__asm__ volatile("vmmcall"
			 : "+a"(rax)
			 : "b"(0x22ul), "c"(0x33ul), "d"(0x44ul), "S"(0x55ul), "D"(a)
			 : "memory");
	return rax;
}

#define READ(reg, value) __asm__ volatile("mov %%" reg ", %0" : "=r"(value))
#define LOAD(reg, value) __asm__ volatile("mov %0, %%" reg : : "r"(value) : "memory")

static uint64_t
do_read_cr(uint64_t n, uint64_t b, uint64_t c, uint64_t d)
{
	uint64_t value = 0;

	(void)b, (void)c, (void)d;
	switch (n) {
	case 0:
		READ("cr0", value);
		break;
	case 2:
		READ("cr2", value);
		break;
	case 3:
		READ("cr3", value);
		break;
	case 4:
		READ("cr4", value);
		break;
	case 8:
		READ("cr8", value);
		break;
	}
	return value;
}

static uint64_t
do_write_cr(uint64_t n, uint64_t value, uint64_t c, uint64_t d)
{
	switch (n) {
	case 0:
		LOAD("cr0", value);
		break;
	case 2:
		LOAD("cr2", value);
		break;
	case 3:
		LOAD("cr3", value);
		break;
	case 4:
		LOAD("cr4", value);
		break;
	case 8:
		LOAD("cr8", value);
		break;
	}
	return do_read_cr(n, 0, c, d);
}

static uint64_t
do_read_dr(uint64_t n, uint64_t b, uint64_t c, uint64_t d)
{
	uint64_t value = 0;

	(void)b, (void)c, (void)d;
	switch (n) {
	case 0:
		READ("dr0", value);
		break;
	case 3:
		READ("dr3", value);
		break;
	case 6:
		READ("dr6", value);
		break;
	case 7:
		READ("dr7", value);
		break;
	}
	return value;
}

static uint64_t
do_write_dr(uint64_t n, uint64_t value, uint64_t c, uint64_t d)
{
	switch (n) {
	case 0:
		LOAD("dr0", value);
		break;
	case 3:
		LOAD("dr3", value);
		break;
	case 6:
		LOAD("dr6", value);
		break;
	case 7:
		LOAD("dr7", value);
		break;
	}
	return do_read_dr(n, 0, c, d);
}

/* ---- Events ---------------------------------------------------------------------------------- */

static uint64_t
do_ud2(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	(void)a, (void)b, (void)c, (void)d;
	__asm__ volatile("ud2");
	return 0;
}

static uint64_t
do_int3(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	(void)a, (void)b, (void)c, (void)d;
	__asm__ volatile("int3");
	return 0;
}

static uint64_t
do_divide(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	(void)a, (void)b, (void)c, (void)d;
	__asm__ volatile("xor %%ecx, %%ecx\n\txor %%edx, %%edx\n\tdiv %%ecx"
			 :
			 :
			 : "rax", "rcx", "rdx");
	return 0;
}

static uint64_t
do_triple(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	static const uint16_t none[5];

	(void)a, (void)b, (void)c, (void)d;
	__asm__ volatile("lidt %0\n\tud2" : : "m"(none));
	return 0;
}

static uint64_t
do_sti_loop(uint64_t stop, uint64_t counter, uint64_t c, uint64_t d)
{
	__asm__ volatile("sti");
	return do_count_until(stop, counter, c, d);
}

static uint64_t
do_cli_count(uint64_t rounds, uint64_t b, uint64_t c, uint64_t d)
{
	volatile const struct guest_events *const events = (void *)(uintptr_t)GUEST_EVENTS;
	uint64_t before;

	__asm__ volatile("cli");
	do_sum_loop(rounds, b, c, d);
	before = events->count;
	__asm__ volatile("sti\n\tnop\n\tnop");
	return before;
}

/* ---- x87 and SSE ----------------------------------------------------------------------------- */

static uint64_t
do_sse(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	uint64_t sse, x87;

	(void)c, (void)d;
	__asm__ volatile("movq %2, %%xmm3\n\tmovq %3, %%xmm7\n\taddsd %%xmm7, %%xmm3\n\t"
			 "movq %%xmm3, %0\n\t"
			 "fninit\n\tfldl %4\n\tfaddl %5\n\tfstpl %1"
			 : "=&r"(sse), "=m"(x87)
			 : "r"(a), "r"(b), "m"(a), "m"(b));
	return sse == x87 ? sse : 0;
}

static uint64_t
do_sse_spin(uint64_t stop, uint64_t value, uint64_t c, uint64_t d)
{
	uint64_t low, high, integer;

	(void)c, (void)d;
	__asm__ volatile("movq %0, %%xmm0\n\tmovq %0, %%xmm15\n\tfninit\n\tfildll %1"
			 :
			 : "r"(value), "m"(value));
	while (WORD(stop) == 0)
		;
	__asm__ volatile("movq %%xmm0, %0\n\tmovq %%xmm15, %1\n\tfistpll %2"
			 : "=&r"(low), "=&r"(high), "=m"(integer));
	return low != value || high != value || integer != value;
}

/* ---- The table ------------------------------------------------------------------------------- */

static uint64_t
do_rdmsr(uint64_t index, uint64_t b, uint64_t c, uint64_t d)
{
	uint32_t low, high;

	(void)b, (void)c, (void)d;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"((uint32_t)index));
	return (uint64_t)high << 32 | low;
}

static uint64_t
do_wrmsr(uint64_t index, uint64_t value, uint64_t c, uint64_t d)
{
	(void)c, (void)d;
	__asm__ volatile("wrmsr"
			 :
			 : "c"((uint32_t)index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
	return 0;
}

extern guest_fn *const guest_calls[GUEST_CALLS];
guest_fn *const guest_calls[GUEST_CALLS] = {
	[GUEST_NOP] = do_nop,
	[GUEST_READ] = do_read,
	[GUEST_WRITE] = do_write,
	[GUEST_EXECUTE] = do_execute,
	[GUEST_FILL] = do_fill,
	[GUEST_VERIFY] = do_verify,
	[GUEST_FILL_AS] = do_fill_as,
	[GUEST_VERIFY_AS] = do_verify_as,
	[GUEST_TOUCH] = do_touch,
	[GUEST_SPIN_UNTIL] = do_spin_until,
	[GUEST_SPIN_WHILE] = do_spin_while,
	[GUEST_WRITER] = do_writer,
	[GUEST_RANDOM] = do_random,
	[GUEST_MIRROR] = do_mirror,
	[GUEST_COUNT_UNTIL] = do_count_until,
	[GUEST_SUM_LOOP] = do_sum_loop,
	[GUEST_IN] = do_in,
	[GUEST_OUT] = do_out,
	[GUEST_INS] = do_ins,
	[GUEST_OUTS] = do_outs,
	[GUEST_RDMSR] = do_rdmsr,
	[GUEST_WRMSR] = do_wrmsr,
	[GUEST_CPUID] = do_cpuid,
	[GUEST_HLT] = do_hlt,
	[GUEST_PAUSE] = do_pause,
	[GUEST_VMCALL] = do_vmcall,
	[GUEST_VMMCALL] = do_vmmcall,
	[GUEST_READ_CR] = do_read_cr,
	[GUEST_WRITE_CR] = do_write_cr,
	[GUEST_READ_DR] = do_read_dr,
	[GUEST_WRITE_DR] = do_write_dr,
	[GUEST_UD2] = do_ud2,
	[GUEST_INT3] = do_int3,
	[GUEST_DIVIDE] = do_divide,
	[GUEST_TRIPLE] = do_triple,
	[GUEST_STI_LOOP] = do_sti_loop,
	[GUEST_CLI_COUNT] = do_cli_count,
	[GUEST_SSE] = do_sse,
	[GUEST_SSE_SPIN] = do_sse_spin,
	[GUEST_HALT_FOR] = do_halt_for,
	[GUEST_TIMERS] = do_timers,
	[GUEST_PING] = do_ping,
	[GUEST_EDU_PROBE] = edu_probe,
	[GUEST_EDU_FACTORIAL] = edu_factorial,
	[GUEST_EDU_DMA] = edu_dma,
	[GUEST_EDU_INTR] = edu_intr,
};
