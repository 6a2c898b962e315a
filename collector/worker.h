/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_WORKER_H
#define VMTAP_COLLECTOR_WORKER_H

#include <sys/queue.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/log.h"

#include "collector/archive.h"
#include "collector/note.h"

struct committer;
struct desk;
struct conf_list;
struct event;
struct hint_hub;
struct event_base;
struct policy_set;
struct retainer;
struct revoked;
struct tenants;
struct tls_context;

/*
 * A worker: one thread with its event loop, its committer, and all state of the VMs whose home it is (a hash of the UUID).
 * Connections come from the main thread in turn; after the handshake a session goes to its VM's home.
 */
#define COMMIT_AFTER_MS		50u			/* after the first dirty byte */
#define COMMIT_LATER_MS		1000u			/* when only counters have changed */
#define COMMIT_BYTES		(4u * 1024 * 1024)	/* then at once */
#define DIRTY_MAX		(32u * 1024 * 1024)	/* rows included: beyond, nothing is read until the running commit is done */
#define HANDSHAKES_MAX		512u			/* connections of one worker that have not shown who they are */
#define WORKERS_MAX		64u

struct workers;

struct worker {
	struct workers		*all;
	unsigned		 index;
	pthread_t		 thread;
	struct event_base	*base;
	struct mailbox		*inbox;
	struct event		*inbox_event, *commit_timer, *tick;
	struct event		*come_back;	/* to sessions with a backlog */
	struct event		*throttle_timer;	/* while a session's tenant is beyond its rate */
	struct event		*clock_timer;	/* while sessions that have begun are asked for their clocks */
	struct tls_context	*tls;		/* of new connections */
	struct policy_set	*policy;
	uint64_t		 keepalive_ms;
	int			 dedup;		/* of the settings */
	uint64_t		 enrol_life_ms;
	struct archive		 archive;
	struct committer	*committer;
	bool			 committing;	/* a batch is at the committer */
	bool			 commit_due;	/* the timer ran out */
	bool			 timer_soon;	/* the pending timer is the short one */
	bool			 failing;	/* the running commit is being tried again */
	char			 failing_text[256];
	bool			 paused;	/* no session is read: DIRTY_MAX */
	bool			 stopping, finished;
	bool			 draining;	/* stopping, but for the RPCAP connections that end in order before */
	TAILQ_HEAD(, session)	 sessions;
	unsigned		 handshakes;
	TAILQ_HEAD(, enrol_session) enrols;	/* connections for enrolment alone */
	unsigned		 enrol_count;
	TAILQ_HEAD(, rpcap_pull) rpcap_pulls;
	struct tls_context	*rpcap_tls;	/* of rpcaps; NULL: there are none */
	uint64_t		 last_ticket;	/* of what the desk was asked */
	struct event		*hint_timer;	/* each sixth of the lease of hints */
	uint64_t		 hint_lease_ms;
	struct msg_stat		*stats;		/* MSG_STATS_MAX, to decode into */
	struct msg_hints	*hints;		/* to be told to an agent */
	struct buf		 out;		/* to encode into */
	struct log_limit	 fault_limit, connect_limit;
};

struct workers {
	struct worker		*worker;
	unsigned		 count;
	struct mailbox		*main;		/* the main thread's */
	struct store		*store;
	struct retainer		*retainer;
	const struct conf_list	*tenants;	/* empty: all; as long as the workers live */
	struct tenants		*known;		/* likewise */
	struct hint_hub		*hints;
	struct desk		*desk;		/* as long as the workers live */
	struct revoked		*revoked;	/* likewise */
	struct tls_context	*rpcap_tls[WORKERS_MAX];	/* of RPCAP, for each worker, taken; NULL: none */
};

/* Makes and starts count workers; tls: one context for each, taken; policy is referenced. -1 with a line for people. */
int	workers_start(struct workers *, unsigned count, struct tls_context *tls[], struct policy_set *,
	    const struct worker_settings *, char *error, size_t error_size);
/* A note for each of them; like's token, uuid, settings and text are copied, its policy referenced. Any worker's thread may. */
void	workers_tell(struct workers *, const struct note *like);
/* After each has told NOTE_STOPPED. */
void	workers_join(struct workers *);
unsigned workers_home(const struct workers *, const char *uuid);

/* For sessions and RPCAP: something may have become dirty. */
void	worker_consider_commit(struct worker *);
/* ... and one of RPCAP has ended. */
void	worker_pulls_ended(struct worker *);
/* ... and one has a backlog: its turn comes again after all others'. */
void	worker_come_back(struct worker *);
/* ... and one's tenant is beyond its rate. */
void	worker_throttle(struct worker *);
/* ... and one has begun, and is asked for its clock again. */
void	worker_ask_clocks_soon(struct worker *);

#endif
