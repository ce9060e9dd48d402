/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Fuzzing by coverage: an input is a replay file, whose decisions are taken as far as they fit
 * (sim/replay/lenient.h). Operations, the schedule, what hardware does and what fails are all among
 * them.
 */

#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "sim/replay/replay.h"

/* What libFuzzer asks for, and AFL++'s driver. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2,
				 size_t size2, uint8_t *out, size_t max_out, unsigned int seed);

/* Reads an input; false if it is none, or too large to be run thousands of times. */
bool fuzz_read(const uint8_t *data, size_t size, struct replay *re);

/*
 * Runs an input. What is returned is good until the next run; with record, its choices (and notes,
 * in the same memory) are the caller's to free.
 */
struct sim_outcome *fuzz_run(const struct replay *re, bool record);

#endif /* TESTS_FUZZ_FUZZ_H */
