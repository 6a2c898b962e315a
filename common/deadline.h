/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_DEADLINE_H
#define VMTAP_COMMON_DEADLINE_H

#include <stdint.h>

struct event_base;

/*
 * A moment by the clock that goes on while the machine is suspended (clock_boot_ns()), for what must not be believed any longer.
 * What passes meanwhile is reported as soon as the machine runs again; before Linux 3.15, as late as the suspension was long.
 */
struct deadline;

/* NULL with errno. */
struct deadline	*deadline_new(struct event_base *, void (*passed)(void *arg), void *arg);
/* In place of the one before. 0: none. What has passed already is reported by the loop, not from here. */
void		 deadline_set(struct deadline *, uint64_t boot_ns);
void		 deadline_free(struct deadline *);	/* NULL is fine */

#endif
