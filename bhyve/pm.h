/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Power: ACPI's fixed hardware (PM1a event and control blocks), the power button, the reset
 * register, and the keyboard controller's way to reset. The ACPI timer is the module's.
 */

#ifndef BHYVE_PM_H
#define BHYVE_PM_H

struct vmctx;

#define PM_EVENT_PORT 0x400 /* status, enable: 2 bytes each */
#define PM_CONTROL_PORT 0x404
#define PM_PORTS 8
#define PM_RESET_PORT 0xcf9
#define PM_SCI 9
#define PM_S5_TYPE 5

/* Registers the ports. 0 or -errno. */
int pm_init(struct vmctx *ctx);
/* SIGTERM: the guest is told that the button was pressed; one that does not listen is off. */
void pm_power_button(void);

#endif /* BHYVE_PM_H */
