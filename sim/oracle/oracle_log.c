/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What operations have written to table words of late, and what the tables allowed before.
 *
 * The log holds writes in the order in which they became visible, from the first one of the oldest
 * pending operation on. A cached entry that the tables of now do not allow is judged by reading the
 * log backward, taking one write after the other back in an overlay over memory, until the entry is
 * allowed: whoever made that last write took the entry away. If that operation is pending, or it
 * was none (a fault that installed something), the entry is merely early; else it is dead.
 *
 * One kind of write is not taken back: that of an operation that is over, to a word that named the
 * entry's own frame, though the hardware saw nothing of it any more (accessed cleared by somebody
 * who is still pending, say). It promised an end as well, and may not rely on one that is yet to
 * come.
 */

#include "sim/oracle/oracle_log.h"
#include "sim/machine/side.h"

#include <errno.h>
#include <string.h>

#define NCPUS (SIM_MAX_CPUS + 1) /* with the service CPU */

enum op_state { OP_OPEN, OP_DEFERRED, OP_OVER };

struct op {
	uint64_t op_root;
	uint64_t op_deferred_at;
	enum op_state op_state;
};

struct write {
	uint64_t wr_hpa;
	uint64_t wr_old;
	uint64_t wr_op; /* 0: none */
};

/* A word as it was. */
struct shadow {
	uint64_t sh_hpa;
	uint64_t sh_value;
	uint64_t sh_turn; /* valid if it is the overlay's */
	bool sh_pinned;
};

struct oracle_log {
	struct write *lg_log; /* [head, n) */
	size_t lg_head;
	size_t lg_n;
	size_t lg_room;

	struct op *lg_ops; /* ids first_op ... */
	uint64_t lg_first_op;
	size_t lg_nops;
	size_t lg_ops_room;
	size_t lg_pending;
	uint64_t lg_clock; /* of deferrals and drains */
	uint64_t lg_current[NCPUS];

	struct shadow *lg_shadows; /* hash; room is a power of two */
	size_t lg_shadow_mask;
	uint64_t lg_turn;
};

static struct oracle_log *oracle_log;

static void *
grown(void *old, size_t *room, size_t bytes)
{
	const size_t more = *room ? 2 * *room : 64;
	void *p = sim_side_resize(old, more * bytes);

	if (!p)
		sim_violation("internal", "", "no memory for the oracle of translations");
	*room = more;
	return p;
}

/* When an operation begins and ends, as against each write of a table. */
void
oracle_log_touch(enum sim_touch how)
{
	sim_touch(SIM_OBJECT(SIM_OBJECT_GHOST, 0), how);
}

/* ---- Operations and their writes ----------------------------------------------------------- */

static struct op *
op_at(uint64_t id)
{
	return &oracle_log->lg_ops[id - oracle_log->lg_first_op];
}

static bool
is_over(uint64_t id)
{
	return id < oracle_log->lg_first_op || op_at(id)->op_state == OP_OVER;
}

void
oracle_log_trim(void)
{
	struct oracle_log *lg = oracle_log;
	size_t over = 0;

	while (lg->lg_head < lg->lg_n &&
	       (lg->lg_log[lg->lg_head].wr_op == 0 || is_over(lg->lg_log[lg->lg_head].wr_op)))
		lg->lg_head++;
	if (lg->lg_pending == 0)
		lg->lg_head = lg->lg_n;
	if (lg->lg_head != 0 && 2 * lg->lg_head >= lg->lg_n) {
		lg->lg_n -= lg->lg_head;
		memmove(lg->lg_log, lg->lg_log + lg->lg_head, lg->lg_n * sizeof(*lg->lg_log));
		lg->lg_head = 0;
	}
	while (over < lg->lg_nops && lg->lg_ops[over].op_state == OP_OVER)
		over++;
	if (over != 0 && 2 * over >= lg->lg_nops) {
		lg->lg_nops -= over;
		lg->lg_first_op += over;
		memmove(lg->lg_ops, lg->lg_ops + over, lg->lg_nops * sizeof(*lg->lg_ops));
	}
}

void
oracle_tlb_write(const struct sim_table_write *w)
{
	struct oracle_log *lg = oracle_log;

	if (w->tw_how != SIM_WRITE_PRIVATE)
		oracle_log_touch(SIM_TOUCH_READ);
	if (lg->lg_pending == 0 || w->tw_how == SIM_WRITE_PRIVATE || w->tw_old == w->tw_new)
		return;
	if (lg->lg_n == lg->lg_room)
		lg->lg_log = grown(lg->lg_log, &lg->lg_room, sizeof(*lg->lg_log));
	lg->lg_log[lg->lg_n++] = (struct write){
		.wr_hpa = w->tw_hpa,
		.wr_old = w->tw_old,
		.wr_op = w->tw_cpu < NCPUS ? lg->lg_current[w->tw_cpu] : 0,
	};
}

