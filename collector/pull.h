/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_PULL_H
#define VMTAP_COLLECTOR_PULL_H

#include <stdbool.h>
#include <stddef.h>

struct conf_list;
struct event_base;

/*
 * Listening agents, dialled for ever: after each end of a session again, with back-off from 1 s to 60 s and jitter; a session that
 * got as far as its WELCOME sets that back. Names are looked up anew each time, without blocking.
 */
struct pulls;
/* list of HOST[:PORT], file: NULL or one such a line. NULL with a line for people. */
struct pulls	*pulls_new(const struct conf_list *list, const char *file, char *error, size_t error_size);
/* dialled() takes a connecting, non-blocking descriptor to name; pulls_ended() must tell when its session is over. */
typedef void	 pull_dialled(int fd, int pull, const char *name, void *arg);
int		 pulls_start(struct pulls *, struct event_base *, pull_dialled *, void *arg);
void		 pulls_ended(struct pulls *, int pull, bool good);
/* Dials no more. The loop must go on before pulls_free(): it tells of look-ups that are cancelled. */
void		 pulls_stop(struct pulls *);
void		 pulls_free(struct pulls *);	/* NULL is fine */

#endif
