/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_RACE_H
#define VMTAP_AGENT_LINK_RACE_H

#include <stddef.h>
#include <stdint.h>

#include "agent/link_resolve.h"

struct event_base;
struct race;

#define RACE_DELAY_MS	250	/* RFC 8305, "Connection Attempt Delay" */
#define RACE_CONNECT_MS	5000	/* an address that has not answered until then has failed */

/*
 * Which of a host's addresses answers first (RFC 8305): they are connected to one after another, the families in turn, each 250 ms
 * after the one before or at once when that one fails. The first connection wins, the others are closed, and their addresses may
 * be raced again. Sockets are not made here but asked for, one at a time. Callbacks come from the event loop or from inside
 * race_socket(), race_start() and race_again(); won and lost end the race, and may start another.
 */
struct race_callbacks {
	int	(*ask)(uint8_t family, void *arg);	/* race_socket() follows; -1 with errno: not this time */
	void	(*won)(int fd, const struct resolve_address *, void *arg);	/* takes fd */
	void	(*failed)(const struct resolve_address *, const char *why, void *arg);	/* this one; the race goes on */
	void	(*lost)(void *arg);			/* no address is left */
};
struct race	*race_new(struct event_base *, const struct race_callbacks *, void *arg);	/* NULL: ENOMEM */
void		 race_free(struct race *);		/* NULL is fine */
/* Among these, at most RESOLVE_MAX. */
void		 race_start(struct race *, const struct resolve_address *, size_t count);
void		 race_again(struct race *);		/* among those that have neither won nor failed */
void		 race_stop(struct race *);
/* What was asked for: a non-blocking socket, which it takes; or -1 and why there is none. Fine without a race too. */
void		 race_socket(struct race *, int fd, int error);

/* What became of connect(2), once its event came (EV_WRITE, EV_TIMEOUT): 0 or an errno. */
int		 race_connect_error(int fd, short what);

/* The families in turn, the first one's first; else in the order they have. */
void		 race_interleave(struct resolve_address *, size_t count);

#endif