size_t
oracle_tlb_backlog(void)
{
	return oracle_log->lg_n - oracle_log->lg_head;
}

void
oracle_tlb_op_begin(struct oracle_tlb_op *op, uint64_t root)
{
	struct oracle_log *lg = oracle_log;

	oracle_log_touch(SIM_TOUCH_WRITE);

	if (lg->lg_current[sim_cpu()] != 0)
		sim_violation("internal", "", "CPU %u begins an operation within another",
			      sim_cpu());
	if (lg->lg_nops == lg->lg_ops_room)
		lg->lg_ops = grown(lg->lg_ops, &lg->lg_ops_room, sizeof(*lg->lg_ops));
	op->op_id = lg->lg_first_op + lg->lg_nops;
	op->op_root = root;
	lg->lg_ops[lg->lg_nops++] = (struct op){.op_root = root, .op_state = OP_OPEN};
	lg->lg_pending++;
	lg->lg_current[sim_cpu()] = op->op_id;
}

static void
op_close(struct oracle_tlb_op *op, enum op_state state)
{
	struct oracle_log *lg = oracle_log;

	if (lg->lg_current[sim_cpu()] != op->op_id)
		sim_violation("internal", "", "CPU %u ends an operation that is not its own",
			      sim_cpu());
	lg->lg_current[sim_cpu()] = 0;
	op_at(op->op_id)->op_state = state;
}

void
oracle_log_over(struct oracle_tlb_op *op)
{
	op_close(op, OP_OVER);
	oracle_log->lg_pending--;
}

void
oracle_tlb_op_defer(struct oracle_tlb_op *op)
{
	op_close(op, OP_DEFERRED);
	op_at(op->op_id)->op_deferred_at = oracle_log->lg_clock++;
}

uint64_t
oracle_tlb_drain_begin(void)
{
	return oracle_log->lg_clock++;
}

uint64_t
oracle_log_drained(uint64_t root, uint64_t ticket)
{
	struct oracle_log *lg = oracle_log;
	uint64_t id = 0;

	for (size_t i = 0; i < lg->lg_nops; i++) {
		struct op *op = &lg->lg_ops[i];

		if (op->op_root != root || op->op_state != OP_DEFERRED ||
		    op->op_deferred_at >= ticket)
			continue;
		op->op_state = OP_OVER;
		lg->lg_pending--;
		id = lg->lg_first_op + i;
	}
	return id;
}

/* ---- Memory as it was ---------------------------------------------------------------------- */

static bool
load_now(void *arg, uint64_t hpa, uint64_t *value)
{
	(void)arg;
	return sim_phys_peek(hpa, value);
}

