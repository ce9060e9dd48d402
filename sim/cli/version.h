/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Which skep this is: what a seed or a replay file depends on, besides its options. */

#ifndef SIM_VERSION_H
#define SIM_VERSION_H

/* "0.1.0", and the commit it was built from: "1a2b3c4", "1a2b3c4-dirty" or "unknown". */
extern const char sim_version[];
extern const char sim_commit[];

/* The build options that change what runs: "gen_bits=64 check=2". */
extern const char sim_build_options[];

/* All of the above on one line. Two builds of one line run a seed alike. */
extern const char sim_build_id[];

/* What compiled it; a run does not depend on it. */
extern const char sim_compiler[];

#endif /* SIM_VERSION_H */
