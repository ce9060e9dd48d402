/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* A test program without tests: it must fail, or a typo in a file list would look like success. */

#include <criterion/criterion.h>

extern int selftest_empty;
int selftest_empty;
