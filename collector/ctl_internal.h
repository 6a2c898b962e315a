/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CTL_INTERNAL_H
#define VMTAP_COLLECTOR_CTL_INTERNAL_H

#include <sys/queue.h>
#include <sys/time.h>
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "collector/ctl.h"

#include "collector/budget.h"

struct bufferevent;
struct catalog_vm;
struct ctl_run;
struct event;

/* ctl.c (the socket, clients), ctl_operator.c (TLS), ctl_command.c (what is asked), ctl_policy.c, ctl_run.c (children) share this. */

/* What the operators of a tenant have of the collector, those of all tenants being one more. */
struct ctl_tenant {
	TAILQ_ENTRY(ctl_tenant) entry;
	char		 name[IDENTITY_NAME_SIZE];
	unsigned	 clients, runs;
	struct budget	 questions;
};

struct ctl_client {
	TAILQ_ENTRY(ctl_client) entry;
	struct ctl	*ctl;
	struct ctl_tenant *tenant;	/* NULL: of the socket, with all rights */
	struct rights	 rights;
	char		 who[2 * IDENTITY_NAME_SIZE + 32];	/* for the log */
	struct bufferevent *bev;
	struct event	*timer;		/* for results */
	bool		 eof;		/* asks no more; goes when its answers are out */
	bool		 held;		/* its next line waits, for there were many */
	uint64_t	 token;		/* of what it waits for; 0: nothing */
	unsigned	 workers_left;
	unsigned	 results_left;
	json_t		*rows;		/* the answer's list */
	const char	*list;		/* its name; NULL: the desk is asked */
	json_t		*answer;	/* the desk's; NULL: it has not come */
	uint64_t	 closed;	/* sessions of a VM that was revoked */
	struct ctl_run	*run;		/* whose output it is sent */
};

struct ctl {
	struct collector *collector;
	char		*path;
	int		 fd;
	struct event	*event, *pause, *child;
	uint64_t	 last_token;
	unsigned	 client_count;	/* of the socket */
	unsigned	 operator_count, run_count;
	const char	*run_program;	/* this one */
	TAILQ_HEAD(, ctl_client) clients;
	TAILQ_HEAD(, ctl_tenant) tenants;
	TAILQ_HEAD(, ctl_remote) remotes;
	TAILQ_HEAD(, ctl_run) runs;
};

/* Has the client these rights, of the tenant ("*": of all)? */
bool	ctl_may(const struct ctl_client *, const char *tenant, unsigned set);

void	ctl_command(struct ctl_client *, const char *line, size_t len);
/* Sends and forgets the answer. */
void	ctl_answer(struct ctl_client *, json_t *);
void	ctl_error(struct ctl_client *, const char *);
void	ctl_wait(struct ctl_client *);			/* for the workers */
void	ctl_next_line(struct ctl_client *);		/* unless the last one is not answered yet */
/* Takes fd. tenant: NULL, or whose place is taken by it. NULL: no memory, and all is given back. */
struct ctl_client *ctl_client_new(struct ctl *, int fd, struct ctl_tenant *tenant);
void	ctl_client_set_idle(struct ctl_client *, const struct timeval *reading, const struct timeval *writing);

struct ctl_tenant *ctl_tenant_get(struct ctl *, const char *name);	/* NULL: ENOMEM */
void	ctl_operators_free(struct ctl *);

/* The one VM, by name or UUID, of those whose tenant gives the client these rights. 0, or -1 with a line, which says of another
 * tenant's what it says of one that there is not. */
int	ctl_find_vm(const struct ctl_client *, const char *text, unsigned set, struct catalog_vm *, char *error, size_t error_size);

void	ctl_policy_set(struct ctl_client *, const json_t *question);
void	ctl_policy_clear(struct ctl_client *, const json_t *question);
void	ctl_policy_show(struct ctl_client *, const json_t *question);

void	ctl_run(struct ctl_client *, const json_t *question);
void	ctl_run_continue(struct ctl_run *);		/* the client has read; NULL is fine */
void	ctl_run_abandon(struct ctl_run *);		/* it has gone; NULL is fine */
void	ctl_run_reap(struct ctl *);			/* a child has ended */
void	ctl_runs_free(struct ctl *);

/* For the desk, whose ticket is client->token; and, for a VM that was revoked, for the workers that it told so. */
void	ctl_wait_desk(struct ctl_client *);

/* ctl_enrol.c */
void	ctl_token_create(struct ctl_client *, const json_t *question);
void	ctl_token_list(struct ctl_client *, const json_t *question);
void	ctl_token_revoke(struct ctl_client *, const json_t *question);
void	ctl_revoke(struct ctl_client *, const json_t *question);

#endif
