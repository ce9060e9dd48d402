/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Records a story (story.h): the steps of the machine, through its step hook, and what the machine
 * and the world tell of themselves. The words of a run are named here: which space, level and
 * address a table word belongs to is known from the tables that were linked into it.
 */

#define _GNU_SOURCE /* MAP_ANONYMOUS, MAP_NORESERVE */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pmap/pmap.h"
#include "sim/story/story_priv.h"

#define OFFSET_BITS 56

struct story *story_on;

static struct story_role *roles; /* by frame number */
static struct story_event unseen;
static bool begun;   /* what was there before has been told */
static bool probing; /* the step hook looks for the word of a generation */
static uint64_t probed;

/* ---- Life ----------------------------------------------------------------------------------- */

struct story *
story_create(void)
{
	struct story *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (s == MAP_FAILED)
		return NULL;
	story_clear(s, 0);
	return s;
}

void
story_destroy(struct story *s)
{
	if (s != NULL)
		munmap(s, sizeof(*s));
}

void
story_clear(struct story *s, uint64_t from)
{
	memset(s, 0, offsetof(struct story, st_events));
	s->st_from = from;
	s->st_blame = STORY_NONE;
	s->st_fill = STORY_NONE;
	s->st_changed = STORY_NONE;
	s->st_used = STORY_NONE;
}

/* By the rate of events so far, with a quarter to spare. */
uint64_t
story_shorter(const struct story *s, uint64_t end)
{
	const double all = (double)s->st_n + s->st_lost;
	const double steps = end > s->st_from ? (double)(end - s->st_from) : 0;
	const double keep = steps * 0.75 * STORY_EVENTS_MAX / (all > 0 ? all : 1);

	return keep < steps ? end - (uint64_t)keep : s->st_from;
}

/* ---- Events --------------------------------------------------------------------------------- */

struct story_event *
story_put(enum story_kind kind)
{
	struct story *const s = story_on;
	const struct sim_machine *const m = sim_the_machine;
	struct story_event *e = &unseen;

	if (s->st_n < STORY_EVENTS_MAX)
		e = &s->st_events[s->st_n++];
	else
		s->st_lost++;
	*e = (struct story_event){
		.se_step = m->m_step,
		.se_kind = kind,
		.se_actor = (uint8_t)m->m_actor,
		.se_cpu = STORY_NO_CPU,
		.se_space = STORY_NO_SPACE,
		.se_link = STORY_NONE,
		.se_flags = begun ? 0 : SE_BEFORE,
	};
	if (s->st_n == 1)
		s->st_first_step = m->m_step;
	s->st_last_step = m->m_step;
	return e;
}

uint32_t
story_index(const struct story_event *e)
{
	return e == &unseen ? STORY_NONE : (uint32_t)(e - story_on->st_events);
}

uint8_t
story_intern(const char *name)
{
	struct story *const s = story_on;

	for (uint32_t i = 0; i < s->st_nnames; i++) {
		if (strncmp(s->st_names[i], name, STORY_NAME_BYTES - 1) == 0)
			return (uint8_t)i;
	}
	if (s->st_nnames == STORY_NAMES_MAX)
		return 0;
	snprintf(s->st_names[s->st_nnames], STORY_NAME_BYTES, "%s", name);
	return (uint8_t)s->st_nnames++;
}

static unsigned int
space_named(const char *name)
{
	for (uint32_t i = 0; name != NULL && i < story_on->st_nspaces; i++) {
		if (strncmp(story_on->st_spaces[i].sa_name, name, STORY_NAME_BYTES - 1) == 0)
			return i;
	}
	return STORY_NO_SPACE;
}

unsigned int
story_space_at(uint64_t root)
{
	for (uint32_t i = 0; i < story_on->st_nspaces; i++) {
		if (story_on->st_spaces[i].sa_root == root)
			return i;
	}
	return STORY_NO_SPACE;
}

/* ---- Names of words ------------------------------------------------------------------------- */

