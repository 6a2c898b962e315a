/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_RENEW_H
#define VMTAP_AGENT_LINK_RENEW_H

#include <stdbool.h>

struct link;
struct msg_certificate;
struct renew;
struct session;

/*
 * With --enroll: from half of the certificate's life on, a little later on each agent, the collector is asked for the next one over the
 * session that there is; then a session is opened with it beside that one (link_dial.h). What fails is tried again after a twentieth
 * of the certificate's life, an hour at most.
 */
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
