/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the worlds share: the record of CHECK()s.
 */

#ifndef TESTS_UNIT_WORLD_CHECK_H
#define TESTS_UNIT_WORLD_CHECK_H

#include "tests/unit/world.h"

void world_check_begin(void);
void world_check_end(void);

#endif /* TESTS_UNIT_WORLD_CHECK_H */
