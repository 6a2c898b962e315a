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
 * sets up the log, gives up the user's and the system's rights (capture keeps CAP_NET_RAW) and that to files larger than the disk
 * spool's, steps behind the guest's own work for the CPU. A failure is fatal.
 */
void		 role_begin(enum role, struct agent_options *);
/* No file can be made longer than a segment of the disk spool is, if there is one, and then by this much: an item that is too large
 * for one, and what goes before it. Unless stderr is a file: it may be longer. -1 with errno. */
#define ROLE_SEGMENT_SPARE	(4u * 1024 * 1024)
int		 role_limit_files(const struct agent_options *);
/* When start-up is done: the system call filter, unless --no-sandbox. A failure is fatal. */
void		 role_sandbox(void);

#endif
