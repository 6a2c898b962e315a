/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CMD_READ_H
#define VMTAP_COLLECTOR_CMD_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "reach.h"

struct merge;
struct merge_settings;
struct pcapng_out;

/* Within cmd_read*.c. */
struct read_options {
	char		*store, *from, *to, *write, *tenant;
	bool		 merged, follow, as_captured;
	uint64_t	 count, dedup_window_ms, dedup_memory;
	struct reach_options reach;
};

/* vmtap read --merged; returns the exit status. */
int	read_merged(const struct read_options *, const char *filter, uint64_t from_ns, uint64_t to_ns);
/* One VM with what its peers deliver for it; the exit status. Closes the output. */
int	read_whole(const struct read_options *, struct merge_settings *);
int	read_all(struct merge *);		/* as merge_pass(), but for the last of it */
void	read_allow_many_files(void);	/* of each VM one is open */
/* Flushes and closes; rc -1: why is what could not be read, "" or NULL: the output's own error. The exit status. */
int	read_finish(struct pcapng_out *, int rc, const char *why);
void	read_warning(const char *, void *arg);

#endif
