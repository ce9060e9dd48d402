/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A small run that always fails, with a story to tell: CPU 1 clears an entry and flushes nobody,
 * while CPU 0 is in a guest that has the translation cached. Tables are made by hand; names are
 * hostile, as file names may be.
 */

#include "pmap/host.h"

#include <errno.h>
#include <stdio.h>

#include "sim/cli/options.h"
#include "sim/oracle/oracle_tlb.h"
#include "sim/story/story_record.h"
#include "tests/cli/race.h"

#define GPA UINT64_C(0x40201000)
#define HOSTILE "</script><script>window.injected = 1</script><b>&amp;\"'"
#define EPTP_BITS 0x5e /* write back, four levels, accessed and dirty flags */
#define EPT_TABLE 0x7
#define EPT_LEAF 0x37

struct scene {
	struct hw_model model;
	struct hw_context ctx;
	uint64_t *leaf;
	bool cached;
};

static void
write_hook(void *arg, const struct sim_table_write *w)
{
	(void)arg;
	oracle_tlb_write(w);
}

static void
set_up(void *arg)
{
	struct scene *const sc = arg;
	const uint64_t root = sim_frame_alloc(SIM_FRAME_TABLE, 0);
	uint64_t table = root;

	hw_model_init(&sc->model);
	sc->ctx = (struct hw_context){
		.hc_model = &sc->model,
		.hc_kind = HW_EPT,
		.hc_root = root | EPTP_BITS,
		.hc_tag = 1,
	};
	for (unsigned int level = 3; level > 0; level--) {
		uint64_t *const w = &sim_table_words(table)[GPA >> (12 + 9 * level) & 511];

		table = sim_frame_alloc(SIM_FRAME_TABLE, 0);
		*w = table | EPT_TABLE;
	}
	sc->leaf = &sim_table_words(table)[GPA >> 12 & 511];
	oracle_tlb_register(&sc->ctx);
	sim_set_write_hook(write_hook, NULL);
	STORY(space(HOSTILE, &sc->ctx, NULL));
	sim_word_xchg(sc->leaf, sim_frame_alloc(SIM_FRAME_DATA, 0) | EPT_LEAF);
}

static void
run_guest(void *arg)
{
	struct scene *const sc = arg;
	struct hw_translation t;
	struct hw_fault f;

	STORY(vcpu(HOSTILE, 0, true));
	sim_irq_disable();
	if (sim_guest_enter()) {
		hw_guest_enter(0, &sc->ctx, HW_TLB_KEEP);
		for (unsigned int i = 0; i < 400 && sim_guest_point(GPA); i++) {
			if (i < 3)
				hw_access(0, &sc->ctx, GPA, HW_WRITE, &t, &f);
			sc->cached = i >= 3;
		}
		hw_guest_exit(0);
	}
	sim_guest_exit();
	sim_irq_enable();
	STORY(vcpu(HOSTILE, 0, false));
}

static bool
is_cached(void *arg)
{
	return ((struct scene *)arg)->cached;
}

static void
clear_entry(void *arg)
{
	struct scene *const sc = arg;
	struct oracle_tlb_op op;

	sim_wait_until("the guest", is_cached, sc);
	STORY(begin("remove", HOSTILE, GPA, GPA + SIM_PAGE_SIZE));
	oracle_tlb_op_begin(&op, hw_context_root(&sc->ctx));
	sim_word_xchg(sc->leaf, 0);
	for (unsigned int i = 0; i < 20; i++)
		sim_point(SIM_USER, NULL);
	oracle_tlb_op_done(&op, GPA, GPA + SIM_PAGE_SIZE);
	STORY(done(0));
}

int
race_run(const struct sim_options *o, struct sim_outcome *out)
{
	struct scene sc = {.cached = false};
	struct sim_report report;
	struct sim_config cfg;
	struct hw_config hw;
	struct sim_machine *m;

	sim_config_init(&cfg);
	cfg.sc_seed = o->seed;
	cfg.sc_steps = o->step_limit;
	cfg.sc_break_at = o->break_at;
	m = sim_machine_create(&cfg, out->message, sizeof(out->message));
	hw_config_init(&hw);
	if (m == NULL || hw_create(&hw) != 0 || oracle_tlb_create() != 0)
		return -ENOMEM;
	story_attach(o->story);
	sim_machine_call(m, set_up, &sc, &report);
	sim_spawn(m, 0, run_guest, &sc);
	sim_spawn(m, 1, clear_entry, &sc);
	sim_machine_run(m, &report);
	if (o->look != NULL)
		o->look(o->look_arg, &report);
	story_detach();
	oracle_tlb_destroy();
	hw_destroy();
	sim_machine_destroy(m);
	if (report.sr_result != SIM_RUN_VIOLATED)
		return 0;
	out->verdict = SIM_VIOLATION;
	out->steps = report.sr_step;
	out->trace_hash = report.sr_hash;
	out->cpu = report.sr_cpu;
	snprintf(out->check, sizeof(out->check), "%s", report.sr_check);
	snprintf(out->invariant, sizeof(out->invariant), "%s", report.sr_invariant);
	snprintf(out->message, sizeof(out->message), HOSTILE " %.200s", report.sr_message);
	return 0;
}
