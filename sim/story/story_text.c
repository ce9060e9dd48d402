/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* A story in words: who did what to what, and what that changed. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sim/hw/hw_priv.h"
#include "sim/story/story.h"

#define OFFSET_BITS 56

typedef unsigned long long ull;

/* A text that grows. */
struct say {
	char *at;
	size_t room;
};

__attribute__((format(printf, 2, 3))) static void
say(struct say *y, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(y->at, y->room, fmt, ap);
	va_end(ap);
	if (n < 0 || y->room == 0)
		return;
	if ((size_t)n >= y->room)
		n = (int)y->room - 1;
	y->at += n;
	y->room -= (size_t)n;
}

/* ---- Entries -------------------------------------------------------------------------------- */

static void
say_rights(struct say *y, unsigned int rights)
{
	say(y, "%c%c%c", rights & HW_READ ? 'r' : '-', rights & HW_WRITE ? 'w' : '-',
	    rights & HW_EXEC ? 'x' : '-');
}

static void
say_entry(struct say *y, const struct story *s, unsigned int space, unsigned int level,
	  uint64_t value)
{
	struct hw_entry e;

	if (value == 0) {
		say(y, "nothing");
		return;
	}
	if (space >= s->st_nspaces) {
		say(y, "0x%llx", (ull)value);
		return;
	}
	hw_entry_decode(&s->st_spaces[space].sa_ctx, level, value, &e);
	if (!e.en_present) {
		if ((value & (value - 1)) == 0)
			say(y, "not present (bit %d alone)", __builtin_ctzll(value));
		else
			say(y, "not present (0x%llx)", (ull)value);
		return;
	}
	if (e.en_bad != HW_FINE)
		say(y, "malformed ");
	say(y, "%s 0x%llx ", e.en_leaf ? "frame" : "table", (ull)e.en_addr);
	say_rights(y, e.en_rights);
	if (!hw_context_has_ad(&s->st_spaces[space].sa_ctx))
		return;
	say(y, "%s%s", e.en_accessed ? " A" : "", e.en_leaf && e.en_dirty ? " D" : "");
}

const char *
story_entry(const struct story *s, unsigned int space, unsigned int level, uint64_t value,
	    char *text, size_t bytes)
{
	struct say y = {text, bytes};

	say_entry(&y, s, space, level, value);
	return text;
}

static const char *
size_name(unsigned int level)
{
	static const char *const names[] = {"4 KiB", "2 MiB", "1 GiB"};

	return level < 3 ? names[level] : "?";
}

static void
say_cached(struct say *y, const struct story *s, uint32_t fill)
{
	const struct story_event *const e = &s->st_events[fill];

	if (e->se_flags & SE_TABLE)
		say(y, "pointer of level %u, 0x%llx -> table 0x%llx ", e->se_level, (ull)e->se_gpa,
		    (ull)e->se_id);
	else
		say(y, "%s%s 0x%llx -> frame 0x%llx ", size_name(e->se_level),
		    e->se_flags & SE_LINEAR ? " linear" : "", (ull)e->se_gpa, (ull)e->se_id);
	say_rights(y, e->se_rights);
	if (e->se_flags & SE_DIRTY)
		say(y, " dirty");
}

const char *
story_cached(const struct story *s, uint32_t fill, char *text, size_t bytes)
{
	struct say y = {text, bytes};

	say_cached(&y, s, fill);
	return text;
}

/* ---- Words ---------------------------------------------------------------------------------- */

static const char *
space_name(const struct story *s, const struct story_event *e)
{
	return e->se_space < s->st_nspaces ? s->st_spaces[e->se_space].sa_name : "?";
}

static void
say_word(struct say *y, const struct story *s, const struct story_event *e)
{
	const uint64_t off = e->se_id & (((uint64_t)1 << OFFSET_BITS) - 1);

	for (uint32_t i = 0; i < s->st_nspaces; i++) {
		if (e->se_id != 0 && s->st_spaces[i].sa_gen_id == e->se_id) {
			say(y, "the generation of %s", s->st_spaces[i].sa_name);
			return;
		}
	}
	if (e->se_flags & SE_TABLE)
		say(y, "the level-%u entry of 0x%llx in %s", e->se_level, (ull)e->se_gpa,
		    space_name(s, e));
	else if (e->se_flags & SE_DESC)
		say(y, "the level-%u table at 0x%llx of %s", e->se_level, (ull)e->se_gpa,
		    space_name(s, e));
	else if (e->se_flags & SE_PAGE)
		say(y, "page 0x%llx of %s", (ull)e->se_gpa, space_name(s, e));
	else if (e->se_place != 0)
		say(y, "the %s", s->st_places[e->se_place - 1].pl_name);
	else if (e->se_id == SIM_ID_OTHER)
		say(y, "a word of its own");
	else if (e->se_id >> OFFSET_BITS == SIM_ID_ALLOC >> OFFSET_BITS)
		say(y, "memory+0x%llx", (ull)off);
	else
		say(y, "frame+0x%llx", (ull)off);
}

