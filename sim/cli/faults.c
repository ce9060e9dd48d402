/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* The kinds of fault, what each does, and the text that says which of them a run injects. */

#include "sim/cli/faults.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cli/number.h"

#define MILLION 1000000

/*
 * Odds by themselves: so that some tens of runs of 20,000 steps meet each kind, and none of them
 * keeps a run from doing anything else.
 */
static const struct faults_info infos[SIM_FAULT_COUNT] = {
	[SIM_FAULT_TABLE_ALLOC] = {"no page table is to be had", "memory", 50000},
	[SIM_FAULT_ALLOC] = {"no memory of the host's is to be had", "memory", 100000},
	[SIM_FAULT_PAGE_ALLOC] = {"no frame for a guest's page is to be had", "memory", 20000},
	[SIM_FAULT_RESERVE] = {"no table is to be had for so long that only reserves are left",
			       "memory", 10000},
	[SIM_FAULT_IOMMU] = {"the IOMMU has no memory for a domain, a mapping, a device", "devices",
			     100000},
	[SIM_FAULT_FLUSH_LATE] = {"a flush of the IOMMU takes long", "devices", 300000},
	[SIM_FAULT_DMA] = {"a device reads or writes a guest's memory, at any step", "devices", 0},
	[SIM_FAULT_SWAP_READ] = {"a read from the swap device fails, and spoils what it read",
				 "disk", 50000},
	[SIM_FAULT_SWAP_WRITE] = {"a write to the swap device fails, and spoils the slots", "disk",
				  50000},
	[SIM_FAULT_SWAP_SHORT] = {"a request of the swap device fails with a part of it done",
				  "disk", 50000},
	[SIM_FAULT_SWAP_LATE] = {"a request of the swap device takes long", "disk", 200000},
	[SIM_FAULT_KICK_DELAY] = {"an interrupt is long in coming", "interrupts", 200000},
	[SIM_FAULT_KICK_REORDER] = {"an interrupt overtakes one that was sent before it",
				    "interrupts", 0},
	[SIM_FAULT_KICK_COALESCE] = {"an interrupt meets a pending one, and both are taken as one",
				     "interrupts", 0},
	[SIM_FAULT_KICK_OFFLINE] = {"an interrupt is lost to a CPU that is offline", "interrupts",
				    0},
	[SIM_FAULT_SPURIOUS_KICK] = {"an interrupt that nobody sent", "interrupts", 100},
	[SIM_FAULT_STUCK_GUEST] = {"a vCPU never exits by itself, only for an interrupt", "guests",
				   20000},
	[SIM_FAULT_ENTRY] = {"a VM entry fails when its flush request has been consumed", "guests",
			     50000},
	[SIM_FAULT_SPURIOUS_EXIT] = {"a guest exits without cause", "guests", 20000},
	[SIM_FAULT_SPURIOUS_FAULT] = {"a nested page fault that nothing in the tables explains",
				      "guests", 20000},
	[SIM_FAULT_MIGRATION] = {"a vCPU goes on on another CPU", "guests", 0},
	[SIM_FAULT_HOSTILE] = {"a call with arguments that mean harm", "guests", 0},
	[SIM_FAULT_DESTROY] = {"a guest is destroyed in the middle of everything, and made anew",
			       "guests", 0},
	[SIM_FAULT_INTERRUPT] = {"a thread is signaled where it may wait interruptibly", "threads",
				 20000},
	[SIM_FAULT_KILL] = {"a thread is killed at any step, and its guest destroyed", "threads",
			    200},
	[SIM_FAULT_SPECULATION] = {"the CPU caches a translation that nobody used", "hardware", 0},
	[SIM_FAULT_EVICTION] = {"the CPU forgets a cached translation", "hardware", 0},
	[SIM_FAULT_DELAYED_STORE] = {"a store reaches memory only when its CPU has gone on",
				     "hardware", 0},
	[SIM_FAULT_OFFLINE] = {"a CPU goes offline and comes back", "hardware", 0},
	[SIM_FAULT_STALL] = {"a CPU stands still for long, wherever it is", "hardware", 0},
	[SIM_FAULT_GENERATION] = {"a guest's clock of shootdowns is about to wrap around",
				  "hardware", 300000},
	[SIM_FAULT_POISON] = {"a frame turns out to be bad: a machine check, and the page is lost",
			      "hardware", 1000},
};

const struct faults_info *
faults_info(enum sim_fault f)
{
	return &infos[f];
}

int
faults_find(const char *name, size_t len)
{
	for (int f = 0; f < SIM_FAULT_COUNT; f++) {
		const char *const have = sim_fault_name((enum sim_fault)f);

		if (strlen(have) == len && strncmp(have, name, len) == 0)
			return f;
	}
	return -1;
}

/* ---- The text ------------------------------------------------------------------------------- */

struct setting {
	enum faults_state se_state;
	bool se_told; /* how: by what follows */
	uint32_t se_ppm;
	uint64_t se_nth;
	bool se_persist;
};

struct parser {
	struct setting pa_settings[SIM_FAULT_COUNT];
	char *pa_why;
	size_t pa_why_bytes;
};

static bool
is(const char *text, size_t len, const char *word)
{
	return strlen(word) == len && strncmp(text, word, len) == 0;
}

static int
wrong(struct parser *pa, const char *what, const char *text, size_t len)
{
	snprintf(pa->pa_why, pa->pa_why_bytes, "--faults: '%.*s' %s", (int)(len < 60 ? len : 60),
		 text, what);
	return -EINVAL;
}

