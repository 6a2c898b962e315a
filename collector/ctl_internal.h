/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CTL_INTERNAL_H
#define VMTAP_COLLECTOR_CTL_INTERNAL_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "collector/ctl.h"

struct bufferevent;
struct event;

/* ctl.c (sockets) and ctl_command.c (what is asked) share this. */

struct ctl_client {
	TAILQ_ENTRY(ctl_client) entry;
	struct ctl	*ctl;
	struct bufferevent *bev;
	struct event	*timer;		/* for results */
	bool		 eof;		/* asks no more; goes when its answers are out */
	uint64_t	 token;		/* of what it waits for; 0: nothing */
	unsigned	 workers_left;
	unsigned	 results_left;
	json_t		*rows;		/* the answer's list */
	const char	*list;		/* its name; NULL: the desk is asked */
	json_t		*answer;	/* the desk's; NULL: it has not come */
	uint64_t	 closed;	/* sessions of a VM that was revoked */
};

struct ctl {
	struct collector *collector;
	char		*path;
	int		 fd;
	struct event	*event, *pause;
	uint64_t	 last_token;
	unsigned	 client_count;
	TAILQ_HEAD(, ctl_client) clients;
};

void	ctl_command(struct ctl_client *, const char *line, size_t len);
/* Sends and forgets the answer. */
void	ctl_answer(struct ctl_client *, json_t *);
void	ctl_error(struct ctl_client *, const char *);
void	ctl_wait(struct ctl_client *);			/* for the workers */
/* For the desk, whose ticket is client->token; and, for a VM that was revoked, for the workers that it told so. */
void	ctl_wait_desk(struct ctl_client *);

/* ctl_enrol.c */
void	ctl_token_create(struct ctl_client *, const json_t *question);
void	ctl_token_list(struct ctl_client *, const json_t *question);
void	ctl_token_revoke(struct ctl_client *, const json_t *question);
void	ctl_revoke(struct ctl_client *, const json_t *question);

#endif