static void
say_value(struct say *y, const struct story *s, const struct story_event *e, uint64_t value)
{
	if (e->se_flags & SE_TABLE)
		say_entry(y, s, e->se_space, e->se_level, value);
	else if (value < 4096)
		say(y, "%llu", (ull)value);
	else
		say(y, "0x%llx", (ull)value);
}

/* ---- Actors --------------------------------------------------------------------------------- */

const char *
story_actor(const struct story *s, uint32_t i, char *text, size_t bytes)
{
	const unsigned int actor = s->st_events[i].se_actor;

	if (actor == SIM_ACTOR_DRIVER)
		snprintf(text, bytes, "driver");
	else if (actor >= SIM_ACTOR_AGENT)
		snprintf(text, bytes, "%s",
			 s->st_agents[(actor - SIM_ACTOR_AGENT) % SIM_MAX_AGENTS]);
	else if (actor == s->st_ncpus)
		snprintf(text, bytes, "service CPU");
	else
		snprintf(text, bytes, "CPU %u", actor);
	return text;
}

/* ---- Steps ---------------------------------------------------------------------------------- */

static void
say_guest_point(struct say *y, const struct story_event *e)
{
	if (e->se_id >> OFFSET_BITS == SIM_ID_GPA >> OFFSET_BITS)
		say(y, "guest instruction at 0x%llx%s", (ull)e->se_gpa,
		    e->se_old ? ", interrupted" : "");
	else
		say(y, "%s",
		    e->se_old == 2   ? "VM exit"
		    : e->se_old == 1 ? "VM entry"
				     : "VM entry, interrupted at once");
}

static void
say_memory_point(struct say *y, const struct story *s, const struct story_event *e)
{
	switch (e->se_access) {
	case SIM_LOAD:
	case SIM_LOAD_ACQUIRE:
		say(y, "reads ");
		say_word(y, s, e);
		say(y, ": ");
		say_value(y, s, e, e->se_old);
		break;
	case SIM_STORE:
	case SIM_STORE_RELEASE:
		say(y, "stores ");
		say_value(y, s, e, e->se_old);
		say(y, " to ");
		say_word(y, s, e);
		break;
	default:
		say(y, "%s ", e->se_old == e->se_new ? "looks, locked, at" : "exchanges");
		say_word(y, s, e);
		say(y, ": ");
		say_value(y, s, e, e->se_old);
		if (e->se_old == e->se_new)
			break;
		say(y, " -> ");
		say_value(y, s, e, e->se_new);
	}
}

static void
say_point(struct say *y, const struct story *s, const struct story_event *e)
{
	static const char *const plain[SIM_ACCESS_COUNT] = {
		[SIM_FENCE] = "makes a full fence",
		[SIM_EPOCH_ENTER] = "enters an epoch section",
		[SIM_EPOCH_EXIT] = "leaves the epoch section",
		[SIM_DEFER] = "defers a function to the end of the epoch",
		[SIM_RELAX] = "waits, and looks again",
		[SIM_INVALIDATE] = "is about to invalidate",
		[SIM_HW] = "a step of a page walk",
		[SIM_USER] = "goes on",
		[SIM_IO] = "input or output",
	};

	switch (e->se_access) {
	case SIM_LOAD:
	case SIM_LOAD_ACQUIRE:
	case SIM_STORE:
	case SIM_STORE_RELEASE:
	case SIM_RMW:
		say_memory_point(y, s, e);
		return;
	case SIM_LOCK:
	case SIM_UNLOCK:
		say(y, "%s the lock of ", e->se_access == SIM_LOCK ? "takes" : "gives back");
		say_word(y, s, e);
		return;
	case SIM_ALLOC:
	case SIM_FREE:
		say(y, "%s ", e->se_access == SIM_ALLOC ? "allocates" : "frees");
		say_word(y, s, e);
		return;
	case SIM_IRQ:
		say(y, "switches interrupts %s", e->se_old ? "on" : "off");
		return;
	case SIM_GUEST:
		say_guest_point(y, e);
		return;
	default:
		say(y, "%s",
		    e->se_access < SIM_ACCESS_COUNT && plain[e->se_access] != NULL
			    ? plain[e->se_access]
			    : "does something");
	}
}

