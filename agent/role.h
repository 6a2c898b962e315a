/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_ROLE_H
#define VMTAP_AGENT_ROLE_H

struct agent_options;

enum role { ROLE_CAPTURE, ROLE_LINK };

const char	*role_name(enum role);		/* "capture" */
int		 role_by_name(const char *, enum role *);	/* 0 / -1 */

/*
 * First thing in a role's main: reads the options from ROLE_FD_CONFIG into *options (zeroed; agent_options_free() at the end),
 * sets up the log, gives up the user's and the system's rights (capture keeps CAP_NET_RAW), steps behind the guest's own work
 * for the CPU. A failure is fatal.
 */
void		 role_begin(enum role, struct agent_options *);
/* When start-up is done: the system call filter, unless --no-sandbox. A failure is fatal. */
void		 role_sandbox(void);

#endif