struct story_role *
story_role_of(uint64_t hpa)
{
	const struct sim_machine *const m = sim_the_machine;
	const uint64_t frame = (hpa - m->m_phys_base) / SIM_PAGE_SIZE;

	return roles != NULL && hpa >= m->m_phys_base && frame < m->m_nframes ? &roles[frame]
									      : NULL;
}

static void
name_frame(struct story_event *e, uint64_t hpa, unsigned int flag)
{
	const struct story_role *const ro = story_role_of(hpa);

	if (ro == NULL || ro->ro_space == 0 || ro->ro_page != (flag == SE_PAGE))
		return;
	e->se_flags |= flag;
	e->se_space = ro->ro_space - 1;
	e->se_level = ro->ro_level;
	e->se_gpa = ro->ro_gpa;
	if (flag == SE_TABLE)
		e->se_gpa += (hpa / 8 % SIM_TABLE_WORDS) << hw_shift(ro->ro_level);
}

static void
name_place(struct story_event *e, uint64_t id)
{
	const struct story *const s = story_on;

	for (uint32_t i = s->st_nplaces; i-- > 0;) {
		if (id - s->st_places[i].pl_id < s->st_places[i].pl_bytes) {
			e->se_place = (uint16_t)(i + 1);
			return;
		}
	}
}

void
story_name_word(struct story_event *e, uint64_t id)
{
	const struct sim_machine *const m = sim_the_machine;
	const uint64_t off = id & (((uint64_t)1 << OFFSET_BITS) - 1);

	e->se_id = id;
	switch (id >> OFFSET_BITS) {
	case SIM_ID_TABLE >> OFFSET_BITS:
	case SIM_ID_PHYS >> OFFSET_BITS:
		name_frame(e, m->m_phys_base + off, SE_TABLE);
		break;
	case SIM_ID_DESC >> OFFSET_BITS:
		name_frame(e, m->m_phys_base + off / DESC_BYTES * SIM_PAGE_SIZE, SE_DESC);
		break;
	case SIM_ID_DATA >> OFFSET_BITS:
		name_frame(e, m->m_phys_base + off, SE_PAGE);
		break;
	case SIM_ID_GPA >> OFFSET_BITS:
		e->se_gpa = off;
		break;
	default:
		name_place(e, id);
	}
}

static void
add_place(const void *p, uint64_t bytes, const char *fmt, const char *what, unsigned int n)
{
	struct story *const s = story_on;
	const uint64_t id = address_id(sim_the_machine, (uintptr_t)p);
	struct story_place *pl = NULL;

	for (uint32_t i = 0; i < s->st_nplaces; i++) {
		if (s->st_places[i].pl_id == id)
			pl = &s->st_places[i];
	}
	if (pl == NULL && s->st_nplaces < STORY_PLACES_MAX)
		pl = &s->st_places[s->st_nplaces++];
	if (pl == NULL)
		return;
	pl->pl_id = id;
	pl->pl_bytes = bytes;
	snprintf(pl->pl_name, sizeof(pl->pl_name), fmt, what, n);
}

/* ---- Tables --------------------------------------------------------------------------------- */

/*
 * A table has become part of a space: so have those below it, which were built in private, and the
 * pages that they map. Depth is that of page tables. Returns the entries that are not empty.
 */
static unsigned int
link_table(unsigned int space, uint64_t hpa, unsigned int level, uint64_t gpa)
{
	const struct hw_context *const ctx = &story_on->st_spaces[space].sa_ctx;
	struct story_role *const ro = story_role_of(hpa);
	unsigned int n = 0;

	if (ro == NULL)
		return 0;
	*ro = (struct story_role){gpa, (uint8_t)(space + 1), (uint8_t)level, false};
	for (unsigned int i = 0; i < SIM_TABLE_WORDS; i++) {
		const uint64_t at = gpa + ((uint64_t)i << hw_shift(level));
		struct story_role *page;
		struct hw_entry e;
		uint64_t value;

		if (!sim_phys_peek(hpa + 8u * i, &value) || value == 0)
			continue;
		n++;
		hw_entry_decode(ctx, level, value, &e);
		if (e.en_present && !e.en_leaf && level > 0) {
			link_table(space, e.en_addr, level - 1, at);
			continue;
		}
		/* With emulated A and D the hardware sees nothing there yet. */
		page = level == 0     ? story_role_of(value & HW_FRAME_MASK)
		       : e.en_present ? story_role_of(e.en_addr)
				      : NULL;
		if (page != NULL)
			*page = (struct story_role){at, (uint8_t)(space + 1), 0, true};
	}
	return n;
}

