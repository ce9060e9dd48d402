/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A story as a trace in Chrome's JSON format, which Perfetto and chrome://tracing open: a track per
 * CPU with its operations, guest mode and what happened in them, one per CPU for what it had cached
 * stale, one per vCPU. A step is a microsecond, since there is no time.
 */

#ifndef SIM_PERFETTO_H
#define SIM_PERFETTO_H

#include <stdio.h>

#include "sim/story/story.h"

/* s NULL: an empty trace. Errors of the stream are for the caller to look up. */
void perfetto_write(FILE *to, const struct story *s);

#endif /* SIM_PERFETTO_H */
