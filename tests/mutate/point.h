/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Included before everything else when mutants are built: what the changed sources ask at each
 * point. One program holds all mutants; which of them it is, is said by its environment (point.c).
 */

#ifndef MUTATE_POINT_H
#define MUTATE_POINT_H

#ifndef __ASSEMBLER__

extern int skep_mutant;		    /* which one this process is; 0: none */
extern unsigned char *skep_reached; /* a byte for each mutant, or NULL if nobody wants to know */

/* Whether one of the n mutants of this point is the one; notes that the point was reached. */
static inline int
skep_hit(int first, int n)
{
	if (skep_reached)
		skep_reached[first] = 1;
	return (unsigned int)(skep_mutant - first) < (unsigned int)n;
}

#endif

#endif /* MUTATE_POINT_H */
