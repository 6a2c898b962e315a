/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_SUPERVISOR_H
#define VMTAP_AGENT_SUPERVISOR_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/agent.h"
#include "agent/ipc.h"
#include "agent/role.h"

struct addrinfo;
struct event;
struct event_base;
struct filewatch;
struct last_counts;
struct spool;

#define SUPERVISOR_ROLES	2
#define SUPERVISOR_LISTENS_MAX	AGENT_LISTENS_MAX

struct supervisor;

/* A role's process, or the wait for its next one. */
struct supervisor_role {
	struct supervisor *supervisor;
	enum role	 role;
	pid_t		 pid;		/* 0: none */
	struct ipc	*ipc;
	bool		 ready;
	uint64_t	 started_ns;
	unsigned	 backoff_ms;
	struct event	*restart;
};

struct supervisor {
	struct agent_options *options;
	int		 argc;
	char		**argv;
	struct event_base *base;
	struct event	*signals[6];
	struct supervisor_role role[SUPERVISOR_ROLES];	/* by enum role */
	int		 spool_fd[IPC_TAPS_MAX], wake_fd[IPC_TAPS_MAX];
	int		 policy_fd;	/* what the link role keeps for its successor */
	int		 last_fd;	/* what the capture role says of the interfaces, and what the agent before has: */
	struct last_counts *last;
	struct spool	*counters;	/* of the collector's spool */
	int		 listen_fd[SUPERVISOR_LISTENS_MAX];
	size_t		 listen_count;
	int		 rpcap_fd[AGENT_RPCAP_LISTENS_MAX];
	size_t		 rpcap_count;
	int		 metrics_fd[AGENT_METRICS_MAX];	/* -1: could not be had */
	size_t		 metrics_count;
	struct filewatch *credentials;	/* ca, cert, key; NULL: cannot be watched */
	struct filewatch *enrolment;	/* with --enroll: token, and what tells a copy of this machine */
	struct filewatch *rpcap;	/* the files of --rpcap-... */
	int		 disk_fd[DISK_SEGMENTS], disk_lock_fd;	/* -1: no disk spool */
	int		 pidfile_fd;
	bool		 in_service;	/* both roles were ready once */
	bool		 stopping;
	struct event	*deadline;	/* of stopping: capture's, then link's */
	uint64_t	 stop_ns;	/* when link's is; monotonic */
	struct event	*watchdog;	/* NULL: the service manager keeps none */
	int		 status;	/* exit status */
};

/* --- supervisor_check.c --- */
/* What can be told wrong before anything is started: 0, or the exit status with the error. */
int	supervisor_check_options(const struct agent_options *, struct conf_error *);
/* What parses foreign text or reads keys, in a process that ends afterwards: credentials, right to capture, filter. Says itself
 * what is wrong: before service on stderr, later in the log. 0, or the exit status. */
int	supervisor_probe(const struct agent_options *, bool in_service);

/* --- supervisor_socket.c --- */
/* A marked, non-blocking socket of SOCK_STREAM or SOCK_DGRAM; -1 with errno. Without the right to mark, it goes unmarked, and the log says so once. */
int	supervisor_socket(int family, int type);
/* Where to listen, as one option has it: "ADDR[:PORT]" each. */
struct supervisor_places {
	const struct conf_list *list;
	const char	*option;
	uint16_t	 port;		/* where none is named */
	bool		 v6only;	/* an IPv6 address is that alone: [::] and 0.0.0.0 go together */
};
/* Of place i, for freeaddrinfo(3); NULL with the error. */
struct addrinfo *supervisor_address(const struct supervisor_places *, size_t i, struct conf_error *);
/* Listens there; -1 with the error. */
int	supervisor_listen(const struct supervisor_places *, size_t i, struct conf_error *);
/* The places of --metrics: 0, or -1 with the error. */
int	supervisor_check_metrics(const struct conf_list *, struct conf_error *);
/* Listens there. One that cannot be had is said, and nothing else: the capture does not depend on it. */
void	supervisor_metrics_listen(struct supervisor *);
void	supervisor_metrics_clear(struct supervisor *);

/* --- supervisor_rpcap.c --- */
/* Their paths by enum ipc_rpcap_file; NULL: none is configured. */
void	supervisor_rpcap_paths(const struct agent_options *, const char *path[RPCAP_FILES]);
/* Listens at --rpcap-listen. 0, or -1 with the error. */
int	supervisor_rpcap_listen(struct supervisor *, struct conf_error *);
/* The link role gets the files, if RPCAP is configured; one that cannot be opened is said and left out. */
void	supervisor_rpcap_hand(struct supervisor *);

/* --- supervisor_check_rpcap.c --- */
struct supervisor_places supervisor_rpcap_places(const struct agent_options *);
/* As supervisor_check_options(), and what it probes: 0, or -1 with the error. */
int	supervisor_check_rpcap(const struct agent_options *, struct conf_error *);
int	supervisor_probe_rpcap(const struct agent_options *, struct conf_error *);

/* --- supervisor_last.c --- */
/* Makes last, with what an agent has left of this boot in the state folder. -1 with errno. */
int	supervisor_last_open(struct supervisor *);
/* Leaves it there, if there is that folder: for this boot, so that no disk has to be waited for. */
void	supervisor_last_keep(const struct supervisor *);

/* --- supervisor_spawn.c --- */
/* Starts the role's process with its end of the pairs; peer: the other role's end, which is closed here. -1 with errno. */
int	supervisor_spawn(struct supervisor_role *, int peer);
int	supervisor_config_fd(const struct agent_options *);	/* a memfd with the options' text; -1 with errno */

/* --- supervisor_role.c --- */
int	supervisor_roles_start(struct supervisor *);		/* -1 with errno */
void	supervisor_role_exited(struct supervisor_role *, int wait_status);
void	supervisor_role_clear(struct supervisor_role *);
/* Their files are new: the link role gets them, and what there is of enrolment, without having asked. */
void	supervisor_hand_credentials(struct supervisor *);
extern const struct ipc_callbacks supervisor_role_callbacks;

/* --- supervisor.c --- */
/* Starts the roles, stays until stopped, clears; options, listen_fd and pidfile_fd are set. Exit status. */
int	supervisor_run(struct supervisor *);
void	supervisor_role_ready(struct supervisor *);
void	supervisor_watch(struct supervisor *);	/* the files that may change, as they are now */
void	supervisor_stop(struct supervisor *, int status);	/* orderly: capture, then link */
void	supervisor_stop_next(struct supervisor *);

#endif
