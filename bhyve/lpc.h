/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * -l: what hangs on a PC's low pin count bus: serial ports, the debug-exit port, a boot ROM.
 */

#ifndef BHYVE_LPC_H
#define BHYVE_LPC_H

#include <stdio.h>

#include "machine.h"

/* One -l, into the configuration. -EINVAL with a sentence in config->cn_why. */
int lpc_parse(struct config *config, const char *option);
void lpc_help(FILE *out);

/* Makes what the configuration says. 0, or -1 after a sentence. */
int lpc_init(struct machine *ma, const struct config *config);
void lpc_fini(void);

#endif /* BHYVE_LPC_H */
