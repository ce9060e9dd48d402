/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Named CPU models: capability words, real and made up, that tests and the simulator run on.
 *
 * A profile is what the CPU says of itself, so everything that uses one goes through the decoders
 * of ept.h, like a host that reads its own CPU. Beside the words stands what they mean, written
 * down by hand: the decoders are tested against it.
 */

#ifndef EPT_PROFILES_H
#define EPT_PROFILES_H

#include "ept/ept.h"

struct ept_profile {
	const char *pr_name;  /* lower case, unique; never changes once released */
	const char *pr_about; /* half a line */
	enum pt_type pr_type; /* its nested paging; PT_X86 if it has none */
	struct ept_words pr_words;
	struct ept_cpu pr_nested; /* what ept_caps(pr_type) must make of it without a policy */
	struct ept_cpu pr_x86;	  /* and ept_caps(PT_X86) */
};

/* How many there are, and the i-th (i below that), in a fixed order. */
size_t ept_profile_count(void);
const struct ept_profile *ept_profile_at(size_t i);

/* By name; NULL if there is none of that name. */
const struct ept_profile *ept_profile_find(const char *name);

#endif /* EPT_PROFILES_H */
