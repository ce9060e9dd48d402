/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A sorted list of names and values: there are a few dozen, read once.
 */

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

struct config_entry {
	struct config_entry *ce_next;
	char *ce_value;
	char ce_name[];
};

void
config_init(struct config *config)
{
	*config = (struct config){.cn_first = NULL};
}

void
config_free(struct config *config)
{
	while (config->cn_first != NULL) {
		struct config_entry *const e = config->cn_first;

		config->cn_first = e->ce_next;
		free(e->ce_value);
		free(e);
	}
}

static bool
is_name(const char *name)
{
	if (name[0] == '\0')
		return false;
	for (; *name != '\0'; name++) {
		if (!isalnum((unsigned char)*name) && strchr("._:-", *name) == NULL)
			return false;
	}
	return true;
}

int
config_set(struct config *config, const char *name, const char *value)
{
	struct config_entry **at = &config->cn_first;
	struct config_entry *e;
	char *copy;
	int order = 1;

	if (!is_name(name)) {
		snprintf(config->cn_why, sizeof(config->cn_why), "'%s' is not a variable's name",
			 name);
		return -EINVAL;
	}
	while (*at != NULL && (order = strcmp(name, (*at)->ce_name)) > 0)
		at = &(*at)->ce_next;
	copy = strdup(value);
	e = *at != NULL && order == 0 ? *at : malloc(sizeof(*e) + strlen(name) + 1);
	if (copy == NULL || e == NULL) {
		free(copy);
		if (*at == NULL || order != 0)
			free(e);
		snprintf(config->cn_why, sizeof(config->cn_why), "out of memory");
		return -ENOMEM;
	}
	if (e == *at) {
		free(e->ce_value);
	} else {
		strcpy(e->ce_name, name);
		e->ce_next = *at;
		*at = e;
	}
	e->ce_value = copy;
	return 0;
}

int
config_set_pair(struct config *config, const char *pair)
{
	const char *const eq = strchr(pair, '=');
	char *name;
	int error;

	if (eq == NULL) {
		snprintf(config->cn_why, sizeof(config->cn_why), "'%s' is not variable=value",
			 pair);
		return -EINVAL;
	}
	name = strndup(pair, (size_t)(eq - pair));
	if (name == NULL)
		return -ENOMEM;
	error = config_set(config, name, eq + 1);
	free(name);
	return error;
}

int
config_read(struct config *config, const char *path)
{
	FILE *const in = fopen(path, "re");
	unsigned int number = 0;
	char *line = NULL;
	size_t room = 0;
	int error = 0;

	if (in == NULL) {
		error = -errno;
		snprintf(config->cn_why, sizeof(config->cn_why), "cannot read %s: %s", path,
			 strerror(-error));
		return error;
	}
	while (error == 0 && getline(&line, &room, in) >= 0) {
		number++;
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '\0' || line[0] == '#')
			continue;
		error = config_set_pair(config, line);
		if (error) {
			char why[160];

			snprintf(why, sizeof(why), "%.150s", config->cn_why);
			snprintf(config->cn_why, sizeof(config->cn_why), "%.80s, line %u: %s", path,
				 number, why);
		}
	}
	free(line);
	fclose(in);
	return error;
}

const char *
config_get(const struct config *config, const char *name)
{
	for (const struct config_entry *e = config->cn_first; e != NULL; e = e->ce_next) {
		if (strcmp(e->ce_name, name) == 0)
			return e->ce_value;
	}
	return NULL;
}

const char *
config_get_or(const struct config *config, const char *name, const char *fallback)
{
	const char *const value = config_get(config, name);

	return value != NULL ? value : fallback;
}

int
config_get_bool(struct config *config, const char *name, bool fallback, bool *value)
{
	static const char *const words[2][4] = {{"false", "no", "off", "0"},
						{"true", "yes", "on", "1"}};
	const char *const text = config_get(config, name);

	*value = fallback;
	if (text == NULL)
		return 0;
	for (int truth = 0; truth < 2; truth++) {
		for (int i = 0; i < 4; i++) {
			if (strcmp(text, words[truth][i]) == 0) {
				*value = truth == 1;
				return 0;
			}
		}
	}
	snprintf(config->cn_why, sizeof(config->cn_why), "%s is '%s': neither true nor false", name,
		 text);
	return -EINVAL;
}

const char *
config_next(const struct config *config, const char *prefix, const char *name)
{
	for (const struct config_entry *e = config->cn_first; e != NULL; e = e->ce_next) {
		if (strncmp(e->ce_name, prefix, strlen(prefix)) == 0 &&
		    (name == NULL || strcmp(e->ce_name, name) > 0))
			return e->ce_name;
	}
	return NULL;
}

void
config_dump(const struct config *config, FILE *out)
{
	for (const struct config_entry *e = config->cn_first; e != NULL; e = e->ce_next)
		fprintf(out, "%s=%s\n", e->ce_name, e->ce_value);
}
