/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* The mutator as AFL++ wants it (its docs/custom_mutators.md): a library that it loads. */

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

struct mutator {
	uint8_t *mu_out;
	size_t mu_room;
	unsigned int mu_seed;
};

void *afl_custom_init(void *afl, unsigned int seed);
size_t afl_custom_fuzz(void *data, uint8_t *buf, size_t size, uint8_t **out, uint8_t *add,
		       size_t add_size, size_t max_size);
void afl_custom_deinit(void *data);

void *
afl_custom_init(void *afl, unsigned int seed)
{
	struct mutator *const mu = calloc(1, sizeof(*mu));

	(void)afl;
	if (mu != NULL)
		mu->mu_seed = seed;
	return mu;
}

size_t
afl_custom_fuzz(void *data, uint8_t *buf, size_t size, uint8_t **out, uint8_t *add, size_t add_size,
		size_t max_size)
{
	struct mutator *const mu = data;

	if (mu->mu_room < max_size || mu->mu_room < size) {
		free(mu->mu_out);
		mu->mu_room = max_size > size ? max_size : size;
		mu->mu_out = malloc(mu->mu_room);
	}
	*out = mu->mu_out;
	if (mu->mu_out == NULL) {
		mu->mu_room = 0;
		return 0;
	}
	mu->mu_seed++;
	if (add != NULL && mu->mu_seed % 8 == 0)
		return LLVMFuzzerCustomCrossOver(buf, size, add, add_size, mu->mu_out, max_size,
						 mu->mu_seed);
	memcpy(mu->mu_out, buf, size);
	return LLVMFuzzerCustomMutator(mu->mu_out, size, max_size, mu->mu_seed);
}

void
afl_custom_deinit(void *data)
{
	struct mutator *const mu = data;

	free(mu->mu_out);
	free(mu);
}
