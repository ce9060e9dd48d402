/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The part of -s behind a device's name: words with commas between them, each "name" or
 * "name=value". A device takes the words that it knows; what is left is a mistake, and is named.
 */

#ifndef BHYVE_CONF_H
#define BHYVE_CONF_H

#include <stdbool.h>

#define CONF_WORDS_MAX 16

struct conf {
	char *cf_text; /* a copy; the words point into it */
	unsigned int cf_n;
	char *cf_words[CONF_WORDS_MAX];
	bool cf_taken[CONF_WORDS_MAX];
};

/* 0, -ENOMEM, -E2BIG more words than that. */
int conf_parse(struct conf *conf, const char *text);
void conf_free(struct conf *conf);
/* The value of name=value, or NULL. */
const char *conf_value(struct conf *conf, const char *name);
/* Is the word there? */
bool conf_flag(struct conf *conf, const char *name);
/* The first word that is neither taken nor has a '=': the thing itself (a file, a backend). */
const char *conf_word(struct conf *conf);
/* What nobody took, or NULL. */
const char *conf_left(const struct conf *conf);

#endif /* BHYVE_CONF_H */
