/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Writes JSON (RFC 8259): escapes, commas and indentation, nothing else. Keys are NULL inside
 * arrays and for the outermost value.
 */

#ifndef SIM_JSON_H
#define SIM_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH_MAX 8

struct json {
	FILE *js_out;
	unsigned int js_depth;
	bool js_more[JSON_DEPTH_MAX + 1]; /* a comma is due before the next value */
	char js_close[JSON_DEPTH_MAX + 1];
};

void json_start(struct json *j, FILE *out);

/* Ends the text with a newline. Everything that was opened must be closed. */
void json_finish(struct json *j);

void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
void json_close(struct json *j); /* the innermost object or array */

/* Bytes that are not UTF-8 are written as U+FFFD. NULL is null. */
void json_string(struct json *j, const char *key, const char *value);
void json_u64(struct json *j, const char *key, uint64_t value);
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);

/* As a string "0x..." of 16 digits: readers with only floating point keep all bits. */
void json_hex(struct json *j, const char *key, uint64_t value);

/* A number of seconds and the like: three decimals; not finite is null. */
void json_decimal(struct json *j, const char *key, double value);

#endif /* SIM_JSON_H */
