/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_CLOCKWATCH_H
#define VMTAP_COMMON_CLOCKWATCH_H

struct clockwatch;
struct event_base;

/* Calls stepped() when the wall clock was set, not when it is slewed. NULL with errno. */
struct clockwatch *clockwatch_new(struct event_base *, void (*stepped)(void *arg), void *arg);
void		 clockwatch_free(struct clockwatch *);	/* NULL is fine */

#endif
