/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Makes the tables of each case, lets the guest do its one access, and writes down what came of it:
 * to the parallel port, which both emulators give to a file as fast as it comes.
 *
 * Nothing is asserted here. The judge knows what should have come of it.
 */

#include "bare.h"

#define PRINTER 0x378

static const struct bare_backend *backend;
static struct diff_machine machine;

/* ---- Telling ------------------------------------------------------------------------------- */

static void
put(const void *bytes, uint64_t n)
{
	const uint8_t *b = bytes;

	for (uint64_t i = 0; i < n; i++) {
		bare_out(PRINTER, b[i]);
		bare_out(PRINTER + 2, 0x0d); /* selected, not in reset, strobe */
		bare_out(PRINTER + 2, 0x0c);
	}
}

static void
leave(void)
{
	static const char word[] = "Shutdown";

	bare_out(0xf4, 0x10); /* QEMU's isa-debug-exit */
	for (unsigned int i = 0; i < sizeof(word) - 1; i++)
		bare_out(0x8900, (uint8_t)word[i]); /* Bochs' */
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* A line of text in place of the records: there will be none, or no more. */
static void
give_up(const char *why)
{
	uint64_t n = 0;

	while (why[n] != 0)
		n++;
	put("diff: ", 6);
	put(why, n);
	put("\n", 1);
	leave();
}

static void
put_hex(uint64_t v)
{
	for (int i = 60; i >= 0; i -= 4)
		put(&"0123456789abcdef"[(v >> i) & 15], 1);
	put(" ", 1);
}

void bare_exception(uint64_t vector, uint64_t first, uint64_t second);
void
bare_exception(uint64_t vector, uint64_t first, uint64_t second)
{
	put("diff: exception ", 16);
	put_hex(vector);
	put_hex(first); /* the error code or RIP, then the other or CS */
	put_hex(second);
	put_hex(BARE_READ(cr2));
	give_up("in the host");
}

/* ---- One case ------------------------------------------------------------------------------ */

/* What can be executed at a spot: load its mark into RCX, and call the host. */
static void
put_code(volatile uint8_t *at, uint64_t mark)
{
	at[0] = 0x48; /* mov $imm64, %rcx */
	at[1] = 0xb9;
	for (unsigned int i = 0; i < 8; i++)
		at[2 + i] = (uint8_t)(mark >> (8 * i));
	for (unsigned int i = 0; i < 3; i++)
		at[10 + i] = backend->bb_call[i];
}

/* The word that a spot holds before the access, if it is no code. */
static uint64_t
spot_word(const struct diff_case *c, const struct diff_part *parts, unsigned int n, uint64_t spot)
{
	if (c->dc_access != DIFF_WALK && c->dc_access != DIFF_WALK_UNSET)
		return diff_mark(c, spot);
	for (unsigned int i = 0; i < n; i++) {
		if (parts[i].dp_gpa == c->dc_gpa)
			return parts[i].dp_value;
	}
	return 0;
}

static void
prepare(const struct diff_case *c, const struct diff_part *parts, unsigned int n)
{
	for (unsigned int l = 0; l < machine.dm_levels; l++)
		*bare_word(c->dc_where[l]) = c->dc_entry[l];
	for (unsigned int i = 0; i < n; i++) {
		if (parts[i].dp_gpa < 0x200000)
			*bare_word(DIFF_INFRA + parts[i].dp_gpa) = parts[i].dp_value;
	}
	for (unsigned int l = 0; l < DIFF_LEAVES; l++) {
		if (c->dc_spot[l] == 0)
			continue;
		if (c->dc_access == DIFF_FETCH)
			put_code((volatile uint8_t *)c->dc_spot[l], diff_mark(c, c->dc_spot[l]));
		else
			*bare_word(c->dc_spot[l]) = spot_word(c, parts, n, c->dc_spot[l]);
	}
}

static void
collect(const struct diff_case *c, const struct diff_part *parts, unsigned int n,
	struct diff_result *r)
{
	const uint64_t a = diff_accessed(&machine), d = diff_dirty(&machine);

	for (unsigned int l = 0; l < DIFF_LEAVES; l++) {
		if (c->dc_access != DIFF_FETCH && c->dc_spot[l] != 0 &&
		    *bare_word(c->dc_spot[l]) != spot_word(c, parts, n, c->dc_spot[l]))
			r->dr_written |= (uint8_t)(1u << l);
	}
	for (unsigned int l = 0; l < machine.dm_levels; l++) {
		const uint64_t e = *bare_word(c->dc_where[l]);

		r->dr_accessed |= (uint16_t)((e & a ? 1u : 0) << l);
		r->dr_dirty |= (uint16_t)((e & d ? 1u : 0) << l);
		if ((e ^ c->dc_entry[l]) & ~(a | d))
			r->dr_changed |= (uint8_t)(1u << l);
		*bare_word(c->dc_where[l]) = 0;
	}
	for (unsigned int i = 0; i < n; i++) {
		if (parts[i].dp_gpa < 0x200000)
			*bare_word(DIFF_INFRA + parts[i].dp_gpa) = 0;
	}
}

/* The guest's program: an instruction per kind of access, 16 bytes apart. */
static void
put_program(void)
{
	static const uint8_t insn[][6] = {
		[DIFF_READ] = {0x48, 0x8b, 0x0b, 0x90, 0x90, 0x90},	  /* mov (%rbx), %rcx */
		[DIFF_WRITE] = {0x48, 0x89, 0x0b, 0x90, 0x90, 0x90},	  /* mov %rcx, (%rbx) */
		[DIFF_EXCHANGE] = {0x48, 0x87, 0x0b, 0x90, 0x90, 0x90},	  /* xchg %rcx, (%rbx) */
		[DIFF_READ_WRITE] = {0x48, 0x8b, 0x03, 0x48, 0x89, 0x0b}, /* RAX, then RCX */
		[DIFF_FETCH] = {0xff, 0xe3, 0x90, 0x90, 0x90, 0x90},	  /* jmp *%rbx */
		[DIFF_WALK] = {0x48, 0x8b, 0x0b, 0x90, 0x90, 0x90},
		[DIFF_WALK_UNSET] = {0x48, 0x8b, 0x0b, 0x90, 0x90, 0x90},
	};
	volatile uint8_t *at = (volatile uint8_t *)(DIFF_INFRA + DIFF_GUEST_CODE);

	for (unsigned int i = 0; i < DIFF_ACCESSES; i++) {
		for (unsigned int j = 0; j < 6; j++)
			at[16 * i + j] = insn[i][j];
		for (unsigned int j = 0; j < 3; j++)
			at[16 * i + 6 + j] = backend->bb_call[j];
	}
	for (unsigned int i = 0; i < 512; i++)
		bare_word(DIFF_INFRA + DIFF_GUEST_GOOD)[i] = DIFF_GOOD_VALUE;
}

static void
run_case(uint32_t index)
{
	struct diff_part parts[DIFF_GUEST_PARTS];
	struct bare_regs regs;
	struct diff_result r;
	struct diff_case c;
	unsigned int n;

	bare_zero(&r, sizeof(r));
	diff_make(&machine, index, &c);
	n = diff_guest_parts(&c, parts);
	prepare(&c, parts, n);
	regs.br_rbx = c.dc_linear;
	regs.br_rcx = ~(uint64_t)index;
	r.dr_index = index;
	if (c.dc_access >= DIFF_ACCESSES)
		backend->bb_invalidate(&c, &r);
	else
		backend->bb_run(&machine, &c, c.dc_code + DIFF_GUEST_CODE + 16ull * c.dc_access,
				&regs, &r);
	r.dr_value = regs.br_rcx;
	collect(&c, parts, n, &r);
	r.dr_check = diff_check(&r);
	put(&r, sizeof(r));
}

/* ---- All of them --------------------------------------------------------------------------- */

static void
make_infrastructure(void)
{
	bare_zero((void *)DIFF_TABLE(0), DIFF_TABLES * 0x1000);
	bare_zero((void *)DIFF_INFRA, 0x10000);
	*bare_word(DIFF_TABLE(3)) = diff_good_table(&machine, DIFF_TABLE(DIFF_INFRA_2));
	*bare_word(DIFF_TABLE(DIFF_INFRA_2)) = diff_good_table(&machine, DIFF_TABLE(DIFF_INFRA_1));
	*bare_word(DIFF_TABLE(DIFF_INFRA_1)) = diff_good_large(&machine, DIFF_INFRA);
	put_program();
}

/* Words that somebody wrote outside of entries; the three that lead to the guest are there. */
static uint64_t
strays(void)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < DIFF_TABLES * 512; i++)
		n += bare_word(DIFF_TABLE(0))[i] != 0;
	return n - 3;
}