/* ---- Events --------------------------------------------------------------------------------- */

static void
say_access(struct say *y, const struct story *s, const struct story_event *e)
{
	say(y, "%s %s 0x%llx", space_name(s, e),
	    e->se_access & HW_WRITE  ? "writes"
	    : e->se_access & HW_EXEC ? "executes"
				     : "reads",
	    (ull)e->se_gpa);
	if (e->se_flags & SE_DENIED)
		say(y, ": fault%s", e->se_flags & SE_CACHED ? " by what is cached" : "");
	else
		say(y, ", at 0x%llx%s", (ull)e->se_new,
		    e->se_flags & SE_CACHED ? ", by what is cached" : ", after a walk");
}

static void
say_entry_change(struct say *y, const struct story *s, const struct story_event *e)
{
	if (e->se_flags & SE_HARDWARE)
		say(y, "sets flags by a page walk in ");
	else if (e->se_new == 0)
		say(y, "clears ");
	else
		say(y, "%s ", e->se_old == 0 ? "fills" : "changes");
	say_word(y, s, e);
}

static void
say_flush(struct say *y, const struct story *s, const struct story_event *e)
{
	say(y, "%s", s->st_names[e->se_name]);
	if (e->se_space < s->st_nspaces)
		say(y, " of %s", space_name(s, e));
	else if (e->se_new != 0)
		say(y, " %s%llx", e->se_new < 10 ? "" : "0x", (ull)e->se_new);
}

/* The format is one of the table below, for one number. */
static void
say_cpu(struct say *y, const char *fmt, unsigned int cpu)
{
	const char *const at = strstr(fmt, "%u");

	say(y, "%.*s%u%s", (int)(at - fmt), fmt, cpu, at + 2);
}

static void
say_cache_event(struct say *y, const struct story *s, uint32_t i)
{
	const struct story_event *const e = &s->st_events[i];
	const uint32_t fill = e->se_kind == STORY_FILL ? i
			      : e->se_serial != 0      ? e->se_serial - 1
						       : STORY_NONE;
	static const char *const itself[STORY_KIND_COUNT] = {
		[STORY_FILL] = "caches ",
		[STORY_DROP] = "drops ",
		[STORY_BLAME] = "uses the stale ",
	};
	static const char *const another[STORY_KIND_COUNT] = {
		[STORY_FILL] = "CPU %u caches ",
		[STORY_DROP] = "CPU %u drops ",
		[STORY_BLAME] = "finds that CPU %u still has the stale ",
		[STORY_STALE] = "on CPU %u this is stale now: ",
		[STORY_FRESH] = "on CPU %u this is right again: ",
	};

	if (e->se_actor == e->se_cpu && itself[e->se_kind] != NULL)
		say(y, "%s", itself[e->se_kind]);
	else if (another[e->se_kind] != NULL)
		say_cpu(y, another[e->se_kind], e->se_cpu);
	if (fill < s->st_n)
		say_cached(y, s, fill);
	else
		say(y, "translation of 0x%llx", (ull)e->se_gpa);
}

static void
say_begin(struct say *y, const struct story *s, const struct story_event *e)
{
	say(y, "begins: %s", s->st_names[e->se_name]);
	if (e->se_new != 0)
		say(y, " of [0x%llx, 0x%llx)", (ull)e->se_gpa, (ull)e->se_new);
	if (e->se_space < s->st_nspaces)
		say(y, " in %s", space_name(s, e));
}

static void
say_slot(struct say *y, const struct story *s, const struct story_event *e)
{
	say(y, "slot %u of %s is %s", e->se_serial, space_name(s, e),
	    e->se_flags & SE_ACTIVE ? "active" : "idle");
}

static void
say_word_event(struct say *y, const struct story *s, const struct story_event *e)
{
	if (e->se_kind == STORY_BUFFER)
		say(y, "store to ");
	else
		say(y, "CPU %u's oldest store reaches memory: ", e->se_cpu);
	say_word(y, s, e);
	say(y, e->se_kind == STORY_BUFFER ? " waits in the buffer: " : " = ");
	say_value(y, s, e, e->se_new);
}