static void
set_all(struct parser *pa, enum faults_state state)
{
	for (unsigned int f = 0; f < SIM_FAULT_COUNT; f++)
		pa->pa_settings[f] = (struct setting){.se_state = state};
}

/* A probability, "1" or "0.05": to millionths, exactly. */
static bool
read_ppm(const char *text, size_t len, uint32_t *ppm)
{
	uint32_t value = 0;
	uint32_t unit = MILLION;
	size_t i = 0;

	if (len == 0 || len > 8)
		return false;
	for (; i < len && text[i] >= '0' && text[i] <= '1' && i == 0; i++)
		value = (uint32_t)(text[i] - '0') * MILLION;
	if (i < len && text[i] == '.') {
		if (i + 1 == len)
			return false;
		for (i++; i < len && text[i] >= '0' && text[i] <= '9' && unit > 1; i++) {
			unit /= 10;
			value += (uint32_t)(text[i] - '0') * unit;
		}
	}
	*ppm = value;
	return i == len && value <= MILLION;
}

static bool
read_nth(const char *text, size_t len, uint64_t *nth)
{
	char digits[24];

	if (len <= 4 || strncmp(text, "nth=", 4) != 0 || len - 4 >= sizeof(digits))
		return false;
	memcpy(digits, text + 4, len - 4);
	digits[len - 4] = '\0';
	return sim_number(digits, nth) && *nth > 0;
}

/* What follows a name: [:HOW ...]. */
static int
read_how(struct parser *pa, struct setting *se, const char *text, size_t len)
{
	while (len > 0) {
		const char *const how = text + 1; /* past the colon */
		const char *const colon = memchr(how, ':', len - 1);
		const size_t n = colon != NULL ? (size_t)(colon - how) : len - 1;

		if (is(how, n, "persist"))
			se->se_persist = true;
		else if (!read_nth(how, n, &se->se_nth) && !read_ppm(how, n, &se->se_ppm))
			return wrong(pa, "is neither a probability, nor nth=N, nor persist", how,
				     n);
		se->se_told = true;
		text += n + 1;
		len -= n + 1;
	}
	return 0;
}

static int
read_item(struct parser *pa, const char *text, size_t len)
{
	const bool off = len > 0 && text[0] == '-';
	const char *const name = text + off;
	const char *const colon = memchr(text, ':', len);
	const size_t n = (colon != NULL ? (size_t)(colon - text) : len) - off;
	int f;

	if (is(text, len, "all") || is(text, len, "default") || is(text, len, "none")) {
		set_all(pa, text[0] == 'a'   ? FAULTS_ON
			    : text[0] == 'd' ? FAULTS_DEFAULT
					     : FAULTS_OFF);
		return 0;
	}
	f = faults_find(name, n);
	if (f < 0)
		return wrong(pa, "is no kind of fault; see 'pmap-sim faults'", name, n);
	if (colon != NULL && (off || infos[f].fi_ppm == 0))
		return wrong(pa,
			     off ? "is off, and cannot say how"
				 : "happens by itself, and cannot be told how",
			     name, n);
	pa->pa_settings[f] = (struct setting){.se_state = off ? FAULTS_OFF : FAULTS_ON};
	if (colon == NULL)
		return 0;
	if (read_how(pa, &pa->pa_settings[f], colon, len - (size_t)(colon - text)) != 0)
		return -EINVAL;
	if (pa->pa_settings[f].se_persist && pa->pa_settings[f].se_nth == 0)
		return wrong(pa, "is to persist, but since when? nth=N says it", name, n);
	return 0;
}

static int
parse(struct parser *pa, const char *list)
{
	set_all(pa, FAULTS_OFF);
	for (const char *p = list;; p++) {
		const size_t n = strcspn(p, ",");

		if (read_item(pa, p, n) != 0)
			return -EINVAL;
		p += n;
		if (*p == '\0')
			return 0;
	}
}

int
faults_check(const char *list, char *why, size_t why_bytes)
{
	struct parser pa = {.pa_why = why, .pa_why_bytes = why_bytes};

	return parse(&pa, list);
}

enum faults_state
faults_of(const struct sim_options *o, enum sim_fault f)
{
	struct parser pa = {.pa_why_bytes = 0};

	if (o->faults == NULL || parse(&pa, o->faults) != 0)
		return FAULTS_DEFAULT;
	return pa.pa_settings[f].se_state;
}

/* ---- Configurations ------------------------------------------------------------------------- */

static void
apply(const struct setting *se, enum sim_fault f, struct sim_config *cfg)
{
	if (se->se_state == FAULTS_DEFAULT)
		return;
	cfg->sc_fault_off[f] = se->se_state == FAULTS_OFF;
	cfg->sc_fault_nth[f] = se->se_nth;
	cfg->sc_fault_persist[f] = se->se_persist;
	if (se->se_state == FAULTS_OFF)
		cfg->sc_fault_ppm[f] = 0;
	else
		cfg->sc_fault_ppm[f] = se->se_told ? se->se_ppm : infos[f].fi_ppm;
	if (f == SIM_FAULT_STALL)
		cfg->sc_stalls = se->se_state == FAULTS_ON;
}

bool
faults_apply(const struct sim_options *o, struct sim_config *cfg)
{
	struct parser pa = {.pa_why_bytes = 0};

	if (o->faults == NULL || parse(&pa, o->faults) != 0)
		return false;
	for (unsigned int f = 0; f < SIM_FAULT_COUNT; f++)
		apply(&pa.pa_settings[f], (enum sim_fault)f, cfg);
	return true;
}
