/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* What several small scenarios begin with, and what their programs have in common. */

#include "sim/explore/xp.h"

void
xp_one_read(struct xp *x)
{
	struct space *const sp = xp_guest(x, 1);

	xp_warm(sp, XP_PAGE(0));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
}

void
xp_one_written(struct xp *x)
{
	struct space *const sp = xp_guest(x, 1);

	xp_write(sp, XP_PAGE(0));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
}

void
xp_read_first(struct xp *x)
{
	XP_RUN(x, x->xp_guest, 0, {XP_PAGE(0), PMAP_PROT_R});
}

void
xp_write_first(struct xp *x)
{
	XP_RUN(x, x->xp_guest, 0, {XP_PAGE(0), PMAP_PROT_W});
}

void
xp_remove_first(struct xp *x)
{
	hostop_remove(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}