static struct shadow *
shadow_of(uint64_t hpa)
{
	size_t i = (hpa >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 32 & oracle_log->lg_shadow_mask;

	while (oracle_log->lg_shadows[i].sh_turn == oracle_log->lg_turn &&
	       oracle_log->lg_shadows[i].sh_hpa != hpa)
		i = (i + 1) & oracle_log->lg_shadow_mask;
	return &oracle_log->lg_shadows[i];
}

static bool
load_then(void *arg, uint64_t hpa, uint64_t *value)
{
	const struct shadow *s = shadow_of(hpa);

	(void)arg;
	if (s->sh_turn != oracle_log->lg_turn)
		return sim_phys_peek(hpa, value);
	*value = s->sh_value;
	return true;
}

static void
overlay_reset(void)
{
	struct oracle_log *lg = oracle_log;
	size_t room = lg->lg_shadow_mask + 1;

	lg->lg_turn++;
	if (room >= 2 * (oracle_tlb_backlog() + 1))
		return;
	while (room < 2 * (oracle_tlb_backlog() + 1))
		room *= 2;
	sim_side_free(lg->lg_shadows);
	lg->lg_shadows = sim_side_alloc(room * sizeof(*lg->lg_shadows));
	lg->lg_shadow_mask = lg->lg_shadows ? room - 1 : 0;
	if (!lg->lg_shadows)
		sim_violation("internal", "", "no memory for the oracle of translations");
}

static void
take_back(const struct write *w)
{
	struct shadow *s = shadow_of(w->wr_hpa);

	if (s->sh_turn == oracle_log->lg_turn && s->sh_pinned)
		return;
	*s = (struct shadow){
		.sh_hpa = w->wr_hpa, .sh_value = w->wr_old, .sh_turn = oracle_log->lg_turn};
}

/* Leaves the word for good as it is in the overlay by now. */
static void
pin(uint64_t hpa)
{
	struct shadow *s = shadow_of(hpa);
	uint64_t value = 0;

	if (s->sh_turn != oracle_log->lg_turn) {
		sim_phys_peek(hpa, &value);
		*s = (struct shadow){
			.sh_hpa = hpa, .sh_value = value, .sh_turn = oracle_log->lg_turn};
	}
	s->sh_pinned = true;
}

/* ---- Is it allowed? ------------------------------------------------------------------------ */

typedef bool load_fn(void *arg, uint64_t hpa, uint64_t *value);

static bool
page_allowed(const struct hw_tlb_entry *e, uint64_t gpa, const struct hw_walk *walk)
{
	const uint64_t size = UINT64_C(1) << (12 + 9 * walk->wk_level);

	if (!walk->wk_present || (e->te_rights & ~walk->wk_rights) != 0)
		return false;
	if (walk->wk_hpa + (gpa & (size - 1)) != e->te_hpa + (gpa - e->te_gpa))
		return false;
	if ((e->te_rights & HW_WRITE) && e->te_dirty && !walk->wk_dirty)
		return false;
	return walk->wk_memtype == e->te_memtype && walk->wk_ignore_pat == e->te_ignore_pat;
}

/* Every page of it, in the sizes in which the tables have them: sizes may differ, contents not. */
static bool
leaf_allowed(const struct oracle_judged *j, load_fn *load)
{
	uint64_t gpa = j->jd_first;

	for (;;) {
		struct hw_walk walk;
		uint64_t last;

		hw_walk_over(j->jd_ctx, gpa, load, NULL, &walk);
		if (!page_allowed(j->jd_entry, gpa, &walk))
			return false;
		last = gpa | ((UINT64_C(1) << (12 + 9 * walk.wk_level)) - 1);
		if (last >= j->jd_last)
			return true;
		gpa = last + 1;
	}
}

static bool
allowed(const struct oracle_judged *j, load_fn *load)
{
	const struct hw_tlb_entry *e = j->jd_entry;
	unsigned int rights;
	bool accessed;
	uint64_t table;

	if (!e->te_table)
		return leaf_allowed(j, load);
	return hw_table_over(j->jd_ctx, e->te_gpa, e->te_level, load, NULL, &table, &rights,
			     &accessed) &&
	       table == e->te_hpa && (e->te_rights & ~rights) == 0;
}

/* Whether a word could lie on a path to the entry: its slot fits at some level. */
static bool
on_path(const struct oracle_judged *j, uint64_t hpa)
{
	const unsigned int slot = (hpa >> 3) & 511;

	if (!j->jd_entry->te_table && j->jd_entry->te_level > 0)
		return true;
	for (unsigned int level = j->jd_entry->te_level; level < HW_LEVELS_MAX; level++) {
		if (((j->jd_entry->te_gpa >> (12 + 9 * level)) & 511) == slot)
			return true;
	}
	return false;
}

/* Whether a word held the entry's frame (or table), visible to the hardware or not. */
static bool
named(const struct oracle_judged *j, uint64_t old)
{
	const uint64_t addr = old & HW_FRAME_MASK;
	const struct hw_tlb_entry *e = j->jd_entry;

	return e->te_table ? addr == e->te_hpa : addr - e->te_hpa < hw_entry_bytes(e);
}

static bool
goes_through(const struct hw_walk *walk, uint64_t hpa)
{
	for (unsigned int i = 0; i < walk->wk_n; i++) {
		if (walk->wk_where[i] == hpa)
			return true;
	}
	return false;
}

/*
 * Whether `after` grants all that `before` does of the page that both lead to. What was hidden from
 * the hardware and is shown again (accessed set by a fault) was taken by whoever hid it.
 */
static bool
takes_nothing(const struct hw_walk *before, const struct hw_walk *after, uint64_t gpa)
{
	const uint64_t was = gpa & ((UINT64_C(1) << (12 + 9 * before->wk_level)) - 1);
	const uint64_t is = gpa & ((UINT64_C(1) << (12 + 9 * after->wk_level)) - 1);

	if (!before->wk_present)
		return after->wk_present;
	return after->wk_present && (before->wk_rights & ~after->wk_rights) == 0 &&
	       (!before->wk_dirty || after->wk_dirty) && before->wk_memtype == after->wk_memtype &&
	       before->wk_hpa + was == after->wk_hpa + is;
}

/*
 * Takes a write back, unless it took something from the entry; says whether it was taken back. One
 * that splits a superpage, or widens, took nothing: what an operation still pending took before, by
 * a write to the same word, must not be laid at its door.
 */
static bool
take_back_harmless(const struct oracle_judged *j, const struct write *w)
{
	struct hw_walk before;
	struct hw_walk after;
	uint64_t value;

	if (j->jd_entry->te_table || !load_then(NULL, w->wr_hpa, &value))
		return false;
	hw_walk_over(j->jd_ctx, j->jd_first, load_then, NULL, &after);
	take_back(w);
	hw_walk_over(j->jd_ctx, j->jd_first, load_then, NULL, &before);
	if (goes_through(&before, w->wr_hpa) && takes_nothing(&before, &after, j->jd_first))
		return true;
	/* Hidden before and after, and all that was in it still is: wired, say. */
	if (!before.wk_present && !after.wk_present && (w->wr_old & ~value) == 0)
		return true;
	shadow_of(w->wr_hpa)->sh_value = value;
	return false;
}

/* Whether what took the entry away is not over yet. */
static bool
merely_early(const struct oracle_judged *j)
{
	struct oracle_log *lg = oracle_log;
	bool changed = false;

	if (lg->lg_head == lg->lg_n)
		return false;
	overlay_reset();
	for (size_t i = lg->lg_n; i-- > lg->lg_head;) {
		const struct write *w = &lg->lg_log[i];
		const bool over = w->wr_op != 0 && is_over(w->wr_op);

		if (!over || !named(j, w->wr_old))
			take_back(w);
		else if (!take_back_harmless(j, w))
			pin(w->wr_hpa);
		changed |= on_path(j, w->wr_hpa);
		/*
		 * A superpage has many words: look once per run of writes by one operation, and
		 * where one of them took a superpage (bit 7 of an entry in every format).
		 */
		if (j->jd_entry->te_level > 0 && i > lg->lg_head &&
		    lg->lg_log[i - 1].wr_op == w->wr_op && !(w->wr_old & 0x80))
			continue;
		if (changed && allowed(j, load_then))
			return !over;
		changed = false;
	}
	return false;
}

/*
 * Whether the overlay's path to the entry has a pointer to a table that memory has no longer; that
 * somebody went through it, or did not, makes no other one of it.
 */
static bool
by_taken_pointer(const struct oracle_judged *j)
{
	struct hw_walk walk;
	uint64_t now;

	hw_walk_over(j->jd_ctx, j->jd_first, load_then, NULL, &walk);
	for (unsigned int i = 0; i + 1 < walk.wk_n; i++) {
		if (sim_phys_peek(walk.wk_where[i], &now) &&
		    ((now ^ walk.wk_entries[i]) & HW_FRAME_MASK))
			return true;
	}
	return false;
}

/*
 * Whether pointers to tables that operations still pending have taken away, and nothing else, keep
 * the entry from being allowed. Memory need never have allowed it at one time: a leaf that was
 * installed in a table just unlinked, by a fault that had found the table before, is led to by what
 * is cached of the table above. What takes both away is the flush that the unlinking owes.
 *
 * Only a leaf comes about so: it is installed without a lock, a table in a locked table that is
 * known to be linked. What an operation that is over took is not given back: what it wrote is
 * pinned, and so the entry's own slot must have been filled again since.
 */
static bool
pending_took_it(const struct oracle_judged *j)
{
	struct oracle_log *lg = oracle_log;

	if (j->jd_entry->te_table || lg->lg_head == lg->lg_n)
		return false;
	overlay_reset();
	for (size_t i = lg->lg_n; i-- > lg->lg_head;) {
		const struct write *w = &lg->lg_log[i];

		if (w->wr_op == 0 || is_over(w->wr_op))
			pin(w->wr_hpa);
		else
			take_back(w);
	}
	return allowed(j, load_then) && by_taken_pointer(j);
}

bool
oracle_log_allowed_by(const struct oracle_judged *j,
		      bool (*load)(void *arg, uint64_t hpa, uint64_t *value))
{
	return allowed(j, load);
}

bool
oracle_log_allows(const struct oracle_judged *j)
{
	return allowed(j, load_now) || merely_early(j) || pending_took_it(j);
}

/* ---- Life ---------------------------------------------------------------------------------- */

int
oracle_log_create(void)
{
	oracle_log_destroy();
	oracle_log = sim_side_alloc(sizeof(*oracle_log));
	if (!oracle_log)
		return -ENOMEM;
	oracle_log->lg_first_op = 1;
	oracle_log->lg_shadow_mask = 63;
	oracle_log->lg_shadows = sim_side_alloc(64 * sizeof(*oracle_log->lg_shadows));
	if (!oracle_log->lg_shadows) {
		oracle_log_destroy();
		return -ENOMEM;
	}
	return 0;
}

void
oracle_log_destroy(void)
{
	if (!oracle_log)
		return;
	sim_side_free(oracle_log->lg_log);
	sim_side_free(oracle_log->lg_ops);
	sim_side_free(oracle_log->lg_shadows);
	sim_side_free(oracle_log);
	oracle_log = NULL;
}
