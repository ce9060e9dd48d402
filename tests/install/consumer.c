/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* A stranger to this tree: compiled against what was installed, by what pkg-config says. */

#include <ept/ept.h>
#include <pmap/pmap.h>

int
main(void)
{
	const struct pmap_config nonsense = {.pc_type = PT_EPT};
	struct pmap *pm;

	return pmap_init(&nonsense, &pm) == -EINVAL ? 0 : 1;
}
