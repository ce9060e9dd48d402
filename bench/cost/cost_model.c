/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What things cost, in nanoseconds of a server with cores of 3 GHz, and who says so.
 *
 * Sources disagree by factors of two. What is shown with these figures is growth, and which way is
 * ahead; `--set` changes any of them, and docs/BENCH.md tells which conclusions survive that.
 */

#include "bench/cost/cost.h"

#include <stdlib.h>
#include <string.h>

const struct cost_item_info cost_items[COST_ITEMS] = {
	[COST_HIT] = {"hit", 1, "access to a line at hand",
		      "4 cycles of L1 latency (AnandTech, EPYC Rome review, 2019)"},
	[COST_LOCKED] = {"locked", 5, "locked operation on a line at hand",
			 "measured where skep is built: 4.75 ns on a Zen 5 core"},
	[COST_PAUSE] = {"pause", 20, "one turn of a waiting loop",
			"about 65 cycles of PAUSE on Zen (Agner Fog's tables); Intel has 140"},
	[COST_LINE_NEAR] = {"line_near", 19, "line from a core that shares the L3",
			    "15 to 19 ns (AnandTech, Ryzen 7950X review, 2022)"},
	[COST_LINE_SOCKET] = {"line_socket", 80, "line from elsewhere in the socket",
			      "79.5 ns between chiplets (the same review)"},
	[COST_LINE_REMOTE] = {"line_remote", 200, "line from another socket",
			      "about 200 ns (Chips and Cheese, large systems, 2023), rounded"},
	[COST_LINE_BUSY] = {"line_busy", 10, "time that a read occupies a shared line",
			    "assumed: an L3 access, 10.3 ns (AnandTech, EPYC Rome review)"},
	[COST_IPI_SEND] = {"ipi_send", 100, "sending an interrupt to one CPU",
			   "assumed: a serializing MSR write, 300 cycles"},
	[COST_IPI_SOCKET] =
		{"ipi_socket", 700, "until it arrives, in the socket",
		 "more than 1000 cycles until acknowledged (Amit et al., EuroSys 2020)"},
	[COST_IPI_REMOTE] = {"ipi_remote", 1000, "until it arrives, elsewhere",
			     "assumed: the same and a trip between sockets each way"},
	[COST_IRQ] = {"irq", 200, "taking an interrupt in the host",
		      "assumed: 600 cycles for entry, end of interrupt, and return"},
	[COST_EXIT] = {"exit", 230, "leaving the guest",
		       "half of 1376 cycles for a VMRUN and back (lkml 2012.2/00527)"},
	[COST_ENTRY] = {"entry", 230, "entering the guest", "the other half"},
	[COST_FLUSH] = {"flush", 200, "flush of a guest's translations",
			"assumed: no figure for INVEPT was found"},
	[COST_REFILL] = {"refill", 2000, "misses of the guest after a flush",
			 "assumed: 64 translations of 30 ns"},
	[COST_CLUSTER] = {"cluster", 8, "CPUs that share an L3", "EPYC Milan and later"},
	[COST_SOCKET] = {"socket", 64, "CPUs of a socket", "EPYC Milan"},
};

void
cost_model_default(struct cost_model *m)
{
	for (unsigned int i = 0; i < COST_ITEMS; i++)
		m->cm_value[i] = cost_items[i].ci_value;
}

bool
cost_model_set(struct cost_model *m, const char *assignment)
{
	const char *const equals = strchr(assignment, '=');

	for (unsigned int i = 0; equals != NULL && i < COST_ITEMS; i++) {
		const size_t n = strlen(cost_items[i].ci_name);
		const bool count = i == COST_CLUSTER || i == COST_SOCKET;
		char *end;
		unsigned long value;

		if (n != (size_t)(equals - assignment) ||
		    strncmp(assignment, cost_items[i].ci_name, n) != 0)
			continue;
		if (equals[1] < '0' || equals[1] > '9')
			return false;
		value = strtoul(equals + 1, &end, 10);
		if (*end != '\0' || value > 1000000 || (count && value == 0))
			return false;
		m->cm_value[i] = (unsigned int)value;
		return true;
	}
	return false;
}
