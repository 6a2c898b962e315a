/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_ENROL_SESSION_H
#define VMTAP_COLLECTOR_ENROL_SESSION_H

struct note;
struct tlsio;
struct worker;

/*
 * A connection of one that has no certificate (ALPN FRAME_ALPN_ENROLL): says ENROLL, is answered, and is closed. It knows nothing of
 * the worker's sessions, and takes none of their room: of ENROLS_MAX the one that has said nothing for longest makes way.
 */
#define ENROLS_MAX		256u	/* of a worker */
#define ENROL_SAY_MS		10000u	/* ENROLL, from the end of the handshake */
#define ENROL_ANSWER_MS		120000u	/* the desk, before we give up on it */

struct enrol_session;
/* Takes the connection, and its place among the process's connections, from who had it. */
void	enrol_session_new(struct worker *, struct tlsio *);
/* Whoever has asked is answered; false: nobody has. */
int	enrol_session_answer(struct worker *, struct note *);
void	enrol_session_free(struct enrol_session *);

#endif
