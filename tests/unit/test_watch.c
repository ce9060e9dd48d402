/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the core tells people who watch it (host_trace()): each event once, in its place, with what
 * it is about. A tracepoint that lies is worse than none.
 */

#include "tests/unit/pmap_fixture.h"
#include "pmap/posix/host_posix.h"

#define AT (7 * GIB)
#define EVENTS 16u

struct event {
	enum host_trace_event ev_event;
	uint64_t ev_a, ev_b, ev_c;
};

struct watched {
	struct fx *wa_x;
	unsigned int wa_n;
	struct event wa_events[EVENTS];
	uint64_t wa_generations[EVENTS]; /* the pmap's, at the time */
};

static void
on_trace(void *arg, enum host_trace_event event, uint64_t a, uint64_t b, uint64_t c)
{
	struct watched *w = arg;

	cr_assert_lt(w->wa_n, EVENTS);
	w->wa_generations[w->wa_n] = pmap_generation(w->wa_x->fx_pm);
	w->wa_events[w->wa_n++] = (struct event){event, a, b, c};
}

/* Event i was this one. */
static void
expect(const struct watched *w, unsigned int i, struct event want)
{
	const struct event *got = &w->wa_events[i];

	fx_assert(i < w->wa_n);
	fx_assert(got->ev_event == want.ev_event);
	fx_assert(got->ev_a == want.ev_a && got->ev_b == want.ev_b && got->ev_c == want.ev_c);
}

static void
watched(struct fx *x)
{
	struct watched w = {.wa_x = x};
	const struct host_posix_hooks hooks = {.ph_trace = on_trace, .ph_arg = &w};
	const hpa_t root = pmap_root(x->fx_pm);
	unsigned int joins = 0;
	uint64_t gen;

	host_posix_set_hooks(&hooks);
	for (unsigned int i = 0; i < HOST_TABLE_WORDS; i++)
		fx_assert(fx_enter(x, AT + i * PAGE, FX_HPA + i * PAGE, PMAP_PROT_RWX, PMAP_PROT_W,
				   0) == 0);
	fx_assert(w.wa_n == 0); /* nothing was there before */

	gen = pmap_generation(x->fx_pm);
	pmap_invalidate_all(x->fx_pm);
	fx_assert(w.wa_n == 2);
	expect(&w, 0, (struct event){HOST_TRACE_SHOOTDOWN_BEGIN, root, gen + 1, 0});
	expect(&w, 1, (struct event){HOST_TRACE_SHOOTDOWN_END, root, gen + 1, 0});
	fx_assert(w.wa_generations[0] == gen && w.wa_generations[1] == gen + 1);

	w.wa_n = 0;
	if (x->fx_levels > 1)
		fx_assert(fx_promote(x, AT + 5 * PAGE, 1) == 0);
	for (unsigned int i = 0; i < w.wa_n; i++) {
		if (w.wa_events[i].ev_event != HOST_TRACE_PROMOTE)
			continue;
		expect(&w, i, (struct event){HOST_TRACE_PROMOTE, root, AT, 1});
		joins++;
	}
	fx_assert(joins == (x->fx_levels > 1));
	w.wa_n = 0;
	fx_assert(fx_promote(x, AT, 1) == (x->fx_levels > 1 ? -ENOENT : -EOPNOTSUPP));
	fx_assert(w.wa_n == 0); /* what did not happen is not told */
	host_posix_set_hooks(NULL);
}

Test(watch, shootdowns_and_joins)
{
	fx_each(watched);
}
