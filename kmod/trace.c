/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/* Where the tracepoints' code is, once. */

#include <linux/types.h>

#define CREATE_TRACE_POINTS
#include "kmod/trace.h"
