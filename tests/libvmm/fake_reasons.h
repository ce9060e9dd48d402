/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* How many reasons vmspace has for a fault that failed. */

#ifndef TESTS_LIBVMM_FAKE_REASONS_H
#define TESTS_LIBVMM_FAKE_REASONS_H

unsigned int fk_fault_reasons(void);

#endif /* TESTS_LIBVMM_FAKE_REASONS_H */
