/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_PULL_H
#define VMTAP_COLLECTOR_PULL_H

#include <stdbool.h>
#include <stddef.h>

struct conf_list;
struct event_base;
struct rpcap_url;

/*
 * Listening agents, and interfaces of RPCAP servers, dialled for ever: after each end of a session again, with back-off from 1 s
 * to 60 s and jitter; a session that got as far as its WELCOME, or its first filter, sets that back. Names are looked up anew
 * each time, without blocking.
 */
struct pulls;
struct pull_settings {
	const struct conf_list	*list;		/* HOST[:PORT], or as rpcap_url.h has it */
	const char		*file;		/* NULL, or one such a line */
	const struct conf_list	*tenants;	/* of the collector; empty: all */
	bool			 rpcap_plain;	/* passwords may go in plain text to other hosts */
};
#define PULL_RPCAP_TENANT	"rpcap"		/* of those that name none, unless the collector has just one */
/* NULL with a line for people. */
struct pulls	*pulls_new(const struct pull_settings *, char *error, size_t error_size);
bool		 pulls_need_tls(const struct pulls *);	/* one is of rpcaps */
/* dialled() takes a connecting, non-blocking descriptor to name, url: NULL or of that RPCAP server, as long as the pulls live;
 * pulls_ended() must tell when its session is over. */
typedef void	 pull_dialled(int fd, int pull, const char *name, const struct rpcap_url *, void *arg);
int		 pulls_start(struct pulls *, struct event_base *, pull_dialled *, void *arg);
void		 pulls_ended(struct pulls *, int pull, bool good);
/* Dials no more. The loop must go on before pulls_free(): it tells of look-ups that are cancelled. */
void		 pulls_stop(struct pulls *);
void		 pulls_free(struct pulls *);	/* NULL is fine */

#endif
