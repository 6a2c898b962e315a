/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CMD_REMOTE_H
#define VMTAP_COLLECTOR_CMD_REMOTE_H

struct conf_row;
struct reach_options;

/* What a verb was asked, asked of a collector far away. */
struct remote_verb {
	const char		*verb;
	const struct reach_options *reach;
	const struct conf_row	*rows;
	const void		*options;
	const char		*operand;	/* the VM; NULL: none */
	const char		*rest;		/* words behind the options, as one; NULL: none */
};
/* Runs it there, with those of the options that are for there; its output goes to out. The exit status. */
int	cmd_remote(const struct remote_verb *, int out);

#endif