/* The value of NAME= in the loader's command line: digits. */
static uint64_t
option(const char *line, const char *name)
{
	for (; *line != 0; line++) {
		unsigned int i = 0;
		uint64_t v = 0;

		while (name[i] != 0 && line[i] == name[i])
			i++;
		if (name[i] != 0 || line[i] != '=')
			continue;
		for (i++; line[i] >= '0' && line[i] <= '9'; i++)
			v = v * 10 + (uint64_t)(line[i] - '0');
		return v;
	}
	return 0;
}

void bare_main(const uint32_t *info);
void
bare_main(const uint32_t *info)
{
	const char *line = info[0] & 4 ? (const char *)(uint64_t)info[4] : "";
	const bool svm = (bare_cpuid(0x80000001).c & 4) != 0; /* CPUID 8000_0001h, ECX: SVM */
	const char *why = "";
	struct diff_result last;

	bare_out(PRINTER + 2, 0x08);
	bare_out(PRINTER + 2, 0x0c);
	machine.dm_seed = option(line, "seed");
	machine.dm_first = (uint32_t)option(line, "first");
	machine.dm_count = (uint32_t)option(line, "count");
	machine.dm_phys_bits = bare_cpuid(0x80000008).a & 0xff;
	machine.dm_features = bare_cpuid(0x80000001).d;
	machine.dm_levels = BARE_READ(cr4) & 0x1000 ? 5 : 4; /* LA57 */
	if (machine.dm_phys_bits < 40)
		give_up("fewer than 40 bits of physical addresses");
	backend = svm ? &bare_svm : &bare_vmx;
	if (!backend->bb_start(&machine, &why))
		give_up(why);
	put(&machine, sizeof(machine));
	make_infrastructure();
	for (uint32_t i = 0; i < machine.dm_count; i++)
		run_case(machine.dm_first + i);
	bare_zero(&last, sizeof(last));
	last.dr_index = DIFF_END;
	last.dr_code = strays();
	last.dr_check = diff_check(&last);
	put(&last, sizeof(last));
	leave();
}