static void
changed(uint64_t hpa, uint64_t old, uint64_t new, unsigned int flags)
{
	struct story_role *const ro = story_role_of(hpa);
	const bool known = ro != NULL && ro->ro_space != 0 && !ro->ro_page;
	struct story_event *e = &unseen;
	struct hw_entry now = {0};
	uint32_t at = STORY_NONE;

	if (!known)
		return;

	const unsigned int space = ro->ro_space - 1u;
	const uint64_t gpa = ro->ro_gpa + ((hpa / 8 % SIM_TABLE_WORDS) << hw_shift(ro->ro_level));

	if (story_keeps()) {
		e = story_put(STORY_ENTRY);
		at = story_index(e);
		name_frame(e, hpa, SE_TABLE);
		e->se_id = hpa;
		e->se_old = old;
		e->se_new = new;
		e->se_flags |= flags;
	}
	hw_entry_decode(&story_on->st_spaces[space].sa_ctx, ro->ro_level, new, &now);
	if (now.en_present && !now.en_leaf && ro->ro_level > 0) {
		e->se_count = (uint16_t)link_table(space, now.en_addr, ro->ro_level - 1u, gpa);
	} else if (new != 0 && (ro->ro_level == 0 || now.en_present)) {
		struct story_role *const page = story_role_of(new &HW_FRAME_MASK);

		if (page != NULL && sim_frame_at(new &HW_FRAME_MASK)->fr_kind == SIM_FRAME_DATA)
			*page = (struct story_role){gpa, (uint8_t)(space + 1), 0, true};
	}
	if (at != STORY_NONE)
		story_hw_written(space, at);
}

/* ---- Steps ---------------------------------------------------------------------------------- */

/* What an earlier recorder of steps wanted to be called for. */
static void (*others_hook)(void *arg, const struct sim_step *st);
static void *others_arg;

static void
before(void)
{
	const struct sim_machine *const m = sim_the_machine;

	for (unsigned int i = 0; i <= m->m_ncpus; i++) {
		const struct cpu *const c = &m->m_cpus[i];

		for (unsigned int j = 0; j < c->cp_nstores; j++)
			story_do_buffer(i, c->cp_stores[j].ps_word, c->cp_stores[j].ps_value);
	}
	story_hw_before();
	begun = true;
}

/* The second half of a locked operation: what was found comes first, then what is left there. */
static bool
completes(const struct sim_step *st)
{
	struct story_event *const e =
		story_on->st_n > 0 ? &story_on->st_events[story_on->st_n - 1] : &unseen;

	if (st->st_kind != SIM_RMW || e->se_kind != STORY_POINT || e->se_access != SIM_RMW ||
	    e->se_step != st->st_step || e->se_id != st->st_id || e->se_actor != st->st_actor)
		return false;
	e->se_new = st->st_value;
	return true;
}

static void
step(void *arg, const struct sim_step *st)
{
	struct story_event *e;
	const bool agent = st->st_actor >= SIM_ACTOR_AGENT && st->st_actor != SIM_ACTOR_DRIVER;

	(void)arg;
	if (probing) {
		probed = st->st_id;
		return;
	}
	if (others_hook != NULL)
		others_hook(others_arg, st);
	if (!story_keeps())
		return;
	if (!begun)
		before();
	if (completes(st))
		return;
	if (st->st_kind == SIM_HW && st->st_id == 0 && agent) {
		e = story_put(STORY_AGENT);
		e->se_new = st->st_value;
	} else if (st->st_kind == SIM_KICK && st->st_id == 0) {
		e = story_put(STORY_KICK);
		e->se_cpu = (uint8_t)st->st_value;
	} else if (st->st_kind == SIM_IRQ && st->st_id == 0) {
		e = story_put(STORY_INTERRUPT);
		e->se_cpu = (uint8_t)st->st_value;
	} else {
		e = story_put(STORY_POINT);
		story_name_word(e, st->st_id);
		e->se_access = st->st_kind;
		e->se_old = st->st_value;
		e->se_new = st->st_value;
	}
}

