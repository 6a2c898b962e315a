/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_DIAL_H
#define VMTAP_AGENT_LINK_DIAL_H

#include <stdbool.h>
#include <stddef.h>

struct dial;
struct ipc_endpoint;
struct link;
struct resolve_address;
struct session;

/*
 * Calls the collectors of --collector in order until one has a session with us, for ever: fresh credentials for each round; for
 * each collector its addresses, the kernel filters told to leave them out, then a race of them on marked sockets (link_race.h). A
 * round without a session that lasts is followed by a wait: random up to 0.5 s, 1 s, 2 s ... 60 s; a collector's BYE by 0.5 to 5 s;
 * a certificate's end and a local address that is gone by none. While a collector has called us, nobody is called.
 * A new certificate on disk: a second session is opened beside the one that was made with the old one, which goes on until the
 * collector has welcomed the new one.
 */
struct dial	*dial_new(struct link *);
void		 dial_free(struct dial *);
void		 dial_start(struct dial *);		/* now; again after the configuration changed */
void		 dial_stop(struct dial *);
void		 dial_hurry(struct dial *);		/* the wait is over: what made a round fail may be gone */
void		 dial_resume(struct dial *);		/* as dial_start(), if it stands still */
/* The addresses being called or talked to; returns how many were written. */
size_t		 dial_endpoints(const struct dial *, struct ipc_endpoint *, size_t max);
void		 dial_endpoint_of(const struct resolve_address *, struct ipc_endpoint *);

/* What the dial may wait for. */
void		 dial_credentials(struct dial *);	/* the answer to credentials_request() came */
void		 dial_taps_answered(struct dial *);
void		 dial_socket(struct dial *, int fd, int error);	/* what was asked for, as race_socket() */
void		 dial_session_closed(struct dial *, const struct session *);	/* any session */

#endif
