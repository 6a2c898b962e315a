/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_ENROL_INTERNAL_H
#define VMTAP_COLLECTOR_ENROL_INTERNAL_H

#include <sys/queue.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/log.h"

#include "collector/enrol_desk.h"
#include "collector/pki_sign.h"

struct enrol_limit;
struct sqlite3;

/* enrol_desk.c (threads, queues), enrol_sign.c (certificates) and enrol_clerk.c (the control socket's wishes) share this. */

#define DESK_ERROR_SIZE	768
#define DESK_THREADS	(DESK_SIGNERS + 1)

struct desk_thread;

struct desk_request {
	STAILQ_ENTRY(desk_request) entry;
	void		(*run)(struct desk_thread *, struct desk_request *);
	struct mailbox	*to;
	uint64_t	 ticket;
	uint64_t	 round;				/* of its queue, in which it has its turn */
	char		 tenant[IDENTITY_NAME_SIZE];	/* "": not known yet */
	/* Signers. */
	uint8_t		 hash[TOKEN_HASH_SIZE];		/* of the token */
	char		 wish[IDENTITY_NAME_SIZE];
	char		 address[MSG_NAME_SIZE];
	struct identity	 identity;			/* of who renews */
	uint8_t		*csr;
	size_t		 csr_len;
	/* Clerk. */
	struct token	 token;
	uint64_t	 ttl_s;
	char		 what[MSG_NAME_SIZE];
	bool		 has_tenant;			/* else all */
};
void	desk_request_free(struct desk_request *);

/* In rounds, each of which takes one request of each tenant that waits: nobody waits for all that another tenant has asked before. */
struct desk_queue {
	STAILQ_HEAD(, desk_request) requests;	/* by round */
	uint64_t	 round;			/* of the last one taken */
	unsigned	 count, max;
	pthread_cond_t	 cond;
};

/* How certificates are signed from some time on. */
struct desk_signing {
	atomic_uint	 refs;
	bool		 off;
	struct pki_issuer *issuer;
	char		*command;	/* NULL: the issuer has the key */
	uint64_t	 life_ms;
	char		 fingerprint[PKI_FINGERPRINT_SIZE];
};

struct desk_thread {
	struct desk	*desk;
	struct desk_queue *queue;
	pthread_t	 id;
	bool		 runs;
	struct sqlite3	*db;
	struct log_limit limit;		/* of lines about who is refused */
};

struct desk {
	pthread_mutex_t	 mutex;		/* guards the queues, signing and stopping */
	struct desk_queue sign, control;
	struct desk_signing *signing;
	bool		 stopping;
	int		 stop_fd;
	struct enrol_limit *limit;
	struct revoked	*revoked;
	pthread_mutex_t	 binding;	/* one writer at a time: SQLite would have the others sleep */
	struct mailbox	*to;
	void		(*tell)(const struct note *, void *);
	void		*tell_arg;
	struct desk_thread thread[DESK_THREADS];
};

struct desk_signing *desk_signing_get(struct desk *);	/* desk_signing_put() */

void	desk_run_enrol(struct desk_thread *, struct desk_request *);
void	desk_run_renew(struct desk_thread *, struct desk_request *);
void	desk_run_create(struct desk_thread *, struct desk_request *);
void	desk_run_list(struct desk_thread *, struct desk_request *);
void	desk_run_revoke_token(struct desk_thread *, struct desk_request *);
void	desk_run_revoke(struct desk_thread *, struct desk_request *);

#endif