static void
say_event(struct say *y, const struct story *s, uint32_t i)
{
	const struct story_event *const e = &s->st_events[i];

	switch (e->se_kind) {
	case STORY_POINT:
		say_point(y, s, e);
		return;
	case STORY_AGENT:
		say(y, "acts by itself");
		return;
	case STORY_BUFFER:
	case STORY_DRAIN:
		say_word_event(y, s, e);
		return;
	case STORY_ENTRY:
		say_entry_change(y, s, e);
		return;
	case STORY_FLUSH:
		say_flush(y, s, e);
		return;
	case STORY_VCPU_ON:
	case STORY_VCPU_OFF:
		say(y, "vCPU %u of %s %s", e->se_serial, space_name(s, e),
		    e->se_kind == STORY_VCPU_ON ? "begins to run" : "stops");
		return;
	case STORY_GUEST_ON:
	case STORY_GUEST_OFF:
		say(y, "%s guest mode", e->se_kind == STORY_GUEST_ON ? "enters" : "leaves");
		if (e->se_space < s->st_nspaces)
			say(y, ", %s", space_name(s, e));
		return;
	case STORY_ACCESS:
		say_access(y, s, e);
		return;
	case STORY_BEGIN:
		say_begin(y, s, e);
		return;
	case STORY_DONE:
		say(y, "is done");
		if (e->se_old != 0)
			say(y, ": error %llu", (ull)e->se_old);
		return;
	case STORY_GEN:
		say(y, "the generation of %s is %llu", space_name(s, e), (ull)e->se_new);
		return;
	case STORY_SLOT:
		say_slot(y, s, e);
		return;
	case STORY_KICK:
		say(y, "sends an interrupt to CPU %u", e->se_cpu);
		return;
	case STORY_ARRIVED:
		say(y, "the interrupt arrives at CPU %u", e->se_cpu);
		return;
	case STORY_INTERRUPT:
		say(y, "takes the interrupt");
		return;
	case STORY_FAULT:
		say(y, "injected: %s", sim_fault_name((enum sim_fault)e->se_access));
		return;
	case STORY_VIOLATION:
		say(y, "VIOLATION %s %s", s->st_check, s->st_invariant);
		return;
	default:
		say_cache_event(y, s, i);
	}
}

const char *
story_action(const struct story *s, uint32_t i, char *text, size_t bytes)
{
	struct say y = {text, bytes};

	*text = '\0';
	say_event(&y, s, i);
	return text;
}

const char *
story_change(const struct story *s, uint32_t i, char *text, size_t bytes)
{
	const struct story_event *const e = &s->st_events[i];
	struct say y = {text, bytes};

	*text = '\0';
	switch (e->se_kind) {
	case STORY_ENTRY:
		say_entry(&y, s, e->se_space, e->se_level, e->se_old);
		say(&y, " -> ");
		say_entry(&y, s, e->se_space, e->se_level, e->se_new);
		break;
	case STORY_GEN:
		if (e->se_old != 0)
			say(&y, "%llu -> %llu", (ull)e->se_old, (ull)e->se_new);
		break;
	case STORY_SLOT:
		say(&y, "acknowledged %llu, flushed for %llu", (ull)e->se_old, (ull)e->se_new);
		break;
	case STORY_FLUSH:
		say(&y, "%u dropped", e->se_count);
		break;
	default:
		break;
	}
	return text;
}

bool
story_matters(const struct story *s, uint32_t i)
{
	const struct story_event *const e = &s->st_events[i];
	bool named;

	if (e->se_flags & (SE_BEFORE | SE_PRIVATE))
		return false;
	switch (e->se_kind) {
	case STORY_POINT:
	case STORY_AGENT:
	case STORY_DROP:
	case STORY_FRESH:
	case STORY_DONE:
	case STORY_VCPU_ON:
	case STORY_VCPU_OFF:
		return false;
	case STORY_BUFFER:
	case STORY_DRAIN:
		named = (e->se_flags & SE_TABLE) || e->se_place != 0;
		for (uint32_t j = 0; j < s->st_nspaces; j++)
			named = named || s->st_spaces[j].sa_gen_id == e->se_id;
		return named;
	default:
		return true;
	}
}
