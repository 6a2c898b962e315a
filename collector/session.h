/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_SESSION_H
#define VMTAP_COLLECTOR_SESSION_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/keepalive.h"
#include "proto/frame.h"
#include "proto/identity.h"
#include "proto/msg.h"

#include "collector/archive.h"
#include "collector/clock_offset.h"

struct event;
struct json_t;
struct note;
struct stream;
struct tenant_use;
struct tlsio;
struct worker;

/*
 * One connection of an agent, accepted or dialled. It begins in any worker and moves to its VM's home after the handshake. Any
 * violation: an ERROR that says why, counted, logged, closed.
 */
enum session_state {
	SESSION_HANDSHAKE,	/* TLS */
	SESSION_HELLO,		/* who it is is proven; HELLO must come */
	SESSION_CONTENDING,	/* waits whether the VM's session still answers */
	SESSION_OPEN,
	SESSION_CLOSING		/* what is queued goes out, nothing is taken in */
};

#define SESSION_HANDSHAKE_MS	10000u
#define SESSION_HELLO_MS	5000u
#define SESSION_CONTEND_MS	2000u
#define SESSION_LINGER_MS	2000u
#define SESSION_LOG_MS		1000u
/* PINGs that measure the agent's clock: some when it begins, and then one each time. */
#define SESSION_CLOCK_FIRST	3u
#define SESSION_CLOCK_FIRST_MS	100u
#define SESSION_CLOCK_NS	UINT64_C(10000000000)

struct session_clock {
	struct clock_offset	offset;
	struct clock_moment	sent;		/* the PING that is out, its monotonic time being its token; 0: none is */
	uint64_t		due_ns;		/* monotonic: the next one */
	unsigned		asked;
};

struct session {
	TAILQ_ENTRY(session)	 entry;
	struct worker		*worker;
	struct tlsio		*tls;
	enum session_state	 state;
	struct event		*timer;		/* of the state */
	int			 pull;		/* -1: accepted */
	bool			 welcomed;
	bool			 backlog;	/* whole frames may wait in the input */
	bool			 waiting;	/* counts as such in use, until it is open */
	bool			 throttled;	/* not read for a moment: its tenant is beyond its rate */
	bool			 policy_asked;	/* a POLICY is out whose result has not come */
	bool			 secret_wanted;	/* its policy asks for digests, and there was no secret to key them */
	struct identity		 identity;
	struct tenant_use	*use;		/* of its tenant; as soon as that is known */
	char			 address[MSG_NAME_SIZE];
	uint8_t			 instance[MSG_ID_SIZE];
	struct vm		*vm;		/* open or contending for it */
	struct msg_hello	*hello;		/* kept while contending */
	uint64_t		 token;		/* of the PING that decides */
	uint64_t		 renewal;	/* ticket of the RENEW that is at the desk; 0: none */
	struct keepalive	 alive;		/* while open */
	struct session_clock	 clock;
	uint64_t		 since_ns;	/* wall clock */
	uint64_t		 blocks, gaps;
	uint64_t		 tick_bytes, bytes_per_second;
};

/* Takes fd in any case. name: whom it was to reach, "" of an accepted one. */
void	session_new(struct worker *, int fd, int pull, const char *name);
void	session_arrive(struct worker *, struct session *);	/* from the worker that made the handshake */
void	session_free(struct session *);				/* NULL is fine */
/* What the input holds, frame by frame, until the worker is paused, or to come back to if it takes long. */
void	session_input(struct session *);
void	session_fail(struct session *, const struct fault *);
void	session_go_on(struct session *);			/* if its tenant's rate lets it */
void	session_bye(struct session *, uint16_t code, const char *text);
void	session_revoked(struct session *);			/* its VM is */
void	session_renewed(struct session *, const struct note *);	/* the desk's answer */
void	session_close(struct session *, const char *why);	/* what is in worker->out goes out, nothing is said */
/* Unless the session has not told of the stream: its agent, a new process, may know nothing of one that a dead one sent. */
void	session_acknowledge(struct session *, struct stream *);
/* Sends the VM's policy if it changed (that is what it returns), or anyway if again and there has ever been one. */
bool	session_push_policy(struct session *, bool again);
struct json_t	*session_status(const struct session *);	/* NULL: ENOMEM */

/* Asks the agent for its clock if it is time to. Are there more of the first PINGs to come? */
bool	session_ask_clock(struct session *, uint64_t now_ns);
void	session_told_clock(struct session *, const struct msg_ping *pong);

/* session.c <-> session_open.c, session_message.c */
void	session_change_state(struct session *, enum session_state);
void	session_set_timer(struct session *, uint64_t ms);
int	session_send(struct session *);				/* worker->out; -1: the session is failed */
/* May the agent say this now? Known from the header, so that nobody fills memory with what has no chance. */
int	session_check_type(const struct session *, enum frame_type, struct fault *);
int	session_message(struct session *, const struct frame *, struct fault *);
int	session_hello(struct session *, const struct frame *, struct fault *);
void	session_contend_timeout(struct session *);		/* the contender wins */
void	session_ponged(struct session *, uint64_t token);
void	session_leave_vm(struct session *);
void	session_end_waiting(struct session *);
void	session_ask(struct session *);			/* for a sign of life */
/* Its peer wants control (ctl.h): it goes to the main thread, and the session is freed; or it is told why not. */
void	session_operator(struct session *);

#endif