/* ---- What the machine tells ----------------------------------------------------------------- */

static void
put_word(enum story_kind kind, unsigned int cpu, const uint64_t *word, uint64_t value)
{
	if (!story_keeps())
		return;

	struct story_event *const e = story_put(kind);

	story_name_word(e, address_id(sim_the_machine, (uintptr_t)word));
	e->se_cpu = (uint8_t)cpu;
	e->se_new = value;
}

void
story_do_buffer(unsigned int cpu, const uint64_t *word, uint64_t value)
{
	put_word(STORY_BUFFER, cpu, word, value);
}

void
story_do_drain(unsigned int cpu, const uint64_t *word, uint64_t value)
{
	put_word(STORY_DRAIN, cpu, word, value);
}

/* Before the word is written: what is cached is judged by the tables as they will be. */
void
story_do_written(const struct sim_table_write *tw)
{
	if (tw->tw_old != tw->tw_new)
		changed(tw->tw_hpa, tw->tw_old, tw->tw_new,
			tw->tw_how == SIM_WRITE_PRIVATE ? SE_PRIVATE : 0);
}

void
story_do_walker_wrote(uint64_t hpa, uint64_t old, uint64_t new)
{
	if (old != new)
		changed(hpa, old, new, SE_HARDWARE);
}

void
story_do_word(const uint64_t *word, uint64_t old, uint64_t new)
{
	const uint64_t id = address_id(sim_the_machine, (uintptr_t)word);

	for (uint32_t i = 0; i < story_on->st_nspaces && old != new &&story_keeps(); i++) {
		if (story_on->st_spaces[i].sa_gen_id == id) {
			struct story_event *const e = story_put(STORY_GEN);

			e->se_space = (uint8_t)i;
			e->se_old = old;
			e->se_new = new;
		}
	}
}

void
story_do_arrived(unsigned int cpu)
{
	if (story_keeps())
		story_put(STORY_ARRIVED)->se_cpu = (uint8_t)cpu;
}

void
story_do_fault(enum sim_fault f)
{
	if (story_keeps())
		story_put(STORY_FAULT)->se_access = f;
}

void
story_do_violation(const char *check, const char *invariant, const char *message)
{
	struct story *const s = story_on;
	struct story_event *e;

	if (!begun)
		before();
	e = story_put(STORY_VIOLATION);
	s->st_ended = true;
	s->st_actor = e->se_actor;
	snprintf(s->st_check, sizeof(s->st_check), "%s", check);
	snprintf(s->st_invariant, sizeof(s->st_invariant), "%s", invariant);
	snprintf(s->st_message, sizeof(s->st_message), "%s", message);
}

/* ---- What the world tells ------------------------------------------------------------------- */

/*
 * Reading the generation as a CPU would names its word. The machine must not know of it: whatever
 * the step changed is put back.
 */
static uint64_t
generation_word(const struct pmap *pm, uint64_t *gen)
{
	struct sim_machine *const m = sim_the_machine;
	struct sim_machine *const saved = malloc(sizeof(*saved));

	if (saved == NULL)
		return SIM_ID_OTHER;
	*saved = *m;
	m->m_cpu = &m->m_driver;
	m->m_slow_at = UINT64_MAX;
	probing = true;
	probed = SIM_ID_OTHER;
	*gen = pmap_generation(pm);
	probing = false;
	*m = *saved;
	free(saved);
	return probed;
}

