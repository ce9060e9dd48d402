/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Memory for instructions that are carried out one by one: an array, and accesses counted. */

#include <string.h>

#include "emul_rig.h"

uint8_t mem[MEM_BYTES];
uint64_t bases[EMUL_SEGS];
unsigned int loads, stores, probes;
uint64_t no_write_from;

static int
load(void *arg, uint64_t gla, unsigned int bytes, uint64_t *value)
{
	(void)arg;
	if (gla + bytes > MEM_BYTES)
		return EMUL_FAULT;
	loads++;
	*value = 0;
	memcpy(value, mem + gla, bytes);
	return 0;
}

static int
probe(void *arg, uint64_t gla, unsigned int bytes)
{
	(void)arg;
	probes++;
	return gla + bytes > no_write_from ? EMUL_FAULT : 0;
}

static int
store(void *arg, uint64_t gla, unsigned int bytes, uint64_t value)
{
	(void)arg;
	if (gla + bytes > no_write_from)
		return EMUL_FAULT;
	stores++;
	memcpy(mem + gla, &value, bytes);
	return 0;
}

static int
base(void *arg, enum emul_seg seg, uint64_t *value)
{
	(void)arg;
	*value = bases[seg];
	return 0;
}

uint64_t xmms[16][2];

static int
xmm(void *arg, unsigned int n, bool write, uint64_t value[2])
{
	(void)arg;
	if (write)
		memcpy(xmms[n], value, sizeof(xmms[n]));
	else
		memcpy(value, xmms[n], sizeof(xmms[n]));
	return 0;
}

const struct emul_ops ops = {load, store, probe, base, xmm, NULL};

void
emul_rig_begin(void)
{
	memset(mem, 0, sizeof(mem));
	memset(bases, 0, sizeof(bases));
	loads = stores = probes = 0;
	no_write_from = MEM_BYTES;
	memset(xmms, 0x5a, sizeof(xmms));
}
