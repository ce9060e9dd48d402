/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Between fiber.c and the switch of one processor.
 */

#ifndef SIM_FIBER_NATIVE_H
#define SIM_FIBER_NATIVE_H

/* Saves the stack pointer in *save, takes `to` for it, and returns there. */
void fiber_native_switch(void **save, void *to);

/* Takes the argument in the fourth saved word from the bottom, the function in the third. */
void fiber_native_start(void);

#endif /* SIM_FIBER_NATIVE_H */