void
story_do_space(const char *name, const struct hw_context *ctx, const struct pmap *pm)
{
	struct story *const s = story_on;
	unsigned int i = space_named(name);
	struct story_space *sa;
	uint64_t gen = 0;

	if (i == STORY_NO_SPACE && s->st_nspaces == STORY_SPACES_MAX)
		return;
	if (i == STORY_NO_SPACE)
		i = s->st_nspaces++;
	sa = &s->st_spaces[i];
	snprintf(sa->sa_name, sizeof(sa->sa_name), "%s", name);
	sa->sa_model = *ctx->hc_model;
	sa->sa_ctx = *ctx;
	sa->sa_ctx.hc_model = &sa->sa_model;
	sa->sa_root = hw_context_root(ctx);
	sa->sa_gen_id = pm != NULL ? generation_word(pm, &gen) : SIM_ID_OTHER;
	link_table(i, sa->sa_root, hw_context_levels(ctx) - 1, 0);
	if (pm != NULL && story_keeps()) {
		struct story_event *const e = story_put(STORY_GEN);

		e->se_space = (uint8_t)i;
		e->se_new = gen;
		e->se_flags |= SE_BEFORE;
	}
}

void
story_do_slot(const char *space, unsigned int n, const struct pmap_slot *slot, bool active)
{
	struct story_event *e;

	add_place(&slot->ps_state, 8, "state of slot %2$u of %1$s", space, n);
	add_place(&slot->ps_cpu, 8, "CPU of slot %2$u of %1$s", space, n);
	add_place(&slot->ps_force, 8, "force of slot %2$u of %1$s", space, n);
	add_place(&slot->ps_next, 8, "link of slot %2$u of %1$s", space, n);
	if (!story_keeps())
		return;
	e = story_put(STORY_SLOT);
	e->se_space = (uint8_t)space_named(space);
	e->se_serial = n;
	e->se_old = slot->ps_ack;
	e->se_new = slot->ps_seen;
	e->se_cpu = (uint8_t)sim_cpu();
	e->se_flags |= active ? SE_ACTIVE : 0;
}

void
story_do_vcpu(const char *space, unsigned int n, bool on)
{
	struct story_event *e;

	if (!story_keeps())
		return;
	e = story_put(on ? STORY_VCPU_ON : STORY_VCPU_OFF);
	e->se_space = (uint8_t)space_named(space);
	e->se_serial = n;
	e->se_cpu = (uint8_t)sim_cpu();
}

void
story_do_begin(const char *what, const char *space, uint64_t start, uint64_t end)
{
	struct story_event *e;

	if (!story_keeps())
		return;
	e = story_put(STORY_BEGIN);
	e->se_name = story_intern(what);
	e->se_space = (uint8_t)space_named(space);
	e->se_gpa = start;
	e->se_new = end;
	e->se_cpu = (uint8_t)sim_cpu();
}

void
story_do_done(int error)
{
	struct story_event *e;

	if (!story_keeps())
		return;
	e = story_put(STORY_DONE);
	e->se_old = (uint64_t)(error < 0 ? -error : error);
	e->se_cpu = (uint8_t)sim_cpu();
}

/* ---- Recording ------------------------------------------------------------------------------ */

void
story_attach(struct story *s)
{
	struct sim_machine *const m = sim_the_machine;

	story_on = NULL;
	free(roles);
	roles = NULL;
	if (s == NULL)
		return;
	story_clear(s, s->st_from);
	roles = calloc(m->m_nframes, sizeof(*roles));
	if (roles == NULL)
		return;
	begun = s->st_from == 0;
	others_hook = m->m_step_hook;
	others_arg = m->m_step_hook_arg;
	s->st_ncpus = m->m_ncpus;
	for (unsigned int i = 0; i < m->m_nagents; i++)
		snprintf(s->st_agents[i], sizeof(s->st_agents[i]), "%s",
			 m->m_agents[i].ag_ops->ag_name);
	story_on = s;
	sim_set_step_hook(step, NULL);
}

void
story_detach(void)
{
	struct story *const s = story_on;

	if (s == NULL)
		return;
	sim_set_step_hook(others_hook, others_arg);
	story_find_race();
	if (s->st_n > 0 && hw_state != NULL)
		story_add_paths();
	story_on = NULL;
	free(roles);
	roles = NULL;
}
