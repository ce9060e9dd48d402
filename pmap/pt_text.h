/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Text without a libc: a bounded buffer that is always terminated and never overruns. */

#ifndef PMAP_PT_TEXT_H
#define PMAP_PT_TEXT_H

#include "pmap/host.h"

struct pt_text {
	char *tx_buf;
	size_t tx_bytes;
	size_t tx_used; /* without the terminator */
};

static inline void
pt_text_init(struct pt_text *t, char *buf, size_t bytes)
{
	*t = (struct pt_text){.tx_buf = buf, .tx_bytes = bytes};
	if (bytes > 0)
		buf[0] = '\0';
}

static inline void
pt_text_add(struct pt_text *t, const char *s)
{
	while (*s != '\0' && t->tx_used + 1 < t->tx_bytes)
		t->tx_buf[t->tx_used++] = *s++;
	if (t->tx_used < t->tx_bytes)
		t->tx_buf[t->tx_used] = '\0';
}

static inline void
pt_text_add_number(struct pt_text *t, uint64_t value, unsigned int base)
{
	char digits[24];
	unsigned int at = sizeof(digits);

	digits[--at] = '\0';
	do {
		digits[--at] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	pt_text_add(t, &digits[at]);
}

static inline void
pt_text_add_hex(struct pt_text *t, uint64_t value)
{
	pt_text_add(t, "0x");
	pt_text_add_number(t, value, 16);
}

static inline void
pt_text_add_dec(struct pt_text *t, uint64_t value)
{
	pt_text_add_number(t, value, 10);
}

#endif /* PMAP_PT_TEXT_H */
