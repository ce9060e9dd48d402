/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* A stranger to this tree: compiled against what was installed, by what pkg-config says. */

#include <errno.h>
#include <string.h>

#include <libvmm/libvmm.h>

int
main(void)
{
	uint64_t bytes = 0;

	if (vm_parse_memsize("64", &bytes) != 0 || bytes != 64u << 20)
		return 1;
	/* Refused before any node is asked for; and what needs libpmap is linked. */
	return vm_open("../vmm") == NULL && errno == EINVAL && strlen(vmm_errmsg()) > 0 &&
			       vm_boot_tables(NULL, &(struct vm_boot_cfg){0}, &bytes, NULL) ==
				       -EINVAL
		       ? 0
		       : 1;
}
