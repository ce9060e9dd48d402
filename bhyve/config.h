/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the user wants, as a tree of strings: "memory.size" and the like. Every option sets some of
 * it, -o sets one by name, -k reads a file of them; what the machine is made of is read from here
 * alone. Used by one thread, before there are others.
 */

#ifndef BHYVE_CONFIG_H
#define BHYVE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct config_entry;
struct config {
	struct config_entry *cn_first; /* in the order of their names */
	char cn_why[256];	       /* about the last failure */
};

void config_init(struct config *config);
void config_free(struct config *config);

/* Sets or replaces. -EINVAL not a name; -ENOMEM. */
int config_set(struct config *config, const char *name, const char *value);
/* "name=value", as after -o. */
int config_set_pair(struct config *config, const char *pair);
/* A file of such lines; empty ones and those that begin with # are skipped. */
int config_read(struct config *config, const char *path);

/* NULL, or fallback, if it was not set. */
const char *config_get(const struct config *config, const char *name);
const char *config_get_or(const struct config *config, const char *name, const char *fallback);
/* true, yes, on, 1 or false, no, off, 0; -EINVAL with a sentence if it is none of these. */
int config_get_bool(struct config *config, const char *name, bool fallback, bool *value);
/* The name after `name` (NULL: the first) that begins with prefix, or NULL. */
const char *config_next(const struct config *config, const char *prefix, const char *name);

/* All of it, a line each, as config_read() would take it. */
void config_dump(const struct config *config, FILE *out);

#endif /* BHYVE_CONFIG_H */
