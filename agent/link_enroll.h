/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_ENROLL_H
#define VMTAP_AGENT_LINK_ENROLL_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "agent/ipc.h"
#include "agent/link_resolve.h"
#include "common/tls.h"
#include "common/tls_key.h"
#include "proto/msg.h"

struct clockwatch;
struct enroll_call;
struct event;
struct link;
struct session;

/*
 * What an agent's standing is, and what follows from it: whether it captures, may call collectors, and enrols. With --enroll one
 * without a certificate, with one that has ended, that is another machine's, or that was revoked, enrols as soon as there is a
 * token: it then is another VM than before. link_enroll.c decides, link_enroll_call.c asks the collector, link_renew.c has a
 * certificate replaced in time.
 */
enum standing {
	STANDING_NONE,		/* no certificate that can be used */
	STANDING_VALID,
	STANDING_EXPIRED,
	STANDING_CLONE,		/* this machine is a copy of the one that enrolled */
	STANDING_REVOKED,
	STANDING_MAX
};

struct enroll_token {
	bool		there;
	bool		refused;	/* asked with in vain: until its file is another one, or for a while */
	char		text[MSG_NAME_SIZE];
	ino_t		ino;		/* what its file is known by */
	struct timespec	mtime, ctime;
};

struct enroll {
	struct link	*link;
	bool		 managed;	/* --enroll is given */
	bool		 known;		/* what there is has been told: nothing is captured before, and nobody called */
	bool		 cloned, cloned_by_collector;
	char		 cloned_why[MSG_TEXT_SIZE];
	bool		 revoked;
	uint8_t		 revoked_certificate[TLS_FINGERPRINT_SIZE];
	time_t		 expired;	/* end of the certificate on disk, which is of no use any more; 0: none such */
	struct enroll_token token;
	struct tls_key	*pending;	/* that a token is used with, on disk */
	struct enroll_call *call;
	struct event	*again;		/* a refused token is tried again */
	unsigned	 refusals;
	struct clockwatch *clock;
	enum standing	 said;		/* in the log */
	bool		 said_any, said_token;
};

struct enroll	*enroll_new(struct link *);		/* never NULL: fatal() */
void		 enroll_free(struct enroll *);
void		 enroll_told(struct link *, struct ipc_message *);	/* IPC_ENROLMENT */
void		 enroll_ready(struct link *);		/* all has been told, and the credentials were read or are not there */
void		 enroll_review(struct link *);		/* something that it goes by may have changed */
void		 enroll_options(struct link *);		/* the configuration is another one */
enum standing	 enroll_standing(const struct link *);
const char	*enroll_standing_name(enum standing);
bool		 enroll_captures(const struct link *);	/* the collector's tap may be open */
bool		 enroll_known(const struct link *);
bool		 enroll_may_dial(const struct link *);
bool		 enroll_gives_credentials(const struct link *);	/* what is read from the disk may be used */
bool		 enroll_under_way(const struct link *);
/* To a collector streams' ids are this machine's own, mixed with the UUID of the VM that it is: a stream that goes on when it has
 * become another one is another stream there. */
void		 enroll_mask_streams(const struct link *, uint8_t mask[MSG_ID_SIZE]);
/* Of the certificate on disk that could not be taken, by its dates; 0: not known. */
void		 enroll_unusable(struct link *, time_t not_after);
/* A session has said that our certificate is revoked, that another machine has it, or welcomed us. */
void		 enroll_session_ended(struct link *, const struct session *);
void		 enroll_session_live(struct link *, const struct session *);

/* --- link_enroll_call.c: one after another, until there is a certificate or the token is refused --- */
struct enroll_call *enroll_call_new(struct enroll *);	/* never NULL: fatal() */
void		 enroll_call_free(struct enroll_call *);
void		 enroll_call_start(struct enroll_call *);	/* nothing if it is under way */
void		 enroll_call_stop(struct enroll_call *);
void		 enroll_call_now(struct enroll_call *);		/* the wait for the next one is over */
bool		 enroll_call_running(const struct enroll_call *);
void		 enroll_taps_answered(struct link *);
void		 enroll_socket(struct link *, int fd, int error);	/* what was asked for, as race_socket() */
void		 enroll_stored(struct link *, enum ipc_store, int error);
/* The addresses being called; returns how many were written. */
size_t		 enroll_endpoints(const struct enroll *, struct ipc_endpoint *, size_t max);
/* Back from it. */
void		 enroll_granted(struct enroll *);		/* it is on disk */
void		 enroll_refused(struct enroll *, const char *why);
void		 enroll_new_identity(struct enroll *);		/* right before it goes to the disk */

#endif
