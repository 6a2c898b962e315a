/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_RENEW_H
#define VMTAP_AGENT_LINK_RENEW_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "common/tls.h"
#include "common/tls_key.h"

struct event;
struct link;
struct msg_certificate;
struct session;

/*
 * With --enroll: from half of the certificate's life on, a little later on each agent, the collector is asked for the next one over
 * the session that there is; then a session is opened with it beside that one (link_dial.h). What fails is tried again after a
 * twentieth of the certificate's life, an hour at most.
 */
struct renew {
	struct link	*link;
	struct event	*timer;
	time_t		 due;		/* 0: never */
	time_t		 begin;		/* of its life: a certificate's first second may lie a little before it was made */
	time_t		 granted;	/* when the last one came */
	uint8_t		 certificate[TLS_FINGERPRINT_SIZE];
	struct session	*asked;		/* whose answer is awaited; NULL: nobody's */
	struct tls_key	*key;		/* of what was asked for */
	bool		 storing;
};

struct renew	*renew_new(struct link *);		/* never NULL: fatal() */
void		 renew_free(struct renew *);		/* NULL is fine */
void		 renew_credentials(struct link *);	/* the certificate is another one */
void		 renew_managed(struct link *);		/* --enroll is given now, or is not any more */
void		 renew_granted(struct link *);		/* it comes just now */
bool		 renew_overdue(const struct link *);	/* not renewed when three quarters of its life have gone by */
void		 renew_session_live(struct link *);
void		 renew_session_ended(struct link *, const struct session *);
/* CERTIFICATE came. -1: nobody asked for it. */
int		 renew_certificate(struct session *, const struct msg_certificate *);
void		 renew_stored(struct link *, int error);

#endif
