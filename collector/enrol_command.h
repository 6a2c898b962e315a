/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_ENROL_COMMAND_H
#define VMTAP_COLLECTOR_ENROL_COMMAND_H

#include <stddef.h>

struct buf;

/* A command of the collector's configuration, run by /bin/sh; any thread, which waits. */
struct enrol_command {
	const char	*command;
	const char	*const *environment;	/* "NAME=value" each, NULL behind the last; added to our own */
	const char	*input;			/* its standard input */
	unsigned	 limit_ms;		/* then it is killed, with all that it has started and left in its process group */
	int		 stop_fd;		/* so it is when this is readable */
};
/* What it wrote is behind what out has; more than out may hold is an error. 0 if its exit status was; else -1 with a line for people,
 * with the first line of its standard error in it. */
int	enrol_command_run(const struct enrol_command *, struct buf *out, char *error, size_t error_size);

#endif
