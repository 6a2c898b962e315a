/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_WATCHDOG_H
#define VMTAP_COMMON_WATCHDOG_H

struct event;
struct event_base;

/*
 * Tells the service manager that this loop runs, as often as it wants to hear it. For event_free(3), before the base.
 * NULL with errno 0: it does not want to (daemon_watchdog_ms()); NULL with errno: it cannot be told.
 */
struct event	*watchdog_new(struct event_base *);

#endif
