/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_ENROL_DESK_H
#define VMTAP_COLLECTOR_ENROL_DESK_H

#include <stddef.h>
#include <stdint.h>

#include "proto/identity.h"
#include "proto/msg.h"

#include "collector/token.h"

struct mailbox;
struct note;
struct pki_chain;
struct revoked;

/*
 * The desk signs certificates and keeps tokens: threads with connections of their own to the catalog, so that nobody else waits for a
 * disk, or for who signs elsewhere. Requests queue there, and a note answers each; what is granted is durable by then.
 * Of each tenant that waits one is served, then the next of each: nobody's flood is before another's wish.
 * Signers sign, one after the other if the key is here; a clerk does what the control socket asks, and never waits for a signer.
 */
#define DESK_QUEUE_MAX		1024u	/* requests to sign */
#define DESK_QUEUE_TENANT	64u	/* of one tenant, once half of these wait */
#define DESK_CONTROL_MAX	64u
#define DESK_SIGNERS		4u	/* commands that run at a time */
#define DESK_COMMAND_MS		20000u	/* --enroll-command, then it is killed */

/* How certificates are signed; empty: they are not. */
struct desk_settings {
	const char	*ca, *cert, *key;	/* cert NULL: the CA's */
	const char	*command;
	uint64_t	 life_ms;
};

/* With the key, if there is one. NULL with a line for people: bad key, bad certificate. */
struct desk_signing;
struct desk_signing *desk_signing_new(const struct desk_settings *, char *error, size_t error_size);
void		 desk_signing_put(struct desk_signing *);	/* gives it up; NULL is fine */

struct desk;
/*
 * Takes the signing, in any case. tell: a note for all workers; in the clerk's thread, only on behalf of a request. to: where what the
 * control socket has asked is answered. NULL with a line for people. revoked must outlive it.
 */
struct desk	*desk_new(const char *store, struct desk_signing *, struct revoked *, struct mailbox *to,
		    void (*tell)(const struct note *like, void *arg), void *arg, char *error, size_t error_size);
/* Requests that wait are forgotten, a running command is killed; no note comes any more. NULL is fine. */
void		 desk_free(struct desk *);
void		 desk_set(struct desk *, struct desk_signing *);	/* takes it: for requests from now on */

/* What is asked, by any thread. The note has the ticket as its token. */
struct desk_enrol {			/* NOTE_CERTIFICATE */
	const char	*token;
	const char	*wish;		/* name; "": none */
	const char	*address;	/* of the peer */
	const uint8_t	*csr;
	size_t		 csr_len;
};
enum desk_answer {
	DESK_QUEUED,		/* a note will come */
	DESK_BUSY,		/* the queue is full, or the token was tried too often */
	DESK_STRANGER		/* not looked at: such tokens come too often */
};
enum desk_answer desk_enrol(struct desk *, struct mailbox *to, uint64_t ticket, const struct desk_enrol *);
/* Of who has shown a certificate of the identity. NOTE_CERTIFICATE. */
enum desk_answer desk_renew(struct desk *, struct mailbox *to, uint64_t ticket, const struct identity *, const struct msg_renew *);

/* NOTE_DESK each, with the control socket's answer. -1: too many wait. */
int	desk_create_token(struct desk *, uint64_t ticket, const struct token *, uint64_t ttl_s);
int	desk_list_tokens(struct desk *, uint64_t ticket, const char *tenant);		/* NULL: of all */
int	desk_revoke_token(struct desk *, uint64_t ticket, const char *id, const char *tenant);
/* vm: name or UUID, whole. The workers are told (NOTE_REVOKE, with the ticket) when it is durable. */
int	desk_revoke(struct desk *, uint64_t ticket, const char *vm, const char *tenant);

#endif
