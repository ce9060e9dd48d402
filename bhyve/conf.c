/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Words of a device's options (conf.h). */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"

int
conf_parse(struct conf *conf, const char *text)
{
	char *at;

	memset(conf, 0, sizeof(*conf));
	conf->cf_text = strdup(text);
	if (conf->cf_text == NULL)
		return -ENOMEM;
	at = conf->cf_text;
	while (at != NULL && *at != '\0') {
		char *const word = strsep(&at, ",");

		if (conf->cf_n == CONF_WORDS_MAX) {
			conf_free(conf);
			return -E2BIG;
		}
		conf->cf_words[conf->cf_n++] = word;
	}
	return 0;
}

void
conf_free(struct conf *conf)
{
	free(conf->cf_text);
	memset(conf, 0, sizeof(*conf));
}

const char *
conf_value(struct conf *conf, const char *name)
{
	const size_t n = strlen(name);

	for (unsigned int i = 0; i < conf->cf_n; i++) {
		const char *const word = conf->cf_words[i];

		if (!conf->cf_taken[i] && strncmp(word, name, n) == 0 && word[n] == '=') {
			conf->cf_taken[i] = true;
			return word + n + 1;
		}
	}
	return NULL;
}

bool
conf_flag(struct conf *conf, const char *name)
{
	for (unsigned int i = 0; i < conf->cf_n; i++) {
		if (!conf->cf_taken[i] && strcmp(conf->cf_words[i], name) == 0) {
			conf->cf_taken[i] = true;
			return true;
		}
	}
	return false;
}

const char *
conf_word(struct conf *conf)
{
	for (unsigned int i = 0; i < conf->cf_n; i++) {
		if (!conf->cf_taken[i] && strchr(conf->cf_words[i], '=') == NULL) {
			conf->cf_taken[i] = true;
			return conf->cf_words[i];
		}
	}
	return NULL;
}

const char *
conf_left(const struct conf *conf)
{
	for (unsigned int i = 0; i < conf->cf_n; i++) {
		if (!conf->cf_taken[i])
			return conf->cf_words[i];
	}
	return NULL;
}
