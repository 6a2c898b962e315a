/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_PULL_H
#define VMTAP_COLLECTOR_PULL_H

#include <stdbool.h>
#include <stddef.h>

struct conf_list;
struct event_base;

/*
 * Listening agents, dialled for ever: after each end of a session again, with back-off from 1 s to 60 s and jitter; a session that got as far
 * as its WELCOME sets that back. Names are looked up anew each time, without blocking.
 */
struct pulls;
/* list of HOST[:PORT], file: NULL or one such a line. NULL with a line for people. */
struct pulls	*pulls_new(const struct conf_list *list, const char *file, char *error, size_t error_size);
/* dialled() takes a connecting, non-blocking descriptor, and is told by pulls_ended() when its session is over. */
int		 pulls_start(struct pulls *, struct event_base *, void (*dialled)(int fd, int pull, void *arg), void *arg);
void		 pulls_ended(struct pulls *, int pull, bool good);
void		 pulls_free(struct pulls *);	/* NULL is fine */

#endif
